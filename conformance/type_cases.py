"""Makes a case of each operator for each element type that ONNX allows each of its type parameters, from the node cases.

    type_cases.py NODE FOLDER      NODE: the node cases that node_cases.py has written; FOLDER/OPERATOR.PARAMETER.TYPE gets the case

The inputs of the first node case of an operator and version are converted to the type; what onnx's reference evaluator gives is expected. Where it gives
nothing, or something that its operator's text contradicts (WRONG), there is no expectation but that all of our ways agree: what
other types can be tested with is left out by name (LEFT_OUT). `repops conformance run --suite FOLDER` runs the cases. Needs onnx 1.23.2 and
numpy, ml_dtypes.
"""

import glob
import os
import sys
import warnings

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import defs, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

NAMES = {"float": T.FLOAT, "double": T.DOUBLE, "float16": T.FLOAT16, "bfloat16": T.BFLOAT16, "bool": T.BOOL, "string": T.STRING}
NAMES.update({f"{kind}{bits}": getattr(T, f"{kind.upper()}{bits}") for kind in ("int", "uint") for bits in (2, 4, 8, 16, 32, 64)})
NAMES.update({name.lower(): getattr(T, name) for name in ("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT4E2M1", "FLOAT8E8M0")})
FLOATS = (T.FLOAT, T.DOUBLE, T.FLOAT16, T.BFLOAT16)
RANGES = {"int2": (-2, 1), "uint2": (0, 3), "int4": (-8, 7), "uint4": (0, 15)}

# What changing one parameter's type alone cannot test: operator and, where it is not about all of them, parameter or type, with
# the reason.
LEFT_OUT = {
    ("Adagrad",): "training", ("Adam",): "training", ("Momentum",): "training", ("Gradient",): "training",
    ("Bernoulli",): "random", ("RandomUniformLike",): "random", ("RandomNormalLike",): "random", ("Multinomial",): "random",
    ("BitCast",): "both types must be equally wide; narrow_cases.py has them",
    ("If",): "the branches' types are their own", ("Loop",): "the body's types are its own", ("Scan",): "the body's types are its own",
    ("LabelEncoder",): "its tables are of one type", ("TreeEnsemble",): "its trees are of one type",
    ("TfIdfVectorizer", "string"): "the case's pool is of integers",
    ("QLinearMatMul",): "all three types change together; narrow_cases.py has them", ("QLinearConv",): "types change together",
    ("Gemm", "int32"): "the case's alpha is a fraction", ("Gemm", "int64"): "the case's alpha is a fraction",
    ("Gemm", "uint32"): "the case's alpha is a fraction", ("Gemm", "uint64"): "the case's alpha is a fraction",
    ("Mod", "uint8"): "a negative divisor becomes 0", ("Mod", "uint16"): "a negative divisor becomes 0",
    ("Mod", "uint32"): "a negative divisor becomes 0", ("Mod", "uint64"): "a negative divisor becomes 0",
    ("GridSample", "string"): "the case interpolates; microsoft_cases.py has nearest", ("Col2Im", "string"): "sums of strings", ("Col2Im", "bool"): "sums of bool",
    ("ScatterElements", "bool"): "the case adds", ("ScatterND", "bool"): "the case adds",
    ("DequantizeLinear", "float8e8m0"): "e8m0 is the scale's type, and the result's only where output_dtype says so",
    ("Resize", "string"): "the case interpolates",
    ("ImageDecoder",): "its input is bytes",
}
# Operators whose evaluator contradicts their text, for these types or all.
WRONG = {
    "AffineGrid": "gives f32 whatever theta is", "ReduceSumSquare": "gives i64 of i32", "LayerNormalization": "gives the mean in X's type",
    "SplitToSequence": "gives a tensor in place of a sequence", "ArrayFeatureExtractor": "gives strings another shape",
    "CastLike": "leaves what does not fit an integer to numpy", "QuantizeLinear": "adds a zero point to floats of 8 bits",
    "DequantizeLinear": "subtracts a zero point from floats of 4 bits", "GridSample": "rounds to the grid's type", "DFT": "rounds differently",
    "Det": "gives f64 of bf16",
}
# Cases beside an operator's first one, by what they are called here.
VARIANTS = {"test_attention_4d_with_past_and_present": ".past"}
# Integers that interpolation gives are cut, so that the last bit before decides.
CUT = {"Resize", "GridSample"}


def converted(array, kind):
    """The array as another type; integers within what 8 bits and fewer hold."""
    if kind == T.STRING:
        texts = np.array([str(value) for value in array.ravel()], object)
        return array if array.dtype == object else texts.reshape(array.shape)
    to = helper.tensor_dtype_to_np_dtype(kind)
    if array.dtype == object:
        return np.arange(array.size).reshape(array.shape).astype(to)
    if array.dtype == bool:
        array = array.astype(np.float32)
    if kind == T.BOOL:
        return array.astype(np.float32) > 0.5
    if "int" in to.name:
        low, high = RANGES.get(to.name, (0 if to.name.startswith("u") else -8, 7))
        return np.clip(np.nan_to_num(array.astype(np.float64)), low, high).astype(np.int64).astype(to)
    return array.astype(np.float64 if array.dtype == np.float64 else np.float32).astype(to)


def data_of(case, model):
    """The inputs as tensors; None where one is something else."""
    found = []
    for index, value in enumerate(model.graph.input):
        if not value.type.HasField("tensor_type"):
            return None
        with open(f"{case}/test_data_set_0/input_{index}.pb", "rb") as file:
            found.append(T.FromString(file.read()))
    return found


def write(folder, model, inputs, operator):
    data = f"{folder}/test_data_set_0"
    os.makedirs(data)
    onnx.save(model, f"{folder}/model.onnx")
    for index, proto in enumerate(inputs):
        with open(f"{data}/input_{index}.pb", "wb") as file:
            file.write(proto.SerializeToString())
    try:
        if operator in WRONG or (operator in CUT and inputs[0].data_type not in FLOATS):
            raise ValueError
        feeds = {value.name: numpy_helper.to_array(proto) for value, proto in zip(model.graph.input, inputs)}
        with np.errstate(all="ignore"):
            outputs = [numpy_helper.from_array(np.asarray(value)) for value in ReferenceEvaluator(model).run(None, feeds)]
    except Exception:
        open(f"{data}/no_outputs", "wb").close()
        return False
    for index, proto in enumerate(outputs):
        with open(f"{data}/output_{index}.pb", "wb") as file:
            file.write(proto.SerializeToString())
    return True


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    warnings.filterwarnings("ignore")
    nodes, target = sys.argv[1:]
    made = expected = 0
    for case in sorted(glob.glob(f"{nodes}/*")):
        model = onnx.load(f"{case}/model.onnx")
        if len(model.graph.node) != 1 or "expanded" in case or "training" in case:
            continue
        node = model.graph.node[0]
        version = {o.domain: o.version for o in model.opset_import}.get(node.domain, 1)
        if node.domain not in ("", "ai.onnx.ml") or not defs.has(node.op_type, node.domain):
            continue
        schema = defs.get_schema(node.op_type, version, node.domain)
        allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
        data = data_of(case, model)
        if data is None:
            continue
        parameters = {name: schema.inputs[min(i, len(schema.inputs) - 1)].type_str for i, name in enumerate(node.input) if name}
        variant = VARIANTS.get(os.path.basename(case), "")
        for parameter in sorted(set(parameters.values()) & set(allowed)):
            for text in sorted(allowed[parameter]):
                text = text.removeprefix("tensor(").removesuffix(")")
                folder = f"{target}/{node.op_type}-{schema.since_version}{variant}.{parameter}.{text}"
                keys = [(node.op_type,), (node.op_type, parameter), (node.op_type, text)]
                if text not in NAMES or os.path.exists(folder) or any(key in LEFT_OUT for key in keys):
                    continue
                changed = onnx.ModelProto()
                changed.CopyFrom(model)
                inputs = []
                for value, proto in zip(changed.graph.input, data):
                    if parameters.get(value.name) == parameter:
                        value.type.tensor_type.elem_type = NAMES[text]
                        if proto.data_type != NAMES[text]:
                            proto = numpy_helper.from_array(converted(numpy_helper.to_array(proto), NAMES[text]), value.name)
                    inputs.append(proto)
                for value in changed.graph.output:
                    value.ClearField("type")
                expected += write(folder, changed, inputs, node.op_type)
                made += 1
    print(f"onnx {onnx.__version__}: {made} cases, {expected} with what its reference evaluator gives")


if __name__ == "__main__":
    main()
