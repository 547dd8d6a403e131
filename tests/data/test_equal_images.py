"""Equal content in several splits or with several labels is counted and named."""

from pipeline.data.equal_images import find_equal, warn_of_equal
from pipeline.data.source import Sample

SAMPLES = [
    Sample("a", "a", "train", (0,)),
    Sample("b", "b", "test", (0,)),
    Sample("c", "c", "train", (1,)),
    Sample("d", "d", "train", (1,)),
    Sample("e", "e", "train", (0, 1)),
    Sample("f", "f", "train", (1, 0)),
]


def test_groups_by_hand(capsys):
    found = find_equal(SAMPLES, ["x", "x", "y", "x", "z", "z"])
    assert found == {
        "splits": {"groups": 1, "image_ids": [["a", "b", "d"]]},
        "labels": {"groups": 1, "image_ids": [["a", "b", "d"]]},
    }
    warn_of_equal(found)
    shown = capsys.readouterr().err
    assert "1 groups of images have the same content and lie in more than one split (by id): a = b = d." in shown
    assert "have more than one label" in shown


def test_no_group_no_word(capsys):
    found = find_equal(SAMPLES, list("uvwxyy"))  # the last two have the same labels, written in another order
    assert found == {kind: {"groups": 0, "image_ids": []} for kind in ("splits", "labels")}
    warn_of_equal(found)
    assert capsys.readouterr().err == ""


def test_of_many_groups_ten_are_named(capsys):
    samples = [Sample(f"{n}", "x", split, (0,)) for n, split in enumerate(["train", "test"] * 12)]
    found = find_equal(samples, [str(n // 2) for n in range(24)])
    assert (found["splits"]["groups"], len(found["splits"]["image_ids"])) == (12, 10)
    warn_of_equal(found)
    assert "18 = 19; … and 2 more" in capsys.readouterr().err
