"""Keras files: every class and function that a network's description names is known, or told before it is opened."""

from __future__ import annotations

import builtins
import inspect
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import networks
import pytest
from tf_models import library, unsuspected

from workbench import convert, detect, safety
from workbench.errors import NeedsTrust
from workbench.files.formats import identify
from workbench.files.records import Format
from workbench.frameworks.tensorflow.convert_start import start
from workbench.frameworks.tensorflow.scan_keras import NAMES as KERAS
from workbench.frameworks.tensorflow.scan_keras import _judged
from workbench.safety.names import listed
from workbench.safety.subject import Subject
from workbench.safety.trust import named_for_its_loader

LISTS = listed(KERAS)


def network(path: Path, *layers: dict[str, Any], version: str = "3.0.0") -> Path:
    """A Keras file with these layers, weights left out, of the sort that its extension says."""
    config = json.dumps({"class_name": "Sequential", "config": {"name": "net", "layers": list(layers)}})
    return described(path, config, version)


def described(path: Path, config: str, version: str = "3.0.0") -> Path:
    if path.suffix == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", config)
            archive.writestr("metadata.json", json.dumps({"keras_version": version}))
    else:
        with h5py.File(path, "w") as file:
            file.attrs["model_config"], file.attrs["keras_version"] = config, version
    return path


def layer(kind: str, module: str | None = "keras.layers", **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": "it", **config}} | ({"module": module} if module else {})


def function(module: str, name: str) -> dict[str, str]:
    return {"class_name": "function", "module": module, "config": name, "registered_name": name}


DENSE = layer("Dense", units=2, activation=function("builtins", "relu"))
CODE = {"class_name": "__lambda__", "config": {"value": []}}

# --- what is told --------------------------------------------------------------------------------------------------

HARMFUL = [
    (layer("Bidirectional", layer=layer("Lambda", name="inner")), "the Lambda layer inner"),
    (layer("layers.Lambda", "keras"), "the Lambda layer it"),
    (layer("Nothing") | {"registered_name": "Lambda"}, "the Nothing layer it with Python code"),
    (layer("Dense", activation={"class_name": "__lambda__", "config": {}}), "a __lambda__"),
    (layer("Dense", nested=[{"x": {"y": [CODE]}}]), "a __lambda__"),
    (layer("Functional", "keras.src.models.functional", layers=[layer("Lambda")]), "the Lambda layer it"),
    (layer("ResidualWrapper", None, residual_fn_type="lambda", residual_fn=["eA=="]), "the ResidualWrapper layer"),
    (layer("DropoutWrapper", None, dropout_fn_type="lambda"), "which can bring Python code"),
    (layer("TFSMLayer", filepath="/tmp/other"), "which opens another SavedModel"),
    (layer("TorchModuleWrapper"), "a pickle of PyTorch"),
    (layer("FlaxLayer"), "a function of another module"),
    (layer("ClassMethod", None, cls_symbol="io.gfile.GFile"), "any method of TensorFlow"),
    (layer("StringLookup", vocabulary="/etc/passwd"), "the file /etc/passwd to be read"),
    (layer("TextVectorization", vocabulary="/etc/passwd"), "the file /etc/passwd to be read"),
    (layer("Dense", of={"another": {"vocabulary": "/etc/passwd"}}), "the file /etc/passwd to be read"),
    (layer("TFOpLambda", None, function="compat.v1.gfile.Copy"), "a call of tf.compat.v1.gfile.Copy"),
    (layer("TFOpLambda", None, function="keras.utils.get_file"), "a call of tf.keras.utils.get_file"),
    (layer("TFOpLambda", None, function="raw_ops.ReadFile"), "a call of tf.raw_ops.ReadFile"),
    (layer("TFOpLambda", None, function="compat.v1.read_file"), "a call of tf.compat.v1.read_file"),
    (layer("TFOpLambda", None, function="io.read_file"), "a call of tf.io.read_file"),
    (layer("TFOpLambda", None, function="numpy_function"), "a call of tf.numpy_function"),
    (layer("SlicingOpLambda", None, function="saved_model.load"), "a call of tf.saved_model.load"),
    (layer("TensorFlowOpLayer", None, node_def={"op": "WriteFile"}), "the operator WriteFile"),
    (layer("TensorFlowOpLayer", None, node_def="\x12\x08ReadFile"), "the operator ReadFile"),
    (layer("TensorFlowOpLayer", None, node_def={"op": ["MatMul"]}), "the operator ['MatMul']"),
]  # fmt: skip
ASKED = [
    (layer("Dense", activation=function("keras.utils", "get_file")), "keras.utils.get_file"),
    (layer("Dense", activation=function("keras.config", "enable_unsafe_deserialization")), "keras.config.enable"),
    (layer("Dense", activation=function("keras.ops", "map")), "keras.ops.map"),
    (layer("Dense", activation=function("keras.ops", "relu") | {"registered_name": "get_file"}), "keras.ops.relu"),
    (layer("Dense", activation=function("keras.applications", "VGG16")), "keras.applications.VGG16"),
    (layer("Dense", activation=function("tf_keras.src.utils.data_utils", "urlretrieve")), "urlretrieve"),
    (layer("Dense", activation=function("builtins", "eval")), "builtins.eval"),
    (layer("Dense", activation=function("builtins", "print")), "builtins.print"),
    (layer("Dense", activation=function("__main__", "mine")), "__main__.mine"),
    (layer("Dense", activation=function("keras.activations", "deserialize")), "keras.activations.deserialize"),
    (layer("utils.get_file", "keras"), "keras.utils.get_file"),
    (layer("get_file", "keras.utils"), "keras.utils.get_file"),
    (layer("system", "os"), "os.system"),
    (layer("Dense", "os"), "os.Dense"),
    (layer("Dense", "keras.src.utils"), "keras.src.utils.Dense"),
    (layer("Dense", ["keras.layers"]), "Dense"),  # type: ignore[arg-type]
    (layer("LambdaCallback", "keras.callbacks"), "keras.callbacks.LambdaCallback"),
    (layer("FeatureSpace", "keras.utils"), "keras.utils.FeatureSpace"),
    (layer("WhileLoop", "keras.src.ops.core"), "keras.src.ops.core.WhileLoop"),
    (layer("ModuleWrapper", "tf_keras.src.engine.functional"), "ModuleWrapper"),
    (layer("Dense") | {"registered_name": "mine>Dense"}, "keras.layers.Dense"),
    (layer("Dense", kernel_initializer=layer("deserialize_keras_object", None)), "deserialize_keras_object"),
    (layer("Dense", kernel_constraint=layer("deserialize", None)), "deserialize"),
    (layer("add", None), "add"),
    (layer("Scaled", None), "Scaled"),
    (layer("DenseFeatures", None, feature_columns=[]), "DenseFeatures"),
    ({"class_name": ["Dense"], "config": {}}, "Dense"),
    ({"class_name": "__typespec__", "spec_name": "Popen", "module": "subprocess", "config": []}, "subprocess.Popen"),
    ({"class_name": "TypeSpec", "type_spec": "mine.Spec", "serialized": []}, "TypeSpec"),
    ({"class_name": "TypeSpec", "type_spec": "tf.TensorSpec", "module": "os", "config": {}}, "os.TypeSpec"),
    ({"class_name": "__slice__", "config": {}, "module": "os", "registered_name": "system"}, "os.__slice__"),
    ({"class_name": "__tensor__", "config": {}, "registered_name": "system"}, "__tensor__"),
    (
        {"class_name": "__typespec__", "spec_name": "TensorSpec", "module": "tensorflow.python.framework.tensor",
         "registered_name": "mine>Spec", "config": []}, "tensorflow.python.framework.tensor.TensorSpec",
    ),
    (layer("Dense") | {"build_config": layer("mine", "os")}, "os.mine"),
    (layer("Sequential", "keras", layers=[]) | {"compile_config": {"loss": function("os", "loss")}}, "os.loss"),
    (layer("Dense", quantization_config=layer("Mine", "mine")), "mine.Mine"),
    (layer("TFOpLambda", None, function="nn.fixed_unigram_candidate_sampler"), "nn.fixed_unigram_candidate_sampler"),
    (layer("TFOpLambda", None, function="mine"), "a call of tf.mine"),
    (layer("TensorFlowOpLayer", None, node_def={"op": "FIFOQueueV2"}), "the operator FIFOQueueV2"),
    (
        layer("TensorFlowOpLayer", None, node_def={"op": "PartitionedCall", "attr": {"f": {"func": {"name": "g"}}}}),
        "with a function of another graph",
    ),
    (layer("InstanceMethod", None, attr_name="__reduce__"), "the attribute __reduce__"),
    (layer("InstanceProperty", None, attr_name="graph"), "the attribute graph"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("suffix", "part", "named"),
    [
        # What the description says is read by the same code, wherever it was found.
        pytest.param(
            suffix, *one, id=f"{suffix}-{one[1][:40]}", marks=[pytest.mark.long] * (suffix == ".h5" and n % 8 > 0)
        )
        for n, one in enumerate([*HARMFUL, *ASKED])
        for suffix in (".keras", ".h5")
    ],
)
def test_a_network_that_would_do_more_than_compute_needs_trust(
    tmp_path: Path, suffix: str, part: dict[str, Any], named: str
) -> None:
    path = network(tmp_path / f"model{suffix}", DENSE, part)
    found = safety.scan(path)
    assert found.runs_code and named in " ".join((*found.dangerous, *found.unusual)), found
    assert bool(found.dangerous) == any(part is each for each, _ in HARMFUL)
    # At once, too: the same sentences.
    assert detect(path).findings == found.findings


def test_what_the_caller_brings_along_needs_no_trust_and_no_more_than_that(tmp_path: Path) -> None:
    def asks(part: dict[str, Any], *known: str) -> bool:
        return safety.scan(network(tmp_path / "m.keras", part), known=known).runs_code

    scaled = layer("Scaled", "mine.layers")
    for part in (layer("Scaled", None), scaled, scaled | {"registered_name": "Scaled"}):
        assert asks(part) and asks(part, "Other") and not asks(part, "Scaled")
    registered = scaled | {"registered_name": "mine>Scaled"}
    assert asks(registered) and not asks(registered, "Scaled") and not asks(registered, "mine>Scaled")
    # Of these, Keras would import the module.
    assert asks(scaled | {"registered_name": None}, "Scaled")
    assert asks(scaled | {"registered_name": "other>More"}, "Scaled")
    assert asks(layer("sub.Scaled", "mine"), "Scaled")
    swish = layer("Dense", activation=function("mine", "swish"))
    assert asks(swish) and not asks(swish, "swish")
    # Nothing that is brought along makes code in the file harmless.
    assert asks(layer("Lambda"), "Lambda")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_a_lambda_layer_needs_trust(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    script = (
        "import sys, keras\n"
        "model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x * 2, name='double')])\n"
        "model.save(sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, capture_output=True)
    with pytest.raises(NeedsTrust, match="the Lambda layer double with Python code of its own"):
        convert(path)
    # JSON may spell a name in other ways than a search for it expects.
    if suffix == ".h5":
        with h5py.File(path, "r+") as file:
            config = file.attrs["model_config"]
            file.attrs["model_config"] = config.replace("Lambda", "\\u004cambda")
        assert any("Lambda layer" in finding.where for finding in detect(path).findings)
        with pytest.raises(NeedsTrust, match="Lambda layer"):
            convert(path)


# --- which bytes count ---------------------------------------------------------------------------------------------


def test_a_file_that_is_hdf5_and_an_archive_is_judged_as_it_is_opened(tmp_path: Path) -> None:
    path = network(tmp_path / "model.keras", DENSE)
    harmless = path.read_bytes()
    network(tmp_path / "model.h5", layer("Lambda", name="hidden")).rename(path)
    with path.open("ab") as file:
        file.write(harmless)
    assert zipfile.is_zipfile(path) and h5py.is_hdf5(path)
    with pytest.raises(NeedsTrust, match="the Lambda layer hidden"):
        convert(path)
    # Keras opens by the extension, so the copy gets the one that was judged.
    assert named_for_its_loader(path, identify(path)).suffix == ".h5"


def test_of_what_is_written_twice_the_last_counts_as_for_keras(tmp_path: Path) -> None:
    path = network(tmp_path / "model.keras", DENSE)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", '{"class_name": "Dense", "config": {}, "class_name": "Lambda"}')
    assert safety.scan(path).dangerous == ("the Lambda layer (unnamed) with Python code of its own",)


def test_other_files_that_hdf5_would_read_need_trust(tmp_path: Path) -> None:
    inner = tmp_path / "inner.h5"
    with h5py.File(inner, "w") as file:
        file["link"] = h5py.ExternalLink("/etc/one", "/x")
        file.create_dataset("raw", (4,), "u1", external=[("/etc/two", 0, 4)])
        layout = h5py.VirtualLayout((4,), "u1")
        layout[:] = h5py.VirtualSource("/etc/three", "x", (4,))
        file.create_virtual_dataset("virtual", layout)
    named = tuple(f"the file /etc/{which} to be read" for which in ("one", "two", "three"))
    # As weights of an archive; and in the network's own file.
    path = network(tmp_path / "model.keras", DENSE)
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(inner, "model.weights.h5")
    assert safety.scan(path).unusual == named
    network(tmp_path / "plain.h5", DENSE)
    with h5py.File(tmp_path / "plain.h5", "r") as plain, h5py.File(inner, "r+") as file:
        file.attrs.update(plain.attrs)
    assert safety.scan(inner).unusual == named


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("config", ["[" * 3000, '{"class_name": ', '"text"', "[]"])
def test_a_description_that_is_none_is_refused_or_names_nothing(tmp_path: Path, suffix: str, config: str) -> None:
    """What cannot be read to its end is not opened without trust: a reader might read more of it."""
    if suffix == ".h5":
        config += '"class_name"'  # it is by this word that an HDF5 file is known for a network
    found = safety.scan(described(tmp_path / f"model{suffix}", config))
    assert (found.complete, found.runs_code) in ((True, False), (False, True))
    assert (found.dangerous, found.unusual) == ((), ())


def test_a_description_of_any_size_or_number_is_told_at_once(tmp_path: Path) -> None:
    """As much of it as takes a moment; and where that was not all, it is said."""
    path = tmp_path / "model.h5"
    many = [layer("Lambda")] * 3
    assert {f.where for f in detect(network(path, *[DENSE] * 5000, *many)).findings} == {
        "the Lambda layer it with Python code of its own"
    }
    for filling in (b'{"class_name":' * 300_000, b'{"class_name":[' * 200_000, b'{"config": {"layers": []}}' * 200_000):
        path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"model_config" + filling)
        assert detect(path).findings == ()
    network(path := tmp_path / "model.keras", layer("Lambda"), *[DENSE] * 100_000)
    assert [finding.id for finding in detect(path).findings] == ["read-in-part"]
    assert safety.scan(path).dangerous


# --- what is not told ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_plain_network_needs_no_trust(tmp_path: Path, suffix: str) -> None:
    parts = (
        layer("StringLookup", vocabulary=["a", "b"]),
        layer("Functional", "keras.src.models.functional", layers=[DENSE]),
        layer("Add", "keras.src.ops.numpy"),
        *(layer("TFOpLambda", None, function=name) for name in ("math.add", "concat", "compat.v1.transpose")),
        layer("TensorFlowOpLayer", None, node_def={"op": "MatMul", "attr": {"T": {"type": "DT_FLOAT"}}}),
        layer("TensorFlowOpLayer", None, node_def="\x0a\x01x\x12\x06MatMul"),
        layer("InstanceMethod", None, attr_name="to_tensor"),
        {"class_name": "TypeSpec", "type_spec": "tf.TensorSpec", "serialized": []},
        layer("Dense", kernel_initializer=layer("glorot_uniform", None), kernel_regularizer=layer("L2", None)),
        layer("Dense", activation=function("keras.ops", "relu"), bias={"class_name": "__numpy__", "config": {}}),
    )
    unsuspected(network(tmp_path / f"model{suffix}", DENSE, *parts))


@pytest.mark.long
@pytest.mark.parametrize("which", ["Keras 3", "Keras 2"])
def test_networks_of_every_family_are_not_suspected(which: str, tmp_path: Path) -> None:
    """In the format that tests/test_convert_keras.py does not go through."""
    start()
    k = library(which)
    for name in networks.FAMILIES:
        if which == "Keras 2" and name in networks.ONLY_KERAS_3:
            continue
        path = tmp_path / f"{name}{'.h5' if which == 'Keras 3' else '.keras'}"
        networks.build(name, k).save(str(path))
        unsuspected(path)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["Keras 3", "Keras 2"])
def test_what_training_leaves_in_a_file_is_not_suspected(which: str, tmp_path: Path) -> None:
    start()
    k = library(which)

    def mine(truth: Any, answer: Any) -> Any:
        return (truth - answer) ** 2

    inner = k.Sequential([k.Input((3,)), k.layers.Dense(3, kernel_constraint=k.constraints.MaxNorm(2))])
    rates = k.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    inner.compile(k.optimizers.SGD(rates), k.losses.MeanSquaredError(), ["accuracy", k.metrics.AUC()])
    model = k.Sequential([k.Input((3,)), inner, k.layers.Dense(2, kernel_regularizer=k.regularizers.L1L2(0.1, 0.1))])
    model.compile("adam", mine)  # the workbench does not need it: it trains nothing
    for suffix in (".h5", ".keras"):
        model.save(str(tmp_path / f"trained{suffix}"))
        unsuspected(tmp_path / f"trained{suffix}")
    if which == "Keras 3":
        for precision in ("int8", "int4", "float8"):
            quantised = k.Sequential([k.Input((8,)), k.layers.Dense(16, activation="relu"), k.layers.Dense(4)])
            quantised.quantize(precision)
            quantised.save(str(tmp_path / f"{precision}.keras"))
            unsuspected(tmp_path / f"{precision}.keras")


@pytest.mark.long
@pytest.mark.parametrize("which", ["Keras 3", "Keras 2"])
def test_networks_of_keras_own_collection_are_not_suspected(which: str, tmp_path: Path) -> None:
    start()
    for name in ("MobileNetV2", "EfficientNetV2B0", "InceptionResNetV2", "ConvNeXtTiny"):
        config = getattr(library(which).applications, name)(weights=None).to_json()
        for suffix in (".keras", ".h5"):
            unsuspected(described(tmp_path / f"{name}{suffix}", config))


@pytest.mark.slow
def test_functions_and_types_of_tensorflow_in_a_network_are_not_suspected(tmp_path: Path) -> None:
    tf = start()
    k = library("Keras 2")
    x = k.Input((4,), name="x")
    y = tf.concat([tf.nn.relu(x) + 1.0, x * 2 - x], 1)[:, :3]
    y = tf.math.log(tf.abs(tf.reduce_sum(y, axis=1, keepdims=True)) + 1.0) / (k.backend.mean(x) + 1.0)
    ragged = k.Input((None,), ragged=True)
    typed = k.Input(type_spec=tf.TensorSpec([None, 3]))
    models = {
        "operations": k.Model(x, tf.clip_by_value(tf.where(y > 0, y, -y), 0.0, 1.0)),
        "ragged": k.Model(ragged, tf.reduce_sum(ragged.to_tensor(), 1)),
        "typed": k.Model(typed, k.layers.Dense(2)(typed)),
    }
    for name, model in models.items():
        for suffix in (".keras", ".h5"):
            model.save(str(tmp_path / f"{name}{suffix}"))
            unsuspected(tmp_path / f"{name}{suffix}")


# --- the lists -----------------------------------------------------------------------------------------------------


def exported() -> dict[str, list[Any]]:
    """Everything that both Keras and TensorFlow have under a public name, as a file may name it."""
    from keras.src import api_export
    from tensorflow.python.util import tf_export

    start()
    library("Keras 2")
    found: dict[str, list[Any]] = {}
    for table in (api_export.REGISTERED_NAMES_TO_OBJS, tf_export._NAME_TO_SYMBOL_MAPPING):
        for name, value in table.items():
            found.setdefault(name, []).append(value)
    return found


def imported(name: str) -> list[Any]:
    """What either Keras gets where it imports the module. Keras 2 as ``tf_keras`` reads ``keras`` in its place."""
    module, _, kind = name.rpartition(".")
    values = []
    for path in {module, re.sub(r"^keras\.", "tf_keras.", module)}:
        try:
            values.append(getattr(__import__(path, fromlist=[kind]), kind))
        except (ImportError, AttributeError):
            continue
    return values


COMPUTES = re.compile(
    r"(tf_)?keras\.src\.(activations|applications\.(convnext|inception_resnet_v2)|constraints|distillation|dtype_policies"
    r"|engine|initializers|layers|legacy\.layers|losses|metrics|mixed_precision|models|ops|optimizers|quantizers|random"
    r"|regularizers)\b|tensorflow\.python\.ops\.init_ops_v2$"
)
"""Modules of networks, of what trains and of what they compute with."""

NOT_A_PART = re.compile("Lambda$|Wrapper(V1)?$|Module|TFSM|Jax|Flax|Torch|ClassMethod|File|Callback|FeatureSpace")


def test_every_class_on_the_list_is_one_of_a_network_wherever_it_is_looked_up() -> None:
    public = exported()
    for name in LISTS["classes"]:
        found = [*public.get(name, []), *imported(name)]
        assert found, name
        for cls in found:
            assert isinstance(cls, type) and COMPUTES.match(cls.__module__), name
        # Of these, the function is held against a list; and what another wraps is a layer.
        if not name.endswith(("OpLambda", ".Wrapper", ".MeanMetricWrapper")):
            assert not NOT_A_PART.search(name.rpartition(".")[2]), name


def tables() -> Iterator[dict[str, Any]]:
    """Where both Keras look up what has no module."""
    import keras
    import tf_keras
    import tf_keras.src.constraints
    import tf_keras.src.losses
    import tf_keras.src.regularizers
    from tf_keras.src import initializers, metrics
    from tf_keras.src.layers import serialization

    serialization.populate_deserializable_objects()
    initializers.populate_deserializable_objects()
    yield serialization.LOCAL.ALL_OBJECTS
    yield initializers.LOCAL.ALL_OBJECTS
    for module in (tf_keras.src.constraints, tf_keras.src.losses, tf_keras.src.regularizers, metrics, keras.src.layers):
        yield vars(module)
    for name in "activations constraints dtype_policies initializers losses metrics optimizers quantizers".split():
        yield getattr(keras.src, name).ALL_OBJECTS_DICT
    schedules = "optimizers.schedules.learning_rate_schedule"
    for module in (f"keras.src.{schedules}", f"tf_keras.src.{schedules}"):
        yield vars(sys.modules[module])


def test_a_name_without_a_module_is_a_class_of_a_network_in_every_table_or_in_none() -> None:
    """What is a function there is called with the file's arguments."""
    exported()
    bare = LISTS["names"] | {name.rpartition(".")[2] for name in LISTS["classes"]}
    seen = 0
    for table in tables():
        for name in bare & table.keys():
            value = table[name]
            seen += 1
            assert isinstance(value, type) and COMPUTES.match(value.__module__), (name, value)
    assert seen > 500


def test_no_public_name_of_keras_is_taken_but_for_those_of_networks() -> None:
    """As a class, and as a function; all that both Keras export."""
    taken = set()
    anyones = Subject(Path("m.keras"), "m.keras", b"", Format("Keras v3"))
    for name, values in exported().items():
        module, _, kind = name.rpartition(".")
        if not name.startswith("keras"):
            continue
        for part in (layer(kind, module), layer(kind, f"tf_{module}"), function(module, kind)):
            if not list(_judged(part, anyones)):
                taken.add(name)
                assert all(COMPUTES.match(getattr(value, "__module__", "")) for value in values), name
    assert len(taken) > 600
    for name in ("keras.utils.get_file", "keras.models.load_model", "keras.layers.deserialize", "keras.layers.Lambda"):
        assert name not in taken


def test_functions_on_the_lists_take_no_function_and_no_name_of_a_file() -> None:
    public = exported()
    words = re.compile(r"file|path|dir$|vocab|url|address|func|^fn|callable|cell|module|body|^cond$|eval")
    of_tensorflow = {
        name: public.get(name, []) + public.get(f"compat.v1.{name}", []) for name in sorted(LISTS["tensorflow"])
    }
    of_keras = {
        f"keras.{part}.{name}": public.get(f"keras.{part}.{name}", [])
        for name in sorted(LISTS["functions"])
        for part in ("activations", "losses", "metrics", "regularizers")
    } | {f"keras.ops.{name}": public[f"keras.ops.{name}"] for name in sorted(LISTS["operations"])}
    assert all(of_tensorflow.values())
    for name, values in (of_tensorflow | of_keras).items():
        for value in values:
            assert callable(value) and not isinstance(value, type), name
            takes = [word for word in inspect.signature(value).parameters if words.search(word)]
            assert not set(takes) - {"top_paths", "vocab_size"}, (name, takes)
    # Keras 2 looks among Python's own, too.
    assert not LISTS["functions"] & set(dir(builtins))


def test_tensors_have_the_attributes_on_the_list() -> None:
    tf = start()
    kinds = tf.RaggedTensor, tf.SparseTensor
    assert all(any(hasattr(kind, name) for kind in kinds) for name in LISTS["attributes"])
    assert not {name for name in LISTS["attributes"] if name.startswith("_")}


QUIET = frozenset(
    "import compile exec marshal.loads code.__new__ open os.listdir builtins.id array.__new__ gc.get_referrers "
    "object.__getattr__ object.__setattr__ object.__delattr__ sys._getframe sys.unraisablehook ctypes.string_at".split()
)
"""What Python does by itself: it imports and reads its own modules, and makes functions of them."""


def watched() -> None:
    """In a process of its own: make every class on the list from a description with the name of a file in each place,
    and print what Python's own audit heard of that name, or of anything else that is not `QUIET`."""
    evil = "/evil/file"
    public, events, told, made, watching = exported(), set(), set(), 0, False

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and (event not in QUIET or "evil" in str(arguments)):
            events.add(f"{event} {arguments}"[:150])

    sys.addaudithook(heard)
    classes = {cls for name in LISTS["classes"] for cls in (*public.get(name, []), *imported(name))}
    for cls in sorted(classes, key=str):
        takes = sorted(set(inspect.signature(cls.__init__).parameters) - {"self", "args", "kwargs", "name"})
        for config in [{name: evil} for name in takes] or [{}]:
            watching = True
            try:
                cls.from_config(config)
                made += 1
            except Exception as error:
                if "xist" in str(error) and evil in str(error):
                    told.update(config)
            watching = False
    print(json.dumps({"classes": len(classes), "made": made, "events": sorted(events), "told": sorted(told)}))


@pytest.mark.slow
def test_no_class_on_the_list_opens_or_runs_what_its_description_names() -> None:
    """What TensorFlow opens is told by its complaint that there is no such file: a vocabulary; and that is told."""
    root = Path(__file__).parent.parent
    script = "import sys; sys.path[:0] = sys.argv[1:]; import test_safety_keras; test_safety_keras.watched()"
    command = [sys.executable, "-W", "ignore", "-c", script, str(root), str(root / "tests")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["events"], found["told"]) == ([], ["vocabulary"])
    assert found["classes"] > 600 and found["made"] > 500
