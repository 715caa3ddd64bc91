"""The cache: bounded in bytes, least recently used leaves first, computed once, nothing half-made kept."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from esm_viz.core.errors import Cancelled
from esm_viz.numerics.essential_subspace_decomposition import Decomposition
from esm_viz.runtime.stage_cache import SPILL_FACTOR, StageCache, computing, default_limit, size_in_bytes

KILOBYTE = 1024
ENTRY = KILOBYTE + 256  # a value and what any entry is counted with


def block() -> Tensor:
    return torch.zeros(KILOBYTE, dtype=torch.uint8)


class Counted:
    """A computation that counts how often it ran."""

    def __init__(self, value: object = None) -> None:
        self.value, self.runs = value, 0

    def __call__(self) -> object:
        self.runs += 1
        return self.value


def holds(cache: StageCache, key: object) -> bool:
    """Say whether a key is kept, by whether it is computed again; adds it either way."""
    probe = Counted(block())
    cache.get(key, probe)
    return probe.runs == 0


def test_a_value_is_computed_once() -> None:
    cache, work = StageCache(), Counted("value")
    assert [cache.get("key", work) for _ in range(3)] == ["value"] * 3
    assert work.runs == 1


def test_a_value_that_is_none_is_kept_too() -> None:
    cache, work = StageCache(), Counted(None)
    cache.get("key", work)
    cache.get("key", work)
    assert work.runs == 1


def test_what_was_first_asked_for_in_inference_mode_serves_everybody() -> None:
    cache = StageCache()
    with torch.inference_mode():
        cache.get("key", block)
    assert not cache.get("key", block).is_inference()


def test_the_least_recently_used_leaves_first() -> None:
    cache = StageCache(3 * ENTRY)
    for key in "abc":
        cache.get(key, block)
    cache.get("a", block)  # now b is the oldest
    cache.get("d", block)
    assert [holds(cache, key) for key in "acd"] == [True, True, True]
    assert not holds(cache, "b")


@pytest.mark.parametrize("limit", [0, 100, ENTRY, 3 * ENTRY + 5])
def test_kept_bytes_never_pass_the_limit(limit: int) -> None:
    cache = StageCache(limit)
    for key in range(10):
        cache.get(key, block)
        assert cache.bytes <= limit


def test_kept_bytes_are_those_of_what_is_kept() -> None:
    cache = StageCache(3 * ENTRY)
    for key in range(10):
        cache.get(key, block)
    assert cache.bytes == 3 * ENTRY


def test_a_value_larger_than_the_limit_is_returned_and_evicts_nothing() -> None:
    cache = StageCache(2 * ENTRY)
    cache.get("small", block)
    large = cache.get("large", lambda: torch.zeros(10 * KILOBYTE, dtype=torch.uint8))
    assert len(large) == 10 * KILOBYTE
    assert holds(cache, "small")


def test_small_values_are_bounded_too() -> None:
    cache = StageCache(10 * 256)
    for key in range(100):
        cache.get(key, Counted("x"))
    assert cache.bytes == 10 * 256


@pytest.mark.parametrize("error", [ValueError("broken"), Cancelled(), KeyboardInterrupt()])
def test_a_computation_that_fails_leaves_nothing_and_the_next_one_runs(error: BaseException) -> None:
    cache = StageCache()

    def fail() -> object:
        raise error

    with pytest.raises(type(error)):
        cache.get("key", fail)
    assert cache.bytes == 0
    assert cache.get("key", Counted("whole")) == "whole"


def in_threads(count: int, work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(at,)) for at in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)


def test_threads_that_ask_for_one_key_compute_it_once() -> None:
    cache, entered, found = StageCache(), threading.Semaphore(0), []
    runs = []

    def compute() -> str:
        runs.append(1)
        entered.acquire(timeout=0.2)  # give the others time to come in between
        return "value"

    in_threads(4, lambda at: found.append(cache.get("key", compute)))
    assert found == ["value"] * 4
    assert len(runs) == 1


def test_different_keys_do_not_wait_for_each_other() -> None:
    cache, both = StageCache(), threading.Barrier(2, timeout=10)
    # Each computation waits inside for the other: a shared lock would break the barrier.
    in_threads(2, lambda at: cache.get(at, both.wait))
    assert not both.broken


def test_one_computation_may_ask_for_another() -> None:
    cache = StageCache()
    assert cache.get("outer", lambda: cache.get("inner", lambda: 1) + 1) == 2


def test_after_a_failure_waiting_threads_still_compute_one_at_a_time() -> None:
    cache, guard = StageCache(), threading.Lock()
    inside, most = 0, 0
    late = threading.Event()

    def compute(fails: bool) -> str:
        nonlocal inside, most
        with guard:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.1)
        with guard:
            inside -= 1
        if fails:
            late.set()
            raise ValueError
        return "value"

    def work(at: int) -> None:
        if at == 0:
            with pytest.raises(ValueError):  # noqa: PT011 - raised right above, without words
                cache.get("key", lambda: compute(True))
        elif at == 1:
            threading.Event().wait(0.03)  # comes while the first computes
            cache.get("key", lambda: compute(False))
        else:
            late.wait(5)  # comes after the first has failed, while the second computes
            threading.Event().wait(0.03)
            cache.get("key", lambda: compute(False))

    in_threads(3, work)
    assert most == 1


# What leaves memory for a folder.


def decomposition(seed: int) -> Decomposition:
    return Decomposition(torch.arange(3.0) + seed, torch.full((4, 3), float(seed), dtype=torch.float64).T)


ROOM_FOR_ONE = 256 + size_in_bytes(decomposition(0))


def filled(folder: Path) -> StageCache:
    """Return a cache with room for one value, of which three were asked."""
    cache = StageCache(ROOM_FOR_ONE, folder)
    for seed in range(3):
        cache.get(seed, lambda seed=seed: decomposition(seed), spills=True)
    return cache


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.safetensors"))


def test_what_leaves_memory_comes_back_from_its_file_bit_for_bit(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    assert cache.bytes <= cache.limit
    assert len(files(tmp_path)) == 2
    for seed in range(3):
        work = Counted()
        found = cache.get(seed, work, spills=True)
        assert work.runs == 0
        assert type(found) is Decomposition
        assert all(torch.equal(part, truth) for part, truth in zip(found, decomposition(seed), strict=True))


def test_what_is_not_worth_a_file_leaves_for_good(tmp_path: Path) -> None:
    cache = StageCache(ROOM_FOR_ONE, tmp_path)
    for seed in range(3):
        cache.get(seed, lambda seed=seed: decomposition(seed))
    assert not files(tmp_path)
    assert not holds(cache, 0)


@pytest.mark.parametrize("harm", ["gone", "cut", "other"])
def test_a_file_that_was_harmed_is_computed_again(tmp_path: Path, harm: str) -> None:
    cache = filled(tmp_path)
    for path in files(tmp_path):
        if harm == "gone":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:20] if harm == "cut" else b"not a safetensors file")
    work = Counted(decomposition(0))
    assert torch.equal(cache.get(0, work, spills=True).vectors, decomposition(0).vectors)
    assert work.runs == 1
    cache.get(2, Counted(decomposition(2)), spills=True)  # now 0 has to leave again, to a file that is whole
    assert cache.get(0, Counted(), spills=True).vectors.shape == (3, 4)


def test_what_lies_on_disk_is_bounded_too(tmp_path: Path) -> None:
    cache = StageCache(ROOM_FOR_ONE, tmp_path)
    for seed in range(50):
        cache.get(seed, lambda seed=seed: decomposition(seed), spills=True)
    sizes = size_in_bytes(decomposition(0)) * len(files(tmp_path))
    assert 0 < sizes <= SPILL_FACTOR * ROOM_FOR_ONE


def test_a_value_too_large_for_memory_goes_straight_to_its_file(tmp_path: Path) -> None:
    cache = StageCache(ROOM_FOR_ONE - 1, tmp_path)
    cache.get("large", lambda: decomposition(0), spills=True)
    work = Counted()
    cache.get("large", work, spills=True)
    assert (cache.bytes, work.runs) == (0, 0)


def test_the_folder_goes_with_its_cache(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    assert files(tmp_path)
    del cache
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_two_caches_in_one_folder_never_read_each_other(tmp_path: Path) -> None:
    first, second = filled(tmp_path), StageCache(ROOM_FOR_ONE, tmp_path)
    work = Counted(decomposition(9))
    assert second.get(0, work, spills=True).vectors[0, 0] == 9
    assert work.runs == 1
    assert first.get(0, Counted(), spills=True).vectors[0, 0] == 0


def test_sizes_are_those_of_the_tensors_inside() -> None:
    value = {"a": (torch.zeros(3, dtype=torch.float64), [torch.zeros(2, dtype=torch.uint8)]), "words": "long enough"}
    assert size_in_bytes(value) == 26


def test_sizes_see_into_named_tuples() -> None:
    assert size_in_bytes(Decomposition(torch.zeros(4), torch.zeros(4, 2))) == 48


def test_a_view_counts_with_all_that_it_keeps_alive() -> None:
    assert size_in_bytes(torch.zeros(1000, dtype=torch.uint8)[:10]) == 1000


def test_the_default_limit_is_a_share_of_this_machines_memory() -> None:
    assert 2**28 < default_limit() < 2**45


def test_what_came_from_a_private_file_leaves_with_it_and_all_else_stays() -> None:
    cache = StageCache()
    for key in (("delta", "aa", "bb"), ("moments", ("x", ("aa",))), ("weights", '{"base":"aa"}'), ("delta", "bb")):
        cache.get(key, block)
    cache.forget(["aa"])
    assert [cache.has(key) for key in (("delta", "aa", "bb"), ("moments", ("x", ("aa",))))] == [False, False]
    assert not cache.has(("weights", '{"base":"aa"}'))
    assert cache.has(("delta", "bb"))
    assert cache.bytes == ENTRY


def test_a_thread_knows_whether_it_is_computing() -> None:
    cache, seen = StageCache(), []
    cache.get("outer", lambda: cache.get("inner", lambda: seen.append(computing())))
    assert seen == [True]
    assert not computing()


# Memory that two values share.


def test_memory_that_two_values_share_counts_once() -> None:
    cache, shared = StageCache(10 * ENTRY), block()
    cache.get("product", lambda: shared)
    cache.get("merged", lambda: (shared, shared[:5]))
    assert cache.bytes == ENTRY + 256
    cache.get("other", block)
    assert cache.bytes == 2 * ENTRY + 256


def test_shared_memory_is_free_when_the_last_value_has_left() -> None:
    cache, shared = StageCache(2 * ENTRY + 256), block()
    cache.get("product", lambda: shared)
    cache.get("merged", lambda: (shared,))
    cache.get("a", block)
    assert cache.bytes == 2 * ENTRY + 256
    cache.get("b", block)  # the product leaves without freeing enough, and the merged layer with it
    assert (cache.has("product"), cache.has("merged"), cache.has("a"), cache.has("b")) == (False, False, True, True)
    assert cache.bytes == 2 * ENTRY


def test_forgetting_one_of_two_that_share_memory_keeps_the_others_bytes() -> None:
    cache, shared = StageCache(), block()
    for key in (("a", "digest"), ("b", "other")):
        cache.get(key, lambda: shared)
    cache.forget(["digest"])
    assert cache.bytes == ENTRY
    cache.forget(["other"])
    assert cache.bytes == 0
