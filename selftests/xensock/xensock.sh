#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The cases that need nobody in the backend domain, in a guest that has one. The others
# need `peer` there, and what it is to see: see the scenarios.

cd "$(dirname "$0")" || exit 1
modprobe -q xensock 2>/dev/null

echo "TAP version 13"
# It connects if the policy lets it and somebody is there; that does not matter.
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
	# One that is not there any more is a failure, and not no test.
	if output=$("./${case%/*}" -t "${case#*/}" 2>&1) && echo "$output" | grep -q "^ok 1 "; then
		echo "ok $number $case"
	else
		echo "$output" | sed 's/^/# /'
		echo "not ok $number $case"
		failed=1
	fi
done
exit $failed
