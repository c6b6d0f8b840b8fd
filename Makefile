# SPDX-License-Identifier: GPL-2.0
# Everything that is done with this repository. Run as root on Debian 12 or 13. Downloads and build
# products stay in a cache outside the checkout.

KCONFIG ?= $(if $(filter arm64,$(ARCH)),arm64,fast)
TESTS ?= *
SET ?= daily
KIND ?= pv
export KCONFIG TESTS SET KIND SEED MINUTES RETRY LINUX MIRROR XENSOCK_CACHE V
export XENSOCK_T0 := $(shell date +%s)

ifneq ($(filter-out arm64 x86 x86_64,$(ARCH)),)
$(error ARCH=$(ARCH): there are x86_64, which is the default, and arm64)
endif
ifeq ($(ARCH),arm64)
ifeq ($(filter arm64%,$(KCONFIG)),)
$(error KCONFIG=$(KCONFIG) is not for ARCH=arm64, which has KCONFIG=arm64 and arm64-64k)
endif
endif

BED := tools/bed
CACHE := $(or $(XENSOCK_CACHE),/var/cache/xensock)

help:
	@echo 'make demo       boots Xen: a guest without a network card fetches a page, another runs curl and nginx'
	@echo 'make test       runs the host tests, and the scenarios on Xen; the last line is N passed, N failed'
	@echo 'make bench      measures throughput, latency and connections a second, against netfront'
	@echo 'make vm         boots Xen and gives a shell in dom0; "xl console g1" there is the guest'
	@echo 'make kernel     builds the kernel image and its modules'
	@echo 'make modules    builds the modules only'
	@echo 'make deb        makes the Debian package xensock-tools, and has lintian check it'
	@echo 'make deb-kernel makes Debian packages of the kernel: CONFIG=file, or as Debian has it (hours, 30 GB)'
	@echo 'make check      runs rustfmt, clippy, checkpatch, lintian, the host tests; builds the kernel for guests alone'
	@echo 'make kunit      runs the KUnit tests in a guest with the debug kernel'
	@echo 'make series     writes the patches that one would post, and checks them; FIGURES=file for the cover letter'
	@echo 'make docs       makes the documentation as HTML, and rustdoc of the kernel crates'
	@echo 'make clean      removes the kernel trees, what was built and the results'
	@echo 'make distclean  removes the whole cache: build root, kernel source, images too'
	@echo
	@echo 'Run it as root on Debian 12 or 13. The first run builds a kernel, in up to an hour and 8 GB.'
	@echo
	@echo 'KCONFIG=fast|debug|bpf|kasan|guest  the kernel configuration (now: $(KCONFIG))'
	@echo 'ARCH=arm64           for 64-bit Arm: KCONFIG=arm64, or arm64-64k with its larger pages'
	@echo "TESTS='FILE.TEST...' which tests, with wildcards: TESTS='policy.* names.tcp' (now: $(TESTS))"
	@echo '                     The files are those of selftests/xensock/scenarios.'
	@echo 'SET=slow             the long soaks too, before a release (now: $(SET))'
	@echo 'KIND=pvh             make bench with a PVH guest of two vCPUs (now: $(KIND))'
	@echo 'SEED=N               repeats what a fuzzer did in an earlier run, which says its N'
	@echo 'MINUTES=N            begins no test later, for a slow machine with a limit of time'
	@echo 'RETRY=1              runs a failed test once more, and lists it if it passes then'
	@echo 'V=1                  shows every console'
	@echo 'LINUX=path           a clean 7.3 kernel tree instead of the fetched one; for modules also'
	@echo '                     one that was prepared as CONTRIBUTING.md says, and built'
	@echo 'MIRROR=url           the Debian mirror, if not that of this machine'
	@echo 'XENSOCK_CACHE=path   the cache, if not /var/cache/xensock'
	@echo
	@echo 'CONTRIBUTING.md says more. Logs of builds are in log in the cache, those of the last run in results/latest.'

.DEFAULT:
	@echo "make: there is no target '$@'; 'make help' lists all" >&2; exit 1

kernel:
	@$(BED)/host-packages && $(BED)/kbuild image modules

# With LINUX=, against that built kernel, through the Kbuild beside this file. Otherwise the bed
# does the same with its own kernel.
modules:
ifneq ($(and $(LINUX),$(wildcard $(LINUX)/.config)),)
	@$(MAKE) --no-print-directory -C $(LINUX) M=$(CURDIR) MO=$(CACHE)/modules modules && \
		echo "see $(CACHE)/modules/net/xensock"
else
	@$(BED)/host-packages && $(BED)/kbuild modules
endif

test demo bench vm kunit:
	@$(BED)/on-xen $@

deb:
	@$(BED)/host-packages && deb=$$($(BED)/tools-deb) && $(BED)/lint-deb $$deb && echo "see $$deb"

deb-kernel:
	@$(BED)/host-packages && debs=$$(CONFIG='$(CONFIG)' $(BED)/kernel-deb) && echo "see $$debs"

check:
	@$(BED)/check

docs:
	@$(BED)/host-packages && pages=$$($(BED)/htmldocs) && echo "see $$pages/index.html" && \
		out=$$($(BED)/kbuild rustdoc) && \
		echo "see $$out/Documentation/output/rust/rustdoc/kernel/index.html"

series:
	@$(BED)/host-packages && kernel=$$($(BED)/source) && \
		tools/series/series "$$kernel" $(CACHE)/series $(FIGURES) && echo "see $(CACHE)/series"

clean distclean:
	@$(BED)/$@

.PHONY: help kernel modules test demo bench vm kunit check docs series deb deb-kernel clean distclean
