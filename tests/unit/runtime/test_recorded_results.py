"""Answers given before: they come back as the records they were, and only to the same question on the same files."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from esm_viz import with_parameters
from esm_viz.core.records import Interference, Score
from esm_viz.project.project import Project
from esm_viz.runtime.recorded_results import RecordedResults, as_plain_data, restored
from tests.support import tiny


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("tiny")
    tiny.write_project(folder)
    made = Project.open(tiny.recipe(folder), device="cpu")
    made.prepare()
    return made


@pytest.fixture
def recording(project: Project) -> typing.Iterator[RecordedResults]:
    project.recorded = RecordedResults()
    yield project.recorded
    project.recorded = None


def asked(project: Project) -> dict[str, tuple[Any, ...]]:
    recipe = project.recipe
    return {
        "layer_map": ("overlap", recipe),
        "spectrum": ("bees", tiny.C_FC, recipe),
        "ranks_for_energy": ("bees", tiny.C_FC, (0.5, 0.9)),
        "overlap": (tiny.C_FC, recipe),
        "angles": (tiny.C_FC, "ants", "cats", recipe),
        "subspace_map": (recipe,),
        "stability": ("bees", tiny.C_FC, recipe),
        "patches": ("bees", tiny.C_FC, 1, recipe),
        "scaling_profile": (recipe,),
        "merge": (recipe,),
        "evaluate": (recipe, "validation"),
        "thumbnails": ("bees", 2),
    }


def test_every_record_comes_back_from_json_as_it_was(project: Project) -> None:
    for name, arguments in asked(project).items():
        answer = getattr(project, name)(*arguments)
        kind = typing.get_type_hints(getattr(Project, name))["return"]
        back = restored(kind, json.loads(json.dumps(as_plain_data(answer))))
        assert repr(back) == repr(with_plain_parameters(answer)), name  # repr: a NaN is not equal to itself


def test_numbers_that_are_none_come_back_as_they_were() -> None:
    record = Score(0, 0)
    figures = Interference(("ants",), (), ((math.nan, math.inf, 0.1),), (-math.inf,))
    for each in (record, figures):
        assert repr(restored(type(each), json.loads(json.dumps(as_plain_data(each))))) == repr(each)


@pytest.mark.parametrize("raw", [{"correct": 1}, {"correct": "1", "n": 2}, {"correct": 1.5, "n": 2}, [1, 2], None])
def test_a_record_of_another_form_is_refused(raw: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        restored(Score, raw)


def test_what_was_written_down_is_given_again_without_computing(
    project: Project, recording: RecordedResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = project.merge(project.recipe)
    project.recorded = RecordedResults(recording.plain)
    monkeypatch.setattr(type(project.stages), "run", lambda *_: pytest.fail("computed"))
    assert project.merge(project.recipe).interference == report.interference


def test_another_recipe_or_split_is_another_question(project: Project, recording: RecordedResults) -> None:
    project.merge(project.recipe)
    project.merge(with_parameters(project.recipe, alpha=0.31))
    project.evaluate(project.recipe, "validation", 1)
    project.evaluate(project.recipe, "test", 1)
    assert len(recording.plain) == 4


def test_a_recorded_answer_does_not_depend_on_how_the_question_was_put(
    project: Project, recording: RecordedResults
) -> None:
    project.evaluate(project.recipe, "validation", 1)
    project.evaluate(recipe=project.recipe, limit=1, split="validation")
    assert len(recording.plain) == 1


def test_a_prepared_project_recalls_nothing(project: Project) -> None:
    project.recorded = RecordedResults({})
    project.prepare()
    assert project.recorded is None


def test_answers_of_another_version_are_left(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    assert RecordedResults.read(path) is None
    RecordedResults({"a": 1}).write(path)
    found = RecordedResults.read(path)
    assert found is not None
    assert found.plain == {"a": 1}
    path.write_text(json.dumps({"version": "0", "answers": {"a": 1}}), encoding="utf-8")
    assert RecordedResults.read(path) is None


def with_plain_parameters(answer: Any) -> Any:
    """Return a record with its read-only mappings as dicts, which is what comes back."""
    if hasattr(answer, "parameters") and not isinstance(answer, list | tuple):
        return dataclasses.replace(answer, parameters=dict(answer.parameters))
    return answer
