"""A tracked run laid out again: from the cache, from a remote in a clone, and with changes nobody committed."""

import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

from pipeline.records import adopt_model
from tests.project import edit, environment, make_project, pipeline
from tests.tiny_project import git

pytestmark = pytest.mark.slow


def run(folder, *arguments, **extra):
    done = pipeline(folder, *arguments, **extra)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def dvc(folder, *arguments):
    subprocess.run(["dvc", *arguments], cwd=folder, check=True, env=environment(), capture_output=True)


def outputs(folder):
    """Content of all output files."""
    places = ("data/labelled", "data/prepared", "models", "cams", "boxes", "metrics", "report")
    files = (path for place in places for path in (folder / place).rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files if p.name != ".gitignore"}


@pytest.fixture(scope="module")
def finished(first_run, tmp_path_factory):
    """A project with a remote and two tracked runs: of a clean commit, then with changed code and parameters."""
    folder = tmp_path_factory.mktemp("finished") / "project"
    shutil.copytree(first_run, folder, symlinks=True)
    runs = {}
    runs["clean"] = run(folder, "promote")["run_id"], outputs(folder), (folder / "params.yaml").read_text()
    assert run(folder, "publish") == {"remote": "store", "run_id": runs["clean"][0]}
    code = folder / "pipeline/evaluation/metrics.py"
    code.write_text(code.read_text() + "\n# changed\n")
    edit(folder, {"localize.threshold": 0.3})
    assert pipeline(folder, "repro").returncode == 0
    runs["dirty"] = run(folder, "promote")["run_id"], outputs(folder), (folder / "params.yaml").read_text()
    assert runs["clean"][0] != runs["dirty"][0]
    return folder, runs


@pytest.mark.parametrize("kind", ["clean", "dirty"])
def test_a_run_comes_back_with_code_parameters_data_and_model(finished, tmp_path, kind):
    folder, runs = finished
    run_id, files, params = runs[kind]
    answer = run(folder, "checkout", run_id, str(tmp_path / "out"))
    assert answer["missing"] == []
    assert answer["patched"] is (kind == "dirty")
    out = Path(answer["folder"])
    assert yaml.safe_load((out / "params.yaml").read_text()) == yaml.safe_load(params)
    assert ("# changed" in (out / "pipeline/evaluation/metrics.py").read_text()) is (kind == "dirty")
    assert outputs(out) == files
    again = pipeline(out, "repro")
    assert "Running stage 'train'" not in again.stdout
    assert run(out, "track")["run_id"] == run_id


def test_a_fresh_clone_gets_everything_from_the_remote(finished, tmp_path):
    folder, runs = finished
    run_id, files, _ = runs["clean"]
    # To a clone, too, the remote is the folder beside it.
    (tmp_path / "remote").symlink_to(folder.parent / "remote")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(folder), str(clone))
    database = f"sqlite:///{folder}/.wsol/mlflow.db"
    answer = run(clone, "checkout", run_id, str(tmp_path / "out"), MLFLOW_TRACKING_URI=database)
    assert not (clone / ".dvc/cache/files").exists() or answer["missing"] == []
    assert answer["missing"] == []
    assert outputs(tmp_path / "out") == files


def test_without_cache_or_remote_the_model_comes_from_mlflow_and_the_rest_is_named(finished, tmp_path):
    folder, runs = finished
    run_id, files, _ = runs["dirty"]  # never published
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(folder), str(clone))
    dvc(clone, "remote", "modify", "--local", "store", "url", str(tmp_path / "nothing"))
    database = f"sqlite:///{folder}/.wsol/mlflow.db"
    answer = run(clone, "checkout", run_id, str(tmp_path / "out"), MLFLOW_TRACKING_URI=database)
    assert "models/model.pt" not in answer["missing"]
    assert "cams" in answer["missing"]
    assert (tmp_path / "out/models/model.pt").read_bytes() == files["models/model.pt"]


def test_a_folder_in_use_and_a_commit_that_is_not_here_are_refused(finished, tmp_path):
    folder, runs = finished
    (tmp_path / "out").mkdir()
    (tmp_path / "out/file").write_text("mine")
    done = pipeline(folder, "checkout", runs["clean"][0], str(tmp_path / "out"))
    assert (done.returncode, "is not empty" in done.stderr) == (2, True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file"]
    for place in ("out/file", "out/file/below"):
        done = pipeline(folder, "checkout", runs["clean"][0], str(tmp_path / place))
        assert (done.returncode, "out/file is a file; name a folder" in done.stderr) == (2, True)
    stranger = make_project(tmp_path / "stranger")
    database = f"sqlite:///{folder}/.wsol/mlflow.db"
    done = pipeline(stranger, "checkout", runs["clean"][0], str(tmp_path / "new"), MLFLOW_TRACKING_URI=database)
    assert done.returncode == 2
    assert "fetch" in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_remote_that_is_away_is_a_transient_fault(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder, symlinks=True)
    (tmp_path / "file").write_text("in the way")
    dvc(folder, "remote", "modify", "store", "url", str(tmp_path / "file/remote"))
    done = pipeline(folder, "publish")
    assert done.returncode == 75
    assert "publish` again" in done.stderr


def test_without_a_remote_publish_says_so(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder, symlinks=True)
    dvc(folder, "remote", "remove", "store")
    done = pipeline(folder, "publish")
    assert (done.returncode, "no remote configured" in done.stderr) == (0, True)


def test_a_champion_of_other_data_is_scored_anew_on_these(finished, tmp_path):
    """With other images and another threshold: the champion's model and threshold, by hand, give the same score."""
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder, symlinks=True)
    edit(folder, {"prepare.seed": 5, "localize.threshold": 0.2, "promote.metric": "gate.mean_iou"})
    assert pipeline(folder, "repro").returncode == 0
    client = MlflowClient(f"sqlite:///{folder}/.wsol/mlflow.db")
    champion = finished[1]["clean"][0]
    (version,) = client.search_model_versions(f"run_id = '{champion}'")
    client.set_registered_model_alias("wsol", "champion", version.version)
    done = pipeline(folder, "promote")
    assert done.returncode == 0, done.stderr
    assert "the champion was scored on other data" in done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    (primary, *_) = answer["comparisons"]
    assert not list((folder / ".wsol/workspaces").iterdir())
    assert client.get_run(answer["run_id"]).data.tags["wsol.promotion"] == answer["verdict"]
    edit(folder, {"localize.threshold": threshold_of(client, champion)})
    Path(client.download_artifacts(champion, "model/model.pt", str(tmp_path))).replace(folder / "models/model.pt")
    adopt_model(folder / "models")
    for stage in ("extract_cams", "localize", "evaluate"):
        assert pipeline(folder, stage).returncode == 0
    rows = pd.read_parquet(folder / "metrics/per_image.parquet")
    expected = 100 * rows.loc[rows["split"] == "gate", "iou"].mean()
    assert primary["champion"] == pytest.approx(expected)
    assert primary["champion"] != pytest.approx(primary["challenger"])
    # What lies here now is another result; the run is entered all the same, and its comparison is the one it was.
    done = pipeline(folder, "promote", "--run", answer["run_id"])
    assert done.returncode == 0, done.stderr
    assert "is not what lies here: checking it out" in done.stderr
    again = json.loads(done.stdout.splitlines()[-1])
    assert (again["comparisons"], again["look"]) == (answer["comparisons"], answer["look"])
    assert not list((folder / ".wsol/checkouts").iterdir())


def threshold_of(client, run_id):
    """As params.yaml has it, a number or a word."""
    return yaml.safe_load(client.get_run(run_id).data.params["localize.threshold"])
