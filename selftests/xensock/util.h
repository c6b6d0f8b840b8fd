/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What all of the XenSock tests share: options, sockets to the peer, the
 * peer's remote control, and verifiable streams of bytes.
 *
 * Every test runs over AF_XENSOCK and over plain TCP (--family inet) and
 * expects the same of both: what Linux TCP does is the specification.
 */
#ifndef XENSOCK_SELFTEST_UTIL_H
#define XENSOCK_SELFTEST_UTIL_H

#include <linux/types.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "kselftest.h"

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The peer's ports, counted from its base port. */
enum peer_port {
	PEER_CONTROL,	/* remote control of one listener and one connection */
	PEER_ECHO,	/* sends back what it gets, until EOF */
	PEER_EXCHANGE,	/* struct exchange, then both streams at once */
	PEER_RESET,	/* resets every connection as soon as it is accepted */
	PEER_PORTS,
	PEER_HTTP = 80,	/* one static page, HTTP/1.0 */
};

/* First bytes of a connection to PEER_EXCHANGE, in host order. */
struct exchange {
	__u64 up;	/* bytes that the client sends after this */
	__u64 down;	/* bytes that the peer sends */
	__u64 seed;	/* the client's stream; the peer's is seed + 1 */
};

#define EXCHANGE_GOOD 0x600d600d600d600dULL	/* follows the "down" bytes */

struct options {
	int family;
	const char *host;
	const char *blackhole;
	const char *unreachable;
	const char *noroute;
	unsigned int port;
	unsigned int sockets;
	unsigned int cycles;
	__u64 bytes;
	__u64 seed;
};

extern struct options opt;

/* Takes our options out of argv, leaving the harness its own. */
int parse_options(int argc, char **argv);

#define XENSOCK_TEST_MAIN				\
int main(int argc, char **argv)				\
{							\
	argc = parse_options(argc, argv);		\
	return test_harness_run(argc, argv);		\
}

/* Sockets; all return a file or a result as the system call does. */
struct sockaddr_in address(const char *host, unsigned int port);
int new_socket(int flags);
int connect_to(int fd, const char *host, unsigned int port);
int open_port(unsigned int port, int flags);
int so_error(int fd);
int set_timeout(int fd, int option, unsigned int msec);
void set_nonblock(int fd, bool on);
ssize_t send_all(int fd, const void *data, size_t len);
ssize_t recv_all(int fd, void *data, size_t len);

/* The byte stream that a seed stands for: any part can be made or checked. */
void stream_fill(__u64 seed, __u64 offset, void *data, size_t len);
bool stream_check(__u64 seed, __u64 offset, const void *data, size_t len);

/*
 * Writes the stream, in pieces of at most @chunk bytes, until the socket
 * takes no more at once. Returns the bytes taken.
 */
__u64 fill_socket(int fd, __u64 seed, size_t chunk);

/* Waiting for a condition, never for a time. False after ten seconds. */
bool wait_readable(int fd, size_t bytes);
bool wait_poll(int fd, short events, short *revents);
bool wait_asleep(pid_t tid);
int poll_now(int fd);
__u64 now_msec(void);

/*
 * A connection of the peer under remote control: commands are lines, each
 * is carried out to its end and then answered by one line.
 *
 *   listen [RCVBUF]   ok PORT           an ephemeral port
 *   unlisten          ok                that port is closed from now on
 *   accept            ok
 *   send N SEED       ok N | err E N    the stream goes on between commands
 *   recv N SEED       ok N | eof N | err E N | bad N
 *   drain SEED        eof N | err E N | bad N     until the end
 *   end               fin | rst         waits for it, reads nothing
 *   fin, close, rst   ok
 *   stats             ACCEPTED OPEN BYTES FINS RESETS  of the fixed ports
 */
struct puppet {
	int control;
	unsigned int port;
	char line[256];
	size_t have;
	size_t used;
};

bool puppet_open(struct puppet *p, unsigned int rcvbuf);
void puppet_close(struct puppet *p);
/* puppet_do: says it, waits, gives the answer's text. */
const char *puppet_do(struct puppet *p, const char *format, ...)
	__printf(2, 3);
bool puppet_say(struct puppet *p, const char *format, ...)
	__printf(2, 3);
const char *puppet_answer(struct puppet *p);
/* A socket of ours connected to @p's accepted one, or -1. */
int puppet_connect(struct puppet *p, int flags);

#endif
