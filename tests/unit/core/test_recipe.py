"""Recipes in and out: round trips, an identity that names contents, and every refusal word for word."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from esm_viz import load_recipe
from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import (
    DTYPES,
    LARGEST_RECIPE,
    LARGEST_SEED,
    HeadWords,
    ModelEntry,
    Recipe,
    canonical,
    load_text,
    parse_mapping,
    parse_text,
    sha256_text,
)
from esm_viz.merge import METHODS, settle, with_method, with_parameters
from tests.support.errors import says
from tests.support.tiny import mapping

HERE = Path()
TOP = "merge_method, arch, base_model, models, parameters, dtype, seed"
MODEL = "name, path, sha256, weight, proxies, head, classes, validation, test"

printable = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), min_size=1, max_size=12)
names = st.text(st.characters(exclude_characters="/\\|").filter(str.isprintable), min_size=1, max_size=12)
digests = st.one_of(st.just(""), st.text("0123456789abcdef", min_size=64, max_size=64))
paths = st.one_of(st.just(""), printable)
numbers = st.floats(allow_nan=False, allow_infinity=False)
words = st.lists(printable, min_size=1, max_size=3).map(tuple)
heads = st.one_of(paths, st.builds(HeadWords, words, words))
entries = st.builds(
    ModelEntry, names, printable, digests, numbers, paths, heads, paths, paths, st.one_of(st.just(()), words)
)
configs = st.fixed_dictionaries(
    {"embed_dim": st.integers(1, 99), "vision_cfg": st.dictionaries(names, st.one_of(numbers, st.booleans(), names))}
)
archs = st.one_of(
    printable.filter(lambda text: not text.startswith("{")),
    configs.map(lambda config: json.dumps(config, sort_keys=True, separators=(",", ":"))),
)
recipes = st.builds(
    Recipe,
    method=printable,
    arch=archs,
    base=printable,
    models=st.lists(entries, min_size=1, max_size=3, unique_by=lambda entry: entry.name).map(tuple),
    parameters=st.dictionaries(names, st.one_of(numbers, st.integers(), printable), max_size=3).map(MappingProxyType),
    base_sha256=digests,
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, LARGEST_SEED),
)


ODD = Recipe("esm", "ViT-B-32", "a\x85b", (ModelEntry("ü", "a\u2028b\n c"),), MappingProxyType({"alpha": "search"}))


@given(recipes)
@example(ODD)
@settings(max_examples=50)
def test_a_recipe_survives_its_own_yaml(recipe: Recipe) -> None:
    assert parse_text(recipe.to_yaml(), recipe.folder) == recipe


@given(recipes)
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    assert parse_mapping(json.loads(json.dumps(recipe.as_mapping())), recipe.folder) == recipe


def shuffled(value: Any) -> Any:
    """Return the same mapping with every key order turned round."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(list(value))}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


def digests_of(recipe: Recipe) -> dict[str, str]:
    """Return made-up digests that depend on a file's name and not on its folder."""
    files = [recipe.base, *(path for model in recipe.models for path in (model.path, model.proxies) if path)]
    return {path: sha256_text(Path(path).name) for path in files}


def identity(raw: dict[str, Any], folder: Path = HERE) -> str:
    recipe = settle(parse_mapping(raw, folder))
    return canonical(recipe, digests_of(recipe))


def test_identity_does_not_depend_on_key_order() -> None:
    raw = mapping(gain=1.5, alpha=0.5)
    assert identity(shuffled(raw)) == identity(raw)


def test_identity_does_not_depend_on_where_files_lie() -> None:
    moved = mapping()
    moved["base_model"]["path"] = "elsewhere/base.safetensors"
    for model in moved["models"]:
        model["path"], model["proxies"] = f"a/{model['path']}", f"../b/{model['proxies']}"
    assert identity(moved, Path("other")) == identity(mapping())


def test_identity_does_not_depend_on_heads_and_labelled_images() -> None:
    bare = mapping()
    for model in bare["models"]:
        del model["head"], model["validation"], model["test"]
    assert identity(bare) == identity(mapping())


def test_a_default_written_out_has_the_identity_of_the_one_left_out() -> None:
    assert identity(mapping(gain=2, alpha=1)) == identity(mapping())


def test_a_whole_number_has_the_identity_of_the_same_fraction() -> None:
    whole, fraction = (parse_mapping(mapping(gain=gain), HERE) for gain in (2, 2.0))
    assert canonical(whole, digests_of(whole)) == canonical(fraction, digests_of(fraction))


CHANGES: dict[str, Any] = {
    "method": lambda raw: raw.update(merge_method="tsv_m"),
    "parameter": lambda raw: raw.update(parameters={"gain": 1.9}),
    "alpha": lambda raw: raw.update(parameters={"alpha": 0.99}),
    "seed": lambda raw: raw.update(seed=1),
    "dtype": lambda raw: raw.update(dtype="float16"),
    "activation": lambda raw: raw["arch"].update(quick_gelu=False),
    "weight": lambda raw: raw["models"][0].update(weight=0.5),
    "base": lambda raw: raw["base_model"].update(path="other.safetensors"),
    "model": lambda raw: raw["models"][0].update(path="other.safetensors"),
    "proxies": lambda raw: raw["models"][0].update(proxies="other.safetensors"),
    "name": lambda raw: raw["models"][0].update(name="other"),
    "order": lambda raw: raw["models"].reverse(),
    "one model less": lambda raw: raw["models"].pop(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_identity_depends_on(change: str) -> None:
    raw = mapping()
    CHANGES[change](raw)
    assert identity(raw) != identity(mapping())


def test_identity_is_compact_sorted_json_without_paths() -> None:
    text = identity(mapping())
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert "safetensors" not in text


def test_the_hash_is_the_sha256_of_the_text() -> None:
    # the NIST example for SHA-256
    assert sha256_text("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_digest_may_be_in_capitals_as_windows_writes_it() -> None:
    raw = {**mapping(), "base_model": {"path": "b", "sha256": "AB" * 32}}
    assert parse_mapping(raw, HERE).base_sha256 == "ab" * 32


@pytest.mark.parametrize("word", ["no", "2024-01-05", "7", "1e3"])
def test_a_name_that_yaml_reads_as_something_else_is_refused_or_kept(word: str) -> None:
    text = yaml.safe_dump({**mapping(), "models": [{"name": "NAME", "path": "p"}]})
    assert parse_text(text.replace("NAME", f"'{word}'"), HERE).tasks == (word,)
    read = yaml.safe_load(word)
    if read == word:
        assert parse_text(text.replace("NAME", word), HERE).tasks == (word,)
        return
    with says(RecipeError, f"models[0]: name is {read!r}, recipe, give a non-empty text, in quotes"):
        parse_text(text.replace("NAME", word), HERE)


def broken(**changes: object) -> dict[str, Any]:
    return {**mapping(), **changes}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping().items() if name != key}


def with_model(**changes: object) -> dict[str, Any]:
    return broken(models=[{"name": "ants", "path": "ants.safetensors", **changes}])


ARCHS = "an open_clip model name, a config with embed_dim and vision_cfg, or one with library: timm or transformers"
REFUSED: dict[str, tuple[object, str]] = {
    "no mapping": ([1], "the recipe is [1], recipe, give a mapping of keys to values"),
    "empty": (None, "the recipe is None, recipe, give a mapping of keys to values"),
    "unknown key": (broken(modells=1, about=2), f"the recipe has unknown keys about, modells, recipe, use {TOP}"),
    "no method": (without("merge_method"), "merge_method is missing, recipe, add merge_method"),
    "no arch": (without("arch"), "arch is missing, recipe, add arch"),
    "no base": (without("base_model"), "base_model is missing, recipe, add base_model"),
    "no models": (without("models"), "models is missing, recipe, add models"),
    "method a number": (broken(merge_method=3), "merge_method is 3, recipe, give a non-empty text, in quotes"),
    "base a path": (broken(base_model="b"), "base_model is 'b', recipe, give a mapping of keys to values"),
    "base unknown key": (
        broken(base_model={"file": "b"}),
        "base_model has unknown keys file, recipe, use path, sha256",
    ),
    "base without path": (broken(base_model={}), "base_model: path is missing, recipe, add path"),
    "base path empty": (broken(base_model={"path": ""}), "base_model: path is '', recipe, give a non-empty text"),
    "path with NUL": (
        broken(base_model={"path": "a\x00b"}),
        r"base_model: path is 'a\x00b', recipe, give a non-empty text",
    ),
    "base digest": (
        broken(base_model={"path": "b", "sha256": "G" * 64}),
        f"base_model: sha256 is '{'G' * 56}..., recipe, give 64 hexadecimal digits",
    ),
    "models empty": (broken(models=[]), "models is [], recipe, give a list with at least one model"),
    "models a mapping": (broken(models={"a": 1}), "models is {'a': 1}, recipe, give a list with at least one model"),
    "a model no mapping": (broken(models=["a"]), "models[0] is 'a', recipe, give a mapping of keys to values"),
    "a model's unknown key": (with_model(wieght=1), f"models[0] has unknown keys wieght, recipe, use {MODEL}"),
    "a model without name": (broken(models=[{"path": "a"}]), "models[0]: name is missing, recipe, add name"),
    "a model without path": (broken(models=[{"name": "a"}]), "model a: path is missing, recipe, add path"),
    "a name with a slash": (
        broken(models=[{"name": "a/b", "path": "a"}]),
        "models[0]: name is 'a/b', recipe, give 1 to 80 characters without / \\ | or line breaks",
    ),
    "a long name": (
        broken(models=[{"name": "a" * 81, "path": "a"}]),
        f"models[0]: name is '{'a' * 56}..., recipe, give 1 to 80 characters without / \\ | or line breaks",
    ),
    "two of a name": (
        broken(models=[{"name": "a", "path": "1"}, {"name": "a", "path": "2"}]),
        "two models are named 'a', recipe, give each model its own name",
    ),
    "weight true": (with_model(weight=True), "model ants: weight is True, recipe, give a finite number"),
    "weight a word": (with_model(weight="much"), "model ants: weight is 'much', recipe, give a finite number"),
    "weight NaN": (with_model(weight=float("nan")), "model ants: weight is nan, recipe, give a finite number"),
    "weight inf": (with_model(weight=float("-inf")), "model ants: weight is -inf, recipe, give a finite number"),
    "weight beyond floats": (
        with_model(weight=10**400),
        f"model ants: weight is 1{'0' * 56}..., recipe, give a finite number",
    ),
    "proxies a list": (with_model(proxies=["a"]), "model ants: proxies is ['a'], recipe, give a non-empty text"),
    "head a number": (with_model(head=5), "model ants: head is 5, recipe, give a non-empty text, in quotes"),
    "head unknown key": (
        with_model(head={"labels": []}),
        "model ants: head has unknown keys labels, recipe, use classes, templates",
    ),
    "head without templates": (
        with_model(head={"classes": ["a"]}),
        "model ants: head: templates is missing, recipe, add templates",
    ),
    "head without a class": (
        with_model(head={"classes": [], "templates": ["{}"]}),
        "model ants: head: classes is [], recipe, give a list of words",
    ),
    "head with a number": (
        with_model(head={"classes": [1], "templates": ["{}"]}),
        "model ants: head: classes is [1], recipe, give a list of words, in quotes",
    ),
    "dtype": (broken(dtype="int8"), "dtype is 'int8', recipe, give one of float32, float16, bfloat16, float64"),
    "dtype a list": (broken(dtype=[]), "dtype is [], recipe, give one of float32, float16, bfloat16, float64"),
    "seed negative": (broken(seed=-1), "seed is -1, recipe, give a whole number from 0"),
    "seed a float": (broken(seed=1.0), "seed is 1.0, recipe, give a whole number from 0"),
    "seed true": (broken(seed=True), "seed is True, recipe, give a whole number from 0"),
    "seed too large": (broken(seed=2**63), "seed is 9223372036854775808, recipe, give a whole number from 0"),
    "parameters a list": (broken(parameters=[1]), "parameters is [1], recipe, give a mapping of names to numbers"),
    "parameter name": (broken(parameters={1: 2}), "parameters is 1, recipe, give a mapping with names as keys"),
    "parameter true": (
        broken(parameters={"gain": True}),
        "parameters: gain is True, recipe, give a number or a word",
    ),
    "parameter null": (
        broken(parameters={"gain": None}),
        "parameters: gain is None, recipe, give a number or a word",
    ),
    "arch a number": (broken(arch=3), "arch is 3, recipe, give a non-empty text, in quotes"),
    "arch without vision": (
        broken(arch={"embed_dim": 8}),
        f"arch is {{'embed_dim': 8}}, recipe, give {ARCHS}",
    ),
    "arch with NaN": (
        broken(arch={"embed_dim": 8, "vision_cfg": {"width": float("nan")}}),
        "arch holds something that is not plain data, recipe, give a config as its library writes it",
    ),
    "arch with a date": (
        broken(arch=yaml.safe_load("{embed_dim: 8, vision_cfg: {width: 2020-01-01}}")),
        "arch holds something that is not plain data, recipe, give a config as its library writes it",
    ),
    "arch as JSON in a text": (
        broken(arch="{bad"),
        f"arch is '{{bad', recipe, give {ARCHS}",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_recipe_is_refused_for(case: str) -> None:
    raw, text = REFUSED[case]
    with says(RecipeError, text):
        parse_mapping(raw, HERE)


UNKNOWN_TAG = "could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.system'"
SIXTIES = "1:30.5 would be read as 90.5, write 90.5 or '1:30.5'"
BAD_YAML = {
    "two values on a line": (
        "a: b: c",
        "the recipe is not valid YAML (mapping values are not allowed here), recipe, line 1, mend that line",
    ),
    "an unclosed list": (
        "a: 1\nb: [1",
        "the recipe is not valid YAML (expected ',' or ']', but got '<stream end>'), recipe, line 2, mend that line",
    ),
    "an alias": (
        "a: &x 1\nb: *x",
        "the recipe is not valid YAML (aliases are not allowed), recipe, line 2, mend that line",
    ),
    "an object": (
        "a: !!python/object/apply:os.system [ls]",
        f"the recipe is not valid YAML ({UNKNOWN_TAG}), recipe, line 1, mend that line",
    ),
    "nesting without end": ("[" * 5000, "the recipe is not valid YAML (cannot be parsed), recipe, mend that line"),
    "a number without end": (
        "a: " + "1" * 5000,
        "the recipe is not valid YAML (a text of over 4096 characters), recipe, line 1, mend that line",
    ),
    "a key said twice": (
        "merge_method: esm\nseed: 1\nseed: 2",
        "the recipe is not valid YAML (seed is given twice), recipe, line 3, mend that line",
    ),
    "a number that YAML reads as octal": (
        "merge_method: esm\nseed: 010",
        "the recipe is not valid YAML (010 would be read as 8, write 10 or '010'), recipe, line 2, mend that line",
    ),
    "a negative number that YAML reads as octal": (
        "seed: -017",
        "the recipe is not valid YAML (-017 would be read as -15, write -17 or '-017'), recipe, line 1, mend that line",
    ),
    "a number that YAML reads in sixties": (
        "weight: 1:30",
        "the recipe is not valid YAML (1:30 would be read as 90, write 90 or '1:30'), recipe, line 1, mend that line",
    ),
    "a fraction that YAML reads in sixties": (
        "a: 1:30.5",
        f"the recipe is not valid YAML ({SIXTIES}), recipe, line 1, mend that line",
    ),
}


@pytest.mark.parametrize("case", BAD_YAML)
def test_yaml_is_refused_for(case: str) -> None:
    text, sentence = BAD_YAML[case]
    with says(RecipeError, sentence):
        parse_text(text, HERE)


def test_a_bomb_of_aliases_is_refused_before_it_grows() -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{at}: &a{at} [*a{at - 1}, *a{at - 1}]" for at in range(1, 60))]
    with says(RecipeError, "the recipe is not valid YAML (aliases are not allowed), recipe, line 2, mend that line"):
        parse_text("\n".join(lines), HERE)


def test_a_missing_file_is_told_by_name(tmp_path: Path) -> None:
    with says(RecipeError, "the recipe cannot be opened, no.yaml, check its path"):
        load_text(tmp_path / "no.yaml")


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with says(RecipeError, f"the recipe is no plain file, {tmp_path.name}, give the YAML text of a recipe"):
        load_text(tmp_path)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(LARGEST_RECIPE + 1)
    with says(RecipeError, "the recipe is larger than 262144 bytes, huge.yaml, give the YAML text of a recipe"):
        load_text(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bytes.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with says(RecipeError, "the recipe is not text in UTF-8, bytes.yaml, give a YAML file"):
        load_text(path)


def test_paths_start_at_the_recipes_own_folder(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(mapping()), encoding="utf-8")
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.resolve(recipe.base) == tmp_path / "base.safetensors"


def test_paths_are_all_that_the_recipe_names(tmp_path: Path) -> None:
    raw = mapping()
    del raw["models"][1:]
    raw["models"][0]["head"] = {"classes": ["a"], "templates": ["{}"]}
    del raw["models"][0]["test"]
    found = parse_mapping(raw, tmp_path).paths
    assert found == ("base.safetensors", *(f"ants{what}.safetensors" for what in ("", "_proxies", "_validation")))


@pytest.mark.parametrize("folder", ["own", "other", "own/below", "."])
def test_a_recipe_seen_from_another_folder_names_the_same_files(tmp_path: Path, folder: str) -> None:
    raw = mapping()
    raw["models"][0]["path"] = str(tmp_path / "far" / "ants.safetensors")
    own = settle(parse_mapping(raw, tmp_path / "own"))
    moved = own.seen_from(tmp_path / folder)
    assert moved.replace(base=own.base, models=own.models, folder=own.folder) == own
    assert [moved.resolve(path).resolve() for path in moved.paths] == [own.resolve(path) for path in own.paths]
    assert not [path for path in moved.paths if path.startswith("/")]
    assert settle(parse_mapping(yaml.safe_load(moved.to_yaml()), tmp_path / folder)) == moved


def test_a_weight_in_scientific_notation_is_a_number() -> None:
    # PyYAML reads 5e-1 as a word, people do not
    assert parse_mapping(with_model(weight="5e-1"), HERE).models[0].weight == 0.5


# What the recipe's method says about its parameters.

ESM = ", ".join(METHODS["esm"].knobs)
PARAMETERS: dict[str, tuple[dict[str, Any], str]] = {
    "too large": ({"rank_ratio": 1.5}, "rank_ratio is 1.5, give a number from 0.01 to 1"),
    "too small": ({"gain": -0.1}, "gain is -0.1, give a number from 0 to 4"),
    "NaN": ({"gain": float("nan")}, "gain is nan, give a number from 0 to 4"),
    "infinite": ({"alpha": float("inf")}, "alpha is inf, give a number from 0 to 3 or the word search"),
    "a word": ({"gain": "much"}, "gain is 'much', give a number from 0 to 4"),
    "NaN as a word": ({"gain": "nan"}, "gain is 'nan', give a number from 0 to 4"),
    "a wrong word": ({"alpha": "find"}, "alpha is 'find', give a number from 0 to 3 or the word search"),
    "search elsewhere": ({"gain": "search"}, "gain is 'search', give a number from 0 to 4"),
    "beyond floats": ({"gain": 10**310}, f"gain is 1{'0' * 56}..., give a number from 0 to 4"),
    "a wrong choice": ({"alpha_scope": "some"}, "alpha_scope is 'some', use all or essential"),
    "a number for a choice": ({"alpha_scope": 1}, "alpha_scope is 1, use all or essential"),
    "unknown": ({"colour": 1}, f"esm has no parameter 'colour', use {ESM}"),
    "misspelt": ({"rank_ration": 1}, f"esm has no parameter 'rank_ration' (did you mean rank_ratio?), use {ESM}"),
}


@pytest.mark.parametrize("case", PARAMETERS)
def test_a_parameter_is_refused_that_is(case: str) -> None:
    parameters, text = PARAMETERS[case]
    with says(RecipeError, text):
        settle(parse_mapping(mapping(**parameters), HERE))


def test_another_methods_parameter_is_refused() -> None:
    with says(RecipeError, "tsv_m has no parameter 'gain', use alpha"):
        settle(parse_mapping(mapping("tsv_m", gain=1.0), HERE))


def test_an_unknown_method_gets_the_nearest_one_suggested() -> None:
    text = f"merge_method is 'tsvm' (did you mean tsv_m?), use one of {', '.join(METHODS)}"
    with says(RecipeError, text):
        settle(parse_mapping(mapping("tsvm"), HERE))


def test_a_method_like_no_other_gets_no_suggestion() -> None:
    with says(RecipeError, f"merge_method is 'zzz', use one of {', '.join(METHODS)}"):
        settle(parse_mapping(mapping("zzz"), HERE))


def test_settling_writes_every_default_out() -> None:
    settled = settle(parse_mapping(mapping(gain=1), HERE))
    assert dict(settled.parameters) == {**METHODS["esm"].defaults, "gain": 1.0}


def test_settling_twice_changes_nothing() -> None:
    settled = settle(parse_mapping(mapping(gain="1.5", alpha="search"), HERE))
    assert settle(settled) == settled


def test_settled_numbers_are_floats_however_they_were_written() -> None:
    settled = settle(parse_mapping(mapping(gain="15e-1", task_exponent=1), HERE))
    assert settled.parameters["gain"] == 1.5
    assert type(settled.parameters["task_exponent"]) is float


def test_another_method_starts_at_its_own_defaults() -> None:
    changed = with_method(settle(parse_mapping(mapping(alpha=0.3), HERE)), "tsv_m")
    assert (changed.method, dict(changed.parameters)) == ("tsv_m", {"alpha": 1.0})


def test_changed_parameters_are_checked_like_written_ones() -> None:
    with says(RecipeError, "alpha is 7, give a number from 0 to 3 or the word search"):
        with_parameters(settle(parse_mapping(mapping(), HERE)), alpha=7)


def test_a_recipe_cannot_be_changed_in_place() -> None:
    recipe = settle(parse_mapping(mapping(), HERE))
    with pytest.raises(TypeError, match=re.escape("'mappingproxy' object does not support item assignment")):
        recipe.parameters["gain"] = 1.0  # type: ignore[index]


def test_paths_may_start_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    raw = mapping()
    raw["base_model"]["path"] = "~/models/base.safetensors"
    recipe = parse_mapping(raw, tmp_path / "own")
    assert recipe.resolve(recipe.base) == tmp_path / "home" / "models" / "base.safetensors"
    assert recipe.resolve("./~/x") == tmp_path / "own" / "~" / "x"
    assert recipe.seen_from(tmp_path / "own").base == "../home/models/base.safetensors"


def test_an_open_clip_name_may_have_a_slash() -> None:
    assert parse_mapping({**mapping(), "arch": "ViT-B/32"}, Path()).arch == "ViT-B-32"
    assert settle(parse_mapping({**mapping(), "arch": "ViT-B/32"}, Path())) == settle(
        parse_mapping({**mapping(), "arch": "ViT-B-32"}, Path())
    )
