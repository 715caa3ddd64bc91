"""The registry of merge methods, and the check of a recipe's parameters against its method's knobs."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from string import Formatter
from types import MappingProxyType
from typing import Annotated, Any, Literal, Protocol, TypeVar, get_args, get_origin, get_type_hints

from torch import Tensor

from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import Recipe, as_number, shown
from esm_viz.core.records import Knob, Role, Setting, Span, Stage, Value
from esm_viz.numerics.essential_subspace_decomposition import Decomposition
from esm_viz.numerics.factored_change import FactoredChange
from esm_viz.numerics.magnitude_selection import magnitude_cutoff
from esm_viz.numerics.second_moments import Moment

T = TypeVar("T")


class Memo(Protocol):
    """Cache of a method's stages: `memo("basis", (ρ, γ), compute)`; the key has every knob that `compute` reads."""

    def __call__(self, stage: Stage, knobs: tuple[Hashable, ...], compute: Callable[[], T]) -> T:
        """Return the cached value of this layer and key, or that of `compute`."""
        ...


def run_now(stage: Stage, knobs: tuple[Hashable, ...], compute: Callable[[], T]) -> T:  # noqa: ARG001
    """Compute without a cache, for notebooks and tests."""
    return compute()


class LayerUpdate:
    """One task's change of one parameter; its tensors are computed only when needed, since a stage may be cached.

    Attributes:
        weight: the task's weight in the recipe, by which its ΔW is multiplied.
        measured: whether there are moments of the layer's inputs.
        essential: whether ESD applies (in_proj, c_fc, c_proj).
        d_out, d_in: the matrix' shape; first and last side of a parameter that is none.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        load_delta: Callable[[], Tensor],
        load_moment: Callable[[], Moment] | None = None,
        load_decomposition: Callable[[], Decomposition] | None = None,
        weight: float = 1.0,
        load_cutoff: Callable[[float], float] | None = None,
        load_factors: Callable[[], FactoredChange | None] | None = None,
    ) -> None:
        """Keep functions that load the tensors; None for what the layer does not have."""
        self.d_out, self.d_in = shape
        self.weight = weight
        self._load_delta = load_delta
        self._load_moment = load_moment
        self._load_decomposition = load_decomposition
        self._load_cutoff = load_cutoff
        self._load_factors = load_factors

    @property
    def measured(self) -> bool:
        """Say whether there are moments of the layer's inputs."""
        return self._load_moment is not None

    @property
    def essential(self) -> bool:
        """Say whether ESD applies to the layer."""
        return self._load_decomposition is not None

    @property
    def delta(self) -> Tensor:
        """Return weight · ΔW_t, float64, (d_out, d_in) or the shape of a parameter that is no matrix."""
        delta = self._load_delta()
        return delta if self.weight == 1.0 else delta * self.weight

    @property
    def factors(self) -> FactoredChange | None:
        """Return weight · ΔW_t as a product of thin matrices; None if it is none."""
        found = self._load_factors() if self._load_factors is not None else None
        return found if found is None or self.weight == 1.0 else found._replace(left=found.left * self.weight)

    @property
    def moment(self) -> Moment:
        """Return the second moment of the layer's input."""
        if self._load_moment is None:
            raise LookupError("this layer has no moments: ask `measured` first")
        return self._load_moment()

    @property
    def decomposition(self) -> Decomposition:
        """Return the ESD of ΔW_t, without the weight, which does not change the subspace."""
        if self._load_decomposition is None:
            raise LookupError("this layer has no decomposition: ask `essential` first")
        return self._load_decomposition()

    def cutoff(self, share: float) -> float:
        """Return the smallest magnitude among the largest `share` of the task's entries.

        It is taken over all parameters of the task, or over this matrix if only that is known. It is multiplied by the
        task's weight, like `delta`, so the weight does not change which entries are selected.

        Args:
            share: share of the entries, in (0, 1]; at least one is selected, and all others of equal magnitude.
        """
        load = self._load_cutoff or partial(magnitude_cutoff, lambda: [self._load_delta()], self.d_out * self.d_in)
        return load(share) * abs(self.weight)


Needs = Literal["delta", "moments", "decompositions"]
MergeLayer = Callable[..., Tensor]
LiveEffects = Callable[..., dict[str, Span]]
Survey = Callable[..., object]


@dataclass(frozen=True, slots=True)
class Preset:
    """One named setting of a method, as a paper publishes it.

    Attributes:
        says: what is special about it, in a few words.
        parameters: values of knobs that differ from the defaults; includes α if the paper fixes it.
        name, title, source: name on the command line, title to show, and publication; the method's own if empty.
        method: name of its method; set when the method is registered.
    """

    says: str
    parameters: Mapping[str, Value] = field(default_factory=dict)
    name: str = ""
    title: str = ""
    source: str = ""
    method: str = ""

    @property
    def fixes_alpha(self) -> bool:
        """Say whether the paper gives α, instead of searching it on validation images."""
        return "alpha" in self.parameters


@dataclass(frozen=True, slots=True)
class Method:
    """A registered merge method.

    Attributes:
        name, title, source: name in recipes, title to show, and publication.
        summary: first line of its docstring.
        formula: the summary as HTML for the screen, with formulas in braces; empty if the summary has none.
        needs: "delta" alone, "moments" too, or "decompositions" too; the latter two need proxies.
        knobs, defaults: settings in the order of the signature, including α and its scope.
        merge_layer: (updates, memo, **knobs it reads) -> ΔW of one parameter, before the inter-layer level and α.
        live: same arguments -> (least, greatest) value of each knob's formula there; None without such formulas.
        survey: (update, **same knobs); computes what the method needs from a whole task; None if nothing.
        reads: names of the knobs that `merge_layer` reads.
        static: name of the method of its weights: itself, or the method to whose weights it adds routed adapters.
        presets: its published settings, at least one.
        searches_alpha: whether its α is searched where methods are compared.
        every_parameter: whether it merges vectors and convolutions too; in other methods they are averaged.
    """

    name: str
    title: str
    source: str
    summary: str
    formula: str
    needs: Needs
    knobs: Mapping[str, Knob]
    defaults: Mapping[str, Value]
    merge_layer: MergeLayer
    live: LiveEffects | None
    survey: Survey | None
    reads: tuple[str, ...]
    static: str
    presets: tuple[Preset, ...]
    searches_alpha: bool
    every_parameter: bool

    @property
    def roles(self) -> Mapping[Role, str]:
        """Return the names of knobs by role, for packages that look a knob up by its meaning."""
        return {knob.role: name for name, knob in self.knobs.items() if knob.role}

    def arguments(self, parameters: Mapping[str, Value]) -> dict[str, Value]:
        """Return the parameters that `merge_layer` reads."""
        return {name: parameters[name] for name in self.reads}


METHODS: dict[str, Method] = {}


def no_merge(now: Setting) -> str:
    """Say what the model is with α = 0."""
    left = "the adapters work on the pre-trained model" if now.routed else "B is the pre-trained model"
    return f"No effect of the merge: α is 0, {left}." if now.value == 0 else ""


ALPHA = Knob(
    label="Scale",
    symbol="α",
    range=(0.0, 3.0, 0.01),
    wakes="weights",
    text="How much of the merged change is added to the pre-trained weights; a search finds it on validation images "
    "or, without labels, on proxies.",
    formula='<span class="m">W</span> = W<sub>0</sub> + {value} · ΔW, all tensors',
    word="search",
    no_effect=no_merge,
)
ITS_OWN = (Preset("its paper's setting"),)


def merge_method(
    name: str,
    *,
    title: str,
    source: str,
    needs: Needs = "delta",
    after: Mapping[str, tuple[Knob, Value]] | None = None,
    live: LiveEffects | None = None,
    survey: Survey | None = None,
    summary: str = "",
    formula: str = "",
    static: str = "",
    presets: Sequence[Preset] = ITS_OWN,
    alpha: Knob = ALPHA,
    searches_alpha: bool = True,
    every_parameter: bool = False,
) -> Callable[[MergeLayer], MergeLayer]:
    """Register a function as a merge method; its annotated parameters are its knobs.

    Args:
        name: name in recipes.
        title: title to show.
        source: its publication.
        needs: "delta" alone, "moments" too, or "decompositions" too.
        after: knobs applied after the layers are merged (inter-layer level, scope of α), with their defaults.
        live: returns the values of the knobs' formulas at a layer.
        survey: computes, from one update, what the method needs from the whole task; it runs before the layers.
        summary: what it does, in one line; by default the function's docstring.
        formula: the summary as trusted HTML, with formulas in braces in the HTML of a knob's formula; empty if the
            summary has no formula.
        static: the method of its weights, if it adds routed adapters to them.
        presets: published settings, if there are others than all knobs at their defaults.
        alpha: the knob for α, if its formula differs from other methods.
        searches_alpha: False if the method's definition fixes α.
        every_parameter: True if the method, as published, also merges vectors and convolutions, entry by entry.

    Raises:
        TypeError: a parameter has no knob, or a formula names a knob that the method does not have.
        ValueError: the name of the method or of a preset is taken.
    """

    def register(function: MergeLayer) -> MergeLayer:
        knobs: dict[str, Knob] = {}
        defaults: dict[str, Value] = {}
        hints = get_type_hints(function, include_extras=True)
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name in ("updates", "memo"):
                continue
            knobs[parameter.name] = _knob_of(hints[parameter.name], f"{name}.{parameter.name}")
            defaults[parameter.name] = parameter.default
        reads = tuple(knobs)
        for extra, (knob, default) in (after or {}).items():
            knobs[extra], defaults[extra] = knob, default
        knobs["alpha"], defaults["alpha"] = alpha, 1.0
        _check_formulas(name, knobs)
        if name in METHODS:
            raise ValueError(f"two merge methods are named {name}")
        METHODS[name] = Method(
            name=name,
            title=title,
            source=source,
            summary=summary or (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " "),
            formula=formula,
            needs=needs,
            knobs=MappingProxyType(knobs),
            defaults=MappingProxyType(defaults),
            merge_layer=function,
            live=live,
            survey=survey,
            reads=reads,
            static=static or name,
            presets=_completed(presets, name, title, source),
            searches_alpha=searches_alpha,
            every_parameter=every_parameter,
        )
        return function

    return register


def _knob_of(hint: Any, what: str) -> Knob:
    if get_origin(hint) is Annotated:
        for note in get_args(hint)[1:]:
            if isinstance(note, Knob):
                return note
    raise TypeError(f"{what} has no Knob in its annotation")


def _completed(presets: Sequence[Preset], method: str, title: str, source: str) -> tuple[Preset, ...]:
    """Return a method's presets with the method's name, title and source filled in."""
    taken = {preset.name for other in METHODS.values() for preset in other.presets}
    found = []
    for preset in presets:
        name = preset.name or method
        if name in taken:
            raise ValueError(f"two presets are named {name}")
        taken.add(name)
        own = replace(preset, name=name, title=preset.title or title, source=preset.source or source, method=method)
        found.append(own)
    return tuple(found)


def _check_formulas(method: str, knobs: Mapping[str, Knob]) -> None:
    for name, knob in knobs.items():
        for _, slot, _, _ in Formatter().parse(knob.formula):
            if slot is not None and slot not in ("live", "value", *knobs):
                raise TypeError(f"the formula of {method}.{name} names {slot!r}, use live, value or a knob of it")


def settle(recipe: Recipe) -> Recipe:
    """Check that a recipe's parameters are known and in range, and fill in all defaults.

    Raises:
        RecipeError: the method or a parameter is unknown, a value is out of range, or proxies that the method needs
            are missing.
    """
    method = METHODS.get(recipe.method)
    if method is None:
        raise RecipeError(
            f"merge_method is {recipe.method!r}{_nearest(recipe.method, METHODS)}", f"use one of {', '.join(METHODS)}"
        )
    settled = dict(method.defaults)
    for name, value in recipe.parameters.items():
        settled[name] = checked(name, value, knob_of(method, name))
    bare = [model.name for model in recipe.models if not model.proxies]
    if method.needs != "delta" and bare:
        raise RecipeError(
            f"{bare[0]} has no proxies, which {recipe.method} reads", "give up to 32 unlabelled images of it"
        )
    return recipe.replace(parameters=MappingProxyType(settled))


def with_method(recipe: Recipe, name: str) -> Recipe:
    """Return the recipe with another method at its defaults, including its default α."""
    return settle(recipe.replace(method=name, parameters=MappingProxyType({})))


def with_parameters(recipe: Recipe, /, **values: Value) -> Recipe:
    """Return the recipe with some parameters changed, checked as if it had been read from a file."""
    return settle(recipe.replace(parameters=MappingProxyType({**recipe.parameters, **values})))


def knob_of(method: Method, name: str) -> Knob:
    """Return a method's knob by its name in a recipe.

    Raises:
        RecipeError: there is none.
    """
    if name not in method.knobs:
        raise RecipeError(
            f"{method.name} has no parameter {name!r}{_nearest(name, method.knobs)}", f"use {', '.join(method.knobs)}"
        )
    return method.knobs[name]


def static_part(recipe: Recipe) -> Recipe:
    """Return the recipe of the weights without adapters: ESM for ESM++; other recipes are returned unchanged."""
    static = METHODS[METHODS[recipe.method].static]
    if static.name == recipe.method:
        return recipe
    kept = {name: value for name, value in recipe.parameters.items() if name in static.knobs}
    return recipe.replace(method=static.name, parameters=MappingProxyType(kept))


def checked(name: str, value: Value, knob: Knob) -> Value:
    """Return a knob's value after a check, with the type that the method reads.

    Raises:
        RecipeError: it has the wrong type or is out of range.
    """
    if knob.choices or (knob.word and value == knob.word):
        if value in knob.choices or (knob.word and value == knob.word):
            return value
        raise RecipeError(f"{name} is {shown(value)}", f"use {' or '.join(knob.choices)}")
    if knob.range is None:
        raise TypeError(f"knob {name} has neither range nor choices")
    least, most, _ = knob.range
    kind, word = "whole number" if knob.whole else "number", f" or the word {knob.word}" if knob.word else ""
    remedy = f"give a {kind} from {least:g} to {most:g}{word}"
    number = as_number(value)
    if number is None or not math.isfinite(number):
        raise RecipeError(f"{name} is {shown(value)}", remedy)
    if not least <= number <= most or (knob.whole and not number.is_integer()):
        raise RecipeError(f"{name} is {number:g}", remedy)
    return int(number) if knob.whole else number + 0.0  # turns -0 into 0, so that both have one hash


def _nearest(name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
