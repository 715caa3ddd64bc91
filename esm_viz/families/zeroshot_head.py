"""CLIP's zero-shot head, made from class names with the text tower in the base's checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from esm_viz.core.errors import HeadError
from esm_viz.families.classification_head import Head


def head_from_words(
    config: Mapping[str, Any], weights: Mapping[str, Tensor], classes: tuple[str, ...], templates: tuple[str, ...]
) -> Head:
    """Embed every class under every template, average, and normalise: CLIP's zero-shot head (arXiv:2103.00020, 3.1).

    Args:
        config: an open_clip model config with `text_cfg`.
        weights: a full CLIP's state dict; its vision part is not read.
        classes: names of the classes.
        templates: sentences with `{}` in the place of the name.

    Raises:
        HeadError: there is no plain text tower, the weights do not fit it or are not finite, or a template
            has no `{}`.
    """
    for template in templates:
        if "{}" not in template:
            raise HeadError(f"the template {template!r} has no {{}}", "put {} where the class name goes")
    text_config = config.get("text_cfg")
    if not isinstance(text_config, Mapping) or "hf_model_name" in text_config or "hf_tokenizer_name" in text_config:
        raise HeadError("the architecture has no plain text tower", "give the head as weights")
    try:
        with torch.device("meta"):
            model = CLIP(config["embed_dim"], config["vision_cfg"], text_config, config.get("quick_gelu", False))
        wanted = {name for name in model.state_dict() if not name.startswith("visual.")}
        missing = sorted(wanted - set(weights))
        if missing:
            raise HeadError(f"the base has no text tower ({missing[0]} is missing)", "give the head as weights")
        model.load_state_dict({name: weights[name].float() for name in wanted}, strict=False, assign=True)
    except (TypeError, KeyError, RuntimeError) as error:
        raise HeadError("the base's text tower does not fit the architecture", "give the head as weights") from error
    mask = model.attn_mask
    if mask is not None and mask.is_meta:  # a buffer that no checkpoint holds
        side = mask.shape[-1]
        model.attn_mask = torch.full((side, side), float("-inf")).triu_(1)
    tokenizer = SimpleTokenizer(context_length=model.context_length)
    rows = []
    with torch.inference_mode():
        for name in classes:
            tokens = tokenizer([template.replace("{}", name) for template in templates])
            rows.append(F.normalize(F.normalize(model.encode_text(tokens), dim=-1).mean(0), dim=0))
    weight = torch.stack(rows).clone()
    if not torch.isfinite(weight).all():
        raise HeadError("the base's text tower gives NaN or Inf", "give the head as weights")
    return Head(weight, None, classes)
