"""What is allowed: a small TOML file, and the findings of what is not."""

from __future__ import annotations

import datetime
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, Finding
from ..files.registry import FORMATS

if TYPE_CHECKING:
    from .look import Row

EXAMPLE = """\
formats = ["ONNX", "SavedModel"]        # all others are errors
domains = ["ai.onnx", "ai.onnx.ml"]     # of operators
opset = { at-least = 13, at-most = 21 }
largest = "2 GB"

[[ignore]]
id = "text-path"
path = "models/old/*"                   # all files if left out
reason = "made before the exporter was mended"
until = 2027-01-31
"""

_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True)
class Ignore:
    """A finding that is known and let pass, for a reason and until a day."""

    id: str
    reason: str
    until: datetime.date
    path: str = "*"


@dataclass(frozen=True)
class Policy:
    """What a file may be; None where all is allowed.

    Attributes:
        formats: names as `detect` gives them; domains: of operators, ``ai.onnx`` for the default one.
        opset: (least, most) of the default domain; largest: bytes.
        ignore: findings that are let pass.
        today: the day an `Ignore` is held against.
    """

    formats: tuple[str, ...] | None = None
    domains: tuple[str, ...] | None = None
    opset: tuple[int, int] | None = None
    largest: int | None = None
    ignore: tuple[Ignore, ...] = ()
    today: datetime.date = field(default_factory=datetime.date.today)

    def applied(self, row: Row) -> tuple[Finding, ...]:
        """The row's findings, those of the policy with them, without those that are ignored."""
        from fnmatch import fnmatch

        findings = [*row.findings, *self._against(row)]
        passing = {one.id for one in self.ignore if one.until >= self.today and fnmatch(row.path, one.path)}
        return tuple(finding for finding in findings if finding.id not in passing)

    def _against(self, row: Row) -> list[Finding]:
        found = []

        def no(id: str, says: str, advice: str) -> None:
            found.append(Finding(id, "error", "", says, advice))

        if self.formats is not None and row.kind is not None and row.format not in self.formats:
            no("policy-format", f"Its format, {row.format}, is not allowed.", f"Give it as {self.formats[0]}.")
        if self.domains is not None:
            for domain in row.opsets:
                if (domain or "ai.onnx") not in self.domains:
                    no("policy-domain", f"It has operators of {domain}, which is not allowed.", "Convert it without.")
        if self.opset is not None and row.opsets:
            least, most = self.opset
            has = row.opsets.get("")
            if has is not None and not least <= has <= most:
                no("policy-opset", f"It has opset {has}, and {least} to {most} are allowed.", "Convert its opset.")
        if self.largest is not None and row.size > self.largest:
            no("policy-size", f"It has {row.size:,} bytes, and {self.largest:,} are allowed.", "Make it smaller.")
        return found


def read_policy(path: str | os.PathLike[str]) -> Policy:
    """A policy from its file, such as `EXAMPLE`.

    Raises:
        BadInput: there is none, it is no TOML, or says what a policy cannot; the sentence names the place.
    """
    try:
        text = Path(path).read_text("utf-8")
        told = tomllib.loads(text)
    except TypeError:
        raise BadInput(f"A policy is the path of a TOML file, or a Policy, not {path!r}.") from None
    except OSError as error:
        raise BadInput(f"The policy {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"The policy {path} is no TOML: {error}.") from error

    def refuse(key: str, wanted: str) -> BadInput:
        line = next((n for n, line in enumerate(text.splitlines(), 1) if line.strip().startswith(key)), 1)
        return BadInput(f"The policy {path}, line {line}: {key} is {wanted}.")

    if strange := {*told} - {"formats", "domains", "opset", "largest", "ignore"}:
        name = min(strange)
        raise refuse(name, "no part of a policy, which has formats, domains, opset, largest and ignore")
    for name in ("formats", "domains"):
        names = told.get(name, ["ONNX"])
        if not (isinstance(names, list) and names and all(isinstance(one, str) for one in names)):
            raise refuse(name, 'a list of names, such as ["ONNX"]')
    if unknown := [name for name in told.get("formats", ()) if name not in FORMATS]:
        raise refuse("formats", f"a list of formats as detect names them, and {unknown[0]!r} is none")
    opset = told.get("opset", {})
    if (
        not isinstance(opset, dict)
        or {*opset} - {"at-least", "at-most"}
        or any(type(n) is not int for n in opset.values())
    ):
        raise refuse("opset", "such as { at-least = 13, at-most = 21 }")
    if not isinstance(told.get("ignore", []), list):
        raise refuse("ignore", "written as [[ignore]], once for each")
    return Policy(
        formats=tuple(told["formats"]) if "formats" in told else None,
        domains=tuple(told["domains"]) if "domains" in told else None,
        opset=(opset.get("at-least", 1), opset.get("at-most", 1 << 30)) if opset else None,
        largest=_bytes(told["largest"], refuse) if "largest" in told else None,
        ignore=tuple(_ignore(one, refuse) for one in told.get("ignore", ())),
    )


def _bytes(value: Any, refuse: Any) -> int:
    if type(value) is int:
        return value
    number, _, unit = str(value).partition(" ")
    try:
        return int(float(number) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        raise refuse("largest", 'a number of bytes, or such as "2 GB"') from None


def _ignore(one: Any, refuse: Any) -> Ignore:
    good = isinstance(one, dict) and {"id", "reason", "until"} <= {*one} <= {"id", "reason", "until", "path"}
    if not good or type(one["until"]) is not datetime.date or not str(one["reason"]).strip():
        raise refuse("[[ignore]]", "an id, a reason, and until when, a day such as 2027-01-31; and a path, if not all")
    return Ignore(str(one["id"]), str(one["reason"]), one["until"], str(one.get("path", "*")))
