"""Gradio's blocks with our pieces handed through as they are.

Of an event with many outputs Gradio makes a new component for each one that is not painted, sends each one that is
through a thread of its own, and keeps every value for every page for an hour after it was closed. Our pieces are
strings that need none of it: with thirty people that would be most of the server's work and memory.
"""

from __future__ import annotations

import importlib.util
from contextlib import nullcontext
from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.state_holder import SessionState

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
