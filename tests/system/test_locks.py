"""Locks: one holder at a time, named to the others; none outlives its holder."""

import errno
import os
import subprocess
import sys
import time
from math import inf
from pathlib import Path

import pytest

from pipeline.errors import TransientError, UserError
from pipeline.system import locks
from pipeline.system.locks import exclusive_lock, is_held, wait_until_free

HOLD = """\
import fcntl, os, sys, time
stream = open(sys.argv[1], "a+")
fcntl.flock(stream, fcntl.LOCK_EX)
stream.truncate(0)
stream.write(sys.argv[2] if len(sys.argv) > 2 else str(os.getpid()))
stream.flush()
print("held", flush=True)
time.sleep(float(sys.argv[3]) if len(sys.argv) > 3 else 120)
"""


@pytest.fixture
def hold(tmp_path):
    """Start a process that holds the lock, under its own or another process id, for so many seconds."""
    holders = []

    def start(*arguments):
        command = [sys.executable, "-c", HOLD, str(tmp_path / "lock"), *map(str, arguments)]
        holders.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert holders[-1].stdout.readline() == "held\n"
        return holders[-1]

    yield start
    for holder in holders:
        holder.kill()
        holder.communicate()


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_second_is_told_who_holds_it_and_how_to_end_that(tmp_path, hold):
    holder = hold()
    assert is_held(tmp_path / "lock")
    told = rf"another run is at work already \(process {holder.pid}\).*{tmp_path}/lock.*`kill {holder.pid}`"
    with pytest.raises(TransientError, match=told), exclusive_lock(tmp_path / "lock", "another run"):
        pass
    with pytest.raises(TransientError, match=told):
        wait_until_free(tmp_path / "lock", "another run", 0.2)


def test_a_killed_holder_leaves_nothing_to_tidy(tmp_path, hold):
    holder = hold()
    holder.kill()
    holder.wait()
    assert not is_held(tmp_path / "lock")
    with exclusive_lock(tmp_path / "lock", "it"):
        assert (tmp_path / "lock").read_text() == str(os.getpid())
        assert is_held(tmp_path / "lock")
    wait_until_free(tmp_path / "lock", "it", 0)


def test_what_a_dead_holder_left_is_waited_for(tmp_path, hold):
    hold(dead_pid(), 1)
    with exclusive_lock(tmp_path / "lock", "it"):
        pass


def test_but_not_for_ever(tmp_path, hold, monkeypatch):
    monkeypatch.setattr(locks, "ENDING", 0.3)
    hold(dead_pid())
    with pytest.raises(TransientError, match="at work already"), exclusive_lock(tmp_path / "lock", "it"):
        pass


@pytest.mark.parametrize("patience", [30, inf])
def test_the_patient_wait_for_a_holder_at_work(tmp_path, hold, patience):
    holder = hold(os.getpid(), 0.5)
    start = time.monotonic()
    with exclusive_lock(tmp_path / "lock", "it", patience):
        assert time.monotonic() - start > 0.1
    holder.wait()


def test_a_lock_without_a_process_id_is_explained_all_the_same(tmp_path, hold, monkeypatch):
    monkeypatch.setattr(locks, "ENDING", 0.1)
    hold("?")
    (tmp_path / "lock").write_text("")
    with pytest.raises(TransientError, match=r"`fuser .*/lock` names"), exclusive_lock(tmp_path / "lock", "it", 0.1):
        pass


def test_a_place_that_cannot_be_written_is_the_users_to_mend(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file/lock", tmp_path):
        told = f"lock file {path} cannot be written: (File exists|Is a directory)"
        with pytest.raises(UserError, match=told), exclusive_lock(path, "it"):
            pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full")
def test_a_full_disk_has_room_for_a_lock():
    with exclusive_lock(Path("/dev/full"), "it"):
        assert is_held(Path("/dev/full"))


def test_a_file_that_is_not_there_is_not_held_and_not_made(tmp_path):
    assert not is_held(tmp_path / "lock")
    wait_until_free(tmp_path / "lock", "it", 0)
    assert not (tmp_path / "lock").exists()


def test_a_lock_is_asked_for_on_a_file_that_is_open_for_writing(tmp_path, monkeypatch):
    """NFS refuses an exclusive lock on any other."""
    path, modes = tmp_path / "a.lock", []
    path.touch()
    monkeypatch.setattr(locks.fcntl, "flock", lambda stream, _: modes.append(stream.writable()))
    assert not is_held(path)
    wait_until_free(path, "a stage", 0)
    assert modes == [True, True]


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks.fcntl, "flock", fail)
    with (
        pytest.raises(UserError, match=r"a\.lock cannot be locked: No locks available"),
        exclusive_lock(tmp_path / "a.lock", "another `x`"),
    ):
        pass
