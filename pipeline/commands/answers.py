"""What a command answers: one JSON line on stdout, for programs; people read stderr."""

import functools
import inspect
import json
import signal
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_type_hints

import typer

from pipeline import console
from pipeline.errors import UserError

Answer = Mapping[str, Any]
_JSON = inspect.Parameter(
    "as_json",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool, typer.Option("--json", help="end with the answer as one JSON line on a terminal too, as elsewhere")
    ],
)


def is_answering(command: Callable[..., Any]) -> bool:
    """Whether a command has something to say to programs."""
    return get_type_hints(command)["return"] is not type(None)


def answering(command: Callable[..., Answer | None]) -> Callable[..., None]:
    """A command that prints its answer, where a program reads it or ``--json`` asks for it.

    An answer's ``exit_code`` is how the command ends.
    Of several processes that do the same work, those that answer nothing return None.
    """

    @functools.wraps(command)
    def answered(*, as_json: bool, **given: Any) -> None:
        answer = command(**given)
        if answer is not None and (as_json or not console.is_terminal(console.stdout)):
            _print(answer)
        if answer and answer.get("exit_code"):
            raise SystemExit(answer["exit_code"])

    signature = inspect.signature(command)
    answered.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), _JSON]
    )
    return answered


def in_words(text: str) -> None:
    """The answer of a command that has said nothing else, where no program reads it."""
    if console.is_terminal(console.stdout):
        console.say(text)


def _print(answer: Answer) -> None:
    """The one line.

    Raises:
        SystemExit: nobody reads it any more, as behind `| head`.
        UserError: it cannot be written.
    """
    try:
        print(json.dumps(answer), flush=True)
    except BrokenPipeError:
        raise SystemExit(128 + signal.SIGPIPE) from None
    except OSError as error:
        raise UserError(
            f"the result could not be written to stdout: {error.strerror}. What the command made is complete; free "
            "some space or send stdout elsewhere, and run the same command again to see the result."
        ) from None
