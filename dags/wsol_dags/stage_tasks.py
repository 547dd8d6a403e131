"""The tasks of a run that come from ``dvc.yaml``."""

from pathlib import Path

from airflow.sdk import BaseOperator

from wsol_dags.dvc_graph import Stage, read_stages
from wsol_dags.runtimes import Runtime
from wsol_dags.runtimes.access import OFFLINE, ONLINE, Access


def in_workspace(made: str) -> str:
    """The folder of a run, as a template; ``made`` is the expression of what the task that made it returned."""
    return f"{{{{ {made}['workspace'] }}}}"


def stage_tasks(runtime: Runtime, checkout: Path, made: str) -> tuple[BaseOperator, list[BaseOperator]]:
    """A task for each stage, behind the check of the inputs, in the order that DVC knows.

    Args:
        checkout: whose ``dvc.yaml`` lists the stages.
        made: what the task that made their workspace returned, as an expression of a template.

    Returns:
        The check, and the stages that no other waits for.
    """
    workspace = in_workspace(made)
    check = runtime.command(
        ["check"],
        workspace,
        task_id="check",
        doc_md="Validate params.yaml and every input before anything runs",
    )
    stages = read_stages(checkout)
    tasks = {
        stage.name: runtime.command(
            ["repro", "--single-item", stage.name],
            workspace,
            stage.gpus,
            _access(stage, made),
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


def _access(stage: Stage, made: str) -> Access:
    """A stage writes the cache; it reaches the network with an identity, or where weights have to be fetched."""
    online = f"{{{{ '{ONLINE}' if {made}.get('fetches_weights') else '{OFFLINE}' }}}}"
    return Access(stage.identity, network=online if stage.fetches_weights and not stage.identity else "", cache=True)
