"""Accuracy grows from a first look to all images while nobody moves, and a newer value ends it."""

from __future__ import annotations

import dataclasses
import html
import shutil
from pathlib import Path
from typing import Any

import pytest

from esm_viz.core.records import Evaluation, Score, TaskScores
from esm_viz.merge import with_parameters
from esm_viz.project.project import Project
from esm_viz.ui.session.session_store import MOST_HISTORY, Session
from esm_viz.ui.session.studio_settings import StudioSettings
from esm_viz.ui.tabs.merge import live_preview, merge_tab
from esm_viz.ui.tabs.merge.live_preview import remember
from tests.support import tiny


@pytest.fixture
def session(folder: Path) -> Session:
    project = Project.open(tiny.recipe(folder), device="cpu")
    return Session("id", "tiny", project, project.recipe, StudioSettings(project, "tiny", "cpu"))


def measured(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many images a task each measurement asks for."""
    limits: list[int] = []
    evaluate = session.project.evaluate

    def noting(recipe: Any, split: Any, limit: int = 0, *others: Any, **more: Any) -> Any:
        limits.append(limit)
        return evaluate(recipe, split, limit, *others, **more)

    monkeypatch.setattr(session.project, "evaluate", noting)
    return limits


def show(session: Session, alpha: float) -> None:
    live_preview.set_recipe(session, with_parameters(session.recipe, alpha=alpha))
    assert session.live is not None
    assert session.live.done.wait(60)


def test_accuracy_grows_in_steps_to_all_images(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_preview, "FIRST", 4)
    monkeypatch.setattr(live_preview, "MORE", 12)
    limits = measured(session, monkeypatch)
    show(session, 0.3)
    assert limits == [4, 12, 0]
    assert session.validation is not None
    assert {task.merged.n for task in session.validation[1].tasks} == {tiny.LABELLED}


@pytest.mark.parametrize(
    ("others", "order"),
    [(0, ["agreement 8", "agreement 0", "accuracy"]), (2, ["agreement 4", "accuracy", "agreement 0"])],
)
def test_agreement_is_measured_on_some_proxies_and_then_on_all_and_beside_others_after_accuracy(
    session: Session, monkeypatch: pytest.MonkeyPatch, others: int, order: list[str]
) -> None:
    monkeypatch.setattr(live_preview.WORKERS, "others", lambda owner: others)
    seen: list[str] = []
    agreement, evaluate = session.project.agreement, session.project.evaluate

    def agreeing(recipe: Any, limit: int, *rest: Any) -> Any:
        assert session.live is not None
        merged_is_shown = session.live.first.is_set()
        assert merged_is_shown or not others  # beside others, a merge does not wait for it
        seen.append(f"agreement {limit}")
        return agreement(recipe, limit, *rest)

    def scoring(*rest: Any, **more: Any) -> Any:
        seen.append("accuracy")
        return evaluate(*rest, **more)

    monkeypatch.setattr(session.project, "agreement", agreeing)
    monkeypatch.setattr(session.project, "evaluate", scoring)
    show(session, 0.3)
    assert seen[:3] == order
    assert session.agreement is not None
    assert session.agreement[1].limit == 0


def test_what_shows_the_recipe_follows_a_move_before_images_are_measured(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched: list[bool] = []
    evaluate = session.project.evaluate

    def scoring(*rest: Any, **more: Any) -> Any:
        touched.append("history" in session.touched)
        return evaluate(*rest, **more)

    monkeypatch.setattr(session.project, "evaluate", scoring)
    show(session, 0.3)
    assert touched[0]


def test_a_set_smaller_than_the_first_look_takes_no_step_between(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = measured(session, monkeypatch)
    show(session, 0.3)
    assert limits == [32, 0]


def test_what_was_measured_whole_is_not_shown_on_fewer_images_again(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(session, 0.3)
    limits = measured(session, monkeypatch)
    show(session, 0.3)
    assert limits == []


def test_a_newer_value_ends_the_growth(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_preview, "FIRST", 4)
    limits = measured(session, monkeypatch)
    evaluate = session.project.evaluate

    def moved(*asked: Any, **more: Any) -> Any:
        scores = evaluate(*asked, **more)
        if len(limits) == 1:
            assert session.live is not None
            session.live.cancel()
        return scores

    monkeypatch.setattr(session.project, "evaluate", moved)
    show(session, 0.3)
    assert limits[0] == 4
    assert session.validation is None  # the late result was dropped
    assert len(limits) <= 2


def test_the_mean_is_shown_with_both_ends_of_its_interval(session: Session) -> None:
    """Near 100 % an interval is not symmetric: 8 tasks at 199 of 200 reach from 98.7 to 99.6 about 99.5."""
    good = Score(199, 200)
    scores = Evaluation("", "esm", 1.0, {}, "validation", (TaskScores("a", Score(100, 200), good, good),) * 8, 0, 0.0)
    session.validation = (session.recipe, scores)
    html = merge_tab.stats(session)["html"]
    assert '99.5 % <small class="two">95 % interval<br>98.7 to 99.6</small>' in html
    assert "±" not in html


def test_the_history_keeps_its_lines_after_going_back(session: Session) -> None:
    report = session.project.merge(session.recipe)
    session.history, session.at = [], -1
    recipes = [with_parameters(session.recipe, alpha=alpha) for alpha in (0.1, 0.2, 0.3)]
    for recipe in recipes:
        remember(session, recipe, report)
    session.at = 0  # gone back to the first
    other = with_parameters(session.recipe, alpha=0.9)
    remember(session, other, report)
    assert [state.recipe for state in session.history] == [recipes[0], other, *recipes[1:]]
    assert session.at == 1  # so that undo leads to where it came from
    for at in range(MOST_HISTORY):
        remember(session, with_parameters(session.recipe, alpha=1.0 + at / 100), report)
    assert len(session.history) == MOST_HISTORY
    assert session.history[session.at].recipe.parameters["alpha"] == pytest.approx(1.0 + (MOST_HISTORY - 1) / 100)


def test_a_share_that_is_unknown_has_a_sentence_beside_it(tiny_folder: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(tiny_folder, tmp_path / "own"))
    tiny.mislabel(place, "bees")
    for folder, told in ((tiny_folder, False), (place, True)):
        project = Project.open(tiny.recipe(folder), device="cpu")
        session = Session("id", "tiny", project, project.recipe, StudioSettings(project, "tiny", "cpu"))
        show(session, 0.3)
        said = html.unescape(merge_tab.stats(session)["html"])
        assert "Accuracy ÷ expert’s" in said
        assert ("The expert of bees is right on none of its images, so accuracy ÷ expert’s is the mean" in said) == told


def test_without_labels_the_history_tells_agreement_or_without_heads_the_feature_direction(tiny_folder: Path) -> None:
    for head, told in ((True, "Agreement, on unlabelled images."), (False, "Feature direction, on unlabelled images.")):
        recipe = tiny.recipe(tiny_folder)
        bare = tuple(
            dataclasses.replace(model, validation="", test="", head=model.head if head else "")
            for model in recipe.models
        )
        project = Project.open(recipe.replace(models=bare), device="cpu")
        session = Session("id", "tiny", project, project.recipe, StudioSettings(project, "tiny", "cpu"))
        show(session, 0.3)
        kept = session.agreement[1]
        remember(session, session.recipe, session.report[1])
        html = merge_tab.history(session)["html"]
        assert f"Click a line to go back. {told}" in html
        value = f"{100 * kept.same.accuracy:.1f} %" if head else f"{kept.direction.value:.2f}"
        assert f"{value}, now" in html
        assert merge_tab.accuracy(session)["title"] == ("Agreement" if head else "Feature direction")
