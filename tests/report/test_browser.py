"""The page in a real browser: no error, nothing from the network, and everything that can be clicked works."""

import re

import pytest

from pipeline.params import load_params
from pipeline.stages import report
from tests.browser import browser
from tests.sample_result import write_params, write_result, write_run


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    write_run(tmp_path)
    write_result()
    report.run(load_params())
    (tmp_path / "profile").mkdir()
    with browser(tmp_path / "profile") as page:
        page.open((tmp_path / "report/index.html").as_uri())
        page.until("document.querySelectorAll('button.tile').length > 0")
        yield page
        assert page.errors == []
        assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []


def text(page, element):
    return page.evaluate(f"document.getElementById('{element}').textContent")


def change(page, element, value, event="change"):
    page.evaluate(
        f"(() => {{ const e = document.querySelector({element!r}); e.value = {value!r};"
        f" e.dispatchEvent(new Event({event!r})); }})()"
    )


def captions(page):
    return page.evaluate("[...document.querySelectorAll('#tiles .caption')].map((e) => e.textContent)")


def test_filters_order_slider_and_keyboard_work(page, tmp_path):
    assert text(page, "count") == "9 images, 9 with pictures"
    overlaps = [float(re.search(r"IoU (\d\.\d\d)", caption)[1]) for caption in captions(page)]
    assert overlaps == sorted(overlaps)

    page.evaluate("document.querySelector('.bars button[data-group=label]:not(:disabled)').click()")
    assert text(page, "count") == "3 images, 3 with pictures"
    change(page, "#name", "no such image", "input")
    assert "No image fits" in text(page, "tiles")
    page.evaluate("document.getElementById('reset').click()")
    assert len(captions(page)) == 9

    change(page, "#sort", "random")
    first = captions(page)
    change(page, "#seed", "7", "input")
    assert captions(page) != first
    change(page, "#seed", "0", "input")
    assert captions(page) == first

    box = "document.querySelector('#tiles rect.box.predicted').getAttribute('width')"
    before, accuracy = page.evaluate(box), text(page, "accuracy")
    assert "in use" in accuracy
    change(page, "#tau", "95", "input")
    assert page.evaluate(box) != before
    assert "in use" not in text(page, "accuracy")
    page.evaluate("document.getElementById('in-use').click()")
    assert (page.evaluate(box), text(page, "accuracy")) == (before, accuracy)

    page.evaluate("document.querySelector('button.tile').click()")
    title, said = text(page, "large-title"), text(page, "large-text")
    page.press("ArrowRight")
    assert text(page, "large-title") != title
    page.press("ArrowLeft")
    assert (text(page, "large-title"), text(page, "large-text")) == (title, said)
    page.press("-")
    assert text(page, "large-text") != said
    page.press("Escape")
    page.until("!document.getElementById('large').open")


def test_names_with_markup_are_text(page):
    assert page.evaluate("document.querySelectorAll('crow').length") == 0
    assert any('<crow> & "co"' in caption for caption in captions(page))


def test_it_fits_a_telephone_and_prints_on_few_pages(page, tmp_path):
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", page.pdf())) <= 3
    page.open((tmp_path / "report/index.html").as_uri(), width=390, scheme="dark")
    page.until("document.querySelectorAll('button.tile').length > 0")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", background))) < 64
