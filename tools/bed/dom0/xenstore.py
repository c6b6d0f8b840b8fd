# SPDX-License-Identifier: GPL-2.0
"""Xenstore, as the xensock command talks to it: to start a program takes long in here."""

import subprocess
import threading

import administrator

_lock = threading.Lock()
_store = administrator.Xenstore()


def read(path):
    """The node's value, None if there is no such node."""
    with _lock:
        return _store.read(path)


def write(path, value):
    with _lock:
        _store.write(path, value)


def ls(path):
    """The names of the node's children."""
    with _lock:
        return _store.children(path)


def tree(path):
    """Everything below the node, as xenstore-ls shows it."""
    return subprocess.run(["xenstore-ls", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, check=False).stdout


def rm(path):
    with _lock:
        _store.remove(path)
