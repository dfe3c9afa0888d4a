#!/usr/bin/python
"""Certificates from an ACME server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate
short_description: Certificates from an ACME server
version_added: "0.1.0"
description:
  - Orders a certificate through certbot (HTTP-01, webroot) where there is none, where its set of names is not the wanted
    one, or where it came from another ACME server. Renewal is the job of certbot's own timer.
  - Before an order, each name is resolved and asked for, so that a wrong DNS record does not count against the rate limit of the ACME server.
  - A failure leaves what is there in use.
  - One run at a time does so on a host; another one waits.
author: Plainstack contributors
options:
  certificates:
    description: The certificates, each with a C(name) and its C(domains).
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the certificate; it lies in C(/etc/letsencrypt/live/<name>).
        type: str
        required: true
      domains:
        description: All names in the certificate.
        type: list
        elements: str
        required: true
  server:
    description: URL of the ACME directory.
    type: str
    required: true
  email:
    description: Address for the ACME account; empty for none.
    type: str
    default: ""
  webroot:
    description: Directory that nginx serves below C(/.well-known/acme-challenge/).
    type: path
    required: true
  ca:
    description: File with the certificate authority of the ACME server itself; empty for the system's store.
    type: path
    default: ""
attributes:
  check_mode:
    description: Says which certificates would be ordered.
    support: full
"""

EXAMPLES = r"""
- name: Obtain the certificates
  plainstack.web.certificate:
    certificates:
      - name: hello
        domains: [hello.example.com, www.hello.example.com]
    server: https://acme.example.com/directory
    webroot: /var/www/acme
"""

RETURN = r"""
obtained:
  description: Names of the certificates that were ordered.
  returned: always
  type: list
  elements: str
adjusted:
  description: Names of the certificates of which the time of renewal was set.
  returned: always
  type: list
  elements: str
installed:
  description: Whether certbot is there.
  returned: always
  type: bool
"""

import contextlib
import shutil
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.acme import Account, AcmeError, held, obtain, renewal_of, right_names, set_renewal
from ansible_collections.plainstack.web.plugins.module_utils.lock import LockError, shared


def main() -> None:
    item = {"name": {"type": "str", "required": True}, "domains": {"type": "list", "elements": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "certificates": {"type": "list", "elements": "dict", "required": True, "options": item},
            "server": {"type": "str", "required": True},
            "email": {"type": "str", "default": ""},
            "webroot": {"type": "path", "required": True},
            "ca": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    alone = contextlib.ExitStack()
    try:
        if not module.check_mode:
            alone.enter_context(shared("certificates"))  # of the host, whichever apps the runs are for; until this module ends
    except LockError as error:
        module.fail_json(msg=f"{error}.")
    account = Account(given["server"], given["email"], given["webroot"], given["ca"])
    obtained, adjusted, failed = [], [], []
    for wanted in given["certificates"]:
        name = wanted["name"]
        present = held(name)
        if present is None or not right_names(present, renewal_of(name), wanted["domains"], account.server):
            obtained.append(name)
            if module.check_mode:
                continue
            try:
                obtain(name, wanted["domains"], account)
            except AcmeError as error:
                serving = "the certificate that is there" if present else "a self-signed placeholder"
                failed.append(f"{name}: {error}\nThe site is live and serves {serving}.")
                continue
            present = held(name)
        if present is not None and set_renewal(name, present.lifetime, dry_run=module.check_mode):
            adjusted.append(name)
    result: dict[str, Any] = {
        "changed": bool(obtained or adjusted),
        "obtained": obtained,
        "adjusted": adjusted,
        "installed": shutil.which("certbot") is not None,
    }
    if failed:
        module.fail_json(msg="\n".join(failed), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
