#!/usr/bin/python3
"""Reads GoogleTest's JSON report and prints failures, skips with their reasons and the closing line.

summary.py REPORT.json STATUS    STATUS is the test program's exit status
"""
import json
import sys


def main() -> int:
    report = json.load(open(sys.argv[1], encoding="utf-8"))
    passed, failed, skipped = 0, [], []
    for suite in report["testsuites"]:
        for test in suite["testsuite"]:
            name = f"{suite['name']}.{test['name']}"
            if test.get("status") == "NOTRUN" or test.get("result") == "SUPPRESSED":
                continue
            if test.get("failures"):
                failed.append(name)
            elif test.get("result") == "SKIPPED":
                skipped.append(name)
            else:
                passed += 1
    for name in skipped:
        print(f"skipped: {name}")
    for name in failed:
        print(f"FAILED: {name}   alone: --gtest_filter='{name}'")
    slowest = sorted(report["testsuites"], key=lambda s: -float(s["time"].rstrip("s")))[:6]
    print("slowest suites: " + ", ".join(f"{s['name']} {s['time']}" for s in slowest))
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 0 if passed > 0 and not failed and sys.argv[2] == "0" else 1


if __name__ == "__main__":
    sys.exit(main())
