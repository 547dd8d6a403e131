"""The only place that runs Git: without the variables of another repository, and without the user's hooks."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import UserError
from pipeline.system.environment import environment

#: A hook of the user's that makes a workspace would run again for the workspace.
NO_HOOKS = ("-c", f"core.hooksPath={os.devnull}")


class GitError(UserError):
    """Git is missing, or refused; with what it said."""


def git(folder: Path, *arguments: str) -> str:
    """A git command's stdout, decoded as file names are.

    Raises:
        GitError: it failed, or there is no Git.
    """
    return os.fsdecode(git_bytes(folder, *arguments))


def git_bytes(folder: Path, *arguments: str, variables: Mapping[str, str] | None = None) -> bytes:
    """A git command's stdout as it is.

    Args:
        folder: where it runs.
        arguments: of the command.
        variables: set for this call, such as ``GIT_INDEX_FILE``.

    Raises:
        GitError: it failed, or there is no Git.
    """
    command = ["git", *NO_HOOKS, *arguments]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment() | dict(variables or {}), capture_output=True, check=False
        )
    except FileNotFoundError as error:
        if error.filename != "git":
            raise GitError(f"{folder} does not exist, so Git cannot run there.") from None
        raise GitError("git is not on PATH. Install it, for example `apt-get install git`.") from None
    if done.returncode:
        said = os.fsdecode(done.stderr or done.stdout).strip()
        raise GitError(f"`git {' '.join(arguments)}` failed in {folder}:\n{said}")
    return done.stdout


def toplevel(folder: Path) -> Path:
    """The checkout a folder lies in.

    Raises:
        GitError: it lies in none, Git refuses to look into it, or there is no Git.
    """
    return Path(git(folder, "rev-parse", "--show-toplevel").removesuffix("\n"))


def commit_of(folder: Path, revision: str) -> str:
    """Hash of the commit that a revision names.

    Raises:
        GitError: there is none of that name.
    """
    return git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()


def source_commit(folder: Path, *paths: str) -> str:
    """Hash of the commit that is checked out, ``+`` behind it where some of the paths differ from it.

    Empty where Git cannot tell, which keeps nobody from working.
    """
    try:
        changed = git(folder, "status", "--porcelain", "--", *paths)
        return f"{commit}{'+' * bool(changed)}" if (commit := head(folder)) else ""
    except GitError:
        return ""


def head(folder: Path) -> str:
    """Hash of the commit that is checked out; empty where nothing was committed yet.

    Raises:
        GitError: no checkout, Git refuses to look into it, or there is no Git.
    """
    toplevel(folder)
    try:
        return commit_of(folder, "HEAD")
    except GitError:
        return ""
