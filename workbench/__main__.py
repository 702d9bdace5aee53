"""The command line: ``workbench detect|graph|convert|compare|report|tables|lab``, the same verbs as the functions.

Exit codes: 0 done, 1 the job failed (one line on stderr), 2 wrong usage, 3 refused for safety.
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
from pathlib import Path
from typing import Any, NoReturn, TextIO

from .errors import BadInput, WorkbenchError
from .publish import sparing
from .words import visible

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
        if name != "output":
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


def _say_some(lines: Iterable[str], start: str) -> None:
    """The first lines of many."""
    all_of_them = list(lines)
    for line in all_of_them[:MOST_LINES]:
        _say(start + line)
    if (more := len(all_of_them) - MOST_LINES) > 0:
        _say(f"{start}and {more:,} more; --json names all of them")


def _say_all(text: object, stream: TextIO | None = None) -> None:
    for line in str(text).split("\n"):
        _say(line, stream)


def _say_json(found: Any) -> None:
    print(json.dumps(found), flush=True)  # nothing but ASCII


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(visible(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="workbench",
        description="What a model file is, what its graph looks like, and what it answers.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    detect = commands.add_parser(
        "detect",
        help="format and kind of model files, with the evidence",
        description="Tell each file's format and, for a model, its kind (ML, DL, SNN) with the evidence. Reads "
        "headers only and runs nothing from the file.",
    )
    detect.add_argument("files", nargs="+", metavar="FILE")
    detect.add_argument("--json", action="store_true", help="one JSON object per file and line")
    detect.set_defaults(run=_detect)

    graph = commands.add_parser(
        "graph",
        help="the graph of a model as one offline HTML page",
        description="Write Netron's view of a model as one self-contained HTML page: no server, no network.",
    )
    graph.add_argument("file", metavar="FILE")
    graph.add_argument("-o", "--output", metavar="PAGE", help="where to write (default: FILE with .html added)")
    graph.add_argument("--force", action="store_true", help="overwrite the page if it exists")
    graph.add_argument("--json", action="store_true", help="print what was written as one JSON object")
    graph.set_defaults(run=_graph)

    convert = commands.add_parser(
        "convert",
        help="a scikit-learn, Keras, TensorFlow or NIR model as ONNX, checked numerically",
        description="Convert a model file to ONNX and hold both sides against each other on the same samples. Nothing "
        "is written if they disagree.",
    )
    convert.add_argument("file", metavar="FILE", help="a model file or SavedModel folder")
    convert.add_argument("-o", "--output", metavar="OUT", help="where to write (default: beside FILE, as .onnx)")
    convert.add_argument("--opset", type=int, metavar="N", help="version of ONNX's default operator set")
    convert.add_argument(
        "--sample",
        metavar="DATA",
        help="rows to ask both sides: .csv, .parquet, .npy, .npz, .png, .jpg, or a folder of pictures",
    )
    convert.add_argument(
        "--option",
        action="append",
        default=[],
        type=_option,
        metavar="KEY=VALUE",
        help="an option of the converter; repeatable. All but NIR: batch=8; scikit-learn: zipmap=true, cdist=false, "
        "dtype=float64; TFLite: dequantize=true; "
        'SavedModel: signature=NAME; frozen .pb: inputs=["NAME"], outputs=["NAME"]; '
        'NIR: dt=0.001, method=exact, reset="subtract late"',
    )
    convert.add_argument("--timeout", type=float, metavar="SECONDS", default=900, help="give up after (default: 900)")
    convert.add_argument("--memory", type=float, metavar="MIB", help="memory limit (default: by the file's size)")
    convert.add_argument("--trust", action="store_true", help="open formats that can run code from the file")
    convert.add_argument("--force", action="store_true", help="overwrite the output if it exists")
    convert.add_argument("--json", action="store_true", help="print the result as one JSON object")
    convert.set_defaults(run=_convert)

    compare = commands.add_parser(
        "compare",
        help="a model and its ONNX form side by side: the same answers? how fast?",
        description="Ask a model and its ONNX form the same rows, each in a process of its own, and time them in "
        "turns: workbench compare model.keras model.onnx --inputs rows.csv. Says whether they give the same answers, "
        "within the rounding of their numbers, and how many times as fast ONNX is. The exit code is 0 whether they "
        "agree or not; with --json, agreement.within_tolerance says it.",
    )
    compare.add_argument("native", metavar="NATIVE", help="the model as it was made: a file or SavedModel folder")
    compare.add_argument("onnx", metavar="ONNX", help="the same model as an ONNX file")
    compare.add_argument("data", nargs="?", metavar="DATA", help="rows to ask, see --inputs")
    compare.add_argument(
        "--inputs",
        metavar="DATA",
        help="rows to ask: .csv, .parquet, .npy, .npz, .png, .jpg, a folder of pictures; or the word paper for the "
        "paper's data, random for random numbers (default: the paper's data where it fits, else random)",
    )
    compare.add_argument(
        "--targets",
        metavar="FILE|COLUMN",
        help="right answers: a file of their own (.npy, .csv), or the column or array of DATA that holds them",
    )
    compare.add_argument("--scale", type=_number, metavar="FACTOR", help="multiply all numbers, such as 1/255")
    compare.add_argument("--rows", type=int, metavar="N", help="rows to ask at most (default: all of a file, else 50)")
    compare.add_argument("--batch", type=int, metavar="N", help="rows in a timed call (default: as suits the model)")
    compare.add_argument("--layers", action="store_true", help="name the first layer that differs (Keras models)")
    compare.add_argument("--one-row", action="store_true", help="time single rows too")
    compare.add_argument(
        "--repeat",
        type=int,
        metavar="ROUNDS",
        help="rounds of the race at most, in each of which both sides take their turn",
    )
    compare.add_argument("--seconds", type=float, default=10, help="for the race at most (default: 10)")
    compare.add_argument("--threads", type=int, metavar="N", help="on both sides (default: one per core)")
    compare.add_argument(
        "--engines",
        nargs=2,
        metavar=("NATIVE", "ONNX"),
        default=(None, None),
        help="which engines to use, such as nengo_dl and onnxruntime (default: by the kind of model)",
    )
    compare.add_argument("--trust", action="store_true", help="open formats that can run code from the file")
    compare.add_argument("--json", action="store_true", help="print the result as one JSON object")
    compare.set_defaults(run=_compare)

    report = commands.add_parser(
        "report",
        help="all about a model as one offline HTML page",
        description="Write what can be found out about a model as one HTML page, which any browser opens without a "
        "network: kind, graph, answers to real rows, files and versions; with --native, both sides compared.",
    )
    report.add_argument("onnx", metavar="FILE", help="a model file; an ONNX file where --native is given")
    report.add_argument("-o", "--output", metavar="PAGE", help="where to write (default: FILE.report.html)")
    report.add_argument("--native", metavar="NATIVE", help="the model as it was made, to compare with")
    report.add_argument(
        "--data", "--inputs", dest="inputs", metavar="DATA", help="rows for the comparison, as for compare --inputs"
    )
    report.add_argument("--targets", metavar="FILE|COLUMN", help="right answers, as for compare")
    report.add_argument("--trust", action="store_true", help="open formats that can run code from the file")
    report.add_argument("--force", action="store_true", help="overwrite the page if it exists")
    report.add_argument("--json", action="store_true", help="print what was written as one JSON object")
    report.set_defaults(run=_report, data=None)

    tables = commands.add_parser(
        "tables",
        help="the paper's Tables 1, 3, 4 and 5, run again on this machine",
        description="Run the paper's tables again, print them beside the paper's figures, and write them as JSON, CSV "
        "and SVG plots.",
    )
    tables.add_argument("--quick", action="store_true", help="shorter races, fewer digits: three minutes on two cores")
    tables.add_argument(
        "--only", type=int, nargs="+", choices=(1, 3, 4, 5), metavar="N", help="tables wanted: 1, 3, 4, 5"
    )
    tables.add_argument("--threads", type=int, metavar="N", help="on both sides (default: one per core)")
    tables.add_argument(
        "-o",
        "--output",
        metavar="FOLDER",
        default="workbench-tables",
        help="where to write (default: workbench-tables)",
    )
    tables.add_argument("--force", action="store_true", help="overwrite earlier tables there")
    tables.add_argument("--json", action="store_true", help="print the result as one JSON object")
    tables.set_defaults(run=_tables)

    export = commands.add_parser(
        "export",
        help="notebooks as offline HTML pages, their graphs alive",
        description="Write each notebook as one HTML page that needs neither Jupyter nor network.",
    )
    export.add_argument("notebooks", nargs="+", metavar="NOTEBOOK")
    export.add_argument("-o", "--output", metavar="FOLDER", help="where to write (default: beside each notebook)")
    export.add_argument(
        "--execute", action="store_true", help="run all cells first, in a clean kernel; a notebook runs code: trust it"
    )
    export.add_argument("--force", action="store_true", help="overwrite pages that exist")
    export.add_argument("--json", action="store_true", help="one JSON object per notebook and line")
    export.set_defaults(run=_export)

    lab = commands.add_parser(
        "lab",
        help="open JupyterLab on the workbench notebook",
        usage="workbench lab [-h] [JUPYTERLAB OPTION ...]",
        description="Open JupyterLab on notebooks/00_workbench.ipynb; further options go to JupyterLab.",
    )
    lab.set_defaults(run=_lab)
    return parser


def _detect(arguments: argparse.Namespace) -> int:
    from .kind import detect

    failed = 0
    for path in arguments.files:
        try:
            found = detect(path)
        except Exception as error:  # the other files are still answered, whatever a reader makes of this one
            damage = f"{path} could not be read to its end, as happens with damaged files ({type(error).__name__})."
            _say(f"workbench: {error if isinstance(error, WorkbenchError) else damage}", sys.stderr)
            failed = 1
            continue
        if arguments.json:
            _say_json(found.to_dict())
            continue
        what = f"{found.format} ({found.format_detail})" if found.format_detail else found.format
        _say(f"{found.path}: {found.kind or 'not a model'}, {what}")
        _say_some((f"{finding.level}: {finding.says} {finding.advice}" for finding in found.findings), "  ")
        _say(f"  {found.because}")
        _say_some(
            (f"{one.signal} {one.value}{f' × {one.count}' if one.count > 1 else ''}" for one in found.deciding),
            "  decides: ",
        )
        if found.components is not None:
            _say(f"  paper's rule: {found.paper_rule.kind or 'no answer'} ({found.paper_rule.because})")
        _say_some(found.remarks, "  note: ")
    return failed


def _graph(arguments: argparse.Namespace) -> int:
    from .graph import graph

    view = graph(arguments.file)
    page = view.save(arguments.output or f"{arguments.file}.html", overwrite=arguments.force)
    if arguments.json:
        _say_json({**view.to_dict(), "output": str(page)})
    else:
        _say(page)
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    from .convert import ConversionDisagrees, convert

    failure: ConversionDisagrees | None = None
    try:
        with _progress() as say:
            found = convert(
                arguments.file,
                arguments.output,
                sample=None if arguments.sample is None else _rows(arguments.sample),
                opset=arguments.opset,
                trust=arguments.trust,
                overwrite=arguments.force,
                timeout=arguments.timeout,
                memory_mib=arguments.memory,
                progress=say,
                **dict(arguments.option),
            )
    except ConversionDisagrees as error:
        failure, found = error, error.conversion
    if arguments.json:
        _say_json(found.to_dict())
    elif failure is None:
        _say(f"{found.output}: {found.kind}, by {found.converter['name']} {found.converter['version']}")
        _say(f"  {found.agreement.says}")
        _say_some(found.warnings, "  note: ")
    if failure is not None:
        raise failure
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from . import compare
    from .files.formats import identify

    if (found := identify(arguments.onnx).name) != "ONNX":
        raise BadInput(
            f"{arguments.onnx} is {found}, not ONNX: name the model as it was made first, and its ONNX form second."
        )
    asked = _asked(arguments)
    with _progress() as say:
        result = compare(
            arguments.native,
            arguments.onnx,
            **asked,
            scale=arguments.scale,
            rows=arguments.rows,
            batch=arguments.batch,
            repeat=arguments.repeat,
            progress=say,
            layers=arguments.layers,
            one_row=arguments.one_row,
            seconds=arguments.seconds,
            threads=arguments.threads,
            engines=tuple(arguments.engines),
            trust=arguments.trust,
        )
    if arguments.json:
        _say_json(result.to_dict())
    else:
        _say_all(result)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from .show.report import report

    asked = _asked(arguments)
    with _progress() as say:
        page = report(
            arguments.onnx,
            arguments.output,
            native=arguments.native,
            **asked,
            trust=arguments.trust,
            overwrite=arguments.force,
            progress=say,
        )
    if arguments.json:
        _say_json({"path": arguments.onnx, "output": str(page), "size_bytes": page.stat().st_size})
    else:
        _say(page)
    return 0


def _tables(arguments: argparse.Namespace) -> int:
    from .paper.tables import prepare_folder, tables

    # Now, not after minutes of measuring.
    prepare_folder(arguments.output, arguments.force)
    only = tuple(f"table{number}" for number in arguments.only or (1, 3, 4, 5))
    with _progress() as say:
        found = tables(quick=arguments.quick, only=only, threads=arguments.threads, progress=say)
    written = found.save(arguments.output, overwrite=True)
    if arguments.json:
        _say_json(found.to_dict())
    else:
        _say_all(f"{found}\n\n{_listed(written)}")
    return 0


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
                found = export(notebook, target, execute=arguments.execute, overwrite=arguments.force, progress=say)
        except WorkbenchError as error:
            _say(f"workbench: {error}", sys.stderr)
            failed = 1
            continue
        if arguments.json:
            _say_json({"notebook": str(notebook), **found.to_dict()})
        else:
            _say(found)
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
    data = arguments.inputs or arguments.data
    if arguments.inputs and arguments.data:
        raise BadInput("Two files of rows were given, DATA and --inputs; give one.")
    if arguments.targets is None:
        return {"inputs": data} if data else {}
    if not data:
        raise BadInput("Right answers (--targets) need the rows they belong to: give --inputs.")
    if not Path(arguments.targets).is_file():
        return {"inputs": data, "target": arguments.targets}
    import numpy as np

    from .paper.data import read

    found = read(arguments.targets).inputs
    parts = found.values() if isinstance(found, dict) else [found]
    return {"inputs": data, "targets": np.concatenate([np.asarray(part).reshape(-1) for part in parts])}


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


def _rows(path: str) -> object:
    """Sample rows of a file; a table keeps its columns' names, which a model may know its inputs by."""
    from .paper.data import read

    rows = read(path)
    for note in rows.notes:
        _say(f"{path}: {note}", sys.stderr)
    return rows.inputs if rows.frame is None else rows.frame


def _lab(arguments: argparse.Namespace) -> int:
    from jupyterlab.labapp import main as lab

    root = Path(__file__).resolve().parent.parent
    here = "notebooks/00_workbench.ipynb"
    # Served from above the notebook, so that models elsewhere in the project can be picked. An installed package
    # has no notebooks beside it: then JupyterLab opens where the person stands.
    opened = (
        [f"--ServerApp.root_dir={root}", f"--LabApp.default_url=/lab/tree/{here}"] if (root / here).is_file() else []
    )
    lab([*opened, *arguments.rest])
    return 0


if __name__ == "__main__":
    sys.exit(main())
