// SPDX-License-Identifier: GPL-2.0
/*
 * Multicast: if one socket of the peer's domain has joined a group, other sockets do not receive
 * the group's datagrams. UDP does that if IP_MULTICAST_ALL is off, a frontend's sockets always do.
 * Sockets that have joined the group themselves receive them. The scenario has a rule that allows
 * these groups, and a route.
 */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "kselftest_harness.h"
#include "datagram.h"

#define GROUP "239.192.77.1"
#define GROUP6 "ff15::77"

#ifndef IP_MULTICAST_ALL
#define IP_MULTICAST_ALL 49
#endif

TEST(groups_of_others)
{
	unsigned int port, udp_port;
	struct peer peer;
	int fd, value = -1;
	char data[100];
	socklen_t len = sizeof(value);

	ASSERT_TRUE(peer_open(&peer, 0));
	fd = new_datagram(0);
	ASSERT_EQ(0, bind_to(fd, ANY_HOST, 0));
	port = local_port(fd);
	EXPECT_EQ(0, getsockopt(fd, SOL_IP, IP_MULTICAST_ALL, &value, &len));
	EXPECT_EQ(1, value);
	if (opt.family == AF_INET)
		EXPECT_EQ(0, setsockopt(fd, SOL_IP, IP_MULTICAST_ALL, &(int){ 0 },
					sizeof(int)));
	ASSERT_EQ(1, sscanf(peer_run(&peer, "udp " ANY_HOST), "ok %u", &udp_port));
	ASSERT_STREQ("ok", peer_run(&peer, "join " GROUP " %s", opt.host));
	/* The first datagram is to the group, the second is not. */
	EXPECT_STREQ("ok 10", peer_run(&peer, "sendto %u 10 1 " GROUP, port));
	EXPECT_STREQ("ok 20", peer_run(&peer, "sendto %u 20 2 %s", port, opt.host));
	EXPECT_EQ(20, recv(fd, data, sizeof(data), 0));
	EXPECT_TRUE(stream_check(2, 0, data, 20));
	EXPECT_EQ(-1, recv(fd, data, sizeof(data), MSG_DONTWAIT));
	/* The peer's socket, which has joined, receives the datagram: it was sent, and came. */
	EXPECT_STREQ("ok 30", peer_run(&peer, "sendto %u 30 3 " GROUP, udp_port));
	peer_run(&peer, "recvfrom 3");
	EXPECT_EQ(0, strncmp(peer.line, "ok 30", 5)) TH_LOG("%s", peer.line);
	peer_run(&peer, "closeudp");
	peer_close(&peer);
	close(fd);
}

/* The interface is the one with the peer's address; for a frontend the backend chooses it. */
static int group_option(int fd, int name, const char *group)
{
	struct ip_mreq mreq;

	inet_pton(AF_INET, group, &mreq.imr_multiaddr);
	inet_pton(AF_INET, opt.host, &mreq.imr_interface);
	return setsockopt(fd, SOL_IP, name, &mreq, sizeof(mreq)) ? errno : 0;
}

static int group_option6(int fd, int name, const char *group)
{
	struct ipv6_mreq mreq = { .ipv6mr_interface = 0 };

	inet_pton(AF_INET6, group, &mreq.ipv6mr_multiaddr);
	return setsockopt(fd, SOL_IPV6, name, &mreq, sizeof(mreq)) ? errno : 0;
}

static int any_group(int fd, int level, int name, const char *group)
{
	struct group_req req = { .gr_interface = 0 };

	parse_address(group, 0, &req.gr_group);
	return setsockopt(fd, level, name, &req, sizeof(req)) ? errno : 0;
}

FIXTURE(groups) {
	struct peer peer;
	int fd;
	unsigned int port;
};

FIXTURE_SETUP(groups)
{
	ASSERT_TRUE(peer_open(&self->peer, 0));
	ASSERT_EQ(0, strncmp(peer_run(&self->peer, "udp " ANY_HOST), "ok ", 3));
	ASSERT_STREQ("ok", peer_run(&self->peer, "join " GROUP " %s", opt.host));
	self->fd = new_datagram(0);
	ASSERT_EQ(0, bind_to(self->fd, ANY_HOST, 0));
	self->port = local_port(self->fd);
	if (opt.family == AF_INET)
		EXPECT_EQ(0, setsockopt(self->fd, SOL_IP, IP_MULTICAST_ALL,
					&(int){ 0 }, sizeof(int)));
	EXPECT_EQ(0, setsockopt(self->fd, SOL_IP, IP_PKTINFO, &(int){ 1 }, sizeof(int)));
}

FIXTURE_TEARDOWN(groups)
{
	peer_run(&self->peer, "closeudp");
	peer_close(&self->peer);
	close(self->fd);
}

/* Returns the destination of the next datagram, or "". */
static const char *destination(int fd, ssize_t len)
{
	static char text[INET_ADDRSTRLEN];
	char data[100], control[100];
	struct iovec iov = { data, sizeof(data) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct in_pktinfo info;
	struct cmsghdr *cmsg;

	if (recvmsg(fd, &msg, 0) != len)
		return "";
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_level != SOL_IP || cmsg->cmsg_type != IP_PKTINFO)
		return "";
	memcpy(&info, CMSG_DATA(cmsg), sizeof(info));
	return inet_ntop(AF_INET, &info.ipi_addr, text, sizeof(text));
}

TEST_F(groups, joined)
{
	int fd = self->fd;

	EXPECT_EQ(0, group_option(fd, IP_ADD_MEMBERSHIP, GROUP));
	EXPECT_EQ(EADDRINUSE, group_option(fd, IP_ADD_MEMBERSHIP, GROUP));
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "sendto %u 10 1 " GROUP, self->port));
	EXPECT_STREQ(GROUP, destination(fd, 10));
	EXPECT_EQ(0, group_option(fd, IP_DROP_MEMBERSHIP, GROUP));
	EXPECT_EQ(EADDRNOTAVAIL, group_option(fd, IP_DROP_MEMBERSHIP, GROUP));
	EXPECT_STREQ("ok 11", peer_run(&self->peer, "sendto %u 11 1 " GROUP, self->port));
	EXPECT_STREQ("ok 20", peer_run(&self->peer, "sendto %u 20 2 %s", self->port, opt.host));
	EXPECT_STREQ(opt.host, destination(fd, 20));
	EXPECT_EQ(0, any_group(fd, SOL_IP, MCAST_JOIN_GROUP, GROUP));
	EXPECT_EQ(EADDRINUSE, group_option(fd, IP_ADD_MEMBERSHIP, GROUP));
	EXPECT_STREQ("ok 30", peer_run(&self->peer, "sendto %u 30 3 " GROUP, self->port));
	EXPECT_STREQ(GROUP, destination(fd, 30));
	EXPECT_EQ(0, any_group(fd, SOL_IP, MCAST_LEAVE_GROUP, GROUP));
}

/* Joins before the socket has an address. The socket it gets must have all settings again. */
TEST_F(groups, joined_first)
{
	int fd = new_datagram(0);
	unsigned int port;

	EXPECT_EQ(0, setsockopt(fd, SOL_IP, IP_PKTINFO, &(int){ 1 }, sizeof(int)));
	EXPECT_EQ(0, group_option(fd, IP_ADD_MEMBERSHIP, GROUP));
	EXPECT_EQ(0, group_option(fd, IP_ADD_MEMBERSHIP, "239.192.77.2"));
	EXPECT_EQ(0, group_option(fd, IP_DROP_MEMBERSHIP, "239.192.77.2"));
	ASSERT_EQ(0, bind_to(fd, ANY_HOST, 0));
	port = local_port(fd);
	EXPECT_STREQ("ok 10", peer_run(&self->peer, "sendto %u 10 1 " GROUP, port));
	EXPECT_STREQ(GROUP, destination(fd, 10));
	close(fd);
}

TEST_F(groups, what_is_said_wrongly)
{
	struct ip_mreq mreq = { .imr_multiaddr.s_addr = inet_addr(GROUP) };
	struct group_req req = { .gr_interface = 0 };
	socklen_t len = sizeof(mreq);
	int fd = self->fd;

	EXPECT_EQ(EINVAL, group_option(fd, IP_ADD_MEMBERSHIP, "192.0.2.1"));
	EXPECT_EQ(-1, setsockopt(fd, SOL_IP, IP_ADD_MEMBERSHIP, &mreq, 7));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, setsockopt(fd, SOL_IP, MCAST_JOIN_GROUP, &req, sizeof(req) - 5));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(EINVAL, any_group(fd, SOL_IP, MCAST_JOIN_GROUP, GROUP6));
	EXPECT_EQ(-1, getsockopt(fd, SOL_IP, IP_ADD_MEMBERSHIP, &mreq, &len));
	EXPECT_EQ(ENOPROTOOPT, errno);
}

TEST(groups_of_ipv6)
{
	int fd = new_datagram6();

	EXPECT_EQ(0, group_option6(fd, IPV6_ADD_MEMBERSHIP, GROUP6));
	EXPECT_EQ(EADDRINUSE, group_option6(fd, IPV6_ADD_MEMBERSHIP, GROUP6));
	EXPECT_EQ(EADDRINUSE, any_group(fd, SOL_IPV6, MCAST_JOIN_GROUP, GROUP6));
	EXPECT_EQ(0, any_group(fd, SOL_IPV6, MCAST_LEAVE_GROUP, GROUP6));
	EXPECT_EQ(EADDRNOTAVAIL, group_option6(fd, IPV6_DROP_MEMBERSHIP, GROUP6));
	EXPECT_EQ(EINVAL, group_option6(fd, IPV6_ADD_MEMBERSHIP, "2001:db8::1"));
	close(fd);
}

TEST(received_from_ipv6)
{
	struct sockaddr_storage any;
	socklen_t len = parse_address("::", 0, &any);
	int fd = new_datagram6();
	struct peer peer;
	unsigned int port;
	char data[100];

	ASSERT_TRUE(peer_open(&peer, 0));
	ASSERT_EQ(0, strncmp(peer_run(&peer, "udp ::"), "ok ", 3));
	ASSERT_EQ(0, bind(fd, (struct sockaddr *)&any, len));
	port = local_port(fd);
	EXPECT_STREQ("ok 10", peer_run(&peer, "sendto %u 10 1 " GROUP6, port));
	EXPECT_EQ(0, group_option6(fd, IPV6_ADD_MEMBERSHIP, GROUP6));
	EXPECT_STREQ("ok 20", peer_run(&peer, "sendto %u 20 2 " GROUP6, port));
	EXPECT_EQ(20, recv(fd, data, sizeof(data), 0));
	EXPECT_TRUE(stream_check(2, 0, data, 20));
	EXPECT_EQ(0, group_option6(fd, IPV6_DROP_MEMBERSHIP, GROUP6));
	EXPECT_STREQ("ok 30", peer_run(&peer, "sendto %u 30 3 " GROUP6, port));
	EXPECT_STREQ("ok 40", peer_run(&peer, "sendto %u 40 4 %s", port, opt.host6));
	EXPECT_EQ(40, recv(fd, data, sizeof(data), 0));
	EXPECT_TRUE(stream_check(4, 0, data, 40));
	peer_run(&peer, "closeudp");
	peer_close(&peer);
	close(fd);
}

XENSOCK_TEST_MAIN
