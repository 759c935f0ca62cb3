"""No option is silently ignored: all verbs, and all options of each."""

import json

import pytest

import safelight
from safelight.command.main import build_parser
from safelight.config.data import DataConfig, Fit
from safelight.config.network import ClassifierConfig, DeepConvConfig, UNetConfig
from safelight.config.run import RunConfig
from safelight.config.task import AutoencodeConfig, ClassifyConfig, DenoiseConfig
from safelight.config.training import TrainingConfig
from safelight.errors import ConfigError
from safelight.evolution.folder import SearchFolder
from safelight.runs.folder import RunFolder

RUNS = {
    "vae": (DeepConvConfig(), AutoencodeConfig()),
    "ae": (DeepConvConfig("deep-conv-ae"), AutoencodeConfig()),
    "unet": (UNetConfig(), DenoiseConfig()),
    "blind": (UNetConfig(), DenoiseConfig(self_supervised=True)),
    "classifier": (ClassifierConfig(), ClassifyConfig()),
}
CORRUPT, JUDGE, SAMPLES = "--corrupt gaussian:0.5", "--judge classifier", "--samples 5"
IDLE = {  # calls in which an option would do nothing
    ("train", "--beta"): ["digits --out x --model deep-conv-ae --beta 4"],
    ("train", "--beta-warmup"): [
        "digits --out x --model deep-conv-ae --beta-warmup 0.5",
        "digits --out x --beta 0 --beta-warmup 0.5",
    ],
    ("train", "--encoding"): ["digits --out x --encoding cp1252"],
    ("train", "--keep-na"): ["digits --out x --labels none --keep-na"],
    ("train", "--likelihood"): [
        "digits --out x --model denoising-unet --self-supervised --likelihood bernoulli"
    ],
    ("train", "--network.heads"): [
        "digits --out x --model denoising-unet --task denoise --network.attention 0 --network.heads 2"
    ],
    ("evolve", "--beta"): ["digits --out x --model deep-conv-ae --beta 4"],
    ("evolve", "--beta-warmup"): ["digits --out x --beta=0 --beta-warmup=0.5"],
    ("evolve", "--likelihood"): ["digits --out x --task denoise --self-supervised --likelihood bernoulli"],
    ("evolve", "--workers"): ["digits --out x --engine dask --address tcp://x:1 --workers 2"],
    ("evolve", "--budget"): ["digits --out x --budget 400"],
    ("evolve", "--epochs"): ["digits --out x --rungs 1,3 --epochs 1"],
    ("classify", "--min-probability"): ["classifier digits --out x.npy --min-probability 0.5"],
    ("evaluate", "--split"): ["vae --probe --split validation", "classifier --probe --split=test"],
    ("evaluate", "--samples"): [f"vae --probe {SAMPLES}", f"ae {SAMPLES}", f"unet {SAMPLES}"],
    ("evaluate", "--corrupt"): [f"unet --probe {CORRUPT}", f"blind {CORRUPT}", f"vae {CORRUPT}"],
    ("evaluate", "--judge"): [f"unet --probe {JUDGE}", f"blind {JUDGE}", f"vae {JUDGE}", f"ae {JUDGE}"],
    ("project", "--perplexity"): ["vae --perplexity 30", "vae --method umap --perplexity 5"],
    ("project", "--neighbours"): ["vae --neighbours 5", "vae --method tsne --neighbours 15"],
    ("project", "--by"): ["vae --out x.parquet --by loss"],
    ("sample", "--label"): ["vae --judge classifier --label 3"],
    ("sample", "--overwrite"): ["vae --out folder --overwrite"],
    ("find outliers", "--quantile"): ["vae digits --share 0.1 --quantile 0.9"],
    ("finetune", "--encoding"): ["vae digits --out x --encoding gbk"],
    ("suggest", "--encoding"): ["vae --out x.csv --encoding gbk"],
    ("explore", "--encoding"): ["vae --encoding gbk"],
    ("data check", "--overwrite"): ["digits --json --overwrite"],
    ("data check", "--encoding"): ["digits --json --encoding cp1252"],
    ("data check", "--keep-na"): ["digits --json --labels none --keep-na"],
    ("export", "--n"): ["vae --onnx x --n 5"],
    ("export", "--no-images"): ["vae --onnx x --no-images"],
}
TRAINING = (
    "--batch-size --decay --device --epochs --gamma --lr --patience --precision --seed --threads "
    "--warmup --weight-decay --micro-batches"
)
FITTING = "--size --fit --background --image-channels --range"
MAPS = "--map --perplexity --neighbours --metric"
OF_CORRUPTION = "--corrupt --self-supervised"
OF_CLASSES = "--label-smoothing --no-augmentation --balance"
FOLDER = "--config --model --out --overwrite --resume --task"
ACTS = {  # in every call that is allowed
    "train": f"{FOLDER} {TRAINING} --init-from --limit --validation {OF_CORRUPTION} {OF_CLASSES} "
    f"{FITTING} --labels --group-by --dry-run --strict --prior --augment "
    "--network.activation --network.attention --network.channels --network.classes --network.hidden "
    "--network.kernels --network.latent --network.linear-path --network.normalization --network.strides "
    "--network.window",
    "evolve": f"{FOLDER} --address --algorithm --engine --equal-cost --for-epochs --generations --limit "
    "--limit-validation --max-flops --max-parameters --objective --population --rungs --seed --space "
    f"--stop-hopeless --trial-timeout --validation {OF_CORRUPTION} {OF_CLASSES} --prior --augment",
    "finetune": f"--out --overwrite --resume --labels --labels-per-class --supervised-only "
    f"--limit --model --validation --from-scratch --keep-na {OF_CLASSES} {TRAINING}",
    "classify": "--out --overwrite",
    "suggest": "--count --labels --seed --sheet --out --overwrite",
    "evaluate": "--probe --json",
    "report": "",
    "compare": "--out --overwrite --json",
    "denoise": "--out --compare --overwrite --average-turns",
    "embed": "--split --out --overwrite",
    "project": "--split --out --overwrite --method --metric --dims --n --sampled --seed",
    "sample": "--count --method --seed --out --judge",
    "walk": "--steps --path --out --overwrite",
    "traverse": "--split --steps --out --overwrite",
    "explore": f"--n --no-images --rebuild --port --host --labels {MAPS}",
    "export": f"--onnx --single-file --overwrite {MAPS}",
    "data": "",
    "data check": f"--out --json --strict --labels --group-by {FITTING}",
    "data list": "",
    "data clear": "",
    "data fetch": "",
    "data moved": "",
    "completion": "",
    "find": "",
    "find outliers": "--share --out --overwrite --json",
    "find similar": "--metric --out --overwrite --json",
    "find duplicates": "--turned --out --overwrite --json",
}
KINDS = (
    "",
    "--model conv-vae",
    "--model denoising-unet --task denoise",
    "--model classifier --task classify",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of runs of each kind, of which only the settings are there."""
    folder = tmp_path_factory.mktemp("runs")
    for name, (network, task) in RUNS.items():
        run = RunFolder(folder / name)
        with run.create():
            data = DataConfig("digits", None, 20, 100)
            training = TrainingConfig(epochs=3, seed=7, patience=2, precision="bfloat16")
            run.write_config(RunConfig(network, Fit(8, 8, 1, (0, 16)), data, training, task))
    return folder


def parsers_of(parser, name=()):
    """The parsers of all verbs and of what follows them, such as `data check`."""
    verbs = parser._subcommands_action
    for verb, own in verbs.choices.items() if verbs else ():
        yield " ".join((*name, verb)), own
        yield from parsers_of(own, (*name, verb))


WHOLE = [name for name, _ in parsers_of(build_parser())]


def options_of(verb):
    """All that a verb has, whatever network and task are chosen."""
    found = set()
    for kind in KINDS if verb in ("train", "evolve") else ("",):
        parsers = dict(parsers_of(build_parser(verb, kind.split())))
        found |= {name for name in parsers[verb]._option_string_actions if name.startswith("--")}
    return found - {"--help", "--print_shtab", "--print-shtab"}


@pytest.mark.parametrize("verb", WHOLE)
def test_every_option_acts_or_is_refused(verb):
    idle = {name for of, name in IDLE if of == verb}
    acts = set(ACTS[verb].split())
    assert not idle & acts
    assert options_of(verb) == idle | acts, "say of a new option in which calls it would do nothing"


@pytest.mark.parametrize(("verb", "name"), IDLE)
def test_an_option_that_would_do_nothing_is_refused(verb, name, command, runs):
    for call in IDLE[verb, name]:
        done = command(*verb.split(), *call.split(), cwd=runs)
        assert done.returncode == 2, call
        assert done.stderr.startswith(f"safelight: {name} would do nothing here: "), call
        assert not (runs / "x").exists()


def test_an_option_that_acts_is_not_refused(command, runs, tmp_path):
    """The same options where they do something: their calls go on, to what these folders lack."""
    for call in ("evaluate unet --corrupt gaussian:0.5", "evaluate vae --samples 3", "denoise vae d --out x"):
        done = command(*call.split(), cwd=runs)
        assert "would do nothing" not in done.stderr


def test_a_search_takes_limit_and_validation_of_a_runs_settings(command, runs, tmp_path):
    out = tmp_path / "evo"
    small = "--population 2 --generations 1 --workers 1"
    done = command(*f"evolve --config {runs / 'vae' / 'config.json'} {small} --out {out}".split())
    assert done.returncode == 0, done.stderr
    record = SearchFolder(out).read_config()
    assert (record.search.limit, record.base.data.validation) == (100, 20)
    own, plain = record.base.training, TrainingConfig()
    assert own.precision == "bfloat16"
    assert (own.epochs, own.seed, own.patience) == (plain.epochs, plain.seed, None)  # nothing idle is stored
    best = json.loads((out / "best.json").read_text())
    assert best["training"]["patience"] is None
    refused = command("evolve", "--resume", str(out), "--validation", "30")
    assert "--resume: expected its own validation (20), got 30" in refused.stderr


@pytest.mark.parametrize("name", ["epochs", "seed", "threads", "patience"])
def test_a_search_refuses_settings_that_it_decides_itself(name, tmp_path):
    with pytest.raises(ConfigError, match=f"settings: {name}: a search itself has"):
        safelight.evolve("digits", "conv-vae", tmp_path / "a", settings={name: 3})
    assert not (tmp_path / "a").exists()


def test_samples_are_judged_by_the_seed_that_was_given(monkeypatch):
    from safelight.command import sample

    seen = []

    class Judged:
        network = None

    class Run:
        path = "run"
        prior = "normal"
        config = RunConfig(DeepConvConfig(), Fit(8, 8, 1), DataConfig(), TrainingConfig())

        def images(self, split):
            return safelight.load("digits", limit=20)

        def sample_parts(self, count, method, **options):
            seen.append(options["seed"])
            return iter(())

    found = dict.fromkeys(("frechet", "precision", "recall"), 1.0)
    monkeypatch.setattr("safelight.latent.judging.judge_samples", lambda *parts: found)
    judged = Judged()
    judged.path = "judge"
    sample._print_judgement(Run(), judged, 5)
    assert seen == [5, 5]
