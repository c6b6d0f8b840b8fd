// SPDX-License-Identifier: GPL-2.0
/*
 * What a user of the guest can use up leaves something to root. The guest may
 * have --sockets sockets, a quarter of which may listen.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "util.h"

#define NOBODY 65534

static int connected(void)
{
	return open_port(opt.port + PEER_ECHO, 0);
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

/* Nobody takes what can be had, and keeps it until the pipe is closed. */
static int taken_by_nobody(int (*make)(void), int error, int keep[2])
{
	int n, report[2];
	char byte;

	if (pipe(report))
		return -1;
	if (!fork()) {
		close(report[0]);
		close(keep[1]);
		n = setuid(NOBODY) ? -1 : until(make, error);
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

TEST_F_TIMEOUT(users, sockets_are_left_to_root, 120)
{
	int n = taken_by_nobody(connected, EMFILE, self->keep);

	EXPECT_EQ(opt.sockets - opt.sockets / 16, n);
	EXPECT_EQ(opt.sockets / 16, until(connected, EMFILE));
}

TEST_F_TIMEOUT(users, listeners_are_left_to_root, 120)
{
	unsigned int most = opt.sockets / 4;
	int n = taken_by_nobody(listening, ENOBUFS, self->keep);

	EXPECT_EQ(most - most / 16, n);
	EXPECT_EQ(most / 16, until(listening, ENOBUFS));
}

XENSOCK_TEST_MAIN
