"""The pictures of searches: every number is a record's, marks stand where they belong, tables are whole."""

from __future__ import annotations

import math
from itertools import pairwise

import plotly.graph_objects as go
import pytest

from esm_viz import figures
from esm_viz.core.records import (
    AlphaCurve,
    Evaluation,
    Interference,
    KnobSearch,
    KnobTrial,
    Layer,
    Score,
    Sweep,
    SweepCell,
    TaskScores,
    Value,
)
from esm_viz.figures.alpha_curve_figure import MOST_LABELS, end_labels
from esm_viz.figures.sweep_cells import Shown

TASKS = ("ants", "<b>bees")
LAYERS = (Layer("b0.c_fc", "c_fc", 0, 4, 4, "c_fc"),)


def scored(alpha: float, *correct: int, n: int = 100, tasks: tuple[str, ...] = TASKS) -> Evaluation:
    """Return an evaluation whose expert has 80 % right."""
    expert = Score(80 * n // 100, n)
    rows = tuple(TaskScores(t, Score(0, n), expert, Score(c, n)) for t, c in zip(tasks, correct, strict=True))
    return Evaluation("0" * 64, "esm", alpha, {}, "validation", rows, 0 if n == 100 else n, 0.1)


def cell(name: str, *correct: int, interference: float = 0.5) -> SweepCell:
    merged = Interference(TASKS, LAYERS, ((interference,), (interference,)), (interference, interference))
    return SweepCell({"alpha": 0.4}, name, merged, scored(0.4, *correct), 0.1)


NOT_REACHED = SweepCell({}, "", None, None, 0.0)


def sweep(grid: dict[str, tuple[Value, ...]], *cells: SweepCell) -> Sweep:
    start = {"power": 1.0, "rank": 0.5, "scope": "all", "alpha": 0.4}
    return Sweep("0", "esm", tuple(grid.items()), start, "validation", 200, cells, 1.0, "normalised")


CURVE = AlphaCurve((scored(0.0, 10, 20), scored(0.5, 70, 80), scored(3.0, 30, 5)))
LINE = sweep({"power": (2.0, 0.0, 1.0)}, cell("two", 70, 50), cell("zero", 60, 20, interference=2.0), NOT_REACHED)
MAP = sweep(
    {"rank": (0.5, 1.0), "power": (0.0, 1.0)},
    *(cell("a", 10, 20), cell("b", 60, 80), cell("c", 50, 40, interference=0.1), NOT_REACHED),
)
GIVEN = KnobSearch("esm", ("power",), "normalised", 200, 0, (
    KnobTrial({"power": 1.0, "alpha": 0.4}, 0.8), KnobTrial({"power": 0.0, "alpha": 0.1}, 0.3),
    KnobTrial({"power": 3.0, "alpha": 0.2}, math.nan), KnobTrial({"power": 2.0, "alpha": 0.3}, 0.9),
))  # fmt: skip


def labels(figure: figures.Figure) -> list[str]:
    return [note["text"] for note in figure["layout"]["annotations"]]


def centres(figure: figures.Figure) -> list[tuple[float, float, str]]:
    """Return where frames stand, and whether they are dashed."""
    shapes = figure["layout"]["shapes"]
    return [((s["x0"] + s["x1"]) / 2, (s["y0"] + s["y1"]) / 2, s["line"].get("dash", "solid")) for s in shapes]


# Accuracy over α.


def test_the_curve_has_a_line_a_task_and_the_mean_in_ink() -> None:
    ants, bees, mean = figures.curve_figure(CURVE)["data"]
    assert (ants["x"], ants["y"]) == ([0.0, 0.5, 3.0], pytest.approx([10, 70, 30]))
    assert bees["y"] == pytest.approx([20, 80, 5])
    assert mean["y"] == pytest.approx([15, 75, 17.5])
    assert (mean["line"]["color"], ants["line"]["color"]) == ("var(--ink)", "var(--task-1)")
    assert all(line["customdata"] == [0.0, 0.5, 3.0] for line in (ants, bees, mean))
    assert mean["marker"]["size"] == [8, 13, 8]  # the best


@pytest.mark.parametrize(
    ("pinned", "now", "side"), [(0.8, 1.2, "right"), (0.8, 2.0, "left"), (0.2, 0.5, "left"), (3.0, 0.5, "left")]
)
def test_the_label_of_a_stands_where_the_line_of_b_does_not_cross_it(pinned: float, now: float, side: str) -> None:
    notes = figures.curve_figure(CURVE, now=now, pinned=pinned)["layout"]["annotations"]
    label = next(note for note in notes if note["text"] == f"<b>A {pinned:.2f}</b>")
    assert label["xanchor"] == side


def test_the_curve_names_its_images_its_best_and_what_it_is_compared_with() -> None:
    figure = figures.curve_figure(CURVE, now=0.5, pinned=3.0)
    layout = figure["layout"]
    assert layout["yaxis"]["title"]["text"] == "accuracy on 100<br>validation images a task, %"
    assert "<b>best mean 75.0 %, α 0.50</b>" in labels(figure)
    assert labels(figure)[-2:] == ["<b>A 3.00</b>", "<b>B 0.50</b>"]
    assert [(s["x0"], s["line"]["color"], s["line"]["dash"]) for s in layout["shapes"]] == [
        (3.0, "var(--ref)", "dash"), (0.5, "var(--accent)", "solid")]  # fmt: skip
    assert layout["meta"]["says"] == "3 values of α; best mean accuracy 75.0 % at α 0.50."
    assert any("&lt;b&gt;bees" in text for text in labels(figure))
    go.Figure(figure)


def test_names_at_the_ends_of_lines_do_not_cover_each_other() -> None:
    figure = figures.curve_figure(AlphaCurve((scored(1.0, 50, 50),)))
    heights = sorted(note["y"] for note in figure["layout"]["annotations"] if note.get("xref") == "paper")
    assert len(heights) == 3
    assert min(b - a for a, b in pairwise(heights)) > 3


def test_from_the_ninth_task_on_lines_are_grey_and_named_by_the_pointer() -> None:
    tasks = tuple(f"t{at}" for at in range(MOST_LABELS + 1))
    figure = figures.curve_figure(AlphaCurve((scored(1.0, *range(40, 49), tasks=tasks),)))
    assert {line["line"]["color"] for line in figure["data"][:-1]} == {"var(--line-strong)"}
    assert len(labels(figure)) == 1
    assert figure["data"][8]["text"][0].startswith("<b>t8, α 1</b><br>48 %")


def test_images_that_differ_are_told_and_only_the_most_can_be_best() -> None:
    mixed = AlphaCurve((scored(0.2, 19, 19, n=20), scored(0.5, 70, 80)))
    figure = figures.curve_figure(mixed)
    assert figure["layout"]["yaxis"]["title"]["text"] == "accuracy on 20 to 100<br>validation images a task, %"
    assert mixed.best == 1


def test_a_curve_without_points_has_axes_all_the_same() -> None:
    figure = figures.curve_figure(AlphaCurve())
    go.Figure(figure)
    assert figure["layout"]["meta"]["says"] == "No α was measured yet."


def test_the_curves_table_holds_every_score_with_its_interval() -> None:
    head, *lines = figures.curve_figure(CURVE)["layout"]["meta"]["table"]
    assert head == ["alpha", "task", "correct", "images", "accuracy", "low", "high"]
    assert len(lines) == 6
    assert lines[3] == [0.5, "<b>bees", 80, 100, 0.8, *Score(80, 100).interval]


# The sweep.


def test_a_sweep_over_one_knob_draws_tasks_mean_and_interval_of_what_was_reached() -> None:
    figure = figures.sweep_figure(LINE, Shown(now="two", pinned="zero", labels={"power": "Power p"}))
    band, ants, bees, mean = figure["data"]
    assert (mean["x"], mean["y"]) == ([0.0, 2.0], pytest.approx([40, 60]))
    assert (ants["y"], bees["y"]) == (pytest.approx([60, 70]), pytest.approx([20, 50]))
    low, high = LINE.cells[0].evaluation.mean_interval("merged")  # type: ignore[union-attr]
    assert band["x"] == [0.0, 2.0, 2.0, 0.0]
    assert (band["y"][1], band["y"][2]) == pytest.approx((100 * high, 100 * low))
    assert labels(figure)[:3] == ["<b>A</b>", "<b>B</b>", "<b>best 60.0</b>"]
    ends = {text.partition("</span> ")[2] or text: note["y"] for text, note in
            zip(labels(figure)[3:], figure["layout"]["annotations"][3:], strict=True)}  # fmt: skip
    assert ends == {"ants": pytest.approx(70), "&lt;b&gt;bees": pytest.approx(50), "<b>mean</b>": pytest.approx(60)}
    layout = figure["layout"]
    assert layout["xaxis"]["title"]["text"] == "Power p"
    assert layout["yaxis"]["title"]["text"] == "mean accuracy on 100 validation<br>images a task, %"
    assert layout["meta"]["says"].startswith("2 of 3 cells over power")
    go.Figure(figure)


@pytest.mark.parametrize(
    ("shown", "heights", "tasks"),
    [
        (Shown("share"), [50, 75], [[75, 87.5], [25, 62.5]]),
        (Shown("interference"), [2.0, 0.5], [[2.0, 0.5], [2.0, 0.5]]),
        (Shown("task", 1), [20, 50], []),
    ],
)
def test_a_sweep_shows_the_quantity_asked_for(shown: Shown, heights: list[float], tasks: list[list[float]]) -> None:
    figure = figures.sweep_figure(LINE, shown)
    lines = [line for line in figure["data"] if line.get("hoverinfo") != "skip"]
    assert lines[-1]["y"] == pytest.approx(heights)
    assert [line["y"] for line in lines[:-1]] == [pytest.approx(each) for each in tasks]
    best = {"share": "75.0", "task": "50.0"}.get(shown.quantity)
    marked = [label for label in labels(figure) if label.startswith("<b>best")]
    assert marked == ([f"<b>best {best}</b>"] if best else [])  # nothing is best by interference


def test_a_sweep_over_two_knobs_has_numbers_marks_and_holes() -> None:
    figure = figures.sweep_figure(MAP, Shown(now="a", pinned="c"))
    heat, texts = figure["data"]
    assert heat["z"] == [[pytest.approx(15), pytest.approx(70)], [pytest.approx(45), None]]
    assert heat["customdata"] == [[[0.5, 0.0, pytest.approx(15)], [0.5, 1.0, pytest.approx(70)]],
                                  [[1.0, 0.0, pytest.approx(45)], [1.0, 1.0, None]]]  # fmt: skip
    assert texts["text"] == ["15.0", "70.0", "45.0", ""]
    frames = [*[(0, 0.5, "solid")] * 2, *[(1, 0.5, "solid")] * 2, (0, 1, "solid"), (0, 1, "dash")]
    assert centres(figure) == frames
    assert figure["layout"]["meta"]["how"] == (
        "Stronger: higher mean accuracy on 100 validation images a task. Click a cell to use it. "
        "Blue frame: B, dashed: A, thin frame: best."
    )


def test_the_cells_of_a_sweep_stand_at_their_true_distances_in_order() -> None:
    given = sweep(
        {"scope": ("all", "essential"), "power": (3.0, 0.0, 1.0, 1.5)},
        *(cell(f"{row}{column}", 10 * row + column, 0) for row in range(2) for column in range(4)),
    )
    heat, texts = figures.sweep_figure(given, Shown(now="13"))["data"]
    assert heat["x"] == [-0.5, 0.5, 1.25, 2.25, 3.75]  # half-way between 0, 1, 1.5 and 3
    assert heat["y"] == [-0.5, 0.5, 1.5]  # words have no distance
    assert [[round(2 * value) for value in row] for row in heat["z"]] == [[1, 2, 3, 0], [11, 12, 13, 10]]
    assert [point[1] for point in heat["customdata"][0]] == [0.0, 1.0, 1.5, 3.0]
    width = [share for share, _ in texts["meta"]["shares"][:4]]
    assert width == pytest.approx([1 / 4.25, 0.75 / 4.25, 1 / 4.25, 1.5 / 4.25])


def test_no_label_at_the_end_of_a_line_stands_outside_the_axis() -> None:
    ends = [(str(at), value) for at, value in enumerate((102.0, 101.0, 100.0, 100.0, 51.0, 50.0, 50.0, 50.0, 50.0))]
    places = [label["y"] for label in end_labels(ends, [50.0, 100.0])]
    assert min(places) > 50.0
    assert max(places) < 100.0
    assert len(set(places)) == len(ends)


def test_interference_is_better_where_it_is_less() -> None:
    heat, texts = figures.sweep_figure(MAP, Shown("interference"))["data"]
    assert heat["z"][1][0] == pytest.approx(1)  # −log10(0.1)
    assert texts["text"] == ["0.50", "0.50", "0.10", ""]
    assert heat["customdata"][1][0][2] == 0.1


def test_nothing_is_best_on_test_images() -> None:
    on_test = Sweep("0", "esm", MAP.grid, MAP.start, "test", 200, MAP.cells, 1.0, None)
    figure = figures.sweep_figure(on_test)
    assert "best" not in figure["layout"]["meta"]["how"] + figure["layout"]["meta"]["says"]
    assert len(centres(figure)) == 2  # the recipe's own


def test_the_sweeps_table_holds_every_cell_that_was_reached() -> None:
    head, *lines = figures.sweep_figure(MAP)["layout"]["meta"]["table"]
    assert head == [
        *("rank", "power", "alpha", "mean accuracy", "share of experts", "mean interference"),
        *("accuracy, ants", "accuracy, <b>bees", "validation images"),
    ]
    assert len(lines) == 3
    assert lines[1] == [0.5, 1.0, 0.4, pytest.approx(0.7), pytest.approx(0.875), 0.5, 0.6, 0.8, 200]


# Trials.


def test_the_trial_on_screen_wears_the_accent_and_the_best_is_ink() -> None:
    points = figures.tuning_figure(GIVEN, now=0, labels={"power": "Power p"})["data"][1]
    assert points["marker"]["color"] == ["var(--accent)", "var(--ink-3)", "var(--ink-3)", "var(--ink)"]
    assert points["text"][1] == "<b>trial 2</b>, 30.0 % of the experts<br>Power p 0<br>alpha 0.1"


def test_the_table_of_trials_has_their_true_values_though_some_lie_below_the_picture() -> None:
    figure = figures.tuning_figure(GIVEN)
    assert figure["data"][1]["y"][1] == 70.0  # the floor of the picture
    head, *lines = figure["layout"]["meta"]["table"]
    assert head == ["trial", "power", "alpha", "mean share of the experts' validation accuracy"]
    assert lines == [[1, 1.0, 0.4, 0.8], [2, 0.0, 0.1, 0.3], [3, 3.0, 0.2, None], [4, 2.0, 0.3, 0.9]]
