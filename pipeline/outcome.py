"""How a command ended, told to whoever started it through DVC, which passes neither exit code nor message on."""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

#: Names the file in which a command leaves its exit code and error message.
OUTCOME_FILE = "WSOL_OUTCOME_FILE"


@dataclass(frozen=True)
class Outcome:
    """How the last command of a DVC run ended.

    Attributes:
        exit_code: its own; None where none failed, or none reported it, for example because it was killed.
        message: its error message, or empty.
    """

    exit_code: int | None = None
    message: str = ""


def leave_outcome(exit_code: int | str | None, message: str) -> None:
    """Called at the end of every command; nothing is left by one that succeeded, or where nobody asks.

    Of several processes that fail together, such as those of one training, the first is heard: the others end because
    it did.
    """
    path = os.environ.pop(OUTCOME_FILE, None)
    if path is None or exit_code == 0:
        return
    code = exit_code if isinstance(exit_code, int) else 1
    with Path(path).open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        # Not by its existence: Kubernetes makes the file of a container's last message, empty.
        if os.fstat(stream.fileno()).st_size == 0:
            stream.write(json.dumps({"exit_code": code, "message": message}))


def read_outcome(path: Path) -> Outcome:
    """What :func:`leave_outcome` wrote, or an empty outcome."""
    return Outcome(**json.loads(path.read_text())) if path.exists() else Outcome()
