# SPDX-License-Identifier: GPL-2.0
"""The figures of make bench, as each of its parts writes them to the log."""

import json
import re


def merged(log):
    """Returns the figures of all parts in this text, by part, and the machine that they are of.

    A part that ran again has its last figures.
    """
    figures = {}
    for text in re.findall(r"JSON (\{.*\})$", log, re.MULTILINE):
        figures |= json.loads(text)
    return figures
