"""The page of conformance reports in a real browser: the matrix of operators by machines, the filters, the first differing element.

    python3 report_page.py REPOPS --folder FOLDER [--suite node] [--chromium PATH] [--picture FILE.png]

Runs the suite (see node_cases.py) on two instruction sets, changes one output's digest in the second report, and looks at what the
page of both shows. Needs nothing but Python. Ends with 0 if the page shows what the reports hold.
"""

import argparse
import base64
import json
import pathlib
import shutil
import subprocess
import tempfile
from collections import Counter

from server_page import Browser, waited


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repops")
    parser.add_argument("--folder", required=True)
    parser.add_argument("--suite", default="node")
    parser.add_argument("--isas", nargs=2, default=["portable", "avx2"])
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium")
    parser.add_argument("--picture", help="where to put what the browser shows")
    arguments = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp())
    browser = None
    try:
        files = [folder / f"{isa}.json" for isa in arguments.isas]
        for isa, file in zip(arguments.isas, files):
            command = [arguments.repops, "conformance", "run", "--suite", arguments.suite, "--folder", arguments.folder]
            subprocess.run(command + ["--isa", isa, "-o", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        reports = [json.loads(file.read_text()) for file in files]
        # As if the second machine had computed another bit of one case.
        changed = next(case for case in reports[1]["cases"] if case["outcome"] == "passed")
        changed["outputs"][0]["digest"] = "00" + changed["outputs"][0]["digest"][2:]
        files[1].write_text(json.dumps(reports[1]))
        page = folder / "page.html"
        subprocess.run([arguments.repops, "conformance", "page", *files, "-o", page], check=True)

        browser = Browser(arguments.chromium, str(folder / "profile"))
        browser.call("Page.enable")
        browser.call("Emulation.setDeviceMetricsOverride", width=1300, height=1000, deviceScaleFactor=1, mobile=False)
        browser.call("Page.navigate", url=page.as_uri())
        waited(lambda: browser.value("document.querySelectorAll('#matrix tbody tr').length"), 60, "the page shows no matrix")
        value = browser.value

        # The matrix: a row for each operator, a column for each machine, with the counts of the reports.
        counts = [Counter(), Counter()]
        for column, report in enumerate(reports):
            for case in report["cases"]:
                counts[column][(case["operator"], case["outcome"] == "passed")] += 1
        operators = sorted({case["operator"] for case in reports[0]["cases"]})
        rows = value("[...document.querySelectorAll('#matrix tbody tr')].map(r => [...r.cells].map(c => c.textContent))")
        assert [row[0] for row in rows] == operators, "other operators"
        for name, *cells in rows:
            for column, text in enumerate(cells):
                passed, failed = counts[column][(name, True)], counts[column][(name, False)]
                assert text == f"{passed} / {passed + failed}", (name, column, text)
        assert len(rows[0]) == 3, rows[0]
        print(f"matrix: {len(rows)} operators on {len(rows[0]) - 1} machines, as counted from the reports")
        assert value("performance.getEntriesByType('resource').length") == 0, "the page fetches something"

        # Filters.
        fill = lambda name, text: value(f"at({name!r}).value = {text!r}; at('filters').dispatchEvent(new Event('input')); true")
        shown = lambda: value("[...document.querySelectorAll('#cases tbody tr')].map(r => [...r.cells].map(c => c.textContent))")
        one = operators[len(operators) // 2]
        fill("operator", one)
        found = {row[1] for row in shown()}
        assert one in found and all(one.lower() in operator.lower() for operator in found), found
        fill("operator", "")
        fill("outcome", "differs")
        names = {row[0] for row in shown()}
        assert names == {changed["name"]}, names
        print(f"filters: operator {one}; differing between machines: {names}")
        fill("outcome", "failed")
        fill("machine", "0")
        failed = [case for case in reports[0]["cases"] if case["outcome"] == "failed"]
        rows = {row[0]: row for row in shown()}
        assert sorted(rows) == sorted(case["name"] for case in failed), rows.keys()

        # The first differing element, in hexadecimal, with the digits marked that differ.
        with_bits = [case for case in failed if case.get("difference")]
        for case in with_bits:
            text, difference = rows[case["name"]][4], case["difference"]
            for part in (difference["found"], difference["expected"], f"element {difference['element']}"):
                assert part in text, (case["name"], part, text)
            assert all(digit in "0123456789abcdef" for digit in difference["found"].removeprefix("0x")), difference
        marked = value("document.querySelectorAll('#cases .bits b').length")
        assert not with_bits or marked > 0, "no digit is marked"
        print(f"failures: {len(failed)} shown, {len(with_bits)} with the element's bits, {marked} digits marked")
        if with_bits:
            print("  for instance:", rows[with_bits[0]["name"]][0], rows[with_bits[0]["name"]][4])
        if arguments.picture:
            picture = browser.call("Page.captureScreenshot", format="png")["data"]
            pathlib.Path(arguments.picture).write_bytes(base64.b64decode(picture))
        # A click on a cell of the matrix picks its operator and machine.
        value("at('filters').reset(); show(); document.querySelectorAll('#matrix tbody tr')[0].cells[2].click(); true")
        assert value("[at('operator').value, at('machine').value].join()") == f"{operators[0]},1"
        print("the page shows what the reports hold")
    finally:
        if browser:
            browser.process.terminate()
            browser.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
