"""HTML and SVG elements from Python's values; the standard library writes and escapes them."""

from collections.abc import Sequence
from xml.etree import ElementTree

Element = ElementTree.Element
Child = Element | str | None


def tag(name: str, /, *children: Child, **attributes: object) -> Element:
    """An element. Text is escaped when the page is written, so it may be anything.

    Args:
      name: such as "div".
      children: elements and texts in order; None is left out.
      attributes: `class_` and `data_x` stand for `class` and `data-x`; True is an attribute
        without a value, False and None none at all.
    """
    element = Element(name)
    for key, value in attributes.items():
        if value is not None and value is not False:
            text = "" if value is True else str(value)
            element.set(key.rstrip("_").replace("_", "-"), text)
    for child in children:
        if isinstance(child, str):
            # The tree keeps a text in the element before it.
            if len(element):
                element[-1].tail = (element[-1].tail or "") + child
            else:
                element.text = (element.text or "") + child
        elif child is not None:
            element.append(child)
    return element


def table(head: Sequence[str], rows: Sequence[Sequence[Child]], *, stacks: bool = False) -> Element:
    """A table whose first column names the row. Where it is too wide it scrolls, or `stacks`.

    Args:
      head: names of the columns, the first one's too; may be empty.
      rows: the cells of each row, at least one.
      stacks: on a phone each row's name stands above its cells, and each cell under its column's.
    """
    names = head[1:] or [""] * (len(rows[0]) - 1)
    body = [
        tag(
            "tr",
            tag("th", first, scope="row"),
            *(tag("td", cell, data_name=name) for cell, name in zip(rest, names, strict=True)),
        )
        for first, *rest in rows
    ]
    header = tag("tr", *(tag("th", name, scope="col") for name in head))
    whole = tag("table", tag("thead", header) if head else None, tag("tbody", *body))
    return tag("div", whole, class_="scroll stacks" if stacks else "scroll")


def to_html(page: Element) -> bytes:
    """A whole document in UTF-8."""
    text = ElementTree.tostring(page, encoding="unicode", method="html")
    # Names of files may hold what is no character.
    return f"<!doctype html>\n{text}\n".encode(errors="replace")
