"""Which module may import what, beside the layers that `lint-imports` holds (pyproject.toml)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Where each tool is imported; nowhere else.
HOMES = {
    "mlflow": ("pipeline/tracking/", "pipeline/local/mlflow_app.py"),
    "rich": ("pipeline/console.py",),
    "airflow": ("dags/",),
    "dvc": (),
}
#: Arrays or tensors in, the same out: these import no other module of the pipeline.
PURE = [
    *sorted((ROOT / "pipeline/evaluation").glob("*.py")),
    *(
        ROOT / "pipeline" / name
        for name in (
            "models/cam.py", "models/pooling.py", "training/losses.py", "training/erasing.py", "cams/gradients.py"
        )
    ),
]  # fmt: skip
MODULES = [path for folder in ("pipeline", "dags") for path in sorted((ROOT / folder).rglob("*.py"))]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_the_walk_sees_the_modules():
    assert "pipeline.errors" in imports(ROOT / "pipeline/files.py")
    assert len(MODULES) > 40


@pytest.mark.parametrize("path", PURE, ids=relative)
def test_pure_modules_import_nothing_of_the_pipeline(path):
    inside = "pipeline.evaluation" if path.parent.name == "evaluation" else "none"
    others = {name for name in imports(path) if name.split(".")[0] == "pipeline"}
    assert all(name == inside or name.startswith(f"{inside}.") for name in others)


@pytest.mark.parametrize("path", sorted((ROOT / "pipeline/evaluation").glob("*.py")), ids=relative)
def test_the_evaluation_knows_no_torch(path):
    assert "torch" not in {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", sorted((ROOT / "dags").rglob("*.py")), ids=relative)
def test_dags_know_the_command_line_only(path):
    assert "pipeline" not in {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_heavy_tools_have_one_home(path):
    tops = {name.split(".")[0] for name in imports(path)}
    for tool in tops & HOMES.keys():
        homes = HOMES[tool]
        assert relative(path).startswith(homes), f"{tool} has its home in {homes}"
