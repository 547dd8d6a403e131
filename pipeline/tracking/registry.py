"""MLflow's model registry: versions of tracked models, and the aliases that say which one is in use.

A registered model has the name of its experiment. Each version is a tracked run's model: weights with their
architecture, with the run's metrics. ``champion`` is in use, ``previous`` was before it, ``challenger`` was tried last.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from math import inf
from pathlib import Path
from typing import Any, Literal

from pipeline import console
from pipeline.errors import TransientError, UserError, reason
from pipeline.system.locks import exclusive_lock
from pipeline.system.state import state_folder
from pipeline.tracking import recorded, server
from pipeline.tracking.tags import CHAMPION, LOOK, MODEL_HASH, MODEL_RUN, ROLLED_BACK, RUN_KEY, TRAIN_KEY

Alias = Literal["champion", "previous", "challenger"]
MODEL_FOLDER = "model"


class ChampionChanged(TransientError):
    """Another run became champion while a decision was made."""


class Registry:
    """The registered model of an experiment.

    Attributes:
        client: MLflow's client.
        name: of the registered model.
    """

    def __init__(self, client: Any, experiment: str) -> None:
        self.client = client
        # Names of models may hold neither slashes nor colons.
        self.name = re.sub(r"[/:]", ".", experiment)

    def aliases(self) -> dict[str, str]:
        """Version numbers by alias; empty where nothing is registered."""
        found = self.client.search_registered_models(f"name = '{self.name}'")
        return {alias: str(version) for model in found for alias, version in model.aliases.items()}

    def run_of(self, version: str) -> Any:
        """The tracked run a version was made from.

        Raises:
            UserError: the run was deleted.
        """
        run = self.client.get_run(self.client.get_model_version(self.name, version).run_id)
        if run.info.lifecycle_stage != "active":
            raise UserError(
                f"run {run.info.run_id} of version {version} of model {self.name} was deleted; restore it with "
                f"`mlflow runs restore --run-id {run.info.run_id}`."
            )
        recorded.run_id(run.info.run_id)
        return run

    def version_of(self, run_id: str) -> str | None:
        """The number of the version made from a run, if there is one."""
        found = self.client.search_model_versions(f"name = '{self.name}' and run_id = '{run_id}'")
        return str(found[0].version) if found else None

    def register(self, run: Any, tags: Mapping[str, str]) -> str:
        """The number of the version of a run, made if need be, with these tags.

        Raises:
            UserError: the run's model files are gone.
        """
        version = self.version_of(run.info.run_id)
        if version is None:
            self._ensure_model(run)
            self._ensure_registered()
            source = f"{run.info.artifact_uri}/{MODEL_FOLDER}"
            version = str(self.client.create_model_version(self.name, source, run.info.run_id).version)
        for key, value in tags.items():
            self.client.set_model_version_tag(self.name, version, key, value)
        return version

    def _ensure_registered(self) -> None:
        from mlflow import MlflowException

        if not self.client.search_registered_models(f"name = '{self.name}'"):
            try:
                self.client.create_registered_model(self.name)
            except MlflowException as error:
                # Another machine was first.
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise

    def _ensure_model(self, run: Any) -> None:
        """A result of a training that has a row already names the run that holds the model: a version needs its own."""
        if self.client.list_artifacts(run.info.run_id, MODEL_FOLDER):
            return
        holder = run.data.tags.get(MODEL_RUN, "")
        if not holder or not self.client.list_artifacts(holder, MODEL_FOLDER):
            raise UserError(
                f"the model of run {run.info.run_id} is not among the artifacts of MLflow. Run `python -m pipeline "
                "track` where the result lies, then again."
            )
        with tempfile.TemporaryDirectory() as folder:
            model = download(self.client, holder, MODEL_FOLDER, Path(folder))
            self.client.log_artifacts(run.info.run_id, str(model), MODEL_FOLDER)

    def set_aliases(self, changes: Mapping[Alias, str]) -> None:
        """Give aliases to versions in the order named: all of them, or none when one of them fails."""
        before = self.aliases()
        done: list[Alias] = []
        try:
            for alias, version in changes.items():
                done.append(alias)
                self.client.set_registered_model_alias(self.name, alias, version)
        except BaseException:
            for alias in reversed(done):
                # A server that has gone answers this no more than it did the change.
                with suppress(Exception):
                    self._restore(alias, before.get(alias))
            raise
        if (champion := changes.get("champion")) is not None:
            self._mark_champion(champion, before.get("champion"))

    def _mark_champion(self, version: str, former: str | None) -> None:
        """Move the tag that the table of runs shows; the alias is what counts, so a failure is said and no more."""
        try:
            if former is not None and former != version:
                self.client.delete_tag(self.client.get_model_version(self.name, former).run_id, CHAMPION)
        except Exception as error:  # it never had the tag, or its run is gone
            console.say(f"the former champion's run in MLflow has no mark to take away: {reason(error)}")
        try:
            self.client.set_tag(self.client.get_model_version(self.name, version).run_id, CHAMPION, "yes")
        except Exception as error:
            console.warn(f"the champion's run in MLflow could not be marked: {reason(error)}")

    def _restore(self, alias: Alias, version: str | None) -> None:
        if version is None:
            self.client.delete_registered_model_alias(self.name, alias)
        else:
            self.client.set_registered_model_alias(self.name, alias, version)

    def rolled_back_like(self, run: Any) -> str | None:
        """A version with the run's model whose time as champion a rollback ended, whichever run it was made from."""
        alike = [f"run_id = '{run.info.run_id}'"]
        if model_hash := run.data.tags.get(MODEL_HASH):
            alike.append(f"tags.`{MODEL_HASH}` = '{model_hash}'")
        found = (
            version
            for condition in alike
            for version in self.client.search_model_versions(f"name = '{self.name}' and {condition}")
        )
        return next((str(version.version) for version in found if ROLLED_BACK in version.tags), None)

    def gave_way_to(self, version: str) -> str | None:
        """The version that took a version's place in a rollback; None where none did."""
        found = self.client.get_model_version(self.name, version).tags.get(ROLLED_BACK)
        return None if found is None else str(found)

    def mark_rolled_back(self, version: str, successor: str) -> None:
        """Note that a version's time as champion ends by a rollback to another."""
        self.client.set_model_version_tag(self.name, version, ROLLED_BACK, successor)

    def lift_rollback(self, version: str) -> None:
        """Remove the mark of a version that was rolled back."""
        if self.gave_way_to(version) is not None:
            self.client.delete_model_version_tag(self.name, version, ROLLED_BACK)

    def look(self, rival: str | None, run: Any, metric: str) -> int:
        """How many times challengers were compared with a version, this time included; the same run again is the same.

        Counted before a number is seen, so that a promotion that is stopped and completed is one look.

        Args:
            rival: the version to beat; None where none is champion.
            metric: that decides: by another one a run is looked at anew.
        """
        key = f"{LOOK}{run.info.run_id}.{metric}"
        with self._lock():
            self._ensure_registered()
            looks = {tag: value for tag, value in self._tags(rival).items() if tag.startswith(LOOK)}
            if key not in looks:
                looks[key] = str(len(looks) + 1)
                self._tag(rival, key, looks[key])
        return int(looks[key])

    @staticmethod
    def _lock() -> AbstractContextManager[Any]:
        return exclusive_lock(state_folder() / "registry.lock", "another promotion", inf)

    def _tags(self, version: str | None) -> Mapping[str, str]:
        client, name = self.client, self.name
        found = client.get_registered_model(name) if version is None else client.get_model_version(name, version)
        return dict(found.tags)

    def _tag(self, version: str | None, key: str, value: str) -> None:
        if version is None:
            self.client.set_registered_model_tag(self.name, key, value)
        else:
            self.client.set_model_version_tag(self.name, version, key, value)

    @contextmanager
    def changing(self, champion: str | None) -> Iterator[None]:
        """One process at a time changes aliases, and only while the champion is the one it decided against.

        Raises:
            ChampionChanged: another promotion came first.
        """
        with self._lock():
            if self.aliases().get("champion") != champion:
                raise ChampionChanged(
                    f"another run became champion of model {self.name} meanwhile; nothing was changed. Run again."
                )
            yield


def download(client: Any, run_id: str, path: str, folder: Path) -> Path:
    """Bring an artifact of a run into a folder; returns where it lies there.

    Raises:
        UserError: the server put it elsewhere.
    """
    file = Path(client.download_artifacts(run_id, path, str(folder)))
    if file.is_symlink() or not file.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"artifact {path} of run {run_id} was not downloaded into {folder}, but to {file}.")
    return file


def artifact_names(client: Any, run_id: str, folder: str) -> set[str]:
    """The paths of the artifacts that a run has in a folder of them."""
    return {item.path for item in client.list_artifacts(run_id, folder)}


def fetch(client: Any, run_id: str, path: str, folder: Path) -> Path:
    """Bring an artifact that must be there into a folder; returns where it lies there.

    Raises:
        UserError: the run has none of that name.
    """
    if path not in artifact_names(client, run_id, path.rpartition("/")[0]):
        raise UserError(
            f"run {run_id} has no artifact {path}; run `python -m pipeline track` where its result lies, then again."
        )
    return download(client, run_id, path, folder)


def find_run(client: Any, experiment: str, run_key: str, train_key: str) -> Any | None:
    """The row that ``track`` made for a result."""
    experiment_id = server.experiment_id(client, experiment)
    rows = list(client.search_runs([experiment_id], f"tags.`{RUN_KEY}` = '{run_key}'"))
    same_training = [row for row in rows if row.data.tags.get(TRAIN_KEY) == train_key]
    run = next(iter([*same_training, *rows]), None)
    if run is not None:
        recorded.run_id(run.info.run_id)
    return run


def get_run(client: Any, run_id: str) -> Any:
    """A tracked run by its id.

    Raises:
        UserError: there is none, it was deleted, or it was never completed by ``track``.
    """
    from mlflow import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        run = None
    if run is None or run.info.lifecycle_stage != "active" or RUN_KEY not in run.data.tags:
        raise UserError(
            f"{server.shown_tracking_uri()} has no tracked run {run_id!r}; its id stands on its page in MLflow "
            "and in what `python -m pipeline track` prints."
        )
    recorded.run_id(run.info.run_id)
    return run
