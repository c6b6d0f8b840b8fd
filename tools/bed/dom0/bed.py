# SPDX-License-Identifier: GPL-2.0
"""The environment of a test scenario: dom0, its guests, xenstore."""

import contextlib
import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import administrator
import guest as guests
import hypervisor
import job
import ktap
import spent
import verdicts
import xenstore

# The driver in dom0 for each type of device.
BACKENDS = {"xensock": "xensock_back", "pvcalls": "pvcalls_back"}


# Directory of a backend with the counts of its devices.
COUNTS = "/sys/kernel/debug/xensock_back"

# MiB for all guests together.
MEMORY = {"fast": 1750, "debug": 3600, "kasan": 4800}

# Kernels that look for bugs and are slow. With "kasan", the guests that load our modules run that
# kernel, and a driver domain with it serves them instead of dom0.
CHECKED = ("debug", "kasan")


class Skip(Exception):
    """The test cannot run here."""


class TestTimeout(Exception):
    """The test took longer than it may."""


def timeout(seconds):
    """Decorator: time limit of a test, if not two minutes."""
    def mark(test):
        test.timeout = seconds
        return test
    return mark


def attempts(count):
    """Decorator: how often a test may run if the emulator ends its guests, if not the usual number."""
    def mark(test):
        test.attempts = count
        return test
    return mark


def slow(test):
    """Decorator: a test that runs with SET=slow only."""
    test.slow = True
    return test


def read(where, path):
    """Reads a file of dom0, without a process, or of a guest."""
    if isinstance(where, guests.Guest):
        _, text = where.run(f"cat {path}")
        return text
    with open(path, encoding="ascii") as file:
        return file.read()


class Bed:
    domid = 0
    machine = os.uname().machine
    # Addresses that guests reach through dom0: dom0 itself, an address that never answers, one
    # without a route, dom0 for virtual NICs.
    address = "192.0.2.1"
    address6 = "2001:db8::1"
    blackhole = "192.0.2.99"
    blackhole6 = "2001:db8::99"
    unreachable = "203.0.113.1"
    bridge_address = "10.0.0.1"
    # The value of connect-allow for guests, unless a test sets another.
    connect_allow = guests.CONNECT_ALLOW

    xenstore = xenstore
    xensock = staticmethod(administrator.xensock)

    def __init__(self, kconfig="fast", with_slow=False, kernel="", passed=(), scale=1, seed=1):
        self.kconfig = kconfig
        # Seed of everything random.
        self.seed = seed
        self.slow = with_slow
        guests.Guest.soak = self.soak = "SOAK=1 " if with_slow else ""
        # The slow set runs everything again.
        self.verdicts = verdicts.Verdicts(kernel, () if with_slow else passed)
        # Slowness relative to one machine with a fast kernel. Waits are scaled by it.
        self.scale = guests.Guest.scale = job.Job.scale = scale
        # Set if a failed test runs once more.
        self.retries = False
        # The benchmark's guest, "pv" or "pvh", and the processor on which the emulator runs.
        self.kind, self.processor = "pv", ""
        self._guests = []
        self._shared = {}
        # Shared guests that no file uses at present, in the order in which they were kept.
        self._kept = []
        # Held to load drivers and to make guests: several may boot at the same time.
        self._lock = threading.Lock()
        self._jobs = []
        self._host = None
        self._host_lock = threading.Lock()
        self._running = False
        self._error = None
        # The backend drivers at the beginning of the test.
        self._served = []
        signal.signal(signal.SIGUSR1, self._raise_error)

    # Guests

    def guest(self, name="g1", **options):
        """Boots a guest and waits for it, see _boot() for the options.

        Under the emulator a new domain sometimes does not run: then another is made, once.
        """
        try:
            return self._boot(name, **options)
        except guests.GuestSilent as error:
            ktap.note("\n".join((str(error), *hypervisor.state()[:60])))
            self._guests.remove(error.guest)
            self._destroy(error.guest)
            return self._boot(name, **options)

    def _boot(self, name, memory=256, device="xensock", vif=False, vcpus=1,
              modules=None, backend=None, server=None, in_dom0=False, policy=(), extra="", room=0, **domain):
        """device: "xensock", "pvcalls" or None. The driver for it is loaded in
        dom0 (backend names another) and in the guest (modules, by default
        xensock if there is a device). server: a driver domain that serves
        the device instead of the host; dom0 serves it if in_dom0. policy: NODE=VALUE,
        see xensock(8). extra: for the kernel's command line. room: MiB that are
        left for another domain, as migration makes. domain: see guest.Guest.
        """
        if modules is None:
            modules = ["xensock"] if device else []
        if self.kconfig == "debug":
            memory = max(memory, 384)
            extra += " slab_debug=FZP"
        if self.kconfig in ("kasan", "guest") and modules:
            domain |= {"kind": "pvh", "image": "checked"}
        if self.kconfig == "kasan" and modules:
            memory = max(memory, 640)
        if device and not server and not in_dom0 and self.host is not self:
            server = self.host
        if device and backend != "" and not server:
            self._serve(backend or BACKENDS[device])
        if vif:
            self.modprobe("xen-netback")
        with self._lock:
            self._free_memory(memory + room)
            new = guests.Guest(name, memory, vcpus, vif, extra, self._guest_died, **domain)
            self._guests.append(new)
        new.server = server
        new.device = device if modules else None
        if device:
            new.attach(device, *policy)
        new.unpause()
        for module in modules:
            new.modprobe(module)
        if vif:
            new.address = f"10.0.0.{10 + new.domid % 200}"
            new.run("modprobe xen-netfront; until [ -e /sys/class/net/eth0 ]; do usleep 100000; done; "
                    f"ip address add {new.address}/24 dev eth0; ip link set eth0 up")
        return new

    def shared_driver_domain(self, name="net"):
        """Returns the driver domain shared by all tests of a file."""
        found = self._shared.get(name)
        if found is None or not found.alive:
            found = self._shared[name] = self.driver_domain(name)
        return found

    def driver_domain(self, name="net", **domain):
        """Boots a guest that serves others, at the addresses that dom0 has for its own guests."""
        new = self.guest(name, device=None, modules=["xensock_back"], extra="dummy.numdummies=1", **domain)
        rc, out = new.run("network")
        if rc:
            raise RuntimeError(f"driver domain {name}: {out}")
        new.serves = True
        return new

    @property
    def host(self):
        """The domain that serves guests by default: dom0, or a permanent driver domain."""
        if self.kconfig != "kasan":
            return self
        with self._host_lock:
            if self._host is None or not self._host.alive:
                self._host = self.driver_domain("host", memory=768, vcpus=2)
            return self._host

    def shared_guest(self, name="shared", policy=(), **options):
        """Returns the guest shared by all tests of a file. It is booted once, and again if it died. It gets another
        device for another policy.

        It may be a guest that another file with the same options has used, under any name.
        """
        wanted = repr(sorted(options.items()))
        device = options.get("device", "xensock")
        found, has_changed = self._shared.get(name), False
        if found is None or not found.alive:
            found, has_changed = self._take_kept(wanted), True
            if found is None:
                found, has_changed = self.guest(self._free_name(name), policy=policy, **options), False
                found.options, found.policy = wanted, policy
                # Its driver domain ends with the file.
                found.changed = "server" in options
            elif device and not found.server and options.get("backend") != "":
                # Another file may have unloaded its driver in dom0.
                self._serve(options.get("backend") or BACKENDS[device])
            self._shared[name] = found
        if found.options != wanted:
            raise RuntimeError(f"{wanted}: the shared guest of that name has other options: {found.options}")
        if found.policy != policy:
            if device:
                found.detach(device)
                found.attach(device, *policy)
            found.policy, has_changed = policy, True
        if has_changed and device and options.get("modules") != []:
            self._wait_link(found, device)
        return found

    def _take_kept(self, options):
        """Returns a kept guest with these options, or None."""
        with self._lock:
            for found in reversed(self._kept):
                if found.options == options and found.alive:
                    self._kept.remove(found)
                    return found
        return None

    @staticmethod
    def _state(guest, device):
        """Returns the state of its device, None if there is none."""
        return xenstore.read(f"/local/domain/{guest.domid}/device/{device}/0/state")

    def _wait_link(self, guest, device):
        """Waits until the guest has a link."""
        deadline = time.monotonic() + 60 * self.scale
        while self._state(guest, device) != "4":
            if time.monotonic() > deadline:
                raise RuntimeError(f"guest {guest.name} has no link")
            time.sleep(0.02)

    def _free_name(self, name):
        taken = {g.name for g in self._guests if g.alive}
        return next(free for free in (name, *(f"{name}{n}" for n in range(2, 99))) if free not in taken)

    def _free_memory(self, memory):
        """Destroys kept guests if their memory is needed."""
        for found in list(self._kept):
            used = sum(g.memory for g in self._guests if g.alive)
            if used + memory > MEMORY.get(self.kconfig, MEMORY["fast"]):
                self._destroy_kept(found)

    def _destroy_kept(self, found):
        self._kept.remove(found)
        self._guests.remove(found)
        self._destroy(found)

    @staticmethod
    @spent.measure("guests that boot")
    def at_once(*calls):
        """Makes calls that boot guests at the same time. Returns their results."""
        with ThreadPoolExecutor(len(calls)) as pool:
            return [task.result() for task in [pool.submit(call) for call in calls]]

    # dom0

    def start(self, command):
        """Starts a shell command in the background of dom0."""
        task = job.LocalJob(command)
        self._jobs.append(task)
        return task

    def run(self, command, timeout=None):
        """Runs a shell command in dom0. Returns (exit status, output)."""
        return self.start(command).wait(timeout)

    def modprobe(self, name, *parameters):
        if not self.loaded(name):
            # The package's configuration is not used: without udev nobody would set the policy of a
            # device made by xl, and a parameter of a Rust module cannot be given twice.
            self._run_checked(f"modprobe --config=/dev/null {name} {' '.join(parameters)}")

    def loaded(self, name):
        return os.path.isdir(f"/sys/module/{name.replace('-', '_')}")

    def _serve(self, name):
        """Loads this driver and unloads the others: two drivers may want the same type of device."""
        with self._lock:
            for other in BACKENDS.values():
                if other != name and self.loaded(other):
                    # Their devices belong to that driver and hold it.
                    for found in list(self._kept):
                        self._destroy_kept(found)
                    self.rmmod(other)
            self.modprobe(name)

    def rmmod(self, name):
        self._run_checked(f"rmmod {name}")

    def _run_checked(self, command):
        rc, out = self.run(command)
        if rc:
            raise RuntimeError(f"{command}: {out}")

    # For tests

    def skip(self, reason):
        raise Skip(reason)

    def pick(self, daily, slow, debug):  # pylint: disable=redefined-outer-name
        """Returns an amount: for the daily set, for SET=slow, or for a slow kernel."""
        if self.kconfig in CHECKED:
            return debug
        return slow if self.slow else daily

    def note(self, text):
        ktap.note(text)

    # Resources

    @spent.measure("counting")
    def counts(self):
        """Counts those resources of dom0 and of the host that are soon counted."""
        counts = {"event channels": 0}
        for where in {self, self.host}:
            counts["event channels"] += read(where, "/proc/interrupts").count("xen-dyn")
            for line in read(where, "/proc/net/sockstat").splitlines():
                protocol, values = line.split(":")
                pairs = values.split()
                for key, value in zip(pairs[::2], pairs[1::2]):
                    if (protocol, key) in (("TCP", "inuse"), ("TCP", "orphan"), ("TCP", "alloc"),
                                           ("UDP", "inuse")):
                        name = f"{protocol.lower()} {key}"
                        counts[name] = counts.get(name, 0) + int(value)
        return counts

    @spent.measure("counting grants")
    def snapshot(self):
        """Counts resources of dom0 and of the host. A quiet system returns to the same counts."""
        counts = self.counts()
        # Xen prints all grants on its serial line.
        alive = {g.domid for g in self._guests if g.alive}
        counts["grants"] = sum(domid in alive for domid in hypervisor.mapped_grants()) - self._count("spare-pages")
        return counts

    @spent.measure("waiting for rest")
    def quiet_snapshot(self):
        """Waits until dom0 is quiet. Returns the counts of its resources."""
        deadline = time.monotonic() + 2.5
        while (self._count("sockets-closed") or self.counts()["tcp orphan"]) and time.monotonic() < deadline:
            time.sleep(0.1)
        # A link that comes back takes event channels and grants. An earlier test may have reloaded the driver.
        for found in (*self._kept, *self._shared.values()):
            device = found.alive and found.device
            if device and (found.server or self.loaded(BACKENDS[device])) and self._state(found, device):
                with contextlib.suppress(RuntimeError):
                    self._wait_link(found, device)
        before = None
        while (after := self.snapshot()) != before:
            before = after
            time.sleep(0.1)
        return after

    def _count(self, name):
        """Returns a count of all backends: the sum over their devices."""
        counts = [self._counts_here(), *(g.run(f"cat {COUNTS}/*/counts 2>/dev/null")[1] for g in self._guests
                                         if g.serves and g.alive)]
        return sum(map(int, re.findall(rf"^{name} (\d+)$", "\n".join(counts), re.MULTILINE)))

    @staticmethod
    def _counts_here():
        text = ""
        for name in os.listdir(COUNTS) if os.path.isdir(COUNTS) else ():
            # The device may just be removed.
            with contextlib.suppress(OSError):
                text += read(None, f"{COUNTS}/{name}/counts")
        return text

    def slab(self):
        """Returns the number of active objects of every slab cache."""
        lines = read(self.host, "/proc/slabinfo").splitlines()
        return {fields[0]: int(fields[1]) for fields in map(str.split, lines) if fields[1].isdigit()}

    # For the runner

    def begin(self):
        self._running = True
        self._error = None
        self._served = [name for name in BACKENDS.values() if self.loaded(name)]

    def stop(self):
        """From now on the death of a guest no longer interrupts the test."""
        self._running = False

    def end(self):
        """Ends a test: only shared guests stay."""
        for task in self._jobs:
            if task.running:
                task.kill()
        self._jobs.clear()
        self._kept = [found for found in self._kept if found.alive]
        remaining = [g for g in (*self._shared.values(), *self._kept, self._host) if g and g.alive]
        for found in remaining:
            found.kill_jobs()
        gone = [g for g in self._guests if g not in remaining]
        self._guests = remaining
        for found in gone:
            self._destroy(found)
        # A test that has failed may have left none, which the next ones need.
        if not any(self.loaded(name) for name in BACKENDS.values()):
            for name in self._served:
                self.modprobe(name)

    def end_file(self, all_well):
        """Ends a file: keeps shared guests that other files may use if all went well, destroys the
        rest."""
        for name, found in self._shared.items():
            if all_well and found.alive and found.options is not None and not found.changed:
                found.run("rm -rf /tmp/*")
                if name != "shared":
                    # Who uses it next gets another device, as this file may have changed its policy.
                    found.policy = None
                self._kept.append(found)
        self._shared.clear()
        self.end()

    def close(self):
        """Destroys all guests."""
        self._kept.clear()
        self._host = None
        self.end()

    def _destroy(self, found):
        try:
            if found.alive and self.kconfig in CHECKED:
                found.run(guests.SCAN_LEAKS, 300)
        finally:
            found.destroy()

    def _guest_died(self, error):
        self._error = error
        if threading.current_thread() is not threading.main_thread():
            os.kill(os.getpid(), signal.SIGUSR1)

    def _raise_error(self, *_):
        if self._running and self._error:
            self._running = False
            raise self._error
