"""A host on which every side effect can be the last one, and which watches what must hold at each of them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.controller.decide import DecisionError, Order, Seen, deploy, parse, restart, rollback
from ansible_collections.plainstack.web.plugins.module_utils.host import history, instance, memory, steps
from ansible_collections.plainstack.web.plugins.module_utils.host import inspect as inspection
from ansible_collections.plainstack.web.plugins.module_utils.host import systemd as systemd_module
from ansible_collections.plainstack.web.plugins.module_utils.host.build import sweep
from ansible_collections.plainstack.web.plugins.module_utils.host.inspect import inspect
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError, running
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, relink, write

from tests.unit.fakes import Clock, LocalApp, Systemd, make_app, make_work

# What an app may do: nothing wrong; not pass the gate; not answer through nginx; end while it is watched
WELL, GATE, NGINX, DIES = KINDS = ("well", "gate", "nginx", "dies")


class UndoneError(Exception):
    """The rollout failed on another server, and this one was taken back."""


class Killed(BaseException):
    """The run was killed."""


class _Times:
    """The clock of whichever host it is."""

    def __init__(self, current: Callable[[], World]) -> None:
        self.current = current

    def __getattr__(self, name: str) -> Any:
        return getattr(self.current().clock, name)


class World:
    """A host, its app, and what has to hold on it at every moment.

    An id ends with the name of its source; `kinds` says what each source does.
    """

    def __init__(self, base: Path, patch: pytest.MonkeyPatch, current: Callable[[], World] | None = None) -> None:
        self.app: LocalApp = make_app(base)
        self.work = make_work(self.app)
        self.systemd, self.clock = Systemd(), Clock()
        self.systemd.condition = lambda identifier: identifier == self.app.live_id()
        self.kinds: dict[str, str] = {}
        self.built = 0
        self.acted = False  # whether the last command had anything to do
        self.left: int | None = None  # side effects until the run is killed
        self.end: type[BaseException] = Killed  # what happens then
        self.dead: set[str] = set()  # instances whose process ended, which nobody has started again
        self.gated: set[str] = set()  # instances that answered over their own socket since they were started
        self.old: set[str] = set()  # that had the traffic when the command began, or before an interrupted switch
        self.spare: set[str] = set()  # the live one, which must run until the new one is confirmed
        self.renames: list[str] = []  # where the traffic went in this command
        self.logged: list[str] = []  # events of this command
        self.answered: set[str] = set()  # releases that have answered through nginx since they got the traffic
        self.confirmed: set[str] = set()  # those that were ever noted as confirmed
        self.base = base
        os.makedirs(os.path.dirname(self.app.lock), exist_ok=True)
        if not current:
            self.install(patch, lambda: self)
            self.use(patch)

    @staticmethod
    def install(patch: pytest.MonkeyPatch, current: Callable[[], World]) -> None:
        """Have one host after the other stand in for what this machine would be."""
        patch.setattr(instance, "time", _Times(current))
        patch.setattr(instance, "relink", lambda *given: current()._relink(*given))
        patch.setattr(instance, "drain", lambda *given: current()._drain(*given))
        for module in (instance, inspection, systemd_module):
            patch.setattr(module, "ask_instance", lambda *given: current()._ask_instance(*given))
        for module in (instance, inspection):
            patch.setattr(module, "ask_nginx", lambda *given: current()._ask_nginx(*given))
        patch.setattr(memory, "check", lambda app: None)
        patch.setattr(systemd_module, "systemctl", lambda *given, **options: current()._systemctl(*given, **options))
        patch.setattr(systemd_module, "log", lambda unit, ended: "")
        patch.setattr(history, "append", lambda *given, **facts: current()._append(*given, **facts))
        patch.setattr(LocalApp, "note", lambda _app, identifier, **facts: current()._note(identifier, facts))
        patch.setattr(LocalApp, "remove", lambda _app, identifier: current()._remove(identifier))
        rmtree = shutil.rmtree
        patch.setattr(shutil, "rmtree", lambda *given, **options: current()._rmtree(rmtree, *given, **options))
        patch.setattr(os, "fsync", lambda handle: None)

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Be the host that paths are of."""
        patch.setattr(layout, "UNITS", f"{self.base}/units")
        patch.setattr(layout, "APPS", f"{self.base}/apps")

    # What stands in for the parts of a host

    def effect(self) -> None:
        """Something is about to change: what is live must serve, and the run may end here."""
        live = self.app.live_id()
        if live:
            assert live in self.app.complete(), f"{live} is live and not complete"
            assert live in self.dead or self.serves(live), f"{live} is live and does not serve"
        assert len(self.once()) <= 1, f"what may not overlap runs in {self.once()}"
        if self.left == 0:
            raise self.end
        if self.left is not None:
            self.left -= 1

    def _rmtree(self, remove: Callable[..., None], *arguments: Any, **options: Any) -> None:
        self.effect()
        remove(*arguments, **options)

    def _systemctl(self, verb: str, *arguments: str, check: bool = True) -> str:
        units = [word for word in arguments if "@" in word and verb not in ("show", "list-units")]
        if units:
            self.effect()
        for unit in units:
            identifier = unit.split("@")[1].rsplit(".", 1)[0]
            if "." in unit.split("@")[0]:
                assert (verb, identifier != self.app.live_id()) == ("stop", True), f"{verb} of what belongs to what is live"
                continue
            if verb in ("stop", "kill", "disable"):
                assert identifier != self.app.live_id(), f"{verb} of what is live"
                assert identifier not in self.spare or self.logged, f"{verb} of the old one before the new one is confirmed"
            if verb in ("start", "stop", "kill"):
                self.gated.discard(identifier)
            if verb == "start" and unit.endswith(".service"):
                self.dead.discard(identifier)
        return self.systemd(verb, *arguments, check=check)

    def _relink(self, path: str, target: str) -> None:
        self.effect()
        if path == self.app.live_socket:
            identifier = os.path.basename(target).removesuffix(".sock")
            assert identifier in self.gated | self.old, "traffic for a release that was not asked"
            self.renames.append(identifier)
            self.answered.discard(identifier)
        relink(path, target)

    def _note(self, identifier: str, facts: dict[str, Any]) -> None:
        self.effect()
        if "event" in facts:
            assert identifier in self.answered, "noted as confirmed, and nginx was not asked"
            self.confirmed.add(identifier)
        App.note(self.app, identifier, **facts)

    def _drain(self, _path: str, _seconds: float) -> int:
        self.effect()
        return 0

    def _ask_instance(self, path: str, _health: object, _timeout: float, _over: object = None) -> str:
        identifier = os.path.basename(path).removesuffix(".sock")
        if not self.serves(identifier) or self.kind(identifier) == GATE:
            return "answered 500"
        self.gated.add(identifier)
        return ""

    def _ask_nginx(self, _health: object, _timeout: float) -> str:
        live = self.app.live_id()
        if self.kind(live) == DIES and self.clock.now > self.confirm_began:
            self.dies(live)
        self.confirm_began = max(self.confirm_began, self.clock.now)
        if not self.serves(live) or self.kind(live) == NGINX:
            return "answered 502"
        self.answered.add(live)
        return ""

    confirm_began = 0.0

    def _append(self, _app: App, event: str, _release: str, **_facts: Any) -> None:
        self.effect()
        if event != "begin":
            self.logged.append(event)

    def _remove(self, identifier: str) -> None:
        self.effect()
        assert identifier != self.app.live_id(), "what is live is removed"
        stories = {one: self.app.story(one) for one in self.complete()}
        order = sorted((story["sequence"], one) for one, story in stories.items() if "event" in story and story.get("verdict") != "bad")
        content = {one: story.get("restarts", one) for one, story in stories.items()}
        live = content.get(self.app.live_id(), "")
        assert identifier not in [one for _sequence, one in order if content[one] != live][-1:], "what a rollback leads to is removed"
        App.remove(self.app, identifier)

    # What a test looks at

    def kind(self, identifier: str) -> str:
        return self.kinds[identifier[-1]]

    def serves(self, identifier: str) -> bool:
        return all(self.systemd.states.get(self.app.unit(identifier, kind)) == "active" for kind in ("service", "socket"))

    def once(self) -> set[str]:
        """Releases of which something works that may run only once."""
        return {unit.split("@")[1].rsplit(".", 1)[0] for unit in self.systemd.states if ".alone@" in unit or unit.endswith(".timer")}

    def beside(self) -> set[str]:
        """Releases of which something works beside the web server."""
        return {unit.split("@")[1].rsplit(".", 1)[0] for unit in self.systemd.states if "." in unit.split("@")[0]}

    def complete(self) -> list[str]:
        return self.app.complete()

    def running(self) -> set[str]:
        return set(running(self.app))

    def pending(self) -> dict[str, str]:
        """What an earlier run was about when it ended right after its switch."""
        found: dict[str, str] = self.app.story(self.app.live_id()).get("pending", {})
        return found

    def unconfirmed(self) -> dict[str, str]:
        """The same, where nginx has not confirmed it yet."""
        found = self.pending()
        return {} if found.get("confirmed") else found

    # What happens to it

    def dies(self, identifier: str) -> None:
        self.systemd.dies(self.app, identifier)
        self.dead.add(identifier)
        self.gated.discard(identifier)

    def reboot(self) -> None:
        self.systemd.reboot()
        self.gated.clear()
        self.dead.clear()

    def attempt(self, command: Callable[[], None], kill: int | None) -> str:
        """How a command ends that may be killed: done, failed, refused or killed."""
        self.renames, self.logged, self.left = [], [], kill
        self.old = {self.app.live_id(), self.pending().get("before", "")}
        self.spare = {self.app.live_id()} & self.running() - self.dead
        self.confirm_began = self.clock.now
        try:
            command()
        except InstanceError:
            return "failed"
        except DecisionError:
            return "refused"
        except UndoneError:
            return "undone"
        except Killed:
            return "killed"
        finally:
            self.left = None
        return "done"

    def build(self, identifier: str, source: str, restarts: str = "") -> None:
        """As build does: release.json comes last."""
        app = self.app
        sweep(app)
        for path in (app.release(identifier), os.path.dirname(app.environment(identifier))):
            self.effect()
            os.makedirs(path)
        write(app.environment(identifier), "")
        write(app.unit_file(identifier, "target"), "")
        self.effect()
        write(app.archive(identifier), "")
        write(app.marker(identifier), json.dumps({**wanted(source), **({"restarts": restarts} if restarts else {})}))

    def inspect(self, source: str = "") -> Seen:
        """What a run sees first."""
        left, self.left = self.left, None
        found = parse(inspect(self.app, wanted(source) if source else {}, "hello.example.com", tls=True, nginx=True))
        self.left = left
        return found

    def step(self, name: str, order: Order, event: str, seconds: float, keep: int) -> None:
        """A step of a run, as the module `step` does it."""
        whole = {
            **ORDER,
            "id": order.id,
            "event": event,
            "keep": keep,
            "timeout": 30,
            "migrated": order.migrated or bool(order.migrate),
            "agreed": order.agreed,
        }
        steps.STEPS[name]({**whole, "confirm_seconds": seconds, "reason": "the rollout failed on another server"}, self.work, False)

    def deploy(self, source: str, seconds: float, keep: int, elsewhere: str = "") -> None:
        """What deploy.yml does with one app on one host.

        :param elsewhere: the step after which another server has failed.
        """
        self.built += 1
        order = deploy("hello", self.fresh(source), {"here": self.inspect(source)})
        if order.build:
            self.build(order.id, source)
        self._roll_out(order, "deploy", seconds, keep, elsewhere)

    def fresh(self, source: str) -> str:
        """The id of what is built now."""
        return f"2026{self.built:04}T000000Z-{8 * source}"

    def restart(self, seconds: float, keep: int, elsewhere: str = "") -> None:
        """What restart.yml does."""
        self.built += 1
        seen = self.inspect()
        order = restart("hello", self.fresh("").rstrip("-"), {"here": seen})
        if order.build:
            self.build(order.id, order.id[-1], seen.stories[seen.state.live]["restarts"] or seen.state.live)
        self._roll_out(order, "restart", seconds, keep, elsewhere)

    def rollback(self, named: str, keep: int, elsewhere: str = "") -> None:
        """What rollback.yml does."""
        self._roll_out(rollback("hello", named, {"here": self.inspect()}), "rollback", 0, keep, elsewhere)

    def _roll_out(self, order: Order, event: str, seconds: float, keep: int, elsewhere: str) -> None:
        self.acted = bool(order.act)
        for name in ("start", "switch", "confirm", "retire") if self.acted else ():
            self.step(name, order, event, seconds, keep)
            if elsewhere == name:
                with contextlib.suppress(InstanceError):  # there may be nothing to go back to
                    self.step("undo", order, event, seconds, keep)
                raise UndoneError


ORDER: dict[str, Any] = {
    "name": "hello",
    "host": "hello.example.com",
    "tls": True,
    "nginx": True,
    "health_path": "/healthz",
    "start_timeout": 3,
    "migrate": "true",
    "hook_timeout": 9,
    "files": {},
    "fleet": False,
}


def wanted(source: str) -> dict[str, Any]:
    """The release that a source makes."""
    return {"digest": source, "config": {}, "environment": ""}
