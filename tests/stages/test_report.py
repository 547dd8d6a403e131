"""The page as a whole, from the files of a small run."""

import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.files import METRICS, REPORT
from pipeline.params import load_params
from pipeline.report.page import script_hash
from pipeline.schemas import origin
from pipeline.stages import report
from tests.sample_result import CLASSES, SIZES, write_params, write_result, write_run

PAGE = REPORT / "index.html"


class Page(HTMLParser):
    """Tags with their attributes, the text, and what the script works on."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.scripts = [], [], []
        self.inside = ""
        self.feed(text)
        self.data = json.loads(self.scripts[0])

    def handle_starttag(self, tag, attributes):
        self.inside = tag
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts.append(data)
        elif self.inside != "style":
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


def test_nothing_is_loaded_and_only_its_own_script_runs(project):
    page = make()
    assert not page.all("link")
    sources = [a.get("src") or a.get("href") for tag in ("img", "image", "a", "iframe") for a in page.all(tag)]
    assert sources
    assert all(source.startswith(("data:image/webp;base64,", "#")) for source in sources)
    assert not re.search(r"url\((?!#)|@import", PAGE.read_text())
    assert [a.get("type") for a in page.all("script")] == ["application/json", None]
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src '{script_hash(page.scripts[1])}'" in policy


def test_it_stays_small(project):
    make()
    assert PAGE.stat().st_size < 250_000


def test_equal_input_gives_equal_bytes(project):
    make()
    first = PAGE.read_bytes()
    make()
    assert PAGE.read_bytes() == first


def test_every_picture_has_a_text_for_those_who_cannot_see_it(project):
    page = make()
    labels = [a for a in page.all("svg") if a.get("role") == "img"]
    assert len(labels) == 6 * 3 + 4 + 1  # the examples, the charts, and where the boxes lie
    assert all(a["aria-label"] for a in labels)
    assert all(a.get("role") == "img" or a.get("aria-hidden") == "true" for a in page.all("svg"))


def test_the_verdict_stands_first_and_says_how_good_against_what(project):
    metrics = pd.read_json(METRICS / "metrics.json", typ="series")
    text = make().text
    verdict = text[: text.index("Numbers on test")]
    assert f"The box is right (IoU ≥ 0.5 with a true box) on {metrics['test']['gt_known_iou50']:.1f} %" in verdict
    assert "the box of a centred Gaussian" in verdict
    assert "paired 95 % interval" in verdict
    assert f"τ = {metrics['threshold']:.3g} ({origin(metrics)})" in verdict
    assert "data c0ffee" in verdict
    assert "previous result" not in verdict


def test_the_numbers_are_those_of_metrics_with_their_intervals(project):
    test = pd.read_json(METRICS / "metrics.json", typ="series")["test"]
    text = make().text
    low, high = (test[f"gt_known_iou50_{end}"] for end in ("low", "high"))
    assert f"{test['gt_known_iou50']:.1f} [{low:.1f}, {high:.1f}]" in text
    assert text.index("Deployed") < text.index("Oracle") < text.index("Baseline")
    assert f"{test['center_gaussian_max_box_acc_iou50']:.1f}" in text[text.index("Baseline") :]


def test_the_script_gets_every_image_with_its_groups_and_a_box_for_every_threshold(project):
    data = make().data
    scores = pd.read_parquet(METRICS / "per_image.parquet").query("split == 'test'")
    assert data["ids"] == scores["image_id"].tolist()
    assert data["iou"] == (scores["iou"] * 1000).round().astype(int).tolist()
    assert data["groups"]["label"] == scores["label"].tolist()
    assert set(data["groups"]) == {"label", "kind", "size", "aspect", "position", "objects", "iou", "score", "entropy"}
    in_use = data["stops"].index(pytest.approx(data["tau"], abs=1e-6))
    for row, *_, boxes, truth in data["tiles"]:
        assert [box for stop, *box in boxes if stop <= in_use][-1] == scores["box"].iloc[row].tolist()
        assert len(truth) == 1
    metrics = json.loads((METRICS / "metrics.json").read_text())["test"]
    found = [values[in_use] for values in data["accuracy"]]
    assert found == pytest.approx([metrics[f"gt_known_iou{n}"] for n in (30, 50, 70)], abs=0.01)


def test_a_class_that_is_predicted_in_place_of_the_true_one_has_its_map_beside(project):
    data = make().data
    wrong = [data["predicted"][row] != data["groups"]["label"][row] for row, *_ in data["tiles"]]
    assert [bool(other) for _, _, _, other, *_ in data["tiles"]] == wrong
    assert sum(wrong) == 3


def test_names_are_text_not_markup(project):
    page = make()
    assert '<crow> & "co"' in page.text
    assert not page.all("crow")
    assert page.data["classes"] == list(CLASSES)
    assert "<crow>" not in PAGE.read_text()


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
    assert "most certain first" in page.text
    assert "discriminative part" not in page.text
    assert len(page.data["tiles"]) == SIZES["test"]
    assert page.data["accuracy"] == []
    assert "class is right" in page.text


def test_masks_without_boxes_have_no_threshold_section_but_pixels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, localize__threshold=0.2)
    write_run(tmp_path, boxes=False, masks=True)
    write_result()
    text = make().text
    assert "PxAP, %" in text
    assert "What another threshold would cost" not in text


def test_scores_older_than_the_page_name_the_stage_to_run(project):
    (METRICS / "metrics.json").unlink()
    with pytest.raises(UserError, match="pipeline evaluate"):
        report.run(load_params())
