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
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "kselftest.h"

/* Instead of the harness's 30 s: a debug kernel on a busy machine takes its time. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 90

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
	bool accepts;
	const char *host;
	const char *host6;
	const char *blackhole;
	const char *unreachable;
	const char *noroute;
	unsigned int port;
	unsigned int ports;
	unsigned int scope;
	unsigned int user;
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

#define ANY_HOST "0.0.0.0"

/*
 * Servers. open_listener's port is one that the system chooses; a backend that
 * cannot say which it was needs --ports.
 */
int bind_to(int fd, const char *host, unsigned int port);
int open_listener(int backlog, int flags);
/* Echoes what comes on @fd until it ends, then closes it. */
void echo_all(int fd);
unsigned int local_port(int fd);

/* IPv4 or IPv6, with %NUMBER for a scope. Length 0: it is neither. */
socklen_t any_address(const char *host, unsigned int port,
		      struct sockaddr_storage *ss);
#define ADDRESS_TEXT 80
/* "ADDRESS PORT", as the peer says it of its own sockets. */
const char *address_text(const struct sockaddr_storage *ss,
			 char text[ADDRESS_TEXT]);

/* The name of a socket or of its peer, so said; or the name of an error. */
struct name {
	char text[ADDRESS_TEXT];
};

struct name name_of(int fd, bool peer);
#define OUR_NAME(fd) name_of(fd, false).text
#define PEER_NAME(fd) name_of(fd, true).text

/* Passes a file on by the socket @through, and takes one: -1 if that fails. */
int send_fd(int through, int fd);
int recv_fd(int through);

/* The byte stream that a seed stands for: any part can be made or checked. */
void stream_fill(__u64 seed, __u64 offset, void *data, size_t len);
bool stream_check(__u64 seed, __u64 offset, const void *data, size_t len);

/*
 * Writes the stream, in pieces of at most @chunk bytes, until the socket
 * takes no more at once. Returns the bytes taken.
 */
__u64 fill_socket(int fd, __u64 seed, size_t chunk);

/* Waiting for a condition, never for a time. False after that long. */
#define WAIT_LIMIT_MSEC 10000

/*
 * What a wait of so many ms takes at least: the kernel counts it in ticks, of
 * which a busy machine makes up for several at once.
 */
#define AT_LEAST_OF(msec) ((msec) / 2)

/*
 * What need not wait has ended by then, on a busy machine too. Whatever it is
 * not to wait for takes four times as long at least.
 */
#define AT_ONCE_MSEC 15000

bool wait_readable(int fd, size_t bytes);
bool wait_poll(int fd, short events, short *revents);
bool wait_asleep(pid_t tid);
int poll_now(int fd);
int watch(int ep, int op, int fd, __u32 events);
/* The events of the one socket watched, 0 for none in that time. */
__u32 events_within(int ep, int msec);
__u64 now_msec(void);

/*
 * How often a test does what can go wrong by chance only: as often as it says
 * if SOAK is in the environment, as in the slow set, and else a fifth of that.
 */
int rounds(int whole);

/* Lets this process, which has to be root, have that many files. */
void allow_files(unsigned int count);

/* A thread of its own that is in one call that has to wait. */
struct waiter {
	pthread_t thread;
	long (*call)(struct waiter *w);
	int fd;
	atomic_int tid;
	long result;
	int error;
	char data[128];
};

/* False if it does not fall asleep. */
bool waiter_start(struct waiter *w, long (*call)(struct waiter *w), int fd);
/* Waits for the end of the call: its result, and errno. */
long waiter_end(struct waiter *w);
long in_accept(struct waiter *w);
/* Accepts and echoes until the listener is shut down: how many, or -1. */
long in_service(struct waiter *w);
long in_recv(struct waiter *w);	/* for all of w->data, or the end */
long in_send(struct waiter *w);	/* more than all buffers hold */
long in_close(struct waiter *w);

/*
 * A connection of the peer under remote control: commands are lines, each
 * is carried out to its end and then answered by one line. What fails is
 * answered by "err E", E an errno.
 *
 *   listen [RCVBUF [ADDR]]   ok PORT    an ephemeral port
 *   unlisten          ok                that port is closed from now on
 *   accept            ok
 *   connect PORT [ADDR]      ok OWN-PORT          to the program under test
 *   name, peer        ok ADDR PORT      of the connection's two ends
 *   diag              ok state=N ...    the other end's socket, see diag.c
 *   send N SEED       ok N | err E N    the stream goes on between commands
 *   recv N SEED       ok N | eof N | err E N | bad N
 *   drain SEED        eof N | err E N | bad N     until the end
 *   count             eof N | err E N   drains what is no stream
 *   say WORD, urge WORD   ok N          sends it; urge with MSG_OOB
 *   hear              ok WORD | eof     what one recv() gives
 *   oob               ok LETTER         waits for an urgent byte
 *   inline            ok                urgent bytes are like all others
 *   exchange          ok                as on PEER_EXCHANGE
 *   end               fin | rst         waits for it, reads nothing
 *   fin, close, rst   ok
 *
 * Beside that connection it can make many more:
 *
 *   open PORT N       ok ALL            N connections that are kept
 *   chorus BYTES      ok N              how many got back what they sent,
 *                                       all at the same time
 *   ends [1]          fin N rst N       waits until all of them have ended;
 *                                       1: sends a byte on each of them first
 *   disband           ok                closes all of them
 *   swarm PORT N BYTES ROUNDS   ok N*ROUNDS   N at once, each ROUNDS times:
 *                                       sends, finishes, gets it all back
 *   stats             ACCEPTED OPEN BYTES FINS RESETS  of the fixed ports
 *
 * And it has a socket for datagrams, each of which is the beginning of a
 * stream; what does not come within WAIT_LIMIT_MSEC is "err 11":
 *
 *   mail [ADDR]       ok PORT           opens it, instead of an earlier one
 *   post PORT N SEED [ADDR]   ok N      sends one of N bytes
 *   take SEED         ok N ADDR PORT | bad N ADDR PORT   of the next one
 *   ttl               ok TTL            of the next one, which it takes
 *   return N          ok N              sends the next N back as they come
 *   drops PORT        ok N              what the socket there had no room for
 *   join GROUP HOST   ok                has it receive what is sent to a group,
 *                                       and send to groups, by the way of HOST
 *   nomail            ok                closes it
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
/*
 * A socket of ours connected to @p's, or -1. We connect and the peer accepts;
 * with --side accept it is the other way round.
 */
int puppet_connect(struct puppet *p, int flags);
/* A socket that @listener has accepted from @p's connection, or -1. */
int puppet_visit(struct puppet *p, int listener, int flags);
/* Nobody listens there any more. */
bool puppet_refused(struct puppet *p, unsigned int port);

#endif
