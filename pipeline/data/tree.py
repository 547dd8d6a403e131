"""What lies below the root of a raw data set."""

import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.data.names import CONTROL, shown
from pipeline.errors import DataError

#: Problems spelled out in one message; the others are counted.
NAMED = 10


def listed(problems: Sequence[object]) -> str:
    """The first ten problems, a line each, and how many more there are."""
    more = f"\n  … and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
    return "".join(f"\n  {problem}" for problem in problems[:NAMED]) + more


def files_below(root: Path) -> list[str]:
    """Every file below ``root``, relative to it; of a root that is itself a file an empty name. It may be a link.

    Refused are a link to a folder (DVC does not look behind it, so it would miss every change there), a link that leads
    out of the root or nowhere, what is not a regular file (DVC would wait for a FIFO for ever), and names that DVC
    cannot note. Nothing is opened, and most file systems tell what an entry is together with its name.

    Raises:
        DataError: naming the first ten of these.
    """
    if root.is_file():
        return [""]
    files: list[str] = []
    problems: list[str] = []
    pending, real = [""], os.path.realpath(root)
    while pending:
        folder = pending.pop()
        for entry in _entries(root / folder):
            name = folder + entry.name
            if problem := _problem(entry, real):
                problems.append(f"{shown(name)}: {problem}")
            elif entry.is_dir():
                pending.append(f"{name}/")
            else:
                files.append(name)
    if problems:
        raise DataError(
            f"{len(problems)} entries below {root.absolute()} cannot be part of a data set:{listed(problems)}\n"
            "Put the files themselves in their place (`cp -rL`; `cp -rlL` makes hard links), or take the entries out."
        )
    return files


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"{folder.absolute()} cannot be read: {error.strerror}. prepare.root is a folder.") from None


def _problem(entry: os.DirEntry[str], real: str) -> str:
    """Why an entry cannot be used; ``real`` is the root with all links resolved."""
    if CONTROL.search(entry.name):
        return "its name holds a control character or bytes that are not UTF-8"
    if not entry.is_symlink():
        return "" if entry.is_dir() or entry.is_file() else "not a regular file"
    target = Path(os.path.realpath(entry.path))  # entry.is_file() would raise where a link points at itself
    if target.is_dir():
        return f"a link to the folder {target}, behind which DVC sees no change"
    if not target.is_file():
        return f"a link to {target}, which is not a regular file"
    return "" if target.is_relative_to(real) else f"a link to {target}, outside the data set"
