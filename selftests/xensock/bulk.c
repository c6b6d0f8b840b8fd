// SPDX-License-Identifier: GPL-2.0
/*
 * Both directions of one socket at once, --bytes each, in pieces of random
 * size from 1 byte to 1 MiB, every byte checked at both ends.
 */
#include <errno.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

#define LARGEST 1048576

/* Sizes are spread evenly over the orders of magnitude, small ones included. */
static size_t random_size(__u64 *state)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return 1 + (*state >> 33) % (1UL << ((*state >> 27) % 21));
}

/* Only tests with a fixture can have a time limit. */
FIXTURE(bulk) {
	int fd;
};

FIXTURE_SETUP(bulk)
{
	self->fd = -1;
}

FIXTURE_TEARDOWN(bulk)
{
	if (self->fd >= 0)
		close(self->fd);
}

struct direction {
	pthread_t thread;
	int fd;
	__u64 done;
	int error;
};

static void *send_pieces(void *arg)
{
	static char data[LARGEST];
	struct direction *d = arg;
	__u64 random = opt.seed;
	size_t size;

	while (d->done < opt.bytes && !d->error) {
		size = random_size(&random);
		if (size > opt.bytes - d->done)
			size = opt.bytes - d->done;
		stream_fill(opt.seed, d->done, data, size);
		if (send_all(d->fd, data, size) < 0)
			d->error = errno;
		else
			d->done += size;
	}
	return NULL;
}

static void *recv_pieces(void *arg)
{
	static char data[LARGEST];
	struct direction *d = arg;
	__u64 random = opt.seed + 1;
	size_t size;
	ssize_t n;

	while (d->done < opt.bytes && !d->error) {
		size = random_size(&random);
		if (size > opt.bytes - d->done)
			size = opt.bytes - d->done;
		n = recv(d->fd, data, size, 0);
		if (n <= 0)
			d->error = n ? errno : ENODATA;
		else if (!stream_check(opt.seed + 1, d->done, data, n))
			d->error = EBADMSG;
		else
			d->done += n;
	}
	return NULL;
}

TEST_F_TIMEOUT(bulk, both_directions_at_once, 1700)
{
	struct exchange x = {
		.up = opt.bytes,
		.down = opt.bytes,
		.seed = opt.seed,
	};
	__u64 verdict = 0, began = now_msec();
	struct direction up, down;

	self->fd = connect_port(opt.port + PEER_EXCHANGE, 0);
	ASSERT_LE(0, self->fd);
	up = (struct direction){ .fd = self->fd };
	down = up;
	ASSERT_EQ(sizeof(x), send_all(self->fd, &x, sizeof(x)));
	ASSERT_EQ(0, pthread_create(&up.thread, NULL, send_pieces, &up));
	ASSERT_EQ(0, pthread_create(&down.thread, NULL, recv_pieces, &down));
	pthread_join(up.thread, NULL);
	pthread_join(down.thread, NULL);
	EXPECT_EQ(0, up.error);
	EXPECT_EQ(0, down.error) TH_LOG("at %llu",
					down.done);
	EXPECT_EQ(sizeof(verdict),
		  recv_all(self->fd, &verdict, sizeof(verdict)));
	EXPECT_EQ(EXCHANGE_GOOD, verdict)
		TH_LOG("the peer found a wrong byte after %llu",
		       verdict);
	began = now_msec() - began + 1;
	printf("# %llu MiB each way in %llu ms\n",
	       opt.bytes >> 20, began);
}

XENSOCK_TEST_MAIN
