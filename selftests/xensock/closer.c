// SPDX-License-Identifier: GPL-2.0
/*
 * Closes files in unusual ways.
 *
 *   closer sent    closes --sockets datagram sockets with ports of their own, each of which has
 *                  sent a datagram
 *   closer cycle   leaves such a socket, which has sent nothing, to the garbage collector of UNIX
 *                  sockets, and starts it again and again
 *   closer pipe    leaves the end of a pipe to it, and prints "closed" when it was closed
 *   closer late KIND       has a socket with a port, a "listener" or a "datagram" socket. After
 *                  SIGUSR1 it closes the socket, prints "waits" if that has to wait, and binds
 *                  another to the port
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "datagram.h"

#define PORT 7345

static bool bind_one(int fd, unsigned int port)
{
	if (fd >= 0 && !bind_to(fd, ANY_HOST, port))
		return true;
	printf("bind: %m\n");
	return false;
}

static int close_senders(void)
{
	unsigned int i;
	int fd;

	for (i = 0; i < opt.sockets; i++) {
		fd = new_datagram(0);
		if (!bind_one(fd, PORT + i) || send_to(fd, opt.host, opt.port, "closer", 6) != 6)
			return 1;
		close(fd);
	}
	return 0;
}

/* Closes a file that only a UNIX socket refers to, to which only that socket itself refers. */
static bool leave(int fd)
{
	int pair[2];
	bool ok = !socketpair(AF_UNIX, SOCK_STREAM, 0, pair) && !send_fd(pair[0], pair[1]) &&
		  !send_fd(pair[0], fd);

	close(fd);
	close(pair[1]);
	close(pair[0]);
	return ok;
}

/* A UNIX socket that is closed starts the collector. */
static void collect(void)
{
	int pair[2];

	if (!socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) {
		close(pair[0]);
		close(pair[1]);
	}
}

static int leave_socket(void)
{
	int fd = new_datagram(0);

	if (!bind_one(fd, PORT) || !leave(fd))
		return 1;
	for (;;) {
		collect();
		poll(NULL, 0, 20);
	}
}

static int leave_pipe(void)
{
	struct pollfd pfd = {};
	int ends[2];

	if (pipe(ends) || !leave(ends[1]))
		return 1;
	pfd.fd = ends[0];
	do
		collect();
	while (!poll(&pfd, 1, 20));
	printf("closed\n");
	return 0;
}

static int open_server(bool is_datagram)
{
	int fd = is_datagram ? new_datagram(0) : new_socket(0);

	return bind_one(fd, PORT) && (is_datagram || !listen(fd, 1)) ? fd : -1;
}

static int close_late(bool is_datagram)
{
	int fd = open_server(is_datagram), sig;
	struct waiter closing;
	sigset_t usr1;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	if (fd < 0)
		return 1;
	printf("ready\n");
	sigwait(&usr1, &sig);
	if (!waiter_begin(&closing, in_close, fd))
		return 1;
	if (wait_state(closing.tid, 'D'))
		printf("waits\n");
	return waiter_end(&closing) || open_server(is_datagram) < 0;
}

int main(int argc, char **argv)
{
	argc = parse_options(argc, argv);
	setlinebuf(stdout);
	if (argc == 2 && !strcmp(argv[1], "sent"))
		return close_senders();
	if (argc == 2 && !strcmp(argv[1], "cycle"))
		return leave_socket();
	if (argc == 2 && !strcmp(argv[1], "pipe"))
		return leave_pipe();
	if (argc == 3 && !strcmp(argv[1], "late"))
		return close_late(!strcmp(argv[2], "datagram"));
	return 4;
}
