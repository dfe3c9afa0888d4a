"""What an app does in its `shared` directory is no way to root; and its data is its own, also when it comes from elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support import Site, check_message
from vm import Get, Served, Tidy, Vm

AS_APP = "runuser -u hello -- sh -c"


@pytest.mark.parametrize("debian", [12])
def test_links_of_the_app(vm: Vm, site: Site, get: Get, served: Served, tidy: Tidy) -> None:
    """It has put one to systemd's directory in the place of its data: nobody gets that, nothing is switched, and it is repaired as the error says."""
    shared = "/srv/hello/shared"
    target = "stat --format='%U:%G %a' /run/systemd/system; ls /run/systemd/system"
    before, owner = tidy(), vm.do(target)
    vm.do(f"{AS_APP} 'ln -s /run/systemd/system {shared}/data'")
    with served():
        site.app["shared"] = ["data"]
        check_message(
            site.deploy(), f"{shared}/data is a link, not a directory", f"mv -T {shared}/data {shared}/data.old", f"{before.live} still serves", "Next: "
        )
        assert vm.do(target) == owner
        after = tidy()
        assert replace(after, log=before.log) == before
        assert [line["event"] for line in after.log[len(before.log) :]] == ["begin", "failed"]
        vm.do(f"mv -T {shared}/data {shared}/data.old")
        site.app["shared"] = ["data", "deep/inner/data", "var/notes.sqlite3"]
        assert site.deploy().code == 0
        assert vm.do(f"{AS_APP} 'cd /srv/hello/live; touch data/x deep/inner/data/x; echo x > var/notes.sqlite3; find -L data deep var -type f'").split() == [
            "data/x",
            "deep/inner/data/x",
            "var/notes.sqlite3",
        ]
        assert vm.do(f"stat --format='%U:%G %a' {shared}/data {shared}/deep/inner/data {shared}/var").split("\n") == ["hello:hello 750"] * 3
        site.app["shared"] = ["media", "deep/inner/data", "var/notes.sqlite3"]
        renamed = site.deploy()
        assert renamed.code == 0
        assert f"media in 'shared' is new and has no data, while data is no longer in 'shared' and has some, which stays in {shared}" in renamed.said
        assert f"mv -T {shared}/data {shared}/media" in renamed.said
        vm.do(f"mv -T {shared}/data {shared}/media && test -e /srv/hello/live/media/x")
        # A link that comes later is nothing that the way back follows
        vm.do(f"{AS_APP} 'mv {shared}/media {shared}/away; ln -s /run/systemd/system {shared}/media'")
        assert site.rollback().code == 0
    assert vm.do(target) == owner
    tidy()


def test_data_from_elsewhere(vm: Vm, site: Site, tidy: Tidy) -> None:
    """An app that is added again gets the uid that its data has; where the data is nobody's, the deploy says what to run."""
    vm.do("mkdir -p /srv/second/shared && touch /srv/second/shared/notes.db && chown -hR 942:942 /srv/second/shared; ! id 942")
    site.apps.append({**site.app, "name": "second", "domains": ["second.hello.test"]})
    assert site.deploy().code == 0
    assert vm.do("id -u second; stat --format=%U /srv/second/shared/notes.db").split() == ["942", "second"]
    before = tidy("second")
    vm.do("chown -hR 943:943 /srv/second/shared")
    words = ["/srv/second/shared belongs to uid 943 (no user of this system)", "chown -hR second:second /srv/second/shared"]
    # It runs, and cannot write its data: nobody is told that it serves
    check_message(site.deploy(), *words, f"{before.live} is live, but /healthz answered 503.")
    assert tidy("second") == before
    vm.do("chown -hR second:second /srv/second/shared")
    last = site.deploy()
    assert (last.code, last.changed) == (0, 0)
    # Removed as the docs say: nothing of it runs, no app that comes later owns its data, and it gets them back when it is added again
    second = site.apps.pop()
    assert site.start("plainstack.web.teardown", "-e", "app=second").wait().code == 0
    assert vm.do("systemctl list-units --all --plain --no-legend 'second@*'; ls -d /run/plainstack/second /etc/plainstack/second || :") == ""
    site.apps += [{**site.app, "name": "third", "domains": ["third.hello.test"]}, second]
    check_message(site.deploy(), "/srv/second/shared belongs to uid 0 (root)", "chown -hR second:second /srv/second/shared")
    assert vm.do("id third second > /var/tmp/ids; find /srv/second -user third -o -user second -o -group third -o -group second") == ""
    vm.do("chown -hR second:second /srv/second/shared")
    assert site.deploy().code == 0
    vm.do("runuser -u second -- test -w /srv/second/shared/notes.db")
    tidy("second")
    vm.owner = ""  # it has other apps
