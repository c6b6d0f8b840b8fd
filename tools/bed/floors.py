#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Shows the floors of a driver: its files, each above the files that it uses.

A file uses another if it names `crate::other`, in `use` or elsewhere. A file and the
directory of the same name count as one. Files that use each other, directly or not, are a
cycle and stand on one floor. Fails if a cycle is larger than allowed, or if a file uses
an item of the root.

usage: floors.py ROOT.rs LIMIT [ROOT.rs LIMIT]...
"""

import pathlib
import re
import sys

COMMENT_LINE = re.compile(r"//[^\n]*")
MODULE = re.compile(r'(?:#\[path = "([^"]+)"\]\s*)?(?:pub(?:\([^)]*\))? )?mod (\w+);')
# `module!` generates this from the parameters.
GENERATED = {"module_parameters"}
GROUP = re.compile(r"\bcrate::\{")
PLAIN = re.compile(r"\bcrate::(\w+)")


def first_names(text, at):
    """Yields the first name of each path in the group that begins at `at`."""
    depth, start = 1, at
    for i in range(at, len(text)):
        if text[i] in "{}":
            depth += 1 if text[i] == "{" else -1
        if depth == 0 or (depth == 1 and text[i] == ","):
            if name := re.match(r"\s*(\w+)", text[start:i]):
                yield name[1]
            start = i + 1
        if depth == 0:
            return


def used_names(path):
    """Returns the names of the crate that a file and its directory use."""
    files = [path, *sorted(path.with_suffix("").glob("**/*.rs"))]
    if path.name == "mod.rs":
        files = sorted(path.parent.glob("**/*.rs"))
    names = set()
    for file in files:
        text = COMMENT_LINE.sub("", file.read_text())
        names |= set(PLAIN.findall(text))
        for group in GROUP.finditer(text):
            names |= set(first_names(text, group.end()))
    return names


def cycles(edges):
    """Returns sets of files that reach each other, each after the sets it uses (Tarjan)."""
    order, low, stack, found = {}, {}, [], []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in sorted(edges[node]):
            if other not in order:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == order[node]:
            at = stack.index(node)
            found.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(edges):
        if node not in order:
            visit(node)
    return found


def main():
    failed = False
    for root, limit in zip(sys.argv[1::2], map(int, sys.argv[2::2])):
        root = pathlib.Path(root)
        modules = {
            name: root.parent / (path or f"{name}.rs")
            for path, name in MODULE.findall(root.read_text())
        }
        names = {name: used_names(path) for name, path in modules.items()}
        for name, others in names.items():
            if upward := others - set(modules) - GENERATED:
                print(f"{root.parent}: {name} uses what the root has: {' '.join(sorted(upward))}")
                failed = True
        edges = {name: others & set(modules) - {name} for name, others in names.items()}
        floors = {}
        for cycle in cycles(edges):
            below = {floors[other] for name in cycle for other in edges[name] if other in floors}
            floors |= dict.fromkeys(cycle, max(below, default=-1) + 1)
            if len(cycle) > 1:
                print(f"{root.parent}: a cycle of {len(cycle)}: {' '.join(cycle)}")
            failed |= len(cycle) > limit
        for floor in sorted(set(floors.values()), reverse=True):
            names = sorted(name for name in floors if floors[name] == floor)
            print(f"{root.parent}: {floor:2} {' '.join(names)}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
