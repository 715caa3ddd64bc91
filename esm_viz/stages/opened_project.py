"""The opened project: a recipe's files, opened once, with their stages; every question takes one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from esm_viz.core import recipe as recipes
from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Evaluation, Layer, OwnAccuracy, Split
from esm_viz.data.images.image_source import preprocessing_of
from esm_viz.inspection.opened_files import Headers, searched_on_test
from esm_viz.merge import settle
from esm_viz.numerics.eigenvalue_spectrum import least_ratio
from esm_viz.runtime.device import device_title
from esm_viz.runtime.recorded_results import RecordedResults
from esm_viz.stages.cached_predictions import Scorer
from esm_viz.stages.merge_stages import Stages


class OpenedProject:
    """One recipe's opened files and their stages.

    Attributes:
        recipe: the recipe with all parameters.
        tasks, layers: names of the tasks and the tower's layers, in order.
        device, device_title: "cpu" or "cuda", and its name to show.
        inspection: the result of checking the headers.
        files_sha256: digest of all files that merged weights depend on, without method and knobs.
        image_size: width and height of the tower's images in pixels.
        preprocessing: the tower's preprocessing.
        headers: the opened files.
        stages: stages of merges, cached.
        scorer: predictions on labelled images, cached.
        recorded: results of another machine, used until this project has been prepared; None to compute everything.
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
        self.headers = headers
        self.stages = stages
        self.scorer = Scorer(recipe, headers, stages.digests, stages.device, stages.cache)
        bare = tuple(dataclasses.replace(model, weight=1.0) for model in recipe.models)
        files = recipe.replace(method="", models=bare, parameters={}, dtype="", seed=0)
        self.files_sha256 = recipes.sha256_text(recipes.canonical(files, stages.digests))
        self.recorded: RecordedResults | None = None

    def settled(self, recipe: Recipe) -> Recipe:
        """Return a recipe with all parameters filled in.

        Raises:
            RecipeError: it has other files than the opened project, or a value is out of range.
        """
        if _files(recipe) != _files(self.recipe):
            raise RecipeError(
                "this recipe names other files than the opened project", "open it as a project of its own"
            )
        return settle(recipe)

    def least_rank_ratio(self, step: float) -> float:
        """Return the least ρ that leaves every task a direction at every layer, on a step; over 1 if none does."""
        return least_ratio(self.stages.narrowest.d_out, len(self.tasks), step)

    def known_task(self, name: str) -> str:
        """Return a task's name if the project has it.

        Raises:
            RecipeError: there is no such task.
        """
        if name not in self.tasks:
            raise RecipeError(f"there is no task {name!r}", f"use {', '.join(self.tasks)}")
        return name

    def layer(self, name: str) -> Layer:
        """Return a layer by its name.

        Raises:
            RecipeError: there is none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise RecipeError(f"there is no layer {name!r}", "use a name of this tower")

    def canonical(self, recipe: Recipe) -> str:
        """Return the recipe's identity as canonical JSON."""
        return recipes.canonical(self.settled(recipe), self.stages.digests)

    def sha256(self, recipe: Recipe) -> str:
        """Return the SHA-256 of the recipe's identity, which does not depend on paths."""
        return recipes.sha256_text(self.canonical(recipe))

    def identity(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """Return a question's arguments with digests in place of the recipe, its files and its images."""
        told = dict(arguments)
        recipe, split = told.get("recipe", self.recipe), told.get("split")
        assert isinstance(recipe, Recipe)
        told["recipe"] = self.sha256(recipe)
        if split in ("validation", "test") and self.has_labels(split):
            told["labels"] = self.scorer.labels_digest(split)
        elif "limit" in told:  # measured on proxies, with the heads
            told["heads"] = {task: head.digest for task, head in self.headers.heads.items()}
        return told

    def has_labels(self, split: Split) -> bool:
        """Say whether every task has labelled images of a split."""
        return self.scorer.has_labels(split)

    @property
    def has_heads(self) -> bool:
        """Say whether every task has a head."""
        return set(self.headers.heads) == set(self.tasks)

    @property
    def has_proxies(self) -> bool:
        """Say whether every task has proxies."""
        return set(self.headers.proxies) == set(self.tasks)

    def labels_digest(self, split: Split) -> str:
        """Return one digest of all labelled images of a split and of their tasks' heads."""
        return self.scorer.labels_digest(split)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Return a sentence for each image set in which broken images were found so far; these are not used."""
        return self.headers.left_out

    def own_of(self, measured: Evaluation) -> tuple[OwnAccuracy, ...]:
        """Return each expert's accuracy on its own task's images, as an evaluation measured it."""
        return tuple(
            OwnAccuracy(
                task=row.task,
                score=row.finetuned,
                classes=len(self.headers.heads[row.task].weight),
                commonest=self.scorer.commonest(row.task, measured.split, measured.limit),
            )
            for row in measured.tasks
        )

    def near_chance(self, measured: Evaluation) -> tuple[str, ...]:
        """Return a sentence for each expert that does no better than guessing: its labels or head may be another's."""
        return tuple(own.near_chance_sentence(measured.split) for own in self.own_of(measured) if own.near_chance)

    def searched_on_test(self) -> tuple[str, ...]:
        """Return a sentence on tasks whose validation images are the test images; none without such tasks."""
        both = [model.name for model in self.recipe.models if model.validation and model.test]
        return searched_on_test([task for task in both if self.scorer.same_images(task)])

    @property
    def digests(self) -> frozenset[str]:
        """Return the SHA-256 of every file that stages were computed from, and of all labelled images read so far."""
        return frozenset(self.stages.digests.values()) | self.scorer.image_digests

    def forget(self, others: Iterable[OpenedProject]) -> None:
        """Drop cached values computed from this project's files, except files that other projects use too."""
        self.stages.cache.forget(self.digests.difference(*(other.digests for other in others)))


def _files(recipe: Recipe) -> tuple[object, ...]:
    """Return the parts of a recipe that are fixed in a project: not method, parameters, weights, dtype or seed."""
    models = tuple(dataclasses.replace(model, weight=1.0, sha256="") for model in recipe.models)
    return recipe.arch, recipe.base, models, recipe.folder
