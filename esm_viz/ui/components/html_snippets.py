"""HTML snippets for the page's blocks; texts from visitors are escaped here."""

from __future__ import annotations

from collections.abc import Sequence

from esm_viz.figures.figure_parts import task_colour, task_glyph
from esm_viz.figures.number_format import safe

OK = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M3 8.5l3.2 3.2L13 5"/></svg>'
WARN = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M8 2.2L14.4 13.4H1.6ZM8 6.5v3M8 11.6v.1"/></svg>'
BAD = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4 4l8 8M12 4l-8 8"/></svg>'
UNDO = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M5.5 3L2.5 6l3 3M2.8 6H10a3.5 3.5 0 010 7H6"/></svg>'
REDO = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M10.5 3l3 3-3 3M13.2 6H6a3.5 3.5 0 000 7h4"/></svg>'
DOWNLOAD = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M8 2.5v8M4.8 7.5L8 10.7l3.2-3.2M3 13.5h10"/></svg>'
THEME = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M13 9.6A5.6 5.6 0 116.4 3 4.4 4.4 0 0013 9.6z"/></svg>'
SCREEN = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M2 3h12v8H2zM8 11v2.500M5.500 13.500h5"/></svg>'
AFRESH = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4 2h5l3 3v9H4zM9 2v3h3M8 7.500v4M6 9.500h4"/></svg>'
BRAND = (
    '<svg width="26" height="26" viewBox="0 0 26 26" aria-hidden="true"><path d="M3 18L12 22.5 23 16 14 11.5z" '
    'fill="var(--accent-soft)" stroke="var(--accent)" stroke-width="1.6" stroke-linejoin="round"/>'
    '<path d="M3 12L12 16.5 23 10 14 5.5z" fill="var(--panel)" fill-opacity=".7" stroke="var(--ink)" '
    'stroke-width="1.6" stroke-linejoin="round"/><path d="M12 16.5L19 3" stroke="var(--ink)" stroke-width="1.8" '
    'stroke-linecap="round"/></svg>'
)
ICONS = {"good": OK, "warn": WARN, "bad": BAD}


def mark(index: int) -> str:
    """Return a task's symbol in its colour."""
    return f'<span style="color:{task_colour(index)}">{task_glyph(index)}</span>'


def badge(letter: str) -> str:
    """Return the square badge of the pinned state A or the state on screen B; empty for neither."""
    return f'<span class="badge {letter.lower()}">{letter}</span>'


def pill(kind: str, text: str = "") -> str:
    """Return an icon with optional words, in the colour good, warn or bad."""
    return f'<span class="pill {kind}">{ICONS[kind]}{safe(text)}</span>'


def sentence(kind: str, text: str) -> str:
    """Return a message of one sentence, which says what happened and what to do."""
    return f'<p class="sentence {kind}" role="alert">{ICONS[kind]}<span>{safe(text)}</span></p>'


def button(act: str, label: str, kind: str = "", title: str = "", off: bool = False, **data: str) -> str:
    """Return a button whose click is sent as a message; `label` is trusted HTML."""
    more = "".join(f' data-{key}="{safe(value)}"' for key, value in data.items())
    off_text = ' aria-disabled="true"' if off else ""
    hint = f' title="{safe(title)}" aria-label="{safe(title)}"' if title else ""
    return f'<button class="btn {kind}" data-do="{act}"{more}{hint}{off_text}>{label}</button>'


def select(act: str, label: str, options: Sequence[tuple[str, str]], chosen: str) -> str:
    """Return a select with options (value, words); the chosen value is sent as a message."""
    lines = "".join(
        f'<option value="{safe(value)}"{" selected" if value == chosen else ""}>{safe(words)}</option>'
        for value, words in options
    )
    return f'<select class="sel" data-do="{act}" aria-label="{safe(label)}">{lines}</select>'


def segments(act: str, choices: dict[str, str], chosen: str, label: str, hint: str = "") -> str:
    """Return a segmented control with one active choice, labels as trusted HTML; a click sends the `value`."""
    buttons = "".join(
        f'<button role="radio" class="{"on" if value == chosen else ""}" aria-checked="{str(value == chosen).lower()}"'
        f' data-do="{act}" data-value="{safe(value)}">{text}</button>'
        for value, text in choices.items()
    )
    title = f' title="{safe(hint)}"' if hint else ""
    return f'<span class="seg" role="radiogroup" aria-label="{safe(label)}"{title}>{buttons}</span>'


def stat(name: str, value: str, kind: str = "") -> str:
    """Return a large number with its name; both are trusted HTML."""
    return f'<div class="stat"><span class="k">{name}</span><span class="n {kind}">{value}</span></div>'


def two_lines(first: str, second: str) -> str:
    """Return two short lines beside a large number, as trusted HTML."""
    return f'<small class="two">{first}<br>{second}</small>'


def panel(title: str, how: str, body: str, right: str = "") -> str:
    """Return a card with a title, one sentence, a body, and content at the right of the title."""
    head = f'<div class="ch"><h2>{title}</h2><div class="right">{right}</div></div>'
    return f'<section class="card">{head}<p class="how">{how}</p>{body}</section>'


def chip(words: str) -> str:
    """Return a remark beside a picture, as trusted HTML; empty without words."""
    return f'<span class="chip">{words}</span>' if words else ""


def table(kind: str, head: str, rows: str, label: str = "") -> str:
    """Return a table that scrolls inside its card; `head` and `rows` are trusted HTML.

    Args:
        kind: class of the table.
        head: its header cells.
        rows: its rows.
        label: name of the scrolling region, for a table without controls that the keyboard could reach.
    """
    reach = f' tabindex="0" role="region" aria-label="{safe(label)}"' if label else ""
    return (
        f'<div class="scroll"{reach}><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        "</div>"
    )


def arch_text(arch: str) -> str:
    """Return the architecture's name with the multiplication sign ×."""
    return safe(arch).replace(" x ", " × ")
