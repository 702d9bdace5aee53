"""What a framework tells the workbench of itself: plain records, in which all that is heavy is named, not imported.

Every folder below `workbench.frameworks` has one ``FRAMEWORK`` in its ``__init__``; `workbench.files.registry` gathers
them. A new format is one `FileFormat` there, and a `Probe` that recognises it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import BadInput

Where = str
"""``package.module:name`` of what is imported when it is first needed (`workbench.files.registry.at`)."""


@dataclass(frozen=True, slots=True)
class Format:
    """What a path holds.

    Attributes:
        name: of its `FileFormat`, or ``folder``, ``empty``, ``unknown``.
        detail: a few words more: framework version, sort of content. May quote the file: escape it.
        markers: names found inside that tell what the model is made of, in order of appearance: classes of a
            pickle, layers of a Keras config, operators of a graph, entries of an archive.
        runs_code: the format's own loader can execute code from the file.
        warnings: plain sentences, such as a file name that promises something else.
    """

    name: str
    detail: str = ""
    markers: tuple[str, ...] = ()
    runs_code: bool = False
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} ({self.detail})" if self.detail else self.name


@dataclass(frozen=True, slots=True)
class Verdict:
    """The kind of a file that is not ONNX.

    Attributes:
        kind: ``ML``, ``DL``, ``SNN``, ``unknown``, or None where it holds no model.
        because: the sentence that says so; value: what in the file decided it, the format itself if empty.
        engine: the engine of the framework that wrote it, if one here runs it.
    """

    kind: str | None
    because: str
    value: str = ""
    engine: str | None = None


def unclear(content: Format) -> Verdict:
    """Of a format that says nothing about kinds."""
    because = f"{content} can store models of any kind, and nothing in it says which."
    return Verdict("unknown", because)


@dataclass(frozen=True, slots=True)
class Probe:
    """How content is recognised (`workbench.files.formats`).

    Attributes:
        opening: what it looks into, which is also what `ask` is given: ``folder`` (its path, and steps), ``zip`` (an
            `Archive`), ``hdf5`` (the bytes of both ends), ``protobuf`` (the wire, and its fields), ``text`` (a `Text`);
            or the pattern that the file begins with, for the file's bytes.
        ask: gives the format, or None. What it raises on bytes made to break it counts as None.
    """

    opening: Literal["folder", "zip", "hdf5", "protobuf", "text"] | re.Pattern[bytes]
    ask: Callable[..., Format | None]


@dataclass(frozen=True, slots=True)
class Reader:
    """How Netron reads a format.

    Attributes:
        file: the name Netron is given; it picks its module by the ending.
        modules: Netron's modules for it; what they import follows by itself.
        large: modules that its ``view.js`` offers every format and that only this one needs.
        slim: gives a `workbench.graph.slim.Slim` of a large file, from its bytes.
        apart: `slim` is given the path instead, in a worker: it may parse with a C library.
        always: `slim` is for small files, too.
        graphs: gives the file's graphs from its bytes, to tell whether a layout of them would end.
    """

    file: str
    modules: tuple[str, ...]
    large: tuple[str, ...] = ()
    slim: Where = ""
    apart: bool = False
    always: bool = False
    graphs: Where = ""


@dataclass(frozen=True)
class Option:
    """A choice that `workbench.convert` takes as a keyword argument.

    Attributes:
        name: of the argument; label: the same in words.
        help: what it is for, in one short sentence.
        kind: what its value is; ``names`` is a list of texts.
        choices: the values it may have, where they are few; of a number those worth offering, or (words, value).
        default: what holds where it is left out; None: the converter decides, as `unset` says.
        least, most: bounds of a number, None where there is none. A ``float`` lies above its `least`.
        unset: what happens where it is None.
    """

    name: str
    label: str
    help: str
    kind: Literal["bool", "int", "float", "choice", "text", "names"]
    choices: tuple[Any, ...] = ()
    default: Any = None
    least: float | None = None
    most: float | None = None
    unset: str = "automatic"

    def check(self, value: Any) -> None:
        """
        Raises:
            BadInput: the option does not take this value.
        """
        if value is None and self.default is None:
            return
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = {
            "bool": value in self.values and isinstance(value, bool),
            "choice": value in self.choices,
            "int": number and isinstance(value, int) and self._within(value),
            "float": number and math.isfinite(value) and value > (self.least or 0),
            "text": isinstance(value, str),
            "names": isinstance(value, list | tuple) and all(isinstance(name, str) for name in value),
        }[self.kind]
        if not fits:
            raise BadInput(f"Option {self.name!r} is {self._expected}, not {value!r}.")

    @property
    def values(self) -> tuple[Any, ...]:
        """Every value it may have, the default first; empty where they cannot be listed."""
        if self.kind == "bool":
            return self.default, not self.default
        return self.choices

    def _within(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    @property
    def _expected(self) -> str:
        if self.kind in ("bool", "choice"):
            return " or ".join(map(repr, self.values))
        if self.kind == "int":
            return f"a whole number from {self.least:g} {f'to {self.most:g}' if self.most is not None else 'up'}"
        return {"float": f"a number above {self.least}", "text": "a text", "names": "a list of names"}[self.kind]


def opset_option(lowest: int, highest: int) -> Option:
    """Which version of the default operator set a converter writes."""
    return Option(
        "opset", "Opset", "Version of ONNX's operators; older engines need an older one.", "int",
        least=lowest, most=highest,
    )  # fmt: skip


BATCH = Option(
    "batch", "Batch dimension", "Rows in every call; some devices want a fixed number.", "int",
    least=1, unset="any number of rows",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FileFormat:
    """All that the workbench knows of one format.

    Attributes:
        name: as `Format.name`.
        extensions: it goes by; a file whose extension belongs to other formats only gets a warning.
        holds: what it holds, where that is no model.
        kind: gives the `Verdict` on a `Format`; or (kind, sentence), the same for all of them.
        engine: that of the framework which wrote it; over_time: it holds spiking networks, run by their kind's engine.
        apart: a C library parses it, which damaged files were seen to crash, or to keep busy for ever.
        stands_for: writes the ONNX file that it stands for into a folder: (its path, a folder) -> the file's path. In a
            worker process, since it parses or unpacks.
        draft: makes the `workbench.convert.draft.Draft` of a file, in the worker; convert: converts it on the caller's
            side instead.
        options: what the converter lets a person choose.
        advice: what to do, where it cannot be converted here.
        scan: finds out what opening it would do (`workbench.safety`); of other formats, opening runs nothing.
        reader: how Netron reads it.
        inside: where the model is in a folder of this format.
        suffix: of the file that its loader opens, where that goes by the name.
    """

    name: str
    extensions: tuple[str, ...] = ()
    holds: str = ""
    kind: Where | tuple[str, str] = ""
    engine: str | None = None
    over_time: bool = False
    apart: bool = False
    stands_for: Where = ""
    draft: Where = ""
    convert: Where = ""
    options: tuple[Option, ...] = ()
    advice: str = ""
    scan: Where = ""
    reader: Reader | None = None
    inside: tuple[str, ...] = ()
    suffix: str = ""

    @property
    def converts(self) -> bool:
        return bool(self.draft or self.convert)

    @property
    def native(self) -> bool:
        """An engine of the framework that wrote it runs it here."""
        return self.engine is not None or self.over_time


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """An engine: its name for `workbench.load_engine`, what a person calls it, and its class."""

    name: str
    title: str
    made_by: Where


@dataclass(frozen=True, slots=True)
class OverTime:
    """How networks that run over time are run.

    Attributes:
        engines: engine name -> its class for these.
        runs: whether the operators of an ONNX file (a `workbench.files.header.Header`) are such a network's.
        ours: whether a file is in the layout that `workbench.convert` writes, and reads back.
    """

    engines: dict[str, Where] = field(default_factory=dict)
    runs: Where = ""
    ours: Where = ""


@dataclass(frozen=True, slots=True)
class Objects:
    """Models in memory, told by their classes' modules, so that no framework is imported to look.

    Attributes:
        owns: whether an object is one.
        engine: the engine it comes from.
        over_time: it runs in every engine of `OverTime`.
        pack: packs it for a worker: (object, a folder, {name: custom object}) -> `workbench.engines.packing.Given`.
        draft, convert: as of `FileFormat`.
    """

    owns: Callable[[Any], bool]
    engine: Callable[[Any], str]
    over_time: bool = False
    pack: Where = ""
    draft: Where = ""
    convert: Where = ""


@dataclass(frozen=True, slots=True)
class Framework:
    """A room of `workbench.frameworks`; `tools` are distributions whose versions a certificate names."""

    formats: tuple[FileFormat, ...] = ()
    probes: tuple[Probe, ...] = ()
    engines: tuple[EngineRecord, ...] = ()
    objects: tuple[Objects, ...] = ()
    over_time: OverTime | None = None
    tools: tuple[str, ...] = ()


def classes(model: Any) -> set[tuple[str, str]]:
    """{(top package, name)} of an object's class and its bases."""
    return {(base.__module__.partition(".")[0], base.__name__) for base in type(model).__mro__}
