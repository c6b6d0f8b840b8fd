// SPDX-License-Identifier: GPL-2.0
/*
 * The error queue of a datagram socket: errors that the network reported for
 * datagrams sent, for programs that set IP_RECVERR.
 */
/* linux/errqueue.h needs it and does not include it. */
#include <time.h>

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>

#include "kselftest_harness.h"
#include "datagram.h"

/* As in linux/in6.h, which conflicts with netinet/in.h. */
#ifndef IPV6_RECVERR
#define IPV6_RECVERR 25
#endif

#define DATA_MAX 600

/* One error, as recvmsg() returns it. */
struct queued {
	ssize_t len;
	int flags;
	struct sockaddr_storage to;
	socklen_t to_len;
	bool has_error;
	struct sock_extended_err ee;
	struct sockaddr_storage offender;
	char data[DATA_MAX];
};

static bool next_error(int fd, struct queued *q, size_t room)
{
	struct iovec iov = { .iov_base = q->data, .iov_len = room };
	char control[512];
	struct msghdr msg = {
		.msg_name = &q->to, .msg_namelen = sizeof(q->to),
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;

	q->has_error = false;
	q->len = recvmsg(fd, &msg, MSG_ERRQUEUE);
	if (q->len < 0)
		return false;
	q->flags = msg.msg_flags;
	q->to_len = msg.msg_namelen;
	memset(&q->offender, 0, sizeof(q->offender));
	for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		size_t len = c->cmsg_len - CMSG_LEN(0);

		if ((c->cmsg_level != SOL_IP || c->cmsg_type != IP_RECVERR) &&
		    (c->cmsg_level != SOL_IPV6 || c->cmsg_type != IPV6_RECVERR))
			continue;
		q->has_error = len >= sizeof(q->ee);
		memcpy(&q->ee, CMSG_DATA(c), sizeof(q->ee));
		len -= sizeof(q->ee);
		memcpy(&q->offender, CMSG_DATA(c) + sizeof(q->ee),
		       len < sizeof(q->offender) ? len : sizeof(q->offender));
	}
	return true;
}

static int poll_errors(int fd)
{
	struct pollfd pfd = { .fd = fd };

	return poll(&pfd, 1, WAIT_LIMIT_MSEC) == 1 ? pfd.revents : 0;
}

static int set_recverr(int fd, int on)
{
	return setsockopt(fd, SOL_IP, IP_RECVERR, &on, sizeof(on));
}

/* Returns the pending error, while earlier errors are still in the queue. */
static int pending_error(int fd)
{
	__u64 end = now_msec() + WAIT_LIMIT_MSEC;
	int error;

	while (!(error = so_error(fd)) && now_msec() < end)
		poll(NULL, 0, 1);
	return error;
}

FIXTURE(errors) {
	int fd;
	unsigned int closed;
	struct queued q;
};

FIXTURE_SETUP(errors)
{
	self->closed = unused_port(SOCK_DGRAM, TEST_PORTS);
	self->fd = open_datagram();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, set_recverr(self->fd, 1));
}

FIXTURE_TEARDOWN(errors)
{
	close(self->fd);
}

TEST_F(errors, the_option_is_what_it_was_set_to)
{
	socklen_t len = sizeof(int);
	int value = -1;

	EXPECT_EQ(0, getsockopt(self->fd, SOL_IP, IP_RECVERR, &value, &len));
	EXPECT_EQ(1, value);
	EXPECT_EQ(0, set_recverr(self->fd, 0));
	EXPECT_EQ(0, getsockopt(self->fd, SOL_IP, IP_RECVERR, &value, &len));
	EXPECT_EQ(0, value);
}

TEST_F(errors, nothing_is_queued_at_first)
{
	EXPECT_FALSE(next_error(self->fd, &self->q, DATA_MAX));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(POLLOUT, poll_now(self->fd) & ~(POLLWRNORM | POLLWRBAND));
}

/* A socket without a peer is told of the error, which needs the option. */
TEST_F(errors, nobody_there)
{
	struct sockaddr_in *sin = (void *)&self->q.to, *from = (void *)&self->q.offender;
	char data[100];

	stream_fill(5, 0, data, sizeof(data));
	ASSERT_EQ(100, send_to(self->fd, opt.host, self->closed, data, 100));
	EXPECT_EQ(POLLERR, poll_errors(self->fd));
	/* The error is both pending and queued. */
	EXPECT_EQ(-1, recv(self->fd, data, 1, MSG_DONTWAIT));
	EXPECT_EQ(ECONNREFUSED, errno);
	EXPECT_EQ(POLLERR, poll_errors(self->fd));
	ASSERT_TRUE(next_error(self->fd, &self->q, DATA_MAX));
	EXPECT_EQ(100, self->q.len);
	EXPECT_TRUE(stream_check(5, 0, self->q.data, 100));
	EXPECT_EQ(MSG_ERRQUEUE, self->q.flags);
	EXPECT_EQ(sizeof(*sin), self->q.to_len);
	EXPECT_EQ(AF_INET, sin->sin_family);
	EXPECT_EQ(self->closed, ntohs(sin->sin_port));
	ASSERT_TRUE(self->q.has_error);
	EXPECT_EQ(ECONNREFUSED, self->q.ee.ee_errno);
	EXPECT_EQ(SO_EE_ORIGIN_ICMP, self->q.ee.ee_origin);
	EXPECT_EQ(ICMP_DEST_UNREACH, self->q.ee.ee_type);
	EXPECT_EQ(ICMP_PORT_UNREACH, self->q.ee.ee_code);
	EXPECT_EQ(0, self->q.ee.ee_info);
	EXPECT_EQ(AF_INET, from->sin_family);
	EXPECT_EQ(sin->sin_addr.s_addr, from->sin_addr.s_addr);
	EXPECT_FALSE(next_error(self->fd, &self->q, DATA_MAX));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, poll_now(self->fd) & POLLERR);
	EXPECT_EQ(0, so_error(self->fd));
}

/* Reading the error from the queue clears the pending error. */
TEST_F(errors, read_from_the_queue_it_is_over)
{
	char c;
	int i;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(1, send_to(self->fd, opt.host, self->closed, "x", 1));
		EXPECT_EQ(POLLERR, poll_errors(self->fd));
		ASSERT_TRUE(next_error(self->fd, &self->q, DATA_MAX));
		EXPECT_EQ(1, self->q.len);
		EXPECT_EQ('x', self->q.data[0]);
	}
	EXPECT_EQ(0, poll_now(self->fd) & POLLERR);
	EXPECT_EQ(-1, recv(self->fd, &c, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
}

TEST_F(errors, each_with_its_address_in_order)
{
	struct sockaddr_in *sin = (void *)&self->q.to;
	unsigned int ports[4];
	char data[4];
	int i;

	for (i = 0; i < 4; i++) {
		ports[i] = unused_port(SOCK_DGRAM, TEST_PORTS);
		data[0] = 'a' + i;
		ASSERT_EQ(i + 1, send_to(self->fd, opt.host, ports[i], data, i + 1));
		EXPECT_EQ(ECONNREFUSED, pending_error(self->fd));
	}
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(POLLERR, poll_errors(self->fd) & POLLERR);
		ASSERT_TRUE(next_error(self->fd, &self->q, DATA_MAX));
		EXPECT_EQ(i + 1, self->q.len);
		EXPECT_EQ('a' + i, self->q.data[0]);
		EXPECT_EQ(ports[i], ntohs(sin->sin_port));
		EXPECT_EQ(ECONNREFUSED, self->q.ee.ee_errno);
	}
}

TEST_F(errors, what_does_not_fit_is_cut_off)
{
	char data[100];

	stream_fill(6, 0, data, sizeof(data));
	ASSERT_EQ(100, send_to(self->fd, opt.host, self->closed, data, 100));
	EXPECT_EQ(POLLERR, poll_errors(self->fd));
	ASSERT_TRUE(next_error(self->fd, &self->q, 10));
	EXPECT_EQ(10, self->q.len);
	EXPECT_TRUE(stream_check(6, 0, self->q.data, 10));
	EXPECT_EQ(MSG_ERRQUEUE | MSG_TRUNC, self->q.flags);
	EXPECT_FALSE(next_error(self->fd, &self->q, DATA_MAX));
}

/* Reading data skips an error that nobody has read. */
TEST_F(errors, data_pass_them)
{
	int other = open_datagram(), i;
	char c;

	ASSERT_LE(0, other);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(1, send_to(self->fd, opt.host, self->closed, "x", 1));
		EXPECT_EQ(ECONNREFUSED, pending_error(self->fd));
		EXPECT_EQ(POLLERR, poll_now(self->fd) & POLLERR);
		c = 'a' + i;
		ASSERT_EQ(1, send_to(other, opt.host, local_port(self->fd), &c, 1));
		c = 0;
		EXPECT_EQ(1, recv(self->fd, &c, 1, 0));
		EXPECT_EQ('a' + i, c);
	}
	for (i = 0; i < 3; i++)
		EXPECT_TRUE(next_error(self->fd, &self->q, DATA_MAX));
	EXPECT_FALSE(next_error(self->fd, &self->q, DATA_MAX));
	close(other);
}

TEST_F(errors, turned_off_they_go)
{
	ASSERT_EQ(1, send_to(self->fd, opt.host, self->closed, "x", 1));
	EXPECT_EQ(POLLERR, poll_errors(self->fd));
	EXPECT_EQ(0, set_recverr(self->fd, 0));
	EXPECT_FALSE(next_error(self->fd, &self->q, DATA_MAX));
	EXPECT_EQ(EAGAIN, errno);
	/* A socket without a peer is no longer told. */
	so_error(self->fd);
	ASSERT_EQ(1, send_to(self->fd, opt.host, self->closed, "x", 1));
	ASSERT_EQ(1, send_to(self->fd, opt.host, local_port(self->fd), "y", 1));
	EXPECT_TRUE(wait_input(self->fd));
	EXPECT_EQ(0, so_error(self->fd));
	EXPECT_FALSE(next_error(self->fd, &self->q, DATA_MAX));
}

/* An error after that is a new one, even if it is the same as the last that was queued. */
TEST_F(errors, turned_off_the_next_is_pending)
{
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->closed));
	ASSERT_EQ(1, send(self->fd, "x", 1, 0));
	EXPECT_EQ(ECONNREFUSED, pending_error(self->fd));
	EXPECT_TRUE(next_error(self->fd, &self->q, DATA_MAX));
	EXPECT_EQ(0, set_recverr(self->fd, 0));
	EXPECT_EQ(0, so_error(self->fd));
	ASSERT_EQ(1, send(self->fd, "y", 1, 0));
	EXPECT_EQ(POLLERR, poll_errors(self->fd));
	EXPECT_EQ(ECONNREFUSED, so_error(self->fd));
	EXPECT_FALSE(next_error(self->fd, &self->q, DATA_MAX));
}

/* Returns the number of errors that are queued for the host that does not answer. */
static int count_unanswered(int fd)
{
	struct queued q;
	int count = 0;

	while (next_error(fd, &q, DATA_MAX))
		count += q.has_error && q.ee.ee_errno == EHOSTUNREACH;
	return count;
}

/* Sends many numbers, each until that succeeds, and returns true if all of them arrive. */
static bool numbers_arrive(int fd, int other, unsigned int port)
{
	unsigned int number, got;

	for (number = 0; number < 200; )
		number += send_to(fd, opt.host, port, &number, sizeof(number)) == sizeof(number);
	for (number = 0; number < 200; number++)
		if (recv(other, &got, sizeof(got), 0) != sizeof(got) || got != number)
			return false;
	return true;
}

/*
 * Errors of several datagrams that come all at once stop none to another address. Datagrams to
 * --absent wait together until it is certain that there is no such host.
 */
TEST_F(errors, those_to_others_are_sent)
{
	int other = open_datagram(), round, told, sent;
	unsigned int port = local_port(other);
	__u64 end;

	ASSERT_LE(0, other);
	if (!opt.absent)
		SKIP(return, "needs --absent");
	for (round = 0; round < rounds(20); round++) {
		for (sent = 0; sent < 3; )
			sent += send_to(self->fd, opt.absent, 9, "x", 1) == 1;
		end = now_msec() + WAIT_LIMIT_MSEC;
		for (told = 0; told < 3 && now_msec() < end; told += count_unanswered(self->fd))
			ASSERT_TRUE(numbers_arrive(self->fd, other, port)) TH_LOG("%m");
		EXPECT_EQ(3, told);
	}
	close(other);
}

/* The queue is charged to the receive buffer, so its size is limited. */
TEST_F(errors, as_many_as_have_room)
{
	int i, small = 4096, count = 0;

	ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_RCVBUF, &small,
				sizeof(small)));
	for (i = 0; i < 200; i++) {
		ASSERT_EQ(1, send_to(self->fd, opt.host, self->closed, "x", 1));
		EXPECT_EQ(ECONNREFUSED, pending_error(self->fd));
	}
	while (next_error(self->fd, &self->q, DATA_MAX))
		count++;
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_LT(0, count);
	EXPECT_GT(100, count);
}

/* IPv6 has an option and a message of its own. */
static int open_datagram6(void)
{
	int fd = new_datagram6();
	struct sockaddr_storage ss;
	socklen_t len = parse_address(opt.host6, 0, &ss);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&ss, len)) {
		close(fd);
		return -1;
	}
	return fd;
}

TEST(of_ipv6)
{
	struct sockaddr_in6 *sin6, *from, host;
	unsigned int closed = unused_port(SOCK_DGRAM, TEST_PORTS);
	struct sockaddr_storage ss;
	struct queued q;
	int fd, on = 1;

	parse_address(opt.host6, 0, &ss);
	memcpy(&host, &ss, sizeof(host));
	fd = open_datagram6();
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, setsockopt(fd, SOL_IPV6, IPV6_RECVERR, &on, sizeof(on)));
	ASSERT_EQ(1, send_to(fd, opt.host6, closed, "x", 1));
	EXPECT_EQ(POLLERR, poll_errors(fd));
	ASSERT_TRUE(next_error(fd, &q, DATA_MAX));
	EXPECT_EQ(1, q.len);
	sin6 = (void *)&q.to;
	from = (void *)&q.offender;
	EXPECT_EQ(sizeof(*sin6), q.to_len);
	EXPECT_EQ(AF_INET6, sin6->sin6_family);
	EXPECT_EQ(closed, ntohs(sin6->sin6_port));
	EXPECT_EQ(0, memcmp(&sin6->sin6_addr, &host.sin6_addr, 16));
	ASSERT_TRUE(q.has_error);
	EXPECT_EQ(ECONNREFUSED, q.ee.ee_errno);
	EXPECT_EQ(SO_EE_ORIGIN_ICMP6, q.ee.ee_origin);
	EXPECT_EQ(1, q.ee.ee_type);
	EXPECT_EQ(4, q.ee.ee_code);
	EXPECT_EQ(AF_INET6, from->sin6_family);
	EXPECT_EQ(0, memcmp(&from->sin6_addr, &host.sin6_addr, 16));
	EXPECT_EQ(0, so_error(fd));
	close(fd);
}

XENSOCK_TEST_MAIN
