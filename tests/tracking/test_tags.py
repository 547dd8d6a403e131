"""Names of tags stand in one place."""

import re

from pipeline.tracking import tags
from tests.sample_result import REPOSITORY

NAME = re.compile(r'"((?:wsol|mlflow)\.[A-Za-z_.]+)"')
#: Of a container, and files.
OTHERS = {"wsol.task", "mlflow.db"}


def names():
    return [value for name, value in vars(tags).items() if name.isupper()]


def test_no_module_spells_a_tag_itself():
    spelled = {
        (str(path.relative_to(REPOSITORY)), found)
        for folder in ("pipeline", "dags", "benchmarks")
        for path in (REPOSITORY / folder).rglob("*.py")
        for found in NAME.findall(path.read_text())
    }
    assert {path for path, found in spelled if found not in OTHERS} == {"pipeline/tracking/tags.py"}


def test_every_tag_has_one_name():
    assert len(names()) == len(set(names()))
