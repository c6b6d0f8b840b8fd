// SPDX-License-Identifier: GPL-2.0
/* The peer as a client of the program under test, as often as requested. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer.h"

int connect_host(const char *host, unsigned int port, unsigned int rcvbuf)
{
	struct sockaddr_storage ss;
	socklen_t len = parse_address(host, port, &ss);
	int saved, fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (rcvbuf)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf));
	/* A backlog may be full for as long as the program under test stands still. */
	connect_for_long(fd);
	if (!connect(fd, (struct sockaddr *)&ss, len))
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

int conns_open(struct conns *c, unsigned int port, unsigned int more)
{
	int fd;

	c->fds = realloc(c->fds, (c->count + more) * sizeof(int));
	if (!c->fds)
		return ENOMEM;
	while (more--) {
		fd = connect_host(opt.host, port, 0);
		if (fd < 0)
			return errno;
		c->fds[c->count++] = fd;
	}
	return 0;
}

/*
 * Each connection sends a stream of its own and, when all have sent, gets it
 * back from the other side. Returns the number of connections that did.
 */
unsigned int conns_echo(struct conns *c, size_t bytes)
{
	char *data = malloc(bytes);
	unsigned int i, good = 0;

	for (i = 0; data && i < c->count; i++) {
		stream_fill(i, 0, data, bytes);
		if (send_all(c->fds[i], data, bytes) < 0)
			break;
	}
	while (i--) {
		if (recv_all(c->fds[i], data, bytes) == (ssize_t)bytes &&
		    stream_check(i, 0, data, bytes))
			good++;
	}
	free(data);
	return good;
}

void conns_close(struct conns *c)
{
	while (c->count)
		close(c->fds[--c->count]);
	free(c->fds);
	c->fds = NULL;
}

/*
 * Waits until the other side has ended each connection. A listener that closes
 * while a handshake ends may leave a connection that only we know of: sending a
 * byte (@poke) reveals that.
 */
void conns_wait_end(struct conns *c, bool poke, unsigned int *fins,
		    unsigned int *resets)
{
	struct pollfd pfd = { .events = POLLRDHUP };
	unsigned int i;

	*fins = 0;
	*resets = 0;
	for (i = 0; i < c->count; i++) {
		pfd.fd = c->fds[i];
		if (poke)
			send(pfd.fd, "", 1, MSG_NOSIGNAL);
		while (poll(&pfd, 1, -1) < 0)
			;
		if (pfd.revents & POLLERR)
			++*resets;
		else
			++*fins;
	}
	conns_close(c);
}

struct client {
	pthread_t thread;
	unsigned int port;
	unsigned int seed;
	unsigned int rounds;
	size_t bytes;
	unsigned int good;
	int error;
};

/* Sends a stream and gets it back, then each end finishes. */
static int echo_once(const struct client *c, char *out, char *in)
{
	int error = 0, fd = connect_host(opt.host, c->port, 0);
	ssize_t n;

	if (fd < 0)
		return errno;
	stream_fill(c->seed, 0, out, c->bytes);
	if (send_all(fd, out, c->bytes) < 0 || shutdown(fd, SHUT_WR)) {
		error = errno;
	} else {
		n = recv_all(fd, in, c->bytes);
		if (n < 0)
			error = errno;
		else if (n != (ssize_t)c->bytes || memcmp(in, out, n))
			error = EBADMSG;
		else if (recv(fd, in, 1, 0))
			error = EPROTO;
	}
	close(fd);
	return error;
}

static void *client_thread(void *arg)
{
	struct client *c = arg;
	char *data = malloc(2 * c->bytes);
	unsigned int i;

	for (i = 0; i < c->rounds && !c->error; i++) {
		c->error = data ? echo_once(c, data, data + c->bytes) : ENOMEM;
		c->good += !c->error;
	}
	free(data);
	return NULL;
}

/* Threads that each connect @rounds times to a program that echoes. */
int run_clients(unsigned int port, unsigned int clients, size_t bytes,
		unsigned int rounds, unsigned int *good)
{
	struct client *all = calloc(clients, sizeof(*all));
	unsigned int i;
	int error = 0;

	*good = 0;
	if (!all)
		return ENOMEM;
	for (i = 0; i < clients; i++) {
		all[i].port = port;
		all[i].seed = i;
		all[i].rounds = rounds ? rounds : 1;
		all[i].bytes = bytes;
		if (pthread_create(&all[i].thread, NULL, client_thread, &all[i])) {
			error = EAGAIN;
			break;
		}
	}
	while (i--) {
		pthread_join(all[i].thread, NULL);
		*good += all[i].good;
		if (all[i].error)
			error = all[i].error;
	}
	free(all);
	return error;
}
