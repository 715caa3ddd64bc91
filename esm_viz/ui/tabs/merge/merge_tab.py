"""The Merge tab: the content of its pieces, and the handler of their messages."""

from __future__ import annotations

from typing import Any

from esm_viz.core.errors import RecipeError
from esm_viz.core.records import BetweenPoints, Evaluation, ExpertAgreement
from esm_viz.figures import (
    accuracy_figure,
    agreement_figure,
    between_points_figure,
    direction_size_figure,
    interference_figure,
    norms_figure,
    scaling_figure,
)
from esm_viz.figures.number_format import DASH, capitalized, number, percent, safe, short
from esm_viz.merge import METHODS, with_method, with_parameters
from esm_viz.merge.preset_lookup import PRESETS, with_preset
from esm_viz.search.search_objective import CHOSEN
from esm_viz.ui.components.html_snippets import badge, button, panel, segments, stat, two_lines
from esm_viz.ui.components.measured_images import images_in_all, images_of
from esm_viz.ui.session.search_time_estimate import about, alpha_search_seconds
from esm_viz.ui.session.session_searches import CARDS
from esm_viz.ui.session.session_store import Session, State
from esm_viz.ui.session.task_weight import with_weight
from esm_viz.ui.tabs.merge import alpha_curve_card, live_preview, search_cards
from esm_viz.ui.tabs.merge.history_diff import against, in_words
from esm_viz.ui.tabs.merge.knob_rail import rail
from esm_viz.ui.tabs.tab_definition import Piece, Tab


def act(session: Session, message: dict[str, Any]) -> tuple[str, ...]:
    """Handle a message of this tab and return the names of the pieces to update.

    Raises:
        RecipeError: a value is not allowed.
    """
    do, value, name = message.get("do"), message.get("value"), str(message.get("name"))
    if do in search_cards.DOES:
        return search_cards.act(session, message)
    if do in ("knob", "weight", "method", "preset", "reset"):
        with session.lock:  # so that of two concurrent messages none is lost
            search_cards.stop_own_search(session)
            session.recipe = _changed(session, str(do), name, value)
            if do in ("method", "reset") or (do == "preset" and not PRESETS[str(value)].fixes_alpha):
                search_cards.choose_alpha(session)
        live_preview.set_recipe(session, session.recipe, painting=True)
    elif do == "search":
        search_cards.search_alpha(session)
    elif do == "pin":
        session.pinned = current(session) or session.pinned
    elif do == "unpin":
        session.pinned = None
        session.view.heat = "both" if session.view.heat == "difference" else session.view.heat
    elif do == "heat" and value in ("direction", "size", "both", "difference"):
        session.view.heat = "both" if value == "difference" and session.pinned is None else value
    elif do == "measure":
        session.view.agreement = value == "agreement"
    elif do == "levels":
        _show_levels(session, value == "levels")
    elif do == "words":
        session.view.words = value == "words"
    elif do in ("undo", "redo", "history"):
        _go(session, {"undo": session.at - 1, "redo": session.at + 1}.get(str(do), _index(message)))
    if do in ("knob", "weight"):
        return (*live_preview.LIVE, "accuracy")  # history and cards follow when the knob is at rest
    return (*live_preview.LIVE, *live_preview.SCORES, *CARDS)


def current(session: Session) -> State | None:
    """Return the state on screen; None if it is not merged yet."""
    if session.report is None or session.report[0] != session.recipe:
        return None
    scores = session.validation[1] if session.validation and session.validation[0] == session.recipe else None
    title = title_of(session.recipe.method, session.report[1].alpha)
    return State(session.recipe, session.report[1], scores, title, live_preview.agreement_of(session, session.recipe))


def title_of(method: str, alpha: float) -> str:
    """Return a short name of a merge, as HTML."""
    return f"{safe(METHODS[method].title)}, α {short(alpha)}"


def _changed(session: Session, do: str, name: str, value: Any) -> Any:
    recipe = session.recipe
    if do == "method":
        if not isinstance(value, str) or value not in METHODS:
            raise RecipeError(f"there is no method {value!r:.60}", f"use {', '.join(METHODS)}")
        return with_method(recipe, value)
    if do == "preset":
        return with_preset(recipe, str(value))
    if do == "reset":
        return live_preview.reset(recipe)
    if do == "weight":
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RecipeError(f"the weight of {name} is {value!r}", "give a number")
        return with_weight(recipe, name, float(value))
    if name not in METHODS[recipe.method].knobs or not isinstance(value, int | float | str):
        raise RecipeError(f"{METHODS[recipe.method].title} has no knob {name!r}", "reload the page")
    if value == METHODS[recipe.method].knobs[name].word != "":
        raise RecipeError(f"{name} is {value!r}", "use the button that searches it")
    return with_parameters(recipe, **{name: value})


def _index(message: dict[str, Any]) -> int:
    try:
        return int(message.get("index", -1))
    except (TypeError, ValueError):
        return -1


def _go(session: Session, index: int) -> None:
    """Go to an entry of the history; if it is fully measured, only its comparison with A runs."""
    if not 0 <= index < len(session.history):
        return
    state = session.history[index]
    with session.lock:
        if session.live is not None:
            session.live.cancel()
        session.at, session.recipe, session.report = index, state.recipe, (state.recipe, state.report)
        session.validation = (state.recipe, state.evaluation) if state.evaluation else None
        session.agreement = (state.recipe, state.agreement) if state.agreement else None
        session.errors.pop("rail", None)
        session.errors.pop("live", None)
    if session.project.has_labels("validation") and (state.evaluation is None or state.evaluation.limit):
        live_preview.set_recipe(session, state.recipe)  # it was not measured on all images
    else:
        live_preview.compare(session)


def _scores(session: Session) -> tuple[Evaluation | None, bool]:
    """Return the newest scores, and whether they belong to the recipe on screen."""
    if session.validation is None:
        return None, False
    return session.validation[1], session.validation[0] == session.recipe


def _age(session: Session, fresh: bool) -> str:
    """Say whether a picture is of the recipe on screen, will be, or after a refusal will not."""
    return "" if fresh else "stopped" if "live" in session.errors else "updating"


def stats(session: Session) -> dict[str, Any]:
    """Return the strip with the main numbers and the buttons."""
    scores, fresh = _scores(session)
    parts = []
    if scores:
        between = None if fresh else alpha_curve_card.between_points(session)
        wait = "" if fresh else "wait"
        parts.append(_mean(session, scores, wait) if between is None else _mean_between(session, between))
        if difference := live_preview.difference_to(session, session.pinned):
            parts.append(stat("Points against A", against(difference), wait))
        parts.append(stat("Accuracy ÷ expert’s", f"{percent(scores.mean_normalised, 1)} %", wait))
    if session.agreement is not None:
        measured, kept = session.agreement
        parts.append(_agreement(kept, fresh=measured == session.recipe))
    objective = session.project.search_objective() if METHODS[session.recipe.method].searches_alpha else None
    pin = button("pin", "Pin B as A", title="Compare everything that follows with what is on screen now")
    cost = about(alpha_search_seconds(session)).removeprefix(", ")
    label = f"Search α<small>{cost}</small>" if cost else "Search α"
    seek = button("search", label, "pri", title=f"Find the α that is best {CHOSEN[objective]}") if objective else ""
    error = session.errors.get("live", "")
    told = f'<span class="down">✕ {safe(error)}</span>' if error else ""
    if scores and scores.shares_missing:
        told += f'<span class="why">{safe(capitalized(scores.shares_missing))}.</span>'
    body = f'<section class="card strip">{"".join(parts)}{told}<div class="right">{pin}{seek}</div></section>'
    return {"html": body}


def _mean(session: Session, scores: Evaluation, wait: str) -> str:
    low, high = scores.mean_interval("merged")
    interval = two_lines("95 % interval", f"{percent(low, 1)} to {percent(high, 1)}")
    return stat(_mean_on(session, scores), f"{percent(scores.mean('merged'), 1)} % {interval}", wait)


def _mean_between(session: Session, between: BetweenPoints) -> str:
    value = f"≈ {percent(between.mean, 1)} % <small>not measured</small>"
    return stat(_mean_on(session, between.low), value)


def _mean_on(session: Session, scores: Evaluation) -> str:
    return f"Mean on {images_of(scores, session.project).removesuffix(' a task')}"


def _agreement(record: ExpertAgreement, fresh: bool) -> str:
    """Return agreement with the experts as a number of the strip, with the images it was measured on."""
    each = {task.n for task in record.tasks}
    images = f"{len(record.tasks)} × {each.pop()}" if len(each) == 1 else str(record.images)
    on = two_lines(f"{images} images,", "unlabelled")
    if record.same is None:
        return stat("Feature direction", f"{number(record.direction.value)} {on}", "" if fresh else "wait")
    return stat("Agreement with experts", f"{percent(record.same.accuracy, 1)} % {on}", "" if fresh else "wait")


def accuracy(session: Session) -> dict[str, Any]:
    """Return the bars per task: accuracy on validation images, or agreement with the experts on unlabelled proxies."""
    scores, fresh = _scores(session)
    labelled = session.project.has_labels("validation")
    card: dict[str, Any] = {"title": "Accuracy per task", "error": ""}
    if labelled and session.project.has_proxies:
        card |= {"choices": [["accuracy", "Accuracy"], ["agreement", "Agreement"]], "switch": "measure"}
        card["chosen"] = "agreement" if session.view.agreement else "accuracy"
    if session.agreement is not None and (session.view.agreement or not labelled):
        recipe, kept = session.agreement
        pinned = session.pinned.agreement if session.pinned else None
        stale = _age(session, recipe == session.recipe)
        title = "Agreement" if kept.same else "Feature direction"
        return card | {"title": title, "figure": agreement_figure(kept, pinned), "stale": stale}
    if scores is None:
        empty = "No labelled validation images and no proxies. Add either to the recipe to measure the merge."
        return card | {"empty": "" if labelled or session.project.has_proxies else empty}
    old = session.pinned.evaluation if session.pinned else None
    between = None if fresh else alpha_curve_card.between_points(session)
    if between is not None:
        return card | {"figure": between_points_figure(between, old), "stale": ""}
    stale = _age(session, fresh)
    figure = accuracy_figure(
        scores,
        old,
        difference=live_preview.difference_to(session, session.pinned),
        in_all=images_in_all(scores, session.project),
    )
    return card | {"figure": figure, "stale": stale}


HEATS = {"direction": "Direction", "size": "Size", "both": "Both"}


def interference(session: Session) -> dict[str, Any]:
    """Return the map of the merge beside each task's own change: direction, size, both as one number, or B − A."""
    old = session.pinned.report.interference if session.pinned else None
    heat = session.view.heat
    card: dict[str, Any] = {
        "title": "Per layer",
        "choices": [*HEATS.items(), *([("difference", "B − A")] if old else [])],
        "chosen": heat,
        "switch": "heat",
        "error": session.errors.get("live", ""),
        "says": "",
    }
    if session.report is None:
        return card
    recipe, report = session.report
    stale = _age(session, recipe == session.recipe)
    record = report.interference
    figure = (
        direction_size_figure(record, heat)
        if heat in ("direction", "size")
        else interference_figure(record, old, heat == "difference")
    )
    static = METHODS[METHODS[recipe.method].static]
    if static.name != recipe.method:
        card["how"] = (
            f"{figure['layout']['meta']['how']} Of {static.title}'s weights alone: the adapters are not in it."
        )
    return card | {"figure": figure, "stale": stale}


def _show_levels(session: Session, wanted: bool) -> None:
    """Show all levels of scaling or only the inter-layer level; measure the profile in the background if necessary."""
    session.view.levels = wanted
    if wanted and not live_preview.levels_known(session, session.recipe):
        live_preview.set_recipe(session, session.recipe, painting=True)


POLARIZED = "Gain and powers make a merge larger."
ADDED = "The merge adds up all tasks’ changes."


def norms(session: Session) -> dict[str, Any]:
    """Return the figure of ‖ΔW‖_F per layer, for the inter-layer level or for one level of scaling after another."""
    card: dict[str, Any] = {"title": "Size of the change", "how": ""}  # each line has its name beside it
    method = METHODS[session.recipe.method]
    if "layer" in method.roles:
        card |= {
            "choices": [["layer", method.knobs[method.roles["layer"]].label], ["levels", "All levels"]],
            "switch": "levels",
        }
        card |= {"chosen": "levels" if session.view.levels else "layer"}
    levels = session.explore_records.get("levels") if session.view.levels and "choices" in card else None
    if levels:
        stale = _age(session, live_preview.levels_known(session, session.recipe))
        return card | {"figure": scaling_figure(levels[1]), "stale": stale}
    if session.report is None:
        return card
    recipe, report = session.report
    same = [state for state in session.history if state.recipe.method == recipe.method]  # others have other sizes
    tops = [max(state.report.norms.after) for state in same if state.report.norms.after]
    stale = _age(session, recipe == session.recipe and card.get("chosen") != "levels")
    own = session.explore_records.get("own norms", (None, None))[1]
    larger = POLARIZED if "layer" in METHODS[recipe.method].roles else ADDED
    return card | {"figure": norms_figure(report.norms, max(tops, default=0.0), own, larger), "stale": stale}


def states(session: Session) -> dict[str, Any]:
    """Return the names and accuracies of A and B, at the end of the row of tabs."""
    parts = []
    if session.pinned:
        away = button("unpin", "Unpin", "q", title="Unpin A")
        parts.append(
            f"<span>{badge('A')}{_short(session.pinned.recipe.method, session.pinned.evaluation)}{away}</span>"
        )
    scores, fresh = _scores(session)
    parts.append(f"<span>{badge('B')}{_short(session.recipe.method, scores if fresh else None)}</span>")
    known = scores if fresh and scores else session.pinned.evaluation if session.pinned else None
    if known:
        parts.append(f'<span class="on">on {images_of(known, session.project)}</span>')
    return {"html": f'<div class="ab">{"".join(parts)}</div>'}


def _short(method: str, scores: Evaluation | None) -> str:
    mean = f" <b>{percent(scores.mean('merged'), 1)} %</b>" if scores else ""
    return safe(METHODS[method].title) + mean


def history(session: Session) -> dict[str, Any]:
    """Return the list of states, newest first, or the differences between two of them in words."""
    if session.view.words:
        return _words(session)
    lines = []
    for index in range(len(session.history) - 1, -1, -1):
        state = session.history[index]
        on = state.recipe == session.recipe
        pinned = session.pinned is not None and session.pinned.recipe == state.recipe
        mean = _result(session, state)
        what = ", now" if on else ", pinned" if pinned else ""
        sign = badge("B") if on else badge("A") if pinned else '<span class="badge"></span>'
        lines.append(
            f'<li class="{"on" if on else ""}"><button data-do="history" data-index="{index}">'
            f'{sign}<span class="w">{state.words}</span><span class="d">{mean}{what}</span></button></li>'
        )
    whole = next(
        (state.evaluation for state in session.history if state.evaluation and not state.evaluation.limit), None
    )
    measured = f"Mean accuracy on {images_of(whole, session.project) if whole else 'validation images'}"
    if not session.project.has_labels("validation"):
        measured = f"{'Agreement' if session.project.has_heads else 'Feature direction'}, on unlabelled images"
    return _told(session, "list", f"Click a line to go back. {measured}.", "".join(lines))


def _result(session: Session, state: State) -> str:
    """Return the mean accuracy of an entry of the history, and on which images if not on all; else its agreement."""
    if state.evaluation is not None:
        mean = f"{percent(state.evaluation.mean('merged'), 1)} %"
        few = images_in_all(state.evaluation, session.project)
        return f"{mean} on {images_of(state.evaluation, session.project).removesuffix(' a task')}" if few else mean
    kept = state.agreement
    if kept is None or session.project.has_labels("validation"):
        return DASH
    return f"{percent(kept.same.accuracy, 1)} %" if kept.same else number(kept.direction.value)


def _words(session: Session) -> dict[str, Any]:
    """Return the differences between A, or the history's entry before, and the recipe on screen."""
    now, before = current(session), session.pinned
    how = "What changed from A to B, and its results."
    if before is None:
        how = "What changed from the line before to B, and its results."
        here = session.history[session.at] if session.history else None
        at = session.at - 1 if here is not None and here.recipe == session.recipe else session.at
        before = session.history[at] if 0 <= at < len(session.history) else None
    if before is None:
        return _told(session, "words", how, '<li class="same">Nothing to compare with: move a knob, or pin A.</li>')
    body = (
        in_words(before, now, live_preview.difference_to(session, before)) if now else '<li class="same">Merging B</li>'
    )
    return _told(session, "words", how, body)


def _told(session: Session, chosen: str, how: str, lines: str) -> dict[str, Any]:
    choices = {"list": "History", "words": "In words"}
    right = segments("words", choices, chosen, "What to show")
    title = "A and B in words" if chosen == "words" and session.pinned else "History"
    return {"html": panel(title, how, f'<ol class="hist {chosen}">{lines}</ol>', right)}


TAB = Tab(
    "Merge",
    (
        Piece("rail", "rail", rail),
        Piece("stats", "block", stats),
        Piece("accuracy", "card", accuracy),
        Piece("interference", "card", interference),
        Piece("norms", "card", norms),
        Piece("history", "block", history),
        *search_cards.PIECES,
    ),
    act,
)
