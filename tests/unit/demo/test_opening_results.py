"""What the demo's opening page is shown at once is what this code computes, and it asks for nothing else.

The numbers were made on another machine: a forward pass in float32 differs there by some units of 1.2e-7 (two
processors were 2.6e-7 apart), and an image on the edge between two classes may fall on the other side.
"""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from esm_viz.demo.opening_results import opening_answers
from esm_viz.runtime.recorded_results import RecordedResults
from esm_viz.stages.merge_stages import Stages
from esm_viz.ui.studio_server import OPENING

RELATIVE, ABSOLUTE = 1e-6, 1e-6
IMAGES = 1  # of a task's right answers
NOT_COMPARED = "seconds"  # how long it took
REMEDY = "run python -m esm_viz.demo.opening_results and commit assets/demo/opening.json"


def differences(shipped: Any, fresh: Any, at: str = "") -> list[str]:
    """Return where two answers differ by more than machines do."""
    if isinstance(shipped, dict) and isinstance(fresh, dict) and shipped.keys() == fresh.keys():
        return [
            found
            for key in shipped
            if key != NOT_COMPARED
            for found in differences(shipped[key], fresh[key], f"{at}.{key}")
        ]
    if isinstance(shipped, list) and isinstance(fresh, list) and len(shipped) == len(fresh):
        return [
            found
            for index, (one, other) in enumerate(zip(shipped, fresh, strict=True))
            for found in differences(one, other, f"{at}[{index}]")
        ]
    if at.endswith(".correct") and abs(shipped - fresh) <= IMAGES:
        return []
    if isinstance(shipped, float) and isinstance(fresh, float):
        both = math.isnan(shipped) and math.isnan(fresh)
        same = both or math.isclose(shipped, fresh, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
        return [] if same else [f"{at}: {shipped} is now {fresh}"]
    return [] if shipped == fresh else [f"{at}: {str(shipped)[:60]} is now {str(fresh)[:60]}"]


@pytest.fixture(scope="module")
def shipped() -> RecordedResults:
    found = RecordedResults.read(OPENING)
    assert found is not None, f"the opening page is of another version: {REMEDY}"
    return found


def test_every_shipped_answer_is_what_this_code_computes(shipped: RecordedResults) -> None:
    fresh = json.loads(json.dumps(opening_answers(RecordedResults()).plain))  # as a file gives it back
    assert set(shipped.plain) == set(fresh), REMEDY
    found = {question: differences(answer, fresh[question]) for question, answer in shipped.plain.items()}
    assert not {question: where for question, where in found.items() if where}, REMEDY


def test_the_opening_page_computes_nothing(shipped: RecordedResults, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError(f"computed while the page opened: {REMEDY}")

    for name in ("decomposition", "moment", "merged", "proxies", "delta", "svd"):
        monkeypatch.setattr(Stages, name, refuse)
    known = dict(shipped.plain)
    assert opening_answers(RecordedResults(known)).plain == known


def test_an_answer_of_other_files_is_never_found(shipped: RecordedResults) -> None:
    question = next(iter(shipped.plain))
    other = json.dumps(json.loads(question) | {"recipe": "0" * 64}, ensure_ascii=False)
    assert RecordedResults(shipped.plain).give(other, str, lambda: "computed") == "computed"


def test_the_comparison_sees_a_number_that_moved() -> None:
    was = {"values": [1.0, math.nan], "correct": 40, "seconds": 1.0, "rank": 3}
    assert not differences(was, {"values": [1.0 + 1e-9, math.nan], "correct": 41, "seconds": 9.0, "rank": 3})
    for other in ({"values": [1.00001, math.nan]}, {"values": [1.0, 2.0]}, {"correct": 42}, {"rank": 4}):
        assert len(differences(was, was | other)) == 1, other
