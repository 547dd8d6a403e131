"""Faults of this machine's file system, told apart from those of a network."""

import errno

from pipeline.system.server_faults import causes

LOCAL = frozenset(
    {
        errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EFBIG, errno.EIO, errno.EISDIR, errno.ELOOP, errno.EMFILE,
        errno.ENAMETOOLONG, errno.ENFILE, errno.ENOENT, errno.ENOSPC, errno.ENOTDIR, errno.ENOTEMPTY, errno.EPERM,
        errno.EROFS, errno.EXDEV,
    }
)  # fmt: skip


def local_fault(error: BaseException) -> str:
    """What this machine's file system refused, in words; empty where an error has another cause.

    Libraries wrap the fault of a connection, and that of a file, in errors of their own: the causes count too.
    """
    return next((_words(cause) for cause in causes(error) if isinstance(cause, OSError) and _is_local(cause)), "")


def _is_local(error: OSError) -> bool:
    # Errors of name look-ups have numbers of their own.
    return error.errno in LOCAL and type(error).__module__ == "builtins"


def _words(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
