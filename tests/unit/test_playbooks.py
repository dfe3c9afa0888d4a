"""What holds in every playbook and role, whatever they do."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("playbooks/**/*.yml"), *ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("roles/*/handlers/*.yml")])
DEFINITIONS = re.compile(r"\b(plainstack_apps|plainstack_selected|apps)\b")


class Loader(yaml.SafeLoader):
    """Knows Ansible's own tags."""


Loader.add_multi_constructor("!", lambda loader, _suffix, node: loader.construct_scalar(node))


def tasks(node: Any) -> Iterator[dict[str, Any]]:
    """Every play, block and task."""
    if isinstance(node, list):
        for item in node:
            yield from tasks(item)
    elif isinstance(node, dict):
        yield node
        for key in ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always"):
            yield from tasks(node.get(key, []))


def loops(task: dict[str, Any]) -> list[str]:
    return [str(value) for key, value in task.items() if key == "loop" or key.startswith("with_")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_loop_over_whole_definitions(file: Path) -> None:
    """An item that fails is printed as a whole, and a definition has the secrets."""
    for task in tasks(yaml.load(file.read_text(encoding="utf-8"), Loader)):
        for loop in loops(task):
            if DEFINITIONS.search(loop):
                assert re.search(r"map\(attribute='name'\)\s*\}\}$", loop), (
                    f"{task['name']}: loops over {loop}; take the names, and look up what belongs to one"
                )


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_task_shows_definitions(file: Path) -> None:
    """With -v a fact, and what a task returns, is printed."""
    for task in tasks(yaml.load(file.read_text(encoding="utf-8"), Loader)):
        facts = task.get("ansible.builtin.set_fact", {})
        shows = "plainstack_apps" in facts or "plainstack.web.live" in task
        assert not shows or task.get("no_log") is True, task["name"]


def test_nothing_has_a_tag() -> None:
    """A run with --tags is refused, so that a tag would be of no use; the refusal itself has the one that is always on."""
    tagged = [(file.name, task["name"]) for file in FILES for task in tasks(yaml.load(file.read_text(encoding="utf-8"), Loader)) if "tags" in task]
    assert tagged == [("check.yml", "Check that no part is left out")]


def test_every_installation_waits_for_apt_as_long_as_the_inventory_says() -> None:
    """By the defaults of its play; the roles have no such variable."""
    installing = {path.parents[1].name for path in ROOT.glob("roles/*/tasks/*.yml") if "plainstack.web.packages:" in path.read_text(encoding="utf-8")}
    for playbook in ("deploy", "upgrade"):
        for play in yaml.load((ROOT / f"playbooks/{playbook}.yml").read_text(encoding="utf-8"), Loader):
            found = list(tasks(play.get("tasks", [])))
            roles = {
                task[key]["name"].split(".")[-1] for task in found for key in ("ansible.builtin.import_role", "ansible.builtin.include_role") if key in task
            }
            if roles & installing or any("plainstack.web.packages" in task for task in found):
                assert play["module_defaults"] == {"plainstack.web.packages": {"lock_timeout": "{{ apt_lock_timeout | default(omit) }}"}}, play["name"]
