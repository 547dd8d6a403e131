"""Sweeps: many runs of the pipeline, each in a workspace of its own, ranked on val.

What a sweep has finished lies in ``sweeps/`` of the state folder under the key of its content, so that the same command
goes on after an interruption; a training that was stopped goes on from its checkpoint.
"""

import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pandas as pd

from pipeline import console
from pipeline.errors import UserError, WsolError
from pipeline.execution.preflight import check_inputs, check_writable
from pipeline.files import file_hash, read_json, write_csv, write_json
from pipeline.overrides import written
from pipeline.sweeps.parent_run import SweepRun
from pipeline.sweeps.space import Sweep, Trial
from pipeline.sweeps.trial import run_trial
from pipeline.system.dvc import PIPELINE, code_files, read_stages
from pipeline.system.locks import exclusive_lock
from pipeline.system.state import state_folder
from pipeline.tracking.runs import entry_command
from pipeline.tracking.server import shown_tracking_uri

SPLITS = ("val", "test")


class Results:
    """What became of the trials, by their number; every change is on the disk at once.

    A finished trial has its ``metrics``, ``run_id``, ``seconds`` and, once MLflow shows it there, ``parent``; a failed
    one a ``reason``.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.key = sweep_key(sweep)
        self.path = sweeps_folder() / f"{sweep.name}-{self.key[:8]}.json"
        stored = read_json(self.path, dict[str, dict[str, Any]]) if self.path.exists() else {}
        self._records: dict[int, dict[str, Any]] = {int(number): record for number, record in stored.items()}

    def keep(self, trial: Trial, record: dict[str, Any]) -> None:
        """Replace what is known of a trial."""
        self._records[trial.number] = record
        write_json(self.path, {str(number): record for number, record in self._records.items()})

    def of(self, trial: Trial) -> dict[str, Any]:
        """What is known of a trial; empty before it was run."""
        return self._records.get(trial.number, {})

    def finished(self, trial: Trial) -> bool:
        """Whether a trial has its metrics."""
        return "metrics" in self.of(trial)


def sweeps_folder() -> Path:
    """Where results and locks lie."""
    return state_folder() / "sweeps"


def sweep_key(sweep: Sweep) -> str:
    """Hash of what the results depend on: parameters of all trials, ``dvc.yaml`` and its code, and the tracking server.

    The raw data are not part of it: they are known by their path.
    """
    parts = [sweep.name, shown_tracking_uri(), *(json.dumps(trial.params.flat()) for trial in sweep.trials)]
    files = sorted({PIPELINE, *code_files(read_stages().values())})
    parts += [f"{path}:{file_hash(path)}" for path in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def check_sweep(sweep: Sweep) -> None:
    """Check the inputs of all trials.

    Raises:
        DataError: raw data is missing or has another layout.
        UserError: pretrained weights are missing, a backbone is not what a trial takes it for, or the state folder
            cannot be written.
    """
    check_inputs(*(trial.params for trial in sweep.trials))
    check_writable(sweeps_folder())


def list_trials(sweep: Sweep) -> None:
    """Show what would be run."""
    rows = [(str(t.number), *(str(t.overrides[key]) for key in sweep.keys)) for t in sweep.trials]
    console.table(f"{sweep.name}: {len(rows)} trials, ranked by val.{sweep.metric}", ("trial", *sweep.keys), rows)


def run_sweep(sweep: Sweep) -> dict[str, Any]:
    """Run the trials that have no result, rank all of them, and record the sweep in MLflow.

    Returns:
        How many there are and how many failed, the best one, and where the ranking lies.

    Raises:
        TransientError: the sweep is at work already, or the tracking server is away.
        UserError: the code was changed between two trials, or the metric that ranks was not measured.
        WsolError: every trial failed.
        SystemExit: the command was told to stop.
    """
    check_sweep(sweep)
    command = f"python -m pipeline sweep {sweep.source}"
    with exclusive_lock(sweeps_folder() / f"{sweep.name}.lock", f"sweep {sweep.name}") as lock:
        results = Results(sweep)
        experiment = sweep.trials[0].params.track.experiment
        parent = SweepRun(experiment, f"{results.key} {sweep.metric}", sweep.name, sweep.settings, command)
        try:
            changed = _run_pending(sweep, results, parent, lock)
            table = ranking(sweep, results)
            write_csv(path := results.path.with_suffix(".csv"), table)
            _show(sweep, results, table)
            best = _best(sweep, results, path)
            if changed or not parent.finished:
                _record(sweep, results, best, parent, path)
        except BaseException as error:
            with suppress(WsolError):
                parent.stop("FAILED" if isinstance(error, Exception) else "KILLED")
            if not isinstance(error, Exception):
                console.say(f"stopped; what is finished is kept. Go on with: {command}")
            raise
    return _summary(sweep, results, best) | {"ranking": str(path), "run_id": parent.run_id}


def _run_pending(sweep: Sweep, results: Results, parent: SweepRun, lock: IO[str]) -> bool:
    """Run what has no result, what failed before last; returns whether anything has changed."""
    pending = sorted((t for t in sweep.trials if not results.finished(t)), key=lambda t: bool(results.of(t)))
    adopted = _adopt(sweep, results, parent)
    if pending:
        parent.start()
    for trial in pending:
        if sweep_key(sweep) != results.key:
            raise UserError(
                "code or dvc.yaml has changed since the sweep began, so its trials would not be comparable. Run the "
                "same command again: it starts over, and takes from the cache what the change does not touch."
            )
        _run(sweep, trial, results, lock)
        _adopt(sweep, results, parent)
    return adopted or bool(pending)


def _run(sweep: Sweep, trial: Trial, results: Results, lock: IO[str]) -> None:
    """Run one trial and keep what becomes of it."""
    name = f"{sweep.name}-{trial.number:03d}"
    console.say(f"── {name} of {len(sweep.trials)}: {written(trial.overrides)}")
    started = time.monotonic()
    try:
        done = run_trial(name, trial.overrides, sweep.base, lock)
    except WsolError as error:
        results.keep(trial, {"reason": str(error)})
        console.warn(f"{name} failed: {error}")
        return
    seconds = time.monotonic() - started
    results.keep(trial, {"metrics": done.metrics, "run_id": done.run_id, "seconds": seconds})
    console.say(f"── {name}: val.{sweep.metric} {_value(sweep, results, trial):.2f} in {seconds:.0f} s")


def _adopt(sweep: Sweep, results: Results, parent: SweepRun) -> bool:
    """Give the rows of finished trials their parent; returns whether one had not had it."""
    orphans = [t for t in sweep.trials if results.finished(t) and results.of(t).get("parent") != parent.run_id]
    for trial in orphans:
        record = results.of(trial)
        parent.adopt(record["run_id"])
        results.keep(trial, record | {"parent": parent.run_id})
    return bool(orphans)


def _value(sweep: Sweep, results: Results, trial: Trial) -> float:
    """What ranks a finished trial."""
    val = results.of(trial)["metrics"]["val"]
    if sweep.metric not in val:
        raise UserError(
            f"trial {trial.number} measured no val.{sweep.metric}; it has {', '.join(sorted(val))}. Set another metric "
            f"in {sweep.source}: finished trials are kept."
        )
    return float(val[sweep.metric])


def ranking(sweep: Sweep, results: Results) -> pd.DataFrame:
    """All trials, the best first and failed ones last: settings, every metric of val and test, MLflow's run, reason."""
    finished = [trial for trial in sweep.trials if results.finished(trial)]
    finished.sort(key=lambda trial: -_value(sweep, results, trial))
    rows = []
    for rank, trial in enumerate(finished, start=1):
        record = results.of(trial)
        figures = {f"{split}.{name}": value for split in SPLITS for name, value in record["metrics"][split].items()}
        facts = {"threshold": record["metrics"]["threshold"], **figures}
        facts |= {"seconds": record["seconds"], "run_id": record["run_id"]}
        rows.append({"rank": rank, "trial": trial.number, **trial.overrides, **facts})
    for trial in sweep.trials:
        if not results.finished(trial):
            rows.append({"trial": trial.number, **trial.overrides, "reason": results.of(trial)["reason"]})
    return pd.DataFrame(rows).astype({"rank": "Int64"} if finished else {})


def _show(sweep: Sweep, results: Results, table: pd.DataFrame) -> None:
    metric = f"val.{sweep.metric}"
    order = [sweep.trials[number - 1] for number in table["trial"]]
    rows = [
        (str(rank), str(t.number), *(str(t.overrides[key]) for key in sweep.keys), f"{_value(sweep, results, t):.2f}")
        for rank, t in enumerate(order, start=1)
        if results.finished(t)
    ]
    console.table(f"{sweep.name}, ranked by {metric}", ("rank", "trial", *sweep.keys, metric), rows)
    for trial in order[len(rows) :]:
        console.warn(f"trial {trial.number} ({written(trial.overrides)}) failed: {results.of(trial)['reason']}")
    if len(rows) < len(order):
        console.say("The same command tries failed trials again, and no others.")


def _best(sweep: Sweep, results: Results, path: Path) -> Trial:
    finished = [trial for trial in sweep.trials if results.finished(trial)]
    if not finished:
        raise WsolError(f"all {len(sweep.trials)} trials of {sweep.name} failed; the reasons are above and in {path}.")
    return max(finished, key=lambda trial: _value(sweep, results, trial))


def _record(sweep: Sweep, results: Results, best: Trial, parent: SweepRun, path: Path) -> None:
    finished = sum(results.finished(trial) for trial in sweep.trials)
    metrics = results.of(best)["metrics"]
    figures = {f"{split}/{name}": float(value) for split in SPLITS for name, value in metrics[split].items()}
    note = (
        f"{finished} of {len(sweep.trials)} trials finished, ranked by val.{sweep.metric}. Best: trial {best.number}, "
        f"{written(best.overrides)}; its metrics are those of this run. `{path.name}` has them all."
    )
    parent.finish(note, figures, finished, [path, sweep.source])


def _summary(sweep: Sweep, results: Results, best: Trial) -> dict[str, Any]:
    metrics = results.of(best)["metrics"]
    shown = {f"{split}.{sweep.metric}": metrics[split].get(sweep.metric) for split in SPLITS}
    failed = sum(not results.finished(trial) for trial in sweep.trials)
    chosen = {"trial": best.number, **best.overrides, **shown}
    enter = entry_command(results.of(best)["run_id"])
    console.say(f"Best on val: trial {best.number}. To enter it against the champion: {enter}")
    return {"sweep": sweep.name, "trials": len(sweep.trials), "failed": failed, "best": chosen, "promote": enter}
