"""Points on a plane: exact where they fit, the same picture every time, an honest stress where they do not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from esm_viz.core.errors import Cancelled
from esm_viz.numerics.multidimensional_scaling import plane_of
from tests.support.tiny import normal


def distances(points: Tensor) -> Tensor:
    return (points[:, None] - points[None]).square().sum(-1).sqrt()


def stress(positions: Tensor, points: Tensor) -> float:
    true = distances(points)
    return float(((distances(positions) - true).square().sum() / true.square().sum()).sqrt())


def test_points_of_a_plane_in_five_dimensions_keep_their_distances() -> None:
    flat = normal(20, 2, seed=0) @ torch.linalg.qr(normal(5, 5, seed=1))[0][:2] + 7
    plane = plane_of(flat)
    assert plane.stress == 0.0
    assert (distances(plane.positions) - distances(flat)).abs().max() < 1e-12


def test_the_stress_is_kruskals_and_below_that_of_principal_axes() -> None:
    points = normal(30, 6, seed=2)
    plane = plane_of(points)
    centred = points - points.mean(0)
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    assert plane.stress == pytest.approx(stress(plane.positions, points), rel=1e-9)
    assert plane.stress < 0.8 * stress((u * s)[:, :2], points)


def test_a_turned_and_mirrored_cloud_gives_the_same_picture() -> None:
    points = normal(15, 4, seed=3) * torch.tensor([4.0, 2.0, 1.0, 0.5], dtype=torch.float64)
    turned = points @ torch.linalg.qr(normal(4, 4, seed=4))[0] - 2
    # 15 iterations of 20 carry rounding on, but do not blow it up
    assert (plane_of(points).positions - plane_of(turned).positions).abs().max() < 1e-9


def test_the_picture_is_centred_wide_along_x_and_its_first_point_decides_the_signs() -> None:
    positions = plane_of(normal(25, 5, seed=5)).positions
    assert positions.mean(0).abs().max() < 1e-12
    assert positions[:, 0].square().sum() > positions[:, 1].square().sum()
    assert float((positions[:, 0] * positions[:, 1]).sum()) == pytest.approx(0.0, abs=1e-10)
    assert (positions[0] > 0).all()


def test_asking_twice_gives_the_same_bits() -> None:
    points = normal(40, 7, seed=6)
    assert torch.equal(plane_of(points).positions, plane_of(points).positions)


def test_a_regular_simplex_of_four_corners_cannot_be_flat() -> None:
    # the best plane image of a regular tetrahedron is a square or near it; any has a stress of more than 0.1
    assert 0.1 < plane_of(torch.eye(4, dtype=torch.float64)).stress < 0.3


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (5, 1), (1, 1)])
def test_too_little_for_a_plane_is_drawn_all_the_same(shape: tuple[int, int]) -> None:
    plane = plane_of(torch.ones(shape, dtype=torch.float64))
    assert plane.positions.shape == (shape[0], 2)
    assert plane.positions.abs().sum() == 0
    assert plane.stress == 0.0


def test_points_on_a_line_stay_on_a_line() -> None:
    line = torch.tensor([[3.0], [1.0], [0.0]], dtype=torch.float64)
    assert plane_of(line).positions.tolist() == [
        pytest.approx(row, abs=1e-12) for row in ([5 / 3, 0], [-1 / 3, 0], [-4 / 3, 0])
    ]


def test_same_points_twice_lie_on_each_other() -> None:
    points = normal(6, 5, seed=7)
    positions = plane_of(torch.cat([points, points])).positions
    assert (positions[:6] - positions[6:]).abs().max() < 1e-9


def test_drawing_can_be_stopped() -> None:
    def stop(done: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        plane_of(normal(9, 5, seed=8), stop)
