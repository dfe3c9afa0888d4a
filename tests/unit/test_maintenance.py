"""An app in maintenance: what nginx is given, who still sees the app, and that it goes wrong as a whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.controller.maintenance import MaintenanceError, check_pause, files, link, options, text
from ansible_collections.plainstack.web.plugins.module_utils.host import instance, steps
from ansible_collections.plainstack.web.plugins.module_utils.host import maintenance as host
from ansible_collections.plainstack.web.plugins.module_utils.host import systemd as systemd_module
from ansible_collections.plainstack.web.plugins.module_utils.host.instance import Work
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, write

from tests.unit.fakes import NEW, OLD, LocalApp, Systemd, make_live, make_work, release

APP = {"name": "my-shop", "path": "/", "domains": ["shop.test"], "error_pages": {}}
WANTED = {"mode": "on", "message": "", "allow": [], "retry_after": 600}
PATHS = App("my-shop")
ABOUT = {"time": "20260101T000000Z", "by": "ann", "origin": "desk"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "mode is '': it must be on or off. Nothing was touched."),
        ({"mode": "\x1b[2J"}, r"mode is '\x1b[2J'"),
        ({"mode": "on", "allow": "10.0.0.1, office"}, "'office' is no address and no network"),
        ({"mode": "on", "retry_after": "0"}, "retry_after is '0': it must be a number of seconds from 1 to 604800."),
        ({"mode": "on", "retry_after": "10m"}, "retry_after is '10m'"),
        ({"mode": "on", "retry_after": "604801"}, "retry_after is '604801'"),
        ({"pause": "0"}, "pause is '0': it must be a number of seconds, and without a mode. Nothing was touched."),
        ({"pause": "10", "mode": "on"}, "pause is '10'"),
        ({"pause": "1m"}, "pause is '1m'"),
    ],
)
def test_wrong_options(given: dict[str, Any], said: str) -> None:
    with pytest.raises(MaintenanceError) as error:
        options(given)
    assert str(error.value).startswith(said)


def test_options() -> None:
    given = {"mode": "on", "text": " Back at noon ", "allow": "10.1.2.3/8,2001:db8::1 ,", "retry_after": "60"}
    assert options(given) == {"mode": "on", "message": "Back at noon", "allow": ["10.0.0.0/8", "2001:db8::1/128"], "retry_after": 60}


def test_nothing_of_a_message_is_html() -> None:
    page = files(APP, [], {**WANTED, "message": "</p><script>alert(1)</script>"}, "k")[PATHS.maintenance_page]
    assert "<script" not in page
    assert "&lt;/p&gt;&lt;script&gt;" in page


def test_the_own_page_of_the_site() -> None:
    """Unless there is a message."""
    app = {**APP, "error_pages": {503: "pages/503.html"}}
    assert "alias /var/www/plainstack/my-shop/503.html;" in files(app, [], WANTED, "k")[PATHS.maintenance_rules]
    assert PATHS.maintenance_page not in files(app, [], WANTED, "k")
    assert f"alias {PATHS.maintenance_page};" in files(app, [], {**WANTED, "message": "x"}, "k")[PATHS.maintenance_rules]


@pytest.mark.parametrize(
    ("path", "others", "patterns"),
    [
        ("/", ["/"], [r'"~^000 https? /" 1;']),
        ("/", ["/", "/api", "/api/v2.0"], [r'"~^000 https? /api/v2\.0(/|\z)" 0;', r'"~^000 https? /api(/|\z)" 0;', r'"~^000 https? /" 1;']),
        ("/api", ["/", "/api", "/api/v2", "/apis"], [r'"~^000 https? /api/v2(/|\z)" 0;', r'"~^000 https? /api(/|\z)" 1;']),
    ],
)
def test_apps_that_share_a_domain(path: str, others: Sequence[str], patterns: list[str]) -> None:
    """The first pattern that matches counts."""
    found = files({**APP, "path": path}, others, WANTED, "k")[PATHS.maintenance_map]
    lines = [line.strip() for line in found.splitlines()]
    assert lines[lines.index(r'"~^000 http /\.well-known/acme-challenge/" 0;') + 1 : lines.index("default 0;", 5)] == patterns


def test_no_key_of_the_map_is_too_long_for_nginx() -> None:
    """It takes 64 bytes by default, and names of apps have up to 31; patterns may have any length."""
    found = files({**APP, "name": "a" * 31}, [], WANTED, "k" * 16)
    keys = [line.split()[0] for text in found.values() for line in text.splitlines() if line.startswith('    "')]
    assert keys
    assert all(key.startswith('"~') for key in keys)


def test_what_is_said() -> None:
    links = {"hello": link("hello", "hello.test", "k")}
    did = {"web1": {"apps": {"hello": True}}, "web2": {"apps": {"hello": False}}}
    assert text("on", links, did, False) == (
        "hello is in maintenance now: web1\nThis link opens it for one browser: https://hello.test/.plainstack/hello.open/k",
        "",
    )
    assert text("off", links, did, True)[0] == "hello would be open to all now: web1"
    assert text("off", links, {"web1": {"apps": {"hello": False}}}, False) == ("hello is open to all, as it was", "")
    said, failed = text("on", links, {"web1": {"error": "cannot be reached: \x1b[2J"}}, False)
    assert said == ""
    assert failed.startswith("web1: cannot be reached: \\x1b[2J\nNext: the same command again")


# On a host


class Nginx:
    """Stands in for the commands; `refuses` is the one that fails."""

    def __init__(self) -> None:
        self.refuses, self.calls = "", list[str]()

    def __call__(self, command: Sequence[str]) -> tuple[int, str]:
        self.calls.append(" ".join(command))
        return (1, "emerg: no") if self.refuses and self.refuses in self.calls[-1] else (0, "")


@pytest.fixture
def nginx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nginx:
    found = Nginx()
    monkeypatch.setattr(host, "run", found)
    monkeypatch.setattr(host, "SITES", str(tmp_path / "sites.conf"))
    for name in ("maintenance", "maintenance_page", "maintenance_map", "maintenance_rules"):
        ending = "html" if name.endswith("page") else "conf"
        monkeypatch.setattr(App, name, f"{tmp_path}/{name}/hello.{ending}")
    (tmp_path / "sites.conf").write_text(f"include {tmp_path}/maintenance_rules/hello.con[f];\n")
    monkeypatch.setattr("ansible_collections.plainstack.web.plugins.module_utils.host.lock.LOCKS", str(tmp_path / "locks"))
    os.mkdir(tmp_path / "locks")
    return found


@pytest.fixture
def given(app: LocalApp, nginx: Nginx) -> dict[str, str]:
    return {app.maintenance_map: "map", app.maintenance_rules: "rules", app.maintenance_page: "page"}


@pytest.fixture
def timers(app: LocalApp, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    monkeypatch.setattr(systemd_module, "systemctl", systemd)
    release(app, OLD, sequence=1)
    make_live(app, systemd, OLD)
    systemd.states |= {app.unit(OLD, "target"): "active", f"hello.tick@{OLD}.timer": "active"}
    for name in (f"hello.tick@{OLD}.timer", f"hello.tick@{OLD}.service", "hello.tick@20200101T000000Z-00000000.timer"):
        write(f"{layout.UNITS}/{name}", "")
    return systemd


def test_on_and_off(app: LocalApp, nginx: Nginx, given: dict[str, str], timers: Systemd) -> None:
    assert host.switch(app, True, given, ABOUT, check=True) is True
    assert host.state(app) == {}
    assert host.switch(app, True, given, ABOUT, check=False) is True
    assert {path: Path(path).read_text() for path in given} == given
    assert [os.stat(path).st_mode & 0o777 for path in given] == [0o640, 0o640, 0o644]
    assert (host.state(app), timers.calls) == (ABOUT, [f"stop hello.tick@{OLD}.timer"])
    assert host.switch(app, True, given, {**ABOUT, "by": "bob"}, check=False) is False
    assert host.switch(app, True, {**given, app.maintenance_page: "later"}, {**ABOUT, "by": "bob"}, check=False) is True
    assert host.state(app) == ABOUT, "since then"
    assert host.switch(app, False, {}, ABOUT, check=False) is True
    assert [path for path in (*given, app.maintenance) if os.path.exists(path)] == []
    assert timers.calls == [f"stop hello.tick@{OLD}.timer", f"start hello.tick@{OLD}.timer"]
    assert host.switch(app, False, {}, ABOUT, check=False) is False
    assert nginx.calls == ["/usr/sbin/nginx -t -q", "systemctl reload nginx.service"] * 3


@pytest.mark.parametrize("killed", ["before nginx was reloaded", "before the timers"])
def test_what_a_killed_run_has_left_is_finished(app: LocalApp, nginx: Nginx, given: dict[str, str], timers: Systemd, killed: str) -> None:
    """Both ways, by the same command again."""
    timer = f"hello.tick@{OLD}.timer"
    host._put(given)
    if killed == "before the timers":
        write(f"{app.maintenance}", json.dumps(ABOUT)) if os.path.isdir(os.path.dirname(app.maintenance)) else None
    assert host.switch(app, True, given, ABOUT, check=False) is True
    assert (timers.states.get(timer), host.state(app)) == (None, ABOUT)
    assert ("systemctl reload nginx.service" in nginx.calls) is True
    nginx.calls.clear()
    host._put(dict.fromkeys(given))
    if killed == "before the timers":
        os.unlink(app.maintenance)
    assert host.switch(app, False, {}, ABOUT, check=False) is True
    assert (timers.states.get(timer), host.state(app)) == ("active", {})
    assert host.switch(app, False, {}, ABOUT, check=False) is False


def test_at_no_moment_nginx_has_a_name_that_nobody_defines(app: LocalApp, nginx: Nginx, given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules use the map, and both the page."""
    order: list[str] = []
    unlink = os.unlink
    monkeypatch.setattr(host, "write", lambda path, *_given: order.append(path))
    monkeypatch.setattr(os, "unlink", lambda path: order.append(path))
    wanted = {path: given[path] for path in (app.maintenance_page, app.maintenance_map, app.maintenance_rules)}
    host._put(wanted)
    host._put(dict.fromkeys(wanted))
    monkeypatch.setattr(os, "unlink", unlink)
    assert order == [*wanted, *reversed(wanted)]


@pytest.mark.parametrize("refuses", ["nginx -t", "reload"])
def test_what_nginx_refuses_changes_nothing(app: LocalApp, nginx: Nginx, given: dict[str, str], timers: Systemd, refuses: str) -> None:
    nginx.refuses = refuses
    with pytest.raises(host.MaintenanceError, match=r"emerg: no\nWhat nginx had before is back and still in use\."):
        host.switch(app, True, given, ABOUT, check=False)
    assert [path for path in (*given, app.maintenance) if os.path.exists(path)] == []
    assert timers.calls == []


def test_timers_of_an_app_that_was_stopped_stay_so(app: LocalApp, nginx: Nginx, timers: Systemd) -> None:
    host.switch(app, True, {}, ABOUT, check=False)
    del timers.states[app.unit(OLD, "target")]
    host.switch(app, False, {}, ABOUT, check=False)
    assert timers.calls == [f"stop hello.tick@{OLD}.timer"]


def test_a_site_that_does_not_know_of_it(app: LocalApp, nginx: Nginx, given: dict[str, str], timers: Systemd) -> None:
    Path(host.SITES).write_text("server {}\n")
    with pytest.raises(host.MaintenanceError, match="Next: deploy it once"):
        host.switch(app, True, given, ABOUT, check=False)
    assert (nginx.calls, host.state(app)) == ([], {})


def test_where_there_is_no_release(app: LocalApp, nginx: Nginx, given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A load balancer: systemd gets no unit without an id."""
    monkeypatch.setattr(systemd_module, "systemctl", lambda *words, **_named: pytest.fail(f"asked: {words}"))
    assert host.switch(app, True, given, ABOUT, check=False) is True
    assert host.switch(app, False, {}, ABOUT, check=False) is True


def test_where_there_is_no_nginx(app: LocalApp, nginx: Nginx, timers: Systemd) -> None:
    """A worker server: its timers wait."""
    assert host.switch(app, True, {}, ABOUT, check=False) is True
    assert (nginx.calls, timers.calls) == ([], [f"stop hello.tick@{OLD}.timer"])


@pytest.mark.parametrize("content", ["", "[]", "{", json.dumps("x")])
def test_a_note_that_says_nothing(app: LocalApp, nginx: Nginx, content: str) -> None:
    os.makedirs(os.path.dirname(app.maintenance))
    write(app.maintenance, content)
    assert host.state(app) == {}


# A pause


def test_how_long_requests_can_wait() -> None:
    assert options({"pause": "20"}) == {"mode": "pause", "pause": 20}
    check_pause({"name": "shop", "timeout": 30}, 20)
    with pytest.raises(MaintenanceError, match="requests to shop can wait for up to 20 s, as its 'timeout' is 30 s"):
        check_pause({"name": "shop", "timeout": 30}, 21)
    assert text("pause", {"shop": ""}, {"web1": {"apps": {"shop": True}}}, check=False) == ("shop is paused now: web1", "")


@pytest.fixture
def held(app: LocalApp, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """An app that runs; the commands that were run, the first of which is as if a unit had started that is in its way."""
    release(app, OLD)
    make_live(app, systemd, OLD)
    asked: list[list[str]] = []

    def run(words: list[str]) -> tuple[int, str]:
        asked.append(words)
        systemd.states[f"plainstack-pause-{app.name}.service"] = "activating"
        return 0, ""

    monkeypatch.setattr(host, "run", run)
    return asked


def test_a_pause(app: LocalApp, systemd: Systemd, held: list[list[str]]) -> None:
    """What is in the way is there before the app is stopped, which is asked to start again at once; its socket goes on."""
    assert host.pause(app, 10, check=True)
    assert held == []
    systemd.calls.clear()
    assert host.pause(app, 10, check=False)
    [words] = held
    assert f"--property=Before={app.unit(OLD, 'service')}" in words
    assert words[-2:] == [app.unit(OLD, "service"), "10"]
    assert systemd.calls == [f"stop {app.unit(OLD, 'service')}", f"start {app.unit(OLD, 'service')}"]
    assert systemd.states[app.unit(OLD, "socket")] == "active"
    assert host.paused(app)
    assert host.switch(app, False, {}, {}, check=True)


def test_a_pause_is_ended(app: LocalApp, nginx: Nginx, systemd: Systemd, held: list[list[str]]) -> None:
    host.pause(app, 10, check=False)
    assert host.switch(app, False, {}, {}, check=False)
    assert not host.paused(app)
    assert not host.switch(app, False, {}, {}, check=False)


def test_a_release_that_goes_live_ends_it(app: LocalApp, systemd: Systemd, held: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Or what waits would be cut with the socket of the old one."""
    host.pause(app, 10, check=False)
    seen: list[bool] = []

    def start(_work: Work, _identifier: str, in_any_case: bool) -> bool:
        seen.append(host.paused(app))
        return True

    monkeypatch.setattr(instance, "start", start)
    order = {"id": NEW, "event": "deploy", "files": {}}
    steps.start(order, make_work(app), False)
    assert seen == [False]
    assert systemd.states[app.unit(OLD, "service")] == "active"


def test_nothing_that_could_be_paused(app: LocalApp, systemd: Systemd) -> None:
    with pytest.raises(host.MaintenanceError, match="no release runs here whose requests could wait"):
        host.pause(app, 10, check=False)


@pytest.mark.parametrize("state", ["active", "deactivating", "inactive"])
def test_what_is_in_the_way_waits_for_the_end_of_the_app(tmp_path: Path, state: str) -> None:
    """Really run, with a systemctl that says another state at each call."""
    states = ["active", "deactivating", "inactive"]
    (tmp_path / "states").write_text("\n".join(states[states.index(state) :] * 1 + ["inactive"] * 9) + "\n")
    program = f"""#!/bin/bash
cd {tmp_path}; state=$(head -n 1 states); test "$1 $2" != "is-active --quiet" || echo turn >> turns
test "$2" = --quiet || {{ echo $state; sed -i 1d states; }}
[ $state = active ] && {{ test "$2" != --quiet || sed -i 1d states; exit 0; }} || exit 3
"""
    (tmp_path / "systemctl").write_text(program)
    (tmp_path / "systemctl").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["/bin/sh", "-c", host.HOLD, "sh", "hello.service", "0"], env=environment, timeout=20, check=False)
    assert done.returncode == 0
    assert len((tmp_path / "turns").read_text().splitlines()) == 3 - states.index(state)
