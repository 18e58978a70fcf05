"""A report in, lines of text out, for a terminal."""

from collections.abc import Iterator, Sequence

from instag_hf.analysis import Report, Summary
from instag_hf.rows import fit

NAME = 26
MOST_RECALL = 12
HEADS = ("rows", "failed", "queries", "cut", "tags", "coverage", "alone", "tags/query", "tags/row", "chars", "len~tags")


def lines(report: Report) -> Iterator[str]:
    """Show a report as tables; what is not known is a dash."""
    total = report.total
    of = "all of them together" if report.of_union else "the normalizer's vocabulary"
    yield f"{report.column}: {total.tags:,} distinct tags in {total.rows - total.failed:,} rows"
    yield f"coverage: share of {report.vocabulary:,} tags, {of}"
    for tagger in report.taggers:
        yield f"tagged by {fit(tagger, 100).rstrip()}"
    yield ""
    yield from _summaries(report)
    yield ""
    if 1 < len(report.parts) <= MOST_RECALL:
        yield from _recall(report)
        yield ""
    if total.failures:
        yield "failed: " + ", ".join(f"{count:,} {fit(kind, 20).rstrip()}" for kind, count in total.failures.items())
    if total.unread:
        yield f"query not readable: {total.unread:,} rows, which lack in the lengths alone"
    yield f"tags with one row: {total.spectrum.get(1, 0):,} of {total.tags:,}"
    yield "rows by number of tags: " + ", ".join(f"{tags}: {rows:,}" for tags, rows in total.distribution.items())
    for step in report.funnel:
        yield f"funnel  {fit(step.step, 14)}{step.tags:>10,} tags{step.assignments:>12,} assignments"
    yield ""
    yield from _lists(total)
    for name, part in report.parts.items():
        if part.alone:
            shown = ", ".join(f"{fit(tag, 30).rstrip()} ({rows:,})" for tag, rows in part.alone_top[:5])
            yield f"only in {fit(name, NAME)}{part.alone:>8,} tags: {shown}"


def _summaries(report: Report) -> Iterator[str]:
    widths = [max(len(head), 9) + 1 for head in HEADS]
    yield " " * NAME + "".join(f"{head:>{width}}" for head, width in zip(HEADS, widths, strict=True))
    for name, part in [*report.parts.items(), ("all", report.total)]:
        cells = _cells(part)
        yield fit(name, NAME) + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _recall(report: Report) -> Iterator[str]:
    yield "recall: share of the row's tags that the column has too"
    yield " " * NAME + "".join(f" {fit(name, 11)}" for name in report.recall)
    for name, shares in report.recall.items():
        cells = ("-" if share is None else f"{share:.1%}" for share in shares.values())
        yield fit(name, NAME) + "".join(f"{cell:>11} " for cell in cells).rstrip()


def _cells(part: Summary) -> Sequence[str]:
    lengths = part.lengths
    return (
        f"{part.rows:,}",
        f"{part.failed:,}",
        _number(part.queries),
        _number(part.cut),
        f"{part.tags:,}",
        "-" if part.coverage is None else f"{part.coverage:.1%}",
        f"{part.alone:,}",
        _decimal(part.tags_per_query),
        _decimal(part.tags_per_row),
        "-" if lengths is None else f"{lengths.median:,.0f}",
        _decimal(None if lengths is None else lengths.correlation),
    )


def _lists(total: Summary) -> Iterator[str]:
    for head, counted in (("most frequent", total.top), ("rarest", total.rare)):
        yield f"{head}: " + ", ".join(f"{fit(tag, 30).rstrip()} ({rows:,})" for tag, rows in counted)
    pairs = (f"{fit(one, 30).rstrip()} + {fit(other, 30).rstrip()} ({rows:,})" for one, other, rows in total.pairs)
    yield "most frequent pairs: " + ", ".join(pairs)


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:z.2f}"
