"""TensorFlow graphs: every operator is known to calculate, or is named before the graph is opened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench import convert, detect, load_engine, safety
from workbench.errors import NeedsTrust
from workbench.frameworks.tensorflow import convert as route
from workbench.frameworks.tensorflow.scan_graphs import NAMES as TENSORFLOW
from workbench.safety.names import listed

LISTS = listed(TENSORFLOW)

READERS_AND_WRITERS = (
    "ReadFile WriteFile MatchingFiles ImmutableConst RecordInput DecodeProtoV2 EncodeProto LoadAndRemapMatrix "
    "GenerateVocabRemapping FixedUnigramCandidateSampler Skipgram InitializeTableFromTextFileV2 TextLineReaderV2 "
    "TFRecordReaderV2 WholeFileReaderV2 TextLineDataset TFRecordDatasetV2 SaveV2 RestoreV2 Save Restore "
    "MergeV2Checkpoints PyFunc PyFuncStateless EagerPyFunc PrintV2 CreateSummaryFileWriter WriteSummary "
    "CreateSummaryDbWriter DumpTensor DebugIdentityV2 CopyHost RemoteCall Send Recv CollectiveReduceV2 RpcClient "
    "RpcServer DataServiceDatasetV4 DistributedSave XlaCallModule XlaCustomCallV2 TRTEngineOp Abort "
    "FileSystemSetConfiguration"
).split()


@pytest.fixture(scope="module", autouse=True)
def tf() -> Any:
    return route.start()


def registered() -> dict[str, Any]:
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    found = op_def_pb2.OpList()
    found.ParseFromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    return {op.name: op for op in found.op}


# --- the list ------------------------------------------------------------------------------------------------------

TELLING = re.compile(
    "file|path|dir|vocab|address|descriptor|token|librar|uri|url|host|server|service|writer|reader|module|script"
    "|target|debug_ops|region|worker|cluster|recv|send|memory"
)
"""Words in the names of attributes and inputs of operators that reach out."""

SPEAKING_OF_ELSE = {"description", "direction", "num_host_args", "recall_target", "swap_memory", "targets", "top_paths"}


def test_what_calculates_is_registered_and_takes_no_name_of_a_file_or_machine() -> None:
    from tensorflow.core.framework import types_pb2

    ops = registered()
    assert LISTS["calculates"] <= ops.keys()
    for name in LISTS["calculates"]:
        op = ops[name]
        words = {attr.name for attr in op.attr} | {
            arg.name for arg in op.input_arg if arg.type in (types_pb2.DT_STRING, types_pb2.DT_INVALID)
        }
        assert not {word for word in words - SPEAKING_OF_ELSE if TELLING.search(word)}, name


def test_what_holds_state_holds_it_in_memory() -> None:
    """TensorFlow says of every operator whether running it may change anything, or end in an error of its own."""
    families = re.compile(
        r"Variable|Table|^Stack|TensorArray|Random|Uniform|Normal|Multinomial|CandidateSampler|Bounding|Rng|NonDeter"
        r"|^Scatter|Resource|Assign|BoostedTrees|Sparse(To|From)|SparseFromTensorsMap|SparseToTensorsMap|CudnnRNN"
        r"|^(Stateful|Stateless)|^(If|While|Case|For|Timestamp|Empty|Assert|_Arg|_Retval|GuaranteeConst"
        r"|DisableCopyOnRead|VarHandleOp|VarIsInitializedOp|InitializeTableV2|DeviceIndex|DeepCopy|CheckNumerics(V2)?)$|^Inplace"
    )
    ops = registered()
    odd = {name for name in LISTS["calculates"] if ops[name].is_stateful and not families.search(name)}
    assert odd == set()


def test_what_reads_and_writes_is_known_to_and_nothing_is_on_both_lists() -> None:
    assert set(READERS_AND_WRITERS) <= LISTS["reaches out"]
    assert not LISTS["calculates"] & LISTS["reaches out"]
    assert not {name for name in LISTS["calculates"] if re.search("Dataset|Iterator|Queue|Barrier|TPU|^Xla", name)}


# --- frozen graphs -------------------------------------------------------------------------------------------------


def graph_def(tf: Any) -> Any:
    found = tf.compat.v1.GraphDef()
    found.node.add(name="x", op="Placeholder")
    return found


def in_the_graph(tf: Any, op: str) -> bytes:
    found = graph_def(tf)
    found.node.add(name="y", op=op, input=["x"])
    return bytes(found.SerializeToString())


def in_a_function(tf: Any, op: str) -> bytes:
    found = graph_def(tf)
    function = found.library.function.add()
    function.signature.name = "inner"
    function.node_def.add(name="y", op=op)
    return bytes(found.SerializeToString())


def said_first_of_two(tf: Any, op: str) -> bytes:
    from tensorflow.core.framework import node_def_pb2

    found = graph_def(tf)
    # GraphDef: node = 1; NodeDef: op = 2. Protobuf takes the last, other readers the first.
    node = node_def_pb2.NodeDef(op=op).SerializeToString() + node_def_pb2.NodeDef(op="Add").SerializeToString()
    return bytes(found.SerializeToString()) + bytes([1 << 3 | 2, len(node)]) + node


@pytest.mark.parametrize("place", [in_the_graph, in_a_function, said_first_of_two])
def test_an_operator_that_reaches_out_is_found_wherever_it_stands(tf: Any, tmp_path: Path, place: Any) -> None:
    path = tmp_path / "m.pb"
    for op in READERS_AND_WRITERS:
        path.write_bytes(place(tf, op))
        found = safety.scan(path)
        assert (found.runs_code, found.dangerous) == (True, (f"the operator {op}",))
        assert detect(path).findings == found.findings
    with pytest.raises(NeedsTrust, match=f"the operator {op}"):
        load_engine(path)


def test_an_operator_nobody_knows_asks_for_trust(tf: Any, tmp_path: Path) -> None:
    for op in ("NobodysOp", "FIFOQueueV2", "Mine>Op"):
        (tmp_path / "m.pb").write_bytes(in_the_graph(tf, op))
        found = safety.scan(tmp_path / "m.pb")
        assert (found.runs_code, found.dangerous, found.unusual) == (True, (), (f"the operator {op}",))


def test_a_graph_calls_the_functions_it_holds_and_no_others(tf: Any, tmp_path: Path) -> None:
    """Others that TensorFlow finds in this process are somebody else's."""
    found = graph_def(tf)
    function = found.library.function.add()
    function.signature.name = "Inner"
    function.node_def.add(name="y", op="Add")
    found.node.add(name="a", op="Inner")
    for name in ("Inner", "other"):
        found.node.add(name=name, op="PartitionedCall").attr["f"].func.name = name
        found.node.add(name=f"{name}_2", op="Case").attr["branches"].list.func.add(name=name)
        nested = found.node.add(name=f"{name}_3", op="PartitionedCall").attr["f"].func
        nested.name = "Inner"
        nested.attr["g"].func.name = f"{name}_g" if name == "other" else name
        (tmp_path / "m.pb").write_bytes(found.SerializeToString())
        calls = ("other", "other_g") if name == "other" else ()
        assert safety.scan(tmp_path / "m.pb").unusual == tuple(
            f"a call of {call}, which it does not hold" for call in calls
        )


def test_a_function_under_the_name_of_an_operator_does_not_hide_it(tf: Any, tmp_path: Path) -> None:
    found = graph_def(tf)
    found.library.function.add().signature.name = "ReadFile"
    found.node.add(name="y", op="ReadFile")
    (tmp_path / "m.pb").write_bytes(found.SerializeToString())
    assert safety.scan(tmp_path / "m.pb").dangerous == ("the operator ReadFile",)


def test_a_file_is_not_read_into_a_networks_answer(tf: Any, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_bytes(b"TOPSECRET-0123456789-abcdefghij!")
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 1], name="x")
        memory = tf.raw_ops.ImmutableConst(dtype=tf.uint8, shape=[32], memory_region_name=str(tmp_path / "secret.txt"))
        tf.add(tf.cast(memory, tf.float32), 0 * x, name="y")
    path = tmp_path / "m.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    for opener in (load_engine, convert):
        with pytest.raises(NeedsTrust, match="the operator ImmutableConst"):
            opener(path)
    assert [finding.level for finding in detect(path).findings] == ["error"]
    with load_engine(path, trust=True) as engine:
        assert bytes(engine.run(np.zeros((1, 1), np.float32))["y"].astype(np.uint8).ravel()).startswith(b"TOPSECRET")


def test_a_graph_damaged_inside_is_not_opened(tf: Any, tmp_path: Path) -> None:
    found = graph_def(tf)
    found.node.add(name="y", op="Const").attr["value"].s = b"\xff" * 40
    data = found.SerializeToString()
    # AttrValue: s = 2; a field of wire type 3, which its end would have to follow.
    at = data.index(b"\x12\x28" + b"\xff" * 40)
    (tmp_path / "m.pb").write_bytes(data[:at] + b"\x1b\x28" + data[at + 2 :])
    scan = safety.scan(tmp_path / "m.pb")
    assert scan.runs_code and not scan.complete


def test_a_graph_of_any_size_is_told_at_once(tf: Any, tmp_path: Path) -> None:
    node = in_the_graph(tf, "Add")
    path = tmp_path / "m.pb"
    path.write_bytes(in_the_graph(tf, "ReadFile") + node * 100_000 + in_the_graph(tf, "WriteFile"))
    # What stands behind a great many is for the scan.
    harms, in_part = detect(path).findings
    assert harms.where == "the operator ReadFile" and in_part.id == "read-in-part"
    assert safety.scan(path).dangerous == ("the operator ReadFile", "the operator WriteFile")


# --- SavedModels ---------------------------------------------------------------------------------------------------


def saved(tf: Any, path: Path, body: Any, **attributes: Any) -> Path:
    module = tf.Module()
    module.weight = tf.Variable([1.0])
    for name, value in attributes.items():
        setattr(module, name, value)
    function = tf.function(lambda x: {"y": body(x) + module.weight}, input_signature=[tf.TensorSpec([1], tf.float32)])
    tf.saved_model.save(module, str(path), signatures=function)
    return path


def test_a_saved_model_saves_and_restores_by_its_own_saver_alone(tf: Any, tmp_path: Path) -> None:
    def restores(x: Any) -> Any:
        return tf.raw_ops.RestoreV2(prefix="/x", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32])[0]

    def saves(x: Any) -> Any:
        tf.raw_ops.SaveV2(prefix="/x", tensor_names=["a"], shape_and_slices=[""], tensors=[x])
        return x

    bodies = {(): lambda x: x, ("the operator RestoreV2",): restores, ("the operator SaveV2",): saves}
    for number, (dangerous, body) in enumerate(bodies.items()):
        found = safety.scan(path := saved(tf, tmp_path / str(number), body))
        assert (found.runs_code, found.dangerous, found.unusual, found.complete) == (True, dangerous, (), True)
        assert detect(path).findings == found.findings


def first_version(tf: Any, path: Path, restored: Any = None) -> Path:
    """A SavedModel of TensorFlow 1, whose saver is a part of the graph."""
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        x = v1.placeholder(tf.float32, [None, 2], "x")
        y = tf.matmul(x, v1.get_variable("w", [2, 2], use_resource=False))
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    return path


def test_a_saver_within_the_graph_is_allowed_unless_it_is_what_runs(tf: Any, tmp_path: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    path = first_version(tf, tmp_path / "v1")
    assert safety.scan(path).findings == detect(path).findings == ()
    original = (path / "saved_model.pb").read_bytes()

    def save(meta: Any) -> str:
        return next(str(node.name) for node in meta.graph_def.node if node.op == "SaveV2")

    def as_an_answer(meta: Any) -> None:
        meta.signature_def["serving_default"].outputs["y"].name = f"{save(meta)}:0"

    def behind_an_answer(meta: Any) -> None:
        meta.graph_def.node.add(name="z", op="Identity", input=["x", f"^{save(meta)}"])
        meta.signature_def["serving_default"].outputs["y"].name = "z:0"

    def at_the_start(meta: Any) -> None:
        meta.collection_def["saved_model_main_op"].node_list.value.append(save(meta))

    def by_a_long_name(meta: Any) -> None:
        node = next(node for node in meta.graph_def.node if node.op == "SaveV2")
        node.name = "x" * 1000
        meta.signature_def["serving_default"].outputs["y"].name = f"{node.name}:0"

    def on_restoring(meta: Any) -> None:
        meta.saver_def.restore_op_name = save(meta)

    for change in (as_an_answer, behind_an_answer, by_a_long_name, at_the_start, on_restoring):
        model = saved_model_pb2.SavedModel.FromString(original)
        change(model.meta_graphs[0])
        (path / "saved_model.pb").write_bytes(model.SerializeToString())
        assert "the operator SaveV2" in safety.scan(path).dangerous, change.__name__


def changed(path: Path) -> Iterator[Any]:
    """The protobuf of a SavedModel, written back when done with."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    yield model
    (path / "saved_model.pb").write_bytes(model.SerializeToString())


def test_every_graph_of_a_saved_model_counts_and_so_do_the_files_beside_it(tf: Any, tmp_path: Path) -> None:
    path = saved(tf, tmp_path / "m", lambda x: x)
    for model in changed(path):
        second = model.meta_graphs.add()
        second.graph_def.node.add(name="y", op="ReadFile")
        second.asset_file_def.add(filename="../../etc/passwd")
        second.asset_file_def.add(filename="words.txt")
    assert safety.scan(path).dangerous == ("the operator ReadFile", "the file ../../etc/passwd to be read")
    # TensorFlow would read this one.
    (path / "saved_model.cpb").touch()
    assert safety.scan(path).unusual == ("a saved_model.cpb that is not looked into",)
    (path / "saved_model.pb").rename(path / "saved_model.pbtxt")
    (path / "saved_model.pbtxt").write_text('meta_graphs { graph_def { node { op: "ReadFile" } } }')
    found = safety.scan(path)
    assert found.runs_code and "a saved_model.pbtxt that is not looked into" in found.unusual


def test_a_vocabulary_beside_a_saved_model_is_named(tf: Any, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a\nb\n")
    rows = tf.lookup.TextFileInitializer(
        str(tmp_path / "words.txt"), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )  # fmt: skip
    table = tf.lookup.StaticHashTable(rows, 0)
    path = saved(tf, tmp_path / "m", lambda x: x + tf.cast(table.lookup(tf.constant(["b"])), tf.float32), table=table)
    found = safety.scan(path)
    assert (found.dangerous, found.unusual) == ((), ("the operator InitializeTableFromTextFileV2",))


# --- TensorFlow Lite -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_operators_a_tflite_file_takes_from_tensorflow_are_held_against_the_list(tf: Any, tmp_path: Path) -> None:
    for body, dangerous in (
        (lambda x: tf.cast(tf.strings.length(tf.strings.as_string(x)), tf.float32), ()),
        (lambda x: x + tf.strings.to_number(tf.io.read_file("/x")), ("the operator ReadFile",)),
    ):
        function = tf.function(body, input_signature=[tf.TensorSpec([1], tf.float32)])
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], tf.Module())
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
        path = tmp_path / "m.tflite"
        path.write_bytes(converter.convert())
        assert b"Flex" in path.read_bytes()
        found = safety.scan(path)
        assert (found.runs_code, found.dangerous) == (bool(dangerous), dangerous)
        assert detect(path).findings == found.findings
