"""Which files of a repository a name needs."""

from __future__ import annotations

import pytest

from esm_viz.core.errors import HubError
from esm_viz.hub.hub_name import parse_dataset, parse_model
from esm_viz.hub.needed_files import NeededFiles, files_of_model, tables_of_split
from esm_viz.hub.repository_listing import Listing, RepositoryFile, SplitPattern

COMMIT = "0" * 40


def listing(*paths: str, splits: tuple[SplitPattern, ...] = ()) -> Listing:
    files = tuple(RepositoryFile(path, 10 + at) for at, path in enumerate(sorted(paths)))
    return Listing("me/some", "model", COMMIT, files, splits)


def paths(needed: NeededFiles | None) -> list[str]:
    assert needed is not None
    return [file.path for file in needed.files]


def test_safetensors_and_the_configs_beside_them_are_all_that_a_model_needs() -> None:
    whole = listing(
        *("model.safetensors", "pytorch_model.bin", "tf_model.h5", "config.json", "preprocessor_config.json"),
        *(
            "README.md",
            "modeling.py",
            "tokenizer.json",
            "training_args.bin",
            "processor_config.json",
            "onnx/model.onnx",
        ),
    )
    needed = files_of_model(parse_model("hf://me/some"), whole)
    assert paths(needed) == ["config.json", "preprocessor_config.json", "model.safetensors"]
    assert needed.weights == "model.safetensors"


def test_a_pickle_is_taken_where_nothing_else_is_there() -> None:
    whole = listing("pytorch_model.bin", "config.json", "optimizer.pt", "processor_config.json")
    needed = files_of_model(parse_model("hf://me/some"), whole)
    assert paths(needed) == ["config.json", "processor_config.json", "pytorch_model.bin"]


def test_an_adapter_comes_with_its_config() -> None:
    whole = listing("adapter_model.safetensors", "adapter_config.json", "README.md")
    assert paths(files_of_model(parse_model("hf://me/some"), whole)) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_a_list_of_shards_brings_its_shards_and_no_others() -> None:
    index = "model.safetensors.index.json"
    shards = [f"model-0000{at}-of-00002.safetensors" for at in (1, 2)]
    other = ["pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"]
    needed = files_of_model(parse_model("hf://me/some"), listing(index, *shards, *other, "config.json"))
    assert paths(needed) == ["config.json", index, *shards]
    assert needed.weights == index


def test_a_list_without_its_shards_is_refused() -> None:
    with pytest.raises(HubError, match=r"the shards that model.safetensors.index.json lists are missing"):
        files_of_model(parse_model("hf://me/some"), listing("model.safetensors.index.json", "config.json"))


def test_a_named_file_brings_the_configs_of_its_own_folder() -> None:
    whole = listing("model.safetensors", "config.json", "b/weights.safetensors", "b/config.json")
    needed = files_of_model(parse_model("hf://me/some/b/weights.safetensors"), whole)
    assert paths(needed) == ["b/config.json", "b/weights.safetensors"]


@pytest.mark.parametrize(
    ("name", "files", "wrong"),
    [
        ("hf://me/some", ["README.md", "tf_model.h5"], "the repository has no weights"),
        ("hf://me/some", ["a.safetensors", "b.safetensors"], "has 2 files of weights"),
        ("hf://me/some/c.safetensors", ["a.safetensors"], "has no file c.safetensors"),
        ("hf://me/some/run.py", ["run.py", "a.safetensors"], "run.py is no file of weights"),
    ],
)
def test_a_name_without_weights_is_refused(name: str, files: list[str], wrong: str) -> None:
    with pytest.raises(HubError, match=wrong):
        files_of_model(parse_model(name), listing(*files))


@pytest.mark.parametrize(
    ("name", "files", "found"),
    [
        (
            "hf://datasets/me/some/test",
            ["data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"],
            "default",
        ),
        ("hf://datasets/me/some/test", ["default/test/0000.parquet", "default/train/0000.parquet"], "default"),
        ("hf://datasets/me/some/test", ["only/test/0000.parquet"], "only"),
        ("hf://datasets/me/some/test", ["test/0000.parquet", "train/0000.parquet"], "default"),
        ("hf://datasets/me/some/test", ["test.parquet", "train.parquet"], "default"),
        ("hf://datasets/me/some:big/test", ["big/test-0-of-1.parquet", "small/test-0-of-1.parquet"], "big"),
    ],
)
def test_paths_say_the_configuration_and_split(name: str, files: list[str], found: str) -> None:
    needed = tables_of_split(parse_dataset(name), listing(*files, "README.md"))
    assert needed is not None
    assert needed.config == found
    assert paths(needed) == files[:1]


def test_a_card_says_it_before_the_paths_do() -> None:
    splits = (SplitPattern("plain", "train", "x/*.parquet"), SplitPattern("plain", "test", "y/held-*.parquet"))
    needed = tables_of_split(
        parse_dataset("hf://datasets/me/some/test"),
        listing("x/0.parquet", "y/held-1.parquet", "y/held-0.parquet", "y/no.parquet", splits=splits),
    )
    assert needed is not None
    assert (needed.config, paths(needed)) == ("plain", ["y/held-0.parquet", "y/held-1.parquet"])


def test_a_data_set_of_another_format_has_no_tables() -> None:
    assert tables_of_split(parse_dataset("hf://datasets/me/some/test"), listing("data.zip", "README.md")) is None


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("hf://datasets/me/some/test", "the data set has configurations, .*write :CONFIG before /test, one of a, b"),
        ("hf://datasets/me/some:c/test", "the data set has no configuration c"),
        ("hf://datasets/me/some:a/dev", "the data set has no split dev, .*give one of test, train"),
    ],
)
def test_a_configuration_or_split_that_is_not_there_is_refused_with_those_that_are(name: str, wrong: str) -> None:
    whole = listing("a/test/0000.parquet", "a/train/0000.parquet", "b/test/0000.parquet")
    with pytest.raises(HubError, match=wrong):
        tables_of_split(parse_dataset(name), whole)
