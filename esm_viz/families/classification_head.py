"""Classification heads: text embeddings of class names, or any linear map of the image features."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from esm_viz.checkpoints.layout_table import TIMM, layout_of
from esm_viz.checkpoints.model_config import config_classes
from esm_viz.checkpoints.tensor_storage import FLOATS
from esm_viz.checkpoints.weight_files import Source
from esm_viz.core.errors import RUNS_CODE, CheckpointError, HeadError, one_line

COSINE_SCALE = 30.0
"""Scale of cosines for probabilities. CLIP's own is 100, at which KL(expert ‖ merged) is less steady (METHOD)."""


@dataclass(frozen=True, slots=True)
class Head:
    """A linear head: logits = features weightᵀ + bias, with features normalised first as in CLIP.

    Attributes:
        weight: (classes, embed_dim), float32.
        bias: (classes,) or None.
        classes: names in the order of the rows; empty if the file has none.
        normalised: whether features are scaled to length 1 first; False for a classifier of timm.
    """

    weight: Tensor
    bias: Tensor | None
    classes: tuple[str, ...]
    normalised: bool = True

    @property
    def digest(self) -> str:
        """Return the SHA-256 of weight, bias and class names (by which folders are labelled), as hex."""
        digest = hashlib.sha256(self.weight.contiguous().numpy().tobytes())
        if self.bias is not None:
            digest.update(self.bias.contiguous().numpy().tobytes())
        digest.update(json.dumps(self.classes).encode())
        if not self.normalised:
            digest.update(b"features as they are")
        return digest.hexdigest()

    def predict(self, features: Tensor) -> Tensor:
        """Return the prediction for each image, (n,), int64.

        Args:
            features: (n, embed_dim), before any normalisation.
        """
        return self._scores(features).argmax(1).cpu()

    def answers(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the prediction for each image, (n,), int64, and its probability: the softmax of `logits`, (n,).

        Args:
            features: (n, embed_dim), before any normalisation.
        """
        scores = self._scores(features)
        chosen = scores.argmax(1, keepdim=True)
        return chosen[:, 0].cpu(), (scores * self._scale).softmax(1).gather(1, chosen)[:, 0].cpu()

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits for probabilities, (n, classes): a classifier's as they are, cosines times COSINE_SCALE.

        Rows of another length than 1, as where a scale is part of the file, do not change them.

        Args:
            features: (n, embed_dim), before any normalisation.
        """
        return self._scores(features) * self._scale

    @property
    def _scale(self) -> float:
        """Return the factor from scores to logits."""
        length = float(self.weight.norm(dim=1).mean()) if self.normalised else 0.0
        return COSINE_SCALE / length if length > 0 else 1.0

    def _scores(self, features: Tensor) -> Tensor:
        features = F.normalize(features.float(), dim=-1) if self.normalised else features.float()
        scores = features @ self.weight.to(features.device).mT
        return scores if self.bias is None else scores + self.bias.to(features.device)


def read_head(path: Path, embed_dim: int, classifier: str = "") -> Head:
    """Read a head: `weight` (classes, embed_dim), optional `bias`, optional class names in the metadata.

    The file may hold only the head, the pickled head class of task-vector repositories, or a model with its classifier,
    whose class names are then those of the config beside it.

    Args:
        path: path of the file or, for a model with its classifier, of its folder.
        embed_dim: size of the features.
        classifier: start of the names of the classifier of the project's models; empty for none.

    Raises:
        HeadError: the file is unreadable, or does not fit the tower.
    """
    try:
        source = Source("the head", path)
        own = classifier_names(source.tensors, classifier)
        on_top = bool(own) or _on_top(source)
        names = own or (
            {"weight": "head.weight", "bias": "head.bias"} if on_top else {"weight": "weight", "bias": "bias"}
        )
        if names["weight"] not in source.tensors or not (on_top or set(source.tensors) <= set(names.values())):
            held = ", ".join(sorted(source.tensors)[:3]) or "nothing"
            more = " …" if len(source.tensors) > 3 else ""
            raise HeadError(f"the head holds {held}{more}", "give weight and bias", path.name)
        found = _floats(source, {ours: its for ours, its in names.items() if its in source.tensors}, path)
    except CheckpointError as error:
        kind = RUNS_CODE if error.kind == RUNS_CODE else ""  # a file that would run code keeps that kind
        raise HeadError(f"the head cannot be read ({error.what})", error.remedy, path.name, kind=kind) from error
    except (OSError, EOFError, ValueError) as error:
        raise HeadError("the head cannot be read", "save it again", path.name) from error
    weight, bias = found["weight"], found.get("bias")
    if weight.ndim != 2 or weight.shape[1] != embed_dim:
        raise HeadError(f"the head's weight is {tuple(weight.shape)}", f"give (classes, {embed_dim})", path.name)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise HeadError(f"the head's bias is {tuple(bias.shape)}", f"give ({len(weight)},)", path.name)
    if not torch.isfinite(weight).all() or (bias is not None and not torch.isfinite(bias).all()):
        raise HeadError("the head holds NaN or Inf", "make it again", path.name)
    classes = _class_names(source.metadata.get("classes", ""), path)
    if own and not classes:
        classes = config_classes(source.path, len(weight))
    if classes and len(classes) != len(weight):
        raise HeadError(f"the head names {len(classes)} classes for {len(weight)} rows", "make it again", path.name)
    return Head(weight, bias, classes, not on_top and source.metadata.get("normalize", "true") != "false")


def brings_classifier(path: Path, classifier: str) -> bool:
    """Say whether a model's file brings the classifier of its task; False if it cannot be read, which others report.

    Args:
        path: path of the file or folder.
        classifier: start of the names of the classifier; empty for none.
    """
    if not classifier:
        return False
    try:
        return bool(classifier_names(Source("the head", path).tensors, classifier))
    except (CheckpointError, OSError):
        return False


def classifier_names(names: Iterable[str], classifier: str) -> dict[str, str]:
    """Return the names of a classifier's weight and bias in a file, under any prefix; empty without one.

    Args:
        names: the file's names.
        classifier: start of the names of the classifier, such as "head" or "classifier.1".
    """
    if not classifier:
        return {}
    ends = {"weight": f"{classifier}.weight", "bias": f"{classifier}.bias"}
    listed = sorted(names, key=len)
    weight = next((name for name in listed if name == ends["weight"] or name.endswith(f".{ends['weight']}")), None)
    if weight is None:
        return {}
    bias = weight.removesuffix("weight") + "bias"
    return {"weight": weight, **({"bias": bias} if bias in listed else {})}


def _on_top(source: Source) -> bool:
    """Say whether the file is a timm ViT with a classifier."""
    return layout_of({name: stored.shape for name, stored in source.tensors.items()}).name == TIMM.name


def _floats(source: Source, names: Mapping[str, str], path: Path) -> dict[str, Tensor]:
    odd = next((name for name in names.values() if source.tensors[name].kind not in FLOATS.values()), None)
    if odd is not None:
        raise HeadError(f"the head's {odd} is {source.tensors[odd].kind}", "save it as float32", path.name)
    ours = {its: ours for ours, its in names.items()}
    return {ours[name]: tensor.float() for name, tensor in source.read(ours)}


def _class_names(text: str, path: Path) -> tuple[str, ...]:
    if not text:
        return ()
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) and one_line(name) == name for name in names):
        raise HeadError("the head's class names are not a JSON list of words", "make it again", path.name)
    return tuple(names)
