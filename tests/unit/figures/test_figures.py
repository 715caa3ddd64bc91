"""Pictures are dicts that one function makes from one record: their numbers, titles, units and scales."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go
import pytest

from esm_viz import figures
from esm_viz.figures.accuracy import mean_half_width
from esm_viz.figures.base import GLYPHS, Columns, task_colour, task_glyph
from esm_viz.figures.norms import nice_top
from esm_viz.figures.theme import tokens
from esm_viz.types import (
    AlphaPoint,
    AlphaSearch,
    Angles,
    Evaluation,
    Interference,
    Layer,
    LayerMap,
    LayerNorms,
    Overlap,
    Routing,
    Score,
    Spectrum,
    TaskScores,
)

TASKS = ("ants", "<b>bees")
LAYERS = (
    Layer("b1.c_fc", "c_fc", 1, 8, 4),
    Layer("b0.c_fc", "c_fc", 0, 8, 4),
    Layer("b0.in_proj", "in_proj", 0, 6, 4),
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
ROUTING = Routing(TASKS, LAYERS, ((0.5, 0.25, 1.0), (0.9, 0.7, 0.2)), (Score(9, 10), Score(8, 10)), 30, 100)
SEARCH = AlphaSearch(0.5, 0.9, (AlphaPoint(1.0, 0.8), AlphaPoint(0.5, 0.9), AlphaPoint(0.0, 0.7)), 30)


def evaluation(*correct: int, split: str = "validation") -> Evaluation:
    """Return 100 images a task; the expert has 90 right, the base 40."""
    rows = tuple(
        TaskScores(t, Score(40, 100), Score(90, 100), Score(c, 100)) for t, c in zip(TASKS, correct, strict=True)
    )
    return Evaluation("0" * 64, "esm", 0.5, {}, split, rows, 0, 0.1)  # type: ignore[arg-type]


EVERY = {
    "map": figures.layer_map_figure(MAP, ("ants", "b0.c_fc")),
    "spectrum": figures.spectrum_figure(SPECTRUM),
    "lambda": figures.spectrum_figure(SPECTRUM, view="lambda"),
    "overlap": figures.overlap_figure(OVERLAP, ("a", "c")),
    "angles": figures.angles_figure(ANGLES),
    "accuracy": figures.accuracy_figure(evaluation(80, 50)),
    "against A": figures.accuracy_figure(evaluation(80, 50), evaluation(60, 52)),
    "interference": figures.interference_figure(INTERFERENCE),
    "difference": figures.interference_figure(BETTER, INTERFERENCE, difference=True),
    "norms": figures.norms_figure(NORMS),
    "routing": figures.routing_figure(ROUTING),
    "alpha": figures.alpha_figure(SEARCH),
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
    assert layout["xaxis"]["title"]["text"]


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
    assert "<b>bees" not in str(EVERY["map"]["layout"])
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


def test_a_difference_inside_the_noise_is_grey() -> None:
    labels = [note["text"] for note in EVERY["against A"]["layout"]["annotations"]]
    assert "▲ +20" in labels[0]
    assert "≈ −2" in labels[1]


def test_interference_is_read_against_not_merging_on_a_log_scale() -> None:
    heat = EVERY["interference"]["data"]
    assert heat[0]["z"] == [[None], [0.0]]  # unknown where a task did not move; neutral at 1
    assert heat[1]["z"][0] == pytest.approx([-math.log10(0.4), -math.log10(0.2)])
    assert [cell[2] for cell in heat[1]["customdata"][0]] == [0.4, 0.2]
    change = EVERY["difference"]["data"]
    assert change[1]["z"][0] == pytest.approx([0.0, math.log10(0.2 / 0.1)])  # less interference: blue
    assert change[1]["z"][1] == pytest.approx([0.0, math.log10(0.6 / 0.7)])
    assert {(trace["zmin"], trace["zmax"]) for trace in [*heat, *change]} == {(-1, 1)}


def test_routing_is_shares_on_a_scale_from_zero_to_one() -> None:
    heat = [trace for trace in EVERY["routing"]["data"] if trace["type"] == "heatmap"]
    assert [trace["z"] for trace in heat] == [[[1.0], [0.2]], [[0.25, 0.5], [0.7, 0.9]]]
    assert {(trace["zmin"], trace["zmax"]) for trace in heat} == {(0, 1)}
    assert EVERY["routing"]["data"][-1]["text"] == ["50", "25", "100", "90", "70", "20"]
    assert heat[1]["text"][0][1] == "<b>ants, c_fc 2</b><br>50.0 % went to its own low-rank expert"
    meta = EVERY["routing"]["layout"]["meta"]
    assert "by chance 50 %. These experts add 30 % to the parameters; all are 65 % of 2 separate models." in meta["how"]
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


def test_the_search_is_drawn_in_the_order_of_alpha() -> None:
    trace = EVERY["alpha"]["data"][0]
    assert (trace["x"], trace["y"]) == ([0.0, 0.5, 1.0], pytest.approx([70, 90, 80]))
    assert EVERY["alpha"]["layout"]["yaxis"]["title"]["text"] == "% of experts, validation"


def test_twenty_tasks_have_twenty_colours_and_glyphs() -> None:
    assert len({task_colour(i) for i in range(20)}) == len(set(GLYPHS)) == 20
    assert task_glyph(20) == task_glyph(0)
    for theme in ("light", "dark"):
        assert {f"task-{i}" for i in range(1, 21)} <= tokens(theme).keys()  # type: ignore[arg-type]


def test_the_means_interval_is_that_of_independent_tasks() -> None:
    # both tasks: p (1 − p) / n = 0.0025, so sd of the mean = √(2 · 0.0025) / 2
    scores = [Score(50, 100), Score(50, 100)]
    assert mean_half_width(scores) == pytest.approx(1.959963984540054 * math.sqrt(0.005) / 2, rel=1e-12)
    assert math.isnan(mean_half_width([Score(0, 0)]))
