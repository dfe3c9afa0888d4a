"""The benchmarks know the steps of a rollout by their tasks, and what a recorded server was asked."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import yaml
from ansible_collections.plainstack.web.plugins.module_utils.environment import encode

import answers

ROOT = Path(__file__).resolve().parents[2]


def test_each_step_that_is_timed_is_a_task() -> None:
    tree = ast.parse((ROOT / "bench" / "fleet.py").read_text(encoding="utf-8"))
    [steps] = [node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "STEPS"]
    timed = {name for names in ast.literal_eval(steps).values() for name in names}
    files = [path for role in ("release", "gunicorn") for path in (ROOT / "roles" / role / "tasks").glob("*.yml")]
    tasks = {task["name"] for path in files for task in yaml.safe_load(path.read_text(encoding="utf-8"))}
    assert timed
    assert timed <= tasks


def asked(module: str, **arguments: str) -> bytes:
    """The end of what Ansible sends to have a module run; see AnsiballZ."""
    parameters = json.dumps({"ANSIBLE_MODULE_ARGS": arguments})
    return f"_ansiballz_main(\nmodule_fqn={f'ansible_collections.plainstack.web.plugins.modules.{module}'!r},\nparams={parameters!r},\n)".encode()


def test_a_recorded_answer_is_found_by_module_and_step() -> None:
    """The release's id is that of the orders, not the one that is live before."""
    orders = encode(json.dumps({"switch": [{"before": "20260101T000000Z-0a0a0a0a", "id": "20260102T000000Z-1b1b1b1b", "note": "it's"}]}))
    data = asked("step", step="switch", orders=orders, more="it's")
    assert (answers.key_of("sudo python3", data), answers.identifier_of(data)) == ("step switch", "20260102T000000Z-1b1b1b1b")
    assert (answers.key_of("sudo python3", asked("inspect")), answers.identifier_of(asked("inspect"))) == ("inspect", "")
    assert answers.key_of("rm -f x", None) != answers.key_of("rm -f y", None)
