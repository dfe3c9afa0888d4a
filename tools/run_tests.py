#!/usr/bin/env python3
"""Run every check and test, or only those named: `tools/run_tests.py [lint|unit|SCENARIO ...]`.

Each stage prints what it does and how long it took; a stage that fails shows the end of its output, the whole is in
.cache/logs. All stages run, whatever fails. The last line counts the stages.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / ".cache" / "logs"
SHOWN = 120  # lines of a failed stage


@dataclass(frozen=True)
class Stage:
    """One thing to run; `group` is the word on the command line that selects it."""

    group: str
    what: str
    command: list[str]
    directory: str = "."


def stages() -> list[Stage]:
    """All stages, the quick ones first."""
    bin_ = str(ROOT / ".venv" / "bin")
    python = f"{bin_}/python"
    first = [
        Stage("lint", "style of Python", [f"{bin_}/ruff", "check", "."]),
        Stage("lint", "format of Python", [f"{bin_}/ruff", "format", "--check", "."]),
        Stage("lint", "types", [f"{bin_}/mypy"]),
        Stage("lint", "YAML", [f"{bin_}/yamllint", "--strict", "."]),
        Stage("lint", "Ansible", [f"{bin_}/ansible-lint", "--strict"]),
        Stage("unit", "unit tests", [python, "-m", "pytest", "-q", "tests/unit"]),
        Stage("unit", "tests of app_example", [python, "-m", "pytest", "-q"], "app_example"),
        Stage("unit", "the collection's tarball", [python, "-m", "pytest", "-q", "tests/collection"]),
    ]
    scenarios = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
    return first + [Stage(name, f"Molecule scenario {name}", [f"{bin_}/molecule", "test", "--scenario-name", name]) for name in scenarios]


def run(stage: Stage, number: int, count: int) -> bool:
    """Run a stage and say how it went."""
    print(f"[{number}/{count}] {stage.what} ...", flush=True)
    log = LOGS / f"{number:02}-{stage.what.replace(' ', '-').replace(chr(39), '')}.log"
    environment = {
        **os.environ,
        "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
        "CONTAINERS_CONF": str(ROOT / "lab" / "containers.conf"),
        "MOLECULE_GLOB": "molecule/*/molecule.yml",
        "NO_COLOR": "1",
    }
    began = time.monotonic()
    with log.open("wb") as output:
        done = subprocess.run(
            stage.command, cwd=ROOT / stage.directory, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    seconds = time.monotonic() - began
    if done.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        print("\n".join(lines[-SHOWN:]))
    print(f"[{number}/{count}] {stage.what}: {'FAILED' if done.returncode else 'passed'} in {seconds:.0f} s", flush=True)
    return done.returncode == 0


def main() -> int:
    """Run what is asked for; 1 when something failed."""
    known = stages()
    asked = sys.argv[1:]
    unknown = set(asked) - {stage.group for stage in known}
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(dict.fromkeys(stage.group for stage in known))}", file=sys.stderr)
        return 2
    chosen = [stage for stage in known if not asked or stage.group in asked]
    LOGS.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    passed = sum(run(stage, number, len(chosen)) for number, stage in enumerate(chosen, 1))
    print(f"{time.monotonic() - began:.0f} s in all")
    print(f"{passed} passed, {len(chosen) - passed} failed")
    return 0 if passed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
