"""Train the original report's network as it was trained there, and show what the report showed.

With --finetune, do what it was asked for and left out: make a classifier of its encoder, from 10 labels a
class and from all of them, beside the same network from scratch.

With --evolve, search for its hyperparameters, and how the rate falls, for trainings of 30 epochs at the price
of its own search (30 individuals in 12 generations, one epoch each), then train the network by what was
found, by what the report found and by a rate chosen by hand. With --denoise, train networks on noise and draw
the report's figure 4 with them.

Network, optimizer, batch size, weight decay and number of epochs are the report's. Its learning rate is not:
the one that it evolved, 0.428, was never used. Ours was chosen on 50,000 training and 10,000 validation
images, as docs/lab-log.md tells.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from safelight.command.console import progress, search_progress, stop_on_signals
from safelight.command.main import exit_code
from safelight.machine import prepare_process, shorten_spinning

if TYPE_CHECKING:
    from safelight import Run

REPORTED = 100.9932  # the report's test loss, after 30 epochs at a rate of 1e-3
EVOLVED = {"batch_size": 49, "lr": 0.428, "gamma": 1.0, "weight_decay": 3.2318e-05}  # its search's answer
RUNS = Path("runs")
SEARCH, RUN = "deep_learning_hw2_evolution", "deep_learning_hw2"
FINETUNED, DENOISING = "deep_learning_hw2_finetuned", "deep_learning_hw2_denoising"
WHOLE: dict[str, Any] = {"population": 30, "budget": 360, "epochs": 30, "limit": None}
OF_SEARCH = ("population", "budget")
SEEDS = 3  # of the trainings that are compared
BY_HAND: dict[str, Any] = {
    "epochs": 30,
    "batch_size": 49,
    "weight_decay": 3.2318e-05,
    "lr": 7e-3,
    "warmup": 0.5 / 30,
    "decay": "linear",
}


def main() -> None:
    """Do what the command line asks for."""
    parser = ArgumentParser(
        prog="python -m deep_learning_hw2", description="The original report's experiment."
    )
    parser.add_argument(
        "--evolve", action="store_true", help="search for its hyperparameters, then train by them"
    )
    parser.add_argument(
        "--finetune",
        action="store_true",
        help="make a classifier of its encoder, from few labels and from all",
    )
    parser.add_argument(
        "--denoise", action="store_true", help="train networks on noise, and draw the report's figure 4"
    )
    for name, words in (
        ("population", "trials a generation"),
        ("budget", "of the search, in epochs of the default settings"),
        ("epochs", "of the whole trainings"),
    ):
        words = f"{words} (default: {WHOLE[name]})"
        parser.add_argument(f"--{name}", type=int, default=WHOLE[name], help=words)
    parser.add_argument("--limit", type=int, help="use only this many training images, for a quick look")
    options = parser.parse_args()
    shorten_spinning()
    prepare_process()
    chosen = (action for action in (evolve, finetune, denoise) if options[action.__name__])
    next(chosen, show)(options)


def evolve(options: Namespace) -> None:
    """Begin, continue or just show the search, and the trainings that it leads to."""
    import safelight
    from safelight.errors import TrainingError
    from safelight.evolution.evolve import spread
    from safelight.evolution.folder import SearchFolder

    place = place_of(SEARCH, options)
    with stop_on_signals("the trials that run") as is_stopped, search_progress() as on_status:
        if (place / "config.json").exists():
            search = SearchFolder(place).read_config().search
            asked = {"for_epochs": options.epochs, "limit": options.limit}
            refuse_others(place, search, asked | {name: options[name] for name in OF_SEARCH})
            found = safelight.resume_evolution(
                place, progress=False, on_status=on_status, is_stopped=is_stopped
            )
        else:
            found = safelight.evolve(
                safelight.load("mnist", progress=True),
                "conv-vae",
                place,
                population=options.population,
                budget=options.budget,
                for_epochs=options.epochs,
                limit=options.limit,
                command="python -m deep_learning_hw2 --evolve",
                progress=False,
                on_status=on_status,
                is_stopped=is_stopped,
            )
    values = {name.removeprefix("training."): value for name, value in found.values.items()}
    print(f"{'':24}{'range':>18}{'the report':>14}{'ours':>12}")
    for name, gene in found.config.genes.items():
        name = name.removeprefix("training.")
        span = " or ".join(gene.choices) or f"{gene.low:g} to {gene.high:g}"
        print(f"{name:24}{span:>18}{EVOLVED.get(name, '–'):>14}{values.get(name, '–'):>12}")
    foresight = found.foresight
    print(f"Budget: {foresight.spent:.1f} of {options.budget} epochs of the default settings")
    print(f"Law: {foresight.verdict(found.config)}")
    print(f"Validation loss after {options.epochs} epochs: {spread(found.validation)}")
    print(f"Settings: {place / 'best.json'}")
    print(f"\nTest loss after {options.epochs} epochs, nats per image:")
    print(f"{'the report, which trained at a rate of 1e-3:':58}{REPORTED:.4f}")
    for label, path, settings, seeds in (
        (
            "the values that the report evolved, when really used:",
            "reported",
            {**EVOLVED, "decay": "gamma"},
            1,
        ),
        (f"the values evolved here, {SEEDS} seeds:", "evolved", values, SEEDS),
        (f"a rate chosen by hand, falling to zero, {SEEDS} seeds:", "by_hand", BY_HAND, SEEDS),
    ):
        losses = []
        for seed in range(seeds):
            own = {**settings, "epochs": options.epochs, "seed": seed}
            with suppress(TrainingError):
                run = trained(place / (f"{path}-{seed}" if seed else path), own, options.limit)
                losses.append(run.evaluate("test", samples=0)["loss"])
        diverged = f", {seeds - len(losses)} diverged" if len(losses) < seeds else ""
        print(f"{label:58}{spread(losses)}{diverged}")


def show(options: Namespace) -> None:
    """Train, continue or just show the report's run, measured on the test images."""
    import safelight

    print(safelight.ConvVAE())
    run = trained(place_of(RUN, options), {**BY_HAND, "epochs": options.epochs}, options.limit)
    measures = run.evaluate("test")
    report = run.report()
    figures = run.folder.figures
    print(f"Figure 1, examples of the images:          {figures / 'examples.png'}")
    print(f"Figure 2, samples after 1, 15, 30 epochs:  {figures / 'samples.png'}")
    print(f"Figure 3, reconstructions after the same:  {figures / 'reconstructions.png'}")
    print(f"Figure 5, PCA of 20,000 sampled codes:     {figures / 'latent-2d-sampled.png'}")
    print(f"The same of their means:                   {figures / 'latent-2d.png'}")
    print(f"Figure 6, PCA of 2,000 in 3 dimensions:    {figures / 'latent-3d-sampled.png'}")
    print(f"The same of their means:                   {figures / 'latent-3d.png'}")
    print(f"Report:                                    {report}")
    print(f"Test set loss: {measures['loss']:.4f}")


def finetune(options: Namespace) -> None:
    """Train, continue or just show classifiers that start from the report's run, and others that do not."""
    import safelight
    from safelight.runs.folder import RunFolder

    run = trained(place_of(RUN, options), {**BY_HAND, "epochs": options.epochs}, options.limit)
    images = safelight.load("mnist", progress=True)
    print("Right of the test images:")
    for labels, per_class, epochs in (("10 labels a class", 10, 2), ("all labels", None, 8)):
        for start, from_scratch in (("the report's network", False), ("the same from scratch", True)):
            path = place_of(FINETUNED, options) / f"{labels} {start}".replace(" ", "-").replace("'", "")
            with stop_on_signals() as is_stopped, progress(is_stopped) as (on_epoch, on_step, _):
                if (path / "config.json").exists():
                    config = RunFolder(path).read_config()
                    refuse_others(path, config.training, {"epochs": epochs})
                    refuse_others(path, config.data, {"limit": options.limit})
                    tuned = safelight.resume(path, on_epoch=on_epoch, on_step=on_step, progress=False)
                else:
                    tuned = safelight.finetune(
                        run,
                        images,
                        out=path,
                        labels_per_class=per_class,
                        supervised_only=True,
                        from_scratch=from_scratch,
                        epochs=epochs,
                        limit=options.limit,
                        command="python -m deep_learning_hw2 --finetune",
                        on_epoch=on_epoch,
                        on_step=on_step,
                        progress=False,
                    )
            print(f"{labels + ', ' + start:42}{tuned.evaluate()['accuracy']:.2f}%")


def denoise(options: Namespace) -> None:
    """Train, continue or just show the report's run and denoisers, and draw figure 4."""
    import safelight
    from deep_learning_hw2.denoising import SETTINGS, figure_4
    from safelight.files import write_file
    from safelight.reporting.charts import render

    settings, place = {**BY_HAND, "epochs": options.epochs}, place_of(DENOISING, options)
    run = trained(place_of(RUN, options), settings, options.limit)
    runs = {"the report's VAE, never trained on noise": run}
    for network, own in SETTINGS.items():
        own = {**own, "task": "denoise", "corrupt": "gaussian:0..1"}
        name = f"{network}, trained on noise"
        runs[name] = trained(place / network, own, options.limit, network)
    reader = {"epochs": 2, "task": "classify"}
    judge = trained(place / "judge", reader, options.limit, "classifier").network
    figure = figure_4(runs, safelight.load("mnist", split="test"), judge)
    write_file(place / "figure-4.png", render(figure))
    print(f"Figure 4, noise above and outputs below: {place / 'figure-4.png'}")


def place_of(name: str, options: Namespace) -> Path:
    """A folder that is named after what is not as in the whole experiment, so that no quick look is it."""
    names = WHOLE if name == SEARCH else [name for name in WHOLE if name not in OF_SEARCH]
    changed = [f"{option}-{options[option]}" for option in names if options[option] != WHOLE[option]]
    return RUNS / "-".join((name, *changed))


def refuse_others(path: Path, found: object, asked: Mapping[str, Any]) -> None:
    """Make sure that a folder holds what was asked for, by whatever name it goes.

    Raises:
        RunError: it does not.
    """
    from safelight.errors import RunError

    for name, value in asked.items():
        if (own := getattr(found, name)) != value:
            raise RunError(f"{path}: expected {name} {value}, got {own}; move that folder away")


def trained(path: Path, settings: dict[str, Any], limit: int | None, network: str = "conv-vae") -> Run:
    """A network, by default the report's, trained into a folder, or continued there.

    Raises:
        RunError: the folder holds one of other settings.
    """
    import safelight
    from safelight.runs.folder import RunFolder
    from safelight.runs.settings import read_settings

    if (path / "config.json").exists():
        found = RunFolder(path).read_config()
        own = {name: value for name, value in settings.items() if name != "task"}
        asked = read_settings(network, settings.get("task", "autoencode"), own)
        for part, config in zip((found.network, found.task, found.training), asked, strict=True):
            names = ["name", *own]
            refuse_others(path, part, {n: getattr(config, n) for n in names if hasattr(config, n)})
        refuse_others(path, found.data, {"limit": limit, "validation": 0})
    with stop_on_signals() as is_stopped, progress(is_stopped) as (on_epoch, on_step, _):
        if (path / "config.json").exists():
            return safelight.resume(path, on_epoch=on_epoch, on_step=on_step, progress=False)
        return safelight.train(
            safelight.load("mnist", progress=True),
            network,
            path,
            validation=0,
            limit=limit,
            command="python -m deep_learning_hw2",
            on_epoch=on_epoch,
            on_step=on_step,
            progress=False,
            **settings,
        )


if __name__ == "__main__":
    sys.exit(exit_code(main))
