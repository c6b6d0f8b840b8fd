// SPDX-License-Identifier: GPL-2.0
/*
 * Measures one thing at a time, against bench_server, and prints numbers:
 *
 *   bench send|recv MSEC [STREAMS [SIZE]]
 *		bytes a second on all connections together; bytes of the slowest
 *		and of the fastest of them. Each call here moves up to SIZE bytes
 *   bench rr MSEC [BUSY]
 *		1-byte requests answered in a second; the 99th percentile in
 *		microseconds. With SO_BUSY_POLL of BUSY microseconds
 *   bench udp MSEC
 *		the same for datagrams
 *   bench flood MSEC SIZE
 *		datagrams of SIZE bytes that arrive in a second, sent as fast as
 *		possible
 *   bench connect MSEC
 *		connect, 1 byte each way, close: in a second
 *   bench idle COUNT
 *		prints "ready" when COUNT connections have sent 1 byte each way, and
 *		keeps them until it is killed
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "util.h"

#ifndef SO_BUSY_POLL
#define SO_BUSY_POLL 46
#endif

#define MAX_STREAMS 1024
#define MAX_SIZE (1 << 20)

static char data[MAX_SIZE];

/* A stream: the bytes it has moved, or the bytes that the sink has reported. */
static struct stream {
	int fd;
	__u64 done;
} streams[MAX_STREAMS];

static __u64 now_usec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ULL + ts.tv_nsec / 1000;
}

static void die(const char *what)
{
	fprintf(stderr, "bench: %s: %m\n", what);
	exit(1);
}

/* Connects and sends these bytes. The first byte is the mode. */
static int client_with(const char *bytes, size_t len)
{
	int on = 1, fd = connect_port(opt.port + BENCH_PORT, 0);

	if (fd < 0)
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (send(fd, bytes, len, 0) != len)
		die("send");
	return fd;
}

static int client(char mode)
{
	return client_with(&mode, 1);
}

/* Moves as much as possible without waiting. */
static void transfer(struct stream *stream, char mode, size_t size)
{
	ssize_t n = mode == SINK ? send(stream->fd, data, size, 0) :
				   recv(stream->fd, data, size, 0);

	if (n > 0)
		stream->done += n;
	else if (!n || errno != EAGAIN)
		die(mode == SINK ? "send" : "recv");
}

static void transfer_all(char mode, int count, size_t size, __u64 end)
{
	struct epoll_event events[64], event = { .events = mode == SINK ? EPOLLOUT : EPOLLIN };
	int epoll = epoll_create1(0), i, n;

	for (i = 0; i < count; i++) {
		set_nonblock(streams[i].fd, true);
		event.data.ptr = &streams[i];
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, streams[i].fd, &event))
			die("epoll_ctl");
	}
	while (now_usec() < end) {
		n = epoll_wait(epoll, events, ARRAY_LEN(events), 100);
		for (i = 0; i < n; i++)
			transfer(events[i].data.ptr, mode, size);
	}
	for (i = 0; i < count; i++)
		set_nonblock(streams[i].fd, false);
	close(epoll);
}

/* Ends a stream to a sink, and reads how many bytes it took. */
static void finish(struct stream *stream)
{
	const char end = END;

	if (send(stream->fd, &end, 1, 0) != 1)
		die("send");
	if (recv_all(stream->fd, &stream->done, sizeof(stream->done)) != sizeof(stream->done))
		die("recv");
}

static int measure_streams(char mode, __u64 usec, int count, size_t size)
{
	__u64 began, sum = 0, least = ~0ULL, most = 0;
	int i;

	if (count < 1 || count > MAX_STREAMS || !size || size > sizeof(data)) {
		fprintf(stderr, "bench: %d streams, or %zu bytes?\n", count, size);
		return 4;
	}
	for (i = 0; i < count; i++)
		streams[i].fd = client(mode);
	began = now_usec();
	if (count == 1)
		while (now_usec() - began < usec)
			transfer(&streams[0], mode, size);
	else
		transfer_all(mode, count, size, began + usec);
	for (i = 0; mode == SINK && i < count; i++)
		finish(&streams[i]);
	usec = now_usec() - began;
	for (i = 0; i < count; i++) {
		sum += streams[i].done;
		least = streams[i].done < least ? streams[i].done : least;
		most = streams[i].done > most ? streams[i].done : most;
	}
	printf("%.1f %llu %llu\n", sum * 1e6 / usec, least, most);
	return 0;
}

static int compare(const void *a, const void *b)
{
	__u32 x = *(const __u32 *)a, y = *(const __u32 *)b;

	return x < y ? -1 : x > y;
}

static int measure_rr(int fd, __u64 usec)
{
	static __u32 times[1 << 20];
	__u64 began = now_usec(), last = began, now = began;
	size_t done = 0;
	char c = 0;

	while (now - began < usec && done < ARRAY_LEN(times)) {
		if (send(fd, &c, 1, 0) != 1 || recv(fd, &c, 1, 0) != 1)
			die("request");
		now = now_usec();
		times[done++] = now - last;
		last = now;
	}
	qsort(times, done, sizeof(times[0]), compare);
	printf("%.1f %u\n", done * 1e6 / (now - began), times[done * 99 / 100]);
	return 0;
}

static int busy_client(int usec)
{
	int fd = client(ECHO);

	if (usec && setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &usec, sizeof(usec)))
		die("SO_BUSY_POLL");
	return fd;
}

static int datagram_client(void)
{
	int fd = socket(opt.family, SOCK_DGRAM, 0);

	if (fd < 0 || connect_to(fd, opt.host, opt.port + BENCH_PORT) ||
	    set_timeout(fd, SO_RCVTIMEO, 5000))
		die("datagrams");
	return fd;
}

static int measure_flood(int fd, __u64 usec, size_t size)
{
	__u64 began = now_usec(), arrived;
	const char count = COUNT;

	if (!size || size > sizeof(data)) {
		fprintf(stderr, "bench: %zu bytes?\n", size);
		return 4;
	}
	data[0] = FLOOD;
	while (now_usec() - began < usec)
		if (send(fd, data, size, 0) < 0 && errno != ENOBUFS)
			die("send");
	usec = now_usec() - began;
	/* After a pause nothing more arrives. The server has counted what was sent until then. */
	usleep(200000);
	if (send(fd, &count, 1, 0) != 1 || recv(fd, &arrived, sizeof(arrived), 0) != sizeof(arrived))
		die("count");
	printf("%.1f\n", arrived * 1e6 / usec);
	return 0;
}

static int measure_connect(__u64 usec)
{
	__u64 began = now_usec(), done = 0;
	const char request[] = { ECHO, 0 };
	char c;
	int fd;

	do {
		fd = client_with(request, sizeof(request));
		if (recv(fd, &c, 1, 0) != 1)
			die("request");
		close(fd);
		done++;
	} while (now_usec() - began < usec);
	printf("%.1f\n", done * 1e6 / (now_usec() - began));
	return 0;
}

static int keep_idle(int count)
{
	const char request[] = { ECHO, 0 };
	char c;

	allow_files(count + 16);
	while (count-- > 0)
		if (recv(client_with(request, sizeof(request)), &c, 1, 0) != 1)
			die("request");
	printf("ready\n");
	fflush(stdout);
	pause();
	return 0;
}

int main(int argc, char **argv)
{
	const char *what;
	__u64 amount, first, second;

	argc = parse_options(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	what = argc > 1 ? argv[1] : "";
	amount = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
	first = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
	second = argc > 4 ? strtoull(argv[4], NULL, 10) : 0;
	if (!strcmp(what, "send"))
		return measure_streams(SINK, amount * 1000, first ?: 1, second ?: PIECE);
	if (!strcmp(what, "recv"))
		return measure_streams(SOURCE, amount * 1000, first ?: 1, second ?: PIECE);
	if (!strcmp(what, "rr"))
		return measure_rr(busy_client(first), amount * 1000);
	if (!strcmp(what, "udp"))
		return measure_rr(datagram_client(), amount * 1000);
	if (!strcmp(what, "flood"))
		return measure_flood(datagram_client(), amount * 1000, first);
	if (!strcmp(what, "connect"))
		return measure_connect(amount * 1000);
	if (!strcmp(what, "idle"))
		return keep_idle(amount);
	fprintf(stderr, "usage: bench send|recv|rr|udp|flood|connect|idle MSEC|COUNT ...\n");
	return 4;
}
