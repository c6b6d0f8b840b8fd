#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""wanted.py TESTS SET: prints the scenario files with tests that the words of TESTS name. Fails, and says why, if a
word names none."""

import ast
import fnmatch
import glob
import os
import sys

SCENARIOS = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../selftests/xensock/scenarios/*.py")


def tests_of(text):
    """The names of the tests in a scenario file, each with True if it is for the slow set only."""
    for node in ast.parse(text).body:
        names, slow = [], False
        if isinstance(node, ast.FunctionDef):
            names = [node.name]
            slow = any(getattr(decorator, "id", None) == "slow" for decorator in node.decorator_list)
        elif isinstance(node, ast.Assign):
            names = [getattr(target, "id", "") for target in node.targets]
        for name in names:
            if name.startswith("test_"):
                yield name.removeprefix("test_"), slow


def read():
    """All tests, as FILE.TEST."""
    tests = {}
    for path in glob.glob(SCENARIOS):
        with open(path, encoding="utf-8") as file:
            tests |= {f"{os.path.basename(path)[:-3]}.{name}": slow for name, slow in tests_of(file.read())}
    return tests


def problem(tests, words, which):
    """What is wrong with the words, None if nothing is."""
    for word in words.split():
        found = fnmatch.filter(tests, word)
        if not found:
            files = sorted({name.partition(".")[0] for name in tests})
            part = word.rpartition(".")[2].strip("*")
            near = [name for name in tests if part and part in name]
            if word in files:
                advice = f"for all of this file say TESTS='{word}.*'"
            elif near and len(near) <= 8:
                advice = f"similar: {' '.join(sorted(near))}"
            else:
                advice = f"words are FILE.TEST with wildcards, and the files are {' '.join(files)}"
            return f"TESTS: no test is called '{word}'; {advice}"
        if which != "slow" and all(tests[name] for name in found):
            return f"TESTS: '{word}' needs SET=slow"
    return None


def files(tests, words, which):
    """The scenario files that have tests of these names in that set."""
    return sorted({name.partition(".")[0] for word in words.split() for name in fnmatch.filter(tests, word)
                   if which == "slow" or not tests[name]})


def main():
    tests, words = read(), sys.argv[1:]
    text = problem(tests, *words)
    if text:
        sys.exit(text)
    print("\n".join(files(tests, *words)))


if __name__ == "__main__":
    main()
