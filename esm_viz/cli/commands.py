"""The commands that merge and measure: each takes parsed arguments, and returns a result for programs and its text."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from esm_viz.checkpoints.atomic_write import expect_writable, write_tensors, write_text, written_whole
from esm_viz.cli import explore_json, json_records, text_records
from esm_viz.cli.evaluation_context import EvaluationContext
from esm_viz.core.errors import EsmVizError, RecipeError
from esm_viz.core.progress import Progress
from esm_viz.core.recipe import DTYPES, Recipe, checked_seed
from esm_viz.core.records import Value
from esm_viz.data.images.image_source import open_images
from esm_viz.hub.folder_upload import upload
from esm_viz.hub.pasted_names import pasted_model, pasted_models
from esm_viz.hub.recipe_names import downloaded, planned
from esm_viz.hub.remote_headers import judgeable
from esm_viz.inspection.file_judgement import judge, says_activation, with_activation
from esm_viz.inspection.recipe_file import load_recipe
from esm_viz.inspection.recipe_from_folder import FoundProject, find
from esm_viz.inspection.recipe_from_names import recipe_from_names
from esm_viz.merge import with_method, with_parameters
from esm_viz.merge.preset_lookup import with_preset
from esm_viz.papers.hub_names import EVERY_TASK, hub_table_recipe, remarks_on, with_class_names, with_known_data
from esm_viz.papers.published_accuracy import published
from esm_viz.papers.table_recipe import table_recipe
from esm_viz.project.project import Project
from esm_viz.report import explore_page
from esm_viz.report.html_report import report_page
from esm_viz.runtime.stage_cache import StageCache
from esm_viz.search.knob_sweep import checked_grid
from esm_viz.search.knob_tuning import checked_trials, space_of
from esm_viz.search.search_objective import alpha_objective

_PROGRESS_SECONDS = 0.2  # between two lines of progress
_TOO_EARLY = 0.02  # fraction up to which the time left would be a guess
ACTIVATIONS = {"quickgelu": True, "gelu": False}


def expanded_path(text: str) -> Path:
    """Return an argument as a path; the shell leaves `~/` as it is after `--out=`."""
    return Path(os.path.expanduser(text) if text.startswith("~/") else text)  # noqa: PTH111 - never raises


def print_result(options: argparse.Namespace, result: Any, text: str) -> None:
    """Print a result, as JSON where that was asked for."""
    print(json.dumps(result, ensure_ascii=False, allow_nan=False) if options.json else text)


def run_find(options: argparse.Namespace) -> tuple[Any, str]:
    """Write the recipe of a folder of checkpoints, or of names on a hub."""
    out = options.out
    place = expanded_path(options.sources[0])
    by_name = len(options.sources) > 1
    if not by_name and not place.is_dir():
        remedy = "give one with checkpoints, or names on a hub: the base's, then those of its fine-tunes"
        raise RecipeError(f"{place.name} is no folder", remedy, "command line")
    if out.suffix.lower() not in (".yaml", ".yml") or out.exists():
        raise RecipeError(f"--out {out.name} is no new .yaml", "name the recipe to write", "command line")
    expect_writable(out)
    found = FoundProject(_named_recipe(options.sources, out.parent)) if by_name else find(place)
    recipe = found.recipe
    if options.activation is not None:
        recipe = with_activation(recipe, ACTIVATIONS[options.activation])
    elif not says_activation(recipe):
        raise RecipeError(
            "the weights do not say which activation they were trained with",
            f"give --activation {' or '.join(ACTIVATIONS)}",
            "" if by_name else recipe.folder.name,
        )
    recipe = recipe.seen_from(out.parent)
    write_text(out, recipe.to_yaml())
    result = {"recipe": recipe.as_mapping(), "arch_from": found.arch_from, "unused": list(found.unused)}
    result["remarks"] = list(found.remarks)
    return result, text_records.found_text(recipe, found.arch_told, (*found.remarks, found.unused_told))


def _named_recipe(words: Sequence[str], folder: Path) -> Recipe:
    """Return the recipe of names on a hub, with a commit in each; the base's is the first."""
    recipe = recipe_from_names(pasted_model(words[0]), pasted_models("\n".join(words[1:])), folder)
    pinned, _ = planned(with_known_data(recipe), printed_progress())
    return pinned


def run_papers(options: argparse.Namespace) -> tuple[Any, str]:
    """Write the recipe of one of the papers' tables."""
    out, arch = options.out, options.arch
    if out.suffix.lower() not in (".yaml", ".yml") or out.exists():
        raise RecipeError(f"--out {out.name} is no new .yaml", "name the recipe to write", "command line")
    expect_writable(out)
    if arch.endswith(".json"):
        try:
            arch = json.loads(expanded_path(arch).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise RecipeError("--arch is no JSON file", "give an open_clip model config", Path(arch).name) from error
    files = [option for option in ("checkpoints", "data", "base") if getattr(options, option) is not None]
    if options.hub and files:
        raise RecipeError(f"--hub and --{files[0]} exclude each other", "leave one of them out", "command line")
    if not options.hub and not {"checkpoints", "data"} <= set(files):
        remedy = "give --checkpoints and --data, or --hub for names in place of files"
        raise RecipeError("the models and images are missing", remedy, "command line")
    if options.hub:
        recipe = hub_table_recipe(arch, options.tasks, options.preset).replace(folder=out.parent)
        remarks = remarks_on(recipe.tasks)
    else:
        folders = options.checkpoints, options.data
        found = table_recipe(arch, options.tasks, *folders, base=options.base, preset=options.preset)
        recipe, remarks = found.seen_from(out.parent), {}
    write_text(out, recipe.to_yaml())
    told = [f"note: {task}: {remark}" for task, remark in remarks.items()]
    told += [f"note: {EVERY_TASK}"] if options.hub else []
    result = {**recipe.as_mapping(), "remarks": remarks} if options.hub else recipe.as_mapping()
    return result, "\n".join([text_records.table_text(recipe), *told, f"wrote {out}"])


def run_check(options: argparse.Namespace) -> tuple[Any, str]:
    """Judge every model of a recipe by headers alone."""
    with judgeable(changed_recipe(options), printed_progress()) as (recipe, plan):
        judgement = judge(recipe, unread=plan.unread)
    result = json_records.judgement_json(judgement, plan), text_records.judgement_text(judgement, plan)
    if judgement.refused:
        print_result(options, *result)
        raise EsmVizError(judgement.refused[0].verdict.sentence, "")
    return result


def run_explore(options: argparse.Namespace) -> tuple[Any, str]:
    """Write explore.json and explore.html."""
    recipe, project = opened_project(options)
    progress = printed_progress()
    result = explore_json.explore_json(project, recipe, progress)
    page = explore_page.explore_page(project, recipe, progress)
    write_text(options.out / "explore.json", json.dumps(result, ensure_ascii=False, allow_nan=False))
    write_text(options.out / "explore.html", page)
    files = ["explore.json", "explore.html"]
    return {"folder": str(options.out), "files": files}, f"wrote {' and '.join(files)} to {options.out}"


def run_merge(options: argparse.Namespace) -> tuple[Any, str]:
    """Write the merged model, its recipe and its card, verified."""
    recipe, project = opened_project(options)
    progress = printed_progress()
    page = None
    if options.report:
        recipe = project.with_alpha_found(recipe, progress)
        page = partial(report_page, story=explore_page.story(project, recipe, progress))
    proof = project.export(recipe, options.out, progress, layout=options.layout, page=page)
    return json_records.proof_json(proof), text_records.proof_text(proof)


def run_evaluate(options: argparse.Namespace) -> tuple[Any, str]:
    """Measure accuracy of base, experts and merged model."""
    recipe, project = opened_project(options)
    progress = printed_progress()
    search_on = alpha_objective(project, recipe)
    recipe = project.with_alpha_found(recipe, progress)
    evaluation = project.evaluate(recipe, options.split, progress=progress)
    on_test = search_on == "normalised" and options.split == "test"
    beside = EvaluationContext(
        papers=published(project.inspection.arch, project.tasks),
        left_out=project.left_out,
        near_chance=project.near_chance(evaluation),
        remarks=project.searched_on_test() if on_test else (),
        agreement=project.agreement(recipe) if project.has_proxies else None,
        search_on=search_on,
    )
    result = json_records.evaluation_json(evaluation, beside)
    if options.out:
        write_text(options.out, _json(result))
    return result, text_records.evaluation_text(evaluation, beside)


def run_sweep(options: argparse.Namespace) -> tuple[Any, str]:
    """Measure every cell of a grid over knobs."""
    recipe = changed_recipe(options)
    grid: dict[str, list[Value]] = {}
    for assignment in options.grid:
        name, values = _assignment("--grid", assignment, "task_exponent=0,1,2")
        if name in grid:
            raise RecipeError(f"--grid gives {name} twice", "give all of its values at once", "command line")
        grid[name] = list(values.split(","))
    checked_grid(recipe, grid)  # before the files are read
    if options.out:
        _expect_free(options.out, options, recipe)
    recipe = with_downloads(recipe, options)
    project = Project.open(recipe, device=options.device, progress=printed_progress())
    record = project.sweep(recipe, grid, options.split, options.limit, printed_progress())
    result = json_records.sweep_json(record)
    if options.out:
        write_text(options.out, _json(result))
    return result, text_records.sweep_text(record)


def run_tune(options: argparse.Namespace) -> tuple[Any, str]:
    """Search several knobs at once."""
    recipe, out = changed_recipe(options), options.out
    knobs = options.knobs.split(",") if options.knobs is not None else None
    space_of(recipe, knobs), checked_trials(options.trials)  # before the files are read
    if out.suffix.lower() not in (".yaml", ".yml"):
        raise RecipeError(f"--out {out} is no .yaml", "name the recipe to write; its trace is the .json beside it")
    trace = out.with_suffix(".json")
    for path in (out, trace):
        _expect_free(path, options, recipe)
    if options.storage and options.storage.resolve() in (out.resolve(), trace.resolve()):
        raise RecipeError("--storage is what --out writes", "give it a file of its own", options.storage.name)
    recipe = with_downloads(recipe, options)
    project = Project.open(recipe, device=options.device, progress=printed_progress())
    record = project.search_knobs(
        recipe,
        knobs,
        options.trials,
        seed=options.seed,
        storage=options.storage,
        limit=options.limit,
        progress=printed_progress(),
    )
    found = with_parameters(recipe, **record.trials[record.best].parameters)
    result = json_records.search_json(record)
    with written_whole(out) as yaml, written_whole(trace) as json_file:  # both or none
        yaml.write_text(found.seen_from(out.parent).to_yaml(), encoding="utf-8")
        json_file.write_text(_json(result), encoding="utf-8")
    return result, f"{text_records.search_text(record)}\nwrote {out.name} and {trace.name} to {out.parent}"


def run_encode(options: argparse.Namespace) -> tuple[Any, str]:
    """Write image features of the merged model, and the routes of a routed one."""
    recipe, project = opened_project(options)
    images = open_images(options.images, project.preprocessing)
    progress = printed_progress()
    recipe = project.with_alpha_found(recipe, progress)
    features, routes = project.encode_routed(recipe, images.load(range(images.count)), progress)
    tensors = {"features": features} if routes is None else {"features": features, "routes": routes}
    write_tensors(options.out, tensors, {"format": "pt", "esm_viz.recipe_sha256": project.sha256(recipe)})
    sizes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    told = ", ".join(f"{name} {tuple(size)}" for name, size in sizes.items())
    return {"file": str(options.out), **sizes}, f"wrote {told} to {options.out}"


def run_push(options: argparse.Namespace) -> tuple[Any, str]:
    """Upload an exported folder to a hub."""
    if not options.folder.is_dir():
        raise RecipeError(f"{options.folder.name} is no folder", "give one that `merge` wrote", "command line")
    done = upload(options.folder, options.repository, public=options.public, progress=printed_progress())
    seen = "private" if done.private else "public"
    text = f"uploaded {', '.join(done.files)} to {done.name}, {seen}: {done.address}"
    return dataclasses.asdict(done), text


def opened_project(options: argparse.Namespace) -> tuple[Recipe, Project]:
    """Return the recipe with its changes, and its files opened."""
    recipe = with_downloads(changed_recipe(options), options)
    return recipe, Project.open(recipe, device=options.device, cache=stage_cache(options), progress=printed_progress())


def with_downloads(recipe: Recipe, options: argparse.Namespace) -> Recipe:
    """Return the recipe with the files of its names on a hub, which are downloaded where they are missing."""
    if not recipe.names:
        return recipe
    return with_class_names(downloaded(recipe, confirmed=options.yes, progress=printed_progress()))


def stage_cache(options: argparse.Namespace) -> StageCache:
    """Return the cache that --cache and --spill describe.

    Raises:
        RecipeError: the size is none, or the folder cannot be used.
    """
    gigabytes = options.cache
    if gigabytes is not None and not 0 <= gigabytes < math.inf:
        raise RecipeError(f"--cache is {gigabytes:g}", "give a number of gigabytes, 2 say", "command line")
    try:
        return StageCache(None if gigabytes is None else int(gigabytes * 1e9), options.spill)
    except OSError as error:
        raise RecipeError(
            f"--spill cannot be used ({error.strerror})", "give a folder to write to", "command line"
        ) from error


def changed_recipe(options: argparse.Namespace) -> Recipe:
    """Read the recipe, apply `--preset`, then `--set`, the method first: it decides which parameters there are."""
    recipe = load_recipe(options.recipe)
    if options.preset is not None:
        recipe = with_preset(recipe, options.preset)
    changes = {}
    for assignment in options.set:
        name, value = _assignment("--set", assignment, "alpha=0.5")
        changes[name] = value
    if "merge_method" in changes:
        recipe = with_method(recipe, changes.pop("merge_method"))
    if "dtype" in changes:
        dtype = changes.pop("dtype")
        if dtype not in DTYPES:
            raise RecipeError(f"dtype is {dtype!r}", f"give one of {', '.join(DTYPES)}", "command line")
        recipe = recipe.replace(dtype=dtype)
    if "seed" in changes:
        seed = changes.pop("seed")
        digits = seed.isdecimal() and len(seed) < 30
        recipe = recipe.replace(seed=checked_seed(int(seed) if digits else seed, "command line"))
    return with_parameters(recipe, **changes)


def _assignment(option: str, assignment: str, example: str) -> tuple[str, str]:
    name, equals, value = assignment.partition("=")
    if not equals or not name or not value:
        raise RecipeError(f"{option} {assignment} is not NAME=VALUE", f"write {option} {example}, say", "command line")
    return name, value


def _expect_free(path: Path, options: argparse.Namespace, recipe: Recipe) -> None:
    """Refuse, before work starts, to write over what the command reads, or where nothing can be written."""
    read = [options.recipe, *(recipe.resolve(name) for name in recipe.paths)]
    if os.path.realpath(path) in map(os.path.realpath, read):
        raise RecipeError(f"--out {path.name} is what the recipe is made of", "choose another name", "command line")
    expect_writable(path)


def _json(result: Any) -> str:
    return json.dumps(result, ensure_ascii=False, allow_nan=False, indent=1)


def printed_progress() -> Progress:
    """Return the progress that writes to standard error, a line that overwrites itself where that is a terminal."""
    terminal = sys.stderr.isatty()
    start = time.monotonic()
    last = -1.0

    def tell(fraction: float, words: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _PROGRESS_SECONDS:
            return
        last = now
        left = f"{(now - start) * (1 - fraction) / fraction:.0f} s left" if fraction > _TOO_EARLY else ""
        end = "\r" if terminal else "\n"
        print(f"{100 * fraction:3.0f} %  {words:<56.56} {left:>12}", end=end, file=sys.stderr, flush=True)

    return Progress(tell)
