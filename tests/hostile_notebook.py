"""A notebook that attacks whoever makes a page of it, by every way into the page."""

from __future__ import annotations

import base64

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell

NONCE = "0123456789abcdef" * 2
AWAY = "http://127.0.0.1:9/away"
RUN = "top.document.title = document.title = 'ran'; top.location = 'http://127.0.0.1:9/ran'"
SCRIPT = f"<script>{RUN}</script>"
LEAVE = f"<meta http-equiv=refresh content='0;{AWAY}'>"

# Each would run, lead away, load or ask for something, if it were let through as it is.
ATTACKS = [
    f"<p>script-src 'nonce-{NONCE}'</p><script nonce='{NONCE}'>{RUN}</script>",
    f"{SCRIPT}<SCRIPT/src=//127.0.0.1:9/x.js></SCRIPT><script type=module>{RUN}</script>",
    f"{LEAVE}<META HTTP-EQUIV='Refresh' CONTENT='0; {AWAY}'/>",
    f"<base href='{AWAY}/'><a id=relative href=x>x</a>",
    f'<img src=x onerror="{RUN}"><svg onload="{RUN}"><body onload="{RUN}"><details open ontoggle="{RUN}">d</details>',
    f"<img src='{AWAY}/1'><img srcset='{AWAY}/2 1x'><picture><source srcset='{AWAY}/3'></picture>"
    f"<video src='{AWAY}/4' autoplay poster='{AWAY}/5'></video><audio src='{AWAY}/6' autoplay></audio>"
    f"<table background='{AWAY}/7'><tr><td>t</table><input type=image src='{AWAY}/8'>",
    f"<link rel=stylesheet href='{AWAY}/9'><link rel=prefetch href='{AWAY}/10'>"
    f"<link rel=dns-prefetch href='{AWAY}/11'>",
    f"<style>@import '{AWAY}/12'; body {{ background: url({AWAY}/13) }} * {{ font-family: f }}"
    f"@font-face {{ font-family: f; src: url({AWAY}/14) }}</style>",
    f"<form action='{AWAY}' id=f><input name=q autofocus onfocus=\"{RUN}\">"
    f"<button formaction='javascript:{RUN}'>go</button></form>",
    f"<object data='{AWAY}/15'></object><embed src='{AWAY}/16'><frameset><frame src='{AWAY}/17'></frameset>",
    f"<iframe src='{AWAY}/18'></iframe><iframe srcdoc=\"{SCRIPT}{LEAVE}\"></iframe>",
    f'<iframe src="javascript:{RUN}"></iframe><iframe src="data:text/html,{SCRIPT}"></iframe>',
    f'<a class=click href="javascript:{RUN}">1</a><a class=click href="jav&#x09;ascript&colon;{RUN}">2</a>'
    f'<a class=click href=" \x01data:text/html,{SCRIPT}">3</a><a class=click href="vbscript:x">4</a>',
    f'<svg><a class=click xlink:href="javascript:{RUN}"><text y=20>5</text></a>{SCRIPT}'
    f"<use href=\"data:image/svg+xml,<svg id='x' xmlns='http://www.w3.org/2000/svg'>{SCRIPT}</svg>#x\"/>"
    f"<image href='{AWAY}/19'/><set attributeName=href to='javascript:{RUN}'/>"
    f"<animate attributeName=href values='javascript:{RUN}'/>"
    f"<foreignObject><iframe src='{AWAY}/20'></iframe></foreignObject></svg>",
    # Markup that becomes another when it is parsed again.
    f'<svg></p><style><a id="</style><img src=\'{AWAY}/21\' onerror="{RUN}">{LEAVE}">',
    f'<math><mtext><table><mglyph><style><!--</style><img title="--&gt;{LEAVE.replace("<", "&lt;")}">',
    f"<svg><style>&lt;{LEAVE[1:]}</style></svg><svg><title><style>&lt;/title>{LEAVE}</style></title></svg>",
    *(f'<{name}><p title="</{name}>{LEAVE}"></{name}>' for name in ("noscript", "xmp", "noembed", "textarea", "title")),
    f"<template>{SCRIPT}</template><plaintext>{LEAVE}",
    f"<!-->{LEAVE}--><![CDATA[{LEAVE}]]><? {LEAVE} ?><!--!>{LEAVE}--!>",
    f"</div></div></main></body></html>{LEAVE}<script nonce={NONCE}>{RUN}</script>",
]


def evil() -> nbformat.NotebookNode:
    """Every attack by every way."""
    all_of_it = "\n\n".join(ATTACKS)
    picture = f"<svg xmlns='http://www.w3.org/2000/svg' onload=\"{RUN}\">{SCRIPT}</svg>"
    outputs = [
        *(new_output("display_data", {"text/html": attack}) for attack in ATTACKS),
        *(new_output("display_data", {"text/markdown": attack}) for attack in ATTACKS),
        new_output("display_data", {"text/html": all_of_it}, metadata={"text/html": {"isolated": True}}),
        new_output("display_data", {"image/svg+xml": picture}, metadata={"filenames": {"image/svg+xml": AWAY}}),
        new_output("display_data", {"image/png": f'AA=="> {SCRIPT}'}, metadata={"image/png": {"width": "1 onload=x"}}),
        new_output("display_data", {"text/latex": all_of_it}),
        new_output("display_data", {"text/plain": all_of_it}),
        new_output("display_data", {"application/javascript": RUN, "text/plain": "js"}),
        new_output("stream", text=f"\x1b]8;;javascript:{RUN}\x07link\x1b]8;;\x07{all_of_it}"),
        new_output("error", ename=all_of_it, evalue=all_of_it, traceback=[f"\x1b[31m{all_of_it}"]),
    ]
    attachments = {
        "a.png": {"text/html": base64.b64encode(all_of_it.encode()).decode()},
        "b": {f'x">{SCRIPT}': "AA"},
    }
    pictures = f"![a](attachment:a.png) ![b](attachment:b) ![c]({AWAY}/22) [d](javascript:{RUN}) <{AWAY}>"
    cells = [
        new_markdown_cell(f"# {SCRIPT} {LEAVE}"),
        *(new_markdown_cell(attack) for attack in ATTACKS),
        new_markdown_cell(pictures, attachments=attachments),
        new_markdown_cell(f'$</script>{SCRIPT}$ ```">{SCRIPT}\n```'),
        *(new_raw_cell(attack, metadata={"raw_mimetype": "text/html"}) for attack in ATTACKS),
        new_code_cell(all_of_it, metadata={"tags": [f'">{SCRIPT}'], "alt": f'">{SCRIPT}'}, outputs=outputs),
    ]
    widgets = {"application/vnd.jupyter.widget-state+json": {"state": {"x": f"</script>{SCRIPT}"}}}
    return new_notebook(cells=cells, metadata={"widgets": widgets, "title": ATTACKS[0]})
