"""The same main job without a browser: find, papers, check, explore, merge, evaluate, sweep, tune, encode, app.

Results go to standard output (`--json` for programs), progress to standard error. Status 0 done, 2 the input is
wrong, 130 stopped; what is wrong is one line, `error: what, where, what to do`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from esm_viz.checkpoints.atomic_write import expect_writable, write_tensors, write_text, written_whole
from esm_viz.checkpoints.layout_table import BASE, LAYOUTS
from esm_viz.cli import printed_records
from esm_viz.core.errors import Cancelled, EsmVizError, RecipeError
from esm_viz.core.progress import Progress
from esm_viz.core.recipe import DTYPES, Recipe, checked_seed
from esm_viz.core.records import Value
from esm_viz.data.images.image_source import open_images
from esm_viz.inspection.file_judgement import judge, says_activation, with_activation
from esm_viz.inspection.recipe_file import load_recipe
from esm_viz.inspection.recipe_from_folder import find
from esm_viz.merge import with_method, with_parameters
from esm_viz.merge.preset_lookup import PRESETS, with_preset
from esm_viz.papers.papers_tasks import SIZES
from esm_viz.papers.published_accuracy import published
from esm_viz.papers.table_recipe import table_recipe
from esm_viz.project.project import Project
from esm_viz.report import explore_page
from esm_viz.report.html_report import report_page
from esm_viz.runtime.stage_cache import StageCache
from esm_viz.search.knob_sweep import checked_grid
from esm_viz.search.knob_tuning import checked_trials, space_of

DONE, FAILED, WRONG_INPUT, STOPPED = 0, 1, 2, 130
INSTALLED = "esm-viz"  # the command that an installed package has
AUTH = "ESM_VIZ_AUTH"  # the environment's NAME:PASSWORD
_PROGRESS_SECONDS = 0.2  # between two lines of progress
_TOO_EARLY = 0.02  # fraction up to which the time left would be a guess
_PAPERS = "write the recipe of one of the papers' tables from a folder of checkpoints and one of data sets"
_FIND = "write the recipe of a folder of checkpoints, by their names"
_ACTIVATIONS = {"quickgelu": True, "gelu": False}
_log = logging.getLogger("esm_viz")


def main(argv: Sequence[str]) -> int:
    """Run one command, `app` where none is given, and return its exit status.

    It never exits, and may be called many times in one process.
    """
    try:
        options = _parser().parse_args(list(argv) or ["app"])
        result, text = options.run(options)
        _show(options, result, text)
    except BrokenPipeError:  # the reader of our output had enough
        return DONE
    except (Cancelled, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
        return STOPPED
    except EsmVizError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_INPUT
    except _Help:
        return DONE
    except Exception as error:  # noqa: BLE001 - the last line of defence: one sentence, the rest in the debug log
        _log.debug("unexpected", exc_info=True)
        print(f"error: {type(error).__name__} that should not happen, please report it", file=sys.stderr)
        return FAILED
    return DONE


def _show(options: argparse.Namespace, result: Any, text: str) -> None:
    print(json.dumps(result, ensure_ascii=False, allow_nan=False) if options.json else text)


class _Help(Exception):
    """The help was asked for and printed."""


class _Parser(argparse.ArgumentParser):
    """argparse that raises our errors instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        raise RecipeError(message, f"see `{self.prog} --help`", "command line")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        del status
        if message:
            print(message, end="")
        raise _Help


def _program() -> str:
    """Return what a user types to run this."""
    return INSTALLED if Path(sys.argv[0]).stem == INSTALLED else "python -m esm_viz"


def _parser() -> argparse.ArgumentParser:
    description = "Merge CLIP fine-tunes by recipe. Without a command: open the studio on the demo."
    parser = _Parser(prog=_program(), description=description, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name: str, run: Callable[[argparse.Namespace], tuple[Any, str]], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(run=run)
        if name != "app":
            sub.add_argument("recipe", type=Path, help="recipe.yaml")
            sub.add_argument("--preset", metavar="NAME", help=f"set all knobs: {', '.join(PRESETS)}")
            sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a parameter")
            sub.add_argument("--json", action="store_true", help="print the result as JSON")
        sub.add_argument("--device", default="auto", help="auto, cpu or cuda")
        sub.add_argument("--cache", type=float, metavar="GB", help="memory for cached stages; a quarter of it all")
        sub.add_argument("--spill", type=Path, metavar="DIR", help="disk for what leaves that memory; none")
        return sub

    find = commands.add_parser("find", help=_FIND, description=_FIND, allow_abbrev=False)
    find.set_defaults(run=_find)
    find.add_argument("folder", type=Path, help="with the checkpoints, and what belongs to each by name")
    find.add_argument("--out", type=Path, required=True, metavar="FILE.yaml", help="the recipe to write")
    find.add_argument("--activation", choices=_ACTIVATIONS, help="of the blocks, where no config says it")
    find.add_argument("--json", action="store_true", help="print the result as JSON")
    command("check", _check, "read headers only: a verdict for every model, cost to expect")
    explore = command("explore", _explore, "write decompositions as numbers and pictures")
    explore.add_argument("--out", type=Path, required=True, metavar="DIR")
    merge = command("merge", _merge, "write the merged model, its recipe and its card, verified")
    merge.add_argument("--out", type=Path, required=True, metavar="DIR")
    merge.add_argument("--layout", choices=(BASE, *LAYOUTS), default=BASE, help="of the weights file; as the base file")
    merge.add_argument("--report", action="store_true", help="write report.html too: pictures, accuracy, proof")
    evaluate = command("evaluate", _evaluate, "measure accuracy of base, experts and merged model")
    evaluate.add_argument("--out", type=Path, metavar="FILE.json")
    evaluate.add_argument("--split", choices=("validation", "test"), default="test")
    sweep = command("sweep", _sweep, "measure every cell of a grid over knobs, from the same decompositions")
    sweep.add_argument("--grid", action="append", required=True, metavar="NAME=V1,V2", help="a knob and its values")
    sweep.add_argument("--out", type=Path, metavar="FILE.json")
    sweep.add_argument("--split", choices=("validation", "test"), help="validation where every task has it, else test")
    _limited(sweep)
    tune = command("tune", _tune, "search several knobs at once on validation images, without labels for interference")
    tune.add_argument(
        "--out", type=Path, required=True, metavar="FILE.yaml", help="the recipe found; its trace: FILE.json"
    )
    tune.add_argument("--trials", type=int, default=40, metavar="N", help="in all, stored ones included (40)")
    tune.add_argument("--knobs", metavar="A,B", help="those to search; all of the method's where absent")
    tune.add_argument("--seed", type=int, metavar="N", help="of the search; the recipe's where absent")
    tune.add_argument("--storage", type=Path, metavar="FILE", help="keep the trials there, and go on from those it has")
    _limited(tune)
    encode = command("encode", _encode, "write image features of the merged model")
    encode.add_argument("--images", type=Path, required=True, metavar="FILE.safetensors")
    encode.add_argument("--out", type=Path, required=True, metavar="FILE.safetensors")
    papers = commands.add_parser("papers", help=_PAPERS, description=_PAPERS, allow_abbrev=False)
    papers.set_defaults(run=_papers)
    papers.add_argument("--arch", required=True, metavar="NAME", help="ViT-B-32, say, or a file with a model config")
    papers.add_argument("--tasks", type=int, choices=SIZES, required=True, help="how many, in the papers' order")
    papers.add_argument("--checkpoints", type=Path, required=True, metavar="DIR", help="a task-vector repository's")
    papers.add_argument("--data", type=Path, required=True, metavar="DIR", help="with a folder for each data set")
    papers.add_argument("--base", type=Path, metavar="FILE", help="pre-trained weights, where they lie elsewhere")
    papers.add_argument("--preset", metavar="NAME", default="esm_journal", help="method and knobs; esm_journal")
    papers.add_argument("--out", type=Path, required=True, metavar="FILE.yaml", help="the recipe to write")
    papers.add_argument("--json", action="store_true", help="print the result as JSON")
    app = command("app", _app, "start the studio")
    app.add_argument("recipe", type=Path, nargs="?", help="recipe.yaml; the embedded demo where absent")
    app.add_argument("--host", help="to listen on; 127.0.0.1, this machine alone, or with --workshop 0.0.0.0, all")
    app.add_argument("--port", type=int, help="to listen on; 7860")
    app.add_argument("--share", action="store_true", help="make a public link through Gradio's tunnel")
    app.add_argument("--allow-folder", type=Path, metavar="DIR", help="let visitors open the projects below it; none")
    app.add_argument(
        "--workshop",
        action="store_true",
        help="for a room of strangers: listens on the network, no paths of this server, small uploads and limits",
    )
    app.add_argument("--uploads", metavar="SIZE", help="one person may bring, or `off`; 8GB, with --workshop 50MB")
    app.add_argument("--address", metavar="URL", help="that others reach it by, where it is not found by itself")
    app.add_argument(
        "--auth",
        nargs="?",
        const="",
        metavar="NAME:PASSWORD",
        help=f"ask visitors for it; without a value the environment's {AUTH}, which no list of processes shows",
    )
    app.add_argument(
        "--embed-in", action="append", default=[], metavar="URL", help="let pages of this site show it in a frame; none"
    )
    app.add_argument("--auth-file", type=Path, metavar="FILE", help="with a NAME:PASSWORD in each line")
    # only where it is asked for: a server should write to nobody's home by itself, a hall's least of all
    app.add_argument("--state", type=Path, metavar="DIR", help="private folder; sessions come back from it; none")
    app.set_defaults(json=False)
    return parser


def _limited(command: argparse.ArgumentParser) -> None:
    command.add_argument("--limit", type=int, default=0, metavar="N", help="images a task; 0, the default, is all")


def _find(options: argparse.Namespace) -> tuple[Any, str]:
    out = options.out
    if not options.folder.is_dir():
        raise RecipeError(f"{options.folder.name} is no folder", "give one with checkpoints", "command line")
    if out.suffix not in (".yaml", ".yml") or out.exists():
        raise RecipeError(f"--out {out.name} is no new .yaml", "name the recipe to write", "command line")
    expect_writable(out)
    found = find(options.folder)
    recipe = found.recipe
    if options.activation is not None:
        recipe = with_activation(recipe, _ACTIVATIONS[options.activation])
    elif not says_activation(recipe):
        raise RecipeError(
            "the weights do not say which activation they were trained with",
            f"give --activation {' or '.join(_ACTIVATIONS)}",
            recipe.folder.name,
        )
    recipe = recipe.seen_from(out.parent)
    write_text(out, recipe.to_yaml())
    result = {"recipe": recipe.as_mapping(), "arch_from": found.arch_from, "unused": list(found.unused)}
    return result, printed_records.found_text(recipe, found.arch_told, found.unused_told)


def _papers(options: argparse.Namespace) -> tuple[Any, str]:
    out, arch = options.out, options.arch
    if out.suffix not in (".yaml", ".yml") or out.exists():
        raise RecipeError(f"--out {out.name} is no new .yaml", "name the recipe to write", "command line")
    expect_writable(out)
    if arch.endswith(".json"):
        try:
            arch = json.loads(Path(arch).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RecipeError("--arch is no JSON file", "give an open_clip model config", Path(arch).name) from error
    folders = options.checkpoints, options.data
    found = table_recipe(arch, options.tasks, *folders, base=options.base, preset=options.preset)
    recipe = found.seen_from(out.parent)
    write_text(out, recipe.to_yaml())
    return recipe.as_mapping(), f"{printed_records.table_text(recipe)}\nwrote {out}"


def _check(options: argparse.Namespace) -> tuple[Any, str]:
    judgement = judge(_recipe(options))
    answer = printed_records.judgement_json(judgement), printed_records.judgement_text(judgement)
    if judgement.refused:
        _show(options, *answer)
        raise EsmVizError(judgement.refused[0].verdict.sentence, "")
    return answer


def _explore(options: argparse.Namespace) -> tuple[Any, str]:
    recipe, project = _open(options)
    progress = _progress()
    result = explore_page.explore_json(project, recipe, progress)
    page = explore_page.explore_page(project, recipe, progress)
    write_text(options.out / "explore.json", json.dumps(result, ensure_ascii=False, allow_nan=False))
    write_text(options.out / "explore.html", page)
    files = ["explore.json", "explore.html"]
    return {"folder": str(options.out), "files": files}, f"wrote {' and '.join(files)} to {options.out}"


def _merge(options: argparse.Namespace) -> tuple[Any, str]:
    recipe, project = _open(options)
    progress = _progress()
    page = None
    if options.report:
        recipe = project.with_alpha_found(recipe, progress)
        page = partial(report_page, story=explore_page.story(project, recipe, progress))
    proof = project.export(recipe, options.out, progress, layout=options.layout, page=page)
    return printed_records.proof_json(proof), printed_records.proof_text(proof)


def _evaluate(options: argparse.Namespace) -> tuple[Any, str]:
    recipe, project = _open(options)
    progress = _progress()
    evaluation = project.evaluate(project.with_alpha_found(recipe, progress), options.split, progress=progress)
    beside = published(project.inspection.arch, project.tasks), project.left_out
    result = printed_records.evaluation_json(evaluation, *beside)
    if options.out:
        write_text(options.out, _json(result))
    return result, printed_records.evaluation_text(evaluation, *beside)


def _sweep(options: argparse.Namespace) -> tuple[Any, str]:
    recipe = _recipe(options)
    grid: dict[str, list[Value]] = {}
    for assignment in options.grid:
        name, values = _assignment("--grid", assignment, "task_exponent=0,1,2")
        if name in grid:
            raise RecipeError(f"--grid gives {name} twice", "give all of its values at once", "command line")
        grid[name] = list(values.split(","))
    checked_grid(recipe, grid)  # before the files are read
    if options.out:
        _expect_free(options.out, options, recipe)
    project = Project.open(recipe, device=options.device, progress=_progress())
    record = project.sweep(recipe, grid, options.split, options.limit, _progress())
    result = printed_records.sweep_json(record)
    if options.out:
        write_text(options.out, _json(result))
    return result, printed_records.sweep_text(record)


def _tune(options: argparse.Namespace) -> tuple[Any, str]:
    recipe, out = _recipe(options), options.out
    knobs = options.knobs.split(",") if options.knobs is not None else None
    space_of(recipe, knobs), checked_trials(options.trials)  # before the files are read
    if out.suffix not in (".yaml", ".yml"):
        raise RecipeError(f"--out {out} is no .yaml", "name the recipe to write; its trace is the .json beside it")
    trace = out.with_suffix(".json")
    for path in (out, trace):
        _expect_free(path, options, recipe)
    if options.storage and options.storage.resolve() in (out.resolve(), trace.resolve()):
        raise RecipeError("--storage is what --out writes", "give it a file of its own", options.storage.name)
    project = Project.open(recipe, device=options.device, progress=_progress())
    record = project.search_knobs(
        recipe,
        knobs,
        options.trials,
        seed=options.seed,
        storage=options.storage,
        limit=options.limit,
        progress=_progress(),
    )
    found = with_parameters(recipe, **record.trials[record.best].parameters)
    result = printed_records.search_json(record)
    with written_whole(out) as yaml, written_whole(trace) as json_file:  # both or none
        yaml.write_text(found.seen_from(out.parent).to_yaml(), encoding="utf-8")
        json_file.write_text(_json(result), encoding="utf-8")
    return result, f"{printed_records.search_text(record)}\nwrote {out.name} and {trace.name} to {out.parent}"


def _encode(options: argparse.Namespace) -> tuple[Any, str]:
    recipe, project = _open(options)
    images = open_images(options.images, project.preprocessing)
    progress = _progress()
    recipe = project.with_alpha_found(recipe, progress)
    features, routes = project.encode_routed(recipe, images.load(range(images.count)), progress)
    tensors = {"features": features} if routes is None else {"features": features, "routes": routes}
    write_tensors(options.out, tensors, {"format": "pt", "esm_viz.recipe_sha256": project.sha256(recipe)})
    sizes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    told = ", ".join(f"{name} {tuple(size)}" for name, size in sizes.items())
    return {"file": str(options.out), **sizes}, f"wrote {told} to {options.out}"


def _app(options: argparse.Namespace) -> tuple[Any, str]:
    from esm_viz.ui import serve  # the command line must not wait for a web server's imports
    from esm_viz.ui.server.hosted_space import HUB, hosted_space, trust_proxy
    from esm_viz.ui.server.server_address import checked_address
    from esm_viz.ui.server.visitor_limits import USUAL, WORKSHOP, upload_size
    from esm_viz.ui.session.session_archive import private

    folder, space = options.allow_folder, hosted_space(os.environ)
    workshop = options.workshop or space is not None
    if folder is not None and workshop:
        remedy = "leave one of them out: a room of strangers is shown no paths of this server"
        raise RecipeError("--workshop and --allow-folder exclude each other", remedy, "command line")
    if folder is not None and not folder.is_dir():
        raise RecipeError(f"--allow-folder {folder.name} is no folder", "give one that is there", "command line")
    everywhere = "0.0.0.0"  # noqa: S104 - a room's phones are elsewhere
    usual = (space.host, space.port) if space else (everywhere if workshop else "127.0.0.1", 7860)
    host, port = options.host or usual[0], usual[1] if options.port is None else options.port
    if not 0 < port < 1 << 16:
        raise RecipeError(f"--port is {port}", "give one from 1 to 65535", "command line")
    limits = WORKSHOP if workshop else USUAL
    if options.uploads is not None:
        limits = dataclasses.replace(limits, uploads=upload_size(options.uploads))
    address = checked_address(options.address) if options.address else ""
    framers = [checked_address(each, "--embed-in") for each in options.embed_in]
    if space:
        address, framers = address or space.address, framers or [HUB]
        if options.auth is None and os.environ.get(AUTH):
            options.auth = ""  # a Space has secrets and no flags
        trust_proxy()
    serve(
        options.recipe,
        host=host,
        port=port,
        device=options.device,
        share=options.share,
        cache=_cache(options),
        folder=folder,
        limits=limits,
        address=address,
        auth=_auth(options),
        state=private(options.state) if options.state is not None else None,
        aliases=space.names if space else (),
        framers=framers,
    )
    return {}, "stopped"


def _auth(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Return names with their passwords, from where the command line says; none where nobody is asked.

    Raises:
        RecipeError: there is no password where it says, or it is not NAME:PASSWORD.
    """
    lines, remedy = [], f"write NAME:PASSWORD to it, or set {AUTH}"
    if options.auth_file is not None:
        try:
            lines = options.auth_file.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError("--auth-file cannot be read", remedy, options.auth_file.name) from error
    if options.auth is not None:
        lines.append(options.auth or os.environ.get(AUTH, ""))
    split = [line.partition(":") for line in lines if line.strip()]
    pairs = [(name.strip(), password.strip()) for name, _, password in split]
    asked = options.auth is not None or options.auth_file is not None
    if (asked and not pairs) or not all(name and password for name, password in pairs):
        remedy = f"give it as --auth NAME:PASSWORD or in {AUTH}"
        raise RecipeError("--auth has no NAME:PASSWORD", remedy, "command line")
    return pairs


def _open(options: argparse.Namespace) -> tuple[Recipe, Project]:
    recipe = _recipe(options)
    return recipe, Project.open(recipe, device=options.device, cache=_cache(options), progress=_progress())


def _cache(options: argparse.Namespace) -> StageCache:
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


def _recipe(options: argparse.Namespace) -> Recipe:
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


def _progress() -> Progress:
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
