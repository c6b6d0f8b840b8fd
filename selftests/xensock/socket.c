// SPDX-License-Identifier: GPL-2.0
/* Sockets of the family under test, and their addresses. See util.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "util.h"

struct sockaddr_in address(const char *host, unsigned int port)
{
	struct sockaddr_in sin = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
	};

	if (inet_pton(AF_INET, host, &sin.sin_addr) != 1) {
		fprintf(stderr, "no IPv4: %s\n", host);
		exit(4);
	}
	return sin;
}

int new_socket(int flags)
{
	return socket(opt.family, SOCK_STREAM | flags, 0);
}

int connect_to(int fd, const char *host, unsigned int port)
{
	struct sockaddr_in sin = address(host, port);

	return connect(fd, (struct sockaddr *)&sin, sizeof(sin));
}

int connect_port(unsigned int port, int flags)
{
	int fd = new_socket(flags & ~SOCK_NONBLOCK);
	int saved;

	if (fd < 0)
		return -1;
	if (connect_to(fd, opt.host, port)) {
		saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	set_nonblock(fd, flags & SOCK_NONBLOCK);
	return fd;
}

int so_error(int fd)
{
	socklen_t len = sizeof(int);
	int error = -1;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len))
		return -1;
	return error;
}

int set_timeout(int fd, int option, unsigned int msec)
{
	struct timeval tv = {
		.tv_sec = msec / 1000,
		.tv_usec = msec % 1000 * 1000,
	};

	return setsockopt(fd, SOL_SOCKET, option, &tv, sizeof(tv));
}

void set_nonblock(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

ssize_t send_all(int fd, const void *data, size_t len)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = send(fd, data + done, len - done, MSG_NOSIGNAL);
		if (n < 0)
			return -1;
		done += n;
	}
	return done;
}

ssize_t recv_all(int fd, void *data, size_t len)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = recv(fd, data + done, len - done, 0);
		if (n < 0)
			return -1;
		if (!n)
			break;
		done += n;
	}
	return done;
}

int bind_to(int fd, const char *host, unsigned int port)
{
	struct sockaddr_in sin = address(host, port);

	return bind(fd, (struct sockaddr *)&sin, sizeof(sin));
}

/* Each test is a process of its own and has few listeners. */
static unsigned int next_port(void)
{
	static unsigned int used;

	if (!opt.ports)
		return 0;
	return opt.ports + (getpid() * 32 + used++) % 10000;
}

int bind_anywhere(int fd)
{
	return bind_to(fd, opt.host, next_port());
}

unsigned int unused_port(int type, unsigned int first)
{
	static unsigned int used;
	unsigned int n, port = 0;
	int fd, tries;

	/* The same program may run over TCP at the same time. */
	if (opt.family == AF_INET)
		first += 1000;

	for (tries = 0; !port && tries < 100; tries++) {
		n = __atomic_fetch_add(&used, 1, __ATOMIC_RELAXED);
		n += opt.random + getpid() * 32;
		fd = socket(opt.family, type | SOCK_CLOEXEC, 0);
		if (!bind_to(fd, opt.host, first + n % 1000))
			port = local_port(fd);
		close(fd);
	}
	return port;
}

static int open_listener_at(unsigned int port, int backlog, int flags)
{
	int saved, fd = new_socket(flags);

	if (fd < 0)
		return -1;
	if (bind_to(fd, opt.host, port) || listen(fd, backlog)) {
		saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

int open_listener(int backlog, int flags)
{
	return open_listener_at(next_port(), backlog, flags);
}

int open_own_listener(int backlog, int flags)
{
	unsigned int port = unused_port(SOCK_STREAM, TEST_PORTS);

	if (!port) {
		errno = EADDRINUSE;
		return -1;
	}
	return open_listener_at(port, backlog, flags);
}

void connect_for_long(int fd)
{
	int retries = 6;

	setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &retries, sizeof(retries));
}

bool gave_up_since(__u64 began)
{
	return now_msec() - began >= AT_LEAST_OF(1000);
}

int accept_announced(int listener, int flags)
{
	__u64 began;
	int fd;

	do {
		began = now_msec();
		fd = accept4(listener, NULL, NULL, flags);
	} while (fd < 0 && errno == EAGAIN && gave_up_since(began) &&
		 wait_poll(listener, POLLIN, NULL));
	return fd;
}

void echo_all(int fd)
{
	char data[4096];
	ssize_t n;

	for (;;) {
		n = recv(fd, data, sizeof(data), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || send_all(fd, data, n) < 0)
			break;
	}
	close(fd);
}

/* Both families have the port at the same offset. */
unsigned int local_port(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (getsockname(fd, (struct sockaddr *)&ss, &len))
		return 0;
	return ntohs(((struct sockaddr_in *)&ss)->sin_port);
}

socklen_t parse_address(const char *host, unsigned int port,
			struct sockaddr_storage *ss)
{
	struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)ss;
	struct sockaddr_in *sin = (struct sockaddr_in *)ss;
	char text[ADDRESS_TEXT], *scope;

	memset(ss, 0, sizeof(*ss));
	if (inet_pton(AF_INET, host, &sin->sin_addr) == 1) {
		sin->sin_family = AF_INET;
		sin->sin_port = htons(port);
		return sizeof(*sin);
	}
	snprintf(text, sizeof(text), "%s", host);
	scope = strchr(text, '%');
	if (scope) {
		*scope++ = 0;
		sin6->sin6_scope_id = strtoul(scope, NULL, 10);
	}
	if (inet_pton(AF_INET6, text, &sin6->sin6_addr) != 1)
		return 0;
	sin6->sin6_family = AF_INET6;
	sin6->sin6_port = htons(port);
	return sizeof(*sin6);
}

const char *address_text(const struct sockaddr_storage *ss,
			 char text[ADDRESS_TEXT])
{
	const struct sockaddr_in6 *sin6 = (const void *)ss;
	const struct sockaddr_in *sin = (const void *)ss;
	size_t len;

	if (ss->ss_family == AF_INET) {
		inet_ntop(AF_INET, &sin->sin_addr, text, ADDRESS_TEXT);
	} else if (ss->ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &sin6->sin6_addr, text, ADDRESS_TEXT);
		len = strlen(text);
		if (sin6->sin6_scope_id)
			snprintf(text + len, ADDRESS_TEXT - len, "%%%u",
				 sin6->sin6_scope_id);
	} else {
		snprintf(text, ADDRESS_TEXT, "family %u", ss->ss_family);
	}
	len = strlen(text);
	snprintf(text + len, ADDRESS_TEXT - len, " %u", ntohs(sin->sin_port));
	return text;
}

struct name name_of(int fd, bool remote)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	struct name name;

	if (remote ? getpeername(fd, (struct sockaddr *)&ss, &len) :
		     getsockname(fd, (struct sockaddr *)&ss, &len))
		snprintf(name.text, sizeof(name.text), "%s",
			 strerrorname_np(errno));
	else if (len != (ss.ss_family == AF_INET ? sizeof(struct sockaddr_in) :
						  sizeof(struct sockaddr_in6)))
		snprintf(name.text, sizeof(name.text), "length %u", len);
	else
		address_text(&ss, name.text);
	return name;
}

int send_fd(int through, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = "", .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	return sendmsg(through, &msg, 0) == 1 ? 0 : -1;
}

int recv_fd(int through)
{
	char c, control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = &c, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	int fd = -1;

	if (recvmsg(through, &msg, 0) == 1 && CMSG_FIRSTHDR(&msg))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	return fd;
}
