"""A fleet, whatever is done to it and wherever a run is killed or a server is lost: it deploys like one host."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from ansible_collections.plainstack.web.plugins.module_utils.controller.decide import DecisionError, Order, Seen, deploy, rollback, scale
from ansible_collections.plainstack.web.plugins.module_utils.host import hook
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.world import GATE, NGINX, WELL, Killed, World

SOURCES = "abc"
sources, hosts = st.sampled_from(SOURCES), st.integers(0, 2)
kinds = st.sampled_from([WELL, WELL, GATE, NGINX])
kills = st.one_of(st.none(), st.integers(0, 90))
KEEP = 5


class LostError(BaseException):
    """The connection to a server has ended; what went on there has ended too."""


class Fleet:
    """Servers that one run after the other works on, as the playbooks do: each step on all of them before the next."""

    def __init__(self, base: Path, patch: pytest.MonkeyPatch, count: int) -> None:
        self.patch = patch
        World.install(patch, lambda: self.current)
        self.all = {f"web{number}": self._world(base / str(number)) for number in range(count)}
        self.current = next(iter(self.all.values()))
        self.down: set[str] = set()
        self.migrated: set[str] = set()  # ids of which each server that started them knows that they were migrated for
        self.built = 0
        self.left: int | None = None
        patch.setattr(hook, "run", self._migrate)

    def _world(self, base: Path) -> World:
        base.mkdir()
        return World(base, self.patch, lambda: self.current)

    def _migrate(self, _app: object, identifier: str, *_more: object) -> str:
        self.current.effect()
        assert identifier not in self.migrated, "migrated twice"
        for host, world in self.all.items():
            assert host in self.down or not world.app.story(identifier).get("migrate"), f"{host} knows that it was migrated for"
        return ""

    def on(self, host: str) -> World:
        """Be that server."""
        self.current = self.all[host]
        self.current.use(self.patch)
        return self.current

    def _do(self, host: str, command: Callable[[World], None]) -> None:
        """One module on a server; a kill is counted in side effects on all servers together."""
        world = self.on(host)
        world.left = self.left
        world.renames, world.logged = [], []
        world.old, world.spare = {world.app.live_id(), world.pending().get("before", "")}, set()
        try:
            command(world)
        finally:
            self.left, world.left = world.left, None

    def seen(self, source: str = "") -> dict[str, Seen]:
        if {*self.all} == self.down:
            raise DecisionError("None can be reached.")
        return {host: self.on(host).inspect(source) for host in self.all if host not in self.down}

    def deploy(self, source: str) -> str:
        self.built += 1
        return self._run(deploy("hello", f"2026{self.built:04}T000000Z-{source}", self.seen(source)), "deploy")

    def rollback(self) -> str:
        return self._run(rollback("hello", "", self.seen()), "rollback")

    def scale(self) -> str:
        return self._run(scale("hello", self.seen()), "deploy")

    def _run(self, order: Order, event: str) -> str:
        """How it ended: done or undone."""
        servers = [host for host in self.all if host in order.act]
        source = order.id.rsplit("-", 1)[-1]
        for name in ("stage", "migrate", "start", "switch", "confirm", "agree"):
            failed = False
            for host in servers:
                if host in self.down or (name == "migrate" and host != order.migrate):
                    continue
                try:
                    self._do(host, lambda world, name=name, host=host: self._step(world, name, order, event, source, host))  # type: ignore[misc]
                except InstanceError:
                    failed = True
                except LostError:
                    self.down.add(host)
                    failed = True
            if failed:
                for host in servers:
                    if host not in self.down:
                        self._do(host, lambda world: self._undo(world, order, event))
                return "undone"
            if name == "start":
                self.migrated.add(order.id)
        for host in servers:
            self._do(host, lambda world: world.step("retire", order, event, 0, KEEP))
        return "done"

    @staticmethod
    def _undo(world: World, order: Order, event: str) -> None:
        with contextlib.suppress(InstanceError):  # there may be nothing to go back to
            world.step("undo", order, event, 0, KEEP)

    @staticmethod
    def _step(world: World, name: str, order: Order, event: str, source: str, host: str) -> None:
        if name != "stage":
            world.step(name, order, event, 0, KEEP)
        elif host in order.build:
            world.build(order.id, source)


class Fleets(RuleBasedStateMachine):
    """What must hold of the fleet after each run."""

    @initialize(count=st.integers(1, 3), chosen=st.lists(kinds, min_size=len(SOURCES), max_size=len(SOURCES)))
    def begin(self, count: int, chosen: list[str]) -> None:
        self.patch = pytest.MonkeyPatch()
        self.directory = tempfile.TemporaryDirectory()
        self.fleet = Fleet(Path(self.directory.name), self.patch, count)
        self.kinds = dict(zip(SOURCES, chosen, strict=True))
        for world in self.fleet.all.values():
            world.kinds = self.kinds
        self.whole = False  # whether all servers took part in the last run, and have the same release live
        self.undone_from: dict[str, set[str]] = {}  # by server, what had the traffic before a switch that is not confirmed

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.undo()
            self.directory.cleanup()

    def lives(self) -> dict[str, str]:
        return {host: world.app.live_id() for host, world in self.fleet.all.items()}

    def attempt(self, run: Callable[[], str], kill: int | None = None, lost: str = "") -> str:
        """How a run ended: done, undone, refused or killed."""
        fleet, before = self.fleet, self.lives()
        for host, world in fleet.all.items():
            world.end = LostError if host == lost else Killed
        fleet.left = kill
        lost_before = {*fleet.down}
        try:
            outcome = run()
        except DecisionError:
            outcome = "refused"
        except (Killed, LostError):
            outcome = "killed"
        fleet.left = None
        after = self.lives()
        reached = {host for host in fleet.all if host not in fleet.down}
        if outcome == "refused":
            assert after == before
        if outcome == "done":
            assert len({after[host] for host in reached}) == 1, "one id everywhere"
            for host in reached:
                assert fleet.on(host).running() == {after[host]}, "nothing is left over"
        if outcome == "undone" and not fleet.down - lost_before:
            # Where nothing was live there is nothing to go back to; what a killed run had begun goes back to what was before that, too
            pending = {host for host in reached if before[host] not in ("", after[host])}
            assert all(after[host] in {before[host], *self.undone_from.get(host, set())} for host in pending), "all or nothing"
            if len({*before.values()}) == 1 and self.whole:
                assert len({*after.values()}) == 1, "a fleet of one release stays one"
        self.whole = outcome in ("done", "killed") and not fleet.down and len({*after.values()}) == 1
        self.undone_from = {host: {world.pending().get("before", "")} - {""} for host, world in fleet.all.items()}
        return outcome

    def twice(self, run: Callable[[], str], kill: int | None, lost: str) -> None:
        """The run; and where it was killed, the same once more, which finishes it."""
        if self.attempt(run, kill, lost) == "killed":
            assert self.attempt(run) in ("done", "undone", "refused")

    @rule(source=sources, kill=kills, number=hosts, loses=st.booleans())
    def deploy(self, source: str, kill: int | None, number: int, loses: bool) -> None:
        before = {*self.fleet.down}
        self.twice(lambda: self.fleet.deploy(source), kill, f"web{number}" if loses else "")
        if self.kinds[source] == WELL and self.fleet.down == before:
            reached = [live for host, live in self.lives().items() if host not in self.fleet.down]
            assert {live.rsplit("-", 1)[-1] for live in reached} <= {source}, "what is well goes live"

    @rule(kill=kills)
    def rollback(self, kill: int | None) -> None:
        if {*self.fleet.all} == self.fleet.down:
            return
        bad = {one.id for seen in self.fleet.seen().values() for one in seen.state.releases if one.bad}
        before = {*self.lives().values()}
        outcome = self.attempt(self.fleet.rollback, kill)
        if outcome == "done":
            reached = {live for host, live in self.lives().items() if host not in self.fleet.down}
            assert not (reached - before) & bad, "never back to what is bad on any server"
        if outcome == "killed":
            self.attempt(self.fleet.rollback)

    @rule(source=sources, kind=kinds)
    def change(self, source: str, kind: str) -> None:
        """An app behaves otherwise from now on, say because its database does."""
        self.kinds[source] = kind

    @precondition(lambda self: self.fleet.down)
    @rule()
    def come_back(self) -> None:
        """What was lost can be reached again, as it was; scale.yml or a deploy brings it up to date."""
        self.fleet.down.clear()
        outcome = self.attempt(self.fleet.scale)
        assert outcome in ("done", "refused", "undone")

    @invariant()
    def each_site_serves(self) -> None:
        for host, world in self.fleet.all.items() if hasattr(self, "fleet") else ():
            live = world.app.live_id()
            self.fleet.on(host)
            assert not live or live in world.dead or world.serves(live)


Fleets.TestCase.settings = settings(
    max_examples=80, stateful_step_count=15, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
TestFleets = Fleets.TestCase


def test_a_release_that_the_fleet_has_agreed_on_stays_wherever_its_run_was_killed() -> None:
    """It fails when the command is repeated: one server may have stopped what was before, so the other must not go back either."""
    ends = []
    for kill in range(200):
        machine = Fleets()
        machine.begin(2, [WELL] * len(SOURCES))
        deploy_of = machine.fleet.deploy
        machine.attempt(lambda: deploy_of("a"))  # noqa: B023
        outcome, before = machine.attempt(lambda: deploy_of("b"), kill), machine.lives()  # noqa: B023
        machine.kinds["b"] = NGINX
        if outcome == "killed":
            assert machine.attempt(lambda: deploy_of("b")) == "undone"  # noqa: B023
            ends.append(("".join(live[-1] for live in before.values()), "".join(live[-1] for live in machine.lives().values())))
        machine.teardown()
        if outcome == "done":
            break
    assert {*ends} == {("aa", "aa"), ("ba", "aa"), ("bb", "aa"), ("bb", "bb")}
