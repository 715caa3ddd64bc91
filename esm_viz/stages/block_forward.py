"""The fine-tuned models' forward passes over their proxies, one block at a time.

What flows between two blocks is small; the inputs of a block's layers are not, and neither are the weights. So a task's
stream is held at the last two blocks that were asked for, and whoever goes through the tower block by block pays one
forward pass, without ever holding a whole checkpoint or the inputs of more than one block.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from esm_viz.checkpoints.checkpoint import Checkpoint
from esm_viz.families.vision_tower import Architecture


class Streams:
    """Residual streams of several tasks, each at the blocks where it is held."""

    def __init__(self, arch: Architecture, device: str) -> None:
        """Hold nothing yet."""
        self._arch, self._device = arch, device
        self._held: defaultdict[Hashable, dict[int, Tensor]] = defaultdict(dict)
        self._locks: defaultdict[Hashable, threading.Lock] = defaultdict(threading.Lock)

    def inputs(
        self, key: Hashable, checkpoint: Checkpoint, images: Callable[[], Tensor], block: int
    ) -> dict[str, Tensor]:
        """Return the inputs of a block's layers by layer name, each (images, tokens, d_in), float32.

        Args:
            key: of the task: weights and images.
            checkpoint: the fine-tuned model.
            images: gives its preprocessed proxies, (n, 3, H, W).
            block: counted from 0; asking in ascending order costs one block each.
        """
        arch = self._arch
        with self._locks[key], torch.inference_mode():
            held = self._held[key]
            start = max((at for at in held if at <= block), default=-1)
            stream = held[start] if start >= 0 else self._embed(checkpoint, images())
            for at in range(max(start, 0), block + 1):
                seen: dict[str, Tensor] = {}
                held[at] = stream
                weights = self._read(checkpoint, arch.block_names(at))
                stream = arch.run_block(at, weights, stream, seen.__setitem__)
                held[at + 1] = stream
                for passed in [one for one in held if one < at or one >= arch.blocks]:
                    del held[passed]
            return seen

    def _embed(self, checkpoint: Checkpoint, images: Tensor) -> Tensor:
        weights = self._read(checkpoint, self._arch.stem_names)
        return self._arch.embed(weights, images.to(self._device))

    def _read(self, checkpoint: Checkpoint, names: tuple[str, ...]) -> dict[str, Tensor]:
        weights = checkpoint.tensors(names, torch.float32)
        return {name: tensor.to(self._device) for name, tensor in weights.items()}
