"""A fresh user's own checkpoints, as other libraries save them: uploaded, merged, exported, read by those libraries."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from esm_viz.checkpoints.checkpoint import Checkpoint
from esm_viz.families.model_families import architecture_of
from esm_viz.families.vision_tower import encode
from tests.e2e.conftest import sync_api
from tests.support import families, foreign, tiny

Page = sync_api.Page
SLOW = 40_000  # ms, for a job on a busy machine
REST = "document.querySelector('.job')?.innerText.trim() === 'Up to date'"


def upload(page: Page, files: Path | list[Path], activation: str = "") -> list[list[str]]:
    """Upload, confirm what is asked, decompose; return name, layout and verdict of every row."""
    page.keyboard.press("1")
    page.get_by_role("radio", name="Upload").click()
    page.locator("#drop input[type=file]").set_input_files(files)
    page.wait_for_selector("text=What was found: Upload", timeout=SLOW)
    if activation:
        page.locator(f"#found [data-do=activation][data-value={activation}]").click()
    page.wait_for_selector("#cost [data-do=decompose]:not([aria-disabled])", timeout=SLOW)
    table = page.locator("#found tbody tr")
    rows = [table.nth(at).locator("td").all_inner_texts() for at in range(table.count())]
    page.locator("#cost [data-do=decompose]").click()
    page.wait_for_selector("text=Upload: on screen in all tabs", timeout=SLOW)
    return [[row[0].strip("○●■▲◆ \n"), row[1], row[-1].strip()] for row in rows]


def merged(page: Page, layout: str, folder: Path) -> Path:
    """Turn a knob, write the model in a layout (the base's own if empty), download it; return its folder."""
    page.keyboard.press("3")
    page.wait_for_selector("#card-accuracy .main-svg", timeout=SLOW)
    page.locator("[data-knob=alpha] input[type=range]").evaluate(
        "(input) => { input.value = input.max * 0.3; input.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    page.keyboard.press("5")
    if layout:
        page.locator(f"#form [data-value={layout}]").click()
        page.wait_for_selector(f"#form [data-value={layout}][aria-checked=true]")
    page.wait_for_function(REST, timeout=SLOW)
    page.get_by_text("Write and check the model").click()
    page.wait_for_selector("text=The file is what you saw.", timeout=SLOW)
    with page.expect_download() as caught:
        page.get_by_text("Download all, one zip").click()
    caught.value.save_as(folder / "model.zip")
    with zipfile.ZipFile(folder / "model.zip") as archive:
        archive.extractall(folder / "out")
    return folder / "out" / "esm_viz-model"


def features(model: Path) -> torch.Tensor:
    """Return what our own reading of an exported file says of a few images."""
    checkpoint = Checkpoint("merged", model)
    arch = architecture_of("", tiny.CONFIG)
    return encode(arch.tower(checkpoint.tensors(arch.shapes)), tiny.images(3, 7))


@pytest.mark.parametrize("projected", [True, False], ids=["with a projection", "without one, as most public ones"])
def test_hugging_face_folders_go_from_a_zip_to_a_model_that_transformers_opens(
    page: Page, tmp_path: Path, projected: bool
) -> None:
    foreign.hugging_face(tmp_path / "own", projected)
    rows = upload(page, foreign.zipped(tmp_path / "own", tmp_path / "mine.zip"))
    assert rows == [
        ["base", "Hugging Face CLIP, fp32", "Ready, start of all experts"],
        ["ants", "Hugging Face CLIP vision model, fp32", "Ready, with 8 of 32 proxy images"],
        ["bees", "Hugging Face CLIP vision model, fp32", "Ready, with 8 of 32 proxy images"],
    ]
    out = merged(page, "hf", tmp_path)
    before = transformers.CLIPModel.from_pretrained(tmp_path / "own" / "base").eval()
    model = transformers.CLIPModel.from_pretrained(out).eval()  # by the config.json that was written beside
    with torch.inference_mode():
        seen, was = (
            each.visual_projection(each.vision_model(tiny.images(3, 7)).pooler_output) for each in (model, before)
        )
    assert tiny.relative(seen, features(out)) < 1e-5  # float32 along two ways
    assert tiny.relative(seen, was) > 1e-3
    text = "text_model.embeddings.token_embedding.weight"
    assert torch.equal(model.state_dict()[text], before.state_dict()[text])  # what a merge leaves alone


def test_a_task_vector_repository_goes_from_a_zip_to_a_model_that_transformers_opens(
    page: Page, tmp_path: Path
) -> None:
    (tmp_path / "ViT").mkdir()
    foreign.task_vectors(tmp_path / "ViT")
    (tmp_path / "ViT" / "arch.json").write_text(
        '{"embed_dim": 8, "vision_cfg": {"image_size": 16, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8}}'
    )
    rows = upload(page, foreign.zipped(tmp_path / "ViT", tmp_path / "mine.zip"), activation="quick")
    assert [row[:2] for row in rows] == [
        ["zeroshot.pt", "image encoder, fp32"],
        ["ants", "image encoder, fp32"],
        ["bees", "image encoder, fp32"],
    ]
    assert page.locator("#found .acc b").count() == 2  # by their pickled heads
    out = merged(page, "hf_vision", tmp_path)
    model = transformers.CLIPVisionModelWithProjection.from_pretrained(out).eval()
    with torch.inference_mode():
        seen = model(tiny.images(3, 7)).image_embeds
    assert tiny.relative(seen, features(out)) < 1e-5  # float32 along two ways


@pytest.mark.parametrize("title", ["timm: vit_base_patch16_224", "transformers: swin"])
def test_classifiers_of_any_library_go_from_a_zip_to_a_model_that_their_library_opens(
    page: Page, tmp_path: Path, title: str
) -> None:
    kind = next(kind for kind in families.KINDS if kind.title == title)
    (tmp_path / "own").mkdir()
    _, models = families.write(kind, tmp_path / "own")
    rows = upload(page, foreign.zipped(tmp_path / "own", tmp_path / "mine.zip"))
    assert [row[0] for row in rows] == ["base", *families.TASKS]
    assert [row[-1] for row in rows[1:]] == ["Ready, with 6 of 32 proxy images"] * 2
    page.locator("#found [data-do=row][data-name=base]").click()
    page.wait_for_selector("#found tr.more >> text=by ESD", timeout=SLOW)
    out = merged(page, "", tmp_path)
    again = kind.reopen(out).eval()
    shown = families.images(3, 9)
    with torch.inference_mode():
        said, was = kind.answer(again, shown), [kind.answer(model, shown) for model in models.values()]
    assert torch.isfinite(said).all()
    assert said.shape[1] == families.CLASSES  # the base's own classifier stays
    assert [rows.shape[1] for rows in was] == [
        len(load_file(out / "heads" / f"{task}.safetensors")["weight"]) for task in families.TASKS
    ]


def test_lora_adapters_go_from_a_zip_to_a_model_that_transformers_opens(page: Page, tmp_path: Path) -> None:
    foreign.lora_adapters(tmp_path / "own")
    rows = upload(page, foreign.zipped(tmp_path / "own", tmp_path / "mine.zip"))
    assert [row[0] for row in rows] == ["base", "ants", "bees"]
    assert all("LoRA adapter of rank 2" in row[1] for row in rows[1:])
    assert {row[-1] for row in rows[1:]} == {"Ready, with 8 of 32 proxy images"}
    out = merged(page, "hf", tmp_path)
    before = transformers.CLIPModel.from_pretrained(tmp_path / "own" / "base").eval().state_dict()
    after = transformers.CLIPModel.from_pretrained(out).eval().state_dict()
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in moved} == {"q_proj", "v_proj"}
