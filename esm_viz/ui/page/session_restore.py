"""Restoring a session after a restart of the server: with its project if the files exist, or with a message."""

from __future__ import annotations

from esm_viz.core.errors import EsmVizError, RecipeError
from esm_viz.core.recipe import Recipe
from esm_viz.hub.recipe_names import found_in_cache
from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.page import share_link_actions
from esm_viz.ui.session import share_link
from esm_viz.ui.session.project_to_load import Candidate
from esm_viz.ui.session.session_archive import FOLDER, NAMES, OPENING, ArchivedSession
from esm_viz.ui.session.session_jobs import start
from esm_viz.ui.session.session_store import EVERYTHING, LostProject, Session
from esm_viz.ui.tabs.load import allowed_folder, load_steps
from esm_viz.ui.tabs.merge.live_preview import set_recipe

RETURNING = "Loading again"


def waits(session: Session) -> bool:
    """Say whether a session's project is still being restored."""
    return session.runs(RETURNING)


def bring_back(session: Session, kept: ArchivedSession) -> None:
    """Restore the kept state in a new session, which shows the opening project.

    A project of the allowed folder, or of names that are downloaded, is read and decomposed in the background. If a
    project cannot be restored, the session stays on the opening project and shows one sentence with a link to the
    recipe.
    """
    session.lost = kept.lost
    name = kept.link.project
    readable = {FOLDER: session.place.folder is not None, NAMES: session.place.hub}
    if readable.get(kept.source, False):
        session.lost = LostProject(f"This server was restarted, {name} has to be loaded again", kept.recipe)
        start(session, RETURNING, lambda job: _load(session, job, kept), share_link_actions.PLACE, (EVERYTHING,))
    elif kept.source == OPENING and kept.link.files == share_link.files_of(session):
        _show(session, kept)
    elif kept.source == OPENING:
        session.lost = LostProject(f"This server was restarted with other files than those of {name}", kept.recipe)
    elif kept.source == NAMES:
        session.lost = LostProject(f"This server was restarted and downloads nothing, so {name} is gone", kept.recipe)
    elif kept.source == FOLDER:
        session.lost = LostProject(f"This server was restarted without the folder in which {name} lies", kept.recipe)
    else:
        words = f"This server was restarted, and the files of {name} went with it: bring them again with its recipe"
        session.lost = LostProject(words, kept.recipe)


def _show(session: Session, kept: ArchivedSession) -> None:
    """Restore what was on screen of a project that is open; if a value does not fit any more, show one sentence."""
    try:
        share_link_actions.bring(session, kept.link)
        dtype = kept.parsed(session.project.recipe.folder).dtype  # links do not contain it
        if dtype != session.recipe.dtype:
            set_recipe(session, session.recipe.replace(dtype=dtype))
    except EsmVizError as error:
        session.lost = LostProject(f"What was on screen did not come back: {error}", kept.recipe)


def _load(session: Session, job: Job, kept: ArchivedSession) -> None:
    """Read a project of the allowed folder, or of names, again, decompose it and put it on screen."""
    name = kept.link.project
    try:
        candidate = Candidate.of_recipe(name, _recipe(session, kept))
        if candidate.reason:
            verdicts = [model.verdict for model in candidate.judgement.models]
            wrong = next((verdict.sentence for verdict in verdicts if verdict.stance == "refused"), "")
            raise RecipeError(wrong or candidate.reason, "load it again")
        project = load_steps.read(session, job, candidate, job.progress.part(0.0, 0.2, "reading"))
        if project.files_sha256[: share_link.DIGITS] != kept.link.files:
            raise RecipeError("its files have changed", "load it again")
        load_steps.bring(session, job, candidate)
        if session.project is project:
            session.view.source, session.lost = kept.source, None
            session.view.project = name if kept.source == FOLDER else ""
            _show(session, kept)
            session.touch((EVERYTHING,))
    except EsmVizError as error:
        session.lost = LostProject(f"This server was restarted, and {name} did not come back: {error}", kept.recipe)
        session.touch((EVERYTHING,))


def _recipe(session: Session, kept: ArchivedSession) -> Recipe:
    """Return the kept recipe with its files; of names on a hub, those that are downloaded, and no hub is asked.

    Raises:
        EsmVizError: a file is not there any more, or not where this server allows it.
    """
    if kept.source == NAMES:
        return found_in_cache(kept.parsed(session.private_folder()))
    place = session.place.folder
    if place is None:
        raise RecipeError("there is no folder", "start the server with --allow-folder")
    return allowed_folder.open_kept(place, kept.link.project, kept.recipe)
