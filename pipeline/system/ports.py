"""Ports of this machine: whether one is free, and who holds it."""

import socket
from contextlib import suppress

import psutil

from pipeline.errors import UserError

HOST = "127.0.0.1"
#: Characters of a foreign command line in a message.
COMMAND_SHOWN = 80


def check_free(port: int, option: str) -> None:
    """Refuse a port that a server could not listen on.

    Args:
        option: of the command line, that names another one.

    Raises:
        UserError: it is taken, by whom, or not this user's to take.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(
                f"port {port} of {HOST} cannot be used ({error.strerror}): "
                f"{_how_to_free(port)}, or choose another with {option}."
            ) from None


def _how_to_free(port: int) -> str:
    """Who listens there can be seen of one's own processes only."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(c.laddr.port == port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN):
                command = " ".join(process.cmdline())[:COMMAND_SHOWN]
                return f"process {process.pid} holds it ({command}): stop that by `kill {process.pid}`"
    return "stop what holds it"
