"""Selections side by side, always with random and longest, so that no method looks good for want of a control."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from instag_hf.errors import InputError, MissingError
from instag_hf.rows import plain
from instag_hf.selection import check_n, choose_from, method_of
from instag_hf.selection.methods import Longest, Method, Random
from instag_hf.selection.pool import Pool, Rules, counts_of, read_pool

if TYPE_CHECKING:
    from datasets import Dataset

METHODS_COMPARED = ("complexity-first", "information-gain", "rarity")
BINS = 50  # of equally many rows of like length
SOURCES_SHOWN = 3
UNNAMED = "(none)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
    """What one method chose, in figures; means over seeds where it draws.

    Attributes:
        label: The method's name and its settings, where they are not the default.
        rows: Rows chosen.
        coverage: Share of the tags of all rows that could be chosen, 0 to 1.
        complexity: Tags for each row.
        length: Characters of each row's queries.
        complexity_of_length: Tags that rows of the same lengths have on average in the whole pool. What a method has
            above it is complexity that length does not explain.
        sources: Share of the chosen rows from each source, 0 to 1, the largest first; empty without a source column.
        spread: Standard deviation over seeds of coverage, complexity and length; `None` where nothing is drawn.
    """

    label: str
    rows: int
    coverage: float
    complexity: float
    length: float
    complexity_of_length: float
    sources: dict[str, float]
    spread: dict[str, float] | None

    @property
    def beyond_length(self) -> float:
        """Tags for each row beyond what rows of the same lengths have."""
        return self.complexity - self.complexity_of_length


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Methods side by side; `print` shows the table.

    Attributes:
        n: Rows asked for.
        pool: The same figures for all rows that could be chosen.
        methods: One for each method, in the order asked for, then the controls.
        overlap: For each pair of methods, the share of the smaller choice that the other has too, 0 to 1; of the first
            seed.
        seeds: What methods that draw were run with.
        notes: What the user should hear about.
    """

    n: int
    pool: Compared
    methods: tuple[Compared, ...]
    overlap: tuple[tuple[float, ...], ...]
    seeds: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Lay the figures out as a table."""
        labels = [plain(found.label) for found in (self.pool, *self.methods)]
        wide = max(map(len, labels))
        head = f"{'':<{wide}}{'rows':>9}{'coverage':>16}{'tags/row':>14}{'characters':>16}{'of that length':>16}"
        lines = [f"{head}{'beyond':>8}  sources"]
        for label, found in zip(labels, (self.pool, *self.methods), strict=True):
            beyond = round(found.beyond_length, 2) + 0.0  # without the sign of a zero
            figures = [
                self._spread(f"{found.coverage:.1%}", found, "coverage", "{:.1%}"),
                self._spread(f"{found.complexity:.2f}", found, "complexity", "{:.2f}"),
                self._spread(f"{found.length:,.0f}", found, "length", "{:,.0f}"),
            ]
            lines.append(
                f"{label:<{wide}}{found.rows:>9,}{figures[0]:>16}{figures[1]:>14}{figures[2]:>16}"
                f"{found.complexity_of_length:>16.2f}{beyond:>+8.2f}  {_mix(found.sources)}"
            )
        lines += ["", f"{'rows in common':<{wide}}" + "".join(f"{number:>6}" for number in range(1, len(labels)))]
        for number, (label, row) in enumerate(zip(labels[1:], self.overlap, strict=True), 1):
            lines.append(f"{label:<{wide}}" + "".join(f"{share:>6.0%}" for share in row) + f"  {number}")
        return "\n".join(line.rstrip() for line in lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        found = dataclasses.asdict(self)
        for plain_method, method in zip((found["pool"], *found["methods"]), (self.pool, *self.methods), strict=True):
            plain_method["beyond_length"] = method.beyond_length
        return found

    def chart(self, path: str | Path) -> Path:
        """Draw coverage against tags for each row, with what length alone explains, and write the picture.

        Args:
            path: A file of a format that matplotlib writes, by its ending, such as .png or .svg.

        Raises:
            InputError: There is no such format, or it cannot be written there.
            MissingError: matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingError('compare: the chart needs matplotlib. pip install "instag-hf[report]"') from error
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.add_subplot(
            xlabel="tags per row; the tail begins at what rows of the same lengths have", ylabel="tag coverage, %"
        )
        axes.margins(0.15)
        axes.axvline(self.pool.complexity, color="grey", linestyle=":", label="all rows")
        axes.legend()
        for found in self.methods:
            at = 100 * found.coverage
            axes.annotate(
                "",
                (found.complexity, at),
                (found.complexity_of_length, at),
                arrowprops={"arrowstyle": "->", "color": "grey"},
            )
            (point,) = axes.plot(found.complexity, at, "o")
            axes.annotate(
                plain(found.label),
                (found.complexity, at),
                (4, 5),
                textcoords="offset points",
                color=point.get_color(),
                fontsize=9,
                parse_math=False,  # a setting may hold a dollar sign
            )
        try:
            figure.savefig(path, dpi=150)
        except (ValueError, OSError) as error:
            raise InputError(f"compare: could not write {path}: {error}. Choose another ending or place.") from error
        return Path(path)

    def _spread(self, figure: str, found: Compared, name: str, form: str) -> str:
        return figure if found.spread is None else f"{figure} ± {form.format(found.spread[name])}"


def compare(
    ds: "Dataset",
    n: int,
    methods: Iterable[str | Method] = METHODS_COMPARED,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    *,
    rules: Rules | None = None,
) -> Comparison:
    """Compare what several methods choose: coverage, complexity, length, sources, rows in common.

    "random" and "longest" are always among them, and what length alone explains stands beside the number of tags: tag
    counts grow with the length of a query, so a method that merely finds long rows must be seen to.

    Args:
        ds: Tagged rows with their queries.
        n: Rows for each method.
        methods: Names or objects, as in `select`.
        seeds: Methods that draw run once with each; the others once.
        rules: Columns, caps, quotas and exclusions that hold for all; its seed is not used. Sources are shown if
            `source_column` is there.

    Raises:
        InputError: As in `select`, or there is no seed.

    Example:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"query": ["a", "bb", "ccc"], "instag_normalized": [["x"], ["x", "y"], ["y"]]})
        >>> [(each.label, each.complexity) for each in compare(ds, 1, ["complexity-first"]).methods[::2]]
        [('complexity-first', 2.0), ('longest', 1.0)]
    """
    rules = rules or Rules()
    n = check_n(n)
    if not seeds:
        raise InputError("compare: expected one seed or more, found none.")
    chosen = [method_of(method) for method in methods]
    columns = getattr(ds, "column_names", None) or []
    pool = read_pool(ds, rules, lengths=True, sources=rules.source_column in columns)
    return compare_in(pool, n, chosen, seeds, rules=rules)


def compare_in(pool: Pool, n: int, methods: Iterable[Method], seeds: Sequence[int], *, rules: Rules) -> Comparison:
    """Compare as `compare` does what several methods choose of a pool that was read already, with lengths.

    Raises:
        InputError: No row can be chosen.
    """
    chosen = list(methods)
    chosen += [control for control in (Random(), Longest()) if control not in chosen]
    if not pool.open.any():
        told = ", ".join(f"{count:,} {reason}" for reason, count in pool.skipped.items() if count)
        raise InputError(
            f"compare: expected rows that can be chosen, found none among {len(pool):,} rows"
            + (f" ({told})" if told else "")
            + ". Tag the rows first, or loosen what is excluded."
        )
    typical = _typical(pool)
    runs = [
        [
            choose_from(pool, n, method, dataclasses.replace(rules, seed=seed))
            for seed in (seeds if method.seeded else seeds[:1])
        ]
        for method in chosen
    ]
    everything = np.flatnonzero(pool.open)
    firsts = [set(found[0].indices.tolist()) for found in runs]
    return Comparison(
        n=n,
        pool=_figures("all rows", [everything], pool, typical),
        methods=tuple(
            _figures(_label(method), [run.indices for run in found], pool, typical, seeded=method.seeded)
            for method, found in zip(chosen, runs, strict=True)
        ),
        overlap=tuple(tuple(len(a & b) / min(len(a), len(b)) for b in firsts) for a in firsts),
        seeds=tuple(seeds),
        notes=tuple(dict.fromkeys(note for found in runs for run in found for note in run.notes)),
    )


def _typical(pool: Pool) -> np.ndarray:
    """Find the mean number of tags of rows of each row's length; shape (rows,)."""
    rows = np.flatnonzero(pool.open)
    lengths, counts = pool.characters[rows], pool.tags.lengths[rows]
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, BINS + 1)[1:-1]))  # equal lengths are in one bin
    bins = np.searchsorted(edges, lengths)
    means = np.bincount(bins, weights=counts) / np.maximum(np.bincount(bins), 1)
    typical = np.zeros(len(pool))
    typical[rows] = means[bins]
    return typical


def _figures(
    label: str, choices: list[np.ndarray], pool: Pool, typical: np.ndarray, *, seeded: bool = False
) -> Compared:
    of_all = int(np.count_nonzero(pool.counts))
    each = np.array([_measure(rows, pool, of_all) for rows in choices])
    coverage, complexity, length = each.mean(axis=0).tolist()
    spread = dict(zip(("coverage", "complexity", "length"), each.std(axis=0).tolist(), strict=True))
    together = np.concatenate(choices)
    return Compared(
        label=label,
        rows=len(choices[0]),
        coverage=coverage,
        complexity=complexity,
        length=length,
        complexity_of_length=float(typical[together].mean()),
        sources=_shares(together, pool),
        spread=spread if seeded else None,
    )


def _measure(rows: np.ndarray, pool: Pool, of_all: int) -> tuple[float, float, float]:
    covered = np.count_nonzero(counts_of(pool.tags, rows))
    return covered / max(of_all, 1), float(pool.tags.lengths[rows].mean()), float(pool.characters[rows].mean())


def _shares(rows: np.ndarray, pool: Pool) -> dict[str, float]:
    if pool.sources is None:
        return {}
    counts = np.bincount(pool.sources.codes[rows], minlength=len(pool.sources.names))
    order = np.argsort(-counts, kind="stable").tolist()
    return {pool.sources.names[code] or UNNAMED: counts[code] / len(rows) for code in order if counts[code]}


def _mix(sources: dict[str, float]) -> str:
    shown = list(sources.items())[:SOURCES_SHOWN]
    more = len(sources) - len(shown)
    return ", ".join(f"{plain(name)[:30]} {share:.0%}" for name, share in shown) + (f", {more} more" if more else "")


def _label(method: Method) -> str:
    if not dataclasses.is_dataclass(method):
        return method.name
    fields = [(field.name, getattr(method, field.name), field.default) for field in dataclasses.fields(method)]
    told = [f"{name}={getattr(value, '__name__', value)}" for name, value, default in fields if value != default]
    return method.name + (f" ({', '.join(told)})" if told else "")
