// SPDX-License-Identifier: GPL-2.0
/*
 * Multicast: what the peer's domain receives of a group that one of its own
 * sockets has joined is not for others. UDP has that if IP_MULTICAST_ALL is off,
 * and sockets of a frontend in any case (--all).
 */
#include <netinet/in.h>

#include "kselftest_harness.h"
#include "datagram.h"

#define GROUP "239.192.77.1"

#ifndef IP_MULTICAST_ALL
#define IP_MULTICAST_ALL 49
#endif

TEST(groups_of_others)
{
	unsigned int port, mail;
	struct puppet peer;
	int fd, value = -1;
	char data[100];
	socklen_t len = sizeof(value);

	ASSERT_TRUE(puppet_open(&peer, 0));
	fd = new_datagram(0);
	ASSERT_EQ(0, bind_to(fd, ANY_HOST, 0));
	port = local_port(fd);
	EXPECT_EQ(0, getsockopt(fd, SOL_IP, IP_MULTICAST_ALL, &value, &len));
	EXPECT_EQ(1, value);
	if (opt.family == AF_INET)
		EXPECT_EQ(0, setsockopt(fd, SOL_IP, IP_MULTICAST_ALL, &(int){ 0 },
					sizeof(int)));
	ASSERT_EQ(1, sscanf(puppet_do(&peer, "mail " ANY_HOST), "ok %u", &mail));
	ASSERT_STREQ("ok", puppet_do(&peer, "join " GROUP " %s", opt.host));
	/* The first is to the group, and the second is not. */
	EXPECT_STREQ("ok 10", puppet_do(&peer, "post %u 10 1 " GROUP, port));
	EXPECT_STREQ("ok 20", puppet_do(&peer, "post %u 20 2 %s", port, opt.host));
	EXPECT_EQ(20, recv(fd, data, sizeof(data), 0));
	EXPECT_TRUE(stream_check(2, 0, data, 20));
	EXPECT_EQ(-1, recv(fd, data, sizeof(data), MSG_DONTWAIT));
	/* Who has joined gets it: it was sent, and came. */
	EXPECT_STREQ("ok 30", puppet_do(&peer, "post %u 30 3 " GROUP, mail));
	puppet_do(&peer, "take 3");
	EXPECT_EQ(0, strncmp(peer.line, "ok 30", 5)) TH_LOG("%s", peer.line);
	puppet_do(&peer, "nomail");
	puppet_close(&peer);
	close(fd);
}

XENSOCK_TEST_MAIN
