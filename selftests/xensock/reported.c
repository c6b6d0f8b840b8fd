// SPDX-License-Identifier: GPL-2.0
/*
 * Reads an error from the error queue of a datagram socket, which hostile_back has put into the
 * ring without an event. Prints the length of the returned datagram, or the error of recv().
 */
#include <stdio.h>

#include "datagram.h"

int main(int argc, char **argv)
{
	char data[100];
	ssize_t n;
	int fd;

	parse_options(argc, argv);
	/* From bind() on the socket has a ring. */
	fd = new_datagram(0);
	if (bind_to(fd, opt.host, 7396))
		return 1;
	n = recv(fd, data, sizeof(data), MSG_ERRQUEUE);
	if (n < 0)
		printf("%s\n", strerrorname_np(errno));
	else
		printf("%zd\n", n);
	return 0;
}
