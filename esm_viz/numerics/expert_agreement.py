"""Agreement of a merged model with an expert on each image, from features and logits (METHOD, choosing without labels).

Of n images: KL(expert ‖ merged) of the predicted probabilities, and the cosine of the two models' changes of the image
features. Intervals are bootstrap percentiles over the images (B. Efron 1979), with a seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

DRAWS = 1000  # bootstrap samples


def divergence(expert: Tensor, merged: Tensor) -> Tensor:
    """Return KL(expert ‖ merged) of each image in nats, (n,), float64, from logits (n, classes)."""
    known, own = F.log_softmax(expert.double(), -1), F.log_softmax(merged.double(), -1)
    return F.kl_div(own, known, log_target=True, reduction="none").sum(-1).clamp_min(0.0)


def direction(expert: Tensor, merged: Tensor, base: Tensor) -> Tensor:
    """Return cos(f_merged − f_base, f_expert − f_base) of each image, (n,), float64, from features (n, embed_dim).

    NaN where the expert did not change an image's features; 0 where only the merged model did not.
    """
    own, now = expert.double() - base.double(), merged.double() - base.double()
    moved = own.norm(dim=-1)
    found = F.cosine_similarity(now, own, dim=-1, eps=torch.finfo(torch.float64).tiny)
    return torch.where(moved > 0, found.clamp(-1.0, 1.0), torch.nan)


class BootstrappedMean(NamedTuple):
    """A mean of images, and the means of DRAWS samples of them with replacement.

    Attributes:
        value: the mean; NaN without images.
        draws: (DRAWS,), float64.
    """

    value: float
    draws: Tensor

    @property
    def limits(self) -> tuple[float, float]:
        """Return the 95 % interval: the 2.5 % and 97.5 % points of the draws; NaN without images."""
        low, high = torch.quantile(self.draws, torch.tensor([0.025, 0.975], dtype=self.draws.dtype)).tolist()
        return low, high


def bootstrapped(values: Tensor, seed: int) -> BootstrappedMean:
    """Return the mean of the known values of n images, (n,), float64; each set of images needs a seed of its own."""
    known = values[~values.isnan()]
    if not len(known):
        return BootstrappedMean(math.nan, torch.full((DRAWS,), math.nan, dtype=torch.float64))
    return BootstrappedMean(float(known.mean()), known[_samples(len(known), seed)].mean(1))


@lru_cache(maxsize=64)  # 64 of 32 images are 16 MB; a recipe asks for two of every task, again and again
def _samples(count: int, seed: int) -> Tensor:
    """Return DRAWS samples of `count` images with replacement, (DRAWS, count), int64."""
    return torch.randint(count, (DRAWS, count), generator=torch.Generator().manual_seed(seed))


def mean_of(means: Sequence[BootstrappedMean]) -> BootstrappedMean:
    """Return the mean of several tasks' known means, each of images of its own."""
    known = [mean for mean in means if not math.isnan(mean.value)]
    if not known:
        return BootstrappedMean(math.nan, torch.full((DRAWS,), math.nan, dtype=torch.float64))
    value = sum(mean.value for mean in known) / len(known)
    return BootstrappedMean(value, torch.stack([mean.draws for mean in known]).mean(0))
