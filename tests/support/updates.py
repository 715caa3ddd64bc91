"""Tasks' changes of one matrix without a project: what a merge method is given, made of tensors."""

from __future__ import annotations

from torch import Tensor

from esm_viz.merge import LayerUpdate


def updates_of(*deltas: Tensor, weights: tuple[float, ...] = ()) -> list[LayerUpdate]:
    """Return one update a change, without moments, in order; every weight 1 where none are given."""
    weights = weights or (1.0,) * len(deltas)
    return [
        LayerUpdate((delta.shape[0], delta.shape[-1]), lambda delta=delta: delta, weight=weight)
        for delta, weight in zip(deltas, weights, strict=True)
    ]
