"""Reading ground truth: the field's text files and manifests."""

import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline.data.manifest import Dataset, write_dataset
from pipeline.data.text_lists import BoxTruth, MaskTruth, read_text_boxes, read_text_masks
from pipeline.errors import DataError, UserError
from pipeline.evaluation.boxes import largest_boxes, quantize
from pipeline.evaluation.geometry import iou, standard_value
from pipeline.evaluation.metrics import ThresholdCurve
from pipeline.evaluation.score_maps import gaussian_map, normalize_map
from pipeline.scoring.truth import protocol_boxes, protocol_masks, read_truth

METADATA = Path(__file__).parents[3] / "shared" / "data" / "protocol_metadata"


def write_truth(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def read_mask_truth(folder: Path):
    return read_truth(folder, masks=True, mask_root=None, mapped=())


def write_mask(path: Path, rows: list[list[int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.array(rows, np.uint8) * 255)


def test_boxes_stay_with_their_image(tmp_path):
    folder = write_truth(
        tmp_path,
        image_ids="b/2.jpg\na/1.jpg\r\n\n",
        image_sizes="a/1.jpg,448,112\nb/2.jpg,100,50\nnot-listed.jpg,1,1\n",
        localization="a/1.jpg,0,0,448,112\nb/2.jpg,1,2,30,40\nnot-listed.jpg,0,0,1,1\na/1.jpg,3,4,5,6\n",
    )
    truth = read_text_boxes(folder)
    assert truth.image_ids == ["b/2.jpg", "a/1.jpg"]
    assert protocol_boxes(truth, 0, 224).tolist() == [[2, 8, 67, 179]]
    assert protocol_boxes(truth, 1, 224).tolist() == [[0, 0, 224, 224], [1, 8, 2, 12]]


def test_an_id_may_hold_commas(tmp_path):
    folder = write_truth(tmp_path, image_ids="a,b.jpg\n", image_sizes="a,b.jpg,9,9\n", localization="a,b.jpg,0,0,4,4\n")
    assert read_text_boxes(folder).image_ids == ["a,b.jpg"]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("image_ids", "a\nb\na\n", "line 3: a is listed twice"),
        ("image_ids", "\n", "lists no image"),
        ("image_sizes", "a,10\nb,10,10\n", "line 1: expected id,width,height, found 'a,10'"),
        ("image_sizes", "a,10,0\nb,10,10\n", "line 1: an image has no side of 0 pixels"),
        ("image_sizes", "a,10,10\n", "no line for 1 of 2 images: b"),
        ("localization", "a,1,1,2,2\n", "no line for 1 of 2 images: b"),
        ("localization", "a,1,1,2,x\n", "line 1: expected numbers, found 1, 1, 2, x"),
        ("localization", "a,1,1,2,nan\n", "expected numbers of pixels, found 1, 1, 2, nan"),
        ("localization", "a,1,1,2,1e30\n", "expected numbers of pixels, found 1, 1, 2, 1e30"),
        ("localization", "a,5,1,2,2\n", "expected x0 ≤ x1 and y0 ≤ y1, found 5, 1, 2, 2"),
        ("localization", "a,m.png,i.png\n", "expected id,x0,y0,x1,y1, found 'a,m.png,i.png'. Masks are"),
    ],
)
def test_a_bad_line_is_named(tmp_path, file, text, message):
    files = {"image_ids": "a\nb\n", "image_sizes": "a,9,9\nb,9,9\n", "localization": "a,1,1,2,2\nb,1,1,2,2\n"}
    with pytest.raises(DataError, match=message) as error:
        read_text_boxes(write_truth(tmp_path, **(files | {file: text})))
    assert f"{file}.txt" in str(error.value)


def test_a_missing_file_says_what_the_folder_should_hold(tmp_path):
    with pytest.raises(UserError, match=r"image_ids\.txt does not exist\. Take a folder"):
        read_text_boxes(tmp_path)


def test_masks_are_united_and_foreground_is_never_ignored(tmp_path):
    write_mask(tmp_path / "masks" / "m0.png", [[1, 0], [0, 0]])
    write_mask(tmp_path / "masks" / "m1.png", [[0, 1], [0, 0]])
    write_mask(tmp_path / "masks" / "i.png", [[1, 0], [1, 0]])
    folder = write_truth(tmp_path, image_ids="a\nb\n", localization="a,m0.png,i.png\nb,m0.png,\na,m1.png,\n")
    truth = read_text_masks(folder, tmp_path / "masks")
    foreground, ignored = protocol_masks(truth, 0, 4)
    assert foreground.tolist() == [[True] * 4] * 2 + [[False] * 4] * 2
    assert ignored.tolist() == [[False] * 4] * 2 + [[True, True, False, False]] * 2
    assert not protocol_masks(truth, 1, 4)[1].any()


@pytest.mark.parametrize(
    ("box", "reason"),
    [("0,0,50,90", r" Are width and height swapped\?"), ("-3,0,5,5", r"\. Take"), ("0,0,120,120", r"\. Take")],
)
def test_boxes_beyond_their_image_are_counted_and_named(tmp_path, box, reason):
    files = {"image_ids": "a\nb\n", "image_sizes": "a,100,60\nb,100,60\n"}
    folder = write_truth(tmp_path, **files, localization=f"a,0,0,101,61\na,-1,-1,5,5\nb,{box}\n")
    with pytest.raises(
        DataError, match=rf"1 of 3 boxes reach beyond their image, .*: b: \[.*\] in \[100.0, 60.0\].*{reason}"
    ):
        read_text_boxes(folder)


@pytest.mark.parametrize("name", ["two  blanks", " around ", "no-break\u00a0space\u00a0", "line\u2028separator", "a,b"])
def test_an_id_is_what_stands_before_the_numbers(tmp_path, name):
    files = {"image_ids": f"{name}\n", "image_sizes": f"{name},9, 9\n", "localization": f"{name}, 0,0,4,4\r\n"}
    assert read_text_boxes(write_truth(tmp_path, **files)).image_ids == [name]


def test_ids_that_differ_in_their_unicode_form_are_pointed_out(tmp_path):
    files = {"image_ids": "M\u00fc\n", "image_sizes": "Mu\u0308,9,9\n", "localization": "M\u00fc,0,0,4,4\n"}
    with pytest.raises(DataError, match=r"image_sizes\.txt has no line for 1 of 1 .* differs only in Unicode form"):
        read_text_boxes(write_truth(tmp_path, **files))


@pytest.mark.parametrize("path", ["../m.png", "/etc/passwd", "a/../../m.png"])
def test_masks_lie_below_their_root(tmp_path, path):
    for line in (f"a,{path},", f"a,m.png,{path}"):
        with pytest.raises(DataError, match="line 1: the path leads out of the image root"):
            read_text_masks(write_truth(tmp_path, image_ids="a\n", localization=line), None)


@pytest.mark.timeout(20)
def test_a_mask_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "m.png")
    with pytest.raises(DataError, match=r"1 of 1 masks do not exist"):
        read_mask_truth(write_truth(tmp_path, image_ids="a\n", localization="a,m.png,\n"))


def test_a_byte_order_mark_belongs_to_no_id(tmp_path):
    folder = write_truth(tmp_path, image_ids="\ufeffa\n", image_sizes="\ufeffa,9,9\n", localization="\ufeffa,0,0,4,4\n")
    assert read_text_boxes(folder).image_ids == ["a"]


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "image_ids.txt").write_bytes("é.jpg\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"image_ids\.txt is not UTF-8 text"):
        read_text_boxes(tmp_path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a,,\n", "line 1: expected id,mask,ignore, found no mask"),
        ("a,m.png,i.png\na,n.png,j.png\n", "line 2: a has an ignore mask, which belongs on the image's first line"),
    ],
)
def test_a_bad_line_of_masks_is_named(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        read_text_masks(write_truth(tmp_path, image_ids="a\n", localization=lines), None)


def test_missing_masks_are_counted(tmp_path):
    lines = "".join(f"a,m{k:02d}.png,\n" for k in range(12))
    with pytest.raises(DataError, match=r"12 of 12 masks do not exist: .*m00\.png.*\(2 more\)\. .*--mask-root"):
        read_mask_truth(write_truth(tmp_path, image_ids="a\n", localization=lines))


def test_boxes_in_place_of_masks_are_recognised(tmp_path):
    folder = write_truth(tmp_path, image_ids="a\n", localization="a,1,1,2,2\n")
    with pytest.raises(DataError, match=r"line 1: expected id,mask,ignore, found a box\..*--metric boxes"):
        read_text_masks(folder, None)


def test_a_damaged_mask_is_named(tmp_path):
    (tmp_path / "m.png").write_text("no image")
    truth = read_text_masks(write_truth(tmp_path, image_ids="a\n", localization="a,m.png,\n"), None)
    with pytest.raises(DataError, match=r"m\.png cannot be read: not an image file"):
        protocol_masks(truth, 0, 4)


def write_manifest(folder: Path) -> Path:
    """Two images in test, one in val without box and mask."""
    root = folder / "images"
    write_mask(root / "m.png", [[1, 0], [0, 0]])
    columns = {
        "image_id": ["t1", "t2", "v1"],
        "path": ["t1.jpg", "t2.jpg", "v1.jpg"],
        "split": ["test", "test", "val"],
        "labels": [[0], [1], [0]],
        "width": [448, 224, 10],
        "height": [224, 224, 10],
        "boxes": [[[0.0, 0.0, 20.0, 10.0], [2.0, 2.0, 4.0, 4.0]], [[1.0, 2.0, 3.0, 4.0]], []],
        "masks": [["m.png"], ["m.png"], []],
        "ignore_mask": [None, None, None],
        "part_mask": [None, None, None],
    }
    write_dataset(Dataset(pd.DataFrame(columns), ("a", "b"), root, "hash"), folder)
    return folder


@pytest.mark.parametrize("name", ["", "manifest.parquet"])
def test_boxes_of_a_manifest_are_those_of_the_split_that_has_maps(tmp_path, name):
    truth = read_truth(write_manifest(tmp_path) / name, masks=False, mask_root=None, mapped=["t2"])
    assert isinstance(truth, BoxTruth)
    assert truth.image_ids == ["t1", "t2"]
    assert protocol_boxes(truth, 0, 224).tolist() == [[0, 0, 10, 10], [1, 2, 2, 4]]
    assert protocol_boxes(truth, 1, 224).tolist() == [[1, 2, 3, 4]]


def test_masks_of_a_manifest(tmp_path):
    truth = read_truth(write_manifest(tmp_path), masks=True, mask_root=None, mapped=["t1"])
    assert isinstance(truth, MaskTruth)
    foreground, ignored = protocol_masks(truth, 1, 2)
    assert foreground.tolist() == [[True, False], [False, False]]
    assert not ignored.any()


def test_a_manifest_whose_image_root_is_elsewhere(tmp_path):
    folder = write_manifest(tmp_path)
    (folder / "images").rename(folder / "moved")
    assert read_truth(folder, masks=False, mask_root=None, mapped=["t1"]).image_ids == ["t1", "t2"]
    truth = read_truth(folder, masks=True, mask_root=folder / "moved", mapped=["t1"])
    assert isinstance(truth, MaskTruth)
    assert protocol_masks(truth, 0, 2)[0].any()
    with pytest.raises(DataError, match=r"image root .*images does not exist"):
        read_truth(folder, masks=True, mask_root=None, mapped=["t1"])


@pytest.mark.parametrize(("masks", "what"), [(True, "mask"), (False, "box")])
def test_a_split_without_truth_is_refused(tmp_path, masks, what):
    with pytest.raises(DataError, match=f"1 of 1 images of val have no {what}: v1"):
        read_truth(write_manifest(tmp_path), masks, None, ["v1"])


def test_maps_of_another_data_set_are_refused(tmp_path):
    with pytest.raises(DataError, match="no map bears an image_id"):
        read_truth(write_manifest(tmp_path), False, None, ["x"])


@pytest.mark.skipif(not METADATA.is_dir(), reason=f"needs the protocol's metadata in {METADATA}")
@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("CUB/test", [93.91, 59.60, 17.00]),
        ("CUB/val", [87.70, 45.20, 9.40]),
        ("ILSVRC/val", [74.94, 50.36, 25.66]),
    ],
)
def test_a_centred_gaussian_scores_as_published(split, expected):
    truth = read_text_boxes(METADATA / split)
    gaussian = gaussian_map(224, 56)
    image = quantize(normalize_map(gaussian))
    boxes = largest_boxes(image)
    curve = ThresholdCurve(0.001, (0.3, 0.5, 0.7))
    for position in range(len(truth.image_ids)):
        curve.add(iou(boxes, protocol_boxes(truth, position, 224)).max(axis=1), standard_value(image))
    assert curve.max_box_acc() == pytest.approx(expected, abs=0.01)
