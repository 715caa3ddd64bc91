"""The model card that lies beside an exported model."""

from __future__ import annotations

from collections.abc import Mapping

from esm_viz.merge import METHODS
from esm_viz.recipe import Recipe
from esm_viz.types import Evaluation, Inspection


def model_card(
    recipe: Recipe, digests: Mapping[str, str], sha256: str, inspection: Inspection, shown: Evaluation | None
) -> str:
    """Write what was merged, how, from which files, how well it does, and how to load it."""
    method = METHODS[recipe.method]
    inputs = [("base", recipe.base), *((model.name, model.path) for model in recipe.models)]
    lines = [
        "---",
        "library_name: open_clip",
        "tags: [model-merging, essential-subspace-merging, clip]",
        "---",
        f"# {method.title} of {', '.join(recipe.tasks)}",
        "",
        f"{method.summary} Source: {method.source}. Made with esm_viz, without training.",
        "",
        "| setting | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in recipe.parameters.items()),
        f"| dtype | {recipe.dtype} |",
        f"| recipe SHA-256 | `{sha256}` |",
        "",
        "## Merged files",
        "| model | SHA-256 |",
        "|---|---|",
        *(f"| {name} | `{digests[path]}` |" for name, path in inputs),
        "",
        *_accuracy(shown),
        "## Loading",
        f"`model.safetensors` is {inspection.arch} with {inspection.activation}, in the base's layout.",
        *_routed(recipe, shown),
        "`recipe.yaml` makes the same tensors again:",
        "",
        "    python -m esm_viz merge recipe.yaml --out again",
        "",
    ]
    return "\n".join(lines)


def _routed(recipe: Recipe, shown: Evaluation | None) -> list[str]:
    """Say how to load a model with experts, and what they weigh."""
    static = METHODS[METHODS[recipe.method].static]
    if static.name == recipe.method:
        return []
    arch = f'"", {recipe.arch_config}' if recipe.arch_config else f'"{recipe.arch}", None'
    lines = [
        f"By themselves these are {static.title}'s weights; `experts.safetensors` holds the experts that each image is",
        "routed to. Both together, for features and routes:",
        "",
        "    from pathlib import Path",
        "    from esm_viz.models.routed import load_routed",
        "    from esm_viz.models.tower import Architecture, encode",
        "",
        f"    arch = Architecture({arch})",
        '    tower = load_routed(arch, Path("model.safetensors"), Path("experts.safetensors"))',
        "    features, routes = encode(tower, images), tower.take_routes()",
        "",
    ]
    found = shown.routing if shown else None
    if found is not None:
        lines += [
            f"Images find their own task's expert in {_percent(found.mean)} % of the routed layers. The experts add",
            f"{_percent(found.overhead)} % to the tower's parameters; all are {_percent(found.of_separate)} % of",
            f"those of {len(found.tasks)} separate models.",
            "",
        ]
    return lines


def _accuracy(shown: Evaluation | None) -> list[str]:
    if shown is None:
        return ["## Accuracy", "Not measured: the recipe names no labelled images.", ""]
    rows = [
        f"| {row.task} | {row.merged.n} | {_percent(row.pretrained.accuracy)} | {_percent(row.merged.accuracy)} "
        f"({_percent(row.merged.interval[0])} to {_percent(row.merged.interval[1])}) | "
        f"{_percent(row.finetuned.accuracy)} | {_percent(row.normalised)} |"
        for row in shown.tasks
    ]
    means = [_percent(shown.mean(which)) for which in ("pretrained", "merged", "finetuned")]
    return [
        "## Accuracy",
        f"On the {shown.split} images of each task, %, with Wilson 95 % intervals; normalised = merged / expert.",
        "",
        "| task | images | pre-trained | merged | expert | normalised |",
        "|---|---|---|---|---|---|",
        *rows,
        f"| **mean** | | {means[0]} | {means[1]} | {means[2]} | {_percent(shown.mean_normalised)} |",
        "",
    ]


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"
