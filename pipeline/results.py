"""The numbers and curves of a result, read as its record has them."""

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.files import METRICS, MODELS, content, read_json, reading
from pipeline.records import STAGES, Inputs, Training, changed, read_sealed
from pipeline.schemas import Metrics, ReliabilityRow, check_numbers

if TYPE_CHECKING:
    import pandas as pd

TRAINING = MODELS / "training.json"
HISTORY = MODELS / "history.csv"
RELIABILITY = METRICS / "reliability.json"


def read_metrics(inputs: Inputs, folder: Path = METRICS) -> dict[str, Any]:
    """``metrics.json`` of a result; UserError where it is missing, damaged or of another run, as for all here."""
    metrics: Metrics = read_json(folder / "metrics.json", Metrics, inputs.read)
    return metrics.model_dump(exclude_none=True)


def read_threshold_curve(inputs: Inputs, folder: Path = METRICS) -> "pd.DataFrame":
    """``threshold_curve.csv`` of a result, a row per threshold."""
    import pandas as pd  # takes half a second, and most readers want the metrics alone

    path = folder / "threshold_curve.csv"
    with reading(path):
        return check_numbers(pd.read_csv(io.BytesIO(inputs.read(path))), ("threshold",))


def read_reliability(inputs: Inputs) -> dict[str, list[ReliabilityRow]]:
    """``reliability.json`` of a result by split: how often boxes of a score were right."""
    tables: dict[str, list[ReliabilityRow]] = read_json(RELIABILITY, dict[str, list[ReliabilityRow]], inputs.read)
    return tables


def read_training(inputs: Inputs, folder: Path = MODELS) -> Training:
    """What is known of the training whose model the inputs name."""
    training: Training = read_sealed(folder / TRAINING.name, Training)
    if training.model != inputs.made_from.get(MODELS.as_posix()):
        raise changed(folder / TRAINING.name, STAGES[MODELS])
    return training


def read_history(training: Training) -> "pd.DataFrame":
    """``models/history.csv`` of a training, a row per epoch."""
    import pandas as pd

    with reading(HISTORY):
        data = content(HISTORY)
        if hashlib.sha256(data).hexdigest() != training.history:
            raise changed(HISTORY, STAGES[MODELS])
        return check_numbers(pd.read_csv(io.BytesIO(data)), ("epoch",))
