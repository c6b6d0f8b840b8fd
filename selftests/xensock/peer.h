/* SPDX-License-Identifier: GPL-2.0 */
/* Shared by the files of the peer. */
#ifndef XENSOCK_SELFTEST_PEER_H
#define XENSOCK_SELFTEST_PEER_H

#include <stdatomic.h>

#include "util.h"

/* peer.c */
void close_with_reset(int fd);
ssize_t exchange_streams(int fd);
void put_stats(char *answer, size_t size);

/* stage.c */
int listen_on(const char *host, unsigned int port, unsigned int rcvbuf);
void serve_control(int fd);

/* words.c: letters, and urgent ones */
void say_word(int fd, const char *word, int flags, char *answer, size_t size);
void hear_word(int fd, char *answer, size_t size);
void hear_urgent(int fd, char *answer, size_t size);

/* crowd.c: many connections to the program under test */
struct crowd {
	int *fds;
	unsigned int count;
};

int connect_out(const char *host, unsigned int port, unsigned int rcvbuf);
/* These two return an errno, or 0. */
int crowd_open(struct crowd *c, unsigned int port, unsigned int more);
int swarm(unsigned int port, unsigned int clients, size_t bytes,
	  unsigned int rounds, unsigned int *good);
unsigned int crowd_chorus(struct crowd *c, size_t bytes);
void crowd_ends(struct crowd *c, bool poke, unsigned int *fins,
		unsigned int *resets);
void crowd_close(struct crowd *c);

/* mail.c: a socket for datagrams */
int mail_open(const char *host);
int mail_join(int fd, const char *group, const char *host);
ssize_t mail_post(int fd, const char *host, unsigned int port, __u64 seed,
		  size_t len);
void mail_take(int fd, __u64 seed, char *answer, size_t size);
int mail_ttl(int fd);
unsigned int mail_return(int fd, unsigned int count);
long mail_drops(unsigned int port);

/* diag.c: the kernel's information on the socket at the other end of @fd */
int put_diag(int fd, char *answer, size_t size);

#endif
