"""HTML as trees: what is text stays text, however hostile, because only a tree ever becomes markup. And its numbers."""

import re
from collections.abc import Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from s5cli.trace import worded

Node = Element | str
NONE = "–"


def node(name: str, attributes: Mapping[str, str], *children: Node) -> Element:
    """An element with children in order; a string is text.

    >>> serialised(node("b", {"title": '"'}, "1 < 2"))
    '<b title="&quot;">1 &lt; 2</b>'
    """
    made = Element(name, dict(attributes))
    for child in children:
        if not isinstance(child, str):
            made.append(child)
        elif len(made):  # ElementTree keeps text that follows a child in that child's tail
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def span(style: str, *children: Node) -> Element:
    """A piece of a line with a class."""
    return node("span", {"class": style}, *children)


def serialised(tree: Element) -> str:
    """The tree as HTML."""
    return ElementTree.tostring(tree, encoding="unicode", method="html")


def document(title: str, root: str, script: str, *body: Node) -> bytes:
    """A page in UTF-8. `root` leads from it to the report's folder, `script` is the page's own beside the common one.

    Characters that no encoding has (names that were not UTF-8) become references to them, shown as a replacement sign.
    """
    head = node(
        "head",
        {},
        node("meta", {"charset": "utf-8"}),
        node("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        node("meta", {"name": "color-scheme", "content": "light dark"}),
        node("title", {}, title),
        node("link", {"rel": "icon", "href": "data:,"}),
        node("link", {"rel": "stylesheet", "href": f"{root}report.css"}),
        node("script", {"src": f"{root}report.js"}),
        node("script", {"src": f"{root}{script}", "defer": ""}),
    )
    html = node("html", {"lang": "en"}, head, node("body", {"data-root": root}, *body))
    return f"<!DOCTYPE html>\n{serialised(html)}\n".encode("utf-8", "xmlcharrefreplace")


# --- numbers ----------------------------------------------------------------------------------------------------------


def plain(value: float | None, digits: int = 2) -> str:
    """A number with a real minus, or a dash.

    >>> plain(-1.234), plain(None)
    ('−1.23', '–')
    """
    return NONE if value is None else f"{value:.{digits}f}".replace("-", "−")


def decibels(value: float | None) -> str:
    """One digit and the unit.

    >>> decibels(-9.32)
    '−9.3 dB'
    """
    return f"{plain(value, 1)} dB" if value is not None else NONE


def named(name: str, value: float) -> str:
    """A named number of a system, its unit behind it.

    >>> named("energy_db", -6.02)
    'energy −6.0 dB'
    """
    return re.sub(r" -(?=\d)", " −", worded(name, value))
