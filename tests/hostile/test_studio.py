"""Faults and hostile files in the studio: the sentence is shown, the session goes on, the process too."""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from esm_viz.export import verified_export
from esm_viz.project.project import Project
from esm_viz.ui.page.studio_page import Studio
from esm_viz.ui.tabs.export.export_tab import proof
from tests.hostile.weights import ESCAPES
from tests.support import tiny
from tests.unit.ui.conftest import Page


@pytest.fixture(scope="module")
def offered(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of projects, each with one fault that only shows when it is worked with."""
    place = tmp_path_factory.mktemp("offered")
    for name in ("whole", "overflows", "loops", "pipes"):
        shutil.copytree(tiny_folder, place / name)
        (place / name / "recipe.yaml").write_text(yaml.safe_dump(tiny.mapping()), encoding="utf-8")
    held = load_file(place / "overflows" / "bees.safetensors")
    save_file(
        {**held, "conv1.weight": torch.full_like(held["conv1.weight"], 3e38)}, place / "overflows/bees.safetensors"
    )
    (place / "loops" / "bees.safetensors").unlink()
    (place / "loops" / "bees.safetensors").symlink_to("bees.safetensors")
    (place / "pipes" / "bees.safetensors").unlink()
    os.mkfifo(place / "pipes" / "bees.safetensors")
    return place


@pytest.fixture(scope="module")
def studio(tiny_folder: Path) -> Iterator[Studio]:
    project = Project.open(tiny.recipe(tiny_folder), device="cpu")
    project.prepare()
    made = Studio(project, "tiny", "cpu")
    yield made
    made.store.close()


@pytest.fixture
def page(studio: Studio, offered: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Page]:
    """Return a page whose handlers may log nothing above debug."""
    caplog.set_level(logging.INFO, "esm_viz")
    page = Page(studio)
    page.session.place = dataclasses.replace(studio.place, folder=offered)
    yield page
    page.session.stop()
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


def works(page: Page) -> bool:
    """Say whether a knob is still answered with numbers."""
    page.act("rail", do="knob", name="alpha", value=0.5)
    page.rest()
    return page.session.report is not None and page.session.recipe.parameters["alpha"] == 0.5


def choose(page: Page, name: str) -> None:
    page.act("source", do="source", value="folder")
    page.act("source", do="folder", value=name)
    page.rest()


def test_a_full_disk_is_told_beside_the_button_and_the_session_goes_on(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/secret/place")

    with monkeypatch.context() as patched:
        patched.setattr(verified_export, "write_tensors", full)
        page.act("form", do="export")
        page.rest()
    assert "the export cannot be written (No space left on device)" in page.session.errors["export"]
    html = proof(page.session)["html"]
    assert "No space left on device" in html
    assert "/secret/place" not in html
    assert works(page)
    page.act("form", do="export")
    page.rest()
    assert page.session.proof is not None


def test_numbers_that_overflow_are_told_in_the_project_that_has_them_and_the_old_one_stays(page: Page) -> None:
    before = page.session.project
    choose(page, "overflows")
    page.act("cost", do="decompose")
    page.rest()
    assert "bees: its proxies give NaN or Inf" in page.session.errors["load"]
    assert page.session.project is before
    assert works(page)


@pytest.mark.parametrize("name", ["loops", "pipes"])
def test_what_is_no_plain_file_is_refused_at_once(page: Page, name: str) -> None:
    choose(page, name)
    told = page.session.errors.get("load", "")
    refused = page.session.candidate.shown.refused if page.session.candidate else ()
    assert told or [model.name for model in refused] == ["bees"]
    assert "went wrong" not in told
    assert works(page)


def test_a_failure_that_nobody_foresaw_is_one_sentence_too(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_arguments: object, **_named: object) -> None:
        raise MemoryError("secret")

    with monkeypatch.context() as patched:
        patched.setattr(Project, "export", fails)
        page.act("form", do="export")
        page.rest()
    told = page.session.errors["export"]
    assert told.isprintable()
    assert "secret" not in told
    assert works(page)


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from([*ESCAPES.values()])
)
VALUES = VALUES | st.lists(VALUES, max_size=2) | st.dictionaries(st.text(max_size=5), VALUES, max_size=2)
PARTS = ("rail", "bar", "form", "source", "found", "cost", "map")
DOES = (
    "knob",
    "row",
    "leave",
    "take",
    "arch",
    "activation",
    "folder",
    "source",
    "layout",
    "dtype",
    "method",
    "preset",
    "",
)


@given(part=st.sampled_from(PARTS), do=st.sampled_from(DOES), name=VALUES, value=VALUES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_message_is_answered(page: Page, part: str, do: str, name: object, value: object) -> None:
    page.act(part, do=do, name=name, value=value)
    assert all("went wrong" not in said for said in page.session.errors.values())
