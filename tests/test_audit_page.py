"""The page of an audit: all of it is there, nothing of the files runs in it, its table is worked by mouse and keys."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from access import barriers
from playwright.sync_api import Browser, Page, expect
from test_audit import DATA, network, write
from test_graph import ATTACK, Shown

from workbench import audit
from workbench.audit import Audit
from workbench.audit.exports import EXPORTS, below

HOSTILE = "\u202e<img src=x onerror=alert(1)>\"'.onnx"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """Names and texts of it attack; sizes are such that numbers sort otherwise than their texts."""
    folder = tmp_path_factory.mktemp("models")
    write(folder / HOSTILE, network(seed=1, doc=ATTACK, name=ATTACK, op_type=ATTACK, domain="</script><script>"))
    write(folder / "a.onnx", network(seed=2, doc="ada@example.org"))
    (folder / "big.txt").write_text("x" * 20_000)
    (folder / "small.txt").write_text("x" * 9)
    (folder / "cut.onnx").write_bytes((DATA / "gru.onnx").read_bytes()[:-2000])
    return audit(folder)


def many(found: Audit, count: int) -> Audit:
    """As large an audit, from rows of these files."""
    rows = (found.rows[at % len(found.rows)] for at in range(count))
    return Audit(tuple(dataclasses.replace(row, path=f"{row.path}.{at}") for at, row in enumerate(rows)))


def names(page: Page) -> list[str]:
    return [name for name in page.locator(".wb-files tbody th").all_text_contents() if name]


def shown_names(page: Page) -> list[str]:
    return page.locator(".wb-files tbody tr:not([hidden]) th").all_text_contents()


@pytest.mark.browser
def test_the_table_is_sorted_and_filtered_by_keys_and_nothing_of_the_files_runs(
    browser: Browser, found: Audit, tmp_path: Path
) -> None:
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    shown = Shown(context.new_page())
    page = shown.open(EXPORTS[".html"](found), tmp_path / "a.html")
    everything = names(page)
    assert len(everything) == len(found.rows) and any("<img src=x" in name for name in everything)
    assert not any("\u202e" in name for name in everything)

    head = page.get_by_role("columnheader", name="size")
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert (shown_names(page)[0], shown_names(page)[-1]) == ("small.txt", "big.txt")
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    assert (shown_names(page)[0], shown_names(page)[-1]) == ("big.txt", "small.txt")
    page.get_by_role("columnheader", name="file").get_by_role("button").click()
    assert page.locator("[aria-sort]").count() == 1
    assert shown_names(page).index("a.onnx") < shown_names(page).index("big.txt")

    status = page.get_by_role("status")
    page.locator("select[name=kind]").select_option("no model")
    assert sorted(shown_names(page)) == sorted(
        name.rpartition("/")[2] for name in (row.path for row in found.rows if row.kind is None)
    )
    page.get_by_role("button", name="Show all").click()
    expect(status).to_have_text(f"{len(everything)} of {len(everything)} files")
    page.locator("select[name=found]").select_option("damaged")
    assert shown_names(page) == ["cut.onnx"]
    page.locator("select[name=format]").select_option("ONNX")
    expect(status).to_have_text(f"0 of {len(everything)} files")
    page.get_by_role("button", name="Show all").click()
    page.get_by_role("searchbox").fill("ADA@example")  # in its card alone
    assert shown_names(page) == ["a.onnx"] and page.locator(".wb-each > details:not([hidden])").count() == 1

    page.get_by_role("link", name="a.onnx").click()
    expect(page.get_by_role("row", name="parameters 32")).to_be_visible()
    page.locator("summary", has_text="text-email").click()
    page.get_by_role("button", name="Show these files in the table").and_(
        page.locator("[data-found=text-email]")
    ).click()
    assert "a.onnx" in shown_names(page) and "cut.onnx" not in shown_names(page)
    assert (shown.outside, shown.dialogs, shown.console) == ([], [], [])
    context.close()


@pytest.mark.browser
def test_the_page_keeps_nobody_out_fits_a_phone_and_is_printed_whole(
    browser: Browser, found: Audit, tmp_path: Path
) -> None:
    page = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True).new_page()
    page.goto(found.save(tmp_path / "a.html").as_uri())
    for scheme, width in (("light", 1200), ("dark", 1200), ("light", 390)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 900})
        assert barriers(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == width
    # On paper, narrow as it is: every column, the heads on each page, findings open, and no field to fill in.
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 680, "height": 960})
    assert page.evaluate("document.documentElement.scrollWidth") == 680
    assert page.locator(".wb-files thead th").evaluate_all("all => all.every((one) => one.checkVisibility())")
    heads = page.locator(".wb-files thead").evaluate("(one) => getComputedStyle(one).display")
    assert heads == "table-header-group"
    expect(page.locator("li", has_text="ada@example.org").first).to_be_visible()
    expect(page.locator("form")).to_be_hidden()
    page.context.close()
    # Without scripts all of it is there, and nothing that would do nothing.
    plain = browser.new_context(java_script_enabled=False).new_page()
    plain.goto((tmp_path / "a.html").as_uri())
    assert len(names(plain)) == len(found.rows)
    expect(plain.locator("form")).to_be_hidden()
    assert plain.get_by_role("button").count() == 0
    plain.context.close()


@pytest.mark.parametrize(
    ("paths", "common"),
    [
        (["a.onnx"], ""), (["a.onnx", "ab/c"], ""), (["/x/a.onnx"], "/x/"), (["/x/m", "/x/m/b"], "/x/"),
        (["s3://b/a/x", "s3://b/ab/x"], "s3://b/"), ([], ""),
    ],
)  # fmt: skip
def test_what_is_left_out_of_paths_is_the_folders_of_all(paths: list[str], common: str) -> None:
    assert below(paths) == common


def test_2000_files_are_a_page_below_5_mb_with_each_of_them_twice(found: Audit) -> None:
    """In the table, and by itself; of ever more the first, which the page says."""
    page = EXPORTS[".html"](many(found, 2010))
    assert len(page.encode()) < 5_000_000
    assert page.count('<th scope="row"><a href="#f') == page.count("</summary><div id=") == 2000
    assert "The first 2,000 of the table above" in page
    assert "<img src=x" not in page and ATTACK not in page and "\u202e" not in page


def test_the_advice_over_findings_is_that_of_all_of_them(tmp_path: Path) -> None:
    """Where to put a missing file differs from file to file."""
    for folder in "ab":
        model = network(seed=ord(folder))
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = weight.EXTERNAL
        weight.external_data.add(key="location", value="weights.bin")
        write(tmp_path / folder / "m.onnx", model)
    page = EXPORTS[".html"](audit(tmp_path))
    items = [item for item in page.split("<li>") if item.startswith("<code>")]
    assert len(items) == 2
    for folder, item in zip("ab", items, strict=True):
        assert item.startswith(f"<code>{folder}/m.onnx") and str(tmp_path / folder) in item.partition("</li>")[0]
