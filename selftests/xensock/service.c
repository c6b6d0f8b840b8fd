// SPDX-License-Identifier: GPL-2.0
/*
 * Three services that go on whatever happens to the link, each an echo: TCP
 * with threads that wait in accept(), TCP with poll() and a non-blocking
 * accept(), and UDP. Prints "ready", and in the end what has failed.
 *
 *   service           at ports 7100, 7101 and 7102
 *   service once      at ports 7110, 7111 and 7112, without SO_REUSEADDR; TCP
 *                     closes each connection after one answer
 *   service again     one server, at port 7120 and without SO_REUSEADDR, which
 *                     has a local client; once it is told that the link is
 *                     lost, it listens again and has another
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "datagram.h"

#define PORT 7100
#define PORT_ONCE 7110
#define PORT_AGAIN 7120
#define TTL 42

static bool is_once;

static void fail(const char *what)
{
	printf("%s: %s\n", what, strerrorname_np(errno));
	exit(1);
}

static void check(bool good, const char *what)
{
	if (!good)
		fail(what);
}

static int open_tcp(unsigned int port, int flags)
{
	int one = 1, ttl = TTL, fd = new_socket(flags);

	check(is_once || !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)),
	      "SO_REUSEADDR");
	check(!setsockopt(fd, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl)), "IP_TTL");
	check(!bind_to(fd, ANY_HOST, port), "bind");
	check(!listen(fd, 20), "listen");
	/* Without effect while it listens. */
	one = 0;
	check(!is_once || !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)),
	      "SO_REUSEADDR");
	return fd;
}

/* An accepted socket has the options of its listener, over each link. */
static void serve(int fd)
{
	char data[16];
	ssize_t n;
	int ttl = 0;
	socklen_t len = sizeof(ttl);

	if (!getsockopt(fd, IPPROTO_IP, IP_TTL, &ttl, &len))
		check(ttl == TTL, "the option is lost");
	if (!is_once)
		return echo_all(fd);
	n = recv(fd, data, sizeof(data), 0);
	if (n > 0)
		send(fd, data, n, MSG_NOSIGNAL);
	close(fd);
}

static void *accept_thread(void *arg)
{
	int fd, listener = *(int *)arg;

	while ((fd = accept(listener, NULL, NULL)) >= 0)
		serve(fd);
	/* Only one thread is told of an error that ends the listener. */
	if (errno != EINVAL)
		fail("accept");
	return NULL;
}

static void *poll_thread(void *arg)
{
	struct pollfd pfd = { .fd = *(int *)arg, .events = POLLIN };
	int fd;

	while (poll(&pfd, 1, -1) == 1) {
		check(!(pfd.revents & (POLLERR | POLLHUP)), "POLLERR");
		while ((fd = accept(pfd.fd, NULL, NULL)) >= 0)
			serve(fd);
		check(errno == EAGAIN, "accept after poll");
	}
	fail("poll");
	return NULL;
}

/* The server closes first, so that its end remains in TIME-WAIT. */
static void serve_local_client(int listener)
{
	int client = new_socket(0), child;

	check(!connect_to(client, "127.0.0.1", PORT_AGAIN), "connect");
	child = accept(listener, NULL, NULL);
	check(child >= 0, "accept of a local client");
	close(child);
	close(client);
}

static int listen_again(void)
{
	int fd = new_socket(0);

	check(!bind_to(fd, ANY_HOST, PORT_AGAIN), "bind");
	check(!listen(fd, 20), "listen");
	serve_local_client(fd);
	printf("ready\n");
	check(accept(fd, NULL, NULL) < 0 && errno == ENETDOWN, "accept");
	check(!listen(fd, 20), "listen again");
	serve_local_client(fd);
	return 0;
}

int main(int argc, char **argv)
{
	int blocking, nonblocking, udp;
	struct sockaddr_in from;
	pthread_t threads[3];
	char data[2048];
	int port;

	argc = parse_options(argc, argv);
	is_once = argc == 2 && !strcmp(argv[1], "once");
	port = is_once ? PORT_ONCE : PORT;
	setlinebuf(stdout);
	if (argc == 2 && !strcmp(argv[1], "again"))
		return listen_again();
	blocking = open_tcp(port, 0);
	nonblocking = open_tcp(port + 1, SOCK_NONBLOCK);
	udp = new_datagram(0);
	check(!set_timeout(udp, SO_RCVTIMEO, 0), "SO_RCVTIMEO");
	check(!bind_to(udp, ANY_HOST, port + 2), "bind of UDP");
	pthread_create(&threads[0], NULL, accept_thread, &blocking);
	pthread_create(&threads[1], NULL, accept_thread, &blocking);
	pthread_create(&threads[2], NULL, poll_thread, &nonblocking);
	printf("ready\n");
	for (;;) {
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(udp, data, sizeof(data), 0,
				     (struct sockaddr *)&from, &len);

		check(n >= 0, "recvfrom");
		/* The datagram may be lost, with the link or in any network. */
		sendto(udp, data, n, 0, (struct sockaddr *)&from, len);
	}
}
