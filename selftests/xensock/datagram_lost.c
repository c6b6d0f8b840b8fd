// SPDX-License-Identifier: GPL-2.0
/*
 * Datagram sockets that outlive their link. Prints "ready", and "told" when the link has gone down
 * and each call has said so at once. When another link is up, sockets that were bound and connected
 * must work again as before: exit status 0.
 *
 * With the argument "peer" it prints only "ready". When another link is up, whose backend refuses
 * port 9, a socket that was connected to that has to say so and must work with another peer.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "datagram.h"

#define TIMEOUT_MSEC 60000

static char data[100];

#define CHECK(condition) do {						\
	if (!(condition)) {						\
		printf("%s:%d: %s: %m\n", __FILE__, __LINE__, #condition); \
		exit(1);						\
	}								\
} while (0)

static bool is_enetdown(ssize_t result)
{
	return result < 0 && errno == ENETDOWN;
}

/* A socket without a port or a peer has nothing to lose, and gets nothing. */
static void check_new_sockets(void)
{
	int fd = new_datagram(0);

	CHECK(is_enetdown(send_to(fd, opt.host, opt.port, "x", 1)));
	CHECK(is_enetdown(bind_to(fd, opt.host, 0)));
	CHECK(is_enetdown(connect_to(fd, opt.host, opt.port)));
	CHECK(poll_now(fd) == (POLLOUT | POLLWRNORM | POLLWRBAND));
	close(fd);
}

static int get_option(int fd, int name)
{
	socklen_t len = sizeof(int);
	int value = -1;

	return getsockopt(fd, IPPROTO_IP, name, &value, &len) ? -1 : value;
}

/* Returns an IPv6 socket that is connected to the peer's IPv4 address. */
static int connect_mapped(void)
{
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = htons(opt.port) };
	int fd = socket(opt.family == AF_INET ? AF_INET6 : opt.family, SOCK_DGRAM, 0);
	char host[64];

	snprintf(host, sizeof(host), "::ffff:%s", opt.host);
	CHECK(inet_pton(AF_INET6, host, &to.sin6_addr) == 1);
	CHECK(!connect(fd, (struct sockaddr *)&to, sizeof(to)));
	return fd;
}

/* glibc's getaddrinfo() ends the program otherwise. */
static bool has_mapped_name(int fd)
{
	struct sockaddr_in6 name = {};
	socklen_t len = sizeof(name);

	return !getsockname(fd, (struct sockaddr *)&name, &len) && len == sizeof(name) &&
	       name.sin6_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&name.sin6_addr);
}

/* While link_loss is "keep". */
static int lose_peer(void)
{
	int bound = open_datagram(), connected = new_datagram(0);
	unsigned int port = local_port(bound);
	__u64 began;

	CHECK(bound >= 0);
	CHECK(!connect_to(connected, opt.host, 9));
	printf("ready\n");

	CHECK(poll(&(struct pollfd){ connected, 0, 0 }, 1, TIMEOUT_MSEC) == 1);
	CHECK(so_error(connected) == EACCES);
	CHECK(send(connected, "x", 1, 0) < 0 && errno == EACCES);
	CHECK(connect_to(connected, opt.noroute, 10) < 0 && errno == ENETUNREACH);
	CHECK(!connect_to(connected, opt.host, port));
	/* The other socket may be set up later. */
	began = now_msec();
	while (is_enetdown(send_to(bound, opt.host, port, "self", 4)))
		CHECK(now_msec() - began < TIMEOUT_MSEC);
	CHECK(recv(bound, data, sizeof(data), 0) == 4);
	CHECK(send(connected, "after", 5, 0) == 5);
	CHECK(recv(bound, data, sizeof(data), 0) == 5);
	return 0;
}

int main(int argc, char **argv)
{
	int bound, connected, begun, mapped, ttl = 9;
	struct waiter w = { 0 };
	unsigned int port;
	short events;
	__u64 began;

	argc = parse_options(argc, argv);
	setlinebuf(stdout);
	if (argc > 1)
		return lose_peer();
	bound = open_datagram();
	CHECK(bound >= 0);
	port = local_port(bound);
	connected = new_datagram(0);
	CHECK(!setsockopt(connected, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl)));
	CHECK(!connect_to(connected, opt.host, port));
	CHECK(send(connected, "before", 6, 0) == 6);
	CHECK(recv(bound, data, sizeof(data), 0) == 6);
	begun = new_datagram(0);
	CHECK(!connect_to(begun, opt.host, port));
	CHECK(send(begun, "half", 4, MSG_MORE) == 4);
	CHECK(!set_timeout(bound, SO_RCVTIMEO, 0));
	mapped = connect_mapped();
	CHECK(has_mapped_name(mapped));
	CHECK(waiter_start(&w, in_recv, bound));
	printf("ready\n");

	CHECK(poll(&(struct pollfd){ connected, 0, 0 }, 1, TIMEOUT_MSEC) == 1);
	began = now_msec();
	CHECK(is_enetdown(waiter_end(&w)));
	CHECK(poll_now(connected) & POLLERR);
	CHECK(so_error(connected) == ENETDOWN);
	CHECK(is_enetdown(send(connected, "x", 1, 0)));
	CHECK(is_enetdown(recv(connected, data, 1, 0)));
	CHECK(is_enetdown(recv(bound, data, 1, 0)));
	CHECK(wait_poll(bound, POLLIN, &events));
	check_new_sockets();
	CHECK(has_mapped_name(mapped));
	CHECK(now_msec() - began < AT_ONCE_MSEC);
	printf("told\n");

	began = now_msec();
	while (is_enetdown(recv(bound, data, 1, MSG_DONTWAIT)))
		CHECK(now_msec() - began < TIMEOUT_MSEC);
	CHECK(errno == EAGAIN);
	CHECK(local_port(bound) == port);
	CHECK(send(connected, "after", 5, 0) == 5);
	CHECK(recv(bound, data, sizeof(data), 0) == 5);
	CHECK(get_option(connected, IP_TTL) == ttl);

	/* The first half was lost, so the other one is not sent either. */
	CHECK(is_enetdown(send(begun, "rest", 4, 0)));
	began = now_msec();
	while (is_enetdown(send(begun, "whole", 5, 0)))
		CHECK(now_msec() - began < TIMEOUT_MSEC);
	CHECK(recv(bound, data, sizeof(data), 0) == 5);
	CHECK(!memcmp(data, "whole", 5));
	return 0;
}
