// SPDX-License-Identifier: GPL-2.0
/* Addresses of datagram sockets: bound, automatic, of peers, and wrong ones. */
#include <arpa/inet.h>
#include <sys/un.h>

#include "kselftest_harness.h"
#include "datagram.h"

static char data[2000];

static struct name text_of(const char *host, unsigned int port)
{
	struct sockaddr_storage ss;
	struct name name;

	parse_address(host, port, &ss);
	address_text(&ss, name.text);
	return name;
}

FIXTURE(names) {
	int fd;
	int other;	/* bound */
	unsigned int port;
};

FIXTURE_SETUP(names)
{
	self->fd = new_datagram(0);
	ASSERT_LE(0, self->fd);
	self->other = open_datagram();
	ASSERT_LE(0, self->other);
	self->port = local_port(self->other);
	ASSERT_NE(0, self->port);
}

FIXTURE_TEARDOWN(names)
{
	close(self->fd);
	close(self->other);
}

static int forget_peer(int fd)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };

	return connect(fd, &unspec, sizeof(unspec));
}

/* Sends a datagram from @fd to @other. Returns the sender that @other sees. */
static struct name seen_sender(int fd, int other)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	struct name name;

	if (send_to(fd, opt.host, local_port(other), "name", 4) != 4 ||
	    recvfrom(other, data, sizeof(data), 0, (struct sockaddr *)&ss,
		     &len) != 4)
		snprintf(name.text, sizeof(name.text), "%s",
			 strerrorname_np(errno));
	else
		address_text(&ss, name.text);
	return name;
}

TEST_F(names, a_new_socket_has_none)
{
	EXPECT_STREQ("0.0.0.0 0", LOCAL_NAME(self->fd));
	EXPECT_STREQ("ENOTCONN", REMOTE_NAME(self->fd));
	EXPECT_STREQ("ENOTCONN", REMOTE_NAME(self->other));
	EXPECT_STREQ(text_of(opt.host, self->port).text, LOCAL_NAME(self->other));
}

/* The first datagram gives the socket a port, for answers. */
TEST_F(names, sending_gives_a_port)
{
	unsigned int port;

	EXPECT_EQ(1, send_to(self->fd, opt.host, self->port, "1", 1));
	port = local_port(self->fd);
	ASSERT_NE(0, port);
	EXPECT_STREQ(text_of("0.0.0.0", port).text, LOCAL_NAME(self->fd));
	EXPECT_EQ(1, recv(self->other, data, sizeof(data), 0));
	EXPECT_STREQ(text_of(opt.host, port).text,
		     seen_sender(self->fd, self->other).text);
	EXPECT_EQ(6, send_to(self->other, opt.host, port, "answer", 6));
	EXPECT_EQ(6, recv(self->fd, data, sizeof(data), 0));
	EXPECT_EQ(port, local_port(self->fd));
	/* The socket can no longer be bound to another port. */
	EXPECT_EQ(-1, bind_to(self->fd, opt.host, 0));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(names, connecting_gives_an_address)
{
	unsigned int port;

	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->port));
	port = local_port(self->fd);
	ASSERT_NE(0, port);
	EXPECT_STREQ(text_of(opt.host, port).text, LOCAL_NAME(self->fd));
	EXPECT_STREQ(text_of(opt.host, self->port).text, REMOTE_NAME(self->fd));
	EXPECT_EQ(-1, bind_to(self->fd, opt.host, 0));
	EXPECT_EQ(EINVAL, errno);
	/* Without the peer the socket has neither address nor port. */
	EXPECT_EQ(0, forget_peer(self->fd));
	EXPECT_STREQ("0.0.0.0 0", LOCAL_NAME(self->fd));
	EXPECT_STREQ("ENOTCONN", REMOTE_NAME(self->fd));
	EXPECT_EQ(0, bind_to(self->fd, opt.host, 0));
	EXPECT_EQ(-1, send(self->fd, "x", 1, 0));
	EXPECT_EQ(EDESTADDRREQ, errno);
	port = local_port(self->fd);
	EXPECT_NE(0, port);
	EXPECT_STREQ(text_of(opt.host, port).text,
		     seen_sender(self->fd, self->other).text);
}

TEST_F(names, unspec_keeps_what_was_bound)
{
	unsigned int port = unused_port(SOCK_DGRAM, TEST_PORTS);

	ASSERT_EQ(0, bind_to(self->fd, ANY_HOST, port));
	EXPECT_STREQ(text_of(ANY_HOST, port).text, LOCAL_NAME(self->fd));
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->port));
	EXPECT_STREQ(text_of(opt.host, port).text, LOCAL_NAME(self->fd));
	EXPECT_EQ(0, forget_peer(self->fd));
	EXPECT_STREQ(text_of(ANY_HOST, port).text, LOCAL_NAME(self->fd));
	EXPECT_EQ(0, forget_peer(self->fd));
	EXPECT_EQ(-1, bind_to(self->fd, opt.host, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_STREQ(text_of(opt.host, port).text,
		     seen_sender(self->fd, self->other).text);
}

/* A port that the system chose is given back, a bound address is kept. */
TEST_F(names, unspec_gives_a_chosen_port_back)
{
	const char *const hosts[] = { ANY_HOST, opt.host };
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_LEN(hosts); i++) {
		fd = new_datagram(0);
		ASSERT_EQ(0, bind_to(fd, hosts[i], 0));
		EXPECT_NE(0, local_port(fd));
		EXPECT_EQ(0, forget_peer(fd));
		EXPECT_STREQ(text_of(hosts[i], 0).text, LOCAL_NAME(fd));
		EXPECT_EQ(0, bind_to(fd, opt.host, 0));
		EXPECT_STREQ(text_of(opt.host, local_port(fd)).text,
			     LOCAL_NAME(fd));
		EXPECT_STREQ(LOCAL_NAME(fd), seen_sender(fd, self->other).text);
		close(fd);
	}
}

/* Name resolution does this to learn which source addresses there are. */
TEST_F(names, peers_one_after_another)
{
	int i, third = open_datagram();
	unsigned int ports[2] = { self->port, local_port(third) };

	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, connect_to(self->fd, opt.host, ports[i % 2]));
		EXPECT_STREQ(text_of(opt.host, ports[i % 2]).text,
			     REMOTE_NAME(self->fd));
		/* Each datagram goes to the peer at the time it is sent. */
		EXPECT_EQ(i, send(self->fd, data, i, 0));
		if (i % 3 == 0)
			EXPECT_EQ(0, forget_peer(self->fd));
	}
	for (i = 0; i < 20; i++)
		EXPECT_EQ(i, recv(i % 2 ? third : self->other, data,
				  sizeof(data), 0));
	close(third);
}

TEST_F(names, a_peer_keeps_others_out)
{
	int third = open_datagram();

	ASSERT_EQ(0, bind_to(self->fd, opt.host, 0));
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->port));
	EXPECT_EQ(5, send_to(third, opt.host, local_port(self->fd), "third",
			     5));
	/* The datagram was sent, and refused. */
	ASSERT_NE(0, local_port(third));
	EXPECT_EQ(4, send_to(self->other, opt.host, local_port(self->fd),
			     "peer", 4));
	EXPECT_EQ(4, recv(self->fd, data, sizeof(data), 0));
	EXPECT_EQ(-1, recv(self->fd, data, sizeof(data), MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	close(third);
}

TEST_F(names, connected_may_send_elsewhere)
{
	int third = open_datagram();

	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->port));
	EXPECT_STREQ(LOCAL_NAME(self->fd), seen_sender(self->fd, third).text);
	EXPECT_EQ(1, send(self->fd, "x", 1, 0));
	EXPECT_EQ(1, recv(self->other, data, sizeof(data), 0));
	EXPECT_STREQ(text_of(opt.host, self->port).text, REMOTE_NAME(self->fd));
	close(third);
}

TEST_F(names, bad_addresses)
{
	struct sockaddr_in sin = address(opt.host, 9), unspec = sin, none = sin;
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	const struct {
		const char *name;
		const void *addr;
		socklen_t len;
		int to_bind;
		int to_connect;
		int to_send;
	} cases[] = {
		{ "nothing", &sin, 0, EINVAL, EINVAL, EINVAL },
		{ "a byte", &sin, 1, EINVAL, EINVAL, EINVAL },
		{ "only a family", &sin, 2, EINVAL, EINVAL, EINVAL },
		{ "one byte short", &sin, 15, EINVAL, EINVAL, EINVAL },
		{ "negative", &sin, -1, EINVAL, EINVAL, EINVAL },
		{ "too long", &sin, 4096, EINVAL, EINVAL, EINVAL },
		{ "not ours", (void *)1, 16, EFAULT, EFAULT, EFAULT },
		{ "another family", &un, sizeof(un), EAFNOSUPPORT,
		  EAFNOSUPPORT, EAFNOSUPPORT },
		{ "no family", &unspec, 16, EAFNOSUPPORT, 0, 0 },
		{ "port 0", &none, 16, 0, 0, EINVAL },
	};
	size_t i;
	int fd;

	unspec.sin_family = AF_UNSPEC;
	unspec.sin_port = htons(self->port);
	none.sin_port = 0;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		const void *addr = cases[i].addr;

		fd = new_datagram(0);
		errno = 0;
		bind(fd, addr, cases[i].len);
		EXPECT_EQ(cases[i].to_bind, errno)
			TH_LOG("bind: %s", cases[i].name);
		close(fd);
		fd = new_datagram(0);
		errno = 0;
		connect(fd, addr, cases[i].len);
		EXPECT_EQ(cases[i].to_connect, errno)
			TH_LOG("connect: %s", cases[i].name);
		errno = 0;
		sendto(fd, "x", 1, 0, addr, cases[i].len);
		EXPECT_EQ(cases[i].to_send, errno)
			TH_LOG("sendto: %s", cases[i].name);
		close(fd);
	}
	EXPECT_EQ(1, recv(self->other, data, sizeof(data), 0));
}

TEST_F(names, nobody_to_send_to)
{
	EXPECT_EQ(-1, send(self->fd, "x", 1, 0));
	EXPECT_EQ(EDESTADDRREQ, errno);
	EXPECT_EQ(-1, write(self->fd, "x", 1));
	EXPECT_EQ(EDESTADDRREQ, errno);
	EXPECT_EQ(-1, send(self->other, "x", 1, MSG_DONTWAIT));
	EXPECT_EQ(EDESTADDRREQ, errno);
}

TEST_F(names, where_no_way_leads)
{
	const struct {
		const char *host;
		int error;
	} cases[] = {
		{ opt.noroute, ENETUNREACH },
		{ opt.unreachable, EHOSTUNREACH },
		{ "192.0.2.255", EACCES },
	};
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		fd = new_datagram(0);
		EXPECT_EQ(-1, connect_to(fd, cases[i].host, 9));
		EXPECT_EQ(cases[i].error, errno) TH_LOG("%s", cases[i].host);
		EXPECT_STREQ("ENOTCONN", REMOTE_NAME(fd));
		EXPECT_EQ(cases[i].error, send_to_error(fd, cases[i].host, 9))
			TH_LOG("%s", cases[i].host);
		/* Afterwards the socket is as before. */
		EXPECT_EQ(0, so_error(fd));
		EXPECT_EQ(4, send_to(fd, opt.host, self->port, "well", 4));
		EXPECT_EQ(4, recv(self->other, data, sizeof(data), 0));
		close(fd);
	}
}

/* A failed attempt to change the peer keeps the old peer. */
TEST_F(names, a_failed_connect_changes_nothing)
{
	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->port));
	EXPECT_EQ(-1, connect_to(self->fd, opt.noroute, 9));
	EXPECT_EQ(ENETUNREACH, errno);
	EXPECT_STREQ(text_of(opt.host, self->port).text, REMOTE_NAME(self->fd));
	EXPECT_EQ(4, send(self->fd, "peer", 4, 0));
	EXPECT_EQ(4, recv(self->other, data, sizeof(data), 0));
}

TEST_F(names, everybody_if_that_is_wanted)
{
	int on = 1, off = 0, value = -1;
	socklen_t len = sizeof(value);

	ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_BROADCAST, &on,
				sizeof(on)));
	ASSERT_EQ(0, getsockopt(self->fd, SOL_SOCKET, SO_BROADCAST, &value,
				&len));
	EXPECT_EQ(1, value);
	EXPECT_EQ(0, connect_to(self->fd, "192.0.2.255", 9));
	EXPECT_EQ(0, forget_peer(self->fd));
	ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_BROADCAST, &off,
				sizeof(off)));
	EXPECT_EQ(-1, connect_to(self->fd, "192.0.2.255", 9));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(EACCES, send_to_error(self->fd, "192.0.2.255", 9));
}

TEST_F(names, ports_that_cannot_be_had)
{
	unsigned int port = unused_port(SOCK_DGRAM, TEST_PORTS);
	int second = new_datagram(0);

	ASSERT_LT(0, port);
	ASSERT_EQ(0, bind_to(second, opt.host, port));
	EXPECT_EQ(-1, bind_to(self->fd, opt.host, port));
	EXPECT_EQ(EADDRINUSE, errno);
	EXPECT_EQ(-1, bind_to(self->fd, ANY_HOST, port));
	EXPECT_EQ(EADDRINUSE, errno);
	EXPECT_EQ(-1, bind_to(self->fd, opt.blackhole, 0));
	EXPECT_EQ(EADDRNOTAVAIL, errno);
	EXPECT_STREQ("0.0.0.0 0", LOCAL_NAME(self->fd));
	close(second);
	EXPECT_EQ(0, bind_to(self->fd, opt.host, port));
	EXPECT_STREQ(text_of(opt.host, port).text, LOCAL_NAME(self->fd));
	EXPECT_EQ(-1, bind_to(self->fd, opt.host, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_STREQ(text_of(opt.host, port).text,
		     seen_sender(self->fd, self->other).text);
}

TEST_F(names, privileged_port_is_eacces)
{
	ASSERT_EQ(0, setuid(65534));
	EXPECT_EQ(-1, bind_to(self->fd, opt.host, 53));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(0, bind_to(self->fd, opt.host, 0));
}

TEST_F(names, reuseport_shares_when_both_ask)
{
	int second = new_datagram(0), on = 1;
	unsigned int port;

	ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_REUSEPORT, &on, 4));
	ASSERT_EQ(0, setsockopt(second, SOL_SOCKET, SO_REUSEPORT, &on, 4));
	ASSERT_EQ(0, bind_to(self->fd, opt.host, 0));
	port = local_port(self->fd);
	EXPECT_EQ(0, bind_to(second, opt.host, port));
	EXPECT_EQ(port, local_port(second));
	close(second);
}

/* SO_REUSEPORT gives nobody the datagrams of another user's server. */
TEST_F(names, reuseport_shares_with_the_same_user)
{
	int second, on = 1;
	unsigned int port;

	ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_REUSEPORT, &on, 4));
	ASSERT_EQ(0, bind_to(self->fd, opt.host, 0));
	port = local_port(self->fd);
	ASSERT_EQ(0, setuid(65534));
	second = new_datagram(0);
	ASSERT_EQ(0, setsockopt(second, SOL_SOCKET, SO_REUSEPORT, &on, 4));
	EXPECT_EQ(-1, bind_to(second, opt.host, port));
	EXPECT_EQ(EADDRINUSE, errno);
	close(second);
}

FIXTURE(ipv6) {
	int fd;
	int other;	/* bound */
	unsigned int port;
};

static int bind6(int fd, const char *host)
{
	struct sockaddr_storage ss;
	socklen_t len = parse_address(host, 0, &ss);

	return bind(fd, (struct sockaddr *)&ss, len);
}

static int connect6(int fd, const char *host, unsigned int port)
{
	struct sockaddr_storage ss;
	socklen_t len = parse_address(host, port, &ss);

	return connect(fd, (struct sockaddr *)&ss, len);
}

FIXTURE_SETUP(ipv6)
{
	self->fd = new_datagram6();
	ASSERT_LE(0, self->fd);
	self->other = new_datagram6();
	ASSERT_EQ(0, bind6(self->other, opt.host6));
	self->port = local_port(self->other);
	ASSERT_NE(0, self->port);
}

FIXTURE_TEARDOWN(ipv6)
{
	close(self->fd);
	close(self->other);
}

TEST_F(ipv6, there_and_back)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	char text[ADDRESS_TEXT];

	EXPECT_EQ(5, send_to(self->fd, opt.host6, self->port, "first", 5));
	EXPECT_STREQ(text_of("::", local_port(self->fd)).text, LOCAL_NAME(self->fd));
	EXPECT_EQ(5, recvfrom(self->other, data, sizeof(data), 0,
			      (struct sockaddr *)&ss, &len));
	EXPECT_EQ(sizeof(struct sockaddr_in6), len);
	EXPECT_STREQ(text_of(opt.host6, local_port(self->fd)).text,
		     address_text(&ss, text));
	EXPECT_EQ(3, sendto(self->other, "two", 3, 0, (struct sockaddr *)&ss,
			    len));
	EXPECT_EQ(3, recv(self->fd, data, sizeof(data), 0));
	ASSERT_EQ(0, connect6(self->fd, opt.host6, self->port));
	EXPECT_STREQ(text_of(opt.host6, self->port).text, REMOTE_NAME(self->fd));
	EXPECT_STREQ(text_of(opt.host6, local_port(self->fd)).text,
		     LOCAL_NAME(self->fd));
	EXPECT_EQ(5, send(self->fd, "three", 5, 0));
	EXPECT_EQ(5, recv(self->other, data, sizeof(data), 0));
}

TEST_F(ipv6, longest)
{
	static char longest[65528];

	EXPECT_EQ(65527, send_to(self->fd, opt.host6, self->port, longest,
				 65527));
	EXPECT_EQ(65527, recv(self->other, longest, sizeof(longest), 0));
	EXPECT_EQ(-1, send_to(self->fd, opt.host6, self->port, longest, 65528));
	EXPECT_EQ(EMSGSIZE, errno);
}

/* IPv4 over an IPv6 socket: by a mapped address, or by an IPv4 address. */
TEST_F(ipv6, reaches_ipv4)
{
	char mapped[80];
	int fd4 = open_datagram();
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char text[ADDRESS_TEXT];

	snprintf(mapped, sizeof(mapped), "::ffff:%s", opt.host);
	ASSERT_EQ(0, bind6(self->fd, "::"));
	EXPECT_EQ(5, send_to(self->fd, mapped, local_port(fd4), "first", 5));
	EXPECT_EQ(5, recvfrom(fd4, data, sizeof(data), 0,
			      (struct sockaddr *)&ss, &len));
	EXPECT_STREQ(text_of(opt.host, local_port(self->fd)).text,
		     address_text(&ss, text));
	EXPECT_EQ(3, sendto(fd4, "two", 3, 0, (struct sockaddr *)&ss, len));
	len = sizeof(ss);
	EXPECT_EQ(3, recvfrom(self->fd, data, sizeof(data), 0,
			      (struct sockaddr *)&ss, &len));
	EXPECT_STREQ(text_of(mapped, local_port(fd4)).text,
		     address_text(&ss, text));
	EXPECT_EQ(5, send_to(self->fd, opt.host, local_port(fd4), "three", 5));
	EXPECT_EQ(5, recv(fd4, data, sizeof(data), 0));
	EXPECT_EQ(0, connect_to(self->fd, opt.host, local_port(fd4)));
	EXPECT_STREQ(text_of(mapped, local_port(fd4)).text, REMOTE_NAME(self->fd));
	EXPECT_EQ(4, send(self->fd, "four", 4, 0));
	EXPECT_EQ(4, recv(fd4, data, sizeof(data), 0));
	close(fd4);
}

TEST_F(ipv6, ipv4_does_not_reach_ipv6)
{
	int fd4 = open_datagram();

	EXPECT_EQ(-1, send_to(fd4, opt.host6, self->port, "x", 1));
	EXPECT_EQ(EAFNOSUPPORT, errno);
	EXPECT_EQ(-1, connect6(fd4, opt.host6, self->port));
	EXPECT_EQ(EAFNOSUPPORT, errno);
	close(fd4);
}

TEST_F(ipv6, bad_addresses)
{
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6 };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	const struct {
		const void *addr;
		socklen_t len;
		int error;
	} cases[] = {
		{ &sin6, 0, EINVAL }, { &sin6, 2, EINVAL },
		{ &sin6, 23, EINVAL }, { &sin6, sizeof(sin6), EINVAL },
		{ &un, sizeof(un), EINVAL },
		{ &unspec, sizeof(unspec), EDESTADDRREQ },
	};
	size_t i;

	ASSERT_EQ(0, bind6(self->fd, "::"));
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		EXPECT_EQ(-1, sendto(self->fd, "x", 1, 0, cases[i].addr,
				     cases[i].len));
		EXPECT_EQ(cases[i].error, errno) TH_LOG("case %zu", i);
	}
}

XENSOCK_TEST_MAIN
