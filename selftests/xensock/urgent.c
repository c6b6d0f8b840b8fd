// SPDX-License-Identifier: GPL-2.0
/* Urgent bytes: their place in the stream, and how they are read apart. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

FIXTURE(urgent) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(urgent)
{
	ASSERT_TRUE(peer_open(&self->peer, 16384));
	self->fd = peer_connect(&self->peer, 0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(urgent)
{
	close(self->fd);
	peer_close(&self->peer);
}

static void set_inline(int fd)
{
	int on = 1;

	setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
}

TEST_F(urgent, inline_all_bytes_are_in_the_stream)
{
	char data[8] = { 0 };

	set_inline(self->fd);
	EXPECT_STREQ("ok 3", peer_run(&self->peer, "write abc"));
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "writeoob D"));
	EXPECT_STREQ("ok 3", peer_run(&self->peer, "write efg"));
	EXPECT_EQ(7, recv_all(self->fd, data, 7));
	EXPECT_STREQ("abcDefg", data);
}

/* The byte may come alone, and be the first of all. */
TEST_F(urgent, inline_one_after_another)
{
	char data[8] = { 0 };
	int i;

	set_inline(self->fd);
	for (i = 0; i < 3; i++) {
		EXPECT_STREQ("ok 1", peer_run(&self->peer, "writeoob %c", 'A' + i));
		EXPECT_EQ(1, recv_all(self->fd, data + i, 1));
	}
	EXPECT_STREQ("ok 3", peer_run(&self->peer, "writeoob deF"));
	EXPECT_EQ(3, recv_all(self->fd, data + 3, 3));
	EXPECT_STREQ("ABCdeF", data);
}

/* Returns the byte that can be read out of band now, or -errno; and its flags in @got. */
static int recv_oob(int fd, int flags, int *got)
{
	char byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n = recvmsg(fd, &msg, MSG_OOB | flags);

	if (got)
		*got = msg.msg_flags;
	return n < 0 ? -errno : n ? byte : 0;
}

/* Waits until this byte can be read out of band. */
static bool wait_urgent(int fd, char byte)
{
	__u64 deadline = now_msec() + WAIT_LIMIT_MSEC;

	while (recv_oob(fd, MSG_PEEK, NULL) != byte) {
		if (now_msec() > deadline)
			return false;
		poll(NULL, 0, 1);
	}
	return true;
}

static int ioctl_int(int fd, unsigned long request)
{
	int value = -1;

	return ioctl(fd, request, &value) ? -errno : value;
}

#define PEER_SAYS_ABC_D_EFG() do {						\
	EXPECT_STREQ("ok 3", peer_run(&self->peer, "write abc"));	\
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "writeoob D"));	\
	EXPECT_STREQ("ok 3", peer_run(&self->peer, "write efg"));	\
	ASSERT_TRUE(wait_urgent(self->fd, 'D'));			\
} while (0)

TEST_F(urgent, apart_from_the_stream)
{
	char data[8] = { 0 };
	int flags;

	PEER_SAYS_ABC_D_EFG();
	EXPECT_EQ(POLLPRI, poll_now(self->fd) & POLLPRI);
	EXPECT_EQ(3, ioctl_int(self->fd, FIONREAD));
	EXPECT_EQ(0, ioctl_int(self->fd, SIOCATMARK));
	EXPECT_EQ('D', recv_oob(self->fd, 0, &flags));
	EXPECT_EQ(MSG_OOB, flags);
	EXPECT_EQ(-EINVAL, recv_oob(self->fd, 0, NULL));
	EXPECT_EQ(0, poll_now(self->fd) & POLLPRI);

	/* A read stops at the mark. */
	EXPECT_EQ(3, recv(self->fd, data, 8, 0));
	EXPECT_STREQ("abc", data);
	EXPECT_EQ(1, ioctl_int(self->fd, SIOCATMARK));
	EXPECT_EQ(0, ioctl_int(self->fd, FIONREAD));
	ASSERT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	EXPECT_EQ(3, recv(self->fd, data, 3, MSG_WAITALL));
	EXPECT_STREQ("efg", data);
	EXPECT_EQ(0, ioctl_int(self->fd, SIOCATMARK));
	EXPECT_EQ(-EINVAL, recv_oob(self->fd, 0, NULL));
}

/* An urgent byte that nobody reads apart is gone once the stream passes it. */
TEST_F(urgent, not_read_apart)
{
	char data[8] = { 0 };

	PEER_SAYS_ABC_D_EFG();
	EXPECT_EQ(3, recv(self->fd, data, 8, MSG_WAITALL));
	EXPECT_EQ('D', recv_oob(self->fd, MSG_PEEK, NULL));
	EXPECT_EQ(3, recv(self->fd, data + 3, 3, MSG_WAITALL));
	EXPECT_STREQ("abcefg", data);
	EXPECT_EQ(-EINVAL, recv_oob(self->fd, 0, NULL));
	EXPECT_EQ(POLLOUT | POLLWRNORM, poll_now(self->fd));
}

TEST_F(urgent, peeking_stops_at_the_mark_too)
{
	char data[8] = { 0 };

	PEER_SAYS_ABC_D_EFG();
	EXPECT_EQ(3, recv(self->fd, data, 8, MSG_PEEK));
	EXPECT_EQ(3, recv(self->fd, data, 8, 0));
	ASSERT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	EXPECT_EQ(3, recv(self->fd, data, 3, MSG_PEEK | MSG_WAITALL));
	EXPECT_STREQ("efg", data);
	EXPECT_EQ(1, ioctl_int(self->fd, SIOCATMARK));
	EXPECT_EQ(3, recv(self->fd, data, 8, MSG_TRUNC));
}

TEST_F(urgent, no_room_for_it)
{
	struct msghdr msg = { 0 };

	EXPECT_STREQ("ok 1", peer_run(&self->peer, "writeoob D"));
	ASSERT_TRUE(wait_urgent(self->fd, 'D'));
	EXPECT_EQ(-1, recv(self->fd, (void *)1, 1, MSG_OOB | MSG_PEEK));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(1, recv(self->fd, NULL, 1, MSG_OOB | MSG_PEEK | MSG_TRUNC));
	EXPECT_EQ(0, recvmsg(self->fd, &msg, MSG_OOB));
	EXPECT_EQ(MSG_OOB | MSG_TRUNC, msg.msg_flags);
	EXPECT_EQ(-EINVAL, recv_oob(self->fd, 0, NULL));
}

/* Nothing else is there to read, so a read would wait. */
TEST_F(urgent, alone)
{
	char c;

	EXPECT_STREQ("ok 1", peer_run(&self->peer, "writeoob D"));
	ASSERT_TRUE(wait_urgent(self->fd, 'D'));
	EXPECT_EQ(POLLPRI | POLLOUT | POLLWRNORM, poll_now(self->fd));
	EXPECT_EQ(1, ioctl_int(self->fd, SIOCATMARK));
	EXPECT_EQ(-1, recv(self->fd, &c, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	/* The stream has passed the urgent byte. */
	EXPECT_EQ(-EINVAL, recv_oob(self->fd, 0, NULL));
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "write e"));
	EXPECT_EQ(1, recv(self->fd, &c, 1, 0));
	EXPECT_EQ('e', c);
}

TEST_F(urgent, inline_reads_stop_at_the_mark)
{
	char data[8] = { 0 };

	PEER_SAYS_ABC_D_EFG();
	set_inline(self->fd);
	EXPECT_EQ(-EINVAL, recv_oob(self->fd, 0, NULL));
	EXPECT_EQ(POLLPRI, poll_now(self->fd) & POLLPRI);
	EXPECT_EQ(3, recv(self->fd, data, 8, 0));
	EXPECT_EQ(1, ioctl_int(self->fd, SIOCATMARK));
	EXPECT_EQ(4, recv(self->fd, data + 3, 4, MSG_WAITALL));
	EXPECT_STREQ("abcDefg", data);
	EXPECT_EQ(0, ioctl_int(self->fd, SIOCATMARK));
}

/* The previous urgent byte becomes an ordinary one, unless it is the next to be read. */
TEST_F(urgent, the_last_one_counts)
{
	char data[8] = { 0 };

	EXPECT_STREQ("ok 1", peer_run(&self->peer, "writeoob A"));
	ASSERT_TRUE(wait_urgent(self->fd, 'A'));
	EXPECT_STREQ("ok 3", peer_run(&self->peer, "write bcd"));
	ASSERT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "writeoob E"));
	ASSERT_TRUE(wait_urgent(self->fd, 'E'));
	EXPECT_EQ(3, recv(self->fd, data, 8, 0));
	EXPECT_STREQ("bcd", data);
	EXPECT_EQ(1, ioctl_int(self->fd, SIOCATMARK));

	EXPECT_STREQ("ok 1", peer_run(&self->peer, "write f"));
	ASSERT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	EXPECT_EQ(1, recv(self->fd, data, 8, 0));
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "write g"));
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "writeoob H"));
	ASSERT_TRUE(wait_urgent(self->fd, 'H'));
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "writeoob I"));
	ASSERT_TRUE(wait_urgent(self->fd, 'I'));
	EXPECT_EQ(2, recv(self->fd, data, 8, 0));
	EXPECT_EQ('H', data[1]);
}

/* The urgent byte overtakes unread data. */
TEST_F(urgent, behind_more_than_a_ring_holds)
{
	enum { BYTES = 50000 };
	static char data[BYTES + 1];

	EXPECT_STREQ("ok 50000", peer_run(&self->peer, "send 50000 1"));
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "writeoob D"));
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "write e"));
	ASSERT_TRUE(wait_urgent(self->fd, 'D'));
	EXPECT_EQ('D', recv_oob(self->fd, 0, NULL));
	EXPECT_EQ(0, ioctl_int(self->fd, SIOCATMARK));
	EXPECT_EQ(BYTES, recv(self->fd, data, BYTES, MSG_WAITALL));
	EXPECT_TRUE(stream_check(1, 0, data, BYTES));
	EXPECT_EQ(1, ioctl_int(self->fd, SIOCATMARK));
	EXPECT_EQ(1, recv(self->fd, data, 1, 0));
	EXPECT_EQ('e', data[0]);
}

/* A call that waits for more ends at the mark. */
TEST_F(urgent, waitall_ends_at_the_mark)
{
	char data[8] = { 0 };

	peer_send(&self->peer, "write ab");
	peer_send(&self->peer, "writeoob C");
	EXPECT_EQ(2, recv(self->fd, data, 8, MSG_WAITALL));
	EXPECT_STREQ("ok 2", peer_answer(&self->peer));
	EXPECT_STREQ("ok 1", peer_answer(&self->peer));
}

TEST_F(urgent, none)
{
	int fresh = new_socket(0), listener = open_listener(1, 0);

	EXPECT_EQ(-EINVAL, recv_oob(self->fd, 0, NULL));
	EXPECT_EQ(-EINVAL, recv_oob(self->fd, MSG_DONTWAIT, NULL));
	EXPECT_EQ(-EINVAL, recv_oob(fresh, 0, NULL));
	EXPECT_EQ(-ENOTCONN, recv_oob(listener, 0, NULL));
	EXPECT_EQ(0, ioctl_int(self->fd, SIOCATMARK));
	EXPECT_EQ(-1, send(fresh, "x", 1, MSG_OOB | MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(0, send(self->fd, "x", 0, MSG_OOB));
	close(fresh);
	close(listener);
}

TEST_F(urgent, and_the_end)
{
	char c;

	EXPECT_STREQ("ok 1", peer_run(&self->peer, "writeoob D"));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	ASSERT_TRUE(wait_urgent(self->fd, 'D'));
	ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
	EXPECT_EQ('D', recv_oob(self->fd, 0, NULL));
	EXPECT_EQ(0, recv(self->fd, &c, 1, 0));
}

/* The connection has ended in both directions, and the byte is still there. */
TEST_F(urgent, and_both_ends)
{
	char c;

	EXPECT_EQ(0, shutdown(self->fd, SHUT_WR));
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "writeoob D"));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	ASSERT_TRUE(wait_urgent(self->fd, 'D'));
	ASSERT_TRUE(wait_poll(self->fd, POLLHUP, NULL));
	EXPECT_EQ('D', recv_oob(self->fd, 0, NULL));
	EXPECT_EQ(-EINVAL, recv_oob(self->fd, 0, NULL));
	EXPECT_EQ(0, recv(self->fd, &c, 1, 0));
}

TEST_F(urgent, and_a_reset)
{
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "writeoob D"));
	ASSERT_TRUE(wait_urgent(self->fd, 'D'));
	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));
	ASSERT_TRUE(wait_poll(self->fd, POLLHUP, NULL));
	EXPECT_EQ(-ENOTCONN, recv_oob(self->fd, 0, NULL));
}

static atomic_int sigurgs;

static void on_sigurg(int sig)
{
	(void)sig;
	sigurgs++;
}

TEST_F(urgent, raises_sigurg)
{
	struct sigaction sa = { .sa_handler = on_sigurg };
	struct waiter w;
	__u64 deadline;

	sigaction(SIGURG, &sa, NULL);
	/* A socket without an owner raises no signal. */
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "writeoob A"));
	ASSERT_TRUE(wait_urgent(self->fd, 'A'));
	EXPECT_EQ(0, sigurgs);

	ASSERT_EQ(0, fcntl(self->fd, F_SETOWN, getpid()));
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "writeoob B"));
	ASSERT_TRUE(wait_urgent(self->fd, 'B'));
	deadline = now_msec() + WAIT_LIMIT_MSEC;
	while (!sigurgs && now_msec() < deadline)
		poll(NULL, 0, 1);
	EXPECT_EQ(1, sigurgs);

	/* A task that sleeps in a call is interrupted too. */
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "write c"));
	ASSERT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	EXPECT_EQ(1, recv(self->fd, w.data, 1, 0));
	ASSERT_TRUE(waiter_start(&w, in_recv, self->fd));
	fcntl(self->fd, F_SETOWN_EX, &(struct f_owner_ex){ F_OWNER_TID, w.tid });
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "writeoob D"));
	EXPECT_EQ(-1, waiter_end(&w));
	EXPECT_EQ(EINTR, w.error);
	EXPECT_EQ(2, sigurgs);
}

TEST_F(urgent, to_the_peer)
{
	EXPECT_EQ(3, send(self->fd, "abc", 3, 0));
	EXPECT_EQ(1, send(self->fd, "D", 1, MSG_OOB));
	EXPECT_EQ(3, send(self->fd, "efg", 3, 0));
	EXPECT_STREQ("ok D", peer_run(&self->peer, "readoob"));
	EXPECT_STREQ("ok abc", peer_run(&self->peer, "read"));
	shutdown(self->fd, SHUT_WR);
	EXPECT_STREQ("fin", peer_run(&self->peer, "end"));
	EXPECT_STREQ("ok efg", peer_run(&self->peer, "read"));
	EXPECT_STREQ("eof", peer_run(&self->peer, "read"));
}

/* Only the last byte of a call is urgent. */
TEST_F(urgent, the_last_byte_to_the_peer)
{
	int i;

	for (i = 0; i < 3; i++) {
		EXPECT_EQ(4, send(self->fd, "abcD", 4, MSG_OOB));
		EXPECT_STREQ("ok D", peer_run(&self->peer, "readoob"));
		EXPECT_STREQ("ok abc", peer_run(&self->peer, "read"));
	}
}

static long in_send_oob(struct waiter *w)
{
	return send(w->fd, "D", 1, MSG_OOB);
}

/* The urgent byte keeps its place between the data sent before and after it. */
TEST_F(urgent, to_a_peer_that_reads_nothing)
{
	__u64 sent = fill_socket(self->fd, 1, 30000);
	struct waiter w;
	char answer[32];

	ASSERT_TRUE(waiter_start(&w, in_send_oob, self->fd));
	peer_run(&self->peer, "recv %llu 1", sent);
	snprintf(answer, sizeof(answer), "ok %llu", sent);
	EXPECT_STREQ(answer, self->peer.line);
	EXPECT_EQ(1, waiter_end(&w));
	EXPECT_STREQ("ok D", peer_run(&self->peer, "readoob"));
	EXPECT_EQ(1, send(self->fd, "e", 1, 0));
	EXPECT_STREQ("ok e", peer_run(&self->peer, "read"));
}

XENSOCK_TEST_MAIN
