"""One run at a time for an app: a second one is told who has the lock, or waits; a run that has died has it no longer."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from support import Running, Site, check_message
from vm import Mend, Served, Tidy, Vm, wait

GO = "/srv/hello/shared/go"
LOCK = "/run/plainstack-locks/hello"
MIGRATING = "systemctl is-active plainstack-migrate-hello.service"


@pytest.fixture
def migrating(site: Site, vm: Vm, mend: Mend) -> Running:
    """A deploy whose migration goes on until the file GO is there, and then says so."""
    mend()
    vm.do(f"rm -f {GO} /srv/hello/shared/migrated")
    site.app["migrate"] = f'until test -e {GO}; do sleep 0.1; done; echo "$PLAINSTACK_RELEASE" >> "$PLAINSTACK_SHARED/migrated"'
    run = site.start("deploy.yml")
    vm.until("the migration is going on", MIGRATING)
    return run


def test_second_run_is_told_who_has_the_lock_or_waits(vm: Vm, site: Site, served: Served, tidy: Tidy, migrating: Running) -> None:
    before = vm.live()
    # Whoever may open a file may lock it: nothing that the app or another user can open holds up a run
    vm.do("systemd-run --quiet --unit=squatter --uid=nobody flock /run/plainstack/hello sleep 300")
    assert vm.run(f"runuser --user nobody -- flock {LOCK}.step true").returncode != 0
    holder = json.loads(vm.do(f"cat {LOCK}"))
    with served():
        who = f"the app 'hello' is locked by deploy.yml of {holder['by']} on {holder['origin']}, since {holder['since']}"
        check_message(site.deploy(), who, "last sign of life", "-e lock_wait=600", "Next: ", f"sudo rm {LOCK}", "othing was touched")
        check_message(site.rollback(), who)
        assert vm.live() == before
        patient = site.start("deploy.yml", "-v", "-e", "lock_wait=120")
        wait("the second run waits", lambda: "Inspect each server and lock its apps" in patient.output())
        time.sleep(3)
        assert (patient.process.poll(), json.loads(vm.do(f"cat {LOCK}"))["token"]) == (None, holder["token"])
        vm.do(f"touch {GO}")
        waited = patient.wait()
        assert (migrating.wait().code, waited.code) == (0, 0)
    vm.do("systemctl stop squatter")
    state = tidy()
    assert state.live != before
    assert waited.changed == 0
    assert vm.do("cat /srv/hello/shared/migrated") == state.live, "the migration has run more than once"


def test_lock_of_a_killed_run_is_free_at_once(vm: Vm, site: Site, served: Served, tidy: Tidy, migrating: Running) -> None:
    """The migration of the killed run goes on all the same: the next run waits for its end, and does not run it again."""
    with served():
        migrating.kill()
        began = time.monotonic()
        vm.until("the lock is free", f"! test -e {LOCK}", 10)
        assert time.monotonic() - began < 5
        again = site.start("deploy.yml", "-v")
        wait("the next run waits for the migration", lambda: "Inspect each server and lock its apps" in again.output(), 60)
        time.sleep(2)
        vm.do(f"touch {GO}")
        assert again.wait().code == 0
    assert vm.do("cat /srv/hello/shared/migrated") == tidy().live, "the migration has run more than once"


def _renewer(run: Running) -> int:
    """The process on the controller that renews the run's lock: in a session of its own, as the workers are, but no child of ansible-playbook any more."""
    command = Path(f"/proc/{run.process.pid}/cmdline").read_bytes()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        process = int(path.parent.name)
        with suppress(OSError):  # it has ended meanwhile
            child = f"PPid:\t{run.process.pid}\n" in (path.parent / "status").read_text(encoding="utf-8")
            if path.read_bytes() == command and os.getsid(process) == process != run.process.pid and not child:
                found.append(process)
    [renewer] = found
    return renewer


def test_lock_of_a_vanished_controller_ends_by_itself(vm: Vm, site: Site, served: Served, tidy: Tidy, mend: Mend) -> None:
    """As when the operator's machine loses its power: nobody renews the lock, and nobody releases it."""
    mend()
    vm.do(f"rm -f {GO}")
    site.app["migrate"] = f"until test -e {GO}; do sleep 0.1; done"
    run = site.start("deploy.yml")
    vm.until("the migration is going on", MIGRATING)
    renewer = _renewer(run)
    with served():
        os.kill(renewer, signal.SIGKILL)
        run.kill()
        died = time.monotonic()
        vm.do(f"touch {GO}; echo $(($(cut -d. -f1 /proc/uptime) - 75)) > {LOCK}.beat")  # the lock is good for 25 s more
        assert site.deploy().code == 0, "it waits by itself for a lock that nobody renews"
        assert time.monotonic() - died > 20
    tidy()


def _left(site: Site) -> list[str]:
    """The processes of runs with this inventory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            if f"-i\0{site.directory}\0" in path.read_text(encoding="utf-8"):
                found.append(path.parent.name)
    return found


@pytest.mark.parametrize("moment", ["waits for the lock", "takes the lock"])
def test_a_killed_run_leaves_no_lock_and_no_process(vm: Vm, site: Site, tidy: Tidy, moment: str) -> None:
    """As a cancelled job does: SIGKILL for the whole process group, of which the workers are none."""
    holder = {"token": "0" * 16, "by": "somebody", "origin": "elsewhere", "what": "deploy.yml", "since": "2020-01-01T00:00:00Z"}
    vm.do(f"install -d -m 700 {os.path.dirname(LOCK)}; rm -f {LOCK}.guard; cut -d. -f1 /proc/uptime > {LOCK}.beat; cat > {LOCK}", json.dumps(holder))
    run = site.start("deploy.yml", "-v", "-e", "lock_wait=100")
    wait("the run is at the lock", lambda: "Inspect each server and lock its apps" in run.output(), 60)
    if moment == "waits for the lock":
        vm.until("the run waits for the lock", f"test -e {LOCK}.guard")
    os.killpg(run.process.pid, signal.SIGKILL)
    run.process.wait()
    vm.do(f"rm {LOCK}")
    wait("all of its processes have ended", lambda: not _left(site), 15)
    time.sleep(2)
    tidy()


def test_left_overs_of_an_earlier_run_are_swept(vm: Vm, site: Site, served: Served, tidy: Tidy, mend: Mend) -> None:
    """A half-built release, and a lock whose holder has been silent for longer than a lease."""
    half = "/srv/hello/releases/20200101T000000Z-deadbeef"
    vm.do(f"mkdir -p {half}/.venv /etc/plainstack/hello/{half[-25:]}; touch {half}/wsgi.py")
    holder = {"token": "0" * 16, "by": "somebody", "origin": "elsewhere", "what": "deploy.yml", "since": "2020-01-01T00:00:00Z"}
    vm.do(f"cat > {LOCK}; echo $(($(cut -d. -f1 /proc/uptime) - 41)) > {LOCK}.beat", json.dumps(holder))
    mend()
    with served():
        assert site.deploy().code == 0
    assert half[-25:] not in tidy().releases
