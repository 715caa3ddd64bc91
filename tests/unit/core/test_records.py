"""Records that compute something: scores with their intervals, means that skip what is unknown."""

from __future__ import annotations

import math

import pytest

from esm_viz.core.records import (
    Estimate,
    Evaluation,
    ExpertAgreement,
    Interference,
    KnobSearch,
    KnobTrial,
    Layer,
    LayerMap,
    Routing,
    Score,
    Sweep,
    SweepCell,
    TaskAgreement,
    TaskScores,
)

LAYER = Layer("transformer.resblocks.2.mlp.c_fc.weight", "c_fc", 2, 64, 16, "c_fc")


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        # Worked out with z = 1.959963984540054: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)
        (8, 10, 0.490162, 0.943318),
        (0, 10, 0.0, 0.277533),
        (10, 10, 0.722467, 1.0),
        (50, 100, 0.403832, 0.596168),
        (1, 1, 0.206549, 1.0),
    ],
)
def test_the_interval_is_wilsons(correct: int, n: int, low: float, high: float) -> None:
    assert Score(correct, n).interval == pytest.approx((low, high), abs=1e-6)


def test_the_interval_stays_inside_zero_and_one() -> None:
    for n in range(1, 60):
        for correct in range(n + 1):
            low, high = Score(correct, n).interval
            assert 0.0 <= low <= correct / n + 1e-15  # rounding of numbers below 1
            assert correct / n - 1e-15 <= high <= 1.0


def test_no_images_have_no_accuracy() -> None:
    assert math.isnan(Score(0, 0).accuracy)
    assert all(math.isnan(end) for end in Score(0, 0).interval)


def test_normalised_is_merged_over_expert() -> None:
    assert TaskScores("a", Score(1, 10), Score(8, 10), Score(6, 10)).normalised == pytest.approx(0.75)


def test_normalised_by_an_expert_that_is_never_right_is_unknown() -> None:
    assert math.isnan(TaskScores("a", Score(1, 10), Score(0, 10), Score(6, 10)).normalised)


def test_a_layer_is_shown_as_people_count() -> None:
    assert LAYER.label == "c_fc 3"


def test_mean_interference_skips_tasks_that_moved_nothing() -> None:
    assert Interference(("a", "b"), (LAYER,), ((0.5,), (math.nan,)), (0.5, math.nan)).mean == 0.5


def test_mean_interference_is_unknown_where_nothing_moved_at_all() -> None:
    assert math.isnan(Interference(("a",), (LAYER,), ((math.nan,),), (math.nan,)).mean)


def evaluation(*rows: TaskScores) -> Evaluation:
    return Evaluation("0" * 64, "esm", 1.0, {}, "test", rows, 0, 0.0)


def test_the_mean_of_an_evaluation_is_over_tasks_not_over_images() -> None:
    rows = (
        TaskScores("a", Score(0, 4), Score(4, 4), Score(1, 4)),
        TaskScores("b", Score(0, 4), Score(4, 4), Score(90, 100)),
    )
    assert evaluation(*rows).mean("merged") == pytest.approx((0.25 + 0.9) / 2)


def test_the_interval_of_the_mean_of_one_task_is_that_tasks_own() -> None:
    only = evaluation(TaskScores("a", Score(0, 10), Score(9, 10), Score(8, 10)))
    assert only.mean_interval("merged") == pytest.approx(Score(8, 10).interval)


def test_the_interval_of_the_mean_of_equal_tasks_shrinks_with_their_root() -> None:
    row = TaskScores("a", Score(0, 10), Score(9, 10), Score(8, 10))
    low, high = evaluation(row, row, row, row).mean_interval("merged")
    own = Score(8, 10).interval
    assert (0.8 - low, high - 0.8) == pytest.approx(((0.8 - own[0]) / 2, (own[1] - 0.8) / 2))


def test_mean_normalised_skips_a_task_whose_expert_is_never_right() -> None:
    known, unknown = TaskScores("a", Score(0, 4), Score(4, 4), Score(1, 4)), TaskScores("b", *[Score(0, 4)] * 3)
    assert evaluation(known, unknown).mean_normalised == 0.25
    assert math.isnan(evaluation(unknown).mean_normalised)


def test_a_share_that_is_unknown_is_explained() -> None:
    known = TaskScores("a", Score(0, 4), Score(4, 4), Score(1, 4))
    one, two = (TaskScores(name, *[Score(0, 4)] * 3) for name in "bc")
    check = "check heads and labels"
    assert evaluation(known).shares_missing == ""
    ratio = "so accuracy ÷ expert’s is"
    told = f"the expert of b is right on none of its images, {ratio} the mean of the other tasks; {check}"
    assert evaluation(known, one).shares_missing == told
    told = f"the experts of b, c are right on none of their images, {ratio} not known; {check}"
    assert evaluation(one, two).shares_missing == told


def test_the_strongest_layer_has_the_largest_mean_and_the_first_of_several_wins() -> None:
    layers = tuple(Layer(f"{at}", "c_fc", at, 4, 4, "c_fc") for at in range(3))
    assert LayerMap("overlap", ("a", "b"), layers, ((0.1, 0.7, 0.2), (0.2, 0.1, 0.4)), ()).strongest == layers[1]
    assert LayerMap("overlap", ("a",), layers, ((0.0, 0.0, 0.0),), ()).strongest == layers[0]


def cell(value: float) -> SweepCell:
    """Return a cell without labels whose value is this."""
    apart = Estimate(-value, -value, -value)
    row = TaskAgreement("a", 4, Score(2, 4), apart, apart)
    kept = ExpertAgreement("0" * 64, "esm", 0.5, {}, (row,), 0, apart, apart, 0.1)
    return SweepCell({}, "0" * 64, None, None, 0.0, None if math.isnan(value) else kept)


def sweep(*values: float, split: str | None = None) -> Sweep:
    grid = (("gain", (1.0,)), ("alpha", tuple(float(at) for at in range(len(values)))))
    cells, search_on = tuple(cell(value) for value in values), None if split == "test" else "divergence"
    return Sweep("0" * 64, "esm", grid, {"gain": 1.0, "alpha": 1.0, "x": 3.0}, split, 0, cells, 0.0, search_on)  # type: ignore[arg-type]


def test_a_sweeps_points_have_the_last_knob_fastest_and_one_of_them_is_the_recipe() -> None:
    assert sweep(-0.5, -0.5, -0.5).points == ((1.0, 0.0), (1.0, 1.0), (1.0, 2.0))
    assert (sweep(-0.5, -0.5).baseline, sweep(-0.5).baseline) == (1, None)


def test_the_best_of_a_sweep_is_the_first_of_the_highest_that_is_known() -> None:
    assert sweep(math.nan, -0.7, -0.4, -0.4).best == 2
    assert sweep(math.nan, math.nan).best is None
    assert sweep(-0.5, -0.4, split="test").best is None


def test_a_searchs_line_never_falls_and_passes_over_what_is_unknown() -> None:
    trials = tuple(KnobTrial({}, value) for value in (0.5, math.nan, 0.4, 0.7, 0.7))
    record = KnobSearch("esm", (), "normalised", 0, 0, trials)
    assert (record.best, record.best_so_far) == (3, (0.5, 0.5, 0.5, 0.7, 0.7))


ROUTES = (((1.0, 0.0), (0.75, 0.25)), ((0.5, 0.5), (0.75, 0.25)))


def test_routing_is_averaged_over_tasks_and_layers_and_weighed_against_the_tower() -> None:
    told = (Score(9, 10), Score(7, 10))
    found = Routing(("a", "b"), (LAYER, LAYER), ROUTES, told, 20, 100)
    assert found.shares == ((1.0, 0.5), (0.25, 0.25))
    assert found.mean_routes == ((0.75, 0.25), (0.75, 0.25))
    assert found.mean == 0.5
    assert found.overhead == 0.2
    assert found.of_separate == 0.6  # 120 numbers instead of 2 times 100


def test_an_oracle_has_a_mean_where_it_was_measured() -> None:
    row = TaskScores("a", Score(1, 10), Score(9, 10), Score(8, 10))
    routing = Routing(("a",), (LAYER,), (((1.0,),),), (Score(9, 10),), 20, 100)
    told = Evaluation("0" * 64, "esmpp", 1.0, {}, "test", (row,), 0, 0.0, routing)
    assert told.mean("oracle") == 0.9
    assert told.mean_interval("oracle") == pytest.approx(Score(9, 10).interval)
    assert evaluation(row).scores("oracle") == ()
    assert math.isnan(evaluation(row).mean("oracle"))
