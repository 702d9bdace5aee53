"""Whom a page keeps out: what axe-core finds in it."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page


def barriers(page: Page, context: str | None = None, *, grave: bool = False, **options: Any) -> list[str]:
    """A line for each element that axe-core objects to.

    Args:
        context: a selector of the part to look at; the page's if None.
        grave: leave out what it calls minor or moderate.
        options: of ``axe.run``.
    """
    # Of what is in order axe would look up each element's selector, too, which takes as long as the rest.
    result = Axe().run(page, context=context, options={"resultTypes": ["violations"], **options}).response
    return [
        f"{one['id']}: {node['target']} {node['html'][:120]} {node['failureSummary'][:300]}"
        for one in result["violations"]
        if not grave or one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
