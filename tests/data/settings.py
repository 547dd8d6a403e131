"""Parameters of ``prepare`` for tests."""

from pathlib import Path
from typing import Any

from pipeline.params import PrepareParams, load_params
from tests.project import ROOT


def prepare_settings(root: Path | str = "data/synthetic", **changes: Any) -> PrepareParams:
    """The committed ones with another root and other values; ``synthetic`` takes values of its own group."""
    tree = load_params(ROOT / "params.yaml").prepare.model_dump()
    tree["synthetic"] |= changes.pop("synthetic", {})
    return PrepareParams.model_validate(tree | {"root": str(root)} | changes)
