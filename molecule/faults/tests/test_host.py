"""A host that fails: its disk, its memory, its processes, its clock, its files. The site is served, the operator reads why, the next run works."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import Site, check_message
from vm import IN_FLIGHT, Get, Mend, Served, Serving, Tidy, Vm

YEARS = 2 * 365 * 86400  # seconds
WORKERS = "systemctl show --property=MainPID --value hello@$(basename $(readlink /srv/hello/live)).service | xargs ps -o pid= --ppid"


@contextmanager
def small_disk(vm: Vm, left: str) -> Iterator[None]:
    """Put the releases on a small file system of their own (the preflight looks at all of /srv), in which there is so little left.

    :param left: `bytes=N` or `inodes=N`.
    """
    kind, count = left.split("=")
    vm.do(
        f"""
        set -e
        mkdir -p /var/tmp/small
        mount -t tmpfs -o size=200m,nr_inodes=20000 tmpfs /var/tmp/small
        cp -a /srv/hello/releases /var/tmp/small/releases
        cd /var/tmp/small
        if [ {kind} = bytes ]; then
            head -c $(($(stat -f -c '%a * %S' .) - {count})) /dev/zero > full
        else
            mkdir full && for i in $(seq $(($(stat -f -c %d .) - {count} - 1))); do : > full/$i; done
        fi
        mount --bind /var/tmp/small/releases /srv/hello/releases
        """
    )
    try:
        yield
    finally:
        vm.do("umount /srv/hello/releases /var/tmp/small")


@pytest.mark.parametrize(
    "left", ["bytes=20000", "bytes=3000000", "inodes=5", "inodes=100"], ids=["unpack bytes", "install bytes", "unpack inodes", "install inodes"]
)
def test_disk_that_fills_up(left: str, vm: Vm, site: Site, served: Served, tidy: Tidy, mend: Mend) -> None:
    before = tidy()
    mend()
    with served():
        with small_disk(vm, left):
            words = [
                "No space left on device",
                "the release could not be written",
                "Nothing half-built is left",
                "'df -h /srv/hello /var/cache/plainstack/build; df -i /srv/hello",
            ]
            check_message(site.deploy(), *words, "still serves", "Next: ")
            after = tidy()
            assert (after.live, after.releases) == (before.live, before.releases)
        assert site.deploy().code == 0
    assert tidy().live != before.live


def test_releases_that_cannot_be_written(vm: Vm, site: Site, served: Served, tidy: Tidy, mend: Mend) -> None:
    """Made immutable, as by chattr +i, which the small image does not have."""
    flags = 'python3 -c \'import fcntl, os, struct; fcntl.ioctl(os.open("/srv/hello/releases", os.O_RDONLY), 0x40086602, struct.pack("l", {}))\''
    before = tidy()
    mend()
    with served():
        vm.do(flags.format(0x10))
        try:
            words = ["Operation not permitted", "the release could not be written", "lsattr -d /srv/hello/releases", "still serves"]
            check_message(site.deploy(), *words, "run the same command again")
            assert tidy().releases == before.releases
        finally:
            vm.do(flags.format(0))
        assert site.deploy().code == 0
    assert tidy().live != before.live


@pytest.mark.parametrize("debian", [12, 13])
def test_umask_077(vm: Vm, site: Site, get: Get, served: Served, serving: Serving, tidy: Tidy, mend: Mend) -> None:
    vm.do("printf 'Defaults umask=0077, umask_override\\n' > /etc/sudoers.d/umask")
    try:
        old = vm.live()
        mend()
        (site.source / "hello/static/only-this-one.css").write_text("a {}", encoding="utf-8")
        with served():
            assert site.deploy().code == 0
            assert get("/static/style.css").status == 200
            assert site.rollback().code == 0
        assert serving() == old
        assert get("/static/only-this-one.css").body == b"a {}", "a page of the release that was left does not find its files"
        tidy()
    finally:
        vm.do("rm /etc/sudoers.d/umask")
    assert vm.do("find /srv/hello /etc/plainstack /var/log/plainstack -not -type l -perm /022") == ""
    assert site.deploy().code == 0


@pytest.mark.parametrize("who", ["worker", "master"])
def test_killed_process(who: str, vm: Vm, site: Site, get: Get, served: Served, tidy: Tidy) -> None:
    """What a process was working on is lost with it; who comes later waits on the socket, which is systemd's."""
    assert site.deploy().code == 0
    unit = f"hello@{vm.live()}.service"
    before = vm.do(WORKERS).split()
    with served(IN_FLIGHT):
        if who == "worker":
            killed = json.loads(get("/api/whoami").body)["pid"]
        else:
            killed = vm.do(f"systemctl show --property=MainPID --value {unit}")
        vm.do(f"kill -KILL {killed}")
        assert [get("/healthz").status for _ in range(10)] == [200] * 10
        vm.until("there are as many workers as before", f"! kill -0 {killed} && [ $({WORKERS} | wc -w) = {len(before)} ]", 20)
    assert vm.do(f"systemctl show --property=NRestarts --value {unit}") == ("1" if who == "master" else "0")
    with served():
        again = site.deploy()
        assert (again.code, again.changed) == (0, 0)
    tidy()


def test_worker_out_of_memory(vm: Vm, site: Site, get: Get, served: Served, tidy: Tidy, mend: Mend) -> None:
    """A request that wants more than there is costs itself and its neighbours in the same process."""
    mend()
    site.edit("wsgi.py", "create_app()", "create_app()\n\n\n@app.get('/eat')\ndef eat() -> str:\n    return str(len(bytearray(b'x') * 400_000_000))")
    site.app["memory_max"] = "200M"
    assert site.deploy().code == 0
    with served(IN_FLIGHT):
        assert get("/eat").status == 502
        assert [get("/healthz").status for _ in range(10)] == [200] * 10
    unit = f"hello@{vm.live()}.service"
    assert "Perhaps out of memory?" in vm.do(f"journalctl --unit={unit} --output=cat --no-pager")
    assert vm.do(f"systemctl show --property=NRestarts --value {unit}").strip() == "0"
    del site.app["memory_max"]
    with served():
        assert site.deploy().code == 0
    tidy()


def test_does_not_fit_beside_the_live_one(vm: Vm, site: Site, served: Served, tidy: Tidy, mend: Mend) -> None:
    """In the VM's 1 GiB. Nothing of the app is run for a release that cannot be started."""
    site.edit("wsgi.py", "create_app()", "create_app()\nballast = b'x' * 600_000_000")
    site.app["workers"] = 2
    assert site.deploy().code == 0
    before = tidy()
    mend()
    site.app["migrate"] = 'touch "$PLAINSTACK_SHARED/migrated-too-early"'
    with served():
        run = site.deploy()
        words = ["does not fit beside the live one", f"as much as {before.live} holds", "MiB of 1024 are available", f"{before.live} still serves", "Next: "]
        check_message(run, *words)
        [(needed, free)] = set(re.findall(r"It needs about (\d+) MiB, .*? holds; (\d+) MiB of 1024 are available", run.said))
        assert 570 < int(needed) < 750
        assert int(free) < int(needed)
        assert vm.run("test -e /srv/hello/shared/migrated-too-early").returncode == 1
        assert tidy().live == before.live
        # Away from what eats up the memory it goes in any case
        assert site.rollback().code == 0
        assert site.deploy().code == 0
    tidy()


def test_crash_loop(vm: Vm, site: Site, get: Get, tidy: Tidy, mend: Mend) -> None:
    """The live release starts no more while what it depends on is gone, and by itself when that is back."""
    site.edit("wsgi.py", "create_app()", "create_app()\nif __import__('os').path.exists('/srv/hello/shared/crash'): raise OSError('the database has gone')")
    assert site.deploy().code == 0
    unit = f"hello@{vm.live()}.service"

    def crash() -> None:
        vm.do(f"touch /srv/hello/shared/crash; systemctl kill --kill-whom=main --signal=KILL {unit}")
        vm.until("systemd goes on restarting it", f"test $(systemctl show --value --property=NRestarts {unit}) -gt 6", 60)

    crash()
    vm.do("rm /srv/hello/shared/crash")
    vm.until("it is back", f"curl -fsS --max-time 5 --unix-socket /run/plainstack/hello/{vm.live()}.sock http://hello.test/healthz", 30)
    assert get("/healthz").status == 200
    crash()
    check_message(site.deploy(), "did not become healthy", "the database has gone", "It is the live release; systemd goes on restarting it", "Next: ")
    mend()
    assert site.deploy().code == 0
    assert get("/healthz").status == 200
    tidy()


def test_snippet_that_nginx_does_not_take(vm: Vm, site: Site, get: Get, served: Served, tidy: Tidy, mend: Mend) -> None:
    """Noticed when nginx is to be reloaded; until then nothing is wrong for visitors. And nothing bad waits for the next reboot."""
    old, sites = vm.live(), vm.do("cat /etc/nginx/sites.conf")
    vm.do("echo 'nonsense on;' > /etc/nginx/conf.d/mine.conf")
    mend()
    site.app["domains"] = ["hello.test", "more.hello.test"]
    with served() as visitors:
        words = ["The configuration 'nginx' is invalid", 'unknown directive "nonsense" in /etc/nginx/conf.d/mine.conf:1', "what was there before is back"]
        check_message(site.deploy(), *words, "Next: ")
        assert vm.live() == old
        assert vm.do("cat /etc/nginx/sites.conf") == sites
    assert {response.release for response in visitors.responses()} == {old}
    vm.do("rm /etc/nginx/conf.d/mine.conf; nginx -t -q")
    with served():
        assert site.deploy().code == 0
    assert get(name="more.hello.test").status == 200
    assert tidy().live != old


def test_own_certificates_on_a_host_whose_name_does_not_resolve(vm: Vm, site: Site, served: Served, tidy: Tidy, mend: Mend) -> None:
    """What sudo says of that on the terminal of a quick command is no answer of the host; and nobody needs certbot, which the image has."""
    old = vm.live()
    certbot = "/usr/bin/certbot /var/lib/dpkg/info/certbot.list /usr/lib/systemd/system/certbot.timer"
    vm.do(f"mkdir /tmp/certbot && mv {certbot} /tmp/certbot && systemctl daemon-reload")
    vm.do('cp /etc/hosts /tmp/hosts && grep -v "$(hostname)" /tmp/hosts > /etc/hosts')
    try:
        assert "unable to resolve host" in vm.do("su admin -c 'sudo true' 2>&1")
        mend()
        with served():
            assert site.deploy().code == 0
            assert tidy().live != old
            assert site.deploy().changed == 0
        assert vm.run(f"ls {certbot} /etc/letsencrypt/renewal-hooks/deploy/plainstack").stdout == ""
    finally:
        vm.do("cat /tmp/hosts > /etc/hosts")
        vm.do(f"for path in {certbot}; do mv /tmp/certbot/$(basename $path) $path; done; systemctl daemon-reload")


def test_acme_server_down(vm: Vm, site: Site, get: Get, served: Served, tidy: Tidy, mend: Mend) -> None:
    """From an own certificate to one that cannot be had: the release is live all the same, and its name goes on with the own one."""
    old = vm.live()
    mend()
    own = {key: site.app.pop(key) for key in ("certificate", "certificate_key")}
    site.variables = {"certbot_server": "https://127.0.0.1:14000/dir"}
    vm.do("getent hosts hello.test >/dev/null || echo '127.0.0.1 hello.test' >> /etc/hosts")
    vm.do("touch /usr/local/bin/certbot")
    check_message(site.deploy(), "nothing was touched", "/usr/local/bin/certbot is a certbot from pip or another source", "Remove it: 'sudo rm")
    vm.do("rm /usr/local/bin/certbot")
    words = ["certbot got no certificate from https://127.0.0.1:14000/dir. The ACME server cannot be reached.", "certbot says:", "The apps are live"]
    with served():
        check_message(site.deploy(), *words, "Next: ")
    assert tidy().live != old
    assert get("/healthz").status == 200
    site.app.update(own)
    assert site.deploy().code == 0
    with served():
        assert site.deploy().changed == 0


def test_clock_two_years_off(vm: Vm, site: Site, tmp_path: Path, served: Served, serving: Serving, tidy: Tidy, mend: Mend) -> None:
    """Of the controller, since the VM's is the host's: to each the other's is two years off. A rollback does not care."""
    old = vm.live()
    mend()
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock/sitecustomize.py").write_text(f"import time\nreal = time.time\ntime.time = lambda: real() - {YEARS}\n", encoding="utf-8")
    right = dict(site.environment)
    wrong = {**right, "PYTHONPATH": str(tmp_path / "clock")}
    with served():
        site.environment = wrong
        words = ["cannot be deployed to; nothing was touched", f"its clock differs from this machine's by {YEARS // 1000}", "'timedatectl' shows it"]
        check_message(site.deploy(), *words, "run the same command again")
        assert tidy().live == old
        site.environment = right
        assert site.deploy().code == 0
        new = vm.live()
        site.environment = wrong
        assert site.rollback().code == 0
    assert serving() == old
    assert (tidy().releases[new] or {})["verdict"] == "bad"
    site.environment = right
    assert site.deploy().code == 0
