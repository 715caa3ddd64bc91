"""What can go wrong between here and a hub, each in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)

from esm_viz.core.errors import HubError, HubUnreachable, NoRevision, one_line

_SIGN_IN = "sign in with `hf auth login` or set HF_TOKEN"
_STATUS = {
    401: ("the hub asks for a valid token", _SIGN_IN),
    403: ("the hub does not allow this", "use a token with the rights for it"),
    416: ("the hub has less of this file than it said", "try again"),
    429: ("the hub asks to wait, too many requests came from here", "try again in some minutes, or sign in"),
}


@contextmanager
def told(where: str) -> Iterator[None]:
    """Turn the errors of huggingface_hub and of its connections into a HubError.

    Args:
        where: the name that was asked for.

    Raises:
        HubError: one of these errors was raised in the block.
    """
    try:
        yield
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, httpx2.HTTPError) as error:
        raise _sentence(error, where) from error
    except httpx2.InvalidURL as error:
        raise HubError("the address of the hub is wrong", "check HF_ENDPOINT", where) from error
    except HFValidationError as error:
        raise HubError("the hub has no such names", "check the name", where) from error
    except FileMetadataError as error:
        raise HubError("the answer is not that of a hub", "check HF_ENDPOINT and the network", where) from error
    except EntryNotFoundError as error:
        raise HubError("there is no such file", "check the name", where) from error
    except LocalTokenNotFoundError as error:
        raise HubError("no token was found", _SIGN_IN, where) from error
    except (ConnectionError, TimeoutError, XetDownloadError) as error:
        raise HubUnreachable("the connection broke off", "try again", where) from error
    except OSError as error:  # also a download of another size than the hub said
        broken = "Consistency check failed" in str(error)
        what = (
            "the download broke off"
            if broken
            else f"the files cannot be kept ({error.strerror or type(error).__name__})"
        )
        remedy = "try again" if broken else "check the free space and rights of the cache (HF_HOME)"
        raise HubError(what, remedy, where) from error


@contextmanager
def readable(where: str) -> Iterator[None]:
    """Turn the errors of an answer that is not of a hub's form into a HubError.

    Args:
        where: the name that was asked for.

    Raises:
        HubError: the answer could not be read.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise HubError("the hub's answer cannot be read", "check HF_ENDPOINT, or try again", where) from error


def _sentence(error: Exception, where: str) -> HubError:
    """Return the sentence of one error."""
    cause = error.__cause__
    if isinstance(error, LocalEntryNotFoundError) and isinstance(cause, HfHubHTTPError | httpx2.HTTPError):
        return _sentence(cause, where)
    if isinstance(error, OfflineModeIsEnabled) or (
        isinstance(error, LocalEntryNotFoundError) and constants.is_offline_mode()
    ):
        return HubUnreachable("HF_HUB_OFFLINE is set and the cache lacks it", "unset it, or download first", where)
    if isinstance(error, GatedRepoError):
        return HubError("the repository is gated", f"ask for access on its page, then {_SIGN_IN}", where)
    if isinstance(error, DisabledRepoError):
        return HubError("the repository is disabled", "use another one", where)
    if isinstance(error, RevisionNotFoundError):
        return NoRevision("the repository has no such revision", "check what follows @", where)
    if isinstance(error, RepositoryNotFoundError):
        return HubError("there is no such repository, or it is private", f"check the name, or {_SIGN_IN}", where)
    if isinstance(error, EntryNotFoundError) and isinstance(error, HfHubHTTPError):
        return HubError("the repository has no such file", "check the name of the file", where)
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        what, remedy = _STATUS.get(status, (f"the hub answers with status {status}", "try again later"))
        return HubError(what, remedy, where)
    if isinstance(error, httpx2.TooManyRedirects):
        return HubError("the hub's redirects have no end", "check HF_ENDPOINT", where)
    host = one_line(constants.ENDPOINT)
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError):
        return HubUnreachable("the connection broke off", "try again", where)
    return HubUnreachable(f"the hub {host} cannot be reached", "check the network and HF_ENDPOINT", where)
