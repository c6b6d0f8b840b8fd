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

#define REQUESTS_PER_LINK 4000
/* All sockets are released after this many requests: few are usable by then. */
#define REQUESTS_PER_ROUND 250
/* Of so many requests, some of each common command succeed. */
#define ENOUGH_REQUESTS 2000
/* Slots kept free for RELEASE, which ends requests that wait. */
#define RESERVED_SLOTS 4

static struct fuzz fuzz;
static struct corruptor corruptor;
/* The current link. Without a corruptor each response can be checked. */
static bool can_check;
static __u32 sent, answered;
static struct request unanswered[SLOTS];
/* Counts for all links, and only of those without a corruptor. */
static unsigned int good[COMMANDS], bad[COMMANDS];

static bool has_failed;

static bool report_failure(const char *what)
{
	has_failed = true;
	printf("%s: %u requests sent, %u answered, backend in state %d\n", what,
	       sent, answered, xs_state(fuzz.link.backend));
	return false;
}

static void corrupt_word(struct corruptor *s)
{
	struct prng *x = &s->prng;
	struct link *l = &fuzz.link;
	struct raw_conn *c = &fuzz.rings[prng_below(x, IDS)];
	struct pages *more = &fuzz.more[prng_below(x, IDS)][prng_below(x, 2)];
	unsigned int i = prng_below(x, PAGE / 4);
	__u32 *word = NULL, value;

	switch (prng_below(x, 8)) {
	case 0 ... 2:
		word = (__u32 *)l->slots + i % (SLOTS * 16);
		break;
	case 3:
		word = &l->words[prng_one_in(x, 2) ? REQ_EVENT : RSP_EVENT];
		break;
	case 4:
		/* Rarely the first words: each change may end a connection. */
		word = &c->words[prng_one_in(x, 20) ? i % RING_ORDER : i];
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
	value = wrong_word(x, load(word));
	/* Where a grant may be, the value is one of ours or no grant. */
	if (word > &c->words[RING_ORDER] && word < &c->words[PAGE / 4])
		value = random_ref(&fuzz, x);
	if (word >= (__u32 *)l->slots && word < (__u32 *)&l->slots[SLOTS]) {
		i = (word - (__u32 *)l->slots) % 16;
		if (i == 2 || i == 3)
			value = nth_id(prng_below(x, ALL_IDS)) >> 32 * (i - 2);
		else if (i && i == ref_word(l->slots[(word - (__u32 *)l->slots) / 16].cmd))
			value = random_ref(&fuzz, x);
	}
	store(word, value);
}

static void start_corruptor(void)
{
	if (!can_check)
		corruptor_start(&corruptor, corrupt_word, &fuzz, opt.seed ^ sent);
}

static bool check_response(const struct response *response)
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
	return report_failure("no such request");
}

/* Takes the responses that are there. */
static bool read_responses(void)
{
	struct response response;

	if (load(&fuzz.link.words[RSP_PROD]) - answered > sent - answered)
		return report_failure("answers to nothing");
	while (take_response(&fuzz.link, &response)) {
		answered++;
		if (can_check && !check_response(&response))
			return false;
	}
	return true;
}

/* Waits until at most @most requests are unanswered. */
static bool wait_responses(__u32 most, unsigned int msec)
{
	__u64 deadline = now_msec() + msec;

	while (read_responses() && sent - answered > most) {
		if (now_msec() > deadline)
			return false;
		sleep_usec(200);
	}
	return sent - answered <= most;
}

static void publish(struct request *r, bool notify)
{
	struct link *l = &fuzz.link;
	unsigned int i;

	if (can_check) {
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
static bool release_all(void)
{
	__u64 deadline = now_msec() + TIMEOUT_MSEC;
	unsigned int i, count = IDS + 2, msec = 200;

	corruptor_stop(&corruptor);
	for (;;) {
		for (i = 0; i < count; i++) {
			struct request r = { .cmd = RELEASE, .id = nth_id(i) };

			if (!wait_responses(SLOTS - 1, TIMEOUT_MSEC))
				return report_failure("RELEASE is not answered");
			publish(&r, true);
		}
		if (wait_responses(0, msec))
			return true;
		if (has_failed || now_msec() > deadline)
			return report_failure("requests are not answered");
		/* The corruptor may have made sockets with other numbers. */
		count = ALL_IDS;
		msec = 5000;
	}
}

/* Changes something in the memory of one ring. */
static void change_ring(void)
{
	struct prng *x = &fuzz.prng;
	struct link *l = &fuzz.link;
	struct raw_conn *c = &fuzz.rings[prng_below(x, IDS)];
	__u32 more, room = c->size - (c->out_prod - load(&c->words[OUT_CONS]));
	unsigned int word = prng_below(x, RING_ORDER);
	struct frame frame;
	struct info info;

	if (room > c->size)
		room = 0;
	switch (prng_below(x, 10)) {
	case 0 ... 2:
		c->out_prod += prng_below(x, room + 1);
		store(&c->words[OUT_PROD], c->out_prod);
		break;
	case 3 ... 5:
		frame = random_frame(x, c->size, &info);
		dgram_write(c, c->out_prod, &frame, sizeof(frame));
		more = frame_info_len(&frame);
		dgram_write(c, c->out_prod + sizeof(frame), &info, more);
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
		if (prng_one_in(x, 4))
			store(&c->words[word], wrong_word(x, load(&c->words[word])));
	}
	if (l->news.mem && prng_one_in(x, 8))
		news_set(l->news.mem, &news_out, prng_below(x, NEWS_SLOTS));
	raw_notify(l, c);
}

static bool open_link(void)
{
	static const char *const features[] = {
		"event-index", "status", "datagram", "datagram-info",
		"ring-reuse", "urgent", "waiting", "ring-resize",
	};
	struct prng *x = &fuzz.prng;
	struct link *l = &fuzz.link;
	char path[64];
	int i, j, way;

	raw_mode = prng_one_in(x, 2) ? SHARED_CHANNEL : PLAIN;
	if (!link_begin(l))
		return report_failure("no link");
	for (i = 0; i < ARRAY_LEN(features); i++) {
		snprintf(path, sizeof(path), "%s/%s", l->front, features[i]);
		xs_write(path, "%d", !prng_one_in(x, 3));
	}
	if (!link_finish(l))
		return report_failure("no link");
	for (i = 0; i < IDS; i++) {
		unsigned int order = 1 + prng_below(x, 3);
		struct raw_conn *c = &fuzz.rings[i];

		if (!raw_ring(l, c, order))
			return report_failure("no ring");
		for (way = 0; way < 2; way++) {
			struct pages *more = &fuzz.more[i][way];

			if (!pages_grant(more, l->backend_id, 1U << order, true))
				return report_failure("no pages");
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
	struct prng *x = &fuzz.prng;
	struct link *l = &fuzz.link;
	unsigned int i;

	memset(&fuzz, 0, sizeof(fuzz));
	memset(unanswered, 0, sizeof(unanswered));
	sent = 0;
	answered = 0;
	x->state = seed;
	can_check = prng_one_in(x, 2);
	if (!open_link())
		return false;
	for (i = 0; i < count; i++) {
		struct request r;

		if (i % REQUESTS_PER_ROUND == 0)
			memset(fuzz.stages, 0, sizeof(fuzz.stages));
		r = random_request(&fuzz);
		if (!read_responses())
			return false;
		/* The time of this depends on timing, the requests do not. */
		if (i % REQUESTS_PER_ROUND == 0 ||
		    !wait_responses(SLOTS - RESERVED_SLOTS - 1, 200)) {
			if (!release_all())
				return false;
			start_corruptor();
		}
		publish(&r, !prng_one_in(x, 4));
		if (prng_one_in(x, 2))
			change_ring();
	}
	if (!release_all())
		return false;
	if (xs_state(l->backend) != CONNECTED)
		return report_failure("the link has ended");
	if (prng_one_in(x, 3)) {
		static const __u32 far[] = { SLOTS + 1, 1U << 31, -1U };

		store(&l->words[REQ_PROD], l->req_prod + far[prng_below(x, 3)]);
		evtchn_notify(l->evtchn, l->port);
		if (!xs_wait_state(l->backend, CLOSING))
			return report_failure("the link has not ended");
	}
	close_link();
	return true;
}

/* Requests of which every one is refused test little. */
static bool gets_far(void)
{
	static const __u8 common[] = { SOCKET, BIND, LISTEN, CONNECT, RELEASE };
	unsigned int i, n = 0;

	for (i = 0; i < COMMANDS; i++) {
		printf("command %u: %u done, %u refused\n", i, good[i], bad[i]);
		n += good[i] + bad[i];
	}
	for (i = 0; i < ARRAY_LEN(common); i++) {
		if (n < ENOUGH_REQUESTS || good[common[i]])
			continue;
		printf("command %u was never done\n", common[i]);
		return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	unsigned int done, n;

	opt.cycles = 20000;
	if (parse_options(argc, argv) > 1) {
		fprintf(stderr, "usage: fuzz [options]\n");
		return 4;
	}
	setlinebuf(stdout);
	for (done = 0; done < opt.cycles; done += n, opt.seed++) {
		n = opt.cycles - done < REQUESTS_PER_LINK ? opt.cycles - done : REQUESTS_PER_LINK;
		printf("after %u requests: --seed %llu\n", done, opt.seed);
		if (!run_link(opt.seed, n))
			return 1;
	}
	raw_mode = PLAIN;
	if (!new_link_works()) {
		printf("no good link is possible any more\n");
		return 1;
	}
	return gets_far() ? 0 : 1;
}
