"""Own checkpoints and images in the browser: uploaded, or from the folder that the operator allowed."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file

from esm_viz import load_recipe
from esm_viz.project.project import Project
from tests.e2e.conftest import DEMO, is_stranger, served, sync_api

Page = sync_api.Page
TASKS = ("mnist", "kana")
WRONG = "flags"
SLOW = 120_000  # ms, for a job on a busy machine


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Return plainly named files: a base, two experts with all that is theirs, and one that is cut short."""
    demo, folder = DEMO.parent, tmp_path / "own"
    folder.mkdir()
    shutil.copy(demo / "base.safetensors", folder)
    config = yaml.safe_load(DEMO.read_text(encoding="utf-8"))["arch"]
    (folder / "arch.json").write_text(json.dumps({**config, "quick_gelu": False}), encoding="utf-8")
    for task in (*TASKS, WRONG):
        shutil.copy(demo / "models" / f"{task}.safetensors", folder)
        shutil.copy(demo / "heads" / f"{task}.safetensors", folder / f"{task}.head.safetensors")
        shutil.copy(demo / "proxies" / f"{task}.zip", folder)
        shutil.copy(demo / "data" / task / "validation.zip", folder / f"{task}.validation.zip")
    whole = load_file(folder / f"{WRONG}.safetensors")
    cut = {name: tensor for name, tensor in whole.items() if not name.startswith("transformer.resblocks.5.")}
    save_file(cut, folder / f"{WRONG}.safetensors")
    return folder


def verdict(page: Page, name: str) -> str:
    return page.locator(f"#found tr:has(button[data-name={name}]) .verdict").inner_text()


def rest(page: Page) -> None:
    page.wait_for_timeout(300)
    page.wait_for_function("document.querySelector('.job')?.innerText.trim() === 'Up to date'", timeout=SLOW)


def drawn_tasks(page: Page) -> list[str]:
    """Read the tasks of the layer map that is drawn."""
    heat = "document.querySelector('#card-map .fig').data.find((trace) => trace.type === 'heatmap')"
    return [str(task) for task in page.evaluate(f"{heat}.customdata.map((row) => row[0][0])")]


def test_own_checkpoints_are_uploaded_the_wrong_one_left_out_and_the_others_explored(page: Page, own: Path) -> None:
    page.keyboard.press("1")
    page.get_by_role("radio", name="Upload").click()
    page.locator("#drop input[type=file]").set_input_files(sorted(own.iterdir()))
    page.wait_for_selector("text=What was found: Upload", timeout=SLOW)
    assert verdict(page, WRONG) == "Refused: block 6 lacks 12 keys"
    assert [verdict(page, task) for task in TASKS] == ["Ready", "Ready"]
    assert page.locator("#found .th").count() == 3 * (len(TASKS) + 1)
    page.locator(f"#found button[data-name={WRONG}]").click()
    page.wait_for_selector("text=12 keys missing")
    assert page.evaluate("document.activeElement.dataset.name") == WRONG  # the focus stays on its row
    assert page.locator("#cost [data-do=decompose]").get_attribute("aria-disabled") == "true"
    before = drawn_tasks(page)
    page.get_by_role("button", name=f"Leave {WRONG} out").last.click()
    page.wait_for_selector("#cost [data-do=decompose]:not([aria-disabled])")
    assert "Decompose 2 experts" in page.locator("#cost").inner_text()
    assert drawn_tasks(page) == before  # nothing heavy started by itself
    page.locator("#cost [data-do=decompose]").click()
    page.wait_for_selector("text=Upload: on screen in all tabs", timeout=SLOW)
    rest(page)
    page.keyboard.press("2")
    page.wait_for_function("document.querySelector('.hdr').innerText.includes('Upload · 2 tasks')")
    assert set(drawn_tasks(page)) == set(TASKS)
    page.keyboard.press("1")
    shown = page.locator("#found .acc b").all_inner_texts()
    truth = Project.open(load_recipe(_recipe(own)), device="cpu").own_accuracy()
    by_task = {accuracy.task: f"{100 * accuracy.score.accuracy:.0f}" for accuracy in truth}
    assert shown == [by_task[task] for task in sorted(TASKS)]


def _recipe(own: Path) -> Path:
    """Write what the upload's names say as a recipe."""
    models = [
        {
            "name": task,
            "path": f"{task}.safetensors",
            "proxies": f"{task}.zip",
            "head": f"{task}.head.safetensors",
            "validation": f"{task}.validation.zip",
        }
        for task in sorted(TASKS)
    ]
    arch = json.loads((own / "arch.json").read_text(encoding="utf-8"))
    path = own / "recipe.yaml"
    raw = {"merge_method": "esm", "arch": arch, "base_model": {"path": "base.safetensors"}, "models": models}
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return path


def test_a_zip_whose_weights_hold_nan_is_refused_in_its_row_when_it_is_read(page: Page, own: Path) -> None:
    weights = load_file(own / "mnist.safetensors")
    weights["proj"][0, 0] = float("nan")
    save_file(weights, own / "mnist.safetensors")
    recipe = _recipe(own)
    packed = own.parent / "mine.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in [recipe, *own.glob("*.safetensors"), *own.glob("*.zip")]:
            archive.write(path, f"mine/{path.name}")
    page.keyboard.press("1")
    page.get_by_role("radio", name="Upload").click()
    page.locator("#drop input[type=file]").set_input_files(packed)
    page.wait_for_selector("text=What was found: Upload", timeout=SLOW)
    assert verdict(page, "mnist") == "Ready"  # headers do not tell
    page.locator("#cost [data-do=decompose]").click()
    page.wait_for_selector("#source .sentence.bad", timeout=SLOW)
    sentence = page.locator("#source .sentence.bad").inner_text().strip()
    assert sentence == "mnist: proj holds NaN, mnist.safetensors, save it again"
    assert verdict(page, "mnist") == "Refused: holds NaN or Inf"
    assert "3 tasks" in page.locator(".hdr").inner_text()  # what was on screen still is


@pytest.fixture
def allowed(own: Path, recipe: Path, tmp_path: Path) -> Iterator[str]:
    """Serve a studio that offers one folder with the plainly named project, whose arch.json says no activation."""
    folder = tmp_path / "offered"
    shutil.copytree(own, folder / "team" / "mine")
    config = json.loads((own / "arch.json").read_text(encoding="utf-8"))
    del config["quick_gelu"]
    (folder / "team" / "mine" / "arch.json").write_text(json.dumps(config), encoding="utf-8")
    with served(recipe, tmp_path, "--allow-folder", str(folder)) as address:
        yield address


def test_a_project_of_the_servers_folder_is_judged_confirmed_measured_and_loaded(
    browser: sync_api.Browser, allowed: str
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.set_default_timeout(SLOW)
    strangers: list[str] = []
    page.on("request", lambda request: strangers.append(request.url) if is_stranger(request.url) else None)
    page.goto(allowed + "?__theme=light")
    page.wait_for_selector("#card-map .fig.js-plotly-plot .main-svg")
    page.wait_for_function("document.querySelector('#page-id textarea, #page-id input').value.length > 10")
    page.keyboard.press("1")
    page.get_by_role("radio", name="Folder on this server").click()
    page.locator("#source select").select_option("team/mine")
    page.wait_for_selector("text=What was found: team/mine")
    assert verdict(page, "base").startswith("Confirm the activation")
    page.locator("#cost [data-do=leave]").click()
    page.wait_for_selector("text=First confirm the activation")
    page.locator("#cost [data-do=activations]").click()
    page.wait_for_function("/GELU \\d/.test(document.querySelector('#found .seg').innerText)")
    page.locator("#found [data-do=activation][data-value=plain]").click()
    page.wait_for_selector("#cost [data-do=own]").click()
    page.wait_for_function("document.querySelectorAll('#found .acc').length === 2")
    assert "2 tasks" not in page.locator(".hdr").inner_text()
    bottom = "[...document.querySelectorAll('#source, #found .card, #cost .card')]"
    assert page.evaluate(f"{bottom}.every((part) => part.getBoundingClientRect().bottom <= innerHeight)")
    assert page.evaluate("document.querySelector('#cost .card').scrollWidth <= innerWidth")
    page.locator("#cost [data-do=decompose]").click()
    page.wait_for_selector("text=team/mine: on screen in all tabs")
    assert "team/mine · 2 tasks" in page.locator(".hdr").inner_text()
    page.close()
    assert strangers == []
