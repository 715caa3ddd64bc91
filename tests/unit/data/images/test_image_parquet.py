"""Parquet as Hugging Face writes it: images by row, labels by number, name or word, read as far as asked for."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from esm_viz.core.errors import ImagesError
from esm_viz.data.images import image_parquet as module
from esm_viz.data.images.image_source import Classes, open_images
from tests.support.errors import says
from tests.support.pictures import folder_of, picture
from tests.support.tiny import SIDE

COUNT = 25
LABELS = [at % 3 for at in range(COUNT)]
NAMES = ("ant", "bee", "cat")


def named(column: str, names: tuple[str, ...]) -> dict[bytes, bytes]:
    """Return the metadata that Hugging Face's datasets write."""
    features = {column: {"names": list(names), "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def raw(at: int) -> bytes:
    return picture(at, (SIDE, SIDE + at % 2))


def write(path: Path, columns: dict[str, Any], names: tuple[str, ...] = (), **options: Any) -> Path:
    table = pa.table(columns)
    if names:
        table = table.replace_schema_metadata(named(next(n for n in columns if n != "image"), names))
    pq.write_table(table, path, row_group_size=10, **options)
    return path


def struct(files: list[bytes | None]) -> pa.Array:
    return pa.array([{"bytes": file, "path": f"{at}.png"} for at, file in enumerate(files)])


FILES = [raw(at) for at in range(COUNT)]


@pytest.mark.parametrize("column", ["image", "img", "img_bytes", "picture"])
def test_rows_come_as_the_same_files_from_a_folder(tmp_path: Path, column: str) -> None:
    kind = struct(FILES) if column == "image" else pa.array(FILES)
    found = open_images(write(tmp_path / "i.parquet", {column: kind, "label": LABELS}), SIDE, Classes(3))
    truth = open_images(folder_of(tmp_path / "i", {f"{at:02}.png": file for at, file in enumerate(FILES)}), SIDE)
    assert (found.count, found.labels.tolist()) == (COUNT, LABELS)
    for some in (range(COUNT), [3, 11, 24], [24, 0, 12, 12], [9, 10]):
        assert torch.equal(found.load(some), truth.load(some))


def test_only_the_row_groups_asked_for_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = open_images(write(tmp_path / "i.parquet", {"image": struct(FILES), "label": LABELS}), SIDE)
    groups: list[int] = []
    plain = pq.ParquetFile.iter_batches

    def watched(self: pq.ParquetFile, size: int, some: list[int], **options: Any) -> Any:
        assert size == module.BATCH
        groups.extend(some)
        return plain(self, size, some, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    listed.load([21, 22])
    assert groups == [2]
    listed.load([23])  # goes on where it stopped
    assert groups == [2]
    listed.load([1])
    assert groups == [2, 0]


def test_a_table_in_several_files_is_one_set(tmp_path: Path) -> None:
    folder = tmp_path / "i"
    folder.mkdir()
    for part, some in enumerate((slice(0, 12), slice(12, COUNT))):
        columns = {"image": struct(FILES[some]), "label": LABELS[some]}
        write(folder / f"test-{part:05}-of-00002.parquet", columns, NAMES)
    found = open_images(folder, SIDE, Classes(3, ("cat", "bee", "ant")))
    assert found.labels.tolist() == [2 - label for label in LABELS]
    assert torch.equal(found.load([11, 12]), open_images(folder, SIDE).load([11, 12]))
    write(folder / "train-00000-of-00001.parquet", {"image": struct(FILES), "label": LABELS})
    with says(ImagesError, "the folder holds tables of test and train, i, give one of them"):
        open_images(folder, SIDE)


def test_numbers_have_the_names_of_the_schema(tmp_path: Path) -> None:
    path = write(tmp_path / "i.parquet", {"image": struct(FILES), "fine_label": LABELS}, NAMES)
    found = open_images(path, SIDE, Classes(3))
    assert (found.labels.tolist(), found.classes) == (LABELS, NAMES)
    turned = open_images(path, SIDE, Classes(3, ("cat", "ant", "bee")))
    assert turned.labels.tolist() == [(1, 2, 0)[label] for label in LABELS]


def test_words_are_labels_too(tmp_path: Path) -> None:
    words = [NAMES[label] for label in LABELS]
    path = write(tmp_path / "i.parquet", {"image": struct(FILES), "label": words})
    assert open_images(path, SIDE, Classes(3, ("Cat", "Bee", "Ant"))).labels.tolist() == [2 - at for at in LABELS]


def test_a_category_is_read_by_its_values_and_not_by_its_codes(tmp_path: Path) -> None:
    words = pa.array([NAMES[label] for label in LABELS]).dictionary_encode()
    turned = pa.DictionaryArray.from_arrays(pa.array([2 - code for code in words.indices.to_pylist()]), NAMES[::-1])
    for kind in (words, turned):
        path = write(tmp_path / "i.parquet", {"image": struct(FILES), "label": kind})
        assert open_images(path, SIDE, Classes(3)).labels.tolist() == LABELS
    numbers = pa.DictionaryArray.from_arrays(pa.array(LABELS), pa.array([2, 1, 0]))
    path = write(tmp_path / "i.parquet", {"image": struct(FILES), "label": numbers})
    assert open_images(path, SIDE, Classes(3)).labels.tolist() == [2 - label for label in LABELS]


def test_words_are_those_of_all_parts(tmp_path: Path) -> None:
    """A table sorted by class has only some of the classes in each part."""
    folder = tmp_path / "i"
    folder.mkdir()
    for part, words in enumerate((["bee", "ant"], ["cat", "cat"])):
        write(folder / f"test-{part:05}-of-00002.parquet", {"image": struct(FILES[:2]), "label": words})
    found = open_images(folder, SIDE, Classes(3))
    assert (found.labels.tolist(), found.classes) == ([1, 0, 2, 2], NAMES)
    write(folder / "test-00001-of-00002.parquet", {"image": struct(FILES[:2]), "label": [0, 1]})
    with says(
        ImagesError, "labels are numbers in one part of the table and words in another, i, give one kind in all parts"
    ):
        open_images(folder, SIDE, Classes(3))


def test_parts_that_name_classes_differently_are_refused_where_the_head_has_no_names(tmp_path: Path) -> None:
    folder = tmp_path / "i"
    folder.mkdir()
    for part, names in enumerate((NAMES, NAMES[::-1])):
        write(folder / f"test-{part:05}-of-00002.parquet", {"image": struct(FILES[:3]), "label": [0, 1, 2]}, names)
    with says(
        ImagesError,
        "the parts of the table have different names for their classes, i, name the model's `classes` in the recipe",
    ):
        open_images(folder, SIDE, Classes(3))
    assert open_images(folder, SIDE, Classes(3, NAMES)).labels.tolist() == [0, 1, 2, 2, 1, 0]


def test_names_of_another_number_than_the_heads_rows_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "i.parquet", {"image": struct(FILES), "label": LABELS}, NAMES)
    for rows in (2, 5):
        text = (
            f"the table names 3 classes for a head of {rows} rows, i.parquet, "
            "give the head of these classes, or name its rows by the model's `classes` in the recipe"
        )
        with says(ImagesError, text):
            open_images(path, SIDE, Classes(rows))
    found = open_images(path, SIDE, Classes(5, ("dog", "cat", "emu", "bee", "ant")))
    assert found.labels.tolist() == [(4, 3, 1)[label] for label in LABELS]
    assert found.classes == ("dog", "cat", "emu", "bee", "ant")


def test_a_broken_row_is_left_out_by_its_number(tmp_path: Path) -> None:
    torn: list[bytes | None] = [*FILES[:4], FILES[4][:60], *FILES[5:]]
    listed = open_images(write(tmp_path / "i.parquet", {"image": struct(torn), "label": LABELS}), SIDE)
    assert listed.read(range(COUNT)).kept == tuple(at for at in range(COUNT) if at != 4)
    assert listed.told == "1 of 25 images cannot be read (row 4) and are left out"
    linked = open_images(write(tmp_path / "p.parquet", {"image": struct([*FILES[1:], None])}), SIDE)
    with says(ImagesError, "row 24 has no bytes, p.parquet, save the images themselves into the table"):
        linked.load([24])


LABELS_FROM = "labels go from {} to {} for 3 classes, i.parquet, give whole numbers from 0 that the head has rows for"
HUGE = 2**63  # one more than int64 holds
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no images": ({"x": [1]}, "the table has no column of image bytes, i.parquet, name it `image`"),
    "two of bytes": (
        {"a": pa.array([b"x"]), "b": pa.array([b"y"]), "label": [0]},
        "the table has 2 columns of bytes, i.parquet, name it `image`",
    ),
    "no rows": (
        {"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())},
        "there are 0 images, i.parquet, give 1 to 2000000",
    ),
    "no labels": (
        {"image": pa.array([b"x"])},
        "the table has no column `label`, i.parquet, name it one of label, labels, fine_label",
    ),
    "an empty label": (
        {"image": pa.array([b"x", b"y"]), "label": [0, None]},
        "`label` has 1 empty rows, i.parquet, give every image a label",
    ),
    "labels of another type": (
        {"image": pa.array([b"x"]), "label": [0.5]},
        "`label` holds double, i.parquet, give whole numbers, as int64, or give words",
    ),
    "labels that are true or false": (
        {"image": pa.array([b"x"]), "label": [True]},
        "`label` holds bool, i.parquet, give whole numbers, 0 for False and 1 for True, or give words",
    ),
    "labels in lists": (
        {"image": pa.array([b"x"]), "label": [[0, 1]]},
        "`label` holds list<element: int64>, i.parquet, give one whole number for each image, or give words",
    ),
    "labels beyond int64": (
        {"image": pa.array([b"x"]), "label": pa.array([HUGE], pa.uint64())},
        LABELS_FROM.format(HUGE, HUGE),
    ),
    "labels below zero": (
        {"image": pa.array([b"x"]), "label": [-1]},
        LABELS_FROM.format(-1, -1),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_table_is_refused_for(tmp_path: Path, case: str) -> None:
    columns, text = WRONG[case]
    write(tmp_path / "i.parquet", columns)
    with says(ImagesError, text):
        open_images(tmp_path / "i.parquet", SIDE, Classes(3))


def test_images_that_unpack_to_too_much_are_refused_from_the_footer(tmp_path: Path) -> None:
    path = write(
        tmp_path / "i.parquet", {"image": pa.array([bytes(3_000_000)])}, compression="zstd", use_dictionary=False
    )
    with pytest.raises(
        ImagesError, match=r"^row group 0 unpacks from \d+ to 30\d{5} bytes, i.parquet, give smaller ones$"
    ):
        open_images(path, SIDE)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_damaged_table_is_refused(tmp_path: Path, keep: int) -> None:
    whole = write(tmp_path / "w.parquet", {"image": struct(FILES), "label": LABELS}).read_bytes()
    (tmp_path / "i.parquet").write_bytes(whole[:keep])
    with says(ImagesError, "the parquet file cannot be read, i.parquet, save or download it again"):
        open_images(tmp_path / "i.parquet", SIDE, Classes(3))


def test_a_damaged_page_or_a_file_that_vanished_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "i.parquet", {"image": pa.array(FILES), "label": LABELS}, compression="gzip")
    listed, torn = open_images(path, SIDE), bytearray(path.read_bytes())
    torn[60:900] = bytes(840)
    path.write_bytes(torn)
    text = "an image cannot be read, i.parquet, check that the files are still there and whole"
    with says(ImagesError, text):
        listed.load([0])
    path.unlink()
    with says(ImagesError, text):
        listed.load([0])


def test_metadata_that_is_none_is_no_harm(tmp_path: Path) -> None:
    for told in (b"{", b"[]", json.dumps({"info": {"features": {"label": {"names": [1, 2]}}}}).encode()):
        table = pa.table({"image": pa.array(FILES), "label": LABELS}).replace_schema_metadata({b"huggingface": told})
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        (tmp_path / "i.parquet").write_bytes(buffer.getvalue())
        assert open_images(tmp_path / "i.parquet", SIDE, Classes(3)).classes == ()


@pytest.mark.parametrize("counted", [True, False], ids=["counted in the footer", "not counted"])
@pytest.mark.parametrize("labelled", [True, False])
def test_a_table_of_paths_without_bytes_is_refused(tmp_path: Path, counted: bool, labelled: bool) -> None:
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    columns = {"image": struct([None] * COUNT).cast(kind), "label": LABELS}
    path = write(tmp_path / "i.parquet", columns, write_statistics=counted)
    remedy = "save the images themselves into the table, or give their folder"
    text = f"the column `image` holds no image bytes, at most the images' paths, i.parquet, {remedy}"
    with says(ImagesError, text):
        open_images(path, SIDE, Classes(3) if labelled else None)


@pytest.mark.parametrize("counted", [True, False], ids=["counted in the footer", "not counted"])
def test_a_table_with_some_bytes_is_opened(tmp_path: Path, counted: bool) -> None:
    columns = {"image": struct([None] * 20 + FILES[20:]), "label": LABELS}
    path = write(tmp_path / "i.parquet", columns, write_statistics=counted)
    assert open_images(path, SIDE, Classes(3)).count == COUNT
