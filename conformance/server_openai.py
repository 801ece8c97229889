"""`repops serve` with OpenAI's own client: `python3 server_openai.py http://127.0.0.1:8080`, a server that runs. Needs openai."""

import json
import sys
import urllib.request

import openai

base = sys.argv[1].rstrip("/")
client = openai.OpenAI(base_url=base + "/v1", api_key="none")
[model] = [model.id for model in client.models.list().data]
ask = lambda text, **further: dict(model=model, messages=[{"role": "user", "content": text}], **further)

raw = client.chat.completions.with_raw_response.create(**ask("What is the capital of France?", max_tokens=30))
answer = raw.parse()
print(answer.choices[0].message.content, answer.usage)
assert answer.choices[0].message.content and answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens

name = raw.headers["x-repops-receipt"]
receipt = json.loads(urllib.request.urlopen(f"{base}/v1/receipts/{name}").read())
assert len(receipt["tokens"]) == answer.usage.completion_tokens
request = urllib.request.Request(f"{base}/v1/receipts/{name}/verify", method="POST")
assert json.loads(urllib.request.urlopen(request).read()) == {"verified": True, "difference": None}

stream = client.chat.completions.create(**ask("What is the capital of France?", max_tokens=30, stream=True))
text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
assert text == answer.choices[0].message.content, text
completion = client.completions.create(model=model, prompt="Once upon a time", max_tokens=8)
assert completion.choices[0].text
two = client.chat.completions.create(**ask("Name a color.", max_tokens=6, n=2, temperature=1.0, seed=4, logprobs=True, top_logprobs=3))
assert [choice.index for choice in two.choices] == [0, 1]
for seed, choice in enumerate(two.choices, 4):
    alone = client.chat.completions.create(**ask("Name a color.", max_tokens=6, temperature=1.0, seed=seed))
    assert alone.choices[0].message.content == choice.message.content
    assert all(len(token.top_logprobs) == 3 for token in choice.logprobs.content)
merged = {0: "", 1: ""}
for chunk in client.chat.completions.create(**ask("Name a color.", max_tokens=6, n=2, temperature=1.0, seed=4, stream=True)):
    for choice in chunk.choices:
        merged[choice.index] += choice.delta.content or ""
assert list(merged.values()) == [choice.message.content for choice in two.choices]
for wrong in (dict(temperature=-3), dict(max_tokens=10**9), dict(n=50), dict(top_logprobs=3)):
    try:
        client.chat.completions.create(**ask("x", **wrong))
    except openai.BadRequestError as error:
        print("400:", error)
    else:
        raise SystemExit(f"{wrong} was answered")
print("as OpenAI's client wants it")
