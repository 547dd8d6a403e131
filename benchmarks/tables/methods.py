"""The tables of ``docs/results.md``: every method on one footing, on the synthetic probe, on CUB and on pets.

``make methods`` runs the probe, ``make methods CUB=path/to/CUB_200_2011 WEIGHTS=folder`` CUB with two networks from
ImageNet weights, ``PETS=folder WEIGHTS=folder`` Oxford-IIIT Pet with the first of them, ``JOBS=N`` several results at a
time. Figures go to ``docs/results/methods_NAME.csv`` and the IoU of every test image to ``methods_NAME_iou.csv``, from
which the paired intervals are computed. Results that are there are skipped, so the command can be stopped and called
again.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.tables.benches import LAMBDAS, METHODS, NETWORKS, Bench, real, synthetic
from benchmarks.tables.runs import Result, Setting, commit, mean_sd, replace_table, run_all
from pipeline.evaluation.bootstrap import paired_difference
from pipeline.evaluation.boxes import largest_boxes, quantize
from pipeline.evaluation.geometry import iou, to_protocol
from pipeline.evaluation.score_maps import FRAME, gaussian_map
from pipeline.evaluation.scorer import GAUSSIAN_SIGMA

RESULTS = Path("docs/results")
PAGE = Path("docs/results.md")
DELTA = 0.5
FIGURES = ("gt_known_iou30", "gt_known_iou50", "gt_known_iou70", "top1_loc_iou50", "cls_top1", "entropy",
           "max_box_acc_iou50", "max_box_acc_v2", "center_gaussian_max_box_acc_iou30",
           "center_gaussian_max_box_acc_iou50", "center_gaussian_max_box_acc_iou70", "full_image_iou50",
           "pxap", "center_gaussian_pxap", "part_coverage", "object_coverage", "background_share")  # fmt: skip
#: Those of the table of λ, which is shown for the networks of CUB.
OF_LAMBDA = ("CAM", *(f"KL {weight}" for weight in LAMBDAS), "NWC", *(f"KL {weight} + NWC" for weight in LAMBDAS))


class Table:
    """The files of one bench's results."""

    def __init__(self, name: str) -> None:
        self.figures_file, self.iou_file = RESULTS / f"methods_{name}.csv", RESULTS / f"methods_{name}_iou.csv"
        self.figures = _read(self.figures_file, ["method", "seed"])
        self.ious = _read(self.iou_file, ["image_id"])

    def has(self, one: Setting) -> bool:
        """Whether this result is there."""
        return bool(((self.figures["method"] == one.name) & (self.figures["seed"] == one.seed)).any())

    def add(self, one: Setting, result: Result, code: str) -> None:
        """Write one result's figures and IoUs."""
        test = result.metrics["test"]
        row = {"method": one.name, "seed": one.seed, "threshold": result.metrics["threshold"]}
        row |= {name: test[name] for name in FIGURES if name in test}
        row |= {"train_seconds": result.training["seconds"], "device": result.training["device"], "code": code}
        order = {method: number for number, method in enumerate(METHODS)}
        self.figures = pd.concat([self.figures, pd.DataFrame([row])], ignore_index=True).sort_values(
            ["method", "seed"], key=lambda column: column.map(order) if column.name == "method" else column,
            ignore_index=True,
        )  # fmt: skip
        column = result.per_image["iou"].rename(f"{one.name}/{one.seed}")
        if self.ious.empty:
            gaussian = pd.Series(gaussian_ious(result.manifest), name="Gaussian").reindex(column.index)
            self.ious = gaussian.to_frame().reset_index()
        self.ious = self.ious.merge(column.reset_index(), on="image_id", validate="one_to_one")
        RESULTS.mkdir(parents=True, exist_ok=True)
        # At 224 pixels six digits round no IoU across a δ. The figures come last: they say that a result is there.
        self.ious.to_csv(self.iou_file, index=False, float_format="%.6f")
        self.figures.to_csv(self.figures_file, index=False, float_format="%.4f")

    def markdown(self) -> str:
        """The table, in the order of :data:`METHODS`, and what it was made with."""
        lines = [
            "| method | seeds | GT-known 0.3 / 0.5 / 0.7 | against CAM at 0.5 | against the Gaussian at 0.5 | τ "
            "| MaxBoxAcc 0.5 | MaxBoxAccV2 | PxAP | Top-1 loc. | cls. Top-1 | part / object coverage |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        done = [method for method in METHODS if (self.figures["method"] == method).any()]
        return "\n".join([*lines, *map(self._line, done), self._gaussian_line(), "", self.made_with()])

    def made_with(self) -> str:
        """The code and the devices of the results, in words."""
        codes, devices = (", ".join(sorted(set(self.figures[name]))) for name in ("code", "device"))
        return f"Made by commit {codes}; trained on {devices}."

    def lines_of_lambda(self, backbone: str) -> Iterator[str]:
        """The lines of a network in the table of λ, one for each weight and kind of map."""
        for method in OF_LAMBDA:
            cell = self._cells(method)
            weight = method.split()[1] if method.startswith("KL") else "0"
            yield (
                f"| {backbone} | {weight} | {'NWC' if 'NWC' in method else 'CAM'} | {cell['gt_known_iou30']} / "
                f"{cell['gt_known_iou50']} / {cell['gt_known_iou70']} | {cell['top1_loc_iou50']} | "
                f"{mean_sd(self._rows(method)['threshold'], 2)} | {cell['max_box_acc_iou50']} | "
                f"{cell['max_box_acc_v2']} | {cell['cls_top1']} | {mean_sd(self._rows(method)['entropy'], 2)} |"
            )

    def lines_without_a_network(self) -> Iterator[str]:
        """The lines of what sees no image, in the table of λ."""
        first = self.figures.iloc[0]
        oracle = [f"{first[f'center_gaussian_max_box_acc_iou{delta}']:.1f}" for delta in (30, 50, 70)]
        yield f"| centred Gaussian, oracle τ | | | {' / '.join(oracle)} | | | {oracle[1]} | | | |"
        yield f"| full image | | | – / {first['full_image_iou50']:.1f} / – | | | | | | |"

    def _rows(self, method: str) -> pd.DataFrame:
        return self.figures[self.figures["method"] == method]

    def _cells(self, method: str) -> dict[str, str]:
        rows = self._rows(method)
        return {name: mean_sd(rows[name]) for name in FIGURES if name in rows and rows[name].notna().all()}

    def _line(self, method: str) -> str:
        rows, cell = self._rows(method), self._cells(method)
        coverage = f"{cell.get('part_coverage', '–')} / {cell.get('object_coverage', '–')}"
        return (
            f"| {method} | {len(rows)} | {cell['gt_known_iou30']} / {cell['gt_known_iou50']} / "
            f"{cell['gt_known_iou70']} | {self._against('CAM', method)} | {self._against('Gaussian', method)} | "
            f"{mean_sd(rows['threshold'], 2)} | {cell['max_box_acc_iou50']} | {cell['max_box_acc_v2']} | "
            f"{cell.get('pxap', '–')} | {cell['top1_loc_iou50']} | {cell['cls_top1']} | {coverage} |"
        )

    def _gaussian_line(self) -> str:
        cells = [f"{100 * (self.ious['Gaussian'] >= delta).mean():.1f}" for delta in (0.3, 0.5, 0.7)]
        against, pixels = self._against("CAM", "Gaussian"), self._cells("CAM").get("center_gaussian_pxap", "–")
        return f"| centred Gaussian | | {' / '.join(cells)} | {against} | | | | | {pixels} | | | |"

    def _against(self, first: str, second: str) -> str:
        """Difference over images with its paired 95 % interval; the seeds that both have are averaged in each image."""
        if first == second:
            return ""
        seeds = self._seeds(first) & self._seeds(second)
        found = paired_difference(self._hits(first, seeds), self._hits(second, seeds))
        return f"{found.difference:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"

    def _seeds(self, method: str) -> set[int]:
        """Seeds of a method; the Gaussian, which has none, goes with all."""
        return set((self.figures if method == "Gaussian" else self._rows(method))["seed"])

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


def fill_page(benches: list[Bench]) -> None:
    """Write the tables of these benches, as far as they are complete, into the page."""
    page = PAGE.read_text()
    for bench in benches:
        page = replace_table(page, f"methods_{bench.name}", Table(bench.name).markdown())
    if of_cub := [bench.name for bench in benches if bench.name.startswith("cub_")]:
        page = replace_table(page, "lambda_cub", _table_of_lambda(of_cub))
    PAGE.write_text(page)


def _table_of_lambda(names: list[str]) -> str:
    head = (
        "| backbone | λ | map | GT-known 0.3 / 0.5 / 0.7 | Top-1 loc. | τ | MaxBoxAcc 0.5 | MaxBoxAccV2 | cls. Top-1 "
        "| entropy |",
        "|---|---|---|---|---|---|---|---|---|---|",
    )
    lines = [line for name in names for line in Table(name).lines_of_lambda(name.removeprefix("cub_"))]
    return "\n".join([*head, *lines, *Table(names[0]).lines_without_a_network()])


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Options of the tables on photos."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cub", type=Path, help="CUB_200_2011 folder of the official archive")
    parser.add_argument("--weights", type=Path, help=f"folder of {', '.join(n.weights for n in NETWORKS.values())}")
    parser.add_argument("--jobs", type=int, default=1, help="results that are made at a time")
    parser.add_argument("--pets", type=Path, help="folder of images and annotations of Oxford-IIIT Pet")
    parser.add_argument("--commit", default=commit(), help="code that makes them, where no repository tells")
    return parser


def _benches(options: argparse.Namespace) -> Iterator[Bench]:
    if options.cub:
        yield from (real("cub", name, options.cub, options.weights) for name in NETWORKS)
    if options.pets:
        yield real("pets", next(iter(NETWORKS)), options.pets, options.weights)
    if not (options.cub or options.pets):
        yield synthetic()


def main() -> None:
    """Make what is missing and render the tables."""
    parser = arguments(__doc__)
    options = parser.parse_args()
    if (options.cub or options.pets) and not options.weights:
        parser.error("--cub and --pets need --weights")
    benches = list(_benches(options))
    tables = {bench.name: Table(bench.name) for bench in benches}
    wanted = {
        one: tables[bench.name] for bench in benches for one in bench.results() if not tables[bench.name].has(one)
    }
    for one, result in run_all(wanted, options.jobs):
        wanted[one].add(one, result, options.commit)
    fill_page(benches)


if __name__ == "__main__":
    main()
