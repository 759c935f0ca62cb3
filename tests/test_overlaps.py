"""Work that overlaps, in threads and in processes, leaves everything as it should be."""

import subprocess
import sys
import threading

import pytest
import torch

from safelight.errors import RunError
from safelight.files import replacing, sweep
from safelight.machine import cpu_threads
from safelight.runs.folder import RunFolder


@pytest.mark.parametrize("last", ["first", "second"])
def test_overlapping_blocks_leave_as_many_threads_as_there_were(last):
    torch.set_num_threads(3)
    inside = {name: threading.Event() for name in ("first", "second")}
    end = {name: threading.Event() for name in inside}
    seen = {}

    def work(name, count):
        with cpu_threads(count):
            seen[f"{name}, inside"] = torch.get_num_threads()
            inside[name].set()
            end[name].wait()
        seen[name] = torch.get_num_threads()

    threads = {}
    for name, count in (("first", 1), ("second", 2)):
        threads[name] = threading.Thread(target=work, args=(name, count))
        threads[name].start()
        inside[name].wait()
    for name in ("second", "first") if last == "first" else ("first", "second"):
        end[name].set()
        threads[name].join()
    fresh = []
    new = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    new.start()
    new.join()
    assert seen == {"first, inside": 1, "second, inside": 2, "first": 3, "second": 3}
    assert fresh == [3]
    assert torch.get_num_threads() == 3


def test_a_block_inside_a_block_goes_back_to_its_number():
    torch.set_num_threads(3)
    with cpu_threads(1):
        with cpu_threads(2):
            pass
        assert torch.get_num_threads() == 1
        with cpu_threads(None) as count:
            assert count == 1
    assert torch.get_num_threads() == 3


KILLED = """
import os, pathlib, signal, sys
from safelight.files import replacing
with replacing(pathlib.Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_only_what_nobody_writes_is_swept_away(tmp_path):
    run = RunFolder(tmp_path / "run")
    with run.create():
        pass
    path = run.path / "evaluation.json"
    subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert len(list(run.path.glob(".*.partial"))) == 1
    with replacing(path) as file:
        assert len(list(run.path.glob(".*.partial"))) == 2
        with run.locked():  # as a training that begins, beside an evaluation that ends
            sweep(run.path, r"evaluation\.json")
        file.write(b"{}")
    assert path.read_bytes() == b"{}"
    assert not list(run.path.glob(".*.partial"))


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_another_is_making_is_said_to_be_so(overwrite, tmp_path):
    """Its files may be anything then, such as pictures without a config."""
    one, other = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    with one.create():
        (one.path / "figures").mkdir()
        (one.path / "figures" / "examples.png").write_bytes(b"")
        with pytest.raises(RunError, match="another process is working on"), other.create(overwrite):
            pass
    with pytest.raises(RunError, match="holds other files"), other.create(overwrite):
        pass
