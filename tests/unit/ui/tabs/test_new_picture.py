"""A new picture on Explore is a record, a question, a figure, and one line in the tab: no other file is edited."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]
PARTS = ROOT / "tests" / "support" / "new_picture"
TAB = "esm_viz/ui/tabs/explore/explore_tab.py"
LINE = (
    '    MeasuredPicture("update_norms", "Size of each change", update_norms, '
    'lambda session, record: {"figure": update_norms_figure(record)}),\n'
)
IMPORTS = (
    "from esm_viz.explore.update_norms import update_norms\n"
    "from esm_viz.figures.update_norms_figure import update_norms_figure\n"
)
FIRST_IMPORT, PICTURES = "from esm_viz.core.errors import", "PICTURES = (\n"


def test_three_new_files_and_one_line_are_a_card_of_the_studio(tmp_path: Path, tiny_folder: Path) -> None:
    for part in ("esm_viz", "assets/ui", "tests/support"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PARTS / "update_norms_record.py", tmp_path / "esm_viz/core/records")
    shutil.copy(PARTS / "update_norms.py", tmp_path / "esm_viz/explore")
    shutil.copy(PARTS / "update_norms_figure.py", tmp_path / "esm_viz/figures")
    tab = (tmp_path / TAB).read_text(encoding="utf-8")
    assert tab.count(PICTURES) == tab.count(FIRST_IMPORT) == 1
    tab = tab.replace(PICTURES, PICTURES + LINE).replace(FIRST_IMPORT, IMPORTS + FIRST_IMPORT)
    (tmp_path / TAB).write_text(tab, encoding="utf-8")
    call = [sys.executable, "-m", "tests.support.new_picture.show", str(tiny_folder)]
    ran = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    shown = json.loads(ran.stdout)
    assert shown["card"]["title"] == "Size of each change"
    assert shown["card"]["figure"]["data"][0]["y"] == shown["values"]
    assert min(shown["values"]) > 0
    assert (shown["card"]["error"], shown["card"]["stale"]) == ("", "")
