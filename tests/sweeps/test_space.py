"""Files of sweeps: what is accepted, what is refused and why, which trials follow."""

import itertools
import math
import re
import shutil
import time
from pathlib import Path

import pytest
import yaml

from pipeline.errors import ParamsError
from pipeline.overrides import override
from pipeline.sweeps.space import LogUniform, Uniform, read_sweep

ROOT = Path(__file__).parents[2]
FILE = Path("sweep.yaml")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, with the committed parameters."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(**keys):
    FILE.write_text(yaml.safe_dump({"name": "s", "method": "grid", "space": {"seed": [0]}} | keys, sort_keys=False))
    return FILE


def trials(**keys):
    return [dict(trial.overrides) for trial in read_sweep(write(**keys)).trials]


def refused(**keys):
    with pytest.raises(ParamsError) as error:
        read_sweep(write(**keys))
    return str(error.value)


def test_a_grid_has_every_combination_once():
    found = trials(space={"train.lambda": [0.0, 0.01], "seed": [0, 1, 2]})
    expected = [{"train.lambda": a, "seed": b} for a, b in itertools.product([0.0, 0.01], [0, 1, 2])]
    assert found == expected


def test_trials_carry_all_parameters():
    FILE.write_text("name: s\nmethod: grid\nspace:\n  train.lambda: [0.0, 1e-2]\n")
    sweep = read_sweep(FILE)
    assert [trial.number for trial in sweep.trials] == [1, 2]
    assert [trial.params.train.lambda_ for trial in sweep.trials] == [0.0, 0.01]
    assert (sweep.name, sweep.metric, sweep.keys) == ("s", "gt_known_iou50", ("train.lambda",))
    assert sweep.settings == {
        "method": "grid", "metric": "val.gt_known_iou50", "base": "params.yaml", "trials": "2",
        "space.train.lambda": "[0.0, 0.01]",
    }  # fmt: skip


def test_trials_of_one_training_follow_each_other():
    found = trials(space={"localize.percentile": [80, 90], "seed": [0, 1], "train.lambda": [0.0, 0.01]})
    trainings = [(trial["seed"], trial["train.lambda"]) for trial in found]
    assert trainings == [t for t in itertools.product([0, 1], [0.0, 0.01]) for _ in range(2)]
    assert [trial["localize.percentile"] for trial in found] == [80, 90] * 4


RANDOM = {
    "method": "random", "trials": 20,
    "space": {"train.lr": {"log_uniform": [1e-5, 1]}, "train.momentum": {"uniform": [0.8, 0.9]}, "seed": [3, 4]},
}  # fmt: skip


def test_draws_repeat_and_follow_the_seed():
    first = trials(**RANDOM)
    assert first == trials(**RANDOM) == trials(**RANDOM, seed=0)
    assert first != trials(**RANDOM, seed=1)
    assert trials(**RANDOM | {"trials": 5}) == first[:5]


def test_draws_are_those_of_the_formula():
    """The first three numbers of Python's generator for seed 0 are 0.844…, 0.757… and 0.420…."""
    assert trials(**RANDOM)[0] == {"train.lr": 0.166767, "train.momentum": 0.875795, "seed": 3}


def test_draws_are_within_their_ends_and_spread_over_them():
    found = trials(**RANDOM | {"trials": 400})
    rates = [math.log10(trial["train.lr"]) for trial in found]
    assert all(-5 <= rate <= 0 for rate in rates)
    counts = [sum(low <= rate < low + 1 for rate in rates) for low in range(-5, 0)]
    assert all(50 <= count <= 110 for count in counts), "each power of ten is as likely"
    assert all(0.8 <= trial["train.momentum"] <= 0.9 for trial in found)
    assert {trial["seed"] for trial in found} == {3, 4}


@pytest.mark.parametrize("kind", [Uniform, LogUniform])
def test_quantiles_have_six_digits(kind):
    assert kind(0.25, 4.0).draw(0.0) == 0.25
    assert kind(0.25, 4.0).draw(0.5) == {Uniform: 2.125, LogUniform: 1.0}[kind]
    assert kind(1.0, 3.0).draw(1 / 3) == {Uniform: 1.66667, LogUniform: 1.44225}[kind]


def test_a_random_search_over_lists_repeats_no_trial():
    found = trials(method="random", trials=6, space={"seed": [0, 1, 2], "train.lambda": [0.0, 0.01]})
    assert len({tuple(trial.items()) for trial in found}) == 6


def test_thousands_of_trials_are_validated_in_seconds():
    start = time.monotonic()
    assert len(trials(**RANDOM | {"trials": 2000})) == 2000
    assert time.monotonic() - start < 20  # where each one's text is written and parsed it takes two minutes


def test_of_thousands_of_wrong_trials_some_are_named():
    message = refused(**RANDOM | {"trials": 2000, "space": {"train.lr": {"uniform": [-2, -1]}}})
    assert "2000 of 2000 trials are not valid" in message
    assert message.endswith("… and 1,980 more\nNothing was run or changed.")
    assert len(message.splitlines()) < 50


def test_more_trials_than_are_run_are_refused():
    assert "trials: Input should be less than or equal to 10000, found 10001" in refused(**RANDOM | {"trials": 10_001})


def test_more_trials_than_combinations_are_refused():
    assert "space has only 2 combinations; use a grid" in refused(method="random", trials=3, space={"seed": [0, 1]})


def test_the_base_may_be_a_preset_by_name(folder):
    (folder / "presets").symlink_to(ROOT / "presets")
    sweep = read_sweep(write(base="benchmark_adl"))
    assert [trial.params.train.erasing for trial in sweep.trials] == ["adl"]
    assert sweep.settings["base"] == "benchmark_adl"


def test_the_base_replaces_the_parameters(folder):
    text = (folder / "params.yaml").read_text()
    (folder / "preset.yaml").write_text(override(text, {"train.epochs": 3}))
    sweep = read_sweep(write(base="preset.yaml"))
    assert sweep.trials[0].params.train.epochs == 3
    assert sweep.base == (folder / "preset.yaml").read_text()
    assert "base: " in refused(base="nothing.yaml")


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ("test.gt_known_iou50", "by the images they are then judged on; rank by val.gt_known_iou50"),
        ("gt_known_iou50", "name an accuracy of val"),
        ("val.entropy", "name an accuracy of val"),
        ("val.oracle_threshold_iou50", "name an accuracy of val"),
        ("val.gt_known_iou40", "val.gt_known_iou40 is not measured; evaluate.iou is [0.3, 0.5, 0.7]"),
    ],
)
def test_a_metric_that_cannot_rank_is_refused(metric, reason):
    assert reason in refused(metric=metric)


@pytest.mark.parametrize("metric", ["val.cls_top1", "val.pxap", "val.max_box_acc_v2", "val.max_box_acc_v2_iou70"])
def test_accuracies_of_val_rank(metric):
    assert read_sweep(write(metric=metric)).metric == metric.removeprefix("val.")


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"method": "bayes"}, "method: Input should be 'grid' or 'random', found 'bayes'"),
        ({"nmae": "x"}, "nmae: unknown key; did you mean name?"),
        ({"name": "a/b"}, "name: "),
        ({"space": {}}, "space: "),
        ({"method": "random"}, "trials: missing"),
        ({"trials": 3}, "trials and seed belong to method: random"),
        ({"space": {"train.lr": {"uniform": [0.1, 1]}}}, "space.train.lr: a grid takes lists only"),
        ({"space": {"train.lr": 0.1}}, "space.train.lr: give a list of values"),
        ({"space": {"train.lr": {"normal": [0, 1]}}}, "space.train.lr: give a list of values"),
        ({"space": {"train.lr": {"uniform": [1, 0]}}}, "the smaller one first, found [1, 0]"),
        ({"space": {"train.lr": {"log_uniform": [0, 1]}}}, "both ends must be above 0"),
        ({"space": {"train.lr": []}}, "the list is empty"),
        ({"space": {"seed": [1, 2, 1]}}, "space.seed: 1 stands twice"),
        ({"space": {"seed": list(range(200)), "train.epochs": list(range(200))}}, "40000 combinations; at most 10000"),
        ({"space": {"track.experiment": ["a", "b"]}}, "space.track.experiment: all trials of a sweep are filed under"),
        ({"space": {"prepare.seed": [0, 1]}}, "space.prepare.seed: all trials of a sweep are compared on"),
        ({"space": {"prepare.synthetic.classes": [2, 3]}}, "are compared on the same images"),
        ({"space": {"promote.floor": [0.0, 50.0]}}, "are judged by the same rules; set it in the base"),
    ],
)
def test_a_wrong_file_is_refused_with_the_reason(keys, reason):
    assert reason in refused(**keys)


def test_an_unknown_key_is_named_once_with_the_nearest():
    message = refused(space={"train.lamda": [0.0, 0.1]})
    assert message.count("train.lamda: unknown key; did you mean train.lambda?") == 1


def test_all_invalid_trials_are_named():
    message = refused(space={"train.lr": [0.1, -1.0], "train.crop": [96, 500]})
    assert message.startswith("sweep.yaml: 3 of 4 trials are not valid:\n  trial 2 (train.lr=0.1, train.crop=500)")
    assert "trial 3 (train.lr=-1.0, train.crop=96)" in message
    assert "trial 4 (train.lr=-1.0, train.crop=500)" in message
    assert message.count("Nothing was run or changed.") == 1


def test_a_missing_or_damaged_file_is_named():
    with pytest.raises(ParamsError, match=r"nothing\.yaml does not exist"):
        read_sweep(Path("nothing.yaml"))
    FILE.write_text("name: [")
    with pytest.raises(ParamsError, match="not valid YAML"):
        read_sweep(FILE)
    FILE.write_text("- a\n")
    with pytest.raises(ParamsError, match="the file: "):
        read_sweep(FILE)


def test_the_documented_example_is_valid():
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/sweeps.md").read_text(), re.DOTALL)
    FILE.write_text(example)
    sweep = read_sweep(FILE)
    assert (sweep.name, len(sweep.trials)) == ("lambda", 30)


def test_numbers_with_too_few_different_values_end_the_search():
    space = {"train.lambda": {"uniform": [0.1, 0.1000002]}, "seed": [0, 1]}
    assert "trials: 50, but space has only 2 different ones" in refused(method="random", trials=50, space=space)


@pytest.mark.parametrize(
    "changes",
    [
        {"base": "b" * 300}, {"name": "n" * 200}, {"seed": 10**30}, {"space": {"seed": ["x" * 100_000] * 2}},
        {"space": {f"k{n}": [1] for n in range(2000)}}, {"metric": "m" * 100_000},
    ],
)  # fmt: skip
def test_what_is_far_too_large_is_refused_in_few_words(changes):
    assert len(refused(**changes)) < 2000


def test_scalars_that_yaml_readers_take_differently_are_refused_in_a_sweep():
    FILE.write_text("name: s\nmethod: grid\nspace: {seed: [010]}\n")
    with pytest.raises(ParamsError, match=r"sweep.yaml, line 3: space.seed.0: 010 "):
        read_sweep(FILE)
    with pytest.raises(ParamsError, match="cannot be read"):
        read_sweep(Path("x" * 300))
