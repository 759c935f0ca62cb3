"""Train the original report's network as it was trained there, and show what the report showed.

With --evolve, search for its four hyperparameters as it did: 30 individuals, 12 generations, one epoch each.

Network, optimizer, batch size, weight decay and number of epochs are the report's. Its learning rate is not:
the one that it evolved, 0.428, was never used. Ours was chosen on 50,000 training and 10,000 validation
images, as docs/lab-log.md tells.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from safelight.command.main import exit_code, progress, search_progress, stop_on_signals
from safelight.machine import prepare_process, shorten_spinning

EVOLVED = {
    "training.batch_size": 49,
    "training.lr": 0.428,
    "training.gamma": 1.0,
    "training.weight_decay": 3.2318e-05,
}
SEARCH = Path("runs/deep_learning_hw2_evolution")
RUN = Path("runs/deep_learning_hw2")
SETTINGS: dict[str, Any] = {
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
        "--evolve", action="store_true", help="search for its hyperparameters, 30 x 12 trials"
    )
    options = parser.parse_args()
    shorten_spinning()
    prepare_process()
    if options.evolve:
        evolve()
    else:
        train()


def evolve() -> None:
    """Begin, continue or just show the search in `SEARCH`."""
    import safelight
    from safelight.evolution import evolve as searching
    from safelight.evolution.search import SearchFolder

    with stop_on_signals("the trials that run") as is_stopped, search_progress() as on_status:
        if (SEARCH / "config.json").exists():
            found = safelight.resume_evolution(SEARCH, on_status=on_status, is_stopped=is_stopped)
        else:
            found = safelight.evolve(
                safelight.load("mnist", progress=True),
                "conv-vae",
                SEARCH,
                population=30,
                generations=12,
                epochs=1,
                command="python -m deep_learning_hw2 --evolve",
                on_status=on_status,
                is_stopped=is_stopped,
            )
    genes = SearchFolder(SEARCH).read_config().genes
    print(f"{'':24}{'range':>18}{'the report':>14}{'ours':>12}")
    for name, gene in genes.items():
        span = f"{gene.low:g} to {gene.high:g}"
        print(f"{name:24}{span:>18}{EVOLVED[name]:>14g}{found.values[name]:>12g}")
    print(f"Validation loss after one epoch, 3 fresh seeds: {searching.spread(found.validation)}")
    print(f"Test set loss of the same:                      {searching.spread(found.test)}")
    print(f"Settings: {SEARCH / 'best.json'}")


def train() -> None:
    """Train, continue or just show the run in `RUN`, measured on the test images."""
    import safelight
    from safelight import api
    from safelight.reporting.report import write_report

    print(safelight.ConvVAE())
    with stop_on_signals() as is_stopped, progress(is_stopped) as (on_epoch, on_step):
        if (RUN / "config.json").exists():
            run = api.resume(RUN, on_epoch=on_epoch, on_step=on_step)
        else:
            run = safelight.train(
                safelight.load("mnist", progress=True),
                "conv-vae",
                RUN,
                validation=0,
                command="python -m deep_learning_hw2",
                on_epoch=on_epoch,
                on_step=on_step,
                **SETTINGS,
            )
    measures = run.evaluate("test")
    report = write_report(run.folder)
    figures = run.folder.figures
    print(f"Figure 1, examples of the images:          {figures / 'examples.png'}")
    print(f"Figure 2, samples after 1, 15, 30 epochs:  {figures / 'samples.png'}")
    print(f"Figure 3, reconstructions after the same:  {figures / 'reconstructions.png'}")
    print(f"Report:                                    {report}")
    print(f"Test set loss: {measures['loss']:.4f}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
