"""The fuzz of some formats, in a process of its own: ``python fuzz.py '{"FOLDER": "FAMILY"}' COUNT SEED [--load]``.

FOLDER holds sound files of a format. Each mutated file is looked at by `detect` and a thorough `scan`, and with
``--load`` drawn and opened without trust as well. Printed is one JSON object: how many files, and every fault.
"""

from __future__ import annotations

import encodings
import importlib
import json
import pkgutil
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any

from mutations import mutate

from workbench import WorkbenchError, detect, graph, load_engine, sandbox
from workbench.files import registry
from workbench.safety import scan

HDF5 = (".h5", ".nir")
"""What libhdf5 parses, which may never end: always in a worker."""

CPU_SECONDS = 2.5
"""For one `detect`, on a machine that does `_pace` in `PACE` seconds; the most it reads, 120,000 nodes, takes 2.2."""

PACE = 0.1
MIB = 300

HARMFUL = (
    "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect",
    "ctypes.dlopen", "pickle.find_class", "marshal.loads",
    "exec", "compile", "import", "os.remove", "os.rename", "os.rmdir", "os.chmod",
    "shutil.", "webbrowser.open", "builtins.input", "code.__new__", "function.__new__",
)  # fmt: skip

seen: list[str] = []
watching = False


def hook(event: str, args: tuple[Any, ...]) -> None:
    if not watching or (event == "compile" and args[1] == "<unknown>"):
        return  # `ast.literal_eval`, which reads the head of an array and runs nothing
    if event.startswith(HARMFUL):
        seen.append(f"{event}{str(args)[:200]}")
    elif event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        seen.append(f"open{str(args)[:200]}")


def _pace() -> float:
    start, total = time.process_time(), 0
    for number in range(2_000_000):
        total += number & 7
    return time.process_time() - start


def held_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def watched(call: Any, *args: Any) -> tuple[Any, list[str], float, float]:
    """(the result or WorkbenchError, faults, CPU seconds, MiB above what was held before)"""
    global watching
    Path("/proc/self/clear_refs").write_text("5")
    before, start = held_mib("VmRSS"), time.process_time()
    seen.clear()
    faults, result = [], None
    watching = True
    try:
        result = call(*args)
    except WorkbenchError as error:
        result = error
    except BaseException as error:
        watching = False
        faults.append("".join(traceback.format_exception_only(error))[:300] + traceback.format_exc()[-600:])
    watching = False
    faults += [f"ran {event}" for event in dict.fromkeys(seen)]
    return result, faults, time.process_time() - start, held_mib("VmHWM") - before


def main(families: dict[str, str], count: int, seed: int, load: bool) -> None:
    """Mutate so many files of each folder, as its family of formats is mutated."""
    sound = {folder: sorted(path for path in Path(folder).iterdir() if path.is_file()) for folder in families}
    limit = CPU_SECONDS * max(1.0, _pace() / PACE)
    faults: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        # What is imported on first use is none of the mutated files' doing.
        texts = (f"encodings.{module.name}" for module in pkgutil.iter_modules(encodings.__path__))
        for name in ("numpy.lib.format", "picklescan.scanner", "skops.io", *texts):
            with suppress(ImportError):  # some are another system's
                importlib.import_module(name)
        metadata.version("numpy")  # by whatever finder those have brought along
        for record in registry.FORMATS.values():
            if record.scan:
                registry.at(record.scan)
        for path in (path for paths in sound.values() for path in paths):
            detect(path)
            if path.suffix not in HDF5:
                scan(path)
        sys.addaudithook(hook)
        for folder, index in product(families, range(count)):
            family, source = families[folder], sound[folder][index % len(sound[folder])]
            path = Path(scratch, f"m{source.suffix}")
            path.write_bytes(mutate(source.read_bytes(), family, seed + index))
            found: list[str] = []
            _, said, seconds, mib = watched(detect, path)
            found += said
            if seconds > limit:
                found.append(f"detect took {seconds:.1f} s")
            if mib > MIB:
                found.append(f"detect took {mib:.0f} MiB")
            if source.suffix in (*HDF5, ".keras"):
                with suppress(WorkbenchError):
                    sandbox.run(scan, path, timeout=60, warm=True)
            else:
                _, said, _, _ = watched(scan, path)
                found += said
            if load:
                for door in (graph, load_engine):
                    try:
                        with suppress(WorkbenchError):
                            result = door(path)
                            if hasattr(result, "close"):
                                result.close()
                    except BaseException as error:
                        found.append(f"{door.__name__}: {type(error).__name__}: {str(error)[:300]}")
            if found:
                kept = Path(tempfile.gettempdir(), f"workbench-fuzz-{source.name}-{seed + index}{source.suffix}")
                kept.write_bytes(path.read_bytes())
                faults.append({"source": source.name, "seed": seed + index, "file": str(kept), "faults": found})
    print(json.dumps({"files": count * len(families), "faults": faults}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), "--load" in sys.argv)
