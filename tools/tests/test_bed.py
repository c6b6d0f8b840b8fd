# SPDX-License-Identifier: GPL-2.0
"""The test bed: progress reports, the order of files, commands that need no shell."""

import os
import sys
import tempfile
import unittest

BED = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../bed")
sys.path[:0] = [BED, os.path.join(BED, "dom0")]

# pylint: disable=wrong-import-position
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
