"""Safe unpickling of tensors in objects of unknown classes: torch's weights-only reader with stand-ins for the classes.

Repositories of task vectors save whole modules, whose classes exist only there. The reader gets one harmless class for
every name that it does not know; this class keeps its state and does nothing. So no module is imported and no code of
the file runs. A file that names a function that could do harm is refused before it is read.

Unknown classes whose objects are given items, which are subclasses of dict and list, become plain dicts and lists.
`getattr`, by which Python up to 3.11.3 pickles the members of an enumeration, becomes a function that answers a
stand-in with a stand-in; the real `getattr` is never called.
"""

from __future__ import annotations

import pickletools
import threading
from collections import OrderedDict
from collections.abc import Mapping
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
_GETATTR = "builtins.getattr"
_ITEMS = {"SETITEM": dict, "SETITEMS": dict, "APPEND": list, "APPENDS": list}  # what an opcode adds items to
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


class StandInDict:
    """Stand-in for an unknown class whose objects hold items by key: it makes plain ordered dicts."""

    def __new__(cls, *_arguments: object) -> OrderedDict[object, object]:  # type: ignore[misc]
        """Make an empty dict, whatever arguments the file gives."""
        return OrderedDict()


class StandInList:
    """Stand-in for an unknown class whose objects hold items in order: it makes plain lists."""

    def __new__(cls, *_arguments: object) -> list[object]:  # type: ignore[misc]
        """Make an empty list, whatever arguments the file gives."""
        return []


_STAND_INS: dict[type, type] = {object: StandIn, dict: StandInDict, list: StandInList}


def attribute(of: object, name: object) -> type[StandIn]:
    """Answer `getattr` in a pickle: the attribute of a stand-in is a stand-in.

    Raises:
        ValueError: it is asked of anything else.
    """
    if type(name) is str and (type(of) is StandIn or any(of is stand_in for stand_in in _STAND_INS.values())):
        return StandIn
    raise ValueError("an attribute of something that is no stand-in")


def contents(pickled: bytes) -> dict[str, type]:
    """Return the names whose objects are given items: dict if by key, list if in order; names with both are left out.

    The opcodes are followed with the names of classes in place of objects; nothing is made.

    Args:
        pickled: a pickle that the weights-only reader can read.

    Raises:
        Exception: of many kinds, if it is malformed.
    """
    stack: list[Any] = []  # for each object, the name of its class, or None
    marks: list[int] = []
    memo: dict[Any, Any] = {}
    found: dict[str, set[type]] = {}
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "MARK":
            marks.append(len(stack))
        elif opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            stack.append(f"{'builtins' if module == '__builtin__' else module}.{name}")
        elif opcode.name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif opcode.name in ("REDUCE", "NEWOBJ"):
            stack.pop()  # the arguments; the object has the name of its class
        elif opcode.name in ("APPEND", "BUILD"):
            stack.pop()
        elif opcode.name == "SETITEM":
            del stack[-2:]
        elif pickletools.markobject in opcode.stack_before:
            del stack[marks.pop() :]
            stack += [None] * (opcode.name == "TUPLE")
        elif opcode.name not in ("PROTO", "STOP"):
            taken = len(opcode.stack_before)
            del stack[len(stack) - taken :]
            stack += [None] * len(opcode.stack_after)
        if opcode.name in _ITEMS and stack[-1] is not None:
            found.setdefault(stack[-1], set()).add(_ITEMS[opcode.name])
    return {name: next(iter(kinds)) for name, kinds in found.items() if len(kinds) == 1}


def harmful(name: str) -> bool:
    """Say whether this name in a pickle could be used to run harmful code."""
    if name == _GETATTR:  # `attribute` takes its place
        return False
    module, _, rest = name.partition(".")
    return module in _HARMFUL or (module in ("builtins", "__builtin__") and rest not in _PLAIN)


def load_inert(path: Path, names: Mapping[str, type], map_location: str, mmap: bool) -> Any:
    """Load a file of `torch.save`, with a stand-in for each of the named classes.

    Args:
        path: path of the file.
        names: for each unknown class, what its objects hold: `dict` items by key, `list` items in order, else `object`.
        map_location: device of the tensors.
        mmap: whether to map the file into memory.

    Raises:
        Exception: of many kinds, if the file was not written by torch.save.
    """
    stand_ins: list[Any] = [(attribute if name == _GETATTR else _STAND_INS[kind], name) for name, kind in names.items()]
    with _LOCK, quiet(), torch.serialization.safe_globals(stand_ins):
        return torch.load(path, weights_only=True, map_location=map_location, mmap=mmap)
