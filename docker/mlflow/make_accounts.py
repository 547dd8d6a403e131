"""Before each start of the stack: MLflow's accounts, one for each role, with what each may do and no more.

MLflow must answer at ``MLFLOW_TRACKING_URI``. Names are those of the roles, passwords lie in ``/run/wsol/mlflow``.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlflow import MlflowException
from mlflow.server import get_app_client

SECRETS = Path("/run/wsol/mlflow")
#: All is in the one workspace that MLflow starts with. Only who may use it may make experiments and models there.
WORKSPACE = "default"
#: By role: kind of thing and permission, of all things of that kind. A kind that is not named is not seen; what a role
#: makes itself it may also delete.
ROLES: dict[str, dict[str, str]] = {
    # Experiments and their runs, of which it deletes those that stream the same training twice; no model.
    "training": {
        "workspace": "USE", "experiment": "EDIT", "run": "MANAGE",
        "registered_model": "DENY", "registered_model_version": "DENY", "prompt": "DENY", "prompt_version": "DENY",
    },
    # Models, their versions and aliases; of runs it writes what was decided, and makes none.
    "promotion": {"workspace": "USE", "experiment": "READ", "run": "EDIT", "registered_model": "MANAGE"},
    "reviewer": {"experiment": "READ", "registered_model": "READ"},
}  # fmt: skip


def make_accounts(client: Any, secrets: Path) -> None:
    """Make what is missing, and set passwords and permissions to what they should be."""
    for name, permissions in ROLES.items():
        password = (secrets / f"{name}_password").read_text()
        try:
            client.get_user(name)
        except MlflowException:
            client.create_user(name, password)
        else:
            client.update_user_password(name, password)
        role = _role(client, name)
        _permit(client, role.id, permissions)
        if name not in _names(client.list_user_roles(name)):
            client.assign_role(name, role.id)


def _role(client: Any, name: str) -> Any:
    found = [role for role in client.list_roles(WORKSPACE) if role.name == name]
    return found[0] if found else client.create_role(WORKSPACE, name)


def _permit(client: Any, role: int, permissions: dict[str, str]) -> None:
    """Give a role these permissions, and take any other."""
    wanted = {(kind, "*", permission) for kind, permission in permissions.items()}
    for given in client.list_role_permissions(role):
        row = (given.resource_type, given.resource_pattern, given.permission)
        if row in wanted:
            wanted.remove(row)
        else:
            client.remove_role_permission(given.id)
    for row in sorted(wanted):
        client.add_role_permission(role, *row)


def _names(roles: Iterable[Any]) -> set[str]:
    return {role.name for role in roles}


if __name__ == "__main__":
    os.environ["MLFLOW_TRACKING_USERNAME"] = (SECRETS / "admin_user").read_text()
    os.environ["MLFLOW_TRACKING_PASSWORD"] = (SECRETS / "admin_password").read_text()
    make_accounts(get_app_client("basic-auth", tracking_uri=os.environ["MLFLOW_TRACKING_URI"]), SECRETS)
    print(f"accounts: {', '.join(ROLES)}")
