"""The rules of the house: who may import whom (contracts in pyproject.toml), and what no file may hold.

Every other rule is a function from a source text to its violations. Beside the test that the house keeps a rule there
is one that the rule is able to see it broken.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "esm_viz"
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
CONTRACTS: dict[str, str] = {contract["id"]: contract["name"] for contract in SETTINGS["contracts"]}
NAMES = list(CONTRACTS.values())

PICKLES = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve")
SAFE_LOADERS = {"yaml.SafeLoader", "yaml.CSafeLoader"}
HOSTS = re.compile(
    r"pypi\.org|pythonhosted\.org|download\.pytorch\.org|conda\.anaconda\.org|registry\.npmjs\.org|"
    r"--(?:extra-)?index-url|--find-links",
    re.IGNORECASE,
)
MACHINE_PATHS = re.compile(
    r"(?<![\w.~])(?:/(?:root|work|mnt|workspace)/\w|/(?:home|Users)/\w+/|[A-Z]:\\Users\\)",
)
# Parts of Gradio that it documents nowhere, without an underscore that ruff would see.
GRADIO_PRIVATE = re.compile(
    r"\.fns\b|\.cookie_id\b|\bapp\.(?:auth|tokens)\b|get_upload_folder|Matplotlib|gradio\.(?:block_function|state_holder)"
)
APP_LINES = 60


def sources() -> list[Path]:
    """Return the package's own modules, in a fixed order."""
    return sorted(PACKAGE.rglob("*.py"))


def run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield every node but those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from run_time(node)


def imports(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Yield line and full dotted name of everything imported, relative imports resolved against `package`."""
    for node in run_time(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            above = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (above, node.module or "") if part)
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "esm_viz":
            yield node.lineno, f"esm_viz.{node.attr}"


def unsafe_calls(source: str) -> list[str]:
    """Return what reads a file in a way that can run its content as code."""
    found = [
        f"line {line}: imports {name}"
        for line, name in imports(ast.parse(source), "esm_viz")
        if name.split(".")[0] in PICKLES
    ]
    tree = ast.parse(source)
    safe_loaders = SAFE_LOADERS | {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and {ast.unparse(base) for base in node.bases} & SAFE_LOADERS
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if name == "torch.load" and given.get("weights_only") != "True":
            found.append(f"line {node.lineno}: torch.load without weights_only=True")
        loader = given.get("Loader") or (ast.unparse(node.args[1]) if len(node.args) > 1 else "")
        if name in ("yaml.unsafe_load", "yaml.full_load") or (name == "yaml.load" and loader not in safe_loaders):
            found.append(f"line {node.lineno}: {name}, use yaml.safe_load or a subclass of yaml.SafeLoader")
        if given.get("allow_pickle", "False") != "False":
            found.append(f"line {node.lineno}: allow_pickle")
        if name in ("eval", "exec"):
            found.append(f"line {node.lineno}: {name}")
    return found


def lines_with(pattern: re.Pattern[str], text: str) -> list[str]:
    """Return the lines of a text file in which the pattern is found."""
    return [
        f"line {number}: {match[0]}"
        for number, line in enumerate(text.splitlines(), 1)
        if (match := pattern.search(line))
    ]


def tracked_texts() -> list[Path]:
    """Return the text files that belong to the repository: git's where there is git, else all that are not hidden."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\0")
    paths = [ROOT / name for name in listed if name] or [
        path for path in ROOT.rglob("*") if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    ]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8192]]


def violations(rule: Callable[[Path, str], list[str]], paths: list[Path]) -> list[str]:
    """Return every violation of one rule, each with its file."""
    return [
        f"{path.relative_to(ROOT)} {found}" for path in paths for found in rule(path, path.read_text(encoding="utf-8"))
    ]


def contracts(folder: Path) -> tuple[int, dict[str, str], str]:
    """Return import-linter's status, its verdict by contract, and all that it says, for a package and its contracts."""
    lint = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"
    ran = subprocess.run(
        [sys.executable, "-c", lint],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    verdicts = re.findall(r"^(.+) (KEPT|BROKEN)", ran.stdout, flags=re.MULTILINE)
    return ran.returncode, dict(verdicts), ran.stdout + ran.stderr


def test_imports_keep_the_contracts() -> None:
    status, verdicts, told = contracts(ROOT)
    assert status == 0, told
    assert list(verdicts) == NAMES


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package and its contracts, to be broken."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, folder / "esm_viz", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.mark.parametrize(
    ("module", "source", "broken"),
    [
        ("core/recipe.py", "from esm_viz.project.project import Project", "rooms"),
        ("merge/ties.py", "import esm_viz.stages.merge_stages", "rooms"),
        ("figures/layer_norms_figure.py", "def f():\n    from ..report import html_report", "rooms"),
        ("ui/studio_server.py", "from esm_viz.demo import demo_build", "rooms"),
        ("__main__.py", "from esm_viz.demo import demo_build", "rooms"),
        ("newcomer.py", "", "rooms"),
        ("ui/server/rate_limit.py", "from esm_viz.ui.tabs.tab_definition import Tab", "studio"),
        ("ui/newcomer.py", "", "studio"),
        ("ui/jobs/job_queue.py", "from esm_viz.ui.session.session_store import Session", "studio"),
        ("cli/commands.py", "from esm_viz import METHODS", "facade"),
        ("ui/studio_server.py", "import esm_viz", "facade"),
        ("cli/commands.py", "import gradio as gr", "gradio"),
        ("project/project.py", "from plotly import graph_objects", "plotly"),
        ("explore/patches.py", "import optuna", "optuna"),
        ("ui/components/html_snippets.py", "import torch.nn", "tensors"),
        ("core/records/common.py", "from torch import Tensor", "records"),
        ("figures/layer_norms_figure.py", "import sklearn", "records"),
    ],
)
def test_a_contract_sees_what_it_forbids(copied: Path, module: str, source: str, broken: str) -> None:
    path = copied / "esm_viz" / module
    before = path.read_text(encoding="utf-8") if path.exists() else None
    path.write_text(f"{before or ''}\n{source}\n", encoding="utf-8")
    try:
        status, verdicts, told = contracts(copied)
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before, encoding="utf-8")
    assert status == 1, told
    assert verdicts[CONTRACTS[broken]] == "BROKEN"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "merge/ties.py",
            "if TYPE_CHECKING:\n    from esm_viz.project import project",
        ),
        ("ui/studio_server.py", "import gradio, plotly.graph_objects\nfrom esm_viz.project.project import Project"),
        ("demo/demo_build.py", "from esm_viz.ui.page import studio_page\nimport torch"),
    ],
)
def test_the_contracts_let_right_imports_pass(copied: Path, module: str, source: str) -> None:
    path = copied / "esm_viz" / module
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{before}\n{source}\n", encoding="utf-8")
    try:
        status, _, told = contracts(copied)
    finally:
        path.write_text(before, encoding="utf-8")
    assert status == 0, told


def test_app_imports_only_the_package() -> None:
    app = ROOT / "app.py"
    if app.exists():
        tops = {name.split(".")[0] for _, name in imports(ast.parse(app.read_text(encoding="utf-8")), "")}
        assert not tops & {"torch", "plotly", "numpy", "open_clip"}


def test_nothing_is_read_in_a_way_that_could_run_it() -> None:
    app = [ROOT / "app.py"] if (ROOT / "app.py").exists() else []
    assert not violations(lambda _, text: unsafe_calls(text), [*sources(), *app])


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(text, Loader=yaml.Loader)",
        "class Mine(yaml.Loader): ...\nyaml.load(text, Mine)",
        "yaml.load(text)",
        "yaml.unsafe_load(text)",
        "numpy.load(path, allow_pickle=True)",
        "eval(text)",
    ],
)
def test_the_safety_rule_sees_an_unsafe_call(source: str) -> None:
    assert len(unsafe_calls(source)) == 1


def test_the_safety_rule_lets_safe_calls_pass() -> None:
    assert not unsafe_calls("torch.load(p, weights_only=True)\nyaml.safe_load(t)\nnumpy.load(p)\nmodel.eval()")
    assert not unsafe_calls("class Strict(yaml.SafeLoader): ...\nyaml.load(text, Loader=Strict)")


def test_every_module_says_why_it_exists() -> None:
    silent = [
        str(path.relative_to(ROOT)) for path in sources() if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert not silent


def test_app_stays_short() -> None:
    app = ROOT / "app.py"
    assert not app.exists() or len(app.read_text(encoding="utf-8").splitlines()) < APP_LINES


def test_no_file_names_a_package_index() -> None:
    others = [path for path in tracked_texts() if path != Path(__file__)]
    assert not violations(lambda _, text: lines_with(HOSTS, text), others)


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    others = [path for path in tracked_texts() if path != Path(__file__)]
    assert not violations(lambda _, text: lines_with(MACHINE_PATHS, text), others)


def test_what_gradio_keeps_private_is_named_in_one_module() -> None:
    others = [path for path in sources() if path.name != "gradio_private.py"]
    assert not violations(lambda _, text: lines_with(GRADIO_PRIVATE, text), others)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (GRADIO_PRIVATE, "blocks.fns[3]"),
        (GRADIO_PRIVATE, "request.app.auth is None"),
        (GRADIO_PRIVATE, "from gradio.state_holder import SessionState"),
        (HOSTS, "torch @ https://download.pytorch.org/whl/cpu"),
        (HOSTS, "--extra-index-url https://example.org"),
        (MACHINE_PATHS, 'path = "/root/data/base.safetensors"'),
        (MACHINE_PATHS, "see /home/ada/models/"),
        (MACHINE_PATHS, "file:///Users/ada/x"),
    ],
)
def test_the_text_rules_see_what_they_forbid(pattern: re.Pattern[str], text: str) -> None:
    assert lines_with(pattern, text)


@pytest.mark.parametrize("text", ["https://example.org/home/ada/", "models/root/x", "/usr/bin/env bash", "~/work/x"])
def test_the_path_rule_lets_other_paths_pass(text: str) -> None:
    assert not lines_with(MACHINE_PATHS, text)


def test_requirements_are_ranges_with_both_ends() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            requirement = line.partition("#")[0].strip()
            assert not requirement or re.fullmatch(r"[\w-]+>=[\d.]+,<[\d.]+", requirement), f"{name}: {line}"


@pytest.mark.parametrize("command", ["script/server", "script/test", ".ci/run"])
def test_the_commands_exist_and_are_executable(command: str) -> None:
    path = ROOT / command
    assert path.is_file()
    assert path.stat().st_mode & 0o111
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")


def readme_commands() -> list[str]:
    """Return the first words of the README's shell lines that name something in script/."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", readme, flags=re.DOTALL | re.MULTILINE)
    return [match[0] for block in blocks for match in re.finditer(r"^script/\w+", block, flags=re.MULTILINE)]


def test_the_readme_names_both_commands_and_no_other() -> None:
    assert set(readme_commands()) == {"script/server", "script/test"}


def test_ci_runs_the_test_command_that_the_readme_names() -> None:
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    called = re.findall(r"^(script/\w+)(.*)$", ci, flags=re.MULTILINE)
    assert called == [("script/test", " </dev/null")]


def test_the_licence_is_the_one_the_metadata_names() -> None:
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "The esm_viz authors" in licence
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_unit_tests_lie_in_the_folders_of_what_they_test() -> None:
    unit = ROOT / "tests" / "unit"
    folders = {path.parent.relative_to(unit) for path in unit.rglob("test_*.py")} - {Path()}
    assert [str(folder) for folder in folders if not (PACKAGE / folder).is_dir()] == []


def test_no_two_modules_have_one_name() -> None:
    """A file is known by its name alone, whatever room it is in."""
    names = [path.stem for path in sources() if path.stem not in ("__init__", "__main__")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []
