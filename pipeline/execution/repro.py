"""``dvc repro`` with what it lacks: validation first, the stage's own exit code, signals that reach the stage.

DVC removes a stage's outputs before it runs the stage, exits with 255 whatever the stage's own code was, and leaves the
stage running when it is itself stopped.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from pipeline import console
from pipeline.errors import TransientError, UserError
from pipeline.execution.preflight import check_inputs
from pipeline.execution.previous import keep_previous
from pipeline.params import load_params
from pipeline.system.dvc import NOISE, dvc_command, forget_ended_holders, outputs, path_locks, read_lock, read_stages
from pipeline.system.environment import environment
from pipeline.system.keeper import STOPPING
from pipeline.system.locks import REPRO_LOCK, STAGE_LOCK, exclusive_lock, is_held, wait_until_free
from pipeline.system.outcome import OUTCOME_FILE, Outcome, read_outcome
from pipeline.system.processes import GRACE, exit_code, is_running, kept, passing_on_signals, signal_name

#: DVC's exit code where a stage fails, whatever its own is.
DVC_FAILED = 255


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
    options = [*(["--single-item"] if single_item else []), *(["--force"] if force else [])]
    params = load_params()
    check_inputs(params)
    path_locks()
    with exclusive_lock(REPRO_LOCK, "another `repro`") as lock:
        # A stage whose DVC was killed ends by itself; DVC would remove what it still writes.
        wait_until_free(STAGE_LOCK, "a stage of this folder", 2 * GRACE)
        forget_ended_holders()
        keep_previous(params)
        return _reproduce(stage, options, lock)


def _reproduce(stage: str, options: Sequence[str], lock: IO[str]) -> Outcome:
    present = {path for outputs in _locked_outputs().values() for path in outputs if path.exists()}
    returncode, reported = run_dvc(["repro", *options, *([stage] if stage else [])], lock)
    outcome = _outcome(returncode, reported)
    if not outcome.shown:
        console.fail(outcome.message)
    _tell_how_to_restore(present)
    return outcome


def _check_stage(stage: str) -> None:
    stages = read_stages()
    if stage and stage not in stages:
        raise UserError(f"dvc.yaml has no stage {stage!r}; it has {', '.join(stages)}.")


def run_dvc(arguments: Sequence[str], *locks: IO[str]) -> tuple[int, Outcome]:
    """Run DVC; signals sent to this process reach its stage, and nothing is left when it has ended.

    Returns:
        DVC's exit code, or 128 + signal when this process was told to stop, and what the last stage left.
    """
    with tempfile.TemporaryDirectory() as folder:
        outcome = Path(folder) / "outcome.json"
        variables = environment() | {OUTCOME_FILE: str(outcome)}
        with (
            kept(dvc_command(*arguments), locks=locks, env=variables, stdout=subprocess.PIPE) as process,
            passing_on_signals(process) as received,
        ):
            # DVC gives up where nobody reads its stdout any more, as behind `| head`, with the outputs removed.
            for line in process.stdout or ():
                if not (console.is_terminal(console.stdout) and NOISE.match(line)):
                    console.pass_on(line, console.stdout)
            returncode = exit_code(process)
        return 128 + received[0] if received else returncode, read_outcome(outcome)


def _outcome(returncode: int, reported: Outcome) -> Outcome:
    """What became of the run, by DVC's exit code and what the last stage reported.

    Raises:
        TransientError: DVC could not start a stage because another process works here.
    """
    if returncode == 0:
        return Outcome(0)
    if returncode - 128 in STOPPING:
        return Outcome(returncode, "interrupted")
    if 128 < returncode < DVC_FAILED:
        return Outcome(returncode, f"DVC was ended by {signal_name(returncode)}; run again to go on", shown=False)
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
    holders = {f"process {holder.pid}: {holder.cmd}" for holder in path_locks() if is_running(holder.pid)}
    if not holders and is_held(Path(".dvc/tmp/lock")):
        return "it holds .dvc/tmp/lock"
    return "; ".join(sorted(holders))


def _locked_outputs() -> dict[str, list[Path]]:
    """The outputs that dvc.lock names, by stage."""
    return {name: [Path(path) for path in outputs(entry)] for name, entry in read_lock().items()}


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
