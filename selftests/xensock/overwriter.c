// SPDX-License-Identifier: GPL-2.0
/* A thread that writes over shared memory as fast as possible. See raw.h. */
#include <string.h>

#include "raw.h"
#include "util.h"

static void *overwrite(void *arg)
{
	struct overwriter *o = arg;
	__u64 random = opt.seed;

	while (!o->stop) {
		random = random * 6364136223846793005ULL + 1;
		store(&o->words[(random >> 40) % o->count],
		      random >> (random >> 59));
	}
	return NULL;
}

void overwriter_start(struct overwriter *o, void *words, unsigned int count)
{
	memset(o, 0, sizeof(*o));
	o->words = words;
	o->count = count;
	pthread_create(&o->thread, NULL, overwrite, o);
}

void overwriter_stop(struct overwriter *o)
{
	o->stop = true;
	pthread_join(o->thread, NULL);
}
