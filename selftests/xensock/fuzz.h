/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shared by the two fuzzers: random numbers that a seed repeats, and a random frontend's requests.
 */
#ifndef XENSOCK_SELFTEST_FUZZ_H
#define XENSOCK_SELFTEST_FUZZ_H

#include <pthread.h>
#include <stdatomic.h>

#include "raw.h"

/* A stream of numbers that its seed determines. */
struct chance {
	__u64 state;
};

__u64 chance_next(struct chance *x);
__u32 below(struct chance *x, __u32 limit);
bool one_in(struct chance *x, __u32 count);
/* Returns a word that is likely to be wrong where @word is right. */
__u32 odd_word(struct chance *x, __u32 word);
/* Makes a socket address, out of few hosts and ports. Returns its length. */
__u32 some_address(struct chance *x, __u8 addr[28]);
/* Makes a frame for the ring of a datagram socket, occasionally a wrong one. */
struct frame some_frame(struct chance *x, __u32 size, struct info *info);

/* A thread that writes over shared memory, by a random stream of its own. */
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

/* The frontend uses the socket numbers from 1 on. Each number has a ring. */
#define IDS 16

/* The expected state of a socket, from the requests made. */
enum stage { NONE, FRESH, LISTENING, CONNECTION, DATAGRAM, STAGES };

struct fuzz {
	struct chance chance;
	struct link link;
	struct raw rings[IDS];
	struct pages more[IDS][2];
	enum stage stages[IDS + 1];
};

/* The number of socket numbers in use, few enough to release each. */
#define ALL_IDS ((IDS + 3) * 4)
__u64 nth_id(unsigned int n);

/* Makes a request that is valid, valid except for some words, or not a request at all. */
struct request some_request(struct fuzz *f);
/* Returns a grant of one of the rings, or an invalid one. Never a grant that Xen itself made. */
__u32 some_ref(struct fuzz *f, struct chance *x);
/* Returns the index of the word of a slot that is the grant of a ring, or 0. */
unsigned int ref_word(__u32 cmd);

#endif
