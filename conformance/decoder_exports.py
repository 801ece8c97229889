"""Decoders as exporters write them to ONNX, with a cache of keys and values, in three styles.

    torchscript  attention in its parts, repeated keys, masks by Trilu, Greater and masked fill, shapes by Shape and Gather
    dynamo       newer operators, masks by comparing positions, Where with -infinity, guards against rows without keys
    genai        com.microsoft: GroupQueryAttention with its rotation, SimplifiedLayerNormalization and its Skip form, packed projections
    nbits        genai, its matrices as MatMulNBits of four bits

Written by hand with onnx.helper after such exports' structure. `python3 decoder_exports.py` writes conformance/exports/: tiny
models with the weights of decoders.py, checked here against its float64 forward pass through ONNX Runtime, whole and in pieces
through the cache, and expected.json. `python3 decoder_exports.py MODEL.gguf FOLDER` writes a GGUF file's weights, widened to f32,
in every style to FOLDER. Needs numpy, onnx, onnxruntime.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import decoders

ROOT = pathlib.Path(__file__).parent / "exports"
# What f16 may change of the largest logit.
HALVES = 2e-3
STYLES = ["torchscript", "dynamo", "genai"]


class Writer:
    def __init__(self, config, tensors):
        self.c, self.t = config, tensors
        self.nodes, self.constants, self.seen = [], [], {}
        self.count = 0

    def op(self, op_type, *inputs, outputs=1, name=None, domain="", **attributes):
        self.count += 1
        name = name or f"/{op_type}_{self.count}"
        made = [f"{name}_output_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op_type, list(inputs), made, name=name, domain=domain, **attributes))
        return made[0] if outputs == 1 else made

    def const(self, value, dtype=None):
        value = np.array(value, dtype)
        key = (value.tobytes() if value.nbytes < 256 else None, str(value.dtype), value.shape)
        if key[0] is not None and key in self.seen:
            return self.seen[key]
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        self.seen[key] = name
        return name

    def ints(self, *values):
        return self.const(list(values), np.int64)

    def weight(self, name, transpose=False):
        key = (name, transpose)
        if key not in self.seen:
            value = self.t[name]
            label = f"onnx::MatMul_{len(self.constants)}" if transpose else name
            value = np.ascontiguousarray(value.T) if transpose else value
            self.constants.append(numpy_helper.from_array(value, label))
            self.seen[key] = label
        return self.seen[key]

    def product(self, x, matrix, name):
        """By a matrix [K, N] that is stored in full, or in four bits and a scale for each block of 32."""
        if not self.c.get("bits"):
            return self.op("MatMul", x, matrix if isinstance(matrix, str) else self.const(matrix), name=f"/{name}/MatMul")
        q, scale = quantized(matrix.T)
        inputs = [x, self.const(q[..., 0::2] | q[..., 1::2] << 4), self.const(scale)]
        sizes = dict(K=matrix.shape[0], N=matrix.shape[1], bits=4, block_size=32)
        return self.op("MatMulNBits", *inputs, name=f"/{name}/MatMulNBits", domain="com.microsoft", **sizes)

    def linear(self, name, x):
        matrix = self.t[name + ".weight"].T if self.c.get("bits") else self.weight(name + ".weight", True)
        y = self.product(x, matrix, name)
        if name + ".bias" in self.t:
            y = self.op("Add", self.weight(name + ".bias"), y, name=f"/{name}/Add")
        return y

    def model(self, inputs, outputs, opset, microsoft=False):
        graph = helper.make_graph(self.nodes, "main_graph", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", opset)]
        if microsoft:
            opsets.append(helper.make_opsetid("com.microsoft", 1))
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def quantized(rows):
    """Four bits [N, blocks, 32] and scales of rows [N, K]. What has gone through it once stays what it is."""
    count = -(-rows.shape[1] // 32)
    blocks = np.zeros((len(rows), count * 32), np.float32)
    blocks[:, : rows.shape[1]] = rows
    blocks = blocks.reshape(len(rows), count, 32)
    # Scales of eight significant bits, rounded up, so that products with small integers are exact.
    exponent = np.frexp(np.maximum(np.abs(blocks).max(-1), 1e-6) / 7)[1]
    scale = np.ldexp(np.ceil(np.ldexp(np.maximum(np.abs(blocks).max(-1), 1e-6) / 7, 8 - exponent)), exponent - 8).astype(np.float32)
    return (np.rint(blocks / scale[..., None]) + 8).astype(np.uint8), scale


def dequantized(rows):
    q, scale = quantized(rows)
    wide = (q.astype(np.float32) - 8) * scale[..., None]
    return wide.reshape(len(rows), -1)[:, : rows.shape[1]]


def interface(c, positions):
    ints = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.INT64, shape)
    floats = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    inputs = [
        ints("input_ids", ["batch_size", "sequence_length"]),
        ints("attention_mask", ["batch_size", "past_sequence_length + sequence_length"]),
    ]
    if positions:
        inputs.append(ints("position_ids", ["batch_size", "sequence_length"]))
    outputs = [floats("logits", ["batch_size", "sequence_length", decoders_vocabulary(c)])]
    for layer in range(c["layers"]):
        for kind in ["key", "value"]:
            past = ["batch_size", c["kv_heads"], "past_sequence_length", c["head_dim"]]
            present = ["batch_size", c["kv_heads"], "past_sequence_length + sequence_length", c["head_dim"]]
            inputs.append(floats(f"past_key_values.{layer}.{kind}", past))
            outputs.append(floats(f"present.{layer}.{kind}", present))
    return inputs, outputs


def decoders_vocabulary(c):
    return c.get("vocabulary", decoders.VOCABULARY)


def finish(w, c, logits, presents):
    w.nodes.append(helper.make_node("Identity", [logits], ["logits"], name="/logits"))
    for layer, (key, value) in enumerate(presents):
        w.nodes.append(helper.make_node("Identity", [key], [f"present.{layer}.key"], name=f"/present_{layer}_key"))
        w.nodes.append(helper.make_node("Identity", [value], [f"present.{layer}.value"], name=f"/present_{layer}_value"))


def swish(w, at, x):
    return w.op("Mul", x, w.op("Sigmoid", x, name=f"{at}/act_fn/Sigmoid"), name=f"{at}/act_fn/Mul")


def head(w, x):
    name = "lm_head.weight" if "lm_head.weight" in w.t else "model.embed_tokens.weight"
    return w.op("MatMul", x, w.weight(name, True), name="/lm_head/MatMul")


def torchscript(c, tensors):
    w = Writer(c, tensors)
    heads, kv, d, hidden = c["heads"], c["kv_heads"], c["head_dim"], c["hidden"]
    dim = lambda x, axis: w.op("Gather", w.op("Shape", x), w.const(axis, np.int64), axis=0)
    one = lambda x: w.op("Unsqueeze", x, w.ints(0))
    x = w.op("Gather", w.weight("model.embed_tokens.weight"), "input_ids", name="/model/embed_tokens/Gather")
    past, length = dim("past_key_values.0.key", 2), dim(x, 1)
    total = w.op("Add", past, length)
    zero, step, low = w.const(0, np.int64), w.const(1, np.int64), w.const(np.finfo(np.float32).min, np.float32)
    # The causal mask: triangle, times (position of the key > position of the query), then the mask of padding filled in.
    column = w.op("Range", zero, total, step)
    row = w.op("Range", past, total, step)
    filled = w.op("Expand", low, w.op("Concat", one(length), one(total), axis=0))
    upper = w.op("Trilu", filled, w.const(1, np.int64), upper=1)
    after = w.op("Greater", column, w.op("Reshape", row, w.ints(-1, 1)))
    mask = w.op("Mul", upper, w.op("Cast", after, to=TensorProto.FLOAT))
    if c["windows"][0]:
        near = w.op("Sub", w.op("Reshape", row, w.ints(-1, 1)), w.const(c["windows"][0], np.int64))
        far = w.op("LessOrEqual", column, near)
        mask = w.op("Where", far, low, mask)
    mask = w.op("Unsqueeze", mask, w.ints(0, 1))
    shape = w.op("Concat", one(dim("input_ids", 0)), w.ints(1), w.ints(-1), w.ints(-1), axis=0)
    minus = w.op("Mul", w.op("ConstantOfShape", w.op("Shape", shape), value=helper.make_tensor("v", TensorProto.INT64, [1], [1])), w.const(-1, np.int64))
    ones = w.op("ConstantOfShape", w.op("Shape", shape), value=helper.make_tensor("v", TensorProto.INT64, [1], [1]))
    shape = w.op("Where", w.op("Equal", shape, minus), ones, shape)
    mask = w.op("Expand", mask, shape)
    padding = w.op("Unsqueeze", "attention_mask", w.ints(1, 2))
    padding = w.op("Equal", w.op("Add", mask, w.op("Cast", padding, to=TensorProto.FLOAT)), w.const(0.0, np.float32))
    mask = w.op("Where", padding, low, mask)
    # Rotation.
    inverse, magnitude = decoders.frequencies(d, c["ropes"][0])
    inverse = w.op("Expand", w.const(inverse[None, :, None].astype(np.float32)), w.op("Concat", one(dim("position_ids", 0)), w.ints(d // 2), w.ints(1), axis=0))
    at = w.op("Cast", w.op("Unsqueeze", "position_ids", w.ints(1)), to=TensorProto.FLOAT)
    angles = w.op("Transpose", w.op("MatMul", inverse, at, name="/model/rotary_emb/MatMul"), perm=[0, 2, 1])
    angles = w.op("Concat", angles, angles, axis=-1)
    cos, sin = (w.op("Unsqueeze", w.op("Mul", w.op(f, angles), w.const(magnitude, np.float32)), w.ints(1)) for f in ("Cos", "Sin"))

    def norm(name, x):
        square = w.op("Pow", x, w.const(2.0, np.float32), name=f"/{name}/Pow")
        mean = w.op("ReduceMean", square, axes=[-1], name=f"/{name}/ReduceMean")
        root = w.op("Sqrt", w.op("Add", mean, w.const(c["epsilon"], np.float32)))
        return w.op("Mul", w.weight(name + ".weight"), w.op("Mul", x, w.op("Div", w.const(1.0, np.float32), root)))

    def rotate(x):
        half = w.op("Div", dim(x, 3), w.const(2, np.int64))
        first = w.op("Slice", x, w.ints(0), one(half), w.ints(3), w.ints(1))
        second = w.op("Slice", x, one(half), w.ints(2**63 - 1), w.ints(3), w.ints(1))
        turned = w.op("Concat", w.op("Neg", second), first, axis=-1)
        return w.op("Add", w.op("Mul", x, cos), w.op("Mul", turned, sin))

    def repeat(x):
        if heads == kv:
            return x
        batch, length = dim(x, 0), dim(x, 2)
        five = w.op("Concat", one(batch), w.ints(kv), w.ints(heads // kv), one(length), w.ints(d), axis=0)
        wide = w.op("Expand", w.op("Unsqueeze", x, w.ints(2)), five)
        return w.op("Reshape", wide, w.op("Concat", one(batch), w.ints(heads), one(length), w.ints(d), axis=0))

    presents = []
    for layer in range(c["layers"]):
        at = f"model.layers.{layer}."
        h = norm(at + "input_layernorm", x)
        batch, length = dim(h, 0), dim(h, 1)
        parts = []
        for name, count in [("q", heads), ("k", kv), ("v", kv)]:
            y = w.linear(f"{at}self_attn.{name}_proj", h)
            y = w.op("Reshape", y, w.op("Concat", one(batch), one(length), w.ints(count), w.ints(d), axis=0))
            if c.get("qk_norm") and name != "v":
                y = norm(f"{at}self_attn.{name}_norm", y)
            parts.append(w.op("Transpose", y, perm=[0, 2, 1, 3]))
        q, k, v = rotate(parts[0]), rotate(parts[1]), parts[2]
        k = w.op("Concat", f"past_key_values.{layer}.key", k, axis=-2)
        v = w.op("Concat", f"past_key_values.{layer}.value", v, axis=-2)
        presents.append((k, v))
        scores = w.op("MatMul", q, w.op("Transpose", repeat(k), perm=[0, 1, 3, 2]), name=f"/{at}self_attn/MatMul")
        scores = w.op("Div", scores, w.const(np.sqrt(d), np.float32))
        kept = w.op("Slice", mask, w.ints(0), one(dim(k, 2)), w.ints(3), w.ints(1))
        weights = w.op("Softmax", w.op("Add", scores, kept), axis=-1)
        y = w.op("MatMul", weights, repeat(v), name=f"/{at}self_attn/MatMul_1")
        y = w.op("Reshape", w.op("Transpose", y, perm=[0, 2, 1, 3]), w.op("Concat", one(batch), one(length), w.ints(heads * d), axis=0))
        x = w.op("Add", x, w.linear(f"{at}self_attn.o_proj", y))
        h = norm(at + "post_attention_layernorm", x)
        gate = swish(w, f"/{at}mlp", w.linear(at + "mlp.gate_proj", h))
        x = w.op("Add", x, w.linear(at + "mlp.down_proj", w.op("Mul", gate, w.linear(at + "mlp.up_proj", h))))
    finish(w, c, head(w, norm("model.norm", x)), presents)
    return w.model(*interface(c, True), opset=14)


def dynamo(c, tensors):
    w = Writer(c, tensors)
    heads, kv, d, hidden = c["heads"], c["kv_heads"], c["head_dim"], c["hidden"]
    size = lambda x, axis: w.op("Shape", x, start=axis, end=axis + 1)
    scalar = lambda x: w.op("Squeeze", x, w.ints(0))
    batch, length, past = size("input_ids", 0), size("input_ids", 1), size("past_key_values.0.key", 2)
    total = w.op("Add", past, length)
    embedding = w.weight("model.embed_tokens.weight")
    x = w.op("Gather", embedding, "input_ids", name="node_embedding")
    step, zero = w.const(1, np.int64), w.const(0, np.int64)
    row = w.op("Range", scalar(past), scalar(total), step)
    column = w.op("Range", zero, scalar(total), step)
    queries = w.op("Unsqueeze", row, w.ints(0, 1, 3))
    keys = w.op("Unsqueeze", column, w.ints(0, 1, 2))
    mask = w.op("LessOrEqual", keys, queries)
    if c["windows"][0]:
        mask = w.op("And", w.op("Greater", keys, w.op("Sub", queries, w.const(c["windows"][0], np.int64))), mask)
    # Padding: the mask's element of every key.
    seen = w.op("Cast", "attention_mask", to=TensorProto.BOOL)
    pairs = w.op("Expand", w.op("Unsqueeze", keys, w.ints(4)), w.op("Concat", batch, w.ints(1, 1), total, w.ints(1), axis=0))
    first = w.op("Expand", w.op("Reshape", w.op("Range", zero, scalar(batch), step), w.ints(-1, 1, 1, 1, 1)), w.op("Shape", pairs))
    seen = w.op("GatherND", seen, w.op("Concat", first, pairs, axis=-1))
    mask = w.op("And", mask, seen)
    added = w.op("Where", mask, w.const(0.0, np.float32), w.const(-np.inf, np.float32))
    inverse, magnitude = decoders.frequencies(d, c["ropes"][0])
    at = w.op("Cast", w.op("Unsqueeze", "position_ids", w.ints(2)), to=TensorProto.FLOAT)
    angles = w.op("Mul", at, w.const(inverse[None, None, :].astype(np.float32)))
    angles = w.op("Concat", angles, angles, axis=-1)
    cos, sin = (w.op("Unsqueeze", w.op("Mul", w.op(f, angles), w.const(magnitude, np.float32)), w.ints(1)) for f in ("Cos", "Sin"))

    def norm(name, x):
        mean = w.op("ReduceMean", w.op("Pow", x, w.const(2.0, np.float32)), w.ints(-1), keepdims=1, name=f"node_{name}_mean")
        scale = w.op("Reciprocal", w.op("Sqrt", w.op("Add", mean, w.const(c["epsilon"], np.float32))))
        return w.op("Mul", w.weight(name + ".weight"), w.op("Mul", x, scale))

    def linear(name, x):
        matrix = w.op("Transpose", w.weight(name + ".weight"), perm=[1, 0], name=f"node_{name}_t")
        y = w.op("MatMul", x, matrix, name=f"node_{name}")
        return w.op("Add", y, w.weight(name + ".bias")) if name + ".bias" in w.t else y

    def rotate(x):
        first, second = w.op("Split", x, axis=-1, num_outputs=2, outputs=2)
        return w.op("Add", w.op("Mul", x, cos), w.op("Mul", w.op("Concat", w.op("Neg", second), first, axis=-1), sin))

    def repeat(x, total):
        if heads == kv:
            return x
        five = w.op("Concat", batch, w.ints(kv, heads // kv), total, w.ints(d), axis=0)
        wide = w.op("Expand", w.op("Unsqueeze", x, w.ints(2)), five)
        return w.op("Reshape", wide, w.op("Concat", batch, w.ints(heads), total, w.ints(d), axis=0))

    presents = []
    root = w.const(np.sqrt(np.sqrt(1.0 / d)), np.float32)
    for layer in range(c["layers"]):
        at = f"model.layers.{layer}."
        h = norm(at + "input_layernorm", x)
        parts = []
        for name, count in [("q", heads), ("k", kv), ("v", kv)]:
            y = w.op("Reshape", linear(f"{at}self_attn.{name}_proj", h), w.op("Concat", batch, length, w.ints(-1, d), axis=0))
            if c.get("qk_norm") and name != "v":
                y = norm(f"{at}self_attn.{name}_norm", y)
            parts.append(w.op("Transpose", y, perm=[0, 2, 1, 3]))
        q, k, v = rotate(parts[0]), rotate(parts[1]), parts[2]
        k = w.op("Concat", f"past_key_values.{layer}.key", k, axis=-2)
        v = w.op("Concat", f"past_key_values.{layer}.value", v, axis=-2)
        presents.append((k, v))
        keys = w.op("Transpose", repeat(k, total), perm=[0, 1, 3, 2])
        scores = w.op("MatMul", w.op("Mul", q, root), w.op("Mul", keys, root), name=f"node_scores_{layer}")
        weights = w.op("Softmax", w.op("Add", scores, added), axis=-1)
        weights = w.op("Where", w.op("IsNaN", weights), w.const(0.0, np.float32), weights)
        y = w.op("MatMul", weights, repeat(v, total), name=f"node_attention_{layer}")
        y = w.op("Reshape", w.op("Transpose", y, perm=[0, 2, 1, 3]), w.op("Concat", batch, length, w.ints(-1), axis=0))
        x = w.op("Add", x, linear(f"{at}self_attn.o_proj", y))
        h = norm(at + "post_attention_layernorm", x)
        gate = swish(w, f"node_{at}mlp", linear(at + "mlp.gate_proj", h))
        x = w.op("Add", x, linear(at + "mlp.down_proj", w.op("Mul", gate, linear(at + "mlp.up_proj", h))))
    name = "lm_head.weight" if "lm_head.weight" in tensors else "model.embed_tokens.weight"
    matrix = w.op("Transpose", w.weight(name), perm=[1, 0], name="node_lm_head_t")
    finish(w, c, w.op("MatMul", norm("model.norm", x), matrix, name="node_lm_head"), presents)
    return w.model(*interface(c, True), opset=18)


def genai(c, tensors):
    w = Writer(c, tensors)
    heads, kv, d, hidden = c["heads"], c["kv_heads"], c["head_dim"], c["hidden"]
    micro = dict(domain="com.microsoft")
    ones = w.op("ReduceSum", "attention_mask", w.ints(1), keepdims=1, name="/model/attn_mask_reformat/ReduceSum")
    lengths = w.op("Cast", w.op("Sub", ones, w.ints(1)), to=TensorProto.INT32)
    total = w.op("Gather", w.op("Shape", "attention_mask"), w.const(1, np.int64), axis=0)
    total = w.op("Cast", total, to=TensorProto.INT32)
    inverse, magnitude = decoders.frequencies(d, c["ropes"][0])
    angles = np.arange(c.get("context", 64))[:, None] * inverse[None, :]
    cos, sin = (w.const((f(angles) * magnitude).astype(np.float32)) for f in (np.cos, np.sin))
    x = w.op("Gather", w.weight("model.embed_tokens.weight"), "input_ids", name="/model/embed_tokens/Gather")
    attributes = dict(axis=-1, epsilon=c["epsilon"])
    h = w.op("SimplifiedLayerNormalization", x, w.weight("model.layers.0.input_layernorm.weight"), name="/model/layers.0/input_layernorm/LayerNorm", **attributes)

    def skip(name, x, y):
        made = [f"/{name}/output_0", "", "", f"/{name}/output_3"]
        w.nodes.append(helper.make_node("SkipSimplifiedLayerNormalization", [x, y, w.weight(name + ".weight")], made, name=f"/{name}/SkipLayerNorm", domain="com.microsoft", epsilon=c["epsilon"]))
        return made[0], made[3]

    presents = []
    for layer in range(c["layers"]):
        at = f"model.layers.{layer}."
        names = [f"{at}self_attn.{n}_proj" for n in "qkv"]
        if c.get("qk_norm"):
            q, k, v = (w.linear(name, h) for name in names)

            def normed(name, y):
                four = w.op("Reshape", y, w.ints(0, -1, d), allowzero=0)
                four = w.op("SimplifiedLayerNormalization", four, w.weight(f"{at}self_attn.{name}_norm.weight"), name=f"/{at}attn/{name}_norm/LayerNorm", **attributes)
                return w.op("Reshape", four, w.op("Shape", y))

            q, k = normed("q", q), normed("k", k)
        else:
            packed = np.ascontiguousarray(np.concatenate([tensors[n + ".weight"] for n in names]).T)
            q = w.product(h, packed, f"{at}attn/qkv_proj")
            if names[0] + ".bias" in tensors:
                bias = np.concatenate([tensors[n + ".bias"] for n in names])
                q = w.op("Add", q, w.const(bias), name=f"/{at}attn/qkv_proj/Add")
            k = v = ""
        inputs = [q, k, v, f"past_key_values.{layer}.key", f"past_key_values.{layer}.value", lengths, total, cos, sin]
        window = c["windows"][layer] or -1
        y, key, value = w.op("GroupQueryAttention", *inputs, outputs=3, name=f"/{at}attn/GroupQueryAttention", num_heads=heads, kv_num_heads=kv, scale=float(1 / np.sqrt(d)), do_rotary=1, rotary_interleaved=0, local_window_size=window, **micro)
        presents.append((key, value))
        h, x = skip(at + "post_attention_layernorm", x, w.linear(f"{at}self_attn.o_proj", y))
        gate = swish(w, f"/{at}mlp", w.linear(at + "mlp.gate_proj", h))
        y = w.linear(at + "mlp.down_proj", w.op("Mul", gate, w.linear(at + "mlp.up_proj", h)))
        after = "model.norm" if layer + 1 == c["layers"] else f"model.layers.{layer + 1}.input_layernorm"
        h, x = skip(after, x, y)
    finish(w, c, head(w, h), presents)
    return w.model(*interface(c, False), opset=21, microsoft=True)


def nbits(c, tensors):
    return genai(dict(c, bits=4), tensors)


def in_halves(model):
    """The model as it is exported after it was loaded in f16: f16 in the place of f32, but for the angles of positions."""
    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    angles, waiting = set(), [node.input[0] for node in graph.node if node.op_type in ("Cos", "Sin")]
    while waiting:
        node = made.get(waiting.pop())
        if node is not None and node.name not in angles:
            angles.add(node.name)
            waiting.extend(node.input)

    def narrowed(tensor, name):
        # What masks is the type's least number.
        least = float(np.finfo(np.float16).max)
        wide = numpy_helper.to_array(tensor)
        value = np.where(np.isfinite(wide), np.clip(wide, -least, least), wide).astype(np.float16)
        return numpy_helper.from_array(value, name)

    wide = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    others = [tensor for tensor in graph.initializer if tensor.name not in wide]
    kept = {name for node in graph.node if node.name in angles for name in node.input if name in wide}
    constants = others + [wide[name] for name in kept]
    # Angles need some constants as they are, and the rest of the model may share them.
    renamed = {name: f"{name}_half" if name in kept else name for name in wide}
    used = {name for node in graph.node if node.name not in angles for name in node.input}
    constants += [narrowed(tensor, renamed[name]) for name, tensor in wide.items() if name in used]
    nodes = []
    for node in graph.node:
        nodes.append(node)
        if node.name in angles:
            continue
        for at, name in enumerate(node.input):
            node.input[at] = renamed.get(name, name)
        if node.op_type in ("Cos", "Sin"):
            name = node.output[0]
            node.output[0] = name + "_wide"
            nodes.append(helper.make_node("Cast", [node.output[0]], [name], name=node.name + "_half", to=TensorProto.FLOAT16))
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
            if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
                attribute.t.CopyFrom(narrowed(attribute.t, attribute.t.name))
    for field, values in [(graph.initializer, constants), (graph.node, nodes)]:
        values = [type(value).FromString(value.SerializeToString()) for value in values]
        del field[:]
        field.extend(values)
    for value in [*graph.input, *graph.output, *graph.value_info]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


BUILD = {"torchscript": torchscript, "dynamo": dynamo, "genai": genai, "nbits": nbits}


def run(path, c, tokens, pieces, dtype=np.float32):
    """Logits of the tokens, fed in pieces through the cache."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    past = {n: np.zeros((1, c["kv_heads"], 0, c["head_dim"]), dtype) for n in names if n.startswith("past")}
    logits, at = [], 0
    for size in pieces:
        piece = tokens[at : at + size]
        feed = {"input_ids": np.array([piece]), "attention_mask": np.ones((1, at + size), np.int64), **past}
        if "position_ids" in names:
            feed["position_ids"] = np.arange(at, at + size)[None]
        found = session.run(None, feed)
        logits.append(found[0][0])
        past = dict(zip(past, found[1:]))
        at += size
    return np.concatenate(logits)


TINY = {
    "llama": dict(heads=4, kv_heads=2, head_dim=16, hidden=32, inner=24, layers=2, windows=[0, 0], tied=True, epsilon=1e-5, ropes=[dict(base=10000.0)]),
    "qwen2": dict(heads=4, kv_heads=1, head_dim=16, hidden=32, inner=24, layers=2, windows=[0, 0], tied=False, epsilon=1e-6, qkv_bias=True, ropes=[dict(base=1e6)]),
    "mistral": dict(heads=2, kv_heads=2, head_dim=16, hidden=32, inner=24, layers=2, windows=[4, 4], tied=False, epsilon=1e-5, ropes=[dict(base=10000.0)]),
    "qwen3": dict(heads=4, kv_heads=2, head_dim=16, hidden=32, inner=24, layers=2, windows=[0, 0], tied=True, epsilon=1e-6, qk_norm=True, ropes=[dict(base=1e6)]),
}

WRITTEN = {"llama": STYLES, "qwen2": ["torchscript", "genai"], "mistral": ["dynamo", "genai"], "qwen3": ["torchscript", "genai"]}


def tiny():
    ROOT.mkdir(exist_ok=True)
    expected = {}
    for seed, (name, c) in enumerate(TINY.items()):
        tensors = decoders.make(c, 100 + seed)
        full = dict(c, ropes=[c["ropes"][0]] * c["layers"])
        wanted = decoders.forward(full, tensors, decoders.TOKENS)
        for style in WRITTEN[name]:
            path = ROOT / f"{name}.{style}.onnx"
            onnx.save(BUILD[style](c, tensors), path)
            for pieces in ([len(decoders.TOKENS)], [6, 1, 1, 2]):
                error = np.abs(run(path, c, decoders.TOKENS, pieces) - wanted).max()
                assert error < 1e-5 * np.abs(wanted).max(), (path.name, pieces, error)
            expected[path.name] = {"tokens": decoders.TOKENS, "logits": [round(float(v), 9) for v in wanted.ravel()]}
            print(path.name, "agrees")
    # Matrices rounded to what four bits hold; those of the embedding and the head stay.
    c = TINY["qwen2"]
    tensors = {n: dequantized(t) if "_proj.weight" in n else t for n, t in decoders.make(c, 101).items()}
    wanted = decoders.forward(dict(c, ropes=[c["ropes"][0]] * c["layers"]), tensors, decoders.TOKENS)
    path = ROOT / "qwen2.nbits.onnx"
    onnx.save(nbits(c, tensors), path)
    error = np.abs(run(path, c, decoders.TOKENS, [6, 1, 1, 2]) - wanted).max()
    assert error < 1e-5 * np.abs(wanted).max(), (path.name, error)
    expected[path.name] = {"tokens": decoders.TOKENS, "logits": [round(float(v), 9) for v in wanted.ravel()]}
    print(path.name, "agrees")
    # Weights of f16, and every sum rounded to it.
    for name, style in [("llama", "torchscript"), ("mistral", "dynamo"), ("qwen3", "genai")]:
        c = TINY[name]
        tensors = {n: t.astype(np.float16).astype(np.float32) for n, t in decoders.make(c, 100 + list(TINY).index(name)).items()}
        wanted = decoders.forward(dict(c, ropes=[c["ropes"][0]] * c["layers"]), tensors, decoders.TOKENS)
        path = ROOT / f"{name}.{style}.f16.onnx"
        onnx.save(in_halves(BUILD[style](c, tensors)), path)
        error = np.abs(run(path, c, decoders.TOKENS, [6, 1, 1, 2], np.float16) - wanted).max() / np.abs(wanted).max()
        print(f"{path.name}: ONNX Runtime is off by {error:.1e} of the largest")
        assert error < HALVES
        expected[path.name] = {"tokens": decoders.TOKENS, "within": HALVES, "logits": [round(float(v), 9) for v in wanted.ravel()]}
    (ROOT / "expected.json").write_text(json.dumps(expected) + "\n")


def of_gguf(source):
    """The configuration and the tensors of a Llama's GGUF file, widened to f32; its tokenizer is left out."""
    from smollm2 import read

    meta, weights = read(source)
    key = lambda name: meta[f"llama.{name}"]
    heads, kv, hidden = key("attention.head_count"), key("attention.head_count_kv"), key("embedding_length")
    c = dict(heads=heads, kv_heads=kv, head_dim=hidden // heads, hidden=hidden, inner=key("feed_forward_length"), layers=key("block_count"), epsilon=key("attention.layer_norm_rms_epsilon"), ropes=[dict(base=key("rope.freq_base"))], context=2048)
    c["windows"] = [0] * c["layers"]
    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    parts = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    parts |= {f"attn_{n}": f"self_attn.{n}_proj" for n in "qkv"}
    tensors = {}
    for key, value in weights.items():
        name = key.removesuffix(".weight")
        if name.startswith("blk."):
            _, layer, part = name.split(".")
            name = f"model.layers.{layer}.{parts[part]}"
            if part in ("attn_q", "attn_k"):
                # GGUF's neighbours to the halves that exports pair.
                count = heads if part == "attn_q" else kv
                value = value.reshape(count, -1, 2, hidden).swapaxes(1, 2).reshape(value.shape)
        else:
            name = names[name]
        tensors[name + ".weight"] = value
    c["vocabulary"] = len(tensors["model.embed_tokens.weight"])
    return c, tensors


def write_gguf(source, folder):
    """A Llama's GGUF file in every style."""
    c, tensors = of_gguf(source)
    folder = pathlib.Path(folder)
    for style in STYLES:
        (folder / style).mkdir(parents=True, exist_ok=True)
        onnx.save(BUILD[style](c, tensors), folder / style / "model.onnx")
        print(folder / style / "model.onnx")


if __name__ == "__main__":
    write_gguf(*sys.argv[1:]) if len(sys.argv) == 3 else tiny()
