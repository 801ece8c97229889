"""How a program's tokenizer cuts texts, beside the Python package `tokenizers` with the same tokenizer.json.

    python3 tokenizer_texts.py REPOPS P.rep

The program's tokenizer.json is read out of the program; 630 texts, most of them drawn at random, go through `repops serve`, whose receipts
hold the tokens of the prompt. Needs tokenizers. Ends with 0 if no text is cut otherwise.
"""

import json
import pathlib
import random
import subprocess
import sys
import time
import urllib.request

from tokenizers import Tokenizer

POOL = [
    "Hello, world!", "  two  spaces\n\nnew", "I'll don't we've", "1234567 3.14 ½ ٣", "naïve café", "日本語のテキスト", "🙂🙃👨‍👩‍👧",
    "def f(x):\n\treturn x**2\n", "<|im_start|>user\nhi<|im_end|>\n", "\t\t tabs", "привет мир", "a" * 50, "ÀÉ\u0301", "\u00a0nbsp\u2003em",
    "https://a.b/c?d=e&f=1", "x=1;y=22;;", "…—–“quotes”", "ﬁ ligature", "\r\nwin\r\n", "a\u200bb", "العربية", "हिन्दी", "__init__",
    "CamelCaseWords", "$1,234.56", "[[1,2],[3]]", "'S 'T IT'S", "trailing   ", " ", "0",
]  # fmt: skip


def texts():
    draw = random.Random(1)
    letter = lambda: chr(draw.choice([draw.randint(32, 126), draw.randint(160, 0x2FF), draw.randint(0x400, 0x4FF), 32, 10, draw.randint(48, 57), draw.randint(0x1F600, 0x1F640)]))
    joined = ["".join(draw.choice(POOL) for _ in range(draw.randint(2, 5))) for _ in range(300)]
    return POOL + joined + ["".join(letter() for _ in range(draw.randint(1, 40))) for _ in range(300)]


def main():
    repops, program = sys.argv[1:3]
    data = pathlib.Path(program).read_bytes()
    at = data.rindex(b'{"version":"1.0"')
    found, _ = json.JSONDecoder().raw_decode(data[at : at + (64 << 20)].decode("utf8", "replace"))
    tokenizer = Tokenizer.from_str(json.dumps(found, ensure_ascii=False))
    base = "http://127.0.0.1:8767"
    server = subprocess.Popen([repops, "serve", program, "--listen", base[7:]], stdout=subprocess.DEVNULL)
    wrong = 0
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(base + "/healthz")
                break
            except OSError:
                time.sleep(0.2)
        for text in texts():
            body = json.dumps({"prompt": text, "max_tokens": 1}).encode()
            request = urllib.request.Request(base + "/v1/completions", body, {"Content-Type": "application/json"})
            name = urllib.request.urlopen(request).headers["x-repops-receipt"]
            tokens = json.loads(urllib.request.urlopen(f"{base}/v1/receipts/{name}").read())["prompt"]
            if tokens != tokenizer.encode(text).ids:
                wrong += 1
                print(repr(text), tokens, tokenizer.encode(text).ids)
    finally:
        server.terminate()
        server.wait()
    print(len(texts()), "texts,", wrong, "cut otherwise")
    raise SystemExit(wrong != 0)


if __name__ == "__main__":
    main()
