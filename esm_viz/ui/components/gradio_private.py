"""The private functions of Gradio that the studio uses; no other module uses any.

Private names can change with any release, so `TRIED` lists the releases that this module was tested with.

For an event with many outputs, Gradio makes a new component for each output that did not change, processes each changed
one in a thread, and keeps all values for an hour after a page was closed. The studio's values are plain strings that
need none of this, and with thirty people it would take most of the server's time and memory. So `Plain` passes the
strings on unchanged.
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

if importlib.util.find_spec("matplotlib") is None:  # Gradio looks for it at every event, twice
    setattr(gr.utils, "MatplotlibBackendMananger", nullcontext)  # noqa: B010 - the name is Gradio's


class PlainBlocks(gr.Blocks):
    """Gradio Blocks whose handlers return a dict with a string for each changed component."""

    async def postprocess_data(
        self, block_fn: BlockFunction, predictions: Any, state: SessionState | None
    ) -> list[Any]:
        """Return the strings unchanged, and "no change" for all other outputs."""
        if not isinstance(predictions, dict) or not all(isinstance(part, gr.blocks.Block) for part in predictions):
            return await super().postprocess_data(block_fn, predictions, state)
        unchanged = gr.skip()
        return [predictions.get(part, unchanged) for part in block_fn.outputs]


def message_of(event: gr.EventData) -> Any:
    """Return the data that the page sent with an event, unchecked."""
    return event._data


def handlers(blocks: gr.Blocks, events: Collection[str]) -> dict[int, int]:
    """Return the number of inputs of every handler of these events, by the handler's number."""
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
    """Say whether the server has a password that this visitor has not given yet."""
    app = request.app
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return has_password(request) and not any(request.cookies.get(name) in app.tokens for name in names)
