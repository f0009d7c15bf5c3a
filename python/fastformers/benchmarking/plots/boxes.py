# SPDX-License-Identifier: MIT
"""Places labels beside points so that no label covers another one or a point. Plain geometry, in pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import cos, hypot, inf, pi, sin

__all__ = ["Box", "Place", "place_labels"]

_ANGLES = 24
_RINGS = 80
_CROSSING = 1e4  # a leader line through a label is worse than any distance
_MOST_LABELS = 120  # beyond, no sheet is read any more
_MOST_PLACED = 120  # labels placed over all orders tried; each takes longer the more there are
_ON_A_LINE = 30.0  # pixels that a label may be farther away for not lying on a line


@dataclass(frozen=True)
class Box:
    """A rectangle, in pixels, y upwards."""

    left: float
    bottom: float
    right: float
    top: float

    @classmethod
    def around(cls, x: float, y: float, width: float, height: float) -> Box:
        """Makes a box of a size with its centre at a point."""
        return cls(x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    @property
    def centre(self) -> tuple[float, float]:
        """The middle."""
        return (self.left + self.right) / 2, (self.bottom + self.top) / 2

    def grown(self, by: float) -> Box:
        """Returns the box with a margin on all sides."""
        return Box(self.left - by, self.bottom - by, self.right + by, self.top + by)

    def overlaps(self, other: Box) -> bool:
        """Whether the two share an area."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )

    def contains(self, other: Box) -> bool:
        """Whether the other lies inside."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.bottom <= other.bottom
            and other.top <= self.top
        )

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """Returns the point of the box that is nearest to a point."""
        return min(max(x, self.left), self.right), min(max(y, self.bottom), self.top)


@dataclass(frozen=True)
class Place:
    """Where a label goes.

    Attributes:
        box: of its text.
        distance: from the point to the nearest edge of the box, in pixels.
    """

    box: Box
    distance: float


def place_labels(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    bounds: Box,
    *,
    marker: float,
    gap: float,
    lines: Sequence[Box] = (),
) -> list[Place] | None:
    """Finds a place for the label of each point, as near as there is room.

    Several orders are tried one after the other, fewer the more points there are, each label taking the nearest free
    place; the order with the shortest distances, and without a leader line through a label, is taken.

    Args:
        points: where the points are, in pixels.
        sizes: width and height of each label, in pixels.
        bounds: what labels must stay in.
        marker: size of a point's mark, which no label may cover.
        gap: least space between labels, and between a label and a mark.
        lines: small boxes along drawn lines; a label lies on them only where the next free place is far.

    Returns:
        One place for each point, or ``None`` when there is no room for all, or more than 120 are asked for.

    Example:
        >>> place_labels([(50.0, 50.0)], [(20.0, 10.0)], Box(0, 0, 100, 100), marker=4, gap=2)[0].distance
        4.0
    """
    room = (bounds.right - bounds.left) * (bounds.top - bounds.bottom)
    if len(points) > _MOST_LABELS or sum(width * height for width, height in sizes) > room:
        return None
    marks = tuple(Box.around(x, y, marker, marker).grown(gap) for x, y in points)
    sheet = _Sheet(bounds, marks, tuple(lines), nearest=marker / 2 + gap, gap=gap)
    orders = max(1, _MOST_PLACED // max(1, len(points)))
    tries = (_place_in_order(order, points, sizes, sheet) for order in islice(_orders(points), orders))
    found = [places for places in tries if places is not None]
    return min(found, key=lambda places: _badness(points, places), default=None)


@dataclass(frozen=True)
class _Sheet:
    """What is drawn before any label, and how near a label may come."""

    bounds: Box
    marks: tuple[Box, ...]
    lines: tuple[Box, ...]
    nearest: float
    gap: float


def _orders(points: Sequence[tuple[float, float]]) -> Iterator[list[int]]:
    numbers = range(len(points))
    for key in (lambda i: points[i][0], lambda i: points[i][1], lambda i: _room(points, i)):
        order = sorted(numbers, key=key)
        yield order
        yield order[::-1]


def _room(points: Sequence[tuple[float, float]], index: int) -> float:
    """Distance to the nearest other point."""
    x, y = points[index]
    return min((hypot(x - a, y - b) for i, (a, b) in enumerate(points) if i != index), default=0.0)


def _place_in_order(
    order: Sequence[int],
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    sheet: _Sheet,
) -> list[Place] | None:
    placed: dict[int, Place] = {}
    for index in order:
        taken = [*sheet.marks, *(place.box.grown(sheet.gap) for place in placed.values())]
        place = _best_place(points[index], sizes[index], taken, sheet)
        if place is None:
            return None
        placed[index] = place
    return [placed[index] for index in range(len(points))]


def _best_place(
    point: tuple[float, float], size: tuple[float, float], taken: Sequence[Box], sheet: _Sheet
) -> Place | None:
    """Returns the nearest free place, or one not much farther away that lies on no line."""
    best: Place | None = None
    least = inf
    for away, box in _candidates(point, size, sheet.nearest):
        if away >= least:
            break
        if not sheet.bounds.contains(box) or any(box.overlaps(other) for other in taken):
            continue
        distance = _distance(point, box)
        cost = distance + _ON_A_LINE * any(box.overlaps(line) for line in sheet.lines)
        if cost < least:
            best, least = Place(box, distance), cost
    return best


def _candidates(
    point: tuple[float, float], size: tuple[float, float], nearest: float
) -> Iterator[tuple[float, Box]]:
    """Yields (ring's distance, box) around a point from near to far; on a ring above and below first."""
    (x, y), (width, height) = point, size
    angles = sorted((2 * pi * step / _ANGLES for step in range(_ANGLES)), key=lambda a: abs(cos(a)))
    for ring in range(_RINGS):
        away = nearest + ring * height / 4
        for angle in angles:
            across, up = cos(angle), sin(angle)
            yield (
                away,
                Box.around(x + across * (away + width / 2), y + up * (away + height / 2), width, height),
            )


def _distance(point: tuple[float, float], box: Box) -> float:
    near = box.nearest(*point)
    return hypot(near[0] - point[0], near[1] - point[1])


def _badness(points: Sequence[tuple[float, float]], places: Sequence[Place]) -> float:
    crossed = sum(
        _crosses(points[index], place.box, other.box)
        for index, place in enumerate(places)
        for number, other in enumerate(places)
        if index != number
    )
    return _CROSSING * crossed + sum(place.distance**2 for place in places)


def _crosses(point: tuple[float, float], box: Box, other: Box) -> bool:
    """Whether the line from a point to its label runs through another label, looked at in a few steps."""
    end = box.nearest(*point)
    steps = 12
    return any(
        other.left <= point[0] + (end[0] - point[0]) * step / steps <= other.right
        and other.bottom <= point[1] + (end[1] - point[1]) * step / steps <= other.top
        for step in range(1, steps)
    )
