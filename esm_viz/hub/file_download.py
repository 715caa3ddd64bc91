"""The download of planned files into huggingface_hub's cache, with progress, cancelling and a limit to confirm."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.utils.tqdm import tqdm

from esm_viz.core.errors import HubError, Unconfirmed
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import DOWNLOAD_FIRST
from esm_viz.hub.download_plan import DownloadPlan, PlannedName, written_size
from esm_viz.hub.hub_errors import told
from esm_viz.hub.hub_name import DatasetName
from esm_viz.hub.repository_listing import LIBRARY, kept_folder

CONFIRM_ABOVE = 1_000_000_000  # bytes


def download(plan: DownloadPlan, *, confirmed: bool = False, progress: Progress = NO_PROGRESS) -> dict[str, Path]:
    """Download what is missing, and return where each name's files are.

    Files that are complete are not downloaded again, and a connection that breaks off is taken up where it broke.

    Args:
        plan: the names with their files.
        confirmed: whether a person agreed to the size, which is asked for above CONFIRM_ABOVE.
        progress: progress in bytes, may raise Cancelled between two pieces of a file.

    Returns:
        The local path of each name, by the name with its commit: a file of weights, or a folder of tables.

    Raises:
        Unconfirmed: it is large and not confirmed; nothing was downloaded.
        HubError: the disk is too full, or a file cannot be downloaded.
    """
    whole = plan.missing_bytes
    expect_confirmed(whole, confirmed)
    _expect_space(whole)
    done = 0
    places = {}
    for name in plan.names:
        for file in name.needed.files:
            if name.cached(file.path) is None:
                counted = _Counted(done, whole, progress.part(0.0, 1.0, f"downloading {name.listing.repository}"))
                fetch_file(name, file.path, counted)
                done += file.size
        places[name.pinned.written] = _place(name)
    progress(1.0, "downloaded")
    return places


def in_cache(plan: DownloadPlan) -> dict[str, Path]:
    """Return where the files of each name are, without downloading any; as `download`.

    Raises:
        HubError: a file is missing.
    """
    for name in plan.names:
        if name.missing:
            raise HubError("it is not downloaded", DOWNLOAD_FIRST, name.written)
    return {name.pinned.written: _place(name) for name in plan.names}


def expect_confirmed(size: int, confirmed: bool) -> None:
    """Refuse a large download that nobody confirmed.

    Args:
        size: what is missing, in bytes.
        confirmed: whether a person agreed to it.

    Raises:
        Unconfirmed: it is larger than CONFIRM_ABOVE.
    """
    if size > CONFIRM_ABOVE and not confirmed:
        error = Unconfirmed(f"{written_size(size)} are to be downloaded", "confirm it with --yes")
        error.size = size
        raise error


def fetch_file(name: PlannedName, path: str, counted: Callable[[int], None] | None = None) -> Path:
    """Download one file of a repository into the cache.

    Args:
        name: the name that needs it.
        path: its path in the repository.
        counted: called with the number of each piece's bytes; may raise Cancelled.

    Raises:
        HubError: it cannot be downloaded.
    """
    bar = _counting_bar(counted) if counted else None
    with told(f"{name.written}, {path}"):
        return Path(
            hf_hub_download(
                name.listing.repository,
                path,
                repo_type=name.listing.kind,
                revision=name.listing.commit,
                library_name=LIBRARY,
                tqdm_class=bar,
            )
        )


class _Counted:
    """Bytes of a download so far, told as progress."""

    def __init__(self, done: int, whole: int, progress: Progress) -> None:
        self._done, self._whole, self._progress = done, whole, progress

    def __call__(self, piece: int) -> None:
        """Count a piece's bytes; fewer than none where a server starts a file again."""
        self._done += piece
        share = min(max(self._done / self._whole, 0.0), 1.0) if self._whole else 1.0
        self._progress(share, f"{self._done / 1e6:.0f} of {self._whole / 1e6:.0f} MB")


def _counting_bar(counted: Callable[[int], None]) -> type[tqdm]:
    """Return a progress bar for huggingface_hub that is not drawn and counts bytes."""

    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            counted(int(n or 0))
            return super().update(n)

    return Bar


def _expect_space(size: int) -> None:
    """Refuse a download for which the cache's disk has no space.

    Raises:
        HubError: there is less space than `size` bytes.
    """
    place = Path(constants.HF_HUB_CACHE)
    while not place.is_dir() and place != place.parent:
        place = place.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError:  # the download itself will say it
        return
    if free < size:
        wrong = f"{written_size(size)} are to be downloaded, the disk of the cache has {written_size(free)} left"
        raise HubError(wrong, "free some, or set HF_HOME to another disk")


def _place(name: PlannedName) -> Path:
    """Return the local path of a name whose files are all in the cache."""
    if not isinstance(name.pinned, DatasetName):
        found = name.cached(name.needed.weights)
        assert found is not None  # it was downloaded
        return found
    return _split_folder(name, name.pinned)


def _split_folder(name: PlannedName, split: DatasetName) -> Path:
    """Return a folder with the tables of one split alone; in the cache those of all splits may lie in one folder."""
    above = kept_folder("splits", split.repository) / split.revision / split.config
    folder = above / split.split
    files = [file.path for file in name.needed.files]
    names = [f"{split.split}-{at:05}-of-{len(files):05}.parquet" for at in range(len(files))]
    if all((folder / each).is_file() for each in names):  # no link whose file was removed from the cache
        return folder
    with told(name.written):
        part = above / f".{uuid.uuid4().hex}.part"
        part.mkdir(parents=True)
        try:
            for path, each in zip(files, names, strict=True):
                cached = name.cached(path)
                assert cached is not None  # it was downloaded
                link_or_copy(cached.resolve(), part / each)
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder


def link_or_copy(source: Path, target: Path) -> None:
    """Make a file the same as another one, where possible without copying it."""
    for way in (os.symlink, os.link):
        with suppress(OSError, NotImplementedError):
            way(source, target)
            return
    shutil.copyfile(source, target)
