"""The instance of a release: confined, gated, restarted, drained."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from testinfra.host import Host

CURL = "curl --silent --show-error --fail --unix-socket /srv/hello/live.sock http://localhost"


@pytest.fixture
def identifier(host: Host) -> str:
    return str(host.check_output("basename $(readlink /srv/hello/live)"))


def whoami(host: Host) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(host.check_output(f"{CURL}/api/whoami"))
    return answer


def test_answers_over_the_live_socket(host: Host, identifier: str) -> None:
    answer = whoami(host)
    assert (answer["release"], answer["greeting"]) == (identifier, "hello")


def test_where_memory_is_short_a_worker_ends_and_not_the_app(host: Host, identifier: str) -> None:
    master = host.check_output("systemctl show --property=MainPID --value hello@%s.service", identifier)
    workers = host.check_output("pgrep --parent %s", master).split()
    assert workers
    assert host.check_output("cat /proc/%s/oom_score_adj", master) == "0"
    assert {host.check_output("cat /proc/%s/oom_score_adj", worker) for worker in workers} == {"500"}


def test_exposure_is_at_most_1_5(host: Host, identifier: str) -> None:
    done = host.run("systemd-analyze security --threshold=15 hello@%s.service", identifier)
    assert done.rc == 0, done.stdout[-200:]


def test_confinement_is_real(host: Host, identifier: str) -> None:
    master = host.check_output("systemctl show --property=MainPID --value hello@%s.service", identifier)
    inside = f"nsenter --target {master} --mount"
    assert host.run(f"{inside} test -w /srv/hello/releases/{identifier}").rc != 0
    assert host.check_output(f"{inside} ls -A /home /root") == "/home:\n\n/root:"
    assert host.check_output("cat /proc/%s/status | grep -E '^(NoNewPrivs|Seccomp):'", master).split() == ["NoNewPrivs:", "1", "Seccomp:", "2"]


MEMORY = ["/dev/shm", "/tmp", "/var/tmp"]


def test_an_app_that_was_broken_into_gets_nowhere(host: Host) -> None:
    """What its command could do; see intruder.py. Databases and the system's own sockets stay reachable, with the rights that they ask for."""
    tried = json.loads(host.check_output("cat /srv/hello/shared/tried.json"))
    # Message queues are of an IPC namespace of its own
    assert tried["writable"] == sorted(["/dev/mqueue", *MEMORY, "/srv/hello/shared"])
    assert [path for path in tried["changeable"] if not path.startswith("/srv/hello/shared/")] == []
    assert [path for path in tried["sockets"] if not path.startswith("/run/systemd/")] == []
    assert "/run/systemd/private" not in tried["sockets"]
    # Its own, and its release once more
    assert [sorted(found) for found in tried["apps"]] == [[".release", "hello"], ["hello"]]
    assert all(9000 < tried["fits"][path] <= 10240 for path in MEMORY)
    assert tried["killable"] == []
    assert tried["calls"] == []


def test_the_service_has_the_sandbox_that_its_command_had(host: Host, identifier: str) -> None:
    """By what the kernel says, not by the unit."""
    master = host.check_output("systemctl show --property=MainPID --value hello@%s.service", identifier)
    mounts = {fields[4]: fields for line in host.check_output("cat /proc/%s/mountinfo", master).splitlines() if (fields := line.split())}
    read_only = {
        path: mounts[path][5].split(",")[0] for path in ("/", "/run", "/run/lock", "/run/plainstack", "/srv", "/srv/hello", "/srv/.release", "/etc/plainstack")
    }
    assert set(read_only.values()) == {"ro"}, read_only
    assert all(mounts[path][-3] == "tmpfs" and "nr_inodes=10240" in mounts[path][-1] and ",size=" in mounts[path][-1] for path in MEMORY)
    assert host.check_output("nsenter --target %s --mount ls -A /run/plainstack /run/dbus", master) == "/run/dbus:\n\n/run/plainstack:"
    assert host.check_output("readlink /proc/%s/ns/ipc", master) != host.check_output("readlink /proc/1/ns/ipc")


def test_systemd_has_read_what_is_on_disk(host: Host, identifier: str) -> None:
    """`systemctl status` of any unit would say so, in its own warning (Debian 13) or by what it calls disabled (12)."""
    for unit in (f"hello@{identifier}.service", f"hello@{identifier}.socket", "ssh.service"):
        status = host.run("systemctl status %s 2>&1", unit).stdout
        assert "changed on disk" not in status
        assert "enabled;" in status
    assert host.check_output("systemctl show --property=FragmentPath --value hello@%s.service", identifier) == f"/etc/systemd/system/hello@{identifier}.service"


def test_memory_is_bounded(host: Host, identifier: str) -> None:
    assert host.check_output("systemctl show --property=MemoryMax --value hello@%s.service", identifier) != "infinity"


def test_stop_waits_longer_than_the_longest_request(host: Host, identifier: str) -> None:
    assert host.check_output("systemctl show --property=TimeoutStopUSec --value hello@%s.service", identifier) == "15s"


def test_a_killed_master_costs_waiting_requests_nothing(host: Host, identifier: str) -> None:
    """systemd owns the socket: a request that comes while there is no master waits for the next one."""
    before = host.check_output("systemctl show --property=MainPID --value hello@%s.service", identifier)
    host.check_output("kill -KILL %s", before)
    assert whoami(host)["ppid"] != int(before)


def test_a_stop_lets_a_running_request_end(host: Host, identifier: str) -> None:
    host.check_output(f"rm -f /tmp/slow; systemd-run --quiet --unit=slow sh -c '{CURL}/slow?seconds=3 > /tmp/slow'")
    time.sleep(1)
    host.check_output("systemctl restart hello@%s.service", identifier)
    host.check_output("timeout 10 sh -c 'until test -s /tmp/slow; do sleep 0.1; done'")
    assert json.loads(host.check_output("cat /tmp/slow"))["slept"] == 3


def test_starts_on_boot(host: Host, identifier: str) -> None:
    for kind in ("service", "socket"):
        assert host.check_output("systemctl is-enabled hello@%s.%s", identifier, kind) == "enabled"


def test_logs_go_to_the_journal(host: Host, identifier: str) -> None:
    assert "Listening at: unix:/run/plainstack/hello/" in host.check_output("journalctl --unit=hello@%s.service --no-pager", identifier)


def test_no_control_socket_is_left_anywhere(host: Host) -> None:
    assert host.check_output("find / -xdev -name 'gunicorn.ctl' 2>/dev/null || :") == ""
