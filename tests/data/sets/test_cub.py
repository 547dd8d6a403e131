"""The official CUB layout, whole or in part, and what can be wrong with it."""

from pathlib import Path

import pytest

from pipeline.data.sets import cub
from pipeline.errors import DataError
from tests.data.make_cub import CLASSES, write_cub
from tests.data.settings import prepare_settings

REAL = Path(__file__).parents[4] / "shared/data/cub20/CUB_200_2011"


def read_source(root):
    return cub.read_source(prepare_settings(root), Path())


@pytest.fixture
def root(tmp_path):
    return write_cub(tmp_path / "CUB_200_2011")


def test_reads_classes_splits_and_boxes(root):
    source = read_source(root)
    assert source.classes == CLASSES
    assert source.root == root
    first, last = source.samples[0], source.samples[-1]
    assert (first.image_id, first.split, first.labels) == ("1", "train", (0,))
    assert (last.image_id, last.split, last.labels) == ("12", "test", (1,))
    assert first.path == f"images/{CLASSES[0]}/{CLASSES[0]}_0.jpg"
    x, y, *_ = map(float, (root / "bounding_boxes.txt").read_text().split()[1:5])
    assert first.boxes == ((x, y, x + 25, y + 20),)


def test_masks_are_read_where_they_were_unpacked(root):
    assert all(not sample.masks.files for sample in read_source(root).samples)
    (root / "segmentations").mkdir()
    sample = read_source(root).samples[0]
    assert sample.masks.files == (f"segmentations/{CLASSES[0]}/{CLASSES[0]}_0.png",)


def test_a_missing_file_is_named_with_the_way_out(root):
    (root / "classes.txt").unlink()
    with pytest.raises(DataError, match=r"has no classes\.txt.*CUB_200_2011 folder"):
        read_source(root)


def test_an_image_that_is_not_in_all_files_is_named(root):
    path = root / "bounding_boxes.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(DataError, match=r"bounding_boxes\.txt.* disagree on 1 images, the first 1\."):
        read_source(root)


def test_a_malformed_box_is_named(root):
    path = root / "bounding_boxes.txt"
    path.write_text(path.read_text().replace("3 ", "3 wide ", 1))
    with pytest.raises(DataError, match="image 3: expected x y width height"):
        read_source(root)


def test_a_line_without_values_is_named_by_number(root):
    path = root / "images.txt"
    path.write_text("1\n" + path.read_text())
    with pytest.raises(DataError, match=r"images\.txt:1: expected an id"):
        read_source(root)


def test_an_unknown_class_is_named(root):
    path = root / "image_class_labels.txt"
    path.write_text(path.read_text().replace("5 1\n", "5 9\n"))
    with pytest.raises(DataError, match=r"image 5 has a class that classes\.txt lacks"):
        read_source(root)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real images at {REAL}")
def test_real_images_in_the_official_layout():
    source = read_source(REAL)
    assert len(source.classes) == 20
    assert sum(s.split == "train" for s in source.samples) == 600
    assert sum(s.split == "test" for s in source.samples) == 585
    assert all((REAL / s.path).is_file() for s in source.samples)


def test_a_split_value_other_than_0_and_1_is_named(root):
    path = root / "train_test_split.txt"
    path.write_text(path.read_text().replace("2 1", "2 train", 1))
    with pytest.raises(DataError, match="image 2: expected 0 or 1, found 'train'"):
        read_source(root)


def test_an_id_that_stands_twice_is_named_with_its_line(root):
    path = root / "images.txt"
    path.write_text(path.read_text() + path.read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match=r"images\.txt:13: 1 occurs for the second time"):
        read_source(root)


def test_text_in_another_encoding_is_named(root):
    (root / "classes.txt").write_bytes("1 001.Möwe\n4 004.Ani\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"classes\.txt is not UTF-8"):
        read_source(root)


@pytest.mark.parametrize("name", ["two  blanks", " leading", "no-break\u00a0space", "line\u2028separator", "M\u00f6we"])
def test_the_id_ends_at_the_first_blank_and_the_name_is_taken_as_it_stands(root, name):
    path = root / "images.txt"
    path.write_text(path.read_text().replace(f"1 {CLASSES[0]}/{CLASSES[0]}_0.jpg", f"1 {name}.jpg", 1), newline="\n")
    assert read_source(root).samples[0].path == f"images/{name}.jpg"
    assert len(read_source(root).samples) == 12


@pytest.mark.parametrize("kind", ["\r\n", "\n"])
def test_lists_from_any_system_are_read_alike(root, kind):
    expected = read_source(root)
    for path in root.glob("*.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_text().replace("\n", kind).replace("1 ", "1\t").encode())
    assert read_source(root) == expected


def test_a_tab_within_a_name_is_not_taken_for_a_blank(root):
    path = root / "images.txt"
    path.write_text(path.read_text().replace(f"{CLASSES[0]}_0.jpg", "a\tb.jpg", 1))
    assert read_source(root).samples[0].path.endswith("/a\tb.jpg")
