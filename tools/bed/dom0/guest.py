# SPDX-License-Identifier: GPL-2.0
"""A guest: its domain, and the agent in it that takes our commands on the console."""

import gzip
import itertools
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import tty
from contextlib import contextmanager

import administrator
import hypervisor
import job
import ktap
import port
import spent
import xenstore

DEVICES = ("xensock", "pvcalls")

# Guests may reach whatever dom0 reaches, and dom0 itself, where the servers of the tests are. That
# needs rules that name dom0, and the broadcast address of its network.
CONNECT_ALLOW = "0.0.0.0/0 [::/0] 192.0.2.1 192.0.2.255 10.0.0.1 [2001:db8::1] [fe80::/10]"

CONFIG = """
name = "{name}"
kernel = "{kernel}"
ramdisk = "{ramdisk}"
memory = {memory}
vcpus = {vcpus}
extra = "console=hvc0 rdinit=/init loglevel=1 panic=0 watchdog_thresh=30 rcupdate.rcu_cpu_stall_timeout=60 dummy.numdummies=0 name={name} {extra}"
vif = [{vif}]
on_crash = "destroy"
on_reboot = "destroy"
on_poweroff = "destroy"
{config}
"""

# The type of a guest, and extra options for it under QEMU's emulation. PVH: Xen would emulate RDTSCP,
# which its emulator cannot do. Without a size of the XSAVE state, in the nested guest's view, the
# kernel does not boot. A vCPU that moves to the other processor sometimes ends in a triple fault with
# Xen's registers, so each vCPU has a processor of its own.
TYPE_CONFIG = {
    "pv": 'type = "pv"',
    "pvh": 'type = "pvh"\ntsc_mode = "native"\ncpuid = "host,svm=0,xsave=0,avx=0"\ncpus = ["0", "1"]',
}
if os.uname().machine == "aarch64":
    # There is one type on Arm.
    TYPE_CONFIG = dict.fromkeys(TYPE_CONFIG, 'type = "pvh"')

# Images: a kernel and an initramfs in a subdirectory of this directory. The directory itself has
# dom0's kernel, "checked" another kernel for the modules under test, and "installed" a machine made
# of our packages.
IMAGES = "/bed/guest"
# Debian's programs, as an archive that follows the other one.
PROGRAMS = "/bed/guest/programs"
# More programs for single tests, see tools/bed/images.
ARCHIVE = "/usr/share/xensock/{name}.cpio.gz"


# The first scan also finds objects in use at that moment. The second scan confirms a leak.
KMEMLEAK = "/sys/kernel/debug/kmemleak"
SCAN_LEAKS = (f"[ ! -e {KMEMLEAK} ] || {{ echo scan >{KMEMLEAK}; echo scan >{KMEMLEAK}; "
              f"sed 's/^/kmemleak: /' {KMEMLEAK}; }}")


def _with_programs(name, initrd, more):
    """Makes an initramfs of the image's archive, that of the programs, and more. Returns its path."""
    path = f"/run/xen/{name}.initrd"
    with open(path, "wb") as target, open(initrd, "rb") as own, open(PROGRAMS, "rb") as programs:
        for archive in (own, programs):
            shutil.copyfileobj(archive, target, 1 << 20)
        for other in more:
            with gzip.open(ARCHIVE.format(name=other)) as archive:
                shutil.copyfileobj(archive, target, 1 << 20)
    return path


# What xl says if xenconsoled has not given the domain its console within ten seconds, in which a busy
# machine may do nothing. xl has then destroyed the domain. Anything else that takes too long is a failure:
# a backend that does not answer may be a bug of ours.
CONSOLE_LATE = re.compile(r"domain \d+ console tty: timed out")


class GuestDied(Exception):
    """The guest crashed or disappeared unexpectedly. domid: the domain, if it did."""

    def __init__(self, text, domid=None):
        super().__init__(text)
        self.domid = domid


class GuestSilent(job.CommandTimeout):
    """The guest has not printed a line: its kernel did not get as far as our modules."""

    def __init__(self, guest, timeout):
        super().__init__(f"guest {guest.name} has not printed anything within {timeout} s")
        self.guest = guest


class GuestJob(job.Job):
    """A shell command in a guest."""

    category = "commands in guests"

    def __init__(self, guest, number, command, on_line=None):
        super().__init__(command, on_line)
        self._guest = guest
        self._number = number

    def kill(self, signum=signal.SIGKILL):
        if self.running and self._guest.alive:
            self._guest._send(f"kill {self._number} {int(signum)}")


def ktap_together(programs, timeout=None):
    """Runs kselftest programs at the same time: pairs of a guest and a command. They mostly wait. Their
    results become subtests of the running test, one program after another."""
    _take_results([guest.start(guest.soak + command) for guest, command in programs], timeout)


def _take_results(tasks, timeout):
    """Makes the results of these programs subtests of the running test. They have two minutes by default."""
    deadline = time.monotonic() + (timeout or 120 * Guest.scale)
    errors = []
    for task in tasks:
        stream = ktap.Subtests()
        try:
            try:
                rc, _ = task.wait(max(deadline - time.monotonic(), 0))
            finally:
                for line in task.lines:
                    stream.line(line)
            stream.check_status(rc)
        except (job.CommandTimeout, AssertionError) as error:
            errors.append(f"{task.command}: {error}")
    assert not errors, "; ".join(errors)


class Guest:
    """A domain and its agent.

    kind: "pv" or "pvh"; programs: adds Debian's programs; archives: and more, by the names of their
    archives; config: more lines for xl, see xl.cfg(5); image: the kernel and root to boot, see IMAGES.
    """

    # Prefix of a kselftest command: see rounds() in selftests/xensock/util.h.
    soak = ""
    # Slowness of the machine, see Bed.
    scale = 1

    def __init__(self, name, memory=256, vcpus=1, vif=False, extra="", on_death=None,
                 programs=False, archives=(), config="", kind="pv", image=""):
        self.name = name
        self.memory = memory
        self.address = None
        self.alive = False
        # Set if a test has changed the guest, so that no other file may use it.
        self.changed = False
        # Set for a driver domain.
        self.serves = False
        # The driver domain that serves the guest, or None for dom0.
        self.server = None
        # The type of the device that its modules drive.
        self.device = None
        # Options of a shared guest, and the policy of its device, None if that is not known.
        self.options = None
        self.policy = ()
        self._on_death = on_death
        self._jobs = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._error = None
        self._end_expected = False
        self._was_heard = False
        self._pty = -1
        self._reader = None
        kernel, initrd = (os.path.join(IMAGES, image, file) for file in ("kernel", "initrd"))
        ramdisk = _with_programs(name, initrd, archives) if programs else initrd
        path = f"/run/xen/{name}.cfg"
        with open(path, "w") as file:
            file.write(CONFIG.format(name=name, kernel=kernel, memory=memory, vcpus=vcpus, extra=extra,
                                     config=f"{TYPE_CONFIG[kind]}\n{config}", ramdisk=ramdisk,
                                     vif="'bridge=br0'" if vif else ""))
        try:
            self._run_tool("xl", "create", "-q", "-p", path)
        except RuntimeError as error:
            if not CONSOLE_LATE.search(str(error)):
                raise
            self._run_tool("xl", "create", "-q", "-p", path)
        if ramdisk != initrd:
            os.unlink(ramdisk)
        self.domid = self._find_domid()
        self.alive = True
        self._open_console()

    def __repr__(self):
        return self.name

    def _find_domid(self):
        """Finds the domain ID in xenstore, ten times faster than xl. The newest domain of this name
        is ours."""
        for domid in sorted(map(int, xenstore.ls("/local/domain")), reverse=True):
            if xenstore.read(f"/local/domain/{domid}/name") == self.name:
                return domid
        raise RuntimeError(f"there is no domain {self.name}")

    def _run_tool(self, *command, timeout=60):
        port.emit("D", "$ " + " ".join(command))
        # The toolstack runs at high priority: the workers of busy connections would take its time.
        with spent.measure(" ".join(command[:2])):
            done = subprocess.run(("nice", "-n", "-19") + command, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=timeout * self.scale, text=True, check=False)
        for line in done.stdout.splitlines():
            port.emit("D", line)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout.strip()}")
        return done.stdout.strip()

    def _unpause(self):
        port.emit("D", f"unpause {self.domid}")
        hypervisor.unpause(self.domid)

    def unpause(self):
        """Unpauses the guest and waits for its agent."""
        self._unpause()
        # The agent prints first, at the end of the boot.
        timeout = 90 * self.scale
        with spent.measure("guests that boot"):
            ready = self._ready.wait(timeout)
        if not ready:
            if not self._error and not self._was_heard:
                raise GuestSilent(self, timeout)
            raise self._error or job.CommandTimeout(f"guest {self.name} did not boot within {timeout} s")
        if self._error:
            raise self._error

    def start(self, command, on_line=None):
        """Starts a shell command in the background of the guest."""
        if self._error or not self.alive:
            raise self._error or GuestDied(f"guest {self.name} is not running")
        number = next(self._numbers)
        task = GuestJob(self, number, command, on_line)
        with self._lock:
            self._jobs[number] = task
        port.emit("G", f"{self.name} $ {command}")
        line = command.replace("\\", "\\\\").replace("\n", "\\n")
        self._send(f"run {number} {line}")
        return task

    def run(self, command, timeout=None):
        """Runs a shell command in the guest. Returns (exit status, output)."""
        return self.start(command).wait(timeout)

    def ktap(self, command, timeout=None):
        """Runs a kselftest program in the guest. Its results become subtests of the running test."""
        stream = ktap.Subtests()
        try:
            rc, _ = self.start(self.soak + command, stream.line).wait(timeout or 120 * self.scale)
        finally:
            stream.close()
        stream.check_status(rc)

    def ktap_together(self, commands, timeout=None):
        """Runs kselftest programs in the guest at the same time."""
        ktap_together([(self, command) for command in commands], timeout)

    @contextmanager
    def ktap_beside(self, command, timeout=None):
        """Runs a kselftest program in the guest beside the block. Its results follow those of the block."""
        task = self.start(self.soak + command)
        yield
        _take_results([task], timeout)

    def modprobe(self, name):
        rc, out = self.run(f"modprobe {name}")
        if rc:
            raise RuntimeError(f"guest {self.name}: modprobe {name}: {out}")

    def kill_jobs(self):
        """Kills everything that still runs in the guest, and waits for the end: the next test may want its ports."""
        with self._lock:
            jobs = list(self._jobs.values())
        for task in jobs:
            task.kill()
        deadline = time.monotonic() + 30 * self.scale
        for task in jobs:
            task.wait_killed(max(deadline - time.monotonic(), 0))

    def attach(self, device="xensock", *policy):
        """Gives the guest a device of its driver domain or of dom0. policy: NODE=VALUE words."""
        backend = self.server.domid if self.server else 0
        if not any(word.startswith("connect-allow=") for word in policy):
            policy += (f"connect-allow={CONNECT_ALLOW}",)
        administrator.xensock("attach", str(self.domid), f"--type={device}",
                              f"--backend={backend}", *policy)

    def detach(self, device="xensock"):
        administrator.xensock("detach", str(self.domid), f"--type={device}")

    def restore(self, *policy, timeout=60, meanwhile=None):
        """Saves the guest to a file and has xl restore a domain from it. Its programs just go on.

        Calls meanwhile() while there is no domain.
        """
        path = f"/run/xen/{self.name}.saved"
        save = "xl", "save", str(self.domid), path
        try:
            self._move(policy, timeout, save, ("xl", "restore", "-p", path), meanwhile=meanwhile)
        finally:
            os.unlink(path)

    def migrate(self, *policy, timeout=60):
        """Migrates the running guest to this same host."""
        # An empty ssh command makes xl run the receiver locally.
        self._move(policy, timeout, ("xl", "migrate", "-s", "", str(self.domid), "xl migrate-receive -p"))

    def _move(self, policy, timeout, *commands, meanwhile=None):
        """Makes another domain of this one with these commands, sets its policy and unpauses it."""
        self._end_expected = True
        for number, command in enumerate(commands):
            if number and meanwhile:
                meanwhile()
            self._run_tool(*command, timeout=timeout)
        # The new domain has another console.
        self._reader.join()
        self.domid = self._find_domid()
        self._open_console()
        self._end_expected = False
        administrator.xensock("set", str(self.domid), *policy)
        self._unpause()

    def destroy(self, by_command=False, with_nodes=True):
        """Destroys the domain, and the device nodes that xl does not know unless the test looks for them.
        Returns the output of xl, if it is used."""
        output = ""
        if not self.alive:
            return output
        self._end_expected = True
        self.alive = False
        if by_command:
            output = self._run_tool("xl", "destroy", str(self.domid))
        else:
            port.emit("D", f"destroy {self.domid}")
            with spent.measure("guests that are destroyed"):
                error = hypervisor.destroy(self.domid)
            # The domain may have gone by itself.
            if error and xenstore.read(f"/local/domain/{self.domid}/name") is not None:
                raise RuntimeError(f"guest {self.name}: libxl_domain_destroy: {error}")
        for device in DEVICES if with_nodes else ():
            xenstore.rm(f"/local/domain/0/backend/{device}/{self.domid}")
        self._fail_jobs(GuestDied(f"guest {self.name} was destroyed"))
        return output

    def _open_console(self):
        path = xenstore.read(f"/local/domain/{self.domid}/console/tty")
        self._pty = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._pty)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _send(self, line):
        data = (line + "\n").encode()
        with self._lock:
            while data:
                data = data[os.write(self._pty, data):]

    def _read(self):
        pending = b""
        while True:
            try:
                data = os.read(self._pty, 65536)
            except OSError:
                break
            if not data:
                break
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                self._handle_line(line.decode(errors="replace").rstrip("\r"))
        os.close(self._pty)
        self._mark_dead("its domain went away")

    def _handle_line(self, line):
        self._was_heard = True
        if match := re.match(r"@(\d+) (.*)", line):
            if match[2]:
                port.emit("G", f"{self.name} {match[2]}")
            if task := self._jobs.get(int(match[1])):
                task._line(match[2])
        elif match := re.match(r"#(\d+) (\d+)$", line):
            with self._lock:
                task = self._jobs.pop(int(match[1]), None)
            if task:
                task._end(int(match[2]))
        elif match := re.match(r"%\d+,\d+,(\d+),[^;]*;(.*)", line):
            port.emit("G", f"{self.name} [{int(match[1]) / 1e6:12.6f}] {match[2]}")
        elif line == "!ready":
            self._ready.set()
        elif line:
            port.emit("G", f"{self.name} {line}")
            if "Kernel panic" in line:
                self._mark_dead(line)

    def _mark_dead(self, reason):
        if self._end_expected or self._error:
            return
        self._error = GuestDied(f"guest {self.name}: {reason} (see guest-{self.name}.log)", self.domid)
        self.alive = False
        port.emit("G", f"{self.name} -- {self._error}")
        self._fail_jobs(self._error)
        self._ready.set()
        if self._on_death:
            self._on_death(self._error)

    def _fail_jobs(self, error):
        with self._lock:
            jobs, self._jobs = self._jobs, {}
        for task in jobs.values():
            task._fail(error)
