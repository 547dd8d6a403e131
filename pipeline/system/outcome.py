"""How a command ended, told to whoever started it through DVC, which passes neither exit code nor message on."""

import faulthandler
import fcntl
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

#: Names the file in which a command leaves its exit code and error message.
OUTCOME_FILE = "WSOL_OUTCOME_FILE"
#: Exit code of what was killed: by hand, or by the kernel where memory ran out. It may succeed later.
KILLED = 128 + signal.SIGKILL


@dataclass(frozen=True)
class Outcome:
    """How the last command of a DVC run ended.

    Attributes:
        exit_code: its own; None where none failed, or none reported it, for example because it was killed.
        message: its error message, or empty.
        shown: whether the user has seen the message; nobody could tell why a process was killed.
    """

    exit_code: int | None = None
    message: str = ""
    shown: bool = True


def leave_outcome(exit_code: int | str | None, message: str) -> None:
    """Called at the end of every command; nothing is left by one that succeeded, or where nobody asks.

    Of several processes that fail together, such as those of one training, the first is heard: the others end because
    it did.
    """
    path = os.environ.pop(OUTCOME_FILE, None)
    if path is None or exit_code == 0:
        return
    code = exit_code if isinstance(exit_code, int) else 1
    # A full disk must not hide the message itself.
    with suppress(OSError), Path(path).open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        # Not by its existence: Kubernetes makes the file of a container's last message, empty.
        if os.fstat(stream.fileno()).st_size == 0:
            stream.write(json.dumps({"exit_code": code, "message": message}))


@contextmanager
def noted(stage: str) -> Iterator[None]:
    """Keep a note beside the outcome for as long as a stage works: of one that is killed it stays, as its only word.

    A fault in a library, such as a segmentation fault, is written into it.
    """
    path = os.environ.get(OUTCOME_FILE)
    if path is None:
        yield
        return
    note = Path(f"{path}.{os.getpid()}")
    try:
        with note.open("w") as stream:
            with suppress(OSError):
                stream.write(f"stage {stage} (process {os.getpid()})\n")
                stream.flush()
            faulthandler.enable(stream)
            try:
                yield
            finally:
                faulthandler.disable()
    finally:
        note.unlink(missing_ok=True)


def read_outcome(path: Path) -> Outcome:
    """What :func:`leave_outcome` wrote, or what a killed stage left, or an empty outcome."""
    outcome = _parse(path)
    notes = sorted(path.parent.glob(f"{path.name}.*"))
    # Of processes that train together, those that remain are told to end when one was killed.
    if notes and (outcome.exit_code is None or outcome.exit_code > 128):
        stage, _, fault = notes[0].read_text(errors="replace").partition("\n")
        return _killed(stage or "a stage", fault)
    return outcome


def _parse(path: Path) -> Outcome:
    """An empty outcome where there is no file, or none that a full disk or a signal let the command complete."""
    try:
        return Outcome(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return Outcome()


def _killed(stage: str, fault: str) -> Outcome:
    if fault:
        return Outcome(1, f"{stage} crashed:\n{fault.strip()}", shown=False)
    return Outcome(
        KILLED,
        f"{stage} was killed (signal 9) before it could say why. If nobody did that, memory ran out: free some, lower "
        "the stage's batch_size or raise the container's limit. Run the same command again: a training resumes from "
        "its last checkpoint.",
        shown=False,
    )
