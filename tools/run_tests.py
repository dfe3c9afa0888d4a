#!/usr/bin/env python3
"""Run every check and test, or only those named: `tools/run_tests.py [lint|unit|SCENARIO ...]`.

Two stages run side by side, each with its own VMs; what counts requests under a full load runs alone, at the end. Each stage
prints when it begins and ends; a stage that fails shows the end of its output, the whole is in .cache/logs. All stages run,
whatever fails. At the end stands how long each one took, and the last line counts them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / ".cache" / "logs"
SHOWN = 120  # lines of a failed stage
LANES = 2
ALONE = ("fleet", "release")  # scenarios that load the machine and compare what that costs
BY_NAME = ("alerts", "monitoring", "realapps")  # scenarios that take long, and are run where they are named: `make test-watch`, `make test-apps`
OWN = ("alerts", "backup", "monitoring", "observe")  # scenarios whose VMs are their own
OF_SNAPSHOTS = ("faults", "interrupted")  # scenarios whose VMs start from snapshots of provisioned ones, and are their own
ANCHOR = "lab-anchor"


@dataclass(frozen=True)
class Stage:
    """One thing to run.

    `group` is the word on the command line that selects it. `uses` names VMs that one stage alone may use at a time; `needs` is the
    stage that must have ended before this one begins; what is `alone` begins when everything else has ended.
    """

    group: str
    what: str
    command: tuple[str, ...]
    directory: str = "."
    uses: str = ""
    needs: str = ""
    alone: bool = False

    @property
    def log(self) -> Path:
        """File with its whole output."""
        return LOGS / f"{self.what.replace(' ', '-').replace(chr(39), '')}.log"


def scenario(name: str, command: Sequence[str]) -> Stage:
    """The stage of a Molecule scenario: those of one role share two VMs."""
    own = name in (*OF_SNAPSHOTS, *ALONE, *OWN)
    needs = "snapshots" if name in OF_SNAPSHOTS else ""
    return Stage(name, f"Molecule scenario {name}", (*command, name), uses="" if own else "servers", needs=needs, alone=name in ALONE)


def stages() -> list[Stage]:
    """All stages: the quick ones first, of the others the longest."""
    bin_ = str(ROOT / ".venv" / "bin")
    python = f"{bin_}/python"
    first = [
        Stage("lint", "style of Python", (f"{bin_}/ruff", "check", ".")),
        Stage("lint", "format of Python", (f"{bin_}/ruff", "format", "--check", ".")),
        Stage("lint", "types", (f"{bin_}/mypy",)),
        Stage("lint", "YAML", (f"{bin_}/yamllint", "--strict", ".")),
        Stage("lint", "Ansible", (f"{bin_}/ansible-lint", "--strict")),
        Stage("lint", "what changed", (f"{bin_}/antsibull-changelog", "lint")),
        Stage("lint", "the built collection", (python, "tools/sanity.py")),
        Stage("unit", "unit tests", (python, "-m", "pytest", "-q", "tests/unit")),
        Stage("unit", "tests of app_example", (python, "-m", "pytest", "-q"), "app_example"),
        Stage("unit", "the collection's tarball", (python, "-m", "pytest", "-q", "tests/collection")),
        Stage("snapshots", "snapshots", (f"{bin_}/ansible-playbook", "lab/provisioned.yml")),
    ]
    names = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
    names.sort(key=lambda name: name not in OF_SNAPSHOTS)
    return first + [scenario(name, [f"{bin_}/molecule", "test", "--scenario-name"]) for name in names]


def chosen(known: Sequence[Stage], groups: Sequence[str]) -> list[Stage]:
    """The stages of some groups, and what they need; all but those of BY_NAME where no group is named."""
    wanted = [stage for stage in known if (stage.group in groups if groups else stage.group not in BY_NAME)]
    needed = {stage.needs for stage in wanted}
    return [stage for stage in known if stage in wanted or stage.group in needed]


def environment() -> dict[str, str]:
    """Environment of a stage."""
    return {
        **os.environ,
        "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
        "CONTAINERS_CONF": str(ROOT / "lab" / "containers.conf"),
        "MOLECULE_GLOB": "molecule/*/molecule.yml",
        "NO_COLOR": "1",
    }


class Queue:
    """Stages that wait for one of the lanes."""

    def __init__(self, waiting: Sequence[Stage]) -> None:
        self.waiting, self.running = list(waiting), list[Stage]()
        self.ended: dict[Stage, tuple[bool, float]] = {}  # whether it passed, and its seconds
        self.changed = threading.Condition()

    def _may_begin(self, stage: Stage) -> bool:
        others = self.waiting + self.running
        free = not stage.uses or all(stage.uses != other.uses for other in self.running)
        ready = not any(other.group == stage.needs for other in others)
        return free and ready and not (stage.alone and (self.running or any(not other.alone for other in others)))

    def take(self) -> Stage | None:
        """The next stage that may begin, once there is one; None when none is left."""
        with self.changed:
            while self.waiting:
                found = next((stage for stage in self.waiting if self._may_begin(stage)), None)
                if found:
                    self.waiting.remove(found)
                    self.running.append(found)
                    return found
                self.changed.wait()
            return None

    def end(self, stage: Stage, passed: bool, seconds: float) -> None:
        """Note how a stage has ended."""
        with self.changed:
            self.running.remove(stage)
            self.ended[stage] = (passed, seconds)
            self.changed.notify_all()


def run(stage: Stage) -> tuple[bool, float]:
    """Run a stage and say how it went: whether it passed, and its seconds."""
    print(f"{stage.what} ...", flush=True)
    began = time.monotonic()
    with stage.log.open("wb") as output:
        done = subprocess.run(
            stage.command, cwd=ROOT / stage.directory, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    seconds = time.monotonic() - began
    shown = ""
    if done.returncode:
        shown = "\n".join(stage.log.read_text(encoding="utf-8", errors="replace").splitlines()[-SHOWN:]) + "\n"
    print(f"{shown}{stage.what}: {'FAILED' if done.returncode else 'passed'} in {seconds:.0f} s", flush=True)
    return done.returncode == 0, seconds


def work(queue: Queue) -> None:
    """One lane: a stage after the other."""
    while stage := queue.take():
        passed, seconds = False, 0.0
        try:
            passed, seconds = run(stage)
        finally:
            queue.end(stage, passed, seconds)


@contextmanager
def kept(needed: bool) -> Iterator[None]:
    """Keep the lab's network and ACME server while a lane removes the last of its VMs and the other one is about to make some."""
    podman = [*(["sudo"] if os.geteuid() else []), "env", f"CONTAINERS_CONF={ROOT / 'lab/containers.conf'}", "podman"]
    anchor = ["run", "--detach", "--replace", f"--name={ANCHOR}", "--label=plainstack=lab", "--network=none", "--entrypoint=sleep"]
    if needed:
        subprocess.run([*podman, *anchor, "localhost/plainstack-lab/debian-13:latest", "infinity"], check=True, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        if needed:
            subprocess.run([*podman, "rm", "--force", "--time=0", ANCHOR], check=True, stdout=subprocess.DEVNULL)
            destroy = [str(ROOT / ".venv/bin/ansible-playbook"), "lab/destroy.yml", "--inventory=molecule/inventory"]
            subprocess.run(destroy, cwd=ROOT, env=environment(), check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def main() -> int:
    """Run the stages that the command line names; 1 when something failed."""
    known = stages()
    unknown = set(sys.argv[1:]) - {stage.group for stage in known}
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(dict.fromkeys(stage.group for stage in known))}", file=sys.stderr)
        return 2
    queue = Queue(chosen(known, sys.argv[1:]))
    LOGS.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with kept(any(stage.what.startswith("Molecule") for stage in queue.waiting)):
        lanes = [threading.Thread(target=work, args=(queue,)) for _ in range(LANES)]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
    print("\nStage                          seconds")
    for stage, (passed, seconds) in sorted(queue.ended.items(), key=lambda ended: -ended[1][1]):
        print(f"{stage.what:<30} {seconds:7.0f}{'' if passed else '  FAILED'}")
    passed_count = sum(passed for passed, _seconds in queue.ended.values())
    print(f"{time.monotonic() - began:.0f} s in all")
    print(f"{passed_count} passed, {len(queue.ended) - passed_count} failed")
    return 0 if passed_count == len(queue.ended) else 1


if __name__ == "__main__":
    sys.exit(main())
