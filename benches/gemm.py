"""f32 matrix products beside OpenBLAS (numpy's wheel), alternating in one run.

usage: gemm.py PATH_TO_GEMM_BINARY [--threads 1 2] [--seconds 1]
"""
import argparse, os, subprocess, sys, time

SHAPES = [(1024, 1024, 1024), (2048, 2048, 2048), (128, 4096, 4096), (1, 4096, 4096), (384, 384, 1536),
          (128, 384, 384), (16, 576, 576), (4, 2048, 2048), (64, 64, 4096), (512, 512, 32), (4096, 512, 1)]

PEER = """
import numpy, sys, time
m, k, n, seconds = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
a = numpy.random.rand(m, k).astype('f'); b = numpy.random.rand(k, n).astype('f'); y = numpy.empty((m, n), 'f')
times = []; start = time.perf_counter()
while len(times) < 5 or time.perf_counter() - start < seconds:
    t = time.perf_counter(); numpy.matmul(a, b, out=y); times.append(time.perf_counter() - t)
times.sort(); f = 2e-9 * m * k * n
print(f / times[0], f / times[len(times) // 2])
"""


def run(command, **environment):
    return [float(x) for x in subprocess.run(command, env={**os.environ, **environment}, check=True,
                                              capture_output=True, text=True).stdout.split()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--isa", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for threads in options.threads:
        print(f"{threads} threads, GFLOP/s: best of medians over {options.rounds} rounds")
        print(f"{'m x k x n':>16} {'OpenBLAS':>9} {'row':>8} {'ratio':>6} {'panel':>8} {'ratio':>6}")
        for m, k, n in SHAPES:
            size = [str(m), str(k), str(n)]
            best = {"peer": 0.0, "row": 0.0, "panel": 0.0}
            for _ in range(options.rounds):
                seconds = str(options.seconds / options.rounds)
                peer = run([sys.executable, "-c", PEER, *size, seconds], OPENBLAS_NUM_THREADS=str(threads))
                best["peer"] = max(best["peer"], peer[1])
                for layout in ("row", "panel"):
                    ours = run([options.binary, str(threads), options.isa, *size, layout, seconds])
                    best[layout] = max(best[layout], ours[1])
            peer = best["peer"]
            print(f"{m:>5} x{k:>4} x{n:>4} {peer:>9.1f} {best['row']:>8.1f} {best['row'] / peer:>6.2f} "
                  f"{best['panel']:>8.1f} {best['panel'] / peer:>6.2f}", flush=True)


main()
