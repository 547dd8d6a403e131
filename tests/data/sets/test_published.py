"""Data sets in the layouts of their archives, written here in small, and what can be wrong with them."""

import re
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.data.checks import inspect_images
from pipeline.data.mask_files import read_masks
from pipeline.data.sets import find_dataset
from pipeline.errors import DataError, UserError
from tests.data.settings import prepare_settings

SHARED = Path(__file__).parents[4] / "shared/data"


def read_source(name, root):
    module = find_dataset(name)
    module.check_layout(root)
    return module.read_source(prepare_settings(root), Path())


def write_image(path, pixels=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((20, 30, 3), 90, np.uint8) if pixels is None else np.array(pixels, np.uint8))


def write_text(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def write_pets(root):
    """Two breeds, three images each; the trimap has a 4×2 animal in a border of one pixel."""
    trimap = np.full((20, 30), 2, np.uint8)
    trimap[5:9, 10:16] = 3
    trimap[6:8, 11:15] = 1
    lines = {"trainval": ["#Image CLASS-ID SPECIES BREED ID"], "test": []}
    for name, number in (("yorkshire_terrier", 37), ("Abyssinian", 1)):
        for i in range(3):
            stem = f"{name}_{i}"
            write_image(root / "images" / f"{stem}.jpg")
            write_image(root / "annotations/trimaps" / f"{stem}.png", trimap)
            lines["test" if i == 2 else "trainval"].append(f"{stem} {number} 1 1")
    write_image(root / "annotations/trimaps/._Abyssinian_0.png", trimap)
    for name, texts in lines.items():
        write_text(root / f"annotations/{name}.txt", *texts)
    return root


def test_pets_have_the_extent_of_animal_and_border_as_box_and_the_border_is_ignored(tmp_path):
    source = read_source("pets", write_pets(tmp_path))
    assert source.classes == ("Abyssinian", "yorkshire_terrier")
    assert Counter(sample.split for sample in source.samples) == {"train": 4, "test": 2}
    found, problems = inspect_images(source)
    assert problems == []
    assert {one.boxes for one in found} == {((10.0, 5.0, 16.0, 9.0),)}
    animal, border = read_masks(tmp_path, found[0].sample.masks, source.mask_values, 300)
    assert (animal.sum(), border.sum()) == (8 * 150, 16 * 150)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Abyssinian_0", r"trainval\.txt:6: expected STEM CLASS"),
        ("Abyssinian_2 1 1 1", r"test\.txt: Abyssinian_2 occurs for the second time"),
        ("Bengal_1 1 1 1", "class 1 is Abyssinian and, by Bengal_1, Bengal"),
    ],
)
def test_a_wrong_line_of_pets_is_named(tmp_path, line, message):
    path = write_pets(tmp_path) / "annotations/trainval.txt"
    path.write_text(path.read_text() + f"{line}\n")
    with pytest.raises(DataError, match=message):
        read_source("pets", tmp_path)


@pytest.mark.parametrize("lost", ["images", "annotations/trimaps", "annotations/test.txt"])
def test_what_pets_lack_is_named_with_the_archive(tmp_path, lost):
    write_pets(tmp_path)
    (tmp_path / lost).rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=rf"has no {lost}.*annotations\.tar\.gz"):
        read_source("pets", tmp_path)


def test_a_trimap_in_colour_is_named(tmp_path):
    source = read_source("pets", write_pets(tmp_path))
    write_image(tmp_path / "annotations/trimaps/Abyssinian_0.png")
    with pytest.raises(DataError, match=r"Abyssinian_0\.png: a mask of mode RGB"):
        inspect_images(source)


@pytest.mark.skipif(not SHARED.is_dir(), reason="real images are not here")
def test_real_pets_are_read():
    source = read_source("pets", SHARED / "pets3")
    found, problems = inspect_images(source)
    assert problems == []
    assert Counter(one.sample.split for one in found) == {"train": 300, "test": 298}
    assert all(len(one.boxes) == 1 for one in found)


def test_caltech_leaves_out_the_clutter_and_stray_files(tmp_path):
    for folder, names in {
        "001.ak47": ["001_0001.jpg", "001_0002.jpg"], "198.spider": ["198_0001.jpg"], "257.clutter": ["257_0001.jpg"],
    }.items():  # fmt: skip
        for name in names:
            write_image(tmp_path / folder / name)
    write_text(tmp_path / "198.spider/RENAME2", "x")
    (tmp_path / "001.ak47/greg").mkdir()
    source = read_source("caltech256", tmp_path)
    assert source.classes == ("ak47", "spider")
    assert [(sample.path, sample.labels) for sample in source.samples] == [
        ("001.ak47/001_0001.jpg", (0,)), ("001.ak47/001_0002.jpg", (0,)), ("198.spider/198_0001.jpg", (1,)),
    ]  # fmt: skip
    assert [problem.path for problem in source.problems] == ["001.ak47/greg", "198.spider/RENAME2"]


def test_caltech_says_which_folder_it_is(tmp_path):
    (tmp_path / "256_ObjectCategories").mkdir()
    with pytest.raises(DataError, match="must be the folder 256_ObjectCategories"):
        read_source("caltech256", tmp_path)


def write_lists(root):
    """Two images to train on, one with a box in val, stated for twice its size, one with two masks in test."""
    for name in ("train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg", "test/a/3.jpg"):
        write_image(root / name)
    for split, ids in {"train": {"train/a/1.jpg": 0, "train/b/1.jpg": 1}, "val": {"val/a/2.jpg": 0},
                       "test": {"test/a/3.jpg": 0}}.items():  # fmt: skip
        write_text(root / f"metadata/{split}/image_ids.txt", *ids)
        write_text(root / f"metadata/{split}/class_labels.txt", *(f"{name},{label}" for name, label in ids.items()))
    write_text(root / "metadata/val/image_sizes.txt", "val/a/2.jpg,60,40")
    write_text(root / "metadata/val/localization.txt", "val/a/2.jpg,20,10,40,30")
    write_text(root / "metadata/test/image_sizes.txt")
    write_text(
        root / "metadata/test/localization.txt",
        *(f"test/a/3.jpg,{m}" for m in ("test/m1.png,test/i.png", "test/m2.png,")),
    )
    for number, name in enumerate(("m1", "m2", "i")):
        mask = np.zeros((20, 30), np.uint8)
        mask[:, 10 * number : 10 * number + 15] = 255
        write_image(root / f"test/{name}.png", mask)
    return root


def test_the_benchmarks_lists_give_boxes_in_the_images_own_size_and_instances(tmp_path):
    source = read_source("text_metadata", write_lists(tmp_path))
    assert source.classes == ("0", "1")
    by_split = {one.sample.split: one for one in inspect_images(source)[0]}
    assert by_split["val"].boxes == ((10.0, 5.0, 20.0, 15.0),)
    assert by_split["test"].boxes == ()
    masks = by_split["test"].sample.masks
    assert (masks.files, masks.ignored) == (("test/m1.png", "test/m2.png"), "test/i.png")
    objects, ignored = read_masks(tmp_path, masks, source.mask_values, 30)
    assert objects[0].tolist() == [True] * 25 + [False] * 5
    assert ignored[0].tolist() == [False] * 25 + [True] * 5


def test_names_of_classes_may_lie_beside_the_lists(tmp_path):
    write_text(write_lists(tmp_path) / "classes.txt", "robin", "crow")
    assert read_source("text_metadata", tmp_path).classes == ("robin", "crow")
    write_text(tmp_path / "classes.txt", "robin")
    with pytest.raises(DataError, match=r"classes\.txt names 1 classes on 1 lines; labels go up to 1"):
        read_source("text_metadata", tmp_path)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("val/class_labels.txt", "val/a/2.jpg,robin", r"class_labels\.txt, line 1: expected a label"),
        ("val/class_labels.txt", "val/a/9.jpg,1", "has no line for 1 of 1 images: val/a/2.jpg"),
        ("val/localization.txt", "val/a/2.jpg,1,2", r"expected id,x0,y0,x1,y1, found 'val/a/2\.jpg,1,2'"),
        ("test/localization.txt", "test/a/3.jpg,../m.png,", "leads out of the image root"),
    ],
)
def test_a_wrong_line_of_the_lists_is_named(tmp_path, file, text, message):
    write_text(write_lists(tmp_path) / "metadata" / file, text)
    with pytest.raises((DataError, UserError), match=message):
        read_source("text_metadata", tmp_path)


def test_lists_that_are_not_there_are_asked_for(tmp_path):
    with pytest.raises(DataError, match=r"metadata/train has no image_ids\.txt, class_labels\.txt"):
        read_source("text_metadata", tmp_path)


def xml(*boxes, wnid="n02", size=(60, 40)):
    things = "".join(
        f"<object><name>{wnid}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
        f"<ymax>{y1}</ymax><xmax>{x1}</xmax></bndbox></object>"
        for x0, y0, x1, y1 in boxes
    )
    sides = f"<width>{size[0]}</width><height>{size[1]}</height>"
    return f"<annotation><filename>%s</filename><size>{sides}</size>{things}</annotation>"


def write_ilsvrc(root, train="Data/CLS-LOC/train", val="Data/CLS-LOC/val", boxes="Annotations/CLS-LOC/val"):
    for wnid in ("n02", "n01"):
        write_image(root / train / wnid / f"{wnid}_1.JPEG")
    write_image(root / val / "ILSVRC2012_val_00000001.JPEG")
    write_image(root / val / "n01/ILSVRC2012_val_00000002.JPEG")
    write_text(root / boxes / "ILSVRC2012_val_00000001.xml", xml((2, 4, 40, 20), (40, 20, 10, 10)))
    write_text(root / boxes / "ILSVRC2012_val_00000002.xml", xml((0, 0, 60, 40), wnid="n01"))
    return root


@pytest.mark.parametrize(
    "folders", [{}, {"train": "train", "val": "val", "boxes": "bbox_val"}], ids=["2015 and later", "2012"]
)
def test_both_packagings_of_ilsvrc_are_read(tmp_path, folders):
    root = write_ilsvrc(tmp_path / "ILSVRC", **folders)
    write_text(tmp_path / "LOC_synset_mapping.txt", "n01 tench, Tinca tinca", "n02 goldfish")
    source = read_source("ilsvrc", root)
    assert source.classes == ("n01 tench, Tinca tinca", "n02 goldfish")
    found = {one.sample.image_id: one for one in inspect_images(source)[0]}
    assert {name: (one.sample.split, one.sample.labels) for name, one in found.items()} == {
        "n01_1": ("train", (0,)), "n02_1": ("train", (1,)),
        "ILSVRC2012_val_00000001": ("test", (1,)), "ILSVRC2012_val_00000002": ("test", (0,)),
    }  # fmt: skip
    # The XML is of an image twice as large; the second box has its corners swapped.
    assert found["ILSVRC2012_val_00000001"].boxes == ((1.0, 2.0, 20.0, 10.0), (5.0, 5.0, 20.0, 10.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (xml((0, 0, 9, 9), wnid="n99"), r"00000002\.xml: expected boxes of one class of train, found n99"),
        (xml(), "expected boxes of one class of train, found none"),
        (xml((0, "x", 9, 9)), "expected a number, found 'x'"),
        ("<annotation", "cannot be read as XML"),
    ],
)
def test_a_wrong_annotation_of_ilsvrc_is_named(tmp_path, text, message):
    write_text(write_ilsvrc(tmp_path) / "Annotations/CLS-LOC/val/ILSVRC2012_val_00000002.xml", text)
    with pytest.raises(DataError, match=message):
        read_source("ilsvrc", tmp_path)


def test_an_image_of_ilsvrc_without_boxes_is_named(tmp_path):
    write_ilsvrc(tmp_path)
    (tmp_path / "Annotations/CLS-LOC/val/ILSVRC2012_val_00000002.xml").unlink()
    with pytest.raises(DataError, match=re.escape("1 images of")):
        read_source("ilsvrc", tmp_path)


def test_ilsvrc_says_which_folders_it_needs(tmp_path):
    with pytest.raises(DataError, match=r"LOC/val or train, val and bbox_val are needed.*image-net\.org"):
        read_source("ilsvrc", tmp_path)
