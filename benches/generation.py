#!/usr/bin/env python3
"""Measures reading and writing of SmolLM2-135M in several weight types, beside llama.cpp, ONNX Runtime and the read bandwidth.

Makes GGUF files of the same weights in f32, f16, bf16, Q8_0 and Q4_1 from the Q4_1 one and compiles each with `repops`. In every
round each side has the machine in turn, in changing order; a cell has the medians of both sides and, of the rounds' ratios, the
median and the extremes. `--llama FOLDER` is where llama-bench and llama-batched-bench are; `cargo xtask bench --generation`
builds them for this machine and calls this. ONNX Runtime runs the f32 weights as an export with grouped attention, its cache in place.
All sides compute the logits of the last position alone. Ours keeps keys and values in f32, llama.cpp in f16 (its default).

    generation.py REPOPS MODEL.gguf FOLDER [--threads 1 2] [--weights f32 ...] [--rounds N] [--llama FOLDER] [--onnx-runtime]
"""

import argparse
import json
import os
import pathlib
import struct
import subprocess
import sys
import time
from statistics import median

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "conformance"))
import decoder_exports  # noqa: E402
from smollm2 import Reader, SCALARS, read  # noqa: E402

KINDS = {"f32": 0, "f16": 1, "bf16": 30, "q8_0": 8}


def span(reader, kind):
    """Skips a value; gives its bytes."""
    start = reader.at
    reader.value(kind)
    return reader.data[start : reader.at]


def pack(values, kind):
    if kind == 0:
        return values.astype(np.float32).tobytes()
    if kind == 1:
        return values.astype(np.float16).tobytes()
    if kind == 30:
        bits = values.astype(np.float32).view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16).tobytes()
    blocks = values.reshape(-1, 32).astype(np.float32)
    scale = (np.abs(blocks).max(axis=1, keepdims=True) / 127).astype(np.float16)
    wide = scale.astype(np.float32)
    q = np.where(wide > 0, np.rint(blocks / np.where(wide > 0, wide, 1)), 0).clip(-127, 127).astype(np.int8)
    return np.concatenate([scale.view(np.uint8), q.view(np.uint8)], axis=1).tobytes()


def convert(source, target, name):
    """Writes the model with its matrices in another type."""
    data = open(source, "rb").read()
    reader = Reader(data)
    reader.at = 8
    tensors, keys = reader.one("Q"), reader.one("Q")
    for _ in range(keys):
        reader.text()
        span(reader, reader.one("I"))
    head = data[: reader.at]
    _, weights = read(source)
    kind = KINDS[name]
    table, body = b"", b""
    for key, array in weights.items():
        own = kind if array.ndim == 2 else 0
        packed = pack(array, own)
        encoded = key.encode()
        table += struct.pack("<Q", len(encoded)) + encoded + struct.pack("<I", array.ndim)
        table += b"".join(struct.pack("<Q", n) for n in array.shape[::-1]) + struct.pack("<IQ", own, len(body))
        body += packed + bytes(-len(packed) % 32)
    assert tensors == len(weights) and SCALARS
    start = head + table
    with open(target, "wb") as out:
        out.write(start + bytes(-len(start) % 32) + body)


class Ours:
    """`repops bench` on a program."""

    def __init__(self, options, program, threads):
        self.options, self.program, self.threads = options, program, threads

    def bench(self, prefill, decode, *arguments):
        words = ["--prefill", prefill, "--decode", decode, "--runs", 1, "--warm-up", 1, *arguments]
        command = [self.options.repops, "bench", self.program, "--threads", self.threads, "--json", *words]
        return json.loads(subprocess.run(list(map(str, command)), check=True, capture_output=True).stdout)

    def measure(self):
        short = self.bench(64, 32, "--hash", "none")
        long = self.bench(512, 16, "--hash", "none")
        batch = self.bench(64, 16, "--batch", 16, "--hash", "none")
        return {
            "write 64": short["decode_tokens_per_s"],
            "write 512": long["decode_tokens_per_s"],
            "read 512": long["prefill_tokens_per_s"],
            "batch 16": batch["decode_tokens_per_s"],
        }

    def hashing(self):
        """What hashing every step adds, token by token in turn with not hashing: at the median and at the best."""
        found = self.bench(64, 64, "--hash", "operators", "--beside-unhashed")
        return found["hashing_added"], found["hashing_added_at_best"]

    def verification(self):
        """Milliseconds to verify and to generate 256 tokens after 64."""
        found = self.bench(64, 256, "--hash", "operators")
        return found["verify_ms"], found["generate_ms"]


class LlamaCpp:
    """llama.cpp's own benchmarks, built for this machine (`cargo xtask bench --generation`)."""

    def __init__(self, options, gguf, threads):
        self.folder, self.gguf, self.threads = options.llama, str(gguf), str(threads)
        # Flash attention or not: the first measurement tries both, figure by figure, and the better one counts then.
        self.flash = {}

    def program(self, name, *arguments):
        command = [str(self.folder / name), "-m", self.gguf, "-t", self.threads, *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def figure(self, name, flash):
        if name == "batch 16":
            arguments = ["-c", 2048, "-b", 2048, "-ub", 512, "-npp", 64, "-ntg", 16, "-npl", 16]
            arguments += ["-tb", self.threads, "-fa", ["off", "on"][flash], "--output-format", "jsonl"]
            lines = self.program("llama-batched-bench", *arguments).splitlines()
            return next(json.loads(line)["speed_tg"] for line in lines if line.startswith("{"))
        sizes = {"write 64": (0, 32, 64), "write 512": (0, 16, 512), "read 512": (512, 0, 0)}[name]
        words = [word for pair in zip(("-p", "-n", "-d"), sizes) for word in pair]
        found = json.loads(self.program("llama-bench", *words, "-fa", flash, "-r", 1, "-o", "json"))
        return found[0]["avg_ts"]

    def measure(self):
        found = {}
        for name in FIGURES:
            if name in self.flash:
                found[name] = self.figure(name, self.flash[name])
            else:
                both = [self.figure(name, flash) for flash in (0, 1)]
                self.flash[name], found[name] = both.index(max(both)), max(both)
        return found


class OnnxRuntime:
    """ONNX Runtime on an export in the style of onnxruntime-genai: grouped attention over a cache that stays in its place."""

    def __init__(self, path, threads, positions=1024):
        import onnxruntime

        self.runtime, self.positions = onnxruntime, positions
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        self.pasts = [i for i in self.session.get_inputs() if i.name.startswith("past")]

    def write(self, batch, prompt, count):
        """Seconds to read the prompts, and the median of those that writing a token to each takes."""
        value = self.runtime.OrtValue.ortvalue_from_numpy
        shape = lambda past: (batch, past.shape[1], self.positions, past.shape[3])
        caches = [value(np.zeros(shape(past), np.float32)) for past in self.pasts]
        tokens = np.array([[(i + 31 * row) * 7919 % 49152 for i in range(prompt)] for row in range(batch)])
        times = []
        for at in range(count + 1):
            start = time.perf_counter()
            binding = self.session.io_binding()
            binding.bind_cpu_input("input_ids", tokens)
            binding.bind_cpu_input("attention_mask", np.ones((batch, prompt + at), np.int64))
            for past, cache in zip(self.pasts, caches):
                binding.bind_ortvalue_input(past.name, cache)
                binding.bind_ortvalue_output(past.name.replace("past_key_values", "present"), cache)
            binding.bind_output("logits")
            self.session.run_with_iobinding(binding)
            logits = binding.get_outputs()[-1].numpy()
            tokens = logits[:, -1].argmax(axis=-1)[:, None]
            times.append(time.perf_counter() - start)
        return times[0], median(times[1:])

    def measure(self):
        self.write(1, 8, 1)
        _, short = self.write(1, 64, 32)
        read, long = self.write(1, 512, 16)
        _, batch = self.write(16, 64, 8)
        return {"write 64": 1 / short, "write 512": 1 / long, "read 512": 512 / read, "batch 16": 16 / batch}


def export(gguf, folder):
    """The f32 weights as an ONNX model whose logits are those of the last position alone, as the other sides compute them."""
    path = folder / "genai" / "model.onnx"
    if not path.exists():
        import onnx

        path.parent.mkdir(exist_ok=True)
        made = decoder_exports.genai(*decoder_exports.of_gguf(gguf))
        head = next(node for node in made.graph.node if node.name == "/lm_head/MatMul")
        ends = [onnx.numpy_helper.from_array(np.array([n]), f"last_{i}") for i, n in enumerate((-1, 2**62, 1))]
        made.graph.initializer.extend(ends)
        last = onnx.helper.make_node("Slice", [head.input[0], "last_0", "last_1", "last_2"], ["last"])
        at = list(made.graph.node).index(head)
        made.graph.node.insert(at, last)
        head.input[0] = "last"
        next(o for o in made.graph.output if o.name == "logits").type.tensor_type.shape.dim[1].dim_param = "one"
        onnx.save(made, path)
    return path


FIGURES = ["write 64", "write 512", "read 512", "batch 16"]


def bandwidth(options, threads, mebibytes):
    """GB read a second, over as many bytes as the weights have (`limits` of this package), or by numpy over 256 MB a thread."""
    if options.limits:
        command = [str(options.limits), "read", str(threads), str(mebibytes), "1"]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    from concurrent.futures import ThreadPoolExecutor

    parts = [np.ones(32 << 20, np.float64) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        best = 0.0
        for _ in range(5):
            start = time.perf_counter()
            list(pool.map(np.max, parts))
            best = max(best, sum(part.nbytes for part in parts) / (time.perf_counter() - start))
    return best / 1e9


def compare(options, name, gguf, program, threads):
    """Two rows: ratios to the peers, and what there is of ours alone."""
    ours = Ours(options, program, threads)
    sides = {"ours": ours}
    if options.llama:
        sides["llama.cpp"] = LlamaCpp(options, gguf, threads)
    if options.onnx_runtime and name == "f32":
        sides["ONNX Runtime"] = OnnxRuntime(export(gguf, options.folder), threads)
    rounds = {side: [] for side in sides}
    reads, own = [], []
    for index in range(options.rounds):
        # Each side has the machine in turn, in changing order.
        order = list(sides)[index % len(sides) :] + list(sides)[: index % len(sides)]
        for side in order:
            rounds[side].append(sides[side].measure())
        reads.append(bandwidth(options, threads, program.stat().st_size >> 20))
        if not options.only_peers:
            own.append(ours.hashing())
    of = lambda side, figure: median([found[figure] for found in rounds[side]])
    for side in list(sides)[1:]:
        pairs = [(of("ours", f), of(side, f), [a[f] / b[f] for a, b in zip(rounds["ours"], rounds[side])]) for f in FIGURES]
        cells = [f"{a:.1f} / {b:.1f} = {median(r):.2f}x ({min(r):.2f} to {max(r):.2f})" for a, b, r in pairs]
        options.out[0].append(f"| {threads} | {name} | {side} | {' | '.join(cells)} |")
        print(options.out[0][-1], flush=True)
    # The best of both, as each round's read and writing lie minutes apart.
    size = program.stat().st_size
    step = 1e3 / of("ours", "write 64")
    best, read = max(found["write 64"] for found in rounds["ours"]), max(reads)
    row = [threads, name, f"{size / 1e6:.0f}", f"{read:.1f}", f"{best:.1f}", f"{size * best / 1e9 / read:.2f}"]
    row += [f"{of('ours', 'batch 16') * step / 1e3:.1f}x"]
    if own:
        verify, generate = ours.verification()
        row.append(", ".join(f"{median([found[at] for found in own]):+.1%}" for at in (0, 1)))
        row.append(f"{verify:.0f} / {generate:.0f} ms = 1/{generate / verify:.1f}")
    options.out[1].append("| " + " | ".join(map(str, row)) + " |")
    print(options.out[1][-1], flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repops")
    parser.add_argument("gguf", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--weights", nargs="+", default=[*KINDS, "q4_1"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--llama", metavar="FOLDER", type=pathlib.Path, help="holds llama-bench and llama-batched-bench")
    parser.add_argument("--onnx-runtime", action="store_true")
    parser.add_argument("--limits", type=pathlib.Path, help="the program of this package that reads memory")
    parser.add_argument("--only-peers", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    options.out = [], []
    for threads in options.threads:
        for name in options.weights:
            source = options.gguf if name == "q4_1" else options.folder / f"{name}.gguf"
            if not source.exists():
                convert(options.gguf, source, name)
            program = options.folder / f"{name}.rep"
            if not program.exists():
                subprocess.run([options.repops, "compile", source, "-o", program], check=True, capture_output=True)
            compare(options, name, source, program, threads)
    figures = " | ".join(f"{figure}, tok/s" for figure in FIGURES)
    print(f"\n| threads | weights | beside | {figures} |\n|---|---|---|---|---|---|---|")
    print("\n".join(options.out[0]))
    more = "" if options.only_peers else " hashing adds: median, best | verify 320 / generate 256 |"
    print(f"\n| threads | weights | MB | GB/s read, best | write 64, best | share of bandwidth | batch 16 |{more}")
    print("|---" * (7 + 2 * (not options.only_peers)) + "|")
    print("\n".join(options.out[1]))
    print(f"\nLoad of the machine at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
