# SPDX-License-Identifier: GPL-2.0
"""A guest: its domain, and the agent that obeys us by its console."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import threading
import tty

import administrator
import hypervisor
import job
import ktap
import port
import spent
import xenstore

DEVICES = ("xensock", "pvcalls")

# Guests reach what dom0 reaches, and dom0 itself, where the tests' servers are: that takes rules
# which name it, with the address of all on its network.
REACH = "0.0.0.0/0 [::/0] 192.0.2.1 192.0.2.255 10.0.0.1 [2001:db8::1] [fe80::/10]"

CONFIG = """
name = "{name}"
type = "{type}"
kernel = "{kernel}"
ramdisk = "{ramdisk}"
memory = {memory}
vcpus = {vcpus}
extra = "console=hvc0 rdinit=/init loglevel=1 panic=0 dummy.numdummies=0 name={name} {extra}"
vif = [{vif}]
on_crash = "destroy"
on_reboot = "destroy"
on_poweroff = "destroy"
{config}
"""

# What a type of guest needs more under QEMU's emulation. Of PVH: Xen would emulate
# RDTSCP, which its emulator cannot; and without a size of the state of XSAVE, as the
# nested guest sees it, the kernel does not come up. A virtual processor that moves to the
# other processor ends, at times, in a triple fault with the registers of Xen: each has its own.
OF_TYPE = {
    "pv": "",
    "pvh": 'tsc_mode = "native"\ncpuid = "host,svm=0,xsave=0,avx=0"\ncpus = ["0", "1"]',
}

# What a guest boots: a kernel and an initramfs in a directory of this one. The kernel is that of
# dom0; in "checked" is another one that there is for the modules that are tested, and in
# "installed" a machine that was made of our packages.
IMAGES = "/bed/guest"
# Programs of Debian, as an archive that follows the other one.
PROGRAMS = "/bed/guest/programs"


# A first scan finds what is only on its way; a leak is found by the second.
LEAKS = "/sys/kernel/debug/kmemleak"
SCAN = f"[ ! -e {LEAKS} ] || {{ echo scan >{LEAKS}; echo scan >{LEAKS}; sed 's/^/kmemleak: /' {LEAKS}; }}"


def _with_programs(name, initrd):
    """An initramfs of both archives."""
    path = f"/run/xen/{name}.initrd"
    with open(path, "wb") as whole, open(initrd, "rb") as own, open(PROGRAMS, "rb") as programs:
        for archive in (own, programs):
            shutil.copyfileobj(archive, whole, 1 << 20)
    return path


class GuestDied(Exception):
    """The guest crashed or went away while nobody had asked it to."""


class GuestJob(job.Job):
    """A shell command in a guest."""

    where = "commands in guests"

    def __init__(self, guest, number, command, on_line=None):
        super().__init__(command, on_line)
        self._guest = guest
        self._number = number

    def kill(self, signum=signal.SIGKILL):
        if self.running and self._guest.alive:
            self._guest._send(f"kill {self._number} {int(signum)}")


class Guest:
    """kind: "pv" or "pvh"; programs: with those of Debian; config: more lines for xl, see
    xl.cfg(5); image: what it boots, see IMAGES.
    """

    # Before the command of a kselftest: see rounds() in selftests/xensock/util.h.
    soak = ""

    def __init__(self, name, memory=256, vcpus=1, vif=False, extra="", on_death=None,
                 programs=False, config="", kind="pv", image=""):
        self.name = name
        self.memory = memory
        self.address = None
        self.alive = False
        # Whether a test has left it other than it was, so that no other file may have it.
        self.changed = False
        # Whether it is a driver domain.
        self.serves = False
        # The driver domain that serves it, if dom0 does not.
        self.server = None
        self.options = None
        self._on_death = on_death
        self._jobs = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._death = None
        self._expected = False
        self._pty = -1
        self._reader = None
        kernel, initrd = (os.path.join(IMAGES, image, file) for file in ("kernel", "initrd"))
        ramdisk = _with_programs(name, initrd) if programs else initrd
        path = f"/run/xen/{name}.cfg"
        with open(path, "w") as file:
            file.write(CONFIG.format(name=name, type=kind, kernel=kernel, memory=memory, vcpus=vcpus, extra=extra,
                                     config=f"{OF_TYPE[kind]}\n{config}", ramdisk=ramdisk,
                                     vif="'bridge=br0'" if vif else ""))
        self._tool("xl", "create", "-q", "-p", path)
        if ramdisk != initrd:
            os.unlink(ramdisk)
        self.domid = self._find_domid()
        self.alive = True
        self._open_console()

    def _find_domid(self):
        """Asks xenstore, a tenth of the time that xl takes. Ours is the newest of this name."""
        for domid in sorted(map(int, xenstore.ls("/local/domain")), reverse=True):
            if xenstore.read(f"/local/domain/{domid}/name") == self.name:
                return domid
        raise RuntimeError(f"there is no domain {self.name}")

    def _tool(self, *command, timeout=60):
        port.emit("D", "$ " + " ".join(command))
        # The toolstack goes first: the workers of busy connections would take its time.
        with spent.on(" ".join(command[:2])):
            done = subprocess.run(("nice", "-n", "-19") + command, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=timeout, text=True, check=False)
        for line in done.stdout.splitlines():
            port.emit("D", line)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout.strip()}")
        return done.stdout.strip()

    def _unpause(self):
        port.emit("D", f"unpause {self.domid}")
        hypervisor.unpause(self.domid)

    def unpause(self, timeout=60):
        """Lets the guest go and waits for its agent."""
        self._unpause()
        with spent.on("guests that boot"):
            ready = self._ready.wait(timeout)
        if not ready:
            raise self._death or job.CommandTimeout(f"guest {self.name} did not boot within {timeout} s")
        if self._death:
            raise self._death

    def start(self, command, on_line=None):
        """Runs a shell command in the background of the guest."""
        if self._death or not self.alive:
            raise self._death or GuestDied(f"guest {self.name} is not running")
        number = next(self._numbers)
        task = GuestJob(self, number, command, on_line)
        with self._lock:
            self._jobs[number] = task
        port.emit("G", f"{self.name} $ {command}")
        line = command.replace("\\", "\\\\").replace("\n", "\\n")
        self._send(f"run {number} {line}")
        return task

    def run(self, command, timeout=60):
        """Runs a shell command in the guest, gives (exit status, output)."""
        return self.start(command).wait(timeout)

    def ktap(self, command, timeout=120):
        """Runs a kselftest program in the guest: its results become subtests of the running test."""
        stream = ktap.Subtests()
        try:
            rc, _ = self.start(self.soak + command, stream.line).wait(timeout)
        finally:
            stream.close()
        stream.judge(rc)

    def modprobe(self, name):
        rc, out = self.run(f"modprobe {name}")
        if rc:
            raise RuntimeError(f"guest {self.name}: modprobe {name}: {out}")

    def kill_jobs(self):
        """Ends what still runs in the guest."""
        with self._lock:
            jobs = list(self._jobs.values())
        for task in jobs:
            task.kill()

    def attach(self, device="xensock", *policy):
        """Gives the guest a device of its server's, or of dom0; policy is any NODE=VALUE of it."""
        backend = self.server.domid if self.server else 0
        if not any(word.startswith("connect-allow=") for word in policy):
            policy += (f"connect-allow={REACH}",)
        administrator.xensock("attach", str(self.domid), f"--type={device}",
                              f"--backend={backend}", *policy)

    def detach(self, device="xensock"):
        administrator.xensock("detach", str(self.domid), f"--type={device}")

    def restore(self, *policy, timeout=60):
        """Saves the guest to a file and has xl make a domain from that: its programs just go on."""
        path = f"/run/xen/{self.name}.saved"
        save = "xl", "save", str(self.domid), path
        try:
            self._move(policy, timeout, save, ("xl", "restore", "-p", path))
        finally:
            os.unlink(path)

    def migrate(self, *policy, timeout=60):
        """Migrates the guest, while it runs, to this same host."""
        # Without a command to reach a host, what is in its place is run.
        self._move(policy, timeout, ("xl", "migrate", "-s", "", str(self.domid), "xl migrate-receive -p"))

    def _move(self, policy, timeout, *commands):
        """Has these commands make another domain of this one, gives that the policy and lets it go."""
        self._expected = True
        for command in commands:
            self._tool(*command, timeout=timeout)
        # The console is another one as well.
        self._reader.join()
        self.domid = self._find_domid()
        self._open_console()
        self._expected = False
        administrator.xensock("set", str(self.domid), *policy)
        self._unpause()

    def destroy(self, by_command=False):
        """Ends the domain; also takes away the device nodes that xl knows nothing of. Gives what the
        command has said, if it is used.
        """
        said = ""
        if not self.alive:
            return said
        self._expected = True
        self.alive = False
        if by_command:
            said = self._tool("xl", "destroy", str(self.domid))
        else:
            port.emit("D", f"destroy {self.domid}")
            with spent.on("guests that are destroyed"):
                error = hypervisor.destroy(self.domid)
            # It may have gone by itself.
            if error and xenstore.read(f"/local/domain/{self.domid}/name") is not None:
                raise RuntimeError(f"guest {self.name}: libxl_domain_destroy: {error}")
        for device in DEVICES:
            xenstore.rm(f"/local/domain/0/backend/{device}/{self.domid}")
        self._fail_jobs(GuestDied(f"guest {self.name} was destroyed"))
        return said

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
                self._take(line.decode(errors="replace").rstrip("\r"))
        os.close(self._pty)
        self._died("its domain went away")

    def _take(self, line):
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
                self._died(line)

    def _died(self, why):
        if self._expected or self._death:
            return
        self._death = GuestDied(f"guest {self.name}: {why} (see guest-{self.name}.log)")
        self.alive = False
        port.emit("G", f"{self.name} -- {self._death}")
        self._fail_jobs(self._death)
        self._ready.set()
        if self._on_death:
            self._on_death(self._death)

    def _fail_jobs(self, error):
        with self._lock:
            jobs, self._jobs = self._jobs, {}
        for task in jobs.values():
            task._fail(error)
