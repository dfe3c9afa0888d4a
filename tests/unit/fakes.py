"""What stands in for a host: the paths of an app, systemd, the clock, the answers of an app."""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.host.health import Health
from ansible_collections.plainstack.web.plugins.module_utils.host.instance import Work, confirm, switch
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, relink, write

real_root = pytest.mark.skipif(Path("/proc/self/uid_map").read_text().split()[2] == "1", reason="a user namespace of one user has no other owners")
OLDER, OLD, NEW = "20260101T000000Z-aaaaaaaa", "20260102T000000Z-bbbbbbbb", "20260103T000000Z-cccccccc"
HEALTH = Health("/healthz", "hello.example.com", 3)


@dataclass(frozen=True)
class LocalApp(App):
    """The app of a server, in a directory of its own."""

    base: str = ""

    @property
    def root(self) -> str:
        return f"{self.base}/srv"

    @property
    def sockets(self) -> str:
        return f"{self.base}/run"

    @property
    def lock(self) -> str:
        return f"{self.base}/locks/{self.name}"

    def hook(self, unit: str) -> str:
        return f"{self.base}/{unit}.environment"

    @property
    def history(self) -> str:
        return f"{self.base}/log/{self.name}.log"

    @property
    def timeouts(self) -> str:
        return f"{self.base}/nginx/{self.name}.conf"

    @property
    def settings(self) -> str:
        return f"{self.base}/etc"

    @property
    def cache(self) -> str:
        return f"{self.base}/cache/{self.name}"


def make_app(base: Path, name: str = "hello") -> LocalApp:
    """An app without any release."""
    for directory in ("srv/releases", "srv/shared", "run", "etc", "units/multi-user.target.wants", "units/sockets.target.wants"):
        (base / directory).mkdir(parents=True)
    return LocalApp(name, str(base))


class Systemd:
    """Stands in for systemctl: units, their states and the links that enable them; remembers what was asked.

    As in the units of the role gunicorn, a service needs its socket: they start together, and a socket takes its service along.
    """

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.restarts: dict[str, int] = {}
        self.calls: list[str] = []
        self.condition: Callable[[str], bool] = lambda _identifier: True  # whether what a target of that id takes along may start

    def __call__(self, verb: str, *arguments: str, check: bool = True) -> str:
        units = [word for word in arguments if not word.startswith("-")]
        if verb == "show" and "*" in units[0]:
            found = [unit for unit in self.states if fnmatch.fnmatchcase(unit, units[0])]
            return "\n\n".join(f"Id={one}\nActiveState={self.states[one]}\nSubState=x\nNRestarts={self.restarts.get(one, 0)}" for one in found)
        if verb == "show":
            return f"ActiveState={self.states.get(units[0], 'inactive')}\nNRestarts={self.restarts.get(units[0], 0)}\nControlGroup=/none"
        if verb == "list-units":
            return "\n".join(f"{unit} loaded {state} x Description" for unit, state in self.states.items() if fnmatch.fnmatchcase(unit, units[0]))
        if verb == "stop" and check and not any(unit in self.states for unit in units):
            raise InstanceError(f"Failed to stop {units[0]}: Unit {units[0]} not loaded.")  # as where its file was removed
        for unit in units:
            self.calls.append(f"{verb} {unit}")
            self._do(verb, unit)
        return ""

    def _do(self, verb: str, unit: str) -> None:
        service, listener = f"{unit.rsplit('.', 1)[0]}.service", f"{unit.rsplit('.', 1)[0]}.socket"
        if verb == "enable":
            relink(self.link(unit), "/dev/null")
        elif verb == "disable" and os.path.lexists(self.link(unit)):
            os.unlink(self.link(unit))
        elif unit.endswith(".target") and verb in ("start", "stop"):
            for one in (unit, *self.beside(unit)):
                self.states.pop(one, None)
            if verb == "start":
                self.states[unit] = "active"
                self.take_along(unit)
        elif verb == "start" and unit.endswith(".timer"):
            self.states[unit] = "active"
        elif verb == "start":
            self.states[listener] = "active"
            if unit == service:
                self.states[service] = "active"
        elif verb == "stop":
            for one in {unit, service}:
                self.states.pop(one, None)
        elif verb == "reset-failed":
            self.restarts.pop(unit, None)
            if self.states.get(unit) == "failed":
                del self.states[unit]

    @staticmethod
    def beside(target: str) -> list[str]:
        """What a target takes along."""
        name, identifier = target.removesuffix(".target").split("@")
        return [f"{name}.{one}" for one in (f"worker.1@{identifier}.service", f"clock.alone@{identifier}.service", f"tick@{identifier}.timer")]

    def take_along(self, target: str) -> None:
        """Start what a target wants."""
        if self.condition(target.split("@")[1].removesuffix(".target")):
            self.states |= dict.fromkeys(self.beside(target), "active")

    @staticmethod
    def link(unit: str) -> str:
        """Where the link is that has systemd start the unit at boot."""
        return f"{layout.UNITS}/{'sockets' if unit.endswith('socket') else 'multi-user'}.target.wants/{unit}"

    def enabled(self) -> list[str]:
        """Units that come up at boot."""
        return sorted(path.name for path in Path(layout.UNITS).glob("*.wants/*"))

    def run(self, app: App, *identifiers: str) -> None:
        """These instances run; nobody asked for it."""
        for identifier in identifiers:
            self.states |= {app.unit(identifier, "service"): "active", app.unit(identifier, "socket"): "active"}

    def dies(self, app: App, identifier: str) -> None:
        """The process of an instance ends, and systemd has given up on it."""
        self.states[app.unit(identifier, "service")] = "failed"

    def reboot(self) -> None:
        """What is enabled comes up, and nothing else."""
        self.states = dict.fromkeys(self.enabled(), "active")
        for target in [unit for unit in self.states if unit.endswith(".target")]:
            self.take_along(target)
        self.restarts.clear()


class Clock:
    """Stands in for the module time: sleeping takes no time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Answers:
    """Stands in for ask_instance and ask_nginx: what is wrong with one answer after the other, the last again and again."""

    wrong: list[str] = field(default_factory=lambda: [""])
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    def __call__(self, *arguments: Any) -> str:
        self.asked.append(arguments)
        self.meanwhile()
        return self.wrong.pop(0) if len(self.wrong) > 1 else self.wrong[0]


def full(*_arguments: Any, **_facts: Any) -> None:
    """Stands in for what writes, on a full disk."""
    raise OSError(28, "No space left on device")


def release(app: App, identifier: str, **story: Any) -> None:
    """A complete release on disk; one that has been live was confirmed, unless its `event` is None."""
    story = {"event": "deploy", **story} if story.get("sequence") else story
    story = {key: value for key, value in story.items() if value is not None}
    os.makedirs(app.release(identifier))
    os.makedirs(os.path.dirname(app.environment(identifier)))
    write(app.marker(identifier), json.dumps(story))


def make_live(app: App, systemd: Systemd, identifier: str) -> None:
    """That release runs, is enabled and has the traffic."""
    relink(app.live_socket, app.socket(identifier))
    relink(app.live, app.release(identifier))
    systemd("enable", app.unit(identifier, "service"), app.unit(identifier, "socket"))
    systemd.run(app, identifier)
    systemd.calls.clear()


def make_work(app: App, warnings: list[str] | None = None) -> Work:
    """What a module works on; warnings go into the list, and without one they are errors."""

    def refuse(message: str) -> None:
        raise AssertionError(message)

    return Work(app, HEALTH, None, refuse if warnings is None else warnings.append)


def events(app: App) -> list[dict[str, Any]]:
    """The log of deploys and rollbacks."""
    if not os.path.exists(app.history):
        return []
    return [json.loads(line) for line in Path(app.history).read_text().splitlines()]


def points_at(app: App) -> tuple[str, str]:
    return app.live_id(), os.path.basename(os.path.realpath(app.live))


def go_live(work: Work, identifier: str, event: str, seconds: float, keep: int) -> bool:
    """The switch and its confirmation, as one server without others; whether something changed."""
    switched, before = switch(work, identifier, event, keep)
    return confirm(work, identifier, event, before, seconds, keep) or switched
