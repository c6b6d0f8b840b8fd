# SPDX-License-Identifier: GPL-2.0
"""The series of patches: each applies, and together they make the tree that the bed builds.

    KERNEL=<pristine kernel source> python3 -m unittest discover tools/tests
"""

import os
import subprocess
import sys
import unittest

TOP = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../..")
KERNEL = os.environ.get("KERNEL")


@unittest.skipUnless(KERNEL, "KERNEL is not given")
class SeriesTest(unittest.TestCase):
    def test_makes_the_tree(self):
        done = subprocess.run([sys.executable, os.path.join(TOP, "tools/series/series"), KERNEL],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
