"""The preparation of images that a config beside weights asks for, as open_clip's `preprocess_cfg`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from esm_viz.checkpoints.model_config import CONFIG, OPEN_CLIP_CONFIG, PROCESSORS
from esm_viz.checkpoints.weight_files import read_json
from esm_viz.core.errors import CheckpointError

_INTERPOLATIONS = ("bicubic", "bilinear")
_PILLOW = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers, which transformers writes
_TIMM_MODES = {"center": "shortest", "squash": "squash", "border": "longest"}
_TIMM_CROP = 0.875  # timm's own default
_BYTE = 1 / 255


class Preparation(NamedTuple):
    """The preparation of images that one config asks for.

    Attributes:
        file: name of the config.
        config: the part that `preprocess_cfg` can express: mean, std, interpolation, resize_mode, fill_color.
        lost: descriptions of the rest.
    """

    file: str
    config: dict[str, Any]
    lost: tuple[str, ...]


def preparation_beside(weights: Path, title: str) -> Preparation | None:
    """Return the preparation that a config beside weights asks for; None if no config says one.

    Looked for, in this order: `preprocess_cfg` of open_clip, `pretrained_cfg` of timm, the processor of transformers.

    Args:
        weights: path of a model's file or folder.
        title: name of the model, for error messages.
    """
    folder = weights if weights.is_dir() else weights.parent
    for file, key, read in (
        (OPEN_CLIP_CONFIG, "preprocess_cfg", _from_open_clip),
        (CONFIG, "pretrained_cfg", _from_timm),
        *((name, "image_processor", _from_processor) for name in PROCESSORS),
    ):
        if not (folder / file).is_file():
            continue
        try:
            raw = read_json(folder / file, title)
        except CheckpointError:  # the reader of the architecture reports it
            continue
        said = raw.get(key, raw if file == PROCESSORS[0] else None)
        if isinstance(said, Mapping):
            config, lost = read(said)
            if config or lost:
                return Preparation(file, config, tuple(lost))
    return None


def _from_open_clip(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    config = {key: raw[key] for key in ("mean", "std", "resize_mode", "fill_color") if raw.get(key) is not None}
    return _with_interpolation(config, raw.get("interpolation"))


def _from_timm(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    config = {key: raw[key] for key in ("mean", "std") if raw.get(key) is not None}
    config, lost = _with_interpolation(config, raw.get("interpolation"))
    if not config:  # a config without any word on images
        return {}, []
    mode, crop = raw.get("crop_mode") or "center", raw.get("crop_pct") or _TIMM_CROP
    if isinstance(mode, str) and mode in _TIMM_MODES:
        config["resize_mode"] = _TIMM_MODES[mode]
    else:
        lost.append(f"crop_mode {mode!r:.40}")
    size = raw.get("input_size")
    if crop != 1:
        side = size[-1] if isinstance(size, list) and size and type(size[-1]) is int else 0
        if isinstance(crop, float) and 0 < crop < 1 and side and config.get("resize_mode") != "longest":
            config["resized"] = math.floor(side / crop)
        else:
            lost.append(f"crop_pct {crop!r:.40} (images are resized to more pixels, and only their middle is used)")
    return config, lost


def _from_processor(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    config = {ours: raw[its] for ours, its in (("mean", "image_mean"), ("std", "image_std")) if raw.get(its)}
    if not config:
        return {}, []
    if raw.get("do_normalize") is False:
        config = {"mean": [0.0] * 3, "std": [1.0] * 3}
    resample = raw.get("resample", 3)
    known = _PILLOW.get(resample) if isinstance(resample, int) else None
    config, lost = _with_interpolation(config, known or f"resample {resample!r:.40}")
    factor = raw.get("rescale_factor", _BYTE)
    if raw.get("do_rescale") is False or not isinstance(factor, float) or abs(factor - _BYTE) > 1e-6:
        lost.append(f"rescale_factor {factor!r:.40}")
    config["resize_mode"] = "shortest" if "shortest_edge" in _sides(raw.get("size")) else "squash"
    cropped = raw.get("do_center_crop", True) is not False and bool(_sides(raw.get("crop_size")))
    if raw.get("do_resize") is False:
        lost.append("do_resize false")
    elif cropped and {*_sides(raw.get("size")).values()} != {*_sides(raw.get("crop_size")).values()}:
        sizes, cuts = ({*_sides(raw.get(key)).values()} for key in ("size", "crop_size"))
        if len(sizes) == len(cuts) == 1 and max(sizes) > max(cuts):
            config["resized"] = max(sizes)
        else:
            lost.append("crop_size other than size (images are resized to more pixels, and only their middle is used)")
    elif isinstance(part := raw.get("crop_pct"), float) and 0 < part < 1 and config["resize_mode"] == "shortest":
        config["resized"] = int(max(_sides(raw.get("size")).values()) / part)  # ConvNeXt: size is what is used
    elif not cropped and config["resize_mode"] == "shortest":
        lost.append("do_center_crop false")
    return config, lost


def _with_interpolation(config: dict[str, Any], interpolation: object) -> tuple[dict[str, Any], list[str]]:
    if interpolation is None:
        return config, []
    if interpolation in _INTERPOLATIONS:
        return {**config, "interpolation": interpolation}, []
    return config, [f"interpolation {interpolation!r:.40}"]


def _sides(raw: object) -> dict[str, int]:
    """Return a processor's size by name; older versions of transformers write a number alone."""
    if isinstance(raw, int):
        return {"shortest_edge": raw}
    return {key: side for key, side in raw.items() if isinstance(side, int)} if isinstance(raw, Mapping) else {}
