"""DAG ``wsol_retrain``: the stages of dvc.yaml, one task each, in a workspace of the run's own; then the promotion.

Weekly, and when the raw data set has changed, it retrains the committed revision. Triggered by hand it takes the
working tree as it is on disk, with the values of the form in place of those of params.yaml, which itself is never
touched.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable, Param, task
from airflow.sdk.exceptions import AirflowFailException
from wsol_dags.approval import ANSWER, BODY, only_if_asked
from wsol_dags.assets import RAW_DATA
from wsol_dags.form import form_of
from wsol_dags.notify import LAST, WATCHER, RunNotifier
from wsol_dags.runtimes import runtime_of
from wsol_dags.runtimes.access import Access
from wsol_dags.stage_tasks import in_workspace, stage_tasks

CHECKOUT = Path(__file__).resolve().parents[1]
MADE = "ti.xcom_pull(task_ids='workspace')"

runtime = runtime_of(CHECKOUT)
form = form_of(CHECKOUT)
run_options = {
    "revision": Param(
        None,
        type=["null", "string"],
        description="commit, branch or tag to run; empty: the working tree as it is on disk, or the image's commit",
    ),
    "approval": Param(
        False,
        type="boolean",
        description="ask a person, on the page, before the run becomes champion",
    ),
}
if not runtime.pinned:
    run_options["in_place"] = Param(
        False,
        type="boolean",
        description="run on the checkout itself, not in a copy of it; with the values of its params.yaml only",
    )

#: By default whoever switches the DAG on within most of a Sunday would start a run at once, and on other days not.
WEEKLY = CronTriggerTimetable("@weekly", timezone="UTC", run_immediately=timedelta(minutes=10))


@task(task_id=WATCHER)
def completed(ti: Any = None) -> None:
    """Fail the run unless its last task succeeded.

    Airflow skips what a cancelled run has not begun, and takes skipped last tasks for a success.

    Raises:
        AirflowFailException: that task failed, was not reached, or was skipped.
    """
    state = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id], task_ids=[LAST])[ti.run_id][LAST]
    if state != "success":
        raise AirflowFailException(f"the run did not come to its end: {LAST} is {state}")


with DAG(
    "wsol_retrain",
    description="Train, localize, score, report and record, as dvc.yaml says; unchanged stages are not run again",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(timetable=WEEKLY, assets=[RAW_DATA]),
    catchup=False,
    max_active_runs=runtime.runs_at_once,
    params=form | run_options,
    default_args={"retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
    on_success_callback=RunNotifier("succeeded"),
    on_failure_callback=RunNotifier("failed"),
    tags=["wsol"],
):
    workspace = runtime.create_workspace(
        form,
        task_id="workspace",
        doc_md="A copy of the repository for this run, with the form's values in its params.yaml",
    )
    remove = runtime.remove_workspace(
        task_id="remove_workspace",
        doc_md="Remove the workspace; its params.yaml and dvc.lock are kept in the state folder",
    )
    check, last = stage_tasks(runtime, CHECKOUT, MADE)
    check.set_upstream(workspace)
    judge = runtime.command(
        ["promote", "--dry-run"],
        in_workspace(MADE),
        access=Access("promotion"),
        task_id="judge",
        pre_execute=only_if_asked,
        retries=3,
        doc_md="What promote would decide, for the person who is asked; it counts as the run's comparison",
    )
    approve = HITLOperator(
        task_id="approve",
        subject="Shall this run become champion, if it is better?",
        body=BODY,
        options=["Approve", "Reject"],
        defaults="Reject",
        response_timeout=timedelta(days=7),
        pre_execute=only_if_asked,
        doc_md="Wait for a person's answer; after a week it is no",
    )
    promote = runtime.command(
        ["promote", f"--approval={ANSWER}"],
        in_workspace(MADE),
        access=Access("promotion"),
        task_id="promote",
        trigger_rule="none_failed",
        retries=3,
        doc_md="Let the result compete with the champion on gate, or with baselines where there is none; a refusal is "
        "a recorded result",
    )
    publish = runtime.command(
        ["publish"],
        in_workspace(MADE),
        access=Access("publish"),
        task_id=LAST,
        retries=3,
        doc_md="Push the result's files to DVC's remote, if there is one",
    )
    judge.set_upstream(last)
    approve.set_upstream(judge)
    promote.set_upstream(approve)
    publish.set_upstream(promote)
    remove.set_upstream(publish)
    remove.as_teardown(setups=workspace)
    # Only teardowns run in a cancelled run; this one, the only leaf that counts, decides the state of the run.
    completed().as_teardown(on_failure_fail_dagrun=True).set_upstream(publish)
