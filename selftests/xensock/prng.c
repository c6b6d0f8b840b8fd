// SPDX-License-Identifier: GPL-2.0
/* Random numbers, and what both fuzzers write into memory by them. See fuzz.h. */
#include <arpa/inet.h>
#include <string.h>

#include "fuzz.h"
#include "util.h"

/* splitmix64: neighbouring seeds give unrelated streams */
__u64 chance_next(struct chance *x)
{
	__u64 z = x->state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

__u32 below(struct chance *x, __u32 limit)
{
	return chance_next(x) % limit;
}

bool one_in(struct chance *x, __u32 count)
{
	return !below(x, count);
}

__u32 odd_word(struct chance *x, __u32 word)
{
	switch (below(x, 8)) {
	case 0:
		return 0;
	case 1:
		return 0xffffffff;
	case 2:
		return 1U << below(x, 32);
	case 3:
		return word + 1;
	case 4:
		return word - 1;
	case 5:
		return below(x, 64);
	case 6:
		return chance_next(x);
	default:
		return word ^ 1U << below(x, 32);
	}
}

__u32 some_address(struct chance *x, __u8 addr[28])
{
	const char *const hosts[] = {
		opt.host, opt.host, opt.host, opt.host, opt.host,
		opt.blackhole, opt.unreachable, "127.0.0.1", ANY_HOST,
	};
	const unsigned int ports[] = {
		opt.port + PEER_ECHO, opt.port + PEER_ECHO, opt.port + PEER_RESET,
		0, 1, 20000 + below(x, 4), 20000 + below(x, 4),
	};
	unsigned int port = ports[below(x, ARRAY_LEN(ports))];
	struct sockaddr_in6 sin6 = {
		.sin6_family = AF_INET6,
		.sin6_port = htons(port),
	};
	struct sockaddr_in sin;

	memset(addr, 0, 28);
	if (one_in(x, 6)) {
		inet_pton(AF_INET6, one_in(x, 4) ? "::1" : opt.host6,
			  &sin6.sin6_addr);
		memcpy(addr, &sin6, sizeof(sin6));
		return sizeof(sin6);
	}
	sin = address(hosts[below(x, ARRAY_LEN(hosts))], port);
	memcpy(addr, &sin, sizeof(sin));
	return sizeof(sin);
}

struct frame some_frame(struct chance *x, __u32 size, struct info *info)
{
	struct frame f = { .len = below(x, 600), .type = one_in(x, 3) ? 2 : 0 };
	__u32 *words = (__u32 *)&f;

	memset(info, 0, sizeof(*info));
	info->flags = below(x, 16);
	info->tos = chance_next(x);
	info->ttl = chance_next(x);
	info->segment = one_in(x, 2) ? 0 : below(x, 700);
	if (one_in(x, 3))
		info->local_len = some_address(x, info->local);
	if (one_in(x, 2))
		f.addr_len = some_address(x, f.addr);
	if (one_in(x, 20))
		f.len = below(x, size);
	if (one_in(x, 8))
		words = (__u32 *)info;
	if (one_in(x, 8)) {
		__u32 *word = &words[below(x, sizeof(f) / sizeof(*words))];

		*word = odd_word(x, *word);
	}
	return f;
}

static void *scribble(void *arg)
{
	struct scribbler *s = arg;
	unsigned int i;

	while (!s->stop) {
		for (i = below(&s->chance, 200); i; i--)
			s->write(s);
		/* Gives the other end time to do something in between. */
		nap(below(&s->chance, 500));
	}
	return NULL;
}

void scribbler_start(struct scribbler *s, void (*write)(struct scribbler *s),
		     void *what, __u64 seed)
{
	memset(s, 0, sizeof(*s));
	s->chance.state = seed;
	s->write = write;
	s->what = what;
	pthread_create(&s->thread, NULL, scribble, s);
}

void scribbler_stop(struct scribbler *s)
{
	if (!s->write)
		return;
	s->stop = true;
	pthread_join(s->thread, NULL);
	s->write = NULL;
}
