"""Peak memory of every stage as the number of images grows: 1×, 4×, 16×.

``python -m benchmarks.bench_memory`` prints a table and writes ``benchmarks/out/memory.json``. A stage that streams
needs the same memory for sixteen times the images; one that kept all full-size maps would need 0.4 MB more for each.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from pipeline import console

ROOT = Path(__file__).parents[1]
OUT = ROOT / "benchmarks/out/memory.json"
STAGES = ("prepare", "train", "extract_cams", "localize", "evaluate", "report")
FACTORS = (1, 4, 16)
#: Images per class at 1×, of two classes: already more for test than one shard holds.
TRAIN, TEST = 40, 160


def main() -> None:
    """Measure all sizes, one after the other."""
    peaks = {factor: _measure(factor) for factor in FACTORS}
    images = {factor: factor * 2 * (TRAIN + TEST) for factor in FACTORS}
    rows = [
        (stage, *(f"{peaks[f][stage]:.0f}" for f in FACTORS), f"{peaks[FACTORS[-1]][stage] / peaks[1][stage]:.2f}")
        for stage in STAGES
    ]
    titles = [f"{images[factor]} images" for factor in FACTORS]
    console.table("Peak memory in MiB", ("stage", *titles, "16× / 1×"), rows)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"images": images, "peak_mib": peaks}, indent=1) + "\n")


def _measure(factor: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _lay_out(folder, factor)
        return {stage: _peak(folder, stage) for stage in STAGES}


def _lay_out(folder: Path, factor: int) -> None:
    shutil.copy(ROOT / "dvc.yaml", folder)
    shutil.copytree(ROOT / "pipeline", folder / "pipeline")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["prepare"]["synthetic"] |= {
        "classes": 2, "train_per_class": factor * TRAIN, "test_per_class": factor * TEST, "image_size": 48,
    }  # fmt: skip
    params["train"] |= {"resize": 36, "crop": 32, "epochs": 1, "batch_size": 16}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def _peak(folder: Path, stage: str) -> float:
    """Peak resident memory in MiB of one stage's process."""
    environment = os.environ | {"WSOL_STATE": str(folder / "state"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", stage], cwd=folder, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{stage} ended with exit code {process.returncode}")
    return usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
