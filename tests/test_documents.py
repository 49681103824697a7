"""Documents: no dead link, no command or file that does not exist, and a first page that is short and runs."""

import importlib.util
import re
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = {str(path.relative_to(ROOT)): path for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])}
OF_TODAY = [name for name in DOCUMENTS if name != "LOG.md"]
"""The log is of its days: what it names may have gone since."""
README, YOUR_OWN = ROOT / "README.md", ROOT / "docs" / "your_own.md"
LONGEST = 99
"""Lines of the README."""
HERE = r"(?:orchestrator|trainables|sweeps|tests|benchmarks|docker|docs)"


def prose(document: Path) -> str:
    """The text without its blocks of code."""
    return re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """Anchors of headings, as Git hosts make them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(document: Path) -> list[str]:
    """Targets of links, relative to the document, that are no file, or no heading of the file."""
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = document if not path else document.parent / path
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            dead.append(target)
    return dead


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_link_is_dead(name: str) -> None:
    assert not dead_links(DOCUMENTS[name])


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A heading, of `words`\n\n```\n# no heading\n```\n")
    document = tmp_path / "here.md"
    document.write_text(
        "[a](there.md) [b](there.md#a-heading-of-words) [c](gone.md) [d](there.md#no-heading) [e](#gone)\n"
        "```\n[f](code.md)\n```\n[g](https://example.org)"
    )
    assert dead_links(document) == ["gone.md", "there.md#no-heading", "#gone"]


def test_the_documents_that_are_promised_exist() -> None:
    pages = {f"docs/{name}.md" for name in ("cluster", "data", "results", "your_own", "papers/distill_l2s")}
    assert {"README.md", "LOG.md", "CONTRIBUTING.md"} | pages <= DOCUMENTS.keys()


def test_every_page_is_linked_from_the_readme() -> None:
    linked = set(re.findall(r"\]\(([^)\s#]+\.md)", prose(README)))
    assert DOCUMENTS.keys() - {"README.md"} <= linked


def test_documents_name_only_targets_that_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for name in OF_TODAY:
        named = set(re.findall(r"`make ([a-z][\w-]*)", prose(DOCUMENTS[name])))
        assert named <= targets, name
    assert {"demo", "test"} <= set(re.findall(r"^make ([\w-]+)$", README.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("name", OF_TODAY)
def test_documents_name_only_files_and_modules_that_exist(name: str) -> None:
    text = DOCUMENTS[name].read_text(encoding="utf-8")
    files = set(re.findall(rf"(?<![\w/.]){HERE}/[\w/-]+(?:\.\w+)+", text))
    assert not [file for file in files if not (ROOT / file).exists()]
    modules = set(re.findall(rf"-m ({HERE}(?:\.\w+)*)", text))
    assert not [module for module in modules if importlib.util.find_spec(module) is None]


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_the_code_of_the_readme_is_of_the_page_that_is_run() -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert block in YOUR_OWN.read_text(encoding="utf-8")


def test_the_least_recipe_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], empty_database: Path
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", YOUR_OWN.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (tmp_path / "descent.py").write_text(next(block for block in blocks if "class Descent" in block))
    (tmp_path / "runs").mkdir()
    shutil.copy(empty_database, tmp_path / "runs" / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(sys, "argv", ["descent.py", "--local"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path("descent.py", run_name="__main__")
    assert ended.value.code == 0, capsys.readouterr().err
    table = (tmp_path / "runs" / "descent" / "errors.md").read_text(encoding="utf-8")
    assert re.search(r"hard .*12\.16 .*1\.15", table)


def test_the_corpora_of_the_page_on_data_can_be_made() -> None:
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(block, names)
    assert names["corpus"].splits == ("train", "valid", "test")
    assert names["all_of_it"].splits == ("train", "valid")
    assert names["ten_hours"].splits == ("train", "valid", "test-clean", "test-other")
