"""HTML as trees: what is text stays text, however hostile, because only a tree ever becomes markup."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

Node = Element | str


def node(name: str, attributes: Mapping[str, str], *children: Node) -> Element:
    """An element with children in order; a string is text.

    >>> serialised(node("b", {"title": '"'}, "1 < 2"))
    '<b title="&quot;">1 &lt; 2</b>'
    """
    made = Element(name, dict(attributes))
    for child in children:
        if isinstance(child, str):
            _add_text(made, child)
        else:
            made.append(child)
    return made


def _add_text(parent: Element, text: str) -> None:
    """ElementTree keeps text that follows a child in that child's tail."""
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text


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
