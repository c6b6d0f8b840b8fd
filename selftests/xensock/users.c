// SPDX-License-Identifier: GPL-2.0
/*
 * One user of the guest cannot use up the resources of others, and root has a reserve. The guest
 * may have --sockets sockets, a quarter of which may listen.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "util.h"

#define NOBODY 65534
#define OTHER 65533
/* Users who have had no ring yet. */
#define FIRST_WITHOUT_RINGS 60000

static int open_connection(void)
{
	return connect_port(opt.port + PEER_ECHO, 0);
}

/* Root, at one end, maps users for the processes at the other end that have a user namespace. */
static int map_sockets[2];

static void map_users(void)
{
	char path[64];
	pid_t pid;
	int fd;

	close(map_sockets[1]);
	while (read(map_sockets[0], &pid, sizeof(pid)) == sizeof(pid)) {
		snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
		fd = open(path, O_WRONLY);
		dprintf(fd, "1 100000 1");
		close(fd);
		write(map_sockets[0], &pid, sizeof(pid));
	}
	_exit(0);
}

/* Connects as another user, in a user namespace of its own. */
static int open_connection_in_userns(void)
{
	static bool is_done;
	pid_t pid = getpid();

	if (!is_done) {
		if (unshare(CLONE_NEWUSER) ||
		    write(map_sockets[1], &pid, sizeof(pid)) != sizeof(pid) ||
		    read(map_sockets[1], &pid, sizeof(pid)) != sizeof(pid) ||
		    setresuid(1, 1, 1))
			return -1;
		is_done = true;
	}
	return open_connection();
}

static int open_one_listener(void)
{
	return open_listener(1, 0);
}

/* Opens a listener once, for which eight connections are posted ahead. */
static int open_listener_once(void)
{
	static bool is_done;

	if (is_done) {
		errno = EMFILE;
		return -1;
	}
	is_done = true;
	return open_listener(8, 0);
}

static int open_listener_then_connections(void)
{
	int fd = open_listener_once();

	return fd < 0 ? open_connection() : fd;
}

/* Makes sockets until one fails with that error. Returns their number, or -1. */
static int count_until(int (*make)(void), int error)
{
	int n;

	for (n = 0; n < 4 * opt.sockets && make() >= 0; n++)
		;
	if (errno == error)
		return n;
	dprintf(1, "# after %d: %s\n", n, strerrorname_np(errno));
	return -1;
}

/* Makes as many sockets as a user can have, and keeps them until the pipe is closed. */
static int count_as_user(uid_t user, int (*make)(void), int error, int keep[2])
{
	int n, report[2];
	char byte;

	if (pipe(report))
		return -1;
	if (!fork()) {
		close(report[0]);
		close(keep[1]);
		n = setuid(user) ? -1 : count_until(make, error);
		write(report[1], &n, sizeof(n));
		read(keep[0], &byte, 1);
		_exit(0);
	}
	close(report[1]);
	if (read(report[0], &n, sizeof(n)) != sizeof(n))
		n = -1;
	close(report[0]);
	return n;
}

FIXTURE(users) {
	int keep[2];
};

FIXTURE_SETUP(users)
{
	ASSERT_EQ(0, pipe2(self->keep, O_CLOEXEC));
}

FIXTURE_TEARDOWN(users)
{
	close(self->keep[1]);
	while (wait(NULL) > 0)
		;
}

/* Users have all but a sixteenth of the total. Each may have half of what is left. */
static int share(unsigned int most, unsigned int taken)
{
	return (most - most / 16 - taken + 1) / 2;
}

TEST_F(users, sockets)
{
	int first = count_as_user(NOBODY, open_connection, EMFILE, self->keep);
	int second = count_as_user(OTHER, open_connection, EMFILE, self->keep);

	EXPECT_EQ(share(opt.sockets, 0), first);
	EXPECT_EQ(share(opt.sockets, first), second);
	EXPECT_EQ(opt.sockets - first - second, count_until(open_connection, EMFILE));
}

TEST_F(users, who_make_namespaces)
{
	int first;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, map_sockets));
	if (!fork()) {
		close(self->keep[1]);
		map_users();
	}
	first = count_as_user(NOBODY, open_connection, EMFILE, self->keep);
	EXPECT_EQ(share(opt.sockets, 0), first);
	EXPECT_EQ(0, count_as_user(NOBODY, open_connection_in_userns, EMFILE, self->keep));
	EXPECT_EQ(share(opt.sockets, first),
		  count_as_user(OTHER, open_connection_in_userns, EMFILE, self->keep));
	close(map_sockets[0]);
	close(map_sockets[1]);
}

/*
 * Who has its share gives back what it has asked for ahead but for one, and
 * nobody else does before the guest has nothing left.
 */
TEST_F(users, asked_for_ahead)
{
	long before = count_of("WITHDRAW");

	ASSERT_LE(0, before);
	EXPECT_EQ(1, count_as_user(OTHER, open_listener_once, EMFILE, self->keep));
	EXPECT_LT(1, count_as_user(NOBODY, open_listener_then_connections, EMFILE, self->keep));
	EXPECT_TRUE(wait_count("WITHDRAW", before + 7));
	/* There may be more now for a while. */
	EXPECT_LE(0, count_as_user(NOBODY, open_connection, EMFILE, self->keep));
	EXPECT_LE(0, count_as_user(NOBODY, open_connection, EMFILE, self->keep));
	EXPECT_EQ(before + 7, count_of("WITHDRAW"));
	EXPECT_LE(0, count_until(open_connection, EMFILE));
	EXPECT_TRUE(wait_count("WITHDRAW", before + 14));
}

/* Makes connections as another user and closes all of them at once, or each before the next. */
static bool connect_and_close(uid_t user, int count, bool at_once)
{
	pid_t pid = fork();
	int fd, status;

	if (!pid) {
		if (setuid(user))
			_exit(1);
		while (count--) {
			fd = open_connection();
			if (fd < 0 || (!at_once && close(fd)))
				_exit(1);
		}
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && !status;
}

/* A user leaves as many spare rings as it may, and others have some too. */
TEST_F(users, spare_rings)
{
	uid_t user = FIRST_WITHOUT_RINGS;
	long given_up, before, reused = 0;
	bool was_sure = false;

	/* On a busy machine, the user's own may still be on their way into the pool. */
	for (; !reused && user < FIRST_WITHOUT_RINGS + 20; user++) {
		given_up = count_of("UNMAP");
		ASSERT_LE(0, given_up);
		ASSERT_TRUE(connect_and_close(NOBODY, 40, true));
		/* Then the first user's rings are in the pool, as many as it takes. */
		ASSERT_TRUE(wait_count("connections", 0));
		before = count_of("rings-reused");
		ASSERT_LE(0, before);
		ASSERT_TRUE(connect_and_close(user, 6, false));
		/* If spare rings were given up meanwhile, there was room without a limit, too. */
		if (count_of("UNMAP") != given_up)
			continue;
		was_sure = true;
		reused = count_of("rings-reused") - before;
	}
	if (!was_sure)
		SKIP(return, "the machine is too slow");
	EXPECT_LT(0, reused);
}

TEST_F(users, listeners)
{
	unsigned int most = opt.sockets / 4;
	int first = count_as_user(NOBODY, open_one_listener, ENOBUFS, self->keep);
	int second = count_as_user(OTHER, open_one_listener, ENOBUFS, self->keep);

	EXPECT_EQ(share(most, 0), first);
	EXPECT_EQ(share(most, first), second);
	EXPECT_EQ(most - first - second, count_until(open_one_listener, ENOBUFS));
}

XENSOCK_TEST_MAIN
