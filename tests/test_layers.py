"""Imports only point down: the floors of CONTRIBUTING.md."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTRACTS = {
    "backbones",
    "manifest",
    "params",
    "strict_yaml",
    "files",
    "records",
    "results",
    "schemas",
    "console",
    "errors",
    "state",
    "outcome",
}
HOMES = {
    "mlflow": {
        "pipeline/local/mlflow_app.py",
        "pipeline/mlflow_client.py",
        "pipeline/registry.py",
        "pipeline/tracking.py",
    },
    "rich": {"pipeline/console.py"},
    "dvc": set(),
}
MODULES = [path.relative_to(ROOT) for folder in ("pipeline", "dags") for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def floor_below(path: Path) -> set[str] | None:
    """Packages and modules of ``pipeline`` a file may import; None for any but those above all."""
    if path.parts[:2] == ("pipeline", "wsol"):
        return {"wsol"}
    if path.parent == Path("pipeline") and path.stem in CONTRACTS:
        return CONTRACTS | {"wsol"}
    return None


def test_the_walk_sees_the_modules():
    assert "pipeline.errors" in imports(Path("pipeline/files.py"))
    assert len(MODULES) > 40


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_point_down(path):
    own = {name.split(".")[1] for name in imports(path) if name.startswith("pipeline.")}
    if path.parts[0] == "dags":
        assert not own, "the DAGs know dvc.yaml and the command line only"
        return
    allowed = floor_below(path)
    assert allowed is None or own <= allowed
    assert path.name in ("cli.py", "__main__.py") or not own & {"cli", "stages"}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_heavy_tools_have_one_home(path):
    tops = {name.split(".")[0] for name in imports(path)}
    assert ("airflow" in tops) <= (path.parts[0] == "dags")
    for tool, homes in HOMES.items():
        assert tool not in tops or str(path) in homes
