"""The routed tower against a float64 pass by hand, and what no other image of a batch may change."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from esm_viz.core.errors import Cancelled
from esm_viz.families import vision_tower as module
from esm_viz.families.model_families import architecture_of
from esm_viz.families.prototype_routing import Adapters, Router, add_gathered, add_grouped, nearest
from esm_viz.families.routed_tower import RoutedTower, routed_layers
from esm_viz.families.vision_tower import encode
from tests.support.errors import says
from tests.support.tiny import CONFIG, EMBED, base_weights, images, normal, relative
from tests.support.watching import watch_inputs

ARCH, WEIGHTS = architecture_of("", CONFIG), base_weights(1)
TASKS = ("ants", "bees", "cats")
RANK, COUNT = 3, 32
PICTURES = images(COUNT, 5)
SETS = ("in_proj", "c_fc", "c_proj", "out_proj", "in_proj+c_fc", "in_proj+c_fc+c_proj+out_proj")
SAME = 1e-5  # what is asked for; float32 sums in another order differ by 1e-6


def features_at(layer: str) -> Tensor:
    """Return every picture's feature at a layer of the tower without adapters, (n, d_in)."""
    seen: dict[str, Tensor] = {}
    watch_inputs(ARCH.tower(WEIGHTS), ARCH.layers, PICTURES, lambda name, rows: seen.update({name: rows.mean(1)}))
    return seen[layer]


def experts_for(families: str) -> dict[str, Adapters]:
    """Return adapters that change much, with three pictures' features as prototypes, so that all adapters are used."""
    made = {}
    for at, layer in enumerate(routed_layers(ARCH.layers, families)):
        A = normal(3, RANK, layer.d_in, seed=10 + at) * layer.d_in**-0.5
        B = torch.linalg.qr(normal(3, layer.d_out, RANK, seed=30 + at))[0]
        made[layer.name] = Adapters(A, B, features_at(layer.name)[[3, 11, 26]])
    return made


def routed(families: str = "in_proj+c_fc") -> RoutedTower:
    return RoutedTower(ARCH.tower(WEIGHTS), experts_for(families), TASKS)


def run(tower: RoutedTower, pictures: Tensor) -> tuple[Tensor, Tensor]:
    return encode(tower, pictures), tower.take_routes()


# What it computes.


def by_hand(picture: Tensor, adapters: dict[str, Adapters], told: int | None = None) -> tuple[Tensor, list[int]]:
    """Run one picture with nothing but products, softmax and norms in float64, each routed matrix written out."""
    w = {name: tensor.double() for name, tensor in WEIGHTS.items()}
    chosen: list[int] = []

    def matrix(name: str, x: Tensor) -> Tensor:
        if name not in adapters:
            return w[name]
        A, B, prototypes = (part.double() for part in adapters[name])
        t = told if told is not None else int(F.cosine_similarity(x.mean(0)[None], prototypes).argmax())
        chosen.append(t)
        return w[name] + B[t] @ A[t]

    def apply(name: str, x: Tensor, bias: str) -> Tensor:
        return x @ matrix(name, x).mT + w[bias]

    x = F.conv2d(picture.double()[None], w["conv1.weight"], stride=8).flatten(2)[0].mT
    x = torch.cat([w["class_embedding"][None], x]) + w["positional_embedding"]
    x = F.layer_norm(x, (16,), w["ln_pre.weight"], w["ln_pre.bias"])
    for block in range(2):
        at = f"transformer.resblocks.{block}"
        y = F.layer_norm(x, (16,), w[f"{at}.ln_1.weight"], w[f"{at}.ln_1.bias"])
        q, k, v = apply(f"{at}.attn.in_proj_weight", y, f"{at}.attn.in_proj_bias").chunk(3, -1)
        heads = [
            torch.softmax(q[:, s : s + 8] @ k[:, s : s + 8].mT / 8**0.5, -1) @ v[:, s : s + 8] for s in range(0, 16, 8)
        ]
        x = x + apply(f"{at}.attn.out_proj.weight", torch.cat(heads, -1), f"{at}.attn.out_proj.bias")
        y = F.layer_norm(x, (16,), w[f"{at}.ln_2.weight"], w[f"{at}.ln_2.bias"])
        y = apply(f"{at}.mlp.c_fc.weight", y, f"{at}.mlp.c_fc.bias")
        x = x + apply(f"{at}.mlp.c_proj.weight", y * torch.sigmoid(1.702 * y), f"{at}.mlp.c_proj.bias")
    return F.layer_norm(x[0], (16,), w["ln_post.weight"], w["ln_post.bias"]) @ w["proj"], chosen


@pytest.mark.parametrize("families", SETS)
def test_features_and_routes_are_those_of_a_pass_by_hand(families: str) -> None:
    adapters = experts_for(families)
    features, routes = run(routed(families), PICTURES)
    truth = [by_hand(picture, adapters) for picture in PICTURES]
    assert relative(features, torch.stack([each for each, _ in truth])) < 1e-5  # float32 against float64
    assert routes.mT.tolist() == [chosen for _, chosen in truth]
    assert all(len(row.unique()) > 1 for row in routes)  # or choosing would not be tested


@pytest.mark.parametrize("families", SETS)
@pytest.mark.parametrize("task", [0, 2])
def test_an_oracle_sends_every_image_to_one_tasks_experts(families: str, task: int) -> None:
    adapters, tower = experts_for(families), routed(families)
    with tower.sent_to(task):
        features, routes = run(tower, PICTURES[:5])
    truth = torch.stack([by_hand(picture, adapters, task)[0] for picture in PICTURES[:5]])
    assert relative(features, truth) < 1e-5  # float32 against float64
    assert (routes == task).all()


def test_experts_change_the_features_by_far_more_than_the_tolerance() -> None:
    plain, chosen = encode(ARCH.tower(WEIGHTS), PICTURES), run(routed(), PICTURES)[0]
    tower = routed()
    with tower.sent_to(0):
        told = run(tower, PICTURES)[0]
    assert relative(chosen, plain) > 1000 * SAME
    assert relative(chosen, told) > 1000 * SAME


def test_after_an_oracle_images_choose_again_also_after_an_error() -> None:
    tower = routed()
    before = run(tower, PICTURES)
    with says(Cancelled, "stopped, start it again to go on"), tower.sent_to(1):
        raise Cancelled
    after = run(tower, PICTURES)
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_adapters_of_rank_zero_change_nothing() -> None:
    empty = {
        name: Adapters(each.A[:, :0], each.B[:, :, :0], each.prototypes) for name, each in experts_for("c_fc").items()
    }
    tower = RoutedTower(ARCH.tower(WEIGHTS), empty, TASKS)
    features, routes = run(tower, PICTURES)
    assert relative(features, encode(ARCH.tower(WEIGHTS), PICTURES)) < 1e-7  # the same sums
    assert routes.shape == (2, COUNT)


def test_one_task_is_every_images_expert() -> None:
    alone = {name: Adapters(*(part[:1] for part in each)) for name, each in experts_for("in_proj").items()}
    assert not run(RoutedTower(ARCH.tower(WEIGHTS), alone, TASKS[:1]), PICTURES)[1].any()


# What no other image may change.


@pytest.mark.parametrize("families", SETS)
def test_an_image_alone_is_the_image_in_a_batch(families: str) -> None:
    tower = routed(families)
    features, routes = run(tower, PICTURES)
    for at in range(COUNT):
        alone = run(tower, PICTURES[at : at + 1])
        assert relative(alone[0][0], features[at]) < SAME
        assert torch.equal(alone[1][:, 0], routes[:, at])


@pytest.mark.parametrize("families", SETS)
def test_the_place_in_the_batch_does_not_matter(families: str) -> None:
    tower, order = routed(families), torch.randperm(COUNT, generator=torch.Generator().manual_seed(3))
    (features, routes), (turned, turned_routes) = run(tower, PICTURES), run(tower, PICTURES[order])
    assert (turned - features[order]).norm(dim=1).max() < SAME * features.norm(dim=1).min()
    assert torch.equal(turned_routes, routes[:, order])


PADDING: dict[str, Callable[[], Tensor]] = {
    "zeros": lambda: torch.zeros(9, *PICTURES.shape[1:]),
    "one picture many times": lambda: PICTURES[11:12].expand(40, -1, -1, -1),
    "other pictures, very bright": lambda: 100 * images(9, 77),
    "numbers that are none": lambda: torch.full((3, *PICTURES.shape[1:]), torch.nan),
}


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize("families", ["in_proj+c_fc", "in_proj+c_fc+c_proj+out_proj"])
def test_what_fills_up_the_batch_does_not_matter(families: str, padding: str) -> None:
    tower, extra = routed(families), PADDING[padding]()
    features, routes = run(tower, PICTURES)
    padded, padded_routes = run(tower, torch.cat([extra, PICTURES]))
    padded, padded_routes = padded[len(extra) :], padded_routes[:, len(extra) :]
    assert (padded - features).norm(dim=1).max() < SAME * features.norm(dim=1).min()
    assert torch.equal(padded_routes, routes)


def test_the_size_of_batches_does_not_matter_and_routes_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    tower = routed()
    features, routes = run(tower, PICTURES)
    monkeypatch.setattr(module, "BATCH", 5)
    small, small_routes = run(tower, PICTURES)
    assert relative(small, features) < SAME
    assert torch.equal(small_routes, routes)


def test_routes_are_told_once() -> None:
    tower = routed()
    assert tower.take_routes().shape == (4, 0)
    encode(tower, PICTURES[:3])
    encode(tower, PICTURES[3:7])
    assert (tower.take_routes().shape, tower.take_routes().shape) == ((4, 7), (4, 0))
    assert tower.take_routes().dtype == torch.int64


# One layer.


@pytest.mark.parametrize("routes", [[0, 2, 1, 0, 2], [1, 1, 1, 1, 1], [2, 0, 0, 0, 0]])
@pytest.mark.parametrize("add", [add_grouped, add_gathered])
def test_both_ways_add_the_dense_expert_of_each_image(
    add: Callable[[Tensor, Tensor, Adapters, Tensor], None], routes: list[int]
) -> None:
    x, y = normal(5, 4, 6, seed=1), normal(5, 4, 7, seed=2)
    adapters = Adapters(normal(3, 2, 6, seed=3), normal(3, 7, 2, seed=4), normal(3, 6, seed=5))
    truth = torch.stack([y[at] + x[at] @ (adapters.B[t] @ adapters.A[t]).mT for at, t in enumerate(routes)])
    add(x, y, adapters, torch.tensor(routes))
    assert relative(y, truth) < 1e-14  # float64


@pytest.mark.parametrize("add", [add_grouped, add_gathered])
@pytest.mark.parametrize("routes", [[0, 1, 2, 0], [1, 1, 1, 1]])
def test_no_dense_expert_is_ever_made(
    add: Callable[[Tensor, Tensor, Adapters, Tensor], None], routes: list[int]
) -> None:
    d_in, d_out, shapes = 11, 13, []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            shapes.extend(tuple(each.shape) for each in (out if isinstance(out, tuple | list) else [out]))
            return out

    adapters = Adapters(normal(3, 2, d_in, seed=3), normal(3, d_out, 2, seed=4), normal(3, d_in, seed=5))
    with Watch():
        add(normal(4, 5, d_in, seed=1), torch.zeros(4, 5, d_out, dtype=torch.float64), adapters, torch.tensor(routes))
    assert shapes
    assert not [shape for shape in shapes if set(shape[-2:]) == {d_in, d_out}]


def directions(prototypes: Tensor) -> Tensor:
    return Router(
        Adapters(torch.zeros(len(prototypes), 1, 3), torch.zeros(len(prototypes), 2, 1), prototypes)
    ).directions


def test_the_nearest_prototype_is_by_cosine_and_not_by_length() -> None:
    prototypes = torch.tensor([[1.0, 0, 0], [0, 100.0, 0], [0, 0, 1e-30]])
    features = torch.tensor([[0.9, 0.5, 0], [1e-20, 1.1e-20, 0], [1e3, 0, 2e3]], dtype=torch.float64)
    assert nearest(features, directions(prototypes)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("width", [3, 768, 1027])
def test_the_first_of_equal_tasks_wins_wherever_it_stands(width: int) -> None:
    near, far = normal(1, width, seed=1), normal(1, width, seed=2)
    features = near + 0.1 * normal(9, width, seed=3)
    for order, first in (([near, far, near, near], 0), ([far, near, near], 1), ([far, far, far, near, near], 3)):
        units = F.normalize(torch.cat(order), dim=1)
        for size in (1, 4, 9):
            assert nearest(features[:size], units).tolist() == [first] * size


def test_a_prototype_of_zero_is_as_near_as_a_right_angle() -> None:
    prototypes = torch.tensor([[0.0, 0, 0], [1.0, 0, 0]])
    features = torch.tensor([[1.0, 5, 0], [-1.0, 5, 0], [0, 1.0, 0]], dtype=torch.float64)
    assert nearest(features, directions(prototypes)).tolist() == [1, 0, 0]


@pytest.mark.parametrize("bad", [0.0, torch.nan, torch.inf])
def test_a_feature_without_a_direction_still_gets_an_expert(bad: float) -> None:
    prototypes = normal(4, 3, seed=1)
    features = torch.cat([torch.full((2, 3), bad, dtype=torch.float64), prototypes[2:3]])
    found = nearest(features, directions(prototypes)).tolist()
    assert found[2] == 2
    assert all(0 <= each < 4 for each in found)


def test_layers_come_as_the_tower_runs_them() -> None:
    found = routed_layers(ARCH.layers, "c_proj+in_proj+out_proj+c_fc")
    seen: list[str] = []
    watch_inputs(ARCH.tower(WEIGHTS), ARCH.layers, PICTURES[:1], lambda name, rows: seen.append(name))
    assert [layer.name for layer in found] == seen
    assert [layer.family for layer in routed_layers(ARCH.layers, "in_proj+c_fc")] == ["in_proj", "c_fc"] * 2


def test_parameters_are_counted() -> None:
    tower = routed("c_fc")
    assert tower.base_parameters == sum(tensor.numel() for tensor in WEIGHTS.values())
    # two c_fc of 64 x 16, three tasks: A 3 x 16, B 64 x 3, prototype 16
    assert tower.adapter_parameters == 2 * 3 * (3 * 16 + 64 * 3 + 16)
    assert (tower.layers, tower.tasks) == (tuple(experts_for("c_fc")), TASKS)


def test_the_shape_of_features_is_the_plain_towers() -> None:
    assert run(routed(), PICTURES[:2])[0].shape == (2, EMBED)
