"""Makes cases of com.microsoft's and ai.onnx.ml's operators, and of strings that ONNX has no case for, with what ONNX Runtime gives as the expected outputs.

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
ML = "ai.onnx.ml"
RNG = np.random.default_rng(7)


def f32(*shape, scale=1.0):
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def scalar(value, dtype=np.float32):
    return np.array(value, dtype)


def octets(*shape, dtype=np.uint8, low=0, high=256):
    return RNG.integers(low, high, shape).astype(dtype)


def build(name, op, inputs, attributes, outputs, constant, domain):
    """A model of one node, and what it is fed."""
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
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1), helper.make_opsetid(ML, 3)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9), feeds


def run(model, feeds):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    # One thread quantizes all sequences of a batch with one scale; several take a part each.
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def write(folder, name, op, inputs, attributes=None, outputs=1, constant=(), domain=DOMAIN, twin=None, named=None):
    """A case of one node. `inputs`: arrays, None where absent; `constant`: which become initializers; `twin`: inputs that
    mean the same, where ONNX Runtime's CPU provider does not take these; `named`: what makes outputs of the twin's."""
    model, feeds = build(name, op, inputs, attributes, outputs, constant, domain)
    expected = run(*(build(name, op, twin, attributes, outputs, constant, domain) if twin else (model, feeds)))
    expected = [named(array) for array in expected] if named else expected
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
    side_by_side = lambda packed: [np.ascontiguousarray(packed[..., i, :]).reshape(*packed.shape[:2], -1) for i in range(packed.shape[3])]
    packed = f32(2, 4, 2, 3, 4)
    case("multi_head_packed", "MultiHeadAttention", [packed], {"num_heads": 2}, twin=side_by_side(packed))
    packed = f32(2, 5, 2, 2, 4)
    case("multi_head_packed_keys", "MultiHeadAttention", [q, packed], {"num_heads": 2}, twin=[q, *side_by_side(packed)])
    case("multi_head_turned_keys", "MultiHeadAttention", [q, f32(2, 2, 5, 4), f32(2, 2, 5, 4)], {"num_heads": 2})
    length = np.array([3, 3], np.int32)
    case("group_query_packed", "GroupQueryAttention", [f32(2, 4, 128), None, None, None, None, length, scalar(4, np.int32)], heads, outputs=3)
    case(
        "group_query_packed_rotary",
        "GroupQueryAttention",
        [f32(1, 1, 128), None, None, f32(1, 2, 5, 16), f32(1, 2, 5, 16), np.array([5], np.int32), scalar(6, np.int32), cos, sin],
        {**heads, "do_rotary": 1},
        outputs=3,
    )
    case(
        "group_query_bias",
        "GroupQueryAttention",
        [f32(2, 4, 64), f32(2, 4, 32), f32(2, 4, 32), None, None, length, scalar(4, np.int32), None, None, None, f32(2, 4, 4, 4)],
        heads,
        outputs=3,
    )
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


    channels_last = np.ascontiguousarray(image.transpose(0, 2, 3, 1))
    case("qlinear_average_pool_last", "QLinearAveragePool", [channels_last, *around], {"kernel_shape": [3, 3], "channels_last": 1})
    case("qlinear_global_average_pool_last", "QLinearGlobalAveragePool", [channels_last, *around], {"channels_last": 1})


def recurrent(case):
    hidden, size = 5, 3
    for name, dirs, options, batch in [
        ("forward", 1, {}, 1),
        ("reverse", 1, {"direction": "reverse"}, 1),
        ("bidirectional", 2, {"direction": "bidirectional"}, 1),
        ("relu", 1, {"activations": ["Sigmoid", "Tanh", "Relu"]}, 1),
        ("lengths", 2, {"direction": "bidirectional"}, 2),
    ]:
        weights = [octets(dirs, size, 4 * hidden, dtype=np.int8, low=-100, high=100), octets(dirs, hidden, 4 * hidden, dtype=np.int8, low=-100, high=100)]
        scales = [np.abs(f32(dirs, scale=0.01)) + np.float32(0.002), octets(dirs, dtype=np.int8, low=0, high=1)] * 2
        lengths = np.array([4, 3], np.int32) if batch == 2 else None
        initial = [f32(dirs, batch, hidden), f32(dirs, batch, hidden)] if name != "forward" else [None, None]
        peepholes = f32(dirs, 3 * hidden) if name == "reverse" else None
        inputs = [f32(4, batch, size), *weights, f32(dirs, 8 * hidden), lengths, *initial, peepholes, *scales]
        case(f"quantized_lstm_{name}", "DynamicQuantizeLSTM", inputs, {"hidden_size": hidden, **options}, outputs=3, constant=(1, 2, 3, 7, 8, 9, 10, 11))


def machine_learning(case):
    x = f32(4, 3)
    ml = {"domain": ML}
    case("scaler", "Scaler", [x], {"offset": [0.5, 1.0, -1.0], "scale": [2.0, 0.3, 1.5]}, **ml)
    case("scaler_f64", "Scaler", [x.astype(np.float64) + 1e9], {"offset": [1e9], "scale": [0.5]}, **ml)
    case("imputer", "Imputer", [np.where(x > 0.5, np.float32("nan"), x)], {"imputed_value_floats": [1.0, 2.0, 3.0], "replaced_value_float": float("nan")}, **ml)
    case("imputer_ints", "Imputer", [octets(4, 3, dtype=np.int64, high=3)], {"imputed_value_int64s": [7], "replaced_value_int64": 1}, **ml)
    for norm in ("MAX", "L1", "L2"):
        case(f"normalizer_{norm.lower()}", "Normalizer", [np.abs(x)], {"norm": norm}, **ml)
    case("feature_vectorizer", "FeatureVectorizer", [x, f32(4, 2)], {"inputdimensions": [3, 2]}, **ml)
    case("binarizer", "Binarizer", [x], {"threshold": 0.25}, **ml)
    case("array_feature_extractor", "ArrayFeatureExtractor", [x, np.array([2, 0], np.int64)], **ml)
    linear(case, x, ml)
    labels(case, ml)
    trees(case, ml)


def linear(case, x, ml):
    """Products with coefficients; the scores' sign and the transforms."""
    given = {"coefficients": f32(6).tolist(), "targets": 2, "intercepts": [0.5, -1.0]}
    case("linear_regressor", "LinearRegressor", [x], given, **ml)
    for transform in ("LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"):
        case(f"linear_regressor_{transform.lower()}", "LinearRegressor", [x], {**given, "post_transform": transform}, **ml)
    words = {"classlabels_strings": ["low", "middle", "high"]}
    three = {"coefficients": f32(9).tolist(), "intercepts": [0.5, 0.0, -0.5]}
    for transform in ("NONE", "LOGISTIC", "SOFTMAX"):
        case(f"linear_classifier_{transform.lower()}", "LinearClassifier", [x], {**three, **words, "post_transform": transform}, outputs=2, **ml)
    # One score is exactly 0, and counts for nothing.
    without = {"coefficients": [*f32(6).tolist(), 0.0, 0.0, 0.0], "intercepts": [0.5, 0.25, 0.0], **words}
    case("linear_classifier_softmax_zero", "LinearClassifier", [x], {**without, "post_transform": "SOFTMAX_ZERO"}, outputs=2, **ml)
    between = {"coefficients": [0.01] * 9, "intercepts": [0.3, 0.5, 0.8], **words}
    case("linear_classifier_probit", "LinearClassifier", [x], {**between, "post_transform": "PROBIT"}, outputs=2, **ml)
    single = {"coefficients": f32(3).tolist(), "intercepts": [0.125], "classlabels_ints": [-4, 9]}
    for transform in ("NONE", "LOGISTIC"):
        case(f"linear_classifier_single_{transform.lower()}", "LinearClassifier", [x], {**single, "post_transform": transform}, outputs=2, **ml)
    two = {"coefficients": f32(6).tolist(), "intercepts": [0.125, 0.0], "classlabels_ints": [-4, 9]}
    case("linear_classifier_ints", "LinearClassifier", [octets(4, 3, dtype=np.int64, high=5)], two, outputs=2, **ml)
    machine = {"coefficients": f32(2).tolist(), "n_supports": 2, "support_vectors": f32(6).tolist(), "rho": [0.25]}
    for kernel in ("LINEAR", "POLY", "RBF", "SIGMOID"):
        given = {**machine, "kernel_type": kernel, "kernel_params": [0.5, 0.25, 3.0]}
        case(f"svm_regressor_{kernel.lower()}", "SVMRegressor", [x], given, **ml)
    case("svm_regressor_one_class", "SVMRegressor", [f32(9, 3)], {**machine, "kernel_type": "RBF", "kernel_params": [0.5, 0.0, 3.0], "rho": [-0.2], "one_class": 1}, **ml)
    case("svm_regressor_without_vectors", "SVMRegressor", [x], {"coefficients": f32(3).tolist(), "rho": [0.25], "kernel_type": "LINEAR", "kernel_params": [0.0, 0.0, 0.0]}, **ml)


def labels(case, ml):
    """Strings and numbers that stand for each other."""
    words = np.array(["a", "b", "z", "a"], object)
    table = {"keys_strings": ["a", "b"], "values_floats": [1.5, 2.5], "default_float": -1.0}
    case("label_encoder", "LabelEncoder", [words], table, **ml)
    for name, texts in (("", words), ("_rows", words.reshape(2, 2))):
        case(f"one_hot_encoder{name}", "OneHotEncoder", [texts], {"cats_strings": ["b", "a", "c"]}, **ml)
    case("one_hot_encoder_all_known", "OneHotEncoder", [words[:2]], {"cats_strings": ["b", "a", "c"], "zeros": 0}, **ml)
    for dtype in (np.int64, np.int32, np.float32, np.float64):
        numbers = np.array([[3, -1], [8, 4]], dtype)
        case(f"one_hot_encoder_{np.dtype(dtype).name}", "OneHotEncoder", [numbers], {"cats_int64s": [4, -1, 3]}, twin=[numbers.astype(np.int64)], **ml)
    pairs = {"cats_int64s": [7, -3], "cats_strings": ["b", "a"]}
    case("category_mapper_strings", "CategoryMapper", [words], {**pairs, "default_int64": 99}, **ml)
    case("category_mapper_ints", "CategoryMapper", [np.array([[-3], [5], [7]], np.int64)], {**pairs, "default_string": "?"}, **ml)


def trees(case, ml):
    # Two trees: of three nodes and five leaves in all, and of one leaf.
    nodes = {
        "nodes_treeids": [0, 0, 0, 0, 0, 1],
        "nodes_nodeids": [0, 1, 2, 3, 4, 0],
        "nodes_featureids": [0, 1, 0, 0, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "BRANCH_GT", "LEAF", "LEAF", "LEAF", "LEAF"],
        "nodes_values": [0.1, -0.3, 0.0, 0.0, 0.0, 0.0],
        "nodes_truenodeids": [1, 3, 0, 0, 0, 0],
        "nodes_falsenodeids": [2, 4, 0, 0, 0, 0],
    }
    one = {
        **nodes,
        "target_treeids": [0, 0, 0, 1],
        "target_nodeids": [2, 3, 4, 0],
        "target_ids": [0, 0, 0, 0],
        "target_weights": [1.0, 10.0, -5.0, 0.25],
        "n_targets": 1,
    }
    for aggregate in ("SUM", "AVERAGE", "MIN", "MAX"):
        case(f"tree_regressor_{aggregate.lower()}", "TreeEnsembleRegressor", [f32(16, 2)], {**one, "aggregate_function": aggregate}, **ml)
    case("tree_regressor_base", "TreeEnsembleRegressor", [f32(16, 2)], {**one, "base_values": [3.5]}, **ml)
    close = np.array([[0.1, 0.0], [np.float32(0.1), 0.0], [np.nextafter(0.1, 1), -0.3]], np.float64)
    case("tree_regressor_f64", "TreeEnsembleRegressor", [close], one, **ml)
    # Three weights a leaf, out of the leaves' order.
    order = [2, 0, 3, 4]
    several = {
        **nodes,
        "target_treeids": [1 if node == 0 else 0 for node in order for _ in range(3)],
        "target_nodeids": [node for node in order for _ in range(3)],
        "target_ids": [0, 1, 2] * 4,
        "target_weights": f32(12).tolist(),
        "n_targets": 3,
    }
    for aggregate in ("SUM", "AVERAGE", "MAX"):
        case(f"tree_regressor_several_{aggregate.lower()}", "TreeEnsembleRegressor", [f32(16, 2)], {**several, "aggregate_function": aggregate}, **ml)
    classes = {f"class_{name}": several[f"target_{name}"] for name in ("treeids", "nodeids", "ids", "weights")}
    words = {"classlabels_strings": ["low", "middle", "high"]}
    for transform in ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"):
        case(f"tree_classifier_{transform.lower()}", "TreeEnsembleClassifier", [f32(16, 2)], {**nodes, **classes, **words, "post_transform": transform}, outputs=2, **ml)
    case("tree_classifier_base", "TreeEnsembleClassifier", [f32(16, 2)], {**nodes, **classes, **words, "base_values": [0.5, -0.5, 0.25]}, outputs=2, **ml)
    case("tree_classifier_ints", "TreeEnsembleClassifier", [octets(16, 2, dtype=np.int64, high=3) - 1], {**nodes, **classes, "classlabels_int64s": [9, 5, 7]}, outputs=2, **ml)
    for kind, weights in (("signed", [1.0, 10.0, -5.0, 0.25]), ("positive", [0.375, 0.125, 0.25, 0.1875])):
        for number in (0, 1):
            single = {
                "class_treeids": one["target_treeids"],
                "class_nodeids": one["target_nodeids"],
                "class_ids": [number] * 4,
                "class_weights": weights,
                "classlabels_int64s": [-4, 9],
            }
            for transform in ("NONE", "LOGISTIC"):
                name = f"tree_classifier_{kind}_{number}_{transform.lower()}"
                case(name, "TreeEnsembleClassifier", [f32(16, 2)], {**nodes, **single, "post_transform": transform}, outputs=2, **ml)
    based = {**nodes, **single, "class_ids": [0] * 4, "base_values": [0.125]}
    case("tree_classifier_positive_base", "TreeEnsembleClassifier", [f32(16, 2)], based, outputs=2, **ml)


def strings(case):
    onnx_domain = {"domain": ""}
    texts = np.array(["3.25", "1e-5", "+INF", "-inf", "NaN", "17"], object)
    case("cast_strings_to_f32", "Cast", [texts], {"to": 1}, **onnx_domain)
    case("cast_strings_to_f64", "Cast", [texts], {"to": 11}, **onnx_domain)
    case("cast_strings_to_i64", "Cast", [np.array(["12", "-7", "100.5"], object)], {"to": 7}, **onnx_domain)
    case("cast_strings_to_strings", "Identity", [texts], **onnx_domain)
    case("cast_i64_to_strings", "Cast", [np.array([0, -12, 2**62], np.int64)], {"to": 8}, **onnx_domain)
    # Where the shortest digits are few, ONNX Runtime's eight show them all.
    case("cast_f32_to_strings", "Cast", [np.array([1.5, -0.25, 100, np.inf, -np.inf, np.nan], np.float32)], {"to": 8}, **onnx_domain)
    words = np.array([["a", "b", "a"], ["c", "a", "b"]], object)
    pool = {"pool_strings": ["a", "b", "a", "b", "c", "a"], "ngram_counts": [0, 2], "ngram_indexes": [0, 1, 2, 3]}
    # ONNX Runtime samples numbers only: what stands for the texts.
    image, grid = np.arange(1, 25).reshape(1, 2, 3, 4), f32(1, 3, 5, 2, scale=0.8)
    name = np.vectorize(lambda number: f"s{number:.0f}" if number else "", otypes=[object])
    for padding in ("zeros", "border", "reflection"):
        sampled = {"mode": "nearest", "padding_mode": padding}
        case(f"grid_sample_strings_{padding}", "GridSample", [name(image), grid], sampled, twin=[image.astype(np.float32), grid], named=name, **onnx_domain)
    lengths = {"min_gram_length": 1, "max_gram_length": 2, "max_skip_count": 1}
    weights = {"weights": [0.5, 2.0, 3.0, 0.25]}
    for mode, given in (("TF", {}), ("TFIDF", weights)):
        case(f"tf_idf_strings_{mode.lower()}", "TfIdfVectorizer", [words], {"mode": mode, **pool, **lengths, **given}, **onnx_domain)
    # The n-grams' places are in another order than their weights, and one has none.
    pool = {"pool_int64s": [1, 2, 3, 2, 3], "ngram_counts": [0, 3], "ngram_indexes": [3, 0, 5, 1]}
    numbers = np.array([[1, 2, 2, 3, 1, 2, 3], [9, 3, 9, 3, 9, 9, 9]], np.int64)
    for mode in ("IDF", "TFIDF"):
        given = {"mode": mode, **pool, **lengths, **weights}
        case(f"tf_idf_places_{mode.lower()}", "TfIdfVectorizer", [numbers], given, **onnx_domain)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    count = 0

    def case(name, op, inputs, attributes=None, **options):
        nonlocal count
        write(sys.argv[1], name, op, inputs, attributes, **options)
        count += 1

    for group in (elementwise, products, norms, attention, quantized, recurrent, machine_learning, strings):
        group(case)
    print(f"onnxruntime {onnxruntime.__version__}: {count} cases")


if __name__ == "__main__":
    main()
