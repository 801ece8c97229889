"""Our side and the peers', alternating in one run: one table of ratios.

`cargo xtask bench --peers` starts this in its own Python environment. Every row is measured in several rounds;
in each, both sides have the machine in turn, the order changing from round to round, and each gives the median
of its calls. The row states the medians of those medians, the median ratio (the peer's time by ours: above 1 we
are faster) and the lowest and highest ratio of a round.
"""
import argparse
import datetime
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from groups import NAMES, Groups  # noqa: E402
from models import Maker  # noqa: E402
from sides import Failed, Ours, Peers  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(prog="bench --peers")
    parser.add_argument("--build", required=True, help="the folder of our release programs")
    parser.add_argument("--scratch", required=True, type=Path)
    parser.add_argument("--models", required=True, type=Path)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--filter", default="", help="only rows whose name holds this")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--isa", nargs="+", default=["auto", "avx2"], help="of the group gemm")
    parser.add_argument("--regions", choices=["tiles", "native", "steps"])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each side in each round")
    parser.add_argument("--quick", action="store_true", help="fewer rows, rounds and seconds")
    parser.add_argument("--write", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (0.15 if options.quick else 0.5)
    if platform.machine() != "x86_64":
        options.isa = ["auto"]
    return options


def main():
    options = arguments()
    further = ["--regions", options.regions] if options.regions else []
    peers = Peers()
    ours = Ours(options.build, options.scratch, further, limit_s=20 if options.quick else 180)
    groups = Groups(ours, peers, Maker(options.scratch), options.models, options)
    start, load = time.time(), os.getloadavg()[0]
    tables = []
    try:
        for name in NAMES:
            if name not in options.only:
                continue
            results = []
            tables.append((name, results))
            for row in groups.all()[name]():
                if options.filter in row.name:
                    results.append(measure(row, options, peers))
                    print(progress(results[-1]), flush=True)
    except KeyboardInterrupt:
        print("interrupted; what is measured so far:")
    finally:
        peers.close()
    text = report(tables, options, load, time.time() - start)
    print(text)
    if options.write:
        options.write.write_text(text)


def measure(row, options, peers):
    """The row's result; rounds of both sides in changing order."""
    pairs = []
    try:
        for number in range(options.rounds):
            sides = [("ours", row.ours), ("peer", row.peer)]
            # Our side first in the first round: the peer's may need what it has noted.
            found = {}
            for side, take in sides if number % 2 == 0 else reversed(sides):
                found[side] = take(row)
                time.sleep(0.05)  # Threads of the other side that still spin come to rest.
            pairs.append((found["ours"], found["peer"]))
            # A side that takes seconds is not repeated for a quarter of an hour.
            if sum(found.values()) > 4:
                break
    except Failed as failure:
        return {"row": row, "failed": str(failure)}
    finally:
        for worker in peers.workers.values():
            if worker.process is not None:
                worker.ask(what="drop")
    ratios = sorted(peer / ours for ours, peer in pairs)
    ours, peer = (statistics.median(side) for side in zip(*pairs))
    result = {"row": row, "ours": ours, "peer": peer, "ratio": statistics.median(ratios)}
    result |= {"low": ratios[0], "high": ratios[-1], "rounds": len(pairs), "met": statistics.median(ratios) >= row.target}
    if row.otherwise:
        result["limit"], result["met"] = row.otherwise(ours, result["ratio"])
    return result


def progress(result):
    row = result["row"]
    head = f"{row.group:>13}  {row.name:<44} {row.threads} {row.isa:<6}"
    if "failed" in result:
        return f"{head} {result['failed']}"
    return f"{head} {result['ratio']:6.2f}  {amount(row, result['ours'])} / {amount(row, result['peer'])} {unit(row)}"


def amount(row, seconds):
    value = row.work[0] / seconds if row.work else seconds * 1e3
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def share(ratio):
    return f"{ratio:.2f}" if ratio >= 0.095 else f"{ratio:.2g}"


def unit(row):
    return row.work[1] if row.work else "ms"


def report(tables, options, load, took):
    out = ["# Beside the peers", ""]
    out += [f"`cargo xtask bench --peers{words(options)}`, {datetime.date.today()}, {took / 60:.0f} minutes.", ""]
    out += [f"- {line}" for line in machine(load)]
    quick = "quick: fewer rows and rounds; " if options.quick else ""
    out += [f"- {quick}{options.rounds} rounds of {options.seconds} s a side, alternating; medians of medians"]
    out += ["- ratio: the peer's time by ours (above 1 we are faster), its median, lowest and highest round"]
    out += ["- inputs bound and outputs allocated beforehand for ONNX Runtime; ours is the whole `repops bench`", ""]
    rated = [r for _, results in tables for r in results if "failed" not in r and not r["row"].in_mean]
    met = sum(r["met"] for r in rated)
    out += [f"{met} of {len(rated)} rows meet their target, besides those that count by their mean.", ""]
    for name, results in tables:
        if results:
            out += [f"## {name}", ""] + table(results) + [""]
    return "\n".join(out)


def words(options):
    given = []
    if options.only != NAMES:
        given += ["--only", *options.only]
    if options.threads != [1, 2]:
        given += ["--threads", *map(str, options.threads)]
    if options.regions:
        given += ["--regions", options.regions]
    return "".join(f" {word}" for word in given + ["--quick"] * options.quick)


def table(results):
    first = results[0]["row"]
    out = [f"| work | threads | isa | ours | {first.peer_name} | unit | ratio | lowest | highest | target | notes |"]
    out.append("|---|---|---|---|---|---|---|---|---|---|---|")
    means = {}
    for result in results:
        row = result["row"]
        head = f"| {row.name} | {row.threads} | {row.isa} |"
        if "failed" in result:
            out.append(f"{head} - | - | | - | - | - | >= {row.target} | {result['failed']} |")
            continue
        notes = [f"{key} {value}" for key, value in row.notes.items() if key != "said"]
        notes = ([result["limit"]] if "limit" in result else []) + notes
        target = "counts by the mean" if row.in_mean else "met" if result["met"] else "MISSED"
        target += "" if row.in_mean or not row.target else f" (>= {row.target:g})"
        figures = [amount(row, result["ours"]), amount(row, result["peer"]), unit(row)]
        figures += [f"**{share(result['ratio'])}**", share(result["low"]), share(result["high"]), target]
        out.append(f"{head} {' | '.join(figures)} | {'; '.join(notes)} |")
        means.setdefault(row.threads, []).append(result["ratio"])
    for threads, ratios in means.items():
        if len(ratios) < 2:
            continue
        mean = statistics.geometric_mean(ratios)
        target = f"{'met' if mean >= 1 else 'MISSED'} (>= 1)" if first.in_mean else ""
        out.append(f"| geometric mean of {len(ratios)} | {threads} | | | | | **{share(mean)}** | | | {target} | |")
    return out


def machine(load):
    import numpy
    import onnxruntime

    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = fields.get("flags", "").split()
    known = ["avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "sha_ni"]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = os.cpu_count()
    say = lambda *command: subprocess.run(command, capture_output=True, text=True).stdout.strip()
    blas = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
    yield (f"{fields.get('model name', platform.machine())} (model {fields.get('model', '?')}), {cores} cores, "
           f"{memory:.0f} GiB, {' '.join(flag for flag in known if flag in flags)}")
    shared = "; **the machine was shared with other work, so the figures are rough**" if load > 0.3 * cores else ""
    yield f"load average {load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end{shared}"
    yield f"commit {say('git', 'rev-parse', '--short', 'HEAD')}, {say('rustc', '--version')}"
    yield (f"numpy {numpy.__version__} with {blas['name']} {blas['version']}, onnxruntime {onnxruntime.__version__}, "
           f"Python {platform.python_version()}, Linux {platform.release()}")


main()
