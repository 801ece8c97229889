"""What others do on the same GPU, beside what `repops devices --measure 0 --json` says of our kernels.

    python3 peers.py MEASURED.json [--device cuda:0] [--runs 9] [--decode TOKENS_PER_S]

cuBLAS is called through PyTorch, with TF32 off; without PyTorch there is nothing to compare with, and that is said.
`--decode`: tokens a second that `repops bench P.rep --prefill 64 --decode 128 --device cuda:0` says of SmolLM2-135M in f32; the same network
with random weights is then run by PyTorch, eager and compiled. Times of either side are medians of calls of which each waits for the device,
and calls are repeated until one takes milliseconds.
"""

import argparse
import json
import statistics
import sys
import time

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    print("peers: PyTorch is not installed here, so there is nothing to compare with", file=sys.stderr)
    sys.exit(3)


class Clock:
    """Medians of a call's time on one device."""

    def __init__(self, device, runs):
        self.device, self.runs = device, runs

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def once(self, call, times):
        self.wait()
        start = time.perf_counter()
        for _ in range(times):
            call()
        self.wait()
        return (time.perf_counter() - start) / times

    def median(self, call):
        self.once(call, 2)
        times = max(1, round(0.01 / max(self.once(call, 1), 1e-6)))
        return statistics.median(self.once(call, times) for _ in range(self.runs))


def gemm(device, dtype, m, n, k):
    a = torch.randn(m, k, device=device).to(dtype)
    b = torch.randn(k, n, device=device).to(dtype)
    out = torch.empty(m, n, device=device, dtype=dtype)
    return lambda: torch.matmul(a, b, out=out)


def int8(device, m, n, k):
    a = torch.randint(-128, 128, (m, k), device=device, dtype=torch.int8)
    # cuBLAS wants the right operand with its terms together.
    b = torch.randint(-128, 128, (n, k), device=device, dtype=torch.int8).t()
    return lambda: torch._int_mm(a, b)


def gemv(device, dtype, m, n, k):
    """Weights in turns, more of them than caches hold."""
    size = 4 if dtype == torch.float32 else 2
    turns = min(64, max(2, -(-(512 << 20) // (size * n * k))))
    a = torch.randn(m, k, device=device, dtype=dtype)
    weights = [torch.randn(k, n, device=device, dtype=dtype) for _ in range(turns)]
    out = torch.empty(m, n, device=device, dtype=dtype)

    def call():
        for weight in weights:
            torch.matmul(a, weight, out=out)

    return call, turns


def attention(device, positions, rows):
    q = torch.randn(1, 32, rows, 128, device=device)
    k, v = (torch.randn(1, 8, positions, 128, device=device).repeat_interleave(4, dim=1) for _ in range(2))
    return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=rows > 1)


class Llama(torch.nn.Module):
    """SmolLM2-135M's network with random weights and a cache of fixed size, one token at a time."""

    LAYERS, HIDDEN, HEADS, KV_HEADS, SIZE, INNER, VOCABULARY = 30, 576, 9, 3, 64, 1536, 49152

    def __init__(self, device, positions):
        super().__init__()
        weight = lambda *shape: torch.nn.Parameter(torch.randn(*shape, device=device) * 0.02, requires_grad=False)
        kv = self.KV_HEADS * self.SIZE
        self.embedding = weight(self.VOCABULARY, self.HIDDEN)
        self.qkv = torch.nn.ParameterList(weight(self.HIDDEN + 2 * kv, self.HIDDEN) for _ in range(self.LAYERS))
        self.out = torch.nn.ParameterList(weight(self.HIDDEN, self.HIDDEN) for _ in range(self.LAYERS))
        self.up = torch.nn.ParameterList(weight(2 * self.INNER, self.HIDDEN) for _ in range(self.LAYERS))
        self.down = torch.nn.ParameterList(weight(self.HIDDEN, self.INNER) for _ in range(self.LAYERS))
        shape = (self.LAYERS, 1, self.KV_HEADS, positions, self.SIZE)
        self.register_buffer("keys", torch.zeros(shape, device=device))
        self.register_buffer("values", torch.zeros(shape, device=device))
        angles = torch.outer(torch.arange(positions), 1e5 ** (-torch.arange(0, self.SIZE, 2) / self.SIZE))
        self.register_buffer("cos", torch.cat([angles.cos()] * 2, -1).to(device))
        self.register_buffer("sin", torch.cat([angles.sin()] * 2, -1).to(device))
        self.register_buffer("at", torch.arange(positions, device=device))

    @staticmethod
    def norm(x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)

    def rotate(self, x, position):
        a, b = x.chunk(2, -1)
        return x * self.cos[position] + torch.cat([-b, a], -1) * self.sin[position]

    def forward(self, token, position):
        x = self.embedding[token]
        seen = (self.at <= position)[None, None, None, :]
        kv = self.KV_HEADS * self.SIZE
        for layer in range(self.LAYERS):
            q, k, v = F.linear(self.norm(x), self.qkv[layer]).split([self.HIDDEN, kv, kv], -1)
            q = self.rotate(q.view(1, self.HEADS, 1, self.SIZE), position)
            self.keys[layer].index_copy_(2, position, self.rotate(k.view(1, self.KV_HEADS, 1, self.SIZE), position))
            self.values[layer].index_copy_(2, position, v.view(1, self.KV_HEADS, 1, self.SIZE))
            group = self.HEADS // self.KV_HEADS
            keys, values = (t[layer].repeat_interleave(group, dim=1) for t in (self.keys, self.values))
            y = F.scaled_dot_product_attention(q, keys, values, attn_mask=seen)
            x = x + F.linear(y.reshape(1, self.HIDDEN), self.out[layer])
            gate, up = F.linear(self.norm(x), self.up[layer]).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, self.down[layer])
        return F.linear(self.norm(x), self.embedding).argmax(-1)


def decode(device, compiled, clock, first=64, tokens=128):
    """Tokens a second, after `first` positions."""
    with torch.no_grad():
        model = Llama(device, first + tokens)
        step = torch.compile(model, mode="reduce-overhead") if compiled else model

        def write():
            token = torch.zeros(1, dtype=torch.long, device=device)
            for position in range(first, first + tokens):
                token = step(token, torch.tensor([position], device=device)).clone()
            return token

        write()
        return tokens / statistics.median(clock.once(write, 1) for _ in range(3))


def rows(measured, device, clock):
    """Ours and theirs, by work and shape."""
    for ours in measured:
        work, shape = ours["work"], ours["shape"]
        numbers = [int(word) for word in shape.replace("x", " ").split() if word.isdigit()]
        turns = 1
        if work.startswith("gemm f32"):
            call, peer = gemm(device, torch.float32, *numbers), "cuBLAS f32"
        elif work == "gemm bf16 weights":
            call, peer = gemm(device, torch.float32, *numbers), "cuBLAS f32"
        elif work == "gemm int8":
            call, peer = int8(device, *numbers), "cuBLAS int8"
        elif work in ("gemv f32", "gemv bf16"):
            dtype = torch.float32 if work == "gemv f32" else torch.bfloat16
            (call, turns), peer = gemv(device, dtype, *numbers), f"cuBLAS {work.split()[1]}"
        elif work.startswith("attention"):
            call, peer = attention(device, numbers[1], numbers[0]), "PyTorch f32"
        else:
            continue
        theirs = clock.median(call) / turns * 1e3
        yield work, shape, ours["median_ms"], theirs, peer


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("measured")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--decode", type=float)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.device(options.device)
    clock = Clock(device, options.runs)
    with open(options.measured, encoding="utf-8") as file:
        measured = json.load(file)
    print(f"{measured['device']}; PyTorch {torch.__version__}")
    print("| work | shape | ours, ms | theirs, ms | theirs / ours | peer |\n|---|---|---|---|---|---|")
    for work, shape, ours, theirs, peer in rows(measured["measured"], device, clock):
        print(f"| {work} | {shape} | {ours:.3f} | {theirs:.3f} | {theirs / ours:.2f} | {peer} |", flush=True)
    if options.decode:
        for compiled in (False, True):
            name = "torch.compile" if compiled else "eager"
            theirs = decode(device, compiled, clock)
            ratio = options.decode / theirs
            print(f"| decode, SmolLM2-135M f32, tokens/s | after 64 | {options.decode:.1f} | {theirs:.1f} | {ratio:.2f} | {name} |")


if __name__ == "__main__":
    main()
