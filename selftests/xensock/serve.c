// SPDX-License-Identifier: GPL-2.0
/* A server with many clients: --sockets at once, --cycles short ones. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

#define WORKERS 8
#define CLIENTS 16

FIXTURE(serve) {
	struct peer peer;
	int listener;
	unsigned int port;
};

FIXTURE_SETUP(serve)
{
	ASSERT_TRUE(peer_open(&self->peer, 0));
	self->listener = open_listener(128, SOCK_CLOEXEC);
	ASSERT_LE(0, self->listener);
	self->port = local_port(self->listener);
}

FIXTURE_TEARDOWN(serve)
{
	close(self->listener);
	peer_close(&self->peer);
}

TEST_F_TIMEOUT(serve, short_connections, 300)
{
	unsigned int each = opt.cycles / CLIENTS;
	struct waiter w[WORKERS];
	char all[32];
	long served = 0;
	int i;

	for (i = 0; i < WORKERS; i++)
		ASSERT_TRUE(waiter_start(&w[i], in_accept_loop, self->listener));
	snprintf(all, sizeof(all), "ok %u", each * CLIENTS);
	EXPECT_STREQ(all, peer_run(&self->peer, "clients %u %u 200 %u",
				   self->port, CLIENTS, each));
	EXPECT_EQ(0, shutdown(self->listener, SHUT_RDWR));
	for (i = 0; i < WORKERS; i++)
		served += waiter_end(&w[i]);
	EXPECT_EQ(each * CLIENTS, served);
}

static int await_input(int ep, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
}

/*
 * One thread for all connections, until the listener is shut down and the last
 * connection has ended. Returns the largest number of connections at once.
 */
static long in_event_loop(struct waiter *w)
{
	int fd, ep = epoll_create1(0);
	struct epoll_event event;
	long now = 0, most = 0;
	bool listens = true;
	char data[1000];
	ssize_t n;

	await_input(ep, w->fd);
	while (listens || now) {
		if (epoll_wait(ep, &event, 1, -1) != 1)
			return -1;
		if (event.data.fd == w->fd) {
			fd = accept(w->fd, NULL, NULL);
			listens = fd >= 0;
			if (!listens)
				epoll_ctl(ep, EPOLL_CTL_DEL, w->fd, NULL);
			else if (await_input(ep, fd))
				return -1;
			now += listens;
			most = now > most ? now : most;
			continue;
		}
		n = recv(event.data.fd, data, sizeof(data), 0);
		if (n <= 0 || send_all(event.data.fd, data, n) < 0) {
			close(event.data.fd);
			now--;
		}
	}
	close(ep);
	return most;
}

TEST_F_TIMEOUT(serve, all_at_once, 180)
{
	struct waiter w;
	char all[32];

	allow_files(opt.sockets + 64);
	ASSERT_TRUE(waiter_start(&w, in_event_loop, self->listener));
	snprintf(all, sizeof(all), "ok %u", opt.sockets);
	EXPECT_STREQ(all, peer_run(&self->peer, "open %u %u", self->port,
				   opt.sockets));
	EXPECT_STREQ(all, peer_run(&self->peer, "echo 300"));
	EXPECT_STREQ("ok", peer_run(&self->peer, "closeall"));
	EXPECT_EQ(0, shutdown(self->listener, SHUT_RDWR));
	EXPECT_EQ(opt.sockets, waiter_end(&w));
}

XENSOCK_TEST_MAIN
