"""open_clip's vision tower: its architecture and layers without weights, and running it with one model's weights."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import open_clip
import torch
from open_clip.model import CLIPVisionCfg
from torch import Tensor, nn

from esm_viz.checkpoints.layout_table import Layout, layout_of
from esm_viz.checkpoints.tensor_conversion import Shape
from esm_viz.core.errors import RecipeError
from esm_viz.core.records import LAYER_ROLES, Layer, LayerRole
from esm_viz.families.module_copy import copied
from esm_viz.families.open_clip_private import block_input, build_vision_tower
from esm_viz.families.self_attention import SelfAttention

_SUFFIXES: dict[str, LayerRole] = {
    "attn.in_proj_weight": "in_proj",
    "mlp.c_fc.weight": "c_fc",
    "mlp.c_proj.weight": "c_proj",
    "attn.out_proj.weight": "out_proj",
}
_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)")
MOST_BLOCKS = 200  # open_clip's largest tower has 64; building more blocks takes seconds, even without weights
BATCH = 256  # images a forward pass; larger is not faster on a CPU


class NotPlain(RecipeError):
    """The model is no plain vision transformer of open_clip; `module_tower.py` runs it."""


class PlainTower:
    """CLIP's plain vision transformer without weights, with a pass of its own; attributes as in `Architecture`.

    Attributes:
        config: the open_clip model config.
        title: the open_clip name, or "ViT 6 x 128" for a config.
        quick_gelu: whether the blocks use QuickGELU instead of GELU.
    """

    def __init__(self, arch: str, config: Mapping[str, Any] | None) -> None:
        """Build the tower of an open_clip name or model config, without weights.

        Raises:
            RecipeError: open_clip does not know the name, or the model is not a plain vision transformer.
        """
        self.config = known = dict(config) if config is not None else _config_of(arch)
        try:
            self.quick_gelu = bool(known.get("quick_gelu", False))
            self.embed_dim = int(known["embed_dim"])
            vision = CLIPVisionCfg(**known["vision_cfg"])
            if isinstance(vision.layers, int) and vision.layers > MOST_BLOCKS:
                raise RecipeError(f"arch has {vision.layers} blocks", f"use at most {MOST_BLOCKS}")
            # timm could fetch pre-trained weights; a ResNet is built of as many blocks as its list says
            if vision.timm_model_name or isinstance(vision.layers, list | tuple):
                raise NotPlain("arch has no plain vision transformer", "use a ViT of open_clip")
            if min(self.embed_dim, vision.layers, vision.width, vision.head_width, vision.mlp_ratio) <= 0:
                raise ValueError("a size is not positive")
            with torch.device("meta"):
                tower = build_vision_tower(self.embed_dim, vision, quick_gelu=self.quick_gelu)
                if vision.norm_kwargs or vision.act_kwargs:  # not looked at until they are used
                    tower.transformer.resblocks[0](torch.empty(1, 1, vision.width))
        except (
            TypeError,
            ValueError,
            ArithmeticError,
            LookupError,
            AttributeError,
            AssertionError,
            RuntimeError,
        ) as error:
            raise RecipeError(
                "arch is not an open_clip model config", "give embed_dim, vision_cfg, quick_gelu"
            ) from error
        if not isinstance(tower, open_clip.transformer.VisionTransformer) or tower.output_tokens:
            raise NotPlain("arch has no plain vision transformer", "use a ViT of open_clip")
        for block in tower.transformer.resblocks:
            if not isinstance(block.attn, nn.MultiheadAttention):
                raise NotPlain("arch has blocks with custom attention", "use a plain ViT of open_clip")
            block.attn = SelfAttention(block.attn)
        sides = set(tower.image_size) if isinstance(tower.image_size, tuple | list) else {tower.image_size}
        if len(sides) > 1:
            raise RecipeError(
                f"arch reads {' x '.join(map(str, tower.image_size))} images", "use a ViT of square images"
            )
        self._empty = tower.eval()
        self._stem = copied(tower)
        self._stem.transformer = nn.Identity()
        self.blocks = len(tower.transformer.resblocks)
        self.title = arch if config is None else f"ViT {vision.layers} x {vision.width}"
        self.image_size = int(sides.pop())
        self.grid, self.first_tokens = (int(tower.grid_size[0]), int(tower.grid_size[1])), 1
        self.shapes = {name: tuple(tensor.shape) for name, tensor in tower.state_dict().items()}
        self.patch_size = int(self.shapes["conv1.weight"][-1])
        places, width = self.shapes["positional_embedding"]
        self.tokens, self.own_classifier = (places, width), ""
        self.layers = tuple(_layers(self.shapes))

    def layout_of(self, shapes: Mapping[str, Shape]) -> Layout:
        """Return the layout of a file with these tensors."""
        return layout_of(shapes)

    def tower(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """Return a new tower with these tensors (not copied); float32 weights give a float32 forward pass."""
        tower = copied(self._empty)
        tower.load_state_dict(dict(weights), assign=True)
        return tower.requires_grad_(False)

    @property
    def stem_names(self) -> tuple[str, ...]:
        """Return the names of the parameters outside the blocks."""
        return tuple(name for name in self.shapes if not _BLOCK.fullmatch(name))

    def block_names(self, block: int) -> tuple[str, ...]:
        """Return the names of a block's parameters."""
        return tuple(name for name in self.shapes if name.startswith(_block_prefix(block)))

    def embed(self, weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Return the input of the first block, (n, tokens, width).

        Args:
            weights: the parameters outside the blocks.
            images: preprocessed, (n, 3, H, W).
        """
        stem = copied(self._stem)
        stem.load_state_dict(dict(weights), assign=True)
        return block_input(stem, images)

    def run_block(
        self, block: int, weights: Mapping[str, Tensor], stream: Tensor, see: Callable[[str, Tensor], None]
    ) -> Tensor:
        """Run one block and return its output, (n, tokens, width).

        Args:
            block: index of the block, from 0.
            weights: the block's parameters, by their names in the tower.
            stream: the block's input, (n, tokens, width).
            see: called with each layer's name and input, (n, tokens, d_in).
        """
        prefix = _block_prefix(block)
        module = copied(self._empty.transformer.resblocks[block])
        module.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in weights.items()}, assign=True)
        for suffix in _SUFFIXES:
            # in_proj is a parameter of the attention itself; the others are modules of their own
            watched = module.get_submodule(suffix.rpartition(".")[0])
            watched.register_forward_pre_hook(lambda _, inputs, name=prefix + suffix: see(name, inputs[0]))
        return module(stream)

    def describe(self) -> str:
        """Return the name of the activation, which cannot be found from a checkpoint's tensors."""
        return "QuickGELU" if self.quick_gelu else "GELU"


def encode(tower: nn.Module, images: Tensor, boundary: Callable[[int], None] = lambda done: None) -> Tensor:
    """Return image features, (n, embed_dim), before any normalisation.

    Args:
        tower: in eval mode, on the device of its weights.
        images: preprocessed, (n, 3, H, W), on any device.
        boundary: called after each batch with the number of finished images; may raise to stop.
    """
    device = next(tower.parameters()).device
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            parts.append(tower(images[start : start + BATCH].to(device)))
            boundary(min(start + BATCH, len(images)))
    return torch.cat(parts)


def _block_prefix(block: int) -> str:
    return f"transformer.resblocks.{block}."


def module_of(tower: nn.Module, layer: str) -> nn.Module:
    """Return the module that multiplies by a layer's matrix: (batch, tokens, d_in) -> (batch, tokens, d_out)."""
    return tower.get_submodule(layer.removesuffix("weight")[:-1])  # …attn.in_proj_weight, …mlp.c_fc.weight


@functools.cache
def _known_configs() -> frozenset[str]:
    return frozenset(open_clip.list_models())


def _config_of(arch: str) -> dict[str, Any]:
    if arch not in _known_configs():
        raise RecipeError(f"open_clip knows no model named {arch!r}", "use a name of open_clip, or give its config")
    return dict(open_clip.get_model_config(arch))


def _layers(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Layer]:
    found = []
    for name, shape in shapes.items():
        match = _BLOCK.fullmatch(name)
        if match and match[2] in _SUFFIXES:
            role = _SUFFIXES[match[2]]
            found.append(Layer(name, role, int(match[1]), shape[0], shape[1], role))
    return iter(sorted(found, key=lambda layer: (LAYER_ROLES.index(layer.role), layer.block)))
