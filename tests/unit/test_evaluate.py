"""`apps` with Ansible's templates and vaulted values, through Ansible itself: text survives as it is written, or the error says what to write."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
MARKER = "hunter2"
ODD = MARKER + " {{ b }} {% y %} {# z"
PLAYBOOK = """
- hosts: web1
  gather_facts: false
  vars:
    plainstack_apps: "{{ apps | plainstack.web.apps(inventory_dir) }}"
    environment_of_the_release: "{{ plainstack_apps[0].env | combine(plainstack_apps[0].secrets) }}"
  tasks:
    - ansible.builtin.set_fact:
        plainstack_apps: "{{ plainstack_apps }}"
    - ansible.builtin.copy:
        content: "{{ {'environment': environment_of_the_release, 'migrate': plainstack_apps[0].migrate} | to_json }}"
        dest: "{{ inventory_dir }}/out.json"
        mode: "0600"
"""
APP = """
apps:
  - name: hello
    source: source
    module: wsgi:app
    domains: [hello.example.com]
"""
EVALUATED = "has {{, {% or {#, which Ansible evaluates, and that failed: define what it names, or write !unsafe before the text to have it as it is."
LOST = "has {{, {% or {#, which is Ansible's syntax, and so some of the text would get lost: write !unsafe before the text to have it as it is."
VAULT = "cannot be decrypted: there is no vault password, or it is another one. Next: the same command with --ask-vault-pass"

Play = Callable[[str, str], subprocess.CompletedProcess[str]]


def ansible(directory: Path, *command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program of Ansible as from the checkout."""
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1", "COLUMNS": "1000"}
    return subprocess.run([str(BIN / command[0]), *command[1:]], cwd=directory, env=environment, input=text, capture_output=True, text=True, check=False)


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Run the playbook over an app with more lines, with a vault password."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "requirements.txt").touch()
    (tmp_path / "hosts.yml").write_text("all: {hosts: {web1: {ansible_connection: local}}}\n", encoding="utf-8")
    (tmp_path / "play.yml").write_text(PLAYBOOK, encoding="utf-8")
    (tmp_path / "group_vars").mkdir()
    for name in ("right", "wrong"):
        (tmp_path / name).write_text(name, encoding="utf-8")

    def run(lines: str, password: str) -> subprocess.CompletedProcess[str]:
        required = [line for line in APP.splitlines(keepends=True) if not f"\n{lines}".count(f"\n{line.split(':')[0]}:")]
        (tmp_path / "group_vars" / "all.yml").write_text("".join(required) + lines, encoding="utf-8")
        return ansible(tmp_path, "ansible-playbook", "-i", "hosts.yml", "--vault-password-file", password, "play.yml")

    return run


@pytest.fixture
def vaulted(tmp_path: Path, play: Play) -> str:
    """A line of `secrets` with the odd text, encrypted."""
    done = ansible(tmp_path, "ansible-vault", "encrypt_string", "--vault-password-file", "right", "--stdin-name", "VAULTED", text=ODD)
    assert done.returncode == 0, done.stderr
    return "    secrets:\n" + "".join(f"      {line}\n" for line in done.stdout.splitlines())


def test_what_survives(play: Play, vaulted: str, tmp_path: Path) -> None:
    """What is vaulted or !unsafe is text, whatever it looks like; references go on being references."""
    done = play(
        f"""
    migrate: !unsafe 'test ${{#HOME}} -gt 0 && echo {{{{'
    env:
      UNSAFE: !unsafe '{ODD}'
      RAW: '{{% raw %}}{{{{ x }}}}{{% endraw %}}'
      HOST: 'postgres://{{{{ inventory_hostname }}}}/db'
      PLAIN: '}}}} %}} #}} {{ }} ${{HOME}} $(id) \\\\ " 100%'
      NUMBER: 8080
{vaulted}""",
        "right",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == {
        "migrate": "test ${#HOME} -gt 0 && echo {{",
        "environment": {
            "UNSAFE": ODD,
            "RAW": "{{ x }}",
            "HOST": "postgres://web1/db",
            "PLAIN": '}} %} #} { } ${HOME} $(id) \\\\ " 100%',
            "NUMBER": 8080,
            "VAULTED": ODD,
        },
    }


def test_what_is_refused(play: Play, vaulted: str) -> None:
    """Each with its key, all at once, and none with what stands there."""
    wanted = {
        "UNDEFINED": (f"{MARKER} {{{{ {MARKER}_b }}}} c", EVALUATED),
        "OPEN": (f"{MARKER}{{{{", EVALUATED),
        "TAG": (f"{{% {MARKER} %}}", EVALUATED),
        "FILE": ("{{ lookup('file', '/" + MARKER + "') }}", EVALUATED),
        "COMMENT": (f"{MARKER}{{##}}", LOST),
        "COMMENT_AND_MORE": (f"{{{{ inventory_hostname }}}}{{# {MARKER} #}}", LOST),
        "CONSTANT": (f"{MARKER}{{{{7*7}}}}", LOST),
        "LIST": ("{{ [inventory_hostname] }}", "must be text or a number"),
    }
    env = "".join(f"      {name}: {json.dumps(text)}\n" for name, (text, _) in wanted.items())
    lines = '    migrate: "echo {# one #}"\n    after_live: "{{ nowhere }}"\n    domains: ["{{ nobody }}"]\n'
    done = play(f"{lines}    env:\n{env}{vaulted}", "wrong")
    said = done.stdout + done.stderr
    assert done.returncode == 2
    for name, (_, message) in wanted.items():
        assert f"- app 'hello': '{name}' in 'env' {message}" in said
    assert f"- app 'hello': 'VAULTED' in 'secrets' {VAULT}" in said
    assert f"- app 'hello': 'migrate' {LOST}" in said
    assert "- app 'hello': 'after_live' has {{, {% or {#, which Ansible evaluates, and that failed ('nowhere' is undefined): " in said
    assert "- app 'hello': an item of 'domains' has {{, {% or {#, which Ansible evaluates, and that failed ('nobody' is undefined): " in said
    assert MARKER not in said
    assert not any(line.strip() in said for line in vaulted.splitlines()[3:])


@pytest.mark.parametrize(("lines", "message"), [("    env: '{{ nowhere }}'\n", "'env' has {{"), ("    module: '{{ nowhere }}'\n", "'module' has {{")])
def test_a_key_that_cannot_be_evaluated(play: Play, lines: str, message: str) -> None:
    assert f"- app 'hello': {message}" in play(lines, "right").stdout


def test_a_key_that_is_there_twice(play: Play) -> None:
    """YAML would take the last one, in silence."""
    done = play("    migrate: a\n    migrate: b\n", "right")
    assert done.returncode != 0
    assert "Found duplicate mapping key 'migrate'" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "group_vars/all/apps.yml",
            "a: 1\nb:\n  - c: 1\n   d: 2\n",
            ["is not valid YAML: ", "Where it is set: {path}, line 4.", "Next: correct it there, and "],
        ),
        ("group_vars/web.yml", "a: {{ b }}\n", ["is not valid YAML: ", "Where it is set: {path}", "run the same command again."]),
        ("host_vars/web1.yml", "$ANSIBLE_VAULT;1.1;AES256\n3132\n", ["cannot be decrypted: ", "Next: the same command with --ask-vault-pass"]),
        ("group_vars/all.yml", "greeting: well\n", []),
    ],
    ids=["YAML", "a template without quotes", "vault", "well"],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, text: str, said: list[str]) -> None:
    (tmp_path / "hosts.yml").write_text("web: {hosts: {web1: {ansible_connection: local}}}\n", encoding="utf-8")
    (tmp_path / "play.yml").write_text("- {hosts: web1, gather_facts: false, tasks: [{ansible.builtin.debug: {var: greeting}}]}\n", encoding="utf-8")
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    done = ansible(tmp_path, "ansible-playbook", "-i", "hosts.yml", "play.yml")
    output = done.stdout + done.stderr
    assert "WARNING" not in output
    assert (done.returncode == 0, "greeting: well" in output) == (not said, not said)
    assert [line for line in said if line.format(path=path) not in output] == []
    assert not said or f"[ERROR]: {path} {said[0]}" in output
