# SPDX-License-Identifier: GPL-2.0
"""The simple tables of the documentation: Sphinx, which only `make docs` runs, wants blanks between the columns."""

import glob
import os
import re
import unittest

PAGES = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../Documentation/networking/xensock/*.rst")


def gaps(border):
    """Where there has to be nothing but blanks, by a table's line of '='."""
    columns = [match.span() for match in re.finditer("=+", border)]
    return [(left[1], right[0]) for left, right in zip(columns, columns[1:])]


def malformed(text):
    """The lines of tables that have something between two columns."""
    border, lines = None, text.splitlines()
    for line, following in zip(lines, lines[1:] + [""]):
        if re.fullmatch(r"=+( +=+)+", line):
            # The one at the end has a blank line below it.
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
