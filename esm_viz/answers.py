"""Records as the command line gives them: JSON with the keys that RECIPE promises, and text for people."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from esm_viz.types import Evaluation, ExportProof, Inspection, Score


def evaluation_json(record: Evaluation) -> dict[str, Any]:
    """Return an evaluation with the keys that RECIPE promises; NaN (no expert answer right) becomes null."""
    tasks = {
        row.task: {
            "pretrained": _score(row.pretrained),
            "finetuned": _score(row.finetuned),
            "merged": _score(row.merged),
            "normalised": _finite(row.normalised),
        }
        for row in record.tasks
    }
    mean: dict[str, Any] = {"normalised": _finite(record.mean_normalised)}
    for which in ("pretrained", "finetuned", "merged"):
        low, high = record.mean_interval(which)
        n = sum(getattr(row, which).n for row in record.tasks)
        mean[which] = {"accuracy": record.mean(which), "low": low, "high": high, "n": n}
    return {
        "tasks": tasks,
        "mean": mean,
        "method": record.method,
        "alpha": record.alpha,
        "parameters": dict(record.parameters),
        "split": record.split,
        "recipe_sha256": record.recipe_sha256,
        "seconds": record.seconds,
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
    sizes = {row.merged.n for row in record.tasks}
    count = str(sizes.pop()) if len(sizes) == 1 else f"{min(sizes)} to {max(sizes)}"
    lines.append(
        f"{record.method}, α {record.alpha:g}, {count} {record.split} images a task, recipe {record.recipe_sha256[:12]}"
    )
    return "\n".join(lines)


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
