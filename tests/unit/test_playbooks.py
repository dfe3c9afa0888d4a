"""What holds in every playbook and role, whatever they do."""

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("playbooks/**/*.yml"), *ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("roles/*/handlers/*.yml")])
DEFINITIONS = re.compile(r"\bapps\b")


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


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_variable_has_a_definition(file: Path) -> None:
    """A definition has the secrets, and what is in a variable can be printed: by a loop's item, a failed task, or with -v."""
    templates = re.findall(r"\{\{.*?\}\}", file.read_text(encoding="utf-8"), re.DOTALL)
    assert [template for template in templates if DEFINITIONS.search(template)] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_is_programmed_in_yaml(file: Path) -> None:
    """Decisions are functions with tests; a playbook is a list of steps."""
    text = file.read_text(encoding="utf-8")
    assert re.findall(r"\{%-? *(set|for)\b", text) == []
    if "playbooks" in file.parts:
        assert re.findall(r"[:-] +[&*]\w+|<<:", text) == [], "an anchor"


def test_nothing_has_a_tag() -> None:
    """A run with --tags is refused, so that a tag would be of no use; the refusal itself has the one that is always on."""
    tagged = [(file.name, task["name"]) for file in FILES for task in tasks(yaml.load(file.read_text(encoding="utf-8"), Loader)) if "tags" in task]
    assert tagged == [("plan.yml", "Plan what is to be done")]


def test_all_of_them_are_in_the_collection() -> None:
    shipped = (ROOT / "galaxy.yml").read_text(encoding="utf-8").split()
    assert [path.name for path in (ROOT / "playbooks").glob("*.yml") if f"playbooks/{path.name}" not in shipped] == []


@pytest.mark.parametrize("playbook", ["deploy", "rollback", "upgrade", "scale", "teardown"])
def test_what_is_asked_for_is_checked_first(playbook: str) -> None:
    [play, *_] = yaml.load((ROOT / f"playbooks/{playbook}.yml").read_text(encoding="utf-8"), Loader)
    assert (play["ansible.builtin.import_playbook"], play["vars"]) == ("plainstack.web.begin", {"plainstack_event": playbook})


@pytest.mark.parametrize("playbook", ["status", "releases", "logs", "run", "begin"])
def test_everything_begins_with_a_plan(playbook: str) -> None:
    [plan, play] = yaml.load((ROOT / f"playbooks/{playbook}.yml").read_text(encoding="utf-8"), Loader)
    assert plan["ansible.builtin.import_playbook"] == "plainstack.web.plan"
    assert plan.get("vars") == (None if playbook == "begin" else {"plainstack_event": playbook})
    assert "any_errors_fatal" not in play or playbook == "begin", "a server that cannot be reached must not stop the others"


def inventory(directory: Path, host: str = "web1", variables: str = "") -> Path:
    """An inventory whose server cannot be reached, so that nothing else ends the run with the error that is looked for."""
    directory.mkdir(parents=True)
    (directory / "hosts.yml").write_text(f"app_servers: {{hosts: {{{host}: {{ansible_host: 192.0.2.1}}}}}}\nspare:\n", encoding="utf-8")
    if variables:
        (directory / "group_vars").mkdir()
        (directory / "group_vars" / "all.yml").write_text(variables, encoding="utf-8")
    return directory


def command(*options: str) -> list[str]:
    return [str(Path(sys.executable).parent / "ansible-playbook"), "deploy.yml", *options]


def ended(*options: str) -> str:
    """What a run says that fails before it contacts a server."""
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"}
    done = subprocess.run(command(*options), cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.findall(r"^(plan|inspect) .*$", done.stdout, re.MULTILINE) == ["plan"]
    return " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize("option", ["--tags", "--skip-tags"])
def test_a_part_of_a_run_is_refused(tmp_path: Path, option: str) -> None:
    """It would end with rc 0 and nothing done."""
    assert "there are no tags; nothing was touched" in ended("-i", str(inventory(tmp_path / "own")), option, "nginx")


APPS = "apps: [{name: hello, source: ., module: wsgi:app, domains: [hello.example.com]}]\n"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (APPS.replace("module", "modul"), "unknown key 'modul'; did you mean 'module'?"),
        (APPS.replace("wsgi:app", "'{{ missing }}'"), "'module' has {{, {% or {#, which Ansible evaluates, and that failed ('missing' is undefined)"),
    ],
    ids=["unknown key", "undefined variable"],
)
def test_an_error_comes_once_and_is_not_wrapped(tmp_path: Path, variables: str, said: str) -> None:
    output = ended("-i", str(inventory(tmp_path / "own", variables=variables)))
    assert (output.count(said), output.count("nothing was touched")) == (1, 1)
    assert [word for word in ("Finalization", "Task failed", "filter plugin", "Traceback", "fleet", "balancer") if word in output] == []


@pytest.mark.parametrize(
    ("app", "options", "said"),
    [
        ("source: .", ("-e", "ref=main"), "-e ref=main is for one git repository, and none of these apps has a git URL as its 'source'; nothing was touched."),
        ("source: 'file:///nowhere.git'", ("-e", "ref=--upload-pack=x"), "that is no name of a branch, a tag or a commit; nothing was touched."),
        ("source: 'file:///nowhere.git', ref: main", (), "The source of the app 'hello' cannot be had; nothing was touched. fatal: '/nowhere.git'"),
        (
            "source: ., processes: {worker: {command: x, hosts: workers}}",
            (),
            "of the group 'workers', and the inventory has no such group; nothing was touched.",
        ),
        ("source: ., hosts: front", (), "app 'hello' is to be on the servers of the group 'front', and the inventory has no such group; nothing was touched."),
        ("source: ., hosts: spare", (), "hello: none of the servers in 'app_servers' is in the group that 'hosts' of the app names; nothing was touched."),
        ("source: ., local_build: exit 3", (), "'local_build' was run, and it failed with exit code 3; nothing was touched."),
    ],
)
def test_what_cannot_be_deployed_is_said(tmp_path: Path, app: str, options: tuple[str, ...], said: str) -> None:
    own = inventory(tmp_path / "own", variables=APPS.replace("source: .", app))
    (own / "requirements.txt").write_text("gunicorn\n", encoding="utf-8")
    output = ended("-i", str(own), *options)
    assert output.count(said) == 1
    assert "Traceback" not in output


def test_a_rollback_goes_whatever_has_become_of_a_group(tmp_path: Path) -> None:
    """It changes no unit."""
    own = inventory(tmp_path / "own", variables=APPS.replace("source: .", "source: ., processes: {worker: {command: x, hosts: workers}}"))
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"}
    rollback = [*command("-i", str(own), "--timeout", "1")]
    rollback[1] = "rollback.yml"
    done = subprocess.run(rollback, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert "no such group" not in done.stdout + done.stderr
    assert re.search(r"^inspect .* s  failed on web1$", done.stdout, re.MULTILINE)


def test_two_inventories_at_once_are_refused(tmp_path: Path) -> None:
    staging, production = inventory(tmp_path / "staging"), inventory(tmp_path / "production", "web2")
    output = ended("-i", str(staging), "-i", str(production))
    assert "The servers come from several inventories" in output
    assert f"{staging}: web1" in output
    assert "Next: the same command with one -i" in output


@pytest.mark.parametrize(("name", "refused"), [("", True), ("staging", True), ("production", False)])
def test_an_inventory_that_asks_to_be_confirmed(tmp_path: Path, name: str, refused: bool) -> None:
    """There is no terminal here; the run ends at its next check."""
    directory = inventory(tmp_path / "own", variables=f"confirm_inventory: production\n{APPS.replace('module', 'modul')}")
    (directory / "more.yml").write_text("other: {hosts: {web2: }}\n", encoding="utf-8")  # parts of one inventory
    output = ended("-i", str(directory), *(["-e", f"confirmed={name}"] if name else []))
    assert ("Next: the same command, and production as the answer; or without a terminal with -e confirmed=production" in output) is refused
    assert ("unknown key 'modul'" in output) is not refused


@pytest.mark.parametrize(("typed", "refused"), [("production", False), ("staging", True)])
def test_the_name_is_asked_for_on_a_terminal(tmp_path: Path, typed: str, refused: bool) -> None:
    directory = inventory(tmp_path / "own", variables=f"confirm_inventory: production\n{APPS.replace('module', 'modul')}")
    child, terminal = pty.fork()
    if not child:
        os.chdir(ROOT)
        os.execve(command()[0], command("-i", str(directory)), {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"})
    output, end = b"", time.monotonic() + 60
    with contextlib.suppress(OSError):  # the terminal is gone with the process
        while time.monotonic() < end:
            if select.select([terminal], [], [], 2)[0]:
                output += os.read(terminal, 4096)
            elif b"to go on:" in output:  # Ansible drops what was typed before it listens
                os.write(terminal, f"{typed}\n".encode())
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert b"This run is for production (1 server)" in output
    assert (b"and was not" in output) is refused
    assert (b"unknown key 'modul'" in output) is not refused


def test_every_installation_waits_for_apt_as_long_as_the_inventory_says() -> None:
    """By the defaults of its play; the roles have no such variable."""
    installing = {path.parents[1].name for path in ROOT.glob("roles/*/tasks/*.yml") if "plainstack.web.packages:" in path.read_text(encoding="utf-8")}
    for playbook in ("rollout", "upgrade"):
        for play in yaml.load((ROOT / f"playbooks/{playbook}.yml").read_text(encoding="utf-8"), Loader):
            found = list(tasks(play.get("tasks", [])))
            roles = {
                task[key]["name"].split(".")[-1] for task in found for key in ("ansible.builtin.import_role", "ansible.builtin.include_role") if key in task
            }
            if roles & installing or any("plainstack.web.packages" in task for task in found):
                assert play["module_defaults"] == {"plainstack.web.packages": {"lock_timeout": "{{ apt_lock_timeout | default(omit) }}"}}, play["name"]


@pytest.mark.parametrize("playbook", ["rollout", "rollback"])
def test_the_load_balancers_wait_as_long_as_the_release_may_take(playbook: str) -> None:
    """Also after a rollback: on an app server the switch itself sees to it."""
    plays = yaml.load((ROOT / f"playbooks/{playbook}.yml").read_text(encoding="utf-8"), Loader)
    [play] = [play for play in plays if any("plainstack.web.timeouts" in task for task in tasks(play.get("tasks", [])))]
    assert play["hosts"] == "{{ groups['plainstack_load_balancers'] | default([]) }}"


def test_a_slow_server_has_time() -> None:
    """Ansible's default of 10 s is too short for a small one whose sudo waits for its disk."""
    assert re.search(r"(?m)^timeout = 30$", (ROOT / "ansible.cfg").read_text(encoding="utf-8"))


def test_no_advice_asks_for_a_password_that_stock_images_do_not_have() -> None:
    told = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("roles/*/README.md"), *ROOT.glob("plugins/**/*.py"), *FILES]
    assert [str(path) for path in told if "sudo -v" in path.read_text(encoding="utf-8")] == []
