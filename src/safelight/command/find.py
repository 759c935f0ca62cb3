"""`safelight find`: what is odd in a set, what is like a picture, and what is there twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from safelight.command.console import name_of, out, reading
from safelight.command.images import fetched, say, taken
from safelight.command.options import make_parser
from safelight.command.verb import Idle, Verb
from safelight.config.reading import check
from safelight.errors import DataError
from safelight.files import new_file, printable

if TYPE_CHECKING:
    from safelight.reporting.finds import Card

__all__ = ["VERB"]

SHOWN, MOST_PAIRS = 5, 500  # lines that are printed, and pairs on a page


@dataclass(frozen=True)
class _Found:
    """What there is to tell.

    Attributes:
        lead: the first sentence.
        sections: of the page: titles and what is shown under each; None where there is nothing to show.
        records: rows of the table.
        lines: what is printed of them.
        remark: under the lead, on the page alone.
        columns: of the table; those of the first row by default.
    """

    lead: str
    sections: Sequence[tuple[str, Sequence[Card]]] | None
    records: Sequence[dict[str, Any]]
    lines: Sequence[str]
    remark: str = ""
    columns: Sequence[str] = ()


def _add_options(parser: ArgumentParser, arguments: list[str]) -> None:
    actions = parser.add_subcommands(dest="action", required=True)
    outliers = make_parser(
        "Find what is least like the images that a run was trained on, and where in them.",
        "safelight find outliers runs/cells photos/ -n 50 --out odd.html",
    )
    outliers.add_argument("run", type=str, help="run folder, of an autoencoder")
    outliers.add_argument("source", type=str, help="named set, file or folder of images")
    outliers.add_argument("-n", type=int, help="how many to show (default: 50, or all of fewer)")
    outliers.add_argument("--share", type=float, help="of the images to mark as outliers, such as 0.02")
    outliers.add_argument(
        "--quantile",
        type=float,
        default=0.99,
        help="of the training images' scores, above which an image is an outlier (default: 0.99)",
    )
    _add_results(outliers, "outliers.html")
    actions.add_subcommand("outliers", outliers, help="find what is odd")
    similar = make_parser(
        "Find the images whose codes are nearest to those of a picture.",
        "safelight find similar runs/cells query.png photos/ -n 12",
    )
    similar.add_argument("run", type=str, help="run folder, of an autoencoder")
    similar.add_argument("query", type=str, help="a picture, or a folder of some")
    similar.add_argument(
        "source", type=str, help="named set, file or folder of images to search, or of codes that embed wrote"
    )
    similar.add_argument("-n", type=int, help="how many to find of each (default: 12, or all of fewer)")
    similar.add_argument("--metric", choices=("cosine", "euclidean"), default="cosine", help="of codes")
    _add_results(similar, "similar.html")
    actions.add_subcommand("similar", similar, help="find what is like a picture")
    duplicates = make_parser(
        "Find images that are there twice: identical, or encoded again, scaled or brightened.",
        "safelight find duplicates photos/ --turned",
    )
    duplicates.add_argument("source", type=str, help="named set, file or folder of images")
    duplicates.add_argument(
        "--turned", action="store_true", help="also copies turned by quarters or mirrored"
    )
    _add_results(duplicates, "duplicates.html")
    actions.add_subcommand("duplicates", duplicates, help="find what is there twice; needs no run")


def _add_results(parser: ArgumentParser, page: str) -> None:
    parser.add_argument(
        "--out", type=str, default=page, help=f"the page; a .csv goes beside it (default: {page})"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: Namespace, arguments: list[str]) -> None:
    from safelight.reporting.finds import write_finds, write_table

    chosen = options[options.action]
    page = new_file(chosen.out, [".html"], chosen.overwrite)
    table = new_file(page.with_suffix(".csv"), [".csv"], chosen.overwrite)
    found = {"outliers": _outliers, "similar": _similar, "duplicates": _duplicates}[options.action](chosen)
    columns = found.columns or list(found.records[0])
    write_table(table, columns, [list(record.values()) for record in found.records])
    source = Path(chosen.source).name or chosen.source
    if found.sections is not None:
        write_finds(page, f"find {options.action}", source, found.lead, found.sections, found.remark)
    if chosen.json:
        print(json.dumps(found.records, indent=2))
        return
    out.print(found.lead)
    for line in found.lines[:SHOWN]:
        out.print(printable(f"  {line}"), markup=False)
    if found.sections is None:
        out.print(f"Table: {name_of(table)} (of codes alone there is no page: the pictures are not there)")
    else:
        out.print(f"Page: {name_of(page)}, table: {name_of(table)}")


def _outliers(options: Namespace) -> _Found:
    from safelight.reporting.finds import card, heat_picture
    from safelight.run import Run

    run = Run(options.run)
    if run.stored(options.source):
        raise DataError(
            f"expected images, as outliers are told by what the network misses in each, got codes in "
            f"{options.source}; give the pictures that they are of"
        )
    _ = run.prior, run.images("train")  # before minutes of reading
    images = taken(run, options.source)
    count = _number(options.n, 50, len(images))
    found = run.outliers(images, options.share, options.quantile)
    order = found.order.tolist()
    cards = [
        card(
            images,
            [i],
            [found.names[i]],
            f"{found.scores[i]:.3f}",
            heat_picture(found.heat(found.order[k : k + 1])[0]),
        )
        for k, i in enumerate(order[:count])
    ]
    marked = int(found.is_outlier.sum())
    lead = f"{marked:,} of {len(images):,} images are outliers, with scores from {found.threshold:.3f} on."
    records = [
        {
            "name": found.names[i],
            "score": float(found.scores[i]),
            "is_outlier": bool(found.is_outlier[i]),
            **{name: float(column[i]) for name, column in found.columns.items()},
        }
        for i in order
    ]
    remark = (
        "Beside each: where it is odd, from dark, as training images usually miss, to bright, 16 times that. "
        "The score is the mean of four, of which the oddest tenth of the training images has 1 or more."
    )
    lines = [f"{record['score']:.3f}  {record['name']}" for record in records[:count]]
    return _Found(lead, [("The oddest first", cards)], records, lines, remark)


def _similar(options: Namespace) -> _Found:
    from safelight.data.label_files import names_of
    from safelight.reporting.finds import card
    from safelight.run import Run

    run = Run(options.run)
    queries = taken(run, options.query)
    if stored := run.stored(options.source):
        found = run.similar(queries, stored, _number(options.n, 12, stored.rows), options.metric)
        say(stored.notes)
        records = [
            {"query": query, "name": name, "distance": float(far)}
            for query, names, distances in zip(names_of(queries), found.names, found.distances, strict=True)
            for name, far in zip(names, distances, strict=True)
        ]
        number = stored.rows - stored.left_out
        return _Found(_nearest(number, options.metric), None, records, _distances(records))
    images = taken(run, options.source)
    found = run.similar(queries, images, _number(options.n, 12, len(images)), options.metric)
    sections, records = [], []
    for i, query in enumerate(names_of(queries)):
        cards = [card(queries, [i], [query], "the query")]
        for name, place, far in zip(found.names[i], found.places[i], found.distances[i], strict=True):
            cards.append(card(images, [int(place)], [name], f"{far:.4f}"))
            records.append({"query": query, "name": name, "distance": float(far)})
        sections.append((f"Like {query}", cards))
    return _Found(_nearest(len(images), options.metric), sections, records, _distances(records))


def _nearest(count: int, metric: str) -> str:
    return f"The nearest of {count:,} images, by the {metric} distance of their codes."


def _distances(records: Sequence[dict[str, Any]]) -> list[str]:
    return [f"{record['distance']:.4f}  {record['name']}" for record in records]


def _duplicates(options: Namespace) -> _Found:
    from safelight.data.sources import load
    from safelight.reporting.finds import card
    from safelight.similarity.duplicates import find_duplicates

    with reading() as on_reading:
        images = load(fetched(options.source), on_reading=on_reading)
    say(images.notes)
    found = find_duplicates(images, options.turned)
    records = [
        {"name": found.names[a], "copy": found.names[b], "how": how}
        for (a, b), how in zip(found.places.tolist(), found.how, strict=True)
    ]
    cards = [
        card(images, pair, [record["name"], record["copy"]], record["how"])
        for pair, record in zip(found.places[:MOST_PAIRS].tolist(), records, strict=False)
    ]
    lead = (
        f"{len(found.removable):,} of {len(images):,} images are copies of others."
        if len(found)
        else f"There is nothing twice among {len(images):,} images."
    )
    remark = f"The first {MOST_PAIRS} pairs are shown; the table has all." if len(found) > MOST_PAIRS else ""
    lines = [f"{record['how']}: {record['name']} and {record['copy']}" for record in records]
    sections = [("Pairs", cards)] if cards else []
    return _Found(lead, sections, records, lines, remark, ("name", "copy", "how"))


def _number(asked: int | None, usual: int, most: int) -> int:
    check(asked is None or 1 <= asked <= most, "-n", f"1 to {most}, as many as there are images", asked)
    return min(usual, most) if asked is None else asked


def _idle(options: Namespace, arguments: list[str]) -> Idle:
    chosen = options[options.action]
    given = options.action == "outliers" and chosen.share is not None
    return {"--quantile": "--share says how many are outliers"} if given else {}


VERB = Verb(
    "find",
    "find outliers, look-alikes and duplicates",
    "Find what is odd in a set of images, what is like a picture, and what is there twice.",
    (
        "safelight find outliers runs/cells photos/ -n 50 --out odd.html",
        "safelight find similar runs/cells query.png photos/ -n 12",
        "safelight find duplicates photos/",
    ),
    _add_options,
    _run,
    _idle,
)
