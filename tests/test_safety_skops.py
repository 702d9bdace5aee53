"""skops archives: opened without trust where they hold a fitted estimator and nothing else."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import skops_files
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer
from skops import io
from skops_files import archive, call, instance, mapping, node, several, text

from workbench import convert, detect, load_engine, safety
from workbench.errors import NeedsTrust, UnreadableFile
from workbench.frameworks.sklearn.skops import NAMES as SKOPS
from workbench.frameworks.sklearn.skops import examined, trusted
from workbench.safety.names import listed

ROWS, SPECIES = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
LISTS = listed(SKOPS)


LINEAR = "sklearn.linear_model._base.LinearRegression"
STACK = "sklearn.ensemble._stacking.StackingClassifier"
ATTRGETTER, DEEPCOPY = "sklearn.feature_selection._base.attrgetter", "sklearn.feature_selection._from_model.deepcopy"
MEMORY = instance(LINEAR, {"__array_interface__": text({"data": [4096, False]})})

HARMFUL = {
    "a call of what scikit-learn re-exports": (call(ATTRGETTER, text("__builtins__")), ATTRGETTER),
    "a file emptied": (call("sklearn.datasets._covtype.GzipFile", text("victim"), text("wb")), "GzipFile"),
    "one of Python's own": (call("builtins.eval", text("1")), "builtins.eval"),
    "a function that runs commands": (instance(LINEAR, {"f": node("FunctionNode", "os.system")}), "os.system"),
    "a type that is none": (instance(LINEAR, {"f": node("TypeNode", "builtins.exec")}), "builtins.exec"),
    "a method called by name": (
        node("OperatorFuncNode", "operator.methodcaller", attrs=several(text("x"))), "methodcaller"
    ),
    "a loss that is none": (
        node("LossNode", DEEPCOPY, content=several(), __reduce__={"args": several()}), DEEPCOPY
    ),
    "a key made by a call": (mapping({"1": text(1)}, node("FunctionNode", "builtins.eval")), "builtins.eval"),
    "a key made by an object": (mapping({"1": text(1)}, instance(LINEAR, {})), f"a call of {LINEAR} for a key"),
    "keys that are no list": (mapping({"1": text(1)}, keys=text([1])), "odd keys"),
    "memory by its address": (MEMORY, "the attribute __array_interface__"),
    "memory in a tuple of pairs": (
        instance(LINEAR, {}, several(several(text("__array_interface__"), text(1)))), "a TupleNode for its attributes"
    ),
    "memory in JSON": (instance(LINEAR, {}, text({"__array_interface__": 1})), "a JsonNode for its attributes"),
    "memory in a bunch": (
        {**mapping({"__array_interface__": text(1)}), "__class__": "Bunch", "__module__": "sklearn.utils._bunch"},
        "the attribute __array_interface__",
    ),
    "attributes of a tree of neighbours": (
        instance("sklearn.neighbors._kd_tree.KDTree", {"a": text(1)}), "KDTree with another content"
    ),
    "an array's way to a file": (
        instance(STACK, {"stack_method_": several(text("tofile"), loader="ListNode")}),
        "any method for its stack_method_",
    ),
    "an array's way to a file, in an array": (
        instance(STACK, {"stack_method_": node("NdArrayNode", "numpy.ndarray", type="numpy", file="a.npy")}),
        "any method for its stack_method_",
    ),
    "a name from an older place": (call("skops.io._general._import_obj", text("os"), text("system")), "_import_obj"),
}  # fmt: skip
ASKED = {
    "a class nobody knows": (instance("mine.Model", {}), "mine.Model"),
    "a bound method": (node("MethodNode", LINEAR, content={"func": "fit", "obj": instance(LINEAR, {})}), LINEAR),
    "a function half called": (
        node("PartialNode", "functools.partial", content={
            "func": node("FunctionNode", "numpy.add"), "args": several(text(1)), "kwds": mapping({}),
            "namespace": mapping({}),
        }), "functools.partial",
    ),
    "a factory": (
        node("DefaultDictNode", "collections.defaultdict", content={
            "main": mapping({}), "default_factory": node("TypeNode", "builtins.list"),
        }), "collections.defaultdict",
    ),
    "a distribution, which runs its text": (
        instance("scipy.stats._distn_infrastructure.rv_continuous", {"_parse_arg_template": text("1")}), "rv_continuous"
    ),
    "a class by another way": (
        {**instance(LINEAR, {}), "__module__": "sklearn", "__class__": "linear_model._base.LinearRegression"},
        "sklearn:linear_model._base.LinearRegression",
    ),
    "a function as a class": (instance("numpy.add", {}), "numpy.add"),
    "a class as a scalar": (node("NdArrayNode", LINEAR, type="numpy", file="a.npy"), LINEAR),
    "texts that are files": (
        instance("sklearn.feature_extraction.text.TfidfVectorizer", {"input": text("filename")}), "reads the files"
    ),
    "a function as the first skops wrote it": (
        node("FunctionNode", "numpy.add", content={"module_path": "os", "function": "system"}), "numpy.add in a form"
    ),
    "a form nobody knows yet": (instance(LINEAR, {}), "skops' protocol 3"),
}  # fmt: skip


@pytest.mark.parametrize("case", [*HARMFUL, *ASKED])
def test_what_an_estimator_does_not_need_is_named_and_asks_for_trust(tmp_path: Path, case: str) -> None:
    root, named = (HARMFUL | ASKED)[case]
    protocol = 0 if "first skops" in case else 3 if "nobody knows yet" in case else 2
    # Where skops takes it from does not matter: here it is an attribute of an estimator.
    for outer in (root, instance(LINEAR, {"x": several(text(1), root)})):
        path = archive(tmp_path / "m.skops", outer, protocol)
        found = safety.scan(path)
        assert found.runs_code and named in " ".join((*found.dangerous, *found.unusual)), found
        assert bool(found.dangerous) == (case in HARMFUL)
        # At once, too: the same sentences.
        assert detect(path).findings == found.findings
        with pytest.raises(NeedsTrust, match="trust=True"):
            load_engine(path)


def test_the_first_node_of_an_id_is_the_one_judged(tmp_path: Path) -> None:
    """skops takes the first node of each ``__id__``, wherever it stands, and does not look at the others."""
    harmless = several(node("TypeNode", "builtins.str"), loader="ListNode") | {"__id__": 7}
    evil = several(node("FunctionNode", "numpy.log"), loader="ListNode") | {"__id__": 7}
    later = mapping({"1": text(1)}, keys=harmless)
    for first, harms in ((evil, True), (harmless, False)):
        root = instance(LINEAR, {"a": first, "b": later})
        assert examined(archive(tmp_path / "m.skops", root), "m").runs_code == harms


def test_the_last_of_two_descriptions_counts_as_for_skops(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.skops", instance(LINEAR, {}))
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as file:
        warnings.simplefilter("ignore")
        file.writestr("schema.json", json.dumps({**call("os.system", text("true")), "protocol": 2}))
    with pytest.raises(NeedsTrust, match=r"os\.system"):
        load_engine(path)


def test_of_a_key_written_twice_the_last_counts_as_for_skops(tmp_path: Path) -> None:
    path = tmp_path / "m.skops"
    root = json.dumps({**instance(LINEAR, {}), "protocol": 2})
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("schema.json", root[:-1] + ', "__module__": "os", "__cl\\u0061ss__": "system"}')
    with pytest.raises(NeedsTrust, match=r"os\.system"):
        load_engine(path)


def test_an_archive_of_any_size_is_told_at_once_or_said_to_be_too_large(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.skops", several(*[instance(LINEAR, {})] * 100_000, call("os.system", text("true"))))
    assert [finding.id for finding in detect(path).findings] == ["read-in-part"]
    assert safety.scan(path).dangerous == ("a call of os.system",)


@pytest.mark.parametrize("spoilt", ["{", "[" * 5000, '{"protocol": 2}', '{"protocol": true, "__loader__": "JsonNode"}'])
def test_a_damaged_description_is_never_opened(tmp_path: Path, spoilt: str) -> None:
    with zipfile.ZipFile(tmp_path / "m.skops", "w") as file:
        file.writestr("schema.json", spoilt + '"__class__"')
    assert not examined(tmp_path / "m.skops", "m").complete
    with pytest.raises(UnreadableFile, match=r"m\.skops"):
        load_engine(tmp_path / "m.skops", engine="sklearn")


# --- what is on the lists ------------------------------------------------------------------------------------------


def modules() -> Iterator[ModuleType]:
    """Everything that scikit-learn, NumPy and SciPy bring, but for their tests."""
    for package in ("sklearn", "numpy", "scipy"):
        for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not any(
                part in found.name for part in (".tests", ".externals", "conftest", "distutils", "f2py", "cobyqa")
            ):
                try:
                    yield importlib.import_module(found.name)
                except Exception:
                    continue  # needs what is not installed


def defined(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.slow
def test_no_name_is_taken_but_by_the_module_that_defines_it() -> None:
    """scikit-learn's modules name `attrgetter`, `deepcopy`, `GzipFile` and hundreds more for themselves."""
    every = frozenset().union(*LISTS.values())
    seen = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in modules():
            for attribute, value in list(vars(module).items()):
                seen += 1
                name = f"{module.__name__}.{attribute}"
                if name in every:
                    home = getattr(value, "__module__", None) or module.__name__
                    written = f"{home}.{getattr(value, '__qualname__', attribute)}"
                    # NumPy and SciPy give their functions and types the module that people import them from.
                    assert written in (name, f"numpy.{attribute}", f"scipy.special.{attribute}"), written
    assert seen > 30_000


def test_every_name_on_the_lists_is_what_its_list_says() -> None:
    for section in ("objects", "structures", "losses", "tuples", "sparse", "scalars", "types", "keys"):
        for name in LISTS[section]:
            assert isinstance(defined(name), type), name
    for name in LISTS["objects"] | LISTS["structures"] | LISTS["losses"]:
        cls = defined(name)
        assert f"{cls.__module__}.{cls.__qualname__}" == name
    kernels = (
        type(np.mean),
        np.ufunc,
        type(inspect.getmodule),
        type(defined("sklearn.metrics._dist_metrics.get_valid_metric_ids")),
    )
    for name in LISTS["functions"]:
        assert isinstance(defined(name), kernels), name
    assert not any("PyFunc" in name or ".stats." in name for name in trusted())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "cases"),
    [
        pytest.param("fitted", 210, marks=pytest.mark.long), pytest.param("hostile", 1500, marks=pytest.mark.long),
        ("some hostile", 400),
    ],
)  # fmt: skip
def test_what_is_on_the_lists_reads_writes_and_calls_nothing(tmp_path: Path, which: str, cases: int) -> None:
    """Python's own audit watches while skops puts together every estimator of scikit-learn, fitted; and everything on
    the lists from content made up. Estimators: no false alarm, but for what calls a function."""
    command = [sys.executable, skops_files.__file__, str(tmp_path), which]
    # One thread: quicker where another test has the other processor.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["events"] == []
    assert found["alarms"] == (
        {"FunctionTransformer": "Nothing known to be dangerous was found, but it holds functools.partial."}
        if which == "fitted" else {}
    )  # fmt: skip
    assert found["cases"] > cases
    assert found["opened"] > 0.7 * found["cases"]


# --- real archives -------------------------------------------------------------------------------------------------


def test_an_archive_of_known_types_opens_without_trust(tmp_path: Path) -> None:
    forest = RandomForestClassifier(3).fit(ROWS, SPECIES)
    io.dump(forest, tmp_path / "forest.skops")
    assert detect(tmp_path / "forest.skops").findings == ()
    with load_engine(tmp_path / "forest.skops") as engine:
        np.testing.assert_array_equal(engine.run(ROWS)["probabilities"], forest.predict_proba(ROWS))


def test_a_distribution_never_runs_its_text(tmp_path: Path) -> None:
    from scipy import stats

    proof, path, holder = tmp_path / "it-ran", tmp_path / "model.skops", LogisticRegression().fit(ROWS, SPECIES)
    holder.extra = stats.rv_continuous(name="x")
    holder.extra._parse_arg_template = f"open({str(proof)!r}, 'w')\n{holder.extra._parse_arg_template}"
    io.dump(holder, path)
    with pytest.raises(NeedsTrust, match="rv_continuous"):
        convert(path)
    assert not proof.exists()


def test_an_archive_with_foreign_types_opens_with_trust_alone(tmp_path: Path) -> None:
    from workbench.frameworks.sklearn.engine import load

    path = tmp_path / "model.skops"
    io.dump(FunctionTransformer(func=convert).fit(ROWS), path)
    with pytest.raises(NeedsTrust, match=r"workbench.*trust=True"):
        load(path, "skops")
    assert load(path, "skops", trust=True).func is convert
