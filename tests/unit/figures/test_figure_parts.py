"""What figures tell the page of their marks: whose they are, and their numbers as a table."""

from __future__ import annotations

import pytest

from esm_viz.core.records import (
    LAYER_ROLES,
    Evaluation,
    Layer,
    LayerMap,
    LayerNorms,
    Overlap,
    Score,
    Spectrum,
    TaskScores,
)
from esm_viz.figures import accuracy_figure, norms_figure, overlap_figure, spectrum_figure
from esm_viz.figures.figure_parts import Columns

LAYERS = (Layer("b0.c_fc", "c_fc", 0, 8, 4, "c_fc"), Layer("b1.c_fc", "c_fc", 1, 8, 4, "c_fc"))
TASKS = ("ants", "<b>bees")


def scores(*correct: int) -> Evaluation:
    tasks = (
        TaskScores(task, Score(50, 100), Score(90, 100), Score(right, 100))
        for task, right in zip(TASKS, correct, strict=True)
    )
    return Evaluation("sha", "esm", 1.0, {}, "validation", tuple(tasks), 0, 1.0)


def test_the_table_of_accuracies_has_the_interval_what_it_is_compared_with_and_the_expert() -> None:
    head, first, second = accuracy_figure(scores(80, 70), scores(60, 75))["layout"]["meta"]["table"]
    assert head == ["task", "images", "accuracy, %", "from", "to", "A, %", "own expert, %"]
    low, high = scores(80, 70).tasks[0].merged.interval
    assert first == ["ants", 100, 80, pytest.approx(100 * low), pytest.approx(100 * high), 60, 90]
    assert second[0] == "<b>bees"  # data, not markup
    assert second[5] == 75


def test_without_a_reference_the_table_has_no_column_for_it() -> None:
    head = accuracy_figure(scores(80, 70))["layout"]["meta"]["table"][0]
    assert head == ["task", "images", "accuracy, %", "from", "to", "own expert, %"]


def test_the_table_of_norms_has_one_line_a_layer() -> None:
    table = norms_figure(LayerNorms(LAYERS, (1.0, 2.0), (3.0, 4.0)))["layout"]["meta"]["table"]
    assert table == [["layer", "‖ΔW‖ before", "‖ΔW‖ after"], ["c_fc 1", 1.0, 3.0], ["c_fc 2", 2.0, 4.0]]


def test_rows_and_curves_say_whose_they_are() -> None:
    overlap = overlap_figure(Overlap(LAYERS[0], TASKS, ((1.0, 0.5), (0.5, 1.0)), 0.1, 2))["layout"]["meta"]
    assert (overlap["rows"], overlap["square"]) == (list(TASKS), True)
    record = Spectrum("ants", LAYERS[0], (2.0, 1.0), (0.6, 1.0), (0.5, 1.0), 1)
    esd, svd, _ = spectrum_figure(record)["data"]
    assert esd["meta"] == {"tasks": ["ants"]}
    assert "meta" not in svd


def test_deep_models_have_round_ticks_and_the_first_block_once() -> None:
    layers = [Layer(f"{family}.{block}", family, block, 8, 8, family) for family in LAYER_ROLES for block in range(24)]
    ticks = Columns.of(layers).axis()["ticktext"]
    assert ticks == ["1", *(["6", "12", "18", "24"] * len(LAYER_ROLES))]
    assert Columns.of(layers[:24]).axis(most=3)["ticktext"] == ["1", "12", "24"]


def test_the_merge_is_drawn_over_the_range_of_the_experts_own_sizes() -> None:
    own = LayerMap("norm", TASKS, LAYERS, ((0.5, 8.0), (1.5, 2.0)), ((0.5, 1.0), (0.5, 0.5)))
    figure = norms_figure(LayerNorms(LAYERS, (1.0, 2.0), (1.0, 2.0)), own=own)
    band, merge = figure["data"]
    assert (band["fill"], band["y"]) == ("toself", [1.5, 8.0, 2.0, 0.5])
    assert merge["y"] == [1.0, 2.0]
    assert figure["layout"]["yaxis"]["range"][1] >= 8.0
    assert figure["layout"]["meta"]["says"] == (
        "‖ΔW‖: Frobenius norm before α. Largest: c_fc 2, 2.0; its experts’ mean 5.0."
    )
    assert figure["layout"]["meta"]["table"][1] == ["c_fc 1", 1.0, 1.0, 0.5, 1.5]


@pytest.mark.parametrize(("norm", "told"), [(7.9, False), (8.1, True)])
def test_why_a_merge_is_larger_is_told_only_where_it_is(norm: float, told: bool) -> None:
    own = LayerMap("norm", TASKS, LAYERS, ((0.5, 8.0), (1.5, 2.0)), ((0.5, 1.0), (0.5, 0.5)))
    figure = norms_figure(LayerNorms(LAYERS, (1.0, norm), (1.0, norm)), own=own, larger="It adds up.")
    assert figure["layout"]["meta"]["says"].endswith("It adds up.") == told
