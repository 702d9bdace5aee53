"""The command line, ``workbench detect|graph|convert|lift|code|compare|report|audit|tables|lab``: the functions' verbs.

Exit codes: 0 done, 1 the job failed (one line on stderr), 2 wrong usage, 3 refused for safety; of ``audit`` see there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import numpy as np

from .compare.options import Options
from .errors import BadInput, WorkbenchError
from .publish import sparing
from .words import no_formula, visible

if TYPE_CHECKING:
    from .graph import GraphView
    from .graph.facts import Facts

MOST_LINES = 10
"""Of one sort, about one file."""

LONGEST_LINE = 2000

ROUNDS_APART = 10
"""Seconds between two lines about the rounds of a race, where lines stay."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and getattr(arguments, "run", None) is not _lab:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    arguments.rest = rest
    if not hasattr(arguments, "run"):
        parser.print_help(sys.stderr)
        return 2
    try:
        with sparing(_inputs(arguments)):
            return int(arguments.run(arguments))
    except WorkbenchError as error:
        _say(f"workbench: {error}", sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # `| head` closed the pipe; nothing is left to say
        return 0
    except KeyboardInterrupt:
        _say("workbench: interrupted", sys.stderr)
        return 1
    except Exception:
        # A fault of ours. Python would print it as well, and what a file holds with it.
        _say_all(traceback.format_exc(), sys.stderr)
        return 1


def _inputs(arguments: argparse.Namespace) -> Iterator[str]:
    """What a command was given, but for where its result goes."""
    for name, value in vars(arguments).items():
        if name not in ("output", "sarif", "sbom", "csv", "html", "results"):
            yield from (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str))


def _say(line: object, stream: TextIO | None = None, *, before: str = "", end: str = "\n") -> None:
    """One line for a person: the way out for all words, which quote files, names and paths of anyone's.

    A terminal would obey escape sequences in them, and a stream may have no letters for others.

    Args:
        stream: standard output if None.
        before: what is not from anyone, such as a sequence that erases the line.
    """
    stream = stream or sys.stdout
    shown, encoding = visible(line, LONGEST_LINE, ""), stream.encoding or "utf-8"
    print(before + shown.encode(encoding, "backslashreplace").decode(encoding), end=end, file=stream, flush=True)


def _say_some(lines: Iterable[str], start: str, stream: TextIO | None = None) -> None:
    """The first lines of many."""
    all_of_them = list(lines)
    for line in all_of_them[:MOST_LINES]:
        _say(start + line, stream)
    if (more := len(all_of_them) - MOST_LINES) > 0:
        _say(f"{start}and {more:,} more; --json names all of them", stream)


def _say_all(text: object, stream: TextIO | None = None) -> None:
    for line in str(text).split("\n"):
        _say(line, stream)


def _say_json(result: Any) -> None:
    print(json.dumps(result), flush=True)  # nothing but ASCII


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(visible(message))


Run = Callable[[argparse.Namespace], int]
Argument = tuple[tuple[str, ...], dict[str, Any]]

_COMMANDS: dict[str, tuple[Run, dict[str, Any], tuple[Argument, ...]]] = {}
"""Name -> what runs it, what argparse is told of it, its arguments."""


def _command(name: str, says: str, description: str, *arguments: Argument, **more: Any) -> Callable[[Run], Run]:
    """Make a function a command of this name."""

    def take(run: Run) -> Run:
        _COMMANDS[name] = run, {"help": says, "description": description, **more}, arguments
        return run

    return take


def _argument(*flags: str, **told: Any) -> Argument:
    """As `argparse.ArgumentParser.add_argument` takes it; without a metavar or a number a flag is true or false."""
    if flags[0].startswith("-") and not {"metavar", "type", "nargs"} & {*told}:
        told["action"] = "store_true"
    return flags, told


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="workbench",
        description="What a model file is, what its graph looks like, and what it answers.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, (run, told, arguments) in _COMMANDS.items():
        command = commands.add_parser(name, **told)
        for flags, more in arguments:
            command.add_argument(*flags, **more)
        command.set_defaults(run=run)
    return parser


def _number(text: str) -> float:
    """A number, or a fraction such as 1/255."""
    from fractions import Fraction

    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f"takes a number such as 0.5 or 1/255, but was given {text!r}") from error


def _option(text: str) -> tuple[str, Any]:
    """``key=value``; numbers, true, false and null as JSON has them, anything else as text."""
    import inspect

    from .convert import convert

    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"takes KEY=VALUE, but was given {text!r}")
    if key in inspect.signature(convert).parameters:
        raise argparse.ArgumentTypeError(f"is for the converter's own options, and {key} is not one")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _one_of(*words: str) -> Callable[[str], str]:
    """What takes one of these words."""

    def take(text: str) -> str:
        if text not in words:
            known = f"{', '.join(words[:-1])} or {words[-1]}"
            raise argparse.ArgumentTypeError(f"takes {known}, but was given {text!r}")
        return text

    return take


def _axis(text: str) -> tuple[str, int]:
    name, equals, size = text.rpartition("=")
    if not equals or not name or not size.isdecimal():
        raise argparse.ArgumentTypeError(f"takes NAME=SIZE such as height=224, but was given {text!r}")
    return name, int(size)


def _options() -> Iterator[Argument]:
    """The arguments of ``compare`` that stand in its table of options."""
    for each in fields(Options):
        if told := dict(each.metadata.get("command", {})):
            told |= {"type": _number} if told.get("type") is float else {}
            flag = "memory" if each.name == "memory_mib" else each.name.replace("_", "-")
            yield _argument(f"--{flag}", dest=each.name, default=each.default, **told)


_TRUST = _argument("--trust", help="open formats that can run code from the file")
_CUSTOM = _argument(
    "--custom-objects", metavar="FILE.py",
    help="Python file that defines a Keras model's own layers; it is run, so only with --trust",
)  # fmt: skip
_JSON = _argument("--json", help="print the result as one JSON object")
_WRITTEN = _argument("--json", help="print what was written as one JSON object")
_PAGE = _argument("--force", help="overwrite the page if it exists")


def _custom_objects(arguments: argparse.Namespace) -> dict[str, Any] | None:
    from .safety.trust import objects_in

    file = arguments.custom_objects
    return None if file is None else objects_in(Path(file), arguments.trust)


@_command(
    "detect",
    "format and kind of model files, with the evidence",
    "Tell each file's format and, for a model, its kind (ML, DL, SNN) with the evidence. Reads headers only and runs "
    "nothing from the file.",
    _argument("files", nargs="+", metavar="FILE"),
    _argument("--json", help="one JSON object per file and line"),
)
def _detect(arguments: argparse.Namespace) -> int:
    from .kind import detect

    failed = 0
    for path in arguments.files:
        try:
            detection = detect(path)
        except Exception as error:  # the other files are still answered, whatever a reader makes of this one
            damage = f"{path} could not be read to its end, as happens with damaged files ({type(error).__name__})."
            _say(f"workbench: {error if isinstance(error, WorkbenchError) else damage}", sys.stderr)
            failed = 1
            continue
        if arguments.json:
            _say_json(detection.to_dict())
            continue
        what = f"{detection.format} ({detection.format_detail})" if detection.format_detail else detection.format
        _say(f"{detection.path}: {detection.kind or 'not a model'}, {what}")
        _say_some((f"{finding.level}: {finding.says} {finding.advice}" for finding in detection.findings), "  ")
        _say(f"  {detection.because}")
        _say_some(
            (f"{one.signal} {one.value}{f' × {one.count}' if one.count > 1 else ''}" for one in detection.deciding),
            "  decides: ",
        )
        if detection.components is not None:
            _say(f"  paper's rule: {detection.paper_rule.kind or 'no answer'} ({detection.paper_rule.because})")
        _say_some(detection.remarks, "  note: ")
    return failed


@_command(
    "graph",
    "the graph of a model as one offline HTML page",
    "Write Netron's view of a model as one self-contained HTML page: no server, no network.",
    _argument("file", metavar="FILE"),
    _argument("-o", "--output", metavar="PAGE", help="where to write (default: FILE with .html added)"),
    _argument(
        "--facts", type=_one_of("csv", "json"), metavar="csv|json",
        help="print shapes, parameters and multiply-accumulates of each node of an ONNX file; a page only with -o",
    ),
    _argument("--around", metavar="NODE", help="only the nodes around one, by its name: for graphs too large to draw"),
    _argument("--time", help="also run an ONNX file and say how long each node takes in ONNX Runtime"),
    _argument(
        "--watch", help="also run an ONNX file once: shapes where inference ends, and the spikes of a spiking network"
    ),
    _argument(
        "--error", metavar="MODEL",
        help="as --watch, and how far each node is from what is right: the layers of this native model (Keras), or the "
        "values of the same names of this ONNX file",
    ),
    _argument("--inputs", metavar="ROWS", help="the rows for --time, --watch and --error, as compare takes them"),
    _argument(
        "--axis", action="append", default=[], type=_axis, metavar="NAME=SIZE",
        help="for --facts, the size of an axis that the model leaves open; repeatable (default: 1 for the first)",
    ),
    _TRUST,
    _PAGE,
    _WRITTEN,
)  # fmt: skip
def _graph(arguments: argparse.Namespace) -> int:
    from .graph import graph

    view = graph(arguments.file, around=arguments.around)
    if arguments.facts is not None or arguments.time or arguments.watch or arguments.error or arguments.inputs:
        facts = _facts(arguments, view)
        if arguments.facts == "json":
            _say_json(facts.to_dict())
        elif arguments.facts == "csv":
            _say_all(
                facts.frame.map(lambda cell: no_formula(visible(cell)) if isinstance(cell, str) else cell)
                .to_csv(index=False)
                .rstrip("\n")
            )
        if arguments.facts is not None and arguments.output is None:
            return 0
        view = view.with_costs(facts)
    page = view.save(arguments.output or f"{arguments.file}.html", overwrite=arguments.force)
    if arguments.json:
        _say_json({**view.to_dict(), "output": str(page)})
    else:
        _say(page)
    return 0


def _facts(arguments: argparse.Namespace, view: GraphView) -> Facts:
    """What ``graph`` is asked to say of each node; what the model was asked goes to stderr."""
    from .costs import timed, watched

    axes, inputs, facts = dict(arguments.axis), None, None
    if arguments.watch or arguments.error or arguments.inputs:
        if axes:
            raise BadInput(
                "--axis is for counting without a run; the rows of --watch, --error and --inputs have a size."
            )
        facts, seen = watched(arguments.file, arguments.inputs, against=arguments.error, trust=arguments.trust)
        inputs = seen.inputs
        _say_some(seen.says, "run: ", sys.stderr)
    if arguments.time:
        measured = timed(arguments.file, inputs, facts=facts, **axes)
        facts = measured.facts
        _say(measured.says, sys.stderr)
        _say_some(measured.asked, "asked: ", sys.stderr)
    return facts or view.costs(**axes)


@_command(
    "convert",
    "a scikit-learn, Keras, TensorFlow or NIR model as ONNX, checked numerically",
    "Convert a model file to ONNX and hold both sides against each other on the same samples. Nothing is written if "
    "they disagree.",
    _argument("file", metavar="FILE", help="a model file or SavedModel folder"),
    _argument("-o", "--output", metavar="OUT", help="where to write (default: beside FILE, as .onnx)"),
    _argument("--opset", type=int, metavar="N", help="version of ONNX's default operator set"),
    _argument(
        "--sample",
        metavar="DATA",
        help="rows to ask both sides: .csv, .parquet, .npy, .npz, .png, .jpg, or a folder of pictures",
    ),
    _argument(
        "--option",
        action="append",
        default=[],
        type=_option,
        metavar="KEY=VALUE",
        help="an option of the converter; repeatable. All but NIR: batch=8; scikit-learn: zipmap=true, cdist=false, "
        "dtype=float64; TFLite: dequantize=true; "
        'SavedModel: signature=NAME; frozen .pb: inputs=["NAME"], outputs=["NAME"]; '
        'NIR: framework=snntorch, dt=0.001, method=exact, reset="subtract late"',
    ),
    _argument("--timeout", type=float, metavar="SECONDS", default=900, help="give up after (default: 900)"),
    _argument("--memory", type=float, metavar="MIB", help="memory limit (default: by the file's size)"),
    _TRUST,
    _CUSTOM,
    _argument("--force", help="overwrite the output if it exists"),
    _JSON,
)
def _convert(arguments: argparse.Namespace) -> int:
    from .convert import convert

    with _progress() as say:
        return _converted(
            arguments,
            lambda: convert(
                arguments.file,
                arguments.output,
                sample=None if arguments.sample is None else _rows(arguments.sample),
                opset=arguments.opset,
                trust=arguments.trust,
                overwrite=arguments.force,
                timeout=arguments.timeout,
                memory_mib=arguments.memory,
                custom_objects=_custom_objects(arguments),
                progress=say,
                **dict(arguments.option),
            ),
        )


def _converted(arguments: argparse.Namespace, convert: Callable[[], Any]) -> int:
    """What a conversion came to, said."""
    from .convert import ConversionDisagrees

    failure: ConversionDisagrees | None = None
    try:
        conversion = convert()
    except ConversionDisagrees as error:
        failure, conversion = error, error.conversion
    if arguments.json:
        _say_json(conversion.to_dict())
    elif failure is None:
        converter = " ".join(conversion.converter[part] for part in ("name", "version"))
        _say(f"{conversion.output}: {conversion.kind}, by {converter}")
        _say(f"  {conversion.agreement.says}")
        _say_some(conversion.agreement.asked, "  asked: ")
        _say_some(conversion.warnings, "  note: ")
    if failure is not None:
        raise failure
    return 0


@_command(
    "lift",
    "a spiking network that another framework exported as plain ONNX, with real neurons",
    "Find the neurons in an ONNX file in which snnTorch, SpikingJelly, Norse, spyx or other code wrote them as plain "
    "arithmetic (steps written out, a Loop or Scan, or a single step), and write an ONNX file that Nengo, NIR and the "
    "spiking engines take. Both are asked the same; nothing is written if they disagree.",
    _argument("file", metavar="FILE", help="an .onnx file"),
    _argument("-o", "--output", metavar="OUT", help="where to write (default: beside FILE, as FILE_lifted.onnx)"),
    _argument(
        "--state", dest="states", action="append", metavar="INPUT=OUTPUT",
        help="of a single step: an input, and the output that it is given in the next step; repeatable",
    ),
    _argument("--time-axis", type=int, metavar="N", help="which axis of the input is time, 0 or 1"),
    _argument("--dt", type=float, default=0.001, metavar="SECONDS", help="per step, for Nengo (default: 0.001)"),
    _argument("--sample", metavar="DATA", help="a time series (batch, steps, n) to ask, as .npy or .npz"),
    _argument("--force", help="overwrite the output if it exists"),
    _JSON,
)  # fmt: skip
def _lift(arguments: argparse.Namespace) -> int:
    from .frameworks.spiking.lift import lift

    pairs = [pair.partition("=") for pair in arguments.states or ()]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise BadInput(f"--state takes INPUT=OUTPUT, but was given {wrong[0]!r}.")
    with _progress() as say:
        return _converted(
            arguments,
            lambda: lift(
                arguments.file,
                arguments.output,
                states={name: output for name, _, output in pairs} or None,
                time_axis=arguments.time_axis,
                dt=arguments.dt,
                sample=None if arguments.sample is None else _rows(arguments.sample),
                overwrite=arguments.force,
                progress=say,
            ),
        )


@_command(
    "code",
    "a spiking network as a Python script for Nengo",
    "Write a Python script that builds the spiking network in a file with Nengo and runs it, with an .npz of its "
    "arrays beside it. It needs Nengo and NumPy, not the workbench; nothing of the model's text becomes code in it.",
    _argument("file", metavar="FILE", help="an .onnx or .nir file that holds a spiking network"),
    _argument("-o", "--output", metavar="SCRIPT.py", help="where to write (default: beside FILE, as FILE_nengo.py)"),
    _argument("--params", metavar="NPZ", help="NengoDL's parameters, for files of the paper's authors"),
    _argument(
        "--option",
        action="append",
        default=[],
        type=_option,
        metavar="KEY=VALUE",
        help="what a .nir file does not tell; repeatable: framework=snntorch, dt=0.001, method=exact",
    ),
    _argument("--force", help="overwrite the script and its .npz if they exist"),
    _WRITTEN,
)
def _code(arguments: argparse.Namespace) -> int:
    from .frameworks.spiking.to_code import to_code

    options = dict(arguments.option)
    script = to_code(arguments.file, arguments.output, arguments.params, overwrite=arguments.force, **options)
    if arguments.json:
        _say_json({"path": arguments.file, "output": str(script), "arrays": str(script.with_suffix(".npz"))})
    else:
        _say(script)
    return 0


@_command(
    "compare",
    "a model and its ONNX form side by side: the same answers? how fast?",
    "Ask a model and its ONNX form the same rows, each in a process of its own, and time them in turns: workbench "
    "compare model.keras model.onnx --inputs rows.csv. Says whether they give the same answers, within the rounding of "
    "their numbers, and how many times as fast ONNX is. The exit code is 0 whether they agree or not; with --json, "
    "agreement.within_tolerance says it.",
    _argument("native", metavar="NATIVE", help="the model as it was made: a file or SavedModel folder"),
    _argument("onnx", metavar="ONNX", help="the same model as an ONNX file"),
    _argument("data", nargs="?", metavar="DATA", help="rows to ask, see --inputs"),
    _argument(
        "--inputs",
        metavar="DATA",
        help="rows to ask: .csv, .parquet, .npy, .npz, .png, .jpg, a folder of pictures; or the word paper for the "
        "paper's data, random for made-up ones (default: the paper's data where it fits, else random)",
    ),
    _argument(
        "--targets",
        metavar="FILE|COLUMN",
        help="right answers: a file of their own (.npy, .csv), or the column or array of DATA that holds them",
    ),
    *_options(),
    _CUSTOM,
    _JSON,
)
def _compare(arguments: argparse.Namespace) -> int:
    from . import compare
    from .files.formats import identify
    from .files.registry import of

    format = identify(arguments.onnx).name
    if format != "ONNX" and not of(format).stands_for and of(format).engine != "onnxruntime":
        raise BadInput(
            f"{arguments.onnx} is {format}, not ONNX: name the model as it was made first, and its ONNX form second."
        )
    asked = _asked(arguments)
    with _progress() as say:
        result = compare(
            arguments.native,
            arguments.onnx,
            **asked,
            progress=say,
            custom_objects=_custom_objects(arguments),
            **{each.name: getattr(arguments, each.name) for each in fields(Options) if "command" in each.metadata},
        )
    if arguments.json:
        _say_json(result.to_dict())
    else:
        _say_all(result)
    return 0


@_command(
    "diff",
    "what changed from one ONNX file to another",
    "Pair the nodes of two ONNX files and say what was added, removed and changed, and how far the weights are apart. "
    "Nothing in them is run. The exit code is 0 whether they differ or not.",
    _argument("first", metavar="FIRST", help="an ONNX file"),
    _argument("second", metavar="SECOND", help="what became of it: another ONNX file"),
    _argument(
        "-o", "--output", metavar="PAGE", help="write both graphs, with the nodes marked, as one offline HTML page"
    ),
    _argument("--memory", type=float, metavar="MIB", help="memory limit (default: by the files' sizes)"),
    _PAGE,
    _JSON,
)
def _diff(arguments: argparse.Namespace) -> int:
    from . import diff

    found = diff(arguments.first, arguments.second, memory_mib=arguments.memory)
    page = None if arguments.output is None else found.save(arguments.output, overwrite=arguments.force)
    if arguments.json:
        _say_json(found.to_dict() if page is None else {**found.to_dict(), "output": str(page)})
        return 0
    _say(found.says)
    _say_some(found.model, "  ")
    for status, nodes in found.parts:
        _say_some(
            (f"{node.op_type} {node.name}{f': {node.what}' if node.what else ''}" for node in nodes), f"  {status}: "
        )
    if page is not None:
        _say(page)
    return 0


@_command(
    "report",
    "all about a model as one offline HTML page",
    "Write what can be found out about a model as one HTML page, which any browser opens without a network: kind, "
    "graph, answers to real rows, files and versions; with --native, both sides compared.",
    _argument("onnx", metavar="FILE", help="a model file; an ONNX file where --native is given"),
    _argument("-o", "--output", metavar="PAGE", help="where to write (default: FILE.report.html)"),
    _argument("--native", metavar="NATIVE", help="the model as it was made, to compare with"),
    _argument(
        "--data", "--inputs", dest="inputs", metavar="DATA", help="rows for the comparison, as for compare --inputs"
    ),
    _argument("--targets", metavar="FILE|COLUMN", help="right answers, as for compare"),
    _argument("--paths", help="say in which folders of this machine the files are (default: their names alone)"),
    _argument(
        "--live", help="put the model into the page, where it answers: rows, drawn digits, files of the reader's"
    ),
    _argument("--memory", type=float, metavar="MIB", help="for each process (default: by the model's size)"),
    _TRUST,
    _CUSTOM,
    _PAGE,
    _WRITTEN,
)
def _report(arguments: argparse.Namespace) -> int:
    from .show.report import report

    asked = _asked(arguments)
    if (own := _custom_objects(arguments)) is not None:
        asked["custom_objects"] = own
    with _progress() as say:
        page = report(
            arguments.onnx,
            arguments.output,
            native=arguments.native,
            **asked,
            paths=arguments.paths,
            live=arguments.live,
            memory_mib=arguments.memory,
            trust=arguments.trust,
            overwrite=arguments.force,
            progress=say,
        )
    if arguments.json:
        _say_json({"path": arguments.onnx, "output": str(page), "size_bytes": page.stat().st_size})
    else:
        _say(page)
    return 0


@_command(
    "tables",
    "the paper's Tables 1, 3, 4 and 5, run again on this machine",
    "Run the paper's tables again, print them beside the paper's figures, and write them as JSON, CSV and SVG plots.",
    _argument("--quick", help="shorter races, fewer digits: three minutes on two cores"),
    _argument("--only", type=int, nargs="+", choices=(1, 3, 4, 5), metavar="N", help="tables wanted: 1, 3, 4, 5"),
    _argument("--threads", type=int, metavar="N", help="on both sides (default: one per core)"),
    _argument(
        "-o",
        "--output",
        metavar="FOLDER",
        default="workbench-tables",
        help="where to write (default: workbench-tables)",
    ),
    _argument("--force", help="overwrite earlier tables there"),
    _JSON,
)
def _tables(arguments: argparse.Namespace) -> int:
    from .paper.tables import prepare_folder, tables

    # Now, not after minutes of measuring.
    prepare_folder(arguments.output, arguments.force)
    only = tuple(f"table{number}" for number in arguments.only or (1, 3, 4, 5))
    with _progress() as say:
        result = tables(quick=arguments.quick, only=only, threads=arguments.threads, progress=say)
    written = result.save(arguments.output, overwrite=True)
    if arguments.json:
        _say_json(result.to_dict())
    else:
        _say_all(f"{result}\n\n{_listed(written)}")
    return 0


@_command(
    "audit",
    "a folder of model files, one verdict each",
    "Look at every model file there is, by its header: format, kind, producer, operators, what opening it would do, "
    "and what to mind about it. Runs nothing from a file. Exit codes: 0 nothing found at --fail-on or above, 1 "
    "something was, 2 wrong usage or it could not run.",
    _argument("paths", nargs="+", metavar="PATH", help="files, folders, URLs, or patterns as 'models/**/*.onnx'"),
    _argument("--json", help="one JSON object per file and line, and one of the summary"),
    *(
        _argument(f"--{kind}", metavar="FILE", help=f"write {what}")
        for kind, what in (
            ("sarif", "SARIF 2.1.0"),
            ("sbom", "a bill of materials, CycloneDX 1.6 (FILE ends in .cdx.json)"),
            ("csv", "a table"),
            ("html", "one offline page"),
        )
    ),
    _argument("--policy", metavar="FILE", help="what is allowed, a TOML file"),
    _argument("--results", metavar="FILE", help="keep rows in FILE as they come, and go on from those in it"),
    _argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster that reads the files, as tcp://host:8786"),
    _argument("--sha256", help="of every file, which reads all of it"),
    _argument(
        "--fail-on",
        default="error",
        type=_one_of("note", "warning", "error"),
        metavar="LEVEL",
        help="note, warning or error (default)",
    ),
    _argument("--force", help="overwrite files that exist"),
)
def _audit(arguments: argparse.Namespace) -> int:
    from .audit import audit
    from .audit.exports import lines
    from .errors import LEVELS

    try:
        with _progress() as say:
            result = audit(
                arguments.paths, policy=arguments.policy, sha256=arguments.sha256, results=arguments.results,
                scheduler=arguments.scheduler, progress=say,
            )  # fmt: skip
        for kind, ending in (("sarif", ".sarif"), ("sbom", ".cdx.json"), ("csv", ".csv"), ("html", ".html")):
            if (target := getattr(arguments, kind)) is not None:
                if not target.lower().endswith(ending):
                    raise BadInput(f"--{kind} writes a file whose name ends in {ending}, and {target} does not.")
                result.save(target, overwrite=arguments.force)
    except WorkbenchError as error:
        _say(f"workbench: {error}", sys.stderr)
        return 2
    if arguments.json:
        for line in lines(result):
            _say_json(line)
    else:
        _say(result.says)
        _say_some((f"{finding.level}: {path}: {finding.says}" for path, finding in result.findings), "  ")
    worst = result.worst
    return int(worst is not None and LEVELS.index(worst) >= LEVELS.index(arguments.fail_on))


@_command(
    "export",
    "notebooks as offline HTML pages, their graphs alive",
    "Write each notebook as one HTML page that needs neither Jupyter nor network.",
    _argument("notebooks", nargs="+", metavar="NOTEBOOK"),
    _argument("-o", "--output", metavar="FOLDER", help="where to write (default: beside each notebook)"),
    _argument("--execute", help="run all cells first, in a clean kernel; a notebook runs code: trust it"),
    _argument("--force", help="overwrite pages that exist"),
    _argument("--json", help="one JSON object per notebook and line"),
)
def _export(arguments: argparse.Namespace) -> int:
    from .publish import make_folder
    from .show.export import export

    failed = 0
    for notebook in map(Path, arguments.notebooks):
        target = notebook.with_suffix(".html")
        if arguments.output is not None:
            target = Path(arguments.output) / target.name
        try:
            make_folder(target.parent)
            with _progress() as say:
                page = export(notebook, target, execute=arguments.execute, overwrite=arguments.force, progress=say)
        except WorkbenchError as error:
            _say(f"workbench: {error}", sys.stderr)
            failed = 1
            continue
        if arguments.json:
            _say_json({"notebook": str(notebook), **page.to_dict()})
        else:
            _say(page)
    return failed


def _listed(files: Sequence[Path]) -> str:
    return f"Written to {files[0].parent}: {', '.join(file.name for file in files)}"


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Stages on stderr: on a terminal in one line, which the next one replaces; elsewhere a line each, and of the many
    rounds of a race one in `ROUNDS_APART` seconds. Whole sentences are results, and stay."""
    erase = "\r\x1b[K" if sys.stderr.isatty() else ""
    shown = time.monotonic()

    def say(stage: str) -> None:
        nonlocal shown
        if stage.endswith("."):
            _say(stage, sys.stderr, before=erase)
        elif erase:
            width = shutil.get_terminal_size().columns
            _say(f"{visible(stage, keep='')[: width - 3]} …", sys.stderr, before=erase, end="")
        elif "Round " not in stage or time.monotonic() > shown + ROUNDS_APART:
            _say(f"{stage} …", sys.stderr)
            shown = time.monotonic()

    try:
        yield say
    finally:
        _say("", sys.stderr, before=erase, end="")


def _asked(arguments: argparse.Namespace) -> dict[str, Any]:
    """Rows and right answers for `workbench.compare`, as far as they were given."""
    beside = getattr(arguments, "data", None)
    data = arguments.inputs or beside
    if arguments.inputs and beside:
        raise BadInput("Two files of rows were given, DATA and --inputs; give one.")
    if arguments.targets is None:
        return {"inputs": data} if data else {}
    if not data:
        raise BadInput("Right answers (--targets) need the rows they belong to: give --inputs.")
    if not Path(arguments.targets).is_file():
        return {"inputs": data, "target": arguments.targets}
    from .rows import read

    inputs = read(arguments.targets).inputs
    parts = inputs.values() if isinstance(inputs, dict) else [inputs]
    return {"inputs": data, "targets": np.concatenate([np.asarray(part).reshape(-1) for part in parts])}


def _rows(path: str) -> object:
    """Sample rows of a file; a table keeps its columns' names, which a model may know its inputs by."""
    from .rows import read

    rows = read(path)
    for note in rows.notes:
        _say(f"{path}: {note}", sys.stderr)
    return rows.inputs if rows.frame is None else rows.frame


@_command(
    "lab",
    "open JupyterLab on the workbench",
    "Open JupyterLab on the workbench; further options go to JupyterLab.",
    usage="workbench lab [-h] [JUPYTERLAB OPTION ...]",
)
def _lab(arguments: argparse.Namespace) -> int:
    from jupyterlab.labapp import main as lab

    from .sources import make_sample

    root = Path(__file__).resolve().parent.parent
    opened: list[str] = []
    # On a first model beside the notebooks, and served from above them, so that models elsewhere in the project can be
    # opened. An installed package has no notebooks beside it: then JupyterLab opens where the person stands.
    if (root / "notebooks" / "00_workbench.ipynb").is_file():
        sample = make_sample("iris-random-forest", root / "notebooks" / "models").relative_to(root).as_posix()
        opened = [f"--LabApp.default_url=/lab/tree/{sample}", f"--ServerApp.root_dir={root}"]
    lab([*opened, *arguments.rest])
    return 0


if __name__ == "__main__":
    sys.exit(main())
