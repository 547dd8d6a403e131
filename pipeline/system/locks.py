"""Locks between processes: one file each, held by ``flock``, so that none outlives its holder, however that ends."""

import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.errors import TransientError, UserError
from pipeline.system.processes import is_running

#: Seconds that are waited where the holder has ended but what it started is still being stopped.
ENDING = 30.0
#: A stage writes the outputs of its folder; so does whatever DVC runs before and after it.
STAGE_LOCK = Path(".dvc/tmp/stage.lock")
REPRO_LOCK = Path(".dvc/tmp/repro.lock")
_NOTE = re.compile(r"(\d{1,7}) (\S{1,255}) (\S{1,100})")


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: containers that share a volume have processes of the same id, which are not the same.

    Attributes:
        pid: of the process, where it runs.
        host: the name of that machine or container.
        namespace: of process ids there; containers may have their machine's name, and all machines one first namespace.
    """

    pid: int
    host: str
    namespace: str

    @classmethod
    def own(cls) -> "Holder":
        """This process."""
        try:
            namespace = str(Path("/proc/self/ns/pid").readlink())
        except OSError:  # Linux alone has them
            namespace = "-"
        return cls(os.getpid(), socket.gethostname() or "-", namespace)

    @property
    def is_near(self) -> bool:
        """Whether its process id means the same process here."""
        own = Holder.own()
        return (self.host, self.namespace) == (own.host, own.namespace)

    @property
    def note(self) -> str:
        """What stands in the lock file."""
        return f"{self.pid} {self.host} {self.namespace}"

    def has_ended(self) -> bool:
        """Whether it is known not to run any more; of one elsewhere nothing is known."""
        return self.is_near and not is_running(self.pid)


@contextmanager
def exclusive_lock(path: Path, what: str, patience: float = 0.0) -> Iterator[IO[str]]:
    """Hold a lock file, in which the holder's process id and host stand, for as long as the block runs.

    A process that inherits the open file holds the lock too: what a killed command leaves keeps others out until it is
    gone.

    Args:
        path: of the file; it stays.
        what: the subject of the message to those who come second.
        patience: seconds to wait for a holder that is at work; ``inf`` waits as long as it takes.

    Raises:
        TransientError: it is held; the message names the process.
        UserError: the file cannot be written.
    """
    with _opened(path) as stream:
        _acquire(stream, path, what, patience)
        # The lock holds without the note, for which a full disk has no place.
        with suppress(OSError):
            os.ftruncate(stream.fileno(), 0)
            os.write(stream.fileno(), Holder.own().note.encode())
        yield stream


def _opened(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+", errors="replace")
    except OSError as error:
        raise UserError(
            f"the lock file {path.absolute()} cannot be written: {error.strerror}. Make that place writable and run "
            "again."
        ) from None


def is_held(path: Path) -> bool:
    """Whether a process holds the lock."""
    if not path.exists():
        return False
    with _present(path) as stream:
        return not _try(stream)


def wait_until_free(path: Path, what: str, patience: float) -> None:
    """Return once nobody holds a lock.

    Raises:
        TransientError: it is still held after so many seconds; the message names the process.
    """
    if path.exists():
        with _present(path) as stream:
            _acquire(stream, path, what, patience)


def _present(path: Path) -> IO[str]:
    """A lock file that is there. NFS refuses an exclusive lock on a file that is open for reading only."""
    try:
        return path.open("r+", errors="replace")
    except OSError:
        return path.open(errors="replace")


def _acquire(stream: IO[str], path: Path, what: str, patience: float) -> None:
    if patience == float("inf"):
        fcntl.flock(stream, fcntl.LOCK_EX)
        return
    start = time.monotonic()
    while not _try(stream):
        holder = _holder(stream)
        at_work = holder is not None and not holder.has_ended()
        if time.monotonic() - start >= (patience if at_work else max(patience, ENDING)):
            raise _held(path, what, holder)
        time.sleep(0.1)


def _try(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise UserError(
            f"{stream.name} cannot be locked: {error.strerror}. Put that folder on a file system with locks: without "
            "them two runs would write into one another's results."
        ) from None
    return True


def _holder(stream: IO[str]) -> Holder | None:
    """Who stands in a lock file; None where nobody does, because the holder is about to write it."""
    stream.seek(0)
    found = _NOTE.fullmatch(stream.read(1000))
    return Holder(int(found[1]), found[2], found[3]) if found else None


def _held(path: Path, what: str, holder: Holder | None) -> TransientError:
    name = f"pid {holder.pid} on {holder.host}" if holder else f"`fuser {path.absolute()}` names its process"
    end = f"by `kill {holder.pid}`" if holder else "by `kill`"
    where = "there " if holder and not holder.is_near else ""
    return TransientError(
        f"{what} is at work already ({name}), it holds {path.absolute()}. Wait until that process ends, or stop it "
        f"{where}{end}, and run the same command again."
    )
