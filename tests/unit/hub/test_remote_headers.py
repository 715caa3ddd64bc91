"""Verdicts from headers: what is fetched for them, and that they are those of the whole files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from esm_viz.checkpoints.checkpoint import Checkpoint
from esm_viz.core.errors import HubError
from esm_viz.core.recipe import parse_text
from esm_viz.core.records import Judgement
from esm_viz.hub.byte_range import read_range
from esm_viz.hub.download_plan import plan_of
from esm_viz.hub.recipe_names import downloaded
from esm_viz.hub.remote_headers import header_file, judgeable
from esm_viz.inspection.file_judgement import judge
from esm_viz.inspection.recipe_file import arch_of
from tests.support import hub_models
from tests.support.loopback_hub import CONTENT, TOKEN, LoopbackHub, used_here

NAME = "hf://me/some"


def judged(folder: Path) -> Judgement:
    recipe = parse_text(hub_models.recipe_text(folder, images=False), folder, arch_of=arch_of)
    with judgeable(recipe) as (located, plan):
        return judge(located, unread=plan.unread)


def test_verdicts_from_headers_are_those_of_the_files(hub: LoopbackHub, tmp_path: Path) -> None:
    hub_models.put_models(hub, tmp_path)
    from_headers = judged(tmp_path)
    assert not [each for each in hub.requests(path="model.safetensors") if each.method == "GET" and not each.range]
    recipe = downloaded(parse_text(hub_models.recipe_text(tmp_path, images=False), tmp_path, arch_of=arch_of))
    whole = judge(recipe)
    assert [model.facts for model in from_headers.models] == [model.facts for model in whole.models]
    assert [model.verdict for model in from_headers.models] == [model.verdict for model in whole.models]
    assert from_headers.arch == whole.arch


def test_shards_and_torchs_own_files_are_judged_from_headers_too(hub: LoopbackHub, tmp_path: Path) -> None:
    hub_models.put_models(hub, tmp_path)
    hub.put(hub_models.BASE, hub_models.as_torch_zip(tmp_path / "base"))
    hub.put(f"{hub_models.PREFIX}bees", hub_models.shards(tmp_path / "bees"))
    from_headers = judged(tmp_path)
    assert [model.verdict.stance for model in from_headers.models] == ["ready"] * 3
    whole = judge(downloaded(parse_text(hub_models.recipe_text(tmp_path, images=False), tmp_path, arch_of=arch_of)))
    assert [model.facts for model in from_headers.models] == [model.facts for model in whole.models]


def test_of_a_large_torch_file_only_its_ends_are_read(hub: LoopbackHub, tmp_path: Path) -> None:
    tensors = {f"layer.{at}.weight": torch.full((300, 500), float(at)) for at in range(8)} | {"odd": torch.zeros(3)}
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    data = (tmp_path / "pytorch_model.bin").read_bytes()
    hub.put("me/some", {"pytorch_model.bin": data})
    (name,) = plan_of([NAME]).names
    found = Checkpoint("some", header_file(name, tmp_path / "headers"))
    truth = Checkpoint("some", tmp_path / "pytorch_model.bin")
    assert found.names == truth.names
    assert {each: found._source.tensors[each] for each in found.names} == {
        each: _moved(truth._source.tensors[each], found.path) for each in truth.names
    }
    assert hub.received < 300_000 < len(data)


def _moved(stored: object, path: Path) -> object:
    import dataclasses

    return dataclasses.replace(stored, path=path)  # type: ignore[type-var]


def test_a_pickle_that_is_no_zip_cannot_be_judged_from_a_distance(hub: LoopbackHub, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(9)}, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    hub.put("me/some", {"pytorch_model.bin": (tmp_path / "old.bin").read_bytes()})
    (name,) = plan_of([NAME]).names
    with pytest.raises(
        HubError, match=r"a pickle of an old form, .*download it first, or name a revision with safetens"
    ):
        header_file(name, tmp_path / "headers")


def test_eight_names_are_judged_under_two_megabytes(hub: LoopbackHub, tmp_path: Path) -> None:
    """With the headers of a ViT-B/32: 199 tensors, of a hundred bytes each, and a whole CLIP's twice that."""
    hub_models.put_models(hub, tmp_path)
    whole = hub.repositories[f"models/{hub_models.BASE}"].commits
    (base,) = whole.values()
    padding = {"padding": "x" * 80_000}
    big = {"format": "pt", **padding}
    for at in range(9):
        length = int.from_bytes(base["model.safetensors"][:8], "little")
        header = json.loads(base["model.safetensors"][8 : 8 + length])
        header["__metadata__"] = big
        written = json.dumps(header).encode()
        weights = len(written).to_bytes(8, "little") + written + base["model.safetensors"][8 + length :]
        hub.put(f"me/wide_{at}", {"config.json": base["config.json"], "model.safetensors": weights})
    models = "\n".join(f"- {{name: m{at}, path: 'hf://me/wide_{at}'}}" for at in range(8))
    text = f"merge_method: averaging\nbase_model: {{path: hf://me/wide_8}}\nmodels:\n{models}\n"
    hub.forget()
    recipe = parse_text(text, tmp_path, arch_of=arch_of)
    with judgeable(recipe) as (located, plan):
        found = judge(located, unread=plan.unread)
    assert [model.verdict.stance for model in found.models] == ["ready"] * 9
    assert 9 * 80_000 < hub.received < 2_000_000


def test_a_header_that_says_another_size_is_refused_as_in_a_file(hub: LoopbackHub, tmp_path: Path) -> None:
    hub_models.put_models(hub, tmp_path)
    weights = save({"a": torch.zeros(4)})
    hub.put(f"{hub_models.PREFIX}ants", {"model.safetensors": weights[:-4], "config.json": b"{}"})
    found = judged(tmp_path)
    assert found.models[1].verdict.stance == "refused"
    assert "not a whole safetensors file" in found.models[1].verdict.sentence


def test_a_hub_that_ignores_ranges_sends_no_whole_file(hub: LoopbackHub) -> None:
    hub.put("me/some", {"model.safetensors": b"abc" * 5_000_000})
    hub.ignores_ranges = True
    (name,) = plan_of([NAME]).names
    assert read_range(name, "model.safetensors", 0, 6) == b"abcabc"
    with pytest.raises(HubError, match="the hub sends whole files only"):
        read_range(name, "model.safetensors", 100, 6)


def test_a_range_is_asked_without_the_token_where_the_hub_redirects(tmp_path: Path) -> None:
    with LoopbackHub() as hub, used_here(hub, tmp_path, TOKEN):
        hub.put("me/some", {"model.safetensors": b"abc" * 50_000})
        (name,) = plan_of([NAME]).names
        assert read_range(name, "model.safetensors", 1, 3) == b"bca"
        assert {each.token for each in hub.requests(CONTENT)} == {""}
        assert {each.token for each in hub.requests("hub", "/me/some")} == {TOKEN}


def test_the_copies_of_headers_are_deleted(hub: LoopbackHub, tmp_path: Path) -> None:
    hub_models.put_models(hub, tmp_path)
    recipe = parse_text(hub_models.recipe_text(tmp_path, images=False), tmp_path, arch_of=arch_of)
    with judgeable(recipe) as (located, _):
        places = list(located.downloaded.values())
        assert all(place.is_file() for place in places)
    assert len(places) == 3
    assert not any(place.exists() for place in places)
