// SPDX-License-Identifier: GPL-2.0
/*
 * Connects and closes, and then connects to the next port as many sockets as rings were kept by
 * that, without waiting. Does this again and again, and keeps the sockets to the next port. See
 * "unmap" of silent_back, which counts them.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

/* A user's share of the spare rings. */
#define RINGS 14
/* Some connections may find no spare ring, as the rings are kept only later. */
#define MOST 4000

static bool begin_to_connect(void)
{
	int fd = new_socket(SOCK_NONBLOCK);

	return fd >= 0 && (!connect_to(fd, opt.host, opt.port + 1) || errno == EINPROGRESS);
}

int main(int argc, char **argv)
{
	int i, n, fds[RINGS];

	parse_options(argc, argv);
	allow_files(MOST + 100);
	for (n = 0; n < MOST; n += RINGS) {
		for (i = 0; i < RINGS; i++) {
			fds[i] = connect_port(opt.port, 0);
			if (fds[i] < 0) {
				printf("connect: %m\n");
				return 1;
			}
		}
		for (i = 0; i < RINGS; i++)
			close(fds[i]);
		poll(NULL, 0, 50);
		for (i = 0; i < RINGS; i++) {
			if (!begin_to_connect()) {
				printf("connect: %m\n");
				return 1;
			}
		}
	}
	pause();
	return 0;
}
