"""Start an instance beside the live one, gate it, stop it when it is not healthy."""

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.host import history, instance, lock, memory
from ansible_collections.plainstack.web.plugins.module_utils.host import systemd as systemd_module
from ansible_collections.plainstack.web.plugins.module_utils.host.health import Health
from ansible_collections.plainstack.web.plugins.module_utils.host.instance import Work, discard, gate, look, prune, settle, start
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError, running
from ansible_collections.plainstack.web.plugins.module_utils.layout import relink, write
from ansible_collections.plainstack.web.plugins.module_utils.state import Release, State

from tests.unit.fakes import HEALTH, NEW, OLD, OLDER, Answers, Clock, LocalApp, Systemd, events, full, make_app, make_live, make_work, release


@pytest.mark.parametrize("wrong", [[""], ["answered 500", ""], ["gave no answer", "answered 503", ""]])
def test_the_gate_opens(app: LocalApp, systemd: Systemd, own: Answers, work: Work, wrong: list[str]) -> None:
    systemd.run(app, NEW)
    own.wrong = list(wrong)
    gate(work, NEW)
    assert [(path, health) for path, health, _timeout, _over in own.asked] == [(app.socket(NEW), HEALTH)] * len(wrong)
    # No answer may take longer than is left
    assert [timeout for _path, _health, timeout, _over in own.asked] == pytest.approx([HEALTH.timeout - 0.05 * turn for turn in range(len(wrong))])


@pytest.mark.parametrize(
    ("state", "wrong", "why"),
    [
        ("active", "answered 404", "/healthz answered 404 within 3 s"),
        ("active", "gave no answer (timed out)", "/healthz gave no answer (timed out) within 3 s"),
        ("activating", "", "it has not finished starting within 3 s"),
        ("failed", "", "its process ended while starting"),
    ],
)
def test_the_gate_stays_shut(app: LocalApp, systemd: Systemd, clock: Clock, own: Answers, work: Work, state: str, wrong: str, why: str) -> None:
    systemd.states[app.unit(NEW, "service")] = state
    own.wrong = [wrong]
    with pytest.raises(InstanceError) as error:
        gate(work, NEW)
    assert f"hello: the release {NEW} did not become healthy: {why}." in str(error.value)
    assert f"last words of hello@{NEW}.service" in str(error.value)
    assert clock.now <= 1000 + HEALTH.timeout + 0.5
    assert bool(own.asked) is (state == "active")


def test_a_question_cut_off_by_the_end_does_not_hide_what_was_answered(app: LocalApp, systemd: Systemd, own: Answers, work: Work) -> None:
    systemd.run(app, NEW)
    own.wrong = ["gave no answer (refused)", "answered 500", "gave no answer (timed out)"]
    with pytest.raises(InstanceError, match="/healthz answered 500 within 3 s"):
        gate(work, NEW)


def test_the_gate_does_not_wait_for_a_crash_loop(app: LocalApp, systemd: Systemd, clock: Clock, own: Answers, work: Work) -> None:
    systemd.run(app, NEW)
    systemd.restarts[app.unit(NEW, "service")] = 1
    with pytest.raises(InstanceError, match="its process ended while starting"):
        gate(work, NEW)
    assert (clock.now, own.asked) == (1000, [])


def test_the_gate_notices_that_the_process_ends_while_it_waits(app: LocalApp, systemd: Systemd, own: Answers, work: Work) -> None:
    """It may have said to be ready, and end when its workers load the app."""
    systemd.run(app, NEW)

    def ends() -> None:
        over = own.asked[-1][3]
        assert not over()
        systemd.restarts[app.unit(NEW, "service")] = 1
        assert over()

    own.meanwhile, own.wrong = ends, ["gave no answer (its process ended)"]
    with pytest.raises(InstanceError, match="its process ended while starting"):
        gate(work, NEW)
    assert len(own.asked) == 1


def test_what_does_not_run_does_not_serve(app: LocalApp, systemd: Systemd, work: Work) -> None:
    make_live(app, systemd, OLD)
    systemd.dies(app, OLD)
    systemd.dies(app, NEW)
    with pytest.raises(InstanceError, match=f"{OLD} is live, but does not run: its unit is failed."):
        gate(work, NEW)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("", "still serves."),
        ("answered 400", "still serves."),
        ("answered 503", "is live, but /healthz answered 503."),
        ("gave no answer (timed out)", "is live, but /healthz gave no answer (timed out)."),
    ],
)
def test_what_is_said_to_serve_has_just_answered(app: LocalApp, systemd: Systemd, monkeypatch: pytest.MonkeyPatch, wrong: str, says: str) -> None:
    """A unit that is active may hang. Django refuses names that are not its own, and serves all the same."""
    asked = []

    def ask(path: str, health: Health, timeout: float) -> str:
        asked.append((path, health.path))
        return wrong

    release(app, OLD, config={"health_path": "/healthz"})
    make_live(app, systemd, OLD)
    monkeypatch.setattr(systemd_module, "ask_instance", ask)
    assert systemd_module.serving(app) == f"{OLD} {says}"
    assert asked == [(app.socket(OLD), "/healthz")]


@pytest.mark.parametrize(("live", "says"), [(OLD, f"{OLD} still serves."), (None, "No release of this app is live yet."), (NEW, "It is the live release")])
def test_the_error_says_what_serves(app: LocalApp, systemd: Systemd, work: Work, live: str | None, says: str) -> None:
    if live:
        make_live(app, systemd, live)
    systemd.dies(app, NEW)
    with pytest.raises(InstanceError, match=says):
        gate(work, NEW)


@pytest.mark.usefixtures("own")
def test_start(app: LocalApp, systemd: Systemd, work: Work) -> None:
    release(app, NEW)
    assert start(work, NEW) is True
    # The socket first: requests must not find the service without it
    assert systemd.calls[-2:] == [f"start hello@{NEW}.socket", f"start hello@{NEW}.service"]
    assert systemd.enabled() == []
    assert start(work, NEW) is False
    assert [call for call in systemd.calls if call.startswith("start")] == [f"start hello@{NEW}.socket", f"start hello@{NEW}.service"]


@pytest.mark.usefixtures("own")
def test_what_failed_before_is_started_again(app: LocalApp, systemd: Systemd, work: Work) -> None:
    release(app, NEW)
    systemd.dies(app, NEW)
    assert start(work, NEW) is True
    assert running(app) == [NEW]


@pytest.mark.usefixtures("own")
def test_an_old_crash_of_what_runs_is_no_failure(app: LocalApp, systemd: Systemd, work: Work) -> None:
    release(app, NEW)
    make_live(app, systemd, NEW)
    systemd.restarts[app.unit(NEW, "service")] = 1
    assert start(work, NEW) is False


@pytest.mark.parametrize(("story", "left"), [({}, [OLD]), ({"sequence": 1}, [OLD, NEW]), ({"sequence": 0}, [OLD])])
def test_an_unhealthy_start_is_stopped(app: LocalApp, systemd: Systemd, own: Answers, work: Work, story: dict[str, Any], left: list[str]) -> None:
    """A release that never worked is removed, one that had been live stays."""
    release(app, OLD, sequence=2)
    release(app, NEW, **story)
    make_live(app, systemd, OLD)
    own.wrong = ["answered 500"]
    with pytest.raises(InstanceError):
        start(work, NEW)
    assert running(app) == [OLD]
    assert app.complete() == left
    assert [(event["event"], event["release"], event["reason"]) for event in events(app)] == [
        ("failed", NEW, f"hello: the release {NEW} did not become healthy: /healthz answered 500 within 3 s.")
    ]


def test_the_live_instance_is_never_stopped_by_its_gate(app: LocalApp, systemd: Systemd, own: Answers, work: Work) -> None:
    release(app, NEW)
    make_live(app, systemd, NEW)
    own.wrong = ["answered 500"]
    with pytest.raises(InstanceError):
        start(work, NEW)
    assert (running(app), app.complete(), events(app)) == ([NEW], [NEW], [])


@pytest.mark.usefixtures("own")
def test_what_a_failed_run_left_running_is_stopped(app: LocalApp, systemd: Systemd, work: Work) -> None:
    release(app, OLDER)
    release(app, OLD, sequence=1)
    release(app, NEW)
    make_live(app, systemd, OLD)
    systemd.run(app, OLDER, NEW)
    start(work, NEW)
    assert running(app) == app.complete() == [OLD, NEW]


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(("wanted", "left"), [(NEW, [OLD, NEW]), (OLD, [OLDER, OLD])], ids=["another", "the live one"])
def test_what_a_killed_run_did_not_retire_ends_its_requests(
    app: LocalApp, systemd: Systemd, work: Work, monkeypatch: pytest.MonkeyPatch, wanted: str, left: list[str]
) -> None:
    """But not what the live release may still have to go back to."""
    for number, identifier in enumerate((OLDER, OLD, NEW)):
        release(app, identifier, sequence=(1, 2, 0)[number], pending={"event": "deploy", "before": OLDER} if identifier == OLD else None)
    make_live(app, systemd, OLD)
    systemd.run(app, OLDER)
    drained: list[tuple[str, float]] = []

    def drain(path: str, seconds: float) -> int:
        drained.append((path, seconds))
        return 0

    monkeypatch.setattr(instance, "drain", drain)
    start(work, wanted)
    assert (running(app), drained) == (left, [(app.socket(OLDER), 30)] if wanted == NEW else [])


@pytest.mark.parametrize(
    ("live", "runs", "checked"),
    [(OLD, [OLD], True), (OLD, [OLD, NEW], False), (NEW, [], False), ("", [], True)],
    ids=["beside the live one", "runs already", "is the live one", "the first"],
)
@pytest.mark.usefixtures("own")
def test_memory_is_looked_at_before_a_second_instance(
    app: LocalApp, systemd: Systemd, work: Work, monkeypatch: pytest.MonkeyPatch, live: str, runs: list[str], checked: bool
) -> None:
    release(app, OLD, sequence=1)
    release(app, NEW)
    if live:
        make_live(app, systemd, live)
    systemd.states.clear()
    systemd.run(app, *runs)

    def check(_app: LocalApp) -> None:
        raise InstanceError("no room")

    monkeypatch.setattr(memory, "check", check)
    if not checked:
        start(work, NEW)
        return
    with pytest.raises(InstanceError, match="no room"):
        start(work, NEW)
    assert running(app) == runs
    assert start(work, NEW, in_any_case=True) is True  # a rollback, away from what may eat up the memory


@pytest.mark.parametrize(("live", "warned"), [(OLD, True), (NEW, False)], ids=["a new release", "what is live"])
@pytest.mark.usefixtures("own")
def test_what_the_apps_may_use_together_is_said_before_a_second_instance(
    app: LocalApp, systemd: Systemd, monkeypatch: pytest.MonkeyPatch, live: str, warned: bool
) -> None:
    release(app, OLD, sequence=1)
    release(app, NEW)
    make_live(app, systemd, live)
    monkeypatch.setattr(memory, "promised", lambda _app, identifier: f"too much with {identifier}")
    warnings: list[str] = []
    start(make_work(app, warnings), NEW)
    assert warnings == ([f"too much with {NEW}"] if warned else [])


def test_memory_is_looked_at_after_strays_gave_theirs_back(app: LocalApp, systemd: Systemd, work: Work, own: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    release(app, OLD)
    release(app, NEW)
    systemd.run(app, OLD)
    seen: list[list[str]] = []
    monkeypatch.setattr(memory, "check", lambda app: seen.append(running(app)))
    start(work, NEW)
    assert seen == [[]]


@pytest.mark.usefixtures("own")
def test_a_full_disk_does_not_hide_why_it_failed(app: LocalApp, systemd: Systemd, own: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    release(app, NEW)
    own.wrong = ["answered 500"]
    monkeypatch.setattr(history, "append", full)
    warnings: list[str] = []
    with pytest.raises(InstanceError, match="answered 500"):
        start(make_work(app, warnings), NEW)
    assert warnings == [f"{app.history} could not be written: [Errno 28] No space left on device"]


def test_discard(app: LocalApp, systemd: Systemd) -> None:
    """At once and for good: no request is lost, and nothing of it comes back at the next boot."""
    release(app, OLD, sequence=1)
    release(app, NEW)
    make_live(app, systemd, NEW)
    make_live(app, systemd, OLD)
    discard(app, NEW)
    assert (running(app), app.complete()) == ([OLD], [OLD])
    assert systemd.enabled() == [f"hello@{OLD}.service", f"hello@{OLD}.socket"]
    # Killed before it is stopped: stopping alone would wait for its requests
    assert systemd.calls.index(f"kill hello@{NEW}.service") < systemd.calls.index(f"stop hello@{NEW}.service")


def test_look(app: LocalApp, systemd: Systemd) -> None:
    release(app, OLDER, sequence=2, verdict="bad", reason="it leaks")
    release(app, OLD, sequence=3, verdict="good", reason="left over")
    release(app, NEW, verdict="bad", pending={"event": "rollback", "before": OLD})
    os.makedirs(app.release("half-built"))
    make_live(app, systemd, OLD)
    systemd.run(app, NEW)
    releases = (Release(OLDER, 2, "it leaks"), Release(OLD, 3), Release(NEW, 0, "marked by hand", "rollback"))
    assert look(app) == State(OLD, releases, frozenset({OLD, NEW}))


@pytest.mark.parametrize(
    ("story", "after"),
    [
        ({"pending": {"event": "deploy", "before": OLD}}, 8),
        ({"sequence": 3, "pending": {"event": "rollback", "before": OLD}}, 8),
        ({}, 8),
        ({"sequence": 3}, 3),
    ],
    ids=["deploy", "rollback", "not noted at all", "settled"],
)
def test_what_an_earlier_run_did_not_get_to_note(app: LocalApp, systemd: Systemd, work: Work, story: dict[str, Any], after: int) -> None:
    release(app, OLD, sequence=7)
    release(app, NEW, **story)
    make_live(app, systemd, NEW)
    settle(work)
    noted = app.story(NEW)
    assert (noted["sequence"], "pending" in noted, "went_live" in noted) == (after, False, after == 8)
    settle(work)
    assert app.story(NEW) == noted
    assert app.story(OLD) == {"sequence": 7, "event": "deploy"}


@pytest.mark.parametrize(("identifier", "settled"), [(OLD, True), (NEW, False)])
@pytest.mark.usefixtures("own")
def test_only_another_release_settles_what_is_live(app: LocalApp, systemd: Systemd, work: Work, identifier: str, settled: bool) -> None:
    """The same one is still to be confirmed."""
    release(app, OLD, sequence=7)
    release(app, NEW, pending={"event": "deploy", "before": OLD})
    make_live(app, systemd, NEW)
    start(work, identifier)
    assert ("pending" not in app.story(NEW)) is settled


OTHER_HOLDER = lock.Holder("x", "me", "laptop", "deploy.yml", "now")


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(("run", "held", "left"), [(True, False, [OLD]), (True, True, [OLDER, OLD, NEW]), (False, False, [OLDER, OLD, NEW])])
def test_what_killed_runs_left_of_other_apps_is_stopped_too(
    app: LocalApp, systemd: Systemd, work: Work, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: bool, held: bool, left: list[str]
) -> None:
    """But not of those that a run works on, and not without a lock on the own one."""
    other = make_app(tmp_path / "other", "shop")
    release(app, NEW)
    for number, identifier in enumerate((OLDER, OLD, NEW)):
        release(other, identifier, sequence=(1, 2, 0)[number])
    make_live(other, systemd, OLD)
    systemd.run(other, OLDER, NEW)
    monkeypatch.setattr(layout, "apps", lambda: [app, other])
    monkeypatch.setattr(memory, "promised", lambda one, identifier: "")
    monkeypatch.setattr(instance, "holder", lambda one: OTHER_HOLDER if held and one == other else None)
    monkeypatch.setattr(instance, "step", lambda one, token: contextlib.nullcontext())
    start(replace(work, run=OTHER_HOLDER if run else None), NEW)
    assert (running(other), running(app)) == (left, [NEW])


@pytest.mark.usefixtures("systemd")
@pytest.mark.parametrize(("own_units", "left"), [([], True), ([OLD], True), ([OLD, NEW], False)])
def test_the_units_of_earlier_versions_go_with_the_last_release_that_needs_them(app: LocalApp, own_units: list[str], left: bool) -> None:
    release(app, OLDER)
    release(app, OLD, sequence=1)
    release(app, NEW, sequence=2)
    relink(app.live_socket, app.socket(NEW))
    shared = [f"{layout.UNITS}/hello@.{kind}" for kind in ("service", "socket")]
    for path in shared + [app.unit_file(identifier, kind) for identifier in own_units for kind in ("service", "socket")]:
        write(path, "")
    assert prune(app, 2) == [OLDER]
    assert [os.path.exists(path) for path in shared] == [left, left]


@pytest.mark.parametrize(
    ("wrong", "seconds", "why"),
    [
        (["answered 404"], 5, "/healthz of hello.example.com answered 404 for 5 s. The app has no such path."),
        (["gave no answer (refused)", "answered 401"], 5, "answered 401 for 5 s. It must answer without a login."),
        (["answered 403", "answered 404", "answered 410"], 5, "answered 410 for 5 s. Nothing but 200 to 399 counts as healthy."),
        (["answered 400"], 5, "Django does for those in its ALLOWED_HOSTS alone."),
        (["answered 404"] * 30 + ["answered 503"], 20, "/healthz answered 503 within 20 s."),
        (["gave no answer (timed out)"], 20, "/healthz gave no answer (timed out) within 20 s."),
    ],
)
def test_what_the_app_steadily_refuses_is_not_waited_out(
    app: LocalApp, systemd: Systemd, clock: Clock, own: Answers, work: Work, wrong: list[str], seconds: float, why: str
) -> None:
    systemd.run(app, NEW)
    own.wrong = list(wrong)
    with pytest.raises(InstanceError) as error:
        gate(replace(work, health=replace(HEALTH, timeout=20)), NEW)
    assert why in str(error.value)
    assert clock.now - 1000 == pytest.approx(seconds, abs=0.6)


def test_a_refusal_that_ends_in_time_is_none(app: LocalApp, systemd: Systemd, own: Answers, work: Work) -> None:
    systemd.run(app, NEW)
    own.wrong = ["answered 404"] * 45 + ["answered 500"] + ["answered 404"] * 8 + [""]
    gate(replace(work, health=replace(HEALTH, timeout=60)), NEW)
