"""Pictures with words, far from the tasks: icons and emoji by their names. What a CLIP reads before it meets a task."""

from __future__ import annotations

import numpy as np

from esm_viz.demo import artwork, picture_layers
from esm_viz.demo.labelled_pictures import Bytes, Captioned
from esm_viz.demo.package_sources import Sources
from esm_viz.demo.picture_layers import Random, View

TASK_GROUPS = ("animal-", "food-", "drink", "country-flag", "subdivision-flag", "flag")  # left to the tasks


def draw_captioned(sources: Sources, seed: int) -> Captioned:
    """Every icon once in one colour, every emoji once by each vendor, over plain backgrounds."""
    rng = np.random.default_rng([seed, *b"captions"])
    pairs = [(_icon(mask, rng), f"an icon of {name}") for name, mask in artwork.icons(sources)]
    view = View(degrees=15, size=(0.7, 1.0))
    for row in artwork.emoji_table(sources):
        if not row["subcategory"].startswith(TASK_GROUPS):
            for picture in artwork.emoji_pictures(sources, row):
                backed = picture_layers.laid_over(
                    picture_layers.plain(rng.uniform(0, 255, 3)), picture_layers.seen(picture, view, rng)
                )
                pairs.append((picture_layers.finished(backed, rng), f"an emoji of {artwork.emoji_name(row)}"))
    return Captioned(np.stack([image for image, _ in pairs]), [caption for _, caption in pairs])


def _icon(mask: Bytes, rng: Random) -> Bytes:
    background = picture_layers.plain(rng.uniform(0, 255, 3))
    colour = picture_layers.contrasting(background, rng)
    picture = picture_layers.painted(background, picture_layers.seen(mask, View(size=(0.75, 1.05)), rng), colour)
    return picture_layers.finished(picture, rng)
