"""Images and boxes that cannot be used are all found before anything is written."""

from dataclasses import replace

import pytest

from pipeline.data.checks import check_splits, inspect_images
from pipeline.data.cub import read_source
from pipeline.data.source import Sample, Source
from pipeline.errors import DataError
from tests.data.make_cub import write_cub


@pytest.fixture
def source(tmp_path):
    return read_source(write_cub(tmp_path / "cub"))


def test_sizes_boxes_and_hashes(source):
    facts = inspect_images(source)
    assert [(f.width, f.height) for f in facts] == [(60, 40)] * 12
    assert facts[0].boxes == source.samples[0].boxes
    assert len({f.digest for f in facts}) == 12
    assert inspect_images(source) == facts


def test_a_truncated_jpeg_is_named(source):
    path = source.root / source.samples[3].path
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match=rf"1 of 12 images cannot be used:\n  {path}: .*truncated"):
        inspect_images(source)


def test_other_damaged_files_are_named_with_the_reason(source):
    first, second = (source.root / sample.path for sample in source.samples[:2])
    first.write_text("not an image")
    second.unlink()
    with pytest.raises(DataError) as error:
        inspect_images(source)
    assert f"{first}: not an image file" in str(error.value)
    assert f"{second}: no such file" in str(error.value)


@pytest.mark.parametrize(
    "box", [(0, 0, 70, 10), (-5, 0, 10, 10), (10, 10, 10, 20), (20, 10, 10, 20), (0, 0, 10, float("nan"))]
)
def test_a_box_outside_its_image_or_without_area_is_named(source, box):
    source.samples[2] = replace(source.samples[2], boxes=(box,))
    with pytest.raises(DataError, match="box x0=.* of image 3 does not lie in the image of 60×40 pixels"):
        inspect_images(source)


def test_a_box_a_rounding_error_over_the_edge_is_clipped(source):
    source.samples[2] = replace(source.samples[2], boxes=((-0.5, 3, 60.7, 40.9),))
    assert inspect_images(source)[2].boxes == ((0.0, 3, 60.0, 40.0),)


def test_many_problems_are_counted_and_ten_named(source):
    bad = [replace(s, path=f"missing_{i}.jpg") for i, s in enumerate(source.samples)]
    with pytest.raises(DataError) as error:
        inspect_images(Source(source.root, source.classes, bad))
    assert "12 of 12 images" in str(error.value)
    assert str(error.value).count("no such file") == 10
    assert "and 2 more" in str(error.value)


def sample(image_id, split, label=0):
    return Sample(image_id, "x", split, (label,))


GOOD = [sample("a", "train"), sample("b", "val"), sample("c", "test"), sample("d", "train", 1)]


def test_good_splits_pass():
    check_splits(GOOD, ("one", "two"))


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_empty_split_is_named(split):
    with pytest.raises(DataError, match=f"split {split} has no image"):
        check_splits([s for s in GOOD if s.split != split], ("one",))


def test_a_class_without_training_image_is_named():
    with pytest.raises(DataError, match="1 classes have no training image: two"):
        check_splits(GOOD[:3], ("one", "two"))


def test_an_id_that_occurs_twice_is_named():
    with pytest.raises(DataError, match="image id a occurs more than once"):
        check_splits([*GOOD, sample("a", "test")], ("one", "two"))
