# SPDX-License-Identifier: GPL-2.0
"""The emulated machine: QEMU with Xen and dom0, a console, and a line to dom0's program."""

import os
import platform
import re
import selectors
import subprocess

# QEMU's memory is zeroed already: scrubbing it would only take time. The console ring must hold a
# listing of all grants. The registers of a guest that crashes are information.
XEN = ("loglvl=info guest_loglvl=info conring_size=4M bootscrub=off "
       "dom0_max_vcpus=1 dom0_mem={memory}M")
# A busy host can keep a processor from running for 20 s. That is no lockup.
DOM0 = "console=hvc0 rdinit=/bed/init panic=1 watchdog_thresh=30 rcupdate.rcu_cpu_stall_timeout=60 {extra}"

# QEMU, in the build root.
EMULATOR = os.path.join(os.path.dirname(os.path.realpath(__file__)), "emulator")

# Its processors constantly wait for each other, and other processes of this machine would interrupt
# them for milliseconds. So they get real-time priority where that is allowed.
REALTIME = ("chrt", "--rr", "1")


def may_use_realtime():
    """Returns True if this machine allows that."""
    return subprocess.run((*REALTIME, "true"), stderr=subprocess.DEVNULL, check=False).returncode == 0


def processor(path="/proc/cpuinfo"):
    """Returns the model of this machine's processor, if Linux knows it, and the number of CPUs."""
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    model = re.search(r"^model name\s*: (.+)$", text, re.M)
    count = len(re.findall(r"^processor\s*:", text, re.M))
    return f"{model[1] if model else platform.machine()}, {count} CPU{'s'[:count - 1]}"


# With these, what is meant to be fast is slow under TCG: it copies byte by byte, and with FSGSBASE a PV
# domain reads an MSR at each switch of context, which traps into Xen.
SLOW_FEATURES = ("erms", "fsrm", "fsgsbase")


def x86(boot, dom0_memory, extra, whole_cpu=False):
    """A PC, as a command. whole_cpu: with all that real machines do, as slow as it may be."""
    # With SMAP a PV dom0 dies in its first instructions under TCG. The default family makes it read
    # MSRs that QEMU lacks.
    without = ("smap", "smep") if whole_cpu else ("smap", "smep", *SLOW_FEATURES)
    cpu = ",".join(("max", *(f"-{name}" for name in without), "family=21", "model=2"))
    # Lazy FPU switching under TCG mixes up the vector registers of domains. Without speculation there
    # is no need to overwrite the stack of return addresses at each entry to Xen.
    speculation = "eager-fpu" if whole_cpu else "no,eager-fpu"
    # Without a word on RDRAND Xen waits for three seconds on a processor of this family.
    xen = XEN.format(memory=dom0_memory) + (f",max:{dom0_memory}M console=com1 com1=115200,8n1 "
                                            f"cpuid=rdrand spec-ctrl={speculation}")
    return [EMULATOR, "x86_64", "-cpu", cpu, "-device", "virtio-serial-pci",
            "-kernel", os.path.join(boot, "xen"), "-append", xen,
            "-initrd", f"{boot}/kernel {DOM0.format(extra=extra)},{boot}/dom0.cpio"]


def arm64(boot, dom0_memory, extra, _=False):
    """QEMU's own machine for Arm, as a command."""
    # Memory begins at 0x40000000, with Xen. The device tree at 0x48000000 tells Xen where the other
    # images are. With QEMU's GICv2, dom0 sometimes stops getting the interrupts of its line to us.
    return [EMULATOR, "aarch64", "-machine", "virt,virtualization=on,gic-version=3", "-cpu", "cortex-a57",
            "-global", "virtio-mmio.force-legacy=false", "-device", "virtio-serial-device",
            "-kernel", os.path.join(boot, "xen"),
            # By default, Xen on Arm lets guests communicate with dom0 only, not with driver domains.
            "-append", XEN.format(memory=dom0_memory) + " console=dtuart xsm=dummy",
            "-device", f"guest-loader,addr=0x4a000000,kernel={boot}/kernel,bootargs={DOM0.format(extra=extra)}",
            "-device", f"guest-loader,addr=0x50000000,initrd={boot}/dom0.cpio"]


class Machine:
    """Runs until the machine switches itself off, or until kill(). Never leaves a process behind."""

    def __init__(self, qemu, path, memory, interactive=False):
        """qemu: the command, with the machine and its images. path: the path of its line to us."""
        self._pipe = os.path.join(path, "talk")
        for end in ("in", "out"):
            os.mkfifo(f"{self._pipe}.{end}")
        # Opened for reading and writing, so that neither QEMU nor we wait for the other.
        self._read_fd = os.open(f"{self._pipe}.out", os.O_RDWR | os.O_NONBLOCK)
        self._write_fd = os.open(f"{self._pipe}.in", os.O_RDWR | os.O_NONBLOCK)
        console = "stdio,id=console,signal=off" if interactive else "stdio,id=console"
        self._qemu = subprocess.Popen(
            # QEMU ends when this process ends, even by SIGKILL.
            ["setpriv", "--pdeathsig", "KILL", *(REALTIME if may_use_realtime() else ()),
             *qemu, "-accel", "tcg,thread=multi", "-m", f"{memory}M", "-smp", "2",
             "-display", "none", "-nic", "none", "-no-reboot",
             "-chardev", console, "-serial", "chardev:console",
             "-chardev", f"pipe,id=talk,path={self._pipe}",
             "-device", "virtserialport,chardev=talk,name=bed"],
            stdin=None if interactive else subprocess.PIPE,
            stdout=None if interactive else subprocess.PIPE,
            stderr=None if interactive else subprocess.STDOUT)
        self._sources = {self._read_fd: "talk"}
        self._has_typed = interactive
        if not interactive:
            self._sources[self._qemu.stdout.fileno()] = "console"
        self._pending = {"talk": b"", "console": b""}

    @property
    def running(self):
        return self._qemu.poll() is None

    def register(self, selector):
        """Registers with the selector, with this object as the data."""
        for fd in self._sources:
            selector.register(fd, selectors.EVENT_READ, self)

    def read(self, selector, fd):
        """Returns the (source, line) pairs that have arrived there."""
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return []
        if not data:
            selector.unregister(fd)
        source = self._sources[fd]
        if source == "talk" and not self._has_typed:
            # Xen polls its console a thousand times a second until the first interrupt of it.
            os.write(self._qemu.stdin.fileno(), b"\n")
            self._has_typed = True
        *lines, self._pending[source] = (self._pending[source] + data).split(b"\n")
        return [(source, line.decode(errors="replace").strip("\r")) for line in lines]

    def answer(self, text):
        """Sends a line to dom0's program. It has asked for it, so there is room."""
        os.write(self._write_fd, f"{text}\n".encode())

    def kill(self):
        if self.running:
            self._qemu.kill()
        self._qemu.wait()
        if self._qemu.stdin:
            self._qemu.stdin.close()
        os.close(self._read_fd)
        os.close(self._write_fd)
        for end in ("in", "out"):
            os.unlink(f"{self._pipe}.{end}")
