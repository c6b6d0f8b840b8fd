// SPDX-License-Identifier: GPL-2.0
/*
 * Datagram sockets that outlive their link. Prints "ready", and "told" when the link has gone down
 * and each call has said so at once. When another link is up, sockets that were bound and connected
 * must work again as before: exit status 0.
 */
#include <stdio.h>
#include <stdlib.h>

#include "datagram.h"

#define PATIENCE_MSEC 60000

static char data[100];

#define must(condition) do {						\
	if (!(condition)) {						\
		printf("%s:%d: %s: %m\n", __FILE__, __LINE__, #condition); \
		exit(1);						\
	}								\
} while (0)

static bool says_down(ssize_t result)
{
	return result < 0 && errno == ENETDOWN;
}

/* A socket without a port or a peer has nothing to lose, and gets nothing. */
static void nothing_new_works(void)
{
	int fd = new_datagram(0);

	must(says_down(send_to(fd, opt.host, opt.port, "x", 1)));
	must(says_down(bind_to(fd, opt.host, 0)));
	must(says_down(connect_to(fd, opt.host, opt.port)));
	must(poll_now(fd) == (POLLOUT | POLLWRNORM | POLLWRBAND));
	close(fd);
}

static int option(int fd, int name)
{
	socklen_t len = sizeof(int);
	int value = -1;

	return getsockopt(fd, IPPROTO_IP, name, &value, &len) ? -1 : value;
}

int main(int argc, char **argv)
{
	int bound, connected, ttl = 9;
	struct waiter w = { 0 };
	unsigned int port;
	short events;
	__u64 began;

	parse_options(argc, argv);
	setlinebuf(stdout);
	bound = open_datagram();
	must(bound >= 0);
	port = local_port(bound);
	connected = new_datagram(0);
	must(!setsockopt(connected, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl)));
	must(!connect_to(connected, opt.host, port));
	must(send(connected, "before", 6, 0) == 6);
	must(recv(bound, data, sizeof(data), 0) == 6);
	must(!set_timeout(bound, SO_RCVTIMEO, 0));
	must(waiter_start(&w, in_recv, bound));
	printf("ready\n");

	must(poll(&(struct pollfd){ connected, 0, 0 }, 1, PATIENCE_MSEC) == 1);
	began = now_msec();
	must(says_down(waiter_end(&w)));
	must(poll_now(connected) & POLLERR);
	must(so_error(connected) == ENETDOWN);
	must(says_down(send(connected, "x", 1, 0)));
	must(says_down(recv(connected, data, 1, 0)));
	must(says_down(recv(bound, data, 1, 0)));
	must(wait_poll(bound, POLLIN, &events));
	nothing_new_works();
	must(now_msec() - began < AT_ONCE_MSEC);
	printf("told\n");

	began = now_msec();
	while (says_down(recv(bound, data, 1, MSG_DONTWAIT)))
		must(now_msec() - began < PATIENCE_MSEC);
	must(errno == EAGAIN);
	must(local_port(bound) == port);
	must(send(connected, "after", 5, 0) == 5);
	must(recv(bound, data, sizeof(data), 0) == 5);
	must(option(connected, IP_TTL) == ttl);
	return 0;
}
