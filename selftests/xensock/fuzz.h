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
struct prng {
	__u64 state;
};

__u64 prng_next(struct prng *x);
__u32 prng_below(struct prng *x, __u32 limit);
bool prng_one_in(struct prng *x, __u32 count);
/* Returns a word that is likely to be wrong where @word is right. */
__u32 wrong_word(struct prng *x, __u32 word);
/* Makes a socket address, out of few hosts and ports. Returns its length. */
__u32 random_address(struct prng *x, __u8 addr[28]);
/* Makes a frame for the ring of a datagram socket, occasionally a wrong one. */
struct frame random_frame(struct prng *x, __u32 size, struct info *info);

/* A thread that writes over shared memory, by a random stream of its own. */
struct corruptor {
	pthread_t thread;
	struct prng prng;
	void (*write)(struct corruptor *s);
	void *what;
	atomic_bool stop;
};

void corruptor_start(struct corruptor *s, void (*write)(struct corruptor *s),
		     void *what, __u64 seed);
void corruptor_stop(struct corruptor *s);

/* The frontend uses the socket numbers from 1 on. Each number has a ring. */
#define IDS 16

/* The expected state of a socket, from the requests made. */
enum stage { NONE, FRESH, LISTENING, CONNECTION, DATAGRAM, STAGES };

struct fuzz {
	struct prng prng;
	struct link link;
	struct raw_conn rings[IDS];
	struct pages more[IDS][2];
	enum stage stages[IDS + 1];
};

/* The number of socket numbers in use, few enough to release each. */
#define ALL_IDS ((IDS + 3) * 4)
__u64 nth_id(unsigned int n);

/* Makes a request that is valid, valid except for some words, or not a request at all. */
struct request random_request(struct fuzz *f);
/* Returns a grant of one of the rings, or an invalid one. Never a grant that Xen itself made. */
__u32 random_ref(struct fuzz *f, struct prng *x);
/* Returns the index of the word of a slot that is the grant of a ring, or 0. */
unsigned int ref_word(__u32 cmd);

#endif
