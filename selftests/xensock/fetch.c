// SPDX-License-Identifier: GPL-2.0
/*
 * The smallest useful client: gets a page by HTTP through the family under test
 * and prints it. Usage: fetch [--family xensock|inet] [--host ADDR] [--port
 * BASE] [/path]. The exit status is 0 when the whole answer came.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

int main(int argc, char **argv)
{
	char data[4096], *body, *length;
	ssize_t n = 0, left = -1;
	size_t have = 0;
	int fd, len;

	argc = parse_options(argc, argv);
	fd = connect_port(opt.port + PEER_HTTP, 0);
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
	/* The header may come in pieces. It announces how many bytes follow. */
	while (left && (n = recv(fd, data + have, sizeof(data) - 1 - have, 0)) > 0) {
		fwrite(data + have, 1, n, stdout);
		if (left > 0) {
			left -= n < left ? n : left;
			continue;
		}
		have += n;
		data[have] = 0;
		body = strstr(data, "\r\n\r\n");
		if (!body)
			continue;
		length = strstr(data, "Content-Length: ");
		if (!length || length > body)
			break;
		left = strtol(length + 16, NULL, 10) - (data + have - body - 4);
		left = left > 0 ? left : 0;
		have = 0;
	}
	if (n < 0) {
		perror("fetch: recv");
		return 1;
	}
	if (left) {
		fprintf(stderr, "fetch: the page has an early end\n");
		return 1;
	}
	return close(fd) ? 1 : 0;
}
