"""Writes ONNX's own node cases to a folder: node_cases.py FOLDER.

The package `onnx` holds the cases as code; with version 1.23.2 there are 1,884. Each becomes FOLDER/node/NAME with
`model.onnx` and `test_data_set_0/`, which is what the program `node_suite` reads. Needs onnx, numpy, ml_dtypes.
"""

import argparse
import sys

import onnx
import onnx.backend.test.case.model as model_cases
import onnx.backend.test.cmd_tools as tools
import onnx.backend.test.loader as loader


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    cases = loader.load_node_model_tests()
    for case in cases:
        case.kind = "node"
    # The tool of the package writes the model cases only; given these, it writes them in the same form.
    model_cases.collect_testcases = lambda: cases
    tools.generate_data(argparse.Namespace(output=sys.argv[1]))
    print(f"onnx {onnx.__version__}: {len(cases)} cases")


if __name__ == "__main__":
    main()
