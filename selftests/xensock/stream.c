// SPDX-License-Identifier: GPL-2.0
/* send and recv: vectors of buffers, blocking, time limits, bad memory. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "kselftest_harness.h"
#include "util.h"

FIXTURE(stream) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(stream)
{
	ASSERT_TRUE(peer_open(&self->peer, 16384));
	self->fd = peer_connect(&self->peer, 0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(stream)
{
	close(self->fd);
	peer_close(&self->peer);
}

static atomic_int sigpipes;

static void on_sigpipe(int sig)
{
	(void)sig;
	sigpipes++;
}

TEST(before_connect)
{
	int fd = new_socket(0);
	char c = 0;

	ASSERT_LE(0, fd);
	signal(SIGPIPE, on_sigpipe);
	EXPECT_EQ(-1, recv(fd, &c, 1, 0));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(-1, send(fd, &c, 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(0, sigpipes);
	EXPECT_EQ(-1, send(fd, &c, 1, 0));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(1, sigpipes);
	close(fd);
}

/* Lengths of the pieces. 0 is an empty piece, -1 ends the list. */
static const int shapes[][12] = {
	{ 1, -1 },
	{ 0, 1, 0, 0, 7, 0, -1 },
	{ 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1 },
	{ 4096, 4096, -1 },
	{ 4095, 2, 4095, -1 },
	{ 1, 8192, 3, 5000, 0, 17, -1 },
	{ 30000, 1, 2000, -1 },
};

static size_t make_shape(const int *shape, struct iovec *iov, char *data,
			 int *pieces)
{
	size_t len = 0;

	for (*pieces = 0; shape[*pieces] >= 0; (*pieces)++) {
		iov[*pieces].iov_base = data + len;
		iov[*pieces].iov_len = shape[*pieces];
		len += shape[*pieces];
	}
	return len;
}

TEST_F(stream, iovecs_of_any_shape)
{
	__u64 sent = 0, received = 0;
	struct msghdr msg = { 0 };
	struct iovec iov[12];
	char data[40000];
	size_t i, len;
	int pieces;

	for (i = 0; i < ARRAY_LEN(shapes); i++) {
		len = make_shape(shapes[i], iov, data, &pieces);
		stream_fill(1, sent, data, len);
		msg.msg_iov = iov;
		msg.msg_iovlen = pieces;
		ASSERT_EQ(len, sendmsg(self->fd, &msg, 0));
		sent += len;
		ASSERT_STRNE("", peer_run(&self->peer, "recv %zu 1", len));
		ASSERT_EQ(0, strncmp("ok", self->peer.line, 2))
			TH_LOG("shape %zu: %s", i, self->peer.line);

		peer_run(&self->peer, "send %zu 2", len);
		ASSERT_TRUE(wait_readable(self->fd, len));
		memset(data, 0, sizeof(data));
		msg.msg_flags = -1;
		ASSERT_EQ(len, recvmsg(self->fd, &msg, 0));
		EXPECT_EQ(0, msg.msg_flags);
		EXPECT_TRUE(stream_check(2, received, data, len))
			TH_LOG("shape %zu", i);
		received += len;
	}
}

TEST_F(stream, a_thousand_pieces_and_one_too_many)
{
	static struct iovec iov[UIO_MAXIOV + 1];
	static char data[UIO_MAXIOV + 1];
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = UIO_MAXIOV };
	int i;

	for (i = 0; i <= UIO_MAXIOV; i++) {
		iov[i].iov_base = &data[i];
		iov[i].iov_len = 1;
	}
	stream_fill(1, 0, data, UIO_MAXIOV);
	EXPECT_EQ(UIO_MAXIOV, sendmsg(self->fd, &msg, 0));
	EXPECT_STREQ("ok 1024", peer_run(&self->peer, "recv 1024 1"));
	msg.msg_iovlen = UIO_MAXIOV + 1;
	EXPECT_EQ(-1, sendmsg(self->fd, &msg, 0));
	EXPECT_EQ(EMSGSIZE, errno);
	EXPECT_EQ(-1, recvmsg(self->fd, &msg, 0));
	EXPECT_EQ(EMSGSIZE, errno);
}

TEST_F(stream, nothing_to_send_and_no_room_to_receive)
{
	struct msghdr none = { 0 };
	char c;

	EXPECT_EQ(0, send(self->fd, &c, 0, 0));
	EXPECT_EQ(0, sendmsg(self->fd, &none, 0));
	EXPECT_EQ(0, write(self->fd, &c, 0));
	EXPECT_EQ(0, read(self->fd, &c, 0));
	EXPECT_EQ(-1, recv(self->fd, &c, 0, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_STREQ("ok 3", peer_run(&self->peer, "send 3 1"));
	ASSERT_TRUE(wait_readable(self->fd, 3));
	EXPECT_EQ(0, recv(self->fd, &c, 0, 0));
	EXPECT_TRUE(wait_readable(self->fd, 3));
}

TEST_F(stream, no_addresses_no_control_data)
{
	struct sockaddr_in sin = address(opt.host, 1);
	char control[64], data[4] = { 0 };
	struct iovec iov = { .iov_base = data, .iov_len = sizeof(data) };
	struct msghdr msg = {
		.msg_name = &sin,
		.msg_namelen = sizeof(sin),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	socklen_t len = sizeof(sin);

	/* The address is ignored, since the socket is connected. */
	stream_fill(1, 0, data, 4);
	EXPECT_EQ(4, sendto(self->fd, data, 4, 0, (void *)&sin, sizeof(sin)));
	EXPECT_STREQ("ok 4", peer_run(&self->peer, "recv 4 1"));
	EXPECT_STREQ("ok 8", peer_run(&self->peer, "send 8 2"));
	EXPECT_EQ(4, recv_all(self->fd, data, 4));
	EXPECT_EQ(4, recvmsg(self->fd, &msg, 0));
	EXPECT_EQ(0, msg.msg_namelen);
	EXPECT_EQ(0, msg.msg_controllen);
	EXPECT_STREQ("ok 4", peer_run(&self->peer, "send 4 2"));
	EXPECT_EQ(4, recvfrom(self->fd, data, 4, MSG_WAITALL, (void *)&sin,
			      &len));
	EXPECT_EQ(0, len);
}

TEST_F(stream, many_messages_a_call)
{
	struct iovec iov[3];
	struct mmsghdr msgs[3];
	char data[3000];
	int i;

	memset(msgs, 0, sizeof(msgs));
	for (i = 0; i < 3; i++) {
		iov[i].iov_base = data + 1000 * i;
		iov[i].iov_len = 1000;
		msgs[i].msg_hdr.msg_iov = &iov[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	stream_fill(1, 0, data, sizeof(data));
	EXPECT_EQ(3, sendmmsg(self->fd, msgs, 3, 0));
	EXPECT_STREQ("ok 3000", peer_run(&self->peer, "recv 3000 1"));
	EXPECT_STREQ("ok 2500", peer_run(&self->peer, "send 2500 2"));
	ASSERT_TRUE(wait_readable(self->fd, 2500));
	EXPECT_EQ(3, recvmmsg(self->fd, msgs, 3, MSG_DONTWAIT, NULL));
	EXPECT_EQ(500, msgs[2].msg_len);
	EXPECT_TRUE(stream_check(2, 0, data, 2500));
}

TEST_F(stream, three_ways_not_to_block)
{
	int on = 1, off = 0;
	char c;

	EXPECT_EQ(-1, recv(self->fd, &c, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	set_nonblock(self->fd, true);
	EXPECT_EQ(-1, recv(self->fd, &c, 1, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, ioctl(self->fd, FIONBIO, &off));
	EXPECT_EQ(0, ioctl(self->fd, FIONBIO, &on));
	EXPECT_EQ(-1, read(self->fd, &c, 1));
	EXPECT_EQ(EAGAIN, errno);
}

TEST_F(stream, full_then_drained_loses_nothing)
{
	__u64 sent;

	set_nonblock(self->fd, true);
	sent = fill_socket(self->fd, 1, 10007);
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_LT(0, sent);
	EXPECT_EQ(0, poll_now(self->fd));
	peer_send(&self->peer, "recv %llu 1", sent);
	EXPECT_TRUE(wait_poll(self->fd, POLLOUT, NULL));
	EXPECT_EQ(0, strncmp("ok", peer_answer(&self->peer), 2))
		TH_LOG("of %llu: %s", sent,
		       self->peer.line);
	/* The peer has received exactly what was counted as sent. */
	EXPECT_EQ(0, close(self->fd));
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
	self->fd = new_socket(0);
}

TEST_F(stream, blocking_send_waits_for_the_reader)
{
	static char data[8 << 20];

	stream_fill(1, 0, data, sizeof(data));
	peer_send(&self->peer, "recv %zu 1", sizeof(data));
	EXPECT_EQ(sizeof(data), send(self->fd, data, sizeof(data), 0));
	EXPECT_STREQ("ok 8388608", peer_answer(&self->peer));
}

TEST_F(stream, rcvtimeo)
{
	__u64 began;
	char data[8];

	ASSERT_EQ(0, set_timeout(self->fd, SO_RCVTIMEO, 200));
	began = now_msec();
	EXPECT_EQ(-1, recv(self->fd, data, 1, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_LE(AT_LEAST_OF(200), now_msec() - began);
	EXPECT_STREQ("ok 3", peer_run(&self->peer, "send 3 1"));
	ASSERT_TRUE(wait_readable(self->fd, 3));
	EXPECT_EQ(3, recv(self->fd, data, 8, MSG_WAITALL));
}

/* Busy polling needs no event. Sleeping or poll() afterwards does. */
TEST_F(stream, busy_polling)
{
	int i, usec = 20000;
	char data[8];

	ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_BUSY_POLL, &usec, sizeof(usec)));
	for (i = 0; i < 20; i++) {
		peer_send(&self->peer, "send 3 1");
		ASSERT_EQ(3, recv(self->fd, data, 3, MSG_WAITALL));
		EXPECT_TRUE(stream_check(1, 3 * i, data, 3));
		EXPECT_STREQ("ok 3", peer_answer(&self->peer));
	}
	EXPECT_EQ(0, poll_now(self->fd) & POLLIN);
	peer_send(&self->peer, "send 3 1");
	EXPECT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	EXPECT_EQ(3, recv(self->fd, data, 8, 0));
	EXPECT_STREQ("ok 3", peer_answer(&self->peer));
	ASSERT_EQ(0, set_timeout(self->fd, SO_RCVTIMEO, 200));
	EXPECT_EQ(-1, recv(self->fd, data, 1, 0));
	EXPECT_EQ(EAGAIN, errno);
	ASSERT_EQ(0, set_timeout(self->fd, SO_RCVTIMEO, 0));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	EXPECT_EQ(0, recv(self->fd, data, 1, 0));
}

/*
 * Blocking calls fill the buffers until one times out. The peer finds exactly
 * what they returned.
 */
TEST_F(stream, sndtimeo)
{
	static char data[100000];
	__u64 began, sent;
	ssize_t n;

	ASSERT_EQ(0, set_timeout(self->fd, SO_SNDTIMEO, 300));
	sent = fill_socket(self->fd, 1, 10007);
	do {
		stream_fill(1, sent, data, sizeof(data));
		began = now_msec();
		n = send(self->fd, data, sizeof(data), 0);
		sent += n > 0 ? n : 0;
	} while (n > 0);
	EXPECT_EQ(-1, n);
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_LE(AT_LEAST_OF(300), now_msec() - began);
	EXPECT_EQ(0, close(self->fd));
	peer_run(&self->peer, "recv %llu 1", sent);
	EXPECT_EQ(0, strncmp("ok", self->peer.line, 2))
		TH_LOG("of %llu: %s", sent,
		       self->peer.line);
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
	self->fd = new_socket(0);
}

/* Small pieces until not one byte fits. All of them arrive, and then there is room again. */
TEST_F(stream, little_pieces_until_all_is_full)
{
	__u64 sent = fill_socket(self->fd, 1, 20);
	char data[100];

	peer_run(&self->peer, "recv %llu 1", sent);
	EXPECT_EQ(0, strncmp("ok", self->peer.line, 2))
		TH_LOG("of %llu: %s", sent, self->peer.line);
	EXPECT_TRUE(wait_poll(self->fd, POLLOUT, NULL));
	stream_fill(1, sent, data, 100);
	EXPECT_EQ(100, send(self->fd, data, 100, 0));
	EXPECT_STREQ("ok 100", peer_run(&self->peer, "recv 100 1"));
}

/* Data from and to a file, without a buffer of the program. */
TEST_F(stream, sendfile_and_splice)
{
	int file = memfd_create("data", 0), pipes[2];
	char data[20000];
	size_t done = 0;
	ssize_t n;

	ASSERT_LE(0, file);
	stream_fill(1, 0, data, sizeof(data));
	ASSERT_EQ(20000, write(file, data, sizeof(data)));
	EXPECT_EQ(20000, sendfile(self->fd, file, &(off_t){ 0 }, 20000));
	EXPECT_STREQ("ok 20000", peer_run(&self->peer, "recv 20000 1"));

	ASSERT_EQ(0, pipe(pipes));
	EXPECT_STREQ("ok 20000", peer_run(&self->peer, "send 20000 2"));
	while (done < sizeof(data)) {
		n = splice(self->fd, NULL, pipes[1], NULL, 20000 - done, 0);
		ASSERT_LT(0, n);
		ASSERT_EQ(n, read(pipes[0], data, n));
		EXPECT_TRUE(stream_check(2, done, data, n));
		done += n;
	}
	close(pipes[0]);
	close(pipes[1]);
	close(file);
}

/* splice() needs no more calls for a stream than recv(). */
TEST_F(stream, splice_takes_as_much_as_recv)
{
	char data[3000];
	int i, pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	for (i = 0; i < 20; i++) {
		EXPECT_STREQ("ok 3000", peer_run(&self->peer, "send 3000 1"));
		ASSERT_TRUE(wait_readable(self->fd, 3000));
		if (i % 2) {
			ASSERT_EQ(3000, recv(self->fd, data, 3000, 0));
		} else {
			ASSERT_EQ(3000, splice(self->fd, NULL, pipes[1], NULL, 1 << 20, 0));
			ASSERT_EQ(3000, read(pipes[0], data, 3000));
		}
		EXPECT_TRUE(stream_check(1, 3000 * i, data, 3000));
	}
	close(pipes[0]);
	close(pipes[1]);
}

/* splice() returns what is there, however much it asks for, and wherever the stream ends. */
TEST_F(stream, splice_takes_what_there_is)
{
	static const char *const ends[] = { "fin", "rst" };
	char data[100];
	size_t i;
	int pipes[2];

	ASSERT_EQ(0, pipe2(pipes, O_NONBLOCK));
	EXPECT_LE(1 << 20, fcntl(pipes[1], F_SETPIPE_SZ, 1 << 20));
	for (i = 0; i < ARRAY_LEN(ends); i++) {
		set_nonblock(self->fd, true);
		EXPECT_EQ(-1, splice(self->fd, NULL, pipes[1], NULL, 1 << 20, 0));
		EXPECT_EQ(EAGAIN, errno);
		set_nonblock(self->fd, false);
		ASSERT_EQ(0, set_timeout(self->fd, SO_RCVTIMEO, 50));
		EXPECT_EQ(-1, splice(self->fd, NULL, pipes[1], NULL, 1 << 20, 0));
		EXPECT_EQ(EAGAIN, errno);
		EXPECT_STREQ("ok 100", peer_run(&self->peer, "send 100 1"));
		ASSERT_TRUE(wait_readable(self->fd, 100));
		EXPECT_EQ(60, splice(self->fd, NULL, pipes[1], NULL, 60, 0));
		EXPECT_EQ(40, splice(self->fd, NULL, pipes[1], NULL, 1 << 20, 0));
		EXPECT_EQ(100, read(pipes[0], data, sizeof(data)));
		EXPECT_TRUE(stream_check(1, 0, data, 100));
		EXPECT_STREQ("ok", peer_run(&self->peer, ends[i]));
		ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
		EXPECT_EQ(i ? -1 : 0, splice(self->fd, NULL, pipes[1], NULL, 1 << 20, 0));
		if (i)
			EXPECT_EQ(ECONNRESET, errno);
		close(self->fd);
		self->fd = peer_connect(&self->peer, 0);
	}
	close(pipes[0]);
	close(pipes[1]);
}

/* Returns a page that no mapped page follows. */
static char *last_page(void)
{
	char *two = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(two + 4096, 4096);
	return two;
}

TEST_F(stream, bad_memory_to_receive_into)
{
	char *page = last_page(), data[10000];
	ssize_t n;

	EXPECT_STREQ("ok 10000", peer_run(&self->peer, "send 10000 1"));
	ASSERT_TRUE(wait_readable(self->fd, 10000));
	EXPECT_EQ(-1, recv(self->fd, (void *)1, 100, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, recv(self->fd, page + 4096, 100, MSG_PEEK));
	EXPECT_EQ(EFAULT, errno);
	/*
	 * The first half of the buffer is valid: the call returns a part, or
	 * fails and takes nothing.
	 */
	n = recv(self->fd, page + 4096 - 50, 100, 0);
	if (n < 0) {
		EXPECT_EQ(EFAULT, errno);
		n = 0;
	}
	EXPECT_GE(50, n);
	EXPECT_TRUE(stream_check(1, 0, page + 4096 - 50, n));
	EXPECT_EQ(10000 - n, recv(self->fd, data, sizeof(data), 0));
	EXPECT_TRUE(stream_check(1, n, data, 10000 - n));
}

TEST_F(stream, bad_memory_to_send_from)
{
	char *page = last_page();
	ssize_t n;

	EXPECT_EQ(-1, send(self->fd, (void *)1, 100, 0));
	EXPECT_EQ(EFAULT, errno);
	stream_fill(1, 0, page + 4096 - 50, 50);
	n = send(self->fd, page + 4096 - 50, 100, 0);
	if (n < 0) {
		EXPECT_EQ(EFAULT, errno);
		n = 0;
	}
	EXPECT_GE(50, n);
	stream_fill(1, n, page, 100);
	EXPECT_EQ(100, send(self->fd, page, 100, 0));
	close(self->fd);
	peer_run(&self->peer, "recv %zd 1", n + 100);
	EXPECT_EQ(0, strncmp("ok", self->peer.line, 2))
		TH_LOG("%s", self->peer.line);
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
	self->fd = new_socket(0);
}

XENSOCK_TEST_MAIN
