"""Far files: the same answers as of near ones, from few requests; and a sentence for whatever a server does."""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from far import Server, serving
from onnx import TensorProto, helper, numpy_helper

from workbench import BadInput, WorkbenchError, audit, detect
from workbench.audit.exports import EXPORTS
from workbench.audit.look import look
from workbench.files import remote
from workbench.files.header import parse_header
from workbench.files.ranges import RangeBytes
from workbench.files.wire import Span

fsspec = pytest.importorskip("fsspec", reason="far files are read through fsspec: pip install 'fsspec[http]'")

GRU = Path(__file__).parent / "data" / "gru.onnx"


def bottlenecks() -> Iterator[tuple[int, ...]]:
    """Shapes of ResNet-50's kernels."""
    before = 64
    yield 64, 3, 7, 7
    for count, wide in ((3, 64), (4, 128), (6, 256), (3, 512)):
        for block in range(count):
            yield wide, before, 1, 1
            yield wide, wide, 3, 3
            yield 4 * wide, wide, 1, 1
            if not block:
                yield 4 * wide, before, 1, 1
            before = 4 * wide


def network(shapes: Sequence[tuple[int, ...]], scaled: bool) -> onnx.ModelProto:
    """Convolutions, each with a scale and a shift if it is `scaled`; the weights are noughts."""
    nodes, weights, value = [], [], "x"
    for number, shape in enumerate(shapes):
        kernel = f"layer.{number}.weight"
        weights.append(numpy_helper.from_array(np.zeros(shape, np.float32), kernel))
        nodes.append(helper.make_node("Conv", [value, kernel], [value := f"c{number}"], name=f"/layer.{number}/Conv"))
        for op_type in ("Mul", "Add") if scaled else ():
            name = f"layer.{number}.{op_type}"
            weights.append(numpy_helper.from_array(np.zeros((shape[0], 1, 1), np.float32), name))
            nodes.append(helper.make_node(op_type, [value, name], [value := name + ".out"], name="/" + name))
        nodes.append(helper.make_node("Relu", [value], [value := f"r{number}"], name=f"/layer.{number}/Relu"))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 224, 224])
    y = helper.make_tensor_value_info(value, TensorProto.FLOAT, None)
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y], weights), ir_version=8)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("web")
    onnx.save(network([(256, 606, 1, 1)] * 161, scaled=False), root / "alike.onnx")  # 100 MB, 161 tensors
    np.savez(root / "arrays.npz", **{f"a{number}": np.zeros(50_000) for number in range(100)})  # 40 MB
    onnx.save(network([*bottlenecks(), (1000, 2048, 1, 1)], scaled=True), root / "resnet.onnx")  # 102 MB, 162 tensors
    for name in ("ok", "403", "500", "stalls", "lies"):
        shutil.copy(GRU, root / f"{name}.onnx")
    (root / "models" / "deep").mkdir(parents=True)
    shutil.copy(GRU, root / "models" / "deep" / "gru.onnx")
    (root / "models" / "empty.onnx").touch()
    with zipfile.ZipFile(root / "packed.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(GRU, "inside/gru.onnx")
    with serving(root) as server:
        yield server


@pytest.mark.parametrize("several", [True, False, None], ids=["several-ranges", "one-range", "hangs-up"])
@pytest.mark.parametrize("name", ["alike", "resnet"])
def test_a_header_far_away_takes_few_requests_and_bytes_and_says_the_same(
    name: str, several: bool | None, web: Server
) -> None:
    near = look(str(web.folder / f"{name}.onnx"))
    web.several = several
    web.reset()
    far = look(f"{web.url}/{name}.onnx")  # `detect`, and what an audit asks beside
    web.several = True
    assert near.kind == "DL" and far.path == f"{web.url}/{name}.onnx"
    assert replace(far, path="", changed=0, detection={}) == replace(near, path="", changed=0, detection={})
    assert web.sent <= 0.005 * near.size
    if several:  # else each range is a request, six at once
        assert len(web.asked) <= 40


def test_an_archive_far_away_is_looked_through_in_few_requests(web: Server) -> None:
    web.reset()
    far, near = look(f"{web.url}/arrays.npz"), look(str(web.folder / "arrays.npz"))
    assert (far.format, far.findings) == (near.format, near.findings) == ("NumPy npz", ())
    assert len(web.asked) <= 40 and web.sent <= 0.05 * near.size


@pytest.mark.parametrize("seed", range(20))
def test_far_bytes_are_the_bytes_whatever_is_guessed(seed: int) -> None:
    rng = random.Random(seed)
    content = rng.randbytes(400_000)
    sent = content[: rng.choice([400_000, 400_000, 250_000])]  # a server may have less than it says

    def fetch(spans: Sequence[Span]) -> list[bytes]:
        assert all(0 <= start < stop <= len(content) for start, stop in spans)
        return [sent[start:stop] for start, stop in spans]

    buffer, at = RangeBytes(len(content), fetch), 0
    for _ in range(300):
        step = rng.choice([100, 30_000, 30_000, -60_000, rng.randrange(1, 100_000)])
        at = (at + step) % len(content)
        length = rng.choice([1, 40, 700, 20_000])
        assert buffer[at : at + length] == sent[at : at + length]
        near = buffer.near(at, length)
        assert sent[at:].startswith(near) and len(near) >= min(length, len(sent) - at)
    assert bytes(buffer[-100:]) == sent[len(content) - 100 :]


@pytest.mark.parametrize("said", [True, False], ids=["said", "unsaid"])
@pytest.mark.parametrize("name", ["gru.onnx", "snn_leaky.onnx"])
def test_a_header_cut_short_anywhere_is_told_as_of_a_near_file(name: str, said: bool) -> None:
    """Also where a server says that there is more than it gives."""
    content = (GRU.parent / name).read_bytes()
    for end in range(1, len(content), 61):
        cut = content[:end]
        told: list[str] = []
        for buffer in (
            cut,
            RangeBytes(len(cut if said else content), lambda spans, cut=cut: [cut[a:b] for a, b in spans]),
        ):  # type: ignore[misc]
            try:
                parse_header(buffer)
                told.append("")
            except WorkbenchError as error:
                told.append(str(error) if said else type(error).__name__)
        assert told[0] == told[1] or (not said and all(told))


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("403.onnx", "403"), ("500.onnx", "500"), ("gone.onnx", "404"), ("stalls.onnx", "within 1 seconds"),
        ("lies.onnx", "cut short"), ("models/empty.onnx", "empty"),
    ],
)  # fmt: skip
def test_what_a_server_does_wrong_is_a_sentence_and_a_row_without_the_password(
    name: str, match: str, web: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "SECONDS", 1.0)
    url = web.url.replace("://", "://ada:geheim@") + f"/{name}?X-Amz-Signature=abcdef"
    with pytest.raises(WorkbenchError, match=match) as caught:
        detect(url)
    row = look(url)
    assert row.findings[0].id in ("unreachable", "damaged") and row.kind is None
    for said in (str(caught.value), json.dumps(row.to_dict())):
        assert "geheim" not in said and "abcdef" not in said and name in said


def test_a_server_without_ranges_is_told_before_all_is_sent(web: Server) -> None:
    web.ranges = False
    try:
        assert detect(f"{web.url}/ok.onnx").kind == "DL"  # small enough to be read whole
        with pytest.raises(remote.Unreachable, match="no parts"):
            detect(f"{web.url}/alike.onnx")
    finally:
        web.ranges = True


def test_no_more_is_fetched_of_a_file_than_a_header_takes(web: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MOST", 100_000)
    web.reset()
    with pytest.raises(remote.Unreachable, match="download it"):
        detect(f"{web.url}/resnet.onnx")
    assert web.sent <= 100_000


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://ada:ge/he@im@host/a.onnx", "https://***@host/a.onnx"), ("https://token@host/a.onnx", "https://***@host/a.onnx"),
        ("https://host/a.onnx?sig=1#x", "https://host/a.onnx?***"), ("s3://bucket/a?.onnx", "s3://bucket/a?.onnx"),
        ("abfs://box@account.dfs.core.windows.net/a", "abfs://box@account.dfs.core.windows.net/a"),
        ("zip://a.onnx::https://u:p@h/x.zip?s=1", "zip://a.onnx::https://***@h/x.zip?***"),
        ("memory://a", "memory://a"), ("https://host:80/net@2/a.onnx", "https://host:80/net@2/a.onnx"),
        ("https://u:p@host:80/net@2/a", "https://***@host:80/net@2/a"), ("abfs://u:p@host/a", "abfs://***@host/a"),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_secrets(url: str, shown: str) -> None:
    assert remote.is_url(url) and remote.shown(url) == shown


def test_an_audit_takes_folders_patterns_and_members_anywhere(web: Server, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for name in ("/shelf/a.onnx", "/shelf/deep/b.onnx", "/shelf/c.txt"):
        memory.pipe(name, GRU.read_bytes())
    secret = web.url.replace("://", "://ada:geheim@")
    asked = [
        f"{secret}/models/", f"{web.url}/ok.onnx", f"zip://inside/gru.onnx::{secret}/packed.zip",
        "memory://shelf", f"file://{GRU}", f"{web.url}/gone.onnx", "memory://nowhere",
    ]  # fmt: skip
    found = audit(asked, results=tmp_path / "rows.jsonl")
    kinds = [row.kind for row in found.rows]
    assert kinds.count("DL") == 7 and kinds.count(None) == 3  # empty, gone and nowhere
    assert {row.path for row in found.rows if row.path.startswith("memory://shelf")} == {
        "memory://shelf/a.onnx", "memory://shelf/c.txt", "memory://shelf/deep/b.onnx",
    }  # fmt: skip
    said = "".join(write(found) for write in EXPORTS.values()) + (tmp_path / "rows.jsonl").read_text()
    assert "geheim" not in said and str(GRU) in said
    assert [row.path for row in audit("memory://shelf/*.onnx").rows] == ["memory:///shelf/a.onnx"]
    # What a listing says of size and change tells which rows still stand.
    told: list[str] = []
    memory.pipe("/shelf/a.onnx", GRU.read_bytes()[:-5])
    audit("memory://shelf", results=tmp_path / "rows.jsonl", tell=lambda row: told.append(row.path))
    assert told == ["memory://shelf/a.onnx"]


def test_where_many_ranges_are_read_at_once_the_answers_are_the_same(web: Server) -> None:
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

    class Shelf(AsyncFileSystemWrapper):  # type: ignore[misc]  # as s3://, gs:// and az:// are made
        protocol = "shelf"

        def __init__(self, **options: object) -> None:
            super().__init__(fsspec.filesystem("file"), **options)

    fsspec.register_implementation("shelf", Shelf, clobber=True)
    far = look(f"shelf://{web.folder}/resnet.onnx")
    near = look(str(web.folder / "resnet.onnx"))
    assert replace(far, path="", changed=0, detection={}) == replace(near, path="", changed=0, detection={})
    assert len(audit(f"file://{web.folder}/models").rows) == len([*remote.listed(f"shelf://{web.folder}/models")]) == 2


@pytest.mark.parametrize(
    ("url", "match"), [("onyx://a/b", "onyx"), pytest.param("s3://bucket/a", "s3fs", id="s3"), ("http://[::1", "IPv6")]
)
def test_a_url_that_nobody_reads_is_told(url: str, match: str) -> None:
    if url.startswith("s3") and importlib.util.find_spec("s3fs"):
        pytest.skip("s3fs is installed here")
    with pytest.raises((BadInput, remote.Unreachable), match=match):
        detect(url)
