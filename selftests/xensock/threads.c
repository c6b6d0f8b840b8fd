// SPDX-License-Identifier: GPL-2.0
/* Several threads on one socket: no call waits for another. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "kselftest_harness.h"
#include "util.h"

FIXTURE(threads) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(threads)
{
	ASSERT_TRUE(peer_open(&self->peer, 16384));
	self->fd = peer_connect(&self->peer, 0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(threads)
{
	close(self->fd);
	peer_close(&self->peer);
}

/* A thread that is in one blocking call, or has returned from it. */
struct caller {
	pthread_t thread;
	int fd;
	bool sends;
	atomic_int tid;
	ssize_t result;
	char data[16];
};

static char flood[8 << 20];

static void *call_thread(void *arg)
{
	struct caller *c = arg;

	c->tid = syscall(SYS_gettid);
	if (c->sends)
		c->result = send(c->fd, flood, sizeof(flood), MSG_NOSIGNAL);
	else
		c->result = recv(c->fd, c->data, sizeof(c->data), 0);
	return NULL;
}

static bool start_call(struct caller *c)
{
	if (pthread_create(&c->thread, NULL, call_thread, c))
		return false;
	while (!c->tid)
		sched_yield();
	return wait_asleep(c->tid);
}

TEST_F(threads, sleeping_receiver_lets_all_else_go_on)
{
	struct caller c = { .fd = self->fd };
	char data[100];

	ASSERT_TRUE(start_call(&c));
	stream_fill(1, 0, data, 100);
	EXPECT_EQ(100, send(self->fd, data, 100, 0));
	EXPECT_STREQ("ok 100", peer_run(&self->peer, "recv 100 1"));
	EXPECT_EQ(POLLOUT | POLLWRNORM, poll_now(self->fd));
	EXPECT_EQ(-1, recv(self->fd, data, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, so_error(self->fd));
	EXPECT_EQ(-1, connect_to(self->fd, opt.host, 1));
	EXPECT_EQ(EISCONN, errno);
	EXPECT_STREQ("ok 16", peer_run(&self->peer, "send 16 2"));
	pthread_join(c.thread, NULL);
	EXPECT_EQ(16, c.result);
	EXPECT_TRUE(stream_check(2, 0, c.data, 16));
}

TEST_F(threads, sleeping_sender_lets_all_else_go_on)
{
	struct caller c = { .fd = self->fd, .sends = true };
	char data[100];

	stream_fill(1, 0, flood, sizeof(flood));
	ASSERT_TRUE(start_call(&c));
	EXPECT_STREQ("ok 100", peer_run(&self->peer, "send 100 2"));
	EXPECT_EQ(100, recv_all(self->fd, data, 100));
	EXPECT_TRUE(stream_check(2, 0, data, 100));
	EXPECT_EQ(0, so_error(self->fd));
	EXPECT_STREQ("ok 8388608", peer_run(&self->peer, "recv 8388608 1"));
	pthread_join(c.thread, NULL);
	EXPECT_EQ(sizeof(flood), c.result);
}

/* The call keeps the socket open. The descriptor is free at once. */
TEST_F(threads, close_does_not_wait_for_a_receiver)
{
	struct caller c = { .fd = self->fd };

	ASSERT_TRUE(start_call(&c));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(-1, send(self->fd, "", 1, MSG_NOSIGNAL));
	EXPECT_EQ(EBADF, errno);
	EXPECT_STREQ("ok 16", peer_run(&self->peer, "send 16 2"));
	pthread_join(c.thread, NULL);
	EXPECT_EQ(16, c.result);
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
	self->fd = new_socket(0);
}

TEST_F(threads, both_directions_asleep_at_once)
{
	struct caller in = { .fd = self->fd };
	struct caller out = { .fd = self->fd, .sends = true };

	stream_fill(1, 0, flood, sizeof(flood));
	ASSERT_TRUE(start_call(&in));
	ASSERT_TRUE(start_call(&out));
	EXPECT_STREQ("ok 8388608", peer_run(&self->peer, "recv 8388608 1"));
	pthread_join(out.thread, NULL);
	EXPECT_EQ(sizeof(flood), out.result);
	EXPECT_STREQ("ok 16", peer_run(&self->peer, "send 16 2"));
	pthread_join(in.thread, NULL);
	EXPECT_EQ(16, in.result);
}

TEST_F(threads, one_piece_of_data_wakes_one_of_two)
{
	struct caller a = { .fd = self->fd }, b = { .fd = self->fd };

	ASSERT_TRUE(start_call(&a));
	ASSERT_TRUE(start_call(&b));
	EXPECT_STREQ("ok 16", peer_run(&self->peer, "send 16 1"));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	pthread_join(a.thread, NULL);
	pthread_join(b.thread, NULL);
	EXPECT_EQ(16, a.result + b.result);
}

/*
 * Four writers, each with a byte value of its own, and four readers on one
 * echoed socket: every byte comes back as often as it was sent, in any order.
 */
#define WORKERS 4
#define SHARE 200000

struct worker {
	pthread_t thread;
	int fd;
	unsigned char byte;
	unsigned long seen[WORKERS];
};

static unsigned long left_to_read;

static void *write_share(void *arg)
{
	struct worker *w = arg;
	char data[3001];
	size_t done, n;

	memset(data, w->byte, sizeof(data));
	for (done = 0; done < SHARE; done += n) {
		n = SHARE - done < sizeof(data) ? SHARE - done : sizeof(data);
		if (send_all(w->fd, data, n) < 0)
			break;
	}
	return NULL;
}

static void *read_share(void *arg)
{
	unsigned char data[2003];
	struct worker *w = arg;
	ssize_t n, i;

	while (__atomic_load_n(&left_to_read, __ATOMIC_SEQ_CST)) {
		n = recv(w->fd, data, sizeof(data), MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN) {
			poll(&(struct pollfd){ w->fd, POLLIN, 0 }, 1, 10);
			continue;
		}
		if (n <= 0)
			break;
		for (i = 0; i < n; i++)
			w->seen[data[i] % WORKERS]++;
		__atomic_sub_fetch(&left_to_read, n, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

TEST(many_readers_and_writers)
{
	struct worker writers[WORKERS], readers[WORKERS];
	int i, j, fd = connect_port(opt.port + PEER_ECHO, 0);
	unsigned long sum;

	ASSERT_LE(0, fd);
	left_to_read = WORKERS * SHARE;
	for (i = 0; i < WORKERS; i++) {
		writers[i] = (struct worker){ .fd = fd, .byte = i };
		readers[i] = (struct worker){ .fd = fd };
		ASSERT_EQ(0, pthread_create(&readers[i].thread, NULL,
					    read_share, &readers[i]));
		ASSERT_EQ(0, pthread_create(&writers[i].thread, NULL,
					    write_share, &writers[i]));
	}
	for (i = 0; i < WORKERS; i++) {
		pthread_join(writers[i].thread, NULL);
		pthread_join(readers[i].thread, NULL);
	}
	for (i = 0; i < WORKERS; i++) {
		for (sum = 0, j = 0; j < WORKERS; j++)
			sum += readers[j].seen[i];
		EXPECT_EQ(SHARE, sum) TH_LOG("byte %d", i);
	}
	close(fd);
}

XENSOCK_TEST_MAIN
