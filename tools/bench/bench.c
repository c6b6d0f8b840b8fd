// SPDX-License-Identifier: GPL-2.0
/*
 * Measures one thing at a time and prints one number.
 *
 *   bench serve              the other end, on --host and --port + 90
 *   bench send|recv MSEC     bytes a second that the other end has taken, or
 *                            that have come from it, on one connection
 *   bench rr MSEC            1-byte requests answered in a second
 *   bench connect MSEC       connect, 1 byte each way, close: in a second
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

#define BENCH_PORT 90
#define PIECE (256 << 10)

/* The first byte of a connection says what is measured. */
enum mode { SINK = 'i', SOURCE = 'o', ECHO = 'e' };

static __u64 now_usec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ULL + ts.tv_nsec / 1000;
}

/* The client's FIN ends it; the answer says that all has been taken. */
static void sink(int fd)
{
	static __thread char data[PIECE];
	__u64 left = 0;
	ssize_t n;

	while (recv_all(fd, &left, sizeof(left)) == sizeof(left)) {
		for (; left; left -= n) {
			n = recv(fd, data, left < PIECE ? left : PIECE, 0);
			if (n <= 0)
				return;
		}
		if (send_all(fd, "!", 1) < 0)
			return;
	}
}

static void source(int fd)
{
	static __thread char data[PIECE];

	while (send_all(fd, data, sizeof(data)) > 0)
		;
}

static void echo(int fd)
{
	ssize_t n;
	char c;

	while ((n = recv(fd, &c, 1, 0)) == 1)
		if (send(fd, &c, 1, MSG_NOSIGNAL) != 1)
			break;
}

static void *serve(void *arg)
{
	int on = 1, fd = (long)arg;
	char mode = 0;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (recv(fd, &mode, 1, 0) == 1) {
		if (mode == SINK)
			sink(fd);
		else if (mode == SOURCE)
			source(fd);
		else if (mode == ECHO)
			echo(fd);
	}
	close(fd);
	return NULL;
}

static int server(void)
{
	struct sockaddr_in sin = address(opt.host, opt.port + BENCH_PORT);
	int on = 1, fd, listener = socket(AF_INET, SOCK_STREAM, 0);
	pthread_attr_t attr;
	pthread_t thread;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&sin, sizeof(sin)) ||
	    listen(listener, 128)) {
		perror("bench: listen");
		return 1;
	}
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 1 << 20);
	printf("bench: ready\n");
	fflush(stdout);
	for (;;) {
		fd = accept(listener, NULL, NULL);
		if (fd >= 0 &&
		    pthread_create(&thread, &attr, serve, (void *)(long)fd))
			close(fd);
	}
}

static int client(enum mode mode)
{
	char c = mode;
	int on = 1, fd = open_port(opt.port + BENCH_PORT, 0);

	if (fd < 0) {
		fprintf(stderr, "bench: connect: %m\n");
		exit(1);
	}
	/* AF_XENSOCK has no such option, and nothing that would need it. */
	if (opt.family == AF_INET)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (send(fd, &c, 1, 0) != 1) {
		perror("bench: send");
		exit(1);
	}
	return fd;
}

static double measure_send(__u64 usec)
{
	static char data[PIECE];
	int fd = client(SINK);
	__u64 began, done = 0, round = 4 << 20, sent;
	char c;

	began = now_usec();
	do {
		if (send_all(fd, &round, sizeof(round)) < 0)
			return 0;
		for (sent = 0; sent < round; sent += sizeof(data))
			if (send_all(fd, data, sizeof(data)) < 0)
				return 0;
		done += round;
		if (recv(fd, &c, 1, 0) != 1)
			return 0;
	} while (now_usec() - began < usec);
	usec = now_usec() - began;
	close(fd);
	return done * 1e6 / usec;
}

static double measure_recv(__u64 usec)
{
	static char data[PIECE];
	int fd = client(SOURCE);
	__u64 began = now_usec(), done = 0;
	ssize_t n;

	do {
		n = recv(fd, data, sizeof(data), 0);
		if (n <= 0)
			return 0;
		done += n;
	} while (now_usec() - began < usec);
	usec = now_usec() - began;
	close(fd);
	return done * 1e6 / usec;
}

static double measure_rr(__u64 usec)
{
	int fd = client(ECHO);
	__u64 began = now_usec(), done = 0;
	char c = 0;

	do {
		if (send(fd, &c, 1, 0) != 1 || recv(fd, &c, 1, 0) != 1)
			return 0;
		done++;
	} while (now_usec() - began < usec);
	usec = now_usec() - began;
	close(fd);
	return done * 1e6 / usec;
}

static double measure_connect(__u64 usec)
{
	__u64 began = now_usec(), done = 0;
	char c = 0;
	int fd;

	do {
		fd = client(ECHO);
		if (send(fd, &c, 1, 0) != 1 || recv(fd, &c, 1, 0) != 1)
			return 0;
		close(fd);
		done++;
	} while (now_usec() - began < usec);
	usec = now_usec() - began;
	return done * 1e6 / usec;
}

static const struct {
	const char *name;
	double (*measure)(__u64 usec);
} measures[] = {
	{ "send", measure_send },
	{ "recv", measure_recv },
	{ "rr", measure_rr },
	{ "connect", measure_connect },
};

int main(int argc, char **argv)
{
	double rate;
	size_t i;

	argc = parse_options(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	if (argc == 2 && !strcmp(argv[1], "serve"))
		return server();
	for (i = 0; argc == 3 && i < ARRAY_LEN(measures); i++) {
		if (strcmp(argv[1], measures[i].name))
			continue;
		rate = measures[i].measure(strtoull(argv[2], NULL, 10) * 1000);
		printf("%.1f\n", rate);
		return rate == 0;
	}
	fprintf(stderr, "usage: bench serve | send|recv|rr|connect MSEC\n");
	return 4;
}
