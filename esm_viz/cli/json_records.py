"""Records as JSON, with the keys that RECIPE promises; a number that is not known is null."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from esm_viz.cli.evaluation_context import ALONE, EvaluationContext
from esm_viz.cli.text_records import OBJECTIVES, measured_text, published_row
from esm_viz.core.records import (
    SEARCH_ON,
    Evaluation,
    ExpertAgreement,
    ExportProof,
    Judgement,
    KnobSearch,
    Routing,
    Score,
    Sweep,
    SweepCell,
    TaskAgreement,
    Which,
)
from esm_viz.hub.download_plan import DownloadPlan
from esm_viz.papers.published_accuracy import EXPERTS, PRETRAINED, SOURCES, Published


def evaluation_json(record: Evaluation, beside: EvaluationContext = ALONE) -> dict[str, Any]:
    """Return an evaluation with the keys that RECIPE promises; NaN (no expert answer right) becomes null.

    Args:
        record: of one recipe's model.
        beside: what is printed beside it; what is empty has no key.
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
    agreement, search_on = beside.agreement, beside.search_on
    if agreement is not None:
        for own in agreement.tasks:
            tasks[own.task]["agreement"] = _agreement(own)
        mean["agreement"] = _agreement(agreement)
    return {
        "tasks": tasks,
        "mean": mean,
        **({"search_on": SEARCH_ON[search_on]} if search_on else {}),
        **(_routing(record.routing) if record.routing else {}),
        **({"published": _published(record, beside.papers)} if beside.papers else {}),
        **({"left_out": list(beside.left_out)} if beside.left_out else {}),
        **({"near_chance": list(beside.near_chance)} if beside.near_chance else {}),
        **({"remarks": list(beside.remarks)} if beside.remarks else {}),
        "method": record.method,
        "alpha": record.alpha,
        "parameters": dict(record.parameters),
        "split": record.split,
        "recipe_sha256": record.recipe_sha256,
        "seconds": record.seconds,
    }


def _agreement(record: TaskAgreement | ExpertAgreement) -> dict[str, Any]:
    """Return agreement with the experts on n proxies, of a task or of all; `value` and `kl` are null without a head."""
    same, divergence, direction = record.same, record.divergence, record.direction
    return {
        "value": same.accuracy if same else None,
        "interval": list(same.interval) if same else None,
        "kl": _finite(divergence.value) if divergence else None,
        "kl_interval": [_finite(divergence.low), _finite(divergence.high)] if divergence else None,
        "direction": _finite(direction.value),
        "direction_interval": [_finite(direction.low), _finite(direction.high)],
        "n": record.n if isinstance(record, TaskAgreement) else record.images,
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
        "search_on": SEARCH_ON[record.search_on] if record.search_on else None,
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
        "search_on": SEARCH_ON[record.objective],
        "images": record.images,
        "knobs": list(record.knobs),
        "method": record.method,
        "seed": record.seed,
    }


def judgement_json(record: Judgement, plan: DownloadPlan) -> dict[str, Any]:
    """Return every model's verdict and what the headers said, and what is to be downloaded, as plain data."""
    one_line = dataclasses.asdict(record)
    files = [
        {**model.pop("facts"), "verdict": verdict["stance"], "words": verdict["words"], "sentence": verdict["sentence"]}
        | model
        for model in one_line.pop("models")
        if (verdict := model.pop("verdict"))
    ]
    names = [
        {"name": each.written, "pinned": each.pinned.written, "bytes": each.size, "missing_bytes": each.missing_bytes}
        for each in plan.names
    ]
    return {**one_line, "files": files, "names": names, "download_bytes": plan.missing_bytes}


def proof_json(record: ExportProof) -> dict[str, Any]:
    """Return an export's proof as plain data."""
    found = {**dataclasses.asdict(record), "files": list(record.files), "file_sha256": record.written[0].sha256}
    found["agreement"] = _agreement(record.agreement) if record.agreement else None
    found["search_on"] = SEARCH_ON[record.search_on] if record.search_on else None
    return found


def _cell_json(cell: SweepCell) -> dict[str, Any]:
    """Return what `evaluate` writes with the interference beside it; without labels, agreement and interference."""
    found = evaluation_json(cell.evaluation) if cell.evaluation else {"tasks": {}, "mean": {}}
    if cell.interference:
        for task, value in zip(cell.interference.tasks, cell.interference.means, strict=True):
            found["tasks"].setdefault(task, {})["interference"] = _finite(value)
        found["mean"]["interference"] = _finite(cell.interference.mean)
    if cell.agreement:
        for row in cell.agreement.tasks:
            found["tasks"].setdefault(row.task, {})["agreement"] = _agreement(row)
        found["mean"]["agreement"] = _agreement(cell.agreement)
    own = {"parameters": dict(cell.parameters), "recipe_sha256": cell.recipe_sha256, "seconds": cell.seconds}
    return found | own


def _score(score: Score) -> dict[str, Any]:
    low, high = score.interval
    return {"accuracy": score.accuracy, "low": low, "high": high, "n": score.n}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
