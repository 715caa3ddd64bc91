"""An exported folder, uploaded to a repository on a hub: private unless it is to be public."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi

from esm_viz.checkpoints.checkpoint import Checkpoint
from esm_viz.core.errors import EsmVizError, HubError
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.hub.hub_errors import told
from esm_viz.hub.hub_name import ModelName, parse_model
from esm_viz.hub.repository_listing import LIBRARY

WEIGHTS, CARD = "model.safetensors", "README.md"
_MARK = "esm_viz.recipe"  # metadata of exported weights
_KINDS = re.compile(r"[\w.-]+\.(?:safetensors|json|yaml|md|html|txt|model)")
_MOST = 200  # files


@dataclass(frozen=True, slots=True)
class Upload:
    """What was uploaded.

    Attributes:
        name: the repository with its commit.
        address: its page.
        private: whether others cannot see it.
        files: paths of the files.
        size: their size in bytes.
    """

    name: str
    address: str
    private: bool
    files: tuple[str, ...]
    size: int


def upload(folder: Path, repository: str, *, public: bool = False, progress: Progress = NO_PROGRESS) -> Upload:
    """Upload an exported folder in one commit; the repository is made if it is missing.

    Args:
        folder: a folder that `merge` or the studio wrote.
        repository: OWNER/NAME.
        public: whether others may see it.
        progress: progress in files, may raise Cancelled before the commit.

    Raises:
        HubError: the folder is no export, the repository is public and `public` is false, or the hub refuses.
    """
    name = parse_model(f"hf://{repository.removeprefix('hf://')}")
    if name.file or name.revision:
        raise HubError(f"{repository} is no OWNER/NAME", "name a repository alone", "command line")
    files = _exported(folder)
    sizes = [(folder / file).stat().st_size for file in files]
    api = HfApi(library_name=LIBRARY)
    progress(0.0, f"opening {name.repository}")
    private = _opened(api, name, public)
    additions = [CommitOperationAdd(file, str(folder / file)) for file in files]
    done = 0
    for addition, size in zip(additions, sizes, strict=True):
        progress(done / (sum(sizes) + 1), f"uploading {addition.path_in_repo}")
        _upload_one(api, name, addition)
        done += size
    progress(done / (sum(sizes) + 1), "writing the commit")
    with told(name.written):
        commit = api.create_commit(name.repository, additions, commit_message="Upload a merged model")
    progress(1.0, "uploaded")
    pinned = ModelName(name.owner, name.name, commit.oid)
    return Upload(pinned.written, f"{api.endpoint}/{name.repository}", private, tuple(files), sum(sizes))


def _upload_one(api: HfApi, name: ModelName, addition: CommitOperationAdd) -> None:
    """Upload one file, without a commit; a small one goes with the commit itself.

    Raises:
        HubError: the hub refuses it, or the connection broke off.
    """
    try:
        with told(name.written):
            api.preupload_lfs_files(name.repository, [addition])
    except RuntimeError as error:  # huggingface_hub and its Xet raise it around the cause
        with told(name.written):
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from error
        raise HubError("the upload broke off", "try again", name.written) from error


def _opened(api: HfApi, name: ModelName, public: bool) -> bool:
    """Make a repository if it is missing, and return whether it is private.

    Raises:
        HubError: it is public, and this was not asked for; or the hub refuses.
    """
    with told(name.written):
        api.create_repo(name.repository, private=not public, exist_ok=True)
        private = bool(api.repo_info(name.repository).private)
    if not private and not public:
        raise HubError("the repository is public", "give --public, or another name", name.written)
    return private


def _exported(folder: Path) -> list[str]:
    """Return the files of an export by their paths in its folder: plain ones of known kinds, also a level deeper.

    Raises:
        HubError: it is no export, or a file in it is a link that leads elsewhere.
    """
    try:
        if _MARK not in Checkpoint("export", folder / WEIGHTS).metadata or not (folder / CARD).is_file():
            raise HubError("the folder is no export", "give one that `merge` wrote", folder.name)
    except EsmVizError as error:
        raise HubError("the folder is no export", "give one that `merge` wrote", folder.name) from error
    inside = [path for path in sorted(folder.glob("*")) + sorted(folder.glob("*/*")) if _KINDS.fullmatch(path.name)]
    found = [path for path in inside if path.is_file() and not path.name.startswith(".")]
    links = next((path.name for path in found if not path.resolve().is_relative_to(folder.resolve())), "")
    if links or len(found) > _MOST:
        what = f"{links} leads out of the folder" if links else f"there are over {_MOST} files"
        raise HubError(what, "give a folder as `merge` writes it", folder.name)
    return [path.relative_to(folder).as_posix() for path in found]
