"""Help that says what a value is in words, where typer shows its type in Python."""

from typing import Any

from typer.core import TyperCommand, TyperGroup

#: What typer calls a type, and what people call a value of it; choices are shown as they are.
WORDS = {
    "bool": "", "str": "TEXT", "list[str]": "TEXT", "int": "N", "int range": "N", "float": "NUMBER",
    "float range": "NUMBER", "list[float]": "NUMBER", "path": "PATH",
}  # fmt: skip


class _InWords:
    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, named in words; those of ``--help`` come from here too."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if parameter.param_type_name == "argument":
                # It has its own name already, such as FOLDER.
                parameter.metavar = parameter.metavar or parameter.name.upper()
                parameter.display_type_rich = lambda ctx: None
            elif parameter.metavar is None:
                label = parameter.display_type(ctx).strip("<>")
                parameter.metavar = WORDS.get(label, label)
        return parameters


class PlainCommand(_InWords, TyperCommand):
    """A command."""


class PlainGroup(_InWords, TyperGroup):
    """Commands below a name."""


class SpreadIou(PlainCommand):
    """Takes ``--iou 0.3 0.5 0.7`` as the field's script does, besides ``--iou 0.3 --iou 0.5``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments with ``--iou`` before each of its values."""
        spread: list[str] = []
        for arg in args:
            several = len(spread) > 1 and spread[-2] == "--iou" and not arg.startswith("-")
            spread += ["--iou", arg] if several else [arg]
        return super().parse_args(ctx, spread)
