"""What a person works on: a folder, the model picked in it, the choices made, and what came of them.

Everything the interface shows or asks is a trait of `Session`, so a script can do what a hand does, and any number of
views may show one session. Long work runs in a thread here and in worker processes below; every trait changes in the
kernel's main thread only.
"""

from __future__ import annotations

import asyncio
import os
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import traitlets

from ..compare import Comparison, compare
from ..compare.options import ASKED
from ..convert import Conversion, convert
from ..convert.options import options_for
from ..costs import watched
from ..diff import Difference, diff
from ..errors import BadInput, NeedsTrust, UnsupportedModel, WorkbenchError
from ..files.records import Option
from ..files.registry import is_model_folder
from ..files.wire import stamp
from ..graph import GraphView, graph
from ..inference import first_inference
from ..kind import detect
from ..sandbox import Cancelled
from ..sources import make_sample, samples
from ..words import counted, visible
from .audited import Audited, Wanted, audited
from .pairing import Pairing, pair

Result = TypeVar("Result")

STEPS = ("kind", "graph", "convert", "compare", "report")

RESULTS = ("detection", "view", "costed", "inference", "watched", "conversion", "scan", "comparison", "report_path")
"""Traits that belong to the picked file, and come back with it."""

OF_THE_FILE = (
    "op_type", "options", "output", "partner", "params", "native_engine", "onnx_engine", "data", "target", "scale",
    "row",
)  # fmt: skip
"""Choices that belong to the picked file, and come back with it. Trust does not: it is asked for anew."""

PICK_FIRST = "Pick a model file first."

LOOKS = {
    "view": "Drawing the graph",
    "costed": "Counting what each node costs",
    "inference": "Asking the model about real rows",
    "watched": "Running the model to look into each node",
}
"""What is found out by itself about a picked file, in this order, and what is said meanwhile."""

NOTHING_WATCHED = (
    "No node has spikes or an error to show: errors are held against the other side of the comparison (step Compare)."
)

_FOR = {"costs": "costed", "watch": "watched"}
"""Choice -> what is found out for it."""

MOST_RECENT = 12
"""Files whose results are kept: a large graph takes 10 MB of memory, and a comparison more."""


def _choice(option: Option) -> traitlets.TraitType[Any, Any]:
    """A choice that begins with the option's default; without one, with what leaves it open."""
    if option.kind in ("int", "float"):
        trait = traitlets.Int if option.kind == "int" else traitlets.Float
        return trait(option.default or 0, min=0 if option.default is None else option.least)
    return traitlets.Bool(False) if option.kind == "bool" else traitlets.Unicode("")


class Choices(traitlets.HasTraits):
    """What a person may choose, by hand or from code.

    Traits:
        path: the model shown; empty at first. Setting it finds out kind, graph and first answers.
        step: the step looked at, one of `STEPS`.
        op_type: the operator whose nodes are marked in the graph, as ``Detection.components["op_types"]`` names it.
        costs: show what each node of an ONNX graph costs; watch: run it, and show each node's error against the other
            side of the comparison, and its spikes.
        trust: the native file may run code when it is opened: the one that was there when this was set, as it was.
        options: of the conversion, as `workbench.convert` takes them (``opset``, and the converter's own).
        output: the ONNX file to write, beside the source unless it names a folder; a free name there if empty.
        partner: the other side of a comparison, a file; found by itself if empty (`pairing`).
        params: the file with a spiking network's weights, where they are kept apart; found by its name if empty.
        native_engine, onnx_engine: for `load_engine`; chosen by the model's kind if empty.
        data: what both sides are asked: ``paper``, ``random``, or a file of rows; what fits if empty.
        target, scale, rows, batch, repeats, threads, seconds and so on: as `workbench.compare.options.ASKED` names
            them; empty or 0 leaves each to `workbench.compare`.
        row: the row whose answers are shown.
    """

    path = traitlets.Unicode("")
    step = traitlets.Enum(STEPS, "kind")
    op_type = traitlets.Unicode("")
    costs = traitlets.Bool(False)
    watch = traitlets.Bool(False)
    trust = traitlets.Bool(False)
    options = traitlets.Dict(key_trait=traitlets.Unicode())
    output = traitlets.Unicode("")
    partner = traitlets.Unicode("")
    params = traitlets.Unicode("")
    native_engine = traitlets.Unicode("")
    onnx_engine = traitlets.Unicode("")
    data = traitlets.Unicode("")
    row = traitlets.Int(0, min=0)
    # In the body of a class, its names can be given like this (PEP 667).
    locals().update({option.name: _choice(option) for option in ASKED.values()})

    @traitlets.validate("path")
    def _absolute(self, proposal: Any) -> str:
        return os.path.abspath(proposal.value) if proposal.value else ""


class Session(Choices):
    """A folder, a model, choices and results.

    Traits to read, beside the `Choices`:
        root: the folder worked in.
        detection, view, inference, conversion, comparison, report_path: what is known of the file; None until it is.
        costed: the view with what each node costs; None until `costs` asks for it. watched: that with what a run told,
            and sentences about it; None until `watch` does.
        scan: what a scan found where a file was refused (`workbench.safety.Scan`), else None.
        problems: {step, ``costs`` or ``watch``: why it gave no result, in one sentence}.
        audited: what came of the last audit of a folder (`workbench.session.audited`); None without one.
        difference: of the last two files whose graphs were compared; None without one. difference_page: its page, once
            it is written.
        job: the step of the work under way, or ``sample``, ``audit``, ``diff``, ``diff_page``, or empty; about: that
            work in words; stage: where it is; progress: 0 to 1, or -1 where unknown.
        looking: what is being found out about the file just picked; empty when all is known.
        said: what came of the last work, where no result says it (it was cancelled, say).
        recent: files picked before, the last one first; the results of these are kept.
    """

    root = traitlets.Unicode()
    detection = traitlets.Any(None)
    view = traitlets.Any(None)
    costed = traitlets.Any(None)
    inference = traitlets.Any(None)
    watched = traitlets.Any(None)
    conversion = traitlets.Any(None)
    scan = traitlets.Any(None)
    comparison = traitlets.Any(None)
    report_path = traitlets.Any(None)
    problems = traitlets.Dict(key_trait=traitlets.Unicode(), value_trait=traitlets.Unicode())
    audited = traitlets.Any(None)
    difference = traitlets.Any(None)
    difference_page = traitlets.Any(None)
    job = traitlets.Unicode("")
    about = traitlets.Unicode("")
    stage = traitlets.Unicode("")
    progress = traitlets.Float(-1.0)
    looking = traitlets.Unicode("")
    said = traitlets.Unicode("")
    recent = traitlets.List(traitlets.Unicode())

    def __init__(self, path: str | os.PathLike[str] | None = None, *, root: str | os.PathLike[str] | None = None):
        super().__init__(root=str(Path(root or Path.cwd()).resolve()))
        self._kept: dict[str, _Kept] = {}
        self._trusted: dict[str, object] = {}
        self._job: _Job | None = None
        self._next: tuple[str, tuple[Any, ...]] = "", ()  # the file whose report waits for the work under way
        self._lock = threading.RLock()  # where there is no kernel, and changes come from threads
        self._look = threading.Event()
        self._loop = _running_loop()
        if path is not None:
            self.pick(path)

    # --- picking --------------------------------------------------------------------------------------------------

    def pick(self, path: str | os.PathLike[str]) -> None:
        """Show a file; the one shown is read again."""
        chosen = os.path.abspath(os.fspath(path)) if os.fspath(path) else ""
        if chosen == self.path:
            self._leave(chosen)
            self._show(chosen)
        else:
            self.path = chosen

    @traitlets.observe("path")
    def _picked(self, change: Any) -> None:
        self._leave(change.old)
        self._show(change.new)

    def _leave(self, path: str) -> None:
        if path in self._kept:
            self._kept[path].choices = {name: getattr(self, name) for name in OF_THE_FILE}

    def _show(self, path: str) -> None:
        """Fill the results: from memory where the file has not changed since, else from the file."""
        # One change for all who look on: half of it would be one file's results with another's choices.
        with self._lock, self.hold_trait_notifications():
            self._look.set()  # what was being found out about another file is not wanted any more
            if self._job is None:
                self.said = ""
            stamp, kept = _stamp(path), self._kept.get(path)
            if kept is None or kept.stamp != stamp:
                kept = self._kept[path] = _Kept(stamp, choices=kept.choices if kept is not None else {})
                if path:
                    kept.results["detection"], problem = _attempt(lambda: detect(path))
                    kept.problems = {"kind": problem} if problem else {}
            for name in OF_THE_FILE:
                setattr(self, name, kept.choices.get(name, self.trait_defaults(name)))
            self.trust, self.looking = False, ""
            self.problems = dict(kept.problems)
            for name in RESULTS:
                setattr(self, name, kept.results.get(name))
            if not path:
                return
            self.recent = [path, *(other for other in self.recent if other != path)][:MOST_RECENT]
            wanted = {*self.recent, self._job.path if self._job is not None else path}
            self._kept = {path: kept for path, kept in self._kept.items() if path in wanted}
            self._find_missing(path)

    @traitlets.observe("costs", "watch")
    def _looked_into(self, change: Any) -> None:
        with self._lock:
            if not change.new or not self.path:
                return
            known, name = self._kept[self.path].results, _FOR[change.name]
            if name == "watched" or known.get(name) is None:  # the other side may be another now
                known.pop(name, None)
                setattr(self, name, None)
                self._find_missing(self.path)

    def _find_missing(self, path: str) -> None:
        """Find out what is wanted of the picked file and not known yet, instead of what was being found out."""
        self._look.set()
        self._look = given_up = threading.Event()
        detection, known = self.detection, dict(self._kept[path].results)
        if detection is None or detection.kind is None:
            return
        is_onnx = detection.format == "ONNX"
        wanted = {"view": True, "costed": self.costs, "inference": is_onnx, "watched": self.watch and is_onnx}
        missing = [name for name in LOOKS if wanted[name] and name not in known]
        if missing:
            self.looking = LOOKS[missing[0]]
            run = self._other_side() if "watched" in missing else {}
            self._in_background(lambda: self._find_out(path, missing, known.get("view"), run, given_up))

    def _other_side(self) -> dict[str, Any]:
        """What the picked file is run with, for `workbench.costs.watched`."""
        pairing = self.pairing
        if pairing is None:
            return {"inputs": self.data or None}
        against = next((side for side in (pairing.native, pairing.onnx) if side != self.path), None)
        trust = self._trusts(pairing.native)
        return {"inputs": self.data or None, "against": against, "params": pairing.params, "trust": trust}

    def _find_out(
        self, path: str, missing: list[str], view: GraphView | None, run: dict[str, Any], given_up: threading.Event
    ) -> None:
        """Graph, what its nodes cost, first answers, and what a run tells of the nodes, in a thread."""

        def post(change: Callable[[], None]) -> None:
            self._post(lambda: None if given_up.is_set() else change())

        def draw() -> GraphView:
            view = graph(path, cancel=given_up)
            view._repr_html_()  # here, since a long graph takes half a second; the view keeps it
            return view

        def count() -> GraphView | None:
            if view is None or view.format != "ONNX" or view.reason is not None:
                return None
            costed = view.with_costs(view.costs(given_up))
            if costed.reason is not None:
                raise UnsupportedModel(costed.reason)
            costed._repr_html_()
            return costed

        def tell(look: str, stage: str = "") -> None:
            post(lambda: setattr(self, "looking", f"{LOOKS[look]}{stage and f': {stage}'}"))

        def watch() -> tuple[GraphView, str] | None:
            if view is None or view.reason is not None:
                return None
            facts, seen = watched(path, cancel=given_up, progress=lambda stage: tell("watched", stage), **run)
            shown = view.with_costs(facts)
            shown._repr_html_()
            return shown, " ".join(seen.says if seen.errors or seen.spikes else [*seen.says, NOTHING_WATCHED])

        with suppress(Cancelled):
            if "view" in missing:
                view, problem = _attempt(draw)
                post(lambda: self._keep(path, "graph", problem, view=view))
            if "costed" in missing and not given_up.is_set():
                tell("costed")
                costed, unknown = _attempt(count)
                post(lambda: self._keep(path, "costs", unknown, costed=costed))
            if "inference" in missing and not given_up.is_set():
                tell("inference")
                asking: Callable[[str], None] = lambda stage: tell("inference", stage)  # noqa: E731
                inference, why_not = _attempt(lambda: first_inference(path, progress=asking, cancel=given_up))
                post(lambda: self._keep(path, "inference", why_not, inference=inference))
            if "watched" in missing and not given_up.is_set():
                tell("watched")
                seen, unseen = _attempt(watch)
                post(lambda: self._keep(path, "watch", unseen, watched=seen))
            post(lambda: setattr(self, "looking", ""))

    def _keep(self, path: str, step: str, problem: str = "", **results: Any) -> None:
        """Write down what came of a step, and show it if the file is still the one shown."""
        with self._lock:
            kept = self._kept.setdefault(path, _Kept(_stamp(path)))
            kept.results.update(results)
            kept.problems = {name: said for name, said in kept.problems.items() if name != step}
            if problem:
                kept.problems[step] = problem
            if path == self.path:
                self.problems = dict(kept.problems)
                for name, value in results.items():
                    setattr(self, name, value)

    # --- verbs ----------------------------------------------------------------------------------------------------

    def convert(self) -> Conversion:
        """Convert the picked file with the chosen options; waits, and raises what `workbench.convert` raises."""
        return self._do("convert")

    def compare(self) -> Comparison:
        """Compare the picked file with its partner; waits, and raises what `workbench.compare` raises."""
        return self._do("compare")

    def report(self, output: str | os.PathLike[str] | None = None, *, paths: bool = False, live: bool = False) -> Path:
        """Write the report of the picked file, a free name beside it if None; waits.

        Args:
            paths: say in which folders of this machine the files are.
            live: the model answers in it, see `workbench.report`.
        """
        return self._do("report", output, paths, live)

    def make(self, sample: str) -> Path:
        """Make a model of the paper (`workbench.sources.samples`) in ``models`` and pick it; waits."""
        return self._do("sample", sample)

    def audit(self, folder: str | os.PathLike[str] | None = None, *, anew: bool = False) -> Audited:
        """Audit a folder, the session's own if None; waits, and raises what `workbench.audit` raises.

        Args:
            anew: read the files that did not change since an earlier audit, too.
        """
        return self._do("audit", folder, anew)

    def diff(self, first: str | os.PathLike[str], second: str | os.PathLike[str]) -> Difference:
        """What changed from one ONNX file to another; waits, and raises what `workbench.diff` raises."""
        return self._do("diff", first, second)

    def diff_page(self) -> Path:
        """Write the page of the last difference, both graphs marked, into the session's folder; waits."""
        return self._do("diff_page")

    def export(self, ending: str, wanted: Wanted | None = None) -> Path:
        """Write the audit, of all files or those wanted, into the session's folder as what the ending says.

        Args:
            ending: ``.csv``, ``.json``, ``.sarif``, ``.html``.

        Raises:
            BadInput: nothing was audited; WorkbenchError: it cannot be written.
        """
        if self.audited is None:
            raise BadInput("Audit a folder first.")
        found = self.audited.audit if wanted is None else self.audited.chosen(wanted)
        return found.save(_free(Path(self.root) / f"audit{ending}"))

    def start(self, step: str, *args: Any) -> None:
        """The same without waiting: ``convert``, ``compare``, ``report``, ``sample`` (with its id), ``audit`` (of a
        folder), ``diff`` (of two files) or ``diff_page``.

        Problems become sentences in `problems` and `said`. One work at a time: another is refused while one runs.
        """
        try:
            job = self._prepared(step, *args)
        except _Busy as busy:
            self.said = str(busy)
            if step == "report" and self.job != "report":
                self._next = self.path, args
                self.said = f"{self.about} is under way; the report is written after it."
            return
        except WorkbenchError as error:
            if step in STEPS:
                self._keep(self.path, step, str(error))
            else:
                self.said = str(error)
            return

        def work() -> None:
            try:
                result = job.work(job)
            except BaseException as error:  # a library's sys.exit, too, or the work would never end
                caught = error
                self._post(lambda: self._end(job, None, caught))
            else:
                self._post(lambda: self._end(job, result, None))

        try:
            self._begin(job)
        finally:  # whatever those who look on make of it: only work that runs can end
            self._in_background(work)

    def cancel(self) -> None:
        """Give up the work under way; what it was to write is not written."""
        if self._job is not None:
            self.stage = "Cancelling"
            self._job.cancel.set()

    @property
    def onnx_output(self) -> str:
        """Where a conversion of the picked file goes: the output chosen, or a free name beside the source."""
        beside = _writable(Path(self.path), self.root)
        return str(beside.parent / self.output if self.output else _free(beside.with_suffix(".onnx")))

    @property
    def lacking(self) -> str:
        """Why nothing is known of a file: it could not be read, or none is picked."""
        return self.problems.get("kind") or PICK_FIRST

    def refused(self, step: str) -> bool:
        """Whether the step waits for the person to trust the file (`scan` says what is in it)."""
        return self.scan is not None and self.problems.get(step) == self.scan.refusal

    @property
    def pairing(self) -> Pairing | None:
        """Both sides of a comparison of the picked file; None where the other side is not known."""
        if self.detection is None:
            return None
        made = self.conversion.output if self.conversion is not None else None
        pairing = pair(self.path, self.detection, self.partner or None, made)
        if pairing is None:
            return None
        engines = (self.native_engine or pairing.engines[0], self.onnx_engine or pairing.engines[1])
        return replace(pairing, engines=engines, params=self.params or pairing.params)

    @property
    def marks(self) -> dict[str, str]:
        """{step: one or two words about how it stands}."""
        detection, made, compared = self.detection, self.conversion, self.comparison
        marks = dict.fromkeys(self.problems, "problem")
        if detection is not None:
            marks["kind"] = detection.kind or "no model"
        if self.view is not None and self.view.nodes is not None:
            marks["graph"] = counted(self.view.nodes, "node")
        if made is not None and made.output is not None:
            marks["convert"] = "done"
        if compared is not None:
            marks["compare"] = "both agree" if compared.agreement.within_tolerance else "both differ"
        if self.report_path is not None:
            marks["report"] = "written"
        marks |= {step: "asks for trust" for step in self.problems if self.refused(step)}
        if self.job:
            marks[self.job] = "running"
        return marks

    @property
    def next(self) -> str:
        """The step to take next, one of `STEPS`; empty where there is none."""
        found = self.detection
        if found is None or found.kind is None or self.report_path is not None:
            return ""
        native = found.format != "ONNX"
        if native and self.pairing is None:
            return "convert" if options_for(found.format) else "report"
        # Of an ONNX file the other side is looked for where the person asks for it: that reads what lies beside.
        if self.comparison is None and (native or self.step != "compare" or self.pairing is not None):
            return "compare"
        return "report"

    # --- the works ------------------------------------------------------------------------------------------------

    def _convert(self) -> _Job:
        path = self._needed()
        options, trust, output = dict(self.options), self._trusts(path), self.onnx_output
        return _Job(
            "convert", path, f"Converting {Path(path).name}",
            lambda job: convert(path, output, trust=trust, progress=job.tell, cancel=job.cancel, **options),
            "conversion",
        )  # fmt: skip

    def _compare(self) -> _Job:
        path, pairing = self._needed(), self.pairing
        if pairing is None:
            raise BadInput("A comparison needs a native model and its ONNX file: convert this one, or name the other.")
        chosen = {name: value for name, option in ASKED.items() if (value := getattr(self, option.name))}
        chosen |= {"engines": pairing.engines, "params": pairing.params, "trust": self._trusts(pairing.native)}
        sides = pairing.native, pairing.onnx, self.data or None
        return _Job(
            "compare", path, f"Comparing {Path(path).name}",
            lambda job: compare(*sides, progress=job.tell, cancel=job.cancel, **chosen), "comparison",
        )  # fmt: skip

    def _report(self, output: str | os.PathLike[str] | None = None, paths: bool = False, live: bool = False) -> _Job:
        path = self._needed()
        folder = _writable(Path(path), self.root)
        target = Path(output) if output else _free(folder.with_name(f"{Path(path).name}.report.html"))
        known = {
            name: getattr(self, name) for name in RESULTS if name not in ("costed", "watched", "scan", "report_path")
        }
        known |= {"problems": dict(self.problems), "paths": paths, "beside": [self.data, self.partner, self.params]}

        def work(job: _Job) -> Path:
            from ..show.report import write

            return write(path, target, ask=True, live=live, progress=job.tell, cancel=job.cancel, **known)

        return _Job("report", path, f"Writing the report of {Path(path).name}", work, "report_path")

    def _make(self, id: str) -> _Job:
        title, folder = next((sample.title for sample in samples() if sample.id == id), id), Path(self.root) / "models"
        return _Job(
            "sample", "", title, lambda job: make_sample(id, folder, progress=job.tell, cancel=job.cancel), "",
            then=self.pick,
        )  # fmt: skip

    def _audit(self, folder: str | os.PathLike[str] | None = None, anew: bool = False) -> _Job:
        place = os.path.abspath(folder or self.root)
        return _Job(
            "audit", "", f"Auditing {visible(os.path.basename(place) or place)}",
            lambda job: audited(place, anew, job.tell, job.cancel), "",
            then=lambda found: self.set_trait("audited", found),
            cancelled="what was read is kept, and the next audit of this folder goes on from there",
        )  # fmt: skip

    def _diff(self, first: str | os.PathLike[str], second: str | os.PathLike[str]) -> _Job:
        paths = [os.path.abspath(path) for path in (first, second)]
        names = [visible(os.path.basename(path)) for path in paths]

        def work(job: _Job) -> Difference:
            job.tell("Reading and pairing both graphs")
            return diff(*paths, cancel=job.cancel)

        def show(found: Difference) -> None:
            self.difference_page, self.difference = None, found

        return _Job("diff", "", f"Difference of {names[0]} and {names[1]}", work, "", then=show)

    def _diff_page(self) -> _Job:
        found = self.difference
        if found is None:
            raise BadInput("Find the difference of two files first.")
        target = _free(Path(self.root) / "difference.html")

        def work(job: _Job) -> Path:
            job.tell("Drawing both graphs")
            return found.save(target, cancel=job.cancel)

        return _Job(
            "diff_page", "", "Writing the difference's page", work, "",
            then=lambda path: self.set_trait("difference_page", path),
        )  # fmt: skip

    def _needed(self) -> str:
        """The picked file, read again if it is another one now: what was found out and trusted was not this one."""
        if not self.path:
            raise BadInput(PICK_FIRST)
        if self._kept[self.path].stamp != _stamp(self.path):
            self.pick(self.path)
        return self.path

    @traitlets.observe("trust")
    def _trust(self, change: Any) -> None:
        pairing = self.pairing if change.new else None
        native = {self.path, pairing.native if pairing is not None else self.path}
        self._trusted = {path: _stamp(path) for path in native} if change.new else {}

    @traitlets.observe("partner")
    def _partnered(self, change: Any) -> None:
        self.trust = False

    def _trusts(self, native: str) -> bool:
        """Whether it is still the file that the person trusted; else they are asked again."""
        self.trust = self.trust and self._trusted.get(native) == _stamp(native)
        return self.trust

    # --- running them ---------------------------------------------------------------------------------------------

    def _prepared(self, step: str, *args: Any) -> _Job:
        if self._job is not None:
            raise _Busy(f"{self.about} is under way; wait for it, or cancel it first.")
        jobs: dict[str, Callable[..., _Job]] = {
            "convert": self._convert,
            "compare": self._compare,
            "report": self._report,
            "sample": self._make,
            "audit": self._audit,
            "diff": self._diff,
            "diff_page": self._diff_page,
        }
        return jobs[step](*args)

    def _do(self, step: str, *args: Any) -> Any:
        """Run it here and now."""
        job = self._prepared(step, *args)
        self._begin(job, here=True)
        try:
            result = job.work(job)
        except BaseException as error:
            self._end(job, None, error)
            raise
        self._end(job, result, None)
        return result

    def _begin(self, job: _Job, here: bool = False) -> None:
        def tell(message: object) -> None:
            def change() -> None:
                if self._job is job and not job.cancel.is_set():
                    self.stage = str(message)

            change() if here else self._post(change)

        job.tell = tell
        self._job, self.said = job, ""
        self.about, self.stage, self.progress, self.job = job.about, "Starting", -1.0, job.step
        if job.path:
            self._keep(job.path, job.step)

    def _end(self, job: _Job, result: Any, error: BaseException | None) -> None:
        self._job = None
        try:
            self._settle(job, result, error)
        finally:
            # Last, so that whoever waits for the end finds all that came of it.
            self.job = self.stage = ""
            (path, args), self._next = self._next, ("", ())
            if path and path == self.path and not job.cancel.is_set():
                self.start("report", *args)
            elif path:
                why = "the work before it was cancelled" if job.cancel.is_set() else "another file was picked"
                self.said = f"The report of {Path(path).name} was not written, since {why}."

    def _settle(self, job: _Job, result: Any, error: BaseException | None) -> None:
        if error is None and job.result:
            self._keep(job.path, job.step, **{job.result: result})
            if job.path != self.path:
                self.said = f"{job.about}: done; pick {Path(job.path).name} again to see what came of it."
        elif error is None:
            job.then(result)
        elif isinstance(error, Cancelled | KeyboardInterrupt):
            self.said = f"{job.about}: cancelled, {job.cancelled}."
        else:
            sentence = _sentence(error)
            if job.path:
                results: dict[str, Any] = (
                    {"scan": getattr(error, "scan", None)} if isinstance(error, NeedsTrust) else {}
                )
                if (disagreeing := getattr(error, "conversion", None)) is not None:
                    results["conversion"] = disagreeing
                self._keep(job.path, job.step, sentence, **results)
            if not job.path or job.path != self.path:
                self.said = f"{job.about}: {sentence}"

    def _post(self, change: Callable[[], None]) -> None:
        """Make a change in the kernel's main thread; from several threads changes would reach a page in any order."""
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(change)
        else:
            with self._lock:
                change()

    def soon(self, change: Callable[[], None], seconds: float) -> None:
        """Make a change in the kernel's main thread a little later; at once where there is no kernel."""
        if self._loop is not None and self._loop.is_running():
            loop = self._loop
            loop.call_soon_threadsafe(loop.call_later, seconds, change)
        else:
            change()

    def _in_background(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True).start()


class _Busy(WorkbenchError):
    """Other work is under way."""


@dataclass
class _Kept:
    """What is known of a file, as it was."""

    stamp: object
    results: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    choices: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Job:
    """Work under way: `result` names the trait its result goes to, `path` the file it is about; of work about no file,
    `then` takes the result. `cancelled` says what became of what was done."""

    step: str
    path: str
    about: str
    work: Callable[[_Job], Any]
    result: str
    cancel: threading.Event = field(default_factory=threading.Event)
    tell: Callable[[object], None] = lambda message: None
    then: Callable[[Any], object] = lambda result: None
    cancelled: str = "nothing was written"


_SESSIONS: dict[str, Session] = {}


def session_of(root: str | os.PathLike[str] | None = None) -> Session:
    """The session of a folder (the current one): the same on every call, so a cell run again shows what it showed."""
    place = str(Path(root or Path.cwd()).resolve())
    if place not in _SESSIONS:
        _SESSIONS[place] = Session(root=place)
    return _SESSIONS[place]


def _stamp(path: str) -> object:
    """What changes when the file does; of a folder that is a model, when something in it does."""
    inside = [os.path.join(path, name) for name in os.listdir(path)] if is_model_folder(path) else []
    return [stamp(file) for file in (path, *inside)]


def _attempt(find: Callable[[], Result]) -> tuple[Result | None, str]:
    """(what is found, empty) or (None, why it is not)."""
    try:
        return find(), ""
    except Cancelled:
        raise
    except Exception as error:
        return None, _sentence(error)


def _sentence(error: BaseException) -> str:
    """For the person; of a fault of ours one line, and the rest to the log."""
    if isinstance(error, WorkbenchError):
        return str(error)
    traceback.print_exception(error)
    return f"Something went wrong inside the workbench ({type(error).__name__}); please report it."


def _writable(path: Path, root: str) -> Path:
    """The path, or its name in the session's own folder where nothing can be written beside it."""
    return path if os.access(path.parent, os.W_OK) else Path(root) / path.name


def _free(path: Path) -> Path:
    """The path, or the first of its numbered names that is not taken."""
    stem, suffix, number = path.stem, path.suffix, 2
    while os.path.lexists(path):  # no, too, of a name that is too long: who writes says so
        path = path.with_name(f"{stem}-{number}{suffix}")
        number += 1
    return path


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # a script, not a kernel
        return None
