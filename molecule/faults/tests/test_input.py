"""Bad input: one clear error that names the key or the host, the file and the next command, before anything is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support import Site
from testinfra.host import Host

Change = Callable[[Site], Any]


def _set(key: str, value: Any) -> Change:
    return lambda site: site.app.__setitem__(key, value)


def _second_app(site: Site, **changes: Any) -> None:
    site.apps.append({**site.app, "name": "other", "domains": ["other.faults.test"], **changes})


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
    "two apps of one domain": (lambda site: _second_app(site, domains=["hello.faults.test"]), ["'hello.faults.test' is claimed twice"]),
    "too old Python": (_set("python", "3.7"), ["'python' is '3.7', which is too old"]),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_definition(site: Site, releases: Callable[[], tuple[str, str]], name: str) -> None:
    before = releases()
    change, words = DEFINITIONS[name]
    change(site)
    run = site.deploy()
    assert run.code != 0
    for word in [*words, "nothing was touched", f"{site.directory}/group_vars", "run the same command again"]:
        assert word in " ".join(run.output.split()), word
    assert "changed=0" in run.output
    assert releases() == before


def test_no_server(site: Site) -> None:
    site.hosts["app_servers"]["hosts"] = {}
    run = site.deploy()
    assert run.code != 0
    for word in ("no host in the group 'app_servers'", "nothing was touched", "Next: ansible-playbook deploy.yml -i"):
        assert word in " ".join(run.output.split())


def test_unreachable_host(site: Site) -> None:
    site.hosts["lab"]["hosts"]["faults"]["ansible_port"] = 2299
    run = site.deploy()
    assert run.code != 0
    for word in ("faults cannot be reached", f"'faults' in {site.directory}/hosts.yml", "ssh -p 2299 admin@127.0.0.1"):
        assert word in " ".join(run.output.split())


def test_no_sudo(host: Host, site: Site) -> None:
    host.check_output("useradd --create-home nosudo; install -d -m 700 -o nosudo /home/nosudo/.ssh")
    host.check_output("install -m 600 -o nosudo /home/admin/.ssh/authorized_keys /home/nosudo/.ssh/authorized_keys")
    site.hosts["lab"]["hosts"]["faults"]["ansible_user"] = "nosudo"
    run = site.deploy()
    assert run.code != 0
    for word in ("'nosudo' cannot become root with sudo", "ssh -p 2221 nosudo@127.0.0.1 sudo -v", "--ask-become-pass"):
        assert word in " ".join(run.output.split())


def test_unsupported_system(host: Host, site: Site, releases: Callable[[], tuple[str, str]]) -> None:
    before = releases()
    host.check_output("sed 's/^VERSION_ID=.*/VERSION_ID=11/; s/^PRETTY_NAME=.*/PRETTY_NAME=\"Debian 11\"/' /usr/lib/os-release > /var/tmp/other")
    host.check_output("mount --bind /var/tmp/other /usr/lib/os-release")
    try:
        run = site.deploy()
    finally:
        host.check_output("umount /usr/lib/os-release")
    assert run.code != 0
    for word in ("faults cannot be deployed to; nothing was touched", "it runs Debian 11; supported are Debian 12 and Debian 13"):
        assert word in " ".join(run.output.split())
    assert releases() == before


@pytest.mark.parametrize(
    ("variable", "word"),
    [("preflight_memory_mb", "MiB of memory"), ("preflight_disk_mb", "MiB of disk are free"), ("preflight_inodes", "inodes are free")],
)
def test_too_small_host(site: Site, variable: str, word: str) -> None:
    run = site.deploy("-e", f'{{"{variable}": 1000000000}}')
    assert run.code != 0
    assert word in " ".join(run.output.split())
    assert f"1000000000 {'MiB are' if 'mb' in variable else 'are'} needed ({variable})" in " ".join(run.output.split())


def test_full_disk(host: Host, site: Site, releases: Callable[[], tuple[str, str]]) -> None:
    """A really small disk, with the defaults: refused before anything is written."""
    before = releases()
    host.check_output(
        "mkdir -p /var/tmp/small && mount -t tmpfs -o size=100m tmpfs /var/tmp/small && cp -a /srv/. /var/tmp/small/ && mount --bind /var/tmp/small /srv"
    )
    try:
        run = site.deploy()
    finally:
        host.check_output("umount /srv /var/tmp/small")
    assert run.code != 0
    assert "MiB of disk are free for /srv; 500 MiB are needed (preflight_disk_mb)" in " ".join(run.output.split())
    assert releases() == before


def test_taken_port(host: Host, site: Site) -> None:
    host.check_output("systemctl stop nginx && systemd-run --unit=squatter python3 -m http.server 80")
    try:
        run = site.deploy()
    finally:
        host.check_output("systemctl stop squatter; systemctl start nginx")
    assert run.code != 0
    assert "port 80 is taken by python3" in " ".join(run.output.split())
