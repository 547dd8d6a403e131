"""The picture of the README, from the result that lies in the checkout: ``python -m benchmarks.tables.picture``."""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from pipeline.data.images import read_image
from pipeline.data.manifest import read_dataset
from pipeline.evaluation.score_maps import normalize_map, resize_map
from pipeline.files import BOXES, CAMS, METRICS, read_shards

matplotlib.use("Agg")
PICTURE = Path("docs/images/overview.png")
#: Ranks among the test images by IoU, as shares: from a good one to a bad one.
RANKS = (0.95, 0.8, 0.6, 0.4, 0.1)
RED, GREEN = "#e02020", "#10c040"


def main() -> None:
    """Draw input with boxes above its map, one column per rank."""
    dataset = read_dataset()
    images = dataset.images("test")
    scores = pd.read_parquet(METRICS / "per_image.parquet").query("split == 'test'").sort_values("iou")
    boxes = pd.read_parquet(BOXES / "predictions.parquet").set_index("image_id")["box"]
    maps = {
        str(i): m[0]
        for shard in read_shards(CAMS / "test")
        for i, m in zip(shard["image_ids"], shard["maps"], strict=True)
    }
    figure, axes = plt.subplots(2, len(RANKS), figsize=(2 * len(RANKS), 4.3), dpi=80)
    for column, rank in enumerate(RANKS):
        row = scores.iloc[int(rank * (len(scores) - 1))]
        image = images[row.image_id]
        pixels = read_image(dataset.root / image.path, upright=dataset.upright)
        extent = (0, image.width, image.height, 0)
        axes[0, column].imshow(pixels, extent=extent)
        axes[1, column].imshow(pixels, extent=extent)
        axes[1, column].imshow(normalize_map(resize_map(maps[row.image_id], 224)), extent=extent, alpha=0.6, cmap="jet")
        for box, colour, style in ((image.boxes[0], RED, "--"), (boxes[row.image_id], GREEN, "-")):
            x0, y0, x1, y1 = np.asarray(box)
            axes[0, column].add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=colour, ls=style, lw=2))
        axes[0, column].set_title(f"{dataset.classes[row.label]}, IoU {row.iou:.2f}", fontsize=9)
    for axis in axes.flat:
        axis.axis("off")
    figure.tight_layout(pad=0.4)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, metadata={"Software": None})


if __name__ == "__main__":
    main()
