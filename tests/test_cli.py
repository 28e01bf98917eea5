"""The command line as a person meets it: exit codes, one-line errors, help, and the first run."""

import dataclasses
import functools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tfdiscrete
from tfdiscrete import cli, runs
from tfdiscrete.serving.settings import Settings

COMMANDS = ("train", "evaluate", "sample", "export", "serve", "experiment", "fit-pmf", "gradients")
TOOL = Path(sys.executable).parent / "tfdiscrete"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"tfdiscrete {command} " in text.split("\n\n", 1)[1]


def test_every_setting_is_an_option_with_its_default(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name, default in dataclasses.asdict(runs.DiscreteVAERecipe()).items():
        assert f"--{name.replace('_', '-')} " in text
        assert f"(default {'none' if default == '' else default})" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--dataset", "minst"], "Did you mean 'mnist'"),
        (["train", "--estimator", "reinforce"], "Known: arm, auto, direct_arg_max, disarm, enumeration"),
        (["train", "--temperature", "0"], "temperature must be a positive finite number"),
        (["train", "--num-categories", "0"], "num_categories must be an integer of at least 1"),
        (["train", "--resume"], "--resume needs --out"),
        (["train", "--workers", "2", "--resume"], "--resume needs --out"),
        (["train", "--workers", "2", "--strategy", "mirrored"], "leave --strategy out"),
        (["train", "--workers", "0"], "workers must be an integer of at least 1"),
        (["train", "--strategy", "mirored"], "Did you mean 'mirrored'"),
        (["train", "--strategy", "multi_worker"], "several workers need TF_CONFIG"),
        (["train", "--strategy", "multi-worker"], "several workers need TF_CONFIG"),
        (["train", "--resume", "--overwrite", "--out", "x"], "give one of them"),
        (["evaluate", "nowhere"], "holds no run"),
        (["evaluate", "nowhere", "--split", "tset"], "Did you mean 'test'"),
        (["sample", "nowhere"], "holds no run"),
        (["export", "nowhere", "models"], "holds no run"),
        (["serve", "nowhere"], "Received: nowhere, which is no folder"),
        (["experiment", "mnist"], "Did you mean 'binarized_mnist'"),
        (["gradients", "posson"], "unknown problem 'posson'. Did you mean 'poisson'?"),
        (["gradients", "bit", "--estimators", "rebarr"], "unknown estimator 'rebarr'. Did you mean 'rebar'?"),
        (["gradients", "bit", "--draws", "1"], "num_draws must be an integer of at least 2"),
        (["train", "--out", "/dev/null/run"], "Not a directory"),
        (["trian"], "unknown command 'trian'. Did you mean 'train'?"),
        (["train", "--datset", "digits"], "unknown option '--datset'. Did you mean '--dataset'?"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("tfdiscrete: error: ")
    assert error.count("\n") == 1
    assert message in error
    assert list(tmp_path.iterdir()) == []


def test_the_server_has_the_same_defaults_here_and_in_python():
    parsed = vars(cli.make_parser(["serve"]).parse_args(["serve", "models/vae"]))
    assert {name: parsed[name] for name in Settings._fields} == Settings()._asdict()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
        (["evaluate"], "the following arguments are required: RUN"),
        ([], "the following arguments are required: COMMAND"),
        (["evaluate", "run", "another"], "unexpected arguments: another"),
    ],
)
def test_what_the_parser_refuses_is_one_line_too(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"tfdiscrete: error: {message}")
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_run_is_trained_evaluated_sampled_and_exported(tmp_path, capsys):
    run = str(tmp_path / "run")
    settings = ["--epochs", "2", "--num-latents", "3", "--num-categories", "4"]
    assert cli.main(["train", *settings, "--out", run]) == 0
    printed = capsys.readouterr().out
    for text in ("discrete ELBO", "IWAE-100", "active units", "reconstructions.png", f"tfdiscrete serve {run}"):
        assert text in printed
    assert cli.main(["train", *settings, "--out", run]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert cli.main(["evaluate", run]) == 0
    bound = json.loads((tmp_path / "run" / "metrics.json").read_text())["discrete_elbo"]
    assert f"{bound:.2f} nats" in capsys.readouterr().out
    assert cli.main(["sample", run, "--num", "4", "--out", str(tmp_path / "four.png")]) == 0
    assert cli.main(["export", run, str(tmp_path / "models")]) == 0
    assert (tmp_path / "four.png").is_file()
    assert (tmp_path / "models" / "1" / "saved_model.pb").is_file()


def test_help_does_not_wait_for_tensorflow():
    code = (
        "import sys; sys.argv[0] = 'tfdiscrete'; from tfdiscrete import cli;"
        "cli.make_parser([]); print('tensorflow' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_importing_the_package_registers_every_class():
    code = (
        "import tfdiscrete, keras; names = keras.saving.get_custom_objects();"
        "print(sum(name.startswith('tfdiscrete.') for name in names))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(ran.stdout.split()[-1]) >= 12


def test_the_version_is_printed():
    ran = subprocess.run([TOOL, "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == f"tfdiscrete {tfdiscrete.__version__}"


@pytest.mark.slow
def test_ctrl_c_in_the_terminal_says_how_to_go_on(tmp_path):
    run = tmp_path / "run"
    command = [TOOL, "train", "--epochs", "100000", "--num-latents", "2", "--out", run]
    # What a shell runs in the background ignores interrupts, and so would its children.
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed) as process:
        deadline = time.monotonic() + 120
        while not list(run.glob("backup/epoch-*")) and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        try:
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert error.splitlines()[-1] == f"tfdiscrete: interrupted; continue with 'tfdiscrete train --out {run} --resume'"
    assert runs.RunFolder(run).is_run
    assert not runs.RunFolder(run).is_finished
