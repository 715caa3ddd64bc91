"""Confusion and routes are drawn cell by cell from their records."""

from __future__ import annotations

import plotly.graph_objects as go

from esm_viz.core.records import Confusion, Layer, Routing, Score
from esm_viz.figures import confusion_figure, routes_figure

RECORD = Confusion("bees", "test", ("<b>", "y"), ((3, 1), (0, 4)), (4, 5), 7, 12, 3)
LAYERS = (Layer("a", "in_proj", 0, 4, 4, "in_proj"), Layer("b", "c_fc", 0, 4, 4, "c_fc"))
ROUTES = (((0.5, 0.5), (0.0, 1.0)), ((1.0, 0.0), (0.5, 0.5)))
ROUTING = Routing(("bees", "<cats>"), LAYERS, ROUTES, (Score(1, 2), Score(2, 2)), 20, 100)


def test_a_confusion_shows_shares_of_each_true_class() -> None:
    figure = confusion_figure(RECORD)
    go.Figure(figure)
    heat, texts = figure["data"]
    assert heat["z"] == [[0.75, 0.25], [0.0, 0.8]]
    assert (heat["zmin"], heat["zmax"]) == (0, 1)
    assert heat["text"][0][1] == "<b>&lt;b&gt;</b>, predicted as y<br>1 of 4 images (25 %)"
    assert heat["text"][1][1] == "<b>y</b>, predicted right<br>4 of 5 images (80 %)"
    assert texts["text"] == ["3", "1", "4"]  # empty cells say nothing
    assert figure["layout"]["yaxis"]["ticktext"] == ["&lt;b&gt;", "y"]


def test_a_confusion_says_on_how_many_images_and_which_classes_are_left_out() -> None:
    meta = confusion_figure(RECORD)["layout"]["meta"]
    assert meta["how"] == (
        "Row: true class. Column: prediction. A strong diagonal is right. 12 test images, 58.3 % right. "
        "The 2 of 3 classes with most mistakes."
    )
    assert meta["says"] == "bees: most often <b> is predicted as y, on 1 of 4 images."


def test_a_class_without_images_is_an_empty_row() -> None:
    figure = confusion_figure(Confusion("bees", "test", ("x", "y"), ((2, 0), (0, 0)), (2, 0), 2, 2, 2))
    assert figure["data"][0]["z"][1] == [0.0, 0.0]
    assert figure["layout"]["meta"]["says"] == "No mistakes on bees."


def test_many_classes_are_all_named_and_the_picture_grows() -> None:
    count = 46
    names = tuple(f"class {at}" for at in range(count))
    counts = tuple(tuple(int(row == column) for column in range(count)) for row in range(count))
    figure = confusion_figure(Confusion("kana", "test", names, counts, (1,) * count, count, count, count))
    assert figure["layout"]["yaxis"]["ticktext"] == list(names) == figure["layout"]["xaxis"]["ticktext"]
    assert figure["layout"]["meta"]["grid"] == [106, 46]
    assert len(figure["data"][0]["z"]) == count


def test_routes_of_a_layer_and_their_mean() -> None:
    one, mean = routes_figure(ROUTING, 1), routes_figure(ROUTING)
    go.Figure(one)
    assert one["data"][0]["z"] == [[1.0, 0.0], [0.5, 0.5]]
    assert mean["data"][0]["z"] == [[0.75, 0.25], [0.25, 0.75]]
    assert mean["data"][0]["text"][1][0] == "<b>&lt;cats&gt;</b>, to the adapter of bees<br>25.0 % of its images"
    assert mean["data"][0]["text"][0][0] == "<b>bees</b>, to its own adapter<br>75.0 % of its images"
    assert "at c_fc 1" in one["layout"]["meta"]["how"]
    assert (
        one["layout"]["meta"]["says"]
        == "Most frequent wrong route, at c_fc 1: 50 % of <cats> go to the adapter of bees."
    )


def test_one_task_has_no_wrong_route() -> None:
    alone = Routing(("bees",), LAYERS[:1], (((1.0,),),), (), 20, 100)
    assert routes_figure(alone)["layout"]["meta"]["says"] == "One task, one adapter."


def test_no_symbol_of_a_task_lies_on_its_side() -> None:
    count = 7
    shares = tuple(tuple(float(row == column) for column in range(count)) for row in range(count))
    many = Routing(tuple(f"task {at}" for at in range(count)), LAYERS[:1], (shares,), (), 20, 100)
    axis = routes_figure(many)["layout"]["xaxis"]
    assert (axis["tickangle"], axis["ticktext"][2]) == (-90, "task 2")
    assert "span" in routes_figure(ROUTING)["layout"]["xaxis"]["ticktext"][0]
