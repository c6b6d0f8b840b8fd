// SPDX-License-Identifier: GPL-2.0
/*
 * Sends --bytes as fast as it can, checks if anything was received, and prints
 * errors. The exit status is 0 if there were none.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "util.h"

int main(int argc, char **argv)
{
	static char data[65536];
	__u64 left;
	ssize_t n;
	int fd;

	parse_options(argc, argv);
	fd = connect_port(opt.port + PEER_ECHO, 0);
	if (fd < 0)
		return 2;
	for (left = opt.bytes; left; left -= n) {
		n = send(fd, data, left < sizeof(data) ? left : sizeof(data), 0);
		if (n < 0) {
			printf("send: %s\n", strerrorname_np(errno));
			return 1;
		}
	}
	n = recv(fd, data, sizeof(data), MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return 0;
	printf("recv: %s\n", n < 0 ? strerrorname_np(errno) : "something");
	return 1;
}
