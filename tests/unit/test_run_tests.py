"""The runner of all tests: what may run side by side, and that no test is left out."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "molecule" / "faults" / "tests"


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_tests", ROOT / "tools" / "run_tests.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_two_lanes_never_share_vms_and_what_is_alone_is(runner: ModuleType) -> None:
    """Every order in which stages can end, one at a time."""
    queue = runner.Queue(runner.stages())
    count = len(queue.waiting)
    running: list[Any] = []
    while queue.waiting or running:
        while len(running) < runner.LANES and (stage := next((one for one in queue.waiting if queue._may_begin(one)), None)):
            queue.waiting.remove(stage)
            queue.running.append(stage)
            running.append(stage)
            used = [one.uses for one in running if one.uses]
            assert len(used) == len(set(used))
            assert not any(one.alone for one in running) or len(running) == 1
            assert stage.group not in runner.OF_SNAPSHOTS or any(one.group == "snapshots" for one in queue.ended)
        assert running, "nothing runs, and nothing may begin"
        queue.end(running.pop(0), True, 1.0)
    assert len(queue.ended) == count


def test_what_counts_requests_under_load_is_last(runner: ModuleType) -> None:
    queue = runner.Queue(runner.chosen(runner.stages(), ["fleet", "python"]))
    assert [stage.group for stage in queue.waiting if queue._may_begin(stage)] == ["python"]


def test_a_stage_brings_what_it_needs(runner: ModuleType) -> None:
    assert [stage.group for stage in runner.chosen(runner.stages(), ["interrupted"])] == ["snapshots", "interrupted"]


def test_every_scenario_is_run(runner: ModuleType) -> None:
    scenarios = {path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")}
    assert scenarios <= {stage.group for stage in runner.stages()}


def test_every_fault_is_in_one_of_two_scenarios() -> None:
    """By the expressions for -k of the two."""
    collected = []
    for name in ("faults", "interrupted"):
        chosen = yaml.safe_load((ROOT / "molecule" / name / "molecule.yml").read_text(encoding="utf-8"))["verifier"]["options"]["k"]
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-k", chosen, str(TESTS)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        collected.append({line for line in done.stdout.splitlines() if "::" in line})
    whole = subprocess.run([sys.executable, "-m", "pytest", "--collect-only", "-q", str(TESTS)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not collected[0] & collected[1]
    assert collected[0] | collected[1] == {line for line in whole.stdout.splitlines() if "::" in line}
