// SPDX-License-Identifier: GPL-2.0
/* Names of sockets: getsockname, getpeername, and the ways to share a socket. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "util.h"

FIXTURE(names) {
	struct peer peer;
	int fd;
};

FIXTURE_SETUP(names)
{
	ASSERT_TRUE(peer_open(&self->peer, 0));
	self->fd = new_socket(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(names)
{
	close(self->fd);
	peer_close(&self->peer);
}

/* Checks that both ends agree on both names. */
static void check_names(struct __test_metadata *_metadata, int fd,
			struct peer *peer)
{
	peer_run(peer, "name");
	EXPECT_STREQ(peer->line + 3, REMOTE_NAME(fd));
	peer_run(peer, "peer");
	EXPECT_STREQ(peer->line + 3, LOCAL_NAME(fd));
}

TEST_F(names, of_a_fresh_socket)
{
	EXPECT_STREQ("0.0.0.0 0", LOCAL_NAME(self->fd));
	EXPECT_STREQ("ENOTCONN", REMOTE_NAME(self->fd));
}

TEST_F(names, of_a_bound_socket)
{
	const char *const hosts[] = { ANY_HOST, opt.host };
	char expected[40];
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_LEN(hosts); i++) {
		fd = new_socket(0);
		ASSERT_EQ(0, bind_to(fd, hosts[i], 0));
		snprintf(expected, sizeof(expected), "%s %u", hosts[i],
			 local_port(fd));
		EXPECT_STREQ(expected, LOCAL_NAME(fd));
		ASSERT_EQ(0, listen(fd, 1));
		EXPECT_STREQ(expected, LOCAL_NAME(fd));
		EXPECT_STREQ("ENOTCONN", REMOTE_NAME(fd));
		close(fd);
	}
}

TEST_F(names, of_a_connected_socket)
{
	char ours[ADDRESS_TEXT];

	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	check_names(_metadata, self->fd, &self->peer);
	snprintf(ours, sizeof(ours), "%s", LOCAL_NAME(self->fd));
	/* The names stay when one direction has ended. */
	EXPECT_EQ(0, shutdown(self->fd, SHUT_WR));
	EXPECT_STREQ("eof 0", peer_run(&self->peer, "drain 1"));
	check_names(_metadata, self->fd, &self->peer);
	EXPECT_STREQ(ours, LOCAL_NAME(self->fd));
}

/* The listener has all addresses. The connection has the address that the client used. */
TEST_F(names, of_an_accepted_socket)
{
	char expected[40];
	int fd;

	ASSERT_EQ(0, bind_to(self->fd, ANY_HOST, 0));
	ASSERT_EQ(0, listen(self->fd, 1));
	fd = peer_accept(&self->peer, self->fd, 0);
	ASSERT_LE(0, fd);
	check_names(_metadata, fd, &self->peer);
	snprintf(expected, sizeof(expected), "%s %u", opt.host,
		 local_port(self->fd));
	EXPECT_STREQ(expected, LOCAL_NAME(fd));
	EXPECT_STREQ("ENOTCONN", REMOTE_NAME(self->fd));
	close(fd);
}

TEST_F(names, while_connecting)
{
	set_nonblock(self->fd, true);
	connect_for_long(self->fd);
	EXPECT_EQ(-1, connect_to(self->fd, opt.blackhole, 80));
	EXPECT_EQ(EINPROGRESS, errno);
	EXPECT_EQ(0, strncmp(opt.host, LOCAL_NAME(self->fd), strlen(opt.host)))
		TH_LOG("%s", LOCAL_NAME(self->fd));
	EXPECT_LT(0, local_port(self->fd));
	EXPECT_STREQ("ENOTCONN", REMOTE_NAME(self->fd));
}

TEST_F(names, after_a_refusal)
{
	EXPECT_STREQ("ok", peer_run(&self->peer, "unlisten"));
	EXPECT_EQ(-1, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_EQ(ECONNREFUSED, errno);
	EXPECT_STREQ("ENOTCONN", REMOTE_NAME(self->fd));
}

/* Both directions have ended, and so has the last handshake. */
TEST_F(names, after_the_end)
{
	__u64 deadline = now_msec() + WAIT_LIMIT_MSEC;
	static const char *const ends[] = { "rst", "fin" };
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_LEN(ends); i++) {
		fd = peer_connect(&self->peer, 0);
		EXPECT_STREQ("ok", peer_run(&self->peer, "%s", ends[i]));
		ASSERT_TRUE(wait_poll(fd, POLLRDHUP, NULL));
		if (i == 1) {
			EXPECT_EQ(0, shutdown(fd, SHUT_WR));
			EXPECT_STREQ("eof 0", peer_run(&self->peer,
						       "drain 1"));
		}
		while (strcmp("ENOTCONN", REMOTE_NAME(fd)) && now_msec() < deadline)
			poll(NULL, 0, 1);
		EXPECT_STREQ("ENOTCONN", REMOTE_NAME(fd))
			TH_LOG("after %s", ends[i]);
		close(fd);
	}
}

TEST_F(names, after_unspec)
{
	struct sockaddr unspec = { .sa_family = AF_UNSPEC };

	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_EQ(0, connect(self->fd, &unspec, sizeof(unspec)));
	EXPECT_STREQ("ENOTCONN", REMOTE_NAME(self->fd));
	EXPECT_EQ(0, strncmp("0.0.0.0 ", LOCAL_NAME(self->fd), 8));
}

TEST_F(names, in_too_little_room)
{
	unsigned char room[32];
	socklen_t len, given;
	int peer;

	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	for (len = 0; len <= 24; len++) {
		for (peer = 0; peer < 2; peer++) {
			memset(room, 0x55, sizeof(room));
			given = len;
			EXPECT_EQ(0, peer ? getpeername(self->fd, (void *)room,
							&given) :
					    getsockname(self->fd, (void *)room,
							&given));
			EXPECT_EQ(sizeof(struct sockaddr_in), given);
			EXPECT_EQ(0x55, room[len < 16 ? len : 16])
				TH_LOG("length %u", len);
		}
	}
}

TEST_F(names, in_bad_memory)
{
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);

	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_EQ(-1, getsockname(self->fd, (void *)1, &len));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, getpeername(self->fd, (void *)&sin, (void *)1));
	EXPECT_EQ(EFAULT, errno);
	len = -1;
	EXPECT_EQ(-1, getsockname(self->fd, (void *)&sin, &len));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(names, are_the_same_for_a_duplicate)
{
	int copy;

	ASSERT_EQ(0, connect_to(self->fd, opt.host, self->peer.port));
	EXPECT_STREQ("ok", peer_run(&self->peer, "accept"));
	copy = dup(self->fd);
	EXPECT_EQ(0, close(self->fd));
	check_names(_metadata, copy, &self->peer);
	self->fd = copy;
}

/* Passes a file on and closes it here. */
static int pass_fd(int through, int fd)
{
	return send_fd(through, fd) ? -1 : close(fd);
}

/* A listener and its accepted sockets go from process to process and back. */
TEST_F(names, are_passed_on_with_a_listener)
{
	int pair[2], fd, status;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	ASSERT_EQ(0, listen(self->fd, 4));
	peer_run(&self->peer, "connect %u", local_port(self->fd));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(self->fd);
		close(pair[0]);
		self->fd = recv_fd(pair[1]);
		fd = accept(self->fd, NULL, NULL);
		_exit(fd < 0 || pass_fd(pair[1], fd));
	}
	close(pair[1]);
	EXPECT_EQ(0, pass_fd(pair[0], self->fd));
	fd = recv_fd(pair[0]);
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	ASSERT_LE(0, fd);
	check_names(_metadata, fd, &self->peer);
	/* The child was the last owner of the listener and has exited. */
	self->fd = fd;
	close(pair[0]);
}

XENSOCK_TEST_MAIN
