"""The arguments of every command, with the function that runs it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from esm_viz.checkpoints.layout_table import BASE, LAYOUTS
from esm_viz.cli.commands import (
    ACTIVATIONS,
    expanded_path,
    run_check,
    run_encode,
    run_evaluate,
    run_explore,
    run_find,
    run_merge,
    run_papers,
    run_push,
    run_sweep,
    run_tune,
)
from esm_viz.cli.studio_command import AUTH, run_app
from esm_viz.core.errors import RecipeError
from esm_viz.merge.preset_lookup import PRESETS
from esm_viz.papers.papers_tasks import SIZES

INSTALLED = "esm-viz"  # the command that an installed package has
_PAPERS = "write the recipe of one of the papers' tables from a folder of checkpoints and one of data sets, or by name"
_PUSH = "upload an exported folder to a repository on a hub, private by default"
_FIND = "write the recipe of a folder of checkpoints, by their names, or of names on a hub"


class HelpShown(Exception):
    """The help was asked for and printed."""


class _Parser(argparse.ArgumentParser):
    """argparse that raises our errors instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        raise RecipeError(message, f"see `{self.prog} --help`", "command line")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        del status
        if message:
            print(message, end="")
        raise HelpShown


def _program() -> str:
    """Return what a user types to run this."""
    return INSTALLED if Path(sys.argv[0]).stem == INSTALLED else "python -m esm_viz"


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser; what it parses has `run`, which returns a result for programs and its text for people."""
    description = "Merge CLIP fine-tunes by recipe. Without a command: open the studio on the demo."
    parser = _Parser(prog=_program(), description=description, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name: str, run: Callable[[argparse.Namespace], tuple[Any, str]], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(run=run)
        if name != "app":
            sub.add_argument("recipe", type=expanded_path, help="recipe.yaml")
            sub.add_argument("--preset", metavar="NAME", help=f"set all knobs: {', '.join(PRESETS)}")
            sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a parameter")
            sub.add_argument("--json", action="store_true", help="print the result as JSON")
        if name not in ("app", "check"):
            sub.add_argument("--yes", action="store_true", help="download more than 1 GB where the recipe has names")
        sub.add_argument("--device", default="auto", help="auto, cpu or cuda")
        sub.add_argument("--cache", type=float, metavar="GB", help="memory for cached stages; a quarter of it all")
        sub.add_argument("--spill", type=expanded_path, metavar="DIR", help="disk for what leaves that memory; none")
        return sub

    find = commands.add_parser("find", help=_FIND, description=_FIND, allow_abbrev=False)
    find.set_defaults(run=run_find)
    sources = "a folder with the checkpoints, and what belongs to each by name; or names on a hub, the base's first"
    find.add_argument("sources", nargs="+", metavar="FOLDER", help=sources)
    find.add_argument("--out", type=expanded_path, required=True, metavar="FILE.yaml", help="the recipe to write")
    find.add_argument("--activation", choices=ACTIVATIONS, help="of the blocks, where no config says it")
    find.add_argument("--json", action="store_true", help="print the result as JSON")
    command("check", run_check, "read headers only: a verdict for every model, cost to expect")
    explore = command("explore", run_explore, "write decompositions as numbers and pictures")
    explore.add_argument("--out", type=expanded_path, required=True, metavar="DIR")
    merge = command("merge", run_merge, "write the merged model, its recipe and its card, verified")
    merge.add_argument("--out", type=expanded_path, required=True, metavar="DIR")
    merge.add_argument("--layout", choices=(BASE, *LAYOUTS), default=BASE, help="of the weights file; as the base file")
    merge.add_argument("--report", action="store_true", help="write report.html too: pictures, accuracy, proof")
    evaluate = command("evaluate", run_evaluate, "measure accuracy of base, experts and merged model")
    evaluate.add_argument("--out", type=expanded_path, metavar="FILE.json")
    evaluate.add_argument("--split", choices=("validation", "test"), default="test")
    sweep = command("sweep", run_sweep, "measure every cell of a grid over knobs, from the same decompositions")
    sweep.add_argument("--grid", action="append", required=True, metavar="NAME=V1,V2", help="a knob and its values")
    sweep.add_argument("--out", type=expanded_path, metavar="FILE.json")
    sweep.add_argument("--split", choices=("validation", "test"), help="validation where every task has it, else test")
    _limited(sweep)
    tune = command(
        "tune",
        run_tune,
        "search several knobs at once on validation images, or without labels by agreement with the experts",
    )
    tune.add_argument(
        "--out", type=expanded_path, required=True, metavar="FILE.yaml", help="the recipe found; its trace: FILE.json"
    )
    tune.add_argument("--trials", type=int, default=40, metavar="N", help="in all, stored ones included (40)")
    tune.add_argument("--knobs", metavar="A,B", help="those to search; all of the method's where absent")
    tune.add_argument("--seed", type=int, metavar="N", help="of the search; the recipe's where absent")
    tune.add_argument(
        "--storage", type=expanded_path, metavar="FILE", help="keep the trials there, and go on from those it has"
    )
    _limited(tune)
    encode = command("encode", run_encode, "write image features of the merged model")
    encode.add_argument("--images", type=expanded_path, required=True, metavar="FILE.safetensors")
    encode.add_argument("--out", type=expanded_path, required=True, metavar="FILE.safetensors")
    papers = commands.add_parser("papers", help=_PAPERS, description=_PAPERS, allow_abbrev=False)
    papers.set_defaults(run=run_papers)
    papers.add_argument("--arch", required=True, metavar="NAME", help="ViT-B-32, say, or a file with a model config")
    papers.add_argument("--tasks", type=int, choices=SIZES, required=True, help="how many, in the papers' order")
    papers.add_argument("--checkpoints", type=expanded_path, metavar="DIR", help="a task-vector repository's")
    papers.add_argument("--data", type=expanded_path, metavar="DIR", help="with a folder for each data set")
    papers.add_argument("--hub", action="store_true", help="names on a hub in place of both folders")
    papers.add_argument(
        "--base", type=expanded_path, metavar="FILE", help="pre-trained weights, where they lie elsewhere"
    )
    papers.add_argument("--preset", metavar="NAME", default="esm_journal", help="method and knobs; esm_journal")
    papers.add_argument("--out", type=expanded_path, required=True, metavar="FILE.yaml", help="the recipe to write")
    papers.add_argument("--json", action="store_true", help="print the result as JSON")
    push = commands.add_parser("push", help=_PUSH, description=_PUSH, allow_abbrev=False)
    push.set_defaults(run=run_push)
    push.add_argument("folder", type=expanded_path, help="that `merge` wrote")
    push.add_argument("repository", metavar="OWNER/NAME", help="on the hub; it is made where it is missing")
    push.add_argument("--public", action="store_true", help="let everybody see it")
    push.add_argument("--json", action="store_true", help="print the result as JSON")
    app = command("app", run_app, "start the studio")
    app.add_argument("recipe", type=expanded_path, nargs="?", help="recipe.yaml; the embedded demo where absent")
    app.add_argument("--host", help="to listen on; 127.0.0.1, this machine alone, or with --workshop 0.0.0.0, all")
    app.add_argument("--port", type=int, help="to listen on; 7860")
    app.add_argument("--share", action="store_true", help="make a public link through Gradio's tunnel")
    app.add_argument(
        "--allow-folder", type=expanded_path, metavar="DIR", help="let visitors open the projects below it; none"
    )
    app.add_argument(
        "--allow-hub",
        action="store_true",
        help="let visitors from other machines make this server download; else those of this machine alone",
    )
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
    app.add_argument("--auth-file", type=expanded_path, metavar="FILE", help="with a NAME:PASSWORD in each line")
    # only where it is asked for: a server should write to nobody's home by itself, a hall's least of all
    app.add_argument(
        "--state", type=expanded_path, metavar="DIR", help="private folder; sessions come back from it; none"
    )
    app.set_defaults(json=False)
    return parser


def _limited(command: argparse.ArgumentParser) -> None:
    command.add_argument("--limit", type=int, default=0, metavar="N", help="images a task; 0, the default, is all")
