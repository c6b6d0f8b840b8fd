/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the two fuzzers share: chance that a seed repeats, and a frontend's
 * requests by it.
 */
#ifndef XENSOCK_SELFTEST_FUZZ_H
#define XENSOCK_SELFTEST_FUZZ_H

#include <pthread.h>
#include <stdatomic.h>

#include "raw.h"

/* A stream of numbers, all of which its seed decides. */
struct chance {
	__u64 state;
};

__u64 chance_next(struct chance *x);
__u32 below(struct chance *x, __u32 limit);
bool one_in(struct chance *x, __u32 count);
/* A word that is likely to be wrong where @word is right. */
__u32 odd_word(struct chance *x, __u32 word);
/* A socket address, of few hosts and ports: its length. */
__u32 some_address(struct chance *x, __u8 addr[28]);
/* A frame for the ring of a datagram socket, now and then a wrong one. */
struct frame some_frame(struct chance *x, __u32 size, struct info *info);

/* Somebody who writes over shared memory meanwhile, by a stream of its own. */
struct scribbler {
	pthread_t thread;
	struct chance chance;
	void (*write)(struct scribbler *s);
	void *what;
	atomic_bool stop;
};

void scribbler_start(struct scribbler *s, void (*write)(struct scribbler *s),
		     void *what, __u64 seed);
void scribbler_stop(struct scribbler *s);

/* The frontend: numbers of sockets from 1 on, of which each has a ring. */
#define IDS 16

/* What a socket ought to be by what was asked for. */
enum stage { NONE, FRESH, LISTENING, CONNECTION, DATAGRAM, STAGES };

struct fuzz {
	struct chance chance;
	struct link link;
	struct raw rings[IDS];
	struct pages more[IDS][2];
	enum stage stages[IDS + 1];
};

/* All numbers that there can be, and few enough to release each: those first. */
#define ALL_IDS ((IDS + 3) * 4)
__u64 nth_id(unsigned int n);

/* Valid, valid but for some words, or no request at all. */
struct request some_request(struct fuzz *f);
/* A grant that is one of the rings', or none. Never one of Xen's own of this guest. */
__u32 some_ref(struct fuzz *f, struct chance *x);
/* Which word of a slot is the grant of a ring, or 0. */
unsigned int ref_word(__u32 cmd);

#endif
