"""Commands of the app, run by a systemd-run that only pretends."""

import time
import tracemalloc
from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.host import hook
from ansible_collections.plainstack.web.plugins.module_utils.host.hook import run, settings
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError

from tests.unit.fakes import LocalApp

UNIT = """\
# /etc/systemd/system/hello@.service
[Unit]
Description=hello, release %i
StartLimitBurst=5

[Service]
# Ansible managed
; neither=this
Type=notify
NotifyAccess=main
User=hello
WorkingDirectory=/srv/%p/releases/%i
Environment=PLAINSTACK_APP=%p PLAINSTACK_RELEASE=%i
ExecStart=/srv/%p/releases/%i/.venv/bin/gunicorn --config=x
ExecStartPost=/bin/true
KillMode=mixed
Restart=always
RestartSec=1
OOMPolicy=continue
WatchdogSec=5
CapabilityBoundingSet=
SystemCallFilter=~@privileged

[Install]
WantedBy=multi-user.target

# /etc/systemd/system/hello@1.service.d/release.conf
[Service]
TimeoutStartSec=60
  MemoryMax=80%
# /etc/systemd/system/hello@1.service.d/own.conf
[Unit]
After=postgresql.service
"""
SYSTEMD_RUN = """#!/bin/sh
printf '%s\\n' "$@" > {directory}/arguments
stat --format=%a {directory}/plainstack-migrate-hello.service.environment > {directory}/mode
for last; do :; done
set -a
. {directory}/plainstack-migrate-hello.service.environment
exec sh -c "$(printf %s "$last" | sed 's/[$][$]/$/g')" < /dev/stdin
"""
SETTINGS = [
    "User=hello",
    "WorkingDirectory=/srv/hello/releases/1",
    "Environment=PLAINSTACK_APP=hello PLAINSTACK_RELEASE=1",
    "CapabilityBoundingSet=",
    "SystemCallFilter=~@privileged",
    "MemoryMax=80%",
]


def test_settings(app: LocalApp) -> None:
    """The sandbox, the environment and the limits; nothing that is about a service that runs for ever."""
    assert settings(UNIT, app, "1") == SETTINGS


@pytest.mark.parametrize("text", ["", "[Service]", "User=hello", "[Unit]\nUser=hello"])
def test_no_settings(app: LocalApp, text: str) -> None:
    assert settings(text, app, "1") == []


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its systemd-run writes down its arguments, reads the environment file and has the shell execute the last one, as systemd would hand it on."""
    program = tmp_path / "systemd-run"
    program.write_text(SYSTEMD_RUN.format(directory=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "state").write_text("inactive")
    monkeypatch.setattr(hook, "show", lambda unit, *_properties: {"ActiveState": {"plainstack-migrate-hello.service": (tmp_path / "state").read_text()}[unit]})
    monkeypatch.setattr(hook, "systemctl", lambda *arguments: {("cat", "hello@1.service"): UNIT}[arguments])
    return tmp_path


def test_run(app: LocalApp, host: Path) -> None:
    """Its command may have a token in it: neither arguments nor description have it, and its file is root's and gone afterwards."""
    assert run(app, "1", "migrate", "echo one; echo two >&2; cat; env | grep PLAINSTACK_HOOK; :", 60) == "one\ntwo"
    assert (host / "arguments").read_text().splitlines() == [
        *("--quiet", "--wait", "--collect", "--pipe"),
        "--unit=plainstack-migrate-hello.service",
        "--property=RuntimeMaxSec=60",
        *(f"--property={line}" for line in SETTINGS),
        "--description=migrate of hello, release 1",
        f"--property=EnvironmentFile={app.hook('plainstack-migrate-hello.service')}",
        "/usr/bin/env",
        f"PATH={app.release('1')}/.venv/bin:/usr/local/bin:/usr/bin:/bin",
        *("/bin/sh", "-c", 'command=$$PLAINSTACK_HOOK; unset PLAINSTACK_HOOK; eval "$$command"'),
    ]
    assert (host / "mode").read_text() == "600\n"
    assert list(Path(app.base).glob("*.environment")) == []


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ('A=5; test "$A" = 5 && echo "${A}0 $(echo x) $((1 + 1))"', "50 x 2"),
        ("echo one\necho 'it''s' \"two\" \\\\ `echo three`", "one\nits two \\ three"),
    ],
)
@pytest.mark.usefixtures("host")
def test_the_shell_gets_what_was_written(app: LocalApp, command: str, said: str) -> None:
    """Through the environment file, and past systemd, which makes one of two dollars."""
    assert run(app, "1", "migrate", command, 60) == said


@pytest.mark.parametrize(
    ("command", "shown", "hidden"),
    [
        ("token=1; echo no such table; exit 3", "failed with exit code 3.\nIts last lines:\nno such table", "token"),
        ("exit 1", "Its last lines:\n(it wrote none)", "$$"),
        ("seq 100; exit 1", "\n".join(map(str, range(61, 101))), "\n60\n"),
        (r"printf '\033[2Jgone\r\n\233'; exit 1", "Its last lines:\n\\x1b[2Jgone\n", "\x1b"),
    ],
)
@pytest.mark.usefixtures("host")
def test_a_hook_that_fails(app: LocalApp, command: str, shown: str, hidden: str) -> None:
    with pytest.raises(InstanceError) as error:
        run(app, "1", "migrate", command, 60)
    assert str(error.value).startswith("hello: the hook 'migrate' failed")
    assert shown in str(error.value)
    assert hidden not in str(error.value)


@pytest.mark.parametrize("state", ["active", "activating", "deactivating"])
def test_one_of_its_kind_at_a_time(app: LocalApp, host: Path, state: str) -> None:
    (host / "state").write_text(state)
    with pytest.raises(InstanceError, match=r"'migrate' of an earlier run is still going on; nothing was done") as error:
        run(app, "1", "migrate", "true", 60)
    assert "systemctl stop plainstack-migrate-hello.service" in str(error.value)
    assert not (host / "arguments").exists()


def test_a_failed_one_of_the_past_is_no_obstacle(app: LocalApp, host: Path) -> None:
    (host / "state").write_text("failed")
    assert run(app, "1", "migrate", "echo done", 60) == "done"


@pytest.mark.parametrize(("holds", "said"), [("sleep 20", "done"), ("timeout 20 yes", "y")])
@pytest.mark.usefixtures("host")
def test_what_a_hook_has_handed_its_output_to_is_not_waited_for(app: LocalApp, holds: str, said: str) -> None:
    """A process that is not of its unit goes on, and may even write."""
    began = time.monotonic()
    assert run(app, "1", "migrate", f"echo done; setsid {holds} & exit 0", 60).endswith(said)
    assert time.monotonic() - began < 10


@pytest.mark.usefixtures("host")
def test_a_hook_that_prints_a_lot(app: LocalApp) -> None:
    tracemalloc.start()
    said = run(app, "1", "migrate", "head -c 50000000 /dev/zero | tr '\\0' x; echo; echo done", 60)
    assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
    tracemalloc.stop()
    assert said.endswith("x\ndone")
    assert len(said) < 300_000
