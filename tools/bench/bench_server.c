// SPDX-License-Identifier: GPL-2.0
/*
 * The other end of bench, on --host and --port + 90: one thread, as in a
 * program with many clients. Datagrams to the same port are sent back.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "util.h"

#define EVENTS 64
#define FILES 8192

/* A connection. The two sockets that accept or receive use only the file. */
struct conn {
	int fd;
	char mode;
	__u64 taken;
};

static char data[PIECE];

/* These functions return true if the connection goes on. */

static bool sink(struct conn *conn)
{
	ssize_t n = recv(conn->fd, data, sizeof(data), 0);

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	conn->taken += n;
	if (data[n - 1] != END)
		return true;
	conn->taken--;
	return send_all(conn->fd, &conn->taken, sizeof(conn->taken)) == sizeof(conn->taken);
}

static bool source(struct conn *conn)
{
	return send(conn->fd, data, sizeof(data), MSG_NOSIGNAL) > 0 || errno == EAGAIN;
}

static bool echo(struct conn *conn)
{
	ssize_t n = recv(conn->fd, data, sizeof(data), 0);

	if (n > 0)
		return send(conn->fd, data, n, MSG_NOSIGNAL) == n;
	return n < 0 && errno == EAGAIN;
}

static bool begin(struct conn *conn, int epoll)
{
	struct epoll_event event = { .events = EPOLLOUT, .data.ptr = conn };

	if (recv(conn->fd, &conn->mode, 1, 0) != 1)
		return errno == EAGAIN;
	if (conn->mode == SOURCE)
		return !epoll_ctl(epoll, EPOLL_CTL_MOD, conn->fd, &event);
	return true;
}

static bool serve(struct conn *conn, int epoll)
{
	switch (conn->mode) {
	case SINK:
		return sink(conn);
	case SOURCE:
		return source(conn);
	case ECHO:
		return echo(conn);
	default:
		return begin(conn, epoll);
	}
}

static void answer_datagram(int fd)
{
	static __u64 flood;
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	ssize_t n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &len);

	if (n > 0 && data[0] == FLOOD) {
		flood++;
	} else if (n > 0 && data[0] == COUNT) {
		sendto(fd, &flood, sizeof(flood), 0, (struct sockaddr *)&from, len);
		flood = 0;
	} else if (n >= 0) {
		sendto(fd, data, n, 0, (struct sockaddr *)&from, len);
	}
}

static void add(int epoll, struct conn *conn)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = conn };

	set_nonblock(conn->fd, true);
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, conn->fd, &event)) {
		perror("bench_server: epoll_ctl");
		exit(1);
	}
}

static void accept_all(int epoll, int listener)
{
	struct conn *conn;
	int on = 1, fd;

	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		conn = calloc(1, sizeof(*conn));
		if (!conn)
			exit(1);
		conn->fd = fd;
		add(epoll, conn);
	}
}

static int open_server(int type)
{
	struct sockaddr_in sin = address(opt.host, opt.port + BENCH_PORT);
	int on = 1, fd = socket(AF_INET, type, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&sin, sizeof(sin)) ||
	    (type == SOCK_STREAM && listen(fd, 1024))) {
		perror("bench_server");
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	struct rlimit files = { FILES, FILES };
	struct conn listener = {}, datagrams = {};
	struct epoll_event events[EVENTS];
	int epoll = epoll_create1(0), i, n;
	struct conn *conn;

	parse_options(argc, argv);
	setrlimit(RLIMIT_NOFILE, &files);
	listener.fd = open_server(SOCK_STREAM);
	datagrams.fd = open_server(SOCK_DGRAM);
	add(epoll, &listener);
	add(epoll, &datagrams);
	printf("bench: ready\n");
	fflush(stdout);
	for (;;) {
		n = epoll_wait(epoll, events, EVENTS, -1);
		for (i = 0; i < n; i++) {
			conn = events[i].data.ptr;
			if (conn == &listener) {
				accept_all(epoll, listener.fd);
			} else if (conn == &datagrams) {
				answer_datagram(datagrams.fd);
			} else if (!serve(conn, epoll)) {
				close(conn->fd);
				free(conn);
			}
		}
	}
}
