"""The tracking server: one row per result, streamed to while its model trains and completed by ``track``.

A row is an MLflow run with two tags of ours, the train key (set when training starts) and the run key (set by
``track``); a run without a run key is a training whose result has not been tracked yet.
"""

import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import console
from pipeline.system.locks import is_held
from pipeline.system.state import made_state_id, state_id, training_lock
from pipeline.tracking import server, views
from pipeline.tracking.tags import MODEL_HASH, MODEL_RUN, RUN_KEY, STATE, TRAIN_KEY

#: What one request may hold (MLflow refuses more).
METRICS_PER_BATCH = 1000
ENTRIES_PER_BATCH = 100


def entry_command(run_id: str) -> str:
    """What a person types to let a tracked run compete with the champion."""
    return f"python -m pipeline promote --run {run_id}"


class Point(NamedTuple):
    """One value of a metric."""

    name: str
    value: float
    step: int = 0


def training_points(row: Mapping[str, float]) -> list[Point]:
    """One row of ``models/history.csv`` as ``train/NAME``; its ``epoch`` is the step."""
    return [Point(f"train/{name}", value, int(row["epoch"])) for name, value in row.items() if name != "epoch"]


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
            with server.patience(*server.LIVE_PATIENCE):
                yield
        except Exception as error:  # whatever tracking suffers from, the training is worth more
            _warn_not_streaming(error)
            self._client = None


def live_run(experiment: str, train_key: str) -> LiveRun:
    """Start streaming a training, or resume the run of the same training that was stopped.

    The caller holds :func:`pipeline.system.state.training_lock`, so that nobody who shares this state folder is at it.
    A run that streams from another state folder is left alone: nobody here knows whether that training has ended.

    Without mlflow, or with a server that does not answer within seconds, it warns and returns a run that logs
    nothing: ``track`` logs the curves from ``models/history.csv`` later. So it does where this process has no account
    at the server, which ``WSOL_TRACKING=off`` says.
    """
    if os.environ.get("WSOL_TRACKING") == "off":
        console.say("training curves are not streamed from here; `track` logs them")
        return LiveRun()
    try:
        with server.patience(*server.LIVE_PATIENCE):
            client = server.client()
            experiment_id = server.experiment_id(client, experiment)
            home = made_state_id()
            run = _untracked_run(client, experiment_id, train_key, running_from=home)
            if run is None:
                tags = {TRAIN_KEY: train_key, STATE: home}
                run = client.create_run(experiment_id, tags=tags, run_name=f"training {train_key[:8]}")
                return LiveRun(client, run.info.run_id)
            client.update_run(run.info.run_id, status="RUNNING")
            client.set_tag(run.info.run_id, STATE, home)
            return LiveRun(client, run.info.run_id, _logged_steps(client, run))
    except Exception as error:  # as above
        _warn_not_streaming(error)
        return LiveRun()


def _warn_not_streaming(error: Exception) -> None:
    console.warn(
        f"training curves are not streamed to {server.shown_tracking_uri()}: {server.reason(error)}. "
        "Training continues; `python -m pipeline track` logs the curves afterwards."
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

    def has(self, path: str) -> bool:
        """Whether the run has an artifact of this path."""
        folder = path.rpartition("/")[0]
        return path in {item.path for item in self._client.list_artifacts(self.run_id, folder)}

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
        TransientError: the server does not answer; the same call later resumes where this one stopped.
        UserError: mlflow is not installed, or the server, database or experiment cannot be used as they are set.
    """
    with server.clear_errors("record the run", "python -m pipeline track"):
        with server.patience(*server.PROBE_PATIENCE):
            client = server.client()
            experiment_id = server.experiment_id(client, experiment)
        with server.patience(*server.TRACK_PATIENCE):
            views.arrange(client, experiment_id)
            row = _row(client, experiment_id, run_key, train_key)
            yield row
            row.finish()


def _row(client: Any, experiment_id: str, run_key: str, train_key: str) -> Row:
    same_result = _runs_tagged(client, experiment_id, RUN_KEY, run_key)
    # What still trains is its own: neither adopted, which would take its curves, nor deleted.
    home = "" if is_held(training_lock(train_key)) else state_id()
    streamed = _untracked_run(client, experiment_id, train_key, running_from=home)
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


def _runs_tagged(client: Any, experiment_id: str, tag: str, value: str) -> list[Any]:
    """Runs that are not deleted, newest first."""
    return list(client.search_runs([experiment_id], f"tags.`{tag}` = '{value}'"))


def _untracked_run(client: Any, experiment_id: str, train_key: str, running_from: str) -> Any | None:
    """The newest run of a training without a result; one at work only where its state folder is that one, if any."""
    runs = _runs_tagged(client, experiment_id, TRAIN_KEY, train_key)
    untracked = [run for run in runs if RUN_KEY not in run.data.tags]
    return next((run for run in untracked if _has_ended(run, running_from)), None)


def _has_ended(run: Any, running_from: str) -> bool:
    """Whether nobody streams to a run: it says so, or was killed in this state folder, where nobody trains it now."""
    home = run.data.tags.get(STATE, "")
    return run.info.status != "RUNNING" or bool(running_from and home == running_from)


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
