"""Codes that lie in files, used again in place of images."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

import safelight
from safelight.errors import DataError
from safelight.latent import stored as module
from safelight.latent.maps import read_map
from safelight.latent.stored import sample_of, stored_codes
from safelight.run import Run
from safelight.similarity.neighbours import nearest


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "run"
    return safelight.train("digits", latent=6, epochs=1, threads=1, out=out)


@pytest.fixture(scope="module")
def one_file(run, tmp_path_factory) -> Path:
    return run.embed("digits", tmp_path_factory.mktemp("codes") / "codes.parquet")


@pytest.fixture(scope="module")
def shards(one_file) -> Path:
    """The file as five shards of small row groups; 2 pictures of each could not be read."""
    return in_shards(one_file, one_file.parent / "codes")


def in_shards(one_file: Path, folder: Path, about: bytes | None = None) -> Path:
    folder.mkdir()
    table = pq.read_table(one_file)
    about = table.schema.metadata[b"safelight"] if about is None else about
    count = 400
    for number in range(-(-len(table) // count)):
        part = table.slice(number * count, count)
        error = pa.array([None] * len(part), pa.string())
        rows = pa.table({**dict(zip(part.column_names, part.columns, strict=True)), "error": error})
        lost = {name: pa.nulls(2, rows.schema.field(name).type) for name in rows.column_names}
        lost |= {"name": pa.array([f"torn-{number}", "dark"]), "error": pa.array(["truncated", "too dark"])}
        for name in ("mu", "logvar"):  # as writers for older pyarrow do: lists of any length
            at = rows.column_names.index(name)
            rows = rows.set_column(at, name, rows[name].cast(pa.list_(pa.float32())))
            lost[name] = pa.nulls(2, pa.list_(pa.float32()))
        rows = pa.concat_tables([rows.slice(0, 7), pa.table(lost), rows.slice(7)])
        rows = rows.replace_schema_metadata({b"safelight": about})
        pq.write_table(rows, folder / f"part-{number:016x}.parquet", row_group_size=90)
    (folder / "job.json").write_text(json.dumps({"kind": "codes", "weights": "somewhere else"}))
    (folder / "manifest.json").write_text(json.dumps({"shards": 5}))
    return folder


def test_a_folder_of_shards_holds_the_codes_of_the_file(run, one_file, shards):
    expected, found = pq.read_table(one_file), stored_codes(shards)
    batches = list(found.batches())
    assert (found.rows, found.dimensions, found.left_out) == (1797 + 10, 6, 10)
    assert len(batches) == 5
    together = module.joined(batches)
    assert list(together.names) == expected["name"].to_pylist()
    np.testing.assert_array_equal(together.mu, np.stack(expected["mu"].to_numpy()))
    np.testing.assert_array_equal(together.logvar, np.stack(expected["logvar"].to_numpy()))
    np.testing.assert_array_equal(together.labels, expected["label"].to_numpy())
    assert found.notes == ["left out 10 pictures that embed could not read"]
    assert run.folder.digest() == run.weights, "which codes are known by"


def test_the_nearest_of_a_stream_are_the_nearest_of_all(run, shards):
    queries = safelight.load("digits").subset(slice(30))
    everything = module.joined(list(stored_codes(shards).batches()))
    for metric in ("cosine", "euclidean"):
        places, distances = nearest(run.encode(queries), everything.mu, 9, metric)
        found = run.similar(queries, shards, 9, metric)
        np.testing.assert_allclose(found.distances, distances, atol=1e-6)
        assert (found.places == places).mean() > 0.99, "but for equal distances"
        assert found.names[3] == tuple(everything.names[place] for place in found.places[3])
    assert len(run.similar(queries, shards, 5000).names[0]) == 1797, "all, where more are asked for"


def test_a_sample_is_fair_and_does_not_know_of_parts(shards):
    stored = stored_codes(shards)
    whole = module.joined(list(stored.batches()))
    a, b = sample_of(stored.batches(), 300, 1), sample_of([whole], 300, 1)
    assert a.names == b.names
    assert sample_of(stored.batches(), 300, 2).names != a.names
    places = [int(name) for name in a.names]
    assert places == sorted(places)
    often = np.zeros(1797)
    for seed in range(200):
        often[[int(name) for name in sample_of([whole], 300, seed).names]] += 1
    assert abs(np.corrcoef(often, np.arange(1797))[0, 1]) < 0.1, "late codes are as likely as early ones"
    assert often.std() == pytest.approx(np.sqrt(200 * 300 / 1797 * (1 - 300 / 1797)), rel=0.1)


def test_project_maps_stored_codes_as_it_maps_images(run, one_file, shards, command):
    expected = run.project("digits", seed=3)
    for source in (one_file, shards):
        done = command("project", run.path, source, "--seed", "3", "--out", "m.parquet", "--overwrite")
        assert done.returncode == 0, done.stderr
        assert ("left out 10 pictures" in done.stderr) == (source == shards)
        found = read_map(Path("m.parquet"))
        assert found.names == expected.names
        np.testing.assert_allclose(found.points, expected.points, atol=1e-3)
        np.testing.assert_array_equal(found.labels, expected.labels)
    assert len(run.project(shards, n=50)) == 50


def test_find_similar_searches_stored_codes(run, shards, command, tmp_path):
    np.save(tmp_path / "query.npy", safelight.load("digits").pixels[5:6])
    done = command("find", "similar", run.path, "query.npy", shards, "-n", "4", "--out", "s.html")
    assert done.returncode == 0, done.stderr
    assert "The nearest of 1,797 images" in done.stdout
    assert "Table: s.csv" in done.stdout
    assert not (tmp_path / "s.html").exists()
    rows = list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))
    assert rows[0]["name"] == "5"
    assert len(rows) == 4


def test_no_more_than_a_batch_is_held(run, shards, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 64)
    sizes = [len(batch) for batch in stored_codes(shards).batches()]
    assert max(sizes) <= 64
    assert sum(sizes) == 1797


def test_codes_of_another_run_are_refused(run, one_file, shards, command, tmp_path):
    other = safelight.train("digits", latent=6, epochs=1, seed=1, threads=1, out=tmp_path / "other")
    for source in (one_file, shards):
        with pytest.raises(
            DataError, match=rf"weights {other.weights}\), got .* of others \({run.weights}\)"
        ):
            other.project(source)
    told_by_job = in_shards(one_file, tmp_path / "job", b"{}")
    (told_by_job / "job.json").write_text(json.dumps({"weights": run.weights + 48 * "0"}))
    assert run.stored(told_by_job) is not None
    done = command("find", "similar", other.path, "digits", told_by_job)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "of others" in done.stderr
    (told_by_job / "job.json").unlink()
    assert "does not say which weights" in " ".join(run.stored(told_by_job).notes)
    narrow = safelight.train("digits", latent=4, epochs=1, threads=1, out=tmp_path / "narrow")
    with pytest.raises(DataError, match="expected codes of 4 numbers"):
        narrow.project(told_by_job)


def test_what_cannot_be_done_with_codes_is_one_line(run, one_file, command, tmp_path):
    folder = in_shards(one_file, tmp_path / "codes")
    (folder / "manifest.json").unlink()
    done = command("project", run.path, folder, "--out", "other.png")
    assert done.returncode == 0
    assert "not finished: 1,807 rows are there so far" in done.stderr
    (folder / "part-00000000000000ff.parquet").write_bytes(b"PAR1 torn off")
    for call, expected in (
        (("project", run.path, one_file, "--split", "test"), "--split would do nothing here"),
        (("project", run.path, folder), "part-00000000000000ff.parquet"),
        (("find", "outliers", run.path, one_file), "give the pictures that they are of"),
    ):
        done = command(*call)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert expected in done.stderr
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "job.json").write_text('{"kind": "codes"}')
    with pytest.raises(DataError, match="no finished shard yet"):
        run.project(tmp_path / "empty")
    lost = pq.read_table(next(folder.glob("part-0*0.parquet"))).filter(pa.compute.field("error").is_valid())
    pq.write_table(lost, tmp_path / "lost.parquet")
    with pytest.raises(DataError, match="every picture had an error"):
        run.project(tmp_path / "lost.parquet")


def test_a_folder_is_one_table_to_other_programs(shards):
    dataset = pyarrow.dataset.dataset(sorted(map(str, shards.glob("part-*.parquet"))))
    assert dataset.count_rows() == 1807
    assert dataset.schema.names == ["name", "label", "mu", "logvar", "reconstruction", "error"]
    fine = dataset.to_table(filter=pyarrow.dataset.field("error").is_null())
    assert len(fine) == 1797
