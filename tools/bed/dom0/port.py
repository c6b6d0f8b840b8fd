# SPDX-License-Identifier: GPL-2.0
"""The line to the host: every record is one line, a kind and a text. The host only answers.

    T text          a line of KTAP
    D text          an action in dom0, or its output
    G NAME text     a line of a guest's console
    P FILE.TEST     a planned test
    N               asks for the next file; the answer is its number and its name, or empty
    Q               asks if a test may begin; the answer is empty if it is too late
    S FILE.TEST SECONDS     a test that has ended
    F FILE.TEST     a test that has failed, and has passed when it ran again
    L FILE.TEST     a test for which there was no time
    W SECONDS COUNT WORDS   time that the run spent on something, and how often
    V KEY           a verdict that later runs may rely on, see verdicts.py
    H               a sign of life
    E text          the regular end of the run
"""

import os
import threading

_lock = threading.Lock()
_file = -1


def open_port(path="/dev/vport0p1"):
    global _file
    _file = os.open(path, os.O_RDWR)


def emit(kind, text):
    clean = "".join(c if c.isprintable() or c == "\t" else "?" for c in text)
    data = f"{kind} {clean}\n".encode()
    with _lock:
        while data:
            data = data[os.write(_file, data):]


def ask(kind):
    """Sends a record that the host answers. Returns the answer."""
    emit(kind, "")
    answer = b""
    while not answer.endswith(b"\n"):
        answer += os.read(_file, 256)
    return answer.decode().strip()
