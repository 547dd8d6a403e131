"""Every method on one footing: the tables of ``docs/results.md``, on the synthetic probe and on CUB.

``make methods`` runs the probe, ``make methods CUB=path/to/CUB_200_2011 WEIGHTS=folder`` CUB with ImageNet weights.
Each run has its own workspace; its figures go to ``docs/results/methods_DATA.csv`` and the IoU of every test image to
``methods_DATA_iou.csv``, from which the paired intervals are computed. Runs that are there are skipped, so the command
can be stopped and called again. Every run is in the MLflow experiment ``methods_DATA``.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.tables.runs import Result, mean_sd, replace_table, run
from pipeline.evaluation.bootstrap import paired_difference
from pipeline.evaluation.boxes import iou, largest_boxes, quantize, to_protocol
from pipeline.evaluation.score_maps import FRAME, gaussian_map
from pipeline.evaluation.scorer import GAUSSIAN_SIGMA
from pipeline.params import PARAMS_FILE

RESULTS = Path("docs/results")
PRESETS = Path("presets")
PAGE = Path("docs/results.md")
DELTA = 0.5
FIGURES = ("gt_known_iou30", "gt_known_iou50", "gt_known_iou70", "top1_loc_iou50", "cls_top1", "entropy",
           "max_box_acc_iou50", "max_box_acc_v2", "part_coverage", "object_coverage", "background_share")  # fmt: skip
PLAIN: Mapping[str, Any] = {"train.regularizer": "none", "train.lambda": 0.0}
CLAMP = {"extract_cams.clamp_negative_weights": True}
PERCENTILE = {"localize.standard": "percentile", "localize.percentile": 90}
#: Name in the table → settings on top of the data set's own. Methods of the map follow the training they share.
METHODS: Mapping[str, Mapping[str, Any]] = {
    "CAM": {},
    "NWC": CLAMP,
    "PaS 90": PERCENTILE,
    "NWC + PaS 90": CLAMP | PERCENTILE,
    "Grad-CAM++": {"extract_cams.method": "grad_cam_plus_plus"},
    "LayerCAM": {"extract_cams.method": "layer_cam"},
    "DDT, frozen backbone": {"extract_cams.method": "ddt", "train.freeze_backbone": True},
    "DDT, frozen backbone, three sources, flip": {},
    "DDT": {"extract_cams.method": "ddt"},
    "GMP": {"train.head": "gmp"},
    "TAP 0.1": {"train.head": "tap"},
    "TAP 0.1 + NWC + PaS 90": {"train.head": "tap"} | CLAMP | PERCENTILE,
    "KL 0.1": {"train.regularizer": "kl_uniform", "train.lambda": 0.1},
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


#: What CUB is spared.
PROBE_ONLY = ("Jeffreys 0.1", "Jensen-Shannon 0.1", "ACoL, first branch", "ACoL, second branch")


@dataclass(frozen=True)
class Bench:
    """A data set with what its runs share.

    Attributes:
        settings: values on top of the parameters file.
        seeds: their number by method, where it is not `default_seeds`.
        own: further values by method.
        preset: the parameters file that all start from.
        presets: that of a method which has one for itself.
    """

    name: str
    settings: Mapping[str, Any]
    seeds: Mapping[str, int]
    default_seeds: int = 1
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    preset: Path = PARAMS_FILE
    presets: Mapping[str, Path] = field(default_factory=dict)

    def rows(self) -> Iterator[tuple[str, int]]:
        """Method and seed of every run, the first seed of all methods first."""
        for seed in range(max([self.default_seeds, *self.seeds.values()])):
            for method in METHODS:
                if seed < self.seeds.get(method, self.default_seeds):
                    yield method, seed

    def overrides(self, method: str, seed: int) -> dict[str, Any]:
        """Values of one run, on top of those of :meth:`params`."""
        shared = {"seed": seed, "track.experiment": f"methods_{self.name}"}
        return {**PLAIN, **self.settings, **shared, **METHODS[method], **self.own.get(method, {})}

    def params(self, method: str) -> str:
        """Text of the parameters file that a run starts from."""
        return self.presets.get(method, self.preset).read_text()


def synthetic() -> Bench:
    """The probe: erasing in proportion to its images of 96 pixels and maps of 6 positions."""
    settings = {"train.epochs": 4, "train.has_sides": [0, 8, 12, 20, 24], "train.rdap_size": 3, "train.acol_width": 256}
    # Few positions carry the gradients of these poolings: they learn at a lower rate, if at all in this time.
    own = {method: {"train.lr": 0.005} for method in ("GMP", "TAP 0.1", "TAP 0.1 + NWC + PaS 90")}
    # There are no pretrained features to freeze.
    frozen = {method: 0 for method in METHODS if "frozen" in method}
    return Bench("synthetic", settings, default_seeds=2, seeds=frozen, own=own)


def cub(root: Path, weights: Path) -> Bench:
    """CUB, MobileNetV2 from ImageNet weights, as its presets say."""
    settings = {
        "prepare.root": str(root.resolve()),
        "train.pretrained": str(weights.resolve() / "mobilenet_v2_features.pth"),
        "train.acol_width": 256,
    }
    layers = {"extract_cams.ddt_layers": ["features.17@448", "features.13@448"]}
    own: dict[str, Mapping[str, Any]] = dict.fromkeys(("DDT", "DDT, frozen backbone"), layers)
    # With the learning rate of the others the maximum does not learn: its gradients meet single positions.
    own["GMP"] = {"train.lr": 0.0002}
    # Maps of a frozen backbone are the same for every seed.
    best = ("CAM", "NWC", "NWC + PaS 90")
    seeds = dict.fromkeys(best, 3) | dict.fromkeys(PROBE_ONLY, 0)
    presets = {"DDT, frozen backbone, three sources, flip": PRESETS / "cub_ddt.yaml"}
    preset = PRESETS / "cub_mobilenet_v2.yaml"
    return Bench("cub", settings, seeds=seeds, own=own, preset=preset, presets=presets)


class Table:
    """The files of one data set's results."""

    def __init__(self, name: str) -> None:
        self.figures_file, self.iou_file = RESULTS / f"methods_{name}.csv", RESULTS / f"methods_{name}_iou.csv"
        self.name = name
        self.figures = _read(self.figures_file, ["method", "seed"])
        self.ious = _read(self.iou_file, ["image_id"])

    def has(self, method: str, seed: int) -> bool:
        """Whether this run is done."""
        return bool(((self.figures["method"] == method) & (self.figures["seed"] == seed)).any())

    def add(self, method: str, seed: int, result: Result) -> None:
        """Write one run's figures and IoUs."""
        test = result.metrics["test"]
        row = {"method": method, "seed": seed, "threshold": result.metrics["threshold"]}
        row |= {name: test[name] for name in FIGURES if name in test}
        row |= {"train_seconds": result.training["seconds"], "device": result.training["device"]}
        self.figures = pd.concat([self.figures, pd.DataFrame([row])], ignore_index=True)
        column = result.per_image["iou"].rename(f"{method}/{seed}")
        if self.ious.empty:
            gaussian = pd.Series(gaussian_ious(result.manifest), name="Gaussian").reindex(column.index)
            self.ious = gaussian.to_frame().reset_index()
        self.ious = self.ious.merge(column.reset_index(), on="image_id", validate="one_to_one")
        RESULTS.mkdir(parents=True, exist_ok=True)
        # At 224 pixels six digits round no IoU across a δ. The figures come last: they say that a run is done.
        self.ious.to_csv(self.iou_file, index=False, float_format="%.6f")
        self.figures.to_csv(self.figures_file, index=False, float_format="%.4f")

    def markdown(self) -> str:
        """The table, in the order of :data:`METHODS`."""
        lines = [
            "| method | seeds | GT-known 0.3 / 0.5 / 0.7 | against CAM at 0.5 | against the Gaussian at 0.5 | τ "
            "| MaxBoxAcc 0.5 | MaxBoxAccV2 | Top-1 loc. | cls. Top-1 | part / object coverage |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        done = [method for method in METHODS if (self.figures["method"] == method).any()]
        return "\n".join([*lines, *map(self._line, done), self._gaussian_line()])

    def _line(self, method: str) -> str:
        rows = self.figures[self.figures["method"] == method]
        cell = {name: mean_sd(rows[name]) for name in FIGURES if name in rows and rows[name].notna().all()}
        coverage = f"{cell['part_coverage']} / {cell['object_coverage']}" if "part_coverage" in cell else "–"
        return (
            f"| {method} | {len(rows)} | {cell['gt_known_iou30']} / {cell['gt_known_iou50']} / "
            f"{cell['gt_known_iou70']} | {self._against('CAM', method)} | {self._against('Gaussian', method)} | "
            f"{mean_sd(rows['threshold'], 2)} | {cell['max_box_acc_iou50']} | {cell['max_box_acc_v2']} | "
            f"{cell['top1_loc_iou50']} | {cell['cls_top1']} | {coverage} |"
        )

    def _gaussian_line(self) -> str:
        cells = [f"{100 * (self.ious['Gaussian'] >= delta).mean():.1f}" for delta in (0.3, 0.5, 0.7)]
        return f"| centred Gaussian | | {' / '.join(cells)} | {self._against('CAM', 'Gaussian')} | | | | | | | |"

    def _against(self, first: str, second: str) -> str:
        """Difference over images with its paired 95 % interval; the seeds that both have are averaged in each image."""
        if first == second:
            return ""
        seeds = self._seeds(first) & self._seeds(second)
        found = paired_difference(self._hits(first, seeds), self._hits(second, seeds))
        return f"{found.difference:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"

    def _seeds(self, method: str) -> set[int]:
        """Seeds of a method; the Gaussian, which has none, goes with all."""
        rows = self.figures if method == "Gaussian" else self.figures[self.figures["method"] == method]
        return set(rows["seed"])

    def _hits(self, method: str, seeds: set[int]) -> NDArray[np.float64]:
        columns = [method] if method == "Gaussian" else [f"{method}/{seed}" for seed in sorted(seeds)]
        return np.asarray((self.ious[columns] >= DELTA).mean(axis=1), dtype=np.float64)


def gaussian_ious(manifest: pd.DataFrame) -> dict[str, float]:
    """IoU of a centred Gaussian's box with each test image's, at the threshold that is best on val."""
    boxes = largest_boxes(quantize(gaussian_map(FRAME, GAUSSIAN_SIGMA)))
    overlaps = {split: _overlaps(manifest[manifest["split"] == split], boxes) for split in ("val", "test")}
    best = np.mean([values >= DELTA for values in overlaps["val"].values()], axis=0).argmax()
    return {image_id: float(values[best]) for image_id, values in overlaps["test"].items()}


def _overlaps(rows: pd.DataFrame, boxes: NDArray[np.int16]) -> dict[str, NDArray[np.float64]]:
    truths = {
        row.image_id: to_protocol(np.stack(list(row.boxes)), row.width, row.height, FRAME) for row in rows.itertuples()
    }
    return {image_id: iou(boxes, truth).max(axis=1) for image_id, truth in truths.items()}


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"image_id": str}) if path.exists() else pd.DataFrame(columns=columns)


def main() -> None:
    """Run what is missing, one run after the other, and render the table after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cub", type=Path, help="CUB_200_2011 folder of the official archive; without it the probe")
    parser.add_argument("--weights", type=Path, help="folder of mobilenet_v2_features.pth, for CUB")
    options = parser.parse_args()
    if options.cub and not options.weights:
        parser.error("--cub needs --weights")
    bench = cub(options.cub, options.weights) if options.cub else synthetic()
    table = Table(bench.name)
    for method, seed in bench.rows():
        if not table.has(method, seed):
            name, settings = f"{bench.name}-{method}-{seed}", bench.overrides(method, seed)
            table.add(method, seed, run(name, settings, bench.params(method)))
            PAGE.write_text(replace_table(PAGE.read_text(), f"methods_{bench.name}", table.markdown()))


if __name__ == "__main__":
    main()
