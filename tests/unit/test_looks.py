"""What the inspection of a run has seen is what the roles ask for, and answers them once."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible import constants  # type: ignore[attr-defined]
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase
from ansible.template import Templar, trust_as_template
from ansible_collections.plainstack.web.plugins.action import certificate, configuration, firewall, nginx_info
from ansible_collections.plainstack.web.plugins.module_utils import stamp
from ansible_collections.plainstack.web.plugins.module_utils.controller import wiring
from ansible_collections.plainstack.web.plugins.module_utils.controller.definition import normalise
from ansible_collections.plainstack.web.plugins.module_utils.host import configuration as on_the_host
from ansible_collections.plainstack.web.plugins.plugin_utils import run as run_files

APP = {"name": "hello", "source": ".", "module": "wsgi:app", "domains": ["hello.example.com"], "requirements": "requirements.txt"}
ROOT = Path(__file__).resolve().parents[2]
FILE = {"file": "/etc/plainstack/firewall.nft", "table": "inet plainstack"}
HOST = {"inventory_hostname": "web1"}
PINNED = (ROOT / "roles/python/files/uv.txt").read_text(encoding="utf-8").split()[0].removeprefix("uv==")


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})


def action(kind: Any, **options: Any) -> Any:
    """An action whose module answers that it was run."""
    made = kind.ActionModule.__new__(kind.ActionModule)
    made._task = SimpleNamespace(args=options, check_mode=False)
    made._loader = DataLoader()
    made._templar = Templar(loader=made._loader, variables={})
    made._execute_module = lambda name, *_more, **_named: {"ran": name}
    return made


# In a process of its own: Ansible finds a collection's filters only where it has imported the collection itself
ASK = """
import json, sys
from types import SimpleNamespace
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader([sys.argv[1]])
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.plainstack.web.plugins.plugin_utils import looks
loader = DataLoader()
action = SimpleNamespace(_loader=loader, _templar=Templar(loader=loader, variables={}))
print(json.dumps(getattr(looks, sys.argv[2])(action, *json.loads(sys.argv[3]))))
"""


def asked(app: dict[str, Any], **variables: Any) -> dict[str, dict[str, Any]]:
    """With which options the roles will look on a server of its own."""
    [whole] = normalise([{**APP, **app}], "/nowhere", sources=False)
    plan = {
        "servers": ["web1"],
        "workers": [],
        "web": {"hello": ["web1"]},
        "balancers": [],
        "addresses": {},
        "issuers": {"web1": {"issuer": "web1", "address": ""}},
    }
    of_host = {**wiring.of_host("web1", [whole], ["hello"], plan), "uv": "", "nft": False}
    found: dict[str, dict[str, Any]] = ask("options", variables, {"plainstack": of_host})
    return found


def ask(what: str, *given: Any) -> Any:
    command = [sys.executable, "-c", ASK, str(ROOT / "collections"), what, json.dumps(given)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def test_the_packages_are_the_roles_own() -> None:
    names = ["python3-venv", "ca-certificates", "nginx", "ssl-cert", "logrotate", "certbot", "nftables"]
    assert ask("packages", {}, ["python", "nginx", "certbot", "firewall"]) == [names, ["libnginx-mod-http-brotli-filter", "libnginx-mod-http-brotli-static"]]


def test_the_options_are_the_roles_own() -> None:
    found = asked({}, certbot_email="ops@example.com")
    assert found["firewall"] == FILE
    assert found["certificate"] == {
        "certificates": [{"name": "hello", "domains": ["hello.example.com"]}],
        "others": [{"name": "hello", "domains": ["hello.example.com"]}],
        "retire": True,
        "self_check": True,
        "server": "https://acme-v02.api.letsencrypt.org/directory",
        "email": "ops@example.com",
        "webroot": "/var/www/acme",
        "ca": "",
    }
    assert found["nginx_info"]["sites"] == [
        {
            "name": "hello",
            "domains": ["hello.example.com"],
            "certificate": "/etc/letsencrypt/live/hello/fullchain.pem",
            "certificate_key": "/etc/letsencrypt/live/hello/privkey.pem",
        }
    ]
    assert {"nginx", "libnginx-mod-http-brotli-filter"} <= {*found["nginx_info"]["packages"]}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, []),
        ({"nginx_client_timeout": "20", "certbot_self_check": False}, []),
        ({"nginx_client_timeout": "soon"}, ["nginx_client_timeout"]),
        ({"certbot_self_check": "perhaps", "nginx_worker_connections": [1]}, ["nginx_worker_connections", "certbot_self_check"]),
        ({"python_versions": {"a": 1}}, []),  # a role that is not used
    ],
)
def test_variables_of_roles_are_checked_before_anything_is_touched(variables: dict[str, Any], said: list[str]) -> None:
    found = ask("problems", variables, ["nginx", "certbot"])
    assert [name in problem for name, problem in zip(said, found, strict=True)] == [True] * len(said)


@pytest.mark.parametrize(
    ("uv", "versions", "lacks"), [(f"uv {PINNED} (x)", [], False), (f"uv {PINNED}0", [], True), ("", [], True), (f"uv {PINNED}", ["3.13"], True)]
)
def test_whether_python_is_to_be_installed(uv: str, versions: list[str], lacks: bool) -> None:
    assert ask("lacks_python", uv, versions) is lacks


def test_own_certificates_are_on_their_way(tmp_path: Path) -> None:
    (tmp_path / "site.pem").write_text("PEM\n")
    own = {"certificate": str(tmp_path / "site.pem"), "certificate_key": str(tmp_path / "site.key")}
    assert asked(own)["nginx_info"]["coming"] == {"/etc/nginx/certificates/hello.pem": "PEM"}


def test_a_file_that_is_not_there_is_the_roles_to_tell() -> None:
    own = {"certificate": "/no/such.pem", "certificate_key": "/no/such.key"}
    assert "nginx_info" not in asked(own)


def test_what_was_seen_answers_once() -> None:
    run_files.note("web1", looks={"firewall": {"options": FILE, "result": {"changed": False}, "warnings": ["w"]}})
    assert action(firewall, **FILE).run(None, HOST) == {"changed": False, "warnings": ["w"]}
    assert action(firewall, **FILE).run(None, HOST) == {"ran": "plainstack.web.firewall"}


@pytest.mark.parametrize(
    ("kind", "options", "changed"),
    [(firewall, {**FILE, "table": "inet other"}, False), (firewall, FILE, True), (certificate, FILE, True)],
    ids=["other options", "rules are gone", "to be ordered"],
)
def test_what_was_seen_does_not_do_the_work(kind: Any, options: dict[str, str], changed: bool) -> None:
    name = kind.__name__.rsplit(".", 1)[-1]
    run_files.note("web1", looks={name: {"options": FILE, "result": {"changed": changed}, "warnings": []}})
    assert action(kind, **options).run(None, HOST) == {"ran": f"plainstack.web.{name}"}


def test_a_dry_look_takes_what_was_seen() -> None:
    run_files.note("web1", looks={"certificate": {"options": FILE, "result": {"changed": True, "obtained": ["hello"]}, "warnings": []}})
    look = action(certificate, **FILE)
    look._task.check_mode = True
    assert look.run(None, HOST)["obtained"] == ["hello"]


def test_other_keys_of_a_site_do_not_count() -> None:
    options = {"sites": [{"name": "hello", "domains": [], "certificate": "a", "certificate_key": "b"}], "packages": [], "candidates": [], "coming": {}}
    run_files.note("web1", looks={"nginx_info": {"options": options, "result": {"version": "1.26"}, "warnings": []}})
    more = {**options, "sites": [{**options["sites"][0], "servers": ["192.0.2.1"]}]}  # type: ignore[index]
    assert action(nginx_info, **more).run(None, HOST)["version"] == "1.26"


def test_when_certificates_expire_is_kept_for_the_end() -> None:
    parts = [{"until": "2027-02-20 10:41 UTC"}, {"until": "2027-01-31 00:00 UTC"}, {"until": ""}]
    seen = {"options": {"sites": []}, "result": {"served": {"hello": parts, "placeholder": parts[2:]}}, "warnings": []}
    run_files.note("web1", looks={"nginx_info": seen})
    action(nginx_info, sites=[]).run(None, HOST)
    assert run_files.of_host("web1")["certificates"] == {"hello": "2027-01-31 00:00 UTC"}


def test_without_a_run_the_host_is_asked() -> None:
    assert action(firewall, **FILE).run(None, HOST) == {"ran": "plainstack.web.firewall"}


# configuration


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A file of a service that nothing loads, as a run has written it; its user stands for root."""
    monkeypatch.setattr(on_the_host, "STAMPS", str(tmp_path / "stamps"))
    monkeypatch.setattr(os, "chown", lambda *_arguments: None)
    made = {"dest": str(tmp_path / "a.conf"), "content": "x\n", "mode": "0644"}
    on_the_host.configure("own", [made])
    return made


def test_a_configuration_that_is_as_wanted(file: dict[str, str]) -> None:
    """What the module sees on the host is what the quick look says, and what the controller expects."""
    seen = on_the_host.all_seen()
    assert seen["own"] == configuration.expected([file], [], "")
    run_files.note("web1", configurations=seen)
    assert action(configuration, name="own", files=[file]).run(None, HOST) == {"changed": False, "written": []}


@pytest.mark.parametrize("change", ["content", "mode", "gone", "wanted"])
def test_a_configuration_that_differs(file: dict[str, str], change: str) -> None:
    path = Path(file["dest"])
    changes: dict[str, Callable[[], object]] = {"content": lambda: path.write_text("y\n"), "mode": lambda: path.chmod(0o600), "gone": path.unlink}
    changes.get(change, lambda: None)()
    run_files.note("web1", configurations=on_the_host.all_seen(), looks={"firewall": {}})
    wanted = {**file, "content": "z\n"} if change == "wanted" else file
    assert action(configuration, name="own", files=[wanted]).run(None, HOST) == {"ran": "plainstack.web.configuration"}
    assert run_files.of_host("web1")["looks"] == {}, "what was seen may depend on it"


def test_a_stamp_of_an_earlier_version_is_no_answer(tmp_path: Path, file: dict[str, str]) -> None:
    (tmp_path / "stamps" / "own").write_text(hashlib.sha256(b"").hexdigest())
    assert on_the_host.all_seen() == {}


def test_a_stamp_says_which_files_it_is_of(file: dict[str, str]) -> None:
    found = json.loads(stamp.text([file], [{"dest": "/etc/b"}], "a.service"))
    assert found == {"files": [file["dest"]], "first": ["/etc/b"], "service": "a.service", "digest": stamp.digest([file])}


@pytest.mark.parametrize(("needed", "failed"), [(True, True), (False, False)])
def test_a_certbot_that_is_not_debians_fails_where_one_is_needed(needed: bool, failed: bool) -> None:
    looks = action(certificate, certificates=[{"name": "hello", "domains": ["hello.example.com"]}] if needed else [], others=[])
    looks._execute_module = lambda *_given, **_named: {"changed": False, "foreign": "/snap/bin/certbot is a certbot from snap"}
    result = looks.run(None, HOST)
    assert result.get("failed", False) is failed
    assert not failed or result["msg"] == "/snap/bin/certbot is a certbot from snap"


def test_sudo_is_not_given_the_indexes_of_packages() -> None:
    """Their URLs have passwords, and sudo writes what it is given into the journal."""
    role = yaml.safe_load((ROOT / "roles/python/vars/main.yml").read_text(encoding="utf-8"))
    given = {
        "UV_INDEX": "1",
        "UV_DEFAULT_INDEX": "2",
        "UV_EXTRA_INDEX_URL": "3",
        "UV_INDEX_OURS_PASSWORD": "4",
        "PIP_INDEX_URL": "5",
        "UV_PYTHON_INSTALL_MIRROR": "6",
    }
    templar = Templar(loader=DataLoader(), variables={"python_build_environment": given})
    found = templar.template(trust_as_template(role["__python_environment"]))
    assert found == {"PIP_INDEX_URL": "5", "UV_PYTHON_INSTALL_MIRROR": "6"}
