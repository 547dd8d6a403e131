"""The MLflow run of a sweep: the parent under which MLflow shows the rows of its trials, found again by its key."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline.tracking import server, views
from pipeline.tracking.tags import NOTE, PARENT, SWEEP_KEY


class SweepRun:
    """The run of a sweep; there is one per key, whatever happens to the sweep or to the server.

    Attributes:
        run_id: MLflow's id of the run.
        finished: whether everything has been logged already.

    Raises:
        TransientError: the server does not answer; so do all methods.
        UserError: mlflow is not installed, or the server or experiment cannot be used; so do all methods.
    """

    def __init__(self, experiment: str, key: str, name: str, settings: Mapping[str, str], command: str) -> None:
        self._command = command
        with self._server(server.PROBE_PATIENCE):
            self._client = server.client()
            home = server.experiment_id(self._client, experiment)
            views.arrange(self._client, home)
            found = list(self._client.search_runs([home], f"tags.`{SWEEP_KEY}` = '{key}'"))
            run = found[0] if found else self._client.create_run(home, tags={SWEEP_KEY: key}, run_name=name)
            self.run_id: str = run.info.run_id
            self.finished = run.info.status == "FINISHED"
            for setting, value in settings.items():
                self._client.log_param(self.run_id, setting, value)

    def start(self) -> None:
        """Trials are run now."""
        with self._server():
            self._client.update_run(self.run_id, status="RUNNING")

    def adopt(self, row: str) -> None:
        """Show the row of a trial under this run; a row that another sweep had comes over."""
        with self._server():
            self._client.set_tag(row, PARENT, self.run_id)

    def finish(self, note: str, metrics: Mapping[str, float], step: int, files: Iterable[Path]) -> None:
        """Log the outcome: a text, the best trial's metrics at ``step``, files in place of those of the same name."""
        with self._server():
            for name, value in metrics.items():
                self._client.log_metric(self.run_id, name, value, step=step)
            for file in files:
                self._client.log_artifact(self.run_id, str(file))
            self._client.set_tag(self.run_id, NOTE, note)
            self._client.set_terminated(self.run_id, "FINISHED")

    def stop(self, status: str) -> None:
        """The sweep has ended before its end: ``FAILED`` or ``KILLED``."""
        with self._server(server.LIVE_PATIENCE):
            self._client.set_terminated(self.run_id, status)

    @contextmanager
    def _server(self, patience: tuple[int, int] = server.TRACK_PATIENCE) -> Iterator[None]:
        with server.clear_errors("record the sweep", self._command), server.patience(*patience):
            yield
