/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shared by the datagram tests. They need no peer: two sockets of one program
 * exchange datagrams, by way of the peer's address. Over AF_XENSOCK that
 * address belongs to another domain, so nothing has arrived yet when a call
 * returns: a test has to wait for a datagram, as a program has to anyway.
 *
 * If only the network knows of an error, sendto() itself returns it over UDP,
 * and a later call returns it over AF_XENSOCK: send_to_error() handles both.
 */
#ifndef XENSOCK_SELFTEST_DATAGRAM_H
#define XENSOCK_SELFTEST_DATAGRAM_H

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

/* The longest payload of UDP over IPv4. */
#define LONGEST 65507

static inline int new_datagram(int flags)
{
	int fd = socket(opt.family, SOCK_DGRAM | flags, 0);

	/* A test that waits for a missing datagram fails and does not hang. */
	if (fd >= 0)
		set_timeout(fd, SO_RCVTIMEO, WAIT_LIMIT_MSEC);
	return fd;
}

/* A socket for IPv6. Over AF_XENSOCK the first address decides. */
static inline int new_datagram6(void)
{
	int fd = socket(opt.family == AF_INET ? AF_INET6 : opt.family,
			SOCK_DGRAM, 0);

	set_timeout(fd, SO_RCVTIMEO, WAIT_LIMIT_MSEC);
	return fd;
}

/* Returns a socket bound to a port that the system chooses. */
static inline int open_datagram(void)
{
	int fd = new_datagram(0);

	if (fd >= 0 && bind_to(fd, opt.host, 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

static inline ssize_t send_to(int fd, const char *host, unsigned int port,
			      const void *data, size_t len)
{
	struct sockaddr_storage ss;
	socklen_t size = parse_address(host, port, &ss);

	return sendto(fd, data, len, 0, (struct sockaddr *)&ss, size);
}

static inline bool wait_input(int fd)
{
	return wait_poll(fd, POLLIN, NULL);
}

/*
 * Returns the errno of sending a datagram there from a socket that has no peer
 * and receives nothing, or 0 if that succeeds. Only calls that send report it:
 * -1 if another one does.
 */
static inline int send_to_error(int fd, const char *host, unsigned int port)
{
	struct pollfd pfd = { .fd = fd };
	char byte;
	int error = 0;

	if (send_to(fd, host, port, "?", 1) < 0)
		error = errno;
	/* Over AF_XENSOCK this waits until the backend has taken the datagram. */
	local_port(fd);
	if (poll(&pfd, 1, 0) || so_error(fd) ||
	    recv(fd, &byte, 1, MSG_DONTWAIT) != -1 || errno != EAGAIN)
		return -1;
	if (error)
		return error;
	return send_to(fd, host, port, "?", 1) < 0 ? errno : 0;
}

#endif
