"""What README and docs/ say can be followed: commands parse, links lead somewhere, recipes are recipes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

import esm_viz
from benchmarks.__main__ import WHAT
from esm_viz.cli.argument_parser import argument_parser
from esm_viz.ui.server.visitor_limits import USUAL, WORKSHOP, upload_size
from tests.support.pages import OTHERS, PAGES, README, ROOT, anchors, blocks, command_lines, links, named, prose, read

MOST_LINES = 150  # of the README: what one reads before deciding to go on
WORDS = {
    *("agreement", "feature direction"),
    *("adapter", "base", "ESD", "essential subspace", "expert", "family", "head", "interference", "knob", "layout"),
    *("level of polarized scaling", "moments", "name on a hub", "prediction", "proof", "prototype"),
    *("proxies", "recipe", "routing", "stage", "task", "task vector ΔW", "verdict"),
}
OF_OTHERS = ("pip", "docker", "hf", "pre-commit", "jupyter")  # programs that are not ours
everywhere = pytest.mark.parametrize("page", PAGES, ids=named)


def parse(line: str) -> None:
    """Parse one command line of a page as the program that it starts does; raises where it would refuse it."""
    words = shlex.split(line)
    while re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    if words[:3] == ["python", "-m", "esm_viz"] or words[0] == "esm-viz":
        arguments = words[3:] if words[0] == "python" else words[1:]
        argument_parser().parse_args(arguments or ["app"])
    elif words[:3] == ["python", "-m", "benchmarks"]:
        assert set(words[3:]) <= {*WHAT, "--quick"}
    elif words[0] == "script/server":
        argument_parser().parse_args(["app", *words[1:]])
    elif words[0].startswith("script/"):
        assert (ROOT / words[0]).stat().st_mode & 0o111
    else:
        assert words[0] in OF_OTHERS, f"nothing checks {line}"


def test_the_readme_is_short() -> None:
    assert len(read(README).splitlines()) <= MOST_LINES


def test_the_readme_leads_to_every_page() -> None:
    there = {path.relative_to(ROOT).as_posix() for path in [*PAGES, ROOT / "docs/notebook.ipynb"]} - {"README.md"}
    assert there <= set(links(README))


@everywhere
def test_every_command_line_parses(page: Path) -> None:
    for line in command_lines(page):
        parse(line)


def test_there_are_command_lines_of_every_command() -> None:
    lines = [line for page in PAGES for line in command_lines(page)]
    used = {words[3] for words in map(str.split, lines) if words[:3] == ["python", "-m", "esm_viz"]}
    assert used == set(next(action for action in argument_parser()._actions if action.choices).choices)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "line",
    [
        "python -m esm_viz merge recipe.yaml --folder out",
        "esm-viz no-command",
        "script/server --door 8000",
        "rm -r docs",
    ],
)
def test_a_wrong_command_line_is_seen(line: str) -> None:
    with pytest.raises((esm_viz.EsmVizError, AssertionError)):
        parse(line)


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=named)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for link in links(page):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_headings_have_the_anchors_that_github_gives_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# The papers' tables\n\n## α\n\n## `find`, say\n\n## α\n\n```sh\n# no heading\n```\n", encoding="utf-8"
    )
    assert anchors(page) == {"the-papers-tables", "α", "find-say", "α-1"}


@everywhere
def test_every_recipe_is_one(page: Path, tmp_path: Path) -> None:
    recipes = blocks(page, "yaml")
    assert recipes or page.name != "recipe.md"
    for text in recipes:
        (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
        esm_viz.load_recipe(tmp_path / "recipe.yaml")


def test_the_recipe_page_has_every_key() -> None:
    page = read(ROOT / "docs" / "recipe.md")
    demo = yaml.safe_load(read(ROOT / "assets" / "demo" / "recipe.yaml"))
    written = esm_viz.load_recipe(ROOT / "assets" / "demo" / "recipe.yaml").as_mapping()
    for key in {*demo, *written, *demo["models"][0], "sha256", "weight", "classes"}:
        assert f"| `{key}` |" in page, key


def test_the_workshop_page_has_the_limits_of_the_server() -> None:
    page = read(ROOT / "docs" / "workshop.md")
    rows = dict(re.findall(r"^\| (uploads|sessions|cells|trials)\b.*?(\| .+) \|$", page, re.MULTILINE))
    for name, row in rows.items():
        usual, workshop = (cell.split(";")[0].strip() for cell in row.strip("| ").split(" | "))
        read_as = upload_size if name == "uploads" else int
        assert (read_as(usual), read_as(workshop)) == (getattr(USUAL, name), getattr(WORKSHOP, name)), name
    assert len(rows) == 4


def test_the_glossary_has_its_words_in_order() -> None:
    words = re.findall(r"^\| \*\*(.+?)\*\* \| [A-Z].+\. \|$", read(ROOT / "docs" / "glossary.md"), re.MULTILINE)
    assert set(words) == WORDS
    assert words == sorted(words, key=str.lower)


@everywhere
def test_no_line_is_longer_than_the_code_may_be(page: Path) -> None:
    text = re.sub(r"<!-- (\w+) -->.*?<!-- end \1 -->", "", prose(page), flags=re.DOTALL)
    assert [line for line in text.split("\n") if len(line) > 120 and not line.startswith(("|", "!"))] == []


def test_the_walks_name_files_that_exist() -> None:
    page = read(ROOT / "docs" / "contributing.md")
    walks = re.findall(r"^## (A new [^\n]+)$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert len(walks) == 3
    for title, walk in walks:
        files = set(re.findall(r"`(esm_viz/[\w/]+?(?:/|\.py))`", walk))
        assert 1 <= len(files) <= 4, title
        for file in files:
            path = ROOT / file
            assert path.exists() or ("NAME" in path.name and path.parent.is_dir()), file
