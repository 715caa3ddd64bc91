"""Known vulnerabilities of what is installed, as an advisory service tells them; never a pass where none answered."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

SERVICES = ("pypi", "osv")  # pip-audit's names, in the order in which they are asked
PROBE = "pip"  # a package that every service knows
SECONDS = 5  # until a service counts as unreachable


class Found(NamedTuple):
    """One known vulnerability of an installed package."""

    package: str
    version: str
    id: str
    aliases: tuple[str, ...] = ()
    fixed_in: tuple[str, ...] = ()

    def __str__(self) -> str:
        fix = f", fixed in {', '.join(self.fixed_in)}" if self.fixed_in else ", not fixed yet"
        return f"{self.package} {self.version}: {self.id}{fix}"


class Answer(NamedTuple):
    """What a service said: packages it knew, those it did not, and what it found."""

    known: int
    unknown: tuple[str, ...]
    found: tuple[Found, ...]


def read_answer(text: str) -> Answer | None:
    """Read pip-audit's JSON; None where there is none, since it stopped at an error."""
    try:
        packages = json.loads(text)["dependencies"]
    except (ValueError, LookupError, TypeError):
        return None
    if not isinstance(packages, list):
        return None
    unknown = tuple(each["name"] for each in packages if "skip_reason" in each)
    found = tuple(
        Found(each["name"], each["version"], one["id"], tuple(one.get("aliases", ())), tuple(one["fix_versions"]))
        for each in packages
        for one in each.get("vulns", ())
    )
    return Answer(len(packages) - len(unknown), unknown, found)


def read_exceptions(text: str) -> dict[str, Mapping[str, Any]]:
    """Read the file of exceptions, each with the package, a reason, and the day on which somebody looked."""
    listed = tomllib.loads(text).get("exception", [])
    for each in listed:
        if set(each) != {"id", "package", "reason", "date"} or not isinstance(each["date"], datetime.date):
            raise ValueError(f"{each.get('id', each)}: an exception has id, package, reason and date")
    return {each["id"]: each for each in listed}


def wrong(answer: Answer, exceptions: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what is found and not excepted, and what is excepted and not found any more."""

    def excepted(one: Found) -> Collection[str]:
        return {name for name in (one.id, *one.aliases) if exceptions.get(name, {}).get("package") == one.package}

    used = {name for one in answer.found for name in excepted(one)}
    stale = [f"{name} is not found any more, remove the exception" for name in exceptions if name not in used]
    return [str(one) for one in answer.found if not excepted(one)] + stale


def ask(service: str, *arguments: str) -> tuple[Answer | None, str]:
    """Run pip-audit; return what it answered, or the last line of what it said instead."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", service, "--format", "json"]
    command += ["--progress-spinner", "off", "--desc", "off", "--timeout", str(SECONDS), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    lines = run.stderr.strip().splitlines() or ["it said nothing"]
    return read_answer(run.stdout), lines[-1].partition(":")[0][-80:]


def reachable(services: Sequence[str] = SERVICES) -> tuple[str, str]:
    """Return the first service that knows pip itself, or none and why."""
    reasons = []
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder, "probe.txt")
        probe.write_text(f"{PROBE}=={version(PROBE)}\n", encoding="utf-8")
        for service in services:
            answer, said = ask(service, "--requirement", str(probe), "--no-deps", "--disable-pip")
            if answer is not None and answer.known:
                return service, ""
            reasons.append(f"{service}: {said if answer is None else f'it does not know {PROBE}'}")
    return "", "; ".join(reasons)
