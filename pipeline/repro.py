"""``dvc repro`` with what it lacks: validation first, the stage's own exit code, signals that reach the stage.

DVC removes a stage's outputs before it runs the stage, exits with 255 whatever the stage's own code was, and leaves the
stage running when it is itself stopped.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from pipeline import console
from pipeline.errors import TransientError, UserError
from pipeline.outcome import OUTCOME_FILE, Outcome, read_outcome
from pipeline.params import load_params
from pipeline.preflight import check_inputs

#: Seconds between SIGTERM and SIGKILL: Airflow kills a cancelled task after 5 s, and nothing may outlive it.
GRACE = 4.0


def reproduce(stage: str, *, single_item: bool = False, force: bool = False) -> Outcome:
    """Validate, run ``dvc repro`` and, when it fails, tell how to get removed outputs back.

    Args:
        stage: up to and including this one; empty for all.
        single_item: only that stage, whatever has changed before it.
        force: run it although nothing has changed.

    Returns:
        What the stage that failed reported; 128 + signal when interrupted, 1 when DVC itself failed, else 0.

    Raises:
        UserError: parameters or inputs are wrong; nothing was run.
        TransientError: another DVC process works in this folder.
    """
    _check_stage(stage)
    check_inputs(load_params())
    present = {path for outputs in _locked_outputs().values() for path in outputs if path.exists()}
    options = [*(["--single-item"] if single_item else []), *(["--force"] if force else [])]
    returncode, reported = run_dvc(["repro", *options, *([stage] if stage else [])])
    outcome = _outcome(returncode, reported)
    _tell_how_to_restore(present)
    return outcome


def _check_stage(stage: str) -> None:
    path = Path("dvc.yaml")
    if not path.is_file():
        raise UserError(f"{path.absolute()} does not exist. Run commands from the root of the repository.")
    stages = yaml.safe_load(path.read_text())["stages"]
    if stage and stage not in stages:
        raise UserError(f"dvc.yaml has no stage {stage!r}; it has {', '.join(stages)}.")


def run_dvc(arguments: Sequence[str]) -> tuple[int, Outcome]:
    """Run DVC in its own process group; signals sent to this process reach the whole group.

    Returns:
        DVC's exit code, or 128 + signal when this process was told to stop, and what the last stage left.
    """
    with tempfile.TemporaryDirectory() as folder:
        outcome = Path(folder) / "outcome.json"
        process = subprocess.Popen(
            [sys.executable, "-m", "dvc", *arguments], env=environment() | {OUTCOME_FILE: str(outcome)}, process_group=0
        )
        with _forwarding_signals(process) as received:
            returncode = process.wait()
        if received:
            _end_group(process.pid)
            returncode = 128 + received[0]
        return returncode, read_outcome(outcome)


def environment() -> dict[str, str]:
    """This process's environment in which ``python`` is this interpreter, as the commands of dvc.yaml expect."""
    return dict(os.environ) | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


@contextmanager
def _forwarding_signals(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Pass SIGTERM and SIGINT on to the process's group; yields the list of those received."""
    received: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        _signal_group(process.pid, number)
        # DVC waits for its stage: one that does not heed the signal must not keep this process here.
        signal.setitimer(signal.ITIMER_REAL, GRACE)

    def kill(_number: int, _frame: FrameType | None) -> None:
        _signal_group(process.pid, signal.SIGKILL)

    handlers: Mapping[int, Any] = {signal.SIGTERM: forward, signal.SIGINT: forward, signal.SIGALRM: kill}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield received
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_group(group: int) -> None:
    """DVC dies of a signal before its stage does: wait for the rest of the group, then kill it."""
    deadline = time.monotonic() + GRACE
    while _signal_group(group, 0) and time.monotonic() < deadline:
        time.sleep(0.02)
    _signal_group(group, signal.SIGKILL)


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _outcome(returncode: int, reported: Outcome) -> Outcome:
    """What became of the run, by DVC's exit code and what the last stage reported.

    Raises:
        TransientError: DVC could not start a stage because another process works here.
    """
    if returncode in (0, 128 + signal.SIGTERM, 128 + signal.SIGINT):
        return Outcome(returncode, reported.message or ("interrupted" if returncode else ""))
    if reported.exit_code:
        return reported
    if busy := _other_dvc_processes():
        raise TransientError(
            f"another DVC process works in {Path.cwd()} ({busy}). Two runs must not share a folder: "
            "wait until it ends and run again, or start a run with its own workspace."
        )
    return Outcome(1, "DVC failed, see its message above")


def _other_dvc_processes() -> str:
    """The processes that hold DVC's locks of this folder, in words; empty where there is none."""
    holders = {f"process {entry['pid']}: {entry['cmd']}" for entry in _rwlock_entries() if _alive(int(entry["pid"]))}
    if not holders and _is_locked(Path(".dvc/tmp/lock")):
        return "it holds .dvc/tmp/lock"
    return "; ".join(sorted(holders))


def _rwlock_entries() -> Iterator[Mapping[str, Any]]:
    path = Path(".dvc/tmp/rwlock")
    locks = json.loads(path.read_text() or "{}") if path.exists() else {}
    for readers in locks.get("read", {}).values():
        yield from readers
    yield from locks.get("write", {}).values()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    with path.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _locked_outputs() -> dict[str, list[Path]]:
    """The outputs that dvc.lock names, by stage."""
    path = Path("dvc.lock")
    try:
        stages = (yaml.safe_load(path.read_text()) or {}).get("stages", {}) if path.exists() else {}
    except yaml.YAMLError as error:
        raise UserError(
            f"{path.absolute()} is not valid YAML: {error}. Restore it, or remove it to start over."
        ) from None
    return {name: [Path(out["path"]) for out in entry.get("outs", [])] for name, entry in stages.items()}


def _tell_how_to_restore(present: set[Path]) -> None:
    """Name the command that brings back what DVC removed before a stage that then failed."""
    lost = [
        name for name, outputs in _locked_outputs().items() if any(p in present and not p.exists() for p in outputs)
    ]
    if lost:
        dvc = Path(sys.executable).with_name("dvc")
        short = dvc.relative_to(Path.cwd()) if dvc.is_relative_to(Path.cwd()) else dvc
        console.warn(
            f"the outputs that {' and '.join(lost)} had before this run are no longer in place; "
            f"bring them back with: {short} checkout {' '.join(lost)}"
        )
