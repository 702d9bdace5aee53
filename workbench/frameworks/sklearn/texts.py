"""How texts are taken apart: Python's regular expressions in the words of RE2, which ONNX Runtime has."""

from __future__ import annotations

import re

WORD, SPACE, DIGIT = r"\p{L}\p{N}_", r"\s\v\x1c-\x1f\x85\p{Z}", r"\p{Nd}"
"""What Python means by \\w, \\s and \\d in text, inside of square brackets; RE2 means ASCII by them."""

_SETS = {r"\w": WORD, r"\s": SPACE, r"\d": DIGIT}


def in_re2(pattern: str) -> str:
    """A token pattern of scikit-learn for ONNX Runtime's Tokenizer. What cannot be said there is left as it is: the
    graph then fails to load, or the proof finds the difference.

    RE2 knows no word boundaries beyond ASCII. Around a run of letters taken whole, as in ``\\b\\w\\w+\\b``, they say
    nothing.
    """
    pattern = pattern.removeprefix("(?u)")
    if run := re.fullmatch(r"\\b((?:\\w)+(?:\+|\*|\{\d+,\}))\\b", pattern):
        pattern = run[1]
    out, inside = [], False
    for token in re.findall(r"\\.|.", pattern, re.DOTALL):
        inside = (inside or token == "[") and token != "]"
        if token in _SETS:
            token = _SETS[token] if inside else f"[{_SETS[token]}]"
        elif token.lower() in _SETS and not inside:
            token = f"[^{_SETS[token.lower()]}]"
        out.append(token)
    return "".join(out)
