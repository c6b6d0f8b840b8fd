// SPDX-License-Identifier: GPL-2.0
/*
 * Goes through every option of every level, known or not: its first value, the
 * result for an unprivileged program that sets it, and the value read then. The
 * program does not know what is right: two families behave alike if the lines
 * are equal. Sockets of AF_XENSOCK have the options of IPv4 and of IPv6 at once.
 *
 * A line: SOCKET STATE LEVEL OPTION: FIRST, then VALUE RESULT READ for each value.
 */
#include <errno.h>
#include <linux/xensock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

#define VALUE_MAX 64
#define BYTES_SHOWN 16

static const struct {
	int level;
	int first;
	int last;
} ranges[] = {
	{ SOL_IP, 1, 60 }, { SOL_SOCKET, 1, 90 }, { IPPROTO_TCP, 1, 50 },
	{ IPPROTO_UDP, 0, 4 }, { IPPROTO_UDP, 98, 108 }, { SOL_IPV6, 1, 90 },
};

static const struct {
	const char *name;
	socklen_t len;
	int value;
} values[] = {
	{ "0", 4, 0 }, { "1", 4, 1 }, { "-1", 4, -1 }, { "2", 4, 2 },
	{ "200", 4, 200 }, { "70000", 4, 70000 }, { "byte", 1, 1 },
	{ "nothing", 0, 0 }, { "0", 4, 0 }, { "8bytes", 8, 1 },
};

static void print_option(int fd, int level, int name)
{
	unsigned char data[VALUE_MAX] = { 0 };
	socklen_t len = VALUE_MAX, i;

	if (getsockopt(fd, level, name, data, &len)) {
		printf(" %s", strerrorname_np(errno));
		return;
	}
	printf(" %u:", len);
	for (i = 0; i < len && i < BYTES_SHOWN; i++)
		printf("%02x", data[i]);
}

static int make_socket(bool is_stream, bool is_ipv6)
{
	int family = opt.family;

	if (family == AF_INET && is_ipv6)
		family = AF_INET6;
	return socket(family, is_stream ? SOCK_STREAM : SOCK_DGRAM, 0);
}

static int socket_in_state(const char *state, bool is_stream, bool is_ipv6)
{
	int fd = make_socket(is_stream, is_ipv6), rc = 0;

	if (!strcmp(state, "connected"))
		rc = connect_to(fd, opt.host, opt.port + PEER_ECHO);
	if (fd < 0 || rc) {
		printf("# %s: %m\n", state);
		exit(1);
	}
	return fd;
}

static void walk(const char *state, bool is_stream, bool is_ipv6, int level, int name)
{
	int fd = socket_in_state(state, is_stream, is_ipv6);
	struct { int value; int more; } given = { 0 };
	size_t i;

	printf("%s%c %s %d %d:", is_stream ? "stream" : "datagram",
	       is_ipv6 ? '6' : '4', state, level, name);
	print_option(fd, level, name);
	for (i = 0; i < ARRAY_LEN(values); i++) {
		given.value = values[i].value;
		printf(" | %s", values[i].name);
		printf(" %s", setsockopt(fd, level, name, &given, values[i].len) ?
		       strerrorname_np(errno) : "ok");
		print_option(fd, level, name);
	}
	printf("\n");
	close(fd);
}

int main(int argc, char **argv)
{
	static const char *const states[] = { "idle", "connected" };
	int name, kind;
	size_t i, state;

	parse_options(argc, argv);
	/* The options are set without privileges. */
	if (!getuid() && (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)))
		return 1;
	for (kind = 0; kind < 4; kind++) {
		bool is_stream = kind < 2, is_ipv6 = kind & 1;

		for (state = 0; state < ARRAY_LEN(states); state++) {
			if (state && (!is_stream || is_ipv6))
				continue;
			for (i = 0; i < ARRAY_LEN(ranges); i++) {
				/* AF_XENSOCK has the same options for both families. */
				if (opt.family == AF_XENSOCK &&
				    is_ipv6 != (ranges[i].level == SOL_IPV6))
					continue;
				for (name = ranges[i].first; name <= ranges[i].last; name++)
					walk(states[state], is_stream, is_ipv6,
					     ranges[i].level, name);
			}
		}
	}
	return 0;
}
