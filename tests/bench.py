"""Times and memory of what is promised to be fast: run `make bench`. Prints, asserts nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def fresh(script: str, *arguments: str) -> dict[str, float]:
    """Run a script in an interpreter of its own; it prints one JSON object."""
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def median_ms(call: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1e6


def import_time() -> None:
    bare = statistics.median(_process_ms("pass") for _ in range(7))
    full = statistics.median(_process_ms("import workbench") for _ in range(7))
    print(f"import workbench        {full - bare:8.1f} ms beyond Python's own start of {bare:.1f} ms")


def _process_ms(code: str) -> float:
    start = time.perf_counter_ns()
    subprocess.run([sys.executable, "-c", code], check=True)
    return (time.perf_counter_ns() - start) / 1e6


def big_model(path: Path, megabytes: int, wide: int = 2000) -> None:
    """A network of MatMul and Relu pairs, of 16 MB of weights each where they are 2,000 wide."""
    count = megabytes * 10**6 // (4 * wide**2)
    weights = np.random.default_rng(0).normal(size=(wide, wide)).astype(np.float32)
    nodes, tensors, value = [], [], "x"
    for index in range(count):
        nodes += [
            helper.make_node("MatMul", [value, f"w{index}"], [f"m{index}"], name=f"dense_{index}"),
            helper.make_node("Relu", [f"m{index}"], [f"r{index}"], name=f"relu_{index}"),
        ]
        tensors.append(numpy_helper.from_array(weights, f"w{index}"))
        value = f"r{index}"
    graph = helper.make_graph(
        nodes,
        "big",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", wide])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["n", wide])],
        tensors,
    )
    onnx.save(helper.make_model(graph), path)


PEAK = """
import json, re, sys, time
from pathlib import Path
def forget_peak():  # Linux: the peak starts again from what is resident now
    Path("/proc/self/clear_refs").write_text("5")
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
"""

SCAN = (
    PEAK
    + """
from workbench import detect
detect(sys.argv[2])  # modules loaded, code compiled
forget_peak()
before, times = peak(), []
for _ in range(21):
    start = time.perf_counter_ns()
    detect(sys.argv[1])
    times.append((time.perf_counter_ns() - start) / 1e6)
print(json.dumps({"first_ms": times[0], "ms": sorted(times)[10], "grown_mib": peak() - before}))
"""
)

LOAD = (
    PEAK
    + """
import onnx
onnx.load(sys.argv[2])
forget_peak()
before, times = peak(), []
for _ in range(5):
    start = time.perf_counter_ns()
    onnx.load(sys.argv[1])
    times.append((time.perf_counter_ns() - start) / 1e6)
print(json.dumps({"ms": sorted(times)[2], "grown_mib": peak() - before}))
"""
)


def scan(folder: Path) -> None:
    small, big = folder / "small.onnx", folder / "big.onnx"
    big_model(small, 16)
    big_model(big, 552)
    ours, theirs = fresh(SCAN, str(big), str(small)), fresh(LOAD, str(big), str(small))
    print(f"\n{big.stat().st_size / 1e6:.0f} MB model, in the page cache")
    first = f"first call {ours['first_ms']:.2f} ms"
    print(f"  detect                {ours['ms']:8.2f} ms, {ours['grown_mib']:7.1f} MiB grown ({first})")
    print(f"  onnx.load             {theirs['ms']:8.2f} ms, {theirs['grown_mib']:7.1f} MiB grown")
    print(f"  ratio                 {theirs['ms'] / ours['ms']:8.0f} times faster")


def small_files() -> None:
    from workbench import detect

    data = Path(__file__).parent / "data"
    light = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("*.onnx"))
    print("\nsmall files: detect, onnx.load")
    for path in [data / "mlp.onnx", data / "snn_leaky_t2_dynamo.onnx", *light[-3:]]:
        ours = median_ms(lambda path=path: detect(path), 31)  # type: ignore[misc]
        theirs = median_ms(lambda path=path: onnx.load(path), 31)  # type: ignore[misc]
        print(f"  {path.name:34} {path.stat().st_size / 1000:8.1f} kB {ours:8.2f} ms {theirs:8.2f} ms")


def pages() -> None:
    from workbench import graph

    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    print("\ngraph pages: size, time to build (the first one reads Netron's modules)")
    for path in [
        Path(__file__).parent / "data" / "mlp.onnx",
        light / "light_squeezenet.onnx",
        light / "light_resnet50.onnx",
    ]:
        start = time.perf_counter()
        size = len(graph(path).page().encode())
        print(f"  {path.name:34} {size / 1024:8.1f} KiB {(time.perf_counter() - start) * 1000:8.0f} ms")


AUDIT = """
import json, sys, time
import psutil
import workbench
from workbench import audit
peak, resident = 0, lambda: sum(one.memory_info().rss for one in [me, *me.children(recursive=True)])
me = psutil.Process()
def tell(row):
    global peak, told
    told += 1
    if told % 500 == 0:
        peak = max(peak, resident())
times = []
for _ in range(2):
    told, begin = 0, time.perf_counter()
    found = audit(sys.argv[1], tell=tell)
    times.append(time.perf_counter() - begin)
used = me.cpu_times()
print(json.dumps({"files": len(found.rows), "seconds": times[1], "mib": peak / 2**20,
                  "cpu_ms": (used.user + used.system + used.children_user + used.children_system) / 2e-3 / told}))
"""


def audits(folder: Path) -> None:
    from audit_tree import plant

    plant(folder / "tree", 4000)
    done = fresh(AUDIT, str(folder / "tree"))
    print("\naudit of small files of every sort, from the page cache")
    print(f"  {done['files']:,.0f} files        {done['files'] / done['seconds']:8.0f} a second, {done['mib']:.0f} MiB")
    print(f"  of a processor's time {done['cpu_ms']:8.2f} ms for each")


def far(folder: Path) -> None:
    """A header over HTTP, where each request takes 20 ms."""
    from far import serving

    from workbench.audit.look import look

    big_model(folder / "far.onnx", 100, 394)
    with serving(folder, latency=0.02) as server:
        look(f"{server.url}/far.onnx")  # modules loaded, connected
        for several in (True, False):
            server.several = several
            server.reset()
            begin = time.perf_counter()
            row = look(f"{server.url}/far.onnx")
            seconds = time.perf_counter() - begin
            how = "several ranges a request" if several else "one range a request"
            print(f"\n{row.size / 1e6:,.0f} MB over HTTP, 20 ms away, {how}")
            print(f"  {len(server.asked):,} requests, {server.sent:,} bytes, {seconds:.2f} s")


if __name__ == "__main__":
    print(
        f"Python {platform.python_version()}, onnx {onnx.__version__}, {os.cpu_count()} cores, {platform.machine()}\n"
    )
    import_time()
    with tempfile.TemporaryDirectory() as name:
        scan(Path(name))
        audits(Path(name))
        if importlib.util.find_spec("fsspec"):
            far(Path(name))
    small_files()
    pages()
