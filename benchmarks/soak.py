"""Does memory come back: one server through a thousand moves of a knob and fifty projects loaded and left.

    python -m benchmarks soak [--rounds 1000] [--quick]

One page over raw HTTP moves knobs of the demo to values that never come twice, each until its numbers have arrived,
every 20th until all is measured. Then it opens projects of the allowed folder, each of two experts of its own, reads,
decomposes, merges and measures them, and goes back to the demo. The cache has a bound that the warm-up
reaches: what grows after that would be a leak. Told is the server's resident memory (Linux).
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from safetensors.torch import load_file, save_file

from benchmarks.crowd import DEMO, Person, Told, calm, settled, start, values
from benchmarks.http_page import Page, Pieces, Server
from benchmarks.opening import PORT, wait_for_page
from esm_viz import load_recipe
from esm_viz.project.project import Project

MOVES, CYCLES = 1000, 50
WARM, WARM_CYCLES = 100, 3
CACHE = 1.0  # GB: all that a merge of the demo reads, and some sixty merges
TASKS = ("mnist", "fashion")  # of the projects that come and go
PROJECTS = (0.9, 0.8, 0.7)  # each has the demo's experts, so far from the base; the next one has other files
LOOKS = 20  # moves until everything is measured once
PATIENCE = 120.0  # seconds


def main(moves: int, cycles: int) -> None:
    """Print the server's memory as it goes, and by how much it grew."""
    folder = Path(tempfile.mkdtemp(prefix="esm_viz-soak-"))
    try:
        for number, share in enumerate(PROJECTS):
            write_project(folder / f"small-{number}", share)
        server = start("--cache", f"{CACHE}", "--allow-folder", str(folder))
        try:
            wait_for_page(server)
            calm(server.pid)
            asyncio.run(soak(server.pid, moves, cycles))
        finally:
            server.terminate()
            server.wait(60)
    finally:
        shutil.rmtree(folder)


def write_project(folder: Path, share: float) -> None:
    """Write two experts that lie on the way from the demo's base to its own, with the demo's images and heads."""
    demo = DEMO.parent
    recipe = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    recipe["models"] = [model for model in recipe["models"] if model["name"] in TASKS]
    base = load_file(demo / recipe["base_model"]["path"])
    for model in recipe["models"]:
        for kind in ("proxies", "head", "validation", "test"):
            (folder / model[kind]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(demo / model[kind], folder / model[kind])
        tuned = load_file(demo / model["path"])
        (folder / model["path"]).parent.mkdir(exist_ok=True)
        between = {name: base[name].lerp(tensor, share).contiguous() for name, tensor in tuned.items()}
        save_file(between, folder / model["path"])
    shutil.copy(demo / recipe["base_model"]["path"], folder)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")


async def soak(pid: int, moves: int, cycles: int) -> None:
    """Move knobs, then load and leave projects."""
    project = Project.open(load_recipe(DEMO), device="cpu")
    opened, told = await settled(PORT, project), Told()
    person = Person(await Server.of(PORT), project, opened, told)
    await person.page.open()
    await person.page.rest()
    own = values(1, WARM + moves, seed=7)[0]
    visitor = Page(person.page.server)
    await visitor.open()
    await visitor.rest()
    show("open", pid, 0.0)
    for number in range(WARM_CYCLES):
        await load_and_leave(visitor, number)
    for knob, value in own[:WARM]:
        await person.move(knob, value)
    await person.page.rest()
    warm = before = show("warm", pid, 0.0)
    for number, (knob, value) in enumerate(own[WARM:], 1):
        await person.move(knob, value)
        if number % LOOKS == 0:
            await person.page.rest()
        if number % 100 == 0:
            before = show(f"{number} moves", pid, warm)
    print(f"  lost {told.lost}, mixed up {told.mixed}", flush=True)
    for number in range(1, cycles + 1):
        await load_and_leave(visitor, WARM_CYCLES + number)
        if number % 10 == 0:
            after = show(f"{number} projects", pid, warm)
    print(f"  moves {before / warm - 1:+.1%}, projects {after / before - 1:+.1%} more")
    for page in (person.page, visitor):
        page.close()


async def load_and_leave(page: Page, number: int) -> None:
    """Open a project of the allowed folder, have it on screen and measured, and go back to the demo."""
    name = f"small-{number % len(PROJECTS)}"
    await page.act("source", do="source", value="folder")
    await page.act("source", do="folder", value=name)
    await until(page, lambda pieces: name in pieces["found"]["html"] and ready(pieces))
    await page.act("cost", do="decompose")
    await until(page, lambda pieces: f"{name}: on screen" in pieces["found"]["html"])
    await page.rest()
    await page.act("source", do="source", value="demo")
    await until(page, ready)
    await page.act("cost", do="decompose")
    await until(page, lambda pieces: bool(re.search("(?i)demo[^<]*: on screen", pieces["found"]["html"])))


def ready(pieces: Pieces) -> bool:
    """Say whether what is proposed may be decomposed, and no job is in its way."""
    button = re.search(r'<button[^>]*data-do="decompose"[^>]*>', pieces["cost"]["html"])
    return button is not None and "aria-disabled" not in button[0]


async def until(page: Page, seen: Callable[[Pieces], bool]) -> None:
    """Return once a page shows something.

    Raises:
        TimeoutError: it never did.
    """
    async with asyncio.timeout(PATIENCE):
        while not seen(page.pieces):
            await asyncio.sleep(0.02)


def show(what: str, pid: int, warm: float) -> float:
    """Print and return a process's resident memory in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index] # Linux always says it
    grown = f"{found / warm - 1:+6.1%}" if warm else ""
    print(f"  {what:<14} {found:7.0f} MB  {grown}   at {time.monotonic() - BEGUN:4.0f} s", flush=True)
    return found


BEGUN = time.monotonic()
