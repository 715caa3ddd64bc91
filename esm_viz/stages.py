"""The stages of a merge, each run once per distinct input: from files to moments, decompositions and merged layers.

| stage | per | key: digests of its files, and |
|---|---|---|
| delta | task, parameter | |
| moments | task | proxies drawn |
| decomposition | task, layer | proxies drawn |
| basis, coordinates, product (a method's own) | layer | the knobs each one names |
| merged | layer or parameter | the knobs `merge_layer` names |
| cutoff | task | the share of entries that a method keeps |
| shift | task, layer | proxies drawn |
| pulls | layer | proxies drawn, and the knobs `merge_layer` names |

The inter-layer level and α are numbers a layer and cost nothing: they act after `merged`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from esm_viz.cache import StageCache
from esm_viz.data.images import draw
from esm_viz.errors import ImagesError, NumericsError, located
from esm_viz.merge.averaging import mean_delta
from esm_viz.merge.registry import METHODS, LayerUpdate, Memo
from esm_viz.models.tower import ESSENTIAL, watch_inputs
from esm_viz.numerics.decompose import Decomposition, Moment, esd, svd_basis
from esm_viz.numerics.interference import Pull, Shift, pull, shift
from esm_viz.numerics.moments import MomentSum
from esm_viz.numerics.scaling import relative_power
from esm_viz.numerics.selection import magnitude_cutoff
from esm_viz.opening import MOST_PROXIES, Headers
from esm_viz.recipe import ModelEntry, Recipe
from esm_viz.types import Layer, Report, Stage, silent

T = TypeVar("T")


class Merged(NamedTuple):
    """A merged parameter before the inter-layer level and α: ΔW, float64, and ‖ΔW‖_F."""

    delta: Tensor
    norm: Tensor


@dataclass(frozen=True)
class Stages:
    """All stages over one set of opened files.

    Attributes:
        headers: the opened files.
        digests: SHA-256 by path as the recipe writes it.
        device: where tensors live.
        cache: shared by all who may see these files.
    """

    headers: Headers
    digests: Mapping[str, str]
    device: str
    cache: StageCache

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Return the matrices ESM treats by name."""
        return self.headers.arch.layers

    @cached_property
    def others(self) -> tuple[str, ...]:
        """Return every other parameter of the tower."""
        named = {layer.name for layer in self.layers}
        return tuple(name for name in self.headers.arch.shapes if name not in named)

    def files(self, recipe: Recipe, task: str) -> tuple[str, str]:
        """Return the digests a task's change depends on."""
        return self.digests[recipe.base], self.digests[_entry(recipe, task).path]

    def delta(self, recipe: Recipe, task: str, name: str) -> Tensor:
        """Return ΔW_t = W_t − W_0 of one parameter, float64, without the task's weight."""

        def compute() -> Tensor:
            sides = (self.headers.experts[task], self.headers.base)
            tuned, base = (side.tensors([name], torch.float64)[name].to(self.device) for side in sides)
            return tuned - base

        return self.cache.get(("delta", *self.files(recipe, task), name, self.device), compute)

    def proxies(self, recipe: Recipe, task: str) -> Tensor:
        """Return a task's preprocessed proxies, at most 32, drawn by the recipe's seed."""
        listed = self.headers.proxies.get(task)
        if listed is None:
            raise ImagesError(f"{task} has no proxies", "give up to 32 unlabelled images of it in the recipe")
        return listed.load(draw(listed.count, MOST_PROXIES, recipe.seed))

    def proxy_key(self, recipe: Recipe, task: str) -> tuple[Hashable, ...]:
        """Return what shapes the moments besides the weights: architecture, proxies, and the seed where it decides."""
        listed = self.headers.proxies.get(task)
        drawn = recipe.seed if listed is not None and listed.count > MOST_PROXIES else None
        path = _entry(recipe, task).proxies
        return recipe.arch, self.digests[path] if path else "", drawn

    def moments(self, recipe: Recipe, task: str) -> Mapping[str, Moment]:
        """Return the second moment of every layer's input in the fine-tuned model, by layer name."""

        def compute() -> Mapping[str, Moment]:
            arch = self.headers.arch
            weights = self.headers.experts[task].tensors(arch.shapes, torch.float32)
            tower = arch.tower({name: tensor.to(self.device) for name, tensor in weights.items()})
            like = torch.zeros((), dtype=torch.float64, device=self.device)
            sums = {layer.name: MomentSum(layer.d_in, like) for layer in self.layers}
            watch_inputs(tower, self.layers, self.proxies(recipe, task), lambda name, rows: sums[name].add(rows))
            return {name: total.moment() for name, total in sums.items()}

        digest = self.digests[_entry(recipe, task).path]
        return self.cache.get(("moments", digest, *self.proxy_key(recipe, task), self.device), compute)

    def decomposition(self, recipe: Recipe, task: str, layer: Layer) -> Decomposition:
        """Return the ESD of a task's change at a layer, at full useful rank."""
        key = ("esd", *self.files(recipe, task), *self.proxy_key(recipe, task), layer.name, self.device)
        return self.cache.get(
            key, lambda: esd(self.delta(recipe, task, layer.name), self.moments(recipe, task)[layer.name])
        )

    def svd(self, recipe: Recipe, task: str, layer: Layer) -> Decomposition:
        """Return the left singular vectors and squared singular values of a task's change at a layer."""
        key = ("svd", *self.files(recipe, task), layer.name, self.device)
        return self.cache.get(key, lambda: svd_basis(self.delta(recipe, task, layer.name)))

    def cutoff(self, recipe: Recipe, task: str, share: float) -> float:
        """Return the magnitude from which on entries belong to the largest `share` of a task's whole change.

        Over every parameter of the tower, without the task's weight; the change is read once for each pass.
        """
        shapes = self.headers.arch.shapes
        entries = sum(math.prod(shape) for shape in shapes.values())
        key = ("cutoff", *self.files(recipe, task), share, self.device)

        def compute() -> float:
            return magnitude_cutoff(lambda: (self.delta(recipe, task, name) for name in shapes), entries, share)

        return self.cache.get(key, compute)

    def updates(self, recipe: Recipe, name: str, layer: Layer | None) -> list[LayerUpdate]:
        """Return the tasks' changes of one parameter in the recipe's order, their tensors not yet made."""
        shape = self.headers.arch.shapes[name]
        made = []
        for model in recipe.models:
            delta = _later(self.delta, recipe, model.name, name)
            moment = _later(lambda task, at=name: self.moments(recipe, task)[at], model.name) if layer else None
            essential = layer is not None and layer.family in ESSENTIAL
            decomposition = _later(self.decomposition, recipe, model.name, layer) if essential else None
            cutoff = partial(self.cutoff, recipe, model.name)
            made.append(LayerUpdate((shape[0], shape[-1]), delta, moment, decomposition, model.weight, cutoff))
        return made

    def merged(self, recipe: Recipe, name: str, layer: Layer | None = None) -> Merged:
        """Return one merged parameter, before the inter-layer level and α.

        Raises:
            NumericsError: the merge is not finite, or a rank is impossible.
        """
        method = METHODS[recipe.method]
        arguments = method.arguments(recipe.parameters)
        matrix = len(self.headers.arch.shapes[name]) == 2
        knobs = tuple(sorted(arguments.items())) if matrix else ()
        key = ("merged", recipe.method if matrix else "averaging", knobs, *self._identity(recipe, name))

        def compute() -> Merged:
            updates = self.updates(recipe, name, layer)
            with located(f"at {name}"):
                delta = (
                    method.merge_layer(updates, self.memo(recipe, name), **arguments) if matrix else mean_delta(updates)
                )
                norm = torch.linalg.vector_norm(delta)
                if not torch.isfinite(norm):
                    raise NumericsError("the merged change is not finite", "look for extreme weights or exponents")
            return Merged(delta, norm)

        return self.cache.get(key, compute)

    def effects(self, recipe: Recipe) -> dict[str, tuple[float, float]]:
        """Return what every knob's formula makes now over all layers, (least, most)."""
        method = METHODS[recipe.method]
        spans: dict[str, list[float]] = {}
        if method.live is not None:
            for layer in self.layers:
                updates = self.updates(recipe, layer.name, layer)
                arguments = method.arguments(recipe.parameters)
                for name, span in method.live(updates, self.memo(recipe, layer.name), **arguments).items():
                    spans.setdefault(name, []).extend(span)
        if "layer_exponent" in method.knobs:
            spans["layer_exponent"] = list(self.layer_factors(recipe).values())
        return {name: (min(span), max(span)) for name, span in spans.items()}

    def memo(self, recipe: Recipe, name: str) -> Memo:
        """Return a method's memo for one parameter."""

        def remember(stage: Stage, knobs: tuple[Hashable, ...], compute: Callable[[], T]) -> T:
            return self.cache.get((recipe.method, stage, knobs, *self._identity(recipe, name)), compute)

        return remember

    def layer_factors(self, recipe: Recipe, report: Report = silent) -> dict[str, float]:
        """Return the inter-layer level's factor of every layer (METHOD, inter-layer); 1 where the method has none."""
        self._survey(recipe, report)
        merged = {}
        for step, layer in enumerate(self.layers):
            report(step / len(self.layers), f"merging {layer.label}")
            merged[layer.name] = self.merged(recipe, layer.name, layer).norm
        exponent = recipe.parameters.get("layer_exponent")
        if exponent is None:
            return dict.fromkeys(merged, 1.0)
        factors: dict[str, float] = {}
        for family in {layer.family for layer in self.layers}:
            names = [layer.name for layer in self.layers if layer.family == family]
            scaled = relative_power(torch.stack([merged[name] for name in names]), float(exponent))
            factors.update(zip(names, scaled.tolist(), strict=True))
        return factors

    def _survey(self, recipe: Recipe, report: Report) -> None:
        """Let the method read each task as a whole, where it does, so that this can be told and stopped."""
        method = METHODS[recipe.method]
        if method.survey is not None:
            for task, update in zip(recipe.tasks, self.updates(recipe, self.layers[0].name, None), strict=True):
                report(0.0, f"surveying {task}")
                method.survey(update, **method.arguments(recipe.parameters))

    def scales(self, recipe: Recipe, report: Report = silent) -> dict[str, float]:
        """Return the number each merged parameter is multiplied with: inter-layer factor times α, where α reaches."""
        alpha = float(recipe.parameters["alpha"])
        reach = dict.fromkeys(self.headers.arch.shapes, alpha)
        if recipe.parameters.get("alpha_scope") == "essential":
            essential = {layer.name for layer in self.layers if layer.family in ESSENTIAL}
            reach = {name: alpha if name in essential else 1.0 for name in reach}
        factors = self.layer_factors(recipe, report)
        return {name: reach[name] * factors.get(name, 1.0) for name in reach}

    def shift(self, recipe: Recipe, task: str, layer: Layer) -> Shift:
        """Return a task's own shift on its own tokens at one layer; no knob touches it."""
        key = ("shift", *self.files(recipe, task), *self.proxy_key(recipe, task), layer.name, self.device)
        return self.cache.get(
            key,
            lambda: shift(self.delta(recipe, task, layer.name), self.moments(recipe, task)[layer.name].matrix),
        )

    def pulls(self, recipe: Recipe, layer: Layer) -> tuple[Pull, ...]:
        """Return what the merge (at scale 1) does on every task's tokens at one layer."""
        method = METHODS[recipe.method]
        knobs = tuple(sorted(method.arguments(recipe.parameters).items()))
        measured_on = tuple((self.files(recipe, task), self.proxy_key(recipe, task)) for task in recipe.tasks)
        key = ("pulls", recipe.method, knobs, measured_on, *self._identity(recipe, layer.name))

        def compute() -> tuple[Pull, ...]:
            delta = self.merged(recipe, layer.name, layer).delta
            gram = delta.mT @ delta
            return tuple(
                pull(delta, gram, self.shift(recipe, task, layer), self.moments(recipe, task)[layer.name].matrix)
                for task in recipe.tasks
            )

        return self.cache.get(key, compute)

    def _identity(self, recipe: Recipe, name: str) -> tuple[Hashable, ...]:
        """Return what a merged parameter depends on besides knobs: contents, weights, order, place, device."""
        reads_proxies = METHODS[recipe.method].needs == "proxies"
        models = tuple(
            (self.digests[model.path], model.weight, self.proxy_key(recipe, model.name) if reads_proxies else ())
            for model in recipe.models
        )
        return name, self.digests[recipe.base], models, self.device


def _entry(recipe: Recipe, task: str) -> ModelEntry:
    return next(model for model in recipe.models if model.name == task)


def _later(function: Callable[..., T], *arguments: object) -> Callable[[], T]:
    """Bind now, call later: loops must not hand out their last task to everyone."""
    return lambda: function(*arguments)
