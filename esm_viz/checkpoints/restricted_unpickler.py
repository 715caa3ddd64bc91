"""Safe unpickling of tensors in objects of unknown classes: torch's weights-only reader with stand-ins for the classes.

Repositories of task vectors save whole modules, whose classes exist only there. The reader gets one harmless class for
every name that it does not know; this class keeps its state and does nothing. So no module is imported and no code of
the file runs. A file that names a function that could do harm is refused before it is read.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import torch

from esm_viz.runtime.library_warnings import quiet

_HARMFUL = frozenset(
    "_codecs _ctypes _io _pickle _posixsubprocess _thread asyncio bdb code codeop commands concurrent cffi ctypes dill "
    "distutils doctest ensurepip fcntl ftplib gc glob http httplib imp importlib inspect joblib linecache marshal "
    "mmap multiprocessing nt ntpath os pdb pickle pip pkgutil platform popen2 posix posixpath profile pty "
    "pydoc requests resource runpy sched select setuptools shelve shutil signal site smtplib socket socketserver "
    "sqlite3 ssl subprocess sys tarfile tempfile threading timeit trace urllib urllib2 venv webbrowser winreg "
    "xmlrpc zipfile zipimport".split()
)
"""Modules that no file of weights needs and that are dangerous in other unpicklers; naming one is refused."""
_PLAIN = frozenset(
    "object list dict tuple set frozenset int float complex bool str bytes bytearray slice range".split()
)
_LOCK = threading.Lock()  # torch keeps its list of known names for the whole process


class StandIn:
    """Stand-in for an object of an unknown class; it keeps its state and does nothing."""

    __slots__ = ("state",)

    state: Any

    def __new__(cls, *_arguments: object) -> StandIn:
        """Make an empty object, whatever arguments the file gives."""
        made = super().__new__(cls)
        made.state = {}
        return made

    def __init__(self, *_arguments: object) -> None:
        """Ignore the arguments."""

    def __setstate__(self, state: Any) -> None:
        """Keep the state as one value; without this method, the reader would set attributes named by the file."""
        self.state = state[0] if isinstance(state, tuple) and state else state


def harmful(name: str) -> bool:
    """Say whether this name in a pickle could be used to run harmful code."""
    module, _, rest = name.partition(".")
    return module in _HARMFUL or (module in ("builtins", "__builtin__") and rest not in _PLAIN)


def load_inert(path: Path, names: list[str], map_location: str, mmap: bool) -> Any:
    """Load a file of `torch.save`, with a stand-in for each of the named classes.

    Raises:
        Exception: of many kinds, if the file was not written by torch.save.
    """
    stand_ins: list[Any] = [(StandIn, name) for name in names]
    with _LOCK, quiet(), torch.serialization.safe_globals(stand_ins):
        return torch.load(path, weights_only=True, map_location=map_location, mmap=mmap)
