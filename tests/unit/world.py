"""A host on which every side effect can be the last one, and which watches what must hold at each of them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.host import history, instance, memory
from ansible_collections.plainstack.web.plugins.module_utils.host import systemd as systemd_module
from ansible_collections.plainstack.web.plugins.module_utils.host.build import Plan, find, sweep
from ansible_collections.plainstack.web.plugins.module_utils.host.instance import confirm, look, prune, retire, start, switch, undo
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError, running
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, relink, write
from ansible_collections.plainstack.web.plugins.module_utils.state import StateError, rollback_target

from tests.unit.fakes import Clock, LocalApp, Systemd, make_app, make_work

# What an app may do: nothing wrong; not pass the gate; not answer through nginx; end while it is watched
WELL, GATE, NGINX, DIES = KINDS = ("well", "gate", "nginx", "dies")


class UndoneError(Exception):
    """The rollout failed on another server, and this one was taken back."""


class Killed(BaseException):
    """The run was killed."""


class World:
    """A host, its app, and what has to hold on it at every moment.

    An id ends with the name of its source; `kinds` says what each source does.
    """

    def __init__(self, base: Path, patch: pytest.MonkeyPatch) -> None:
        self.app: LocalApp = make_app(base)
        self.work = make_work(self.app)
        self.systemd, self.clock = Systemd(), Clock()
        self.kinds: dict[str, str] = {}
        self.built = 0
        self.left: int | None = None  # side effects until the run is killed
        self.dead: set[str] = set()  # instances whose process ended, which nobody has started again
        self.gated: set[str] = set()  # instances that answered over their own socket since they were started
        self.old: set[str] = set()  # that had the traffic when the command began, or before an interrupted switch
        self.spare: set[str] = set()  # the live one, which must run until the new one is confirmed
        self.renames: list[str] = []  # where the traffic went in this command
        self.logged: list[str] = []  # events of this command
        self.answered: set[str] = set()  # releases that have answered through nginx since they got the traffic
        self.confirmed: set[str] = set()  # those that were ever noted as confirmed
        patch.setattr(layout, "UNITS", f"{base}/units")
        patch.setattr(layout, "APPS", f"{base}/apps")
        patch.setattr(instance, "time", self.clock)
        patch.setattr(instance, "relink", self._relink)
        patch.setattr(instance, "drain", self._drain)
        patch.setattr(instance, "ask_instance", self._ask_instance)
        patch.setattr(instance, "ask_nginx", self._ask_nginx)
        patch.setattr(memory, "check", lambda app: None)
        patch.setattr(systemd_module, "systemctl", self._systemctl)
        patch.setattr(systemd_module, "log", lambda unit: "")
        patch.setattr(history, "append", self._append)
        patch.setattr(LocalApp, "note", lambda _app, identifier, **facts: self._note(identifier, facts))
        patch.setattr(LocalApp, "remove", self._remove)
        patch.setattr(shutil, "rmtree", self._before(shutil.rmtree))
        patch.setattr(os, "fsync", lambda handle: None)

    # What stands in for the parts of a host

    def effect(self) -> None:
        """Something is about to change: what is live must serve, and the run may end here."""
        live = self.app.live_id()
        if live:
            assert live in self.app.complete(), f"{live} is live and not complete"
            assert live in self.dead or self.serves(live), f"{live} is live and does not serve"
        if self.left == 0:
            raise Killed
        if self.left is not None:
            self.left -= 1

    def _before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.effect()
            return function(*arguments, **named)

        return wrapped

    def _systemctl(self, verb: str, *arguments: str, check: bool = True) -> str:
        units = [word for word in arguments if "@" in word and verb not in ("show", "list-units")]
        if units:
            self.effect()
        for unit in units:
            identifier = unit.split("@")[1].rsplit(".", 1)[0]
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

    def _ask_instance(self, path: str, _health: object, _timeout: float) -> str:
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
        self.logged.append(event)

    def _remove(self, identifier: str) -> None:
        self.effect()
        assert identifier != self.app.live_id(), "what is live is removed"
        stories = {one: self.app.story(one) for one in self.complete()}
        order = sorted((story["sequence"], one) for one, story in stories.items() if "event" in story and story.get("verdict") != "bad")
        assert identifier not in [one for _sequence, one in order if one != self.app.live_id()][-1:], "what a rollback leads to is removed"
        App.remove(self.app, identifier)

    # What a test looks at

    def kind(self, identifier: str) -> str:
        return self.kinds[identifier.rsplit("-", 1)[-1]]

    def serves(self, identifier: str) -> bool:
        return all(self.systemd.states.get(self.app.unit(identifier, kind)) == "active" for kind in ("service", "socket"))

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
        self.old = {self.app.live_id(), self.unconfirmed().get("before", "")}
        self.spare = {self.app.live_id()} & self.running() - self.dead
        self.confirm_began = self.clock.now
        try:
            command()
        except InstanceError:
            return "failed"
        except StateError:
            return "refused"
        except UndoneError:
            return "undone"
        except Killed:
            return "killed"
        finally:
            self.left = None
        return "done"

    def _build(self, plan: Plan) -> None:
        """As build does: release.json comes last."""
        app, identifier = self.app, plan.identifier
        for path in (app.release(identifier), os.path.dirname(app.environment(identifier))):
            self.effect()
            os.makedirs(path)
        write(app.environment(identifier), plan.environment)
        self.effect()
        write(app.marker(identifier), json.dumps({"digest": plan.digest, "config": plan.config}))

    def deploy(self, source: str, seconds: float, keep: int, elsewhere: str = "") -> None:
        """What deploy.yml does with one app on one host.

        :param elsewhere: the step after which another server has failed.
        """
        self.built += 1
        plan = Plan(self.app, f"2026{self.built:04}T000000Z-{source}", source, "requirements.txt", "3.13", {}, "")
        identifier = find(plan)
        if not identifier:
            sweep(self.app)
            self._build(plan)
            identifier = plan.identifier
        if identifier != self.app.live_id() or self.pending():
            start(self.work, identifier)
            self._elsewhere(elsewhere == "started", identifier, "", keep)
        self._live(identifier, "deploy", seconds, keep, elsewhere)

    def rollback(self, named: str, keep: int, elsewhere: str = "") -> None:
        """What rollback.yml does."""
        identifier = rollback_target(look(self.app), named)
        start(self.work, identifier, in_any_case=True)
        self._elsewhere(elsewhere == "started", identifier, "", keep)
        self._live(identifier, "rollback", 0, keep, elsewhere)

    def _live(self, identifier: str, event: str, seconds: float, keep: int, elsewhere: str) -> None:
        _changed, before = switch(self.work, identifier, event, keep)
        self._elsewhere(elsewhere == "switched", identifier, before, keep)
        confirm(self.work, identifier, event, before, seconds, keep)
        self._elsewhere(elsewhere == "confirmed", identifier, before, keep)
        retire(self.work, 30)
        prune(self.app, keep)

    def _elsewhere(self, failed: bool, identifier: str, before: str, keep: int) -> None:
        if failed:
            undo(self.work, identifier, before, keep, "the rollout failed on another server")
            raise UndoneError
