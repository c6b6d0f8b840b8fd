// SPDX-License-Identifier: GPL-2.0
/*
 * A server that accepts --sockets connections and reads nothing, until there is
 * a file /tmp/go. Prints its port first, and then how many of them received the
 * --bytes of stream 1. Keeps them open.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

static bool receives_all(int fd)
{
	static char data[65536];
	__u64 done = 0;
	ssize_t n;

	while (done < opt.bytes) {
		n = recv(fd, data, sizeof(data), 0);
		if (n <= 0 || !stream_check(1, done, data, n))
			return false;
		done += n;
	}
	return true;
}

int main(int argc, char **argv)
{
	unsigned int i, good = 0;
	int listener, *fds;

	parse_options(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	listener = open_listener(128, 0);
	fds = calloc(opt.sockets, sizeof(*fds));
	if (listener < 0 || !fds) {
		perror("deaf");
		return 1;
	}
	printf("%u\nready\n", local_port(listener));
	for (i = 0; i < opt.sockets; i++)
		fds[i] = accept(listener, NULL, NULL);
	while (access("/tmp/go", F_OK))
		poll(NULL, 0, 50);
	for (i = 0; i < opt.sockets; i++)
		good += receives_all(fds[i]);
	printf("received: %u\n", good);
	for (;;)
		pause();
}
