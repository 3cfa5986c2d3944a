#!/usr/bin/python3
"""Reads GoogleTest's JSON reports and prints failures, skips with their reasons and the closing line.

summary.py STATUS REPORT.json...    STATUS is the worst of the test programs' exit statuses
"""
import collections
import json
import sys


def main() -> int:
    passed, failed, skipped, took_s = 0, [], [], collections.Counter()
    for path in sys.argv[2:]:
        report = json.load(open(path, encoding="utf-8"))
        for suite in report["testsuites"]:
            took_s[suite["name"]] += float(suite["time"].rstrip("s"))
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
    print("slowest suites: " + ", ".join(f"{name} {s:.0f} s" for name, s in took_s.most_common(6)))
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 0 if passed > 0 and not failed and sys.argv[1] == "0" else 1


if __name__ == "__main__":
    sys.exit(main())
