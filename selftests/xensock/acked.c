// SPDX-License-Identifier: GPL-2.0
/*
 * Sends --bytes on each of --sockets connections, whose peers take hardly any of it, and prints
 * "ready". With --bytes 0 it fills one connection after the other. When there is a file /tmp/go,
 * has the peers take everything, prints "taken", and leaves the connections idle.
 */
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "util.h"

#define SEED 1
/* Of the peers. */
#define RCVBUF 4096

/* Sends as much as there is room for, in large buffers. */
static bool fill(int fd)
{
	int size = 4 << 20;

	return !setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) &&
	       fill_socket(fd, SEED, 65536);
}

/* Waits until the backend has taken everything. */
static bool wait_taken(int fd)
{
	__u64 deadline = now_msec() + WAIT_LIMIT_MSEC;
	int left;

	do {
		if (ioctl(fd, SIOCOUTQNSD, &left))
			return false;
		if (!left)
			return true;
		poll(NULL, 0, 1);
	} while (now_msec() < deadline);
	return false;
}

static bool send_whole(int fd, const char *data)
{
	return send_all(fd, data, opt.bytes) >= 0 && wait_taken(fd);
}

int main(int argc, char **argv)
{
	struct peer *peers;
	char answer[32];
	unsigned int i;
	char *data;
	int fd;

	parse_options(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	peers = calloc(opt.sockets, sizeof(*peers));
	data = malloc(opt.bytes);
	stream_fill(SEED, 0, data, opt.bytes);
	for (i = 0; i < opt.sockets; i++) {
		if (!peer_open(&peers[i], RCVBUF))
			return 1;
		fd = peer_connect(&peers[i], 0);
		if (fd < 0 || !(opt.bytes ? send_whole(fd, data) : fill(fd))) {
			fprintf(stderr, "acked: socket %u: %m\n", i);
			return 1;
		}
	}
	printf("ready\n");
	while (access("/tmp/go", F_OK))
		poll(NULL, 0, 50);
	snprintf(answer, sizeof(answer), "ok %llu", (unsigned long long)opt.bytes);
	for (i = 0; i < opt.sockets; i++)
		if (strcmp(answer, peer_run(&peers[i], "recv %llu %d",
					    (unsigned long long)opt.bytes, SEED)))
			return 1;
	printf("taken\n");
	pause();
	return 0;
}
