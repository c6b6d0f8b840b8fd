# SPDX-License-Identifier: GPL-2.0
"""The emulated machine: QEMU with Xen and dom0, a console, a line to dom0's program."""

import os
import selectors
import subprocess

# QEMU's memory is clean: scrubbing it would only take time. The ring must hold a
# listing of all grants.
XEN = ("console=com1 com1=115200,8n1 loglvl=warning guest_loglvl=warning conring_size=4M "
       "bootscrub=off dom0_mem={memory}M,max:{memory}M dom0_max_vcpus=1 "
       # Lazy FPU switching under TCG mixes up the vector registers of domains.
       "spec-ctrl=eager-fpu")
DOM0 = "console=hvc0 rdinit=/bed/init panic=1 {extra}"


class Machine:
    """Runs until it switches itself off, or until kill(). Never leaves a process behind."""

    def __init__(self, run, memory, dom0_memory, interactive=False, extra=""):
        self._talk = os.path.join(run, "talk")
        for end in ("in", "out"):
            os.mkfifo(f"{self._talk}.{end}")
        # Opened for writing too, so that neither QEMU nor we wait for the other.
        self._talk_fd = os.open(f"{self._talk}.out", os.O_RDWR | os.O_NONBLOCK)
        console = "stdio,id=console,signal=off" if interactive else "stdio,id=console"
        self._qemu = subprocess.Popen(
            # Whatever ends us, even SIGKILL, ends QEMU too.
            ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-accel", "tcg,thread=multi",
             # With SMAP a PV dom0 dies in its first instructions under TCG; the
             # default family makes it read MSRs that QEMU does not have.
             "-cpu", "max,-smap,-smep,family=21,model=2", "-m", f"{memory}M", "-smp", "2",
             "-display", "none", "-nic", "none", "-no-reboot",
             "-chardev", console, "-serial", "chardev:console",
             "-chardev", f"pipe,id=talk,path={self._talk}", "-device", "virtio-serial-pci",
             "-device", "virtserialport,chardev=talk,name=bed",
             "-kernel", os.path.join(run, "xen"), "-append", XEN.format(memory=dom0_memory),
             "-initrd", f"{run}/kernel {DOM0.format(extra=extra)},{run}/dom0.cpio"],
            stdin=None if interactive else subprocess.DEVNULL,
            stdout=None if interactive else subprocess.PIPE,
            stderr=None if interactive else subprocess.STDOUT)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._talk_fd, selectors.EVENT_READ, "talk")
        if not interactive:
            self._selector.register(self._qemu.stdout, selectors.EVENT_READ, "console")
        self._pending = {"talk": b"", "console": b""}

    @property
    def running(self):
        return self._qemu.poll() is None

    def lines(self, timeout):
        """The (source, line) pairs that came within the time; none is no end."""
        for key, _ in self._selector.select(timeout):
            data = os.read(key.fd, 65536)
            if not data:
                self._selector.unregister(key.fileobj)
            *lines, self._pending[key.data] = (self._pending[key.data] + data).split(b"\n")
            for line in lines:
                yield key.data, line.decode(errors="replace").strip("\r")

    def kill(self):
        if self.running:
            self._qemu.kill()
        self._qemu.wait()
        os.close(self._talk_fd)
        for end in ("in", "out"):
            os.unlink(f"{self._talk}.{end}")
