// SPDX-License-Identifier: GPL-2.0
/*
 * Receives from connections that fail, of a backend that does not say when their last byte has
 * arrived. Prints the result of each call: an error, or the number of bytes.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "util.h"

static void on_alarm(int sig)
{
	(void)sig;
}

static void interrupt_every(unsigned int msec)
{
	struct itimerval timer = {
		.it_interval.tv_usec = msec * 1000, .it_value.tv_usec = msec * 1000,
	};
	struct sigaction action = { .sa_handler = on_alarm };

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static void say(ssize_t n)
{
	if (n < 0)
		printf("%s\n", strerrorname_np(errno));
	else
		printf("%zd\n", n);
}

/* The backend has the connection fail at the first byte. */
static int failed_connection(void)
{
	int fd = connect_port(opt.port + PEER_ECHO, 0);

	if (fd < 0 || send(fd, "x", 1, 0) != 1 || !wait_poll(fd, POLLERR, NULL))
		printf("no failed connection: %m\n");
	return fd;
}

int main(int argc, char **argv)
{
	struct waiter w;
	char c;
	int fd;

	parse_options(argc, argv);

	/* A call that does not wait is not interrupted. */
	fd = failed_connection();
	interrupt_every(20);
	say(recv(fd, &c, 1, MSG_DONTWAIT));
	interrupt_every(0);
	say(recv(fd, &c, 1, MSG_DONTWAIT));
	close(fd);

	/* Nor does a time limit of its own come first. */
	fd = failed_connection();
	set_timeout(fd, SO_RCVTIMEO, 50);
	say(recv(fd, &c, 1, 0));
	close(fd);

	/* It is asleep when the connection fails. */
	fd = connect_port(opt.port + PEER_ECHO, 0);
	if (fd < 0 || !waiter_start(&w, in_recv, fd))
		return 1;
	send(fd, "x", 1, 0);
	say(waiter_end(&w));
	close(fd);
	return 0;
}
