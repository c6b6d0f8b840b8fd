// SPDX-License-Identifier: GPL-2.0
/*
 * A guest that sends any request, in any order: requests that are valid,
 * slightly changed or random, and data rings with any contents, over links with
 * any set of features. In every other link a second thread writes over all
 * shared memory meanwhile. Each request is answered, only an impossible index
 * ends the link, and other links work afterwards.
 *
 *   fuzz --seed N --cycles N     sends that many requests
 *
 * The program prints the seed of each link before it begins. That seed as
 * --seed repeats this link as the first one. Needs a guest without the xensock
 * module.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "util.h"

#define A_LINK 4000
/* All sockets are released after this many requests: few are usable by then. */
#define A_ROUND 250
#define PATIENCE_MSEC 60000
/* Slots kept free for RELEASE, which ends requests that wait. */
#define SPARE 4

static struct fuzz fuzz;
static struct scribbler scribbler;
/* The current link. Without scribbler each response can be checked. */
static bool is_calm;
static __u32 sent, taken;
static struct request unanswered[SLOTS];
/* Counts for all links, and only of those without scribbler. */
static unsigned int good[COMMANDS], bad[COMMANDS];

static bool is_over;

static bool complain(const char *what)
{
	is_over = true;
	printf("%s: %u requests sent, %u answered, backend in state %d\n", what,
	       sent, taken, xs_state(fuzz.link.backend));
	return false;
}

static void write_over(struct scribbler *s)
{
	struct chance *x = &s->chance;
	struct link *l = &fuzz.link;
	struct raw *c = &fuzz.rings[below(x, IDS)];
	struct pages *more = &fuzz.more[below(x, IDS)][below(x, 2)];
	unsigned int i = below(x, PAGE / 4);
	__u32 *word = NULL, value;

	switch (below(x, 8)) {
	case 0 ... 2:
		word = (__u32 *)l->slots + i % (SLOTS * 16);
		break;
	case 3:
		word = &l->words[one_in(x, 2) ? REQ_EVENT : RSP_EVENT];
		break;
	case 4:
		/* Rarely the first words: each change may end a connection. */
		word = &c->words[one_in(x, 20) ? i % RING_ORDER : i];
		break;
	case 5:
		word = (__u32 *)c->in + i % (c->size / 2);
		break;
	case 6:
		word = (__u32 *)more->mem + i;
		break;
	default:
		if (l->news.mem)
			word = (__u32 *)l->news.mem + i;
	}
	if (!word)
		return;
	value = odd_word(x, load(word));
	/* Where a grant may be, the value is one of ours or no grant. */
	if (word > &c->words[RING_ORDER] && word < &c->words[PAGE / 4])
		value = some_ref(&fuzz, x);
	if (word >= (__u32 *)l->slots && word < (__u32 *)&l->slots[SLOTS]) {
		i = (word - (__u32 *)l->slots) % 16;
		if (i == 2 || i == 3)
			value = nth_id(below(x, ALL_IDS)) >> 32 * (i - 2);
		else if (i && i == ref_word(l->slots[(word - (__u32 *)l->slots) / 16].cmd))
			value = some_ref(&fuzz, x);
	}
	store(word, value);
}

static void scribble_on(void)
{
	if (!is_calm)
		scribbler_start(&scribbler, write_over, &fuzz, opt.seed ^ sent);
}

static bool check(const struct response *response)
{
	unsigned int i;

	for (i = 0; i < SLOTS; i++) {
		struct request *r = &unanswered[i];

		if (!r->req_id || r->req_id != response->req_id)
			continue;
		if (response->id != r->id || response->ret > 0 ||
		    response->ret < -600 || response->cmd != r->cmd)
			break;
		if (r->cmd < COMMANDS)
			(response->ret ? bad : good)[r->cmd]++;
		r->req_id = 0;
		return true;
	}
	printf("answer %u to request %u for %llx: %d\n", response->cmd,
	       response->req_id, (unsigned long long)response->id, response->ret);
	return complain("no such request");
}

/* Takes the responses that are there. */
static bool collect(void)
{
	struct response response;

	if (load(&fuzz.link.words[RSP_PROD]) - taken > sent - taken)
		return complain("answers to nothing");
	while (take(&fuzz.link, &response)) {
		taken++;
		if (is_calm && !check(&response))
			return false;
	}
	return true;
}

/* Waits until at most @most requests are unanswered. */
static bool wait_answers(__u32 most, unsigned int msec)
{
	__u64 until = now_msec() + msec;

	while (collect() && sent - taken > most) {
		if (now_msec() > until)
			return false;
		nap(200);
	}
	return sent - taken <= most;
}

static void publish(struct request *r, bool notify)
{
	struct link *l = &fuzz.link;
	unsigned int i;

	if (is_calm) {
		r->req_id = ++l->req_id;
		for (i = 0; unanswered[i].req_id; i++)
			;
		unanswered[i] = *r;
	}
	memcpy(&l->slots[l->req_prod % SLOTS], r, sizeof(*r));
	store(&l->words[REQ_PROD], ++l->req_prod);
	sent++;
	if (notify)
		evtchn_notify(l->evtchn, l->port);
}

/* Releases all sockets. Afterwards no request can wait any more. */
static bool drain(void)
{
	__u64 until = now_msec() + PATIENCE_MSEC;
	unsigned int i, count = IDS + 2, msec = 200;

	scribbler_stop(&scribbler);
	for (;;) {
		for (i = 0; i < count; i++) {
			struct request r = { .cmd = RELEASE, .id = nth_id(i) };

			if (!wait_answers(SLOTS - 1, PATIENCE_MSEC))
				return complain("RELEASE is not answered");
			publish(&r, true);
		}
		if (wait_answers(0, msec))
			return true;
		if (is_over || now_msec() > until)
			return complain("requests are not answered");
		/* The scribbler may have made sockets with other numbers. */
		count = ALL_IDS;
		msec = 5000;
	}
}

/* Changes something in the memory of one ring. */
static void stir(void)
{
	struct chance *x = &fuzz.chance;
	struct link *l = &fuzz.link;
	struct raw *c = &fuzz.rings[below(x, IDS)];
	__u32 more, room = c->size - (c->out_prod - load(&c->words[OUT_CONS]));
	unsigned int word = below(x, RING_ORDER);
	struct frame frame;
	struct info info;

	if (room > c->size)
		room = 0;
	switch (below(x, 10)) {
	case 0 ... 2:
		c->out_prod += below(x, room + 1);
		store(&c->words[OUT_PROD], c->out_prod);
		break;
	case 3 ... 5:
		frame = some_frame(x, c->size, &info);
		dgram_poke(c, c->out_prod, &frame, sizeof(frame));
		more = frame_more(&frame);
		dgram_poke(c, c->out_prod + sizeof(frame), &info, more);
		more = FRAME_LEN(more + frame.len);
		c->out_prod += more < room ? more : room & ~7U;
		store(&c->words[OUT_PROD], c->out_prod);
		break;
	case 6:
	case 7:
		store(&c->words[IN_CONS], load(&c->words[IN_PROD]));
		break;
	case 8:
		store(&c->words[OUT_SWITCH], c->out_prod);
		store(&c->words[OUT_GENERATION],
		      load(&c->words[OUT_FOLLOWED]) + 1);
		store(&c->words[IN_FOLLOWED], load(&c->words[IN_GENERATION]));
		break;
	default:
		if (one_in(x, 4))
			store(&c->words[word], odd_word(x, load(&c->words[word])));
	}
	if (l->news.mem && one_in(x, 8))
		news_set(l->news.mem, &news_out, below(x, NEWS_SLOTS));
	raw_notify(l, c);
}

static bool open_link(void)
{
	static const char *const features[] = {
		"event-index", "status", "datagram", "datagram-info",
		"ring-reuse", "urgent", "waiting", "ring-resize",
	};
	struct chance *x = &fuzz.chance;
	struct link *l = &fuzz.link;
	char path[64];
	int i, j, way;

	raw_mode = one_in(x, 2) ? SHARED_CHANNEL : PLAIN;
	if (!link_begin(l))
		return complain("no link");
	for (i = 0; i < ARRAY_LEN(features); i++) {
		snprintf(path, sizeof(path), "%s/%s", l->front, features[i]);
		xs_write(path, "%d", !one_in(x, 3));
	}
	if (!link_finish(l))
		return complain("no link");
	for (i = 0; i < IDS; i++) {
		unsigned int order = 1 + below(x, 3);
		struct raw *c = &fuzz.rings[i];

		if (!raw_ring(l, c, order))
			return complain("no ring");
		for (way = 0; way < 2; way++) {
			struct pages *more = &fuzz.more[i][way];

			if (!pages_grant(more, l->backend_id, 1U << order, true))
				return complain("no pages");
			for (j = 0; j < 1U << order; j++)
				c->words[(way ? OUT_REF : IN_REF) + j] =
					more->refs[j];
		}
	}
	return true;
}

static void close_link(void)
{
	int i;

	link_down(&fuzz.link);
	for (i = 0; i < IDS; i++) {
		pages_free(&fuzz.rings[i].pages);
		pages_free(&fuzz.more[i][0]);
		pages_free(&fuzz.more[i][1]);
	}
}

static bool run_link(__u64 seed, unsigned int count)
{
	struct chance *x = &fuzz.chance;
	struct link *l = &fuzz.link;
	unsigned int i;

	memset(&fuzz, 0, sizeof(fuzz));
	memset(unanswered, 0, sizeof(unanswered));
	sent = 0;
	taken = 0;
	x->state = seed;
	is_calm = one_in(x, 2);
	if (!open_link())
		return false;
	for (i = 0; i < count; i++) {
		struct request r;

		if (i % A_ROUND == 0)
			memset(fuzz.stages, 0, sizeof(fuzz.stages));
		r = some_request(&fuzz);
		if (!collect())
			return false;
		/* The time of this depends on timing, the requests do not. */
		if (i % A_ROUND == 0 || !wait_answers(SLOTS - SPARE - 1, 200)) {
			if (!drain())
				return false;
			scribble_on();
		}
		publish(&r, !one_in(x, 4));
		if (one_in(x, 2))
			stir();
	}
	if (!drain())
		return false;
	if (xs_state(l->backend) != CONNECTED)
		return complain("the link has ended");
	if (one_in(x, 3)) {
		static const __u32 far[] = { SLOTS + 1, 1U << 31, -1U };

		store(&l->words[REQ_PROD], l->req_prod + far[below(x, 3)]);
		evtchn_notify(l->evtchn, l->port);
		if (!xs_wait_state(l->backend, CLOSING))
			return complain("the link has not ended");
	}
	close_link();
	return true;
}

int main(int argc, char **argv)
{
	unsigned int done, n, i;

	opt.cycles = 20000;
	if (parse_options(argc, argv) > 1) {
		fprintf(stderr, "usage: fuzz [options]\n");
		return 4;
	}
	setlinebuf(stdout);
	for (done = 0; done < opt.cycles; done += n, opt.seed++) {
		n = opt.cycles - done < A_LINK ? opt.cycles - done : A_LINK;
		printf("after %u requests: --seed %llu\n", done, opt.seed);
		if (!run_link(opt.seed, n))
			return 1;
	}
	raw_mode = PLAIN;
	if (!honest_link()) {
		printf("no good link is possible any more\n");
		return 1;
	}
	for (i = 0; i < COMMANDS; i++)
		printf("command %u: %u done, %u refused\n", i, good[i], bad[i]);
	return 0;
}
