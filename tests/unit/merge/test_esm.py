"""ESM's fusion against its formulas, written once more in the plainest way, and its closed forms."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from esm_viz.core.errors import NumericsError
from esm_viz.merge import METHODS, LayerUpdate, run_now
from esm_viz.merge.esm import esm, essential_basis, essential_frame, fuse
from esm_viz.numerics.essential_subspace_decomposition import esd
from esm_viz.numerics.second_moments import Moment
from tests.support.errors import says
from tests.support.tiny import normal, relative

PLAIN = {"spectrum_exponent": 0.0, "task_exponent": 0.0, "dimension_exponent": 0.0, "gain": 1.0}


def update(delta: Tensor, x: Tensor, weight: float = 1.0) -> LayerUpdate:
    moment = Moment(x.mT @ x, len(x), x.mean(0))
    return LayerUpdate(tuple(delta.shape), lambda: delta, lambda: moment, lambda: esd(delta, moment), weight)


def updates_of(d_out: int, d_in: int, tasks: int, tokens: int = 40) -> list[LayerUpdate]:
    return [
        update((0.5 + at) * normal(d_out, d_in, seed=at), normal(tokens, d_in, seed=50 + at)) for at in range(tasks)
    ]


def ortho(matrix: Tensor) -> Tensor:
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    return s.mean() * (u @ vt)


def by_the_book(
    deltas: Sequence[Tensor], inputs: Sequence[Tensor], gamma: float, p_task: float, p_dim: float, gain: float
) -> Tensor:
    """Follow METHOD line by line, with the dense output shift and SVDs; for full-rank shifts only."""
    d_out = len(deltas[0])
    r = d_out // len(deltas)
    norms = torch.stack([delta.norm() for delta in deltas])
    columns, rows = [], []
    for delta, x, norm in zip(deltas, inputs, norms, strict=True):
        _, s, vt = torch.linalg.svd(x @ delta.mT, full_matrices=True)
        eigenvalues, essential = s[:r] ** 2 / (len(x) - 1), vt.mT[:, :r]
        w = (eigenvalues / eigenvalues.mean()) ** gamma
        w = w / w.mean()
        columns.append(essential * w)
        rows.append(w[:, None] * (essential.mT @ delta) * (norm / norms.mean()) ** p_task)
    C = torch.cat(rows)
    lengths = C.norm(dim=0)
    return gain * ortho(torch.cat(columns, 1)) @ ortho(C * (lengths / lengths.mean()) ** p_dim)


@pytest.mark.parametrize(("d_out", "d_in", "tasks"), [(12, 20, 3), (12, 4, 3), (9, 9, 2), (8, 6, 8)])
@pytest.mark.parametrize(
    ("gamma", "p_task", "p_dim", "gain"), [(0.15, 2.0, 2.0, 2.0), (0.6, 1.3, 0.0, 0.7), (0, 0, 1, 1)]
)
def test_the_merge_is_the_formula(
    d_out: int, d_in: int, tasks: int, gamma: float, p_task: float, p_dim: float, gain: float
) -> None:
    updates = updates_of(d_out, d_in, tasks)
    deltas = [one.delta for one in updates]
    inputs = [normal(40, d_in, seed=50 + at) for at in range(tasks)]
    truth = by_the_book(deltas, inputs, gamma, p_task, p_dim, gain)
    found = esm(updates, run_now, 1.0, gamma, p_task, p_dim, gain)
    assert relative(found, truth) < 1e-9  # eigenvectors of random spectra, whose gaps cost some digits


def test_one_task_at_full_rank_with_everything_off_is_iso_c_of_it() -> None:
    one = updates_of(8, 12, 1)
    u, s, vt = torch.linalg.svd(one[0].delta, full_matrices=False)
    assert relative(esm(one, rank_ratio=1.0, **PLAIN), s.mean() * (u @ vt)) < 1e-10


def test_one_tall_task_is_iso_c_times_the_directions_counted_over_those_that_exist() -> None:
    # Weights have mean 1 over 12 directions of which 5 exist, so each of these weighs 12 / 5: E's mean singular value
    # is 1 (12 counted), C's is 12 / 5 of the task's own (5 counted).
    one = updates_of(12, 5, 1)
    u, s, vt = torch.linalg.svd(one[0].delta, full_matrices=False)
    assert relative(esm(one, rank_ratio=1.0, **PLAIN), 12 / 5 * s.mean() * (u @ vt)) < 1e-10


def test_the_result_is_homogeneous_in_a_common_scale_of_all_tasks() -> None:
    plain = esm(updates_of(12, 20, 3))
    scaled = [update(1e-6 * (0.5 + at) * normal(12, 20, seed=at), normal(40, 20, seed=50 + at)) for at in range(3)]
    assert relative(esm(scaled) * 1e6, plain) < 1e-9


def test_the_scale_of_one_tasks_inputs_does_not_matter() -> None:
    # λ scales with X², and only λ / mean λ enters
    plain = updates_of(12, 20, 3)
    louder = [*plain[:2], update(plain[2].delta, 1000 * normal(40, 20, seed=52))]
    assert relative(esm(louder), esm(plain)) < 1e-9


def test_task_order_does_not_change_the_merge_beyond_rounding() -> None:
    updates = updates_of(12, 20, 3)
    assert relative(esm(updates[::-1]), esm(updates)) < 1e-9  # rounding times conditions of at most 1e6


@pytest.mark.parametrize("tokens", [1, 2, 5])
def test_few_tokens_give_a_finite_merge_of_little_rank(tokens: int) -> None:
    found = esm(updates_of(24, 20, 3, tokens))
    assert torch.isfinite(found).all()
    assert torch.linalg.matrix_rank(found) == 3 * tokens


def test_identical_tasks_give_a_finite_merge_inside_their_subspace() -> None:
    one = updates_of(12, 20, 1)[0]
    found = esm([one, one, one])
    essential = one.decomposition.vectors[:, :4]
    assert torch.isfinite(found).all()
    assert relative(essential @ (essential.mT @ found), found) < 1e-10


def test_linearly_dependent_tasks_give_a_finite_merge() -> None:
    a, b = normal(12, 20, seed=1), normal(12, 20, seed=2)
    x = normal(40, 20, seed=3)
    found = esm([update(a, x), update(b, x), update(a + b, x)])
    assert torch.isfinite(found).all()
    assert found.norm() > 0


@pytest.mark.parametrize("place", [0, 2])
def test_a_task_that_moved_nothing_adds_nothing_of_its_own(place: int) -> None:
    moved = updates_of(12, 20, 2)
    still = update(torch.zeros(12, 20, dtype=torch.float64), normal(40, 20, seed=9))
    found = esm([*moved[:place], still, *moved[place:]])
    spanned = torch.linalg.qr(torch.cat([one.decomposition.vectors[:, :4] for one in moved], 1))[0]
    assert relative(spanned @ (spanned.mT @ found), found) < 1e-10


def test_tasks_that_all_moved_nothing_merge_to_nothing() -> None:
    still = update(torch.zeros(12, 20, dtype=torch.float64), normal(40, 20, seed=9))
    found = esm([still, still])
    assert found.shape == (12, 20)
    assert not found.any()


def test_a_weight_is_the_same_as_a_change_of_that_size() -> None:
    plain = updates_of(12, 20, 2)
    heavier = [update(plain[0].delta, normal(40, 20, seed=50), weight=0.3), plain[1]]
    rewritten = [update(0.3 * plain[0].delta, normal(40, 20, seed=50)), plain[1]]
    assert relative(esm(heavier), esm(rewritten)) < 1e-8  # weak directions are decomposed twice, λ down to 1e-4 λ_1


def test_rank_one_keeps_one_direction_a_task() -> None:
    assert torch.linalg.matrix_rank(esm(updates_of(12, 20, 3), rank_ratio=0.25)) == 3


def test_layers_without_moments_are_merged_by_tsv_m() -> None:
    deltas = [normal(12, 20, seed=at) for at in range(3)]
    bare = [LayerUpdate((12, 20), lambda delta=delta: delta) for delta in deltas]
    assert torch.equal(esm(bare), METHODS["tsv_m"].merge_layer(bare, run_now))


def test_more_tasks_than_directions_are_refused() -> None:
    text = "3 tasks are more than the 2 directions there are, so that no rank fits"
    with says(NumericsError, f"{text}, take fewer tasks, or a method without a rank"):
        esm(updates_of(2, 6, 3))


def test_the_live_effects_are_what_the_formulas_make() -> None:
    updates = updates_of(12, 20, 3)
    norms = torch.stack([one.delta.norm() for one in updates])
    factors = (norms / norms.mean()) ** 2.0
    method = METHODS["esm"]
    found = method.live(updates, run_now, **method.arguments(method.defaults))
    assert found["rank_ratio"] == (4, 4)
    assert found["gain"] == (2.0, 2.0)
    assert found["task_exponent"] == pytest.approx((float(factors.min()), float(factors.max())))
    assert found["spectrum_exponent"][0] < 1 < found["spectrum_exponent"][1]
    assert set(found) <= set(method.knobs)


def test_levels_that_are_off_have_the_effect_one() -> None:
    fused = fuse(essential_basis(essential_frame(updates_of(12, 20, 3)), 4, 0.0), 0.0, 0.0)
    assert (fused.task_factors, fused.dimension_factors) == ((1.0, 1.0), (1.0, 1.0))


def test_the_knobs_each_change_the_merge() -> None:
    updates = updates_of(12, 20, 3)
    plain = esm(updates)
    for name, value in {
        "rank_ratio": 0.5,
        "spectrum_exponent": 0.5,
        "task_exponent": 1.0,
        "dimension_exponent": 1.0,
        "gain": 1.0,
    }.items():
        assert relative(esm(updates, **{name: value}), plain) > 0.01


@pytest.mark.parametrize("shape", [(18, 6), (6, 18), (12, 12)])
def test_a_task_of_weight_zero_is_a_task_that_moved_nothing(shape: tuple[int, int]) -> None:
    first, second = normal(*shape, seed=1), normal(*shape, seed=2)
    x = normal(40, shape[1], seed=3)
    muted = esm([update(first, x), update(second, x, weight=0.0)])
    still = esm([update(first, x), update(torch.zeros_like(second), x)])
    assert relative(muted, still) < 1e-12
