"""What was once seen of each file: kept in the state folder, so that nobody reads an unchanged file a second time.

A file counts as unchanged while its size, its two times and its place on the disk are the same; every writing sets the
time of change (ctime), which no program can set back.
"""

import json
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from pipeline import console
from pipeline.system.state import state_folder

#: Rows after which they are written: a killed command has lost no more, and a writing takes milliseconds.
_AT_ONCE = 1000


class Memory:
    """Facts by file and kind, for all commands that share a state folder, and for all threads of this one.

    Where the state folder cannot hold it, everything is looked at anew, and a warning says so.
    """

    def __init__(self) -> None:
        self._lock, self._new = Lock(), list[tuple[str, str, str, str]]()
        self._rows = self._opened(state_folder() / "seen.db")

    def __enter__(self) -> "Memory":
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._write()
            if self._rows:
                self._rows.close()

    def recall(self, path: Path, kind: str, see: Callable[[], Any]) -> Any:
        """What ``see`` gave for this file when it was last called: a value of JSON.

        Args:
            kind: names the question, with all that its answer depends on besides the file.

        Raises:
            whatever ``see`` raises; that is not kept.
        """
        name, stamp = str(path.absolute()), _stamp(path)
        if stamp and (known := self._known(name, kind, stamp)) is not None:
            return json.loads(known)
        found = see()
        # What was written to while it was looked at is not known.
        if stamp and stamp == _stamp(path):
            with self._lock:
                self._new.append((name, kind, stamp, json.dumps(found)))
                if len(self._new) >= _AT_ONCE:
                    self._write()
        return found

    def _opened(self, path: Path) -> sqlite3.Connection | None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = sqlite3.connect(path, timeout=60, check_same_thread=False)
            rows.execute(
                "create table if not exists seen "
                "(path text, kind text, stamp text, facts text, primary key (path, kind)) without rowid"
            )
        except (sqlite3.Error, OSError) as error:
            console.warn(f"{path}: {error}. What was seen of images is not kept; remove that file to keep it again.")
            return None
        return rows

    def _known(self, path: str, kind: str, stamp: str) -> str | None:
        with self._lock, suppress(sqlite3.Error):
            query = "select facts from seen where path = ? and kind = ? and stamp = ?"
            row = self._rows and self._rows.execute(query, (path, kind, stamp)).fetchone()
            return str(row[0]) if row else None
        return None

    def _write(self) -> None:
        if self._rows:
            # A full disk costs time at the next run, and nothing else.
            with suppress(sqlite3.Error), self._rows:
                self._rows.executemany("insert or replace into seen values (?, ?, ?, ?)", self._new)
        self._new.clear()


def _stamp(path: Path) -> str:
    with suppress(OSError, ValueError):
        status = path.stat()
        return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_dev} {status.st_ino}"
    return ""
