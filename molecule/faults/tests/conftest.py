"""Fixtures of the faults: a VM from the snapshot of a provisioned one, an inventory of it alone, its site, a light load on it."""

from __future__ import annotations

import copy
import json
import shutil
import ssl
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from clients import Kind, Load, Target
from support import LAB, ROOT, Answer, Connection, Site, ask
from vm import INVENTORY, Get, Mend, Served, Serving, State, Tidy, Vm, wait

NAME = "hello.test"
CA = LAB / "site" / "ca.pem"
# About 25 requests a second, so that the machine has time for what is tested
LIGHT = (Kind("GET", True, 0.1), Kind("POST", True, 0.2), Kind("GET", False, 0.2), Kind("POST", False, 0.3))

HOSTS: dict[str, Any] = yaml.safe_load((INVENTORY / "hosts.yml").read_text(encoding="utf-8"))


def _machine(name: str) -> Vm:
    host = HOSTS["lab"]["hosts"][name]
    ports = {guest: outer for outer, guest in host["lab_publish"].items()}
    return Vm(name, host["ansible_port"], ports[80], ports[443])


MACHINES = {int(name.rsplit("-", 1)[1]): _machine(name) for name in HOSTS["lab"]["hosts"]}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test that fails leaves behind is no business of the next one."""
    report = yield
    if report.failed:
        for machine in MACHINES.values():
            machine.owner = ""
    return report


@pytest.fixture
def debian() -> int:
    """Version of Debian; a test for another one is parametrised with it."""
    return 13


@pytest.fixture
def vm(debian: int, request: pytest.FixtureRequest) -> Vm:
    """A VM, for each module a fresh one. A test that does not put it right by an ordinary run clears its `owner`."""
    machine = MACHINES[debian]
    if machine.owner != request.path.name:
        machine.anew()
        machine.owner = request.path.name
    return machine


@pytest.fixture
def site(vm: Vm, tmp_path: Path) -> Iterator[Site]:
    """What the snapshot was deployed with, as a copy: deployed unchanged to a fresh VM, nothing changes."""
    apps = yaml.safe_load((INVENTORY / "group_vars" / "all.yml").read_text(encoding="utf-8"))["apps"]
    _copy_source(tmp_path / "source")
    inventory = tmp_path / "inventory"
    (inventory / "group_vars").mkdir(parents=True)
    (inventory / "group_vars" / "lab.yml").symlink_to(ROOT / "lab" / "vars.yml")
    hosts = {
        "app_servers": {"hosts": {vm.name: None}},
        "lab": {"hosts": {vm.name: dict(HOSTS["lab"]["hosts"][vm.name])}},
    }
    site = Site(inventory, [{**app, "source": str(tmp_path / "source")} for app in apps], hosts, environment={"ANSIBLE_SSH_CONTROL_PATH_DIR": vm.control})
    yield site
    site.end()


def _copy_source(target: Path) -> None:
    shutil.copytree(ROOT / "app_example", target, ignore=shutil.ignore_patterns("__pycache__", ".*_cache", "instance"))


@pytest.fixture
def mend(site: Site) -> Mend:
    """A function that takes back what the test has broken, with a change to the page, so that the next deploy is an ordinary one."""
    apps, variables = copy.deepcopy(site.apps), dict(site.variables)

    def restore() -> None:
        shutil.rmtree(site.source)
        _copy_source(site.source)
        site.edit("hello/templates/index.html", "<h1", f'<h1 data-mended="{uuid.uuid4()}"')
        site.apps[:], site.variables = apps, variables

    return restore


@pytest.fixture
def get(vm: Vm) -> Get:
    """A function that asks the site for a path, over HTTPS."""

    def request(path: str = "/", name: str = NAME, verify: bool = True) -> Answer:
        context = ssl.create_default_context(cafile=str(CA)) if verify else ssl._create_unverified_context()
        connection = Connection(name, vm.https_port, context)
        return ask(connection, name, path, "GET", None, None, dict)

    return request


@pytest.fixture
def served(vm: Vm, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A context in which visitors come, and none of them, or not more than are allowed, goes away without an answer."""

    @contextmanager
    def load(allowed: int = 0) -> Iterator[Load]:
        with Load(Target(NAME, vm.https_port, str(CA)), tmp_path_factory.mktemp("load"), LIGHT) as visitors:
            wait("the first visitors", lambda: len(visitors.responses()) > len(LIGHT))
            yield visitors
        failed = [response for response in visitors.responses() if response.failure]
        assert len(failed) <= allowed, f"{len(failed)} of {len(visitors.responses())} requests failed: {failed[:10]}"

    return load


@pytest.fixture
def serving(get: Get) -> Serving:
    """A function that says which release answers."""
    return lambda: str(json.loads(get("/api/whoami").body)["release"])


@pytest.fixture
def tidy(vm: Vm) -> Tidy:
    """A function that waits until the lock is free, checks that nothing is half-done, and returns the state."""

    def check(app: str = "hello") -> State:
        wait("the lock is free", lambda: vm.run(f"test -e /run/plainstack-locks/{app}").returncode == 1, 5)
        state = vm.look(app)
        assert state.untidy() == {}
        return state

    return check
