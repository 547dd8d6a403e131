"""Locks: one holder at a time, named to the others; none outlives its holder."""

import errno
import os
import subprocess
import sys
import time
from math import inf
from pathlib import Path
from socket import gethostname

import pytest

from pipeline.errors import TransientError, UserError
from pipeline.system import locks
from pipeline.system.locks import Holder, exclusive_lock, is_held, wait_until_free

HOLD = """\
import fcntl, os, sys, time
stream = open(sys.argv[1], "a+")
fcntl.flock(stream, fcntl.LOCK_EX)
stream.truncate(0)
stream.write(sys.argv[2].replace("OWN", str(os.getpid())))
stream.flush()
print("held", flush=True)
time.sleep(float(sys.argv[3]))
"""
#: Where this process runs, as a lock file says it.
PLACE = Holder.own().note.partition(" ")[2]


@pytest.fixture
def hold(tmp_path):
    """Start a process that holds the lock, under its own or another note, for so many seconds."""
    holders = []

    def start(note="OWN " + PLACE, seconds=120):
        command = [sys.executable, "-c", HOLD, str(tmp_path / "lock"), note, str(seconds)]
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
    told = (
        rf"another run is at work already \(pid {holder.pid} on {gethostname()}\).*{tmp_path}/lock.*`kill {holder.pid}`"
    )
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
        assert (tmp_path / "lock").read_text() == f"{os.getpid()} {PLACE}"
        assert is_held(tmp_path / "lock")
    wait_until_free(tmp_path / "lock", "it", 0)


def test_what_a_dead_holder_left_is_waited_for(tmp_path, hold):
    hold(f"{dead_pid()} {PLACE}", 1)
    with exclusive_lock(tmp_path / "lock", "it"):
        pass


def test_but_not_for_ever(tmp_path, hold, monkeypatch):
    monkeypatch.setattr(locks, "ENDING", 0.3)
    hold(f"{dead_pid()} {PLACE}")
    with pytest.raises(TransientError, match="at work already"), exclusive_lock(tmp_path / "lock", "it"):
        pass


@pytest.mark.parametrize("place", ["elsewhere pid:[1]", f"{gethostname()} pid:[1]", f"elsewhere {PLACE.split()[1]}"])
def test_a_process_of_another_host_or_container_is_not_taken_for_one_here(tmp_path, hold, monkeypatch, place):
    monkeypatch.setattr(locks, "is_running", lambda pid: pytest.fail("asked about a process that is not here"))
    hold(f"{dead_pid()} {place}")
    told = rf"\(pid \d+ on {place.split()[0]}\).*stop it there by `kill \d+`"
    start = time.monotonic()
    with pytest.raises(TransientError, match=told), exclusive_lock(tmp_path / "lock", "it"):
        pass
    assert time.monotonic() - start < 5


@pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="Linux has namespaces of process ids")
def test_a_note_has_the_namespace_of_the_process_id():
    assert Holder.own() == Holder(os.getpid(), gethostname(), str(Path("/proc/self/ns/pid").readlink()))
    assert Holder.own().is_near and not Holder.own().has_ended()


@pytest.mark.parametrize("patience", [30, inf])
def test_the_patient_wait_for_a_holder_at_work(tmp_path, hold, patience):
    holder = hold(f"{os.getpid()} {PLACE}", 0.5)
    start = time.monotonic()
    with exclusive_lock(tmp_path / "lock", "it", patience):
        assert time.monotonic() - start > 0.1
    holder.wait()


@pytest.mark.parametrize("note", [b"", b"12", b"?", b"\xff\xfe", b"1 host", b"9" * 30 + b" h n", b"1 h n\n" * 9999])
def test_a_lock_without_a_note_of_its_holder_is_explained_all_the_same(tmp_path, hold, monkeypatch, note):
    monkeypatch.setattr(locks, "ENDING", 0.1)
    hold("?")
    (tmp_path / "lock").write_bytes(note)
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
