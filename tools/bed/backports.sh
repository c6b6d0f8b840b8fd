# SPDX-License-Identifier: GPL-2.0
# Packages of Debian's backports, with a temporary apt configuration: this machine's own
# configuration is neither used nor changed. Sourced after common.sh.

BACKPORTS=$CACHE/apt

# open_backports: reads the package lists.
open_backports() {
	stage_lock backports
	rm -rf "$BACKPORTS"
	mkdir -p "$BACKPORTS"/{lists/partial,cache/archives/partial,deb}
	touch "$BACKPORTS/status"
	echo "deb [signed-by=$KEYRING] $(mirror) $SUITE-backports main" >"$BACKPORTS/sources.list"
	APT_OPTIONS=(
		-o Dir::Etc::SourceList="$BACKPORTS/sources.list" -o Dir::Etc::SourceParts=/dev/null
		-o Dir::State::Lists="$BACKPORTS/lists" -o Dir::State::status="$BACKPORTS/status"
		-o Dir::Cache="$BACKPORTS/cache" -o APT::Sandbox::User=root
	)
	logged source-update "looking at $SUITE-backports" apt-get "${APT_OPTIONS[@]}" update
	! grep -q 'NO_PUBKEY' "$CACHE/log/source-update.log" ||
		die "$KEYRING lacks the $SUITE archive key: apt-get install debian-archive-keyring"
}

# backport_version PACKAGE: prints the newest version, nothing if there is none.
backport_version() {
	apt-cache "${APT_OPTIONS[@]}" show "$1" 2>/dev/null | sed -n 's/^Version: //p' | head -n 1
}

# unpack_backport PACKAGE VERSION: unpacks it into $BACKPORTS/deb.
unpack_backport() {
	cd "$BACKPORTS"
	logged source-fetch "fetching $1 $2" apt-get "${APT_OPTIONS[@]}" download "$1=$2"
	dpkg-deb -x "$1"_*.deb deb
	cd - >/dev/null
}
