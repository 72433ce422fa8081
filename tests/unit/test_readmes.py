"""The README pages: each path and each link that they show exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted([REPOSITORY / "README.rst", *REPOSITORY.glob("pluginexec/**/*.rst"), *REPOSITORY.glob("tests/**/*.rst")])
_PATH = re.compile(r"``((?:tests|pluginexec)/[\w./]+)``")
_LINK = re.compile(r"<([\w./]+)>`_")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_each_path_and_each_link_of_a_page_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [path for path in _PATH.findall(text) if not (REPOSITORY / path).exists()] == []
    assert [link for link in _LINK.findall(text) if not (page.parent / link).exists()] == []
