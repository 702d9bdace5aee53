"""skops archives made by hand, node by node; and, run as a program, all that `workbench.safety` lets pass, opened while
Python's audit listens: ``python skops_files.py FOLDER fitted|hostile|"some hostile"`` prints what it heard as JSON."""

from __future__ import annotations

import io
import json
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def node(loader: str, name: str, **more: Any) -> dict[str, Any]:
    module, _, cls = name.rpartition(".")
    return {"__class__": cls, "__module__": module, "__loader__": loader, **more}


def text(value: Any) -> dict[str, Any]:
    return node("JsonNode", "builtins.str", content=json.dumps(value), is_json=True)


def several(*nodes: Any, loader: str = "TupleNode") -> dict[str, Any]:
    return node(loader, f"builtins.{loader.removesuffix('Node').lower()}", content=list(nodes))


def call(name: str, *arguments: Any) -> dict[str, Any]:
    return node("ConstructorFromReduceNode", name, content=several(*arguments))


def mapping(items: dict[str, Any], key: Any = None, keys: Any = None) -> dict[str, Any]:
    kinds = [node("TypeNode", "builtins.str") if key is None else key] * len(items)
    return node("DictNode", "builtins.dict", content=items, key_types=keys or several(*kinds, loader="ListNode"))


def instance(name: str, attributes: dict[str, Any], state: Any = None) -> dict[str, Any]:
    return node("ObjectNode", name, content=state or mapping(attributes))


def archive(path: Path, root: dict[str, Any], protocol: int = 2) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("schema.json", json.dumps({**root, "protocol": protocol, "_skops_version": "0.16"}))
        for number, value in enumerate((np.array(EVIL), np.arange(3), np.array(7))):
            data = io.BytesIO()
            np.save(data, value)
            file.writestr(f"{number}.npy", data.getvalue())
    return path


EVIL = ["__import__('os').system('touch it-ran')", "/etc/passwd", "os.system", "../../it-ran"]
"""What a careless reader would run or open."""

STRUCTURE = "sklearn.metrics._dist_metrics.EuclideanDistance64"
NAMED = ("memory", "func", "metric", "kernel", "path", "_sklearn_version", "a")


def _hostile() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every name on the lists, put together from content made up."""
    from workbench.frameworks.sklearn.skops import NAMES as SKOPS
    from workbench.safety.names import listed

    lists = listed(SKOPS)
    calls = {name: node("FunctionNode", "numpy.max") for name in NAMED}
    tuples = [several(*map(text, values)) for values in ((), EVIL, range(20), ([1, 2], {}, None))]
    for name in lists["objects"]:
        yield name, node("ObjectNode", name)
        for attributes in ({}, dict.fromkeys(NAMED, text(EVIL[0])), calls):
            yield name, instance(name, attributes)
    arrays = [node("NdArrayNode", "numpy.ndarray", type="numpy", file=f"{number}.npy") for number in range(3)]
    for name in lists["structures"]:
        for array in arrays:
            inner = instance(STRUCTURE, {}, several(text(2.0), arrays[1], array))
            state = several(*[array] * 4, *map(text, range(7)), inner, text(None))
            yield (
                name,
                instance(name, {}, state) if ".neighbors." in name else {**inner, "__class__": name.split(".")[-1]},
            )
    for state in tuples:
        for name in lists["losses"]:
            yield name, node("LossNode", name, content=mapping(calls), __reduce__={"args": state})
        for name in lists["tuples"]:
            yield name, node("TupleNode", name, content=state["content"])
    for name in lists["scalars"]:
        for number in range(3):
            yield name, node("NdArrayNode", name, type="numpy", file=f"{number}.npy")
    for name in lists["keys"]:
        yield name, mapping({EVIL[1]: text(1)}, node("TypeNode", name))
    for name in lists["functions"]:
        yield name, node("FunctionNode", name)
    for name in lists["types"]:
        yield name, node("TypeNode", name)


def _some() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every name once, one of its contents after the other."""
    contents: dict[str, list[dict[str, Any]]] = {}
    for name, made in _hostile():
        contents.setdefault(name, []).append(made)
    for place, (name, each) in enumerate(contents.items()):
        yield name, each[place % len(each)]


def _fitted() -> Iterator[tuple[str, bytes]]:
    """Every estimator of scikit-learn, as skops' own tests make and fit them."""
    import skops.io
    from skops.io.tests.test_persist import _tested_estimators, get_input

    for estimator in _tested_estimators():
        rows, targets = get_input(estimator)
        try:
            estimator.fit(rows, targets)
        except TypeError:  # encoders of labels
            estimator.fit(rows)
        yield type(estimator).__name__, skops.io.dumps(estimator)


QUIET = frozenset(
    "object.__getattr__ object.__setattr__ object.__delattr__ sys._getframe builtins.id array.__new__".split()
)
"""What calculating and Python's own machinery cause."""


def main(folder: Path, which: str) -> None:
    import skops.io

    from workbench.files.wire import Steps
    from workbench.frameworks.sklearn.skops import examined, trusted

    events: list[str] = []
    watching = False

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        # ast.literal_eval, for the heads of NumPy's files, compiles under this name and runs nothing.
        if watching and event not in QUIET and not (event == "compile" and arguments[1] == "<unknown>"):
            events.append(f"{event} {arguments}"[:200])

    sys.addaudithook(heard)
    opened, cases, alarms = 0, 0, {}
    path = folder / "m.skops"
    for name, made in {"fitted": _fitted, "hostile": _hostile, "some hostile": _some}[which]():
        data = made if isinstance(made, bytes) else archive(path, made).read_bytes()
        path.write_bytes(data)
        cases += 1
        found = examined(path, name)
        if found.runs_code or not found.complete or examined(path, name, Steps()) != found:
            alarms[name] = found.says
            continue
        for watching in (False, True):  # what is not there yet is imported the first time
            try:
                skops.io.load(io.BytesIO(data), trusted=trusted())
                opened += watching
            except Exception:
                if which == "fitted":
                    raise
        watching = False
    print(json.dumps({"cases": cases, "opened": opened, "alarms": alarms, "events": events}))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.path.insert(0, str(Path(__file__).parent.parent))
    main(Path(sys.argv[1]), sys.argv[2])
