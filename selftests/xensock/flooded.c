// SPDX-License-Identifier: GPL-2.0
/*
 * Waits for a datagram while the backend sends nothing but errors, as hostile_back does. Prints
 * how recv() ends with a timeout, five times, what poll() returns, and how recv() ends by a signal.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>

#include "datagram.h"

static void on_signal(int sig)
{
	(void)sig;
}

static void receive(int fd)
{
	char data[100];

	if (recv(fd, data, sizeof(data), 0) < 0)
		printf("%s\n", strerrorname_np(errno));
	else
		printf("datagram\n");
}

int main(int argc, char **argv)
{
	/* The signal comes again, in case it is too early. */
	struct itimerval often = { { 0, 300000 }, { 0, 300000 } };
	struct sigaction sa = { .sa_handler = on_signal };
	struct pollfd pfd = { .events = POLLIN };
	int i;

	parse_options(argc, argv);
	/* From bind() on the socket has a ring. */
	pfd.fd = new_datagram(0);
	if (bind_to(pfd.fd, opt.host, 7395))
		return 1;
	set_timeout(pfd.fd, SO_RCVTIMEO, 300);
	for (i = 0; i < 5; i++)
		receive(pfd.fd);
	printf("%d\n", poll(&pfd, 1, 300));
	set_timeout(pfd.fd, SO_RCVTIMEO, 0);
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	receive(pfd.fd);
	return 0;
}
