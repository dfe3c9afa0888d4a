"""The first certificate: the right names, the right chain, the right renewal."""

from __future__ import annotations

import re

from testinfra.host import Host

from support import Request, name_of


def test_certificate_chains_up_to_the_acme_servers_root(host: Host, https: Request) -> None:
    name = f"one.{name_of(host)}.test"
    answer = https(name)
    assert [value for _kind, value in answer.certificate["subjectAltName"]] == [name]


def test_renewal_is_a_third_of_the_lifetime_before_the_end(host: Host) -> None:
    settings = host.file("/etc/letsencrypt/renewal/site.conf").content_string
    found = re.search(r"^renew_before_expiry = (\d+) hours$", settings, re.MULTILINE)
    if host.check_output("certbot --version").startswith("certbot 2."):
        assert found
        assert 29 * 24 <= int(found[1]) <= 31 * 24  # Pebble's certificates last 90 days here
    else:  # it does so by itself
        assert not found


def test_one_timer_renews(host: Host) -> None:
    timers = host.check_output("systemctl list-timers --all --plain --no-legend").splitlines()
    assert [line for line in timers if "certbot" in line] != []
    assert host.service("certbot.timer").is_enabled
    assert host.run("test -d /run/systemd/system").rc == 0  # with systemd, the packaged cron job does nothing


def test_hook_validates_before_it_reloads(host: Host) -> None:
    hook = host.file("/etc/letsencrypt/renewal-hooks/deploy/plainstack")
    assert (hook.user, hook.mode) == ("root", 0o755)
    host.check_output("echo 'no_such_directive on;' > /etc/nginx/conf.d/broken.conf")
    try:
        assert host.run("/etc/letsencrypt/renewal-hooks/deploy/plainstack").rc != 0
    finally:
        host.check_output("rm /etc/nginx/conf.d/broken.conf")
    assert host.run("/etc/letsencrypt/renewal-hooks/deploy/plainstack").rc == 0


def test_private_key_is_for_root_only(host: Host) -> None:
    key = host.file("/etc/letsencrypt/live/site/privkey.pem")
    assert host.check_output("stat -L -c '%U %a' /etc/letsencrypt/live/site/privkey.pem") == "root 600", key
