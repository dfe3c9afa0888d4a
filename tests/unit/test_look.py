"""Quick looks are read right, whatever stands around them."""

import subprocess

import pytest
from ansible_collections.plainstack.web.plugins.action.configuration import expected, look
from ansible_collections.plainstack.web.plugins.module_utils.look import answer, framed

NOISE = "sudo: unable to resolve host nowhere: Name or service not known\n"


def shell(command: str) -> str:
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize(("before", "after"), [("", ""), (NOISE, ""), (f"Welcome\n\n{NOISE}", "Connection to host closed.\n"), ("", "\n")])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_answer(before: str, after: str, end: str) -> None:
    output = before + shell(framed("echo one; echo; echo two; ls /no/such; printf end")) + after
    assert answer(output.replace("\n", end)) == ["one", "", "two", "end"]


@pytest.mark.parametrize("output", ["", NOISE, "--plainstack-begin--\n644 0 0\n"])
def test_a_command_that_did_not_end_says_nothing(output: str) -> None:
    assert answer(output) == []


def test_in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "fr_FR.UTF-8")
    assert answer(shell(framed("echo $LC_ALL"))) == ["C"]


def test_the_look_at_files_that_are_not_there_is_no_answer() -> None:
    file = {"dest": "/no/such", "content": ""}
    assert answer(shell(framed(look(["/no/such"], [], "/no/stamp", "")))) != expected([file], [], "")
