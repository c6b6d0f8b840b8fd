// SPDX-License-Identifier: GPL-2.0
/* Control messages of datagrams in both directions, and corks. */
#include <arpa/inet.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <time.h>

#include "kselftest_harness.h"
#include "datagram.h"

#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef SO_TXTIME
#define SO_TXTIME 61
#endif
#ifndef IP_RECVORIGDSTADDR
#define IP_RECVORIGDSTADDR 20
#endif
#define SOL_IP 0
#define SOL_IPV6 41
#define NOT_OURS "192.0.2.77"	/* an address that nobody has */

static char data[65536];

/* A message to send or to receive, with room for control messages. */
struct message {
	char control[512] __attribute__((aligned(8)));
	struct iovec iov;
	struct sockaddr_storage name;
	struct msghdr msg;
};

static void message_init(struct message *m, size_t len)
{
	memset(m, 0, sizeof(*m));
	m->iov = (struct iovec){ data, len };
	m->msg = (struct msghdr){
		.msg_iov = &m->iov, .msg_iovlen = 1,
		.msg_control = m->control,
	};
}

static void message_add(struct message *m, int level, int type, const void *value, size_t len)
{
	struct cmsghdr *c = (void *)(m->control + m->msg.msg_controllen);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), value, len);
	m->msg.msg_controllen += CMSG_SPACE(len);
}

static void message_add_int(struct message *m, int level, int type, int value)
{
	message_add(m, level, type, &value, sizeof(value));
}

/* Returns the length of the datagram received, or -errno. */
static ssize_t message_recv(struct message *m, int fd, int flags)
{
	ssize_t n;

	message_init(m, sizeof(data));
	m->msg.msg_controllen = sizeof(m->control);
	m->msg.msg_name = &m->name;
	m->msg.msg_namelen = sizeof(m->name);
	n = recvmsg(fd, &m->msg, flags);
	return n < 0 ? -errno : n;
}

static void *message_find(struct message *m, int level, int type, size_t len)
{
	struct cmsghdr *c;

	for (c = CMSG_FIRSTHDR(&m->msg); c; c = CMSG_NXTHDR(&m->msg, c))
		if (c->cmsg_level == level && c->cmsg_type == type)
			return c->cmsg_len == CMSG_LEN(len) ? CMSG_DATA(c) : NULL;
	return NULL;
}

/* Returns the value of a control message, or -1. */
static int message_int(struct message *m, int level, int type)
{
	int *value = message_find(m, level, type, sizeof(int));

	return value ? *value : -1;
}

static int message_tos(struct message *m)
{
	unsigned char *tos = message_find(m, SOL_IP, IP_TOS, 1);

	return tos ? *tos : -1;
}

static int set_option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) ? errno : 0;
}

static int get_option(int fd, int level, int name)
{
	socklen_t len = sizeof(int);
	int value = -1;

	return getsockopt(fd, level, name, &value, &len) ? -errno : value;
}

/* Returns the errno of a datagram, from sendmsg() itself or from the next call. */
static int send_error(struct message *m, int fd)
{
	struct pollfd pfd = { .fd = fd };

	if (sendmsg(fd, &m->msg, 0) < 0)
		return errno;
	return poll(&pfd, 1, WAIT_LIMIT_MSEC) == 1 ? so_error(fd) : 0;
}

/* Errors for a source address that the system does not have. Which one depends on the routes. */
static bool is_no_source(int error)
{
	return error == EINVAL || error == ENETUNREACH;
}

FIXTURE(control) {
	int from;	/* connected to @to */
	int to;
	unsigned int port;
};

FIXTURE_SETUP(control)
{
	self->to = open_datagram();
	ASSERT_LE(0, self->to);
	self->port = local_port(self->to);
	self->from = new_datagram(0);
	ASSERT_EQ(0, bind_to(self->from, ANY_HOST, 0));
	ASSERT_EQ(0, connect_to(self->from, opt.host, self->port));
}

FIXTURE_TEARDOWN(control)
{
	close(self->from);
	close(self->to);
}

TEST_F(control, told_what_was_asked_for)
{
	struct sockaddr_in *name;
	struct in_addr host;
	struct in_pktinfo *info;
	struct message m;
	int i;

	inet_pton(AF_INET, opt.host, &host);
	EXPECT_EQ(1, send(self->from, "?", 1, 0));
	EXPECT_EQ(1, message_recv(&m, self->to, 0));
	EXPECT_EQ(0, m.msg.msg_controllen);
	EXPECT_EQ(0, get_option(self->to, SOL_IP, IP_PKTINFO));
	EXPECT_EQ(0, set_option(self->to, SOL_IP, IP_PKTINFO, 1));
	EXPECT_EQ(0, set_option(self->to, SOL_IP, IP_RECVTTL, 1));
	EXPECT_EQ(0, set_option(self->to, SOL_IP, IP_RECVTOS, 1));
	EXPECT_EQ(0, set_option(self->to, SOL_IP, IP_RECVORIGDSTADDR, 1));
	EXPECT_EQ(1, get_option(self->to, SOL_IP, IP_PKTINFO));
	EXPECT_EQ(1, get_option(self->to, SOL_IP, IP_RECVTTL));
	EXPECT_EQ(0, set_option(self->from, SOL_IP, IP_TTL, 77));
	EXPECT_EQ(0, set_option(self->from, SOL_IP, IP_TOS, 0x28));
	for (i = 0; i < 3; i++) {
		stream_fill(i, 0, data, 1000 * i);
		EXPECT_EQ(1000 * i, send(self->from, data, 1000 * i, 0));
		/* Peeks at the datagram, then reads it. */
		EXPECT_EQ(1000 * i, message_recv(&m, self->to, MSG_PEEK));
		EXPECT_EQ(77, message_int(&m, SOL_IP, IP_TTL));
		EXPECT_EQ(1000 * i, message_recv(&m, self->to, 0));
		EXPECT_TRUE(stream_check(i, 0, data, 1000 * i));
		EXPECT_EQ(0, m.msg.msg_flags);
		EXPECT_EQ(77, message_int(&m, SOL_IP, IP_TTL));
		EXPECT_EQ(0x28, message_tos(&m));
		info = message_find(&m, SOL_IP, IP_PKTINFO, sizeof(*info));
		ASSERT_NE(NULL, info);
		EXPECT_EQ(host.s_addr, info->ipi_addr.s_addr);
		EXPECT_EQ(host.s_addr, info->ipi_spec_dst.s_addr);
		name = message_find(&m, SOL_IP, IP_RECVORIGDSTADDR, sizeof(*name));
		ASSERT_NE(NULL, name);
		EXPECT_EQ(AF_INET, name->sin_family);
		EXPECT_EQ(host.s_addr, name->sin_addr.s_addr);
		EXPECT_EQ(self->port, ntohs(name->sin_port));
	}
	EXPECT_EQ(0, set_option(self->to, SOL_IP, IP_PKTINFO, 0));
	EXPECT_EQ(0, set_option(self->to, SOL_IP, IP_RECVTTL, 0));
	EXPECT_EQ(0, set_option(self->to, SOL_IP, IP_RECVORIGDSTADDR, 0));
	EXPECT_EQ(1, send(self->from, "?", 1, 0));
	EXPECT_EQ(1, message_recv(&m, self->to, 0));
	EXPECT_EQ(CMSG_SPACE(1), m.msg.msg_controllen);
	EXPECT_EQ(0x28, message_tos(&m));
}

TEST_F(control, no_room_for_what_is_told)
{
	struct message m;

	ASSERT_EQ(0, set_option(self->to, SOL_IP, IP_RECVTTL, 1));
	ASSERT_EQ(0, set_option(self->to, SOL_IP, IP_RECVTOS, 1));
	EXPECT_EQ(1, send(self->from, "?", 1, 0));
	message_init(&m, 1);
	m.msg.msg_controllen = CMSG_SPACE(sizeof(int));
	EXPECT_EQ(1, recvmsg(self->to, &m.msg, 0));
	EXPECT_EQ(MSG_CTRUNC, m.msg.msg_flags);
	EXPECT_LT(0, message_int(&m, SOL_IP, IP_TTL));
	EXPECT_EQ(-1, message_tos(&m));
	EXPECT_EQ(1, send(self->from, "?", 1, 0));
	EXPECT_EQ(1, recv(self->to, data, 1, 0));
	/* No room at all. */
	EXPECT_EQ(1, send(self->from, "?", 1, 0));
	message_init(&m, 1);
	EXPECT_EQ(1, recvmsg(self->to, &m.msg, MSG_PEEK));
	EXPECT_EQ(MSG_CTRUNC, m.msg.msg_flags);
	EXPECT_EQ(0, set_option(self->to, SOL_IP, IP_RECVTTL, 0));
	EXPECT_EQ(0, set_option(self->to, SOL_IP, IP_RECVTOS, 0));
	message_init(&m, 1);
	EXPECT_EQ(1, recvmsg(self->to, &m.msg, MSG_PEEK));
	EXPECT_EQ(0, m.msg.msg_flags);
	EXPECT_EQ(0, set_option(self->to, SOL_SOCKET, SO_TIMESTAMP, 1));
	message_init(&m, 1);
	EXPECT_EQ(1, recvmsg(self->to, &m.msg, 0));
	EXPECT_EQ(MSG_CTRUNC, m.msg.msg_flags);
}

TEST_F(control, said_of_one_datagram)
{
	struct message m;
	int tos;

	ASSERT_EQ(0, set_option(self->to, SOL_IP, IP_RECVTTL, 1));
	ASSERT_EQ(0, set_option(self->to, SOL_IP, IP_RECVTOS, 1));
	for (tos = 0; tos < 256; tos += 51) {
		message_init(&m, 10);
		message_add_int(&m, SOL_IP, IP_TOS, tos);
		message_add_int(&m, SOL_IP, IP_TTL, tos / 51 + 1);
		EXPECT_EQ(10, sendmsg(self->from, &m.msg, 0));
		EXPECT_EQ(10, message_recv(&m, self->to, 0));
		EXPECT_EQ(tos, message_tos(&m));
		EXPECT_EQ(tos / 51 + 1, message_int(&m, SOL_IP, IP_TTL));
		/* The next datagram uses the socket's own value. */
		EXPECT_EQ(10, send(self->from, data, 10, 0));
		EXPECT_EQ(10, message_recv(&m, self->to, 0));
		EXPECT_EQ(0, message_tos(&m));
		EXPECT_EQ(64, message_int(&m, SOL_IP, IP_TTL));
	}
}

/* Servers that are bound to all addresses answer like this. */
TEST_F(control, sent_from_an_address)
{
	struct in_pktinfo info = {};
	char text[ADDRESS_TEXT], expected[ADDRESS_TEXT];
	struct message m;

	inet_pton(AF_INET, opt.host, &info.ipi_spec_dst);
	message_init(&m, 10);
	message_add(&m, SOL_IP, IP_PKTINFO, &info, sizeof(info));
	EXPECT_EQ(10, sendmsg(self->from, &m.msg, 0));
	EXPECT_EQ(10, message_recv(&m, self->to, 0));
	snprintf(expected, sizeof(expected), "%s %u", opt.host, local_port(self->from));
	EXPECT_STREQ(expected, address_text(&m.name, text));

	inet_pton(AF_INET, NOT_OURS, &info.ipi_spec_dst);
	message_init(&m, 10);
	message_add(&m, SOL_IP, IP_PKTINFO, &info, sizeof(info));
	EXPECT_TRUE(is_no_source(send_error(&m, self->from)));
	EXPECT_EQ(10, send(self->from, data, 10, 0));
	EXPECT_EQ(10, message_recv(&m, self->to, 0));
}

/* The received control message is sent back unchanged. */
TEST_F(control, answered_from_where_it_came_to)
{
	struct in_pktinfo *found, info;
	char text[ADDRESS_TEXT], expected[ADDRESS_TEXT];
	unsigned int port = local_port(self->from);
	struct message m;

	ASSERT_EQ(0, connect_to(self->from, opt.host, self->port));
	ASSERT_EQ(0, set_option(self->to, SOL_IP, IP_PKTINFO, 1));
	EXPECT_EQ(10, send(self->from, data, 10, 0));
	EXPECT_EQ(10, message_recv(&m, self->to, 0));
	found = message_find(&m, SOL_IP, IP_PKTINFO, sizeof(*found));
	ASSERT_NE(NULL, found);
	info = *found;
	message_init(&m, 20);
	message_add(&m, SOL_IP, IP_PKTINFO, &info, sizeof(info));
	m.msg.msg_name = &m.name;
	m.msg.msg_namelen = parse_address(opt.host, port, &m.name);
	EXPECT_EQ(20, sendmsg(self->to, &m.msg, 0));
	EXPECT_EQ(20, message_recv(&m, self->from, 0));
	snprintf(expected, sizeof(expected), "%s %u", opt.host, self->port);
	EXPECT_STREQ(expected, address_text(&m.name, text));
}

TEST_F(control, cut_into_segments)
{
	unsigned short segment = 1000;
	struct message m;
	int i;

	stream_fill(1, 0, data, 3500);
	message_init(&m, 3500);
	message_add(&m, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment));
	EXPECT_EQ(3500, sendmsg(self->from, &m.msg, 0));
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(i < 3 ? 1000 : 500, recv(self->to, data, sizeof(data), 0));
		EXPECT_TRUE(stream_check(1, 1000 * i, data, i < 3 ? 1000 : 500));
	}
	/* Segments by the option, unless a control message overrides it. */
	EXPECT_EQ(0, get_option(self->from, SOL_UDP, UDP_SEGMENT));
	EXPECT_EQ(EINVAL, set_option(self->from, SOL_UDP, UDP_SEGMENT, 65536));
	EXPECT_EQ(EINVAL, set_option(self->from, SOL_UDP, UDP_SEGMENT, -1));
	EXPECT_EQ(0, set_option(self->from, SOL_UDP, UDP_SEGMENT, 700));
	EXPECT_EQ(700, get_option(self->from, SOL_UDP, UDP_SEGMENT));
	EXPECT_EQ(1400, send(self->from, data, 1400, 0));
	for (i = 0; i < 2; i++)
		EXPECT_EQ(700, recv(self->to, data, sizeof(data), 0));
	segment = 0;
	message_init(&m, 1400);
	message_add(&m, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment));
	EXPECT_EQ(1400, sendmsg(self->from, &m.msg, 0));
	EXPECT_EQ(1400, recv(self->to, data, sizeof(data), 0));
}

TEST_F(control, received_as_one)
{
	unsigned short segment = 1000;
	struct message m;
	int i;

	EXPECT_EQ(0, get_option(self->to, SOL_UDP, UDP_GRO));
	ASSERT_EQ(0, set_option(self->to, SOL_UDP, UDP_GRO, 1));
	EXPECT_EQ(1, get_option(self->to, SOL_UDP, UDP_GRO));
	for (i = 0; i < 5; i++) {
		stream_fill(i, 0, data, 10000);
		message_init(&m, 10000);
		message_add(&m, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment));
		EXPECT_EQ(10000, sendmsg(self->from, &m.msg, 0));
		EXPECT_EQ(10000, message_recv(&m, self->to, 0));
		EXPECT_EQ(1000, message_int(&m, SOL_UDP, UDP_GRO));
		EXPECT_TRUE(stream_check(i, 0, data, 10000));
	}
	EXPECT_EQ(10, send(self->from, data, 10, 0));
	EXPECT_EQ(10, message_recv(&m, self->to, 0));
	EXPECT_EQ(0, m.msg.msg_controllen);
}

static const struct {
	int level, type;
	size_t len;
	int value;
	int error;
} wrong[] = {
	{ SOL_IP, IP_TTL, 4, 0, EINVAL },
	{ SOL_IP, IP_TTL, 4, 256, EINVAL },
	{ SOL_IP, IP_TTL, 1, 9, EINVAL },
	{ SOL_IP, IP_TOS, 4, -1, EINVAL },
	{ SOL_IP, IP_TOS, 4, 256, EINVAL },
	{ SOL_IP, IP_TOS, 2, 1, EINVAL },
	{ SOL_IP, IP_PKTINFO, 4, 0, EINVAL },
	{ SOL_IP, 999, 4, 0, EINVAL },
	{ SOL_UDP, UDP_SEGMENT, 4, 1000, EINVAL },
	{ SOL_UDP, UDP_GRO, 4, 1000, EINVAL },
	{ SOL_SOCKET, 999, 4, 0, EINVAL },
	{ SOL_SOCKET, SO_TXTIME, 8, 1, EINVAL },
	{ SOL_SOCKET, SO_PRIORITY, 2, 1, EINVAL },
	{ SOL_SOCKET, SO_PRIORITY, 4, 1, 0 },
	{ SOL_SOCKET, SCM_RIGHTS, 4, 1, 0 },
	{ 999, 1, 4, 1, 0 },
	{ SOL_IPV6, 999, 4, 1, 0 },
};

TEST_F(control, wrong_messages)
{
	struct message m;
	size_t i;

	for (i = 0; i < ARRAY_LEN(wrong); i++) {
		__u64 value = (unsigned int)wrong[i].value;

		message_init(&m, 10);
		message_add(&m, wrong[i].level, wrong[i].type, &value, wrong[i].len);
		errno = 0;
		EXPECT_EQ(wrong[i].error ? -1 : 10, sendmsg(self->from, &m.msg, 0))
			TH_LOG("case %zu", i);
		EXPECT_EQ(wrong[i].error, errno) TH_LOG("case %zu", i);
		if (!wrong[i].error)
			EXPECT_EQ(10, recv(self->to, data, sizeof(data), 0));
	}
	/* A control message that is longer than the buffer, or too short. */
	message_init(&m, 10);
	message_add_int(&m, SOL_IP, IP_TTL, 9);
	((struct cmsghdr *)m.control)->cmsg_len = 1000;
	EXPECT_EQ(-1, sendmsg(self->from, &m.msg, 0));
	EXPECT_EQ(EINVAL, errno);
	((struct cmsghdr *)m.control)->cmsg_len = 1;
	EXPECT_EQ(-1, sendmsg(self->from, &m.msg, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, recv(self->to, data, sizeof(data), MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
}

TEST_F(control, corked)
{
	int i;

	EXPECT_EQ(0, get_option(self->from, SOL_UDP, UDP_CORK));
	ASSERT_EQ(0, set_option(self->from, SOL_UDP, UDP_CORK, 1));
	EXPECT_EQ(1, get_option(self->from, SOL_UDP, UDP_CORK));
	for (i = 0; i < 3; i++) {
		stream_fill(1, 100 * i, data, 100);
		EXPECT_EQ(100, send(self->from, data, 100, 0));
	}
	EXPECT_EQ(-1, recv(self->to, data, sizeof(data), MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, set_option(self->from, SOL_UDP, UDP_CORK, 0));
	EXPECT_EQ(300, recv(self->to, data, sizeof(data), 0));
	EXPECT_TRUE(stream_check(1, 0, data, 300));
	/* Uncorking without data sends nothing. */
	ASSERT_EQ(0, set_option(self->from, SOL_UDP, UDP_CORK, 1));
	EXPECT_EQ(0, set_option(self->from, SOL_UDP, UDP_CORK, 0));
	EXPECT_EQ(50, send(self->from, data, 50, 0));
	EXPECT_EQ(50, recv(self->to, data, sizeof(data), 0));
	EXPECT_EQ(-1, recv(self->to, data, sizeof(data), MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
}

/* sendfile() asks for more than the file has, so its last part does not say that it is the last. */
TEST_F(control, a_file_is_a_datagram)
{
	int file = memfd_create("data", 0);

	ASSERT_LE(0, file);
	stream_fill(1, 0, data, 200);
	ASSERT_EQ(100, write(file, data, 100));
	EXPECT_EQ(100, sendfile(self->from, file, &(off_t){ 0 }, 65536));
	EXPECT_EQ(100, recv(self->to, data, sizeof(data), 0));
	EXPECT_TRUE(stream_check(1, 0, data, 100));
	EXPECT_EQ(1, send(self->from, "x", 1, 0));
	EXPECT_EQ(1, recv(self->to, data, sizeof(data), 0));

	/* What is corked stays so. */
	ASSERT_EQ(0, set_option(self->from, SOL_UDP, UDP_CORK, 1));
	EXPECT_EQ(100, sendfile(self->from, file, &(off_t){ 0 }, 65536));
	stream_fill(1, 0, data, 200);
	EXPECT_EQ(100, send(self->from, data + 100, 100, 0));
	EXPECT_EQ(0, set_option(self->from, SOL_UDP, UDP_CORK, 0));
	EXPECT_EQ(200, recv(self->to, data, sizeof(data), 0));
	EXPECT_TRUE(stream_check(1, 0, data, 200));
	close(file);
}

/* The control messages of the first part count. */
TEST_F(control, said_of_one_in_parts)
{
	struct message m;

	ASSERT_EQ(0, set_option(self->to, SOL_IP, IP_RECVTOS, 1));
	stream_fill(1, 0, data, 100);
	message_init(&m, 100);
	message_add_int(&m, SOL_IP, IP_TOS, 0x40);
	EXPECT_EQ(100, sendmsg(self->from, &m.msg, MSG_MORE));
	stream_fill(1, 100, data, 50);
	EXPECT_EQ(50, send(self->from, data, 50, 0));
	EXPECT_EQ(150, message_recv(&m, self->to, 0));
	EXPECT_TRUE(stream_check(1, 0, data, 150));
	EXPECT_EQ(0x40, message_tos(&m));
}

TEST_F(control, told_what_was_lost)
{
	struct message m;
	ssize_t n;
	int i;

	close(self->to);
	self->to = new_datagram(0);
	ASSERT_EQ(0, set_option(self->to, SOL_SOCKET, SO_RCVBUF, 4096));
	ASSERT_EQ(0, set_option(self->to, SOL_SOCKET, SO_SNDBUF, 4096));
	ASSERT_EQ(0, set_option(self->to, SOL_SOCKET, SO_RXQ_OVFL, 1));
	EXPECT_EQ(1, get_option(self->to, SOL_SOCKET, SO_RXQ_OVFL));
	ASSERT_EQ(0, bind_to(self->to, opt.host, 0));
	ASSERT_EQ(0, connect_to(self->from, opt.host, local_port(self->to)));
	EXPECT_EQ(1000, send(self->from, data, 1000, 0));
	EXPECT_EQ(1000, message_recv(&m, self->to, 0));
	EXPECT_EQ(-1, message_int(&m, SOL_SOCKET, SO_RXQ_OVFL));
	for (i = 0; i < 500; i++)
		ASSERT_EQ(1000, send(self->from, data, 1000, 0));
	/* The drop count comes with a datagram after the lost ones, unless that is lost itself. */
	for (i = 0; i < 100; i++) {
		EXPECT_EQ(1, send(self->from, "!", 1, 0));
		do
			/* This one may be lost, too. */
			n = poll(&(struct pollfd){ self->to, POLLIN, 0 }, 1, 1000) == 1 ?
				message_recv(&m, self->to, MSG_DONTWAIT) : -1;
		while (n > 1);
		if (n == 1 && message_int(&m, SOL_SOCKET, SO_RXQ_OVFL) > 0)
			break;
	}
	EXPECT_EQ(1, n);
	EXPECT_LT(0, message_int(&m, SOL_SOCKET, SO_RXQ_OVFL));
	EXPECT_GE(501, message_int(&m, SOL_SOCKET, SO_RXQ_OVFL));
}

FIXTURE(control6) {
	int from;	/* connected to @to */
	int to;
	unsigned int port;
};

FIXTURE_SETUP(control6)
{
	struct sockaddr_storage ss;
	socklen_t len = parse_address(opt.host6, 0, &ss);

	self->to = new_datagram6();
	ASSERT_EQ(0, bind(self->to, (void *)&ss, len));
	self->port = local_port(self->to);
	self->from = new_datagram6();
	len = parse_address(opt.host6, self->port, &ss);
	ASSERT_EQ(0, connect(self->from, (void *)&ss, len));
}

FIXTURE_TEARDOWN(control6)
{
	close(self->from);
	close(self->to);
}

TEST_F(control6, both_ways)
{
	struct sockaddr_in6 *name;
	struct in6_pktinfo *found, info = {};
	struct message m;

	inet_pton(AF_INET6, opt.host6, &info.ipi6_addr);
	ASSERT_EQ(0, set_option(self->to, SOL_IPV6, IPV6_RECVPKTINFO, 1));
	ASSERT_EQ(0, set_option(self->to, SOL_IPV6, IPV6_RECVHOPLIMIT, 1));
	ASSERT_EQ(0, set_option(self->to, SOL_IPV6, IPV6_RECVTCLASS, 1));
	ASSERT_EQ(0, set_option(self->to, SOL_IPV6, IPV6_RECVORIGDSTADDR, 1));
	message_init(&m, 10);
	message_add_int(&m, SOL_IPV6, IPV6_TCLASS, 0x23);
	message_add_int(&m, SOL_IPV6, IPV6_HOPLIMIT, 9);
	message_add(&m, SOL_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	EXPECT_EQ(10, sendmsg(self->from, &m.msg, 0));
	EXPECT_EQ(10, message_recv(&m, self->to, 0));
	EXPECT_EQ(0x23, message_int(&m, SOL_IPV6, IPV6_TCLASS));
	EXPECT_EQ(9, message_int(&m, SOL_IPV6, IPV6_HOPLIMIT));
	found = message_find(&m, SOL_IPV6, IPV6_PKTINFO, sizeof(*found));
	ASSERT_NE(NULL, found);
	EXPECT_EQ(0, memcmp(&found->ipi6_addr, &info.ipi6_addr, 16));
	name = message_find(&m, SOL_IPV6, IPV6_ORIGDSTADDR, sizeof(*name));
	ASSERT_NE(NULL, name);
	EXPECT_EQ(0, memcmp(&name->sin6_addr, &info.ipi6_addr, 16));
	EXPECT_EQ(self->port, ntohs(name->sin6_port));

	message_init(&m, 10);
	message_add_int(&m, SOL_IPV6, IPV6_HOPLIMIT, -1);
	EXPECT_EQ(10, sendmsg(self->from, &m.msg, 0));
	EXPECT_EQ(10, message_recv(&m, self->to, 0));
	EXPECT_EQ(64, message_int(&m, SOL_IPV6, IPV6_HOPLIMIT));

	message_init(&m, 10);
	message_add_int(&m, SOL_IPV6, IPV6_HOPLIMIT, 256);
	EXPECT_EQ(-1, sendmsg(self->from, &m.msg, 0));
	EXPECT_EQ(EINVAL, errno);
	inet_pton(AF_INET6, "2001:db8::77", &info.ipi6_addr);
	message_init(&m, 10);
	message_add(&m, SOL_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	EXPECT_TRUE(is_no_source(send_error(&m, self->from)));
}

/* For streams only the control messages of SOL_SOCKET are interpreted. */
TEST(of_a_stream)
{
	struct peer peer;
	size_t i, sent = 0;
	struct message m;
	int fd;

	ASSERT_TRUE(peer_open(&peer, 0));
	fd = peer_connect(&peer, 0);
	ASSERT_LE(0, fd);
	for (i = 0; i < ARRAY_LEN(wrong); i++) {
		bool is_bad = wrong[i].level == SOL_SOCKET && wrong[i].error;
		__u64 value = (unsigned int)wrong[i].value;

		stream_fill(1, sent, data, 1);
		message_init(&m, 1);
		message_add(&m, wrong[i].level, wrong[i].type, &value, wrong[i].len);
		errno = 0;
		EXPECT_EQ(is_bad ? -1 : 1, sendmsg(fd, &m.msg, 0)) TH_LOG("case %zu", i);
		EXPECT_EQ(is_bad ? EINVAL : 0, errno) TH_LOG("case %zu", i);
		if (!is_bad)
			EXPECT_STREQ("ok 1", peer_run(&peer, "recv 1 1"));
		sent += !is_bad;
	}
	close(fd);
	peer_close(&peer);
}

XENSOCK_TEST_MAIN
