"""One battery of small checks that every registered merge method passes; a new file in `merge/` is in it by itself."""

from __future__ import annotations

import math
import re
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import parse_mapping
from esm_viz.core.records import Knob
from esm_viz.merge import METHODS, LayerUpdate, run_now, settle
from esm_viz.merge.method_registry import Method
from esm_viz.numerics.essential_subspace_decomposition import esd
from esm_viz.numerics.second_moments import Moment
from esm_viz.project.project import Project
from tests.support.errors import says
from tests.support.tiny import generator, mapping, normal, recipe, relative, write_project

D_OUT, D_IN, TASKS = 12, 16, 3
ORDERED = 1e-9  # another order of the tasks turns sums round: rounding times conditions of at most 1e6
KNOBS = [(method, name) for method in METHODS for name in METHODS[method].knobs]

everywhere = pytest.mark.parametrize("name", METHODS)


def essential(delta: Tensor, seed: int, weight: float = 1.0) -> LayerUpdate:
    x = normal(40, delta.shape[1], seed=seed)
    moment = Moment(x.mT @ x, len(x), x.mean(0))
    return LayerUpdate(tuple(delta.shape), lambda: delta, lambda: moment, lambda: esd(delta, moment), weight)


def updates_of(
    deltas: list[Tensor], kind: str = "essential", weights: tuple[float, ...] = (1.0,) * TASKS
) -> list[LayerUpdate]:
    weighted = list(zip(deltas, weights, strict=False))
    if kind == "essential":
        return [essential(delta, 50 + at, weight) for at, (delta, weight) in enumerate(weighted)]
    return [LayerUpdate(tuple(delta.shape), lambda delta=delta: delta, weight=weight) for delta, weight in weighted]


def changes(d_out: int = D_OUT, d_in: int = D_IN) -> list[Tensor]:
    return [(0.5 + at) * normal(d_out, d_in, seed=at) for at in range(TASKS)]


def merged(name: str, updates: list[LayerUpdate], **changed: Any) -> Tensor:
    method = METHODS[name]
    return method.merge_layer(updates, run_now, **{**method.arguments(method.defaults), **changed})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("conformance")
    write_project(folder)
    return Project.open(recipe(folder), device="cpu")


def test_there_are_methods() -> None:
    assert set(METHODS) >= {
        *("averaging", "task_arithmetic", "regmean", "ties", "consensus_ta", "tsv_m", "iso_c", "iso_cts", "esm"),
    }


# Declarations.


@everywhere
def test_it_says_what_it_is(name: str) -> None:
    method = METHODS[name]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert method.name == name
    assert method.title.strip()
    assert method.summary.endswith(".")
    assert method.needs in ("delta", "moments", "decompositions")


@everywhere
def test_it_names_where_it_is_published(name: str) -> None:
    assert all(re.fullmatch(r"arXiv:\d{4}\.\d{5}", source) for source in METHODS[name].source.split(", "))


@everywhere
def test_every_default_has_a_knob_and_every_knob_a_default(name: str) -> None:
    assert list(METHODS[name].knobs) == list(METHODS[name].defaults)


@everywhere
def test_alpha_is_a_knob_of_it(name: str) -> None:
    knobs = METHODS[name].knobs
    assert knobs["alpha"].word == "search"
    assert ("{alpha_scope}" in knobs["alpha"].formula) == ("alpha_scope" in knobs)


@pytest.mark.parametrize(("name", "parameter"), KNOBS)
def test_a_knob_says_what_it_does(name: str, parameter: str) -> None:
    knob = METHODS[name].knobs[parameter]
    assert knob.label.strip()
    assert knob.text.endswith(".")
    assert knob.formula.strip()


@pytest.mark.parametrize("parameter", sorted({parameter for _, parameter in KNOBS}))
def test_a_knobs_name_means_the_same_in_every_method(parameter: str) -> None:
    knobs = [method.knobs[parameter] for method in METHODS.values() if parameter in method.knobs]
    assert len({(knob.label, knob.symbol, knob.range, knob.choices, knob.text, knob.role) for knob in knobs}) == 1


@everywhere
def test_no_two_of_its_knobs_have_the_same_role(name: str) -> None:
    roles = [knob.role for knob in METHODS[name].knobs.values() if knob.role]
    assert len(roles) == len(METHODS[name].roles)


@everywhere
def test_its_presets_are_settings_of_it(name: str) -> None:
    assert METHODS[name].presets
    for preset in METHODS[name].presets:
        settled = settle(parse_mapping(mapping(name, **preset.parameters), Path()))
        assert {**settled.parameters, **preset.parameters} == settled.parameters
        assert (preset.method, bool(preset.title.strip()), bool(preset.says.strip())) == (name, True, True)


@pytest.mark.parametrize(("name", "parameter"), KNOBS)
def test_a_knobs_default_is_inside_its_range_and_on_a_step(name: str, parameter: str) -> None:
    knob, default = METHODS[name].knobs[parameter], METHODS[name].defaults[parameter]
    if knob.range is None:
        assert default in knob.choices
        return
    least, most, step = knob.range
    assert least <= default <= most
    assert least < most
    assert 0 < step <= most - least
    assert math.isclose((default - least) / step, round((default - least) / step), abs_tol=1e-6)


def illegal(knob: Knob) -> list[tuple[object, str]]:
    """Return values made illegal from the declaration, with what is said of them."""
    if knob.range is None:
        return [("none of these", f"use {' or '.join(knob.choices)}")]
    least, most, step = knob.range
    kind = "whole number" if knob.whole else "number"
    remedy = f"give a {kind} from {least:g} to {most:g}" + (f" or the word {knob.word}" if knob.word else "")
    between = [least + step / 2] if knob.whole else []
    return [(value, remedy) for value in (least - step, most + step, "none of these", math.nan, *between)]


@pytest.mark.parametrize(("name", "parameter"), KNOBS)
def test_values_outside_a_knobs_declaration_are_refused(name: str, parameter: str) -> None:
    for value, remedy in illegal(METHODS[name].knobs[parameter]):
        shown = f"{value:g}" if isinstance(value, float) else repr(value)
        with says(RecipeError, f"{parameter} is {shown}, {remedy}"):
            settle(parse_mapping(mapping(name, **{parameter: value}), Path()))


@pytest.mark.parametrize(("name", "parameter"), KNOBS)
def test_both_ends_of_a_knob_are_allowed(name: str, parameter: str) -> None:
    knob = METHODS[name].knobs[parameter]
    for value in knob.choices if knob.range is None else knob.range[:2]:
        settled = settle(parse_mapping(mapping(name, **{parameter: value}), Path()))
        assert settled.parameters[parameter] == value


# One layer.


@everywhere
@pytest.mark.parametrize("kind", ["essential", "bare"])
@pytest.mark.parametrize(("d_out", "d_in"), [(12, 16), (16, 12), (12, 12), (24, 4)])
def test_it_gives_finite_float64_of_the_layers_shape(name: str, kind: str, d_out: int, d_in: int) -> None:
    found = merged(name, updates_of(changes(d_out, d_in), kind))
    assert found.shape == (d_out, d_in)
    assert found.dtype == torch.float64
    assert torch.isfinite(found).all()
    assert found.norm() > 0


CASES: dict[str, Callable[[], list[Tensor]]] = {
    "one task": lambda: changes()[:1],
    "identical tasks": lambda: [changes()[0]] * TASKS,
    "dependent tasks": lambda: [*changes()[:2], changes()[0] - changes()[1]],
    "opposite tasks": lambda: [changes()[0], -changes()[0], changes()[1]],
    "one zero task": lambda: [changes()[0], torch.zeros(D_OUT, D_IN, dtype=torch.float64), changes()[1]],
    "all zero tasks": lambda: [torch.zeros(D_OUT, D_IN, dtype=torch.float64)] * TASKS,
    "rank one tasks": lambda: [normal(D_OUT, 1, seed=at) @ normal(1, D_IN, seed=9 + at) for at in range(TASKS)],
}


@everywhere
@pytest.mark.parametrize("kind", ["essential", "bare"])
@pytest.mark.parametrize("case", CASES)
def test_degenerate_tasks_give_a_finite_merge(name: str, kind: str, case: str) -> None:
    found = merged(name, updates_of(CASES[case](), kind))
    assert found.shape == (D_OUT, D_IN)
    assert torch.isfinite(found).all()


@everywhere
def test_tasks_that_moved_nothing_merge_to_nothing(name: str) -> None:
    assert not merged(name, updates_of(CASES["all zero tasks"]())).any()


@everywhere
@pytest.mark.parametrize("kind", ["essential", "bare"])
def test_the_order_of_tasks_does_not_matter_beyond_rounding(name: str, kind: str) -> None:
    updates = updates_of(changes(), kind)
    assert relative(merged(name, updates[::-1]), merged(name, updates)) < ORDERED


@everywhere
@pytest.mark.parametrize("kind", ["essential", "bare"])
@pytest.mark.parametrize("scale", [1e-30, 1e-4, 1e4, 1e30])
def test_a_common_scale_of_all_changes_scales_the_merge(name: str, kind: str, scale: float) -> None:
    scaled = merged(name, updates_of([delta * scale for delta in changes()], kind))
    assert relative(scaled / scale, merged(name, updates_of(changes(), kind))) < ORDERED


@everywhere
@pytest.mark.parametrize("kind", ["essential", "bare"])
@pytest.mark.parametrize("weights", [(0.3, 1.0, 2.0), (1.0, 0.0, 1.0), (1.0, -0.7, 1.0)])
def test_a_weight_is_the_same_as_a_change_of_that_size(name: str, kind: str, weights: tuple[float, ...]) -> None:
    scaled = [weight * delta for weight, delta in zip(weights, changes(), strict=True)]
    found = merged(name, updates_of(changes(), kind, weights))
    # a weighted change is decomposed a second time, and its weakest directions, λ down to 1e-4 λ_1, turn by rounding
    assert relative(found, merged(name, updates_of(scaled, kind))) < 1e-7


@everywhere
@pytest.mark.parametrize("kind", ["essential", "bare"])
def test_turning_all_changes_round_turns_the_merge_round(name: str, kind: str) -> None:
    turned = merged(name, updates_of([-delta for delta in changes()], kind))
    assert relative(-turned, merged(name, updates_of(changes(), kind))) < ORDERED


@everywhere
@pytest.mark.parametrize("kind", ["essential", "bare"])
def test_the_order_of_outputs_is_that_of_the_merge(name: str, kind: str) -> None:
    order = torch.randperm(D_OUT, generator=generator(5))
    shuffled = merged(name, updates_of([delta[order] for delta in changes()], kind))
    assert relative(shuffled, merged(name, updates_of(changes(), kind))[order]) < ORDERED


@everywhere
@pytest.mark.parametrize("kind", ["essential", "bare"])
def test_it_never_holds_the_changes_of_all_tasks_at_once(name: str, kind: str) -> None:
    held, most = 0, 0

    def let_go() -> None:
        nonlocal held
        held -= 1

    def read(delta: Tensor) -> Tensor:
        nonlocal held, most
        fresh = delta.clone()
        weakref.finalize(fresh, let_go)
        held += 1
        most = max(most, held)
        return fresh

    updates = updates_of(changes() + changes(), kind, (1.0,) * (2 * TASKS))
    for update in updates:
        update._load_delta = partial(read, update._load_delta())
    merged(name, updates)
    assert 0 < most <= 2  # the next one is read before the last one is dropped


@everywhere
def test_the_same_input_gives_the_same_bits(name: str) -> None:
    assert torch.equal(merged(name, updates_of(changes())), merged(name, updates_of(changes())))


@everywhere
def test_the_changes_handed_in_are_not_changed(name: str) -> None:
    deltas = changes()
    merged(name, updates_of(deltas))
    assert all(torch.equal(delta, before) for delta, before in zip(deltas, changes(), strict=True))


@everywhere
def test_every_stage_it_keeps_names_the_knobs_it_reads(name: str) -> None:
    """Run with a memo that keeps: each knob moved alone must give what a run without memory gives."""
    method, kept = METHODS[name], {}

    def memo(stage: str, knobs: tuple[object, ...], compute: Callable[[], Any]) -> Any:
        if (stage, knobs) not in kept:
            kept[stage, knobs] = compute()
        return kept[stage, knobs]

    updates, plain = updates_of(changes()), method.arguments(method.defaults)
    method.merge_layer(updates, memo, **plain)
    for parameter in method.reads:
        least, most, _ = method.knobs[parameter].range
        for share in (0.35, 0.85):
            moved = {**plain, parameter: least + share * (most - least)}
            remembered = method.merge_layer(updates, memo, **moved)
            assert torch.equal(remembered, method.merge_layer(updates, run_now, **moved)), parameter


# A whole project.


def weights(project: Project, method: Method, **parameters: object) -> dict[str, Tensor]:
    own = recipe(project.recipe.folder, method.name, **parameters).replace(dtype="float64")
    return project.materialize(own)


@everywhere
def test_alpha_zero_is_the_base_exactly(project: Project, name: str) -> None:
    found = weights(project, METHODS[name], alpha=0.0)
    base = project.headers.base.tensors(found, torch.float64)
    assert all(torch.equal(found[parameter], base[parameter]) for parameter in base)


@everywhere
def test_alpha_scales_the_whole_change(project: Project, name: str) -> None:
    base = project.headers.base.tensors(project.headers.arch.shapes, torch.float64)
    one, half = (weights(project, METHODS[name], alpha=alpha) for alpha in (1.0, 0.5))
    for parameter in base:
        # both differences carry the rounding of weights near 1 in float64
        assert relative(2 * (half[parameter] - base[parameter]), one[parameter] - base[parameter]) < 1e-12


def moved(project: Project, names: list[str]) -> dict[str, list[Tensor]]:
    """Return what every task changed in some parameters, float64."""
    base = project.headers.base.tensors(names, torch.float64)
    tuned = [expert.tensors(names, torch.float64) for expert in project.headers.experts.values()]
    return {name: [one[name] - base[name] for one in tuned] for name in names}


def kept_by_ties(deltas: list[Tensor], cutoffs: list[float]) -> Tensor:
    kept = torch.stack([delta * (delta.abs() >= cutoff) for delta, cutoff in zip(deltas, cutoffs, strict=True)])
    agree = (kept.sign() == kept.sum(0).sign()) & (kept != 0)
    return (kept * agree).sum(0) / agree.sum(0).clamp_min(1)


def claimed_by_two(deltas: list[Tensor], scale: float) -> Tensor:
    stack = torch.stack(deltas)
    claims = (stack.abs() >= scale * (stack.sum(0) - stack).abs()).sum(0)
    return torch.where(claims >= 2, stack.sum(0), 0.0)


def of_every_parameter(project: Project, name: str) -> Callable[[list[Tensor]], Tensor]:
    """Return the dense formula of a method that is published for every parameter of the model (METHOD, Baselines)."""
    own = recipe(project.recipe.folder, name)
    if name == "task_arithmetic":
        return sum
    if name == "consensus_ta":
        return partial(claimed_by_two, scale=own.parameters["mask_scale"])
    whole = moved(project, list(project.headers.arch.shapes)).values()
    by_task = [torch.cat([delta.flatten() for delta in one]).abs() for one in zip(*whole, strict=True)]
    cutoffs = [all_of.topk(int(own.parameters["keep"] * len(all_of))).values[-1].item() for all_of in by_task]
    return partial(kept_by_ties, cutoffs=cutoffs)


EVERY_PARAMETER = ("task_arithmetic", "ties", "consensus_ta")


def test_the_published_sums_are_of_every_parameter() -> None:
    assert {name for name, method in METHODS.items() if method.every_parameter} == set(EVERY_PARAMETER)


@everywhere
def test_what_is_not_a_matrix_is_averaged_or_merged_by_the_methods_own_formula(project: Project, name: str) -> None:
    found = weights(project, METHODS[name], alpha=1.0)
    shapes = project.headers.arch.shapes
    names = [parameter for parameter, shape in shapes.items() if len(shape) != 2]
    assert len(names) > 10
    assert {len(shapes[parameter]) for parameter in names} == {1, 4}
    base = project.headers.base.tensors(names, torch.float64)
    own = of_every_parameter(project, name) if name in EVERY_PARAMETER else lambda deltas: sum(deltas) / len(deltas)
    for parameter, deltas in moved(project, names).items():
        assert all(delta.any() for delta in deltas)  # else no formula could be told from another
        truth = own(deltas)
        assert (found[parameter] - base[parameter] - truth).abs().max() < 1e-14, parameter  # rounding of weights near 1


@everywhere
def test_every_live_formula_gets_its_number(project: Project, name: str) -> None:
    live = {parameter for parameter, knob in METHODS[name].knobs.items() if "{live}" in knob.formula}
    assert live <= set(project.merge(recipe(project.recipe.folder, name)).effects)


@everywhere
def test_its_report_names_its_own_knobs_only(project: Project, name: str) -> None:
    report = project.merge(recipe(project.recipe.folder, name))
    assert set(report.effects) <= set(METHODS[name].knobs)
    assert all(least <= most for least, most in report.effects.values())
    assert math.isfinite(report.interference.mean)
