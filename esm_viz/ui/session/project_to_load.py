"""The project on the Load tab: checked and perhaps measured, but not yet shown on the other tabs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from esm_viz.core.errors import EsmVizError
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import ActivationScores, Judgement, OwnAccuracy
from esm_viz.hub.download_plan import NO_NAMES, DownloadPlan
from esm_viz.inspection import file_judgement
from esm_viz.inspection.recipe_from_folder import FoundProject
from esm_viz.papers.hub_names import with_class_names
from esm_viz.project.project import Project

THUMBNAILS = 3


@dataclass
class Candidate:
    """A project that has not been decomposed yet.

    Attributes:
        name: its name to show.
        recipe: the recipe with all models.
        judgement: the verdicts on all models; `judge` updates it.
        choices: the recipe with each fitting architecture, by open_clip's name, if the recipe does not give one.
        left_out: tasks that the visitor left out.
        wrong: errors found when whole files were read, by model.
        same: the model whose weights a task shares, if reading the files has found one.
        own: the experts' accuracy on their own images, if it was measured.
        activations: the base's accuracy with either activation, if it was measured.
        project: the project of the chosen models, read and hashed, with the recipe of this choice.
        thumbs: PNG files of a few proxies by task.
        ready_made: whether it is decomposed already.
        asks: whether the activation is unknown, so that the visitor has to confirm it.
        found: how the recipe was made from file names; None if there was a recipe.
        plan: the recipe's names on a hub, with their files.
        missing_bytes: bytes to be downloaded for each name that is not downloaded, by the name.
        confirming: whether the visitor was asked to confirm a large download.
    """

    name: str
    recipe: Recipe
    judgement: Judgement
    choices: Mapping[str, Recipe] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    wrong: Mapping[str, EsmVizError] = field(default_factory=dict)
    same: Mapping[str, str] = field(default_factory=dict)
    own: tuple[OwnAccuracy, ...] = ()
    activations: ActivationScores | None = None
    project: tuple[Recipe, Project] | None = None
    thumbs: Mapping[str, list[bytes]] = field(default_factory=dict)
    ready_made: bool = False
    asks: bool = False
    found: FoundProject | None = None
    plan: DownloadPlan = NO_NAMES
    missing_bytes: Mapping[str, int] = field(default_factory=dict)
    confirming: bool = False

    @classmethod
    def of_recipe(
        cls, name: str, recipe: Recipe, found: FoundProject | None = None, plan: DownloadPlan = NO_NAMES
    ) -> Candidate:
        """Check a recipe's files; those of its names on a hub by their headers.

        Raises:
            RecipeError: its method, parameters or architecture are wrong, so that nothing can be judged.
        """
        missing = {each.pinned.written: each.missing_bytes for each in plan.names if each.missing}
        judgement = file_judgement.judge(recipe, decomposing=True, unread=missing.keys())
        thumbs = file_judgement.thumbnails(recipe, judgement, THUMBNAILS)
        asks = not judgement.activation_said
        choices = file_judgement.choices(recipe)
        return cls(
            name, recipe, judgement, choices, thumbs=thumbs, asks=asks, found=found, plan=plan, missing_bytes=missing
        )

    @classmethod
    def of_project(cls, name: str, project: Project, thumbs: Mapping[str, list[bytes]]) -> Candidate:
        """Return the candidate of a project that is already decomposed."""
        opened = (project.recipe, project)
        return cls(name, project.recipe, project.judgement, project=opened, thumbs=thumbs, ready_made=True)

    def judge(self) -> None:
        """Update the verdicts after a choice of the visitor or after files were read.

        Raises:
            RecipeError: as in `of_recipe`.
        """
        self.judgement = file_judgement.judge(
            self.recipe,
            left_out=self.left_out,
            wrong=self.wrong,
            same=self.same,
            decomposing=True,
            unread=self.missing_bytes.keys(),
        )

    @property
    def to_download(self) -> DownloadPlan:
        """Return the names of the chosen models that are not downloaded."""
        wanted = {*self.chosen.names} & self.missing_bytes.keys()
        return DownloadPlan(tuple(each for each in self.plan.names if each.pinned.written in wanted))

    @property
    def missing(self) -> int:
        """Return how many bytes are to be downloaded for the chosen models."""
        return sum(self.missing_bytes[each.pinned.written] for each in self.to_download.names)

    def with_downloads(self, places: Mapping[str, Path]) -> Candidate:
        """Return this project with some of its names downloaded, checked again.

        Args:
            places: local paths by name.

        Raises:
            RecipeError: as in `of_recipe`.
        """
        recipe = self.recipe.replace(downloaded={**self.recipe.downloaded, **places})
        plan = DownloadPlan(tuple(each for each in self.plan.names if each.pinned.written not in places))
        new = Candidate.of_recipe(self.name, with_class_names(recipe), self.found, plan)
        new.left_out, new.asks = self.left_out, self.asks
        new.judge()
        return new

    @property
    def shown(self) -> Judgement:
        """Return the verdicts with the measured accuracies."""
        return file_judgement.measured(self.judgement, self.own)

    @property
    def chosen(self) -> Recipe:
        """Return the recipe without the models that are left out."""
        return file_judgement.without(self.recipe, self.left_out)

    @property
    def opened(self) -> Project | None:
        """Return the project of the chosen models if their files were read; None otherwise."""
        return self.project[1] if self.project is not None and self.project[0] == self.chosen else None

    @property
    def arch(self) -> str:
        """Return the name of the chosen architecture in `choices`; empty if there is none."""
        same = (name for name, other in self.choices.items() if _shape(other) == _shape(self.recipe))
        return next(same, "")

    @property
    def in_the_way(self) -> tuple[str, ...]:
        """Return the refused tasks that are not left out."""
        return tuple(
            model.name
            for model in self.judgement.experts
            if model.verdict.stance == "refused" and model.name not in self.left_out
        )

    @property
    def reason(self) -> str:
        """Say why the decomposition cannot start; empty if it can."""
        if self.judgement.base.verdict.stance == "refused":
            return "The base is refused"
        if not self.chosen.models:
            return "No expert is left"
        if self.in_the_way:
            return f"First leave {enumerated(self.in_the_way)} out"
        if not self.judgement.activation_said:
            return "First confirm the activation"
        if self.missing:
            return "First download it"
        return ""


def enumerated(names: tuple[str, ...]) -> str:
    """Return a few names as text, or their number if there are many."""
    return names[0] if len(names) == 1 else f"{len(names)} files"


def _shape(recipe: Recipe) -> str:
    """Return the architecture in one form for comparison, whether its activation is in the name or in a config."""
    return file_judgement.with_activation(recipe, quick_gelu=True).arch
