"""A Report in, a picture out, or nothing where the report does not hold what it would show."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, to_rgba
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from instag_hf.analysis import Report, Summary
from instag_hf.charts import canvas
from instag_hf.charts.canvas import INK, Picture, extent, figure, label, percent, settle, share_tick, short
from instag_hf.charts.placing import LINE, Tile, place_labels, spread, squarify, wrap

MOST_ROWS = 30  # parts that a picture has a line of text for
MOST_NUMBERED = 12  # parts whose recall has room for numbers
MOST_RIDGES = 12
MOST_CURVES = 6
MOST_TAGS = 40
MOST_BARS = 30
WIDE = 20  # times the least diversity that the greatest is, from which on a log scale shows both
COUNT = 7.5  # size of a number of rows in a tile
ASPECT = 2  # width by height of a tile: words are wider than high

LINES = (
    (canvas.BLUE, "-"),
    (canvas.VERMILLION, "--"),
    (canvas.GREEN, "-."),
    (canvas.PURPLE, "-"),
    (canvas.ORANGE, "--"),
    (canvas.SKY, "-."),
)


def diversity_complexity(report: Report) -> Picture | None:
    """Show each dataset by diversity and complexity, as large as it has rows (paper figure 2a)."""
    by_query = all(part.tags_per_query is not None for part in report.parts.values() if part.tags)
    known = {}
    for name, part in report.parts.items():
        complexity = part.tags_per_query if by_query else part.tags_per_row
        if complexity is not None and part.coverage is not None:
            known[name] = (complexity, part.coverage, part.rows - part.failed)
    if len(known) < 2:
        return None
    x, y, rows = (np.array(values) for values in zip(*known.values(), strict=True))
    made = figure(4.6)
    axes = made.add_subplot()
    canvas.only_lines(axes, "both")
    areas = np.maximum(500 * rows / rows.max(), 15)  # points squared; the smallest can still be seen
    axes.scatter(x, y, areas, color=to_rgba(canvas.BLUE, 0.45), edgecolors=canvas.BLUE, linewidths=1)
    per = "query" if by_query else "row"
    axes.set_xlabel(f"Complexity: mean tags per {per}")
    wide = y.min() > 0 and y.max() / y.min() > WIDE
    axes.set_ylabel(f"Diversity: share of {_whole(report)}{' (log scale)' if wide else ''}")
    if wide:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.12, 0.1)
    axes.yaxis.set_major_formatter(FuncFormatter(share_tick))
    canvas.note(axes, f"area of a circle: rows, {rows.max():,} in the largest")
    settle(made)
    extremes = [int(x.argmax()), int(y.argmax()), int(x.argmin())]
    order = list(dict.fromkeys([*extremes, *np.argsort(-rows, kind="stable").tolist()]))
    names = [label(name) for name in known]
    unnamed = place_labels(axes, names, np.column_stack([x, y]), np.sqrt(areas) / 2, order)
    most_diverse, most_complex = (names[int(values.argmax())] for values in (y, x))
    alt = (
        f"{len(known)} datasets as circles, larger with more rows. Most diverse is {most_diverse} with "
        f"{percent(y.max())} of {_whole(report)}; most complex is {most_complex} with {x.max():.2f} tags per {per}."
    )
    alt += f" Without a name for lack of room: {unnamed}." if unnamed else ""
    left_out = len(report.parts) - len(known)
    alt += f" Not shown for lack of tags: {left_out}." if left_out else ""
    return Picture("diversity-complexity", "Diversity and complexity", alt, made)


def recall(report: Report) -> Picture | None:
    """Show how much of each dataset's tags each other has (paper figure 2b)."""
    names = _largest(report.parts, MOST_ROWS)
    if len(names) < 2:
        return None
    shares = np.array([[_nan(report.recall[row][column]) for column in names] for row in names])
    numbered = len(names) <= MOST_NUMBERED
    made = figure(1.6 + max(1.6, (0.36 if numbered else 0.19) * len(names)))
    axes = made.add_subplot()
    shares[np.diag_indices(len(names))] = np.nan  # all of them, which would take the scale from the others
    tenths = max(1, int(np.ceil(10 * np.nanmax(shares, initial=0))))
    levels = BoundaryNorm(np.linspace(0, tenths / 10, (tenths if tenths > 4 else 2 * tenths) + 1), 256)
    scale = colormaps[canvas.SCALE].with_extremes(bad="#ececec")
    mesh = axes.pcolormesh(np.ma.masked_invalid(shares), norm=levels, cmap=scale, edgecolors="white", linewidth=0.8)
    axes.invert_yaxis()
    _name_cells(axes, names, numbered)
    if numbered:
        for row, column in zip(*np.nonzero(~np.eye(len(names), dtype=bool)), strict=True):
            share = shares[row, column]
            text, color = ("–", INK) if np.isnan(share) else (percent(share), _readable(scale(levels(share))))
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", size=8.5, color=color)
    else:
        bar = made.colorbar(mesh, ax=axes, format=FuncFormatter(share_tick), aspect=30, pad=0.02)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0)
    settle(made)
    widest = names[int(np.nan_to_num(shares).sum(axis=0).argmax())]
    alt = (
        f"Table of {len(names)} by {len(names)} datasets: the share of the row's tags that the column has too. "
        f"{label(widest)} has the most of the others' tags."
    )
    alt += " A dash stands where there are no tags to share." if np.isnan(shares).sum() > len(names) else ""
    alt += _note_left_out(report.parts, names)
    return Picture("recall", "Tags that datasets share", alt, made)


def _name_cells(axes: Axes, names: Sequence[str], numbered: bool) -> None:
    size = 9 if numbered else 7.5
    ticks = np.arange(len(names)) + 0.5
    columns = [label(name, 20) for name in names]
    level = max(extent(name, size)[0] for name in columns) * len(names) < 320  # points
    axes.set_xticks(ticks, columns, rotation=0 if level else 45 if numbered else 90, size=size)
    if numbered and not level:
        for text in axes.get_xticklabels():
            text.set(horizontalalignment="right", rotation_mode="anchor")
    axes.set_yticks(ticks, [label(name, 24) for name in names], size=size)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("share of the tags of …")
    axes.set_xlabel("… that are also in")


def complexity(report: Report) -> Picture | None:
    """Show how many tags rows have, together and in each dataset (the spread behind the paper's mean)."""
    total = report.total.distribution
    if not total:
        return None
    names = [name for name in _largest(report.parts, MOST_RIDGES) if report.parts[name].distribution]
    names = names if len(names) > 1 else []
    last = min(max(total), MOST_BARS)
    low = 0.5 + 0.3 * len(names) if names else 0.0
    made = figure(2.6 + low)
    if names:
        axes, below = made.subplots(2, 1, sharex=True, height_ratios=[2.2, low])
        _ridges(below, {name: report.parts[name].distribution for name in names}, last)
    else:
        axes = below = made.add_subplot()
    heights = _bars(total, last)
    canvas.only_lines(axes, "y")
    axes.bar(range(last + 1), heights, width=0.85, color=canvas.BLUE)
    mean = _mean(total)
    axes.axvline(min(mean, last), color=canvas.VERMILLION, linestyle="--")
    axes.set_ylim(0, 1.18 * max(heights))
    right = mean <= last / 2
    axes.annotate(
        f"mean {mean:.2f}",
        (min(mean, last), 1),
        (5 if right else -5, -3),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="left" if right else "right",
        va="top",
        color=canvas.VERMILLION,
    )
    axes.set_ylabel("rows")
    axes.yaxis.set_major_formatter(FuncFormatter(short))
    below.set_xlabel("tags of a row")
    below.set_xlim(-0.6, last + 0.6)
    step = last // 12 + 1
    ticks = [*range(0, last - step + 1, step), last]
    below.set_xticks(ticks, [f"{tags}+" if max(total) > last == tags else str(tags) for tags in ticks])
    settle(made)
    middle = _quantile(total, 0.5)
    alt = f"Rows by their number of tags: mean {mean:.2f}, median {middle}, at most {max(total)}."
    alt += f" Below, the same for each of {len(names)} datasets, as shares of its rows." if names else ""
    alt += _note_left_out(report.parts, names) if names else ""
    return Picture("complexity", "Complexity: tags of a row", alt, made)


def _ridges(axes: Axes, distributions: Mapping[str, Mapping[int, int]], last: int) -> None:
    """Draw a line of bars for each dataset, all to one scale of shares."""
    shares = np.array([_bars(one, last) for one in distributions.values()], float)
    shares /= shares.sum(axis=1, keepdims=True)
    canvas.only_lines(axes, "y")
    for place, (row, one) in enumerate(zip(shares, distributions.values(), strict=True)):
        floor = len(shares) - place
        axes.bar(range(last + 1), 0.8 * row / shares.max(), width=0.85, bottom=floor, color=canvas.SKY)
        mean = min(_mean(one), last)
        axes.plot([mean, mean], [floor, floor + 0.85], color=canvas.VERMILLION, linewidth=1.8)
    axes.set_yticks(range(len(shares), 0, -1), [label(name) for name in distributions], size=8.5)
    axes.set_ylim(0.9, len(shares) + 1)
    axes.spines["left"].set_visible(False)
    canvas.note(axes, f"share of each dataset's rows, {percent(shares.max())} at the highest bar; line: mean")


def _bars(distribution: Mapping[int, int], last: int) -> list[int]:
    """Count rows by number of tags; the last bar has those with more, too."""
    return [distribution.get(tags, 0) for tags in range(last)] + [sum(n for t, n in distribution.items() if t >= last)]


def coverage(report: Report) -> Picture | None:
    """Show what share of the vocabulary a random subset of each size is expected to have."""
    largest = _largest(report.parts, MOST_CURVES)
    curves = {name: report.parts[name].curve for name in largest if report.parts[name].curve}
    curves = curves if len(curves) > 1 else {}
    whole = {"all rows": report.total.curve} if report.total.curve else {}
    if not whole or report.vocabulary == 0:
        return None
    made = figure(3.8)
    axes = made.add_subplot()
    canvas.only_lines(axes, "both")
    ends = []
    styles = [(INK, "-"), *LINES]
    for (name, curve), (color, dashes) in zip([*whole.items(), *curves.items()], styles, strict=False):
        sizes, shares = zip(*curve, strict=True)
        axes.plot(sizes, shares, color=color, linestyle=dashes, linewidth=1.8)
        axes.plot(sizes[-1], shares[-1], "o", color=color, markersize=4, clip_on=False)
        ends.append((label(name, 20), color, sizes[-1], shares[-1]))
    axes.set_xscale("log")
    most = report.total.curve[-1][0]
    fewest = min(size for _, _, size, _ in ends)
    begin = 10 ** max(0, int(np.log10(fewest)) - 1)
    axes.set_xlim(begin, max(2, most) * 1.25)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if most < 100 * begin else (1,)))
    axes.set_ylim(0, None)
    axes.xaxis.set_major_formatter(FuncFormatter(short))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(share_tick))
    axes.tick_params(axis="x", pad=8)  # else the first label meets that of the other axis
    axes.set_xlabel("rows drawn at random (log scale)")
    axes.set_ylabel(f"expected share of {_whole(report)}")
    top = axes.get_ylim()[1]
    heights = spread([share for *_, share in ends], 0.062 * top, low=0.03 * top)
    for (name, color, size, share), height in zip(ends, heights, strict=True):
        axes.annotate(
            name,
            (size, share),
            (1.02, height),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            size=8.5,
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 0.8,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 3,
            },
        )
    settle(made)
    half = next(size for size, share in report.total.curve if share >= report.total.curve[-1][1] / 2)
    alt = (
        f"Expected coverage of {_whole(report)} by random subsets: {percent(report.total.curve[-1][1])} with all "
        f"{most:,} rows, half of that with about {half:,}."
    )
    alt += f" Curves of the {len(curves)} largest datasets are beside it." if curves else ""
    return Picture("coverage", "Coverage by subset size", alt, made)


def tags(report: Report) -> Picture | None:
    """Show the most frequent tags as tiles, as large as they have rows (paper figure 1's cloud, made comparable)."""
    top = report.total.top[:MOST_TAGS]
    if not top:
        return None
    made = figure(4.4)
    axes = made.add_subplot()
    axes.set_axis_off()
    share = sum(rows for _, rows in top) / report.total.assignments
    canvas.note(axes, f"area of a tile: rows that have the tag; together {percent(share)} of all assignments")
    settle(made)
    frame = axes.get_window_extent()
    width, height = frame.width * 72 / made.dpi, frame.height * 72 / made.dpi
    axes.set(xlim=(0, width), ylim=(height, 0))
    scale = colormaps[canvas.TILES]
    for tile, (tag, rows) in zip(squarify([rows for _, rows in top], width, height, aspect=ASPECT), top, strict=True):
        color = scale(0.12 + 0.38 * rows / top[0].rows)  # never so dark that ink is hard to read
        axes.add_patch(Rectangle(tile[:2], *tile[2:], facecolor=color, edgecolor="white", linewidth=2))
        _write(axes, tile, label(tag, 60), f"{rows:,}")
    alt = (
        f"The {len(top)} most frequent tags as tiles, larger with more rows, from {label(top[0].tag, 60)} in "
        f"{top[0].rows:,} rows to {label(top[-1].tag, 60)} in {top[-1].rows:,}; together they are {percent(share)} "
        "of all assignments of tags."
    )
    return Picture("tags", "Most frequent tags", alt, made)


def _write(axes: Axes, tile: Tile, tag: str, rows: str) -> None:
    """Write a tag and its rows into a tile, as large as they fit; a tag that does not is cut, rows are left out."""
    left, top, width, height = tile
    has_rows = bool(height >= 24 and extent(rows, COUNT)[0] <= width - 6)
    lines, size = wrap(tag, width - 6, height - 6 - has_rows * LINE * COUNT)
    written = [(line, size) for line in lines] + [(rows, COUNT)] * has_rows
    at = top + (height - sum(LINE * size for _, size in written)) / 2
    for line, size in written:
        axes.text(left + width / 2, at + LINE * size / 2, line, size=size, ha="center", va="center")
        at += LINE * size


def funnel(report: Report) -> Picture | None:
    """Show what each step of normalizing left."""
    steps = report.funnel
    if not steps:
        return None
    made = figure(0.9 + 0.36 * len(steps))
    places = range(len(steps))
    panels = made.subplots(1, 2, sharey=True)
    for axes, what, color in zip(panels, ("tags", "assignments"), (canvas.BLUE, canvas.GREEN), strict=True):
        counts = [getattr(step, what) for step in steps]
        axes.barh(places, counts, color=color, height=0.7)
        for place, count in enumerate(counts):
            share = f" ({percent(count / counts[0])})" if place and counts[0] else ""
            axes.annotate(
                f"{count:,}{share}", (count, place), (4, 0), textcoords="offset points", va="center", size=8.5
            )
        axes.set_xlim(0, max(1, *counts) * 1.5)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(short))
        axes.tick_params(length=0)
        axes.set_xlabel("distinct tags" if what == "tags" else "assignments of tags to rows")
    panels[0].set_yticks(places, [label(step.step) for step in steps])
    panels[0].invert_yaxis()
    settle(made)
    told = "; ".join(f"{label(step.step)} {step.tags:,} tags, {step.assignments:,} assignments" for step in steps)
    return Picture("funnel", "What normalizing left", f"What each step left: {told}.", made)


PICTURES: tuple[Callable[[Report], Picture | None], ...] = (
    diversity_complexity,
    recall,
    complexity,
    coverage,
    tags,
    funnel,
)


def _whole(report: Report) -> str:
    return f"all {report.vocabulary:,} tags" if report.of_union else f"the vocabulary's {report.vocabulary:,} tags"


def _largest(parts: Mapping[str, Summary], most: int) -> list[str]:
    """Keep the parts with the most rows, in the report's order."""
    kept = sorted(parts, key=lambda name: -parts[name].rows)[:most]
    return [name for name in parts if name in set(kept)]


def _note_left_out(parts: Mapping[str, Summary], shown: Sequence[str]) -> str:
    return f" Not shown: {len(parts) - len(shown)} others." if len(shown) < len(parts) else ""


def _mean(distribution: Mapping[int, int]) -> float:
    return sum(tags * rows for tags, rows in distribution.items()) / sum(distribution.values())


def _quantile(distribution: Mapping[int, int], share: float) -> int:
    """Return the smallest number of tags that so large a share of the rows does not exceed."""
    numbers = sorted(distribution)
    below = np.cumsum([distribution[number] for number in numbers])
    return numbers[int(np.searchsorted(below, share * below[-1]))]


def _nan(share: float | None) -> float:
    return np.nan if share is None else share


def _readable(color: tuple[float, ...]) -> str:
    """Return ink or white, whichever is read better on a color, by relative luminance (WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    return "white" if 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] < 0.21 else INK
