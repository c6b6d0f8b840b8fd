/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of datagrams share. They need no peer: two sockets of one
 * program talk with each other, by way of the address that the peer has. Over
 * AF_XENSOCK that is another domain, so that nothing has arrived when a call
 * returns: whoever looks has to wait first, as a program has to anyway.
 *
 * An error that only the network knows is told by sendto() itself over UDP, and
 * by the next call over AF_XENSOCK: refusal() takes it from either.
 */
#ifndef XENSOCK_SELFTEST_DATAGRAM_H
#define XENSOCK_SELFTEST_DATAGRAM_H

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

/* The longest of UDP over IPv4. */
#define LONGEST 65507

static inline int new_datagram(int flags)
{
	int fd = socket(opt.family, SOCK_DGRAM | flags, 0);

	/* A test that waits for what does not come fails, and does not hang. */
	if (fd >= 0)
		set_timeout(fd, SO_RCVTIMEO, WAIT_LIMIT_MSEC);
	return fd;
}

/* Of IPv6: over AF_XENSOCK the first address decides. */
static inline int new_datagram6(void)
{
	int fd = socket(opt.family == AF_INET ? AF_INET6 : opt.family,
			SOCK_DGRAM, 0);

	set_timeout(fd, SO_RCVTIMEO, WAIT_LIMIT_MSEC);
	return fd;
}

/* Bound to a port of the system's choice. */
static inline int open_datagram(void)
{
	int fd = new_datagram(0);

	if (fd >= 0 && bind_to(fd, opt.host, 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A port that was open a moment ago, and has nobody now. */
static inline unsigned int closed_port(void)
{
	int fd = open_datagram();
	unsigned int port = local_port(fd);

	close(fd);
	return port;
}

static inline ssize_t send_to(int fd, const char *host, unsigned int port,
			      const void *data, size_t len)
{
	struct sockaddr_storage ss;
	socklen_t size = any_address(host, port, &ss);

	return sendto(fd, data, len, 0, (struct sockaddr *)&ss, size);
}

static inline bool wait_input(int fd)
{
	return wait_poll(fd, POLLIN, NULL);
}

/* The errno of a datagram that cannot be sent there; 0 if it can. */
static inline int refusal(int fd, const char *host, unsigned int port)
{
	struct pollfd pfd = { .fd = fd };

	if (send_to(fd, host, port, "?", 1) < 0)
		return errno;
	return poll(&pfd, 1, WAIT_LIMIT_MSEC) == 1 ? so_error(fd) : 0;
}

#endif
