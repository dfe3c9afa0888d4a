"""What `doctor` says: the findings of all servers, and of what visitors see from outside. Pure functions."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.controller import status
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

VERSION = 1  # of the JSON; a field that is added leaves it as it is
LEVELS = ERROR, WARNING = "error", "warning"
ISSUER = "letsencrypt.org"


class DoctorError(ValueError):
    """An option of the command is wrong."""


Finding = Mapping[str, str]  # `level`, `where`, `what` and `next`


def finding(level: str, where: str, what: str, then: str = "") -> Finding:
    """Of the server or domain `where`."""
    return {"level": level, "where": where, "what": what, "next": then}


def of_names(domain: str, resolved: Collection[str], own: Collection[str], proxied: bool) -> list[Finding]:
    """Whether a domain leads to the servers.

    :param resolved: its addresses; none where it has none.
    :param own: addresses of the servers.
    :param proxied: whether something else answers before them, a CDN.
    """
    if not resolved:
        return [finding(ERROR, domain, "it has no address in DNS", f"add an A record for {', '.join(own) or 'the server'}, and AAAA where the server has IPv6")]
    elsewhere = sorted({*resolved} - {*own})
    if not elsewhere or proxied:
        return []
    # Behind one address for all a server knows its private one alone
    public = any(ipaddress.ip_address(one.partition("%")[0]).is_global for one in own if _is_address(one))
    kinds = " and ".join(kind for kind, colon in (("A", False), ("AAAA", True)) if any((":" in one) == colon for one in elsewhere))
    return [
        finding(
            ERROR if public else WARNING,
            domain,
            f"its {kinds} record leads to {', '.join(elsewhere)}; the servers have {', '.join(own) or 'no address that is known'}",
            "correct the record; behind a CDN set nginx_trusted_proxies (docs/howto.md)",
        )
    ]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def of_port(domain: str, address: str, port: int, outcome: str, serves: bool) -> list[Finding]:
    """What came of a connection to a port of an address.

    :param outcome: empty where it was made, `refused`, or why it was not.
    :param serves: whether nginx is to run there already.
    """
    if not outcome or (outcome == "refused" and not serves):
        return []
    then = "open the port in the provider's firewall and in ufw or nftables" if outcome != "refused" else "systemctl status nginx on the server"
    return [finding(ERROR, domain, f"port {port} of {address} cannot be reached from here: {outcome}", then)]


def of_certificate(domain: str, why: str, serves: bool) -> list[Finding]:
    """What a browser would say.

    :param why: it is not trusted; empty where it is.
    """
    return [finding(WARNING, domain, f"browsers do not trust its certificate: {why}", f"openssl s_client -connect {domain}:443")] if why and serves else []


def of_caa(domain: str, issuers: Collection[str] | None) -> list[Finding]:
    """Whether Let's Encrypt may issue.

    :param issuers: those that CAA records name; None where there is no such record.
    """
    if issuers is None or ISSUER in issuers:
        return []
    named = ", ".join(sorted(issuers)) or "nobody"
    return [finding(ERROR, domain, f"its CAA records let {named} issue certificates, and not {ISSUER}", f'add the record: CAA 0 issue "{ISSUER}"')]


def of_servers(seen: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """What the servers have found, and what their status is.

    :param seen: by server what the module `doctor` saw; its `error` where it could not be looked at.
    """
    found = []
    for server, one in seen.items():
        if one.get("error"):
            found.append(finding(ERROR, server, str(one["error"]), "ssh to it must log in without a question, and 'sudo -n true' must work there"))
            continue
        found += [finding(each["level"], server, each["what"], each["next"]) for each in one["findings"]]
    bare = [server for server, one in seen.items() if not one.get("set_up") and not any(app["live"] for app in one.get("status", {}).get("apps", []))]
    states = {server: one["status"] for server, one in seen.items() if one.get("status")}
    for level, lines in zip(LEVELS, status.judge(states), strict=True):
        for line in lines:
            where, _, what = line.partition(": ")
            # Where nothing was deployed yet, what is missing is no finding
            if where not in bare:
                found.append(finding(level, where, what))
    return found


def text(findings: Sequence[Finding], notes: Sequence[str]) -> str:
    """The errors first, each with what to do."""
    lines = []
    for level in LEVELS:
        for one in [one for one in findings if one["level"] == level]:
            lines.append(f"{level}  {one['where']}: {one['what']}")
            lines += [f"{' ' * len(level)}  Next: {one['next']}"] if one["next"] else []
    counts = {level: sum(one["level"] == level for one in findings) for level in LEVELS}
    end = ", ".join(f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items() if count) or "Nothing was found"
    return plain("\n".join([*lines, *notes, f"{end}."]))


def as_json(findings: Sequence[Finding], notes: Sequence[str]) -> str:
    """The same in one line of ASCII."""
    return json.dumps({"version": VERSION, "findings": [dict(one) for one in findings], "notes": [*notes]}, sort_keys=True)
