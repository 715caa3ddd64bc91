"""Overlap and angles of subspaces whose position is known."""

from __future__ import annotations

import pytest
import torch

from esm_viz.numerics.subspace_overlap import overlap, principal_angles, random_subspace
from tests.support.tiny import normal

EYE = torch.eye(8, dtype=torch.float64)


def test_the_same_subspace_in_another_basis_overlaps_fully() -> None:
    basis = random_subspace(12, 4, 0)
    turned = basis @ torch.linalg.qr(normal(4, 4, seed=1))[0]
    assert overlap(basis, turned) == pytest.approx(1.0, abs=1e-14)


def test_orthogonal_subspaces_do_not_overlap() -> None:
    assert overlap(EYE[:, :3], EYE[:, 3:6]) == 0.0


def test_a_shared_direction_counts_one_of_k() -> None:
    assert overlap(EYE[:, :3], EYE[:, 2:5]) == pytest.approx(1 / 3, abs=1e-15)


def test_a_part_does_not_count_as_the_whole() -> None:
    assert overlap(EYE[:, :1], EYE[:, :4]) == overlap(EYE[:, :4], EYE[:, :1]) == 0.25


def test_an_empty_subspace_overlaps_with_nothing() -> None:
    assert overlap(EYE[:, :0], EYE[:, :4]) == 0.0


def test_random_subspaces_overlap_by_k_over_d_out_on_average() -> None:
    d_out, k, pairs = 60, 12, 40
    values = [overlap(random_subspace(d_out, k, 2 * at), random_subspace(d_out, k, 2 * at + 1)) for at in range(pairs)]
    # variance of one overlap is below 2 k² / d² / k² = 2 / d²; five standard errors of the mean of 40
    assert abs(sum(values) / pairs - k / d_out) < 5 * (2**0.5 / d_out) / pairs**0.5


@pytest.mark.parametrize("degrees", [0.0, 30.0, 90.0])
def test_principal_angles_of_a_turned_direction(degrees: float) -> None:
    turn = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    turned = (EYE[:, 0] * turn.cos() + EYE[:, 1] * turn.sin())[:, None]
    # arccos near 1 turns 1e-16 into 1e-8 rad, 1e-6 degrees
    assert principal_angles(EYE[:, :1], turned).tolist() == pytest.approx([degrees], abs=2e-6)


def test_principal_angles_ascend_and_there_are_as_many_as_the_smaller_side_has_directions() -> None:
    angles = principal_angles(EYE[:, :3], EYE[:, 1:5])
    assert angles.tolist() == pytest.approx([0.0, 0.0, 90.0], abs=2e-6)


def test_a_random_subspace_is_orthonormal_and_its_seed_decides() -> None:
    basis = random_subspace(10, 4, 3)
    assert (basis.mT @ basis - torch.eye(4)).abs().max() < 1e-14
    assert torch.equal(basis, random_subspace(10, 4, 3))
    assert not torch.equal(basis, random_subspace(10, 4, 4))
