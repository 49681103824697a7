"""Documents: no dead link, no command that does not exist, every hyper-parameter as the code has it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(ROOT.glob("*.md"))


def anchors(document: Path) -> set[str]:
    """Anchors of headings, as Git hosts make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_link_is_dead(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = document if not path else document.parent / path
        assert linked.exists(), f"{document.name} links to {target}"
        if anchor:
            assert anchor in anchors(linked), f"{document.name} links to {target}"


def test_readme_names_only_targets_that_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"`make ([\w-]+)", (ROOT / "README.md").read_text()))
    assert {"demo", "test", "check"} <= named <= targets


def test_the_documents_that_are_promised_exist() -> None:
    names = {document.name for document in DOCUMENTS}
    assert {"README.md", "PAPERS.md", "LOG.md", "CONTRIBUTING.md"} <= names
