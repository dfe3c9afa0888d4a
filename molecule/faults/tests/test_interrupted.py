"""A deploy that is interrupted, in each way and in each of its phases: the site is served, and the same command finishes the job."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http.client import HTTPException

import pytest

from support import Running, Site
from vm import Get, Served, Serving, Tidy, Vm

SLOW = 12  # seconds of a request that is in flight on the old release from before the switch until it is drained


# A step is going on: between two of them a line that is cut is only opened again
STEP = "! flock --nonblock /run/plainstack-locks/hello.step true"


@dataclass(frozen=True)
class Phase:
    """How a phase is made long, given the path of a file that it may wait for; and Bash for the VM.

    `reached` succeeds once the phase is there, `let_go` lets it go on. In them, $OLD is the release that was live and $GO the file.
    """

    lengthen: Callable[[Site, Vm, str], object]
    reached: str
    let_go: str = "touch $GO"


def _wait_at_import(site: Site, _vm: Vm, go: str) -> None:
    site.edit("wsgi.py", "create_app()", f"create_app()\nwhile not __import__('os').path.exists('{go}'):\n    __import__('time').sleep(0.1)")


PHASES = {
    # uv waits for the lock of its cache, as it would for a slow disk or a slow index
    "build": Phase(
        lambda _site, vm, _go: vm.do("systemd-run --quiet --unit=hold flock --exclusive /var/cache/plainstack/build/hello/.lock sleep 300"),
        "pgrep --full 'uv (venv|pip)' && for release in /srv/hello/releases/*; do test -e $release/release.json || exit 0; done; false",
        "systemctl stop hold 2>/dev/null || :",
    ),
    "migrate": Phase(
        lambda site, _vm, go: site.app.update(migrate=f'until test -e {go}; do sleep 0.1; done; echo "$PLAINSTACK_RELEASE" >> "$PLAINSTACK_SHARED/migrated"'),
        "systemctl is-active plainstack-migrate-hello.service",
    ),
    "gate": Phase(_wait_at_import, "systemctl list-units --plain --no-legend --state=activating 'hello@*.service' | grep ."),
    "confirm": Phase(lambda site, _vm, _go: site.app.update(confirm_seconds=5), f'[ "$(basename $(readlink /srv/hello/live))" != $OLD ] && {STEP}'),
    "drain": Phase(
        _wait_at_import,
        f'[ "$(basename $(readlink /srv/hello/live))" != $OLD ] && grep -q confirmed /srv/hello/live/release.json'
        f" && systemctl is-active hello@$OLD.service && {STEP}",
    ),
}


def _ctrl_c(run: Running, _vm: Vm) -> None:
    run.interrupt()


def _kill(run: Running, _vm: Vm) -> None:
    run.kill()


def _cut_ssh(_run: Running, vm: Vm) -> None:
    vm.cut_ssh()


def _power_cut(_run: Running, vm: Vm) -> None:
    vm.pull_the_plug()


INTERRUPTIONS = {"Ctrl-C": _ctrl_c, "SIGKILL": _kill, "SSH cut": _cut_ssh, "power cut": _power_cut}

# On both Debians by turns, so that each phase and each interruption is met on both
CASES = [
    pytest.param(13 - (row + column) % 2, phase, interruption, id=f"{phase}-{interruption}")
    for row, phase in enumerate(PHASES)
    for column, interruption in enumerate(INTERRUPTIONS)
]


@pytest.mark.parametrize(("debian", "phase", "interruption"), CASES)
def test_same_command_finishes_the_job(phase: str, interruption: str, vm: Vm, site: Site, get: Get, served: Served, serving: Serving, tidy: Tidy) -> None:
    old = vm.live()
    mark = f"{phase} {interruption}"
    site.edit("hello/templates/index.html", "<h1", f'<h1 data-change="{mark}"')
    site.app["confirm_seconds"] = 0
    # A name of its own: the release that the last test has deployed must not wait again when the power comes back
    go = f"/srv/hello/shared/go-{mark.replace(' ', '-')}"
    variables = f"OLD={old}; GO={go}; "
    PHASES[phase].lengthen(site, vm, go)
    answers: list[int] = []

    def ask_slowly() -> None:
        with suppress(OSError, HTTPException):  # where there is no answer, there is none in the list
            answers.append(get(f"/slow?seconds={SLOW}").status)

    slow = threading.Thread(target=ask_slowly)

    # Nobody is served while there is no power; all others are, all the time
    visitors = ExitStack()
    visitors.enter_context(served())
    with visitors:
        run = site.start("deploy.yml")
        if phase == "drain":
            vm.until("the new release is being started", PHASES["gate"].reached)
            slow.start()
            vm.do(f"touch {go}")
        vm.until(f"the phase {phase}", variables + PHASES[phase].reached)
        if interruption == "power cut":
            visitors.close()
        INTERRUPTIONS[interruption](run, vm)
        assert run.wait(20).code != 0
        if interruption == "SSH cut" and phase in ("confirm", "drain"):  # nothing can be said any more once it is cut
            assert f"hello: {vm.live()} A server whose connection is lost from here on has this live" in " ".join(run.output().split())
        if interruption == "power cut":
            vm.booted()
            visitors.enter_context(served())
        assert serving() in (old, vm.live())
        vm.do(variables + PHASES[phase].let_go)
        again = site.deploy()

    assert again.code == 0, again.output[-3000:]
    state = tidy()
    assert state.live != old
    assert serving() == state.live
    assert mark in get().body.decode()
    if phase == "migrate":
        assert vm.do("cat /srv/hello/shared/migrated").split().count(state.live) == 1
    if phase == "drain":
        slow.join()
        assert interruption == "power cut" or answers == [200]
    if interruption == "power cut":
        assert site.deploy().changed == 0
