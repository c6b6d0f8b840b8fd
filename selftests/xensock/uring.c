// SPDX-License-Identifier: GPL-2.0
/* io_uring on sockets: its own ways to wait, to repeat and to cancel. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "uring.h"
#include "util.h"

FIXTURE(uring) {
	struct peer peer;
	struct ring r;
	int fd;
};

FIXTURE_SETUP(uring)
{
	ASSERT_TRUE(peer_open(&self->peer, 16384));
	ASSERT_TRUE(ring_open(&self->r));
	self->fd = peer_connect(&self->peer, 0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(uring)
{
	close(self->r.fd);
	close(self->fd);
	peer_close(&self->peer);
}

static struct io_uring_sqe *queue_connect(struct ring *r, int fd,
					  const struct sockaddr_in *sin)
{
	struct io_uring_sqe *sqe = queue_op(r, IORING_OP_CONNECT, fd, 1);

	sqe->addr = (unsigned long)sin;
	sqe->off = sizeof(*sin);
	return sqe;
}

static struct io_uring_sqe *queue_transfer(struct ring *r, int op, int fd,
					   void *data, unsigned int len)
{
	struct io_uring_sqe *sqe = queue_op(r, op, fd, 2);

	sqe->addr = (unsigned long)data;
	sqe->len = len;
	return sqe;
}

TEST_F(uring, connect_to_a_listener)
{
	struct sockaddr_in sin = address(opt.host, self->peer.port);
	int fd = new_socket(0);
	char data[8];

	queue_connect(&self->r, fd, &sin);
	ASSERT_TRUE(submit(&self->r));
	EXPECT_EQ(0, wait_result(&self->r, 1, NULL));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	stream_fill(1, 0, data, 8);
	queue_transfer(&self->r, IORING_OP_SEND, fd, data, 8);
	ASSERT_TRUE(submit(&self->r));
	EXPECT_EQ(8, wait_result(&self->r, 2, NULL));
	EXPECT_STREQ("ok 8", peer_run(&self->peer, "recv 8 1"));
	queue_op(&self->r, IORING_OP_CLOSE, fd, 3);
	ASSERT_TRUE(submit(&self->r));
	EXPECT_EQ(0, wait_result(&self->r, 3, NULL));
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
}

/* The request waits whether the socket is blocking or not. */
TEST_F(uring, connect_to_a_closed_port)
{
	struct sockaddr_in sin = address(opt.host, self->peer.port);
	int nonblock, fd;

	EXPECT_STREQ("ok", peer_run(&self->peer, "unlisten"));
	for (nonblock = 0; nonblock < 2; nonblock++) {
		fd = new_socket(nonblock ? SOCK_NONBLOCK : 0);
		queue_connect(&self->r, fd, &sin);
		ASSERT_TRUE(submit(&self->r));
		EXPECT_EQ(-ECONNREFUSED, wait_result(&self->r, 1, NULL));
		close(fd);
	}
}

TEST_F(uring, connect_to_a_black_hole_is_cancelled)
{
	struct sockaddr_in sin = address(opt.blackhole, 80);
	struct __kernel_timespec limit = { .tv_nsec = 50000000 };
	struct io_uring_sqe *sqe;
	int fd = new_socket(0);

	connect_for_long(fd);
	queue_connect(&self->r, fd, &sin);
	ASSERT_TRUE(submit(&self->r));
	sqe = queue_op(&self->r, IORING_OP_ASYNC_CANCEL, -1, 2);
	sqe->addr = 1;
	sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
	ASSERT_TRUE(submit(&self->r));
	EXPECT_EQ(-ECANCELED, wait_result(&self->r, 1, NULL));
	close(fd);

	fd = new_socket(0);
	connect_for_long(fd);
	sqe = queue_connect(&self->r, fd, &sin);
	sqe->flags = IOSQE_IO_LINK;
	sqe = queue_op(&self->r, IORING_OP_LINK_TIMEOUT, -1, 1);
	sqe->addr = (unsigned long)&limit;
	sqe->len = 1;
	ASSERT_TRUE(submit(&self->r));
	EXPECT_EQ(-ECANCELED + -ETIME, wait_result(&self->r, 1, NULL) +
				       wait_result(&self->r, 1, NULL));
	close(fd);
}

TEST_F(uring, accept_waits_and_gives_the_address)
{
	int fd, listener = open_listener(4, 0);
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct io_uring_sqe *sqe;
	char text[ADDRESS_TEXT];

	sqe = queue_op(&self->r, IORING_OP_ACCEPT, listener, 1);
	sqe->addr = (unsigned long)&ss;
	sqe->addr2 = (unsigned long)&len;
	sqe->accept_flags = SOCK_NONBLOCK;
	ASSERT_TRUE(submit(&self->r));
	EXPECT_TRUE(no_completion(&self->r));
	peer_run(&self->peer, "connect %u", local_port(listener));
	fd = wait_result(&self->r, 1, NULL);
	ASSERT_LE(0, fd);
	EXPECT_EQ(O_NONBLOCK, fcntl(fd, F_GETFL) & O_NONBLOCK);
	peer_run(&self->peer, "name");
	EXPECT_STREQ(self->peer.line + 3, address_text(&ss, text));
	close(fd);
	close(listener);
}

TEST_F(uring, multishot_accept)
{
	int i, fd, listener = open_listener(8, 0);
	struct io_uring_sqe *sqe;
	unsigned int flags = 0;

	sqe = queue_op(&self->r, IORING_OP_ACCEPT, listener, 1);
	sqe->ioprio = IORING_ACCEPT_MULTISHOT;
	ASSERT_TRUE(submit(&self->r));
	EXPECT_TRUE(no_completion(&self->r));
	EXPECT_STREQ("ok 6", peer_run(&self->peer, "open %u 6",
				      local_port(listener)));
	for (i = 0; i < 6; i++) {
		fd = wait_result(&self->r, 1, &flags);
		ASSERT_LE(0, fd);
		EXPECT_TRUE(flags & IORING_CQE_F_MORE);
		close(fd);
	}
	EXPECT_STREQ("fin 6 rst 0", peer_run(&self->peer, "ends"));
	/* Shutting down the listener ends the request. */
	EXPECT_EQ(0, shutdown(listener, SHUT_RD));
	EXPECT_EQ(-EINVAL, wait_result(&self->r, 1, &flags));
	EXPECT_FALSE(flags & IORING_CQE_F_MORE);
	close(listener);
}

/* Information that needs neither waiting nor another system call. */
TEST_F(uring, socket_commands)
{
	static const int ops[] = { OP_SIOCINQ, OP_SIOCOUTQ };
	struct io_uring_sqe *sqe;
	int i, wanted[] = { 100, 0 };

	EXPECT_STREQ("ok 100", peer_run(&self->peer, "send 100 1"));
	ASSERT_TRUE(wait_readable(self->fd, 100));
	for (i = 0; i < 2; i++) {
		sqe = queue_op(&self->r, IORING_OP_URING_CMD, self->fd, 1);
		sqe->cmd_op = ops[i];
		ASSERT_TRUE(submit(&self->r));
		EXPECT_EQ(wanted[i], wait_result(&self->r, 1, NULL));
	}
}

static int accept_one(struct ring *r, int listener, bool *is_last)
{
	unsigned int flags = 0;
	int fd;

	queue_op(r, IORING_OP_ACCEPT, listener, 1);
	fd = submit(r) ? wait_result(r, 1, &flags) : -1;
	*is_last = !(flags & IORING_CQE_F_SOCK_NONEMPTY);
	return fd;
}

/* The completion says if there is another connection, once both have arrived. */
TEST_F(uring, accept_tells_of_more)
{
	__u64 deadline = now_msec() + WAIT_LIMIT_MSEC;
	int fds[2], listener = open_listener(8, 0);
	bool is_last = true;
	int i;

	while (is_last && now_msec() < deadline) {
		peer_run(&self->peer, "closeall");
		EXPECT_STREQ("ok 2", peer_run(&self->peer, "open %u 2",
					      local_port(listener)));
		fds[0] = accept_one(&self->r, listener, &is_last);
		fds[1] = accept_one(&self->r, listener, &(bool){ 0 });
		for (i = 0; i < 2; i++) {
			ASSERT_LE(0, fds[i]);
			close(fds[i]);
		}
	}
	EXPECT_FALSE(is_last);
	peer_run(&self->peer, "closeall");
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "open %u 1", local_port(listener)));
	fds[0] = accept_one(&self->r, listener, &is_last);
	EXPECT_TRUE(is_last);
	close(fds[0]);
	close(listener);
}

/* Returns the number of bytes received, and whether there is more to read. */
static int recv_one(struct ring *r, int op, int fd, unsigned int len, bool *has_more)
{
	static char data[100];
	struct iovec iov = { data, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	unsigned int flags = 0;
	int n;

	if (op == IORING_OP_RECVMSG)
		queue_transfer(r, op, fd, &msg, 1);
	else
		queue_transfer(r, op, fd, data, len);
	n = submit(r) ? wait_result(r, 2, &flags) : -1;
	*has_more = flags & IORING_CQE_F_SOCK_NONEMPTY;
	return n;
}

/* The end of the stream is more to read, too. */
TEST_F(uring, recv_tells_of_more)
{
	static const int ops[] = { IORING_OP_RECV, IORING_OP_RECVMSG };
	bool has_more;
	size_t i;

	for (i = 0; i < ARRAY_LEN(ops); i++) {
		EXPECT_STREQ("ok 100", peer_run(&self->peer, "send 100 1"));
		ASSERT_TRUE(wait_readable(self->fd, 100));
		EXPECT_EQ(10, recv_one(&self->r, ops[i], self->fd, 10, &has_more));
		EXPECT_TRUE(has_more);
		EXPECT_EQ(90, recv_one(&self->r, ops[i], self->fd, 90, &has_more));
		EXPECT_FALSE(has_more);
	}
	EXPECT_STREQ("ok 100", peer_run(&self->peer, "send 100 1"));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
	EXPECT_EQ(100, recv_one(&self->r, IORING_OP_RECV, self->fd, 100, &has_more));
	EXPECT_TRUE(has_more);
	EXPECT_EQ(0, recv_one(&self->r, IORING_OP_RECV, self->fd, 100, &has_more));
	EXPECT_TRUE(has_more);
}

TEST_F(uring, recv_waits)
{
	static const int ops[] = { IORING_OP_RECV, IORING_OP_READ };
	char data[100];
	size_t i;

	for (i = 0; i < ARRAY_LEN(ops); i++) {
		queue_transfer(&self->r, ops[i], self->fd, data, 100);
		ASSERT_TRUE(submit(&self->r));
		EXPECT_TRUE(no_completion(&self->r));
		EXPECT_STREQ("ok 50", peer_run(&self->peer, "send 50 1"));
		EXPECT_EQ(50, wait_result(&self->r, 2, NULL));
		EXPECT_TRUE(stream_check(1, i * 50, data, 50));
	}
}

TEST_F(uring, recv_waits_for_all)
{
	char data[100];

	queue_transfer(&self->r, IORING_OP_RECV, self->fd, data, 100)->msg_flags =
		MSG_WAITALL;
	ASSERT_TRUE(submit(&self->r));
	EXPECT_STREQ("ok 60", peer_run(&self->peer, "send 60 1"));
	EXPECT_STREQ("ok 40", peer_run(&self->peer, "send 40 1"));
	EXPECT_EQ(100, wait_result(&self->r, 2, NULL));
	EXPECT_TRUE(stream_check(1, 0, data, 100));
}

TEST_F(uring, recv_and_the_end)
{
	static const char *const ends[] = { "fin", "rst" };
	char data[10];
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_LEN(ends); i++) {
		fd = peer_connect(&self->peer, 0);
		queue_transfer(&self->r, IORING_OP_RECV, fd, data, 10);
		ASSERT_TRUE(submit(&self->r));
		EXPECT_TRUE(no_completion(&self->r));
		EXPECT_STREQ("ok", peer_run(&self->peer, "%s", ends[i]));
		EXPECT_EQ(i ? -ECONNRESET : 0, wait_result(&self->r, 2, NULL));
		close(fd);
	}
}

TEST_F(uring, send_waits_for_room)
{
	static char data[8 << 20];

	stream_fill(1, 0, data, sizeof(data));
	queue_transfer(&self->r, IORING_OP_SEND, self->fd, data,
		       sizeof(data))->msg_flags = MSG_WAITALL;
	ASSERT_TRUE(submit(&self->r));
	EXPECT_TRUE(no_completion(&self->r));
	EXPECT_STREQ("ok 8388608", peer_run(&self->peer, "recv 8388608 1"));
	EXPECT_EQ(sizeof(data), wait_result(&self->r, 2, NULL));
}

/* Incoming data fills one buffer of a group after another. */
TEST_F(uring, multishot_recv)
{
	static char buffers[4][64];
	struct io_uring_sqe *sqe;
	unsigned int flags = 0;
	int i;

	sqe = queue_op(&self->r, IORING_OP_PROVIDE_BUFFERS, 4, 1);
	sqe->addr = (unsigned long)buffers;
	sqe->len = 64;
	sqe->buf_group = 7;
	ASSERT_TRUE(submit(&self->r));
	EXPECT_EQ(0, wait_result(&self->r, 1, NULL));
	sqe = queue_op(&self->r, IORING_OP_RECV, self->fd, 2);
	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->buf_group = 7;
	sqe->ioprio = IORING_RECV_MULTISHOT;
	ASSERT_TRUE(submit(&self->r));
	for (i = 0; i < 3; i++) {
		EXPECT_STREQ("ok 50", peer_run(&self->peer, "send 50 1"));
		EXPECT_EQ(50, wait_result(&self->r, 2, &flags));
		ASSERT_TRUE(flags & IORING_CQE_F_BUFFER);
		EXPECT_TRUE(flags & IORING_CQE_F_MORE);
		EXPECT_TRUE(stream_check(1, i * 50,
					 buffers[flags >> IORING_CQE_BUFFER_SHIFT],
					 50));
	}
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	EXPECT_EQ(0, wait_result(&self->r, 2, &flags));
	EXPECT_FALSE(flags & IORING_CQE_F_MORE);
}

TEST_F(uring, poll_of_a_connection)
{
	struct io_uring_sqe *sqe;
	unsigned int flags = 0;
	char data[10];

	sqe = queue_op(&self->r, IORING_OP_POLL_ADD, self->fd, 1);
	sqe->poll32_events = POLLIN | POLLRDHUP;
	ASSERT_TRUE(submit(&self->r));
	EXPECT_TRUE(no_completion(&self->r));
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	EXPECT_EQ(POLLIN, wait_result(&self->r, 1, NULL));
	EXPECT_EQ(10, recv(self->fd, data, 10, 0));
	sqe = queue_op(&self->r, IORING_OP_POLL_ADD, self->fd, 1);
	sqe->poll32_events = POLLIN | POLLRDHUP;
	sqe->len = IORING_POLL_ADD_MULTI;
	ASSERT_TRUE(submit(&self->r));
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	EXPECT_EQ(POLLIN, wait_result(&self->r, 1, &flags));
	EXPECT_TRUE(flags & IORING_CQE_F_MORE);
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	EXPECT_EQ(POLLIN | POLLRDHUP, wait_result(&self->r, 1, &flags));
}

TEST_F(uring, poll_of_a_listener)
{
	int listener = open_listener(4, SOCK_NONBLOCK), fd;
	struct io_uring_sqe *sqe;

	sqe = queue_op(&self->r, IORING_OP_POLL_ADD, listener, 1);
	sqe->poll32_events = POLLIN;
	ASSERT_TRUE(submit(&self->r));
	EXPECT_TRUE(no_completion(&self->r));
	peer_run(&self->peer, "connect %u", local_port(listener));
	EXPECT_EQ(POLLIN, wait_result(&self->r, 1, NULL));
	fd = accept(listener, NULL, NULL);
	EXPECT_LE(0, fd);
	close(fd);
	close(listener);
}

/* A complete server without any other system call. */
TEST_F(uring, socket_bind_listen_shutdown)
{
	struct sockaddr_in sin = address(opt.host, 0);
	struct io_uring_sqe *sqe;
	int fd;

	sqe = queue_op(&self->r, IORING_OP_SOCKET, opt.family, 1);
	sqe->off = SOCK_STREAM;
	ASSERT_TRUE(submit(&self->r));
	fd = wait_result(&self->r, 1, NULL);
	ASSERT_LE(0, fd);
	sqe = queue_op(&self->r, OP_BIND, fd, 2);
	sqe->addr = (unsigned long)&sin;
	sqe->off = sizeof(sin);
	ASSERT_TRUE(submit(&self->r));
	EXPECT_EQ(0, wait_result(&self->r, 2, NULL));
	queue_op(&self->r, OP_LISTEN, fd, 3)->len = 4;
	ASSERT_TRUE(submit(&self->r));
	EXPECT_EQ(0, wait_result(&self->r, 3, NULL));
	close(self->fd);
	self->fd = peer_accept(&self->peer, fd, 0);
	ASSERT_LE(0, self->fd);
	queue_op(&self->r, IORING_OP_SHUTDOWN, self->fd, 4)->len = SHUT_WR;
	ASSERT_TRUE(submit(&self->r));
	EXPECT_EQ(0, wait_result(&self->r, 4, NULL));
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
	close(fd);
}

XENSOCK_TEST_MAIN
