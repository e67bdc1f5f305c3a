"""The PowerShell files: what an administrator reads and approves.

How a user would notice that it is fake: a script that Windows refuses to parse; a value with a quote in it that becomes
code; an umlaut that Windows PowerShell reads in another code page; a script that was changed after it was approved.
"""

from __future__ import annotations

import hashlib
import re

import pytest
import tree_sitter
import tree_sitter_powershell

from airflow_enterprise_orch.systems.windows import powershell

ALL = (*powershell.VERBS, "run")
VERBS_WITHOUT_ROOM = 120
PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))


def nodes(tree):
    yield tree
    for child in tree.children:
        yield from nodes(child)


def parsed(text):
    return PARSER.parse(text.encode()).root_node


@pytest.mark.parametrize("name", ALL)
def test_a_grammar_of_powershell_accepts_it(name):
    wrong = [node for node in nodes(parsed(powershell.script(name))) if node.type == "ERROR" or node.is_missing]
    assert not wrong, [(node.start_point, node.text[:60]) for node in wrong]


def test_the_grammar_would_notice():
    # The trap that it did find: a method call is no argument of a command.
    text = "Write-Result 'rejected' $_.Exception.GetBaseException().HResult $false"
    assert any(node.type == "ERROR" for node in nodes(parsed(text)))


@pytest.mark.parametrize("name", ALL)
def test_it_is_ascii_short_and_says_which_version_it_is(name):
    text = powershell.script(name)
    assert text.isascii(), "Windows PowerShell reads a file without a byte order mark in the machine's code page"
    assert re.match(rf'# enterprise-orch, (verb )?"{name}", version \d+\n', text)
    assert max(map(len, text.splitlines())) <= VERBS_WITHOUT_ROOM
    assert len(text.splitlines()) <= 180


@pytest.mark.parametrize("name", ALL)
def test_no_value_is_ever_run_as_code(name):
    text = powershell.script(name).lower()
    for word in (
        "invoke-expression",
        "iex ",
        "-encodedcommand",
        "[scriptblock]",
        "invokescript",
        "add-type",
        "cmd.exe",
    ):
        assert word not in text
    # The call operator starts exactly one program, whose path is Windows' own.
    calls = re.findall(r"^\s*&\s*(\S+)", powershell.script(name), re.MULTILINE)
    assert calls in ([], ['"$env:SystemRoot\\System32\\taskkill.exe"'])


@pytest.mark.parametrize("name", powershell.VERBS)
def test_a_verb_stops_at_the_first_error_and_answers_between_its_marks(name):
    text = powershell.script(name)
    assert "$ErrorActionPreference = 'Stop'" in text
    assert "Set-StrictMode -Version 2.0" in text
    assert "$ProgressPreference = 'SilentlyContinue'" in text
    assert re.search(r'"@\$Token"\nConvertTo-Json -InputObject \$answer .*\n"@\$Token"\n$', text)
    assert "[string] $Token" in text


@pytest.mark.parametrize("name", ALL)
def test_a_caught_error_is_told_or_means_something(name):
    # An empty catch would swallow what the operator needs.
    assert not re.search(r"catch\s*(\[[^\]]*\])?\s*\{\s*\}", powershell.script(name))


def test_its_digest_is_that_of_the_text_that_is_sent():
    assert powershell.digest("claim") == hashlib.sha256(powershell.script("claim").encode()).hexdigest()
    assert len({powershell.digest(name) for name in ALL}) == len(ALL)


def test_every_file_is_a_verb():
    from importlib.resources import files

    found = {entry.name.removesuffix(".ps1") for entry in files(powershell).iterdir() if entry.name.endswith(".ps1")}
    assert found == set(ALL)
