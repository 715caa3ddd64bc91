"""The layouts of checkpoints: how a file names and shapes the tensors of open_clip's vision tower.

Reading and writing share these tables, so every file that is written can be read again. Keys are open_clip's names
within the tower; values are the file's names after a prefix, which is detected.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from esm_viz.checkpoints.tensor_conversion import IDENTITY, PATCHES, PLAIN, PROJECTION, ROW, STACKED, Conversion, Shape
from esm_viz.core.errors import LayoutError

BASE = "base"  # not a layout: stands for the base file's own layout
_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)")


class Piece(NamedTuple):
    """How one of the tower's tensors is stored in a file.

    Attributes:
        names: names of the file's tensors that it is made of, in order.
        form: how they are converted.
    """

    names: tuple[str, ...]
    form: Conversion = PLAIN


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to name and shape a tower's tensors in a file.

    Attributes:
        name: name on the command line.
        title: name to show.
        prefix: prefix of the tower's tensors in the file.
        stem: how the tensors outside the blocks are stored, by names after the prefix; empty for open_clip's own names.
        block: start of the names of a block's tensors after the prefix, with `{}` for the block's number.
        inside: how a block's tensors are stored, by names after that.
        projection: the file's full name of the projection; empty if it has none, which means the identity.
        bias: the file's full name of the projection's bias, which must be 0; empty if it has none.
        drops: starts of names after the prefix that are not weights of the tower: buffers, a classifier.
    """

    name: str
    title: str
    prefix: str
    stem: Mapping[str, Piece] = field(default_factory=dict)
    block: str = ""
    inside: Mapping[str, Piece] = field(default_factory=dict)
    projection: str = ""
    bias: str = ""
    drops: tuple[str, ...] = ()

    @property
    def like_clip(self) -> bool:
        """Say whether a tower of timm's names has CLIP's parts: a norm before the blocks, no bias of the patches."""
        return "ln_pre.weight" in self.stem and len(self.stem["positional_embedding"].names) == 1

    @property
    def of_clip(self) -> bool:
        """Say whether it is a layout of CLIP's tower."""
        return True

    @property
    def wanted(self) -> str:
        """Return what a file of this layout should hold, for error messages."""
        return "an open_clip vision tower or full CLIP"

    def piece(self, name: str) -> Piece | None:
        """Return how one of the tower's tensors is stored in the file; None if the layout has no such tensor."""
        if not self.stem:
            return Piece((self.prefix + name,))
        if name == "proj":
            if self.projection:
                return Piece((self.projection, self.bias) if self.bias else (self.projection,), PROJECTION)
            return Piece(tuple(self.prefix + part for part in self.stem["class_embedding"].names), IDENTITY)
        match = _BLOCK.fullmatch(name)
        below, start = (self.inside.get(match[2]), self.block.format(match[1])) if match else (self.stem.get(name), "")
        return Piece(tuple(self.prefix + start + part for part in below.names), below.form) if below else None

    def in_block(self, name: str) -> bool:
        """Say whether one of the tower's tensors belongs to a repeated block."""
        return _BLOCK.fullmatch(name) is not None

    def in_tower(self, name: str) -> str | None:
        """Return open_clip's name of the parameter that a file's tensor is part of; None for tensors outside the tower.

        An unknown name within the tower is returned as it is after the prefix.
        """
        if self.projection and name == self.projection:
            return "proj"
        if not name.startswith(self.prefix):
            return None
        below = name.removeprefix(self.prefix)
        if not self.stem:
            return below
        if below.startswith(self.drops):
            return None
        number = re.match(re.escape(self.block).replace(r"\{\}", r"(\d+)"), below)
        table = self.inside if number else self.stem
        part = below.removeprefix(number[0]) if number else below
        found = next((inner for inner, piece in table.items() if part in piece.names), None)
        if found is None:
            return below
        return f"transformer.resblocks.{number[1]}.{found}" if number else found

    def beside(self, name: str) -> bool:
        """Say whether a file's tensor is outside the tower (for example in a text tower) and not its classifier."""
        return self.in_tower(name) is None and not (self.stem and name.startswith(self.prefix))

    def fitted(self, shapes: Mapping[str, Shape], projection: Shape) -> Layout:
        """Return this layout with timm's head read as the projection, or left out as a classifier, by its shape.

        Args:
            shapes: shapes by the file's names.
            projection: shape of the wanted tower's `proj`.
        """
        head, bias = self.prefix + TIMM.projection, f"{self.prefix}head.bias"
        if self.name != TIMM.name or len(projection) != 2 or bias not in shapes:
            return self
        wanted = projection[0] != projection[1] and shapes.get(head) == projection[::-1]
        return dataclasses.replace(self, projection=head if wanted else "", bias=bias if wanted else "")

    def written(self, tower: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a tower's tensors with the file's names and shapes.

        Raises:
            LayoutError: the layout has no name for one of them.
        """
        found: dict[str, Tensor] = {}
        for name, tensor in tower.items():
            piece = self.piece(name)
            parts = piece.form.split(tensor, len(piece.names)) if piece else None
            if piece is None or parts is None:
                raise LayoutError(f"{self.title} has no place for {name}", f"write it as {TOWER.name} or {CLIP.name}")
            found |= dict(zip(piece.names, parts, strict=False))  # an identity projection is not written
        return found


def _norms(names: Mapping[str, str]) -> dict[str, Piece]:
    """Return weight and bias of modules that differ only in their names."""
    return {f"{ours}.{kind}": Piece((f"{its}.{kind}",)) for ours, its in names.items() for kind in ("weight", "bias")}


_HF_STEM = {
    "class_embedding": Piece(("embeddings.class_embedding",)),
    "positional_embedding": Piece(("embeddings.position_embedding.weight",)),
    "conv1.weight": Piece(("embeddings.patch_embedding.weight",)),
    **_norms({"ln_pre": "pre_layrnorm", "ln_post": "post_layernorm"}),
}
_HF_BLOCK = {
    f"attn.in_proj_{kind}": Piece(tuple(f"self_attn.{part}_proj.{kind}" for part in "qkv"), STACKED)
    for kind in ("weight", "bias")
} | _norms(
    {
        "attn.out_proj": "self_attn.out_proj",
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
)
_HF = ("encoder.layers.{}.", _HF_BLOCK, "visual_projection.weight", "", ("embeddings.position_ids",))


_HF_TEXT = Layout(
    "hf_text",
    "Hugging Face CLIP's text tower",
    "text_model.",
    {
        "token_embedding.weight": Piece(("embeddings.token_embedding.weight",)),
        "positional_embedding": Piece(("embeddings.position_embedding.weight",)),
        **_norms({"ln_final": "final_layer_norm"}),
    },
    *_HF,
)


def _timm_stem(biased: bool, pooled: bool) -> dict[str, Piece]:
    """Return timm's names outside the blocks; patches may have a bias, the last norm may be before or after pooling."""
    position = ("pos_embed", "patch_embed.proj.bias") if biased else ("pos_embed",)
    return {
        "class_embedding": Piece(("cls_token",), ROW),
        "positional_embedding": Piece(position, PATCHES),
        "conv1.weight": Piece(("patch_embed.proj.weight",)),
        **_norms({"ln_pre": "norm_pre", "ln_post": "fc_norm" if pooled else "norm"}),
    }


_TIMM_BLOCK = {f"attn.in_proj_{kind}": Piece((f"attn.qkv.{kind}",)) for kind in ("weight", "bias")} | _norms(
    {"attn.out_proj": "attn.proj", "ln_1": "norm1", "ln_2": "norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
)

TOWER = Layout("tower", "open_clip vision tower", "")
CLIP = Layout("clip", "open_clip CLIP, visual. names", "visual.")
ENCODER = Layout("image_encoder", "image encoder, model.visual. names", "model.visual.")
HF_VISION = Layout("hf_vision", "Hugging Face CLIP vision model", "vision_model.", _HF_STEM, *_HF)
HF = dataclasses.replace(HF_VISION, name="hf", title="Hugging Face CLIP")
TIMM = Layout(
    "timm", "timm ViT", "", _timm_stem(False, False), "blocks.{}.", _TIMM_BLOCK, "head.weight", drops=("head.",)
)
LAYOUTS = {layout.name: layout for layout in (TOWER, CLIP, ENCODER, HF_VISION, HF, TIMM)}
_SIZES = {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio", "norm_kwargs", "patch_dropout"}
"""Keys that the `vision_cfg` of CLIP's plain tower may have."""

_OURS = re.compile(r"(.*?)(?:conv1\.weight|class_embedding|ln_pre\.weight|ln_post\.weight)")
_HF_MARK, _TIMM_MARK = "embeddings.patch_embedding.weight", "patch_embed.proj.weight"
CLIP_WIDTHS = {(768, 512), (768, 640), (1024, 768), (1280, 1024), (1408, 1024), (1664, 1280), (896, 640)}
"""(width, feature size) of CLIP's towers; they distinguish a projection from a classifier with a bias."""


_WHOLE = {
    "conv1.weight": ("class_embedding", "positional_embedding", "transformer.resblocks.0.ln_1.weight"),
    _HF_MARK: ("embeddings.class_embedding", "embeddings.position_embedding.weight", "post_layernorm.weight"),
    _TIMM_MARK: ("cls_token", "pos_embed", "blocks.0.norm1.weight"),
}
"""Names, after the prefix, of the patch embedding of each kind of tower, and of others that a whole tower has too."""


def towers(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return the whole vision towers among tensors: (prefix, name of the patch embedding after it), by prefix.

    Args:
        names: the file's names.
    """
    held = frozenset(names)
    found = {
        (name.removesuffix(mark), mark)
        for mark, others in _WHOLE.items()
        for name in held
        if name.endswith(mark) and all(name.removesuffix(mark) + other in held for other in others)
    }
    return tuple(sorted(found))


def layout_of(shapes: Mapping[str, Shape]) -> Layout:
    """Return the layout of a file with these tensors, including its prefix: of its first whole tower, if it has one.

    Args:
        shapes: shapes by the file's names.
    """
    for prefix, mark in towers(shapes)[:1]:
        if mark == _HF_MARK:
            return _hf(prefix, shapes)
        return _timm(prefix, shapes) if mark == _TIMM_MARK else _ours(prefix)
    for name in shapes:
        if name.endswith(_HF_MARK):
            return _hf(name.removesuffix(_HF_MARK), shapes)
        if name.endswith(_TIMM_MARK):
            return _timm(name.removesuffix(_TIMM_MARK), shapes)
    found = sorted(
        {match[1] for name in shapes if (match := _OURS.fullmatch(name))}, key=lambda prefix: (-len(prefix), prefix)
    )
    prefix = next((prefix for prefix in found if prefix.endswith(CLIP.prefix)), found[0] if found else "")
    if not found and any(name.startswith(CLIP.prefix) for name in shapes):
        prefix = CLIP.prefix
    return _ours(prefix)


def _ours(prefix: str) -> Layout:
    kind = ENCODER if prefix.endswith(ENCODER.prefix) else CLIP if prefix.endswith(CLIP.prefix) else TOWER
    return dataclasses.replace(kind, prefix=prefix)


def _hf(prefix: str, shapes: Mapping[str, Shape]) -> Layout:
    outer = prefix.removesuffix(HF_VISION.prefix)
    whole = any(name.startswith((outer + "text_model.", outer + "text_projection.")) for name in shapes)
    projection = outer + HF_VISION.projection
    return dataclasses.replace(
        HF if whole else HF_VISION, prefix=prefix, projection=projection if projection in shapes else ""
    )


def _timm(prefix: str, shapes: Mapping[str, Shape]) -> Layout:
    """Return the variant of timm's layout: `head.weight` is a projection, or a classifier outside the tower."""
    biased = f"{prefix}patch_embed.proj.bias" in shapes
    pooled = f"{prefix}fc_norm.weight" in shapes
    head, bias = prefix + TIMM.projection, f"{prefix}head.bias"
    plain = bias not in shapes
    like_clip = f"{prefix}norm_pre.weight" in shapes and tuple(reversed(shapes.get(head, ()))) in CLIP_WIDTHS
    projected = head in shapes and (plain or like_clip)
    return dataclasses.replace(
        TIMM,
        prefix=prefix,
        stem=_timm_stem(biased, pooled),
        projection=head if projected else "",
        bias=bias if projected and not plain else "",
    )


def text_pieces(layout: Layout, names: Iterable[str]) -> dict[str, Piece]:
    """Return how a file's text tower is stored, by open_clip's names; empty without one.

    Args:
        layout: layout of the vision tower.
        names: names of the file's tensors.
    """
    if layout.name in (CLIP.name, ENCODER.name):
        outer = layout.prefix.removesuffix(CLIP.prefix)
        return {
            name.removeprefix(outer): Piece((name,)) for name in names if name.startswith(outer) and layout.beside(name)
        }
    if layout.name != HF.name:
        return {}
    outer = layout.prefix.removesuffix(HF_VISION.prefix)
    projection = f"{outer}text_projection.weight"
    text = dataclasses.replace(_HF_TEXT, prefix=outer + _HF_TEXT.prefix, projection=projection)
    inner = {found for name in names if (found := text.in_tower(name)) is not None}
    pieces = {name: piece for name in sorted(inner) if (piece := text.piece(name))}
    renamed = {"text_projection" if name == "proj" else name: piece for name, piece in pieces.items()}
    return {**renamed, "logit_scale": Piece((f"{outer}logit_scale",))}


def chosen_layout(name: object, base: Layout, vision: Mapping[str, Any]) -> Layout:
    """Return the layout of a given name.

    Args:
        name: its name, or `BASE`.
        base: the base file's layout.
        vision: the `vision_cfg` of the tower.

    Raises:
        LayoutError: there is no layout of that name, or a merge on this base cannot be written in it.
    """
    if name in (BASE, base.name):
        return base
    if not isinstance(name, str) or name not in LAYOUTS:
        raise LayoutError(f"there is no layout {name!r:.60}", f"use {', '.join((BASE, *LAYOUTS))}")
    if name not in writable(base, vision):
        what = (
            "has a text tower, which the base does not bring"
            if name == HF.name
            else "has no place for a tower of this arch"
        )
        raise LayoutError(f"{LAYOUTS[name].title} {what}", f"use {', '.join(writable(base, vision))}")
    return LAYOUTS[name]


def writable(base: Layout, vision: Mapping[str, Any]) -> dict[str, Layout]:
    """Return, by name, the layouts in which a merge on this base can be written; the base's own layout first.

    Hugging Face's CLIP layout includes a text tower, so the base must have that layout too. For layouts of other
    libraries, only CLIP's plain tower is known to be the same model.

    Args:
        base: the base file's layout.
        vision: the `vision_cfg` of the tower.
    """
    if not base.of_clip:
        return {base.name: base}
    others = (TOWER, CLIP, ENCODER, *((HF_VISION, TIMM) if vision.keys() <= _SIZES else ()))
    return {base.name: base} | {layout.name: layout for layout in others if layout.name != base.name}
