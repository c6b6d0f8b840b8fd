/* SPDX-License-Identifier: GPL-2.0 */
/* Shared by the files of the peer. */
#ifndef XENSOCK_SELFTEST_PEER_H
#define XENSOCK_SELFTEST_PEER_H

#include <stdatomic.h>

#include "util.h"

/* peer.c */
void close_with_reset(int fd);
ssize_t exchange_streams(int fd);
void format_stats(char *answer, size_t size);

/* session.c */
int listen_on(const char *host, unsigned int port, unsigned int rcvbuf);
void serve_control(int fd);

/* words.c: letters, and urgent ones */
void send_word(int fd, const char *word, int flags, char *answer, size_t size);
void recv_word(int fd, char *answer, size_t size);
void recv_urgent(int fd, char *answer, size_t size);

/* conns.c: many connections to the program under test */
struct conns {
	int *fds;
	unsigned int count;
};

int connect_host(const char *host, unsigned int port, unsigned int rcvbuf);
/* These two return an errno, or 0. */
int conns_open(struct conns *c, unsigned int port, unsigned int more);
int run_clients(unsigned int port, unsigned int clients, size_t bytes,
		unsigned int rounds, unsigned int *good);
unsigned int conns_echo(struct conns *c, size_t bytes);
void conns_wait_end(struct conns *c, bool poke, unsigned int *fins,
		    unsigned int *resets);
void conns_close(struct conns *c);

/* udp.c: a socket for datagrams */
int udp_open(const char *host);
int udp_join(int fd, const char *group, const char *host);
ssize_t udp_send(int fd, const char *host, unsigned int port, __u64 seed,
		 size_t len);
void udp_recv(int fd, __u64 seed, char *answer, size_t size);
int udp_ttl(int fd);
unsigned int udp_echo(int fd, unsigned int count);
long udp_drops(unsigned int port);

/* diag.c: the kernel's information on the socket at the other end of @fd */
int format_diag(int fd, char *answer, size_t size);

#endif
