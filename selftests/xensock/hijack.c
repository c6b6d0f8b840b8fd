// SPDX-License-Identifier: GPL-2.0
/*
 * TCP sockets while net.xensock.hijack is on. The test changes the settings of the guest, so it
 * must run alone.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/xensock.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "settings.h"
#include "util.h"

static int get_option(int fd, int level, int name)
{
	socklen_t len = sizeof(int);
	int value = -1;

	return getsockopt(fd, level, name, &value, &len) ? -errno : value;
}

FIXTURE(hijack) {
	struct peer peer;
	int local;
	unsigned int local_port;
};

FIXTURE_SETUP(hijack)
{
	restore_settings();
	self->local = local_listener();
	ASSERT_LE(0, self->local);
	self->local_port = local_port(self->local);
	ASSERT_EQ(0, write_setting("hijack", "1"));
	ASSERT_TRUE(peer_open(&self->peer, 0));
}

FIXTURE_TEARDOWN(hijack)
{
	restore_settings();
	close(self->local);
	peer_close(&self->peer);
}

static bool peer_transfer(int fd, struct peer *peer)
{
	char data[100];

	if (connect_to(fd, opt.host, peer->port) ||
	    strcmp(peer_run(peer, "accept"), "ok"))
		return false;
	stream_fill(7, 0, data, sizeof(data));
	if (send_all(fd, data, sizeof(data)) != sizeof(data) ||
	    strcmp(peer_run(peer, "recv 100 7"), "ok 100") ||
	    strcmp(peer_run(peer, "send 100 8"), "ok 100"))
		return false;
	return recv_all(fd, data, sizeof(data)) == sizeof(data) &&
	       stream_check(8, 0, data, sizeof(data));
}

TEST_F(hijack, goes_to_the_backend)
{
	long before = decision_count("xensock");
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ASSERT_LE(0, fd);
	EXPECT_TRUE(peer_transfer(fd, &self->peer));
	EXPECT_EQ(before + 1, decision_count("xensock"));
	close(fd);
}

/* A hijacked socket is a TCP socket for everyone who asks. */
TEST_F(hijack, looks_like_tcp)
{
	static const int families[] = { AF_INET, AF_INET6 };
	static const int protocols[] = { 0, IPPROTO_TCP, IPPROTO_MPTCP,
					 IPPROTO_XENSOCK };
	struct stat st;
	size_t i, j;
	int fd;

	for (i = 0; i < ARRAY_LEN(families); i++) {
		for (j = 0; j < ARRAY_LEN(protocols); j++) {
			fd = socket(families[i], SOCK_STREAM, protocols[j]);
			ASSERT_LE(0, fd);
			EXPECT_EQ(families[i], get_option(fd, SOL_SOCKET, SO_DOMAIN));
			EXPECT_EQ(SOCK_STREAM, get_option(fd, SOL_SOCKET, SO_TYPE));
			EXPECT_EQ(IPPROTO_TCP, get_option(fd, SOL_SOCKET, SO_PROTOCOL));
			EXPECT_EQ(0, fstat(fd, &st));
			EXPECT_TRUE(S_ISSOCK(st.st_mode));
			close(fd);
		}
	}
}

/* The addresses have the family of the socket. */
TEST_F(hijack, has_names_of_its_family)
{
	struct sockaddr_in6 name = { .sin6_family = AF_INET6 };
	socklen_t len = sizeof(name);
	char text[ADDRESS_TEXT];
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, getsockname(fd, (void *)&name, &len));
	EXPECT_EQ(sizeof(name), len);
	EXPECT_STREQ(":: 0", address_text((void *)&name, text));
	name.sin6_port = htons(self->peer.port);
	name.sin6_addr.s6_addr[10] = 0xff;
	name.sin6_addr.s6_addr[11] = 0xff;
	inet_pton(AF_INET, opt.host, &name.sin6_addr.s6_addr[12]);
	ASSERT_EQ(0, connect(fd, (void *)&name, sizeof(name)));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	len = sizeof(name);
	ASSERT_EQ(0, getpeername(fd, (void *)&name, &len));
	EXPECT_EQ(AF_INET6, name.sin6_family);
	EXPECT_TRUE(IN6_IS_ADDR_V4MAPPED(&name.sin6_addr));
	EXPECT_EQ(self->peer.port, ntohs(name.sin6_port));
	len = sizeof(name);
	ASSERT_EQ(0, getsockname(fd, (void *)&name, &len));
	EXPECT_TRUE(IN6_IS_ADDR_V4MAPPED(&name.sin6_addr));
	EXPECT_NE(0, name.sin6_port);
	/* The IPv4 address belongs to the other family, and is too short for this one. */
	close(fd);
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	EXPECT_EQ(-1, connect_to(fd, opt.host, self->peer.port));
	EXPECT_EQ(EINVAL, errno);
	close(fd);
}

TEST_F(hijack, leaves_other_sockets_alone)
{
	char before[512], *after;
	int fds[4];
	size_t i;

	snprintf(before, sizeof(before), "%s", read_setting("decisions"));
	fds[0] = socket(AF_INET, SOCK_DGRAM, 0);
	fds[1] = socket(AF_UNIX, SOCK_STREAM, 0);
	fds[2] = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	fds[3] = socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDP);
	for (i = 0; i < ARRAY_LEN(fds); i++) {
		ASSERT_LE(0, fds[i]);
		/* The call fails before a backend is asked. */
		EXPECT_EQ(-1, connect_to(fds[i], opt.host, 9));
		close(fds[i]);
	}
	after = (char *)read_setting("decisions");
	EXPECT_STREQ(before, after);
}

/* Sockets that are open when hijacking is turned on or off go on unchanged. */
TEST_F(hijack, is_turned_off_and_on)
{
	int ours = socket(AF_INET, SOCK_STREAM, 0), local, again;

	ASSERT_TRUE(peer_transfer(ours, &self->peer));
	ASSERT_EQ(0, write_setting("hijack", "0"));
	EXPECT_STREQ("0", read_setting("hijack"));
	local = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_TRUE(local_transfer(local, self->local, self->local_port));
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 8"));
	EXPECT_TRUE(wait_readable(ours, 10));
	ASSERT_EQ(0, write_setting("hijack", "1"));
	again = dup(local);
	EXPECT_EQ(1, send(again, "x", 1, MSG_NOSIGNAL) > 0);
	close(again);
	close(local);
	close(ours);
}

TEST_F(hijack, exempts_destinations)
{
	long before, xensock = decision_count("xensock");
	int fd, nodelay = 1;

	ASSERT_EQ(0, write_setting("exempt_destinations", "10.0.0.0/8 127.0.0.0/8:1-65535"));
	EXPECT_STREQ("10.0.0.0/8 127.0.0.0/8:1-65535", read_setting("exempt_destinations"));
	before = decision_count("exempt-destination");
	fd = socket(AF_INET, SOCK_STREAM, 0);
	/* Options set before the decision are copied. */
	ASSERT_EQ(0, setsockopt(fd, SOL_TCP, TCP_NODELAY, &nodelay, sizeof(nodelay)));
	ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &nodelay, sizeof(nodelay)));
	nodelay = 30;
	ASSERT_EQ(0, setsockopt(fd, SOL_TCP, TCP_KEEPIDLE, &nodelay, sizeof(nodelay)));
	ASSERT_EQ(0, set_timeout(fd, SO_RCVTIMEO, WAIT_LIMIT_MSEC));
	EXPECT_TRUE(local_transfer(fd, self->local, self->local_port));
	EXPECT_EQ(1, get_option(fd, SOL_TCP, TCP_NODELAY));
	EXPECT_EQ(30, get_option(fd, SOL_TCP, TCP_KEEPIDLE));
	EXPECT_EQ(1, get_option(fd, SOL_SOCKET, SO_KEEPALIVE));
	EXPECT_EQ(IPPROTO_TCP, get_option(fd, SOL_SOCKET, SO_PROTOCOL));
	EXPECT_EQ(before + 1, decision_count("exempt-destination"));
	/* The socket is native: the backend does not carry this option. */
	EXPECT_LE(0, get_option(fd, SOL_TCP, TCP_FASTOPEN));
	close(fd);
	/* Other destinations are still carried. */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_TRUE(peer_transfer(fd, &self->peer));
	EXPECT_EQ(xensock + 1, decision_count("xensock"));
	close(fd);
}

/* A task that waits on the socket before the decision is woken by its successor. */
TEST_F(hijack, falls_back_under_epoll)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET };
	int ep = epoll_create1(0), fd, other;

	ASSERT_EQ(0, write_setting("exempt_destinations", "127.0.0.0/8"));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event));
	/* The same events as for an unconnected TCP socket. */
	EXPECT_EQ(1, epoll_wait(ep, &event, 1, 0));
	EXPECT_EQ(EPOLLOUT | EPOLLHUP, event.events);
	if (connect_to(fd, LOCALHOST, self->local_port))
		EXPECT_EQ(EINPROGRESS, errno);
	other = accept(self->local, NULL, NULL);
	ASSERT_LE(0, other);
	EXPECT_EQ(1, epoll_wait(ep, &event, 1, WAIT_LIMIT_MSEC));
	EXPECT_EQ(EPOLLOUT, event.events);
	EXPECT_EQ(0, epoll_wait(ep, &event, 1, 0));
	EXPECT_EQ(1, send(other, "x", 1, 0));
	EXPECT_EQ(1, epoll_wait(ep, &event, 1, WAIT_LIMIT_MSEC));
	EXPECT_EQ(EPOLLIN | EPOLLOUT, event.events);
	close(other);
	close(fd);
	close(ep);
}

/* Returns true if /proc/net/tcp lists a socket with that port and the inode of the file. */
static bool is_in_proc_tcp(unsigned int port, int fd)
{
	FILE *file = fopen("/proc/net/tcp", "r");
	char line[256], local[16], inode[32];
	struct stat st;
	bool found = false;

	fstat(fd, &st);
	snprintf(local, sizeof(local), ":%04X ", port);
	snprintf(inode, sizeof(inode), " %lu ", (unsigned long)st.st_ino);
	while (file && !found && fgets(line, sizeof(line), file))
		found = strstr(line, local) && strstr(line, inode);
	if (file)
		fclose(file);
	return found;
}

/* The state of the file stays the same when the socket behind it changes. */
TEST_F(hijack, falls_back_behind_the_file)
{
	struct timespec limit = { .tv_sec = WAIT_LIMIT_MSEC / 1000 };
	struct sockaddr_in name;
	socklen_t len = sizeof(name);
	int fd, other, copy;
	sigset_t set_io;

	sigemptyset(&set_io);
	sigaddset(&set_io, SIGIO);
	sigprocmask(SIG_BLOCK, &set_io, NULL);
	ASSERT_EQ(0, write_setting("exempt_destinations", "127.0.0.0/8"));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	copy = dup(fd);
	ASSERT_EQ(0, fcntl(fd, F_SETOWN, getpid()));
	ASSERT_EQ(0, fcntl(fd, F_SETFL, O_ASYNC));
	ASSERT_EQ(0, connect_to(fd, LOCALHOST, self->local_port));
	other = accept(self->local, NULL, NULL);
	ASSERT_LE(0, other);
	while (sigtimedwait(&set_io, NULL, &(struct timespec) {}) > 0)
		;
	EXPECT_EQ(1, send(other, "x", 1, 0));
	EXPECT_EQ(SIGIO, sigtimedwait(&set_io, NULL, &limit));
	EXPECT_EQ(0, getsockname(copy, (void *)&name, &len));
	EXPECT_TRUE(is_in_proc_tcp(ntohs(name.sin_port), fd));
	/* Both descriptors are equivalent. */
	EXPECT_EQ(1, send(copy, "y", 1, 0));
	EXPECT_EQ(0, fcntl(copy, F_SETFL, 0));
	close(fd);
	EXPECT_EQ(1, send(copy, "z", 1, 0));
	close(copy);
	close(other);
}

TEST_F(hijack, exempts_ports)
{
	unsigned int port = unused_port(SOCK_STREAM, TEST_PORTS);
	long before = decision_count("exempt-port");
	char text[16];
	int listener, fd;

	snprintf(text, sizeof(text), "%u", port);
	ASSERT_EQ(0, write_setting("exempt_bind_ports", text));
	ASSERT_EQ(0, write_setting("exempt_destinations", "127.0.0.0/8"));
	listener = socket(AF_INET, SOCK_STREAM, 0);
	ASSERT_EQ(0, bind_to(listener, ANY_HOST, port));
	ASSERT_EQ(0, listen(listener, 4));
	EXPECT_EQ(before + 1, decision_count("exempt-port"));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_TRUE(local_transfer(fd, listener, port));
	/* Nothing listens there in the domain of the backend. */
	EXPECT_TRUE(peer_refused(&self->peer, port));
	close(fd);
	close(listener);
}

TEST_F(hijack, keeps_local_addresses_local)
{
	long before = decision_count("local");
	int fd;

	ASSERT_EQ(0, write_setting("hijack_loopback", "0"));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_TRUE(local_transfer(fd, self->local, self->local_port));
	EXPECT_EQ(before + 1, decision_count("local"));
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_EQ(0, bind_to(fd, LOCALHOST, 0));
	EXPECT_EQ(before + 2, decision_count("local"));
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_TRUE(peer_transfer(fd, &self->peer));
	close(fd);
}

/* Options that only TCP has make the socket native. */
TEST_F(hijack, falls_back_for_options)
{
	static const struct {
		int level, name, value;
	} cases[] = {
		{ SOL_TCP, TCP_SAVE_SYN, 1 },
		{ SOL_TCP, TCP_REPAIR, 1 },
		{ SOL_SOCKET, SO_MARK, 5 },
		{ SOL_SOCKET, SO_BINDTOIFINDEX, 1 },
		{ SOL_IP, IP_TRANSPARENT, 1 },
	};
	long before = decision_count("option");
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_LEN(cases); i++) {
		fd = socket(AF_INET, SOCK_STREAM, 0);
		EXPECT_EQ(0, setsockopt(fd, cases[i].level, cases[i].name,
					&cases[i].value, sizeof(int))) {
			TH_LOG("%d %d: %s", cases[i].level, cases[i].name, strerror(errno));
		}
		EXPECT_EQ(before + (long)i + 1, decision_count("option"));
		close(fd);
	}
	/* An unknown option does not decide, and neither does one that is carried. */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_EQ(-1, setsockopt(fd, SOL_TCP, 999, &cases[0].value, sizeof(int)));
	EXPECT_EQ(ENOPROTOOPT, errno);
	EXPECT_EQ(0, setsockopt(fd, SOL_TCP, TCP_NODELAY, &cases[0].value, sizeof(int)));
	EXPECT_TRUE(peer_transfer(fd, &self->peer));
	/* After the decision such an option fails. */
	EXPECT_EQ(-1, setsockopt(fd, SOL_TCP, TCP_ULP, "tls", 3));
	EXPECT_EQ(before + (long)ARRAY_LEN(cases), decision_count("option"));
	close(fd);
	/*
	 * Nor does the layer for TLS: a library asks for it before it connects, when no socket has
	 * it. TCP says ENOTCONN then if the kernel has the layer.
	 */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_EQ(-1, setsockopt(fd, SOL_TCP, TCP_ULP, "tls", sizeof("tls")));
	EXPECT_EQ(ENOENT, errno);
	EXPECT_TRUE(peer_transfer(fd, &self->peer));
	EXPECT_EQ(-1, setsockopt(fd, SOL_TCP, TCP_ULP, "tls", sizeof("tls")));
	EXPECT_EQ(ENOENT, errno);
	EXPECT_EQ(before + (long)ARRAY_LEN(cases), decision_count("option"));
	close(fd);
	/* Turning off an option that is off does not decide. */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	i = 0;
	EXPECT_EQ(0, setsockopt(fd, SOL_TCP, TCP_FASTOPEN_CONNECT, &i, sizeof(int)));
	EXPECT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 1));
	EXPECT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, NULL, 0));
	EXPECT_EQ(0, setsockopt(fd, SOL_IP, IP_OPTIONS, NULL, 0));
	EXPECT_EQ(before + (long)ARRAY_LEN(cases), decision_count("option"));
	EXPECT_TRUE(peer_transfer(fd, &self->peer));
	close(fd);
}

/* A structure asks for something even if its first field is 0. */
TEST_F(hijack, falls_back_for_structures)
{
	struct ip_mreqn mreq = { .imr_ifindex = if_nametoindex("lo") };
	long before = decision_count("option");
	int fd;

	ASSERT_EQ(0, write_setting("hijack", "2"));
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	EXPECT_EQ(0, setsockopt(fd, SOL_IP, IP_MULTICAST_IF, &mreq, sizeof(mreq)));
	EXPECT_EQ(before + 1, decision_count("option"));
	close(fd);
	mreq.imr_ifindex = 0;
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	EXPECT_EQ(0, setsockopt(fd, SOL_IP, IP_MULTICAST_IF, &mreq, sizeof(mreq)));
	EXPECT_EQ(before + 1, decision_count("option"));
	close(fd);
}

/* The kernel keeps these itself, and gives them to the socket that takes over. */
TEST_F(hijack, falls_back_with_options_of_the_kernel)
{
	static const struct {
		int name, value;
	} options[] = {
		{ SO_TIMESTAMPING, 1 << 3 | 1 << 4 },
		{ SO_INCOMING_CPU, 0 },
		{ SO_PEEK_OFF, 2 },
	};
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM }, one = 1, off;
	struct sockaddr_in to;
	char data[8] = {};
	size_t i, j;
	int fd;

	ASSERT_EQ(0, write_setting("exempt_bind_ports", "0"));
	ASSERT_EQ(0, write_setting("hijack", "2"));
	for (i = 0; i < ARRAY_LEN(types); i++) {
		fd = socket(AF_INET, types[i], 0);
		ASSERT_LE(0, fd);
		for (j = 0; j < ARRAY_LEN(options); j++)
			EXPECT_EQ(0, setsockopt(fd, SOL_SOCKET, options[j].name, &options[j].value,
						sizeof(int)));
		if (types[i] == SOCK_DGRAM)
			EXPECT_EQ(0, setsockopt(fd, SOL_UDP, UDP_CORK, &one, sizeof(one)));
		ASSERT_EQ(0, bind_to(fd, LOCALHOST, 0));
		for (j = 0; j < ARRAY_LEN(options); j++)
			EXPECT_EQ(options[j].value, get_option(fd, SOL_SOCKET, options[j].name))
				TH_LOG("type %d, option %d", types[i], options[j].name);
		if (types[i] == SOCK_DGRAM) {
			EXPECT_EQ(1, get_option(fd, SOL_UDP, UDP_CORK));
			EXPECT_EQ(0, setsockopt(fd, SOL_UDP, UDP_CORK, &off, sizeof(off)));
			to = address(LOCALHOST, local_port(fd));
			EXPECT_EQ(4, sendto(fd, "abcd", 4, 0, (void *)&to, sizeof(to)));
			EXPECT_EQ(2, recv(fd, data, sizeof(data), MSG_PEEK));
			EXPECT_STREQ("cd", data);
		}
		close(fd);
	}
}

static __u64 cookie_of(int fd)
{
	__u64 cookie = 0;
	socklen_t len = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) ? 0 : cookie;
}

/* Programs give BPF programs the cookie of a socket before they use it. */
TEST_F(hijack, falls_back_with_its_cookie)
{
	int i, fds[2];
	__u64 cookies[2];

	ASSERT_EQ(0, write_setting("exempt_destinations", "127.0.0.0/8"));
	for (i = 0; i < 2; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM, 0);
		ASSERT_LE(0, fds[i]);
		cookies[i] = cookie_of(fds[i]);
		EXPECT_NE(0, cookies[i]);
		EXPECT_TRUE(local_transfer(fds[i], self->local, self->local_port));
		EXPECT_EQ(cookies[i], cookie_of(fds[i]));
	}
	EXPECT_NE(cookies[0], cookies[1]);
	close(fds[0]);
	close(fds[1]);
}

TEST_F(hijack, falls_back_with_what_was_shut_down)
{
	/* Datagrams are not carried yet. */
	int fd, server = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in to;

	ASSERT_EQ(0, bind_to(server, LOCALHOST, 0));
	to = address(LOCALHOST, local_port(server));
	ASSERT_EQ(0, write_setting("exempt_destinations", "127.0.0.0/8"));
	ASSERT_EQ(0, write_setting("hijack", "2"));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_EQ(-1, shutdown(fd, SHUT_WR));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(0, connect_to(fd, LOCALHOST, self->local_port));
	EXPECT_EQ(-1, send(fd, "x", 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	close(fd);

	fd = socket(AF_INET, SOCK_DGRAM, 0);
	EXPECT_EQ(-1, shutdown(fd, SHUT_RD));
	EXPECT_EQ(ENOTCONN, errno);
	EXPECT_EQ(1, sendto(fd, "x", 1, 0, (void *)&to, sizeof(to)));
	EXPECT_TRUE(poll_now(fd) & POLLRDHUP);
	EXPECT_EQ(0, recv(fd, &to, 1, 0));
	close(fd);
	close(server);
}

/* A thread waiting in recv() is woken when the socket falls back. */
static long in_recv_once(struct waiter *w)
{
	return recv(w->fd, w->data, sizeof(w->data), 0);
}

TEST_F(hijack, wakes_who_receives)
{
	struct sockaddr_in any = { .sin_family = AF_INET };
	struct waiter waiter;
	int fd, other, one = 1;

	ASSERT_EQ(0, write_setting("exempt_destinations", "127.0.0.0/8"));
	other = socket(AF_INET, SOCK_DGRAM, 0);
	any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ASSERT_EQ(0, bind(other, (void *)&any, sizeof(any)));
	ASSERT_EQ(0, write_setting("hijack", "2"));
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	/* Resolvers set this option. */
	EXPECT_EQ(0, setsockopt(fd, SOL_IP, IP_RECVERR, &one, sizeof(one)));
	ASSERT_TRUE(waiter_start(&waiter, in_recv_once, fd));
	any = address(LOCALHOST, local_port(other));
	ASSERT_EQ(5, sendto(fd, "there", 5, 0, (void *)&any, sizeof(any)));
	any = address(LOCALHOST, local_port(fd));
	ASSERT_EQ(4, sendto(other, "back", 4, 0, (void *)&any, sizeof(any)));
	EXPECT_EQ(4, waiter_end(&waiter));
	/* Disconnecting the native socket makes no difference. */
	any.sin_family = AF_UNSPEC;
	EXPECT_EQ(0, connect(fd, (void *)&any, sizeof(any)));
	close(other);
	close(fd);
}

/* The guest's policy refuses this address. */
TEST_F(hijack, falls_back_if_it_is_refused)
{
	long before = decision_count("refused");
	int fd, error;

	fd = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_EQ(-1, connect_to(fd, LOCALHOST, self->local_port));
	EXPECT_EQ(EACCES, errno);
	close(fd);
	ASSERT_EQ(0, write_setting("fallback", "1"));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_TRUE(local_transfer(fd, self->local, self->local_port));
	EXPECT_EQ(before + 1, decision_count("refused"));
	close(fd);
	/* The same without waiting for the outcome. */
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	error = connect_to(fd, LOCALHOST, self->local_port) ? errno : 0;
	EXPECT_TRUE(error == EINPROGRESS || !error);
	EXPECT_TRUE(wait_poll(fd, POLLOUT, NULL));
	EXPECT_EQ(0, so_error(fd));
	EXPECT_EQ(before + 2, decision_count("refused"));
	close(fd);
	/* The backend refuses this port. */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_EQ(0, bind_to(fd, ANY_HOST, 80));
	EXPECT_EQ(before + 3, decision_count("refused"));
	close(fd);
	/* Other errors do not make the socket native. */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_EQ(-1, connect_to(fd, opt.host, 1));
	EXPECT_EQ(ECONNREFUSED, errno);
	EXPECT_EQ(before + 3, decision_count("refused"));
	close(fd);
}

/* The same for UDP: a connected socket, and one that only sends. */
TEST_F(hijack, falls_back_if_a_datagram_is_refused)
{
	int server = socket(AF_INET, SOCK_DGRAM, 0), fd, sends, flags;
	long refused = decision_count("refused"), carried;
	struct sockaddr_in to, from;
	char data[8], expected[64];
	unsigned int port;
	socklen_t len;

	ASSERT_EQ(0, set_timeout(server, SO_RCVTIMEO, WAIT_LIMIT_MSEC));
	ASSERT_EQ(0, bind_to(server, LOCALHOST, 0));
	to = address(LOCALHOST, local_port(server));
	ASSERT_EQ(0, write_setting("hijack", "2"));
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	EXPECT_EQ(-1, connect(fd, (void *)&to, sizeof(to)));
	EXPECT_EQ(EACCES, errno);
	/* That socket is as it was. */
	ASSERT_EQ(0, write_setting("fallback", "1"));
	for (sends = 0; sends < 3; sends++) {
		flags = sends == 2 ? MSG_DONTWAIT : 0;
		if (!sends) {
			EXPECT_EQ(0, connect(fd, (void *)&to, sizeof(to))) TH_LOG("%m");
		}
		EXPECT_EQ(2, sendto(fd, "hi", 2, flags, sends ? (void *)&to : NULL,
				    sends ? sizeof(to) : 0)) TH_LOG("%m");
		EXPECT_EQ(refused + sends + 1, decision_count("refused"));
		len = sizeof(from);
		EXPECT_EQ(2, recvfrom(server, data, 8, 0, (void *)&from, &len)) TH_LOG("%m");
		EXPECT_EQ(3, sendto(server, "yes", 3, 0, (void *)&from, len));
		set_timeout(fd, SO_RCVTIMEO, WAIT_LIMIT_MSEC);
		EXPECT_EQ(3, recv(fd, data, 8, 0)) TH_LOG("%m");
		EXPECT_EQ(0, so_error(fd));
		close(fd);
		fd = socket(AF_INET, SOCK_DGRAM, 0);
	}
	/* Other destinations are carried, from one port. */
	carried = decision_count("xensock");
	ASSERT_EQ(1, sscanf(peer_run(&self->peer, "udp"), "ok %u", &port));
	to = address(opt.host, port);
	for (sends = 0; sends < 2; sends++) {
		stream_fill(sends, 0, data, 4);
		EXPECT_EQ(4, sendto(fd, data, 4, 0, (void *)&to, sizeof(to)));
		snprintf(expected, sizeof(expected), "ok 4 %s %u", opt.host, local_port(fd));
		EXPECT_STREQ(expected, peer_run(&self->peer, "recvfrom %d", sends));
	}
	EXPECT_EQ(carried + 1, decision_count("xensock"));
	/* This one can no longer fall back. */
	to = address(LOCALHOST, local_port(server));
	EXPECT_EQ(1, sendto(fd, "x", 1, 0, (void *)&to, sizeof(to)));
	/* Waits until the backend has taken the datagram. */
	local_port(fd);
	EXPECT_EQ(-1, sendto(fd, "x", 1, 0, (void *)&to, sizeof(to)));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(refused + 3, decision_count("refused"));
	close(fd);
	close(server);
}

TEST_F(hijack, settings_are_checked)
{
	EXPECT_EQ(EINVAL, write_setting("hijack", "3"));
	EXPECT_EQ(EINVAL, write_setting("hijack", "yes"));
	EXPECT_EQ(EINVAL, write_setting("fallback", "-1"));
	EXPECT_EQ(EINVAL, write_setting("exempt_destinations", "10.0.0.1/8"));
	EXPECT_EQ(EINVAL, write_setting("exempt_destinations", "example.org"));
	EXPECT_EQ(EINVAL, write_setting("exempt_bind_ports", "80-22"));
	EXPECT_NE(0, write_setting("decisions", "0"));
	EXPECT_STREQ("1", read_setting("hijack"));
	EXPECT_STREQ("", read_setting("exempt_destinations"));
}

/* A new network namespace has its own settings, and hijacking is off. */
TEST_F(hijack, other_namespaces_are_left_alone)
{
	int status, fd;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		if (unshare(CLONE_NEWNET) || strcmp(read_setting("hijack"), "0"))
			_exit(1);
		fd = socket(AF_INET, SOCK_STREAM, 0);
		if (!connect_to(fd, opt.host, self->peer.port) || errno != ENETUNREACH)
			_exit(2);
		if (socket(AF_INET, SOCK_STREAM, IPPROTO_XENSOCK) >= 0)
			_exit(3);
		/* The administrator can turn it on. */
		if (write_setting("hijack", "1"))
			_exit(4);
		fd = socket(AF_INET, SOCK_STREAM, 0);
		if (connect_to(fd, opt.host, self->peer.port))
			_exit(5);
		/* The root of an unprivileged user namespace cannot. */
		if (unshare(CLONE_NEWUSER | CLONE_NEWNET) || !write_setting("hijack", "1"))
			_exit(6);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status) {
		TH_LOG("step %d", WEXITSTATUS(status));
	}
	EXPECT_STREQ("1", read_setting("hijack"));
}

/* Returns true if /proc/net/xensock has a line with all of these words. */
static bool is_in_proc_xensock(const char *const words[], size_t count)
{
	FILE *file = fopen("/proc/net/xensock", "r");
	char line[512];
	bool found = false;
	size_t i;

	while (file && !found && fgets(line, sizeof(line), file)) {
		for (i = 0; i < count && strstr(line, words[i]); i++)
			;
		found = i == count;
	}
	if (file)
		fclose(file);
	return found;
}

TEST_F(hijack, is_listed)
{
	char ours[32], theirs[32], inode[32], data[10];
	const char *words[] = { "inet stream ", " ESTAB ", theirs, ours, inode };
	struct stat st;
	int fd = socket(AF_INET, SOCK_STREAM, 0), listener;

	ASSERT_TRUE(peer_transfer(fd, &self->peer));
	ASSERT_EQ(0, fstat(fd, &st));
	snprintf(inode, sizeof(inode), " %lu ", (unsigned long)st.st_ino);
	snprintf(ours, sizeof(ours), ":%u ", local_port(fd));
	snprintf(theirs, sizeof(theirs), " %s:%u ", opt.host, self->peer.port);
	EXPECT_TRUE(is_in_proc_xensock(words, ARRAY_LEN(words)));
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "send 10 8"));
	EXPECT_TRUE(wait_readable(fd, 10));
	words[1] = " ESTAB 10 0 ";
	EXPECT_TRUE(is_in_proc_xensock(words, ARRAY_LEN(words)));
	EXPECT_EQ(10, recv(fd, data, sizeof(data), 0));
	close(fd);
	EXPECT_FALSE(is_in_proc_xensock(words, ARRAY_LEN(words)));

	listener = socket(AF_INET6, SOCK_STREAM, 0);
	ASSERT_EQ(0, listen(listener, 2));
	snprintf(ours, sizeof(ours), ":%u ", local_port(listener));
	words[0] = "inet6 stream LISTEN 0 0 ";
	words[1] = ours;
	EXPECT_TRUE(is_in_proc_xensock(words, 2));
	close(listener);
}

/* A thread that uses the socket while another thread makes it native. */
struct racer {
	pthread_t thread;
	atomic_bool stop;
	atomic_int fd;
};

static void *race_thread(void *arg)
{
	struct racer *racer = arg;
	struct sockaddr_in name;
	socklen_t len;
	char byte;
	int fd;

	while (!atomic_load(&racer->stop)) {
		fd = atomic_load(&racer->fd);
		poll_now(fd);
		recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
		len = sizeof(name);
		getsockname(fd, (void *)&name, &len);
		get_option(fd, SOL_TCP, TCP_NODELAY);
		get_option(fd, SOL_SOCKET, SO_ERROR);
		ioctl(fd, FIONREAD, &len);
	}
	return NULL;
}

TEST_F(hijack, gives_way_while_others_look)
{
	struct racer racer = { .fd = -1 };
	int i, fd;

	ASSERT_EQ(0, write_setting("exempt_destinations", "127.0.0.0/8"));
	ASSERT_EQ(0, pthread_create(&racer.thread, NULL, race_thread, &racer));
	for (i = 0; i < rounds(300); i++) {
		fd = socket(AF_INET, SOCK_STREAM, 0);
		atomic_store(&racer.fd, fd);
		EXPECT_TRUE(local_transfer(fd, self->local, self->local_port));
		close(fd);
	}
	atomic_store(&racer.stop, true);
	pthread_join(racer.thread, NULL);
}

/* A guest without a backend. */
FIXTURE(no_backend) {
	int local;
	unsigned int local_port;
};

FIXTURE_SETUP(no_backend)
{
	restore_settings();
	self->local = local_listener();
	ASSERT_LE(0, self->local);
	self->local_port = local_port(self->local);
	ASSERT_EQ(0, write_setting("hijack", "1"));
}

FIXTURE_TEARDOWN(no_backend)
{
	restore_settings();
	close(self->local);
}

TEST_F(no_backend, is_reported)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, get_option(fd, SOL_TCP, TCP_NODELAY));
	EXPECT_EQ(0, setsockopt(fd, SOL_TCP, TCP_NODELAY, &one, sizeof(one)));
	EXPECT_EQ(1, get_option(fd, SOL_TCP, TCP_NODELAY));
	EXPECT_EQ(-1, connect_to(fd, opt.host, opt.port));
	EXPECT_EQ(ENETDOWN, errno);
	EXPECT_EQ(-1, bind_to(fd, ANY_HOST, 0));
	EXPECT_EQ(ENETDOWN, errno);
	EXPECT_EQ(-1, listen(fd, 1));
	EXPECT_EQ(ENETDOWN, errno);
	/* An exempt address needs no backend. */
	ASSERT_EQ(0, write_setting("exempt_destinations", "127.0.0.1"));
	EXPECT_TRUE(local_transfer(fd, self->local, self->local_port));
	EXPECT_EQ(1, get_option(fd, SOL_TCP, TCP_NODELAY));
	close(fd);
}

TEST_F(no_backend, falls_back)
{
	long before = decision_count("no-backend");
	int fd, early = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	ASSERT_EQ(0, setsockopt(early, SOL_TCP, TCP_NODELAY, &one, sizeof(one)));
	ASSERT_EQ(0, write_setting("fallback", "1"));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_EQ(before + 1, decision_count("no-backend"));
	EXPECT_TRUE(local_transfer(fd, self->local, self->local_port));
	close(fd);
	/* A socket opened earlier decides now. */
	EXPECT_TRUE(local_transfer(early, self->local, self->local_port));
	EXPECT_EQ(1, get_option(early, SOL_TCP, TCP_NODELAY));
	EXPECT_EQ(before + 2, decision_count("no-backend"));
	close(early);
}

/* An accepted socket that the program connects anew decides again, as a new one does. */
TEST_F(hijack, accepted_sockets_are_connected_anew)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	long local = decision_count("exempt-destination"), carried;
	int listener = open_listener(1, 0), fd;

	ASSERT_LE(0, listener);
	ASSERT_EQ(0, write_setting("exempt_destinations", "127.0.0.0/8"));
	fd = peer_accept(&self->peer, listener, 0);
	ASSERT_LE(0, fd);
	carried = decision_count("xensock");
	EXPECT_EQ(0, connect(fd, &unspec, sizeof(unspec)));
	EXPECT_TRUE(peer_transfer(fd, &self->peer));
	EXPECT_EQ(carried + 1, decision_count("xensock"));
	EXPECT_EQ(0, connect(fd, &unspec, sizeof(unspec)));
	EXPECT_TRUE(local_transfer(fd, self->local, self->local_port));
	EXPECT_EQ(local + 1, decision_count("exempt-destination"));
	EXPECT_EQ(0, close(fd));
	close(listener);
}

/* A thread that sets options of a socket while it falls back. */
struct setter {
	pthread_t thread;
	atomic_int round;
	atomic_int done;
	int fd;
	int errors;
};

#define ROUNDS rounds(5000)

static bool set_number(int fd, int level, int name, int value)
{
	return !setsockopt(fd, level, name, &value, sizeof(value));
}

static void *set_options(void *arg)
{
	struct setter *s = arg;
	int i, last = ROUNDS;
	atomic_int pause;

	for (i = 1; i <= last; i++) {
		while (s->round < i)
			sched_yield();
		/* Begins a little later each time, at all moments of the fallback. */
		for (pause = i * 7 % 2000; pause; pause--)
			;
		if (!set_number(s->fd, SOL_SOCKET, SO_RCVLOWAT, i) ||
		    !set_number(s->fd, SOL_SOCKET, SO_KEEPALIVE, 1) ||
		    !set_number(s->fd, SOL_TCP, TCP_NODELAY, 1) ||
		    !set_number(s->fd, SOL_TCP, TCP_NOTSENT_LOWAT, i))
			s->errors++;
		s->done = i;
	}
	return NULL;
}

TEST_F(hijack, options_while_it_falls_back)
{
	const struct linger linger = { .l_onoff = 1, .l_linger = 5 };
	int i, lost[7] = {}, other, last = ROUNDS;
	struct setter s = { .fd = -1 };

	ASSERT_EQ(0, write_setting("exempt_destinations", "127.0.0.0/8"));
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, set_options, &s));
	for (i = 1; i <= last; i++) {
		s.fd = socket(AF_INET, SOCK_STREAM, 0);
		/* Options that the fallback sets anew take it some time. */
		set_number(s.fd, SOL_TCP, TCP_KEEPIDLE, 30);
		set_number(s.fd, SOL_TCP, TCP_KEEPINTVL, 30);
		set_number(s.fd, SOL_TCP, TCP_KEEPCNT, 3);
		set_number(s.fd, SOL_TCP, TCP_USER_TIMEOUT, 30000);
		/* These are bits beside the one that the thread sets. */
		set_number(s.fd, SOL_SOCKET, SO_BROADCAST, 1);
		set_number(s.fd, SOL_SOCKET, SO_OOBINLINE, 1);
		setsockopt(s.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		s.round = i;
		EXPECT_EQ(0, connect_to(s.fd, LOCALHOST, self->local_port));
		while (s.done < i)
			sched_yield();
		lost[0] += get_option(s.fd, SOL_SOCKET, SO_RCVLOWAT) != i;
		lost[1] += get_option(s.fd, SOL_SOCKET, SO_KEEPALIVE) != 1;
		lost[2] += get_option(s.fd, SOL_TCP, TCP_NODELAY) != 1;
		lost[3] += get_option(s.fd, SOL_TCP, TCP_NOTSENT_LOWAT) != i;
		lost[4] += get_option(s.fd, SOL_SOCKET, SO_BROADCAST) != 1;
		lost[5] += get_option(s.fd, SOL_SOCKET, SO_OOBINLINE) != 1;
		/* The first word. */
		lost[6] += get_option(s.fd, SOL_SOCKET, SO_LINGER) != 1;
		other = accept(self->local, NULL, NULL);
		close(s.fd);
		close(other);
	}
	pthread_join(s.thread, NULL);
	EXPECT_EQ(0, s.errors);
	for (i = 0; i < (int)ARRAY_LEN(lost); i++) {
		EXPECT_EQ(0, lost[i]) TH_LOG("option %d", i);
	}
}

XENSOCK_TEST_MAIN
