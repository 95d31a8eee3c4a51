"""What may not stand in any file, and links that must lead somewhere."""

import re

import pytest

from tests.house.tree import ROOT, files, read

# In pieces, since this file is searched too.
REGISTRIES = [
    ".".join(parts)
    for parts in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("deb", "debian", "org"),
        ("repo1", "maven", "org"),
        ("proxy", "golang", "org"),
    ]
] + ["extra-index" + "-url", "index" + "-url ="]
MACHINE_PATHS = ["/" + name + "/" for name in ("work", "farm", "root")]
UNFINISHED = ["TO" + "DO", "FIX" + "ME", "X" + "XX"]

LINK = re.compile(r"\]\(([^()\s]+)\)")
HAS_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:")


def _places(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()[:120]}"
        for path in files()
        for number, line in enumerate(read(path).splitlines(), 1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize(
    ("words", "how_to_pass"),
    [
        pytest.param(
            "|".join(map(re.escape, REGISTRIES)),
            "leave registries to the settings of pip and npm",
            id="a package registry",
        ),
        pytest.param(
            r"(?<![\w.~}-])(" + "|".join(map(re.escape, MACHINE_PATHS)) + ")",
            "name no path that only one machine has",
            id="a path of one machine",
        ),
        pytest.param(
            r"\b(" + "|".join(UNFINISHED) + r")\b",
            "finish it, or open an issue",
            id="unfinished work",
        ),
    ],
)
def test_no_file_names(words: str, how_to_pass: str) -> None:
    found = _places(re.compile(words))

    assert not found, "\n".join([f"To pass: {how_to_pass}.", *found])


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{document}: {target}"
        for document in files(".md")
        for target in LINK.findall(_without_code(read(document)))
        if not HAS_SCHEME.match(target) and not target.startswith("#")
        if not (ROOT / document.parent / target.split("#")[0]).exists()
    ]

    assert not broken, "\n".join(["Mend or remove these links:", *broken])


def test_headings_that_links_name_exist() -> None:
    broken = []
    for document in files(".md"):
        for target in LINK.findall(_without_code(read(document))):
            name, _, anchor = target.partition("#")
            path = (ROOT / document.parent / name) if name else ROOT / document
            if anchor and not HAS_SCHEME.match(target) and path.suffix == ".md" and path.exists():
                headings = re.findall(r"(?m)^#+ (.+)$", path.read_text())
                if anchor not in map(_anchor, headings):
                    broken.append(f"{document}: {target}")

    assert not broken, "\n".join(["No such heading:", *broken])


def _without_code(markdown: str) -> str:
    return re.sub(r"(?ms)^```.*?^```|`[^`\n]*`", "", markdown)


def _anchor(heading: str) -> str:
    """As the common forges make it: lower case, no punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
