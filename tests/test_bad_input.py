"""Whatever is wrong with the input: exit code 2, a message that names it, no traceback, nothing lost."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.data.make_cub import CLASSES, write_cub
from tests.project import edit, make_project, pipeline

FIRST = f"{CLASSES[0]}/{CLASSES[0]}_0.jpg"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = make_project(tmp_path_factory.mktemp("bad") / "project")
    done = pipeline(folder, "prepare")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def project(base, tmp_path):
    """A prepared project that reads a CUB-like data set from now on."""
    subprocess.run(["cp", "-r", base, tmp_path / "project"], check=True)
    cub = write_cub(tmp_path / "CUB_200_2011")
    edit(tmp_path / "project", {"prepare.dataset": "cub", "prepare.root": str(cub)})
    return tmp_path / "project"


def refuse(project: Path, *arguments: str) -> str:
    """Run a command that must fail; returns what it says."""
    kept = {p: p.read_bytes() for p in sorted((project / "data/prepared").rglob("*")) if p.is_file()}
    done = pipeline(project, *(arguments or ("prepare",)))
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
    assert {p: p.read_bytes() for p in sorted((project / "data/prepared").rglob("*")) if p.is_file()} == kept
    return done.stderr


def test_the_data_set_itself_is_fine(project):
    assert pipeline(project, "prepare").returncode == 0


@pytest.mark.parametrize("command", ["check", "repro", "prepare"])
def test_unknown_key(project, command):
    edit(project, {"train.lamda": 1})
    assert "train.lamda: unknown key; did you mean train.lambda?" in refuse(project, command)


@pytest.mark.parametrize("command", ["check", "repro"])
def test_missing_data_folder(project, command):
    edit(project, {"prepare.root": "data/raw/nowhere"})
    assert "data/raw/nowhere does not exist. Set it in params.yaml" in refuse(project, command)


def test_missing_weights(project):
    edit(project, {"train.pretrained": "weights.pth"})
    assert "weights.pth does not exist" in refuse(project, "repro")


def test_truncated_jpeg(project):
    path = project.parent / "CUB_200_2011/images" / FIRST
    path.write_bytes(path.read_bytes()[:-300])
    text = refuse(project)
    assert f"{path}: " in text
    assert "truncated" in text


def test_box_outside_its_image(project):
    path = project.parent / "CUB_200_2011/bounding_boxes.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(["1 50.0 1.0 25.0 20.0", *lines[1:]]))
    assert "of image 1 does not lie in the image of 60×40 pixels" in refuse(project)


def test_class_without_training_image(project):
    path = project.parent / "CUB_200_2011/train_test_split.txt"
    path.write_text("".join(f"{i} {int(i > 6)}\n" for i in range(1, 13)))
    assert f"1 classes have no training image: {CLASSES[0]}" in refuse(project)


def test_zero_images_in_a_split(project):
    path = project.parent / "CUB_200_2011/train_test_split.txt"
    path.write_text("".join(f"{i} 1\n" for i in range(1, 13)))
    assert "split test has no image" in refuse(project)


def test_unwritable_output(project):
    (project / "models").write_text("a file where a folder is needed")
    assert "models is a file where a folder is needed" in refuse(project, "repro")
    assert (project / "models").read_text() == "a file where a folder is needed"


@pytest.mark.parametrize("root", [".", "..", "data"])
def test_raw_data_that_holds_the_outputs(project, root):
    edit(project, {"prepare.root": root})
    assert f"prepare.root: {root} holds " in refuse(project, "repro")


def test_unwritable_state(project):
    done = pipeline(project, "repro", WSOL_STATE="/dev/null/state")
    assert done.returncode == 2
    assert "is a file where a folder is needed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "message"), [("\nbad: [\n", "params.yaml is not valid YAML"), ("\nseed: 1\n", "key seed stands twice")]
)
def test_a_run_names_what_is_wrong_before_airflow_starts(project, line, message):
    path = project / "params.yaml"
    path.write_text(path.read_text() + line)
    assert message in refuse(project, "run")


@pytest.mark.slow
def test_maps_of_another_manifest(first_run, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(first_run, project, symlinks=True)
    edit(project, {"prepare.val_fraction": 0.5})
    assert pipeline(project, "prepare").returncode == 0
    text = refuse(project, "localize")
    assert "cams was made from another data/labelled than data/prepared" in text
    assert "by hand `python -m pipeline extract_cams`" in text


def test_an_earlier_stage_is_missing(project):
    assert "Run `python -m pipeline train` first" in refuse(project, "extract_cams")


def test_outside_the_repository(tmp_path, base):
    done = pipeline(tmp_path, "check", PYTHONPATH=str(base))
    assert done.returncode == 2
    assert "Run commands from the root of the repository" in done.stderr


def test_a_mistyped_command_is_a_usage_error(project):
    done = pipeline(project, "trian")
    assert done.returncode == 2
    assert "No such command" in done.stderr
