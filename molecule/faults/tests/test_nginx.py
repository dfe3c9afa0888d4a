"""What nginx does for a release: it goes live and goes back with it. And what it does for names, files and rules that are not as they should be."""

from __future__ import annotations

import subprocess

from support import ROOT, Site, check_message
from vm import Get, Mend, Served, Serving, Tidy, Vm, environment

RULES = """
- hosts: app_servers
  gather_facts: false
  become: true
  roles:
    - role: plainstack.web.firewall
      vars: {firewall_web_from: [192.0.2.1]}
"""


def test_a_link_out_of_a_static_directory(vm: Vm, site: Site, tidy: Tidy, mend: Mend) -> None:
    """Noticed on the operator's machine, like a directory that git ignores."""
    before = tidy()
    mend()
    (site.source / "hello/static/code.txt").symlink_to("../../wsgi.py")
    site.app["static"] = {"/static": "hello/static", "/empty": "hello/empty"}
    (site.source / "hello/empty").mkdir()
    words = ["'hello/static/code.txt' is a link to ../../wsgi.py, which leads out of 'hello/static'", "'hello/empty' in 'static' has no file that is deployed"]
    check_message(site.deploy(), "The sources cannot be deployed; nothing was touched", *words, "run the same command again")
    assert tidy() == before


def test_files_and_timeout_go_back_with_a_release(vm: Vm, site: Site, get: Get, served: Served, tidy: Tidy, mend: Mend) -> None:
    mend()
    for name in ("assets/s.css", "assets/.env", "assets/.htpasswd", "assets/.git/config", "assets/deep/.secret/x"):
        (site.source / name).parent.mkdir(parents=True, exist_ok=True)
        (site.source / name).write_text(f"/* {name} */", encoding="utf-8")
    (site.source / "assets/same.css").symlink_to("s.css")
    site.app["static"] = {"/static": "hello/static", "/assets": "assets"}
    site.app["timeout"] = 2
    with served():
        assert site.deploy().code == 0
        assert [get(f"/assets/{name}").body for name in ("s.css", "same.css")] == [b"/* assets/s.css */"] * 2
        hidden = ("/assets/.env", "/assets/%2eenv", "/assets/.htpasswd", "/assets/.git/config", "/assets/deep/.secret/x", "/assets/../assets/.env")
        assert [get(path).status for path in hidden] == [404] * len(hidden)
        assert get("/slow?seconds=3").status == 504
        mend()
        site.app.update(static={"/static": "hello/static"}, timeout=30)
        assert site.deploy().code == 0
        assert get("/assets/s.css").status == 404, "what the release has given up is the app's, also where the one before has a file"
        assert get("/slow?seconds=3").status == 200
        assert site.rollback().code == 0
        assert get("/assets/s.css").status == 200
        assert get("/slow?seconds=3").status == 504
    tidy()


def test_rules_that_are_flushed_from_the_kernel_come_back(vm: Vm, site: Site) -> None:
    """The files are as they were, and so is what systemd says."""
    (site.directory.parent / "rules.yml").write_text(RULES, encoding="utf-8")

    def run() -> str:
        command = [str(ROOT / ".venv/bin/ansible-playbook"), str(site.directory.parent / "rules.yml"), "-i", str(site.directory)]
        done = subprocess.run(command, cwd=ROOT, env=environment(vm.control), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        return done.stdout

    assert site.deploy().code == 0  # writes the inventory
    run()
    assert "changed=0" in run()
    vm.do("nft flush ruleset")
    assert "changed=1" in run()
    vm.do("nft list table inet plainstack | grep -q reject")
    vm.do("nft flush chain inet plainstack input")
    assert "changed=1" in run()
    assert "changed=0" in run()
    vm.do("systemctl disable --now plainstack-firewall; rm /etc/plainstack/firewall.nft")


def test_another_name_on_a_domain_that_is_live(vm: Vm, site: Site, served: Served, serving: Serving, tidy: Tidy, mend: Mend) -> None:
    """Asked back before anything is touched; and where it is meant, no request goes to what is not there yet."""
    mend()
    before = vm.look()
    site.app["name"] = "greeting"
    words = ["hello.test is served by the app 'hello'", "'greeting', which is to have it, has never been live", "/srv/hello/shared does not come along"]
    check_message(site.deploy(), "nothing was touched", *words, "-e replace=hello")
    assert vm.look() == before
    assert vm.run("test -e /srv/greeting").returncode == 1
    with served():
        run = site.deploy("-e", "replace=hello")
        assert run.code == 0, run.output[-3000:]
    assert serving() == vm.look("greeting").live
    with served():
        assert site.deploy().changed == 0
    tidy("greeting")
    vm.owner = ""  # two apps run
