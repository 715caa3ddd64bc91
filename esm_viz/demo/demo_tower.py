"""The architecture and the pixels it expects: an open_clip CLIP, small enough for two processor cores.

Shapes: n images, L = 17 tokens of an image (16 patches and the class token), d = 128 features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from numpy.typing import NDArray
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn
from torch.nn import functional

ARCH: dict[str, Any] = {
    "embed_dim": 128,
    "quick_gelu": False,
    "vision_cfg": {"image_size": 32, "layers": 6, "width": 128, "head_width": 32, "patch_size": 8},
}
CONTEXT = 16  # tokens of a caption
TEXT = {"context_length": CONTEXT, "width": 128, "heads": 4, "layers": 2}


class Vocabulary:
    """The tokens that the given captions use, renumbered.

    Order is kept, so the end token stays the largest, which is how open_clip finds the end of a caption.
    """

    def __init__(self, captions: Iterable[str]) -> None:
        self._tokenize = SimpleTokenizer(context_length=CONTEXT)
        self._used = torch.unique(self._tokenize(sorted(set(captions))))

    def __len__(self) -> int:
        return len(self._used)

    def __call__(self, captions: list[str]) -> Tensor:
        """Token numbers, (n, 16)."""
        return torch.searchsorted(self._used, self._tokenize(captions))


def new_clip(vocabulary: int, seed: int) -> CLIP:
    """An untrained model."""
    torch.manual_seed(seed)
    return CLIP(**ARCH, text_cfg={**TEXT, "vocab_size": vocabulary})


def pixels(images: NDArray[Any]) -> Tensor:
    """Bytes (n, 32, 32, 3) to what the tower reads: (n, 3, 32, 32), each channel by OpenAI's mean and deviation."""
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / deviation


def shifted(batch: Tensor, by: NDArray[Any]) -> Tensor:
    """The whole batch moved by (dy, dx) pixels, |d| <= 2; edges are repeated."""
    padded = functional.pad(batch, (2, 2, 2, 2), mode="replicate")
    top, left = (2 + int(step) for step in by)
    return padded[:, :, top : top + batch.shape[2], left : left + batch.shape[3]]


def block_matrices(tower: nn.Module) -> Iterator[nn.Parameter]:
    """in_proj, out_proj, c_fc and c_proj of every block."""
    for name, parameter in tower.named_parameters():
        if "resblocks" in name and parameter.ndim == 2:
            yield parameter


@torch.no_grad()
def features(tower: nn.Module, images: NDArray[Any], batch: int = 500) -> Tensor:
    """Unit image features, (n, d)."""
    tower.eval()
    parts = [tower(pixels(images[start : start + batch])) for start in range(0, len(images), batch)]
    return functional.normalize(torch.cat(parts), dim=-1)
