"""Which layer and image size deep descriptor transforming reads, chosen on val: ``docs/results/ddt_designs.csv``.

``python -m benchmarks.tables.designs --cub path/to/CUB_200_2011 --weights folder`` tries every layer of
:data:`benchmarks.tables.benches.NETWORKS` at every size, with a frozen backbone. Only figures of val are kept: what is
not chosen is never looked at on test. The best of a network stands in ``NETWORKS``.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks.tables.benches import DDT, FROZEN, NETWORKS, PLAIN, on_cub
from benchmarks.tables.methods import PAGE, RESULTS, arguments
from benchmarks.tables.runs import Setting, replace_table, run_all, setting
from pipeline.params import PARAMS_FILE

DESIGNS = RESULTS / "ddt_designs.csv"
SIDES = (224, 320, 448, 512)
#: The linear probe, which the maps do not depend on, is trained once for so many designs: it costs less than they do.
SHARE = 2


def designs(backbone: str, root: Path, weights: Path) -> Iterator[Setting]:
    """One setting for each layer and size."""
    text, shared = PARAMS_FILE.read_text(), on_cub(backbone, root, weights) | PLAIN | DDT | FROZEN
    for layer in NETWORKS[backbone].layers:
        for side in SIDES:
            values = {"extract_cams.ddt_layers": [f"{layer}@{side}"], "extract_cams.ddt_context": 0.0}
            yield setting(f"{backbone} {layer}@{side}", text, shared | values | {"train.epochs": 1})


def markdown(found: pd.DataFrame, best: int = 5) -> str:
    """The best designs of each network by val."""
    lines = ["| network | layer and side | val GT-known 0.5 | designs |", "|---|---|---|---|"]
    for backbone, rows in found.groupby("backbone", sort=False):
        for row in rows.head(best).itertuples():
            lines.append(f"| {backbone} | {row.layer} | {row.val_gt_known_iou50:.1f} | {len(rows)} |")
    return "\n".join(lines)


def main() -> None:
    """Try all designs and rank them on val."""
    options = arguments(__doc__).parse_args()
    wanted = [one for name in NETWORKS for one in designs(name, options.cub, options.weights)]
    rows = []
    for one, result in run_all(wanted, options.jobs, SHARE):
        backbone, layer = one.name.split()
        rows.append((backbone, layer, result.metrics["val"]["gt_known_iou50"], options.commit))
    found = pd.DataFrame(rows, columns=["backbone", "layer", "val_gt_known_iou50", "code"])
    # Among equals the smaller image, which costs less.
    found["side"] = found["layer"].str.split("@").str[1].astype(int)
    keys = ["backbone", "val_gt_known_iou50", "side", "layer"]
    found = found.sort_values(keys, ascending=[False, False, True, True]).drop(columns="side")
    found.to_csv(DESIGNS, index=False, float_format="%.4f")
    PAGE.write_text(replace_table(PAGE.read_text(), "ddt_designs", markdown(found)))


if __name__ == "__main__":
    main()
