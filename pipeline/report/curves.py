"""Curves of a result: accuracy against threshold, what other thresholds would cost, and the training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.report.charts import Chart, line_chart
from pipeline.report.numbers import suffix

#: Other thresholds whose cost is told, as distances from τ.
DISTANCES = (-0.2, -0.1, -0.05, 0.05, 0.1, 0.2)


def threshold_chart(
    curve: pd.DataFrame, split: str, taus: NDArray[np.float64], deltas: Sequence[float]
) -> Chart | None:
    """GT-known localization against threshold on a split and on val; None where no image had boxes.

    Args:
        curve: ``threshold_curve.csv``.
        taus: those of its thresholds that are drawn.
        deltas: the IoU criteria.
    """
    shown = curve[curve["threshold"].isin(taus)]
    thresholds = shown["threshold"].tolist()
    lines = {
        f"{name}, IoU {delta:g}": (thresholds, shown[column].tolist(), i, dash)
        for i, delta in enumerate(deltas)
        for dash, name in enumerate((split, "val"))
        for column in _columns(curve, name, [delta])
    }
    if not lines:
        return None
    title = f"GT-known localization against threshold on {split} and val"
    return line_chart("threshold", title, lines, "threshold τ", "GT-known, %", (0, 1), (0, 100))


def stop_accuracies(
    curve: pd.DataFrame, split: str, taus: NDArray[np.float64], metrics: Mapping[str, Any], deltas: Sequence[float]
) -> NDArray[np.float64]:
    """GT-known localization at thresholds, ``(D, T)`` in percent, no row without boxes.

    Args:
        taus: of the curve, and the one in use, which may lie between those tried.
        metrics: content of ``metrics.json``.
    """
    columns = _columns(curve, split, deltas)
    found = curve.set_index("threshold").reindex(taus)[columns]
    found.loc[metrics["threshold"]] = _in_use(columns, split, metrics[split])
    return found.to_numpy(np.float64).T


def cost(
    curve: pd.DataFrame, split: str, tau: float, own: Mapping[str, float], deltas: Sequence[float]
) -> list[tuple[str, list[tuple[float, float]]]]:
    """What τ and others give: (label, by IoU criterion the accuracy and how much more than now it is).

    Args:
        own: metrics of the split.
    """
    columns = _columns(curve, split, deltas)
    if not columns:
        return []
    now = pd.Series(_in_use(columns, split, own), columns)
    places = [int((curve["threshold"] - (tau + d)).abs().argmin()) for d in DISTANCES if 0 <= tau + d < 1]
    others = curve.iloc[sorted(places)]
    rows = [(f"τ = {row['threshold']:.3g}", row[columns]) for _, row in others.iterrows()]
    rows.insert(int((others["threshold"] < tau).sum()), (f"τ = {tau:.3g}, in use", now))
    rows.append(("best for each (oracle)", curve[columns].max()))
    return [(label, list(zip(values, values - now, strict=True))) for label, values in rows]


def training_charts(history: pd.DataFrame) -> list[Chart]:
    """Accuracy, loss and entropy against epoch, from ``history.csv``."""
    shown = {
        "accuracy": ("Classification accuracy", "%", {"accuracy": "train", "val_accuracy": "val"}),
        "loss": ("Loss; on train with the regularizer", "loss", {"loss": "train", "val_loss": "val"}),
        "entropy": ("Mean predictive entropy: what the regularizer acts on", "nats", {"entropy": "train"}),
    }
    epochs = history["epoch"].tolist()
    return [
        line_chart(
            key,
            title,
            {name: (epochs, history[column].tolist(), i, i) for i, (column, name) in enumerate(columns.items())},
            "epoch",
            unit,
        )
        for key, (title, unit, columns) in shown.items()
    ]


def _columns(curve: pd.DataFrame, split: str, deltas: Sequence[float]) -> list[str]:
    return [name for delta in deltas if (name := f"{split}_gt_known_{suffix(delta)}") in curve]


def _in_use(columns: Sequence[str], split: str, own: Mapping[str, float]) -> list[float]:
    return [own[name.removeprefix(f"{split}_")] for name in columns]
