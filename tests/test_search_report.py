"""A search's report says what its record holds, and its charts draw that."""

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from PIL import Image

import safelight
from safelight.config.task import Measure
from safelight.errors import Interrupted, RunError
from safelight.evolution.charts import family_chart, parallel_chart, pareto_chart, population_chart
from safelight.evolution.folder import CHARTS, SearchFolder
from safelight.evolution.genome import Gene, Space
from safelight.evolution.ledger import Ledger, Trial
from safelight.evolution.record import make_space
from safelight.evolution.report import ancestors, importances, write_search_report
from safelight.reporting.charts import DARK, LIGHT

LOSS = Measure("loss", "loss", unit="nats per pixel")


def trial(number, loss=1.0, parents=(), **values):
    fitness = None if loss is None else (loss,)
    return Trial(number, values, "offspring", tuple(parents), fitness, None, {}, 10, 1.0, (), True)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    found = safelight.evolve(
        "digits",
        "deep-conv-vae",
        tmp_path_factory.mktemp("report") / "evo",
        space="both",
        objective=("loss", "parameters"),
        population=6,
        generations=3,
        limit=200,
        workers=1,
        command="safelight evolve <digits>",
    )
    write_search_report(SearchFolder(found.path))
    return found


@pytest.fixture(scope="module")
def page(searched):
    return (searched.path / "report.html").read_text()


def rows_of(page, table):
    """Texts of a table's cells, row by row."""
    body = page.split(f'<table id="{table}"')[1].split("<tbody>")[1].split("</tbody>")[0]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in body.split("</tr>")]
    return [[re.sub("<[^>]*>", " ", cell).strip() for cell in row] for row in rows if row]


def test_the_page_says_who_won(searched, page):
    assert f"{np.mean(searched.test):.3f}" in page
    assert f"{np.mean(searched.validation):.3f}" in page
    finalists = rows_of(page, "finalists")
    assert len(finalists) == 3
    assert finalists[0][2] == ", ".join(f"{loss:.3f}" for loss in searched.validation)
    for name, value in searched.values.items():
        assert (f"{value:g}" if isinstance(value, float) else str(value)) in page, name


def test_the_tables_hold_the_records_numbers(searched, page):
    done = sorted((t for t in searched.trials if t.fitness), key=lambda t: t.rank_by[0])
    top = rows_of(page, "best")
    assert [row[0] for row in top] == [str(t.number) for t in done[:10]]
    assert [row[1] for row in top] == [f"{t.rank_by[0]:.3f}" for t in done[:10]]
    for i, row in enumerate(rows_of(page, "generations")):
        losses = [t.rank_by[0] for t in done if t.number // 6 == i]
        assert row[2:4] == [f"{min(losses):.3f}", f"{np.median(losses):.3f}"]
        assert row[1] == f"{min(t.rank_by[0] for t in done if t.number // 6 <= i):.3f}"
    sizes = [int(row[2].replace(",", "")) for row in rows_of(page, "front")]
    losses = [float(row[1]) for row in rows_of(page, "front")]
    assert sizes == sorted(sizes)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == pytest.approx(done[0].rank_by[0], abs=0.0005)
    shares = [float(row[1]) for row in rows_of(page, "importances")]
    assert sum(shares) == pytest.approx(1, abs=0.01)


def test_the_page_needs_nothing_but_itself_and_escapes_what_it_says(page):
    assert not re.findall(r'(?:src|href|srcset)="(?!data:|#)', page)
    assert "<script" not in page
    assert "safelight evolve &lt;digits&gt;" in page


def test_every_chart_has_a_dark_twin_of_the_same_size(searched):
    figures = searched.path / "figures"
    light = sorted(p for p in figures.glob("*.png") if not p.stem.endswith("-dark"))
    assert {"population", "parallel", "importance", "pareto"} <= {p.stem for p in light} <= set(CHARTS)
    for path in light:
        with Image.open(path) as one, Image.open(figures / f"{path.stem}-dark.png") as other:
            assert one.size == other.size
            assert one.getpixel((0, 0)) != other.getpixel((0, 0))


def test_a_search_under_way_says_how_to_go_on(tmp_path):
    seen = []
    with pytest.raises(Interrupted):
        safelight.evolve(
            "digits",
            "conv-vae",
            tmp_path / "evo",
            population=3,
            generations=2,
            limit=100,
            workers=1,
            on_status=seen.append,
            is_stopped=lambda: bool(seen) and seen[-1].done >= 1,
        )
    page = write_search_report(SearchFolder(tmp_path / "evo")).read_text()
    assert re.search(r"Only \d of 6 trials are finished", page)
    assert "safelight evolve --resume evo" in page
    (tmp_path / "evo" / "result.json").write_text("{}")
    with pytest.raises(RunError, match=r"expected a key .values., but there is none; write it again"):
        write_search_report(SearchFolder(tmp_path / "evo"))


def test_without_a_successful_trial_there_is_no_report(searched, tmp_path):
    folder = SearchFolder(tmp_path / "empty")
    record = SearchFolder(searched.path).read_config()
    with folder.create():
        folder.write_config(record)
    Ledger(folder.study, make_space(record), record.fingerprint(), 2)
    with pytest.raises(RunError, match="expected at least one successful trial"):
        write_search_report(folder)
    assert not (folder.path / "report.html").exists()


def test_the_family_is_everyone_that_the_winner_descends_from():
    trials = [trial(0), trial(1), trial(2), trial(3, parents=(0, 1)), trial(4, parents=(2, 1))]
    trials += [trial(5, parents=(3, 0)), trial(6, parents=(4, 3))]
    assert [t.number for t in ancestors(trials[5], trials)] == [5, 3, 1, 0]
    assert [t.number for t in ancestors(trials[2], trials)] == [2]
    axes = family_chart(ancestors(trials[6], trials), 3, LIGHT).axes[0]
    (lines,) = (c for c in axes.collections if isinstance(c, LineCollection))
    assert len(lines.get_segments()) == 6  # two parents each of 6, 4 and 3
    assert {text.get_text() for text in axes.texts} == {"6", "4", "3", "2", "1", "0"}
    left = {(round(a[0]), round(b[0])) for a, b in lines.get_segments()}
    assert left == {(1, 2), (2, 3)}  # from one generation to a later one


def test_importances_find_the_gene_that_decides():
    rng = np.random.default_rng(0)
    names = ("training.lr", "training.gamma", "training.beta")
    space = Space({name: Gene("float", 0.0, 1.0) for name in names})
    units = rng.random((60, 3))
    trials = [
        trial(i, 10 * u[1] + 0.1 * u[0], **dict(zip(names, map(float, u), strict=True)))
        for i, u in enumerate(units)
    ]
    shares = importances(space, trials)
    assert max(shares, key=shares.get) == "training.gamma"
    assert shares["training.gamma"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)
    failed = [
        trial(t.number, None if u[2] > 0.5 else u[0] / 100, **t.values)
        for u, t in zip(units, trials, strict=True)
    ]
    shares = importances(space, failed)
    assert max(shares, key=shares.get) == "training.beta"  # failing is the worst there is
    assert importances(space, trials[:3]) == {}


def test_the_population_chart_draws_every_trial():
    generations = [[120.0, 110.0, 900.0, math.inf], [108.0, 109.0, 111.0, 112.0]]
    axes = population_chart(generations, LOSS, DARK).axes[0]
    best = next(line for line in axes.lines if line.get_label() == "best so far")
    assert list(best.get_ydata()) == [110.0, 108.0]
    assert axes.get_ylabel() == "validation loss (nats per pixel)"
    dots = [
        v for line in axes.lines if line.get_marker() == "o" and line is not best for v in line.get_ydata()
    ]
    assert sorted(dots) == [108.0, 109.0, 110.0, 111.0, 112.0, 120.0]
    marks = {line.get_label() for line in axes.lines}
    assert {"worse", "failed"} <= marks
    top = axes.get_ylim()[1]
    at_the_edge = [line for line in axes.lines if list(line.get_ydata()) == [top]]
    assert {line.get_marker() for line in at_the_edge} == {"^", "x"}
    axes = population_chart([*generations, [105.0], [101.0]], LOSS, DARK, [3, 10]).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "3\nepochs", "10\nepochs"]


def test_the_parallel_chart_breaks_where_a_gene_does_not_act():
    space = Space(
        {
            "network.stages": Gene("integer", 1, 2),
            "network.channels.1": Gene("log-integer", 8, 64, when={"network.stages": (2,)}),
            "network.activation": Gene("categorical", choices=("relu", "silu", "elu")),
        }
    )
    best = trial(0, 1.0, **{"network.stages": 1, "network.activation": "elu"})
    other = trial(1, 2.0, **{"network.stages": 2, "network.channels.1": 64, "network.activation": "relu"})
    axes = parallel_chart(space, [best, other], LIGHT).axes[0]
    lines = [line for line in axes.lines if len(line.get_xdata()) == 3]
    drawn = [list(line.get_ydata()) for line in lines]
    assert np.isnan(drawn[1][1])
    assert drawn[1][2] == 1.0  # the best is drawn last, on top
    assert drawn[0] == pytest.approx([0.75, space.genes["network.channels.1"].encode(64), 0.0])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["stages", "channels 2", "activation"]


def test_the_pareto_chart_steps_along_the_front():
    points = [(10.0, 5.0), (20.0, 4.0), (30.0, 4.5), (40.0, 3.0)]
    axes = pareto_chart(points, [points[0], points[1], points[3]], "parameters", LOSS, LIGHT).axes[0]
    step = next(line for line in axes.lines if line.get_drawstyle() == "steps-post")
    assert list(step.get_xdata()) == [10.0, 20.0, 40.0]
    assert axes.get_xlabel() == "parameters"
    assert axes.get_ylabel() == "validation loss (nats per pixel)"


@pytest.mark.parametrize("most", [1.3e8, 2e8, 5e8, 7e8, 1e10])
def test_sizes_of_the_pareto_chart_stand_apart(most):
    points = [(1.2e8, 5.0), (most, 4.0)]
    figure = pareto_chart(points, points, "FLOPs", LOSS, LIGHT)
    figure.canvas.draw()
    (axes,) = figure.axes
    left, right = axes.get_xlim()
    shown = [label for label in axes.get_xticklabels() if left <= label.get_position()[0] <= right]
    boxes = sorted((label.get_window_extent() for label in shown), key=lambda box: box.x0)
    assert len(boxes) > 1
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


def test_the_command_writes_it(command, searched):
    (searched.path / "report.html").unlink()
    done = command("report", searched.path)
    assert done.returncode == 0, done.stderr
    assert "report.html" in done.stdout
    assert Path(searched.path / "report.html").read_text().startswith("<!DOCTYPE html>")
