"""Detection of a hosted Gradio Space by environment variables.

In a Space, the server runs in a container behind a TLS proxy and is shown in a frame on a page of the hub. Its visitors
are unknown, so the limits of a workshop apply.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from esm_viz.core.errors import RecipeError

HUB = "https://huggingface.co"  # origin of the pages that show Spaces in frames
# Networks of proxies that uvicorn trusts: the proxy is on the container's private network, visitors are not.
PROXIES = "127.0.0.0/8,10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,::1,fc00::/7"


@dataclass(frozen=True, slots=True)
class HostedSpace:
    """The names and the port of a Space.

    Attributes:
        names: host names, the usual one first; more if it has its own domain.
        host, port: address and port on which its server has to listen.
    """

    names: tuple[str, ...]
    host: str
    port: int

    @property
    def address(self) -> str:
        """Return the public address; empty if unknown."""
        return f"https://{self.names[0]}" if self.names else ""


def hosted_space(environment: Mapping[str, str]) -> HostedSpace | None:
    """Return the Space that this server runs in; None outside a Space.

    Raises:
        RecipeError: GRADIO_SERVER_PORT is not a port.
    """
    if not environment.get("SPACE_ID"):
        return None
    hosts = (name.strip().lower() for name in environment.get("SPACE_HOST", "").split(","))
    port = environment.get("GRADIO_SERVER_PORT", "7860")
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise RecipeError(f"GRADIO_SERVER_PORT is {port!r:.40}", "give one from 1 to 65535", "environment")
    host = environment.get("GRADIO_SERVER_NAME", "0.0.0.0")  # noqa: S104 - the proxy is another machine
    return HostedSpace(tuple(name for name in hosts if name), host, int(port))


def trust_proxy() -> None:
    """Make the server take a visitor's address and scheme from the proxy's headers, to distinguish visitors."""
    os.environ.setdefault("FORWARDED_ALLOW_IPS", PROXIES)  # read by uvicorn when the server starts
