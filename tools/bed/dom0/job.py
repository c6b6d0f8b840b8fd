# SPDX-License-Identifier: GPL-2.0
"""A running command, in dom0 or in a guest."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading

import port
import spent


class CommandTimeout(Exception):
    """A command did not end within its time limit."""


class Job:
    """The state of a command: its lines so far and, once ended, its exit status."""

    category = ""
    # Slowness of the machine. Time limits that nobody gives are scaled by it.
    scale = 1

    def __init__(self, command, on_line=None):
        self.command = command
        self.lines = []
        self.rc = None
        self._on_line = on_line
        self._error = None
        self._changed = threading.Condition()

    @property
    def output(self):
        with self._changed:
            return "\n".join(self.lines)

    @property
    def running(self):
        with self._changed:
            return self.rc is None and self._error is None

    def wait(self, timeout=None):
        """Waits for the end. Returns (exit status, output). Kills the command after the timeout, of a minute by
        default."""
        timeout = 60 * self.scale if timeout is None else timeout
        with spent.measure(self.category), self._changed:
            ended = self._changed.wait_for(lambda: self.rc is not None or self._error, timeout)
            if self._error:
                raise self._error
            if ended:
                return self.rc, "\n".join(self.lines)
        self.kill()
        raise CommandTimeout(f"'{self.command}' did not end within {timeout} s; its output: {self.output}")

    def wait_line(self, text, timeout=None):
        """Waits until a line containing the text is printed, a minute by default. Returns that line."""
        timeout = 60 * self.scale if timeout is None else timeout

        def found():
            return next((line for line in self.lines if text in line), None)
        with spent.measure(self.category), self._changed:
            self._changed.wait_for(lambda: found() or self.rc is not None or self._error, timeout)
            if self._error:
                raise self._error
            line = found()
        if line is None:
            raise CommandTimeout(f"'{self.command}' did not print '{text}': {self.output}")
        return line

    def kill(self, signum=signal.SIGKILL):
        raise NotImplementedError

    def wait_killed(self, timeout):
        """Waits for the end of a command that has been killed."""
        with self._changed:
            self._changed.wait_for(lambda: self.rc is not None or self._error, timeout)

    def _line(self, text):
        with self._changed:
            self.lines.append(text)
            self._changed.notify_all()
        if self._on_line:
            self._on_line(text)

    def _end(self, rc):
        with self._changed:
            self.rc = rc
            self._changed.notify_all()

    def _fail(self, error):
        with self._changed:
            if self.rc is None:
                self._error = error
            self._changed.notify_all()


class LocalJob(Job):
    """A shell command in dom0."""

    category = "commands in dom0"

    def __init__(self, command):
        super().__init__(command)
        port.emit("D", f"$ {command}")
        self._process = subprocess.Popen(
            self.arguments(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True)
        threading.Thread(target=self._read, daemon=True).start()

    @staticmethod
    def arguments(command):
        """Returns the arguments for a command. One of simple words needs no shell."""
        words = command.removeprefix("exec ").split(" ")
        simple = all(re.fullmatch(r"[\w./,:@+-][\w./,:@+=-]*", word) for word in words) and "=" not in words[0]
        return words if simple and shutil.which(words[0]) else ["/bin/sh", "-c", command]

    def _read(self):
        # Closed at the end: the job object may live longer.
        with self._process.stdout as lines:
            for raw in lines:
                line = raw.decode(errors="replace").rstrip("\n")
                port.emit("D", line)
                self._line(line)
        self._end(self._process.wait())

    def _session(self):
        """Returns its processes. kselftests give each test a process group of its own, which stays in the session."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                # PID (NAME) STATE PARENT GROUP SESSION
                if file.read().rpartition(")")[2].split()[3] == str(self._process.pid):
                    found.append(int(pid))
        return found

    def kill(self, signum=signal.SIGKILL):
        if signum == signal.SIGKILL:
            for pid in self._session():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signum)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signum)
        if signum == signal.SIGKILL:
            self.wait_killed(30 * self.scale)
