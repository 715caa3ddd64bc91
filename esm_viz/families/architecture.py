"""What the program asks of a model family; `vision_tower.py` and `module_tower.py` answer it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from esm_viz.checkpoints.layout_table import Layout
from esm_viz.checkpoints.tensor_conversion import Shape
from esm_viz.core.records import Layer, Treatment

See = Callable[[str, Tensor], None]
"""Called with a layer's name and its input, (images, tokens, d_in)."""


class Architecture(Protocol):
    """A network without weights: its tensors, its repeated blocks, and how it runs.

    Attributes:
        config: the config from which it was built, as a recipe writes it.
        title: name to show.
        image_size: width and height of images in pixels.
        grid: rows and columns of patches; (0, 0) where tokens are not patches in that order.
        first_tokens: number of tokens before the patches.
        patch_size: width and height of a patch in pixels.
        embed_dim: size of the features that a head reads.
        tokens: number of tokens that the first block reads of one image, and their width.
        layers: the matrices of the blocks, by family and then by block.
        shapes: shapes of all tensors that are merged, by the tower's names.
        blocks: number of blocks.
        own_classifier: start of the names of the classifier that a fine-tune's file may bring; empty if none.
    """

    config: dict[str, Any]
    title: str
    image_size: int
    grid: tuple[int, int]
    first_tokens: int
    patch_size: int
    embed_dim: int
    tokens: tuple[int, int]
    layers: tuple[Layer, ...]
    shapes: dict[str, tuple[int, ...]]
    blocks: int
    own_classifier: str

    def layout_of(self, shapes: Mapping[str, Shape]) -> Layout:
        """Return the layout of a file with these tensors."""

    def tower(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """Return a new module with these tensors (not copied) that maps images to features."""

    @property
    def stem_names(self) -> tuple[str, ...]:
        """Return the names of the tensors outside the blocks."""

    def block_names(self, block: int) -> tuple[str, ...]:
        """Return the names of a block's tensors."""

    def embed(self, weights: Mapping[str, Tensor], images: Tensor) -> Any:
        """Return the input of the first block for preprocessed images, (n, 3, H, W).

        Args:
            weights: the tensors outside the blocks.
            images: preprocessed, on the device of the weights.
        """

    def run_block(self, block: int, weights: Mapping[str, Tensor], stream: Any, see: See) -> Any:
        """Run one block and return the input of the next one.

        Args:
            block: number of the block, from 0.
            weights: the block's tensors, by the tower's names.
            stream: the block's input, from `embed` or from this method.
            see: called with each layer's name and input.
        """

    def describe(self) -> str:
        """Return what cannot be found from a checkpoint's tensors, such as the name of the activation."""


def treatment_of(arch: Architecture) -> Treatment:
    """Return how ESM merges the tensors of a model: by ESD, by TSV-M (other matrices), or averaged."""
    essential = {layer.name for layer in arch.layers if layer.essential}
    sizes = {name: math.prod(shape) for name, shape in arch.shapes.items()}
    other = {name for name, shape in arch.shapes.items() if len(shape) == 2 and name not in essential}
    averaged = sizes.keys() - essential - other
    return Treatment(
        arch.blocks,
        *(len(essential), sum(sizes[name] for name in essential)),
        *(len(other), sum(sizes[name] for name in other)),
        *(len(averaged), sum(sizes[name] for name in averaged)),
    )
