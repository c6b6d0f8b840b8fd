// SPDX-License-Identifier: GPL-2.0
/*
 * The other end of every test: a plain TCP server with one behaviour for each
 * port and one thread for each connection. In the test bed it runs in dom0. See
 * util.h for the ports and the commands of the control port, and stage.c for
 * their implementation.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer.h"

static atomic_ulong accepted, connections, bytes, fins, resets;

void close_with_reset(int fd)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

void format_stats(char *answer, size_t size)
{
	snprintf(answer, size, "%lu %lu %lu %lu %lu", accepted, connections,
		 bytes, fins, resets);
}

static void count_end(ssize_t result)
{
	if (result == 0)
		fins++;
	else if (result < 0 && errno == ECONNRESET)
		resets++;
}

static void serve_echo(int fd)
{
	char data[16384];
	ssize_t n;

	while ((n = recv(fd, data, sizeof(data), 0)) > 0) {
		bytes += n;
		if (send_all(fd, data, n) < 0) {
			n = -1;
			break;
		}
	}
	count_end(n);
	close(fd);
}

struct sender {
	int fd;
	__u64 len;
	__u64 seed;
	pthread_t thread;
};

static void *send_stream(void *arg)
{
	static __thread char data[65536];
	struct sender *s = arg;
	__u64 done = 0;
	size_t n;

	while (done < s->len) {
		n = s->len - done < sizeof(data) ? s->len - done : sizeof(data);
		stream_fill(s->seed, done, data, n);
		if (send_all(s->fd, data, n) < 0)
			break;
		done += n;
	}
	return NULL;
}

/* Exchanges both streams at once, then sends the verdict on the received one. */
ssize_t exchange_streams(int fd)
{
	static __thread char data[65536];
	__u64 done = 0, verdict = EXCHANGE_GOOD;
	struct exchange x;
	struct sender s;
	ssize_t n = -1;

	if (recv_all(fd, &x, sizeof(x)) != sizeof(x))
		return -1;
	s = (struct sender){ .fd = fd, .len = x.down, .seed = x.seed + 1 };
	if (pthread_create(&s.thread, NULL, send_stream, &s))
		return -1;
	while (done < x.up) {
		n = x.up - done < sizeof(data) ? x.up - done : sizeof(data);
		n = recv(fd, data, n, 0);
		if (n <= 0)
			break;
		if (verdict == EXCHANGE_GOOD &&
		    !stream_check(x.seed, done, data, n))
			verdict = done;
		done += n;
		bytes += n;
	}
	if (done < x.up)
		shutdown(fd, SHUT_RDWR);
	pthread_join(s.thread, NULL);
	if (done == x.up && send_all(fd, &verdict, sizeof(verdict)) > 0)
		n = recv(fd, data, 1, 0);
	return n;
}

static void serve_exchange(int fd)
{
	count_end(exchange_streams(fd));
	close(fd);
}

static void serve_reset(int fd)
{
	close_with_reset(fd);
}

static const char page[] =
	"<!doctype html>\n<title>XenSock</title>\n"
	"<h1>Hello from dom0</h1>\n"
	"<p>This page came through shared memory: the guest that shows it\n"
	"has no network interface.</p>\n";

static void serve_http(int fd)
{
	char request[2048], head[160];
	size_t have = 0;
	ssize_t n = 1;
	int len;

	while (have < sizeof(request) - 1) {
		n = recv(fd, request + have, sizeof(request) - 1 - have, 0);
		if (n <= 0)
			break;
		have += n;
		request[have] = 0;
		if (strstr(request, "\r\n\r\n"))
			break;
	}
	if (n > 0) {
		len = snprintf(head, sizeof(head),
			       "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n"
			       "Content-Length: %zu\r\n\r\n", sizeof(page) - 1);
		if (send_all(fd, head, len) > 0 &&
		    send_all(fd, page, sizeof(page) - 1) > 0)
			shutdown(fd, SHUT_WR);
		n = recv(fd, request, sizeof(request), 0);
	}
	count_end(n);
	close(fd);
}

struct service {
	enum peer_port port;
	void (*serve)(int fd);
	int listener;
};

struct connection {
	const struct service *service;
	int fd;
};

static struct service services[] = {
	{ .port = PEER_CONTROL, .serve = serve_control },
	{ .port = PEER_ECHO, .serve = serve_echo },
	{ .port = PEER_EXCHANGE, .serve = serve_exchange },
	{ .port = PEER_RESET, .serve = serve_reset },
	{ .port = PEER_HTTP, .serve = serve_http },
};

static void *serve(void *arg)
{
	struct connection *c = arg;

	c->service->serve(c->fd);
	if (c->service->port != PEER_CONTROL)
		connections--;
	free(c);
	return NULL;
}

static void start(const struct service *service)
{
	struct connection *c = malloc(sizeof(*c));
	pthread_attr_t attr;
	pthread_t thread;

	c->service = service;
	c->fd = accept4(service->listener, NULL, NULL, SOCK_CLOEXEC);
	if (c->fd < 0) {
		free(c);
		return;
	}
	if (service->port != PEER_CONTROL) {
		accepted++;
		connections++;
	}
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 256 << 10);
	if (pthread_create(&thread, &attr, serve, c)) {
		perror("pthread_create");
		exit(1);
	}
	pthread_attr_destroy(&attr);
}

int main(int argc, char **argv)
{
	struct pollfd pfds[ARRAY_LEN(services)];
	size_t i;

	parse_options(argc, argv);
	opt.family = AF_INET;
	signal(SIGPIPE, SIG_IGN);
	allow_files(8192);
	for (i = 0; i < ARRAY_LEN(services); i++) {
		services[i].listener = listen_on(opt.host, opt.port + services[i].port, 0);
		if (services[i].listener < 0) {
			fprintf(stderr, "peer: %s:%u: %m\n", opt.host,
				opt.port + services[i].port);
			return 1;
		}
		pfds[i].fd = services[i].listener;
		pfds[i].events = POLLIN;
	}
	printf("peer: ready on %s:%u\n", opt.host, opt.port);
	fflush(stdout);
	for (;;) {
		if (poll(pfds, ARRAY_LEN(pfds), -1) < 0)
			continue;
		for (i = 0; i < ARRAY_LEN(pfds); i++)
			if (pfds[i].revents)
				start(&services[i]);
	}
}
