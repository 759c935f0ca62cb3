"""Suggestions: they cover what is there, leave out what is known, and ask about what is unsure."""

import numpy as np
import pytest

import safelight
from safelight.command.main import main
from safelight.data.label_files import read_labels
from safelight.errors import ConfigError
from safelight.labels.suggestion import suggest, suggest_images, write_suggestions


def groups(sizes, seed=0):
    """Codes in groups far apart, and which group each is of."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(len(sizes)), sizes)
    centers = 50 * rng.normal(size=(len(sizes), 6))
    return (centers[of] + rng.normal(size=(len(of), 6))).astype(np.float32), of


def test_one_of_each_group_the_largest_first():
    codes, of = groups([200, 100, 50, 25])
    chosen = suggest(codes, 4)
    assert of[chosen].tolist() == [0, 1, 2, 3]


def test_groups_with_a_label_are_left_out():
    codes, of = groups([200, 100, 50, 25])
    known = np.zeros(len(codes), bool)
    known[[0, 210]] = True
    assert sorted(of[suggest(codes, 2, known)].tolist()) == [2, 3]


def test_each_is_the_middle_of_its_group():
    codes, of = groups([100, 100])
    for place in suggest(codes, 2):
        own = codes[of == of[place]]
        distances = np.linalg.norm(own - own.mean(0), axis=1)
        assert np.linalg.norm(codes[place] - own.mean(0)) == pytest.approx(distances.min())


def test_the_unsure_weigh_more():
    codes, of = groups([200, 20])
    weights = np.where(of == 1, 1, 0.01).astype(np.float32)
    assert of[suggest(codes, 2, weights=weights)[0]] == 1


def test_a_classifier_that_is_entirely_sure_weighs_all_alike():
    codes, of = groups([200, 100])
    chosen = suggest(codes, 2, weights=np.zeros(len(codes), np.float32))
    assert of[chosen].tolist() == [0, 1]


def test_no_image_is_suggested_twice_and_none_that_is_known(digits):
    codes = digits.floats().flatten(1).numpy()
    known = np.arange(len(codes)) % 50 == 0
    chosen = suggest(codes, 100, known, seed=3)
    assert len(set(chosen.tolist())) == 100
    assert not known[chosen].any()
    assert np.array_equal(chosen, suggest(codes, 100, known, seed=3))


def test_images_that_are_all_alike():
    known = np.arange(12) < 2
    chosen = suggest(np.zeros((12, 2), np.float32), 10, known)
    assert sorted(chosen.tolist()) == list(range(2, 12))


@pytest.mark.parametrize("count", [0, 11])
def test_more_than_there_are(count):
    with pytest.raises(ConfigError, match=f"count: expected from 1 to 10, .* got {count}"):
        suggest(np.zeros((12, 2), np.float32), count, np.arange(12) < 2)


def test_a_run_suggests_and_its_table_is_filled_in(tmp_path, digits):
    run = safelight.train("digits", epochs=1, threads=1)
    chosen = suggest_images(run.network, digits, 20)
    path = tmp_path / "to_label.csv"
    write_suggestions(path, [str(i) for i in range(len(digits))], chosen)
    lines = path.read_text().splitlines()
    assert lines[0] == "filename,label"
    path.write_text("\n".join([lines[0], *(line + str(digits.labels[int(line[:-1])]) for line in lines[1:])]))
    known = read_labels(path, [str(i) for i in range(len(digits))])
    assert sorted(np.flatnonzero(known.numbers >= 0)) == sorted(chosen)
    assert not set(suggest_images(run.network, digits, 20, path)) & set(chosen)


def test_where_few_are_labelled_for_many_images_more_are_chosen():
    codes, of = groups([400, 100])
    known = np.zeros(500, bool)
    known[[*np.flatnonzero(of == 0)[:40], *np.flatnonzero(of == 1)[:2]]] = True
    assert of[suggest(codes, 1, known)].tolist() == [1], "50 images a label against 10"


def test_the_time_it_takes_does_not_grow_with_what_is_labelled(monkeypatch):
    import sklearn.cluster

    asked, real = [], sklearn.cluster.MiniBatchKMeans
    monkeypatch.setattr(
        sklearn.cluster, "MiniBatchKMeans", lambda k, **more: asked.append(k) or real(k, **more)
    )
    codes, _ = groups([600])
    for labelled in (10, 300):
        suggest(codes, 10, np.arange(600) < labelled)
    assert asked == [20, 40]


def test_a_sheet_shows_what_is_to_be_labelled(page_run, tmp_path, capsys):
    verb = ["suggest", str(page_run.path), "-n", "7", "--out", str(tmp_path / "l.csv")]
    assert main([*verb, "--sheet", str(tmp_path / "l.html")]) == 0
    page = (tmp_path / "l.html").read_text(encoding="utf-8")
    names = [line.split(",")[0] for line in (tmp_path / "l.csv").read_text().splitlines()[1:]]
    assert [f'<span class="name">{name}</span>' in page for name in names] == [True] * 7
    assert page.count("<img") == 7
    assert page.count(".cards {") == 1
    assert main([*verb, "--overwrite", "--sheet", str(tmp_path / "l.csv")]) == 2
