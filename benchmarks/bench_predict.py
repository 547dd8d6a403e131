"""Images per second of ``predict`` against the model's own, and the memory it takes for few and many images.

``python -m benchmarks.bench_predict --model FILE --images FOLDER`` takes minutes; both rates are of one process and
the same images, so that their ratio says what reading, drawing and writing cost.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from pipeline.cams.extractor import Extractor
from pipeline.cams.views import Views
from pipeline.data.images import read_squashed
from pipeline.predict.choice import load_model
from pipeline.predict.command import predict
from pipeline.predict.sources import find_sources

BATCH = 32


@torch.no_grad()
def model_rate(name: str, paths: list[Path]) -> float:
    """Images per second of the model alone, on images that are in memory."""
    model = load_model(name)
    facts = model.facts
    extractor = Extractor(model.networks, 1.0, facts.extract_cams, facts.precision)
    images = torch.from_numpy(
        np.stack([read_squashed(path, facts.crop, upright=facts.upright) for path in paths[:BATCH]])
    )
    labels = torch.zeros(len(images), dtype=torch.long)
    extractor(labels, Views(images))
    rounds = max(1, len(paths) // BATCH)
    start = time.perf_counter()
    for _ in range(rounds):
        extractor(labels, Views(images))
    return rounds * len(images) / (time.perf_counter() - start)


def predict_rate(name: str, places: list[str], wants: frozenset[str]) -> float:
    """Images per second of the whole command, the loading of the model included."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        predict(places, name, Path(folder) / "out", wants=wants)
        return len(places) / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    found = [source.place for source in find_sources([options.images], [])]
    places = (found * (options.count // len(found) + 1))[: options.count]
    own = model_rate(options.model, [Path(place) for place in places])
    print(f"the model alone: {own:.1f} images/s")
    for label, wants in (("tables and page", frozenset[str]()), ("with overlays", frozenset({"images"}))):
        rate = predict_rate(options.model, places, wants)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"predict, {label}: {rate:.1f} images/s, {100 * rate / own:.0f} % of it; peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
