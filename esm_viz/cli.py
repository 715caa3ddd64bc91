"""The same main job without a browser: check, explore, merge, evaluate, encode, app.

Results go to standard output (`--json` for programs), progress to standard error. Status 0 done, 2 the input is
wrong, 130 stopped; what is wrong is one line, `error: what, where, what to do`.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from esm_viz import answers, load_recipe, with_method, with_parameters
from esm_viz.checkpoints.writing import write_tensors, write_text
from esm_viz.data.images import open_images
from esm_viz.errors import Cancelled, EsmVizError, RecipeError
from esm_viz.pipeline import Project, inspect
from esm_viz.recipe import DTYPES, Recipe, checked_seed
from esm_viz.types import Report

DONE, FAILED, WRONG_INPUT, STOPPED = 0, 1, 2, 130
_PROGRESS_SECONDS = 0.2  # between two lines of progress
_log = logging.getLogger("esm_viz")


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit status; never exits, may be called many times in one process."""
    try:
        options = _parser().parse_args(list(argv))
        result, text = options.run(options)
        print(json.dumps(result, ensure_ascii=False, allow_nan=False) if options.json else text)
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


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m esm_viz", description="Merge CLIP fine-tunes by recipe.", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name: str, run: Callable[[argparse.Namespace], tuple[Any, str]], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(run=run)
        if name != "app":
            sub.add_argument("recipe", type=Path, help="recipe.yaml")
            sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a parameter")
            sub.add_argument("--json", action="store_true", help="print the result as JSON")
        sub.add_argument("--device", default="auto", help="auto, cpu or cuda")
        return sub

    command("check", _check, "read headers only: layouts, keys, shapes, cost to expect")
    explore = command("explore", _explore, "write decompositions as numbers and pictures")
    explore.add_argument("--out", type=Path, required=True, metavar="DIR")
    merge = command("merge", _merge, "write the merged model, its recipe and its card, verified")
    merge.add_argument("--out", type=Path, required=True, metavar="DIR")
    evaluate = command("evaluate", _evaluate, "measure accuracy of base, experts and merged model")
    evaluate.add_argument("--out", type=Path, metavar="FILE.json")
    evaluate.add_argument("--split", choices=("validation", "test"), default="test")
    encode = command("encode", _encode, "write image features of the merged model")
    encode.add_argument("--images", type=Path, required=True, metavar="FILE.safetensors")
    encode.add_argument("--out", type=Path, required=True, metavar="FILE.safetensors")
    app = command("app", _app, "start the studio")
    app.add_argument("recipe", type=Path, nargs="?", help="recipe.yaml; the embedded demo where absent")
    app.add_argument("--host", default="127.0.0.1")
    app.add_argument("--port", type=int, default=7860)
    app.add_argument("--share", action="store_true")
    app.set_defaults(json=False)
    return parser


def _check(options: argparse.Namespace) -> tuple[Any, str]:
    inspection = inspect(_recipe(options))
    return answers.inspection_json(inspection), answers.inspection_text(inspection)


def _explore(options: argparse.Namespace) -> tuple[Any, str]:
    recipe, project = _open(options)
    report = _progress()
    result = answers.explore_json(project, recipe, report)
    page = answers.explore_page(project, recipe, report)
    write_text(options.out / "explore.json", json.dumps(result, ensure_ascii=False, allow_nan=False))
    write_text(options.out / "explore.html", page)
    files = ["explore.json", "explore.html"]
    return {"folder": str(options.out), "files": files}, f"wrote {' and '.join(files)} to {options.out}"


def _merge(options: argparse.Namespace) -> tuple[Any, str]:
    recipe, project = _open(options)
    proof = project.export(recipe, options.out, _progress())
    return answers.proof_json(proof), answers.proof_text(proof)


def _evaluate(options: argparse.Namespace) -> tuple[Any, str]:
    recipe, project = _open(options)
    report = _progress()
    evaluation = project.evaluate(project.with_alpha_found(recipe, report), options.split, report=report)
    result = answers.evaluation_json(evaluation)
    if options.out:
        write_text(options.out, json.dumps(result, ensure_ascii=False, allow_nan=False, indent=1))
    return result, answers.evaluation_text(evaluation)


def _encode(options: argparse.Namespace) -> tuple[Any, str]:
    recipe, project = _open(options)
    images = open_images(options.images, project.image_size)
    report = _progress()
    recipe = project.with_alpha_found(recipe, report)
    features, routes = project.encode_routed(recipe, images.load(range(images.count)), report)
    tensors = {"features": features} if routes is None else {"features": features, "routes": routes}
    write_tensors(options.out, tensors, {"format": "pt", "esm_viz.recipe_sha256": project.sha256(recipe)})
    sizes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    told = ", ".join(f"{name} {tuple(size)}" for name, size in sizes.items())
    return {"file": str(options.out), **sizes}, f"wrote {told} to {options.out}"


def _app(options: argparse.Namespace) -> tuple[Any, str]:
    from esm_viz.ui import serve  # the command line must not wait for a web server's imports

    serve(options.recipe, host=options.host, port=options.port, device=options.device, share=options.share)
    return {}, "stopped"


def _open(options: argparse.Namespace) -> tuple[Recipe, Project]:
    recipe = _recipe(options)
    return recipe, Project.open(recipe, device=options.device, report=_progress())


def _recipe(options: argparse.Namespace) -> Recipe:
    """Read the recipe and apply `--set`, the method first, since it decides which parameters there are."""
    recipe = load_recipe(options.recipe)
    changes = {}
    for assignment in options.set:
        name, equals, value = assignment.partition("=")
        if not equals or not name or not value:
            raise RecipeError(f"--set {assignment} is not NAME=VALUE", "write --set alpha=0.5, say", "command line")
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


def _progress() -> Report:
    """Return a reporter that writes to standard error, a line that overwrites itself where that is a terminal."""
    terminal = sys.stderr.isatty()
    last = -1.0

    def report(fraction: float, words: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _PROGRESS_SECONDS:
            return
        last = now
        end = "\r" if terminal else "\n"
        print(f"{100 * fraction:3.0f} %  {words:<60.60}", end=end, file=sys.stderr, flush=True)

    return report
