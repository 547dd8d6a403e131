"""What the DAGs call around the stages: workspaces, and the rows of a sweep."""

from typing import Annotated

import typer

from pipeline.commands.answers import Answer, in_words
from pipeline.commands.options import Settings

Run = Annotated[str, typer.Argument(help="name of the run")]
Sweep = Annotated[str, typer.Argument(metavar="SWEEP", help="name of the sweep")]


def create_workspace(
    run: Run,
    settings: Settings = [],  # noqa: B006
    revision: Annotated[str, typer.Option(help="commit, branch or tag; the working tree as on disk if not given")] = "",
    values: Annotated[str, typer.Option(metavar="JSON", help="several values at once: an object by dotted key")] = "{}",
) -> Answer:
    """Copy the repository for one run, with its own params.yaml.

    The cache and the state folder are shared. Run stages there with `python -m pipeline repro`.

    Examples:
        python -m pipeline workspace create trial --set train.lambda=0.01
    """
    from pipeline.execution.workspace import create_workspace as create
    from pipeline.execution.workspace import fetches_weights
    from pipeline.overrides import parse_assignment, parse_values

    overrides = parse_values(values) | dict(parse_assignment(text) for text in settings)
    workspace = create(run, overrides, revision or None)
    in_words(f"the workspace is {workspace}")
    return {"workspace": str(workspace), "fetches_weights": fetches_weights(workspace)}


def remove_workspace(run: Run) -> Answer:
    """Remove a run's copy of the repository.

    Its params.yaml and dvc.lock are kept.

    Examples:
        python -m pipeline workspace remove trial
    """
    from pipeline.execution.workspace import remove_workspace as remove

    record = remove(run)
    in_words(f"its params.yaml and dvc.lock are in {record}")
    return {"record": str(record)}


def open_sweep(name: Sweep) -> Answer:
    """Find or make the parent run of a sweep."""
    from pipeline.sweeps.rows import open_sweep as open_parent

    parent = open_parent(name)
    in_words(f"the sweep is MLflow run {parent['run_id']}")
    return parent


def add_row(name: Sweep) -> Answer:
    """Put the tracked result in this folder under the parent run of a sweep."""
    from pipeline.sweeps.rows import add_row as add

    row = add(name)
    in_words(f"MLflow run {row['run_id']} is a row of {name}")
    return row


def close_sweep(
    name: Sweep,
    rows: Annotated[str, typer.Option(metavar="JSON", help="what `rows add` printed, as a list")],
    expected: Annotated[int, typer.Option(help="how many rows there were")],
) -> Answer:
    """Compare the rows of a sweep on val and mark the best one.

    Fails, after that, where rows are missing.
    """
    from pipeline.sweeps.rows import close_sweep as close
    from pipeline.sweeps.rows import run_ids_of

    return close(name, run_ids_of(rows), expected)
