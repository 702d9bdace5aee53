"""Badges of files: read in a process of their own, where one file costs its own badge and no other."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from workbench import many
from workbench.session.badges import Badges
from workbench.session.folder import Look, look

DATA = Path(__file__).parent / "data"
DL = Look("DL", "ONNX")


@pytest.fixture
def reader() -> Iterator[Badges]:
    reader = Badges()
    yield reader
    reader.close()


@pytest.fixture
def folder(tmp_path: Path) -> list[str]:
    for number in range(150):
        shutil.copy(DATA / "mlp.onnx", tmp_path / f"{number:03}.onnx")
    return sorted(map(str, tmp_path.iterdir()))


def read(reader: Badges, paths: list[str]) -> dict[str, Look]:
    told: dict[str, Look] = {}
    reader.read(paths, lambda path, seen: told.__setitem__(path, seen), threading.Event())
    return told


def process(reader: Badges) -> psutil.Process:
    assert reader._reader.worker is not None and reader._reader.worker._process is not None
    return psutil.Process(reader._reader.worker._process.pid)


def external(path: Path, location: str) -> Path:
    tensor = TensorProto(name="w", data_type=TensorProto.UINT8, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])], "g", [], [helper.make_tensor_value_info("y", 2, [4])], [tensor]
    )
    onnx.save(helper.make_model(graph), path)
    return path


def test_a_folder_is_read_by_one_process_which_is_light_and_ends_when_idle(
    reader: Badges, folder: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(read(reader, folder[:1]).values()) == [DL]
    first = process(reader)
    assert read(reader, folder) == dict.fromkeys(folder, DL)
    assert process(reader) == first
    assert first.memory_info().rss < 100 << 20
    assert reader._reader.worker is not None
    imported = reader._reader.worker.run(eval, "sorted(__import__('sys').modules)")
    assert not {"tensorflow", "keras", "sklearn", "nengo", "onnxruntime"} & set(imported)
    monkeypatch.setattr("workbench.session.badges.IDLE_SECONDS", 0.05)
    assert read(reader, [*folder, str(DATA / "gru.onnx")])[str(DATA / "gru.onnx")] == DL
    first.wait(30)
    assert reader._reader.worker is None


def test_a_file_is_read_again_only_after_it_or_what_it_needs_changed(
    reader: Badges, folder: list[str], tmp_path: Path
) -> None:
    model = str(external(tmp_path / "split.onnx", "w.bin"))
    paths = [*folder[:3], model]
    told = read(reader, paths)
    assert (told[model].danger, told[folder[0]].danger) == ("warning", None) and "w.bin" in told[model].says
    reader.close()
    assert read(reader, paths[:3]) == dict.fromkeys(paths[:3], DL) and reader._reader.worker is None
    (tmp_path / "w.bin").write_bytes(b"abcd")
    Path(folder[0]).write_bytes(b"")
    os.unlink(folder[1])
    told = read(reader, paths)
    assert (told[model].danger, told[folder[0]].badge, told[folder[1]].badge) == (None, "empty", "missing")
    assert told[folder[2]] == DL


def test_a_file_that_can_harm_says_so(tmp_path: Path) -> None:
    seen = look(str(external(tmp_path / "m.onnx", "../\N{RIGHT-TO-LEFT OVERRIDE}secret")))
    assert seen.danger == "error" and "outside its own folder" in seen.says
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in seen.says


def test_a_slow_file_costs_its_own_badge(tmp_path: Path, folder: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [helper.make_node("Relu", [f"x{number}"], [f"x{number + 1}"]) for number in range(30_000)]
    slow = tmp_path / "slow.onnx"
    slow.write_bytes(helper.make_model(helper.make_graph(nodes, "g", [], [])).SerializeToString())
    begun = time.process_time()
    look(str(slow))
    monkeypatch.setattr(many, "CPU_SECONDS", (time.process_time() - begun) / 4)
    told: list[Look | None] = []
    before = signal.getsignal(signal.SIGVTALRM)
    try:
        many.each(look, [folder[0], str(slow), folder[1]], 0, told.extend)
    finally:
        signal.signal(signal.SIGVTALRM, before)
    assert told == [DL, None, DL]


@pytest.mark.skipif(sys.platform != "linux", reason="leases are Linux's")
def test_a_file_that_hangs_its_reader_costs_its_own_badge(
    reader: Badges, folder: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read(reader, [str(DATA / "gru.onnx")])  # the worker has begun: what follows waits for files alone
    monkeypatch.setattr(many, "PATIENCE", 3.0)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    with open(folder[70], "r+b") as held:
        try:
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)  # whoever opens it waits for us
        except OSError as error:
            pytest.skip(f"this file system has no leases ({error})")
        try:
            told = read(reader, folder)
        finally:
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            signal.signal(signal.SIGIO, before)
    assert told.pop(folder[70]) == Look("unread")
    assert list(told.values()) == [DL] * 149


def test_a_worker_that_dies_costs_no_badge(reader: Badges, folder: list[str]) -> None:
    told: dict[str, Look] = {}
    dead = []

    def tell(path: str, seen: Look) -> None:
        told[path] = seen
        if len(told) == 20:
            dead.append(process(reader))
            dead[0].kill()

    reader.read(folder, tell, threading.Event())
    assert told == dict.fromkeys(folder, DL) and dead and process(reader) != dead[0]


def test_a_folder_that_was_left_is_read_no_further_and_the_worker_goes_on_with_the_next(
    reader: Badges, folder: list[str]
) -> None:
    given_up = threading.Event()
    told: list[str] = []

    def tell(path: str, seen: Look) -> None:
        told.append(path)
        given_up.set()

    reader.read(folder, tell, given_up)
    assert told == folder[:1]
    assert len(read(reader, folder)) == 150
