"""The routing card: where ESM++ routes the test images, and the images of a clicked route."""

from __future__ import annotations

from typing import Any

from esm_viz.core.records import RoutedImage, RoutedImages, Routing
from esm_viz.figures import routes_figure, routing_figure
from esm_viz.figures.number_format import percent, safe
from esm_viz.ui.components.html_snippets import button, select
from esm_viz.ui.components.measured_images import images_of
from esm_viz.ui.session.session_store import Session
from esm_viz.ui.tabs.evaluate.clickable_images import enlarged, more, score_words, thumbnails
from esm_viz.ui.tabs.evaluate.comparison_with_a import RoutesSeen, asked_routes, fresh, own_pixels, routed_row


def routing(session: Session) -> dict[str, Any]:
    """Return the routing card: the share of images routed to their own task's adapter, or all routes with images."""
    found = routed_row(session)
    if found is None:
        return {
            "title": "ESM++ routing",
            "empty": "ESM++ is not measured yet. Compare all methods, or choose it on Merge.",
        }
    row, record = found
    where = session.view.routes == "where"
    names = [layer.name for layer in record.layers]
    at = names.index(session.view.routed) if session.view.routed in names else None
    card: dict[str, Any] = {
        "title": f"{safe(row.title)}: routing",
        "choices": [["layers", "By layer"], ["where", "Where wrong routes go"]],
        "chosen": session.view.routes,
        "switch": "routes",
        "picks": "route" if where else "routed",
    }
    if where:
        chosen = "" if at is None else session.view.routed
        figure = routes_figure(record, at, session.view.route if asked_routes(session) else None)
        return card | {
            "figure": figure,
            "how": f"{figure['layout']['meta']['how']} Click a cell to see its images.",
            "controls": select("routed", "Layer", _layer_choice(record), chosen),
            "foot": _images(session),
        }
    figure = routing_figure(record)
    images = images_of(row.evaluation, session.project)
    told = f"Mean accuracy on {images}: {percent(row.evaluation.mean('merged'), 1)} %"
    if record.oracle:
        told += f", and {percent(row.evaluation.mean('oracle'), 1)} % when told the task"
    return card | {
        "figure": figure,
        "how": f"{figure['layout']['meta']['how']} {told}. Click a cell to see its routes.",
    }


def _layer_choice(record: Routing) -> list[tuple[str, str]]:
    return [("", f"mean of {len(record.layers)} layers"), *((layer.name, layer.label) for layer in record.layers)]


def _images(session: Session) -> str:
    """Return the images of the clicked route, as HTML; empty if none is clicked."""
    if asked_routes(session) is None:
        return ""
    if not fresh(session, "routes"):
        stopped = session.comparison_job is None or not session.comparison_job.running
        again = button("look", "Look at the images") if stopped else ""
        return f'<p class="how">{"Stopped." if stopped else "Measuring test images…"} {again}</p>'
    seen: RoutesSeen = session.comparison_records["routes"][1]
    record, count = seen.images, len(seen.images.images)
    own = "their own adapter" if record.task == record.adapter else f"the adapter of {safe(record.adapter)}"
    at = "at this layer" if len(record.layers) == 1 else f"at one or more of the {len(record.layers)} layers"
    wrong = f", {record.wrong} of them predicted wrong" if count else ""
    order = " Wrong predictions first." if record.wrong else ""
    images = [(image.index, png, _told(record, image)) for image, png in seen.shown]
    return (
        f'<p class="how">{count} of {record.n} {record.split} images of {safe(record.task)} went to {own} {at}{wrong}.'
        f'{order}</p><div class="flip-row"><span class="thumbs">'
        f"{thumbnails('routed_image', images, session.view.routed_image)}</span>{more(count - len(images))}</div>"
        f"{_clicked(session, seen)}"
    )


def _told(record: RoutedImages, image: RoutedImage) -> str:
    mark = "✓" if image.predicted == image.label else "✕"
    return f"{record.classes[image.label]}: predicted as {record.classes[image.predicted]} {mark}"


def _clicked(session: Session, seen: RoutesSeen) -> str:
    """Return the clicked image enlarged, with its true class, prediction, score and layers; empty if none is."""
    record = seen.images
    found = [(image, png) for image, png in seen.shown if image.index == session.view.routed_image]
    if not found:
        return ""
    image, png = found[0]
    mark = "✓" if image.predicted == image.label else "✕"
    layers = "" if len(record.layers) == 1 else f" It went there at {image.layers} of {len(record.layers)} layers."
    answers = (
        f"Image {image.index + 1}: true class <b>{safe(record.classes[image.label])}</b>, "
        f"predicted as <b>{safe(record.classes[image.predicted])}</b> {mark}, "
        f"score {percent(image.probability)} %.{layers}{score_words(session, record.task, len(record.classes))}"
    )
    return enlarged(
        own_pixels(session, "enlarged_routed", record.task, image.index, png), _told(record, image), answers
    )
