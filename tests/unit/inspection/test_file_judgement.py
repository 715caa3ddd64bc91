"""Every model of a recipe judged at once: what is wrong with one hides no other, and the strict door says the same."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.model import CLIPVisionCfg, _build_vision_tower
from safetensors.torch import load_file, save_file

from esm_viz.core.errors import RUNS_CODE, EsmVizError, HeadError, ImagesError, NotFinite, RecipeError
from esm_viz.core.recipe import Recipe, parse_mapping
from esm_viz.core.records import ActivationScores, Evaluation, OwnAccuracy, Score, TaskScores
from esm_viz.evaluation.expert_check import compare_activations
from esm_viz.inspection import file_judgement
from esm_viz.inspection.file_judgement import judge, measured, with_activation
from esm_viz.inspection.opened_files import open_headers
from esm_viz.project.project import Project
from esm_viz.runtime.stage_cache import StageCache
from tests.support import tiny
from tests.support.errors import says


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny project that a test may break."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "own"))


def recipe(folder: Path, change: Callable[[dict[str, Any]], None] = lambda raw: None, **words: Any) -> Recipe:
    raw = tiny.mapping(**words)
    change(raw)
    return parse_mapping(raw, folder)


def drop_block(path: Path, block: str = "transformer.resblocks.1.") -> None:
    save_file({name: t for name, t in load_file(path).items() if not name.startswith(block)}, path)


def test_a_whole_project_is_ready_and_its_counts_are_those_of_the_files(folder: Path) -> None:
    found = judge(recipe(folder))
    assert [model.name for model in found.models] == ["base", *tiny.TASKS]
    assert {model.verdict.stance for model in found.models} == {"ready"}
    assert (found.activation, found.activation_said, len(found.layers)) == ("QuickGELU", True, 8)
    bees = found.experts[1]
    assert (bees.classes, bees.proxies, bees.used, bees.validation, bees.test) == (4, 6, 6, 24, 24)
    assert bees.verdict.words == "Ready, with 6 of 32 proxy images"
    assert found.base.verdict.words == "Ready, start of all experts"
    assert found.memory_bytes > 0


def test_an_opened_project_is_judged_as_its_files_were(folder: Path) -> None:
    own = recipe(folder)
    project = Project.open(own, device="cpu")
    before, after = judge(own), project.judgement
    assert after.models == before.models
    assert (after.layers, after.notes, after.seconds) == (before.layers, before.notes, before.seconds)


def test_the_first_wrong_model_does_not_hide_the_others(folder: Path) -> None:
    drop_block(folder / "ants.safetensors")
    weights = load_file(folder / "bees.safetensors")
    save_file({**weights, "proj": torch.zeros(3, 8)}, folder / "bees.safetensors")
    (folder / "cats_proxies.safetensors").unlink()
    found = judge(recipe(folder))
    assert [(model.name, model.verdict.words) for model in found.refused] == [
        ("ants", "Refused: block 2 lacks 12 keys"),
        ("bees", "Refused: 1 shape of another tower"),
        ("cats", "Refused: its images cannot be read"),
    ]
    whole = len(tiny.base_weights())
    ants, bees, cats = (model.facts for model in found.experts)
    assert (ants.matched, len(ants.missing)) == (whole - 12, 12)
    assert (bees.matched, bees.misshaped) == (whole - 1, ("proj",))
    assert (cats.matched, cats.missing) == (whole, ())
    assert found.experts[0].proxies == 14  # what is right with a wrong model is told as well


def test_the_strict_door_raises_the_first_sentence_of_the_judgement(folder: Path) -> None:
    drop_block(folder / "bees.safetensors")
    (folder / "cats_proxies.safetensors").unlink()
    own = recipe(folder)
    with pytest.raises(EsmVizError) as caught:
        open_headers(own)
    assert str(caught.value) == judge(own).refused[0].verdict.sentence


def test_a_head_of_another_width_is_refused_with_its_size(folder: Path) -> None:
    save_file({"weight": torch.zeros(4, 5)}, folder / "bees_head.safetensors")
    (wrong,) = judge(recipe(folder)).refused
    assert wrong.verdict.words == "Refused: its head does not fit"
    assert wrong.verdict.sentence == "the head's weight is (4, 5), bees_head.safetensors, give (classes, 8)"
    assert wrong.classes == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"not a checkpoint", "Refused: not a file of weights"), (None, "Refused: not a file of weights")],
)
def test_what_is_no_checkpoint_lacks_every_key(folder: Path, content: bytes | None, words: str) -> None:
    path = folder / "bees.safetensors"
    path.unlink() if content is None else path.write_bytes(content)
    (wrong,) = judge(recipe(folder)).refused
    assert (wrong.verdict.words, wrong.facts.matched) == (words, 0)
    assert len(wrong.facts.missing) == len(tiny.base_weights())


def test_a_wrong_base_is_refused_and_the_experts_are_judged_all_the_same(folder: Path) -> None:
    drop_block(folder / "base.safetensors")
    found = judge(recipe(folder))
    assert [model.name for model in found.refused] == ["base"]
    assert found.base.verdict.words == "Refused: block 2 lacks 12 keys"


def test_without_proxies_a_model_is_refused_where_the_method_or_a_decomposition_needs_them(folder: Path) -> None:
    def bare(raw: dict[str, Any]) -> None:
        del raw["models"][0]["proxies"]

    (wrong,) = judge(recipe(folder, bare)).refused
    assert wrong.verdict.words == "Refused: no proxy images"
    assert wrong.verdict.sentence == "ants has no proxy images, give up to 32 unlabelled ones"
    assert not judge(recipe(folder, bare, method="averaging")).refused
    assert judge(recipe(folder, bare, method="averaging"), decomposing=True).refused


def test_a_file_that_is_the_base_or_another_task_is_noted(folder: Path) -> None:
    def shared(raw: dict[str, Any]) -> None:
        raw["models"][0]["path"] = "base.safetensors"
        raw["models"][2]["path"] = "bees.safetensors"

    found = judge(recipe(folder, shared))
    assert [model.verdict.words for model in found.experts] == [
        "Same file as the base",
        "Ready, with 6 of 32 proxy images",
        "Same file as bees",
    ]
    assert {found.experts[at].verdict.stance for at in (0, 2)} == {"check"}


def test_all_files_with_numbers_that_are_not_finite_are_named_by_one_reading(folder: Path) -> None:
    for task in ("ants", "cats"):
        weights = load_file(folder / f"{task}.safetensors")
        weights["proj"][0, 0] = torch.nan
        save_file(weights, folder / f"{task}.safetensors")
    own = recipe(folder)
    assert not judge(own).refused  # headers cannot tell
    with pytest.raises(NotFinite) as caught:
        Project.open(own, device="cpu")
    assert str(caught.value) == "ants: proj holds NaN, ants.safetensors, save it again"
    found = judge(own, wrong=caught.value.wrong)
    assert [(model.name, model.verdict.words) for model in found.refused] == [
        ("ants", "Refused: holds NaN or Inf"),
        ("cats", "Refused: holds NaN or Inf"),
    ]
    assert Project.open(file_judgement.without(own, {"ants", "cats"}), device="cpu").tasks == ("bees",)


def test_what_is_left_out_costs_nothing(folder: Path) -> None:
    own = recipe(folder)
    whole, less = judge(own), judge(own, left_out={"ants", "bees"})
    assert less.models == whole.models
    assert less.seconds < whole.seconds
    assert less.gate_seconds == pytest.approx(whole.gate_seconds / 3)


def test_a_config_without_activation_has_to_be_confirmed_and_a_name_says_it(folder: Path) -> None:
    def silent(raw: dict[str, Any]) -> None:
        del raw["arch"]["quick_gelu"]

    own = recipe(folder, silent)
    found = judge(own)
    assert not found.activation_said
    assert (found.base.verdict.stance, found.base.verdict.words) == ("check", "Confirm the activation")
    for quick, word in ((True, "QuickGELU"), (False, "GELU")):
        said = judge(with_activation(own, quick))
        assert (said.activation, said.activation_said, said.base.verdict.stance) == (word, True, "ready")
    bare = parse_mapping({**own.as_mapping(), "arch": file_judgement.config_of("ViT-B-32-quickgelu")}, folder)
    assert with_activation(bare, quick_gelu=True).arch == "ViT-B-32-quickgelu"
    assert with_activation(bare, quick_gelu=False).arch == "ViT-B-32"


def test_the_shapes_of_a_base_name_the_open_clip_models_that_fit(tmp_path: Path) -> None:
    config = open_clip.get_model_config("ViT-S-32-alt")
    with torch.device("meta"):
        tower = _build_vision_tower(config["embed_dim"], CLIPVisionCfg(**config["vision_cfg"]))
    weights = {name: torch.zeros(t.shape, dtype=torch.float16) for name, t in tower.state_dict().items()}
    path = tmp_path / "base.safetensors"
    save_file(weights, path)
    assert file_judgement.fitting_names(path) == ("ViT-S-32-alt",)
    save_file({f"visual.{name}": t for name, t in weights.items()} | {"logit_scale": torch.zeros(1)}, path)
    assert file_judgement.fitting_names(path) == ("ViT-S-32-alt",)
    save_file({"some": torch.zeros(3)}, path)
    assert file_judgement.fitting_names(path) == ()


def test_a_wrong_recipe_is_nothing_to_judge(folder: Path) -> None:
    with pytest.raises(RecipeError, match="merge_method is 'esmm'"):
        judge(recipe(folder, method="esmm"))


def test_weights_of_another_format_beside_those_that_are_read_are_told(folder: Path) -> None:
    for task in ("ants", "bees"):
        (folder / "own" / task).mkdir(parents=True)
        shutil.copy(folder / f"{task}.safetensors", folder / "own" / task / "model.safetensors")
        torch.save(load_file(folder / f"{task}.safetensors"), folder / "own" / task / "pytorch_model.bin")

    def moved(raw: dict[str, Any]) -> None:
        for model in raw["models"][:2]:
            model["path"] = f"own/{model['name']}"

    told = [
        f"{task}: model.safetensors is read, pytorch_model.bin beside it is not, name the file itself to read that one."
        for task in ("ants", "bees")
    ]
    changed = recipe(folder, moved)
    assert [note for note in judge(changed).notes if "beside" in note] == told
    assert [note for note in Project.open(changed, device="cpu").judgement.notes if "beside" in note] == told
    assert not any("beside" in note for note in judge(recipe(folder)).notes)


# What running the files says of them.


def test_own_accuracy_is_counted_on_the_tasks_that_have_images(folder: Path) -> None:
    def fewer(raw: dict[str, Any]) -> None:
        del raw["models"][1]["validation"]

    for task in ("ants", "cats"):
        tiny.spread(folder, task)
    project = Project.open(recipe(folder, fewer), device="cpu")
    own = project.own_accuracy()
    # the tiny project's experts are right on 3 of 4 images, see tests/support/tiny.py
    assert own == tuple(OwnAccuracy(task, Score(18, 24), 4, commonest(folder, task)) for task in ("ants", "cats"))
    assert not any(accuracy.near_chance for accuracy in own)


def test_an_expert_that_does_no_better_than_guessing_is_flagged(folder: Path) -> None:
    for task in ("ants", "cats"):
        tiny.spread(folder, task)
    tiny.mislabel(folder, "bees")
    project = Project.open(recipe(folder), device="cpu")
    found = measured(project.judgement, project.own_accuracy())
    assert [model.verdict.stance for model in found.experts] == ["ready", "check", "ready"]
    bees = found.experts[1].verdict
    assert bees.words == "Near chance. Another task’s head?"
    assert bees.sentence == (
        "bees is right on 0 of 24 of its own validation images, "
        f"always answering the commonest of 4 classes would be on {commonest(folder, 'bees')}, "
        "check that head and images belong to it"
    )


def commonest(folder: Path, task: str) -> int:
    """Count the images of the class that has most."""
    return max(Counter(load_file(folder / f"{task}_validation.safetensors")["labels"].tolist()).values())


@pytest.mark.parametrize(("correct", "near"), [(11, True), (12, False)])
def test_near_chance_is_where_the_interval_reaches_the_commonest_class(correct: int, near: bool) -> None:
    # Wilson's lower end of 11 and 12 of 24: 0.279 and 0.314, by hand; always the commonest class would be 0.292
    own = OwnAccuracy("ants", Score(correct, 24), classes=4, commonest=7)
    assert own.near_chance is near
    assert own.chance == 7 / 24


def test_an_expert_that_always_answers_the_commonest_class_is_near_chance() -> None:
    """Of 1000 images 900 are of one class of two: 88 % is far above one in two, and no better than no answer at all."""
    assert OwnAccuracy("ants", Score(880, 1000), classes=2, commonest=900).near_chance
    assert not OwnAccuracy("ants", Score(880, 1000), classes=2, commonest=500).near_chance


def test_both_activations_are_scored_as_two_projects_would(folder: Path) -> None:
    def silent(raw: dict[str, Any]) -> None:
        del raw["arch"]["quick_gelu"]

    base = load_file(folder / "base.safetensors")
    for name in base:  # where the two activations differ most, and loud
        if name.endswith("mlp.c_fc.bias"):
            base[name] -= 2
        elif name.endswith("mlp.c_proj.weight"):
            base[name] *= 50
    save_file(base, folder / "base.safetensors")
    own = recipe(folder, silent)
    found = compare_activations(own, "cpu", StageCache())
    for quick, scores in ((True, found.quick_gelu), (False, found.gelu)):
        said = with_activation(own, quick)
        truth = Project.open(said, device="cpu").evaluate(tiny_settled(said), "validation")
        assert scores == tuple(row.pretrained for row in truth.tasks)
    assert (found.tasks, found.images) == (tiny.TASKS, 72)
    assert found.quick_gelu != found.gelu
    assert found.means[0] == pytest.approx(sum(score.accuracy for score in found.quick_gelu) / 3)


def test_the_interval_of_a_mean_shrinks_with_the_tasks_that_it_is_over() -> None:
    score = Score(12, 24)
    low, high = score.interval
    one, four = (ActivationScores(("a",) * n, (score,) * n, (score,) * n) for n in (1, 4))
    assert one.intervals[0] == pytest.approx((low, high))
    assert four.intervals[1] == pytest.approx((0.5 - (0.5 - low) / 2, 0.5 + (high - 0.5) / 2))


def test_intervals_of_means_near_the_end_are_not_symmetric() -> None:
    found = ActivationScores(("a",) * 8, (Score(199, 200),) * 8, (Score(100, 200),) * 8)
    (low, high), other = found.intervals
    assert (round(low, 3), round(high, 3)) == (0.987, 0.996)  # and the mean 0.995
    assert sum(other) == pytest.approx(1)
    assert found.intervals[0] == pytest.approx(
        tuple(
            Evaluation(
                "", "", 1.0, {}, "test", (TaskScores("a", Score(0, 1), Score(1, 1), Score(199, 200)),) * 8, 0, 0.0
            ).mean_interval("merged")
        )
    )


def tiny_settled(own: Recipe) -> Recipe:
    return dataclasses.replace(own, parameters={"alpha": 1.0})


def test_activations_need_images_to_be_told_apart(folder: Path) -> None:
    def bare(raw: dict[str, Any]) -> None:
        for model in raw["models"]:
            del model["validation"]

    text = "no task has labelled validation images, choose the activation by its training"
    with says(ImagesError, text):
        compare_activations(recipe(folder, bare), "cpu", StageCache())


# Files that are odd, and files that are another's.


def test_weights_of_the_base_or_of_another_task_are_found_under_any_name_when_they_are_read(folder: Path) -> None:
    base = load_file(folder / "base.safetensors")
    save_file(
        dict(reversed(base.items())), folder / "ants.safetensors", {"by": "somebody"}
    )  # other bytes, same numbers
    shutil.copy(folder / "bees.safetensors", folder / "cats.safetensors")
    own = recipe(folder)
    assert {model.verdict.stance for model in judge(own).models} == {"ready"}  # headers do not tell
    project = Project.open(own, device="cpu")
    assert project.same == {"ants": "the base", "cats": "bees"}
    ants, bees, cats = (model.verdict for model in project.judgement.experts)
    assert (ants.stance, ants.words, bees.stance, cats.words) == (
        *("check", "Same weights as the base", "ready", "Same weights as bees"),
    )
    assert ants.sentence == (
        "ants has the weights of the base, so it adds no change of its own, give it its own weights or leave it out"
    )
    assert cats.sentence == (
        "cats has the weights of bees, so that change counts twice, give it its own weights or leave it out"
    )
    assert judge(own, same=project.same).models == project.judgement.models


def test_a_text_tower_and_mixed_types_are_remarks_on_files_that_are_ready(folder: Path) -> None:
    save_file(tiny.full_clip(load_file(folder / "base.safetensors")), folder / "base.safetensors")
    weights = load_file(folder / "bees.safetensors")
    save_file({**weights, "proj": weights["proj"].half()}, folder / "bees.safetensors")
    found = judge(recipe(folder))
    base, bees = found.base.verdict, found.experts[1].verdict
    assert (base.stance, base.sentence) == ("ready", "base: its text tower takes no part in the merge, which is fine")
    assert bees.stance == "ready"
    assert bees.sentence == "bees: its tensors are float16, float32 mixed, which is fine: sums run in float64"


def test_a_tower_for_other_images_an_adapter_and_a_hostile_pickle_are_refused_in_words(folder: Path) -> None:
    weights = load_file(folder / "ants.safetensors")
    position = torch.zeros(10, weights["positional_embedding"].shape[1])
    save_file({**weights, "positional_embedding": position}, folder / "ants.safetensors")
    lora = {f"base_model.model.layers.0.self_attn.q_proj.lora_{part}.weight": torch.zeros(2, 2) for part in "AB"}
    save_file(lora, folder / "bees.safetensors")
    torch.save({"weight": Harmful()}, folder / "cats.pt")

    def pickled(raw: dict[str, Any]) -> None:
        raw["models"][2]["path"] = "cats.pt"

    found = judge(recipe(folder, pickled)).refused
    assert [(model.name, model.verdict.words) for model in found] == [
        ("ants", "Refused: reads images of another size"),
        ("bees", "Refused: an adapter that does not fit"),
        ("cats", "Refused: asks to run a program"),
    ]
    assert "made for images of 24 pixels a side, the arch reads 16" in found[0].verdict.sentence
    assert "merge it into its base first" in found[1].verdict.sentence
    assert not (folder / "ran").exists()


def test_a_model_is_not_called_an_adapter_for_its_name(folder: Path) -> None:
    drop_block(folder / "ants.safetensors")

    def renamed(raw: dict[str, Any]) -> None:
        raw["models"][0]["name"] = "LoRA that asks to run"

    (model,) = judge(recipe(folder, renamed)).refused
    assert model.verdict.words == "Refused: block 2 lacks 12 keys"


def test_a_hostile_pickle_is_one_as_a_head_too(folder: Path) -> None:
    torch.save({"weight": Harmful()}, folder / "cats_head.pt")

    def pickled(raw: dict[str, Any]) -> None:
        raw["models"][2]["head"] = "cats_head.pt"

    (model,) = judge(recipe(folder, pickled)).refused
    assert model.verdict.words == "Refused: asks to run a program"
    with pytest.raises(HeadError) as caught:
        open_headers(recipe(folder, pickled))
    assert caught.value.kind == RUNS_CODE
    assert not (folder / "ran").exists()


class Harmful:
    """What a hostile file pickles: unpickled, it would run a program."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def test_how_images_are_prepared_is_said_in_words(folder: Path) -> None:
    assert judge(recipe(folder)).preprocessing.startswith("16 x 16 pixels, bicubic, shorter side resized")


def test_a_task_vector_in_place_of_a_model_is_asked_about(folder: Path) -> None:
    base, tuned = (load_file(folder / f"{name}.safetensors") for name in ("base", "bees"))
    save_file({name: tuned[name] - base[name] for name in base}, folder / "bees.safetensors")
    verdicts = [model.verdict for model in judge(recipe(folder)).experts]
    assert [verdict.stance for verdict in verdicts] == ["ready", "check", "ready"]
    assert verdicts[1].words == "A task vector, not a model?"
    assert verdicts[1].sentence.startswith("bees: its normalisation weights are at most ")
    assert verdicts[1].sentence.endswith("(the model minus the base), give the fine-tuned model itself")


def test_a_model_without_a_head_is_not_refused_and_says_how_it_is_measured(folder: Path) -> None:
    def headless(raw: dict[str, Any]) -> None:
        del raw["models"][1]["head"]

    judgement = judge(recipe(folder, headless))
    bees = judgement.experts[1]
    assert (bees.verdict.stance, bees.validation) == ("ready", 0)
    assert bees.verdict.words == "No head: it can be merged and measured by feature direction"
    assert "bees, validation images: left out, without a head they cannot be scored" in judgement.notes


def test_a_class_name_that_several_rows_have_is_told(folder: Path) -> None:
    raw = tiny.mapping()
    words = {"classes": ["ant", "bee", "ant", "cat"], "templates": ["a {}"]}
    raw["models"][0] |= {"head": words, "validation": "", "test": ""}
    told = (
        "ants, head: the class 'ant' is rows 0 and 2; rows made from the same name are equal, and only the first of "
        "them is predicted; give each class a name of its own"
    )
    assert told in judge(parse_mapping(raw, folder)).notes
    words["classes"][2] = "dog"
    assert not any("head" in note for note in judge(parse_mapping(raw, folder)).notes)


@pytest.mark.parametrize(("alpha", "same", "told"), [("search", True, 1), (0.5, True, 0), ("search", False, 0)])
def test_a_search_for_alpha_on_the_test_images_is_told(folder: Path, alpha: str | float, same: bool, told: int) -> None:
    raw = tiny.mapping(alpha=alpha)
    if same:
        (folder / "link.safetensors").symlink_to("bees_test.safetensors")
        raw["models"][1]["validation"] = "link.safetensors"
    notes = [note for note in judge(parse_mapping(raw, folder)).notes if "validation and test images are" in note]
    assert len(notes) == told
    assert all(note.startswith("bees: ") for note in notes)
