// SPDX-License-Identifier: GPL-2.0
/* MSG_ZEROCOPY: the program is told when it may use its memory again. */
#include <errno.h>
#include <time.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "uring.h"
#include "util.h"

/* Newer than some headers. */
#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif
#ifndef MSG_ZEROCOPY
#define MSG_ZEROCOPY 0x4000000
#endif

FIXTURE(zerocopy) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(zerocopy)
{
	ASSERT_TRUE(peer_open(&self->peer, 16384));
	self->fd = peer_connect(&self->peer, 0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(zerocopy)
{
	close(self->fd);
	peer_close(&self->peer);
}

static int set_zerocopy(int fd, int value)
{
	return setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &value, sizeof(value)) ? errno : 0;
}

static int get_zerocopy(int fd)
{
	socklen_t len = sizeof(int);
	int value = -1;

	return getsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &value, &len) ? -errno : value;
}

/* Reads the next notification, for all calls from @low to @high. */
static bool next_completion(int fd, unsigned int *low, unsigned int *high)
{
	char control[256];
	struct msghdr msg = { .msg_control = control, .msg_controllen = sizeof(control) };
	struct sock_extended_err *ee;
	struct cmsghdr *cmsg;

	if (!wait_poll(fd, 0, NULL) || recvmsg(fd, &msg, MSG_ERRQUEUE))
		return false;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!(msg.msg_flags & MSG_ERRQUEUE) || !cmsg ||
	    cmsg->cmsg_level != SOL_IP || cmsg->cmsg_type != IP_RECVERR)
		return false;
	ee = (void *)CMSG_DATA(cmsg);
	*low = ee->ee_info;
	*high = ee->ee_data;
	/* TCP, too, copies if the peer is on the same machine. */
	return ee->ee_errno == 0 && ee->ee_origin == SO_EE_ORIGIN_ZEROCOPY &&
	       ee->ee_code == SO_EE_CODE_ZEROCOPY_COPIED;
}

TEST_F(zerocopy, option)
{
	int listener, fd;

	EXPECT_EQ(0, get_zerocopy(self->fd));
	EXPECT_EQ(0, set_zerocopy(self->fd, 1));
	EXPECT_EQ(1, get_zerocopy(self->fd));
	EXPECT_EQ(EINVAL, set_zerocopy(self->fd, 2));
	EXPECT_EQ(EINVAL, set_zerocopy(self->fd, -1));
	EXPECT_EQ(0, set_zerocopy(self->fd, 0));
	EXPECT_EQ(0, get_zerocopy(self->fd));

	listener = open_listener(1, 0);
	EXPECT_EQ(0, set_zerocopy(listener, 1));
	fd = peer_accept(&self->peer, listener, 0);
	EXPECT_EQ(1, get_zerocopy(fd));
	close(fd);
	close(listener);
}

/* Each call is counted and gets one notification. One notification may be for several calls. */
TEST_F(zerocopy, every_call_is_answered)
{
	unsigned int low, high, next = 0;
	char data[1000];
	int i;

	ASSERT_EQ(0, set_zerocopy(self->fd, 1));
	stream_fill(1, 0, data, sizeof(data));
	for (i = 0; i < 5; i++)
		ASSERT_EQ(200, send(self->fd, data + 200 * i, 200, MSG_ZEROCOPY));
	EXPECT_STREQ("ok 1000", peer_run(&self->peer, "recv 1000 1"));
	while (next < 5) {
		ASSERT_TRUE(next_completion(self->fd, &low, &high));
		EXPECT_EQ(next, low);
		EXPECT_LE(low, high);
		next = high + 1;
	}
	EXPECT_EQ(5, next);
	EXPECT_EQ(-1, recv(self->fd, data, 1, MSG_ERRQUEUE));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(POLLOUT | POLLWRNORM, poll_now(self->fd));
	EXPECT_EQ(0, so_error(self->fd));
}

TEST_F(zerocopy, an_answer_is_no_error_of_the_socket)
{
	char data[100];

	ASSERT_EQ(0, set_zerocopy(self->fd, 1));
	stream_fill(1, 0, data, sizeof(data));
	ASSERT_EQ(100, send(self->fd, data, 100, MSG_ZEROCOPY));
	EXPECT_STREQ("ok 100", peer_run(&self->peer, "recv 100 1"));
	ASSERT_TRUE(wait_poll(self->fd, 0, NULL));
	EXPECT_EQ(POLLOUT | POLLWRNORM | POLLERR, poll_now(self->fd));
	EXPECT_EQ(0, so_error(self->fd));
	EXPECT_EQ(-1, recv(self->fd, data, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_STREQ("ok 100", peer_run(&self->peer, "send 100 2"));
	EXPECT_EQ(100, recv_all(self->fd, data, 100));
}

/* Calls that send nothing are not counted. */
TEST_F(zerocopy, only_what_was_sent)
{
	unsigned int low, high;
	char data[100];

	ASSERT_EQ(0, set_zerocopy(self->fd, 1));
	EXPECT_EQ(0, send(self->fd, data, 0, MSG_ZEROCOPY));
	EXPECT_EQ(-1, send(self->fd, (void *)1, 100, MSG_ZEROCOPY));
	EXPECT_EQ(EFAULT, errno);
	stream_fill(1, 0, data, sizeof(data));
	EXPECT_EQ(100, send(self->fd, data, 100, MSG_ZEROCOPY));
	EXPECT_STREQ("ok 100", peer_run(&self->peer, "recv 100 1"));
	ASSERT_TRUE(next_completion(self->fd, &low, &high));
	EXPECT_EQ(0, low);
	EXPECT_EQ(0, high);
}

struct failing {
	pthread_t thread;
	int fd;
	atomic_bool is_over;
};

static void *fail_on(void *arg)
{
	struct failing *f = arg;

	while (!f->is_over)
		if (send(f->fd, (void *)1, 100, MSG_ZEROCOPY) >= 0 || errno != EFAULT)
			return f;
	return NULL;
}

/* Nor are those of another thread, which fail beside calls that send. */
TEST_F(zerocopy, only_what_was_sent_beside_failures)
{
	struct failing f = { .fd = self->fd };
	unsigned int i, low, high;
	void *failed;
	char data[200];
	int on = 1;

	ASSERT_EQ(0, set_zerocopy(self->fd, 1));
	/* Each byte is sent at once. */
	ASSERT_EQ(0, setsockopt(self->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
	stream_fill(1, 0, data, sizeof(data));
	ASSERT_EQ(0, pthread_create(&f.thread, NULL, fail_on, &f));
	for (i = 0; i < sizeof(data); i++) {
		if (send(self->fd, data + i, 1, MSG_ZEROCOPY) != 1 ||
		    !next_completion(self->fd, &low, &high) || low != i || high != i)
			break;
	}
	f.is_over = true;
	pthread_join(f.thread, &failed);
	EXPECT_EQ(sizeof(data), i);
	EXPECT_EQ(NULL, failed);
	EXPECT_STREQ("ok 200", peer_run(&self->peer, "recv 200 1"));
}

TEST_F(zerocopy, not_asked_for)
{
	char data[100];

	stream_fill(1, 0, data, sizeof(data));
	EXPECT_EQ(100, send(self->fd, data, 100, MSG_ZEROCOPY));
	EXPECT_STREQ("ok 100", peer_run(&self->peer, "recv 100 1"));
	EXPECT_EQ(-1, recv(self->fd, data, 1, MSG_ERRQUEUE));
	EXPECT_EQ(EAGAIN, errno);
}

/* Unread notifications are freed with the socket. */
TEST_F(zerocopy, close_with_answers)
{
	char data[100];

	ASSERT_EQ(0, set_zerocopy(self->fd, 1));
	stream_fill(1, 0, data, sizeof(data));
	EXPECT_EQ(100, send(self->fd, data, 100, MSG_ZEROCOPY));
	EXPECT_STREQ("ok 100", peer_run(&self->peer, "recv 100 1"));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
	self->fd = new_socket(0);
}

static void queue_send(struct ring *r, int op, int fd, const void *data, size_t len,
		       struct msghdr *msg)
{
	struct io_uring_sqe *sqe = queue_op(r, op, fd, 2);

	sqe->ioprio = IORING_SEND_ZC_REPORT_USAGE;
	/* Sends everything, however long it takes. */
	sqe->msg_flags = MSG_WAITALL;
	if (msg) {
		sqe->addr = (unsigned long)msg;
		sqe->len = 1;
	} else {
		sqe->addr = (unsigned long)data;
		sqe->len = len;
	}
}

/* io_uring has a notification of its own for each request. */
TEST_F(zerocopy, by_io_uring)
{
	static const int ops[] = { IORING_OP_SEND_ZC, IORING_OP_SENDMSG_ZC };
	static const size_t sizes[] = { 1, 100, 20000 };
	static char data[20000];
	struct iovec iov = { .iov_base = data };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	unsigned int flags = 0, usage;
	__u64 sent = 0;
	char answer[32];
	struct ring r;
	size_t i, j;

	ASSERT_TRUE(ring_open(&r));
	for (i = 0; i < ARRAY_LEN(ops); i++) {
		for (j = 0; j < ARRAY_LEN(sizes); j++) {
			stream_fill(1, sent, data, sizes[j]);
			iov.iov_len = sizes[j];
			queue_send(&r, ops[i], self->fd, data, sizes[j], i ? &msg : NULL);
			ASSERT_TRUE(submit(&r));
			EXPECT_EQ(sizes[j], wait_result(&r, 2, &flags));
			ASSERT_TRUE(flags & IORING_CQE_F_MORE);
			snprintf(answer, sizeof(answer), "ok %zu", sizes[j]);
			EXPECT_STREQ(answer, peer_run(&self->peer, "recv %zu 1", sizes[j]));
			usage = wait_result(&r, 2, &flags);
			EXPECT_EQ(IORING_NOTIF_USAGE_ZC_COPIED, usage);
			EXPECT_EQ(IORING_CQE_F_NOTIF, flags);
			sent += sizes[j];
		}
	}
	close(r.fd);
}

XENSOCK_TEST_MAIN
