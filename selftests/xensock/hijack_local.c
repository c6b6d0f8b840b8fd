// SPDX-License-Identifier: GPL-2.0
/*
 * Servers at all addresses while loopback stays in the guest
 * (net.xensock.hijack_loopback 0): they serve the guest's own clients as well
 * as those that come through the backend. The test changes the settings of the
 * guest, so it must run alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "settings.h"
#include "util.h"

FIXTURE(hijack_local) {
	struct peer peer;
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

/* Binds to all addresses, and to any port if @port is 0. */
static int bind_all(int fd, int family, unsigned int port)
{
	struct sockaddr_storage any = {};

	return bind(fd, (void *)&any,
		    parse_address(family == AF_INET ? ANY_HOST : "::", port, &any));
}

/*
 * Returns a socket bound to a port that is free on both sides. The backend may
 * choose a port for which the guest itself has an old connection; the guest
 * then has no server there.
 */
static int bind_on_both_sides(int family)
{
	unsigned int port;
	int fd, tries;

	for (tries = 0; tries < 10; tries++) {
		restore_settings();
		fd = socket(family, SOCK_STREAM, 0);
		port = bind_all(fd, family, 0) ? 0 : local_port(fd);
		close(fd);
		if (write_setting("hijack_loopback", "0") || write_setting("hijack", "1"))
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

	self->listener = bind_on_both_sides(variant->family);
	ASSERT_LE(0, self->listener);
	ASSERT_TRUE(peer_open(&self->peer, 0));
	ASSERT_EQ(0, setsockopt(self->listener, SOL_TCP, TCP_NODELAY, &nodelay,
				sizeof(nodelay)));
	ASSERT_EQ(0, listen(self->listener, 8));
	self->port = local_port(self->listener);
	ASSERT_NE(0, self->port);
}

FIXTURE_TEARDOWN(hijack_local)
{
	restore_settings();
	close(self->listener);
	peer_close(&self->peer);
}

/* Connects a client in the guest. */
static int local_client(unsigned int port)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd >= 0 && !connect_to(fd, LOCALHOST, port))
		return fd;
	close(fd);
	return -1;
}

/* Connects a client on the other side. */
static bool remote_client(struct peer *peer, unsigned int port)
{
	return !strncmp(peer_run(peer, "connect %u", port), "ok", 2);
}

TEST_F(hijack_local, has_clients_of_both_sides)
{
	int fd, other;

	EXPECT_EQ(0, poll_now(self->listener));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_TRUE(local_transfer(fd, self->listener, self->port));
	close(fd);
	other = peer_accept(&self->peer, self->listener, 0);
	ASSERT_LE(0, other);
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 8"));
	EXPECT_TRUE(wait_readable(other, 10));
	close(other);
	/* The same after a client of each side has been there. */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_TRUE(local_transfer(fd, self->listener, self->port));
	close(fd);
	EXPECT_EQ(0, poll_now(self->listener));
}

/* An accepted socket is a TCP socket with the addresses and options of the listener. */
TEST_F(hijack_local, accepts_a_socket_of_tcp)
{
	struct sockaddr_storage name, mine;
	socklen_t len = sizeof(name);
	char text[ADDRESS_TEXT], expected[ADDRESS_TEXT];
	int fd = local_client(self->port), other, value = 0;

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
	/* Only native TCP sockets have this option. */
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
	fd = local_client(self->port);
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
	/* One connection for each of the two threads. */
	fd = local_client(self->port);
	ASSERT_LE(0, fd);
	EXPECT_TRUE(remote_client(&self->peer, self->port));
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
		fds[i] = local_client(self->port);
		ASSERT_LE(0, fds[i]);
		EXPECT_EQ(1, epoll_wait(ep, &event, 1, WAIT_LIMIT_MSEC));
		EXPECT_EQ(EPOLLIN, event.events);
	}
	EXPECT_TRUE(remote_client(&self->peer, self->port));
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

/* Clients of the guest need not wait until there are no others. */
TEST_F(hijack_local, takes_turns)
{
	int fd = -1, i, other;
	bool is_local;

	EXPECT_STREQ("ok 4", peer_run(&self->peer, "open %u 4", self->port));
	for (i = 0; i < 2; i++) {
		/* The first one may be told of the others before the client comes. */
		other = accept(self->listener, NULL, NULL);
		ASSERT_LE(0, other);
		is_local = !strncmp(REMOTE_NAME(other), variant->peer, strlen(variant->peer));
		EXPECT_EQ(i, is_local);
		close(other);
		if (!i)
			fd = local_client(self->port);
	}
	EXPECT_LE(0, fd);
	close(fd);
	EXPECT_STREQ("ok", peer_run(&self->peer, "closeall"));
}

/* Clients that were not accepted are reset. */
TEST_F(hijack_local, ends_on_both_sides)
{
	int fd = local_client(self->port);
	char byte;

	ASSERT_LE(0, fd) TH_LOG("%m");
	ASSERT_EQ(0, close(self->listener));
	self->listener = -1;
	EXPECT_EQ(-1, recv(fd, &byte, 1, 0));
	EXPECT_EQ(ECONNRESET, errno);
	close(fd);
	EXPECT_EQ(-1, local_client(self->port));
	EXPECT_EQ(ECONNREFUSED, errno);
	EXPECT_TRUE(peer_refused(&self->peer, self->port));
}

TEST_F(hijack_local, ends_with_shutdown)
{
	ASSERT_EQ(0, shutdown(self->listener, SHUT_RD));
	EXPECT_EQ(-1, local_client(self->port));
	EXPECT_EQ(ECONNREFUSED, errno);
	EXPECT_EQ(-1, accept(self->listener, NULL, NULL));
	EXPECT_EQ(EINVAL, errno);
	/* Another listen() makes it serve again. */
	ASSERT_EQ(0, listen(self->listener, 4));
	self->port = local_port(self->listener);
	EXPECT_LE(0, local_client(self->port));
}

/* A client in the guest that tries until there is a server, or until it need not. */
struct client {
	pthread_t thread;
	unsigned int port;
	atomic_int is_over;
	int fd;
};

static void *keep_trying(void *arg)
{
	struct client *client = arg;

	do {
		client->fd = local_client(client->port);
	} while (client->fd < 0 && !client->is_over);
	return NULL;
}

/* Runs before any other thread as soon as the listener has a client, and ends it. */
static void *end_with_client(void *arg)
{
	struct sched_param first = { .sched_priority = 1 };
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int fd = *(int *)arg, ep = epoll_create1(0);
	long failed = pthread_setschedparam(pthread_self(), SCHED_FIFO, &first) ||
		      epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);

	do {
		failed |= epoll_wait(ep, &event, 1, WAIT_LIMIT_MSEC) != 1;
	} while (!failed && !(event.events & EPOLLIN));
	failed |= shutdown(fd, SHUT_RDWR);
	close(ep);
	return (void *)failed;
}

/*
 * A client that comes before listen() is complete wakes the thread that ends
 * the listener in the middle of listen().
 */
TEST_F(hijack_local, ends_while_it_begins)
{
	struct client client = {};
	cpu_set_t one;
	pthread_t ender;
	long before = count_of("listeners");
	void *failed;
	int i, fd;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(one), &one));
	ASSERT_LE(0, before);
	for (i = 0; i < rounds(100); i++) {
		fd = bind_on_both_sides(variant->family);
		ASSERT_LE(0, fd);
		client.port = local_port(fd);
		client.is_over = 0;
		ASSERT_EQ(0, pthread_create(&ender, NULL, end_with_client, &fd));
		ASSERT_EQ(0, pthread_create(&client.thread, NULL, keep_trying, &client));
		EXPECT_EQ(0, listen(fd, 1));
		EXPECT_EQ(0, pthread_join(ender, &failed));
		EXPECT_EQ(NULL, failed);
		client.is_over = 1;
		EXPECT_EQ(0, pthread_join(client.thread, NULL));
		close(client.fd);
		close(fd);
	}
	EXPECT_EQ(before, count_of("listeners"));
}

/* The guest has a server of its own at the port, or the reverse. */
TEST_F(hijack_local, has_the_port_alone)
{
	int fd, tries;

	ASSERT_EQ(0, write_setting("exempt_bind_ports", "0-65535"));
	fd = socket(variant->family, SOCK_STREAM, 0);
	EXPECT_EQ(-1, bind_all(fd, variant->family, self->port));
	EXPECT_EQ(EADDRINUSE, errno);
	/* The port that the guest chooses may not be free on the other side. */
	for (tries = 0; tries < 10; tries++) {
		ASSERT_EQ(0, bind_all(fd, variant->family, 0));
		ASSERT_EQ(0, listen(fd, 1));
		ASSERT_EQ(0, write_setting("exempt_bind_ports", ""));
		close(self->listener);
		self->listener = socket(variant->family, SOCK_STREAM, 0);
		if (!bind_all(self->listener, variant->family, local_port(fd)))
			break;
		ASSERT_EQ(0, write_setting("exempt_bind_ports", "0-65535"));
		close(fd);
		fd = socket(variant->family, SOCK_STREAM, 0);
	}
	ASSERT_GT(10, tries);
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

/* bind() has checked the right to the port already. */
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
	EXPECT_LE(0, local_client(port));
	close(fd);
}

/* A server bound to one address serves that address only. */
TEST_F(hijack_local, is_for_all_addresses_only)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	unsigned int port;

	ASSERT_EQ(0, bind_to(fd, opt.host, 0));
	ASSERT_EQ(0, listen(fd, 4));
	port = local_port(fd);
	EXPECT_EQ(-1, local_client(port));
	EXPECT_EQ(ECONNREFUSED, errno);
	EXPECT_TRUE(remote_client(&self->peer, port));
	close(fd);
}

/* Programs that ask for a port but for no address bind like this. */
TEST_F(hijack_local, is_reached_from_a_port_of_all_addresses)
{
	int server = socket(AF_INET, SOCK_STREAM, 0), fd, other, reuse = 1;
	int tries, failed;
	struct sockaddr_storage to = {};
	struct sockaddr_in from = {};
	socklen_t len = sizeof(from);
	unsigned int port;

	ASSERT_EQ(0, bind_to(server, LOCALHOST, 0));
	ASSERT_EQ(0, listen(server, 4));
	/* The guest itself may have an old connection at the port that the backend chooses. */
	for (tries = 0; tries < 10; tries++) {
		fd = socket(variant->family, SOCK_STREAM, 0);
		ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse)));
		ASSERT_EQ(0, bind_all(fd, variant->family, 0));
		port = local_port(fd);
		ASSERT_NE(0, port);
		failed = connect(fd, (void *)&to, parse_address(variant->family == AF_INET ?
				 LOCALHOST : variant->peer, local_port(server), &to));
		if (!failed || errno != EADDRINUSE)
			break;
		close(fd);
	}
	ASSERT_EQ(0, failed) TH_LOG("%m");
	EXPECT_EQ(port, local_port(fd));
	other = accept(server, (void *)&from, &len);
	ASSERT_LE(0, other);
	EXPECT_EQ(port, ntohs(from.sin_port));
	EXPECT_EQ(2, send(fd, "hi", 2, 0));
	EXPECT_EQ(2, recv(other, &port, 2, 0));
	close(other);
	close(fd);
	close(server);

	/* The other side is reached over its own network. */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	ASSERT_EQ(0, bind_all(fd, AF_INET, 0));
	EXPECT_EQ(0, connect_to(fd, opt.host, self->peer.port)) TH_LOG("%m");
	close(fd);
}

/* The same for datagrams: clients with any port, and clients that connect. */
TEST_F(hijack_local, has_datagrams_from_a_port_of_all_addresses)
{
	const char *host = variant->family == AF_INET ? LOCALHOST : variant->peer;
	int server = socket(AF_INET, SOCK_DGRAM, 0), fd, chosen;
	struct sockaddr_storage to = {};
	struct sockaddr_in from = {};
	socklen_t len, size;
	unsigned int port;
	char data[8];

	ASSERT_EQ(0, write_setting("hijack", "2"));
	set_timeout(server, SO_RCVTIMEO, WAIT_LIMIT_MSEC);
	ASSERT_EQ(0, bind_to(server, LOCALHOST, 0));
	size = parse_address(host, local_port(server), &to);
	for (chosen = 0; chosen < 2; chosen++) {
		fd = socket(variant->family, SOCK_DGRAM, 0);
		ASSERT_EQ(0, bind_all(fd, variant->family, 0));
		port = local_port(fd);
		ASSERT_NE(0, port);
		if (chosen) {
			close(fd);
			fd = socket(variant->family, SOCK_DGRAM, 0);
			ASSERT_EQ(0, bind_all(fd, variant->family, port));
			ASSERT_EQ(0, connect(fd, (void *)&to, size)) TH_LOG("%m");
		}
		EXPECT_EQ(2, sendto(fd, "hi", 2, 0, (void *)&to, size)) TH_LOG("%m");
		EXPECT_EQ(port, local_port(fd));
		len = sizeof(from);
		EXPECT_EQ(2, recvfrom(server, data, 8, 0, (void *)&from, &len)) TH_LOG("%m");
		EXPECT_EQ(port, ntohs(from.sin_port));
		EXPECT_EQ(3, sendto(server, "yes", 3, 0, (void *)&from, len));
		set_timeout(fd, SO_RCVTIMEO, WAIT_LIMIT_MSEC);
		EXPECT_EQ(3, recv(fd, data, 8, 0)) TH_LOG("%m");
		close(fd);
	}
	close(server);

	/* A client that has sent to the other side stays there. */
	server = socket(AF_INET, SOCK_DGRAM, 0);
	set_timeout(server, SO_RCVTIMEO, WAIT_LIMIT_MSEC);
	ASSERT_EQ(0, bind_to(server, opt.host, 0));
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	ASSERT_EQ(0, bind_all(fd, AF_INET, 0));
	port = local_port(fd);
	size = parse_address(opt.host, local_port(server), &to);
	EXPECT_EQ(2, sendto(fd, "hi", 2, 0, (void *)&to, size));
	EXPECT_EQ(2, recv(server, data, 8, 0));
	parse_address(LOCALHOST, 9, &to);
	sendto(fd, "?", 1, 0, (void *)&to, size);
	EXPECT_EQ(port, local_port(fd));
	parse_address(opt.host, port, &to);
	EXPECT_EQ(3, sendto(server, "yes", 3, 0, (void *)&to, size));
	set_timeout(fd, SO_RCVTIMEO, WAIT_LIMIT_MSEC);
	while (recv(fd, data, 8, 0) != 3 && errno != EAGAIN)
		;
	EXPECT_EQ(0, memcmp("yes", data, 3));
	close(fd);
	close(server);
}

/* Old programs leave the family of the address out. */
TEST(datagrams_to_an_address_without_a_family)
{
	long before = decision_count("local");
	struct sockaddr_in to;
	int server, fd;
	char data[8];

	restore_settings();
	server = socket(AF_INET, SOCK_DGRAM, 0);
	set_timeout(server, SO_RCVTIMEO, WAIT_LIMIT_MSEC);
	ASSERT_EQ(0, bind_to(server, LOCALHOST, 0));
	to = address(LOCALHOST, local_port(server));
	to.sin_family = AF_UNSPEC;
	ASSERT_EQ(0, write_setting("hijack_loopback", "0"));
	ASSERT_EQ(0, write_setting("hijack", "2"));
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	EXPECT_EQ(2, sendto(fd, "hi", 2, 0, (void *)&to, sizeof(to))) TH_LOG("%m");
	EXPECT_EQ(2, recv(server, data, 8, 0)) TH_LOG("%m");
	EXPECT_EQ(before + 1, decision_count("local"));
	restore_settings();
	close(fd);
	close(server);
}

XENSOCK_TEST_MAIN
