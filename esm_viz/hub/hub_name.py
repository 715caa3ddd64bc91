"""Names on a hub as a recipe writes them, read strictly into frozen records.

| what | written as |
|---|---|
| a model or an adapter | `hf://OWNER/NAME[@REVISION][/FILE]` |
| images of a data set | `hf://datasets/OWNER/NAME[@REVISION][:CONFIG]/SPLIT` |
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import NoReturn

from esm_viz.core.errors import HubError
from esm_viz.core.recipe import HUB, shown

LONGEST = 500  # characters of a whole name
MODEL_FORM = f"{HUB}OWNER/NAME[@REVISION][/FILE]"
DATASET_FORM = f"{HUB}datasets/OWNER/NAME[@REVISION][:CONFIG]/SPLIT"
_DATASETS = "datasets/"
_OTHER_KINDS = ("datasets", "models", "spaces", "kernels", "buckets")  # are no owners
_WORD = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_-])?"  # of an owner, a repository, a configuration, a split
_REVISION = (
    r"refs/convert/[a-z]{1,20}|refs/pr/[0-9]{1,9}|(?!refs(?:[/:]|$))[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,98}[A-Za-z0-9_-])?"
)
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}"  # of a file's path
_MODEL = re.compile(rf"({_WORD})/({_WORD})(?:@({_REVISION}))?(?:/({_PART}(?:/{_PART})*))?")
_DATASET = re.compile(rf"({_WORD})/({_WORD})(?:@({_REVISION}))?(?::({_WORD}))?/({_WORD})")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class ModelName:
    """The name of a model or an adapter.

    Attributes:
        owner, name: the repository.
        revision: a branch, tag or commit; empty for the repository's main branch.
        file: path of the weights in the repository; empty for its usual one.
    """

    owner: str
    name: str
    revision: str = ""
    file: str = ""

    kind = "model"

    @property
    def repository(self) -> str:
        """Return OWNER/NAME."""
        return f"{self.owner}/{self.name}"

    @property
    def written(self) -> str:
        """Return the name as a recipe writes it."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{HUB}{self.repository}{revision}{f'/{self.file}' if self.file else ''}"


@dataclass(frozen=True, slots=True)
class DatasetName:
    """The name of one split of a data set.

    Attributes:
        owner, name: the repository.
        split: name of the split: train, test and so on.
        revision: a branch, tag or commit; empty for the repository's main branch.
        config: configuration of the data set; empty for its only or default one.
    """

    owner: str
    name: str
    split: str
    revision: str = ""
    config: str = ""

    kind = "dataset"

    @property
    def repository(self) -> str:
        """Return OWNER/NAME."""
        return f"{self.owner}/{self.name}"

    @property
    def written(self) -> str:
        """Return the name as a recipe writes it."""
        revision = f"@{self.revision}" if self.revision else ""
        config = f":{self.config}" if self.config else ""
        return f"{HUB}{_DATASETS}{self.repository}{revision}{config}/{self.split}"


HubName = ModelName | DatasetName


def parse_name(text: str) -> HubName:
    """Read a name on a hub.

    Args:
        text: the name, with `hf://` in front.

    Raises:
        HubError: it is not of one of the two forms, or holds characters or parts that no repository has.
    """
    if not text.startswith(HUB):
        _refuse(text, MODEL_FORM)
    bare = text.removeprefix(HUB)
    is_dataset = bare.startswith(_DATASETS)
    form = DATASET_FORM if is_dataset else MODEL_FORM
    if len(text) > LONGEST or ".." in text:
        _refuse(text, form)
    if is_dataset:
        match = _DATASET.fullmatch(bare.removeprefix(_DATASETS))
        if match is None:
            _refuse(text, form)
        owner, name, revision, config, split = match.groups(default="")
        return DatasetName(_checked(owner, text), _checked(name, text), split, revision, config)
    match = _MODEL.fullmatch(bare)
    if match is None or bare.split("/")[0] in _OTHER_KINDS:
        _refuse(text, form)
    owner, name, revision, file = match.groups(default="")
    return ModelName(_checked(owner, text), _checked(name, text), revision, file)


def parse_model(text: str) -> ModelName:
    """Read the name of a model.

    Raises:
        HubError: it is no name of a model.
    """
    name = parse_name(text)
    if not isinstance(name, ModelName):
        raise HubError("a data set has no weights", f"give a model: {MODEL_FORM}", one_name(text))
    return name


def parse_dataset(text: str) -> DatasetName:
    """Read the name of a data set's split.

    Raises:
        HubError: it is no name of a data set's split.
    """
    name = parse_name(text)
    if not isinstance(name, DatasetName):
        raise HubError("a model has no images", f"give a data set: {DATASET_FORM}", one_name(text))
    return name


def is_commit(revision: str) -> bool:
    """Say whether a revision is a whole commit, which never changes."""
    return bool(_COMMIT.fullmatch(revision))


def at_commit(name: HubName, commit: str, config: str = "") -> HubName:
    """Return a name pinned to a commit.

    Args:
        name: the name.
        commit: 40 hexadecimal digits.
        config: of a data set, the configuration that was found.
    """
    if isinstance(name, DatasetName):
        return dataclasses.replace(name, revision=commit, config=config or name.config)
    return dataclasses.replace(name, revision=commit)


def one_name(text: str) -> str:
    """Return a name for an error's sentence, cut where it is long."""
    return text if text.isprintable() and len(text) <= 120 else shown(text)


def _checked(word: str, text: str) -> str:
    if "--" in word:  # the cache joins owner and name by it
        _refuse(text, MODEL_FORM)
    return word


def _refuse(text: str, form: str) -> NoReturn:
    raise HubError(f"{one_name(text)} is no name on a hub", f"write {form}")
