"""The command line, made from the table of commands."""

import inspect
import os
from collections.abc import Mapping
from typing import Annotated

import typer

from pipeline.commands.answers import answering, is_answering
from pipeline.commands.completion import VARIABLE
from pipeline.commands.plain import PlainGroup
from pipeline.commands.table import COMMANDS, Entry
from pipeline.commands.version import show_version

HELP = "Weakly supervised object localization: image labels in, boxes out."


def command_line() -> PlainGroup:
    """All commands; to be called with the arguments of this process."""
    app = _group(HELP)
    app.callback()(_options)
    for panel, entries in COMMANDS.items():
        _add(app, entries, panel)
    made = typer.main.get_command(app)
    assert isinstance(made, PlainGroup)
    return made


def run_command_line() -> None:
    """Run the command that the arguments of this process name, or answer the shell that completes one."""
    if VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()
    command_line()(prog_name="python -m pipeline", complete_var=VARIABLE)


def _options(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=show_version, help="Show version and Git revision.")
    ] = False,
) -> None: ...


def _group(text: str) -> typer.Typer:
    return typer.Typer(
        cls=PlainGroup,
        help=text,
        no_args_is_help=True,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _add(app: typer.Typer, entries: Mapping[str, Entry], panel: str | None = None) -> None:
    for name, entry in entries.items():
        if isinstance(entry.content, tuple):
            text, below = entry.content
            group = _group(text)
            _add(group, below)
            app.add_typer(group, name=name, rich_help_panel=panel)
        else:
            text, _, examples = (inspect.getdoc(entry.content) or "").partition("\n\nExamples:\n")
            function = answering(entry.content) if is_answering(entry.content) else entry.content
            command = app.command(name, cls=entry.kind, help=text, epilog=_as_epilog(examples), rich_help_panel=panel)
            command(function)


def _as_epilog(examples: str) -> str | None:
    """Text whose lines stay as they are."""
    return f"\b\nExamples:\n{examples}" if examples else None
