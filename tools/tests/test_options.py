# SPDX-License-Identifier: GPL-2.0
"""The reference's table of options: it lists every option of the kernel, and agrees with the code.

    KSRC=<kernel tree> python3 -m unittest discover tools/tests

Without a kernel tree only the code is checked.
"""

import collections
import csv
import os
import re
import unittest

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.join(HERE, "../..")
KSRC = os.environ.get("KSRC")

HEADERS = {
    "SOL_SOCKET": ("asm-generic/socket.h", r"SO_\w+"),
    "SOL_TCP": ("linux/tcp.h", r"TCP_\w+"),
    "SOL_UDP": ("linux/udp.h", r"UDP_\w+"),
    "SOL_IP": ("linux/in.h", r"(?:IP|MCAST)_\w+"),
    "SOL_IPV6": ("linux/in6.h", r"IPV6_\w+"),
}
# Numbers that are values of options, or sizes, and not options.
VALUES = re.compile(
    "IP_PMTUDISC_|IPV6_PMTUDISC_|IP_DEFAULT_|MCAST_(EX|IN)CLUDE$|IPV6_(FL|PRIORITY|TLV)_|TCP_MSS_|"
    "TCP_REPAIR_(ON|OFF|OFF_NO_WP)$|TCP_(MD5SIG|AO)_MAXKEYLEN$|UDP_ENCAP_|TCP_ENCAP_")
# Options that have two names.
OTHER_NAMES = {"IP_ORIGDSTADDR": "IP_RECVORIGDSTADDR",
               "IPV6_ORIGDSTADDR": "IPV6_RECVORIGDSTADDR"}

# The meaning of each word of the table for the code: owner of the option, and if there is a reason.
BECOMES = {
    "carried": ({"Get", "Set", "Both"}, False),
    "guest": ({"Own", None}, False),
    "falls back": ({"Get", "Fixed", None}, True),
    "refused": ({"Fixed", None}, True),
    "no effect": ({None}, True),
}

Row = collections.namedtuple("Row", "level option number becomes why")


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as file:
        return file.read()


def documented():
    lines = read("Documentation/networking/xensock/options.csv").splitlines()
    return [Row(*row) for row in csv.reader(lines[1:])]


def in_code():
    """Returns (level, option): (number, access)."""
    rows = re.findall(r"(\w+) = (SOL_\w+) (\d+), (\w+),",
                      read("net/xensock/proto/option/table.rs"))
    return {(level, name): (number, access) for name, level, number, access in rows
            if level != "SOL_XS"}


def natives():
    """Returns the options that make a socket native."""
    return dict(re.findall(r"^const (\w+): i32 = (\d+);", read("net/xensock/proto/native.rs"), re.M))


class Options(unittest.TestCase):
    @unittest.skipUnless(KSRC, "no kernel tree")
    def test_none_of_the_kernel_is_forgotten(self):
        kernel = set()
        for level, (header, name) in HEADERS.items():
            text = read(os.path.join(KSRC, "include/uapi", header))
            for option, number in re.findall(rf"^#define\s+({name})\s+(\d+)\b", text, re.M):
                if not VALUES.match(option):
                    kernel.add((level, OTHER_NAMES.get(option, option), number))
        table = {(row.level, row.option, row.number) for row in documented()}
        self.assertGreater(len(kernel), 200)
        self.assertEqual(table - kernel, set())
        self.assertEqual(kernel - table, set())

    def test_each_is_there_once(self):
        rows = documented()
        self.assertEqual(len({row.option + row.level for row in rows}), len(rows))
        self.assertEqual(len({(row.level, row.number) for row in rows}), len(rows))

    def test_it_says_what_the_code_does(self):
        code, native = in_code(), natives()
        for row in documented():
            number, access = code.pop((row.level, row.option), (row.number, None))
            with self.subTest(row.option):
                self.assertEqual(row.number, number)
                accesses, has_reason = BECOMES[row.becomes]
                self.assertIn(access, accesses)
                if row.becomes == "falls back":
                    self.assertEqual(native.get(row.option), row.number)
                elif access == "Get":
                    self.assertEqual("falls back when it is set" in row.why, row.option in native)
                if row.becomes == "refused":
                    self.assertNotIn(row.option, native)
                if has_reason:
                    self.assertTrue(row.why)
                self.assertEqual("read only" in row.why, row.becomes == "carried" and
                                 access == "Get")
        self.assertEqual(code, {}, "options that the text does not have")


if __name__ == "__main__":
    unittest.main()
