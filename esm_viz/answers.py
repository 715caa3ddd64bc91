"""Records as the command line gives them: JSON with the keys that RECIPE promises, and text for people."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from esm_viz import figures
from esm_viz.explore import pairs_of
from esm_viz.figures.page import pictures_page
from esm_viz.pipeline import Project
from esm_viz.recipe import Recipe
from esm_viz.types import Evaluation, ExportProof, Inspection, Report, Routing, Score, Which

SHARES = (0.5, 0.9, 0.99)
_MAP_HEIGHT, _HEIGHT = 340, 380  # px


def explore_json(project: Project, recipe: Recipe, report: Report) -> dict[str, Any]:
    """Return every decomposition as numbers: eigenvalues, energies, ranks, overlaps, angles, norms."""
    layers, tasks = project.layers, project.tasks
    result: dict[str, Any] = {
        "tasks": list(tasks),
        "layers": [layer.name for layer in layers],
        "recipe_sha256": project.sha256(recipe),
        "eigenvalues": {task: {} for task in tasks},
        "energy_svd": {task: {} for task in tasks},
        "rank_for_energy": {f"{share:g}": {task: {} for task in tasks} for share in SHARES},
        "norms": {task: {} for task in tasks},
        "rank": {},
        "overlap": {},
        "overlap_random": {},
        "principal_angles": {},
    }
    norms = project.layer_map("norm", recipe, lambda fraction, words: report(fraction / 2, words))
    for step, layer in enumerate(layers):
        report(0.5 + step / (2 * len(layers)), f"measuring {layer.label}")
        for at, task in enumerate(tasks):
            spectrum = project.spectrum(task, layer.name, recipe)
            result["eigenvalues"][task][layer.name] = list(spectrum.eigenvalues)
            result["energy_svd"][task][layer.name] = list(spectrum.energy_svd)
            result["rank"][layer.name] = spectrum.rank
            result["norms"][task][layer.name] = norms.values[at][step]
            ranks = project.ranks_for_energy(task, layer.name, SHARES)
            for share, rank in zip(SHARES, ranks, strict=True):
                result["rank_for_energy"][f"{share:g}"][task][layer.name] = rank
        overlap = project.overlap(layer.name, recipe)
        result["overlap"][layer.name] = [list(row) for row in overlap.values]
        result["overlap_random"][layer.name] = overlap.random_level
        result["principal_angles"][layer.name] = {
            f"{a}|{b}": list(project.angles(layer.name, a, b, recipe).degrees) for a, b in pairs_of(tasks)
        }
    return result


def explore_page(project: Project, recipe: Recipe, report: Report) -> str:
    """Return one HTML page: the maps, then spectrum and overlap of the layer whose tasks overlap most."""
    maps = [(title, project.layer_map(kind, recipe, report)) for kind, title in _titles()]
    pictures = [(title, figures.layer_map_figure(record), _MAP_HEIGHT) for title, record in maps]
    mean = next(record for _, record in maps if record.kind == "overlap")
    busiest = max(range(len(project.layers)), key=lambda at: sum(row[at] for row in mean.values))
    layer = project.layers[busiest]
    pictures.append((f"Overlap at {layer.label}", figures.overlap_figure(project.overlap(layer.name, recipe)), 460))
    for at, task in enumerate(project.tasks):
        spectrum = project.spectrum(task, layer.name, recipe)
        pictures.append((f"{layer.label}, {task}", figures.spectrum_figure(spectrum, at), _HEIGHT))
    said = f"{project.inspection.arch}, {len(project.tasks)} tasks: {', '.join(project.tasks)}."
    return pictures_page("Where did fine-tuning change the model?", said, pictures)


def _titles() -> list[tuple[str, str]]:
    return [(kind, how.name) for kind, how in figures.KINDS.items()]


def evaluation_json(record: Evaluation) -> dict[str, Any]:
    """Return an evaluation with the keys that RECIPE promises; NaN (no expert answer right) becomes null."""
    models: tuple[Which, ...] = ("pretrained", "finetuned", "merged", "oracle")
    tasks: dict[str, dict[str, Any]] = {row.task: {"normalised": _finite(row.normalised)} for row in record.tasks}
    mean: dict[str, Any] = {"normalised": _finite(record.mean_normalised)}
    for which in models:
        scores = record.scores(which)
        if not scores:  # no oracle
            continue
        for row, score in zip(record.tasks, scores, strict=True):
            tasks[row.task][which] = _score(score)
        low, high = record.mean_interval(which)
        n = sum(score.n for score in scores)
        mean[which] = {"accuracy": record.mean(which), "low": low, "high": high, "n": n}
    return {
        "tasks": tasks,
        "mean": mean,
        **(_routing(record.routing) if record.routing else {}),
        "method": record.method,
        "alpha": record.alpha,
        "parameters": dict(record.parameters),
        "split": record.split,
        "recipe_sha256": record.recipe_sha256,
        "seconds": record.seconds,
    }


def _routing(record: Routing) -> dict[str, Any]:
    """Return how images found their experts, and what the experts weigh."""
    names = [layer.name for layer in record.layers]
    return {
        "routing": {
            task: dict(zip(names, row, strict=True)) for task, row in zip(record.tasks, record.shares, strict=True)
        },
        "routing_mean": record.mean,
        "overhead": {
            "parameters": record.parameters,
            "of_base": record.overhead,
            "of_separate_models": record.of_separate,
        },
    }


def evaluation_text(record: Evaluation) -> str:
    """Return an evaluation as a table for people."""
    lines = [f"{'task':<16}{'pre-trained':>12}{'expert':>9}{'merged':>9}   {'95 %':<14}{'of expert':>9}"]
    for row in record.tasks:
        low, high = row.merged.interval
        accuracies = f"{_pc(row.pretrained.accuracy):>12}{_pc(row.finetuned.accuracy):>9}{_pc(row.merged.accuracy):>9}"
        lines.append(f"{row.task:<16.16}{accuracies}   {f'{_pc(low)} to {_pc(high)}':<14}{_pc(row.normalised):>9}")
    low, high = record.mean_interval("merged")
    means = f"{_pc(record.mean('pretrained')):>12}{_pc(record.mean('finetuned')):>9}{_pc(record.mean('merged')):>9}"
    lines.append(f"{'mean':<16}{means}   {f'{_pc(low)} to {_pc(high)}':<14}{_pc(record.mean_normalised):>9}")
    if record.routing is not None:
        lines += _routing_lines(record, record.routing)
    sizes = {row.merged.n for row in record.tasks}
    count = str(sizes.pop()) if len(sizes) == 1 else f"{min(sizes)} to {max(sizes)}"
    lines.append(
        f"{record.method}, α {record.alpha:g}, {count} {record.split} images a task, recipe {record.recipe_sha256[:12]}"
    )
    return "\n".join(lines)


def _routing_lines(record: Evaluation, routing: Routing) -> list[str]:
    """Return routing, its upper bound and its cost, a line each."""
    tasks = (f"{task} {_pc(sum(row) / len(row))}" for task, row in zip(routing.tasks, routing.shares, strict=True))
    where = f"mean of {len(routing.layers)} layers"
    lines = [f"routed to the own low-rank expert, {where}: {_pc(routing.mean)} ({', '.join(tasks)})"]
    if routing.oracle:
        lines.append(f"with oracle routing {_pc(record.mean('oracle'))}")
    lines.append(
        f"low-rank experts add {_pc(routing.overhead)} % to the parameters; all are {_pc(routing.of_separate)} % of "
        f"{len(routing.tasks)} separate models"
    )
    return lines


def inspection_json(record: Inspection) -> dict[str, Any]:
    """Return what the headers said, as plain data."""
    return dataclasses.asdict(record)


def inspection_text(record: Inspection) -> str:
    """Return what the headers said, for people."""
    lines = [f"{record.arch}, {record.activation}, {len(record.layers)} matrices in {len(record.files)} files"]
    for file in record.files:
        extra = f", {len(file.extra)} other tensors" if file.extra else ""
        lines.append(
            f"  {file.name:<16} {file.file}: {file.layout}, {file.dtype}, "
            f"{file.parameters / 1e6:.2f} M parameters, {file.matched} keys matched{extra}"
        )
    lines += [f"note: {note}" for note in record.notes]
    lines.append(
        f"expect about {record.memory_bytes / 1e6:.0f} MB and {_seconds(record.seconds)} to decompose and merge"
    )
    return "\n".join(lines)


def proof_json(record: ExportProof) -> dict[str, Any]:
    """Return an export's proof as plain data."""
    return dataclasses.asdict(record)


def proof_text(record: ExportProof) -> str:
    """Return an export's proof for people."""
    lines = [f"wrote {', '.join(record.files)} to {record.folder}, read them again, and compared:"]
    lines += [f"  ✓ {row.what}: {row.in_file:.60}" for row in record.rows]
    lines.append(f"recipe {record.recipe_sha256}")
    return "\n".join(lines)


def _score(score: Score) -> dict[str, Any]:
    low, high = score.interval
    return {"accuracy": score.accuracy, "low": low, "high": high, "n": score.n}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _pc(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return "under a second"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
