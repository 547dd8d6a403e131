"""What the documents and presets say agrees with the code."""

import json
import re
from pathlib import Path

import pytest
import yaml
from ruamel.yaml import YAML

from pipeline.commands.stages import STAGES
from pipeline.params import load_params
from pipeline.params_reference import COMMAND, PAGE_FILE, SCHEMA_FILE, files

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", [SCHEMA_FILE, PAGE_FILE], ids=str)
def test_what_is_made_from_the_models_is_in_step(monkeypatch, path):
    monkeypatch.chdir(ROOT)
    assert path.read_text() == files()[path], f"{path} is out of step with pipeline/params.py: run `{COMMAND}`"


def test_comments_say_what_the_schema_says():
    comments = dict(_comments(YAML(pure=True).load((ROOT / "presets/default.yaml").read_text())))
    assert comments == dict(_described(json.loads((ROOT / SCHEMA_FILE).read_text())))


def _comments(group, prefix=""):
    for name, value in group.items():
        if isinstance(value, dict):
            yield from _comments(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", group.ca.items[name][2].value.split("\n")[0].removeprefix("# ")


def _described(group, prefix=""):
    for name, node in group["properties"].items():
        if "properties" in node:
            yield from _described(node, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", node["description"]


def test_every_key_is_listed_with_its_default():
    listed = dict(re.findall(r"^\| `([a-z_.]+)` \| `([^`]+)` \|", (ROOT / PAGE_FILE).read_text(), re.MULTILINE))
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
