"""Debian 13 with its own kernel: `make test-kernel`. In the order in which they stand: each goes on where the one before has ended."""

from __future__ import annotations

import http.client
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import kernel
from support import ROOT, Run, Site

SSH, HTTP, HTTPS = 2290, 8090, 8490
NAME = "hello.test"
LONG = 3600.0  # seconds that a run may take; a bare deploy takes ten minutes where the processor is emulated
MEMORY = "300M"


@dataclass
class Vm:
    """The VM, its site, and how to ask it."""

    site: Site
    ca: Path

    def do(self, script: str, check: bool = True) -> str:
        """Run a shell script as root; its output."""
        options = ["IdentitiesOnly=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=30"]
        command = ["ssh", "-i", str(kernel.KEY), *(f"-o{option}" for option in options), "-p", str(SSH), "admin@127.0.0.1", "sudo bash -s"]
        done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def ask(self, path: str = "/healthz") -> int:
        """Status of a request over HTTPS with the certificate verified; 0 without an answer."""
        context = ssl.create_default_context(cafile=self.ca)
        connection = http.client.HTTPSConnection("127.0.0.1", HTTPS, timeout=30, context=context)
        try:
            connection.sock = context.wrap_socket(socket.create_connection(("127.0.0.1", HTTPS), 30), server_hostname=NAME)
            connection.request("GET", path, headers={"Host": NAME})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def live(self) -> str:
        """Id of the live release."""
        return self.do("basename $(readlink /srv/hello/live)")

    def run(self, playbook: str) -> Run:
        """Run a playbook to its end; it must succeed."""
        done = self.site.start(playbook).wait(LONG)
        assert done.code == 0
        return done


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vm]:
    """The bare VM."""
    base = tmp_path_factory.mktemp("kernel")
    (base / "inventory" / "group_vars").mkdir(parents=True)
    shutil.copytree(ROOT / "app_example", base / "source", ignore=shutil.ignore_patterns("__pycache__", ".*_cache", "instance"))
    pair = ["-keyout", str(base / "site.key"), "-out", str(base / "site.pem"), "-days", "30", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *pair], check=True, capture_output=True)
    app = {
        "name": "hello",
        "source": str(base / "source"),
        "module": "wsgi:app",
        "domains": [NAME],
        "health_path": "/healthz",
        "static": {"/static": "hello/static"},
        "certificate": str(base / "site.pem"),
        "certificate_key": str(base / "site.key"),
        "workers": 1,
        "memory_max": MEMORY,
    }
    ssh = f"-o IdentityFile={kernel.KEY} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    host = {"ansible_host": "127.0.0.1", "ansible_port": SSH, "ansible_user": "admin", "ansible_ssh_common_args": ssh}
    site = Site(base / "inventory", [app], {"app_servers": {"hosts": {"kernel": host}}}, variables={}, environment={"ANSIBLE_TIMEOUT": "60"})
    with kernel.boot({SSH: 22, HTTP: 80, HTTPS: 443}, base / "console.log"):
        yield Vm(site, base / "site.pem")
        site.end()


def test_a_bare_vm(vm: Vm) -> None:
    assert vm.do("stat -f -c %T /sys/fs/cgroup") == "cgroup2fs"
    vm.run("deploy.yml")
    assert vm.ask() == 200
    assert vm.ask("/static/style.css") == 200


def test_the_same_again_changes_nothing(vm: Vm) -> None:
    assert vm.run("deploy.yml").changed == 0


@dataclass
class Visitors:
    """Ask one request after the other until it is over."""

    vm: Vm
    over: threading.Event = field(default_factory=threading.Event)
    answers: list[int] = field(default_factory=list)

    def stay(self) -> None:
        while not self.over.is_set():
            self.answers.append(self.vm.ask("/"))


def test_a_change_fails_no_request(vm: Vm) -> None:
    before = vm.live()
    vm.site.edit("hello/templates/base.html", "</body>", "<p>changed</p></body>")
    visitors = Visitors(vm)
    threads = [threading.Thread(target=visitors.stay) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        vm.run("deploy.yml")
    finally:
        visitors.over.set()
        for thread in threads:
            thread.join()
    assert vm.live() != before
    assert len(visitors.answers) > 20
    assert {*visitors.answers} == {200}


def test_memory_that_is_too_much_ends_only_who_takes_it(vm: Vm) -> None:
    unit = f"/sys/fs/cgroup$(systemctl show --property ControlGroup --value hello@{vm.live()}.service)"
    assert vm.do(f"cat {unit}/memory.max") == str(300 * 2**20)
    # As a worker, which the kernel takes before the master
    eat = f'echo $$ > {unit}/cgroup.procs; echo 500 > /proc/self/oom_score_adj; exec python3 -c "bytes(1) + 400 * 2**20 * bytes([1])"'
    assert vm.do(f"bash -c '{eat}'; echo $?", check=False).splitlines()[-1:] == ["137"]
    assert "oom_kill 1" in vm.do(f"cat {unit}/memory.events").splitlines()
    assert vm.ask() == 200
    assert vm.do(f"systemctl show --property NRestarts --value hello@{vm.live()}.service") == "0"


def test_the_sandbox_holds(vm: Vm) -> None:
    """As the app's user in the namespaces of its process: what it can write, and whom it sees."""
    inside = "nsenter --target $(systemctl show --property MainPID --value hello@$(basename $(readlink /srv/hello/live)).service) --mount --pid"
    inside += " setpriv --reuid hello --regid hello --clear-groups --no-new-privs sh -c"
    tried = "for place in / /etc /usr /run /run/plainstack /srv /srv/hello /srv/hello/live/ /var/lib /sys/fs/cgroup /home /root /boot; do"
    assert vm.do(f"{inside} '{tried} touch $place/x 2>/dev/null && echo $place; done; true'") == ""
    assert vm.do(f"{inside} 'touch /srv/hello/shared/x /tmp/x /dev/shm/x && rm /srv/hello/shared/x && echo written'") == "written"
    seen = vm.do(f"{inside} 'for process in /proc/[0-9]*; do stat -c %U $process; done 2>/dev/null | sort -u'")
    assert seen.split() == ["hello"]
    assert vm.do("ls /tmp/x /dev/shm/x", check=False) == "", "they are its own"


def test_a_reboot(vm: Vm) -> None:
    live, booted = vm.live(), vm.do("cat /proc/sys/kernel/random/boot_id")
    vm.do("systemctl reboot", check=False)
    deadline = time.monotonic() + kernel.SECONDS
    while vm.do("cat /proc/sys/kernel/random/boot_id", check=False) in ("", booted) or vm.ask() != 200:
        assert time.monotonic() < deadline, "the site is not up again"
        time.sleep(2)
    assert vm.live() == live
    assert vm.do("systemctl --failed --no-legend --plain") == ""
    assert vm.run("deploy.yml").changed == 0


def test_back(vm: Vm) -> None:
    before = vm.live()
    vm.run("rollback.yml")
    assert vm.live() < before
    assert vm.ask() == 200
