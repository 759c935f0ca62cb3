"""What the command says can be followed, and is seen on any terminal."""

import json
import os
import pty
import subprocess

import pytest
from conftest import safelight_command

import safelight
from safelight.config.data import DataConfig, Fit
from safelight.config.network import DeepConvConfig
from safelight.config.reading import read_json
from safelight.config.run import RunConfig
from safelight.config.search import SearchConfig
from safelight.config.training import TrainingConfig
from safelight.errors import ConfigError, Interrupted
from safelight.evolution.genes import named_genes
from safelight.evolution.record import SearchRecord, check_space, make_space


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            "train digits --out a --task autoencode --corrupt blur:1",
            "unknown option --corrupt; --task denoise has it",
        ),
        ("train digits --out a --task denoise --beta 2", "unknown option --beta; --task autoencode has it"),
        (
            "train digits --out a --network.window 9",
            "unknown option --network.window; --model denoising-unet has it",
        ),
        ("train digits --out a --latnt 9", "unknown option --latnt; did you mean"),
    ],
)
def test_an_option_of_another_task_or_network_is_called_so(call, words, command):
    done = command(*call.split())
    assert done.returncode == 2
    assert words in done.stderr


@pytest.mark.parametrize("content", ['{"lr": 1, "epochs": 2, "lr": 3}', '{"training": {"lr": 1, "lr": 1}}'])
def test_a_key_that_is_there_twice_is_refused(content, tmp_path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"expected JSON, got the key 'lr' twice; leave one"):
        read_json(tmp_path / "config.json")


def test_a_finetuning_that_is_interrupted_says_how_it_goes_on(tmp_path):
    run = safelight.train("digits", "conv-vae", tmp_path / "vae", epochs=1, limit=100, threads=1)
    options = {"labels_per_class": 2, "limit": 100, "on_step": lambda progress: True, "threads": 1}
    with pytest.raises(Interrupted, match=r"continue with: safelight finetune --resume .*tuned$"):
        safelight.finetune(run, "digits", out=tmp_path / "tuned", **options)


def record(genes, **search):
    base = RunConfig(DeepConvConfig(), Fit(8, 8, 1), DataConfig(), TrainingConfig())
    return SearchRecord(SearchConfig(**search), genes, base)


def test_a_stage_that_no_image_has_is_not_blamed_on_a_bound(tmp_path):
    space = tmp_path / "space.json"
    space.write_text(json.dumps({"network.channels.5": {"kind": "integer", "low": 8, "high": 16}}))
    made = record({})
    with pytest.raises(ConfigError) as error:
        make_space(record(named_genes(str(space), made.base)))
    assert "no network in it fits the images" in str(error.value)
    assert "--max" not in str(error.value)


def test_many_choices_are_checked_quickly(monkeypatch):
    """Once for each pair that could contradict each other, not for every pair of values."""
    from safelight.evolution import record as module

    calls = []
    real = module.trial_config
    monkeypatch.setattr(module, "trial_config", lambda *given: calls.append(1) or real(*given))
    made = record(
        named_genes_of(
            {
                "training.lr": [1e-4 * i for i in range(1, 61)],
                "training.weight_decay": [1e-6 * i for i in range(1, 61)],
                "task.beta": [0.1 * i for i in range(1, 61)],
            }
        )
    )
    check_space(made, make_space(made), 1000)
    assert len(calls) < 1000


def named_genes_of(choices):
    from safelight.evolution.genome import Gene

    return {name: Gene("categorical", choices=tuple(values)) for name, values in choices.items()}


def test_no_more_than_all_of_the_time_was_waited(monkeypatch):
    """Threads beside those that compute may have waited too."""
    from safelight.command.console import _Neighbours

    times = iter([(0.0, 0.0), (100.0, 106.0)])
    monkeypatch.setattr(_Neighbours, "_now", staticmethod(lambda: next(times)))
    (said,) = _Neighbours().after_epoch()
    assert "waited for a core 100% of its time" in said


def test_bars_fit_a_narrow_terminal(tmp_path):
    """Each redraws its line; one that the terminal broke would scroll away."""
    leader, follower = pty.openpty()
    environment = os.environ | {"COLUMNS": "50", "TERM": "xterm"}
    arguments = [
        "train",
        "digits",
        "--limit",
        "200",
        "--epochs",
        "2",
        "--out",
        tmp_path / "a",
        "--threads",
        "1",
    ]
    process = subprocess.Popen(
        safelight_command(arguments), stdout=subprocess.DEVNULL, stderr=follower, env=environment
    )
    os.close(follower)
    said = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # its other end is closed
            break
        if not part:
            break
        said += part
    assert process.wait() == 0
    import re

    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode())
    bars = [
        line for line in re.split(r"[\r\n]+", plain) if "/" in line and ("━" in line or "starting" in line)
    ]
    assert bars
    assert max(map(len, bars)) <= 50
