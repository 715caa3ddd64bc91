"""Forward passes of the experts over their proxies, one block at a time.

The residual stream between two blocks is small, but the inputs of a block's layers and the weights are large. So only
the stream is kept, at the last two requested blocks of each task. Going through the tower block by block then costs one
forward pass, and never holds a whole checkpoint or the inputs of more than one block.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from esm_viz.checkpoints.checkpoint import Checkpoint
from esm_viz.families.architecture import Architecture


class BlockInputs:
    """Residual streams of several tasks, each kept at its last two requested blocks."""

    def __init__(self, arch: Architecture, device: str) -> None:
        """Start without any stream."""
        self._arch, self._device = arch, device
        self._held: defaultdict[Hashable, dict[int, Tensor]] = defaultdict(dict)
        self._locks: defaultdict[Hashable, threading.Lock] = defaultdict(threading.Lock)

    def inputs(
        self, key: Hashable, checkpoint: Checkpoint, images: Callable[[], Tensor], block: int
    ) -> dict[str, Tensor]:
        """Return the inputs of a block's layers by layer name, each (images, tokens, d_in), float32.

        Args:
            key: identity of the task's weights and images.
            checkpoint: the expert.
            images: returns its preprocessed proxies, (n, 3, H, W).
            block: index of the block, from 0; in ascending order, each call runs one block.
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
