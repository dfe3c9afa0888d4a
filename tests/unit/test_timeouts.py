"""nginx waits for an app as long as its live release may take."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.host import lock, timeouts
from ansible_collections.plainstack.web.plugins.module_utils.host.instance import discard, start, switch, take_back, undo
from ansible_collections.plainstack.web.plugins.module_utils.host.timeouts import keep
from ansible_collections.plainstack.web.plugins.module_utils.timeouts import directives

from tests.unit.fakes import NEW, OLD, Answers, LocalApp, Systemd, make_work


class Nginx:
    """Stands in for nginx: what it has loaded, one after the other; and whether it takes its configuration."""

    def __init__(self, app: LocalApp) -> None:
        self.app, self.loaded, self.takes = app, [directives(30)], True

    def __call__(self, *command: str) -> str:
        if not self.takes:
            return "mine.conf:1 is wrong"
        if command[0] == "systemctl":
            self.loaded.append(Path(self.app.timeouts).read_text())
        return ""

    def seconds(self) -> list[int]:
        return [int(text.split()[1].rstrip("s;")) for text in self.loaded]


@pytest.fixture
def nginx_of(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> Nginx:
    os.makedirs(os.path.dirname(app.timeouts))
    Path(app.timeouts).write_text(directives(30))
    fake = Nginx(app)
    monkeypatch.setattr(timeouts, "_failure", fake)
    return fake


def test_it_follows_each_switch(app: LocalApp, host: Systemd, own: Answers, nginx_of: Nginx) -> None:
    """A longer time comes before the first request, a shorter one after the last; to and fro."""
    app.note(OLD, config={"timeout": 30})
    app.note(NEW, config={"timeout": 60})
    work = make_work(app)
    start(work, NEW)
    assert nginx_of.seconds() == [30, 60]
    switch(work, NEW, "deploy", 5)
    assert nginx_of.seconds() == [30, 60], "no second reload"
    start(work, OLD)
    assert nginx_of.seconds() == [30, 60]
    switch(work, OLD, "rollback", 5)
    assert nginx_of.seconds() == [30, 60, 30]


def test_it_goes_back_with_a_release_that_fails(app: LocalApp, host: Systemd, own: Answers, nginx_of: Nginx) -> None:
    app.note(OLD, config={"timeout": 30})
    app.note(NEW, config={"timeout": 5})
    work = make_work(app)
    switch(work, NEW, "deploy", 5)
    assert nginx_of.seconds() == [30, 5]
    assert take_back(work, NEW, OLD, 5, "it failed")
    assert nginx_of.seconds() == [30, 5, 30]


def test_it_goes_back_when_another_server_fails(app: LocalApp, host: Systemd, own: Answers, nginx_of: Nginx) -> None:
    """Before the switch, too."""
    app.note(OLD, config={"timeout": 30})
    app.note(NEW, config={"timeout": 60})
    work = make_work(app)
    start(work, NEW)
    assert undo(work, NEW, "", 5, "the rollout failed on another host")
    assert nginx_of.seconds() == [30, 60, 30]


def test_a_broken_nginx_keeps_no_release_from_serving(app: LocalApp, host: Systemd, own: Answers, nginx_of: Nginx) -> None:
    app.note(NEW, config={"timeout": 60})
    nginx_of.takes = False
    warnings: list[str] = []
    switch(make_work(app, warnings), NEW, "deploy", 5)
    assert app.live_id() == NEW
    assert Path(app.timeouts).read_text() == directives(30), "nothing that nginx does not take waits for the next reboot"
    assert "nginx goes on with the timeouts of another release, because it could not be reloaded: mine.conf:1 is wrong" in warnings[0]


def test_the_configuration_of_nginx_is_written_by_one_at_a_time(
    app: LocalApp, host: Systemd, own: Answers, nginx_of: Nginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another run has written and not validated yet must not make this one fail; and this one must not have that loaded."""
    monkeypatch.setattr(timeouts, "PATIENCE", 0.2)
    app.note(NEW, config={"timeout": 60})
    warnings: list[str] = []
    with lock.shared("configuration"):
        switch(make_work(app, warnings), NEW, "deploy", 5)
        assert app.live_id() == NEW, "it keeps no release from serving"
        assert (nginx_of.seconds(), Path(app.timeouts).read_text()) == ([30], directives(30))
    assert "another run works on the configuration of this host" in warnings[0]
    assert keep(app, 60, print)
    assert nginx_of.seconds() == [30, 60]


def test_where_nginx_has_no_site_of_it(app: LocalApp, host: Systemd, own: Answers) -> None:
    """The role gunicorn alone; or the first deploy, in which nginx is set up later."""
    app.note(NEW, config={"timeout": 60})
    switch(make_work(app), NEW, "deploy", 5)
    assert not os.path.exists(app.timeouts)
    discard(app, OLD)


def test_check_mode(app: LocalApp, nginx_of: Nginx) -> None:
    assert (keep(app, 60, print, check=True), keep(app, 30, print, check=True)) == (True, False)
    assert nginx_of.seconds() == [30]
