"""The Korean edition: the same chapters as the English one, every text of them in Korean, judges too."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from cells import run
from editions import KOREAN, NOTEBOOKS, sentences, solutions, translated
from exercises import teach
from nbconvert.filters.markdown_mistune import markdown2html_mistune

from workbench.show.export import page

CHAPTERS = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
CATALOGUE: dict[str, str] = json.loads((NOTEBOOKS / "exercises" / "ko.json").read_text(encoding="utf-8"))
PLACE = re.compile(r"\{\d\}")

chapters = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def prose(path: Path) -> dict[str, str]:
    return {cell.id: cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"}


@chapters
def test_code_is_the_english_ones_and_every_text_says_what_the_english_one_says_now(path: Path) -> None:
    wanted, missing = translated(path)
    assert missing == [], "translate these cells anew in notebooks/ko, then: make korean DONE='CHAPTER:CELL …'"
    assert nbformat.read(KOREAN / path.name, as_version=4) == wanted, "make korean copies the code"
    ours, theirs = teach.solutions(KOREAN / path.name), teach.solutions(path)
    assert {number: code for number, (code, _) in ours.items()} == {
        number: code for number, (code, _) in theirs.items()
    }
    assert all(re.search("[가-힣]", why) for _, why in ours.values())
    assert (KOREAN / "solutions" / f"{path.stem}.md").read_text(encoding="utf-8") == solutions(path)


def test_a_changed_english_text_and_a_new_cell_are_named_and_code_is_copied(tmp_path: Path) -> None:
    notebook = nbformat.read(CHAPTERS[0], as_version=4)
    texts = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    code = next(cell for cell in notebook.cells if cell.cell_type == "code")
    texts[1].source += " And more."
    code.source += "\n# changed"
    notebook.cells.append(nbformat.v4.new_markdown_cell("New.", id="new"))
    nbformat.write(notebook, tmp_path / CHAPTERS[0].name)
    korean, missing = translated(tmp_path / CHAPTERS[0].name)
    assert missing == [texts[1].id, "new"]
    assert next(cell for cell in korean.cells if cell.id == code.id).source.endswith("# changed")
    assert translated(tmp_path / CHAPTERS[0].name, missing)[1] == []


@chapters
def test_a_text_keeps_code_links_and_marks_and_is_korean(path: Path) -> None:
    korean = prose(KOREAN / path.name)
    for cell, english in prose(path).items():
        text = korean[cell]
        where = (path.stem, cell)
        assert re.search("[가-힣]", text), where
        for kept in (r"```.*?```", r"(?<!`)`[^`\n]+`(?!`)", r"^#+ ", r"^\| ", r"^\d+\. ", r"^- "):
            theirs, ours = (re.findall(kept, one, re.DOTALL | re.MULTILINE) for one in (english, text))
            assert {*ours} == {*theirs} and ("`" in kept or len(ours) == len(theirs)), (*where, kept)
        for link in re.findall(r"\]\(([^)#]+)", text):
            assert link.startswith("http") or (KOREAN / link).exists(), (*where, link)
        assert len(re.findall(r"\]\(", text)) == len(re.findall(r"\]\(", english)), where
        # A mark beside a Korean particle may stay a mark: "**(a)**는" is no bold text.
        shown = re.sub(r"<code>.*?</code>|<pre.*?</pre>|<[^>]+>", "", markdown2html_mistune(text), flags=re.DOTALL)
        assert "*" not in shown, (*where, shown)


def test_every_sentence_of_a_judge_has_its_translation_and_no_other() -> None:
    judges = [NOTEBOOKS / "exercises" / "__init__.py", *sorted((NOTEBOOKS / "exercises").glob("chapter_*.py"))]
    said = {sentence for judge in judges for sentence in sentences(judge)}
    assert len(said) > 200
    assert said - CATALOGUE.keys() == set(), "add these to notebooks/exercises/ko.json"
    texts = "".join(judge.read_text(encoding="utf-8") for judge in judges)
    assert {key for key in CATALOGUE.keys() - said if f'"{key}"' not in texts} == set(), "no judge says these"
    for english, korean in CATALOGUE.items():
        assert sorted(PLACE.findall(korean)) == sorted(PLACE.findall(english)), english


def test_a_sentence_is_found_again_by_what_was_put_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(NOTEBOOKS))
    monkeypatch.setenv("WORKBENCH_LANGUAGE", "ko")
    said = importlib.import_module("exercises.language").said
    for english, korean in CATALOGUE.items():
        values = [f"<{number} a {{kind}}>" for number in range(len(PLACE.findall(english)))]
        assert said(english.format(*values)) == korean.format(*values), english
    assert said("models/x.onnx cannot be read.") == "models/x.onnx cannot be read."


@pytest.mark.slow
def test_a_korean_notebook_runs_where_it_lies_judges_in_korean_and_its_page_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORKBENCH_LANGUAGE", raising=False)
    here = shutil.copytree(NOTEBOOKS, tmp_path / "notebooks", ignore=shutil.ignore_patterns("models", "__pycache__"))
    path = here / "ko" / CHAPTERS[0].name
    notebook = nbformat.read(path, as_version=4)
    in_english = 'import os; os.environ["WORKBENCH_LANGUAGE"] = "en"; check("0.3", None)'
    notebook.cells += [nbformat.v4.new_code_cell(source) for source in ('check("0.3", None)', in_english)]
    nbformat.write(notebook, path)
    notebook = run(path)
    korean, english = (cell.outputs[0].data for cell in notebook.cells[-2:])
    assert korean["text/plain"].startswith(CATALOGUE["Not yet."])
    assert CATALOGUE["Not yet."] in korean["text/html"]
    assert english["text/plain"].startswith("Not yet.")
    text = page(notebook, path.name)
    assert '<html lang="ko">' in text
    assert CATALOGUE["No answer yet."] in text
    assert '<html lang="en">' in page(nbformat.read(CHAPTERS[0], as_version=4), "English")
