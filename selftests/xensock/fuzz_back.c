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
#define ACTIONS_PER_LINK 3000

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

static struct prng prng;
static struct corruptor corruptor;
static struct ring rings[RINGS];
/* Protects the rings against the second thread. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Requests that are not answered yet, or never will be. */
static struct request waiting[SLOTS];
static unsigned int n_waiting, served, actions;
/* One response out of this number is wrong. */
static unsigned int error_interval;

static void unmap_ring(struct ring *ring)
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
static struct ring *find_ring(__u64 id, __u32 ref, __u32 remote)
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
static struct ring *random_ring(struct prng *x)
{
	unsigned int i, first = prng_below(x, RINGS);

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

static void corrupt_word(struct corruptor *s)
{
	struct prng *x = &s->prng;
	unsigned int i = prng_below(x, PAGE / 4);
	struct ring *ring;
	__u32 *word = NULL;

	pthread_mutex_lock(&lock);
	ring = random_ring(x);
	switch (prng_below(x, 8)) {
	case 0:
	case 1:
		/* Rarely: each change may end the link. */
		if (prng_one_in(x, 1000))
			word = (__u32 *)back_slot(0) + i % (SLOTS * 16);
		break;
	case 2:
		word = &back.words[prng_one_in(x, 2) ? REQ_EVENT : RSP_EVENT];
		break;
	case 3:
		if (ring && prng_one_in(x, 200))
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
		store(word, wrong_word(x, load(word)));
	pthread_mutex_unlock(&lock);
}

static int random_error(struct prng *x)
{
	static const int errors[] = {
		ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, EACCES, EMFILE, ENOBUFS,
		EADDRINUSE, EINVAL, ENOTCONN, EOPNOTSUPP, ECONNRESET, EPIPE,
		EAGAIN, EINTR, 512, 4000,
	};

	return -errors[prng_below(x, ARRAY_LEN(errors))];
}

/* Changes something in the memory of one ring in use. */
static void change_ring(void)
{
	struct prng *x = &prng;
	struct ring *ring = random_ring(x);
	__u32 *words, room, prod, more, word;
	struct frame frame;
	struct info info;
	__u8 *to;

	if (!ring)
		return;
	actions++;
	words = ring->words;
	prod = load(&words[IN_PROD]);
	room = ring->size - (prod - load(&words[IN_CONS]));
	room = room > ring->size ? 0 : room;
	switch (prng_below(x, 12)) {
	case 0 ... 1:
		store(&words[IN_PROD], prod + prng_below(x, room + 1));
		break;
	case 2 ... 4:
		store(&words[OUT_CONS], load(&words[OUT_PROD]));
		break;
	case 5 ... 6:
		frame = random_frame(x, ring->size, &info);
		more = FRAME_LEN(frame_info_len(&frame) + frame.len);
		to = (__u8 *)ring->in + prod % ring->size;
		if (prod % ring->size + sizeof(frame) + sizeof(info) <= ring->size) {
			memcpy(to, &frame, sizeof(frame));
			memcpy(to + sizeof(frame), &info, sizeof(info));
		}
		store(&words[IN_PROD], prod + (more < room ? more : room & ~7U));
		break;
	case 7 ... 8:
		store(&words[NAME_LEN],
		      random_address(x, (__u8 *)&words[NAME]));
		store(&words[STATUS], prng_one_in(x, 5) ? random_error(x) : 1);
		break;
	case 9:
		if (prng_one_in(x, 3))
			store(&words[prng_one_in(x, 2) ? IN_ERROR : OUT_ERROR],
			      random_error(x));
		break;
	case 10:
		store(&words[IN_SWITCH], prod);
		store(&words[IN_GENERATION], load(&words[IN_FOLLOWED]) + 1);
		store(&words[OUT_FOLLOWED], load(&words[OUT_GENERATION]));
		break;
	default:
		word = prng_below(x, RING_ORDER);
		if (prng_one_in(x, error_interval))
			store(&words[word], wrong_word(x, load(&words[word])));
	}
	notify(ring);
}

/* Updates the rings when a request is answered. */
static bool update_rings(const struct request *r)
{
	int i;

	switch (r->cmd) {
	case CONNECT:
		/* A CONNECT of a datagram socket has no ring. */
		return !r->connect.ref ||
		       find_ring(r->id, r->connect.ref, r->connect.evtchn);
	case ACCEPT:
		return find_ring(r->accept.id_new, r->accept.ref, r->accept.evtchn);
	case ATTACH:
		return find_ring(r->id, r->attach.ref, r->attach.evtchn);
	case RELEASE:
		for (i = 0; i < RINGS; i++) {
			if (!rings[i].words || rings[i].id != r->id)
				continue;
			if (r->release.reuse)
				rings[i].used = false;
			else
				unmap_ring(&rings[i]);
		}
		break;
	case UNMAP:
		for (i = 0; i < RINGS; i++)
			if (rings[i].words && rings[i].ref == r->unmap.ref)
				unmap_ring(&rings[i]);
		break;
	}
	return true;
}

static void send_reply(const struct request *r)
{
	struct prng *x = &prng;
	bool is_valid = update_rings(r);
	struct response response = back_response(r, is_valid ? 0 : -EINVAL);
	__u32 i, *words = (__u32 *)&response;

	actions++;
	if (prng_one_in(x, 10) && r->cmd != RELEASE && r->cmd != UNMAP)
		response.ret = random_error(x);
	if (r->cmd == GETSOCKOPT) {
		response.value[0] = prng_below(x, 3);
		response.total = prng_one_in(x, 8) ? prng_below(x, 1100) : 4;
	} else if (r->cmd == CONNECT || r->cmd == ACCEPT || r->cmd == GETNAME) {
		response.len = random_address(x, response.addr);
	}
	if (prng_one_in(x, error_interval)) {
		i = prng_below(x, sizeof(response) / 4);
		words[i] = wrong_word(x, words[i]);
	}
	memcpy(back_slot(back.rsp_prod++), &response, sizeof(response));
	if (prng_one_in(x, error_interval * 4))
		back_publish(back.rsp_prod + wrong_word(x, 0));
	else
		back_publish(back.rsp_prod);
}

/* Answers the requests that wait for a socket before its RELEASE is answered. */
static void abort_requests(__u64 id)
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
static void answer_one(void)
{
	unsigned int i = prng_below(&prng, n_waiting);
	struct request r = waiting[i];

	/* Most POLL and ACCEPT requests wait: nobody connects. */
	if ((r.cmd == POLL || r.cmd == ACCEPT) && !prng_one_in(&prng, 20))
		return;
	/* The request is never answered, or when it is picked again. */
	if (prng_one_in(&prng, 50))
		return;
	waiting[i] = waiting[--n_waiting];
	if (r.cmd == RELEASE && !prng_one_in(&prng, error_interval))
		abort_requests(r.id);
	send_reply(&r);
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
		back_node(features[i], prng_one_in(&prng, 3) ? "0" : "1");
	return back_finish(WAIT_LIMIT_MSEC);
}

static bool run_link(__u64 seed)
{
	static const char *const ends[] = { "1", "5", "6", "6", "77" };
	unsigned int deadline = actions + ACTIONS_PER_LINK;
	int i;

	prng.state = seed;
	error_interval = prng_one_in(&prng, 4) ? 200 : 3000;
	if (!open_link()) {
		printf("no link, frontend in state %d\n", xs_state(back.front));
		return false;
	}
	if (prng_one_in(&prng, 2))
		corruptor_start(&corruptor, corrupt_word, NULL, seed);
	while (actions < deadline && !back_is_over) {
		while (n_waiting < SLOTS && back_take(&waiting[n_waiting])) {
			n_waiting++;
			served++;
		}
		for (i = prng_below(&prng, 4); i && n_waiting; i--)
			answer_one();
		/* Occasionally more changes than the frontend can deal with. */
		for (i = prng_one_in(&prng, 200) ? 100 : 1; i; i--)
			change_ring();
		/* The frontend may have ended the link. */
		if (prng_one_in(&prng, 100) && xs_state(back.front) != CONNECTED)
			break;
		sleep_usec(prng_below(&prng, 1000));
	}
	corruptor_stop(&corruptor);
	back_node("state", ends[prng_below(&prng, ARRAY_LEN(ends))]);
	for (i = 0; i < RINGS; i++)
		unmap_ring(&rings[i]);
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
	for (links = 0; actions < opt.cycles && !back_is_over; links++) {
		printf("after %u actions: --seed %llu\n", actions, opt.seed);
		if (!run_link(opt.seed++))
			return 1;
	}
	printf("%u actions, %u requests, %u links\n", actions, served, links);
	return 0;
}
