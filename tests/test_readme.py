"""The README is true: its examples run and print what it says, its tables name what exists."""

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

import convexrelu as cr
from convexrelu import __main__ as cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def table_column(header):
    """First cells, in code marks, of the table under a header that starts with a word."""
    table = re.search(rf"^\| {header} \|.*\n\|[-|]+\n((?:\|.*\n)+)", README, re.MULTILINE)
    return re.findall(r"^\| `(\w+)` \|", table[1], re.MULTILINE)


def test_examples_print_what_the_readme_says():
    python, expected = blocks("python"), blocks("text")
    assert len(python) == len(expected) >= 1
    names = {}
    for code, output in zip(python, expected, strict=True):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        assert printed.getvalue() == output


def test_arguments_and_their_defaults():
    problem = cr.TrainingProblem([[0.0], [1.0]], [0.0, 1.0])
    assert table_column("argument") == ["bias", "output_bias", "skip"]
    assert (problem.bias, problem.output_bias, problem.skip) == ("penalized", "none", "none")
    for options in ({"bias": "free"}, {"skip": "free"}):
        assert cr.TrainingProblem([[0.0], [1.0]], [0.0, 1.0], **options).output_bias == "free"
    with pytest.raises(cr.errors.InvalidInputError, match="output_bias"):
        cr.TrainingProblem([[0.0], [1.0]], [0.0, 1.0], bias="free", output_bias="penalized")


def test_every_status_is_explained():
    assert table_column("status") == [status.name for status in cr.Status]


def test_set_up_is_two_lines():
    assert len(blocks("sh")[0].splitlines()) == 2


def test_commands_of_the_command_line_section_run(tmp_path):
    script = blocks("sh")[1].replace("python ", f"{sys.executable} ")
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-ec", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("scope             global") == 2  # fit and certify


def test_every_command_is_shown(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    commands = re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE)
    shown = set(re.findall(r"python -m convexrelu (\w+)", README))
    assert set(commands) == shown


def test_slow_tests_are_where_the_readme_says():
    assert "`pytest -m slow`" in README
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-m", "slow", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout  # 5 if there are none


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).is_file()
