"""Parts of a repository's file, read by range requests: the file itself is not downloaded."""

from __future__ import annotations

import io

from huggingface_hub import constants, get_session, hf_hub_url
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined] # it names them

from esm_viz.core.errors import HubError
from esm_viz.hub.download_plan import PlannedName
from esm_viz.hub.hub_errors import told
from esm_viz.hub.repository_listing import LIBRARY

PARTIAL = 206  # HTTP's status of a part


def read_range(name: PlannedName, path: str, start: int, count: int) -> bytes:
    """Return some bytes of a file of a repository.

    The token, if there is one, is sent to the hub alone and not to where it redirects.

    Args:
        name: the name that needs the file.
        path: the file's path in the repository.
        start: position of the first byte.
        count: how many bytes; fewer come back at the end of the file.

    Raises:
        HubError: the file cannot be read, or the hub ignores ranges.
    """
    listing = name.listing
    url = hf_hub_url(listing.repository, path, repo_type=listing.kind, revision=listing.commit)
    wanted = {"Range": f"bytes={start}-{start + count - 1}", "Accept-Encoding": "identity"}
    headers = build_hf_headers(library_name=LIBRARY, headers=wanted)
    with (
        told(f"{name.written}, {path}"),
        get_session().stream("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as answer,
    ):
        hf_raise_for_status(answer)
        if answer.status_code != PARTIAL and start:
            raise HubError("the hub sends whole files only", "download it", name.written)
        found = io.BytesIO()
        for piece in answer.iter_bytes():
            found.write(piece)
            if found.tell() >= count:  # a server that ignores ranges goes on to the end of the file
                break
    return found.getvalue()[:count]
