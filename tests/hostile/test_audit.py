"""No dependency has a known vulnerability; where no advisory service can be asked, that is said and not passed over."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from tests.support.audit import Answer, Found, ask, reachable, read_answer, read_exceptions, wrong

EXCEPTIONS = Path(__file__).parents[2] / ".ci" / "audit.toml"
FOUND = Found("pillow", "11.0", "PYSEC-1", ("GHSA-1",), ("11.1",))
EXCEPTION = """
[[exception]]
id = "GHSA-1"
package = "pillow"
reason = "we do not read that format"
date = 2026-11-28
"""


def test_no_installed_package_has_a_known_vulnerability() -> None:
    service, reason = reachable()
    if not service:
        pytest.skip(f"nothing was audited, no advisory service answers ({reason})")
    answer, said = ask(service, "--local", "--skip-editable")
    assert answer is not None, f"{service}: {said}"
    assert answer.known > len(answer.unknown), f"{service} knows none of {', '.join(answer.unknown)}"
    assert not wrong(answer, read_exceptions(EXCEPTIONS.read_text(encoding="utf-8")))


def test_the_file_of_exceptions_is_whole() -> None:
    assert all(each["reason"] for each in read_exceptions(EXCEPTIONS.read_text(encoding="utf-8")).values())


def test_what_pip_audit_writes_is_read() -> None:
    packages = [
        {"name": "a", "version": "1", "vulns": []},
        {"name": "b", "skip_reason": "not found"},
        {"name": "c", "version": "2", "vulns": [{"id": "X-1", "aliases": ["Y-1"], "fix_versions": ["3"]}]},
    ]
    found = (Found("c", "2", "X-1", ("Y-1",), ("3",)),)
    assert read_answer(json.dumps({"dependencies": packages})) == Answer(2, ("b",), found)


@pytest.mark.parametrize("text", ["", "Traceback", "{}", "[]", '{"dependencies": 1}'])
def test_what_is_no_answer_is_none(text: str) -> None:
    assert read_answer(text) is None


def test_a_vulnerability_is_told_with_its_remedy() -> None:
    assert wrong(Answer(1, (), (FOUND,)), {}) == ["pillow 11.0: PYSEC-1, fixed in 11.1"]


def test_an_exception_holds_for_its_own_package_by_any_of_its_names() -> None:
    exceptions = read_exceptions(EXCEPTION)
    assert exceptions["GHSA-1"]["date"] == datetime.date(2026, 11, 28)
    assert wrong(Answer(1, (), (FOUND,)), exceptions) == []
    other = FOUND._replace(package="torch")
    assert wrong(Answer(1, (), (other,)), exceptions)[0] == "torch 11.0: PYSEC-1, fixed in 11.1"


def test_an_exception_that_is_not_needed_is_told() -> None:
    stale = ["GHSA-1 is not found any more, remove the exception"]
    assert wrong(Answer(1, (), ()), read_exceptions(EXCEPTION)) == stale


@pytest.mark.parametrize("line", ['reason = "we do not read that format"\n', "date = 2026-11-28\n"])
def test_an_exception_without_reason_or_date_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"^GHSA-1: an exception has id, package, reason and date$"):
        read_exceptions(EXCEPTION.replace(line, ""))
