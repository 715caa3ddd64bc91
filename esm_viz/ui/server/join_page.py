"""The join page, which shows the address in large type and as a QR code for a projector, and the login page."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

import segno

from esm_viz.core.errors import RecipeError
from esm_viz.figures.number_format import safe
from esm_viz.ui.components.html_snippets import BRAND

PAGE = "join"
HERE = "join/here"  # route of the number of people with an open page, as JSON
QUIET = 3  # modules of margin, enough since the page around a code has no pattern
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_TITLE = f"<h1>{BRAND}<span>esm_viz</span></h1>"
LONG = 22  # characters of an address that fit in the largest type


def code(text: str, title: str) -> str:
    """Return a QR code as SVG, dark on light in both themes, since cameras expect that.

    Raises:
        RecipeError: the text is too long for a QR code.
    """
    try:
        made = segno.make(text, error="l", micro=False, boost_error=True)
    except segno.DataOverflowError as error:
        raise RecipeError("this link is too long for a code", "use Share and send the link") from error
    drawn = made.svg_inline(border=QUIET, dark="#000", light="#fff", omitsize=True, svgclass="code", lineclass=None)
    named = f'role="img" aria-label="{safe(title)}"'
    return drawn.replace("<svg ", f"<svg {named} ", 1)


def link(url: str, tab: str, state: str) -> str:
    """Return the link to the state of a page, as its Share button makes it."""
    return f"{url}/?{urlencode({'tab': tab, 'state': state}, safe=':,')}"


def short(url: str) -> str:
    """Return an address without its scheme, as one types it."""
    return url.removeprefix("http://")


def page(url: str, here: int, locked: bool, local_only: bool) -> str:
    """Return the join page.

    Args:
        url: address of the studio.
        here: number of people with an open page.
        locked: whether it asks for a password.
        local_only: whether other machines cannot reach it.
    """
    typed = short(url)
    kind = "address long" if len(typed) > LONG else "address"
    hints = ["No app, no account: a browser is enough, a phone’s too."]
    if locked:
        hints.append("It asks for a name and a password, which the presenter tells you.")
    if local_only:
        hints.append("Only this machine reaches this address. Start the server with --workshop, or --host 0.0.0.0.")
    elif urlsplit(url).scheme == "http":
        hints.append("You have to be in the same network.")
    told = "".join(f"<li>{hint}</li>" for hint in hints)
    body = (
        f'<main><figure>{code(url + "/", f"Code that opens {typed}")}</figure><div class="way">{_TITLE}'
        f'<p>Scan the code, or type</p><p class="{kind}"><a href="./">{_breaking(typed)}</a></p><ul>{told}</ul>'
        f'<p class="here" role="status"><span id="here">{visitors_sentence(here)}</span></p>'
        '<p class="open"><a class="btn" href="./">Open the studio</a></p></div></main>'
    )
    return _page("Join esm_viz", "join", body)


def login_page() -> str:
    """Return the login page, which asks for name and password."""
    body = (
        f'<main class="door"><form id="door">{_TITLE}<p>This studio asks for a name and a password. '
        "The presenter tells you.</p>"
        '<label>Name<input name="username" autocomplete="username" autocapitalize="none" required autofocus></label>'
        '<label>Password<input name="password" type="password" autocomplete="current-password" required></label>'
        '<button class="btn">Come in</button><p id="wrong" role="alert"></p></form></main>'
    )
    return _page("esm_viz", "login", body)


def visitors_sentence(count: int) -> str:
    """Return a sentence on the number of people with an open page, as HTML."""
    if not count:
        return "Nobody is here yet"
    return f"<b>{count}</b> {'person' if count == 1 else 'people'} here now"


def _page(title: str, script: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><title>{title}</title>'
        '<link rel="stylesheet" href="./studio/ui/tokens.css"><link rel="stylesheet" href="./studio/ui/join.css">'
        f'<link rel="icon" href="./favicon.ico"><script src="./studio/ui/theme.js" defer></script>'
        f'<script src="./studio/ui/{script}.js" defer></script></head><body>{body}</body></html>'
    )


def _breaking(address: str) -> str:
    """Return an address as HTML, with possible line breaks after dots and before the port."""
    return safe(address).replace(".", ".<wbr>").replace(":", "<wbr>:")
