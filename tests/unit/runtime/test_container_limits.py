"""Limits of containers, as Linux writes them: both versions of control groups, nested groups, and no limits at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from esm_viz.runtime import stage_cache
from esm_viz.runtime.container_limits import free_memory, machine_memory, usable_cores

GB = 10**9
MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
LIMIT = MACHINE // 4  # of the containers here: less than any machine has that runs this
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def system(folder: Path, files: dict[str, str]) -> Path:
    """Write what a process sees of its groups."""
    for name, text in {"proc/meminfo": f"MemFree: 1 kB\nMemAvailable: {MACHINE // 2048} kB\n", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    return folder


MEMORY = {
    "version 2, its group as the top": {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": f"{LIMIT}\n",
        "sys/fs/cgroup/memory.current": f"{LIMIT // 2}\n",
        "sys/fs/cgroup/memory.stat": f"anon 5\ninactive_file {LIMIT // 4}\n",
    },
    "version 2, a limit on the group around it": {
        "proc/self/cgroup": "0::/slice/unit\n",
        "sys/fs/cgroup/slice/unit/memory.max": "max\n",
        "sys/fs/cgroup/slice/memory.max": f"{LIMIT}\n",
        "sys/fs/cgroup/slice/memory.current": f"{LIMIT // 2}\n",
        "sys/fs/cgroup/slice/memory.stat": f"inactive_file {LIMIT // 4}\n",
    },
    "version 1": {
        "proc/self/cgroup": "5:memory:/docker/1f\n4:cpu,cpuacct:/docker/1f\n",
        "sys/fs/cgroup/memory/docker/1f/memory.limit_in_bytes": f"{LIMIT}\n",
        "sys/fs/cgroup/memory/docker/1f/memory.usage_in_bytes": f"{LIMIT // 2}\n",
        "sys/fs/cgroup/memory/docker/1f/memory.stat": f"cache 7\ntotal_inactive_file {LIMIT // 4}\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    },
    "version 1, its group as the top under a path of the machine": {
        "proc/self/cgroup": "5:memory:/docker/1f\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{LIMIT}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{LIMIT // 2}\n",
        "sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {LIMIT // 4}\n",
    },
}


@pytest.mark.parametrize("case", MEMORY)
def test_memory_is_that_of_the_container(tmp_path: Path, case: str) -> None:
    root = system(tmp_path, MEMORY[case])
    assert machine_memory(root) == LIMIT
    assert free_memory(root) == LIMIT - (LIMIT // 2 - LIMIT // 4)


NONE = {
    "no groups": {},
    "version 2 without a limit": {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"},
    "version 1 without a limit": {
        "proc/self/cgroup": "5:memory:/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    },
    "a limit above the machine's memory": {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": str(8 * MACHINE),
    },
    "a path out of the groups": {"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/memory.max": "max\n"},
}


@pytest.mark.parametrize("case", NONE)
def test_without_a_limit_memory_is_the_machines(tmp_path: Path, case: str) -> None:
    root = system(tmp_path, NONE[case])
    assert machine_memory(root) == MACHINE
    assert free_memory(root) == MACHINE // 2048 * 1024


def test_where_free_memory_is_not_told_it_is_unknown(tmp_path: Path) -> None:
    assert free_memory(tmp_path) == 0


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, CORES),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{10**5 * (CORES + 4)} 100000\n"}, CORES),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/1f\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/1f/cpu.cfs_quota_us": "60000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/1f/cpu.cfs_period_us": "100000\n",
            },
            1,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/1f\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            CORES,
        ),
        ({}, CORES),
    ],
)
def test_cores_are_those_that_the_container_may_keep_busy(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    assert usable_cores(system(tmp_path, files)) == cores


def test_a_quota_of_some_cores_is_rounded_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    root = system(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"})
    assert usable_cores(root) == 3


def test_the_default_cache_is_a_quarter_of_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_cache, "machine_memory", lambda: 8 * GB)
    assert stage_cache.default_limit() == 2 * GB
    assert stage_cache.StageCache().limit == 2 * GB


def test_torch_takes_the_number_of_threads_of_a_container() -> None:
    code = (
        "import importlib.util, os, sys\n"
        "os.sched_getaffinity = lambda _: set(range(64))\n"
        "name = 'esm_viz.runtime.container_limits'\n"
        "spec = importlib.util.spec_from_file_location(name, 'esm_viz/runtime/container_limits.py')\n"
        "sys.modules[name] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(sys.modules[name])\n"
        "sys.modules[name].cores_at_start = lambda: 1\n"
        "import esm_viz, torch\n"
        "print(os.environ['OMP_NUM_THREADS'], torch.get_num_threads())"
    )
    bare = {key: value for key, value in os.environ.items() if not key.endswith("NUM_THREADS")}
    here = Path(__file__).parents[3]
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=bare, cwd=here)
    assert told.stdout.strip() == "1 1"
