"""The CUB table of ``docs/results.md``: what λ and clamped negative weights change on real images.

``make results CUB=path/to/CUB_200_2011 WEIGHTS=folder`` trains each row in its own workspace, writes it to
``docs/results/cub.csv`` and renders the table. Rows that are there are skipped, so the command can be stopped and
called again. ``WEIGHTS`` holds ``mobilenet_v2_features.pth`` and ``squeezenet1_1.pth``, state dicts under torchvision's
names. Every row is a run of the MLflow experiment ``cub``.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.tables.runs import mean_sd, replace_table, run

ROWS = Path("docs/results/cub.csv")
PAGE = Path("docs/results.md")
LAMBDAS = (0.0, 1e-4, 1e-2, 1e-1)
SEEDS = (0, 1)
KEY = ["backbone", "lambda", "clamped", "seed"]
METRICS = ("gt_known_iou30", "gt_known_iou50", "gt_known_iou70", "top1_loc_iou50", "top5_loc_iou50", "cls_top1",
           "entropy", "max_box_acc_iou30", "max_box_acc_iou50", "max_box_acc_iou70", "max_box_acc_v2",
           "center_gaussian_max_box_acc_iou30", "center_gaussian_max_box_acc_iou50",
           "center_gaussian_max_box_acc_iou70", "full_image_iou50")  # fmt: skip
#: Fine-tuning from ImageNet weights, the same for every row; none of it was tuned.
COMMON = {
    "prepare.dataset": "cub", "train.resize": 256, "train.crop": 224, "train.epochs": 8, "train.head_lr_factor": 10.0,
    "train.freeze_batch_norm": True, "train.precision": "bfloat16", "track.experiment": "cub",
}  # fmt: skip
BACKBONES = {
    "mobilenet_v2": {"weights": "mobilenet_v2_features.pth", "train.lr": 0.001},
    "squeezenet1_1": {"weights": "squeezenet1_1.pth", "train.lr": 0.001},
}


@dataclass(frozen=True)
class Row:
    """One run: its settings, in the order of :data:`KEY`."""

    backbone: str
    weight: float
    clamped: bool
    seed: int

    @property
    def name(self) -> str:
        """A name for the workspace."""
        return f"cub-{self.backbone}-{self.weight:g}-{'nwc' if self.clamped else 'cam'}-{self.seed}"

    def overrides(self, cub: Path, weights: Path) -> dict[str, Any]:
        """Values of ``params.yaml`` by dotted key."""
        own = dict(BACKBONES[self.backbone])
        return COMMON | {
            "prepare.root": str(cub), "train.backbone": self.backbone, "train.lr": own["train.lr"],
            "train.pretrained": str(weights / str(own["weights"])), "train.lambda": self.weight, "seed": self.seed,
            "extract_cams.clamp_negative_weights": self.clamped,
        }  # fmt: skip


def rows() -> Iterator[Row]:
    """All rows of the table; the two kinds of map of one training follow each other."""
    grid = [("mobilenet_v2", weight) for weight in LAMBDAS] + [("squeezenet1_1", 0.0)]
    for seed in SEEDS:
        for backbone, weight in grid:
            for clamped in (False, True):
                yield Row(backbone, weight, clamped, seed)


def main() -> None:
    """Run what is missing, one row after the other, and render the table after each."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cub", type=Path, required=True, help="CUB_200_2011 folder of the official archive")
    options.add_argument("--weights", type=Path, required=True, help="folder of the ImageNet weights")
    given = options.parse_args()
    done = pd.read_csv(ROWS) if ROWS.exists() else pd.DataFrame(columns=KEY)
    finished = set(done[KEY].itertuples(index=False, name=None))
    for row in rows():
        if (row.backbone, row.weight, row.clamped, row.seed) in finished:
            continue
        result = _run(row, given.cub.resolve(), given.weights.resolve())
        done = pd.concat([done, pd.DataFrame([result])], ignore_index=True).sort_values(KEY, ignore_index=True)
        ROWS.parent.mkdir(parents=True, exist_ok=True)
        done.to_csv(ROWS, index=False, float_format="%.4f")
    _render(done)


def _run(row: Row, cub: Path, weights: Path) -> dict[str, Any]:
    result = run(row.name, row.overrides(cub, weights))
    key = dict(zip(KEY, (row.backbone, row.weight, row.clamped, row.seed), strict=True))
    figures = {name: result.metrics["test"][name] for name in METRICS}
    times = {"train_seconds": result.training["seconds"], "run_seconds": result.seconds,
             "device": result.training["device"]}  # fmt: skip
    return key | {"threshold": result.metrics["threshold"]} | figures | times


def _render(done: pd.DataFrame) -> None:
    lines = [
        "| backbone | λ | map | GT-known 0.3 / 0.5 / 0.7 | Top-1 loc. | τ | MaxBoxAcc 0.5 | MaxBoxAccV2 | cls. Top-1 "
        "| entropy | training, s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (backbone, weight, clamped), group in done.groupby(KEY[:3], sort=False):
        cell = {name: mean_sd(group[name]) for name in group.columns.drop([*KEY, "device"])}
        lines.append(
            f"| {backbone} | {weight:g} | {'NWC' if clamped else 'CAM'} | {cell['gt_known_iou30']} / "
            f"{cell['gt_known_iou50']} / {cell['gt_known_iou70']} | {cell['top1_loc_iou50']} | "
            f"{mean_sd(group['threshold'], 2)} | {cell['max_box_acc_iou50']} | {cell['max_box_acc_v2']} | "
            f"{cell['cls_top1']} | {mean_sd(group['entropy'], 2)} | {group['train_seconds'].mean():.0f} |"
        )
    first = done.iloc[0]
    gaussian = [f"{first[f'center_gaussian_max_box_acc_iou{delta}']:.1f}" for delta in (30, 50, 70)]
    lines.append(
        f"| centred Gaussian | | oracle τ | {' / '.join(gaussian)} | | | {gaussian[1]} | | | | |\n"
        f"| full image | | | – / {first['full_image_iou50']:.1f} / – | | | | | | | |"
    )
    PAGE.write_text(replace_table(PAGE.read_text(), "cub", "\n".join(lines)))


if __name__ == "__main__":
    main()
