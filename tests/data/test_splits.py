"""Setting test, val and gate aside."""

from collections import Counter

from pipeline.data.source import Sample
from pipeline.data.splits import set_aside


def samples(per_class=10, classes=3):
    return [Sample(f"{label}_{i}", "x", "train", (label,)) for label in range(classes) for i in range(per_class)]


def test_val_is_stratified_and_taken_out_of_train():
    result = set_aside(samples(), 0.0, 0.3, 0.0, seed=0)
    assert [s.image_id for s in result] == [s.image_id for s in samples()]
    assert Counter((s.split, s.labels[0]) for s in result) == Counter(
        {(split, label): n for label in range(3) for split, n in (("train", 7), ("val", 3))}
    )


def test_the_seed_decides_which():
    chosen = [{s.image_id for s in set_aside(samples(), 0.0, 0.3, 0.0, seed) if s.split == "val"} for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_test_images_stay():
    test = [Sample("t", "x", "test", (0,))]
    assert set_aside([*samples(), *test], 0.0, 0.3, 0.3, 0)[-1] == test[0]


def test_a_val_split_of_the_data_sets_own_is_kept():
    given = [*samples(), Sample("v", "x", "val", (0,))]
    assert set_aside(given, 0.0, 0.3, 0.0, 0) == given


def ids(result, split):
    return {s.image_id for s in result if s.split == split}


def test_gate_is_stratified_too():
    alone, both = (set_aside(samples(), 0.0, 0.3, gate, 0) for gate in (0.0, 0.2))
    counts = Counter((s.split, s.labels[0]) for s in both)
    assert counts == {(split, n): k for n in range(3) for split, k in (("train", 5), ("val", 3), ("gate", 2))}
    assert not ids(alone, "gate")
    assert ids(set_aside(samples(), 0.0, 0.3, 0.2, 1), "gate") != ids(both, "gate")


def test_images_that_are_added_leave_nearly_all_of_gate_there():
    """Of 100 of a class 20 are gate; with one more all but one stay, and at most one was trained on before."""
    few, more = (set_aside(samples(count, 1), 0.0, 0.3, 0.2, 0) for count in (100, 101))
    assert len(ids(few, "gate") & ids(more, "gate")) >= 19
    assert len(ids(few, "train") & ids(more, "gate")) <= 1


def test_a_gate_of_the_data_sets_own_is_kept_and_takes_nothing_from_train():
    given = [*samples(), Sample("g", "x", "gate", (0,))]
    assert ids(set_aside(given, 0.0, 0.3, 0.2, 0), "gate") == {"g"}
    assert ids(set_aside(given, 0.0, 0.3, 0.2, 0), "train") == ids(set_aside(given, 0.0, 0.3, 0.0, 0), "train")


def test_a_test_split_is_set_aside_first_where_there_is_none():
    found = set_aside(samples(), 0.2, 0.25, 0.25, 0)
    counts = Counter((s.split, s.labels[0]) for s in found)
    assert counts == {(split, n): k for n in range(3)
                      for split, k in (("train", 4), ("val", 2), ("gate", 2), ("test", 2))}  # fmt: skip
    more = set_aside(samples(11), 0.2, 0.25, 0.25, 0)
    assert len(ids(found, "test") & ids(more, "test")) >= 5
    assert ids(set_aside(samples(), 0.2, 0.25, 0.25, 1), "test") != ids(found, "test")


def test_a_test_split_of_the_data_sets_own_is_kept():
    given = [*samples(), Sample("t", "x", "test", (0,))]
    assert ids(set_aside(given, 0.5, 0.25, 0.0, 0), "test") == {"t"}
