"""Runs side by side, from a real MLflow database."""

import json
import shutil

import pandas as pd
import pytest

from pipeline import console
from pipeline.errors import UserError
from pipeline.files import METRICS, PREPARED, write_parquet
from pipeline.params import load_params
from pipeline.promotion.compare import compare
from pipeline.stages import track
from tests.project import pipeline
from tests.sample_result import write_lock, write_params, write_result, write_scores_record, write_training
from tests.tiny_project import commit


def tracked(folder, name, hits, first_image=0, **params):
    """The id of a run whose boxes hit the first `hits` of 40 test images."""
    write_params(folder, **params)
    write_training(folder, train_key=name * 32, model=name.encode())
    write_result()
    scores = pd.read_parquet(METRICS / "per_image.parquet")
    one = scores[scores["split"] == "test"].iloc[[0] * 40]
    ids = [f"i{i:02d}" for i in range(first_image, first_image + 40)]
    test = one.assign(image_id=ids, iou=[float(i < hits) for i in range(40)], top1_correct=True)
    # In another order: images are matched by their ids.
    test = test.iloc[::-1] if hits % 2 else test
    write_parquet(METRICS / "per_image.parquet", pd.concat([scores[scores["split"] != "test"], test]))
    write_scores_record()
    write_lock(folder)
    return track.run(load_params())["run_id"]


def test_differences_are_paired_and_only_settings_that_differ_are_named(scored, capsys):
    a = tracked(scored, "a", 10, train__lambda=0.0)
    b = tracked(scored, "b", 31, train__lambda=0.1)
    found = compare([a, b])
    assert found["metrics"]["gt_known_iou50"] == [25.0, 77.5]
    difference, low, high = found["differences"][b]["gt_known_iou50"]
    assert difference == 52.5
    assert 0 < low < difference < high < 100
    assert found["differences"][b]["cls_top1"][0] == 0
    assert found["settings"] == {"train.lambda": ["0.0", "0.1"]}
    here = compare([b, "here"])
    assert here["runs"][1]["run_id"] == ""
    assert {d[0] for d in here["differences"]["here"].values()} == {0}
    assert here["settings"] == {}
    shown = capsys.readouterr().err
    assert "better" in shown
    assert "cannot be told apart" in shown


def test_other_images_have_no_paired_difference(scored):
    a, b = tracked(scored, "a", 10), tracked(scored, "b", 20, first_image=5)
    assert compare([a, b])["differences"] == {b: {}}


def test_what_cannot_be_compared_is_refused_in_words(scored):
    tracked(scored, "a", 10)
    refused = [
        (["here"], "test", "two or more"),
        (["here", "here"], "test", "two or more"),
        (["here", "champion"], "train", "no split train"),
        (["here", "champion"], "test", "no champion yet"),
        (["here", "0" * 32], "test", "no tracked run"),
        (["here", "../x"], "test", "no tracked run|not the id"),
        (["here", "--help"], "test", "no tracked run|not the id"),
    ]
    for names, split, message in refused:
        with pytest.raises(UserError, match=message):
            compare(names, split)


def test_folders_need_no_server_and_the_page_shows_where_they_differ(scored, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    name = '<b>other & "co"</b>'
    shutil.copytree(METRICS, scored / name / "metrics")
    write_params(scored, localize__threshold=0.9)
    write_result()
    found = compare(["here", name])
    assert found["settings"]["localize.threshold"] == ["0.9", "auto"]
    page = (scored / found["page"]).read_text()
    assert "<b>other" not in page
    assert "&lt;b&gt;other &amp; &#34;co&#34;&lt;/b&gt;" in page
    assert "GT-known localization on test at IoU ≥ 0.5 against threshold" in page
    assert 0 < page.count("with the box of here and the true box") <= 9
    assert "<script" not in page


def test_without_the_images_the_boxes_are_shown_alone(scored):
    shutil.copytree(METRICS, scored / "other/metrics")
    write_params(scored, localize__threshold=0.9)
    write_result()
    shutil.rmtree(PREPARED)
    page = (scored / compare(["here", "other"])["page"]).read_text()
    assert "data:image" not in page
    assert 'class="box predicted"' in page


@pytest.mark.slow
def test_a_commit_brings_its_result_from_the_cache(first_run, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(first_run, project, symlinks=True)
    commit(project)
    (project / "uncommitted").touch()
    done = pipeline(project, "compare", "HEAD", "here")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert {d[0] for d in answer["differences"]["here"].values()} == {0}
    gone = pipeline(project, "compare", "here", "HEAD~1")
    assert gone.returncode == 2
    assert "DVC cannot bring metrics of HEAD~1" in gone.stderr


def test_brackets_in_a_table_are_text(capsys):
    console.table("[bold]title", ("", "[red]run"), [("[/]", "[link=x]y")])
    shown = capsys.readouterr().err
    assert all(text in shown for text in ("[bold]title", "[red]run", "[/]", "[link=x]y"))
