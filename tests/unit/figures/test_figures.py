"""Pictures are dicts that one function makes from one record: their numbers, titles, units and scales."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from typing import Any

import plotly.graph_objects as go
import pytest

from esm_viz import figures
from esm_viz.core.records import (
    AlphaCurve,
    Angles,
    BetweenPoints,
    Difference,
    Draws,
    Estimate,
    Evaluation,
    ExpertAgreement,
    HeatImage,
    Interference,
    KnobSearch,
    KnobTrial,
    Layer,
    LayerMap,
    LayerNorms,
    Overlap,
    Paired,
    Patch,
    Patches,
    Routing,
    ScalingProfile,
    Score,
    Spectrum,
    Spread,
    Stability,
    SubspaceMap,
    Sweep,
    SweepCell,
    TaskAgreement,
    TaskScores,
    Value,
)
from esm_viz.figures.colour_theme import tokens
from esm_viz.figures.figure_parts import GLYPHS, Columns, spread_out, task_colour, task_glyph, task_symbol
from esm_viz.figures.layer_norms_figure import nice_top

TASKS = ("ants", "<b>bees")
LAYERS = (
    Layer("b1.c_fc", "c_fc", 1, 8, 4, "c_fc"),
    Layer("b0.c_fc", "c_fc", 0, 8, 4, "c_fc"),
    Layer("b0.in_proj", "in_proj", 0, 6, 4, "in_proj"),
)
MAP = LayerMap("rank90", TASKS, LAYERS, ((3, 2, 1), (4, 5, 6)), ((0.375, 0.25, 1 / 6), (0.5, 0.625, 1.0)))
SPECTRUM = Spectrum(
    "ants", LAYERS[0], (4.0, 3.0, 2.0, 1.0, 0.0), (0.4, 0.7, 0.9, 1.0, 1.0), (0.1, 0.3, 0.6, 1.0, 1.0), 2
)
OVERLAP = Overlap(LAYERS[0], ("a", "b", "c"), ((1.0, 0.3, 0.2), (0.3, 1.0, 0.6), (0.2, 0.6, 1.0)), 0.25, 2)
ANGLES = Angles(LAYERS[0], ("a", "b"), (10.0, 44.0, 80.0), (50.0, 70.0, 88.0))
INTERFERENCE = Interference(TASKS, LAYERS, ((0.2, 0.4, math.nan), (0.6, 0.8, 1.0)), (0.3, 0.8))
BETTER = Interference(TASKS, LAYERS, ((0.1, 0.4, math.nan), (0.7, 0.8, 1.0)), (0.25, 0.83))
NORMS = LayerNorms(LAYERS, (1.0, 2.0, 3.0), (0.5, 2.5, 3.0))
ROUTES = (((0.5, 0.5), (0.1, 0.9)), ((0.25, 0.75), (0.3, 0.7)), ((1.0, 0.0), (0.8, 0.2)))
ROUTING = Routing(TASKS, LAYERS, ROUTES, (Score(9, 10), Score(8, 10)), 30, 100)

UNKNOWN = Spread(math.nan, math.nan, math.nan)
PLANE = SubspaceMap(
    TASKS, LAYERS, (((1.0, 0.0), (0.5, 0.25), (0.0, 0.5)), ((-1.0, 0.0), (math.nan,) * 2, (0, -1))), 0.25
)
STABILITY = Stability(
    "<b>bees",
    LAYERS[0],
    2,
    5,
    (
        Draws(1, Spread(0.5, 0.4, 0.7), Spread(0.3, 0.2, 0.5), Spread(0.8, 0.75, 0.9)),
        Draws(4, Spread(1.0, 1.0, 1.0), UNKNOWN, Spread(0.95, 0.95, 0.95)),
    ),
    0.6,
    0.9,
    0.25,
)
SCALING = ScalingProfile(
    TASKS,
    LAYERS,
    ("none", "spectrum", "task", "dimension", "layer"),
    ((1.0, 2.0, 0.0), (2.0, 2.0, 0.0), (2.0, 3.0, 0.0), (2.5, 3.0, 0.0), (10.0, 1.0, 0.0)),
    ((0.5, 0.5, math.nan), (0.5, 0.5, math.nan)),
    ((0.4, 0.6, math.nan), (0.6, 0.4, math.nan)),
)
HEAT = ((0.5, 2.0), (0.25, 1.0))
PATCHES = Patches(
    "<b>bees",
    LAYERS[0],
    1,
    0.4,
    0.125,
    (Patch(7, 0, 1, 2.0), Patch(3, 1, 0, 1.5), Patch(7, 1, 1, 1.0)),
    0,
    False,
    (HeatImage(7, b"seven", HEAT, 0.75), HeatImage(3, b"three", ((0.5, 0.5), (1.5, 0.5)), 0.5)),
)


def evaluation(*correct: int, split: str = "validation") -> Evaluation:
    """Return 100 images a task; the expert has 90 right, the base 40."""
    rows = tuple(
        TaskScores(t, Score(40, 100), Score(90, 100), Score(c, 100)) for t, c in zip(TASKS, correct, strict=True)
    )
    return Evaluation("0" * 64, "esm", 0.5, {}, split, rows, 0, 0.1)  # type: ignore[arg-type]


def between(alpha: float) -> BetweenPoints:
    """Return accuracy between α 0.5, where 80 and 50 of 100 are right, and α 1, where 40 and 60 are."""
    return BetweenPoints(alpha, evaluation(80, 50), dataclasses.replace(evaluation(40, 60), alpha=1.0))


def agreement(*same: int, headed: bool = True) -> ExpertAgreement:
    """Return 100 proxies a task, of which this many are predicted as the expert does, in both tasks if one is given."""
    counts = same * len(TASKS) if len(same) == 1 else same
    apart = [Estimate((100 - count) / 100, (99 - count) / 100, 1.0) for count in counts]
    turned = [Estimate(count / 200, count / 210, count / 190) for count in counts]
    rows = tuple(
        TaskAgreement(task, 100, Score(count, 100) if headed else None, kl if headed else None, direction)
        for task, count, kl, direction in zip(TASKS, counts, apart, turned, strict=True)
    )
    return ExpertAgreement("0" * 64, "esm", 0.5, {}, rows, 0, apart[0] if headed else None, turned[0], 0.1)


def sweep(grid: dict[str, tuple[Value, ...]], *numbers: float, split: str | None = "validation") -> Sweep:
    """Return a sweep whose cells have this many of 100 right in both tasks or, without labels, as the expert."""
    cells = []
    for number in numbers:
        scores = evaluation(int(number), int(number)) if split else None
        cells.append(
            SweepCell({}, "0" * 64, None, scores, 0.1, None if split or math.isnan(number) else agreement(int(number)))
        )
    start = {"power": 2.0, "rank": 0.5, "scope": "all", "alpha": 1.0}
    search_on = {"validation": "normalised", "test": None, None: "divergence"}[split]
    return Sweep("0" * 64, "esm", tuple(grid.items()), start, split, 200, tuple(cells), 1.0, search_on)  # type: ignore[arg-type]


def search(*values: float, objective: str = "normalised") -> KnobSearch:
    trials = tuple(KnobTrial({"alpha": 0.1 * at, "scope": "<all>"}, value) for at, value in enumerate(values))
    return KnobSearch("esm", ("scope",), objective, 200, 0, trials)  # type: ignore[arg-type]


CURVE = sweep({"power": (2.0, 0.0, 1.0)}, 70, 50, 60)
WORDS = sweep({"scope": ("all", "essential")}, 70, 50)
MATRIX = sweep({"rank": (0.5, 1.0), "power": (0.0, 1.0, 2.0)}, 45, 54, 63, 72, 81, 90)
UNLABELLED = sweep({"rank": (0.5, 1.0), "power": (0.0, 1.0)}, 10, 90, 50, math.nan, split=None)
DEEP = sweep({"rank": (0.5, 1.0), "scope": ("all", "essential"), "power": (0.0, 2.0)}, *range(40, 80, 5))
TRIALS = search(0.8, 0.3, math.nan, 0.9, 0.85)


EVERY = {
    "map": figures.layer_map_figure(MAP, ("ants", "b0.c_fc")),
    "spectrum": figures.spectrum_figure(SPECTRUM),
    "lambda": figures.spectrum_figure(SPECTRUM, view="lambda"),
    "overlap": figures.overlap_figure(OVERLAP, ("a", "c")),
    "angles": figures.angles_figure(ANGLES),
    "accuracy": figures.accuracy_figure(evaluation(80, 50)),
    "between points": figures.between_points_figure(between(0.6)),
    "between points, against A": figures.between_points_figure(between(0.6), evaluation(60, 52)),
    "against A": figures.accuracy_figure(evaluation(80, 50), evaluation(60, 52)),
    "interference": figures.interference_figure(INTERFERENCE),
    "difference": figures.interference_figure(BETTER, INTERFERENCE, difference=True),
    "norms": figures.norms_figure(NORMS),
    "routing": figures.routing_figure(ROUTING),
    "subspace map": figures.subspace_map_figure(PLANE, chosen=("<b>bees", "b0.in_proj")),
    "stability": figures.stability_figure(STABILITY, 1),
    "scaling": figures.scaling_figure(SCALING),
    "patches": figures.patches_figure(PATCHES),
    "sweep": figures.sweep_figure(CURVE),
    "sweep over words": figures.sweep_figure(WORDS),
    "sweep without labels": figures.sweep_figure(sweep({"power": (0.0, 2.0)}, 40, 30, split=None)),
    "sweep over two": figures.sweep_figure(MATRIX),
    "sweep over three": figures.sweep_figure(DEEP),
    "sweep over two without labels": figures.sweep_figure(UNLABELLED),
    "trials": figures.tuning_figure(TRIALS),
    "trials without labels": figures.tuning_figure(search(-5.0, -0.5, -80.0, 0.0, objective="divergence")),
}


@pytest.mark.parametrize("name", EVERY)
def test_plotly_takes_every_picture_and_each_says_what_it_shows(name: str) -> None:
    figure = EVERY[name]
    go.Figure(figure)
    meta = figure["layout"]["meta"]
    assert meta["how"].endswith(".")
    assert meta["says"].endswith(".")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", EVERY)
def test_a_painted_picture_holds_colours_instead_of_tokens(name: str, theme: str) -> None:
    painted = figures.paint(EVERY[name], theme)  # type: ignore[arg-type]
    assert "var(--" not in str(painted)
    assert go.Figure(painted).layout.paper_bgcolor == tokens(theme)["panel"]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in EVERY if name not in ("map", "overlap")])
def test_axes_have_titles(name: str) -> None:
    layout = EVERY[name]["layout"]
    beside = [note["text"] for note in layout["annotations"]] if name == "norms" else []  # at the left of its numbers
    assert layout["xaxis"]["title"]["text"] or "block" in beside


def test_layers_stand_by_family_and_block_whatever_their_order() -> None:
    columns = Columns.of(LAYERS)
    assert columns.places == (3.6, 2.6, 1.0)  # in_proj 1, a gap, c_fc 1, c_fc 2
    assert columns.families == (("in_proj", (2,)), ("c_fc", (1, 0)))
    assert columns.axis()["ticktext"] == ["1", "1", "2"]


def test_the_map_colours_shares_and_prints_values() -> None:
    heat = [trace for trace in EVERY["map"]["data"] if trace["type"] == "heatmap"]
    assert [trace["z"] for trace in heat] == [[[1 / 6], [1.0]], [[0.25, 0.375], [0.625, 0.5]]]
    assert {(trace["zmin"], trace["zmax"]) for trace in heat} == {(0, 1.0)}
    assert EVERY["map"]["data"][-1]["text"] == ["3", "2", "1", "4", "5", "6"]
    assert heat[1]["customdata"][1] == [["<b>bees", "b0.c_fc", 5], ["<b>bees", "b1.c_fc", 4]]
    assert heat[1]["text"][0][1] == "<b>ants, c_fc 2</b><br>3 directions for 90 % (38 % of 8)"


def test_the_map_rings_the_selected_cell() -> None:
    ring = EVERY["map"]["layout"]["shapes"][1]
    assert ((ring["x0"] + ring["x1"]) / 2, (ring["y0"] + ring["y1"]) / 2) == (pytest.approx(2.6), 0)
    assert figures.layer_map_figure(MAP, ("nobody", "b0.c_fc"))["layout"]["shapes"] == []


def test_names_from_outside_cannot_add_markup() -> None:
    drawn = {key: part for key, part in EVERY["map"]["layout"].items() if key != "meta"}  # which the page reads as data
    assert "<b>bees" not in str(drawn)
    assert "&lt;b&gt;bees" in EVERY["map"]["layout"]["yaxis"]["ticktext"][1]


def test_the_spectrum_marks_what_rank_r_keeps() -> None:
    esd, svd, dots = EVERY["spectrum"]["data"]
    assert esd["y"] == pytest.approx([40, 70, 90, 100, 100])
    assert svd["y"] == pytest.approx([10, 30, 60, 100, 100])
    assert dots["x"] == [2, 2]
    assert dots["y"] == pytest.approx([70, 30])
    assert EVERY["spectrum"]["layout"]["yaxis"]["title"]["text"] == "energy kept, %"
    assert EVERY["spectrum"]["layout"]["yaxis"]["range"] == [0, 102]


def test_eigenvalues_are_on_a_log_scale_without_the_dead_ones() -> None:
    figure = EVERY["lambda"]
    assert figure["data"][0]["y"] == [4.0, 3.0, 2.0, 1.0]
    assert figure["layout"]["yaxis"]["type"] == "log"
    assert figure["layout"]["yaxis"]["title"]["text"] == "λ, squared activation"


def test_a_task_that_moved_nothing_has_a_spectrum_all_the_same() -> None:
    still = Spectrum("ants", LAYERS[0], (0.0,) * 5, (0.0,) * 5, (0.0,) * 5, 2)
    for view in ("energy", "lambda"):
        go.Figure(figures.spectrum_figure(still, view=view))


def test_overlap_is_a_lower_triangle_from_chance_up() -> None:
    heat = EVERY["overlap"]["data"][0]
    assert heat["z"] == [[0.3, None], [0.2, 0.6]]
    assert (heat["zmin"], heat["zmax"]) == (0.25, 0.75)
    assert heat["customdata"][1][0] == ["a", "c"]
    assert heat["colorbar"]["ticktext"][0] == "chance"


def test_angles_stand_beside_random_ones_on_a_fixed_scale() -> None:
    random, pair = EVERY["angles"]["data"]
    assert (pair["y"], random["y"]) == ([10.0, 44.0, 80.0], [50.0, 70.0, 88.0])
    assert EVERY["angles"]["layout"]["yaxis"]["range"] == [0, 94]
    assert "2 of 3 below 45°" in EVERY["angles"]["layout"]["meta"]["says"]


def test_bars_start_at_zero_and_carry_wilson_intervals() -> None:
    figure = EVERY["accuracy"]
    bar, _, errors, experts = figure["data"]
    low, high = Score(80, 100).interval
    assert bar["x"] == [80.0, 50.0]
    assert (errors["error_x"]["arrayminus"][0], errors["error_x"]["array"][0]) == pytest.approx(
        (80 - 100 * low, 100 * high - 80)
    )
    assert experts["x"] == [90.0, 90.0]
    assert figure["layout"]["xaxis"]["range"][0] == 0
    assert figure["layout"]["xaxis"]["title"]["text"] == "accuracy on 100 validation images a task, %"


def test_interference_is_read_against_not_merging_on_a_log_scale() -> None:
    heat = [trace for trace in EVERY["interference"]["data"] if trace["type"] == "heatmap"]
    assert heat[0]["z"] == [[None], [0.0]]  # unknown where a task did not move; neutral at 1
    assert heat[1]["z"][0] == pytest.approx([-math.log10(0.4), -math.log10(0.2)])
    assert [cell[2] for cell in heat[1]["customdata"][0]] == [0.4, 0.2]
    change = [trace for trace in EVERY["difference"]["data"] if trace["type"] == "heatmap"]
    assert change[1]["z"][0] == pytest.approx([0.0, math.log10(0.2 / 0.1)])  # less interference: blue
    assert change[1]["z"][1] == pytest.approx([0.0, math.log10(0.6 / 0.7)])
    assert {(trace["zmin"], trace["zmax"]) for trace in [*heat, *change]} == {(-1, 1)}


def test_bars_of_interference_are_the_records_means_and_lines_the_pinned_ones() -> None:
    bars, halo, line = [trace for trace in EVERY["difference"]["data"] if trace["type"] != "heatmap"]
    assert bars["x"] == pytest.approx([math.log10(0.25), math.log10(0.83)])
    assert halo["x"] == line["x"] == pytest.approx([math.log10(0.3), math.log10(0.8)])
    assert {trace["xaxis"] for trace in (bars, halo, line)} == {"x2"}
    shown = figures.interference_figure(BETTER, INTERFERENCE)["layout"]["annotations"][-2:]
    assert [note["text"].split("</b>")[0] for note in shown] == ["<b>0.25", "<b>0.83"]
    assert shown[0]["hovertext"].endswith("B 0.25, A 0.30, −0.05")
    changed = EVERY["difference"]["layout"]["annotations"][-2:]
    assert [note["text"] for note in changed] == ["−0.05", "+0.03"]  # less is not better, so no sign says so


def test_bars_far_beyond_ten_still_fit_and_what_is_unknown_has_none() -> None:
    wild = Interference(TASKS, LAYERS, ((500.0, 900.0, math.nan), (math.nan,) * 3), (700.0, math.nan))
    figure = figures.interference_figure(wild)
    bars = next(trace for trace in figure["data"] if trace["type"] == "bar")
    assert bars["x"] == [pytest.approx(math.log10(700)), None]
    assert figure["layout"]["xaxis2"]["range"][1] > math.log10(700)
    go.Figure(figure)


def test_routing_is_shares_on_a_scale_from_zero_to_one() -> None:
    heat = [trace for trace in EVERY["routing"]["data"] if trace["type"] == "heatmap"]
    assert [trace["z"] for trace in heat] == [[[1.0], [0.2]], [[0.25, 0.5], [0.7, 0.9]]]
    assert {(trace["zmin"], trace["zmax"]) for trace in heat} == {(0, 1)}
    assert EVERY["routing"]["data"][-1]["text"] == ["50", "25", "100", "90", "70", "20"]
    assert heat[1]["text"][0][1] == "<b>ants, c_fc 2</b><br>50.0 % went to its own low-rank adapter"
    meta = EVERY["routing"]["layout"]["meta"]
    assert (
        "by chance 50 %. These adapters add 30 % to the parameters; all are 65 % of 2 separate models." in meta["how"]
    )
    assert meta["says"] == "Routing accuracy 59.2 % over 3 layers: ants 58, <b>bees 60."


def test_norms_show_before_and_after_on_a_scale_that_can_be_held() -> None:
    by_name: dict[str, list[Any]] = {}
    for trace in EVERY["norms"]["data"]:
        by_name.setdefault(trace["name"], []).extend(trace["y"])
    assert by_name == {"before": [3.0, 2.0, 1.0], "after": [3.0, 2.5, 0.5]}
    assert figures.norms_figure(NORMS, top=7.5)["layout"]["yaxis"]["range"] == [0, pytest.approx(8 * 1.04)]


@pytest.mark.parametrize(("value", "top"), [(0.9, 1), (1.01, 1.5), (23, 30), (0.041, 0.05), (9.9, 10)])
def test_a_scale_ends_at_a_round_number(value: float, top: float) -> None:
    assert nice_top(value)[0] == pytest.approx(top)


def test_a_sweep_over_one_knob_is_a_curve_with_its_intervals() -> None:
    band, *_, curve = EVERY["sweep"]["data"]
    assert (curve["x"], curve["y"]) == ([0.0, 1.0, 2.0], pytest.approx([50, 60, 70]))  # in the order of the knob
    assert curve["customdata"] == [0.0, 1.0, 2.0]
    low, high = evaluation(60, 60).mean_interval("merged")
    assert (band["x"][1], band["y"][1], band["y"][-2]) == pytest.approx((1, 100 * high, 100 * low))
    layout = EVERY["sweep"]["layout"]
    assert (layout["xaxis"]["title"]["text"], layout["yaxis"]["title"]["text"]) == (
        "power",
        "mean accuracy on 100 validation<br>images a task, %",
    )
    assert layout["shapes"][0]["x0"] == 2.0  # the recipe's own cell
    assert "best mean accuracy 70.0 at power 2" in layout["meta"]["says"]


def test_a_sweep_over_words_stands_side_by_side_in_the_order_of_the_grid() -> None:
    figure = EVERY["sweep over words"]
    assert (figure["data"][-1]["x"], figure["data"][-1]["mode"]) == ([0, 1], "markers")
    bounds = [[100 * end for end in evaluation(right, right).mean_interval("merged")] for right in (70, 50)]
    assert figure["data"][0]["error_y"]["array"] == pytest.approx([(high - low) / 2 for low, high in bounds])
    assert figure["layout"]["xaxis"]["ticktext"] == ["all", "essential"]
    mixed = figures.sweep_figure(sweep({"alpha": ("search", 0.5)}, 70, 50))
    assert mixed["layout"]["xaxis"]["ticktext"] == ["search", "0.5"]


def test_a_sweep_over_two_knobs_is_a_heat_map_with_the_recipes_cell_framed() -> None:
    heat, texts = EVERY["sweep over two"]["data"]
    assert [pytest.approx(row) for row in heat["z"]] == [[45, 54, 63], [72, 81, 90]]
    assert [cell[:2] for cell in heat["customdata"][1]] == [[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]
    assert [cell[2] for cell in heat["customdata"][0]] == pytest.approx([45, 54, 63])
    assert (heat["zmin"], heat["zmax"]) == (45, 90)
    assert texts["text"][:2] == ["45.0", "54.0"]
    layout = EVERY["sweep over two"]["layout"]
    assert (layout["xaxis"]["title"]["text"], layout["yaxis"]["title"]["text"]) == ("power", "rank")
    ring = layout["shapes"][1]
    assert ((ring["x0"] + ring["x1"]) / 2, (ring["y0"] + ring["y1"]) / 2) == (pytest.approx(2), 0.5)


def test_a_sweep_over_three_knobs_lists_all_but_the_last_downwards() -> None:
    figure = EVERY["sweep over three"]
    assert figure["layout"]["yaxis"]["ticktext"] == ["0.5, all", "0.5, essential", "1, all", "1, essential"]
    assert len(figure["data"][0]["z"]) == 4


def test_a_sweep_without_labels_shows_agreement_with_the_experts_on_proxies() -> None:
    heat, texts = EVERY["sweep over two without labels"]["data"]
    assert heat["z"] == [[10.0, 90.0], [50.0, None]]
    assert texts["text"] == ["10.0", "90.0", "50.0", ""]
    curve = EVERY["sweep without labels"]
    assert curve["data"][-1]["y"] == [40.0, 30.0]
    assert curve["layout"]["yaxis"]["title"]["text"] == "agreement with the experts on 100 proxies a task, %"
    assert curve["layout"]["meta"]["says"] == (
        "2 cells over power, agreement with the experts on 200 unlabelled proxies; "
        "best agreement with the experts 40.0 at power 0."
    )


@pytest.mark.parametrize(("headed", "value"), [(True, 80.0), (False, 40.0)])
def test_bars_of_agreement_are_shares_of_the_experts_predictions_or_directions(headed: bool, value: float) -> None:
    figure = figures.agreement_figure(agreement(80, 50, headed=headed), agreement(60, 60, headed=headed))
    assert figure["data"][0]["x"][0] == pytest.approx(value)
    assert figure["data"][1]["x"] == pytest.approx([60.0 if headed else 30.0] * 2)
    assert "100 proxies a task" in figure["layout"]["xaxis"]["title"]["text"]
    assert ("%" in figure["layout"]["xaxis"]["title"]["text"]) is headed
    assert "on 200 unlabelled proxies" in figure["layout"]["meta"]["says"].lower()


def test_bars_between_two_measured_points_are_hatched_without_intervals_and_say_between_which() -> None:
    figure = figures.between_points_figure(between(0.6))
    bars = figure["data"][0]
    assert bars["x"] == [pytest.approx(72), pytest.approx(52)]
    assert bars["marker"]["pattern"]["shape"] == "/"
    assert not any("error_x" in trace for trace in figure["data"])
    assert [label["text"] for label in figure["layout"]["annotations"]] == ["◇ expert", "≈ 72", "≈ 52"]
    assert "not measured at this α, but drawn between α 0.50 and 1.00" in figure["layout"]["meta"]["how"]


def test_an_expert_that_changed_nothing_has_no_bar_and_no_number() -> None:
    known = agreement(80, 50, headed=False)
    unknown = Estimate(math.nan, math.nan, math.nan)
    record = dataclasses.replace(known, tasks=(known.tasks[0], dataclasses.replace(known.tasks[1], direction=unknown)))
    figure = figures.agreement_figure(record)
    assert figure["data"][0]["x"] == [pytest.approx(40.0), None]
    assert [note["text"] for note in figure["layout"]["annotations"]] == ["<b>40</b>", "<b>–</b>"]
    assert "nan" not in json.dumps(figure).lower()


def test_a_curve_without_labels_is_of_agreement_and_its_best_has_the_least_divergence() -> None:
    points = [dataclasses.replace(agreement(same), alpha=alpha) for alpha, same in ((0.2, 40), (0.5, 90), (0.9, 60))]
    figure = figures.curve_figure(AlphaCurve(tuple(points)), now=0.5)
    assert [trace["y"] for trace in figure["data"]] == [[40.0, 90.0, 60.0]] * 3
    assert "best at α 0.5" in figure["layout"]["meta"]["says"]
    assert "agreement with the experts" in figure["layout"]["yaxis"]["title"]["text"]


def test_trials_are_points_under_the_line_of_the_best_so_far() -> None:
    line, points = EVERY["trials"]["data"]
    assert line["y"] == pytest.approx([80, 80, 80, 90, 90])
    assert (points["x"], points["y"]) == ([1, 2, 3, 4, 5], [80.0, 70.0, None, 90.0, 85.0])  # 30 lies below the scale
    assert points["marker"]["symbol"] == ["circle", "triangle-down", "circle", "circle", "circle"]
    assert [at for at, colour in enumerate(points["marker"]["color"]) if colour == "var(--ink)"] == [3]
    assert points["text"][2] == "<b>trial 3</b>, the merge fails<br>scope &lt;all&gt;<br>alpha 0.2"
    layout = EVERY["trials"]["layout"]
    assert layout["meta"]["says"] == (
        "5 trials judged by validation accuracy on 200 images: best 90.0 % of the experts in trial 4, "
        "80.0 % of the experts at the start."
    )


def test_trials_judged_by_divergence_stand_on_a_log_scale_and_none_at_zero() -> None:
    line, points = EVERY["trials without labels"]["data"]
    assert points["y"] == [5.0, 0.5, 80.0, 1e-6]
    assert line["y"] == [5.0, 0.5, 0.5, 1e-6]
    assert EVERY["trials without labels"]["layout"]["yaxis"]["type"] == "log"


def test_twenty_tasks_have_twenty_colours_and_glyphs() -> None:
    assert len({task_colour(i) for i in range(20)}) == len(set(GLYPHS)) == 20
    assert task_glyph(20) == task_glyph(0)
    for theme in ("light", "dark"):
        assert {f"task-{i}" for i in range(1, 21)} <= tokens(theme).keys()  # type: ignore[arg-type]


def test_a_difference_is_grey_where_its_paired_interval_holds_zero() -> None:
    # of 100 images: 30 gained and 2 lost are more than noise, 5 gained and 4 lost are not
    difference = Difference("validation", TASKS, (Paired(30, 2, 100), Paired(5, 4, 100)))
    figure = figures.accuracy_figure(evaluation(80, 50), evaluation(52, 49), difference=difference)
    labels = [note["text"] for note in figure["layout"]["annotations"] if "</b>  " in note["text"]]
    assert ["var(--good)" in label for label in labels] == [True, False]
    assert [label.split(">")[-2].removesuffix("</span") for label in labels] == ["▲ +28", "≈ +1"]


def test_without_paired_answers_no_difference_is_told() -> None:
    labels = figures.accuracy_figure(evaluation(80, 50), evaluation(60, 52))["layout"]["annotations"]
    assert not [note for note in labels if "▲" in note["text"] or "≈" in note["text"]]
    assert "%" in [note["text"] for note in labels]


def test_the_marks_and_the_numbers_of_accuracy_are_named_above_the_plot() -> None:
    difference = Difference("validation", TASKS, (Paired(30, 2, 100), Paired(5, 4, 100)))

    def above(**more: Any) -> list[str]:
        notes = figures.accuracy_figure(evaluation(80, 50), **more)["layout"]["annotations"]
        return [note["text"] for note in notes if note.get("yref") == "paper"]

    assert above() == ["◇ expert", "%"]
    assert above(base=True) == ["<b>|</b> pre-trained    ◇ expert", "%"]
    both = above(pinned=evaluation(52, 49), difference=difference)
    assert both == ["<b>|</b> A    ◇ expert", "%    points"]


def test_the_subspace_map_draws_every_known_point_in_its_tasks_mark() -> None:
    ants, bees, chosen = EVERY["subspace map"]["data"]
    assert (ants["x"], ants["y"]) == ([1.0, 0.5, 0.0], [0.0, 0.25, 0.5])
    assert (bees["x"], bees["y"]) == ([-1.0, 0], [0.0, -1])  # the one that did not move is nowhere
    assert (ants["marker"]["symbol"], bees["marker"]["symbol"]) == ("circle", "square")
    assert ants["marker"]["size"] == [13.0, 6.0, 6.0]  # blocks 2, 1, 1
    assert bees["customdata"] == [["<b>bees", "b1.c_fc"], ["<b>bees", "b0.in_proj"]]
    assert (chosen["x"], chosen["y"], chosen["marker"]["color"]) == ([0], [-1], "var(--accent)")


def test_the_subspace_map_has_one_scale_and_names_its_stress() -> None:
    layout = EVERY["subspace map"]["layout"]
    assert layout["yaxis"]["scaleanchor"] == "x"
    assert layout["xaxis"]["range"] == pytest.approx([-1.12, 1.12])
    assert layout["yaxis"]["range"] == pytest.approx([-1.22, 0.72])
    assert "stress 0.25" in layout["xaxis"]["title"]["text"]
    names = {note["text"].partition("</span> ")[2]: (note["x"], note["y"]) for note in layout["annotations"]}
    assert names == {"ants": (1.0, 0.0), "&lt;b&gt;bees": (-1.0, 0.0)}


def test_the_subspace_map_can_dwell_on_one_family() -> None:
    ants = figures.subspace_map_figure(PLANE, "in_proj")["data"][0]
    assert ants["marker"]["opacity"] == [0.12, 0.12, 1.0]


def test_a_subspace_map_without_points_has_axes_all_the_same() -> None:
    nowhere = SubspaceMap(("ants",), LAYERS, (((math.nan, math.nan),) * 3,), 0.0)
    figure = figures.subspace_map_figure(nowhere, chosen=("ants", "b1.c_fc"))
    go.Figure(figure)
    assert figure["layout"]["xaxis"]["range"] == [-0.12, 0.12]


def test_stability_stands_beside_svd_and_chance_from_0_to_1() -> None:
    figure = EVERY["stability"]
    energy, whole, apart = figure["data"]
    assert (energy["x"], energy["y"], whole["y"]) == ([1, 4], [0.8, 0.95], [0.5, 1.0])
    assert (apart["x"], apart["y"]) == ([1], [0.3])
    assert whole["error_y"]["array"] == pytest.approx([0.2, 0.0])
    assert whole["error_y"]["arrayminus"] == pytest.approx([0.1, 0.0])
    assert whole["line"]["color"] == "var(--task-2)"
    assert [shape["y0"] for shape in figure["layout"]["shapes"]] == [0.6, 0.25]
    assert figure["layout"]["yaxis"]["range"] == [0, 1.05]
    assert (figure["layout"]["xaxis"]["type"], figure["layout"]["xaxis"]["tickvals"]) == ("log", [1, 4])
    assert len({trace["marker"]["symbol"] for trace in figure["data"]}) == 3  # not told apart by colour alone
    assert "two draws of 1 image overlap by 0.30, random subspaces by 0.25" in figure["layout"]["meta"]["says"]


def test_stability_of_what_did_not_move_says_so() -> None:
    sizes = tuple(dataclasses.replace(s, with_all=UNKNOWN, between=UNKNOWN, energy=UNKNOWN) for s in STABILITY.sizes)
    still = dataclasses.replace(STABILITY, sizes=sizes, svd_overlap=math.nan, svd_energy=math.nan)
    figure = figures.stability_figure(still)
    go.Figure(figure)
    assert figure["layout"]["meta"]["says"] == "<b>bees, c_fc 2: this expert did not change here."
    assert [trace["x"] for trace in figure["data"]] == [[], [], []]


def test_one_draw_of_proxies_is_said_to_be_one() -> None:
    figure = figures.stability_figure(dataclasses.replace(STABILITY, sizes=STABILITY.sizes[1:]))
    go.Figure(figure)
    assert figure["layout"]["meta"]["says"].endswith("all proxies are one draw, which keeps 95.0 % of the energy.")


def test_levels_of_scaling_are_lines_on_a_log_scale_with_their_own_marks() -> None:
    figure = EVERY["scaling"]
    by_level: dict[str, list[float]] = {}
    for trace in figure["data"]:
        by_level.setdefault(trace["name"], []).extend(trace["y"])
    # families in order, blocks ascending; in_proj, which did not move, has no place on a log scale
    assert by_level == {
        "none": [2.0, 1.0],
        "+ spectrum": [2.0, 2.0],
        "+ task": [3.0, 2.0],
        "+ dimension": [3.0, 2.5],
        "+ layer": [1.0, 10.0],
    }
    assert len({(trace["marker"]["symbol"], trace["line"]["dash"]) for trace in figure["data"]}) == 5
    assert figure["layout"]["yaxis"]["type"] == "log"
    assert figure["layout"]["yaxis"]["range"] == pytest.approx([-0.05, 1.05])
    assert figure["layout"]["yaxis"]["tickvals"] == [1, 3, 10]
    names = [label for label in figure["layout"]["annotations"] if label.get("xref") == "paper" and label["x"] == 1.0]
    assert [name["text"].split("</span> ")[1] for name in names] == list(by_level)
    assert [name["yshift"] for name in names] == [36, 18, 0, -18, -36]
    assert figure["layout"]["meta"]["says"] == "Largest change: c_fc 2, 1.00 to 10.00."


@pytest.mark.parametrize("norms", [((0.0, 0.0, 0.0),), ((1e-30, 1e30, 1.0),), ((2.0, 2.0, 2.0),)])
def test_a_method_without_levels_has_one_line_at_any_size(norms: tuple[tuple[float, ...], ...]) -> None:
    figure = figures.scaling_figure(dataclasses.replace(SCALING, levels=("none",), norms=norms))
    go.Figure(figure)
    assert not [label for label in figure["layout"]["annotations"] if label.get("xshift")]
    assert len(figure["layout"]["yaxis"]["tickvals"]) <= 3
    assert "no levels" in figure["layout"]["meta"]["how"]


def test_patches_show_each_image_plain_and_under_its_scores() -> None:
    figure = EVERY["patches"]
    images = figure["layout"]["images"]
    sources = [base64.b64decode(image["source"].partition("base64,")[2]) for image in images]
    assert sources == [b"seven", b"seven", b"three", b"three"]
    assert [(image["x"], image["y"]) for image in images] == [(0, 0), (0, 1.12), (1.12, 0), (1.12, 1.12)]
    first, second = figure["data"]
    assert first["z"] == [[0.5, 2.0], [0.25, 1.0]]
    assert (first["x"], first["y"]) == (pytest.approx([0.25, 0.75]), pytest.approx([1.37, 1.87]))
    assert {(trace["zmin"], trace["zmax"]) for trace in (first, second)} == {(0, 2.0)}
    assert first["customdata"][0][1] == ["image 8", "row 1, column 2", 2.0]
    assert first["text"][1][1] == "<b>image 8, row 2, column 2</b><br>1.00, class token 0.75"


def test_patches_frame_the_top_ones_where_they_are() -> None:
    frames = EVERY["patches"]["layout"]["shapes"][1::2]  # each stands on a halo
    assert [(frame["x0"], frame["y0"], frame["x1"], frame["y1"]) for frame in frames] == [
        pytest.approx(place) for place in ((0.5, 0, 1, 0.5), (0.5, 0.5, 1, 1), (1.12, 0.5, 1.62, 1))
    ]
    assert EVERY["patches"]["layout"]["meta"]["says"] == (
        "<b>bees, c_fc 2: direction 1 carries 40.0 % of the energy, 12 % of that through class tokens; "
        "its 3 strongest patches lie in 2 images."
    )
    assert "&lt;b&gt;bees" in EVERY["patches"]["layout"]["xaxis"]["title"]["text"]


@pytest.mark.parametrize(
    ("left_out", "all_blank", "said"),
    [
        (0, False, "lie in 2 images."),
        (1, False, "lie in 2 images. 1 blank patch that scores as high is left out."),
        (5, False, "lie in 2 images. 5 blank patches that score as high are left out."),
        (0, True, "lie in 2 images. Every patch is blank: nearly one colour."),
    ],
)
def test_patches_say_what_is_blank(left_out: int, all_blank: bool, said: str) -> None:
    record = dataclasses.replace(PATCHES, blank_left_out=left_out, all_blank=all_blank)
    assert figures.patches_figure(record)["layout"]["meta"]["says"].endswith(said)


def test_patches_show_the_first_images_only() -> None:
    assert len(figures.patches_figure(PATCHES, most=1)["data"]) == 1


def test_every_glyph_has_its_own_symbol_that_plotly_knows() -> None:
    symbols = [task_symbol(index) for index in range(20)]
    assert len(set(symbols)) == 20
    assert (symbols[8], symbols[16], symbols[19]) == ("circle-open", "circle-open-dot", "diamond-open-dot")
    go.Scatter(marker={"symbol": symbols})


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([0.9, 0.2], [0.9, 0.2]),
        ([1.0, 1.0, 0.95], [1.0, 0.9, 0.8]),
        ([0.0, 0.05, 0.0], [0.1, 0.2, 0.0]),
        ([], []),
    ],
)
def test_labels_stand_apart_in_the_order_of_their_values(values: list[float], places: list[float]) -> None:
    assert spread_out(values, 0.1, 0.0, 1.0) == pytest.approx(places)
