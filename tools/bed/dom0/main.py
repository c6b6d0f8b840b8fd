# SPDX-License-Identifier: GPL-2.0
"""Runs the scenarios that the host chose, or a shell; then powers off."""

import collections
import fnmatch
import glob
import importlib.util
import json
import os
import signal
import subprocess
import threading
import time
import traceback

import bed as beds
import guest
import hypervisor
import job
import ktap
import port
import spent


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tests = [(key.removeprefix("test_"), value) for key, value in vars(module).items()
             if key.startswith("test_") and callable(value)]
    return tests, getattr(module, "LAST", False), getattr(module, "GROUP", name)


def alarm(*_):
    raise beds.TestTimeout("the test took too long")


def attempt(bed, test):
    """Runs a test function, and explains a failure. Returns (result, directive, error)."""
    signal.setitimer(signal.ITIMER_REAL, getattr(test, "timeout", 120) * bed.scale)
    bed.begin()
    try:
        try:
            with spent.measure("scenarios"):
                test(bed)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            bed.stop()
        return not ktap.Subtests.failed, "", None
    except beds.Skip as reason:
        return not ktap.Subtests.failed, f"SKIP {reason}", None
    except BaseException as error:  # pylint: disable=broad-except
        ktap.note(traceback.format_exc())
        if isinstance(error, job.CommandTimeout):
            # The reason may be a domain that does not run, or its clock.
            ktap.note("\n".join(hypervisor.state()[:60]))
        return False, "", error


# How often a test runs at most if the emulator ends its guest, if it does not say another number.
ATTEMPTS = 6


def is_emulator(error):
    """Returns True if the emulator has ended the guest, see hypervisor.MIXED_UP."""
    return isinstance(error, guest.GuestDied) and error.domid and hypervisor.was_mixed_up(error.domid)


def run_once(bed, name, test):
    """Runs one test function, and explains a failure. Returns (result, directive).

    Under the emulator a PVH guest sometimes ends, on some machines every minute: then the test runs again.
    """
    ktap.Subtests.begin(name)
    for _ in range(getattr(test, "attempts", ATTEMPTS)):
        ok, directive, error = attempt(bed, test)
        if not is_emulator(error) or ktap.Subtests.failed:
            break
        ktap.note("the emulator has mixed up the registers of guest and host, see xen.log")
        if not clean_up(bed.end):
            # What is left could make the next attempt fail, or hide a failure. This attempt has failed.
            break
    with spent.measure("ends of tests"):
        ok &= clean_up(bed.end)
    return ok, directive


def run_test(bed, number, file, name, test):
    """Runs one test function. Prints its result line, preceded by the explanation of a failure.

    With bed.retries, a failed test runs once more, with guests of its own. What it has printed before are
    notes then, and the run lists it if it passes.
    """
    began = time.monotonic()
    port.emit("D", f"# {file}.{name}")
    if bed.retries:
        ktap.hold()
    ok, directive = run_once(bed, name, test)
    repeats = bed.retries and not ok and has_time()
    ktap.release(as_notes=repeats)
    if repeats:
        failed = set(ktap.Subtests.failed)
        ktap.note("this has failed, and runs once more")
        is_clean = clean_up(lambda: bed.end_file(False))
        ok, directive = run_once(bed, name, test)
        # What has failed has to pass, not to be skipped.
        ok &= is_clean and not directive and not failed & set(ktap.Subtests.skipped)
        if ok:
            port.emit("F", f"{file}.{name}")
    ktap.result(number, name, ok, directive)
    port.emit("S", f"{file}.{name} {time.monotonic() - began:.2f}")
    return ok


def has_time():
    """Returns True if a test may begin now. The host's clock counts."""
    return bool(port.ask("Q"))


def clean_up(action):
    try:
        action()
    except Exception:  # pylint: disable=broad-except
        ktap.note("cleaning up: " + traceback.format_exc())
        return False
    return True


def choose(patterns, with_slow, times, left_out):
    """Returns the tests, by scenario file, whose FILE.TEST matches one of the patterns.

    Files that the last run has left out come first, then those that took long in earlier runs, so that
    the last ones are short. Files of a group, which share guests, come together.
    """
    chosen = []
    time_of_group = collections.Counter()
    groups_left_out = set()
    for path in sorted(glob.glob("/bed/scenarios/*.py")):
        name = os.path.basename(path)[:-3]
        try:
            tests, is_last, group = load(name, path)
        except Exception:  # pylint: disable=broad-except
            tests, is_last, group = [("load", failing_test(traceback.format_exc()))], False, name
        tests = [(key, test) for key, test in tests
                 if (with_slow or not getattr(test, "slow", False))
                 and (key == "load" or any(fnmatch.fnmatch(f"{name}.{key}", pattern)
                                           for pattern in patterns.split()))]
        if tests:
            time_of_group[group] += times.get(name, 0)
            if name in left_out:
                groups_left_out.add(group)
            chosen.append((is_last, group, -times.get(name, 0), name, tests))
    chosen.sort(key=lambda file: (file[0], file[1] not in groups_left_out, -time_of_group[file[1]], *file[1:4]))
    return {name: tests for *_, name, tests in chosen}


def failing_test(text):
    """Returns a test that stands for a scenario file that cannot be loaded."""
    def test(_):
        raise ImportError(text)
    return test


def run_file(bed, number, name, tests):
    ok = True
    with ktap.nested(name, len(tests)):
        for index, (key, test) in enumerate(tests, 1):
            if has_time():
                ok &= run_test(bed, index, name, key, test)
            else:
                ktap.result(index, key, True, "SKIP no time is left")
                port.emit("L", f"{name}.{key}")
    with spent.measure("ends of files"):
        ok &= clean_up(lambda: bed.end_file(ok))
    ktap.result(number, name, ok)


def run_all(options):
    signal.signal(signal.SIGALRM, alarm)
    bed = beds.Bed(options["kconfig"], options["set"] == "slow", options["kernel"], options["verdicts"],
                   options["scale"], options["seed"])
    bed.retries = options["retries"]
    bed.kind, bed.processor = options["kind"], options["processor"]
    files = choose(options["tests"], bed.slow, options["times"], options["left_out"])
    for name, tests in files.items():
        for key, _ in tests:
            port.emit("P", f"{name}.{key}")
    # Another machine may run files too.
    while answer := port.ask("N"):
        number, name = answer.split()
        run_file(bed, int(number), name, files[name])
    bed.close()


def shell():
    """A shell at dom0's console for interactive use, with one guest."""
    config = "/run/xen/g1.cfg"
    with open(config, "w") as file:
        file.write(guest.CONFIG.format(name="g1", memory=256, vcpus=1, extra="shell", vif="",
                                       kernel=f"{guest.IMAGES}/kernel", ramdisk=f"{guest.IMAGES}/initrd",
                                       config=guest.TYPE_CONFIG["pv"]))
    subprocess.run(
        "modprobe xensock_back; xl create -q -p /run/xen/g1.cfg && "
        f"xensock attach g1 connect-allow='{guest.CONNECT_ALLOW}' && xl unpause g1; "
        "echo; echo 'This is dom0 (192.0.2.1), which the guest g1 may reach. xl console g1 gives the guest, "
        "Ctrl-] comes back; exit switches off.'; setsid -c bash -l </dev/hvc0 >/dev/hvc0 2>&1", shell=True, check=False)


def heartbeat():
    """Sends signs of life, so that the host can tell a quiet test from a hanging machine."""
    while True:
        port.emit("H", "")
        time.sleep(5)


def main():
    port.open_port()
    threading.Thread(target=heartbeat, daemon=True).start()
    with open("/bed/run.json") as file:
        options = json.load(file)
    try:
        if options["mode"] == "shell":
            shell()
        else:
            run_all(options)
            if options["kconfig"] == "debug":
                job.LocalJob(guest.SCAN_LEAKS).wait(600)
        spent.send_totals()
        port.emit("E", "done")
    except BaseException:  # pylint: disable=broad-except
        for line in traceback.format_exc().splitlines():
            port.emit("D", line)
    with open("/proc/sysrq-trigger", "w") as file:
        file.write("o")
    signal.pause()


if __name__ == "__main__":
    main()
