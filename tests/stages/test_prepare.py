"""Data sets as they come: what is said about them, and that nothing is written where one is refused."""

import shutil
from pathlib import Path

import pytest

from pipeline.data.manifest import read_dataset
from pipeline.errors import DataError
from pipeline.execution.preflight import check_inputs, warn_of_equal_images
from pipeline.files import LABELLED, PREPARED, read_json
from pipeline.params import load_params
from pipeline.stages import prepare
from tests.data.make_cub import CLASSES, write_cub
from tests.sample_result import write_params


@pytest.fixture
def cub(tmp_path, monkeypatch):
    """A CUB-like set that the parameters of the current folder name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "state"))
    write_params(tmp_path, prepare__dataset="cub", prepare__root="cub")
    return write_cub(Path("cub"), per_class=8)


def photo(cub, label, number):
    return cub / "images" / CLASSES[label] / f"{CLASSES[label]}_{number}.jpg"


def test_equal_content_is_recorded_and_said_by_prepare_and_by_check(cub, capsys):
    shutil.copy(photo(cub, 0, 0), photo(cub, 0, 7))  # train and test
    shutil.copy(photo(cub, 1, 6), photo(cub, 0, 6))  # both test, with two labels
    prepare.run(load_params())
    groups = read_dataset().equal_images
    assert groups["splits"] == {"groups": 1, "image_ids": [["1", "8"]]}
    assert groups["labels"] == {"groups": 1, "image_ids": [["7", "15"]]}
    part, *said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert part.endswith("as it was published, images: 12 of 5,994 in train, 4 of 5,794 in test")
    assert [line.split(":")[2].split(".")[0] for line in said] == [" 1 = 8", " 7 = 15"]
    warn_of_equal_images()
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")] == said


def test_a_data_set_without_equal_images_says_nothing(cub, capsys):
    warn_of_equal_images()
    prepare.run(load_params())
    warn_of_equal_images()
    assert "same content" not in capsys.readouterr().err
    assert read_json(PREPARED / "dataset.json", dict)["equal_images"]["splits"] == {"groups": 0, "image_ids": []}


def test_a_name_with_two_blanks_is_not_taken_for_the_one_with_one(cub):
    for name in ("a b.jpg", "a  b.jpg"):
        shutil.copy(photo(cub, 0, 0), cub / "images" / name)
    shutil.copy(photo(cub, 1, 0), cub / "images/a  b.jpg")
    lines = (cub / "images.txt").read_text().splitlines()
    (cub / "images.txt").write_text("\n".join(["1 a  b.jpg", *lines[1:]]))
    prepare.run(load_params())
    assert (
        read_dataset().images("train" if "1" in read_dataset().images("train") else "val")["1"].path
        == "images/a  b.jpg"
    )


def test_images_behind_a_link_are_refused_by_prepare_and_by_check(cub):
    (cub / "images").rename("elsewhere")
    (cub / "images").symlink_to(Path("elsewhere").absolute())
    for refuse in (prepare.run, check_inputs):
        with pytest.raises(DataError, match=r"images: a link to the folder .*elsewhere"):
            refuse(load_params())
    assert not PREPARED.exists() and not LABELLED.exists()
    assert not list(PREPARED.parent.glob(".*"))


def test_one_file_under_two_ids_is_refused(cub):
    lines = (cub / "images.txt").read_text().splitlines()
    (cub / "images.txt").write_text("\n".join([*lines[:-1], f"16 {lines[0].split()[1]}"]))
    with pytest.raises(DataError, match="1 image files occur more than once"):
        prepare.run(load_params())
    assert not PREPARED.exists() and not LABELLED.exists()


def test_a_data_set_of_one_class_is_said_to_have_nothing_to_tell_apart(cub, capsys):
    prepare.run(load_params())
    assert "the only class" not in capsys.readouterr().err
    for name, kept in (("classes", 1), ("images", 8), ("image_class_labels", 8), ("train_test_split", 8)):
        path = cub / f"{name}.txt"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:kept]))
    boxes = cub / "bounding_boxes.txt"
    boxes.write_text("".join(boxes.read_text().splitlines(keepends=True)[:8]))
    prepare.run(load_params())
    said = " ".join(capsys.readouterr().err.split())
    assert f"warning: the only class is {CLASSES[0]}: a classifier has nothing to tell apart" in said
