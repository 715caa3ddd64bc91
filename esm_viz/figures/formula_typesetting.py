"""Typesetting of formulas: the small HTML of a knob's formula becomes MathML, which browsers draw themselves."""

from __future__ import annotations

import re
from html import escape, unescape

_TAG = re.compile(r"(</?(?:sub|sup|strong)>)")
_TOKEN = re.compile(r"\s+|Δ?[^\W\d_]+|\d+(?:\.\d+)?|.")
_BRACES = re.compile(r"\{([^{}]*)\}")
WORDS_FROM = 3  # letters; shorter ones are symbols, except those in SHORT
SHORT = ("of", "in", "on", "to")
SPACE = '<mspace width="0.3em"/>'


def typeset_parts(html: str) -> str:
    """Return trusted HTML with the formulas in braces as MathML; lines break between parts, not within a formula."""
    return _BRACES.sub(lambda part: typeset(part[1]), html)


def typeset(html: str) -> str:
    """Return a formula as MathML.

    Args:
        html: trusted HTML with no other tags than sub, sup, strong and a span round a symbol; sub and sup hold no tags.
    """
    made: list[str] = []
    parts = _TAG.split(re.sub(r"</?span[^>]*>", "", html))
    at = 0
    while at < len(parts):
        part = parts[at]
        if part in ("<sub>", "<sup>"):
            script = "".join(_tokens(parts[at + 1], script=True))
            base = made.pop() if made else "<mrow></mrow>"
            made.append(f"<m{part[1:-1]}>{base}<mrow>{script}</mrow></m{part[1:-1]}>")
            at += 3
        elif part == "<strong>":
            made.append(f"<mtext><strong>{parts[at + 1]}</strong></mtext>")
            at += 3
        else:
            made += _tokens(part)
            at += 1
    return f"<math><mrow>{''.join(made)}</mrow></math>"


def _tokens(text: str, script: bool = False) -> list[str]:
    return [_token(token, script) for token in _TOKEN.findall(unescape(text))]


def _token(token: str, script: bool) -> str:
    if token.isspace():
        return "" if script else SPACE
    if token[0].isdigit():
        return f"<mn>{token}</mn>"
    if not token[0].isalpha():
        return f'<mo lspace="0" rspace="0" stretchy="false">{escape(token)}</mo>'
    word = len(token) >= WORDS_FROM or token in SHORT or (script and len(token) > 1)
    return f"<mtext>{escape(token)}</mtext>" if word else f"<mi>{escape(token)}</mi>"
