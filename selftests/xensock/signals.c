// SPDX-License-Identifier: GPL-2.0
/* A signal ends every wait, or the call is restarted, according to sigaction(). */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "kselftest_harness.h"
#include "util.h"

static atomic_int signals_seen;

static void on_signal(int sig)
{
	(void)sig;
	signals_seen++;
}

static void set_handler(int flags)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = flags };

	sigaction(SIGUSR1, &sa, NULL);
}

FIXTURE(signals) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(signals)
{
	ASSERT_TRUE(peer_open(&self->peer, 16384));
	self->fd = peer_connect(&self->peer, 0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(signals)
{
	close(self->fd);
	peer_close(&self->peer);
}

static char flood[8 << 20];

enum call { RECV, RECV_ALL, SEND, CONNECT };

struct caller {
	pthread_t thread;
	enum call call;
	int fd;
	atomic_int tid;
	ssize_t result;
	int error;
	char data[100];
};

static void *make_call(void *arg)
{
	struct caller *c = arg;

	c->tid = syscall(SYS_gettid);
	switch (c->call) {
	case RECV:
		c->result = recv(c->fd, c->data, 100, 0);
		break;
	case RECV_ALL:
		c->result = recv(c->fd, c->data, 100, MSG_WAITALL);
		break;
	case SEND:
		c->result = send(c->fd, flood, sizeof(flood), 0);
		break;
	case CONNECT:
		c->result = connect_to(c->fd, opt.blackhole, 80);
		break;
	}
	c->error = errno;
	return NULL;
}

static bool start_call(struct caller *c)
{
	signals_seen = 0;
	if (pthread_create(&c->thread, NULL, make_call, c))
		return false;
	while (!c->tid)
		sched_yield();
	return wait_asleep(c->tid);
}

/* Sends the signal and waits until it is handled. */
static void interrupt(struct caller *c)
{
	pthread_kill(c->thread, SIGUSR1);
	while (!signals_seen)
		sched_yield();
}

TEST_F(signals, recv_ends)
{
	struct caller c = { .call = RECV, .fd = self->fd };
	char data[10];

	set_handler(0);
	ASSERT_TRUE(start_call(&c));
	interrupt(&c);
	pthread_join(c.thread, NULL);
	EXPECT_EQ(-1, c.result);
	EXPECT_EQ(EINTR, c.error);
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	EXPECT_EQ(10, recv_all(self->fd, data, 10));
}

TEST_F(signals, recv_goes_on_with_sa_restart)
{
	struct caller c = { .call = RECV, .fd = self->fd };

	set_handler(SA_RESTART);
	ASSERT_TRUE(start_call(&c));
	interrupt(&c);
	ASSERT_TRUE(wait_asleep(c.tid));
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	pthread_join(c.thread, NULL);
	EXPECT_EQ(10, c.result);
}

/* A time limit cannot be restarted: such a call always ends. */
TEST_F(signals, recv_with_a_time_limit_ends)
{
	struct caller c = { .call = RECV, .fd = self->fd };

	set_handler(SA_RESTART);
	ASSERT_EQ(0, set_timeout(self->fd, SO_RCVTIMEO, 60000));
	ASSERT_TRUE(start_call(&c));
	interrupt(&c);
	pthread_join(c.thread, NULL);
	EXPECT_EQ(-1, c.result);
	EXPECT_EQ(EINTR, c.error);
}

/* A non-blocking call need not wait, so a signal does not affect it. */
TEST_F(signals, a_call_that_does_not_wait_goes_on)
{
	struct itimerval interval = { { 0, 500 }, { 0, 500 } }, disabled = { };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	int i, other = 0;
	char data[10];

	signals_seen = 0;
	sigaction(SIGALRM, &sa, NULL);
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &interval, NULL));
	for (i = 0; i < 200000 && signals_seen < 1000 && !other; i++) {
		EXPECT_EQ(-1, recv(self->fd, data, 10, MSG_DONTWAIT));
		if (errno != EAGAIN)
			other = errno;
	}
	setitimer(ITIMER_REAL, &disabled, NULL);
	EXPECT_EQ(0, other);
	EXPECT_LT(0, signals_seen);
}

TEST_F(signals, waitall_gives_what_it_has)
{
	struct caller c = { .call = RECV_ALL, .fd = self->fd };

	set_handler(SA_RESTART);
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	ASSERT_TRUE(wait_readable(self->fd, 10));
	ASSERT_TRUE(start_call(&c));
	interrupt(&c);
	pthread_join(c.thread, NULL);
	EXPECT_EQ(10, c.result);
	EXPECT_TRUE(stream_check(1, 0, c.data, 10));
}

TEST_F(signals, send_gives_what_it_has_sent)
{
	struct caller c = { .call = SEND, .fd = self->fd };

	set_handler(SA_RESTART);
	stream_fill(1, 0, flood, sizeof(flood));
	ASSERT_TRUE(start_call(&c));
	interrupt(&c);
	pthread_join(c.thread, NULL);
	EXPECT_LT(0, c.result);
	EXPECT_GT((ssize_t)sizeof(flood), c.result);
	EXPECT_EQ(0, close(self->fd));
	peer_run(&self->peer, "recv %zd 1", c.result);
	EXPECT_EQ(0, strncmp("ok", self->peer.line, 2))
		TH_LOG("of %zd: %s", c.result, self->peer.line);
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
	self->fd = new_socket(0);
}

TEST_F(signals, connect_ends_but_the_attempt_goes_on)
{
	struct caller c = { .call = CONNECT, .fd = new_socket(0) };

	ASSERT_LE(0, c.fd);
	connect_for_long(c.fd);
	set_handler(0);
	ASSERT_TRUE(start_call(&c));
	interrupt(&c);
	pthread_join(c.thread, NULL);
	EXPECT_EQ(-1, c.result);
	EXPECT_EQ(EINTR, c.error);
	EXPECT_EQ(0, poll_now(c.fd));
	set_nonblock(c.fd, true);
	EXPECT_EQ(-1, connect_to(c.fd, opt.blackhole, 80));
	EXPECT_EQ(EALREADY, errno);
	EXPECT_EQ(0, close(c.fd));
}

TEST_F(signals, connect_goes_on_with_sa_restart)
{
	struct caller c = { .call = CONNECT, .fd = new_socket(0) };
	int msec = 300;

	ASSERT_LE(0, c.fd);
	connect_for_long(c.fd);
	set_handler(SA_RESTART);
	ASSERT_TRUE(start_call(&c));
	interrupt(&c);
	EXPECT_TRUE(wait_asleep(c.tid));
	/* Only now: the machine may stand still for a while before. */
	ASSERT_EQ(0, setsockopt(c.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &msec,
				sizeof(msec)));
	pthread_join(c.thread, NULL);
	EXPECT_EQ(-1, c.result);
	EXPECT_EQ(ETIMEDOUT, c.error);
	close(c.fd);
}

/* A process can be killed in any of the waits, and leaves nothing behind. */
TEST_F(signals, kill_ends_every_wait)
{
	static const enum call calls[] = { RECV, SEND, CONNECT };
	int status;
	pid_t pid;
	size_t i;

	for (i = 0; i < ARRAY_LEN(calls); i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			struct caller c = { .call = calls[i], .fd = self->fd };

			if (c.call == CONNECT) {
				c.fd = new_socket(0);
				connect_for_long(c.fd);
			}
			make_call(&c);
			_exit(1);
		}
		EXPECT_TRUE(wait_asleep(pid));
		EXPECT_EQ(0, kill(pid, SIGKILL));
		EXPECT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
	}
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	EXPECT_TRUE(wait_readable(self->fd, 10));
}

XENSOCK_TEST_MAIN
