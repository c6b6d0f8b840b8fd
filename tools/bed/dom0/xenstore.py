# SPDX-License-Identifier: GPL-2.0
"""Xenstore, by its command line tools."""

import subprocess


def _tool(name, *arguments):
    return subprocess.run([f"xenstore-{name}", *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=False)


def read(path):
    """The node's value, None if there is no such node."""
    done = _tool("read", path)
    return done.stdout.rstrip("\n") if done.returncode == 0 else None


def write(path, value):
    if _tool("write", path, str(value)).returncode:
        raise OSError(f"xenstore: cannot write {path}")


def ls(path):
    """The names of the node's children."""
    return _tool("list", path).stdout.split()


def tree(path):
    """Everything below the node, as xenstore-ls shows it."""
    return _tool("ls", path).stdout


def rm(path):
    _tool("rm", path)
