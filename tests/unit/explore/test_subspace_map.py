"""The map of all subspaces: its distances are those of the overlap tables, its gauge is fixed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from esm_viz.core.recipe import parse_mapping
from esm_viz.core.records import SubspaceMap
from esm_viz.merge import settle, with_parameters
from esm_viz.project.project import Project
from tests.support.tiny import TASKS, mapping


def drawn(record: SubspaceMap) -> Tensor:
    return torch.tensor(record.points, dtype=torch.float64)


def test_two_tasks_are_drawn_exactly_one_minus_overlap_apart(tiny_folder: Path) -> None:
    # rows (1, o) and (o, 1): ‖(1 − o, o − 1)‖ / √2 = 1 − o, and two dimensions fit on a plane
    raw = mapping()
    del raw["models"][2:]
    two = Project.open(settle(parse_mapping(raw, tiny_folder)), device="cpu")
    record = two.subspace_map(two.recipe)
    points = drawn(record)
    assert record.stress == 0.0
    for at, layer in enumerate(record.layers):
        shared = two.overlap(layer.name, two.recipe).values[0][1]
        assert float((points[0, at] - points[1, at]).norm()) == pytest.approx(1 - shared, abs=1e-9)


def test_distances_across_layers_are_those_of_overlap_rows_and_the_stress_says_how_well(project: Project) -> None:
    record = project.subspace_map(project.recipe)
    tables = [project.overlap(layer.name, project.recipe).values for layer in record.layers]
    rows = [tables[at][task] for task in range(3) for at in range(len(tables))]
    true = torch.tensor([[math.dist(a, b) / math.sqrt(2) for b in rows] for a in rows], dtype=torch.float64)
    points = drawn(record).flatten(0, 1)
    found = torch.tensor([[math.dist(a, b) for b in points.tolist()] for a in points.tolist()], dtype=torch.float64)
    stress = float(((found - true).square().sum() / true.square().sum()).sqrt())
    assert record.stress == pytest.approx(stress, abs=1e-9)
    assert 0 < stress < 0.05  # three tasks span three dimensions, the third of them thin
    assert record.tasks == TASKS
    assert record.layers == project.layers


def test_a_twin_lies_on_its_twin_and_a_task_that_did_not_move_is_nowhere(extremes: Project) -> None:
    record = extremes.subspace_map(extremes.recipe)
    points = drawn(record)
    assert (points[0] - points[1]).abs().max() < 1e-9
    assert points[2].isnan().all()
    assert points[[0, 1, 3]].isfinite().all()


def test_one_task_alone_is_one_point(alone: Project) -> None:
    record = alone.subspace_map(alone.recipe)
    assert record.stress == 0.0
    assert drawn(record).abs().max() < 1e-12


def test_without_any_change_there_is_no_point(tiny_folder: Path) -> None:
    raw = mapping()
    for model in raw["models"]:
        model["path"] = "base.safetensors"
    still = Project.open(settle(parse_mapping(raw, tiny_folder)), device="cpu")
    record = still.subspace_map(still.recipe)
    assert drawn(record).isnan().all()
    assert record.stress == 0.0


def test_a_fresh_project_draws_the_same_map(project: Project, tiny_folder: Path) -> None:
    fresh = Project.open(project.recipe, device="cpu")
    assert fresh.subspace_map(fresh.recipe) == project.subspace_map(project.recipe)


def test_the_rank_knob_redraws_the_map(project: Project) -> None:
    small = with_parameters(project.recipe, rank_ratio=0.3)
    assert project.subspace_map(small) != project.subspace_map(project.recipe)
    assert project.subspace_map(small) == Project.open(small, device="cpu").subspace_map(small)
