// SPDX-License-Identifier: GPL-2.0
/* accept(): one connection after another, their addresses, and that none is lost. */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

FIXTURE(accept) {
	struct peer peer;
	int listener;
	unsigned int port;
};

FIXTURE_SETUP(accept)
{
	ASSERT_TRUE(peer_open(&self->peer, 16384));
	self->listener = open_listener(16, 0);
	ASSERT_LE(0, self->listener);
	self->port = local_port(self->listener);
}

FIXTURE_TEARDOWN(accept)
{
	close(self->listener);
	peer_close(&self->peer);
}

#define PEER_CONNECTS() do {						\
	peer_run(&self->peer, "connect %u", self->port);		\
	ASSERT_EQ(0, strncmp("ok", self->peer.line, 2))			\
		TH_LOG("%s", self->peer.line);				\
} while (0)

static void check_transfer(struct __test_metadata *_metadata, int fd,
			   struct peer *peer)
{
	char data[8];

	ASSERT_LE(0, fd);
	stream_fill(2, 0, data, 8);
	EXPECT_EQ(8, send(fd, data, 8, 0));
	EXPECT_STREQ("ok 8", peer_run(peer, "recv 8 2"));
	EXPECT_STREQ("ok 8", peer_run(peer, "send 8 1"));
	/* The socket may be non-blocking. */
	EXPECT_TRUE(wait_readable(fd, 8));
	EXPECT_EQ(8, recv_all(fd, data, 8));
	EXPECT_TRUE(stream_check(1, 0, data, 8));
	EXPECT_EQ(0, close(fd));
	EXPECT_STREQ("eof 0", peer_run(peer, "drain 2"));
}

TEST_F(accept, one_that_is_there)
{
	PEER_CONNECTS();
	check_transfer(_metadata, accept(self->listener, NULL, NULL), &self->peer);
	PEER_CONNECTS();
	check_transfer(_metadata, accept(self->listener, NULL, NULL), &self->peer);
}

TEST_F(accept, waits_for_one)
{
	struct waiter w;

	ASSERT_TRUE(waiter_start(&w, in_accept, self->listener));
	PEER_CONNECTS();
	check_transfer(_metadata, waiter_end(&w), &self->peer);
}

TEST_F(accept, in_the_order_of_arrival)
{
	struct sockaddr_storage ss;
	socklen_t len;
	unsigned int ports[12];
	struct peer peers[12];
	int i, fd;

	for (i = 0; i < 12; i++) {
		ASSERT_TRUE(peer_open(&peers[i], 0));
		peer_run(&peers[i], "connect %u", self->port);
		ASSERT_EQ(1, sscanf(peers[i].line, "ok %u", &ports[i]));
	}
	for (i = 0; i < 12; i++) {
		len = sizeof(ss);
		fd = accept(self->listener, (struct sockaddr *)&ss, &len);
		ASSERT_LE(0, fd);
		EXPECT_EQ(ports[i],
			  ntohs(((struct sockaddr_in *)&ss)->sin_port))
			TH_LOG("connection %d", i);
		check_transfer(_metadata, fd, &peers[i]);
		peer_close(&peers[i]);
	}
}

TEST_F(accept, gives_the_address_of_the_peer)
{
	struct sockaddr_storage ss, again;
	socklen_t len = sizeof(ss);
	char text[ADDRESS_TEXT];
	int fd;

	PEER_CONNECTS();
	fd = accept(self->listener, (struct sockaddr *)&ss, &len);
	ASSERT_LE(0, fd);
	EXPECT_EQ(sizeof(struct sockaddr_in), len);
	peer_run(&self->peer, "name");
	EXPECT_STREQ(self->peer.line + 3, address_text(&ss, text));
	len = sizeof(again);
	EXPECT_EQ(0, getpeername(fd, (struct sockaddr *)&again, &len));
	EXPECT_EQ(0, memcmp(&ss, &again, len));
	check_transfer(_metadata, fd, &self->peer);
}

TEST_F(accept, address_in_too_little_room)
{
	unsigned char room[32];
	socklen_t len;
	int fd;

	for (len = 0; len <= 24; len += 6) {
		socklen_t given = len;

		PEER_CONNECTS();
		memset(room, 0x55, sizeof(room));
		fd = accept(self->listener, (struct sockaddr *)room, &given);
		ASSERT_LE(0, fd);
		EXPECT_EQ(sizeof(struct sockaddr_in), given);
		EXPECT_EQ(0x55, room[len < 16 ? len : 16]);
		if (len >= 2)
			EXPECT_EQ(AF_INET, *(sa_family_t *)room);
		close(fd);
	}
}

/* The connection is accepted and lost, as with TCP. */
TEST_F(accept, address_in_bad_memory)
{
	socklen_t len = sizeof(struct sockaddr_in);
	struct sockaddr_in sin;

	PEER_CONNECTS();
	EXPECT_EQ(-1, accept(self->listener, (void *)1, &len));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_STREQ("fin", peer_run(&self->peer, "end"));
	PEER_CONNECTS();
	EXPECT_EQ(-1, accept(self->listener, (void *)&sin, (void *)1));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_STREQ("fin", peer_run(&self->peer, "end"));
	len = -1;
	PEER_CONNECTS();
	EXPECT_EQ(-1, accept(self->listener, (void *)&sin, &len));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_STREQ("fin", peer_run(&self->peer, "end"));
	PEER_CONNECTS();
	check_transfer(_metadata, accept(self->listener, NULL, NULL), &self->peer);
}

TEST_F(accept, accept4_flags)
{
	static const struct {
		int flags;
		int fd;
		int fl;
	} cases[] = {
		{ 0, 0, 0 },
		{ SOCK_CLOEXEC, FD_CLOEXEC, 0 },
		{ SOCK_NONBLOCK, 0, O_NONBLOCK },
		{ SOCK_CLOEXEC | SOCK_NONBLOCK, FD_CLOEXEC, O_NONBLOCK },
	};
	size_t i, nonblocking;
	int fd;

	for (nonblocking = 0; nonblocking < 2; nonblocking++) {
		/* The listener's own flags are not inherited. */
		set_nonblock(self->listener, nonblocking);
		for (i = 0; i < ARRAY_LEN(cases); i++) {
			PEER_CONNECTS();
			ASSERT_TRUE(wait_poll(self->listener, POLLIN, NULL));
			fd = accept_announced(self->listener, cases[i].flags);
			EXPECT_LE(0, fd);
			EXPECT_EQ(cases[i].fd, fcntl(fd, F_GETFD));
			EXPECT_EQ(cases[i].fl,
				  fcntl(fd, F_GETFL) & O_NONBLOCK);
			check_transfer(_metadata, fd, &self->peer);
		}
	}
	EXPECT_EQ(-1, accept4(self->listener, NULL, NULL, 0x10000000));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(accept, nonblocking_until_eagain)
{
	int i, fd;

	set_nonblock(self->listener, true);
	EXPECT_EQ(-1, accept(self->listener, NULL, NULL));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "open %u 10",
				       self->port));
	for (i = 0; i < 10; i++) {
		ASSERT_TRUE(wait_poll(self->listener, POLLIN, NULL));
		fd = accept_announced(self->listener, 0);
		ASSERT_LE(0, fd) TH_LOG("%m");
		EXPECT_EQ(0, close(fd));
	}
	EXPECT_EQ(-1, accept(self->listener, NULL, NULL));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_STREQ("fin 10 rst 0", peer_run(&self->peer, "ends"));
}

TEST_F(accept, rcvtimeo_limits_the_wait)
{
	__u64 began = now_msec();
	int i;

	ASSERT_EQ(0, set_timeout(self->listener, SO_RCVTIMEO, 100));
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(-1, accept(self->listener, NULL, NULL));
		EXPECT_EQ(EAGAIN, errno);
	}
	EXPECT_LE(AT_LEAST_OF(200), now_msec() - began);
	PEER_CONNECTS();
	ASSERT_TRUE(wait_poll(self->listener, POLLIN, NULL));
	check_transfer(_metadata, accept(self->listener, NULL, NULL), &self->peer);
}

/* While no descriptor is free, the connection waits. */
TEST_F(accept, without_a_free_descriptor_loses_nothing)
{
	struct rlimit limit, none;

	PEER_CONNECTS();
	ASSERT_TRUE(wait_poll(self->listener, POLLIN, NULL));
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	none = limit;
	none.rlim_cur = dup(0);
	close(none.rlim_cur);
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	EXPECT_EQ(-1, accept(self->listener, NULL, NULL));
	EXPECT_EQ(EMFILE, errno);
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	check_transfer(_metadata, accept(self->listener, NULL, NULL), &self->peer);
}

TEST_F(accept, data_that_came_before)
{
	char data[5000];
	int fd;

	PEER_CONNECTS();
	EXPECT_STREQ("ok 5000", peer_run(&self->peer, "send 5000 1"));
	fd = accept(self->listener, NULL, NULL);
	ASSERT_LE(0, fd);
	EXPECT_EQ(5000, recv_all(fd, data, 5000));
	EXPECT_TRUE(stream_check(1, 0, data, 5000));
	EXPECT_EQ(-1, recv(fd, data, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	close(fd);
}

TEST_F(accept, data_and_end_that_came_before)
{
	char data[100];
	int fd;

	PEER_CONNECTS();
	EXPECT_STREQ("ok 100", peer_run(&self->peer, "send 100 1"));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	fd = accept(self->listener, NULL, NULL);
	ASSERT_LE(0, fd);
	EXPECT_EQ(100, recv_all(fd, data, 100));
	EXPECT_EQ(0, recv(fd, data, 1, 0));
	/* Only the peer's direction is closed: our end is still open. */
	stream_fill(2, 0, data, 100);
	EXPECT_EQ(100, send(fd, data, 100, 0));
	EXPECT_EQ(0, close(fd));
	EXPECT_STREQ("eof 100", peer_run(&self->peer, "drain 2"));
}

/* accept() succeeds. The socket reports the reset. */
TEST_F(accept, reset_that_came_before)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char c;
	int fd;

	PEER_CONNECTS();
	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));
	/* Connections keep their order: once this one has come, so has the first. */
	PEER_CONNECTS();
	fd = accept(self->listener, (struct sockaddr *)&ss, &len);
	ASSERT_LE(0, fd);
	EXPECT_EQ(sizeof(struct sockaddr_in), len);
	EXPECT_EQ(-1, recv(fd, &c, 1, 0));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_EQ(0, recv(fd, &c, 1, 0));
	close(fd);
	check_transfer(_metadata, accept(self->listener, NULL, NULL), &self->peer);
}

TEST_F(accept, with_both_ends_in_one_program)
{
	int fd = new_socket(0), accepted;
	char data[8];

	ASSERT_EQ(0, connect_to(fd, opt.host, self->port));
	accepted = accept(self->listener, NULL, NULL);
	ASSERT_LE(0, accepted);
	EXPECT_EQ(8, send(fd, "from fd", 8, 0));
	EXPECT_EQ(8, recv_all(accepted, data, 8));
	EXPECT_STREQ("from fd", data);
	EXPECT_EQ(8, send(accepted, "to fd..", 8, 0));
	EXPECT_EQ(8, recv_all(fd, data, 8));
	EXPECT_STREQ("to fd..", data);
	close(fd);
	EXPECT_EQ(0, recv(accepted, data, 1, 0));
	close(accepted);
}

TEST_F(accept, sockets_live_longer_than_their_listener)
{
	int fd = peer_accept(&self->peer, self->listener, 0);

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, close(self->listener));
	check_transfer(_metadata, fd, &self->peer);
	self->listener = -1;
}

/* Closing one connection of the backlog leaves the others open. */
TEST_F(accept, closing_one_leaves_the_others)
{
	int i, fds[10];

	for (i = 0; i < 10; i++) {
		fds[i] = new_socket(0);
		ASSERT_EQ(0, connect_to(fds[i], opt.host, self->port));
	}
	for (i = 0; i < 10; i += 2)
		EXPECT_EQ(0, close(fds[i]));
	for (i = 0; i < 10; i++) {
		int fd = accept(self->listener, NULL, NULL);
		char c = 'x';

		ASSERT_LE(0, fd);
		EXPECT_EQ(i % 2 == 0 ? 0 : -1,
			  i % 2 ? recv(fd, &c, 1, MSG_DONTWAIT) :
				  recv(fd, &c, 1, 0));
		EXPECT_EQ(1, send(fd, &c, 1, MSG_NOSIGNAL));
		if (i % 2)
			EXPECT_EQ(1, recv_all(fds[i], &c, 1));
		close(fd);
	}
	for (i = 1; i < 10; i += 2)
		close(fds[i]);
}

XENSOCK_TEST_MAIN
