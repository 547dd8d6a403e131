"""dvc.yaml names everything a stage depends on: what it leaves out would change without a re-run."""

import ast
from pathlib import Path

import pytest
import yaml

from pipeline import records
from pipeline.commands.stages import STAGES
from pipeline.params import load_params

ROOT = Path(__file__).parents[1]
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
#: Modules that cannot change what a stage writes: messages, errors, validation, the place of the state, locks,
#: streaming, the checked reader of DVC's files, and Git, by which a training says where it came from.
WITHOUT_EFFECT = {
    Path("pipeline", name)
    for name in (
        "console.py", "errors.py", "params.py", "system/dvc.py", "system/environment.py", "system/git.py",
        "system/locks.py", "system/state.py", "tracking/runs.py",
    )
}  # fmt: skip


#: Packages whose modules are found by their names, all of them.
FOUND_BY_NAME = ("pipeline.data.sets", "pipeline.data.annotations", "pipeline.cams.methods")


def imported(module: Path) -> set[Path]:
    """Modules of the pipeline that a module imports, itself included, those without effect left out."""
    found: set[Path] = set()
    pending = [module]
    while pending:
        path = pending.pop()
        if path in found or path in WITHOUT_EFFECT:
            continue
        found.add(path)
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            pending += _modules(node)
    return found


def _modules(node: ast.AST) -> list[Path]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
        names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    else:
        return []
    paths = (Path(*name.split(".")).with_suffix(".py") for name in names if name.startswith("pipeline"))
    by_name = [
        file for name in FOUND_BY_NAME if name in names for file in (ROOT / name.replace(".", "/")).glob("[a-z]*.py")
    ]
    return [*(path for path in paths if (ROOT / path).is_file()), *(file.relative_to(ROOT) for file in by_name)]


def code_deps(stage: str) -> set[Path]:
    """The modules that a stage's ``deps`` name, singly or by their folder."""
    deps = [ROOT / dep for dep in DVC[stage]["deps"] if dep.startswith("pipeline/")]
    files = {file for dep in deps for file in ([dep] if dep.is_file() else dep.rglob("*.py"))}
    return {file.relative_to(ROOT) for file in files if file.name != "__init__.py" and file.suffix == ".py"}


def test_the_walk_sees_imports_of_imports():
    found = imported(Path("pipeline/stages/train.py"))
    assert {Path("pipeline/training/trainer.py"), Path("pipeline/training/losses.py")} <= found


@pytest.mark.parametrize("stage", [name for name in STAGES if name != "track"])
def test_a_stage_depends_on_the_modules_it_imports_and_on_no_other(stage):
    assert code_deps(stage) == imported(Path(f"pipeline/stages/{stage}.py"))


def test_report_depends_on_its_templates_and_on_the_result_before():
    assert {"pipeline/report/templates", "data/previous"} <= set(DVC["report"]["deps"])


def test_one_stage_one_module_one_command():
    assert list(DVC) == list(STAGES)
    for name, stage in DVC.items():
        assert stage["cmd"] == f"python -m pipeline {name}"
        assert (ROOT / f"pipeline/stages/{name}.py").is_file()
        assert stage["desc"]
        assert stage["meta"].keys() - {"fetches_weights", "identity"} == {"gpus", "timeout_minutes", "retries"}


@pytest.mark.parametrize("stage", [stage for stage, keys in records.PARAMS.items() if keys])
def test_what_is_recorded_of_a_stage_are_its_parameters(stage):
    assert records.PARAMS[stage] == tuple(DVC[stage]["params"])


def test_every_parameter_belongs_to_a_stage():
    listed = [key for stage in DVC.values() for key in stage.get("params", [])]
    for key in load_params(ROOT / "params.yaml").flat():
        covered = any(key == name or key.startswith(f"{name}.") for name in listed)
        # track always runs, and promote is no stage: it changes no file
        assert covered or key == "track.experiment" or key.startswith("promote.")


def test_images_are_known_by_their_content_so_that_new_boxes_beside_them_train_nothing_again():
    for stage in ("prepare", "evaluate", "report"):
        assert "${prepare.root}" in DVC[stage]["deps"]
    for stage in ("train", "extract_cams"):
        assert "data/labelled" in DVC[stage]["deps"]
        assert not {"${prepare.root}", "data/prepared"} & set(DVC[stage]["deps"])
