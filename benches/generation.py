#!/usr/bin/env python3
"""Measures reading and writing of SmolLM2-135M in several weight types, beside llama.cpp, ONNX Runtime and the read bandwidth.

Makes GGUF files of the same weights in f32, f16, bf16, Q8_0 and Q4_1 from the Q4_1 one, compiles each with `repops`, times them with
`repops bench --prefill`, and prints one table. With --peer ONNX Runtime computes the same f32 model (conformance/smollm2.py) on
prompts; with --llama PYTHON, an interpreter that has `xllamacpp`, llama.cpp reads the same files (llama_peer.py), in the same
minute as ours, and a second table has the ratios; with --export MODEL.onnx, which conformance/decoder_exports.py makes of the f32
file in the style `genai`, ONNX Runtime writes with its cache. Sides alternate within a run.

    generation.py REPOPS MODEL.gguf FOLDER [--threads 1,2] [--peer] [--llama PYTHON] [--export MODEL.onnx] [--only-peers]
"""

import argparse
import json
import pathlib
import struct
import subprocess
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "conformance"))
from smollm2 import Reader, SCALARS, model, read  # noqa: E402

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


def repops(program, path, threads, *arguments):
    command = [program, "bench", str(path), "--threads", str(threads), "--json", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def bandwidth(threads):
    """Bytes read a second, by sums over memory far larger than any cache."""
    from concurrent.futures import ThreadPoolExecutor

    parts = [np.ones(32 << 20, np.float64) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        best = 0.0
        for _ in range(5):
            start = time.perf_counter()
            list(pool.map(np.max, parts))
            best = max(best, sum(part.nbytes for part in parts) / (time.perf_counter() - start))
    return best


def llama(python, gguf, threads):
    script = pathlib.Path(__file__).resolve().parent / "llama_peer.py"
    run = subprocess.run([python, str(script), str(gguf), str(threads)], check=True, capture_output=True, text=True)
    return json.loads(run.stdout.strip().splitlines()[-1])


def beside(options, name, gguf, program, threads):
    """A line of ratios: ours to llama.cpp's, each measured between two of the other."""
    ours = lambda *arguments: repops(options.repops, program, threads, *arguments, "--runs", 3, "--warm-up", 1, "--hash", "none")
    short = ours("--prefill", 64, "--decode", 32)
    peer = llama(options.llama, gguf, threads)
    long = ours("--prefill", 512, "--decode", 16)
    pairs = [
        (short["decode_tokens_per_s"], peer["write_64"]),
        (long["decode_tokens_per_s"], peer["write_512"]),
        (long["prefill_tokens_per_s"], peer["read_512"]),
    ]
    cells = " | ".join(f"{own:.1f} / {other:.1f} = {own / other:.2f}x" for own, other in pairs)
    print(f"| {threads} | {name} | {cells} |", flush=True)
    return peer["system"]


def write_by_export(path, threads, positions, count=16):
    """Tokens a second that ONNX Runtime writes after so many positions, its cache fed back."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    pasts = [i for i in session.get_inputs() if i.name.startswith("past")]
    past = {i.name: np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32) for i in pasts}
    tokens, times = [i * 7919 % 49152 for i in range(positions)], []
    for at in range(count + 1):
        start = time.perf_counter()
        mask = np.ones((1, positions + at), np.int64)
        found = session.run(None, {"input_ids": np.array([tokens]), "attention_mask": mask, **past})
        times.append(time.perf_counter() - start)
        past, tokens = dict(zip(past, found[1:])), [int(found[0][0, -1].argmax())]
    return 1 / sorted(times[1:])[count // 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repops")
    parser.add_argument("gguf")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--llama", metavar="PYTHON")
    parser.add_argument("--export", metavar="MODEL.onnx")
    parser.add_argument("--only-peers", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    programs = {}
    for name in [*KINDS, "q4_1"]:
        source = pathlib.Path(options.gguf)
        if name in KINDS:
            source = options.folder / f"{name}.gguf"
            if not source.exists():
                convert(options.gguf, source, name)
        programs[name] = options.folder / f"{name}.rep"
        if not programs[name].exists():
            subprocess.run([options.repops, "compile", source, "-o", programs[name]], check=True, capture_output=True)
    sources = {name: options.folder / f"{name}.gguf" for name in KINDS} | {"q4_1": options.gguf}
    for threads in map(int, options.threads.split(",")):
        if options.llama:
            print("| threads | weights | write at 64, ours / llama.cpp | write at 512 | read 512 |\n|---|---|---|---|---|")
            systems = {beside(options, name, sources[name], program, threads) for name, program in programs.items()}
            print(f"\nllama.cpp: {', '.join(systems)}\n")
        for positions in (64, 512) if options.export else ():
            arguments = ("--prefill", positions, "--decode", 16, "--runs", 3, "--warm-up", 1, "--hash", "none")
            own = repops(options.repops, programs["f32"], threads, *arguments)["decode_tokens_per_s"]
            peer = write_by_export(options.export, threads, positions)
            print(f"ONNX Runtime writes at {positions}, f32, {threads} threads: ours {own:.1f} / {peer:.1f} = {own / peer:.2f}x")
    if options.only_peers:
        return
    session = None
    if options.peer:
        import onnxruntime

        meta, weights = read(options.gguf)
        serialized, d, base = model(meta, weights)
    print("| threads | weights | MB | GB/s read | write tok/s | share of bandwidth | hashed: added | at 512 | batch 16 | prefill 512 tok/s | verify 320 / generate 256 | peak MB |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for threads in map(int, options.threads.split(",")):
        if options.peer:
            settings = onnxruntime.SessionOptions()
            settings.intra_op_num_threads = threads
            session = onnxruntime.InferenceSession(serialized, settings, providers=["CPUExecutionProvider"])
        for name, program in programs.items():
            size = program.stat().st_size
            read_rate = bandwidth(threads)
            small = ("--prefill", 64, "--decode", 32, "--runs", 3, "--warm-up", 1)
            plain = repops(options.repops, program, threads, *small, "--hash", "none")
            hashed = repops(options.repops, program, threads, *small, "--hash", "operators")
            again = repops(options.repops, program, threads, *small, "--hash", "none")
            step = min(plain["decode_step_ms"], again["decode_step_ms"])
            long = repops(options.repops, program, threads, "--prefill", 512, "--decode", 16, "--runs", 3, "--hash", "none")
            batch = repops(options.repops, program, threads, *small, "--batch", 16, "--hash", "none")
            check = repops(options.repops, program, threads, "--prefill", 64, "--decode", 256, "--runs", 1, "--warm-up", 1)
            share = size / (step / 1e3) / read_rate
            print(
                f"| {threads} | {name} | {size / 1e6:.0f} | {read_rate / 1e9:.1f} | {1e3 / step:.1f} | {share:.2f} "
                f"| {hashed['decode_step_ms'] / step - 1:+.1%} | {long['decode_tokens_per_s']:.1f} "
                f"| {batch['decode_tokens_per_s']:.0f} ({batch['decode_tokens_per_s'] * step / 1e3:.1f}x) | {long['prefill_tokens_per_s']:.0f} "
                f"| {check['verify_ms']:.0f} / {check['generate_ms']:.0f} ms | {check['peak_memory_bytes'] / 1e6:.0f} |",
                flush=True,
            )
        if session:
            s = 512
            angles = np.arange(s)[:, None] * base ** (-np.arange(0, d, 2) / d)[None, :]
            feeds = {
                "tokens": np.arange(s, dtype=np.int64) * 7919 % 49152,
                "cos": np.cos(angles).astype(np.float32)[:, None, :],
                "sin": np.sin(angles).astype(np.float32)[:, None, :],
                "mask": np.triu(np.full((s, s), -np.inf, np.float32), 1),
            }
            times = []
            ours = []
            for _ in range(4):
                start = time.perf_counter()
                session.run(None, feeds)
                times.append(time.perf_counter() - start)
                arguments = ("--prefill", s, "--decode", 1, "--runs", 1, "--warm-up", 1, "--hash", "none")
                ours.append(repops(options.repops, programs["f32"], threads, *arguments)["prefill_ms"] / 1e3)
            peer, own = sorted(times)[1], sorted(ours)[1]
            print(f"\nONNX Runtime, f32, {threads} threads, 512 positions (logits of all): {s / peer:.0f} tok/s; ours beside it: {s / own:.0f}\n")


if __name__ == "__main__":
    main()
