"""From names to a recipe: every convention that the README tells, and what is said where one is broken."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from esm_viz.core.assets_folder import assets_folder
from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import load_text
from esm_viz.inspection import file_judgement
from esm_viz.inspection.file_judgement import judge
from esm_viz.inspection.recipe_file import load_recipe
from esm_viz.inspection.recipe_from_folder import ARCH, FoundProject, find, is_project
from tests.support import tiny
from tests.support.errors import says


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty folder whose arch.json says the tiny tower."""
    place = tmp_path / "own"
    place.mkdir()
    (place / ARCH).write_text(json.dumps(tiny.CONFIG), encoding="utf-8")
    return place


def touch(folder: Path, *names: str) -> None:
    """Make empty files; a name says what a file is, so that none is opened here."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def beside(found: FoundProject, name: str) -> dict[str, str]:
    """Return what a recipe says of one model, by key, without its name."""
    (model,) = (each for each in found.recipe.as_mapping()["models"] if each["name"] == name)
    return {key: value for key, value in model.items() if key != "name"}


def test_files_in_any_format_are_models_by_their_stem(folder: Path) -> None:
    touch(folder, "base.safetensors", "ants.safetensors", "bees.pt", "cats.pth", "dogs.bin", "emus.ckpt")
    found = find(folder)
    assert found.recipe.base == "base.safetensors"
    assert [(model.name, model.path) for model in found.recipe.models] == [
        *(("ants", "ants.safetensors"), ("bees", "bees.pt"), ("cats", "cats.pth")),
        *(("dogs", "dogs.bin"), ("emus", "emus.ckpt")),
    ]
    assert (found.recipe.folder, found.arch_from, found.unused_told) == (folder, ARCH, "")


@pytest.mark.parametrize("name", ["base.pt", "zeroshot.pt", "pretrained.bin", "Base.safetensors"])
def test_the_base_has_one_of_a_few_names(folder: Path, name: str) -> None:
    touch(folder, name, "ants.pt")
    assert (find(folder).recipe.base, find(folder).recipe.tasks) == (name, ("ants",))


@pytest.mark.parametrize(
    "weights",
    ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "open_clip_model.safetensors"],
)
def test_a_folder_with_weights_is_one_model(folder: Path, weights: str) -> None:
    touch(folder, *(f"{name}/{file}" for name in ("base", "ants") for file in (weights, "config.json")))
    assert (find(folder).recipe.base, beside(find(folder), "ants")) == ("base", {"path": "ants"})


def test_a_task_vector_repository_has_a_folder_a_task_and_its_base_above(folder: Path) -> None:
    touch(folder, "zeroshot.pt", "head_Cars.pt", "Cars/finetuned.pt", "DTDVal/nonlinear_finetuned.pt", "head_DTDVal.pt")
    found = find(folder)
    assert found.recipe.base == "zeroshot.pt"
    assert beside(found, "Cars") == {"path": "Cars/finetuned.pt", "head": "head_Cars.pt"}
    assert beside(found, "DTD") == {"path": "DTDVal/nonlinear_finetuned.pt", "head": "head_DTDVal.pt"}


def test_a_task_vector_repository_may_keep_base_and_head_with_the_task_or_above_the_model(folder: Path) -> None:
    (folder / "ViT-B-32").mkdir()
    (folder / ARCH).rename(folder / "ViT-B-32" / ARCH)
    touch(folder, *(f"ViT-B-32/{task}/{name}.pt" for task in ("Cars", "DTD") for name in ("zeroshot", "finetuned")))
    touch(folder, "ViT-B-32/DTD/head_DTD.pt", "head_Cars.pt")
    found = find(folder)
    assert (found.recipe.folder.name, found.recipe.base) == ("ViT-B-32", "Cars/zeroshot.pt")
    assert beside(found, "Cars")["head"] == "../head_Cars.pt"
    assert beside(found, "DTD")["head"] == "DTD/head_DTD.pt"


def test_what_belongs_to_a_model_lies_beside_it_under_its_name(folder: Path) -> None:
    touch(folder, "base.pt", "ants.pt", "ants.head.pt", "ants.zip", "ants.validation.parquet", "ants.test.npz")
    touch(folder, "bees.pt", "bees.proxies.npz", "bees/one/1.png", "bees.validation/one/1.png", "bees.head.safetensors")
    found = find(folder)
    assert beside(found, "ants") == {
        "path": "ants.pt",
        "proxies": "ants.zip",
        "head": "ants.head.pt",
        "validation": "ants.validation.parquet",
        "test": "ants.test.npz",
    }
    assert beside(found, "bees") == {
        "path": "bees.pt",
        "proxies": "bees.proxies.npz",  # before the folder of its name
        "head": "bees.head.safetensors",
        "validation": "bees.validation",
    }


def test_a_folder_of_images_is_the_proxies_of_its_name(folder: Path) -> None:
    touch(folder, "base.pt", "ants.pt", "ants/1.png", "ants/2.JPG", "bees.pt", "bees/notes.txt")
    found = find(folder)
    assert beside(found, "ants") == {"path": "ants.pt", "proxies": "ants"}
    assert beside(found, "bees") == {"path": "bees.pt"}


def test_what_belongs_to_a_model_may_lie_in_its_folder(folder: Path) -> None:
    touch(folder, "base/model.safetensors", "ants/model.safetensors", "ants/head.pt", "ants/proxies.zip")
    touch(folder, "ants/validation/one/1.png", "ants/test.parquet")
    touch(folder, "bees.pt", "bees/proxies/1.png", "bees/test.zip")
    found = find(folder)
    assert beside(found, "ants") == {
        "path": "ants",
        "proxies": "ants/proxies.zip",
        "head": "ants/head.pt",
        "validation": "ants/validation",
        "test": "ants/test.parquet",
    }
    assert beside(found, "bees") == {"path": "bees.pt", "proxies": "bees/proxies", "test": "bees/test.zip"}


def test_a_timm_vit_brings_its_head_along(folder: Path) -> None:
    names = ("patch_embed.proj.weight", "cls_token", "pos_embed", "head.weight", "head.bias")
    save_file({name: torch.zeros(4, 4) for name in names}, folder / "ants.safetensors")
    touch(folder, "base.safetensors")
    assert beside(find(folder), "ants")["head"] == "ants.safetensors"


def test_layouts_are_mixed_freely_and_what_was_not_used_is_told(folder: Path) -> None:
    touch(folder, "zeroshot.pt", "ants.safetensors", "bees/model.safetensors", "CarsVal/finetuned.pt")
    touch(folder, "notes.pdf", ".hidden.pt", "__MACOSX/ants.safetensors", *(f"x{at}.txt" for at in range(6)))
    found = find(folder)
    assert found.recipe.tasks == ("Cars", "ants", "bees")
    assert found.unused_told == "Not used: notes.pdf, x0.txt, x1.txt, x2.txt, x3.txt and 2 more."


def test_the_first_folder_with_base_and_experts_is_taken(tmp_path: Path) -> None:
    touch(tmp_path, "b/deep/base.pt", "b/deep/ants.pt", "a/base.pt", "c/base.pt", "c/bees.pt")
    (tmp_path / "c" / ARCH).write_text(json.dumps(tiny.CONFIG), encoding="utf-8")
    assert find(tmp_path).recipe.folder == tmp_path / "c"  # a has no expert, b is deeper
    assert [is_project(tmp_path / name) for name in ("a", "b", "c", "b/deep")] == [False, False, True, True]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (
            ["ants.pt"],
            "no base model is among the files, name the pre-trained weights base, zeroshot or pretrained",
        ),
        (
            ["base.pt", "base.head.pt", "head_ants.pt"],
            "no expert is beside the base, add the fine-tuned weights as NAME.safetensors or NAME/",
        ),
        (
            ["notes.txt"],
            "no weights are among the files, give base and NAME as .safetensors, .pt, .pth, .bin, .ckpt or folders",
        ),
        (
            ["base.pt", "zeroshot.pt", "ants.pt"],
            "base.pt and zeroshot.pt could both be the base, own, keep one of them",
        ),
        (["base.pt", "ants.pt", "ants.bin"], "two models are named 'ants', own, give each model its own name"),
    ],
)
def test_what_is_missing_or_not_clear_is_said_in_one_sentence(folder: Path, names: list[str], text: str) -> None:
    touch(folder, *names)
    with says(RecipeError, text):
        find(folder)


def test_without_a_config_the_shapes_say_the_architecture_and_not_the_activation(tmp_path: Path) -> None:
    for name in ("base", "ants"):
        save_file(shapes_of("ViT-S-32-alt"), tmp_path / f"{name}.safetensors")
    found = find(tmp_path)
    assert found.arch_told == "by its shapes"
    judgement = judge(found.recipe)
    assert (judgement.activation_said, judgement.base.verdict.words) == (False, "Confirm the activation")


def shapes_of(name: str) -> dict[str, torch.Tensor]:
    import open_clip

    config = open_clip.get_model_config(name)
    with torch.device("meta"):
        tower = tiny.open_clip_tower({**config, "quick_gelu": False})
    return {name: torch.zeros(t.shape, dtype=torch.float16) for name, t in tower.state_dict().items()}


def test_shapes_that_no_model_of_open_clip_has_ask_for_a_config(tiny_folder: Path, tmp_path: Path) -> None:
    for name in ("base", "ants"):
        shutil.copy(tiny_folder / f"{name}.safetensors", tmp_path)
    remedy = "put its config.json beside it, or arch.json with an open_clip model config"
    text = f"no open_clip model has the shapes of base.safetensors, {remedy}"
    with says(RecipeError, text):
        find(tmp_path)
    (tmp_path / ARCH).write_text("{", encoding="utf-8")
    with says(RecipeError, "arch.json is not JSON, give an open_clip model config"):
        find(tmp_path)


def test_a_whole_project_by_names_is_ready(tiny_folder: Path, folder: Path) -> None:
    shutil.copy(tiny_folder / "base.safetensors", folder)
    for task in tiny.TASKS:
        shutil.copy(tiny_folder / f"{task}.safetensors", folder)
        for part in ("head", "proxies", "validation", "test"):
            shutil.copy(tiny_folder / f"{task}_{part}.safetensors", folder / f"{task}.{part}.safetensors")
    judgement = judge(find(folder).recipe)
    assert not judgement.refused
    assert [(m.classes, m.proxies, m.validation, m.test) for m in judgement.experts] == [
        (4, count, 24, 24) for count in (14, 6, 4)
    ]


def test_what_belongs_to_a_model_may_lie_in_folders_of_its_kind(folder: Path) -> None:
    touch(folder, "base.pt", "ants.pt", "proxies/ants/1.png", "heads/ants.safetensors")
    touch(folder, "data/ants/val/one/1.png", "data/ants/test/one/1.png")
    touch(folder, "models/bees.pt", "proxies/bees.zip", "data/bees/validation.zip", "data/bees/test.parquet")
    found = find(folder)
    assert beside(found, "ants") == {
        "path": "ants.pt",
        "proxies": "proxies/ants",
        "head": "heads/ants.safetensors",
        "validation": "data/ants/val",
        "test": "data/ants/test",
    }
    assert beside(found, "bees") == {
        "path": "models/bees.pt",
        "proxies": "proxies/bees.zip",
        "validation": "data/bees/validation.zip",
        "test": "data/bees/test.parquet",
    }
    assert found.unused_told == ""


def test_capital_suffixes_are_known(folder: Path) -> None:
    touch(folder, "base.SAFETENSORS", "ants.PT", "ants.ZIP", "ants.Head.PT", "ants.head.Safetensors", "ants.test.NPZ")
    found = find(folder)
    assert found.recipe.base == "base.SAFETENSORS"
    assert beside(found, "ants") == {
        "path": "ants.PT",
        "proxies": "ants.ZIP",
        "head": "ants.head.Safetensors",
        "test": "ants.test.NPZ",
    }


@pytest.mark.parametrize("name", [ARCH, "open_clip_config.json"])
def test_json_with_a_byte_order_mark_is_read(tmp_path: Path, name: str) -> None:
    for task in ("base", "ants"):
        save_file(tiny.base_weights(), tmp_path / f"{task}.safetensors")
    (tmp_path / name).write_text(json.dumps(tiny.CONFIG), encoding="utf-8-sig")
    assert find(tmp_path).recipe.arch_config == tiny.CONFIG


def test_a_config_of_another_kind_is_named(tiny_folder: Path, tmp_path: Path) -> None:
    for name in ("base", "ants"):
        shutil.copy(tiny_folder / f"{name}.safetensors", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip"}), encoding="utf-8")
    text = "no open_clip model has the shapes of base.safetensors, and config.json beside it is that of 'siglip', "
    with says(RecipeError, f"{text}give arch.json with an open_clip model config"):
        find(tmp_path)


def test_the_demo_s_own_files_open_without_arch_json(tmp_path: Path) -> None:
    demo = assets_folder() / "demo"
    for name in ("base", "models/mnist", "models/kana"):
        shutil.copy(demo / f"{name}.safetensors", tmp_path)
    found = find(tmp_path)
    assert (found.recipe.base, set(found.recipe.tasks)) == ("base.safetensors", {"mnist", "kana"})
    assert found.recipe.arch_config == load_text(demo / "recipe.yaml").arch_config
    assert found.arch_told == "that of the embedded demo, which has its shapes"
    assert [model.verdict.stance for model in judge(found.recipe.replace(method="averaging")).models] == ["ready"] * 3


# The preparation of images that configs beside weights ask for.

HALF = [0.5, 0.5, 0.5]
THIRD = [0.3, 0.3, 0.3]
OPEN_CLIP = {
    "mean": HALF,
    "std": THIRD,
    "interpolation": "bilinear",
    "resize_mode": "squash",
    "mode": "RGB",
    "size": 16,
}
TIMM = {"mean": HALF, "std": THIRD, "interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": "squash"}
HF = {
    "image_mean": HALF,
    "image_std": THIRD,
    "resample": 2,
    "size": {"shortest_edge": 16},
    "crop_size": {"height": 16, "width": 16},
    "rescale_factor": 1 / 255,
}
FIRST = {"mean": HALF, "std": THIRD}
MIDDLE = "images are resized to more pixels, and only their middle is used"
PREPARED: dict[str, tuple[str, dict[str, object], dict[str, object], list[str]]] = {
    "open_clip": (
        "open_clip_config.json",
        {"preprocess_cfg": OPEN_CLIP},
        {**FIRST, "interpolation": "bilinear", "resize_mode": "squash"},
        [],
    ),
    "open_clip, an unknown interpolation": (
        "open_clip_config.json",
        {"preprocess_cfg": {**FIRST, "interpolation": "random"}},
        FIRST,
        ["interpolation 'random'"],
    ),
    "timm": (
        "config.json",
        {"pretrained_cfg": TIMM},
        {**FIRST, "interpolation": "bicubic", "resize_mode": "squash"},
        [],
    ),
    "timm, cut": (
        "config.json",
        {"pretrained_cfg": {**TIMM, "crop_pct": 0.9, "crop_mode": "center"}},
        {**FIRST, "interpolation": "bicubic", "resize_mode": "shortest"},
        [f"crop_pct 0.9 ({MIDDLE})"],
    ),
    "timm, cut of more pixels": (
        "config.json",
        {"pretrained_cfg": {**TIMM, "crop_pct": 0.9, "crop_mode": "center", "input_size": [3, 16, 16]}},
        {**FIRST, "interpolation": "bicubic", "resize_mode": "shortest", "resized": 17},
        [],
    ),
    "Hugging Face, ConvNeXt": (
        "preprocessor_config.json",
        {**HF, "crop_pct": 0.875, "crop_size": None},
        {**FIRST, "interpolation": "bilinear", "resize_mode": "shortest", "resized": 18},
        [],
    ),
    "Hugging Face": (
        "preprocessor_config.json",
        HF,
        {**FIRST, "interpolation": "bilinear", "resize_mode": "shortest"},
        [],
    ),
    "Hugging Face, within a processor": (
        "processor_config.json",
        {"image_processor": HF},
        {**FIRST, "interpolation": "bilinear", "resize_mode": "shortest"},
        [],
    ),
    "Hugging Face, other sizes": (
        "preprocessor_config.json",
        {**HF, "size": {"shortest_edge": 32}, "resample": 1, "do_rescale": False},
        {**FIRST, "resize_mode": "shortest", "resized": 32},
        ["interpolation 'resample 1'", "rescale_factor 0.00392156862745098"],
    ),
    "Hugging Face, whole": (
        "preprocessor_config.json",
        {**HF, "size": {"height": 16, "width": 16}, "do_center_crop": False, "do_normalize": False},
        {"mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear", "resize_mode": "squash"},
        [],
    ),
}


@pytest.mark.parametrize("case", PREPARED)
def test_the_preparation_beside_the_weights_is_in_the_recipe_or_said(folder: Path, case: str) -> None:
    file, config, expected, lost = PREPARED[case]
    for name in ("base", "ants"):
        (folder / name).mkdir()
        save_file(tiny.base_weights(), folder / name / "model.safetensors")
        (folder / name / file).write_text(json.dumps(config), encoding="utf-8")
    found = find(folder)
    assert found.recipe.arch_config == {**tiny.CONFIG, "preprocess_cfg": expected}
    assert found.remarks[0].startswith(f"Images as {file} of base says: 16 x 16 pixels")
    assert list(found.remarks[1:]) == [
        f"{file} of base also asks for {what}, which a recipe cannot express." for what in lost
    ]
    assert judge(found.recipe).preprocessing.endswith("(the recipe’s preprocess_cfg)")


def test_an_expert_that_asks_for_another_preparation_is_named(folder: Path) -> None:
    for name, mean in (("base", HALF), ("ants", THIRD), ("bees", HALF)):
        (folder / name).mkdir()
        save_file(tiny.base_weights(), folder / name / "model.safetensors")
        config = {"preprocess_cfg": {"mean": mean}}
        (folder / name / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    assert find(folder).remarks[1:] == ("ants: the config asks for other preparation of images than that of base.",)


def test_what_arch_json_says_of_images_is_not_overruled(folder: Path) -> None:
    own = {**tiny.CONFIG, "preprocess_cfg": {"mean": THIRD}}
    (folder / ARCH).write_text(json.dumps(own), encoding="utf-8")
    touch(folder, "base.pt", "ants.pt")
    (folder / "open_clip_config.json").write_text(json.dumps({"preprocess_cfg": {"mean": HALF}}), encoding="utf-8")
    found = find(folder)
    assert found.recipe.arch_config == own
    assert found.remarks == ("arch.json decides how images are prepared, open_clip_config.json of base is not used.",)


def test_a_preparation_that_no_recipe_may_give_is_left_out_and_said(folder: Path) -> None:
    touch(folder, "base.pt", "ants.pt")
    (folder / "open_clip_config.json").write_text(json.dumps({"preprocess_cfg": {"mean": "grey"}}), encoding="utf-8")
    found = find(folder)
    assert found.recipe.arch_config == tiny.CONFIG
    assert found.remarks == ("open_clip_config.json of base is not used: mean is 'grey'.",)


# Recipes without an architecture.


def test_a_recipe_without_arch_takes_the_config_beside_its_base(tiny_folder: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(tiny_folder, tmp_path / "own"))
    raw = {key: value for key, value in tiny.mapping().items() if key != "arch"}
    (place / "recipe.yaml").write_text(json.dumps(raw), encoding="utf-8")
    remedy = "add arch, an open_clip name or model config"
    with says(RecipeError, f"arch is missing, and no config lies beside the base, own, {remedy}"):
        load_recipe(place / "recipe.yaml")
    config = {"model_cfg": tiny.CONFIG, "preprocess_cfg": {"mean": HALF}}
    (place / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    recipe = load_recipe(place / "recipe.yaml")
    assert recipe.arch_config == {**tiny.CONFIG, "preprocess_cfg": {"mean": HALF}}
    assert not judge(recipe).refused


def test_the_lines_that_a_missing_arch_asks_for_work_when_they_are_added(tmp_path: Path) -> None:
    for name in ("base", "ants"):
        save_file(shapes_of("ViT-B-32"), tmp_path / f"{name}.safetensors")
    path = tmp_path / "recipe.yaml"
    text = "merge_method: averaging\nbase_model: {path: base.safetensors}\n"
    text += "models: [{name: ants, path: ants.safetensors}]\n"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert "`arch: ViT-B-32` or `arch: ViT-B-32-quickgelu` for QuickGELU" in caught.value.remedy
    for line in re.findall(r"`([^`]+)`", caught.value.remedy):
        path.write_text(f"{line}\n{text}", encoding="utf-8")
        judgement = judge(load_recipe(path))
        assert (judgement.activation_said, len(judgement.refused)) == (True, 0)


def test_several_architectures_that_fit_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("base", "ants"):
        save_file(shapes_of("ViT-S-32-alt"), tmp_path / f"{name}.safetensors")
    assert find(tmp_path).remarks == ()
    monkeypatch.setattr(file_judgement, "fitting_names", lambda path: ("ViT-S-32-alt", "ViT-other"))
    (said,) = find(tmp_path).remarks
    assert said == "The base has the shapes of ViT-S-32-alt, which is taken, and of ViT-other: correct arch if needed."


@pytest.mark.parametrize(
    "name",
    [
        *("optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "training_args.bin", "trainer_state.json"),
        *("rng_state.pth", "rng_state_0.pth", "random_states_0.pkl", "optimizer_1.bin", "Optimizer.PT"),
    ],
)
def test_files_to_resume_training_from_are_no_experts(folder: Path, name: str) -> None:
    touch(folder, "base.pt", "ants.pt", name)
    (folder / ARCH).write_text(json.dumps(tiny.CONFIG), encoding="utf-8")
    found = find(folder)
    assert found.recipe.tasks == ("ants",)
    assert found.unused_told == f"Not used: {name}."
