"""Which files of a repository are needed: weights, the configs beside them, or the tables of one split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from esm_viz.checkpoints.weight_files import INDEX, SUFFIXES
from esm_viz.core.errors import HubError
from esm_viz.hub.hub_name import DatasetName, ModelName
from esm_viz.hub.repository_listing import Listing, RepositoryFile

WEIGHTS = (
    *("model.safetensors", f"model.safetensors{INDEX}", "open_clip_model.safetensors"),
    *("pytorch_model.bin", f"pytorch_model.bin{INDEX}", "open_clip_pytorch_model.bin"),
    *("adapter_model.safetensors", "adapter_model.bin"),
)
"""Usual names of a repository's weights, in the order in which they are looked for."""
CONFIGS = ("config.json", "open_clip_config.json", "adapter_config.json", "preprocessor_config.json")
_PROCESSOR = "processor_config.json"  # of newer libraries, in place of preprocessor_config.json
_TRAINING = re.compile(r"(optimizer|scheduler|scaler|training_args|trainer_state|rng_state|random_states)")
_DEFAULT = "default"
_PARQUET = ".parquet"


@dataclass(frozen=True, slots=True)
class NeededFiles:
    """The files of one name.

    Attributes:
        files: what is needed, configs first.
        weights: path of a model's weights, or of their list of shards; empty for a data set.
        config: a data set's configuration; empty for a model.
    """

    files: tuple[RepositoryFile, ...]
    weights: str = ""
    config: str = ""


def files_of_model(name: ModelName, listing: Listing) -> NeededFiles:
    """Return the files of a model: its weights, safetensors before others, their shards, and the configs beside them.

    Raises:
        HubError: the repository has no such file, no weights, or several without saying which is the model.
    """
    sizes = listing.sizes()
    weights = name.file or _usual_weights(name, sizes)
    if weights not in sizes:
        raise HubError(f"the repository has no file {weights}", "check the name of the file", name.written)
    if not weights.lower().endswith((*SUFFIXES, INDEX)):
        raise HubError(f"{weights} is no file of weights", f"give {', '.join(SUFFIXES)}", name.written)
    folder = PurePosixPath(weights).parent
    beside = [str(folder / config) for config in CONFIGS if str(folder / config) in sizes]
    if str(folder / CONFIGS[-1]) not in sizes and str(folder / _PROCESSOR) in sizes:
        beside.append(str(folder / _PROCESSOR))
    shards = _shards(weights, sizes) if weights.endswith(INDEX) else []
    if weights.endswith(INDEX) and not shards:
        raise HubError(f"the shards that {weights} lists are missing", "use another revision", name.written)
    return NeededFiles(tuple(RepositoryFile(path, sizes[path]) for path in (*beside, weights, *shards)), weights)


def tables_of_split(name: DatasetName, listing: Listing) -> NeededFiles | None:
    """Return the parquet files of a data set's split; None if the repository has none in this format.

    The data set's card says which files a split has; without such words, the paths themselves do:
    CONFIG/SPLIT/NUMBER.parquet, or files that are named by their split.

    Raises:
        HubError: there are several configurations, or none of this name, or no such split.
    """
    sizes = listing.sizes()
    tables = [path for path in sizes if path.lower().endswith(_PARQUET)]
    if not tables:
        return None
    known = _by_card(listing, tables) or _by_path(tables)
    configs = sorted({config for config, _ in known})
    chosen = name.config or (configs[0] if len(configs) == 1 else _DEFAULT)
    if chosen not in configs:
        some = ", ".join(configs[:5])
        wrong = f"the data set has no configuration {chosen}" if name.config else "the data set has configurations"
        raise HubError(wrong, f"write :CONFIG before /{name.split}, one of {some}", name.written)
    found = known.get((chosen, name.split), [])
    if not found:
        splits = ", ".join(sorted(split for config, split in known if config == chosen)[:5])
        raise HubError(f"the data set has no split {name.split}", f"give one of {splits}", name.written)
    return NeededFiles(tuple(RepositoryFile(path, sizes[path]) for path in sorted(found)), config=chosen)


def _usual_weights(name: ModelName, sizes: dict[str, int]) -> str:
    """Return the path of a repository's own weights."""
    usual = next((path for path in WEIGHTS if path in sizes), "")
    if usual:
        return usual
    top = [path for path in sizes if "/" not in path and path.lower().endswith(SUFFIXES) and not _TRAINING.match(path)]
    safe = [path for path in top if path.lower().endswith(SUFFIXES[0])]
    found = safe or top
    if not found:
        raise HubError("the repository has no weights", "name a model, or a file of one: OWNER/NAME/FILE", name.written)
    if len(found) > 1:
        some = ", ".join(found[:3])
        raise HubError(
            f"the repository has {len(found)} files of weights ({some})", "name one: OWNER/NAME/FILE", name.written
        )
    return found[0]


def _shards(index: str, sizes: dict[str, int]) -> list[str]:
    """Return the shards beside a list of shards, by their usual names."""
    stem, _, suffix = index.removesuffix(INDEX).rpartition(".")
    shard = re.compile(rf"{re.escape(stem)}-\d+-of-\d+\.{re.escape(suffix)}")
    return [path for path in sizes if shard.fullmatch(path)]


def _by_card(listing: Listing, tables: list[str]) -> dict[tuple[str, str], list[str]]:
    """Return the tables of each configuration and split that the card names."""
    found: dict[tuple[str, str], list[str]] = {}
    for entry in listing.splits:
        fitting = [path for path in tables if fnmatchcase(path, entry.pattern.removeprefix("./"))]
        if fitting:
            found.setdefault((entry.config, entry.split), []).extend(fitting)
    return found


def _by_path(tables: list[str]) -> dict[tuple[str, str], list[str]]:
    """Return the tables of each configuration and split, as their paths say."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in tables:
        parts = PurePosixPath(path).parts
        numbered = re.fullmatch(r"\d+", PurePosixPath(path).stem)
        if numbered and len(parts) >= 2:  # as a hub writes what it converts
            key = (parts[-3] if len(parts) >= 3 and parts[-3] != "data" else _DEFAULT, parts[-2])
        else:
            config = parts[-2] if len(parts) >= 2 and parts[-2] != "data" else _DEFAULT
            key = (config, re.split(r"-\d|\.", parts[-1])[0])
        found.setdefault(key, []).append(path)
    return found
