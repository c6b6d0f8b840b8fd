// SPDX-License-Identifier: GPL-2.0
/*
 * A server that does not want to wait, while it is not known if a connection has arrived: prints
 * "none" when poll() and accept() have said so, 100 times, and "accepted" for the connection that
 * comes later. It gets that at once.
 *
 * "unaccepted often": calls accept() until it has waited ten times for a connection that does not
 * come, and prints how many of these waits were as long as a call may wait.
 *
 * "unaccepted late": calls accept() with a timeout until that has ended while the backend had a
 * connection and had not handed it over. Prints "accepted" when it has got that.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "util.h"

#define CHECK(condition) do {						\
	if (!(condition)) {						\
		printf("%s:%d: %s: %m\n", __FILE__, __LINE__, #condition); \
		exit(1);						\
	}								\
} while (0)

static int accept_often(int fd)
{
	int waits = 0, longest = 0;
	__u64 began, msec;

	while (waits < 10) {
		began = now_msec();
		CHECK(accept(fd, NULL, NULL) < 0 && errno == EAGAIN);
		msec = now_msec() - began;
		waits += msec >= 10;
		longest += msec >= 1000;
		poll(NULL, 0, 1);
	}
	printf("%d\n", longest);
	return 0;
}

static int accept_late(int fd)
{
	__u64 began;
	int i;

	set_nonblock(fd, false);
	CHECK(!set_timeout(fd, SO_RCVTIMEO, 200));
	for (i = 0; i < 20; i++) {
		began = now_msec();
		if (accept(fd, NULL, NULL) < 0) {
			CHECK(errno == EAGAIN && gave_up_since(began) &&
			      wait_poll(fd, POLLIN, NULL));
		} else if (now_msec() - began > 300) {
			printf("accepted\n");
			return 0;
		}
		/* On a busy machine the call may begin so late that the connection is in time. */
	}
	printf("in time\n");
	return 1;
}

int main(int argc, char **argv)
{
	int fd, i, inner = epoll_create1(0), outer = epoll_create1(0);
	struct rusage before, after;
	__u64 began;

	argc = parse_options(argc, argv);
	setlinebuf(stdout);
	fd = open_listener(1, SOCK_NONBLOCK);
	CHECK(fd >= 0);
	if (argc > 1)
		return strcmp(argv[1], "late") ? accept_often(fd) : accept_late(fd);
	for (i = 0; i < 100; i++) {
		CHECK(poll_now(fd) == 0);
		CHECK(accept(fd, NULL, NULL) < 0 && errno == EAGAIN);
	}
	CHECK(!watch(inner, EPOLL_CTL_ADD, fd, EPOLLIN));
	CHECK(!watch(outer, EPOLL_CTL_ADD, inner, EPOLLIN));
	printf("none\n");
	CHECK(events_within(outer, 60000) == EPOLLIN);
	getrusage(RUSAGE_SELF, &before);
	began = now_msec();
	CHECK(accept(fd, NULL, NULL) >= 0);
	getrusage(RUSAGE_SELF, &after);
	/* It may not wait for a second one. A busy machine may stop it without that. */
	CHECK(now_msec() - began < 500 || after.ru_nvcsw == before.ru_nvcsw);
	printf("accepted\n");
	return 0;
}
