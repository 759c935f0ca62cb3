import base64
import hashlib
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from safelight.config.data import DataConfig, Fit
from safelight.config.network import ConvVAEConfig, CustomNetwork, DeepConvConfig
from safelight.config.run import RunConfig
from safelight.config.task import AutoencodeConfig
from safelight.config.training import TrainingConfig
from safelight.data.pictures import GREY, GUTTER, make_folder, pairs, png, tile, write_examples
from safelight.errors import RunError
from safelight.networks.deep_conv import DeepConvVAE
from safelight.reporting import charts, sheets
from safelight.reporting.comparison import compare, draw_comparison
from safelight.reporting.evaluation_charts import kl_chart
from safelight.reporting.report import write_report
from safelight.reporting.summary import summarize
from safelight.runs.folder import LAST, RunFolder
from safelight.tasks.objective import Bernoulli, NegativeELBO

NETWORK = DeepConvConfig(channels=(4,), hidden=8, latent=3)
CONFIG = RunConfig(
    network=NETWORK,
    image=Fit(8, 8, 1),
    data=DataConfig("digits", "0123abcd"),
    training=TrainingConfig(epochs=30),
    versions={"safelight": "0.1.0", "torch": "2.13.0"},
    command="safelight train digits --epochs 30 --out runs/first",
)
MEASURES = {
    "loss": 100.99321,
    "reconstruction": 76.5,
    "kl": 24.49321,
    "loss_at_mean": 95.25,
    "iw_bound": 97.125,
    "iw_samples": 50,
    "active_units": 2,
    "kl_per_dimension": [1.5, 20.9, 2.09321],
    "n": 180,
    "split": "test",
}


class Page(HTMLParser):
    """What a browser would see of a page: tags with their attributes, text, and tables by id."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self._table = ""
        self._in_cell = False
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self._table = dict(attrs).get("id") or f"table {len(self.tables)}"
            self.tables[self._table] = []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in ("td", "th"):
            self.tables[self._table][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data):
        self.text += data
        if self._in_cell:
            self.tables[self._table][-1][-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def measures(loss: float, kl: bool) -> dict[str, float]:
    return {"loss": loss, "reconstruction": loss - 21.456 * kl} | ({"kl": 21.456} if kl else {})


def records(epochs: int, kl: bool = True, validation: bool = True) -> list[dict]:
    return [
        {
            "epoch": epoch,
            "train": measures(100 + 50 / epoch + 0.123, kl),
            "validation": measures(101 + 50 / epoch + 0.456, kl) if validation else {},
            "lr": 0.002 * (1 - epoch / (epochs + 1)),
            "seconds": 12.34,
            "images_per_second": 4051.7,
        }
        for epoch in range(1, epochs + 1)
    ]


def snapshot(figures: Path, epoch: int, shape: tuple[int, int, int] = (1, 8, 8)) -> None:
    images = np.random.default_rng(epoch).random((64, *shape))
    drawn = {"samples": tile(images, 8), "reconstructions": pairs(images[:20], images[20:40])}
    for name, picture in drawn.items():
        path = make_folder(figures / "epochs") / f"{name}-{epoch:04d}.png"
        path.write_bytes(png(picture))


def create(folder: RunFolder, config: RunConfig) -> None:
    with folder.create():
        folder.write_config(config)


def make_run(path: Path, epochs: int, config: RunConfig = CONFIG, **options: bool) -> RunFolder:
    folder = RunFolder(path)
    create(folder, config)
    folder.write_history(records(epochs, **options))
    for epoch in range(1, epochs + 1):
        snapshot(folder.figures, epoch, config.image.shape)
    return folder


def measured(folder: RunFolder, evaluation: dict[str, dict[str, object]]) -> None:
    """Measures of the weights that the folder has."""
    weights = folder.path / "model.safetensors"
    weights.touch()
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    folder.write_evaluation({split: {**values, "weights": digest} for split, values in evaluation.items()})


@pytest.fixture(scope="module")
def thirty(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of thirty epochs with everything a report can show."""
    folder = make_run(tmp_path_factory.mktemp("runs") / "first", 30)
    write_examples(folder.figures, np.random.default_rng(0).random((60, 1, 8, 8)))
    measured(folder, {"test": MEASURES})
    write_report(folder)
    return folder


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB") if image.mode == "P" else image)


# pictures


def test_tile_puts_every_image_where_it_belongs():
    images = np.zeros((6, 1, 40, 30))
    images[:, 0, 3, 2] = np.arange(6) / 5
    sheet = np.asarray(tile(images, columns=4))
    assert sheet.shape == (2 * 40 + GUTTER, 4 * 30 + 3 * GUTTER)
    for i in range(6):
        row, column = divmod(i, 4)
        assert sheet[row * (40 + GUTTER) + 3, column * (30 + GUTTER) + 2] == i * 51
    assert (sheet[40 : 40 + GUTTER] == GREY).all()  # between the rows
    assert (sheet[40 + GUTTER :, 2 * (30 + GUTTER) :] == GREY).all()  # places without an image


@pytest.mark.parametrize(("side", "scale"), [(8, 8), (28, 2), (32, 2), (64, 1), (128, 1)])
def test_tile_enlarges_small_images_to_whole_squares(side, scale):
    image = np.random.default_rng(0).random((1, 3, side, side), np.float32)
    sheet = np.asarray(tile(image, columns=8))
    assert sheet.shape == (side * scale, side * scale, 3)
    expected = (image[0].transpose(1, 2, 0) * 255 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(sheet[::scale, ::scale], expected)
    np.testing.assert_array_equal(sheet, expected.repeat(scale, 0).repeat(scale, 1))


def test_tile_clips_what_is_no_shade():
    image = np.array([[-1.0, 2.0], [np.nan, np.inf]]).reshape(1, 1, 2, 2)
    assert np.asarray(tile(image, 1))[::32, ::32].tolist() == [[0, 255], [0, 255]]


def test_pairs_show_inputs_over_what_became_of_them():
    inputs, outputs = np.ones((20, 1, 64, 64)), np.full((20, 1, 64, 64), 0.2)
    sheet = np.asarray(pairs(inputs, outputs))
    assert sheet.shape[1] == 10 * 64 + 9 * GUTTER
    shades = sheet[:, 0][sheet[:, 0] != GREY]
    changes = shades[np.flatnonzero(np.diff(shades.astype(int), prepend=-1))]
    assert changes.tolist() == [255, 51, 255, 51]


def test_fewer_images_than_a_row_make_a_shorter_row(tmp_path):
    few = np.zeros((3, 3, 16, 16))
    assert pairs(few, few).size == (3 * 64 + 2 * GUTTER, 2 * 64 + GUTTER)
    write_examples(tmp_path, few)
    assert read(tmp_path / "examples.png").shape == (64, 3 * 64 + 2 * GUTTER, 3)


def test_pictures_in_a_folder_that_is_a_file_give_one_line(tmp_path):
    (tmp_path / "figures").write_text("")
    with pytest.raises(RunError, match="cannot make the folder"):
        write_examples(tmp_path / "figures", np.zeros((1, 1, 8, 8)))


# sheets


@pytest.mark.parametrize(
    ("epochs", "chosen"),
    [
        (range(1, 31), [1, 15, 30]),
        (range(1, 11), [1, 5, 10]),
        (range(1, 61), [1, 30, 60]),
        ([1, 2], [1, 2]),
        ([1], [1]),
        ([], []),
        ([1, 20, 30], [1, 20, 30]),
    ],
)
def test_epochs_shown(epochs, chosen):
    assert sheets.choose_epochs(list(epochs)) == chosen


def test_a_picture_of_an_unfinished_epoch_is_left_out(tmp_path):
    for epoch in (1, 2, 3):
        snapshot(tmp_path, epoch)
    (tmp_path / "epochs" / "samples-none.png").write_text("")
    assert list(sheets.snapshots(tmp_path, "samples", last=2)) == [1, 2]


def test_a_damaged_picture_gives_one_line(tmp_path):
    folder = make_run(tmp_path / "run", 2)
    path = folder.figures / "epochs" / "samples-0002.png"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(RunError, match=r"samples-0002.png cannot be read .*delete it"):
        write_report(folder)


def test_a_picture_that_claims_a_huge_size_is_not_unpacked(tmp_path):
    Image.new("1", (9000, 9000)).save(tmp_path / "huge.png")
    with pytest.raises(RunError, match="9000×9000 pixels are too many"):
        sheets.read_picture(tmp_path / "huge.png")


def test_the_animation_shows_every_epoch_and_rests_on_the_last(thirty):
    last = read(thirty.figures / "epochs" / "samples-0030.png")
    first = read(thirty.figures / "epochs" / "samples-0001.png")
    height, width = last.shape
    inside = np.s_[sheets.MARGIN : sheets.MARGIN + height, sheets.MARGIN : sheets.MARGIN + width]
    with Image.open(thirty.figures / "samples.gif") as gif:
        assert gif.n_frames == 30
        assert gif.info["loop"] == 0
        np.testing.assert_array_equal(np.asarray(gif.convert("L"))[inside], first)
        usual = gif.info["duration"]
        gif.seek(29)
        assert gif.info["duration"] > 3 * usual
        np.testing.assert_array_equal(np.asarray(gif.convert("L"))[inside], last)


def test_a_long_animation_is_thinned(tmp_path):
    folder = make_run(tmp_path / "run", 1)
    only = folder.figures / "epochs" / "samples-0001.png"
    sheets.write_animation(tmp_path / "long.gif", dict.fromkeys(range(1, 101), only), 100)
    with Image.open(tmp_path / "long.gif") as gif:
        assert gif.n_frames == sheets.MAX_FRAMES


def test_large_colour_sheets_are_scaled_down(tmp_path):
    config = replace(CONFIG, image=Fit(128, 128, 3), training=TrainingConfig(epochs=2))
    folder = make_run(tmp_path / "run", 2, config)
    write_report(folder)
    with Image.open(folder.figures / "samples.gif") as gif:
        assert max(gif.size) < 650
        assert gif.n_frames == 2
    with Image.open(folder.figures / "samples.png") as sheet:
        assert sheet.mode == "RGB"
        assert sheet.width < 2 * 640 + 100


def test_the_sheet_holds_the_chosen_epochs_side_by_side(thirty):
    sheet = read(thirty.figures / "samples.png")
    x = sheets.MARGIN
    for epoch in (1, 15, 30):
        panel = read(thirty.figures / "epochs" / f"samples-{epoch:04d}.png")
        height, width = panel.shape
        np.testing.assert_array_equal(
            sheet[sheets.MARGIN : sheets.MARGIN + height, x : x + width], panel, f"epoch {epoch}"
        )
        x += width + sheets.MARGIN
    assert sheet.shape[1] == x


# charts


def test_every_chart_has_a_dark_twin_of_the_same_size(thirty):
    for name in ("loss", "parts", "kl_per_dimension"):
        light, dark = (read(thirty.figures / f"{name}{suffix}.png") for suffix in ("", "-dark"))
        assert light.shape == dark.shape
        assert light[0, 0, :3].mean() > 200
        assert dark[0, 0, :3].mean() < 60


def test_the_loss_chart_draws_the_history(thirty):
    run = summarize(thirty)
    (axes,) = charts.judge_chart(run, charts.LIGHT).axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines["training"].get_ydata()) == [e.train["loss"] for e in run.epochs]
    assert list(lines["validation"].get_ydata()) == [e.validation["loss"] for e in run.epochs]
    upper, lower = charts.others_chart(run, charts.DARK).axes
    assert list(upper.get_lines()[0].get_ydata()) == [e.validation["reconstruction"] for e in run.epochs]
    assert list(lower.get_lines()[0].get_ydata()) == [e.validation["kl"] for e in run.epochs]


def test_the_kl_chart_is_in_order():
    (axes,) = kl_chart([1.5, 20.9, 2.0], charts.LIGHT).axes
    assert [bar.get_height() for bar in axes.patches] == [20.9, 2.0, 1.5]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "0"]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours as in WCAG 2.2."""

    def luminance(colour: str) -> float:
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [charts.LIGHT, charts.DARK])
def test_words_can_be_read_in_either_theme(theme):
    for behind in (theme.page, theme.panel):
        for colour in (theme.ink, theme.muted, theme.accent, theme.second):
            assert contrast(colour, behind) >= 4.5


# the page


def test_the_page_needs_nothing_but_itself(thirty):
    page = Page(thirty.path / "report.html")
    assert not page.of("script")
    assert not re.search(r"(?:https?:)?//[a-z]", re.sub(r"data:image/\w+;base64,[\w+/=]+", "", page.source))
    for _, attributes in page.tags:
        for name in ("src", "srcset", "href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), value
        assert not any(name.startswith("on") for name in attributes)
    targets = {attributes.get("id") for _, attributes in page.tags}
    for link in page.of("a"):
        assert link["href"].removeprefix("#") in targets


def test_every_picture_is_whole_and_described(thirty):
    page = Page(thirty.path / "report.html")
    pictures = page.of("img")
    assert (
        len(pictures) == 2 + 3 + 3 + 3 + 1
    )  # animation and still, samples, reconstructions, charts, examples
    for picture in pictures:
        assert len(picture["alt"]) > 10
    for uri in [p["src"] for p in pictures] + [s["srcset"] for s in page.of("source")]:
        content = base64.b64decode(uri.split(",", 1)[1], validate=True)
        with Image.open(io.BytesIO(content)) as image:
            image.load()


def test_the_page_follows_the_readers_wishes(thirty):
    page = Page(thirty.path / "report.html")
    dark = [source for source in page.of("source") if "prefers-color-scheme: dark" in source["media"]]
    assert len(dark) == 3
    assert "prefers-reduced-motion: reduce" in page.source
    assert "@media print" in page.source
    moving = next(p for p in page.of("img") if p.get("class") == "moving")
    still = next(p for p in page.of("img") if p.get("class") == "still")
    assert moving["src"].startswith("data:image/gif")
    assert still["src"].startswith("data:image/png")


def test_the_page_shows_epochs_1_15_and_30(thirty):
    page = Page(thirty.path / "report.html")
    for kind in ("Samples", "Reconstructions"):
        shown = [re.search(r"after epoch (\d+)$", p["alt"]) for p in page.of("img") if kind in p["alt"]]
        assert [int(match[1]) for match in shown if match] == [1, 15, 30]


def test_the_tables_hold_the_historys_numbers(thirty):
    page = Page(thirty.path / "report.html")
    history = thirty.read_history()
    header, *rows = page.tables["epochs"]
    assert header[1:5] == ["training loss", "validation loss", "reconstruction", "KL"]
    assert len(rows) == 30
    for row, record in zip(rows, history, strict=True):
        assert row == [
            str(record["epoch"]),
            f"{record['train']['loss']:.3f}",
            *(f"{record['validation'][name]:.3f}" for name in ("loss", "reconstruction", "kl")),
            f"{record['lr']:.3g}",
            "12.3",
            "4,052",
        ]
    assert "All 30 epochs in numbers" in page.text
    best = re.search(r'<tr class="best"><th scope="row">(\d+)<', page.source)
    assert best
    assert best[1] == "30"


def test_losses_name_their_convention(thirty):
    page = Page(thirty.path / "report.html")
    measures = {row[0]: row[1] for row in page.tables["measures"][1:]}
    nats = " (nats per image)"
    assert measures[f"loss{nats}grayscale Bernoulli −ELBO, one sample of z"] == "100.993"
    bound = f"importance-weighted bound{nats}on −log p(x), by several samples of z an image"
    assert measures[bound] == "97.125"
    assert measures["active unitsdimensions of the code whose mean varies"] == "2"
    assert page.tables["kl_per_dimension"][1:] == [["1", "20.9000"], ["2", "2.0932"], ["0", "1.5000"]]
    assert "The loss is grayscale Bernoulli −ELBO, one sample of z, nats per image" in page.text


def test_the_page_says_how_to_make_the_run_again(thirty):
    page = Page(thirty.path / "report.html")
    assert CONFIG.command in page.text
    assert "2.13.0" in page.text
    assert "0123abcd" in page.text
    assert "Conv2d(1, 4" in page.text
    assert str(thirty.path.parent) not in page.source


def test_markup_in_names_is_only_text(tmp_path):
    evil = '<script>alert("1")</script><img src=x onerror=alert(1)>'
    config = replace(
        CONFIG,
        command=evil,
        data=DataConfig(source=evil, fingerprint="'\"><b>"),
        versions={evil: evil},
        network=CustomNetwork("custom", evil),
    )
    folder = make_run(tmp_path / "<b>bold & 'odd'<b>", 1, config)
    measured(folder, {evil: MEASURES})
    page = Page(write_report(folder))
    assert not page.of("script")
    assert not page.of("b")
    assert all("onerror" not in p for p in page.of("img"))
    assert evil in page.text
    assert "<b>bold & 'odd'<b>" in page.text


def test_a_run_without_evaluation_says_how_to_get_one(tmp_path, monkeypatch):
    make_run(tmp_path / "two words", 1)
    monkeypatch.chdir(tmp_path)
    page = Page(write_report(RunFolder("two words")))
    assert "safelight evaluate 'two words'" in page.text
    assert "measures" not in page.tables


def test_an_interrupted_run_of_one_epoch(tmp_path):
    folder = make_run(tmp_path / "run", 1)
    page = Page(write_report(folder))
    assert "Only 1 of 30 epochs are finished" in page.text
    assert "safelight train --resume run" in page.text
    assert not page.of("input")  # nothing moves, nothing to hold
    assert len(page.tables["epochs"]) == 2


def test_a_run_that_stopped_early_is_not_called_interrupted(tmp_path):
    folder = RunFolder(tmp_path / "run")
    create(folder, replace(CONFIG, training=TrainingConfig(epochs=30, patience=2)))
    folder.write_history([r | {"validation": {"loss": 90.0 + r["epoch"]}} for r in records(3)])
    page = Page(write_report(folder))
    assert "Stopped after 3 of 30 epochs: none of the last 2 was better." in page.text
    assert "--resume" not in page.text


def test_a_deterministic_network_without_validation(tmp_path):
    config = replace(CONFIG, network=replace(NETWORK, name="deep-conv-ae"))
    folder = make_run(tmp_path / "run", 3, config, kl=False, validation=False)
    measured(folder, {"test": {"loss": 80.5, "n": 180}})
    page = Page(write_report(folder))
    assert page.tables["epochs"][0][:3] == ["epoch", "training loss", "learning rate"]
    assert "KL" not in page.tables["epochs"][0]
    assert "z a point" in page.text
    assert "importance-weighted" not in page.text
    assert not (folder.figures / "kl_per_dimension.png").exists()
    assert "None" not in re.sub(r"base64,[\w+/=]+", "", page.source)


def test_a_run_without_pictures_still_has_a_report(tmp_path):
    folder = RunFolder(tmp_path / "run")
    create(folder, CONFIG)
    folder.write_history(records(2))
    page = Page(write_report(folder))
    assert [p["alt"].split()[0] for p in page.of("img")] == ["Line", "Line"]


def test_a_run_without_an_epoch_has_no_report(tmp_path):
    folder = RunFolder(tmp_path / "run")
    create(folder, CONFIG)
    with pytest.raises(RunError, match=r"expected at least one finished epoch .*--resume"):
        write_report(folder)
    assert not (folder.path / "report.html").exists()


@pytest.mark.parametrize("content", ["[1]", '{"test": 5}', "{", '{"test": ' * 100_000])
def test_a_damaged_evaluation_gives_one_line(tmp_path, content):
    folder = make_run(tmp_path / "run", 1)
    (folder.path / "evaluation.json").write_text(content)
    with pytest.raises(RunError, match=r"evaluation.json.*evaluate again"):
        write_report(folder)


# the summary


def test_parameters_are_those_of_the_network(thirty):
    network = DeepConvVAE((1, 8, 8), NETWORK)
    assert summarize(thirty).parameters == sum(p.numel() for p in network.parameters())


def test_parameters_of_a_users_network_come_from_its_weights(tmp_path):
    folder = make_run(tmp_path / "run", 1, replace(CONFIG, network=CustomNetwork()))
    assert summarize(folder).parameters is None
    folder.write_weights(LAST, torch.nn.Linear(3, 5), NegativeELBO(Bernoulli()))
    assert summarize(folder).parameters == 20


def test_a_history_with_odd_values_has_no_numbers_there(tmp_path):
    folder = RunFolder(tmp_path / "run")
    create(folder, CONFIG)
    folder.write_history(
        [{"epoch": 1, "train": {"loss": float("nan"), "kl": True}, "validation": {}, "lr": 10**400}]
    )
    (epoch,) = summarize(folder).epochs
    assert (epoch.train, epoch.validation, epoch.lr) == ({"loss": None, "kl": None}, {}, None)
    assert "–" in Page(write_report(folder)).text


# comparing runs


@pytest.fixture
def folders(tmp_path: Path) -> list[RunFolder]:
    gaussian = replace(CONFIG, task=AutoencodeConfig("autoencode", "gaussian"))
    seed = replace(CONFIG, network=ConvVAEConfig(latent=5))
    runs = [make_run(tmp_path / "plain", 3), make_run(tmp_path / "other", 2, seed)]
    return [*runs, make_run(tmp_path / "gaussian", 1, gaussian, validation=False)]


def test_compare_gives_a_row_a_run(folders):
    measured(folders[0], {"test": MEASURES})
    history = records(3)
    history[1]["validation"]["loss"] = 90.0
    folders[0].write_history(history)
    rows = compare(folders)
    assert [row["run"] for row in rows] == ["plain", "other", "gaussian"]
    assert [row["network"] for row in rows] == ["deep-conv-vae", "conv-vae", "deep-conv-vae"]
    assert [row["epochs"] for row in rows] == [3, 2, 1]
    assert rows[0]["best_validation"] == 90.0
    assert rows[0]["last_validation"] == history[2]["validation"]["loss"]
    assert [row["test"] for row in rows] == [MEASURES["loss"], None, None]
    assert rows[1]["seconds"] == pytest.approx(24.68)
    assert rows[2]["best_validation"] is None
    assert rows[0]["convention"] == rows[1]["convention"] != rows[2]["convention"]
    assert all(len(row) == len(rows[0]) for row in rows)


def test_runs_of_one_name_are_told_apart(tmp_path):
    rows = compare([make_run(tmp_path / "a" / "run", 1), make_run(tmp_path / "b" / "run", 1)])
    assert rows[0]["run"] != rows[1]["run"]


def test_the_comparison_draws_only_comparable_losses_together(folders):
    runs = [(folder.path.name, summarize(folder)) for folder in folders]
    figure = charts.comparison_chart([("bernoulli", runs[:2]), ("gaussian", runs[2:])])
    upper, lower = figure.axes
    losses = [[e.validation["loss"] for e in run.epochs] for _, run in runs[:2]]
    assert [list(line.get_ydata()) for line in upper.get_lines()] == losses
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in upper.get_lines()}
    assert len(looks) == 2
    assert "training: no validation" in lower.get_legend().get_texts()[0].get_text()


def test_the_comparison_is_a_legible_picture(folders, tmp_path):
    draw_comparison(folders, tmp_path / "all.png")
    draw_comparison(folders[:2], tmp_path / "same.png")
    together, same = read(tmp_path / "all.png"), read(tmp_path / "same.png")
    assert together.shape[1] == same.shape[1] >= 1600
    assert together.shape[0] > same.shape[0]  # a panel of its own for the other likelihood
    for edge in (same[0], same[-1], same[:, 0], same[:, -1]):
        assert (edge == 255).all()  # nothing is cut off


@pytest.mark.parametrize("name", [r"$\frac{$", "_hidden", "潜像", "100% & #1"])
def test_any_name_can_stand_in_a_chart(tmp_path, folders, name):
    odd = make_run(tmp_path / name, 2, replace(CONFIG, data=DataConfig(source=name)))
    draw_comparison([folders[0], odd], tmp_path / "odd.png")
    figure = charts.comparison_chart([(name, [(name, summarize(odd))])])
    assert len(figure.axes[0].get_legend().get_texts()) == 1


def test_one_run_is_nothing_to_compare(folders, tmp_path):
    with pytest.raises(RunError, match="at least two runs to compare, got 1"):
        compare(folders[:1])
    with pytest.raises(RunError, match="at least two runs"):
        draw_comparison([], tmp_path / "none.png")
