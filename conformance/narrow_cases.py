"""Makes a case of each operator for each type of 8 bits and fewer that ONNX allows it: floats of 8 and 4 bits, integers of 4 and 2.

    narrow_cases.py FOLDER      FOLDER/OPERATOR_TYPE/model.onnx, its input, and the output where onnx's reference evaluator gives one

`repops conformance run --suite FOLDER` runs them by the reference, by the kernels and node by node; what it cannot, it names.
Needs onnx 1.23.2 (or newer) and numpy.
"""

import os
import sys

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

NARROW = {
    T.FLOAT8E4M3FN: "f8e4m3fn",
    T.FLOAT8E4M3FNUZ: "f8e4m3fnuz",
    T.FLOAT8E5M2: "f8e5m2",
    T.FLOAT8E5M2FNUZ: "f8e5m2fnuz",
    T.UINT4: "u4",
    T.INT4: "i4",
    T.FLOAT4E2M1: "f4e2m1",
    T.FLOAT8E8M0: "f8e8m0",
    T.UINT2: "u2",
    T.INT2: "i2",
}
BITS = {T.UINT4: 4, T.INT4: 4, T.FLOAT4E2M1: 4, T.UINT2: 2, T.INT2: 2}
EIGHT = [T.FLOAT8E4M3FN, T.FLOAT8E4M3FNUZ, T.FLOAT8E5M2, T.FLOAT8E5M2FNUZ]
PLAIN = ["BitCast", "Cast", "CastLike", "Constant", "ConstantOfShape", "DequantizeLinear", "Flatten", "Identity", "If", "Loop"]
PLAIN += ["Optional", "Pad", "QuantizeLinear", "Reshape", "Scan", "Shape", "Size", "Squeeze", "Transpose", "Unsqueeze"]
# Types that ONNX does not allow an operator of the above.
NOT_ALLOWED = {("BitCast", t) for t in BITS}


def tensor(name, kind, dims, value=1):
    """A constant tensor whose elements have the bits of `value`."""
    count = 1
    for dim in dims:
        count *= dim
    bits = BITS.get(kind, 8)
    octet = sum(value << (bits * i) for i in range(8 // bits))
    length = (count * bits + 7) // 8
    if kind not in NARROW:
        return helper.make_tensor(name, kind, dims, [value] * count)
    raw = bytearray([octet] * length)
    if length and count * bits % 8:
        raw[-1] &= (1 << (count * bits % 8)) - 1
    return T(name=name, data_type=kind, dims=dims, raw_data=bytes(raw))


def narrowed(kind, name="q"):
    """A node that makes `name` of the input x."""
    return helper.make_node("Cast", ["x"], [name], to=kind)


def widened(name="r", result="y"):
    return helper.make_node("Cast", [name], [result], to=T.FLOAT)


def ints(name, values, dims=None):
    return helper.make_tensor(name, T.INT64, [len(values)] if dims is None else dims, values)


def body(op, kind):
    """Nodes from the input x (f32[2, 3], or of two axes of other extents), constants; the result is y."""
    if op == "Cast":
        return [narrowed(kind), widened("q")], []
    if op == "CastLike":
        return [helper.make_node("CastLike", ["x", "like"], ["q"]), helper.make_node("CastLike", ["q", "x"], ["y"])], [tensor("like", kind, [1])]
    if op == "Constant":
        return [helper.make_node("Constant", [], ["q"], value=tensor("v", kind, [3])), widened("q", "w"), helper.make_node("Add", ["x", "w"], ["y"])], []
    if op == "ConstantOfShape":
        shape = helper.make_node("Shape", ["x"], ["s"])
        return [shape, helper.make_node("ConstantOfShape", ["s"], ["r"], value=tensor("v", kind, [1])), widened()], []
    if op == "DequantizeLinear":
        if kind == T.FLOAT8E8M0:  # the scale's type only
            return [helper.make_node("Cast", ["x"], ["q"], to=T.INT8), helper.make_node("DequantizeLinear", ["q", "s"], ["y"], output_dtype=T.FLOAT)], [tensor("s", kind, [], 127)]
        return [narrowed(kind), helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])], [helper.make_tensor("s", T.FLOAT, [], [0.5]), tensor("z", kind, [], 0)]
    if op == "QuantizeLinear":
        if kind == T.FLOAT8E8M0:
            return [helper.make_node("QuantizeLinear", ["x", "s"], ["q"], output_dtype=T.INT8, precision=T.FLOAT), widened("q")], [tensor("s", kind, [], 127)]
        return [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), widened("q")], [helper.make_tensor("s", T.FLOAT, [], [0.5]), tensor("z", kind, [], 0)]
    if op == "BitCast":
        return [narrowed(kind), helper.make_node("BitCast", ["q"], ["b"], to=T.UINT8), helper.make_node("BitCast", ["b"], ["r"], to=kind), widened()], []
    if op in ("Flatten", "Identity", "Transpose"):
        return [narrowed(kind), helper.make_node(op, ["q"], ["r"]), widened()], []
    if op in ("Shape", "Size"):
        return [narrowed(kind), helper.make_node(op, ["q"], ["y"])], []
    if op == "Reshape":
        return [narrowed(kind), helper.make_node(op, ["q", "s"], ["r"]), widened()], [ints("s", [3, -1])]
    if op == "Unsqueeze":
        return [narrowed(kind), helper.make_node(op, ["q", "a"], ["r"]), widened()], [ints("a", [0])]
    if op == "Squeeze":
        return [narrowed(kind), helper.make_node("Unsqueeze", ["q", "a"], ["u"]), helper.make_node(op, ["u", "a"], ["r"]), widened()], [ints("a", [0])]
    if op == "Pad":
        return [narrowed(kind), helper.make_node(op, ["q", "p", "v"], ["r"]), widened()], [ints("p", [1, 0, 0, 2]), tensor("v", kind, [])]
    if op in ("IsInf", "IsNaN"):
        return [narrowed(kind), helper.make_node(op, ["q"], ["y"])], []
    if op == "Dropout":
        return [narrowed(kind), helper.make_node(op, ["q"], ["r"]), widened()], []
    if op == "Optional":
        return [
            narrowed(kind),
            helper.make_node("Optional", ["q"], ["o"]),
            helper.make_node("OptionalHasElement", ["o"], ["h"]),
            helper.make_node("OptionalGetElement", ["o"], ["r"]),
            widened("r", "w"),
            helper.make_node("Cast", ["h"], ["hf"], to=T.FLOAT),
            helper.make_node("Add", ["w", "hf"], ["y"]),
        ], []
    if op == "TensorScatter":
        cache = [narrowed(kind), helper.make_node("Unsqueeze", ["q", "a"], ["u"])]
        return cache + [helper.make_node(op, ["u", "u"], ["r"]), widened()], [ints("a", [0])]
    if op == "QLinearMatMul":
        scale, zero = helper.make_tensor("s", T.FLOAT, [], [0.5]), tensor("z", kind, [], 0)
        nodes = [narrowed(kind), helper.make_node("Transpose", ["q"], ["t"])]
        return nodes + [helper.make_node(op, ["q", "s", "z", "t", "s", "z", "s", "z"], ["r"]), widened()], [scale, zero]
    if op == "If":
        branch = lambda name, node: helper.make_graph([node], name, [], [onnx.ValueInfoProto(name=node.output[0])])
        then = branch("then", helper.make_node("Identity", ["q"], ["a"]))
        other = branch("else", helper.make_node("Transpose", ["q"], ["b"]))
        condition = helper.make_node("Less", ["n", "m"], ["c"])
        size = helper.make_node("Size", ["x"], ["n"])
        return [narrowed(kind), size, condition, helper.make_node("If", ["c"], ["r"], then_branch=then, else_branch=other), widened()], [ints("m", [4], [])]
    value = lambda name, kind, dims: helper.make_tensor_value_info(name, kind, dims)
    if op == "Loop":
        nodes = [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Transpose", ["v"], ["w"])]
        inner = helper.make_graph(nodes, "body", [value("i", T.INT64, []), value("c", T.BOOL, []), value("v", kind, None)], [onnx.ValueInfoProto(name=n) for n in ("c2", "w")])
        return [narrowed(kind), helper.make_node("Loop", ["m", "", "q"], ["r"], body=inner), widened()], [ints("m", [2], [])]
    if op == "Scan":
        inner = helper.make_graph([helper.make_node("Identity", ["v"], ["w"])], "body", [value("v", kind, None)], [onnx.ValueInfoProto(name="w")])
        return [narrowed(kind), helper.make_node("Scan", ["q"], ["r"], body=inner, num_scan_inputs=1), widened()], []
    raise ValueError(op)


def write(folder, op, kind):
    nodes, constants = body(op, kind)
    x = helper.make_tensor_value_info("x", T.FLOAT, ["N", 3])
    graph = helper.make_graph(nodes, op, [x], [onnx.ValueInfoProto(name="y")], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 28)], ir_version=12)
    case = os.path.join(folder, f"{op.lower()}_{NARROW[kind]}")
    os.makedirs(case, exist_ok=True)
    onnx.save(model, os.path.join(case, "model.onnx"))
    expected = 0
    for number, (x, says) in enumerate(inputs(kind)):
        data = os.path.join(case, f"test_data_set_{number}")
        os.makedirs(data)
        save(os.path.join(data, "input_0.pb"), x)
        try:
            if not says:
                raise ValueError("values that ONNX leaves open")
            save(os.path.join(data, "output_0.pb"), ReferenceEvaluator(model).run(None, {"x": x})[0])
            expected += 1
        except Exception:
            # Then there is nothing to compare with but our own ways among each other, and the goldens.
            open(os.path.join(data, "no_outputs"), "wb").close()
    return expected > 0


def save(path, array):
    with open(path, "wb") as file:
        file.write(numpy_helper.from_array(np.asarray(array)).SerializeToString())


def inputs(kind):
    """A few numbers that every type has; more, of every sign where the type has signs; and such as no type has, of which ONNX does not say what integers they become."""
    yield np.array([[0.5, 1.0, 0.0], [2.0, 1.0, 4.0]], np.float32), True
    drawn = np.random.default_rng(5).integers(-12, 12, (37, 3)).astype(np.float32) / 2
    yield (np.abs(drawn) if NARROW[kind][0] == "u" or kind == T.FLOAT8E8M0 else drawn), True
    wild = [np.nan, np.inf, -np.inf, -0.0, 1e-40, -1e-9, 2.0**-130, 447.9, 448, 464, 480, 57344, 61440, 65536, 3e38, -3e38, 240, -248, 7.5, -8.5, 6.01, 0.25, 0.75, 1.75]
    yield np.array(wild, np.float32).reshape(8, 3), False


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    wanted = [(op, kind) for op in PLAIN for kind in NARROW if (op, kind) not in NOT_ALLOWED]
    wanted += [(op, kind) for op in ("Dropout", "IsInf", "IsNaN", "QLinearMatMul") for kind in EIGHT]
    wanted += [("TensorScatter", kind) for kind in NARROW if kind not in (T.UINT2, T.INT2)]
    expected = [write(sys.argv[1], op, kind) for op, kind in wanted]
    print(f"onnx {onnx.__version__}: {len(wanted)} cases, {sum(expected)} with what its reference evaluator gives")


if __name__ == "__main__":
    main()
