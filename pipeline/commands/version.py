"""``--version``."""

import tomllib
from pathlib import Path

import typer

from pipeline.system.git import GitError, git

ROOT = Path(__file__).parents[2]


def version() -> str:
    """Of the project, with the Git revision of its code where there is one; it ends with `-dirty` after changes."""
    number = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    try:
        return f"{number} ({git(ROOT, 'describe', '--always', '--dirty', '--abbrev=12', '--exclude=*').strip()})"
    except GitError:
        return str(number)


def show_version(wanted: bool) -> None:
    """Print it and end, where it is asked for."""
    if wanted:
        print(f"wsol-pipeline {version()}")
        raise typer.Exit
