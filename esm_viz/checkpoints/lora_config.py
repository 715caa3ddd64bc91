"""The `adapter_config.json` beside a LoRA adapter, as the library peft writes it.

Only numbers and patterns are taken from it. The base model that it names, the classes that it names and everything else
that would load or run something is not looked at.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esm_viz.checkpoints.weight_files import read_json
from esm_viz.core.errors import LORA, LayoutError

ADAPTER_CONFIG = "adapter_config.json"
MOST_RANK = 1 << 16
_MOST_PATTERNS, _LONGEST_PATTERN, _LONGEST_NAME = 4096, 200, 250
_MOST_CHOICES, _MOST_BARS = 3, 64  # of a pattern: more could take years to match
_MOST_SECONDS = 2.0  # of matching, in processor time
MERGE_FIRST = "merge it into its base first (peft: merge_and_unload)"
_CHANGED_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Ways to begin a training that change the base's weights, so that the adapter is not a change of the base itself."""
_BEYOND = {
    "layer_replication": "repeats blocks of its base",
    "target_parameters": "changes parameters that are no layers' weights",
    "trainable_token_indices": "trains single tokens",
    "alora_invocation_tokens": "acts on some tokens only",
    "lora_bias": "has biases within its LoRA",
    "use_qalora": "is made for a quantised base",
    "use_bdlora": "has blocks of its own",
    "arrow_config": "chooses among several adapters",
    "megatron_config": "is made for a model that is split over machines",
}
"""Settings with which an adapter is not W + s B A, and what they do."""


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """What a LoRA adapter's config says of its matrices.

    Attributes:
        rank, alpha: r and α of every module that no pattern names.
        rank_stabilised: whether the scale is α / √r instead of α / r.
        magnitudes: whether rows have trained lengths (DoRA).
        transposed: whether matrices may be stored as (d_in, d_out).
        ranks, alphas: r and α by patterns of module names.
    """

    rank: int
    alpha: float
    rank_stabilised: bool
    magnitudes: bool
    transposed: bool
    ranks: Patterns
    alphas: Patterns

    def rank_of(self, module: str) -> int:
        """Return r of a module by its name in the adapter's model."""
        return int(self.ranks.value(module, self.rank))

    def scale_of(self, module: str) -> float:
        """Return s of a module, with which its change is s B A."""
        rank = self.rank_of(module)
        return self.alphas.value(module, self.alpha) / (math.sqrt(rank) if self.rank_stabilised else rank)


class Patterns:
    """Numbers by patterns of module names, of which the first that fits the end of a name counts."""

    def __init__(self, values: Mapping[str, float], title: str) -> None:
        """Compile the patterns.

        Raises:
            LayoutError: one is not a regular expression, or it could take very long to match.
        """
        self._title, self._spent = title, 0.0
        self._found: list[tuple[re.Pattern[str], float]] = []
        if len(values) > _MOST_PATTERNS:
            raise _refused(f"it has {len(values)} patterns of names", f"give at most {_MOST_PATTERNS}", title)
        for pattern, value in values.items():
            if not _is_quick(pattern):
                raise _refused(f"the pattern {pattern!r:.60} may take very long", "name the modules themselves", title)
            try:
                self._found.append((re.compile(rf"(?:.*\.)?(?:{pattern})"), value))
            except (re.error, OverflowError, RecursionError) as error:
                raise _refused(
                    f"the pattern {pattern!r:.60} is no regular expression", "name the modules themselves", title
                ) from error

    def value(self, module: str, otherwise: float) -> float:
        """Return the number of the first pattern that fits a module's name.

        Raises:
            LayoutError: matching takes too long.
        """
        if not self._found:
            return otherwise
        if len(module) > _LONGEST_NAME:
            raise _refused(f"the name {module:.60} is too long for patterns", MERGE_FIRST, self._title)
        for pattern, value in self._found:
            start = time.thread_time()
            fits = pattern.fullmatch(module)
            self._spent += time.thread_time() - start
            if self._spent > _MOST_SECONDS:
                raise _refused("its patterns take too long to match", "name the modules themselves", self._title)
            if fits:
                return value
        return otherwise


def read_lora_config(path: Path, title: str) -> LoraConfig:
    """Read an `adapter_config.json`.

    Args:
        path: path of the file.
        title: name of the model, for error messages.

    Raises:
        CheckpointError: it cannot be read. LayoutError: another kind of adapter, or a value is out of range.
    """
    raw = read_json(path, title)
    kind = raw.get("peft_type")
    if kind != "LORA":
        told = f"an adapter of type {kind:.40}" if isinstance(kind, str) else "an adapter of unknown type"
        raise _refused(f"{told}, only LoRA can be read", MERGE_FIRST, title)
    beyond = next((words for key, words in _BEYOND.items() if raw.get(key)), "")
    if beyond:
        raise _refused(f"this LoRA adapter {beyond}", MERGE_FIRST, title)
    begun = raw.get("init_lora_weights")
    if isinstance(begun, str) and begun.lower().startswith(_CHANGED_BASE):
        raise _refused(
            f"its training began with {begun:.30}, which changes the base", "save it as plain LoRA, or merged", title
        )
    flags = {key: _flag(raw, key, title) for key in ("use_rslora", "use_dora", "fan_in_fan_out")}
    ranks = {key: _rank(value, f"rank_pattern of {key:.60}", title) for key, value in _listed(raw, "rank", title)}
    alphas = {key: _number(value, f"alpha_pattern of {key:.60}", title) for key, value in _listed(raw, "alpha", title)}
    return LoraConfig(
        _rank(raw.get("r", 8), "r", title),
        _number(raw.get("lora_alpha", 8), "lora_alpha", title),
        flags["use_rslora"],
        flags["use_dora"],
        flags["fan_in_fan_out"],
        Patterns(ranks, title),
        Patterns(alphas, title),
    )


def _listed(raw: Mapping[str, Any], what: str, title: str) -> list[tuple[str, Any]]:
    found = raw.get(f"{what}_pattern") or {}
    if not isinstance(found, dict):
        raise _refused(f"{what}_pattern is {found!r:.40}", "correct it", title)
    return list(found.items())


def _flag(raw: Mapping[str, Any], key: str, title: str) -> bool:
    found = raw.get(key) or False
    if not isinstance(found, bool):
        raise _refused(f"{key} is {found!r:.40}", "give true or false", title)
    return found


def _rank(value: object, what: str, title: str) -> int:
    if type(value) is not int or not 0 < value <= MOST_RANK:
        raise _refused(f"{what} is {value!r:.40}", f"give a number from 1 to {MOST_RANK}", title)
    return value


def _number(value: object, what: str, title: str) -> float:
    if type(value) not in (int, float) or not abs(value) < 1e30:  # type: ignore[arg-type] # NaN is not less
        raise _refused(f"{what} is {value!r:.40}", "give a number", title)
    return float(value)  # type: ignore[arg-type]


def _is_quick(pattern: str) -> bool:
    """Say whether a pattern is short and plain enough to be matched soon, whatever the name is."""
    plain = re.sub(r"\\[.dw_-]|\[\^?[\w.-]+\]", "x", pattern).replace("(?:", "(")
    return (
        len(pattern) <= _LONGEST_PATTERN
        and "\\" not in plain
        and "(?" not in plain
        and re.search(r"\)[*+?{]", plain) is None
        and len(re.findall(r"[*+?{(]", plain)) <= _MOST_CHOICES
        and plain.count("|") <= _MOST_BARS
    )


def _refused(what: str, remedy: str, title: str) -> LayoutError:
    return LayoutError(what, remedy, ADAPTER_CONFIG, kind=LORA, subject=title)
