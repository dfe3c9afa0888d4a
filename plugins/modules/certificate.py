#!/usr/bin/python
"""Certificates from an ACME server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate
short_description: Certificates from an ACME server
version_added: "0.1.0"
description:
  - Orders a certificate through certbot (HTTP-01, webroot) where none on the host is for just the wanted names, where it came from another ACME server,
    has expired, or certbot's timer has missed it. Renewal is the job of that timer.
  - A certificate belongs to its names, whichever name it was ordered under. One that others need is not ordered anew with other names.
  - Before an order, each name is resolved and requested, so that a wrong DNS record does not count against the rate limit of the ACME server.
  - A failure leaves what is there in use, and the other certificates are ordered all the same.
  - One run at a time does so on a host; another one waits.
author: Plainstack contributors (!UNKNOWN)
options:
  certificates:
    description: The certificates to obtain.
    type: list
    elements: dict
    required: true
    suboptions: &certificate
      name:
        description: Name of the app that it is for; C(/etc/letsencrypt/live/<name>) if that is free.
        type: str
        required: true
      domains:
        description: All names in the certificate.
        type: list
        elements: str
        required: true
  others:
    description: Certificates that are needed too, but not ordered now.
    type: list
    elements: dict
    default: []
    suboptions: *certificate
  retire:
    description: Whether certbot stops renewing what it obtained through O(webroot) for names that are in neither list.
    type: bool
    default: false
  self_check:
    description: Whether each name is resolved and requested before an order.
    type: bool
    default: true
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
  description: Lineages of certbot of which the renewal was set or ended.
  returned: always
  type: list
  elements: str
lineages:
  description: Lineages of certbot that have the certificates of both lists, or will have them.
  returned: always
  type: list
  elements: str
installed:
  description: Whether Debian's certbot is installed.
  returned: always
  type: bool
foreign:
  description: What to do about a certbot that is not Debian's package; empty where there is none.
  returned: always
  type: str
"""

import contextlib

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import LockError, shared
from ansible_collections.plainstack.web.plugins.module_utils.host.renewal import settle


def main() -> None:
    item = {"name": {"type": "str", "required": True}, "domains": {"type": "list", "elements": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "certificates": {"type": "list", "elements": "dict", "required": True, "options": item},
            "others": {"type": "list", "elements": "dict", "default": [], "options": item},
            "retire": {"type": "bool", "default": False},
            "self_check": {"type": "bool", "default": True},
            "server": {"type": "str", "required": True},
            "email": {"type": "str", "default": ""},
            "webroot": {"type": "path", "required": True},
            "ca": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    alone = contextlib.ExitStack()
    try:
        if not module.check_mode:
            alone.enter_context(shared("certificates"))  # of the host, whichever apps the runs are for; until this module ends
    except LockError as error:
        module.fail_json(msg=f"{error}.")
    result, failed = settle(module.params, module.check_mode, module.warn)
    if failed:
        module.fail_json(msg="\n".join([*failed, "The apps are live, and each name is served with the best certificate on the host."]), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
