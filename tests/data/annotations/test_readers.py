"""Boxes of annotation tools, read as their conventions say."""

import json
from pathlib import Path

import pytest

from pipeline.data.annotations import read_annotations
from pipeline.errors import DataError


def read(tmp_path, name, text):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return read_annotations(path)


def boxes(named):
    return {name: ([(box.xyxy, box.label) for box in one.boxes], one.frame) for name, one in named.items()}


@pytest.mark.parametrize(("header", "row", "label", "frame"), [
    ("path,x0,y0,x1,y1", "a.jpg,1,2,5,8", None, None),
    ("Image, xmin ,ymin,xmax,ymax,class", "a.jpg,1,2,5,8,cat", "cat", None),
    ("filename,width,height,class,xmin,ymin,xmax,ymax", "a.jpg,60,40,cat,1,2,5,8", "cat", (60, 40)),
    ("file_name,x,y,width,height", "a.jpg,1,2,4,6", None, None),
    ("x1,y1,x2,y2,image", "1,2,5,8,a.jpg", None, None),
    ("path,left,top,right,bottom", "a.jpg,1,2,5,8", None, None),
    ("path,class,score,x0,y0,x1,y1,width,height,threshold", "a.jpg,cat,0.5,1,2,5,8,60,40,0.2", "cat", (60, 40)),
])  # fmt: skip
def test_tables_with_their_usual_titles(tmp_path, header, row, label, frame):
    assert boxes(read(tmp_path, "boxes.csv", f"{header}\n{row}\n")) == {"a.jpg": ([((1, 2, 5, 8), label)], frame)}


def test_a_table_has_several_boxes_of_an_image_and_images_without_any(tmp_path):
    text = 'path,x0,y0,x1,y1\r\na.jpg,1,2,5,8\r\n"b, c.jpg",,,,\r\na.jpg,0,0,1.5,1\r\n'
    assert boxes(read(tmp_path, "boxes.csv", text)) == {
        "a.jpg": ([((1, 2, 5, 8), None), ((0, 0, 1.5, 1), None)], None), "b, c.jpg": ([], None),
    }  # fmt: skip


def test_coco_by_name_of_file_and_category(tmp_path):
    tree = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 60, "height": 40}, {"id": 9, "file_name": "b.jpg"}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 4, 6], "iscrowd": 0, "segmentation": [[1, 2]]},
            {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 60, 40], "iscrowd": 1},
            {"id": 3, "image_id": 9, "category_id": 4, "bbox": []},
        ],
    }
    named = read(tmp_path, "instances.json", tree)
    assert boxes(named) == {"a.jpg": ([((1, 2, 5, 8), "cat")], (60, 40)), "b.jpg": ([], None)}


def test_yolo_in_shares_with_names_above(tmp_path):
    (tmp_path / "data.yaml").write_text("names: {0: cat, 1: dog}\n")
    (tmp_path / "labels/train").mkdir(parents=True)
    (tmp_path / "labels/train/a.b.txt").write_text("1 0.5 0.5 0.5 0.25\n0 0.5 0.5 1 1 0.93\n")
    (tmp_path / "labels/train/empty.txt").write_text("")
    (tmp_path / "labels/train/outline.txt").write_text("1 0.1 0.2 0.4 0.2 0.4 0.6\n")
    assert boxes(read_annotations(tmp_path / "labels")) == {
        "train/a.b": ([((0.25, 0.375, 0.75, 0.625), "dog"), ((0, 0, 1, 1), "cat")], (1, 1)),
        "train/empty": ([], (1, 1)),
        "train/outline": ([((0.1, 0.2, 0.4, 0.6), "dog")], (1, 1)),
    }


VOC = """<annotation><filename>%s</filename><size><width>60</width><height>40</height></size>
<object><name> cat </name><bndbox><ymax>8.5</ymax><xmin>2</xmin><xmax>5</xmax><ymin>3</ymin></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object></annotation>"""


def test_voc_counts_from_one_and_leaves_parts_out(tmp_path):
    assert boxes(read(tmp_path, "annotations/cats/a.xml", VOC)) == {"a": ([((1, 2, 5, 8.5), "cat")], (60, 40))}
    assert boxes(read_annotations(tmp_path / "annotations")) == {"cats/a": ([((1, 2, 5, 8.5), "cat")], (60, 40))}


def test_cvat_for_images(tmp_path):
    text = """<annotations><image id="0" name="cats/a.jpg" width="60" height="40">
    <box label="cat" xtl="1" ytl="2.5" xbr="5" ybr="8"/></image><image id="1" name="b.jpg"/></annotations>"""
    assert boxes(read(tmp_path, "annotations.xml", text)) == {
        "cats/a.jpg": ([((1, 2.5, 5, 8), "cat")], (60, 40)), "b.jpg": ([], None),
    }  # fmt: skip


def region(x, y, width, height, **more):
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": ["cat"]}
    return {"type": "rectanglelabels", "value": value | more}


def test_label_studio_in_percent_people_before_predictions(tmp_path):
    tasks = [
        {"data": {"image": "/data/local-files/?d=cats/a%20b.jpg"},
         "annotations": [{"result": [region(0, 0, 1, 1)], "was_cancelled": True}, {"result": [region(25, 50, 50, 25)]}],
         "predictions": [{"result": [region(0, 0, 100, 100)]}]},
        {"data": {"image": "/data/upload/3/0a1b2c3d-c.jpg"}, "annotations": [], "predictions": [{"result": []}]},
    ]  # fmt: skip
    named = read(tmp_path, "export.json", tasks)
    assert [one.by_people for one in named.values()] == [True, False]
    assert boxes(named) == {
        "cats/a b.jpg": ([((0.25, 0.5, 0.75, 0.75), "cat")], (1, 1)), "/data/upload/3/0a1b2c3d-c.jpg": ([], (1, 1)),
    }  # fmt: skip


def test_metadata_of_an_imagefolder(tmp_path):
    text = (
        '{"file_name": "a.jpg", "objects": {"bbox": [[1, 2, 4, 6]], "categories": ["cat"]}}\n{"file_name": "b.jpg"}\n'
    )
    assert boxes(read(tmp_path, "metadata.jsonl", text)) == {
        "a.jpg": ([((1, 2, 5, 8), "cat")], None),
        "b.jpg": ([], None),
    }


COCO = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}]}


@pytest.mark.parametrize(("name", "content", "message"), [
    ("boxes.csv", "path,x0,y0,x1,y1\na.jpg,1,2,5,big\n", r"1 entries of .*boxes.csv.*\n  line 2: expected a "
    r"number, found 'big'"),
    ("boxes.csv", "path,x0,y0,x1,y1\na,b.jpg,1,2,5,8\n", "line 2: 6 values for 5 columns; quote texts with commas"),
    ("boxes.csv", "path,score\na.jpg,1\n", "expected the columns path,x0,y0,x1,y1"),
    ("boxes.csv", "", "expected the columns"),
    ("a.json", "{", "is not a COCO file.*JSON"),
    ("a.json", {"images": [], "annotations": "x"}, "annotations: "),
    ("a.json", {**COCO, "annotations": [{"image_id": 5, "bbox": [0, 0, 1, 1]}]}, "annotations.0: image_id 5 is "
    "not among"),
    ("a.json", {**COCO, "annotations": [{"image_id": 1, "bbox": [0, 0, 1]}]}, "annotations.0: not enough values"),
    ("a.json", {**COCO, "images": COCO["images"] * 2 + [{"id": 2, "file_name": "a.jpg"}]}, "file of another image too"),
    ("a.json", [{"data": {"image": "a.jpg"}, "annotations": [{"result": [region(0, 0, 1, 1, rotation=30)]}]}],
     r"task 0: a box is rotated by 30°"),
    ("a.json", [{"data": 3}], "is not a JSON export of Label Studio"),
    ("a.json", "[" * 100_000, "is not a JSON export"),
    ("a.xml", "<annotation><object><bndbox><xmin>x</xmin></bndbox></object></annotation>", "a number, found 'x'"),
    ("a.xml", "<html/>", r"expected <annotation> \(Pascal VOC\) or <annotations> \(CVAT\), found <html>"),
    ("a.xml", "<annotation>", "cannot be read as XML"),
    ("a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "declares a document type"),
    ("a.txt", "0 0.5 0.5 0.1\n", "line 1: expected class x y width height, found 4 values"),
    ("a.txt", "0 0.5 nil 0.1 0.1\n", "line 1: expected a number, found 'nil'"),
    ("a.jsonl", '{"file_name": 3}\n', "line 1: file_name: "),
    ("a.jsonl", '{"file_name": "a", "objects": {"bbox": [[1, 2]]}}\n', "line 1: .*missing"),
    ("a.doc", "x", "boxes are read from .csv"),
])  # fmt: skip
def test_what_cannot_be_understood_is_named(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, name, content)


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    text = "path,x0,y0,x1,y1\n" + "a.jpg,1,2,3,x\n" * 12
    with pytest.raises(DataError) as error:
        read(tmp_path, "boxes.csv", text)
    assert str(error.value).count("expected a number") == 10
    assert "12 entries" in str(error.value)
    assert "and 2 more" in str(error.value)


def test_an_image_in_two_files_of_a_folder_is_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps(COCO))
    with pytest.raises(DataError, match=r"a\.jpg has boxes in another file"):
        read_annotations(tmp_path)


COCO128 = Path(__file__).parents[4] / "shared/data/coco128"


@pytest.mark.skipif(not COCO128.is_dir(), reason="needs a part of COCO with its labels")
def test_coco_and_yolo_say_the_same_of_real_images():
    (coco,) = (read_annotations(path) for path in (COCO128 / "annotations").glob("*.json"))
    yolo = read_annotations(COCO128 / "labels_yolo_seg")
    compared = 0
    for name, one in coco.items():
        other = yolo.get(Path(name).stem) or next((v for k, v in yolo.items() if k.endswith(Path(name).stem)), None)
        if other is None or len(other.boxes) != len(one.boxes):
            continue
        width, height = one.frame
        pairs = zip(sorted(b.xyxy for b in one.boxes), sorted(b.xyxy for b in other.boxes), strict=True)
        for mine, shares in pairs:
            scaled = (shares[0] * width, shares[1] * height, shares[2] * width, shares[3] * height)
            assert mine == pytest.approx(scaled, abs=1.5)
            compared += 1
    assert compared > 300
