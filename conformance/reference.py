#!/usr/bin/env python3
"""Runs the development models under ONNX Runtime, so that our outputs can be compared with its.

    reference.py cases MODELS CASES      make one folder per case: model.onnx, inputs/*.npy, expected/*.npy
    reference.py short MODELS CASES      the same models in short shapes with inputs by a formula: CASES/models, for
                                         `repops conformance run --suite models`; needs numpy alone
    reference.py compare CASE OUTPUTS    compare OUTPUTS/*.npy with CASE/expected and check the right answer

Exit codes: 0 agreement, 1 disagreement, 2 something is missing.
"""

import argparse
import json
import os
import re
import shutil
import sys

import numpy as np

# Largest difference of an element, relative to the largest magnitude of its tensor.
RELATIVE_ERROR_MAX = {"minilm": 2e-3}
RELATIVE_ERROR_MAX_DEFAULT = 1e-4

SENTENCES = [
    "A cat sits on the warm windowsill.",
    "A kitten rests by a sunny window.",
    "The central bank raised its interest rate.",
]
LINE = "Total: $1,234.56"


def session(model):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def file_name(name):
    """The name that `repops run` gives the file of an output."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name) + ".npy"


def write_case(folder, model, inputs):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.join(folder, "inputs"))
    os.makedirs(os.path.join(folder, "expected"))
    shutil.copy(model, os.path.join(folder, "model.onnx"))
    for name, array in inputs.items():
        np.save(os.path.join(folder, "inputs", name + ".npy"), array)
    run = session(model)
    names = [output.name for output in run.get_outputs()]
    for name, array in zip(names, run.run(names, inputs)):
        np.save(os.path.join(folder, "expected", file_name(name)), array)
    print(f"{os.path.basename(folder)}: {', '.join(f'{k} {list(v.shape)}' for k, v in inputs.items())}")


def text_image(height, font_size, margin):
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=font_size)
    left, top, right, bottom = font.getbbox(LINE)
    image = Image.new("RGB", (right - left + 2 * margin, bottom - top + 2 * margin), "white")
    ImageDraw.Draw(image).text((margin - left, margin - top), LINE, font=font, fill="black")
    width = round(image.width * height / image.height)
    return image.resize((width, height), Image.BILINEAR)


def as_input(image):
    pixels = np.asarray(image, dtype=np.float32)[:, :, ::-1] / np.float32(255)
    return np.ascontiguousarray(((pixels - 0.5) / 0.5).transpose(2, 0, 1)[None], dtype=np.float32)


def minilm_inputs(tokenizer_file):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(tokenizer_file)
    tokenizer.enable_padding()
    tokenizer.no_truncation()
    encoded = tokenizer.encode_batch(SENTENCES)
    column = lambda key: np.array([getattr(one, key) for one in encoded], dtype=np.int64)
    return {
        "input_ids": column("ids"),
        "attention_mask": column("attention_mask"),
        "token_type_ids": column("type_ids"),
    }


def detection_inputs():
    from PIL import Image

    page = Image.new("RGB", (320, 192), "white")
    page.paste(text_image(48, 32, 8).resize((256, 40)), (24, 72))
    return {"x": as_input(page)}


def cases(models, folder):
    model = lambda *parts: os.path.join(models, *parts)
    tokenizer = model("minilm", "tokenizer.json")
    if os.path.exists(tokenizer):
        write_case(os.path.join(folder, "minilm"), model("minilm", "model.onnx"), minilm_inputs(tokenizer))
    else:
        print("minilm: left out, its tokenizer is missing (`cargo xtask models --all`)")
    write_case(os.path.join(folder, "ppocr-det"), model("ppocr", "det.onnx"), detection_inputs())
    line = {"x": as_input(text_image(48, 32, 8))}
    write_case(os.path.join(folder, "ppocr-rec"), model("ppocr", "rec.onnx"), line)
    return 0


def short(models, folder):
    """Inputs that no font and no tokenizer decides, so that digests of outputs can be committed."""
    scattered = lambda shape, step, modulus: np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape) * step % modulus
    image = lambda *shape: {"x": (scattered(shape, 7919, 257).astype(np.float32) - 128) / np.float32(128)}
    ids, mask = scattered((2, 12), 7919, 30522), np.ones((2, 12), np.int64)
    mask[1, 9:] = 0
    inputs = {
        ("magika", "model"): {"bytes": scattered((2, 2048), 31, 257).astype(np.int32)},
        ("minilm", "model"): {"input_ids": ids, "attention_mask": mask, "token_type_ids": scattered((2, 12), 5, 2)},
        ("ppocr", "det"): image(1, 3, 64, 96),
        ("ppocr", "rec"): image(2, 3, 48, 80),
    }
    for (name, part), arrays in inputs.items():
        case = os.path.join(folder, "models", name if part == "model" else f"{name}_{part}")
        os.makedirs(os.path.join(case, "inputs"), exist_ok=True)
        shutil.copy(os.path.join(models, name, f"{part}.onnx"), os.path.join(case, "model.onnx"))
        for key, array in arrays.items():
            np.save(os.path.join(case, "inputs", key + ".npy"), array)
    return 0


def answer(case, outputs):
    """The sentence that tells whether the outputs mean what they should; raises where they do not."""
    name = os.path.basename(os.path.normpath(case))
    if name == "minilm":
        mask = np.load(os.path.join(case, "inputs", "attention_mask.npy"))[:, :, None].astype(np.float64)
        hidden = outputs["last_hidden_state.npy"].astype(np.float64)
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
        related, unrelated = pooled[0] @ pooled[1], pooled[0] @ pooled[2]
        assert related > 0.4 > 0.2 > unrelated, f"cosines {related:.3f} and {unrelated:.3f}"
        return f"related sentences at cosine {related:.3f}, unrelated ones at {unrelated:.3f}"
    if name == "ppocr-rec":
        import onnx

        properties = onnx.load(os.path.join(case, "model.onnx")).metadata_props
        characters = next(p.value for p in properties if p.key == "character").split("\n")
        # Class 0 is "nothing here"; the last one is the blank between words.
        table = [""] + characters
        best = outputs["fetch_name_0.npy"][0].argmax(1)
        kept = [c for i, c in enumerate(best) if c != 0 and (i == 0 or best[i - 1] != c)]
        text = "".join(table[c] if c < len(table) else " " for c in kept)
        assert text.replace(" ", "") == LINE.replace(" ", ""), f"read {text!r}"
        return f"read {text!r}"
    if name == "ppocr-det":
        inside = outputs["fetch_name_0.npy"][0, 0] > 0.3
        assert inside[72:112, 24:280].mean() > 0.15 and inside[:48].mean() < 0.01, "no text was found where it is"
        return f"text found on {100 * inside.mean():.1f} % of the page, where it is"
    return "no answer to check"


def compare(case, folder):
    limit = RELATIVE_ERROR_MAX.get(os.path.basename(os.path.normpath(case)), RELATIVE_ERROR_MAX_DEFAULT)
    outputs, report, agrees = {}, {}, True
    for name in sorted(os.listdir(os.path.join(case, "expected"))):
        expected = np.load(os.path.join(case, "expected", name))
        outputs[name] = found = np.load(os.path.join(folder, name))
        if expected.shape != found.shape or expected.dtype != found.dtype:
            print(f"{name}: {found.dtype} {found.shape}, expected {expected.dtype} {expected.shape}")
            return 1
        difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
        largest = max(float(np.abs(expected.astype(np.float64)).max(initial=0)), 1e-30)
        report[name] = float(difference.max(initial=0)) / largest
        agrees &= report[name] <= limit
    print(json.dumps({"case": os.path.basename(os.path.normpath(case)), "limit": limit, "relative_error": report}))
    try:
        print(answer(case, outputs))
    except AssertionError as wrong:
        print(f"WRONG ANSWER: {wrong}")
        return 1
    return 0 if agrees else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True)
    for name in ("cases", "short"):
        make = tasks.add_parser(name)
        make.add_argument("models")
        make.add_argument("folder")
    check = tasks.add_parser("compare")
    check.add_argument("case")
    check.add_argument("outputs")
    arguments = parser.parse_args()
    try:
        if arguments.task == "cases":
            return cases(arguments.models, arguments.folder)
        if arguments.task == "short":
            return short(arguments.models, arguments.folder)
        return compare(arguments.case, arguments.outputs)
    except (OSError, ImportError) as missing:
        print(f"error: {missing}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
