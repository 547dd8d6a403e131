"""The result before this one: kept when parameters changed, left alone when not."""

import shutil

import pytest

from pipeline.execution.previous import keep_previous
from pipeline.files import METRICS, MODELS, PREVIOUS, REPORT
from pipeline.params import load_params
from pipeline.stages import report
from tests.sample_result import write_params, write_result

KEPT = {"metrics.json", "per_image.parquet", "record.json", "reliability.json", "threshold_curve.csv", "training.json"}


def change(folder, **values):
    write_params(folder, **values)
    keep_previous(load_params())


def test_an_unchanged_run_keeps_nothing(scored):
    change(scored)
    assert not PREVIOUS.exists()


def test_what_other_parameters_made_is_kept_and_the_report_tells_the_difference(scored):
    change(scored, localize__threshold=0.9)
    assert {path.name for path in PREVIOUS.iterdir()} == KEPT
    assert (PREVIOUS / "metrics.json").read_bytes() == (METRICS / "metrics.json").read_bytes()
    write_result()
    report.run(load_params())
    page = (REPORT / "index.html").read_text()
    assert "Against the previous result here" in page
    assert "<code>localize.threshold</code> auto → 0.9" in page
    assert page.count(" → ") == 2  # the setting, and the threshold
    before = {path.name: path.read_bytes() for path in PREVIOUS.iterdir()}
    keep_previous(load_params())
    assert {path.name: path.read_bytes() for path in PREVIOUS.iterdir()} == before


@pytest.mark.parametrize("gone", [METRICS / "per_image.parquet", MODELS])
def test_half_a_result_is_not_kept(scored, gone):
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    change(scored, localize__threshold=0.9)
    assert not PREVIOUS.exists()
