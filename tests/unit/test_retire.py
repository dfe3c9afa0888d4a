"""What is left of old releases: their requests, their static files, their directories."""

import os
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.host import instance
from ansible_collections.plainstack.web.plugins.module_utils.host.instance import Work, finish, keep_old_files, look, prune, retire
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError, running
from ansible_collections.plainstack.web.plugins.module_utils.layout import relink
from ansible_collections.plainstack.web.plugins.module_utils.state import rollback_target

from tests.unit.fakes import NEW, OLD, OLDER, Answers, LocalApp, Systemd, full, go_live, make_live, make_work, release


@pytest.fixture
def host(app: LocalApp, systemd: Systemd) -> Systemd:
    """NEW is live; OLD and OLDER still run."""
    for sequence, identifier in enumerate((OLDER, OLD, NEW), 1):
        release(app, identifier, sequence=sequence)
        make_live(app, systemd, identifier)
    return systemd


def drains(monkeypatch: pytest.MonkeyPatch, left: dict[str, int]) -> list[tuple[str, float]]:
    """So many requests are left of a release when the time is over; how each was asked to drain."""
    asked: list[tuple[str, float]] = []

    def drain(path: str, seconds: float) -> int:
        asked.append((os.path.basename(path).removesuffix(".sock"), seconds))
        return left.get(asked[-1][0], 0)

    monkeypatch.setattr(instance, "drain", drain)
    return asked


def test_all_others_are_drained_and_stopped(app: LocalApp, host: Systemd, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = drains(monkeypatch, {})
    assert retire(work, 30) == {OLDER: 0, OLD: 0}
    assert [identifier for identifier, _seconds in asked] == [OLDER, OLD]
    assert running(app) == [NEW]
    assert host.enabled() == [f"hello@{NEW}.service", f"hello@{NEW}.socket"]
    assert [bool(app.story(identifier).get("stopped")) for identifier in (OLDER, OLD, NEW)] == [True, True, False]
    assert not [call for call in host.calls if call.startswith("kill") or NEW in call]
    assert retire(work, 30) == {}


def test_all_are_disabled_before_the_first_is_drained(app: LocalApp, host: Systemd, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that reboots meanwhile starts none of them, also not the one whose turn has not come."""
    seen: list[list[str]] = []

    def drain(_path: str, _seconds: float) -> int:
        seen.append(host.enabled())
        return 0

    monkeypatch.setattr(instance, "drain", drain)
    retire(work, 30)
    assert seen == [[f"hello@{NEW}.service", f"hello@{NEW}.socket"]] * 2


def test_it_is_drained_before_it_is_stopped(app: LocalApp, host: Systemd, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def drain(_path: str, _seconds: float) -> int:
        seen.append(running(app))
        return 0

    monkeypatch.setattr(instance, "drain", drain)
    retire(work, 30)
    assert seen == [[OLDER, OLD, NEW], [OLD, NEW]]


@pytest.mark.parametrize(("story", "seconds"), [({}, 30), ({"config": {}}, 30), ({"config": {"timeout": 7}}, 7)])
def test_a_release_drains_for_its_own_timeout(
    app: LocalApp, host: Systemd, work: Work, monkeypatch: pytest.MonkeyPatch, story: dict[str, Any], seconds: int
) -> None:
    app.note(OLD, **story)
    asked = drains(monkeypatch, {})
    retire(work, 30)
    assert (OLD, seconds) in asked


def test_requests_that_take_too_long_are_cut(app: LocalApp, host: Systemd, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    drains(monkeypatch, {OLD: 2})
    assert retire(work, 30) == {OLDER: 0, OLD: 2}
    assert [call for call in host.calls if call.startswith("kill")] == [f"kill hello@{OLD}.service"]
    assert running(app) == [NEW]


@pytest.mark.parametrize("state", ["failed", "activating", "deactivating", "inactive"])
def test_what_does_not_serve_has_nothing_to_drain(app: LocalApp, host: Systemd, work: Work, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    host.states[app.unit(OLD, "service")] = state
    asked = drains(monkeypatch, {})
    retire(work, 30)
    assert [identifier for identifier, _seconds in asked] == [OLDER]
    assert running(app) == [NEW]


def test_an_instance_whose_release_is_gone_is_stopped_too(app: LocalApp, host: Systemd, work: Work) -> None:
    app.remove(OLD)
    retire(work, 30)
    assert (running(app), app.complete()) == ([NEW], [OLDER, NEW])


def test_a_full_disk_does_not_keep_it_from_being_stopped(app: LocalApp, host: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(LocalApp, "note", full)
    retire(make_work(app, warnings), 30)
    assert running(app) == [NEW]
    assert len(warnings) == 2


@pytest.mark.usefixtures("own", "nginx")
def test_a_rollback_that_was_interrupted_while_it_drained_is_not_done_twice(app: LocalApp, host: Systemd, work: Work) -> None:
    """Long requests make this the most likely moment to lose patience; so does the hook `after_live`, which comes after it."""
    go_live(work, OLD, "rollback", 0, 5)
    retire(work, 30)
    prune(app, 5)
    assert rollback_target(look(app)) == OLD
    finish(work)
    assert "pending" not in app.story(OLD)
    assert rollback_target(look(app)) == OLDER


@pytest.mark.usefixtures("own")
def test_what_came_to_a_release_that_is_taken_back_is_waited_for(
    app: LocalApp, systemd: Systemd, work: Work, nginx: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It still runs, and the traffic has left it already."""
    release(app, OLD, sequence=1)
    release(app, NEW)
    make_live(app, systemd, OLD)
    nginx.wrong = ["answered 502"]
    seen: list[tuple[str, str, list[str]]] = []

    def drain(path: str, _seconds: float) -> int:
        seen.append((os.path.basename(path), app.live_id(), running(app)))
        return 0

    monkeypatch.setattr(instance, "drain", drain)
    with pytest.raises(InstanceError):
        go_live(work, NEW, "deploy", 0, 5)
    assert seen == [(f"{NEW}.sock", OLD, [OLD, NEW])]


# Static files


def links(app: LocalApp) -> dict[str, str]:
    return {name: os.path.basename(os.readlink(f"{app.before}/{name}")) for name in os.listdir(app.before)}


@pytest.mark.parametrize(
    ("wanted", "count", "expected"),
    [("4", 5, {"1": "3", "2": "2", "3": "1"}), ("4", 2, {"1": "3", "2": "2"}), ("2", 5, {"1": "3", "2": "1"}), ("4", 0, {})],
)
@pytest.mark.usefixtures("systemd")
def test_old_static_files(app: LocalApp, work: Work, monkeypatch: pytest.MonkeyPatch, wanted: str, count: int, expected: dict[str, str]) -> None:
    for name, sequence in {"1": 1, "2": 2, "3": 3, "4": 0}.items():
        release(app, name, sequence=sequence)
    keep_old_files(work, "1", 5)  # what is there already
    keep_old_files(work, wanted, count)
    assert links(app) == expected
    monkeypatch.setattr(instance, "relink", full)  # and the second time nothing is to be done
    keep_old_files(work, wanted, count)


@pytest.mark.usefixtures("own")
def test_static_files_of_a_release_that_was_taken_back(app: LocalApp, systemd: Systemd, work: Work, nginx: Answers) -> None:
    """It had traffic for a moment: pages that were loaded from it ask for them."""
    release(app, OLD, sequence=1)
    release(app, NEW)
    make_live(app, systemd, OLD)
    nginx.wrong = ["answered 502"]
    with pytest.raises(InstanceError):
        go_live(work, NEW, "deploy", 0, 5)
    assert links(app) == {"1": NEW}


# Directories


def test_prune(app: LocalApp, systemd: Systemd, work: Work) -> None:
    for name, sequence in {"1": 1, "2": 2, "3": 3, "4": 4, "5": 0}.items():
        release(app, name, sequence=sequence)
    make_live(app, systemd, "4")
    keep_old_files(work, "4", 9)
    relink(f"{app.before}/9", f"{app.base}/nowhere")
    assert prune(app, 2) == ["5", "1", "2"]
    assert sorted(os.listdir(app.releases)) == sorted(os.listdir(app.settings)) == app.complete() == ["3", "4"]
    assert links(app) == {"1": "3"}
    assert prune(app, 2) == []


@pytest.mark.usefixtures("systemd")
def test_prune_of_nothing(app: LocalApp) -> None:
    assert prune(app, 2) == []


@pytest.mark.usefixtures("systemd")
def test_what_cannot_be_removed_is_not_said_to_be(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    release(app, OLD)
    monkeypatch.setattr(LocalApp, "remove", lambda *_arguments: None)
    assert prune(app, 2) == []
