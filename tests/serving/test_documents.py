"""The commands of the documents and the example client, run against a server of the model that they name."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("kserve", reason='needs KServe: pip install "tfdiscrete[serve]"')

from .live import live_server

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text()


def commands(text):
    """The curl commands of a text, each up to the end of its quoted body."""
    return re.findall(r"^(?:#\s+)?(curl (?:[^'\n]|'[^']*')*)$", text, re.MULTILINE)


@pytest.fixture(scope="module")
def port():
    with live_server({"digits": ROOT / "saved_models" / "digits"}) as (_, port):
        yield port


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("command", commands(PAGE), ids=lambda command: command.split()[-1][-40:])
def test_the_pages_commands_run_word_by_word(port, command):
    assert "localhost:8080" in command
    printed = subprocess.run(
        ["bash", "-c", command.replace("localhost:8080", f"127.0.0.1:{port}")],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout
    assert printed.startswith("# HELP") if "metrics" in command else "error" not in json.loads(printed)


def test_the_page_names_the_options_with_their_defaults():
    from tfdiscrete.serving.settings import Settings

    settings = Settings()
    for words in (f"over {settings.request_timeout:.0f} s", f"above {settings.max_request_mb:.0f} MiB"):
        assert words in PAGE
    assert f"at most {settings.max_rows:,} rows" in PAGE
    assert f"up to {settings.max_batch_size:,} rows" in PAGE


def test_the_containers_serve_the_same_model_under_the_same_name():
    compose = (ROOT / "deploy" / "compose.yaml").read_text()
    assert [command.partition(" localhost")[0] for command in commands(compose)] == [
        command.partition(" localhost")[0] for command in commands(PAGE)[2:3] * 2
    ]
    assert "digits=/models/digits" in (ROOT / "deploy" / "Dockerfile").read_text()


def test_the_example_client_speaks_both_protocols(port):
    command = [sys.executable, str(ROOT / "examples" / "client.py"), f"http://127.0.0.1:{port}", "digits"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert "three samples of shape (8, 8)" in printed
    assert len(re.findall(r"^  (\d ?){10}$", printed, re.MULTILINE)) == 3
    assert float(re.search(r"decoded ones: ([\d.]+)", printed)[1]) < 0.3
    assert "a billion samples: 400: a request may have, or ask for, at most 4096 rows" in printed
