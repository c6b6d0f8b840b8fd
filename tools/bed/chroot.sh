# SPDX-License-Identifier: GPL-2.0
# Runs a command in the build root, with directories of this machine bound into it. Sourced after
# common.sh.

# in_buildroot [DIR=AT]... -- COMMAND...: the mounts are in a mount namespace of the command's own,
# so nothing stays mounted whatever happens to the command.
in_buildroot() (
	exec_in_buildroot "$@"
)

# The same, in place of this shell.
exec_in_buildroot() {
	local root bind
	local -a binds=()
	root=$("$BED/buildroot")
	while [ "$1" != -- ]; do
		binds+=("$1")
		shift
	done
	shift
	for bind in "${binds[@]}"; do
		mkdir -p "${bind%%=*}" "$root${bind##*=}"
	done
	# shellcheck disable=SC2016 # expanded by the inner shell
	exec unshare --mount --propagation private bash -euc '
		root=$1; shift
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		while [ "$1" != -- ]; do
			mount --bind "${1%%=*}" "$root${1##*=}"
			shift
		done
		shift
		exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C "$@"
	' in_buildroot "$root" "${binds[@]}" -- "$@"
}
