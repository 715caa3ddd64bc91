"""Artwork under a random view over a background."""

import numpy as np

from esm_viz.demo import picture_layers
from esm_viz.demo.picture_layers import View

STILL = View(degrees=0, size=(1.0, 1.0), shift=0, stretch=0)


def test_a_still_view_of_full_size_is_the_artwork_averaged_down():
    art = np.kron(np.arange(32 * 32, dtype=np.uint8).reshape(32, 32), np.ones((4, 4), dtype=np.uint8))
    seen = picture_layers.seen(art, STILL, np.random.default_rng(0))
    assert np.abs(seen[1:-1, 1:-1].astype(int) - art[::4, ::4][1:-1, 1:-1]).max() <= 1


def test_what_is_transparent_shows_the_background_and_what_is_opaque_hides_it():
    rgba = np.zeros((32, 32, 4), dtype=np.uint8)
    rgba[:, 16:] = (10, 20, 30, 255)
    picture = picture_layers.laid_over(picture_layers.plain(np.array([200.0, 100.0, 50.0])), rgba)
    assert picture[0, 0].tolist() == [200, 100, 50]
    assert picture[0, -1].tolist() == [10, 20, 30]


def test_a_crop_never_leaves_its_region():
    columns = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (60, 200, 3))
    photo = picture_layers.Image.fromarray(np.ascontiguousarray(columns))
    rng = np.random.default_rng(0)
    for _ in range(50):
        square = picture_layers.crop(photo, rng, (0.5, 0.8), (10, 40))
        assert square.min() >= 100
        assert square.max() < 160


def test_a_colour_over_mid_grey_is_clearly_brighter_or_darker():
    grey = picture_layers.plain(np.full(3, 127.0))
    for seed in range(20):
        colour = picture_layers.contrasting(grey, np.random.default_rng(seed))
        assert abs(colour @ [0.299, 0.587, 0.114] - 127) > 70
