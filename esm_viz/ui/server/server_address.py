"""The server's address for visitors, and the host names that requests may use.

A page of another site in a visitor's browser can send requests to this server under that site's name if its DNS entry
points here (DNS rebinding). So a server accepts only IP addresses, this machine's own names, and the address that the
operator gave.
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
_ELSEWHERE = ("192.0.2.1", 9)  # reserved for documentation; connecting a datagram socket sends nothing
_SHARED = ".gradio.live"  # host names of --share
_HOST = set(string.ascii_letters + string.digits + "-._:[]")


@dataclass(slots=True)
class Site:
    """One server's address.

    Attributes:
        host, port: address and port on which it listens.
        address: address given by the operator or made by --share; empty without one.
        shared: whether it is reached through --share.
        aliases: further host names, lower case.
        framers: other origins whose pages may show it in a frame.
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
            headers: headers of the current request, whose host is used if it comes from another machine.
        """
        asked = host_of((headers or {}).get("host", ""))
        if self.address or not asked or is_this_machine(asked):
            return self.address or f"http://{_written(self._reachable())}:{self.port}"
        return f"http://{(headers or {})['host']}"

    @property
    def local_only(self) -> bool:
        """Say whether only this machine can reach it."""
        return not self.address and is_this_machine(self.host)

    def knows(self, host: str) -> bool:
        """Say whether a request may have this Host header."""
        name = host_of(host)
        if name is None:
            return False
        return _is_number(name) or name.endswith(".localhost") or name in self._names() or self._is_shared(name)

    def owns(self, origin: str, host: str) -> bool:
        """Say whether this origin is the studio's own for a request with this Host header."""
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
    """Return the address in a command-line option, without a trailing slash.

    Raises:
        RecipeError: it is not a plain http address.
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
    """Return this machine's address on its network, found without sending anything; 127.0.0.1 without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        try:
            way.connect(_ELSEWHERE)
        except OSError:
            return "127.0.0.1"
        return str(way.getsockname()[0])


def host_of(host: str) -> str | None:
    """Return the name in a Host header, in lower case and without port; None if it is not valid."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return None
    return name if name and set(host) <= _HOST else None


def is_this_machine(host: str) -> bool:
    """Say whether a host name means the local machine."""
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
