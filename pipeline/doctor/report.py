"""The command ``doctor``: all checks, a line each."""

from typing import Any

from pipeline import console
from pipeline.doctor import machine, project
from pipeline.doctor.check import Check, Finding, run_checks

#: torch and MLflow take seconds to import, and on a busy machine many.
SLOW = 90.0
CHECKS = (
    Check("Python", machine.python),
    Check("packages", machine.packages),
    Check("OpenCV", machine.images),
    Check("GPU", machine.gpu, SLOW),
    Check("disk", machine.disk),
    Check("Git", machine.history),
    Check("folder", project.folder),
    Check("params", project.params),
    Check("data", project.data, SLOW),
    Check("remote", project.remote, SLOW),
    Check("tracking", project.tracking, SLOW),
    Check("Airflow", project.airflow),
    Check("Docker", machine.docker),
    Check("ports", machine.ports),
    Check("locks", project.locks),
)
SIGNS = {"good": ("✓", "green"), "warning": ("!", "bold yellow"), "fault": ("✗", "bold red")}


def examine() -> dict[str, Any]:
    """Run the checks and show what each finds as it comes; the answer has ``exit_code`` 1 where one is a fault."""
    found = []
    for finding in run_checks(CHECKS):
        _show(finding)
        found.append(finding)
    faults = sum(finding.state == "fault" for finding in found)
    console.say("Nothing keeps the pipeline from working here." if not faults else f"To be mended: {faults}.")
    return {"exit_code": int(faults > 0), "findings": [vars(finding) for finding in found]}


def _show(finding: Finding) -> None:
    console.finding(*SIGNS[finding.state], finding.subject, finding.text)
