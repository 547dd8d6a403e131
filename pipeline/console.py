"""What a person sees: progress and tables on stderr. stdout stays free for the one JSON line a stage ends with."""

import io
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import IO, Any, TypeVar, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

Item = TypeVar("Item")


class _Lossy:
    """stdout or stderr, whose end is not that of the work: what a closed terminal or a full disk does not take is lost.

    Args:
        name: of the stream in ``sys``.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property
    def _stream(self) -> IO[str]:
        # Python has none where it was started without one, as by `2>&-`.
        return getattr(sys, self._name) or io.StringIO()

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


stdout, stderr = cast(IO[str], _Lossy("stdout")), cast(IO[str], _Lossy("stderr"))
_console = Console(file=stderr, highlight=False)
#: Seconds between two progress lines where there is no terminal.
LINE_EVERY = 10.0


def silence() -> None:
    """Say nothing from here on: of several processes that do the same work one speaks."""
    _console.quiet = True


def pass_on(line: str, stream: IO[str] = stderr) -> None:
    """A line of another command, as it is."""
    stream.write(line)
    stream.flush()


def is_terminal(stream: IO[str]) -> bool:
    """Whether a person reads it."""
    return stream.isatty()


def say(message: str) -> None:
    """One line for the user."""
    _console.print(message, markup=False, soft_wrap=True)


def fail(message: str) -> None:
    """The error that ends a command; also of a process that is silent otherwise."""
    _console.quiet = False
    _console.print("[bold red]error:[/]", end=" ")
    say(message)


def warn(message: str) -> None:
    """Something the user should know although the work continues."""
    _console.print("[bold yellow]warning:[/]", end=" ")
    say(message)


def finding(sign: str, style: str, subject: str, message: str) -> None:
    """A sign, what it is about, and what was found."""
    _console.print(sign, style=style, end=" ", markup=False)
    say(f"{subject:10} {message}")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; the first column is text, the others are numbers."""
    # Names and settings are the user's: brackets in them are not markup.
    grid = Table(title=Text(title), title_justify="left")
    for position, column in enumerate(columns):
        grid.add_column(Text(column), justify="left" if position == 0 else "right")
    for row in rows:
        grid.add_row(*map(Text, row))
    _console.print(grid)


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


def progress(items: Iterable[Item], total: int | None, description: str, unit: str = "images") -> Iterator[Item]:
    """Pass ``items`` on while showing how far the work is: a bar on a terminal, a line now and then elsewhere.

    Airflow and Docker split logs at newlines only, so a bar would never show there.
    Work of a few seconds shows nothing.

    Args:
        total: their number, where it is known.
    """
    if _console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit), _Speed(),
                   TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
        with Progress(*columns, console=_console) as bar:
            yield from bar.track(items, total=total, description=description)
        return
    start = shown = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - shown >= LINE_EVERY:
            shown = now
            speed = done / (now - start)
            of, left = (f"/{total}", f", {(total - done) / speed:.0f} s left") if total else ("", "")
            say(f"{description}: {done}{of} {unit}, {speed:.1f} {unit}/s, {now - start:.0f} s elapsed{left}")
