"""The three kinds of component of the page; each is a Gradio HTML component with a script of the studio.

A component's value is a JSON string with a version; the page's scripts draw it (see assets/ui). Each component has an
event `act`, which carries a small message. Blocks also have `tick`, by which the page asks for late results.
"""

from __future__ import annotations

import gradio as gr

from esm_viz.ui.server.static_assets import PLOTLY, SCRIPTS
from esm_viz.ui.tabs.tab_definition import Piece

# Gradio waits for a component's own head before its script runs; a head of the page would come too late.
LOADED = "".join(
    f'<script src="./{script}"></script>' for script in (PLOTLY, *(f"studio/ui/{name}.js" for name in SCRIPTS))
)
EMPTY = '{"v":-1}'


def make(piece: Piece, value: str = EMPTY) -> gr.HTML:
    """Return the component of a piece."""
    return {"block": block, "card": card, "rail": rail}[piece.kind](piece.name, value)


def block(name: str, value: str = EMPTY) -> gr.HTML:
    """Return a component with HTML made on the server."""
    script = "studio.block(element, props, trigger, watch, 'act', 'tick')"
    return _component(name, value, script)


def card(name: str, value: str = EMPTY) -> gr.HTML:
    """Return a component with one figure."""
    # The name stands in the script: Gradio drops own props of components that are updated before their tab is opened.
    return _component(f"card-{name}", value, f"studio.card(element, props, trigger, watch, 'act', '{name}')")


def rail(name: str, value: str = EMPTY) -> gr.HTML:
    """Return the component with the knobs."""
    return _component(name, value, "studio.rail(element, props, trigger, watch, 'act')")


def _component(elem_id: str, value: str, script: str) -> gr.HTML:
    return gr.HTML(
        value,
        elem_id=elem_id,
        html_template="<div></div>",
        js_on_load=script,
        head=LOADED,
        apply_default_css=False,
    )
