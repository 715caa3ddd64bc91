"""The schema of HTTP calls to the page's handlers: one small JSON object with known keys, types and sizes.

Anybody can post any data. Only these keys with these types and sizes are passed on to Gradio and its handlers; the
handlers check what the values mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import gradio as gr
import orjson

from esm_viz.core.errors import RecipeError
from esm_viz.ui.components import gradio_private
from esm_viz.ui.components.browser_message import checked_fields
from esm_viz.ui.uploads.upload_inbox import MOST_FILES

MOST_BYTES = 256 * 1024  # of a call; the longest call lists the files of an upload
EVENTS = ("act", "tick", "select", "upload", "load")  # events that a page sends; `unload` is sent by Gradio
LONGEST_ID = 64  # characters; a session's has 22
_PAGE = re.compile(r"[0-9a-z]{1,32}")  # Gradio's hash of a page
_REMEDY = "reload the page"


@dataclass(frozen=True, slots=True)
class Call:
    """One checked call of a handler.

    Attributes:
        body: the body to pass on to Gradio.
        session_id: the session's id that the caller gave.
        files: paths that the caller gave as its uploads.
    """

    body: bytes
    session_id: str
    files: tuple[object, ...] = ()


def handlers(blocks: gr.Blocks) -> dict[int, int]:
    """Return the number of inputs of every handler that a page may call, by the handler's number."""
    return gradio_private.handlers(blocks, EVENTS)


def checked_call(body: bytes, known: Mapping[int, int]) -> Call:
    """Parse and check the body of a call.

    Args:
        body: the request's body.
        known: number of inputs of every handler, by the handler's number.

    Raises:
        RecipeError: a page does not send such a call.
    """
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RecipeError("this request is no JSON", _REMEDY) from error
    if not isinstance(raw, dict):
        raise RecipeError("this request is no object", _REMEDY)
    number, data, event, page = (raw.get(key) for key in ("fn_index", "data", "event_data", "session_hash"))
    if type(number) is not int or number not in known:
        raise RecipeError("this server has no such handler", _REMEDY)
    if not isinstance(data, list) or len(data) != known[number]:
        raise RecipeError("this request has other inputs than its handler", _REMEDY)
    if not isinstance(page, str) or not _PAGE.fullmatch(page):
        raise RecipeError("this request does not say from which page", _REMEDY)
    session_id, files, trigger = _session_id(data[0]), _paths(data[1:]), raw.get("trigger_id")
    clean = {
        "fn_index": number,
        "data": [session_id, *(None for _ in data[1:])],
        "event_data": checked_fields(event),
        "session_hash": page,
        "trigger_id": trigger if type(trigger) is int and abs(trigger) < 1 << 31 else None,
    }
    return Call(orjson.dumps(clean), session_id, tuple(files))


def _session_id(value: object) -> str:
    """Return a value that may be a session's id; empty for any other value."""
    return value if isinstance(value, str) and len(value) <= LONGEST_ID else ""


def _paths(inputs: Iterable[object]) -> list[object]:
    """Return the paths of uploaded files in a handler's other inputs."""
    files = next(iter(inputs), None)
    if files is None:
        return []
    if not isinstance(files, list) or len(files) > MOST_FILES:
        raise RecipeError("this is no upload", f"bring between 1 and {MOST_FILES} files at once")
    return [file.get("path") if isinstance(file, dict) else None for file in files]
