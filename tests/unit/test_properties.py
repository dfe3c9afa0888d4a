"""Whatever is done in whatever order, and wherever it is killed: the site serves, and what is meant is what comes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from ansible_collections.plainstack.web.plugins.module_utils.host.instance import look, prune
from ansible_collections.plainstack.web.plugins.module_utils.state import rollback_target, unsettled
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.world import DIES, GATE, KINDS, NGINX, WELL, World

SOURCES = "abcdef"
sources, keeps, watched = st.sampled_from(SOURCES), st.sampled_from([2, 3]), st.sampled_from([0, 2])
kinds = st.sampled_from([WELL] * 5 + [*KINDS])
elsewheres = st.sampled_from(["start", "switch", "confirm"])
kills = st.one_of(st.none(), st.integers(0, 45))


class Releases(RuleBasedStateMachine):
    """Remembers what happened as an operator would, in no way that the code does.

    `order` are the ids by their last going live, `bad` those that nobody should go back to, `live` is what must have the traffic.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.directory = tempfile.TemporaryDirectory()
        self.world = World(Path(self.directory.name), self.patch)
        self.order: list[str] = []
        self.bad: set[str] = set()
        self.live = ""
        self.pending: dict[str, str] = {}  # the switch that was not confirmed when the command began
        self.way_back = ""  # what had the traffic before a rollout that was not over when the command began
        self.content: dict[str, str] = {}  # of what was restarted, what it is made of
        self.again: tuple[str, ...] = ()  # a rollback that was killed: what was asked for, and what it led to

    def teardown(self) -> None:
        self.patch.undo()
        self.directory.cleanup()

    @initialize(chosen=st.lists(kinds, min_size=len(SOURCES), max_size=len(SOURCES)))
    def begin(self, chosen: list[str]) -> None:
        self.world.kinds = dict(zip(SOURCES, chosen, strict=True))

    # What is expected

    def shunned(self) -> set[str]:
        """What nobody should go back to: bad ones, and what had the traffic and was never confirmed."""
        return self.bad | {one for one in self.order if one not in self.world.confirmed}

    def target(self) -> str:
        """Where a rollback leads to: the last one that was live, is not and is not shunned."""
        complete, shunned = self.world.complete(), self.shunned()
        others = [one for one in reversed(self.order) if self.made_of(one) != self.made_of(self.live)]
        return next((one for one in others if one not in shunned and one in complete), "")

    def made_of(self, identifier: str) -> str:
        return self.content.get(identifier, identifier)

    def same(self, identifier: str) -> set[str]:
        """A release and its restarts."""
        return {one for one in self.order if self.made_of(one) == self.made_of(identifier)} | {identifier}

    def went_live(self, identifier: str) -> None:
        self.order = [one for one in self.order if one != identifier] + [identifier]
        self.live = identifier

    def by_disk(self) -> list[str]:
        found = look(self.world.app)
        order = [one.id for one in sorted(found.releases, key=lambda one: one.sequence) if one.sequence]
        return [*(one for one in order if one != found.live), found.live] if unsettled(found) else order

    def end(self, outcome: str, identifier: str, event: str, seconds: float, keep: int) -> None:
        """Check how a command about a release ended, and remember it."""
        world, before = self.world, self.live
        kind = world.kind(identifier)
        came_from = before if before != identifier else self.pending.get("before", "")
        if outcome == "killed":
            self.killed(identifier, before, came_from)
            return
        if outcome == "undone":
            self.undone(identifier, before, before if before != identifier else self.way_back)
            return
        if outcome == "done":
            assert kind not in (GATE, NGINX)
            assert kind != DIES or not seconds or before == identifier
            if before != identifier or self.pending:
                assert world.logged[-1:] == [event if before != identifier else self.pending["event"]]
                self.went_live(identifier)
            if event == "rollback" and before != identifier:
                self.bad |= self.same(before) - {identifier}
            if event != "rollback" or before != identifier or self.pending:
                self.bad.discard(identifier)
            assert world.running() == {identifier}
            assert world.beside() == {identifier}
            assert os.path.realpath(world.app.live) == world.app.release(identifier)
            must = {self.live, self.target()} - {""}
            assert not world.acted or len(world.complete()) <= max(keep, len(must))
        else:
            assert outcome == "failed"
            assert kind != WELL
            self.failed(identifier, before, came_from, event)

    def failed(self, identifier: str, before: str, came_from: str, event: str) -> None:
        world = self.world
        if came_from and world.renames[-1:] == [came_from]:
            assert world.logged == ["back"]
            assert world.once() == {came_from}
            self.went_live(identifier)
            self.went_live(came_from)
            self.bad = self.bad - {came_from} | {identifier}
        elif world.renames or (self.pending and world.kind(identifier) != GATE):
            # There is nothing that it could be taken back to
            assert came_from not in world.complete() or came_from in world.dead
            assert world.logged == ["failed"]
            self.bad |= {identifier, before} if event == "rollback" and before != identifier else {identifier}
            self.went_live(identifier)
        assert identifier == world.app.live_id() or identifier not in world.running()
        assert self.live != identifier or before == identifier or not came_from or came_from in world.dead

    def killed(self, identifier: str, before: str, came_from: str) -> None:
        """The old one serves, or the new one; and nothing that the command was not about has changed."""
        world, live = self.world, self.world.app.live_id()
        assert live in {before, identifier, came_from}
        complete, concerned = world.complete(), {identifier, before, came_from}
        disk = self.by_disk()
        assert [one for one in disk if one not in concerned] == [one for one in self.order if one not in concerned and one in complete]
        marked = {release.id for release in look(world.app).releases if release.bad}
        assert marked - concerned == {one for one in self.shunned() if one in complete} - concerned
        if live == identifier != before and before in complete:
            # A kill within a take-back may leave the bad one above the one that had the traffic before and after it
            assert disk[-1] == live
            assert set(disk[disk.index(before) + 1 : -1]) <= marked
        self.order, self.live = disk, live
        self.bad = {one for one in marked if one in world.confirmed or world.app.story(one).get("verdict") == "bad"}

    def undone(self, identifier: str, before: str, came_from: str) -> None:
        """Another server has failed: what had the traffic has it again, and what was given to it is bad."""
        world = self.world
        if came_from and world.renames[-1:] == [came_from]:
            assert world.logged[-1] == "back"
            assert world.once() == {came_from}
            self.went_live(identifier)
            self.went_live(came_from)
            self.bad = self.bad - {came_from} | {identifier}
        elif world.app.live_id() == identifier:
            # It was live before, or there is nothing to go back to
            assert before == identifier or not came_from or came_from in world.dead or came_from not in world.complete()
            self.live, self.order = identifier, self.by_disk()
            self.bad = {release.id for release in look(world.app).releases if release.bad}
            return
        else:
            assert world.renames == []
        assert identifier not in world.running()

    def run(self, kind: str, source: str, kill: int | None, seconds: float, keep: int, elsewhere: str = "") -> None:
        """A deploy of a source or a rollback to a named release, or to the one before."""
        world = self.world
        self.pending, going_on, self.way_back = world.unconfirmed(), world.pending().get("event"), world.pending().get("before", "")
        if kind == "deploy":
            existing = [one for one in world.complete() if one.endswith(source)]
            outcome = world.attempt(lambda: world.deploy(source, seconds, keep, elsewhere), kill)
            identifier = world.fresh(source) if not existing else self.live if self.live in existing else max(existing)
        elif kind == "restart":
            live = world.app.story(self.live)
            outcome = world.attempt(lambda: world.restart(seconds, keep, elsewhere), kill)
            if going_on == "restart" and live.get("verdict") != "bad":
                identifier = self.live  # what was killed is finished
            elif live.get("verdict") != "good" or live.get("pending"):
                assert outcome == "refused"
                return
            else:
                identifier = world.fresh(source)
                self.content[identifier] = self.made_of(self.live)
        else:
            identifier = source or (self.live if going_on == "rollback" else self.target())
            possible = identifier in world.complete() and (identifier == self.live or (identifier in self.order and identifier not in self.shunned()))
            outcome = world.attempt(lambda: world.rollback(source, keep, elsewhere), kill)
            if not possible:
                assert outcome == "refused"
                return
            # Once the old one has stopped it is done, and a second one is a second one
            done = world.logged and not world.pending()
            self.again = (source, identifier) if outcome == "killed" and not done else ()
        self.end(outcome, identifier, kind, seconds, keep)

    # What may happen

    @rule(source=sources, kill=kills, seconds=watched, keep=keeps)
    def deploy(self, source: str, kill: int | None, seconds: float, keep: int) -> None:
        self.again = ()
        self.run("deploy", source, kill, seconds, keep)

    @rule(source=sources, seconds=watched, keep=keeps, elsewhere=elsewheres)
    def deploy_that_fails_elsewhere(self, source: str, seconds: float, keep: int, elsewhere: str) -> None:
        self.again = ()
        self.run("deploy", source, None, seconds, keep, elsewhere)

    @precondition(lambda self: len(self.order) > 1)
    @rule(keep=keeps, elsewhere=elsewheres)
    def rollback_that_fails_elsewhere(self, keep: int, elsewhere: str) -> None:
        self.again = ()
        self.run("rollback", "", None, 0, keep, elsewhere)

    @precondition(lambda self: self.live)
    @rule(keep=keeps)
    def deploy_what_is_live(self, keep: int) -> None:
        self.deploy(self.live[-1], None, 0, keep)

    @precondition(lambda self: self.live)
    @rule(kill=kills, seconds=watched, keep=keeps)
    def restart(self, kill: int | None, seconds: float, keep: int) -> None:
        self.again = ()
        self.run("restart", self.live[-1], kill, seconds, keep)

    @precondition(lambda self: self.live)
    @rule(seconds=watched, keep=keeps, elsewhere=elsewheres)
    def restart_that_fails_elsewhere(self, seconds: float, keep: int, elsewhere: str) -> None:
        self.again = ()
        self.run("restart", self.live[-1], None, seconds, keep, elsewhere)

    @precondition(lambda self: len(self.order) > 1)
    @rule(kill=kills, keep=keeps)
    def rollback(self, kill: int | None, keep: int) -> None:
        self.run("rollback", "", kill, 0, keep)

    @precondition(lambda self: self.order)
    @rule(data=st.data(), kill=kills, keep=keeps)
    def rollback_to(self, data: st.DataObject, kill: int | None, keep: int) -> None:
        self.run("rollback", data.draw(st.sampled_from(sorted({*self.order, *self.world.complete(), "x-a"}))), kill, 0, keep)

    @precondition(lambda self: self.again)
    @rule(keep=keeps)
    def repeat(self, keep: int) -> None:
        """The rollback that was killed, once more: it must lead to where it was to lead."""
        asked, goal = self.again
        self.run("rollback", asked, None, 0, keep)
        assert self.live == goal or self.world.kind(goal) != WELL

    @precondition(lambda self: self.live)
    @rule(keep=keeps)
    def prune(self, keep: int) -> None:
        assert self.world.attempt(lambda: (prune(self.world.app, keep), None)[1], None) == "done"

    @rule(source=sources, kind=kinds)
    def change(self, source: str, kind: str) -> None:
        """An app behaves otherwise, say because its database does; the live one would die by itself."""
        if not self.live.endswith(source):
            self.world.kinds[source] = kind
            self.again = ()

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        self.world.dies(data.draw(st.sampled_from(sorted(self.world.running()))))

    @precondition(lambda self: self.live)
    @rule()
    def reboot(self) -> None:
        self.world.reboot()
        assert self.world.serves(self.live)
        assert self.world.beside() == {self.live}

    # What must hold

    @invariant()
    def the_site_serves(self) -> None:
        world = self.world
        assert world.app.live_id() == self.live
        if self.live:
            assert self.live in world.complete()
            assert self.live in world.dead or world.serves(self.live)
            assert set(world.systemd.enabled()) >= {world.app.unit(self.live, "service"), world.app.unit(self.live, "socket")}

    @invariant()
    def history_is_as_it_was(self) -> None:
        complete = self.world.complete()
        assert self.by_disk() == [one for one in self.order if one in complete]
        shunned = {release.id for release in look(self.world.app).releases if release.bad}
        assert shunned - {self.live} == {one for one in self.shunned() if one in complete} - {self.live}

    @invariant()
    def there_is_a_way_back(self) -> None:
        if self.target() and self.world.pending().get("event") != "rollback":
            assert rollback_target(look(self.world.app)) == self.target()


Releases.TestCase.settings = settings(
    max_examples=120,
    stateful_step_count=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestReleases = Releases.TestCase
