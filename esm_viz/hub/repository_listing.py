"""The files of a repository at one commit: asked of the hub once, then kept, since a commit never changes.

A listing is kept among huggingface_hub's assets (HF_ASSETS_CACHE). Without a network, or with HF_HUB_OFFLINE, the last
listing of a revision is used.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, cached_assets_path, constants, try_to_load_from_cache

from esm_viz.core.errors import HubError, HubUnreachable
from esm_viz.core.recipe import DOWNLOAD_FIRST
from esm_viz.hub.hub_errors import readable, told
from esm_viz.hub.hub_name import HubName, is_commit

LIBRARY = "esm_viz"  # under which our own files are kept among the assets
CONVERTED = "refs/convert/parquet"  # revision to which a hub writes data sets of other formats as parquet
MAIN = "main"
MOST_FILES = 200_000
_LARGEST_LISTING = 64 << 20  # bytes
_PLAIN_PATH = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))[^/\\\x00-\x1f:][^\\\x00-\x1f:]{0,900}")


@dataclass(frozen=True, slots=True)
class RepositoryFile:
    """One file of a repository: its path and its size in bytes."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class SplitPattern:
    """Files of one split of a data set, as its card names them: configuration, split, and a pattern of paths."""

    config: str
    split: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a repository at one commit.

    Attributes:
        repository: OWNER/NAME.
        kind: "model" or "dataset".
        commit: 40 hexadecimal digits.
        files: all files, in the order of their paths.
        splits: of a data set, what its card says about its splits; empty if it says nothing.
    """

    repository: str
    kind: str
    commit: str
    files: tuple[RepositoryFile, ...]
    splits: tuple[SplitPattern, ...] = ()

    def sizes(self) -> dict[str, int]:
        """Return the size of each file by its path."""
        return {file.path: file.size for file in self.files}


def listing_of(name: HubName, revision: str = "", *, ask: bool = True) -> Listing:
    """Return the files of a repository at the revision of a name.

    A commit whose listing is kept needs no request.

    Args:
        name: the name.
        revision: another revision than the name's.
        ask: whether the hub may be asked; if not, the last listing of the revision is used.

    Raises:
        HubError: there is no such repository or revision, or no listing is kept and the hub cannot be asked.
    """
    wanted = revision or name.revision or MAIN
    kept = _kept(name, wanted)
    if kept is not None and (is_commit(wanted) or not ask):
        return kept
    if not ask:
        raise HubError("it is not downloaded", DOWNLOAD_FIRST, name.written)
    try:
        with readable(name.written), told(name.written):
            listing = _read(
                name, HfApi().repo_info(name.repository, repo_type=name.kind, revision=wanted, files_metadata=True)
            )
    except HubUnreachable:
        if kept is None:
            raise
        return kept
    _keep(name, listing, wanted)
    return listing


def kept_folder(what: str, subfolder: str) -> Path:
    """Return a folder for our own files among huggingface_hub's assets; it is made if it is missing."""
    assets = constants.HF_ASSETS_CACHE
    return cached_assets_path(LIBRARY, namespace=what, subfolder=subfolder, assets_dir=assets)


def cached_file(listing: Listing, path: str) -> Path | None:
    """Return a file of a repository in huggingface_hub's cache; None if it was not downloaded.

    Args:
        listing: the listing that names the file.
        path: its path in the repository.
    """
    found = try_to_load_from_cache(listing.repository, path, revision=listing.commit, repo_type=listing.kind)
    return Path(found) if isinstance(found, str) else None


def _read(name: HubName, info: Any) -> Listing:
    """Return the listing of a hub's answer.

    Raises:
        HubError: it names paths that climb, or more files than a repository has.
    """
    if not isinstance(info.sha, str) or not is_commit(info.sha):
        raise ValueError
    siblings = info.siblings or []
    if len(siblings) > MOST_FILES:
        raise HubError(f"the repository has over {MOST_FILES} files", "use another one", name.written)
    files = sorted((each.rfilename, max(int(each.size or 0), 0)) for each in siblings)
    climbing = next((path for path, _ in files if not _PLAIN_PATH.fullmatch(path)), None)
    if climbing is not None:
        raise HubError(f"the hub names a path that leads elsewhere, {climbing!r:.60}", "use another hub", name.written)
    card = getattr(info, "card_data", None)
    return Listing(
        name.repository,
        name.kind,
        info.sha,
        tuple(RepositoryFile(path, size) for path, size in files),
        _splits(card.to_dict() if card is not None else {}) if name.kind == "dataset" else (),
    )


def _splits(card: dict[str, Any]) -> tuple[SplitPattern, ...]:
    """Return the splits that a data set's card names; cards are written by hand, so what is not plain is left out."""
    found = []
    for config in card.get("configs") or ():
        if not isinstance(config, dict) or not isinstance(config.get("data_files"), list):
            continue
        for entry in config["data_files"]:
            if not isinstance(entry, dict) or not isinstance(entry.get("split"), str):
                continue
            paths = entry.get("path")
            patterns = paths if isinstance(paths, list) else [paths]
            name = str(config.get("config_name") or "default")
            found += [SplitPattern(name, entry["split"], path) for path in patterns if isinstance(path, str)]
    return tuple(found)


def _place(name: HubName, revision: str) -> Path:
    """Return where the listing of a revision is kept."""
    return kept_folder("listings", f"{name.kind}--{name.repository}") / f"{revision.replace('/', '--')}.json"


def _kept(name: HubName, revision: str) -> Listing | None:
    """Return a kept listing; None if there is none or it cannot be read."""
    try:
        place = _place(name, revision)
        if place.stat().st_size > _LARGEST_LISTING:
            return None
        raw = json.loads(place.read_text(encoding="utf-8"))
        files = tuple(RepositoryFile(str(path), int(size)) for path, size in raw["files"])
        splits = tuple(SplitPattern(*map(str, each)) for each in raw["splits"])
        if not is_commit(raw["commit"]) or not all(_PLAIN_PATH.fullmatch(file.path) for file in files):
            return None
        return Listing(name.repository, name.kind, raw["commit"], files, splits)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _keep(name: HubName, listing: Listing, revision: str) -> None:
    """Keep a listing under its commit and under the revision that was asked for."""
    raw = {
        "commit": listing.commit,
        "files": [[file.path, file.size] for file in listing.files],
        "splits": [[each.config, each.split, each.pattern] for each in listing.splits],
    }
    for key in {revision, listing.commit}:
        try:
            place = _place(name, key)
            part = place.with_name(f".{secrets.token_hex(8)}.part")
            part.write_text(json.dumps(raw), encoding="utf-8")
            part.replace(place)
        except OSError:  # a cache that cannot be written to is no reason to refuse: the hub is asked again
            return
