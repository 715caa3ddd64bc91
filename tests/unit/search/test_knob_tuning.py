"""The search over several knobs: what it tries, what it keeps, how it goes on, and whose files it takes."""

from __future__ import annotations

import json
import logging
import math
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from esm_viz.core.errors import (
    Cancelled,
    ExportError,
    HeadError,
    ImagesError,
    NumericsError,
    RecipeError,
    SearchStopped,
)
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe, parse_mapping
from esm_viz.core.records import KnobSearch, KnobTrial
from esm_viz.merge import METHODS, settle, with_method, with_parameters
from esm_viz.project.project import Project
from esm_viz.search.knob_tuning import MOST_TRIALS, propose, search, space_of
from tests.support.errors import says
from tests.support.tiny import LABELLED, TASKS, mapping, mislabel, recipe
from tests.support.watched import Watched

ROOT = Path(__file__).parents[3]
EMPTY = KnobSearch("esm", (), "normalised", 0, 0, ())
PAIR = ["alpha", "task_exponent"]


@pytest.fixture(scope="module")
def project(tiny_folder: Path) -> Project:
    return Project.open(recipe(tiny_folder, alpha=0.4), device="cpu")


@pytest.fixture(scope="module")
def found(project: Project) -> KnobSearch:
    """Return a search of 14 trials, four of them by TPE."""
    return project.search_knobs(project.recipe, PAIR, 14)


def without(folder: Path, *fields: str, method: str = "esm") -> Project:
    raw = mapping(method, alpha=0.4)
    for model in raw["models"]:
        for field in fields:
            del model[field]
    return Project.open(settle(parse_mapping(raw, folder)), device="cpu")


def toy(own: Recipe, height: Callable[[Recipe], float]) -> Callable[[Recipe, Progress], KnobTrial]:
    """Return a measure that knows its maximum."""
    return lambda recipe, report: KnobTrial(recipe.parameters, height(recipe))


def peak(recipe: Recipe) -> float:
    own = recipe.parameters
    return -((float(own["alpha"]) - 1.3) ** 2) - (float(own["task_exponent"]) - 0.7) ** 2


# What is tried.


def test_the_first_trial_is_the_recipe_as_it_is(project: Project, found: KnobSearch) -> None:
    assert found.trials[0].parameters == project.recipe.parameters
    assert found.trials[0].value == project.evaluate(project.recipe, "validation").mean_normalised


def test_every_value_is_what_evaluating_those_parameters_gives(project: Project, found: KnobSearch) -> None:
    for trial in found.trials:
        own = with_parameters(project.recipe, **trial.parameters)
        assert trial.value == project.evaluate(own, "validation").mean_normalised


def test_the_record_says_by_what_it_judged(found: KnobSearch) -> None:
    assert (found.method, found.knobs, found.seed) == ("esm", ("alpha", "task_exponent"), 0)
    assert (found.objective, found.images) == ("normalised", 3 * LABELLED)


def test_the_best_is_never_worse_than_the_start(found: KnobSearch) -> None:
    values = [trial.value for trial in found.trials]
    assert found.best == values.index(max(values))
    assert found.best_so_far == tuple(max(values[: at + 1]) for at in range(len(values)))


def test_only_the_knobs_named_move_and_no_point_is_tried_twice(project: Project, found: KnobSearch) -> None:
    fixed = {name: value for name, value in project.recipe.parameters.items() if name not in PAIR}
    assert all(fixed.items() <= trial.parameters.items() for trial in found.trials)
    points = {tuple(trial.parameters[name] for name in PAIR) for trial in found.trials}
    assert len(points) == len(found.trials)


@pytest.mark.parametrize("method", METHODS)
def test_proposals_lie_on_the_knobs_own_steps(tiny_folder: Path, method: str) -> None:
    own = with_method(recipe(tiny_folder), method)
    space, done = space_of(own, None), [KnobTrial(own.parameters, 0.0)]
    assert set(space) == set(METHODS[method].knobs)
    for seed in range(20):
        values = propose(space, done, seed)
        assert with_parameters(own, **values).parameters == values  # all of them, and allowed
        for name, knob in space.items():
            if knob.range:
                least, _, step = knob.range
                steps = (float(values[name]) - least) / step
                assert steps == pytest.approx(round(steps), abs=1e-9)
                assert len(repr(values[name])) <= 5  # 0.3, not 0.30000000000000004


def test_a_knob_of_words_is_searched_among_its_words(project: Project) -> None:
    found = project.search_knobs(project.recipe, ["alpha_scope"], 9, limit=5)
    assert [trial.parameters["alpha_scope"] for trial in found.trials] == ["all", "essential"]  # then nothing is left


def test_the_maximum_of_a_known_function_is_found(tiny_folder: Path) -> None:
    own = recipe(tiny_folder)
    record = search(replace(EMPTY, seed=3), own, space_of(own, PAIR), 80, toy(own, peak), None, NO_PROGRESS)
    best = record.trials[record.best]
    assert best.value > -0.02  # within 0.14 of the peak; the start lies 1.7 off, and uniform draws of 80 points ±0.2
    late = sum(trial.value for trial in record.trials[40:]) / 40
    assert late > sum(trial.value for trial in record.trials[1:10]) / 9 + 1  # it learns from what it saw


def test_a_point_that_cannot_be_merged_is_no_end_of_the_search(tiny_folder: Path) -> None:
    own = recipe(tiny_folder)

    def height(recipe: Recipe) -> float:
        if float(recipe.parameters["task_exponent"]) > 2.0:
            raise NumericsError("too much", "take less")
        return peak(recipe)

    record = search(EMPTY, own, space_of(own, PAIR), 40, toy(own, height), None, NO_PROGRESS)
    failed = [float(trial.parameters["task_exponent"]) > 2.0 for trial in record.trials]
    assert [math.isnan(trial.value) for trial in record.trials] == failed
    assert any(failed[:15])
    assert sum(failed[20:]) < 5  # it stays away from there
    assert not failed[record.best]


def test_a_recipe_that_cannot_be_merged_is_refused(project: Project) -> None:
    small = with_parameters(project.recipe, rank_ratio=0.05)
    with pytest.raises(NumericsError, match=r"^rank_ratio 0\.05 leaves r = 0 of 16 directions"):
        project.search_knobs(small, PAIR, 3)


def test_ranks_that_leave_nothing_are_noted_and_passed_over(project: Project) -> None:
    found = project.search_knobs(project.recipe, ["rank_ratio"], 14, seed=5, limit=5)
    assert {math.isnan(trial.value) for trial in found.trials if float(trial.parameters["rank_ratio"]) < 1 / 16} <= {
        True
    }
    assert not any(math.isnan(trial.value) for trial in found.trials if float(trial.parameters["rank_ratio"]) >= 0.1876)


def test_searched_alpha_is_found_anew_in_every_trial(project: Project) -> None:
    own = with_parameters(project.recipe, alpha="search")
    found = project.search_knobs(own, ["gain"], 3)
    for trial in found.trials:
        start = with_parameters(project.recipe, gain=trial.parameters["gain"])
        assert trial.parameters["alpha"] == project.search_alpha(start).alpha
        assert trial.value == project.search_alpha(start).value


def test_searched_alpha_starts_a_search_that_moves_alpha_too(project: Project) -> None:
    own = with_parameters(project.recipe, alpha="search")
    found = project.search_knobs(own, ["alpha"], 3)
    assert found.trials[0].parameters["alpha"] == project.search_alpha(own).alpha
    assert all(isinstance(trial.parameters["alpha"], float) for trial in found.trials)


# Seeds.


def test_the_same_seed_gives_the_same_trials_and_another_seed_others(project: Project, found: KnobSearch) -> None:
    assert project.search_knobs(project.recipe, PAIR, 14, seed=0) == found
    other = project.search_knobs(project.recipe, PAIR, 3, seed=1)
    assert other.trials[0] == found.trials[0]
    assert other.trials[1:] != found.trials[1:3]


def test_the_seed_is_the_recipes_own_where_none_is_given(project: Project) -> None:
    seeded = project.search_knobs(project.recipe.replace(seed=1), PAIR, 3)
    assert seeded.seed == 1
    assert seeded.trials == project.search_knobs(project.recipe, PAIR, 3, seed=1).trials


SCRIPT = """
import sys
from pathlib import Path
from esm_viz import Project
from tests.support.tiny import recipe
own = recipe(Path(sys.argv[1]), alpha=0.4)
found = Project.open(own, device="cpu").search_knobs(own, ["alpha", "task_exponent"], 14)
print([(sorted(trial.parameters.items()), trial.value) for trial in found.trials])
"""


def test_the_same_seed_gives_the_same_trials_in_another_process(tiny_folder: Path, found: KnobSearch) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", SCRIPT, str(tiny_folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert run.stdout.strip() == str([(sorted(trial.parameters.items()), trial.value) for trial in found.trials])
    assert not run.stderr  # no line of Optuna's, no warning


def test_optunas_own_logging_is_left_as_it_was(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.enable_propagation()
    try:
        with caplog.at_level(logging.DEBUG):
            propose(space_of(project.recipe, PAIR), [], 0)
    finally:
        optuna.logging.disable_propagation()
    assert optuna.logging.get_verbosity() == before
    assert not [record for record in caplog.records if record.name.startswith("optuna")]


def test_starting_the_command_line_does_not_wait_for_optuna() -> None:
    code = "import sys, esm_viz.cli; print([name for name in sys.modules if name.split('.')[0] == 'optuna'])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "[]\n"


# Stopping and going on.


class Stop:
    """Notes every report, and stops the work when a trial begins."""

    def __init__(self, trial: int = 0) -> None:
        self.seen: list[tuple[float, str]] = []
        self.trial = trial

    def __call__(self, fraction: float, words: str) -> None:
        self.seen.append((fraction, words))
        if self.trial and words.startswith(f"trial {self.trial} "):
            raise Cancelled


def test_what_was_found_before_a_stop_is_kept(project: Project, found: KnobSearch) -> None:
    with pytest.raises(SearchStopped) as caught:
        project.search_knobs(project.recipe, PAIR, 14, progress=Progress(Stop(6)))
    assert str(caught.value) == "stopped, after 5 of 14 trials, start it again to go on"
    assert caught.value.found == replace(found, trials=found.trials[:5])


def test_a_stop_before_the_first_trial_has_found_nothing(project: Project) -> None:
    with pytest.raises(SearchStopped) as caught:
        project.search_knobs(project.recipe, PAIR, 14, progress=Progress(Stop(1)))
    assert caught.value.found is None


def test_a_stopped_search_goes_on_from_its_storage_as_if_it_had_not_been_stopped(
    tiny_folder: Path, tmp_path: Path, found: KnobSearch
) -> None:
    storage, cache = tmp_path / "trials.json", Watched()
    own = recipe(tiny_folder, alpha=0.4)
    with pytest.raises(SearchStopped):
        Project.open(own, device="cpu").search_knobs(own, PAIR, 14, storage=storage, progress=Progress(Stop(8)))
    assert [path.name for path in tmp_path.iterdir()] == ["trials.json"]  # no lock, no half-written file
    again = Project.open(own, device="cpu", cache=cache)
    assert again.search_knobs(own, PAIR, 7, storage=storage) == replace(found, trials=found.trials[:7])
    assert not cache.ran  # seven trials were asked for and seven are there
    assert again.search_knobs(own, PAIR, 14, storage=storage) == found
    assert cache.counted()["weights"] == 7


def test_five_trials_and_then_ten_are_the_ten_of_one_go(project: Project, tmp_path: Path, found: KnobSearch) -> None:
    for trials in (5, 10):
        part = project.search_knobs(project.recipe, PAIR, trials, storage=tmp_path / "trials.json")
        assert part == replace(found, trials=found.trials[:trials])


def test_points_that_cannot_be_merged_and_searched_alphas_are_kept_too(tiny_folder: Path, tmp_path: Path) -> None:
    own = recipe(tiny_folder, alpha="search")
    opened = Project.open(own, device="cpu")
    whole = opened.search_knobs(own, ["rank_ratio"], 14, seed=5, limit=5)
    assert any(math.isnan(trial.value) for trial in whole.trials)
    for trials in (9, 14):
        part = opened.search_knobs(own, ["rank_ratio"], trials, seed=5, limit=5, storage=tmp_path / "trials.json")
    assert str(part) == str(whole)  # NaN equals nothing


def test_progress_grows_over_all_trials(project: Project) -> None:
    report = Stop()
    project.search_knobs(
        with_parameters(project.recipe, alpha="search"), ["gain"], 3, limit=4, progress=Progress(report)
    )
    fractions = [fraction for fraction, _ in report.seen]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1] <= 1) == (0.0, True)
    assert report.seen[0][1] == "trial 1 of 3"
    assert report.seen[-1][1].startswith("trial 3 of 3, best so far ")


# Whose storage it is.


@pytest.fixture
def kept(project: Project, tmp_path: Path) -> Path:
    storage = tmp_path / "trials.json"
    project.search_knobs(project.recipe, PAIR, 3, storage=storage, limit=5)
    return storage


def go_on(project: Project, storage: Path, knobs: list[str] = PAIR, **changes: Any) -> KnobSearch:
    given = {"limit": 5, **changes}
    return project.search_knobs(given.pop("recipe", project.recipe), knobs, 4, storage=storage, **given)


def other(what: str) -> str:
    return f"the storage is of another search, it differs in {what}, trials.json, give another file"


def test_a_storage_of_another_search_is_refused_and_left_as_it_is(project: Project, kept: Path) -> None:
    before = kept.read_bytes()
    with says(RecipeError, other("the knobs searched")):
        go_on(project, kept, ["gain"])
    with says(RecipeError, other("the seed")):
        go_on(project, kept, seed=4)
    with says(RecipeError, other("the number of images")):
        go_on(project, kept, limit=6)
    with says(RecipeError, other("the recipe or its files")):
        go_on(project, kept, recipe=with_parameters(project.recipe, gain=1.1))
    with says(RecipeError, other("the recipe or its files and the knobs searched")):
        go_on(project, kept, ["alpha"], recipe=with_method(project.recipe, "tsv_m"))
    assert kept.read_bytes() == before


def flip(path: Path, name: str) -> None:
    tensors = load_file(path)
    tensors[name].view(-1)[0] += 1
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("file", "tensor", "what"),
    [
        ("base", "proj", "the recipe or its files"),
        ("cats", "proj", "the recipe or its files"),
        ("bees_proxies", "images", "the recipe or its files"),
        ("bees_validation", "images", "the labelled images"),
        ("ants_head", "weight", "the labelled images"),
    ],
)
def test_a_storage_of_another_project_is_refused(
    project: Project, tiny_folder: Path, tmp_path: Path, kept: Path, file: str, tensor: str, what: str
) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "own"))
    same = Project.open(recipe(folder, alpha=0.4), device="cpu")
    assert go_on(same, kept).trials[:3] == go_on(project, kept).trials[:3]  # wherever the same files lie
    flip(folder / f"{file}.safetensors", tensor)
    changed = Project.open(recipe(folder, alpha=0.4), device="cpu")
    with says(RecipeError, other(what)):
        go_on(changed, kept)


def test_a_storage_without_labels_is_not_one_with_labels(tiny_folder: Path, kept: Path) -> None:
    bare = without(tiny_folder, "validation", "test")
    with says(RecipeError, other("the labelled images")):
        go_on(bare, kept)


class Evil:
    """Runs code where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def changed(kept: Path, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """Return a storage with something in it changed."""
    raw = json.loads(kept.read_text(encoding="utf-8"))
    other = change(raw)
    return json.dumps(raw if other is None else other).encode()


def last(raw: dict[str, Any]) -> dict[str, Any]:
    return raw["trials"][-1]


HOSTILE: dict[str, Callable[[Path], bytes]] = {
    "nothing": lambda kept: b"",
    "no text": lambda kept: bytes(range(256)),
    "half a file": lambda kept: kept.read_bytes()[:-40],
    "other JSON": lambda kept: b"[1, 2]",
    "a number": lambda kept: b"3",
    "deep brackets": lambda kept: b"[" * 100_000,
    "a pickle": lambda kept: pickle.dumps(Evil(kept.with_name("ran"))),
    "an Optuna journal": lambda kept: b'{"op_code":0,"worker_id":"a-1","study_name":"x","directions":[2]}\n',
    "too large": lambda kept: kept.read_bytes() + b" " * (1 << 22),
    "another format": lambda kept: changed(kept, lambda raw: raw.update(format="esm_viz knob search 2")),
    "no search": lambda kept: changed(kept, lambda raw: raw.update(search=[])),
    "trials by name": lambda kept: changed(kept, lambda raw: raw.update(trials={"a": 1})),
    "trials as a number": lambda kept: changed(kept, lambda raw: raw.update(trials=3)),
    "no value": lambda kept: changed(kept, lambda raw: last(raw).pop("value") and None),
    "a word as value": lambda kept: changed(kept, lambda raw: last(raw).update(value="0.5")),
    "truth as value": lambda kept: changed(kept, lambda raw: last(raw).update(value=True)),
    "endless value": lambda kept: changed(kept, lambda raw: last(raw).update(value=math.inf)),
    "a value of 400 digits": lambda kept: changed(kept, lambda raw: last(raw).update(value=10**400)),
    "a value of 5000 digits": lambda kept: kept.read_bytes().replace(b'"value": ', b'"value": ' + b"1" * 5000),
    "out of range": lambda kept: changed(kept, lambda raw: last(raw)["parameters"].update(alpha=7.0)),
    "another knob moved": lambda kept: changed(kept, lambda raw: last(raw)["parameters"].update(gain=1.0)),
    "an unknown knob": lambda kept: changed(kept, lambda raw: last(raw)["parameters"].update(recipe=1.0)),
    "a knob missing": lambda kept: changed(kept, lambda raw: last(raw)["parameters"].pop("gain") and None),
    "an α that was never found": lambda kept: changed(kept, lambda raw: last(raw)["parameters"].update(alpha="search")),
    "another start": lambda kept: changed(kept, lambda raw: raw["trials"][0]["parameters"].update(alpha=0.5)),
    "a start without a value": lambda kept: changed(kept, lambda raw: raw["trials"][0].update(value=None)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_storage_is_refused_unrun_and_left_as_it_is(project: Project, kept: Path, what: str) -> None:
    content = HOSTILE[what](kept)
    kept.write_bytes(content)
    with says(RecipeError, "this is no storage of a knob search, trials.json, give another file"):
        go_on(project, kept)
    assert kept.read_bytes() == content
    assert [path.name for path in kept.parent.iterdir()] == ["trials.json"]


def test_a_folder_is_no_storage(project: Project, tmp_path: Path) -> None:
    (tmp_path / "trials.json").mkdir()
    with says(RecipeError, "this is no storage of a knob search, trials.json, give another file"):
        go_on(project, tmp_path / "trials.json")


@pytest.mark.parametrize("name", ["x" * 300, "a file/inside"])
def test_a_place_where_no_file_can_be_is_refused_before_any_work(tiny_folder: Path, tmp_path: Path, name: str) -> None:
    cache = Watched()
    watched = Project.open(recipe(tiny_folder), device="cpu", cache=cache)
    (tmp_path / "a file").touch()
    with says(ExportError, f"{Path(name).name} cannot be written there, choose another place"):
        watched.search_knobs(watched.recipe, PAIR, 2, storage=tmp_path / name)
    assert not cache.ran


def test_the_hostile_pickle_would_have_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Evil(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


# By what it judges.


def test_without_labels_it_lessens_the_divergence_from_the_experts(tiny_folder: Path) -> None:
    bare = without(tiny_folder, "validation", "test")
    found = bare.search_knobs(bare.recipe, PAIR, 12)
    assert (found.objective, found.images) == ("divergence", bare.agreement(bare.recipe).images)
    for trial in found.trials:
        own = with_parameters(bare.recipe, **trial.parameters)
        assert trial.value == -bare.agreement(own).divergence.value


def test_without_heads_alpha_alone_is_searched_and_other_knobs_are_refused(tiny_folder: Path) -> None:
    bare = without(tiny_folder, "validation", "test", "head")
    found = bare.search_knobs(bare.recipe, ["alpha"], 4)
    assert found.objective == "direction"
    assert [trial.value for trial in found.trials] == [
        bare.agreement(with_parameters(bare.recipe, **trial.parameters)).direction.value for trial in found.trials
    ]
    text = (
        f"{', '.join(TASKS)} have no head to choose knobs other than α by, "
        "give `head` in the recipe, class names are enough to make one"
    )
    with says(HeadError, text):
        bare.search_knobs(bare.recipe, PAIR, 2)


def test_test_images_are_never_searched_by(tiny_folder: Path) -> None:
    part = without(tiny_folder, "validation")
    assert part.search_knobs(part.recipe, PAIR, 2).objective == "divergence"


def test_limit_is_the_number_of_images_a_task(project: Project) -> None:
    found = project.search_knobs(project.recipe, PAIR, 2, limit=5)
    assert found.images == 15
    assert found.trials[0].value == project.evaluate(project.recipe, "validation", 5).mean_normalised


def test_with_nothing_to_judge_by_it_is_refused(tiny_folder: Path) -> None:
    bare = without(tiny_folder, "proxies", "validation", "test", method="tsv_m")
    text = "there is nothing to measure by, give every task proxies, or labelled images and a head"
    with says(ImagesError, text):
        bare.search_knobs(bare.recipe, ["alpha"], 2)


def test_without_labels_alpha_is_searched_inside_by_agreement(tiny_folder: Path) -> None:
    bare = without(tiny_folder, "validation")
    searched = with_parameters(bare.recipe, alpha="search")
    found = bare.search_knobs(searched, ["gain"], 1)
    assert found.trials[0].parameters["alpha"] == bare.search_alpha(searched).alpha


def test_where_no_task_moved_there_is_no_direction(tmp_path: Path, tiny_folder: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "own"))
    for task in TASKS:
        shutil.copy(folder / "base.safetensors", folder / f"{task}.safetensors")
    bare = without(folder, "validation", "test", "head")
    with says(NumericsError, "no task changed a layer, give models fine-tuned from the base"):
        bare.search_knobs(bare.recipe, ["alpha"], 2)


def test_an_expert_that_is_never_right_is_told(tmp_path: Path, tiny_folder: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "own"))
    mislabel(folder, "bees")
    wrong = Project.open(recipe(folder), device="cpu")
    text = "bees's expert is right on none of its 24 validation images, check its head and its labels"
    with says(HeadError, text):
        wrong.search_knobs(wrong.recipe, PAIR, 2)


# What is refused.


@pytest.mark.parametrize(
    ("knobs", "text"),
    [
        ([], f"there is no knob to search, give some of {', '.join(METHODS['esm'].knobs)}"),
        (["alpha", "alpha"], "the knob alpha is given twice, give each knob once"),
        (["alpa"], f"esm has no parameter 'alpa' (did you mean alpha?), use {', '.join(METHODS['esm'].knobs)}"),
    ],
)
def test_wrong_knobs_are_refused(project: Project, knobs: list[str], text: str) -> None:
    with says(RecipeError, text):
        project.search_knobs(project.recipe, knobs, 2)


@pytest.mark.parametrize("trials", [0, -3, 2.0, True, MOST_TRIALS + 1])
def test_a_number_of_trials_that_is_none_is_refused(project: Project, trials: Any) -> None:
    with says(RecipeError, f"the number of trials is {trials}, give a whole number from 1 to 1000"):
        project.search_knobs(project.recipe, PAIR, trials)


def test_a_seed_that_is_none_is_refused(project: Project) -> None:
    with says(RecipeError, "seed is -1, knob search, give a whole number from 0"):
        project.search_knobs(project.recipe, PAIR, 2, seed=-1)


def test_a_search_changes_no_bit_of_what_is_merged(project: Project, found: KnobSearch, tiny_folder: Path) -> None:
    best = with_parameters(project.recipe, **found.trials[found.best].parameters)
    fresh = Project.open(best, device="cpu")
    mine, theirs = project.materialize(best), fresh.materialize(best)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
