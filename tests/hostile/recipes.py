"""Spoiled recipes: every key with every odd value, YAML that explodes or names Python, knobs out of their ranges."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from esm_viz.core.recipe import LARGEST_RECIPE
from esm_viz.merge import METHODS
from tests.hostile.bench import CANARY, Case, change_recipe, raw_recipe, write_recipe
from tests.hostile.weights import ESCAPES
from tests.support import tiny

NEVER: dict[str, Any] = {
    "true": True,
    "a list": [1],
    "an empty list": [],
    "a list of lists": [[["deep"]]],
    "a mapping": {"a": 1},
    "an empty mapping": {},
    "a date": datetime.date(2026, 11, 28),
    "bytes": b"\x00\xff",
    "NaN": float("nan"),
    "minus infinity": float("-inf"),
}
"""Wrong under every key, but a few that `fits` knows."""
NO_TEXT: dict[str, Any] = {**NEVER, "a number": 7, "a fraction": 0.5, "nothing": None, "no text": ""}
ODD_TEXT = {f"{kind} in it": name for kind, name in ESCAPES.items()}
TEXT_KEYS = ("merge_method", "arch", "base_model.path", "models.0.name", "models.0.path")
MAY_BE_EMPTY = ("models.0.proxies", "models.0.head", "models.0.validation", "models.0.test", "models.0.sha256")
NUMBER_KEYS = ("models.0.weight", "seed")
STRUCTURES = ("base_model", "models", "models.0", "parameters")
PATH_KEYS = ("base_model.path", "models.0.path", "models.0.proxies", "models.0.head", "models.0.validation")
OUTSIDE = (
    *("/etc/passwd", "../../../etc/passwd", "C:\\Windows\\win.ini", "\\\\server\\share\\x", "~/secret"),
    *("file:///etc/passwd", "http://127.0.0.1:1/x.safetensors", "/dev/zero", "/proc/self/environ", "/dev/stdin"),
    *("a" * 300, "a/" * 2000 + "b", "CON", "x.safetensors/", "./.", "$HOME/x", "`touch canary`", "; touch canary"),
)
FOLDERS = ("/", "..", ".", "../..", "/tmp")


def put(raw: Any, key: str, value: object) -> None:
    """Set what a dotted key names."""
    *way, last = key.split(".")
    for step in way:
        raw = raw[int(step)] if step.isdecimal() else raw[step]
    raw[int(last) if last.isdecimal() else last] = value


def _with(key: str, value: object) -> Case:
    return Case("", lambda folder: change_recipe(folder, lambda raw: put(raw, key, value)))


def wrong_types() -> Iterator[Case]:
    """Yield every key with values of every wrong type."""
    odd = {
        **{key: NO_TEXT | {"half a line": "a\x00b"} for key in TEXT_KEYS},
        **{key: {k: v for k, v in NO_TEXT.items() if k not in ("nothing", "no text")} for key in MAY_BE_EMPTY},
        **{key: {**NEVER, "a word": "many", "nothing": None, "a list of numbers": [1, 2]} for key in NUMBER_KEYS},
        **{key: {**NO_TEXT, "a word": "x", "a huge number": 1 << 99} for key in STRUCTURES},
        "dtype": {**NO_TEXT, "a word": "float8", "another": "F32"},
        "models.0.head.classes": {**NO_TEXT, "numbers": [1, 2], "nothing inside": [""]},
        "models.0.head.templates": {**NO_TEXT, "numbers": [1, 2]},
        "seed": {**NEVER, "a fraction": 1.5, "negative": -1, "2^63": 1 << 63, "a word": "7", "2^14000": 1 << 14000},
    }
    for key, values in odd.items():
        for kind, value in values.items():
            if fits(key, kind):
                continue

            def spoil(folder: Path, key: str = key, value: object = value) -> None:
                raw = raw_recipe()
                if ".head." in key:
                    raw["models"][0]["head"] = {"classes": ["a", "b"], "templates": ["{}"]}
                put(raw, key, value)
                write_recipe(folder, raw)

            yield Case(f"{key} is {kind}", spoil)
    for key in ("merge_method", "arch", "base_model", "models"):
        yield Case(f"{key} is missing", lambda folder, key=key: change_recipe(folder, lambda raw: raw.pop(key)))
    for key in ("name", "path"):
        change = lambda raw, key=key: raw["models"][0].pop(key)  # noqa: E731
        yield Case(f"models.0.{key} is missing", lambda folder, change=change: change_recipe(folder, change))


def fits(key: str, kind: str) -> bool:
    """Say whether an odd value is a right one under this key."""
    empty = {"parameters": ("an empty mapping", "nothing")}
    return kind in empty.get(key, ())


def strange_keys() -> Iterator[Case]:
    """Yield unknown keys in every mapping."""
    for place in ("", "base_model", "models.0", "parameters", "models.0.head"):
        for kind, key in {
            "a word": "exec",
            "a number": 7,
            "a huge number": 1 << 14_000,
            "null": None,
            **ESCAPES,
        }.items():

            def spoil(folder: Path, place: str = place, key: object = key) -> None:
                raw: Any = raw_recipe()
                raw["models"][0]["head"] = {"classes": ["a", "b"], "templates": ["{}"]}
                where = raw
                for step in filter(None, place.split(".")):
                    where = where[int(step)] if step.isdecimal() else where[step]
                where[key] = 1
                write_recipe(folder, raw)

            yield Case(f"{place or 'the top'} has a key that is {kind}", spoil)
    many = {f"key{at}": 1 for at in range(5000)}
    yield Case("5000 unknown keys", lambda folder: change_recipe(folder, lambda raw: raw.update(many)))


def paths() -> Iterator[Case]:
    """Yield paths that lead elsewhere, or nowhere."""
    for key in PATH_KEYS:
        for path in OUTSIDE:
            yield Case(f"{key} is {path[:40]!r}", _with(key, path).spoil)
    for key in ("base_model.path", "models.0.path"):
        for path in FOLDERS:
            yield Case(f"{key} is {path!r}", _with(key, path).spoil)
    for kind, name in ESCAPES.items():
        yield Case(f"a path with {kind}", _with("models.0.path", f"{name}.safetensors").spoil)
        yield Case(f"a task's name with {kind}", _with("models.0.name", name).spoil)
        yield Case(f"a method's name with {kind}", _with("merge_method", name).spoil)
        yield Case(f"an arch's name with {kind}", _with("arch", name).spoil)
    for name in ("a/b", "a\\b", "a|b", "x" * 81, "../up", "\u202a\u202e", "\ufeff"):
        yield Case(f"a task named {name[:10]!r}", _with("models.0.name", name).spoil)
    for key in ("merge_method", "arch", "models.0.name", "models.0.path", "dtype"):
        yield Case(f"{key} of 3000 letters", _with(key, "x" * 3000).spoil)


def outside() -> Iterator[Case]:
    """Yield folders of images that lie outside of what was uploaded."""
    for key in ("models.0.proxies", "models.0.validation", "models.0.head"):
        for path in FOLDERS:
            if path != ".":
                yield Case(f"{key} is {path!r}", _with(key, path).spoil)


VISION: dict[str, list[Any]] = {
    "layers": [0, -1, 10**6, 10**18, 1.5, "2", None, [1, 1, 1, 1], [10**6] * 4, True],
    "width": [0, -16, 17, 10**12, "16", None, [16]],
    "head_width": [0, -8, 3, 10**9, None, "8"],
    "patch_size": [0, -8, 10**9, "8", None, [8]],
    "image_size": [0, -16, 1, 10**9, "16", None, [16, 8], [16, 16, 16], []],
    "mlp_ratio": [0, -4, float("nan"), 1e12, "4", None],
    "timm_model_name": ["vit_base_patch16_224", "hf-hub:someone/else", "local-dir:/etc"],
    "pool_type": ["eval", 7, None],
    "pos_embed_type": ["eval", 7],
    "attentional_pool": [True, "parallel"],
    "norm_kwargs": [{"eps": "x"}, {"device": "cuda:99"}, [1]],
    "act_kwargs": [{"inplace": 1}, [1]],
    "__class__": [1],
    "unknown": [1],
}


def architectures() -> Iterator[Case]:
    """Yield configs that no tower has, some of which would be built for hours."""
    for key, values in VISION.items():
        for value in values:
            yield Case(f"vision_cfg.{key} is {value!r:.40}", _with(f"arch.vision_cfg.{key}", value).spoil)
    for value in (0, -1, 10**30, "8", None, [8], 7.5):
        yield Case(f"embed_dim is {value!r}", _with("arch.embed_dim", value).spoil)
    for name in ("RN50", "coca_ViT-B-32", "hf-hub:laion/x", "roberta-ViT-B-32", "local-dir:.", "ViT-B-32", "{}", "{"):
        yield Case(f"arch is {name}", _with("arch", name).spoil)


def _text(text: str | bytes) -> Case:
    data = text if isinstance(text, bytes) else text.encode()
    return Case("", lambda folder: (folder / "recipe.yaml").write_bytes(data))


def yaml_texts() -> dict[str, str | bytes]:
    """Return texts that are no recipe, or more than one."""
    whole = json.dumps(raw_recipe())
    laughs = "a0: &a0 [ha, ha]\n" + "".join(f"a{at}: &a{at} [*a{at - 1}, *a{at - 1}]\n" for at in range(1, 40))
    tags = (
        *("python/object/apply:os.system", "python/object:subprocess.Popen", "python/object/new:os.system"),
        *("python/name:os.system", "python/module:os", "python/tuple", "python/bytes", "timestamp", "int", "binary"),
        *("omap", "pairs", "set", "float", "map", "seq"),
    )
    return {
        "billion laughs": laughs,
        "an anchor that holds itself": "a: &a [*a]",
        "a merge of an alias": "base: &b {x: 1}\nmodels: {<<: *b}",
        **{f"!!{tag}": f"merge_method: !!{tag} ['touch {CANARY}']\n" for tag in tags},
        **{f"a mapping under !!{tag}": f"models: !!{tag} {{args: ['touch {CANARY}']}}\n" for tag in tags[:6]},
        "a local tag": "merge_method: !include /etc/passwd",
        "a verbatim tag": "merge_method: !<tag:yaml.org,2002:python/object/apply:os.system> ['x']",
        "a key given twice": whole[:-1] + ', "seed": 1, "seed": 2}',
        "a key given twice, once by a merge": "<<: {seed: 1}\n" + whole,
        "a key that is a list": "? [a, b]\n: 1",
        "a key that is a mapping": "{a: 1}: 2",
        "lists in lists": "[" * 5000,
        "mappings in mappings": "{a: " * 5000,
        "closed lists in lists": "[" * 900 + "]" * 900,
        "keys in keys": "? " * 5000,
        "a number of 200,000 digits": "seed: " + "9" * 200_000,
        "a number of 100,000 hexadecimal digits": "seed: 0x" + "f" * 100_000,
        "a number of 100,000 parts": "seed: " + "1:" * 100_000 + "1",
        "a number of 2000 parts": whole[:-1] + ', "seed": ' + "1:" * 2000 + "1}",
        "a key of 5000 hexadecimal digits": "0x" + "f" * 3900 + ": 1",
        "a fraction of 100,000 digits": "seed: 0." + "1" * 100_000,
        "100,000 flat items": "- a\n" * 60_000,
        "two documents": f"{whole}\n---\n{whole}",
        "a directive": "%YAML 9.9\n---\n" + whole,
        "tabs": "a:\n\t- b",
        "no text": "",
        "a comment": "# nothing",
        "a word": "hello",
        "a number": "7",
        "a date": "2026-99-99",
        "control characters": b"a: \x07\x1b[31m",
        "a NUL": b"a: \x00",
        "not UTF-8": b"\xff\xfe\x00",
        "UTF-16": whole.encode("utf-16"),
        "half a character": b"a: \xed\xa0\x80",
        "an escaped half of a character": 'merge_method: "\\ud800"',
        "a wrong escape": 'a: "\\q"',
        "junk": bytes(range(128, 256)) * 20,
        "a zip": b"PK\x03\x04" + bytes(100),
        "a pickle": b"\x80\x04\x95" + bytes(50),
        "a program": b"#!/bin/sh\ntouch canary\n",
        "HTML": "<!doctype html><title>404</title>",
        "a page too many": "#" * (LARGEST_RECIPE + 1),
        "a template that is code": 'merge_method: "{{ 7 * 7 }}"',
        "open quotes": 'a: "' + "x" * 3000,
        "a block of 4097": "merge_method: |\n  " + "x" * 4097,
    }


def texts() -> Iterator[Case]:
    """Yield texts in the recipe's place."""
    for name, text in yaml_texts().items():
        yield Case(f"YAML: {name}", _text(text).spoil)


def knobs() -> Iterator[Case]:
    """Yield every knob of every method outside of what it allows, made from its own declaration."""
    for name, method in METHODS.items():
        for knob, declared in method.knobs.items():
            odd: list[object] = [True, None, [1], {"a": 1}, "nan", "inf", "-inf", "1e999", "", "0x10", "ones", ".nan"]
            odd += [float("nan"), float("inf"), -float("inf"), 1e308, -1e308, 1 << 2000, "9" * 400, "\x1b[31m"]
            if declared.range is not None:
                least, most, step = declared.range
                odd += [least - step, most + step, -most - 1, most * 1e9 + 1]
                odd += [least + 0.5] if declared.whole else []
            for value in odd:

                def change(raw: dict[str, Any], name: str = name, knob: str = knob, value: object = value) -> None:
                    raw.update(merge_method=name, parameters={knob: value})

                yield Case(
                    f"{name}.{knob} = {value!r:.30}", lambda folder, change=change: change_recipe(folder, change)
                )
        for stranger in ("alfa", "__class__", "Alpha", "alpha ", "updates", "memo"):
            change = lambda raw, name=name, stranger=stranger: raw.update(  # noqa: E731
                merge_method=name, parameters={stranger: 1}
            )
            yield Case(f"{name} knows no {stranger!r}", lambda folder, change=change: change_recipe(folder, change))
        for other in ("keep", "mask_scale", "off_diagonal", "expert_rank"):
            if other not in method.knobs:
                change = lambda raw, name=name, other=other: raw.update(  # noqa: E731
                    merge_method=name, parameters={other: 0.3}
                )
                yield Case(f"{name} knows no {other!r}", lambda folder, change=change: change_recipe(folder, change))
    weights = {"NaN": "nan", "Inf": "inf", "minus Inf": "-inf", "a word": "one", "a list": [1], "too large": "1e999"}
    for kind, weight in weights.items():
        yield Case(f"a task's weight is {kind}", _with("models.0.weight", weight).spoil)
    twice = lambda raw: raw["models"].append(raw["models"][0])  # noqa: E731
    yield Case("two tasks of one name", lambda folder: change_recipe(folder, twice))


assert tiny.TASKS  # the project that these recipes are about
