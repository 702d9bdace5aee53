"""An audit on a Dask cluster: the rows of one here, whatever becomes of its workers."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from workbench import BadInput, audit
from workbench.audit import cluster as reading
from workbench.sandbox import Cancelled

distributed = pytest.importorskip("distributed", reason="a cluster needs Dask: pip install distributed")

DATA = Path(__file__).parent / "data"
FILES = 4 * reading.TASK


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("many")
    for number in range(FILES):
        shutil.copy(DATA / ("gru.onnx" if number % 2 else "linear.onnx"), root / f"{number:04}.onnx")
    return root


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as running:
        yield running


def test_with_a_worker_killed_in_the_middle_nothing_is_lost_and_nothing_twice(folder: Path, cluster: Any) -> None:
    told: list[str] = []

    def tell(row: Any) -> None:
        if not told:
            os.kill(next(iter(cluster.workers.values())).process.pid, signal.SIGKILL)
        told.append(row.path)

    found = audit(folder, scheduler=cluster.scheduler_address, tell=tell)
    assert len(told) == len({*told}) == FILES
    assert found.rows == audit(folder).rows


def test_a_client_stays_open_and_an_audit_given_up_there_goes_on(folder: Path, cluster: Any, tmp_path: Path) -> None:
    stop = threading.Event()
    with distributed.Client(cluster, set_as_default=False) as client:
        with pytest.raises(Cancelled):
            audit(folder, scheduler=client, results=tmp_path / "r", tell=lambda row: stop.set(), cancel=stop)
        before = len((tmp_path / "r").read_text().splitlines())
        told: list[str] = []
        found = audit(folder, scheduler=client, results=tmp_path / "r", tell=lambda row: told.append(row.path))
        assert len(told) == FILES - before < FILES and len(found.rows) == FILES
        assert client.status == "running"


def test_what_is_no_scheduler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CONNECTING", 1)
    for given, match in (("tcp://127.0.0.1:9", "No Dask scheduler"), ("nowhere", "No Dask"), (3, "an address")):
        with pytest.raises(BadInput, match=match):
            audit(DATA / "gru.onnx", scheduler=given)
