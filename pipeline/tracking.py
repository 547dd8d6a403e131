"""The tracking server: one row per result, streamed to while its model trains and completed by ``track``.

The only module that imports mlflow, and only when something is logged: a machine that trains needs none. A row is an
MLflow run with two tags of ours, the train key (set when training starts) and the run key (set by ``track``); a run
without a run key is a training whose result has not been tracked yet.
"""

import fcntl
import math
import os
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import console
from pipeline.errors import TransientError, UserError, WsolError
from pipeline.state import shown_uri, state_folder

#: Seconds and retries per request. Training must not wait for a server that is away; `track` has large files to send.
LIVE_PATIENCE = (3, 1)
PROBE_PATIENCE = (5, 1)
TRACK_PATIENCE = (60, 2)
#: What one request may hold (MLflow refuses more).
METRICS_PER_BATCH = 1000
ENTRIES_PER_BATCH = 100

TRAIN_KEY = "wsol.train_key"
RUN_KEY = "wsol.run_key"
MODEL_HASH = "wsol.model_hash"
MODEL_RUN = "wsol.model_run"


class Point(NamedTuple):
    """One value of a metric."""

    name: str
    value: float
    step: int = 0


def training_points(row: Mapping[str, float]) -> list[Point]:
    """One row of ``models/history.csv`` as ``train/NAME``; its ``epoch`` is the step."""
    return [Point(f"train/{name}", value, int(row["epoch"])) for name, value in row.items() if name != "epoch"]


def tracking_uri() -> str:
    """``MLFLOW_TRACKING_URI``, else a SQLite database in the state folder (absolute)."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{state_folder() / 'mlflow.db'}"


class LiveRun:
    """The run a training streams its curves to. Once the server fails, it warns and swallows the rest.

    Used as a context manager it ends the run when the block ends.
    """

    def __init__(self, client: Any = None, run_id: str = "", logged: Iterable[tuple[str, int]] = ()) -> None:
        self._client = client
        self._run_id = run_id
        self._logged = set(logged)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Stream the values of one epoch, as ``train/NAME``; steps that a killed training logged are left alone."""
        if self._client is not None:
            with self._or_go_on():
                points = training_points({**metrics, "epoch": step})
                self._logged |= _log_points(self._client, self._run_id, points, self._logged)

    def close(self, status: str = "FINISHED") -> None:
        """End the run; ``track`` adopts it later."""
        if self._client is not None:
            with self._or_go_on():
                self._client.set_terminated(self._run_id, status)

    def __enter__(self) -> "LiveRun":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self.close()
        else:
            self.close("FAILED" if issubclass(error, Exception) else "KILLED")

    @contextmanager
    def _or_go_on(self) -> Iterator[None]:
        try:
            with _patience(*LIVE_PATIENCE):
                yield
        except Exception as error:  # whatever tracking suffers from, the training is worth more
            _warn_not_streaming(error)
            self._client = None


def live_run(experiment: str, train_key: str) -> LiveRun:
    """Start streaming a training, or go on with the run of the same training that was stopped.

    Without mlflow, or with a server that does not answer within seconds, it warns and returns a run that logs
    nothing: ``track`` logs the curves from ``models/history.csv`` later.
    """
    try:
        with _patience(*LIVE_PATIENCE):
            client = _client()
            experiment_id = _experiment_id(client, experiment)
            run = _untracked_run(client, experiment_id, train_key)
            if run is None:
                tags = {TRAIN_KEY: train_key}
                run = client.create_run(experiment_id, tags=tags, run_name=f"training {train_key[:8]}")
                return LiveRun(client, run.info.run_id)
            client.update_run(run.info.run_id, status="RUNNING")
            return LiveRun(client, run.info.run_id, _logged_steps(client, run))
    except Exception as error:  # as above
        _warn_not_streaming(error)
        return LiveRun()


def _warn_not_streaming(error: Exception) -> None:
    console.warn(
        f"training curves are not streamed to {shown_uri(tracking_uri())}: {_reason(error)}. Training goes on; "
        "`python -m pipeline track` logs the curves afterwards."
    )


class Row:
    """The run of one result. Everything logged twice is there once.

    Attributes:
        run_id: MLflow's id of the run.
        created: whether this call made the run or gave an untracked training its result.
        tags: the run's tags before anything was logged.
    """

    def __init__(self, client: Any, run: Any, created: bool) -> None:
        self._client = client
        self._run = run
        self.run_id: str = run.info.run_id
        self.created = created
        self.tags: Mapping[str, str] = dict(run.data.tags)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log the parameters the row lacks: MLflow's are immutable."""
        from mlflow.entities import Param

        missing = [Param(name, str(value)) for name, value in params.items() if name not in self._run.data.params]
        for start in range(0, len(missing), ENTRIES_PER_BATCH):
            self._client.log_batch(self.run_id, params=missing[start : start + ENTRIES_PER_BATCH])

    def log_points(self, points: Iterable[Point]) -> None:
        """Log the metric values whose name and step the row lacks."""
        _log_points(self._client, self.run_id, points, _logged_steps(self._client, self._run))

    def log_files(self, files: Iterable[Path], folder: str) -> None:
        """Copy files into a folder of the run's artifacts, over those of the same name."""
        for file in files:
            self._client.log_artifact(self.run_id, str(file), folder)

    def log_model(self, files: Iterable[Path], model_hash: str) -> str:
        """Upload a model unless a run of the experiment has it; the id of the run that has it is also a tag."""
        holder = self._model_holder(model_hash)
        if holder is None:
            self.log_files(files, "model")
            holder = self.run_id
        self.set_tags({MODEL_HASH: model_hash, MODEL_RUN: holder})
        return holder

    def _model_holder(self, model_hash: str) -> str | None:
        runs = _runs_tagged(self._client, self._run.info.experiment_id, MODEL_HASH, model_hash)
        return next((run.info.run_id for run in runs if run.data.tags.get(MODEL_RUN) == run.info.run_id), None)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or replace tags."""
        from mlflow.entities import RunTag

        self._client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def finish(self) -> None:
        """Give the run its final status; one that has it keeps its end time."""
        if self._client.get_run(self.run_id).info.status != "FINISHED":
            self._client.set_terminated(self.run_id, "FINISHED")


@contextmanager
def open_row(experiment: str, run_key: str, train_key: str) -> Iterator[Row]:
    """The row of a result: the one it has, else the run its training streamed to, else a new one.

    Raises:
        TransientError: the server does not answer; the same call later goes on where this one stopped.
        UserError: mlflow is not installed, or the server, database or experiment cannot be used as they are set.
    """
    with _clear_errors():
        with _patience(*PROBE_PATIENCE):
            client = _client()
            experiment_id = _experiment_id(client, experiment)
        with _patience(*TRACK_PATIENCE):
            row = _row(client, experiment_id, run_key, train_key)
            yield row
            row.finish()


def _row(client: Any, experiment_id: str, run_key: str, train_key: str) -> Row:
    same_result = _runs_tagged(client, experiment_id, RUN_KEY, run_key)
    streamed = _untracked_run(client, experiment_id, train_key)
    for run in same_result:
        if run.data.tags.get(TRAIN_KEY) == train_key:
            if streamed is not None:
                # The same training again, bit by bit the same result: its row stays the only one.
                client.delete_run(streamed.info.run_id)
            return Row(client, run, created=False)
    if streamed is not None:
        client.set_tag(streamed.info.run_id, RUN_KEY, run_key)
        return Row(client, streamed, created=True)
    if same_result:
        return Row(client, same_result[0], created=False)
    tags = {RUN_KEY: run_key, TRAIN_KEY: train_key}
    return Row(client, client.create_run(experiment_id, tags=tags), created=True)


def _client() -> Any:
    """A client of the tracking server; a local database is tried first, as MLflow would wait for it two minutes."""
    # A pipeline that runs unattended reports to nobody, and its stdout is one line of JSON.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    try:
        import mlflow
    except ImportError as error:
        raise UserError(f"mlflow cannot be imported ({error}). Install it: `make setup`.") from None
    uri = tracking_uri()
    if not uri.startswith("sqlite:///"):
        return mlflow.MlflowClient(uri)
    with _database_to_oneself(Path(uri.removeprefix("sqlite:///"))):
        return mlflow.MlflowClient(uri)


@contextmanager
def _database_to_oneself(path: Path) -> Iterator[None]:
    """One process at a time opens a database: two that create its tables at once destroy each other's work."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _try_database(path)
            yield
    except OSError as error:
        raise _unwritable(path, error) from None


def _try_database(path: Path) -> None:
    try:
        with closing(sqlite3.connect(path, timeout=LIVE_PATIENCE[0])) as database:
            database.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise TransientError(f"{path} is in use by another process; retry later.") from None
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: Exception) -> UserError:
    return UserError(
        f"the tracking database {path} cannot be written: {error}. Make that place writable, or name another by "
        "WSOL_STATE or MLFLOW_TRACKING_URI."
    )


def _experiment_id(client: Any, name: str) -> str:
    """Id of an experiment, created if need be; the artifacts of a local database lie in the state folder."""
    from mlflow import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        local = not tracking_uri().startswith("http")
        try:
            location = (state_folder() / "mlartifacts").as_uri() if local else None
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            # Two runs at once: the other one was first.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)
    _check_usable(experiment)
    return str(experiment.experiment_id)


def _check_usable(experiment: Any) -> None:
    if experiment.lifecycle_stage != "active":
        raise UserError(
            f"MLflow experiment {experiment.name!r} was deleted. Restore it with `mlflow experiments restore -x "
            f"{experiment.experiment_id}`, or set another track.experiment in params.yaml."
        )
    if experiment.experiment_id == "0" and not tracking_uri().startswith("http"):
        raise UserError(
            f"track.experiment in params.yaml: {experiment.name!r} is MLflow's own, whose artifacts lie wherever its "
            "database was first opened from. Set another name."
        )


def _runs_tagged(client: Any, experiment_id: str, tag: str, value: str) -> list[Any]:
    """Runs that are not deleted, newest first."""
    return list(client.search_runs([experiment_id], f"tags.`{tag}` = '{value}'"))


def _untracked_run(client: Any, experiment_id: str, train_key: str) -> Any | None:
    runs = _runs_tagged(client, experiment_id, TRAIN_KEY, train_key)
    return next((run for run in runs if RUN_KEY not in run.data.tags), None)


def _logged_steps(client: Any, run: Any) -> set[tuple[str, int]]:
    names = run.data.metrics
    return {(m.key, m.step) for name in names for m in client.get_metric_history(run.info.run_id, name)}


def _log_points(
    client: Any, run_id: str, points: Iterable[Point], logged: Iterable[tuple[str, int]]
) -> set[tuple[str, int]]:
    """Log the finite points not in ``logged``; returns their names and steps."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    new = [p for p in points if (p.name, p.step) not in logged and math.isfinite(p.value)]
    for start in range(0, len(new), METRICS_PER_BATCH):
        batch = [Metric(p.name, float(p.value), now, p.step) for p in new[start : start + METRICS_PER_BATCH]]
        client.log_batch(run_id, metrics=batch)
    return {(p.name, p.step) for p in new}


@contextmanager
def _patience(seconds: int, retries: int) -> Iterator[None]:
    """Bound MLflow's waiting, which by default takes minutes; the user's own settings win."""
    settings = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries),
    }
    ours = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Faults of the server as TransientError, refusals as UserError."""
    try:
        yield
    except WsolError:
        raise
    except Exception as error:
        status = getattr(error, "get_http_status_code", lambda: 500)()
        if 400 <= status < 500 and status not in (408, 429):
            raise UserError(
                f"{shown_uri(tracking_uri())} refused to record the run: {_reason(error)}. Check MLFLOW_TRACKING_URI, "
                "its credentials and track.experiment, then run `python -m pipeline track` again."
            ) from None
        if isinstance(error, OSError) or hasattr(error, "get_http_status_code"):
            raise TransientError(
                f"{shown_uri(tracking_uri())} does not answer: {_reason(error)}. Nothing is lost: retry later with "
                "`python -m pipeline track`."
            ) from None
        raise


def _reason(error: Exception) -> str:
    """The first line of an error's text; of a failed request only its cause, without the frames around it."""
    text = (str(error) or type(error).__name__).splitlines()[0]
    return shown_uri(re.split(r"Caused by \w+\(\W*", text)[-1].rstrip(".\"')"))
