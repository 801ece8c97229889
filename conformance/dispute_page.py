"""The page of a dispute in a real browser: three processes play it, chromium without a window shows it.

    python3 dispute_page.py REPOPS P.rep [--input NAME=FILE ...] [--generation R.json] [--picture FILE.png] [--chromium PATH]

A referee, an honest provider and a faulty one, over a run or over a generation. Looks at the page while the dispute is under way or
over, and at the front page: that they say who lost, the node that was reached, the rounds, the bytes that decided; that nothing is
loaded, no script runs, and nothing is wider than the window. Needs nothing but Python. Ends with 0 if all of that is so.
"""

import argparse
import base64
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile

from server_page import Browser, waited


def free_port():
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]


def look(browser, url):
    browser.call("Page.navigate", url=url)
    loaded = lambda: browser.value("document.readyState") == "complete" and browser.value("location.href") == url
    waited(loaded, 60, f"{url} does not load")
    assert browser.value("document.scripts.length") == 0
    assert browser.value("performance.getEntriesByType('resource').filter(e => !e.name.endsWith('favicon.ico')).length") == 0
    return browser.value("document.body.innerText")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("repops")
    parser.add_argument("program")
    parser.add_argument("--input", action="append", default=[])
    parser.add_argument("--generation")
    parser.add_argument("--picture")
    parser.add_argument("--seed", default="3")
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium")
    arguments = parser.parse_args()
    repops = str(pathlib.Path(arguments.repops).resolve())
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    folder = pathlib.Path(tempfile.mkdtemp())
    started = []

    def start(*words):
        command = [repops, *map(str, words)]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    try:
        start("referee", "serve", "--listen", f"127.0.0.1:{port}", "--data", folder / "games", "--answer-seconds", 600)
        what = [word for pair in arguments.input for word in ("--input", pair)]
        if arguments.generation:
            what = ["--generation", arguments.generation]
        claims = []
        for name, further in (("a", []), ("b", ["--fault", "random", "--seed", arguments.seed])):
            key, claim = folder / f"{name}.pem", folder / f"{name}.json"
            subprocess.run([repops, "keygen", "-o", str(key)], check=True, stdout=subprocess.DEVNULL)
            own = ["--claim", claim, "--key", key, "--referee", url, "--poll-ms", 20]
            start("provider", "serve", arguments.program, *what, *own, *further)
            claims += ["--claim", str(claim)]
        waited(lambda: all(pathlib.Path(claim).exists() for claim in claims[1::2]), 600, "the providers make no claims")
        opened = subprocess.run([repops, "dispute", "open", *claims, "--referee", url], check=True, capture_output=True)
        page = f"{url}/disputes/{opened.stdout.decode().strip()}/page"
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            browser = Browser(arguments.chromium, profile)
            started.append(browser.process)
            early = look(browser, page)
            assert "Dispute" in early
            command = [repops, "dispute", "open", *claims, "--referee", url, "--wait", "--json"]
            found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            text = look(browser, page)
            print(json.dumps({key: found.get(key) for key in ("loser", "reason", "position", "step", "op", "node", "element")}))
            assert found["loser"] == "second" and "Loser: second" in text, text
            for word in (found["loser_key"], found["node"].split(",")[0], "The way there", "The bytes that decided", "Claims"):
                assert word in text, (word, text)
            rounds = browser.value("[...document.querySelectorAll('h2')].find(h => h.innerText == 'The way there').nextElementSibling.rows.length") - 1
            assert rounds > 3, rounds
            if arguments.generation:
                assert "sequence root" in text and f"position {found['position']}" in text, text
            for width in (1280, 400):
                browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
                wide = browser.value("document.documentElement.scrollWidth")
                print(f"{width} pixels: the page is {wide} wide, {rounds} rounds")
                assert wide <= width, wide
                if arguments.picture:
                    shot = browser.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
                    path = pathlib.Path(arguments.picture)
                    path.with_stem(f"{path.stem}-{width}").write_bytes(base64.b64decode(shot))
            front = look(browser, url + "/")
            assert "second" in front and page.split("/")[-2] in front, front
        print("the page says what the verdict says")
    finally:
        for process in started:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
