"""Where visitors reach this server: the address one writes on the board, and the names that a request may call it by.

A page of another site, opened in a visitor's browser, can send requests to this server too, under that site's name
where its name leads here (DNS rebinding). So a server answers to plain numbers, to this machine's own names, and to the
one address that the operator gave.
"""

from __future__ import annotations

import ipaddress
import socket
import string
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from esm_viz.core.errors import RecipeError

EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - what "listen on all addresses" looks like
_ELSEWHERE = ("192.0.2.1", 9)  # an address for documentation: a datagram socket finds its way there and sends nothing
_SHARED = ".gradio.live"  # where --share leads from
_HOST = set(string.ascii_letters + string.digits + "-._:[]")


@dataclass(slots=True)
class Site:
    """One server's address.

    Attributes:
        host, port: that it listens on.
        address: given by the operator, or made by --share; empty where there is none.
        shared: whether it is reached through --share.
        aliases: more names that lead here, lower case.
        framers: origins whose pages may show it in a frame, beside its own.
    """

    host: str
    port: int
    address: str = ""
    shared: bool = False
    aliases: tuple[str, ...] = ()
    framers: tuple[str, ...] = ()

    def url(self, headers: Mapping[str, str] | None = None) -> str:
        """Return the address for others, `http://HOST:PORT`.

        Args:
            headers: of the request that asks, whose own way here is used where it leads from another machine.
        """
        asked = host_of((headers or {}).get("host", ""))
        if self.address or not asked or is_this_machine(asked):
            return self.address or f"http://{_written(self._reachable())}:{self.port}"
        return f"http://{(headers or {})['host']}"

    @property
    def local_only(self) -> bool:
        """Say whether nobody but this machine reaches it."""
        return not self.address and is_this_machine(self.host)

    def knows(self, host: str) -> bool:
        """Say whether a request may call this server by the Host that it names."""
        name = host_of(host)
        if name is None:
            return False
        return _is_number(name) or name.endswith(".localhost") or name in self._names() or self._is_shared(name)

    def owns(self, origin: str, host: str) -> bool:
        """Say whether a page of this origin is ours, asked under this Host."""
        try:
            place = urlsplit(origin)
        except ValueError:
            return False
        return place.scheme in ("http", "https") and place.netloc in (host, urlsplit(self.address).netloc or host)

    def _names(self) -> set[str]:
        own = socket.gethostname().lower()
        names = {"localhost", own, f"{own.partition('.')[0]}.local", self.host.lower()}
        return names | {*self.aliases} | {urlsplit(self.address).hostname or "localhost"}

    def _is_shared(self, name: str) -> bool:
        return self.shared and name.endswith(_SHARED)

    def _reachable(self) -> str:
        return local_address() if self.host in EVERYWHERE else self.host


def checked_address(text: str, option: str = "--address") -> str:
    """Return an address as the operator gave it in this option, without a slash at its end.

    Raises:
        RecipeError: it is no plain http address.
    """
    try:
        parts = urlsplit(text)
        whole = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and set(parts.netloc) <= _HOST
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        whole = False
    if not whole or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise RecipeError(f"{option} is {text!r:.80}", "give it as https://studio.example.org", "command line")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def local_address() -> str:
    """Return this machine's address on its network, found without a word to anybody; 127.0.0.1 without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        try:
            way.connect(_ELSEWHERE)
        except OSError:
            return "127.0.0.1"
        return str(way.getsockname()[0])


def host_of(host: str) -> str | None:
    """Return the name in a Host header, lower case and without port; None where it is not one."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return None
    return name if name and set(host) <= _HOST else None


def is_this_machine(host: str) -> bool:
    """Say whether a name leads to the very machine that asks."""
    return host == "localhost" or host.endswith(".localhost") or (_is_number(host) and _number(host).is_loopback)


def _is_number(host: str) -> bool:
    try:
        _number(host)
    except ValueError:
        return False
    return True


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(host)


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host
