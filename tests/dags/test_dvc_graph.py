"""dvc.yaml read as tasks."""

from datetime import timedelta

import yaml
from wsol_dags.dvc_graph import Stage, read_stages

PARAMS = {"a": {"root": "raw/set"}}


def read(folder, stages):
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    return {stage.name: stage for stage in read_stages(folder)}


def upstream(folder, outs, deps):
    return read(folder, {"a": {"outs": outs}, "b": {"deps": deps}})["b"].upstream


def test_a_dependency_that_is_an_output_makes_an_edge(tmp_path):
    assert upstream(tmp_path, ["x/y"], ["x/y"]) == ("a",)


def test_a_dependency_in_an_output_folder_makes_an_edge(tmp_path):
    assert upstream(tmp_path, ["x"], ["x/y/z.txt"]) == ("a",)


def test_a_dependency_that_holds_an_output_makes_an_edge(tmp_path):
    assert upstream(tmp_path, ["x/y"], ["x"]) == ("a",)


def test_a_name_that_only_begins_alike_makes_none(tmp_path):
    assert upstream(tmp_path, ["cams"], ["cams2/x", "cam"]) == ()


def test_metrics_plots_and_settings_count_as_outputs(tmp_path):
    stages = {
        "a": {"metrics": [{"m.json": {"cache": True}}], "plots": [{"p.csv": {"x": "epoch"}}]},
        "b": {"deps": ["m.json"]},
        "c": {"deps": ["p.csv"]},
    }
    assert {name: stage.upstream for name, stage in read(tmp_path, stages).items()} == {
        "a": (),
        "b": ("a",),
        "c": ("a",),
    }


def test_parameters_in_paths_are_filled_in(tmp_path):
    assert upstream(tmp_path, ["raw"], ["${a.root}/images"]) == ("a",)


def test_description_and_limits_are_read(tmp_path):
    stages = {
        "a": {"desc": "first", "meta": {"retries": 2, "timeout_minutes": 3, "gpus": 1, "identity": "training"}},
        "b": {},
    }
    read_back = read(tmp_path, stages)
    assert read_back["a"] == Stage("a", (), "first", timedelta(minutes=3), 2, 1, identity="training")
    assert read_back["b"] == Stage("b", (), "", None, 0, 0, identity="", fetches_weights=False)
