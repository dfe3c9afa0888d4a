"""The command `plainstack`: which playbook it runs with which options, and what it does over ssh."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from typer.testing import CliRunner

from plainstack import inventories, new, remote
from plainstack.inventories import Inventory, InventoryError, Server
from plainstack.main import COMMAND, LOGS, OPTIONS, PLAYBOOKS, main

ROOT = Path(__file__).parents[2]
HOSTS = {
    "app_servers": {
        "hosts": {
            "web1": {"ansible_host": "203.0.113.7", "ansible_port": 2222, "ansible_ssh_private_key_file": "{{ keys }}/id"},
            "web2": {"ansible_user": "root", "ansible_ssh_common_args": "-o ProxyJump=bastion"},
        },
        "vars": {"ansible_user": "admin", "keys": "/keys"},
    },
    "worker_servers": {"hosts": {"work1": {}}},
}
APPS = [{"name": "hello", "domains": ["hello.test"], "aliases": ["www.hello.test"]}, {"name": "shop", "domains": ["shop.test"]}]


@pytest.fixture(autouse=True)
def collections(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest has found them already, in another way than Ansible does."""
    for module in (inventories, new, remote):
        monkeypatch.setattr(module, "ready", lambda: None)
    monkeypatch.setattr("ansible.constants.VARIABLE_PLUGINS_ENABLED", ["host_group_vars"])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with inventories/production."""
    everywhere = tmp_path / "inventories" / "production" / "group_vars" / "all"
    everywhere.mkdir(parents=True)
    (tmp_path / "inventories" / "production" / "hosts.yml").write_text(yaml.safe_dump(HOSTS))
    (everywhere / "apps.yml").write_text(yaml.safe_dump({"apps": APPS}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(here: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command; its exit status, what it printed, and what it became."""
    became: list[list[str]] = []

    def execvp(_path: str, words: Sequence[str]) -> None:
        became.append(list(words))
        raise SystemExit(0)

    monkeypatch.setattr(os, "execvp", execvp)

    def do(*words: str, data: str = "") -> tuple[int, str, list[str]]:
        became.clear()
        result = CliRunner().invoke(main, list(words), input=data, env={"NO_COLOR": "1", "COLUMNS": "200"})
        return result.exit_code, result.output, became[0] if became else []

    return do


def variables(words: Sequence[str]) -> dict[str, Any]:
    """What `-e` gives."""
    found: dict[str, Any] = {}
    for place, word in enumerate(words):
        if word == "-e":
            found |= json.loads(words[place + 1])
    return found


# Playbooks


def test_each_command_has_its_playbook() -> None:
    for name, (about, options) in PLAYBOOKS.items():
        assert (ROOT / "playbooks" / f"{name}.yml").exists()
        assert about.endswith(".")
        assert {*options} <= {*OPTIONS}


def test_each_option_is_one_of_its_playbook() -> None:
    """As the comment at the head of the playbook says it."""
    of_all = {"confirmed", "lock_wait", "allow_unreachable"}
    for name, options in {**{name: options for name, (_about, options) in PLAYBOOKS.items()}, "logs": LOGS, "run": COMMAND}.items():
        head = (ROOT / "playbooks" / f"{name}.yml").read_text().split("\n- name")[0]
        said = {line.split("-e ")[1].split("=")[0].strip("'\"") for line in head.splitlines() if "-e " in line}
        assert {*options} - of_all <= said, name
        assert said - {"app", "command"} - of_all <= {*options}, f"{name}: options that the command has not"


def test_a_deploy(run: Any) -> None:
    code, _said, words = run("deploy", "production", "hello", "--canary", "1", "--allow-unreachable", "--check", "-vv", "-K")
    assert (code, words[:4]) == (0, ["ansible-playbook", "plainstack.web.deploy", "-i", "inventories/production"])
    assert variables(words) == {"app": "hello", "canary": "1", "allow_unreachable": True}
    assert words[-4:] == ["--check", "--diff", "-vv", "--ask-become-pass"]


def test_nothing_is_given_that_was_not_asked_for(run: Any) -> None:
    assert run("status", "production") == (0, "", ["ansible-playbook", "plainstack.web.status", "-i", "inventories/production"])
    assert run("logs", "inventories/production")[2] == ["ansible-playbook", "plainstack.web.logs", "-i", "inventories/production"]


def test_values_are_one_word_each(run: Any) -> None:
    """Ansible splits what is no JSON."""
    words = run("maintenance", "production", "--mode", "on", "--message", "back at noon mode=off")[2]
    assert variables(words) == {"mode": "on", "message": "back at noon mode=off"}
    words = run("run", "--on", "all", "production", "hello", "flask", "--app", "x", "shell -c 'a b'")[2]
    assert variables(words) == {"app": "hello", "command": "flask --app x 'shell -c '\"'\"'a b'\"'\"''", "on": "all"}
    assert variables(run("run", "production", "hello", "echo $HOME | wc")[2])["command"] == "echo $HOME | wc"


def test_an_inventory_that_is_not_there(run: Any) -> None:
    code, said, words = run("status", "prodcution")
    assert (code, words) == (2, [])
    assert said.startswith("There is no inventory 'prodcution': inventories/ has production, and there is no such path.\nNext: ")


def test_the_exit_status_is_that_of_the_playbook(here: Path) -> None:
    """Really executed: what is on PATH where no other is beside the interpreter."""
    (here / "ansible-playbook").write_text('#!/bin/sh\necho "$@"\nexit 7\n')
    (here / "ansible-playbook").chmod(0o755)
    code = "import sys; from pathlib import Path; sys.executable = '/none/python'; from plainstack.main import program; program()"
    environment = {**os.environ, "PATH": f"{here}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "cli")}
    done = subprocess.run([sys.executable, "-c", code, "status", "production"], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (7, "plainstack.web.status -i inventories/production\n")


def test_completion(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell asks for it."""

    def complete(line: str) -> list[str]:
        environment = {**os.environ, "_PLAINSTACK_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
        command = [sys.executable, "-c", "from plainstack.main import main; main(prog_name='plainstack')"]
        done = subprocess.run(command, env={**environment, "PYTHONPATH": str(ROOT / "cli")}, capture_output=True, text=True, check=False)
        return done.stdout.split()

    assert complete("plainstack deploy p") == ["production"]
    assert complete("plainstack logs production h") == ["hello"]
    assert complete("plainstack rollb") == ["rollback"]
    assert complete("plainstack restore production hello --of w") == ["web1", "web2", "work1"]
    asked = here / "bin" / "ssh"
    asked.parent.mkdir()
    asked.write_text(f'#!/bin/sh\necho "$@" > {here}/asked\nprintf "20260103T000000Z-cccccccc\\n20260102T000000Z-bbbbbbbb\\n.half\\n"\n')
    asked.chmod(0o755)
    monkeypatch.setenv("PATH", f"{asked.parent}:{os.environ['PATH']}")
    assert complete("plainstack rollback production hello --release 2026") == ["20260103T000000Z-cccccccc", "20260102T000000Z-bbbbbbbb"]
    assert "-o BatchMode=yes -o ConnectTimeout=3 " in (here / "asked").read_text()
    assert "sudo -n bash -c 'ls --reverse /srv/hello/releases'" in (here / "asked").read_text()
    (here / "inventories/production/hosts.yml").write_text("{")
    assert complete("plainstack logs production h") == []


# Over ssh


def test_how_a_server_is_reached(here: Path) -> None:
    found = Inventory(inventories.find("production"))
    assert found.servers() == ["web1", "web2", "work1"]
    words = found.server("web1").words
    assert (words[0], words[-1]) == ("ssh", "203.0.113.7")
    assert {"Port=2222", "User=admin", "IdentityFile=/keys/id", "ControlPath=none"} <= {*words}
    assert "ProxyJump=bastion" in found.server("web2").words
    assert found.server("web2").words[-1] == "web2"
    assert found.server("web2").command("id")[-1] == "bash -c id"
    assert found.server("web1").command("id -u")[-1] == "sudo -n bash -c 'id -u'"
    assert found.server("web1").command("id", terminal=True)[1 :: len(words)] == ["-t", "sudo bash -c id"]
    with pytest.raises(InventoryError, match="There is no server 'web3': inventories/production has web1, web2, work1"):
        found.server("web3")
    assert words[1:3] == ("-o", "ControlPath=none"), "ssh takes the first"


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_no_name_is_no_inventory(here: Path, name: str) -> None:
    """A variable that is not set would merge all inventories."""
    with pytest.raises(InventoryError, match="There is no inventory"):
        inventories.find(name)


def test_which_app(here: Path) -> None:
    found = Inventory(inventories.find("production"))
    assert found.apps() == {"hello": ["hello.test", "www.hello.test"], "shop": ["shop.test"]}
    assert found.app("shop") == "shop"
    for name, said in (("", "Which app"), ("x", "There is no app 'x'")):
        with pytest.raises(InventoryError, match=said):
            found.app(name)


def fake_ssh(directory: Path, script: str) -> str:
    path = directory / "ssh"
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_logs_are_followed(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What comes from a server does nothing to the terminal; where a connection ends it is said."""
    ssh = fake_ssh(here, r'printf "%s a line\n\033[2Jred\n" "${@: -2:1}"; [ "${@: -2:1}" != web2 ] || exit 255')
    servers = {name: Server(name, (ssh, name), True) for name in ("web1", "web2", "work1")}
    monkeypatch.setattr(Inventory, "server", lambda _self, name: servers[name])
    assert remote.follow(Inventory("inventories/production"), "hello", 5) == 255
    shown = capsys.readouterr()
    assert sorted(shown.out.splitlines()) == sorted(line for name in servers for line in (f"{name:5}  {name} a line", rf"{name:5}  \x1b[2Jred"))
    assert "web2: the connection has ended (ssh says 255)" in shown.err


def test_what_is_followed() -> None:
    script = remote.follow_script("my-shop", ["shop.test", "x.y.test"], 5)
    assert "--lines=5" in script
    assert "id -u my-shop" in script
    assert '_UID="$uid"' in script, "also of a release that comes meanwhile"
    assert "--regexp='\" shop[.]test '" in script
    assert "access.log" not in remote.follow_script("jobs", [], 5), "an app without a site"
    assert subprocess.run(["bash", "-n", "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("fails", ["", "exit 1", "echo"])
def test_the_shell_is_in_the_sandbox(tmp_path: Path, fails: str) -> None:
    """The script is run for real, where systemd and the paths are others; without the unit there is no shell."""
    unit = r"printf '[Service]\nType=notify\nUser=%%p\nProtectSystem=strict\nExecStart=x\n'"
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\n{fails or unit}\n")
    (tmp_path / "systemd-run").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    for name in ("systemctl", "systemd-run"):
        (tmp_path / name).chmod(0o755)
    (tmp_path / "live.sock").symlink_to("/run/plainstack/hello/20260102T000000Z-bbbbbbbb.sock")
    script = remote.console_script("hello")
    encoded = script.split('"')[1]
    import base64

    code = base64.b64decode(encoded).decode().replace("/srv/{name}/live.sock", f"{tmp_path}/live.sock")
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["python3", "-I", "-c", code], env=environment, capture_output=True, text=True, check=False)
    words = done.stdout.splitlines()
    if fails:
        assert (done.returncode, words) == (1, [])
        assert "there is no sandbox without it" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert [word for word in words if word.startswith("--property")] == ["--property=User=hello", "--property=ProtectSystem=strict"]
    assert "PATH=/srv/hello/releases/20260102T000000Z-bbbbbbbb/.venv/bin:/usr/local/bin:/usr/bin:/bin" in words
    assert subprocess.run(["bash", "-n", "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    ("there", "target"),
    [("5432", "127.0.0.1:5432"), ("10.0.0.5:80", "10.0.0.5:80"), ("/run/postgresql/.s.PGSQL.5432", "/run/postgresql/.s.PGSQL.5432")],
)
def test_a_tunnel(there: str, target: str) -> None:
    words = remote.tunnel_words(Server("web1", ("ssh", "-o", "Port=22", "web1"), False), 9000, there)
    assert words[-3:] == ["-L", f"127.0.0.1:9000:{target}", "web1"]


@pytest.mark.parametrize("there", ["", "x", "host:", ":80", "host:99999", "-oProxyCommand=x"])
def test_no_tunnel(there: str) -> None:
    with pytest.raises(InventoryError, match="is no port"):
        remote.tunnel_words(Server("web1", ("ssh", "web1"), False), 9000, there)


# plainstack new

ANSWERS = "{source}\nwsgi:app\nshop.example.com\nroot@203.0.113.7\n"


def test_new(run: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four questions; what is written passes a deploy's checks, and its secrets are readable with its password alone."""
    (here / "inventories" / "production").rename(here / "old")
    source = ROOT / "app_example"
    code, said, _words = run("new", "shop", data=ANSWERS.format(source=source))
    assert code == 0, said
    assert said.count("?") == 0
    assert "Next: plainstack deploy staging\n" in said
    values = []
    for stage in ("staging", "production"):
        directory = here / "inventories" / stage
        [password] = (here / ".vaults" / stage).read_text().splitlines()
        assert (here / ".vaults" / stage).stat().st_mode & 0o777 == 0o600
        # Ansible has one vault in a process
        code_of = f"from plainstack.inventories import *; i = Inventory(find('{stage}')); print(*i.apps(), i._of('{stage}1')['vault_secret_key'])"
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "cli")}
        read = subprocess.run([sys.executable, "-c", code_of], env=environment, capture_output=True, text=True, check=True).stdout.split()
        assert read[0] == "shop"
        vault = (directory / "group_vars/all/vault.yml").read_text()
        assert vault.startswith(f"$ANSIBLE_VAULT;1.2;AES256;{stage}\n")
        values.append(VaultLib([(stage, VaultSecret(password.encode()))]).decrypt(vault).decode())
        assert read[1] in values[-1]
        hosts = yaml.safe_load((directory / "hosts.yml").read_text())
        assert hosts["app_servers"]["vars"]["ansible_user"] == "root"
        apps = yaml.safe_load((directory / "group_vars/all/apps.yml").read_text())["apps"]
        assert (directory / apps[0]["source"]).resolve() == source
    assert values[0] != values[1]
    assert "confirm_inventory: production" in (here / "inventories/production/group_vars/all/server.yml").read_text()
    assert run("status", "staging")[2][-2:] == ["--vault-id", "staging@.vaults/staging"]
    again, said, _words = run("new", "shop", data=ANSWERS.format(source=source))
    assert (again, said.rstrip().endswith("are there already; nothing was written.")) == (2, True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "Shop"}, "'name'"),
        ({"domain": "shop"}, "is not a full, lower-case host name"),
        ({"source": "/nowhere"}, "There is no directory '/nowhere'"),
        ({"module": "wsgi app"}, "'module'"),
        ({"server": "a b"}, "'a b' is no server"),
        ({"server": "-oProxyCommand=x"}, "is no server"),
        ({"email": 'a"b'}, "is no mail address"),
    ],
)
def test_what_is_wrong_writes_nothing(here: Path, changes: dict[str, str], said: str) -> None:
    (here / "inventories" / "production").rename(here / "old")
    given = {"name": "shop", "source": str(ROOT / "app_example"), "module": "wsgi:app", "domain": "shop.test", "server": "web", "email": "", **changes}
    with pytest.raises(new.NewError) as error:
        new.write(**given)
    assert said in str(error.value)
    assert sorted(os.listdir(here)) == ["inventories", "old"]
    assert os.listdir(here / "inventories") == []
