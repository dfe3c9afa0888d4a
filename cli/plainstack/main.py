"""The commands. Each but `new`, `console`, `tunnel` and `logs -f` is a playbook of the collection with its options; nothing else is done here."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from click.shell_completion import split_arg_string

from plainstack import inventories, new, remote
from plainstack.inventories import Inventory, InventoryError, Server

main = typer.Typer(
    name="plainstack",
    help="Python web apps on plain Debian servers. Each command is a playbook of the Ansible collection plainstack.web.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclass(frozen=True)
class Option:
    """An option of playbooks: the variable that `-e` sets, and what it does."""

    variable: str
    about: str
    flag: bool = False


OPTIONS = {
    option.variable: option
    for option in (
        Option("allow", "Networks that see the site all the same, with commas between"),
        Option("allow_unreachable", "Leave out servers that cannot be reached", True),
        Option("canary", "Switch so many servers first, or so many percent of them"),
        Option("command_timeout", "Seconds until the command is killed"),
        Option("confirmed", "The name of the inventory, where it asks for it"),
        Option("data", "'delete' removes the app's data, too"),
        Option("file", "A file of this machine that has the backup"),
        Option("format", "text or json"),
        Option("level", "What is as bad as this: debug, info, warning or error"),
        Option("lines", "The last lines, so many"),
        Option("lock_wait", "Wait so many seconds for another run"),
        Option("message", "What the page says"),
        Option("mode", "on or off"),
        Option("of", "The server whose data it is"),
        Option("on", "On all servers, or on the one that is named"),
        Option("outside", "'false' asks the servers alone, and looks at nothing from here"),
        Option("pause", "Have requests wait for so many seconds instead"),
        Option("process", "Only this process or timer of the app"),
        Option("reboot", "Reboot each server", True),
        Option("ref", "Branch, tag or commit of the git repository"),
        Option("release", "Id of the release"),
        Option("replace", "Apps whose domains may go to new ones"),
        Option("report", "A file into which the state is written as a page, too"),
        Option("request", "What has this id of a request"),
        Option("retry_after", "Seconds after which a client may come again"),
        Option("since", "How far back, such as 20min, or a time"),
        Option("snapshot", "Id of the backup"),
        Option("source", "Only what comes from there: app, access, error, deploys"),
        Option("test", "Send one message of each kind to each target", True),
        Option("to", "A directory of this machine that gets the backup as a file"),
        Option("until", "Up to then"),
    )
}
RUN = ("lock_wait", "allow_unreachable", "confirmed")
# What is done by which playbook, with which options
PLAYBOOKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "deploy": ("Release the apps.", ("canary", "ref", "replace", *RUN)),
    "rollback": ("Go back to the release before.", ("release", *RUN)),
    "scale": ("Give servers that were added what the others have live.", RUN),
    "upgrade": ("Upgrade the system's packages, one server after the other.", ("reboot", "lock_wait", "confirmed")),
    "restart": ("Start what is live once more, beside what runs.", ("process", *RUN)),
    "stop": ("Stop apps until they are started again.", ("process", *RUN)),
    "start": ("Start what was stopped.", ("process", *RUN)),
    "maintenance": ("Show visitors a page, until it is switched off.", ("mode", "message", "allow", "retry_after", "pause", "confirmed")),
    "doctor": ("What is wrong with servers, DNS and sites, or soon will be.", ("format", "outside")),
    "alerts": ("Have somebody told when something goes wrong.", ("test", "confirmed")),
    "monitoring": ("Give Prometheus metrics, and a log server the logs.", ("confirmed",)),
    "backup": ("Back up the data of the apps.", ("to", "confirmed")),
    "restore": ("Give an app the data of a backup.", ("snapshot", "of", "on", "file", "confirmed")),
    "status": ("How the servers and apps are.", ("format", "report")),
    "releases": ("What can be gone back to.", ()),
    "teardown": ("Remove an app that is not in the inventory any more.", ("data", *RUN)),
}
LOGS = ("since", "until", "lines", "level", "request", "source")
COMMAND = ("on", "command_timeout", "confirmed")


def complete_inventory(incomplete: str) -> list[str]:
    """The inventories of the directory."""
    return [name for name in inventories.names() if name.startswith(incomplete)]


def complete_app(ctx: typer.Context, incomplete: str) -> list[str]:
    """The apps of the inventory that was given; none where it cannot be read, as a completion has no place for an error."""
    try:
        return [name for name in Inventory(inventories.find(ctx.params["inventory"])).apps() if name.startswith(incomplete)]
    except Exception:
        return []


def typed() -> list[str]:
    """The arguments of the command whose option is just completed: its value is missing, and so Click has read none of them."""
    words = split_arg_string(os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", ""))[2:]
    flags = {f"--{one.variable.replace('_', '-')}" for one in OPTIONS.values() if one.flag}
    found, value = [], False
    for word in words:
        if not value and not word.startswith("-"):
            found.append(word)
        value = word.startswith("--") and "=" not in word and word not in flags
    return found


def complete_release(incomplete: str) -> list[str]:
    """The releases of the app on the first server, the last first; none where that cannot be asked at once and without a question."""
    try:
        name, *more = typed()
        found = Inventory(inventories.find(name))
        return [one for one in remote.releases(found.server(found.servers()[0]), found.app(more[0] if more else "")) if one.startswith(incomplete)]
    except Exception:
        return []


def complete_server(incomplete: str) -> list[str]:
    """The servers of the inventory that have apps."""
    try:
        return [name for name in Inventory(inventories.find(typed()[0])).servers() if name.startswith(incomplete)]
    except Exception:
        return []


COMPLETES = {"of": complete_server, "on": complete_server, "release": complete_release}
InventoryName = Annotated[str, typer.Argument(help="One in inventories/, or a path.", autocompletion=complete_inventory)]
AppName = Annotated[str, typer.Argument(help="The app; all of them, or the only one, without it.", autocompletion=complete_app)]
Check = Annotated[bool, typer.Option("--check", "-C", help="Say what would change, and change nothing.")]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Ansible's own output; -vvv for more.")]
Become = Annotated[bool, typer.Option("--ask-become-pass", "-K", help="Ask for the password of sudo.")]
Vault = Annotated[bool, typer.Option("--ask-vault-pass", "-J", help="Ask for the password of the vault.")]


def fail(error: Exception) -> NoReturn:
    """End with an error of the operator's."""
    print(error, file=sys.stderr)
    raise typer.Exit(2)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """What the inventory or Ansible has against it ends the command with its own words."""
    try:
        yield
    except InventoryError as error:
        fail(error)
    except Exception as error:
        from ansible.errors import AnsibleError

        if isinstance(error, AnsibleError):
            fail(error)
        raise


def words(playbook: str, inventory: str, variables: dict[str, Any], general: dict[str, Any]) -> list[str]:
    """The command that does it, as one would type it.

    :param variables: for `-e`; without those that were not given.
    :param general: `check`, `verbose`, `ask_become_pass` and `ask_vault_pass`.
    """
    found = ["ansible-playbook", f"plainstack.web.{playbook}", "-i", inventory]
    for name, value in variables.items():
        if value not in (None, "", False):
            found += ["-e", json.dumps({name: value})]
    found += [word for one in inventories.vault(inventory) for word in ("--vault-id", one)]
    found += ["--check", "--diff"] if general["check"] else []
    found += ["-" + "v" * general["verbose"]] if general["verbose"] else []
    return found + [f"--{name.replace('_', '-')}" for name in ("ask_become_pass", "ask_vault_pass") if general[name]]


def play(playbook: str, inventory: str, variables: dict[str, Any], general: dict[str, Any]) -> NoReturn:
    """Become the ansible-playbook that does it; its exit status is this command's."""
    try:
        command = words(playbook, inventories.find(inventory), variables, general)
    except InventoryError as error:
        fail(error)
    own = Path(sys.executable).parent / command[0]
    sys.stdout.flush()
    os.execvp(str(own) if own.exists() else command[0], command)


def _playbook(name: str, about: str, options: Sequence[str]) -> Callable[..., None]:
    """The function of a command, with the options that its playbook has."""

    def command(inventory: str, app: str, check: bool, verbose: int, ask_become_pass: bool, ask_vault_pass: bool, **given: Any) -> None:
        general = {"check": check, "verbose": verbose, "ask_become_pass": ask_become_pass, "ask_vault_pass": ask_vault_pass}
        play(name, inventory, {"app": app, **given}, general)

    kinds: dict[str, tuple[Any, Any]] = {"inventory": (InventoryName, inspect.Parameter.empty), "app": (AppName, "")}
    for option in (OPTIONS[one] for one in options):
        flag = f"--{option.variable.replace('_', '-')}"
        completes = COMPLETES.get(option.variable)
        annotated: Any = Annotated[bool if option.flag else str, typer.Option(flag, help=f"{option.about}.", show_default=False, autocompletion=completes)]
        kinds[option.variable] = (annotated, False if option.flag else "")
    kinds |= {"check": (Check, False), "verbose": (Verbose, 0), "ask_become_pass": (Become, False), "ask_vault_pass": (Vault, False)}
    parameters = [inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default) for key, (kind, default) in kinds.items()]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {key: kind for key, (kind, _default) in kinds.items()}
    command.__doc__, command.__name__ = about, name
    return command


for _name, (_about, _options) in PLAYBOOKS.items():
    main.command(_name)(_playbook(_name, _about, _options))


@main.command()
def logs(
    inventory: InventoryName,
    app: AppName = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="All servers as they write, until Ctrl-C.")] = False,
    since: Annotated[str, typer.Option(help="How far back, such as 20min, or a time; an hour without it.")] = "",
    until: Annotated[str, typer.Option(help="Up to then.")] = "",
    lines: Annotated[int, typer.Option(help="The last lines, so many; 200, or 10 of each server to begin with, without it.", min=0, max=10000)] = 0,
    level: Annotated[str, typer.Option(help="What is as bad as this: debug, info, warning or error.")] = "",
    request: Annotated[str, typer.Option(help="What has this id of a request.")] = "",
    source: Annotated[str, typer.Option(help="Only what comes from there: app, access, error, deploys.")] = "",
    verbose: Verbose = 0,
    ask_become_pass: Become = False,
    ask_vault_pass: Vault = False,
) -> None:
    """The logs of all servers in time order."""
    narrowed = {"since": since, "until": until, "level": level, "request": request, "source": source}
    if not follow:
        general = {"check": False, "verbose": verbose, "ask_become_pass": ask_become_pass, "ask_vault_pass": ask_vault_pass}
        play("logs", inventory, {"app": app, "lines": str(lines or ""), **narrowed}, general)
    with told():
        asked = {**narrowed, "verbose": verbose, "ask-become-pass": ask_become_pass, "ask-vault-pass": ask_vault_pass}
        if given := [f"--{name}" for name, value in asked.items() if value]:
            raise InventoryError(f"With --follow there is no {', '.join(given)}: it asks nothing, and shows all that is written from now on.")
        found = Inventory(inventories.find(inventory))
        code = remote.follow(found, found.app(app), lines or 10)
    raise typer.Exit(code)


@main.command(context_settings={"allow_interspersed_args": False})
def run(
    inventory: InventoryName,
    app: Annotated[str, typer.Argument(help="The app.", autocompletion=complete_app)],
    command: Annotated[list[str], typer.Argument(help="The command and its words. What the shell there is to see goes into quotes.")],
    on: Annotated[str, typer.Option(help="On all servers, or on the one that is named.", autocompletion=complete_server)] = "",
    command_timeout: Annotated[str, typer.Option(help="Seconds until it is killed; 600 without it.")] = "",
    confirmed: Annotated[str, typer.Option(help="The name of the inventory, where it asks for it.")] = "",
    ask_become_pass: Become = False,
    ask_vault_pass: Vault = False,
) -> None:
    """Run a command once in the live release. Options come before the inventory."""
    general = {"check": False, "verbose": 0, "ask_become_pass": ask_become_pass, "ask_vault_pass": ask_vault_pass}
    said = command[0] if len(command) == 1 else shlex.join(command)
    play("run", inventory, {"app": app, "command": said, "on": on, "command_timeout": command_timeout, "confirmed": confirmed}, general)


On = Annotated[str, typer.Option("--on", help="The server; the first of the inventory without it.", autocompletion=complete_server)]


def _server(inventory: str, name: str) -> tuple[Inventory, Server]:
    found = Inventory(inventories.find(inventory))
    known = found.servers()
    if not known:
        raise InventoryError(f"{found.path} has no host in the group 'app_servers'.")
    return found, found.server(name or known[0])


@main.command()
def console(inventory: InventoryName, app: AppName = "", on: On = "") -> None:
    """A shell in the live release: its directory, environment, user and sandbox."""
    with told():
        found, server = _server(inventory, on)
        code = remote.console(server, found.app(app))
    raise typer.Exit(code)


@main.command()
def tunnel(
    inventory: InventoryName,
    to: Annotated[str, typer.Argument(help="A port of the server, host:port as it sees it, or the path of a socket.")],
    port: Annotated[int, typer.Option(help="Port of this machine.", min=1, max=65535)] = 9000,
    on: On = "",
) -> None:
    """Have a port of this machine lead to one of a server, or to a socket there."""
    with told():
        code = remote.tunnel(_server(inventory, on)[1], port, to)
    raise typer.Exit(code)


main.command("new")(new.command)


def program() -> None:
    """The entry point."""
    if configured := inventories.configuration():
        os.environ["ANSIBLE_CONFIG"] = configured
    main()
