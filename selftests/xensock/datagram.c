// SPDX-License-Identifier: GPL-2.0
/* Datagrams: what one call sends, one call receives as a whole, or not at all. */
#include <arpa/inet.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "kselftest_harness.h"
#include "datagram.h"

/* The C library calls it MSG_PROXY. */
#ifndef MSG_PROBE
#define MSG_PROBE 0x10
#endif

static char out[LONGEST + 1], in[LONGEST + 1], data_of_70000[70000];

FIXTURE(datagram) {
	int from;	/* connected to @to */
	int to;
	unsigned int port;
};

FIXTURE_SETUP(datagram)
{
	self->to = open_datagram();
	ASSERT_LE(0, self->to);
	self->port = local_port(self->to);
	self->from = open_datagram();
	ASSERT_LE(0, self->from);
	ASSERT_EQ(0, connect_to(self->from, opt.host, self->port));
}

FIXTURE_TEARDOWN(datagram)
{
	close(self->from);
	close(self->to);
}

static const size_t lengths[] = {
	0, 1, 7, 8, 9, 40, 1472, 1473, 4056, 4057, 9000, 16384, 30000, 65495,
	65496, LONGEST - 1, LONGEST,
};

TEST_F(datagram, any_length)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(lengths); i++) {
		stream_fill(i, 0, out, lengths[i]);
		EXPECT_EQ(lengths[i], send(self->from, out, lengths[i], 0));
		EXPECT_EQ(lengths[i], recv(self->to, in, sizeof(in), 0));
		EXPECT_TRUE(stream_check(i, 0, in, lengths[i]))
			TH_LOG("length %zu", lengths[i]);
	}
}

/* The datagrams wrap both halves of any ring many times. */
TEST_F(datagram, many_of_any_length)
{
	__u64 random = opt.seed;
	size_t len;
	int i;

	for (i = 0; i < rounds(300); i++) {
		random = random * 6364136223846793005ULL + 1;
		len = (random >> 40) % (i % 10 ? 3000 : LONGEST);
		stream_fill(i, 0, out, len);
		ASSERT_EQ(len, send(self->from, out, len, 0));
		ASSERT_EQ(len, recv(self->to, in, sizeof(in), 0));
		ASSERT_TRUE(stream_check(i, 0, in, len));
	}
}

TEST_F(datagram, each_is_received_by_itself)
{
	int i;

	for (i = 0; i < 50; i++) {
		stream_fill(i, 0, out, 10 * i);
		EXPECT_EQ(10 * i, send(self->from, out, 10 * i, 0));
	}
	for (i = 0; i < 50; i++) {
		EXPECT_EQ(10 * i, recv(self->to, in, sizeof(in), 0));
		EXPECT_TRUE(stream_check(i, 0, in, 10 * i));
	}
	EXPECT_EQ(-1, recv(self->to, in, sizeof(in), MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
}

TEST_F(datagram, longer_than_any_is_emsgsize)
{
	static const size_t too_long[] = {
		LONGEST + 1, 65528, 65535, 65536, 100000, 1 << 20,
	};
	char *data = calloc(1, 1 << 20);
	size_t i;

	for (i = 0; i < ARRAY_LEN(too_long); i++) {
		EXPECT_EQ(-1, send(self->from, data, too_long[i], 0));
		EXPECT_EQ(EMSGSIZE, errno) TH_LOG("%zu bytes", too_long[i]);
		EXPECT_EQ(-1, send_to(self->from, opt.host, self->port, data,
				      too_long[i]));
		EXPECT_EQ(EMSGSIZE, errno) TH_LOG("%zu bytes", too_long[i]);
	}
	free(data);
	EXPECT_EQ(5, send(self->from, "hello", 5, 0));
	EXPECT_EQ(5, recv(self->to, in, sizeof(in), 0));
}

TEST_F(datagram, what_does_not_fit_is_cut_off)
{
	static const struct {
		size_t len;
		size_t room;
		int flags;
		ssize_t result;
		int shown;
	} cases[] = {
		{ 100, 100, 0, 100, 0 },
		{ 100, 101, 0, 100, 0 },
		{ 100, 99, 0, 99, MSG_TRUNC },
		{ 100, 99, MSG_TRUNC, 100, MSG_TRUNC },
		{ 100, 100, MSG_TRUNC, 100, 0 },
		{ 100, 0, 0, 0, MSG_TRUNC },
		{ 100, 0, MSG_TRUNC, 100, MSG_TRUNC },
		{ 0, 0, 0, 0, 0 },
		{ 0, 10, MSG_TRUNC, 0, 0 },
		{ LONGEST, 1, MSG_TRUNC, LONGEST, MSG_TRUNC },
		{ 100, 10, MSG_WAITALL, 10, MSG_TRUNC },
		{ 100, 200, MSG_WAITALL, 100, 0 },
		{ 100, 100, MSG_OOB, 100, 0 },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		struct iovec iov = { in, cases[i].room };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

		stream_fill(i, 0, out, cases[i].len);
		EXPECT_EQ(cases[i].len, send(self->from, out, cases[i].len, 0));
		EXPECT_EQ(cases[i].result,
			  recvmsg(self->to, &msg, cases[i].flags))
			TH_LOG("case %zu", i);
		EXPECT_EQ(cases[i].shown, msg.msg_flags) TH_LOG("case %zu", i);
		/* The rest of the datagram is gone. */
		EXPECT_EQ(-1, recv(self->to, in, 1, MSG_DONTWAIT));
		EXPECT_EQ(EAGAIN, errno) TH_LOG("case %zu", i);
	}
}

TEST_F(datagram, peeking_takes_nothing)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	int i;

	stream_fill(1, 0, out, 100);
	EXPECT_EQ(100, send(self->from, out, 100, 0));
	EXPECT_EQ(3, send(self->from, "end", 3, 0));
	for (i = 0; i < 3; i++) {
		memset(in, 0, sizeof(in));
		EXPECT_EQ(100, recvfrom(self->to, in, sizeof(in), MSG_PEEK,
					(struct sockaddr *)&from, &len));
		EXPECT_TRUE(stream_check(1, 0, in, 100));
		EXPECT_EQ(local_port(self->from), ntohs(from.sin_port));
		EXPECT_EQ(100, recv(self->to, in, 1, MSG_PEEK | MSG_TRUNC));
		EXPECT_EQ(1, recv(self->to, in, 1, MSG_PEEK));
	}
	EXPECT_EQ(100, recv(self->to, in, sizeof(in), 0));
	EXPECT_TRUE(stream_check(1, 0, in, 100));
	EXPECT_EQ(3, recv(self->to, in, sizeof(in), MSG_PEEK));
	EXPECT_EQ(3, recv(self->to, in, sizeof(in), 0));
}

TEST_F(datagram, scattered_and_gathered)
{
	struct iovec iov[5];
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 5 };
	int i;

	stream_fill(1, 0, out, 1000);
	for (i = 0; i < 5; i++)
		iov[i] = (struct iovec){ out + 200 * i, i == 2 ? 0 : 200 };
	EXPECT_EQ(800, sendmsg(self->from, &msg, 0));
	for (i = 0; i < 5; i++)
		iov[i] = (struct iovec){ in + 200 * i, i == 2 ? 0 : 200 };
	EXPECT_EQ(800, recvmsg(self->to, &msg, 0));
	EXPECT_TRUE(stream_check(1, 0, in, 400));
	EXPECT_TRUE(stream_check(1, 600, in + 600, 400));
	/* Zero buffers are a datagram too. */
	msg.msg_iovlen = 0;
	EXPECT_EQ(0, sendmsg(self->from, &msg, 0));
	EXPECT_EQ(0, recv(self->to, in, sizeof(in), 0));
}

TEST_F(datagram, several_in_one_call)
{
	struct mmsghdr msgs[10] = { 0 };
	struct sockaddr_in names[10];
	struct iovec iov[10];
	int i, n, done = 0;

	for (i = 0; i < 10; i++) {
		stream_fill(i, 0, out + 100 * i, 100);
		iov[i] = (struct iovec){ out + 100 * i, 10 * i };
		msgs[i].msg_hdr.msg_iov = &iov[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	EXPECT_EQ(10, sendmmsg(self->from, msgs, 10, 0));
	for (i = 0; i < 10; i++)
		EXPECT_EQ(10 * i, msgs[i].msg_len);
	while (done < 10) {
		for (i = 0; i < 10; i++) {
			iov[i] = (struct iovec){ in + 100 * i, 100 };
			msgs[i].msg_hdr.msg_name = &names[i];
			msgs[i].msg_hdr.msg_namelen = sizeof(names[i]);
		}
		n = recvmmsg(self->to, msgs, 10, MSG_WAITFORONE, NULL);
		ASSERT_LT(0, n);
		for (i = 0; i < n; i++, done++) {
			EXPECT_EQ(10 * done, msgs[i].msg_len);
			EXPECT_TRUE(stream_check(done, 0, in + 100 * i,
						 msgs[i].msg_len));
			EXPECT_EQ(local_port(self->from),
				  ntohs(names[i].sin_port));
		}
	}
	EXPECT_EQ(10, done);
}

/* One datagram from several calls with MSG_MORE. The first call has the address. */
TEST_F(datagram, put_together)
{
	struct sockaddr_in to = address(opt.host, self->port);
	int i, fd = new_datagram(0);

	stream_fill(1, 0, out, 1000);
	for (i = 0; i < 9; i++)
		EXPECT_EQ(100, send(self->from, out + 100 * i, 100, MSG_MORE));
	EXPECT_EQ(-1, recv(self->to, in, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(100, send(self->from, out + 900, 100, 0));
	EXPECT_EQ(1000, recv(self->to, in, sizeof(in), 0));
	EXPECT_TRUE(stream_check(1, 0, in, 1000));

	/* A datagram that begins with an empty part. */
	EXPECT_EQ(0, send(self->from, "", 0, MSG_MORE));
	EXPECT_EQ(3, send(self->from, "end", 3, MSG_MORE));
	EXPECT_EQ(0, send(self->from, "", 0, 0));
	EXPECT_EQ(3, recv(self->to, in, sizeof(in), 0));

	/* Without a peer or an address. */
	EXPECT_EQ(-1, send(fd, out, 10, MSG_MORE));
	EXPECT_EQ(EDESTADDRREQ, errno);
	stream_fill(2, 0, out, 2000);
	EXPECT_EQ(1500, sendto(fd, out, 1500, MSG_MORE,
			       (struct sockaddr *)&to, sizeof(to)));
	EXPECT_EQ(500, send(fd, out + 1500, 500, 0));
	EXPECT_EQ(2000, recv(self->to, in, sizeof(in), 0));
	EXPECT_TRUE(stream_check(2, 0, in, 2000));

	/* Too long: the whole datagram is discarded. */
	EXPECT_EQ(60000, send(self->from, out, 60000, MSG_MORE));
	EXPECT_EQ(-1, send(self->from, out, 6000, 0));
	EXPECT_EQ(EMSGSIZE, errno);
	EXPECT_EQ(4, send(self->from, "next", 4, 0));
	EXPECT_EQ(4, recv(self->to, in, sizeof(in), 0));
	close(fd);
}

/* A part that fails discards the parts before, and the next datagram comes alone. */
TEST_F(datagram, a_part_that_fails_discards_the_datagram)
{
	int one = 1, none = 0;

	EXPECT_EQ(1000, send(self->from, out, 1000, MSG_MORE));
	EXPECT_EQ(-1, send(self->from, (void *)1, 10, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(4, send(self->from, "next", 4, 0));
	EXPECT_EQ(4, recv(self->to, in, sizeof(in), 0));

	ASSERT_EQ(0, setsockopt(self->from, IPPROTO_UDP, UDP_CORK, &one, sizeof(one)));
	EXPECT_EQ(1000, send(self->from, out, 1000, 0));
	EXPECT_EQ(-1, send(self->from, (void *)1, 10, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(6, send(self->from, "corked", 6, 0));
	ASSERT_EQ(0, setsockopt(self->from, IPPROTO_UDP, UDP_CORK, &none, sizeof(none)));
	EXPECT_EQ(6, recv(self->to, in, sizeof(in), 0));
}

/* shutdown() does not concern a datagram that was begun, only the next one. */
TEST_F(datagram, shutdown_amid_a_datagram)
{
	stream_fill(1, 0, out, 300);
	EXPECT_EQ(100, send(self->from, out, 100, MSG_MORE));
	EXPECT_EQ(0, shutdown(self->from, SHUT_WR));
	EXPECT_EQ(100, send(self->from, out + 100, 100, MSG_MORE));
	EXPECT_EQ(100, send(self->from, out + 200, 100, 0));
	EXPECT_EQ(300, recv(self->to, in, sizeof(in), 0));
	EXPECT_TRUE(stream_check(1, 0, in, 300));
	EXPECT_EQ(-1, send(self->from, "x", 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
}

TEST_F(datagram, as_a_file)
{
	int value = -1;

	EXPECT_EQ(6, write(self->from, "file 1", 6));
	EXPECT_EQ(0, write(self->from, "", 0));
	EXPECT_EQ(4, read(self->to, in, 4));
	/* write() of zero bytes does not reach the socket... */
	EXPECT_EQ(1, send(self->from, "x", 1, 0));
	EXPECT_EQ(0, read(self->to, in, 0));
	EXPECT_EQ(0, ioctl(self->to, FIONREAD, &value));
	EXPECT_EQ(-1, lseek(self->to, 0, SEEK_SET));
	EXPECT_EQ(ESPIPE, errno);
}

TEST_F(datagram, flags_that_there_are_not)
{
	EXPECT_EQ(-1, send(self->from, "x", 1, MSG_OOB));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-1, recv(self->to, in, 1, MSG_ERRQUEUE));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(1, send(self->from, "x", 1, MSG_NOSIGNAL | MSG_EOR));
	EXPECT_EQ(1, recv(self->to, in, 1, MSG_NOSIGNAL | MSG_CMSG_CLOEXEC));
}

/* Over IPv6, UDP looks at neither the flag nor the length first. */
TEST_F(datagram, flags_and_lengths_over_ipv6)
{
	struct sockaddr_storage to, mapped;
	socklen_t len, mapped_len;
	int fd = new_datagram6();
	char text[80];

	len = parse_address("::", 0, &to);
	ASSERT_EQ(0, bind(fd, (void *)&to, len));
	len = parse_address(opt.host6, local_port(fd), &to);
	snprintf(text, sizeof(text), "::ffff:%s", opt.host);
	mapped_len = parse_address(text, 9, &mapped);
	EXPECT_EQ(1, sendto(fd, "x", 1, MSG_OOB, (void *)&to, len));
	EXPECT_EQ(1, recv(fd, in, 1, 0));
	EXPECT_EQ(-1, sendto(fd, "x", 1, MSG_OOB, (void *)&mapped, mapped_len));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-1, send(fd, "x", 1, MSG_OOB));
	EXPECT_EQ(EDESTADDRREQ, errno);
	EXPECT_EQ(-1, send(fd, out, sizeof(out), 0));
	EXPECT_EQ(EDESTADDRREQ, errno);
	EXPECT_EQ(-1, send(fd, data_of_70000, sizeof(data_of_70000), 0));
	EXPECT_EQ(EDESTADDRREQ, errno);
	EXPECT_EQ(-1, sendto(fd, data_of_70000, sizeof(data_of_70000), 0, (void *)&to, len));
	EXPECT_EQ(EMSGSIZE, errno);
	close(fd);
}

/* A probe sends none of its data, but ends a datagram that was begun. */
TEST_F(datagram, probes)
{
	EXPECT_EQ(1, send(self->from, "x", 1, MSG_PROBE));
	EXPECT_EQ(0, send(self->from, "", 0, MSG_PROBE));
	EXPECT_EQ(0, send(self->from, "", 0, MSG_PROBE | MSG_CONFIRM));
	EXPECT_EQ(1, send(self->from, "x", 1, MSG_PROBE | MSG_MORE));
	EXPECT_EQ(2, send(self->from, "ab", 2, MSG_MORE));
	EXPECT_EQ(1, send(self->from, "x", 1, MSG_PROBE | MSG_MORE));
	EXPECT_EQ(1, send(self->from, "x", 1, MSG_PROBE));
	EXPECT_EQ(2, recv(self->to, in, sizeof(in), 0));
	EXPECT_EQ(0, memcmp(in, "ab", 2));
	EXPECT_EQ(-1, recv(self->to, in, sizeof(in), MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
}

TEST_F(datagram, nothing_there_is_eagain)
{
	__u64 began;

	EXPECT_EQ(-1, recv(self->to, in, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	set_nonblock(self->to, true);
	EXPECT_EQ(-1, recv(self->to, in, 1, 0));
	EXPECT_EQ(EAGAIN, errno);
	set_nonblock(self->to, false);
	ASSERT_EQ(0, set_timeout(self->to, SO_RCVTIMEO, 200));
	began = now_msec();
	EXPECT_EQ(-1, recv(self->to, in, 1, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_LE(AT_LEAST_OF(200), now_msec() - began);
	EXPECT_EQ(1, send(self->from, "x", 1, MSG_DONTWAIT));
	ASSERT_TRUE(wait_input(self->to));
	EXPECT_EQ(1, recv(self->to, in, 1, MSG_DONTWAIT));
}

TEST_F(datagram, bad_memory)
{
	static const struct {
		void *at;
		size_t len;
	} cases[] = {
		{ NULL, 1 }, { NULL, 1000 }, { (void *)1, LONGEST },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		EXPECT_EQ(-1, send(self->from, cases[i].at, cases[i].len, 0));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(LONGEST, send(self->from, out, LONGEST, 0));
		EXPECT_EQ(-1, recv(self->to, cases[i].at, cases[i].len,
				   MSG_PEEK));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(-1, recv(self->to, cases[i].at, cases[i].len, 0));
		EXPECT_EQ(EFAULT, errno);
		/* The datagram is lost. */
		EXPECT_EQ(-1, recv(self->to, in, 1, MSG_DONTWAIT));
		EXPECT_EQ(EAGAIN, errno);
	}
}

TEST_F(datagram, who_waits_is_woken)
{
	struct waiter w = { 0 };

	ASSERT_TRUE(waiter_start(&w, in_recv, self->to));
	EXPECT_EQ(5, send(self->from, "hello", 5, 0));
	EXPECT_EQ(5, waiter_end(&w));
	ASSERT_TRUE(waiter_start(&w, in_recv, self->to));
	EXPECT_EQ(0, send(self->from, "", 0, 0));
	EXPECT_EQ(0, waiter_end(&w));
}

/* Before the socket has an address. */
TEST_F(datagram, who_waits_without_a_port_is_woken)
{
	struct waiter w = { 0 };
	int fd = new_datagram(0);

	ASSERT_TRUE(waiter_start(&w, in_recv, fd));
	ASSERT_EQ(0, bind_to(fd, opt.host, 0));
	EXPECT_EQ(5, send_to(self->from, opt.host, local_port(fd), "hello", 5));
	EXPECT_EQ(5, waiter_end(&w));
	close(fd);
}

/* Busy polling needs no event. Sleeping or poll() afterwards does. */
TEST_F(datagram, busy_polling)
{
	int i, usec = 20000, offset = 0;
	struct waiter w = { 0 };

	ASSERT_EQ(0, setsockopt(self->to, SOL_SOCKET, SO_BUSY_POLL, &usec, sizeof(usec)));
	for (i = 0; i < 20; i++) {
		stream_fill(i, 0, out, 100 * i);
		ASSERT_EQ(100 * i, send(self->from, out, 100 * i, 0));
		ASSERT_EQ(100 * i, recv(self->to, in, sizeof(in), 0));
		EXPECT_TRUE(stream_check(i, 0, in, 100 * i));
	}
	EXPECT_EQ(0, poll_now(self->to) & POLLIN);
	EXPECT_EQ(6, send(self->from, "polled", 6, 0));
	EXPECT_TRUE(wait_input(self->to));
	EXPECT_EQ(6, recv(self->to, in, sizeof(in), 0));
	ASSERT_TRUE(waiter_start(&w, in_recv, self->to));
	EXPECT_EQ(5, send(self->from, "slept", 5, 0));
	EXPECT_EQ(5, waiter_end(&w));

	/* Behind what was peeked at. */
	ASSERT_EQ(0, setsockopt(self->to, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof(offset)));
	EXPECT_EQ(1, send(self->from, "1", 1, 0));
	EXPECT_EQ(1, recv(self->to, in, 1, MSG_PEEK));
	EXPECT_EQ('1', in[0]);
	EXPECT_EQ(1, send(self->from, "2", 1, 0));
	EXPECT_EQ(1, recv(self->to, in, 1, MSG_PEEK));
	EXPECT_EQ('2', in[0]);
	EXPECT_EQ(1, recv(self->to, in, 1, 0));
	EXPECT_EQ(1, recv(self->to, in, 1, 0));
	ASSERT_EQ(0, set_timeout(self->to, SO_RCVTIMEO, 200));
	EXPECT_EQ(-1, recv(self->to, in, 1, 0));
	EXPECT_EQ(EAGAIN, errno);

	/* An error ends it. */
	EXPECT_EQ(0, close(self->to));
	self->to = new_datagram(0);
	ASSERT_EQ(0, setsockopt(self->from, SOL_SOCKET, SO_BUSY_POLL, &usec, sizeof(usec)));
	EXPECT_EQ(1, send(self->from, "x", 1, 0));
	EXPECT_EQ(-1, recv(self->from, in, 1, 0));
	EXPECT_EQ(ECONNREFUSED, errno);
}

static void on_signal(int sig)
{
	(void)sig;
}

TEST_F(datagram, a_signal_interrupts)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct waiter w = { 0 };

	sigaction(SIGUSR1, &sa, NULL);
	ASSERT_EQ(0, set_timeout(self->to, SO_RCVTIMEO, 0));
	ASSERT_TRUE(waiter_start(&w, in_recv, self->to));
	pthread_kill(w.thread, SIGUSR1);
	EXPECT_EQ(-1, waiter_end(&w));
	EXPECT_EQ(EINTR, errno);
	sa.sa_flags = SA_RESTART;
	sigaction(SIGUSR1, &sa, NULL);
	ASSERT_TRUE(waiter_start(&w, in_recv, self->to));
	pthread_kill(w.thread, SIGUSR1);
	ASSERT_TRUE(wait_asleep(w.tid));
	EXPECT_EQ(5, send(self->from, "hello", 5, 0));
	EXPECT_EQ(5, waiter_end(&w));
}

/* A socket that does not receive loses datagrams and blocks nobody. */
TEST_F(datagram, too_many_are_lost_whole)
{
	int i, n = 0, last = -1, number;
	const int all = 3000;
	__u64 end;

	for (i = 0; i < all; i++) {
		stream_fill(i, 0, out, 1000);
		memcpy(out, &i, sizeof(i));
		ASSERT_EQ(1000, send(self->from, out, 1000, 0));
	}
	/* The first datagrams arrive, and unchanged. */
	while (recv(self->to, in, sizeof(in), n < 20 ? 0 : MSG_DONTWAIT) == 1000) {
		memcpy(&number, in, sizeof(number));
		ASSERT_LT(last, number);
		ASSERT_TRUE(n || !number);
		stream_fill(number, 0, out, 1000);
		memcpy(out, &number, sizeof(number));
		ASSERT_EQ(0, memcmp(in, out, 1000));
		last = number;
		n++;
	}
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_LE(20, n);
	EXPECT_GE(all, n);
	/* Datagrams still under way may come first, and leave no room for this one. */
	ASSERT_EQ(0, set_timeout(self->to, SO_RCVTIMEO, 100));
	end = now_msec() + WAIT_LIMIT_MSEC;
	for (i = 0; i != 4 && now_msec() < end;) {
		EXPECT_EQ(4, send(self->from, "last", 4, 0));
		do
			i = recv(self->to, in, sizeof(in), 0);
		while (i == 1000);
	}
	EXPECT_EQ(4, i);
}

static long in_flood(struct waiter *w)
{
	char data[1000];
	long i;

	memset(data, w->data[0], sizeof(data));
	for (i = 0; i < 2000; i++)
		if (send(w->fd, data, sizeof(data), 0) != sizeof(data))
			return -1;
	return i;
}

/* Two threads that share a socket do not mix up their datagrams. */
TEST_F(datagram, two_threads_send)
{
	struct waiter w = { .data = "w" }, v = { .data = "v" };
	ssize_t len;

	ASSERT_TRUE(waiter_begin(&w, in_flood, self->from));
	ASSERT_TRUE(waiter_begin(&v, in_flood, self->from));
	ASSERT_EQ(1000, recv(self->to, in, sizeof(in), 0));
	ASSERT_EQ(0, set_timeout(self->to, SO_RCVTIMEO, 500));
	do {
		ASSERT_TRUE(in[0] == 'w' || in[0] == 'v');
		ASSERT_EQ(0, memcmp(in, in + 1, 999));
		len = recv(self->to, in, sizeof(in), 0);
	} while (len == 1000);
	EXPECT_EQ(-1, len);
	EXPECT_EQ(2000, waiter_end(&w));
	EXPECT_EQ(2000, waiter_end(&v));
}

TEST_F(datagram, there_and_back)
{
	struct sockaddr_in from;
	socklen_t size = sizeof(from);
	int i, n;

	for (i = 0; i < rounds(200); i++) {
		stream_fill(i, 0, out, i);
		ASSERT_EQ(i, send(self->from, out, i, 0));
		n = recvfrom(self->to, in, sizeof(in), 0,
			     (struct sockaddr *)&from, &size);
		ASSERT_EQ(i, n);
		ASSERT_EQ(n, sendto(self->to, in, n, 0,
				    (struct sockaddr *)&from, size));
		ASSERT_EQ(n, recv(self->from, in, sizeof(in), 0));
		ASSERT_TRUE(stream_check(i, 0, in, n));
	}
}

/* A datagram that was sent arrives even if the socket is closed at once. */
TEST_F(datagram, closing_loses_nothing)
{
	int i, fd;

	for (i = 0; i < rounds(20); i++) {
		fd = new_datagram(0);
		EXPECT_EQ(LONGEST, send_to(fd, opt.host, self->port, out,
					   LONGEST));
		EXPECT_EQ(3, send_to(fd, opt.host, self->port, "end", 3));
		EXPECT_EQ(0, close(fd));
		EXPECT_EQ(LONGEST, recv(self->to, in, sizeof(in), 0));
		EXPECT_EQ(3, recv(self->to, in, sizeof(in), 0));
	}
}

static atomic_int received;

static long in_recv_counted(struct waiter *w)
{
	long result = recv(w->fd, w->data, sizeof(w->data), 0);

	received++;
	return result;
}

static bool wait_received(int n)
{
	__u64 deadline = now_msec() + WAIT_LIMIT_MSEC;

	while (received < n && now_msec() < deadline)
		poll(NULL, 0, 1);
	return received == n;
}

/* Returns how often a thread has slept. */
static long sleeps_of(pid_t tid)
{
	char path[64], line[128];
	long n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "voluntary_ctxt_switches: %ld", &n) == 1)
			break;
	if (f)
		fclose(f);
	return n;
}

/* The same for a thread that falls asleep: its state may say so a little before it is counted. */
static long sleeps_once_asleep(pid_t tid)
{
	long now, last = -1;
	int same = 0;

	while (same < 10) {
		poll(NULL, 0, 1);
		now = sleeps_of(tid);
		same = now == last ? same + 1 : 0;
		last = now;
	}
	return last;
}

/*
 * A datagram wakes one of the threads that wait, and as many datagrams as there are wake all of
 * them: also those that a thread leaves which is interrupted.
 */
TEST_F(datagram, one_datagram_wakes_one_thread)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct waiter w[4] = { 0 };
	long before[4];
	int i, slept = 0, failed = 0;

	received = 0;
	sigaction(SIGUSR1, &sa, NULL);
	ASSERT_EQ(0, set_timeout(self->to, SO_RCVTIMEO, 0));
	for (i = 0; i < 4; i++) {
		ASSERT_TRUE(waiter_start(&w[i], in_recv_counted, self->to));
		before[i] = sleeps_once_asleep(w[i].tid);
	}
	EXPECT_EQ(1, send(self->from, "1", 1, 0));
	ASSERT_TRUE(wait_received(1));
	/* Who is woken in vain sleeps once more. */
	for (i = 0; i < 4; i++)
		slept += !w[i].data[0] && wait_asleep(w[i].tid) &&
			 sleeps_of(w[i].tid) == before[i];
	EXPECT_EQ(3, slept);

	/* The first one has its datagram: another one is interrupted. */
	pthread_kill(w[3].thread, SIGUSR1);
	ASSERT_TRUE(wait_received(2));
	EXPECT_EQ(1, send(self->from, "2", 1, 0));
	EXPECT_EQ(1, send(self->from, "3", 1, 0));
	ASSERT_TRUE(wait_received(4));
	for (i = 0; i < 4; i++)
		failed += waiter_end(&w[i]) == -1 && errno == EINTR;
	EXPECT_EQ(1, failed);
}

XENSOCK_TEST_MAIN
