"""Writes ONNX's own cases to a folder, as `repops conformance run --folder FOLDER` reads them.

    node_cases.py FOLDER             the node cases: FOLDER/node; with onnx 1.23.2 there are 1,884
    node_cases.py FOLDER --models    the suites that the wheel holds as files (onnx 1.22.0 does): simple, light,
                                     pytorch-operator, pytorch-converted

A case is a folder with `model.onnx` and `test_data_set_0/`. Needs onnx, numpy, ml_dtypes.
"""

import argparse
import os
import shutil

import numpy as np
import onnx
import onnx.backend.test
import onnx.backend.test.case.model as model_cases
import onnx.backend.test.cmd_tools as tools
import onnx.backend.test.loader as loader
from onnx import numpy_helper

DATA = os.path.join(os.path.dirname(onnx.backend.test.__file__), "data")


def node(folder):
    cases = loader.load_node_model_tests()
    for case in cases:
        case.kind = "node"
    # The tool of the package writes the model cases only; given these, it writes them in the same form.
    model_cases.collect_testcases = lambda: cases
    tools.generate_data(argparse.Namespace(output=folder))
    print(f"onnx {onnx.__version__}: {len(cases)} node cases")


def models(folder):
    for suite in ("simple", "pytorch-operator", "pytorch-converted"):
        shutil.copytree(os.path.join(DATA, suite), os.path.join(folder, suite), dirs_exist_ok=True)
        print(f"onnx {onnx.__version__}: {len(os.listdir(os.path.join(folder, suite)))} {suite} cases")
    light(os.path.join(DATA, "light"), os.path.join(folder, "light"))


def light(source, target):
    """Models without weights or inputs of their own: the runner of the package feeds them with a ramp."""
    names = [name[: -len(".onnx")] for name in sorted(os.listdir(source)) if name.endswith(".onnx")]
    for name in names:
        case = os.path.join(target, f"test_{name.removeprefix('light_')}")
        data = os.path.join(case, "test_data_set_0")
        os.makedirs(data, exist_ok=True)
        shutil.copy(os.path.join(source, f"{name}.onnx"), os.path.join(case, "model.onnx"))
        graph = onnx.load(os.path.join(source, f"{name}.onnx")).graph
        held = {tensor.name for tensor in graph.initializer}
        inputs = [value for value in graph.input if value.name not in held]
        for index, value in enumerate(inputs):
            shape = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            count = int(np.prod(shape))
            ramp = (np.arange(count).reshape(shape) / count).astype(np.float32)
            with open(os.path.join(data, f"input_{index}.pb"), "wb") as file:
                file.write(numpy_helper.from_array(ramp, value.name).SerializeToString())
        for index in range(len(graph.output)):
            shutil.copy(
                os.path.join(source, f"{name}_output_{index}.pb"), os.path.join(data, f"output_{index}.pb")
            )
    print(f"onnx {onnx.__version__}: {len(names)} light cases")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--models", action="store_true")
    options = parser.parse_args()
    if options.models:
        models(options.folder)
    else:
        node(options.folder)


if __name__ == "__main__":
    main()
