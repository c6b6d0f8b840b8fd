// SPDX-License-Identifier: GPL-2.0
/* Several threads and processes on one listener, also with signals and kills. */
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "util.h"

#define WORKERS 4

FIXTURE(acceptors) {
	struct peer peer;
	int listener;
	unsigned int port;
};

FIXTURE_SETUP(acceptors)
{
	ASSERT_TRUE(peer_open(&self->peer, 0));
	self->listener = open_listener(64, SOCK_CLOEXEC);
	ASSERT_LE(0, self->listener);
	self->port = local_port(self->listener);
}

FIXTURE_TEARDOWN(acceptors)
{
	close(self->listener);
	peer_close(&self->peer);
}

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
	signals_seen = 0;
}

TEST_F(acceptors, each_thread_gets_a_connection_of_its_own)
{
	struct waiter w[WORKERS];
	long fd;
	int i;

	for (i = 0; i < WORKERS; i++)
		ASSERT_TRUE(waiter_start(&w[i], in_accept, self->listener));
	EXPECT_STREQ("ok 4", peer_run(&self->peer, "open %u 4", self->port));
	for (i = 0; i < WORKERS; i++) {
		fd = waiter_end(&w[i]);
		EXPECT_LE(0, fd) TH_LOG("thread %d: %m", i);
		EXPECT_EQ(0, close(fd));
	}
	EXPECT_STREQ("fin 4 rst 0", peer_run(&self->peer, "ends"));
}

/* Three threads get a connection. The fourth sleeps on and gets the next one. */
TEST_F(acceptors, a_thread_without_a_connection_sleeps_on)
{
	struct waiter w[WORKERS];
	int i, fd, done = 0;

	for (i = 0; i < WORKERS; i++)
		ASSERT_TRUE(waiter_start(&w[i], in_accept, self->listener));
	for (i = 0; i < WORKERS; i++) {
		fd = connect_port(self->port, 0);
		ASSERT_LE(0, fd);
		EXPECT_EQ(1, send(fd, "", 1, 0));
		close(fd);
	}
	for (i = 0; i < WORKERS; i++) {
		fd = waiter_end(&w[i]);
		EXPECT_LE(0, fd);
		done += fd >= 0;
		close(fd);
	}
	EXPECT_EQ(WORKERS, done);
	set_nonblock(self->listener, true);
	EXPECT_EQ(-1, accept(self->listener, NULL, NULL));
	EXPECT_EQ(EAGAIN, errno);
}

TEST_F(acceptors, threads_serve_a_swarm)
{
	struct waiter w[WORKERS];
	long served = 0;
	int i;

	for (i = 0; i < WORKERS; i++)
		ASSERT_TRUE(waiter_start(&w[i], in_accept_loop, self->listener));
	EXPECT_STREQ("ok 64", peer_run(&self->peer, "clients %u 8 3000 8",
				       self->port));
	EXPECT_EQ(0, shutdown(self->listener, SHUT_RDWR));
	for (i = 0; i < WORKERS; i++)
		served += waiter_end(&w[i]);
	EXPECT_EQ(64, served);
}

TEST_F(acceptors, processes_serve_a_swarm)
{
	struct waiter w = { .fd = self->listener };
	pid_t pids[WORKERS];
	int i, status, served = 0;

	for (i = 0; i < WORKERS; i++) {
		pids[i] = fork();
		ASSERT_LE(0, pids[i]);
		if (!pids[i])
			_exit(in_accept_loop(&w));
	}
	EXPECT_STREQ("ok 64", peer_run(&self->peer, "clients %u 8 3000 8",
				       self->port));
	EXPECT_EQ(0, shutdown(self->listener, SHUT_RDWR));
	for (i = 0; i < WORKERS; i++) {
		EXPECT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_TRUE(WIFEXITED(status));
		served += WEXITSTATUS(status);
	}
	EXPECT_EQ(64, served);
}

/* shutdown() wakes all threads. */
TEST_F(acceptors, shutdown_wakes_every_thread)
{
	struct waiter w[WORKERS];
	int i;

	for (i = 0; i < WORKERS; i++)
		ASSERT_TRUE(waiter_start(&w[i], in_accept, self->listener));
	EXPECT_EQ(0, shutdown(self->listener, SHUT_RDWR));
	for (i = 0; i < WORKERS; i++) {
		EXPECT_EQ(-1, waiter_end(&w[i]));
		EXPECT_EQ(EINVAL, errno);
	}
}

/* Closing the descriptor does not end the call, which holds the listener. */
TEST_F(acceptors, close_leaves_a_thread_in_its_call)
{
	struct waiter w;
	int fd, listener = open_own_listener(1, SOCK_CLOEXEC);
	unsigned int port = local_port(listener);

	ASSERT_TRUE(waiter_start(&w, in_accept, listener));
	EXPECT_EQ(0, close(listener));
	peer_run(&self->peer, "connect %u", port);
	EXPECT_EQ(0, strncmp("ok", self->peer.line, 2));
	fd = waiter_end(&w);
	EXPECT_LE(0, fd);
	close(fd);
	/* That call was the last user of the listener. */
	EXPECT_TRUE(peer_refused(&self->peer, port));
}

TEST_F(acceptors, a_signal_ends_the_wait)
{
	struct waiter w;

	set_handler(0);
	ASSERT_TRUE(waiter_start(&w, in_accept, self->listener));
	pthread_kill(w.thread, SIGUSR1);
	EXPECT_EQ(-1, waiter_end(&w));
	EXPECT_EQ(EINTR, errno);
	ASSERT_LE(0, peer_accept(&self->peer, self->listener, 0));
}

TEST_F(acceptors, a_signal_with_sa_restart_does_not)
{
	struct waiter w;

	set_handler(SA_RESTART);
	ASSERT_TRUE(waiter_start(&w, in_accept, self->listener));
	pthread_kill(w.thread, SIGUSR1);
	while (!signals_seen)
		sched_yield();
	ASSERT_TRUE(wait_asleep(w.tid));
	peer_run(&self->peer, "connect %u", self->port);
	EXPECT_LE(0, waiter_end(&w));
}

/* A wait with a time limit is never restarted. */
TEST_F(acceptors, a_signal_ends_a_wait_with_a_limit)
{
	struct waiter w;

	set_handler(SA_RESTART);
	ASSERT_EQ(0, set_timeout(self->listener, SO_RCVTIMEO, 60000));
	ASSERT_TRUE(waiter_start(&w, in_accept, self->listener));
	pthread_kill(w.thread, SIGUSR1);
	EXPECT_EQ(-1, waiter_end(&w));
	EXPECT_EQ(EINTR, errno);
}

#define INTERRUPTED 60

static long in_interrupted_accepts(struct waiter *w)
{
	long accepted = 0;
	int fd;

	while (accepted < INTERRUPTED) {
		fd = accept(w->fd, NULL, NULL);
		if (fd < 0 && errno != EINTR)
			return -1;
		if (fd < 0)
			continue;
		/* The peer is told which acceptor this is. */
		echo_all(fd);
		accepted++;
	}
	return accepted;
}

TEST_F(acceptors, signals_without_end_lose_no_connection)
{
	struct waiter w;

	set_handler(0);
	ASSERT_TRUE(waiter_start(&w, in_interrupted_accepts, self->listener));
	peer_send(&self->peer, "clients %u 2 100 %d", self->port,
		  INTERRUPTED / 2);
	do {
		pthread_kill(w.thread, SIGUSR1);
		sched_yield();
	} while (recv(self->peer.control, &(char){ 0 }, 1,
		      MSG_PEEK | MSG_DONTWAIT) < 0);
	EXPECT_STREQ("ok 60", peer_answer(&self->peer));
	EXPECT_EQ(INTERRUPTED, waiter_end(&w));
	EXPECT_LT(0, signals_seen);
}

TEST_F(acceptors, time_limits_lose_no_connection)
{
	int i, fd, accepted = 0;

	ASSERT_EQ(0, set_timeout(self->listener, SO_RCVTIMEO, 1));
	for (i = 0; i < 3; i++) {
		peer_send(&self->peer, "open %u 10", self->port);
		while (accepted < 10 * (i + 1)) {
			fd = accept(self->listener, NULL, NULL);
			if (fd < 0) {
				ASSERT_EQ(EAGAIN, errno);
				continue;
			}
			EXPECT_EQ(0, close(fd));
			accepted++;
		}
		peer_answer(&self->peer);
		EXPECT_EQ(0, strncmp("ok", self->peer.line, 2));
	}
	EXPECT_STREQ("fin 30 rst 0", peer_run(&self->peer, "ends"));
}

TEST_F(acceptors, killed_in_its_call_leaves_the_listener_whole)
{
	pid_t pids[WORKERS];
	int i, fd, status;

	for (i = 0; i < WORKERS; i++) {
		pids[i] = fork();
		ASSERT_LE(0, pids[i]);
		if (!pids[i]) {
			accept(self->listener, NULL, NULL);
			_exit(1);
		}
		ASSERT_TRUE(wait_asleep(pids[i]));
	}
	for (i = 0; i < WORKERS; i++) {
		EXPECT_EQ(0, kill(pids[i], SIGKILL));
		EXPECT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
	}
	fd = peer_accept(&self->peer, self->listener, 0);
	EXPECT_LE(0, fd);
	EXPECT_EQ(1, send(fd, "", 1, 0));
	EXPECT_EQ(0, close(fd));
	EXPECT_STREQ("fin", peer_run(&self->peer, "end"));
}

XENSOCK_TEST_MAIN
