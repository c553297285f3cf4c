"""matplotlib's SVG made fit for a page whose policy allows no style: attributes and classes in its place.

Colours become classes, so that the page's own style sheet colours a chart, by day and by night.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from xml.etree import ElementTree

_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"

# what of CSS is also an attribute of SVG; a font is the page's own
_ATTRIBUTES = {
    "stroke-width",
    "stroke-dasharray",
    "stroke-dashoffset",
    "stroke-linecap",
    "stroke-linejoin",
    "stroke-opacity",
    "fill-opacity",
    "opacity",
    "text-anchor",
    "font-size",
    "font-weight",
}


def inlined(text: str, colours: Mapping[str, str], key: str, title: str, description: str) -> str:
    """Return an SVG document as an element for a page: `colours` gives the class of each colour it may use.

    `key` tells its ids from those of other charts; `title` and `description` are for those who do not see it.
    """
    root = ElementTree.fromstring(text)  # our own plotting library's, never a stranger's
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{_SVG}style" or child.tag.endswith("}metadata"):
                parent.remove(child)
    used = {link.removeprefix("#") for element in root.iter() for link in _links(element)}
    for element in root.iter():
        _restyle(element, colours)
        _rename(element, used, key)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-labelledby": f"{key}-title {key}-desc", "class": "chart"}
    root.attrib |= {"stroke-linejoin": "round"}
    for place, (name, said) in enumerate((("title", title), ("desc", description))):
        told = ElementTree.Element(f"{_SVG}{name}", {"id": f"{key}-{name}"})
        told.text = said
        root.insert(place, told)
    return _written(root)


def _links(element: ElementTree.Element) -> Iterator[str]:
    if _LINK in element.attrib:
        yield element.attrib[_LINK]
    if "clip-path" in element.attrib:
        yield element.attrib["clip-path"].removeprefix("url(").removesuffix(")")


def _restyle(element: ElementTree.Element, colours: Mapping[str, str]) -> None:
    declared = (one.partition(":") for one in element.attrib.pop("style", "").split(";") if one.strip())
    classes: list[str] = []
    for name, _, value in ((name.strip(), colon, value.strip()) for name, colon, value in declared):
        if name in {"fill", "stroke"}:
            if value == "none":
                element.set(name, value)
            else:
                classes.append(f"{name}-{colours[value.lower()]}")
        elif name in _ATTRIBUTES:
            element.set(name, value.removesuffix("px"))
    if classes:
        element.set("class", " ".join(classes))


def _rename(element: ElementTree.Element, used: set[str], key: str) -> None:
    name = element.attrib.pop("id", None)
    if name in used:
        element.set("id", f"{key}-{name}")
    link = element.attrib.pop(_LINK, None)
    if link is not None:
        element.set("href", f"#{key}-{link.removeprefix('#')}")
    if "clip-path" in element.attrib:
        clip = element.attrib["clip-path"].removeprefix("url(#").removesuffix(")")
        element.set("clip-path", f"url(#{key}-{clip})")


def _written(root: ElementTree.Element) -> str:
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        element.tail = None
        if element.tag not in {"text", "tspan", "title", "desc"}:
            element.text = None
        if "d" in element.attrib:
            element.set("d", " ".join(element.attrib["d"].split()))
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)
