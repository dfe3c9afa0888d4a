"""The daily commands as a user runs them, on two servers. The tests run in this order: each goes on from what the one before has left."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from clients import Load, Target
from support import ROOT, Connection, Run, Site, ask, check_message, unchecked
from vm import Vm, of_inventory, wait

INVENTORY = Path(__file__).parents[1] / "inventory"
HOSTS: dict[str, Any] = yaml.safe_load((INVENTORY / "hosts.yml").read_text(encoding="utf-8"))
CERTIFICATE = Path.home() / ".cache" / "plainstack-lab" / "observe" / "site.pem"
NAMES = list(HOSTS["app_servers"]["hosts"])
BOOM = '@pages.get("/boom")\ndef boom() -> str:\n    """Fail."""\n    raise RuntimeError("it went boom")\n\n\n@pages.app_errorhandler'
FIRST, SECOND = (of_inventory(HOSTS, name) for name in NAMES)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """What was deployed, with a copy of the source to change."""
    directory = tmp_path_factory.mktemp("observe")
    shutil.copytree(ROOT / "app_example", directory / "source", ignore=shutil.ignore_patterns("__pycache__", ".*_cache", "instance"))
    (directory / "inventory" / "group_vars").mkdir(parents=True)
    (directory / "inventory" / "group_vars" / "lab.yml").symlink_to(ROOT / "lab" / "vars.yml")
    apps = yaml.safe_load((INVENTORY / "group_vars" / "all.yml").read_text(encoding="utf-8"))["apps"]
    site = Site(directory / "inventory", [{**app, "source": str(directory / "source")} for app in apps], HOSTS, variables={})
    yield site
    site.end()


def daily(site: Site, command: str, *arguments: str) -> Run:
    """Run one of the commands; whatever an app or a server has written, no terminal acts on it."""
    done = site.start(f"plainstack.web.{command}", *arguments).wait()
    assert not re.findall(r"[^\n\t -\U0010ffff]|\x7f", done.output)
    return done


def status(site: Site, *arguments: str) -> dict[str, Any]:
    """The status as data."""
    done = daily(site, "status", "-e", "format=json", *arguments)
    assert done.code == 0, done.output
    [line] = [line for line in done.output.splitlines() if line.startswith("{")]
    found: dict[str, Any] = json.loads(line)
    return found


def get(server: Vm, path: str) -> int:
    """Status of an answer of the site on a server."""
    connection: http.client.HTTPConnection = Connection("hello.test", server.https_port, unchecked())
    return ask(connection, "hello.test", path, "GET", None, None, dict).status


def shown(run: Run) -> list[str]:
    """The lines of logs that were printed."""
    return [line for line in run.output.splitlines() if re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", line)]


def test_status_of_a_healthy_fleet(site: Site) -> None:
    """One round trip to each server, also in check mode; the secret is nowhere (Running.wait looks for it)."""
    live = FIRST.live()
    for more in ((), ("--check",)):
        done = daily(site, "status", "-vvv", *more)
        assert (done.code, done.changed) == (0, 0)
        assert done.output.count("SSH: EXEC") == len(NAMES)
        for name in NAMES:
            assert re.search(rf"(?m)^{name} +hello +{live} .* healthy +2/2 ", done.output), done.output
            assert re.search(rf"(?m)^{name} +Debian .* 39 days +no$", done.output)
        assert "No problem was found." in done.output


def test_status_without_the_source(site: Site) -> None:
    """Who looks need not have it."""
    site.source.rename(site.source.with_name("away"))
    try:
        assert status(site, "-e", "app=hello")["healthy"]
        check_message(daily(site, "status", "-e", "app=helo"), "Where it is set: -e app=helo of the command.")
        check_message(daily(site, "status", "-e", "format=xml"), "format is 'xml': it must be text or json.")
    finally:
        site.source.with_name("away").rename(site.source)


def test_doctor_of_a_healthy_fleet(site: Site) -> None:
    """One round trip to each; from outside nobody finds the site, as its name is in no DNS."""
    done = daily(site, "doctor", "-e", "outside=false", "-vvv")
    assert (done.code, done.changed, done.output.count("SSH: EXEC")) == (0, 0, len(NAMES)), done.output
    assert "Nothing was found." in done.output.splitlines()
    done = daily(site, "doctor")
    assert done.code != 0
    assert re.search(r"(?m)^error  hello\.test: it has no address in DNS\n +Next: add an A record for ", done.output), done.output


def test_what_doctor_finds(site: Site) -> None:
    """Each caused for real."""
    holds = "import fcntl, time; lock = open('/var/lib/dpkg/lock-frontend', 'w'); fcntl.lockf(lock, fcntl.LOCK_EX); time.sleep(600)"
    FIRST.do(f'systemd-run --unit=holder python3 -c "{holds}"; systemd-run --unit=ends /bin/false; touch /run/reboot-required')
    SECOND.do("systemctl stop nginx.socket nginx.service; systemd-run --unit=web python3 -m http.server 80")
    FIRST.until("it has failed", "systemctl is-failed ends.service")
    tries = "import fcntl; fcntl.lockf(open('/var/lib/dpkg/lock-frontend', 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    FIRST.until("the lock is taken", f'! python3 -c "{tries}"')
    SECOND.until("it listens", "curl --silent http://127.0.0.1/ --output /dev/null")
    done = daily(site, "doctor", "-e", "outside=false", "-e", "preflight_disk_mb=100000000", "-e", "format=json")
    assert done.code != 0
    [line] = [line for line in done.output.splitlines() if line.startswith("{")]
    found = [(one["level"], one["where"], one["what"]) for one in json.loads(line)["findings"]]
    text = daily(site, "doctor", "-e", "outside=false").output
    FIRST.do("systemctl stop holder; systemctl reset-failed ends.service; rm /run/reboot-required")
    SECOND.do("systemctl stop web; systemctl start nginx.socket nginx.service")
    for level, server, begins in (
        ("warning", FIRST, "apt is in use by python3 (process "),
        ("warning", FIRST, "the unit ends.service has failed"),
        ("warning", FIRST, "the system waits for a reboot"),
        ("error", SECOND, "port 80 is taken by python3, and nginx needs it."),
        ("error", SECOND, "nginx does not run: its unit is inactive"),
    ):
        assert any((level, server.name) == one[:2] and one[2].startswith(begins) for one in found), (begins, found)
    assert sum("MiB of disk are free for /srv; 100000000 MiB are needed" in what for _level, _where, what in found) == len(NAMES)
    assert f"error  {SECOND.name}: port 80 is taken by python3" in text
    assert "Next: systemctl status ends.service" in text
    assert "Nothing was found." in daily(site, "doctor", "-e", "outside=false").output.splitlines()


def test_requests_are_counted(site: Site) -> None:
    site.edit("hello/views.py", "@pages.app_errorhandler", BOOM)
    assert site.deploy().code == 0
    before = status(site)["servers"]
    for path, times in (("/", 16), ("/slow?seconds=0.4", 3), ("/boom", 2), ("/static/style.css", 5)):
        for _time in range(times):
            assert get(FIRST, path) == (500 if path == "/boom" else 200)
    after = status(site)["servers"]
    [met], [had] = [[app["requests"] for app in found[FIRST.name]["apps"]] for found in (after, before)]
    assert (met["requests"] - had["requests"], met["errors"] - had["errors"]) == (21, 2)
    assert met["p50"] < 0.2
    assert 0.4 <= met["p99"] < 2
    assert after[SECOND.name]["apps"][0]["requests"] == before[SECOND.name]["apps"][0]["requests"]


def test_requests_that_are_not_over_are_counted(site: Site) -> None:
    slow = threading.Thread(target=get, args=(FIRST, "/slow?seconds=9"))
    slow.start()
    busy = [status(site)["servers"][name]["apps"][0]["busy"] for name in NAMES]
    slow.join()
    assert busy == [1, 0]
    assert status(site)["servers"][FIRST.name]["apps"][0]["at_once"] == 8, "two workers of four threads"


def test_the_data_of_status(site: Site) -> None:
    """What docs/reference.md says that there is."""
    found = status(site)
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8").split("\n### status as JSON\n")[1].split("\n## ")[0]
    said = set(re.findall(r"`([a-z0-9_]+)`", page))

    def keys(value: object) -> set[str]:
        if isinstance(value, dict):
            return {*value} | {key for one in value.values() for key in keys(one)}
        return {key for one in value for key in keys(one)} if isinstance(value, list) else set()

    assert keys(found) - {*NAMES} - said == set()
    server = found["servers"][FIRST.name]
    [app] = server["apps"]
    assert (found["version"], found["healthy"], found["problems"]) == (1, True, [])
    assert (app["live"], app["verdict"], app["unhealthy"], app["differs"]) == (FIRST.live(), "good", "", [])
    assert {unit["kind"]: unit["state"] for unit in app["units"]} == {"instance": "active", "process": "active", "timer": "active", "job": "inactive"}
    [timer] = [unit for unit in app["units"] if unit["kind"] == "timer"]
    assert 0 < timer["next"] - server["time"] <= 86400
    assert [(one["domain"], one["days"], one["covers"]) for one in server["certificates"]] == [("hello.test", 39, True)]


def test_the_page_of_status(site: Site, tmp_path: Path) -> None:
    """In the round trip that status takes anyway; the requests of each minute are the server's."""
    before = status(site, "-e", f"report={tmp_path}/before.html")["servers"][NAMES[0]]["apps"][0]["minutes"]
    for _ in range(7):
        assert get(FIRST, "/no-such-page") == 404
    page = tmp_path / "report.html"
    done = daily(site, "status", "-vvv", "-e", f"report={page}")
    assert (done.code, done.changed, done.output.count("SSH: EXEC")) == (0, 0, len(NAMES))
    total = sum(minute["requests"] for minute in before) + 7
    heads, text = [f"hello on {name}</h3>" for name in NAMES], page.read_text(encoding="utf-8")
    assert all(head in text for head in heads)
    assert f"Requests of each minute: {total} in all" in text.split(heads[0])[1].split("</figcaption>")[0]
    assert "swordfish" not in text
    assert "minutes" not in status(site)["servers"][NAMES[0]]["apps"][0]
    check_message(daily(site, "status", "-e", f"report={tmp_path}/none/report.html"), "Where it is set: -e report=... of the command.")


def test_status_says_what_the_inventory_has_otherwise(site: Site) -> None:
    site.app["workers"], site.app["secrets"] = 3, {"API_TOKEN": "swordfish anew"}
    found = status(site)
    site.app["workers"], site.app["secrets"] = 2, {"API_TOKEN": "swordfish in a token"}
    assert found["healthy"]
    assert sum("another value than the live release for: workers, env or secrets." in note for note in found["notes"]) == len(NAMES)


def test_logs_of_all_servers_in_order(site: Site) -> None:
    done = daily(site, "logs", "-e", "since=20min", "-e", "lines=5000", "-vvv")
    assert (done.code, done.changed, done.output.count("SSH: EXEC")) == (0, 0, len(NAMES))
    lines = shown(done)
    assert lines == sorted(lines, key=lambda line: line.split()[0])
    assert {line.split()[1] for line in lines} == {*NAMES}
    assert any(r"\x1b[31mbeat\x1b[0m" in line for line in lines)
    assert re.search(rf"(?m)^\S+ {FIRST.name} +nginx access: .*GET /boom", done.output)
    assert f"{FIRST.name} deploys: deploy {FIRST.live()} by " in done.output


def test_logs_of_a_level_of_a_source_and_a_time(site: Site) -> None:
    bad = shown(daily(site, "logs", "-e", "level=error", "-e", "lines=5000"))
    assert any(line.endswith("RuntimeError: it went boom") for line in bad)
    assert any("in boom" in line for line in bad), "the lines of a traceback count, too"
    assert [line for line in bad if line.endswith(r"\x1b[31mbeat\x1b[0m") or " 200 " in line] == []
    assert len(shown(daily(site, "logs", "-e", "lines=7"))) == 7
    lines = shown(daily(site, "logs", "-e", "source=deploys,access"))
    assert lines
    assert {line.split(maxsplit=2)[2].split(":")[0] for line in lines} == {"deploys", "nginx access"}
    assert shown(daily(site, "logs", "-e", "since=yesterday", "-e", "until=2h ago")) == []
    for option, said in (
        ("since=-1 fortnight", "since is '-1 fortnight', and systemd understands no time in it."),
        ("until=--help", "until is '--help', and systemd understands no time in it."),
        ("lines=0", "lines is '0': it must be a number from 1 to 10000."),
        ("request=; id", "request is '; id': it must be the id of a request"),
        ("level=loud", "level is 'loud': it must be one of debug, info, warning, error."),
        ("source=mail", "source is 'mail': it must be one of app, access, error, deploys"),
    ):
        name, value = option.split("=", 1)
        done = daily(site, "logs", "-e", json.dumps({name: value}))
        check_message(done, said)
        assert done.said.count(said) == 1


def test_a_request_is_followed(site: Site) -> None:
    """From the header of its answer to nginx's line and the app's own words, on the right server."""
    answer = ask(Connection("hello.test", SECOND.https_port, unchecked()), "hello.test", "/boom", "GET", None, None, dict)
    found = shown(daily(site, "logs", "-e", f"request={answer.headers['x-request-id']}"))
    assert {line.split()[1] for line in found} == {SECOND.name}
    assert sum(" nginx access: " in line and "GET /boom" in line for line in found) == 1
    assert found[-1].endswith("RuntimeError: it went boom") or found[-2].endswith("RuntimeError: it went boom")
    assert not [line for line in found if "beat" in line]


def test_a_command_in_the_live_release(site: Site) -> None:
    """Its user, directory, environment and sandbox; the secret that it prints is hidden, what a terminal would act on, too."""
    before = SECOND.do("journalctl --quiet --grep 'a command of hello' | wc -l")
    script = r'pwd; id -un; echo "$API_TOKEN"; printf "\033[2Jhere\n"; python -c "import hello"; touch /etc/x; cat /etc/shadow; echo "a  b"'
    done = daily(site, "run", "-e", json.dumps({"command": script}), "-vvv")
    assert done.code == 0
    printed = done.output.split("Show what it printed")[1]
    assert f"/srv/hello/releases/{FIRST.live()}\nhello\n****\n\\x1b[2Jhere\n" in printed
    assert "touch: cannot touch '/etc/x': Read-only file system" in printed
    assert "cat: /etc/shadow: Permission denied\na  b\n" in printed
    assert FIRST.do("ls /run/plainstack-*.environment 2>/dev/null || :") == ""
    assert SECOND.do("journalctl --quiet --grep 'a command of hello' | wc -l") == before, "on one server"


def test_a_command_that_fails(site: Site) -> None:
    failed = daily(site, "run", "-e", json.dumps({"command": "echo no such revision; exit 7"}))
    check_message(failed, f"hello: the command ended with exit code 7 on {FIRST.name}, in the release {FIRST.live()}.", "no such revision")
    assert failed.output.count("no such revision") == 1
    assert "token" not in daily(site, "run", "-e", json.dumps({"command": ": token; false"})).output
    check_message(daily(site, "run", "-e", json.dumps({"command": "sleep 30"}), "-e", "command_timeout=2"), "was ended, as its time was over")
    check_message(daily(site, "run"), "There is no command; nothing was run.")
    check_message(daily(site, "run", "-e", "command=id", "-e", "on=elsewhere"), f"on is 'elsewhere': hello is on {', '.join(NAMES)}.")


def test_a_command_on_all_servers(site: Site) -> None:
    done = daily(site, "run", "-e", json.dumps({"command": "echo $PLAINSTACK_APP"}), "-e", "on=all")
    assert f"{FIRST.name}:\nhello\n{SECOND.name}:\nhello\n" in done.output
    checked = daily(site, "run", "-e", json.dumps({"command": "touch $PLAINSTACK_SHARED/made"}), "-e", f"on={SECOND.name}", "--check")
    assert f"hello: the command would be run on {SECOND.name}" in checked.output
    assert SECOND.run("test -e /srv/hello/shared/made").returncode == 1


def words(*given: str) -> list[str]:
    """The command `plainstack`, as a user starts it."""
    return [str(ROOT / ".venv/bin/plainstack"), *given]


def started(*given: str, output: Any = None) -> subprocess.Popen[bytes]:
    """The command, which Ctrl-C ends also where a background job has these tests ignore it."""

    def restore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(words(*given), env=environment(), cwd=ROOT, stdout=output, stderr=output, preexec_fn=restore)


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1", **more}


def test_the_command_runs_the_playbooks(site: Site) -> None:
    done = subprocess.run(words("status", str(site.directory)), env=environment(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(re.search(rf"(?m)^{name} +hello +{FIRST.live()} .* healthy +2/2 ", done.stdout) for name in NAMES), done.stdout


def test_logs_as_they_are_written(site: Site, tmp_path: Path) -> None:
    """Of all servers, each line with its server's name, until Ctrl-C."""
    log = tmp_path / "followed"
    with log.open("w") as stream, started("logs", str(site.directory), "hello", "-f", output=stream) as process:
        try:
            for server in (FIRST, SECOND):
                number = itertools.count()

                def seen(server: Vm = server, number: Iterator[int] = number) -> bool:
                    get(server, f"/follow-{server.name}-{next(number)}")
                    return re.search(rf"(?m)^{server.name} .*GET /follow-{server.name}-", log.read_text()) is not None

                wait(f"a line of {server.name}", seen, 60, 1)
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0, log.read_text()


def test_a_console(site: Site) -> None:
    """In a terminal: a shell as the app, in its release and its sandbox, whose exit status is handed on."""
    own, its = os.openpty()
    shell = words("console", str(site.directory), "hello")
    with subprocess.Popen(shell, env=environment(TERM="xterm"), cwd=ROOT, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        os.write(own, b"echo said $(id -un) $PWD $PLAINSTACK_APP; cat /etc/shadow; touch /etc/x; exit 7\n")
        written = b""
        with contextlib.suppress(OSError):  # nobody has it open any more
            while block := os.read(own, 65536):
                written += block
        os.close(own)
    assert process.returncode == 7, written
    text = written.decode()
    assert f"said hello /srv/hello/releases/{FIRST.live()} hello" in text
    assert ("cat: /etc/shadow: Permission denied" in text, "touch: cannot touch '/etc/x': Read-only file system" in text) == (True, True)


def test_a_tunnel(site: Site) -> None:
    """To nginx of the second server, which sends a visitor to HTTPS."""
    with started("tunnel", str(site.directory), "80", "--port", "2290", "--on", SECOND.name) as process:
        try:

            def status_of() -> int:
                connection = http.client.HTTPConnection("127.0.0.1", 2290, timeout=5)
                try:
                    connection.request("GET", "/", headers={"Host": "hello.test"})
                    return connection.getresponse().status
                except OSError:
                    return 0
                finally:
                    connection.close()

            wait("an answer", lambda: status_of() == 301, 30, 0.5)
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_releases_are_completed(site: Site, shell: str) -> None:
    """As each shell does it: the first server lists them."""
    line = f"plainstack rollback {site.directory} hello --release 20"
    of_shell = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)} if shell == "bash" else {"_TYPER_COMPLETE_ARGS": line}
    action = {"_TYPER_COMPLETE_FISH_ACTION": "get-args"} if shell == "fish" else {}
    asked = environment(_PLAINSTACK_COMPLETE=f"complete_{shell}", **of_shell, **action)
    done = subprocess.run(words(), env=asked, cwd=ROOT, capture_output=True, text=True, check=False)
    assert FIRST.live() in done.stdout, (done.stdout, done.stderr)


def test_a_stopped_app(site: Site) -> None:
    """Looking does not start it, though systemd holds its socket; and that an app is ill is no error of the command."""
    live = FIRST.live()
    FIRST.do(f"systemctl stop hello@{live}.service hello.beat.1@{live}.service; systemctl is-active hello@{live}.socket")
    found = status(site)
    assert not found["healthy"]
    assert found["problems"] == [
        f"{FIRST.name}: hello: {live} does not run: its unit is inactive",
        f"{FIRST.name}: hello: the process 'beat' is inactive: systemctl status hello.beat.1@{live}.service",
    ]
    done = daily(site, "status")
    assert re.search(rf"(?m)^{FIRST.name} .* unhealthy +1/2 ", done.output)
    daily(site, "releases")
    assert FIRST.run(f"systemctl is-active hello@{live}.service").stdout.strip() == "inactive"
    FIRST.do(f"systemctl start hello@{live}.service hello.beat.1@{live}.service")
    FIRST.until("it is healthy", "curl --fail --unix-socket /srv/hello/live.sock http://hello.test/healthz")
    assert status(site)["healthy"]


def test_a_failed_deploy(site: Site) -> None:
    live = FIRST.live()
    site.edit("wsgi.py", "app = create_app()", 'raise RuntimeError("\\033]0;broken\\007")')
    assert site.deploy().code != 0
    site.edit("wsgi.py", 'raise RuntimeError("\\033]0;broken\\007")', "app = create_app()")
    found = status(site)
    assert (found["healthy"], found["servers"][FIRST.name]["apps"][0]["live"]) == (True, live)
    [note] = [note for note in found["notes"] if note.startswith("hello: the last release that failed: ")]
    assert "did not become healthy" in note
    bad = shown(daily(site, "logs", "-e", "level=error", "-e", "source=deploys"))
    assert any(" deploys: failed " in line for line in bad)
    assert any(line.endswith(r": Error: \x1b]0;broken\x07") for line in shown(daily(site, "logs", "-e", "level=error", "-e", "source=app")))


def test_a_restart_under_load(site: Site, tmp_path: Path) -> None:
    """No request fails, what answers is new, and a rollback leads past it."""
    live, target = FIRST.live(), Target("hello.test", FIRST.https_port, str(CERTIFICATE))
    state = FIRST.do("systemctl show --property=InvocationID 'hello.beat.1@*'")
    with Load(target, tmp_path) as load:
        done = daily(site, "restart", "-e", "app=hello")
    assert done.code == 0, done.output
    responses = load.responses()
    assert [response.failure for response in responses if response.failure] == []
    assert len(responses) > 200
    again = FIRST.live()
    assert {response.release for response in responses} == {live, again}
    assert (SECOND.live(), live != again, again[-8:]) == (again, True, live[-8:])
    for server in (FIRST, SECOND):
        assert live not in server.look().releases
        assert server.look().untidy() == {}
    assert FIRST.do("systemctl show --property=InvocationID 'hello.beat.1@*'") != state
    assert site.deploy().changed == 0, "it is what the inventory has"


def test_a_process_is_restarted_alone(site: Site) -> None:
    live = FIRST.live()
    show = f"systemctl show --value --property=InvocationID hello@{live}.service hello.beat.1@{live}.service"
    before = FIRST.do(show).split()
    done = daily(site, "restart", "-e", "process=beat")
    assert (done.code, "beat restarted" in done.output) == (0, True)
    after = FIRST.do(show).split()
    assert (after[0] == before[0], after[1] == before[1]) == (True, False)
    check_message(daily(site, "restart", "-e", "process=beta"), "The app 'hello' has no process or timer 'beta'; it has: beat, cleanup.")


def test_stopped_until_it_is_started(site: Site) -> None:
    """Over a reboot, too; and nobody but start.yml and a deploy starts it."""
    assert daily(site, "stop", "--check").changed == 2
    assert get(FIRST, "/") == 200
    assert daily(site, "stop").code == 0
    assert daily(site, "stop").changed == 0
    assert {get(server, "/") for server in (FIRST, SECOND)} == {502}
    assert FIRST.podman("stop", "--time=10", "{}").returncode == 0
    assert FIRST.podman("start", "{}").returncode == 0
    FIRST.until("it is back", "systemctl is-active nginx", 60)
    found = status(site)
    assert any(
        f"{FIRST.live()} was stopped by " in problem and "ansible-playbook plainstack.web.start -e app=hello" in problem for problem in found["problems"]
    )
    started = daily(site, "start")
    assert started.code == 0, started.output
    assert {get(server, "/") for server in (FIRST, SECOND)} == {200}
    assert (daily(site, "start").changed, FIRST.look().untidy(), SECOND.look().untidy()) == (0, {}, {})
    assert status(site)["healthy"]


def test_maintenance(site: Site) -> None:
    """On all servers at once, over a deploy and a reboot; health checks, who is allowed and who has the link see the site."""
    done = daily(site, "maintenance", "-v", "-e", "mode=on", "-e", json.dumps({"message": "Back at <noon>", "allow": "203.0.113.0/24"}))
    assert (done.code, done.changed) == (0, 2), done.output
    key = re.findall(r"(?m)^This link opens it for one browser: https://hello\.test/\.plainstack/hello\.open/(\S+)$", done.output)[0]
    timer = f"systemctl is-active hello.cleanup@{FIRST.live()}.timer"

    def answer(path: str, method: str = "GET", **headers: str) -> Any:
        return ask(Connection("hello.test", FIRST.https_port, unchecked()), "hello.test", path, method, headers, None, dict)

    for path, method in (("/", "GET"), ("/static/style.css", "GET"), ("/api/whoami", "POST"), ("/healthz", "GET")):
        got = answer(path, method)
        assert (got.status, got.headers["retry-after"]) == (503, "600")
        assert "Back at &lt;noon&gt;" in got.body.decode()
    opened = answer(f"/.plainstack/hello.open/{key}")
    assert (opened.status, opened.headers["set-cookie"].split(";")[0]) == (302, f"plainstack_maintenance={key}")
    assert answer("/", Cookie=f"plainstack_maintenance={key}").status == 200
    for forged in ("x", "", f"{key}x", "1 /.plainstack/"):
        assert answer("/", Cookie=f"plainstack_maintenance={forged}").status == 503
    for around in ("/.plainstack/hello.open/guess", "/api/../.plainstack/x", "/.plainstack/../api/whoami"):
        assert answer(around).status == 503, around
    assert FIRST.run(timer).stdout.strip() == "inactive"
    found = status(site)
    assert found["healthy"]
    assert sum(": is in maintenance since " in note for note in found["notes"]) == len(NAMES)
    site.edit("hello/views.py", "it went boom", "it went off")
    assert site.deploy().code == 0, "the gate and the watch see the app"
    assert FIRST.podman("stop", "--time=10", "{}").returncode == 0
    assert FIRST.podman("start", "{}").returncode == 0
    FIRST.until("it is back", "systemctl is-active nginx", 60)
    assert get(FIRST, "/") == 503
    timer = f"systemctl is-active hello.cleanup@{FIRST.live()}.timer"
    assert FIRST.run(timer).stdout.strip() == "inactive"
    ended = daily(site, "maintenance", "-v", "-e", "mode=off")
    assert (ended.code, ended.changed) == (0, 2)
    assert {get(server, "/") for server in (FIRST, SECOND)} == {200}
    assert FIRST.run(timer).stdout.strip() == "active"
    assert daily(site, "maintenance", "-v", "-e", "mode=off").changed == 0
    assert FIRST.do("ls /etc/nginx/live /var/lib/plainstack/maintenance") == "/etc/nginx/live:\nhello.conf\n\n/var/lib/plainstack/maintenance:"
    check_message(daily(site, "maintenance"), "mode is '': it must be on or off. Nothing was touched.")
    check_message(daily(site, "maintenance", "-e", "mode=on", "-e", "allow=office"), "'office' is no address and no network")


def test_requests_wait_in_a_pause(site: Site, tmp_path: Path) -> None:
    """None fails, and none is answered in between."""
    live, target = FIRST.live(), Target("hello.test", FIRST.https_port, str(CERTIFICATE))
    with Load(target, tmp_path) as load:
        done = daily(site, "maintenance", "-e", "pause=4")
        assert done.code == 0, done.output
        assert "is paused: its requests wait" in daily(site, "status").output
        time.sleep(6)
    responses = load.responses()
    assert [response.failure for response in responses if response.failure] == []
    assert {response.release for response in responses} == {live}
    assert max(response.seconds for response in responses) >= 4
    ends = sorted(response.end for response in responses)
    assert max(after - before for before, after in itertools.pairwise(ends)) >= 3.5
    for server in (FIRST, SECOND):
        server.until("it is back", f"systemctl is-active hello@{live}.service")
        assert server.look().untidy() == {}
    check_message(daily(site, "maintenance", "-e", "pause=60"), "requests to hello can wait for up to 20 s, as its 'timeout' is 30 s.")


def test_maintenance_whose_configuration_nginx_refuses(site: Site) -> None:
    """All is as it was, and the error says why."""
    SECOND.do("echo 'nonsense;' > /etc/nginx/modules-enabled/99-nonsense.conf")
    done = daily(site, "maintenance", "-e", "mode=on")
    SECOND.do("rm /etc/nginx/modules-enabled/99-nonsense.conf")
    check_message(done, SECOND.name, "What nginx had before is back and still in use.", "until then the servers differ")
    assert [get(server, "/") for server in (FIRST, SECOND)] == [503, 200]
    assert SECOND.run("test -e /var/lib/plainstack/maintenance/hello").returncode == 1
    assert daily(site, "maintenance", "-e", "mode=off").code == 0
    assert [get(server, "/") for server in (FIRST, SECOND)] == [200, 200]


def test_where_a_rollback_leads(site: Site) -> None:
    """`releases` says it, rollback.yml does it."""
    live = FIRST.live()
    done = daily(site, "releases", "-vvv")
    assert (done.code, done.changed, done.output.count("SSH: EXEC")) == (0, 0, len(NAMES))
    [target] = {*re.findall(r"(?m)^ +(\S+) .* good +all +<- rollback\.yml$", done.output)}
    assert re.search(rf"(?m)^ +{live} .* live +all$", done.output)
    assert site.rollback().code == 0
    assert (FIRST.live(), SECOND.live()) == (target, target)
    done = daily(site, "releases")
    assert re.search(rf"(?m)^ +{live} .* bad +all$", done.output)
    assert f"{live}: rolled back to {target} at " in done.output
    assert site.rollback().code == 0, "to what was deployed first"
    done = daily(site, "releases")
    assert "rollback.yml goes nowhere: " in done.output
    assert status(site)["healthy"]


def test_servers_with_different_releases(site: Site) -> None:
    """As after a change by hand."""
    live = SECOND.live()
    other = next(one for one in SECOND.look().releases if one != live)
    SECOND.do(f"ln -sfn /run/plainstack/hello/{other}.sock /srv/hello/live.sock")
    found = status(site)
    SECOND.do(f"ln -sfn /run/plainstack/hello/{live}.sock /srv/hello/live.sock")
    assert any(f"the servers have different releases live: {live} on {FIRST.name}; {other} on {SECOND.name}." in problem for problem in found["problems"])


def test_a_reboot_is_pending(site: Site) -> None:
    FIRST.do("echo '*** System restart required ***' > /run/reboot-required; printf 'openssl\\nlinux\\nopenssl\\n' > /run/reboot-required.pkgs")
    assert f"{FIRST.name}: the system waits for a reboot for linux, openssl" in daily(site, "status").output
    FIRST.do("rm /run/reboot-required /run/reboot-required.pkgs")


def test_a_server_that_is_off(site: Site) -> None:
    """It is shown as such, and the others as usual."""
    assert SECOND.podman("stop", "--time=5", "{}").returncode == 0
    try:
        found = status(site)
        assert not found["healthy"]
        assert found["servers"][SECOND.name]["reached"] is False
        assert any(problem.startswith(f"{SECOND.name}: cannot be reached: ") for problem in found["problems"])
        done = daily(site, "status")
        assert re.search(rf"(?m)^{FIRST.name} +hello .* healthy ", done.output)
        assert re.search(rf"(?m)^{SECOND.name} +cannot be looked at", done.output)
        for command in ("logs", "releases"):
            done = daily(site, command)
            assert (done.code, f"\n{SECOND.name}: cannot be reached: " in done.output) == (0, True)
            assert FIRST.live() in done.output
        assert "hello" in daily(site, "run", "-e", json.dumps({"command": "id -un"})).output.splitlines()
        check_message(daily(site, "run", "-e", "command=id", "-e", "on=all"), "the command cannot be run on all servers; nothing was run.", SECOND.name)
    finally:
        assert SECOND.podman("start", "{}").returncode == 0
        SECOND.until("it is back", "systemctl is-active nginx", 60)
