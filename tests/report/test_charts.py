"""Charts as numbers."""

import math

import pandas as pd
import pytest

from pipeline.report.charts import BOTTOM, LEFT, RIGHT, TOP, line_chart
from pipeline.report.curves import cost, stop_accuracies, threshold_chart, training_charts

CURVES = pd.DataFrame({"threshold": [0.0, 0.5], "val_gt_known_iou50": [10.0, 20.0], "test_gt_known_iou50": [5.0, 15.0]})
HISTORY = pd.DataFrame(
    {"epoch": [1, 2], "loss": [1.0, 0.5], "val_loss": [1.5, math.nan], "accuracy": [1, 1], "val_accuracy": [1, 1],
     "entropy": [0.0, 0.0]}
)  # fmt: skip


def test_lines_lie_in_the_frame_and_ticks_are_round():
    chart = line_chart("k", "t", {"a": ([0, 5, 10], [0, math.nan, 200], 0, 1)}, "x", "y")
    assert chart.lines[0].path == f"M{LEFT},{BOTTOM} {RIGHT},{TOP}"
    assert [text for _, text in chart.xticks] == ["0", "2", "4", "6", "8", "10"]
    assert [text for _, text in chart.yticks] == ["0", "50", "100", "150", "200"]


@pytest.mark.parametrize("values", [[], [3.0, 3.0], [math.nan]])
def test_a_line_without_a_span_is_drawn_too(values):
    chart = line_chart("k", "t", {"a": (range(len(values)), values, 0, 0)}, "x", "y")
    assert len(chart.yticks) > 1


def test_the_threshold_chart_has_a_line_per_split_and_criterion():
    chart = threshold_chart(CURVES, "test", [0.0, 0.5], [0.3, 0.5])
    assert [line.name for line in chart.lines] == ["test, IoU 0.5", "val, IoU 0.5"]
    assert len({(line.colour, line.dash) for line in chart.lines}) == 2
    assert threshold_chart(CURVES[["threshold"]], "test", [0.0], [0.5]) is None


def test_a_threshold_between_those_tried_has_its_own_accuracy():
    metrics = {"threshold": 0.25, "test": {"gt_known_iou50": 12.0}}
    assert stop_accuracies(CURVES, "test", [0.0, 0.25, 0.5], metrics, [0.5]).tolist() == [[5, 12, 15]]
    rows = dict(cost(CURVES, "test", 0.25, metrics["test"], [0.5]))
    assert rows["τ = 0.25, in use"] == [(12, 0)]
    assert rows["best for each (oracle)"] == [(15, 3)]


def test_training_charts_show_train_and_val():
    assert [[line.name for line in chart.lines] for chart in training_charts(HISTORY)] == [
        ["train", "val"], ["train", "val"], ["train"],
    ]  # fmt: skip
