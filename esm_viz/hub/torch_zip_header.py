"""The header of a remote zip of torch.save: its directory, its pickle of names and shapes, and its records' starts.

The directory is at the end of the file, the pickle at its begin. The numbers of each tensor follow a few bytes of their
own, which are made again from the directory: torch aligns the numbers, so their length is known.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator

from esm_viz.core.errors import HubError
from esm_viz.hub.byte_range import read_range
from esm_viz.hub.download_plan import PlannedName
from esm_viz.hub.repository_listing import RepositoryFile

_BLOCK = 65_536  # bytes of one request
_MOST_READ = 16_000_000  # bytes in all
_ALIGNED = 64  # bytes to which torch aligns numbers
_LOCAL = struct.Struct("<IHHHHHIIIHH")  # a record's own header
_SIGNATURE = 0x04034B50
_LONG = 0xFFFFFFFF  # in place of a number of more than 32 bits


def read_zip_header(name: PlannedName, file: RepositoryFile) -> list[tuple[int, bytes]]:
    """Return the parts of a zip of torch.save that say what is in it, with their positions; later ones count.

    Args:
        name: the name that needs the file.
        file: the file in its repository.

    Raises:
        HubError: it is no such zip, so its header cannot be read from a distance.
    """
    remote = _RemoteFile(name, file)
    try:
        with zipfile.ZipFile(io.BufferedReader(remote, _BLOCK)) as archive:
            records = archive.infolist()
            for record in records:
                if record.file_size < _BLOCK and not record.filename.rpartition("/")[0].endswith("/data"):
                    archive.read(record)
            for record in records:
                if record.filename.endswith("/data.pkl"):
                    archive.read(record)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        wrong = f"{file.path} is a pickle of an old form, whose names cannot be read from a distance"
        raise HubError(wrong, "download it first, or name a revision with safetensors", name.written) from error
    return [*_local_headers(records), *remote.read_parts.items()]


class _RemoteFile(io.RawIOBase):
    """A file of a repository, read in blocks by range requests."""

    def __init__(self, name: PlannedName, file: RepositoryFile) -> None:
        super().__init__()
        self._name, self._file, self._at = name, file, 0
        self.read_parts: dict[int, bytes] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        if self._at < 0:
            raise OSError("before the begin of the file")
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # a memoryview is all that asks
        start = self._at // _BLOCK * _BLOCK
        if start not in self.read_parts and start < self._file.size:
            if len(self.read_parts) * _BLOCK > _MOST_READ:
                raise OSError("too many parts of the file are read")
            count = min(_BLOCK, self._file.size - start)
            self.read_parts[start] = read_range(self._name, self._file.path, start, count)
        piece = self.read_parts.get(start, b"")[self._at - start :][: len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def _local_headers(records: list[zipfile.ZipInfo]) -> Iterator[tuple[int, bytes]]:
    """Yield each record's own header as torch writes it, by its position."""
    for record in records:
        if record.header_offset < 0:  # a directory may say anything
            continue
        name = record.filename.encode(errors="replace")
        long = record.file_size >= _LONG or record.header_offset >= _LONG
        fixed = record.header_offset + _LOCAL.size + len(name) + 4  # the last four begin the padding
        if long:
            fixed += 4 + 8 * (2 * (record.file_size >= _LONG) + (record.header_offset >= _LONG))
        padding = -fixed % _ALIGNED
        extra = fixed - record.header_offset - _LOCAL.size - len(name) + padding
        size = min(record.file_size, _LONG)
        parts = (_SIGNATURE, 20, record.flag_bits, record.compress_type, 0, 0, record.CRC, size, size, len(name), extra)
        yield record.header_offset, _LOCAL.pack(*parts) + name + b"FB" + struct.pack("<H", max(extra - 4, 0))
