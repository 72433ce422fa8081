"""The picture. Real: everything; the numbers are invented."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.bench.plot import Panel, Series, nice_above, short, svg

NAMESPACE = {"svg": "http://www.w3.org/2000/svg"}
OURS = Series("ours", ((1, 2.0), (10, 4.0), (100, 8.0)))
THEIRS = Series("a < b & c", ((1, 8.0), (10, 8.0), (100, 8.0)))


def parsed(*panels: Panel) -> ElementTree.Element:
    return ElementTree.fromstring(svg(panels))


def spots(root: ElementTree.Element, number: int) -> list[tuple[float, float]]:
    line = root.findall(".//svg:polyline", NAMESPACE)[number].attrib["points"]
    return [(float(x), float(y)) for x, y in (spot.split(",") for spot in line.split())]


def test_it_is_xml_whatever_the_names_hold() -> None:
    root = parsed(Panel("a title", "plugins", "ms", (OURS, THEIRS)))
    texts = [element.text for element in root.iter(f"{{{NAMESPACE['svg']}}}text")]
    assert {"a title", "plugins", "ms", "ours", "a < b & c", "1", "10", "100", "8"} <= set(texts)


def test_the_axis_across_is_logarithmic_and_the_one_upwards_is_not() -> None:
    root = parsed(Panel("", "", "", (OURS, THEIRS)))
    (x1, y1), (x2, y2), (x3, y3) = spots(root, 0)
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert (y1 - y2) * 2 == pytest.approx(y2 - y3, abs=0.3)  # upwards is where y is small
    assert [y for _, y in spots(root, 1)] == [y3] * 3


def test_nothing_is_drawn_outside_the_picture() -> None:
    root = parsed(Panel("", "", "", (OURS, THEIRS)))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert all(0 < x < width and 0 < y < height for number in (0, 1) for x, y in spots(root, number))


def test_panels_stand_side_by_side() -> None:
    panel = Panel("", "", "", (OURS,))
    one, two = parsed(panel), parsed(panel, panel)
    assert 2 * float(one.attrib["width"]) == float(two.attrib["width"])
    places = [group.attrib["transform"] for group in two.findall("svg:g", NAMESPACE)]
    assert len(set(places)) == 2


def test_a_curve_of_one_point_is_drawn() -> None:
    assert len(spots(parsed(Panel("", "", "", (Series("one", ((5, 3.0),)),))), 0)) == 1


@pytest.mark.parametrize(("value", "top"), [(0.3, 0.4), (1, 1), (1.01, 2), (5, 8), (9, 10), (350, 400), (0, 1)])
def test_an_axis_ends_at_a_round_number(value: float, top: float) -> None:
    assert nice_above(value) == pytest.approx(top)


@pytest.mark.parametrize(("value", "text"), [(50, "50"), (1 << 20, "1 Mi"), (1 << 30, "1 Gi"), (1500, "1500")])
def test_bytes_are_named_in_powers_of_1024(value: float, text: str) -> None:
    assert short(value) == text
