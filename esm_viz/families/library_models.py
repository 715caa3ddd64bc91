"""Networks of open_clip, timm and transformers, built from a config alone: nothing is downloaded, no config runs code.

Each network maps images to what its head reads: the image features of a CLIP, or the input of a classifier, which
belongs to one task and is left out.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import CLIPVisionCfg
from safetensors import safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from esm_viz.core.errors import RecipeError
from esm_viz.families.open_clip_private import build_vision_tower

LIBRARIES = ("open_clip", "timm", "transformers")
MOST_PARAMETERS = 1 << 34
_LARGEST_NUMBER = 1 << 20  # of one size in a config
_MOST_BLOCKS = 200
_DEPTHS = ("num_hidden_layers", "depth", "depths", "layers", "num_layers")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,100}")
_NOT_FOR_TIMM = {
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"),
    *("features_only", "scriptable", "exportable", "no_jit"),
}
_LOADS_MORE = ("backbone", "backbone_config", "use_timm_backbone", "use_pretrained_backbone", "quantization_config")


@dataclass(frozen=True)
class LibraryModel:
    """An empty network of a library.

    Attributes:
        library, title: names of the library and of the network.
        network: the network in eval mode; parameters have no memory, buffers have their values.
        features: (network, images) -> what its head reads, (n, d).
        image_size: width and height of its images in pixels.
        head: start of the names of the classifier in files of this network; empty if it has none.
        written: the names of tensors in files that the library writes, by the network's own, where they differ.
    """

    library: str
    title: str
    network: nn.Module
    features: Callable[[nn.Module, Tensor], Tensor]
    image_size: int
    head: str
    written: Mapping[str, str]


def library_model(arch: str, config: Mapping[str, Any] | None) -> LibraryModel:
    """Build the network of a recipe's architecture.

    Args:
        arch: an open_clip name, if there is no config.
        config: an open_clip config, or a mapping with `library` and that library's own config.

    Raises:
        RecipeError: the library does not know it, it would load or run more than this, or a size is absurd.
    """
    library = str((config or {}).get("library", "open_clip"))
    if library not in LIBRARIES:
        raise RecipeError(f"arch has the library {library!r:.40}", f"use {', '.join(LIBRARIES)}")
    known = {key: value for key, value in (config or {}).items() if key not in ("library", "preprocess_cfg")}
    _refuse_absurd(known)
    build = {"open_clip": _open_clip, "timm": _timm, "transformers": _transformers}[library]
    try:
        return build(known if config is not None else _named(arch), arch)
    except RecipeError:
        raise
    except Exception as error:  # libraries check no config, and raise whatever comes up
        said = str(error).strip().splitlines()[:1]
        raise RecipeError(
            f"{library} cannot build this config ({(said or [type(error).__name__])[0]:.120})", "correct arch"
        ) from error


class _NoInitialisation(TorchFunctionMode):
    """Leave out what fills new parameters with random numbers: their values come from files."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        first = args[0] if args else (kwargs or {}).get("tensor")  # torch's own initialisers name it
        name = getattr(func, "__name__", "")
        if (
            isinstance(first, nn.Parameter)
            and name.endswith("_")
            and name.rstrip("_") + "_" == name != "requires_grad_"
        ):
            return first
        return func(*args, **(kwargs or {}))


def _built(make: Callable[[], nn.Module]) -> nn.Module:
    """Build a network without memory for its parameters; its buffers keep the values that the library gives them."""
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in make().parameters())
    if size > MOST_PARAMETERS:
        raise RecipeError(f"arch has {size / 1e9:.0f} billion parameters", "use a smaller model")
    with _NoInitialisation(), torch.device("cpu"):
        network = make().eval()
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            empty = torch.empty_like(parameter, device="meta")
            setattr(module, name, nn.Parameter(empty, requires_grad=False))
    return network


def _named(arch: str) -> dict[str, Any]:
    if arch not in open_clip.list_models():
        raise RecipeError(f"open_clip knows no model named {arch!r}", "use a name of open_clip, or give its config")
    return dict(open_clip.get_model_config(arch))


def _open_clip(config: Mapping[str, Any], arch: str) -> LibraryModel:
    vision = CLIPVisionCfg(**{**config["vision_cfg"], "timm_model_pretrained": False})
    name = vision.timm_model_name
    if name and not _NAME.fullmatch(str(name)):
        raise RecipeError(f"timm has no model named {name!r:.60}", "correct arch")
    embed, quick = int(config["embed_dim"]), bool(config.get("quick_gelu", False))
    network = _built(lambda: build_vision_tower(embed, vision, quick_gelu=quick))
    side = vision.image_size if isinstance(vision.image_size, int) else max(vision.image_size)
    title = arch if arch and not arch.startswith("{") else f"vision tower of {name or 'open_clip'}"
    return LibraryModel("open_clip", title, network, _first_of, int(side), "", {})


def _first_of(network: nn.Module, images: Tensor) -> Tensor:
    """Return the features of towers that may return tokens too."""
    found = network(images)
    return found[0] if isinstance(found, tuple) else found


def _timm(config: Mapping[str, Any], _arch: str) -> LibraryModel:
    import timm  # imported late: slow to import, and rarely needed

    name = config.get("architecture")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not timm.is_model(name):
        raise RecipeError(f"timm has no model named {name!r:.60}", "correct `architecture` in arch")
    given = {key: value for key, value in (config.get("model_args") or {}).items() if key != "num_classes"}
    if "global_pool" in config and "global_pool" not in given and config["global_pool"] is not None:
        given["global_pool"] = config["global_pool"]
    wrong = sorted(key for key in given if key in _NOT_FOR_TIMM or not _is_plain(given[key]))
    if wrong:
        raise RecipeError(f"arch gives timm {wrong[0]!r:.60}", "leave it out of `model_args`")
    said = config.get("pretrained_cfg") or {}
    known = timm.get_pretrained_cfg(name)
    size = said.get("input_size") or (known.input_size if known else (3, 224, 224))
    wanted = given.pop("img_size", None) or size[-1]
    side = int(wanted if isinstance(wanted, int) else max(wanted))
    head = said.get("classifier") or (known.classifier if known else "")
    takes_size = _accepts_size(name)

    def make() -> nn.Module:
        size = {"img_size": side} if takes_size else {}
        return timm.create_model(name, pretrained=False, num_classes=0, **{**size, **given})

    heads = (head,) if isinstance(head, str) else head or ()
    return LibraryModel("timm", name, _built(make), _first_of, side, heads[0] if heads else "", {})


def _accepts_size(name: str) -> bool:
    """Say whether a timm network is made for one size of images."""
    import timm

    try:
        with torch.device("meta"):
            timm.create_model(name, pretrained=False, num_classes=0, img_size=224)
    except (ValueError, AssertionError, RuntimeError):  # a size that does not fit this network: it reads one
        return True
    except TypeError:
        return False
    return True


def _transformers(config: Mapping[str, Any], _arch: str) -> LibraryModel:
    from transformers import AutoConfig  # imported late: slow to import, and rarely needed
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, MODEL_MAPPING

    kind, more = config.get("model_type"), [key for key in _LOADS_MORE if config.get(key)]
    if more:
        raise RecipeError(f"arch has {more[0]!r}, another model inside", "give the config of one model")
    if not isinstance(kind, str) or not _NAME.fullmatch(kind) or kind == "timm_wrapper":
        raise RecipeError(f"transformers has no vision model of type {kind!r:.40}", "correct `model_type` in arch")
    plain = {key: value for key, value in config.items() if not key.startswith("_") and key not in _SETTINGS}
    whole = AutoConfig.for_model(**plain)
    said = [str(name) for name in config.get("architectures") or ()]
    classifier = _first(MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING.get(type(whole), None))
    joint = hasattr(whole, "vision_config") or kind.endswith("_vision_model")
    network: Any
    if classifier is not None and (not joint or any(name.endswith("ForImageClassification") for name in said)):
        network = _built(lambda: classifier._from_config(whole))  # noqa: SLF001
        written = _written_names(network)
        head = next(name for name, part in network.named_modules() if _is_head(name, part))
        network.set_submodule(head, nn.Identity())
        return LibraryModel("transformers", classifier.__name__, network, _logits, _side_of(whole), head, written)
    vision = getattr(whole, "vision_config", whole)
    model = _first(MODEL_MAPPING.get(type(vision), None))
    if model is None:
        raise RecipeError(f"transformers has no vision model of type {kind!r:.40}", "give a vision model's config")
    network = _built(lambda: model._from_config(vision))  # noqa: SLF001
    return LibraryModel("transformers", model.__name__, network, _pooled, _side_of(vision), "", _written_names(network))


def _first(classes: Any) -> Any:
    """Return the first of the classes that transformers has for a config; None without one."""
    return classes[0] if isinstance(classes, tuple | list) else classes


_SETTINGS = {
    *("architectures", "auto_map", "attn_implementation", "experts_implementation", "dtype", "torch_dtype"),
    *("transformers_version", "problem_type", "output_attentions", "output_hidden_states", "return_dict", "use_cache"),
}


def _is_head(name: str, part: nn.Module) -> bool:
    """Say whether a module is the linear layer of a classifier of transformers, which may follow a flattening."""
    return name.split(".", maxsplit=1)[0] == "classifier" and isinstance(part, nn.Linear)


def _logits(network: nn.Module, images: Tensor) -> Tensor:
    """Return what the classifier of a model of transformers reads, in whose place nothing is."""
    return network(pixel_values=images).logits


def _pooled(network: nn.Module, images: Tensor) -> Tensor:
    """Return the pooled output of a vision model of transformers, or its first token where it has none."""
    found = network(pixel_values=images)
    pooled = getattr(found, "pooler_output", None)
    return found.last_hidden_state[:, 0] if pooled is None else pooled.flatten(1)


def _side_of(config: Any) -> int:
    inner = getattr(config, "vision_config", None)
    size: Any = getattr(config, "image_size", None) or getattr(inner, "image_size", None) or 224
    return int(size if isinstance(size, int) else max(size))


def _written_names(network: Any) -> dict[str, str]:
    """Return the names under which transformers writes a network's tensors, where they differ from its own.

    Newer releases rename tensors as they read and write them. A file of one number for each tensor tells how.
    """
    names = list(network.state_dict())
    marks = {name: torch.tensor([float(at)], dtype=torch.float64) for at, name in enumerate(names)}
    with tempfile.TemporaryDirectory() as folder, _no_progress_bars():
        network.save_pretrained(folder, state_dict=marks)
        with safe_open(Path(folder) / "model.safetensors", "pt") as file:
            found = {names[int(file.get_tensor(its)[0])]: its for its in file.keys()}  # noqa: SIM118
    return {name: its for name, its in found.items() if its != name}


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing a progress bar."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _refuse_absurd(config: Mapping[str, Any]) -> None:
    """Refuse sizes for which building the network would take minutes or all memory.

    Raises:
        RecipeError: a size is absurd.
    """
    for key, value in config.items():
        if isinstance(value, Mapping):
            _refuse_absurd(value)
            continue
        listed = value if isinstance(value, list | tuple) else [value]
        most = _MOST_BLOCKS if key in _DEPTHS else _LARGEST_NUMBER
        if any(type(number) is int and abs(number) > most for number in listed):
            raise RecipeError(f"arch has {key} {value!r:.40}", f"use at most {most}")
