#!/usr/bin/python
"""An immutable release of an app on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: An immutable release of an app on a host
version_added: "0.1.0"
description:
  - Unpacks an archive to C(/srv/<app>/releases/<id>), builds its environment there with uv, writes its environment file
    and, last, C(release.json).
  - Where a complete release already is what is asked for (same code, settings and environment), nothing is built.
  - Use it through the role P(plainstack.web.release#role); the action plugin of the same name brings the archive to the host only when it is needed.
author: Plainstack contributors
options:
  app:
    description: Name of the app, and of its system user, which the action plugin makes.
    type: str
    required: true
  archive:
    description: Path of the archive; on the controller when used as a task.
    type: path
    required: true
  id:
    description: Id for a new release, C(YYYYMMDDTHHMMSSZ-<digest>).
    type: str
    required: true
  digest:
    description: SHA-256 of the archive's content.
    type: str
    required: true
  requirements:
    description: Lock or requirements file, relative to the source.
    type: str
    required: true
  python:
    description: C(system) or a version that uv manages.
    type: str
    default: system
  config:
    description: Every setting besides the code and the environment whose change needs a new release.
    type: dict
    default: {}
  environment:
    description:
      - Environment variables of the app.
      - The action plugin hands them to the module as one encoded text, because a value such as C(1), hidden wherever it
        stands in the output, would take half of the output with it.
    type: raw
    default: {}
  shared:
    description: Directories and files in the release that are links into C(/srv/<app>/shared).
    type: list
    elements: str
    default: []
  static:
    description: Directories in the release that nginx serves, by their URL prefix; C(.static/<prefix>/) in the release has their files.
    type: dict
    default: {}
  story:
    description: What C(release.json) says besides, such as the revision and who deployed.
    type: dict
    default: {}
  build:
    description: C(source) lets packages be built that have no wheel for the host; with C(wheels) they are an error.
    type: str
    choices: [source, wheels]
    default: source
  uv:
    description: Path of uv on the host.
    type: path
    default: /opt/plainstack/uv/bin/uv
  build_environment:
    description: Environment variables for uv, such as C(UV_DEFAULT_INDEX) or C(HTTPS_PROXY); handed on like O(environment).
    type: raw
    default: {}
  run:
    description: Token of the run that holds the app's lock; empty without one.
    type: str
    default: ""
  content:
    description: The archive itself, encoded, where it is small; set by the action plugin, not for users.
    type: str
    default: ""
  fetched:
    description: Set by the action plugin once the archive is on the host; not for users.
    type: bool
    default: false
attributes:
  check_mode:
    description: Says whether a release would be built, and builds none.
    support: full
  diff_mode:
    description: Shows the id of the release before and after.
    support: full
"""

EXAMPLES = r"""
- name: Build the release
  plainstack.web.release:
    app: hello
    archive: "{{ archive.path }}"
    id: "{{ archive.id }}"
    digest: "{{ archive.digest }}"
    requirements: requirements.txt
"""

RETURN = r"""
id:
  description: Id of the release that is what was asked for, new or not.
  returned: success
  type: str
built:
  description: Whether this run built it.
  returned: success
  type: bool
live:
  description: Whether it has the traffic already and was confirmed.
  returned: success
  type: bool
"""

import base64
import grp
import json
import os
import pwd
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils import interpreter, memory, sandbox
from ansible_collections.plainstack.web.plugins.module_utils.build import BuildError, Plan, build, find, sweep, unwritable
from ansible_collections.plainstack.web.plugins.module_utils.environment import decode
from ansible_collections.plainstack.web.plugins.module_utils.layout import ID, App, make_directory
from ansible_collections.plainstack.web.plugins.module_utils.lock import LockError, step
from ansible_collections.plainstack.web.plugins.module_utils.shared import check_owners, new_uid
from ansible_collections.plainstack.web.plugins.module_utils.systemd import InstanceError, running, serving
from ansible_collections.plainstack.web.plugins.module_utils.text import plain


def owner(module: AnsibleModule, app: App) -> pwd.struct_passwd | None:
    """The app's user, if there is one yet; refuses to take over a name that the system uses for something else."""
    if os.path.exists(f"/usr/lib/systemd/system/{app.name}@.service"):
        module.fail_json(msg=f"The system has units of the name {app.name}@.service already; give the app another 'name'.")
    try:
        user = pwd.getpwnam(app.name)
    except KeyError:
        if app.name in {group.gr_name for group in grp.getgrall()}:
            module.fail_json(msg=f"The system has a group {app.name}, whose rights the app would get; give the app another 'name'.")
        return None
    if user.pw_dir != app.root:
        module.fail_json(msg=f"The user {app.name} belongs to something else (its home is {user.pw_dir}); give the app another 'name'.")
    return user


def taken(app: App) -> str:
    """Why /srv/<app> cannot be the app's; empty when it can."""
    if not os.path.isdir(app.root):
        return ""
    found = set(os.listdir(app.root))
    if os.stat(app.root).st_uid == 0 and (not found or found & {"releases", "shared"}):
        return ""
    return (
        f"{app.root} is there and belongs to another user than root, or to something else than an app ('ls -la {app.root}' on the host shows it).\n"
        f"Next: give the app another 'name'; or, if it is this app's, 'chown root:root {app.root}', and run the same command again."
    )


def stage(plan: Plan, archive: str, user: pwd.struct_passwd) -> list[str]:
    """Make the app's directories, remove what is half-built, build; warnings for the operator."""
    try:
        make_directory(plan.app.root, 0o751)
        make_directory(plan.app.releases, 0o751)
        make_directory(plan.app.shared, 0o750, user.pw_uid, user.pw_gid)
    except OSError as error:
        raise BuildError(unwritable(plan.app, error)) from error
    sandbox.stop(plan.app)  # of a run that was killed
    sweep(plan.app)
    return build(plan, archive, user.pw_uid, user.pw_gid)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "archive": {"type": "path", "required": True},
            "id": {"type": "str", "required": True},
            "digest": {"type": "str", "required": True},
            "requirements": {"type": "str", "required": True},
            "python": {"type": "str", "default": "system"},
            "config": {"type": "dict", "default": {}},
            "environment": {"type": "raw", "default": "", "no_log": True},
            "shared": {"type": "list", "elements": "str", "default": []},
            "static": {"type": "dict", "default": {}},
            "story": {"type": "dict", "default": {}},
            "build": {"type": "str", "choices": ["source", "wheels"], "default": "source"},
            "uv": {"type": "path", "default": "/opt/plainstack/uv/bin/uv"},
            "build_environment": {"type": "raw", "default": "", "no_log": True},
            "run": {"type": "str", "default": "", "no_log": False},
            "content": {"type": "str", "default": "", "no_log": True},
            "fetched": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    if not ID.fullmatch(given["id"]):  # it may come from another server of the fleet, and becomes part of paths
        module.fail_json(msg=f"{given['app']}: {given['id']!r} is no id of a release.")
    app = App(given["app"])
    plan = Plan(
        app=app,
        identifier=given["id"],
        digest=given["digest"],
        requirements=given["requirements"],
        python=given["python"],
        config=given["config"],
        environment=decode(given["environment"]),
        shared=tuple(given["shared"]),
        static=given["static"],
        story=given["story"],
        build=given["build"],
        uv=given["uv"],
        build_environment=json.loads(decode(given["build_environment"]) or "{}"),
    )
    user = owner(module, app)
    if wrong := taken(app):
        module.fail_json(msg=wrong)
    refusal, warning = check_owners(app, user.pw_uid, user.pw_gid) if user else ("", "")
    if warning:
        module.warn(plain(f"{app.name}: {warning}"))  # names of files may be the app's or a package's
    if refusal:
        module.fail_json(msg=plain(f"{app.name}: {refusal}\n{serving(app)}"))
    if doomed := interpreter.warning(app):
        module.warn(plain(doomed))
    found = find(plan)
    if found:
        story = app.story(found)
        if story.get("verdict") == "bad" and found != app.live_id():
            module.warn(f"{app.name}: {found}, which is what you deploy, is marked bad and gets another try: {story.get('reason', '')}")
        if not module.check_mode and found not in (app.live_id(), *running(app)):
            try:
                memory.check(app)
            except InstanceError as error:
                module.fail_json(msg=str(error))
        module.exit_json(changed=False, id=found, built=False, live=found == app.live_id() and not story.get("pending"))
    diff = {"before": f"{app.live_id()}\n", "after": f"{plan.identifier}\n", "before_header": "release", "after_header": "release"} if module._diff else {}
    if module.check_mode:
        module.exit_json(changed=True, id=plan.identifier, built=False, live=False, diff=diff)
    if user is None or not (given["content"] or given["fetched"]):
        module.exit_json(changed=False, needs_user=user is None, needs_archive=True, uid=0 if user else new_uid(os.path.dirname(app.root), app.shared))
    try:
        with step(app, given["run"]):
            if found := find(plan):  # perhaps only just, by a run that was killed
                module.exit_json(changed=True, id=found, built=False, live=False)
            memory.check(app)  # the new instance is to run beside the live one
            if given["fetched"]:
                warnings = stage(plan, given["archive"], user)
            else:
                with tempfile.NamedTemporaryFile(prefix="plainstack-") as archive:
                    archive.write(base64.b64decode(given["content"]))
                    archive.flush()
                    warnings = stage(plan, archive.name, user)
    except BuildError as error:
        module.fail_json(msg=plain(f"{error}\n{serving(app)}"))
    except (InstanceError, LockError) as error:
        module.fail_json(msg=str(error))
    for warning in warnings:
        module.warn(plain(warning))
    module.exit_json(changed=True, id=plan.identifier, built=True, live=False, diff=diff)


if __name__ == "__main__":
    main()
