"""The `apps` definition: what a user may write, checked and completed once.

Pure functions over plain data: no Ansible imports, no I/O but looking at the source directory.
The keys and their bounds are in spec.py.
"""

from __future__ import annotations

import ast
import difflib
import ipaddress
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.controller import fetch, requirements
from ansible_collections.plainstack.web.plugins.module_utils.controller.archive import RESERVED
from ansible_collections.plainstack.web.plugins.module_utils.controller.bundle import SYSTEMS
from ansible_collections.plainstack.web.plugins.module_utils.controller.spec import (
    CODE,
    COMMANDS,
    CONTROL,
    DISTRIBUTION,
    DOMAIN,
    GROUP,
    HEADER,
    HEADER_VALUE,
    LOCKS,
    LONGEST_COMMAND,
    LONGEST_NAME,
    LONGEST_PATH,
    MOUNT,
    OF_GUNICORN,
    OF_THE_SITE,
    OLDEST_PYTHON,
    OWN_HEADERS,
    OWN_SETTINGS,
    PACKAGE,
    PRIVATE,
    PROCESS,
    PYTHON,
    SCHEDULE,
    SETTING,
    SPEC,
    SYSTEM,
    TARGET,
    TYPES,
    URL_PREFIX,
    WORDS,
)
from ansible_collections.plainstack.web.plugins.module_utils.environment import NOT_TEXT, code_point, refused, too_much
from ansible_collections.plainstack.web.plugins.module_utils.static import hidden


@dataclass(frozen=True)
class Unresolved:
    """Stands for a value that could not be had from what the user wrote; `reason` ends the sentence that the value begins."""

    reason: str


class DefinitionError(ValueError):
    """What is wrong with a definition, each problem on a line of its own."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _closest(word: str, known: list[str]) -> str:
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f"did you mean '{match[0]}'?" if match else "there are " + ", ".join(known) + "."


def _inside(path: str) -> bool:
    """Whether a normalised path is below the directory it is taken from, and not that directory itself."""
    return path not in (".", "..") and not path.startswith(("/", "../"))


def _texts(value: Any) -> Iterator[str]:
    """The texts of the value of a key."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from (text for text in pair if isinstance(text, str))
    elif isinstance(value, list | tuple):
        yield from (text for text in value if isinstance(text, str))


def _odd(text: str, lines: bool = False) -> str:
    """The first character of a text that a name, a path or a command cannot have, as U+XXXX; empty without one.

    :param lines: whether the text may have several lines.
    """
    found = NOT_TEXT.search(text) or CONTROL.search(text.replace("\n", "").replace("\t", "") if lines else text)
    return code_point(found[0]) if found else ""


def _elements(key: str, value: Any, where: str) -> list[str]:
    """What is wrong with the items of a list or mapping, as far as their types go."""
    if key == "headers":
        wrong = [f"'{name}' in '{key}' must be text, or null to take the header away" for name, item in value.items() if not isinstance(item, str | None)]
    elif key == "gunicorn":
        wrong = [f"'{name}' in '{key}' must be text, a number, true or false" for name, item in value.items() if not isinstance(item, str | int | float)]
    elif "options" in SPEC[key]:
        wrong = [f"'{name}' in '{key}' must be a mapping, not {item!r}" for name, item in value.items() if not isinstance(item, Mapping)]
    elif isinstance(value, Mapping):
        wrong = [f"the directory of '{prefix}' in '{key}' must be text, not {item!r}" for prefix, item in value.items() if not isinstance(item, str)]
    else:
        wrong = [f"every item of '{key}' must be text, not {item!r}" for item in value if not isinstance(item, str)]
    return [f"{where}: {problem}." for problem in wrong]


def _check_value(key: str, value: Any, where: str, rule: Mapping[str, Any]) -> list[str]:
    """What is wrong with the type of the value of a key, with its size and its signs."""
    if isinstance(value, Unresolved):
        return [f"{where}: '{key}' {value.reason}"]
    if not isinstance(value, TYPES[rule["type"]]) or (isinstance(value, bool) and rule["type"] != "bool"):
        # YAML reads `3.10` as 3.1 and `on` as true, so what was read is no advice on what to write
        hint = "; put it in quotes" if rule["type"] == "str" and isinstance(value, int | float) else ""
        if rule["type"] == "list" and isinstance(value, str) and not _odd(value):
            hint = f"; write [{value}]"
        found = "" if key in PRIVATE else f", not {value!r}"
        return [f"{where}: '{key}' must be {WORDS[rule['type']]}{found}{hint}."]
    if key in PRIVATE:
        return []
    if rule["type"] in ("list", "dict"):
        unresolved = [item for item in (value.values() if isinstance(value, Mapping) else value) if isinstance(item, Unresolved)]
        if wrong := [f"{where}: an item of '{key}' {item.reason}" for item in unresolved] or _elements(key, value, where):
            return wrong
        if "options" in rule:
            return [problem for name, item in value.items() for problem in _check_types(item, f"{where}, '{name}' in '{key}'", rule["options"])]
    if odd := next(filter(None, (_odd(text, key in COMMANDS) for text in _texts(value))), ""):
        return [f"{where}: '{key}' has the character {odd}, which is not printable; remove it."]
    if key in COMMANDS and len(value.encode()) > LONGEST_COMMAND:
        return [f"{where}: '{key}' has {len(value.encode())} bytes; it must have at most {LONGEST_COMMAND}. Put the commands into a script of the app."]
    if "minimum" in rule and not rule["minimum"] <= value <= rule["maximum"]:
        return [f"{where}: '{key}' is {value}; it must be {rule['minimum']} to {rule['maximum']}."]
    return []


def _check_types(app: Mapping[str, Any], where: str, spec: Mapping[str, Any] = SPEC) -> list[str]:
    problems: list[str] = []
    for key, value in app.items():
        if key not in spec:
            problems.append(f"{where}: unknown key {str(key)!r}; {_closest(str(key), list(spec))}")
        elif value is not None:
            problems += _check_value(key, value, where, spec[key])
    problems += [f"{where}: '{key}' is missing." for key, rule in spec.items() if rule.get("required") and app.get(key) in (None, "", [], ())]
    return problems


def _check_environment(app: Mapping[str, Any], where: str) -> list[str]:
    """No message has a value: what is in `env` by mistake is a secret, too."""
    given = {key: app[key] for key in PRIVATE if isinstance(app.get(key), Mapping)}
    problems = []
    for key, variables in given.items():
        problems += [f"{where}: {name!r} in '{key}' {value.reason}" for name, value in variables.items() if isinstance(value, Unresolved)]
        problems += [f"{where}: {name!r} in '{key}' {why}" for name, why in refused(variables) if not isinstance(variables.get(name), Unresolved)]
    if why := too_much([pair for variables in given.values() for pair in variables.items()]):
        problems.append(f"{where}: 'env' and 'secrets' {why}")
    problems += [f"{where}: '{name}' is in both 'env' and 'secrets'." for name in given.get("env", {}) if name in given.get("secrets", {})]
    return problems


def _domain_hint(domain: str) -> str:
    """What was meant by a domain that is none; empty when nobody can tell."""
    if "*" in domain:
        return " (wildcards need DNS-01, which Plainstack does not do)"
    meant = re.sub(r"^[a-z+]+://", "", domain.strip().lower()).partition("/")[0].partition(":")[0].rstrip(".")
    if not meant.isascii():
        try:
            encoded = meant.encode("idna").decode()
        except UnicodeError:
            return " (write a name with other letters than a to z in Punycode, xn--...)"
        # The codec is of 2003, and what it cannot bring back is another name today, such as one with a sharp s
        meant = encoded if encoded.encode().decode("idna") == meant else ""
    return f"; did you mean '{meant}'?" if meant != domain and DOMAIN.fullmatch(meant) else ""


def _plain_arguments(module: str) -> bool:
    """Whether what is in the parentheses of a factory's call are values that Gunicorn takes: no names, no calls."""
    try:
        call = ast.parse(module.partition(":")[2], mode="eval").body
        if isinstance(call, ast.Call):
            for value in (*call.args, *(keyword.value for keyword in call.keywords)):
                ast.literal_eval(value)
            return all(keyword.arg for keyword in call.keywords)
    except (SyntaxError, ValueError):
        return False
    return True


def _check_server(app: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with how the app is served."""
    own, problems = app["server"] == "command", []
    if own != bool(app["command"]):
        problems.append(f"{where}: 'command' is missing, which 'server: command' runs." if own else f"{where}: 'command' needs 'server: command'.")
    if own == bool(app["module"]):
        problems.append(f"{where}: 'module' is missing." if not own else f"{where}: 'module' is for Gunicorn; with 'server: command' remove it.")
    if own:
        for key in OF_GUNICORN:
            if app[key] != SPEC[key]["default"]:
                problems.append(f"{where}: '{key}' is for Gunicorn, and 'command' starts another server; give it to that one, and remove '{key}'.")
    if app["strip_path"] and app["path"] == "/":
        problems.append(f"{where}: 'strip_path' needs a 'path'; remove it.")
    if app["server"] == "gevent" and app["threads"] != SPEC["threads"]["default"]:
        problems.append(f"{where}: 'threads' are not gevent's; set 'gunicorn: {{worker_connections: ...}}', and remove 'threads'.")
    if app["gunicorn_config"] and not _inside(posixpath.normpath(app["gunicorn_config"])):
        problems.append(f"{where}: '{app['gunicorn_config']}' in 'gunicorn_config' must be a file in the source.")
    if app["module"] and not _plain_arguments(app["module"]):
        problems.append(f"{where}: 'module' is '{app['module']}'; the arguments of a factory must be plain values, such as 'shop:create_app(\"production\")'.")
    for name in app["gunicorn"]:
        if not isinstance(name, str) or not SETTING.fullmatch(name):
            problems.append(f"{where}: '{name}' in 'gunicorn' is no setting of Gunicorn's; write it as in its configuration file, such as worker_connections.")
        elif name in OWN_SETTINGS:
            instead = f"use '{OWN_SETTINGS[name]}' of the app instead" if OWN_SETTINGS[name] else "releases and the switch between them depend on it"
            problems.append(f"{where}: '{name}' in 'gunicorn' cannot be set; {instead}.")
    for key in ("packages", "build_packages"):
        wrong = [name for name in app[key] if not PACKAGE.fullmatch(name)]
        problems += [f"{where}: '{name}' in '{key}' is no name of a Debian package, such as libpq5." for name in wrong]
    for key in ("extras", "groups", "member"):
        wrong = [name for name in ([app[key]] if key == "member" else app[key]) if name and not DISTRIBUTION.fullmatch(name)]
        problems += [f"{where}: '{name}' in '{key}' is no name, such as production." for name in wrong]
    return problems


def _check_site(app: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with the names that lead to the app, and with the headers of its answers."""
    problems = []
    for alias in app["aliases"]:
        if not DOMAIN.fullmatch(alias) or len(alias) > 253:
            hint = _domain_hint(alias)
            problems.append(f"{where}: '{alias}' in 'aliases' is not a full, lower-case host name such as www.example.com{hint or '.'}")
    for name, value in app["headers"].items():
        if not isinstance(name, str) or not HEADER.fullmatch(name) or name.lower() in OWN_HEADERS:
            problems.append(f"{where}: '{name}' in 'headers' is no header that can be set here.")
        elif value and not HEADER_VALUE.fullmatch(value):
            problems.append(f"{where}: the value of '{name}' in 'headers' must be printable ASCII without a dollar sign.")
    if len({str(name).lower() for name in app["headers"]}) < len(app["headers"]):
        problems.append(f"{where}: a name is twice in 'headers'; upper and lower case are the same there.")
    for path, target in app["redirects"].items():
        if not isinstance(path, str) or not URL_PREFIX.fullmatch(path) or not TARGET.fullmatch(target):
            problems.append(f"{where}: '{path}: {target}' in 'redirects' must be a path such as /old, and a path or a URL that it leads to.")
    for network in app["allow"]:
        try:
            ipaddress.ip_network(network.replace("%", " "))  # with it, a scope of IPv6 may be any text
        except ValueError as error:
            problems.append(f"{where}: '{network}' in 'allow' is no network such as 192.0.2.0/24: {error}.")
    for code in app["error_pages"]:
        if not CODE.fullmatch(str(code)):
            problems.append(f"{where}: '{code}' in 'error_pages' must be 403, 404, 413, 429, 500, 502, 503 or 504.")
    for key in ("aliases", "headers", "redirects", "allow", "basic_auth", "error_pages", "nginx"):
        if app["path"] != "/" and app[key]:
            problems.append(f"{where}: an app with a 'path' has '{key}' of the app that has the rest of its domains; remove it.")
    return problems


def _check_source(app: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with where the app comes from, but for what only a look at it shows."""
    if bool(app["source"]) == bool(app["package"]):
        return [f"{where}: 'source' and 'package' exclude each other; remove one." if app["source"] else f"{where}: 'source' is missing."]
    problems, kind = [], fetch.kind(app)
    belong = {"ref": ("repository",), "subdirectory": ("repository", "archive"), "checksum": ("archive",)}
    for key, kinds in belong.items():
        if app[key] and kind not in kinds:
            what = {"repository": "a git URL", "archive": "an archive"}
            problems.append(f"{where}: '{key}' is for a 'source' that is {' or '.join(what[one] for one in kinds)}; remove it.")
    for key, rule in (
        ("ref", "must be the name of a branch, a tag or a commit"),
        ("checksum", "must be sha256: and 64 hexadecimal digits"),
        ("package", "must be a package of PyPI with its version, such as httpbin==0.10.2"),
    ):
        if app[key] and not SPEC[key]["pattern"].fullmatch(app[key]):
            problems.append(f"{where}: '{key}' is '{app[key]}'; it {rule}.")
    problems += [
        f"{where}: '{name}' in 'bundle_for' is no system with wheels; {_closest(name, [*SYSTEMS])}" for name in app["bundle_for"] if not SYSTEM.fullmatch(name)
    ]
    if app["bundle"] and (fetch.kind(app) == "repository" or (fetch.kind(app) == "archive" and not str(app["source"]).endswith(".whl"))):
        problems.append(
            f"{where}: with 'bundle', 'source' must be a directory or a wheel, or there be a 'package': uv and pip would take the files of what comes from "
            "elsewhere on this machine, and may run them. Check it out, look at it, and name the directory."
        )
    if app["bundle"] and not app["bundle_for"]:
        problems.append(f"{where}: 'bundle_for' is empty; name the systems of the servers, such as [debian-13].")
    if not app["bundle"] and [*app["bundle_for"]] != SPEC["bundle_for"]["default"]:
        problems.append(f"{where}: 'bundle_for' needs 'bundle: true'.")
    if app["subdirectory"] and not _inside(posixpath.normpath(app["subdirectory"])):
        problems.append(f"{where}: '{app['subdirectory']}' in 'subdirectory' must be a directory inside the source.")
    if kind == "archive" and fetch.URL.fullmatch(app["source"]) and not app["checksum"]:
        problems.append(f"{where}: an archive that is downloaded needs its 'checksum', such as sha256:0f3a...; 'sha256sum' prints the digits.")
    return problems


def _check_processes(app: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with what runs beside the web server."""
    problems = []
    for key in ("processes", "timers"):
        for name, found in app[key].items():
            if not isinstance(name, str) or not PROCESS.fullmatch(name):
                problems.append(f"{where}: '{name}' in '{key}' must be lower-case letters, digits and hyphens, beginning with a letter, and not 'web'.")
            if found["hosts"] and not GROUP.fullmatch(found["hosts"]):
                problems.append(f"{where}, '{name}' in '{key}': 'hosts' is '{found['hosts']}', which is no name of a group.")
            if not SCHEDULE.fullmatch(found.get("schedule", "daily")):
                problems.append(f"{where}, '{name}' in '{key}': 'schedule' is '{found['schedule']}'; it must be a calendar event of systemd, such as daily.")
            if found.get("stop_signal", "SIGTERM") not in SPEC["processes"]["options"]["stop_signal"]["choices"]:
                problems.append(f"{where}, '{name}' in '{key}': 'stop_signal' is '{found['stop_signal']}'; it must be a signal such as SIGTERM or SIGINT.")
            if found.get("count", 1) > 1 and not found["overlap"]:
                problems.append(f"{where}, '{name}' in '{key}': of what may not overlap there is one; remove 'count' or 'overlap'.")
    problems += [f"{where}: '{name}' is in both 'processes' and 'timers'; give one another name." for name in app["processes"] if name in app["timers"]]
    return problems


def _check_values(app: Mapping[str, Any], where: str) -> list[str]:
    problems = []
    rules = (
        ("name", "must be 2 to 31 lower-case letters, digits and hyphens, beginning with a letter"),
        ("module", "must be 'package.module:object' or the call of a factory, such as 'wsgi:app' or 'shop:create_app()'"),
        ("memory_max", "must be a size for systemd, such as 512M, 2G, 80% or infinity"),
        ("cpu_max", "must be a share of a core, such as 150%, or infinity"),
        ("tmp_max", "must be a size, such as 500M, or a share of the memory, such as 20%"),
        ("body_size", "must be a number of bytes, or one with k or m, such as 10m"),
        ("health_path", "must be a path of the app, such as /healthz"),
        ("path", "must be / or a path below which the app answers, such as /api"),
    )
    for key, rule in rules:
        unset = key == "module" and not app[key]
        if (not unset and not SPEC[key]["pattern"].fullmatch(app[key])) or (key in ("health_path", "path") and len(app[key]) > LONGEST_PATH):
            problems.append(f"{where}: '{key}' is '{app[key]}'; it {rule}.")
    for key, choices in ((key, rule["choices"]) for key, rule in SPEC.items() if "choices" in rule):
        if app[key] not in choices:
            problems.append(f"{where}: '{key}' is '{app[key]}'; it must be {', '.join(choices[:-1])} or {choices[-1]}.")
    if app["name"].startswith("plainstack"):
        problems.append(f"{where}: 'name' must not begin with 'plainstack': Plainstack's own users and units do.")
    if app["hosts"] and not GROUP.fullmatch(app["hosts"]):
        problems.append(f"{where}: 'hosts' is '{app['hosts']}', which is no name of a group.")
    for domain in app["domains"]:
        if not DOMAIN.fullmatch(domain) or len(domain) > 253:
            hint = _domain_hint(domain)
            problems.append(f"{where}: '{domain}' in 'domains' is not a full, lower-case host name such as www.example.com{hint or '.'}")
    version = PYTHON.fullmatch(app["python"])
    if app["python"] != "system" and not version:
        problems.append(f"{where}: 'python' is '{app['python']}'; it must be 'system' or a version such as '3.13' or '3.13.1'.")
    elif version and int(version[1]) < OLDEST_PYTHON:
        problems.append(f"{where}: 'python' is '{app['python']}', which is too old: the oldest that works is 3.{OLDEST_PYTHON}.")
    for prefix, directory in app["static"].items():
        if not isinstance(prefix, str) or not URL_PREFIX.fullmatch(prefix) or len(prefix) > LONGEST_PATH:
            problems.append(f"{where}: '{prefix}' in 'static' must be a URL prefix such as /static.")
        elif f"{prefix}/".startswith(f"{OF_THE_SITE}/"):
            problems.append(f"{where}: '{prefix}' in 'static': {OF_THE_SITE} is the site's own; take another prefix.")
        elif hidden(f"{prefix}/".removeprefix("/.well-known/")):
            problems.append(f"{where}: '{prefix}' in 'static': nginx serves nothing below a name that begins with a dot, but for /.well-known.")
        elif not f"{prefix}/".startswith(app["path"].rstrip("/") + "/"):
            problems.append(f"{where}: '{prefix}' in 'static' is not below the app's 'path', {app['path']}.")
        if not _inside(directory) or not re.fullmatch(r"[\w./@+-]+", directory):
            problems.append(f"{where}: '{directory}' in 'static' must be a directory inside the source.")
        elif any(f"{directory}/".startswith(f"{shared}/") or f"{shared}/".startswith(f"{directory}/") for shared in app["shared"]):
            problems.append(f"{where}: '{directory}' and what is 'shared' lie in each other, and nginx may not read what is shared; let the app serve it.")
    if f"{app['path']}/".startswith(f"{OF_THE_SITE}/"):
        problems.append(f"{where}: 'path' is '{app['path']}', but {OF_THE_SITE} is the site's own; take another path.")
    # uv would read what begins with a hyphen as an option
    if app["requirements"] and (app["requirements"].startswith("-") or not _inside(os.path.normpath(app["requirements"]))):
        problems.append(f"{where}: the requirements '{app['requirements']}' are not a file in the source.")
    problems += [f"{where}: '{name}' in 'include' must be a path inside the source." for name in app["include"] if not _inside(name)]
    for directory in app["shared"]:
        if len(directory.encode()) > LONGEST_NAME or any(len(part.encode()) > 255 for part in directory.split("/")):
            problems.append(f"{where}: '{directory[:40]}...' in 'shared' is too long: a name has at most 255 bytes, the whole path {LONGEST_NAME}.")
        if not _inside(directory) or directory.split("/")[0] in RESERVED:
            problems.append(f"{where}: '{directory}' in 'shared' must be a path inside the source.")
        # Linking the inner one would reach through the outer one's link, into the data itself
        for other in app["shared"]:
            if directory.startswith(f"{other}/"):
                problems.append(f"{where}: '{directory}' in 'shared' lies in '{other}', which is shared as a whole; remove it.")
    if app["path"] != "/" and MOUNT.fullmatch(app["path"]) and not f"{app['health_path']}/".startswith(f"{app['path']}/"):
        problems.append(f"{where}: 'health_path' is '{app['health_path']}', which is not below the app's 'path', {app['path']}.")
    if app["path"] != "/" and app["certificate"]:
        problems.append(f"{where}: an app with a 'path' has the certificate of the app that has the rest of its domains; remove 'certificate'.")
    if bool(app["certificate"]) != bool(app["certificate_key"]):
        problems.append(f"{where}: 'certificate' and 'certificate_key' go together.")
    return problems or _check_server(app, where) + _check_site(app, where) + _check_processes(app, where) + _check_source(app, where)


def check_processes(app: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with `processes` and `timers` of an app that may lack other keys."""
    given = {key: app[key] for key in ("processes", "timers") if app.get(key) is not None}
    wrong = [problem for key, value in given.items() for problem in _check_value(key, value, where, SPEC[key])]
    return wrong or _check_processes(with_defaults(given), where)


def check(app: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with an app that has all keys, but for the files that it names."""
    return _check_types(app, where) or _check_values(app, where) + _check_environment(app, where)


def _check_files(app: Mapping[str, Any], where: str, source: bool) -> list[str]:
    """What is wrong with the files that an app names.

    :param source: whether its source is looked at, too.
    """
    problems = []
    for key in ("certificate", "certificate_key", "basic_auth"):
        if app[key] and not os.path.isfile(app[key]):
            problems.append(f"{where}: '{app[key]}' in '{key}' is not a file on this machine.")
    wrong = [page for page in app["error_pages"].values() if not os.path.isfile(page)]
    problems += [f"{where}: '{page}' in 'error_pages' is not a file on this machine." for page in wrong]
    return problems + (_check_directory(app, where) if source and fetch.kind(app) == "directory" else [])


def _check_directory(app: Mapping[str, Any], where: str) -> list[str]:
    source = app["source"]
    if not os.path.isdir(source):
        return [f"{where}: the source '{source}' is not a directory on this machine."]
    if not os.listdir(source):
        return [f"{where}: the source '{source}' is empty."]
    problems = []
    if app["requirements"]:
        kind = os.path.basename(app["requirements"])
        given = [key for key in ("extras", "groups", "member") if app[key]]
        for key in given:
            if not kind.endswith((".lock", ".toml")) or (key == "member" and kind != "uv.lock") or (key == "extras" and kind == "Pipfile.lock"):
                problems.append(f"{where}: '{key}' says nothing about {app['requirements']}; remove it, or set 'requirements' to another file.")
        if not os.path.isfile(os.path.join(source, app["requirements"])):
            problems.append(f"{where}: the requirements '{app['requirements']}' are not a file in {source}.")
        else:
            problems += [f"{where}: {problem}" for problem in requirements.problems(source, app["requirements"])]
    elif not any(os.path.isfile(os.path.join(source, lock)) for lock in LOCKS):
        problems.append(f"{where}: {source} has no {', '.join(LOCKS[:-1])} or {LOCKS[-1]}; add one, or set 'requirements'.")
    if app["gunicorn_config"] and not app["local_build"] and not os.path.isfile(os.path.join(source, app["gunicorn_config"])):
        problems.append(f"{where}: '{app['gunicorn_config']}' in 'gunicorn_config' is not a file in {source}.")
    for directory in app["static"].values() if not app["local_build"] and not app["server_build"] else ():
        if not os.path.isdir(os.path.join(source, directory)):
            problems.append(f"{where}: '{directory}' in 'static' is not a directory in {source}.")
    return problems


def with_defaults(app: Mapping[str, Any]) -> dict[str, Any]:
    """The app with every default that needs no look at the source."""
    whole: dict[str, Any] = {key: app[key] if app.get(key) is not None else rule.get("default") for key, rule in SPEC.items()}
    for key, options in ((key, rule["options"]) for key, rule in SPEC.items() if "options" in rule):
        whole[key] = {
            name: {option: given[option] if given.get(option) is not None else rule.get("default") for option, rule in options.items()}
            for name, given in whole[key].items()
        }
    return whole


def _complete(app: Mapping[str, Any], directory: str) -> dict[str, Any]:
    """The app with every default filled in and paths made absolute."""
    whole = with_defaults(app)

    def found(path: str) -> str:
        return os.path.normpath(os.path.join(directory, os.path.expanduser(path)))

    for key in ("source", "certificate", "certificate_key", "basic_auth"):
        if whole[key] and not fetch.REPOSITORY.fullmatch(whole[key]):
            whole[key] = found(whole[key])
    whole["error_pages"] = {str(code): found(page) for code, page in whole["error_pages"].items()}
    whole["static"] = {prefix: posixpath.normpath(str(folder)) for prefix, folder in whole["static"].items()}
    whole["headers"] = {name: value or "" for name, value in whole["headers"].items()}
    whole["include"] = list(dict.fromkeys(map(posixpath.normpath, whole["include"])))
    whole["shared"] = list(dict.fromkeys(map(posixpath.normpath, whole["shared"])))
    return whole


def _located(app: Mapping[str, Any], directory: str) -> dict[str, Any]:
    """The app with what its source says, where that is there.

    :param directory: where a source that is no directory has been fetched to; empty where it has not been.
    """
    whole = {**app, **({"source": directory, "package": None} if directory else {})}
    if not whole["requirements"] and whole["source"] and os.path.isdir(whole["source"]):
        found = (lock for lock in LOCKS if os.path.isfile(os.path.join(whole["source"], lock)))
        whole["requirements"] = next(found, None)
    return whole


def _check_together(apps: list[dict[str, Any]]) -> list[str]:
    """What the apps of a server must not have in common, and what those with a path must."""
    problems = []
    names: set[str] = set()
    owners: dict[tuple[str, str], str] = {}
    for app in apps:
        if app["name"] in names:
            problems.append(f"two apps have the name '{app['name']}'; every app needs its own.")
        names.add(app["name"])
        for domain in (*app["domains"], *app["aliases"]):
            place = domain if app["path"] == "/" else f"{domain}{app['path']}"
            if (domain, app["path"]) in owners:
                kind, other = "domain" if app["path"] == "/" else "path", owners[domain, app["path"]]
                problems.append(f"the {kind} '{place}' is claimed twice: by '{other}' and by '{app['name']}'.")
            owners[domain, app["path"]] = app["name"]
    for app in apps:
        if app["path"] != "/" and not any(root["path"] == "/" and set(root["domains"]) == set(app["domains"]) for root in apps):
            problems.append(f"app '{app['name']}': with 'path' {app['path']}, its 'domains' must be just those of an app without a 'path'.")
        for root in apps:
            if app["path"] != "/" and root["path"] == "/" and set(root["domains"]) == set(app["domains"]):
                if app["hosts"] != root["hosts"]:
                    problems.append(f"app '{app['name']}': with 'path' {app['path']}, its 'hosts' must be those of '{root['name']}'.")
                taken = [prefix for prefix in root["static"] if f"{prefix}/".startswith(f"{app['path']}/")]
                problems += [f"app '{root['name']}': the prefix {prefix} of 'static' lies in the 'path' of '{app['name']}'." for prefix in taken]
    return problems


def select(apps: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The app of that name, as a list; all of them without a name.

    :raises DefinitionError: when there is none of that name.
    """
    chosen = [app for app in apps if name in ("", app["name"])]
    if not chosen:
        raise DefinitionError([f"there is no app '{name}'; {_closest(name, [app['name'] for app in apps])}"])
    return chosen


def normalise(apps: Any, directory: str, sources: bool = True, fetched: Mapping[str, str] | None = None, only: str = "") -> list[dict[str, Any]]:
    """Check the `apps` of an inventory and fill in their defaults.

    :param apps: what the user wrote: a list of mappings with the keys of SPEC.
    :param directory: the inventory's directory, from which paths are taken.
    :param sources: whether the files that the definition names must be there; a rollback needs none.
    :param fetched: by the name of the app the directory to which a source that is none has been fetched.
    :param only: name of the one app whose source is looked at; all of them when empty. The others' certificates and pages are needed all the same.
    :returns: the same apps with every key of SPEC set and paths absolute.
    :raises DefinitionError: with every problem that was found, not only the first.
    """
    if not isinstance(apps, list | tuple) or not apps:
        raise DefinitionError(["no app is defined: 'apps' must be a list with at least one app."])
    problems: list[str] = []
    whole = []
    for position, app in enumerate(apps, 1):
        if isinstance(app, Unresolved):
            problems.append(f"apps[{position}]: {app.reason}")
            continue
        if not isinstance(app, Mapping):
            problems.append(f"apps[{position}]: must be a mapping with the keys name, source, module and domains.")
            continue
        where = f"app {str(app['name'])!r}" if isinstance(app.get("name"), str) and app["name"] else f"apps[{position}]"
        found = _check_types(app, where)
        if not found:
            complete = _complete(app, directory)
            found = _check_values(complete, where)
            complete = _located(complete, (fetched or {}).get(complete["name"], ""))
            found = found or (_check_files(complete, where, only in ("", complete["name"])) if sources else [])
            whole.append(complete)
        problems += found + _check_environment(app, where)
    problems += _check_together(whole)
    if problems:
        raise DefinitionError(problems)
    return whole
