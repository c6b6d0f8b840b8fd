// SPDX-License-Identifier: GPL-2.0
/*
 * Has a connection with the peer, and waits for a file /tmp/go. Then receives
 * one byte. Prints the limit of its receive window before, and afterwards when
 * it has changed.
 */
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

static int limit_of(int fd)
{
	int limit = -1;
	socklen_t len = sizeof(limit);

	getsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &limit, &len);
	return limit;
}

int main(int argc, char **argv)
{
	struct peer peer;
	int fd, before, now, on = 1;
	__u64 until;
	char byte;

	parse_options(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!peer_open(&peer, 0))
		return 1;
	fd = peer_connect(&peer, 0);
	/* An option that has nothing to do with buffers. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on))) {
		perror("window");
		return 1;
	}
	before = limit_of(fd);
	printf("window %d\n", before);
	while (access("/tmp/go", F_OK))
		poll(NULL, 0, 50);
	if (!peer_send(&peer, "send 1 1") || recv(fd, &byte, 1, 0) != 1)
		return 1;
	/* The backend changes it after it has passed the byte on. */
	until = now_msec() + WAIT_LIMIT_MSEC;
	while ((now = limit_of(fd)) == before && now_msec() < until)
		poll(NULL, 0, 10);
	printf("%d\n", now);
	return 0;
}
