"""What makes a release and what it costs; and an app that somebody has stopped."""

from __future__ import annotations

import json
import re

import pytest

from support import Run, Site
from vm import Get, Tidy, Vm

pytestmark = pytest.mark.parametrize("debian", [12])


def test_changed_environment_is_a_new_release(site: Site, get: Get) -> None:
    before = json.loads(get("/api/whoami").body)
    site.app["env"] = {"GREETING": "changed"}
    assert site.deploy().code == 0
    after = json.loads(get("/api/whoami").body)
    assert (after["greeting"], after["release"] != before["release"]) == ("changed", True)


def changed(run: Run) -> list[str]:
    """The tasks that have changed something, or would."""
    return re.findall(r"^TASK \[([^\n]*)\] \**\n(?:(?!TASK).*\n)*?changed: ", run.output, re.MULTILINE)


def test_the_plan_is_what_the_run_does(vm: Vm, site: Site, tidy: Tidy) -> None:
    before = tidy()
    site.app["env"] = {"GREETING": "planned"}
    site.app["domains"] = ["hello.test", "planned.hello.test"]
    plan = site.deploy("-v", "--check", "--diff")
    assert plan.code == 0
    assert tidy() == before
    run = site.deploy("-v")
    assert run.code == 0
    assert changed(plan) == changed(run)
    headers = re.findall(r"^\+\+\+ after: (/.*)$", plan.output, re.MULTILINE)
    assert "/etc/nginx/sites.conf" in headers
    assert len(headers) == len(set(headers))
    assert re.search(rf"hello +{before.live} +\S+ +- +- +would be live$", plan.output, re.MULTILINE)


def test_each_release_costs_under_1_mb_and_five_stay(vm: Vm, site: Site, tidy: Tidy) -> None:
    """Their packages are hard links to those of the release before."""
    used = "du --summarize --block-size=1 /srv/hello/releases | cut -f1"
    page = site.source / "hello/templates/index.html"
    for number in range(5):
        before = int(vm.do(used))
        page.write_text(f"{page.read_text(encoding='utf-8')}<!-- {number} -->", encoding="utf-8")
        assert site.deploy().code == 0
        assert int(vm.do(used)) - before < 1_000_000
    assert len(tidy().releases) == 5


def test_stopped_instance_is_started_again(vm: Vm, site: Site, get: Get, tidy: Tidy) -> None:
    assert site.deploy().code == 0
    live = vm.live()
    vm.do(f"systemctl stop hello@{live}.service hello@{live}.socket")
    assert get().status == 502
    run = site.deploy()
    assert run.code == 0, run.output[-3000:]
    assert get("/healthz").status == 200
    tidy()
