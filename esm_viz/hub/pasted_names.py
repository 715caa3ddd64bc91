"""Names as people paste them: OWNER/NAME, a link to a hub's page, or an owner with a pattern; one a line.

After a model's name a line may give its images: `proxies=`, `validation=` or `test=` with OWNER/NAME[:CONFIG]/SPLIT.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from urllib.parse import unquote, urlsplit

from huggingface_hub import HfApi, constants

from esm_viz.core.errors import HubError
from esm_viz.core.recipe import HUB
from esm_viz.hub.hub_errors import readable, told
from esm_viz.hub.hub_name import ModelName, one_name, parse_dataset, parse_model

IMAGES = ("proxies", "validation", "test")
MOST_MODELS = 64
LONGEST_TEXT = 20_000  # characters
_MOST_LISTED = 2000  # repositories of one owner that a pattern looks at
_PATTERN = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,95})/([A-Za-z0-9_.*?-]{1,96})")


@dataclass(frozen=True, slots=True)
class PastedModel:
    """A model's name, with the names of its images by their part in a recipe."""

    name: ModelName
    images: dict[str, str] = field(default_factory=dict)


def pasted_model(text: str) -> ModelName:
    """Read one model's name: with or without `hf://`, or a link to its page or to one of its files.

    Raises:
        HubError: it is none of these.
    """
    word = text.strip()
    return parse_model(_from_link(word) if "://" in word and not word.startswith(HUB) else _with_scheme(word))


def pasted_models(text: str) -> tuple[PastedModel, ...]:
    """Read models' names, one a line; a hub is asked only about patterns. Empty lines and those with # are left out.

    Raises:
        HubError: a line is wrong, a pattern fits nothing, or there are no or too many names.
    """
    if len(text) > LONGEST_TEXT:
        raise HubError("there are too many names", f"give at most {MOST_MODELS} models")
    found: dict[str, PastedModel] = {}
    for line in filter(None, (line.partition("#")[0].split() for line in text.replace(",", "\n").splitlines())):
        images = dict(map(_images, line[1:]))
        for name in _models_of(line[0]):
            found.setdefault(name.written, PastedModel(name, images))
    if not found or len(found) > MOST_MODELS:
        what = "there is no name" if not found else f"there are {len(found)} names"
        raise HubError(what, f"give 1 to {MOST_MODELS} models, one a line")
    return tuple(found.values())


def _models_of(word: str) -> Iterable[ModelName]:
    bare = word.removeprefix(HUB)
    return _fitting(bare) if "*" in bare or ("?" in bare and "://" not in bare) else (pasted_model(word),)


def _fitting(pattern: str) -> list[ModelName]:
    """Return the models of an owner whose names fit a pattern, sorted.

    Raises:
        HubError: it is no owner with a pattern, or nothing fits.
    """
    match = _PATTERN.fullmatch(pattern)
    if match is None:
        raise HubError(f"{one_name(pattern)} is no pattern", "write OWNER/PATTERN, with * for any characters")
    owner, wanted = match.groups()
    known = max(re.split(r"[*?]", wanted), key=len)
    with readable(pattern), told(pattern):
        listed = [each.id for each in HfApi().list_models(author=owner, search=known or None, limit=_MOST_LISTED)]
    names = sorted(each for each in listed if fnmatchcase(each, f"{owner}/{wanted}"))
    if not names:
        raise HubError("no model fits this pattern", "check the owner and the pattern", pattern)
    return [parse_model(f"{HUB}{name}") for name in names]


def _images(word: str) -> tuple[str, str]:
    """Return the part of a recipe and the name of the images that one word gives."""
    key, equals, value = word.partition("=")
    if key not in IMAGES or not equals:
        raise HubError(f"{one_name(word)} is no name of images", f"write {IMAGES[0]}=OWNER/NAME/SPLIT", "after a model")
    bare = value.removeprefix(HUB).removeprefix("datasets/")
    return key, parse_dataset(f"{HUB}datasets/{bare}").written


def _with_scheme(word: str) -> str:
    return word if word.startswith(HUB) else f"{HUB}{word}"


def _from_link(link: str) -> str:
    """Return the name that a link to a hub's page stands for.

    Raises:
        HubError: it leads to another host.
    """
    parts = urlsplit(link)
    hosts = {*constants.HF_URL_HOSTS, urlsplit(constants.ENDPOINT).hostname}
    if parts.scheme not in ("http", "https") or parts.hostname not in hosts:
        raise HubError(f"{one_name(link)} is no page of the hub", "give OWNER/NAME, or a link to its page")
    path = [unquote(part) for part in parts.path.strip("/").split("/")]
    if len(path) > 3 and path[2] in ("tree", "blob", "resolve"):
        path = [path[0], "/".join((f"{path[1]}@{path[3]}", *path[4:]))]
    return f"{HUB}{'/'.join(path)}"
