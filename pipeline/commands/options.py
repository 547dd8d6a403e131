"""Options that several commands have."""

from typing import Annotated

import typer

Settings = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="a value in place of the usual one; may be repeated"),
]
