import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from safelight.config.data import DataConfig, Fit
from safelight.config.network import ConvVAEConfig
from safelight.config.run import RunConfig
from safelight.config.task import AutoencodeConfig
from safelight.config.training import TrainingConfig
from safelight.errors import RunError, SafelightError
from safelight.files import write_file
from safelight.networks.conv_vae import ConvVAE
from safelight.networks.deep_conv import DeepConvVAE
from safelight.networks.table import build
from safelight.runs.folder import BEST, LAST, RunFolder
from safelight.runs.state import PackedState
from safelight.tasks.objective import objective

CONFIG = RunConfig(ConvVAEConfig(), Fit(8, 8, 1), DataConfig("digits"), TrainingConfig(lr=0.003))
LOSS = objective(AutoencodeConfig())


def create(folder: RunFolder, overwrite: bool = False) -> None:
    with folder.create(overwrite):
        folder.write_config(CONFIG)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    create(run)
    run.write_weights(LAST, ConvVAE((1, 8, 8)), LOSS)
    return run


def test_config_comes_back_as_it_was(folder):
    assert folder.read_config() == CONFIG


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "expected format_version 2, got 99"),
        ({"format_version": None}, "expected format_version 2, got None"),
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"training": {"lr": -1}}, "lr: expected a learning rate above 0, got -1"),
        ({"training": {"lr": "fast"}}, "lr: expected a number, got 'fast'"),
        ({"training": {"class_path": "os.system"}}, "unknown key 'class_path'"),
        ({"training": "config.json"}, "expected an object of epochs"),
        ({"network": {}}, "network: expected an object with a name, got {}"),
        ({"network": {"name": ["conv-vae"]}}, "network: expected an object with a name"),
        ({"image": {"height": 10**9, "width": 8, "channels": 1}}, "image.height"),
        ({"kind": "os.system"}, "expected a run, but"),
    ],
)
def test_a_config_that_is_not_ours_is_refused(folder, change, message):
    path = folder.path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RunError, match=r"config\.json|expected a run") as caught:
        folder.read_config()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["channels", "name", "versions", "training"])
def test_nothing_that_a_config_names_is_executed_or_opened(folder, tmp_path, place):
    harm = {"class_path": "logging.FileHandler", "init_args": {"filename": str(tmp_path / "harm")}}
    path = folder.path / "config.json"
    values = json.loads(path.read_text())
    (values["network"] if place in values["network"] else values)[place] = harm
    path.write_text(json.dumps(values))
    with contextlib.suppress(SafelightError):
        config = folder.read_config()
        build(config.network, config.image)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100_000])
def test_a_config_that_is_no_json_object_is_refused(folder, text):
    (folder.path / "config.json").write_text(text)
    with pytest.raises(RunError, match=r"config\.json: expected (a )?JSON"):
        folder.read_config()


def test_a_folder_without_config_is_no_run(tmp_path):
    with pytest.raises(RunError, match=r"has no config\.json"):
        RunFolder(tmp_path).read_config()
    with pytest.raises(RunError, match="is not a folder"):
        RunFolder(tmp_path / "none").read_config()


def test_weights_come_back(folder):
    network = ConvVAE((1, 8, 8))
    folder.write_weights(BEST, network, LOSS)
    other = ConvVAE((1, 8, 8))
    folder.read_weights(BEST, other, LOSS)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


def test_the_likelihoods_own_weights_come_back(folder):
    ours, theirs = (objective(AutoencodeConfig("autoencode", "gaussian")) for _ in range(2))
    with torch.no_grad():
        ours.likelihood.log_sigma.fill_(-1.25)
    folder.write_weights(LAST, ConvVAE((1, 8, 8)), ours)
    folder.read_weights(LAST, ConvVAE((1, 8, 8)), theirs)
    assert theirs.likelihood.log_sigma.item() == -1.25


def test_missing_truncated_and_foreign_weights_are_refused(folder):
    path = folder.path / LAST
    with pytest.raises(RunError, match=r"expected weights in .*best\.safetensors, but there are none"):
        folder.read_weights(BEST, ConvVAE((1, 8, 8)), LOSS)
    with pytest.raises(RunError, match="does not fit the network that was asked for"):
        folder.read_weights(LAST, DeepConvVAE((1, 8, 8)), LOSS)
    with pytest.raises(RunError, match="does not fit the network that was asked for"):
        folder.read_weights(LAST, ConvVAE((1, 9, 9)), LOSS)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"\xff" * 100, b"not weights at all"):
        path.write_bytes(content)
        with pytest.raises(RunError, match="truncated or no safetensors file"):
            folder.read_weights(LAST, ConvVAE((1, 8, 8)), LOSS)


RECORDS = [
    {"epoch": 1, "train": {"loss": 2.5}, "validation": {}},
    {"epoch": 2, "train": {"loss": 2.0}, "validation": {"loss": 1.5}},
]


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"epoch": 1, "train": 1, "validation": {}}'])
def test_a_damaged_history_is_refused(folder, line):
    (folder.path / "history.jsonl").write_text(line + "\n")
    with pytest.raises(RunError, match=r"history\.jsonl cannot be read"):
        folder.read_history()


def test_state_and_history_come_back(folder):
    assert folder.read_state() is None
    state = PackedState({"a": torch.arange(3.0)}, {"epoch": 2, "totals": {"loss": 0.1 + 0.2}})
    folder.write_state(state)
    again = folder.read_state()
    assert torch.equal(again.tensors["a"], torch.arange(3.0))
    assert again.numbers == {"epoch": 2, "totals": {"loss": 0.1 + 0.2}}
    assert folder.read_history() == []
    folder.write_history(RECORDS)
    assert folder.read_history() == RECORDS
    assert len((folder.path / "history.jsonl").read_text().splitlines()) == 2


def test_another_run_is_not_written_over(folder):
    before = {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}
    with pytest.raises(RunError, match="already holds a run; continue it with --resume"):
        create(folder)
    assert {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()} == before


def test_overwrite_replaces_a_run_and_leaves_what_is_not_ours(folder):
    (folder.path / "notes.txt").write_text("mine")
    create(folder, overwrite=True)
    assert not (folder.path / LAST).exists()
    assert (folder.path / "notes.txt").read_text() == "mine"
    assert folder.read_config() == CONFIG


def test_what_a_killed_start_left_is_no_obstacle(tmp_path):
    half = RunFolder(tmp_path / "half")
    half.path.mkdir()
    (half.path / "state").mkdir()
    for name in (".lock", "state/initial.safetensors", ".config.json.0a0a0a0a.partial"):
        (half.path / name).write_bytes(b"")
    create(half)
    assert half.read_config() == CONFIG


def test_overwrite_deletes_nothing_but_runs(tmp_path, folder, monkeypatch):
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter.txt").write_text("years of work")
    with pytest.raises(RunError, match="holds other files"):
        create(RunFolder(precious), overwrite=True)
    (precious / "config.json").write_text('{"someone": "else"}')
    with pytest.raises(RunError, match="format_version"):
        create(RunFolder(precious), overwrite=True)
    assert (precious / "chapter.txt").read_text() == "years of work"

    link = tmp_path / "link"
    link.symlink_to(folder.path)
    with pytest.raises(RunError, match="is a link"):
        create(RunFolder(link), overwrite=True)
    monkeypatch.chdir(folder.path)
    with pytest.raises(RunError, match="current or the home folder"):
        create(folder, overwrite=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(folder.path))
    with pytest.raises(RunError, match="current or the home folder"):
        create(folder, overwrite=True)
    assert (folder.path / LAST).exists()


def test_a_second_process_is_kept_out(folder):
    code = (
        "import sys; from safelight.runs.folder import RunFolder; run = RunFolder(sys.argv[1])\n"
        "with run.locked(): print('in', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(folder.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"in\n"
        with pytest.raises(RunError, match="another process is working on"), folder.locked():
            pass
        other.kill()
    with folder.locked():  # the killed process left no lock
        pass


def test_what_a_killed_write_left_is_swept_up(folder):
    (folder.figures / "epochs").mkdir(parents=True)
    for path in (
        folder.path / ".model.safetensors.0123abcd.partial",
        folder.figures / "epochs" / ".a.png.4567cdef.partial",
    ):
        path.write_bytes(b"half")
    with folder.locked():
        assert not list(folder.path.rglob("*.partial"))
        assert (folder.path / LAST).exists()


def test_a_full_disk_leaves_the_old_file_whole(tmp_path):
    """A limit on the size of files stands for the full disk: the kernel refuses the write halfway."""
    path = tmp_path / "weights"
    write_file(path, b"old")
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from safelight.files import write_file\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_file(Path(sys.argv[1]), b'new' * 10_000)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert "RunError: cannot write" in done.stderr
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_have_the_users_usual_mode(tmp_path):
    write_file(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_evaluation_that_is_not_ours_is_refused(folder):
    for text in (
        "{",
        "[]",
        '{"test": 3}',
        '{"test": {"pictures": ["../../mine"]}}',
        '{"test": {"pictures": 3}}',
    ):
        (folder.path / "evaluation.json").write_text(text)
        with pytest.raises(RunError, match=r"evaluation\.json.*delete it and evaluate again"):
            folder.read_evaluation()
