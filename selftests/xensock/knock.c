// SPDX-License-Identifier: GPL-2.0
/*
 * Sends a datagram and waits for the answer, on one socket and then on another.
 * Prints the length of each answer, or the error.
 */
#include <stdio.h>

#include "datagram.h"

int main(int argc, char **argv)
{
	char data[100];
	ssize_t n;
	int i, fd;

	parse_options(argc, argv);
	for (i = 0; i < 2; i++) {
		fd = new_datagram(0);
		n = fd < 0 ? fd : send_to(fd, opt.host, opt.port, "knock", 5);
		if (n > 0)
			n = recv(fd, data, sizeof(data), 0);
		if (n < 0)
			printf("%s\n", strerrorname_np(errno));
		else
			printf("%zd\n", n);
		close(fd);
	}
	return 0;
}
