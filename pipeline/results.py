"""The numbers and curves of a result, read as its record has them."""

import hashlib
import io
from typing import TYPE_CHECKING, Any

from pipeline.files import METRICS, MODELS, content, read_json, reading
from pipeline.records import STAGES, Inputs, Training, changed, read_sealed
from pipeline.schemas import Metrics, check_numbers

if TYPE_CHECKING:
    import pandas as pd

TRAINING = MODELS / "training.json"
HISTORY = MODELS / "history.csv"


def read_metrics(inputs: Inputs) -> dict[str, Any]:
    """``metrics/metrics.json``; UserError where it is missing, damaged or of another run, as for all here."""
    metrics: Metrics = read_json(METRICS / "metrics.json", Metrics, inputs.read)
    return metrics.model_dump()


def read_threshold_curve(inputs: Inputs) -> "pd.DataFrame":
    """``metrics/threshold_curve.csv``, a row per threshold."""
    import pandas as pd  # takes half a second, and most readers want the metrics alone

    path = METRICS / "threshold_curve.csv"
    with reading(path):
        return check_numbers(pd.read_csv(io.BytesIO(inputs.read(path))), ("threshold",))


def read_training(inputs: Inputs) -> Training:
    """What is known of the training whose model the inputs name."""
    training: Training = read_sealed(TRAINING, Training)
    if training.model != inputs.records[MODELS].identity:
        raise changed(TRAINING, STAGES[MODELS])
    return training


def read_history(training: Training) -> "pd.DataFrame":
    """``models/history.csv`` of a training, a row per epoch."""
    import pandas as pd

    with reading(HISTORY):
        data = content(HISTORY)
        if hashlib.sha256(data).hexdigest() != training.history:
            raise changed(HISTORY, STAGES[MODELS])
        return check_numbers(pd.read_csv(io.BytesIO(data)), ("epoch",))
