"""What the documents and presets say agrees with the code."""

import re
from pathlib import Path

import pytest
import yaml

from pipeline.cli import STAGES
from pipeline.params import load_params

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_key_is_listed_with_its_default():
    text = (ROOT / "docs/params.md").read_text()
    listed = dict(re.findall(r"^\| `([a-z_.]+)` \| `([^`]+)` \|", text, re.MULTILINE))
    flat = load_params(ROOT / "params.yaml").flat()
    assert listed.keys() == flat.keys()
    for key, value in flat.items():
        assert yaml.safe_load(listed[key]) == value, key


def test_readme_shows_the_stages_in_order():
    assert " ──► ".join(STAGES) in README


def test_the_readme_can_be_read_at_once():
    assert len(README.splitlines()) <= 120


def test_first_screen_has_the_picture_and_both_commands():
    screen = "\n".join(README.splitlines()[:20])
    assert "make run " in screen
    assert "make test " in screen
    (picture,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", screen)
    assert (ROOT / picture).is_file()


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize(
    "path", sorted({*ROOT.glob("presets/*.yaml")} - {ROOT / "presets/default.yaml"}), ids=lambda path: path.stem
)
def test_presets_say_paper_command_cost_and_expectation(path):
    head = path.read_text().split("\n\n")[0]
    assert all(word in head for word in ("# Paper", "# Command:", "# Cost:", "# Expect:"))


def test_every_target_is_in_the_help():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    assert targets == set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
