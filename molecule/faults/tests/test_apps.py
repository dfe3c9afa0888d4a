"""Two apps on a server: a run for one does not touch the other. And the commands of an app, each run when it is to be run."""

from __future__ import annotations

import shutil
from typing import Any

from support import Site, check_message
from vm import Get, Mend, Served, Tidy, Vm

SECOND = "second.hello.test"


def second_app(site: Site, **changes: Any) -> dict[str, Any]:
    """Another app in the inventory, with the same source."""
    site.apps.append({**site.app, "name": "second", "domains": [SECOND], **changes})
    return site.apps[-1]


def test_one_app_of_two(vm: Vm, site: Site, get: Get, served: Served, tidy: Tidy, mend: Mend) -> None:
    mend()
    second = second_app(site)
    second["source"] = str(shutil.copytree(site.source, site.directory.parent / "second"))
    # The hook of one app fails, and all that comes after it is done, for the other app too
    site.app["after_live"], second["after_live"] = "exit 3", 'touch "$PLAINSTACK_SHARED/after"'
    run = site.deploy("-v")
    check_message(run, "what was not:", f"{vm.name}: after_live of hello: hello: the hook 'after_live' failed with exit code 3", "Next: ")
    assert "Look at the certificates" in run.said.split("exit code 3", 1)[1]
    vm.do("ls /srv/second/shared/after")
    site.app["after_live"] = second["after_live"] = ""
    site.edit("hello/templates/index.html", "<h1", '<h1 data-one="yes"')
    second["env"] = {"GREETING": "changed"}
    second["body_size"] = "21m"
    before = {app: vm.look(app) for app in ("hello", "second")}
    with served():
        check_message(site.deploy("-e", "app=helo"), "there is no app 'helo'; did you mean 'hello'?", "Nothing was touched")
        assert site.deploy("-e", "app=hello").code == 0
    assert tidy("hello").live != before["hello"].live
    assert tidy("second") == before["second"]
    assert site.deploy().code == 0
    assert tidy("second").live != before["second"].live
    check_message(site.rollback(), "Which app? There are hello, second; nothing was touched", "Next: the same command with -e app=hello")
    now = vm.look("second")
    assert site.rollback("-e", "app=hello").code == 0
    assert tidy("hello").live == before["hello"].live
    assert tidy("second") == now


def test_hooks(vm: Vm, site: Site, served: Served, tidy: Tidy, mend: Mend) -> None:
    """A release is migrated once, also when its deploy has to be repeated; after it has gone live, each time, the other hook runs."""
    said = "/srv/hello/shared/said"
    mend()
    site.app["migrate"] = f'echo "migrate $PLAINSTACK_RELEASE" >> {said}'
    site.app["after_live"] = f'echo "live $PLAINSTACK_RELEASE" >> {said}; test ! -e /srv/hello/shared/fail'
    before = vm.live()
    vm.do("touch /srv/hello/shared/fail; chmod 666 /srv/hello/shared/fail")
    with served():
        run = site.deploy()
        check_message(run, "the hook 'after_live' failed with exit code 1", "is live and stays so", "the hook is then run again", "Next: ")
        new = tidy().live
        assert vm.do(f"cat {said}").splitlines() == [f"migrate {new}", f"live {new}"]
        vm.do("rm /srv/hello/shared/fail")
        assert site.deploy().code == 0
        assert site.deploy().changed == 0
        assert vm.do(f"cat {said}").splitlines() == [f"migrate {new}", f"live {new}", f"live {new}"]
        assert site.rollback().code == 0
    assert tidy().live == before
    assert vm.do(f"tail -n +4 {said}") == f"live {before}", "going back does not migrate"
