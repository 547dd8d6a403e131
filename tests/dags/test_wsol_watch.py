"""The watcher: an event when the data's hash is another than that of the last event, and then only."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowSkipException

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dag():
    return DagBag(str(CHECKOUT / "dags")).dags["wsol_watch"]


class Events(list):
    """Events of an asset, oldest first, as Airflow hands them over."""

    def ascending(self, ascending):
        return self if ascending else Events(reversed(self))


def tell(dag, found, *seen):
    """What the event would carry, None without one."""
    task = dag.task_dict["tell"]
    (asset,) = task.outlets
    sent = {asset: SimpleNamespace(extra=None)}
    events = {asset: Events(SimpleNamespace(extra=extra) for extra in seen)}
    try:
        task.python_callable({"raw_hash": found}, inlet_events=events, outlet_events=sent)
    except AirflowSkipException:
        assert sent[asset].extra is None
        return None
    return sent[asset].extra


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ((), True),
        (({"raw_hash": "a"},), False),
        (({"raw_hash": "b"},), True),
        (({"raw_hash": "a"}, {"raw_hash": "b"}), True),
        (({"raw_hash": "b"}, {"raw_hash": "a"}), False),
        (({"raw_hash": "a"}, {"by": "hand"}), False),
        (({"by": "hand"},), True),
    ],
)
def test_an_event_is_sent_when_the_hash_is_new(dag, seen, told):
    assert tell(dag, "a", *seen) == ({"raw_hash": "a"} if told else None)


def test_it_emits_the_asset_that_the_retraining_waits_for(dag):
    (asset,) = dag.task_dict["tell"].outlets
    retrain = DagBag(str(CHECKOUT / "dags")).dags["wsol_retrain"]
    (awaited,) = retrain.timetable.asset_condition.objects
    assert (asset.name, asset.uri) == (awaited.name, awaited.uri)
    assert dag.task_dict["look"].arguments == ["raw-hash"]
    assert not dag.task_dict["look"].outlets


def test_people_are_told_of_a_failure_and_not_of_every_hour(dag):
    assert dag.on_failure_callback.outcome == "failed"
    assert dag.on_success_callback is None
