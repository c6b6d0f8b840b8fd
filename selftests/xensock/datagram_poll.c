// SPDX-License-Identifier: GPL-2.0
/*
 * Readiness of datagram sockets, asynchronous errors, shutdown, ioctls and
 * options. The masks are those of Linux UDP, complete.
 */
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/udp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <time.h>

#include "kselftest_harness.h"
#include "datagram.h"

#define CAN_READ (POLLIN | POLLRDNORM)
#define CAN_WRITE (POLLOUT | POLLWRNORM | POLLWRBAND)

static char data[LONGEST];

FIXTURE(dgpoll) {
	int fd;		/* connected to @other */
	int other;
	unsigned int port;
};

FIXTURE_SETUP(dgpoll)
{
	/* Once it is closed, no other program has its port. */
	self->port = unused_port(SOCK_DGRAM, TEST_PORTS);
	self->other = new_datagram(0);
	ASSERT_LE(0, self->other);
	ASSERT_EQ(0, bind_to(self->other, opt.host, self->port));
	self->fd = open_datagram();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->port));
	ASSERT_EQ(0, connect_to(self->other, opt.host, local_port(self->fd)));
}

FIXTURE_TEARDOWN(dgpoll)
{
	close(self->fd);
	close(self->other);
}

TEST(fresh)
{
	int fd = new_datagram(0);

	ASSERT_LE(0, fd);
	EXPECT_EQ(CAN_WRITE, poll_now(fd));
	ASSERT_EQ(0, bind_to(fd, opt.host, 0));
	EXPECT_EQ(CAN_WRITE, poll_now(fd));
	close(fd);
}

TEST_F(dgpoll, as_long_as_there_is_a_datagram)
{
	int i;

	EXPECT_EQ(CAN_WRITE, poll_now(self->fd));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(i, send(self->other, data, i, 0));
	ASSERT_TRUE(wait_input(self->fd));
	for (i = 0; i < 3; i++) {
		ASSERT_TRUE(wait_input(self->fd));
		EXPECT_EQ(CAN_READ | CAN_WRITE, poll_now(self->fd));
		EXPECT_EQ(i, recv(self->fd, data, sizeof(data), 0));
	}
	EXPECT_EQ(CAN_WRITE, poll_now(self->fd));
}

TEST_F(dgpoll, waits_for_one)
{
	struct pollfd pfd = { .fd = self->fd, .events = POLLIN };

	EXPECT_EQ(0, poll(&pfd, 1, 0));
	EXPECT_EQ(0, send(self->other, "", 0, 0));
	EXPECT_EQ(1, poll(&pfd, 1, WAIT_LIMIT_MSEC));
	EXPECT_EQ(POLLIN, pfd.revents);
}

TEST_F(dgpoll, each_arrival_is_an_edge)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int i, ep = epoll_create1(0);

	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, self->fd, &event));
	EXPECT_EQ(0, events_within(ep, 0));
	for (i = 0; i < 10; i++) {
		EXPECT_EQ(1, send(self->other, "x", 1, 0));
		EXPECT_EQ(EPOLLIN, events_within(ep, WAIT_LIMIT_MSEC));
		EXPECT_EQ(0, events_within(ep, 0));
		if (i % 2)
			EXPECT_EQ(1, recv(self->fd, data, 1, 0));
	}
	close(ep);
}

TEST_F(dgpoll, a_refused_datagram_is_told)
{
	ssize_t n;
	int i, fd;

	/* The error is returned once: by SO_ERROR, by sending, or by receiving. */
	for (i = 0; i < 3; i++) {
		fd = new_datagram(0);
		ASSERT_EQ(0, connect_to(fd, opt.host, unused_port(SOCK_DGRAM, TEST_PORTS)));
		EXPECT_EQ(1, send(fd, "x", 1, 0));
		ASSERT_TRUE(wait_poll(fd, 0, NULL));
		EXPECT_EQ(CAN_WRITE | POLLERR, poll_now(fd));
		n = i == 1 ? send(fd, "x", 1, 0) :
		    i == 2 ? recv(fd, data, 1, 0) : -1;
		EXPECT_EQ(ECONNREFUSED, i ? errno : so_error(fd))
			TH_LOG("case %d", i);
		EXPECT_EQ(-1, n);
		EXPECT_EQ(CAN_WRITE, poll_now(fd));
		EXPECT_EQ(0, so_error(fd));
		EXPECT_EQ(-1, recv(fd, data, 1, MSG_DONTWAIT));
		EXPECT_EQ(EAGAIN, errno);
		close(fd);
	}
}

/* For select(), which has no set of its own for errors. */
TEST_F(dgpoll, an_error_is_exceptional_data)
{
	int fd = new_datagram(0), on = 1;

	ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_SELECT_ERR_QUEUE, &on, sizeof(on)));
	ASSERT_EQ(0, setsockopt(fd, SOL_IP, IP_RECVERR, &on, sizeof(on)));
	ASSERT_EQ(0, connect_to(fd, opt.host, unused_port(SOCK_DGRAM, TEST_PORTS)));
	EXPECT_EQ(CAN_WRITE, poll_now(fd));
	EXPECT_EQ(1, send(fd, "x", 1, 0));
	ASSERT_TRUE(wait_poll(fd, 0, NULL));
	EXPECT_EQ(CAN_WRITE | POLLERR | POLLPRI, poll_now(fd));
	/* The error is still in the queue. */
	EXPECT_EQ(ECONNREFUSED, so_error(fd));
	EXPECT_EQ(CAN_WRITE | POLLERR | POLLPRI, poll_now(fd));
	close(fd);
}

/* The error comes every time: nobody ever receives there. */
TEST_F(dgpoll, refused_again_and_again)
{
	int i, fd = new_datagram(0);

	ASSERT_EQ(0, connect_to(fd, opt.host, unused_port(SOCK_DGRAM, TEST_PORTS)));
	for (i = 0; i < rounds(300); i++) {
		ASSERT_EQ(1, send(fd, "x", 1, 0));
		ASSERT_TRUE(wait_poll(fd, 0, NULL));
		ASSERT_EQ(-1, send(fd, "x", 1, 0));
		ASSERT_EQ(ECONNREFUSED, errno);
	}
	close(fd);
}

TEST_F(dgpoll, an_error_comes_before_what_is_unread)
{
	EXPECT_EQ(4, send(self->other, "left", 4, 0));
	ASSERT_TRUE(wait_input(self->fd));
	close(self->other);
	EXPECT_EQ(1, send(self->fd, "x", 1, 0));
	ASSERT_TRUE(wait_poll(self->fd, 0, NULL));
	EXPECT_EQ(CAN_READ | CAN_WRITE | POLLERR, poll_now(self->fd));
	EXPECT_EQ(-1, recv(self->fd, data, sizeof(data), 0));
	EXPECT_EQ(ECONNREFUSED, errno);
	EXPECT_EQ(CAN_READ | CAN_WRITE, poll_now(self->fd));
	EXPECT_EQ(4, recv(self->fd, data, sizeof(data), 0));
	EXPECT_EQ(CAN_WRITE, poll_now(self->fd));
	self->other = open_datagram();
}

TEST_F(dgpoll, who_waits_is_told_of_an_error)
{
	struct waiter w = { 0 };

	close(self->other);
	ASSERT_TRUE(waiter_start(&w, in_recv, self->fd));
	EXPECT_EQ(1, send(self->fd, "x", 1, 0));
	EXPECT_EQ(-1, waiter_end(&w));
	EXPECT_EQ(ECONNREFUSED, errno);
	self->other = open_datagram();
}

/* A socket without a peer is not told. */
TEST_F(dgpoll, nobody_asks_who_has_refused)
{
	int fd = open_datagram();
	unsigned int port = unused_port(SOCK_DGRAM, TEST_PORTS);

	EXPECT_EQ(1, send_to(fd, opt.host, port, "x", 1));
	EXPECT_EQ(1, send_to(fd, opt.host, port, "x", 1));
	EXPECT_EQ(1, send_to(fd, opt.host, local_port(fd), "x", 1));
	EXPECT_EQ(1, recv(fd, data, sizeof(data), 0));
	EXPECT_EQ(0, so_error(fd));
	close(fd);
}

/* Receives the next datagram on a socket that may no longer wait. */
static ssize_t recv_late(int fd)
{
	__u64 deadline = now_msec() + WAIT_LIMIT_MSEC;
	ssize_t n;

	do
		n = recv(fd, data, sizeof(data), 0);
	while (n == 0 && now_msec() < deadline);
	return n;
}

TEST_F(dgpoll, shut_down)
{
	static const struct {
		int how;
		int mask;
		bool receives;
		bool sends;
	} cases[] = {
		{ SHUT_RD, CAN_READ | CAN_WRITE | POLLRDHUP, false, true },
		{ SHUT_WR, CAN_WRITE, true, false },
		{ SHUT_RDWR, CAN_READ | CAN_WRITE | POLLRDHUP | POLLHUP, false,
		  false },
	};
	unsigned int port;
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		fd = new_datagram(0);
		ASSERT_EQ(0, bind_to(fd, opt.host, 0));
		port = local_port(fd);
		ASSERT_EQ(0, connect_to(self->other, opt.host, port));
		ASSERT_EQ(0, connect_to(fd, opt.host, self->port));
		EXPECT_EQ(0, shutdown(fd, cases[i].how));
		EXPECT_EQ(cases[i].mask, poll_now(fd)) TH_LOG("case %zu", i);
		/* No SIGPIPE: this is not a stream. */
		EXPECT_EQ(cases[i].sends ? 1 : -1, send(fd, "x", 1, 0));
		if (cases[i].sends) {
			EXPECT_EQ(1, recv(self->other, data, 1, 0));
		} else {
			EXPECT_EQ(EPIPE, errno);
		}
		if (!cases[i].receives) {
			EXPECT_EQ(0, recv(fd, data, sizeof(data), 0));
			EXPECT_EQ(-1, recv(fd, data, 1, MSG_DONTWAIT));
			EXPECT_EQ(EAGAIN, errno);
		}
		/* A datagram that comes nevertheless is received. */
		EXPECT_EQ(4, send(self->other, "late", 4, 0));
		EXPECT_EQ(4, recv_late(fd));
		close(fd);
	}
}

TEST_F(dgpoll, shut_down_without_a_peer)
{
	int fd = open_datagram();

	EXPECT_EQ(-1, shutdown(fd, SHUT_RDWR));
	EXPECT_EQ(ENOTCONN, errno);
	/* Even now. */
	EXPECT_EQ(CAN_READ | CAN_WRITE | POLLRDHUP | POLLHUP, poll_now(fd));
	EXPECT_EQ(0, recv(fd, data, sizeof(data), 0));
	EXPECT_EQ(-1, send_to(fd, opt.host, self->port, "x", 1));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(-1, shutdown(fd, 3));
	EXPECT_EQ(EINVAL, errno);
	close(fd);
}

TEST_F(dgpoll, shutdown_ends_a_wait)
{
	struct waiter w = { 0 };

	ASSERT_TRUE(waiter_start(&w, in_recv, self->fd));
	EXPECT_EQ(0, shutdown(self->fd, SHUT_RD));
	EXPECT_EQ(0, waiter_end(&w));
}

static int ioctl_int(int fd, unsigned long request)
{
	int value = -1;

	return ioctl(fd, request, &value) ? -errno : value;
}

TEST_F(dgpoll, ioctls)
{
	__u64 deadline = now_msec() + WAIT_LIMIT_MSEC;

	EXPECT_EQ(0, ioctl_int(self->fd, FIONREAD));
	EXPECT_EQ(100, send(self->other, data, 100, 0));
	EXPECT_EQ(7, send(self->other, data, 7, 0));
	EXPECT_EQ(0, send(self->other, data, 0, 0));
	ASSERT_TRUE(wait_input(self->fd));
	/* The length of the next datagram. */
	EXPECT_EQ(100, ioctl_int(self->fd, FIONREAD));
	EXPECT_EQ(10, recv(self->fd, data, 10, 0));
	ASSERT_TRUE(wait_input(self->fd));
	EXPECT_EQ(7, ioctl_int(self->fd, SIOCINQ));
	EXPECT_EQ(7, recv(self->fd, data, 10, 0));
	ASSERT_TRUE(wait_input(self->fd));
	EXPECT_EQ(0, ioctl_int(self->fd, FIONREAD));
	EXPECT_EQ(0, recv(self->fd, data, 10, 0));
	while (ioctl_int(self->other, SIOCOUTQ) && now_msec() < deadline)
		poll(NULL, 0, 1);
	EXPECT_EQ(0, ioctl_int(self->other, SIOCOUTQ));
	EXPECT_GT(0, ioctl_int(self->fd, SIOCATMARK));
	EXPECT_GT(0, ioctl_int(self->fd, SIOCOUTQNSD));
}

/* The time when the last datagram arrived that was received. */
TEST_F(dgpoll, time_of_arrival)
{
	time_t from = time(NULL);
	struct timespec ts;
	struct timeval tv;
	int i;

	EXPECT_EQ(-1, ioctl(self->fd, SIOCGSTAMP, &tv));
	EXPECT_EQ(ENOENT, errno);
	EXPECT_EQ(-1, ioctl(self->fd, SIOCGSTAMPNS, &ts));
	EXPECT_EQ(ENOENT, errno);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(1, send(self->other, "x", 1, 0));
		EXPECT_EQ(1, recv(self->fd, data, 1, 0));
		ASSERT_EQ(0, ioctl(self->fd, SIOCGSTAMP, &tv));
		EXPECT_LE(from - 1, tv.tv_sec);
		EXPECT_GE(time(NULL) + 1, tv.tv_sec);
		ASSERT_EQ(0, ioctl(self->fd, SIOCGSTAMPNS, &ts));
		EXPECT_EQ(tv.tv_sec, ts.tv_sec);
		EXPECT_EQ(tv.tv_usec, ts.tv_nsec / 1000);
	}
}

static __u64 realtime(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

/* Receives a byte. Returns the time at which it has arrived, as a control message has it. */
static __u64 stamp_of_next(int fd)
{
	char control[CMSG_SPACE(sizeof(struct timespec))];
	struct iovec iov = { data, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;
	struct timespec at;

	if (recvmsg(fd, &msg, MSG_DONTWAIT) != 1)
		return 0;
	c = CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SO_TIMESTAMPNS)
		return 0;
	memcpy(&at, CMSG_DATA(c), sizeof(at));
	return at.tv_sec * 1000000000ULL + at.tv_nsec;
}

/* The same, as the program asks for it afterwards. */
static __u64 asked_of_next(int fd)
{
	struct timespec at;

	if (recv(fd, data, 1, MSG_DONTWAIT) != 1 || ioctl(fd, SIOCGSTAMPNS, &at))
		return 0;
	return at.tv_sec * 1000000000ULL + at.tv_nsec;
}

/* Each of two datagrams has its own time, although both were there before one was received. */
TEST_F(dgpoll, times_of_two_that_wait)
{
	__u64 (*const next[])(int fd) = { stamp_of_next, asked_of_next };
	__u64 before, between, after, first, second;
	struct timespec ts;
	int one, i, n;

	for (i = 0; i < 2; i++) {
		one = !i;
		ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof(one)));
		if (i)
			ioctl(self->fd, SIOCGSTAMPNS, &ts);
		/* The kernel begins to take timestamps a moment after the request. */
		for (n = 0; n < 100; n++) {
			before = realtime();
			EXPECT_EQ(1, send(self->other, "1", 1, 0));
			ASSERT_TRUE(wait_input(self->fd));
			poll(NULL, 0, 2);
			between = realtime();
			EXPECT_EQ(1, send(self->other, "2", 1, 0));
			/* Wait for the second one. */
			one = 1;
			ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_PEEK_OFF,
						&one, sizeof(one)));
			ASSERT_EQ(1, recv(self->fd, data, 1, MSG_PEEK));
			EXPECT_EQ('2', data[0]);
			one = -1;
			ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_PEEK_OFF,
						&one, sizeof(one)));
			after = realtime();
			first = next[i](self->fd);
			second = next[i](self->fd);
			if (first && first <= between)
				break;
		}
		EXPECT_LE(before, first);
		EXPECT_GE(between, first);
		EXPECT_LE(between, second);
		EXPECT_GE(after, second);
	}
}

static int get_option(int fd, int level, int name)
{
	socklen_t len = sizeof(int);
	int value = -1;

	return getsockopt(fd, level, name, &value, &len) ? -errno : value;
}

/* Without a peer, the value is the program's. */
TEST_F(dgpoll, incoming_cpu)
{
	int fd = open_datagram();

	EXPECT_EQ(1, send(self->other, "x", 1, 0));
	ASSERT_TRUE(wait_input(self->fd));
	EXPECT_LE(0, get_option(self->fd, SOL_SOCKET, SO_INCOMING_CPU));
	EXPECT_EQ(1, send_to(fd, opt.host, local_port(fd), "x", 1));
	ASSERT_TRUE(wait_input(fd));
	EXPECT_EQ(-1, get_option(fd, SOL_SOCKET, SO_INCOMING_CPU));
	close(fd);
}

TEST(what_a_socket_says_of_itself)
{
	int fd = socket(opt.family, SOCK_DGRAM, IPPROTO_UDP);

	ASSERT_LE(0, fd);
	EXPECT_EQ(SOCK_DGRAM, get_option(fd, SOL_SOCKET, SO_TYPE));
	EXPECT_EQ(opt.family, get_option(fd, SOL_SOCKET, SO_DOMAIN));
	EXPECT_EQ(IPPROTO_UDP, get_option(fd, SOL_SOCKET, SO_PROTOCOL));
	EXPECT_EQ(0, get_option(fd, SOL_SOCKET, SO_ACCEPTCONN));
	EXPECT_EQ(0, get_option(fd, SOL_SOCKET, SO_ERROR));
	EXPECT_EQ(-1, listen(fd, 1));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-1, accept(fd, NULL, NULL));
	EXPECT_EQ(EOPNOTSUPP, errno);
	close(fd);
}

TEST(protocols_that_there_are_not)
{
	static const int protocols[] = { IPPROTO_TCP, 254 };
	size_t i;

	for (i = 0; i < ARRAY_LEN(protocols); i++) {
		EXPECT_EQ(-1, socket(opt.family, SOCK_DGRAM, protocols[i]));
		EXPECT_EQ(EPROTONOSUPPORT, errno);
	}
}

TEST_F(dgpoll, options_of_the_real_socket)
{
	static const struct {
		int level;
		int name;
		int value;
	} cases[] = {
		{ IPPROTO_IP, IP_TTL, 7 }, { IPPROTO_IP, IP_TOS, 0x10 },
	};
	int fresh = new_datagram(0), fds[2] = { self->fd, fresh };
	size_t i;
	int n;

	for (n = 0; n < 2; n++) {
		for (i = 0; i < ARRAY_LEN(cases); i++) {
			EXPECT_EQ(0, setsockopt(fds[n], cases[i].level,
						cases[i].name, &cases[i].value,
						sizeof(int)));
			EXPECT_EQ(cases[i].value,
				  get_option(fds[n], cases[i].level,
					     cases[i].name));
		}
		EXPECT_GT(0, get_option(fds[n], IPPROTO_TCP, TCP_NODELAY));
		EXPECT_EQ(-1, setsockopt(fds[n], IPPROTO_TCP, TCP_NODELAY,
					 &n, sizeof(n)));
		EXPECT_EQ(ENOPROTOOPT, errno);
	}
	/* A new socket keeps what was set. */
	EXPECT_EQ(1, send_to(fresh, opt.host, self->port, "x", 1));
	EXPECT_EQ(7, get_option(fresh, IPPROTO_IP, IP_TTL));
	close(fresh);
}

/* An option set after a datagram was sent does not affect that datagram. */
TEST(options_are_in_order_with_datagrams)
{
	int ttl, fd = new_datagram(0);
	struct peer peer;
	unsigned int port;
	char wanted[16];

	ASSERT_TRUE(peer_open(&peer, 0));
	ASSERT_EQ(1, sscanf(peer_run(&peer, "udp"), "ok %u", &port));
	ASSERT_EQ(0, connect_to(fd, opt.host, port));
	for (ttl = 1; ttl < 50; ttl++) {
		EXPECT_EQ(0, setsockopt(fd, IPPROTO_IP, IP_TTL, &ttl,
					sizeof(ttl)));
		EXPECT_EQ(ttl, send(fd, data, ttl, 0));
	}
	for (ttl = 1; ttl < 50; ttl++) {
		snprintf(wanted, sizeof(wanted), "ok %d", ttl);
		EXPECT_STREQ(wanted, peer_run(&peer, "ttl"));
	}
	peer_close(&peer);
	close(fd);
}

TEST_F(dgpoll, buffers)
{
	int i, value = 8192, fd = new_datagram(0);

	EXPECT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &value, 4));
	EXPECT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &value, 4));
	EXPECT_EQ(2 * value, get_option(fd, SOL_SOCKET, SO_RCVBUF));
	EXPECT_EQ(2 * value, get_option(fd, SOL_SOCKET, SO_SNDBUF));
	ASSERT_EQ(0, bind_to(fd, opt.host, 0));
	ASSERT_EQ(0, connect_to(fd, opt.host, self->port));
	ASSERT_EQ(0, connect_to(self->other, opt.host, local_port(fd)));
	for (i = 0; i < 50; i++) {
		EXPECT_EQ(3000, send(fd, data, 3000, 0));
		EXPECT_EQ(3000, recv(self->other, data, sizeof(data), 0));
		EXPECT_EQ(3000, send(self->other, data, 3000, 0));
		EXPECT_EQ(3000, recv(fd, data, sizeof(data), 0));
	}
	close(fd);
}

XENSOCK_TEST_MAIN
