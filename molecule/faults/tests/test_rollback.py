"""Going back: to the release before, twice, never to a bad one; and when there is nothing to go back to, an error that lists what there is."""

from __future__ import annotations

import threading

import pytest

from support import Run, Site, check_message
from vm import Get, Served, Serving, Tidy, Vm

pytestmark = pytest.mark.parametrize("debian", [12])


def release(site: Site, vm: Vm, mark: str) -> str:
    """Deploy a change; the id of the new release."""
    page = site.source / "hello/templates/index.html"
    page.write_text(f"{page.read_text(encoding='utf-8')}<!-- {mark} -->", encoding="utf-8")
    assert site.deploy().code == 0
    return vm.live()


def refused(run: Run, *words: str) -> None:
    """The run has failed without a change, and the error lists what there is."""
    check_message(run, *words, "Nothing was touched", "What has been live on ", "the last first", "Next: ")


def test_nothing_to_go_back_to(vm: Vm, site: Site, served: Served, tidy: Tidy) -> None:
    """The first release of a server."""
    before = vm.look()
    with served():
        refused(site.rollback(), "there is no release to go back to", before.live)
    assert tidy() == before


def test_two_in_a_row_and_never_to_a_bad_one(vm: Vm, site: Site, served: Served, serving: Serving, tidy: Tidy) -> None:
    """With the package index unreachable: nothing is built."""
    first = vm.live()
    second, third = release(site, vm, "second"), release(site, vm, "third")
    route = vm.do("ip route show default")
    vm.do("ip route del default; ! ip route get 192.0.2.1")  # an address of nobody: there is no way out
    try:
        with served():
            once = site.rollback()
            assert (once.code, serving()) == (0, second)
            assert f"hello: {second} is live" in once.said
            assert f"instead of {third}" in once.said
            twice = site.rollback()
            assert (twice.code, serving()) == (0, first)
            assert f"hello: {first} is live" in twice.said
            refused(site.rollback(), "there is no release to go back to: the 2 others that are on the host are marked bad", second, third)
            refused(site.rollback("-e", f"release={third}"), f"{third} is marked bad: rolled back to {second}")
    finally:
        vm.do(f"ip route add {route}")
    state = tidy()
    assert [line["event"] for line in state.log[-4:]] == ["begin", "rollback"] * 2
    # What is deployed is bad by its mark, but the operator asks for it, and may have mended what it depends on
    again = site.deploy()
    assert (again.code, vm.live()) == (0, third)
    assert f"{third}, which is what you deploy, is marked bad and gets another try: rolled back to {second}" in again.said
    tidy()


def test_to_a_release_that_is_gone(site: Site, vm: Vm, tidy: Tidy) -> None:
    before = vm.look()
    refused(site.rollback("-e", "release=20200101T000000Z-deadbeef"), "there is no release 20200101T000000Z-deadbeef on the host: it was removed, or never was")
    assert tidy() == before


def test_prune_goes_by_the_order_of_going_live(site: Site, vm: Vm, tidy: Tidy) -> None:
    """Rolled back and deployed again: the live one and the one before stay, though another one is newer than it."""
    site.app["keep_releases"] = 2
    good, bad = release(site, vm, "good"), release(site, vm, "bad")
    assert site.rollback().code == 0
    new = release(site, vm, "new")
    state = tidy()
    assert set(state.releases) == {good, new}
    refused(site.rollback("-e", f"release={bad}"), f"there is no release {bad} on the host")
    assert site.rollback().code == 0
    assert vm.live() == good
    tidy()


def test_repeated_after_it_was_interrupted_goes_back_once(site: Site, vm: Vm, get: Get, served: Served, tidy: Tidy) -> None:
    """It seems to hang, because a request takes long; the operator presses Ctrl-C and runs the same command again."""
    good, bad = release(site, vm, "again good"), release(site, vm, "again bad")
    slow = threading.Thread(target=get, args=("/slow?seconds=25",))
    with served():
        slow.start()
        run = site.start("rollback.yml")
        vm.until("the old one is being drained", f"grep -q {good} <(readlink /srv/hello/live) && grep -q confirmed /srv/hello/live/release.json")
        run.interrupt()
        assert run.wait(20).code != 0
        assert site.rollback().code == 0
        slow.join()
    assert tidy().live == good, f"it went back twice; {bad} was live"
