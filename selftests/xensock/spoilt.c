// SPDX-License-Identifier: GPL-2.0
/*
 * Sends a datagram, and says "arrived" when there is an answer. Receives it only when the link is
 * down, for a second. Prints its length, or the error.
 */
#include <stdio.h>

#include "datagram.h"

static int bind_anew(void)
{
	int fd = new_socket(0), error;

	error = bind_to(fd, opt.host, 0) ? errno : 0;
	close(fd);
	return error;
}

int main(int argc, char **argv)
{
	char data[100];
	ssize_t n;
	int fd;

	parse_options(argc, argv);
	setlinebuf(stdout);
	fd = new_datagram(0);
	if (send_to(fd, opt.host, opt.port, "knock", 5) != 5 || !wait_input(fd))
		return 1;
	printf("arrived\n");
	/* Another socket finds that out: sending would give the received datagram up. */
	while (bind_anew() != ENETDOWN)
		poll(NULL, 0, 10);
	set_timeout(fd, SO_RCVTIMEO, 300);
	n = recv(fd, data, sizeof(data), 0);
	if (n < 0)
		printf("%s\n", strerrorname_np(errno));
	else
		printf("%zd\n", n);
	return 0;
}
