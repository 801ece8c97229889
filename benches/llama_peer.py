#!/usr/bin/env python3
"""Times llama.cpp on a GGUF file: reading a prompt, and writing after 64 and after 512 positions. Prints one JSON object.

    llama_peer.py MODEL.gguf THREADS [RUNS]

Needs `pip install xllamacpp`, whose wheel holds llama.cpp; `system` says which instructions it was built for.
"""

import json
import statistics
import sys

import xllamacpp


def main():
    path, threads = sys.argv[1], int(sys.argv[2])
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    settings = xllamacpp.CommonParams()
    settings.model.path = path
    settings.n_ctx, settings.n_batch, settings.n_ubatch, settings.n_parallel = 1024, 512, 512, 1
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    settings.verbosity = 0
    server = xllamacpp.Server(settings)

    def ask(prompt, count):
        request = {
            "prompt": [i * 7919 % 49152 for i in range(prompt)],
            "n_predict": count,
            "ignore_eos": True,
            "temperature": 0,
            "top_k": 1,
            "samplers": ["top_k"],
            "cache_prompt": False,
        }
        answer = server.handle_completions(request)
        return answer["timings"]

    ask(64, 4)
    short = [ask(64, 32) for _ in range(runs)]
    long = [ask(512, 16) for _ in range(runs)]
    middle = lambda timings, key: statistics.median(t[key] for t in timings)
    print(
        json.dumps(
            {
                "write_64": middle(short, "predicted_per_second"),
                "write_512": middle(long, "predicted_per_second"),
                "read_512": middle(long, "prompt_per_second"),
                "system": xllamacpp.get_system_info(),
            }
        )
    )


if __name__ == "__main__":
    main()
