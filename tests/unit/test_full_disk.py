"""A full disk hinders neither a switch nor its way back."""

import contextlib

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.host import history, instance
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError, running
from ansible_collections.plainstack.web.plugins.module_utils.layout import relink

from tests.unit.fakes import NEW, OLD, OLDER, Answers, LocalApp, Systemd, events, full, go_live, make_work, points_at

pytestmark = pytest.mark.usefixtures("own")
KEEP = 5


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be noted; links can still be renamed."""
    monkeypatch.setattr(LocalApp, "note", full)
    monkeypatch.setattr(history, "append", full)


@pytest.mark.parametrize("wrong", ["", "answered 502"])
def test_a_disk_without_room_for_a_link_hinders_nothing(app: LocalApp, host: Systemd, nginx: Answers, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    nginx.wrong = [wrong]
    monkeypatch.setattr(instance, "relink", lambda path, target: full() if path.startswith(app.before) else relink(path, target))
    with pytest.raises(InstanceError, match="The traffic is back") if wrong else contextlib.nullcontext():
        go_live(make_work(app, []), NEW, "deploy", 2, KEEP)
    assert points_at(app) == ((OLD, OLD) if wrong else (NEW, NEW))
    assert running(app) == ([OLD] if wrong else [OLD, NEW])


@pytest.mark.parametrize(("event", "to"), [("deploy", NEW), ("rollback", OLDER)])
@pytest.mark.usefixtures("full_disk", "nginx")
def test_a_full_disk_keeps_no_release_from_going_live(app: LocalApp, host: Systemd, event: str, to: str) -> None:
    warnings: list[str] = []
    assert go_live(make_work(app, warnings), to, event, 2, KEEP) is True
    assert points_at(app) == (to, to)
    assert set(warnings) >= {f"{app.marker(to)} could not be written: [Errno 28] No space left on device"}


@pytest.mark.parametrize(("event", "to"), [("deploy", NEW), ("rollback", OLDER)])
@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_keeps_no_release_from_being_taken_back(app: LocalApp, host: Systemd, nginx: Answers, event: str, to: str) -> None:
    nginx.wrong = ["answered 502"]
    with pytest.raises(InstanceError, match=f"The traffic is back on {OLD}"):
        go_live(make_work(app, []), to, event, 2, KEEP)
    assert points_at(app) == (OLD, OLD)


@pytest.mark.usefixtures("nginx")
def test_a_rollback_is_logged_although_its_beginning_could_not_be_noted(app: LocalApp, host: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    """/srv was full, and is no more, or /var/log is another disk."""
    monkeypatch.setattr(instance, "_mark", lambda *_arguments: None)
    go_live(make_work(app, []), OLDER, "rollback", 2, KEEP)
    assert [(line["event"], line["release"]) for line in events(app)] == [("rollback", OLDER)]
    assert app.story(OLDER)["sequence"] == 3
