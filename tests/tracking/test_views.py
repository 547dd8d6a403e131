"""Views that lie ready in an experiment: what they hold, and what happens to those of a person."""

import json
from types import SimpleNamespace

import pytest
from mlflow import MlflowException

from pipeline.tracking import views
from pipeline.tracking.headlines import headlines
from tests.tracking.test_headlines import TEST, TRAINING


class Client:
    """An experiment that is nothing but its tags."""

    def __init__(self, tags=()):
        self.tags, self.written = dict(tags), []

    def get_experiment(self, _):
        return SimpleNamespace(tags=self.tags)

    def set_experiment_tag(self, _, key, value):
        self.written.append(key)
        self.tags[key] = value


def state(client, name):
    return json.loads(json.loads(client.tags[f"mlflow.sharedViewState.{name}"])["state"])


@pytest.fixture
def arranged():
    client = Client()
    views.arrange(client, "1")
    return client


def test_results_show_what_a_review_asks_for_sorted_by_val(arranged):
    found = state(arranged, "results")
    assert found["orderByKey"] == "metrics.`Val GT-known 0.5`" and not found["orderByAsc"]
    for column in ("metrics.`GT-known 0.5`", "metrics.`Over Gaussian`", "metrics.`Tau`", "params.`train.lambda`",
                   "tags.`wsol.champion`"):  # fmt: skip
        assert column in found["selectedColumns"]


def test_every_headline_that_a_view_names_is_one(arranged):
    known = set(headlines({"threshold": 0.5, "val": TEST, "test": TEST}, TRAINING))
    named = set()
    for name in views.views():
        found = state(arranged, name)
        named |= {c[9:-1] for c in found["selectedColumns"] if c.startswith("metrics.`") and " " in c}
        sections = {section["uuid"] for section in found["compareRunSections"]}
        assert {card["metricSectionId"] for card in found["compareRunCharts"]} <= sections
    assert named and named <= known


def test_an_experiment_is_arranged_once(arranged):
    arranged.written.clear()
    views.arrange(arranged, "1")
    assert arranged.written == []
    assert max(map(len, arranged.tags.values())) < 20_000  # MLflow's limit


def test_a_persons_view_stays_and_an_older_one_of_this_pipeline_does_not(arranged):
    ours, theirs = "mlflow.sharedViewState.cost", "mlflow.sharedViewState.results"
    client = Client({ours: json.dumps({"by": "wsol"}), theirs: json.dumps({"name": "mine"})})
    views.arrange(client, "1")
    assert client.tags[ours] == arranged.tags[ours]
    assert client.tags[theirs] == json.dumps({"name": "mine"})


def test_a_failure_costs_the_views_and_nothing_else(capsys):
    client = Client()
    client.set_experiment_tag = lambda *_: (_ for _ in ()).throw(MlflowException("full"))
    views.arrange(client, "1")
    assert "views in MLflow are not set up: full" in capsys.readouterr().err
