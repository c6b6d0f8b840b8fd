// SPDX-License-Identifier: GPL-2.0
/*
 * Servers at all addresses, where those of the guest stay in the guest
 * (net.xensock.hijack_loopback 0): they have the guest's own clients as well
 * as those that come by the backend. This changes the settings of the guest,
 * which nobody else may use at the same time.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "settings.h"
#include "util.h"

FIXTURE(hijack_local) {
	struct puppet peer;
	int listener;
	unsigned int port;
};

FIXTURE_VARIANT(hijack_local) {
	int family;
	const char *peer;
};

FIXTURE_VARIANT_ADD(hijack_local, ipv4) {
	.family = AF_INET,
	.peer = "127.0.0.1",
};

FIXTURE_VARIANT_ADD(hijack_local, ipv6) {
	.family = AF_INET6,
	.peer = "::ffff:127.0.0.1",
};

/* At all addresses, and any port if it is 0. */
static int bind_all(int fd, int family, unsigned int port)
{
	struct sockaddr_storage any = {};

	return bind(fd, (void *)&any,
		    any_address(family == AF_INET ? ANY_HOST : "::", port, &any));
}

/*
 * Bound to a port that is free on both sides: of one that the backend chooses
 * the guest itself may have an old connection, and then has no server there.
 */
static int listener_of_both(int family)
{
	unsigned int port;
	int fd, tries;

	for (tries = 0; tries < 10; tries++) {
		restore();
		fd = socket(family, SOCK_STREAM, 0);
		port = bind_all(fd, family, 0) ? 0 : local_port(fd);
		close(fd);
		if (set("hijack_loopback", "0") || set("hijack", "1"))
			return -1;
		fd = socket(family, SOCK_STREAM, 0);
		if (!bind_all(fd, family, port))
			return fd;
		close(fd);
	}
	return -1;
}

FIXTURE_SETUP(hijack_local)
{
	int nodelay = 1;

	self->listener = listener_of_both(variant->family);
	ASSERT_LE(0, self->listener);
	ASSERT_TRUE(puppet_open(&self->peer, 0));
	ASSERT_EQ(0, setsockopt(self->listener, SOL_TCP, TCP_NODELAY, &nodelay,
				sizeof(nodelay)));
	ASSERT_EQ(0, listen(self->listener, 8));
	self->port = local_port(self->listener);
	ASSERT_NE(0, self->port);
}

FIXTURE_TEARDOWN(hijack_local)
{
	restore();
	close(self->listener);
	puppet_close(&self->peer);
}

/* A client in the guest, connected. */
static int own_client(unsigned int port)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd >= 0 && !connect_to(fd, LOCALHOST, port))
		return fd;
	close(fd);
	return -1;
}

/* A client of the other side. */
static bool visit(struct puppet *peer, unsigned int port)
{
	return !strncmp(puppet_do(peer, "connect %u", port), "ok", 2);
}

TEST_F(hijack_local, has_clients_of_both_sides)
{
	int fd, other;

	EXPECT_EQ(0, poll_now(self->listener));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_TRUE(talks_locally(fd, self->listener, self->port));
	close(fd);
	other = puppet_visit(&self->peer, self->listener, 0);
	ASSERT_LE(0, other);
	EXPECT_STREQ("ok 10", puppet_do(&self->peer, "send 10 8"));
	EXPECT_TRUE(wait_readable(other, 10));
	close(other);
	/* And again, now that one of each has been there. */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_TRUE(talks_locally(fd, self->listener, self->port));
	close(fd);
	EXPECT_EQ(0, poll_now(self->listener));
}

/* What is accepted is TCP's, with the addresses and the options of the listener. */
TEST_F(hijack_local, accepts_a_socket_of_tcp)
{
	struct sockaddr_storage name, mine;
	socklen_t len = sizeof(name);
	char text[ADDRESS_TEXT], expected[ADDRESS_TEXT];
	int fd = own_client(self->port), other, value = 0;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, getsockname(fd, (void *)&mine, &len));
	len = sizeof(name);
	other = accept4(self->listener, (void *)&name, &len, SOCK_NONBLOCK);
	ASSERT_LE(0, other);
	EXPECT_EQ(variant->family, name.ss_family);
	snprintf(expected, sizeof(expected), "%s %u", variant->peer,
		 ntohs(((struct sockaddr_in *)&mine)->sin_port));
	EXPECT_STREQ(expected, address_text(&name, text));
	len = sizeof(name);
	ASSERT_EQ(0, getsockname(other, (void *)&name, &len));
	snprintf(expected, sizeof(expected), "%s %u", variant->peer, self->port);
	EXPECT_STREQ(expected, address_text(&name, text));
	len = sizeof(value);
	EXPECT_EQ(0, getsockopt(other, SOL_TCP, TCP_NODELAY, &value, &len));
	EXPECT_EQ(1, value);
	EXPECT_EQ(0, getsockopt(other, SOL_SOCKET, SO_PROTOCOL, &value, &len));
	EXPECT_EQ(IPPROTO_TCP, value);
	/* An option that only TCP's own have. */
	EXPECT_EQ(0, getsockopt(other, SOL_TCP, TCP_FASTOPEN, &value, &len));
	EXPECT_EQ(-1, recv(other, &value, 1, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, shutdown(fd, SHUT_WR));
	EXPECT_TRUE(wait_poll(other, POLLIN, NULL));
	EXPECT_EQ(0, recv(other, &value, 1, 0));
	close(other);
	close(fd);
}

TEST_F(hijack_local, has_options_that_were_set_later)
{
	int fd, other, value = 1234;
	socklen_t len = sizeof(value);

	ASSERT_EQ(0, setsockopt(self->listener, SOL_TCP, TCP_KEEPIDLE, &value,
				sizeof(value)));
	fd = own_client(self->port);
	other = accept(self->listener, NULL, NULL);
	ASSERT_LE(0, other);
	value = 0;
	EXPECT_EQ(0, getsockopt(other, SOL_TCP, TCP_KEEPIDLE, &value, &len));
	EXPECT_EQ(1234, value);
	close(other);
	close(fd);
}

TEST_F(hijack_local, wakes_who_accepts)
{
	struct waiter waiters[2];
	int i, fd, other;

	for (i = 0; i < 2; i++)
		ASSERT_TRUE(waiter_start(&waiters[i], in_accept, self->listener));
	/* One for each, whoever takes which. */
	fd = own_client(self->port);
	ASSERT_LE(0, fd);
	EXPECT_TRUE(visit(&self->peer, self->port));
	for (i = 0; i < 2; i++) {
		other = waiter_end(&waiters[i]);
		EXPECT_LE(0, other);
		close(other);
	}
	close(fd);
}

TEST_F(hijack_local, is_ready_under_epoll)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int ep = epoll_create1(0), fds[2], others[3], i;

	set_nonblock(self->listener, true);
	EXPECT_EQ(-1, accept(self->listener, NULL, NULL));
	EXPECT_EQ(EAGAIN, errno);
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, self->listener, &event));
	EXPECT_EQ(0, epoll_wait(ep, &event, 1, 0));
	for (i = 0; i < 2; i++) {
		fds[i] = own_client(self->port);
		ASSERT_LE(0, fds[i]);
		EXPECT_EQ(1, epoll_wait(ep, &event, 1, WAIT_LIMIT_MSEC));
		EXPECT_EQ(EPOLLIN, event.events);
	}
	EXPECT_TRUE(visit(&self->peer, self->port));
	EXPECT_EQ(1, epoll_wait(ep, &event, 1, WAIT_LIMIT_MSEC));
	for (i = 0; i < 3; i++) {
		EXPECT_TRUE(wait_poll(self->listener, POLLIN, NULL));
		others[i] = accept(self->listener, NULL, NULL);
		EXPECT_LE(0, others[i]);
	}
	EXPECT_EQ(-1, accept(self->listener, NULL, NULL));
	EXPECT_EQ(EAGAIN, errno);
	for (i = 0; i < 3; i++)
		close(others[i]);
	for (i = 0; i < 2; i++)
		close(fds[i]);
	close(ep);
}

/* Nobody hears of who was not accepted, on either side. */
TEST_F(hijack_local, ends_on_both_sides)
{
	int fd = own_client(self->port);
	char byte;

	ASSERT_LE(0, fd) TH_LOG("%m");
	ASSERT_EQ(0, close(self->listener));
	self->listener = -1;
	EXPECT_EQ(-1, recv(fd, &byte, 1, 0));
	EXPECT_EQ(ECONNRESET, errno);
	close(fd);
	EXPECT_EQ(-1, own_client(self->port));
	EXPECT_EQ(ECONNREFUSED, errno);
	EXPECT_TRUE(puppet_refused(&self->peer, self->port));
}

TEST_F(hijack_local, ends_with_shutdown)
{
	ASSERT_EQ(0, shutdown(self->listener, SHUT_RD));
	EXPECT_EQ(-1, own_client(self->port));
	EXPECT_EQ(ECONNREFUSED, errno);
	EXPECT_EQ(-1, accept(self->listener, NULL, NULL));
	EXPECT_EQ(EINVAL, errno);
	/* And goes on with another listen(). */
	ASSERT_EQ(0, listen(self->listener, 4));
	self->port = local_port(self->listener);
	EXPECT_LE(0, own_client(self->port));
}

/* There is a server of the guest's own at the port, or the other way round. */
TEST_F(hijack_local, has_the_port_alone)
{
	int fd;

	ASSERT_EQ(0, set("exempt_bind_ports", "0-65535"));
	fd = socket(variant->family, SOCK_STREAM, 0);
	EXPECT_EQ(-1, bind_all(fd, variant->family, self->port));
	EXPECT_EQ(EADDRINUSE, errno);
	ASSERT_EQ(0, bind_all(fd, variant->family, 0));
	ASSERT_EQ(0, listen(fd, 1));
	ASSERT_EQ(0, set("exempt_bind_ports", ""));
	close(self->listener);
	self->listener = socket(variant->family, SOCK_STREAM, 0);
	ASSERT_EQ(0, bind_all(self->listener, variant->family, local_port(fd)));
	EXPECT_EQ(-1, listen(self->listener, 8));
	EXPECT_EQ(EADDRINUSE, errno);
	close(fd);
}

static bool set_unprivileged(const char *start)
{
	int fd = open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_WRONLY);
	bool good = write(fd, start, strlen(start)) > 0;

	close(fd);
	return good;
}

/* The right to the port was asked for by bind(). */
TEST_F(hijack_local, listens_without_privileges)
{
	unsigned int port = 30000 + getpid() % 1900;
	int fd = socket(variant->family, SOCK_STREAM, 0), status = -1;
	pid_t pid;

	ASSERT_TRUE(set_unprivileged("32000"));
	EXPECT_EQ(0, bind_all(fd, variant->family, port));
	pid = fork();
	if (!pid) {
		if (setgid(65534) || setuid(65534) || listen(fd, 4))
			_exit(errno);
		_exit(0);
	}
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(set_unprivileged("1024"));
	EXPECT_LE(0, own_client(port));
	close(fd);
}

/* With an address of its own a server has no more than that. */
TEST_F(hijack_local, is_for_all_addresses_only)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	unsigned int port;

	ASSERT_EQ(0, bind_to(fd, opt.host, 0));
	ASSERT_EQ(0, listen(fd, 4));
	port = local_port(fd);
	EXPECT_EQ(-1, own_client(port));
	EXPECT_EQ(ECONNREFUSED, errno);
	EXPECT_TRUE(visit(&self->peer, port));
	close(fd);
}

/* As programs do it that ask for a port of their own, but for no address. */
TEST_F(hijack_local, is_reached_from_a_port_of_all_addresses)
{
	int server = socket(AF_INET, SOCK_STREAM, 0), fd, other, reuse = 1;
	struct sockaddr_storage to = {};
	struct sockaddr_in from = {};
	socklen_t len = sizeof(from);
	unsigned int port;

	ASSERT_EQ(0, bind_to(server, LOCALHOST, 0));
	ASSERT_EQ(0, listen(server, 4));
	fd = socket(variant->family, SOCK_STREAM, 0);
	ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse)));
	ASSERT_EQ(0, bind_all(fd, variant->family, 0));
	port = local_port(fd);
	ASSERT_NE(0, port);
	EXPECT_EQ(0, connect(fd, (void *)&to, any_address(variant->family == AF_INET ?
			LOCALHOST : variant->peer, local_port(server), &to))) TH_LOG("%m");
	EXPECT_EQ(port, local_port(fd));
	other = accept(server, (void *)&from, &len);
	ASSERT_LE(0, other);
	EXPECT_EQ(port, ntohs(from.sin_port));
	EXPECT_EQ(2, send(fd, "hi", 2, 0));
	EXPECT_EQ(2, recv(other, &port, 2, 0));
	close(other);
	close(fd);
	close(server);

	/* The other side is reached by its own network. */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	ASSERT_EQ(0, bind_all(fd, AF_INET, 0));
	EXPECT_EQ(0, connect_to(fd, opt.host, self->peer.port)) TH_LOG("%m");
	close(fd);
}

XENSOCK_TEST_MAIN
