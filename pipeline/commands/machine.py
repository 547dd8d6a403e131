"""This machine."""

from pipeline.commands.answers import Answer


def doctor() -> Answer:
    """Look at this machine and folder, and say what to mend.

    Versions, GPU, disk, Git, parameters, data, DVC's remote, MLflow, Airflow, Docker, ports and locks: a line each,
    good (✓), a warning (!) or a fault (✗) with what to do. Nothing is written. The exit code is 1 where one is a fault.

    Examples:
        python -m pipeline doctor
        python -m pipeline doctor --json
    """
    from pipeline.commands.version import version
    from pipeline.console import finding
    from pipeline.doctor.report import examine

    finding("✓", "green", "version", version())
    return {"version": version(), **examine()}
