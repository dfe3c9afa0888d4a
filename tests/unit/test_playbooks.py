"""What holds in every playbook and role, whatever they do."""

import os
import re
import subprocess
import sys
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


@pytest.mark.parametrize(("playbook", "first"), [("deploy", "check"), ("rollback", "check"), ("upgrade", "check"), ("scale", "deploy")])
def test_what_is_asked_for_is_checked_first(playbook: str, first: str) -> None:
    [play, *_] = yaml.load((ROOT / f"playbooks/{playbook}.yml").read_text(encoding="utf-8"), Loader)
    assert play["ansible.builtin.import_playbook"] == f"plainstack.web.{first}"


@pytest.mark.parametrize("option", ["--tags", "--skip-tags"])
def test_a_part_of_a_run_is_refused(tmp_path: Path, option: str) -> None:
    """It would end with rc 0 and nothing done. The server cannot be reached, so that nothing else ends the run with that error."""
    (tmp_path / "hosts.yml").write_text("app_servers: {hosts: {web1: {ansible_host: 192.0.2.1}}}\n", encoding="utf-8")
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "deploy.yml", "-i", str(tmp_path / "hosts.yml"), option, "nginx"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there are no tags; nothing was touched" in " ".join((done.stdout + done.stderr).split())
    assert "web1" not in done.stdout.split("PLAY RECAP")[0]


@pytest.mark.parametrize("file", ["deploy.yml", "tasks/canary.yml", "rollback.yml"])
def test_what_has_the_traffic_is_said_right_after_the_switch(file: str) -> None:
    """Where the connection is lost from then on, nothing can be said any more."""
    found = []
    for task in tasks(yaml.load((ROOT / "playbooks" / file).read_text(encoding="utf-8"), Loader)):
        path = task.get("ansible.builtin.include_tasks") or task.get("ansible.builtin.import_tasks") or ""
        # A first release is switched to before nginx is set up, and has no traffic by that
        if re.search(r"(^|/)(switch|switched|confirm)\.yml$", path) and task["name"] != "Switch each app that is new here":
            found.append(os.path.basename(path))
    assert found == ["switch.yml", "switched.yml", "confirm.yml"]


def test_what_has_the_traffic_is_said_for_each_app() -> None:
    [said] = tasks(yaml.load((ROOT / "playbooks/tasks/switched.yml").read_text(encoding="utf-8"), Loader))
    assert said["when"] == "not ansible_check_mode"
    assert "A server whose connection is lost from here on has this live" in said["ansible.builtin.debug"]["msg"]


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


@pytest.mark.parametrize("file", sorted(ROOT.glob("playbooks/**/*.yml")), ids=lambda file: str(file.relative_to(ROOT)))
def test_what_only_looks_shows_no_difference(file: Path) -> None:
    """The step that makes it does; with --check --diff each would be there twice."""
    for task in tasks(yaml.load(file.read_text(encoding="utf-8"), Loader)):
        include = next((task[key] for key in ("ansible.builtin.include_role", "ansible.builtin.include_tasks") if key in task), None)
        looks = include.get("apply", {}) if isinstance(include, dict) else task
        assert looks.get("check_mode") is not True or looks.get("diff") is False, task["name"]


@pytest.mark.parametrize("playbook", ["deploy", "rollback"])
def test_the_load_balancers_wait_as_long_as_the_release_may_take(playbook: str) -> None:
    """Also after a rollback: on an app server the switch itself sees to it."""
    plays = yaml.load((ROOT / f"playbooks/{playbook}.yml").read_text(encoding="utf-8"), Loader)
    [play] = [play for play in plays if any("plainstack.web.timeouts" in task for task in tasks(play.get("tasks", [])))]
    assert play["hosts"] == "{{ groups['load_balancers'] | default([]) }}"


def test_a_slow_server_has_time() -> None:
    """Ansible's default of 10 s is too short for a small one whose sudo waits for its disk."""
    assert re.search(r"(?m)^timeout = 30$", (ROOT / "ansible.cfg").read_text(encoding="utf-8"))


def test_no_advice_asks_for_a_password_that_stock_images_do_not_have() -> None:
    told = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("roles/*/README.md"), *ROOT.glob("plugins/**/*.py"), *FILES]
    assert [str(path) for path in told if "sudo -v" in path.read_text(encoding="utf-8")] == []
