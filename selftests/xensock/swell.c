// SPDX-License-Identifier: GPL-2.0
/*
 * A connection that is idle and busy in turns. Every byte is checked, and over AF_XENSOCK its data
 * ring has to grow and shrink. Transfers --bytes each way, --cycles times; --seed 0 if there may be
 * too little memory to grow.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "kselftest_harness.h"
#include "util.h"

#define PIECE 100000
/* Ring size of an idle connection, in each direction. */
#define SMALL_RING 8192
#define TIMEOUT_MSEC 60000

struct direction {
	pthread_t thread;
	int fd;
	__u64 from;
	__u64 done;
	int error;
};

FIXTURE(swell) {
	int fd;
};

FIXTURE_SETUP(swell)
{
	self->fd = connect_port(opt.port + PEER_ECHO, 0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(swell)
{
	close(self->fd);
}

/* Reads the ring sizes of a socket. Returns false if /proc has no such list. */
static bool ring_sizes(int fd, unsigned long *in, unsigned long *out)
{
	unsigned long inode;
	char line[512];
	struct stat st;
	bool found = false;
	FILE *file = fopen("/proc/net/xensock", "r");

	if (!file)
		return false;
	fstat(fd, &st);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%*s %*s %*s %*s %*s %*s %*s %lu %lu %lu",
			   in, out, &inode) == 3 && inode == st.st_ino)
			found = true;
	fclose(file);
	return found;
}

static void *send_thread(void *arg)
{
	static char data[PIECE];
	struct direction *d = arg;
	size_t size;

	while (d->done < opt.bytes && !d->error) {
		size = opt.bytes - d->done < PIECE ? opt.bytes - d->done : PIECE;
		stream_fill(1, d->from + d->done, data, size);
		if (send_all(d->fd, data, size) < 0)
			d->error = errno;
		else
			d->done += size;
	}
	/* Ends the other thread, which would wait in vain. */
	if (d->error)
		shutdown(d->fd, SHUT_RDWR);
	return NULL;
}

static void *recv_thread(void *arg)
{
	static char data[PIECE];
	struct direction *d = arg;
	ssize_t n;

	while (d->done < opt.bytes && !d->error) {
		n = recv(d->fd, data, opt.bytes - d->done < PIECE ?
			 opt.bytes - d->done : PIECE, 0);
		if (n <= 0)
			d->error = n ? errno : ENODATA;
		else if (!stream_check(1, d->from + d->done, data, n))
			d->error = EBADMSG;
		else
			d->done += n;
	}
	if (d->error)
		shutdown(d->fd, SHUT_RDWR);
	return NULL;
}

TEST_F_TIMEOUT(swell, by_turns, 900)
{
	unsigned long in, out, most_in, most_out;
	struct direction up, down;
	__u64 from = 0, deadline;
	int i;

	for (i = 0; i < opt.cycles; i++, from += opt.bytes) {
		up = (struct direction){ .fd = self->fd, .from = from };
		down = up;
		ASSERT_EQ(0, pthread_create(&up.thread, NULL, send_thread, &up));
		ASSERT_EQ(0, pthread_create(&down.thread, NULL, recv_thread, &down));
		most_in = 0;
		most_out = 0;
		while (ring_sizes(self->fd, &in, &out) && down.done < opt.bytes &&
		       !up.error && !down.error) {
			most_in = in > most_in ? in : most_in;
			most_out = out > most_out ? out : most_out;
			usleep(1000);
		}
		pthread_join(up.thread, NULL);
		pthread_join(down.thread, NULL);
		ASSERT_EQ(0, up.error);
		ASSERT_EQ(0, down.error) TH_LOG("at %llu", from + down.done);
		/* A socket of TCP has no rings. */
		if (opt.family == AF_INET)
			continue;
		ASSERT_TRUE(ring_sizes(self->fd, &in, &out));
		printf("# grown to %lu and %lu bytes\n", most_in, most_out);
		if (opt.seed) {
			EXPECT_LT(SMALL_RING, most_in);
			EXPECT_LT(SMALL_RING, most_out);
		}
		deadline = now_msec() + TIMEOUT_MSEC;
		while (ring_sizes(self->fd, &in, &out) &&
		       (in > SMALL_RING || out > SMALL_RING) &&
		       now_msec() < deadline)
			usleep(100000);
		EXPECT_GE(SMALL_RING, in);
		EXPECT_GE(SMALL_RING, out);
	}
}

/*
 * The program asks for a signal while much data comes, and reads nothing more until it has got the
 * signal.
 */
TEST_F_TIMEOUT(swell, signals_afterwards, 300)
{
	struct direction up = { .fd = self->fd }, down = up;
	struct timespec limit = { .tv_sec = TIMEOUT_MSEC / 1000 };
	sigset_t io;
	char c = 0;

	if (opt.cycles < 2)
		SKIP(return, "once is enough");
	sigemptyset(&io);
	sigaddset(&io, SIGIO);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &io, NULL));
	ASSERT_EQ(0, pthread_create(&up.thread, NULL, send_thread, &up));
	ASSERT_EQ(0, pthread_create(&down.thread, NULL, recv_thread, &down));
	pthread_join(up.thread, NULL);
	pthread_join(down.thread, NULL);
	ASSERT_EQ(0, up.error);
	ASSERT_EQ(0, down.error);
	ASSERT_EQ(0, fcntl(self->fd, F_SETOWN, getpid()));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_ASYNC));
	ASSERT_EQ(1, send(self->fd, &c, 1, 0));
	EXPECT_EQ(SIGIO, sigtimedwait(&io, NULL, &limit));
	EXPECT_EQ(1, recv(self->fd, &c, 1, 0));
}

XENSOCK_TEST_MAIN
