"""Adds what ONNX Runtime computes to the cases that `--example random_cases` has written.

    random_cases.py FOLDER         writes FOLDER/*/test_data_set_0/output_N.pb; removes cases that ONNX Runtime does not take

`repops conformance run --suite FOLDER` then compares, within ONNX's tolerance. Needs onnx, onnxruntime, numpy.
"""

import collections
import os
import re
import shutil
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    kept, refused = 0, collections.Counter()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    for name in sorted(os.listdir(sys.argv[1])):
        case = os.path.join(sys.argv[1], name)
        data = os.path.join(case, "test_data_set_0")
        model = onnx.load(os.path.join(case, "model.onnx"))
        try:
            session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            feeds = {}
            for index, value in enumerate(model.graph.input):
                with open(os.path.join(data, f"input_{index}.pb"), "rb") as file:
                    tensor = onnx.TensorProto.FromString(file.read())
                feeds[value.name] = onnxruntime.OrtValue.ortvalue_from_numpy(numpy_helper.to_array(tensor)) if (
                    tensor.data_type != onnx.TensorProto.BFLOAT16
                ) else None
            if None in feeds.values():
                raise ValueError("bfloat16 inputs")
            results = [value.numpy() for value in session.run_with_ort_values(None, feeds)]
        except Exception as error:
            refused[re.sub(r"[0-9]+", "N", str(error))[:90]] += 1
            shutil.rmtree(case)
            continue
        for index, array in enumerate(results):
            with open(os.path.join(data, f"output_{index}.pb"), "wb") as file:
                file.write(numpy_helper.from_array(np.asarray(array, order="C")).SerializeToString())
        kept += 1
    print(f"onnxruntime {onnxruntime.__version__}: {kept} cases, {sum(refused.values())} refused")
    for reason, count in refused.most_common(12):
        print(f"  {count} {reason}")


if __name__ == "__main__":
    main()
