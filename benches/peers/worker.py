"""The peers' side: a process that measures OpenBLAS (numpy's wheel), ONNX Runtime or OpenSSL when told to.

It reads one JSON request a line and answers one JSON object a line. Between requests it sleeps, so that our
side has the machine to itself; what a request prepares is kept for the next round until `drop`.
"""
import gc
import json
import sys
import time

import numpy

KEPT = {}


def timed(call, seconds):
    """The median of calls that fill the time; at least three after a first one that does not count."""
    call()
    times, start = [], time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - start < seconds and len(times) < 100_000):
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    times.sort()
    return {"median": times[len(times) // 2], "min": times[0], "calls": len(times)}


def kept(key, make):
    if key not in KEPT:
        KEPT[key] = make()
    return KEPT[key]


def matmul(request):
    m, k, n = request["m"], request["k"], request["n"]

    def make():
        random = numpy.random.default_rng(0)
        draw = lambda *shape: random.random(shape, dtype=numpy.float32) * 2 - 1
        a, b, y = draw(m, k), draw(k, n), numpy.empty((m, n), numpy.float32)
        return lambda: numpy.matmul(a, b, out=y)

    return timed(kept(("matmul", m, k, n), make), request["seconds"])


def onnxruntime(request):
    import onnxruntime as ort

    def make():
        options = ort.SessionOptions()
        options.intra_op_num_threads = request["threads"]
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        session = ort.InferenceSession(request["model"], options, providers=["CPUExecutionProvider"])
        # Bound once, outputs too, so that no call copies or allocates more than it must.
        binding = session.io_binding()
        inputs = {}
        for name, path in request["inputs"].items():
            inputs[name] = ort.OrtValue.ortvalue_from_numpy(numpy.load(path))
            binding.bind_ortvalue_input(name, inputs[name])
        shapes = {}
        if request.get("bind_outputs", True):
            outputs = session.run(None, {name: value.numpy() for name, value in inputs.items()})
            shapes = {out.name: value for out, value in zip(session.get_outputs(), outputs)}
        for out in session.get_outputs():
            if out.name in shapes:
                binding.bind_ortvalue_output(out.name, ort.OrtValue.ortvalue_from_numpy(shapes[out.name]))
            else:
                binding.bind_output(out.name)
        keep = (session, binding, inputs)
        return lambda: keep[0].run_with_iobinding(keep[1])

    return timed(kept(("onnxruntime", request["model"]), make), request["seconds"])


def sha256(request):
    import hashlib

    data = kept(("bytes", request["bytes"]), lambda: numpy.random.default_rng(0).bytes(request["bytes"]))
    return timed(lambda: hashlib.sha256(data).digest(), request["seconds"])


def drop(_request):
    KEPT.clear()
    gc.collect()
    return {}


REQUESTS = {"matmul": matmul, "onnxruntime": onnxruntime, "sha256": sha256, "drop": drop}

if __name__ == "__main__":
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = REQUESTS[asked["what"]](asked)
        except Exception as error:  # The row then says what the peer said.
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        print(json.dumps(answer), flush=True)
