"""What the roles get from the definition of an app, where it is more than the value of one key. Pure functions."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.layout import App
from ansible_collections.plainstack.web.plugins.module_utils.timeouts import BALANCER, directives


class WiringError(ValueError):
    """The servers of a fleet cannot be wired together; the message says why."""


# What a new release is made for besides code and environment; the rest is nginx's and takes effect with a reload
OF_THE_RELEASE = (
    "module",
    "server",
    "command",
    "gunicorn",
    "gunicorn_config",
    "path",
    "strip_path",
    "python",
    "requirements",
    "extras",
    "groups",
    "member",
    "bundle",
    "server_build",
    "static",
    "shared",
    "health_path",
    "start_timeout",
    "workers",
    "threads",
    "timeout",
    "max_requests",
    "memory_max",
    "cpu_max",
    "tasks_max",
    "open_files",
    "tmp_max",
    "executable_memory",
    "preload",
    "processes",
    "timers",
)


def release_config(app: Mapping[str, Any], version: str) -> dict[str, Any]:
    """The settings whose change needs a new release; the version of Plainstack too, whose units may differ.

    :param app: an app as `normalise` returns it.
    :param version: version of the collection.
    """
    return {**{key: app[key] for key in OF_THE_RELEASE}, "plainstack": version}


# What nginx does with a site where visitors come in
OF_THE_EDGE = ("headers", "redirects", "allow", "basic_auth", "nginx")


def _certificate(app: Mapping[str, Any], follows: bool) -> dict[str, Any]:
    """Where the certificate that is meant for an app is: its own, one that this host obtains, or one that it fetches from the host that does.

    nginx takes another one of the host as long as this one is not there or is for other names.
    """
    name = app["name"]
    if app["certificate"]:
        return {"certificate": f"/etc/nginx/certificates/{name}.pem", "certificate_key": f"/etc/nginx/certificates/{name}.key"}
    directory = f"/var/lib/plainstack/certificates/{name}" if follows else f"/etc/letsencrypt/live/{name}"
    return {"certificate": f"{directory}/fullchain.pem", "certificate_key": f"{directory}/privkey.pem"}


def _backend(app: Mapping[str, Any], servers: Sequence[str] | None) -> dict[str, Any]:
    """Where nginx finds an app: on this host, or on other servers."""
    name = app["name"]
    waits = app["timeout"] + (BALANCER if servers is not None else 0)
    found: dict[str, Any] = {key: app[key] for key in ("name", "path", "timeout", "websocket_timeout", "body_size")}
    found["rate_limit"] = app["rate_limit"] or 0
    found["timeouts"] = {"dest": App(name).timeouts, "content": directives(waits)}
    if servers is not None:
        return {**found, "servers": list(servers), "balance": app["balance"]}
    # A page of the release before still gets its files: their names have a digest, or the live release's count. And one of the
    # release to come, which another server of the fleet may have live a moment earlier
    roots = [f"/srv/{name}/live/.static", *(f"/srv/{name}/before/{place}/.static" for place in range(app["keep_releases"] + 1))]
    return {**found, "socket": f"/srv/{name}/live.sock", "static_roots": roots}


def _sites(apps: Sequence[Mapping[str, Any]], follows: bool, servers: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """A site for each app that has the whole of its domains; those below a path of them come with it.

    :param servers: by the app's name where it is, if that is not on this host.
    """
    found = []
    for app in apps:
        if app["path"] == "/":
            below = [other for other in apps if other["path"] != "/" and set(other["domains"]) == set(app["domains"])]
            names = {"domains": [*app["domains"], *app["aliases"]], "aliases": dict.fromkeys(app["aliases"], app["domains"][0])}
            of_the_site = {key: app[key] for key in (*OF_THE_EDGE, "error_pages", "health_path")}
            site = {**_backend(app, servers.get(app["name"])), **names, **of_the_site, **_certificate(app, follows)}
            found.append({**site, "below": [_backend(other, servers.get(other["name"])) for other in below]})
    return found


def sites(apps: Sequence[Mapping[str, Any]], follows: bool = False) -> list[dict[str, Any]]:
    """The sites of an app server, as the role nginx takes them.

    :param follows: whether another host obtains the certificates.
    """
    return _sites(apps, follows, {})


def balanced_sites(apps: Sequence[Mapping[str, Any]], servers: Mapping[str, Sequence[str]], follows: bool = False) -> list[dict[str, Any]]:
    """The sites of a load balancer, as the role nginx takes them.

    :param servers: by the app's name the addresses of its servers that take traffic.
    """
    return _sites(apps, follows, servers)


def places(sites: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Which app has which place, `<domain>` or `<domain>/<path>`, of the sites that the role nginx takes."""
    found = {}
    for site in sites:
        for app in (site, *site.get("below", [])):
            for domain in site["domains"]:
                found[f"{domain}{app.get('path', '/')}".rstrip("/")] = str(app["name"])
    return found


def certificates(apps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The certificates that the role certbot is to obtain: of every app that has none of its own."""
    return [{"name": app["name"], "domains": [*app["domains"], *app["aliases"]]} for app in apps if not app["certificate"] and app["path"] == "/"]


def addresses(hosts: Iterable[str], variables: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The addresses by which the servers of a fleet reach each other: `private_address`, or else what Ansible connects to.

    :raises WiringError: when one is no IP address: firewall and nginx would resolve a name at another time than the others.
    """
    found = []
    for host in hosts:
        address = str(variables[host].get("private_address") or variables[host].get("ansible_host") or host)
        try:
            found.append(str(ipaddress.ip_address(address)))
        except ValueError:
            raise WiringError(
                f"{host} has no IP address by which the other servers of the fleet reach it, only '{address}'. Nothing was touched.\n"
                f"Where it is set: 'private_address' of the host '{host}' in the inventory."
            ) from None
    return found


def issuers(edges: Sequence[str], variables: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Who obtains the certificates of each host: the first of those that have the same sites; itself where there is none to obtain.

    For all hosts at once: what one of them costs, thousands would cost a million times.

    :param edges: the hosts that clients connect to, in the order of the inventory.
    :param variables: of each host, with the `apps` of its inventory.
    :returns: for each host the `issuer`, and its `address`, empty where it is the host itself.
    :raises WiringError: when such an address is no IP address.
    """

    def names(host: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
        apps = [{"certificate": None, "path": "/", "aliases": [], **app} for app in variables[host].get("apps", [])]
        return tuple((item["name"], tuple(sorted(item["domains"]))) for item in certificates(apps))

    first: dict[tuple[tuple[str, tuple[str, ...]], ...], str] = {}
    reached: dict[str, str] = {}
    found = {}
    for host in edges:
        wanted = names(host)
        issuer = first.setdefault(wanted, host) if wanted else host
        if issuer != host and issuer not in reached:
            reached[issuer] = addresses([issuer], variables)[0]
        found[host] = {"issuer": issuer, "address": reached[issuer] if issuer != host else ""}
    return found


def of_host(host: str, apps: Sequence[Mapping[str, Any]], names: Sequence[str], plan: Mapping[str, Any]) -> dict[str, Any]:
    """What the roles take for a host, none of it secret.

    :param apps: all apps of the host, as `normalise` returns them.
    :param names: those that the run works on.
    :param plan: `servers`, `workers` (those of them that have no nginx), `balancers`, `web` (by app the servers whose nginx has it), `addresses`
        by host, and `issuers` as `issuers` returns it.
    """
    serves = host not in plan["workers"]
    balancers = plan["balancers"] if serves else []
    edge = serves and host in (balancers or plan["servers"])
    web = [app for app in apps if host not in plan["servers"] or host in plan["web"][app["name"]]]
    issuer = plan["issuers"].get(host, {"issuer": host, "address": ""})
    own = [app for app in web if app["certificate"] and edge]
    return {
        "names": list(names),
        "app_packages": sorted({package for app in apps for package in app["packages"]}),
        "build_packages": sorted({package for app in apps for package in app["build_packages"] if app["name"] in names and plan["event"] != "rollback"}),
        "python_versions": sorted({app["python"] for app in apps} - {"system"}),
        "serves": serves,
        "sites": sites(web, issuer["issuer"] != host),
        "certificates": certificates([app for app in web if app["name"] in names]) if edge else [],
        "others": certificates(web) if edge else [],
        "own_certificates": [{key: app[key] for key in ("name", "certificate", "certificate_key")} for app in own],
        "issuer": issuer["issuer"],
        "issuer_address": issuer["address"],
        "sharers": [other for other, its in plan["issuers"].items() if its["issuer"] == issuer["issuer"]],
        "balancers": [plan["addresses"][balancer] for balancer in balancers],
        "address": plan["addresses"].get(host, ""),
    }
