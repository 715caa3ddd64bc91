"""Records as JSON, with the keys that RECIPE promises; a number that is not known is null."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from esm_viz.cli.text_records import OBJECTIVES, measured_text, published_row
from esm_viz.core.records import (
    Evaluation,
    ExportProof,
    Judgement,
    KnobSearch,
    Routing,
    Score,
    Sweep,
    SweepCell,
    Which,
)
from esm_viz.papers.published_accuracy import EXPERTS, PRETRAINED, SOURCES, Published


def evaluation_json(
    record: Evaluation,
    papers: Mapping[str, Published] = MappingProxyType({}),
    left_out: Sequence[str] = (),
    near_chance: Sequence[str] = (),
    remarks: Sequence[str] = (),
) -> dict[str, Any]:
    """Return an evaluation with the keys that RECIPE promises; NaN (no expert answer right) becomes null.

    Args:
        record: of one recipe's model.
        papers: what is published for its architecture and tasks; there is no such key where nothing is.
        left_out: which images could not be read, in sentences.
        near_chance: which experts do no better than guessing, in sentences.
        remarks: what else the numbers depend on, in sentences.
    """
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
        **({"published": _published(record, papers)} if papers else {}),
        **({"left_out": list(left_out)} if left_out else {}),
        **({"near_chance": list(near_chance)} if near_chance else {}),
        **({"remarks": list(remarks)} if remarks else {}),
        "method": record.method,
        "alpha": record.alpha,
        "parameters": dict(record.parameters),
        "split": record.split,
        "recipe_sha256": record.recipe_sha256,
        "seconds": record.seconds,
    }


def _routing(record: Routing) -> dict[str, Any]:
    """Return how images found their adapters, and what the adapters weigh."""
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


def _published(record: Evaluation, papers: Mapping[str, Published]) -> dict[str, Any]:
    """Return the papers' means in per cent, of base, experts and this method: their fine-tunes, not to be ranked."""
    rows = {"pretrained": PRETRAINED, "finetuned": EXPERTS, "merged": published_row(record)}
    return {
        **{which: dataclasses.asdict(papers[row]) for which, row in rows.items() if row in papers},
        "sources": list(SOURCES),
    }


def sweep_json(record: Sweep) -> dict[str, Any]:
    """Return a sweep with the keys that RECIPE promises; cells in the order of the grid, the last knob fastest."""
    names = [name for name, _ in record.grid]
    return {
        "cells": [
            {"values": dict(zip(names, point, strict=True)), **_cell_json(cell)}
            for point, cell in zip(record.points, record.cells, strict=True)
        ],
        "grid": {name: list(values) for name, values in record.grid},
        "baseline": record.baseline,
        "best": record.best,
        "measured": measured_text(record),
        "split": record.split,
        "n": record.images,
        "method": record.method,
        "recipe_sha256": record.recipe_sha256,
        "seconds": record.seconds,
    }


def search_json(record: KnobSearch) -> dict[str, Any]:
    """Return a knob search: its trace, the best trial, and by what they were judged."""
    trials = [{"parameters": dict(trial.parameters), "value": _finite(trial.value)} for trial in record.trials]
    return {
        "trials": trials,
        "best": record.best,
        "best_so_far": [_finite(value) for value in record.best_so_far],
        "objective": OBJECTIVES[record.objective],
        "images": record.images,
        "knobs": list(record.knobs),
        "method": record.method,
        "seed": record.seed,
    }


def judgement_json(record: Judgement) -> dict[str, Any]:
    """Return every model's verdict and what the headers said, as plain data."""
    one_line = dataclasses.asdict(record)
    files = [
        {**model.pop("facts"), "verdict": verdict["stance"], "words": verdict["words"], "sentence": verdict["sentence"]}
        | model
        for model in one_line.pop("models")
        if (verdict := model.pop("verdict"))
    ]
    return {**one_line, "files": files}


def proof_json(record: ExportProof) -> dict[str, Any]:
    """Return an export's proof as plain data."""
    return {**dataclasses.asdict(record), "files": list(record.files), "file_sha256": record.written[0].sha256}


def _cell_json(cell: SweepCell) -> dict[str, Any]:
    """Return what `evaluate` writes, with the interference beside it; that alone where there are no labels."""
    found = evaluation_json(cell.evaluation) if cell.evaluation else {"tasks": {}, "mean": {}}
    if cell.interference:
        for task, value in zip(cell.interference.tasks, cell.interference.means, strict=True):
            found["tasks"].setdefault(task, {})["interference"] = _finite(value)
        found["mean"]["interference"] = _finite(cell.interference.mean)
    own = {"parameters": dict(cell.parameters), "recipe_sha256": cell.recipe_sha256, "seconds": cell.seconds}
    return found | own


def _score(score: Score) -> dict[str, Any]:
    low, high = score.interval
    return {"accuracy": score.accuracy, "low": low, "high": high, "n": score.n}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
