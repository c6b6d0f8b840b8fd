// SPDX-License-Identifier: GPL-2.0
/* ioctl(): how many bytes wait in which buffer, and flags and signals by ioctl and fcntl. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

FIXTURE(ioctl) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(ioctl)
{
	ASSERT_TRUE(peer_open(&self->peer, 16384));
	self->fd = peer_connect(&self->peer, 0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(ioctl)
{
	close(self->fd);
	peer_close(&self->peer);
}

/* Returns the number that the ioctl gives, or -errno. */
static int ioctl_int(int fd, unsigned long request)
{
	int value = -1;

	return ioctl(fd, request, &value) ? -errno : value;
}

static bool wait_ioctl(int fd, unsigned long request, int wanted)
{
	__u64 deadline = now_msec() + WAIT_LIMIT_MSEC;

	while (ioctl_int(fd, request) != wanted) {
		if (now_msec() > deadline)
			return false;
		poll(NULL, 0, 1);
	}
	return true;
}

TEST_F(ioctl, fionread_counts_what_can_be_read)
{
	char data[100];

	EXPECT_EQ(0, ioctl_int(self->fd, FIONREAD));
	EXPECT_STREQ("ok 100", peer_run(&self->peer, "send 100 1"));
	EXPECT_TRUE(wait_ioctl(self->fd, FIONREAD, 100));
	EXPECT_EQ(100, ioctl_int(self->fd, SIOCINQ));
	EXPECT_EQ(40, recv(self->fd, data, 40, MSG_PEEK));
	EXPECT_EQ(100, ioctl_int(self->fd, FIONREAD));
	EXPECT_EQ(40, recv(self->fd, data, 40, 0));
	EXPECT_EQ(60, ioctl_int(self->fd, FIONREAD));
	EXPECT_EQ(60, recv(self->fd, data, 100, 0));
	EXPECT_EQ(0, ioctl_int(self->fd, FIONREAD));
}

/* The end of the stream does not count as a byte. */
TEST_F(ioctl, fionread_and_the_end)
{
	char data[10];

	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
	EXPECT_EQ(10, ioctl_int(self->fd, FIONREAD));
	EXPECT_EQ(10, recv_all(self->fd, data, 10));
	EXPECT_EQ(0, ioctl_int(self->fd, FIONREAD));
	EXPECT_EQ(0, recv(self->fd, data, 10, 0));
	EXPECT_EQ(0, ioctl_int(self->fd, FIONREAD));
}

TEST_F(ioctl, siocoutq_is_0_when_all_has_arrived)
{
	char data[5000];

	EXPECT_EQ(0, ioctl_int(self->fd, SIOCOUTQ));
	EXPECT_EQ(0, ioctl_int(self->fd, SIOCOUTQNSD));
	stream_fill(1, 0, data, sizeof(data));
	EXPECT_EQ(5000, send(self->fd, data, 5000, 0));
	/* The peer's kernel has acknowledged everything. */
	EXPECT_TRUE(wait_ioctl(self->fd, SIOCOUTQ, 0));
	EXPECT_EQ(0, ioctl_int(self->fd, SIOCOUTQNSD));
	EXPECT_STREQ("ok 5000", peer_run(&self->peer, "recv 5000 1"));
}

TEST_F(ioctl, siocoutq_counts_what_the_peer_has_not)
{
	__u64 sent = fill_socket(self->fd, 1, 30000);
	int unsent, queued = ioctl_int(self->fd, SIOCOUTQ);

	/* The peer's kernel has a part, but by far not all. */
	EXPECT_LT(0, queued);
	EXPECT_GT(sent, queued);
	unsent = ioctl_int(self->fd, SIOCOUTQNSD);
	EXPECT_LT(0, unsent);
	EXPECT_GE(queued, unsent);
	peer_run(&self->peer, "recv %llu 1", sent);
	EXPECT_TRUE(wait_ioctl(self->fd, SIOCOUTQ, 0));
	EXPECT_EQ(0, ioctl_int(self->fd, SIOCOUTQNSD));
}

/* Returns the value of SIOCOUTQ once it no longer changes. */
static int settled_queue(int fd)
{
	int value, last = -1, turns = 0;

	while (turns < 10) {
		value = ioctl_int(fd, SIOCOUTQ);
		turns = value == last ? turns + 1 : 0;
		last = value;
		poll(NULL, 0, 20);
	}
	return value;
}

/* The end of the stream counts as a byte, until the peer has acknowledged it. */
TEST_F(ioctl, siocoutq_counts_the_end)
{
	int queued, ended, tries = 0;
	__u64 sent;

	for (;;) {
		sent = fill_socket(self->fd, 1, 30000);
		queued = settled_queue(self->fd);
		EXPECT_LT(0, queued);
		EXPECT_EQ(0, shutdown(self->fd, SHUT_WR));
		ended = settled_queue(self->fd);
		if (ended == queued + 1 || ++tries == 3)
			break;
		/* On a busy machine the first value may have changed once more. */
		close(self->fd);
		self->fd = peer_connect(&self->peer, 0);
		ASSERT_LE(0, self->fd);
	}
	EXPECT_EQ(queued + 1, ended);
	peer_run(&self->peer, "recv %llu 1", sent);
	EXPECT_TRUE(wait_ioctl(self->fd, SIOCOUTQ, 0));
	EXPECT_EQ(0, ioctl_int(self->fd, SIOCOUTQNSD));
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
}

TEST_F(ioctl, in_every_state)
{
	static const unsigned long requests[] = {
		FIONREAD, SIOCOUTQ, SIOCOUTQNSD,
	};
	int fresh = new_socket(0), listener = open_listener(1, 0);
	size_t i;

	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));
	ASSERT_TRUE(wait_poll(self->fd, POLLHUP, NULL));
	for (i = 0; i < ARRAY_LEN(requests); i++) {
		EXPECT_EQ(0, ioctl_int(fresh, requests[i]));
		EXPECT_EQ(-EINVAL, ioctl_int(listener, requests[i]));
		EXPECT_EQ(0, ioctl_int(self->fd, requests[i]));
		EXPECT_EQ(-1, ioctl(fresh, requests[i], (void *)1));
		EXPECT_EQ(EFAULT, errno);
	}
	close(fresh);
	close(listener);
}

/* Without urgent data there is never a mark. */
TEST_F(ioctl, siocatmark)
{
	EXPECT_EQ(0, ioctl_int(self->fd, SIOCATMARK));
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	ASSERT_TRUE(wait_readable(self->fd, 10));
	EXPECT_EQ(0, ioctl_int(self->fd, SIOCATMARK));
}

TEST_F(ioctl, fionbio_is_o_nonblock)
{
	int on;
	char c;

	for (on = 1; on >= 0; on--) {
		EXPECT_EQ(0, ioctl(self->fd, FIONBIO, &on));
		EXPECT_EQ(on ? O_NONBLOCK : 0,
			  fcntl(self->fd, F_GETFL) & O_NONBLOCK);
		if (!on)
			EXPECT_STREQ("ok 1", peer_run(&self->peer,
						      "send 1 1"));
		EXPECT_EQ(on ? -1 : 1, recv(self->fd, &c, 1, 0));
	}
}

TEST_F(ioctl, unknown_ones_are_enotty)
{
	static const unsigned long requests[] = {
		0x12345678, 0x5401 /* TCGETS */, 0x1260 /* BLKGETSIZE */,
	};
	char data[256];
	size_t i;

	for (i = 0; i < ARRAY_LEN(requests); i++) {
		EXPECT_EQ(-1, ioctl(self->fd, requests[i], data));
		EXPECT_EQ(ENOTTY, errno) TH_LOG("%#lx", requests[i]);
	}
}

static atomic_int signals_seen, signal_fd;

static void on_signal(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	signal_fd = info->si_fd;
	signals_seen++;
}

static bool wait_signal(void)
{
	__u64 deadline = now_msec() + WAIT_LIMIT_MSEC;

	while (!signals_seen && now_msec() < deadline)
		poll(NULL, 0, 1);
	return signals_seen > 0;
}

static void enable_signals(int fd, int signum)
{
	struct sigaction sa = {
		.sa_sigaction = on_signal,
		.sa_flags = SA_SIGINFO | SA_RESTART,
	};

	sigaction(signum, &sa, NULL);
	fcntl(fd, F_SETOWN, getpid());
	if (signum != SIGIO)
		fcntl(fd, F_SETSIG, signum);
	ioctl(fd, FIOASYNC, &(int){ 1 });
	signals_seen = 0;
}

TEST_F(ioctl, fioasync_signals_data)
{
	char c;

	enable_signals(self->fd, SIGIO);
	EXPECT_EQ(O_ASYNC, fcntl(self->fd, F_GETFL) & O_ASYNC);
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "send 1 1"));
	EXPECT_TRUE(wait_signal());
	EXPECT_EQ(1, recv(self->fd, &c, 1, 0));
	/* Turned off, there are no signals. */
	EXPECT_EQ(0, ioctl(self->fd, FIOASYNC, &(int){ 0 }));
	signals_seen = 0;
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "send 1 1"));
	EXPECT_TRUE(wait_readable(self->fd, 1));
	EXPECT_EQ(0, signals_seen);
}

TEST_F(ioctl, fioasync_signals_the_end)
{
	static const char *const ends[] = { "fin", "rst" };
	size_t i;

	for (i = 0; i < ARRAY_LEN(ends); i++) {
		int fd = peer_connect(&self->peer, 0);

		enable_signals(fd, SIGRTMIN);
		EXPECT_STREQ("ok", peer_run(&self->peer, "%s", ends[i]));
		EXPECT_TRUE(wait_signal()) TH_LOG("%s", ends[i]);
		EXPECT_EQ(fd, signal_fd);
		close(fd);
	}
}

/* A sender that found no room, while signals were on, gets one. */
TEST_F(ioctl, fioasync_signals_room)
{
	__u64 sent;

	enable_signals(self->fd, SIGRTMIN);
	sent = fill_socket(self->fd, 1, 30000);
	signals_seen = 0;
	peer_run(&self->peer, "recv %llu 1", sent);
	EXPECT_TRUE(wait_signal());
	EXPECT_EQ(self->fd, signal_fd);
}

/* However the room comes about, such as by growth of a ring: one signal for a call without room. */
TEST_F(ioctl, fioasync_signals_room_once)
{
	static char data[1 << 20];
	__u64 end;

	/* Of a program that polls, no call waits for growth. */
	ASSERT_EQ(POLLOUT, poll_now(self->fd) & POLLOUT);
	enable_signals(self->fd, SIGRTMIN);
	EXPECT_LT(0, send(self->fd, data, sizeof(data), MSG_DONTWAIT));
	/* TCP may have room for everything, or for nothing more before the peer reads. */
	EXPECT_TRUE(opt.family == AF_INET || wait_signal());
	for (end = now_msec() + 500; now_msec() < end;)
		poll(NULL, 0, 100);
	EXPECT_GE(1, signals_seen);
}

TEST_F(ioctl, fioasync_signals_a_connection)
{
	int fd, listener = open_listener(1, 0);

	enable_signals(listener, SIGRTMIN);
	peer_run(&self->peer, "connect %u", local_port(listener));
	EXPECT_TRUE(wait_signal());
	EXPECT_EQ(listener, signal_fd);
	fd = accept(listener, NULL, NULL);
	EXPECT_LE(0, fd);
	close(fd);
	close(listener);

	fd = new_socket(SOCK_NONBLOCK);
	enable_signals(fd, SIGRTMIN);
	connect_to(fd, opt.host, self->peer.port);
	EXPECT_TRUE(wait_signal());
	EXPECT_EQ(fd, signal_fd);
	close(fd);
}

XENSOCK_TEST_MAIN
