"""Priors: densities that sum to one, draws that follow them, and runs that learn them along."""

import json
import math

import numpy as np
import pytest
import torch
from scipy import stats

import safelight
from safelight.config import task as settings
from safelight.config.data import Fit
from safelight.config.reading import to_dict
from safelight.config.run import RunConfig
from safelight.data.batches import Batch
from safelight.errors import ConfigError
from safelight.latent import export, onnx
from safelight.latent.walks import walk, walk_path
from safelight.networks.base import Autoencoder, Code
from safelight.networks.deep_conv import DeepConvAE, DeepConvVAE
from safelight.reporting.comparison import compare
from safelight.tasks import priors
from safelight.tasks.autoencode import evaluate, mean_loss
from safelight.tasks.objective import Bernoulli, NegativeELBO, importance_weighted_bound
from safelight.tasks.priors import PRIORS, Flow, Mixture, Normal, gaussian_kl, told_by_dimension
from safelight.tasks.sampling import latent_points

LEARNED = ("mixture", "flow")
SMALL = {"channels": (8,), "hidden": 32, "latent": 3, "batch_size": 64, "lr": 0.01, "threads": 1}


def stirred(name: str, latent: int, seed: int = 0) -> priors.Prior:
    """A prior whose every weight has been moved, as training moves them."""
    torch.manual_seed(seed)
    prior = PRIORS[name](latent)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.07 * torch.randn(parameter.shape))
    return prior


@pytest.mark.parametrize("name", PRIORS)
def test_in_one_dimension_a_density_sums_to_one(name):
    grid = torch.linspace(-30, 30, 60_001)
    density = stirred(name, 1).log_prob(grid[:, None]).detach().double().exp()
    assert torch.trapezoid(density, grid.double()).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", PRIORS)
def test_in_two_dimensions_a_density_sums_to_one(name):
    line = torch.linspace(-8, 8, 201)
    with torch.no_grad():
        density = stirred(name, 2).log_prob(torch.cartesian_prod(line, line)).double().exp()
    assert density.sum().item() * (line[1] - line[0]).item() ** 2 == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("latent", [1, 2])
def test_draws_follow_the_density(name, latent):
    """The share of draws below a place is the density's, by Kolmogorov and Smirnov."""
    prior = stirred(name, latent)
    noise = torch.randn(20_000, latent + prior.extra, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        drawn = prior.from_base(noise)
        line = torch.linspace(-8, 8, 201)
        places = line[:, None] if latent == 1 else torch.cartesian_prod(line, line)
        density = prior.log_prob(places).double().exp().reshape([201] * latent)
    density = density if latent == 1 else density.sum(1)
    share = ((density.cumsum(0) - 0.5 * density) / density.sum()).numpy()
    assert stats.kstest(drawn[:, 0].numpy(), lambda z: np.interp(z, line.numpy(), share)).pvalue > 0.001


@pytest.mark.parametrize("latent", [1, 2, 5, 20])
def test_a_flow_returns_where_it_came_from(latent):
    flow, z = stirred("flow", latent), 2 * torch.randn(50, latent)
    torch.testing.assert_close(flow.from_base(flow.to_base(z)), z, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(flow.to_base(flow.from_base(z)), z, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("latent", [1, 2, 5])
def test_a_flows_density_is_that_of_a_change_of_variables(latent):
    flow = stirred("flow", latent).double()
    for z in 2 * torch.randn(5, latent, dtype=torch.float64):
        jacobian = torch.autograd.functional.jacobian(lambda z: flow.to_base(z[None])[0], z)
        base = flow.to_base(z[None])[0].detach().numpy()
        expected = stats.norm.logpdf(base).sum() + torch.linalg.slogdet(jacobian)[1].item()
        assert flow.log_prob(z[None]).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("latent", [1, 2, 7, 20])
def test_a_flow_starts_as_the_normal_prior(latent):
    z = torch.randn(30, latent)
    torch.testing.assert_close(Flow(latent).log_prob(z), Normal().log_prob(z))
    assert torch.equal(Flow(latent).from_base(z), z)


def test_every_dimension_of_a_flow_depends_on_every_other():
    flow = stirred("flow", 6)
    jacobian = torch.autograd.functional.jacobian(lambda z: flow.to_base(z[None])[0], torch.randn(6))
    assert (jacobian != 0).all()


def test_a_mixtures_density_by_hand():
    mixture = stirred("mixture", 3)
    z = torch.randn(10, 3)
    weights = torch.softmax(mixture.logits.detach().double(), 0).numpy()
    scales = np.exp(mixture.log_scales.detach().double().numpy())
    each = stats.norm(mixture.means.detach().numpy(), scales).pdf(z.numpy()[:, None]).prod(2)
    np.testing.assert_allclose(mixture.log_prob(z).detach(), np.log(each @ weights), rtol=1e-4)


@pytest.mark.parametrize("name", PRIORS)
def test_the_mean_of_single_draws_is_the_kl(name):
    """In one dimension it is an integral; the normal prior knows it exactly."""
    prior, mu, logvar = stirred(name, 1), torch.tensor([[0.7]]), torch.tensor([[-1.5]])
    q = stats.norm(0.7, math.exp(-0.75))
    grid = np.linspace(-6, 8, 20_001)
    with torch.no_grad():
        log_p = prior.log_prob(torch.tensor(grid[:, None], dtype=torch.float32)).double().numpy()
        expected = np.trapezoid(q.pdf(grid) * (q.logpdf(grid) - log_p), grid)
        z = torch.tensor(q.rvs((200_000, 1), random_state=0), dtype=torch.float32)
        found = prior.kl(mu.expand_as(z), logvar.expand_as(z), z)
    assert found.mean().item() == pytest.approx(expected, abs=0.01)
    if name == "normal":
        assert found[0].item() == pytest.approx(gaussian_kl(mu, logvar).item())


def test_near_the_normal_prior_single_draws_are_as_quiet_as_the_exact_kl():
    """What log p(z) alone would vary by is what keeps the codes of few images from telling anything."""
    mu, logvar = 0.1 * torch.randn(500, 6), 0.1 * torch.randn(500, 6)
    mu.requires_grad_()
    z = mu + torch.randn(500, 6) * (0.5 * logvar).exp()
    found = torch.autograd.grad(Flow(6).kl(mu, logvar, z).sum(), mu)[0]
    torch.testing.assert_close(found, mu.detach(), atol=1e-5, rtol=1e-5)


def test_what_a_dimension_tells_does_not_depend_on_its_scale():
    mu, logvar = torch.randn(500, 2), torch.randn(500, 2) - 3
    told = told_by_dimension(mu, logvar)
    torch.testing.assert_close(told_by_dimension(5 * mu - 7, logvar + 2 * math.log(5)), told)
    mean, variance = mu.double().mean(0), mu.double().var(0, correction=0) + logvar.double().exp().mean(0)
    normal = torch.distributions.Normal(mean, variance.sqrt())
    each = torch.distributions.Normal(mu.double(), (0.5 * logvar.double()).exp())
    torch.testing.assert_close(torch.distributions.kl_divergence(each, normal).mean(0), told)


def heaps(count: int) -> torch.Tensor:
    """Codes that are clearly not normal: four heaps on a ring."""
    generator = torch.Generator().manual_seed(3)
    turn = torch.randint(4, (count,), generator=generator) * (math.pi / 2)
    centres = 1.3 * torch.stack([turn.cos(), turn.sin()], 1)
    return centres + 0.15 * torch.randn(count, 2, generator=generator)


@pytest.mark.parametrize("name", LEARNED)
def test_a_learned_prior_beats_the_normal_one_where_codes_are_not_normal(name):
    torch.manual_seed(0)
    prior = PRIORS[name](2)
    optimizer = torch.optim.Adam(prior.parameters(), 0.005)
    for z in heaps(200 * 128).split(128):
        optimizer.zero_grad()
        (-prior.log_prob(z).mean()).backward()
        optimizer.step()
    held_out = heaps(10_000)[-2000:]
    gain = (prior.log_prob(held_out) - Normal().log_prob(held_out)).mean().item()
    assert gain > 0.8, "nats"


class Still(Autoencoder):
    """Its q(z | x) is fixed, and its images do not depend on z: log p(x) is known."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def encode(self, x):
        return Code(torch.full((len(x), 2), 0.5), torch.full((len(x), 2), -0.5))

    def decode(self, z):
        return torch.zeros(len(z), 1, 8, 8)


@pytest.mark.parametrize("name", PRIORS)
@torch.no_grad()
def test_the_importance_weighted_bound_takes_the_prior(name):
    """Where images tell nothing of z it falls to their own unlikeliness, whatever the prior."""
    x, prior = torch.rand(2, 1, 8, 8), stirred(name, 2, seed=4)
    generator = torch.Generator().manual_seed(0)
    bound = importance_weighted_bound(Still(), Bernoulli(), x, 1000, generator, prior)
    np.testing.assert_allclose(bound, 64 * math.log(2), atol=0.3)


# In runs


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("network", ["vae", "ae"])
def test_every_weight_gets_a_gradient_and_all_come_back(name, network, digits):
    torch.manual_seed(0)
    made = (DeepConvVAE if network == "vae" else DeepConvAE)(digits.shape)
    loss = NegativeELBO(Bernoulli(), prior=stirred(name, 20))
    terms = loss(made, Batch.of(digits, slice(32)))
    terms["loss"].backward()
    for part in (made, loss):
        for name_of_weight, parameter in part.named_parameters():
            assert parameter.grad is not None, name_of_weight
            assert parameter.grad.abs().sum() > 0, name_of_weight
    other = NegativeELBO(Bernoulli(), prior=PRIORS[name](20))
    other.load_state_dict(loss.state_dict())
    z = torch.randn(5, 20)
    assert torch.equal(other.prior.log_prob(z), loss.prior.log_prob(z))


def test_a_density_of_points_does_not_move_them(digits):
    """Without it and with it the same gradients reach the network, and the same loss is reported."""
    gradients, losses = [], []
    for prior in (Normal(), stirred("flow", 20)):
        torch.manual_seed(0)
        network = DeepConvAE(digits.shape)
        terms = NegativeELBO(Bernoulli(), prior=prior)(network, Batch.of(digits, slice(16)))
        terms["loss"].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
        losses.append(terms["loss"].item())
    assert torch.equal(*gradients)
    assert losses[0] == losses[1] == pytest.approx(terms["reconstruction"].item())
    assert "density" in terms


def test_the_kl_is_computed_in_single_precision_under_autocast(digits):
    torch.manual_seed(0)
    network, loss = DeepConvVAE(digits.shape), NegativeELBO(Bernoulli(), prior=stirred("flow", 20))
    seen = []
    loss.prior.layers[0].network[0].register_forward_hook(lambda module, given, made: seen.append(made.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        terms = loss(network, Batch.of(digits, slice(8)))
    assert seen == [torch.float32]
    assert terms["kl"].dtype == torch.float32


@pytest.fixture(scope="module", params=[*LEARNED, "points"])
def run(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / request.param
    is_points = request.param == "points"
    network, prior = ("deep-conv-ae", "flow") if is_points else ("deep-conv-vae", request.param)
    return safelight.train("digits", network, path, epochs=4, prior=prior, **SMALL)


def test_a_run_learns_its_prior_and_draws_from_it(run):
    name = "density" if run.config.task.prior == "flow" and not run.config.network.is_variational else "kl"
    losses = [record["validation"]["loss"] for record in run.history]
    assert losses[-1] < losses[0]
    opened = safelight.Run(run.path)
    points = latent_points(run._autoencoder(), opened.prior, 50, run.images("train"))
    np.testing.assert_allclose(run.decode(points.numpy()), opened.sample(50, "prior"), atol=1e-6)
    assert np.array_equal(run.sample(5, seed=1), opened.sample(5, "prior", seed=1))
    assert not np.array_equal(run.sample(5), run.sample(5, seed=1))
    train = run.images("train")
    with torch.no_grad():
        z = torch.from_numpy(run.codes(train).sampled())
        untrained = stirred(run.config.task.prior, 3).log_prob(z).mean()
        assert opened.prior.log_prob(z).mean() > untrained
    assert run.evaluate("validation")[name] == pytest.approx(
        min(run.history, key=lambda record: record["validation"]["loss"])["validation"][name]
    )


def test_it_goes_on_to_the_same_bits(run, tmp_path):
    """Stopped in the middle of an epoch, after a state with half a prior's moments."""
    config, steps = run.config, []

    def stop(progress):
        steps.append(progress)
        return len(steps) == 30

    given = {"epochs": 4, "prior": config.task.prior, **SMALL}
    with pytest.raises(safelight.errors.Interrupted):
        safelight.train("digits", config.network.name, tmp_path / "cut", on_step=stop, **given)
    again = safelight.resume(tmp_path / "cut")
    for file in ("model.safetensors", "best.safetensors"):
        assert (again.path / file).read_bytes() == (run.path / file).read_bytes()
    sheet = "figures/epochs/samples-0004.png"
    assert (again.path / sheet).read_bytes() == (run.path / sheet).read_bytes()


def test_the_sheets_of_samples_are_drawn_from_the_prior_of_their_epoch(run):
    """The last one's, from the numbers that are the same for all."""
    from safelight.data.pictures import tile

    loss, network = run.task.loss(), run.network
    run.folder.read_weights("model.safetensors", network, loss)
    drawn = run.task.draw(network, run.images("validation").subset(slice(4)), run.images("train"))
    expected = run.decode(latent_points(network, loss.prior.eval(), 64, run.images("train")).detach().numpy())
    assert np.array_equal(drawn["samples"], tile(expected, 8))
    run._loaded = None


def test_measures_of_a_learned_prior(digits):
    torch.manual_seed(0)
    network, prior = DeepConvVAE(digits.shape).eval(), stirred("flow", 20)
    found = evaluate(network, Bernoulli(), digits, samples=2, prior=prior)
    terms = mean_loss(network, NegativeELBO(Bernoulli(), prior=prior), digits)
    assert found["kl"] == terms["kl"] != evaluate(network, Bernoulli(), digits, samples=0)["kl"]
    with torch.no_grad():
        expected = told_by_dimension(*network.encode(digits.floats()))
    np.testing.assert_allclose(found["kl_per_dimension"], expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNED)
def test_codes_of_few_images_tell_as_much_as_with_the_normal_prior(name):
    """They did not where the noise of log p(z) went into every gradient: their KL stayed at 0.4 nats."""
    settings = {"epochs": 12, "batch_size": 32, "threads": 1, "latent": 8, "channels": (16,), "hidden": 64}
    settings |= {"likelihood": "bernoulli"}
    last = {p: safelight.train("digits", prior=p, **settings).history[-1] for p in ("normal", name)}
    assert last[name]["validation"]["loss"] < last["normal"]["validation"]["loss"] + 0.5
    assert last[name]["validation"]["kl"] > 1.5


def test_which_prior_where_none_is_named(tmp_path):
    few = {"limit": 100, "epochs": 1, "threads": 1}
    assert safelight.train("digits", **few).config.task.prior == "flow"
    assert safelight.train("digits", "conv-vae", **few).config.task.prior == "normal"
    assert safelight.train("digits", "deep-conv-ae", **few).config.task.prior == "normal"
    assert safelight.train("digits", prior="normal", **few).config.task.prior == "normal"
    with pytest.raises(ConfigError, match="prior: expected normal or mixture or flow, got 'flaw'"):
        safelight.train("digits", prior="flaw", **few)


def test_a_run_from_before_there_were_priors_has_the_normal_one(tmp_path):
    run = safelight.train("digits", out=tmp_path / "old", prior="normal", epochs=1, limit=200, **SMALL)
    path = run.path / "config.json"
    values = json.loads(path.read_text())
    assert values["task"].pop("prior") == "normal"
    path.write_text(json.dumps(values))
    again = safelight.Run(run.path)
    assert again.config == run.config
    assert isinstance(again.prior, Normal)
    assert np.array_equal(again.sample(3), run.sample(3))
    assert len(safelight.resume(run.path, epochs=2).history) == 2


def test_the_command_keeps_and_shows_the_prior(command, tmp_path):
    few = ("--limit", "100", "--epochs", "1", "--threads", "1", "--network.channels", "8")
    for model, prior in (("deep-conv-vae", "flow"), ("conv-vae", "normal")):
        shown = " ".join(command("train", "--model", model, "--help").stdout.split())
        assert "--prior {normal,mixture,flow}" in shown
        assert f"which leaves them as they are (default: {prior})" in shown
    assert command("train", "digits", "--out", "a", *few).returncode == 0
    assert command("train", "digits", "--prior", "normal", "--out", "b", *few).returncode == 0
    assert command("train", "digits", "--config", "b/config.json", "--out", "c", *few).returncode == 0
    kept = [safelight.Run(tmp_path / name).config.task.prior for name in "abc"]
    assert kept == ["flow", "normal", "normal"]
    refused = command("train", "--resume", "a", "--prior", "normal")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "expected its own prior (flow), got normal" in refused.stderr
    rows = compare([safelight.Run(tmp_path / name).folder for name in "ab"])
    assert [row["prior"] for row in rows] == ["flow", "normal"]
    assert rows[0]["convention"] == rows[1]["convention"], "both are bounds on log p(x)"
    assert "learned along" in command("evaluate", "a", "--samples", "2").stdout.replace("\n", "")
    assert "A flow walk of 4 steps" in command("walk", "a", "0", "1", "--steps", "4").stdout
    none = command("walk", "b", "0", "1", "--path", "flow", "--out", "b.png")
    assert "path: expected linear or spherical" in none.stderr


def test_a_walk_in_the_flows_space():
    flow = stirred("flow", 4)
    a, b = torch.randn(2, 4).numpy()
    steps = walk(a, b, 9, "flow", flow)
    np.testing.assert_allclose(steps[[0, -1]], [a, b], atol=1e-4)
    with torch.no_grad():
        base = flow.to_base(torch.from_numpy(steps)).numpy()
    np.testing.assert_allclose(np.diff(base, axis=0), np.tile((base[-1] - base[0]) / 8, (8, 1)), atol=1e-3)
    assert walk_path(None, has_flow=True) == "flow"
    with pytest.raises(ConfigError, match="path: expected linear or spherical or flow, got 'crooked'"):
        walk_path("crooked", has_flow=True)


class Flat(Autoencoder):
    """A network of a user's own."""

    def __init__(self):
        super().__init__()
        self.down, self.up = torch.nn.Linear(64, 4), torch.nn.Linear(2, 64)

    def encode(self, x):
        return Code(*self.down(x.flatten(1)).chunk(2, dim=1))

    def decode(self, z):
        return self.up(z).view(-1, 1, 8, 8)


def test_a_network_of_ones_own_can_learn_a_prior(tmp_path):
    run = safelight.train("digits", Flat, tmp_path / "own", prior="flow", epochs=1, threads=1)
    again = safelight.Run(run.path, network=Flat)
    assert isinstance(again.prior, Flow)
    assert np.array_equal(again.sample(3), run.sample(3))


def test_a_prior_in_the_table_arrives_everywhere(monkeypatch, command, tmp_path):
    monkeypatch.setitem(settings.PRIORS, "wide", "one that knows no bounds")
    monkeypatch.setitem(priors.PRIORS, "wide", Mixture)
    assert "{normal,mixture,flow,wide}" in command("train", "--help").stdout
    few = ("--limit", "100", "--epochs", "1", "--threads", "1")
    assert command("train", "digits", "--prior", "wide", "--out", "a", *few).returncode == 0
    assert isinstance(safelight.Run(tmp_path / "a").prior, Mixture)
    assert "knows no bounds" in command("evaluate", "a", "--samples", "0").stdout.replace("\n", " ")


@pytest.mark.parametrize("name", LEARNED)
def test_onnx_draws_what_torch_does(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    prior = stirred(name, 5)
    noise = torch.randn(7, 5 + prior.extra)
    with torch.no_grad():
        model = onnx._exported(onnx.Draw(prior), [noise[:2]], "noise", ["z"])
        found = onnxruntime.InferenceSession(model).run(["z"], {"noise": noise.numpy()})[0]
        np.testing.assert_allclose(found, prior.from_base(noise), atol=1e-5)


@pytest.mark.slow
def test_a_run_exports_its_prior_and_one_without_leaves_none_behind(run, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = run.export(tmp_path)
    numbers = 3 + run.prior.extra
    session = onnxruntime.InferenceSession(folder / "prior.onnx")
    noise = torch.randn(7, numbers)
    found = session.run(["z"], {"noise": noise.numpy()})[0]
    np.testing.assert_allclose(found, run.prior.from_base(noise).detach(), atol=1e-4)
    assert (folder / "base.onnx").exists() is isinstance(run.prior, Flow)
    if isinstance(run.prior, Flow):
        again = onnxruntime.InferenceSession(folder / "base.onnx").run(["noise"], {"z": found})[0]
        np.testing.assert_allclose(again, noise, atol=1e-3)
    assert f"np.random.randn(16, {numbers})" in (folder / "README.md").read_text()
    export.export_onnx(run.network, Fit(8, 8, 1, (0, 16)), tmp_path, overwrite=True)
    assert not (folder / "prior.onnx").exists()
    assert not (folder / "base.onnx").exists()
    assert "prior" not in (folder / "README.md").read_text()


@pytest.mark.slow
def test_the_prior_is_a_gene(tmp_path):
    space = tmp_path / "space.json"
    space.write_text(json.dumps({"task.prior": {"kind": "categorical", "choices": list(PRIORS)}}))
    few = {"population": 3, "generations": 1, "limit": 100, "workers": 1}
    found = safelight.evolve("digits", "conv-vae", tmp_path / "a", space=str(space), **few)
    assert {trial.values["task.prior"] for trial in found.trials} <= set(PRIORS)
    assert all(math.isfinite(trial.rank_by[0]) for trial in found.trials)


def test_configs_are_complete(digits):
    """What is written names the prior, so that another default later changes no run."""
    run = safelight.train("digits", limit=100, epochs=1, threads=1)
    assert to_dict(run.config)["task"]["prior"] == "flow"
    assert isinstance(run.config, RunConfig)
