/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shared by all XenSock tests: options, sockets to the peer, the peer's remote
 * control, and byte streams that can be verified.
 *
 * Every test runs over AF_XENSOCK and over plain TCP (--family inet) and
 * expects the same results from both: the behaviour of Linux TCP is the
 * specification.
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

/* The harness allows 30 s. A debug kernel on a busy machine needs more. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 140

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
	__u64 seed;	/* the seed of the client's stream; the peer's is seed + 1 */
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
	const char *absent;
	unsigned int port;
	unsigned int ports;
	unsigned int scope;
	unsigned int user;
	unsigned int sockets;
	unsigned int cycles;
	__u64 bytes;
	__u64 seed;
	unsigned int random;	/* differs between programs that run side by side */
};

extern struct options opt;

/* Takes our options out of argv and leaves the harness its own. */
int parse_options(int argc, char **argv);

#define XENSOCK_TEST_MAIN				\
int main(int argc, char **argv)				\
{							\
	argc = parse_options(argc, argv);		\
	return test_harness_run(argc, argv);		\
}

/* Sockets. All functions return a file or a result as the system call does. */
struct sockaddr_in address(const char *host, unsigned int port);
int new_socket(int flags);
int connect_to(int fd, const char *host, unsigned int port);
int connect_port(unsigned int port, int flags);
int so_error(int fd);
int set_timeout(int fd, int option, unsigned int msec);
void set_nonblock(int fd, bool on);
ssize_t send_all(int fd, const void *data, size_t len);
ssize_t recv_all(int fd, void *data, size_t len);

#define ANY_HOST "0.0.0.0"

/*
 * Servers. The system chooses the port of bind_anywhere() and open_listener();
 * a backend that cannot report the port needs --ports.
 */
int bind_to(int fd, const char *host, unsigned int port);
int bind_anywhere(int fd);
int open_listener(int backlog, int flags);
/*
 * Returns one of 1,000 ports that nobody uses at the moment, or 0. Programs run
 * side by side, so ports that may be closed while others look for one are none
 * that Linux gives to sockets by itself, and the peer has its own.
 */
unsigned int unused_port(int type, unsigned int first);
#define TEST_PORTS 61000
#define PEER_LISTENS 63000
/* An attempt of this socket to connect to a black hole lasts for two minutes. */
void connect_for_long(int fd);
/* A listener at such a port: once it is closed, no other program is there. */
int open_own_listener(int backlog, int flags);
/*
 * Over AF_XENSOCK, a call that does not wait gives a backend a second to do what it has yet to do,
 * and then says that there is nothing. On a busy machine that is no verdict: returns true if a call
 * that began at that time may have given up like this.
 */
bool gave_up_since(__u64 began);
/* accept4() of a connection that may have come, also if the listener is non-blocking. */
int accept_announced(int listener, int flags);
/* Echoes the data received on @fd until the end of the stream, then closes @fd. */
void echo_all(int fd);
unsigned int local_port(int fd);

/* Parses an IPv4 or IPv6 address, with %NUMBER for a scope. Returns 0 for anything else. */
socklen_t parse_address(const char *host, unsigned int port,
			struct sockaddr_storage *ss);
#define ADDRESS_TEXT 80
/* Formats an address as "ADDRESS PORT", the form that the peer uses for its own sockets. */
const char *address_text(const struct sockaddr_storage *ss,
			 char text[ADDRESS_TEXT]);

/* The name of a socket or of its peer in that form, or the name of an error. */
struct name {
	char text[ADDRESS_TEXT];
};

struct name name_of(int fd, bool remote);
#define LOCAL_NAME(fd) name_of(fd, false).text
#define REMOTE_NAME(fd) name_of(fd, true).text

/* Passes a file over the socket @through, and receives one: -1 on failure. */
int send_fd(int through, int fd);
int recv_fd(int through);

/* The byte stream of a seed. Any part of it can be made or checked. */
void stream_fill(__u64 seed, __u64 offset, void *data, size_t len);
bool stream_check(__u64 seed, __u64 offset, const void *data, size_t len);

/*
 * Writes the stream, in pieces of at most @chunk bytes, until the socket takes
 * no more without waiting. Returns the number of bytes taken.
 */
__u64 fill_socket(int fd, __u64 seed, size_t chunk);

/* Functions that wait for a condition, never for a time. They return false after this time. */
#define WAIT_LIMIT_MSEC 60000

/*
 * The least time that a wait of @msec takes. The kernel counts it in ticks, and
 * a busy machine makes up for several ticks at once.
 */
#define AT_LEAST_OF(msec) ((msec) / 2)

/*
 * A call that need not wait ends within this time, on a busy machine too.
 * Everything that such a call must not wait for takes at least twice as long.
 */
#define AT_ONCE_MSEC 28000

bool wait_readable(int fd, size_t bytes);
bool wait_poll(int fd, short events, short *revents);
/* Waits for a state in /proc/PID/stat: S, or D for a sleep that only a fatal signal ends. */
bool wait_state(pid_t tid, char wanted);
bool wait_asleep(pid_t tid);
/*
 * Waits so long for room to send, in short steps: if the machine stops for a while, that counts
 * as one step only. If only the backend stops, the time is longer.
 */
bool wait_room(int fd, int msec);
int poll_now(int fd);
int watch(int ep, int op, int fd, __u32 events);
/* Returns the events of the one socket that is watched, or 0 if there are none in that time. */
__u32 events_within(int ep, int msec);
__u64 now_msec(void);

/*
 * How often a test repeats what fails by chance only: @whole times if SOAK is
 * in the environment, as in the slow set, otherwise a fifth of that.
 */
int rounds(int whole);

/* Returns a count of the guest's first device, or -1. The caller has to be root. */
long count_of(const char *name);
/* Waits until the count has this value. */
bool wait_count(const char *name, long wanted);

/* Allows this process, which has to be root, that many open files. */
void allow_files(unsigned int count);

/* A thread in one system call that has to wait. */
struct waiter {
	pthread_t thread;
	long (*call)(struct waiter *w);
	int fd;
	atomic_int tid;
	long result;
	int error;
	char data[128];
};

/* Begins the call. */
bool waiter_begin(struct waiter *w, long (*call)(struct waiter *w), int fd);
/* Returns false if the thread does not fall asleep. */
bool waiter_start(struct waiter *w, long (*call)(struct waiter *w), int fd);
/* Waits for the end of the call. Returns its result, and sets errno. */
long waiter_end(struct waiter *w);
long in_accept(struct waiter *w);
/* Accepts and echoes until the listener is shut down. Returns the number accepted, or -1. */
long in_accept_loop(struct waiter *w);
long in_recv(struct waiter *w);	/* waits for all of w->data, or for the end */
long in_send(struct waiter *w);	/* sends more than all buffers hold */
long in_close(struct waiter *w);

/*
 * A connection of the peer under remote control. Commands are lines. The peer
 * carries out each command to its end and then answers with one line. The
 * answer to a command that fails is "err E", where E is an errno.
 *
 *   listen [RCVBUF [ADDR]]   ok PORT    listens on an ephemeral port
 *   unlisten          ok                closes that port
 *   accept            ok
 *   connect PORT [ADDR]      ok OWN-PORT          to the program under test
 *   name, peer        ok ADDR PORT      of the connection's two ends
 *   diag              ok state=N ...    the other end's socket, see diag.c
 *   send N SEED       ok N | err E N    the stream goes on between commands
 *   recv N SEED       ok N | eof N | err E N | bad N
 *   drain SEED        eof N | err E N | bad N     reads until the end
 *   count             eof N | err E N   the same for bytes that are no stream
 *   write WORD, writeoob WORD   ok N    sends WORD; writeoob with MSG_OOB
 *   read              ok WORD | eof     the result of one recv()
 *   readoob           ok LETTER         waits for an urgent byte
 *   oobinline         ok                sets SO_OOBINLINE
 *   exchange          ok                as on PEER_EXCHANGE
 *   end               fin | rst         waits for the end, reads nothing
 *   hup               fin | rst         waits for the end of both directions
 *   fin, close, rst   ok
 *
 * Besides that connection the peer can make many more:
 *
 *   open PORT N       ok ALL            makes N connections and keeps them
 *   echo BYTES        ok N              number of connections that got back what
 *                                       they sent, all at the same time
 *   ends [1]          fin N rst N       waits until all of them have ended;
 *                                       1: sends a byte on each of them first
 *   closeall          ok                closes all of them
 *   clients PORT N BYTES ROUNDS   ok N*ROUNDS   N clients at once; each sends,
 *                                       finishes and gets it all back, ROUNDS
 *                                       times
 *   stats             ACCEPTED OPEN BYTES FINS RESETS  of the fixed ports
 *
 * The peer also has a datagram socket. Each datagram is the beginning of a
 * stream. If a datagram does not come within WAIT_LIMIT_MSEC, the answer is
 * "err 11":
 *
 *   udp [ADDR]        ok PORT           opens the socket, replacing an old one
 *   sendto PORT N SEED [ADDR]   ok N    sends one datagram of N bytes
 *   recvfrom SEED     ok N ADDR PORT | bad N ADDR PORT   receives a datagram
 *   ttl               ok TTL            receives a datagram, returns its TTL
 *   echoudp N         ok N              sends the next N datagrams back
 *   drops PORT        ok N              datagrams dropped for lack of room by
 *                                       the socket at PORT
 *   join GROUP HOST   ok                joins a group, and sends to groups, on
 *                                       the interface that leads to HOST
 *   closeudp          ok                closes the socket
 */
struct peer {
	int control;
	unsigned int port;
	char line[256];
	size_t have;
	size_t used;
};

bool peer_open(struct peer *p, unsigned int rcvbuf);
void peer_close(struct peer *p);
/* Sends a command, waits, and returns the text of the answer. */
const char *peer_run(struct peer *p, const char *format, ...)
	__printf(2, 3);
bool peer_send(struct peer *p, const char *format, ...)
	__printf(2, 3);
const char *peer_answer(struct peer *p);
/*
 * Returns a socket of ours connected to @p's, or -1. We connect and the peer
 * accepts; with --side accept the peer connects.
 */
int peer_connect(struct peer *p, int flags);
/* A socket that @listener has accepted from @p's connection, or -1. */
int peer_accept(struct peer *p, int listener, int flags);
/* Returns true if nothing listens on the port any more. */
bool peer_refused(struct peer *p, unsigned int port);

#endif
