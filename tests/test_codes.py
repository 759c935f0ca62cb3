import resource
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from safelight.data.images import ImageSet
from safelight.errors import DataError, RunError
from safelight.latent import parquet as module
from safelight.latent.codes import encode
from safelight.latent.parquet import embed, read_codes
from safelight.networks.deep_conv import DeepConvAE, DeepConvVAE
from safelight.tasks.objective import Bernoulli
from safelight.tasks.priors import gaussian_kl


@pytest.fixture
def network(digits):
    torch.manual_seed(0)
    return DeepConvVAE(digits.shape).eval()


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr(module, "ROWS", 400)


def same(a, b):
    for name in ("mu", "logvar", "reconstruction", "labels"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert a.names == b.names


def test_codes_are_what_the_network_says(network, digits):
    codes = encode(network, Bernoulli(), digits)
    with torch.no_grad():
        x = digits.floats()
        mu, logvar = network.encode(x)
        loss = -Bernoulli().log_prob(network.decode(mu), x)
    np.testing.assert_allclose(codes.mu, mu, atol=1e-6)
    np.testing.assert_allclose(codes.logvar, logvar, atol=1e-6)
    np.testing.assert_allclose(codes.reconstruction, loss, rtol=1e-5)
    mean, variance = mu.mean(0), mu.var(0, correction=0) + logvar.exp().mean(0)
    as_a_whole = gaussian_kl(mean, variance.log())  # what N(0, 1) has them cost and they do not tell
    kl = gaussian_kl(mu, logvar).mean(0)
    np.testing.assert_allclose(codes.spread() + as_a_whole.numpy(), kl, atol=1e-6)
    drawn = np.stack([codes.sampled(seed) for seed in range(200)])
    np.testing.assert_allclose(drawn.std(0).mean(0), np.exp(0.5 * codes.logvar).mean(0), rtol=0.02)
    np.testing.assert_array_equal(codes.sampled(3), drawn[3])


def test_embed_streams_what_encode_gives(network, digits, tmp_path, small_groups):
    path = tmp_path / "codes.parquet"
    assert embed(network, Bernoulli(), digits, path, {"run": "first"}) == 1797
    written = read_codes(path)
    expected = encode(network, Bernoulli(), digits)
    np.testing.assert_allclose(written.mu, expected.mu, atol=1e-6)  # batches end elsewhere
    np.testing.assert_allclose(written.reconstruction, expected.reconstruction, rtol=1e-5)
    np.testing.assert_array_equal(written.labels, digits.labels)
    assert written.names == tuple(map(str, range(1797)))
    assert [p.name for p in tmp_path.iterdir()] == ["codes.parquet"], "nothing is left beside it"
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(i).num_rows for i in range(5)] == [400, 400, 400, 400, 197]
    assert b'"run": "first"' in file.metadata.metadata[b"safelight"]
    assert pq.read_table(path).column_names == ["name", "label", "mu", "logvar", "reconstruction"]


def test_a_stream_of_sets_is_numbered_through(network, digits, tmp_path):
    path = tmp_path / "codes.parquet"
    half = ImageSet(digits.pixels[:900], digits.value_range)
    embed(network, Bernoulli(), iter([half, half]), path)
    assert read_codes(path).names == tuple(map(str, range(1800)))


def test_images_without_labels_and_codes_without_variance(digits, tmp_path):
    images = ImageSet(digits.pixels[:5], digits.value_range, names=tuple("<b>abc"[:5]))
    network = DeepConvAE(digits.shape).eval()
    embed(network, Bernoulli(), images, tmp_path / "codes.parquet")
    codes = read_codes(tmp_path / "codes.parquet")
    assert codes.labels is None
    assert codes.logvar is None
    logvar = pq.read_schema(tmp_path / "codes.parquet").field("logvar")
    assert logvar.type == "null"  # lists of one size that are null would be read by newest versions alone
    assert codes.names == tuple("<b>ab")
    np.testing.assert_array_equal(codes.sampled(), codes.mu)
    np.testing.assert_allclose(codes.spread(), codes.mu.var(0), rtol=1e-5)


def test_finished_row_groups_are_not_encoded_again(network, digits, tmp_path, small_groups, monkeypatch):
    path, encoded = tmp_path / "codes.parquet", []
    encode_one = module.encode

    def counting(network, likelihood, images):
        if len(encoded) == 3 and not (tmp_path / "full").exists():
            (tmp_path / "full").touch()
            raise OSError(28, "No space left on device")
        encoded.append(int(images.names[0]))
        return encode_one(network, likelihood, images)

    monkeypatch.setattr(module, "encode", counting)
    with pytest.raises(RunError, match=r"No space left on device; free some space, then start it again"):
        embed(network, Bernoulli(), digits, path)
    assert not path.exists()
    embed(network, Bernoulli(), digits, path)
    assert encoded == [0, 400, 800, 1200, 1600]
    other = DeepConvVAE(digits.shape).eval()
    embed(other, Bernoulli(), digits, tmp_path / "plain.parquet")
    embed(other, Bernoulli(), digits, path)
    same(read_codes(path), read_codes(tmp_path / "plain.parquet"))


def test_row_groups_of_other_weights_or_images_are_made_again(network, digits, tmp_path, small_groups):
    path = tmp_path / "codes.parquet"

    def broken_off(images):
        yield images.subset(slice(800))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(network, Bernoulli(), broken_off(digits), path)
    assert len(list((tmp_path / ".codes.parquet.parts").glob("*.parquet"))) == 2
    reversed_digits = digits.subset(slice(None, None, -1))
    embed(network, Bernoulli(), reversed_digits, path)
    np.testing.assert_array_equal(read_codes(path).labels, digits.labels[::-1])
    assert [p.name for p in tmp_path.iterdir()] == ["codes.parquet"]


EMBED = """
import sys, time
from pathlib import Path
import torch, safelight
from safelight.latent import parquet
from safelight.networks.deep_conv import DeepConvVAE
from safelight.tasks.objective import Bernoulli
torch.manual_seed(0)
parquet.ROWS = 100
images = safelight.load("digits")
slowly = lambda done: (print(done, flush=True), time.sleep(float(sys.argv[2])))
parquet.embed(DeepConvVAE(images.shape).eval(), Bernoulli(), images, Path(sys.argv[1]), on_progress=slowly)
"""


def test_a_killed_embedding_goes_on(network, digits, tmp_path, monkeypatch):
    path = tmp_path / "codes.parquet"
    process = subprocess.Popen([sys.executable, "-c", EMBED, path, "0.2"], stdout=subprocess.PIPE, text=True)
    with process:
        while process.stdout.readline().strip() != "300":
            pass
        process.send_signal(signal.SIGKILL)
    assert not path.exists()
    kept = list((tmp_path / ".codes.parquet.parts").glob("*.parquet"))
    assert len(kept) >= 3
    (kept[0].parent / "mine.parquet").write_bytes(b"a user's")
    monkeypatch.setattr(module, "ROWS", 100)
    seen = []
    monkeypatch.setattr(module, "encode", lambda *given: seen.append(given[2].names[0]) or encode(*given))
    embed(network, Bernoulli(), digits, path)
    assert seen[0] == str(100 * len(kept))
    assert [p.name for p in (tmp_path / ".codes.parquet.parts").iterdir()] == ["mine.parquet"]
    monkeypatch.setattr(module, "encode", encode)
    embed(network, Bernoulli(), digits, tmp_path / "fresh.parquet")
    same(read_codes(path), read_codes(tmp_path / "fresh.parquet"))


def test_a_full_disk_is_one_line_and_leaves_what_was_there(network, digits, tmp_path):
    path = tmp_path / "codes.parquet"
    path.write_bytes(b"earlier")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        with pytest.raises(RunError, match=rf"cannot write {path}.*raise the limit on the size"):
            embed(network, Bernoulli(), digits, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"earlier"
    assert not list(tmp_path.rglob("*.partial"))
    embed(network, Bernoulli(), digits, path)
    assert len(read_codes(path)) == 1797


def test_what_is_no_embedding_is_said(tmp_path, network, digits):
    with pytest.raises(DataError, match="cannot be read"):
        read_codes(tmp_path / "nothing.parquet")
    junk = tmp_path / "junk.parquet"
    junk.write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match="cannot be read as codes"):
        read_codes(junk)
    pq.write_table(pa.table({"name": ["a"]}), junk)
    with pytest.raises(DataError, match="it holds something else"):
        read_codes(junk)
    with pytest.raises(DataError, match="at least one image"):
        embed(network, Bernoulli(), iter(()), tmp_path / "none.parquet")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / ".codes.parquet.parts").symlink_to(elsewhere)
    with pytest.raises(RunError, match="is a link"):
        embed(network, Bernoulli(), digits, tmp_path / "codes.parquet")
