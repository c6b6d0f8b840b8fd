# SPDX-License-Identifier: GPL-2.0
"""What a test scenario has at hand: dom0, its guests, xenstore."""

import os
import re
import signal
import threading

import administrator
import guest as guests
import job
import ktap
import xenstore

# Which driver in dom0 serves which type of device.
BACKENDS = {"xensock": "xensock_back", "pvcalls": "pvcalls_back"}


class Skip(Exception):
    """The test cannot be done here."""


class TestTimeout(Exception):
    """The test took longer than it may."""


def timeout(seconds):
    """Decorator: how long a test may take, if not two minutes."""
    def mark(test):
        test.timeout = seconds
        return test
    return mark


class Bed:
    # Addresses, as the guests name them by way of dom0: dom0 itself, one that
    # never answers, one to which there is no route, dom0 for virtual NICs.
    address = "192.0.2.1"
    address6 = "2001:db8::1"
    blackhole = "192.0.2.99"
    blackhole6 = "2001:db8::99"
    unreachable = "203.0.113.1"
    bridge_address = "10.0.0.1"
    # The value of connect-allow that guests have, unless a test gives them another.
    reach = guests.REACH

    xenstore = xenstore
    xensock = staticmethod(administrator.xensock)

    def __init__(self, kconfig="fast"):
        self.kconfig = kconfig
        # Debug kernels are many times slower: what scenarios wait for is scaled.
        self.scale = 4 if kconfig == "debug" else 1
        self._guests = []
        self._shared = {}
        self._jobs = []
        self._running = False
        self._death = None
        signal.signal(signal.SIGUSR1, self._interrupted)

    # Guests

    def guest(self, name="g1", memory=256, device="xensock", vif=False, vcpus=1,
              modules=None, backend=None, server=None, policy=(), extra="", **domain):
        """Boots a guest and waits for it.

        device: "xensock", "pvcalls" or None. The driver for it is loaded in
        dom0 (backend names another) and in the guest (modules, by default
        xensock if there is a device); server is a driver domain that serves
        the device instead of dom0. policy: NODE=VALUE, see xensock(8). extra:
        for the kernel's command line. domain: see guest.Guest.
        """
        if self.kconfig == "debug":
            memory = max(memory, 384)
            extra += " slab_debug=FZP"
        if device and backend != "" and not server:
            self._serve(backend or BACKENDS[device])
        if vif:
            self.modprobe("xen-netback")
        new = guests.Guest(name, memory, vcpus, vif, extra, self._died, **domain)
        self._guests.append(new)
        if device:
            new.attach(device, *policy, server=server)
        new.unpause(60 * self.scale)
        for module in ["xensock"] if modules is None and device else modules or []:
            rc, out = new.run(f"modprobe {module}")
            if rc:
                raise RuntimeError(f"guest {name}: modprobe {module}: {out}")
        if vif:
            new.address = f"10.0.0.{10 + new.domid % 200}"
            new.run("modprobe xen-netfront; until [ -e /sys/class/net/eth0 ]; do usleep 100000; done; "
                    f"ip address add {new.address}/24 dev eth0; ip link set eth0 up")
        return new

    def driver_domain(self, name="net"):
        """Boots a guest that serves others, at the address that dom0 has for its own guests."""
        new = self.guest(name, device=None, modules=["xensock_back"], extra="dummy.numdummies=1")
        rc, out = new.run(f"ip address add {self.address}/24 dev dummy0 && ip link set dummy0 up")
        if rc:
            raise RuntimeError(f"driver domain {name}: {out}")
        return new

    def shared_guest(self, name="shared", **options):
        """The same guest for all tests of a file: booted once, again if it died."""
        known = self._shared.get(name)
        if known is None or not known.alive:
            known = self._shared[name] = self.guest(name, **options)
        return known

    # dom0

    def start(self, command):
        """Runs a shell command in the background of dom0."""
        task = job.LocalJob(command)
        self._jobs.append(task)
        return task

    def run(self, command, timeout=60):
        """Runs a shell command in dom0, gives (exit status, output)."""
        return self.start(command).wait(timeout)

    def modprobe(self, name, *parameters):
        if not self.loaded(name):
            self._must(f"modprobe {name} {' '.join(parameters)}")

    def loaded(self, name):
        return os.path.isdir(f"/sys/module/{name.replace('-', '_')}")

    def _serve(self, name):
        """That driver and no other: two of them may want the same type of device."""
        for other in BACKENDS.values():
            if other != name and self.loaded(other):
                self.rmmod(other)
        self.modprobe(name)

    def rmmod(self, name):
        self._must(f"rmmod {name}")

    def _must(self, command):
        rc, out = self.run(command)
        if rc:
            raise RuntimeError(f"{command}: {out}")

    # What a test says

    def skip(self, reason):
        raise Skip(reason)

    def note(self, text):
        ktap.note(text)

    # Accounts

    def snapshot(self):
        """Counts of dom0's resources; those of a quiet system come back to the same."""
        counts = {"event channels": 0}
        with open("/proc/interrupts") as file:
            counts["event channels"] = sum("xen-dyn" in line for line in file)
        with open("/proc/net/sockstat") as file:
            for protocol, values in (line.split(":") for line in file):
                pairs = values.split()
                for key, value in zip(pairs[::2], pairs[1::2]):
                    if (protocol, key) in (("TCP", "inuse"), ("TCP", "orphan"), ("TCP", "alloc"),
                                           ("UDP", "inuse")):
                        counts[f"{protocol.lower()} {key}"] = int(value)
        counts["grants"] = sum(len(self.grants(g.domid)) for g in self._guests if g.alive)
        return counts

    def slab(self):
        """Active objects of every slab cache."""
        with open("/proc/slabinfo") as file:
            return {fields[0]: int(fields[1]) for fields in map(str.split, file)
                    if fields[1].isdigit()}

    def grants(self, domid):
        """The grant references of a domain that others have mapped, as Xen shows them."""
        job.LocalJob("xl dmesg -c >/dev/null; xl debug-keys g").wait()
        _, text = job.LocalJob("xl dmesg").wait()
        mapped, current = [], None
        for line in text.splitlines():
            if match := re.search(r"grant-table for remote d(?:omain)?\s*(\d+)", line):
                current = int(match[1])
            elif current == domid and (match := re.search(r"\[(0x[0-9a-f]+)\]\s+\d+\s+0x", line)):
                mapped.append(int(match[1], 16))
        return mapped

    # For the runner

    def begin(self):
        self._running = True
        self._death = None

    def stop(self):
        """From now on the death of a guest no longer interrupts."""
        self._running = False

    def end(self):
        """The test is over: nothing of it stays, but the shared guests."""
        for task in self._jobs:
            if task.running:
                task.kill()
        self._jobs.clear()
        shared = [g for g in self._shared.values() if g.alive]
        for known in shared:
            known.kill_jobs()
        gone = [g for g in self._guests if g not in shared]
        self._guests = shared
        for known in gone:
            self._part(known)

    def end_file(self):
        """The shared guests go too."""
        self._shared.clear()
        self.end()

    def _part(self, known):
        try:
            if known.alive and self.kconfig == "debug":
                known.run(guests.SCAN, 300)
        finally:
            known.destroy()

    def _died(self, why):
        self._death = why
        if threading.current_thread() is not threading.main_thread():
            os.kill(os.getpid(), signal.SIGUSR1)

    def _interrupted(self, *_):
        if self._running and self._death:
            self._running = False
            raise self._death
