"""The numbers and the name by which a list of runs shows one."""

import math
from pathlib import Path
from typing import get_args

import pytest

from pipeline.params import ExtractCamsParams, TrainParams, load_params, replaced
from pipeline.records import Training
from pipeline.tracking.headlines import ERASING, HEADS, MAPS, REGULARIZERS, headlines, run_name
from tests.sample_result import REPOSITORY

TRAINING = Training(
    train_key="a", device="CPU", seconds=90.0, parameters=1, selected_epoch=1, weights={}, history="", model="",
    identity="",
)  # fmt: skip
TEST = {
    "gt_known_iou30": 91.23456, "gt_known_iou50": 81.23456, "gt_known_iou70": 41.0, "max_box_acc_iou50": 83.333333,
    "pxap": 70.005001, "cls_top1": 99.166667, "top1_loc_iou50": 80.5, "center_gaussian_max_box_acc_iou50": 20.3,
    "entropy": 0.12345, "mean_iou": 60.0,
}  # fmt: skip


def test_the_numbers_are_rounded_and_listed_first():
    metrics = {"threshold": 0.50249, "val": {"gt_known_iou50": 83.335001, "cls_top1": 99.0}, "test": TEST}
    found = headlines(metrics, TRAINING)
    assert found == {
        "GT-known 0.3": 91.23, "GT-known 0.5": 81.23, "GT-known 0.7": 41.0, "MaxBoxAcc 0.5": 83.33, "PxAP": 70.01,
        "Top-1 cls": 99.17, "Top-1 loc 0.5": 80.5, "Val GT-known 0.5": 83.34, "Val Top-1 cls": 99.0,
        "Over Gaussian": 60.93, "Entropy": 0.123, "Tau": 0.502, "Training minutes": 1.5,
    }  # fmt: skip
    # MLflow's page sorts by code point: all other names begin with a small letter.
    assert max(found) < "a"
    # Some databases take names that differ in case alone for the same.
    assert "threshold" not in {name.lower() for name in found}


def test_what_was_not_measured_is_left_out():
    metrics = {"threshold": 0.2, "val": {"cls_top1": 99.0}, "test": {"cls_top1": 98.0, "pxap": math.nan}}
    assert headlines(metrics, TRAINING) == {
        "Top-1 cls": 98.0, "Val Top-1 cls": 99.0, "Tau": 0.2, "Training minutes": 1.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, "CAM KL0.0001 τ0.502 s0 resnet18 synthetic"),
        ({"extract_cams.clamp_negative_weights": True, "seed": 3}, "NWC KL0.0001 τ0.502 s3 resnet18 synthetic"),
        (
            {"train.regularizer": "none", "train.erasing": "has", "localize.standard": "percentile"},
            "HaS CAM PaS 90 τ0.502 s0 resnet18 synthetic",
        ),
        (
            {"train.head": "tap", "extract_cams.method": "ddt", "train.lambda": 0.0},
            "TAP DDT KL0 τ0.502 s0 resnet18 synthetic",
        ),
    ],
)
def test_the_name_says_what_differs(values, name):
    params = replaced(load_params(Path(REPOSITORY / "params.yaml")), values)
    assert run_name(params, 0.50249) == name


@pytest.mark.parametrize(
    ("group", "key", "words"),
    [
        (TrainParams, "head", HEADS),
        (TrainParams, "erasing", ERASING),
        (TrainParams, "regularizer", {**REGULARIZERS, "none": ""}),
        (ExtractCamsParams, "method", MAPS),
    ],
)
def test_every_method_has_its_word(group, key, words):
    assert set(words) == set(get_args(group.model_fields[key].annotation))
