"""`safelight report`."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from safelight.command.console import name_of, out
from safelight.command.verb import Verb

__all__ = ["VERB"]


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("run", type=str, help="folder of a run or a search")


def _run(options: Namespace, arguments: list[str]) -> None:
    import safelight
    from safelight.run import Run

    opened = safelight.open(options.run)
    if isinstance(opened, Run):
        page = opened.report(on_note=lambda note: out.print(f"Note: {note}", markup=False))
    else:
        page = opened.report()
    out.print(f"Report:    {name_of(page)}")
    out.print(f"Pictures:  {name_of(opened.folder.figures)}")
    if isinstance(opened, Run):
        measured = opened.folder.read_evaluation().get("test")
        if measured is None:
            out.print(
                f"Test:      these weights are not measured yet; safelight evaluate {name_of(opened.path)}"
            )
        else:
            from safelight.reporting.summary import summarize

            judge = summarize(opened.folder).judge
            value = measured.get(judge.name)
            if isinstance(value, float):
                out.print(f"Test {judge.words}: {value:.{judge.digits}f} {judge.unit}")


VERB = Verb(
    "report",
    "draw the figures and the report of a run or a search",
    "Draw the figures and write the report.html of a run or a search.",
    ("safelight report runs/first",),
    _add_options,
    _run,
)
