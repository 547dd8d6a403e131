"""What a list of runs shows of one: its name, and the few numbers that runs are compared by, rounded.

MLflow lists metrics by name, capitals first, shows every digit it has, and cuts names after some 20 letters. The full
numbers are logged beside under their names in ``metrics.json``.
"""

import math
from collections.abc import Mapping
from typing import Any

from pipeline.params import Params, TrainParams
from pipeline.records import Training

GT_KNOWN, VAL_GT_KNOWN = "GT-known 0.5", "Val GT-known 0.5"
OVER_GAUSSIAN = "Over Gaussian"
ENTROPY, MINUTES = "Entropy", "Training minutes"
#: Not "Threshold": databases that ignore case would take it for the full number's name.
TAU = "Tau"
#: Accuracies in percent, by their keys in ``metrics.json``.
ACCURACIES: Mapping[str, tuple[str, str]] = {
    "GT-known 0.3": ("test", "gt_known_iou30"),
    GT_KNOWN: ("test", "gt_known_iou50"),
    "GT-known 0.7": ("test", "gt_known_iou70"),
    "MaxBoxAcc 0.5": ("test", "max_box_acc_iou50"),
    "PxAP": ("test", "pxap"),
    "Top-1 cls": ("test", "cls_top1"),
    "Top-1 loc 0.5": ("test", "top1_loc_iou50"),
    VAL_GT_KNOWN: ("val", "gt_known_iou50"),
    "Val Top-1 cls": ("val", "cls_top1"),
}

HEADS = {"gap": "", "gmp": "GMP", "tap": "TAP", "conv": "Conv", "acol": "ACoL"}
ERASING = {"none": "", "has": "HaS", "cutmix": "CutMix", "adl": "ADL", "rdap": "RDAP", "ae": "AE"}
MAPS = {
    "cam": "CAM", "grad_cam": "Grad-CAM", "grad_cam_plus_plus": "Grad-CAM++", "layer_cam": "LayerCAM", "ddt": "DDT",
}  # fmt: skip
REGULARIZERS = {
    "kl_uniform": "KL", "kl_uniform_sum": "KLsum", "confidence_penalty": "CP", "jeffreys": "Jeffreys",
    "jensen_shannon": "JS", "label_smoothing": "LS",
}  # fmt: skip


def headlines(metrics: Mapping[str, Any], training: Training) -> dict[str, float]:
    """The headline metrics of a result by name; what was not measured is left out.

    Args:
        metrics: content of ``metrics.json``.
        training: of the result's model.
    """
    test = metrics["test"]
    found = {name: metrics[split].get(key, math.nan) for name, (split, key) in ACCURACIES.items()}
    # The Gaussian's best threshold on test against the one chosen on val: the gain is not flattered.
    found[OVER_GAUSSIAN] = found[GT_KNOWN] - test.get("center_gaussian_max_box_acc_iou50", math.nan)
    found[ENTROPY] = test.get("entropy", math.nan)
    found |= {TAU: metrics["threshold"], MINUTES: training.seconds / 60}
    digits = {ENTROPY: 3, TAU: 3}
    return {name: round(value, digits.get(name, 2)) for name, value in found.items() if math.isfinite(value)}


def run_name(params: Params, tau: float) -> str:
    """Such as ``NWC KL0.0001 τ0.31 s0 resnet18 synthetic``: what differs most often stands first."""
    train, maps, localize = params.train, params.extract_cams, params.localize
    words = (
        HEADS[train.head],
        ERASING[train.erasing],
        "NWC" if maps.clamp_negative_weights else MAPS[maps.method],
        f"PaS {localize.percentile:g}" if localize.standard == "percentile" else "",
        _regularizer(train),
        f"τ{tau:.3g}",
        f"s{params.seed}",
        train.backbone,
        params.prepare.dataset,
    )
    return " ".join(word for word in words if word)


def _regularizer(train: TrainParams) -> str:
    return "" if train.regularizer == "none" else f"{REGULARIZERS[train.regularizer]}{train.lambda_:g}"
