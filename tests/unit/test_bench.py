"""The benchmarks know the steps of a rollout by their tasks."""

from __future__ import annotations

import ast
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_each_step_that_is_timed_is_a_task() -> None:
    tree = ast.parse((ROOT / "bench" / "fleet.py").read_text(encoding="utf-8"))
    [steps] = [node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "STEPS"]
    timed = {name for names in ast.literal_eval(steps).values() for name in names}
    files = [path for role in ("release", "gunicorn") for path in (ROOT / "roles" / role / "tasks").glob("*.yml")]
    tasks = {task["name"] for path in files for task in yaml.safe_load(path.read_text(encoding="utf-8"))}
    assert timed
    assert timed <= tasks
