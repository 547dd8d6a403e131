"""Measures the evaluator against the plain OpenCV way in the same run; prints tables, writes JSON.

    python benchmarks/bench_evaluator.py [--out benchmarks/out/evaluator.json]

Every ratio is a median over repetitions that take turns, plain then fast, so that what else the machine does meets
both. The plain way is the oracle of the tests: threshold, ``findContours``, ``contourArea``, per threshold.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipeline import console, files  # noqa: E402
from pipeline.evaluation.boxes import best_iou_per_level, largest_boxes, quantize  # noqa: E402
from pipeline.evaluation.geometry import standard_value  # noqa: E402
from pipeline.evaluation.metrics import PixelAveragePrecision, threshold_grid  # noqa: E402
from tests.evaluation import plain  # noqa: E402

SIZE = 224
TRUTH = np.array([[30, 40, 150, 180], [100, 20, 200, 90]])
#: Least ratios that the evaluator is held to: kind of map → single, multi.
LEAST = {"14×14": (15, 10), "28×28": (12, 10), "smooth blobs": (10, 10), "white noise": (5, 5)}
Map = NDArray[np.float64]


def _unit(values: Map) -> Map:
    return (values - values.min()) / (values.max() - values.min())


def _upsampled(side: int, random: np.random.Generator) -> Map:
    return _unit(cv2.resize(random.random((side, side)), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC))


def _blobs(random: np.random.Generator) -> Map:
    y, x = np.mgrid[:SIZE, :SIZE]
    centres = random.uniform(40, 184, (3, 2))
    return _unit(sum((np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * random.uniform(15, 50) ** 2)) for a, b in centres),
                     np.zeros((SIZE, SIZE))))  # fmt: skip


def maps_of(kind: str, count: int, seed: int = 0) -> list[Map]:
    """Score maps ``(224, 224)`` in [0, 1]."""
    random = np.random.default_rng(seed)
    make: dict[str, Callable[[], Map]] = {
        "14×14": lambda: _upsampled(14, random),
        "28×28": lambda: _upsampled(28, random),
        "smooth blobs": lambda: _blobs(random),
        "white noise": lambda: random.random((SIZE, SIZE)),
    }
    return [make[kind]() for _ in range(count)]


def fast_single(score_map: Map, interval: float) -> Any:
    """The largest contour's box at every threshold."""
    image = quantize(score_map)
    return largest_boxes(image)[(threshold_grid(interval) * standard_value(image)).astype(np.int64)]


def fast_multi(score_map: Map, interval: float) -> Any:
    """The best IoU of any contour at every threshold."""
    image = quantize(score_map)
    return best_iou_per_level(image, TRUTH)[(threshold_grid(interval) * standard_value(image)).astype(np.int64)]


def plain_multi(score_map: Map, interval: float) -> Any:
    """The same, one threshold after the other."""
    return plain.multi_ious(score_map, TRUTH, interval)


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(name: str, slow: Callable[[Any], Any], fast: Callable[[Any], Any], items: list[Any], repeat: int,
            least: float) -> dict[str, Any]:  # fmt: skip
    """Median times per item and their ratio; the two ways take turns."""
    for item in items:
        np.testing.assert_array_equal(np.asarray(slow(item)), np.asarray(fast(item)))
    pairs = [(seconds(lambda: [slow(i) for i in items]), seconds(lambda: [fast(i) for i in items]))
             for _ in range(repeat)]  # fmt: skip
    return {
        "name": name,
        "plain_ms": statistics.median(p for p, _ in pairs) / len(items) * 1e3,
        "fast_ms": statistics.median(f for _, f in pairs) / len(items) * 1e3,
        "ratio": statistics.median(p / f for p, f in pairs),
        "repetitions": repeat,
        "least": least,
    }


def sweep_rows(repeat: int) -> list[dict[str, Any]]:
    """Boxes: 1000 and 100 thresholds, single and multi contour."""
    rows = []
    for interval, label in ((0.001, 1000), (0.01, 100)):
        for kind, (single, multi) in LEAST.items():
            maps = maps_of(kind, 1 if kind == "white noise" else 3)
            for mode, slow, fast, least in (
                ("single", plain.single_boxes, fast_single, single),
                ("multi", plain_multi, fast_multi, multi),
            ):
                rows.append(
                    compare(
                        f"{kind}, {mode}, {label} thresholds",
                        lambda m, slow=slow, interval=interval: slow(m, interval),  # type: ignore[misc]
                        lambda m, fast=fast, interval=interval: fast(m, interval),  # type: ignore[misc]
                        maps,
                        repeat,
                        least if label == 1000 else 1.0,
                    )
                )
                show_row(rows[-1])
    return rows


def pixel_rows(repeat: int) -> list[dict[str, Any]]:
    """PxAP: masks stored in the protocol's frame, and masks that both ways read from PNG files for every map.

    Reading takes both ways the same time, which bounds the second ratio.
    """
    random = np.random.default_rng(1)
    maps = [_upsampled(28, random) for _ in range(20)]
    stored = [(_upsampled(6, random) > 0.6, _upsampled(6, random) > 0.8) for _ in maps]

    def fast(images: list[Any]) -> Any:
        pxap = PixelAveragePrecision(0.001)
        for score_map, masks in images:
            pxap.add(score_map, *masks)
        return pxap.foreground, pxap.background

    def slow(images: list[Any]) -> Any:
        counts = [plain.histograms(score_map, *masks, 0.001) for score_map, masks in images]
        return np.sum([c[0] for c in counts], axis=0), np.sum([c[1] for c in counts], axis=0)

    with tempfile.TemporaryDirectory() as folder:
        paths = [[f"{folder}/{name}{k}.png" for name in ("mask", "ignored")] for k in range(len(maps))]
        for masks, names in zip(stored, paths, strict=True):
            for mask, name in zip(masks, names, strict=True):
                cv2.imwrite(name, mask * np.uint8(255))

        def read(names: list[str]) -> list[Any]:
            return [cv2.imread(name, cv2.IMREAD_GRAYSCALE) > 0 for name in names]

        def from_files(way: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
            return lambda images: way([(score_map, read(names)) for score_map, names in images])

        rows = [
            compare("PxAP, stored masks, 1000 thresholds", slow, fast, [list(zip(maps, stored, strict=True))],
                    5 * repeat, 10.0),
            compare("PxAP, masks read from PNG files", from_files(slow), from_files(fast),
                    [list(zip(maps, paths, strict=True))], 5 * repeat, 0.0),
        ]  # fmt: skip
    for row in rows:
        row["plain_ms"], row["fast_ms"] = row["plain_ms"] / len(maps), row["fast_ms"] / len(maps)
    for row in rows:
        show_row(row)
    return rows


def show_row(row: dict[str, Any]) -> None:
    """One line while the rest is measured."""
    console.say(f"{row['name']}: {row['plain_ms']:.2f} ms, {row['fast_ms']:.3f} ms, {row['ratio']:.1f}×")


def _cells(row: dict[str, Any]) -> list[str]:
    numbers = [f"{row['plain_ms']:.2f}", f"{row['fast_ms']:.3f}", f"{row['ratio']:.1f}"]
    return [row["name"], *numbers, f"{row['least']:g}" if row["least"] else ""]


def write_shards(folder: Path, images: int) -> None:
    """Random 28×28 maps in shards of 256, with ground truth."""
    random = np.random.default_rng(0)
    (folder / "maps").mkdir(parents=True)
    (folder / "truth").mkdir()
    ids = [f"{k % 100:03d}/{k:06d}.jpg" for k in range(images)]
    boxes = np.sort(random.integers(0, 224, (images, 2, 2)), axis=1).reshape(-1, 4)
    lines = zip(ids, boxes.tolist(), strict=True)
    (folder / "truth" / "image_ids.txt").write_text("".join(f"{k}\n" for k in ids))
    (folder / "truth" / "image_sizes.txt").write_text("".join(f"{k},224,224\n" for k in ids))
    (folder / "truth" / "localization.txt").write_text(
        "".join(f"{k},{x0},{y0},{x1},{y1}\n" for k, (x0, y0, x1, y1) in lines)
    )
    for number, start in enumerate(range(0, images, 256)):
        part = ids[start : start + 256]
        maps = random.random((len(part), 28, 28), np.float32)
        np.savez(folder / "maps" / f"{number:05d}.npz", image_ids=np.array(part), maps=maps)


def run_score(folder: Path, processes: int) -> dict[str, float]:
    """Wall and processor seconds of the command and the most memory that one of its processes held, in MiB."""
    command = [sys.executable, "-m", "pipeline", "score", "--maps", str(folder / "maps"), "--truth",
               str(folder / "truth"), "--processes", str(processes)]  # fmt: skip
    # The peak of waited-for children only ever grows: a process of its own measures one command.
    script = (
        "import json, resource, subprocess, sys, time; t = time.perf_counter();"
        f"subprocess.run({command!r}, check=True, capture_output=True);"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(json.dumps([time.perf_counter() - t, u.ru_utime + u.ru_stime, u.ru_maxrss / 1024]))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(zip(("wall_s", "cpu_s", "peak_mib"), json.loads(done.stdout), strict=True))


def cold_start(folder: Path, repeat: int) -> dict[str, float]:
    """The quickest of several runs on one map, after one that leaves the compilation cache behind."""
    write_shards(folder, 1)
    run_score(folder, 1)
    run = min((run_score(folder, 1) for _ in range(repeat)), key=lambda run: run["wall_s"])
    console.say(f"cold start, second call: {run['wall_s']:.2f} s, {run['cpu_s']:.2f} s of a processor")
    return run


def growth(folder: Path, counts: list[int], start: dict[str, float]) -> list[dict[str, float]]:
    """Time and memory for ever more maps, in one process; leaves the folders behind."""
    rows = []
    for count in counts:
        write_shards(folder / str(count), count)
        run = run_score(folder / str(count), 1)
        rows.append({"images": count, **run, "cpu_ms_per_image": (run["cpu_s"] - start["cpu_s"]) / count * 1e3})
        console.say(
            f"{count} maps: {run['wall_s']:.1f} s, {run['cpu_s']:.1f} s of a processor, {run['peak_mib']:.0f} MiB"
        )
    return rows


def scaling(folder: Path, start: dict[str, float], repeat: int) -> dict[str, float]:
    """Two processes against one: by wall time, which wants two idle processors, and by processor time.

    By processor time: the start, which is not shared out, and half of what the two processes used beyond it.
    """
    wall, cpu = [], []
    for _ in range(repeat):
        one, two = (run_score(folder, processes) for processes in (1, 2))
        wall.append(one["wall_s"] / two["wall_s"])
        cpu.append(one["cpu_s"] / (start["cpu_s"] + (two["cpu_s"] - start["cpu_s"]) / 2))
        console.say(f"two processes: {wall[-1]:.2f}× by wall time, {cpu[-1]:.2f}× by processor time")
    return {"wall_ratio": statistics.median(wall), "cpu_ratio": statistics.median(cpu)}


def command_rows(counts: list[int], repeat: int) -> dict[str, Any]:
    """The ``score`` command: cold start, growth with the number of maps, two processes against one."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        start = cold_start(folder / "one", repeat)
        rows = growth(folder, counts, start)
        middle = sorted(counts)[len(counts) // 2]
        shared = {"images": middle, **scaling(folder / str(middle), start, max(1, repeat // 2))}
    return {
        "cold_start": start,
        "growth": rows,
        "two_processes": shared,
        "load": os.getloadavg()[2],
        "processors": os.cpu_count(),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "out" / "evaluator.json")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10000, 50000])
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rows = sweep_rows(options.repeat) + pixel_rows(options.repeat)
    columns = ("what", "plain", "fast", "ratio", "at least")
    console.table("The evaluator against the plain way, ms per image, one process", columns, map(_cells, rows))
    result = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}, OpenCV {cv2.__version__}",
        "rows": rows,
        "score": command_rows(options.counts, options.repeat),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    files.write_json(options.out, result)
    console.say(f"written to {options.out}")


if __name__ == "__main__":
    main()
