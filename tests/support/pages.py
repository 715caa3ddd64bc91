"""The pages of the documentation as tests read them: their code blocks, command lines, headings and links."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, *DOCS]
OTHERS = [ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md")]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def named(path: Path) -> str:
    """Return a page's path in the repository, as the name of a test's case."""
    return path.relative_to(ROOT).as_posix()


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path: Path, *languages: str) -> list[str]:
    """Return the code blocks of a page in some languages."""
    return [code for language, code in _BLOCK.findall(read(path)) if language in languages]


def prose(path: Path) -> str:
    """Return a page without its code blocks."""
    return _BLOCK.sub("", read(path))


def command_lines(path: Path) -> list[str]:
    """Return the lines of a page's shell blocks without their comments, and the commands inside sentences."""
    lines = [
        line.partition(" #")[0].strip() for block in blocks(path, "sh", "bash", "console") for line in block.split("\n")
    ]
    return [*(line for line in lines if line), *re.findall(r"`(python -m esm_viz [^`]+)`", prose(path))]


def links(path: Path) -> list[str]:
    """Return the targets of a page's links and pictures."""
    return _LINK.findall(prose(path))


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, the way GitHub makes them."""
    found: set[str] = set()
    for title in re.findall(r"^#{1,6} (.+)$", prose(path), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        copies = (f"{slug}-{count}" for count in range(1, 100))
        found.add(slug if slug not in found else next(copy for copy in copies if copy not in found))
    return found


def generator() -> ModuleType:
    """Load script/readme, which has no suffix."""
    loader = importlib.machinery.SourceFileLoader("readme", str(ROOT / "script" / "readme"))
    spec = importlib.util.spec_from_loader("readme", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
