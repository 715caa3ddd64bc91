"""The steps of loading a project: check headers, read and measure files, decompose, and replace the old project."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from esm_viz.core.errors import CheckpointError, EsmVizError, HubError
from esm_viz.core.progress import Progress
from esm_viz.core.recipe import Recipe
from esm_viz.evaluation.expert_check import compare_activations
from esm_viz.hub.file_download import CONFIRM_ABOVE, download
from esm_viz.hub.recipe_names import planned
from esm_viz.hub.remote_headers import with_headers_in
from esm_viz.inspection.recipe_from_folder import FoundProject
from esm_viz.project.project import Project
from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.session.project_to_load import THUMBNAILS, Candidate
from esm_viz.ui.session.session_jobs import keep, start
from esm_viz.ui.session.session_searches import Searches
from esm_viz.ui.session.session_store import EVERYTHING, BoardRow, Session
from esm_viz.ui.tabs.evaluate.compare_all_methods import kept_rows
from esm_viz.ui.tabs.explore.explore_tab import measure_selected
from esm_viz.ui.tabs.merge.live_preview import set_recipe

PIECES = ("source", "found", "cost")
JUDGING, GATE, ACTIVATIONS, LOADING, DOWNLOADING = (
    *("Judging files", "Measuring every expert", "The base under both activations", "Loading", "Downloading"),
)


def stop(session: Session) -> None:
    """Cancel the jobs of an earlier choice, and remove their messages."""
    with session.lock:
        session.errors.pop("load", None)
        if session.task is not None and session.task.what in (JUDGING, GATE, ACTIVATIONS, LOADING, DOWNLOADING):
            session.task.cancel()


def withdraw(session: Session) -> None:
    """Remove the project on the Load tab, its jobs, and uploaded files that the project on screen does not use."""
    stop(session)
    session.candidate = None
    session.forget_uploads()


def judge(session: Session, name: str, read: Callable[[], FoundProject], folder: Path | None = None) -> None:
    """Check the files of a recipe by their headers and show the verdicts; the project on screen does not change.

    Args:
        session: the visitor's session.
        name: name of the project.
        read: returns the recipe.
        folder: a folder made for these files; deleted if they are not used.
    """

    def work(job: Job) -> None:
        proposed = False
        made = [folder] if folder is not None else []
        try:
            found = read()
            if found.recipe.names:
                made.append(session.private_folder())
                candidate = _by_name(session, job, name, found, made[-1])
            else:
                candidate = Candidate.of_recipe(name, found.recipe, found)
            proposed = keep(session, job, PIECES, lambda: _propose(session, candidate, made))
        finally:
            for each in made if not proposed else ():
                shutil.rmtree(each, ignore_errors=True)

    start(session, JUDGING, work, "load", PIECES)


def download_missing(session: Session, candidate: Candidate) -> None:
    """Download what is missing of the project on the Load tab, and check it again; a large download is asked about."""
    if candidate.missing > CONFIRM_ABOVE and not candidate.confirming:
        candidate.confirming = True
        return
    expect_hub(session)

    def work(job: Job) -> None:
        places = download(candidate.to_download, confirmed=True, progress=job.progress)
        new = candidate.with_downloads(places)
        keep(session, job, PIECES, lambda: setattr(session, "candidate", new))

    start(session, DOWNLOADING, work, "load", PIECES)


def expect_hub(session: Session) -> None:
    """Refuse what asks a hub where visitors may not.

    Raises:
        HubError: this studio downloads nothing for its visitors.
    """
    if not session.place.hub:
        raise HubError(
            "this studio downloads nothing for its visitors", "ask who runs it for --allow-hub, or bring files"
        )


def _by_name(session: Session, job: Job, name: str, found: FoundProject, folder: Path) -> Candidate:
    """Return the project of a recipe with names on a hub, judged by headers that are kept in a folder.

    Raises:
        HubError: visitors may not make this server ask a hub, or a name cannot be read.
    """
    expect_hub(session)
    pinned, plan = planned(found.recipe, job.progress.part(0.0, 0.3))
    folder_of_headers = folder / "headers"
    folder_of_headers.mkdir()
    located = with_headers_in(folder_of_headers, pinned, plan, job.progress.part(0.3, 1.0))
    return Candidate.of_recipe(name, located, found, plan)


def measure_own(session: Session) -> None:
    """Measure each expert of the project on the Load tab (or on screen) on its own validation images."""
    candidate = session.candidate
    if candidate is None:
        project = session.project

        def on_screen(job: Job) -> None:
            own = project.own_accuracy(job.progress)
            keep(session, job, PIECES, lambda: setattr(session, "own", own))

        start(session, GATE, on_screen, "load", PIECES)
        return

    def work(job: Job) -> None:
        project = read(session, job, candidate, job.progress.part(0.0, 0.3, "reading"))
        own = project.own_accuracy(job.progress.part(0.3, 1.0))
        keep(session, job, PIECES, lambda: setattr(candidate, "own", own))

    start(session, GATE, work, "load", PIECES)


def measure_activations(session: Session, candidate: Candidate) -> None:
    """Score the base with both activations on all validation images of the project on the Load tab."""
    device, cache = session.place.device, session.place.demo.stages.cache

    def work(job: Job) -> None:
        found = compare_activations(candidate.chosen, device, cache, job.progress)
        keep(session, job, PIECES, lambda: setattr(candidate, "activations", found))

    start(session, ACTIVATIONS, work, "load", PIECES)


def decompose(session: Session, candidate: Candidate) -> None:
    """Read and decompose the project on the Load tab, and show it when it is ready."""
    start(session, LOADING, lambda job: bring(session, job, candidate), "load", PIECES)


def bring(session: Session, job: Job, candidate: Candidate) -> None:
    """Do the work of `decompose` inside a running job.

    Raises:
        EsmVizError: a file is wrong, or the job was cancelled.
    """
    project = read(session, job, candidate, job.progress.part(0.0, 0.2, "reading"))
    project.prepare(job.progress.part(0.2, 0.8))
    recipe = project.with_alpha_found(project.recipe, job.progress.part(0.8, 0.9))
    own = project.own_accuracy(job.progress.part(0.9, 1.0))

    new = Arrival.of(session, candidate.name, project, recipe)

    def on_screen() -> None:
        adopt(session, new)
        session.own = own

    if keep(session, job, (), on_screen):
        set_recipe(session, recipe)
        measure_selected(session)
        session.touch((EVERYTHING,))


class Arrival(NamedTuple):
    """A prepared project to be shown, with the data that are read from disk for it."""

    name: str
    project: Project
    recipe: Recipe
    board: list[BoardRow]
    thumbs: dict[str, list[bytes]]

    @classmethod
    def of(cls, session: Session, name: str, project: Project, recipe: Recipe) -> Arrival:
        """Read the data that the page shows first; must not be called under the session's lock."""
        board = kept_rows(project) if project is session.place.demo else []
        return cls(name, project, recipe, board, {task: project.thumbnails(task, THUMBNAILS) for task in project.tasks})


def adopt(session: Session, new: Arrival) -> None:
    """Replace the session's project by a prepared one, and remove all results of the old one."""
    for job in (session.live, session.explore_job, session.comparison_job):
        if job is not None:
            job.cancel()  # of the old project
    session.name, session.project, session.recipe = new.name, new.project, new.recipe
    session.report = session.validation = session.difference = session.pinned = session.search = None
    session.agreement = None
    session.proof = session.refused = session.explored = session.candidate = None
    session.own = ()
    session.searched = [row.recipe for row in new.board if row.searched]
    if new.project.recipe.parameters["alpha"] == "search":
        session.searched.append(new.recipe)
    session.explore_records, session.comparison_records, session.searches = {}, {}, Searches()
    session.forget_downloads()
    session.history, session.at, session.errors = [], -1, {}
    session.board, session.thumbs = new.board, new.thumbs
    session.agreement_board = []
    session.view = dataclasses.replace(session.view, cell=None, pair=None, direction=1)
    session.view = dataclasses.replace(session.view, task="", image=-1, routed="", layout="", row="", heat="direction")
    session.forget_uploads()


def _propose(session: Session, candidate: Candidate, folders: list[Path]) -> None:
    session.candidate, session.view.row = candidate, ""
    session.uploads += folders


def read(session: Session, job: Job, candidate: Candidate, progress: Progress) -> Project:
    """Open the chosen models' files once; errors are kept for their rows.

    Raises:
        EsmVizError: a file is wrong.
    """
    if candidate.opened is not None:
        return candidate.opened
    chosen, place = candidate.chosen, session.place
    try:
        project = Project.open(chosen, device=place.device, cache=place.demo.stages.cache, progress=progress)
    except CheckpointError as error:
        found = {**candidate.wrong, **error.wrong}
        keep(session, job, PIECES, lambda: _note(candidate, found))
        raise
    keep(session, job, PIECES, lambda: _opened(candidate, chosen, project))
    return project


def _opened(candidate: Candidate, chosen: Recipe, project: Project) -> None:
    candidate.project, candidate.same = (chosen, project), project.same
    candidate.judge()


def _note(candidate: Candidate, wrong: Mapping[str, EsmVizError]) -> None:
    candidate.wrong = wrong
    candidate.judge()
