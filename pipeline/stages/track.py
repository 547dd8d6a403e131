"""Record the result as one MLflow row, found again by its key: running it twice changes nothing.

Reads dvc.lock, models/, metrics/ and report/; writes to MLFLOW_TRACKING_URI, by default a database in the state
folder, and removes the training's checkpoint. A server that does not answer ends it with exit code 75: run it again
later and the row is completed.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline import console
from pipeline.errors import TransientError, UserError
from pipeline.files import BOXES, CAMS, EVALUATED_SPLITS, METRICS, MODELS, PREPARED, RECORD, REPORT
from pipeline.params import PARAMS_FILE, Params, replaced
from pipeline.records import Inputs, Training
from pipeline.results import read_history, read_metrics, read_threshold_curve
from pipeline.schemas import origin
from pipeline.system.dvc import LOCK, PIPELINE
from pipeline.system.git import GitError
from pipeline.system.locks import exclusive_lock
from pipeline.system.state import checkpoints_folder, training_lock
from pipeline.tracking import tags
from pipeline.tracking.headlines import headlines, run_name
from pipeline.tracking.provenance import MODEL, RESULT, Result, Revision, current_revision, read_result
from pipeline.tracking.recorded import MODEL_FILE
from pipeline.tracking.runs import Point, Row, open_row, training_points
from pipeline.tracking.server import shown_tracking_uri

#: Identifier of the Airflow run that this command belongs to.
AIRFLOW_VARIABLE = "WSOL_AIRFLOW_RUN"


def run(params: Params) -> dict[str, Any]:
    """Find or make the row and log what it lacks; returns where it is."""
    result, inputs = read_result(), Inputs(MODELS, METRICS, REPORT)
    metrics, training = read_metrics(inputs), result.training
    curve, history = read_threshold_curve(inputs), read_history(training)
    inputs.read(REPORT / "index.html")
    made_with = replaced(params, result.params)
    with open_row(params.track.experiment, result.run_key, training.train_key) as row:
        row.log_params(made_with.flat())
        row.log_points([*_headlines(metrics, training), *_scores(metrics), *_training(training)])
        row.log_points([*_threshold_curves(curve), *_training_curves(history)])
        row.log_files([REPORT / "index.html"], "report")
        row.log_files([*RESULT, MODELS / "history.csv"], "metrics")
        row.log_model([MODEL, MODELS / RECORD, MODELS / "training.json"], result.model_hash)
        row.set_tags(_facts(metrics, training) | _presentation(made_with, metrics))
        _log_provenance(row, result, params, made_with)
        _log_model_file(row)
    _remove_checkpoints(training.train_key)
    console.say(f"{'new row' if row.created else 'same row as before'} {row.run_id} in {shown_tracking_uri()}")
    return {"run_id": row.run_id, "run_key": result.run_key, "new": row.created}


def _log_model_file(row: Row) -> None:
    """The self-sufficient model, where all that it is made from lies here: a run is complete without it."""
    if not all(folder.exists() for folder in (PREPARED, CAMS, BOXES)):
        return
    folder, _, name = MODEL_FILE.rpartition("/")
    if row.has(MODEL_FILE):
        return
    # It imports torch, which takes seconds; a tracked result is often tracked again.
    from pipeline.predict.bundle import write_model_here

    with tempfile.TemporaryDirectory() as place:
        try:
            write_model_here(Path(place) / name)
        except UserError as error:
            console.warn(f"the run is recorded without a model file for predict: {error}")
            return
        row.log_files([Path(place) / name], folder)


def _remove_checkpoints(train_key: str) -> None:
    """DVC has the model by now, so nobody resumes from there except who trains the same at this moment."""
    with suppress(TransientError), exclusive_lock(training_lock(train_key), "the same training"):
        for path in checkpoints_folder().glob(f"{train_key}-*.pt"):
            path.unlink(missing_ok=True)


def _headlines(metrics: Mapping[str, Any], training: Training) -> Iterator[Point]:
    yield from (Point(name, value) for name, value in headlines(metrics, training).items())


def _scores(tree: Mapping[str, Any], prefix: str = "") -> Iterator[Point]:
    """Every number of metrics.json, with ``/`` between the levels."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _scores(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield Point(f"{prefix}{name}", value)


def _training(training: Training) -> list[Point]:
    facts = training.model_dump()
    return [Point(f"train_{name}", value) for name, value in facts.items() if isinstance(value, int | float)]


def _threshold_curves(curve: pd.DataFrame) -> Iterator[Point]:
    """Accuracy against threshold on the grid of whole percents, ``step`` = 100·τ: the rows nearest to it."""
    percents = curve["threshold"] * 100
    curve["step"] = percents.round().astype(int)
    curve["distance"] = (percents - curve["step"]).abs()
    curve = (
        curve[curve["step"] < 100].sort_values("distance", kind="stable").drop_duplicates("step").sort_values("step")
    )
    for column in curve.columns:
        split, _, metric = column.partition("_")
        if split in EVALUATED_SPLITS:
            points = zip(curve[column], curve["step"], strict=True)
            yield from (Point(f"threshold_curve/{split}/{metric}", value, step) for value, step in points)


def _training_curves(history: pd.DataFrame) -> Iterator[Point]:
    for values in history.itertuples(index=False):
        yield from training_points(dict(zip(history.columns, values, strict=True)))


def _log_provenance(row: Row, result: Result, params: Params, made_with: Params) -> None:
    """Once: how the working folder was when the result was new, whatever is changed or committed afterwards."""
    if row.tags.get(tags.COMMIT, tags.UNKNOWN) != tags.UNKNOWN:
        return
    revision = _revision()
    if tags.COMMIT in row.tags and revision is None:
        return
    # A lock file that does not describe the result would bring another one's files back.
    described = [LOCK, PIPELINE] if result.from_lock else [PIPELINE]
    with tempfile.TemporaryDirectory() as folder:
        if tags.COMMIT not in row.tags:
            row.log_files([path for path in described if path.exists()], "provenance")
            row.log_files([_params_file(Path(folder), params, made_with)], "provenance")
        if revision and revision.patch:
            file = Path(folder) / "uncommitted.patch"
            file.write_bytes(revision.patch)
            row.log_files([file], "provenance")
    row.set_tags(_provenance(result, revision))


def _params_file(folder: Path, params: Params, made_with: Params) -> Path:
    """params.yaml as it is, comments included; one without where the result was made with other values."""
    if made_with == params:
        return PARAMS_FILE
    file = folder / PARAMS_FILE
    file.write_text(yaml.safe_dump(made_with.model_dump(by_alias=True), sort_keys=False, allow_unicode=True))
    return file


def _revision() -> Revision | None:
    try:
        return current_revision()
    except GitError as error:
        console.warn(
            f"the commit of this result is recorded as unknown: {error}\nMend that, and `python -m pipeline track` "
            "completes the MLflow run."
        )
        return None


def _provenance(result: Result, revision: Revision | None) -> dict[str, str]:
    facts = {
        tags.COMMIT: revision.commit if revision else tags.UNKNOWN,
        tags.DIRTY: str(bool(revision.patch)).lower() if revision else tags.UNKNOWN,
        tags.DATA_HASH: result.data_hash or tags.UNKNOWN,
        tags.KEY_SOURCE: "dvc.lock" if result.from_lock else "files",
        tags.SOURCE_COMMIT: revision.commit if revision else "",
        tags.SOURCE_NAME: "python -m pipeline track",
        tags.AIRFLOW_RUN: os.environ.get(AIRFLOW_VARIABLE, ""),
    }
    return {name: value for name, value in facts.items() if value}


def _facts(metrics: Mapping[str, Any], training: Training) -> dict[str, str]:
    """What is not a number."""
    return {tags.TRAIN_DEVICE: training.device, tags.THRESHOLD_SOURCE: metrics["threshold_source"]}


def _presentation(params: Params, metrics: Mapping[str, Any]) -> dict[str, str]:
    """Name and description, as the pages of MLflow show them."""
    train, tau = params.train, metrics["threshold"]
    settings = f"{train.backbone}, {train.regularizer} with λ = {train.lambda_:g}, seed {params.seed}"
    paragraphs = [
        f"**{params.prepare.dataset}**: {settings}; τ = {tau:.3g} ({origin(metrics)}).",
        *_test_accuracies(metrics["test"]),
        "The report is under *Artifacts*, `report/index.html`; settings and lock file are under `provenance/`.",
        _origin(),
    ]
    return {
        tags.RUN_NAME: run_name(params, tau),
        tags.NOTE: "\n\n".join(paragraphs),
    }


def _test_accuracies(test: Mapping[str, float]) -> list[str]:
    names = {"gt_known_iou50": "GT-known", "top1_loc_iou50": "Top-1 localization", "cls_top1": "Top-1 classification"}
    shown = [f"{label} {test[name]:.2f} %" for name, label in names.items() if name in test]
    return [f"On test, at IoU 0.5: {', '.join(shown)}."]


def _origin() -> str:
    airflow_run = os.environ.get(AIRFLOW_VARIABLE)
    return f"Made in `{Path.cwd()}`" + (f" by Airflow run `{airflow_run}`." if airflow_run else ".")
