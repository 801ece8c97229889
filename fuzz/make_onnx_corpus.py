#!/usr/bin/env python3
"""Writes fuzz/corpus/{onnx,npz,tensor_proto}: small files that are good, and `bad-` ones that must be refused.

Everything else under fuzz/corpus comes from these by `cargo run -p repops-conformance --example corpus`.
"""

import os

import numpy as np
from onnx import TensorProto, helper, numpy_helper

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
FOLDER = os.path.join(CORPUS, "onnx")
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def value(name, shape, dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def weight(name, shape, scale=8.0, dtype=np.float32):
    numbers = np.arange(int(np.prod(shape)), dtype=np.int64) % 13 - 6
    return numpy_helper.from_array((numbers / scale).astype(dtype).reshape(shape), name)


def ints(name, numbers):
    return numpy_helper.from_array(np.array(numbers, dtype=np.int64), name)


def model(nodes, inputs, outputs, weights=(), opset=17, functions=(), domains=()):
    graph = helper.make_graph(list(nodes), "g", inputs, outputs, list(weights))
    versions = {"ai.onnx.ml": 5}
    imports = [helper.make_opsetid("", opset)] + [helper.make_opsetid(d, versions.get(d, 1)) for d in domains]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=8)


def good():
    node = helper.make_node
    yield "dense", model(
        [node("MatMul", ["x", "w"], ["h"]), node("Add", ["h", "b"], ["s"]), node("Relu", ["s"], ["y"])],
        [value("x", ["n", 5])], [value("y", ["n", 3])], [weight("w", [5, 3]), weight("b", [3])],
    )
    yield "convolution", model(
        [
            node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
            node("GlobalAveragePool", ["p"], ["y"]),
        ],
        [value("x", [1, 2, 6, 6])], [value("y", [1, 3, 1, 1])], [weight("w", [3, 2, 3, 3]), weight("b", [3])],
    )
    yield "shapes", model(
        [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "zero"], ["n"]),
            node("Unsqueeze", ["n", "axis"], ["n1"]),
            node("Concat", ["n1", "rest"], ["target"], axis=0),
            node("Reshape", ["x", "target"], ["r"]),
            node("Softmax", ["r"], ["y"], axis=-1),
        ],
        [value("x", ["n", 2, 3])], [value("y", ["n", 6])], [ints("zero", 0), ints("axis", [0]), ints("rest", [6])],
    )
    branch = lambda op: helper.make_graph([node(op, ["x"], ["b"])], op, [], [value("b", [4])])
    yield "if", model(
        [node("If", ["c"], ["y"], then_branch=branch("Exp"), else_branch=branch("Neg"))],
        [value("x", [4]), value("c", [], BOOL)], [value("y", [4])],
    )
    body = helper.make_graph(
        [node("Add", ["a", "a"], ["a2"]), node("Identity", ["go"], ["go2"])],
        "body",
        [value("i", [], INT64), value("go", [], BOOL), value("a", [2])],
        [value("go2", [], BOOL), value("a2", [2])],
    )
    yield "loop", model(
        [node("Loop", ["count", "", "x"], ["y"], body=body)],
        [value("x", [2])], [value("y", [2])], [ints("count", 3)],
    )
    yield "quantized", model(
        [node("DequantizeLinear", ["w", "s", "z"], ["d"]), node("MatMul", ["x", "d"], ["y"])],
        [value("x", [2, 4])], [value("y", [2, 3])],
        [
            weight("w", [4, 3], 1.0, np.int8),
            numpy_helper.from_array(np.float32(0.05), "s"),
            numpy_helper.from_array(np.int8(1), "z"),
        ],
    )
    yield "old-opset", model(
        [
            node("Constant", [], ["k"], value=weight("k", [1, 3])),
            node("Unsqueeze", ["x"], ["u"], axes=[0]),
            node("ReduceSum", ["u"], ["r"], axes=[1], keepdims=0),
            node("Mul", ["r", "k"], ["y"]),
        ],
        [value("x", [2, 3])], [value("y", [1, 3])], opset=9,
    )
    function = helper.make_function(
        "local", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    yield "function", model(
        [node("Twice", ["x"], ["y"], domain="local")],
        [value("x", [3])], [value("y", [3])], functions=[function], domains=["local"],
    )


STRING, DOUBLE = TensorProto.STRING, TensorProto.DOUBLE
# A tree of two conditions and three leaves, and one of a leaf.
NODES = {
    "nodes_treeids": [0, 0, 0, 0, 0, 1],
    "nodes_nodeids": [0, 1, 2, 3, 4, 0],
    "nodes_featureids": [0, 1, 0, 0, 0, 0],
    "nodes_modes": ["BRANCH_LEQ", "BRANCH_GT", "LEAF", "LEAF", "LEAF", "LEAF"],
    "nodes_values": [0.1, -0.3, 0.0, 0.0, 0.0, 0.0],
    "nodes_truenodeids": [1, 3, 0, 0, 0, 0],
    "nodes_falsenodeids": [2, 4, 0, 0, 0, 0],
}


def leaves(prefix, ids, weights):
    """What the leaves of NODES give."""
    names = ("treeids", "nodeids", "ids", "weights")
    return {f"{prefix}_{name}": list(given) for name, given in zip(names, ([0, 0, 0, 1], [2, 3, 4, 0], ids, weights))}


def fitted():
    """ai.onnx.ml: operators whose attributes have to fit each other."""

    def one(name, op, inputs, outputs, weights=(), **attributes):
        names = [v.name for v in inputs] + [w.name for w in weights]
        node = helper.make_node(op, names, [v.name for v in outputs], domain="ai.onnx.ml", **attributes)
        return f"ml-{name}", model([node], inputs, outputs, weights, domains=["ai.onnx.ml"])

    x, y = value("x", ["n", 3]), value("y", ["n", 3])
    texts, labels = value("x", ["n"], STRING), value("l", ["n"], STRING)
    scores = [labels, value("y", ["n", 3])]
    numbered = [value("l", ["n"], INT64), value("y", ["n", 2])]
    yield one("scaler", "Scaler", [x], [y], offset=[0.5, 1.0, -1.0], scale=[2.0])
    yield one("imputer", "Imputer", [x], [y], imputed_value_floats=[1.0, 2.0, 3.0], replaced_value_float=float("nan"))
    yield one("normalizer", "Normalizer", [x], [y], norm="L2")
    yield one("binarizer", "Binarizer", [x], [y], threshold=0.25)
    yield one("feature-vectorizer", "FeatureVectorizer", [x, value("z", ["n", 2])], [value("y", ["n", 5])], inputdimensions=[3, 2])
    yield one("array-feature-extractor", "ArrayFeatureExtractor", [x], [value("y", ["n", 2])], [ints("i", [2, 0])])
    coefficients = [0.5, -1.0, 0.25, 1.5, 0.125, -0.75, 2.0, 0.0, 1.0]
    yield one(
        "linear-regressor", "LinearRegressor", [x], [value("y", ["n", 2])],
        coefficients=coefficients[:6], targets=2, intercepts=[0.5, -1.0], post_transform="SOFTMAX_ZERO",
    )
    yield one(
        "linear-classifier", "LinearClassifier", [x], scores, coefficients=coefficients, intercepts=[0.5, 0.0, -0.5],
        classlabels_strings=["low", "middle", "high"], post_transform="PROBIT",
    )
    yield one(
        "linear-classifier-single", "LinearClassifier", [x], numbered,
        coefficients=coefficients[:3], intercepts=[0.125], classlabels_ints=[-4, 9], post_transform="LOGISTIC",
    )
    for kernel in ("LINEAR", "POLY", "RBF", "SIGMOID"):
        yield one(
            f"svm-regressor-{kernel.lower()}", "SVMRegressor", [x], [value("y", ["n", 1])], coefficients=coefficients[:2], n_supports=2,
            support_vectors=coefficients[3:], rho=[0.25], kernel_type=kernel, kernel_params=[0.5, 0.25, 3.0],
        )
    yield one(
        "svm-regressor-one-class", "SVMRegressor", [x], [value("y", ["n", 1])],
        coefficients=coefficients[:3], rho=[-0.2], kernel_type="LINEAR", kernel_params=[0.0, 0.0, 0.0], one_class=1,
    )
    yield one(
        "label-encoder", "LabelEncoder", [texts], [value("y", ["n"])],
        keys_strings=["a", "b"], values_floats=[1.5, 2.5], default_float=-1.0,
    )
    keys = helper.make_tensor("k", INT64, [2], [4, -1])
    values = helper.make_tensor("v", STRING, [2], [b"a", b"b"])
    yield one(
        "label-encoder-tensors", "LabelEncoder", [value("x", ["n"], INT64)], [labels], keys_tensor=keys, values_tensor=values,
        default_tensor=helper.make_tensor("d", STRING, [1], [b"?"]),
    )
    yield one("one-hot-encoder", "OneHotEncoder", [texts], [value("y", ["n", 3])], cats_strings=["b", "a", "c"], zeros=0)
    yield one(
        "category-mapper", "CategoryMapper", [texts], [value("y", ["n"], INT64)],
        cats_int64s=[7, -3], cats_strings=["b", "a"], default_int64=99,
    )
    pair = value("x", ["n", 2])
    target = leaves("target", [0, 0, 0, 0], [1.0, 10.0, -5.0, 0.25])
    yield one(
        "tree-regressor", "TreeEnsembleRegressor", [pair], [value("y", ["n", 1])],
        **NODES, **target, n_targets=1, aggregate_function="AVERAGE", base_values=[3.5],
    )
    yield one(
        "tree-regressor-f64", "TreeEnsembleRegressor", [value("x", ["n", 2], DOUBLE)], [value("y", ["n", 1])],
        **NODES, **target, n_targets=1, aggregate_function="MIN",
    )
    yield one(
        "tree-classifier", "TreeEnsembleClassifier", [pair], scores, **NODES, **leaves("class", [0, 1, 2, 0], [1.0, 10.0, -5.0, 0.25]),
        classlabels_strings=["low", "middle", "high"], post_transform="SOFTMAX",
    )
    yield one(
        "tree-classifier-single", "TreeEnsembleClassifier", [pair], numbered,
        **NODES, **leaves("class", [1, 1, 1, 1], [0.375, 0.125, 0.25, 0.1875]), classlabels_int64s=[-4, 9], post_transform="LOGISTIC",
    )
    yield one(
        "tree-ensemble", "TreeEnsemble", [pair], [value("y", ["n", 2])], n_targets=2, aggregate_function=1, post_transform=0,
        tree_roots=[0], nodes_featureids=[0, 1], nodes_splits=helper.make_tensor("s", FLOAT, [2], [0.1, -0.3]),
        nodes_modes=helper.make_tensor("m", TensorProto.UINT8, [2], [0, 3]), nodes_truenodeids=[1, 0], nodes_trueleafs=[0, 1],
        nodes_falsenodeids=[2, 1], nodes_falseleafs=[1, 1], leaf_targetids=[0, 1, 0],
        leaf_weights=helper.make_tensor("w", FLOAT, [3], [1.0, 10.0, -5.0]),
    )


def bad():
    node = helper.make_node
    relu = [node("Relu", ["x"], ["y"])]
    io = ([value("x", [2])], [value("y", [2])])
    yield "cycle", model([node("Add", ["x", "b"], ["a"]), node("Add", ["a", "x"], ["b"]), node("Relu", ["b"], ["y"])], *io)
    yield "unknown-operator", model([node("NoSuchOperator", ["x"], ["y"])], *io)
    yield "unknown-opset", model(relu, *io, opset=999)
    yield "missing-value", model([node("Relu", ["nowhere"], ["y"])], *io)
    huge = TensorProto(name="w", data_type=FLOAT, dims=[2**62, 4], raw_data=b"\0" * 16)
    yield "huge-dims", model([node("Add", ["x", "w"], ["y"])], *io, weights=[huge])
    large = TensorProto(name="w", data_type=FLOAT, dims=[1 << 28], raw_data=b"\0" * 16)
    yield "gigabyte", model([node("Add", ["x", "w"], ["y"])], *io, weights=[large])
    negative = TensorProto(name="w", data_type=FLOAT, dims=[-2], raw_data=b"\0" * 8)
    yield "negative-dims", model([node("Add", ["x", "w"], ["y"])], *io, weights=[negative])
    outside = TensorProto(name="w", data_type=FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="../../etc/passwd")
    yield "outside", model([node("Add", ["x", "w"], ["y"])], *io, weights=[outside])
    yield "twice", model([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])], *io)


def tensors():
    """npz archives as NumPy writes them, and TensorProtos."""
    for folder in ("npz", "tensor_proto"):
        os.makedirs(os.path.join(CORPUS, folder), exist_ok=True)
    place = lambda *parts: os.path.join(CORPUS, *parts)
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(7, dtype=np.int64)}
    for name, save in (("stored", np.savez), ("deflated", np.savez_compressed)):
        # A file object, because NumPy would add `.npz` to a name.
        with open(place("npz", name), "wb") as file:
            save(file, **arrays)
        whole = open(place("npz", name), "rb").read()
        with open(place("npz", "bad-cut-" + name), "wb") as file:
            file.write(whole[:-30])
    protos = {
        "raw": numpy_helper.from_array(arrays["a"], "a"),
        "typed": helper.make_tensor("t", FLOAT, [3], [1.0, 2.0, 3.0]),
        "half": numpy_helper.from_array(np.array([1, 2], dtype=np.float16), "h"),
        "bad-short": TensorProto(name="s", data_type=FLOAT, dims=[5], raw_data=b"\0" * 16),
        "bad-huge": TensorProto(name="s", data_type=FLOAT, dims=[2**62, 2**62], raw_data=b"\0" * 16),
    }
    for name, proto in protos.items():
        with open(place("tensor_proto", name), "wb") as file:
            file.write(proto.SerializeToString(deterministic=True))


def main():
    os.makedirs(FOLDER, exist_ok=True)
    for prefix, models in (("", good()), ("", fitted()), ("bad-", bad())):
        for name, made in models:
            with open(os.path.join(FOLDER, prefix + name), "wb") as file:
                file.write(made.SerializeToString(deterministic=True))
    tensors()
    whole = open(os.path.join(FOLDER, "dense"), "rb").read()
    with open(os.path.join(FOLDER, "bad-truncated"), "wb") as file:
        file.write(whole[: len(whole) * 2 // 3])


if __name__ == "__main__":
    main()
