"""docs/genauth.md is where GenAuth's facts come from: what the code cites is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "genauth.md").read_text()
SECTIONS = set(re.findall(r"^#{2,3} (\d(?:\.\d)?)\.? ", DOCUMENT, re.MULTILINE))
CITATION = re.compile(r"docs/genauth\.md((?:(?:,| and| to)? \d(?:\.\d)?)+)")


def sources():
    for folder in ("bff", "schemas", "tests", "bench"):
        yield from (ROOT / folder).rglob("*.py")


def citations():
    for path in sources():
        for numbers in CITATION.findall(path.read_text()):
            yield from ((path.relative_to(ROOT), number) for number in re.findall(r"\d(?:\.\d)?", numbers))


def test_every_cited_section_is_there():
    cited = list(citations())

    assert len(cited) > 20
    assert [(str(path), number) for path, number in cited if number not in SECTIONS] == []


def test_no_document_is_cited_that_is_not_here():
    name = "genauth-" + "api.md"

    assert [str(path) for path in sources() if name in path.read_text()] == []


def test_the_sections_cite_one_another_by_numbers_that_exist():
    numbers = re.findall(r"\((\d\.\d)\)", DOCUMENT)

    assert len(numbers) >= 4
    assert set(numbers) <= SECTIONS
