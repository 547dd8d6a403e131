"""From a folder of photos to parameters that suit it."""

from pathlib import Path

import pytest

from pipeline.errors import DataError, ParamsError
from pipeline.execution.preflight import check_inputs
from pipeline.execution.start import start
from pipeline.params import load_params
from tests.data.make_cub import write_cub
from tests.data.make_photos import write_photos
from tests.data.make_voc import write_voc
from tests.project import ROOT


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "presets").symlink_to(ROOT / "presets")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "state"))
    return folder


def test_a_folder_without_boxes_competes_by_classification():
    write_photos(Path("../my photos!"), 100)
    answer = start(Path("../my photos!"), {"train.pretrained": True, "seed": 3})
    splits = {"train": 112, "val": 32, "gate": 16, "test": 40}
    assert answer == {"dataset": "folder", "classes": 2, **splits, "problems": 0}
    params = load_params()
    assert (params.prepare.dataset, params.prepare.root, params.seed) == ("folder", "../my photos!", 3)
    assert (params.promote.metric, params.promote.guards) == ("gate.cls_top1", [])
    assert params.track.experiment == "my photos_"
    check_inputs(params)


def test_few_images_are_not_set_aside_for_promotion():
    write_photos(Path("../few"), 10)
    assert start(Path("../few"), {})["gate"] == 0
    assert load_params().train.epochs == 10


def test_boxes_let_localization_decide(capsys):
    squares = write_photos(Path("../boxed"), 60)
    rows = [f"{path},{','.join(map(str, box))}" for path, box in squares.items()]
    Path("../boxed/boxes.csv").write_text("\n".join(["path,x0,y0,x1,y1", *rows]))
    start(Path("../boxed"), {})
    assert load_params().promote.metric == "gate.gt_known_iou50"
    said = capsys.readouterr().err
    assert "will be chosen on the 20 images of val" in said
    assert "will be measured on 24 images of test" in said


def test_what_cannot_be_used_is_shown_and_left_out(capsys):
    write_photos(Path("../odd"), 10)
    Path("../odd/cats/3.jpg").write_bytes(b"no image")
    Path("../odd/cats/notes.txt").write_text("x")
    assert start(Path("../odd"), {})["problems"] == 2
    assert load_params().prepare.strict is False
    said = capsys.readouterr().err
    assert "3.jpg: not an image file (JPEG" in said
    assert "cats/notes.txt: not an image (not read)" in said


def test_a_published_data_set_is_known_by_its_files():
    write_cub(Path("../cub"))
    assert start(Path("../cub"), {})["dataset"] == "cub"
    assert load_params().prepare.dataset == "cub"


@pytest.mark.parametrize(("folder", "message"), [
    ("../none", "is not a folder; name the one that holds your images"), ("..", "which the pipeline writes"),
    ("../empty", "has no folders"),
])  # fmt: skip
def test_what_is_no_data_set_leaves_the_parameters_as_they_are(folder, message):
    Path("../empty").mkdir()
    Path("params.yaml").write_text("mine")
    with pytest.raises(DataError, match=message):
        start(Path(folder), {})
    assert Path("params.yaml").read_text() == "mine"


def test_a_wrong_value_is_refused_before_anything_is_read():
    write_photos(Path("../photos"), 1)
    with pytest.raises(ParamsError, match="epochs"):
        start(Path("../photos"), {"train.epochs": -1})


def test_a_folder_of_images_with_several_labels_gets_settings_that_are_valid_for_it(here, capsys):
    write_voc(Path("../VOC2007"))
    assert start(Path("../VOC2007"), {})["dataset"] == "voc"
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().err.splitlines()]
    assert ["aeroplane", "10", "2", "0", "4", "16"] in rows  # of 24 images 16 show one
    params = load_params()
    params.refuse_several_labels()
    assert params.train.lr == 0.1
