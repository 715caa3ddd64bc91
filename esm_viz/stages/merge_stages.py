"""The stages of a merge, each computed once per distinct input: moments, decompositions, merged layers and more.

| stage | computed per | key: digests of its files, and |
|---|---|---|
| delta, or the factors of an adapter's | task, parameter | |
| moments | task, block | proxies drawn |
| inputs | task, layer | proxies drawn |
| decomposition | task, layer | proxies drawn, number of tasks |
| frame, basis, coordinates, product (stages within a method) | layer | the knobs that the stage reads |
| merged | layer or parameter | the knobs that `merge_layer` reads |
| cutoff | task | the share of entries that a method keeps |
| shift | task, layer | proxies drawn |
| half moment | task, layer | proxies drawn |
| pulls | layer | proxies drawn, and the knobs that `merge_layer` reads |

The inter-layer level and α are one number per layer, applied after `merged`; changing them needs no new stage.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from esm_viz.core.errors import ImagesError, NumericsError, OutOfMemory, located
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import ModelEntry, Recipe
from esm_viz.core.records import Layer, Stage
from esm_viz.data.images.image_source import drawn
from esm_viz.inspection.opened_files import MOST_PROXIES, Headers
from esm_viz.merge.averaging import mean_delta
from esm_viz.merge.method_registry import METHODS, LayerUpdate, Memo
from esm_viz.numerics.eigenvalue_spectrum import rank_of_ratio
from esm_viz.numerics.essential_subspace_decomposition import (
    Decomposition,
    esd,
    esd_of_all,
    esd_of_factors,
    svd_basis,
)
from esm_viz.numerics.factored_change import FactoredChange, is_thin
from esm_viz.numerics.gram_svd import half_bytes
from esm_viz.numerics.interference import Pull, Shift, pulls, shift, shift_of_factors, worth_halves
from esm_viz.numerics.magnitude_selection import magnitude_cutoff
from esm_viz.numerics.polarized_scaling import relative_power
from esm_viz.numerics.second_moments import HalfMoment, Moment, MomentSum, half_moment
from esm_viz.runtime.container_limits import free_memory
from esm_viz.runtime.stage_cache import StageCache
from esm_viz.runtime.thread_pool import cores, one_thread, parallel_map
from esm_viz.stages.block_forward import BlockInputs

Small = Literal["norm", "effects", "pulls"]  # stages with a few numbers per layer
T = TypeVar("T")
R = TypeVar("R")
_NO_MEMORY = re.compile("can't allocate memory|not enough memory|out of memory", re.IGNORECASE)  # torch's words
_PREPARING = 0.6  # decompositions take about this share of a first merge


class Merged(NamedTuple):
    """A merged parameter before the inter-layer level and α: ΔW, float64, and ‖ΔW‖_F."""

    delta: Tensor
    norm: Tensor


@dataclass(frozen=True)
class Stages:
    """All stages of merges of one set of opened files.

    Attributes:
        headers: the opened files.
        digests: SHA-256 by path as the recipe writes it.
        device: device of the tensors.
        cache: the cache, which may be shared with other projects.
    """

    headers: Headers
    digests: Mapping[str, str]
    device: str
    cache: StageCache

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Return the tower's layers."""
        return self.headers.arch.layers

    @cached_property
    def narrowest(self) -> Layer:
        """Return the essential layer with the fewest outputs: a rank that fits it fits every layer."""
        return min((layer for layer in self.layers if layer.essential), key=lambda layer: layer.d_out)

    def need_rank(self, recipe: Recipe) -> None:
        """Refuse a rank that leaves some layer no direction, with the least that fits the whole tower.

        Raises:
            NumericsError: it does.
        """
        knob = METHODS[recipe.method].roles.get("rank")
        if knob is not None:
            with located(f"at {self.narrowest.name}"):
                rank_of_ratio(float(recipe.parameters[knob]), self.narrowest.d_out, len(recipe.models))

    @cached_property
    def others(self) -> tuple[str, ...]:
        """Return the names of all other parameters of the tower."""
        named = {layer.name for layer in self.layers}
        return tuple(name for name in self.headers.arch.shapes if name not in named)

    def files(self, recipe: Recipe, task: str) -> tuple[str, str]:
        """Return the digests of the files that a task's change depends on."""
        return self.digests[recipe.base], self.digests[_entry(recipe, task).path]

    def delta(self, recipe: Recipe, task: str, name: str) -> Tensor:
        """Return ΔW_t = W_t − W_0 of one parameter, float64, without the task's weight.

        That of an adapter is its product s B A, which is not kept: its factors are.
        """
        factors = self.factors(recipe, task, name)
        if factors is not None:
            with one_thread():
                return factors.dense()

        def compute() -> Tensor:
            sides = (self.headers.experts[task], self.headers.base)
            tuned, base = (side.tensors([name], torch.float64)[name].to(self.device) for side in sides)
            return tuned - base

        return self.kept(("delta", *self.files(recipe, task), name, self.device), compute)

    def factors(self, recipe: Recipe, task: str, name: str) -> FactoredChange | None:
        """Return ΔW_t of one parameter by its factors; None if there are only weights."""
        expert = self.headers.experts[task]
        if expert.change_rank(name) is None:
            return None
        key = ("factors", *self.files(recipe, task), name, self.device)
        return self.kept(key, lambda: expert.factors(name).to(self.device))

    def thin(self, recipe: Recipe, task: str, layer: Layer) -> FactoredChange | None:
        """Return the factors of ΔW_t at a layer where it is quicker to work on them than on the matrix; else None."""
        return self.factors(recipe, task, layer.name) if self._is_thin(task, layer.name) else None

    def _is_thin(self, task: str, name: str) -> bool:
        rank = self.headers.experts[task].change_rank(name)
        return rank is not None and is_thin(rank, self.headers.arch.shapes[name])

    def proxies(self, recipe: Recipe, task: str) -> Tensor:
        """Return a task's preprocessed proxies, at most 32, drawn by the recipe's seed."""
        self.need_proxies([task])
        return drawn(self.headers.proxies[task], MOST_PROXIES, recipe.seed)

    def need_proxies(self, tasks: Sequence[str]) -> None:
        """Raise if one of these tasks has no proxies.

        Raises:
            ImagesError: it has none.
        """
        for task in tasks:
            if task not in self.headers.proxies:
                raise ImagesError(f"{task} has no proxies", "give up to 32 unlabelled images of it in the recipe")

    def proxy_key(self, recipe: Recipe, task: str) -> tuple[Hashable, ...]:
        """Return what moments depend on besides weights: architecture, proxies, and the seed if they are drawn."""
        return self._proxies_of(_entry(recipe, task), recipe.arch, recipe.seed)

    def _proxies_of(self, model: ModelEntry, arch: str, seed: int) -> tuple[Hashable, ...]:
        listed = self.headers.proxies.get(model.name)
        drawn = seed if listed is not None and listed.count > MOST_PROXIES else None
        return arch, self.digests[model.proxies] if model.proxies else "", drawn

    def moment(self, recipe: Recipe, task: str, layer: Layer) -> Moment:
        """Return the second moment of a layer's input in the expert.

        Raises:
            NumericsError: the layer's input holds NaN or Inf, although the weights are finite.
        """

        def compute() -> Mapping[str, Moment]:
            moments, shapes = {}, self.headers.arch.shapes
            for name, rows in self._block_inputs(recipe, task, layer.block).items():
                total = MomentSum(shapes[name][1], shapes[name][0], self.device, self._is_thin(task, name))
                total.add(rows)
                moments[name] = total.moment()
                if not torch.isfinite(moments[name].mean).all():  # one NaN or Inf among the tokens is enough
                    wrong = f"{task}: its proxies give NaN or Inf"
                    raise NumericsError(wrong, "look for extreme numbers in its weights", f"at the input of {name}")
            return moments

        return self.kept(("moments", *self._forward_key(recipe, task), layer.block), compute)[layer.name]

    def inputs(self, recipe: Recipe, task: str, layer: Layer) -> Tensor:
        """Return a layer's input in the expert, (images, tokens, d_in), float32."""

        def compute() -> Tensor:
            return self._block_inputs(recipe, task, layer.block)[layer.name].clone()

        return self.kept(("inputs", *self._forward_key(recipe, task), layer.name), compute)

    def decomposition(self, recipe: Recipe, task: str, layer: Layer) -> Decomposition:
        """Return the ESD of a task's change at a layer, with all directions that a merge can keep."""
        key = self._decomposition_key(recipe, task, layer)

        def compute(of: Sequence[str]) -> list[Decomposition]:
            if any(self._is_thin(one, layer.name) for one in of):
                return [self._own_decomposition(recipe, one, layer) for one in of]
            deltas = [self.delta(recipe, one, layer.name) for one in of]
            return esd_of_all(deltas, [self.moment(recipe, one, layer) for one in of], _useful(recipe, layer))

        if self.device == "cpu":  # one task per core, each with its own cache entry
            return self.kept(key, lambda: compute([task])[0], spills=True)
        return self.kept(key, lambda: compute(recipe.tasks))[recipe.tasks.index(task)]

    def _own_decomposition(self, recipe: Recipe, task: str, layer: Layer) -> Decomposition:
        """Return the ESD of one task's change, by its factors if they are thin; without a change nothing is run."""
        factors, most = self.thin(recipe, task, layer), _useful(recipe, layer)
        if factors is None:
            return esd(self.delta(recipe, task, layer.name), self.moment(recipe, task, layer), most)
        return esd_of_factors(factors, self.moment(recipe, task, layer) if factors.rank else None, most)

    def svd(self, recipe: Recipe, task: str, layer: Layer) -> Decomposition:
        """Return the left singular vectors and squared singular values of a task's change at a layer."""
        key = ("svd", *self.files(recipe, task), layer.name, self.device)

        def compute() -> Decomposition:
            factors = self.thin(recipe, task, layer)
            return esd_of_factors(factors, None) if factors else svd_basis(self.delta(recipe, task, layer.name))

        return self.kept(key, compute)

    def cutoff(self, recipe: Recipe, task: str, share: float) -> float:
        """Return the smallest magnitude among the largest `share` of the entries of a task's whole change.

        It is taken over all parameters of the tower, without the task's weight; each pass reads the change once.
        """
        shapes = self.headers.arch.shapes
        entries = sum(math.prod(shape) for shape in shapes.values())
        key = ("cutoff", *self.files(recipe, task), share, self.device)

        def compute() -> float:
            return magnitude_cutoff(lambda: (self.delta(recipe, task, name) for name in shapes), entries, share)

        return self.cache.get(key, compute)

    def updates(self, recipe: Recipe, name: str, layer: Layer | None) -> list[LayerUpdate]:
        """Return the tasks' changes of one parameter in the recipe's order; their tensors are computed when needed."""
        shape = self.headers.arch.shapes[name]
        made = []
        for model in recipe.models:
            delta = _later(self.delta, recipe, model.name, name)
            moment = _later(self.moment, recipe, model.name, layer) if layer else None
            essential = layer is not None and layer.essential
            decomposition = _later(self.decomposition, recipe, model.name, layer) if essential else None
            cutoff = partial(self.cutoff, recipe, model.name)
            thin = _later(self.thin, recipe, model.name, layer) if layer else None
            made.append(LayerUpdate((shape[0], shape[-1]), delta, moment, decomposition, model.weight, cutoff, thin))
        return made

    def merged(self, recipe: Recipe, name: str, layer: Layer | None = None) -> Merged:
        """Return one merged parameter, before the inter-layer level and α.

        Raises:
            NumericsError: the merge is not finite, or a rank is impossible.
        """
        method = METHODS[recipe.method]
        arguments = method.arguments(recipe.parameters)
        own = method.every_parameter or len(self.headers.arch.shapes[name]) == 2
        knobs = tuple(sorted(arguments.items())) if own else ()
        key = ("merged", recipe.method if own else "averaging", knobs, *self._identity(recipe, name))

        def compute() -> Merged:
            updates = self.updates(recipe, name, layer)
            with located(f"at {name}"):
                try:
                    memo = self.memo(recipe, name)
                    delta = method.merge_layer(updates, memo, **arguments) if own else mean_delta(updates)
                except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined] # numbers beyond LAPACK's range
                    raise NumericsError("the merge has no solution in float64", "look for extreme weights") from error
                norm = torch.linalg.vector_norm(delta)
                if not torch.isfinite(norm):
                    raise NumericsError("the merged change is not finite", "look for extreme weights or exponents")
            return Merged(delta, norm)

        return self.kept(key, compute, spills=True)

    def norm(self, recipe: Recipe, layer: Layer) -> float:
        """Return ‖ΔW‖_F of a merged layer, before the inter-layer level and α; it stays cached when ΔW is evicted."""
        return self._small("norm", recipe, layer, lambda: float(self.merged(recipe, layer.name, layer).norm))

    def layer_effects(self, recipe: Recipe, layer: Layer) -> Mapping[str, tuple[float, float]]:
        """Return the (least, greatest) value of each knob's formula at one layer."""
        method = METHODS[recipe.method]

        def compute() -> Mapping[str, tuple[float, float]]:
            if method.live is None:
                return {}
            updates, memo = self.updates(recipe, layer.name, layer), self.memo(recipe, layer.name)
            return method.live(updates, memo, **method.arguments(recipe.parameters))

        return self._small("effects", recipe, layer, compute)

    def effects(self, recipe: Recipe) -> dict[str, tuple[float, float]]:
        """Return the (least, greatest) value of each knob's formula over all layers."""
        spans: dict[str, list[float]] = {}
        for layer in self.layers:
            for name, span in self.layer_effects(recipe, layer).items():
                spans.setdefault(name, []).extend(span)
        exponent = METHODS[recipe.method].roles.get("layer")
        if exponent:
            spans[exponent] = list(self.layer_factors(recipe).values())
        return {name: (min(span), max(span)) for name, span in spans.items()}

    def memo(self, recipe: Recipe, name: str) -> Memo:
        """Return a method's memo for one parameter."""

        def remember(stage: Stage, knobs: tuple[Hashable, ...], compute: Callable[[], T]) -> T:
            return self.kept((recipe.method, stage, knobs, *self._identity(recipe, name)), compute)

        return remember

    def prepare(self, recipe: Recipe, layers: Sequence[Layer], progress: Progress = NO_PROGRESS) -> None:
        """Decompose every task's change at some layers, block by block, with one forward pass per task.

        As many tasks run in parallel as there are cores. The inputs of a block are used immediately and not kept.
        """
        tasks, step = recipe.tasks, cores()
        by_block = sorted(layers, key=lambda layer: layer.block)
        pieces = [
            (task, layer)
            for _, block in groupby(by_block, key=lambda layer: layer.block)
            for layers in [list(block)]
            for at in range(0, len(tasks), step)
            for layer in layers
            for task in tasks[at : at + step]
        ]

        def boundary(done: int) -> None:
            task, layer = pieces[min(done, len(pieces) - 1)]
            progress(done / len(pieces), f"decomposing {layer.label} of {task}")

        self.parallel_map(lambda piece: self.decomposition(recipe, *piece), pieces, boundary)

    def run(self, recipe: Recipe, measured: bool, progress: Progress = NO_PROGRESS) -> None:
        """Merge all layers in parallel, one layer per thread; afterwards all stages of the merge are cached.

        Args:
            recipe: a recipe with all parameters, as from `settle`.
            measured: whether to also compute the `pulls`, from which interference follows.
            progress: callback; if it raises Cancelled, no further layer starts.

        Raises:
            NumericsError: the rank is 0 at a layer.
        """
        self.need_rank(recipe)
        self._survey(recipe, progress)
        begun, missing = 0.0, self.missing(recipe, measured)
        lacking = self.undecomposed(recipe, missing)
        if lacking and recipe.seed not in self._not_kept:
            begun = _PREPARING  # block by block, unlike the merge, so that a block's inputs are computed once
            self.prepare(recipe, lacking, progress.part(0.0, begun))
            if self.undecomposed(recipe, lacking):
                self._not_kept.add(recipe.seed)

        def boundary(done: int) -> None:
            known = len(self.layers) - len(missing)
            share = (known + done) / len(self.layers)
            progress(begun + (1 - begun) * share, f"merging, {known + done} of {len(self.layers)} layers")

        def merge(layer: Layer) -> None:
            self.norm(recipe, layer)
            if measured:
                self.pulls(recipe, layer)
                self.layer_effects(recipe, layer)

        self.parallel_map(merge, missing, boundary)  # cached layers must not wait in the pool

    def missing(self, recipe: Recipe, measured: bool) -> list[Layer]:
        """Return the layers that `run` still has to compute, in its order."""
        asked: tuple[Small, ...] = ("norm", "pulls", "effects") if measured else ("norm",)
        return [
            layer
            for layer in sorted(self.layers, key=lambda layer: (layer.block, -layer.d_out))
            if not all(self.cache.has(self._small_key(stage, recipe, layer)) for stage in asked)
        ]

    def undecomposed(self, recipe: Recipe, layers: Iterable[Layer]) -> list[Layer]:
        """Return those of some layers whose decompositions the method needs and the cache does not have now."""
        if METHODS[recipe.method].needs != "decompositions":
            return []
        return [
            layer
            for layer in layers
            if layer.essential
            and not all(self.cache.has(self._decomposition_key(recipe, task, layer)) for task in recipe.tasks)
        ]

    def parallel_map(
        self, work: Callable[[T], R], pieces: Sequence[T], boundary: Callable[[int], None] = lambda done: None
    ) -> list[R]:
        """Run pieces of work on all cores, or one after the other on a GPU."""
        if self.device == "cpu":
            return parallel_map(work, pieces, boundary)
        results = []
        for at, piece in enumerate(pieces):
            boundary(at)
            results.append(work(piece))
        boundary(len(pieces))
        return results

    def layer_factors(self, recipe: Recipe) -> dict[str, float]:
        """Return the inter-layer level's factor of every layer (METHOD, inter-layer); 1 without that level.

        Call `run` first, which merges the layers in parallel.
        """
        norms = {layer.name: self.norm(recipe, layer) for layer in self.layers}
        knob = METHODS[recipe.method].roles.get("layer")
        if knob is None:
            return dict.fromkeys(norms, 1.0)
        exponent = float(recipe.parameters[knob])
        factors: dict[str, float] = {}
        for family in {layer.family for layer in self.layers}:
            names = [layer.name for layer in self.layers if layer.family == family]
            scaled = relative_power(torch.tensor([norms[name] for name in names], dtype=torch.float64), exponent)
            factors.update(zip(names, scaled.tolist(), strict=True))
        return factors

    def _survey(self, recipe: Recipe, progress: Progress) -> None:
        """Run the method's survey of each task, if it has one, with progress."""
        survey, arguments = METHODS[recipe.method].survey, METHODS[recipe.method].arguments(recipe.parameters)
        if survey is None:
            return
        updates = self.updates(recipe, self.layers[0].name, None)

        def boundary(done: int) -> None:
            progress(0.0, f"surveying, {done} of {len(updates)} tasks")

        self.parallel_map(lambda update: survey(update, **arguments), updates, boundary)

    def scales(self, recipe: Recipe) -> dict[str, float]:
        """Return the factor of each merged parameter: the inter-layer factor, times α where α's scope includes it.

        Call `run` first, as for `layer_factors`.
        """
        alpha = float(recipe.parameters["alpha"])
        reach = dict.fromkeys(self.headers.arch.shapes, alpha)
        if recipe.parameters.get("alpha_scope") == "essential":
            essential = {layer.name for layer in self.layers if layer.essential}
            reach = {name: alpha if name in essential else 1.0 for name in reach}
        factors = self.layer_factors(recipe)
        return {name: reach[name] * factors.get(name, 1.0) for name in reach}

    def shift(self, recipe: Recipe, task: str, layer: Layer) -> Shift:
        """Return a task's own shift on its own tokens at one layer, which depends on no knob."""
        key = ("shift", *self.files(recipe, task), *self.proxy_key(recipe, task), layer.name, self.device)

        def compute() -> Shift:
            factors, moment = self.thin(recipe, task, layer), self.moment(recipe, task, layer)
            return shift_of_factors(factors, moment) if factors else shift(self.delta(recipe, task, layer.name), moment)

        return self.kept(key, compute)

    def pulls(self, recipe: Recipe, layer: Layer) -> tuple[Pull, ...]:
        """Return the measures of the merge at scale 1 on every task's tokens at one layer."""

        def compute() -> tuple[Pull, ...]:
            shifts = [self.shift(recipe, task, layer) for task in recipe.tasks]
            merged = self.merged(recipe, layer.name, layer)
            if merged.norm == 0:  # as where no adapter changes the layer
                return tuple(Pull(0.0, 0.0, own.energy) for own in shifts)
            return pulls(merged.delta, shifts, self._measured_on(recipe, layer))

        return self._small("pulls", recipe, layer, compute)

    def _measured_on(self, recipe: Recipe, layer: Layer) -> list[Moment | HalfMoment]:
        """Return every task's moment at a layer in the form in which a merge is measured fastest."""
        moments = [self.moment(recipe, task, layer) for task in recipe.tasks]
        # Most of it is for the widest layer of each block. Half of the cache may go there, first blocks first.
        halves = (layer.block + 1) * len(moments) * half_bytes(layer.d_in)
        if self.device != "cpu" or not worth_halves(moments) or halves > self.cache.limit // 2:
            return list(moments)

        def half(task: str, moment: Moment) -> Moment | HalfMoment:
            if moment.square is not None:
                return moment
            key = ("half_moment", *self._forward_key(recipe, task), layer.name)
            return self.kept(key, lambda: half_moment(moment))

        return [half(task, moment) for task, moment in zip(recipe.tasks, moments, strict=True)]

    def _small(self, stage: Small, recipe: Recipe, layer: Layer, compute: Callable[[], T]) -> T:
        """Return a cached stage of a few numbers of a merged layer."""
        return self.kept(self._small_key(stage, recipe, layer), compute)

    def _small_key(self, stage: Small, recipe: Recipe, layer: Layer) -> tuple[Hashable, ...]:
        knobs = tuple(sorted(METHODS[recipe.method].arguments(recipe.parameters).items()))
        measured_on = self._models(recipe.models, recipe.arch, recipe.seed, True) if stage == "pulls" else ()
        return stage, recipe.method, knobs, measured_on, *self._identity(recipe, layer.name)

    def _block_inputs(self, recipe: Recipe, task: str, block: int) -> dict[str, Tensor]:
        key = self._forward_key(recipe, task)
        return self._streams.inputs(key, self.headers.experts[task], lambda: self.proxies(recipe, task), block)

    def _decomposition_key(self, recipe: Recipe, task: str, layer: Layer) -> tuple[Hashable, ...]:
        """Return the cache key of a task's decomposition; on a GPU that of all tasks, which are decomposed together."""
        of = [task] if self.device == "cpu" else recipe.tasks
        read = tuple((*self.files(recipe, one), *self.proxy_key(recipe, one)) for one in of)
        return "esd", read, layer.name, _useful(recipe, layer), self.device

    def _forward_key(self, recipe: Recipe, task: str) -> tuple[Hashable, ...]:
        """Return the cache key of an expert's activations; parameters that it does not bring are the base's."""
        return *self.files(recipe, task), *self.proxy_key(recipe, task), self.device

    def kept(self, key: Hashable, compute: Callable[[], T], spills: bool = False) -> T:
        """Return a stage's value from the cache; computed by one thread, so that its bits are always the same."""

        def alone() -> T:
            with one_thread(), self._memory_told(str(key[0]) if isinstance(key, tuple) else "a stage"):
                return compute()

        return self.cache.get(key, alone, spills)

    @contextmanager
    def _memory_told(self, stage: str) -> Iterator[None]:
        """Replace an out-of-memory error by one that says how much memory is needed and free.

        Raises:
            OutOfMemory: memory ran out.
        """
        try:
            yield
        except (MemoryError, RuntimeError) as error:  # torch's own error for GPUs is a RuntimeError
            # torch has no error class for CPU memory, so it is recognised by its words.
            if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not _NO_MEMORY.search(str(error)):
                raise
            needed = self.headers.inspection.memory_bytes / 1e9
            free = f", {free_memory() / 1e9:.1f} GB are free" if free_memory() else ""
            raise OutOfMemory(
                f"memory ran out in {stage}: these {len(self.headers.experts)} models need about {needed:.1f} GB{free}",
                "merge fewer models, draw fewer proxies, or start with a smaller --cache and a --spill folder",
            ) from error

    @cached_property
    def _not_kept(self) -> set[int]:
        """Return the seeds whose decompositions the cache could not keep: preparing them again would be in vain."""
        return set()

    @cached_property
    def _streams(self) -> BlockInputs:
        return BlockInputs(self.headers.arch, self.device)

    def _identity(self, recipe: Recipe, name: str) -> tuple[Hashable, ...]:
        """Return what a merged parameter depends on besides knobs: file contents, weights, order, name, device."""
        reads_proxies = METHODS[recipe.method].needs != "delta"
        models = self._models(recipe.models, recipe.arch, recipe.seed, reads_proxies)
        return name, self.digests[recipe.base], models, self.device

    def _models(self, models: tuple[ModelEntry, ...], arch: str, seed: int, proxies: bool) -> tuple[Hashable, ...]:
        """Return the experts' digests and weights, in order; the last ones are kept, since every layer needs them.

        They are told apart by identity: a moved knob leaves the models of a recipe the same object, and a hash of all
        models for every layer took longer than the rest of a small key.
        """
        known = self._last_models.get((arch, seed, proxies))
        if known is None or known[0] is not models:
            described = tuple(
                (self.digests[model.path], model.weight, self._proxies_of(model, arch, seed) if proxies else ())
                for model in models
            )
            known = self._last_models[arch, seed, proxies] = models, described
        return known[1]

    @cached_property
    def _last_models(self) -> dict[Hashable, tuple[tuple[ModelEntry, ...], tuple[Hashable, ...]]]:
        return {}


def _entry(recipe: Recipe, task: str) -> ModelEntry:
    return next(model for model in recipe.models if model.name == task)


def _useful(recipe: Recipe, layer: Layer) -> int:
    """Return how many directions of each task a merge can keep at a layer."""
    return max(layer.d_out // len(recipe.models), 1)


def _later(function: Callable[..., T], *arguments: object) -> Callable[[], T]:
    """Bind arguments now and call later; a lambda in a loop would use the loop's last task."""
    return lambda: function(*arguments)
