"""The certificates that the sites of a host need: ordered where they are missing, their renewal set, what concerns the operator said."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.host.acme import (
    PACKAGE,
    Account,
    AcmeError,
    Wanted,
    concern,
    foreign_certbot,
    lineages,
    obtain,
    place,
    set_renewal,
)


def wanted_of(items: list[dict[str, Any]]) -> list[Wanted]:
    """As the functions take them."""
    return [Wanted(item["name"], tuple(item["domains"])) for item in items]


def settle(given: Mapping[str, Any], check: bool, warn: Callable[[str], None]) -> tuple[dict[str, Any], list[str]]:
    """What the module `certificate` returns, and a message for each order that failed.

    :param given: its options.
    :param check: only say what would be ordered.
    """
    account = Account(given["server"], given["email"], given["webroot"], given["ca"])
    now = time.time()
    certificates = wanted_of(given["certificates"])
    others = [other for other in wanted_of(given["others"]) if other not in certificates]
    everything = [*certificates, *others]
    held = lineages()
    obtained, adjusted, failed = [], [], []
    # Those first that take nothing from others, which may free a name for the next
    for wanted in sorted(certificates, key=lambda one: place(one, everything, held, account, now).lineage != one.name):
        found = place(wanted, everything, held, account, now)
        if not found.reason:
            continue
        obtained.append(wanted.name)
        if check:
            continue
        try:
            obtain(wanted, found.lineage, account, given["self_check"])
        except AcmeError as error:
            failed.append(f"{wanted.name}: a certificate for {', '.join(wanted.domains)} must be ordered: {found.reason}.\n{error}")
        held = lineages()
    places = {wanted: place(wanted, everything, held, account, now) for wanted in everything}
    for wanted, found in places.items():
        if wanted.name not in obtained and (note := concern(wanted, found, held, now)):
            warn(note)
    used = {found.lineage for found in places.values()}
    # As long as an order is to come, another lineage may stand in for it
    retire = given["retire"] and not any(found.reason for found in places.values())
    for lineage in held.values():
        unused = retire and lineage.name not in used and lineage.renewal.webroot == account.webroot
        if (lineage.name in used or unused) and set_renewal(lineage, enabled=not unused, dry_run=check):
            adjusted.append(lineage.name)
    result: dict[str, Any] = {
        "changed": bool(obtained or adjusted),
        "obtained": obtained,
        "adjusted": adjusted,
        "lineages": sorted(used),
        "installed": os.path.exists(PACKAGE),
        "foreign": foreign_certbot(),
    }
    return result, failed
