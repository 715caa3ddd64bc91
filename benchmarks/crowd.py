"""Thirty people at one studio on the demo: from sending a knob's move to the right numbers, over raw HTTP.

    python -m benchmarks crowd [--rounds 10] [--people 30]

Everybody has a session of their own and moves ten knobs with one to three seconds between, values that nobody else
moves to. The clock starts when a move is sent and stops when the map of interference of exactly that recipe has
arrived, whatever way it came. Lost is a move whose numbers never came; mixed up is an answer that shows a knob or a
recipe which is not that person's. Then the same once more while one more person sweeps two knobs.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

from benchmarks.http_page import Page, Pieces, Server
from benchmarks.opening import PORT, ROOT, processor_seconds, wait_for_page
from esm_viz import load_recipe
from esm_viz.core.recipe import Recipe
from esm_viz.merge import METHODS, with_parameters
from esm_viz.project.project import Project

PEOPLE, MOVES = 30, 10
BETWEEN = (1.0, 3.0)  # seconds
CALM = 0.1  # seconds of processor within two seconds
PATIENCE = 60.0  # seconds until numbers count as lost
KNOBS = ("alpha", "task_exponent", "dimension_exponent", "layer_exponent", "rank_ratio", "spectrum_exponent")
OFTEN = (4, 3, 3, 3, 1, 1)  # how often each of them is moved, out of 15
DEMO = ROOT / "assets" / "demo" / "recipe.yaml"


@dataclass
class Told:
    """What one run found: seconds by knob, what was lost and mixed up, and seconds until an accuracy stood."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {knob: [] for knob in KNOBS})
    accuracy: list[float] = field(default_factory=list)
    lost: int = 0
    mixed: int = 0
    bytes: int = 0
    cells: list[float] = field(default_factory=list)  # when each cell of the sweep was there


class Person:
    """One visitor who knows what should be on screen."""

    def __init__(self, server: Server, project: Project, recipe: Recipe, told: Told) -> None:
        """Sit down."""
        self.page = Page(server, self._see)
        self.project, self.recipe, self.told = project, recipe, told
        self.wanted, self.known = "", {project.sha256(recipe)}
        self.arrived, self.measured = asyncio.Event(), asyncio.Event()

    def _see(self, pieces: Pieces) -> None:
        rail, card, bars = pieces.get("rail"), pieces.get("card-interference"), pieces.get("card-accuracy")
        if rail and rail["recipe"] and rail["recipe"] not in self.known:
            self.told.mixed += 1
        if rail:
            shown = {knob["name"]: knob["value"] for knob in rail["knobs"] if knob["act"] == "knob"}
            self.told.mixed += shown != dict(self.recipe.parameters)
        for piece, event in ((card, self.arrived), (bars, self.measured)):
            if piece and piece.get("figure") and not piece.get("stale"):
                if not any(known.startswith(piece["recipe"]) for known in self.known):
                    self.told.mixed += 1
                elif self.wanted and self.wanted.startswith(piece["recipe"]):
                    event.set()

    async def move(self, knob: str, value: float) -> None:
        """Move a knob and wait for its numbers."""
        self.recipe = with_parameters(self.recipe, **{knob: value})
        self.wanted = self.project.sha256(self.recipe)
        self.known.add(self.wanted)
        self.arrived.clear()
        self.measured.clear()
        begun = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                await self.page.act("rail", do="knob", name=knob, value=value)
                await self.arrived.wait()
        except TimeoutError:
            self.told.lost += 1
            return
        self.told.seconds[knob].append(time.monotonic() - begun)

    async def look(self) -> None:
        """Wait for the accuracy of what was moved last."""
        begun = time.monotonic()
        try:
            async with asyncio.timeout(2 * PATIENCE):
                await self.measured.wait()
            self.told.accuracy.append(time.monotonic() - begun)
        except TimeoutError:
            self.told.lost += 1


def values(people: int, moves: int, seed: int) -> list[list[tuple[str, float]]]:
    """Return everybody's moves; no value of a knob comes twice."""
    chance = random.Random(seed)
    fresh: dict[str, list[float]] = {}
    for knob in KNOBS:
        least, most, _ = METHODS["esm"].knobs[knob].range or (0.0, 1.0, 0.1)
        steps = range(round(1000 * max(least, 0.2)), round(1000 * min(most, 2.0)))
        fresh[knob] = [step / 1000 for step in chance.sample(steps, min(len(steps), people * moves))]
    return [
        [(knob, fresh[knob].pop()) for knob in chance.choices(KNOBS, OFTEN, k=moves)] for _ in range(people)
    ]  # fmt: skip


async def crowd(
    port: int, project: Project, opened: Recipe, moves: list[list[tuple[str, float]]], sweeping: bool
) -> Told:
    """Let everybody move at once and return what they met."""
    server, told, chance = await Server.of(port), Told(), random.Random(len(moves))
    people = [Person(server, project, opened, told) for _ in moves]
    for person in people:
        await person.page.open()
    await asyncio.gather(*(person.page.rest() for person in people))
    sweeper = Page(server, lambda pieces: _cells(pieces, told))
    if sweeping:
        await sweeper.open()
        await sweeper.act("card-sweep", do="sweep-against", value="task_exponent")
        await sweeper.act("card-sweep", do="sweep-steps", value="13")
        await sweeper.act("card-sweep", do="sweep")

    async def sit(person: Person, own: list[tuple[str, float]], pauses: list[float]) -> None:
        for (knob, value), pause in zip(own, pauses, strict=True):
            await asyncio.sleep(pause)
            await person.move(knob, value)
        await person.look()

    pauses = [[chance.uniform(*BETWEEN) for _ in own] for own in moves]
    await asyncio.gather(*(sit(*each) for each in zip(people, moves, pauses, strict=True)))
    told.bytes = sum(person.page.bytes for person in people)
    for page in (sweeper, *(person.page for person in people)):
        page.close()
    return told


def _cells(pieces: Pieces, told: Told) -> None:
    if "card-sweep" in pieces and " of 169 cells" in pieces["card-sweep"].get("controls", ""):
        told.cells.append(time.monotonic())


def main(people: int, rounds: int) -> None:
    """Print the seconds from a move to its numbers, alone and beside somebody's sweep."""
    project = Project.open(load_recipe(DEMO), device="cpu")
    for sweeping in (False, True):
        server = start()
        try:
            wait_for_page(server)
            opened = asyncio.run(settled(PORT, project))
            calm(server.pid)
            before, begun = processor_seconds(server.pid), time.monotonic()
            told = asyncio.run(crowd(PORT, project, opened, values(people, rounds, seed=5), sweeping))
            used, lasted = processor_seconds(server.pid) - before, time.monotonic() - begun
        finally:
            server.terminate()
            server.wait(60)
        _print(told, people * rounds, used, lasted, sweeping)


async def settled(port: int, project: Project) -> Recipe:
    """Wait until a server has measured what its page opens on, and return that recipe."""
    page = Page(await Server.of(port))
    await page.open()
    await page.rest()
    knobs = {knob["name"]: knob["value"] for knob in page.pieces["rail"]["knobs"] if knob["act"] == "knob"}
    page.close()
    return with_parameters(project.recipe, **knobs)


def calm(pid: int) -> None:
    """Wait until a server that has just started has measured all that it does beside its page."""
    used, before = processor_seconds(pid), -1.0
    while used - before > CALM:
        time.sleep(2)
        used, before = processor_seconds(pid), used


def start(*flags: str) -> subprocess.Popen[bytes]:
    """Start the studio on the demo as a person does."""
    command = [sys.executable, "app.py", "--port", str(PORT), "--device", "cpu", *flags]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _print(told: Told, moves: int, used: float, lasted: float, sweeping: bool) -> None:
    print("beside a sweep" if sweeping else "nobody sweeps")
    every = [second for seconds in told.seconds.values() for second in seconds]
    for knob, seconds in {**told.seconds, "all moves": every, "then accuracy": told.accuracy}.items():
        if seconds:
            print(f"  {knob:<20} {_row(seconds)}")
    each = f"{1000 * used / moves:.0f} ms of processor and {told.bytes / moves / 1000:.0f} kB a move"
    print(f"  {moves} moves in {lasted:.0f} s, {each}, lost {told.lost}, mixed up {told.mixed}", flush=True)
    if told.cells:
        print(f"  cells of the sweep seen: {len(told.cells)}")


def _row(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    high = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    return (
        f"median {statistics.median(ordered):6.2f}  p95 {high:6.2f}  most {ordered[-1]:6.2f} s   (n = {len(ordered)})"
    )
