"""Which of a machine's GPUs a task gets: Docker itself would give the first one to every container."""

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from airflow.sdk.exceptions import AirflowException

LOCKS = Path(tempfile.gettempdir()) / "wsol-gpus"


@contextmanager
def reserved_gpus(count: int, total: int, locks: Path = LOCKS) -> Iterator[list[str]]:
    """Hold GPUs that no other task of this machine holds; yields their numbers.

    Raises:
        AirflowException: fewer are free; the slots of the pool ``gpu`` are more than there are GPUs.
    """
    locks.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        free: list[str] = []
        for number in range(total):
            stream = held.enter_context((locks / str(number)).open("w"))
            if len(free) < count and _lock(stream):
                free.append(str(number))
        if len(free) < count:
            raise AirflowException(
                f"{count} GPUs are needed, {len(free)} of {total} are free: give the pool `gpu` as many slots as "
                "WSOL_GPUS says there are."
            )
        yield free


def _lock(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
