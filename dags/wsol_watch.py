"""DAG ``wsol_watch``: looks at the raw data set every hour and, when it has changed, tells ``wsol_retrain``.

What it saw last is in the events it emitted; without one, the data set is new. It is apart from ``wsol_retrain``, which
would start itself for ever if it emitted its own trigger.
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, CronTriggerTimetable, task
from airflow.sdk.exceptions import AirflowSkipException
from wsol_dags.assets import RAW_DATA
from wsol_dags.notify import RunNotifier
from wsol_dags.runtimes import runtime_of

CHECKOUT = Path(__file__).resolve().parents[1]
runtime = runtime_of(CHECKOUT)
#: Of an event, the hash of the data it tells of.
HASH = "raw_hash"


def last_seen(events: Any) -> str | None:
    """The hash in the newest event that has one: those from outside may have none."""
    return next((event.extra[HASH] for event in events.ascending(False) if HASH in event.extra), None)


with DAG(
    "wsol_watch",
    description="Start wsol_retrain when the raw data set has changed",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("@hourly", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"retry_delay": timedelta(minutes=1)},
    on_failure_callback=RunNotifier("failed"),
    tags=["wsol"],
):
    look = runtime.command(
        ["raw-hash"],
        str(runtime.checkout),
        task_id="look",
        retries=2,
        doc_md="Hash the raw data set; files that were not touched are not read again",
    )

    @task(inlets=[RAW_DATA], outlets=[RAW_DATA])
    def tell(
        found: Mapping[str, str],
        inlet_events: Mapping[Asset, Any] | None = None,
        outlet_events: Mapping[Asset, Any] | None = None,
    ) -> None:
        """Emit the event of the asset, unless the data set is the one of the last event."""
        assert inlet_events is not None
        assert outlet_events is not None
        if last_seen(inlet_events[RAW_DATA]) == found[HASH]:
            raise AirflowSkipException("the raw data set has not changed")
        outlet_events[RAW_DATA].extra = {HASH: found[HASH]}

    tell(look.output)  # type: ignore[arg-type]
