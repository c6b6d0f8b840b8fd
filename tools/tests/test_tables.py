# SPDX-License-Identifier: GPL-2.0
"""The simple tables of the documentation: columns must be separated by blanks. Only `make docs`
runs Sphinx, which checks that."""

import glob
import os
import re
import unittest

PAGES = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../Documentation/networking/xensock/*.rst")


def gaps(border):
    """Returns the columns that must be blank, given a table's line of '='."""
    columns = [match.span() for match in re.finditer("=+", border)]
    return [(left[1], right[0]) for left, right in zip(columns, columns[1:])]


def malformed(text):
    """Returns the lines of tables that have text between two columns."""
    border, lines = None, text.splitlines()
    for line, following in zip(lines, lines[1:] + [""]):
        if re.fullmatch(r"=+( +=+)+", line):
            # A blank line follows the last border.
            border = line if following else None
        elif border and any(line[begin:end].strip() for begin, end in gaps(border)):
            yield line


class TablesTest(unittest.TestCase):
    def test_pages(self):
        pages = glob.glob(PAGES)
        self.assertTrue(pages)
        for page in pages:
            with open(page, encoding="utf-8") as file, self.subTest(os.path.basename(page)):
                self.assertEqual(list(malformed(file.read())), [])

    def test_finds_one(self):
        border = "===  ===\n"
        self.assertEqual(list(malformed(f"{border}a    b\n{border}abcd e\nabc  longer\n{border}\nabcd e\n")),
                         ["abcd e"])


if __name__ == "__main__":
    unittest.main()
