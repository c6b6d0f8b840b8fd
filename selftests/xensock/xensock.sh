#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The cases that need no peer in the backend domain, in a guest that has a backend. The other cases
# need `peer` there, with settings of its network: see the scenarios.

cd "$(dirname "$0")" || exit 1
modprobe -q xensock 2>/dev/null

echo "TAP version 13"
# It connects if the policy allows it and a server exists. Either is fine here.
case $(./attempt connect 127.0.0.1 9) in
EAFNOSUPPORT) reason="this kernel has no AF_XENSOCK" ;;
ENETDOWN) reason="no backend is connected, or this is no Xen guest" ;;
*) reason= ;;
esac
if [ -n "$reason" ]; then
	echo "1..0 # SKIP $reason"
	exit 4
fi

set -- \
	close/never_connected \
	datagram_poll/fresh \
	datagram_poll/what_a_socket_says_of_itself \
	datagram_poll/protocols_that_there_are_not \
	family/no_pairs \
	family/sockets_that_there_are_not \
	linger/linger_without_a_connection \
	poll/fresh \
	stream/before_connect

echo "1..$#"
number=0 failed=0
for case in "$@"; do
	number=$((number + 1))
	# A case that no longer exists is a failure.
	if output=$("./${case%/*}" -t "${case#*/}" 2>&1) && echo "$output" | grep -q "^ok 1 "; then
		echo "ok $number $case"
	else
		echo "$output" | sed 's/^/# /'
		echo "not ok $number $case"
		failed=1
	fi
done
exit $failed
