"""The maps of a run's report: the original report's figures 5 and 6, and the same of the means."""

from __future__ import annotations

from functools import partial

from safelight.config.latent import MapConfig
from safelight.latent.charts import map_chart, map_words
from safelight.latent.codes import Codes
from safelight.latent.maps import project
from safelight.reporting.report import Panel

__all__ = ["CODES", "latent_panels"]

CODES, CODES_IN_SPACE = 20_000, 2000  # as in the original report


def latent_panels(codes: Codes) -> list[Panel]:
    """PCA of codes on a plane and in space, of draws of q(z | x) as in the original report and of the means.

    Args:
        codes: of training images; of at most 20,000 on the plane and 2,000 in space.
    """
    panels = []
    for dims, n in ((2, CODES), (3, CODES_IN_SPACE)):
        for sampled in (True, False) if codes.logvar is not None else (False,):
            found = project(codes, MapConfig(dims=dims, n=n, sampled=sampled))
            name = f"latent-{dims}d" + ("-sampled" if sampled else "")
            words = ". ".join([*map_words(found), *found.notes]) + "."
            panels.append(Panel(name, partial(map_chart, found), words))
    return panels
