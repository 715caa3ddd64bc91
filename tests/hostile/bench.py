"""The bench on which hostile input is tried: a whole project spoiled in one way, and what must be true afterwards.

A case is refused in one sentence before work starts. Nothing of it is run, nothing is left on disk, no traceback or
warning is written, and it costs neither much time nor much memory.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from safetensors.torch import load_file

from esm_viz import load_recipe
from esm_viz.checkpoints.checkpoint import sha256_file
from esm_viz.cli import command_line
from esm_viz.core.errors import EsmVizError
from esm_viz.project.project import Project
from esm_viz.ui.session.project_to_load import Candidate
from esm_viz.ui.uploads import upload_unpack
from tests.support import tiny

TASK = "ants"
WEIGHTS, HEAD, PROXIES, LABELLED = (f"{TASK}{part}.safetensors" for part in ("", "_head", "_proxies", "_validation"))
CANARY = "canary"
LONGEST = 4000  # characters of a sentence
SECONDS = 6.0  # of processor time a case may cost, on a machine that others use too
SLOW = "took"
PROGRESS = re.compile(r" *\d+ %  ")
RUNS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.startfile", "pickle.find_class")
REACHES = ("socket.connect", "socket.getaddrinfo", "socket.bind", "urllib.Request")
OPENS = ("ctypes.dlopen",)


class Case(NamedTuple):
    """One hostile input: its name, and how it spoils a folder with a whole project and its `recipe.yaml`."""

    name: str
    spoil: Callable[[Path], object]


@dataclass
class Tripwire:
    """What Python itself reports of programs started, hosts called and pickles read, while it is armed."""

    armed: bool = False
    tripped: list[str] = field(default_factory=list)

    def __call__(self, event: str, arguments: Sequence[Any]) -> None:
        if self.armed and event in (*RUNS, *REACHES, *OPENS):
            self.tripped.append(f"{event} {arguments!r:.80}")


TRIPWIRE = Tripwire()
sys.addaudithook(TRIPWIRE)  # for good: a hook cannot be taken away, so it is armed for each case


def raw_recipe() -> dict[str, Any]:
    """Return the recipe of the bench's project, one expert, as a mapping free to be changed."""
    raw = tiny.mapping()
    raw["models"] = raw["models"][:1]
    del raw["models"][0]["test"]
    return raw


def write_recipe(folder: Path, raw: object) -> None:
    """Write a recipe as YAML, whatever it says."""
    (folder / "recipe.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")


def change_recipe(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the recipe that lies in a folder."""
    raw = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    change(raw)
    write_recipe(folder, raw)


def tensors_of(folder: Path, name: str) -> dict[str, Any]:
    """Return a file's tensors."""
    return load_file(folder / name)


def replace(folder: Path, name: str, data: bytes) -> None:
    """Put other bytes in a file's place; the one it is linked to stays as it is."""
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_bytes(data)


def named_by_digest(folder: Path) -> None:
    """Let the recipe name the digest of its weights as they are now."""
    digest = sha256_file(folder / WEIGHTS)
    change_recipe(folder, lambda raw: raw["models"][0].update(sha256=digest))


@dataclass(frozen=True)
class Bench:
    """A whole project to take copies of, and a place for them."""

    whole: Path
    place: Path
    caplog: Any

    @contextlib.contextmanager
    def spoiled(self, case: Case) -> Iterator[Path]:
        """Give a copy of the project that is spoiled by a case; gone afterwards."""
        folder = Path(tempfile.mkdtemp(dir=self.place))
        try:
            for name in (WEIGHTS, HEAD, PROXIES, LABELLED, "base.safetensors"):
                os.link(self.whole / name, folder / name)
            write_recipe(folder, raw_recipe())
            case.spoil(folder)
            yield folder
        finally:
            shutil.rmtree(folder)

    def refuses(self, cases: Sequence[Case], door: Callable[[Path], str]) -> None:
        """Fail with every case that a door treats wrongly."""
        wrong = self.judge(cases, door)
        if wrong:
            pytest.fail(f"{len(wrong)} of {len(cases)} cases\n" + "\n".join(wrong[:12]), pytrace=False)

    def judge(self, cases: Sequence[Case], door: Callable[[Path], str]) -> list[str]:
        """Return what is wrong with how a door treats each of these cases, by name; nothing where all is well."""
        return [f"{case.name}: {wrong}" for case in cases for wrong in self._twice_if_slow(case, door)]

    def _twice_if_slow(self, case: Case, door: Callable[[Path], str]) -> list[str]:
        """Judge a case again where it took long: other work of the process counts too, and only the case's repeats."""
        wrong = list(self._one(case, door))
        return list(self._one(case, door)) if any(each.startswith(SLOW) for each in wrong) else wrong

    def _one(self, case: Case, door: Callable[[Path], str]) -> Iterator[str]:
        with self.spoiled(case) as folder, self._temporary() as temporary:
            before, started = tree(folder), time.process_time()
            self.caplog.clear()
            TRIPWIRE.tripped, TRIPWIRE.armed = [], True
            try:
                with warnings.catch_warnings(record=True) as warned:
                    warnings.simplefilter("always")
                    warnings.simplefilter("ignore", ResourceWarning)  # of what others left, collected just now
                    said = door(folder)
            except Exception as error:  # noqa: BLE001 - whatever comes is what is wrong
                said, wrong = "", f"{type(error).__name__} {error!s:.200}"
                yield wrong
                return
            finally:
                TRIPWIRE.armed = False
            seconds = time.process_time() - started
            yield from wrong_sentences(said, folder)
            yield from (f"warned: {warning.message!s:.120}" for warning in warned)
            loud = [record for record in self.caplog.records if record.levelno > logging.DEBUG]
            yield from (f"logged: {record.getMessage():.120}" for record in loud)
            yield from (f"tripped: {what}" for what in TRIPWIRE.tripped)
            if seconds > SECONDS:
                yield f"{SLOW} {seconds:.1f} s"
            left = (tree(folder) ^ before) | tree(temporary)
            if left:
                yield f"left on disk: {sorted(left)[:3]}"
            if (folder / CANARY).exists() or Path(CANARY).exists():
                yield "it was run"

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[Path]:
        """Let temporary files go to an empty folder."""
        before, tempfile.tempdir = tempfile.tempdir, tempfile.mkdtemp(dir=self.place)
        try:
            yield Path(tempfile.tempdir)
        finally:
            shutil.rmtree(tempfile.tempdir)
            tempfile.tempdir = before


def tree(folder: Path) -> set[tuple[str, int, int]]:
    """Return every name below a folder with its size and time; links are not followed."""
    found = set()
    for place, below, files in os.walk(folder):
        for name in (*below, *files):
            stat = (Path(place) / name).lstat()
            whole = stat.st_size, stat.st_mtime_ns
            found.add((str((Path(place) / name).relative_to(folder)), *(whole if name in files else (0, 0))))
    return found


def wrong_sentences(said: str, folder: Path) -> Iterator[str]:
    """Yield what is wrong with the one sentence that a door said."""
    if not said:
        yield "it was let in"
    if len(said.splitlines()) > 1 or not said.isprintable():
        yield f"not one printable line: {said!r:.200}"
    if len(said) > LONGEST:
        yield f"{len(said)} characters: {said:.60}"
    if str(folder) in said or str(folder.parent) in said:
        yield f"names a place of this machine: {said:.300}"
    if any(word in said for word in ("Traceback", "Error(", "should not happen", "should not have")):
        yield f"not a sentence for people: {said:.300}"


def library(folder: Path) -> str:
    """Open the project as a notebook does and read its images; return the sentence."""
    try:
        project = Project.open(load_recipe(folder / "recipe.yaml"), device="cpu")
        for task in project.tasks:
            project.thumbnails(task, 6)
        project.own_accuracy()
    except EsmVizError as error:
        return str(error)
    return ""


def command(*arguments: str | Path) -> str:
    """Run the command line in this process; return what follows `error: ` in its one line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = command_line.main([str(argument) for argument in arguments])
    if status == command_line.DONE:
        return ""
    assert status == command_line.WRONG_INPUT, f"status {status}, {err.getvalue()}"
    verdicts = out.getvalue()
    lines = [line for line in err.getvalue().splitlines() if not PROGRESS.match(line)]
    assert arguments[0] == "check" or not verdicts, f"printed {verdicts:.200}"
    assert all(line.isprintable() for line in verdicts.split("\n")), f"printed {verdicts!r:.400}"
    assert len(lines) == 1, f"{len(lines)} lines: {err.getvalue():.400}"
    assert lines[0].startswith("error: "), lines[0]
    return lines[0].removeprefix("error: ")


def check(folder: Path) -> str:
    """`check` of the recipe in a folder."""
    return command("check", folder / "recipe.yaml")


def merge(folder: Path) -> str:
    """`merge` of the recipe in a folder; nothing may be written."""
    return command("merge", folder / "recipe.yaml", "--out", folder / "out")


def evaluate(folder: Path) -> str:
    """`evaluate` of the recipe in a folder, on validation images."""
    return command("evaluate", folder / "recipe.yaml", "--split", "validation")


def upload(folder: Path) -> str:
    """Bring the files in a folder as a visitor does, judge them, and read those that are not refused."""
    private = Path(tempfile.mkdtemp())
    try:
        with tempfile.TemporaryDirectory() as received:  # where the browser's files arrive, moved from there
            files = []
            for path in sorted(folder.iterdir()):
                if path.is_file():
                    shutil.copy(path, received)
                    files.append(str(Path(received, path.name)))
            try:
                taken = upload_unpack.take(files, private)
            except EsmVizError as error:
                assert not private.exists(), "the session's folder is still there"
                return str(error)
            finally:
                assert not list(Path(received).iterdir()), "left where uploads arrive"
        try:
            candidate = Candidate.of_recipe("Upload", taken.recipe, taken)
        except EsmVizError as error:
            return str(error)
        refused = candidate.shown.refused
        if refused:
            return refused[0].verdict.sentence
        try:
            project = Project.open(candidate.chosen, device="cpu")
            project.prepare()
            project.own_accuracy()
        except EsmVizError as error:
            return str(error)
        return ""
    finally:
        shutil.rmtree(private, ignore_errors=True)
