"""Confusions, flips and paired differences: by hand on a few images, then against plain counting on a project."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

from esm_viz.core.errors import ImagesError, RecipeError
from esm_viz.core.recipe import parse_mapping
from esm_viz.core.records import REFERENCES, Confusion, Difference, Flip, Flips, Paired, RoutedImage, RoutedImages
from esm_viz.evaluation import prediction_comparison
from esm_viz.evaluation.thumbnails import MOST_THUMBNAILS
from esm_viz.merge import settle, with_parameters
from esm_viz.project.project import Project
from esm_viz.stages.cached_predictions import Predictions
from tests.support.errors import says
from tests.support.pictures import picture
from tests.support.tiny import CLASSES, LABELLED, TASKS, answers, filled, mapping, recipe

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
A = torch.tensor([0, 1, 1, 0, 2, 0])
B = torch.tensor([0, 0, 2, 2, 2, 2])


def predicted(chosen: torch.Tensor, first: float) -> Predictions:
    """Return predictions for every other image of a set, with probabilities that can be told apart."""
    sure = first + torch.arange(6) / 64  # exact in binary
    return Predictions(chosen, sure, torch.zeros(0, 6), tuple(range(0, 12, 2)))


@pytest.fixture(scope="module")
def project(tiny_folder: Path) -> Project:
    return Project.open(recipe(tiny_folder, alpha=0.4), device="cpu")


def test_a_confusion_counts_answers_by_true_class() -> None:
    assert prediction_comparison.confusion("ants", "test", ("x", "y", "z"), LABELS, A) == Confusion(
        "ants", "test", ("x", "y", "z"), ((1, 1, 0), (1, 1, 0), (1, 0, 1)), (2, 2, 2), 3, 6, 3
    )


def test_the_worst_mistake_is_the_most_frequent_one_and_the_first_of_equals() -> None:
    found = prediction_comparison.confusion("ants", "test", ("x", "y", "z"), LABELS, B)
    assert found.worst == (1, 2, 2)
    assert prediction_comparison.confusion("ants", "test", ("x", "y", "z"), LABELS, A).worst == (0, 1, 1)
    assert prediction_comparison.confusion("ants", "test", ("x", "y", "z"), LABELS, LABELS).worst is None


def test_of_many_classes_those_with_most_mistakes_are_shown_in_the_heads_order() -> None:
    count = prediction_comparison.MOST_CLASSES + 2
    labels = torch.arange(count).repeat(2)
    chosen = labels.clone()
    chosen[[5, count + 5, 9]] = 0  # 5 is never right, 9 once
    found = prediction_comparison.confusion("ants", "test", tuple(map(str, range(count))), labels, chosen)
    assert len(found.classes) == prediction_comparison.MOST_CLASSES
    assert found.classes == tuple(
        map(str, range(prediction_comparison.MOST_CLASSES))
    )  # of the equally good the first ones
    assert (found.known, found.n, found.correct) == (count, 2 * count, 2 * count - 3)
    assert (found.counts[5][0], found.counts[9][0], found.counts[9][9], found.totals[9]) == (2, 1, 1, 2)


def test_a_confusion_of_many_classes_counts_only_pairs_that_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A matrix of all 20,000 classes would take 3 GB."""
    count = 20_000
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, count, (500,), generator=generator)
    chosen = torch.where(torch.rand(500, generator=generator) < 0.5, labels, labels.roll(1))
    largest = 0
    plain = torch.bincount

    def watched(values: torch.Tensor, minlength: int = 0) -> torch.Tensor:
        nonlocal largest
        largest = max(largest, minlength)
        assert minlength <= count  # before it takes the memory
        return plain(values, minlength=minlength)

    monkeypatch.setattr(torch, "bincount", watched)
    found = prediction_comparison.confusion("ants", "test", tuple(map(str, range(count))), labels, chosen)
    assert largest == count
    assert (found.n, found.correct, found.known) == (500, int((labels == chosen).sum()), count)
    pairs = list(zip(labels.tolist(), chosen.tolist(), strict=True))
    for row, true in enumerate(found.classes):
        assert found.totals[row] == sum(label == int(true) for label, _ in pairs)
        for column, answer in enumerate(found.classes):
            assert found.counts[row][column] == pairs.count((int(true), int(answer)))


def test_flips_are_the_images_on_which_one_of_the_two_is_right() -> None:
    found = prediction_comparison.flips("ants", "test", ("x", "y", "z"), LABELS, predicted(A, 0.25), predicted(B, 0.5))
    assert found == Flips(
        task="ants",
        split="test",
        classes=("x", "y", "z"),
        n=6,
        became_right=(
            Flip(2, 0, 1, 0, 0.25 + 1 / 64, 0.5 + 1 / 64),
            Flip(10, 2, 0, 2, 0.25 + 5 / 64, 0.5 + 5 / 64),
        ),
        became_wrong=(Flip(4, 1, 1, 2, 0.25 + 2 / 64, 0.5 + 2 / 64),),
        both_right=2,
        both_wrong=1,
    )
    assert found.paired == Paired(2, 1, 6)
    assert found.paired == prediction_comparison.paired(LABELS, predicted(A, 0.25), predicted(B, 0.5))


def test_the_paired_interval_is_bonett_and_prices_by_hand() -> None:
    pair = Paired(30, 10, 198)  # g = 31 / 200, l = 11 / 200, d = 0.1
    half = 1.959963984540054 * math.sqrt((0.155 + 0.055 - 0.01) / 200)
    assert pair.difference == 20 / 198
    assert pair.interval == pytest.approx((0.1 - half, 0.1 + half), rel=1e-12)
    assert pair.told
    assert not Paired(12, 10, 198).told


def test_images_of_a_route_are_wrong_predictions_first_then_by_layers() -> None:
    found = predicted(B, 0.5)  # wrong at the third and fourth image
    routes = torch.tensor([[1, 1, 0, 1, 0, 0], [1, 0, 0, 1, 0, 1], [1, 0, 1, 0, 0, 1]])
    images = prediction_comparison.routed_images(found, routes, LABELS, adapter=1)
    assert images == (
        RoutedImage(6, 1, 2, 0.5 + 3 / 64, layers=2),
        RoutedImage(4, 1, 2, 0.5 + 2 / 64, layers=1),
        RoutedImage(0, 0, 0, 0.5, layers=3),
        RoutedImage(10, 2, 2, 0.5 + 5 / 64, layers=2),
        RoutedImage(2, 0, 0, 0.5 + 1 / 64, layers=1),
    )
    record = RoutedImages("ants", "bees", "test", ("one", "two", "three"), ("x", "y", "z"), 6, images)
    assert record.wrong == 2


@pytest.mark.parametrize("pair", [Paired(0, 0, 1), Paired(5, 0, 5), Paired(0, 5, 5), Paired(0, 0, 600)])
def test_the_interval_holds_the_difference_and_stays_within_one(pair: Paired) -> None:
    low, high = pair.interval
    assert -1 <= low <= pair.difference <= high <= 1
    assert low < high  # also without a single flip: other images might flip


def test_without_images_nothing_is_told() -> None:
    assert not Paired(0, 0, 0).told
    assert all(map(math.isnan, Paired(0, 0, 0).interval))


@pytest.mark.parametrize(("gain", "loss"), [(0.1, 0.1), (0.3, 0.1), (0.05, 0.02), (0.5, 0.4)])
def test_the_interval_holds_the_truth_in_at_least_93_of_100_tables(gain: float, loss: float) -> None:
    """Sum the exact probability of every table of n images whose interval holds the true difference."""
    n, held = 60, 0.0
    for gained, lost in itertools.product(range(n + 1), repeat=2):
        rest = n - gained - lost
        if rest < 0:
            continue
        ways = math.comb(n, gained) * math.comb(n - gained, lost)
        chance = ways * gain**gained * loss**lost * (1 - gain - loss) ** rest
        low, high = Paired(gained, lost, n).interval
        held += chance * (low <= gain - loss <= high)
    assert 0.93 < held < 0.995  # never far below; with three or four flips in all it is wider than it need be


def test_the_interval_is_that_of_a_bootstrap_over_images() -> None:
    outcome = torch.tensor([1.0] * 60 + [-1.0] * 30 + [0.0] * 510)
    drawn = torch.randint(len(outcome), (4000, len(outcome)), generator=torch.Generator().manual_seed(0))
    means = outcome[drawn].mean(1)
    wanted = means.quantile(torch.tensor([0.025, 0.975])).tolist()
    assert Paired(60, 30, 600).interval == pytest.approx(wanted, abs=0.004)  # 4,000 draws: ± 0.0006 on each end


def test_the_interval_of_the_mean_is_narrower_than_a_tasks() -> None:
    pairs = (Paired(30, 10, 198),) * 4
    found = Difference("test", tuple("abcd"), pairs)
    low, high = pairs[0].interval
    value = pairs[0].difference
    assert found.mean == pytest.approx(value)
    assert found.mean_interval == pytest.approx((value - (value - low) / 2, value + (high - value) / 2))
    assert found.told


def asked(project: Project, folder: Path, task: str, model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return labels and answers of open_clip's own tower."""
    files = {"pretrained": "base", "finetuned": task}
    weights = load_file(folder / f"{files[model]}.safetensors") if model in REFERENCES else project.materialize(model)
    head, labelled = (
        load_file(folder / f"{task}_head.safetensors")["weight"],
        load_file(folder / f"{task}_test.safetensors"),
    )
    return labelled["labels"], answers(filled(weights), head, labelled["images"])


@pytest.mark.parametrize("kind", ["merged", *REFERENCES])
def test_a_projects_confusion_is_that_of_plain_answers(project: Project, tiny_folder: Path, kind: str) -> None:
    model: Any = project.recipe if kind == "merged" else kind
    labels, chosen = asked(project, tiny_folder, "bees", model)
    counts = [[int(((labels == t) & (chosen == a)).sum()) for a in range(CLASSES)] for t in range(CLASSES)]
    found = project.confusion(model, "bees")
    assert found.counts == tuple(map(tuple, counts))
    assert (found.task, found.split, found.n) == ("bees", "test", LABELLED)
    assert found.classes == ("class 0", "class 1", "class 2", "class 3")  # neither head nor folders name them


def test_a_projects_confusion_has_the_heads_rows_where_a_table_names_fewer(tiny_folder: Path, tmp_path: Path) -> None:
    """A table of three classes for a head of four rows: refused without names, by name with them."""
    place = Path(shutil.copytree(tiny_folder, tmp_path / "own"))
    labels = [0, 1, 2, 0, 1, 2]
    names = {"label": {"names": ["wasp", "hornet", "mason"], "_type": "ClassLabel"}}
    table = pa.table({"image": pa.array([picture(at) for at in range(6)]), "label": labels})
    table = table.replace_schema_metadata({b"huggingface": json.dumps({"info": {"features": names}}).encode()})
    pq.write_table(table, place / "bees.parquet")

    def opened(**more: object) -> Project:
        raw = {**mapping(), "models": [{**mapping()["models"][1], "test": "bees.parquet", **more}]}
        return Project.open(settle(parse_mapping(raw, place)), device="cpu")

    with pytest.raises(ImagesError, match="the table names 3 classes for a head of 4 rows"):
        opened()
    found = opened(classes=["honey", "mason", "wasp", "hornet"])
    confusion = found.confusion("finetuned", "bees")
    assert (confusion.classes, confusion.known) == (("honey", "mason", "wasp", "hornet"), CLASSES)
    assert confusion.totals == (0, 2, 2, 2)  # by name: wasp is row 2
    assert confusion.correct == found.evaluate(found.recipe).tasks[0].finetuned.correct


def test_a_projects_flips_are_those_of_plain_answers(project: Project, tiny_folder: Path) -> None:
    other = with_parameters(project.recipe, alpha=1.5)
    found = project.flips("pretrained", other, "cats")
    labels, before = asked(project, tiny_folder, "cats", "pretrained")
    _, now = asked(project, tiny_folder, "cats", other)
    right = [i for i in range(LABELLED) if before[i] != labels[i] == now[i]]
    wrong = [i for i in range(LABELLED) if before[i] == labels[i] != now[i]]
    assert [flip.index for flip in found.became_right] == right
    assert [flip.index for flip in found.became_wrong] == wrong
    assert right or wrong
    assert found.both_right + found.both_wrong + len(right) + len(wrong) == LABELLED
    head = load_file(tiny_folder / "cats_head.safetensors")["weight"]
    images = load_file(tiny_folder / "cats_test.safetensors")["images"]
    towers = filled(load_file(tiny_folder / "base.safetensors")), filled(project.materialize(other))
    with torch.inference_mode():
        logits = [F.normalize(tower(images), dim=1) @ head.mT * (30 / head.norm(dim=1).mean()) for tower in towers]
    a, b = (each.softmax(1).max(1).values for each in logits)
    for flip in (*found.became_right, *found.became_wrong):
        assert flip.a_probability == pytest.approx(float(a[flip.index]), rel=1e-4)
        assert flip.b_probability == pytest.approx(float(b[flip.index]), rel=1e-4)


def test_flips_agree_with_the_scores_of_both(project: Project) -> None:
    other = with_parameters(project.recipe, alpha=2.0)
    before, now = (project.evaluate(own, "validation", 7).tasks for own in (project.recipe, other))
    for at, task in enumerate(TASKS):
        found = project.flips(project.recipe, other, task, "validation", 7)
        assert len(found.became_right) + found.both_right == now[at].merged.correct
        assert len(found.became_wrong) + found.both_right == before[at].merged.correct
        assert found.n == 7
    difference = project.difference(project.recipe, other, "validation", 7)
    means = [sum(row.merged.accuracy for row in rows) / len(TASKS) for rows in (before, now)]
    assert difference.mean == pytest.approx(means[1] - means[0])


def test_a_quick_subset_names_images_by_their_place_in_the_whole_set(project: Project) -> None:
    found = project.flips("pretrained", "finetuned", "ants", "test", 5)
    places = {flip.index for flip in (*found.became_right, *found.became_wrong)}
    assert places <= {index * LABELLED // 5 for index in range(5)}


def test_no_model_runs_again_for_a_confusion_or_flips(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project.open(recipe(tiny_folder, alpha=0.4), device="cpu")
    project.evaluate(project.recipe)

    def never(*_: object) -> None:
        raise AssertionError("a model was asked again")

    monkeypatch.setattr("esm_viz.stages.cached_predictions.predict", never)
    project.confusion(project.recipe, "ants")
    project.flips("pretrained", project.recipe, "ants")
    project.difference("finetuned", project.recipe)


@pytest.mark.parametrize(
    ("model", "task", "error", "text"),
    [
        ("nobody", "ants", RecipeError, "there is no model 'nobody', give a recipe, or pretrained or finetuned"),
        ("pretrained", "dogs", RecipeError, "there is no task 'dogs', use ants, bees, cats"),
    ],
)
def test_what_is_not_there_is_told(project: Project, model: Any, task: str, error: Any, text: str) -> None:
    with says(error, text):
        project.confusion(model, task)


def test_thumbnails_are_the_images_asked_for(project: Project, tmp_path: Path) -> None:
    found = project.labelled_thumbnails("bees", "test", [3, 0])
    assert len(found) == 2
    assert found == [project.labelled_thumbnails("bees", "test", [at])[0] for at in (3, 0)]
    (tmp_path / "one.png").write_bytes(found[0])
    with Image.open(tmp_path / "one.png") as image:
        assert image.size == (16, 16)
    assert project.labelled_thumbnails("bees", "test", []) == []


@pytest.mark.parametrize("indices", [[LABELLED], [-1], [0] * (MOST_THUMBNAILS + 1)])
def test_other_thumbnails_are_refused(project: Project, indices: list[int]) -> None:
    with says(ImagesError, "bees has 24 test images, ask for at most 64 of them"):
        project.labelled_thumbnails("bees", "test", indices)


def test_routes_are_where_the_images_went(tiny_folder: Path) -> None:
    routed = Project.open(recipe(tiny_folder, "esmpp", alpha=1.5, expert_rank=4, routed="in_proj+c_proj"), device="cpu")
    routing = routed.evaluate(routed.recipe).routing
    assert routing is not None
    for at, task in enumerate(TASKS):
        images = load_file(tiny_folder / f"{task}_test.safetensors")["images"]
        routes = routed.encode_routed(routed.recipe, images)[1]
        assert routes is not None
        for layer in range(len(routing.layers)):
            wanted = [float((routes[layer] == expert).double().mean()) for expert in range(len(TASKS))]
            assert list(routing.routes[layer][at]) == pytest.approx(wanted)
            for expert, adapter in enumerate(TASKS):
                found = routed.routed_images(routed.recipe, task, adapter, routing.layers[layer].name)
                went = (routes[layer] == expert).nonzero()[:, 0].tolist()
                assert sorted(image.index for image in found.images) == went
        anywhere = routed.routed_images(routed.recipe, task, TASKS[0])
        assert {image.index: image.layers for image in anywhere.images} == {
            index: count for index, count in enumerate((routes == 0).sum(0).tolist()) if count
        }


def test_only_routed_layers_have_routes(project: Project, tiny_folder: Path) -> None:
    with says(RecipeError, "esm routes no images, use esmpp"):
        project.routed_images(project.recipe, "ants", "bees")
    routed = Project.open(recipe(tiny_folder, "esmpp", alpha=1.5, expert_rank=4, routed="c_proj"), device="cpu")
    first, second = (layer.name for layer in routed.layers if layer.family == "c_proj")
    with says(RecipeError, f"'nowhere' is no routed layer, use {first}, {second}"):
        routed.routed_images(routed.recipe, "ants", "bees", "nowhere")
