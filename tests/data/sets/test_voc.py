"""PASCAL VOC as its archives are unpacked, with what is peculiar to it."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.data.checks import inspect_images
from pipeline.data.sets import voc
from pipeline.errors import DataError
from tests.data.make_voc import OBJECT, write_mask, write_objects, write_voc
from tests.data.settings import prepare_settings


@pytest.fixture
def root(tmp_path):
    return write_voc(tmp_path / "VOC2007", images=12)


def read(root):
    return voc.read_source(prepare_settings(root, dataset="voc"), Path())


def sample(root, stem):
    return next(one for one in read(root).samples if one.image_id == stem)


def test_labels_boxes_and_masks_of_several_classes(root):
    source = read(root)
    assert source.classes == ("aeroplane", "train")  # of the twenty, those that some image shows
    assert source.several_labels
    assert source.mask_values.classes == (1, 19)
    assert Counter(one.split for one in source.samples) == {"train": 9, "test": 3}
    both = sample(root, "000002")
    assert both.labels == both.box_labels == (0, 1)
    mask = cv2.imread(str(root / both.masks.files[0]), cv2.IMREAD_UNCHANGED)
    assert mask.ndim == 3  # OpenCV turns palettes into colours, which is why Pillow reads masks
    usable, problems = inspect_images(source)
    assert (len(usable), problems) == (12, [])


def test_corners_count_from_one_and_the_last_belongs_to_the_box(root):
    write_objects(root, "000001", OBJECT.format(name="train", difficult=0, x0=1, y0=1, x1=48, y1=48))
    assert sample(root, "000001").boxes == ((0, 0, 48, 48),)


def test_what_is_difficult_has_no_box_and_leaves_its_class_open(root):
    hard = OBJECT.format(name="aeroplane", difficult=1, x0=1, y0=1, x1=9, y1=9)
    easy = OBJECT.format(name="train", difficult=0, x0=1, y0=1, x1=9, y1=9)
    write_objects(root, "000001", hard + easy + easy.replace(">train<", "> Train\n<"))
    found = sample(root, "000001")
    assert (found.labels, found.uncertain, found.box_labels) == ((1,), (0,), (1, 1))
    write_objects(root, "000001", hard + easy + easy.replace(">train<", ">aeroplane<"))
    assert (sample(root, "000001").labels, sample(root, "000001").uncertain) == ((0, 1), ())
    write_objects(root, "000001", hard)
    assert (sample(root, "000001").labels, sample(root, "000001").boxes) == ((), ())


def test_parts_orders_and_missing_tags_of_annotations(root):
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    box = "<bndbox><ymax>40.5</ymax><xmax>30.25</xmax><ymin>11</ymin><xmin>6</xmin></bndbox>"
    write_objects(root, "000001", f"<object><name>train</name>{part}{box}</object>")
    assert sample(root, "000001").boxes == ((5, 10, 30.25, 40.5),)


def test_annotated_images_of_the_test_list_are_test(root):
    (root / "ImageSets/Main/test.txt").write_text("000000\n000001\n")
    for folder in ("Main", "Segmentation"):
        for name in ("train", "val", "trainval"):
            path = root / "ImageSets" / folder / f"{name}.txt"
            path.write_text("".join(f"{s}\n" for s in path.read_text().split() if s > "000001"))
    assert Counter(one.split for one in read(root).samples) == {"train": 10, "test": 2}
    # VOC2012's second archive has the list and no annotations.
    (root / "Annotations/000000.xml").unlink()
    (root / "Annotations/000001.xml").unlink()
    assert Counter(one.split for one in read(root).samples) == {"train": 8, "test": 2}


def test_trainaug_is_built_from_its_parts(root):
    (root / "ImageSets/Segmentation/train.txt").write_text("000001\n")
    for number in (0, 2, 3, 12):  # 0 is of Segmentation/val, 12 has no annotation
        mask = np.zeros((48, 48), np.uint8)
        mask[5:20, 5:20] = 19
        write_mask(root / f"SegmentationClassAug/{number:06d}.png", mask)
    cv2.imwrite(str(root / "JPEGImages/000012.jpg"), np.zeros((48, 48, 3), np.uint8))
    source = read(root)
    splits = {one.image_id: one.split for one in source.samples}
    assert splits == dict.fromkeys(("000001", "000002", "000003", "000012"), "train") | dict.fromkeys(
        ("000000", "000004", "000008"), "test"
    )
    assert (source.listed["trainaug"], source.published["trainaug"]) == (4, 10582)
    assert sample(root, "000012").labels == (1,)  # from its mask
    assert sample(root, "000002").masks.files == ("SegmentationClass/000002.png",)


def test_a_part_is_compared_with_the_published_lists(root):
    source = read(root)
    assert source.published["Segmentation/val"] == 213
    assert source.listed["Segmentation/val"] == 3


def test_without_lists_of_segmentation_test_is_set_aside(root):
    for name in ("train", "val", "trainval"):
        (root / f"ImageSets/Segmentation/{name}.txt").unlink()
    assert Counter(one.split for one in read(root).samples) == {"train": 12}


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda root: (root / "JPEGImages").rename(root / "images"), "has no JPEGImages"),
        (lambda root: (root / "Annotations/000003.xml").unlink(), "000003.xml cannot be read"),
        (
            lambda root: write_objects(
                root, "000003", OBJECT.format(name="dragon", difficult=0, x0=1, y0=1, x1=9, y1=9)
            ),
            "none of the twenty classes",
        ),
        (lambda root: write_objects(root, "000003", "<object><name>cat</name></object>"), "expected a number"),
        (lambda root: (root / "Annotations/000003.xml").write_text("<annotations/>"), "expected the <annotation>"),
        (lambda root: (root / "ImageSets/Main/train.txt").write_text("../../etc/passwd\n"), "name of an image"),
        (lambda root: (root / "ImageSets/Main/val.txt").write_text("000001\n000001\n"), "for the second time"),
    ],
)
def test_what_is_wrong_is_named(root, break_it, message):
    break_it(root)
    with pytest.raises(DataError, match=message):
        read(root)


def test_a_mask_with_a_value_that_is_no_class_is_named(root):
    write_mask(root / "SegmentationClass/000001.png", np.full((48, 48), 7, np.uint8))
    _, problems = inspect_images(read(root), strict=False)
    assert [problem.consequence for problem in problems] == ["mask left out"]
    assert "value 7" in problems[0].reason
