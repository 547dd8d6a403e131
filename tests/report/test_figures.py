"""Figures as SVG."""

from xml.etree import ElementTree

import pandas as pd

from pipeline.report.figures import INK, threshold_figure, training_figure

CURVES = pd.DataFrame({"threshold": [0.0, 0.5], "val_gt_known_iou50": [10.0, 20.0], "test_gt_known_iou50": [5.0, 15.0]})
HISTORY = pd.DataFrame({"epoch": [1, 2], "loss": [1.0, 0.5], "val_loss": [1.5, float("nan")]})


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]


def test_the_threshold_figure_names_its_lines_and_tau():
    svg = threshold_figure(CURVES, 0.3217)
    assert {"val, IoU 0.5", "test, IoU 0.5", "τ = 0.322", "threshold τ"} <= set(texts(svg))


def test_without_boxes_there_is_no_threshold_figure():
    assert threshold_figure(pd.DataFrame({"threshold": [0.0, 0.5]}), 0.2) is None


def test_figures_take_the_text_colour_of_the_page():
    svg = training_figure(HISTORY, {"loss": "train", "val_loss": "val"}, "loss")
    assert INK not in svg
    assert "currentColor" in svg
    assert {"train", "val", "epoch", "loss"} <= set(texts(svg))


def test_equal_input_gives_equal_bytes():
    assert threshold_figure(CURVES, 0.3) == threshold_figure(CURVES, 0.3)


def test_two_figures_of_a_page_share_no_id():
    def ids(svg):
        found = {e.get("id") for e in ElementTree.fromstring(svg).iter() if e.tag.endswith(("clipPath", "path"))}
        return found - {None}

    loss = training_figure(HISTORY, {"loss": "train"}, "loss")
    accuracy = training_figure(HISTORY, {"val_loss": "val"}, "accuracy")
    assert not {i for i in ids(loss) & ids(accuracy) if i.startswith("p")}
