// SPDX-License-Identifier: GPL-2.0
/* listen(): what a listener can and cannot do, its backlog, and how it ends. */
#include <errno.h>
#include <limits.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

FIXTURE(listen) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(listen)
{
	ASSERT_TRUE(peer_open(&self->peer, 0));
	self->fd = open_listener(16, 0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(listen)
{
	close(self->fd);
	peer_close(&self->peer);
}

static void check_listener(struct __test_metadata *_metadata, int listener,
			   struct peer *peer)
{
	char data[8];
	int fd = peer_accept(peer, listener, 0);

	ASSERT_LE(0, fd);
	stream_fill(1, 0, data, 8);
	EXPECT_EQ(8, send(fd, data, 8, 0));
	EXPECT_EQ(0, close(fd));
	EXPECT_STREQ("eof 8", peer_run(peer, "drain 1"));
}

static int accept_conn(int fd)
{
	socklen_t len = sizeof(int);
	int value = -1;

	getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len);
	return value;
}

TEST_F(listen, unbound_takes_a_port)
{
	int fd = new_socket(0);

	EXPECT_EQ(0, listen(fd, 1));
	EXPECT_LT(0, local_port(fd));
	check_listener(_metadata, fd, &self->peer);
	close(fd);
}

TEST_F(listen, so_acceptconn_tells)
{
	int fd = new_socket(0);

	EXPECT_EQ(0, accept_conn(fd));
	ASSERT_EQ(0, bind_to(fd, opt.host, 0));
	EXPECT_EQ(0, accept_conn(fd));
	ASSERT_EQ(0, listen(fd, 1));
	EXPECT_EQ(1, accept_conn(fd));
	close(fd);
	fd = peer_accept(&self->peer, self->fd, 0);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, accept_conn(fd));
	close(fd);
}

TEST_F(listen, backlogs_of_any_size)
{
	static const int backlogs[] = { 0, 1, -1, 4096, INT_MAX, INT_MIN };
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_LEN(backlogs); i++) {
		fd = open_listener(backlogs[i], 0);
		ASSERT_LE(0, fd) TH_LOG("%d", backlogs[i]);
		check_listener(_metadata, fd, &self->peer);
		close(fd);
	}
}

TEST_F(listen, holds_what_nobody_accepts_yet)
{
	int i, fds[16];

	EXPECT_STREQ("ok 16", peer_run(&self->peer, "open %u 16",
				       local_port(self->fd)));
	for (i = 0; i < 16; i++) {
		fds[i] = accept(self->fd, NULL, NULL);
		EXPECT_LE(0, fds[i]);
	}
	for (i = 0; i < 16; i++)
		EXPECT_EQ(0, close(fds[i]));
	EXPECT_STREQ("fin 16 rst 0", peer_run(&self->peer, "ends"));
}

/* The connections are not refused: TCP tries again until there is room. */
TEST_F(listen, more_than_the_backlog_wait)
{
	int i, fds[4];

	ASSERT_EQ(0, listen(self->fd, 1));
	peer_send(&self->peer, "open %u 4", local_port(self->fd));
	for (i = 0; i < 4; i++) {
		fds[i] = accept(self->fd, NULL, NULL);
		EXPECT_LE(0, fds[i]);
	}
	EXPECT_STREQ("ok 4", peer_answer(&self->peer));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, close(fds[i]));
	EXPECT_STREQ("fin 4 rst 0", peer_run(&self->peer, "ends"));
}

static int count_waiting(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		return -1;
	return info.tcpi_unacked;
}

/* Returns true if no answer comes for a while. */
static bool no_answer(struct peer *p)
{
	struct pollfd pfd = { .fd = p->control, .events = POLLIN };

	return !poll(&pfd, 1, 300);
}

/* A backlog holds one connection more than its number. */
TEST_F(listen, a_backlog_of_zero_holds_one)
{
	const int turns = rounds(5);
	unsigned int port;
	char ends[24];
	int i, fd;

	close(self->fd);
	self->fd = open_listener(0, 0);
	ASSERT_LE(0, self->fd);
	port = local_port(self->fd);
	/* Each round takes a second: TCP sends SYN again after that time. */
	for (i = 0; i < turns; i++) {
		peer_run(&self->peer, "open %u 1", port);
		EXPECT_EQ(0, strncmp("ok", self->peer.line, 2));
		EXPECT_EQ(1, wait_poll(self->fd, POLLIN, NULL));
		EXPECT_EQ(1, count_waiting(self->fd));
		peer_send(&self->peer, "open %u 1", port);
		EXPECT_TRUE(no_answer(&self->peer));
		EXPECT_EQ(1, count_waiting(self->fd));
		fd = accept(self->fd, NULL, NULL);
		EXPECT_LE(0, fd);
		EXPECT_EQ(0, close(fd));
		/* The second connection has room now. */
		peer_answer(&self->peer);
		EXPECT_EQ(0, strncmp("ok", self->peer.line, 2));
		fd = accept(self->fd, NULL, NULL);
		EXPECT_LE(0, fd);
		EXPECT_EQ(0, close(fd));
		EXPECT_EQ(0, count_waiting(self->fd));
	}
	snprintf(ends, sizeof(ends), "fin %d rst 0", 2 * turns);
	EXPECT_STREQ(ends, peer_run(&self->peer, "ends"));
	peer_run(&self->peer, "open %u 1", port);
	peer_send(&self->peer, "open %u 1", port);
	EXPECT_TRUE(no_answer(&self->peer));
	ASSERT_EQ(0, listen(self->fd, 4));
	EXPECT_STREQ("ok 2", peer_answer(&self->peer));
	EXPECT_STREQ("ok 5", peer_run(&self->peer, "open %u 3", port));
	/* All waiting connections are reset with the listener. */
	close(self->fd);
	EXPECT_STREQ("fin 0 rst 5", peer_run(&self->peer, "ends"));
	self->fd = new_socket(0);
}

TEST_F(listen, again_changes_the_backlog)
{
	unsigned int port = local_port(self->fd);
	int i, fd;

	ASSERT_EQ(0, listen(self->fd, 1));
	EXPECT_STREQ("ok 2", peer_run(&self->peer, "open %u 2", port));
	ASSERT_EQ(0, listen(self->fd, 20));
	EXPECT_STREQ("ok 20", peer_run(&self->peer, "open %u 18", port));
	/* A smaller backlog loses no waiting connection. */
	ASSERT_EQ(0, listen(self->fd, 1));
	for (i = 0; i < 20; i++) {
		fd = accept(self->fd, NULL, NULL);
		EXPECT_LE(0, fd);
		EXPECT_EQ(0, close(fd));
	}
	EXPECT_STREQ("fin 20 rst 0", peer_run(&self->peer, "ends"));
	EXPECT_EQ(port, local_port(self->fd));
	check_listener(_metadata, self->fd, &self->peer);
}

TEST_F(listen, a_connection_is_einval)
{
	int fd = peer_connect(&self->peer, 0);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, listen(fd, 1));
	EXPECT_EQ(EINVAL, errno);
	close(fd);
	fd = new_socket(SOCK_NONBLOCK);
	EXPECT_EQ(-1, connect_to(fd, opt.blackhole, 80));
	EXPECT_EQ(-1, listen(fd, 1));
	EXPECT_EQ(EINVAL, errno);
	close(fd);
}

TEST_F(listen, a_listener_is_no_connection)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char c = 0;

	EXPECT_EQ(-1, recv(self->fd, &c, 1, MSG_DONTWAIT));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(-1, send(self->fd, &c, 1, MSG_NOSIGNAL | MSG_DONTWAIT));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(-1, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_EQ(EISCONN, errno);
	EXPECT_EQ(-1, getpeername(self->fd, (struct sockaddr *)&ss, &len));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(0, so_error(self->fd));
	check_listener(_metadata, self->fd, &self->peer);
}

TEST_F(listen, only_a_listener_accepts)
{
	int i, fds[3] = {
		new_socket(0), new_socket(0), peer_connect(&self->peer, 0),
	};

	ASSERT_EQ(0, bind_to(fds[1], opt.host, 0));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(-1, accept(fds[i], NULL, NULL));
		EXPECT_EQ(EINVAL, errno) TH_LOG("case %d", i);
		EXPECT_EQ(0, close(fds[i]));
	}
}

TEST_F(listen, shutdown_of_writing_changes_nothing)
{
	EXPECT_EQ(0, shutdown(self->fd, SHUT_WR));
	EXPECT_EQ(1, accept_conn(self->fd));
	check_listener(_metadata, self->fd, &self->peer);
}

/* Ends a listener without closing it. Afterwards the socket is like new. */
static void check_restart(struct __test_metadata *_metadata, int fd,
			  struct peer *peer, int (*end)(int fd))
{
	int own = open_own_listener(1, 0);
	unsigned int port = local_port(own);

	ASSERT_LE(0, own);
	EXPECT_STREQ("ok 3", peer_run(peer, "open %u 3", local_port(fd)));
	EXPECT_STREQ("ok 4", peer_run(peer, "open %u 1", port));
	EXPECT_EQ(0, end(own));
	/* The port of @fd may be another program's once it has ended. */
	EXPECT_TRUE(peer_refused(peer, port));
	EXPECT_EQ(0, end(fd));
	EXPECT_STREQ("fin 0 rst 4", peer_run(peer, "ends"));
	EXPECT_EQ(0, accept_conn(fd));
	EXPECT_EQ(-1, accept(fd, NULL, NULL));
	EXPECT_EQ(EINVAL, errno);
	close(own);
	EXPECT_EQ(0, listen(fd, 1));
	check_listener(_metadata, fd, peer);
	EXPECT_EQ(0, end(fd));
	EXPECT_EQ(0, connect_to(fd, opt.host, peer->port));
	EXPECT_STREQ("ok", peer_run(peer, "accept"));
}

static int end_by_shutdown(int fd)
{
	return shutdown(fd, SHUT_RD);
}

static int end_by_unspec(int fd)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };

	return connect(fd, &unspec, sizeof(unspec));
}

TEST_F(listen, shutdown_ends_it)
{
	check_restart(_metadata, self->fd, &self->peer,
		      end_by_shutdown);
}

TEST_F(listen, unspec_ends_it)
{
	check_restart(_metadata, self->fd, &self->peer, end_by_unspec);
}

/* A connection that the listener has accepted does not keep it from its port. */
static void check_port(struct __test_metadata *_metadata, struct peer *peer,
		       int (*end)(int fd))
{
	int fd = open_own_listener(1, 0), conn;
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);
	unsigned int port = local_port(fd);

	ASSERT_LE(0, fd);
	conn = peer_accept(peer, fd, 0);
	ASSERT_LE(0, conn);
	EXPECT_EQ(0, end(fd));
	EXPECT_EQ(0, getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len));
	EXPECT_EQ(7 /* TCP_CLOSE */, info.tcpi_state);
	EXPECT_EQ(0, connect_to(fd, opt.host, opt.port + PEER_ECHO));
	EXPECT_EQ(port, local_port(fd));
	EXPECT_EQ(4, send(conn, "rest", 4, 0));
	EXPECT_STREQ("ok rest", peer_run(peer, "read"));
	close(conn);
	close(fd);
}

TEST_F(listen, shutdown_leaves_the_port)
{
	check_port(_metadata, &self->peer, end_by_shutdown);
}

TEST_F(listen, unspec_leaves_the_port)
{
	check_port(_metadata, &self->peer, end_by_unspec);
}

/* Unlike connect(), listen() needs the port for itself. */
TEST_F(listen, again_not_beside_old_connections)
{
	__u64 deadline = now_msec() + WAIT_LIMIT_MSEC;
	int fd = open_own_listener(1, 0), conn;

	ASSERT_LE(0, fd);
	conn = peer_accept(&self->peer, fd, 0);
	ASSERT_LE(0, conn);
	EXPECT_EQ(0, shutdown(fd, SHUT_RD));
	EXPECT_EQ(-1, listen(fd, 1));
	EXPECT_EQ(EADDRINUSE, errno);
	EXPECT_EQ(0, accept_conn(fd));
	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));
	EXPECT_EQ(1, wait_poll(conn, POLLHUP, NULL));
	close(conn);
	while (listen(fd, 1) && errno == EADDRINUSE && now_msec() < deadline)
		poll(NULL, 0, 1);
	EXPECT_EQ(1, accept_conn(fd));
	check_listener(_metadata, fd, &self->peer);
	close(fd);
}

/* More connections wait than a frontend may have asked for in advance. */
TEST_F(listen, close_resets_what_was_not_accepted)
{
	int fd, listener = open_own_listener(16, 0);
	unsigned int port = local_port(listener);
	char data[10];

	EXPECT_STREQ("ok 12", peer_run(&self->peer, "open %u 12", port));
	fd = accept(listener, NULL, NULL);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, close(listener));
	EXPECT_TRUE(peer_refused(&self->peer, port));
	/* The accepted socket does not depend on its listener. */
	EXPECT_EQ(-1, recv(fd, data, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(1, send(fd, "x", 1, 0));
	EXPECT_EQ(0, close(fd));
	EXPECT_STREQ("fin 1 rst 11", peer_run(&self->peer, "ends"));
}

/* Connections come while the listener is closed: being accepted or refused are both right. */
TEST_F(listen, close_while_connections_come)
{
	unsigned int port;
	int i;

	for (i = 0; i < rounds(30); i++) {
		close(self->fd);
		self->fd = open_own_listener(16, 0);
		port = local_port(self->fd);
		peer_send(&self->peer, "open %u 4", port);
		if (i % 3 == 1)
			wait_poll(self->fd, POLLIN, NULL);
		if (i % 3 == 2)
			close(accept(self->fd, NULL, NULL));
		close(self->fd);
		self->fd = -1;
		peer_answer(&self->peer);
		peer_run(&self->peer, "ends 1");
		EXPECT_EQ(0, strncmp("fin", self->peer.line, 3));
		EXPECT_TRUE(peer_refused(&self->peer, port));
	}
}

TEST_F(listen, a_failed_connect_succeeds_when_somebody_listens)
{
	int fd = new_socket(0), server = new_socket(0), i;

	ASSERT_EQ(0, bind_anywhere(server));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(-1, connect_to(fd, opt.host, local_port(server)));
		EXPECT_EQ(ECONNREFUSED, errno);
	}
	ASSERT_EQ(0, listen(server, 1));
	EXPECT_EQ(0, connect_to(fd, opt.host, local_port(server)));
	EXPECT_EQ(1, send(fd, "x", 1, 0));
	close(fd);
	fd = accept(server, NULL, NULL);
	EXPECT_LE(0, fd);
	close(fd);
	close(server);
}

/* Listeners leave nothing behind that later ones would miss. */
TEST_F(listen, one_after_another)
{
	int i;

	for (i = 0; i < rounds(50); i++) {
		struct pollfd p = { .fd = open_listener(2, 0), .events = POLLIN };

		ASSERT_LE(0, p.fd);
		EXPECT_EQ(0, poll(&p, 1, 0));
		EXPECT_EQ(0, close(p.fd));
	}
}

/* The backlog of one listener does not reduce that of others. */
TEST_F(listen, many_long_backlogs)
{
	int i, fds[40];

	for (i = 0; i < 40; i++) {
		fds[i] = open_listener(128, 0);
		ASSERT_LE(0, fds[i]);
	}
	EXPECT_STREQ("ok 30", peer_run(&self->peer, "open %u 30",
				       local_port(fds[39])));
	EXPECT_STREQ("ok 60", peer_run(&self->peer, "open %u 30",
				       local_port(fds[0])));
	for (i = 0; i < 30; i++) {
		EXPECT_EQ(0, close(accept(fds[0], NULL, NULL)));
		EXPECT_EQ(0, close(accept(fds[39], NULL, NULL)));
	}
	EXPECT_STREQ("fin 60 rst 0", peer_run(&self->peer, "ends"));
	for (i = 0; i < 40; i++)
		close(fds[i]);
}

TEST_F(listen, many_listeners)
{
	int i, fds[20];

	for (i = 0; i < 20; i++) {
		fds[i] = open_listener(2, 0);
		ASSERT_LE(0, fds[i]);
	}
	for (i = 20; i--;) {
		check_listener(_metadata, fds[i], &self->peer);
		EXPECT_EQ(0, close(fds[i]));
	}
}

XENSOCK_TEST_MAIN
