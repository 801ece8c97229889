"""Compares drawn graphs, node by node, with ONNX Runtime.

    random_cases.py FOLDER [--expect LIST] [--verbose N]

`cargo xtask graphs --onnx-runtime` does this. FOLDER is what the test `random` has written with REPOPS_GRAPHS_FOLDER: graphs
with every value that their nodes give. Each node is a model of its own here, fed with the values that ours computed, so a difference is that node's alone and no later one amplifies it; and
as every executor gives the bits of these values (the test `random`), this compares whole graphs. Floats agree within 1e-3
relative (f16: two units in the last place) and 1e-7 absolute, everything else exactly.

LIST has a line `OPERATOR [TYPE] [ATTRIBUTE=VALUE ...] [TRAIT ...]: REASON` for what may differ; TYPE is the first input's, and a
TRAIT is what one of the inputs is or holds (scalar, empty, blank: a string without characters, single, nan, negative, flat: somewhere of no variance along an axis, or all but the second), what the node's graphs do
(twice: give one value as two outputs; inner:OPERATOR: hold such a node), or how much differs (tiny: a millionth of the largest element at most). A difference that no line has is a finding, and a line that nothing needed is one too, unless it ends with `(rare)`.
Exit code 1 with findings. Needs onnx, onnxruntime, numpy.
"""

import argparse
import collections
import json
import os
import re
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

RELATIVE = {np.dtype(np.float16): 2.0**-9, np.dtype(np.float32): 1e-3, np.dtype(np.float64): 1e-3}
ABSOLUTE = 1e-7


def proto(path):
    with open(path, "rb") as file:
        return TensorProto.FromString(file.read())


def options():
    made = onnxruntime.SessionOptions()
    made.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    made.log_severity_level = 4
    made.intra_op_num_threads = 1
    return made


OPTIONS = options()


class Case:
    """A drawn graph and all of its values, as protos by their names."""

    def __init__(self, folder):
        self.model = onnx.load(os.path.join(folder, "model.onnx"))
        graph, data = self.model.graph, os.path.join(folder, "test_data_set_0")
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.values = dict(self.constants)
        for kind, named in (("input", graph.input), ("output", graph.output)):
            for index, value in enumerate(named):
                path = os.path.join(data, f"{kind}_{index}.pb")
                # Sequences and optional values are not written.
                if os.path.exists(path):
                    self.values[value.name] = proto(path)

    def alone(self, node):
        """A model of the node; constants stay constants."""
        names = reads(node)
        inputs = [
            helper.make_tensor_value_info(name, self.values[name].data_type, self.values[name].dims)
            for name in names
            if name not in self.constants
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        weights = [self.constants[name] for name in names if name in self.constants]
        graph = helper.make_graph([node], "alone", inputs, outputs, weights)
        return helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)


def reads(node):
    """The names that a node and its blocks take from outside."""
    found = [name for name in node.input if name]
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            graph = attribute.g
            inner = {value.name for value in graph.input}
            for other in graph.node:
                found += [name for name in reads(other) if name not in inner]
                inner.update(other.output)
            found += [value.name for value in graph.output if value.name not in inner]
    return list(dict.fromkeys(found))


def run(model, case):
    session = onnxruntime.InferenceSession(model.SerializeToString(), OPTIONS, providers=["CPUExecutionProvider"])
    feeds = {value.name: numpy_helper.to_array(case.values[value.name]) for value in model.graph.input}
    return session.run(None, feeds)


def difference(ours, theirs):
    """What differs first, or None."""
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
        return f"ours is {ours.dtype}{list(ours.shape)}, theirs {theirs.dtype}{list(theirs.shape)}"
    if ours.dtype not in RELATIVE:
        same = np.asarray(ours == theirs)
    else:
        a, b = ours.astype(np.float64), theirs.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            close = np.abs(a - b) <= ABSOLUTE + RELATIVE[ours.dtype] * np.abs(b)
        same = (a == b) | (np.isnan(a) & np.isnan(b)) | (close & np.isfinite(a) & np.isfinite(b))
    if np.all(same):
        return None
    at = tuple(np.argwhere(~np.asarray(same))[0])
    return f"element {list(map(int, at))} of {list(ours.shape)}: ours {ours[at]!r}, theirs {theirs[at]!r}, {int((~same).sum())} differ"


TRAITS = ("scalar", "empty", "blank", "single", "nan", "negative", "flat", "twice", "tiny")


def traits(node, arrays, ours, theirs):
    """What one of the inputs is or holds, what the node's graphs do, and how much differs."""
    found = set()
    for array in arrays:
        found.update({"scalar"} if array.ndim == 0 else ())
        found.update({"empty"} if array.size == 0 else ())
        found.update({"blank"} if array.dtype == object and any(text in ("", b"") for text in array.flat) else ())
        if array.dtype in RELATIVE:
            wide = array.astype(np.float64)
            with np.errstate(invalid="ignore", over="ignore"):
                found.update({"nan"} if np.isnan(wide).any() else ())
                several = tuple(axis for axis in range(wide.ndim) if axis != 1)
                for axes in [several, *range(wide.ndim)] if wide.size else []:
                    found.update({"flat"} if (np.ptp(wide, axes) <= 1e-3 * np.abs(wide).max()).any() else ())
        if array.dtype.kind in "fiV" and array.dtype != object and (array.astype(np.float64) < 0).any():
            found.add("negative")
        if array.size == 1 and array.dtype.kind == "i" and array.reshape(-1)[0] == 1:
            found.add("single")
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            names = [value.name for value in attribute.g.output]
            found.update({"twice"} if len(set(names)) < len(names) else ())
            found.update(f"inner:{inner.op_type}" for inner in attribute.g.node)
    if ours.dtype in RELATIVE and ours.shape == theirs.shape and np.isfinite(ours).all() and np.isfinite(theirs).all():
        a, b = ours.astype(np.float64), theirs.astype(np.float64)
        found.update({"tiny"} if np.abs(a - b).max(initial=0) <= 1e-6 * np.abs(b).max(initial=0) else ())
    return sorted(found)


def is_trait(word):
    return word in TRAITS or word.startswith("inner:")


class Rule:
    def __init__(self, line):
        head, self.reason = line.split(": ", 1)
        self.line, self.used, self.rare = line, 0, line.endswith("(rare)")
        self.operator, *words = head.split()
        self.attributes = dict(word.split("=", 1) for word in words if "=" in word)
        self.traits = [word for word in words if is_trait(word)]
        types = [word for word in words if "=" not in word and not is_trait(word)]
        self.type = types[0] if types else None

    def takes(self, operator, attributes, dtype, held):
        given = all(attributes.get(name) == value for name, value in self.attributes.items())
        return operator == self.operator and self.type in (None, dtype) and given and set(self.traits) <= set(held)


def text(attribute):
    value = helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else value


def look(case, node):
    """What comes of a node: `same`; `refused` and why; `differs` with attributes, inputs, their traits and the first difference."""
    if any(name not in case.values for name in [*reads(node), *(o for o in node.output if o)]):
        return "refused", "sequences and optional values are not compared"
    try:
        given = run(case.alone(node), case)
    except Exception as error:
        return "refused", re.sub(r"[0-9]+", "N", str(error)).replace("\n", " ")[:150]
    for index, (output, array) in enumerate(zip([o for o in node.output if o], given)):
        ours, theirs = numpy_helper.to_array(case.values[output]), np.asarray(array)
        found = difference(ours, theirs)
        if found is not None:
            attributes = {a.name: str(text(a)) for a in node.attribute if a.type != onnx.AttributeProto.GRAPH}
            tensors = [case.values[name] for name in node.input if name]
            inputs = [(helper.tensor_dtype_to_np_dtype(t.data_type).name, list(t.dims)) for t in tensors]
            held = traits(node, [numpy_helper.to_array(t) for t in tensors], ours, theirs)
            return "differs", attributes, inputs, held, f"output {index}: {found}"
    return ("same",)


def work(folder, start):
    """Writes a line for each node from the one of this number on: before it is run, and after."""
    number = 0
    for name in sorted(os.listdir(folder)):
        case = None
        for node in onnx.load(os.path.join(folder, name, "model.onnx")).graph.node:
            if number >= start:
                case = case or Case(os.path.join(folder, name))
                print(json.dumps([number, name, node.name, node.op_type]), flush=True)
                print(json.dumps(look(case, node)), flush=True)
            number += 1


def results(folder):
    """Of every node its graph, name, operator and what comes of it. Some end the process that runs them."""
    start = 0
    while True:
        command = [sys.executable, __file__, folder, "--work", str(start)]
        begun = None
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as worker:
            for line in worker.stdout:
                if begun is None:
                    begun = json.loads(line)
                else:
                    yield (*begun[1:], *json.loads(line))
                    start, begun = begun[0] + 1, None
        if begun is None:
            if worker.returncode:
                raise SystemExit("the worker ended without a reason")
            return
        yield (*begun[1:], "refused", "ends the process")
        start = begun[0] + 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--expect", metavar="LIST")
    parser.add_argument("--verbose", type=int, default=40, metavar="N", help="findings to print")
    parser.add_argument("--work", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work is not None:
        work(arguments.folder, arguments.work)
        return
    rules = []
    if arguments.expect:
        with open(arguments.expect) as file:
            rules = [Rule(line.strip()) for line in file if line.strip() and not line.startswith("#")]
    compared, refused, findings = collections.Counter(), collections.Counter(), []
    graphs, nodes = set(), 0
    for name, node, operator, outcome, *rest in results(arguments.folder):
        graphs.add(name)
        nodes += 1
        if outcome == "refused":
            refused[(operator, rest[0])] += 1
            continue
        compared[operator] += 1
        if outcome == "differs":
            attributes, inputs, held, found = rest
            dtype = inputs[0][0] if inputs else "none"
            rule = next((rule for rule in rules if rule.takes(operator, attributes, dtype, held)), None)
            if rule:
                rule.used += 1
            else:
                findings.append(f"{name} {node} {operator} {attributes} {inputs} {held}: {found}")
    findings += [f"nothing needs: {rule.line}" for rule in rules if not rule.used and not rule.rare]
    for line in findings[: arguments.verbose]:
        print(line)
    print(
        f"onnxruntime {onnxruntime.__version__}: {len(graphs)} graphs, {nodes} nodes: {sum(compared.values())} of {len(compared)} "
        f"operators compared, {sum(rule.used for rule in rules)} differ as listed, {sum(refused.values())} refused by ONNX "
        f"Runtime, {len(findings)} findings"
    )
    never = {op for op, _ in refused} - set(compared)
    print("never taken by ONNX Runtime:", " ".join(sorted(never)))
    if arguments.verbose > 40:
        for (op, why), count in refused.most_common(60):
            print(f"  {count} {op}: {why}")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
