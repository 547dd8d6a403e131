"""MLflow's server behind the page: a sign-in before everything, and no file outside the folder of artifacts.

An experiment says itself where its artifacts lie, and MLflow's server reads and writes wherever that is with the rights
of the user it runs as. Here it opens what lies in the state folder's ``mlartifacts``, links followed, and nothing else.
"""

import os
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from mlflow.server.constants import ARTIFACT_ROOT_ENV_VAR, BACKEND_STORE_URI_ENV_VAR
from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from pipeline.local.mlflow_home import artifacts_folder, tracking_database


class ArtifactsOfTheStateFolder(LocalArtifactRepository):
    """Files of a run, a model or a trace.

    Raises:
        MlflowException: its location lies elsewhere; status 403.
    """

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        if not Path(self.artifact_dir).resolve().is_relative_to(artifacts_folder().resolve()):
            raise MlflowException(
                f"This page shows files below {artifacts_folder()}, and {artifact_uri} is not there.",
                error_code=PERMISSION_DENIED,
            )


def create_app() -> Any:
    """What uvicorn serves; the database is opened first, so that one it cannot use ends the server at once."""
    os.environ |= {
        BACKEND_STORE_URI_ENV_VAR: tracking_database(),
        # Given without MLflow's artifact proxy: whoever logs is on this machine and writes to the folder itself.
        ARTIFACT_ROOT_ENV_VAR: artifacts_folder().as_uri(),
        "_MLFLOW_SGI_NAME": "uvicorn",
    }
    from mlflow.server import auth, handlers

    stores: dict[str, Any] = get_registered_artifact_repositories()
    stores.update({"": ArtifactsOfTheStateFolder, "file": ArtifactsOfTheStateFolder})
    handlers.initialize_backend_stores()
    return auth.create_app()
