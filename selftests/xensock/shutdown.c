// SPDX-License-Identifier: GPL-2.0
/* shutdown(): each direction ends alone, and what each end sees then. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "util.h"

#define CAN_READ (POLLIN | POLLRDNORM)
#define CAN_WRITE (POLLOUT | POLLWRNORM)
#define READ_END (CAN_READ | POLLRDHUP)
#define ALL_OVER (READ_END | CAN_WRITE | POLLHUP)

FIXTURE(shutdown) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(shutdown)
{
	ASSERT_TRUE(peer_open(&self->peer, 16384));
	self->fd = peer_connect(&self->peer, SOCK_CLOEXEC);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(shutdown)
{
	if (self->fd >= 0)
		close(self->fd);
	peer_close(&self->peer);
}

static atomic_int sigpipes;

static void on_sigpipe(int sig)
{
	(void)sig;
	sigpipes++;
}

/* Returns 0 for the end, or an errno. */
static int try_recv(int fd)
{
	char c;
	ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT);

	return n < 0 ? errno : -n;
}

static int try_send(int fd)
{
	return send(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? errno : 0;
}

/* What a connection does after a shutdown(). */
static const struct {
	int how;
	short events;
	int recv;
	int send;
} cases[] = {
	{ SHUT_RD, READ_END | CAN_WRITE, 0, 0 },
	{ SHUT_WR, CAN_WRITE, EAGAIN, EPIPE },
	{ SHUT_RDWR, ALL_OVER, 0, EPIPE },
};

TEST_F(shutdown, each_way)
{
	size_t i;
	int fd, again;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		fd = peer_connect(&self->peer, 0);
		ASSERT_LE(0, fd);
		/* A second call changes nothing. */
		for (again = 0; again < 2; again++) {
			EXPECT_EQ(0, shutdown(fd, cases[i].how));
			EXPECT_EQ(cases[i].events, poll_now(fd))
				TH_LOG("how %d", cases[i].how);
			EXPECT_EQ(cases[i].recv, try_recv(fd))
				TH_LOG("how %d", cases[i].how);
			EXPECT_EQ(cases[i].send, try_send(fd))
				TH_LOG("how %d", cases[i].how);
			EXPECT_EQ(0, so_error(fd));
		}
		EXPECT_EQ(0, close(fd));
	}
}

TEST_F(shutdown, one_way_then_the_other)
{
	EXPECT_EQ(0, shutdown(self->fd, SHUT_WR));
	EXPECT_EQ(0, shutdown(self->fd, SHUT_RD));
	EXPECT_EQ(ALL_OVER, poll_now(self->fd));
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
}

TEST_F(shutdown, no_such_way)
{
	static const int hows[] = { 3, -1, 4, 0x7fffffff, -0x80000000 };
	size_t i;

	for (i = 0; i < ARRAY_LEN(hows); i++) {
		EXPECT_EQ(-1, shutdown(self->fd, hows[i]));
		EXPECT_EQ(EINVAL, errno) TH_LOG("how %d", hows[i]);
	}
	EXPECT_EQ(CAN_WRITE, poll_now(self->fd));
}

TEST_F(shutdown, without_a_connection)
{
	int how, i, fds[2] = { new_socket(0), new_socket(0) };

	ASSERT_EQ(0, bind_to(fds[1], opt.host, 0));
	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));
	ASSERT_TRUE(wait_poll(self->fd, POLLHUP, NULL));
	for (how = SHUT_RD; how <= SHUT_RDWR; how++) {
		for (i = 0; i < 3; i++) {
			EXPECT_EQ(-1, shutdown(i < 2 ? fds[i] : self->fd,
					       how));
			EXPECT_EQ(ENOTCONN, errno)
				TH_LOG("case %d, how %d", i, how);
		}
	}
	close(fds[0]);
	close(fds[1]);
}

/* It fails, and yet the connection that is made later does not have that direction. */
TEST_F(shutdown, before_there_is_a_connection)
{
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		fd = new_socket(0);
		EXPECT_EQ(-1, shutdown(fd, cases[i].how));
		EXPECT_EQ(ENOTCONN, errno);
		ASSERT_EQ(0, connect_to(fd, opt.host, self->peer.port));
		EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
		EXPECT_EQ(cases[i].events, poll_now(fd)) TH_LOG("how %d", cases[i].how);
		EXPECT_EQ(cases[i].recv, try_recv(fd)) TH_LOG("how %d", cases[i].how);
		EXPECT_EQ(cases[i].send, try_send(fd)) TH_LOG("how %d", cases[i].how);
		/* The peer has not been told, and is not when receiving ends as well. */
		EXPECT_EQ(0, shutdown(fd, SHUT_RD));
		EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
		EXPECT_EQ(0, shutdown(fd, SHUT_WR));
		EXPECT_STREQ("fin", peer_run(&self->peer, "end"));
		close(fd);
	}
}

TEST_F(shutdown, ends_an_attempt_to_connect)
{
	int fd = new_socket(SOCK_NONBLOCK);

	connect_for_long(fd);
	EXPECT_EQ(-1, connect_to(fd, opt.blackhole, 80));
	EXPECT_EQ(EINPROGRESS, errno);
	EXPECT_EQ(0, shutdown(fd, SHUT_RDWR));
	EXPECT_EQ(CAN_WRITE | POLLHUP | POLLERR, poll_now(fd));
	EXPECT_EQ(ECONNRESET, so_error(fd));
	EXPECT_EQ(CAN_WRITE | POLLHUP, poll_now(fd));
	set_nonblock(fd, false);
	EXPECT_EQ(0, connect_to(fd, opt.host, opt.port + PEER_ECHO));
	EXPECT_EQ(0, try_send(fd));
	EXPECT_TRUE(wait_poll(fd, POLLIN, NULL));
	close(fd);
}

TEST_F(shutdown, writing_ends_after_all_data)
{
	char data[5000];

	stream_fill(1, 0, data, sizeof(data));
	EXPECT_EQ(5000, send(self->fd, data, 5000, 0));
	EXPECT_EQ(0, shutdown(self->fd, SHUT_WR));
	EXPECT_STREQ("eof 5000", peer_run(&self->peer, "drain 1"));
	/* The other direction goes on until the peer ends it. */
	EXPECT_STREQ("ok 5000", peer_run(&self->peer, "send 5000 2"));
	EXPECT_EQ(5000, recv_all(self->fd, data, 5000));
	EXPECT_TRUE(stream_check(2, 0, data, 5000));
	EXPECT_EQ(EAGAIN, try_recv(self->fd));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	EXPECT_EQ(0, recv(self->fd, data, 1, 0));
	EXPECT_EQ(ALL_OVER, poll_now(self->fd));
}

TEST_F(shutdown, writing_ends_at_once_with_all_buffers_full)
{
	__u64 sent = fill_socket(self->fd, 1, 30000);
	char expected[32];

	EXPECT_EQ(0, shutdown(self->fd, SHUT_WR));
	EXPECT_EQ(CAN_WRITE, poll_now(self->fd));
	snprintf(expected, sizeof(expected), "eof %llu", sent);
	EXPECT_STREQ(expected, peer_run(&self->peer, "drain 1"));
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 2"));
	EXPECT_TRUE(wait_readable(self->fd, 10));
}

TEST_F(shutdown, writing_has_ended_is_epipe)
{
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	signal(SIGPIPE, on_sigpipe);
	EXPECT_EQ(0, shutdown(self->fd, SHUT_WR));
	EXPECT_EQ(-1, send(self->fd, "x", 1, 0));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(-1, write(self->fd, "x", 1));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(-1, sendmsg(self->fd, &msg, 0));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(3, sigpipes);
	EXPECT_EQ(-1, sendmsg(self->fd, &msg, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(3, sigpipes);
}

TEST_F(shutdown, writing_ends_then_the_peer_resets)
{
	EXPECT_EQ(0, shutdown(self->fd, SHUT_WR));
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));
	ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
	EXPECT_EQ(ALL_OVER | POLLERR, poll_now(self->fd));
	EXPECT_EQ(ECONNRESET, try_recv(self->fd));
	EXPECT_EQ(0, try_recv(self->fd));
	EXPECT_EQ(EPIPE, try_send(self->fd));
}

/* Both ends have finished, in either order: the connection is closed. */
TEST_F(shutdown, both_ends_have_finished)
{
	int peer_first, fd;

	for (peer_first = 0; peer_first < 2; peer_first++) {
		fd = peer_connect(&self->peer, 0);
		ASSERT_LE(0, fd);
		if (peer_first) {
			EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
			ASSERT_TRUE(wait_poll(fd, POLLRDHUP, NULL));
			EXPECT_EQ(READ_END | CAN_WRITE, poll_now(fd));
			EXPECT_EQ(0, shutdown(fd, SHUT_WR));
		} else {
			EXPECT_EQ(0, shutdown(fd, SHUT_WR));
			EXPECT_STREQ("eof 0", peer_run(&self->peer,
						       "drain 1"));
			EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
		}
		ASSERT_TRUE(wait_poll(fd, POLLHUP, NULL));
		EXPECT_TRUE(wait_poll(fd, POLLRDHUP, NULL));
		EXPECT_EQ(ALL_OVER, poll_now(fd));
		EXPECT_EQ(0, try_recv(fd));
		EXPECT_EQ(EPIPE, try_send(fd));
		EXPECT_EQ(0, so_error(fd));
		EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
		EXPECT_EQ(0, close(fd));
	}
}

/* Data that came before is read, and so is data that comes later. */
TEST_F(shutdown, reading_ends_but_data_does_not)
{
	__u64 deadline = now_msec() + WAIT_LIMIT_MSEC;
	char data[20];
	int have = 0;

	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	ASSERT_TRUE(wait_readable(self->fd, 10));
	EXPECT_EQ(0, shutdown(self->fd, SHUT_RD));
	EXPECT_EQ(10, recv(self->fd, data, 20, 0));
	EXPECT_TRUE(stream_check(1, 0, data, 10));
	EXPECT_EQ(0, recv(self->fd, data, 20, 0));
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	while (have < 10 && now_msec() < deadline)
		ASSERT_EQ(0, ioctl(self->fd, FIONREAD, &have));
	EXPECT_EQ(10, recv(self->fd, data, 20, 0));
	EXPECT_TRUE(stream_check(1, 10, data, 10));
	EXPECT_EQ(0, recv(self->fd, data, 20, 0));
	/* The peer was not told of it. */
	EXPECT_EQ(0, try_send(self->fd));
	EXPECT_EQ(0, close(self->fd));
	self->fd = -1;
	EXPECT_STREQ("fin", peer_run(&self->peer, "end"));
}

/* A socket with both directions shut down resets a peer that goes on, at once or later. */
TEST_F(shutdown, of_both_ways_resets_a_peer_that_goes_on)
{
	char name[sizeof(struct sockaddr_storage)];
	socklen_t len;
	static const int hows[][2] = {
		{ SHUT_RDWR, -1 }, { SHUT_WR, SHUT_RD }, { SHUT_WR, SHUT_RDWR },
		{ SHUT_RD, SHUT_WR }, { SHUT_RD, SHUT_RDWR },
	};
	__u64 deadline;
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_LEN(hows); i++) {
		fd = peer_connect(&self->peer, 0);
		ASSERT_LE(0, fd);
		EXPECT_EQ(0, shutdown(fd, hows[i][0]));
		if (hows[i][1] >= 0)
			EXPECT_EQ(0, shutdown(fd, hows[i][1]));
		EXPECT_STREQ("fin", peer_run(&self->peer, "end"));
		/* The peer has not closed: the connection exists. */
		len = sizeof(name);
		EXPECT_EQ(0, getpeername(fd, (struct sockaddr *)name, &len));
		/* Over AF_XENSOCK the request may still be under way. */
		deadline = now_msec() + WAIT_LIMIT_MSEC;
		do {
			peer_run(&self->peer, "send 10 1");
		} while (!(poll_now(fd) & POLLERR) && now_msec() < deadline);
		EXPECT_EQ(ECONNRESET, so_error(fd))
			TH_LOG("how %d, then %d", hows[i][0], hows[i][1]);
		EXPECT_STREQ("err 32 0", peer_run(&self->peer, "send 10 1"));
		EXPECT_EQ(0, close(fd));
	}
}

TEST_F(shutdown, a_receiver_is_woken)
{
	struct waiter w;
	int how;

	for (how = SHUT_RD; how <= SHUT_RDWR; how += 2) {
		int fd = peer_connect(&self->peer, 0);

		ASSERT_TRUE(waiter_start(&w, in_recv, fd));
		EXPECT_EQ(0, shutdown(fd, how));
		EXPECT_EQ(0, waiter_end(&w));
		close(fd);
	}
}

/* send() returns what it has sent, and that much arrives. */
TEST_F(shutdown, a_sender_is_woken)
{
	struct waiter w;
	long sent;

	ASSERT_TRUE(waiter_start(&w, in_send, self->fd));
	EXPECT_EQ(0, shutdown(self->fd, SHUT_WR));
	sent = waiter_end(&w);
	EXPECT_LT(0, sent);
	EXPECT_EQ(EPIPE, try_send(self->fd));
	peer_run(&self->peer, "count");
	EXPECT_EQ(sent, strtol(self->peer.line + 4, NULL, 10))
		TH_LOG("%s", self->peer.line);
	EXPECT_EQ(0, strncmp("eof", self->peer.line, 3));
}

static long in_poll(struct waiter *w)
{
	struct pollfd pfd = { .fd = w->fd, .events = POLLRDHUP };

	return poll(&pfd, 1, WAIT_LIMIT_MSEC) == 1 ? pfd.revents : -1;
}

TEST_F(shutdown, a_sleeper_in_poll_is_woken)
{
	static const struct {
		int how;
		short events;
	} cases[] = {
		{ SHUT_RD, POLLRDHUP }, { SHUT_RDWR, POLLRDHUP | POLLHUP },
	};
	struct waiter w;
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		fd = peer_connect(&self->peer, 0);
		ASSERT_TRUE(waiter_start(&w, in_poll, fd));
		EXPECT_EQ(0, shutdown(fd, cases[i].how));
		EXPECT_EQ(cases[i].events, waiter_end(&w));
		close(fd);
	}
}

/* Everything requested before is answered: rsh, HTTP/1.0 and others need this. */
TEST_F(shutdown, an_echo_gives_back_all_before_the_end)
{
	static char out[60000], in[60000];
	int fd = connect_port(opt.port + PEER_ECHO, 0);

	ASSERT_LE(0, fd);
	stream_fill(1, 0, out, sizeof(out));
	EXPECT_EQ(sizeof(out), send_all(fd, out, sizeof(out)));
	EXPECT_EQ(0, shutdown(fd, SHUT_WR));
	EXPECT_EQ(sizeof(in), recv_all(fd, in, sizeof(in)));
	EXPECT_EQ(0, memcmp(in, out, sizeof(in)));
	EXPECT_EQ(0, recv(fd, in, 1, 0));
	close(fd);
}

/* Unlike close(), shutdown() affects all owners of the socket. */
TEST_F(shutdown, by_another_process)
{
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid)
		_exit(shutdown(self->fd, SHUT_WR) != 0);
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
	EXPECT_EQ(EPIPE, try_send(self->fd));
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 2"));
	EXPECT_TRUE(wait_readable(self->fd, 10));
}

TEST_F(shutdown, close_with_data_unread_is_a_reset_all_the_same)
{
	int how;

	for (how = SHUT_RD; how <= SHUT_RDWR; how++) {
		close(self->fd);
		self->fd = peer_connect(&self->peer, 0);
		EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
		ASSERT_TRUE(wait_readable(self->fd, 10));
		EXPECT_EQ(0, shutdown(self->fd, how));
		EXPECT_EQ(0, close(self->fd));
		self->fd = -1;
		peer_run(&self->peer, "send 100000000 1");
		EXPECT_EQ(0, strncmp("err", self->peer.line, 3))
			TH_LOG("how %d: %s", how, self->peer.line);
	}
}

XENSOCK_TEST_MAIN
