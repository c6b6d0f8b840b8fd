// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's own policy: BPF programs in a control group, and Landlock. They deny and change calls
 * over TCP. The results must be the same while sockets are hijacked, because the policy still sees
 * TCP.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "cgroup_bpf.h"
#include "datagram.h"
#include "settings.h"

/* An address of a documentation network: no host has it. */
#define NOBODY "198.51.100.7"

/* The headers may be older than the kernel. */
#define ACCESS_BIND_TCP		(1ULL << 0)
#define ACCESS_CONNECT_TCP	(1ULL << 1)
#define ACCESS_BIND_UDP		(1ULL << 2)
#define ACCESS_SEND_UDP		(1ULL << 3)
#define RULE_NET_PORT		2

#define ADDR(MEMBER) offsetof(struct bpf_sock_addr, MEMBER)
#define SOCK(MEMBER) offsetof(struct bpf_sock, MEMBER)

#define ALLOW	MOV(BPF_REG_0, 1), EXIT
#define DENY	MOV(BPF_REG_0, 0), EXIT

FIXTURE(cgroup_bpf) {
	struct peer peer;
	struct cgroup cgroup;
};

FIXTURE_SETUP(cgroup_bpf)
{
	int error;

	self->cgroup.fd = -1;
	ASSERT_TRUE(peer_open(&self->peer, 0));
	ASSERT_EQ(0, cgroup_open(&self->cgroup));
	/* Attaches a program that allows everything. */
	error = ATTACH(&self->cgroup, CGROUP_SOCK, CGROUP_INET_SOCK_CREATE, ALLOW);
	if (error == ENOSYS || error == EINVAL)
		SKIP(return, "this kernel has no BPF for control groups");
	ASSERT_EQ(0, error);
}

FIXTURE_TEARDOWN(cgroup_bpf)
{
	cgroup_close(&self->cgroup);
	peer_close(&self->peer);
}

static bool is_hijacked(void)
{
	return !strcmp(read_setting("hijack"), "1") || !strcmp(read_setting("hijack"), "2");
}

/* A socket of this system itself at its loopback address, whatever is hijacked. */
static int open_native(int type, unsigned int port)
{
	bool hijacked = is_hijacked();
	char before[8];
	int fd;

	snprintf(before, sizeof(before), "%s", read_setting("hijack"));
	if (hijacked)
		write_setting("hijack", "0");
	fd = socket(AF_INET, type, 0);
	if (hijacked)
		write_setting("hijack", before);
	if (fd >= 0 && !bind_to(fd, LOCALHOST, port)) {
		set_timeout(fd, SO_RCVTIMEO, WAIT_LIMIT_MSEC);
		return fd;
	}
	close(fd);
	return -1;
}

static bool send_to_peer(int fd, struct peer *peer, const char *host, unsigned int port)
{
	char data[100];

	if (connect_to(fd, host, port) || strcmp(peer_run(peer, "accept"), "ok"))
		return false;
	stream_fill(7, 0, data, sizeof(data));
	return send_all(fd, data, sizeof(data)) == sizeof(data) &&
	       !strcmp(peer_run(peer, "recv 100 7"), "ok 100");
}

/* The policy and the program both see a TCP socket. */
TEST_F(cgroup_bpf, connect_is_denied)
{
	int fd;

	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK_ADDR, CGROUP_INET4_CONNECT,
			    LOAD(BPF_REG_2, BPF_REG_1, ADDR(protocol)),
			    SKIP_UNLESS(BPF_REG_2, IPPROTO_TCP, 4),
			    LOAD(BPF_REG_2, BPF_REG_1, ADDR(user_port)),
			    SKIP_UNLESS(BPF_REG_2, htons(self->peer.port), 2),
			    DENY, ALLOW));
	fd = socket(opt.family, SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, connect_to(fd, opt.host, self->peer.port));
	EXPECT_EQ(EPERM, errno);
	/* A non-blocking connect() is denied too. */
	set_nonblock(fd, true);
	EXPECT_EQ(-1, connect_to(fd, opt.host, self->peer.port));
	EXPECT_EQ(EPERM, errno);
	set_nonblock(fd, false);
	/* The socket is still usable for other addresses. */
	EXPECT_EQ(0, connect_to(fd, opt.host, opt.port + PEER_ECHO));
	close(fd);
}

TEST_F(cgroup_bpf, connect_is_redirected)
{
	struct sockaddr_in6 name = {};
	socklen_t len = sizeof(name);
	char text[ADDRESS_TEXT], there[ADDRESS_TEXT];
	int fd;

	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK_ADDR, CGROUP_INET4_CONNECT,
			    LOAD(BPF_REG_2, BPF_REG_1, ADDR(user_ip4)),
			    SKIP_UNLESS(BPF_REG_2, inet_addr(NOBODY), 4),
			    MOV(BPF_REG_3, inet_addr(opt.host)),
			    STORE(BPF_REG_1, ADDR(user_ip4), BPF_REG_3),
			    MOV(BPF_REG_3, htons(self->peer.port)),
			    STORE(BPF_REG_1, ADDR(user_port), BPF_REG_3),
			    ALLOW));
	fd = socket(opt.family, SOCK_STREAM, 0);
	EXPECT_TRUE(send_to_peer(fd, &self->peer, NOBODY, 9));
	ASSERT_EQ(0, getpeername(fd, (void *)&name, &len));
	snprintf(there, sizeof(there), "%s %u", opt.host, self->peer.port);
	EXPECT_STREQ(there, address_text((void *)&name, text));
	close(fd);
}

static unsigned int remote_port(int fd)
{
	struct sockaddr_in name = {};
	socklen_t len = sizeof(name);

	return getpeername(fd, (void *)&name, &len) ? 0 : ntohs(name.sin_port);
}

/* Binds a socket that is about to connect to port TO to port OWN, and denies it if that fails. */
#define BIND_BEFORE(TO, OWN) \
	LOAD(BPF_REG_2, BPF_REG_1, ADDR(user_port)), \
	SKIP_UNLESS(BPF_REG_2, htons(TO), 11), \
	STORE_IMM(BPF_REG_10, -16, AF_INET | (__u32)htons(OWN) << 16), \
	STORE_IMM(BPF_REG_10, -12, inet_addr(LOCALHOST)), \
	STORE_IMM(BPF_REG_10, -8, 0), \
	STORE_IMM(BPF_REG_10, -4, 0), \
	MOV_REG(BPF_REG_2, BPF_REG_10), \
	ADD(BPF_REG_2, -16), \
	MOV(BPF_REG_3, sizeof(struct sockaddr_in)), \
	CALL(BPF_FUNC_bind), \
	SKIP_IF_ZERO(BPF_REG_0, 2), \
	DENY, ALLOW

/* The program chooses the port of a client. The port is free again when the client is closed. */
TEST_F(cgroup_bpf, connect_is_bound)
{
	unsigned int port = 20000 + getpid() % 2000, to;
	const struct linger reset = { .l_onoff = 1 };
	int server = open_native(SOCK_STREAM, 0), i, fd, other;

	ASSERT_LE(0, server);
	ASSERT_EQ(0, listen(server, 4));
	to = local_port(server);
	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK_ADDR, CGROUP_INET4_CONNECT,
			    BIND_BEFORE(to, port)));
	for (i = 0; i < 3; i++) {
		fd = socket(opt.family, SOCK_STREAM, 0);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, connect_to(fd, LOCALHOST, to)) TH_LOG("%m");
		EXPECT_EQ(port, local_port(fd));
		other = accept(server, NULL, NULL);
		ASSERT_LE(0, other);
		EXPECT_EQ(port, remote_port(other));
		/* Without TIME-WAIT, which has the port too. */
		ASSERT_EQ(0, setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)));
		close(fd);
		close(other);
		fd = open_native(SOCK_STREAM, port);
		EXPECT_LE(0, fd) TH_LOG("%m");
		close(fd);
	}
	close(server);
}

/* Programs for IPv6 see an IPv4 address in its mapped form. */
TEST_F(cgroup_bpf, connect_of_ipv6)
{
	struct sockaddr_in6 addr = { .sin6_family = AF_INET6 };
	int fd;

	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK_ADDR, CGROUP_INET6_CONNECT,
			    LOAD(BPF_REG_2, BPF_REG_1, ADDR(user_port)),
			    SKIP_UNLESS(BPF_REG_2, htons(self->peer.port), 2),
			    DENY, ALLOW));
	addr.sin6_port = htons(self->peer.port);
	addr.sin6_addr.s6_addr[10] = 0xff;
	addr.sin6_addr.s6_addr[11] = 0xff;
	inet_pton(AF_INET, opt.host, &addr.sin6_addr.s6_addr[12]);
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	EXPECT_EQ(-1, connect(fd, (void *)&addr, sizeof(addr)));
	EXPECT_EQ(EPERM, errno);
	addr.sin6_port = htons(opt.port + PEER_ECHO);
	EXPECT_EQ(0, connect(fd, (void *)&addr, sizeof(addr)));
	close(fd);
}

TEST_F(cgroup_bpf, bind_is_denied_and_changed)
{
	unsigned int port = unused_port(SOCK_STREAM, TEST_PORTS);
	int fd;

	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK_ADDR, CGROUP_INET4_BIND,
			    LOAD(BPF_REG_2, BPF_REG_1, ADDR(protocol)),
			    SKIP_UNLESS(BPF_REG_2, IPPROTO_TCP, 7),
			    LOAD(BPF_REG_2, BPF_REG_1, ADDR(user_port)),
			    SKIP_UNLESS(BPF_REG_2, htons(port + 1), 2),
			    DENY,
			    SKIP_UNLESS(BPF_REG_2, htons(port + 2), 2),
			    MOV(BPF_REG_3, htons(port)),
			    STORE(BPF_REG_1, ADDR(user_port), BPF_REG_3),
			    ALLOW));
	fd = socket(opt.family, SOCK_STREAM, 0);
	EXPECT_EQ(-1, bind_to(fd, opt.host, port + 1));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(0, bind_to(fd, opt.host, port + 2));
	EXPECT_EQ(port, local_port(fd));
	close(fd);
}

/* An accepted socket without its connection, which can be used like a new one. */
static int accept_and_disconnect(struct peer *peer)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	int listener = open_listener(1, 0), fd = peer_accept(peer, listener, 0);

	close(listener);
	if (fd >= 0 && connect(fd, &unspec, sizeof(unspec))) {
		close(fd);
		return -1;
	}
	return fd;
}

static ssize_t send_fast(int fd, unsigned int port)
{
	struct sockaddr_in to = address(opt.host, port);

	return sendto(fd, "x", 1, MSG_FASTOPEN, (void *)&to, sizeof(to));
}

TEST_F(cgroup_bpf, an_accepted_socket_is_connected_anew)
{
	unsigned int port = 20000 + getpid() % 2000;
	int fd = accept_and_disconnect(&self->peer);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK_ADDR, CGROUP_INET4_CONNECT,
			    LOAD(BPF_REG_2, BPF_REG_1, ADDR(protocol)),
			    SKIP_UNLESS(BPF_REG_2, IPPROTO_TCP, 4),
			    LOAD(BPF_REG_2, BPF_REG_1, ADDR(user_port)),
			    SKIP_UNLESS(BPF_REG_2, htons(self->peer.port), 2),
			    DENY, ALLOW));
	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK_ADDR, CGROUP_INET4_BIND,
			    LOAD(BPF_REG_2, BPF_REG_1, ADDR(protocol)),
			    SKIP_UNLESS(BPF_REG_2, IPPROTO_TCP, 4),
			    LOAD(BPF_REG_2, BPF_REG_1, ADDR(user_port)),
			    SKIP_UNLESS(BPF_REG_2, htons(port), 2),
			    DENY, ALLOW));
	EXPECT_EQ(-1, send_fast(fd, self->peer.port));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, connect_to(fd, opt.host, self->peer.port));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, bind_to(fd, opt.host, port));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(0, connect_to(fd, opt.host, opt.port + PEER_ECHO));
	close(fd);
}

/* A BPF program allows an unprivileged program to bind to a port. */
TEST_F(cgroup_bpf, bind_without_a_capability)
{
	unsigned int port = 800, other = unused_port(SOCK_STREAM, TEST_PORTS);
	int status = -1, fd;
	pid_t pid;

	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK_ADDR, CGROUP_INET4_BIND,
			    LOAD(BPF_REG_2, BPF_REG_1, ADDR(user_port)),
			    SKIP_UNLESS(BPF_REG_2, htons(port), 4),
			    MOV(BPF_REG_3, htons(other)),
			    STORE(BPF_REG_1, ADDR(user_port), BPF_REG_3),
			    MOV(BPF_REG_0, 3), EXIT, ALLOW));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (setgid(65534) || setuid(65534))
			_exit(1);
		fd = socket(opt.family, SOCK_STREAM, 0);
		if (!bind_to(fd, opt.host, port + 101) || errno != EACCES)
			_exit(2);
		if (bind_to(fd, opt.host, port) || local_port(fd) != other)
			_exit(3);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status) {
		TH_LOG("step %d", WEXITSTATUS(status));
	}
}

/* The program sees what was bound. What it denies is free again. */
TEST_F(cgroup_bpf, post_bind_is_denied)
{
	unsigned int port = unused_port(SOCK_STREAM, TEST_PORTS);
	int fd, other;

	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK, CGROUP_INET4_POST_BIND,
			    LOAD(BPF_REG_2, BPF_REG_1, SOCK(protocol)),
			    SKIP_UNLESS(BPF_REG_2, IPPROTO_TCP, 6),
			    LOAD(BPF_REG_2, BPF_REG_1, SOCK(src_ip4)),
			    SKIP_UNLESS(BPF_REG_2, inet_addr(opt.host), 4),
			    LOAD(BPF_REG_2, BPF_REG_1, SOCK(src_port)),
			    SKIP_UNLESS(BPF_REG_2, port, 2),
			    DENY, ALLOW));
	fd = socket(opt.family, SOCK_STREAM, 0);
	EXPECT_EQ(-1, bind_to(fd, opt.host, port));
	EXPECT_EQ(EPERM, errno);
	enter(self->cgroup.mount);
	other = socket(opt.family, SOCK_STREAM, 0);
	EXPECT_EQ(0, bind_to(other, opt.host, port));
	/* The first socket is unchanged. */
	EXPECT_EQ(0, bind_to(fd, opt.host, 0));
	EXPECT_EQ(0, listen(fd, 1));
	close(other);
	close(fd);
}

/* The names of a connected socket, a listening socket and an accepted socket. */
TEST_F(cgroup_bpf, names_are_changed)
{
	unsigned int port = unused_port(SOCK_STREAM, TEST_PORTS);
	int fd, child, listener;

	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK_ADDR, CGROUP_INET4_GETPEERNAME,
			    STORE_IMM(BPF_REG_1, ADDR(user_port), htons(1234)),
			    ALLOW));
	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK_ADDR, CGROUP_INET4_GETSOCKNAME,
			    STORE_IMM(BPF_REG_1, ADDR(user_port), htons(4321)),
			    ALLOW));
	fd = socket(opt.family, SOCK_STREAM, 0);
	ASSERT_TRUE(send_to_peer(fd, &self->peer, opt.host, self->peer.port));
	EXPECT_EQ(4321, local_port(fd));
	EXPECT_EQ(1234, remote_port(fd));
	close(fd);
	ASSERT_STREQ("fin", peer_run(&self->peer, "end"));
	peer_run(&self->peer, "close");
	listener = socket(opt.family, SOCK_STREAM, 0);
	ASSERT_EQ(0, bind_to(listener, opt.host, port));
	ASSERT_EQ(0, listen(listener, 1));
	EXPECT_EQ(4321, local_port(listener));
	ASSERT_TRUE(peer_send(&self->peer, "connect %u", port));
	child = accept(listener, NULL, NULL);
	ASSERT_LE(0, child);
	peer_answer(&self->peer);
	EXPECT_EQ(4321, local_port(child));
	EXPECT_EQ(1234, remote_port(child));
	close(child);
	close(listener);
}

/* The program allows TCP only: datagram sockets and TCP by another name are denied. */
TEST_F(cgroup_bpf, creation_is_denied)
{
	int fd;

	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK, CGROUP_INET_SOCK_CREATE,
			    LOAD(BPF_REG_2, BPF_REG_1, SOCK(protocol)),
			    SKIP_UNLESS(BPF_REG_2, IPPROTO_TCP, 2),
			    ALLOW, DENY));
	fd = socket(opt.family, SOCK_STREAM, 0);
	EXPECT_LE(0, fd);
	EXPECT_TRUE(send_to_peer(fd, &self->peer, opt.host, self->peer.port));
	close(fd);
	EXPECT_EQ(-1, socket(opt.family, SOCK_DGRAM, 0));
	EXPECT_EQ(EPERM, errno);
	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK, CGROUP_INET_SOCK_CREATE,
			    LOAD(BPF_REG_2, BPF_REG_1, SOCK(protocol)),
			    SKIP_UNLESS(BPF_REG_2, IPPROTO_TCP, 2),
			    DENY, ALLOW));
	EXPECT_EQ(-1, socket(opt.family, SOCK_STREAM, 0));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, socket(AF_INET6, SOCK_STREAM, IPPROTO_TCP));
	EXPECT_EQ(EPERM, errno);
}

#define MARK 0x77

/* Sets SO_MARK of the socket that the program was called for. */
#define SET_MARK \
	STORE_IMM(BPF_REG_10, -4, MARK), \
	MOV(BPF_REG_2, SOL_SOCKET), \
	MOV(BPF_REG_3, SO_MARK), \
	MOV_REG(BPF_REG_4, BPF_REG_10), \
	ADD(BPF_REG_4, -4), \
	MOV(BPF_REG_5, 4), \
	CALL(BPF_FUNC_setsockopt), \
	ALLOW

static int mark_of(int fd)
{
	socklen_t len = sizeof(int);
	int mark = -1;

	return getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &len) ? -1 : mark;
}

/* A program marks sockets as they are bound or connected. A marked socket is native. */
TEST_F(cgroup_bpf, mark_is_set)
{
	long before = decision_count("option");
	int fd;

	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK_ADDR, CGROUP_INET4_BIND, SET_MARK));
	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK_ADDR, CGROUP_INET4_CONNECT, SET_MARK));
	fd = socket(opt.family, SOCK_STREAM, 0);
	EXPECT_EQ(0, mark_of(fd));
	EXPECT_EQ(0, bind_to(fd, ANY_HOST, 0));
	EXPECT_EQ(MARK, mark_of(fd));
	close(fd);
	fd = socket(opt.family, SOCK_STREAM, 0);
	/* Nobody listens there. */
	EXPECT_EQ(-1, connect_to(fd, "127.0.0.1", 1));
	EXPECT_EQ(ECONNREFUSED, errno);
	EXPECT_EQ(MARK, mark_of(fd));
	close(fd);
	if (is_hijacked())
		EXPECT_EQ(before + 2, decision_count("option"));
}

#define COUNT_IN(MAP) \
	STORE_IMM(BPF_REG_10, -4, 0), \
	MOV_REG(BPF_REG_2, BPF_REG_10), \
	ADD(BPF_REG_2, -4), \
	LOAD_MAP(BPF_REG_1, MAP), \
	CALL(BPF_FUNC_map_lookup_elem), \
	SKIP_IF_ZERO(BPF_REG_0, 2), \
	MOV(BPF_REG_1, 1), \
	ATOMIC_ADD(BPF_REG_0, BPF_REG_1), \
	ALLOW

/* A program counts each socket once, whether carried or not. */
TEST_F(cgroup_bpf, sockets_are_counted_once)
{
	int made = open_count(), ended = open_count(), fds[4];
	size_t i;

	ASSERT_LE(0, made);
	ASSERT_LE(0, ended);
	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK, CGROUP_INET_SOCK_CREATE, COUNT_IN(made)));
	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK, CGROUP_INET_SOCK_RELEASE,
			    COUNT_IN(ended)));
	for (i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = socket(i & 1 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
		ASSERT_LE(0, fds[i]);
	}
	EXPECT_EQ(4, read_count(made));
	EXPECT_TRUE(send_to_peer(fds[0], &self->peer, opt.host, self->peer.port));
	/* While sockets are hijacked, this one falls back to the guest's own TCP. */
	EXPECT_EQ(-1, connect_to(fds[2], "127.0.0.1", 1));
	EXPECT_EQ(0, read_count(ended));
	for (i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	EXPECT_EQ(4, read_count(made));
	EXPECT_EQ(4, read_count(ended));
}

/* A socket whose packets are inspected stays native. */
TEST_F(cgroup_bpf, packets_are_denied)
{
	struct pollfd pfd = { .events = POLLOUT };
	long before = decision_count("packet-filter");
	int early = socket(opt.family, SOCK_STREAM, 0), fd;

	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SKB, CGROUP_INET_EGRESS, DENY));
	fd = socket(opt.family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	ASSERT_LE(0, fd);
	/* In the guest there is no other route; over TCP the packet is lost. */
	EXPECT_EQ(-1, connect_to(fd, opt.host, self->peer.port));
	pfd.fd = fd;
	if (errno == EINPROGRESS)
		EXPECT_EQ(0, poll(&pfd, 1, 200));
	close(fd);
	/* The same for a socket that existed before. */
	set_nonblock(early, true);
	EXPECT_EQ(-1, connect_to(early, opt.host, self->peer.port));
	pfd.fd = early;
	if (errno == EINPROGRESS)
		EXPECT_EQ(0, poll(&pfd, 1, 200));
	close(early);
	if (is_hijacked())
		EXPECT_EQ(before + 2, decision_count("packet-filter"));
}

FIXTURE(cgroup_bpf_udp) {
	struct cgroup cgroup;
	unsigned int port;
	int to;
};

FIXTURE_SETUP(cgroup_bpf_udp)
{
	int error;

	self->cgroup.fd = -1;
	ASSERT_EQ(0, cgroup_open(&self->cgroup));
	error = ATTACH(&self->cgroup, CGROUP_SOCK, CGROUP_INET_SOCK_CREATE, ALLOW);
	if (error == ENOSYS || error == EINVAL)
		SKIP(return, "this kernel has no BPF for control groups");
	ASSERT_EQ(0, error);
	self->to = open_datagram();
	ASSERT_LE(0, self->to);
	self->port = local_port(self->to);
}

FIXTURE_TEARDOWN(cgroup_bpf_udp)
{
	cgroup_close(&self->cgroup);
	close(self->to);
}

TEST_F(cgroup_bpf_udp, datagrams_are_denied_and_redirected)
{
	char data[8];
	int fd;

	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK_ADDR, CGROUP_UDP4_SENDMSG,
			    LOAD(BPF_REG_2, BPF_REG_1, ADDR(protocol)),
			    SKIP_UNLESS(BPF_REG_2, IPPROTO_UDP, 9),
			    LOAD(BPF_REG_2, BPF_REG_1, ADDR(user_port)),
			    SKIP_UNLESS(BPF_REG_2, htons(9), 2),
			    DENY,
			    SKIP_UNLESS(BPF_REG_2, htons(10), 4),
			    MOV(BPF_REG_3, inet_addr(opt.host)),
			    STORE(BPF_REG_1, ADDR(user_ip4), BPF_REG_3),
			    MOV(BPF_REG_3, htons(self->port)),
			    STORE(BPF_REG_1, ADDR(user_port), BPF_REG_3),
			    ALLOW));
	fd = new_datagram(0);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, send_to(fd, opt.host, 9, "never", 5));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(4, send_to(fd, NOBODY, 10, "here", 4));
	EXPECT_EQ(4, recv(self->to, data, sizeof(data), 0));
	/* A connected socket was checked by connect(), and send() is not checked. */
	EXPECT_EQ(0, connect_to(fd, opt.host, 9));
	EXPECT_EQ(1, send(fd, "x", 1, 0));
	close(fd);
	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK_ADDR, CGROUP_INET4_CONNECT, DENY));
	fd = new_datagram(0);
	EXPECT_EQ(-1, connect_to(fd, opt.host, self->port));
	EXPECT_EQ(EPERM, errno);
	close(fd);
}

/* The program redirects to the guest itself, and allows nobody to send there directly. */
TEST_F(cgroup_bpf_udp, datagrams_are_redirected_once)
{
	int to = open_native(SOCK_DGRAM, 0), i, fd;
	unsigned int port = local_port(to);
	char data[8];

	ASSERT_LE(0, to);
	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK_ADDR, CGROUP_UDP4_SENDMSG,
			    LOAD(BPF_REG_2, BPF_REG_1, ADDR(user_port)),
			    SKIP_UNLESS(BPF_REG_2, htons(port), 2),
			    DENY,
			    SKIP_UNLESS(BPF_REG_2, htons(10), 4),
			    MOV(BPF_REG_3, inet_addr(LOCALHOST)),
			    STORE(BPF_REG_1, ADDR(user_ip4), BPF_REG_3),
			    MOV(BPF_REG_3, htons(port)),
			    STORE(BPF_REG_1, ADDR(user_port), BPF_REG_3),
			    ALLOW));
	fd = new_datagram(0);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, send_to(fd, LOCALHOST, port, "never", 5));
	EXPECT_EQ(EPERM, errno);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(4, send_to(fd, NOBODY, 10, "here", 4)) TH_LOG("%m");
		EXPECT_EQ(4, recv(to, data, sizeof(data), 0));
	}
	close(fd);
	close(to);
}

TEST_F(cgroup_bpf_udp, connect_is_bound)
{
	unsigned int port = 20000 + getpid() % 2000, to;
	int server = open_native(SOCK_DGRAM, 0), i, fd;
	char data[8];

	ASSERT_LE(0, server);
	to = local_port(server);
	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK_ADDR, CGROUP_INET4_CONNECT,
			    BIND_BEFORE(to, port)));
	for (i = 0; i < 3; i++) {
		fd = new_datagram(0);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, connect_to(fd, LOCALHOST, to)) TH_LOG("%m");
		EXPECT_EQ(port, local_port(fd));
		EXPECT_EQ(4, send(fd, "here", 4, 0));
		EXPECT_EQ(4, recv(server, data, sizeof(data), 0));
		close(fd);
		fd = open_native(SOCK_DGRAM, port);
		EXPECT_LE(0, fd) TH_LOG("%m");
		close(fd);
	}
	close(server);
}

TEST_F(cgroup_bpf_udp, senders_are_changed)
{
	struct sockaddr_in from = {};
	socklen_t len = sizeof(from);
	char data[8];
	int fd;

	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK_ADDR, CGROUP_UDP4_RECVMSG,
			    STORE_IMM(BPF_REG_1, ADDR(user_ip4), inet_addr(NOBODY)),
			    STORE_IMM(BPF_REG_1, ADDR(user_port), htons(53)),
			    ALLOW));
	fd = new_datagram(0);
	EXPECT_EQ(2, send_to(fd, opt.host, self->port, "hi", 2));
	EXPECT_EQ(2, recvfrom(self->to, data, sizeof(data), 0, (void *)&from, &len));
	EXPECT_EQ(53, ntohs(from.sin_port));
	EXPECT_EQ(inet_addr(NOBODY), from.sin_addr.s_addr);
	close(fd);
}

TEST_F(cgroup_bpf_udp, post_bind_is_denied)
{
	unsigned int port = unused_port(SOCK_DGRAM, TEST_PORTS);
	int fd, other;

	ASSERT_EQ(0, ATTACH(&self->cgroup, CGROUP_SOCK, CGROUP_INET4_POST_BIND,
			    LOAD(BPF_REG_2, BPF_REG_1, SOCK(protocol)),
			    SKIP_UNLESS(BPF_REG_2, IPPROTO_UDP, 2),
			    DENY, ALLOW));
	fd = new_datagram(0);
	EXPECT_EQ(-1, bind_to(fd, opt.host, port));
	EXPECT_EQ(EPERM, errno);
	enter(self->cgroup.mount);
	other = new_datagram(0);
	EXPECT_EQ(0, bind_to(other, opt.host, port));
	close(other);
	close(fd);
}

FIXTURE(landlock) {
	struct peer peer;
};

FIXTURE_SETUP(landlock)
{
	ASSERT_TRUE(peer_open(&self->peer, 0));
}

FIXTURE_TEARDOWN(landlock)
{
	peer_close(&self->peer);
}

struct net_rule {
	__u64 access;
	__u64 port;
};

/* Restricts this process to these rights for @handled. Returns false on failure. */
static bool restrict_to(__u64 handled, const struct net_rule *rules, size_t count)
{
	struct {
		__u64 fs;
		__u64 net;
	} attr = { .net = handled };
	size_t i;
	int fd = syscall(__NR_landlock_create_ruleset, &attr, sizeof(attr), 0);

	if (fd < 0)
		return false;
	for (i = 0; i < count; i++) {
		if (syscall(__NR_landlock_add_rule, fd, RULE_NET_PORT, &rules[i], 0))
			return false;
	}
	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !syscall(__NR_landlock_restrict_self, fd, 0);
}

static long landlock_version(void)
{
	return syscall(__NR_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

static bool has_landlock(void)
{
	return landlock_version() >= 4;
}

static bool has_landlock_for_udp(void)
{
	return landlock_version() >= 10;
}

TEST_F(landlock, tcp)
{
	unsigned int own_port = unused_port(SOCK_STREAM, TEST_PORTS);
	const struct net_rule rules[] = {
		{ ACCESS_CONNECT_TCP, self->peer.port },
		{ ACCESS_BIND_TCP, own_port },
	};
	struct sockaddr_storage addr;
	int status = -1, fd;
	socklen_t len;
	pid_t pid;

	if (!has_landlock())
		SKIP(return, "this kernel has no Landlock");
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (!restrict_to(ACCESS_CONNECT_TCP | ACCESS_BIND_TCP, rules, ARRAY_LEN(rules)))
			_exit(1);
		fd = socket(opt.family, SOCK_STREAM, 0);
		if (!connect_to(fd, opt.host, opt.port + PEER_ECHO) || errno != EACCES)
			_exit(2);
		if (!bind_to(fd, opt.host, own_port + 1) || errno != EACCES)
			_exit(3);
		if (!bind_to(fd, opt.host, 0) || errno != EACCES)
			_exit(4);
		if (bind_to(fd, opt.host, own_port))
			_exit(5);
		if (!send_to_peer(fd, &self->peer, opt.host, self->peer.port))
			_exit(6);
		close(fd);
		/* Protocol 257 is denied too. */
		fd = socket(AF_INET, SOCK_STREAM, 257);
		if (fd >= 0 && (!connect_to(fd, opt.host, opt.port + PEER_ECHO) ||
				errno != EACCES))
			_exit(7);
		fd = socket(AF_INET6, SOCK_STREAM, 0);
		len = parse_address(opt.host6, opt.port + PEER_ECHO, &addr);
		if (!connect(fd, (void *)&addr, len) || errno != EACCES)
			_exit(8);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status) {
		TH_LOG("step %d", WEXITSTATUS(status));
	}
}

TEST_F(landlock, an_accepted_socket_is_connected_anew)
{
	int status = -1, fd = accept_and_disconnect(&self->peer);
	const struct net_rule rule = { ACCESS_CONNECT_TCP, self->peer.port };
	pid_t pid;

	if (!has_landlock())
		SKIP(return, "this kernel has no Landlock");
	ASSERT_LE(0, fd);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (!restrict_to(ACCESS_CONNECT_TCP | ACCESS_BIND_TCP, &rule, 1))
			_exit(1);
		if (!bind_to(fd, opt.host, 20000 + getpid() % 2000) || errno != EACCES)
			_exit(2);
		if (send_fast(fd, opt.port + PEER_ECHO) >= 0 || errno != EACCES)
			_exit(3);
		if (!connect_to(fd, opt.host, opt.port + PEER_ECHO) || errno != EACCES)
			_exit(4);
		if (connect_to(fd, opt.host, self->peer.port))
			_exit(5);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status) {
		TH_LOG("step %d", WEXITSTATUS(status));
	}
	close(fd);
}

TEST_F(landlock, udp)
{
	int to = open_datagram(), status = -1, fd;
	unsigned int port = local_port(to);
	const struct net_rule rules[] = {
		{ ACCESS_SEND_UDP, port },
		{ ACCESS_BIND_UDP, 0 },
	};
	pid_t pid;

	if (!has_landlock_for_udp())
		SKIP(return, "this kernel has no Landlock for UDP");
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (!restrict_to(ACCESS_SEND_UDP | ACCESS_BIND_UDP, rules, ARRAY_LEN(rules)))
			_exit(1);
		fd = new_datagram(0);
		if (send_to(fd, opt.host, port + 1, "never", 5) >= 0 || errno != EACCES)
			_exit(2);
		if (!connect_to(fd, opt.host, port + 1) || errno != EACCES)
			_exit(3);
		if (!bind_to(fd, opt.host, 20000 + getpid() % 2000) || errno != EACCES)
			_exit(4);
		if (send_to(fd, opt.host, port, "hello", 5) != 5)
			_exit(5);
		if (connect_to(fd, opt.host, port) || send(fd, "again", 5, 0) != 5)
			_exit(6);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status) {
		TH_LOG("step %d", WEXITSTATUS(status));
	}
	close(to);
}

/* A program that may bind no port by number may have one chosen, and use it for everything. */
TEST_F(landlock, a_chosen_port_is_allowed)
{
	__u64 access = ACCESS_BIND_TCP | (has_landlock_for_udp() ? ACCESS_BIND_UDP : 0);
	const struct net_rule rules[] = { { access, 0 } };
	int server = open_native(SOCK_STREAM, 0), to = open_native(SOCK_DGRAM, 0);
	int status = -1, fd;
	pid_t pid;

	if (!has_landlock())
		SKIP(return, "this kernel has no Landlock");
	ASSERT_LE(0, server);
	ASSERT_LE(0, to);
	ASSERT_EQ(0, listen(server, 4));
	/* A server at all addresses listens in the guest too. */
	if (is_hijacked())
		ASSERT_EQ(0, write_setting("hijack_loopback", "0"));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (!restrict_to(access, rules, ARRAY_LEN(rules)))
			_exit(1);
		fd = socket(opt.family, SOCK_STREAM, 0);
		if (!bind_to(fd, ANY_HOST, 20000 + getpid() % 2000) || errno != EACCES)
			_exit(2);
		if (bind_to(fd, ANY_HOST, 0))
			_exit(3);
		if (connect_to(fd, LOCALHOST, local_port(server)))
			_exit(4);
		fd = socket(opt.family, SOCK_STREAM, 0);
		if (listen(fd, 4))
			_exit(5);
		fd = socket(opt.family, SOCK_STREAM, 0);
		if (bind_to(fd, ANY_HOST, 0) || listen(fd, 4))
			_exit(6);
		fd = new_datagram(0);
		if (bind_to(fd, ANY_HOST, 0))
			_exit(7);
		if (send_to(fd, LOCALHOST, local_port(to), "hello", 5) != 5)
			_exit(8);
		_exit(0);
	}
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	if (is_hijacked())
		EXPECT_EQ(0, write_setting("hijack_loopback", "1"));
	EXPECT_EQ(0, status) {
		TH_LOG("step %d", WEXITSTATUS(status));
	}
	close(server);
	close(to);
}

XENSOCK_TEST_MAIN
