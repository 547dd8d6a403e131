"""Folders of photos as people have them: classes, splits, boxes and masks, and what is said of the rest."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.data.annotations import Annotated
from pipeline.data.sets import folder
from pipeline.data.source import NOT_READ
from pipeline.data.truth_files import match
from pipeline.errors import DataError
from tests.data.make_photos import SIZE, write_photos
from tests.data.settings import prepare_settings


@pytest.fixture
def root(tmp_path):
    return tmp_path / "my photos"


def read(root):
    return folder.read_source(prepare_settings(root), Path())


def by_path(source):
    return {sample.path: sample for sample in source.samples}


def problems(source):
    return [(problem.path, problem.reason, problem.consequence) for problem in source.problems]


def test_folders_are_classes_whatever_the_files_are_called_and_wherever_they_lie(root):
    write_photos(root, 3)
    (root / "cats/2019/summer").mkdir(parents=True)
    (root / "cats/0.jpg").rename(root / "cats/2019/summer/mit Blank und Ü.JPG")
    (root / "dogs/1.jpg").rename(root / "dogs/no-suffix")
    source = read(root)
    assert source.classes == ("cats", "dogs")
    assert source.upright
    assert {(path, s.labels[0], s.split) for path, s in by_path(source).items()} == {
        ("cats/1.jpg", 0, "train"), ("cats/2.jpg", 0, "train"), ("cats/2019/summer/mit Blank und Ü.JPG", 0, "train"),
        ("dogs/0.jpg", 1, "train"), ("dogs/2.jpg", 1, "train"), ("dogs/no-suffix", 1, "train"),
    }  # fmt: skip
    assert not source.problems


def test_other_files_are_told_and_hidden_ones_are_not(root):
    write_photos(root, 2)
    (root / "cats/notes.txt").write_text("not one of them")
    (root / "cats/.DS_Store").write_text("x")
    (root / ".thumbnails").mkdir()
    (root / ".thumbnails/a.jpg").write_text("x")
    (root / "README.md").write_text("mine")
    assert problems(read(root)) == [("cats/notes.txt", "not an image", NOT_READ)]


def test_a_file_with_the_name_of_an_image_is_one(root):
    write_photos(root, 2)
    (root / "cats/broken.jpg").write_bytes(b"")
    assert "cats/broken.jpg" in by_path(read(root))


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "valid", "testing"), ("train", "test")])
def test_folders_of_splits(root, names):
    for name in names:
        write_photos(root, 2, name)
    meant = {"Training": "train", "valid": "val", "testing": "test"}
    assert {(s.path.split("/")[0], s.split) for s in read(root).samples} == {(n, meant.get(n, n)) for n in names}
    assert read(root).classes == ("cats", "dogs")


def test_a_class_may_be_called_test(root):
    write_photos(root, 2)
    (root / "dogs").rename(root / "test")
    assert read(root).classes == ("cats", "test")


@pytest.mark.parametrize(("make", "message"), [
    (lambda root: root.mkdir(), "has no folders. Put the images of each class into a folder"),
    (lambda root: (root / "cats").mkdir(parents=True), "no image lies in the folders"),
    (lambda root: [write_photos(root, 1, "train"), write_photos(root, 1)],
     r"has folders of splits \(train\) beside others \(cats, dogs\).*train/cats"),
    (lambda root: [write_photos(root, 1, name) for name in ("val", "test")], "has test, val, but no folder train"),
    (lambda root: root.write_text("x"), "is not a folder"),
])  # fmt: skip
def test_another_layout_is_refused_with_what_to_do(root, make, message):
    make(root)
    with pytest.raises(DataError, match=message):
        read(root)


def test_a_list_of_labels(root):
    write_photos(root, 2)
    (root / "labels.csv").write_text(
        "file,class,split\ncats/0.jpg,tabby,train\ncats/1.jpg,tabby,validation\ndogs/0.jpg,pug,\n"
    )
    source = read(root)
    assert source.classes == ("pug", "tabby")
    assert [(s.path, s.labels, s.split) for s in source.samples] == [
        ("cats/0.jpg", (1,), "train"), ("cats/1.jpg", (1,), "val"), ("dogs/0.jpg", (0,), "train"),
    ]  # fmt: skip
    assert problems(source) == [("dogs/1.jpg", "labels.csv does not name it", NOT_READ)]


@pytest.mark.parametrize(("text", "message"), [
    ("image\ncats/0.jpg\n", r"labels\.csv:1: the first line must name the columns path,label"),
    ("path,label\ncats/9.jpg,cat\n", "line 2: cats/9.jpg does not exist"),
    ("path,label\n../cats/0.jpg,cat\n", "line 2: ../cats/0.jpg does not exist"),
    ("path,label\ncats/0.jpg,cat\ncats/0.jpg,dog\n", "line 3: cats/0.jpg is dog and cat: an image has one label"),
    ("path,label\ncats/0.jpg,\n", "line 2: cats/0.jpg has no label"),
    ("path,label,split\ncats/0.jpg,cat,tset\n", "line 2: split 'tset' is not one of train"),
    ("path,label\ncats/0.jpg,cat,extra\n", r"labels\.csv:2: 3 values for 2 columns"),
    ("", "must name the columns"),
])  # fmt: skip
def test_a_list_that_cannot_be_understood_is_named_by_line(root, text, message):
    write_photos(root, 2)
    (root / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read(root)


def test_boxes_of_some_images(root):
    squares = write_photos(root, 3)
    rows = [f"{path},{','.join(map(str, squares[path]))}" for path in ("cats/0.jpg", "dogs/2.jpg")]
    (root / "boxes.csv").write_text("\n".join(["path,x0,y0,x1,y1", *rows]))
    samples = by_path(read(root))
    assert {path: sample.boxes for path, sample in samples.items() if sample.boxes} == {
        path: (squares[path],) for path in ("cats/0.jpg", "dogs/2.jpg")
    }


def test_only_boxes_of_the_images_own_class_count(root):
    write_photos(root, 1)
    entries = [
        {"image_id": 1, "category_id": category, "bbox": [x, 0, 10, 10]} for category, x in ((1, 0), (2, 20), (3, 30))
    ]
    tree = {"images": [{"id": 1, "file_name": "0.jpg", "width": 60, "height": 40}], "annotations": entries,
            "categories": [{"id": i, "name": name} for i, name in enumerate(("Cats", "dogs", "lamp"), 1)]}  # fmt: skip
    (root / "labels.json").write_text(json.dumps(tree))
    (root / "dogs/0.jpg").rename(root / "dogs/1.jpg")
    source = read(root)
    assert (by_path(source)["cats/0.jpg"].boxes, by_path(source)["cats/0.jpg"].frame) == (((0, 0, 10, 10),), (60, 40))
    assert [reason for _, reason, _ in problems(source)] == [
        "labels.json: a box is of 'dogs', the image of 'cats'", "labels.json: a box is of 'lamp', the image of 'cats'",
    ]  # fmt: skip


def test_labels_that_are_not_about_classes_all_count(root):
    write_photos(root, 1)
    (root / "boxes.csv").write_text("path,x0,y0,x1,y1,label\ncats/0.jpg,0,0,9,9,object\ncats/0.jpg,9,9,20,20,part\n")
    assert len(by_path(read(root))["cats/0.jpg"].boxes) == 2


def test_yolo_labels_and_masks_by_the_paths_of_the_images(root):
    write_photos(root, 2)
    for path in ("labels/cats/0.txt", "labels/dogs/1.txt"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("0 0.5 0.5 0.5 0.5\n")
    (root / "labels/classes.txt").write_text("object\n")
    (root / "masks/cats").mkdir(parents=True)
    for path in ("masks/cats/0.png", "masks/1.png", "masks/9.png"):
        cv2.imwrite(str(root / path), np.ones(SIZE[::-1], np.uint8))
    source = read(root)
    assert source.classes == ("cats", "dogs")
    samples = by_path(source)
    assert [samples[path].frame for path in ("cats/0.jpg", "dogs/1.jpg", "cats/1.jpg")] == [(1, 1), (1, 1), None]
    assert {path: sample.masks.files for path, sample in samples.items() if sample.masks.files} == {
        "cats/0.jpg": ("masks/cats/0.png",)
    }
    assert [(path, consequence) for path, _, consequence in problems(source)] == [
        ("masks/1.png", NOT_READ), ("masks/9.png", NOT_READ),
    ]  # fmt: skip


def test_boxes_in_two_places_are_refused(root):
    write_photos(root, 1)
    (root / "boxes.csv").write_text("path,x0,y0,x1,y1\n")
    (root / "labels").mkdir()
    (root / "labels/0.txt").write_text("")
    with pytest.raises(DataError, match=r"boxes lie in several places: boxes\.csv, labels"):
        read(root)


def test_boxes_of_nobody_are_told(root):
    write_photos(root, 1)
    (root / "boxes.csv").write_text(
        "path,x0,y0,x1,y1\nC:\\\\photos\\\\cats\\\\0.jpg,1,2,3,4\nelsewhere.jpg,1,2,3,4\n0.jpg,1,2,3,4\n"
    )
    source = read(root)
    assert by_path(source)["cats/0.jpg"].boxes == ((1, 2, 3, 4),)
    assert [(path, reason) for path, reason, _ in problems(source)] == [
        ("elsewhere.jpg", "boxes.csv has boxes for it, but no image has that name"),
        ("0.jpg", "boxes.csv has boxes for it, but it may be any of 2 images: cats/0.jpg, dogs/0.jpg"),
    ]


@pytest.mark.parametrize(("paths", "name", "owner"), [
    (("cats/1.jpg", "dogs/1.png"), "cats/1.png", "cats/1.jpg"),
    (("a.jpg", "a.b.jpg"), "labels/a.b", "a.b.jpg"),
    (("x.jpg", "0a1b2c3d-x.jpg"), "upload/3/0a1b2c3d-x.jpg", "0a1b2c3d-x.jpg"),
    (("x.jpg", "y.jpg"), "upload/3/0a1b2c3d-x.jpg", "x.jpg"),
    (("cats/1.jpg", "cats/1.png", "dogs/1.gif"), "cats/1.gif", None),
    (("cats/1.jpg",), "", None),
])  # fmt: skip
def test_the_longest_end_of_a_name_decides(paths, name, owner):
    found, unknown = match(paths, {name: Annotated(())})
    assert list(found) == ([owner] if owner else [])
    assert list(unknown) == ([] if owner else [name])
