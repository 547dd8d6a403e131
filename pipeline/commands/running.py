"""Running the stages: what has changed, as an Airflow run, for many settings, from the pages."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from pipeline import console
from pipeline.commands.answers import Answer
from pipeline.system.outcome import leave_outcome


def repro(
    stage: Annotated[str, typer.Argument(help="the last stage to reproduce; all of them if not given")] = "",
    single_item: Annotated[bool, typer.Option("--single-item", help="this stage alone, not those before it")] = False,
    force: Annotated[bool, typer.Option("--force", help="run although nothing has changed")] = False,
) -> Answer:
    """Run the stages that have changed, and show the result.

    Everything is validated first; then `dvc repro` runs what has changed. Ends with the exit code of the stage that
    failed, and says how to get the outputs back that it had before.

    Examples:
        python -m pipeline repro
        python -m pipeline repro localize
        python -m pipeline repro train --single-item --force
    """
    from pipeline.execution.repro import reproduce
    from pipeline.report.summary import show_result

    outcome = reproduce(stage, single_item=single_item, force=force)
    if outcome.exit_code:
        leave_outcome(outcome.exit_code, outcome.message)
        raise SystemExit(outcome.exit_code)
    if not stage:
        show_result()
        console.say("To enter the result against the champion: python -m pipeline promote")
    return {"reproduced": stage or "all"}


def run() -> None:
    """Run the stages as an Airflow run, and show the result.

    No server is needed. Unchanged stages are not run again. Ends with the exit code of the stage that failed.

    Examples:
        python -m pipeline run
    """
    from pipeline.local.dag_run import run_pipeline
    from pipeline.report.summary import show_summary

    code = run_pipeline(Path.cwd())
    if code == 0:
        show_summary()
        console.say("To look around in Airflow and MLflow: make ui")
    raise SystemExit(code)


def sweep(
    file: Annotated[Path, typer.Argument(help="YAML file: name, method, metric, space; see docs/sweeps.md")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="list the trials and run none")] = False,
) -> Answer:
    """Run the stages for many settings, and rank them on val.

    Each trial has its own workspace. Called again, it goes on where it was stopped. In MLflow the trials are the
    children of one run.

    Examples:
        python -m pipeline sweep lambda.yaml --dry-run
        python -m pipeline sweep lambda.yaml
    """
    from pipeline.sweeps.runner import check_sweep, list_trials, run_sweep
    from pipeline.sweeps.space import read_sweep

    trials = read_sweep(file)
    if not dry_run:
        return run_sweep(trials)
    check_sweep(trials)
    list_trials(trials)
    return {"sweep": trials.name, "trials": len(trials.trials)}


def ui(
    airflow_port: Annotated[int, typer.Option(metavar="PORT", help="of the Airflow page")] = 8080,
    mlflow_port: Annotated[
        int, typer.Option(metavar="PORT", help="of the MLflow page; not used where MLFLOW_TRACKING_URI is set")
    ] = 5000,
) -> None:
    """Serve the Airflow and MLflow pages on 127.0.0.1 until Ctrl-C.

    What is triggered or due there is run.

    Examples:
        python -m pipeline ui
        python -m pipeline ui --airflow-port 8081 --mlflow-port 5001
    """
    from pipeline.local.pages import serve

    with suppress(KeyboardInterrupt):
        serve(Path.cwd(), airflow_port, mlflow_port)
