"""The table's arithmetic, on numbers that can be worked out by hand."""

import pytest

from esm_viz.demo import accuracy_table


def a_table(shift: float) -> accuracy_table.Table:
    means = {"pre-trained": 40, "averaging": 50, "task_arithmetic": 55, "tsv_m": 60, "esm": 70, "experts": 90}
    return {row: {"mean": mean + shift, "tasks": {"t": mean + shift}} for row, mean in means.items()}


def test_recovered_is_the_share_of_the_gap():
    table = a_table(0)
    assert accuracy_table.recovered(table, "esm") == pytest.approx(60)
    assert accuracy_table.recovered(table, "experts") == pytest.approx(100)


def test_over_seeds_gives_mean_and_sample_deviation():
    assert accuracy_table.over_seeds([a_table(0), a_table(2)])["esm"] == {
        "mean": 71.0, "recovered": 60.0, "mean_sd": 1.41, "recovered_sd": 0.0,
    }  # fmt: skip


def test_one_seed_has_no_spread():
    assert set(accuracy_table.over_seeds([a_table(0)])["esm"]) == {"mean", "recovered"}
