"""What is written for annotation tools is read back by the readers of the data set, and by the tools' own library."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from pipeline.data.annotations import read_annotations
from pipeline.data.truth_files import match
from pipeline.errors import DataError, UserError
from pipeline.predict.formats import FORMATS, check_formats, export
from pipeline.predict.record import PredictedBox, Prediction

CLASSES = ("kite", "</script><img src=x onerror=alert(1)>", 'ü: #1 & "2"')
#: A path may hold anything but control characters; some are the ends of others, or look like what tools write.
PATHS = (
    "x.jpg", "0a1b2c3d-x.jpg", "deep/a.b.jpg", "deep/a.jpg", "<b>&\"'.png", "100%41.jpg", "what?d=this&x=1.jpg",
    "ü ß/ö, ä.jpeg", "x.txt.png", " blank .jpg",
)  # fmt: skip
WIDTH, HEIGHT = 647, 431
BOXES = [(10.126, 20.5, 300.878, 400.0), (0.0, 0.0, 647.0, 431.0), (646.3, 0.2, 647.0, 1.0)]
#: Largest error of a corner in pixels: hundredths of a pixel, once for a corner and once more for a size; six decimals
#: of a share of the image, for the centre and half of the size; whole pixels; and percent as they are.
ROUNDING = {"coco-full": 0.011, "yolo": 0.001, "voc": 0.5, "cvat": 0.0051, "label-studio": 1e-9}
PLACES = {"coco-full": "coco.json", "yolo": "yolo", "voc": "voc", "cvat": "cvat.xml",
          "label-studio": "label-studio.json"}  # fmt: skip


def predictions():
    """Two boxes an image, of a class each; the last image has none."""
    for number, path in enumerate(PATHS):
        boxes = [PredictedBox(xyxy=box, score=0.25 + number / 100, map_mean=0.5) for box in BOXES[number % 2 :][:2]]
        yield Prediction(path=f"photos/{path}", width=WIDTH, height=HEIGHT, class_name=CLASSES[number % 3],
                         boxes=boxes if path != PATHS[-1] else [])  # fmt: skip


@pytest.fixture
def out(tmp_path):
    export(FORMATS, tmp_path, predictions, CLASSES, "v1")
    return tmp_path


def check_round_trip(place, rounding):
    """All boxes are those of their image, within a rounding in pixels."""
    found, unknown = match(PATHS, read_annotations(place))
    assert not unknown
    assert found.keys() == set(PATHS)
    for path, record in zip(PATHS, predictions(), strict=True):
        one = found[path]
        scale = (WIDTH, HEIGHT) if one.frame == (1, 1) else (1, 1)
        assert one.frame in ((1, 1), (WIDTH, HEIGHT))
        assert [box.label for box in one.boxes] == [record.class_name] * len(record.boxes)
        for box, expected in zip(one.boxes, record.boxes, strict=True):
            np.testing.assert_allclose(np.array(box.xyxy) * (scale * 2), expected.xyxy, atol=rounding, rtol=0)


@pytest.mark.parametrize("name", ROUNDING)
def test_boxes_come_back_as_they_were_written(out, name):
    check_round_trip(out / PLACES[name], ROUNDING[name])


def test_label_studio_s_export_of_accepted_predictions_comes_back(out):
    tasks = json.loads((out / "label-studio.json").read_text())
    for number, task in enumerate(tasks):
        regions = [region | {"origin": "prediction"} for region in task["predictions"][0]["result"]]
        answer = {"id": number, "completed_by": 1, "result": regions, "was_cancelled": False, "lead_time": 3.5}
        moved = [region | {"value": region["value"] | {"x": 0, "y": 0}} for region in regions]
        task |= {"id": number, "annotations": [answer | {"result": moved, "was_cancelled": True}, answer],
                 "predictions": [], "file_upload": "0a1b2c3d-x.jpg", "drafts": [], "meta": {}}  # fmt: skip
    (out / "export.json").write_text(json.dumps(tasks))
    check_round_trip(out / "export.json", ROUNDING["label-studio"])
    assert all(one.by_people for one in read_annotations(out / "export.json").values())
    assert not any(one.by_people for one in read_annotations(out / "label-studio.json").values())


def test_scores_are_kept_where_a_format_has_a_place_for_them(out):
    expected = [box.score for record in predictions() for box in record.boxes]
    full, results = (json.loads((out / name).read_text()) for name in ("coco.json", "predictions.json"))
    tasks = json.loads((out / "label-studio.json").read_text())
    kept = {
        "coco": [entry["score"] for entry in results],
        "coco-full": [entry["attributes"]["score"] for entry in full["annotations"]],
        "cvat": [float(e.text) for e in ElementTree.parse(out / "cvat.xml").iter("attribute")],
        "label-studio": [region["score"] for task in tasks for region in task["predictions"][0]["result"]],
    }
    assert kept == dict.fromkeys(kept, expected)
    assert [task["predictions"][0]["score"] for task in tasks] == [record.score for record in predictions()]


def test_coco_s_ids_count_from_1_and_results_fit_the_full_file(out):
    full, results = (json.loads((out / name).read_text()) for name in ("coco.json", "predictions.json"))
    assert [entry["id"] for entry in full["images"]] == list(range(1, len(PATHS) + 1))
    assert [entry["id"] for entry in full["categories"]] == [1, 2, 3]
    assert [r["bbox"] for r in results] == [a["bbox"] for a in full["annotations"]]
    assert all(a["iscrowd"] == 0 and a["segmentation"] == [] and a["area"] > 0 for a in full["annotations"])
    with pytest.raises(DataError, match=r"predictions\.json is not .* COCO with its images"):
        read_annotations(out / "predictions.json")


def test_pycocotools_reads_coco_and_scores_predictions_against_themselves_as_perfect(out, capsys):
    coco = pytest.importorskip("pycocotools.coco", reason="needs pycocotools, which the set-up does not install")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    truth = coco.COCO(str(out / "coco.json"))
    results = truth.loadRes(str(out / "predictions.json"))
    assert [image["file_name"] for image in truth.loadImgs(truth.getImgIds())] == list(PATHS)
    assert [category["name"] for category in truth.loadCats(truth.getCatIds())] == list(CLASSES)
    scored = evaluation.COCOeval(truth, results, "bbox")
    for step in (scored.evaluate, scored.accumulate, scored.summarize):
        step()
    assert scored.stats[0] == 1.0


def test_label_studio_s_names_are_those_of_its_configuration(out):
    view = ElementTree.parse(out / "label-studio.xml").getroot()
    labels = view.find("RectangleLabels")
    tasks = json.loads((out / "label-studio.json").read_text())
    regions = [region for task in tasks for region in task["predictions"][0]["result"]]
    assert {(r["from_name"], r["to_name"]) for r in regions} == {(labels.get("name"), view.find("Image").get("name"))}
    assert {name for r in regions for name in r["value"]["rectanglelabels"]} <= {e.get("value") for e in labels}
    assert not any("annotations" in task for task in tasks)


@pytest.mark.parametrize(("formats", "message"), [
    (["pascal"], "pascal is not known"),
    (["coco", "voc", "yolo"], r"--format voc,yolo: .*a\.jpg and .*a\.png differ in their suffix alone"),
])  # fmt: skip
def test_formats_that_cannot_be_written_are_refused_before_anything_is_made(formats, message):
    places = ["cats/a.jpg", "dogs/a.jpg", "cats/a.jpg", "cats/a.png"]
    with pytest.raises(UserError, match=message):
        check_formats(formats, places)
    check_formats(["coco", "cvat"], places)
