"""Files that hold a remote model's header and no weights, so that it can be judged before it is downloaded.

A header is read by range requests and written into a file of the whole file's size, whose other bytes are a hole: it
takes no space on the disk. Its configs are downloaded, since they are small. Such files are for verdicts alone: their
tensors have names, types and shapes, and no numbers.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from esm_viz.checkpoints.weight_files import INDEX, MOST_JSON, SUFFIXES
from esm_viz.core.errors import HubError
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.hub.byte_range import read_range
from esm_viz.hub.download_plan import NO_NAMES, DownloadPlan, PlannedName
from esm_viz.hub.file_download import fetch_file, in_cache, link_or_copy
from esm_viz.hub.hub_name import ModelName
from esm_viz.hub.recipe_names import planned
from esm_viz.hub.torch_zip_header import read_zip_header

_FIRST = 40_000  # bytes of the first request, which hold the whole header of most fine-tunes
_MOST_HEADER = 25_000_000  # bytes


@contextmanager
def with_headers(recipe: Recipe, plan: DownloadPlan, progress: Progress = NO_PROGRESS) -> Iterator[Recipe]:
    """Yield a recipe whose remote models can be judged; its files are deleted at the end of the block.

    Models and images that are in the cache are used as they are.

    Args:
        recipe: a recipe with the commits of the plan.
        plan: its names with their files.
        progress: progress, may raise Cancelled.

    Raises:
        HubError: a header cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="esm_viz-headers-") as made:
        yield with_headers_in(Path(made), recipe, plan, progress)


def with_headers_in(folder: Path, recipe: Recipe, plan: DownloadPlan, progress: Progress = NO_PROGRESS) -> Recipe:
    """Return a recipe whose remote models can be judged, as `with_headers`, as long as a folder exists.

    Args:
        folder: an empty folder, in which the headers are written.
        recipe: a recipe with the commits of the plan.
        plan: its names with their files.
        progress: progress, may raise Cancelled.

    Raises:
        HubError: a header cannot be read.
    """
    places: dict[str, Path] = {}
    for at, name in enumerate(plan.names):
        progress(at / len(plan.names), f"reading the header of {name.listing.repository}")
        if not name.missing:
            places |= in_cache(DownloadPlan((name,)))
        elif isinstance(name.pinned, ModelName):
            places[name.pinned.written] = header_file(name, folder / str(at))
    return recipe.replace(downloaded={**recipe.downloaded, **places})


@contextmanager
def judgeable(recipe: Recipe, progress: Progress = NO_PROGRESS) -> Iterator[tuple[Recipe, DownloadPlan]]:
    """Yield a recipe whose names are resolved and whose remote models can be judged, and what is to be downloaded.

    A recipe without names comes back as it is.

    Args:
        recipe: the recipe.
        progress: progress, may raise Cancelled.

    Raises:
        HubError: a name is wrong, cannot be resolved, or its header cannot be read.
    """
    if not recipe.names:
        yield recipe, NO_NAMES
        return
    pinned, plan = planned(recipe, progress.part(0.0, 0.4))
    with with_headers(pinned, plan, progress.part(0.4, 1.0)) as located:
        yield located, plan


def header_file(name: PlannedName, folder: Path) -> Path:
    """Write a remote model's header and its configs into a folder.

    Args:
        name: the model.
        folder: a new folder.

    Returns:
        The path of its weights, or of its list of shards, in that folder.

    Raises:
        HubError: the header cannot be read.
    """
    folder.mkdir()
    for file in name.needed.files:
        target = folder / PurePosixPath(file.path).name
        cached = name.cached(file.path)
        if cached is None and file.path.endswith(".json"):
            if file.size > MOST_JSON:
                raise HubError(f"{file.path} is absurdly large", "use another revision", name.written)
            cached = fetch_file(name, file.path)
        if cached is not None:
            _copy(cached, target)
        elif file.path.lower().endswith(SUFFIXES[0]):
            _write_with_hole(target, file.size, [(0, _safetensors_header(name, file.path))])
        else:
            _write_with_hole(target, file.size, read_zip_header(name, file))
    return folder / PurePosixPath(name.needed.weights).name


def _copy(source: Path, target: Path) -> None:
    """Copy a config; a file of weights in the cache is linked instead."""
    if source.name.endswith((".json", INDEX)):
        shutil.copyfile(source, target)
    else:
        link_or_copy(source.resolve(), target)


def _safetensors_header(name: PlannedName, path: str) -> bytes:
    """Return the first bytes of a safetensors file: the length of its header, and the header."""
    first = read_range(name, path, 0, _FIRST)
    length = int.from_bytes(first[:8], "little")
    if len(first) < 8 or length > _MOST_HEADER:
        return first  # the reader of the file says what is wrong
    if 8 + length > len(first):
        first += read_range(name, path, len(first), 8 + length - len(first))
    return first[: 8 + length]


def _write_with_hole(target: Path, size: int, parts: Iterable[tuple[int, bytes]]) -> None:
    """Write a file of a size that holds some parts at their positions; the rest is a hole, read as zeros."""
    with target.open("wb") as file:
        file.truncate(size)
        for start, part in parts:
            file.seek(start)
            file.write(part[: max(size - start, 0)])
