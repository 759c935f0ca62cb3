"""One training on many processes: the same bits for any number, real deaths and mistakes under torchrun."""

import contextlib
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import safelight
from safelight.config.network import DeepConvConfig
from safelight.config.training import TrainingConfig
from safelight.data.batches import Batches
from safelight.engines import ranks as ranks_module
from safelight.engines.ranks import ALONE, Ranks, join
from safelight.errors import ConfigError, Interrupted, RunError
from safelight.networks.deep_conv import DeepConvAE
from safelight.runs.gradients import MicroBatches, WholeBatches
from safelight.tasks.objective import Bernoulli, NegativeELBO

SETTINGS = {"channels": (4, 8), "normalization": "batch", "latent": 4, "hidden": 16, "threads": 1}
OPTIONS = (
    *("--network.channels", "4,8", "--network.normalization", "batch", "--network.latent", "4"),
    *("--network.hidden", "16", "--threads", "1"),
)
LIMIT = 203  # four batches, the last of 11 images, of which no part can have two in all of eight


class Wires:
    """Links between threads, each of which plays a process."""

    def __init__(self, count: int) -> None:
        self.ways = {(a, b): queue.Queue() for a in range(count) for b in range(count)}
        self.words: dict[str, str] = {}
        self.sent = [0] * count
        self.count = count

    def link(self, rank: int) -> "Wire":
        return Wire(self, rank)


class Wire:
    def __init__(self, wires: Wires, rank: int) -> None:
        self.wires, self.rank = wires, rank

    def send(self, tensor, to):
        self.wires.sent[self.rank] += 1
        self.wires.ways[self.rank, to].put(tensor.clone())

    def receive(self, tensor, source):
        tensor.copy_(self.wires.ways[source, self.rank].get(timeout=10))

    def spread(self, tensor):
        for to in range(1, self.wires.count):
            if self.rank == 0:
                self.wires.ways[0, to].put(tensor.clone())
        if self.rank:
            self.receive(tensor, 0)

    def say(self, key, words):
        self.wires.words[key] = words

    def hear(self, key):
        deadline = time.monotonic() + 10
        while key not in self.wires.words and time.monotonic() < deadline:
            time.sleep(0.001)
        return self.wires.words[key]


def in_world(count: int, act: Callable[[Ranks], object]) -> tuple[list[object], Wires]:
    """What each of so many ranks gives, or raises."""
    wires, found = Wires(count), [None] * count

    def play(rank: int) -> None:
        try:
            found[rank] = act(Ranks(rank, count, wires.link(rank)))
        except safelight.SafelightError as error:
            found[rank] = error

    threads = [threading.Thread(target=play, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return found, wires


def pairwise(values: list[torch.Tensor]) -> torch.Tensor:
    """The halves' sums, added: what a tree comes to."""
    if len(values) == 1:
        return values[0]
    middle = len(values) // 2
    return pairwise(values[:middle]) + pairwise(values[middle:])


@pytest.mark.parametrize("leaves", [1, 2, 3, 7, 8, 16])
def test_a_sum_has_the_same_bits_for_any_number_of_processes(leaves):
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(50, generator=generator) * 10.0 ** (i % 5) for i in range(leaves)]
    expected = pairwise(values)
    if leaves > 2:
        assert not torch.equal(expected, torch.stack(values).flip(0).cumsum(0)[-1])  # order tells
    for count in range(1, 9):
        made: list[int] = []

        def leaf(number: int, made: list[int] = made) -> torch.Tensor:
            made.append(number)
            return values[number].clone()

        (first, *others), wires = in_world(count, lambda ranks, leaf=leaf: ranks.sum(leaf, leaves))
        assert torch.equal(first, expected), count
        assert others == [None] * (count - 1)
        assert sorted(made) == list(range(leaves))  # each is made once
        if leaves % count == 0 and leaves & (leaves - 1) == 0:
            assert wires.sent == [0] + [1] * (count - 1)  # its own branch, as one sum


def test_all_take_the_first_ones_answer_and_words():
    answers, _ = in_world(3, lambda ranks: (ranks.agree(ranks.is_first), ranks.agree(not ranks.is_first)))
    assert answers == [(True, False)] * 3
    words, _ = in_world(3, lambda ranks: ranks.agree_on(["loss"] if ranks.is_first else []))
    assert words == [["loss"]] * 3


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"versions": {"torch": "2.4"}}, "versions.torch in all processes, got '2.13' in the first"),
        ({"data": {"fingerprint": "abc"}}, "same data.fingerprint"),
        ({"training": {"lr": 0.5}}, "same training.lr"),
    ],
)  # fmt: skip
def test_processes_that_differ_say_in_what(facts, words):
    own = {"versions": {"torch": "2.13"}, "data": {"fingerprint": "xyz"}, "training": {"lr": 0.1}}
    assert in_world(3, lambda ranks: ranks.compare(lambda: own))[0] == [None] * 3
    found, _ = in_world(3, lambda ranks: ranks.compare(lambda: {**own, **facts} if ranks.rank == 2 else own))
    for error in found:
        assert isinstance(error, ConfigError)
        assert words in str(error)
        assert "number 3 of 3" in str(error)


def gradients_of(normalization: str, parts: int, size: int, digits) -> tuple[nn.Module, dict, list]:
    """Gradients of one batch, of a network whose loss draws nothing."""
    torch.manual_seed(0)
    config = DeepConvConfig("deep-conv-ae", channels=(4,), hidden=8, latent=4, normalization=normalization)
    network, loss = DeepConvAE(digits.shape, config), NegativeELBO(Bernoulli())
    batches, autocast = Batches(digits, size, seed=0), torch.autocast("cpu", torch.bfloat16, enabled=False)
    way = MicroBatches(network, loss, batches, parts, autocast, ALONE) if parts else None
    way = way or WholeBatches(network, loss, batches, torch.Generator(), autocast)
    served = next(way.steps(0, 0))
    terms, images = way.fill(served, 0.0)
    assert images == size
    return network, {name: term.item() for name, term in terms.items()}, served


@pytest.mark.parametrize("size", [1, 2, 11, 64])
def test_parts_add_up_to_the_gradients_of_the_batch(size, digits):
    whole, terms, _ = gradients_of("none", 0, size, digits)
    parted, same, parts = gradients_of("none", 8, size, digits)
    assert len(parts) == max(1, min(8, size // 2))
    assert same == pytest.approx(terms, rel=1e-5)
    for expected, got in zip(whole.parameters(), parted.parameters(), strict=True):
        assert torch.allclose(expected.grad, got.grad, rtol=1e-4, atol=1e-5)
        assert got.grad.stride() == got.stride()  # as the fused optimizer walks them


def test_running_statistics_are_the_mean_of_the_parts(digits):
    network, _, parts = gradients_of("batch", 8, 60, digits)
    assert {len(part) for part in parts} == {7, 8}  # they count by their images
    conv, norm = (next(m for m in network.modules() if isinstance(m, k)) for k in (nn.Conv2d, nn.BatchNorm2d))
    with torch.no_grad():
        means = torch.stack([conv(digits.floats(part.indices)).mean((0, 2, 3)) for part in parts])
    share = torch.tensor([len(part) / 60 for part in parts])
    assert torch.allclose(norm.running_mean, norm.momentum * share @ means, atol=1e-6)
    assert norm.num_batches_tracked == 1


def weights_of(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_a_run_in_parts_stops_within_an_epoch_and_goes_on_to_the_same_bits(tmp_path):
    given = dict(SETTINGS, limit=LIMIT, epochs=2, micro_batches=8, task="denoise", corrupt="gaussian:0.3")
    safelight.train("digits", out=tmp_path / "whole", **given)
    with pytest.raises(Interrupted):
        safelight.train(
            "digits", out=tmp_path / "cut", **given, on_step=lambda p: (p.epoch, p.step) == (1, 3)
        )
    run = safelight.resume(tmp_path / "cut")  # the config says how
    assert run.config.training.micro_batches == 8
    assert weights_of(tmp_path / "cut") == weights_of(tmp_path / "whole")


def test_without_torchrun_batches_are_whole(tmp_path):
    run = safelight.train("digits", out=tmp_path / "plain", **SETTINGS, limit=64, epochs=1)
    assert run.config.training.micro_batches == 1
    assert join() is ALONE


def test_more_processes_than_parts_are_refused():
    Ranks(1, 8).check(TrainingConfig(micro_batches=8))
    for count, parts in ((9, 8), (2, 1), (2, None)):
        with pytest.raises(ConfigError, match=f"micro-batches, {parts or 1}, got {count}"):
            Ranks(1, count).check(TrainingConfig(micro_batches=parts))


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_processes_that_cannot_meet_say_so_in_one_line(monkeypatch):
    monkeypatch.setattr(ranks_module, "MEETING", 1.0)
    world = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "RANK": "0"}
    for name, value in world.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(RunError, match=r"find each other \(.*MASTER_PORT.*\); check"):
        join()
    with taken_port() as port:
        monkeypatch.setenv("MASTER_PORT", str(port))
        with pytest.raises(RunError, match=r"find each other \(.*address already in use.*\); check"):
            join()
    monkeypatch.setenv("RANK", "1")  # nobody is there any more
    with pytest.raises(RunError, match=r"find each other \(.*\); check"):
        join()


def torchrun(count: int, *arguments: str | Path) -> subprocess.Popen[str]:
    """`torchrun --nproc-per-node COUNT -m safelight ...`, on a port of its own."""
    start = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count))
    return subprocess.Popen(
        [*start, "-m", "safelight", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, list[str]]:
    """Its exit code, what it printed, and what went wrong by safelight's own words, or else by torchrun's."""
    said, complained = process.communicate(timeout=120)
    words = re.findall(r"^safelight: .*", complained, re.MULTILINE)
    return process.returncode, said, words or complained.splitlines() if process.returncode else words


def worker(agent: subprocess.Popen[str], rank: int) -> int:
    """A process of torchrun's."""
    for pid in Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split():
        if f"RANK={rank}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return int(pid)
    raise AssertionError(f"no process of rank {rank}")


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"it ended without {words}")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_four_processes_are_killed_and_one_goes_on_to_the_same_bits(tmp_path):
    out, epochs = tmp_path / "four", 12
    process = torchrun(
        4, "train", "digits", "--out", out, "--limit", LIMIT, "--epochs", epochs, *OPTIONS
    )  # fmt: skip
    wait_for(process, "epoch   1")
    os.kill(worker(process, 2), signal.SIGKILL)
    died = time.monotonic()
    code, _, words = finish(process)
    assert time.monotonic() - died < 30
    assert code != 0
    assert len(words) == 1, words
    assert "another process of the training is gone" in words[0]
    assert "--resume" in words[0]
    assert 1 <= len((out / "history.jsonl").read_text().splitlines()) < epochs
    safelight.resume(out)
    safelight.train("digits", out=tmp_path / "one", **SETTINGS, limit=LIMIT, epochs=epochs, micro_batches=8)
    assert weights_of(out) == weights_of(tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize(("count", "task"), [(1, "autoencode"), (3, "autoencode"), (8, "denoise")])
def test_any_number_of_processes_gives_the_same_bits(count, task, tmp_path):
    own = {"task": "denoise", "corrupt": "gaussian:0.3"} if task == "denoise" else {}
    options = ("--task", "denoise", "--corrupt", "gaussian:0.3") if own else ()
    # Batches of 5 have two parts, and the last one of 3 has one: fewer than processes.
    given = dict(SETTINGS, limit=38, epochs=2, batch_size=5, validation=10)
    safelight.train("digits", out=tmp_path / "here", **given, **own, micro_batches=8)
    process = torchrun(
        *(count, "train", "digits", "--out", tmp_path / "there", "--limit", 38, "--epochs", 2),
        *("--batch-size", 5, "--validation", 10, *OPTIONS, *options),
    )
    code, said, words = finish(process)
    assert (code, words) == (0, [])
    assert said.count("Run folder:") == 1  # the first process speaks
    assert weights_of(tmp_path / "there") == weights_of(tmp_path / "here")
    here, there = (safelight.Run(tmp_path / name).history for name in ("here", "there"))
    for part in ("train", "validation"):
        assert [record[part] for record in there] == [record[part] for record in here]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_ctrl_c_saves_and_another_number_of_processes_goes_on(tmp_path):
    out, given = tmp_path / "two", ("--limit", LIMIT, "--epochs", 8, *OPTIONS)
    process = torchrun(2, "train", "digits", "--out", out, *given)
    wait_for(process, "epoch   1")
    process.send_signal(signal.SIGINT)
    code, _, words = finish(process)
    assert code != 0
    assert len(words) == 1
    assert "stopped and saved" in words[0]
    assert finish(torchrun(4, "train", "--resume", out))[::2] == (0, [])
    safelight.train("digits", out=tmp_path / "one", **SETTINGS, limit=LIMIT, epochs=8, micro_batches=8)
    assert weights_of(out) == weights_of(tmp_path / "one")


@pytest.mark.slow
def test_mistakes_are_told_once(tmp_path):
    plain = tmp_path / "plain"
    safelight.train("digits", out=plain, **SETTINGS, limit=64, epochs=1)
    for arguments, expected in (
        (("train", "digits", "--out", plain), "already holds a run"),
        (("train", "nowhere", "--out", tmp_path / "new"), "nowhere"),
        (
            ("train", "--resume", plain, "--epochs", "2"),
            "no more processes than the run has micro-batches, 1",
        ),
        (("evaluate", plain), "expected safelight train under torchrun, got evaluate"),
    ):
        code, _, words = finish(torchrun(2, *arguments))
        assert code != 0
        assert len(words) == 1, words
        assert expected in words[0]


@pytest.mark.slow
def test_a_process_with_other_settings_ends_all(tmp_path):
    script = tmp_path / "differs.py"
    script.write_text(
        "import os, sys\n"
        "from safelight.command.main import main\n"
        "sys.argv += ['--seed', os.environ['RANK']]\n"
        "sys.exit(main())\n"
    )
    start = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script)
    arguments = ("train", "digits", "--out", tmp_path / "out", "--limit", "64", *OPTIONS)
    process = subprocess.Popen([*start, *arguments], stdout=-1, stderr=-1, text=True)
    code, _, words = finish(process)
    assert code != 0
    assert len(words) == 1, words
    assert "expected the same" in words[0]
