#!/usr/bin/env python3
"""Compares greedy generations of SmolLM2-135M-Instruct with ONNX Runtime on the same weights.

Reads the GGUF file, widens its weights to f32 with numpy, builds an ONNX model of plain operators (MatMul, Softmax, Mul ...),
and asks ONNX Runtime for the logits of every position of what `repops generate` wrote: greedy generations are equal exactly if
at every position the token that follows has the greatest logit. Positions where another token is within 1e-5 are listed.

    smollm2.py REPOPS MODEL.gguf P.rep [--tokens 100]
"""

import argparse
import json
import struct
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

PROMPTS = [
    "What is the capital of France?",
    "Write a short poem about the sea.",
    "Explain why the sky is blue to a child.",
    "List three uses of a paper clip.",
    "What is 12 times 7?",
    "Summarize the plot of Romeo and Juliet.",
    "Give me a recipe for pancakes.",
    "Who wrote the theory of relativity?",
    "Translate 'good morning' into Spanish.",
    "How do vaccines work?",
]
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def one(self, code):
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def text(self):
        count = self.one("Q")
        self.at += count
        return self.data[self.at - count : self.at].decode()

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind == 9:
            inner, count = self.one("I"), self.one("Q")
            return [self.value(inner) for _ in range(count)]
        return self.one(SCALARS[kind])


def read(path):
    """Metadata, and tensors in f32."""
    data = open(path, "rb").read()
    reader = Reader(data)
    assert reader.one("I") == 0x46554747
    reader.one("I")
    tensors, keys = reader.one("Q"), reader.one("Q")
    meta = {}
    for _ in range(keys):
        name = reader.text()
        meta[name] = reader.value(reader.one("I"))
    entries = []
    for _ in range(tensors):
        name = reader.text()
        dims = [reader.one("Q") for _ in range(reader.one("I"))]
        entries.append((name, dims[::-1], reader.one("I"), reader.one("Q")))
    align = meta.get("general.alignment", 32)
    start = -(-reader.at // align) * align
    return meta, {name: widen(data, start + at, shape, kind) for name, shape, kind, at in entries}


def widen(data, at, shape, kind):
    count = int(np.prod(shape))
    if kind == 0:
        return np.frombuffer(data, np.float32, count, at).reshape(shape).copy()
    if kind == 1:
        return np.frombuffer(data, np.float16, count, at).astype(np.float32).reshape(shape)
    size = {8: 34, 2: 18, 3: 20}[kind]
    blocks = np.frombuffer(data, np.uint8, count // 32 * size, at).reshape(-1, size)
    half = lambda first: blocks[:, first : first + 2].copy().view(np.float16).astype(np.float32)
    if kind == 8:
        values = half(0) * blocks[:, 2:].view(np.int8).astype(np.float32)
    else:
        packed = blocks[:, size - 16 :]
        q = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32)
        values = half(0) * (q - 8) if kind == 2 else half(0) * q + half(2)
    return values.astype(np.float32).reshape(shape)


def model(meta, weights):
    arch = meta["general.architecture"]
    get = lambda key: meta[f"{arch}.{key}"]
    layers, heads, kv = get("block_count"), get("attention.head_count"), get("attention.head_count_kv")
    hidden, eps = get("embedding_length"), get("attention.layer_norm_rms_epsilon")
    d = hidden // heads
    nodes, constants = [], {}
    counter = iter(range(10**9))

    def constant(array):
        name = f"c{next(counter)}"
        constants[name] = array
        return name

    def op(kind, *inputs, **attributes):
        name = f"v{next(counter)}"
        nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    ints = lambda *values: constant(np.array(values, np.int64))
    scalar = lambda value: constant(np.array(value, np.float32))
    matrix = lambda name: constant(np.ascontiguousarray(weights[name].T))

    def norm(x, name):
        mean = op("ReduceMean", op("Mul", x, x), ints(-1), keepdims=1)
        root = op("Sqrt", op("Add", mean, scalar(eps)))
        return op("Mul", op("Div", x, root), constant(weights[name]))

    def rotate(x, count):
        pairs = op("Reshape", x, ints(0, count, d // 2, 2))
        a, b = (op("Gather", pairs, constant(np.array(i, np.int64)), axis=3) for i in (0, 1))
        first = op("Sub", op("Mul", a, "cos"), op("Mul", b, "sin"))
        second = op("Add", op("Mul", b, "cos"), op("Mul", a, "sin"))
        both = op("Concat", op("Unsqueeze", first, ints(3)), op("Unsqueeze", second, ints(3)), axis=3)
        return op("Transpose", op("Reshape", both, ints(0, count, d)), perm=[1, 0, 2])

    def spread(x):
        # Each head of keys and values serves several of queries.
        wide = op("Expand", op("Unsqueeze", x, ints(1)), ints(1, heads // kv, 1, 1))
        return op("Reshape", wide, op("Concat", ints(heads), ints(-1, d), axis=0))

    embedding = weights["token_embd.weight"]
    x = op("Gather", constant(embedding), "tokens", axis=0)
    for layer in range(layers):
        w = lambda name: f"blk.{layer}.{name}.weight"
        h = norm(x, w("attn_norm"))
        q = rotate(op("MatMul", h, matrix(w("attn_q"))), heads)
        k = spread(rotate(op("MatMul", h, matrix(w("attn_k"))), kv))
        v = op("Reshape", op("MatMul", h, matrix(w("attn_v"))), ints(0, kv, d))
        v = spread(op("Transpose", v, perm=[1, 0, 2]))
        scores = op("Mul", op("MatMul", q, op("Transpose", k, perm=[0, 2, 1])), scalar(d**-0.5))
        y = op("MatMul", op("Softmax", op("Add", scores, "mask"), axis=-1), v)
        y = op("Reshape", op("Transpose", y, perm=[1, 0, 2]), ints(0, hidden))
        x = op("Add", x, op("MatMul", y, matrix(w("attn_output"))))
        h = norm(x, w("ffn_norm"))
        gate = op("MatMul", h, matrix(w("ffn_gate")))
        gate = op("Mul", gate, op("Sigmoid", gate))
        x = op("Add", x, op("MatMul", op("Mul", gate, op("MatMul", h, matrix(w("ffn_up")))), matrix(w("ffn_down"))))
    head = weights.get("output.weight", embedding)
    logits = op("MatMul", norm(x, "output_norm.weight"), constant(np.ascontiguousarray(head.T)))
    float_input = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(
        nodes,
        "decoder",
        [
            helper.make_tensor_value_info("tokens", TensorProto.INT64, ["S"]),
            float_input("cos", ["S", 1, d // 2]),
            float_input("sin", ["S", 1, d // 2]),
            float_input("mask", ["S", "S"]),
        ],
        [float_input(logits, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return made.SerializeToString(), d, get("rope.freq_base")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repops")
    parser.add_argument("gguf")
    parser.add_argument("program")
    parser.add_argument("--tokens", type=int, default=100)
    options = parser.parse_args()
    meta, weights = read(options.gguf)
    serialized, d, base = model(meta, weights)
    session = onnxruntime.InferenceSession(serialized, providers=["CPUExecutionProvider"])
    wrong = ties = total = 0
    for prompt in PROMPTS:
        command = [options.repops, "generate", options.program, "--chat", prompt]
        command += ["--max-tokens", str(options.tokens), "--hash", "none", "--ignore-eos", "--json"]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        given, written = answer["prompt_tokens"], answer["tokens"]
        tokens = np.array(given + written[:-1], np.int64)
        s = len(tokens)
        angles = np.arange(s)[:, None] * base ** (-np.arange(0, d, 2) / d)[None, :]
        feeds = {
            "tokens": tokens,
            "cos": np.cos(angles).astype(np.float32)[:, None, :],
            "sin": np.sin(angles).astype(np.float32)[:, None, :],
            "mask": np.triu(np.full((s, s), -np.inf, np.float32), 1),
        }
        (logits,) = session.run(None, feeds)
        for at, token in enumerate(written):
            row = logits[len(given) - 1 + at]
            best = int(row.argmax())
            total += 1
            if best != token and row[best] - row[token] <= 1e-5:
                ties += 1
                print(f"tie: {prompt!r} token {at}: {token} and {best}")
            elif best != token:
                wrong += 1
                print(f"DIFFERS: {prompt!r} token {at}: {token}, ONNX Runtime {best} by {row[best] - row[token]:.2e}")
        print(f"{len(written):4} tokens  {prompt!r} -> {answer['text'][:60]!r}")
    print(f"{total} tokens, {wrong} differ, {ties} ties")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
