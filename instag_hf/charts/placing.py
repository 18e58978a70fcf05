"""Where labels and tiles stand, so that none lies upon another."""

import itertools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes

from instag_hf.charts.canvas import FAINT, extent

SIZES = (16, 14, 12.5, 11, 10, 9, 8, 7.5)  # points, from what is pleasant to what can just be read
LINE = 1.2  # of a font's size

SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
NEAR = 3  # points between a circle and its name; a name further away has a line to it
FAR = (9, 16)
LEADER: dict[str, Any] = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0}

MIDDLE: dict[str, Any] = {"ha": "center", "va": "center"}

Tile: TypeAlias = tuple[float, float, float, float]  # left, top, width, height


def squarify(sizes: Sequence[float], width: float, height: float, *, aspect: float = 1) -> list[Tile]:
    """Cut a rectangle into tiles of about one shape, their areas as `sizes` (Bruls, Huizing and van Wijk 2000).

    Args:
        sizes: Positive, from the largest to the smallest.
        width: Of the rectangle.
        height: Of the rectangle.
        aspect: Width by height that a tile should have.

    Returns:
        Left, top, width and height of each tile.
    """
    left = top = 0.0
    width /= aspect  # squares in a narrower rectangle, which is then stretched
    scale = width * height / sum(sizes)
    areas = [size * scale for size in sizes]
    tiles: list[Tile] = []
    while len(tiles) < len(areas):
        side, rest = min(width, height), areas[len(tiles) :]
        row = rest[:1]
        for area in rest[1:]:
            if _worst([*row, area], side) > _worst(row, side):
                break
            row.append(area)
        thick = sum(row) / side
        starts = [0.0, *itertools.accumulate(area / thick for area in row)]
        if width >= height:
            tiles += [(left, top + at, thick, area / thick) for at, area in zip(starts, row, strict=False)]
            left, width = left + thick, width - thick
        else:
            tiles += [(left + at, top, area / thick, thick) for at, area in zip(starts, row, strict=False)]
            top, height = top + thick, height - thick
    return [(left * aspect, top, wide * aspect, high) for left, top, wide, high in tiles]


def _worst(row: Sequence[float], side: float) -> float:
    """Return the ratio of sides of a row's least square tile."""
    thick = sum(row) / side
    return max(max(thick**2 / area, area / thick**2) for area in row)


def wrap(text: str, width: float, height: float) -> tuple[list[str], float]:
    """Break text into lines that fit a box, in the largest size in which they do.

    Args:
        text: One line.
        width: Of the box, in points.
        height: Of the box, in points.

    Returns:
        The lines, cut where the smallest size does not fit either, none where there is no room; and the size.
    """
    for size in SIZES:
        lines = _lines(text, width, size)
        if len(lines) * LINE * size <= height and all(extent(line, size)[0] <= width for line in lines):
            return lines, size
    most = max(0, int(height / (LINE * size)))
    shown = lines if len(lines) <= most else [*lines[:most][:-1], *(f"{line}…" for line in lines[:most][-1:])]
    cut = [_cut(line, width, size) for line in shown]
    return ([] if "" in cut else cut), size


def _lines(text: str, width: float, size: float) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if extent(longer, size)[0] <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _cut(line: str, width: float, size: float) -> str:
    """Shorten a line until it fits, to nothing where no letter does."""
    if extent(line, size)[0] <= width:
        return line
    kept = line.rstrip("…")
    while kept and extent(f"{kept}…", size)[0] > width:
        kept = kept[:-1]
    return kept and f"{kept}…"


def spread(places: Sequence[float], gap: float, *, low: float = -np.inf) -> list[float]:
    """Move places until no two are nearer than `gap` and none is below `low`, as little as that takes."""
    order = np.argsort(places, kind="stable")
    groups: list[list[float]] = []  # sum of wished places less offsets, and how many
    for at in np.asarray(places, float)[order]:
        groups.append([at, 1])
        while len(groups) > 1 and groups[-1][0] / groups[-1][1] < groups[-2][0] / groups[-2][1] + gap * groups[-2][1]:
            total, count = groups.pop()
            groups[-1][0] += total - gap * groups[-1][1] * count
            groups[-1][1] += count
    moved = [total / count + gap * step for total, count in groups for step in range(int(count))]
    found = [0.0] * len(places)
    for step, place in enumerate(order.tolist()):
        found[place] = max(moved[step], low + gap * step)
    return found


def place_labels(
    axes: Axes, names: Sequence[str], points: np.ndarray, radii: np.ndarray, order: Sequence[int], *, size: float = 8
) -> int:
    """Write names beside circles where they cover nothing; who comes first in `order` is placed first.

    Args:
        axes: Whose layout is settled.
        names: One for each circle.
        points: Shape (circles, 2): their centers, in the axes' data.
        radii: Shape (circles,), in points of type.
        order: Places in `names`.
        size: Of the font.

    Returns:
        The number of names that found no room.
    """
    scale = 72 / axes.figure.dpi
    centers = axes.transData.transform(points) * scale
    frame = np.array(axes.get_window_extent().extents) * scale
    circles = np.concatenate([centers - radii[:, None], centers + radii[:, None]], axis=1)
    taken = np.zeros((0, 4))
    left_out = 0
    for place in order:
        center, radius = centers[place], radii[place]
        half = np.array(extent(names[place], size)) / 2
        others = np.concatenate([taken, np.delete(circles, place, axis=0)])
        for away, side in itertools.product((NEAR, *FAR), SIDES):
            shift = np.array(side) * ((radius * (0.75 if all(side) else 1) + away) + half)
            box = np.concatenate([center + shift - half - 1, center + shift + half + 1])[None]
            mine = box if away == NEAR else np.concatenate([box, _steps(center, center + shift, radius, half)])
            inside = (box[0, :2] >= frame[:2]).all() and (box[0, 2:] <= frame[2:]).all()
            if inside and not _overlap(mine, others) and not _overlap(box, circles[place, None]):
                taken = np.concatenate([taken, mine])
                axes.annotate(
                    names[place],
                    points[place],
                    shift,
                    textcoords="offset points",
                    size=size,
                    arrowprops=None if away == NEAR else LEADER,
                    **MIDDLE,
                )
                break
        else:
            left_out += 1
    return left_out


def _steps(start: np.ndarray, end: np.ndarray, radius: float, half: np.ndarray) -> np.ndarray:
    """Return small boxes along the line from a circle to its name, for nothing may cover that either."""
    places = start + np.linspace(0, 1, 24)[:, None] * (end - start)
    outside = (np.abs(places - start).max(axis=1) > radius) & (np.abs(places - end) > half).any(axis=1)
    boxes: np.ndarray = np.concatenate([places - 0.5, places + 0.5], axis=1)[outside]
    return boxes


def _overlap(some: np.ndarray, others: np.ndarray) -> bool:
    """Say whether any box of one table lies upon any of another; shape (boxes, 4): left, bottom, right, top."""
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    return bool((low < high).all(axis=2).any())
