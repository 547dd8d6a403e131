"""Setting val aside."""

from collections import Counter

from pipeline.data.source import Sample
from pipeline.data.splits import with_val


def samples(per_class=10, classes=3):
    return [Sample(f"{label}_{i}", "x", "train", (label,)) for label in range(classes) for i in range(per_class)]


def test_val_is_stratified_and_taken_out_of_train():
    result = with_val(samples(), 0.3, seed=0)
    assert [s.image_id for s in result] == [s.image_id for s in samples()]
    assert Counter((s.split, s.labels[0]) for s in result) == Counter(
        {(split, label): n for label in range(3) for split, n in (("train", 7), ("val", 3))}
    )


def test_the_seed_decides_which():
    chosen = [{s.image_id for s in with_val(samples(), 0.3, seed) if s.split == "val"} for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_test_images_stay():
    test = [Sample("t", "x", "test", (0,))]
    assert with_val([*samples(), *test], 0.3, 0)[-1] == test[0]


def test_a_val_split_of_the_data_sets_own_is_kept():
    given = [*samples(), Sample("v", "x", "val", (0,))]
    assert with_val(given, 0.3, 0) == given
