# SPDX-License-Identifier: GPL-2.0
# Images for a machine whose programs cannot run here. Debian's packages are unpacked and not
# configured, except for what dom0 needs. Sourced by images.
. "$BED/chroot.sh"

# PostgreSQL needs one of its programs to make a cluster. A library of udev's is where files_of() does not
# look. The build root has no busybox for the guests.
packages=("${packages[@]/postgresql-17/busybox-static}" '?essential')
unset 'more[postgresql]' 'more[udev]'

make_root() {
	mmdebstrap --variant=extract --architectures="$MACHINE" --keyring="$KEYRING" \
		--include="$(IFS=,; echo "${packages[*]}")" "$SUITE" "$1" "$2"
	cp "$1/usr/share/base-passwd/passwd.master" "$1/etc/passwd"
	cp "$1/usr/share/base-passwd/group.master" "$1/etc/group"
	ln -s mawk "$1/usr/bin/awk"
	rmdir "$1/var/run"
	ln -s /run "$1/var/run"
}

files_of() (
	cd "$1"
	# shellcheck disable=SC2086 # they are patterns
	find -H $2 -type f ! -path '*/test/*' ! -name '*.pyc'
	programs=()
	for name in $2; do
		[ ! -f "$name" ] || [ ! -x "$name" ] || programs+=("$name")
	done
	# Libraries need further libraries, so repeat until there are no new ones.
	# shellcheck disable=SC2016 # expanded by the inner shell
	in_buildroot "$1=/stage" -- sh -euc '
		cd /stage
		directory=$1 before=
		shift
		while
			needed=$(readelf -d "$@" | sed -n "s,.*(NEEDED).*\[\(.*\)\],$directory/\1,p" | sort -u)
			[ "$needed" != "$before" ]
		do
			before=$needed
			set -- "$@" $needed
		done
		[ -z "$needed" ] || echo "$needed"
	' files_of "lib/$TRIPLET" "${programs[@]}"
)
