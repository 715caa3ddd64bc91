"""The line for work: who is next, who steps aside, what a crash leaves, all with jobs that do nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from esm_viz.core.errors import Cancelled
from esm_viz.runtime import thread_pool
from esm_viz.runtime.stage_cache import StageCache
from esm_viz.ui.jobs import background_job, job_queue
from esm_viz.ui.jobs.background_job import UNEXPECTED, Job
from esm_viz.ui.jobs.job_queue import LATER, LONG, NOW, SOON, JobQueue, Turn
from esm_viz.ui.page.header_bar import ordinal

WAIT = 20.0  # seconds, only ever reached where something is wrong


class Clock:
    """Seconds that only a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> JobQueue:
    """Return a line with one permit for any work, so that one job works at a time."""
    made = JobQueue((LONG,), clock=clock)
    monkeypatch.setattr(background_job, "WORKERS", made)
    monkeypatch.setattr(job_queue, "EASE", 0.0)
    return made


class Told:
    """Jobs that write down their name when they work, and one that holds the permit until the test lets go."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.wrong: list[str] = []
        self.open = threading.Event()
        self.held = threading.Event()
        self.jobs: list[Job] = []

    def hold(self) -> Job:
        def work(job: Job) -> None:
            self.held.set()
            self.open.wait(WAIT)

        job = Job("hold", owner="holder").start(work, self.wrong.append)
        assert self.held.wait(WAIT)
        return job

    def add(self, name: str, owner: str, urgency: int = NOW) -> Job:
        job = Job(name, owner=owner, urgency=urgency)
        self.jobs.append(job.start(lambda job: self.names.append(name), self.wrong.append))
        return job

    def end(self) -> list[str]:
        self.open.set()
        for job in self.jobs:
            assert job.done.wait(WAIT)
        return self.names


@pytest.fixture
def told(line: JobQueue) -> Iterator[Told]:
    made = Told()
    yield made
    made.end()


def test_short_work_goes_before_long_work_whoever_came_first(told: Told) -> None:
    told.hold()
    for name, urgency in (("sweep", LONG), ("all images", LATER), ("some images", SOON), ("knob", NOW)):
        told.add(name, name, urgency)
    assert told.end() == ["knob", "some images", "all images", "sweep"]


def test_people_take_turns_however_much_one_of_them_asks_for(told: Told) -> None:
    told.hold()
    for name in ("a1", "a2", "a3", "b1", "c1"):
        told.add(name, name[0])

    assert told.end() == ["a1", "b1", "c1", "a2", "a3"]


def test_what_waits_long_enough_goes_first(told: Told, clock: Clock) -> None:
    told.hold()
    told.add("old", "one", LATER)
    clock.now += 2 * job_queue.AGEING
    told.add("new", "two", SOON)
    assert told.end() == ["old", "new"]


def test_a_newer_knob_takes_the_place_of_the_older_one(told: Told) -> None:
    told.hold()
    older = told.add("older", "one")
    older.cancel()
    assert older.done.is_set()
    told.add("newer", "one")
    assert told.end() == ["newer"]


def test_the_place_in_line_is_told(told: Told) -> None:
    held = told.hold()
    first, second, third = (told.add(name, name, LATER) for name in "abc")
    assert [job.place for job in (held, first, second, third)] == [0, 1, 2, 3]
    urgent = told.add("d", "d")
    assert (urgent.place, first.place) == (1, 2)


def test_who_waits_for_own_work_alone_is_told_no_place(told: Told) -> None:
    told.hold()
    own = [told.add(name, "holder", LATER) for name in "ab"]
    assert [job.place for job in own] == [0, 0]
    other = told.add("c", "other", LATER)
    assert [job.place for job in (*own, other)] == [2, 3, 1]


def test_a_full_line_refuses_in_one_sentence(told: Told, line: JobQueue) -> None:
    told.hold()
    line.most = 1
    told.add("fits", "one")
    refused = told.add("does not", "two")
    assert refused.done.is_set()
    assert told.wrong == ["the server is busy, 1 pieces of work wait, try again in a minute"]


def test_long_work_steps_aside_at_its_boundary_and_goes_on_afterwards(told: Told) -> None:
    begun, go = threading.Event(), threading.Event()

    def sweep(job: Job) -> None:
        begun.set()
        go.wait(WAIT)
        job.progress(0.5, "cell 2")
        told.names.append("sweep")

    long = Job("sweep", tells=True, owner="one").start(sweep, told.wrong.append)
    assert begun.wait(WAIT)
    told.add("knob", "two")
    go.set()
    assert long.done.wait(WAIT)
    assert told.names == ["knob", "sweep"]


def test_two_long_jobs_take_turns_after_a_while(told: Told, clock: Clock) -> None:
    begun, go = threading.Event(), threading.Event()

    def sweep(job: Job) -> None:
        begun.set()
        go.wait(WAIT)
        for cell in range(2):
            clock.now += job_queue.QUANTUM
            job.progress(cell / 2, "cell")
        told.names.append("first")

    first = Job("sweep", tells=True, owner="one").start(sweep, told.wrong.append)
    assert begun.wait(WAIT)
    told.add("second", "two", LONG)
    go.set()
    assert first.done.wait(WAIT)
    assert told.names == ["second", "first"]


def test_nobody_steps_aside_with_a_value_that_others_may_be_waiting_for(told: Told) -> None:
    begun, go, cache = threading.Event(), threading.Event(), StageCache(1000)

    def sweep(job: Job) -> None:
        def compute() -> int:
            begun.set()
            go.wait(WAIT)
            job.progress(0.5, "")
            told.names.append("computed")
            return 1

        cache.get("key", compute)

    long = Job("sweep", tells=True, owner="one").start(sweep, told.wrong.append)
    assert begun.wait(WAIT)
    told.add("knob", "two")
    go.set()
    assert long.done.wait(WAIT)
    assert told.end() == ["computed", "knob"]


def test_a_job_in_steps_leaves_its_thread_between_them(told: Told) -> None:
    def steps(job: Job) -> Iterator[Turn]:
        told.names.append("merge")
        told.add("knob", "two")
        yield Turn(LATER)
        told.names.append("measure")

    job = Job("Merging", owner="one").start(steps, told.wrong.append)
    assert job.done.wait(WAIT)
    assert told.names == ["merge", "knob", "measure"]


def test_a_job_that_is_cancelled_between_two_steps_ends_at_once(told: Told) -> None:
    waits = threading.Event()

    def steps(job: Job) -> Iterator[Turn]:
        waits.set()
        yield Turn(LATER, after=1e6)

    job = Job("Merging", owner="one").start(steps, told.wrong.append)
    assert waits.wait(WAIT)
    told.add("knob", "two").done.wait(WAIT)  # the step is over
    job.cancel()
    assert job.done.wait(WAIT)
    assert not told.wrong


def test_cancelling_ends_a_job_at_its_next_boundary(told: Told) -> None:
    begun, go = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        begun.set()
        go.wait(WAIT)
        job.progress(0.5, "")
        told.names.append("went on")

    ended: list[str] = []
    job = Job("x", owner="one").start(work, told.wrong.append, lambda: ended.append("ended"))
    assert begun.wait(WAIT)
    job.cancel()
    go.set()
    assert job.done.wait(WAIT)
    assert (told.names, told.wrong) == ([], [])
    told.add("next", "two").done.wait(WAIT)
    assert ended == ["ended"]


@pytest.mark.parametrize("crash", [MemoryError, SystemExit, KeyboardInterrupt, ZeroDivisionError, BaseException])
def test_a_crash_stays_in_its_job_and_the_next_one_works(told: Told, crash: Callable[[], BaseException]) -> None:
    def work(job: Job) -> None:
        raise crash()

    job = Job("x", owner="one").start(work, told.wrong.append)
    assert job.done.wait(WAIT)
    assert told.add("next", "two").done.wait(WAIT)
    assert (told.names, told.wrong) == (["next"], [UNEXPECTED])


def test_a_pause_gives_the_permit_away(told: Told) -> None:
    paused = threading.Event()

    def work(job: Job) -> None:
        paused.set()
        job.pause(1e6)

    job = Job("x", owner="one").start(work, told.wrong.append)
    assert paused.wait(WAIT)
    assert told.add("other", "two").done.wait(WAIT)
    job.cancel()
    assert job.done.wait(WAIT)


def test_a_job_that_never_started_only_sleeps() -> None:
    job = Job("x")
    job.pause(0.0)
    job.cancel()
    with pytest.raises(Cancelled):
        job.pause(0.0)


def test_a_lent_permit_comes_back_and_none_is_lost(told: Told, line: JobQueue) -> None:
    for _ in range(3):
        begun, go = threading.Event(), threading.Event()

        def measure(job: Job, begun: threading.Event = begun, go: threading.Event = go) -> None:
            begun.set()
            go.wait(WAIT)
            job.progress(0.5, "")

        job = Job("x", owner="one", urgency=LATER).start(measure, told.wrong.append)
        assert begun.wait(WAIT)
        told.add("knob", "two")
        go.set()
        assert job.done.wait(WAIT)
    told.end()
    told.add("last", "two").done.wait(WAIT)
    with line._change:
        line._change.wait_for(lambda: bool(line._free), WAIT)
    assert [permit.least for permit in line._free] == [LONG]


@pytest.mark.parametrize(("number", "words"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (11, "11th"), (22, "22nd")])
def test_a_place_is_written_as_people_do(number: int, words: str) -> None:
    assert ordinal(number) == words


def test_a_worker_that_begins_while_another_computes_alone_has_all_threads(
    two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage is computed with one thread, and what begins meanwhile would take that number for its whole life."""
    monkeypatch.setattr(background_job, "WORKERS", JobQueue((LONG, LONG)))
    alone, asked = threading.Event(), threading.Event()
    counts: list[int] = []
    both = threading.Barrier(2, timeout=WAIT)
    wrong: list[str] = []

    def compute(job: Job) -> None:
        with thread_pool.one_thread():
            alone.set()
            asked.wait(WAIT)

    def ask(job: Job) -> None:
        counts.append(torch.get_num_threads())
        asked.set()

    def spread(job: Job) -> None:
        thread_pool.parallel_map(lambda piece: both.wait(), range(2))

    first = Job("computes", owner="a").start(compute, wrong.append)
    assert alone.wait(WAIT)
    jobs = [first, Job("begins", owner="b").start(ask, wrong.append)]
    assert all(job.done.wait(WAIT) for job in jobs)
    for owner in "ab":  # whichever of the two workers takes it, its pieces run side by side
        later = Job("later", owner=owner).start(spread, wrong.append)
        assert later.done.wait(2 * WAIT)
    assert counts == [2]
    assert not wrong
