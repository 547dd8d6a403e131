"""Nothing that a command started outlives it, whichever of the processes in between is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.system import keeper
from pipeline.system.locks import exclusive_lock
from pipeline.system.processes import exit_code, kept, passing_on_signals, run_kept
from tests.processes import is_alive, wait_for, wait_for_pid

ROOT = Path(__file__).parents[2]
#: Starts a process of a session of its own, which ignores the signals that would end it, and waits.
PARENT = """\
import os, subprocess, sys, time
code = "import os, signal, sys, time\\nfor n in (1, 2, 3, 15): signal.signal(n, signal.SIG_IGN)\\n"
code += "open(sys.argv[1], 'w').write(str(os.getpid()))\\ntime.sleep(120)"
subprocess.Popen([sys.executable, "-c", code, "grandchild"], start_new_session=True)
open("child", "w").write(str(os.getpid()))
time.sleep(120)
"""
#: A command that starts it and passes signals on, as `repro` does.
COMMAND = """\
import sys
from pathlib import Path
from pipeline.system.locks import exclusive_lock
from pipeline.system.processes import exit_code, kept, passing_on_signals
with exclusive_lock(Path("lock"), "it") as lock:
    with kept([sys.executable, "parent.py"], 0.5, locks=[lock]) as process, passing_on_signals(process) as received:
        Path("keeper").write_text(str(process.pid))
        code = exit_code(process)
sys.exit(128 + received[0] if received else code)
"""


@pytest.fixture
def started(tmp_path):
    """The command, and the process ids below it by name."""
    (tmp_path / "parent.py").write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", COMMAND], cwd=tmp_path, env=environment, process_group=0)
    pids = {name: wait_for_pid(tmp_path / name) for name in ("keeper", "child", "grandchild")}
    yield process, pids
    for pid in (process.pid, *pids.values()):
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("number", keeper.STOPPING)
def test_a_signal_to_the_command_ends_all_of_them(started, number):
    process, pids = started
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    assert not [name for name, pid in pids.items() if is_alive(pid)]


@pytest.mark.parametrize("name", ["keeper", "child"])
def test_whichever_is_killed_the_rest_ends(started, name):
    process, pids = started
    os.kill(pids[name], signal.SIGKILL)
    assert process.wait(30) == 137
    assert not [name for name, pid in pids.items() if is_alive(pid)]


def test_a_killed_command_leaves_nothing_and_its_lock_is_held_until_then(started, tmp_path):
    process, pids = started
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with exclusive_lock(tmp_path / "lock", "it"):
        assert not [name for name, pid in pids.items() if is_alive(pid)]


def test_a_stopped_command_goes_on_and_a_stopped_child_ends_all_the_same(started):
    process, pids = started
    for pid in (process.pid, pids["child"]):
        os.kill(pid, signal.SIGSTOP)
    os.kill(process.pid, signal.SIGCONT)
    process.terminate()
    assert process.wait(30) == 143
    assert not [name for name, pid in pids.items() if is_alive(pid)]


def test_what_a_finished_command_left_running_ends_with_it(tmp_path):
    code = "import subprocess; print(subprocess.Popen(['sleep', '120'], start_new_session=True).pid)"
    with kept([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert exit_code(process) == 0
        assert not is_alive(int(process.stdout.read()))


@pytest.mark.parametrize(("code", "expected"), [("exit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_the_exit_code_is_the_commands(code, expected):
    assert run_kept([sys.executable, "-c", code]) == expected


def test_a_command_that_heeds_only_a_later_signal_is_sent_several(tmp_path):
    code = "import signal, time\nheard = []\nsignal.signal(15, lambda *_: heard.append(1))\nprint('up', flush=True)\n"
    code += "while len(heard) < 3: time.sleep(0.01)\nprint(len(heard))"
    with kept([sys.executable, "-c", code], 60, repeat=0.1, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.terminate()
        assert exit_code(process) == 0
        assert process.stdout.read() == "3\n"


def test_under_nohup_a_closed_terminal_is_not_heard():
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        code = "import time; print('up', flush=True); time.sleep(0.5); exit(5)"
        with (
            kept([sys.executable, "-c", code], stdout=subprocess.PIPE) as process,
            passing_on_signals(process) as received,
        ):
            process.stdout.readline()
            os.kill(os.getpid(), signal.SIGHUP)
            process.send_signal(signal.SIGHUP)
            assert exit_code(process) == 5
        assert received == []
    finally:
        signal.signal(signal.SIGHUP, former)


def test_former_handlers_are_back_afterwards():
    before = [signal.getsignal(number) for number in keeper.STOPPING]
    with kept([sys.executable, "-c", ""]) as process, passing_on_signals(process):
        process.wait()
    assert [signal.getsignal(number) for number in keeper.STOPPING] == before


#: Stands in for DVC, which starts a stage's command by a shell.
DVC = """\
import os, subprocess, sys
subprocess.run(["sh", "-c", f"{sys.executable} -c '{sys.argv[1]}'; true"], env=os.environ | {"DVC_STAGE": "train"})
"""
STAGE = """\
import os, signal, time
from pipeline.system.processes import end_with_starter
end_with_starter()
open("stage", "w").write(str(os.getpid()))
time.sleep(120)
"""


@pytest.mark.parametrize("victim", ["dvc", "shell"])
def test_a_stage_ends_with_the_dvc_or_shell_that_started_it(tmp_path, victim):
    (tmp_path / "dvc").write_text(DVC)
    command = [sys.executable, "dvc", STAGE.replace("'", '"')]
    process = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    stage = wait_for_pid(tmp_path / "stage")
    shell = psutil.Process(stage).ppid()
    assert psutil.Process(shell).name() in ("sh", "dash", "bash")
    os.kill(process.pid if victim == "dvc" else shell, signal.SIGKILL)
    wait_for(lambda: not is_alive(stage), "the stage's end", 10)
    process.wait()


def test_a_command_of_a_task_ends_with_the_task(tmp_path):
    task = subprocess.Popen(["sleep", "120"])
    environment = os.environ | {"PYTHONPATH": str(ROOT), keeper.STARTER: str(task.pid)}
    command = subprocess.Popen([sys.executable, "-c", STAGE], cwd=tmp_path, env=environment)
    wait_for_pid(tmp_path / "stage")
    task.kill()
    assert command.wait(10) == -signal.SIGTERM
    task.wait()


def test_a_process_of_a_training_ends_with_the_one_that_started_them_all(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TORCHELASTIC_RUN_ID": "none"}
    agent = [sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"]
    process = subprocess.Popen([*agent, STAGE], cwd=tmp_path, env=environment)
    stage = wait_for_pid(tmp_path / "stage")
    process.kill()
    wait_for(lambda: not is_alive(stage), "its end", 10)
    process.wait()


def test_a_stage_that_a_person_started_goes_on_without_its_shell(tmp_path):
    (tmp_path / "stage.py").write_text(STAGE)
    environment = {k: v for k, v in os.environ.items() if k not in ("DVC_STAGE", keeper.STARTER)}
    command = ["sh", "-c", f"{sys.executable} stage.py & wait"]
    shell = subprocess.Popen(command, cwd=tmp_path, env=environment | {"PYTHONPATH": str(ROOT)})
    stage = wait_for_pid(tmp_path / "stage")
    shell.kill()
    shell.wait()
    time.sleep(0.5)
    assert is_alive(stage)
    os.kill(stage, signal.SIGKILL)
