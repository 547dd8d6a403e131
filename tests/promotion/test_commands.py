"""Promotions against a real MLflow database: who holds which alias afterwards."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.errors import TransientError, UserError
from pipeline.files import METRICS, write_parquet
from pipeline.params import load_params
from pipeline.promotion.commands import promote, rollback
from pipeline.stages import track
from pipeline.tracking.registry import Registry
from pipeline.tracking.server import tracking_uri
from tests.sample_result import write_lock, write_page, write_params, write_result, write_scores_record, write_training

NAMES = "abcd"
#: Images of gate: enough that a fifth of them tells two runs apart, more than once.
GATE = 60


def tracked(folder, name, share, **params):
    """The id of a run of another model that finds the object in this share of the images of gate, the same ones first.

    Baselines find none of them.
    """
    write_params(folder, train__lambda=NAMES.index(name) / 10, **params)
    write_training(folder, train_key=name * 32, model=name.encode())
    write_result()
    scores = pd.read_parquet(METRICS / "per_image.parquet")
    write_parquet(METRICS / "per_image.parquet", pd.concat([scores[scores["split"] != "gate"], gate(scores, share)]))
    write_scores_record()
    write_lock(folder)
    return track.run(load_params())["run_id"]


def gate(scores, share):
    one = scores[scores["split"] == "gate"].iloc[[0] * GATE]
    hits = [float(i < share * GATE) for i in range(GATE)]
    ids = [f"g{i:02d}" for i in range(GATE)]
    return one.assign(image_id=ids, iou=hits, top1_correct=True, center_gaussian_iou=0.0, full_image_iou=0.0)


def looks(version=None):
    """At a version, or where none was champion: run and metric → which look it was."""
    owner = client().get_model_version("wsol", version) if version else client().get_registered_model("wsol")
    return {tag.removeprefix("wsol.look."): value for tag, value in owner.tags.items() if tag.startswith("wsol.look.")}


def client():
    return MlflowClient(tracking_uri())


def aliases():
    """Run ids by alias."""
    registry = Registry(client(), "wsol")
    return {alias: registry.run_of(version).info.run_id for alias, version in registry.aliases().items()}


def versions():
    return client().search_model_versions("name = 'wsol'")


def test_the_first_run_becomes_champion_and_is_registered_with_model_and_metrics(scored):
    run_id = tracked(scored, "a", 0.6)
    answer = promote("")
    assert (answer["verdict"], answer["run_id"]) == ("promoted", run_id)
    assert aliases() == {"champion": run_id, "challenger": run_id}
    (version,) = versions()
    assert version.run_id == run_id
    assert version.tags["architecture"] == "resnet18"
    assert version.tags["gate.gt_known_iou50"] == "60.0000"
    assert [row["against"] for row in answer["comparisons"][:2]] == ["a centred Gaussian", "the full image"]
    files = {Path(item.path).name for item in client().list_artifacts(run_id, "model")}
    assert files == {"model.pt", "record.json", "training.json"}
    assert version.source.endswith(f"{run_id}/artifacts/model")
    weights = client().download_artifacts(run_id, "model/model.pt", str(scored))
    assert Path(weights).read_bytes() == b"a"


def test_a_better_run_takes_over_and_a_rollback_gives_back(scored):
    first, second = tracked(scored, "a", 0.4), tracked(scored, "b", 0.6)
    assert promote(first)["verdict"] == "promoted"
    answer = promote(second)
    assert answer["verdict"] == "promoted"
    assert answer["comparisons"][0] == {
        "metric": "gate.gt_known_iou50", "champion": 40.0, "challenger": 60.0, "against": "champion",
        "difference": pytest.approx(20), "low": answer["comparisons"][0]["low"],
        "high": answer["comparisons"][0]["high"], "p_value": 2**-12,
    }  # fmt: skip
    assert answer["look"] == 1
    assert aliases() == {"champion": second, "previous": first, "challenger": second}
    assert rollback() == {"model": "wsol", "champion": "1", "previous": "2"}
    assert aliases() == {"champion": first, "previous": second, "challenger": second}
    refused = promote(second)
    assert refused["verdict"] == "refused"
    assert "rolled back" in refused["reason"]
    assert aliases()["champion"] == first
    rollback()
    assert aliases() == {"champion": second, "previous": first, "challenger": second}
    assert [Registry(client(), "wsol").gave_way_to(version) for version in "12"] == ["2", None]


def test_a_refusal_is_recorded_with_the_run(scored):
    first, second = tracked(scored, "a", 0.6), tracked(scored, "b", 0.4)
    promote(first)
    answer = promote(second)
    assert answer["verdict"] == "refused"
    assert aliases() == {"champion": first, "challenger": second}
    tags = client().get_run(second).data.tags
    assert tags["wsol.promotion"] == "refused"
    assert "gate.gt_known_iou50 -20.00 points" in tags["wsol.promotion_reason"]
    record = client().download_artifacts(second, "promotion/promotion.json", str(scored))
    assert json.loads(Path(record).read_text())["verdict"] == "refused"


def test_the_same_run_twice_is_one_version_and_changes_nothing(scored):
    first, second = tracked(scored, "a", 0.6), tracked(scored, "b", 0.4)
    promote(first)
    for _ in range(2):
        assert promote(second)["verdict"] == "refused"
    before = aliases()
    answer = promote(first)
    assert (answer["verdict"], answer["champion"], answer["reason"]) == ("champion", "1", "it is that already")
    assert answer["comparisons"][0]["metric"] == "gate.gt_known_iou50"
    assert aliases() == before
    assert client().get_run(first).data.tags["wsol.promotion"] == "promoted"
    assert len(versions()) == 2


def test_a_dry_run_decides_and_changes_nothing_but_is_a_look(scored):
    run_id = tracked(scored, "a", 0.6)
    tags, files = client().get_run(run_id).data.tags, client().list_artifacts(run_id)
    assert promote("", dry_run=True)["verdict"] == "would be promoted"
    assert aliases() == {}
    assert versions() == []
    assert (client().get_run(run_id).data.tags, client().list_artifacts(run_id)) == (tags, files)
    assert looks() == {f"{run_id}.gate.gt_known_iou50": "1"}
    assert promote("")["look"] == 1
    assert looks() == {f"{run_id}.gate.gt_known_iou50": "1"}


def test_every_challenger_makes_it_harder_for_the_next(scored):
    """8 images more of 60 win p = 1/256: enough at the second look at a champion and no more at the third."""
    first, bad, good = (tracked(scored, name, share) for name, share in [("a", 0.4), ("b", 0.2), ("c", 0.4 + 8 / 60)])
    promote(first)
    assert promote(bad)["look"] == 1
    assert promote(bad)["look"] == 1
    again = promote(good, dry_run=True)
    assert (again["verdict"], again["look"]) == ("would be promoted", 2)
    worse = tracked(scored, "d", 0.3)
    assert promote(worse)["look"] == 3
    late = tracked(scored, "c", 0.4 + 8 / 60, localize__threshold=0.5)
    answer = promote(late)
    assert (answer["verdict"], answer["look"]) == ("refused", 4)
    assert "p must be at most 0.0019: look 4 at champion" in answer["reason"]
    assert len(looks("1")) == 4
    assert promote(good)["verdict"] == "promoted"
    assert looks(version_of(good)) == {}


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_a_first_run_that_is_not_better_than_looking_at_no_image_is_refused(scored, share):
    run_id = tracked(scored, "a", share)
    answer = promote("")
    assert (answer["verdict"], "over a centred Gaussian" in answer["reason"]) == ("refused", True)
    assert aliases() == {"challenger": run_id}


def test_without_a_gate_nothing_is_compared_and_the_reason_is_told(scored):
    run_id = tracked(scored, "a", 0.6)
    scores = pd.read_parquet(METRICS / "per_image.parquet")
    write_parquet(METRICS / "per_image.parquet", scores[scores["split"] != "gate"])
    client().log_artifact(run_id, str(METRICS / "per_image.parquet"), "metrics")
    answer = promote(run_id)
    assert (answer["verdict"], answer["look"], answer["comparisons"]) == ("refused", None, [])
    assert "no gate split to decide on: its prepare.gate_fraction is 0" in answer["reason"]
    assert looks() == {}


def test_a_run_of_another_experiment_competes_for_the_model_of_this_folder(scored):
    promote(tracked(scored, "a", 0.4))
    other = tracked(scored, "b", 0.6, track__experiment="elsewhere")
    write_params(scored)
    answer = promote(other)
    assert (answer["verdict"], answer["model"], answer["version"]) == ("promoted", "wsol", "2")
    assert aliases()["champion"] == other


def test_a_person_who_rejects_is_obeyed(scored):
    run_id = tracked(scored, "a", 0.6)
    answer = promote("", approval="Reject")
    assert (answer["verdict"], "rejected by a person" in answer["reason"]) == ("refused", True)
    assert aliases() == {"challenger": run_id}


@pytest.mark.parametrize("failing", ["challenger", "previous", "champion"])
def test_a_promotion_that_fails_half_way_changes_no_alias(scored, monkeypatch, failing):
    first, second, third = (tracked(scored, name, share) for name, share in [("a", 0.4), ("b", 0.2), ("c", 0.7)])
    promote(first)
    promote(second)  # refused, so that there is a challenger
    before = aliases()
    assert before == {"champion": first, "challenger": second}
    set_alias = MlflowClient.set_registered_model_alias

    def fail_at(self, name, alias, version):
        if alias == failing and version == "3":
            set_alias(self, name, alias, version)
            raise MlflowException("connection lost")
        if alias == failing == "previous":
            raise MlflowException("connection lost")
        return set_alias(self, name, alias, version)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", fail_at)
        with pytest.raises(TransientError, match="connection lost"):
            promote(third)
    assert aliases() == before
    assert "wsol.promotion" not in client().get_run(third).data.tags
    assert promote(third)["verdict"] == "promoted"
    assert aliases() == {"champion": third, "previous": first, "challenger": third}


@pytest.mark.parametrize(("gone_at", "champion"), [("challenger", 0), ("previous", 0), ("champion", 0), (None, 1)])
def test_a_server_that_goes_during_a_promotion_leaves_the_champion_until_the_last_step(
    scored, monkeypatch, gone_at, champion
):
    runs = [tracked(scored, "a", 0.4), tracked(scored, "b", 0.6)]
    promote(runs[0])
    set_alias = MlflowClient.set_registered_model_alias
    gone = []

    def until(self, name, alias, version):
        gone.extend([alias] if alias == gone_at else [])
        away_when(gone)
        return set_alias(self, name, alias, version)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", until)
        patch.setattr(MlflowClient, "delete_registered_model_alias", lambda *_: away_when(gone))
        # The last step of all is the verdict's tag.
        patch.setattr(MlflowClient, "set_tag", lambda *_: away_when(True))
        with pytest.raises(TransientError, match="connection lost"):
            promote(runs[1])
    assert aliases()["champion"] == runs[champion]
    answer = promote(runs[1])
    assert (answer["verdict"], answer["comparisons"][0]["difference"]) == (
        "promoted",
        pytest.approx(20),
    )
    assert looks("1") == {f"{runs[1]}.gate.gt_known_iou50": "1"}
    assert aliases() == {"champion": runs[1], "previous": runs[0], "challenger": runs[1]}
    tags = client().get_run(runs[1]).data.tags
    assert (tags["wsol.promotion"], tags["wsol.promotion_reason"]) == ("promoted", answer["reason"])
    assert promote(runs[1])["verdict"] == "champion"


def away_when(gone):
    if gone:
        raise MlflowException("connection lost")


#: What a rollback does to the registry, one call each.
WRITES = ("set_model_version_tag", "delete_model_version_tag", "set_registered_model_alias")


@pytest.mark.parametrize("killed", [False, True], ids=["fault", "kill"])
@pytest.mark.parametrize("last", range(4))
def test_a_rollback_that_is_stopped_anywhere_is_completed_by_the_next(scored, monkeypatch, last, killed):
    """``last`` calls succeed; after a kill, all later ones fail as well, those that would restore included."""
    first, second = tracked(scored, "a", 0.4), tracked(scored, "b", 0.6)
    promote(first)
    promote(second)
    # There and back, so that either version is marked at some time: the way back makes all kinds of calls.
    for champion, previous in [(first, second), (second, first)]:
        with monkeypatch.context() as patch:
            stop_after(patch, last, killed)
            try:
                rollback()
            except TransientError:
                stopped = True
            else:
                stopped = False
        assert promote(previous)["verdict"] != "promoted"
        if stopped:
            rollback()
        assert {alias: aliases()[alias] for alias in ("champion", "previous")} == {
            "champion": champion,
            "previous": previous,
        }
        assert "rolled back" in promote(previous)["reason"]
        assert Registry(client(), "wsol").gave_way_to(version_of(champion)) is None


def stop_after(patch, last, killed):
    calls = []

    def counted(write):
        def call(*arguments):
            calls.append(write)
            away_when(len(calls) > last if killed else len(calls) == last + 1)
            return write(*arguments)

        return call

    for name in WRITES:
        patch.setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))


def version_of(run_id):
    return Registry(client(), "wsol").version_of(run_id)


def test_a_model_that_was_rolled_back_is_not_promoted_as_another_version(scored):
    first, second = tracked(scored, "a", 0.4), tracked(scored, "b", 0.6)
    promote(first)
    promote(second)
    rollback()
    again = tracked(scored, "b", 0.6, localize__threshold=0.5)
    assert again != second
    answer = promote(again)
    assert (answer["verdict"], "version 2, which has this model, was rolled back" in answer["reason"]) == (
        "refused",
        True,
    )
    assert aliases()["champion"] == first
    rollback()
    assert "rolled back" not in promote(again)["reason"]


def test_where_the_champion_was_deleted_the_one_before_is_to_beat(scored):
    first, second, third = (tracked(scored, name, share) for name, share in [("a", 0.4), ("b", 0.6), ("c", 0.2)])
    promote(first)
    promote(second)
    client().delete_model_version("wsol", "2")
    answer = promote(third)
    assert (answer["verdict"], answer["champion"]) == ("refused", None)
    assert "against the previous champion, version 1" in answer["reason"]
    assert aliases() == {"previous": first, "challenger": third}
    assert rollback() == {"model": "wsol", "champion": "1", "previous": None}
    assert aliases()["champion"] == first
    with pytest.raises(UserError, match="nothing to go back to"):
        rollback()


@pytest.mark.parametrize(
    ("fault", "verdict"), [(UserError("other classes."), "refused"), (TransientError("no answer."), None)]
)
def test_only_a_fault_of_the_user_in_rescoring_refuses(scored, monkeypatch, fault, verdict):
    promote(tracked(scored, "a", 0.4))
    run_id = tracked(scored, "b", 0.6, evaluate__interval=0.01)
    before, tries = aliases(), []

    def fail(*_):
        tries.append(1)
        raise fault

    monkeypatch.setattr("pipeline.promotion.commands.rescore", fail)
    if verdict:
        assert promote("")["verdict"] == verdict
    else:
        with pytest.raises(TransientError, match="no answer"):
            promote("")
        assert (aliases(), len(versions())) == (before, 1)
        assert "wsol.promotion" not in client().get_run(run_id).data.tags
    assert len(tries) == 1


def test_a_champion_that_changes_meanwhile_is_the_one_to_beat(scored, monkeypatch):
    first, second, third = (tracked(scored, name, iou) for name, iou in [("a", 0.4), ("b", 0.8), ("c", 0.6)])
    promote(first)
    from pipeline.promotion import commands as module

    carry_out = module._carry_out

    def after_another(registry, run, champion, decision):
        monkeypatch.setattr(module, "_carry_out", carry_out)
        assert promote(second)["verdict"] == "promoted"
        return carry_out(registry, run, champion, decision)

    monkeypatch.setattr(module, "_carry_out", after_another)
    assert promote(third)["verdict"] == "refused"
    assert aliases() == {"champion": second, "previous": first, "challenger": third}


@pytest.mark.slow
def test_two_promotions_at_once_end_as_if_one_after_the_other(scored):
    first, second, third = (tracked(scored, name, iou) for name, iou in [("a", 0.2), ("b", 0.6), ("c", 0.6)])
    promote(first)
    command = [sys.executable, "-m", "pipeline", "promote", "--run"]
    shutil.copytree(Path(__file__).parents[2] / "pipeline", scored / "pipeline")
    both = [
        subprocess.Popen([*command, run], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for run in (second, third)
    ]
    answers = [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    # Both find the same images: whoever comes first wins, the other one brings no gain.
    assert sorted(answer["verdict"] for answer in answers) == ["promoted", "refused"]
    winner = next(answer["run_id"] for answer in answers if answer["verdict"] == "promoted")
    assert {alias: run for alias, run in aliases().items() if alias != "challenger"} == {
        "champion": winner,
        "previous": first,
    }
    assert len(versions()) == 3


def test_results_that_do_not_compare_are_refused_elsewhere(scored):
    first = tracked(scored, "a", 0.4)
    promote(first)
    second = tracked(scored, "b", 0.6, evaluate__interval=0.01)
    tracked(scored, "c", 0.6)
    answer = promote(second)
    assert (answer["verdict"], "evaluation settings" in answer["reason"]) == ("refused", True)
    assert aliases()["champion"] == first


def test_a_result_of_a_tracked_training_gets_the_model_it_was_made_with(scored):
    first = tracked(scored, "a", 0.4)
    write_params(scored, localize__threshold=0.5)
    write_result()
    write_page()
    write_lock(scored)
    second = track.run(load_params())["run_id"]
    assert second != first
    assert not client().list_artifacts(second, "model")
    promote(second)
    (version,) = versions()
    assert version.run_id == second
    kept = sorted(item.path for item in client().list_artifacts(second, "model"))
    assert kept == ["model/model.pt", "model/record.json", "model/training.json"]


def test_an_unknown_run_is_named(scored):
    tracked(scored, "a", 0.4)
    with pytest.raises(UserError, match="no tracked run 'nonsense'"):
        promote("nonsense")


def test_a_result_without_a_row_says_what_to_run(scored):
    write_lock(scored)
    with pytest.raises(UserError, match="pipeline track"):
        promote("")


def test_without_a_previous_champion_there_is_no_way_back(scored):
    tracked(scored, "a", 0.4)
    promote("")
    with pytest.raises(UserError, match="nothing to go back to"):
        rollback()


def test_a_server_that_is_away_is_a_transient_fault(scored, monkeypatch):
    tracked(scored, "a", 0.4)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TransientError, match="does not answer"):
        promote("")
