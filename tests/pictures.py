"""A picture as its reader sees it: words and marks at their places, whose values are read off the ticks beside them.

A figure is drawn as SVG, and all that is known of it is what stands in that file.
"""

import io
import re
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import matplotlib
import matplotlib.image
import numpy as np

SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
Point = tuple[float, float]


@dataclass
class Axis:
    """Ticks along one direction: their places on the paper and their words, line by line."""

    ticks: list[tuple[float, list[str]]] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        return ["\n".join(lines) for _, lines in self.ticks]

    def value(self, at: float) -> float:
        """The number at a place, by the numbers of the ticks."""
        numbers = [(place, float(lines[0].replace("\N{MINUS SIGN}", "-"))) for place, lines in self.ticks]
        slope, start = np.polyfit(*np.array(numbers).T, 1)
        return float(slope * at + start)

    def nearest(self, at: float) -> int:
        """The tick that a place belongs to, counted from the first."""
        return int(np.argmin([abs(place - at) for place, _ in self.ticks]))


@dataclass
class Panel:
    """One system of axes."""

    x: Axis = field(default_factory=Axis)
    y: Axis = field(default_factory=Axis)
    texts: list[tuple[str, Point]] = field(default_factory=list)  # all but ticks and legend
    points: dict[str, list[Point]] = field(default_factory=dict)  # by colour; areas, not strokes
    strokes: dict[str, list[tuple[Point, Point]]] = field(default_factory=dict)  # straight, by colour
    bars: dict[str, list[tuple[Point, Point]]] = field(default_factory=dict)  # two corners, by colour

    def words(self) -> list[str]:
        return [text for text, _ in self.texts]


@dataclass
class Picture:
    panels: list[Panel]
    legend: dict[str, str]  # colour by word
    words: list[str]  # all of them


def read(figure: Any) -> Picture:
    """What a matplotlib figure shows."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # words stay words
        figure.savefig(buffer, format="svg")
    root = ElementTree.fromstring(buffer.getvalue())
    shapes = {path.get("id"): path.get("d", "") for path in root.iter(f"{SVG}path") if path.get("id")}
    panels = [_panel(group, shapes) for group in root.iter(f"{SVG}g") if group.get("id", "").startswith("axes_")]
    legend: dict[str, str] = {}
    for group in root.iter(f"{SVG}g"):
        if group.get("id", "").startswith("legend_"):
            legend |= _legend(group)
    return Picture(panels, legend, [text for text, _ in _texts(root)])


def _panel(axes: ElementTree.Element, shapes: dict[str, str]) -> Panel:
    panel = Panel()
    for group in axes:
        name = group.get("id", "")
        if name.startswith("legend_"):
            continue
        if name.startswith("matplotlib.axis_"):
            for part in group:
                kind = part.get("id", "")[:6]
                if kind in ("xtick_", "ytick_") and (words := _texts(part)):
                    axis, along = (panel.x, 0) if kind == "xtick_" else (panel.y, 1)
                    marks = list(part.iter(f"{SVG}use"))
                    place = float(marks[-1].get("xy"[along])) if marks else words[0][1][along]
                    axis.ticks.append((place, [text for text, _ in words]))
                elif not kind.endswith("tick_"):
                    panel.texts += _texts(part)
            continue
        panel.texts += _texts(group)
        for use in group.iter(f"{SVG}use"):
            if "z" in shapes[use.get(LINK, "#")[1:]]:
                point = (float(use.get("x", 0)), float(use.get("y", 0)))
                panel.points.setdefault(_colour(use, "fill"), []).append(point)
        for path in group.iter(f"{SVG}path"):
            corners = [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path.get("d", ""))]
            if path.get("id") is None and "z" not in path.get("d", "") and len(corners) == 2:
                panel.strokes.setdefault(_colour(path, "stroke"), []).append((corners[0], corners[1]))
            elif path.get("id") is None and "z" in path.get("d", "") and len(corners) == 4:
                panel.bars.setdefault(_colour(path, "fill"), []).append((corners[0], corners[2]))
    return panel


def _legend(group: ElementTree.Element) -> dict[str, str]:
    """Each word's colour: of the last thing drawn before it."""
    found, colour = {}, ""
    for part in group.iter():
        if part.tag in (f"{SVG}use", f"{SVG}path") and part.get("id") is None and part.get("style"):
            colour = _colour(part, "stroke")
        if part.tag == f"{SVG}text":
            found["".join(part.itertext())] = colour
    return found


def _texts(group: ElementTree.Element) -> list[tuple[str, Point]]:
    return [("".join(text.itertext()), _place(text)) for text in group.iter(f"{SVG}text")]


def _place(text: ElementTree.Element) -> Point:
    if text.get("x") is not None:
        return float(text.get("x", 0)), float(text.get("y", 0))
    x, y = re.findall(r"translate\((\S+) (\S+)\)", text.get("transform", ""))[0]
    return float(x), float(y)


def _colour(part: ElementTree.Element, kind: str) -> str:
    found = re.search(rf"\b{kind}: (#\w+)", part.get("style", ""))
    return found[1] if found else "none"


def brightness(figure: Any, places: list[Point]) -> np.ndarray:
    """Of the ground around places of the SVG, 9 points from them on all sides: 0 (black) to 1 (white), as pixels."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144)
    pixels = matplotlib.image.imread(io.BytesIO(buffer.getvalue()))[..., :3].mean(axis=-1)
    around = np.array([(x, y) for x in (-9, 9) for y in (-9, 9)])
    columns, rows = np.round(2 * (np.array(places)[:, None] + around)).astype(int).transpose(2, 0, 1)
    return np.median(pixels[rows, columns], axis=1)
