"""The rail: presets, what each formula makes now, when a knob does nothing, and what is reset."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from esm_viz.merge import METHODS, with_parameters
from esm_viz.merge.preset_lookup import PRESETS, with_preset
from esm_viz.merge.ties import find_cutoff
from esm_viz.ui.page.page_update import PIECES
from esm_viz.ui.tabs.merge.method_words import NAMES, SYMBOLS
from tests.support import tiny
from tests.unit.ui.conftest import Page


def lines(page: Page, **knobs: Any) -> dict[str, dict[str, Any]]:
    """Move knobs one by one, and return what the rail then shows of all."""
    for name, value in knobs.items():
        page.act("rail", do="knob", name=name, value=value)
        page.rest()
    return {knob["name"]: knob for knob in page.pieces["rail"]["knobs"]}


def test_a_preset_sets_every_knob_and_the_menu_tells_when_none_matches(page: Page) -> None:
    page.act("rail", do="weight", name="bees", value=0.5)
    rail = page.act("rail", do="preset", name="preset", value="esm_cvpr")["rail"]
    assert (rail["preset"], rail["method"]) == ("esm_cvpr", "esm")
    assert page.session.recipe == with_preset(page.session.recipe, "esm_cvpr")
    rail = page.act("rail", do="knob", name="spectrum_exponent", value=0.15)["rail"]
    assert rail["preset"] == "esm_journal"
    rail = page.act("rail", do="knob", name="spectrum_exponent", value=0.3)["rail"]
    assert (rail["preset"], rail["own"]) == ("", "ESM, own setting")
    offered = [entry[0] for _, entries in rail["menu"] for entry in entries]
    assert sorted(offered) == sorted(PRESETS)


def test_a_methods_name_and_symbols_are_spelled_out(page: Page) -> None:
    said = page.act("rail", do="preset", name="preset", value="esm_cvpr")["rail"]["words"]
    assert said.startswith("Essential Subspace Merging.")
    assert "λ: a direction’s energy" in said
    assert "C: the changes’ coordinates" in said
    assert page.act("rail", do="method", value="tsv_m")["rail"]["words"].startswith("Task Singular Vectors Merging.")
    assert page.act("rail", do="method", value="averaging")["rail"]["words"] == ""
    assert {*NAMES, *SYMBOLS} <= set(METHODS)


def test_the_alpha_that_a_search_chose_is_marked_while_the_other_knobs_are_its_own(page: Page) -> None:
    page.session.searched = [with_parameters(page.session.recipe, alpha=0.61)]
    assert page.act("rail", do="knob", name="alpha", value=0.9)["rail"]["best"] == 0.61
    assert page.act("rail", do="knob", name="gain", value=1.5)["rail"]["best"] is None
    assert page.act("rail", do="knob", name="gain", value=2.0)["rail"]["best"] == 0.61


@pytest.mark.parametrize("value", ["magic", None, 3, ["esm_cvpr"], {"a": 1}, "__class__"])
def test_a_preset_that_is_none_is_one_sentence(page: Page, value: Any) -> None:
    before = page.session.recipe
    error = page.act("rail", do="preset", value=value)["rail"]["error"]
    assert error.startswith("there is no preset")
    assert page.session.recipe == before


def test_reset_all_resets_the_weights_too(page: Page) -> None:
    page.act("rail", do="weight", name="bees", value=0.5)
    rail = page.act("rail", do="knob", name="gain", value=1.5)["rail"]
    assert rail["moved"] == "Gain, bees moved"
    assert rail["weights"]["live"].startswith("<math>")
    assert "<strong>0.50 to 1.00</strong>" in rail["weights"]["live"]
    rail = page.act("rail", do="reset", name="reset")["rail"]
    assert rail["moved"] == ""
    assert rail["weights"] == {"live": "No effect: every weight is 1.", "quiet": True}
    assert dict(page.session.recipe.parameters) == dict(METHODS["esm"].defaults)


@pytest.mark.parametrize(
    ("preset", "knobs", "name", "says"),
    [
        ("esm_journal", {"alpha": 0.0}, "alpha", "No effect of the merge: α is 0, B is the pre-trained model."),
        (
            "esmpp_8",
            {"alpha": 0.0},
            "alpha",
            "No effect of the merge: α is 0, the adapters work on the pre-trained model.",
        ),
        ("esm_journal", {"alpha": 1.0}, "alpha_scope", "No effect: at α 1 both are the same."),
        ("esm_journal", {"task_exponent": 0.0}, "task_exponent", "No effect: this level is off."),
        ("esm_journal", {"gain": 0.0}, "gain", "No effect of the ESD layers: their change is times 0."),
        ("ties", {"keep": 1.0}, "keep", "No effect: every entry is kept."),
        ("regmean", {"off_diagonal": 1.0}, "off_diagonal", "No effect: correlations stay as measured."),
    ],
)
def test_a_knob_that_does_nothing_says_so(
    page: Page, preset: str, knobs: dict[str, float], name: str, says: str
) -> None:
    page.act("rail", do="preset", value=preset)
    shown = lines(page, **knobs)[name]
    assert (shown["live"], shown["quiet"]) == (says, True)


def test_what_is_said_to_have_no_effect_has_none(page: Page) -> None:
    project, recipe = page.session.project, with_parameters(page.session.recipe, alpha=1.0)
    scores = [
        project.evaluate(with_parameters(recipe, alpha_scope=scope), "validation") for scope in ("all", "essential")
    ]
    assert scores[0].tasks == scores[1].tasks
    none = project.evaluate(with_parameters(recipe, alpha=0.0), "validation")
    assert [task.merged for task in none.tasks] == [task.pretrained for task in none.tasks]


def test_alpha_at_zero_on_the_essential_layers_leaves_the_others_merged(page: Page) -> None:
    shown = lines(page, alpha_scope="essential", alpha=0.0)
    assert shown["alpha"]["live"] == "No effect of the ESD layers: α is 0, they are the pre-trained model's."
    assert lines(page, alpha=0.5)["alpha"]["live"].endswith("<strong>0.50</strong> · ΔW, ESD layers only")


def test_the_formulas_of_the_baselines_show_what_the_merge_made(page: Page) -> None:
    project = page.session.project
    page.act("rail", do="preset", value="ties")
    page.rest()
    shown = lines(page, keep=0.3)
    updates = project.stages.updates(page.session.recipe, tiny.C_FC, None)
    cutoffs = sorted(float(f"{find_cutoff(update, 0.3):.2g}") for update in updates)
    told = shown["keep"]["live"].split("<strong>")[1].removesuffix("</strong>")
    assert [float(end) for end in told.split(" to ")] == list(dict.fromkeys((cutoffs[0], cutoffs[-1])))
    page.act("rail", do="preset", value="iso_cts")
    page.rest()
    assert "= <strong>8</strong>" in lines(page, common_share=0.5)["common_share"]["live"]  # of 16 directions
    page.act("rail", do="preset", value="regmean")
    page.rest()
    assert lines(page, off_diagonal=0.4)["off_diagonal"]["live"].startswith("S<sub>ij</sub> ← <strong>0.40</strong>")


def test_consensus_shows_the_share_of_entries_that_are_not_zero(page: Page) -> None:
    page.act("rail", do="preset", value="consensus_ta")
    page.rest()
    project, recipe = page.session.project, page.session.recipe
    shares = [
        float(project.stages.merged(recipe, layer.name, layer).delta.ne(0).double().mean()) for layer in project.layers
    ]
    low, high = f"{100 * min(shares):.0f} %", f"{100 * max(shares):.0f} %"
    assert lines(page, alpha=0.5)["mask_scale"]["live"].endswith(f"<strong>{low} to {high}</strong>")


def test_routed_layers_are_counted(page: Page) -> None:
    page.act("rail", do="preset", value="esmpp_8")
    assert "in <strong>4</strong> layers" in lines(page, expert_rank=4)["routed"]["live"]  # in_proj and c_fc, 2 blocks
    assert "in <strong>2</strong> layers" in lines(page, routed="c_fc")["routed"]["live"]


def test_a_merge_that_is_done_while_its_handler_waits_is_painted_once(page: Page) -> None:
    page.rest()
    page.act("rail", do="knob", name="alpha", value=0.61)
    assert not {"interference", "norms", "rail"} & set(page.session.changed(page.hash, PIECES))


def test_all_levels_of_scaling_are_measured_beside_the_page_and_are_the_pipelines(page: Page) -> None:
    page.act("norms", do="levels", value="levels")
    page.rest()
    card, project = page.pieces["norms"], page.session.project
    truth = project.scaling_profile(page.session.recipe)
    assert (card["chosen"], card["stale"]) == ("levels", "")
    drawn = [value for trace in card["figure"]["data"] for value in trace["y"]]
    assert sorted(drawn) == pytest.approx(sorted(value for row in truth.norms for value in row))
    stale = page.act("rail", do="knob", name="task_exponent", value=0.7)["norms"]["stale"]
    assert stale == "updating"
    page.rest()
    assert page.pieces["norms"]["stale"] == ""
    assert page.act("rail", do="knob", name="alpha", value=0.7)["norms"]["stale"] == ""  # α is not in it
    page.act("rail", do="preset", value="tsv_m")
    assert "choices" not in page.pieces["norms"]
    page.act("rail", do="preset", value="esm_journal")
    assert page.act("norms", do="levels", value=["x"])["norms"]["chosen"] == "layer"


def test_in_words_each_difference_is_a_line_with_what_it_did(page: Page) -> None:
    page.act("stats", do="pin")
    page.act("rail", do="knob", name="task_exponent", value=0.5)
    page.act("rail", do="weight", name="bees", value=0.5)
    page.rest()
    html = page.act("history", do="words", value="words")["history"]["html"]
    assert "A and B in words" in html
    assert 'Task power p<sub>task</sub></span><span class="d">2 → <b>0.5</b>' in html
    assert 'Weight of bees</span><span class="d">1 → <b>0.5</b>' in html
    assert html.count("<li") == 4
    a, b = page.session.pinned, page.session.validation[1]
    assert f"{100 * a.evaluation.mean('merged'):.1f} % → <b>{100 * b.mean('merged'):.1f} %" in html
    assert "on 24 validation images a task" in html
    report = page.session.report[1]
    assert f"{a.report.interference.mean:.2f} → <b>{report.interference.mean:.2f}</b>" in html
    assert "data-index" in page.act("history", do="words", value="list")["history"]["html"]


def test_in_words_another_method_names_the_knobs_that_only_one_has(page: Page) -> None:
    page.act("history", do="words", value="words")
    assert "Nothing to compare with" in page.pieces["history"]["html"]
    page.act("rail", do="preset", value="ties")
    page.rest()
    html = page.pieces["history"]["html"]
    assert "What changed from the line before to B" in html
    assert 'Method</span><span class="d">ESM → <b>TIES</b>' in html
    assert 'Keep k</span><span class="d">– → <b>0.2</b>' in html
    assert 'Rank ρ</span><span class="d">1 → <b>–</b>' in html


def test_names_that_hold_html_are_escaped_in_words(page: Page) -> None:
    from esm_viz.ui.tabs.merge.history_diff import in_words
    from esm_viz.ui.tabs.merge.merge_tab import current

    page.rest()
    now = current(page.session)
    assert now is not None
    evil = tuple(dataclasses.replace(model, name=f"<b>{model.name}", weight=0.5) for model in now.recipe.models)
    assert "Weight of <b>" not in in_words(now, dataclasses.replace(now, recipe=now.recipe.replace(models=evil)))


def test_a_state_pinned_before_it_was_measured_gets_its_accuracy(page: Page) -> None:
    page.act("rail", do="preset", value="tsv_m")
    page.act("stats", do="pin")
    page.act("rail", do="knob", name="alpha", value=0.45)
    page.rest()
    old = page.session.pinned.evaluation
    truth = page.session.project.evaluate(page.session.pinned.recipe, "validation")
    assert [task.merged for task in old.tasks] == [task.merged for task in truth.tasks]
    assert "Points against A" in page.pieces["stats"]["html"]


@pytest.mark.parametrize("do", ["levels", "words", "preset"])
@pytest.mark.parametrize("value", [None, 7, [], {"a": []}, "x" * 5000])
def test_hand_made_values_never_break_the_tab(page: Page, do: str, value: Any) -> None:
    pieces = page.act("rail", do=do, value=value)
    assert "Traceback" not in json.dumps(pieces)
    assert "Something went wrong" not in json.dumps(pieces)
