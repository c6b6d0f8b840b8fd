// SPDX-License-Identifier: GPL-2.0
/* A random frontend's requests. See fuzz.h. */
#include <string.h>
#include <sys/socket.h>

#include "fuzz.h"
#include "util.h"

__u64 nth_id(unsigned int n)
{
	static const __u32 high[] = { 0, 1, 0x80000000, 0xffffffff };
	__u32 low = n % (IDS + 3);

	return (__u64)high[n / (IDS + 3)] << 32 | (low < IDS + 2 ? low : ~0U);
}

/* Commands that make sense in a stage, some of them more often, and any others. */
static const struct {
	unsigned int count;
	__u8 commands[16];
} stage_commands[STAGES] = {
	[NONE] = { 1, { SOCKET } },
	[FRESH] = { 11, { CONNECT, CONNECT, CONNECT, CONNECT, CONNECT, BIND,
			  BIND, BIND, LISTEN, SETSOCKOPT, GETSOCKOPT } },
	[LISTENING] = { 9, { ACCEPT, ACCEPT, ACCEPT, ACCEPT, ACCEPT, POLL,
			     GETNAME, LISTEN, RELEASE } },
	[CONNECTION] = { 10, { GROW, GROW, GROW, SHRINK, SHUTDOWN, SETSOCKOPT,
			       GETSOCKOPT, GETNAME, RELEASE, RELEASE } },
	[DATAGRAM] = { 10, { ATTACH, ATTACH, ATTACH, BIND, CONNECT, CONNECT,
			     SETSOCKOPT, SETSOCKOPT, GETNAME, RELEASE } },
};

static const struct {
	__u16 level;
	__u16 first, last;
} options[] = {
	{ SOL_SOCKET, 1, 80 }, { 0, 1, 55 }, { 6, 1, 50 }, { 17, 100, 105 },
	{ 41, 1, 80 }, { 0x5853, 0, 4 },
};

static struct raw_conn *ring_of(struct fuzz *f, __u64 id)
{
	struct prng *x = &f->prng;

	return &f->rings[prng_one_in(x, 10) ? prng_below(x, IDS) : id - 1];
}

static __u32 random_command(struct fuzz *f, __u64 id)
{
	struct prng *x = &f->prng;
	enum stage stage = f->stages[id];

	if (prng_one_in(x, 6))
		return prng_below(x, COMMANDS);
	return stage_commands[stage].commands[prng_below(x, stage_commands[stage].count)];
}

/* Returns an unused number, if one is soon found. */
static __u64 free_id(struct fuzz *f)
{
	unsigned int i, id = 0;

	for (i = 0; i < 5; i++) {
		id = 1 + prng_below(&f->prng, IDS);
		if (f->stages[id] == NONE)
			break;
	}
	return id;
}

/* Resets the ring for a new socket, except when the socket is to find what the old one left. */
static void reset_ring(struct fuzz *f, struct raw_conn *c)
{
	if (prng_one_in(&f->prng, 8))
		return;
	memset(c->words, 0, RING_ORDER * sizeof(*c->words));
	c->words[3] = 1;
	c->words[19] = 1;
	c->in_cons = 0;
	c->out_prod = 0;
}

static struct request valid_request(struct fuzz *f)
{
	struct prng *x = &f->prng;
	struct request r = { .id = 1 + prng_below(x, IDS) };
	struct raw_conn *c = ring_of(f, r.id);
	__u32 ref = c->pages.refs[0];
	enum stage *stage = &f->stages[r.id];
	unsigned int i;

	r.cmd = random_command(f, r.id);
	switch (r.cmd) {
	case SOCKET:
		r.socket.domain = prng_one_in(x, 6) ? AF_INET6 : AF_INET;
		r.socket.type = r.id > 12 ? SOCK_DGRAM : SOCK_STREAM;
		r.bytes[16] = prng_below(x, 3);	/* the owner */
		*stage = r.id > 12 ? DATAGRAM : FRESH;
		break;
	case CONNECT:
		r.connect.len = random_address(x, r.connect.addr);
		r.connect.ref = ref;
		r.connect.evtchn = c->port;
		reset_ring(f, c);
		if (*stage == FRESH)
			*stage = CONNECTION;
		break;
	case ACCEPT:
		r.accept.id_new = free_id(f);
		f->stages[r.accept.id_new] = CONNECTION;
		c = ring_of(f, r.accept.id_new);
		r.accept.ref = c->pages.refs[0];
		r.accept.evtchn = c->port;
		reset_ring(f, c);
		break;
	case ATTACH:
		reset_ring(f, c);
		/* fall through */
	case UNMAP:
		r.attach.ref = ref;
		r.attach.evtchn = c->port;
		break;
	case RELEASE:
		r.release.reuse = prng_one_in(x, 3);
		r.release.abort = prng_one_in(x, 2);
		*stage = NONE;
		break;
	case BIND:
		r.bind.len = random_address(x, r.bind.addr);
		if (!prng_one_in(x, 4)) {
			struct sockaddr_in sin = address(opt.host,
							 20000 + prng_below(x, 4));

			r.bind.len = sizeof(sin);
			memcpy(r.bind.addr, &sin, sizeof(sin));
		}
		break;
	case LISTEN:
		r.backlog = prng_below(x, 10);
		*stage = LISTENING;
		break;
	case SHUTDOWN:
		r.how = prng_below(x, 3);
		break;
	case GROW:
	case SHRINK:
		r.resize.way = prng_below(x, 2);
		r.resize.order = c->words[RING_ORDER] + prng_one_in(x, 2);
		break;
	case GETNAME:
		r.peer = prng_below(x, 2);
		break;
	case SETSOCKOPT:
	case GETSOCKOPT:
		i = prng_below(x, ARRAY_LEN(options));
		r.option.level = options[i].level;
		r.option.name = options[i].first +
			prng_below(x, options[i].last - options[i].first + 1);
		if (r.cmd == SETSOCKOPT) {
			r.option.len = 4;
			r.option.value[0] = prng_below(x, 3);
		} else if (prng_one_in(x, 3)) {
			r.option.len = 32 * prng_below(x, 20);
		}
		break;
	}
	return r;
}

unsigned int ref_word(__u32 cmd)
{
	switch (cmd) {
	case CONNECT:
		return offsetof(struct request, connect.ref) / 4;
	case ACCEPT:
		return offsetof(struct request, accept.ref) / 4;
	case ATTACH:
	case UNMAP:
		return offsetof(struct request, attach.ref) / 4;
	default:
		return 0;
	}
}

/* The first grants are Xen's own, for the console and xenstore. */
__u32 random_ref(struct fuzz *f, struct prng *x)
{
	struct pages *p = &f->rings[prng_below(x, IDS)].pages;

	return prng_one_in(x, 2) ? p->refs[prng_below(x, p->count)] :
				   (__u32)prng_next(x) | 0x10000;
}

static void corrupt_request(struct fuzz *f, struct request *r)
{
	struct prng *x = &f->prng;
	__u32 *words = (__u32 *)r;
	unsigned int i = 1 + prng_below(x, sizeof(*r) / 4 - 1);

	if (i == 1)
		r->cmd = prng_one_in(x, 4) ? wrong_word(x, r->cmd) : prng_below(x, COMMANDS);
	else if (i < 4)
		r->id = nth_id(prng_below(x, prng_one_in(x, 2) ? ALL_IDS : IDS + 2));
	else if (i != ref_word(r->cmd))
		words[i] = wrong_word(x, words[i]);
	i = ref_word(r->cmd);
	if (i && (words[i] < 16 || prng_one_in(x, 16)))
		words[i] = random_ref(f, x);
}

struct request random_request(struct fuzz *f)
{
	struct prng *x = &f->prng;
	struct request r = valid_request(f);
	unsigned int i, kind = prng_below(x, 10);

	if (!kind) {
		for (i = 0; i < sizeof(r); i += 8)
			((__u64 *)&r)[i / 8] = prng_next(x);
		if (prng_one_in(x, 2))
			r.cmd = prng_below(x, COMMANDS);
		i = ref_word(r.cmd);
		if (i)
			((__u32 *)&r)[i] = random_ref(f, x);
	}
	for (i = kind < 7 ? 0 : kind - 6; i; i--)
		corrupt_request(f, &r);
	return r;
}
