// SPDX-License-Identifier: GPL-2.0
/* Random numbers, and what both fuzzers write into memory by them. See fuzz.h. */
#include <arpa/inet.h>
#include <string.h>

#include "fuzz.h"
#include "util.h"

/* splitmix64: neighbouring seeds give unrelated streams */
__u64 prng_next(struct prng *x)
{
	__u64 z = x->state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

__u32 prng_below(struct prng *x, __u32 limit)
{
	return prng_next(x) % limit;
}

bool prng_one_in(struct prng *x, __u32 count)
{
	return !prng_below(x, count);
}

__u32 wrong_word(struct prng *x, __u32 word)
{
	switch (prng_below(x, 8)) {
	case 0:
		return 0;
	case 1:
		return 0xffffffff;
	case 2:
		return 1U << prng_below(x, 32);
	case 3:
		return word + 1;
	case 4:
		return word - 1;
	case 5:
		return prng_below(x, 64);
	case 6:
		return prng_next(x);
	default:
		return word ^ 1U << prng_below(x, 32);
	}
}

__u32 random_address(struct prng *x, __u8 addr[28])
{
	const char *const hosts[] = {
		opt.host, opt.host, opt.host, opt.host, opt.host,
		opt.blackhole, opt.unreachable, "127.0.0.1", ANY_HOST,
	};
	const unsigned int ports[] = {
		opt.port + PEER_ECHO, opt.port + PEER_ECHO, opt.port + PEER_RESET,
		0, 1, 20000 + prng_below(x, 4), 20000 + prng_below(x, 4),
	};
	unsigned int port = ports[prng_below(x, ARRAY_LEN(ports))];
	struct sockaddr_in6 sin6 = {
		.sin6_family = AF_INET6,
		.sin6_port = htons(port),
	};
	struct sockaddr_in sin;

	memset(addr, 0, 28);
	if (prng_one_in(x, 6)) {
		inet_pton(AF_INET6, prng_one_in(x, 4) ? "::1" : opt.host6,
			  &sin6.sin6_addr);
		memcpy(addr, &sin6, sizeof(sin6));
		return sizeof(sin6);
	}
	sin = address(hosts[prng_below(x, ARRAY_LEN(hosts))], port);
	memcpy(addr, &sin, sizeof(sin));
	return sizeof(sin);
}

struct frame random_frame(struct prng *x, __u32 size, struct info *info)
{
	struct frame f = { .len = prng_below(x, 600), .type = prng_one_in(x, 3) ? 2 : 0 };
	__u32 *words = (__u32 *)&f;

	memset(info, 0, sizeof(*info));
	info->flags = prng_below(x, 16);
	info->tos = prng_next(x);
	info->ttl = prng_next(x);
	info->segment = prng_one_in(x, 2) ? 0 : prng_below(x, 700);
	if (prng_one_in(x, 3))
		info->local_len = random_address(x, info->local);
	if (prng_one_in(x, 2))
		f.addr_len = random_address(x, f.addr);
	if (prng_one_in(x, 20))
		f.len = prng_below(x, size);
	if (prng_one_in(x, 8))
		words = (__u32 *)info;
	if (prng_one_in(x, 8)) {
		__u32 *word = &words[prng_below(x, sizeof(f) / sizeof(*words))];

		*word = wrong_word(x, *word);
	}
	return f;
}

static void *corruptor_thread(void *arg)
{
	struct corruptor *s = arg;
	unsigned int i;

	while (!s->stop) {
		for (i = prng_below(&s->prng, 200); i; i--)
			s->write(s);
		/* Gives the other end time to do something in between. */
		sleep_usec(prng_below(&s->prng, 500));
	}
	return NULL;
}

void corruptor_start(struct corruptor *s, void (*write)(struct corruptor *s),
		     void *what, __u64 seed)
{
	memset(s, 0, sizeof(*s));
	s->prng.state = seed;
	s->write = write;
	s->what = what;
	pthread_create(&s->thread, NULL, corruptor_thread, s);
}

void corruptor_stop(struct corruptor *s)
{
	if (!s->write)
		return;
	s->stop = true;
	pthread_join(s->thread, NULL);
	s->write = NULL;
}
