"""Bad input: one clear error that names the key or the host, the file and the next command, before anything is touched."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support import MARKER, Site, check_message
from vm import Tidy, Vm, wait

Change = Callable[[Site], Any]

# Holds the lock as apt-get does while it installs
BUSY = "import fcntl, time; lock = open('/var/lib/dpkg/lock-frontend', 'w'); fcntl.lockf(lock, fcntl.LOCK_EX); time.sleep(600)"


def _set(key: str, value: Any) -> Change:
    return lambda site: site.app.__setitem__(key, value)


def _second_app(site: Site, **changes: Any) -> None:
    site.apps.append({**site.app, "name": "other", "domains": ["other.hello.test"], **changes})


def _empty(site: Site) -> None:
    (site.directory / "empty").mkdir()
    site.app["source"] = str(site.directory / "empty")


# What is wrong with the definition, and words that the error must have
DEFINITIONS: dict[str, tuple[Change, list[str]]] = {
    "no app": (lambda site: site.apps.clear(), ["no app is defined", "'apps' must be a list"]),
    "misspelt key": (lambda site: site.app.update(domain=["a.example.com"]), ["unknown key 'domain'", "did you mean 'domains'?"]),
    "source missing": (_set("source", "/no/such/directory"), ["the source '/no/such/directory' is not a directory"]),
    "source empty": (_empty, ["is empty"]),
    "module without object": (_set("module", "wsgi"), ["'module' is 'wsgi'", "package.module:object"]),
    "no domain": (_set("domains", []), ["'domains' is missing"]),
    "invalid domain": (_set("domains", ["localhost"]), ["'localhost' in 'domains' is not a full, lower-case host name"]),
    "two apps of one name": (lambda site: _second_app(site, name="hello"), ["two apps have the name 'hello'"]),
    "two apps of one domain": (lambda site: _second_app(site, domains=["hello.test"]), ["'hello.test' is claimed twice"]),
    "secret that systemd refuses": (_set("secrets", {"TOKEN": f"{MARKER}\ufffe"}), ["'TOKEN' in 'secrets' has the character U+FFFE", "systemd refuses it"]),
    "too old Python": (_set("python", "3.7"), ["'python' is '3.7', which is too old"]),
}


@contextmanager
def unchanged(tidy: Tidy) -> Iterator[None]:
    """Nothing on the host is another afterwards."""
    before = tidy()
    yield
    assert tidy() == before


@pytest.mark.parametrize("name", DEFINITIONS)
def test_definition(site: Site, tidy: Tidy, name: str) -> None:
    change, words = DEFINITIONS[name]
    change(site)
    with unchanged(tidy):
        run = site.deploy()
    check_message(run, *words, "nothing was touched", f"{site.directory}/group_vars", "run the same command again", "changed=0")


def test_no_server(site: Site) -> None:
    site.hosts["app_servers"]["hosts"] = {}
    check_message(site.deploy(), "no host in the group 'app_servers'", "nothing was touched", "ansible-playbook deploy.yml -i")


@pytest.mark.parametrize("option", ["--tags", "--skip-tags"])
def test_a_part_of_a_run(site: Site, option: str) -> None:
    check_message(site.deploy(option, "nginx"), "there are no tags; nothing was touched", "Next: the same command without --tags and --skip-tags")


def test_unreachable_host(vm: Vm, site: Site) -> None:
    site.hosts["lab"]["hosts"][vm.name]["ansible_port"] = 2299
    check_message(site.deploy(), f"{vm.name} cannot be reached", f"'{vm.name}' in {site.directory}/hosts.yml", "ssh -p 2299 admin@127.0.0.1")


def test_no_sudo(vm: Vm, site: Site) -> None:
    vm.do("useradd --create-home nosudo; install -d -m 700 -o nosudo /home/nosudo/.ssh")
    vm.do("install -m 600 -o nosudo /home/admin/.ssh/authorized_keys /home/nosudo/.ssh/authorized_keys")
    site.hosts["lab"]["hosts"][vm.name]["ansible_user"] = "nosudo"
    words = ["'nosudo' cannot become root with sudo", f"ssh -p {vm.ssh_port} nosudo@127.0.0.1 sudo -n true", "--ask-become-pass"]
    check_message(site.deploy(), *words)


def test_a_system_is_known_by_what_it_has(vm: Vm, site: Site, tidy: Tidy) -> None:
    """Decided by what the host has, not by its name: the same Ubuntu is refused with an old systemd, and then accepted, without ss and Brotli."""
    vm.do("sed 's/^ID=.*/ID=ubuntu/; s/^PRETTY_NAME=.*/PRETTY_NAME=\"Ubuntu 24.04.3 LTS\"/' /usr/lib/os-release > /var/tmp/other")
    vm.do("mount --bind /var/tmp/other /usr/lib/os-release; mount --bind /dev/null /usr/bin/ss; cp /usr/bin/systemctl /var/tmp/real")
    old = '#!/bin/sh\\n[ "$1" = --version ] && echo "systemd 249 (249.11-0ubuntu3)" || exec /var/tmp/real "$@"\\n'
    vm.do(f"printf '{old}' > /var/tmp/old; chmod 755 /var/tmp/old; mount --bind /var/tmp/old /usr/bin/systemctl")
    try:
        with unchanged(tidy):
            refused = site.deploy()
            vm.do("umount /usr/bin/systemctl")
            vm.do("dpkg --purge libnginx-mod-http-brotli-filter; printf 'Package: *brotli*\nPin: release *\nPin-Priority: -1\n' > /etc/apt/preferences.d/none")
            runs = [site.deploy(), site.deploy("--check"), site.deploy()]
            vm.do("! grep -r brotli /etc/nginx/*.conf; systemctl is-active nginx")
    finally:
        vm.run("umount /usr/bin/systemctl")
        vm.do("umount /usr/lib/os-release /usr/bin/ss; rm /etc/apt/preferences.d/none")
    words = ["it runs Ubuntu 24.04.3 LTS with systemd 249; 252 or later is needed", "Debian 12 and 13 are known to be fine"]
    check_message(refused, f"{vm.name} cannot be deployed to; nothing was touched", *words)
    assert [(run.code, run.changed) for run in runs] == [(0, 1), (0, 0), (0, 0)]

    # Its package can be had again, but apt is busy, and a third party's source is broken
    vm.do("echo 'deb http://127.0.0.1:9/apt stable main' > /etc/apt/sources.list.d/third.list; rm -f /var/lib/apt/lists/*Release")
    vm.do(f"systemd-run --quiet --unit=busy python3 -c {shlex.quote(BUSY)}")
    words = ["python3 (process ", "has held the lock of apt for 3 s", "apt_lock_timeout in the inventory", "'ps -fp "]
    check_message(site.deploy("-e", "apt_lock_timeout=3"), *words, "run the same command again")
    run = site.start("deploy.yml")
    wait("it says for whom it waits", lambda: "which holds the lock of apt (apt_lock_timeout)" in run.output(), 120)
    vm.do("systemctl stop busy")
    done = run.wait()
    assert done.code == 0
    assert "A package source cannot be read, and was not needed: http://127.0.0.1:9/apt stable (/etc/apt/sources.list.d/third.list)" in done.said
    vm.do("rm /etc/apt/sources.list.d/third.list; grep -q 'brotli on' /etc/nginx/sites.conf")


@pytest.mark.parametrize(
    ("variable", "word"),
    [("preflight_memory_mb", "MiB of memory"), ("preflight_disk_mb", "MiB of disk are free"), ("preflight_inodes", "inodes are free")],
)
def test_too_small_host(site: Site, variable: str, word: str) -> None:
    run = site.deploy("-e", f'{{"{variable}": 1000000000}}')
    check_message(run, word, f"1000000000 {'MiB are' if 'mb' in variable else 'are'} needed ({variable})")


def test_full_disk(vm: Vm, site: Site, tidy: Tidy) -> None:
    """A really small disk, with the defaults: refused before anything is written."""
    vm.do("mkdir -p /var/tmp/small && mount -t tmpfs -o size=100m tmpfs /var/tmp/small && cp -a /srv/. /var/tmp/small/ && mount --bind /var/tmp/small /srv")
    try:
        with unchanged(tidy):
            run = site.deploy()
    finally:
        vm.do("umount /srv /var/tmp/small")
    check_message(run, "MiB of disk are free for /srv; 500 MiB are needed (preflight_disk_mb)", "nothing was touched")


def test_taken_port(vm: Vm, site: Site) -> None:
    vm.do("systemctl stop nginx.socket nginx.service && systemd-run --quiet --unit=squatter python3 -m http.server 80")
    try:
        run = site.deploy()
    finally:
        vm.do("systemctl stop squatter; systemctl start nginx")
    check_message(run, "port 80 is taken by python3")


@pytest.mark.parametrize(("name", "word"), [("user", "The system has units of the name user@.service"), ("video", "The system has a group video")])
def test_names_of_the_system(site: Site, name: str, word: str) -> None:
    site.app.update(name=name, domains=[f"{name}.hello.test"])  # a live domain under another name is refused before that
    check_message(site.deploy(), word)


def test_the_next_ordinary_run(site: Site, tidy: Tidy) -> None:
    """After all that was refused above."""
    run = site.deploy()
    assert (run.code, run.changed) == (0, 0)
    tidy()
