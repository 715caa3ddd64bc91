"""A project: one recipe's files, opened once, and every question that can be asked of them.

A question lives in its room and is registered there; here it becomes a method. All are pure in the recipe they are
given: it differs from the opened one in method, parameters, weights, dtype or seed, never in files. Everything is
cached by stage, so that only what a knob touches runs again.
"""

from __future__ import annotations

from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Inspection, Judgement, OwnAccuracy
from esm_viz.evaluation import (
    accuracy_measurement,
    agreement_measurement,
    expert_check,
    label_free_measures,
    model_comparison,
)
from esm_viz.evaluation import thumbnails as thumbnails_
from esm_viz.explore import angles as angles_
from esm_viz.explore import layer_map as layer_map_
from esm_viz.explore import overlap as overlap_
from esm_viz.explore import patches as patches_
from esm_viz.explore import scaling_profile as scaling_profile_
from esm_viz.explore import spectrum as spectrum_
from esm_viz.explore import stability as stability_
from esm_viz.explore import subspace_map as subspace_map_
from esm_viz.export import project_export
from esm_viz.inspection.file_judgement import judged, same_weights
from esm_viz.inspection.opened_files import Headers, open_headers, read_digests
from esm_viz.merge import settle
from esm_viz.runtime.device import resolve_device
from esm_viz.runtime.stage_cache import StageCache
from esm_viz.search import alpha_search, knob_sweep, knob_tuning
from esm_viz.search import search_objective as search_objective_
from esm_viz.stages import merged_model
from esm_viz.stages.merge_stages import Stages
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import QUESTIONS


def inspect(recipe: Recipe) -> Inspection:
    """Judge a recipe by headers and folder listings alone; no weight is read.

    Raises:
        EsmVizError: the first thing that is wrong.
    """
    settle(recipe)
    return open_headers(recipe).inspection


class Project(OpenedProject):
    """One recipe's files, and every question that can be asked of them, by its name.

    Attributes:
        same: models with the same weights as another one, by name.
    """

    def __init__(self, recipe: Recipe, headers: Headers, stages: Stages) -> None:
        """Use `Project.open`."""
        super().__init__(recipe, headers, stages)
        self.same = same_weights(recipe, headers, stages.digests)

    @classmethod
    def open(
        cls, recipe: Recipe, *, device: str = "auto", cache: StageCache | None = None, progress: Progress = NO_PROGRESS
    ) -> Project:
        """Judge all headers, then read every file once: hashes, NaN and Inf.

        Args:
            recipe: from `load_recipe` or `recipe.parse_mapping`.
            device: "auto", "cpu" or "cuda".
            cache: shared with other projects; a new one where None.
            progress: progress, may raise Cancelled.

        Raises:
            EsmVizError: whatever is wrong with the input, before any work starts.
        """
        recipe = settle(recipe)
        where = resolve_device(device)
        headers = open_headers(recipe)
        digests = read_digests(recipe, headers, progress)
        return cls(recipe, headers, Stages(headers, digests, where, StageCache() if cache is None else cache))

    @property
    def judgement(self) -> Judgement:
        """Return the verdict of every model, now that none is refused."""
        return judged(self.recipe, self.headers, self.same)

    def own_accuracy(self, progress: Progress = NO_PROGRESS) -> tuple[OwnAccuracy, ...]:
        """Run each expert on its own validation images, where it has some: does the file do its task?"""
        return expert_check.own_accuracy(self.scorer, progress)

    def prepare(self, progress: Progress = NO_PROGRESS) -> None:
        """Run the heavy stages of every task and layer: moments and decompositions."""
        self.stages.prepare(self.recipe, self.layers, progress)
        self.recorded = None  # this machine's own from now on

    # where the tasks' changes live
    layer_map = layer_map_.layer_map
    spectrum = spectrum_.spectrum
    ranks_for_energy = spectrum_.ranks_for_energy
    overlap = overlap_.overlap
    angles = angles_.angles
    subspace_map = subspace_map_.subspace_map
    stability = stability_.stability
    patches = patches_.patches
    scaling_profile = scaling_profile_.scaling_profile
    thumbnails = thumbnails_.thumbnails
    labelled_thumbnails = thumbnails_.labelled_thumbnails
    # the merged model, and how good it is
    materialize = merged_model.materialize
    routed_adapters = merged_model.routed_adapters
    tower = merged_model.tower
    encode = merged_model.encode
    encode_routed = merged_model.encode_routed
    merge = label_free_measures.merge
    is_cached = label_free_measures.is_cached
    evaluate = accuracy_measurement.evaluate
    agreement = agreement_measurement.agreement
    confusion = model_comparison.confusion
    flips = model_comparison.flips
    routed_images = model_comparison.routed_images
    difference = model_comparison.difference
    # which knobs are best
    search_objective = search_objective_.search_objective
    alpha_curve = alpha_search.alpha_curve
    search_alpha = alpha_search.search_alpha
    with_alpha_found = alpha_search.with_alpha_found
    sweep = knob_sweep.sweep
    spaced = knob_sweep.spaced
    search_knobs = knob_tuning.search_knobs
    # the model as files
    export = project_export.export
    layouts = project_export.layouts


for _name, _question in QUESTIONS.items():  # one that is not named above is a method all the same
    if not hasattr(Project, _name):
        setattr(Project, _name, _question)
