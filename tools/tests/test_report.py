# SPDX-License-Identifier: GPL-2.0
"""The test bed's report of several machines: one KTAP, in order, and nothing is lost."""

import os
import sys
import unittest

BED = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../bed")
sys.path[:0] = [BED, os.path.join(BED, "dom0")]

# pylint: disable=wrong-import-position
from report import Report


class ReportTest(unittest.TestCase):
    def setUp(self):
        self.lines = []
        self.report = Report(self.lines.append)
        for _ in range(2):
            for name in ("a", "b", "c"):
                self.report.plan(name)

    def test_files_are_whole_and_in_order(self):
        report = self.report
        self.assertEqual([report.next(), report.next()], [(1, "a"), (2, "b")])
        report.line(2, "    ok 1 x")
        report.line(1, "    ok 1 y")
        report.line(2, "not ok 2 b")
        report.done(2)
        self.assertEqual(report.next(), (3, "c"))
        report.line(3, "ok 3 c")
        report.line(1, "ok 1 a")
        report.done(3)
        self.assertEqual(self.lines, ["KTAP version 1", "1..3", "    ok 1 y", "ok 1 a"])
        report.done(1)
        self.assertEqual(self.lines[4:], ["    ok 1 x", "not ok 2 b", "ok 3 c"])
        self.assertIsNone(report.next())
        self.assertTrue(report.count.complete)
        self.assertEqual((report.count.passed, report.count.failed), (3, 1))

    def test_what_a_lost_machine_has_said_counts(self):
        report = self.report
        report.next()
        report.next()
        report.line(2, "    not ok 1 x")
        report.flush()
        self.assertEqual(self.lines[2:], ["    not ok 1 x"])
        self.assertFalse(report.count.complete)
        self.assertEqual(report.count.failed, 1)

    def test_nothing_matches(self):
        report = Report(self.lines.append)
        self.assertIsNone(report.next())
        self.assertEqual(self.lines, ["KTAP version 1", "1..0"])
        self.assertTrue(report.count.complete)


if __name__ == "__main__":
    unittest.main()
