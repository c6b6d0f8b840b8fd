// SPDX-License-Identifier: GPL-2.0
/*
 * A backend that answers anything, in any order, in the user space of dom0. It
 * is right most of the time, so that sockets get far, and otherwise random:
 * responses, indexes, error words, frames, news, the end of the link. In every
 * other link a second thread writes over all shared memory. The frontend comes
 * back to each new offer.
 *
 *   fuzz_back DOMID --seed N --cycles N     that many responses and changes of
 *                                           memory
 *
 * The program prints the seed of each link before it begins. That seed as
 * --seed repeats this link as the first one. The guest should run restless.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "back.h"
#include "fuzz.h"
#include "util.h"

#define RINGS 64
/* Responses and changes of memory in one link, unless they end the link earlier. */
#define DEEDS 3000

/* A ring that the frontend has named, mapped as long as it may be in use. */
struct ring {
	__u64 id;
	__u32 ref;
	__u32 remote;
	__u32 port;
	__u32 *words;
	char *in;
	__u32 order;
	__u32 size;
	bool used;
};

static struct chance chance;
static struct scribbler scribbler;
static struct ring rings[RINGS];
/* Protects the rings against the second thread. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Requests that are not answered yet, or never will be. */
static struct request waiting[SLOTS];
static unsigned int n_waiting, served, deeds;
/* One response out of this number is wrong. */
static unsigned int rudeness;

static void drop(struct ring *ring)
{
	pthread_mutex_lock(&lock);
	pages_unmap(ring->words, 1);
	pages_unmap(ring->in, 1U << ring->order);
	if (ring->port && !back.news)
		evtchn_close(back.evtchn, ring->port);
	memset(ring, 0, sizeof(*ring));
	pthread_mutex_unlock(&lock);
}

/* Returns the ring for this socket, kept or new, or NULL. */
static struct ring *find(__u64 id, __u32 ref, __u32 remote)
{
	struct ring new = { .id = id, .ref = ref, .remote = remote, .used = true };
	struct ring *free = NULL;
	int i;

	for (i = 0; i < RINGS; i++) {
		struct ring *ring = &rings[i];

		if (ring->words && ring->ref == ref && ring->remote == remote) {
			ring->id = id;
			ring->used = true;
			return ring;
		}
		if (!ring->words && !free)
			free = ring;
	}
	if (!free)
		return NULL;
	new.words = pages_map(back.domid, &ref, 1);
	if (!new.words)
		return NULL;
	new.order = load(&new.words[RING_ORDER]);
	/* We may have overwritten the order while the ring was kept. */
	if (new.order < 1 || new.order > 9) {
		pages_unmap(new.words, 1);
		return NULL;
	}
	new.size = 2048U << new.order;
	new.port = back.news ? remote :
			       evtchn_bind(back.evtchn, back.domid, remote);
	new.in = pages_map(back.domid, &new.words[REF], 1U << new.order);
	if (!new.in) {
		pages_unmap(new.words, 1);
		if (new.port && !back.news)
			evtchn_close(back.evtchn, new.port);
		return NULL;
	}
	pthread_mutex_lock(&lock);
	*free = new;
	pthread_mutex_unlock(&lock);
	return free;
}

/* Returns a ring that a socket has, or NULL. */
static struct ring *some_ring(struct chance *x)
{
	unsigned int i, first = below(x, RINGS);

	for (i = 0; i < RINGS; i++)
		if (rings[(first + i) % RINGS].used)
			return &rings[(first + i) % RINGS];
	return NULL;
}

static void notify(struct ring *ring)
{
	if (!back.news)
		return evtchn_notify(back.evtchn, ring->port);
	if (ring->port < NEWS_SLOTS) {
		news_set(back.news, &news_in, ring->port);
		if (!news_summarize(back.news, &news_in, ring->port))
			return;
	}
	evtchn_notify(back.evtchn, back.news_port);
}

static void write_over(struct scribbler *s)
{
	struct chance *x = &s->chance;
	unsigned int i = below(x, PAGE / 4);
	struct ring *ring;
	__u32 *word = NULL;

	pthread_mutex_lock(&lock);
	ring = some_ring(x);
	switch (below(x, 8)) {
	case 0:
	case 1:
		/* Rarely: each change may end the link. */
		if (one_in(x, 1000))
			word = (__u32 *)back_slot(0) + i % (SLOTS * 16);
		break;
	case 2:
		word = &back.words[one_in(x, 2) ? REQ_EVENT : RSP_EVENT];
		break;
	case 3:
		if (ring && one_in(x, 200))
			word = &ring->words[i % RING_ORDER];
		break;
	case 4:
		if (ring && i >= RING_ORDER)
			word = &ring->words[i];
		break;
	case 5:
	case 6:
		if (ring)
			word = (__u32 *)ring->in + i % (ring->size / 2);
		break;
	default:
		if (back.news)
			word = (__u32 *)back.news + i;
	}
	if (word)
		store(word, odd_word(x, load(word)));
	pthread_mutex_unlock(&lock);
}

static int some_error(struct chance *x)
{
	static const int errors[] = {
		ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, EACCES, EMFILE, ENOBUFS,
		EADDRINUSE, EINVAL, ENOTCONN, EOPNOTSUPP, ECONNRESET, EPIPE,
		EAGAIN, EINTR, 512, 4000,
	};

	return -errors[below(x, ARRAY_LEN(errors))];
}

/* Changes something in the memory of one ring in use. */
static void stir(void)
{
	struct chance *x = &chance;
	struct ring *ring = some_ring(x);
	__u32 *words, room, prod, more, word;
	struct frame frame;
	struct info info;
	__u8 *to;

	if (!ring)
		return;
	deeds++;
	words = ring->words;
	prod = load(&words[IN_PROD]);
	room = ring->size - (prod - load(&words[IN_CONS]));
	room = room > ring->size ? 0 : room;
	switch (below(x, 12)) {
	case 0 ... 1:
		store(&words[IN_PROD], prod + below(x, room + 1));
		break;
	case 2 ... 4:
		store(&words[OUT_CONS], load(&words[OUT_PROD]));
		break;
	case 5 ... 6:
		frame = some_frame(x, ring->size, &info);
		more = FRAME_LEN(frame_more(&frame) + frame.len);
		to = (__u8 *)ring->in + prod % ring->size;
		if (prod % ring->size + sizeof(frame) + sizeof(info) <= ring->size) {
			memcpy(to, &frame, sizeof(frame));
			memcpy(to + sizeof(frame), &info, sizeof(info));
		}
		store(&words[IN_PROD], prod + (more < room ? more : room & ~7U));
		break;
	case 7 ... 8:
		store(&words[NAME_LEN],
		      some_address(x, (__u8 *)&words[NAME]));
		store(&words[STATUS], one_in(x, 5) ? some_error(x) : 1);
		break;
	case 9:
		if (one_in(x, 3))
			store(&words[one_in(x, 2) ? IN_ERROR : OUT_ERROR],
			      some_error(x));
		break;
	case 10:
		store(&words[IN_SWITCH], prod);
		store(&words[IN_GENERATION], load(&words[IN_FOLLOWED]) + 1);
		store(&words[OUT_FOLLOWED], load(&words[OUT_GENERATION]));
		break;
	default:
		word = below(x, RING_ORDER);
		if (one_in(x, rudeness))
			store(&words[word], odd_word(x, load(&words[word])));
	}
	notify(ring);
}

/* Updates the rings when a request is answered. */
static bool follow(const struct request *r)
{
	int i;

	switch (r->cmd) {
	case CONNECT:
		/* A CONNECT of a datagram socket has no ring. */
		return !r->connect.ref ||
		       find(r->id, r->connect.ref, r->connect.evtchn);
	case ACCEPT:
		return find(r->accept.id_new, r->accept.ref, r->accept.evtchn);
	case ATTACH:
		return find(r->id, r->attach.ref, r->attach.evtchn);
	case RELEASE:
		for (i = 0; i < RINGS; i++) {
			if (!rings[i].words || rings[i].id != r->id)
				continue;
			if (r->release.reuse)
				rings[i].used = false;
			else
				drop(&rings[i]);
		}
		break;
	case UNMAP:
		for (i = 0; i < RINGS; i++)
			if (rings[i].words && rings[i].ref == r->unmap.ref)
				drop(&rings[i]);
		break;
	}
	return true;
}

static void reply(const struct request *r)
{
	struct chance *x = &chance;
	bool follows = follow(r);
	struct response response = back_response(r, follows ? 0 : -EINVAL);
	__u32 i, *words = (__u32 *)&response;

	deeds++;
	if (one_in(x, 10) && r->cmd != RELEASE && r->cmd != UNMAP)
		response.ret = some_error(x);
	if (r->cmd == GETSOCKOPT) {
		response.value[0] = below(x, 3);
		response.total = one_in(x, 8) ? below(x, 1100) : 4;
	} else if (r->cmd == CONNECT || r->cmd == ACCEPT || r->cmd == GETNAME) {
		response.len = some_address(x, response.addr);
	}
	if (one_in(x, rudeness)) {
		i = below(x, sizeof(response) / 4);
		words[i] = odd_word(x, words[i]);
	}
	memcpy(back_slot(back.rsp_prod++), &response, sizeof(response));
	if (one_in(x, rudeness * 4))
		back_publish(back.rsp_prod + odd_word(x, 0));
	else
		back_publish(back.rsp_prod);
}

/* Answers the requests that wait for a socket before its RELEASE is answered. */
static void abort_all(__u64 id)
{
	unsigned int i = 0;

	while (i < n_waiting) {
		struct request r = waiting[i];

		if (r.cmd == RELEASE || r.cmd == UNMAP ||
		    (r.id != id && (r.cmd != ACCEPT || r.accept.id_new != id))) {
			i++;
			continue;
		}
		waiting[i] = waiting[--n_waiting];
		back_respond(&r, -ECONNABORTED);
	}
}

/* Answers one of the waiting requests, or lets it wait. */
static void decide(void)
{
	unsigned int i = below(&chance, n_waiting);
	struct request r = waiting[i];

	/* Most POLL and ACCEPT requests wait: nobody connects. */
	if ((r.cmd == POLL || r.cmd == ACCEPT) && !one_in(&chance, 20))
		return;
	/* The request is never answered, or when it is picked again. */
	if (one_in(&chance, 50))
		return;
	waiting[i] = waiting[--n_waiting];
	if (r.cmd == RELEASE && !one_in(&chance, rudeness))
		abort_all(r.id);
	reply(&r);
}

static bool open_link(void)
{
	static const char *const features[] = {
		"feature-event-index", "feature-status", "feature-datagram",
		"feature-datagram-info", "feature-ring-reuse", "feature-urgent",
		"feature-waiting", "feature-ring-resize",
		"feature-shared-channel",
	};
	int i;

	if (!back_begin())
		return false;
	for (i = 0; i < ARRAY_LEN(features); i++)
		back_node(features[i], one_in(&chance, 3) ? "0" : "1");
	return back_finish(30000);
}

static bool run_link(__u64 seed)
{
	static const char *const ends[] = { "1", "5", "6", "6", "77" };
	unsigned int until = deeds + DEEDS;
	int i;

	chance.state = seed;
	rudeness = one_in(&chance, 4) ? 200 : 3000;
	if (!open_link()) {
		printf("no link, frontend in state %d\n", xs_state(back.front));
		return false;
	}
	if (one_in(&chance, 2))
		scribbler_start(&scribbler, write_over, NULL, seed);
	while (deeds < until && !back_is_over) {
		while (n_waiting < SLOTS && back_take(&waiting[n_waiting])) {
			n_waiting++;
			served++;
		}
		for (i = below(&chance, 4); i && n_waiting; i--)
			decide();
		/* Occasionally more changes than the frontend can deal with. */
		for (i = one_in(&chance, 200) ? 100 : 1; i; i--)
			stir();
		/* The frontend may have ended the link. */
		if (one_in(&chance, 100) && xs_state(back.front) != CONNECTED)
			break;
		nap(below(&chance, 1000));
	}
	scribbler_stop(&scribbler);
	back_node("state", ends[below(&chance, ARRAY_LEN(ends))]);
	for (i = 0; i < RINGS; i++)
		drop(&rings[i]);
	n_waiting = 0;
	back_end();
	return true;
}

int main(int argc, char **argv)
{
	unsigned int links;

	opt.cycles = 20000;
	argc = parse_options(argc, argv);
	if (argc != 2) {
		fprintf(stderr, "usage: fuzz_back DOMID [options]\n");
		return 4;
	}
	setlinebuf(stdout);
	back_init(atoi(argv[1]));
	for (links = 0; deeds < opt.cycles && !back_is_over; links++) {
		printf("after %u deeds: --seed %llu\n", deeds, opt.seed);
		if (!run_link(opt.seed++))
			return 1;
	}
	printf("%u deeds, %u requests, %u links\n", deeds, served, links);
	return 0;
}
