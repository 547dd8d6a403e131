"""Images and boxes that cannot be used are all found before anything is written."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.data.checks import check_splits, inspect_images
from pipeline.data.images import read_image
from pipeline.data.mask_files import read_mask
from pipeline.data.masks import Masks
from pipeline.data.sets import cub
from pipeline.data.source import Sample, Source
from pipeline.errors import DataError
from tests.data.hostile import READ, REFUSED, SPECIAL, encoded, turned
from tests.data.make_cub import write_cub
from tests.data.settings import prepare_settings


@pytest.fixture
def source(tmp_path):
    return cub.read_source(prepare_settings(write_cub(tmp_path / "cub")), Path())


def test_sizes_boxes_and_hashes(source):
    facts, _ = inspect_images(source)
    assert [(f.width, f.height) for f in facts] == [(60, 40)] * 12
    assert facts[0].boxes == source.samples[0].boxes
    assert len({f.digest for f in facts}) == 12
    assert inspect_images(source) == (facts, [])


def test_a_truncated_jpeg_is_named(source):
    path = source.root / source.samples[3].path
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match=rf"1 of 12 images cannot be used:\n  {path}: damaged or truncated"):
        inspect_images(source)


def test_what_cannot_be_used_may_be_left_out_and_is_told(source):
    gone, boxed, masked = source.samples[0], source.samples[1], source.samples[2]
    (source.root / gone.path).unlink()
    source.samples[1] = replace(boxed, boxes=(*boxed.boxes, (0, 0, 99, 99)))
    (source.root / "mask.png").write_bytes(b"no")
    source.samples[2] = replace(masked, masks=Masks(("mask.png",)))
    facts, problems = inspect_images(source, strict=False)
    assert [fact.sample.image_id for fact in facts] == [sample.image_id for sample in source.samples[1:]]
    assert (facts[0].boxes, facts[1].sample.masks) == (boxed.boxes, Masks())
    assert [(problem.path.rpartition("/")[2], problem.consequence) for problem in problems] == [
        (Path(gone.path).name, "left out"), (Path(boxed.path).name, "box left out"), ("mask.png", "mask left out"),
    ]  # fmt: skip


def test_a_mask_of_another_shape_is_named(source):
    source.samples[0] = replace(source.samples[0], masks=Masks(("wide.png",)))
    cv2.imwrite(str(source.root / "wide.png"), np.ones((40, 90), np.uint8))
    with pytest.raises(DataError, match=r"wide\.png: a mask of 90×40 pixels for an image of 60×40"):
        inspect_images(source)


def test_other_boxes_are_other_data(source):
    before = inspect_images(source)[0][0].digest
    source.samples[0] = replace(source.samples[0], boxes=((1, 2, 3, 4),))
    assert inspect_images(source)[0][0].digest != before


def test_other_damaged_files_are_named_with_the_reason(source):
    first, second = (source.root / sample.path for sample in source.samples[:2])
    first.write_text("not an image")
    second.unlink()
    with pytest.raises(DataError) as error:
        inspect_images(source)
    assert f"{first}: not an image file" in str(error.value)
    assert f"{second}: no such file" in str(error.value)


def refused_alike(source):
    """The first image is refused with its name by all that read images, within seconds."""
    path = source.root / source.samples[0].path
    with pytest.raises(DataError) as error:
        inspect_images(source)
    assert str(error.value).startswith(f"1 of 12 images cannot be used:\n  {path}: ")
    for read in (lambda path: read_image(path, upright=False), lambda path: read_mask(path, 8)):
        with pytest.raises(DataError, match=path.name):
            read(path)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_alike_by_all_is_refused_by_all(source, kind):
    (source.root / source.samples[0].path).write_bytes(REFUSED[kind])
    refused_alike(source)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", SPECIAL)
def test_only_regular_files_of_a_sane_size_are_opened(source, kind):
    path = source.root / source.samples[0].path
    path.unlink()
    SPECIAL[kind](path)
    refused_alike(source)


@pytest.mark.parametrize("kind", READ)
def test_the_size_is_the_one_that_the_network_sees_whatever_the_orientation_tag_says(source, kind):
    path = source.root / source.samples[0].path
    path.write_bytes(encoded(kind) if kind in ("TIFF", "GIF", "BMP") else turned(kind))
    fact = inspect_images(source)[0][0]
    assert (fact.height, fact.width) == read_image(path, upright=False).shape[:2] == (40, 60)


@pytest.mark.parametrize("path", ["../../secret.jpg", "/etc/passwd", "images/a\nb.jpg", "images/a\0b.jpg", "a/../../b"])
def test_no_path_leads_out_of_the_root(source, path):
    for changed in (replace(source.samples[0], path=path), replace(source.samples[0], masks=Masks((path,)))):
        source.samples[0] = changed
        with pytest.raises(DataError, match=r"leads out of the image root|holds a control character") as error:
            inspect_images(source)
        assert len(str(error.value).splitlines()) == 3


def test_a_name_in_another_unicode_form_is_pointed_out(source):
    path = source.root / source.samples[0].path
    path.rename(path.with_name("Mu\u0308we.jpg"))
    source.samples[0] = replace(source.samples[0], path=str(path.parent.relative_to(source.root) / "M\u00fcwe.jpg"))
    with pytest.raises(
        DataError, match=r"no such file; 1 of them .* differs only in Unicode form .*'Mu\\u0308we\.jpg'"
    ):
        inspect_images(source)


def test_the_hash_of_a_file_does_not_depend_on_its_mask(source):
    source.samples[1] = replace(source.samples[0], image_id="again", masks=Masks((source.samples[2].path,)))
    first, again = inspect_images(source)[0][:2]
    assert first.content == again.content
    assert again.digest != first.digest


@pytest.mark.parametrize(
    "box", [(0, 0, 70, 10), (-5, 0, 10, 10), (10, 10, 10, 20), (20, 10, 10, 20), (0, 0, 10, float("nan"))]
)
def test_a_box_outside_its_image_or_without_area_is_named(source, box):
    source.samples[2] = replace(source.samples[2], boxes=(box,))
    with pytest.raises(DataError, match=r"box x0=.* of image 3 does not lie in the image of 60×40 pixels"):
        inspect_images(source)


def test_a_box_a_rounding_error_over_the_edge_is_clipped(source):
    source.samples[2] = replace(source.samples[2], boxes=((-0.5, 3, 60.7, 40.9),))
    assert inspect_images(source)[0][2].boxes == ((0.0, 3, 60.0, 40.0),)


def test_many_problems_are_counted_and_ten_named(source):
    bad = [replace(s, path=f"missing_{i}.jpg") for i, s in enumerate(source.samples)]
    with pytest.raises(DataError) as error:
        inspect_images(Source(source.root, source.classes, bad))
    assert "12 of 12 images" in str(error.value)
    assert str(error.value).count("no such file") == 10
    assert "and 2 more" in str(error.value)


def sample(image_id, split, label=0):
    return Sample(image_id, f"{image_id}.jpg", split, (label,))


GOOD = [sample("a", "train"), sample("b", "val"), sample("c", "test"), sample("d", "train", 1),
        sample("e", "gate")]  # fmt: skip


def test_good_splits_pass():
    check_splits(GOOD, ("one", "two"), gate=True)
    check_splits(GOOD[:-1], ("one", "two"), gate=False)


@pytest.mark.parametrize("split", ["train", "val", "gate", "test"])
def test_an_empty_split_is_named(split):
    with pytest.raises(DataError, match=f"split {split} has no image"):
        check_splits([s for s in GOOD if s.split != split], ("one",), gate=True)


def test_a_class_without_training_image_is_named():
    with pytest.raises(DataError, match="1 classes have no training image: two"):
        check_splits(GOOD[:3], ("one", "two"), gate=False)


def test_an_id_that_occurs_twice_is_named():
    with pytest.raises(DataError, match=r"1 image ids occur more than once, .*:\n  a\n"):
        check_splits([*GOOD, sample("a", "test")], ("one", "two"), gate=False)


@pytest.mark.parametrize("change", [{"split": "test"}, {"labels": (1,)}, {"path": "./a.jpg"}])
def test_a_file_that_occurs_twice_is_named(change):
    again = replace(replace(sample("a", "train"), image_id="again"), **change)
    with pytest.raises(DataError, match=r"1 image files occur more than once, .*:\n  a\.jpg\n"):
        check_splits([*GOOD, again], ("one", "two"), gate=False)


def test_a_million_images_are_checked_for_repetition_at_once():
    many = [sample(str(number), ("train", "val", "test")[number % 3]) for number in range(50_000)]
    with pytest.raises(DataError, match="1 image ids occur more than once"):
        check_splits([*many, many[-1]], ("one",), gate=False)
