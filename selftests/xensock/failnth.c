// SPDX-License-Identifier: GPL-2.0
/*
 * Lets each allocation of a call fail in turn: the program is told, nothing is lost, and the same
 * call works afterwards. See Documentation/fault-injection/fault-injection.rst.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "util.h"

#define FAULTS "/sys/kernel/debug/"
/* Enough for the data rings to grow on the way. */
#define BULK 300000
/* No call here allocates as often. */
#define MAX_ALLOCATIONS 1000

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool good = fd >= 0 && write(fd, text, strlen(text)) > 0;

	if (fd >= 0)
		close(fd);
	return good;
}

/* Allocations that may sleep fail as well, and those of single pages. */
static bool allow_failures(void)
{
	return write_file(FAULTS "failslab/ignore-gfp-wait", "N") &&
	       write_file(FAULTS "failslab/verbose", "0") &&
	       write_file(FAULTS "fail_page_alloc/ignore-gfp-wait", "N") &&
	       write_file(FAULTS "fail_page_alloc/ignore-gfp-highmem", "N") &&
	       write_file(FAULTS "fail_page_alloc/min-order", "0") &&
	       write_file(FAULTS "fail_page_alloc/verbose", "0");
}

FIXTURE(failnth) {
	struct peer peer;
	int control;		/* /proc/thread-self/fail-nth */
	unsigned int nth;	/* the allocation that fails */
	bool has_failed;
};

FIXTURE_SETUP(failnth)
{
	if (!allow_failures())
		SKIP(return, "this kernel has no CONFIG_FAILSLAB and CONFIG_FAIL_PAGE_ALLOC");
	self->nth = 0;
	self->control = open("/proc/thread-self/fail-nth", O_RDWR);
	ASSERT_LE(0, self->control);
	ASSERT_TRUE(peer_open(&self->peer, 0));
}

FIXTURE_TEARDOWN(failnth)
{
	peer_close(&self->peer);
	close(self->control);
}

/* Returns true for each allocation, until those between begin() and end() were all tried. */
static bool next(FIXTURE_DATA(failnth) *self)
{
	if (self->nth && !self->has_failed)
		return false;
	return ++self->nth < MAX_ALLOCATIONS;
}

static void set_nth(const FIXTURE_DATA(failnth) *self, unsigned int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", nth);

	pwrite(self->control, text, len, 0);
}

static void begin(const FIXTURE_DATA(failnth) *self)
{
	set_nth(self, self->nth);
}

/* Keeps errno. */
static void end(FIXTURE_DATA(failnth) *self)
{
	int error = errno;
	char text[16] = "";

	pread(self->control, text, sizeof(text) - 1, 0);
	self->has_failed = !strcmp(text, "0\n");
	set_nth(self, 0);
	errno = error;
}

static bool is_shortage(void)
{
	return errno == ENOMEM || errno == ENOBUFS || errno == ENFILE;
}

#define EXPECT_SHORTAGE(what)								\
	EXPECT_TRUE(is_shortage())							\
		TH_LOG("%s, allocation %u: %s", what, self->nth, strerrorname_np(errno))

/* Calls again after a failure, which must work. */
#define EXPECT_THEN(what, again) do {							\
	EXPECT_SHORTAGE(what);								\
	EXPECT_LE(0, again)								\
		TH_LOG("%s, after a failure of allocation %u: %m", what, self->nth);	\
} while (0)

/* At least that many allocations have failed, and all were tried. */
#define EXPECT_FAILURES(least) do {							\
	EXPECT_LT(least, self->nth);							\
	EXPECT_GT(MAX_ALLOCATIONS, self->nth);						\
} while (0)

static void create(struct __test_metadata *_metadata, FIXTURE_DATA(failnth) *self, int type)
{
	while (next(self)) {
		int fd;

		begin(self);
		fd = socket(opt.family, type, 0);
		end(self);
		if (fd < 0) {
			EXPECT_SHORTAGE("socket");
			continue;
		}
		close(fd);
	}
	EXPECT_FAILURES(2);
}

TEST_F(failnth, socket)
{
	create(_metadata, self, SOCK_STREAM);
}

TEST_F(failnth, datagram_socket)
{
	create(_metadata, self, SOCK_DGRAM);
}

/* Sends a word on an echoing connection. */
static bool echoes(int fd)
{
	char word[8] = "";

	return send_all(fd, "word", 4) == 4 && recv_all(fd, word, 4) == 4 && !strcmp(word, "word");
}

TEST_F(failnth, connect)
{
	while (next(self)) {
		int fd = new_socket(0), result;

		begin(self);
		result = connect_to(fd, opt.host, opt.port + PEER_ECHO);
		end(self);
		if (result)
			EXPECT_THEN("connect", connect_to(fd, opt.host, opt.port + PEER_ECHO));
		EXPECT_TRUE(echoes(fd));
		close(fd);
	}
	EXPECT_FAILURES(1);
}

TEST_F(failnth, nonblocking_connect)
{
	while (next(self)) {
		int fd = new_socket(SOCK_NONBLOCK), result;

		begin(self);
		result = connect_to(fd, opt.host, opt.port + PEER_ECHO);
		end(self);
		if (result && errno != EINPROGRESS) {
			EXPECT_SHORTAGE("connect");
			result = connect_to(fd, opt.host, opt.port + PEER_ECHO);
			EXPECT_TRUE(!result || errno == EINPROGRESS) TH_LOG("%m");
		}
		EXPECT_TRUE(wait_poll(fd, POLLOUT, NULL));
		EXPECT_EQ(0, so_error(fd));
		set_nonblock(fd, false);
		EXPECT_TRUE(echoes(fd));
		close(fd);
	}
	EXPECT_FAILURES(1);
}

TEST_F(failnth, bind)
{
	while (next(self)) {
		int fd = new_socket(0), result;

		begin(self);
		result = bind_anywhere(fd);
		end(self);
		/* TCP says so too if it has no memory for the port. */
		if (result && errno == EADDRINUSE)
			errno = ENOMEM;
		if (result)
			EXPECT_THEN("bind", bind_anywhere(fd));
		EXPECT_EQ(0, listen(fd, 1));
		EXPECT_LT(0, local_port(fd));
		close(fd);
	}
	EXPECT_FAILURES(1);
}

/* Has the peer connect to the listener and send a word. */
static bool peer_connects(FIXTURE_DATA(failnth) *self, int listener)
{
	return !strncmp("ok", peer_run(&self->peer, "connect %u", local_port(listener)), 2) &&
	       !strcmp("ok 4", peer_run(&self->peer, "write word"));
}

TEST_F(failnth, listen)
{
	while (next(self)) {
		int listener = new_socket(0), fd, result;

		ASSERT_EQ(0, bind_anywhere(listener));
		begin(self);
		result = listen(listener, 5);
		end(self);
		if (result)
			EXPECT_THEN("listen", listen(listener, 5));
		EXPECT_TRUE(peer_connects(self, listener));
		fd = accept(listener, NULL, NULL);
		EXPECT_LE(0, fd);
		EXPECT_TRUE(wait_readable(fd, 4));
		close(fd);
		close(listener);
	}
	EXPECT_FAILURES(0);
}

/* No connection is lost. */
TEST_F(failnth, accept)
{
	int listener = open_listener(5, 0);

	ASSERT_LE(0, listener);
	while (next(self)) {
		int fd;

		EXPECT_TRUE(peer_connects(self, listener));
		EXPECT_TRUE(wait_poll(listener, POLLIN, NULL));
		begin(self);
		fd = accept(listener, NULL, NULL);
		end(self);
		if (fd < 0)
			EXPECT_THEN("accept", fd = accept(listener, NULL, NULL));
		EXPECT_TRUE(wait_readable(fd, 4));
		close(fd);
	}
	EXPECT_FAILURES(2);
	close(listener);
}

/* What send() has accepted arrives, and nothing else. */
TEST_F(failnth, send)
{
	static char data[BULK];

	stream_fill(1, 0, data, BULK);
	while (next(self)) {
		int fd = peer_connect(&self->peer, 0);
		size_t sent = 0;

		ASSERT_LE(0, fd);
		EXPECT_TRUE(peer_send(&self->peer, "recv %u 1", BULK));
		begin(self);
		while (sent < BULK) {
			ssize_t n = send(fd, data + sent, BULK - sent, 0);

			if (n > 0)
				sent += n;
			else if (!is_shortage())
				break;
		}
		end(self);
		EXPECT_EQ(BULK, sent) TH_LOG("allocation %u: %m", self->nth);
		shutdown(fd, SHUT_WR);
		EXPECT_STREQ("ok 300000", peer_answer(&self->peer));
		EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
		close(fd);
	}
	EXPECT_FAILURES(0);
}

TEST_F(failnth, recv)
{
	static char data[BULK];

	/* A page of ours that is not there yet would be an allocation too. */
	memset(data, 1, BULK);
	while (next(self)) {
		int fd = peer_connect(&self->peer, 0);
		size_t got = 0;

		ASSERT_LE(0, fd);
		EXPECT_TRUE(peer_send(&self->peer, "send %u 1", BULK));
		begin(self);
		while (got < BULK) {
			ssize_t n = recv(fd, data + got, BULK - got, 0);

			if (n > 0)
				got += n;
			else if (!n || !is_shortage())
				break;
		}
		end(self);
		EXPECT_EQ(BULK, got) TH_LOG("allocation %u: %m", self->nth);
		EXPECT_TRUE(stream_check(1, 0, data, got));
		EXPECT_STREQ("ok 300000", peer_answer(&self->peer));
		close(fd);
	}
	EXPECT_FAILURES(0);
}

/* The end comes after all bytes, although nobody can be told of a failure. */
TEST_F(failnth, close)
{
	char data[1000];

	stream_fill(1, 0, data, sizeof(data));
	while (next(self)) {
		int fd = peer_connect(&self->peer, 0);

		ASSERT_EQ(1000, send(fd, data, 1000, 0));
		begin(self);
		EXPECT_EQ(0, close(fd));
		end(self);
		EXPECT_STREQ("eof 1000", peer_run(&self->peer, "drain 1"))
			TH_LOG("allocation %u", self->nth);
	}
	EXPECT_FAILURES(0);
}

TEST_F(failnth, shutdown)
{
	while (next(self)) {
		int fd = peer_connect(&self->peer, 0), result;

		ASSERT_LE(0, fd);
		begin(self);
		result = shutdown(fd, SHUT_WR);
		end(self);
		if (result)
			EXPECT_THEN("shutdown", shutdown(fd, SHUT_WR));
		EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"))
			TH_LOG("allocation %u", self->nth);
		close(fd);
	}
	EXPECT_FAILURES(0);
}

/* An option is what the last call that succeeded has set. */
TEST_F(failnth, setsockopt)
{
	int fd = peer_connect(&self->peer, 0), idle, result;
	socklen_t len = sizeof(idle);

	ASSERT_LE(0, fd);
	while (next(self)) {
		int wanted = 1000 + self->nth, before = wanted - 1;

		EXPECT_EQ(0, setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &before, sizeof(before)));
		begin(self);
		result = setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &wanted, sizeof(wanted));
		end(self);
		if (result)
			EXPECT_SHORTAGE("setsockopt");
		EXPECT_EQ(0, getsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, &len));
		EXPECT_EQ(result ? before : wanted, idle);
	}
	close(fd);
	EXPECT_FAILURES(0);
}

TEST_F(failnth, getsockopt)
{
	int fd = peer_connect(&self->peer, 0), result;

	ASSERT_LE(0, fd);
	while (next(self)) {
		struct tcp_info info = {};
		socklen_t len = sizeof(info);

		begin(self);
		result = getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len);
		end(self);
		if (result) {
			EXPECT_SHORTAGE("getsockopt");
			continue;
		}
		EXPECT_EQ(TCP_ESTABLISHED, info.tcpi_state);
	}
	close(fd);
	EXPECT_FAILURES(0);
}

/* A datagram that was sent arrives whole; one that was not, does not. */
TEST_F(failnth, sendto)
{
	int port, fd;
	char data[1000];

	ASSERT_EQ(1, sscanf(peer_run(&self->peer, "udp"), "ok %d", &port));
	stream_fill(1, 0, data, sizeof(data));
	while (next(self)) {
		struct sockaddr_in to = address(opt.host, port);
		ssize_t n;

		fd = socket(opt.family, SOCK_DGRAM, 0);
		begin(self);
		n = sendto(fd, data, 1000, 0, (struct sockaddr *)&to, sizeof(to));
		end(self);
		if (n < 0) {
			EXPECT_SHORTAGE("sendto");
			n = sendto(fd, data, 1000, 0, (struct sockaddr *)&to, sizeof(to));
		}
		EXPECT_EQ(1000, n) TH_LOG("after a failure of allocation %u: %m", self->nth);
		EXPECT_EQ(0, strncmp("ok 1000 ", peer_run(&self->peer, "recvfrom 1"), 8))
			TH_LOG("allocation %u: %s", self->nth, self->peer.line);
		close(fd);
	}
	EXPECT_FAILURES(1);
}

XENSOCK_TEST_MAIN
