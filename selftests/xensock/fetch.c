// SPDX-License-Identifier: GPL-2.0
/*
 * The smallest useful client: gets a page by HTTP through the family under
 * test and prints it. Usage: fetch [--family xensock|inet] [--host ADDR]
 * [--port BASE] [/path]; exit status 0 when the whole answer came.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

int main(int argc, char **argv)
{
	char data[4096];
	ssize_t n;
	int fd, len;

	argc = parse_options(argc, argv);
	fd = open_port(opt.port + PEER_HTTP, 0);
	if (fd < 0) {
		fprintf(stderr, "fetch: %s:%u: %m\n", opt.host,
			opt.port + PEER_HTTP);
		return 1;
	}
	len = snprintf(data, sizeof(data),
		       "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n",
		       argc > 1 ? argv[1] : "/", opt.host);
	if (send_all(fd, data, len) < 0) {
		perror("fetch: send");
		return 1;
	}
	while ((n = recv(fd, data, sizeof(data), 0)) > 0)
		fwrite(data, 1, n, stdout);
	if (n < 0) {
		perror("fetch: recv");
		return 1;
	}
	return close(fd) ? 1 : 0;
}
