"""Which layer, image size and stride deep descriptor transforming reads, chosen on val.

``python -m benchmarks.tables.designs --cub path/to/CUB_200_2011 --weights folder`` tries the layers of
:data:`benchmarks.tables.benches.NETWORKS` at every size, with a frozen backbone as it was published (stride 32) and
with the finer map that class activation maps need (16). ``docs/results/ddt_designs.csv`` keeps figures of val only:
what is not chosen is never looked at on test. The tables of methods take the best of each network. Designs that are
there are skipped.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks.tables.benches import DDT, DESIGNS, FROZEN, NETWORKS, PLAIN, design, fine_tuned
from benchmarks.tables.methods import PAGE, arguments
from benchmarks.tables.runs import Setting, replace_table, run_all, setting
from pipeline.params import PARAMS_FILE

SIDES = (224, 320, 448, 512)
STRIDES = (32, 16)
KEY = ["backbone", "layer", "side", "stride"]
#: The linear probe, which the maps do not depend on, is trained once for so many designs: it costs less than they do.
SHARE = 2


def designs(backbone: str, root: Path, weights: Path) -> Iterator[Setting]:
    """One setting for each layer, size and stride."""
    text, shared = PARAMS_FILE.read_text(), fine_tuned("cub", backbone, root, weights) | PLAIN | DDT | FROZEN
    for stride in STRIDES:
        for layer in NETWORKS[backbone].layers:
            for side in SIDES:
                values = design(layer, side, stride) | {"train.epochs": 1}
                yield setting(f"{backbone} {layer} {side} {stride}", text, shared | values)


def markdown(found: pd.DataFrame, best: int = 5) -> str:
    """The best designs of each network by val."""
    lines = ["| network | layer | pixels | stride | val GT-known 0.5 | designs |", "|---|---|---|---|---|---|"]
    for backbone, rows in found.groupby("backbone", sort=False):
        for row in rows.head(best).itertuples():
            cells = (backbone, row.layer, row.side, row.stride, f"{row.val_gt_known_iou50:.1f}", len(rows))
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    """Try the designs that are missing and rank all on val."""
    options = arguments(__doc__).parse_args()
    found = pd.read_csv(DESIGNS) if DESIGNS.exists() else pd.DataFrame(columns=[*KEY, "val_gt_known_iou50", "code"])
    done = {" ".join(map(str, key)) for key in found[KEY].itertuples(index=False)}
    wanted = [one for name in NETWORKS for one in designs(name, options.cub, options.weights) if one.name not in done]
    for one, result in run_all(wanted, options.jobs, SHARE):
        backbone, layer, side, stride = one.name.split()
        accuracy = result.metrics["val"]["gt_known_iou50"]
        found.loc[len(found)] = [backbone, layer, int(side), int(stride), accuracy, options.commit]
        # Among equals the smaller image and the network as it was published.
        ranked = found.sort_values(
            ["backbone", "val_gt_known_iou50", "side", "stride", "layer"], ascending=[False, False, True, False, True]
        )
        ranked.to_csv(DESIGNS, index=False, float_format="%.4f")
    PAGE.write_text(replace_table(PAGE.read_text(), "ddt_designs", markdown(pd.read_csv(DESIGNS))))


if __name__ == "__main__":
    main()
