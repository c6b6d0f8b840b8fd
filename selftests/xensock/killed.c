// SPDX-License-Identifier: GPL-2.0
/*
 * Waits in accept(), and in recv() on a connection to the peer's echo, until an
 * administrator destroys both sockets. Prints the port of the listening socket
 * and that of the connection's own end, then "ready"; and then what the calls
 * return, and whether a new connection works.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

static void print(const char *call, long result)
{
	printf("%s: %ld, %s\n", call, result, result < 0 ? strerrorname_np(errno) : "-");
}

static bool echoes(int fd)
{
	char data[5];

	return send_all(fd, "hello", 5) == 5 && recv_all(fd, data, 5) == 5 &&
	       !memcmp(data, "hello", 5);
}

int main(int argc, char **argv)
{
	struct waiter accepting, receiving;
	int listener, fd, other;
	char c;

	parse_options(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	listener = open_listener(8, 0);
	fd = connect_port(opt.port + PEER_ECHO, 0);
	if (listener < 0 || fd < 0 || !echoes(fd) ||
	    !waiter_start(&accepting, in_accept, listener) ||
	    !waiter_start(&receiving, in_recv, fd)) {
		perror("killed");
		return 1;
	}
	printf("%u\n%u\nready\n", local_port(listener), local_port(fd));

	print("accept", waiter_end(&accepting));
	print("accept again", accept(listener, NULL, NULL));
	printf("listener: %s\n", wait_poll(listener, POLLIN, NULL) ? "readable" : "quiet");
	print("recv", waiter_end(&receiving));
	print("recv again", recv(fd, &c, 1, 0));
	print("send", send(fd, "x", 1, MSG_NOSIGNAL));
	close(listener);
	close(fd);

	other = connect_port(opt.port + PEER_ECHO, 0);
	printf("a new connection: %s\n", other >= 0 && echoes(other) ? "works" : "fails");
	return 0;
}
