// SPDX-License-Identifier: GPL-2.0
/*
 * Options have their effects: the peer looks at the real socket, see diag.c, or
 * the connection behaves as it should. Reading any option returns no more than
 * was asked for.
 */
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

#define SOL_TCP IPPROTO_TCP

enum state { ESTABLISHED = 1, FIN_WAIT1 = 4, CLOSED = 7, CLOSE_WAIT, LISTENING = 10 };

FIXTURE(effects) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(effects)
{
	ASSERT_TRUE(peer_open(&self->peer, 0));
	self->fd = new_socket(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(effects)
{
	close(self->fd);
	peer_close(&self->peer);
}

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value));
}

static void set_options(struct __test_metadata *_metadata, int fd)
{
	EXPECT_EQ(0, set_option(fd, SOL_IP, IP_TOS, 0xb8));
	EXPECT_EQ(0, set_option(fd, SOL_TCP, TCP_KEEPIDLE, 500));
	EXPECT_EQ(0, set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1));
	EXPECT_EQ(0, setsockopt(fd, SOL_TCP, TCP_CONGESTION, "reno", 4));
}

/* Returns the value of "NAME=VALUE" in the peer's information on our socket. */
static unsigned int diag_value(const struct peer *p, const char *name)
{
	const char *at = strstr(p->line, name);

	return at ? strtoul(at + strlen(name), NULL, 10) : ~0U;
}

/* Reads an option of the real socket. The backend has set the earlier ones by then. */
static void wait_until_set(struct __test_metadata *_metadata, int fd)
{
	socklen_t len = sizeof(int);
	int value;

	ASSERT_EQ(0, getsockopt(fd, SOL_TCP, TCP_KEEPIDLE, &value, &len));
}

static void check_options(struct __test_metadata *_metadata, struct peer *peer)
{
	peer_run(peer, "diag");
	EXPECT_EQ(ESTABLISHED, diag_value(peer, "state=")) TH_LOG("%s", peer->line);
	EXPECT_EQ(0xb8, diag_value(peer, "tos=")) TH_LOG("%s", peer->line);
	/* The keepalive timer is set, with more than the default interval. */
	EXPECT_EQ(2, diag_value(peer, "timer=")) TH_LOG("%s", peer->line);
	EXPECT_LT(400000, diag_value(peer, "expires=")) TH_LOG("%s", peer->line);
	EXPECT_GE(500000, diag_value(peer, "expires=")) TH_LOG("%s", peer->line);
	EXPECT_NE(NULL, strstr(peer->line, "cong=reno"))
		TH_LOG("%s", peer->line);
}

TEST_F(effects, of_options_set_before_connect)
{
	set_options(_metadata, self->fd);
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	check_options(_metadata, &self->peer);
}

TEST_F(effects, of_options_set_after_connect)
{
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	set_options(_metadata, self->fd);
	wait_until_set(_metadata, self->fd);
	check_options(_metadata, &self->peer);
	EXPECT_EQ(0, set_option(self->fd, SOL_SOCKET, SO_KEEPALIVE, 0));
	EXPECT_EQ(0, set_option(self->fd, SOL_IP, IP_TOS, 0));
	wait_until_set(_metadata, self->fd);
	peer_run(&self->peer, "diag");
	EXPECT_EQ(0, diag_value(&self->peer, "timer="));
	EXPECT_EQ(0, diag_value(&self->peer, "tos="));
}

/* The backend connects with another socket in the end. */
TEST_F(effects, of_options_set_before_a_connect_that_fails)
{
	int closed = new_socket(0);

	ASSERT_EQ(0, bind_to(closed, opt.host, 0));
	set_options(_metadata, self->fd);
	EXPECT_EQ(-1, connect_to(self->fd, opt.host, local_port(closed)));
	EXPECT_EQ(ECONNREFUSED, errno);
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	check_options(_metadata, &self->peer);
	close(closed);
}

TEST_F(effects, of_options_set_on_a_listener)
{
	int fd;

	set_options(_metadata, self->fd);
	ASSERT_EQ(0, bind_to(self->fd, opt.host, 0));
	ASSERT_EQ(0, listen(self->fd, 1));
	fd = peer_accept(&self->peer, self->fd, 0);
	ASSERT_LE(0, fd);
	check_options(_metadata, &self->peer);
	close(fd);
}

/* The accepted socket may or may not have the option: its state must match what it shows. */
TEST_F(effects, of_keepalive_set_on_a_listener_after_a_connection)
{
	int fd, shown = -1;
	socklen_t len = sizeof(shown);

	ASSERT_EQ(0, set_option(self->fd, SOL_TCP, TCP_KEEPIDLE, 500));
	ASSERT_EQ(0, bind_to(self->fd, opt.host, 0));
	ASSERT_EQ(0, listen(self->fd, 1));
	peer_run(&self->peer, "connect %u", local_port(self->fd));
	EXPECT_EQ(0, strncmp("ok", self->peer.line, 2));
	ASSERT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	EXPECT_EQ(0, set_option(self->fd, SOL_SOCKET, SO_KEEPALIVE, 1));
	fd = accept(self->fd, NULL, NULL);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &shown, &len));
	wait_until_set(_metadata, fd);
	peer_run(&self->peer, "diag");
	EXPECT_EQ(shown ? 2 : 0, diag_value(&self->peer, "timer="))
		TH_LOG("shown %d, %s", shown, self->peer.line);
	close(fd);
}

TEST_F(effects, of_options_set_on_an_accepted_socket)
{
	int fd;

	ASSERT_EQ(0, bind_to(self->fd, opt.host, 0));
	ASSERT_EQ(0, listen(self->fd, 1));
	fd = peer_accept(&self->peer, self->fd, 0);
	ASSERT_LE(0, fd);
	set_options(_metadata, fd);
	wait_until_set(_metadata, fd);
	check_options(_metadata, &self->peer);
	close(fd);
}

TEST_F(effects, of_tcp_maxseg)
{
	unsigned int mss;

	EXPECT_EQ(0, set_option(self->fd, SOL_TCP, TCP_MAXSEG, 500));
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	peer_run(&self->peer, "diag");
	mss = diag_value(&self->peer, "mss=");
	EXPECT_GE(500, mss);
	EXPECT_LT(400, mss);
}

static __u64 info_of(int fd, size_t at, size_t size)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);
	__u64 value = 0;

	if (getsockopt(fd, SOL_TCP, TCP_INFO, &info, &len))
		return ~0ULL;
	memcpy(&value, (char *)&info + at, size);
	return value;
}

#define INFO(fd, field) info_of(fd, offsetof(struct tcp_info, field),	\
				  sizeof(((struct tcp_info *)0)->field))

TEST_F(effects, tcp_info_tells_the_state)
{
	int listener = open_listener(1, 0);

	EXPECT_EQ(CLOSED, INFO(self->fd, tcpi_state));
	EXPECT_EQ(LISTENING, INFO(listener, tcpi_state));
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	EXPECT_EQ(ESTABLISHED, INFO(self->fd, tcpi_state));
	EXPECT_LT(0, INFO(self->fd, tcpi_snd_mss));
	EXPECT_STREQ("ok", peer_run(&self->peer, "fin"));
	ASSERT_TRUE(wait_poll(self->fd, POLLRDHUP, NULL));
	EXPECT_EQ(CLOSE_WAIT, INFO(self->fd, tcpi_state));
	close(listener);
}

/* The FIN has yet to be sent, and may not even have reached TCP. */
TEST_F(effects, tcp_info_tells_of_an_end_that_waits)
{
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	EXPECT_LT(0, fill_socket(self->fd, 1, 30000));
	EXPECT_EQ(0, shutdown(self->fd, SHUT_WR));
	EXPECT_EQ(FIN_WAIT1, INFO(self->fd, tcpi_state));
}

/* Ten small pieces make one segment, unless they take more than 200 ms. */
TEST_F(effects, of_tcp_cork)
{
	__u64 segments = 0, began, deadline = now_msec() + 30000;
	int attempt = 0, i;
	char data[100];

	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	do {
		began = now_msec();
		ASSERT_EQ(0, set_option(self->fd, SOL_TCP, TCP_CORK, 1));
		segments = INFO(self->fd, tcpi_data_segs_out);
		stream_fill(1, attempt++ * 100, data, 100);
		for (i = 0; i < 10; i++)
			ASSERT_EQ(10, send(self->fd, data + i * 10, 10, 0));
		ASSERT_EQ(0, set_option(self->fd, SOL_TCP, TCP_CORK, 0));
		EXPECT_STREQ("ok 100", peer_run(&self->peer, "recv 100 1"));
		segments = INFO(self->fd, tcpi_data_segs_out) - segments;
	} while (segments != 1 && now_msec() - began >= 200 && now_msec() < deadline);
	EXPECT_EQ(1, segments);
}

/* A client that has sent nothing is not accepted yet, one that has sent is. */
TEST_F(effects, of_tcp_defer_accept)
{
	int listener = open_listener(2, 0), fd;
	char data[10];

	ASSERT_EQ(0, set_option(self->fd, SOL_TCP, TCP_DEFER_ACCEPT, 60));
	ASSERT_EQ(0, bind_to(self->fd, opt.host, 0));
	ASSERT_EQ(0, listen(self->fd, 2));
	peer_run(&self->peer, "connect %u", local_port(self->fd));
	EXPECT_EQ(0, strncmp("ok", self->peer.line, 2));
	/* A connection made later is there, this one is not. */
	EXPECT_STREQ("ok 1", peer_run(&self->peer, "open %u 1",
				      local_port(listener)));
	ASSERT_TRUE(wait_poll(listener, POLLIN, NULL));
	EXPECT_EQ(0, poll_now(self->fd));
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	ASSERT_TRUE(wait_poll(self->fd, POLLIN, NULL));
	fd = accept(self->fd, NULL, NULL);
	ASSERT_LE(0, fd);
	EXPECT_EQ(10, recv(fd, data, 10, MSG_WAITALL));
	close(fd);
	close(listener);
}

/* With so many retries, connecting to a black hole would fail after 67 s without the option. */
TEST_F(effects, of_tcp_user_timeout)
{
	__u64 began = now_msec();

	ASSERT_EQ(0, set_option(self->fd, SOL_TCP, TCP_SYNCNT, 5));
	ASSERT_EQ(0, set_option(self->fd, SOL_TCP, TCP_USER_TIMEOUT, 300));
	EXPECT_EQ(-1, connect_to(self->fd, opt.blackhole, 80));
	EXPECT_EQ(ETIMEDOUT, errno);
	EXPECT_GT(AT_ONCE_MSEC, now_msec() - began);
}

/*
 * Reads every option of every level into memory that was filled in two ways:
 * the length that is returned has been written, and nothing after it.
 */
#define ROOM 160

static bool returns_too_much(int fd, int level, int name, socklen_t len)
{
	unsigned char a[ROOM], b[ROOM];
	socklen_t la = len, lb = len;
	int ra, rb;
	size_t i;

	memset(a, 0xaa, ROOM);
	memset(b, 0x55, ROOM);
	ra = getsockopt(fd, level, name, a, &la);
	rb = getsockopt(fd, level, name, b, &lb);
	if (ra != rb || (!ra && (la > len || la != lb)))
		return true;
	for (i = ra ? 0 : la; i < ROOM; i++)
		if (a[i] != 0xaa || b[i] != 0x55)
			return true;
	for (i = 0; !ra && i < la; i++)
		if (a[i] == 0xaa && b[i] == 0x55)
			return true;
	return false;
}

TEST_F(effects, of_reading_any_option)
{
	static const int levels[] = {
		SOL_IP, SOL_SOCKET, SOL_TCP, IPPROTO_UDP, SOL_IPV6, 132, 255, 256,
		263, 274, 280, 284, 285, 286, 0x5853, 99999, -1,
	};
	static const socklen_t lens[] = { 0, 1, 4, 104 };
	int i, name, fds[3] = { self->fd, open_listener(1, 0), -1 };
	size_t level, len;
	char data[10];

	fds[2] = peer_connect(&self->peer, 0);
	ASSERT_LE(0, fds[2]);
	for (level = 0; level < ARRAY_LEN(levels); level++)
		for (name = -1; name < 140; name++)
			for (i = 0; i < 3; i++)
				for (len = 0; len < ARRAY_LEN(lens); len++)
					EXPECT_FALSE(returns_too_much(fds[i],
								      levels[level], name,
								      lens[len]))
						TH_LOG("socket %d level %d option %d length %u",
						       i, levels[level], name,
						       lens[len]);
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 1"));
	EXPECT_EQ(10, recv_all(fds[2], data, 10));
	close(fds[1]);
	close(fds[2]);
}

XENSOCK_TEST_MAIN
