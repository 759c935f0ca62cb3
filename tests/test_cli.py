import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
from conftest import safelight_command

from safelight.command.main import main

SMALL = ["--threads", "1", "--network.channels", "8", "--network.hidden", "32", "--network.latent", "4"]


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "digits", "--out", "run", "--epochs", "2", *SMALL]) == 0
    return folder / "run"


@pytest.fixture
def trained(trained_once, tmp_path) -> Path:
    return Path(shutil.copytree(trained_once, tmp_path / "run"))


def test_train_evaluate_report_compare(command, trained, tmp_path):
    assert json.loads((trained / "config.json").read_text())["command"].startswith(
        "safelight train digits --out run"
    )
    done = command("evaluate", "run", "--samples", "5", "--json")
    measures = json.loads(done.stdout)
    assert {"loss", "reconstruction", "kl", "loss_at_mean", "iw_bound", "active_units", "n", "split"} <= set(
        measures
    )
    assert (measures["n"], measures["split"], measures["iw_samples"]) == (180, "test", 5)
    assert measures["loss"] == pytest.approx(measures["reconstruction"] + measures["kl"])
    assert len(measures["kl_per_dimension"]) == 4
    table = command("evaluate", "run", "--samples", "5").stdout
    assert f"{measures['loss']:.3f}" in table
    assert "Student's t −ELBO" in table
    assert "PSNR, PCA" in table

    done = command("report", "run")
    assert "run/report.html" in done.stdout
    assert "run/figures" in done.stdout
    assert f"Test loss: {measures['loss']:.3f}" in done.stdout
    assert f"{measures['loss']:.3f}" in (trained / "report.html").read_text()

    assert (
        command("train", "digits", "--out", "other", "--model", "conv-vae", "--epochs", "1").returncode == 0
    )
    done = command("compare", "run", "other")
    assert done.returncode == 0, done.stderr
    assert "conv-vae" in done.stdout
    assert "deep-conv-vae" in done.stdout
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_resume_keeps_settings_and_takes_more_epochs(command, trained):
    done = command("train", "--resume", "run", "--lr", "0.5")
    assert done.returncode == 2
    assert "--resume: expected its own lr" in done.stderr
    assert command("train", "--resume", "run", "--epochs", "3").returncode == 0
    assert len((trained / "history.jsonl").read_text().splitlines()) == 3
    done = command("train", "--resume", "run", "--out", "b")
    assert "--resume continues in its own folder; drop --out" in done.stderr
    done = command("train", "--resume", "run", "--epochs", "2")
    assert done.returncode == 2
    assert "has 3 epochs already" in done.stderr


def test_a_runs_config_repeats_it_and_flags_override_the_file(command, trained, tmp_path):
    done = command("train", "--config", "run/config.json", "--out", "again")
    assert done.returncode == 0, done.stderr
    one, other = (safetensors.torch.load_file(tmp_path / n / "model.safetensors") for n in ("run", "again"))
    assert all(np.array_equal(one[k], other[k]) for k in one)

    settings = {
        "network": {"name": "conv-vae", "latent": 3},
        "training": {"epochs": 1, "lr": 0.001},
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    done = command("train", "digits", "--config", "settings.json", "--lr", "0.002", "--out", "partly")
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "partly" / "config.json").read_text())
    assert config["network"] == {
        "name": "conv-vae",
        "channels": 32,
        "latent": 3,
    }
    assert (config["training"]["epochs"], config["training"]["lr"]) == (1, 0.002)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train mnits --out a", "did you mean 'mnist'"),
        ("train --out a", "expected data, such as mnist"),
        ("train digits", "expected --out"),
        ("train digits --out a --lr 0", "lr: expected a learning rate above 0, got 0"),
        ("train digits --out a --lr fast", "lr: expected float, got fast"),
        ("train digits --out a --batch-size 5000", "batch size of at most 1437"),
        ("train digits --out a --bacth-size 50", "unknown option --bacth-size; did you mean '--batch-size'"),
        ("train digits --out a --network.latnt 5", "did you mean '--network.latent'"),
        ("train digits --out a --network.channels x", "expected whole numbers such as 32,64, got x"),
        ("train digits --out a --model conv-va", "unknown model 'conv-va'; did you mean 'conv-vae'"),
        ("train digits --out a --precision half", "choose from"),
        ("train digits --out a --config none.json", "cannot read none.json"),
        ("train digits --out a --config bad.json", "unknown key 'lrr'; did you mean 'lr'"),
        ("train digits --out a --config path.json", "network: unknown name 'os.system'"),
        ("train digits --out a --config list.json", "expected a JSON object"),
        ("train --resume nothing", "nothing is not a folder"),
        ("train digits --out a --init-from nothing", "nothing is not a folder"),
        ("evaluate nothing", "nothing is not a folder"),
        ("evaluate", "run"),
        ("report nothing", "nothing is not a folder"),
        ("compare nothing", "at least two runs to compare, got 1"),
        ("compare nothing none", "nothing is not a folder"),
        (
            "evolve digits --out a --space genes.json",
            "unknown gene 'training.lrr'; did you mean 'training.lr'",
        ),
        ("evolve digits --out a --space empty.json", "a range with low < high, got 1 to 1"),
        (
            "evolve digits --out a --space wrong.json",
            "expected one of relu, silu, gelu, elu, leaky-relu, got 'r'",
        ),
        ("evolve digits --out a --space hypr", "did you mean 'hyper'"),
        ("evolve digits --out a --population 1", "population: expected at least 2, got 1"),
        ("evolve digits --out a --engine ray --address 127.0.0.1:9", "does not answer"),
        ("evolve digits --out a --address tcp://127.0.0.1:9", "expected with --engine dask or ray"),
        ("evolve digits --out a --lr 0.1", "--lr is an option of safelight train"),
        ("evolve digits --out a --space structure --max-parameters 9", "no network in it is small enough"),
        ("evolve --out a", "expected data, such as mnist"),
        ("evolve digits", "expected --out"),
        ("evolve --resume nothing", "nothing is not a folder"),
        ("trian digits", "invalid choice: 'trian'"),
        ("data fetch mnits", "did you mean 'mnist'"),
    ],
)
def test_a_mistake_gives_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text('{"training": {"lrr": 1}}')
    (tmp_path / "path.json").write_text('{"network": {"name": "os.system"}}')
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "genes.json").write_text('{"training.lrr": {"kind": "float", "low": 0, "high": 1}}')
    (tmp_path / "empty.json").write_text('{"training.lr": {"kind": "float", "low": 1, "high": 1}}')
    (tmp_path / "wrong.json").write_text(
        '{"network.activation": {"kind": "categorical", "choices": ["relu", "r"]}}'
    )
    assert main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("safelight: ")
    assert len(captured.err.splitlines()) == 1
    assert not (tmp_path / "a").exists()


def test_an_existing_run_is_refused_and_replaced_on_request(command, trained):
    before = (trained / "model.safetensors").read_bytes()
    done = command("train", "digits", "--out", "run", "--seed", "1", "--epochs", "1", *SMALL)
    assert done.returncode == 2
    assert "already holds a run" in done.stderr
    assert (trained / "model.safetensors").read_bytes() == before
    done = command("train", "digits", "--out", "run", "--seed", "1", "--epochs", "1", "--overwrite", *SMALL)
    assert done.returncode == 0
    assert (trained / "model.safetensors").read_bytes() != before


def test_debug_shows_the_traceback(command):
    assert "Traceback" in command("evaluate", "nothing", "--debug").stderr


def test_an_interrupt_saves_and_the_run_goes_on(command, tmp_path):
    start = ["train", "digits", "--epochs", "5", "--batch-size", "10", *SMALL]
    assert command(*start, "--out", "straight").returncode == 0
    going = [*start, "--out", "cut"]
    for number, lines in ((signal.SIGINT, 1), (signal.SIGTERM, 3)):
        process = subprocess.Popen(safelight_command(going), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        history = tmp_path / "cut" / "history.jsonl"
        while not history.exists() or len(history.read_text().splitlines()) < lines:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(number)
        _, message = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "continue with: safelight train --resume cut" in message
        going = ["train", "--resume", "cut"]
    done = command(*going)
    assert done.returncode == 0, done.stderr
    one, other = (
        safetensors.torch.load_file(tmp_path / n / "model.safetensors") for n in ("straight", "cut")
    )
    assert all(np.array_equal(one[k], other[k]) for k in one)


def test_a_terminal_shows_a_bar(tmp_path):
    shown = b""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execv(
            sys.executable, safelight_command(["train", "digits", "--out", "a", "--epochs", "2", *SMALL])
        )
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert os.waitstatus_to_exitcode(status) == 0, text
    assert "epoch 2/2  loss" in text  # the first may be over before the bar is drawn again
    assert "━" in text


def test_data_list_shows_what_there_is(command):
    listing = command("data", "list").stdout
    for name in ("mnist", "fashion-mnist", "kmnist", "digits"):
        assert name in listing


def test_help_needs_no_torch_and_shows_every_verb(command):
    code = "import sys, safelight.command.main as c; c.main(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for verb in ("train", "evaluate", "report", "compare", "data"):
        assert verb in done.stdout
        help_text = command(verb, "--help").stdout
        assert f"safelight {verb}" in help_text, "each verb has an example"
    assert command().returncode == 2
    assert re.match(r"safelight \d+\.\d+", command("--version").stdout)


def test_without_a_reader_the_command_ends_quietly():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        safelight_command(["data", "list"]), stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_each_network_shows_its_own_options(command):
    assert "--network.kernels" in command("train", "--help").stdout
    own = command("train", "--model", "conv-vae", "--help").stdout
    assert "--network.latent" in own
    assert "--network.kernels" not in own


def test_a_run_is_no_search_and_is_told_so(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = sorted(trained.rglob("*"))
    for arguments, advice in (
        (
            "evolve --resume run",
            "measure it with safelight evaluate run, or continue it with safelight train --",
        ),
        ("evolve digits --out run", "choose another --out"),
        ("evolve digits --out run --overwrite", "choose another --out"),
    ):
        assert main(arguments.split()) == 2
        said = capsys.readouterr().err
        assert "holds a run" in said
        assert advice in said
        assert len(said.splitlines()) == 1
    assert sorted(trained.rglob("*")) == before


def test_a_diverged_training_fails_and_the_same_command_then_works(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train = ["train", "digits", "--out", "a", "--epochs", "1", *SMALL]
    assert main([*train, "--lr", "1e30"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("; begin anew with a lower --lr")
    assert main(train) == 0
    capsys.readouterr()
    assert main([*train, "--lr", "100", "--prior", "normal", "--overwrite"]) == 2
    assert "the training diverged: the loss is" in capsys.readouterr().err
