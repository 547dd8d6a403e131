"""DAG ``wsol_sweep``: one run of all stages per row of a form, side by side, compared under one run of MLflow.

A row is a set of values for keys of params.yaml; the form takes a list of λ and any other rows. Each has its workspace,
all share the cache: rows that differ in a late stage only share the training. The best row on val is marked; what it is
worth is then for `promote` to say.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowFailException
from wsol_dags.form import refuse_unknown_keys
from wsol_dags.runtimes import runtime_of
from wsol_dags.runtimes.access import Access
from wsol_dags.stage_tasks import in_workspace, stage_tasks
from wsol_dags.sweep_form import rows_of

CHECKOUT = Path(__file__).resolve().parents[1]
runtime = runtime_of(CHECKOUT)
NAME = "{{ run_id }}"
ROW_NAME = "{{ run_id }}-row-{{ ti.map_index }}"
ROW = "{{ ti.xcom_pull(task_ids='rows')[ti.map_index] }}"
MADE = "ti.xcom_pull(task_ids='row.workspace', map_indexes=ti.map_index)"
#: What `rows add` answered, of those rows that came so far.
ADDED = "{{ (ti.xcom_pull(task_ids='row.add') or []) | list | tojson }}"
#: None at all where the form's rows were refused.
EXPECTED = "{{ (ti.xcom_pull(task_ids='rows') or []) | length }}"

form = {
    "lambdas": Param(
        [0.0, 0.0001, 0.001],
        type="array",
        items={"type": "number"},
        description="values of train.lambda, a row for each",
    ),
    "rows": Param(
        [],
        type="array",
        items={"type": ["object", "string"]},
        description='other rows, as JSON: {"train.lambda": 0.01, "train.backbone": "mobilenet_v2"}',
    ),
    "revision": Param(
        None,
        type=["null", "string"],
        description="commit, branch or tag to run; empty: the working tree as it is on disk",
    ),
}

with DAG(
    "wsol_sweep",
    description="Run all stages once per row of settings, compare on val",
    doc_md=__doc__,
    schedule=None,
    max_active_runs=runtime.runs_at_once,
    params=form,
    default_args={"retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
    tags=["wsol"],
):

    @task
    def rows() -> list[str]:
        """The rows of the form, each as a JSON object."""
        context = get_current_context()
        refuse_unknown_keys(context)
        if context["run_id"].startswith("-"):
            raise AirflowFailException("a run id that starts with '-' would be read as an option: choose another.")
        return rows_of(context["params"])

    @task_group
    def row(settings: Any) -> None:
        """All stages with the settings of one row, in a workspace of its own."""
        workspace = runtime.command(
            ["workspace", "create", ROW_NAME, f"--values={ROW}", "--revision={{ params.revision or '' }}"],
            str(runtime.checkout),
            task_id="workspace",
        )
        remove = runtime.command(
            ["workspace", "remove", ROW_NAME],
            str(runtime.checkout),
            task_id="remove_workspace",
        )
        check, last = stage_tasks(runtime, CHECKOUT, MADE)
        add = runtime.command(
            ["rows", "add", NAME],
            in_workspace(MADE),
            access=Access("training"),
            task_id="add",
            retries=3,
            doc_md="Put the row's result under the sweep's run in MLflow",
        )
        check.set_upstream(workspace)
        add.set_upstream(last)
        remove.set_upstream(add)
        remove.as_teardown(setups=workspace)

    start = runtime.command(
        ["rows", "open", NAME],
        str(runtime.checkout),
        access=Access("training"),
        task_id="open",
        retries=3,
        doc_md="The sweep's run in MLflow, under which its rows stand",
    )
    close = runtime.command(
        ["rows", "close", NAME, f"--rows={ADDED}", f"--expected={EXPECTED}"],
        str(runtime.checkout),
        access=Access("training"),
        task_id="close",
        trigger_rule="all_done",
        retries=3,
        doc_md="Compare the rows on val, mark the best; fails where a row did not come to its end",
    )
    made = rows()
    group = row.expand(settings=made)
    made >> start >> group >> close
