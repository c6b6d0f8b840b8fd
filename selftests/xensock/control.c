// SPDX-License-Identifier: GPL-2.0
/* Control messages of recvmsg(), and SO_PEEK_OFF with MSG_PEEK. */
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#include "kselftest_harness.h"
#include "datagram.h"

#define SOL_TCP IPPROTO_TCP

FIXTURE(control) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(control)
{
	ASSERT_TRUE(peer_open(&self->peer, 0));
	self->fd = peer_connect(&self->peer, 0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(control)
{
	close(self->fd);
	peer_close(&self->peer);
}

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value));
}

static int get_option(int fd, int level, int option)
{
	socklen_t len = sizeof(int);
	int value = -1;

	return getsockopt(fd, level, option, &value, &len) ? -errno : value;
}

/* Receives data. Returns the value of a control message, or -1 if there is none. */
static int recv_int(int fd, int flags, void *data, size_t len, int level, int type)
{
	char control[256];
	struct iovec iov = { data, len };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;
	int value;

	if (recvmsg(fd, &msg, flags) < 0)
		return -errno;
	for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == level && c->cmsg_type == type) {
			memcpy(&value, CMSG_DATA(c), sizeof(value));
			return value;
		}
	return -1;
}

TEST_F(control, tcp_inq_tells_what_is_left)
{
	char data[100];

	EXPECT_STREQ("ok 100", peer_run(&self->peer, "send 100 1"));
	ASSERT_TRUE(wait_readable(self->fd, 100));
	EXPECT_EQ(-1, recv_int(self->fd, MSG_PEEK, data, 1, SOL_TCP, TCP_CM_INQ));
	EXPECT_EQ(0, get_option(self->fd, SOL_TCP, TCP_INQ));
	ASSERT_EQ(0, set_option(self->fd, SOL_TCP, TCP_INQ, 1));
	EXPECT_EQ(1, get_option(self->fd, SOL_TCP, TCP_INQ));
	EXPECT_EQ(100, recv_int(self->fd, MSG_PEEK, data, 10, SOL_TCP, TCP_CM_INQ));
	EXPECT_EQ(90, recv_int(self->fd, 0, data, 10, SOL_TCP, TCP_CM_INQ));
	EXPECT_EQ(0, recv_int(self->fd, 0, data, 90, SOL_TCP, TCP_CM_INQ));
	EXPECT_EQ(-EAGAIN, recv_int(self->fd, MSG_DONTWAIT, data, 1, SOL_TCP, TCP_CM_INQ));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
	EXPECT_EQ(1, recv_int(self->fd, 0, data, 1, SOL_TCP, TCP_CM_INQ));
	EXPECT_EQ(-1, set_option(self->fd, SOL_TCP, TCP_INQ, 2));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, set_option(self->fd, SOL_TCP, TCP_INQ, 0));
	EXPECT_EQ(-1, recv_int(self->fd, 0, data, 1, SOL_TCP, TCP_CM_INQ));
}

/* The end counts as a byte as soon as it has arrived, so that the program goes on reading. */
TEST_F(control, tcp_inq_tells_of_the_end)
{
	char data[100];

	ASSERT_EQ(0, set_option(self->fd, SOL_TCP, TCP_INQ, 1));
	EXPECT_STREQ("ok 100", peer_run(&self->peer, "send 100 1"));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
	EXPECT_EQ(91, recv_int(self->fd, 0, data, 10, SOL_TCP, TCP_CM_INQ));
	EXPECT_EQ(1, recv_int(self->fd, 0, data, 90, SOL_TCP, TCP_CM_INQ));
	EXPECT_EQ(1, recv_int(self->fd, 0, data, 1, SOL_TCP, TCP_CM_INQ));
}

/* Bytes that were received are not lost if there is no memory for a control message. */
TEST_F(control, tcp_inq_in_bad_memory)
{
	char data[10];
	struct iovec iov = { data, sizeof(data) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = (void *)1, .msg_controllen = 64,
	};

	ASSERT_EQ(0, set_option(self->fd, SOL_TCP, TCP_INQ, 1));
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	ASSERT_TRUE(wait_readable(self->fd, 10));
	EXPECT_EQ(10, recvmsg(self->fd, &msg, 0));
	EXPECT_TRUE(stream_check(1, 0, data, 10));
}

/* The program learns that it has no room for a message. */
TEST_F(control, no_room_for_messages)
{
	char data[10];
	struct iovec iov = { data, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	ASSERT_TRUE(wait_readable(self->fd, 10));
	EXPECT_EQ(1, recvmsg(self->fd, &msg, 0));
	EXPECT_EQ(0, msg.msg_flags);
	ASSERT_EQ(0, set_option(self->fd, SOL_TCP, TCP_INQ, 1));
	EXPECT_EQ(1, recvmsg(self->fd, &msg, 0));
	EXPECT_EQ(MSG_CTRUNC, msg.msg_flags);
}

TEST_F(control, tcp_inq_set_before)
{
	int fd = new_socket(0), listener = new_socket(0), accepted;
	char data[100];

	ASSERT_EQ(0, set_option(fd, SOL_TCP, TCP_INQ, 1));
	ASSERT_EQ(0, connect_to(fd, opt.host, opt.port + PEER_ECHO));
	EXPECT_EQ(3, send(fd, "abc", 3, 0));
	ASSERT_TRUE(wait_readable(fd, 3));
	EXPECT_EQ(2, recv_int(fd, 0, data, 1, SOL_TCP, TCP_CM_INQ));
	close(fd);

	ASSERT_EQ(0, set_option(listener, SOL_TCP, TCP_INQ, 1));
	ASSERT_EQ(0, bind_to(listener, opt.host, 0));
	ASSERT_EQ(0, listen(listener, 1));
	accepted = peer_accept(&self->peer, listener, 0);
	ASSERT_LE(0, accepted);
	EXPECT_EQ(1, get_option(accepted, SOL_TCP, TCP_INQ));
	EXPECT_STREQ("ok 100", peer_run(&self->peer, "send 100 1"));
	ASSERT_TRUE(wait_readable(accepted, 100));
	EXPECT_EQ(99, recv_int(accepted, 0, data, 1, SOL_TCP, TCP_CM_INQ));
	close(accepted);
	close(listener);
}

TEST_F(control, peek_offset_of_a_stream)
{
	char data[100];

	EXPECT_EQ(-1, get_option(self->fd, SOL_SOCKET, SO_PEEK_OFF));
	EXPECT_STREQ("ok 100", peer_run(&self->peer, "send 100 1"));
	ASSERT_TRUE(wait_readable(self->fd, 100));
	ASSERT_EQ(0, set_option(self->fd, SOL_SOCKET, SO_PEEK_OFF, 10));
	EXPECT_EQ(20, recv(self->fd, data, 20, MSG_PEEK));
	EXPECT_TRUE(stream_check(1, 10, data, 20));
	EXPECT_EQ(30, get_option(self->fd, SOL_SOCKET, SO_PEEK_OFF));
	EXPECT_EQ(20, recv(self->fd, data, 20, MSG_PEEK));
	EXPECT_TRUE(stream_check(1, 30, data, 20));
	/* Reading moves the offset back, but not below zero. */
	EXPECT_EQ(40, recv(self->fd, data, 40, 0));
	EXPECT_TRUE(stream_check(1, 0, data, 40));
	EXPECT_EQ(10, get_option(self->fd, SOL_SOCKET, SO_PEEK_OFF));
	EXPECT_EQ(50, recv(self->fd, data, 100, MSG_PEEK));
	EXPECT_TRUE(stream_check(1, 50, data, 50));
	EXPECT_EQ(-1, recv(self->fd, data, 100, MSG_PEEK | MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(60, recv(self->fd, data, 100, 0));
	EXPECT_TRUE(stream_check(1, 40, data, 60));
	EXPECT_EQ(0, get_option(self->fd, SOL_SOCKET, SO_PEEK_OFF));
	ASSERT_EQ(0, set_option(self->fd, SOL_SOCKET, SO_PEEK_OFF, -1));
	EXPECT_EQ(-1, get_option(self->fd, SOL_SOCKET, SO_PEEK_OFF));
}

/* A thread that peeks at one byte after another. */
struct peeker {
	pthread_t thread;
	int fd;
	/* How often it has seen each value. */
	unsigned int seen[256];
};

static void *peek_on(void *arg)
{
	struct peeker *p = arg;
	unsigned char byte;

	while (recv(p->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1)
		p->seen[byte]++;
	return NULL;
}

TEST_F(control, peek_offset_of_two_threads)
{
	struct peeker peekers[2] = { { .fd = self->fd }, { .fd = self->fd } };
	unsigned char data[2000];
	unsigned int i, wanted[256] = { 0 };

	stream_fill(1, 0, data, sizeof(data));
	for (i = 0; i < sizeof(data); i++)
		wanted[data[i]]++;
	EXPECT_STREQ("ok 2000", peer_run(&self->peer, "send 2000 1"));
	ASSERT_TRUE(wait_readable(self->fd, 2000));
	ASSERT_EQ(0, set_option(self->fd, SOL_SOCKET, SO_PEEK_OFF, 0));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&peekers[i].thread, NULL, peek_on, &peekers[i]));
	for (i = 0; i < 2; i++)
		pthread_join(peekers[i].thread, NULL);
	for (i = 0; i < 256; i++)
		EXPECT_EQ(wanted[i], peekers[0].seen[i] + peekers[1].seen[i]);
	EXPECT_EQ(2000, get_option(self->fd, SOL_SOCKET, SO_PEEK_OFF));
}

static long in_peek(struct waiter *w)
{
	return recv(w->fd, w->data, 10, MSG_PEEK);
}

TEST_F(control, peek_offset_waits_for_what_comes)
{
	struct waiter w = { 0 };
	char data[10];

	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	ASSERT_TRUE(wait_readable(self->fd, 10));
	ASSERT_EQ(0, set_option(self->fd, SOL_SOCKET, SO_PEEK_OFF, 10));
	ASSERT_TRUE(waiter_start(&w, in_peek, self->fd));
	EXPECT_STREQ("ok 5", peer_run(&self->peer, "send 5 1"));
	EXPECT_EQ(5, waiter_end(&w));
	EXPECT_TRUE(stream_check(1, 10, w.data, 5));
	EXPECT_EQ(10, recv(self->fd, data, 10, 0));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
	EXPECT_EQ(5, get_option(self->fd, SOL_SOCKET, SO_PEEK_OFF));
	EXPECT_EQ(0, recv(self->fd, data, 10, MSG_PEEK));
	EXPECT_EQ(5, recv(self->fd, data, 10, 0));
}

enum stamp {
	NO_BYTE,
	NO_STAMP,
	WRONG_STAMP,
	GOOD_STAMP,	/* between a time and now */
};

/* Receives one byte. Returns what its timestamp is if it should not be before @from. */
static enum stamp recv_stamp(int fd, int type, time_t from)
{
	char control[256], data;
	struct iovec iov = { &data, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;
	time_t at = 0;

	if (recvmsg(fd, &msg, 0) != 1)
		return NO_BYTE;
	for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == type)
			memcpy(&at, CMSG_DATA(c), sizeof(at));
	if (!at)
		return NO_STAMP;
	return at >= from - 1 && at <= time(NULL) + 1 ? GOOD_STAMP : WRONG_STAMP;
}

/* Flags of SO_TIMESTAMPING: the kernel's time of arrival. */
#define RX_SOFTWARE (1 << 3 | 1 << 4)

static const struct {
	int option, value;
} stamps[] = {
	{ SO_TIMESTAMP, 1 }, { SO_TIMESTAMPNS, 1 },
	{ SO_TIMESTAMP_NEW, 1 }, { SO_TIMESTAMPNS_NEW, 1 },
	{ SO_TIMESTAMPING, RX_SOFTWARE }, { SO_TIMESTAMPING_NEW, RX_SOFTWARE },
};

/* The kernel begins to take timestamps a moment after the request. Returns the first one. */
static enum stamp wait_stamp(struct peer *peer, int fd, int type)
{
	enum stamp stamp = NO_STAMP;
	time_t from = time(NULL);
	int i;

	for (i = 0; i < 1000 && stamp == NO_STAMP; i++) {
		if (strcmp("ok 1", peer_run(peer, "send 1 1")))
			return NO_BYTE;
		stamp = recv_stamp(fd, type, from);
	}
	return stamp;
}

TEST_F(control, timestamps_of_a_stream)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(stamps); i++) {
		time_t from = time(NULL);

		int option = stamps[i].option;

		ASSERT_EQ(0, set_option(self->fd, SOL_SOCKET, option, stamps[i].value));
		EXPECT_EQ(GOOD_STAMP, wait_stamp(&self->peer, self->fd, option))
			TH_LOG("%d", option);
		ASSERT_EQ(0, set_option(self->fd, SOL_SOCKET, option, 0));
		EXPECT_STREQ("ok 1", peer_run(&self->peer, "send 1 1"));
		EXPECT_EQ(NO_STAMP, recv_stamp(self->fd, option, from)) TH_LOG("%d", option);
	}
}

TEST_F(control, timestamps_are_inherited)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(stamps); i++) {
		int listener = new_socket(0), option = stamps[i].option, fd;

		ASSERT_EQ(0, set_option(listener, SOL_SOCKET, option, stamps[i].value));
		ASSERT_EQ(0, bind_to(listener, opt.host, 0));
		ASSERT_EQ(0, listen(listener, 1));
		fd = peer_accept(&self->peer, listener, 0);
		ASSERT_LE(0, fd);
		EXPECT_EQ(stamps[i].value, get_option(fd, SOL_SOCKET, option)) TH_LOG("%d", option);
		EXPECT_EQ(GOOD_STAMP, wait_stamp(&self->peer, fd, option)) TH_LOG("%d", option);
		close(fd);
		close(listener);
	}
}

TEST(timestamps_of_datagrams)
{
	int to = open_datagram(), from = new_datagram(0);
	enum stamp stamp;
	size_t i;
	int n;

	for (i = 0; i < ARRAY_LEN(stamps); i++) {
		int option = stamps[i].option;
		time_t now = time(NULL);

		ASSERT_EQ(0, set_option(to, SOL_SOCKET, option, stamps[i].value));
		/* This, too, may take a moment. */
		for (n = 0, stamp = NO_STAMP; n < 1000 && stamp == NO_STAMP; n++) {
			EXPECT_EQ(1, send_to(from, opt.host, local_port(to), "!", 1));
			stamp = recv_stamp(to, option, now);
		}
		EXPECT_EQ(GOOD_STAMP, stamp) TH_LOG("%d", option);
		ASSERT_EQ(0, set_option(to, SOL_SOCKET, option, 0));
		EXPECT_EQ(1, send_to(from, opt.host, local_port(to), "!", 1));
		EXPECT_EQ(NO_STAMP, recv_stamp(to, option, now)) TH_LOG("%d", option);
	}
	/* Transmit timestamps are the backend's, and it does not report them. */
	if (opt.family != AF_INET) {
		EXPECT_EQ(-1, set_option(to, SOL_SOCKET, SO_TIMESTAMPING, 1 << 1 | RX_SOFTWARE));
		EXPECT_EQ(EOPNOTSUPP, errno);
	}
	close(to);
	close(from);
}

TEST(peek_offset_of_datagrams)
{
	int to = open_datagram(), from = new_datagram(0);
	unsigned int port = local_port(to);
	char data[20];

	EXPECT_EQ(-1, get_option(to, SOL_SOCKET, SO_PEEK_OFF));
	EXPECT_EQ(10, send_to(from, opt.host, port, "0123456789", 10));
	EXPECT_EQ(5, send_to(from, opt.host, port, "abcde", 5));
	EXPECT_EQ(1, send_to(from, opt.host, port, "!", 1));
	ASSERT_EQ(0, set_option(to, SOL_SOCKET, SO_PEEK_OFF, 4));
	EXPECT_EQ(3, recv(to, data, 3, MSG_PEEK));
	EXPECT_EQ(0, memcmp(data, "456", 3));
	EXPECT_EQ(3, recv(to, data, 20, MSG_PEEK));
	EXPECT_EQ(0, memcmp(data, "789", 3));
	EXPECT_EQ(10, get_option(to, SOL_SOCKET, SO_PEEK_OFF));
	EXPECT_EQ(5, recv(to, data, 20, MSG_PEEK));
	EXPECT_EQ(0, memcmp(data, "abcde", 5));
	EXPECT_EQ(10, recv(to, data, 20, 0));
	EXPECT_EQ(5, get_option(to, SOL_SOCKET, SO_PEEK_OFF));
	EXPECT_EQ(1, recv(to, data, 20, MSG_PEEK));
	EXPECT_EQ('!', data[0]);
	EXPECT_EQ(-1, recv(to, data, 20, MSG_PEEK | MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(5, recv(to, data, 20, 0));
	EXPECT_EQ(1, recv(to, data, 20, 0));
	close(to);
	close(from);
}

/* The offset does not count an empty datagram. It is passed once a call has peeked at it. */
TEST(peek_offset_and_empty_datagrams)
{
	static const char *const sent[] = { "", "abc", "", "", "de" };
	int to = open_datagram(), from = new_datagram(0);
	unsigned int port = local_port(to);
	struct waiter w = { 0 };
	char data[20];
	size_t i, n;

	for (i = 0; i < ARRAY_LEN(sent); i++)
		EXPECT_EQ(strlen(sent[i]), send_to(from, opt.host, port, sent[i], strlen(sent[i])));
	ASSERT_EQ(0, set_option(to, SOL_SOCKET, SO_PEEK_OFF, 0));
	for (n = 0; n < 2; n++) {
		for (i = 0; i < ARRAY_LEN(sent); i++) {
			/* All empty ones were passed the first time. */
			if (n && !sent[i][0])
				continue;
			EXPECT_EQ(strlen(sent[i]), recv(to, data, 20, MSG_PEEK)) TH_LOG("%zu", i);
			EXPECT_EQ(0, memcmp(data, sent[i], strlen(sent[i])));
		}
		EXPECT_EQ(-1, recv(to, data, 20, MSG_PEEK | MSG_DONTWAIT));
		EXPECT_EQ(EAGAIN, errno);
		ASSERT_EQ(0, set_option(to, SOL_SOCKET, SO_PEEK_OFF, 0));
	}
	/* Without an offset, or as soon as they are received, they are there. */
	ASSERT_EQ(0, set_option(to, SOL_SOCKET, SO_PEEK_OFF, -1));
	EXPECT_EQ(0, recv(to, data, 20, MSG_PEEK));
	for (i = 0; i < ARRAY_LEN(sent); i++)
		EXPECT_EQ(strlen(sent[i]), recv(to, data, 20, 0));

	/* The same while a call waits for the next one. */
	ASSERT_EQ(0, set_option(to, SOL_SOCKET, SO_PEEK_OFF, 0));
	EXPECT_EQ(0, send_to(from, opt.host, port, "", 0));
	EXPECT_EQ(0, recv(to, data, 20, MSG_PEEK));
	ASSERT_TRUE(waiter_start(&w, in_peek, to));
	EXPECT_EQ(5, send_to(from, opt.host, port, "01234", 5));
	EXPECT_EQ(5, waiter_end(&w));
	close(to);
	close(from);
}

/* A call that waits goes on with the offset with which it began. */
TEST(peek_offset_of_two_calls)
{
	int to = open_datagram(), from = new_datagram(0);
	struct waiter first = { 0 }, second = { 0 };
	unsigned int port = local_port(to);

	ASSERT_EQ(0, set_option(to, SOL_SOCKET, SO_PEEK_OFF, 0));
	ASSERT_TRUE(waiter_start(&first, in_peek, to));
	ASSERT_TRUE(waiter_start(&second, in_peek, to));
	EXPECT_EQ(5, send_to(from, opt.host, port, "01234", 5));
	/* UDP wakes one of them for each datagram. */
	EXPECT_EQ(3, send_to(from, opt.host, port, "abc", 3));
	EXPECT_EQ(5, waiter_end(&first));
	EXPECT_EQ(5, waiter_end(&second));
	EXPECT_EQ(10, get_option(to, SOL_SOCKET, SO_PEEK_OFF));
	close(to);
	close(from);
}

TEST(peek_offset_that_changes_during_a_call)
{
	int to = open_datagram(), from = new_datagram(0);
	struct waiter w = { 0 };

	ASSERT_EQ(0, set_option(to, SOL_SOCKET, SO_PEEK_OFF, 0));
	ASSERT_TRUE(waiter_start(&w, in_peek, to));
	ASSERT_EQ(0, set_option(to, SOL_SOCKET, SO_PEEK_OFF, 5000));
	EXPECT_EQ(5, send_to(from, opt.host, local_port(to), "01234", 5));
	EXPECT_EQ(5, waiter_end(&w));
	EXPECT_EQ(5005, get_option(to, SOL_SOCKET, SO_PEEK_OFF));
	close(to);
	close(from);
}

XENSOCK_TEST_MAIN
