"""One run of the pipeline in a workspace of its own, as part of a larger command that may be stopped."""

import fcntl
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

from pipeline.errors import TransientError, WsolError
from pipeline.files import METRICS, read_json
from pipeline.outcome import OUTCOME_FILE, read_outcome
from pipeline.repro import environment
from pipeline.state import state_folder
from pipeline.workspace import create_workspace, remove_workspace


@dataclass(frozen=True)
class Done:
    """A finished trial: the content of ``metrics.json``, and the id of its MLflow row."""

    metrics: dict[str, Any]
    run_id: str


@contextmanager
def only_one(path: Path, what: str) -> Iterator[IO[str]]:
    """Hold a lock file; a trial that is given it holds it too, even when the process that started it is killed.

    Raises:
        TransientError: it is held already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise TransientError(
                f"{what} is at work already (process {lock.read()}); wait until that process ends, or stop it."
            ) from None
        yield lock


def run_trial(name: str, overrides: Mapping[str, Any], base: str, lock: IO[str]) -> Done:
    """Run all stages with other parameters; what is in DVC's cache is not run again.

    Args:
        name: of the workspace, which is removed afterwards; its record stays in ``runs/`` of the state folder.
        overrides: values by dotted key.
        base: the text of the parameters file that they go into.
        lock: of :func:`only_one`.

    Raises:
        WsolError: a stage failed; with its message.
        SystemExit: this process was told to stop; the trial has stopped too, and its workspace is still there.
    """
    workspace = create_workspace(name, overrides, params=base)
    try:
        run_id = _reproduce(workspace, lock)
        done = Done(read_json(workspace / METRICS / "metrics.json"), run_id)
    except WsolError:
        remove_workspace(name)
        raise
    remove_workspace(name)
    return done


def _reproduce(workspace: Path, lock: IO[str]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        outcome = Path(folder) / "outcome.json"
        # A group of its own: Ctrl-C in the terminal reaches this process only, which passes it on once.
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "repro"], cwd=workspace,
            env=environment() | {OUTCOME_FILE: str(outcome), "WSOL_STATE": str(state_folder())},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, process_group=0, pass_fds=[lock.fileno()],
        )  # fmt: skip
        with _passing_on_signals(process) as received:
            _note_process(lock, process.pid)
            run_id = _relay(process)
            returncode = process.wait()
        message = read_outcome(outcome).message
    if received:
        raise SystemExit(128 + received[0])
    if returncode or not run_id:
        raise WsolError(message or f"`python -m pipeline repro` ended with exit code {returncode} in {workspace}.")
    return run_id


def _note_process(lock: IO[str], pid: int) -> None:
    lock.seek(0)
    lock.truncate()
    lock.write(str(pid))
    lock.flush()


@contextmanager
def _passing_on_signals(process: subprocess.Popen[str]) -> Iterator[list[int]]:
    """Pass SIGTERM and SIGINT on, to a command that ends its own children; yields the list of those received."""
    received: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        process.send_signal(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _relay(process: subprocess.Popen[str]) -> str:
    """Pass a command's lines on to stderr as they come; the id of the row that its ``track`` printed."""
    run_id = ""
    assert process.stdout
    for line in process.stdout:
        if line.startswith('{"stage": "track"'):
            run_id = json.loads(line)["run_id"]
        elif not line.startswith("{"):
            sys.stderr.write(line)
    return run_id
