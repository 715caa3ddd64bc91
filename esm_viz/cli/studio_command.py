"""The command that starts the studio."""

from __future__ import annotations

import argparse
import dataclasses
import os
from typing import Any

from esm_viz.cli.commands import stage_cache
from esm_viz.core.errors import RecipeError

AUTH = "ESM_VIZ_AUTH"  # the environment's NAME:PASSWORD


def run_app(options: argparse.Namespace) -> tuple[Any, str]:
    """Serve the studio until it is interrupted."""
    from esm_viz.ui import serve  # the command line must not wait for a web server's imports
    from esm_viz.ui.server.hosted_space import HUB, hosted_space, trust_proxy
    from esm_viz.ui.server.server_address import checked_address
    from esm_viz.ui.server.visitor_limits import USUAL, WORKSHOP, upload_size
    from esm_viz.ui.session.session_archive import private

    folder, space = options.allow_folder, hosted_space(os.environ)
    workshop = options.workshop or space is not None
    if folder is not None and workshop:
        remedy = "leave one of them out: a room of strangers is shown no paths of this server"
        raise RecipeError("--workshop and --allow-folder exclude each other", remedy, "command line")
    if options.allow_hub and workshop:
        remedy = "leave one of them out: a room of strangers cannot make this server download"
        raise RecipeError("--workshop and --allow-hub exclude each other", remedy, "command line")
    if folder is not None and not folder.is_dir():
        raise RecipeError(f"--allow-folder {folder.name} is no folder", "give one that is there", "command line")
    everywhere = "0.0.0.0"  # noqa: S104 - a room's phones are elsewhere
    usual = (space.host, space.port) if space else (everywhere if workshop else "127.0.0.1", 7860)
    host, port = options.host or usual[0], usual[1] if options.port is None else options.port
    if not 0 < port < 1 << 16:
        raise RecipeError(f"--port is {port}", "give one from 1 to 65535", "command line")
    limits = WORKSHOP if workshop else USUAL
    if options.uploads is not None:
        limits = dataclasses.replace(limits, uploads=upload_size(options.uploads))
    address = checked_address(options.address) if options.address else ""
    framers = [checked_address(each, "--embed-in") for each in options.embed_in]
    if space:
        address, framers = address or space.address, framers or [HUB]
        if options.auth is None and os.environ.get(AUTH):
            options.auth = ""  # a Space has secrets and no flags
        trust_proxy()
    serve(
        options.recipe,
        host=host,
        port=port,
        device=options.device,
        share=options.share,
        cache=stage_cache(options),
        folder=folder,
        limits=limits,
        address=address,
        auth=_auth(options),
        state=private(options.state) if options.state is not None else None,
        aliases=space.names if space else (),
        framers=framers,
        hub=False if workshop else options.allow_hub or None,
    )
    return {}, "stopped"


def _auth(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Return names with their passwords, from where the command line says; none where nobody is asked.

    Raises:
        RecipeError: there is no password where it says, or it is not NAME:PASSWORD.
    """
    lines, remedy = [], f"write NAME:PASSWORD to it, or set {AUTH}"
    if options.auth_file is not None:
        try:
            lines = options.auth_file.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError("--auth-file cannot be read", remedy, options.auth_file.name) from error
    if options.auth is not None:
        lines.append(options.auth or os.environ.get(AUTH, ""))
    split = [line.partition(":") for line in lines if line.strip()]
    pairs = [(name.strip(), password.strip()) for name, _, password in split]
    asked = options.auth is not None or options.auth_file is not None
    if (asked and not pairs) or not all(name and password for name, password in pairs):
        remedy = f"give it as --auth NAME:PASSWORD or in {AUTH}"
        raise RecipeError("--auth has no NAME:PASSWORD", remedy, "command line")
    return pairs
