"""The chat page of `repops serve` in a real browser: a question, its answer, the receipt, the verification, Stop.

    python3 server_page.py REPOPS P.rep [--chromium PATH]

Starts the server and chromium without a window, and presses the page's own buttons by the browser's remote protocol. Needs nothing
but Python. Ends with 0 if every button does what it says.
"""

import argparse
import base64
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import urllib.request


class Browser:
    """One page of a browser, by its remote protocol over a web socket."""

    def __init__(self, path, folder):
        command = [path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        command += ["--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port_file = pathlib.Path(folder) / "DevToolsActivePort"
        waited(lambda: port_file.exists() and port_file.read_text().strip(), 60, "the browser does not start")
        port = int(port_file.read_text().split()[0])
        pages = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{port}/json").read())
        url = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        path = url.split(str(port), 1)[1]
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
        self.socket.sendall("\r\n".join(lines).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        assert b" 101 " in head, head
        self.count = 0

    def exactly(self, size):
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            assert part, "the browser has gone"
            data += part
        return data

    def message(self):
        data = b""
        while True:
            first, second = self.exactly(2)
            size = second & 127
            if size >= 126:
                size = struct.unpack(">H" if size == 126 else ">Q", self.exactly(2 if size == 126 else 8))[0]
            data += self.exactly(size)
            if first & 128:
                return json.loads(data)

    def call(self, method, **params):
        self.count += 1
        text = json.dumps({"id": self.count, "method": method, "params": params}).encode()
        size = struct.pack(">BH", 254, len(text)) if len(text) < 1 << 16 else struct.pack(">BQ", 255, len(text))
        mask = os.urandom(4)
        self.socket.sendall(b"\x81" + size + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(text)))
        while True:
            answer = self.message()
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                return answer["result"]

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")


def waited(ready, seconds, problem):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = ready()
        if found:
            return found
        time.sleep(0.2)
    raise SystemExit(problem)


def served(url):
    try:
        return urllib.request.urlopen(url).read()
    except OSError:
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repops")
    parser.add_argument("program")
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium")
    parser.add_argument("--port", type=int, default=8765)
    arguments = parser.parse_args()
    base = f"http://127.0.0.1:{arguments.port}"
    server = subprocess.Popen([arguments.repops, "serve", arguments.program, "--listen", base[7:]], stdout=subprocess.DEVNULL)
    folder = tempfile.mkdtemp()
    browser = None
    try:
        waited(lambda: served(base + "/healthz"), 120, "the server does not start")
        browser = Browser(arguments.chromium, folder)
        browser.call("Page.enable")
        browser.call("Page.navigate", url=base + "/")
        waited(lambda: browser.value("document.getElementById('model') && document.getElementById('model').textContent"), 60, "the page names no model")
        send = lambda text: browser.value(f"at('input').value = {json.dumps(text)}; at('send').click(); true")
        shown = lambda: browser.value("[...document.querySelectorAll('.message')].map(e => e.textContent)")
        button = lambda role: f"document.querySelector('[data-role={role}]')"

        send("What is the capital of France?")
        waited(lambda: browser.value(f"!!{button('verify')}"), 300, "no answer with a receipt")
        messages = shown()
        print("asked and answered:", messages)
        assert len(messages) == 2 and messages[1], messages
        browser.value(f"{button('receipt')}.click(); true")
        receipt = waited(lambda: browser.value(f"{button('receipt')}.parentElement.querySelector('pre').textContent"), 60, "no receipt")
        receipt = json.loads(receipt)
        assert receipt["format"] == "repops-generation/0" and receipt["tokens"], receipt
        print("receipt shown:", len(receipt["tokens"]), "tokens, root", receipt["trace_root"])
        browser.value(f"{button('verify')}.click(); true")
        result = lambda: browser.value(f"{button('result')}.textContent")
        waited(lambda: "verified" in result() or "refuted" in result(), 300, "no verdict")
        assert "verified: every token" in result(), result()
        print("verify:", result().strip())
        send("Write a very long story about the sea.")
        waited(lambda: len(shown()) == 4 and shown()[3], 300, "no second answer begins")
        assert browser.value("!at('stop').hidden && at('send').disabled")
        browser.value("at('stop').click(); true")
        waited(lambda: browser.value("at('stop').hidden && !at('send').disabled"), 60, "Stop does not stop")
        print("stopped after:", shown()[3][:60])
        cancelled = lambda: b"repops_requests_cancelled_total 1\n" in urllib.request.urlopen(base + "/metrics").read()
        waited(cancelled, 60, "the server does not know that the client left")
        print("the page's buttons work")
    finally:
        if browser:
            browser.process.terminate()
            browser.process.wait()
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
