# SPDX-License-Identifier: GPL-2.0
"""The test bed: progress reports, the order of files, commands that need no shell."""

import fnmatch
import glob
import importlib
import os
import re
import subprocess
import sys
import tempfile
import types
import unittest
from unittest import mock

TOP = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../..")
BED = os.path.join(TOP, "tools/bed")
sys.path[:0] = [BED, os.path.join(BED, "dom0")]

# pylint: disable=wrong-import-position
import wanted
from job import LocalJob
from progress import Progress


class ProgressTest(unittest.TestCase):
    def test_what_the_time_went_into(self):
        with tempfile.TemporaryDirectory() as path:
            progress = Progress(os.path.join(path, "times"))
        progress.spend("guests that boot", 3, 2.5)
        progress.spend("commands", 10, 9)
        progress.spend("guests that boot", 1, 1)
        self.assertEqual(progress.spent(), ["    9.0 s     10 x commands", "    3.5 s      4 x guests that boot"])


    def test_what_had_no_time(self):
        with tempfile.TemporaryDirectory() as path:
            path = os.path.join(path, "times")
            progress = Progress(path)
            self.assertEqual(progress.files_left_out_before(), [])
            for name in ("b.one", "a.one", "b.two"):
                progress.leave_out(name)
            progress.save(f"{path}.txt")
            self.assertEqual(Progress(path).files_left_out_before(), ["a", "b"])
            # Another run, of other tests, does not concern them.
            progress = Progress(path)
            progress.done("a.one", 1)
            progress.save(f"{path}.txt")
            self.assertEqual(Progress(path).files_left_out_before(), ["b"])


class FakeGuest:
    def __init__(self, name):
        self.name, self.domid, self.memory, self.alive, self.changed = name, 1, 256, True, False
        self.server, self.options, self.policy, self.log = None, None, (), []

    def kill_jobs(self):
        pass

    def run(self, command):
        self.log.append(command)

    def attach(self, device, *policy):
        self.log.append(("attach", device, *policy))

    def detach(self, device):
        self.log.append(("detach", device))

    def destroy(self):
        self.alive = False


def load(name):
    """Returns a module of dom0's program, without Xen's tools."""
    tools = {name: types.ModuleType(name) for name in ("administrator", "hypervisor", "xenstore")}
    tools["administrator"].xensock = tools["hypervisor"].state = None
    tools["xenstore"].read = lambda _: "4"
    with mock.patch.dict(sys.modules, tools):
        return importlib.import_module(name)


class MainCase(unittest.TestCase):
    """Runs tests by dom0's program."""

    def setUp(self):
        self.main = load("main")
        self.lines, self.asked = [], "yes"
        for name, value in (("emit", lambda kind, text: self.lines.append(f"{kind} {text}")),
                            ("ask", lambda _: self.asked)):
            patcher = mock.patch.object(self.main.port, name, value)
            patcher.start()
            self.addCleanup(patcher.stop)
        self.bed = mock.Mock(scale=1, retries=True)
        self.bed.begin.side_effect = self.bed.stop.side_effect = None

    def run_test(self, *steps):
        """Runs a test of which each attempt takes the next step."""
        steps = iter(steps)
        ok = self.main.run_test(self.bed, 1, "file", "name", lambda bed: next(steps)(bed))
        result = [line for line in self.lines if line.startswith(("T ok", "T not ok"))]
        self.assertEqual(result[-1].startswith("T ok"), ok)
        return ok

    @staticmethod
    def passes(_):
        pass

    @staticmethod
    def fails(_):
        raise AssertionError("it has failed")


class RetryTest(MainCase):
    """A test that fails runs once more, if that is asked for."""

    def subtest(self, line):
        return lambda _: self.main.ktap.Subtests().line(line)

    def skips(self, _):
        raise self.main.beds.Skip("no reason")

    def test_passes(self):
        self.assertTrue(self.run_test(self.passes))
        self.assertNotIn("F file.name", self.lines)

    def test_once(self):
        self.assertTrue(self.run_test(self.fails, self.passes))
        self.assertIn("F file.name", self.lines)

    def test_results_of_the_first_are_notes(self):
        self.assertTrue(self.run_test(self.subtest("not ok 1 a"), self.subtest("ok 1 a")))
        self.assertFalse([line for line in self.lines if line.startswith("T ") and line.lstrip("T ").startswith("not")])

    def test_twice(self):
        self.assertFalse(self.run_test(self.fails, self.fails))

    def test_not_asked_for(self):
        self.bed.retries = False
        self.assertFalse(self.run_test(self.fails))

    def test_no_time(self):
        self.asked = ""
        self.assertFalse(self.run_test(self.fails))

    def test_skipped_then(self):
        self.assertFalse(self.run_test(self.fails, self.skips))

    def test_subtest_skipped_then(self):
        self.assertFalse(self.run_test(self.subtest("not ok 1 a"), self.subtest("ok 1 a # SKIP too slow")))

    def test_guests_that_stay(self):
        self.bed.end_file.side_effect = RuntimeError("it does not end")
        self.assertFalse(self.run_test(self.fails, self.passes))


class EmulatorTest(MainCase):
    """A test runs again if the emulator has ended its guest."""

    def setUp(self):
        super().setUp()
        self.bed.retries = False
        self.main.hypervisor.was_mixed_up = lambda domid: domid == 7

    def ends(self, _):
        raise self.main.guest.GuestDied("its domain went away", 7)

    def test_runs_again(self):
        self.assertTrue(self.run_test(self.ends, self.ends, self.passes))
        self.assertFalse(self.run_test(self.ends, self.fails))

    def test_rest_of_an_attempt(self):
        self.bed.end.side_effect = [RuntimeError("it does not end"), None]
        self.assertFalse(self.run_test(self.ends, self.passes))


class ConsoleTest(unittest.TestCase):
    def test_only_a_late_console_is_no_failure(self):
        late = load("guest").CONSOLE_LATE
        self.assertTrue(late.search("xl create: libxl: error: libxl_create.c:2000:console_xswait_callback: "
                                    "domain 7 console tty: timed out"))
        self.assertFalse(late.search("backend /local/domain/0/backend/pvcalls/7/0 wanted state 2  timed out"))


class SharedGuestTest(unittest.TestCase):
    """Which guest a scenario file gets."""

    def setUp(self):
        bed = load("bed")
        patcher = mock.patch.object(bed.verdicts, "Verdicts")
        patcher.start()
        self.addCleanup(patcher.stop)
        self.bed = bed.Bed()
        self.bed._serve = mock.Mock()
        self.bed.guest = self.boot
        self.booted = []

    def boot(self, name, policy=(), **_):
        self.bed._free_memory(256)
        guest = FakeGuest(name)
        guest.policy = policy
        self.booted.append(guest)
        self.bed._guests.append(guest)
        return guest

    def next_file(self, all_well=True):
        self.bed.end_file(all_well)

    def test_within_a_file(self):
        one = self.bed.shared_guest("a", vcpus=2)
        self.assertIs(self.bed.shared_guest("a", vcpus=2), one)
        self.assertIsNot(self.bed.shared_guest("b", vcpus=2), one)
        with self.assertRaises(RuntimeError):
            self.bed.shared_guest("a")

    def test_by_another_name(self):
        one = self.bed.shared_guest("a", policy=("x=1",), vcpus=2)
        self.next_file()
        self.assertIsNot(self.bed.shared_guest("other"), one)
        # With the same policy too: the file may have changed it.
        self.assertIs(self.bed.shared_guest("b", policy=("x=1",), vcpus=2), one)
        self.assertEqual(one.log, ["rm -rf /tmp/*", ("detach", "xensock"), ("attach", "xensock", "x=1")])
        self.bed._serve.assert_called_once_with("xensock_back")

    def test_without_a_name(self):
        one = self.bed.shared_guest(policy=("x=1",))
        self.next_file()
        self.assertIs(self.bed.shared_guest(policy=("x=1",)), one)
        self.assertEqual(one.log, ["rm -rf /tmp/*"])

    def test_two_of_a_kind(self):
        both = {self.bed.shared_guest("a"), self.bed.shared_guest("b")}
        self.next_file()
        self.assertEqual({self.bed.shared_guest("c"), self.bed.shared_guest("d")}, both)
        self.assertNotIn(self.bed.shared_guest("e"), both)

    def test_not_for_others(self):
        self.bed.shared_guest("changed").changed = True
        self.bed.shared_guest("served", server="net")
        self.next_file()
        self.bed.shared_guest("failed")
        self.next_file(all_well=False)
        self.assertFalse(any(guest.alive for guest in self.booted))

    def test_no_device(self):
        one = self.bed.shared_guest("a", device=None)
        self.next_file()
        self.assertIs(self.bed.shared_guest("b", device=None), one)
        self.assertEqual(one.log, ["rm -rf /tmp/*"])

    def test_memory(self):
        for number in range(6):
            self.bed.shared_guest(f"a{number}")
        self.next_file()
        self.bed.shared_guest("b", vcpus=2)
        self.assertEqual([guest.alive for guest in self.booted], [False] + [True] * 6)


class VersionTest(unittest.TestCase):
    """The versions of packages, which apt compares."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.addCleanup(directory.cleanup)
        self.top = directory.name

    def run_in_top(self, *words, **environment):
        # git sets variables that name a repository for what it runs, such as these tests.
        others = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        return subprocess.run(words, cwd=self.top, env=others | environment, check=True, text=True,
                              capture_output=True).stdout.strip()

    def version(self, path="file"):
        return self.run_in_top("bash", "-c", '. "$1/common.sh"; TOP=$PWD; version_of 0.1 "$PWD/$2"', "bash", BED, path,
                               XENSOCK_CACHE=self.top, KCONFIG="fast")

    def commit(self, text, date):
        with open(f"{self.top}/file", "w", encoding="ascii") as file:
            file.write(text)
        self.run_in_top("git", "add", "file")
        self.run_in_top("git", "-c", "user.name=x", "-c", "user.email=x", "commit", "-m", "x",
                        GIT_COMMITTER_DATE=date, GIT_AUTHOR_DATE=date)
        return self.run_in_top("git", "rev-parse", "--short=12", "HEAD")

    def test_of_a_commit(self):
        self.assertEqual(self.version(), "0.1")
        self.run_in_top("git", "init", "-q")
        first = self.commit("a", "2026-11-29T01:02:03+0200")
        self.assertEqual(self.version(), f"0.1+git20261128230203.{first}")
        self.assertEqual(self.version("other"), "0.1")
        second = self.commit("b", "2026-11-28T23:02:04+0000")
        self.assertEqual(self.version(), f"0.1+git20261128230204.{second}")
        with open(f"{self.top}/file", "w", encoding="ascii") as file:
            file.write("c")
        self.assertEqual(self.version(), f"0.1+git20261128230204.{second}.changed")


class WantedTest(unittest.TestCase):
    """The words of TESTS."""

    def test_finds_tests(self):
        text = "X = 1\ntest_a = make(1)\n@slow\n@timeout(3)\ndef test_b(bed):\n    pass\ndef helper():\n    pass\n"
        self.assertEqual(list(wanted.tests_of(text)), [("a", False), ("b", True)])
        tests = wanted.read()
        self.assertGreater(len(tests), 200)
        self.assertTrue(tests["services.migrate"])
        self.assertFalse(tests["unmodified.proxy"])

    def test_words(self):
        tests = {"one.first": False, "one.last": True, "two.only": True}
        for words, which in (("*", "daily"), ("one.*", "daily"), ("one.first one.l*", "slow"), ("two.only", "slow")):
            self.assertIsNone(wanted.problem(tests, words, which))
        for words, says in (("one.first three.*", "no test is called 'three.*'; words are FILE.TEST"),
                            ("two", "say TESTS='two.*'"), ("first", "similar: one.first"),
                            ("one.first two.*", "'two.*' needs SET=slow")):
            self.assertIn(says, wanted.problem(tests, words, "daily"))

    def test_files(self):
        tests = {"one.first": False, "one.last": True, "two.only": True}
        for words, which, files in (("*", "daily", ["one"]), ("*", "slow", ["one", "two"]), ("two.o*", "slow", ["two"]),
                                    ("two.* one.last", "slow", ["one", "two"])):
            self.assertEqual(wanted.files(tests, words, which), files)
        # They need a machine made of the packages.
        installed = [name for name in wanted.read() if name.startswith("installed.")]
        self.assertGreater(len(installed), 1)
        for name in installed:
            self.assertEqual(wanted.files(wanted.read(), name, "slow"), ["installed"])

    def test_pages_name_tests_that_exist(self):
        tests = wanted.read()
        files = {name.partition(".")[0] for name in tests}
        pages = [page for pattern in ("Documentation/networking/xensock/*.rst", "*.md")
                 for page in glob.glob(os.path.join(TOP, pattern))]
        self.assertGreater(len(pages), 5)
        for page in pages:
            with open(page, encoding="utf-8") as file:
                for word in re.findall(r"`([a-z_]+\.[a-z0-9_*]+)`", file.read()):
                    name, _, test = word.partition(".")
                    if name in files and test != "rst":
                        self.assertTrue(fnmatch.filter(tests, word), f"{page}: {word}")


class FloorsTest(unittest.TestCase):
    def test_no_file_uses_one_above_it(self):
        roots = ("front/xensock_front.rs", "back/xensock_backend.rs")
        command = [os.path.join(BED, "floors.py"), *(word for root in roots
                                                     for word in (os.path.join(TOP, "net/xensock", root), "1"))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class CommandTest(unittest.TestCase):
    def test_simple_words_need_no_shell(self):
        for command, words in (("true", ["true"]), ("exec sleep 1", ["sleep", "1"]),
                               ("env --chdir=/ a=b", ["env", "--chdir=/", "a=b"])):
            self.assertEqual(LocalJob.arguments(command), words)

    def test_others_do(self):
        for command in ("true; false", "echo 'a b'", "a=b true", "cat <x", "no-such-program", "ls *", "true ", "cd /",
                        "echo $x", "true\nfalse"):
            self.assertEqual(LocalJob.arguments(command)[:2], ["/bin/sh", "-c"], command)


if __name__ == "__main__":
    unittest.main()
