// SPDX-License-Identifier: GPL-2.0
/*
 * Listens, and says "ready". On SIGUSR1, after the listener has lost its link, makes connections
 * over another link until the guest can have no more, and says "full". On another SIGUSR1, when the
 * listener is on a link again, and perhaps has a client, the program must not be told of the lack
 * of resources: nothing can be accepted. It says "quiet", closes its own connections, and serves
 * one client: exit status 0.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

#define PORT 7330
#define MAX_CONNECTIONS 1000
#define TIMEOUT_MSEC 60000

static void check(bool good, const char *what)
{
	if (good)
		return;
	printf("%s: %s\n", what, strerrorname_np(errno));
	exit(1);
}

/* Returns a connection, or -1 with errno. */
static int wait_accept(int listener)
{
	struct pollfd pfd = { .fd = listener, .events = POLLIN };

	check(poll(&pfd, 1, TIMEOUT_MSEC) == 1, "no event");
	check(pfd.revents == POLLIN, "the listener has ended");
	return accept(listener, NULL, NULL);
}

int main(int argc, char **argv)
{
	int listener, fd, others[MAX_CONNECTIONS], count = 0;
	sigset_t go;
	int sig;

	parse_options(argc, argv);
	setlinebuf(stdout);
	allow_files(MAX_CONNECTIONS + 64);
	sigemptyset(&go);
	sigaddset(&go, SIGUSR1);
	sigprocmask(SIG_BLOCK, &go, NULL);
	listener = new_socket(SOCK_NONBLOCK);
	check(!bind_to(listener, ANY_HOST, PORT), "bind");
	check(!listen(listener, 1), "listen");
	printf("ready\n");

	sigwait(&go, &sig);
	while (count < MAX_CONNECTIONS && (fd = connect_port(opt.port + PEER_ECHO, 0)) >= 0)
		others[count++] = fd;
	check(errno == ENOBUFS, "connect");
	printf("full\n");

	sigwait(&go, &sig);
	check(!poll_now(listener), "an event without resources");
	check(accept(listener, NULL, NULL) < 0 && errno == EAGAIN, "accept without resources");
	check(!poll_now(listener) && !so_error(listener), "an event after accept");
	printf("quiet\n");
	while (count)
		close(others[--count]);
	fd = wait_accept(listener);
	check(fd >= 0, "accept of a client");
	set_nonblock(fd, false);
	echo_all(fd);
	return 0;
}
