"""What is measured: the rows of every group, each with our side, the peer's side and a target."""
from dataclasses import dataclass, field
from typing import Callable, Optional

import numpy

from sides import Failed


@dataclass
class Row:
    group: str
    name: str
    threads: int
    isa: str
    # What the peer's time must be of ours, at least.
    target: float
    peer_name: str
    # One round: seconds, and our side may add notes to its row.
    ours: Callable[["Row"], float]
    peer: Callable[["Row"], float]
    # Work of a call, to state rates instead of times: (amount, "GFLOP/s" or "GB/s"), amount in 1e9.
    work: Optional[tuple] = None
    notes: dict = field(default_factory=dict)
    # The group's geometric mean is what the target is for, not the row.
    in_mean: bool = False
    # Another way to meet the target, from the medians: (text, met).
    otherwise: Optional[Callable] = None
    # Seconds of our side in the last round, to choose the number of runs by.
    estimate: Optional[float] = None


class Groups:
    def __init__(self, ours, peers, maker, models, options):
        self.ours, self.peers, self.maker, self.models, self.options = ours, peers, maker, models, options
        self.seconds = options.seconds

    # ----- sides -----

    def program(self, row, model, inputs, hashing="none"):
        """Our side of an ONNX model: the whole program, and what its steps say."""
        said = self.ours.bench(model, inputs, row.threads, row.isa, hashing, self.seconds, row.estimate)
        row.estimate = said["median_ms"] / 1e3
        slow = sorted({step["operator"] for step in said["steps"] if "reference" in step["kernel"]})
        if slow:
            row.notes["no kernel"] = " ".join(slow)
        inside = 0.0
        for step in said["steps"]:
            inside += step["median_ms"]
        if inside < 0.9 * said["median_ms"]:
            row.notes["in steps"] = f"{100 * inside / said['median_ms']:.0f} %"
        row.notes["said"] = said
        return row.estimate

    def onnxruntime(self, row, model, inputs):
        worker = self.peers.get(row.threads)
        asked = dict(what="onnxruntime", model=model, inputs=inputs, threads=row.threads, seconds=self.seconds)
        return worker.ask(**asked)["median"]

    def beside_onnxruntime(self, group, name, model, inputs, threads, target=1.0, peer_model=None, **more):
        """A row for one model on both sides; `peer_model`: another form of the same for the peer."""
        other, given = peer_model or (model, inputs)
        return Row(
            group, name, threads, "auto", target, "ONNX Runtime",
            lambda row: self.program(row, model, inputs),
            lambda row: self.onnxruntime(row, other, given), **more,
        )

    # ----- groups -----

    def gemm(self):
        shapes = [(256, 256, 256), (512, 512, 512), (1024, 1024, 1024), (2048, 2048, 2048),
                  (128, 4096, 4096), (4096, 128, 4096), (333, 777, 1234)]
        if self.options.quick:
            shapes = [s for s in shapes if s != (2048, 2048, 2048)]
        for threads in self.options.threads:
            for isa in self.options.isa:
                for shape in shapes:
                    for layout in ("panel", "row"):
                        yield self.product("gemm", shape, layout, threads, isa, (2e-9, "GFLOP/s"))

    def product(self, group, shape, layout, threads, isa, work):
        m, k, n = shape
        worker = self.peers.get(threads, "Haswell" if isa == "avx2" else None)
        ask = lambda row: worker.ask(what="matmul", m=m, k=k, n=n, seconds=self.seconds)["median"]
        ours = lambda row: self.ours.gemm(threads, isa, m, k, n, layout, self.seconds)
        per_call, unit = work
        amount = per_call * (m * k * n if unit == "GFLOP/s" else k * n)
        return Row(group, f"{m} x {k} x {n} {layout}", threads, isa, 1.0, "OpenBLAS", ours, ask, (amount, unit))

    def gemv(self):
        for threads in self.options.threads:
            for n in (4096, 11008):
                for batch in (1, 4) if self.options.quick else range(1, 9):
                    row = self.product("gemv", (batch, 4096, n), "panel", threads, "auto", (4e-9, "GB/s"))
                    yield self.with_bandwidth(row, threads, 4 * 4096 * n, 0.9, always=True)

    def with_bandwidth(self, row, threads, size, part, always=False):
        """Adds the read bandwidth of as many bytes, measured in the same rounds. `always`: the target asks for
        both this part of it and the ratio; else one is enough."""
        ours, rates = row.ours, []

        def both(row):
            rates.append(self.ours.limit("read", threads, max(1, size >> 20), self.seconds / 2))
            return ours(row)

        def otherwise(seconds, ratio):
            share = size / seconds / float(numpy.median(rates))
            met = (share >= part and ratio >= row.target) if always else (share >= part or ratio >= row.target)
            return f"{100 * share:.0f} % of {float(numpy.median(rates)) / 1e9:.1f} GB/s", met

        row.ours, row.otherwise = both, otherwise
        return row

    def gemv16(self):
        for threads in self.options.threads:
            for weight in ("f16", "bf16"):
                for batch in (1,) if self.options.quick else (1, 4, 8):
                    model, inputs = self.maker.gemv(weight, batch, 4096, 4096)
                    plain, given = self.maker.gemv("f32", batch, 4096, 4096)
                    beside = Row("", "", threads, "auto", 0, "", None, None)
                    yield Row(
                        "gemv16", f"{batch} x 4096 x 4096 {weight} weights", threads, "auto", 1.9, "our f32",
                        lambda row, m=model, i=inputs: self.program(row, m, i),
                        lambda row, m=plain, i=given, b=beside: self.program(b, m, i), (4096 * 8192e-9, "GB/s"),
                    )

    def int8(self):
        shapes = [(1, 4096, 4096), (128, 384, 1536)] + ([] if self.options.quick else [(512, 1024, 1024)])
        for threads in self.options.threads:
            for kind in ("MatMulInteger", "QLinearMatMul", "DynamicQuantizeLinear"):
                for m, k, n in shapes:
                    model, inputs = self.maker.int8_matmul(kind, m, k, n)
                    name = f"{kind} {m} x {k} x {n}"
                    work = (2e-9 * m * k * n, "Gop/s")
                    yield self.beside_onnxruntime("int8", name, model, inputs, threads, work=work)
            for layer in [(64, 56, 56, 64, 3), (256, 14, 14, 1024, 1)]:
                model, inputs = self.maker.conv(*layer, is_int8=True)
                name = "QLinearConv {}x{}x{} -> {} {}x{}".format(*layer, layer[4])
                yield self.beside_onnxruntime("int8", name, model, inputs, threads)

    # Channels, height, width, output channels, kernel, stride, groups.
    CONV = [
        # ResNet-50
        (3, 224, 224, 64, 7, 2, 1), (64, 56, 56, 64, 1, 1, 1), (64, 56, 56, 64, 3, 1, 1),
        (64, 56, 56, 256, 1, 1, 1), (128, 56, 56, 128, 3, 2, 1), (128, 28, 28, 128, 3, 1, 1),
        (256, 14, 14, 256, 3, 1, 1), (1024, 14, 14, 256, 1, 1, 1), (512, 7, 7, 512, 3, 1, 1),
        (256, 56, 56, 512, 1, 2, 1),
        # MobileNetV2
        (3, 224, 224, 32, 3, 2, 1), (32, 112, 112, 32, 3, 1, 32), (96, 112, 112, 96, 3, 2, 96),
        (144, 56, 56, 24, 1, 1, 1), (384, 14, 14, 384, 3, 1, 384), (960, 7, 7, 320, 1, 1, 1),
        # PP-OCR, detection at 640 x 640 and recognition at 48 x 320
        (3, 640, 640, 16, 3, 2, 1), (16, 320, 320, 16, 3, 1, 16), (96, 160, 160, 24, 1, 1, 1),
        (64, 160, 160, 64, 3, 1, 1), (192, 24, 80, 192, 5, 1, 192),
    ]

    def conv(self):
        for threads in self.options.threads:
            for layer in self.CONV:
                model, inputs = self.maker.conv(*layer)
                c, h, w, out, kernel, stride, group = layer
                name = f"{c}x{h}x{w} -> {out}, {kernel}x{kernel}" + (f" /{stride}" if stride > 1 else "")
                name += " depthwise" if group == c and c > 1 else ""
                macs = c // group * out * kernel * kernel * -(-h // stride) * -(-w // stride)
                work = (2e-9 * macs, "GFLOP/s")
                yield self.beside_onnxruntime("conv", name, model, inputs, threads, in_mean=True, work=work)

    def rows(self):
        for threads in self.options.threads:
            for operator in ("Softmax", "LayerNormalization", "Gelu", "Exp"):
                for rows in (1024, 4096) if self.options.quick else (1024, 4096, 16384):
                    model, inputs = self.maker.rows(operator, rows, 1024)
                    name = f"{operator} {rows} x 1024"
                    work = (rows * 8192e-9, "GB/s")
                    row = self.beside_onnxruntime("rows", name, model, inputs, threads, work=work)
                    yield self.with_bandwidth(row, threads, rows * 8192, 0.8)

    def attention(self):
        for threads in self.options.threads:
            for positions in (128, 512, 1024) if self.options.quick else (128, 512, 1024, 2048, 4096):
                fused = self.maker.attention("fused", positions)
                for kind in ("steps", "op"):
                    model, inputs = self.maker.attention(kind, positions)
                    name = f"{kind}, {positions} positions"
                    yield self.with_memory(
                        self.beside_onnxruntime("attention", name, model, inputs, threads, peer_model=fused)
                    )

    def with_memory(self, row):
        ours = row.ours

        def noted(row):
            seconds = ours(row)
            said = row.notes["said"]
            weights, buffers = said["constant_bytes"], said["buffer_bytes"]
            row.notes["peak"] = f"{said['peak_memory_bytes'] / 1e6:.0f} MB"
            row.notes["weights + buffers"] = f"{weights / 1e6:.0f} + {buffers / 1e6:.0f} MB"
            return seconds

        row.ours = noted
        return row

    def networks(self):
        """Name, model, inputs. The models that `cargo xtask models` fetches are left out when not there."""
        ids = lambda batch: numpy.random.default_rng(0).integers(1000, 20_000, (batch, 128))
        for batch in (1, 8):
            inputs = {
                "input_ids": self.maker.input(f"ids_{batch}", ids(batch)),
                "attention_mask": self.maker.input(f"mask_{batch}", numpy.ones((batch, 128), "i8")),
                "token_type_ids": self.maker.input(f"types_{batch}", numpy.zeros((batch, 128), "i8")),
            }
            yield f"MiniLM {batch} x 128", self.models / "minilm/model.onnx", inputs
        data = numpy.random.default_rng(0).integers(0, 256, (1, 2048)).astype(numpy.int32)
        yield "magika 1 x 2048", self.models / "magika/model.onnx", {"bytes": self.maker.input("magika", data)}
        for part, shape in (("det", (1, 3, 640, 640)), ("rec", (1, 3, 48, 320))):
            inputs = {"x": self.maker.normal(f"ocr_{part}", *shape)}
            yield f"PP-OCR {part} {shape[2]} x {shape[3]}", self.models / f"ppocr/{part}.onnx", inputs
        model, inputs = self.maker.resnet50()
        yield "ResNet-50 shapes", model, inputs

    def present_networks(self):
        for name, model, inputs in self.networks():
            try:
                open(model, "rb").close()
            except OSError:
                print(f"left out: {name} (`cargo xtask models` fetches it)")
                continue
            yield name, str(model), inputs

    def whole(self):
        for threads in self.options.threads:
            for name, model, inputs in self.present_networks():
                yield self.with_memory(self.beside_onnxruntime("models", name, model, inputs, threads))

    def hashed(self):
        """The time that hashing adds, beside what it may add: 1.1 times the committed bytes at the hash rate."""
        for threads in self.options.threads:
            for name, model, inputs in self.present_networks():

                def added(row, m=model, i=inputs):
                    plain = Row("", "", row.threads, row.isa, 0, "", None, None, estimate=row.estimate)
                    without = self.program(plain, m, i)
                    total = self.program(row, m, i, "operators")
                    row.notes["whole"] = f"{without * 1e3:.2f} -> {total * 1e3:.2f} ms"
                    row.notes["committed"] = f"{row.notes['said']['committed_bytes'] / 1e6:.1f} MB"
                    return max(total - without, 0.01 * without)  # Less than that is noise.

                def allowed(row):
                    rate = self.ours.limit("hash", row.threads, 64, self.seconds / 2)
                    return 1.1 * row.notes["said"]["committed_bytes"] / rate

                yield Row("hashed models", name, threads, "auto", 1.0, "allowed", added, allowed)

    def hash(self):
        for threads in self.options.threads:
            size = 64 << 20
            ours = lambda row: size / self.ours.limit("hash", row.threads, 64, self.seconds)
            # OpenSSL's SHA-256 over one stream, which has one core at most.
            peer = lambda row: self.peers.get(1).ask(what="sha256", bytes=size, seconds=self.seconds)["median"]

            def otherwise(seconds, ratio, threads=threads):
                rate = size / seconds / threads / 1e9
                return f"{rate:.2f} GB/s a core", rate >= 2.5

            yield Row("hash", "Merkle root of 64 MiB", threads, "auto", 0.0, "OpenSSL, one stream", ours, peer,
                      (size / 1e9, "GB/s"), otherwise=otherwise)

    def all(self):
        """Group to its rows, made when asked for."""
        return {"gemm": self.gemm, "gemv": self.gemv, "gemv16": self.gemv16, "int8": self.int8, "conv": self.conv,
                "rows": self.rows, "attention": self.attention, "models": self.whole, "hashed": self.hashed,
                "hash": self.hash}


NAMES = ["gemm", "gemv", "gemv16", "int8", "conv", "rows", "attention", "models", "hashed", "hash"]
__all__ = ["Failed", "Groups", "NAMES", "Row"]
