"""What Gradio keeps to itself and the studio needs all the same; no other module names it.

Names of this kind can change with any release, so the tests of this module say which ones they were tried with.

Of an event with many outputs Gradio makes a new component for each one that is not painted, sends each one that is
through a thread of its own, and keeps every value for every page for an hour after it was closed. Our pieces are
strings that need none of it: with thirty people that would be most of the server's work and memory. So `Plain` hands
them through as they are.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.state_holder import SessionState
from gradio.utils import get_upload_folder
from starlette.requests import Request

TRIED = ("6.31",)  # Gradio's releases with which this module's tests have passed, MAJOR.MINOR

if importlib.util.find_spec("matplotlib") is None:  # at every event Gradio searches the whole path for it, twice
    setattr(gr.utils, "MatplotlibBackendMananger", nullcontext)  # noqa: B010 - the name is Gradio's


class Plain(gr.Blocks):
    """Blocks whose handlers answer with a string for each component they paint, by component."""

    async def postprocess_data(
        self, block_fn: BlockFunction, predictions: Any, state: SessionState | None
    ) -> list[Any]:
        """Return what the page is sent: the strings as they are, and for every other output that nothing changed."""
        if not isinstance(predictions, dict) or not all(isinstance(part, gr.blocks.Block) for part in predictions):
            return await super().postprocess_data(block_fn, predictions, state)
        unchanged = gr.skip()
        return [predictions.get(part, unchanged) for part in block_fn.outputs]


def message_of(event: gr.EventData) -> Any:
    """Return what the page sent with an event, as it came."""
    return event._data


def handlers(blocks: gr.Blocks, events: Collection[str]) -> dict[int, int]:
    """Return the number of inputs of every handler that one of these events calls, by the handler's number."""
    return {
        number: len(fn.inputs)
        for number, fn in blocks.fns.items()
        if fn.fn is not None and any(event in events for _, event in fn.targets)
    }


def upload_folder() -> Path:
    """Return the folder into which uploads are written."""
    return Path(get_upload_folder())


def has_password(request: Request) -> bool:
    """Say whether the server that got this request asks for a password."""
    return request.app.auth is not None


def is_locked_out(request: Request) -> bool:
    """Say whether there is a password that this visitor has not given."""
    app = request.app
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return has_password(request) and not any(request.cookies.get(name) in app.tokens for name in names)
