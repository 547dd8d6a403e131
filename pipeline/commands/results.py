"""Results: looking at them, comparing them, choosing the champion, getting them back."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.commands.answers import Answer


def show() -> None:
    """Show the numbers of the result in this folder.

    They are those of metrics/; the last line says where the report is.

    Examples:
        python -m pipeline show
    """
    from pipeline.report.summary import show_summary

    show_summary()


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="ids of tracked runs, `champion`, or `here`; the first is the one to beat"),
    ],
    split: Annotated[str, typer.Option(help="whose images count: val, gate or test")] = "test",
) -> Answer:
    """Show runs side by side: accuracies, differences, settings.

    The differences are paired, with intervals; of the settings those that differ are shown.

    Examples:
        python -m pipeline compare champion here
        python -m pipeline compare RUN_ID RUN_ID --split gate
    """
    from pipeline.promotion.compare import compare as side_by_side

    return side_by_side(runs, split)


def promote(
    run: Annotated[
        str, typer.Option(metavar="RUN_ID", help="of a tracked run; the result in this folder if not given")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="decide and show why, but promote nothing; it counts as a comparison")
    ] = False,
    approval: Annotated[
        Literal["none", "Approve", "Reject"], typer.Option(help="of a person who was asked; Reject refuses")
    ] = "none",
) -> Answer:
    """Let a tracked run compete with the champion.

    The champion is that of MLflow's registry, the rule is promote.* of params.yaml. Any run will do, from anywhere: of
    `repro`, of the DAG, a trial of a sweep. It competes for the registered model of track.experiment in this folder's
    params.yaml, whatever experiment it is filed under. See docs/promotion.md.

    A refusal is a result like any other: it is recorded with the run, and the exit code is 0.

    Examples:
        python -m pipeline promote --dry-run
        python -m pipeline promote --run RUN_ID
    """
    from pipeline.promotion.commands import promote as compete

    return compete(run, dry_run=dry_run, approval=approval)


def rollback() -> Answer:
    """Make the previous champion the champion again.

    A second rollback undoes the first.

    Examples:
        python -m pipeline rollback
    """
    from pipeline.promotion.commands import rollback as go_back

    return go_back()


def publish() -> Answer:
    """Push the result's files to DVC's default remote.

    Its lock file is kept with its MLflow run, so that `checkout` finds the files anywhere. Without a remote nothing is
    pushed.

    Examples:
        python -m pipeline publish
    """
    from pipeline.execution.publish import publish as push

    return push()


def checkout(
    run: Annotated[str, typer.Argument(metavar="RUN_ID", help="of a tracked run")],
    folder: Annotated[Path | None, typer.Argument(help="to make; in the state folder if not given")] = None,
) -> Answer:
    """Lay a tracked run out in a fresh folder.

    Code with its uncommitted changes, parameters, data and model.

    Examples:
        python -m pipeline checkout RUN_ID
        python -m pipeline checkout RUN_ID ../that-run
    """
    from pipeline.execution.checkout import checkout_run
    from pipeline.system.state import state_folder

    return checkout_run(run, folder or state_folder() / "checkouts" / run)
