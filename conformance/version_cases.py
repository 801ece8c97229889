"""Makes cases of each operator of ai.onnx at each version in force under an opset from 7 on that no node case has, from the node cases.

    version_cases.py CASES FOLDER     CASES/node and CASES/simple: what node_cases.py has written; FOLDER/OPERATOR-VERSION.CASE gets the case
    version_cases.py --versions       the versions themselves, as compiler/tests/onnx/versions.txt has them

A node case of one version becomes one of another if all that it says can be said there: inputs that were attributes become
those, and types, attributes and inputs that there are not rule it out. What ONNX Runtime gives is expected, or else what onnx's reference
evaluator does. Forms that no node case can take have cases of their own (made_here). Exit code 1 if a version has no case. `repops conformance run --suite FOLDER` runs them. Needs onnx 1.23.2, onnxruntime, numpy.
"""

import glob
import os
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, defs, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

# Cases of a version at most.
MOST = 3
# Inputs that were attributes under another name.
RENAMED = {("Pad", "constant_value"): "value", ("TopK", "K"): "k"}
# Modes that had other names in a version.
MODES = {("GridSample", 16): {b"linear": b"bilinear", b"cubic": b"bicubic"}}
# Operators whose form in ONNX Runtime is not ONNX's: near 0 it gives what rounding left, or it places values by another shape.
BY_EVALUATOR = {"DFT", "MaxUnpool"}
# Operators of which nothing exact can be expected, so that they have no cases.
RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}


def versions():
    """The schemas of ai.onnx in force under opset 7 and later, by operator and version."""
    found = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "":
            found.setdefault(schema.name, {})[schema.since_version] = schema
    for name, schemas in found.items():
        first = max([v for v in schemas if v <= 7], default=0)
        found[name] = {v: schemas[v] for v in sorted(schemas) if v >= first}
    return dict(sorted(found.items()))


def type_string(proto):
    which = proto.WhichOneof("value")
    if which == "tensor_type":
        return f"tensor({TensorProto.DataType.Name(proto.tensor_type.elem_type).lower()})"
    if which == "sequence_type":
        return f"seq({type_string(proto.sequence_type.elem_type)})"
    if which == "optional_type":
        return f"optional({type_string(proto.optional_type.elem_type)})"
    return ""


def of_version(case, model, schema, current):
    """The model of a node case under another version of its operator, and the names of the inputs that it keeps; None where it
    cannot be said there."""
    node = onnx.NodeProto()
    node.CopyFrom(model.graph.node[0])
    values = {value.name: value for value in model.graph.input}
    names = list(node.input)
    kept, moved = [], {}
    for index, name in enumerate(names):
        formal = current.inputs[min(index, len(current.inputs) - 1)]
        attribute = RENAMED.get((node.op_type, formal.name), formal.name)
        variadic = schema.inputs and schema.inputs[-1].option == defs.OpSchema.FormalParameterOption.Variadic
        if attribute in schema.attributes:
            if name:
                moved[attribute] = array(case, list(values).index(name))
            continue
        if index >= len(schema.inputs) and not variadic:
            if name:
                return None
            continue
        kept.append(name)
    while kept and not kept[-1]:
        kept.pop()
    if len(kept) < schema.min_input or len(node.output) > schema.max_output:
        return None
    for attribute in node.attribute:
        if attribute.name not in schema.attributes:
            return None
        if attribute.name == "mode":
            attribute.s = MODES.get((node.op_type, schema.since_version), {}).get(attribute.s, attribute.s)
    for name, value in moved.items():
        like = schema.attributes[name].type
        if value.dtype == object:
            return None
        if like in (defs.OpSchema.AttrType.INT, defs.OpSchema.AttrType.FLOAT):
            if value.size != 1:
                return None
            plain = value.reshape(-1)[0].item()
            plain = float(plain) if like == defs.OpSchema.AttrType.FLOAT else int(plain)
        elif like == defs.OpSchema.AttrType.INTS:
            plain = [int(v) for v in value.reshape(-1)]
        else:
            plain = [float(v) for v in value.reshape(-1)]
        node.attribute.append(helper.make_attribute(name, plain, attr_type=None if plain else onnx.AttributeProto.INTS))
    allowed = {c.type_param_str: set(c.allowed_type_strs) for c in schema.type_constraints}
    for index, name in enumerate(kept):
        if name:
            formal = schema.inputs[min(index, len(schema.inputs) - 1)].type_str
            if type_string(values[name].type) not in allowed.get(formal, {formal}):
                return None
    del node.input[:]
    node.input.extend(kept)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    inputs = [value for value in model.graph.input if value.name in kept]
    del changed.graph.node[:], changed.graph.input[:]
    changed.graph.node.append(node)
    changed.graph.input.extend(inputs)
    for value in changed.graph.output:
        if value.type.HasField("tensor_type"):
            value.ClearField("type")
    return imported(changed, schema.since_version), [list(values).index(value.name) for value in inputs]


def imported(model, version):
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", max(version, 7)))
    model.ir_version = 8
    return model


def raw(case, index):
    with open(f"{case}/test_data_set_0/input_{index}.pb", "rb") as file:
        return file.read()


def array(case, index):
    return numpy_helper.to_array(TensorProto.FromString(raw(case, index)))


def value_of(proto, data):
    """A value that a case holds, by its type."""
    which = proto.WhichOneof("value")
    if which == "sequence_type":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if which == "optional_type":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(TensorProto.FromString(data))


def encoded(value):
    if isinstance(value, list):
        return numpy_helper.from_list([np.asarray(item) for item in value]).SerializeToString()
    return numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape)).SerializeToString()


def expected(model, feeds):
    """What ONNX Runtime gives, or onnx's evaluator; None where neither gives anything."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    runs = (
        lambda: onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, feeds),
        lambda: ReferenceEvaluator(model).run(None, feeds),
    )
    for run in runs[any(node.op_type in BY_EVALUATOR for node in model.graph.node) :]:
        try:
            with np.errstate(all="ignore"):
                found = run()
            if all(isinstance(value, (np.ndarray, np.generic, list)) for value in found):
                return [value if isinstance(value, list) else np.asarray(value) for value in found]
        except Exception:
            continue
    return None


def write(folder, model, inputs, feeds, computed=None):
    """Writes the case if there is something to expect, of `computed` if that is given."""
    outputs = expected(computed or model, feeds)
    if outputs is None:
        return False
    data = f"{folder}/test_data_set_0"
    os.makedirs(data)
    onnx.save(model, f"{folder}/model.onnx")
    for index, bytes_ in enumerate(inputs):
        with open(f"{data}/input_{index}.pb", "wb") as file:
            file.write(bytes_)
    for index, value in enumerate(outputs):
        with open(f"{data}/output_{index}.pb", "wb") as file:
            file.write(encoded(value))
    return True


def inner_nodes(node):
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            for inner in attribute.g.node:
                yield inner
                yield from inner_nodes(inner)


def is_known(node, model, schemas):
    return any(v <= model.opset_import[0].version for v in schemas.get(node.op_type, ()))


def from_nodes(cases, target, schemas, count):
    """Gives the versions that the cases themselves are of."""
    covered = set()
    for case in sorted(glob.glob(f"{cases}/node/*")) + sorted(glob.glob(f"{cases}/simple/*")):
        model = onnx.load(f"{case}/model.onnx")
        opset = {o.domain: o.version for o in model.opset_import}.get("", 0)

        def in_force(node):
            return max((v for v in schemas.get(node.op_type, ()) if v <= opset), default=None)

        covered.update((node.op_type, in_force(node)) for node in model.graph.node if not node.domain)
        node = model.graph.node[0]
        # Optional values have no file of their own, and bodies may hold what another opset has not.
        alone = all(not value.type.HasField("optional_type") for value in model.graph.output)
        alone = alone and len(model.graph.node) == 1 and "/node/" in case and not node.domain and "expanded" not in case and "training" not in case
        if not alone or node.op_type in RANDOM:
            continue
        current = in_force(node)
        for version, schema in schemas[node.op_type].items():
            if current in (None, version) or count.get((node.op_type, version), 0) >= MOST or schema.deprecated:
                continue
            try:
                made = of_version(case, model, schema, schemas[node.op_type][current])
            except (ValueError, IndexError, TypeError):
                made = None
            if made is None:
                continue
            changed, kept = made
            if any(not is_known(inner, changed, schemas) for inner in inner_nodes(changed.graph.node[0])):
                continue
            raws = [raw(case, index) for index in kept]
            feeds = {value.name: value_of(value.type, data) for value, data in zip(changed.graph.input, raws)}
            name = os.path.basename(case).removeprefix("test_")
            if write(f"{target}/{node.op_type}-{version}.{name}", changed, raws, feeds):
                count[node.op_type, version] = count.get((node.op_type, version), 0) + 1
    return covered


def made_here(target, count):
    """Forms that no newer case has."""
    rng = np.random.default_rng(11)
    x = rng.standard_normal((1, 2, 3, 4)).astype(np.float32)
    scales = np.array([1, 1, 2, 3], np.float32)
    indices = np.array([[1, 0, 2], [0, 2, 1]], np.int64)
    matrix, updates = x[0, 0], np.full((2, 3), 9, np.float32)

    def case(op, version, inputs, outputs=1, constants=(), like=None, **attributes):
        """`like`: the version that means the same and that something computes."""
        names = [f"x{i}" for i in range(len(inputs))]
        node = helper.make_node(op, names, [f"y{i}" for i in range(outputs)], name="n", **attributes)
        fed = [(n, v) for i, (n, v) in enumerate(zip(names, inputs)) if i not in constants]
        held = [numpy_helper.from_array(v, n) for i, (n, v) in enumerate(zip(names, inputs)) if i in constants]
        described = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in fed]
        graph = helper.make_graph([node], "made", described, [onnx.ValueInfoProto(name=o) for o in node.output], held)
        model = imported(helper.make_model(graph), version)
        raws = [numpy_helper.from_array(v, n).SerializeToString() for n, v in fed]
        number = count.get((op, version), 0)
        computed = imported(helper.make_model(graph), like) if like else None
        if write(f"{target}/{op}-{version}.made_{number}", model, raws, dict(fed), computed):
            count[op, version] = number + 1

    for mode in ("nearest", "linear"):
        case("Upsample", 7, [x], scales=scales.tolist(), mode=mode)
        case("Upsample", 9, [x, scales], constants=(1,), mode=mode)
        case("Resize", 10, [x, scales], constants=(1,), mode=mode)
    case("Scatter", 9, [matrix, indices, updates], axis=1)
    case("TopK", 1, [matrix], outputs=2, k=2, axis=1)
    case("BatchNormalization", 7, [x, *np.abs(rng.standard_normal((4, 2))).astype(np.float32)], epsilon=1e-3)
    case("Dropout", 7, [matrix], ratio=0.25)
    case("Softmax", 1, [x], axis=1)
    case("Softmax", 11, [x], axis=1)
    case("LogSoftmax", 1, [x], axis=2)
    case("LogSoftmax", 11, [x], axis=2)
    case("Hardmax", 1, [x], axis=1)
    case("Hardmax", 11, [x], axis=1)
    case("Dropout", 10, [matrix], ratio=0.25)
    case("DepthToSpace", 1, [rng.standard_normal((1, 8, 2, 3)).astype(np.float32)], blocksize=2)
    for version in (2, 22):
        case("GlobalLpPool", version, [x], like=2, p=3)
    rois = np.array([[0, 0, 0, 3, 2], [0, 1, 1, 2, 2]], np.float32)
    for version in (1, 22):
        case("MaxRoiPool", version, [x, rois], like=1, pooled_shape=[2, 2])
    for version in (15, 28):
        nodes = [
            helper.make_node("Optional", ["x"], ["held"]),
            helper.make_node("OptionalHasElement", ["held"], ["is_there"]),
            helper.make_node("OptionalGetElement", ["held"], ["y"]),
        ]
        described = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
        graph = helper.make_graph(nodes, "made", described, [onnx.ValueInfoProto(name=name) for name in ("is_there", "y")])
        raws = [numpy_helper.from_array(x, "x").SerializeToString()]
        models = [imported(helper.make_model(graph), v) for v in (version, 15)]
        if write(f"{target}/Optional-{version}.made_0", models[0], raws, {"x": x}, models[1]):
            count["Optional", version] = 1
    # x doubled each time, as long as the condition that comes in; each value is collected.
    nodes = [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Add", ["v", "v"], ["next"]), helper.make_node("Identity", ["next"], ["each"])]
    parameters = [("i", TensorProto.INT64, []), ("go", TensorProto.BOOL, []), ("v", TensorProto.FLOAT, [3, 4])]
    results = [("go_on", TensorProto.BOOL, []), ("next", TensorProto.FLOAT, [3, 4]), ("each", TensorProto.FLOAT, [3, 4])]
    described = lambda values: [helper.make_tensor_value_info(*value) for value in values]
    body = helper.make_graph(nodes, "body", described(parameters), described(results))
    case("Loop", 1, [np.array(3, np.int64), np.array(True), matrix], outputs=2, body=body)
    case("RoiAlign", 10, [x, rois[:, 1:], np.zeros(2, np.int64)], output_height=2, output_width=2, sampling_ratio=2)


def main():
    schemas = versions()
    if sys.argv[1:] == ["--versions"]:
        for name, found in schemas.items():
            print(name, *found)
        return
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    warnings.filterwarnings("ignore")
    cases, target = sys.argv[1:]
    count = {}
    made_here(target, count)
    covered = from_nodes(cases, target, schemas, count) | set(count)
    wanted = [(name, v) for name, found in schemas.items() for v in found if not found[v].deprecated]
    missing = [pair for pair in wanted if pair not in covered and pair[0] not in RANDOM]
    made = sum(count.values())
    print(f"onnx {onnx.__version__}: {made} cases of {len(count)} versions; with the node cases {len(wanted) - len(missing)} of {len(wanted)}")
    if missing:
        sys.exit("no case: " + ", ".join(f"{name}-{v}" for name, v in missing))


if __name__ == "__main__":
    main()
