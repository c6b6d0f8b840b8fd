// SPDX-License-Identifier: GPL-2.0
/*
 * Options that are carried to the real socket: each value in each state of a
 * socket, lengths as for TCP, and that nothing else comes back.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

#define SOCKET(option) #option, SOL_SOCKET, SO_##option
#define TCP(option) #option, SOL_TCP, TCP_##option
#define IP(option) #option, SOL_IP, IP_##option

/* A value to set and the value then read. If setting fails, the old value stays. */
struct value {
	const char *name;
	int level;
	int option;
	int set;
	int get;
};

static const struct value values[] = {
	{ TCP(NODELAY), 1, 1 }, { TCP(NODELAY), 0, 0 },
	{ TCP(NODELAY), -1, 1 }, { TCP(NODELAY), 5, 1 },
	{ TCP(CORK), 3, 1 }, { TCP(CORK), 0, 0 }, { TCP(CORK), 1, 1 },
	{ TCP(KEEPIDLE), 1, 1 }, { TCP(KEEPIDLE), 32767, 32767 },
	{ TCP(KEEPIDLE), 600, 600 }, { TCP(KEEPIDLE), 0, -EINVAL },
	{ TCP(KEEPIDLE), -1, -EINVAL }, { TCP(KEEPIDLE), 32768, -EINVAL },
	{ TCP(KEEPINTVL), 1, 1 }, { TCP(KEEPINTVL), 32767, 32767 },
	{ TCP(KEEPINTVL), 60, 60 }, { TCP(KEEPINTVL), 0, -EINVAL },
	{ TCP(KEEPINTVL), -1, -EINVAL }, { TCP(KEEPINTVL), 32768, -EINVAL },
	{ TCP(KEEPCNT), 1, 1 }, { TCP(KEEPCNT), 127, 127 },
	{ TCP(KEEPCNT), 6, 6 }, { TCP(KEEPCNT), 0, -EINVAL },
	{ TCP(KEEPCNT), -1, -EINVAL }, { TCP(KEEPCNT), 128, -EINVAL },
	{ TCP(USER_TIMEOUT), 0, 0 }, { TCP(USER_TIMEOUT), 1, 1 },
	{ TCP(USER_TIMEOUT), 0x7fffffff, 0x7fffffff },
	{ TCP(USER_TIMEOUT), 30000, 30000 },
	{ TCP(USER_TIMEOUT), -1, -EINVAL },
	/* Rounded to retransmissions, which come after 1, 3, 7... seconds. */
	{ TCP(DEFER_ACCEPT), 1, 1 }, { TCP(DEFER_ACCEPT), -1, 0 },
	{ TCP(DEFER_ACCEPT), 5, 7 }, { TCP(DEFER_ACCEPT), 0, 0 },
	{ TCP(NOTSENT_LOWAT), 1, 1 }, { TCP(NOTSENT_LOWAT), 0, 0 },
	{ TCP(NOTSENT_LOWAT), 16384, 16384 },
	{ TCP(QUICKACK), 0, 0 }, { TCP(QUICKACK), 1, 1 },
	{ TCP(MAXSEG), 88, 88 }, { TCP(MAXSEG), 32767, 32767 },
	{ TCP(MAXSEG), 500, 500 }, { TCP(MAXSEG), 87, -EINVAL },
	{ TCP(MAXSEG), 32768, -EINVAL }, { TCP(MAXSEG), -1, -EINVAL },
	/* The two ECN bits belong to TCP. */
	{ IP(TOS), 0, 0 }, { IP(TOS), 0x13, 0x10 }, { IP(TOS), 0xb8, 0xb8 },
	{ IP(TTL), 1, 1 }, { IP(TTL), 255, 255 }, { IP(TTL), -1, 64 },
	{ IP(TTL), 33, 33 }, { IP(TTL), 0, -EINVAL }, { IP(TTL), 256, -EINVAL },
	{ SOCKET(KEEPALIVE), 0, 0 }, { SOCKET(KEEPALIVE), 7, 1 },
	{ SOCKET(REUSEADDR), 0, 0 }, { SOCKET(REUSEADDR), 7, 1 },
	{ SOCKET(REUSEPORT), 0, 0 }, { SOCKET(REUSEPORT), 7, 1 },
};

#define END_OF_VALUES (values + ARRAY_LEN(values))

static int set_int(int fd, const struct value *v)
{
	return setsockopt(fd, v->level, v->option, &v->set, sizeof(v->set)) ?
	       -errno : 0;
}

static int get_int(int fd, const struct value *v)
{
	socklen_t len = sizeof(int);
	int value = -1;

	if (getsockopt(fd, v->level, v->option, &value, &len))
		return -errno;
	return len == sizeof(int) ? value : -1;
}

static bool same_option(const struct value *a, const struct value *b)
{
	return a->level == b->level && a->option == b->option;
}

/* Options for which a connection returns a value of its own. */
static bool is_volatile(const struct value *v)
{
	return v->level == SOL_TCP &&
	       (v->option == TCP_MAXSEG || v->option == TCP_QUICKACK);
}

FIXTURE(options) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(options)
{
	ASSERT_TRUE(peer_open(&self->peer, 0));
	self->fd = peer_connect(&self->peer, 0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(options)
{
	close(self->fd);
	peer_close(&self->peer);
}

/* Sets every value, and checks that an option keeps the last good one. */
static void check_each(struct __test_metadata *_metadata, int fd, bool connected)
{
	const struct value *v;
	int kept = 0;

	for (v = values; v < END_OF_VALUES; v++) {
		EXPECT_EQ(v->get < 0 ? v->get : 0, set_int(fd, v))
			TH_LOG("%s = %d", v->name, v->set);
		if (v->get >= 0)
			kept = v->get;
		if (!connected || !is_volatile(v))
			EXPECT_EQ(kept, get_int(fd, v))
				TH_LOG("%s = %d", v->name, v->set);
	}
}

TEST_F(options, before_anything_else)
{
	int fd = new_socket(0);

	check_each(_metadata, fd, false);
	close(fd);
}

TEST_F(options, bound_then_listening)
{
	int fd = new_socket(0);

	ASSERT_EQ(0, bind_to(fd, opt.host, 0));
	check_each(_metadata, fd, false);
	ASSERT_EQ(0, listen(fd, 1));
	check_each(_metadata, fd, false);
	close(fd);
}

TEST_F(options, connected)
{
	char data[10];

	check_each(_metadata, self->fd, true);
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	EXPECT_EQ(10, recv_all(self->fd, data, 10));
}

static void set_values(int fd)
{
	const struct value *v;

	for (v = values; v < END_OF_VALUES; v++)
		set_int(fd, v);
}

/* Checks that each option has its last good value, after a connection was made or failed. */
static void check_values(struct __test_metadata *_metadata, int fd)
{
	const struct value *v, *last = NULL;

	for (v = values; v < END_OF_VALUES; v++) {
		if (v->get >= 0)
			last = v;
		if (is_volatile(v) ||
		    (v + 1 < END_OF_VALUES && same_option(v, v + 1)))
			continue;
		EXPECT_EQ(last->get, get_int(fd, v)) TH_LOG("%s", v->name);
	}
}

TEST_F(options, kept_when_a_connection_is_made)
{
	int fd = new_socket(0);

	set_values(fd);
	ASSERT_EQ(0, connect_to(fd, opt.host, self->peer.port));
	check_values(_metadata, fd);
	close(fd);
}

TEST_F(options, kept_when_a_connection_fails_or_ends)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	unsigned int closed = local_port(self->fd);
	int fd = new_socket(0);

	set_values(fd);
	EXPECT_EQ(-1, connect_to(fd, opt.host, closed));
	EXPECT_EQ(ECONNREFUSED, errno);
	check_values(_metadata, fd);
	ASSERT_EQ(0, connect_to(fd, opt.host, self->peer.port));
	check_values(_metadata, fd);
	EXPECT_EQ(0, connect(fd, &unspec, sizeof(unspec)));
	check_values(_metadata, fd);
	ASSERT_EQ(0, connect_to(fd, opt.host, self->peer.port));
	check_values(_metadata, fd);
	close(fd);
}

static int set_congestion(int fd, const char *name, socklen_t len)
{
	return setsockopt(fd, SOL_TCP, TCP_CONGESTION, name, len);
}

/* The program has yet to close the socket, or to connect it again. */
TEST_F(options, after_a_failure)
{
	unsigned int closed = local_port(self->fd);
	int fd = new_socket(SOCK_NONBLOCK);
	struct tcp_info info = {};
	socklen_t len = sizeof(info);
	const struct value *v;

	EXPECT_EQ(-1, connect_to(fd, opt.host, closed));
	EXPECT_EQ(EINPROGRESS, errno);
	ASSERT_TRUE(wait_poll(fd, POLLOUT, NULL));
	for (v = values; v < END_OF_VALUES; v++)
		EXPECT_LE(0, get_int(fd, v)) TH_LOG("option %d of %d", v->option, v->level);
	EXPECT_EQ(0, getsockopt(fd, SOL_TCP, TCP_INFO, &info, &len));
	EXPECT_EQ(TCP_CLOSE, info.tcpi_state);
	EXPECT_EQ(-1, set_congestion(fd, "nobody", 6));
	EXPECT_EQ(ENOENT, errno);
	EXPECT_EQ(ECONNREFUSED, so_error(fd));
	check_each(_metadata, fd, false);
	set_nonblock(fd, false);
	if (connect_to(fd, opt.host, self->peer.port))
		EXPECT_EQ(0, connect_to(fd, opt.host, self->peer.port));
	check_values(_metadata, fd);
	close(fd);
}

TEST_F(options, inherited_by_accepted_sockets)
{
	int listener = new_socket(0), fd;

	set_values(listener);
	ASSERT_EQ(0, bind_to(listener, opt.host, 0));
	ASSERT_EQ(0, listen(listener, 1));
	fd = peer_accept(&self->peer, listener, 0);
	ASSERT_LE(0, fd);
	check_values(_metadata, fd);
	close(fd);
	close(listener);
}

TEST_F(options, congestion_is_a_name)
{
	int i, fds[2] = { new_socket(0), self->fd };
	char name[40], before[16];
	socklen_t len;

	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, set_congestion(fds[i], "reno", 4));
		len = sizeof(name);
		memset(name, 0x55, sizeof(name));
		EXPECT_EQ(0, getsockopt(fds[i], SOL_TCP, TCP_CONGESTION, name,
					&len));
		EXPECT_EQ(16, len);
		memcpy(before, name, 16);
		EXPECT_STREQ("reno", before);
		EXPECT_EQ(0x55, name[16]);
		len = 2;
		memset(name, 0x55, sizeof(name));
		EXPECT_EQ(0, getsockopt(fds[i], SOL_TCP, TCP_CONGESTION, name,
					&len));
		EXPECT_EQ(2, len);
		EXPECT_EQ(0, memcmp(name, "reU", 3));

		EXPECT_EQ(-1, set_congestion(fds[i], "nobody", 6));
		EXPECT_EQ(ENOENT, errno);
		EXPECT_EQ(-1, set_congestion(fds[i], "", 0));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(-1, set_congestion(fds[i], (void *)1, 4));
		EXPECT_EQ(EFAULT, errno);
		/* Only the first 15 bytes are used. */
		EXPECT_EQ(0, set_congestion(fds[i], "reno\0xxxxxxxxxxxxxxx", 20));
	}
	close(fds[0]);
}

TEST_F(options, lengths_to_set)
{
	static const struct {
		int level;
		int option;
		socklen_t len;
		int error;
	} cases[] = {
		{ SOL_TCP, TCP_NODELAY, 0, EINVAL },
		{ SOL_TCP, TCP_NODELAY, 1, EINVAL },
		{ SOL_TCP, TCP_NODELAY, 3, EINVAL },
		{ SOL_TCP, TCP_NODELAY, 4, 0 },
		{ SOL_TCP, TCP_NODELAY, 5, 0 },
		{ SOL_TCP, TCP_NODELAY, 64, 0 },
		{ SOL_TCP, TCP_NODELAY, -1, EINVAL },
		{ SOL_IP, IP_TTL, 0, EINVAL },
		{ SOL_IP, IP_TTL, 1, 0 },
		{ SOL_IP, IP_TTL, 3, 0 },
		{ SOL_IP, IP_TTL, 4, 0 },
		{ SOL_IP, IP_TTL, 64, 0 },
		{ SOL_IP, IP_TTL, -1, EINVAL },
		{ SOL_SOCKET, SO_KEEPALIVE, 0, EINVAL },
		{ SOL_SOCKET, SO_KEEPALIVE, 3, EINVAL },
		{ SOL_SOCKET, SO_KEEPALIVE, 4, 0 },
		{ SOL_SOCKET, SO_KEEPALIVE, 64, 0 },
	};
	char value[64] = { 1 };
	size_t i;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		EXPECT_EQ(cases[i].error ? -1 : 0,
			  setsockopt(self->fd, cases[i].level, cases[i].option,
				     value, cases[i].len))
			TH_LOG("case %zu: %m", i);
		if (cases[i].error)
			EXPECT_EQ(cases[i].error, errno) TH_LOG("case %zu", i);
		if (cases[i].len < 4)
			continue;
		EXPECT_EQ(-1, setsockopt(self->fd, cases[i].level,
					 cases[i].option, (void *)1,
					 cases[i].len));
	}
}

TEST_F(options, lengths_to_get)
{
	static const struct {
		int level;
		int option;
		socklen_t len;
		socklen_t given;
	} cases[] = {
		{ SOL_TCP, TCP_NODELAY, 0, 0 }, { SOL_TCP, TCP_NODELAY, 1, 1 },
		{ SOL_TCP, TCP_NODELAY, 3, 3 }, { SOL_TCP, TCP_NODELAY, 4, 4 },
		{ SOL_TCP, TCP_NODELAY, 9, 4 },
		{ SOL_IP, IP_TTL, 0, 0 }, { SOL_IP, IP_TTL, 1, 1 },
		{ SOL_IP, IP_TTL, 3, 1 }, { SOL_IP, IP_TTL, 4, 4 },
		{ SOL_IP, IP_TTL, 9, 4 },
		{ SOL_SOCKET, SO_KEEPALIVE, 3, 3 },
		{ SOL_SOCKET, SO_KEEPALIVE, 4, 4 },
		{ SOL_SOCKET, SO_KEEPALIVE, 9, 4 },
		{ SOL_TCP, TCP_INFO, 0, 0 }, { SOL_TCP, TCP_INFO, 1, 1 },
		{ SOL_TCP, TCP_INFO, 33, 33 }, { SOL_TCP, TCP_INFO, 104, 104 },
	};
	unsigned char value[128];
	socklen_t len;
	size_t i;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		memset(value, 0x55, sizeof(value));
		len = cases[i].len;
		EXPECT_EQ(0, getsockopt(self->fd, cases[i].level,
					cases[i].option, value, &len));
		EXPECT_EQ(cases[i].given, len) TH_LOG("case %zu", i);
		EXPECT_EQ(0x55, value[cases[i].given]) TH_LOG("case %zu", i);
		len = -1;
		EXPECT_EQ(-1, getsockopt(self->fd, cases[i].level,
					 cases[i].option, value, &len));
		EXPECT_EQ(EINVAL, errno) TH_LOG("case %zu", i);
		EXPECT_EQ(-1, getsockopt(self->fd, cases[i].level,
					 cases[i].option, value, (void *)1));
		EXPECT_EQ(EFAULT, errno) TH_LOG("case %zu", i);
		len = 4;
		EXPECT_EQ(-1, getsockopt(self->fd, cases[i].level,
					 cases[i].option, (void *)1, &len));
		EXPECT_EQ(EFAULT, errno) TH_LOG("case %zu", i);
	}
}

XENSOCK_TEST_MAIN
