"""The tasks of a run that come from ``dvc.yaml``."""

from pathlib import Path

from airflow.sdk import BaseOperator

from wsol_dags.dvc_graph import read_stages
from wsol_dags.runtimes import Runtime


def stage_tasks(runtime: Runtime, checkout: Path, workspace: str) -> tuple[BaseOperator, list[BaseOperator]]:
    """A task for each stage, behind the check of the inputs, in the order that DVC knows.

    Args:
        checkout: whose ``dvc.yaml`` lists the stages.
        workspace: the folder they run in, as a template.

    Returns:
        The check, and the stages that no other waits for.
    """
    check = runtime.command(
        ["check"],
        workspace,
        secrets=False,
        task_id="check",
        doc_md="Validate params.yaml and every input before anything runs",
    )
    stages = read_stages(checkout)
    tasks = {
        stage.name: runtime.command(
            ["repro", "--single-item", stage.name],
            workspace,
            stage.gpus,
            stage.secrets,
            task_id=stage.name,
            retries=stage.retries,
            execution_timeout=stage.timeout,
            doc_md=stage.desc,
        )
        for stage in stages
    }
    for stage in stages:
        tasks[stage.name].set_upstream([tasks[name] for name in stage.upstream] or [check])
    return check, [task for task in tasks.values() if not task.downstream_task_ids]
