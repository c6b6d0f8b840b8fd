/* SPDX-License-Identifier: GPL-2.0 */
/* io_uring by its system calls alone, since liburing is not available. */
#ifndef XENSOCK_SELFTEST_URING_H
#define XENSOCK_SELFTEST_URING_H

#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES 16
/* Newer than some headers. */
#define OP_BIND 56
#define OP_LISTEN 57
#define OP_SIOCINQ 0
#define OP_SIOCOUTQ 1

struct ring {
	int fd;
	char *sq;
	char *cq;
	struct io_uring_sqe *sqes;
	struct io_uring_params p;
	unsigned int queued;
};

#define WORD(base, offset) ((_Atomic unsigned int *)((base) + (offset)))

static inline bool ring_open(struct ring *r)
{
	size_t size;

	memset(r, 0, sizeof(*r));
	r->fd = syscall(__NR_io_uring_setup, ENTRIES, &r->p);
	if (r->fd < 0)
		return false;
	size = r->p.sq_off.array + r->p.sq_entries * sizeof(unsigned int);
	r->sq = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
		     IORING_OFF_SQ_RING);
	size = r->p.cq_off.cqes + r->p.cq_entries * sizeof(struct io_uring_cqe);
	r->cq = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
		     IORING_OFF_CQ_RING);
	size = r->p.sq_entries * sizeof(struct io_uring_sqe);
	r->sqes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
		       IORING_OFF_SQES);
	return r->sq != MAP_FAILED && r->cq != MAP_FAILED &&
	       r->sqes != MAP_FAILED;
}

/* Returns the next request with these fields set. The caller sets the rest. */
static inline struct io_uring_sqe *queue_op(struct ring *r, int op, int fd,
					    __u64 tag)
{
	unsigned int tail = *WORD(r->sq, r->p.sq_off.tail);
	unsigned int slot = tail & (r->p.sq_entries - 1);
	struct io_uring_sqe *sqe = &r->sqes[slot];

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = op;
	sqe->fd = fd;
	sqe->user_data = tag;
	((unsigned int *)(r->sq + r->p.sq_off.array))[slot] = slot;
	*WORD(r->sq, r->p.sq_off.tail) = tail + 1;
	r->queued++;
	return sqe;
}

static inline bool submit(struct ring *r)
{
	unsigned int queued = r->queued;

	r->queued = 0;
	return syscall(__NR_io_uring_enter, r->fd, queued, 0, 0, NULL, 0) ==
	       queued;
}

/* Returns the result of the next completion, which must have that tag. */
static inline int wait_result(struct ring *r, __u64 tag, unsigned int *flags)
{
	unsigned int head = *WORD(r->cq, r->p.cq_off.head);
	struct io_uring_cqe *cqes = (void *)(r->cq + r->p.cq_off.cqes), *cqe;

	while (head == *WORD(r->cq, r->p.cq_off.tail))
		if (syscall(__NR_io_uring_enter, r->fd, 0, 1,
			    IORING_ENTER_GETEVENTS, NULL, 0) < 0)
			return -10000;
	cqe = &cqes[head & (r->p.cq_entries - 1)];
	if (flags)
		*flags = cqe->flags;
	*WORD(r->cq, r->p.cq_off.head) = head + 1;
	return cqe->user_data == tag ? cqe->res : -20000 - cqe->user_data;
}

static inline bool no_completion(struct ring *r)
{
	return *WORD(r->cq, r->p.cq_off.head) == *WORD(r->cq, r->p.cq_off.tail);
}

#endif
