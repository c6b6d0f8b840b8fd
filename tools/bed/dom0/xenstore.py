# SPDX-License-Identifier: GPL-2.0
"""Xenstore through the xensock command's own code: starting a program takes long here."""

import subprocess
import threading

import administrator

_lock = threading.Lock()
_store = administrator.Xenstore()


def read(path):
    """Returns the node's value, or None if there is no such node."""
    with _lock:
        return _store.read(path)


def write(path, value):
    with _lock:
        _store.write(path, value)


def ls(path):
    """Returns the names of the node's children."""
    with _lock:
        return _store.children(path)


def tree(path):
    """Returns everything below the node, in the form of xenstore-ls."""
    return subprocess.run(["xenstore-ls", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, check=False).stdout


def rm(path):
    with _lock:
        _store.remove(path)


def make_anew(domid):
    """Removes a guest's device that dom0 serves and makes it again in one transaction: who watches it sees only the
    new one."""
    device = administrator.device(_store, domid)

    def replace():
        policy, _ = device.policy()
        device.remove()
        device.create(policy)

    with _lock:
        _store.change(replace)
