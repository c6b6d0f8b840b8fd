// SPDX-License-Identifier: GPL-2.0
/* The peer resets the connection: who is told what, in which order. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "kselftest_harness.h"
#include "util.h"

static atomic_int sigpipes;

static void on_sigpipe(int sig)
{
	(void)sig;
	sigpipes++;
}

FIXTURE(reset) {
	struct peer peer;
	int fd;
	int connections;
};

FIXTURE_SETUP(reset)
{
	ASSERT_TRUE(peer_open(&self->peer, 16384));
	self->fd = peer_connect(&self->peer, 0);
	ASSERT_LE(0, self->fd);
	signal(SIGPIPE, on_sigpipe);
}

FIXTURE_TEARDOWN(reset)
{
	close(self->fd);
	peer_close(&self->peer);
}

#define PEER_RESETS() do {						\
	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));		\
	ASSERT_TRUE(wait_poll(self->fd, POLLPRI, NULL));		\
} while (0)

TEST_F(reset, idle_then_recv)
{
	char c = 0;

	PEER_RESETS();
	EXPECT_EQ(-1, recv(self->fd, &c, 1, 0));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_EQ(0, recv(self->fd, &c, 1, 0));
	EXPECT_EQ(0, recv(self->fd, &c, 1, 0));
	EXPECT_EQ(-1, send(self->fd, &c, 1, 0));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(1, sigpipes);
}

TEST_F(reset, idle_then_send)
{
	char c = 0;

	PEER_RESETS();
	/* The error itself raises no signal. The EPIPE after it does. */
	EXPECT_EQ(-1, send(self->fd, &c, 1, 0));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_EQ(0, sigpipes);
	EXPECT_EQ(-1, send(self->fd, &c, 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(0, sigpipes);
	EXPECT_EQ(-1, send(self->fd, &c, 1, 0));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(1, sigpipes);
	EXPECT_EQ(0, recv(self->fd, &c, 1, 0));
}

TEST_F(reset, idle_then_so_error)
{
	char c = 0;

	PEER_RESETS();
	EXPECT_EQ(ECONNRESET, so_error(self->fd));
	EXPECT_EQ(0, so_error(self->fd));
	EXPECT_EQ(0, recv(self->fd, &c, 1, 0));
	EXPECT_EQ(-1, send(self->fd, &c, 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
}

TEST_F(reset, data_first_then_the_error)
{
	char data[100];

	EXPECT_STREQ("ok 100", peer_run(&self->peer, "send 100 1"));
	ASSERT_TRUE(wait_readable(self->fd, 100));
	PEER_RESETS();
	EXPECT_EQ(60, recv(self->fd, data, 60, 0));
	EXPECT_EQ(40, recv(self->fd, data + 60, 60, 0));
	EXPECT_TRUE(stream_check(1, 0, data, 100));
	EXPECT_EQ(-1, recv(self->fd, data, 60, 0));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_EQ(0, recv(self->fd, data, 60, 0));
}

TEST_F(reset, waitall_gives_the_data_first)
{
	char data[100];

	EXPECT_STREQ("ok 50", peer_run(&self->peer, "send 50 1"));
	ASSERT_TRUE(wait_readable(self->fd, 50));
	PEER_RESETS();
	EXPECT_EQ(50, recv(self->fd, data, 100, MSG_WAITALL));
	EXPECT_EQ(-1, recv(self->fd, data, 100, MSG_WAITALL));
	EXPECT_EQ(ECONNRESET, errno);
}

TEST_F(reset, after_the_end)
{
	char c = 0;

	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	EXPECT_EQ(0, recv(self->fd, &c, 1, 0));
	PEER_RESETS();
	EXPECT_EQ(0, recv(self->fd, &c, 1, 0));
	EXPECT_EQ(-1, send(self->fd, &c, 1, 0));
	EXPECT_EQ(EPIPE, errno);
}

/*
 * Reading waits a second for data that a backend has yet to pass on, and no longer. Makes another
 * connection if that may have happened since, which a busy machine cannot help.
 */
static bool connects_again(FIXTURE_DATA(reset) *self, __u64 began)
{
	if (!gave_up_since(began) || self->connections++ == 3)
		return false;
	close(self->fd);
	self->fd = peer_connect(&self->peer, 0);
	return self->fd >= 0;
}

/* The reset is there before the test looks, behind more data than a ring holds. */
TEST_F(reset, after_the_end_of_much)
{
	enum { BYTES = 48 << 10 };
	static char data[BYTES];
	ssize_t done;
	__u64 began;
	char c;

	do {
		EXPECT_STREQ("ok 49152", peer_run(&self->peer, "send 49152 1"));
		EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
		PEER_RESETS();
		began = now_msec();
		done = recv_all(self->fd, data, BYTES);
	} while (done < BYTES && connects_again(self, began));
	EXPECT_EQ(BYTES, done);
	EXPECT_TRUE(stream_check(1, 0, data, BYTES));
	EXPECT_EQ(0, recv(self->fd, &c, 1, 0));
	EXPECT_EQ(EPIPE, so_error(self->fd));
	EXPECT_EQ(0, recv(self->fd, &c, 1, 0));
}

/*
 * Behind more data than a ring holds: the error is there at once, and earlier
 * data can be read without waiting.
 */
TEST_F(reset, behind_much)
{
	enum { BYTES = 60000 };
	static char data[BYTES];
	ssize_t n, done;
	__u64 began;

	do {
		EXPECT_STREQ("ok 60000", peer_run(&self->peer, "send 60000 1"));
		PEER_RESETS();
		began = now_msec();
		done = 0;
		do {
			EXPECT_EQ(POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM | POLLERR |
				  POLLHUP | POLLRDHUP, poll_now(self->fd));
			n = recv(self->fd, data + done, 5000, MSG_DONTWAIT);
			done += n > 0 ? n : 0;
		} while (n > 0);
		EXPECT_EQ(-1, n);
		EXPECT_EQ(ECONNRESET, errno);
	} while (done < 32768 && connects_again(self, began));
	/* Data that had no room is lost with the reset. */
	EXPECT_LE(32768, done);
	EXPECT_TRUE(stream_check(1, 0, data, done));
	EXPECT_EQ(0, recv(self->fd, data, 1, MSG_DONTWAIT));
	EXPECT_EQ(0, poll_now(self->fd) & POLLERR);
}

/* FIONREAD counts earlier data, as long as there are some. */
TEST_F(reset, behind_much_that_is_counted)
{
	enum { BYTES = 60000 };
	static char data[BYTES];
	ssize_t done;
	__u64 began;
	int unread;

	do {
		EXPECT_STREQ("ok 60000", peer_run(&self->peer, "send 60000 1"));
		PEER_RESETS();
		began = now_msec();
		for (done = 0; !ioctl(self->fd, FIONREAD, &unread) && unread > 0; done += unread)
			ASSERT_EQ(unread, recv(self->fd, data + done, unread, MSG_DONTWAIT));
	} while (done < 32768 && connects_again(self, began));
	EXPECT_LE(32768, done);
	EXPECT_TRUE(stream_check(1, 0, data, done));
	EXPECT_EQ(ECONNRESET, so_error(self->fd));
}

/* SO_ERROR returns the error. Afterwards there are the data and the end. */
TEST_F(reset, behind_much_and_asked_for)
{
	enum { BYTES = 60000 };
	static char data[BYTES];
	ssize_t n, done;
	__u64 began;

	do {
		EXPECT_STREQ("ok 60000", peer_run(&self->peer, "send 60000 1"));
		PEER_RESETS();
		EXPECT_EQ(ECONNRESET, so_error(self->fd));
		EXPECT_EQ(0, so_error(self->fd));
		began = now_msec();
		done = 0;
		while ((n = recv(self->fd, data + done, 5000, MSG_DONTWAIT)) > 0)
			done += n;
		EXPECT_EQ(0, n);
	} while (done < 32768 && connects_again(self, began));
	EXPECT_LE(32768, done);
	EXPECT_EQ(-1, send(self->fd, data, 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
}

/* The peer is closed: sending to it brings the reset. */
TEST_F(reset, sending_to_one_who_closed)
{
	char c = 0;

	EXPECT_STREQ("ok", peer_run(&self->peer, "close"));
	EXPECT_EQ(0, recv(self->fd, &c, 1, 0));
	EXPECT_EQ(1, send(self->fd, &c, 1, 0));
	ASSERT_TRUE(wait_poll(self->fd, POLLPRI, NULL));
	EXPECT_EQ(-1, send(self->fd, &c, 1, 0));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(1, sigpipes);
	EXPECT_EQ(0, recv(self->fd, &c, 1, 0));
}

TEST_F(reset, with_our_data_unread)
{
	char c = 0;

	EXPECT_LT(0, fill_socket(self->fd, 1, 30000));
	/* The peer closes with unread data, which causes a reset too. */
	EXPECT_STREQ("ok", peer_run(&self->peer, "close"));
	ASSERT_TRUE(wait_poll(self->fd, POLLPRI, NULL));
	EXPECT_EQ(-1, recv(self->fd, &c, 1, 0));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_EQ(-1, send(self->fd, &c, 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
}

TEST(at_once_after_accept)
{
	char c;
	int i, fd;

	for (i = 0; i < rounds(50); i++) {
		fd = connect_port(opt.port + PEER_RESET, 0);
		if (fd < 0) {
			ASSERT_EQ(ECONNRESET, errno);
			continue;
		}
		EXPECT_EQ(-1, recv(fd, &c, 1, 0));
		EXPECT_EQ(ECONNRESET, errno);
		close(fd);
	}
}

struct sleeper {
	pthread_t thread;
	int fd;
	atomic_int tid;
	ssize_t result;
	int error;
};

static void *sleep_in_recv(void *arg)
{
	struct sleeper *s = arg;
	char c;

	s->tid = syscall(SYS_gettid);
	s->result = recv(s->fd, &c, 1, 0);
	s->error = errno;
	return NULL;
}

static void *sleep_in_send(void *arg)
{
	struct sleeper *s = arg;
	static char data[8 << 20];

	/* More than all buffers hold. The first call may end with a count. */
	s->tid = syscall(SYS_gettid);
	do {
		s->result = send(s->fd, data, sizeof(data), 0);
	} while (s->result > 0);
	s->error = errno;
	return NULL;
}

static bool sleep_in(struct sleeper *s, void *(*how)(void *))
{
	if (pthread_create(&s->thread, NULL, how, s))
		return false;
	while (!s->tid)
		sched_yield();
	return wait_asleep(s->tid);
}

TEST_F(reset, wakes_a_receiver)
{
	struct sleeper s = { .fd = self->fd };

	ASSERT_TRUE(sleep_in(&s, sleep_in_recv));
	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));
	pthread_join(s.thread, NULL);
	EXPECT_EQ(-1, s.result);
	EXPECT_EQ(ECONNRESET, s.error);
}

/* The error of the socket is for whoever uses it next. */
TEST_F(reset, unspec_wakes_a_receiver)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	struct sleeper s = { .fd = self->fd };

	ASSERT_TRUE(sleep_in(&s, sleep_in_recv));
	EXPECT_EQ(0, connect(self->fd, &unspec, sizeof(unspec)));
	pthread_join(s.thread, NULL);
	EXPECT_EQ(-1, s.result);
	EXPECT_EQ(EPIPE, s.error);
	EXPECT_EQ(ECONNRESET, so_error(self->fd));
}

/* Has a thread receive from a socket that has no connection yet, and gets none. */
static bool sleep_in_attempt(struct sleeper *s)
{
	s->fd = new_socket(SOCK_NONBLOCK);
	if (s->fd < 0)
		return false;
	connect_for_long(s->fd);
	if (connect_to(s->fd, opt.blackhole, 80) != -1 || errno != EINPROGRESS)
		return false;
	set_nonblock(s->fd, false);
	return sleep_in(s, sleep_in_recv);
}

/* The same for one that waits for the connection. */
TEST_F(reset, unspec_wakes_a_receiver_without_a_connection)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	struct sleeper s = {};

	ASSERT_TRUE(sleep_in_attempt(&s));
	EXPECT_EQ(0, connect(s.fd, &unspec, sizeof(unspec)));
	pthread_join(s.thread, NULL);
	EXPECT_EQ(-1, s.result);
	EXPECT_EQ(EPIPE, s.error);
	EXPECT_EQ(ECONNRESET, so_error(s.fd));
	close(s.fd);
}

/* shutdown() ends the attempt, but does not disconnect: the receiver gets its error. */
TEST_F(reset, shutdown_wakes_a_receiver_without_a_connection)
{
	struct sleeper s = {};

	ASSERT_TRUE(sleep_in_attempt(&s));
	EXPECT_EQ(0, shutdown(s.fd, SHUT_RDWR));
	pthread_join(s.thread, NULL);
	EXPECT_EQ(-1, s.result);
	EXPECT_EQ(ECONNRESET, s.error);
	EXPECT_EQ(0, so_error(s.fd));
	close(s.fd);
}

TEST_F(reset, wakes_a_sender)
{
	struct sleeper s = { .fd = self->fd };

	EXPECT_LT(0, fill_socket(self->fd, 1, 30000));
	ASSERT_TRUE(sleep_in(&s, sleep_in_send));
	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));
	pthread_join(s.thread, NULL);
	EXPECT_EQ(-1, s.result);
	EXPECT_EQ(ECONNRESET, s.error);
	EXPECT_EQ(0, sigpipes);
}

XENSOCK_TEST_MAIN
