"""What is wrong with a host, or soon will be, looked at without changing anything; each check is a function of its own."""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.host import alerts, backup, metrics, packages, systemd
from ansible_collections.plainstack.web.plugins.module_utils.host.preflight import Host, Needs, problems
from ansible_collections.plainstack.web.plugins.module_utils.host.webserver import output
from ansible_collections.plainstack.web.plugins.module_utils.layout import read
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

ERROR, WARNING = "error", "warning"
REACHED_WITHIN = 6  # seconds
SHOWN = 20  # findings of one kind
NEEDRESTART = "/etc/needrestart/conf.d/plainstack.conf"
# Rules of ufw that let everybody reach a port: by number, by the name of a profile, or one for all ports
OPEN = {
    80: re.compile(r"(?:80|80,443)(?:/tcp)?(?: \(v6\))?\s|(?:Nginx|WWW|Apache)(?: HTTP| Full)?(?: \(v6\))?\s|Anywhere"),
    443: re.compile(r"(?:443|80,443)(?:/tcp)?(?: \(v6\))?\s|(?:Nginx HTTPS|Nginx Full|WWW Secure|WWW Full|Apache Secure|Apache Full)(?: \(v6\))?\s|Anywhere"),
}
# What is set up apart from deploys: its settings, its timer, and what an app misses that it does not know
WATCHERS = {
    "alerts": (alerts.CONFIG, "plainstack-alerts.timer", "nobody is told of trouble with"),
    "backup": (backup.CONFIG, "plainstack-backup.timer", "nothing backs up"),
    "monitoring": (metrics.CONFIG, "plainstack-metrics.timer", "there are no metrics of"),
}
SET_UP = "/var/lib/plainstack/configuration/nginx"  # there once nginx was configured

Finding = dict[str, str]


def finding(level: str, what: str, then: str = "") -> Finding:
    """What is wrong or will be, and what to do; both in one line of text that no terminal acts on."""
    return {"level": level, "what": plain(" ".join(what.split())), "next": plain(then)}


def needs(host: Host, least: Needs) -> Iterator[Finding]:
    """What a deploy would refuse: system, memory, disk, inodes, clock, ports, sites and a certbot of others."""
    for line in problems(host, least):
        yield finding(ERROR, line)


def clock() -> Iterator[Finding]:
    """Whether something keeps it right. A container has the clock of its host."""
    if output("systemd-detect-virt", "--container").strip() not in ("none", ""):
        return
    if "NTP=no" in output("timedatectl", "show", "--property=NTP").split():
        yield finding(WARNING, "nothing keeps the clock right", "sudo apt-get install systemd-timesyncd, or: sudo timedatectl set-ntp true")


def apt() -> Iterator[Finding]:
    """Whether it could install something now. Whether its sources answer only `apt-get update` would tell, which changes files."""
    if holder := packages.holder():
        yield finding(WARNING, f"apt is in use by {holder}", "a deploy waits for it (apt_lock_timeout); where it never ends, look at that process")
    if said := output("dpkg", "--audit").strip():
        yield finding(ERROR, f"an installation was interrupted; dpkg says: {said[:300]}", "sudo dpkg --configure -a")
    elif "E:" in (said := output("apt-get", "check", "-qq", "-o", "Debug::NoLocking=true")):
        yield finding(ERROR, f"packages are broken; apt says: {said[:300]}", "sudo apt-get --fix-broken install")


def failed_units() -> Iterator[Finding]:
    """Those that systemd has given up on, whose ever they are."""
    names = [line.split()[0] for line in output("systemctl", "list-units", "--failed", "--plain", "--no-legend").splitlines() if line.strip()]
    for name in names[:SHOWN]:
        yield finding(WARNING, f"the unit {name} has failed", f"systemctl status {name}; once that is well: sudo systemctl reset-failed {name}")


def ufw(ports: Sequence[int]) -> Iterator[Finding]:
    """Whether it lets visitors in.

    :param ports: that they come to; none on a server without nginx.
    """
    said = output("ufw", "status") if os.path.exists("/usr/sbin/ufw") else ""
    if "Status: active" in said:
        allowed = [line for line in said.splitlines() if " ALLOW" in line]
        for port in [port for port in ports if not any(OPEN[port].match(line) for line in allowed)]:
            yield finding(ERROR, f"ufw is on and lets nobody reach port {port}", f"sudo ufw allow {port}/tcp")


def needrestart() -> Iterator[Finding]:
    """Whether it would restart apps and nginx by itself. A deploy sees to it."""
    if os.path.exists("/usr/sbin/needrestart") and not os.path.exists(NEEDRESTART):
        yield finding(WARNING, "needrestart may restart nginx and apps after any use of apt", "deploy once, which excepts them")


def reached(urls: Mapping[str, str], environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the host reaches what it needs; any answer counts.

    :param urls: of each URL, without credentials, what it is for.
    :param environment: with the proxy, as builds have it.
    """
    proxies = {scheme: value for scheme in ("http", "https") for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY") if (value := environment.get(name))}

    def ask(url: str) -> str:
        try:
            opener = urllib.request.build_opener(*([urllib.request.ProxyHandler(proxies)] if proxies else []))
            with opener.open(urllib.request.Request(url, method="HEAD"), timeout=REACHED_WITHIN):
                return ""
        except urllib.error.HTTPError:
            return ""
        except OSError as error:
            return str(getattr(error, "reason", error)) or type(error).__name__
        except (ValueError, http.client.HTTPException):
            return "it is no URL"

    with ThreadPoolExecutor(4) as pool:
        for url, why in zip(urls, pool.map(ask, urls), strict=True):
            if why and "CERTIFICATE_VERIFY_FAILED" not in why:  # it answered; what pip and certbot trust is set elsewhere
                yield finding(ERROR, f"{url} cannot be reached, which {urls[url]}: {why}", f"curl -I {url} on the server")


def backups() -> Iterator[Finding]:
    """Those that have failed, or are not made any more."""
    for name, why in backup.overdue(time.time()).items():
        yield finding(ERROR, f"{name}: {why}", "journalctl --unit=plainstack-backup on the server says more")


def watched() -> Iterator[Finding]:
    """Whether what was set up to watch knows all apps, still looks, and reaches those whom it is to tell."""
    for kind, (path, timer, what) in WATCHERS.items():
        if (text := read(path)) is None:
            continue
        again = f"ansible-playbook plainstack.web.{kind}"
        known = [app if isinstance(app, str) else app["name"] for app in json.loads(text)["apps"]]
        if missing := [app.name for app in layout.apps() if app.live_id() and app.name not in known]:
            yield finding(WARNING, f"{what} {', '.join(missing)}, as plainstack.web.{kind} was not run since it is here", again)
        if systemd.systemctl("is-active", timer, check=False) not in ("active", "activating"):
            yield finding(ERROR, f"{timer} does not run", f"sudo systemctl enable --now {timer}")
    failing = alerts.load().get("failing", {}) if os.path.exists(alerts.CONFIG) else {}
    for number, why in failing.items():
        then = "ansible-playbook plainstack.web.alerts -e test=true"
        yield finding(ERROR, f"alerts do not reach target {int(number) + 1} of 'alerts_targets': {why}", then)


def look(host: Host, least: Needs, ports: Sequence[int], urls: Mapping[str, str], environment: Mapping[str, str]) -> list[Finding]:
    """All of it; see `ufw` and `reached`."""
    own: Sequence[Iterator[Finding]] = (needs(host, least), clock(), apt(), failed_units(), backups(), watched(), needrestart())
    checks = (*own, ufw(ports), reached(urls, environment))
    return [one for check in checks for one in check]


def addresses() -> list[str]:
    """Those by which others may reach the host."""
    return output("hostname", "-I").split()


def summary(found: Sequence[Finding]) -> dict[str, Any]:
    """What the module returns."""
    return {"findings": list(found), "addresses": addresses(), "set_up": os.path.exists(SET_UP)}
