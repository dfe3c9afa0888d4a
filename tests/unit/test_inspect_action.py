"""What the operator reads when a server cannot even be looked at."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible import constants  # type: ignore[attr-defined]
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.plainstack.web.plugins.action import inspect
from ansible_collections.plainstack.web.plugins.action.inspect import ActionModule, _lacks, _needed, _of_apps
from ansible_collections.plainstack.web.plugins.plugin_utils import run
from ansible_collections.plainstack.web.plugins.plugin_utils.definition import UnfitDefinitionError

VARIABLES = {"inventory_hostname": "web1", "inventory_file": "hosts.yml", "ansible_host": "192.0.2.1", "ansible_user": "admin"}
SLOW = "Timeout (32s) waiting for privilege escalation prompt: "


@pytest.mark.parametrize(
    ("server", "changes", "roles"),
    [
        (True, {}, ["python", "nginx", "certbot"]),
        (True, {"others": []}, ["python", "nginx"]),
        (True, {"issuer": "web2"}, ["python", "nginx"]),
        (True, {"balancers": ["192.0.2.9"]}, ["python", "nginx", "firewall"]),
        (True, {"serves": False, "others": []}, ["python"]),
        (False, {"balancers": ["192.0.2.9"]}, ["nginx", "certbot"]),
        (False, {"balancers": ["192.0.2.9"], "issuer": "lb2"}, ["nginx"]),
    ],
)
def test_which_roles_install_packages(server: bool, changes: dict[str, Any], roles: list[str]) -> None:
    of_host = {"balancers": [], "others": [{"name": "hello"}], "issuer": "web1", "serves": True, **changes}
    assert ActionModule._roles(of_host, "web1", server) == roles


@pytest.mark.parametrize(("known", "limited"), [(False, True), (True, False)])
def test_a_part_of_the_servers_is_looked_at_only_when_all_were(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, known: bool, limited: bool) -> None:
    """upgrade.yml looks at each again, after its reboot."""
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    run.save(run.PLAN, {"event": "upgrade", "servers": ["web1", "web2"], "balancers": ["lb1"], "fetched": {}})
    if known:
        run.note("web1", apps=[])

    def definition(*_arguments: Any, **_named: Any) -> list[dict[str, Any]]:
        raise UnfitDefinitionError("it goes on")

    monkeypatch.setattr(inspect, "definition", definition)
    result = ActionModule.__new__(ActionModule)
    result._templar = None
    said = result.run(None, {**VARIABLES, "ansible_play_hosts_all": ["web1", "web2"]})["msg"]
    assert said.startswith("This run is limited to web1, web2" if limited else "it goes on")


@pytest.mark.parametrize(
    ("absent", "lacks_python", "packages", "optional", "unprepared"),
    [
        (["nginx", "brotli"], False, ["nginx"], ["brotli"], True),
        (["brotli"], False, [], ["brotli"], True),
        ([], True, [], [], True),
        ([], False, [], [], False),
    ],
)
def test_what_a_server_lacks(absent: list[str], lacks_python: bool, packages: list[str], optional: list[str], unprepared: bool) -> None:
    whole = {"packages": packages, "optional_packages": optional, "lacks_python": lacks_python, "unprepared": unprepared}
    assert _lacks(absent, ["brotli", "geoip"], lacks_python) == whole


def test_packages_of_apps_are_for_app_servers() -> None:
    of_host = {"app_packages": ["libpq5", "nginx"], "build_packages": ["gcc", "libpq5"]}
    assert _of_apps(["nginx"], of_host, server=True) == ["nginx", "libpq5", "gcc"]
    assert _of_apps(["nginx"], of_host, server=False) == ["nginx"]


def test_packages_for_building_are_for_servers_that_build() -> None:
    of_host, absent, kept = {"build_packages": ["gcc", "libpq5"]}, ["nginx", "gcc", "libpq5"], ["nginx", "libpq5"]
    assert _needed(absent, of_host, kept, {"hello": {"matches": ["1"]}, "other": {"matches": []}}) == absent
    assert _needed(absent, of_host, kept, {"hello": {"matches": ["1"]}}) == ["nginx", "libpq5"]


@pytest.mark.parametrize(
    ("changes", "server", "certified", "hands_on"),
    [
        ({}, True, False, False),
        ({"others": [{"name": "hello"}]}, True, True, False),
        ({"renews": True}, True, True, False),
        ({"own_certificates": [{"name": "hello"}]}, True, True, True),
        ({"sharers": ["web1", "web2"]}, True, True, True),
        ({"shares": True}, True, True, True),
        ({"others": [{"name": "hello"}], "balancers": ["192.0.2.9"]}, True, False, False),
        ({"others": [{"name": "hello"}], "balancers": ["192.0.2.9"]}, False, True, False),
    ],
)
def test_which_certificates_a_host_looks_after(changes: dict[str, Any], server: bool, certified: bool, hands_on: bool) -> None:
    """None behind load balancers, where TLS ends at those."""
    found = {"others": [], "own_certificates": [], "sharers": ["web1"], "balancers": [], **changes}
    assert ActionModule._certificates(found, found, server) == {"certified": certified, "hands_on": hands_on}


@pytest.mark.parametrize(
    ("happens", "said", "not_said"),
    [
        (
            AnsibleConnectionFailure(SLOW),
            ["web1 is slow", "--timeout 60", "ansible_timeout: 60", "time ssh admin@192.0.2.1 sudo -n true"],
            ["cannot be reached"],
        ),
        (AnsibleConnectionFailure("Connection refused"), ["web1 cannot be reached: Connection refused", "'ssh admin@192.0.2.1' must log in"], ["slow"]),
        ({"failed": True, "msg": "sudo: a password is required"}, ["cannot become root", "'ssh admin@192.0.2.1 sudo -n true' must work"], ["sudo -v"]),
        ({"failed": True, "msg": "the app 'hello' is locked", "locked": True}, ["web1: the app 'hello' is locked\nNothing was touched."], []),
    ],
)
def test_a_server_that_cannot_be_looked_at(
    monkeypatch: pytest.MonkeyPatch, happens: AnsibleConnectionFailure | dict[str, Any], said: list[str], not_said: list[str]
) -> None:
    def execute(*_arguments: Any, **_named: Any) -> dict[str, Any]:
        if isinstance(happens, AnsibleConnectionFailure):
            raise happens
        return happens

    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    action = ActionModule.__new__(ActionModule)
    action._task, action._play_context = SimpleNamespace(args={}, check_mode=False), SimpleNamespace(remote_user="")
    action._execute_module = execute
    plan = {"event": "deploy", "servers": ["web1"], "balancers": []}
    result = action._inspect(VARIABLES, plan, {}, "web1", [])
    assert result["failed"]
    assert [word for word in said if word not in result["msg"]] == []
    assert [word for word in not_said if word in result["msg"]] == []
