"""One run of the pipeline in a workspace of its own, as part of a larger command that may be stopped."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipeline import console
from pipeline.errors import WsolError
from pipeline.execution.workspace import create_workspace, remove_workspace
from pipeline.files import METRICS, read_json
from pipeline.system.environment import environment
from pipeline.system.outcome import OUTCOME_FILE, read_outcome
from pipeline.system.processes import GRACE, exit_code, kept, passing_on_signals
from pipeline.system.state import state_folder


@dataclass(frozen=True)
class Done:
    """A finished trial: the content of ``metrics.json``, and the id of its MLflow row."""

    metrics: dict[str, Any]
    run_id: str


def run_trial(name: str, overrides: Mapping[str, Any], base: str, lock: IO[str]) -> Done:
    """Run all stages with other parameters; what is in DVC's cache is not run again.

    Args:
        name: of the workspace, which is removed afterwards; its record stays in ``runs/`` of the state folder.
        overrides: values by dotted key.
        base: the text of the parameters file that they go into.
        lock: held by all that the trial starts, until that has ended.

    Raises:
        WsolError: a stage failed; with its message.
        SystemExit: this process was told to stop; the trial has stopped too, and its workspace is still there.
    """
    workspace = create_workspace(name, overrides, params=base)
    try:
        run_id = _reproduce(workspace, lock)
        done = Done(read_json(workspace / METRICS / "metrics.json", dict[str, Any]), run_id)
    except WsolError:
        remove_workspace(name)
        raise
    remove_workspace(name)
    return done


def _reproduce(workspace: Path, lock: IO[str]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        outcome = Path(folder) / "outcome.json"
        variables = environment() | {OUTCOME_FILE: str(outcome), "WSOL_STATE": str(state_folder())}
        with (
            kept(
                [sys.executable, "-m", "pipeline", "repro"], 2 * GRACE, locks=[lock], cwd=workspace, env=variables,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            ) as process,
            passing_on_signals(process) as received,
        ):  # fmt: skip
            run_id = _relay(process)
            returncode = exit_code(process)
        message = read_outcome(outcome).message
    if received:
        raise SystemExit(128 + received[0])
    if returncode or not run_id:
        raise WsolError(message or f"`python -m pipeline repro` ended with exit code {returncode} in {workspace}.")
    return run_id


def _relay(process: subprocess.Popen[str]) -> str:
    """Pass a command's lines on to stderr as they come; the id of the row that its ``track`` printed."""
    run_id = ""
    assert process.stdout
    for line in process.stdout:
        if line.startswith('{"stage": "track"'):
            run_id = json.loads(line)["run_id"]
        elif not line.startswith("{"):
            console.pass_on(line)
    return run_id
