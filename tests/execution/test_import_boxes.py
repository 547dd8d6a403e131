"""Boxes that people corrected come back into the data set: all of them, or nothing."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipeline.data.sets.folder import read_source
from pipeline.errors import DataError, UserError
from pipeline.execution.import_boxes import import_boxes
from tests.data.make_photos import SIZE, turn_photo, write_photos
from tests.data.settings import prepare_settings
from tests.project import executed, make_project, pipeline


@pytest.fixture
def root(tmp_path):
    """Photos in fixed splits: the names of some occur in several."""
    for split, count in (("train", 4), ("val", 3), ("test", 2)):
        write_photos(tmp_path / "photos", count, split)
    return tmp_path / "photos"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return path


def settings(root, **changes):
    return prepare_settings(root, **({"dataset": "folder", "gate_fraction": 0.0} | changes))


def enter(root, *files):
    return import_boxes(files, settings(root))


def boxes(root):
    samples = read_source(settings(root), Path()).samples
    return {one.path: (one.boxes, one.frame) for one in samples if one.boxes}


def table(tmp_path, *rows, name="corrected.csv"):
    return write(tmp_path / name, "\n".join(["path,x0,y0,x1,y1,label", *rows]) + "\n")


def voc(label="cats", xmin=2):
    return f"""<annotation><size><width>60</width><height>40</height></size><object><name>{label}</name><bndbox>
    <xmin>{xmin}</xmin><ymin>3</ymin><xmax>30</xmax><ymax>20</ymax></bndbox></object></annotation>"""


CVAT = """<annotations><image id="0" name="val/cats/0.jpg" width="60" height="40">
<box label="cats" xtl="1" ytl="2" xbr="30" ybr="20" source="auto"/></image>
<image id="1" name="val/cats/1.jpg"/></annotations>"""
COCO = {"images": [{"id": 4, "file_name": "val/cats/0.jpg", "width": 60, "height": 40}],
        "categories": [{"id": 1, "name": "cats"}],
        "annotations": [{"id": 1, "image_id": 4, "category_id": 1, "bbox": [1, 2, 29, 18]}]}  # fmt: skip


def answer(x0=100 / 60):
    value = {"x": x0, "y": 5, "width": 2900 / 60, "height": 45, "rotation": 0, "rectanglelabels": ["cats"]}
    return [{"result": [{"type": "rectanglelabels", "value": value}]}]


TASKS = [
    {"data": {"image": "/data/local-files/?d=val/cats/0.jpg"}, "annotations": answer(), "predictions": answer(0)},
    {"data": {"image": "/data/local-files/?d=val/cats/1.jpg"}, "annotations": [], "predictions": answer(0)},
]


@pytest.mark.parametrize(("name", "text"), [
    ("corrected.csv", "path,x0,y0,x1,y1\nval/cats/0.jpg,1,2,30,20\n"), ("instances.json", COCO),
    ("annotations.xml", CVAT), ("export.json", TASKS), ("voc/Annotations/val/cats/0.xml", voc()),
    ("labels/val/cats/0.txt", f"0 {15.5 / 60} {11 / 40} {29 / 60} {18 / 40}\n"),
])  # fmt: skip
def test_every_format_is_told_by_its_content(root, tmp_path, name, text):
    path = write(tmp_path / name, text)
    if path.suffix == ".txt":
        write(tmp_path / "labels/classes.txt", "cats\ndogs\n")
    given = path if len(Path(name).parts) == 1 else tmp_path / Path(name).parts[0]
    assert enter(root, given) == {"train": 0, "val": 1, "gate": 0, "test": 0, "val_with_boxes": 1}
    ((found, ((box,), frame)),) = boxes(root).items()
    assert found == "val/cats/0.jpg"
    scale = SIZE if frame == (1, 1) else (1, 1)
    assert [value * scale[i % 2] for i, value in enumerate(box)] == pytest.approx([1, 2, 30, 20])


def test_boxes_of_an_image_are_replaced_and_others_kept(root, tmp_path, capsys):
    enter(root, table(tmp_path, "val/cats/0.jpg,1,2,3,4,", "val/cats/0.jpg,5,6,7,8,", "test/dogs/1.jpg,1,1,9,9,dogs"))
    before = (root / "boxes.csv").read_bytes()
    again = [table(tmp_path, "val/cats/0.jpg,2,3,4,5,cats"), table(tmp_path, "val/dogs/2.jpg,0,0,60,40,", name="b.csv")]
    assert enter(root, *again) == {"train": 0, "val": 2, "gate": 0, "test": 0, "val_with_boxes": 2}
    assert f"the former boxes.csv is kept as {root}/.former-boxes/1/boxes.csv" in capsys.readouterr().err
    assert (root / ".former-boxes/1/boxes.csv").read_bytes() == before
    after = {"val/cats/0.jpg": (((2, 3, 4, 5),), None), "val/dogs/2.jpg": (((0, 0, 60, 40),), None),
             "test/dogs/1.jpg": (((1, 1, 9, 9),), None)}  # fmt: skip
    assert boxes(root) == after
    enter(root, *again)
    assert boxes(root) == after
    assert not (root / ".former-boxes/2").exists()


def test_boxes_of_another_format_are_carried_over_and_its_files_kept(root, tmp_path):
    write(root / "labels/test/dogs/1.txt", "0 0.5 0.5 0.5 0.5\n")
    write(root / "labels/nobody.txt", "0 0.5 0.5 0.5 0.5\n")
    former = boxes(root)
    assert former == {"test/dogs/1.jpg": (((0.25, 0.25, 0.75, 0.75),), (1, 1))}
    enter(root, table(tmp_path, "val/cats/0.jpg,1,2,3,4,"))
    assert boxes(root) == former | {"val/cats/0.jpg": (((1, 2, 3, 4),), None)}
    assert not (root / "labels").exists()
    assert (root / ".former-boxes/1/labels/test/dogs/1.txt").is_file()
    assert "nobody,0,0.25,0.25,0.75,0.75,1.0,1.0" in (root / "boxes.csv").read_text()


def test_names_with_commas_quotes_and_blanks_come_back(root, tmp_path):
    name = 'val/cats/ "a", b .jpg'
    shutil.copy(root / "val/cats/0.jpg", root / name)
    tree = COCO | {"images": [COCO["images"][0] | {"file_name": name}]}
    enter(root, write(tmp_path / "a.json", tree))
    assert list(boxes(root)) == [name]


def test_a_box_of_a_turned_photo_is_where_people_saw_it(root, tmp_path):
    turn_photo(root / "val/cats/0.jpg", 6)
    tree = COCO | {"images": [COCO["images"][0] | {"width": 40, "height": 60}]}
    tree["annotations"] = [COCO["annotations"][0] | {"bbox": [1, 2, 29, 58]}]
    enter(root, write(tmp_path / "a.json", tree))
    assert boxes(root) == {"val/cats/0.jpg": (((1, 2, 30, 60),), (40, 60))}


@pytest.mark.parametrize(("rows", "message"), [
    (["val/cats/7.jpg,1,2,3,4,", "0.jpg,1,2,3,4,"],
     r"2 of 2 images .*\n  val/cats/7\.jpg: no image .*\n  0\.jpg: it may be any of 6 images: .*Nothing was written"),
    (["val/cats/0.jpg,5,2,3,4,", "val/cats/1.jpg,1,2,70,4,"],
     r"2 of 2 images .*\n.*0\.jpg: box x0=5 .* does not lie in.*\n.*1\.jpg: box .* x1=70 "),
    (["val/cats/0.jpg,1,2,3,4,Dogs", "val/dogs/0.jpg,1,2,3,4,dogs", "val/dogs/0.jpg,1,2,3,4,cats"],
     r"1 of 2 images .*\n  val/cats/0\.jpg: a box is of 'dogs', the image of 'cats'"),
    (["val/cats/0.jpg,1,2,3,nan,"], r"1 of 1 images .*\n.*y1=nan"),
    (["val/cats/0.jpg,1,2,3,4,", "photos/val/cats/0.jpg,1,2,3,4,"], r"which has boxes as val/cats/0\.jpg too"),
    (["val/cats/0.jpg,1,2,3,x,"], "expected a number"),
])  # fmt: skip
def test_what_cannot_be_entered_is_named_and_nothing_is_written(root, tmp_path, rows, message):
    before = sorted(root.rglob("*"))
    with pytest.raises(DataError, match=f"(?s){message}"):
        enter(root, table(tmp_path, *rows))
    assert sorted(root.rglob("*")) == before


def test_files_without_corrected_boxes_are_refused(root, tmp_path):
    with pytest.raises(UserError, match="no image has a box there that a person has drawn"):
        enter(root, write(tmp_path / "tasks.json", TASKS[1:]))
    with pytest.raises(UserError, match=r"gone\.csv does not exist"):
        enter(root, tmp_path / "gone.csv")
    with pytest.raises(UserError, match="lies in the data set"):
        enter(root, table(root, "val/cats/0.jpg,1,2,3,4,", name="boxes.csv"))
    with pytest.raises(UserError, match=r"prepare\.dataset is cub"):
        import_boxes([tmp_path], settings(root, dataset="cub"))


def test_it_is_said_where_boxes_choose_nothing(root, tmp_path, capsys):
    assert enter(root, table(tmp_path, "train/cats/3.jpg,1,2,3,4,"))["train"] == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "boxes on images of train choose and measure nothing" in said
    assert "no image of val has boxes: the threshold stays that of the method's paper" in said


@pytest.mark.slow
def test_the_loop_trains_once(tmp_path):
    """Train without boxes, predict on val, correct, import, localize again."""
    squares = write_photos(tmp_path / "photos", 16)
    project = make_project(tmp_path / "project", {
        "prepare.dataset": "folder", "prepare.root": "../photos", "prepare.gate_fraction": 0.0,
        "prepare.test_fraction": 0.2, "prepare.val_fraction": 0.5, "train.backbone": "squeezenet1_1",
    })  # fmt: skip

    def run(*arguments):
        done = pipeline(project, *arguments)
        assert done.returncode == 0, done.stderr
        return done, json.loads(done.stdout.splitlines()[-1])

    done, _ = run("repro", "localize")
    assert executed(done) == ["prepare", "train", "extract_cams", "localize"]
    assert json.loads((project / "boxes/threshold.json").read_text())["threshold_source"] == "paper"
    model = (project / "models/model.pt").read_bytes()

    sampled = ("--split", "val", "--sample", "5", "--class", "label", "--format", "cvat", "--no-images")
    assert run("predict", *sampled, "--out", "out")[1]["images"] == 5
    tree = ElementTree.parse(project / "out/cvat.xml")
    for image in tree.getroot().findall("image"):
        (path,) = (path for path in squares if path.endswith(image.get("name")))
        label = Path(path).parent.name
        assert {box.get("label") for box in image} <= {label}
        image.clear()
        image.set("name", path)
        corners = zip(("xtl", "ytl", "xbr", "ybr"), map(str, squares[path]), strict=True)
        ElementTree.SubElement(image, "box", {"label": label, **dict(corners)})
    tree.write(tmp_path / "corrected.xml")

    assert run("import-boxes", str(tmp_path / "corrected.xml"))[1]["val_with_boxes"] == 5
    done, _ = run("repro", "localize")
    assert executed(done) == ["prepare", "localize"]
    chosen = json.loads((project / "boxes/threshold.json").read_text())
    assert (chosen["threshold_source"], chosen["threshold_images"]) == ("val", 5)
    assert (project / "models/model.pt").read_bytes() == model
