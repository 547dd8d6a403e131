"""What the tables of ``docs/results.md`` compare: methods, data sets, networks, seeds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.tables.runs import Setting, setting
from pipeline.params import PARAMS_FILE

PLAIN: Mapping[str, Any] = {"train.regularizer": "none", "train.lambda": 0.0}
CLAMP = {"extract_cams.clamp_negative_weights": True}
PERCENTILE = {"localize.standard": "percentile", "localize.percentile": 90}
DDT = {"extract_cams.method": "ddt"}
FROZEN = {"train.freeze_backbone": True}
LAMBDAS = ("0.0001", "0.01", "0.1")


def _kl(weight: str) -> dict[str, Any]:
    return {"train.regularizer": "kl_uniform", "train.lambda": float(weight)}


#: Name in the table → settings on top of the data set's own. Methods of the map follow the training they share.
METHODS: Mapping[str, Mapping[str, Any]] = {
    "CAM": {},
    "NWC": CLAMP,
    "PaS 90": PERCENTILE,
    "NWC + PaS 90": CLAMP | PERCENTILE,
    "Grad-CAM++": {"extract_cams.method": "grad_cam_plus_plus"},
    "LayerCAM": {"extract_cams.method": "layer_cam"},
    "DDT": DDT,
    "CAM, 448 pixels": {"train.resize": 512, "train.crop": 448},
    "NWC, 448 pixels": {"train.resize": 512, "train.crop": 448} | CLAMP,
    "DDT, frozen backbone": DDT | FROZEN,
    "DDT, frozen backbone, 224 pixels": DDT | FROZEN,
    "GMP": {"train.head": "gmp"},
    "TAP 0.1": {"train.head": "tap"},
    "TAP 0.1 + NWC + PaS 90": {"train.head": "tap"} | CLAMP | PERCENTILE,
    **{f"KL {weight}": _kl(weight) for weight in LAMBDAS},
    **{f"KL {weight} + NWC": _kl(weight) | CLAMP for weight in LAMBDAS},
    "Jeffreys 0.1": {"train.regularizer": "jeffreys", "train.lambda": 0.1},
    "Jensen-Shannon 0.1": {"train.regularizer": "jensen_shannon", "train.lambda": 0.1},
    "confidence penalty 0.1": {"train.regularizer": "confidence_penalty", "train.lambda": 0.1},
    "label smoothing 0.1": {"train.regularizer": "label_smoothing", "train.lambda": 0.1},
    "HaS": {"train.erasing": "has"},
    "CutMix": {"train.erasing": "cutmix"},
    "ADL": {"train.erasing": "adl"},
    "RDAP": {"train.erasing": "rdap"},
    "ACoL": {"train.head": "acol"},
    "ACoL, first branch": {"train.head": "acol", "extract_cams.acol_map": "first"},
    "ACoL, second branch": {"train.head": "acol", "extract_cams.acol_map": "second"},
    "ACoL + NWC": {"train.head": "acol"} | CLAMP,
    "AE, two steps": {"train.erasing": "ae"},
}
PROBE_ONLY = ("Jeffreys 0.1", "Jensen-Shannon 0.1", "ACoL, first branch", "ACoL, second branch")
#: These need pretrained features or images larger than the probe's.
REAL_ONLY = ("DDT, frozen backbone", "DDT, frozen backbone, 224 pixels", "CAM, 448 pixels", "NWC, 448 pixels")
#: Fine-tuning from ImageNet weights, the same for all networks and data sets; none of it was tuned.
FINE_TUNING = {
    "prepare.gate_fraction": 0.0, "train.resize": 256, "train.crop": 224, "train.epochs": 8,
    "train.lr": 0.001, "train.head_lr_factor": 10.0, "train.freeze_batch_norm": True, "train.precision": "bfloat16",
    "train.acol_width": 256,
}  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A backbone with ImageNet weights.

    Attributes:
        weights: name of the file.
        layers: of the backbone, from which DDT's is chosen.
        left_out: methods that are not compared on it.
    """

    weights: str
    layers: tuple[str, ...]
    left_out: tuple[str, ...] = ()


#: On the second network only what the first one's table says of maps and of λ is looked at again.
ERASING_AND_POOLING = ("GMP", "TAP 0.1", "TAP 0.1 + NWC + PaS 90", "confidence penalty 0.1", "label smoothing 0.1",
                       "HaS", "CutMix", "ADL", "RDAP", "ACoL", "ACoL + NWC", "AE, two steps")  # fmt: skip
NETWORKS = {
    "tf_efficientnet_lite0": Network(
        "tf_efficientnet_lite0.pth", ("blocks.3", "blocks.4", "blocks.5", "blocks.6", "bn2")
    ),
    "mobilenet_v2": Network(
        "mobilenet_v2_features.pth",
        ("features.10", "features.13", "features.16", "features.17", "features.18"),
        ERASING_AND_POOLING,
    ),
}
#: What :mod:`benchmarks.tables.designs` found: the designs of each network, the best on val first.
DESIGNS = Path("docs/results/ddt_designs.csv")


@dataclass(frozen=True)
class Bench:
    """A data set and a network, with what their results share.

    Attributes:
        settings: values on top of ``params.yaml``.
        seeds: their number.
        left_out: methods that are not compared here.
        own: further values by method.
    """

    name: str
    settings: Mapping[str, Any]
    seeds: int
    left_out: tuple[str, ...] = ()
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def results(self) -> Iterator[Setting]:
        """All results to be made, the first seed of every method first."""
        text = PARAMS_FILE.read_text()
        for seed in range(self.seeds):
            for method, values in METHODS.items():
                if method not in self.left_out:
                    own = self.own.get(method, {})
                    yield setting(method, text, {**PLAIN, **self.settings, "seed": seed, **values, **own})


def synthetic() -> Bench:
    """The probe: erasing in proportion to its images of 96 pixels and maps of 6 positions."""
    settings = {"train.epochs": 4, "train.has_sides": [0, 8, 12, 20, 24], "train.rdap_size": 3, "train.acol_width": 256}
    # Few positions carry the gradients of these poolings: they learn at a lower rate, if at all in this time.
    own = {method: {"train.lr": 0.005} for method in ("GMP", "TAP 0.1", "TAP 0.1 + NWC + PaS 90")}
    left_out = (*REAL_ONLY, *(f"KL {weight}" for weight in LAMBDAS[:2]), *(f"KL {weight} + NWC" for weight in LAMBDAS))
    return Bench("synthetic", settings, seeds=2, left_out=left_out, own=own)


def real(dataset: str, backbone: str, root: Path, weights: Path) -> Bench:
    """A data set of photos (``cub`` or ``pets``) and a network of :data:`NETWORKS`."""
    # The design of deep descriptor transforming is that of val of CUB everywhere.
    layer, side, stride = chosen_design(backbone)
    best, small = (design(layer, of, stride) for of in (side, 224))
    own: dict[str, Mapping[str, Any]] = {
        "DDT": best, "DDT, frozen backbone": best, "DDT, frozen backbone, 224 pixels": small,
    }  # fmt: skip
    # With the learning rate of the others the maximum does not learn: its gradients meet single positions.
    own["GMP"] = {"train.lr": 0.0002}
    left_out = PROBE_ONLY + NETWORKS[backbone].left_out
    settings = fine_tuned(dataset, backbone, root, weights)
    return Bench(f"{dataset}_{backbone}", settings, seeds=3, left_out=left_out, own=own)


def fine_tuned(dataset: str, backbone: str, root: Path, weights: Path) -> dict[str, Any]:
    """What all results of a network on a data set share."""
    return FINE_TUNING | {
        "prepare.dataset": dataset,
        "prepare.root": str(root.resolve()),
        "train.backbone": backbone,
        "train.pretrained": str(weights.resolve() / NETWORKS[backbone].weights),
    }


def design(layer: str, side: int, stride: int) -> dict[str, Any]:
    """Settings of DDT on one layer of a backbone with this stride, without context."""
    return {
        "train.stride": stride,
        "extract_cams.ddt_layers": [f"{layer}@{side}"],
        "extract_cams.ddt_context": 0.0,
    }


def chosen_design(backbone: str) -> tuple[str, int, int]:
    """Layer, side of the images and stride of the design that is best on val."""
    designs = pd.read_csv(DESIGNS)
    best = designs[designs["backbone"] == backbone].iloc[0]
    return str(best["layer"]), int(best["side"]), int(best["stride"])
