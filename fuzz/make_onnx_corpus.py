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
    imports = [helper.make_opsetid("", opset)] + [helper.make_opsetid(d, 1) for d in domains]
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
    for prefix, models in (("", good()), ("bad-", bad())):
        for name, made in models:
            with open(os.path.join(FOLDER, prefix + name), "wb") as file:
                file.write(made.SerializeToString(deterministic=True))
    tensors()
    whole = open(os.path.join(FOLDER, "dense"), "rb").read()
    with open(os.path.join(FOLDER, "bad-truncated"), "wb") as file:
        file.write(whole[: len(whole) * 2 // 3])


if __name__ == "__main__":
    main()
