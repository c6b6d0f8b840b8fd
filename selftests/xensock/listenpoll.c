// SPDX-License-Identifier: GPL-2.0
/* poll, select and epoll on a listener: level, edge, one-shot, exclusive. */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

#define CAN_ACCEPT (POLLIN | POLLRDNORM)
#define TIMEOUT_MSEC WAIT_LIMIT_MSEC
#define WATCHERS 4

FIXTURE(listenpoll) {
	struct peer peer;
	int fd;
	int ep;
};

FIXTURE_SETUP(listenpoll)
{
	ASSERT_TRUE(peer_open(&self->peer, 0));
	self->fd = open_listener(16, SOCK_NONBLOCK);
	ASSERT_LE(0, self->fd);
	self->ep = epoll_create1(0);
	ASSERT_LE(0, self->ep);
}

FIXTURE_TEARDOWN(listenpoll)
{
	close(self->ep);
	close(self->fd);
	peer_close(&self->peer);
}

#define PEER_CONNECTS() do {						\
	peer_run(&self->peer, "connect %u", local_port(self->fd));	\
	ASSERT_EQ(0, strncmp("ok", self->peer.line, 2))			\
		TH_LOG("%s", self->peer.line);				\
} while (0)

#define ACCEPTS() do {							\
	int __fd = accept_announced(self->fd, 0);			\
									\
	EXPECT_LE(0, __fd) TH_LOG("%m");				\
	EXPECT_EQ(0, close(__fd));					\
} while (0)

TEST_F(listenpoll, every_state)
{
	int fd = new_socket(0);

	EXPECT_EQ(POLLOUT | POLLWRNORM | POLLHUP, poll_now(fd));
	ASSERT_EQ(0, bind_to(fd, opt.host, 0));
	EXPECT_EQ(POLLOUT | POLLWRNORM | POLLHUP, poll_now(fd));
	ASSERT_EQ(0, listen(fd, 1));
	EXPECT_EQ(0, poll_now(fd));
	ASSERT_EQ(0, shutdown(fd, SHUT_RD));
	EXPECT_EQ(POLLOUT | POLLWRNORM | POLLHUP, poll_now(fd));
	close(fd);
}

TEST_F(listenpoll, connections_come_and_go)
{
	EXPECT_EQ(0, poll_now(self->fd));
	PEER_CONNECTS();
	ASSERT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	EXPECT_EQ(CAN_ACCEPT, poll_now(self->fd));
	EXPECT_STREQ("ok 2", peer_run(&self->peer, "open %u 2",
				      local_port(self->fd)));
	ACCEPTS();
	ASSERT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	ACCEPTS();
	ASSERT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	EXPECT_EQ(CAN_ACCEPT, poll_now(self->fd));
	ACCEPTS();
	EXPECT_EQ(0, poll_now(self->fd));
}

/* It can be accepted all the same, see accept.c. */
TEST_F(listenpoll, a_connection_that_has_been_reset)
{
	PEER_CONNECTS();
	ASSERT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	EXPECT_STREQ("ok", peer_run(&self->peer, "rst"));
	PEER_CONNECTS();
	EXPECT_EQ(CAN_ACCEPT, poll_now(self->fd));
	ACCEPTS();
	ASSERT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	ACCEPTS();
	EXPECT_EQ(0, poll_now(self->fd));
}

static long in_poll(struct waiter *w)
{
	struct pollfd pfd = { .fd = w->fd, .events = POLLIN };

	return poll(&pfd, 1, TIMEOUT_MSEC) == 1 ? pfd.revents : -1;
}

TEST_F(listenpoll, every_sleeper_is_woken)
{
	struct waiter w[WATCHERS];
	int i;

	for (i = 0; i < WATCHERS; i++)
		ASSERT_TRUE(waiter_start(&w[i], in_poll, self->fd));
	PEER_CONNECTS();
	for (i = 0; i < WATCHERS; i++)
		EXPECT_EQ(POLLIN, waiter_end(&w[i]));
	ACCEPTS();
}

TEST_F(listenpoll, shutdown_wakes_a_sleeper)
{
	struct waiter w;

	ASSERT_TRUE(waiter_start(&w, in_poll, self->fd));
	EXPECT_EQ(0, shutdown(self->fd, SHUT_RDWR));
	EXPECT_EQ(POLLHUP, waiter_end(&w));
}

TEST_F(listenpoll, select_agrees)
{
	struct timeval timeout = { .tv_sec = TIMEOUT_MSEC / 1000 };
	fd_set in, out, ex;

#define SELECT() ({							\
	FD_ZERO(&in);							\
	FD_ZERO(&out);							\
	FD_ZERO(&ex);							\
	FD_SET(self->fd, &in);						\
	FD_SET(self->fd, &out);						\
	FD_SET(self->fd, &ex);						\
	select(self->fd + 1, &in, &out, &ex, &timeout);			\
})
	PEER_CONNECTS();
	EXPECT_EQ(1, SELECT());
	EXPECT_TRUE(FD_ISSET(self->fd, &in));
	ACCEPTS();
	timeout = (struct timeval){ 0 };
	EXPECT_EQ(0, SELECT());
}

TEST_F(listenpoll, level_repeats)
{
	ASSERT_EQ(0, watch(self->ep, EPOLL_CTL_ADD, self->fd,
			   EPOLLIN | EPOLLOUT));
	EXPECT_EQ(0, events_within(self->ep, 0));
	PEER_CONNECTS();
	EXPECT_EQ(EPOLLIN, events_within(self->ep, TIMEOUT_MSEC));
	EXPECT_EQ(EPOLLIN, events_within(self->ep, 0));
	ACCEPTS();
	EXPECT_EQ(0, events_within(self->ep, 0));
}

TEST_F(listenpoll, edge_tells_of_each_arrival)
{
	ASSERT_EQ(0, watch(self->ep, EPOLL_CTL_ADD, self->fd,
			   EPOLLIN | EPOLLET));
	PEER_CONNECTS();
	EXPECT_EQ(EPOLLIN, events_within(self->ep, TIMEOUT_MSEC));
	EXPECT_EQ(0, events_within(self->ep, 0));
	/* Another connection is a new event even while the first waits. */
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "open %u 1",
				      local_port(self->fd)));
	EXPECT_EQ(EPOLLIN, events_within(self->ep, TIMEOUT_MSEC));
	EXPECT_EQ(0, events_within(self->ep, 0));
	/* Accepting causes no event: what is left was reported before. */
	ACCEPTS();
	EXPECT_EQ(0, events_within(self->ep, 0));
	ACCEPTS();
	EXPECT_EQ(-1, accept(self->fd, NULL, NULL));
	EXPECT_EQ(EAGAIN, errno);
	PEER_CONNECTS();
	EXPECT_EQ(EPOLLIN, events_within(self->ep, TIMEOUT_MSEC));
	ACCEPTS();
}

/* A watch that is new or re-armed reports what was there before. */
TEST_F(listenpoll, edge_and_oneshot_armed_late)
{
	static const uint32_t modes[] = { EPOLLET, EPOLLONESHOT };
	size_t i;

	PEER_CONNECTS();
	ASSERT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	for (i = 0; i < ARRAY_LEN(modes); i++) {
		ASSERT_EQ(0, watch(self->ep, EPOLL_CTL_ADD, self->fd,
				   EPOLLIN | modes[i]));
		EXPECT_EQ(EPOLLIN, events_within(self->ep, 0));
		EXPECT_EQ(0, events_within(self->ep, 0));
		ASSERT_EQ(0, watch(self->ep, EPOLL_CTL_MOD, self->fd,
				   EPOLLIN | modes[i]));
		EXPECT_EQ(EPOLLIN, events_within(self->ep, 0));
		EXPECT_EQ(0, events_within(self->ep, 0));
		ASSERT_EQ(0, watch(self->ep, EPOLL_CTL_DEL, self->fd, 0));
	}
	ACCEPTS();
}

/*
 * Sleeping watchers, each with an epoll set of its own. The test counts how
 * many of them one connection wakes. Another event, for all of them, ends the
 * count.
 */
struct watcher {
	struct waiter w;
	int ep;
	int listener;
	int wakeup;
	atomic_int woken;
};

static long in_epoll(struct waiter *w)
{
	struct watcher *self = (struct watcher *)w;
	struct epoll_event events[2];
	bool is_woken = false;
	int i, n;

	while (!is_woken) {
		n = epoll_wait(self->ep, events, 2, TIMEOUT_MSEC);
		if (n <= 0)
			return -1;
		for (i = 0; i < n; i++) {
			if (events[i].data.fd == self->wakeup)
				is_woken = true;
			else
				self->woken++;
		}
	}
	return 0;
}

static int sum_woken(const struct watcher all[WATCHERS])
{
	int i, woken = 0;

	for (i = 0; i < WATCHERS; i++)
		woken += all[i].woken;
	return woken;
}

/* Returns how many watchers a connection wakes, which should be @expected. */
static int count_woken(struct __test_metadata *_metadata, int listener,
		       struct peer *peer, uint32_t mode, int expected)
{
	__u64 deadline = now_msec() + TIMEOUT_MSEC;
	struct watcher all[WATCHERS] = { 0 };
	int i, wakeup = eventfd(0, 0);

	for (i = 0; i < WATCHERS; i++) {
		all[i].ep = epoll_create1(0);
		all[i].listener = listener;
		all[i].wakeup = wakeup;
		EXPECT_EQ(0, watch(all[i].ep, EPOLL_CTL_ADD, listener,
				   EPOLLIN | EPOLLET | mode));
		EXPECT_EQ(0, watch(all[i].ep, EPOLL_CTL_ADD, wakeup, EPOLLIN));
		EXPECT_TRUE(waiter_start(&all[i].w, in_epoll, -1));
	}
	EXPECT_STREQ("ok 1", peer_run(peer, "open %u 1",
				      local_port(listener)));
	EXPECT_TRUE(wait_poll(listener, POLLIN, NULL));
	/* The connection may be there before its event. */
	while (sum_woken(all) < expected && now_msec() < deadline)
		poll(NULL, 0, 1);
	EXPECT_EQ(8, write(wakeup, &(__u64){ 1 }, 8));
	for (i = 0; i < WATCHERS; i++) {
		EXPECT_EQ(0, waiter_end(&all[i].w));
		EXPECT_GE(1, all[i].woken);
		close(all[i].ep);
	}
	close(wakeup);
	close(accept_announced(listener, 0));
	peer_run(peer, "closeall");
	return sum_woken(all);
}

TEST_F(listenpoll, exclusive_wakes_one)
{
	int i;

	for (i = 0; i < 5; i++)
		EXPECT_EQ(1, count_woken(_metadata, self->fd, &self->peer, EPOLLEXCLUSIVE, 1));
	EXPECT_EQ(WATCHERS, count_woken(_metadata, self->fd, &self->peer, 0, WATCHERS));
}

XENSOCK_TEST_MAIN
