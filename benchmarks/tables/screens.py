"""The pictures of docs/reviewing.md: ``python -m benchmarks.tables.screens`` after a run and a ``compare``.

Takes them of report/index.html and comparison/index.html in headless Chromium.
"""

import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pipeline.files import REPORT
from pipeline.promotion.compare import PAGE
from tests.browser import Browser, browser

IMAGES = Path(__file__).parents[2] / "docs/images"
#: Width of a picture in pixels, and its colours: as many as keep the boxes green and red, in a file of some 100 kB.
WIDTH, COLOURS = 900, 256
READY = "document.querySelectorAll('button.tile').length > 0"


def save(page: Browser, name: str, height: int) -> None:
    """The upper part of what the window shows."""
    with tempfile.TemporaryDirectory() as folder:
        page.screenshot(Path(folder) / "shot.png")
        shot = cv2.cvtColor(cv2.imread(f"{folder}/shot.png"), cv2.COLOR_BGR2RGB)[:height]
    small = cv2.resize(shot, (WIDTH, round(len(shot) * WIDTH / shot.shape[1])), interpolation=cv2.INTER_AREA)
    Image.fromarray(np.asarray(small)).quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, kmeans=2).save(
        IMAGES / f"{name}.png", optimize=True
    )


def scroll(page: Browser, element: str) -> None:
    """Bring an element to the top at once."""
    page.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
    page.evaluate(f"document.getElementById({element!r}).scrollIntoView()")


def main() -> None:
    """Write all of them."""
    with tempfile.TemporaryDirectory() as profile, browser(Path(profile)) as page:
        page.open((REPORT / "index.html").absolute().as_uri())
        page.until(READY)
        save(page, "report", 620)
        scroll(page, "gallery")
        save(page, "report-gallery", 780)
        page.evaluate("document.querySelector('button.tile').click()")
        save(page, "report-large", 760)
        page.open((REPORT / "index.html").absolute().as_uri(), scheme="dark")
        page.until(READY)
        scroll(page, "failures")
        save(page, "report-failures", 720)
        page.open(PAGE.absolute().as_uri(), height=1500)
        scroll(page, "images")
        save(page, "comparison", 760)


if __name__ == "__main__":
    main()
