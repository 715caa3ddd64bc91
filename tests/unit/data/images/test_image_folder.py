"""Which folders are the classes, which links are followed, and that what is left out is named and counted."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
import torch

from esm_viz.checkpoints.checkpoint import sha256_path
from esm_viz.core import folder_entries
from esm_viz.core.errors import ImagesError, RecipeError
from esm_viz.core.folder_entries import entries
from esm_viz.data.images.image_source import Classes, class_names, open_images
from esm_viz.ui.uploads.upload_unpack import contained
from tests.support.errors import says
from tests.support.pictures import folder_of, picture, zip_of
from tests.support.tiny import SIDE, recipe

PETS = Classes(2, ("cat", "dog"))


def made(tmp_path: Path, kind: str, files: dict[str, bytes]) -> Path:
    return folder_of(tmp_path / "i", files) if kind == "folder" else zip_of(tmp_path / "i.zip", files)


def pictures(*names: str) -> dict[str, bytes]:
    return {name: picture(at) for at, name in enumerate(names)}


# Folders inside class folders, and sets inside a set.

NESTED = pictures("cat/camera_a/0.png", "cat/camera_b/1.png", "dog/camera_a/2.png", "dog/3.png")


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("around", ["", "val/", "set/val/"])
def test_the_classes_are_the_folders_below_the_set(tmp_path: Path, kind: str, around: str) -> None:
    path = made(tmp_path, kind, {around + name: raw for name, raw in NESTED.items()})
    assert open_images(path, SIDE, PETS).labels.tolist() == [0, 0, 1, 1]
    assert class_names(path)[0] == ("cat", "dog")


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_without_names_folders_in_class_folders_are_refused_where_they_may_be_the_classes(
    tmp_path: Path, kind: str
) -> None:
    path = made(tmp_path, kind, pictures("cat/a/0.png", "cat/b/1.png", "dog/a/2.png", "dog/b/3.png"))
    text = (
        f"the class folders have folders in them (cat/a), and either may be the classes, {path.name}, "
        "keep one level of folders, or name the model's `classes` in the recipe"
    )
    with says(ImagesError, text):
        open_images(path, SIDE, Classes(2))


def test_without_names_folders_in_class_folders_are_no_classes_where_their_number_says_so(tmp_path: Path) -> None:
    path = made(tmp_path, "folder", pictures("cat/images/0.png", "dog/images/1.png"))
    assert open_images(path, SIDE, Classes(2)).labels.tolist() == [0, 1]


def test_the_innermost_folders_are_the_classes_where_the_heads_names_say_so(tmp_path: Path) -> None:
    path = made(tmp_path, "folder", pictures("c/cat/0.png", "d/dog/1.png"))  # as SUN397 sorts by first letter
    assert open_images(path, SIDE, PETS).labels.tolist() == [0, 1]
    assert class_names(path) == (("c", "d"), ("cat", "dog"))


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("classes", [PETS, Classes(2)])
@pytest.mark.parametrize("around", ["", "pets/"])
def test_sets_inside_a_set_are_refused(tmp_path: Path, kind: str, classes: Classes, around: str) -> None:
    names = ("test/cat/0.png", "test/dog/1.png", "Train/cat/2.png", "Train/dog/3.png")
    path = made(tmp_path, kind, pictures(*(around + name for name in names)))
    with says(ImagesError, f"it holds the sets Train and test, {path.name}, give one of them"):
        open_images(path, SIDE, classes)
    assert open_images(path, SIDE).count == 4  # as proxies, whose labels nobody reads


def test_classes_may_be_called_like_sets(tmp_path: Path) -> None:
    path = made(tmp_path, "folder", pictures("test/front/0.png", "train/front/1.png"))
    assert open_images(path, SIDE, Classes(2, ("train", "test"))).labels.tolist() == [1, 0]
    flat = made(tmp_path / "flat", "folder", pictures("test/0.png", "train/1.png"))
    assert open_images(flat, SIDE, Classes(2)).labels.tolist() == [0, 1]


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("around", ["", "val/"])
def test_stray_images_are_named_and_counted(tmp_path: Path, kind: str, around: str) -> None:
    files = pictures("cat/0.png", "dog/1.png", "x.png", "y.png")
    path = made(tmp_path, kind, {around + name: raw for name, raw in files.items()})
    text = f"{around}x.png and 1 other images are in no class folder, {path.name}, make one subfolder a class"
    with says(ImagesError, text):
        open_images(path, SIDE, PETS)


# What is left out.


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("around", ["", "val/"])
def test_empty_class_folders_are_named(tmp_path: Path, kind: str, around: str) -> None:
    path = made(tmp_path, kind, {around + name: raw for name, raw in pictures("cat/0.png", "dog/1.png").items()})
    if kind == "zip":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(f"{around}emu/", b"")
    else:
        (path / around / "emu").mkdir()
    listed = open_images(path, SIDE, PETS)
    assert (listed.labels.tolist(), listed.notes) == ([0, 1], ("1 class folder is empty (emu)",))
    text = (
        f"there are 2 class folders with images for a head of 3 rows, and emu without, {path.name}, "
        "give every class images, or name the model's `classes` in the recipe"
    )
    with says(ImagesError, text):
        open_images(path, SIDE, Classes(3))


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_other_files_are_named_and_counted_but_for_those_of_a_computer(tmp_path: Path, kind: str) -> None:
    others = ("cat/list.csv", "a.txt", "dog/b.txt", "c.json")
    junk = (".DS_Store", "cat/Thumbs.db", "__MACOSX/cat/._0.png", "desktop.ini")
    files = {**pictures("cat/0.PNG", "dog/1.png"), **dict.fromkeys((*others, *junk), b"x")}
    listed = open_images(made(tmp_path, kind, files), SIDE, PETS)
    assert listed.count == 2
    (note,) = listed.notes
    assert note.startswith("4 other files are left out (")
    assert note.endswith(" …)")


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("classes", [PETS, Classes(2)], ids=["with names", "without names"])
@pytest.mark.parametrize(
    "folder", ["@eaDir", "#recycle", "#snapshot", "@Recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"]
)
def test_pictures_that_a_storage_device_or_system_made_are_not_counted(
    tmp_path: Path, kind: str, classes: Classes, folder: str
) -> None:
    files = pictures("cat/0.png", "dog/1.png")
    junk = pictures(f"cat/{folder}/0.png/SYNOPHOTO_THUMB_M.jpg", f"{folder}/cat/0.png", f"dog/{folder}/9.png")
    listed = open_images(made(tmp_path, kind, files | junk), SIDE, classes)
    assert [listed.pictures.named(at) for at in range(listed.count)] == ["cat/0.png", "dog/1.png"]
    assert listed.notes == ()


# Zips of other tools.


def test_a_zip_with_backslashes_is_read(tmp_path: Path) -> None:
    files = {f"val\\{name}": raw for name, raw in pictures("cat\\0.png", "cat\\1.png", "dog\\2.png").items()}
    with zipfile.ZipFile(tmp_path / "i.zip", "w") as archive:
        for name, raw in files.items():
            info = zipfile.ZipInfo("x")
            info.filename = name  # as it is; the class itself would replace the separator of this system
            archive.writestr(info, raw)
    listed = open_images(tmp_path / "i.zip", SIDE, PETS)
    assert listed.labels.tolist() == [0, 0, 1]
    plain = open_images(folder_of(tmp_path / "i", pictures("cat/0.png", "cat/1.png", "dog/2.png")), SIDE)
    assert torch.equal(listed.load([0, 1, 2]), plain.load([0, 1, 2]))
    assert class_names(tmp_path / "i.zip") == (("cat", "dog"),)


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "i.zip", pictures("cat/0.png"))
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("dog")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "../elsewhere/dog")
    with says(ImagesError, "dog is a link, which a zip cannot follow, i.zip, pack the files themselves"):
        open_images(path, SIDE)


# Links in folders.


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """Return a folder whose class `dog` is a link to a folder beside it, and `cat/1.png` one to a file."""
    folder_of(tmp_path / "store", pictures("dog/2.png", "dog/3.png", "one.png"))
    place = folder_of(tmp_path / "i", pictures("cat/0.png"))
    (place / "dog").symlink_to(tmp_path / "store" / "dog")
    (place / "cat" / "1.png").symlink_to(Path("..") / ".." / "store" / "one.png")
    return place


def test_links_to_class_folders_and_images_are_followed(linked: Path) -> None:
    listed = open_images(linked, SIDE, PETS)
    assert (listed.labels.tolist(), listed.notes) == ([0, 0, 1, 1], ())
    assert len(listed.load(range(4))) == 4


def test_a_folders_digest_depends_on_what_its_links_lead_to(linked: Path, tmp_path: Path) -> None:
    before = sha256_path(linked)
    (tmp_path / "store" / "dog" / "3.png").write_bytes(picture(99))
    assert sha256_path(linked) != before


def test_links_that_lead_nowhere_or_in_a_circle_are_named(linked: Path) -> None:
    (linked / "cat" / "again").symlink_to(linked)
    (linked / "cat" / "gone.png").symlink_to(linked / "nothing")
    (linked / "ring").symlink_to(linked / "ring")
    listed = open_images(linked, SIDE, PETS)
    assert listed.count == 4
    assert listed.notes == ("3 links lead nowhere or in a circle (cat/again, cat/gone.png, ring)",)


def test_folders_that_link_to_each_other_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven folders with links to all the others are reached in 13,699 ways."""
    names = [str(at) for at in range(7)]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(picture(1))
    for name in names:
        for other in names:
            (tmp_path / name / f"to{other}").symlink_to(tmp_path / other)
    monkeypatch.setattr(folder_entries, "MOST_FOLDERS", 200)
    with says(ImagesError, f"the folder cannot be read, {tmp_path.name}, check its rights and its links"):
        open_images(tmp_path, SIDE)


def test_an_upload_or_an_allowed_folder_stays_contained_through_links_of_links(tmp_path: Path) -> None:
    """A link inside the folder leads to another place inside it, and a link from there leads out."""
    inside = tmp_path / "inside"
    folder_of(tmp_path / "outside", pictures("secret.png"))
    folder_of(inside, {**pictures("set/cat/0.png", "other/1.png"), "base.safetensors": b"", "ants.safetensors": b""})
    (inside / "set" / "dog").symlink_to(inside / "other")
    own = recipe(inside)
    own = own.replace(models=(type(own.models[0])("ants", "ants.safetensors", proxies="set"),))
    assert contained(own, inside, "the upload") is own
    (inside / "other" / "more").symlink_to(tmp_path / "outside")
    assert any(entry.name == "dog/more/secret.png" for entry in entries(inside / "set"))
    with says(RecipeError, "the recipe names 'set', outside the upload, use paths beside the recipe"):
        contained(own, inside, "the upload")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every folder")
def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "i", pictures("cat/0.png", "dog/1.png"))
    (place / "dog").chmod(0)
    try:
        with says(ImagesError, "the folder cannot be read, i, check its rights and its links"):
            open_images(place, SIDE, PETS)
    finally:
        (place / "dog").chmod(0o755)


@pytest.mark.parametrize("name", ["metadata.parquet", "metadata.csv", "metadata.jsonl", "Metadata.PARQUET"])
def test_a_table_about_the_images_hides_no_class_folder(tmp_path: Path, name: str) -> None:
    place = folder_of(tmp_path / "i", {"cat/a.png": picture(1), "dog/b.png": picture(2)})
    (place / name).write_bytes(b"file_name,label")
    found = open_images(place, SIDE, Classes(2))
    assert (found.classes, found.labels.tolist()) == (("cat", "dog"), [0, 1])
    assert found.notes == (f"1 other file is left out ({name})",)


@pytest.mark.parametrize("name", ["metadata.parquet", "metadata.csv"])
def test_labels_that_only_such_a_table_has_are_told(tmp_path: Path, name: str) -> None:
    place = folder_of(tmp_path / "i", {"a.png": picture(1), "b.png": picture(2)})
    (place / name).write_bytes(b"file_name,label")
    remedy = f"make one subfolder a class, labels in {name} are not read"
    with says(ImagesError, f"a.png and 1 other images are in no class folder, i, {remedy}"):
        open_images(place, SIDE, Classes(2))
    assert open_images(place, SIDE).count == 2
