// SPDX-License-Identifier: GPL-2.0
/*
 * Measures the cost of a socket in the guest itself, one thing at a time, and
 * prints one number. --host is an address of the guest's own.
 *
 *   bench_guest socket MSEC     socket and close, in a second
 *   bench_guest connect MSEC    connect, accept, close: in a second
 *   bench_guest stream MSEC     bytes sent, one by one, over a connection and
 *                               received, in a second
 *   bench_guest datagram MSEC   the same with datagrams, and an address with each
 *   bench_guest memory COUNT    bytes of kernel memory for each of COUNT sockets
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

static void check(bool good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(1);
}

/* Repeats the step. Returns the number of repetitions in a second. */
static double rate(__u64 msec, void (*step)(void))
{
	__u64 began = now_msec(), done = 0, took;
	int i;

	do {
		for (i = 0; i < 32; i++)
			step();
		done += i;
		took = now_msec() - began;
	} while (took < msec);
	return done * 1e3 / took;
}

static void one_socket(void)
{
	int fd = new_socket(0);

	check(fd >= 0, "socket");
	close(fd);
}

static double measure_socket(__u64 msec)
{
	return rate(msec, one_socket);
}

/* Both ends of a connection, or a single socket that sends to itself. */
static int listener, client, server;
static struct sockaddr_in name;

static void open_both(void)
{
	client = new_socket(0);
	check(!connect(client, (struct sockaddr *)&name, sizeof(name)), "connect");
	server = accept(listener, NULL, NULL);
	check(server >= 0, "accept");
}

static void one_connection(void)
{
	open_both();
	/* The end that closes first would keep the port for a while. */
	check(!setsockopt(client, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 },
			  sizeof(struct linger)), "SO_LINGER");
	close(client);
	close(server);
}

static void bind_any(int fd)
{
	socklen_t len = sizeof(name);

	check(fd >= 0, "socket");
	name = address(opt.host, 0);
	check(!bind(fd, (struct sockaddr *)&name, sizeof(name)), "bind");
	check(!getsockname(fd, (struct sockaddr *)&name, &len), "getsockname");
}

static void listen_any(void)
{
	listener = new_socket(0);
	bind_any(listener);
	check(!listen(listener, 128), "listen");
}

static double measure_connect(__u64 msec)
{
	listen_any();
	return rate(msec, one_connection);
}

static void one_byte(void)
{
	char c = 'x';

	check(send(client, &c, 1, 0) == 1, "send");
	check(recv(server, &c, 1, 0) == 1, "recv");
}

static double measure_stream(__u64 msec)
{
	listen_any();
	open_both();
	return rate(msec, one_byte);
}

static void one_datagram(void)
{
	char c = 'x';

	check(sendto(client, &c, 1, 0, (struct sockaddr *)&name, sizeof(name)) == 1, "sendto");
	check(recv(client, &c, 1, 0) == 1, "recv");
}

static double measure_datagram(__u64 msec)
{
	client = socket(opt.family, SOCK_DGRAM, 0);
	bind_any(client);
	return rate(msec, one_datagram);
}

/* Returns the bytes of the kernel's slab objects. */
static double slab(void)
{
	FILE *file = fopen("/proc/meminfo", "r");
	unsigned long long kib = 0;
	char line[128];

	check(file, "/proc/meminfo");
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "Slab: %llu", &kib) == 1)
			break;
	fclose(file);
	return kib * 1024.0;
}

static double measure_memory(__u64 count)
{
	double before;
	__u64 i;

	allow_files(count + 16);
	before = slab();
	for (i = 0; i < count; i++)
		check(new_socket(0) >= 0, "socket");
	return (slab() - before) / count;
}

static const struct {
	const char *name;
	double (*measure)(__u64 amount);
} measures[] = {
	{ "socket", measure_socket },
	{ "connect", measure_connect },
	{ "stream", measure_stream },
	{ "datagram", measure_datagram },
	{ "memory", measure_memory },
};

int main(int argc, char **argv)
{
	size_t i;

	argc = parse_options(argc, argv);
	for (i = 0; argc == 3 && i < ARRAY_LEN(measures); i++) {
		if (strcmp(argv[1], measures[i].name))
			continue;
		printf("%.1f\n", measures[i].measure(strtoull(argv[2], NULL, 10)));
		return 0;
	}
	fprintf(stderr, "usage: bench_guest socket|connect|stream|datagram MSEC\n"
			"       bench_guest memory COUNT\n");
	return 4;
}
