"""Makes cases of com.microsoft's operators, with what ONNX Runtime gives as the expected outputs.

    microsoft_cases.py FOLDER      FOLDER/NAME/model.onnx and FOLDER/NAME/test_data_set_0

`repops conformance run --suite FOLDER` runs them. Inputs are drawn by a seeded generator. Needs onnx, onnxruntime, numpy.
"""

import os
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

DOMAIN = "com.microsoft"
RNG = np.random.default_rng(7)


def f32(*shape, scale=1.0):
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def scalar(value, dtype=np.float32):
    return np.array(value, dtype)


def octets(*shape, dtype=np.uint8, low=0, high=256):
    return RNG.integers(low, high, shape).astype(dtype)


def write(folder, name, op, inputs, attributes=None, outputs=1, constant=(), domain=DOMAIN):
    """A case of one node. `inputs`: arrays, None where absent; `constant`: which become initializers."""
    names = [f"x{i}" if x is not None else "" for i, x in enumerate(inputs)]
    while names and not names[-1]:
        names.pop()
    results = [f"y{i}" if i in outputs else "" for i in range(max(outputs) + 1)] if isinstance(outputs, tuple) else [
        f"y{i}" for i in range(outputs)
    ]
    node = helper.make_node(op, names, results, name="n", domain=domain, **(attributes or {}))
    feeds = {n: x for i, (n, x) in enumerate(zip(names, inputs)) if n and i not in constant}
    weights = [numpy_helper.from_array(inputs[i], names[i]) for i in constant if inputs[i] is not None]
    described = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for n, x in feeds.items()
    ]
    untyped = [onnx.ValueInfoProto(name=r) for r in results if r]
    graph = helper.make_graph([node], name, described, untyped, weights)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    expected = session.run(None, feeds)
    data = os.path.join(folder, name, "test_data_set_0")
    os.makedirs(data, exist_ok=True)
    onnx.save(model, os.path.join(folder, name, "model.onnx"))
    for kind, arrays in (("input", feeds.values()), ("output", expected)):
        for index, array in enumerate(arrays):
            with open(os.path.join(data, f"{kind}_{index}.pb"), "wb") as file:
                file.write(numpy_helper.from_array(np.asarray(array, order="C")).SerializeToString())


def elementwise(case):
    case("gelu", "Gelu", [f32(3, 7)])
    case("fast_gelu", "FastGelu", [f32(3, 8), f32(8)])
    case("fast_gelu_no_bias", "FastGelu", [f32(3, 8)])
    case("quick_gelu", "QuickGelu", [f32(3, 7)], {"alpha": 1.5})
    case("quick_gelu_default", "QuickGelu", [f32(3, 7)])
    case("bias_gelu", "BiasGelu", [f32(3, 8), f32(8)])


def products(case):
    case("fused_matmul", "FusedMatMul", [f32(2, 5, 3), f32(2, 4, 5)], {"alpha": 0.5, "transA": 1, "transB": 1})
    case("fused_matmul_plain", "FusedMatMul", [f32(3, 5), f32(5, 4)])
    conv = [f32(1, 3, 8, 8), f32(4, 3, 3, 3), f32(4)]
    for activation, params in [("Relu", []), ("Tanh", []), ("LeakyRelu", [0.2]), ("Clip", [-0.5, 0.5]), ("HardSigmoid", [0.3, 0.4])]:
        attributes = {"activation": activation, "kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
        if params:
            attributes["activation_params"] = params
        case(f"fused_conv_{activation.lower()}", "FusedConv", conv, attributes)
    case("fused_conv_sum", "FusedConv", conv + [f32(1, 4, 6, 6)], {"activation": "Relu", "kernel_shape": [3, 3]})
    case("fused_gemm", "FusedGemm", [f32(3, 5), f32(5, 4), f32(4)], {"activation": "Relu", "alpha": 0.5})
    for bits, block, zero in [(4, 16, True), (4, 32, False), (8, 16, True)]:
        n, k = 6, 64
        blocks = k // block
        weight = octets(n, blocks, block * bits // 8)
        scales = np.abs(f32(n * blocks, scale=0.1)) + np.float32(0.01)
        zeros = octets(n * ((blocks * bits + 7) // 8)) if zero else None
        case(
            f"matmul_{bits}_bits_{'zero_points' if zero else 'symmetric'}",
            "MatMulNBits",
            [f32(2, 3, k), weight, scales, zeros],
            {"K": k, "N": n, "bits": bits, "block_size": block},
            constant=(1, 2, 3),
        )


def norms(case):
    x, skip, gamma, beta, bias = f32(2, 3, 8), f32(2, 3, 8), f32(8), f32(8), f32(8)
    case("skip_layer_norm", "SkipLayerNormalization", [x, skip, gamma, beta, bias], {"epsilon": 1e-5}, outputs=(0, 3))
    case("skip_layer_norm_plain", "SkipLayerNormalization", [x, skip, gamma])
    case("skip_rms_norm", "SkipSimplifiedLayerNormalization", [x, skip, gamma, bias], {"epsilon": 1e-5}, outputs=(0, 3))
    case("rms_norm", "SimplifiedLayerNormalization", [x, gamma], {"axis": -1, "epsilon": 1e-5}, domain="")
    ids, segments = octets(2, 4, dtype=np.int32, high=9), octets(2, 4, dtype=np.int32, high=2)
    tables = [f32(9, 8), f32(6, 8), f32(2, 8)]
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], np.int32)
    case("embed_layer_norm", "EmbedLayerNormalization", [ids, segments, *tables, gamma, beta, mask], {"epsilon": 1e-5}, outputs=2)
    case("embed_layer_norm_no_segment", "EmbedLayerNormalization", [ids, None, *tables[:2], None, gamma, beta], outputs=2)


def attention(case):
    x, weight, bias = f32(2, 4, 8), f32(8, 24, scale=0.5), f32(24)
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], np.int32)
    case("attention", "Attention", [x, weight, bias], {"num_heads": 2}, constant=(1, 2))
    case("attention_mask", "Attention", [x, weight, bias, mask], {"num_heads": 2}, constant=(1, 2))
    case("attention_lengths", "Attention", [x, weight, bias, np.array([3, 4], np.int32)], {"num_heads": 2}, constant=(1, 2))
    case("attention_causal", "Attention", [x, weight, bias], {"num_heads": 2, "unidirectional": 1}, constant=(1, 2))
    past = f32(2, 2, 2, 3, 4)
    case("attention_past", "Attention", [x, weight, bias, None, past], {"num_heads": 2, "unidirectional": 1}, outputs=2, constant=(1, 2))
    q, k, v = f32(2, 4, 8), f32(2, 5, 8), f32(2, 5, 8)
    case("multi_head", "MultiHeadAttention", [q, k, v], {"num_heads": 2})
    case("multi_head_bias", "MultiHeadAttention", [q, k, v, f32(24)], {"num_heads": 2, "scale": 0.7})
    padding = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
    case("multi_head_mask", "MultiHeadAttention", [q, k, v, None, padding, f32(2, 2, 4, 5)], {"num_heads": 2})
    new, past = f32(2, 4, 8), [f32(2, 2, 3, 4), f32(2, 2, 3, 4)]
    case("multi_head_past", "MultiHeadAttention", [q, new, f32(2, 4, 8), None, None, None, *past], {"num_heads": 2, "unidirectional": 1}, outputs=3)
    heads = {"num_heads": 4, "kv_num_heads": 2}
    cos, sin = np.cos(f32(16, 8)), np.sin(f32(16, 8))
    length = np.array([3, 3], np.int32)
    case("group_query_first", "GroupQueryAttention", [f32(2, 4, 64), f32(2, 4, 32), f32(2, 4, 32), None, None, length, scalar(4, np.int32)], heads, outputs=3)
    case(
        "group_query_rotary",
        "GroupQueryAttention",
        [f32(2, 4, 64), f32(2, 4, 32), f32(2, 4, 32), None, None, length, scalar(4, np.int32), cos, sin],
        {**heads, "do_rotary": 1},
        outputs=3,
    )
    case(
        "group_query_next",
        "GroupQueryAttention",
        [f32(1, 1, 64), f32(1, 1, 32), f32(1, 1, 32), f32(1, 2, 5, 16), f32(1, 2, 5, 16), np.array([5], np.int32), scalar(6, np.int32), cos, sin],
        {**heads, "do_rotary": 1, "scale": 0.3},
        outputs=3,
    )
    case(
        "group_query_window",
        "GroupQueryAttention",
        [f32(1, 1, 64), f32(1, 1, 32), f32(1, 1, 32), f32(1, 2, 5, 16), f32(1, 2, 5, 16), np.array([5], np.int32), scalar(6, np.int32)],
        {**heads, "local_window_size": 3},
        outputs=3,
    )
    cos, sin = np.cos(f32(16, 4)), np.sin(f32(16, 4))
    for interleaved in (0, 1):
        case(f"rotary_{interleaved}", "RotaryEmbedding", [f32(2, 3, 16), octets(2, 3, dtype=np.int64, high=16), cos, sin], {"interleaved": interleaved})
    case("rotary_offset", "RotaryEmbedding", [f32(2, 2, 3, 8), np.array([5], np.int64), cos, sin])
    case(
        "qattention",
        "QAttention",
        [octets(2, 4, 8), octets(8, 24, dtype=np.int8, low=-50, high=50), f32(24), scalar(0.01), scalar(0.02), mask, scalar(128, np.uint8), scalar(0, np.int8)],
        {"num_heads": 2},
        constant=(1, 2),
    )


def quantized(case):
    scale, zero = (lambda v: scalar(v)), (lambda v: scalar(v, np.uint8))
    a, b = octets(3, 8), octets(3, 8)
    for op in ("QLinearAdd", "QLinearMul"):
        case(f"{op.lower()}", op, [a, scale(0.031), zero(120), b, scale(0.017), zero(7), scale(0.043), zero(99)])
    case("qlinearconcat", "QLinearConcat", [scale(0.043), zero(99), a, scale(0.031), zero(120), b, scale(0.017), zero(7)], {"axis": 1})
    image = octets(1, 2, 6, 6)
    around = [scale(0.031), zero(120), scale(0.029), zero(110)]
    case("qlinear_average_pool", "QLinearAveragePool", [image, *around], {"kernel_shape": [3, 3]})
    case("qlinear_global_average_pool", "QLinearGlobalAveragePool", [image, *around])
    case("qlinear_leaky_relu", "QLinearLeakyRelu", [a, *around], {"alpha": 0.1})
    case("qlinear_sigmoid", "QLinearSigmoid", [a, scale(0.031), zero(120), scale(0.0039), zero(0)])
    weight = octets(8, 5, dtype=np.int8, low=-100, high=100)
    case("dynamic_quantize_matmul", "DynamicQuantizeMatMul", [f32(3, 8), weight, scale(0.02), scalar(3, np.int8), f32(5)], constant=(1, 2, 3, 4))
    case("dynamic_quantize_matmul_columns", "DynamicQuantizeMatMul", [f32(3, 8), weight, np.abs(f32(5)) + np.float32(0.01)], constant=(1, 2))
    case(
        "matmul_integer_to_float",
        "MatMulIntegerToFloat",
        [a, weight, scale(0.03), scale(0.02), zero(128), scalar(-4, np.int8), f32(5)],
        constant=(1,),
    )


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    count = 0

    def case(name, op, inputs, attributes=None, **options):
        nonlocal count
        write(sys.argv[1], name, op, inputs, attributes, **options)
        count += 1

    for group in (elementwise, products, norms, attention, quantized):
        group(case)
    print(f"onnxruntime {onnxruntime.__version__}: {count} cases")


if __name__ == "__main__":
    main()
