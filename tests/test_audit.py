"""An audit: every planted fault is found, nothing is said of clean files, and no file ends it."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.parse
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from audit_tree import plant
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from onnx import TensorProto, helper, numpy_helper

from workbench import BadInput, audit
from workbench.__main__ import main
from workbench.audit import Audit
from workbench.audit.exports import EXPORTS
from workbench.audit.look import look
from workbench.audit.places import places
from workbench.audit.policy import EXAMPLE, read_policy
from workbench.files import certificate
from workbench.sandbox import Cancelled

DATA = Path(__file__).parent / "data"


def network(**told: Any) -> onnx.ModelProto:
    """A clean little network; `told` are its texts, versions and operators."""
    rng = np.random.default_rng(told.get("seed", 0))
    weights = [numpy_helper.from_array(rng.random((4, 4), np.float32), name) for name in "ab"]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"], name=told.get("name", "first"), doc_string=told.get("doc", "")),
        helper.make_node(
            told.get("op_type", "Relu"), ["h"], ["r"], domain=told.get("domain", ""), **told.get("attributes", {})
        ),
        helper.make_node("MatMul", ["r", "b"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy")
    opsets = [helper.make_opsetid("", told.get("opset", 17))]
    opsets += [helper.make_opsetid(told["domain"], 1)] if told.get("domain") else []
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], weights), opset_imports=opsets)
    model.ir_version = told.get("ir_version", 8)
    return model


def write(path: Path, model: onnx.ModelProto) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


watching: list[Callable[[str], object]] = []
"""Called with each folder that this process lists."""


def _watch(event: str, told: tuple[Any, ...]) -> None:
    if watching and event in ("os.listdir", "os.scandir", "glob.glob"):
        watching[0](str(told[0]))


sys.addaudithook(_watch)


class _Harm:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


PLANTED = {
    "damaged": "cut.onnx", "extension": "lies.h5", "hidden": ".secret.onnx", "no-file": "pipe.onnx",
    "link-outside": "out.onnx", "duplicate": "z_copy.onnx", "code-dangerous": "harm.pkl", "text-key": "key.onnx",
    "text-script": "script.onnx", "text-path": "path.onnx", "text-trace": "trace.onnx", "text-email": "mail.onnx",
    "text-trick": "trick.onnx", "member-outside": "members.keras", "operator-unknown": "custom.onnx",
    "opset-newer": "opset.onnx", "ir-newer": "ir.onnx", "certificate": "certified.onnx", "kind-unknown": "what.onnx",
    "not-there": "gone.onnx",
}  # fmt: skip
"""Finding -> the file it is planted in."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    texts = {
        "key.onnx": {"doc": "token ghp_" + "a1B2" * 9}, "script.onnx": {"doc": "<script>alert(1)</script>"},
        "path.onnx": {"doc": "/home/ada/models/net.py"}, "trace.onnx": {"doc": 'File "net.py", line 12, in forward'},
        "mail.onnx": {"doc": "ask ada@example.org"}, "trick.onnx": {"name": "a\N{RIGHT-TO-LEFT OVERRIDE}b"},
        "custom.onnx": {"op_type": "Mystery", "domain": "org.somebody"}, "opset.onnx": {"opset": 99},
        "ir.onnx": {"ir_version": 99}, "certified.onnx": {}, ".secret.onnx": {},
    }  # fmt: skip
    for seed, (name, told) in enumerate(texts.items(), 1):
        write(root / "models" / name, network(seed=seed, **told))
    models = root / "models"
    certificate.append(models / "certified.onnx", {"source": "net.keras", "opset": 13, "sha256": "0" * 64})
    clean = network(seed=50)
    write(models / "clean" / "a.onnx", clean)
    write(models / "z_copy.onnx", clean)
    write(models / "clean" / "b.onnx", network(seed=51))
    (models / "cut.onnx").write_bytes((DATA / "gru.onnx").read_bytes()[:-2000])
    (models / "lies.h5").write_bytes(network(seed=60).SerializeToString())
    os.mkfifo(models / "pipe.onnx")
    write(root / "elsewhere.onnx", network(seed=61))
    (models / "out.onnx").symlink_to(root / "elsewhere.onnx")
    (models / "in.onnx").symlink_to(models / "clean" / "a.onnx")
    (models / "round").symlink_to(models)
    (models / "harm.pkl").write_bytes(pickle.dumps(_Harm()))
    with zipfile.ZipFile(models / "members.keras", "w") as archive:
        archive.writestr("../../evil.py", "")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    nothing = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    write(models / "what.onnx", helper.make_model(nothing, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]))
    (models / os.fsdecode(b"odd\xff.txt")).write_bytes(b"no model")
    return root


@pytest.fixture(scope="module")
def found(tree: Path) -> Audit:
    return audit([tree / "models", tree / "models" / "gone.onnx"])


def ids(found: Audit, name: str) -> set[str]:
    (row,) = (row for row in found.rows if os.path.basename(row.path) == name)
    return {finding.id for finding in row.findings}


@pytest.mark.parametrize("id", PLANTED)
def test_every_planted_finding_is_found_where_it_is_and_nowhere_else(id: str, found: Audit) -> None:
    assert id in ids(found, PLANTED[id])
    elsewhere = {os.path.basename(path) for path, finding in found.findings if finding.id == id} - {PLANTED[id]}
    # An archive with one member is no Keras model, a pickle of a call no model, and what an operator nobody knows does
    # nobody can tell.
    also = {"extension": {"members.keras"}, "kind-unknown": {"custom.onnx", "harm.pkl"}}
    assert elsewhere <= also.get(id, set())


def test_nothing_is_said_of_clean_files_and_each_is_a_row_once(found: Audit, tree: Path) -> None:
    assert not ids(found, "a.onnx") and not ids(found, "b.onnx")
    names = [os.path.basename(row.path) for row in found.rows]
    assert len(names) == len(set(names)) and "in.onnx" not in names and "elsewhere.onnx" not in names
    (b,) = (row for row in found.rows if row.path.endswith("b.onnx"))
    assert b.kind == "DL" and b.parameters == 32 and b.opsets == {"": 17} and b.same_graph_as
    (copy,) = (row for row in found.rows if row.path.endswith("z_copy.onnx"))
    assert copy.duplicate_of.endswith("a.onnx")
    assert copy.sha256 == hashlib.sha256(Path(copy.path).read_bytes()).hexdigest()


def test_graphs_are_twins_where_their_weights_alone_differ(tmp_path: Path) -> None:
    for seed, (name, alpha) in enumerate({"a": 0.1, "b": 0.1, "c": 0.2}.items()):
        write(tmp_path / f"{name}.onnx", network(seed=seed, op_type="LeakyRelu", attributes={"alpha": alpha}))
    found = audit(tmp_path)
    assert [os.path.basename(row.same_graph_as) for row in found.rows] == ["", "a.onnx", ""]


@pytest.mark.parametrize("sample", ["gru.onnx", "net.nir"])
def test_the_shipped_files_are_clean(sample: str) -> None:
    assert audit(DATA / sample).worst in (None, "note")


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_of_a_tree_whose_truth_is_known_every_kind_and_finding_is_right(count: int, tmp_path: Path) -> None:
    planted = plant(tmp_path, count)
    found = audit(tmp_path)
    assert {row.path for row in found.rows} == planted.keys()
    same: Counter[bytes] = Counter()
    wrong = {}
    for row in found.rows:
        sort = planted[row.path]
        ids = {finding.id for finding in row.findings}
        again = same[sort.content] > 0 and sort.content != b""
        same[sort.content] += bool(row.format)
        if row.kind != sort.kind or ids != sort.findings | ({"duplicate"} if again and row.format else set()):
            wrong[row.path] = (row.kind, ids, sort.kind, sort.findings)
    assert not wrong


def test_results_are_data_a_table_and_files_for_other_tools(found: Audit, tmp_path: Path) -> None:
    assert len(found.frame) == len(found.rows) and set(found.frame["kind"].dropna()) >= {"DL", "unknown"}
    assert found.to_dict()["summary"]["files"] == len(found.rows)
    for ending in EXPORTS:
        text = found.save(tmp_path / f"a{ending}").read_text("utf-8")
        assert "z_copy.onnx" in text
    *lines, last = (tmp_path / "a.json").read_text().splitlines()
    assert len(lines) == len(found.rows) and "summary" in json.loads(last)
    assert {"path", "format", "kind", "evidence", "findings", "duplicate_of"} <= {*json.loads(lines[0])}
    log = json.loads((tmp_path / "a.sarif").read_text())
    (run,) = log["runs"]
    assert log["version"] == "2.1.0" and len(run["results"]) == len(found.findings)
    known = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    for result in run["results"]:
        assert result["ruleId"] in known and result["level"] in ("note", "warning", "error")
        assert result["message"]["text"] and result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    prints = [result["partialFingerprints"]["workbenchFinding/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)
    bom = json.loads((tmp_path / "a.cdx.json").read_text())
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bom)) is None
    models = {part["name"]: part for part in bom["components"]}
    assert models["a.onnx"]["type"] == "machine-learning-model" and len(models["a.onnx"]["hashes"][0]["content"]) == 64
    page = (tmp_path / "a.html").read_text("utf-8")
    assert "<script>alert" not in page and "\N{RIGHT-TO-LEFT OVERRIDE}" not in page
    with pytest.raises(BadInput, match=r"\.sarif"):
        found.save(tmp_path / "a.doc")


def test_sarif_fits_its_schema_whatever_files_are_called(tree: Path, tmp_path: Path) -> None:
    schema = pytest.importorskip("pydantic_sarif.model", reason="SARIF's schema: pip install pydantic-sarif")
    bad = tmp_path / os.fsdecode(b"a b%\xff\n?#.onnx")
    bad.write_bytes(b"\x08")
    found = audit([tree / "models", tmp_path])
    log = json.loads(EXPORTS[".sarif"](found))
    schema.StaticAnalysisResultsFormatSarifVersion210JsonSchema.model_validate(log)
    rules = [rule["id"] for rule in log["runs"][0]["tool"]["driver"]["rules"]]
    assert len(rules) == len({*rules})
    uris = [one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in log["runs"][0]["results"]]
    assert all(re.fullmatch(r"[\w.~!$&'()*+,;=:@/?%-]*", uri, re.ASCII) for uri in uris)
    assert os.fsencode(bad) in [*map(urllib.parse.unquote_to_bytes, uris)]


def test_an_audit_that_was_interrupted_goes_on(tree: Path, tmp_path: Path) -> None:
    kept, stop = tmp_path / "rows.jsonl", threading.Event()
    with pytest.raises(Cancelled):
        audit(tree / "models", results=kept, tell=lambda row: stop.set(), cancel=stop, workers=1)
    before = kept.read_text()
    assert before
    kept.write_text(before + '{"path": "cut in the middle of a li')
    told: list[str] = []
    again = audit(tree / "models", results=kept, tell=lambda row: told.append(row.path))
    assert not {json.loads(line)["path"] for line in before.splitlines()} & {*told}
    assert len(again.rows) == len(audit(tree / "models").rows)
    # What changed since is looked at again, and the rest is not.
    told.clear()
    (tree / "models" / "lies.h5").write_bytes(network(seed=70).SerializeToString())
    audit(tree / "models", results=kept, tell=lambda row: told.append(os.path.basename(row.path)))
    assert told == ["lies.h5"]
    kept.write_text("no row\n")
    with pytest.raises(BadInput, match="line 1 is not a row"):
        audit(tree / "models", results=kept)


def test_a_policy_adds_and_passes_findings(tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(EXAMPLE)
    assert read_policy(path).largest == 2 * 10**9
    path.write_text(
        'formats = ["ONNX"]\nopset = { at-least = 18 }\nlargest = "100 B"\ndomains = ["ai.onnx"]\n'
        '[[ignore]]\nid = "text-email"\nreason = "known"\nuntil = 2999-01-01\n'
        '[[ignore]]\nid = "text-path"\nreason = "known"\nuntil = 1999-01-01\n'
    )
    found = audit(tree / "models", policy=path)
    assert {"policy-opset", "policy-size"} <= ids(found, "a.onnx") and "policy-domain" in ids(found, "custom.onnx")
    assert "policy-format" in ids(found, "harm.pkl")
    assert "text-email" not in ids(found, "mail.onnx") and "text-path" in ids(found, "path.onnx")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("formats = [", "no TOML"), ("\nformat = 1", "line 2: format is no part"), ("formats = 1", "a list of names"),
        ('formats = ["Onyx"]', "'Onyx'"), ("opset = 3", "at-least"), ('largest = "big"', "2 GB"),
        ('[[ignore]]\nid = "x"', "a reason"), ("formats = []", "a list of names"), ("ignore = 3", "once for each"),
    ],
)  # fmt: skip
def test_a_policy_that_is_none_is_refused_with_the_line(text: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(BadInput, match=match):
        audit(DATA / "gru.onnx", policy=tmp_path / "p.toml")


def test_the_command_says_exits_and_writes(tree: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "workbench", "audit", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    clean = run(str(tree / "models" / "clean"), "--json", "--fail-on", "warning")
    assert clean.returncode == 0 and [*map(json.loads, clean.stdout.splitlines())][-1]["summary"]["files"] == 2
    bad = run(str(tree / "models" / "**" / "*.*"), "--sarif", "a.sarif")
    assert bad.returncode == 1 and (tmp_path / "a.sarif").exists() and "error:" in bad.stdout
    assert main(["audit", str(tree), "--policy", "none.toml"]) == 2
    with pytest.raises(SystemExit, match="2"):
        main(["audit", str(tree), "--fail-on", "never"])


def test_what_cannot_be_looked_at_is_a_row_and_no_end(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    (folder / "deep").mkdir(parents=True)
    write(folder / "deep" / "a.onnx", network())
    for name in ("one", "two", "three"):
        (folder / name).symlink_to(folder)  # patterns that followed them would never end
    (folder / "itself.onnx").symlink_to(folder / "itself.onnx")
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(str(folder / "socket.onnx"))
        found = audit([folder, folder / "deep" / "a.onnx" / "b", tmp_path / ("n" * 300), os.devnull, tmp_path / "gone"])
    rows = {os.path.basename(row.path)[:12]: {one.id for one in row.findings} for row in found.rows}
    assert rows == {
        "a.onnx": set(), "itself.onnx": {"no-access"}, "socket.onnx": {"no-file"}, "b": {"no-access"},
        "n" * 12: {"no-access"}, "null": {"no-file"}, "gone": {"not-there"},
    }  # fmt: skip
    (tmp_path / "empty").mkdir()
    assert audit(tmp_path / "empty").rows == ()


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("**/*.onnx", ["a.onnx", "b.onnx"]), ("**", ["a.onnx", "h.onnx", "b.onnx", "c.txt"]), ("*/*.onnx", ["b.onnx"]),
        ("d*/**/b.*", ["b.onnx"]), ("**/.h/*", ["h.onnx"]), ("**/deep", ["h.onnx", "b.onnx", "c.txt"]), ("**/*.h5", []),
    ],
)  # fmt: skip
def test_a_pattern_names_what_it_names_in_a_shell(
    pattern: str, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.onnx", "deep/b.onnx", "deep/c.txt", "deep/.h/h.onnx"):
        write(tmp_path / name, network())
    (tmp_path / "deep" / "back").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    for given in (pattern, str(tmp_path / pattern)):
        found = [place.path for place in places([given]) if place.read]
        assert [os.path.basename(path) for path in found] == names
        assert not [path for path in found if path.startswith("./")]


def test_what_there_is_no_right_to_read_is_a_row(tmp_path: Path) -> None:
    write(tmp_path / "closed" / "a.onnx", network())
    closed = tmp_path / "closed"
    closed.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        found = [*places([closed, closed / "a.onnx"])]
        row = look(str(closed / "a.onnx"))
    finally:
        if root:
            os.seteuid(0)
        closed.chmod(0o700)
    assert [place.finding.id for place in found if place.finding] == ["no-access", "no-access"]
    assert {one.id for one in row.findings} == {"damaged"} and row.format == ""


def test_what_vanishes_meanwhile_costs_its_own_row(tmp_path: Path) -> None:
    for _ in range(5):  # on a crowded machine all may be read before the first row is told
        for number in range(700):
            write(tmp_path / "a" / f"{number:04}.onnx", network(seed=number % 3))
        found = audit(tmp_path, tell=lambda row: shutil.rmtree(tmp_path, ignore_errors=True), workers=1)
        assert len(found.rows) == 700
        if gone := [row for row in found.rows if {"damaged"} == {one.id for one in row.findings}]:
            break
    assert gone and all("not there" in row.findings[0].says for row in gone)
    listing = places([tmp_path / "b"])
    for name in "cd":
        write(tmp_path / "b" / name / "a.onnx", network())
    first = next(listing)
    shutil.rmtree(tmp_path / "b")
    assert first.path.endswith("c/a.onnx") and [place.read for place in listing] == [False]


def test_one_folder_of_many_names_is_listed_once_not_for_each_file(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number:04}.onnx").write_bytes(b"no model")
        (tmp_path / f"{number:04}.bin").write_bytes(b"\0\1 no model")
    os.utime(tmp_path, (1e9, 1e9))  # a folder that is not being filled just now
    listed: list[str] = []
    watching.append(listed.append)
    for name in os.listdir(tmp_path):
        look(str(tmp_path / name))
    watching.clear()
    assert 1 <= listed.count(str(tmp_path)) <= 3


@pytest.mark.long
def test_a_hundred_thousand_names_in_one_folder_are_rows(tmp_path: Path) -> None:
    for number in range(100_000):
        (tmp_path / f"{number:06}.bin").write_bytes(b"\0\1 no model")
    found = audit(tmp_path)
    assert len({row.path for row in found.rows}) == 100_000


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"paths": 3}, "paths of files"), ({"paths": [None]}, "paths of files"), ({"paths": b"x"}, "paths of files"),
        ({"paths": []}, "needs files"), ({"workers": 0}, "1 worker"), ({"results": DATA}, "Is a directory"),
        ({"policy": 3}, "path of a TOML file"), ({"policy": DATA}, "Is a directory"),
    ],
)  # fmt: skip
def test_what_an_audit_cannot_take_is_a_sentence(told: dict[str, Any], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        audit(**{"paths": DATA / "gru.onnx", **told})


def test_a_file_that_takes_its_reader_down_costs_its_own_row(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens in the worker: here its processor time is so short that no file is read within it."""
    monkeypatch.setattr("workbench.many.PATIENCE", 0.0)
    found = audit(tree / "models" / "clean", workers=1)
    assert {one.id for row in found.rows for one in row.findings} <= {"reader-lost"}
    assert len(found.rows) == 2
