"""Both sides as processes: ours started for every measurement, the peers' kept and told what to measure."""
import json
import os
import subprocess
import sys
from pathlib import Path


class Failed(Exception):
    """A side could not do the work; the row says why."""


class Ours:
    """The command line and the measuring programs of one build."""

    def __init__(self, folder, scratch, further, limit_s):
        self.folder, self.scratch, self.further, self.limit_s = Path(folder), Path(scratch), further, limit_s
        self.programs = {}

    def _run(self, command, limit_s):
        try:
            ran = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise Failed(f"ours takes longer than {limit_s} s") from None
        if ran.returncode != 0:
            said = (ran.stderr.strip() or ran.stdout.strip() or "nothing said").splitlines()
            raise Failed(f"ours: {said[-1][:160]}")
        return ran.stdout

    def gemm(self, threads, isa, m, k, n, layout, seconds):
        """Seconds of one product."""
        words = [self.folder / "gemm", threads, isa, m, k, n, layout, seconds]
        median = float(self._run(words, 120).split()[1])
        return 2e-9 * m * k * n / median

    def limit(self, what, threads, mebibytes, seconds):
        """Bytes a second: `read` of memory, `hash` of a Merkle tree."""
        return 1e9 * float(self._run([self.folder / "limits", what, threads, mebibytes, seconds], 120))

    def compile(self, model):
        if model not in self.programs:
            # Numbered: models in different folders may have one name.
            program = self.scratch / f"{len(self.programs)}_{Path(model).stem}.rep"
            self._run([self.folder / "repops", "compile", model, "-o", program], 600)
            self.programs[model] = program
        return self.programs[model]

    def bench(self, model, inputs, threads, isa, hashing, seconds, estimate):
        """What `repops bench --json` says, of as many runs as fill the time."""
        program = self.compile(model)

        def bench(runs, warm_up):
            words = [self.folder / "repops", "bench", program, "--json", "--profile-steps", "--threads", threads]
            words += ["--isa", isa, "--hash", hashing, "--runs", runs, "--warm-up", warm_up, *self.further]
            for name, path in inputs.items():
                words += ["--input", f"{name}={path}"]
            return json.loads(self._run(words, self.limit_s))

        if estimate is None:
            first = bench(1, 1)
            if first["median_ms"] > 5e3:
                return first  # Slow beyond doubt: once is enough.
            estimate = first["median_ms"] / 1e3
        return bench(max(3, min(20_000, int(seconds / estimate))), 2)


class Peer:
    """A worker with its own environment variables, started when first needed."""

    def __init__(self, **environment):
        self.environment = {**os.environ, **environment}
        self.process = None

    def ask(self, **request):
        if self.process is None:
            command = [sys.executable, str(Path(__file__).with_name("worker.py"))]
            pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.process = subprocess.Popen(command, env=self.environment, **pipes)
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.process = None
            raise Failed("the peer's process ended")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(f"peer: {answer['error']}")
        return answer

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
            self.process = None


class Peers:
    """Workers by threads and, for OpenBLAS, core type."""

    def __init__(self):
        self.workers = {}

    def get(self, threads, core_type=None):
        key = (threads, core_type)
        if key not in self.workers:
            environment = {"OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
            if core_type:
                environment["OPENBLAS_CORETYPE"] = core_type
            self.workers[key] = Peer(**environment)
        return self.workers[key]

    def close(self):
        for worker in self.workers.values():
            worker.close()
        self.workers = {}
