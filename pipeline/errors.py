"""Every error the pipeline raises on purpose, and the exit code it ends a command with.

    WsolError            1    something failed that is neither of the two below
    ├── UserError        2    the user can mend it: parameters, data, paths
    │   ├── ParamsError       a key or value of params.yaml
    │   └── DataError         a data set, image, box or mask
    └── TransientError  75    the same command may succeed later: a server is away

A message says what is wrong, where, and what to do about it.
"""

import os
from pathlib import Path


class WsolError(Exception):
    """Base of all deliberate errors."""

    exit_code = 1


class UserError(WsolError):
    """The user's input or set-up is wrong; running again unchanged will fail again."""

    exit_code = 2


class ParamsError(UserError):
    """A key or value in ``params.yaml`` is unknown, missing or ill-typed."""


class DataError(UserError):
    """A data set, image, box or mask is missing or damaged."""


class TransientError(WsolError):
    """A fault outside the pipeline that may pass; ``EX_TEMPFAIL`` of ``sysexits.h``."""

    exit_code = 75


def kept_back(error: OSError, what: str = "") -> UserError:
    """The file system does not let this user near a path, as below a folder of another one.

    Args:
        what: names the path for the user, such as the key that it stands in.
    """
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else "a path"
    return UserError(
        f"{f'{what}: ' if what else ''}{Path(path).absolute()} cannot be reached: {error.strerror or error}. Give this "
        "user access to it, or name another place, and run again."
    )


def reason(error: Exception) -> str:
    """What another library's exception says, in one line; its type where it has no text."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
