"""The page as a whole, from the files of a small run."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.files import METRICS, REPORT
from pipeline.params import load_params
from pipeline.schemas import origin
from pipeline.stages import report
from tests.sample_result import write_params, write_result, write_run

PAGE = REPORT / "index.html"


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    write_run(tmp_path)
    write_result()
    return tmp_path


def make():
    summary = report.run(load_params())
    assert summary == {"path": "report/index.html", "bytes": PAGE.stat().st_size}
    return Page(PAGE.read_text())


def test_nothing_is_loaded_and_nothing_runs(project):
    page = make()
    assert not page.all("script")
    assert not page.all("link")
    sources = [a.get("src") or a.get("href") for tag in ("img", "image", "a", "iframe") for a in page.all(tag)]
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not re.search(r"url\((?!#)|@import", PAGE.read_text())


def test_it_stays_small(project):
    make()
    assert PAGE.stat().st_size < 2_000_000


def test_equal_input_gives_equal_bytes(project):
    make()
    first = PAGE.read_bytes()
    make()
    assert PAGE.read_bytes() == first


def test_every_picture_has_a_text_for_those_who_cannot_see_it(project):
    page = make()
    assert all(image["alt"] for image in page.all("img"))
    labels = [a for tag in ("svg", "div") for a in page.all(tag) if a.get("role") == "img"]
    assert len(labels) == 9 + 4  # the examples and the figures
    assert all(a["aria-label"] for a in labels)


def test_the_numbers_are_those_of_metrics(project):
    metrics = pd.read_json(METRICS / "metrics.json", typ="series")
    text = make().text
    for name, label in (("gt_known_iou50", "GT-known"), ("center_gaussian_max_box_acc_iou50", "Centred Gaussian")):
        assert f"{label} {metrics['test'][name]:.1f}" in text
    assert f"τ = {metrics['threshold']:.3g} ({origin(metrics)})" in text


def test_the_gallery_shows_each_group_with_boxes_and_captions(project):
    page = make()
    for title in ("Best by IoU", "Median by IoU", "Worst by IoU"):
        assert title in page.text
    drawn = [a.get("class") for a in page.all("rect")]
    assert drawn.count("box predicted") == drawn.count("box true") == 9
    scores = pd.read_parquet(METRICS / "per_image.parquet").query("split == 'test'")["iou"]
    shown = [float(value) for value in re.findall(r"IoU (\d\.\d\d)", page.text)]
    assert shown[:3] == pytest.approx(sorted(scores, reverse=True)[:3], abs=0.005)
    assert shown[-3:] == pytest.approx(sorted(scores)[:3], abs=0.005)


def test_names_of_classes_are_text_not_markup(project):
    page = make()
    assert '<crow> & "co"' in page.text
    assert not page.all("crow")


def test_coverage_and_settings_are_shown(project):
    text = make().text
    assert "of the discriminative part lies inside the foreground" in text
    assert "train.lambda 0.0001" in text
    assert "track.experiment" not in text


def test_without_boxes_it_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, localize__threshold=0.2)
    write_run(tmp_path, boxes=False, masks=False)
    write_result()
    page = make()
    assert "Localization on test is not measured: no image has boxes." in page.text
    assert "GT-known" not in page.text
    assert "Most confident" in page.text
    assert "discriminative part" not in page.text
    drawn = [a.get("class") for a in page.all("rect")]
    assert (drawn.count("box predicted"), drawn.count("box true")) == (9, 0)


def test_without_metrics_the_stage_to_run_is_named(project):
    (METRICS / "metrics.json").unlink()
    with pytest.raises(UserError, match="pipeline evaluate"):
        report.run(load_params())
