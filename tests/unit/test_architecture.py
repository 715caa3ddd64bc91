"""The rules of the house, read from the sources: who may import whom, and what no file may hold.

Every rule is a function from a source text to its violations, so that beside the test that the house keeps the rule
there is one that the rule is able to see it broken.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "esm_viz"

FACTS = ("version", "assets_folder")  # what every room may read
WORDS = ("types", "errors")  # what nearly every room uses
# Room -> the rooms it may import, all of them above it in this table. A new module gets a line here first.
ROOMS: dict[str, tuple[str, ...]] = {
    "version": (),
    "assets_folder": (),
    "types": (),
    "errors": (),
    "recipe": WORDS,
    "cache": WORDS,
    "recall": (),
    "parallel": (),
    "cost": (*WORDS, "cache", "parallel"),
    "silence": (),
    "checkpoints": (*WORDS, "silence"),
    "models": (*WORDS, "checkpoints"),
    "data": (*WORDS, "silence"),
    "numerics": WORDS,
    "merge": (*WORDS, "recipe", "numerics"),
    "presets": (*WORDS, "recipe", "merge"),
    "papers": (*WORDS, "recipe", "checkpoints", "data", "merge", "presets"),
    "opening": (*WORDS, "recipe", "cost", "checkpoints", "models", "data"),
    "judging": (*WORDS, "recipe", "cost", "checkpoints", "models", "data", "merge", "opening"),
    "finding": (*WORDS, "recipe", "checkpoints", "models", "data", "judging"),
    "forward": ("checkpoints", "models"),
    "stages": (
        *(*WORDS, "recipe", "cost", "cache", "parallel", "models", "data", "numerics", "merge", "opening", "forward"),
    ),
    "explore": (*WORDS, "recipe", "models", "data", "numerics", "stages"),
    "experts": (*WORDS, "recipe", "models", "numerics", "merge", "stages"),
    "outcomes": WORDS,
    "evaluate": (*WORDS, "recipe", "cache", "checkpoints", "models", "data", "numerics", "opening"),
    "gate": (*WORDS, "recipe", "cache", "models", "opening", "judging", "evaluate"),
    "search": (*WORDS, "recipe", "models", "data", "numerics", "evaluate"),
    "sweep": (*WORDS, "recipe", "merge"),
    "tuning": (*WORDS, "recipe", "checkpoints", "merge"),
    "usage": ("recipe", "checkpoints"),
    "card": (*WORDS, "recipe", "checkpoints", "merge", "usage"),
    "export": (*WORDS, "recipe", "checkpoints", "models", "merge", "opening", "card"),
    "pipeline": (
        *(*WORDS, "recipe", "cost", "cache", "recall", "checkpoints", "models", "data", "numerics", "merge", "opening"),
        *("stages", "explore", "experts", "outcomes", "evaluate", "search", "sweep", "tuning", "card", "export"),
        *("judging", "gate"),
    ),
    "leaderboard": (*WORDS, "recipe", "merge", "pipeline"),
    "published": (*WORDS, "papers"),
    "threads": (),
    "__init__": ("threads", "errors", "recipe", "merge", "presets", "pipeline"),
    "figures": ("types",),
    "report": (*WORDS, "recipe", "checkpoints", "merge", "judging", "gate", "figures"),
    "ui": (
        *(
            *WORDS,
            "recipe",
            "cache",
            "recall",
            "data",
            "merge",
            "judging",
            "finding",
            "gate",
            "presets",
            "parallel",
            "pipeline",
            "leaderboard",
            "published",
            "__init__",
        ),
        "figures",
        "report",
    ),
    "answers": (*WORDS, "recipe", "sweep", "published"),
    "exploration": (*WORDS, "recipe", "explore", "pipeline", "figures", "report"),
    "cli": (
        *(*WORDS, "recipe", "cache", "checkpoints", "data", "merge", "judging", "finding", "pipeline", "answers"),
        *("exploration", "papers", "published", "report", "sweep", "tuning", "__init__", "ui"),
    ),
    "__main__": ("cli",),
}
BUILD_ONLY = "demo"  # makes assets/demo: may use all rooms, and no room uses it
FACADE = "__init__"  # what a notebook imports from esm_viz itself

# Library -> the only rooms that may import it.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "gradio": ("ui",),
    "gradio_client": ("ui",),
    "plotly": ("figures", "ui"),
    "segno": ("ui",),
    "optuna": ("tuning",),
}
# Room -> the libraries it may not import.
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "ui": ("torch", "torchvision", "open_clip"),
    "figures": ("torch", "torchvision", "open_clip", "sklearn"),
    "recipe": ("torch", "torchvision", "open_clip"),
    "types": ("torch", "torchvision", "open_clip"),
}
PICKLES = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve")
SAFE_LOADERS = {"yaml.SafeLoader", "yaml.CSafeLoader"}
HOSTS = re.compile(
    r"pypi\.org|pythonhosted\.org|download\.pytorch\.org|conda\.anaconda\.org|registry\.npmjs\.org|"
    r"--(?:extra-)?index-url|--find-links",
    re.IGNORECASE,
)
MACHINE_PATHS = re.compile(
    r"(?<![\w.~])(?:/(?:root|work|mnt|workspace)/\w|/(?:home|Users)/\w+/|[A-Z]:\\Users\\)",
)
APP_LINES = 60


def room_of(path: Path) -> str:
    """Return the first name below the package: `merge` for esm_viz/merge/ties.py, `types` for esm_viz/types.py."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def sources() -> list[Path]:
    """Return the package's own modules, in a fixed order."""
    return sorted(PACKAGE.rglob("*.py"))


def run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield every node but those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from run_time(node)


def imports(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Yield line and full dotted name of everything imported, relative imports resolved against `package`."""
    for node in run_time(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            above = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (above, node.module or "") if part)
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "esm_viz":
            yield node.lineno, f"esm_viz.{node.attr}"


def package_of(path: Path) -> str:
    """Return the dotted package that a module's relative imports start from."""
    return ".".join(path.parent.relative_to(PACKAGE.parent).parts)


def wrong_imports(source: str, room: str, package: str = "esm_viz") -> list[str]:
    """Return what a module of this room imports against the tables above."""
    found = []
    for line, name in imports(ast.parse(source), package):
        top, *below = name.split(".")
        if top == "esm_viz" and below and below[0] not in FACTS and room != BUILD_ONLY:
            target = below[0] if below[0] in ROOMS or below[0] == BUILD_ONLY else FACADE
            if target not in (room, *ROOMS.get(room, ())):
                found.append(f"line {line}: {room} imports {name}")
        if room not in LIBRARIES.get(top, (room,)):
            found.append(f"line {line}: {room} imports {top}, which is for {' and '.join(LIBRARIES[top])}")
        if top in FORBIDDEN.get(room, ()):
            found.append(f"line {line}: {room} imports {top}, which is not for {room}")
    return found


def unsafe_calls(source: str) -> list[str]:
    """Return what reads a file in a way that can run its content as code."""
    found = [
        f"line {line}: imports {name}"
        for line, name in imports(ast.parse(source), "esm_viz")
        if name.split(".")[0] in PICKLES
    ]
    tree = ast.parse(source)
    safe_loaders = SAFE_LOADERS | {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and {ast.unparse(base) for base in node.bases} & SAFE_LOADERS
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if name == "torch.load" and given.get("weights_only") != "True":
            found.append(f"line {node.lineno}: torch.load without weights_only=True")
        loader = given.get("Loader") or (ast.unparse(node.args[1]) if len(node.args) > 1 else "")
        if name in ("yaml.unsafe_load", "yaml.full_load") or (name == "yaml.load" and loader not in safe_loaders):
            found.append(f"line {node.lineno}: {name}, use yaml.safe_load or a subclass of yaml.SafeLoader")
        if given.get("allow_pickle", "False") != "False":
            found.append(f"line {node.lineno}: allow_pickle")
        if name in ("eval", "exec"):
            found.append(f"line {node.lineno}: {name}")
    return found


def lines_with(pattern: re.Pattern[str], text: str) -> list[str]:
    """Return the lines of a text file in which the pattern is found."""
    return [
        f"line {number}: {match[0]}"
        for number, line in enumerate(text.splitlines(), 1)
        if (match := pattern.search(line))
    ]


def tracked_texts() -> list[Path]:
    """Return the text files that belong to the repository: git's where there is git, else all that are not hidden."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\0")
    paths = [ROOT / name for name in listed if name] or [
        path for path in ROOT.rglob("*") if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    ]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8192]]


def violations(rule: Callable[[Path, str], list[str]], paths: list[Path]) -> list[str]:
    """Return every violation of one rule, each with its file."""
    return [
        f"{path.relative_to(ROOT)} {found}" for path in paths for found in rule(path, path.read_text(encoding="utf-8"))
    ]


def test_every_module_is_in_a_room_of_the_table() -> None:
    known = {*ROOMS, BUILD_ONLY}
    strangers = sorted({room_of(path) for path in sources()} - known)
    assert not strangers, f"give them a line in ROOMS: {strangers}"


def test_rooms_import_only_rooms_above_them_in_the_table() -> None:
    order = list(ROOMS)
    upward = [
        f"{room} may import {used}" for room in order for used in ROOMS[room] if order.index(used) >= order.index(room)
    ]
    assert not upward


def test_imports_point_down_and_libraries_stay_in_their_rooms() -> None:
    assert not violations(lambda path, text: wrong_imports(text, room_of(path), package_of(path)), sources())


def test_app_imports_only_the_package() -> None:
    app = ROOT / "app.py"
    if app.exists():
        tops = {name.split(".")[0] for _, name in imports(ast.parse(app.read_text(encoding="utf-8")), "")}
        assert not tops & {"torch", "plotly", "numpy", "open_clip"}


@pytest.mark.parametrize(
    ("source", "room", "package"),
    [
        ("from esm_viz.pipeline import run", "numerics", "esm_viz.numerics"),
        ("from esm_viz import pipeline", "types", "esm_viz"),
        ("import esm_viz.ui", "figures", "esm_viz.figures"),
        ("from ..merge import methods", "numerics", "esm_viz.numerics"),
        ("from .pipeline import run", "recipe", "esm_viz"),
        ("from . import pipeline", "errors", "esm_viz"),
        ("def f():\n    from esm_viz.ui import studio", "pipeline", "esm_viz"),
        ("from esm_viz.demo import make", "ui", "esm_viz.ui"),
        ("from esm_viz import Project", "numerics", "esm_viz.numerics"),
        ("import esm_viz\nesm_viz.Project.open(recipe)", "merge", "esm_viz.merge"),
        ("import gradio as gr", "cli", "esm_viz"),
        ("from esm_viz import __version__", "checkpoints", "esm_viz.checkpoints"),
        ("import esm_viz\nprint(esm_viz.__version__)", "export", "esm_viz"),
        ("from plotly import graph_objects", "pipeline", "esm_viz"),
        ("import torch.nn", "ui", "esm_viz.ui"),
    ],
)
def test_the_import_rule_sees_a_wrong_import(source: str, room: str, package: str) -> None:
    assert len(wrong_imports(source, room, package)) == 1


@pytest.mark.parametrize(
    ("source", "room", "package"),
    [
        ("from esm_viz.version import __version__", "checkpoints", "esm_viz.checkpoints"),
        ("from esm_viz import Project", "ui", "esm_viz.ui"),
        ("if TYPE_CHECKING:\n    from esm_viz.pipeline import Project", "export", "esm_viz"),
        ("from . import polar\nfrom .polar import polar_factor", "numerics", "esm_viz.numerics"),
        ("from ..errors import ShapeError", "numerics", "esm_viz.numerics"),
        ("from esm_viz import errors, types", "merge", "esm_viz.merge"),
        ("import gradio\nimport plotly.graph_objects\nfrom esm_viz import pipeline", "ui", "esm_viz.ui"),
        ("from esm_viz.ui import studio\nimport torch", "demo", "esm_viz.demo"),
    ],
)
def test_the_import_rule_lets_a_right_import_pass(source: str, room: str, package: str) -> None:
    assert not wrong_imports(source, room, package)


def test_nothing_is_read_in_a_way_that_could_run_it() -> None:
    app = [ROOT / "app.py"] if (ROOT / "app.py").exists() else []
    assert not violations(lambda _, text: unsafe_calls(text), [*sources(), *app])


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(text, Loader=yaml.Loader)",
        "class Mine(yaml.Loader): ...\nyaml.load(text, Mine)",
        "yaml.load(text)",
        "yaml.unsafe_load(text)",
        "numpy.load(path, allow_pickle=True)",
        "eval(text)",
    ],
)
def test_the_safety_rule_sees_an_unsafe_call(source: str) -> None:
    assert len(unsafe_calls(source)) == 1


def test_the_safety_rule_lets_safe_calls_pass() -> None:
    assert not unsafe_calls("torch.load(p, weights_only=True)\nyaml.safe_load(t)\nnumpy.load(p)\nmodel.eval()")
    assert not unsafe_calls("class Strict(yaml.SafeLoader): ...\nyaml.load(text, Loader=Strict)")


def test_every_module_says_why_it_exists() -> None:
    silent = [
        str(path.relative_to(ROOT)) for path in sources() if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert not silent


def test_app_stays_short() -> None:
    app = ROOT / "app.py"
    assert not app.exists() or len(app.read_text(encoding="utf-8").splitlines()) < APP_LINES


def test_no_file_names_a_package_index() -> None:
    others = [path for path in tracked_texts() if path != Path(__file__)]
    assert not violations(lambda _, text: lines_with(HOSTS, text), others)


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    others = [path for path in tracked_texts() if path != Path(__file__)]
    assert not violations(lambda _, text: lines_with(MACHINE_PATHS, text), others)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (HOSTS, "torch @ https://download.pytorch.org/whl/cpu"),
        (HOSTS, "--extra-index-url https://example.org"),
        (MACHINE_PATHS, 'path = "/root/data/base.safetensors"'),
        (MACHINE_PATHS, "see /home/ada/models/"),
        (MACHINE_PATHS, "file:///Users/ada/x"),
    ],
)
def test_the_text_rules_see_what_they_forbid(pattern: re.Pattern[str], text: str) -> None:
    assert lines_with(pattern, text)


@pytest.mark.parametrize("text", ["https://example.org/home/ada/", "models/root/x", "/usr/bin/env bash", "~/work/x"])
def test_the_path_rule_lets_other_paths_pass(text: str) -> None:
    assert not lines_with(MACHINE_PATHS, text)


def test_requirements_are_ranges_with_both_ends() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            requirement = line.partition("#")[0].strip()
            assert not requirement or re.fullmatch(r"[\w-]+>=[\d.]+,<[\d.]+", requirement), f"{name}: {line}"


@pytest.mark.parametrize("command", ["script/server", "script/test", ".ci/run"])
def test_the_commands_exist_and_are_executable(command: str) -> None:
    path = ROOT / command
    assert path.is_file()
    assert path.stat().st_mode & 0o111
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")


def readme_commands() -> list[str]:
    """Return the first words of the README's shell lines that name something in script/."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", readme, flags=re.DOTALL | re.MULTILINE)
    return [match[0] for block in blocks for match in re.finditer(r"^script/\w+", block, flags=re.MULTILINE)]


def test_the_readme_names_both_commands_and_no_other() -> None:
    assert set(readme_commands()) == {"script/server", "script/test"}


def test_ci_runs_the_test_command_that_the_readme_names() -> None:
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    called = re.findall(r"^(script/\w+)(.*)$", ci, flags=re.MULTILINE)
    assert called == [("script/test", " </dev/null")]


def test_the_licence_is_the_one_the_metadata_names() -> None:
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "The esm_viz authors" in licence
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
