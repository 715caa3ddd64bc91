"""A project: one recipe's files, opened once, and every question that the studio, the command line or a notebook asks.

All methods are pure in the recipe they are given: they differ from the opened one in method, parameters, weights,
dtype or seed, never in files. Everything is cached by stage, so that only what a knob touches runs again.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from esm_viz import explore
from esm_viz.checkpoints.layout_table import BASE, chosen_layout, writable
from esm_viz.core import recipe as recipes
from esm_viz.core.errors import HeadError, ImagesError, NumericsError, RecipeError, located
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import (
    REFERENCES,
    AlphaCurve,
    AlphaSearch,
    Angles,
    Confusion,
    Difference,
    Evaluation,
    ExportProof,
    Flips,
    Inspection,
    Interference,
    Judgement,
    KnobSearch,
    KnobTrial,
    Layer,
    LayerMap,
    LayerNorms,
    MergeReport,
    Overlap,
    OwnAccuracy,
    Patches,
    Reference,
    Report,
    ScalingProfile,
    Spectrum,
    Split,
    Stability,
    SubspaceMap,
    Sweep,
    SweepCell,
    Value,
    silent,
    unseen,
)
from esm_viz.data.images.image_source import preprocessing_of, shrunk, spread, to_png
from esm_viz.evaluation import prediction_comparison
from esm_viz.evaluation.accuracy_scorer import Contestant, Scorer, device_title, resolve_device
from esm_viz.evaluation.expert_check import own_accuracy
from esm_viz.export import verified_export
from esm_viz.families.routed_tower import Experts, RoutedTower
from esm_viz.families.vision_tower import encode
from esm_viz.inspection.file_judgement import judged, same_weights
from esm_viz.inspection.opened_files import Headers, open_headers, read_digests
from esm_viz.merge import METHODS, knob_of, settle, static_part, with_parameters
from esm_viz.numerics.eigenvalue_spectrum import rank_for_energy
from esm_viz.numerics.interference import interference
from esm_viz.runtime.recorded_results import Answers, recalled
from esm_viz.runtime.stage_cache import StageCache
from esm_viz.search import knob_sweep as sweeps
from esm_viz.search import knob_tuning
from esm_viz.search.alpha_search import INTERVALS, bracket_alpha, curve_alphas
from esm_viz.stages.merge_stages import Stages
from esm_viz.stages.routed_adapters import make_experts
from esm_viz.version import __version__

MOST_THUMBNAILS = 64  # labelled images that are handed out at once
SEARCH_STEPS = 15  # about how many α a search visits, for its progress
CURVE_POINTS = INTERVALS + 2  # α of a curve: both ends of the range, what lies between, and the recipe's own
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}


def inspect(recipe: Recipe) -> Inspection:
    """Judge a recipe by headers and folder listings alone; no weight is read.

    Raises:
        EsmVizError: the first thing that is wrong.
    """
    settle(recipe)
    return open_headers(recipe).inspection


class Project:
    """One recipe's files and the stages over them.

    Attributes:
        recipe: as opened, every parameter written out.
        tasks, layers: in order.
        device, device_title: "cpu" or "cuda", and what a person calls it.
        inspection: what the headers said.
        files_sha256: of everything that shapes the weights, whatever the method and its knobs.
        image_size: pixels of a side that the tower reads.
        preprocessing: what happens to an image before it does.
        answers: given before, and shown until this project has been prepared; None: everything is computed.
    """

    def __init__(self, recipe: Recipe, headers: Headers, stages: Stages) -> None:
        """Use `Project.open`."""
        self.recipe = recipe
        self.tasks = recipe.tasks
        self.layers = stages.layers
        self.device, self.device_title = stages.device, device_title(stages.device)
        self.inspection = headers.inspection
        self.image_size = headers.arch.image_size
        self.preprocessing = preprocessing_of(recipe.arch, recipe.arch_config, self.image_size)
        self.stages = stages
        bare = tuple(dataclasses.replace(model, weight=1.0) for model in recipe.models)
        files = recipe.replace(method="", models=bare, parameters={}, dtype="", seed=0)
        self.files_sha256 = recipes.sha256_text(recipes.canonical(files, stages.digests))
        self.answers: Answers | None = None
        self._headers = headers
        self.same = same_weights(recipe, headers, stages.digests)
        self._scorer = Scorer(recipe, headers, stages.digests, stages.device, stages.cache)

    @classmethod
    def open(
        cls, recipe: Recipe, *, device: str = "auto", cache: StageCache | None = None, report: Report = silent
    ) -> Project:
        """Judge all headers, then read every file once: hashes, NaN and Inf.

        Args:
            recipe: from `load_recipe` or `recipe.parse_mapping`.
            device: "auto", "cpu" or "cuda".
            cache: shared with other projects; a new one where None.
            report: progress, may raise Cancelled.

        Raises:
            EsmVizError: whatever is wrong with the input, before any work starts.
        """
        recipe = settle(recipe)
        where = resolve_device(device)
        headers = open_headers(recipe)
        digests = read_digests(recipe, headers, report)
        return cls(recipe, headers, Stages(headers, digests, where, StageCache() if cache is None else cache))

    @property
    def judgement(self) -> Judgement:
        """Return the verdict of every model, now that none is refused."""
        return judged(self.recipe, self._headers, self.same)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Return a sentence for each set of images of which some were found to be broken so far, and are not used."""
        return self._headers.left_out

    def own_accuracy(self, report: Report = silent) -> tuple[OwnAccuracy, ...]:
        """Run each expert on its own validation images, where it has some: does the file do its task?"""
        return own_accuracy(self._scorer, report)

    def has_labels(self, split: Split) -> bool:
        """Say whether every task has labelled images of a split."""
        return self._scorer.has_labels(split)

    def labels_digest(self, split: Split) -> str:
        """Return one digest of all labelled images of a split and of the heads that answer on them."""
        return self._scorer.labels_digest(split)

    def sha256(self, recipe: Recipe) -> str:
        """Return the recipe's identity: contents, knobs and dtype, whatever the paths."""
        return recipes.sha256_text(self.canonical(recipe))

    def identity(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """Return a question's arguments with the recipe, its files and the images it is measured on as digests."""
        told = dict(arguments)
        recipe, split = told.get("recipe", self.recipe), told.get("split")
        assert isinstance(recipe, Recipe)
        told["recipe"] = self.sha256(recipe)
        if split in ("validation", "test") and self.has_labels(split):
            told["labels"] = self._scorer.labels_digest(split)
        return told

    def canonical(self, recipe: Recipe) -> str:
        """Return the recipe's identity as canonical JSON."""
        return recipes.canonical(self._own(recipe), self.stages.digests)

    def prepare(self, report: Report = silent) -> None:
        """Run the heavy stages of every task and layer: moments and decompositions."""
        self.stages.prepare(self.recipe, self.layers, report)
        self.answers = None  # this machine's own from now on

    @recalled
    def layer_map(self, kind: str, recipe: Recipe, report: Report = silent) -> LayerMap:
        """Return one number a task and layer; kind is "rank90", "energy", "norm" or "overlap"."""
        return explore.layer_map(self.stages, self._own(recipe), kind, report)

    @recalled
    def spectrum(self, task: str, layer_name: str, recipe: Recipe) -> Spectrum:
        """Return where one task's output shift lives at one layer."""
        return explore.spectrum(self.stages, self._own(recipe), self._task(task), self.layer(layer_name))

    @recalled
    def ranks_for_energy(self, task: str, layer_name: str, shares: Sequence[float]) -> tuple[int, ...]:
        """Return the fewest ESD directions of a task and layer that keep each share of the energy."""
        eigenvalues = self.stages.decomposition(self.recipe, self._task(task), self.layer(layer_name)).eigenvalues
        return tuple(rank_for_energy(eigenvalues, share) for share in shares)

    @recalled
    def overlap(self, layer_name: str, recipe: Recipe) -> Overlap:
        """Return how much any two tasks share at one layer."""
        return explore.overlaps(self.stages, self._own(recipe), self.layer(layer_name))

    @recalled
    def angles(self, layer_name: str, task_a: str, task_b: str, recipe: Recipe) -> Angles:
        """Return the principal angles between two tasks at one layer."""
        pair = self._task(task_a), self._task(task_b)
        return explore.angles(self.stages, self._own(recipe), self.layer(layer_name), pair)

    @recalled
    def subspace_map(self, recipe: Recipe, report: Report = silent) -> SubspaceMap:
        """Return all tasks and layers on one plane, by whom they share directions with."""
        return explore.subspace_map(self.stages, self._own(recipe), report)

    @recalled
    def stability(self, task: str, layer_name: str, recipe: Recipe, report: Report = silent) -> Stability:
        """Return how much a task's basis at a layer depends on which proxies were drawn, and how many."""
        return explore.stability(self.stages, self._own(recipe), self._task(task), self.layer(layer_name), report)

    @recalled
    def patches(
        self,
        task: str,
        layer_name: str,
        direction: int,
        recipe: Recipe,
        most: int = explore.MOST_PATCHES,
        report: Report = silent,
    ) -> Patches:
        """Return the image patches that move a layer's output most along a direction of a task's change.

        Args:
            task: whose expert, proxies and basis.
            layer_name: where.
            direction: counted from 1, the strongest.
            recipe: of this project.
            most: patches wanted.
            report: progress, may raise Cancelled.

        Raises:
            RecipeError: that direction carries no energy.
        """
        where = self._task(task), self.layer(layer_name)
        return explore.patches(self.stages, self._own(recipe), *where, direction, most, report)

    @recalled
    def scaling_profile(self, recipe: Recipe, report: Report = silent) -> ScalingProfile:
        """Return the merge's size per layer with the levels of polarized scaling switched on one after another."""
        return explore.scaling_profile(self.stages, static_part(self._own(recipe)), report)

    @property
    def digests(self) -> frozenset[str]:
        """Return the SHA-256 of every file that stages were computed from."""
        return frozenset(self.stages.digests.values())

    def forget(self, others: Iterable[Project]) -> None:
        """Drop what is cached of this project's files, but for files that other projects read as well."""
        self.stages.cache.forget(self.digests.difference(*(other.digests for other in others)))

    def at_hand(self, recipe: Recipe) -> bool:
        """Say whether every layer of a merge is known, so that `merge` takes no time."""
        return not self.stages.missing(static_part(self._own(recipe)), measured=True)

    @recalled
    def merge(self, recipe: Recipe, report: Report = silent) -> MergeReport:
        """Merge all layers and measure, without labels, what the merged weights alone do to each task."""
        start = time.perf_counter()
        recipe = self._own(recipe)
        static = static_part(recipe)
        stages, alpha = self.stages, self._alpha(recipe)
        stages.run(static, True, report)
        scales = stages.scales(static)
        factors = stages.layer_factors(static)
        columns = []
        for layer in self.layers:
            pulls = stages.pulls(static, layer)
            columns.append([interference(measured, scales[layer.name]) for measured in pulls])
        values = tuple(zip(*columns, strict=True))
        before = [stages.norm(static, layer) for layer in self.layers]
        after = [norm * factors[layer.name] for norm, layer in zip(before, self.layers, strict=True)]
        return MergeReport(
            recipe_sha256=self.sha256(recipe),
            method=recipe.method,
            alpha=alpha,
            parameters=recipe.parameters,
            interference=Interference(
                self.tasks, self.layers, tuple(values), tuple(_known_mean(row) for row in values)
            ),
            norms=LayerNorms(self.layers, tuple(before), tuple(after)),
            effects={**stages.effects(static), "alpha": (alpha, alpha)},
            seconds=time.perf_counter() - start,
        )

    def materialize(self, recipe: Recipe, report: Report = silent) -> dict[str, Tensor]:
        """Return the merged tower's tensors in the recipe's dtype: the one source of preview, evaluation and export.

        Sums run in float64; each tensor is rounded once, at the end. Do not change the tensors: they are cached. Routed
        experts are not among them, see `experts`.

        Raises:
            NumericsError: a number is too large for the dtype.
        """
        recipe = static_part(self._own(recipe))
        self._alpha(recipe)

        def compute() -> dict[str, Tensor]:
            self.stages.run(recipe, False, report)
            scales = self.stages.scales(recipe)
            named = {layer.name: layer for layer in self.layers}

            def weight(name: str) -> Tensor:
                base = self._headers.base.tensors([name], torch.float64)[name].to(self.device)
                delta = self.stages.merged(recipe, name, named.get(name)).delta
                merged = base.add_(delta, alpha=scales[name]).to(_DTYPES[recipe.dtype])
                if not torch.isfinite(merged.sum(dtype=torch.float64)):
                    wrong = f"the merged weights do not fit into {recipe.dtype}"
                    raise NumericsError(wrong, "lower α, or choose a wider type", f"at {name}")
                return merged

            names = list(self._headers.arch.shapes)
            return dict(zip(names, self.stages.spread(weight, names), strict=True))

        return self.stages.cache.get(("weights", self.canonical(recipe), self.device), compute)

    def experts(self, recipe: Recipe, report: Report = silent) -> dict[str, Experts]:
        """Return every routed layer's experts and prototypes, in the order of the tower; none for a static method."""
        recipe = self._own(recipe)
        weights = self.materialize(recipe, _part(report, 0.0, 0.5))
        return make_experts(self.stages, recipe, weights, _part(report, 0.5, 1.0))

    def tower(self, recipe: Recipe, report: Report = silent) -> nn.Module:
        """Return the merged model, ready to run in float32 on the device; with its experts where it is routed."""
        recipe = self._own(recipe)
        weights = self.materialize(recipe, _part(report, 0.0, 0.5))
        experts = make_experts(self.stages, recipe, weights, _part(report, 0.5, 1.0))
        tower = self._scorer.tower(weights)
        return RoutedTower(tower, experts, self.tasks).to(self.device) if experts else tower

    def encode(self, recipe: Recipe, images: Tensor, report: Report = silent) -> Tensor:
        """Return the merged or routed model's image features, (n, embed_dim), float32, before any normalisation."""
        return self.encode_routed(recipe, images, report)[0]

    def encode_routed(self, recipe: Recipe, images: Tensor, report: Report = silent) -> tuple[Tensor, Tensor | None]:
        """Return image features, and the expert of every image at every routed layer.

        Args:
            recipe: of this project.
            images: preprocessed, (n, 3, H, W).
            report: progress, may raise Cancelled.

        Returns:
            Features, (n, embed_dim), float32; routes, (layers, n), int64, indices into `tasks`, layers in the order of
            the tower (None for a model without experts).

        Raises:
            ImagesError: the images have another shape.
        """
        side = self._headers.arch.image_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, side, side) or not len(images):
            raise ImagesError(f"images are {tuple(images.shape)}", f"give (n, 3, {side}, {side}), preprocessed")
        tower = self.tower(recipe, _part(report, 0.0, 0.5))
        features = encode(tower, images, lambda done: report(0.5 + 0.5 * done / len(images), "encoding")).cpu()
        return features, tower.take_routes() if isinstance(tower, RoutedTower) else None

    @recalled
    def evaluate(
        self,
        recipe: Recipe,
        split: Split = "test",
        limit: int = 0,
        report: Report = silent,
        *,
        oracle: bool = True,
    ) -> Evaluation:
        """Return the accuracy of base, experts and merged model on the same images; of a routed one, its routing too.

        Args:
            recipe: of this project.
            split: "validation" or "test".
            limit: images a task, spread over its set; 0 = all.
            report: progress, may raise Cancelled.
            oracle: whether to measure a routed model with every image sent to its own task's experts as well.

        Raises:
            ImagesError: a task has no labelled images of that split.
        """
        start = time.perf_counter()
        recipe = self._own(recipe)
        self._scorer.need_labels(split)
        self._alpha(recipe)
        identity, told = self.canonical(recipe), 0.2 if oracle else 0.0
        tower = self.tower(recipe, _part(report, 0.0, 0.1))
        end = 1.0 - told if isinstance(tower, RoutedTower) else 1.0
        rows = self._scorer.table(tower, identity, split, limit, _part(report, 0.1, end))
        routing = (
            self._scorer.routing(tower, identity, split, limit, oracle, _part(report, end, 1.0))
            if isinstance(tower, RoutedTower)
            else None
        )
        return Evaluation(
            recipe_sha256=self.sha256(recipe),
            method=recipe.method,
            alpha=self._alpha(recipe),
            parameters=recipe.parameters,
            split=split,
            tasks=rows,
            limit=limit,
            seconds=time.perf_counter() - start,
            routing=routing,
        )

    def confusion(
        self, model: Recipe | Reference, task: str, split: Split = "test", limit: int = 0, report: Report = silent
    ) -> Confusion:
        """Return which answers the images of each class of a task got; free once `evaluate` has measured the model.

        Args:
            model: a recipe of this project, "pretrained", or "finetuned" for the task's own expert.
            task: whose images.
            split: "validation" or "test".
            limit: images, spread over the set; 0 = all.
            report: progress, may raise Cancelled.

        Raises:
            ImagesError: a task has no labelled images of that split.
        """
        chosen = self._answers(model, self._task(task), split, limit, report)
        classes, labels = self._scorer.classes(task, split), self._scorer.labels(task, split, limit)
        return prediction_comparison.confusion(task, split, classes, labels, chosen)

    def flips(
        self,
        a: Recipe | Reference,
        b: Recipe | Reference,
        task: str,
        split: Split = "test",
        limit: int = 0,
        report: Report = silent,
    ) -> Flips:
        """Return the images of a task that B gets right and A wrong, and the other way; models as in `confusion`."""
        scorer, half = self._scorer, _part(report, 0.0, 0.5)
        before = self._answers(a, self._task(task), split, limit, half)
        now = self._answers(b, task, split, limit, _part(report, 0.5, 1.0))
        classes, places = scorer.classes(task, split), scorer.places(task, split, limit)
        return prediction_comparison.flips(task, split, classes, places, scorer.labels(task, split, limit), before, now)

    def difference(
        self,
        a: Recipe | Reference,
        b: Recipe | Reference,
        split: Split = "test",
        limit: int = 0,
        report: Report = silent,
    ) -> Difference:
        """Return B's accuracy minus A's with paired intervals, per task and of the mean; models as in `confusion`."""
        pairs, count = [], len(self.tasks)
        for at, task in enumerate(self.tasks):
            start, middle, end = (at / count, (at + 0.5) / count, (at + 1) / count)
            before = self._answers(a, task, split, limit, _part(report, start, middle))
            now = self._answers(b, task, split, limit, _part(report, middle, end))
            pairs.append(prediction_comparison.paired(self._scorer.labels(task, split, limit), before, now))
        return Difference(split, self.tasks, tuple(pairs))

    def alpha_curve(
        self, recipe: Recipe, limit: int = 0, report: Report = silent, seen: Callable[[Evaluation], None] = unseen
    ) -> AlphaCurve:
        """Measure every task on validation images over the whole range of α, the recipe's own α among its points.

        Args:
            recipe: of this project, with a number for α.
            limit: validation images a task, spread over its set; 0 = all.
            report: progress, may raise Cancelled.
            seen: gets each point as it is measured, from coarse to fine.

        Raises:
            ImagesError: a task has no labelled validation images.
        """
        recipe = self._own(recipe)
        self._scorer.need_labels("validation")
        alphas, curve = curve_alphas(_most_alpha(recipe), self._alpha(recipe)), AlphaCurve()
        for done, alpha in enumerate(alphas):

            def inside(fraction: float, _words: str, done: int = done, alpha: float = alpha) -> None:
                report((done + fraction) / len(alphas), f"α {alpha:g}")

            point = self.evaluate(with_parameters(recipe, alpha=alpha), "validation", limit, inside, oracle=False)
            curve = curve.with_point(point)
            seen(point)
        return curve

    def search_alpha(
        self, recipe: Recipe, report: Report = silent, seen: Callable[[Evaluation], None] = unseen
    ) -> AlphaSearch:
        """Find α on validation accuracy, each task normalised by its expert's (METHOD, ESM step 4).

        Args:
            recipe: of this project; its own α does not matter.
            report: progress, may raise Cancelled.
            seen: gets each step's evaluation as it is made.

        Raises:
            ImagesError: a task has no labelled validation images.
            HeadError: an expert is never right on its own, so that nothing can be normalised by it.
        """
        recipe = with_parameters(self._own(recipe), alpha=1.0)
        self._scorer.need_labels("validation")
        visited = 0

        def measure(alpha: float) -> float:
            nonlocal visited

            def inside(fraction: float, _words: str) -> None:
                report(min((visited + fraction) / SEARCH_STEPS, 0.99), f"trying α {alpha:g}")

            evaluation = self._validated(with_parameters(recipe, alpha=alpha), 0, inside)
            visited += 1
            seen(evaluation)
            return evaluation.mean_normalised

        best, trace = bracket_alpha(measure, _most_alpha(recipe))
        return AlphaSearch(best.alpha, best.normalised, trace, self._images("validation", 0))

    def with_alpha_found(self, recipe: Recipe, report: Report = silent) -> Recipe:
        """Return the recipe with `alpha: search` replaced by what the search finds; others unchanged."""
        recipe = self._own(recipe)
        if recipe.parameters["alpha"] != "search":
            return recipe
        return with_parameters(recipe, alpha=self.search_alpha(recipe, report).alpha)

    def sweep(
        self,
        recipe: Recipe,
        grid: Mapping[str, Sequence[Value]],
        split: Split | Literal["none"] | None = None,
        limit: int = 0,
        report: Report = silent,
        seen: Callable[[Sweep], None] = unseen,
    ) -> Sweep:
        """Measure every cell of a grid over knobs, each stage run once per value of the knobs that it reads.

        Args:
            recipe: of this project; knobs outside the grid stay as it has them.
            grid: values by knob; words too (alpha_scope: all, essential; alpha: search).
            split: labelled images to score on. None: validation where every task has it, since knobs are chosen by
                looking at a sweep; else test; else none, and the cells hold interference only, as for "none".
            limit: images a task, spread over its set; 0 = all.
            report: progress, may raise Cancelled.
            seen: gets the sweep so far after each cell.

        Raises:
            RecipeError: the grid is wrong.
            NumericsError: one of its ranks is impossible.
            ImagesError: a task has no labelled images of that split, or there is nothing to measure by.
        """
        begun, recipe = time.perf_counter(), self._own(recipe)
        checked = sweeps.checked_grid(recipe, grid)
        scored_on = self._to_score_on(split)
        for own in sweeps.points_of(recipe, checked):
            self._need_measurable(own, scored_on, limit)

        def measure(own: Recipe, inside: Report) -> SweepCell:
            start = time.perf_counter()
            own = self.with_alpha_found(own, lambda fraction, words: inside(0.5 * fraction, words))
            merged = None
            if self._has_proxies:
                merged = self.merge(own, lambda fraction, words: inside(0.5 + 0.2 * fraction, words)).interference
            scores = None
            if scored_on:
                last = _part(inside, 0.7, 1.0)
                scores = self.evaluate(own, scored_on, limit, last, oracle=False)
            return SweepCell(own.parameters, self.sha256(own), merged, scores, time.perf_counter() - start)

        def record(cells: tuple[SweepCell, ...]) -> Sweep:
            return Sweep(
                recipe_sha256=self.sha256(recipe),
                method=recipe.method,
                grid=checked,
                start=recipe.parameters,
                split=scored_on,
                images=self._images(scored_on, limit),
                cells=cells,
                seconds=time.perf_counter() - begun,
            )

        return record(sweeps.measured(recipe, checked, measure, report, lambda cells: seen(record(cells))))

    def spaced(self, recipe: Recipe, name: str, steps: int) -> tuple[Value, ...]:
        """Return values of a knob for a sweep: spread over its range, the recipe's own among them, none impossible.

        Raises:
            RecipeError: there is no such knob.
        """
        recipe = self._own(recipe)
        knob = knob_of(METHODS[recipe.method], name)
        return tuple(
            value
            for value in sweeps.spaced(knob, recipe.parameters[name], steps)
            if self._rank_is_possible(with_parameters(recipe, **{name: value}))
        )

    def search_knobs(
        self,
        recipe: Recipe,
        knobs: Sequence[str] | None = None,
        trials: int = 40,
        *,
        seed: int | None = None,
        storage: Path | None = None,
        limit: int = 0,
        report: Report = silent,
        seen: Callable[[KnobSearch], None] = unseen,
    ) -> KnobSearch:
        """Search several knobs at once with Optuna's TPE, for validation accuracy or, without labels, interference.

        The objective is the mean normalised validation accuracy, as in the search for α, where every task has labelled
        validation images; else minus the mean interference. The first trial is the recipe itself.

        Args:
            recipe: of this project; `alpha: search` is found anew in every trial unless α is searched here.
            knobs: the knobs to search, all of the method's where None.
            trials: how many in all; fewer where no new point is left.
            seed: of the proposals; the recipe's where None.
            storage: a file that keeps the trials, so that a stopped search goes on from there.
            limit: validation images a task, spread over its set; 0 = all.
            report: progress, may raise Cancelled.
            seen: gets the search so far after each trial.

        Raises:
            RecipeError: a knob or the number of trials is wrong, or the storage is another search's.
            ImagesError: there is nothing to measure by.
            HeadError: an expert is never right on its own.
            NumericsError: the recipe as it is cannot be merged.
            SearchStopped: the user stopped it; the trials until then are in `found`, and in the storage.
        """
        recipe = self._own(recipe)
        space, trials = knob_tuning.space_of(recipe, knobs), knob_tuning.checked_trials(trials)
        seed = recipes.checked_seed(recipe.seed if seed is None else seed, "knob search")
        labelled = self.has_labels("validation")
        self._need_measurable(recipe, "validation" if labelled else None, limit)
        identity = {
            "the recipe or its files": self.sha256(recipe),
            "the knobs searched": list(space),
            "the labelled images": self.labels_digest("validation") if labelled else "none",
            "the number of images": limit,
            "the seed": seed,
            "the version of esm_viz": __version__,
        }

        def measure(own: Recipe, inside: Report) -> KnobTrial:
            def second(fraction: float, words: str) -> None:
                inside(0.5 + 0.5 * fraction, words)

            own = self.with_alpha_found(own, lambda fraction, words: inside(0.5 * fraction, words))
            value = (
                self._validated(own, limit, second).mean_normalised
                if labelled
                else -self.merge(own, second).interference.mean
            )
            if math.isnan(value):
                raise NumericsError("no task moved, so there is no interference", "give fine-tunes of the base")
            return KnobTrial(own.parameters, value)

        record = KnobSearch(
            method=recipe.method,
            knobs=tuple(space),
            objective="normalised" if labelled else "interference",
            images=self._images("validation" if labelled else None, limit),
            seed=seed,
            trials=(),
        )
        kept = knob_tuning.Storage(storage, identity) if storage else None
        found = knob_tuning.search(record, recipe, space, trials, measure, kept, report, seen)
        return dataclasses.replace(found, images=self._images("validation" if labelled else None, limit))

    def export(
        self,
        recipe: Recipe,
        folder: Path,
        report: Report = silent,
        *,
        portable: bool = False,
        layout: str = BASE,
        page: verified_export.MakePage | None = None,
    ) -> ExportProof:
        """Write model.safetensors, recipe.yaml and README.md, read them again, and prove that they are the preview.

        A routed model has experts.safetensors too, and is rebuilt from the two files alone.

        Args:
            recipe: of this project.
            folder: made where missing.
            report: progress, may raise Cancelled.
            portable: keep the recipe's own relative paths (for a download) instead of paths from `folder`.
            layout: how the weights file names its tensors; "base" is as the base file does.
            page: makes report.html; there is none where None.

        Raises:
            LayoutError: there is no such layout.
            ProofFailed: the file is not what was on screen; nothing is left behind.
            ExportError: it cannot be written; nothing is left behind.
        """
        chosen = chosen_layout(layout, self._headers.base.layout, self._vision)
        verified_export.finish_interrupted(folder)
        verified_export.refuse_overwriting(self._own(recipe), folder)
        recipe = self.with_alpha_found(self._own(recipe), _part(report, 0.0, 0.3))
        experts = self.experts(recipe, _part(report, 0.3, 0.4))
        weights = self.materialize(recipe)
        splits = [split for split in get_args(Split) if self.has_labels(split)]
        shown = tuple(
            self.evaluate(recipe, split, report=_part(report, 0.4 + 0.1 * at, 0.5 + 0.1 * at), oracle=False)
            for at, split in enumerate(splits)
        )
        preview = verified_export.Preview(recipe, self._headers, self.stages.digests, weights, shown, experts, chosen)
        rescore, rest = self._scorer.score_tower, _part(report, 0.6, 1.0)
        return verified_export.export(preview, rescore, folder, portable=portable, page=page, report=rest)

    def layouts(self) -> dict[str, str]:
        """Return the layouts a model can be written in, by name with their titles; the base file's own comes first."""
        found = writable(self._headers.base.layout, self._vision)
        return {name: layout.title for name, layout in found.items()}

    @property
    def _vision(self) -> Mapping[str, Any]:
        return self._headers.arch.config["vision_cfg"]

    @recalled
    def thumbnails(self, task: str, most: int) -> list[bytes]:
        """Return some of a task's proxies as PNG bytes."""
        return to_png(self.stages.proxies(self.recipe, self._task(task))[:most], self._headers.proxies[task].how)

    def labelled_thumbnails(self, task: str, split: Split, indices: Sequence[int]) -> list[bytes]:
        """Return some of a task's labelled images as small PNG files.

        Args:
            task: whose images.
            split: "validation" or "test".
            indices: places in the labelled set, at most MOST_THUMBNAILS.

        Raises:
            ImagesError: there are no such images, or they are too many.
        """
        self._scorer.need_labels(split)
        count = self._headers.labelled[split][self._task(task)].count
        if len(indices) > MOST_THUMBNAILS or not all(0 <= index < count for index in indices):
            raise ImagesError(f"{task} has {count} {split} images", f"ask for at most {MOST_THUMBNAILS} of them")
        how = self._headers.labelled[split][task].how
        return to_png(shrunk(self._scorer.pictures(task, split, indices)), how) if indices else []

    def layer(self, name: str) -> Layer:
        """Return a layer by its name.

        Raises:
            RecipeError: there is none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise RecipeError(f"there is no layer {name!r}", "use a name of this tower")

    def label_source(self) -> Split | None:
        """Return the split a preview is measured on: test where there is one, else validation, else nothing."""
        splits: tuple[Split, ...] = ("test", "validation")
        return next((split for split in splits if self.has_labels(split)), None)

    def headers(self) -> Headers:
        """Return the opened files."""
        return self._headers

    def _to_score_on(self, split: Split | Literal["none"] | None) -> Split | None:
        """Return the split of a sweep: the one asked for, or the first of validation and test that every task has."""
        splits: tuple[Split, ...] = ("validation", "test")
        if split is None:
            return next((each for each in splits if self.has_labels(each)), None)
        return None if split == "none" else split

    @property
    def _has_proxies(self) -> bool:
        return set(self._headers.proxies) == set(self.tasks)

    def _images(self, split: Split | None, limit: int) -> int:
        """Return the labelled images that one evaluation counts, over all tasks, as far as is known by now."""
        labelled = self._headers.labelled[split].values() if split else ()
        return sum(listed.usable_of(spread(listed.count, limit)) for listed in labelled)

    def _validated(self, recipe: Recipe, limit: int, report: Report) -> Evaluation:
        """Return validation accuracy, which every expert must allow to be normalised (METHOD, ESM step 4)."""
        evaluation = self.evaluate(recipe, "validation", limit, report, oracle=False)
        for row in evaluation.tasks:
            if not row.finetuned.correct:
                wrong = f"{row.task}'s expert is right on none of its {row.finetuned.n} validation images"
                raise HeadError(wrong, "check its head and its labels")
        return evaluation

    def _answers(self, model: Recipe | Reference, task: str, split: Split, limit: int, report: Report) -> Tensor:
        """Return the classes that a model answers on a task's images, (n,)."""
        self._scorer.need_labels(split)
        if isinstance(model, Recipe):
            own = self._own(model)
            self._alpha(own)
            contestant = Contestant((self.canonical(own),), lambda: self.tower(own, _part(report, 0.0, 0.5)))
        elif model in REFERENCES:
            contestant = self._scorer.base() if model == "pretrained" else self._scorer.expert(task)
        else:
            raise RecipeError(f"there is no model {model!r}", f"give a recipe, or {' or '.join(REFERENCES)}")
        asked = len(spread(self._headers.labelled[split][task].count, limit))
        done = 0

        def boundary(images: int) -> None:
            nonlocal done
            done += images
            report(0.5 + 0.5 * done / asked, f"{task}, {split} images")

        return self._scorer.answers(contestant, task, split, limit, boundary).chosen

    def _need_measurable(self, recipe: Recipe, split: Split | None, limit: int) -> None:
        """Refuse, before work starts, what could not be merged or measured later."""
        if type(limit) is not int or limit < 0:
            raise RecipeError(f"the number of images is {limit!r}", "give a whole number; 0 is all of them")
        if split is not None:
            self._scorer.need_labels(split)
        elif not self._has_proxies:
            raise ImagesError(
                "there is nothing to measure by", "give every task proxies, or labelled images and a head"
            )
        if recipe.parameters["alpha"] == "search":
            self._scorer.need_labels("validation")
        self._need_rank(recipe)

    def _need_rank(self, recipe: Recipe) -> None:
        """Refuse a rank that leaves a layer no direction."""
        if "rank_ratio" in recipe.parameters:
            for layer in self.layers:
                with located(f"at {layer.name}"):
                    explore.rank_of(recipe, layer)

    def _rank_is_possible(self, recipe: Recipe) -> bool:
        try:
            self._need_rank(recipe)
        except NumericsError:
            return False
        return True

    def _own(self, recipe: Recipe) -> Recipe:
        if _files(recipe) != _files(self.recipe):
            raise RecipeError(
                "this recipe names other files than the opened project", "open it as a project of its own"
            )
        return settle(recipe)

    def _task(self, name: str) -> str:
        if name not in self.tasks:
            raise RecipeError(f"there is no task {name!r}", f"use {', '.join(self.tasks)}")
        return name

    def _alpha(self, recipe: Recipe) -> float:
        alpha = recipe.parameters["alpha"]
        if isinstance(alpha, str):
            raise RecipeError("alpha is still to be searched", "search it on validation images, or give a number")
        return float(alpha)


def _files(recipe: Recipe) -> tuple[object, ...]:
    """Return what a project is opened on; method, parameters, weights, dtype and seed may change under it."""
    models = tuple(dataclasses.replace(model, weight=1.0, sha256="") for model in recipe.models)
    return recipe.arch, recipe.base, models, recipe.folder


def _most_alpha(recipe: Recipe) -> float:
    """Return the upper end of α's range, a number in every method."""
    reach = METHODS[recipe.method].knobs["alpha"].range
    assert reach is not None
    return reach[1]


def _part(report: Report, start: float, end: float) -> Report:
    """Return a report that fills one part of another one's bar."""
    return lambda fraction, words: report(start + (end - start) * fraction, words)


def _known_mean(row: tuple[float, ...]) -> float:
    known = [value for value in row if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
