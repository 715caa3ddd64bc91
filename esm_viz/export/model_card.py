"""The model card of an exported model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from esm_viz.checkpoints.layout_table import Layout
from esm_viz.core.recipe import HUB, Recipe
from esm_viz.core.records import Evaluation, ExpertAgreement, Inspection, Objective
from esm_viz.families.loading_code import library, loading_code
from esm_viz.merge import METHODS
from esm_viz.search.search_objective import CHOSEN
from esm_viz.version import __version__


def model_card(
    recipe: Recipe,
    digests: Mapping[str, str],
    sha256: str,
    inspection: Inspection,
    shown: Sequence[Evaluation],
    layout: Layout,
    config: Mapping[str, Any],
    conditions: str,
    agreement: ExpertAgreement | None,
    search_on: Objective | None,
    *,
    whole: bool,
) -> str:
    """Write what was merged, how, from which files, how well it does, and how to load it.

    Args:
        recipe: with every parameter as a number or a word.
        digests: SHA-256 by path as the recipe writes it.
        sha256: of the recipe.
        inspection: of the files.
        shown: the model's accuracy, a split each.
        layout: of the weights file.
        config: the open_clip model config of its tower.
        conditions: under which the recipe gives the same bits again.
        agreement: with the experts on proxies; None without proxies.
        search_on: what α was chosen by, if it was searched for this export.
        whole: whether it holds a text tower too.
    """
    method = METHODS[recipe.method]
    inputs = [("base", recipe.base), *((model.name, model.path) for model in recipe.models)]
    lines = [
        "---",
        f"library_name: {library(layout)}",
        "tags: [model-merging, essential-subspace-merging, clip]",
        "---",
        f"# {method.title} of {', '.join(recipe.tasks)}",
        "",
        f"{method.summary} Source: {method.source}. Made with esm_viz {__version__}, without training.",
        "",
        "| setting | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in recipe.parameters.items()),
        *(f"| weight of {model.name} | {model.weight:g} |" for model in recipe.models if model.weight != 1.0),
        f"| dtype | {recipe.dtype} |",
        f"| layout | {layout.title} |",
        f"| recipe SHA-256 | `{sha256}` |",
        "",
        "## Merged files",
        "| model | SHA-256 |",
        "|---|---|",
        *(f"| {name}{_hub_name(path)} | `{digests[path]}` |" for name, path in inputs),
        "",
        "## Accuracy",
        *(line for evaluation in shown for line in _accuracy(evaluation)),
        *([] if shown else ["Not measured: the recipe names no labelled images.", ""]),
        *(_agreement(agreement) if agreement else []),
        *([f"α was chosen {CHOSEN[search_on]}.", ""] if search_on else []),
        "## Loading",
        f"`model.safetensors` is {inspection.arch} with {inspection.activation}; its tensors' names are those of the",
        f"{layout.title} layout.",
        "",
        "```python",
        *loading_code(recipe, config, layout, whole),
        "```",
        "",
        *_routed(recipe, shown),
        f"`recipe.yaml` makes the same tensors again, bit for bit on {conditions}; elsewhere up to rounding:",
        "",
        "    python -m esm_viz merge recipe.yaml --out again",
        "",
    ]
    return "\n".join(lines)


def _routed(recipe: Recipe, shown: Sequence[Evaluation]) -> list[str]:
    """Return the lines on loading a model with adapters, and on their number of parameters."""
    static = METHODS[METHODS[recipe.method].static]
    if static.name == recipe.method:
        return []
    arch = f'"", {recipe.arch_config}' if recipe.arch_config else f'"{recipe.arch}", None'
    lines = [
        f"By themselves these are {static.title}'s weights; `experts.safetensors` holds the adapters that each image",
        "is routed to. Both together, for features and routes:",
        "",
        "    from pathlib import Path",
        "    from esm_viz import architecture_of, encode, load_routed",
        "",
        f"    arch = architecture_of({arch})",
        '    tower = load_routed(arch, Path("model.safetensors"), Path("experts.safetensors"))',
        "    features, routes = encode(tower, images), tower.take_routes()",
        "",
    ]
    found = None
    for evaluation in shown:
        found = evaluation.routing
        if found is not None:
            split, share = evaluation.split.capitalize(), _percent(found.mean)
            lines.append(f"{split} images find their own task's adapter in {share} % of the routed layers.")
    if found is not None:
        lines += [
            f"The adapters add {_percent(found.overhead)} % to the tower's parameters; all are",
            f"{_percent(found.of_separate)} % of those of {len(found.tasks)} separate models.",
            "",
        ]
    return lines


def _hub_name(path: str) -> str:
    """Return a name on a hub as code, with a comma before it; empty for a file, whose path is nobody's business."""
    return f", `{path}`" if path.startswith(HUB) else ""


def _accuracy(shown: Evaluation) -> list[str]:
    rows = [
        f"| {row.task} | {row.merged.n} | {_percent(row.pretrained.accuracy)} | {_percent(row.merged.accuracy)} "
        f"({_percent(row.merged.interval[0])} to {_percent(row.merged.interval[1])}) | "
        f"{_percent(row.finetuned.accuracy)} | {_percent(row.normalised)} |"
        for row in shown.tasks
    ]
    means = [_percent(shown.mean(which)) for which in ("pretrained", "merged", "finetuned")]
    return [
        f"On the {shown.split} images of each task, %, with Wilson 95 % intervals; normalised = merged / expert.",
        "",
        "| task | images | pre-trained | merged | expert | normalised |",
        "|---|---|---|---|---|---|",
        *rows,
        f"| **{shown.mean_title}** | | {means[0]} | {means[1]} | {means[2]} | {_percent(shown.mean_normalised)} |",
        "",
        *([f"A dash: {shown.shares_missing}.", ""] if shown.shares_missing else []),
    ]


def _agreement(record: ExpertAgreement) -> list[str]:
    lines = ["## Agreement with the experts", record.sentence]
    if record.objective == "direction":
        lines.append("A task without a head has no predictions to compare; class names are enough to make one.")
    return [*lines, ""]


def _percent(fraction: float) -> str:
    return "–" if math.isnan(fraction) else f"{100 * fraction:.1f}"
