#!/usr/bin/env python3
"""Makes the small models of the bit matrix, and compares a build's outputs with those of other implementations.

    cases.py make                write NAME/model.onnx and NAME/inputs/*.npy beside this file
    cases.py check               exit 1 where `make` would change a file
    cases.py compare REPOPS      compile and run every case with this program; show the largest differences

Weights and inputs come from seeded generators, so that making them again gives the same bytes. `compare` takes ONNX
Runtime where it has the operators, else the onnx package's reference evaluator (bfloat16).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
OPSET = 21
# Of an output's elements, relative to its largest magnitude; quantized outputs may differ by one step.
RELATIVE_ERROR_MAX = {"narrow": 1e-2}
RELATIVE_ERROR_MAX_DEFAULT = 1e-5


class Graph:
    """Nodes and weights in the order of their making."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights, self.count = [], [], 0

    def name(self, op):
        self.count += 1
        return f"{op.lower()}_{self.count}"

    def op(self, op, *inputs, outputs=1, **attrs):
        names = [self.name(op) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=names[0], **attrs))
        return names[0] if outputs == 1 else names

    def constant(self, array, name=None):
        name = name or self.name("constant")
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, *shape, scale=None):
        """Normal numbers that keep the magnitude of what they are multiplied with."""
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        scale = scale or 1.0 / np.sqrt(fan_in)
        return self.constant((self.random.standard_normal(shape) * scale).astype(np.float32))

    def integers(self, low, high, dtype, *shape):
        return self.constant(self.random.integers(low, high, shape, endpoint=True).astype(dtype))

    def named(self, value, name):
        self.nodes.append(helper.make_node("Identity", [value], [name], name=name))
        return name

    def model(self, name, inputs, outputs):
        """`inputs`: name to (type, shape); `outputs`: name to (type, shape or None)."""
        values = lambda table: [helper.make_tensor_value_info(k, t, s) for k, (t, s) in table.items()]
        graph = helper.make_graph(self.nodes, name, values(inputs), values(outputs), self.weights)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="cases.py", ir_version=10
        )
        # Fills in the shapes of outputs.
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        del model.graph.value_info[:]
        onnx.checker.check_model(model, full_check=True)
        return model


def normal(seed, *shape, scale=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def convolutions():
    """Windows of every kind, over channels that fill no vector register."""
    g = Graph(1)

    def batch_norm(x, channels):
        positive = lambda: g.constant(g.random.uniform(0.5, 1.5, channels).astype(np.float32))
        return g.op("BatchNormalization", x, positive(), g.weight(channels), g.weight(channels), positive())

    # 5 channels to 19, stride 2, another pad on every side.
    x = g.op("Conv", "x", g.weight(19, 5, 3, 3), strides=[2, 2], pads=[1, 0, 2, 1], kernel_shape=[3, 3])
    stem = g.op("HardSwish", batch_norm(x, 19))
    x = g.op("Conv", stem, g.weight(19, 1, 3, 3), g.weight(19), group=19, pads=[1, 1, 1, 1])
    x = g.op("Clip", x, g.constant(np.float32(0)), g.constant(np.float32(6)))
    x = g.op("Conv", x, g.weight(19, 19, 1, 1), g.weight(19))
    x = g.op("Add", x, stem)
    x = g.op("Conv", x, g.weight(36, 19, 1, 1))
    x = g.op("Conv", x, g.weight(42, 12, 3, 3), g.weight(42), group=3, auto_pad="SAME_UPPER")
    x = g.op("LeakyRelu", x, alpha=0.1)
    # 42 * 9 terms: two chunks.
    wide = g.op("Conv", x, g.weight(23, 42, 3, 3), g.weight(23), dilations=[2, 2], pads=[2, 2, 2, 2])
    down = g.op("MaxPool", wide, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 0], ceil_mode=1)
    down = g.op("AveragePool", down, kernel_shape=[2, 3], pads=[0, 1, 1, 1], count_include_pad=1)
    up = g.op("ConvTranspose", down, g.weight(23, 7, 2, 2, scale=0.2), g.weight(7), strides=[2, 2])
    nearest = g.op(
        "Resize",
        down,
        "",
        g.constant(np.array([1, 1, 2, 2], np.float32)),
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )
    linear = g.op("Resize", down, "", "", g.constant(np.array([2, 23, 9, 13], np.int64)), mode="linear")
    both = g.op("Concat", up, nearest, axis=1)
    # A gate from the means of planes.
    gate = g.op("Conv", g.op("GlobalAveragePool", both), g.weight(30, 30, 1, 1), g.weight(30))
    both = g.op("Mul", both, g.op("HardSigmoid", gate, alpha=0.2, beta=0.5))
    g.named(both, "map")
    g.named(linear, "linear")
    flat = g.op("Flatten", g.op("GlobalMaxPool", both))
    scores = g.op("Gemm", flat, g.weight(11, 30), g.weight(11), transB=1, alpha=0.7)
    g.named(g.op("Softmax", scores), "scores")
    model = g.model(
        "convolutions",
        {"x": (T.FLOAT, ["N", 5, 37, 41])},
        {"map": (T.FLOAT, None), "linear": (T.FLOAT, None), "scores": (T.FLOAT, None)},
    )
    return model, {"x": normal(101, 2, 5, 37, 41)}


def transformer():
    """A block of attention and a feed-forward layer of 600 terms, of primitive operators."""
    g = Graph(2)
    width, heads, inner, words = 24, 3, 600, 50
    head = width // heads

    def norm(x):
        mean = g.op("ReduceMean", x, g.constant(np.array([-1], np.int64)))
        centred = g.op("Sub", x, mean)
        square = g.op("Pow", centred, g.constant(np.float32(2)))
        variance = g.op("ReduceMean", square, g.constant(np.array([-1], np.int64)))
        deviation = g.op("Sqrt", g.op("Add", variance, g.constant(np.float32(1e-5))))
        return g.op("Add", g.op("Mul", g.op("Div", centred, deviation), g.weight(width)), g.weight(width))

    table = g.weight(words, width, scale=1.0)
    embedded = g.op("Gather", table, "ids")
    length = g.op("Shape", "ids", start=1, end=2)
    places = g.op("Slice", g.weight(32, width, scale=0.3), g.constant(np.array([0], np.int64)), length)
    x = g.op("Add", embedded, places)

    def split(y):
        y = g.op("Reshape", y, g.constant(np.array([0, 0, heads, head], np.int64)))
        return g.op("Transpose", y, perm=[0, 2, 1, 3])

    a = norm(x)
    project = lambda: split(g.op("Add", g.op("MatMul", a, g.weight(width, width)), g.weight(width)))
    query, key, value = project(), project(), project()
    scores = g.op("MatMul", query, g.op("Transpose", key, perm=[0, 1, 3, 2]))
    scores = g.op("Mul", scores, g.constant(np.float32(head**-0.5)))
    seen = g.op("Unsqueeze", g.op("Cast", "mask", to=T.BOOL), g.constant(np.array([1, 2], np.int64)))
    scores = g.op("Where", seen, scores, g.constant(np.float32(-3.4e38)))
    mixed = g.op("MatMul", g.op("Softmax", scores, axis=-1), value)
    mixed = g.op("Reshape", g.op("Transpose", mixed, perm=[0, 2, 1, 3]), g.constant(np.array([0, 0, width], np.int64)))
    x = g.op("Add", x, g.op("MatMul", mixed, g.weight(width, width)))
    normed = g.op("LayerNormalization", x, g.weight(width), g.weight(width), axis=-1)
    up = g.op("Add", g.op("MatMul", normed, g.weight(width, inner, scale=0.2)), g.weight(inner))
    erf = g.op("Erf", g.op("Div", up, g.constant(np.float32(2**0.5))))
    gelu = g.op("Mul", g.op("Mul", up, g.op("Add", erf, g.constant(np.float32(1)))), g.constant(np.float32(0.5)))
    x = g.op("Add", x, g.op("MatMul", gelu, g.weight(inner, width, scale=0.04)))
    g.named(x, "hidden")
    g.named(g.op("MatMul", x, g.op("Transpose", table, perm=[1, 0])), "logits")
    model = g.model(
        "transformer",
        {"ids": (T.INT64, ["N", "L"]), "mask": (T.INT64, ["N", "L"])},
        {"hidden": (T.FLOAT, ["N", "L", width]), "logits": (T.FLOAT, ["N", "L", words])},
    )
    ids = np.random.default_rng(102).integers(0, words, (3, 19))
    mask = (np.arange(19)[None] < np.array([[19], [7], [1]])).astype(np.int64)
    return model, {"ids": ids, "mask": mask}


def recurrent():
    """LSTM, GRU and RNN; then Loop, If and Scan over what they give."""
    g = Graph(3)
    steps, batch, width, hidden = 7, 3, 5, 9
    both = lambda gates, extent: g.weight(2, gates * hidden, extent)
    y, y_h, y_c = g.op(
        "LSTM", "x", both(4, width), both(4, hidden), g.weight(2, 8 * hidden), "lengths",
        g.weight(2, batch, hidden), g.weight(2, batch, hidden), g.weight(2, 3 * hidden),
        hidden_size=hidden, direction="bidirectional", outputs=3,
    )  # fmt: skip
    sequence = g.op("Reshape", g.op("Transpose", y, perm=[0, 2, 1, 3]), g.constant(np.array([0, 0, 18], np.int64)))
    gru, gru_h = g.op(
        "GRU", sequence, g.weight(1, 33, 18), g.weight(1, 33, 11), g.weight(1, 66),
        hidden_size=11, direction="reverse", linear_before_reset=1, outputs=2,
    )  # fmt: skip
    rnn, rnn_h = g.op(
        "RNN", g.op("Squeeze", gru, g.constant(np.array([1], np.int64))), g.weight(1, 4, 11), g.weight(1, 4, 4),
        hidden_size=4, outputs=2,
    )  # fmt: skip
    state = g.op("Squeeze", gru_h, g.constant(np.array([0], np.int64)))
    info = helper.make_tensor_value_info
    # While the sum of squares grows: state = tanh(state W), at most 6 times; its sums are collected.
    weight = g.weight(11, 11)
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["v", weight], ["product"]),
            helper.make_node("Tanh", ["product"], ["v_out"]),
            helper.make_node("ReduceSumSquare", ["v_out"], ["energy"], keepdims=0),
            helper.make_node("Less", ["i", "limit"], ["is_early"]),
            helper.make_node("Greater", ["energy", "least"], ["is_lively"]),
            helper.make_node("And", ["is_early", "is_lively"], ["more"]),
        ],
        "body",
        [info("i", T.INT64, []), info("go", T.BOOL, []), info("v", T.FLOAT, [batch, 11])],
        [info("more", T.BOOL, []), info("v_out", T.FLOAT, [batch, 11]), info("energy", T.FLOAT, [])],
        [numpy_helper.from_array(np.array(4, np.int64), "limit"), numpy_helper.from_array(np.float32(1e-3), "least")],
    )
    trips, go = g.constant(np.array(6, np.int64)), g.constant(np.array(True))
    final, energies = g.op("Loop", trips, go, state, body=body, outputs=2)
    # One of two branches by the sign of a sum; both use the value of the outer graph.
    branch = lambda name, op: helper.make_graph(
        [helper.make_node(op, [final], [name])], name, [], [info(name, T.FLOAT, [batch, 11])]
    )
    is_positive = g.op("Greater", g.op("ReduceSum", final, keepdims=0), g.constant(np.float32(0)))
    chosen = g.op("If", is_positive, then_branch=branch("positive", "Exp"), else_branch=branch("negative", "Neg"))
    # Running maxima and sums along the axis of time.
    scan_body = helper.make_graph(
        [
            helper.make_node("Add", ["sum", "row"], ["sum_out"]),
            helper.make_node("Max", ["most", "sum_out"], ["most_out"]),
            helper.make_node("Sub", ["most_out", "row"], ["gap"]),
        ],
        "scan_body",
        [info(n, T.FLOAT, [batch, 4]) for n in ("sum", "most", "row")],
        [info(n, T.FLOAT, [batch, 4]) for n in ("sum_out", "most_out", "gap")],
    )
    start = g.constant(np.zeros((batch, 4), np.float32))
    rows = g.op("Squeeze", rnn, g.constant(np.array([1], np.int64)))
    total, most, gaps = g.op("Scan", start, start, rows, body=scan_body, num_scan_inputs=1, outputs=3)
    outputs = {}
    for name, value in {
        "sequence": sequence, "cell": y_c, "last": y_h, "reversed": gru, "simple": rnn_h, "energies": energies,
        "chosen": chosen, "total": total, "most": most, "gaps": gaps,
    }.items():  # fmt: skip
        outputs[g.named(value, name)] = (T.FLOAT, None)
    inputs = {"x": (T.FLOAT, ["L", batch, width]), "lengths": (T.INT32, [batch])}
    model = g.model("recurrent", inputs, outputs)
    return model, {"x": normal(103, steps, batch, width), "lengths": np.array([7, 3, 5], np.int32)}


def quantized():
    """Dynamic and static int8: products and convolutions, one scale in all and one a channel."""
    g = Graph(4)
    u8, i8 = (0, 255, np.uint8), (-127, 127, np.int8)
    x, scale, zero = g.op("DynamicQuantizeLinear", "x", outputs=3)
    w = g.integers(*i8, 13, 6, 3, 3)
    summed = g.op("ConvInteger", x, w, zero, pads=[1, 1, 1, 0], strides=[1, 2], kernel_shape=[3, 3])
    factor = g.op("Mul", scale, g.constant(np.float32(0.0017)))
    image = g.op("Mul", g.op("Cast", summed, to=T.FLOAT), factor)
    image = g.op("Add", image, g.weight(1, 13, 1, 1))
    x_scale, x_zero = g.constant(np.float32(0.031)), g.constant(np.uint8(121))
    image = g.op("QuantizeLinear", g.op("Relu", image), x_scale, x_zero)
    per_channel = g.constant(g.random.uniform(0.001, 0.01, 9).astype(np.float32))
    y_scale, y_zero = g.constant(np.float32(0.043)), g.constant(np.uint8(117))
    image = g.op(
        "QLinearConv", image, x_scale, x_zero, g.integers(*i8, 9, 13, 3, 3), per_channel,
        g.constant(np.zeros(9, np.int8)), y_scale, y_zero, g.integers(-900, 900, np.int32, 9), pads=[1, 1, 1, 1],
    )  # fmt: skip
    g.named(image, "image")
    plain = g.op("DequantizeLinear", image, y_scale, y_zero)
    # 432 terms, more than a chunk of a float contraction.
    flat = g.op("Flatten", plain)
    rows, row_scale, row_zero = g.op("DynamicQuantizeLinear", flat, outputs=3)
    product = g.op("MatMulInteger", rows, g.integers(*u8, 432, 21), row_zero, g.constant(np.uint8(130)))
    g.named(product, "product")
    product = g.op("Mul", g.op("Cast", product, to=T.FLOAT), g.op("Mul", row_scale, g.constant(np.float32(0.003))))
    a_scale, a_zero = g.constant(np.float32(0.05)), g.constant(np.int8(-3))
    a = g.op("QuantizeLinear", product, a_scale, a_zero)
    b_scale, b_zero = g.constant(np.float32(0.02)), g.constant(np.int8(0))
    matrix = g.op(
        "QLinearMatMul", a, a_scale, a_zero, g.integers(*i8, 21, 17), b_scale, b_zero,
        g.constant(np.float32(0.4)), g.constant(np.int8(5)),
    )  # fmt: skip
    g.named(matrix, "matrix")
    channel = g.op("DequantizeLinear", matrix, g.constant(g.random.uniform(0.1, 0.5, 17).astype(np.float32)), axis=1)
    g.named(channel, "real")
    model = g.model(
        "quantized",
        {"x": (T.FLOAT, [2, 6, 12, 9])},
        {"image": (T.UINT8, None), "product": (T.INT32, None), "matrix": (T.INT8, None), "real": (T.FLOAT, None)},
    )
    return model, {"x": normal(104, 2, 6, 12, 9)}


def elementwise():
    """Every scalar function in fused chains with broadcasting; reductions of more than 4096 elements."""
    g = Graph(5)
    outputs = {}
    unit = g.op("Tanh", "a")  # in -1 .. 1
    positive = g.op("Add", g.op("Abs", "a"), g.constant(np.float32(0.01)))
    functions = {
        "a": ["Exp", "Sin", "Cos", "Tan", "Atan", "Erf", "Sigmoid", "Softplus", "Mish", "Gelu", "Elu", "Selu", "Celu",
              "HardSwish", "Softsign", "ThresholdedRelu", "Sinh", "Cosh", "Round", "Floor", "Ceil", "Sign"],
        # Away from the ends, where a last bit of tanh would weigh thousands.
        g.op("Mul", unit, g.constant(np.float32(0.9))): ["Asin", "Acos"],
        positive: ["Log", "Sqrt", "Reciprocal"],
    }  # fmt: skip
    for value, names in functions.items():
        for name in names:
            # Each in a chain, with a column and a row beside.
            chain = g.op(name, g.op("Mul", value, "column"))  if name not in ("Asin", "Acos", "Log", "Sqrt") else g.op(name, value)  # fmt: skip
            chain = g.op("Add", chain, g.op("Mul", "row", g.constant(np.float32(0.25))))
            outputs[g.named(chain, name.lower())] = (T.FLOAT, None)
    near_one = g.op("Add", unit, g.constant(np.float32(2.5)))
    power = g.op("Pow", near_one, g.op("Clip", "row", g.constant(np.float32(-3)), g.constant(np.float32(3))))
    smaller, larger = g.op("Min", power, g.op("Log", near_one)), g.op("Max", "column", unit, "a")
    mixed = g.op("Where", g.op("Greater", "a", "row"), smaller, larger)
    logic = g.op("Xor", g.op("LessOrEqual", mixed, "a"), g.op("IsNaN", g.op("Sqrt", "a")))
    outputs[g.named(mixed, "mixed")] = (T.FLOAT, None)
    outputs[g.named(logic, "logic")] = (T.BOOL, None)
    rows, last = g.op("Concat", *["a"] * 7, axis=1), g.constant(np.array([1], np.int64))
    long = g.op("Mul", g.op("Add", rows, g.op("Sin", rows)), "column")
    for name in ["ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "ReduceMax", "ReduceMin"]:  # fmt: skip
        outputs[g.named(g.op(name, long, last), name.lower())] = (T.FLOAT, None)
    first = g.constant(np.array([0], np.int64))
    outputs[g.named(g.op("ReduceSum", g.op("Transpose", long), first), "columns")] = (T.FLOAT, None)
    outputs[g.named(g.op("LogSoftmax", long, axis=1), "softmax")] = (T.FLOAT, None)
    outputs[g.named(g.op("CumSum", long, g.constant(np.array(1, np.int64))), "running")] = (T.FLOAT, None)
    inputs = {"a": (T.FLOAT, ["N", 701]), "row": (T.FLOAT, [701]), "column": (T.FLOAT, ["N", 1])}
    model = g.model("elementwise", inputs, outputs)
    a = normal(105, 3, 701, scale=2.0)
    a[0, :6] = [0.0, -0.0, 1e-40, -1e-38, 88.0, -104.0]
    return model, {"a": a, "row": normal(106, 701), "column": normal(107, 3, 1, scale=0.3) + np.float32(1)}


def narrow():
    """The same operators in f16, bf16 and f64, and the conversions between them."""
    g = Graph(6)
    outputs = {}
    for name, to in {"half": T.FLOAT16, "brain": T.BFLOAT16, "double": T.DOUBLE}.items():
        x, w = (g.op("Cast", value, to=to) for value in ("x", g.weight(530, 19)))
        chain = g.op("Add", g.op("Exp", g.op("Neg", g.op("Abs", x))), g.op("Mul", g.op("Tanh", x), g.op("Sqrt", g.op("Abs", x))))
        product = g.op("MatMul", chain, w)
        soft = g.op("Softmax", g.op("Mul", product, product), axis=-1)
        total = g.op("ReduceSum", g.op("Reshape", g.op("Concat", *[x] * 3, axis=0), g.constant(np.array([1, -1], np.int64))), g.constant(np.array([1], np.int64)))
        for part, value in {"chain": chain, "product": product, "soft": soft, "total": total}.items():
            # bf16 has no .npy type.
            outputs[g.named(g.op("Cast", value, to=T.FLOAT), f"{name}_{part}")] = (T.FLOAT, None)
    integers = g.op("Cast", g.op("Mul", "x", g.constant(np.float32(20))), to=T.INT8)
    outputs[g.named(integers, "integers")] = (T.INT8, None)
    model = g.model("narrow", {"x": (T.FLOAT, ["N", 530])}, outputs)
    return model, {"x": normal(108, 3, 530, scale=1.5)}


CASES = [convolutions, transformer, recurrent, quantized, elementwise, narrow]


def files():
    """Path to content of everything that `make` writes."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for case in CASES:
            model, inputs = case()
            found[os.path.join(case.__name__, "model.onnx")] = model.SerializeToString(deterministic=True)
            for name, array in inputs.items():
                path = os.path.join(scratch, "array.npy")
                np.save(path, array)
                with open(path, "rb") as file:
                    found[os.path.join(case.__name__, "inputs", name + ".npy")] = file.read()
    return found


def make():
    for path, content in files().items():
        path = os.path.join(HERE, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        print(f"{os.path.relpath(path, HERE)}: {len(content)} bytes")
    return 0


def check():
    different = []
    for path, content in files().items():
        full = os.path.join(HERE, path)
        if not os.path.exists(full) or open(full, "rb").read() != content:
            different.append(path)
    print("\n".join(f"differs: {path}" for path in different) or "every file is as it would be made")
    return 1 if different else 0


def evaluate(path, inputs):
    """Outputs by name, and who computed them."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs))), "ONNX Runtime"
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        from onnx.reference import ReferenceEvaluator

        session = ReferenceEvaluator(path)
        found = dict(zip(session.output_names, session.run(None, inputs)))
        # It adds in bf16, which loses most of a long sum.
        brain = inputs["x"].view(np.uint32)
        rounded = ((brain + 0x7FFF + (brain >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
        found["brain_total"] = np.array([[3 * rounded.astype(np.float64).sum()]], np.float32)
        return found, "onnx's reference evaluator"


def compare(repops):
    agrees = True
    for case in CASES:
        name = case.__name__
        folder = os.path.join(HERE, name)
        inputs = {f[:-4]: np.load(os.path.join(folder, "inputs", f)) for f in sorted(os.listdir(os.path.join(folder, "inputs")))}
        expected, by = evaluate(os.path.join(folder, "model.onnx"), inputs)
        with tempfile.TemporaryDirectory() as scratch:
            program = os.path.join(scratch, "model.rep")
            subprocess.run([repops, "compile", os.path.join(folder, "model.onnx"), "-o", program], check=True, capture_output=True)
            given = [part for key in inputs for part in ("--input", f"{key}={folder}/inputs/{key}.npy")]
            subprocess.run([repops, "run", program, *given, "--output", scratch], check=True, capture_output=True)
            found = {key: np.load(os.path.join(scratch, key + ".npy")) for key in expected}
        limit = RELATIVE_ERROR_MAX.get(name, RELATIVE_ERROR_MAX_DEFAULT)
        errors = {}
        for key, want in expected.items():
            got = found[key]
            want = np.asarray(want)
            if got.shape != want.shape or got.dtype != want.dtype:
                errors[key] = np.inf
                continue
            got, want = got.astype(np.float64), want.astype(np.float64)
            both = np.isfinite(got) & np.isfinite(want)
            same = np.array_equal(got[~both], want[~both], equal_nan=True)
            largest = np.abs(want[both]).max(initial=1e-30)
            errors[key] = np.abs(got[both] - want[both]).max(initial=0) / largest if same else np.inf
        worst = max(errors, key=errors.get)
        bad = {key: error for key, error in errors.items() if error > limit and not (found[key].dtype.kind in "iu" and np.abs(found[key].astype(np.int64) - expected[key]).max() <= 1)}  # fmt: skip
        agrees &= not bad
        print(json.dumps({"case": name, "against": by, "worst": worst, "relative_error": errors[worst], "bad": bad}))
    return 0 if agrees else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True)
    tasks.add_parser("make")
    tasks.add_parser("check")
    tasks.add_parser("compare").add_argument("repops")
    arguments = parser.parse_args()
    return {"make": make, "check": check}[arguments.task]() if arguments.task != "compare" else compare(arguments.repops)


if __name__ == "__main__":
    sys.exit(main())
