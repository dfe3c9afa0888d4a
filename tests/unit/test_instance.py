"""Start, gate, switch, drain and prune, with a systemd that only pretends and an app that really answers."""

import http.server
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.module_utils import instance
from ansible_collections.plainstack.web.plugins.module_utils.instance import Health, InstanceError, gate, prune, retire, running, start, switch
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, relink, write

OLD, NEW = "20260101T000000Z-aaaaaaaa", "20260102T000000Z-bbbbbbbb"
HEALTH = Health("/healthz", "hello.example.com", 0.4)


class Systemd:
    """Units, their states and the links that enable them; remembers what was asked."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.restarts = 0
        self.calls: list[str] = []

    def __call__(self, verb: str, *arguments: str, check: bool = True) -> str:
        units = [word for word in arguments if not word.startswith("-")]
        if verb == "show":
            state = self.states.get(units[0], "inactive")
            return f"ActiveState={state}\nSubState=x\nNRestarts={self.restarts}\nResult=exit-code\nExecMainStatus=3"
        if verb == "list-units":
            return "\n".join(f"{unit} loaded {state} x Description" for unit, state in self.states.items())
        self.calls += [f"{verb} {unit}" for unit in units]
        for unit in units:
            link = f"{instance.UNITS}/{'multi-user' if unit.endswith('service') else 'sockets'}.target.wants/{unit}"
            if verb == "enable":
                relink(link, "/dev/null")
            elif verb == "disable" and os.path.lexists(link):
                os.unlink(link)
            elif verb == "start":
                self.states[unit] = "active"
            elif verb == "stop":
                self.states.pop(unit, None)
            elif verb == "reset-failed":
                self.restarts = 0
        return ""


@pytest.fixture
def systemd(app: App, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    fake = Systemd()
    for target in ("multi-user", "sockets"):
        os.mkdir(f"{instance.UNITS}/{target}.target.wants")
    monkeypatch.setattr(instance, "systemctl", fake)
    monkeypatch.setattr(instance, "log", lambda unit: f"last words of {unit}")
    monkeypatch.setattr(instance, "_waiting", lambda path: 0)
    return fake


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the next of the server's answers, the last one again and again; 0 hangs and -1 hangs up."""

    def do_GET(self) -> None:
        answers: list[int] = self.server.answers  # type: ignore[attr-defined]
        self.server.asked.append((self.path, self.headers["Host"]))  # type: ignore[attr-defined]
        status = answers.pop(0) if len(answers) > 1 else answers[0]
        if status == 0:
            time.sleep(1)
        if status > 0:
            self.send_response(status)
            self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def handle_error(self, *_arguments: object) -> None:
        pass


Serve = Callable[..., Server]


@pytest.fixture
def serve(app: App) -> Iterator[Serve]:
    """Start an app that answers with these status codes on the socket of a release."""
    servers = []

    def start_server(*answers: int, identifier: str = NEW) -> Server:
        server = Server(app.socket(identifier), Handler)
        server.answers, server.asked = list(answers), []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start_server
    for server in servers:
        server.shutdown()
        server.server_close()


def release(app: App, *identifiers: str) -> None:
    for identifier in identifiers:
        os.makedirs(app.release(identifier))
        os.makedirs(os.path.dirname(app.environment(identifier)))
        write(app.marker(identifier), "{}")


def make_live(app: App, systemd: Systemd, identifier: str) -> None:
    """That release runs, is enabled and has the traffic."""
    relink(app.live_socket, app.socket(identifier))
    relink(app.live, app.release(identifier))
    systemd("enable", app.unit(identifier, "service"), app.unit(identifier, "socket"))
    systemd("start", app.unit(identifier, "service"), app.unit(identifier, "socket"))
    systemd.calls.clear()


def enabled() -> list[str]:
    return sorted(path.name for path in Path(instance.UNITS).glob("*.wants/*"))


@pytest.mark.parametrize("answers", [(200,), (302,), (399,), (500, 200), (-1, 200)])
def test_gate_opens(app: App, systemd: Systemd, serve: Serve, answers: tuple[int, ...]) -> None:
    systemd.states[app.unit(NEW, "service")] = "active"
    server = serve(*answers)
    gate(app, NEW, Health("/healthz", "hello.example.com", 5))
    assert server.asked == [("/healthz", "hello.example.com")] * len(answers)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (404, "/healthz answered 404 within 0.4 s"),
        (500, "/healthz answered 500 within 0.4 s"),
        (400, "/healthz answered 400 within 0.4 s"),
        (0, "/healthz gave no answer (timed out) within 0.4 s"),
        (-1, "/healthz gave no answer (Remote end closed connection without response) within 0.4 s"),
        (None, "/healthz gave no answer ([Errno 2] No such file or directory) within 0.4 s"),
    ],
)
def test_gate_stays_shut(app: App, systemd: Systemd, serve: Serve, answer: int | None, why: str) -> None:
    systemd.states[app.unit(NEW, "service")] = "active"
    if answer is not None:
        serve(answer)
    began = time.monotonic()
    with pytest.raises(InstanceError) as error:
        gate(app, NEW, HEALTH)
    assert time.monotonic() - began < 2
    assert f"the release {NEW} did not become healthy: {why}." in str(error.value)
    assert f"last words of hello@{NEW}.service" in str(error.value)


@pytest.mark.parametrize(("live", "state"), [(OLD, f"{OLD} still serves."), (None, "No release of this app is live yet."), (NEW, "It is the live release")])
def test_the_error_says_what_serves(app: App, systemd: Systemd, live: str | None, state: str) -> None:
    if live:
        make_live(app, systemd, live)
    systemd.states[app.unit(NEW, "service")] = "failed"
    with pytest.raises(InstanceError, match=state):
        gate(app, NEW, HEALTH)


def test_gate_does_not_wait_for_a_crash_loop(app: App, systemd: Systemd) -> None:
    systemd.states[app.unit(NEW, "service")] = "activating"
    systemd.restarts = 1
    with pytest.raises(InstanceError, match="its process ended while starting"):
        gate(app, NEW, Health("/", "hello.example.com", 60))


def test_gate_does_not_ask_before_the_unit_is_active(app: App, systemd: Systemd, serve: Serve) -> None:
    systemd.states[app.unit(NEW, "service")] = "activating"
    server = serve(200)
    with pytest.raises(InstanceError, match="it has not finished starting within"):
        gate(app, NEW, HEALTH)
    assert server.asked == []  # type: ignore[attr-defined]


def test_start(app: App, systemd: Systemd, serve: Serve) -> None:
    serve(200)
    assert start(app, NEW, HEALTH) is True
    assert systemd.calls[-2:] == [f"start hello@{NEW}.socket", f"start hello@{NEW}.service"]
    assert start(app, NEW, HEALTH) is False


def test_an_old_crash_of_what_runs_is_no_failure(app: App, systemd: Systemd, serve: Serve) -> None:
    make_live(app, systemd, NEW)
    systemd.restarts = 1
    serve(200)
    assert start(app, NEW, HEALTH) is False


@pytest.mark.parametrize(("story", "left"), [("{}", [OLD]), ('{"went_live": "20260102T000000Z"}', [OLD, NEW])])
def test_an_unhealthy_start_is_stopped(app: App, systemd: Systemd, serve: Serve, story: str, left: list[str]) -> None:
    """A release that never worked is removed, one that had been live stays."""
    release(app, OLD, NEW)
    write(app.marker(NEW), story)
    make_live(app, systemd, OLD)
    serve(500)
    with pytest.raises(InstanceError):
        start(app, NEW, HEALTH)
    assert running(app) == [OLD]
    assert app.complete() == left


def test_the_live_instance_is_never_stopped_by_its_gate(app: App, systemd: Systemd, serve: Serve) -> None:
    make_live(app, systemd, NEW)
    serve(500)
    with pytest.raises(InstanceError):
        start(app, NEW, HEALTH)
    assert running(app) == [NEW]


def test_switch(app: App, systemd: Systemd, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    release(app, OLD, NEW)
    make_live(app, systemd, OLD)
    serve(200)
    systemd("start", app.unit(NEW, "service"))
    systemd.calls.clear()
    steps = systemd.calls

    def note(path: str, target: str) -> None:
        if path.startswith(app.root):
            steps.append(f"point {os.path.basename(path)}")
        relink(path, target)

    monkeypatch.setattr(instance, "relink", note)
    assert switch(app, NEW, HEALTH, through_nginx=False) is True
    # Enabled first: after a power cut, what is live must come up
    assert steps[-4:] == [f"enable hello@{NEW}.service", f"enable hello@{NEW}.socket", "point live.sock", "point live"]
    assert (app.live_id(), os.path.realpath(app.live)) == (NEW, app.release(NEW))
    assert running(app) == [OLD, NEW]
    assert "went_live" in app.story(NEW)
    write(app.marker(OLD), '{"went_live": "20260101T000000Z"}')
    steps.clear()
    assert switch(app, NEW, HEALTH, through_nginx=False) is False
    assert [step for step in steps if not step.startswith("reset-failed")] == []


def test_nothing_is_switched_to_that_died_since_it_was_started(app: App, systemd: Systemd, serve: Serve) -> None:
    release(app, OLD, NEW)
    make_live(app, systemd, OLD)
    serve(500)
    systemd("start", app.unit(NEW, "service"))
    with pytest.raises(InstanceError, match="did not become healthy"):
        switch(app, NEW, HEALTH, through_nginx=False)
    assert (app.live_id(), os.path.realpath(app.live)) == (OLD, app.release(OLD))


def test_what_a_failed_run_left_running_is_stopped(app: App, systemd: Systemd, serve: Serve) -> None:
    release(app, "1", OLD, NEW)
    make_live(app, systemd, OLD)
    systemd("start", app.unit("1", "service"))
    serve(200)
    start(app, NEW, HEALTH)
    assert running(app) == [OLD, NEW]
    assert app.complete() == [OLD, NEW]


def test_an_old_release_that_still_drains_is_left_to_its_drain(app: App, systemd: Systemd, serve: Serve) -> None:
    release(app, "1", OLD, NEW)
    write(app.marker("1"), '{"went_live": "20260101T000000Z"}')
    make_live(app, systemd, OLD)
    systemd("start", app.unit("1", "service"))
    serve(200)
    start(app, NEW, HEALTH)
    assert running(app) == ["1", OLD, NEW]


def test_a_dead_live_release_is_started_again(app: App, systemd: Systemd, serve: Serve) -> None:
    release(app, NEW)
    make_live(app, systemd, NEW)
    systemd("stop", app.unit(NEW, "service"))
    serve(200)
    assert switch(app, NEW, HEALTH, through_nginx=False) is True
    assert running(app) == [NEW]


def test_an_interrupted_switch_is_finished(app: App, systemd: Systemd, serve: Serve) -> None:
    release(app, OLD, NEW)
    serve(200)
    make_live(app, systemd, NEW)
    relink(app.live, app.release(OLD))
    assert switch(app, NEW, HEALTH, through_nginx=False) is True
    assert os.path.realpath(app.live) == app.release(NEW)


def test_a_switch_that_nginx_does_not_confirm_is_undone(app: App, systemd: Systemd, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    release(app, OLD, NEW)
    serve(200)
    make_live(app, systemd, OLD)
    systemd("start", app.unit(NEW, "service"))

    def refuse(*_arguments: object) -> None:
        assert app.live_id() == NEW
        raise InstanceError("nginx answered 502.")

    monkeypatch.setattr(instance, "confirm", refuse)
    with pytest.raises(InstanceError, match=rf"nginx answered 502\.\nThe traffic is back on {OLD}\."):
        switch(app, NEW, HEALTH, through_nginx=True)
    assert (app.live_id(), os.path.realpath(app.live)) == (OLD, app.release(OLD))
    assert running(app) == [OLD]
    assert enabled() == [f"hello@{OLD}.service", f"hello@{OLD}.socket"]


def test_the_first_release_has_nothing_to_go_back_to(app: App, systemd: Systemd, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    release(app, NEW)
    serve(200)

    def refuse(*_arguments: object) -> None:
        raise InstanceError("nginx answered 502.")

    monkeypatch.setattr(instance, "confirm", refuse)
    with pytest.raises(InstanceError, match=r"^nginx answered 502\.$"):
        switch(app, NEW, HEALTH, through_nginx=True)
    assert app.live_id() == NEW


def test_retire_drains_and_stops_all_others(app: App, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    make_live(app, systemd, OLD)
    make_live(app, systemd, NEW)
    queue = [3, 1, 0]

    def waiting(path: str) -> int:
        assert path == app.socket(OLD)
        assert not [call for call in systemd.calls if call.startswith("stop")]
        return queue.pop(0)

    monkeypatch.setattr(instance, "_waiting", waiting)
    assert retire(app, NEW, drain=10) == [OLD]
    assert queue == []
    assert running(app) == [NEW]
    assert enabled() == [f"hello@{NEW}.service", f"hello@{NEW}.socket"]


def test_connections_that_wait_are_counted(tmp_path: Path) -> None:
    path = str(tmp_path / "a.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        listener.bind(path)
        listener.listen()
        assert instance._waiting(path) == 0
        first.connect(path)
        second.connect(path)
        assert instance._waiting(path) == 2
    assert instance._waiting(path) == 0


def test_retire_does_not_wait_for_ever(app: App, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    make_live(app, systemd, OLD)
    monkeypatch.setattr(instance, "_waiting", lambda path: 1)
    began = time.monotonic()
    assert retire(app, NEW, drain=0) == [OLD]
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("keep", "live", "runs", "left"),
    [
        (2, "5", ["5"], ["4", "5"]),
        (2, "1", ["1"], ["1", "4", "5"]),  # after a rollback
        (2, "1", [], ["1", "4", "5"]),  # the live one has crashed
        (2, "5", ["2", "5"], ["2", "4", "5"]),  # still draining
        (9, "5", ["5"], ["1", "2", "3", "4", "5"]),
        (0, "5", ["5"], ["5"]),
        (1, "", [], ["5"]),
    ],
)
def test_prune(app: App, systemd: Systemd, keep: int, live: str, runs: list[str], left: list[str]) -> None:
    release(app, "1", "2", "3", "4", "5")
    for identifier in runs:
        systemd("start", app.unit(identifier, "service"))
    if live:
        relink(app.live_socket, app.socket(live))
    gone = prune(app, keep)
    assert sorted(gone + left) == ["1", "2", "3", "4", "5"]
    assert sorted(os.listdir(app.releases)) == sorted(os.listdir(app.settings)) == app.complete() == left
