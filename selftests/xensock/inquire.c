// SPDX-License-Identifier: GPL-2.0
/*
 * Has three bound datagram sockets, and asks for an option of the second one again and again.
 * Prints "bound".
 */
#include <stdio.h>

#include "datagram.h"

#define PORT 7340

int main(int argc, char **argv)
{
	int fds[3], i;

	parse_options(argc, argv);
	setlinebuf(stdout);
	for (i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = new_datagram(0);
		if (bind_to(fds[i], ANY_HOST, PORT + i)) {
			printf("bind: %m\n");
			return 1;
		}
	}
	printf("bound\n");
	for (;;) {
		int ttl;
		socklen_t len = sizeof(ttl);

		getsockopt(fds[1], IPPROTO_IP, IP_TTL, &ttl, &len);
		poll(NULL, 0, 10);
	}
}
