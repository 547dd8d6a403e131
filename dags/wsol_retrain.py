"""DAG ``wsol_retrain``: the stages of dvc.yaml, one task each, in a workspace of the run's own.

Weekly it retrains the committed revision. Triggered by hand it takes the working tree as it is on disk, with the values
of the form in place of those of params.yaml, which itself is never touched.
"""

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Param
from wsol_dags.form import form_of
from wsol_dags.runtimes import CommandOperator, RemoveWorkspaceOperator, WorkspaceOperator
from wsol_dags.stages import read_stages

CHECKOUT = Path(__file__).resolve().parents[1]
IN_WORKSPACE = "{{ ti.xcom_pull(task_ids='workspace')['workspace'] }}"

form = form_of(CHECKOUT)
run_options = {
    "in_place": Param(
        False,
        type="boolean",
        section="this run",
        description="run on the checkout itself, not in a copy of it; with the values of its params.yaml only",
    ),
    "revision": Param(
        None,
        type=["null", "string"],
        section="this run",
        description="commit, branch or tag to run; empty: the working tree as it is on disk",
    ),
}

with DAG(
    "wsol_retrain",
    description="Train, localize, score, report and record, as dvc.yaml says; unchanged stages are not run again",
    doc_md=__doc__,
    schedule="@weekly",
    catchup=False,
    max_active_runs=1,
    params=run_options | form,
    default_args={"retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
    tags=["wsol"],
):
    workspace = WorkspaceOperator(
        task_id="workspace",
        folder=str(CHECKOUT),
        form=form,
        doc_md="A copy of the repository for this run, with the form's values in its params.yaml",
    )
    check = CommandOperator(
        task_id="check",
        arguments=["check"],
        folder=IN_WORKSPACE,
        doc_md="Validate params.yaml and every input before anything runs",
    )
    remove = RemoveWorkspaceOperator(
        task_id="remove_workspace",
        folder=str(CHECKOUT),
        doc_md="Remove the workspace; its params.yaml and dvc.lock are kept in the state folder",
    )
    stages = read_stages(CHECKOUT)
    tasks = {
        stage.name: CommandOperator(
            task_id=stage.name,
            arguments=["repro", "--single-item", stage.name],
            folder=IN_WORKSPACE,
            retries=stage.retries,
            execution_timeout=stage.timeout,
            doc_md=stage.desc,
        )
        for stage in stages
    }
    for stage in stages:
        tasks[stage.name].set_upstream([tasks[name] for name in stage.upstream] or [check])
    check.set_upstream(workspace)
    remove.set_upstream([task for task in tasks.values() if not task.downstream_task_ids])
    remove.as_teardown(setups=workspace)
