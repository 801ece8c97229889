"""`repops serve` under load: clients that ask, that leave, that stall, and that send no requests.

    python3 server_load.py REPOPS P.rep [--seconds 120] [--clients 32]

Every answer must have the tokens, log-probabilities and trace root of `repops generate` alone with the same request, and its
receipt must verify; what is no request must be refused with 4xx; afterwards the server must answer as before. Needs nothing but Python. Prints counts and the
server's peak memory; ends with 0 if all of that holds.
"""

import argparse
import collections
import http.client
import json
import pathlib
import random
import socket
import subprocess
import tempfile
import threading
import time

QUESTIONS = ["What is the capital of France?", "Tell me a joke.", "Name a color.", "What is 2+2?", "Who was Newton?", "Write a haiku."]
TOKENS, TEMPERATURE = 16, 0.7


class Load:
    def __init__(self, port, seconds):
        self.port, self.end = port, time.monotonic() + seconds
        self.counts, self.seen, self.lock = collections.Counter(), collections.defaultdict(set), threading.Lock()
        self.receipts = {}

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        return connection, connection.getresponse()

    def asked(self, number, **further):
        message = {"role": "user", "content": QUESTIONS[number]}
        return json.dumps(dict(messages=[message], max_tokens=TOKENS, temperature=TEMPERATURE, seed=number, **further))

    def ask(self, number):
        _, response = self.request("POST", "/v1/chat/completions", self.asked(number))
        response.read()
        if response.status == 429:
            return self.count("told to come again")
        if response.status != 200:
            return self.count(f"status {response.status}")
        name = response.getheader("x-repops-receipt")
        text = self.request("GET", f"/v1/receipts/{name}")[1].read()
        receipt = json.loads(text)
        with self.lock:
            self.counts["answers"] += 1
            self.receipts[number] = text
            self.seen[number].add((tuple(receipt["tokens"]), receipt["trace_root"], receipt["logprobs"]))

    def leave(self, number):
        body = json.dumps(dict(json.loads(self.asked(number, stream=True)), max_tokens=200))
        connection, response = self.request("POST", "/v1/chat/completions", body)
        response.read(300)
        connection.close()
        self.count("left")

    def stall(self, choose):
        """Half a request, and then nothing: the server must end it, in a minute at most."""
        whole = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{"
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(whole[: choose.randrange(len(whole))])
            while connection.recv(4096):
                pass
        self.count("stalled, cut off")

    def disturb(self, choose):
        wrong = [dict(temperature="hot"), dict(max_tokens=-1), dict(messages=[]), dict(top_p=7)]
        bodies = [b"{", b"\x00\xff" * 50] + [json.dumps(dict(json.loads(self.asked(0)), **w)).encode() for w in wrong]
        _, response = self.request("POST", "/v1/chat/completions", choose.choice(bodies))
        response.read()
        self.count("refused" if 400 <= response.status < 500 else f"garbage answered {response.status}")

    def client(self, number):
        choose = random.Random(number)
        while time.monotonic() < self.end:
            kind, question = choose.random(), choose.randrange(len(QUESTIONS))
            try:
                if kind < 0.6:
                    self.ask(question)
                elif kind < 0.78:
                    self.leave(question)
                elif kind < 0.8:
                    self.stall(choose)
                else:
                    self.disturb(choose)
            except OSError as error:
                self.count(f"failed: {error!r}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repops")
    parser.add_argument("program")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--port", type=int, default=8766)
    a = parser.parse_args()
    server = subprocess.Popen([a.repops, "serve", a.program, "--listen", f"127.0.0.1:{a.port}"], stdout=subprocess.DEVNULL)
    try:
        load = Load(a.port, 0)
        for _ in range(600):
            try:
                assert load.request("GET", "/healthz")[1].status == 200
                break
            except OSError:
                time.sleep(0.2)
        load.end = time.monotonic() + a.seconds
        threads = [threading.Thread(target=load.client, args=(n,)) for n in range(a.clients)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        load.ask(0)
        status = pathlib.Path(f"/proc/{server.pid}/status").read_text().splitlines()
        peak = next((line.split()[1] for line in status if line.startswith("VmHWM")), "0")
        print(dict(load.counts), f"peak {int(peak) // 1024} MiB")
    finally:
        server.terminate()
        server.wait()
    wrong = [what for what in load.counts if what not in ("answers", "left", "refused", "stalled, cut off", "told to come again")]
    for number, found in sorted(load.seen.items()):
        command = [a.repops, "generate", a.program, "--chat", QUESTIONS[number], "--max-tokens", str(TOKENS)]
        command += ["--temperature", str(TEMPERATURE), "--seed", str(number), "--json"]
        alone = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        if {(tokens, root) for tokens, root, _ in found} != {(tuple(alone["tokens"]), alone["trace_root"])} or len(found) != 1:
            wrong.append(f"{QUESTIONS[number]!r} differs from the answer made alone")
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            pathlib.Path(file.name).write_bytes(load.receipts[number])
            if subprocess.run([a.repops, "verify", file.name, "--program", a.program], capture_output=True).returncode:
                wrong.append(f"the receipt of {QUESTIONS[number]!r} does not verify")
    if wrong or not load.counts["answers"]:
        raise SystemExit(f"wrong: {wrong}")
    print(len(load.seen), "questions answered as alone")


if __name__ == "__main__":
    main()
