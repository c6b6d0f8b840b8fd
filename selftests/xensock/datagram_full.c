// SPDX-License-Identifier: GPL-2.0
/*
 * A full data ring, as hostile_back leaves it: the backend takes nothing of the
 * first socket until there is a second one. Exit status 0 if all checks pass.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "datagram.h"

#define CAN_WRITE (POLLOUT | POLLWRNORM | POLLWRBAND)

static char data[1000];

#define CHECK(condition) do {						\
	if (!(condition)) {						\
		printf("%s:%d: %s: %m\n", __FILE__, __LINE__, #condition); \
		exit(1);						\
	}								\
} while (0)

static void on_signal(int sig)
{
	(void)sig;
}

static long in_one_send(struct waiter *w)
{
	return send_to(w->fd, opt.host, opt.port, data, sizeof(data));
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct sockaddr_in to;
	struct waiter w = { 0 };
	int fd, other, n = 0;
	__u64 began;
	short events;

	parse_options(argc, argv);
	sigaction(SIGUSR1, &sa, NULL);
	to = address(opt.host, opt.port);
	fd = new_datagram(0);
	CHECK(poll_now(fd) == CAN_WRITE);
	while (sendto(fd, data, sizeof(data), MSG_DONTWAIT,
		      (struct sockaddr *)&to, sizeof(to)) == sizeof(data))
		n++;
	CHECK(errno == EAGAIN && n > 1);
	printf("%d datagrams\n", n);
	CHECK(!(poll_now(fd) & CAN_WRITE));

	CHECK(!set_timeout(fd, SO_SNDTIMEO, 200));
	began = now_msec();
	CHECK(in_one_send(&(struct waiter){ .fd = fd }) < 0 && errno == EAGAIN);
	CHECK(now_msec() - began >= AT_LEAST_OF(200));
	CHECK(!set_timeout(fd, SO_SNDTIMEO, 0));
	CHECK(waiter_start(&w, in_one_send, fd));
	pthread_kill(w.thread, SIGUSR1);
	CHECK(waiter_end(&w) < 0 && errno == EINTR);

	/* Receiving still works. A second socket makes the backend empty the ring. */
	CHECK(recv(fd, data, sizeof(data), 0) == 5);
	CHECK(waiter_start(&w, in_one_send, fd));
	other = new_datagram(0);
	CHECK(send_to(other, opt.host, opt.port, "go", 2) == 2);
	CHECK(waiter_end(&w) == sizeof(data));
	CHECK(wait_poll(fd, POLLOUT, &events) && events == POLLOUT);
	CHECK(in_one_send(&(struct waiter){ .fd = fd }) == sizeof(data));
	return 0;
}
