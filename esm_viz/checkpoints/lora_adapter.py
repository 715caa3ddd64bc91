"""LoRA adapters as models: the base's weights, changed by s B A where the adapter says so.

A change is kept as its factors. It is multiplied out only when weights are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from esm_viz.checkpoints.checkpoint import Checkpoint, LayoutFinder, stamp
from esm_viz.checkpoints.layout_table import LAYOUTS, Layout, layout_of
from esm_viz.checkpoints.lora_config import ADAPTER_CONFIG, MERGE_FIRST, LoraConfig, read_lora_config
from esm_viz.checkpoints.lora_names import Adapted, Alignment, Place, aligned, is_text, read_names, weights_of
from esm_viz.checkpoints.tensor_conversion import PATCHES, PLAIN, STACKED, Shape
from esm_viz.checkpoints.tensor_storage import FLOATS, sha256_file, sha256_text
from esm_viz.checkpoints.weight_files import ADAPTERS, NAMES
from esm_viz.core.errors import LORA, CheckpointError, DigestMismatch, LayoutError, NotFinite
from esm_viz.core.records import FileFacts
from esm_viz.numerics.factored_change import FactoredChange, no_change

_TOLD = 3  # names in a sentence


class _Part(NamedTuple):
    """What happens to one part of a tower's tensor.

    Attributes:
        adapted: the module whose LoRA changes it; None if it is saved whole.
        whole: the file's name of the new tensor; empty for LoRA.
        scale: s.
        reversed: whether s B A is the transposed change.
    """

    adapted: Adapted | None
    whole: str = ""
    scale: float = 1.0
    reversed: bool = False


def opened(title: str, path: Path, start: Checkpoint | None = None, layouts: LayoutFinder = layout_of) -> Checkpoint:
    """Open a model's file or folder: a checkpoint, or a LoRA adapter on a base.

    Args:
        title: "base" or the model's name.
        path: path of the file or folder.
        start: the base of a fine-tune; None for a model that has to bring everything.
        layouts: returns the layout of a file from its shapes.

    Raises:
        CheckpointError: there is no such file, it cannot be read safely, or it is an adapter that does not fit.
    """
    if start is not None and is_adapter(path):
        return LoraAdapter(title, path, start, layouts)
    return Checkpoint(title, path, start, layouts)


def is_adapter(path: Path) -> bool:
    """Say whether a path is a LoRA adapter's folder, or the file of weights in it."""
    folder = path if path.is_dir() else path.parent
    if not (folder / ADAPTER_CONFIG).is_file():
        return False
    if path.is_dir():
        return not any((folder / name).is_file() for name in NAMES if name not in ADAPTERS)
    return path.name in ADAPTERS


class LoraAdapter(Checkpoint):
    """A LoRA adapter and its base, accessed like a checkpoint by the names of a tower's parameters.

    What the adapter does not change is the base's. Attributes are those of `Checkpoint`; the layout is the base's.
    """

    def __init__(self, title: str, path: Path, start: Checkpoint, layouts: LayoutFinder = layout_of) -> None:
        """Read the config and the header, and find the adapter's modules in the base's tower.

        Args:
            title: name of the model.
            path: path of the folder, or of the file of weights in it.
            start: the base.
            layouts: returns the layout of a file from its shapes.

        Raises:
            LayoutError: another kind of adapter, or a module that the base does not have in that shape.
            CheckpointError: a file cannot be read.
        """
        folder = path if path.is_dir() else path.parent
        self._config_path = folder / ADAPTER_CONFIG
        config = read_lora_config(self._config_path, title)
        super().__init__(title, path, start, layouts)
        self._base, self.layout = start, start.layout
        self._tower = start.tower_shapes()
        self._lengths = config.magnitudes
        self._names = read_names(self.names)
        self._refuse_odd()
        self._ranks = {path: self._rank(one, config) for path, one in self._names.adapted.items()}
        self._aligned = self._alignment(layouts)
        self._parts: dict[str, dict[int, _Part]] = {}
        self._place_adapted(config)
        self._place_whole()
        if not any(part.adapted for parts in self._parts.values() for part in parts.values()):
            raise self._no("it changes no matrix of this tower", "give an adapter of this arch")

    def facts(self, shapes: Mapping[str, Shape]) -> FileFacts:
        """Return what the header says of the tower's parameters."""
        used = self._used(shapes)
        ranks = sorted({self._ranks[one.path] for one in self._adapted(shapes)})
        told = f"{ranks[0]}" if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
        matrices = sum(
            self._base.layout.in_block(place.name) and len(place.shape) > 1 for place in self._aligned.places.values()
        )
        return FileFacts(
            name=self.title,
            file=self.path.name,
            layout=f"LoRA adapter of rank {told} on {len(self._adapted(shapes))} of {matrices} matrices",
            dtype=", ".join(sorted({self._source.tensors[part].kind for part in used})),
            parameters=sum(math.prod(self._source.tensors[part].shape) for part in used),
            bytes=sum(path.stat().st_size for path in self._source.files),
            matched=sum(name in shapes for name in self._parts),
            missing=(),
            extra=tuple(sorted(set(self.names) - set(used))),
        )

    def complaint(self, shapes: Mapping[str, Shape]) -> CheckpointError | None:
        """Return None: an adapter that does not fit its base is not opened at all."""
        return None

    def shape(self, name: str) -> Shape:
        """Return the shape of one of the tower's parameters, which is the base's."""
        return self._base.shape(name)

    def brings(self, name: str) -> bool:
        """Say whether the adapter changes one of the tower's parameters."""
        return name in self._parts

    def change_rank(self, name: str) -> int | None:
        """Return the rank of the factors of a parameter's change, 0 without a change; None if it has no factors."""
        parts = self._parts.get(name, {})
        if not parts:
            return 0
        piece = self._aligned.piece(name)
        flat = piece.form in (PLAIN, STACKED) or self._flattens(name)
        if self._lengths or not flat or not all(part.adapted and not part.reversed for part in parts.values()):
            return None
        return sum(self._ranks[part.adapted.path] for part in parts.values() if part.adapted)

    def factors(self, name: str) -> FactoredChange:
        """Return the factors of a parameter's change; ask `change_rank` first whether it has some.

        Raises:
            NotFinite: one holds NaN or Inf. CheckpointError: the file changed since it was opened.
        """
        parts, shape = self._parts.get(name, {}), self._tower[name]
        if not parts:
            return no_change(shape)
        pairs = {at: self._pair(part) for at, part in parts.items()}
        rows = shape[0] // len(self._aligned.piece(name).names)
        rank = sum(up.shape[1] for up, _ in pairs.values())
        left = torch.zeros(shape[0], rank, dtype=torch.float64)
        begun = 0
        for at, (up, _) in pairs.items():
            left[at * rows : (at + 1) * rows, begun : begun + up.shape[1]] = up
            begun += up.shape[1]
        return FactoredChange(left, torch.cat([down for _, down in pairs.values()]), shape)

    def tensors(self, names: Iterable[str], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Return some of the tower's parameters, with the base's stored type unless `dtype` is given.

        Raises:
            NotFinite: a tensor holds NaN or Inf. CheckpointError: a file changed since it was opened.
        """
        names = tuple(names)
        found = self._base.tensors([name for name in names if name not in self._parts], dtype)
        for name, weights in self._base.tensors([name for name in names if name in self._parts]).items():
            found[name] = self._changed_tensor(name, weights.double()).to(dtype or weights.dtype)
        return {name: found[name] for name in names}

    def verify(self, names: Iterable[str], expected: str = "") -> str:
        """Read every file once: hash config and weights together, and refuse NaN and Inf.

        Args:
            names: the tower's parameters.
            expected: the SHA-256 in the recipe, or "".

        Returns:
            SHA-256 of the names and digests of config and weights, as hex.

        Raises:
            DigestMismatch: the SHA-256 is not the expected one.
            NotFinite: a tensor of the adapter holds NaN or Inf.
        """
        used = self._used(names)
        try:
            weights, wrong = self._source.scan(used)
            config = sha256_file(self._config_path)
        except (OSError, EOFError, ValueError) as error:
            raise self._changed() from error
        digest = sha256_text(f"{ADAPTER_CONFIG}\0{config}\nadapter_model\0{weights}\n")
        if expected and digest != expected:
            raise DigestMismatch(
                f"SHA-256 is {digest[:12]}…, the recipe names {expected[:12]}…",
                "use the adapter the recipe was made with, or drop sha256",
                self.path.name,
                subject=self.title,
            )
        for name in used:
            if name in wrong:
                raise NotFinite(f"{name} holds {wrong[name]}", "save it again", self.path.name, subject=self.title)
        self._same()
        self._verified = True
        return digest

    def _stamps(self) -> tuple[tuple[int, ...], ...]:
        return (*super()._stamps(), stamp(self._config_path))

    def _refuse_odd(self) -> None:
        """Refuse files that are not one LoRA adapter with both of its matrices for each module."""
        names = self._names
        if names.odd:
            raise self._no(f"{names.odd:.100} is no matrix of peft's LoRA", MERGE_FIRST)
        if len(names.adapters) > 1:
            raise self._no(f"{len(names.adapters)} adapters are in it", "save each in a folder of its own")
        if not names.adapted:
            raise self._no("no LoRA matrix is in it", "give a folder that peft saved")
        for one in names.adapted.values():
            lacks = [f"lora_{part}" for part, its in (("A", one.down), ("B", one.up)) if not its]
            if self._lengths and not one.lengths:
                lacks.append("lora_magnitude_vector, which use_dora asks for")
            if lacks:
                raise self._no(f"{one.path:.100} lacks {lacks[0]}", "save it again")
            if one.lengths and not self._lengths:
                raise self._no("it has lengths of rows, as DoRA, and use_dora is not set", "save it again")
        for name in self.names:
            if (kind := self._source.tensors[name].kind) not in FLOATS.values():
                raise CheckpointError(
                    f"{name:.100} is {kind}", "save it as float16, 32 or 64", self.path.name, subject=self.title
                )

    def _rank(self, one: Adapted, config: LoraConfig) -> int:
        """Return the rank of a module's matrices, which has to be the config's."""
        down, up = (self._source.tensors[name].shape for name in (one.down, one.up))
        rank = config.rank_of(one.module)
        if len(down) < 2 or len(up) < 2 or math.prod(up[2:]) != 1 or 0 in (*down, *up) or not down[0] == up[1] == rank:
            what = f"the LoRA matrices of {one.path:.100} are {_sides(down)} and {_sides(up)}"
            raise self._no(what, f"give matrices of rank {rank}, which {ADAPTER_CONFIG} names, or correct it")
        if one.lengths and math.prod(self._source.tensors[one.lengths].shape) != up[0]:
            raise self._no(f"the lengths of {one.path:.100} are not one for each row", "save it again")
        return rank

    def _change_shape(self, one: Adapted) -> Shape:
        """Return the shape of a module's change, (d_out, d_in) or that of a convolution."""
        down, up = (self._source.tensors[name].shape for name in (one.down, one.up))
        return (up[0], *down[1:])

    def _alignment(self, layouts: LayoutFinder) -> Alignment:
        """Return how the names fit: those of the base's file, of the library, or of another layout of CLIP."""
        candidates: list[Layout] = [self.layout, layouts({})]
        if self.layout.of_clip:
            candidates += LAYOUTS.values()
        changes = {
            name: self._change_shape(one) for one in self._names.adapted.values() for name in weights_of(one.path)
        }
        return aligned(changes, candidates, self._tower, self._base.names)

    def _place_adapted(self, config: LoraConfig) -> None:
        missing, beside = [], set(self._base.names)
        for one in self._names.adapted.values():
            place = next((found for name in weights_of(one.path) if (found := self._aligned.place(name))), None)
            if place is None:
                if not is_text(one.path) and not beside.intersection(map(self._aligned.name, weights_of(one.path))):
                    missing.append(one.path)
                continue
            shape = self._change_shape(one)
            turned = config.transposed and len(shape) == 2 and shape != place.shape == shape[::-1]
            if shape != place.shape and not turned:
                what = f"the change of {one.path:.100} is {_sides(shape)}, in the base it is {_sides(place.shape)}"
                raise self._no(what, "give an adapter of this arch")
            self._put(place, _Part(one, "", config.scale_of(one.module), turned))
        if missing:
            told = ", ".join(f"{name:.100}" for name in missing[:_TOLD])
            more = f" and {len(missing) - _TOLD} more" if len(missing) > _TOLD else ""
            raise self._no(f"the base has no {told}{more}", "give an adapter of this base")

    def _place_whole(self) -> None:
        """Place the tensors that the file brings whole: biases, and modules of `modules_to_save` in the tower."""
        for own, name in self._names.whole.items():
            place = self._aligned.place(own)
            if place is None:
                continue  # a classifier, which is its task's
            shape = self._source.tensors[name].shape
            piece = self._aligned.piece(place.name)
            if piece.form is PATCHES and len(piece.names) > 1:
                raise self._no(f"it brings {own:.100}, which is read together with another tensor", MERGE_FIRST)
            if shape != place.shape:
                what = f"{own:.100} is {_sides(shape)}, in the base it is {_sides(place.shape)}"
                raise self._no(what, "give an adapter of this arch")
            self._put(place, _Part(None, name))

    def _put(self, place: Place, part: _Part) -> None:
        parts = self._parts.setdefault(place.name, {})
        if place.part in parts:
            raise self._no(f"it changes {place.name} twice", "save it again")
        parts[place.part] = part

    def _flattens(self, name: str) -> bool:
        """Say whether a parameter is a convolution's weight, kept as the matrix of its patches."""
        piece, shape = self._aligned.piece(name), self._tower[name]
        parts = piece.form.split(torch.empty(shape, device="meta"), 1) if len(piece.names) == 1 else None
        side = tuple(parts[0].shape) if parts else ()
        return len(side) > 2 and (side[0], math.prod(side[1:])) == shape

    def _adapted(self, names: Iterable[str]) -> list[Adapted]:
        """Return the adapted modules of some of the tower's parameters."""
        return [
            part.adapted for name in names for part in self._parts.get(name, {}).values() if part.adapted is not None
        ]

    def _used(self, names: Iterable[str]) -> dict[str, str]:
        """Return the file's names of the tensors that some of the tower's parameters are changed by."""
        found: dict[str, str] = {}
        for name in names:
            for part in self._parts.get(name, {}).values():
                one = part.adapted
                held = (one.down, one.up, one.lengths) if one is not None else (part.whole,)
                found |= dict.fromkeys(filter(None, held), name)
        return found

    def _pair(self, part: _Part) -> tuple[Tensor, Tensor]:
        """Return s B, (rows, r), and A, (r, columns), float64."""
        assert part.adapted is not None
        held = self._held(part.adapted.down, part.adapted.up)
        return held[part.adapted.up].flatten(1) * part.scale, held[part.adapted.down].flatten(1)

    def _held(self, *names: str) -> dict[str, Tensor]:
        """Read some tensors of the file, float64."""
        found = {name: tensor.double() for name, tensor in self._read(names)}
        for name, tensor in found.items():
            if not self._verified and not torch.isfinite(tensor).all():
                kind = "NaN" if torch.isnan(tensor).any() else "Inf"
                raise NotFinite(f"{name} holds {kind}", "save it again", self.path.name, subject=self.title)
        return found

    def _changed_tensor(self, name: str, weights: Tensor) -> Tensor:
        """Return one of the tower's parameters with its changes, from that of the base, float64."""
        piece = self._aligned.piece(name)
        parts = piece.form.split(weights, len(piece.names))
        assert parts is not None  # as with the shapes, see `places_of`
        changed = [
            self._changed_part(tensor, part) if (part := self._parts[name].get(at)) else tensor
            for at, tensor in enumerate(parts)
        ]
        return piece.form.join(changed)

    def _changed_part(self, weights: Tensor, part: _Part) -> Tensor:
        if part.adapted is None:
            return self._held(part.whole)[part.whole]
        up, down = self._pair(part)
        change = (up @ down).mT if part.reversed else (up @ down).view(weights.shape)
        if not self._lengths:
            return weights + change
        lengths = self._held(part.adapted.lengths)[part.adapted.lengths].flatten()
        rows = (weights + change).mT if part.reversed else (weights + change).flatten(1)
        norms = rows.norm(dim=1)
        rows = rows * torch.where(norms > 0, lengths / norms, 0)[:, None]  # a row of zeros has no direction
        return rows.mT if part.reversed else rows.view(weights.shape)

    def _no(self, what: str, remedy: str) -> LayoutError:
        return LayoutError(what, remedy, self.path.name, kind=LORA, subject=self.title)


def _sides(shape: Shape) -> str:
    return " x ".join(map(str, shape)) or "a number"
