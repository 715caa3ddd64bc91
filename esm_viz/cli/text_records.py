"""Records as text for people, as the command line prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from esm_viz.cli.evaluation_context import ALONE, EvaluationContext
from esm_viz.core.errors import one_line
from esm_viz.core.recipe import HeadWords, Recipe
from esm_viz.core.records import (
    Evaluation,
    ExportProof,
    Judgement,
    KnobSearch,
    KnobTrial,
    Objective,
    Routing,
    Stance,
    Sweep,
    SweepCell,
)
from esm_viz.figures.number_format import duration, percent, size
from esm_viz.hub.download_plan import DownloadPlan
from esm_viz.papers.published_accuracy import EXPERTS, PRETRAINED, SOURCES, Published, row_of
from esm_viz.search.knob_sweep import written
from esm_viz.search.search_objective import CHOSEN

OBJECTIVES: dict[Objective, str] = {
    "normalised": "mean normalised validation accuracy",
    "divergence": "minus mean KL(expert ‖ merged) on the proxies, for want of labelled validation images",
    "direction": "mean feature direction on the proxies, for want of labelled validation images and heads",
}
_SIGNS: dict[Stance, str] = {"ready": "✓", "check": "△", "refused": "✕"}
_WORDS: dict[Objective, str] = {
    "normalised": "% of the experts",
    "divergence": "KL(expert ‖ merged)",
    "direction": "feature direction",
}


def found_text(recipe: Recipe, arch: str, remarks: Sequence[str]) -> str:
    """Return what was found in a folder as a table for people.

    Args:
        recipe: as it was written.
        arch: says where the architecture is from.
        remarks: sentences about the preparation of images, and what no model was made of.
    """
    title = "its own config" if recipe.arch_config else recipe.arch
    width = max(14, *(len(task) for task in recipe.tasks)) + 2
    lines = [f"{'base':<{width}}{recipe.base}, architecture {title} {arch}".rstrip()]
    for model in recipe.models:
        parts = ("proxies", "head", "validation", "test")
        beside = [f"{part} {path}" for part in parts if (path := getattr(model, part))]
        lines.append(f"{model.name:<{width}}{', '.join((model.path, *beside))}")
    return "\n".join(filter(None, (*lines, *remarks)))


def published_row(record: Evaluation) -> str:
    """Return the row of the papers' tables that an evaluation stands beside."""
    return row_of(record.method, record.parameters.get("expert_rank"))


def evaluation_text(record: Evaluation, beside: EvaluationContext = ALONE) -> str:
    """Return an evaluation as a table for people; arguments as in `evaluation_json`."""
    lines = [f"{'task':<16}{'pre-trained':>12}{'expert':>9}{'merged':>9}   {'95 %':<14}{'of expert':>9}"]
    for row in record.tasks:
        low, high = row.merged.interval
        accuracies = f"{_pc(row.pretrained.accuracy):>12}{_pc(row.finetuned.accuracy):>9}{_pc(row.merged.accuracy):>9}"
        lines.append(f"{row.task:<16.16}{accuracies}   {f'{_pc(low)} to {_pc(high)}':<14}{_pc(row.normalised):>9}")
    low, high = record.mean_interval("merged")
    means = f"{_pc(record.mean('pretrained')):>12}{_pc(record.mean('finetuned')):>9}{_pc(record.mean('merged')):>9}"
    lines.append(f"{record.mean_title:<16}{means}   {f'{_pc(low)} to {_pc(high)}':<14}{_pc(record.mean_normalised):>9}")
    if beside.papers:
        lines.append(_published_line(record, beside.papers))
    if record.routing is not None:
        lines += _routing_lines(record, record.routing)
    if beside.agreement is not None:
        lines.append(beside.agreement.sentence)
    if beside.search_on is not None:
        lines.append(f"α {record.alpha:g} was chosen {CHOSEN[beside.search_on]}")
    notes = (*beside.left_out, record.shares_missing, *beside.near_chance, *beside.remarks)
    lines += [f"note: {told}" for told in notes if told]
    sizes = {row.merged.n for row in record.tasks}
    count = str(sizes.pop()) if len(sizes) == 1 else f"{min(sizes)} to {max(sizes)}"
    lines.append(
        f"{record.method}, α {record.alpha:g}, {count} {record.split} images a task, recipe {record.recipe_sha256[:12]}"
    )
    return "\n".join(lines)


def _published_line(record: Evaluation, papers: Mapping[str, Published]) -> str:
    """Return the papers' means as a line below ours, in the same columns."""
    row = papers.get(published_row(record))
    own = f"{row.accuracy:.1f}" if row else "none"
    share = f"{row.normalised:.1f}" if row and row.normalised is not None else ""
    means = f"{papers[PRETRAINED].accuracy:>12.1f}{papers[EXPERTS].accuracy:>9.1f}{own:>9}"
    return f"{'published':<16}{means}   {'':<14}{share:>9}   (other fine-tunes: {', '.join(SOURCES)})"


def table_text(recipe: Recipe) -> str:
    """Return what a table's recipe is made of, a line a task."""
    lines = [f"{'base':<16}{recipe.base}, {recipe.arch if recipe.arch_config is None else 'its own config'}"]
    for model in recipe.models:
        words = "head of words" if isinstance(model.head, HeadWords) else f"head {model.head}"
        named = f", {len(model.classes)} classes under the images’ own names" if model.classes else ""
        places = {"proxies": model.proxies, "validation": model.validation, "test": model.test}
        images = ", ".join(f"{key} {place}" for key, place in places.items() if place)
        lines.append(f"{model.name:<16}{model.path}, {words}, {images}{named}")
    return "\n".join(lines)


def sweep_text(record: Sweep) -> str:
    """Return a sweep for people: a matrix over two knobs, else a list; a star marks the recipe's own cell."""
    stars = ["*" if at == record.baseline else " " for at in range(len(record.cells))]
    lines = _matrix(record, stars) if len(record.grid) == 2 else _list(record, stars)
    notes = [f"{record.method}, {measured_text(record)}", f"recipe {record.recipe_sha256[:12]}"]
    if record.baseline is not None:
        notes.append("* its own cell")
    if record.best is not None:
        values = zip(record.grid, record.points[record.best], strict=True)
        notes.append("best at " + ", ".join(f"{name} {written(value)}" for (name, _), value in values))
    return "\n".join([*lines, "; ".join(notes)])


def search_text(record: KnobSearch) -> str:
    """Return a knob search for people: what moved, and what it gained."""
    start, best = record.trials[0], record.trials[record.best]
    lines = [f"{'':<22}{'start':>10}{'best':>10}"]
    lines += [
        f"{name:<22.22}{written(start.parameters[name]):>10}{written(best.parameters[name]):>10}"
        for name in (*record.knobs, *(["alpha"] if "alpha" not in record.knobs else []))
    ]
    lines.append(f"{_WORDS[record.objective]:<22}{_height(record, start):>10}{_height(record, best):>10}")
    images = f" on {record.images} images" if record.images else ""
    lines.append(
        f"{record.method}, {OBJECTIVES[record.objective]}{images}; best of {len(record.trials)} trials: "
        f"number {record.best + 1}; seed {record.seed}"
    )
    return "\n".join(lines)


def _routing_lines(record: Evaluation, routing: Routing) -> list[str]:
    """Return routing, its upper bound and its cost, a line each."""
    tasks = (f"{task} {_pc(sum(row) / len(row))}" for task, row in zip(routing.tasks, routing.shares, strict=True))
    where = f"mean of {len(routing.layers)} layers"
    lines = [f"routed to the own low-rank adapter, {where}: {_pc(routing.mean)} ({', '.join(tasks)})"]
    if routing.oracle:
        lines.append(f"with oracle routing {_pc(record.mean('oracle'))}")
    lines.append(
        f"low-rank adapters add {_pc(routing.overhead)} % to the parameters; all are {_pc(routing.of_separate)} % of "
        f"{len(routing.tasks)} separate models"
    )
    return lines


def judgement_text(record: Judgement, plan: DownloadPlan) -> str:
    """Return every model's verdict and what the headers said, and what is to be downloaded, for people."""
    said = "" if record.activation_said else " (not said, to be confirmed)"
    count = f"{len(record.layers)} matrices in {len(record.models)} files"
    lines = [f"{record.arch}, {record.activation}{said}, {count}"]
    for model in record.models:
        file = model.facts
        whole = file.matched + len(file.missing) + len(file.misshaped)
        parts = [
            f"{file.layout}, {file.dtype or 'no type'}, {file.parameters / 1e6:.2f} M parameters",
            f"{file.matched} of {whole} keys matched" + (f", {len(file.extra)} other tensors" if file.extra else ""),
        ]
        if model is not record.base:
            parts.append(f"{model.classes} classes, {model.used} of {model.proxies} proxies")
            parts.append(f"{model.validation} validation and {model.test} test images")
        lines.append(f"  {_SIGNS[model.verdict.stance]} {model.name:<16} {file.file}: {'; '.join(parts)}")
        lines.append(f"    {model.verdict.words}")
    lines += [f"note: {note}" for note in record.notes]
    lines.append(record.treatment.sentence)
    lines += [f"  {each.pinned.written}: {size(each.size)}" for each in plan.names]
    if plan.names:
        lines.append(plan.sentence)
    lines.append(
        f"expect about {record.memory_bytes / 1e6:.0f} MB and {duration(record.seconds)} to decompose and merge"
    )
    return "\n".join(map(one_line, lines))


def proof_text(record: ExportProof) -> str:
    """Return an export's proof for people."""
    lines = [f"wrote {', '.join(record.files)} to {record.folder}, read them again, and compared:"]
    lines += [f"  ✓ {row.what}: {row.in_file:.60}" for row in record.rows]
    if record.agreement is not None:
        lines.append(record.agreement.sentence)
    if record.search_on is not None:
        lines.append(f"α was chosen {CHOSEN[record.search_on]}")
    lines.append(f"recipe {record.recipe_sha256}, the same bit for bit on {record.conditions}")
    return "\n".join(lines)


def measured_text(record: Sweep) -> str:
    """Say what a sweep's cells hold, and on how much."""
    if record.split is None:
        measure = "feature direction" if _headless(record) else "agreement with the experts"
        return f"{measure} on {record.images} unlabelled proxies, for want of labelled images"
    return f"share of the experts' accuracy on {record.images} {record.split} images"


def _matrix(record: Sweep, stars: list[str]) -> list[str]:
    """Return one number a cell: the share of the experts' accuracy or predictions in per cent, or the direction."""
    (down, rows), (across, columns) = record.grid
    width = max(len(down), *(len(written(value)) for value in rows)) + 2
    lines = [f"{'':<{width}}  {across}", f"{down:<{width}}" + "".join(f"{written(value):>10} " for value in columns)]
    numbers = [_cell_text(cell) for cell in record.cells]
    for at, row in enumerate(rows):
        part = slice(at * len(columns), (at + 1) * len(columns))
        cells = zip(numbers[part], stars[part], strict=True)
        lines.append(f"{written(row):<{width}}" + "".join(f"{number:>10}{star}" for number, star in cells))
    return [line.rstrip() for line in lines]


def _list(record: Sweep, stars: list[str]) -> list[str]:
    """Return one line a cell."""
    widths = [max(len(name), *(len(written(value)) for value in values)) + 2 for name, values in record.grid]
    measure = "direction" if _headless(record) else "agreement"
    scored = f"{'merged':>8}   {'95 %':<14}{'of expert':>9}" if record.split else f"{measure:>10}{'KL':>8}"
    head = "".join(f"{name:<{width}}" for (name, _), width in zip(record.grid, widths, strict=True))
    lines = [f"{head} {scored}{'interference':>14}"]
    for point, cell, star in zip(record.points, record.cells, stars, strict=True):
        values = "".join(f"{written(value):<{width}}" for value, width in zip(point, widths, strict=True))
        numbers = ""
        if cell.evaluation:
            low, high = cell.evaluation.mean_interval("merged")
            numbers = (
                f"{_pc(cell.evaluation.mean('merged')):>8}   {f'{_pc(low)} to {_pc(high)}':<14}{_pc(cell.value):>9}"
            )
        elif cell.agreement:
            apart = cell.agreement.divergence
            numbers = f"{_cell_text(cell):>10}{f'{apart.value:.3f}' if apart else '':>8}"
        interference = f"{cell.interference.mean:.3f}" if cell.interference else ""
        lines.append(f"{values}{star}{numbers}{interference:>14}")
    return [line.rstrip() for line in lines]


def _headless(record: Sweep) -> bool:
    """Say whether a sweep without labels has feature directions alone, since a task has no head."""
    return any(cell.agreement is not None and cell.agreement.same is None for cell in record.cells)


def _cell_text(cell: SweepCell) -> str:
    if cell.evaluation:
        return _pc(cell.value)
    if cell.agreement is None:
        return "–"
    same = cell.agreement.same
    return _pc(same.accuracy) if same else f"{cell.agreement.direction.value:.3f}"


def _height(record: KnobSearch, trial: KnobTrial) -> str:
    return _pc(trial.value) if record.objective == "normalised" else f"{abs(trial.value):.3f}"


def _pc(fraction: float) -> str:
    return percent(fraction, 1)
