"""What a visitor is about to load: judged, perhaps measured, and not yet on screen in the other tabs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from esm_viz.core.errors import EsmVizError
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import ActivationScores, Judgement, OwnAccuracy
from esm_viz.inspection import file_judgement
from esm_viz.inspection.recipe_from_folder import FoundProject
from esm_viz.project.project import Project

THUMBNAILS = 3


@dataclass
class Candidate:
    """A project that waits for its one heavy step.

    Attributes:
        name: for people.
        recipe: with all of its models.
        judgement: of all of them; `judge` makes it anew.
        choices: the recipe under each architecture that fits, by open_clip's name, where nobody said which.
        left_out: tasks that the visitor leaves out.
        wrong: what reading whole files has found wrong, by model.
        same: whose weights a task has, where reading them has found that.
        own: how the experts do on their own images, where that was measured.
        activations: what the base says of them, where that was measured.
        project: the chosen models' files, read and hashed, with the recipe that they were chosen by.
        thumbs: a few proxies by task.
        ready_made: whether it is decomposed already.
        asks: whether nobody has said the activation, so that the visitor has to.
        found: how the recipe was made from names, where it was.
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

    @classmethod
    def of_recipe(cls, name: str, recipe: Recipe, found: FoundProject | None = None) -> Candidate:
        """Judge a recipe's files.

        Raises:
            RecipeError: its method, parameters or architecture are wrong, so that nothing can be judged.
        """
        judgement = file_judgement.judge(recipe, decomposing=True)
        thumbs = file_judgement.thumbnails(recipe, judgement, THUMBNAILS)
        asks = not judgement.activation_said
        return cls(name, recipe, judgement, file_judgement.choices(recipe), thumbs=thumbs, asks=asks, found=found)

    @classmethod
    def of_project(cls, name: str, project: Project, thumbs: Mapping[str, list[bytes]]) -> Candidate:
        """Return a project whose files are open and decomposed already."""
        opened = (project.recipe, project)
        return cls(name, project.recipe, project.judgement, project=opened, thumbs=thumbs, ready_made=True)

    def judge(self) -> None:
        """Judge anew, after the visitor chose or a file was read.

        Raises:
            RecipeError: as in `of_recipe`.
        """
        self.judgement = file_judgement.judge(
            self.recipe, left_out=self.left_out, wrong=self.wrong, same=self.same, decomposing=True
        )

    @property
    def shown(self) -> Judgement:
        """Return the verdicts with what was measured."""
        return file_judgement.measured(self.judgement, self.own)

    @property
    def chosen(self) -> Recipe:
        """Return the recipe without the models that are left out."""
        return file_judgement.without(self.recipe, self.left_out)

    @property
    def opened(self) -> Project | None:
        """Return the project of the chosen models, where their files were read."""
        return self.project[1] if self.project is not None and self.project[0] == self.chosen else None

    @property
    def arch(self) -> str:
        """Return which of the choices the recipe has now; empty where there is none."""
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
        """Say why the decomposition waits; empty where it may start."""
        if self.judgement.base.verdict.stance == "refused":
            return "The base is refused"
        if not self.chosen.models:
            return "No expert is left"
        if self.in_the_way:
            return f"First leave {enumerated(self.in_the_way)} out"
        if not self.judgement.activation_said:
            return "First confirm the activation"
        return ""


def enumerated(names: tuple[str, ...]) -> str:
    """Write a few names, or how many there are."""
    return names[0] if len(names) == 1 else f"{len(names)} files"


def _shape(recipe: Recipe) -> str:
    """Return the architecture with its activation said one way, so that both ways compare alike."""
    return file_judgement.with_activation(recipe, quick_gelu=True).arch
