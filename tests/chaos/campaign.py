"""A campaign of signals against the commands: what is disturbed ends as if it had not been.

    python -m tests.chaos.campaign --signals 200 --minutes 60 --seed 0 [--only repro]

Each chain is a fresh small project and one command, which is started, hit at a random moment by random signals on
random processes of its tree, and started again, until it ends by itself. Then its results must be those of an
undisturbed run byte for byte, with the same number of MLflow runs, no process and no held lock left.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

from pipeline.commands.stages import STAGES
from pipeline.system.locks import is_held
from tests.processes import wait_for
from tests.project import environment, make_project
from tests.servers import free_port

#: Signals by weight: most often the one that nobody can handle.
SIGNALS = {"KILL": 4, "TERM": 2, "INT": 1, "HUP": 2, "QUIT": 1, "STOP": 2}
MARK = "WSOL_CHAOS"
#: Seconds: until a command must have ended that was told to, until nothing of it may be left, and of a pause (STOP).
END_LIMIT, LEFT_LIMIT, PAUSE = 90.0, 60.0, 0.5
#: Seconds in which a command that was hit elsewhere may end before the next signal.
BETWEEN = 3.0
#: Signals of one chain before it is left to end.
PER_CHAIN = 10
#: Starts of one command after which it must have come to its end.
MAX_STARTS = 40
REPEATS = ("boxes", "metrics/metrics.json", "models/model.pt")
SWEEP = "name: small\nmethod: grid\nspace:\n  train.lambda: [0.0, 0.5]\n"


@dataclass(frozen=True)
class Scenario:
    """A command, what must be there before it, and the files that it must end with."""

    name: str
    command: list[str]
    results: tuple[str, ...]
    runs: int
    before: tuple[str, ...] = ()


def scenarios() -> list[Scenario]:
    """All that the campaign disturbs, but for the pages, which end with nothing."""
    pipeline = [sys.executable, "-m", "pipeline"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    results = ("models/model.pt", "boxes/*", "metrics/metrics.json")
    return [
        Scenario("repro", [*pipeline, "repro"], results, 1),
        Scenario("run", [*pipeline, "run"], results, 1),
        Scenario("sweep", [*pipeline, "sweep", "sweep.yaml"], (".wsol/runs/*/params.yaml", ".wsol/runs/*/dvc.lock"), 3),
        Scenario("torchrun", [*torchrun, "-m", "pipeline", "train"], ("models/model.pt",), 1, ("prepare",)),
    ]


@dataclass
class Tally:
    """What became of one scenario."""

    chains: int = 0
    starts: int = 0
    seconds: float = 0.0
    sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


class Command:
    """A started command, found again with everything below it by a mark in the environment."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self.mark = uuid.uuid4().hex
        self.log = folder / "chaos.log"
        self._begins = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment(**{MARK: self.mark}), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def said(self) -> bytes:
        """What this start of the command has written."""
        return self.log.read_bytes()[self._begins :]

    def tree(self) -> dict[int, str]:
        """The role of each living process of this command, by its id."""
        found = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = "main" if process.pid == self.process.pid else role(process.cmdline())
        return found

    def hit(self, chosen: random.Random) -> tuple[str, str]:
        """Send a random signal to a random process of the tree, or to the group of the main one."""
        tree = self.tree() or {self.process.pid: "main"}
        victim = chosen.choice(sorted({*tree.values(), "group"}))
        name = chosen.choices(list(SIGNALS), list(SIGNALS.values()))[0]
        pid = chosen.choice([pid for pid, role in tree.items() if role == victim] or [self.process.pid])
        send = os.killpg if victim == "group" else os.kill
        with suppress(ProcessLookupError):
            send(pid, getattr(signal, f"SIG{name}"))
            if name == "STOP":
                time.sleep(PAUSE)
                send(pid, signal.SIGCONT)
        return victim, name

    def ended(self, seconds: float) -> bool:
        """Whether the main process ends within so many seconds."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.poll() is not None

    def leftovers(self) -> list[str]:
        """What still runs long after the main process has ended; it is killed then."""
        deadline = time.monotonic() + LEFT_LIMIT
        while (tree := self.tree()) and time.monotonic() < deadline:
            time.sleep(0.2)
        for pid in tree:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.tree(), f"the end of {tree}")
        return [f"{name} {pid}" for pid, name in tree.items()]


def role(cmdline: Sequence[str]) -> str:
    """What a process is in the tree of a command."""
    text = " ".join(cmdline)
    if "keeper.py" in text:
        return "keeper"
    if "pipeline" in cmdline and cmdline[-1] in STAGES:
        return "stage"
    for name in ("airflow", "mlflow", "dvc"):
        if any(Path(word).name.startswith(name) for word in text.split()):
            return name
    return "repro" if "pipeline" in cmdline else "other"


def digest(folder: Path, patterns: Sequence[str]) -> dict[str, str]:
    """Hash of each result, by its path."""
    files = sorted(path for pattern in patterns for path in folder.glob(pattern) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(_content(path)).hexdigest() for path in files}


def _content(path: Path) -> bytes:
    """Of a lock file what repeats: seconds are in the training's history, and in the report."""
    if path.name != "dvc.lock":
        return path.read_bytes()
    outs = [out for stage in yaml.safe_load(path.read_text())["stages"].values() for out in stage.get("outs", [])]
    return repr(sorted((out["path"], out["md5"]) for out in outs if out["path"] in REPEATS)).encode()


def mlflow_runs(folder: Path) -> int:
    """How many runs the project's MLflow has."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / '.wsol/mlflow.db'}")
    return len(client.search_runs([e.experiment_id for e in client.search_experiments()]))


def held_locks(folder: Path) -> list[str]:
    """Locks that somebody holds although nothing runs."""
    return [str(path) for place in (".dvc/tmp", ".wsol") for path in (folder / place).rglob("*.lock") if is_held(path)]


def problems(folder: Path, scenario: Scenario, expected: dict[str, str]) -> list[str]:
    """In what a finished chain differs from an undisturbed run."""
    found = digest(folder, scenario.results)
    paths = sorted(expected.keys() | found.keys())
    told = [f"{path} differs" for path in paths if expected.get(path) != found.get(path)]
    if (runs := mlflow_runs(folder)) != scenario.runs:
        told.append(f"{runs} MLflow runs instead of {scenario.runs}")
    return told + [f"{lock} is held" for lock in held_locks(folder)]


def fresh(folder: Path, scenario: Scenario) -> Path:
    """A project of its own for one chain."""
    make_project(folder, {"train.epochs": 4})
    (folder / "sweep.yaml").write_text(SWEEP)
    for stage in scenario.before:
        subprocess.run([sys.executable, "-m", "pipeline", stage], cwd=folder, env=environment(), check=True,
                       capture_output=True)  # fmt: skip
    return folder


def undisturbed(folder: Path, scenario: Scenario) -> tuple[dict[str, str], float]:
    """The results that every chain must end with, and how long the command takes."""
    start = time.monotonic()
    command = Command(scenario.command, fresh(folder, scenario))
    start = time.monotonic()
    if command.process.wait() != 0:
        raise SystemExit(f"{scenario.name} fails undisturbed:\n{command.log.read_text()[-3000:]}")
    seconds = time.monotonic() - start
    if told := problems(folder, scenario, digest(folder, scenario.results)):
        raise SystemExit(f"{scenario.name} undisturbed: {told}")
    return digest(folder, scenario.results), seconds


def chain(folder: Path, scenario: Scenario, seconds: float, chosen: random.Random, tally: Tally, signals: int) -> None:
    """Start a command, disturb it and start it again until it has come to its end."""
    fresh(folder, scenario)
    for _ in range(MAX_STARTS):
        command = Command(scenario.command, folder)
        tally.starts += 1
        hits = _disturb(command, seconds, chosen, tally, signals)
        signals -= hits
        if not command.ended(20 * seconds + END_LIMIT):
            tally.failures.append(f"{scenario.name}: hangs; {command.log}")
            command.process.kill()
        tally.failures += [f"{scenario.name}: {name} outlives it" for name in command.leftovers()]
        tally.failures += [f"{scenario.name}: {path} is held" for path in held_locks(folder)]
        if command.process.returncode == 0:
            return
        if hits == 0:
            tally.failures.append(f"{scenario.name}: ended with {command.process.returncode}; {command.log}")
            return
    tally.failures.append(f"{scenario.name}: not at its end after {MAX_STARTS} starts; {command.log}")


def _disturb(command: Command, seconds: float, chosen: random.Random, tally: Tally, signals: int) -> int:
    """Hit a command until it ends; returns the number of signals."""
    sent = 0
    while sent < signals and not command.ended(chosen.uniform(0, seconds / 4)):
        victim, name = command.hit(chosen)
        tally.sent[victim, name] += 1
        sent += 1
        deadly = victim in ("main", "group") and name != "STOP"
        if command.ended(END_LIMIT if deadly else BETWEEN):
            break
        if deadly:
            tally.failures.append(f"{name} on {victim} did not end {command.process.args}")
            command.process.kill()
    return sent


def disturb_pages(folder: Path, chosen: random.Random, tally: Tally, signals: int) -> None:
    """The pages: whatever hits them, their ports are free afterwards, and they start again."""
    fresh(folder, scenarios()[0])
    ports = free_port(), free_port()
    command = [sys.executable, "-m", "pipeline", "ui", f"--airflow-port={ports[0]}", f"--mlflow-port={ports[1]}"]
    while signals > 0:
        pages = Command(command, folder)
        tally.starts += 1
        up = _are_up(pages, chosen.choice([5.0, 300.0]))
        if not up and pages.process.poll() is not None:
            tally.failures.append(f"ui: did not start again; {pages.log}")
            return
        while signals > 0 and pages.process.poll() is None:
            tally.sent[pages.hit(chosen)] += 1
            signals -= 1
            pages.ended(BETWEEN)
        pages.process.terminate()
        if not pages.ended(END_LIMIT):
            tally.failures.append("ui: did not end")
            pages.process.kill()
        tally.failures += [f"ui: {name} outlives it" for name in pages.leftovers()]
        tally.failures += [f"ui: {path} is held" for path in held_locks(folder)]


def _are_up(pages: Command, limit: float) -> bool:
    """Whether the pages say so within so many seconds; they are hit while they start otherwise."""
    deadline = time.monotonic() + limit
    while b"Ctrl-C stops" not in pages.said() and pages.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    return b"Ctrl-C stops" in pages.said()


def campaign(folder: Path, signals: int, seed: int, minutes: float, only: Sequence[str] = ()) -> dict[str, Tally]:
    """Share the signals among the scenarios and send them, for so many minutes at most."""
    chosen, deadline = random.Random(seed), time.monotonic() + 60 * minutes
    names = [name for name in ("repro", "torchrun", "run", "sweep", "ui") if not only or name in only]
    tallies = {name: Tally() for name in names}
    known = {scenario.name: scenario for scenario in scenarios()}
    references: dict[str, tuple[dict[str, str], float]] = {}
    while sum(t.sent.total() for t in tallies.values()) < signals and time.monotonic() < deadline:
        name = min(names, key=lambda n: tallies[n].sent.total() + tallies[n].chains)
        tally, place, start = tallies[name], folder / f"{name}-{tallies[name].chains}", time.monotonic()
        missing = min(PER_CHAIN, signals - sum(t.sent.total() for t in tallies.values()))
        if name == "ui":
            disturb_pages(place, chosen, tally, missing)
        else:
            scenario = known[name]
            if name not in references:
                references[name] = undisturbed(folder / f"{name}-reference", scenario)
            expected, seconds = references[name]
            chain(place, scenario, seconds, chosen, tally, missing)
            tally.failures += [f"{place.name}: {text}" for text in problems(place, scenario, expected)]
        tally.chains += 1
        tally.seconds += time.monotonic() - start
        print(f"{place.name}: {tally.sent.total()} signals, {len(tally.failures)} failures", flush=True)
        if not tally.failures:
            shutil.rmtree(place)
    return tallies


def show(tallies: dict[str, Tally]) -> None:
    """The table, and every failure."""
    print(f"\n{'command':10} {'chains':>6} {'starts':>6} {'signals':>7} {'failures':>8} {'seconds':>7}")
    for name, t in tallies.items():
        print(f"{name:10} {t.chains:6} {t.starts:6} {t.sent.total():7} {len(t.failures):8} {t.seconds:7.0f}")
    sent = sum((t.sent for t in tallies.values()), Counter())
    for title, position in (("victims", 0), ("signals", 1)):
        by = Counter[str]()
        for pair, number in sent.items():
            by[pair[position]] += number
        print(f"{title}: {', '.join(f'{name} {number}' for name, number in by.most_common())}")
    for t in tallies.values():
        print("\n".join(t.failures))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signals", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[])
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="wsol-chaos-"))
    tallies = campaign(folder, arguments.signals, arguments.seed, arguments.minutes, arguments.only)
    show(tallies)
    failed = any(t.failures for t in tallies.values())
    if failed:
        print(f"what failed lies in {folder}")
    else:
        shutil.rmtree(folder)
    sys.exit(failed)


if __name__ == "__main__":
    main()
