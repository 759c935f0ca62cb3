"""What is seen in scripts and notebooks: bars, tables, pictures, and the tour in a real kernel."""

import io
from pathlib import Path

import numpy as np
import pytest

import safelight
from safelight.showing import open_bar

TOUR = Path(__file__).parents[1] / "docs" / "tour.ipynb"
FAST = {"threads": 1, "channels": (8,), "hidden": 16, "latent": 4, "epochs": 2}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def trained_at(stream: io.StringIO, monkeypatch, **more) -> str:
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("safelight.showing.EVERY", 0.0)
    safelight.train(safelight.load("digits", limit=60), **FAST, **more)
    return stream.getvalue()


def test_a_bar_is_shown_on_a_terminal_and_nothing_elsewhere(monkeypatch, capsys):
    steps = []
    said = trained_at(Terminal(), monkeypatch, on_step=lambda progress: steps.append(progress))
    assert "epoch 2/2" in said
    assert len(steps) == 6, "a callback of one's own is called all the same"
    assert trained_at(Terminal(), monkeypatch, progress=False) == ""
    assert trained_at(io.StringIO(), monkeypatch) == ""
    assert capsys.readouterr().out == ""


def test_of_the_processes_of_one_training_the_first_shows_a_bar(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    for rank, is_shown in (("0", True), ("1", False)):
        for name, value in {"RANK": rank, "TORCHELASTIC_RUN_ID": "1"}.items():
            monkeypatch.setenv(name, value)
        with open_bar() as bar:
            assert (bar is not None) is is_shown


def test_results_show_themselves():
    images = safelight.load("digits", limit=60)
    shown = images._repr_html_()
    assert "the first 24" in shown
    assert "data:image/png;base64," in shown
    many = safelight.ImageSet(np.zeros((3, 5, 9, 9), np.uint8))
    assert "3 × 5×9×9" in many._repr_html_()
    run = safelight.train(images, **FAST)
    run.evaluate("test", samples=0)
    table = run._repr_html_()
    assert "<th>epochs</th><td>2 of 2</td>" in table
    assert "<th>test loss (nats per image)</th>" in table
    found = run.project(n=40)
    assert repr(found) == "LatentMap(40 points, pca)"
    assert found._repr_html_().count("<circle") == len(found)


@pytest.mark.slow
def test_the_tour_runs_in_a_notebook(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(TOUR, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output.data.get("text/html", "") for output in outputs if "data" in output]
    assert any("data:image/png" in html for html in shown), "the images"
    assert any("validation loss" in html for html in shown), "a run"
    assert any("<circle" in html for html in shown), "a map"
    assert any("trials" in html for html in shown), "a search"
    assert not any("<progress" in html for html in shown), "bars are gone when the work is done"
    said = [output.text for output in outputs if output.get("name") == "stderr"]
    assert not [text for text in said if "TqdmWarning" not in text], "Optuna's, about a widget"
