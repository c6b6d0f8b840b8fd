# SPDX-License-Identifier: GPL-2.0
"""The xensock command: values that it accepts, and what it writes. Needs no Xen.

    python3 -m unittest discover tools/tests
"""

import contextlib
import errno
import importlib.machinery
import importlib.util
import io
import json
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import unittest
from unittest import mock

HERE = os.path.dirname(os.path.realpath(__file__))
VALUES = os.path.join(HERE, "../hosttest/tests/policy-values.txt")


def load():
    path = os.path.join(HERE, "../xensock")
    loader = importlib.machinery.SourceFileLoader("xensock", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("xensock", loader))
    with mock.patch("sys.dont_write_bytecode", True):
        loader.exec_module(module)
    return module


xensock = load()
NAMESPACE_MISSING = xensock.namespace_missing
# The tests of the command put another in its place.
POPEN = subprocess.Popen


class Values(unittest.TestCase):
    """The command and the kernel accept the same values."""

    def test_written_out(self):
        count = 0
        with open(VALUES, encoding="utf-8") as file:
            for line in file.read().splitlines():
                if not line or line.startswith("#"):
                    continue
                verdict, node, value = (line.split(" ", 2) + [""])[:3]
                with self.subTest(line):
                    if verdict == "right":
                        xensock.check(node, value)
                    else:
                        self.assertRaises(xensock.Problem, xensock.check, node, value)
                count += 1
        self.assertGreater(count, 100)

    def test_too_many_rules(self):
        xensock.check("connect-deny", "80 " * 32)
        self.assertRaises(xensock.Problem, xensock.check, "connect-deny", "80 " * 33)

    def test_long_numbers(self):
        for text in ("9" * 10, "9" * 11, "9" * 5000):
            with self.assertRaises(xensock.Problem) as caught:
                xensock.check("max-sockets", text)
            self.assertIn("is not in the range from 0 to 65536", str(caught.exception))

    def test_blanks(self):
        xensock.check("connect-deny", " \t10.0.0.1  80\n udp:53 ")
        # Unicode blanks are not blanks.
        self.assertRaises(xensock.Problem, xensock.check, "connect-deny", "80\u00a081")

    def test_messages_say_what_is_wrong(self):
        for node, value, words in (
                ("max-sockets", "many", "max-sockets: 'many' is not a number"),
                ("max-ring-order", "12", "12 is not in the range from 1 to 9"),
                ("max-socket", "1", "there is no node 'max-socket'; there are netns, "),
                ("connect-deny", "10.1.2.3/8", "say 10.0.0.0/8, or 10.1.2.3"),
                ("connect-deny", "2001:db8::1", "in brackets"),
                ("connect-deny", "80 10.0.0.1:http", "'10.0.0.1:http': 'http' is not a number"),
                ("connect-deny", "10.0.0.300", "'10.0.0.300' is not an address"),
                ("connect-deny", "tcp:80,443", "'tcp:80,443' is not a rule: [tcp:|udp:]ADDRESS"),
                ("connect-deny", "http", "blanks separate rules"),
                ("netns", "blue", "netns: 'blue' is not a number: give the id that 'ip netns set NAME ID'")):
            with self.subTest(value), self.assertRaises(xensock.Problem) as caught:
                xensock.check(node, value)
            self.assertIn(words, str(caught.exception))

    def test_settings(self):
        self.assertEqual(xensock.settings(["max-sockets=5", "connect-deny=", "netns=default"]),
                         {"max-sockets": "5", "connect-deny": "", "netns": None})
        for words in (["max-sockets"], ["max-sockets=5", "max-sockets=6"], ["max-sockets=x"],
                      ["nothing=default"], ["=5"]):
            self.assertRaises(xensock.Problem, xensock.settings, words)


class Store(xensock.Xenstore):
    """A xenstore of the test's own, with the command's side of the protocol."""

    def __init__(self, nodes):
        self._transaction = 0
        self.nodes = dict(nodes)
        self.permissions = {}
        self.events = []
        self.conflicts = 0
        self.refused = ()

    def _ask(self, kind, *strings, value=b""):
        path = strings[0]
        if kind == self.BEGIN:
            self._before = dict(self.nodes)
            return "7\0"
        if kind == self.END:
            return self._end(path)
        if kind == self.WRITE:
            if 16 + len(path) + 1 + len(value) > self.MAX_MESSAGE:
                raise OSError(errno.E2BIG, os.strerror(errno.E2BIG), path)
            if path in self.refused:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            self._make(path)
            self.nodes[path] = value.decode()
            self.events.append(path if not self._transaction else None)
            return "OK\0"
        if path not in self.nodes:
            raise FileNotFoundError(errno.ENOENT, "ENOENT", path)
        if kind == self.LIST:
            below = [node[len(path) + 1:] for node in self.nodes if node.startswith(path + "/")]
            return "".join(name + "\0" for name in below if "/" not in name)
        if kind == self.READ:
            return self.nodes[path]
        if kind == self.REMOVE:
            self.nodes = {node: value for node, value in self.nodes.items()
                          if not (node + "/").startswith(path + "/")}
        elif kind == self.PERMIT:
            self.permissions[path] = list(strings[1:])
        return "OK\0"

    def _make(self, path):
        """Makes a node and missing parents, with the permissions of its parent."""
        if path not in self.nodes and path.count("/") > 1:
            parent = path.rpartition("/")[0]
            self._make(parent)
            self.nodes[path] = ""
            self.permissions[path] = self.permissions.get(parent, ["n0"])

    def _end(self, verdict):
        if verdict == "T" and self.conflicts:
            self.conflicts -= 1
            self.nodes = self._before
            raise BlockingIOError(errno.EAGAIN, "EAGAIN")
        if verdict == "F":
            self.nodes = self._before
        return "OK\0"

    def put(self, nodes):
        for path, value in nodes.items():
            self.write(path, value)


DOMAINS = {
    "/local/domain/0/name": "Domain-0",
    "/local/domain/3/name": "net",
    "/local/domain/5/name": "g1",
    "/local/domain/6/name": "7",
    "/local/domain/7/name": "g7",
}

FRONT = "/local/domain/5/device/xensock/0"
BACK = "/local/domain/0/backend/xensock/5/0"


class Caller(unittest.TestCase):
    """Calls the command."""

    def run_command(self, *words):
        """Returns the exit status, the output and the error output."""
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            try:
                status = xensock.main(list(words))
            except SystemExit as end:
                status = end.code
        return status, out.getvalue(), errors.getvalue()

    def json(self, *words):
        status, out, _ = self.run_command(*words, "--json")
        self.assertEqual(status, 0, out)
        return json.loads(out)


class Managing(Caller):
    """Calls the command on a host with domains."""

    def setUp(self):
        self.store = Store({"domid": "0"})
        self.store.put(DOMAINS)
        for patch in (mock.patch.object(xensock, "Xenstore", lambda: self.store),
                      mock.patch.object(xensock, "POLICIES", "/nowhere"),
                      mock.patch.object(xensock, "BACKEND_BUS", "/nowhere"),
                      mock.patch.object(xensock.syslog, "syslog"),
                      mock.patch.object(xensock, "namespace_missing", lambda *_: None)):
            patch.start()
            self.addCleanup(patch.stop)

    def remaining_nodes(self):
        """Returns the nodes of the device."""
        return [node for node in self.store.nodes if node.startswith((FRONT, BACK))]

    def fails(self, *words, message="", status=1):
        before = dict(self.store.nodes)
        done, _, errors = self.run_command(*words)
        self.assertEqual(done, status, errors)
        self.assertIn(message, errors)
        self.assertEqual(self.store.nodes, before, "something was changed all the same")


class Commands(Managing):
    """The effect of the commands on xenstore."""

    def test_attach(self):
        self.json("attach", "g1", "max-sockets=5", "bind-allow=tcp:80 tcp:0", "netns=default")
        nodes = self.store.nodes
        self.assertEqual(nodes[f"{FRONT}/backend"], BACK)
        self.assertEqual(nodes[f"{FRONT}/backend-id"], "0")
        self.assertEqual(nodes[f"{BACK}/frontend"], FRONT)
        self.assertEqual(nodes[f"{BACK}/frontend-id"], "5")
        self.assertEqual(nodes[f"{BACK}/online"], "1")
        self.assertEqual(nodes[f"{BACK}/policy/max-sockets"], "5")
        self.assertEqual(nodes[f"{BACK}/policy/bind-allow"], "tcp:80 tcp:0")
        self.assertNotIn(f"{BACK}/policy/netns", nodes)
        self.assertEqual((nodes[f"{FRONT}/state"], nodes[f"{BACK}/state"]), ("1", "1"))

    def test_changes_are_transactions(self):
        self.store.events.clear()
        self.store.conflicts = 3
        self.json("attach", "g1", "max-sockets=5")
        self.json("set", "g1", "max-sockets=default", "max-backlog=7")
        self.assertTrue(self.store.events)
        self.assertEqual(set(self.store.events), {None}, "something was written by itself")
        self.assertEqual(self.store.conflicts, 0)
        self.store.conflicts = 1000
        self.fails("set", "g1", "max-backlog=8", message="all the time")

    def test_permissions(self):
        self.json("attach", "g1", "--backend=net", "max-backlog=5")
        back = "/local/domain/3/backend/xensock/5/0"
        self.assertEqual(self.store.nodes[f"{FRONT}/backend"], back)
        self.assertEqual(self.store.nodes[f"{FRONT}/backend-id"], "3")
        self.assertEqual(self.store.permissions[FRONT + "/backend"], ["n5", "r3"])
        self.assertEqual(self.store.permissions[back + "/frontend"], ["n3", "r5"])
        self.assertEqual(self.store.permissions[back + "/policy"], ["n3"])
        self.json("set", "g1", "max-sockets=5")
        self.assertEqual(self.store.permissions[back + "/policy/max-sockets"], ["n3"])

    def test_domains(self):
        self.json("attach", "7")  # the number comes before the name
        self.assertIn("/local/domain/7/device/xensock/0/state", self.store.nodes)
        self.fails("attach", "g2", message="there is no domain 'g2'")
        self.fails("attach", "99", message="there is no domain '99'")
        self.fails("attach", "g1", "--backend=g1", message="cannot serve itself")

    def test_attach_twice(self):
        self.json("attach", "g1")
        self.fails("attach", "g1", message="has a xensock device already, served by Domain-0 (0)")
        self.fails("attach", "g1", "--type=pvcalls", message="has a xensock device already")

    def test_several(self):
        self.json("attach", "g1")
        self.json("attach", "g1", "--backend=net", "--device=1")
        self.assertEqual(self.store.nodes["/local/domain/5/device/xensock/1/backend"],
                         "/local/domain/3/backend/xensock/5/1")
        self.fails("attach", "g1", "--device=1", message="has a xensock device already, served by net (3)")
        self.fails("show", "g1", message="has several devices: --type=xensock --device=0, "
                                         "--type=xensock --device=1")
        self.assertEqual(self.json("show", "g1", "--device=1")["backend"]["id"], 3)
        self.fails("detach", "g1", "--device=2", message="no xensock or pvcalls device with the number 2")
        self.json("apply", "g1", "--device=0")
        self.fails("apply", "g1", "--device=1", message="that serves the device, net (3): run this there")
        self.store.remove("/local/domain/3")
        self.fails("attach", "g1", "--device=1", message="is gone: detach it first, by "
                   "'xensock detach g1 --type=xensock --device=1'")
        self.json("detach", "g1", "--device=1")
        self.json("attach", "g1", "--device=1")
        self.assertEqual(self.json("show", "g1", "--device=0")["backend"]["id"], 0)

    def test_attach_after_the_backend_has_gone(self):
        self.json("attach", "g1", "--backend=net")
        self.store.remove("/local/domain/3")
        shown = self.json("show", "g1")
        self.assertIsNone(shown["backend"])
        self.fails("set", "g1", "max-sockets=5", message="attach it again")
        self.json("attach", "g1")
        self.assertNotIn(f"{FRONT}/state", self.store.nodes)
        self.assertEqual(self.store.nodes["/local/domain/5/device/xensock/1/backend"],
                         "/local/domain/0/backend/xensock/5/1")

    def test_attach_after_the_frontend_was_removed(self):
        self.json("attach", "g1")
        self.store.remove(FRONT)
        with mock.patch.object(xensock.time, "monotonic", side_effect=range(0, 1000, 3)), \
                mock.patch.object(xensock.time, "sleep"):
            self.json("attach", "g1")
        self.assertIn(f"{FRONT}/state", self.store.nodes)

    def test_detach(self):
        self.json("attach", "g1")
        self.json("attach", "g1", "--device=1")
        self.json("detach", "g1", "--device=1")
        self.assertEqual(self.store.nodes[f"{BACK}/state"], "1")
        self.json("detach", "g1")
        self.assertEqual(self.remaining_nodes(), [])
        self.fails("detach", "g1", message="has no xensock or pvcalls device")

    def test_nothing_is_left(self):
        """The directory above that of a device goes with the last device of a domain."""
        self.json("attach", "g1")
        self.json("detach", "g1")
        self.assertNotIn("/local/domain/0/backend/xensock/5", self.store.nodes)
        # The driver removes only its own. The device of a domain that is gone may be in use, too.
        base = "/local/domain/{}/backend/{}"
        self.store.put({base.format(0, "xensock/4"): "", base.format(0, "pvcalls/4"): "", base.format(3, "xensock/4"): "",
                        base.format(0, "xensock/7"): "", base.format(0, "xensock/8/0/state"): "4"})
        self.json("attach", "g1")
        self.assertNotIn(base.format(0, "xensock/4"), self.store.nodes)
        self.assertNotIn(base.format(0, "pvcalls/4"), self.store.nodes)
        self.assertIn(base.format(3, "xensock/4"), self.store.nodes)
        self.assertIn(base.format(0, "xensock/7"), self.store.nodes)
        self.assertIn(base.format(0, "xensock/8/0/state"), self.store.nodes)
        self.json("attach", "g7", "--backend=net")
        self.assertNotIn(base.format(3, "xensock/4"), self.store.nodes)

    def test_detach_of_nobody(self):
        self.fails("detach", "77", message="there is no domain 77, and none has left a device behind")

    def test_detach_of_a_guest_that_is_gone(self):
        self.json("attach", "g1")
        self.store.write(f"{BACK}/state", "4")
        self.store.remove("/local/domain/5")
        self.json("detach", "5")
        self.assertEqual(self.remaining_nodes(), [])

    def test_detach_waits(self):
        self.json("attach", "g1")
        self.store.write(f"{BACK}/state", "4")
        self.store.write(f"{FRONT}/state", "4")

        def close(_):
            self.store.write(f"{BACK}/state", "6")

        with mock.patch.object(xensock.time, "sleep", close):
            self.assertTrue(self.json("detach", "g1")["closed"])

    def test_detach_of_a_closed_device(self):
        """No driver would see that it is to close, and write that it is closed."""
        self.json("attach", "g1")
        self.store.put({f"{BACK}/state": "6", f"{FRONT}/state": "6"})
        with mock.patch.object(xensock.time, "sleep", side_effect=AssertionError), \
                mock.patch.object(self.store, "write", wraps=self.store.write) as write:
            self.assertTrue(self.json("detach", "g1")["closed"])
        self.assertNotIn(f"{BACK}/state", [call.args[0] for call in write.call_args_list])
        self.assertEqual(self.remaining_nodes(), [])

    def test_set(self):
        self.json("attach", "g1", "max-sockets=5")
        shown = self.json("set", "g1", "connect-deny=10.0.0.0/8 udp:53", "max-backlog=7")
        self.assertEqual(shown["policy"], {"max-sockets": "5", "max-backlog": "7",
                                           "connect-deny": "10.0.0.0/8 udp:53"})
        self.json("set", "g1", "max-sockets=default")
        self.assertNotIn(f"{BACK}/policy/max-sockets", self.store.nodes)
        self.json("set", "g1", "max-sockets=default")
        self.fails("set", "g1", "max-backlog=8", "max-sockets=all", message="not a number")
        self.fails("set", "g1", message="NODE=VALUE is expected\nUsage: xensock set DOMAIN NODE=VALUE...\n", status=2)
        self.fails("set", "g7", "max-sockets=1", message="domain g7 (7) has no xensock or pvcalls device")
        self.fails("set", "g1", "--backend=net", "max-sockets=1", message="device that net (3) serves: see")
        # Words are read before anything is asked of xenstore.
        with mock.patch.object(xensock, "Xenstore", side_effect=AssertionError):
            self.fails("set", "g1", "max-sockets=all", message="not a number")

    def test_the_guest_cannot_redirect(self):
        self.json("attach", "g1")
        self.store.put({f"{FRONT}/backend": "/local/domain/3", f"{FRONT}/backend-id": "3"})
        self.json("set", "g1", "max-sockets=5")
        self.assertEqual(self.store.nodes[f"{BACK}/policy/max-sockets"], "5")

    def test_show(self):
        self.json("attach", "g1", "max-sockets=5")
        self.store.put({f"{BACK}/policy/max-backlog": "lots\x1b[2J", f"{BACK}/policy/max-bread": "1",
                        f"{BACK}/state": "2", f"{FRONT}/state": "\x1b[2J"})
        shown = self.json("show", "g1")
        self.assertEqual(set(shown["wrong"]), {"max-backlog", "max-bread"})
        self.assertEqual(shown["backend"]["state"], 2)
        self.assertIsNone(shown["guest"]["state"])
        _, out, _ = self.run_command("show", "g1")
        self.assertIn("InitWait (2)", out)
        self.assertIn("max-sockets      5\n", out)
        self.assertIn("max-listeners    (default: 128)", out)
        self.assertIn("max-backlog      lots\\x1b[2J\n                 WRONG", out)
        self.assertNotIn("\x1b", out)
        self.assertIn("max-bread        WRONG, not used", out)
        self.store.put({f"{BACK}/policy/local-ports": "0-5", f"{BACK}/policy/netns": "blue"})
        _, out, _ = self.run_command("show", "g1")
        self.assertIn("local-ports      0-5\n                 WRONG, the default is used: local-ports: 0 is not", out)
        self.assertIn("netns            blue\n                 WRONG, taken in its safest sense", out)

    def test_show_says_why_nothing_is_known_of_refusals(self):
        def said():
            return next(line for line in self.run_command("show", "g1")[1].splitlines() if line.startswith("refused"))

        self.json("attach", "g1")
        with tempfile.TemporaryDirectory() as debugfs, mock.patch.object(xensock, "DEBUGFS", debugfs), \
                mock.patch.object(xensock, "BACK_COUNTS", f"{debugfs}/xensock_back"):
            self.assertEqual(said(), f"refused      not known: mount -t debugfs debugfs {debugfs}")
            os.makedirs(f"{debugfs}/xensock_back")
            self.assertEqual(said(), "refused      not known: xensock_back does not have the device")
        self.json("detach", "g1")
        self.json("attach", "g1", "--backend=net")
        self.assertEqual(said(), "refused      not known: see 'xensock counts' in the backend's domain")
        self.store.remove("/local/domain/3")
        self.assertEqual(said(), "refused      not known: the domain that has served the device is gone")

    def test_driver_without_policies(self):
        """The C driver may serve a device of type pvcalls, and enforces nothing."""
        said = "no policy is in force: a driver that has none, such as pvcalls_back, serves the device in "
        with tempfile.TemporaryDirectory() as bus, mock.patch.object(xensock, "BACKEND_BUS", bus):
            link = f"{bus}/devices/pvcalls-5-0/driver"
            os.makedirs(f"{bus}/drivers/pvcalls")
            os.makedirs(os.path.dirname(link))
            self.assertIn("pvcalls_back is loaded", self.json("attach", "g1", "--type=pvcalls")["warning"])
            os.symlink("../../drivers/pvcalls", link)
            self.assertIn(said + "Domain-0 (0)", self.json("show", "g1")["warning"])
            self.fails("set", "g1", "max-sockets=5", message=said)
            self.fails("apply", "g1", message=said)
            # The policy is there for a driver that comes next, which udev would not tell.
            back = "/local/domain/0/backend/pvcalls/5/0"
            self.store.remove(f"{back}/policy")
            self.assertEqual(self.run_command("apply", "--new", "pvcalls-5-0")[0], 1)
            self.assertIn(f"{back}/policy/complete", self.store.nodes)
            os.remove(link)
            os.makedirs(f"{bus}/drivers/xensock_back")
            os.symlink("../../drivers/xensock_back", link)
            self.assertIsNone(self.json("show", "g1")["warning"])
            self.json("set", "g1", "max-sockets=5")
            self.json("apply", "g1")
        self.json("attach", "g7", "--type=pvcalls", "--backend=net")
        back = "/local/domain/3/backend/pvcalls/7/0"
        self.json("set", "g7", "max-sockets=5")
        for state in (2, 4):
            self.store.write(f"{back}/state", state)
            self.assertIn(said + "net (3)", self.json("show", "g7")["warning"])
            self.fails("set", "g7", "max-sockets=5", message=said)
        self.store.write(f"{back}/feature-native", 1)
        self.assertIsNone(self.json("show", "g7")["warning"])
        self.json("set", "g7", "max-sockets=5")

    def test_not_the_manager(self):
        with mock.patch.object(self.store, "children", side_effect=PermissionError(errno.EACCES, "EACCES", "x")):
            self.fails("list", message="usually dom0: run this there")
            self.fails("counts", "g1", message="give the number of 'g1'")
            self.fails("apply", "g1", message="such as xensock-5-0")

    def test_list(self):
        self.assertEqual(self.json("list"), [])
        self.json("attach", "g1")
        self.json("attach", "g7", "--backend=net", "--type=pvcalls")
        self.store.write("/local/domain/3/backend/xensock/nonsense/0", "")
        devices = self.json("list")
        self.assertEqual([(device["guest"]["id"], device["type"], device["backend"]["id"])
                          for device in devices], [(5, "xensock", 0), (7, "pvcalls", 3)])
        _, out, _ = self.run_command("list", "--type", "pvcalls")
        self.assertEqual(out.splitlines()[1].split(), ["7", "g7", "pvcalls", "net", "(3)", "1", "/", "1"])

    def test_usage(self):
        for words in ((), ("frob",), ("show",), ("show", "g1", "g2"), ("list", "g1"), ("list", "-x"),
                      ("show", "g1", "--type=vif"), ("set", "g1"), ("list", "--device=1"),
                      ("show", "g1", "--device=x"), ("apply", "g1", "--save")):
            self.fails(*words, status=2, message="\nUsage: xensock ")
        for option in ("--device=1", "--type=xensock", "--backend=0"):
            self.fails("apply", "xensock-5-0", option, status=2, message="'xensock-5-0' is a device already")
        # Each command says how it is called.
        for name in (*xensock.COMMAND_NAMES, "run"):
            self.fails(name, "--frob", status=2, message=f"--frob not recognized\nUsage: xensock {name}")
        self.fails("list", "g1", status=2, message="\nUsage: xensock list\n")
        self.fails("show", status=2, message="\nUsage: xensock show DOMAIN\n")

    def test_errors_as_json(self):
        status, out, _ = self.run_command("show", "nobody", "--json")
        self.assertEqual((status, json.loads(out)), (1, {"error": "there is no domain 'nobody': see 'xl list'"}))


class Files(Managing):
    """Policies in files named after guests."""

    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.addCleanup(directory.cleanup)
        self.files = f"{directory.name}/xensock"
        self.messages = []
        for patch in (mock.patch.object(xensock, "POLICIES", self.files),
                      mock.patch.object(xensock.syslog, "syslog", lambda _, text: self.messages.append(text))):
            patch.start()
            self.addCleanup(patch.stop)

    def file(self, name, text):
        os.makedirs(self.files, exist_ok=True)
        with open(f"{self.files}/{name}", "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, name):
        with open(f"{self.files}/{name}", encoding="utf-8") as file:
            return file.read()

    def device(self, guest=5, back="/local/domain/0/backend/pvcalls/{}/0"):
        """Writes the nodes that xl writes."""
        back, front = back.format(guest), f"/local/domain/{guest}/device/pvcalls/0"
        self.store.put({f"{back}/frontend": front, f"{back}/frontend-id": str(guest), f"{back}/state": "1",
                        f"{back}/online": "1", f"{front}/backend": back, f"{front}/state": "1"})
        return back

    def policy(self, back):
        start = f"{back}/policy/"
        return {node.removeprefix(start): value for node, value in self.store.nodes.items()
                if node.startswith(start)}

    def apply_new(self, guest=5):
        return self.run_command("apply", "--new", f"pvcalls-{guest}-0")

    def test_by_name(self):
        self.file("g1.conf", "# Ünser\n\n max-sockets=5\nconnect-allow=10.0.0.1  80\nmax-backlog=default\n")
        self.file("default.conf", "max-sockets=6")
        back = self.device()
        self.assertEqual(self.apply_new()[0], 0)
        self.assertEqual(self.policy(back), {"max-sockets": "5", "connect-allow": "10.0.0.1 80", "complete": "1"})
        self.assertEqual(self.store.permissions[f"{back}/policy"], ["n0"])
        self.assertEqual(self.apply_new(guest=7)[0], 1)
        back = self.device(guest=7)
        self.assertEqual(self.apply_new(guest=7)[0], 0)
        self.assertEqual(self.policy(back), {"max-sockets": "6", "complete": "1"})

    def test_file_without_settings(self):
        """A guest's file replaces the common one entirely, unless nothing is in it."""
        self.file("default.conf", "connect-allow=80\nmax-sockets=6")
        back = self.device()
        for text, policy in (("", {"connect-allow": "80", "max-sockets": "6"}),
                             ("# nothing yet\n", {"connect-allow": "80", "max-sockets": "6"}),
                             ("max-groups=default", {}), ("max-groups=5", {"max-groups": "5"})):
            self.file("g1.conf", text)
            self.json("apply", "g1")
            self.assertEqual(self.policy(back), policy | {"complete": "1"})

    def test_save_to_a_file_without_settings(self):
        self.file("default.conf", "connect-allow=80")
        self.file("g1.conf", "# mine\n")
        back = self.device()
        self.apply_new()
        self.json("set", "g1", "max-sockets=6", "--save")
        self.assertEqual(self.read("g1.conf"), "# mine\nconnect-allow=80\nmax-sockets=6\n")
        # A file whose last setting is taken back stays the guest's.
        self.json("set", "g1", "max-sockets=default", "connect-allow=default", "--save")
        self.assertEqual(self.read("g1.conf"), "# mine\nmax-sockets=default\nconnect-allow=default\n")
        self.json("apply", "g1")
        self.assertEqual(self.policy(back), {"complete": "1"})

    def test_new_again(self):
        """udev runs this for a device that is taken by a driver, too, whose policy is there by then."""
        self.file("g1.conf", "max-sockets=5")
        back = self.device()
        self.assertEqual(self.apply_new()[0], 0)
        self.json("set", "g1", "max-sockets=6")
        for text in ("max-sockets=7", "max-sockets=all"):
            for state in ("1", "4"):
                self.file("g1.conf", text)
                self.store.write(f"{back}/state", state)
                self.assertEqual(self.apply_new()[0], 0)
                self.assertEqual(self.policy(back), {"max-sockets": "6", "complete": "1"})
        self.assertEqual(self.messages, [])
        self.assertIsNone(self.json("show", "g1")["policy_error"])

    def test_without_files(self):
        back = self.device()
        self.assertEqual(self.apply_new()[0], 0)
        self.assertEqual(self.policy(back), {"complete": "1"})
        self.assertEqual(self.messages, [])

    def test_errors_allow_nothing(self):
        for text, message in (("max-sockets=many", ":1: max-sockets: 'many' is not a number"),
                              ("\n#\nmax-bread=1", ":3: there is no node 'max-bread'"),
                              ("max-sockets", ":1: 'max-sockets': NODE=VALUE is expected"),
                              ("max-sockets=1\nmax-sockets=1", ":2: max-sockets is given twice"),
                              ("#" * 70000, "it is too long"),
                              ("max-sockets=" + "9" * 5000, ":1: max-sockets: 99"),
                              ("connect-deny=" + "x" * 60000, ":1: connect-deny: 'xx"), ("\udcff", "this is not a text")):
            with self.subTest(text[:20]):
                self.file("g1.conf", "")
                with open(f"{self.files}/g1.conf", "wb") as file:
                    file.write(text.encode(errors="surrogateescape"))
                self.messages.clear()
                back = self.device()
                self.store.remove(f"{back}/policy")
                self.assertEqual(self.apply_new()[0], 1)
                self.assertEqual(self.policy(back), {"connect-allow": "", "bind-allow": "", "complete": "1"})
                self.assertIn(message, self.messages[0])
                self.assertIn(f"{self.files}/g1.conf", self.messages[0])
                self.assertEqual(self.store.permissions[f"{back}/policy-error"], ["n0"])
                self.assertIn(message, self.json("show", "g1")["policy_error"])
                self.assertIn("NOTHING IS ALLOWED", self.run_command("show", "g1")[1])
                self.fails("set", "g1", "max-sockets=7", "--save", message=message)
                self.fails("apply", "g1", message=message)
        # A corrected file applies with the next command.
        self.file("g1.conf", "max-sockets=3")
        self.json("apply", "g1")
        self.assertEqual(self.policy(back), {"max-sockets": "3", "complete": "1"})
        self.assertIsNone(self.json("show", "g1")["policy_error"])

    def test_blanks_take_no_space(self):
        """What xenstore takes in one message suffices for every policy that is valid."""
        self.file("g1.conf", f"connect-allow={' ' * 20000}80{' ' * 20000}81\n")
        back = self.device()
        self.assertEqual(self.apply_new()[0], 0)
        self.assertEqual(self.policy(back), {"connect-allow": "80 81", "complete": "1"})
        rule = "udp:[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128]:65534-65535"
        self.json("set", "g1", f"connect-deny={' '.join([rule] * xensock.MAX_RULES)}")

    def test_policy_that_cannot_be_written(self):
        self.file("g1.conf", "max-sockets=5")
        back = self.device()
        self.store.refused = (f"{back}/policy/max-sockets",)
        status, _, errors = self.run_command("apply", "--new", "pvcalls-5-0")
        self.assertEqual(status, 1)
        self.assertIn("No space left on device", errors)
        self.assertEqual(self.policy(back), {"connect-allow": "", "bind-allow": "", "complete": "1"})
        self.assertIn("No space left on device", self.json("show", "g1")["policy_error"])
        self.fails("apply", "g1", message="No space left")
        self.store.remove(f"{back}/policy")
        self.store.refused += (f"{back}/policy/complete",)
        self.assertEqual(self.run_command("apply", "--new", "pvcalls-5-0")[0], 1)
        self.assertEqual(self.policy(back), {})

    def test_set_before_the_file_was_applied(self):
        """The file counts too, and what was set counts more."""
        self.file("g1.conf", "max-sockets=5\nmax-groups=9\nnetns=1")
        back = self.device()
        self.json("set", "g1", "max-backlog=3", "max-groups=8", "netns=default")
        merged = {"max-sockets": "5", "max-groups": "8", "max-backlog": "3", "complete": "1"}
        self.assertEqual(self.policy(back), merged)
        self.assertEqual(self.apply_new()[0], 0)
        self.assertEqual(self.policy(back), merged)
        self.json("apply", "g1")
        self.assertEqual(self.policy(back), {"max-sockets": "5", "max-groups": "9", "netns": "1", "complete": "1"})
        self.file("g7.conf", "max-sockets=all")
        self.device(guest=7)
        self.fails("set", "g7", "max-backlog=3", message="g7.conf:1: max-sockets")

    def test_attach(self):
        self.file("g7.conf", "max-sockets=5\nmax-backlog=9")
        self.json("attach", "g7", "max-backlog=3")
        self.assertEqual(self.policy("/local/domain/0/backend/xensock/7/0"),
                         {"max-sockets": "5", "max-backlog": "3", "complete": "1"})
        self.file("net.conf", "max-sockets=all")
        self.fails("attach", "net", message="net.conf:1: max-sockets")

    def test_names(self):
        for name, path in (("web 1/../x", "web%201%2f..%2fx"), ("default", "%64efault"), (".hidden", "%2ehidden"),
                           ("g1--incoming", "g1"), ("é", "%c3%a9"), ("50%", "50%25"), ("g1", "g1")):
            self.assertEqual(xensock.policy_path(name), f"{self.files}/{path}.conf")

    def test_namespace_of_the_file(self):
        """A file may name a namespace that this domain does not have."""
        said = "netns: no network namespace here has the id 7: ip netns set NAME 7"
        self.file("g1.conf", "netns=7")
        self.file("g7.conf", "netns=7")
        back = self.device()
        listed = subprocess.CompletedProcess([], 0, "nsid 1 (iproute2 netns name: a)\nnsid 77 \n", "")
        os.makedirs(f"{self.files}/../bus/drivers/xensock_back")
        with mock.patch.object(xensock, "namespace_missing", NAMESPACE_MISSING), \
                mock.patch.object(xensock, "BACKEND_BUS", f"{self.files}/../bus"), \
                mock.patch.object(xensock.subprocess, "run", return_value=listed):
            self.assertIn(said, self.json("set", "g1", "max-sockets=5")["warning"])
            self.store.remove(f"{back}/policy")
            status, _, errors = self.run_command("apply", "--new", "pvcalls-5-0")
            self.assertEqual((status, self.policy(back)), (0, {"netns": "7", "complete": "1"}))
            self.assertIn(said, errors)
            self.assertIn(f"pvcalls-5-0: {said}", self.messages[0])
            self.assertIn(said, self.json("show", "g1")["warning"])
            self.assertIn(said, self.json("apply", "g1")["warning"])
            self.assertEqual(len(self.messages), 1)
            self.fails("set", "g1", "netns=7", message=said)
            self.fails("attach", "g7", message=said)
            self.json("attach", "g7", "netns=1")
            self.assertIsNone(self.json("show", "g7")["warning"])
            self.store.write(f"{back}/policy/netns", "(")
            self.assertIsNone(self.json("show", "g1")["warning"])

    def test_names_in_upper_case(self):
        self.store.write("/local/domain/5/name", "günther")
        self.file("g%C3%BCnther.conf", "max-sockets=5")
        back = self.device()
        self.apply_new()
        self.assertEqual(self.policy(back), {"max-sockets": "5", "complete": "1"})
        self.json("set", "5", "max-sockets=6", "--save")
        self.assertEqual(os.listdir(self.files), ["g%C3%BCnther.conf"])
        self.file("g%c3%bcnther.conf", "max-sockets=7")
        self.assertEqual(self.json("apply", "5")["policy"]["max-sockets"], "7")

    def test_the_file_is_named(self):
        self.device()
        for name, text in ((None, ""), ("default.conf", "max-sockets=5"), ("g1.conf", "max-sockets=6")):
            if name:
                self.file(name, text)
            path = f"{self.files}/{name}" if name else None
            line = f"file         {path or f'none in {self.files}: the built-in default'}\n"
            self.assertEqual(self.run_command("apply", "g1"), (0, line, ""))
            self.assertIn(line, self.run_command("show", "g1")[1])
            self.assertEqual((self.json("apply", "g1")["file"], self.json("show", "g1")["file"]), (path, path))
        self.assertEqual(self.run_command("apply", "--new", "pvcalls-5-0"), (0, "", ""))
        self.file("g1.conf", "max-sockets=all")
        self.assertIn(f"file         {path}:1: max-sockets: 'all' is not", self.run_command("show", "g1")[1])
        shown = self.json("show", "g1")
        self.assertEqual((shown["file"], shown["policy_error"]), (None, None))
        self.assertIn("g1.conf:1", shown["file_error"])
        self.json("attach", "g7", "--backend=net")
        self.assertNotIn("\nfile ", self.run_command("show", "g7")[1])

    def test_driver_domain(self):
        """A driver domain may not read the names of guests, unless dom0 has written them to the
        device."""
        self.store.nodes["domid"] = "3"
        back = self.device(back="/local/domain/3/backend/pvcalls/{}/0")
        read = self.store.read

        def deny(path):
            if path.startswith("/local/domain/5/"):
                raise PermissionError(errno.EACCES, "EACCES", path)
            return read(path)

        self.file("default.conf", "max-sockets=6")
        with mock.patch.object(self.store, "read", deny), mock.patch.object(
                xensock.Device, "states", lambda _: (None, 1)):
            self.assertEqual(self.apply_new()[0], 0)
            self.assertEqual(self.policy(back), {"max-sockets": "6", "complete": "1"})
            self.store.remove(f"{back}/policy")
            self.file("g1.conf", "max-sockets=5")
            self.assertEqual(self.apply_new()[0], 1)
            self.assertEqual(self.policy(back)["connect-allow"], "")
            self.store.remove(f"{back}/policy")
            self.store.write(f"{back}/guest-name", "g1")
            self.assertEqual(self.apply_new()[0], 0)
            self.assertEqual(self.policy(back), {"max-sockets": "5", "complete": "1"})

    def test_attach_tells_a_driver_domain_the_name(self):
        self.json("attach", "g1", "--backend=net")
        back = "/local/domain/3/backend/xensock/5/0"
        self.assertEqual(self.store.nodes[f"{back}/guest-name"], "g1")
        self.assertEqual(self.policy(back), {})

    def test_words_for_a_driver_domain(self):
        """Its file is applied there, under the words of attach and of set."""
        self.fails("attach", "g1", "--backend=net", "netns=default", message="netns=default: the file is in net (3)")
        self.json("attach", "g1", "--backend=net", "max-backlog=3")
        back = "/local/domain/3/backend/xensock/5/0"
        self.assertEqual(self.store.nodes[f"{back}/guest-name"], "g1")
        self.assertEqual(self.policy(back), {"max-backlog": "3"})
        self.assertEqual(self.store.permissions[f"{back}/policy/max-backlog"], ["n3"])
        self.assertIn("run 'xensock apply' in the domain that serves", self.json("show", "g1")["warning"])
        self.assertIn("net (3) has not given the device its policy", self.json("set", "g1", "max-groups=7")["warning"])
        self.assertEqual(self.policy(back), {"max-backlog": "3", "max-groups": "7"})
        self.fails("set", "g1", "max-groups=default", message="net (3) has not given the device its policy")
        self.store.write(f"{back}/policy/max-bread", "1")
        self.file("g1.conf", "max-backlog=2\nmax-sockets=5")
        for words in (("--new",), ()):
            before = dict(self.store.nodes)
            self.store.nodes["domid"] = "3"
            self.json("apply", *words, "xensock-5-0")
            self.store.nodes["domid"] = "0"
            self.assertEqual(self.policy(back), {"max-backlog": "3", "max-groups": "7", "max-sockets": "5", "complete": "1"})
            applied, self.store.nodes = self.store.nodes, before
        self.store.nodes = applied
        shown = self.json("set", "g1", "max-groups=default")
        self.assertIsNone(shown["warning"])
        self.assertEqual(self.policy(back), {"max-backlog": "3", "max-sockets": "5", "complete": "1"})

    def test_driver_domain_that_does_not_wait(self):
        """Without the package there, the words are the whole policy at once."""
        self.json("attach", "g1", "--backend=net", "max-backlog=3", "max-groups=7")
        back = "/local/domain/3/backend/xensock/5/0"
        self.store.put({f"{back}/state": "4", f"{FRONT}/state": "4"})
        self.assertIsNone(self.json("set", "g1", "max-groups=default", "max-sockets=5")["warning"])
        self.assertEqual(self.policy(back), {"max-backlog": "3", "max-sockets": "5"})

    def test_too_late(self):
        self.file("g1.conf", "max-sockets=5")
        back = self.device()
        self.store.write(f"{back}/state", "2")
        self.assertEqual(self.apply_new()[0], 1)
        self.assertIn("load xensock_back with await_policy=1", self.messages[0])
        self.assertEqual(self.policy(back), {"max-sockets": "5", "complete": "1"})

    def test_save(self):
        back = self.device()
        self.json("set", "g1", "max-sockets=5", "connect-deny=80 \n 81", "--save")
        self.assertEqual(xensock.read_policy(f"{self.files}/g1.conf"),
                         {"max-sockets": "5", "connect-deny": "80 81"})
        # Lines of nodes that are not set now are meant for the next start.
        self.file("g1.conf", "# why\nmax-sockets=4\n# how\n netns=1\nmax-groups=3\nbusy-poll=default\n")
        self.json("set", "g1", "max-backlog=2", "max-groups=default", "max-sockets=6", "--save")
        self.assertEqual(self.read("g1.conf"), "# why\nmax-sockets=6\n# how\n netns=1\nbusy-poll=default\nmax-backlog=2\n")
        self.assertEqual(os.listdir(self.files), ["g1.conf"])
        self.store.remove(f"{back}/policy")
        self.assertEqual(self.apply_new()[0], 0)
        self.assertEqual(self.policy(back), {"max-sockets": "6", "netns": "1", "max-backlog": "2", "complete": "1"})
        self.json("attach", "g7", "--backend=net")
        self.fails("set", "g7", "max-backlog=2", "--save", message="in the domain that serves the device")
        self.fails("show", "g1", "--save", status=2, message="no option --save")

    def test_save_through_a_link(self):
        """The link stays, and so do owner and mode of the file."""
        self.file("../policies", "max-sockets=4\n")
        os.chmod(f"{self.files}/../policies", 0o640)
        if os.getuid() == 0:
            os.chown(f"{self.files}/../policies", 5, 6)
        before = os.stat(f"{self.files}/../policies")
        os.symlink("../policies", f"{self.files}/g1.conf")
        self.device()
        self.json("set", "g1", "max-sockets=5", "--save")
        self.assertEqual(os.readlink(f"{self.files}/g1.conf"), "../policies")
        after = os.stat(f"{self.files}/../policies")
        self.assertEqual((self.read("../policies"), after.st_mode, after.st_uid, after.st_gid),
                         ("max-sockets=5\n", before.st_mode, before.st_uid, before.st_gid))
        self.assertEqual(sorted(os.listdir(f"{self.files}/..")), ["policies", "xensock"])

    def test_save_beside_another(self):
        """One that saves waits for another that does, before it looks at anything."""
        self.device()
        self.file("g1.conf", "max-sockets=4\n")
        with xensock.policies_locked():
            other = threading.Thread(target=self.json, args=("set", "g1", "max-backlog=3", "--save"))
            with mock.patch.object(xensock, "policy_to_save", wraps=xensock.policy_to_save) as looks:
                other.start()
                other.join(0.2)
                self.assertTrue(other.is_alive())
                looks.assert_not_called()
            self.file("g1.conf", "max-groups=4\n")
        other.join()
        self.assertEqual(self.read("g1.conf"), "max-groups=4\nmax-backlog=3\n")
        self.assertEqual(os.listdir(self.files), ["g1.conf"])

    def test_save_that_fails(self):
        """Nothing is left of it."""
        self.device()
        self.apply_new()
        with mock.patch.object(xensock.os, "replace", side_effect=OSError(errno.EROFS, "Read-only file system")):
            _, _, errors = self.run_command("set", "g1", "max-sockets=5", "--save")
        self.assertIn(f"the policy is set, but not saved: {self.files}/g1.conf: Read-only file system", errors)
        self.assertEqual(os.listdir(self.files), [])
        with open(f"{self.files}/../file", "w", encoding="ascii"), mock.patch.object(
                xensock, "POLICIES", f"{self.files}/../file"):
            self.fails("set", "g1", "max-sockets=6", "--save", message="--save: ")

    def test_save_with_several_devices(self):
        """All devices of one domain have the same file."""
        self.json("attach", "g1", "--device=0")
        self.json("attach", "g1", "--device=1", "--backend=net")
        self.json("set", "g1", "--device=0", "max-sockets=5", "--save")
        self.json("attach", "g1", "--device=2")
        self.fails("set", "g1", "--device=0", "max-sockets=6", "--save",
                   message=f"--save: the file is also that of the guest's xensock-2: edit {self.files}/g1.conf, or leave")
        self.assertEqual(self.read("g1.conf"), "max-sockets=5\n")

    def test_error_stays_until_something_is_allowed(self):
        self.file("g1.conf", "max-sockets=all")
        back = self.device()
        for word, stays in (("max-sockets=5", True), ("connect-deny=80", True), ("bind-allow=", True),
                            ("bind-allow=default", True), ("connect-allow=80", False)):
            self.apply_new()
            self.json("set", "g1", word)
            self.assertEqual(self.json("show", "g1")["policy_error"] is not None, stays, word)
            if stays:
                self.assertEqual(self.store.permissions[f"{back}/policy-error"], ["n0"])
        self.store.remove(f"{back}/policy")
        self.apply_new()
        self.json("set", "g1", "bind-allow=default", "netns=1")
        self.assertIsNone(self.json("show", "g1")["policy_error"])
        # A policy that is meant to allow nothing is no error.
        self.store.remove(f"{back}/policy")
        self.apply_new()
        self.file("g1.conf", "connect-allow=\nbind-allow=")
        self.json("apply", "g1")
        self.assertIsNone(self.json("show", "g1")["policy_error"])

    def test_save_of_a_first_file(self):
        """A guest's file takes the place of the common one, so it begins with all that is in force."""
        self.file("default.conf", "connect-allow=tcp:80\nmax-sockets=4")
        self.device()
        self.apply_new()
        self.json("set", "g1", "max-backlog=2", "--save")
        self.assertEqual(self.read("g1.conf"), "connect-allow=tcp:80\nmax-sockets=4\nmax-backlog=2\n")
        back = self.device(guest=7)
        self.apply_new(guest=7)
        self.store.put({f"{back}/policy/max-bread": "1", f"{back}/policy/max-groups": "many"})
        self.fails("set", "g7", "max-backlog=2", "--save", message="--save: the present max-groups: 'many' is not")
        self.json("set", "g7", "max-groups=2", "max-sockets=default", "--save")
        self.assertEqual(self.read("g7.conf"), "connect-allow=tcp:80\nmax-groups=2\n")

    def test_save_does_not_keep_what_an_error_allows(self):
        """A policy that allows nothing because of an error is not what is to be saved."""
        self.file("default.conf", "max-sockets=all")
        self.device()
        self.assertEqual(self.apply_new()[0], 1)
        self.fails("set", "g1", "max-backlog=2", "--save", message="default.conf:1: max-sockets")
        self.file("default.conf", "max-sockets=4")
        self.json("set", "g1", "max-backlog=2", "--save")
        self.assertEqual(self.read("g1.conf"), "max-sockets=4\nmax-backlog=2\n")


LISTING = """\
family type state recv-q send-q local peer ring inode uid
inet stream ESTAB 5 0 192.0.2.1:40112 192.0.2.1:7001 32768 8014 0
inet6 stream LISTEN 2 0 [::]:80 - - 8020 33
xensock dgram UNCONN 0 0 - - 65536 0 0
"""


class Guest(Caller):
    """The effect of the commands in a guest."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.addCleanup(directory.cleanup)
        self.settings = f"{directory.name}/settings"
        self.listing = f"{directory.name}/sockets"
        self.device = f"{directory.name}/device"
        self.steps = []
        self.connected = f"{directory.name}/xensock-0/state"
        os.mkdir(os.path.dirname(self.connected))
        self.state("Connected")
        self.modprobe = "true"
        for target, name, value in (
                (xensock, "SETTINGS", self.settings),
                (xensock, "SOCKETS", self.listing),
                (xensock.Xenstore, "DEVICE", self.device),
                (xensock, "leave_network", lambda: self.steps.append("leave")),
                (xensock, "bring_up_loopback", lambda: self.steps.append("lo")),
                (xensock, "FRONT_STATES", f"{directory.name}/*/state"),
                (xensock.subprocess, "Popen", self.popen)):
            patch = mock.patch.object(target, name, value)
            patch.start()
            self.addCleanup(patch.stop)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            self.addCleanup(signal.signal, number, signal.getsignal(number))

    def popen(self, words, **options):
        """Runs a shell command in place of modprobe."""
        self.assertEqual(words, ["modprobe", "xensock"])
        return POPEN(["sh", "-c", self.modprobe], **options)

    def state(self, text):
        with open(self.connected, "w", encoding="ascii") as file:
            file.write(text + "\n")

    def load(self):
        """Makes the module appear loaded from now on."""
        os.mkdir(self.settings)
        for name, text in (("hijack", "0\n"), ("decisions", "xensock=12 exempt-port=0 new-one=3\n")):
            with open(f"{self.settings}/{name}", "w", encoding="ascii") as file:
                file.write(text)
        with open(self.listing, "w", encoding="ascii") as file:
            file.write(LISTING)

    def hijack(self):
        with open(f"{self.settings}/hijack", encoding="ascii") as file:
            return file.read()

    def fails(self, *words, message, status):
        done, out, errors = self.run_command(*words)
        self.assertEqual((done, out), (status, ""), errors)
        self.assertIn(message, errors)

    def runs(self, *words):
        """Returns the program that the command becomes, and its messages before that."""
        with mock.patch.object(xensock.os, "execvp") as execvp:
            _, _, errors = self.run_command("run", *words)
        execvp.assert_called_once()
        name, arguments = execvp.call_args.args
        self.assertEqual(name, arguments[0])
        return arguments, errors

    def test_sockets(self):
        self.load()
        found = self.json("sockets")
        self.assertEqual(found[0], {
            "family": "inet", "type": "stream", "state": "ESTAB", "recv-q": 5, "send-q": 0,
            "local": "192.0.2.1:40112", "peer": "192.0.2.1:7001", "ring": 32768, "inode": 8014,
            "uid": 0})
        self.assertEqual([(one["local"], one["peer"], one["ring"]) for one in found[1:]],
                         [("[::]:80", None, None), (None, None, 65536)])
        _, out, _ = self.run_command("sockets")
        lines = out.splitlines()
        self.assertEqual([line.split() for line in lines[1:]],
                         [line.split() for line in LISTING.splitlines()[1:]])
        self.assertEqual(lines[0].split()[3:6], ["RECV-Q", "SEND-Q", "LOCAL"])
        # Each column begins below its head.
        self.assertEqual({line.index("192.0.2.1:7001") for line in lines[1:2]}, {lines[0].index("PEER")})
        self.assertEqual(lines[2].index("LISTEN"), lines[0].index("STATE"))

    def test_no_sockets(self):
        self.load()
        with open(self.listing, "w", encoding="ascii") as file:
            file.write(LISTING.splitlines()[0] + "\n")
        self.assertEqual(self.json("sockets"), [])
        self.assertEqual(len(self.run_command("sockets")[1].splitlines()), 1)

    def test_decisions(self):
        self.load()
        self.assertEqual(self.json("decisions"), {"xensock": 12, "exempt-port": 0, "new-one": 3})
        _, out, _ = self.run_command("decisions")
        self.assertIn("exempt-port  0      the guest's own: exempt_bind_ports", out)
        self.assertIn("\nnew-one      3\n", out)

    def test_not_readable(self):
        with mock.patch("builtins.open", side_effect=PermissionError(errno.EACCES, "Permission denied")):
            self.fails("sockets", message=f"xensock: {self.listing}: Permission denied", status=1)

    def test_not_loaded(self):
        for name in ("sockets", "decisions"):
            self.fails(name, message="module xensock is not loaded", status=1)
            status, out, _ = self.run_command(name, "--json")
            self.assertEqual((status, list(json.loads(out))), (1, ["error"]))

    def test_run(self):
        self.load()
        arguments, errors = self.runs("curl", "-u", "me", "--json", "http://192.0.2.1/")
        self.assertEqual(arguments, ["curl", "-u", "me", "--json", "http://192.0.2.1/"])
        self.assertEqual((self.steps, self.hijack(), errors), (["leave", "lo"], "1", ""))
        self.assertEqual({signal.getsignal(number) for number in (signal.SIGPIPE, signal.SIGXFSZ)},
                         {signal.SIG_DFL})
        self.assertEqual(self.runs("--udp", "--", "-x", "y")[0], ["-x", "y"])
        self.assertEqual(self.hijack(), "2")

    def test_run_without_a_backend(self):
        self.load()
        self.state("Closed")
        arguments, errors = self.runs("true")
        self.assertEqual((arguments, self.hijack()), (["true"], "1"))
        self.assertIn("no backend is connected", errors)
        # The device may go between the look for the file and into it.
        os.remove(self.connected)
        os.symlink("nowhere", self.connected)
        self.assertIn("no backend is connected", self.runs("true")[1])
        os.remove(self.connected)
        os.mkdir(self.connected)
        self.assertIn("no backend is connected", self.runs("true")[1])

    def test_run_what_is_none(self):
        self.load()
        self.fails("run", "/nowhere/true", message="/nowhere/true: No such file", status=127)
        self.fails("run", "no-such-program", message="no-such-program: No such file", status=127)
        self.fails("run", "/etc/passwd", message="/etc/passwd: Permission denied", status=126)
        self.fails("run", message="a program is expected", status=2)
        self.fails("run", "--tcp", "true", message="--tcp not recognized", status=2)
        for words in (("-j", "run", "x"), ("--json", "run", "--udp", "x"), ("--udp", "run", "x"), ("-u", "run", "x"),
                      ("--type=xensock", "run")):
            self.fails(*words, message="run: its options are -u and -h, and follow the word 'run'\nUsage: xensock run",
                       status=2)
        self.fails("--udp", "list", message="option --udp not recognized", status=2)
        for words in (("sockets", "g1"), ("decisions", "--type=xensock")):
            self.fails(*words, message="Usage:", status=2)

    def test_run_loads_the_module(self):
        self.modprobe = f"mkdir {self.settings}"
        self.assertEqual(self.runs("true")[1], "")
        self.assertEqual(self.hijack(), "1")

    def test_run_waits_for_the_device(self):
        """The kernel lets modprobe wait for a device that no backend offers."""
        self.modprobe = f"sleep 0.5; mkdir {self.settings}"
        self.state("Initialising")
        with mock.patch.object(xensock, "SOON", 0.1):
            said = self.runs("true")[1].splitlines()
        self.assertIn("waiting up to 30 seconds for the backend", said[0])
        self.assertIn("no backend is connected", said[1])

    def test_run_where_it_cannot(self):
        with mock.patch.object(xensock, "leave_network", side_effect=PermissionError(errno.EPERM, "no")):
            self.fails("run", "true", message="only root of the guest may", status=125)
        with mock.patch.object(xensock, "leave_network", side_effect=OSError(errno.ENOSPC, "No space left on device")):
            self.fails("run", "true", message="namespace: No space left on device: there are as many as", status=125)
        self.fails("run", "true", message="has no settings net.xensock", status=125)
        self.modprobe = "echo modprobe: No such device >&2; exit 1"
        self.fails("run", "true", message="this is not a Xen guest", status=125)
        with open(self.device, "w", encoding="ascii"):
            pass
        self.fails("run", "true", message="cannot be loaded: modprobe: No such device", status=125)
        with mock.patch.object(xensock.subprocess, "Popen", side_effect=FileNotFoundError):
            self.fails("run", "true", message="there is no modprobe", status=125)


class Counts(Caller):
    """The counts of both modules, which may be in one domain."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.addCleanup(directory.cleanup)
        self.debugfs = directory.name
        for name, value in (("DEBUGFS", self.debugfs),
                            ("FRONT_COUNTS", f"{self.debugfs}/xensock"),
                            ("BACK_COUNTS", f"{self.debugfs}/xensock_back")):
            patch = mock.patch.object(xensock, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    def put(self, path, text):
        os.makedirs(os.path.dirname(f"{self.debugfs}/{path}"), exist_ok=True)
        with open(f"{self.debugfs}/{path}", "w", encoding="ascii") as file:
            file.write(text)

    def put_all(self):
        self.put("xensock/xensock-0", "links 2\nlisteners 1\nlisteners-most 3\n")
        for device in ("xensock-10-0", "xensock-9-0", "pvcalls-9-1"):
            self.put(f"xensock_back/{device}/counts", "sockets 4\nsockets-most 70\nerrors 0\n")
            self.put(f"xensock_back/{device}/refused", "bind 5\nconnect 0\n")

    def fails(self, *words, message):
        status, out, errors = self.run_command("counts", *words)
        self.assertEqual((status, out), (1, ""), errors)
        self.assertIn(message, errors)

    def test_json(self):
        self.put_all()
        found = self.json("counts")
        self.assertEqual([(one["device"], one["type"], one["guest"]) for one in found],
                         [("xensock-0", "xensock", None), ("pvcalls-9-1", "pvcalls", 9),
                          ("xensock-9-0", "xensock", 9), ("xensock-10-0", "xensock", 10)])
        self.assertEqual(found[0]["counts"], {"links": 2, "listeners": 1, "listeners-most": 3})
        self.assertIsNone(found[0]["refused"])
        self.assertEqual(found[1]["refused"], {"bind": 5, "connect": 0})

    def test_table(self):
        self.put_all()
        _, out, _ = self.run_command("counts")
        self.assertEqual(out.splitlines()[:7], [
            "DEVICE        COUNT             NUMBER  MOST",
            "xensock-0     links             2",
            "xensock-0     listeners         1       3",
            "pvcalls-9-1   sockets           4       70",
            "pvcalls-9-1   errors            0",
            "pvcalls-9-1   refused: bind     5",
            "pvcalls-9-1   refused: connect  0"])

    def test_one_guest(self):
        self.put_all()
        self.assertEqual([one["device"] for one in self.json("counts", "9")], ["pvcalls-9-1", "xensock-9-0"])
        self.fails("0", message="this domain serves no device of domain 0")
        store = Store({"domid": "0"})
        store.put({**DOMAINS, "/local/domain/10/name": "ten"})
        with mock.patch.object(xensock, "Xenstore", lambda: store):
            self.assertEqual([one["device"] for one in self.json("counts", "ten")], ["xensock-10-0"])
            self.fails("g2", message="there is no domain 'g2'")

    def test_device_that_goes(self):
        self.put_all()
        os.remove(f"{self.debugfs}/xensock_back/xensock-9-0/refused")
        self.assertEqual([one["device"] for one in self.json("counts", "9")], ["pvcalls-9-1"])

    def test_no_devices(self):
        os.mkdir(f"{self.debugfs}/xensock_back")
        self.assertEqual(self.json("counts"), [])

    def test_missing(self):
        self.fails(message="there is no debugfs: mount")
        self.put("other", "")
        self.fails(message="neither module xensock nor xensock_back is loaded")
        with mock.patch.object(xensock.os, "listdir", side_effect=PermissionError):
            self.fails(message="only root may")
        with mock.patch.object(xensock, "DEBUGFS", "/nowhere"):
            self.fails(message="without CONFIG_DEBUG_FS")

    def test_usage(self):
        for words in (("counts", "g1", "g2"), ("counts", "--backend=net")):
            status, _, errors = self.run_command(*words)
            self.assertEqual(status, 2)
            self.assertIn("Usage:", errors)


class Written(unittest.TestCase):
    """The man page and the completion have what the command has."""

    @staticmethod
    def read(name):
        with open(os.path.join(HERE, "..", name), encoding="utf-8") as file:
            return file.read()

    def setUp(self):
        self.commands = {*xensock.COMMAND_NAMES, "run"}
        self.options = set(re.findall("--([a-z]+)", xensock.USAGE))

    def test_usage(self):
        self.assertEqual(set(re.findall(r"^(?:Usage:|  ) +xensock (\w+)", xensock.USAGE, re.M)), self.commands)
        self.assertIn("json", self.options)

    def test_completion(self):
        text = self.read("packaging/xensock.completion")
        commands = re.search('compgen -W "(attach [a-z ]*)"', text)[1].split()
        self.assertEqual((set(commands), len(commands)), (self.commands, len(self.commands)))
        self.assertEqual(re.findall(r"\b([a-z-]+)=", re.search('nodes="([^"]*)"', text)[1]), list(xensock.NODES))
        self.assertEqual(set(re.findall("--([a-z]+)", text)), self.options)

    def test_man_page(self):
        text = self.read("xensock.8")
        synopsis, description = text.split(".Sh DESCRIPTION\n")
        self.assertEqual(re.findall(r"^\.Cm (\w+)", synopsis, re.M),
                         re.findall(r"^\.It Cm (\w+)$", description.partition(".Ss Options\n")[0], re.M))
        self.assertEqual(set(re.findall(r"^\.Cm (\w+)", synopsis, re.M)), self.commands)
        self.assertEqual(set(re.findall(r"^\.It Fl \w , Fl Fl (\w+)", description, re.M)), self.options)
        nodes = re.findall(r"^\.It Cm ([a-z-]+) Ns = Ns Ar (.*)\n((?:[^.].*\n|\.(?!It|El).*\n)*)", description, re.M)
        self.assertEqual([node for node, *_ in nodes], list(xensock.NODES))
        for node, value, messages in nodes:
            kind = xensock.NODES[node]
            if isinstance(kind, xensock.Limit):
                least, most = kind.range
                self.assertEqual(value, "number")
                self.assertIn(f"{least} to {most}, default {kind.default.partition(' has ')[0]}", messages)

    def test_example(self):
        policy = xensock.read_policy(os.path.join(HERE, "../packaging/examples/default.conf"))
        self.assertIn("53", policy["connect-allow"].split())

    def test_man_page_quotes_what_is_said(self):
        """Each diagnostic of the man page is one of the command's, but for what it fills in."""
        code = re.sub('"\n *f?"', "", self.read("xensock"))
        for messages in re.findall(r'^\.It "(.*)"$', self.read("xensock.8"), re.M):
            for part in messages.split("..."):
                self.assertTrue(part.strip() in code, messages)


class Package(unittest.TestCase):
    """The scripts of the Debian package."""

    def test_module_that_does_not_wait(self):
        """It is loaded before the package is installed, for the first time or again."""
        with open(os.path.join(HERE, "../packaging/debian/xensock-tools.preinst"), encoding="ascii") as file:
            script = file.read()
        with tempfile.TemporaryDirectory() as module:
            loaded = script.replace("/sys/module/xensock_back", module)
            for text, words, warns in ((loaded, "install", True), (loaded, "install 0.1", True),
                                       (loaded, "upgrade 0.1", False),
                                       (script.replace("/sys/module/xensock_back", f"{module}/none"), "install", False)):
                done = subprocess.run(["sh", "-c", text, "preinst", *words.split()], check=True, capture_output=True)
                self.assertEqual(b"'Policy by name'" in done.stderr, warns, words)
        page = os.path.join(HERE, "../../Documentation/networking/xensock/admin.rst")
        with open(page, encoding="utf-8") as file:
            lines = file.read().splitlines()
        for title in re.findall(r"'([A-Z][a-z ]+)'", script):
            self.assertIn(title, lines)


    def test_devices_that_are_there(self):
        """udev's rule is run for devices that were there before, if udev runs."""
        with open(os.path.join(HERE, "../packaging/debian/xensock-tools.postinst"), encoding="ascii") as file:
            script = file.read()
        with tempfile.TemporaryDirectory() as path, socket.socket(socket.AF_UNIX) as control:
            with open(f"{path}/udevadm", "w", encoding="ascii") as file:
                file.write(f"#!/bin/sh\necho $1 >>{path}/said\nexit 1\n")
            os.chmod(f"{path}/udevadm", 0o755)
            control.bind(f"{path}/control")
            runs = script.replace("/run/udev/control", f"{path}/control")
            for text, words, said in ((script.replace("/run/udev", path + "/none"), "configure", ""),
                                      (runs, "abort-upgrade 0.1", ""), (runs, "configure", "control\ntrigger\n"),
                                      (runs, "configure 0.1", "control\ntrigger\n")):
                with open(f"{path}/said", "w", encoding="ascii"):
                    pass
                subprocess.run(["sh", "-c", text, "postinst", *words.split()], check=True,
                               env={"PATH": f"{path}:{os.environ['PATH']}"})
                with open(f"{path}/said", encoding="ascii") as file:
                    self.assertEqual(file.read(), said, words)

    def test_rule(self):
        """A module that is loaded again finds devices that udev does not call new."""
        with open(os.path.join(HERE, "../packaging/xensock.rules"), encoding="ascii") as file:
            rule = next(line for line in file if "xen-backend" in line)
        self.assertTrue(rule.startswith('ACTION=="add|bind", '), rule)

    def test_settings_do_not_depend_on_the_unit(self):
        """udev runs the unit's command if something else loads the module."""
        command = dict(Units.read("xensock"))["ExecStart"].removeprefix("-")
        with open(os.path.join(HERE, "../packaging/xensock.rules"), encoding="ascii") as file:
            self.assertIn(f'ACTION=="add", SUBSYSTEM=="module", KERNEL=="xensock", RUN+="{command}"\n', file)


class Units(unittest.TestCase):
    """The units of systemd, as far as systemd-analyze does not check them."""

    @staticmethod
    def read(name):
        with open(os.path.join(HERE, "../packaging", f"{name}.service"), encoding="ascii") as file:
            return [line.split("=", 1) for line in file.read().splitlines() if "=" in line]

    def test_guest_comes_before_the_network(self):
        """A passive target orders nothing unless somebody wants it."""
        unit = self.read("xensock")
        for words in (["Before", "network.target"], ["Wants", "network.target"]):
            self.assertIn(words, unit)

    def test_guest_comes_before_sockets_of_systemd(self):
        """sockets.target follows sysinit.target, which a unit with default dependencies follows too."""
        unit = self.read("xensock")
        self.assertIn(["DefaultDependencies", "no"], unit)
        self.assertIn(["WantedBy", "sysinit.target"], unit)
        self.assertIn(["Conflicts", "shutdown.target"], unit)
        before = {word for key, words in unit if key == "Before" for word in words.split()}
        self.assertLessEqual({"sysinit.target", "systemd-sysctl.service", "shutdown.target"}, before)
        self.assertFalse(before & {word for key, words in unit if key == "After" for word in words.split()})

    def test_nothing_without_xen(self):
        """The kernel makes the buses on any machine, and this device only on Xen."""
        for name in ("xensock", "xensock-backend"):
            self.assertIn(["ConditionPathExists", xensock.Xenstore.DEVICE], self.read(name))


class Completion(unittest.TestCase):
    """Completion in bash, as root, of what guests are called."""

    LIST = """\
Name                                        ID   Mem VCPUs\tState\tTime(s)
Domain-0                                     0  1024     2     r-----      12.3
g1                                           5   256     1     -b----       0.1
two words                                    6   256     1     -b----       0.1
$(touch${IFS}made)                           7   256     1     -b----       0.1
`touch${IFS}made`                            8   256     1     -b----       0.1
*                                            9   256     1     -b----       0.1
--type                                      10   256     1     -b----       0.1
"""

    def names(self, cur=""):
        """Returns the names that are offered, and the files that this has made."""
        script = 'xl() { echo "$LIST"; }; . "$1"; cur=$2; _xensock_domains; printf "%s\\n" "${COMPREPLY[@]}"'
        completion = os.path.join(HERE, "../packaging/xensock.completion")
        with tempfile.TemporaryDirectory() as path:
            with open(f"{path}/file", "w", encoding="ascii"):
                pass
            done = subprocess.run(["bash", "-c", script, "bash", completion, cur], cwd=path, capture_output=True,
                                  text=True, check=True, env=os.environ | {"LIST": self.LIST})
            self.assertEqual(done.stderr, "")
            return done.stdout.split("\n")[:-1], os.listdir(path)

    def test_names_are_not_run(self):
        """A name that would be more than a word on the command line is not offered either."""
        self.assertEqual(self.names(), (["Domain-0", "g1"], ["file"]))
        self.assertEqual(self.names("g"), (["g1"], ["file"]))


class Silent:
    """A device that takes everything, and has nothing to read."""

    def __init__(self, path):
        self._file = os.open(path, os.O_RDWR)

    def __del__(self):
        os.close(self._file)

    def fileno(self):
        return self._file

    def write(self, _):
        pass


class NoXen(unittest.TestCase):
    """On a machine that is not a Xen domain, or not the right one."""

    def run_with(self, device):
        errors = io.StringIO()
        with mock.patch.object(xensock.Xenstore, "DEVICE", device), contextlib.redirect_stderr(errors):
            self.assertEqual(xensock.main(["list"]), 1)
        return errors.getvalue()

    def test_no_device(self):
        self.assertIn("this is not a Xen domain", self.run_with("/nowhere/xenbus"))

    def test_no_answer(self):
        self.assertIn("has closed the connection", self.run_with("/dev/null"))

    def test_no_daemon(self):
        """The kernel takes the request, and nobody answers."""
        with tempfile.TemporaryDirectory() as path, mock.patch.object(xensock.Xenstore, "PATIENCE", 0.1):
            os.mkfifo(f"{path}/xenbus")
            with mock.patch("builtins.open", lambda path, *_, **__: Silent(path)):
                self.assertIn("is xenstored running", self.run_with(f"{path}/xenbus"))


class Wire(unittest.TestCase):
    """The xenstore protocol, byte by byte."""

    def talk(self, answer, action):
        """Returns the request that the action sends, and the action's result for this answer."""
        file = mock.Mock()
        file.read.side_effect = [answer[:5], answer[5:16], answer[16:]]
        with mock.patch("builtins.open", return_value=file), mock.patch.object(xensock.select, "poll"):
            result = action(xensock.Xenstore())
        return file.write.call_args.args[0], result

    @staticmethod
    def message(kind, data):
        return struct.pack("=4I", kind, 0, 0, len(data)) + data

    def test_write(self):
        sent, _ = self.talk(self.message(11, b"OK\0"), lambda store: store.write("a/b", "c d"))
        self.assertEqual(sent, self.message(11, b"a/b\0c d"))

    def test_list(self):
        sent, names = self.talk(self.message(1, b"x\0yz\0"), lambda store: store.children("a"))
        self.assertEqual((sent, names), (self.message(1, b"a\0"), ["x", "yz"]))

    def test_permit(self):
        sent, _ = self.talk(self.message(14, b"OK\0"), lambda store: store.permit("a", "n0", "r5"))
        self.assertEqual(sent, self.message(14, b"a\0n0\0r5\0"))

    def test_absent(self):
        _, value = self.talk(self.message(16, b"ENOENT\0"), lambda store: store.read("a"))
        self.assertIsNone(value)

    def said(self, action):
        with self.assertRaises(OSError) as caught:
            action()
        return xensock.explain(caught.exception)

    def test_refused(self):
        with self.assertRaises(PermissionError):
            self.talk(self.message(16, b"EACCES\0"), lambda store: store.read("a"))
        for name, message in ((b"EACCES", "xenstore: a: Permission denied: this domain may not do that: run "),
                              (b"ENOSPC", "xenstore: a: No space left on device: the domain that owns the node has "),
                              (b"EROFS", "xenstore: a: Read-only file system"), (b"EODD", "xenstore: a: EODD")):
            said = self.said(lambda: self.talk(self.message(16, name + b"\0"), lambda store: store.read("a")))
            self.assertTrue(said.startswith(message), said)

    def test_longer_than_a_message(self):
        sent, _ = self.talk(self.message(11, b"OK\0"), lambda store: store.write("a/b", "c" * 4076))
        self.assertEqual(len(sent), 4096)
        said = self.said(lambda: self.talk(b"", lambda store: store.write("a/b", "c" * 4077)))
        self.assertEqual(said, "xenstore: a/b: Argument list too long: a value is longer than xenstore takes, about "
                               "4000 bytes")

    def test_kernel_that_refuses(self):
        """The kernel does not know of which node it is."""
        file = mock.Mock()
        file.write.side_effect = OSError(errno.EIO, "Input/output error")
        with mock.patch("builtins.open", return_value=file), mock.patch.object(xensock.select, "poll"):
            self.assertEqual(self.said(lambda: xensock.Xenstore().write("a/b", "c")),
                             "xenstore: a/b: Input/output error")


if __name__ == "__main__":
    unittest.main()
