"""Tensors out of pickled classes without running anything of theirs: torch's weights-only reader, given stand-ins.

Repositories of task vectors save whole modules, of classes that only they have. The reader is told that every name it
does not know is one class of ours, which keeps what it is given and does nothing. So no module is imported and nothing
is called; a file that asks for a function by which a pickle could do harm is refused before it is read.
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
"""Modules of which no file of weights has any need; dangerous in other readers, so worth saying."""
_PLAIN = frozenset(
    "object list dict tuple set frozenset int float complex bool str bytes bytearray slice range".split()
)
_LOCK = threading.Lock()  # torch keeps its list of known names for the whole process


class Inert:
    """Stands for an object of a class that is not there; holds its state and never does anything."""

    __slots__ = ("state",)

    state: Any

    def __new__(cls, *_arguments: object) -> Inert:
        """Make one that holds nothing, whatever the file calls the class with."""
        made = super().__new__(cls)
        made.state = {}
        return made

    def __init__(self, *_arguments: object) -> None:
        """Take what the file calls the class with, for nothing."""

    def __setstate__(self, state: Any) -> None:
        """Keep the state as it is; without this the reader would set attributes by the file's names."""
        self.state = state[0] if isinstance(state, tuple) and state else state


def harmful(name: str) -> bool:
    """Say whether a pickle that asks for this name could want to do harm with it."""
    module, _, rest = name.partition(".")
    return module in _HARMFUL or (module in ("builtins", "__builtin__") and rest not in _PLAIN)


def load_inert(path: Path, names: list[str], map_location: str, mmap: bool) -> Any:
    """Load what `torch.save` wrote, every class by one of these names replaced by a stand-in.

    Raises:
        Exception: of many kinds, where the file is not what torch.save writes.
    """
    stand_ins: list[Any] = [(Inert, name) for name in names]
    with _LOCK, quiet(), torch.serialization.safe_globals(stand_ins):
        return torch.load(path, weights_only=True, map_location=map_location, mmap=mmap)
