"""The README's Python runs and prints what it shows; its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tfdiscrete import cli

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
# Each Python block, with the text block that follows it at once, if there is one.
BLOCKS = re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", TEXT, re.DOTALL)


@pytest.mark.parametrize(("code", "output"), BLOCKS, ids=range(len(BLOCKS)))
@pytest.mark.slow
def test_a_python_block_runs_and_prints_what_is_shown(code, output, tmp_path):
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == output


def test_there_are_six_python_blocks_of_which_five_print():
    assert len(BLOCKS) == 6
    assert sum(bool(output) for _, output in BLOCKS) == 5


def test_every_command_shown_exists():
    commands = re.findall(r"^(?:\S*bin/)?tfdiscrete ([\w-]+)(.*)$", TEXT, re.MULTILINE)
    assert {name for name, _ in commands} == set(cli.COMMANDS)
    for name, rest in commands:
        arguments = rest.split("#")[0].split()
        cli.make_parser([name, *arguments]).parse_args([name, *arguments])


def test_ci_runs_the_test_command_of_the_readme():
    command = re.search(r"<!-- test command -->\n```bash\n(.*)\n```", TEXT)[1]
    assert command.startswith("python3 -m venv .venv && ")
    assert "[test]" in command
    script = (ROOT / ".ci" / "run").read_text()
    extraction = re.search(r"^command=\$\((.*)\)$", script, re.MULTILINE)[1]
    ran = subprocess.run(["bash", "-c", extraction], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == command


def test_the_folder_tree_shown_is_the_real_one():
    tree = TEXT.split("```text\ntfdiscrete/\n")[1].split("```")[0]
    shown = set(re.findall(r"(\w+)/", tree))
    package = ROOT / "tfdiscrete"
    assert shown == {path.name for path in package.iterdir() if (path / "__init__.py").is_file()}


# The client needs a server: tests/serving/test_documents.py runs it.
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py") if path.name != "client.py")


@pytest.mark.slow
@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(script, tmp_path):
    ran = subprocess.run([sys.executable, script, "--smoke"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
