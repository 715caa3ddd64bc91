"""Export as a visitor meets it: a type chosen, the verdict, the files, and a report that opens without a network."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from esm_viz.checkpoints.atomic_write import sha256_tensors
from esm_viz.cli.command_line import main
from tests.e2e.conftest import sync_api
from tests.support.exports import metadata_of

Page = sync_api.Page
REST = "document.querySelector('.job')?.innerText.trim() === 'Up to date'"


@pytest.fixture
def files(page: Page, tmp_path: Path) -> Path:
    """Return the folder of an export in float16 with `visual.` names, downloaded as a visitor does."""
    page.set_default_timeout(180_000)
    page.keyboard.press("5")
    page.locator("#form [data-value=float16]").click()
    page.wait_for_selector("#form [data-value=float16][aria-checked=true]")
    page.locator("#form [data-value=clip]").click()
    page.wait_for_selector("#form [data-value=clip][aria-checked=true]")
    page.wait_for_function(REST)
    page.get_by_text("Write and check the model").click()
    page.wait_for_selector("text=The file is what you saw.")
    assert page.locator("#proof tbody tr").count() == page.locator("#proof .pill.good").count() > 10
    with page.expect_download() as caught:
        page.get_by_text("Download all, one zip").click()
    caught.value.save_as(tmp_path / "model.zip")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path / "esm_viz-model"


@pytest.fixture
def stranger(browser: sync_api.Browser) -> Iterator[Page]:
    """Return a page that has never been to the studio; nothing may be asked for but the file itself."""
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert errors == []
    page.close()


def command(*arguments: object) -> dict[str, Any]:
    """Run the command line in this process, which spares a busy machine two starts of torch."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert main([*map(str, arguments), "--device", "cpu", "--json"]) == 0
    return json.loads(out.getvalue())


def test_the_exported_recipe_makes_the_file_again_and_the_file_scores_as_it_says(
    files: Path, recipe: Path, tmp_path: Path
) -> None:
    opened = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    written = yaml.safe_load((files / "recipe.yaml").read_text(encoding="utf-8"))
    assert written["dtype"] == "float16"
    written["base_model"]["path"] = opened["base_model"]["path"]  # the download names no place of the server
    for mine, theirs in zip(written["models"], opened["models"], strict=True):
        mine |= {key: theirs[key] for key in ("path", "proxies", "head", "validation", "test")}
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    proof = command("merge", tmp_path / "again.yaml", "--out", tmp_path / "again", "--layout", "clip")
    first, second = (load_file(folder / "model.safetensors") for folder in (files, tmp_path / "again"))
    assert sha256_tensors(first) == sha256_tensors(second)
    assert {name.split(".")[0] for name in first} == {"visual"}
    metadata = metadata_of(files / "model.safetensors")
    assert metadata == metadata_of(tmp_path / "again" / "model.safetensors")
    assert proof["recipe_sha256"] == metadata["esm_viz.recipe_sha256"]
    # The file as a fine-tune of its own: what the card says of the merge is what it scores.
    alone = {**written, "merge_method": "averaging", "parameters": {}}
    alone["models"] = [
        {**model, "path": str(files / "model.safetensors"), "sha256": "", "name": f"{model['name']} again"}
        for model in written["models"]
    ]
    (tmp_path / "alone.yaml").write_text(yaml.safe_dump(alone), encoding="utf-8")
    scores = command("evaluate", tmp_path / "alone.yaml")
    card = (files / "README.md").read_text(encoding="utf-8")
    test = card[card.index("On the test images") :]
    for name, found in scores["tasks"].items():
        row = next(line for line in test.splitlines() if line.startswith(f"| {name.removesuffix(' again')} |"))
        assert f"| {100 * found['finetuned']['accuracy']:.1f} (" in row


def test_the_report_opens_from_disk_with_its_pictures_and_asks_nobody(files: Path, stranger: Page) -> None:
    stranger.emulate_media(color_scheme="dark")
    stranger.goto((files / "report.html").as_uri())
    assert stranger.evaluate("document.body.classList.contains('dark')")  # as the reader's own system
    count = stranger.locator("[data-picture]").count()
    assert count >= 9
    drawn = "document.querySelectorAll('[data-picture] .fig.js-plotly-plot').length"
    stranger.wait_for_function(f"{drawn} === {count}")
    assert stranger.evaluate("[...document.querySelectorAll('.fig .main-svg')].every((svg) => svg.clientHeight > 100)")
    assert stranger.evaluate("document.documentElement.scrollWidth <= innerWidth")
    colour = "document.querySelector('#card-map .fig').layout.font.color"
    before = stranger.evaluate(colour)
    stranger.get_by_text("Light or dark").click()
    stranger.wait_for_function(f"{colour} !== '{before}'")
    for kind in ("csv", "svg"):
        stranger.locator("#card-map summary").click()
        with stranger.expect_download() as caught:
            stranger.locator(f"#card-map [data-as={kind}]").click()
        assert re.fullmatch(rf"esm_viz-map-[0-9a-f]{{8}}\.{kind}", caught.value.suggested_filename)
    text = stranger.locator("main").inner_text()
    assert "float16, open_clip CLIP, visual. names" in text
    assert "checks agree" in text


def test_a_moved_knob_keeps_the_files_and_says_of_what_they_are(files: Path, page: Page) -> None:
    assert files.is_dir()
    page.keyboard.press("3")
    page.wait_for_selector("#card-accuracy .main-svg")
    page.locator("[data-knob=alpha] input[type=range]").evaluate(
        "(input) => { input.value = input.max * 0.3; input.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    page.keyboard.press("5")
    page.wait_for_selector("#proof .sentence.warn")
    assert "of an earlier state" in page.locator("#proof .sentence.warn").inner_text()
    assert page.locator("#proof .files a").count() == 4
    assert page.evaluate("document.scrollingElement.scrollHeight <= innerHeight")
