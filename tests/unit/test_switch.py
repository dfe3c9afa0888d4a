"""The switch: what is noted before it, how it is confirmed, when it is taken back, and how an interrupted one is finished."""

import os
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.host import instance
from ansible_collections.plainstack.web.plugins.module_utils.host.instance import REACHABLE_WITHIN, Work, look
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import Holder
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError, running
from ansible_collections.plainstack.web.plugins.module_utils.layout import relink
from ansible_collections.plainstack.web.plugins.module_utils.state import StateError, before, rollback_target

from tests.unit.fakes import NEW, OLD, OLDER, Answers, Clock, LocalApp, Systemd, events, go_live, make_live, points_at, release

pytestmark = pytest.mark.usefixtures("own")
KEEP = 5


def interrupted(app: LocalApp, systemd: Systemd, event: str, **story: Any) -> None:
    """A run that switched from OLD to NEW ended right after the rename."""
    app.note(NEW, pending={"event": event, "before": OLD}, **story)
    make_live(app, systemd, NEW)
    systemd.run(app, OLD)


@pytest.mark.usefixtures("nginx")
def test_nobody_goes_back_to_what_was_never_confirmed(app: LocalApp, host: Systemd, work: Work) -> None:
    """Its run was killed between switch and confirm, and then another release was deployed."""
    interrupted(app, host, "deploy")
    newest = "20260104T000000Z-dddddddd"
    release(app, newest)
    go_live(work, newest, "deploy", 0, KEEP)
    assert rollback_target(look(app)) == OLD
    with pytest.raises(StateError, match=f"{NEW} is marked bad: it was live and never confirmed"):
        rollback_target(look(app), NEW)
    assert rollback_target(look(app), OLD) == OLD


def test_the_steps_of_a_switch(app: LocalApp, host: Systemd, work: Work, nginx: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is about to happen is noted first, and what is live must come up after a power cut at any time."""
    steps = host.calls
    note, link = LocalApp.note, relink

    def noted(self: LocalApp, identifier: str, **facts: Any) -> None:
        steps.append(f"note {'confirmed' if facts['pending'].get('confirmed') else 'pending'}")
        note(self, identifier, **facts)

    def linked(path: str, target: str) -> None:
        steps.append(f"point {os.path.relpath(path, app.root)}")
        link(path, target)

    monkeypatch.setattr(LocalApp, "note", noted)
    monkeypatch.setattr(instance, "relink", linked)
    nginx.meanwhile = lambda: steps.append("ask nginx")
    assert go_live(work, NEW, "deploy", 0, KEEP) is True
    assert [step for step in steps if not step.startswith("reset-failed")] == [
        "point before/0",
        "note pending",
        "point before/1",
        "point before/2",
        f"enable hello@{NEW}.service",
        f"enable hello@{NEW}.socket",
        "point live.sock",
        "point live",
        "ask nginx",
        "note confirmed",
    ]
    assert points_at(app) == (NEW, NEW)
    assert running(app) == [OLD, NEW]


@pytest.mark.usefixtures("host", "nginx")
def test_what_is_noted_of_a_deploy(app: LocalApp, work: Work) -> None:
    app.note(NEW, verdict="bad", reason="of another time", stopped="then")
    run = Holder("x", "me", "laptop", "deploy.yml", "now")
    go_live(replace(work, run=run), NEW, "deploy", 0, KEEP)
    story = app.story(NEW)
    pending = {"event": "deploy", "before": OLD, "confirmed": True}  # until the old one is stopped
    assert story == {"revision": "abc", "dirty": True, "sequence": 3, "event": "deploy", "verdict": "good", "went_live": story["went_live"], "pending": pending}
    assert app.story(OLD) == {"sequence": 2, "event": "deploy", "verdict": "good"}
    [event] = events(app)
    assert {**event, "time": ""} == {
        "time": "",
        "event": "deploy",
        "app": "hello",
        "release": NEW,
        "before": OLD,
        "by": "me",
        "origin": "laptop",
        "revision": "abc",
        "dirty": True,
    }


@pytest.mark.usefixtures("host", "nginx")
def test_what_is_noted_of_a_rollback(app: LocalApp, work: Work) -> None:
    go_live(replace(work, run=Holder("x", "me", "laptop", "rollback.yml", "now")), OLDER, "rollback", 0, KEEP)
    assert points_at(app) == (OLDER, OLDER)
    assert (app.story(OLDER)["sequence"], app.story(OLDER)["verdict"]) == (3, "good")
    assert app.story(OLD)["verdict"] == "bad"
    assert app.story(OLD)["reason"].startswith(f"rolled back to {OLDER} at 20")
    assert app.story(OLD)["reason"].endswith("by me on laptop")
    assert [(event["event"], event["before"]) for event in events(app)] == [("rollback", OLD)]


@pytest.mark.usefixtures("nginx")
def test_the_second_time_changes_nothing(app: LocalApp, host: Systemd, work: Work) -> None:
    go_live(work, NEW, "deploy", 2, KEEP)
    story, log = app.story(NEW), events(app)
    host.calls.clear()
    assert go_live(work, NEW, "deploy", 2, KEEP) is False
    assert (app.story(NEW), events(app)) == (story, log)
    assert {call.split()[0] for call in host.calls} == {"reset-failed"}


def test_what_is_live_is_asked_but_not_watched_again(app: LocalApp, host: Systemd, work: Work, nginx: Answers, clock: Clock) -> None:
    go_live(work, NEW, "deploy", 2, KEEP)
    nginx.asked.clear()
    began = clock.now
    go_live(work, NEW, "deploy", 2, KEEP)
    assert (len(nginx.asked), clock.now) == (1, began)


@pytest.mark.usefixtures("nginx")
def test_a_mark_of_a_rollback_that_was_not_carried_through_goes(app: LocalApp, host: Systemd, work: Work) -> None:
    app.note(OLD, verdict="bad", reason="rolled back")
    assert go_live(work, OLD, "rollback", 0, KEEP) is False
    assert go_live(work, OLD, "deploy", 0, KEEP) is True
    assert app.story(OLD) == {"sequence": 2, "event": "deploy", "verdict": "good"}
    assert go_live(work, OLD, "deploy", 0, KEEP) is False


def test_nginx_need_not_be_there(app: LocalApp, host: Systemd, work: Work, nginx: Answers) -> None:
    nginx.wrong = ["gave no answer"]
    work = replace(work, health=replace(work.health, nginx=False))
    assert go_live(work, NEW, "deploy", 0, KEEP) is True
    assert (points_at(app), nginx.asked) == ((NEW, NEW), [])


def test_nothing_is_switched_to_that_died_since_it_was_started(app: LocalApp, host: Systemd, work: Work, own: Answers) -> None:
    own.wrong = ["answered 500"]
    with pytest.raises(InstanceError, match="did not become healthy"):
        go_live(work, NEW, "deploy", 0, KEEP)
    assert points_at(app) == (OLD, OLD)
    assert running(app) == [OLD]


@pytest.mark.parametrize("name", ["service", "socket"])
@pytest.mark.usefixtures("nginx")
def test_what_is_live_is_enabled_again(app: LocalApp, host: Systemd, work: Work, name: str) -> None:
    host("disable", app.unit(OLD, name))
    assert go_live(work, OLD, "deploy", 0, KEEP) is True
    assert host.enabled() == [f"hello@{OLD}.service", f"hello@{OLD}.socket"]


@pytest.mark.usefixtures("nginx")
def test_the_static_files_follow(app: LocalApp, host: Systemd, work: Work) -> None:
    """A run ended between the two renames."""
    relink(app.live, app.release(OLDER))
    assert go_live(work, OLD, "deploy", 0, KEEP) is True
    assert points_at(app) == (OLD, OLD)


@pytest.mark.usefixtures("nginx")
def test_a_dead_live_release_is_started_again(app: LocalApp, host: Systemd, work: Work) -> None:
    host.dies(app, OLD)
    assert go_live(work, OLD, "deploy", 0, KEEP) is True
    assert host.states[app.unit(OLD, "service")] == "active"


# How it is confirmed


@pytest.mark.parametrize("wrong", [["answered 502"] * 20 + [""], [""]])
def test_a_reload_of_nginx_may_take_a_moment(app: LocalApp, host: Systemd, work: Work, nginx: Answers, clock: Clock, wrong: list[str]) -> None:
    nginx.wrong = wrong
    go_live(work, NEW, "deploy", 0, KEEP)
    assert points_at(app) == (NEW, NEW)
    assert clock.now < 1000 + REACHABLE_WITHIN


@pytest.mark.parametrize("seconds", [0, 2, 30])
def test_how_long_a_release_is_watched(app: LocalApp, host: Systemd, work: Work, nginx: Answers, clock: Clock, seconds: int) -> None:
    began = clock.now
    go_live(work, NEW, "deploy", seconds, KEEP)
    assert clock.now - began == pytest.approx(seconds, abs=0.3)
    assert len(nginx.asked) == 1 + 4 * seconds


@pytest.mark.parametrize(
    ("wrong", "stays"),
    [
        (["", "answered 502", "answered 502", ""], True),
        (["", "answered 502", "answered 502", "", "answered 502", "answered 502", ""], True),
        (["", "answered 502", "answered 502", "answered 502", ""], False),
        (["", "gave no answer"], False),
        (["answered 502"], False),
    ],
)
def test_watching(app: LocalApp, host: Systemd, work: Work, nginx: Answers, wrong: list[str], stays: bool) -> None:
    """Two bad answers in a row are nothing yet; three are."""
    nginx.wrong = list(wrong)
    if stays:
        go_live(work, NEW, "deploy", 5, KEEP)
    else:
        with pytest.raises(InstanceError, match=r"https://hello\.example\.com/healthz (answered 502|gave no answer)\."):
            go_live(work, NEW, "deploy", 5, KEEP)
    assert points_at(app) == ((NEW, NEW) if stays else (OLD, OLD))


@pytest.mark.parametrize("how", ["failed", "restarted"])
def test_a_process_that_ends_is_enough(app: LocalApp, host: Systemd, work: Work, nginx: Answers, clock: Clock, how: str) -> None:
    def die() -> None:
        if len(nginx.asked) == 4:
            host.restarts[app.unit(NEW, "service")] = 1
            if how == "failed":
                host.dies(app, NEW)

    nginx.meanwhile = die
    with pytest.raises(InstanceError, match=r"failed 1\.0 s after the switch: its process ended\."):
        go_live(work, NEW, "deploy", 60, KEEP)
    assert points_at(app) == (OLD, OLD)
    assert clock.now < 1002


# How it is taken back


@pytest.mark.parametrize(("event", "to"), [("deploy", NEW), ("rollback", OLDER)])
def test_a_switch_that_nginx_does_not_confirm_is_taken_back(app: LocalApp, host: Systemd, work: Work, nginx: Answers, event: str, to: str) -> None:
    nginx.wrong = ["answered 502"]
    seen: list[tuple[str, str]] = []
    nginx.meanwhile = lambda: seen.append(points_at(app))
    with pytest.raises(InstanceError) as error:
        go_live(work, to, event, 2, KEEP)
    assert set(seen) == {(to, to)}
    assert points_at(app) == (OLD, OLD)
    assert running(app) == [OLD]
    assert host.enabled() == [f"hello@{OLD}.service", f"hello@{OLD}.socket"]
    reason = f"hello: the release {to} is healthy on its own socket, but https://hello.example.com/healthz answered 502."
    assert str(error.value).startswith(reason)
    assert f"The traffic is back on {OLD}, which had gone on running; {to} is marked bad." in str(error.value)
    # It had traffic, so it is not removed, and comes before the one that serves
    story = app.story(to)
    assert (story["sequence"], story["verdict"], story["reason"], "stopped" in story, "pending" in story) == (3, "bad", reason, True, False)
    assert (app.story(OLD)["sequence"], app.story(OLD)["verdict"], "reason" in app.story(OLD)) == (4, "good", False)
    assert [(line["event"], line["release"], line["to"], line["reason"]) for line in events(app)] == [("back", to, OLD, reason)]


def test_a_rollback_after_a_deploy_was_taken_back(app: LocalApp, host: Systemd, work: Work, nginx: Answers) -> None:
    nginx.wrong = ["answered 502"]
    with pytest.raises(InstanceError):
        go_live(work, NEW, "deploy", 2, KEEP)
    assert rollback_target(look(app)) == OLDER


def test_the_first_release_has_nothing_to_go_back_to(app: LocalApp, systemd: Systemd, work: Work, nginx: Answers) -> None:
    release(app, NEW)
    nginx.wrong = ["answered 502"]
    with pytest.raises(InstanceError, match=r"deploy again\.$"):
        go_live(work, NEW, "deploy", 2, KEEP)
    assert points_at(app) == (NEW, NEW)
    nginx.wrong = [""]
    assert go_live(work, NEW, "deploy", 2, KEEP) is True
    assert app.story(NEW)["sequence"] == 1


def test_a_first_release_that_failed_is_nothing_to_go_back_to(app: LocalApp, systemd: Systemd, work: Work, nginx: Answers) -> None:
    release(app, OLD)
    release(app, NEW)
    nginx.wrong = ["answered 502"]
    with pytest.raises(InstanceError):
        go_live(work, OLD, "deploy", 2, KEEP)
    nginx.wrong = [""]
    go_live(work, NEW, "deploy", 2, KEEP)
    assert before(look(app)) == ""


def test_there_is_no_way_back_to_what_does_not_run(app: LocalApp, host: Systemd, work: Work, nginx: Answers) -> None:
    """What is bad is better than what is dead; and the message would be untrue."""
    host.dies(app, OLD)
    nginx.wrong = ["answered 502"]
    with pytest.raises(InstanceError, match=r"deploy again\.$"):
        go_live(work, NEW, "deploy", 2, KEEP)
    assert points_at(app) == (NEW, NEW)


def test_what_was_confirmed_is_not_taken_back_later(app: LocalApp, host: Systemd, work: Work, nginx: Answers) -> None:
    """A second run finds nginx broken: the other releases would be as unreachable."""
    go_live(work, NEW, "deploy", 2, KEEP)
    nginx.wrong = ["gave no answer"]
    with pytest.raises(InstanceError, match="gave no answer"):
        go_live(work, NEW, "deploy", 2, KEEP)
    assert points_at(app) == (NEW, NEW)
    assert app.story(NEW)["verdict"] == "good"


def test_there_is_no_way_back_to_what_was_removed(app: LocalApp, host: Systemd, work: Work, nginx: Answers) -> None:
    interrupted(app, host, "deploy")
    app.remove(OLD)
    nginx.wrong = ["answered 502"]
    with pytest.raises(InstanceError, match=r"deploy again\.$"):
        go_live(work, NEW, "deploy", 2, KEEP)
    assert points_at(app) == (NEW, NEW)


# How an interrupted one is finished


@pytest.mark.parametrize(("event", "story"), [("deploy", {}), ("deploy", {"sequence": 1}), ("rollback", {"sequence": 1})])
@pytest.mark.parametrize("asked", ["deploy", "rollback"])
def test_an_interrupted_switch_is_finished(
    app: LocalApp, host: Systemd, work: Work, nginx: Answers, clock: Clock, event: str, story: dict[str, Any], asked: str
) -> None:
    """As what it was begun as, and watched as if it had not been interrupted."""
    interrupted(app, host, event, **story)
    began = clock.now
    assert go_live(work, NEW, asked, 2, KEEP) is True
    assert clock.now - began == pytest.approx(2, abs=0.3)
    assert (app.story(NEW)["sequence"], app.story(NEW)["verdict"], app.story(NEW)["pending"]["confirmed"]) == (3, "good", True)
    assert [(line["event"], line["release"], line["before"]) for line in events(app)] == [(event, NEW, OLD)]


def test_an_interrupted_switch_is_taken_back(app: LocalApp, host: Systemd, work: Work, nginx: Answers) -> None:
    interrupted(app, host, "deploy")
    nginx.wrong = ["answered 502"]
    with pytest.raises(InstanceError, match=f"The traffic is back on {OLD}"):
        go_live(work, NEW, "deploy", 2, KEEP)
    assert points_at(app) == (OLD, OLD)
    assert (app.story(NEW)["verdict"], running(app)) == ("bad", [OLD])
