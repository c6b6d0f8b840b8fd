# SPDX-License-Identifier: GPL-2.0
# Shared by all stages of the test bed: paths, progress messages, locks between two runs at once.
# Sourced, not run.

set -euo pipefail
export LC_ALL=C

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BED=$TOP/tools/bed
CACHE=${XENSOCK_CACHE:-/var/cache/xensock}
KCONFIG=${KCONFIG:-fast}
SUITE=trixie
SOURCE_PACKAGE=linux-source-7.3
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# The target machine, in the names of Debian and the kernel, and what selects it in the kernel's makefiles.
MACHINE=amd64 TRIPLET=x86_64-linux-gnu IMAGE=arch/x86/boot/bzImage LOADER=lib64/ld-linux-x86-64.so.2
CROSS=()
case $KCONFIG in
arm64*)
	MACHINE=arm64 TRIPLET=aarch64-linux-gnu IMAGE=arch/arm64/boot/Image LOADER=lib/ld-linux-aarch64.so.1
	CROSS=("ARCH=$MACHINE" "CROSS_COMPILE=$TRIPLET-")
	;;
esac

# The start time of the whole command. make exports it, so that each stage counts from the same
# zero.
export XENSOCK_T0=${XENSOCK_T0:-$(date +%s)}

say() { printf '[%4ds] %s\n' $(($(date +%s) - XENSOCK_T0)) "$*" >&2; }
die() { say "error: $*"; exit 1; }

mkdir -p "$CACHE" 2>/dev/null || die "cannot make the directory $CACHE: run this as root ('sudo make ...'), or name another by XENSOCK_CACHE=path"
[ -e "$TOP/tools/configs/$KCONFIG.config" ] && [ "$KCONFIG" != base ] ||
	die "KCONFIG=$KCONFIG: there is no such configuration, but $(cd "$TOP/tools/configs" && ls | sed -n '/^base/d; s/\.config$//p' | xargs)"
[ -z "${LINUX:-}" ] || [ -e "$LINUX/Kbuild" ] || die "LINUX=$LINUX is not a kernel tree"

need_root() {
	[ "$(id -u)" = 0 ] || die "this must run as root (it makes chroots and mounts): try 'sudo make ...'"
}

# stage_lock NAME: holds the lock of a stage until this script ends.
stage_lock() {
	exec {LOCK_FD}>"$CACHE/.lock.$1"
	flock -n "$LOCK_FD" && return
	say "another run is busy with stage '$1': waiting for it"
	flock "$LOCK_FD"
}

# logged NAME TEXT COMMAND...: runs a long command with its output in a log, prints progress every
# half minute, and shows the end of the log if the command fails.
logged() {
	local log=$CACHE/log/$1.log text=$2 pid began=$SECONDS next=30
	shift 2
	mkdir -p "$CACHE/log"
	say "$text (log: $log)"
	set -m # a process group of its own, so that all of it can be ended
	"$@" >"$log" 2>&1 </dev/null &
	set +m
	pid=$!
	trap 'kill -- -$pid 2>/dev/null; exit 1' INT TERM HUP
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		if ((SECONDS - began >= next)); then
			say "  ... $(tail -n 1 "$log" | cut -c1-100)"
			next=$((next + 30))
		fi
	done
	if wait "$pid"; then
		trap - INT TERM HUP
		return
	fi
	tail -n 40 "$log" >&2
	die "$text: failed, the whole log is $log"
}

# Prints the Debian mirror that this machine uses, unless MIRROR= names another.
mirror() {
	if [ -n "${MIRROR:-}" ]; then
		echo "$MIRROR"
		return
	fi
	local found
	found=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' |
		awk '$1 == "Debian" { print $2; exit }')
	[ -n "$found" ] || die "no Debian mirror in this machine's apt configuration: run apt-get update, or give MIRROR=http://.../debian"
	echo "$found"
}

key_of() { sha256sum | cut -c1-12; }

# version_of VERSION PATH...: prints VERSION+gitTIME.COMMIT for a package of these files, of the last
# commit that has changed one of them. Times order the versions, also those of one day. Without git it
# is VERSION.
version_of() {
	local version=$1 commit
	shift
	git_in_top() { git --no-optional-locks -c safe.directory="$TOP" -C "$TOP" "$@" 2>/dev/null; }
	commit=$(TZ=UTC git_in_top log -1 --date=format-local:%Y%m%d%H%M%S --abbrev=12 --format=%cd.%h -- "$@") || commit=
	if [ -n "$commit" ]; then
		version+=+git$commit
		[ -z "$(git_in_top status --porcelain -- "$@")" ] || version+=.changed
	fi
	echo "$version"
}
