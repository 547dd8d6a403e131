"""Servers on this machine: free ports, and JSON over HTTP."""

import json
import socket
import urllib.request
from pathlib import Path
from typing import Any


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def request(method: str, address: str, body: Any = None, authorization: str = "") -> Any:
    """A JSON answer."""
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    headers |= {"Authorization": authorization} if authorization else {}
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(address, method=method, data=data, headers=headers)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return json.load(answer)


class AirflowApi:
    """Airflow's REST API, signed in as the user of the page."""

    def __init__(self, port: int, state: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        user = {"username": "admin", "password": json.loads((state / "airflow/passwords.json").read_text())["admin"]}
        self.token = request("POST", f"{self.url}/auth/token", user)["access_token"]

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        """A JSON answer."""
        return request(method, self.url + path, body, f"Bearer {self.token}")
