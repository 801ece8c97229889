"""Small decoders of every supported architecture, and their logits by numpy.

Writes conformance/decoders/: GGUF files through the package `gguf`, Hugging Face folders through a few lines of its own, and
expected.json with tokens and logits. The forward pass here is in float64, from the architectures' definitions, and shares
nothing with the compiler. Run with `pip install numpy gguf==0.19.0`; the result is the same every time.

Tests compare the compiled programs' logits with these within a tolerance.
"""

import json
import pathlib
import struct

import numpy as np

ROOT = pathlib.Path(__file__).parent / "decoders"
VOCABULARY = 48
TOKENS = [1, 7, 3, 44, 20, 7, 7, 0, 31, 12]


class Weights:
    """Random tensors under Hugging Face's names, rounded to the type that they are stored in."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.tensors = {}

    def add(self, name, shape, scale=None, centre=0.0):
        scale = scale if scale is not None else 1.0 / np.sqrt(shape[-1])
        self.tensors[name] = (centre + scale * self.random.standard_normal(shape)).astype(np.float32)


def make(config, seed):
    """The weights of a model."""
    w = Weights(seed)
    hidden, inner, d = config["hidden"], config["inner"], config["head_dim"]
    q, kv = config["heads"] * d, config["kv_heads"] * d
    norm = 0.0 if config.get("plus_one") else 1.0
    w.add("model.embed_tokens.weight", (VOCABULARY, hidden), 1.0)
    if not config["tied"]:
        w.add("lm_head.weight", (VOCABULARY, hidden))
    w.add("model.norm.weight", (hidden,), 0.2, norm)
    for layer in range(config["layers"]):
        at = f"model.layers.{layer}."
        norms = ["input_layernorm", "post_attention_layernorm"]
        if config.get("post_norms"):
            norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
        for name in norms:
            w.add(f"{at}{name}.weight", (hidden,), 0.2, norm)
        if config.get("qk_norm"):
            w.add(at + "self_attn.q_norm.weight", (d,), 0.2, norm)
            w.add(at + "self_attn.k_norm.weight", (d,), 0.2, norm)
        for name, rows, columns, bias in [
            ("self_attn.q_proj", q, hidden, "qkv_bias"),
            ("self_attn.k_proj", kv, hidden, "qkv_bias"),
            ("self_attn.v_proj", kv, hidden, "qkv_bias"),
            ("self_attn.o_proj", hidden, q, "output_bias"),
            ("mlp.gate_proj", inner, hidden, "mlp_bias"),
            ("mlp.up_proj", inner, hidden, "mlp_bias"),
            ("mlp.down_proj", hidden, inner, "mlp_bias"),
        ]:
            w.add(f"{at}{name}.weight", (rows, columns))
            if config.get(bias):
                w.add(f"{at}{name}.bias", (rows,), 0.3)
    return w.tensors


def frequencies(d, rope):
    inverse = 1.0 / rope["base"] ** (np.arange(0, d, 2, dtype=np.float64) / d)
    kind = rope.get("type")
    if kind == "linear":
        return inverse / rope["factor"], 1.0
    if kind == "factors":
        return inverse / np.array(rope["factors"], np.float64), 1.0
    if kind == "llama3":
        wavelength = 2 * np.pi / inverse
        low, high, original, factor = rope["low"], rope["high"], rope["original"], rope["factor"]
        smooth = (original / wavelength - low) / (high - low)
        blended = (1 - smooth) * inverse / factor + smooth * inverse
        long, short = wavelength > original / low, wavelength < original / high
        return np.where(long, inverse / factor, np.where(short, inverse, blended)), 1.0
    if kind == "yarn":
        factor, original = rope["factor"], rope["original"]
        pair = lambda n: d * np.log(original / (n * 2 * np.pi)) / (2 * np.log(rope["base"]))
        first = max(np.floor(pair(32.0)), 0)
        last = min(np.ceil(pair(1.0)), d - 1)
        ramp = np.clip((np.arange(d // 2) - first) / max(last - first, 0.001), 0, 1)
        return inverse / factor * ramp + inverse * (1 - ramp), 0.1 * np.log(factor) + 1
    return inverse, 1.0


def rotate(x, positions, d, rope):
    """x [S, heads, d]; the first half of a head pairs with the second."""
    inverse, magnitude = frequencies(d, rope)
    angles = positions[:, None] * inverse[None, :]
    cos, sin = (f(angles)[:, None, :] * magnitude for f in (np.cos, np.sin))
    a, b = x[..., : d // 2], x[..., d // 2 :]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def norm(x, weight, config):
    weight = weight + 1.0 if config.get("plus_one") else weight
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + config["epsilon"]) * weight


def forward(config, tensors, tokens):
    t = {name: value.astype(np.float64) for name, value in tensors.items()}
    heads, kv_heads, d = config["heads"], config["kv_heads"], config["head_dim"]
    size, positions = len(tokens), np.arange(len(tokens))
    x = t["model.embed_tokens.weight"][tokens]
    if config.get("gemma"):
        x = x * np.sqrt(config["hidden"])

    def linear(name, x):
        y = x @ t[name + ".weight"].T
        return y + t[name + ".bias"] if name + ".bias" in t else y

    for layer in range(config["layers"]):
        at = f"model.layers.{layer}."
        window, rope = config["windows"][layer], config["ropes"][layer]
        h = norm(x, t[at + "input_layernorm.weight"], config)
        q = linear(at + "self_attn.q_proj", h).reshape(size, heads, d)
        k = linear(at + "self_attn.k_proj", h).reshape(size, kv_heads, d)
        v = linear(at + "self_attn.v_proj", h).reshape(size, kv_heads, d)
        if config.get("qk_norm"):
            q = norm(q, t[at + "self_attn.q_norm.weight"], config)
            k = norm(k, t[at + "self_attn.k_norm.weight"], config)
        q, k = rotate(q, positions, d, rope), rotate(k, positions, d, rope)
        k, v = (np.repeat(z, heads // kv_heads, axis=1) for z in (k, v))
        scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(config.get("scalar", d))
        if config.get("softcap"):
            scores = config["softcap"] * np.tanh(scores / config["softcap"])
        distance = positions[:, None] - positions[None, :]
        seen = (distance >= 0) & ((distance < window) if window else True)
        scores = np.where(seen, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        y = linear(at + "self_attn.o_proj", np.einsum("hij,jhd->ihd", weights, v).reshape(size, -1))
        if config.get("post_norms"):
            y = norm(y, t[at + "post_attention_layernorm.weight"], config)
        x = x + y
        before = "pre_feedforward_layernorm" if config.get("post_norms") else "post_attention_layernorm"
        h = norm(x, t[f"{at}{before}.weight"], config)
        gate, up = linear(at + "mlp.gate_proj", h), linear(at + "mlp.up_proj", h)
        if config.get("gemma"):
            act = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
        else:
            act = gate / (1 + np.exp(-gate))
        y = linear(at + "mlp.down_proj", act * up)
        if config.get("post_norms"):
            y = norm(y, t[at + "post_feedforward_layernorm.weight"], config)
        x = x + y
    x = norm(x, t["model.norm.weight"], config)
    logits = x @ t.get("lm_head.weight", t["model.embed_tokens.weight"]).T
    if config.get("logit_softcap"):
        logits = config["logit_softcap"] * np.tanh(logits / config["logit_softcap"])
    return logits


# ----- Hugging Face folders


def to_bf16(x):
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(x):
    return (x.astype(np.uint32) << 16).view(np.float32)


def rounded(tensors, dtype):
    """Stored arrays by name, and what they mean."""
    stored = {}
    for name, value in tensors.items():
        stored[name] = {"F32": value, "F16": value.astype(np.float16), "BF16": to_bf16(value)}[dtype]
    read = {"F32": lambda x: x, "F16": lambda x: x.astype(np.float32), "BF16": from_bf16}[dtype]
    return stored, {name: read(value) for name, value in stored.items()}


def safetensors(path, tensors, dtype):
    header, data = {}, b""
    for name, value in tensors.items():
        raw = value.tobytes()
        header[name] = {"dtype": dtype, "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def folder(name, config, tensors, dtype, extra, shards=1, files=None):
    path = ROOT / name
    path.mkdir(parents=True, exist_ok=True)
    for old in path.iterdir():
        old.unlink()
    stored, meant = rounded(tensors, dtype)
    if shards == 1:
        safetensors(path / "model.safetensors", stored, dtype)
    else:
        weight_map, names = {}, list(stored)
        for shard in range(shards):
            file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
            part = {n: stored[n] for n in names[shard::shards]}
            safetensors(path / file, part, dtype)
            weight_map |= {n: file for n in part}
        index = {"metadata": {}, "weight_map": weight_map}
        (path / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    described = {
        "hidden_size": config["hidden"],
        "intermediate_size": config["inner"],
        "num_hidden_layers": config["layers"],
        "num_attention_heads": config["heads"],
        "num_key_value_heads": config["kv_heads"],
        "rms_norm_eps": config["epsilon"],
        "max_position_embeddings": 64,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": config["tied"],
        **extra,
    }
    (path / "config.json").write_text(json.dumps(described, indent=1))
    for file, content in (files or {}).items():
        (path / file).write_text(content if isinstance(content, str) else json.dumps(content))
    return forward(config, meant, TOKENS)


# ----- GGUF

NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def gguf_name(name, post_norms):
    stem, kind = name.rsplit(".", 1)
    top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    if stem in top:
        return f"{top[stem]}.{kind}"
    _, _, layer, rest = stem.split(".", 3)
    names = NAMES | {"post_attention_layernorm": "post_attention_norm" if post_norms else "ffn_norm"}
    return f"blk.{layer}.{names[rest]}.{kind}"


def permuted(x, heads):
    """What llama.cpp's converter does to Llama's queries and keys."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def unpermuted(x, heads):
    return x.reshape(heads, x.shape[0] // heads // 2, 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def random_blocks(random, shape, kind):
    """Blocks of the formats that the package cannot quantize to: scales small, all other bits random."""
    types = {"Q4_K": (144, [0, 2]), "Q6_K": (210, [208])}
    size, halves = types[kind]
    blocks = random.integers(0, 256, (shape[0], shape[1] // 256, size), dtype=np.uint8)
    for at in halves:
        scale = {"Q4_K": 2e-4, "Q6_K": 4e-5}[kind] * (1 + random.random(blocks.shape[:2]))
        blocks[..., at : at + 2] = scale.astype(np.float16).view(np.uint8).reshape(*blocks.shape[:2], 2)
    return blocks.reshape(shape[0], -1)


def write_gguf(name, architecture, config, tensors, type_of, metadata, tokenizer, extra=None):
    import gguf

    writer = gguf.GGUFWriter(ROOT / f"{name}.gguf", architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(config["hidden"])
    writer.add_feed_forward_length(config["inner"])
    writer.add_block_count(config["layers"])
    writer.add_head_count(config["heads"])
    writer.add_head_count_kv(config["kv_heads"])
    writer.add_layer_norm_rms_eps(config["epsilon"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    for key, add, value in metadata:
        getattr(writer, add)(f"{architecture}.{key}", value)
    tokenizer(writer)
    random = np.random.default_rng(99)
    meant = {}
    for source, value in tensors.items():
        heads = {"q_proj": config["heads"], "k_proj": config["kv_heads"]}
        heads = next((n for part, n in heads.items() if architecture == "llama" and part in source), None)
        value = permuted(value, heads) if heads else value
        # The converter adds Gemma's 1.
        shift = 1.0 if config.get("plus_one") and "norm" in source else 0.0
        value = (value + shift).astype(np.float32)
        kind = type_of(source) if value.ndim == 2 else "F32"
        quantized = getattr(gguf.GGMLQuantizationType, kind)
        if kind in ("Q4_K", "Q6_K"):
            raw = random_blocks(random, value.shape, kind)
        else:
            raw = gguf.quants.quantize(value, quantized)
        back = gguf.quants.dequantize(raw, quantized).astype(np.float32).reshape(value.shape) - np.float32(shift)
        meant[source] = unpermuted(back, heads) if heads else back
        writer.add_tensor(gguf_name(source, config.get("post_norms")), raw, raw_dtype=quantized)
    for key, value in (extra or {}).items():
        writer.add_tensor(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return forward(config, meant, TOKENS)


def byte_level(writer):
    """A few bytes, two merges, two control tokens."""
    letters = [chr(c) for c in range(97, 123)]
    tokens = ["<|endoftext|>", "<|im_end|>", "\u0120", "th", "the"] + letters
    tokens += [f"<|unused_{i}|>" for i in range(VOCABULARY - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if t.startswith("<|") else 1 for t in tokens])
    writer.add_token_merges(["t h", "th e"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")


def sentence_piece(writer):
    letters = [chr(c) for c in range(97, 123)]
    tokens = ["<unk>", "<s>", "</s>", "<0x0A>", "<0xC3>", "<0xA9>", "\u2581", "\u2581t", "he", "\u2581the"] + letters
    tokens += [f"<unused{i}>" for i in range(VOCABULARY - len(tokens))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    kind = lambda t: 2 if t == "<unk>" else 3 if t in ("<s>", "</s>") else 6 if t.startswith("<0x") else 5 if "unused" in t else 1
    writer.add_token_types([kind(t) for t in tokens])
    writer.add_token_scores([-float(i) for i in range(VOCABULARY)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


def corpora(base):
    """What fuzzing begins with: one model small enough to be built thousands of times, and broken ones."""
    global ROOT, VOCABULARY
    models, tokens = ROOT, VOCABULARY
    ROOT, VOCABULARY = models.parent.parent / "fuzz" / "corpus" / "gguf", 36
    ROOT.mkdir(parents=True, exist_ok=True)
    config = base | {"hidden": 32, "inner": 32, "heads": 2, "kv_heads": 1, "head_dim": 8, "layers": 1, "windows": [0]}
    config["ropes"] = [{"base": 10000.0}]
    tokens_before, TOKENS[:] = list(TOKENS), [1, 2, 3]
    write_gguf("llama", "llama", config, make(config, 9), lambda n: "F32" if "o_proj" in n else "Q4_0" if "proj" in n else "Q8_0", [], byte_level)
    write_gguf("qwen3", "qwen3", config | {"qk_norm": True}, make(config | {"qk_norm": True}, 10), lambda _: "F16", [], sentence_piece)
    for name in ["llama", "qwen3"]:
        (ROOT / f"{name}.gguf").rename(ROOT / name)
    good = (ROOT / "llama").read_bytes()
    (ROOT / "bad-cut").write_bytes(good[: len(good) * 2 // 3])
    (ROOT / "bad-count").write_bytes(good[:8] + b"\xff" * 8 + good[16:])
    (ROOT / "bad-version").write_bytes(good[:4] + struct.pack("<I", 1) + good[8:])
    (ROOT / "bad-architecture").write_bytes(good.replace(b"llama", b"mamba"))
    (ROOT / "bad-rank").write_bytes(good.replace(b"blk.0.attn_q.weight\x02", b"blk.0.attn_q.weight\x03"))
    ROOT = ROOT.parent / "safetensors"
    ROOT.mkdir(parents=True, exist_ok=True)
    value = np.arange(12, dtype=np.float32).reshape(3, 4)
    safetensors(ROOT / "f32", {"a": value, "b.c": value[0]}, "F32")
    safetensors(ROOT / "bf16", {"a": to_bf16(value)}, "BF16")
    safetensors(ROOT / "bad-type", {"a": value.astype(np.int32)}, "I32")
    good = (ROOT / "f32").read_bytes()
    (ROOT / "bad-cut").write_bytes(good[:-5])
    (ROOT / "bad-length").write_bytes(b"\xff" * 8 + good[8:])
    (ROOT / "bad-json").write_bytes(good.replace(b"{", b"[", 1))
    (ROOT / "bad-offsets").write_bytes(good.replace(b"[0,48]", b"[4,48]"))
    ROOT, VOCABULARY, TOKENS[:] = models, tokens, tokens_before


def main():
    ROOT.mkdir(exist_ok=True)
    expected = {}
    f32, f64 = "add_float32", "add_float64"
    plain = {"base": 10000.0}
    base = {
        "hidden": 64, "inner": 96, "heads": 4, "kv_heads": 2, "head_dim": 16,
        "layers": 2, "epsilon": 1e-5, "tied": True, "windows": [0, 0], "ropes": [plain] * 2,
    }  # fmt: skip

    # Llama from GGUF: permuted rows, factors, four formats.
    factors = [1.0, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0, 8.0]
    rope = {"base": 5000.0, "type": "factors", "factors": factors}
    config = base | {"ropes": [rope] * 2}
    kinds = {"embed": "Q8_0", "q_proj": "Q4_1", "k_proj": "Q4_0", "v_proj": "F16", "down": "F32", "gate": "Q8_0"}
    kind = lambda name: next((k for part, k in kinds.items() if part in name), "Q4_1")
    extra = {"rope_freqs.weight": np.array(factors, np.float32)}
    expected["llama.gguf"] = write_gguf(
        "llama", "llama", config, make(config, 1), kind, [("rope.freq_base", f32, 5000.0)], byte_level, extra
    )

    # The formats with blocks of 256.
    config = base | {"hidden": 256, "inner": 256, "heads": 2, "kv_heads": 1, "layers": 1, "windows": [0]}
    config["head_dim"] = 128
    kinds = {"embed": "Q6_K", "q_proj": "Q4_K", "down": "Q6_K"}
    expected["llama-k.gguf"] = write_gguf("llama-k", "llama", config, make(config, 2), kind, [], sentence_piece)

    # Qwen 2: biases, YaRN, neither permuted nor tied.
    rope = {"base": 100.0, "type": "yarn", "factor": 4.0, "original": 16.0}
    config = base | {"qkv_bias": True, "tied": False, "ropes": [rope] * 2, "epsilon": 1e-6}
    metadata = [
        ("rope.freq_base", f32, 100.0),
        ("rope.scaling.type", "add_string", "yarn"),
        ("rope.scaling.factor", f32, 4.0),
        ("rope.scaling.original_context_length", "add_uint32", 16),
    ]
    expected["qwen2.gguf"] = write_gguf("qwen2", "qwen2", config, make(config, 3), lambda _: "BF16", metadata, byte_level)

    # Gemma 3: norms of heads and of results, local layers with another base, linear scaling of the global ones.
    near, far = {"base": 10000.0}, {"base": 1e6, "type": "linear", "factor": 8.0}
    gemma = {"gemma": True, "plus_one": True, "post_norms": True}
    config = base | gemma | {
        "hidden": 32, "inner": 48, "heads": 2, "kv_heads": 1, "layers": 7, "qk_norm": True,
        "windows": [4] * 5 + [0, 4], "ropes": [near] * 5 + [far, near], "epsilon": 1e-6,
    }  # fmt: skip
    metadata = [
        ("rope.freq_base", f32, 1e6),
        ("rope.scaling.type", "add_string", "linear"),
        ("rope.scaling.factor", f32, 8.0),
        ("attention.sliding_window", "add_uint32", 4),
    ]
    expected["gemma3.gguf"] = write_gguf("gemma3", "gemma3", config, make(config, 4), lambda _: "F16", metadata, sentence_piece)

    # Llama 3 from a folder in two files: all biases, its own scaling.
    rope = {"base": 500000.0, "type": "llama3", "factor": 8.0, "low": 1.0, "high": 4.0, "original": 32.0}
    config = base | {
        "hidden": 32, "inner": 48, "heads": 2, "kv_heads": 1, "tied": False, "ropes": [rope] * 2,
        "qkv_bias": True, "output_bias": True, "mlp_bias": True,
    }  # fmt: skip
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    extra = {
        "model_type": "llama", "rope_theta": 500000.0, "attention_bias": True, "mlp_bias": True, "eos_token_id": [2, 3],
        "rope_scaling": scaling | {"original_max_position_embeddings": 32},
    }  # fmt: skip
    files = {
        "generation_config.json": {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "bos_token_id": 1},
        "tokenizer_config.json": {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": "{{ messages }}"},
    }
    expected["llama"] = folder("llama", config, make(config, 5), "F32", extra, shards=2, files=files)

    # Mistral: a window in every layer.
    config = base | {"windows": [3, 3], "tied": False}
    extra = {"model_type": "mistral", "sliding_window": 3, "rope_theta": 10000.0}
    expected["mistral"] = folder("mistral", config, make(config, 6), "BF16", extra)

    # Qwen 3: heads are normalized, and wider than the hidden size shared among them.
    config = base | {"head_dim": 24, "qk_norm": True, "ropes": [{"base": 1e6}] * 2, "epsilon": 1e-6}
    extra = {"model_type": "qwen3", "head_dim": 24, "rope_theta": 1000000.0}
    expected["qwen3"] = folder("qwen3", config, make(config, 7), "F16", extra)

    # Gemma 2: soft caps, every second layer with a window, scores scaled by another number.
    config = base | gemma | {
        "hidden": 32, "inner": 48, "layers": 3, "windows": [3, 0, 3], "ropes": [plain] * 3, "scalar": 9.0,
        "softcap": 2.0, "logit_softcap": 3.0, "head_dim": 8,
    }  # fmt: skip
    extra = {
        "model_type": "gemma2", "head_dim": 8, "query_pre_attn_scalar": 9, "sliding_window": 3,
        "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0,
    }  # fmt: skip
    expected["gemma2"] = folder("gemma2", config, make(config, 8), "F32", extra)

    corpora(base)

    lines = []
    for name, logits in expected.items():
        values = ",".join(f"{x:.7g}" for x in logits.reshape(-1))
        lines.append(f'"{name}":{{"tokens":{TOKENS},"logits":[{values}]}}')
    (ROOT / "expected.json").write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
