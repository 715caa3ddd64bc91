"""What has to be downloaded for some names: each name's commit, its files, and how many bytes are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from esm_viz.core.errors import HubError, NoRevision
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.hub.hub_name import DatasetName, HubName, at_commit, parse_name
from esm_viz.hub.needed_files import NeededFiles, files_of_model, tables_of_split
from esm_viz.hub.repository_listing import CONVERTED, Listing, RepositoryFile, cached_file, listing_of


@dataclass(frozen=True, slots=True)
class PlannedName:
    """One name with its files.

    Attributes:
        written: the name as the recipe writes it.
        pinned: the same name with its commit, and for a data set with its configuration.
        listing: the files of the repository at this commit.
        needed: those of them that are needed.
    """

    written: str
    pinned: HubName
    listing: Listing
    needed: NeededFiles

    @property
    def size(self) -> int:
        """Return the size of all its files in bytes."""
        return sum(file.size for file in self.needed.files)

    @property
    def missing(self) -> tuple[RepositoryFile, ...]:
        """Return the files that are not in the cache."""
        return tuple(file for file in self.needed.files if self.cached(file.path) is None)

    @property
    def missing_bytes(self) -> int:
        """Return the size of the files that are not in the cache."""
        return sum(file.size for file in self.missing)

    def cached(self, path: str) -> Path | None:
        """Return a file of its repository in the cache; None if it is not there."""
        return cached_file(self.listing, path)


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """Some names with their files, each name once."""

    names: tuple[PlannedName, ...]

    @property
    def missing_bytes(self) -> int:
        """Return how many bytes are to be downloaded; files that several names share count once."""
        missing = {
            (each.listing.repository, each.listing.kind, each.listing.commit, file)
            for each in self.names
            for file in each.missing
        }
        return sum(file.size for *_, file in missing)

    @property
    def sentence(self) -> str:
        """Say how much is to be downloaded."""
        missing = self.missing_bytes
        if not missing:
            return "Nothing is to be downloaded."
        images = any(isinstance(each.pinned, DatasetName) and each.missing for each in self.names)
        also = ", and images are not counted" if images else ""
        return f"To download: {written_size(missing)}. Until then verdicts are from headers alone{also}."

    @property
    def unread(self) -> frozenset[str]:
        """Return the names, with their commits, of which files are missing."""
        return frozenset(each.pinned.written for each in self.names if each.missing)

    @property
    def pinned(self) -> dict[str, str]:
        """Return each name with its commit, by the name as the recipe writes it."""
        return {each.written: each.pinned.written for each in self.names}


NO_NAMES = DownloadPlan(())


def written_size(count: int) -> str:
    """Return a number of bytes for people: under 1 MB, 340 MB, 2.4 GB."""
    if count < 1_000_000:
        return "under 1 MB"
    return f"{count / 1e6:.0f} MB" if count < 999_500_000 else f"{count / 1e9:.1f} GB"


def plan_of(names: Iterable[str], progress: Progress = NO_PROGRESS, *, ask: bool = True) -> DownloadPlan:
    """Resolve names to commits and list their files; nothing is downloaded.

    Args:
        names: as a recipe writes them.
        progress: progress, may raise Cancelled.
        ask: whether hubs may be asked; if not, the last listing of each repository is used.

    Raises:
        HubError: a name is wrong, has no weights or tables, or cannot be resolved.
    """
    parsed = {text: parse_name(text) for text in names}  # all of them, before the first request
    known: dict[tuple[str, str, str], Listing] = {}

    def listed(name: HubName, revision: str) -> Listing:
        key = (name.kind, name.repository, revision)
        if key not in known:  # the splits of a data set share one
            known[key] = listing_of(name, revision, ask=ask)
        return known[key]

    planned = []
    for at, (text, name) in enumerate(parsed.items()):
        progress(at / len(parsed), f"looking up {name.repository}")
        planned.append(_planned(text, name, listed))
    return DownloadPlan(tuple(planned))


def _planned(text: str, name: HubName, listed: Callable[[HubName, str], Listing]) -> PlannedName:
    listing = listed(name, name.revision)
    if not isinstance(name, DatasetName):
        return PlannedName(text, at_commit(name, listing.commit), listing, files_of_model(name, listing))
    needed = tables_of_split(name, listing)
    if needed is None and not name.revision:  # a repository of another format
        try:
            listing = listed(name, CONVERTED)
        except NoRevision as error:
            wrong = f"the data set holds no parquet files, and the hub has none at {CONVERTED}"
            raise HubError(wrong, "download it yourself and give a folder of images", name.written) from error
        needed = tables_of_split(name, listing)
    if needed is None:
        raise HubError("the data set holds no parquet files", f"leave out @{name.revision}", name.written)
    return PlannedName(text, at_commit(name, listing.commit, needed.config), listing, needed)
