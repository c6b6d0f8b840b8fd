// SPDX-License-Identifier: GPL-2.0
/*
 * What a user of the guest can use up leaves as much to others, and root has a
 * reserve. The guest may have --sockets sockets, a quarter of which may listen.
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

static int connected(void)
{
	return open_port(opt.port + PEER_ECHO, 0);
}

/* As somebody else, in namespaces of one's own. */
static int connected_elsewhere(void)
{
	static bool is_there;

	if (!is_there && unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return -1;
	is_there = true;
	return connected();
}

static int listening(void)
{
	return open_listener(1, 0);
}

/* How many sockets there can be until one fails with that error, or -1. */
static int until(int (*make)(void), int error)
{
	int n;

	for (n = 0; n < 4 * opt.sockets; n++)
		if (make() < 0)
			return errno == error ? n : -1;
	return -1;
}

/* A user takes what can be had, and keeps it until the pipe is closed. */
static int taken_by(uid_t user, int (*make)(void), int error, int keep[2])
{
	int n, report[2];
	char byte;

	if (pipe(report))
		return -1;
	if (!fork()) {
		close(report[0]);
		close(keep[1]);
		n = setuid(user) ? -1 : until(make, error);
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

/* Of what users may have, that is all but a sixteenth: half of what is left to each. */
static int share(unsigned int most, unsigned int taken)
{
	return (most - most / 16 - taken + 1) / 2;
}

TEST_F_TIMEOUT(users, sockets, 120)
{
	int first = taken_by(NOBODY, connected, EMFILE, self->keep);
	int second = taken_by(OTHER, connected, EMFILE, self->keep);

	EXPECT_EQ(share(opt.sockets, 0), first);
	EXPECT_EQ(share(opt.sockets, first), second);
	EXPECT_EQ(opt.sockets - first - second, until(connected, EMFILE));
}

TEST_F_TIMEOUT(users, who_make_namespaces, 120)
{
	int first = taken_by(NOBODY, connected, EMFILE, self->keep);

	EXPECT_EQ(share(opt.sockets, 0), first);
	EXPECT_EQ(0, taken_by(NOBODY, connected_elsewhere, EMFILE, self->keep));
	EXPECT_EQ(share(opt.sockets, first),
		  taken_by(OTHER, connected_elsewhere, EMFILE, self->keep));
}

TEST_F_TIMEOUT(users, listeners, 120)
{
	unsigned int most = opt.sockets / 4;
	int first = taken_by(NOBODY, listening, ENOBUFS, self->keep);
	int second = taken_by(OTHER, listening, ENOBUFS, self->keep);

	EXPECT_EQ(share(most, 0), first);
	EXPECT_EQ(share(most, first), second);
	EXPECT_EQ(most - first - second, until(listening, ENOBUFS));
}

XENSOCK_TEST_MAIN
