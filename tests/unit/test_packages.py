"""The module `packages` and its action plugin, with an apt-get that only pretends; and what apt's sources, words and locks tell."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible.plugins.action import ActionBase
from ansible_collections.plainstack.web.plugins.action import packages as action
from ansible_collections.plainstack.web.plugins.module_utils.host.packages import Source, complaints, errors, holder, sources, unknown
from ansible_collections.plainstack.web.plugins.modules import packages

Run = Callable[..., dict[str, Any]]

APT = """#!/usr/bin/env python3
# Installs by writing a name into a file; says what is asked of it
import os, pathlib, sys
here = pathlib.Path("{directory}")
words = [word for word in sys.argv[1:] if not word.startswith(("-", "Dpkg::"))]
with (here / "calls").open("a") as calls:
    print("simulate" if "--simulate" in sys.argv else "", *words, file=calls)
(here / "environment").write_text("\\n".join(f"{{name}}={{value}}" for name, value in os.environ.items()))
if words[0] == "update":
    (here / "lists/main_InRelease").touch()
    print((here / "update").read_text())
    sys.exit(100 if "Err:" in (here / "update").read_text() else 0)
wrong = [name for name in words[1:] if name in (here / "unknown").read_text().split() or not (here / "lists/main_InRelease").exists()]
if wrong:
    print("Reading package lists...", *(f"E: Unable to locate package {{name}}" for name in wrong), sep="\\n")
    sys.exit(100)
if "--simulate" in sys.argv:
    print("Inst nginx [1.26] (1.28 Debian:13/stable [amd64])")
elif words[0] == "full-upgrade":
    (here / "installed").write_text((here / "installed").read_text().replace("1.26", "1.28"))
else:
    with (here / "installed").open("a") as installed:
        installed.writelines(f"installed {{name}} 2.0\\n" for name in words[1:])
"""

# As apt 2.6 and 3.0 print them
UPDATE = """Hit:1 http://deb.example.org/debian trixie InRelease
Ign:2 cdrom://[Debian GNU/Linux 13.0.0 _Trixie_ - Official amd64 NETINST] trixie InRelease
Err:3 cdrom://[Debian GNU/Linux 13.0.0 _Trixie_ - Official amd64 NETINST] trixie Release
  Please use apt-cdrom to make this CD-ROM recognized by APT. apt-get update cannot be used to add new CD-ROMs
Err:10 http://deb.example.org/debian nosuch-backports Release
  404  Not Found [IP: 203.0.113.80 80]
Err:2 http://127.0.0.1:9/apt stable InRelease
  Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)
  Unable to connect to 127.0.0.1:9:
Err:8 http://deb.example.org/debian-security trixie-security InRelease
Reading package lists...
E: The repository 'http://deb.example.org/debian nosuch-backports Release' does not have a Release file.
"""
FILES = {
    "/etc/apt/sources.list": (
        "# deb http://127.0.0.1:9/apt stable main\n\ndeb http://deb.example.org/debian trixie main\n"
        "deb [arch=amd64 signed-by=/a.gpg] http://deb.example.org/debian-security/ trixie-security main\n"
    ),
    "/etc/apt/sources.list.d/cd.list": "deb cdrom:[Debian GNU/Linux 13.0.0 _Trixie_ - Official amd64 NETINST]/ trixie main contrib\n",
    "/etc/apt/sources.list.d/third.list": "  deb-src http://127.0.0.1:9/apt/ stable main\n",
    "/etc/apt/sources.list.d/debian.sources": (
        "# a comment\nTypes: deb\nURIs: http://deb.example.org/debian\nSuites: trixie trixie-updates\n nosuch-backports\nComponents: main\n"
        "\nTypes: deb\nURIs: http://127.0.0.1:9/apt\nSuites: stable\nEnabled: no\n"
    ),
}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the state of a pretended apt: fresh lists, nginx 1.26 installed."""
    for name in ("lists", "updates"):
        (tmp_path / name).mkdir()
    (tmp_path / "lists/main_InRelease").touch()
    (tmp_path / "installed").write_text("installed nginx 1.26\nconfig-files certbot 1.0\n")
    for name in ("calls", "update", "unknown"):
        (tmp_path / name).touch()
    programs = {
        "apt-get": APT.format(directory=tmp_path),
        "dpkg-query": f"#!/bin/sh\ncat {tmp_path}/installed\n",
        "dpkg": f'#!/bin/sh\necho "dpkg $*" >> {tmp_path}/calls\n',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(packages, "LISTS", str(tmp_path / "lists"))
    monkeypatch.setattr(packages, "UNFINISHED", str(tmp_path / "updates"))
    monkeypatch.setattr(packages, "SOURCES", (str(tmp_path / "*.list"),))
    monkeypatch.setattr(packages, "holder", lambda: "")
    return tmp_path


@pytest.fixture
def run(host: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the module; what it says, under `calls` what it asked of apt-get, and its `warnings`."""
    warnings: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: warnings.append(text))

    def run_module(check: bool = False, **options: Any) -> dict[str, Any]:
        (host / "calls").write_text("")
        with patch_module_args({"patience": 0, **options, "_ansible_check_mode": check, "_ansible_diff": True}), pytest.raises(SystemExit):
            packages.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return {**result, "warnings": warnings, "calls": [line.strip() for line in (host / "calls").read_text().splitlines()]}

    return run_module


def test_installs_once(run: Run) -> None:
    first = run(names=["nginx", "certbot"])
    assert (first["changed"], first["installed"], first["calls"]) == (True, ["certbot"], ["install certbot"])
    assert (first["diff"]["before"], first["diff"]["after"]) == ("", "certbot 2.0\n")
    again = run(names=["nginx", "certbot"])
    assert (again["changed"], again["installed"], again["calls"]) == (False, [], [])


def test_apt_speaks_english(host: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation of Debian in French sets both; LANGUAGE goes before LC_ALL=C.UTF-8."""
    for name, value in {"LANG": "fr_FR.UTF-8", "LANGUAGE": "fr:en"}.items():
        monkeypatch.setenv(name, value)
    (host / "dpkg-query").write_text(f'#!/bin/sh\necho "$LC_ALL/$LANGUAGE" > {host}/language\n')
    run(names=["certbot"], check=True)
    assert (host / "language").read_text() == "C.UTF-8/\n"


def test_the_plan_is_what_the_run_does(host: Path, run: Run) -> None:
    plan = run(names=["nginx", "certbot"], check=True)
    assert (plan["changed"], plan["installed"], plan["calls"]) == (True, ["certbot"], [])
    assert (plan["diff"]["before"], plan["diff"]["after"]) == ("", "certbot\n")
    assert run(names=["nginx", "certbot"])["installed"] == plan["installed"]
    assert run(names=["nginx", "certbot"], check=True)["changed"] is False


def test_upgrades(run: Run) -> None:
    plan = run(upgrade=True, check=True)
    assert (plan["changed"], plan["diff"]["before"], plan["diff"]["after"]) == (True, "nginx 1.26\n", "nginx 1.28\n")
    real = run(upgrade=True)
    assert (real["changed"], real["diff"], real["calls"]) == (True, plan["diff"], ["update", "full-upgrade"])
    assert run(upgrade=True)["changed"] is False


def test_old_lists_are_updated_first(host: Path, run: Run) -> None:
    os.utime(host / "lists", (0, 0))
    assert run(names=["certbot"])["calls"] == ["update", "install certbot"]


def test_no_lists_as_on_a_fresh_server(host: Path, run: Run) -> None:
    (host / "lists/main_InRelease").unlink()
    assert run(names=["certbot"])["calls"] == ["update", "install certbot"]


def test_lists_that_do_not_have_it_are_updated(host: Path, run: Run) -> None:
    (host / "unknown").write_text("certbot")
    failed = run(names=["certbot"])
    assert failed["calls"] == ["install certbot", "update", "install certbot"]
    assert "These packages could not be installed: certbot. apt-get says:\nE: Unable to locate package certbot\n" in failed["msg"]
    assert "Next: 'sudo apt-get update' on the server must succeed; then run the same command again." in failed["msg"]


def test_a_broken_source_is_a_warning_while_it_is_not_needed(host: Path, run: Run) -> None:
    os.utime(host / "lists", (0, 0))
    (host / "third.list").write_text(FILES["/etc/apt/sources.list.d/third.list"])
    (host / "update").write_text(UPDATE)
    done = run(names=["certbot"])
    assert (done["installed"], len(done["warnings"])) == (["certbot"], 4)
    assert f"http://127.0.0.1:9/apt stable ({host}/third.list): Could not connect to 127.0.0.1:9" in "\n".join(done["warnings"])


def test_a_broken_source_that_is_needed_is_named_in_the_error(host: Path, run: Run) -> None:
    (host / "unknown").write_text("certbot")
    (host / "third.list").write_text(FILES["/etc/apt/sources.list.d/third.list"])
    (host / "update").write_text(UPDATE)
    assert f"\nA package source cannot be read: http://127.0.0.1:9/apt stable ({host}/third.list): Could not connect" in run(names=["certbot"])["msg"]


def test_an_optional_package_where_it_can_be_had(host: Path, run: Run) -> None:
    for check in (True, False):
        assert run(names=["certbot"], optional=["brotli"], check=check)["installed"] == ["certbot", "brotli"]


def test_an_optional_package_that_cannot_be_had(host: Path, run: Run) -> None:
    (host / "unknown").write_text("brotli")
    assert run(names=["certbot"], optional=["brotli"], check=True)["installed"] == ["certbot"]
    first = run(names=["certbot"], optional=["brotli"])
    assert (first["changed"], first["installed"]) == (True, ["certbot"])
    again = run(names=["certbot"], optional=["brotli"])
    assert (again["changed"], again["installed"]) == (False, [])


def test_an_installation_that_was_cut_off_is_finished(host: Path, run: Run) -> None:
    (host / "updates/0001").touch()
    assert run(names=["certbot"])["calls"][0] == "dpkg --configure -a --force-confdef --force-confold"


def test_somebody_holds_the_lock(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "holder", lambda: "unattended-upgrade (process 812)")
    held = run(names=["certbot"])
    assert (held["changed"], held["held_by"], held["calls"]) == (False, "unattended-upgrade (process 812)", [])
    assert run(names=["nginx"])["held_by"] == "", "nothing is to be installed"


def test_somebody_was_quicker_to_take_the_lock(host: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the lock and apt-get: it is waited for as well."""
    (host / "unknown").write_text("certbot")  # apt-get fails
    held = iter(["", "apt.systemd.daily (process 9)"])
    monkeypatch.setattr(packages, "holder", lambda: next(held))
    result = run(names=["certbot"])
    assert (result.get("failed", False), result["held_by"]) == (False, "apt.systemd.daily (process 9)")


def test_apt_asks_nothing_restarts_nothing_and_speaks_english(host: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the server's locale, and also where needrestart is there, which restarts what uses a library that was replaced."""
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("DEBIAN_FRONTEND", "dialog")
    run(names=["certbot"])
    found = dict(line.split("=", 1) for line in (host / "environment").read_text().splitlines() if "=" in line)
    wanted = {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"}
    assert {name: found.get(name) for name in wanted} == wanted


# The action plugin


def answers(monkeypatch: pytest.MonkeyPatch, held: int, **arguments: Any) -> tuple[dict[str, Any], list[str]]:
    """What a task says whose module meets the lock so many times, and what is shown meanwhile; each call takes ten seconds."""
    now, shown = [0.0], list[str]()
    monkeypatch.setattr(action, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(action, "Display", lambda: SimpleNamespace(display=shown.append))
    monkeypatch.setattr(ActionBase, "run", lambda *_: {})
    task = action.ActionModule.__new__(action.ActionModule)
    task._task = SimpleNamespace(args={"names": ["nginx"], **arguments})

    def module(_name: str, given: dict[str, Any], **_: Any) -> dict[str, Any]:
        now[0] += given["patience"]
        return {"changed": True, "held_by": "unattended-upgrade (process 812)" if now[0] <= 10 * held else ""}

    monkeypatch.setattr(task, "_execute_module", module)
    return task.run(task_vars={"inventory_hostname": "web"}), shown


def test_waits_for_the_lock_and_says_for_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    result, shown = answers(monkeypatch, held=3)
    assert result == {"changed": True, "held_by": ""}
    assert shown == ["web: waiting up to 300 s for unattended-upgrade (process 812), which holds the lock of apt (apt_lock_timeout)"]


def test_waits_for_the_lock_no_longer_than_told(monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = answers(monkeypatch, held=100, lock_timeout=25)
    assert result["failed"] is True
    for word in ("unattended-upgrade (process 812) has held the lock of apt for 25 s", "apt_lock_timeout in the inventory", "'ps -fp 812' on web"):
        assert word in result["msg"]


# Sources, words and locks


def test_sources() -> None:
    assert sources(FILES) == [
        Source("/etc/apt/sources.list", "http://deb.example.org/debian", "trixie"),
        Source("/etc/apt/sources.list", "http://deb.example.org/debian-security", "trixie-security"),
        Source("/etc/apt/sources.list.d/cd.list", "cdrom:[Debian GNU/Linux 13.0.0 _Trixie_ - Official amd64 NETINST]", "trixie"),
        Source("/etc/apt/sources.list.d/debian.sources", "http://deb.example.org/debian", "trixie"),
        Source("/etc/apt/sources.list.d/debian.sources", "http://deb.example.org/debian", "trixie-updates"),
        Source("/etc/apt/sources.list.d/debian.sources", "http://deb.example.org/debian", "nosuch-backports"),
        Source("/etc/apt/sources.list.d/third.list", "http://127.0.0.1:9/apt", "stable"),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_complaints(end: str) -> None:
    found = complaints(UPDATE.replace("\n", end), sources(FILES))
    assert [(complaint.source.split(" ")[-1], complaint.file.rpartition("/")[2], complaint.reason[:20]) for complaint in found] == [
        ("trixie", "cd.list", "Please use apt-cdrom"),
        ("nosuch-backports", "debian.sources", "404  Not Found [IP: "),
        ("stable", "third.list", "Could not connect to"),
        ("trixie-security", "sources.list", "it cannot be read"),
    ]


def test_a_complaint_about_a_source_that_no_file_names() -> None:
    [found] = complaints("Err:1 http://mirror.example/debian trixie InRelease\n  gone\n", [])
    assert str(found) == "http://mirror.example/debian trixie InRelease: gone"


@pytest.mark.parametrize(("output", "said"), [("one\nE: two\nW: three\nE: four\n", "E: two\nE: four"), ("Killed\n\n", "Killed")])
def test_errors(output: str, said: str) -> None:
    assert errors(output) == said


def test_packages_that_apt_does_not_know() -> None:
    said = "Reading package lists...\nE: Unable to locate package libpq99\nE: Package 'ffmpeg-doc' has no installation candidate\nE: Sub-process failed\n"
    assert unknown(said) == ["libpq99", "ffmpeg-doc"]
    assert unknown("E: Could not get lock") == []


@pytest.mark.parametrize(("there", "masked"), [(False, ["mask --runtime nginx.service"]), (True, [])])
def test_a_package_does_not_start_what_is_not_to_run_yet(monkeypatch: pytest.MonkeyPatch, there: bool, masked: list[str]) -> None:
    """And whatever becomes of the installation, it can be started afterwards."""
    ran: list[str] = []

    def run(*command: str) -> tuple[int, str]:
        ran.append(" ".join(command[1:]) if command[0] == "systemctl" else "apt")
        if command[0] != "systemctl":
            raise OSError("apt is gone")
        return (0 if there else 1) if command[1] == "cat" else 0, ""

    monkeypatch.setattr(packages, "run", run)
    with pytest.raises(OSError, match="apt is gone"):
        packages.install(["nginx"], [], ["nginx.service"])
    assert ran == ["cat nginx.service", *masked, "apt", "unmask --runtime nginx.service"]


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Another process holds the lock as apt does."""
    program = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.communicate()


def test_holder(tmp_path: Path) -> None:
    paths = [str(tmp_path / "none"), str(tmp_path / "lock")]
    assert holder(paths) == ""
    with locked(tmp_path / "lock") as process:
        assert holder(paths).endswith(f" (process {process})")
        assert holder(paths).startswith("python")
    assert holder(paths) == ""
