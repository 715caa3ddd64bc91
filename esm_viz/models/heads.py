"""Classification heads: text embeddings of class names, or any linear map of the image features."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from esm_viz.errors import HeadError, plain


@dataclass(frozen=True, slots=True)
class Head:
    """Logits are normalised features times weightᵀ, plus bias.

    Attributes:
        weight: (classes, embed_dim), float32.
        bias: (classes,) or None.
        classes: names in the order of the rows; empty where the file names none.
    """

    weight: Tensor
    bias: Tensor | None
    classes: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Return the SHA-256 of weight, bias and class names (by which folders are labelled), as hex."""
        digest = hashlib.sha256(self.weight.contiguous().numpy().tobytes())
        if self.bias is not None:
            digest.update(self.bias.contiguous().numpy().tobytes())
        digest.update(json.dumps(self.classes).encode())
        return digest.hexdigest()

    def answers(self, features: Tensor) -> Tensor:
        """Return the chosen class of each image, (n,), int64.

        Args:
            features: (n, embed_dim), before any normalisation.
        """
        logits = F.normalize(features.float(), dim=-1) @ self.weight.to(features.device).mT
        if self.bias is not None:
            logits = logits + self.bias.to(features.device)
        return logits.argmax(1).cpu()


def read_head(path: Path, embed_dim: int) -> Head:
    """Read a head: `weight` (classes, embed_dim), optional `bias`, optional class names in the metadata.

    Raises:
        HeadError: the file is unreadable, or does not fit the tower.
    """
    try:
        with safe_open(path, "pt") as file:
            names = set(file.keys())
            if "weight" not in names or names - {"weight", "bias"}:
                raise HeadError(
                    f"the head holds {', '.join(sorted(names)) or 'nothing'}", "give weight and bias", path.name
                )
            weight = file.get_tensor("weight").float()
            bias = file.get_tensor("bias").float() if "bias" in names else None
            classes = _class_names((file.metadata() or {}).get("classes", ""), path)
    except (SafetensorError, OSError, ValueError) as error:
        raise HeadError("the head cannot be read", "give a .safetensors file", path.name) from error
    if weight.ndim != 2 or weight.shape[1] != embed_dim:
        raise HeadError(f"the head's weight is {tuple(weight.shape)}", f"give (classes, {embed_dim})", path.name)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise HeadError(f"the head's bias is {tuple(bias.shape)}", f"give ({len(weight)},)", path.name)
    if not torch.isfinite(weight).all() or (bias is not None and not torch.isfinite(bias).all()):
        raise HeadError("the head holds NaN or Inf", "make it again", path.name)
    if classes and len(classes) != len(weight):
        raise HeadError(f"the head names {len(classes)} classes for {len(weight)} rows", "make it again", path.name)
    return Head(weight, bias, classes)


def _class_names(text: str, path: Path) -> tuple[str, ...]:
    if not text:
        return ()
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) and plain(name) == name for name in names):
        raise HeadError("the head's class names are not a JSON list of words", "make it again", path.name)
    return tuple(names)
