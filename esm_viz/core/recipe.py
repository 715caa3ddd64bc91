"""The recipe: models, method and every knob; read from and written to YAML, with canonical JSON and its hash.

A recipe describes one merge completely. Its *identity* (`canonical`, `sha256`) holds file digests instead of paths, and
every parameter. So the same merge has the same hash wherever its files lie, and the recipe in an export has the hash
of the recipe it was exported from.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import yaml

from esm_viz.core.errors import HubError, RecipeError, one_line
from esm_viz.core.records import Value

DTYPES = ("float32", "float16", "bfloat16", "float64")
LARGEST_RECIPE = 1 << 18  # bytes; a recipe is a page of text, or a few pages with class names
LONGEST_SCALAR = 4096  # characters of one YAML scalar, since parsing a number of a million digits takes a minute
LONGEST_PATH, LONGEST_PART = 1000, 255  # characters, bytes; systems raise their own errors for longer ones
LARGEST_SEED = 2**63 - 1
DOWNLOAD_FIRST = "run `merge` or `evaluate` on the recipe first, or `esm_viz.download` in Python"
HUB = "hf://"  # begins a path that names a repository on a hub; `esm_viz.hub` reads the rest
ArchOf = Callable[["Recipe"], Any]
_TOP = ("merge_method", "arch", "base_model", "models", "parameters", "dtype", "seed")
_BASE = ("path", "sha256")
_MODEL = ("name", "path", "sha256", "weight", "proxies", "head", "classes", "validation", "test")
_NAME = re.compile(r"[^/\\|]{1,80}")  # a task's name is shown, is a JSON key, and joins pairs as a|b
_FOLDED = re.compile("[\x85\u2028\u2029]")  # YAML reads these line breaks as spaces unless they are escaped
_ARCHS = "an open_clip model name, a config with embed_dim and vision_cfg, or one with library: timm or transformers"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class HeadWords:
    """Class names and prompt templates from which the base's text tower makes a zero-shot head."""

    classes: tuple[str, ...]
    templates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One expert: its weights, its head, its images; paths as the recipe writes them.

    `classes` gives the names of the classes in the labelled images, in the order of the head's rows. It is needed if
    the head has no class names, or other ones.
    """

    name: str
    path: str
    sha256: str = ""
    weight: float = 1.0
    proxies: str = ""
    head: str | HeadWords = ""
    validation: str = ""
    test: str = ""
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """The complete description of one merge.

    Attributes:
        method: a registered merge method's name.
        arch: an open_clip model name; or as canonical JSON an open_clip config, or another library's with `library`.
        base, base_sha256: the pre-trained checkpoint and, where the recipe names it, its digest.
        models: the experts, in the recipe's order.
        parameters: the method's parameters; `merge.settle` checks them and fills in defaults.
        folder: where relative paths start; not part of the identity.
        downloaded: the local files of names on a hub, by the name as the recipe writes it; `esm_viz.hub` fills it.
    """

    method: str
    arch: str
    base: str
    models: tuple[ModelEntry, ...]
    parameters: Mapping[str, Value]
    base_sha256: str = ""
    dtype: str = "float32"
    seed: int = 0
    folder: Path = Path()
    downloaded: Mapping[str, Path] = field(default_factory=dict)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Return the experts' names in order."""
        return tuple(model.name for model in self.models)

    @property
    def arch_config(self) -> dict[str, Any] | None:
        """Return the model config, where the recipe gives one instead of a name."""
        return json.loads(self.arch) if self.arch.startswith("{") else None

    def resolve(self, path: str) -> Path:
        """Return the location of a path in this recipe: relative ones start at `folder`, those with `~/` at home.

        Raises:
            HubError: it is a name on a hub, and its files were not downloaded.
        """
        if path.startswith(HUB):
            if path not in self.downloaded:
                raise HubError("it is not downloaded", DOWNLOAD_FIRST, path)
            return self.downloaded[path]
        return self.folder / (os.path.expanduser(path) if path.startswith("~/") else path)  # noqa: PTH111 - never raises

    @property
    def paths(self) -> tuple[str, ...]:
        """Return every file and folder in the recipe, as it writes them; names on a hub are in `names`."""
        return tuple(path for path in self._places if not path.startswith(HUB))

    @property
    def names(self) -> tuple[str, ...]:
        """Return every name on a hub in the recipe, each once, as it writes them."""
        return tuple(dict.fromkeys(path for path in self._places if path.startswith(HUB)))

    @property
    def _places(self) -> tuple[str, ...]:
        named = ((m.path, m.proxies, m.head, m.validation, m.test) for m in self.models)
        return (self.base, *(path for paths in named for path in paths if path and isinstance(path, str)))

    def placed(self, place: Callable[[str, str], str]) -> Recipe:
        """Return this recipe with every path replaced by place(path, name of the model or "base")."""

        def moved(model: ModelEntry) -> ModelEntry:
            def at(path: str) -> str:
                return place(path, model.name) if path else ""

            head = at(model.head) if isinstance(model.head, str) else model.head
            return dataclasses.replace(
                model,
                path=at(model.path),
                proxies=at(model.proxies),
                head=head,
                validation=at(model.validation),
                test=at(model.test),
            )

        return self.replace(base=place(self.base, "base"), models=tuple(moved(model) for model in self.models))

    def seen_from(self, folder: Path) -> Recipe:
        """Return this recipe with its paths rewritten relative to another folder; they lead to the same files."""

        def place(path: str, _of: str) -> str:
            if path.startswith(HUB):
                return path
            whole = self.resolve(path)
            real = whole.parent.resolve() / whole.name  # not a link's target, which may have no suffix
            return Path(os.path.relpath(real, folder.resolve())).as_posix()

        return self.placed(place).replace(folder=folder)

    def replace(self, **changes: Any) -> Recipe:
        """Return this recipe with some fields changed; nothing is checked."""
        return dataclasses.replace(self, **changes)

    def as_mapping(self) -> dict[str, Any]:
        """Return the recipe as it is written in YAML."""
        base = {"path": self.base, "sha256": self.base_sha256}
        return {
            "merge_method": self.method,
            "arch": self.arch_config or self.arch,
            "base_model": {key: value for key, value in base.items() if value},
            "models": [_model_mapping(model) for model in self.models],
            "parameters": dict(self.parameters),
            "dtype": self.dtype,
            "seed": self.seed,
        }

    def to_yaml(self) -> str:
        """Write the recipe as YAML; parsing it again gives an equal recipe."""
        mapping = self.as_mapping()
        readable = not _FOLDED.search(json.dumps(mapping, ensure_ascii=False))
        return yaml.safe_dump(mapping, sort_keys=False, allow_unicode=readable, width=120)


def load_text(path: Path, arch_of: ArchOf | None = None) -> Recipe:
    """Read a recipe file; the method's parameters are checked later, by `merge.settle`.

    Args:
        path: path of the file.
        arch_of: returns the architecture for a recipe without one; called with the rest of the recipe.

    Raises:
        RecipeError: the file cannot be read or is not a recipe.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe would block, and a device has no end
            raise RecipeError("the recipe is no plain file", "give the YAML text of a recipe", path.name)
        if path.stat().st_size > LARGEST_RECIPE:
            raise RecipeError(
                f"the recipe is larger than {LARGEST_RECIPE} bytes", "give the YAML text of a recipe", path.name
            )
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError("the recipe cannot be opened", "check its path", path.name) from error
    except UnicodeDecodeError as error:
        raise RecipeError("the recipe is not text in UTF-8", "give a YAML file", path.name) from error
    return parse_text(text, path.parent, path.name, arch_of)


def parse_text(text: str, folder: Path, where: str = "recipe", arch_of: ArchOf | None = None) -> Recipe:
    """Parse YAML text into a recipe; arguments as in `load_text` and `parse_mapping`.

    Raises:
        RecipeError: the text is not YAML or not a recipe.
    """
    try:
        raw = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader that also refuses aliases
    except Exception as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}, line {mark.line + 1}" if mark else where
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise RecipeError(f"the recipe is not valid YAML ({problem})", "mend that line", place) from error
    return parse_mapping(raw, folder, where, arch_of)


def parse_mapping(raw: object, folder: Path, where: str = "recipe", arch_of: ArchOf | None = None) -> Recipe:
    """Check the structure of a recipe read from YAML or JSON.

    Args:
        raw: what was read.
        folder: where relative paths start.
        where: name of the file, for error messages.
        arch_of: returns the architecture for a recipe without one; called with the rest of the recipe.

    Raises:
        RecipeError: a key is unknown or missing, or a value has the wrong type.
    """
    top = _mapping(raw, "the recipe", _TOP, where)
    base = _mapping(_need(top, "base_model", where), "base_model", _BASE, where)
    models = _need(top, "models", where)
    if not isinstance(models, list) or not models:
        _wrong("models", "a list with at least one model", models, where)
    entries = tuple(_model_entry(model, index, where) for index, model in enumerate(models))
    for name in {entry.name for entry in entries}:
        if sum(entry.name == name for entry in entries) > 1:
            raise RecipeError(f"two models are named {name!r}", "give each model its own name", where)
    dtype = top.get("dtype", "float32")
    if dtype not in DTYPES:
        _wrong("dtype", f"one of {', '.join(DTYPES)}", dtype, where)
    seed = checked_seed(top.get("seed", 0), where)
    found = Recipe(
        method=_text(_need(top, "merge_method", where), "merge_method", where),
        arch=_arch(_need(top, "arch", where), where) if arch_of is None or "arch" in top else "",
        base=_path(_need(base, "path", where, "base_model: "), "base_model: path", where),
        base_sha256=_digest(base.get("sha256", ""), "base_model: sha256", where),
        models=entries,
        parameters=_parameters(top.get("parameters"), where),
        dtype=dtype,
        seed=seed,
        folder=folder,
    )
    return found if found.arch or arch_of is None else found.replace(arch=_arch(arch_of(found), where))


def canonical(recipe: Recipe, digests: Mapping[str, str]) -> str:
    """Write the recipe's identity as JSON with sorted keys, no spaces, and digests instead of paths.

    A name on a hub is part of it, with its commit, beside the digest of its files.

    Args:
        recipe: a recipe with every parameter of its method.
        digests: SHA-256 of each file or folder that the merged weights depend on, by path as the recipe writes it.
    """
    models = [
        {
            "name": model.name,
            "sha256": digests[model.path],
            "weight": model.weight,
            "proxies": digests[model.proxies] if model.proxies else None,
            **_hub_names(path=model.path, proxies=model.proxies),
        }
        for model in recipe.models
    ]
    identity = {
        "merge_method": recipe.method,
        "arch": recipe.arch_config or recipe.arch,
        "base_model": {"sha256": digests[recipe.base], **_hub_names(path=recipe.base)},
        "models": models,
        "parameters": {name: _plain(value) for name, value in recipe.parameters.items()},
        "dtype": recipe.dtype,
        "seed": recipe.seed,
    }
    return json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_text(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, as hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def as_number(value: object) -> float | None:
    """Return a number as a float, also one that YAML read as text (1e-3); None if it is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


class _PlainLoader(yaml.SafeLoader):
    """A safe YAML loader that also refuses aliases, very long scalars, duplicate keys and numbers in other bases.

    Aliases can expand without bound, YAML silently drops one of two equal keys, and PyYAML reads 010 as 8 and 1:30 as
    90, which nobody means in a recipe.
    """

    def construct_yaml_int(self, node: Any) -> int:
        number = super().construct_yaml_int(node)
        digits = node.value.lstrip("+-").replace("_", "")
        if digits.isdecimal() and digits != "0" and digits.startswith("0"):
            raise _other_base(node, number, str(int(node.value)))
        if ":" in digits:
            raise _other_base(node, number, str(number))
        return number

    def construct_yaml_float(self, node: Any) -> float:
        number = super().construct_yaml_float(node)
        if ":" in node.value:
            raise _other_base(node, number, str(number))
        return number

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.constructor.ConstructorError(None, None, "aliases are not allowed", event.start_mark)
        if self.check_event(yaml.ScalarEvent) and len(self.peek_event().value) > LONGEST_SCALAR:
            start = self.peek_event().start_mark
            raise yaml.constructor.ConstructorError(None, None, f"a text of over {LONGEST_SCALAR} characters", start)
        return super().compose_node(parent, index)


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_yaml_int)
_PlainLoader.add_constructor("tag:yaml.org,2002:float", _PlainLoader.construct_yaml_float)


def _hub_names(**paths: str) -> dict[str, dict[str, str]]:
    """Return those of some paths that are names on a hub, under one key; nothing where there is none."""
    names = {key: path for key, path in paths.items() if path.startswith(HUB)}
    return {"hub": names} if names else {}


def _other_base(node: Any, number: float, meant: str) -> yaml.constructor.ConstructorError:
    """Return the error for a number that YAML reads in base 8 or 60."""
    problem = f"{node.value} would be read as {number}, write {meant} or {node.value!r}"
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _plain(value: Value) -> Value:
    """Turn integers into floats, so that 2 and 2.0 have the same hash."""
    return float(value) if isinstance(value, int) else value


def _model_mapping(model: ModelEntry) -> dict[str, Any]:
    head = model.head
    if isinstance(head, HeadWords):
        words = {"classes": list(head.classes), "templates": list(head.templates)}
        return {**_model_mapping(dataclasses.replace(model, head="")), "head": words}
    written = {**dataclasses.asdict(model), "classes": list(model.classes)}
    return {key: value for key, value in written.items() if value not in ("", []) and (key, value) != ("weight", 1.0)}


def _model_entry(raw: object, index: int, where: str) -> ModelEntry:
    place = f"models[{index}]"
    model = _mapping(raw, place, _MODEL, where)
    name = _text(_need(model, "name", where, f"{place}: "), f"{place}: name", where)
    if not _NAME.fullmatch(name) or one_line(name) != name:
        _wrong(f"{place}: name", "1 to 80 characters without / \\ | or line breaks", name, where)
    place = f"model {name}"
    weight = model.get("weight", 1.0)
    number = as_number(weight)
    if number is None or not math.isfinite(number):
        _wrong(f"{place}: weight", "a finite number", weight, where)
    head = model.get("head", "")
    return ModelEntry(
        name=name,
        path=_path(_need(model, "path", where, f"{place}: "), f"{place}: path", where),
        sha256=_digest(model.get("sha256", ""), f"{place}: sha256", where),
        weight=number,
        proxies=_optional(model, "proxies", place, where),
        head=_head_words(head, place, where) if isinstance(head, dict) else _optional(model, "head", place, where),
        classes=_words(model["classes"], f"{place}: classes", where) if model.get("classes") else (),
        validation=_optional(model, "validation", place, where),
        test=_optional(model, "test", place, where),
    )


def _head_words(raw: Mapping[str, object], place: str, where: str) -> HeadWords:
    head = _mapping(raw, f"{place}: head", ("classes", "templates"), where)
    keys = ("classes", "templates")
    return HeadWords(
        *(_words(_need(head, key, where, f"{place}: head: "), f"{place}: head: {key}", where) for key in keys)
    )


def _words(raw: object, what: str, where: str) -> tuple[str, ...]:
    if not isinstance(raw, list) or not raw or not all(isinstance(word, str) and word for word in raw):
        _wrong(what, f"a list of words{', in quotes' if raw else ''}", raw, where)
    return tuple(raw)


def _arch(raw: object, where: str) -> str:
    if isinstance(raw, dict):
        of_library = raw.get("library", "open_clip") in ("timm", "transformers")
        if not of_library and (not isinstance(raw.get("vision_cfg"), dict) or type(raw.get("embed_dim")) is not int):
            _wrong("arch", _ARCHS, raw, where)
        try:
            return json.dumps(raw, sort_keys=True, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise RecipeError(
                "arch holds something that is not plain data", "give a config as its library writes it", where
            ) from error
    if isinstance(raw, str) and raw.startswith("{"):  # a `Recipe` keeps a config as text that starts with {
        _wrong("arch", _ARCHS, raw, where)
    return _text(raw, "arch", where).replace("/", "-")  # open_clip takes ViT-B/32 for ViT-B-32 too


def _parameters(raw: object, where: str) -> Mapping[str, Value]:
    if raw is None:
        return MappingProxyType({})
    if not isinstance(raw, dict):
        _wrong("parameters", "a mapping of names to numbers", raw, where)
    for name, value in raw.items():
        if not isinstance(name, str):
            _wrong("parameters", "a mapping with names as keys", name, where)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            _wrong(f"parameters: {name}", "a number or a word", value, where)
    return MappingProxyType(dict(raw))


def _mapping(raw: object, what: str, allowed: Sequence[str], where: str) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        _wrong(what, "a mapping of keys to values", raw, where)
    unknown = sorted(key if isinstance(key, str) else shown(key) for key in raw if key not in allowed)
    if unknown:
        raise RecipeError(f"{what} has unknown keys {', '.join(unknown)}", f"use {', '.join(allowed)}", where)
    return raw


def _need(mapping: Mapping[str, Any], key: str, where: str, prefix: str = "") -> Any:
    if key not in mapping:
        raise RecipeError(f"{prefix}{key} is missing", f"add {key}", where)
    return mapping[key]


def _optional(mapping: Mapping[str, Any], key: str, place: str, where: str) -> str:
    raw = mapping.get(key)
    return _path(raw, f"{place}: {key}", where) if raw is not None and raw != "" else ""


def checked_seed(raw: object, where: str) -> int:
    """Return the seed if it is valid.

    Raises:
        RecipeError: it is not a whole number from 0 to LARGEST_SEED.
    """
    if type(raw) is not int or not 0 <= raw <= LARGEST_SEED:
        _wrong("seed", "a whole number from 0", raw, where)
    return raw


def _text(raw: object, what: str, where: str) -> str:
    if isinstance(raw, bool | int | float | datetime.date):  # no, 7 and 2024-01-05 are words only in quotes
        _wrong(what, "a non-empty text, in quotes", raw, where)
    if not isinstance(raw, str) or not raw or "\x00" in raw or any("\ud800" <= mark <= "\udfff" for mark in raw):
        _wrong(what, "a non-empty text", raw, where)
    return raw


def _path(raw: object, what: str, where: str) -> str:
    text = _text(raw, what, where)
    if len(text) > LONGEST_PATH or any(len(part.encode()) > LONGEST_PART for part in text.split("/")):
        _wrong(what, f"a path of at most {LONGEST_PATH} characters", raw, where)
    return text


def _digest(raw: object, what: str, where: str) -> str:
    if raw in ("", None):
        return ""
    if not isinstance(raw, str) or not _SHA256.fullmatch(raw.lower()):
        _wrong(what, "64 hexadecimal digits", raw, where)
    return raw.lower()  # Windows writes capitals


def _wrong(what: str, expected: str, came: object, where: str) -> NoReturn:
    raise RecipeError(f"{what} is {shown(came)}", f"give {expected}", where)


def shown(came: object) -> str:
    """Return a wrong value as text of at most 60 characters for an error's sentence; never raises."""
    try:
        text = ascii(came) if isinstance(came, str) and not came.isprintable() else repr(came)
    except (ValueError, RecursionError):  # Python refuses to write integers of thousands of digits
        return "too long to show"
    return text if len(text) <= 60 else text[:57] + "..."
