"""Checkpoints as vision towers: headers are checked before any weights are read, tensors are read only when needed.

The kinds of files are in `weight_files.py`, the layouts in `layout_table.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from esm_viz.checkpoints.layout_table import Layout, Piece, layout_of, text_pieces, towers
from esm_viz.checkpoints.model_config import config_beside, files_beside, hints
from esm_viz.checkpoints.tensor_conversion import IDENTITY
from esm_viz.checkpoints.tensor_storage import FLOATS, sha256_file, sha256_text
from esm_viz.checkpoints.weight_files import Source
from esm_viz.core.errors import LORA, CheckpointError, DigestMismatch, LayoutError, NotFinite, ShapeMismatch
from esm_viz.core.folder_entries import entries
from esm_viz.core.records import FileFacts
from esm_viz.numerics.factored_change import FactoredChange

_ODD = {
    "reg_token": "register tokens",
    "register_tokens": "register tokens",
    "attn_pool": "attention pooling",
    "head.probe": "attention pooling, as SigLIP's",
    "q_norm": "norms of its queries",
    "ls1.": "layer scale",
    "gamma_1": "layer scale",
    "layer_scale1": "layer scale",
    "dist_token": "a distillation token",
    "rel_pos": "relative positions",
    "fc1_g": "gated layers",
    "w12": "gated layers",
}
_LORA = re.compile(r"lora_[AB]|lora_(?:down|up)|\.lora\.")
_MOST_TOLD = 3  # towers in a sentence
_TEXT = ("token_embedding.weight", "text_model.", "text_projection")


LayoutFinder = Callable[[Mapping[str, tuple[int, ...]]], Layout]


class Checkpoint:
    """One model's file, files or folder, accessed by open_clip's names of a vision tower's parameters.

    Attributes:
        title: "base" or the model's name, for error messages.
        path: path of the file or folder.
        layout: the layout of the file.
        names: the file's own names of all its tensors.
        metadata: metadata of the file.
        read_file: name of the file, or of the list of shards, also where the recipe names its folder.
        not_read: names of weights beside it that a folder's model may be too; empty if the recipe names the file.
        start: the base, whose parameters outside the blocks stand for those that this file does not bring.
    """

    def __init__(
        self, title: str, path: Path, start: Checkpoint | None = None, layouts: LayoutFinder = layout_of
    ) -> None:
        """Read the headers.

        Args:
            title: "base" or the model's name.
            path: path of the file or folder.
            start: the base of a fine-tune; None for a model that has to bring everything.
            layouts: returns the layout of a file from its shapes; by default among those of CLIP's tower.

        Raises:
            CheckpointError: there is no such file, or it cannot be read safely.
        """
        self.title, self.path, self.start = title, path, start
        self._source = Source(title, path)
        self._opened = self._stamps()
        self._verified = False
        self.names = tuple(self._source.tensors)
        self.metadata: Mapping[str, str] = self._source.metadata
        self.read_file, self.not_read = self._source.path.name, self._source.not_read
        self.layout = layouts(self._file_shapes())

    def facts(self, shapes: Mapping[str, tuple[int, ...]]) -> FileFacts:
        """Return what the header says of a tower's parameters, also if the file does not fit.

        Args:
            shapes: shapes of the tower's parameters, by open_clip's names.
        """
        self.layout = self.layout.fitted(self._file_shapes(), shapes.get("proj", ()))
        pieces = {name: piece for name in shapes if (piece := self._piece(name))}
        parts = {part for piece in pieces.values() for part in piece.names}
        from_base = tuple(name for name in shapes if self._is_from_base(name))
        fitting = [name for name in pieces if self.shape(name) == shapes[name]]
        return FileFacts(
            name=self.title,
            file=self.path.name,
            layout=self.layout.title if pieces else "unknown",
            dtype=", ".join(sorted({self._source.tensors[part].kind for part in parts})),
            parameters=sum(math.prod(self._source.tensors[part].shape) for part in parts),
            bytes=sum(path.stat().st_size for path in self._source.files),
            matched=len(fitting),
            missing=tuple(sorted(set(shapes) - set(pieces) - set(from_base))),
            extra=tuple(sorted(set(self.names) - parts)),
            misshaped=tuple(name for name in pieces if self.shape(name) != shapes[name]),
            from_base=from_base,
        )

    def complaint(self, shapes: Mapping[str, tuple[int, ...]]) -> CheckpointError | None:
        """Compare the header with a tower's parameters; return an error with all mismatches of the first kind found.

        Args:
            shapes: shapes of the tower's parameters, by open_clip's names.

        Returns:
            LayoutError: another kind of model, or the tower's tensors are missing or more than expected.
            ShapeMismatch: shapes differ. CheckpointError: a tensor of the tower is not float. None: the file fits.
        """
        facts = self.facts(shapes)
        other = self._several_towers() or self._other_model(facts)
        if other is not None:
            return other
        among = {inner for name in self.names if (inner := self.layout.in_tower(name)) is not None}
        unknown = tuple(sorted(among - set(shapes)))
        if facts.missing or unknown:
            found = "; ".join(
                f"{len(names)} tensors {word} ({_some(names)})"
                for word, names in (("missing", facts.missing), ("unknown", unknown))
                if names
            )
            return self._refused(found, f"give {self.layout.wanted} of this arch")
        if facts.misshaped:
            return self._misshaped(facts.misshaped, shapes)
        odd = {name: kind for name in shapes for kind in self._kinds(name) if kind not in FLOATS.values()}
        if odd:
            name, kind = next(iter(odd.items()))
            return CheckpointError(
                f"{name} is {kind}", "save it as float16, 32 or 64", self.path.name, subject=self.title
            )
        return None

    def judge(self, shapes: Mapping[str, tuple[int, ...]]) -> FileFacts:
        """Return what the header says of a file, or raise if the file does not fit the tower.

        Args:
            shapes: shapes of the tower's parameters, by open_clip's names.

        Raises:
            CheckpointError: the file does not fit; the error lists all mismatches.
        """
        error = self.complaint(shapes)
        if error is not None:
            raise error
        return self.facts(shapes)

    def tower_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the tower in the file, by open_clip's names; empty without a tower."""
        among = {inner for name in self.names if (inner := self.layout.in_tower(name)) is not None}
        if self.layout.stem and "class_embedding" in among:
            among.add("proj")  # some files leave it out
        return {name: self.shape(name) for name in sorted(among) if self._piece(name)}

    def config(self) -> dict[str, Any] | None:
        """Return the model config beside the file, as open_clip's; None without one.

        Raises:
            CheckpointError: it cannot be read, or is the config of another kind of model.
        """
        return config_beside(self._source.path, self.layout, bool(towers(self.names)), self.title)

    def files_beside(self, layout: Layout, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the configs to write beside a merged model with this base, by name of the file.

        Args:
            layout: layout of the merged model.
            config: the model config of its tower.

        Raises:
            CheckpointError: a config beside this file cannot be read.
        """
        return files_beside(layout, config, self._source.path, layout == self.layout)

    def hints(self) -> dict[str, Any]:
        """Return the parts of an open_clip `vision_cfg` that follow from names of tensors but not from shapes."""
        return hints(self.layout, no_ln_pre=self._piece("ln_pre.weight") is None)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape that one of the tower's parameters has in this file."""
        piece = self._piece(name)
        if piece is None and self.start is not None and self._is_from_base(name):
            return self.start.shape(name)
        if piece is None:
            raise KeyError(name)
        return piece.form.shape([self._source.tensors[part].shape for part in piece.names])

    def tensors(self, names: Iterable[str], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Read some of the tower's parameters, with the stored type unless `dtype` is given; lent ones from the base.

        Raises:
            NotFinite: one holds NaN or Inf.
            CheckpointError: the file changed since it was opened.
        """
        names = tuple(names)
        found = {name: tensor.to(dtype or tensor.dtype) for name, tensor in self._stream(names)}
        lent = [name for name in names if name not in found]
        if lent and self.start is not None:
            found |= self.start.tensors(lent, dtype)
        return {name: found[name] for name in names}

    def change_rank(self, name: str) -> int | None:
        """Return the rank of the factors of a parameter's change; None if there are no factors, only weights."""
        return None

    def factors(self, name: str) -> FactoredChange:
        """Return the factors of a parameter's change.

        Raises:
            LookupError: there are none, see `change_rank`.
        """
        raise LookupError(f"the change of {name} has no factors")

    def everything(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every tensor of the file, by its name in the file and as stored.

        Raises:
            CheckpointError: the file changed since it was opened, or a tensor cannot be read.
        """
        odd = next((name for name in self.names if self._source.tensors[name].dtype is None), None)
        if odd is not None:
            kind = self._source.tensors[odd].kind
            raise CheckpointError(f"{odd} is {kind}", "leave it out of the file", self.path.name, subject=self.title)
        yield from self._read(self.names)

    @property
    def has_text(self) -> bool:
        """Say whether the file also holds a text tower."""
        return "token_embedding.weight" in self._text

    def text_tower(self) -> dict[str, Tensor]:
        """Read the file's text tower, by open_clip's names of a CLIP model; empty without one.

        Raises:
            CheckpointError: the file changed since it was opened.
        """
        parts = dict(self._read(dict.fromkeys(part for piece in self._text.values() for part in piece.names)))
        return {name: piece.form.join([parts[part] for part in piece.names]) for name, piece in self._text.items()}

    def verify(self, names: Iterable[str], expected: str = "") -> str:
        """Read every file once: hash it, and refuse NaN and Inf.

        Args:
            names: the tower's parameters.
            expected: the SHA-256 in the recipe, or "".

        Returns:
            SHA-256 of the file, as hex; if there are several files, of their names and digests.

        Raises:
            DigestMismatch: the SHA-256 is not the expected one.
            NotFinite: a tensor of the tower holds NaN or Inf.
        """
        parts = {part: name for name in names if (piece := self._piece(name)) for part in piece.names}
        try:
            digest, wrong = self._source.scan(parts)
        except (OSError, EOFError, ValueError) as error:
            raise self._changed() from error
        if expected and digest != expected:
            raise DigestMismatch(
                f"SHA-256 is {digest[:12]}…, the recipe names {expected[:12]}…",
                "use the file the recipe was made with, or drop sha256",
                self.path.name,
                subject=self.title,
            )
        for part, name in parts.items():
            if part in wrong:
                raise NotFinite(f"{name} holds {wrong[part]}", "save it again", self.path.name, subject=self.title)
        self._same()
        self._verified = True  # valid until the file changes, which every read checks
        return digest

    def _file_shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: stored.shape for name, stored in self._source.tensors.items()}

    def _piece(self, name: str) -> Piece | None:
        """Return how one of the tower's tensors is stored in the file; None if it is missing."""
        piece = self.layout.piece(name)
        if piece is None or not all(part in self._source.tensors for part in piece.names):
            return None
        no_projection = piece.form is IDENTITY and self.start is not None and self.start.brings_projection
        return None if no_projection else piece

    def brings(self, name: str) -> bool:
        """Say whether one of the tower's parameters is in the file."""
        return self._piece(name) is not None

    @property
    def brings_projection(self) -> bool:
        """Say whether the file has a projection; a tower without one gives its pooled output as features."""
        piece = self._piece("proj")
        return piece is not None and piece.form is not IDENTITY

    def _is_from_base(self, name: str) -> bool:
        """Say whether a parameter is not in this file and is the base's: one outside the blocks that the base has."""
        if self.start is None or self.brings(name) or self.layout.in_block(name):
            return False
        return self.start.brings(name)

    @property
    def _text(self) -> dict[str, Piece]:
        """Return how the readable tensors of the text tower are stored in the file."""
        readable = {name for name, stored in self._source.tensors.items() if stored.dtype is not None}
        pieces = text_pieces(self.layout, self.names)
        return {name: piece for name, piece in pieces.items() if readable.issuperset(piece.names)}

    def _kinds(self, name: str) -> set[str]:
        piece = self._piece(name)
        return {self._source.tensors[part].kind for part in piece.names} if piece else set()

    def _stream(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield the tower's tensors, each as soon as all its parts are read."""
        waiting = {name: piece for name in names if (piece := self._piece(name))}
        parts: dict[str, Tensor] = {}
        for part, held in self._read(dict.fromkeys(part for piece in waiting.values() for part in piece.names)):
            parts[part] = held
            whole = [name for name, piece in waiting.items() if parts.keys() >= set(piece.names)]
            for name in whole:
                piece = waiting.pop(name)
                try:
                    tensor = piece.form.join([parts[each] for each in piece.names])
                except ValueError as error:
                    raise self._refused(str(error), "set it to 0") from error
                if not self._verified and not torch.isfinite(tensor).all():
                    kind = "NaN" if torch.isnan(tensor).any() else "Inf"
                    raise NotFinite(f"{name} holds {kind}", "save it again", self.path.name, subject=self.title)
                yield name, tensor
            needed = {each for piece in waiting.values() for each in piece.names}
            parts = {each: tensor for each, tensor in parts.items() if each in needed}

    def _read(self, parts: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        try:
            yield from self._source.read(parts)
            self._same()
        except (OSError, EOFError, KeyError, ValueError, RuntimeError) as error:
            raise self._changed() from error

    def _other_model(self, facts: FileFacts) -> LayoutError | None:
        """Return an error that names the kind of model in the file, if it is a known other kind."""
        if any(map(_LORA.search, self.names)):
            return self._refused(
                "a LoRA adapter, not a whole model",
                "give a base and the adapter's folder, or merge it into its base first",
                LORA,
            )
        odd = next((word for mark, word in _ODD.items() if any(mark in name for name in self.names)), "")
        if odd and facts.missing + facts.extra and self.layout.stem:
            return self._refused(f"a ViT with {odd}, which CLIP's has not", "merge plain ViTs")
        if facts.matched or facts.misshaped or not self.names:
            return None
        if any(mark in name for name in self.names for mark in _TEXT):
            return self._refused("a text tower without a vision tower", "give the vision tower or the full CLIP")
        if not self.layout.of_clip:
            return self._refused(f"no {self.layout.title} is in it ({_some(self.names)})", "give a model of this arch")
        return self._refused(
            f"no vision tower of CLIP or timm is in it ({_some(self.names)})", "give a CLIP or its vision tower"
        )

    def _several_towers(self) -> LayoutError | None:
        """Return an error that names the towers of a file with more than one; two names of the same numbers are one."""
        if not self.layout.of_clip:
            return None
        found: dict[object, str] = {}
        for prefix, mark in towers(self.names):
            stored = self._source.tensors[prefix + mark]
            found.setdefault(stored if stored.extent else prefix, prefix)
        if len(found) < 2:
            return None
        named = [prefix or "no prefix" for prefix in found.values()]
        more = f" and {len(named) - _MOST_TOLD} more" if len(named) > _MOST_TOLD else ""
        what = f"{len(named)} vision towers are in it: {', '.join(named[:_MOST_TOLD])}{more}"
        return self._refused(what, "save the tensors of one of them, under their names, in a file of its own")

    def _misshaped(self, wrong: tuple[str, ...], shapes: Mapping[str, tuple[int, ...]]) -> ShapeMismatch:
        sides = [_side(found) for found in (self.tower_shapes(), shapes)]
        if wrong == ("positional_embedding",) and all(sides) and sides[0] != sides[1]:
            what = f"made for images of {sides[0]} pixels a side, the arch reads {sides[1]}"
        else:
            first = ", ".join(f"{name} is {self.shape(name)}, in the arch {shapes[name]}" for name in wrong[:2])
            what = first + (f" and {len(wrong) - 2} more" if len(wrong) > 2 else "")
        return ShapeMismatch(what, "use checkpoints of this arch", self.path.name, subject=self.title)

    def _refused(self, what: str, remedy: str, kind: str = "") -> LayoutError:
        return LayoutError(what, remedy, self.path.name, kind=kind, subject=self.title)

    def _stamps(self) -> tuple[tuple[int, ...], ...]:
        return tuple(stamp(path) for path in self._source.files)

    def _same(self) -> None:
        """Raise if a file changed since its header was read."""
        if self._stamps() != self._opened:
            raise self._changed()

    def _changed(self) -> CheckpointError:
        return CheckpointError("the file changed while it was read", "start again", self.path.name, subject=self.title)


def stamp(path: Path) -> tuple[int, ...]:
    """Return values that change when a file is replaced or written to; programs cannot set the change time."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _side(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the image size in pixels of a tower with these shapes; 0 if it cannot be found from them."""
    position, patches = shapes.get("positional_embedding", ()), shapes.get("conv1.weight", ())
    grid = math.isqrt(max(position[0] - 1, 0)) if len(position) == 2 else 0
    return grid * patches[-1] if len(patches) == 4 and position and grid * grid == position[0] - 1 else 0


def sha256_path(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's files by sorted relative name, links followed.

    Raises:
        CheckpointError: one of them cannot be read.
    """
    try:
        if path.is_file():
            return sha256_file(path)
        files = sorted(path / entry.name for entry in entries(path) if entry.kind == "file")
        return sha256_text("".join(f"{file.relative_to(path).as_posix()}\0{sha256_file(file)}\n" for file in files))
    except OSError as error:
        raise CheckpointError("a file cannot be read", "check its rights and that it is there", path.name) from error


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} …" if len(names) > 3 else shown
