# SPDX-License-Identifier: GPL-2.0
# Everything that is done with this repository. Run as root on Debian 12 or 13. Downloads and build
# products stay in a cache outside the checkout.

KCONFIG ?= $(if $(filter arm64,$(ARCH)),arm64,fast)
TESTS ?= *
SET ?= daily
export KCONFIG TESTS SET SEED LINUX MIRROR XENSOCK_CACHE V
export XENSOCK_T0 := $(shell date +%s)

ifeq ($(ARCH),arm64)
ifeq ($(filter arm64%,$(KCONFIG)),)
$(error KCONFIG=$(KCONFIG) is not for ARCH=arm64)
endif
endif

BED := tools/bed
CACHE := $(or $(XENSOCK_CACHE),/var/cache/xensock)

help:
	@echo 'make demo       guests with no network card have dom0's: AF_XENSOCK, and curl and nginx by sysctl'
	@echo 'make test       host tests, then all scenarios on Xen: ends with N passed, N failed'
	@echo 'make bench      throughput, latency, connections a second, against netfront'
	@echo 'make vm         an interactive bed: a shell in dom0, "xl console g1" for the guest'
	@echo 'make kernel     builds the kernel image and its modules'
	@echo 'make modules    builds the modules only'
	@echo 'make deb        the Debian package of the tools, looked at by lintian'
	@echo 'make deb-kernel the kernel as Debian packages, CONFIG=file or as Debian has it'
	@echo 'make check      rustfmt, clippy, checkpatch, host tests, the command, the guest kernel'
	@echo 'make kunit      runs the KUnit tests in a guest with the debug kernel'
	@echo 'make series     writes the patches that one would post; FIGURES=file for the cover letter'
	@echo 'make docs       the documentation as HTML, and rustdoc of the kernel crates'
	@echo 'make clean      removes the kernel trees, what was built and the results'
	@echo 'make distclean  removes the whole cache: build root, kernel source, images too'
	@echo
	@echo 'KCONFIG=fast|debug|bpf|kasan|guest  the kernel configuration (now: $(KCONFIG))'
	@echo 'ARCH=arm64           make kernel for 64-bit Arm: KCONFIG=arm64, or arm64-64k with its larger pages'
	@echo 'TESTS=FILE.TEST ...  which tests, with wildcards (now: $(TESTS))'
	@echo 'SET=slow             with the long soaks, before a release (now: $(SET))'
	@echo 'SEED=N               repeats what a fuzzer of an earlier run did, which says its N'
	@echo 'V=1                  shows every console'
	@echo 'LINUX=path           a clean 7.3 kernel tree instead of the fetched one; for modules also'
	@echo '                     one that was prepared as README.md says, and built'
	@echo 'MIRROR=url           the Debian mirror, if not that of this machine'
	@echo 'XENSOCK_CACHE=path   the cache, if not /var/cache/xensock'

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
