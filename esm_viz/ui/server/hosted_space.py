"""What a hosted Gradio Space says of itself in the environment of its server.

There the server runs in a container, behind a proxy that speaks TLS, and is shown in a frame on a page of the hub. Its
visitors are strangers, so that a workshop's limits hold.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from esm_viz.core.errors import RecipeError

HUB = "https://huggingface.co"  # whose pages show Spaces in frames
# Whose word uvicorn takes for a visitor's address: the proxy is on the container's private network, a visitor is not.
PROXIES = "127.0.0.0/8,10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,::1,fc00::/7"


@dataclass(frozen=True, slots=True)
class HostedSpace:
    """How a Space is reached.

    Attributes:
        names: of its host, the first one the usual one; more where it has a domain of its own.
        host, port: that its server has to listen on.
    """

    names: tuple[str, ...]
    host: str
    port: int

    @property
    def address(self) -> str:
        """Return the address for others; empty where the Space does not know it."""
        return f"https://{self.names[0]}" if self.names else ""


def hosted_space(environment: Mapping[str, str]) -> HostedSpace | None:
    """Return the Space that this server runs in, None where it runs in none.

    Raises:
        RecipeError: GRADIO_SERVER_PORT is no port.
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
    """Have the server take a visitor's address and scheme from the proxy, so that visitors are told apart by it."""
    os.environ.setdefault("FORWARDED_ALLOW_IPS", PROXIES)  # read by uvicorn when the server starts
