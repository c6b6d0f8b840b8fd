// SPDX-License-Identifier: GPL-2.0
/*
 * Has a connection with the peer, and waits for a file /tmp/go. Then receives
 * one byte. Prints the limit of its receive window before, and afterwards when
 * it has changed.
 *
 *   window clamp SIZE  sets TCP_WINDOW_CLAMP before, and prints the limit afterwards
 *                   in any case
 *   window SIZE...  sets SO_RCVBUF to each of the sizes, and receives --bytes.
 *                   Prints "ready" then, and keeps the connection.
 */
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static int set_limit(int fd, int limit)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &limit, sizeof(limit));
}

static int receive_with(struct peer *peer, int fd, char **sizes)
{
	static char data[65536];
	unsigned long long left;
	ssize_t n;

	for (; *sizes; sizes++) {
		int size = atoi(*sizes);

		if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)))
			return 1;
	}
	if (!peer_send(peer, "send %llu 1", (unsigned long long)opt.bytes))
		return 1;
	for (left = opt.bytes; left; left -= n) {
		n = recv(fd, data, sizeof(data), 0);
		if (n <= 0)
			return 1;
	}
	printf("ready\n");
	pause();
	return 0;
}

int main(int argc, char **argv)
{
	struct peer peer;
	int fd, before, now, on = 1;
	bool has_clamp;
	__u64 until;
	char byte;

	argc = parse_options(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!peer_open(&peer, 0))
		return 1;
	fd = peer_connect(&peer, 0);
	/* An option that has nothing to do with buffers. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on))) {
		perror("window");
		return 1;
	}
	has_clamp = argc == 3 && !strcmp(argv[1], "clamp");
	if (has_clamp && set_limit(fd, atoi(argv[2]))) {
		perror("window clamp");
		return 1;
	}
	if (argc > 1 && !has_clamp)
		return receive_with(&peer, fd, argv + 1);
	before = limit_of(fd);
	printf("window %d\n", before);
	while (access("/tmp/go", F_OK))
		poll(NULL, 0, 50);
	if (!peer_send(&peer, "send 1 1") || recv(fd, &byte, 1, 0) != 1)
		return 1;
	/* The backend changes it after it has passed the byte on. */
	until = now_msec() + (has_clamp ? 1000 : WAIT_LIMIT_MSEC);
	while ((now = limit_of(fd)) == before && now_msec() < until)
		poll(NULL, 0, 10);
	printf("%d\n", now);
	return 0;
}
