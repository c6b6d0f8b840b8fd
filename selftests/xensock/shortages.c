// SPDX-License-Identifier: GPL-2.0
/*
 * Goes on although memory is short at either end: a call that says so is made again. Whatever has
 * begun goes well. How short it is, the scenario says.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "util.h"

/* Enough for the data rings to grow on the way. */
#define BULK 200000
#define MAX_TRIES 10000

static bool is_shortage(void)
{
	return errno == ENOMEM || errno == ENOBUFS || errno == ENFILE || errno == EMFILE;
}

/* Makes a call until there is memory for it. */
#define PERSIST(call) ({								\
	long persist_result, persist_tries = 0;						\
											\
	do {										\
		persist_result = (call);						\
	} while (persist_result < 0 && is_shortage() && persist_tries++ < MAX_TRIES);	\
	persist_result;									\
})

static bool sends(int fd, const char *data, size_t len)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = PERSIST(send(fd, data + done, len - done, MSG_NOSIGNAL));
		if (n < 0)
			return false;
		done += n;
	}
	return true;
}

static bool receives(int fd, __u64 seed, size_t len)
{
	static char data[BULK];
	size_t done = 0;
	ssize_t n;

	/* A page that is not there yet would be an allocation too. */
	memset(data, 1, BULK);
	while (done < len) {
		n = PERSIST(recv(fd, data + done, len - done, 0));
		if (n <= 0)
			return false;
		done += n;
	}
	return stream_check(seed, 0, data, len);
}

FIXTURE(shortages) {
	struct peer peer;
};

FIXTURE_SETUP(shortages)
{
	ASSERT_EQ(0, PERSIST(peer_open(&self->peer, 0) ? 0 : -1));
}

FIXTURE_TEARDOWN(shortages)
{
	peer_close(&self->peer);
}

/* Exchanges bytes on a connection to the peer's port for that. */
static void exchange(struct __test_metadata *_metadata, int fd, __u64 seed)
{
	struct exchange wanted = { .up = BULK, .down = BULK, .seed = seed };
	static char data[BULK];
	__u64 verdict = 0;

	stream_fill(seed, 0, data, BULK);
	EXPECT_TRUE(sends(fd, (char *)&wanted, sizeof(wanted)));
	EXPECT_TRUE(sends(fd, data, BULK)) TH_LOG("connection %llu: %m", seed);
	EXPECT_TRUE(receives(fd, seed + 1, BULK)) TH_LOG("connection %llu: %m", seed);
	EXPECT_EQ(sizeof(verdict), PERSIST(recv(fd, &verdict, sizeof(verdict), MSG_WAITALL)));
	EXPECT_EQ(EXCHANGE_GOOD, verdict);
}

TEST_F(shortages, clients)
{
	for (unsigned int n = 0; n < opt.cycles; n++) {
		int fd = PERSIST(new_socket(0));

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, PERSIST(connect_to(fd, opt.host, opt.port + PEER_EXCHANGE)))
			TH_LOG("connection %u: %m", n);
		exchange(_metadata, fd, n);
		close(fd);
	}
}

/* TCP says that the address is in use if it has no memory for the port. */
static int binds(int fd)
{
	int result, tries = 0;

	do
		result = PERSIST(bind_anywhere(fd));
	while (result < 0 && errno == EADDRINUSE && tries++ < MAX_TRIES);
	return result;
}

TEST_F(shortages, server)
{
	int listener = PERSIST(new_socket(0));

	ASSERT_LE(0, listener);
	ASSERT_EQ(0, binds(listener)) TH_LOG("%m");
	ASSERT_EQ(0, PERSIST(listen(listener, 5)));
	for (unsigned int n = 0; n < opt.cycles; n++) {
		int fd;

		ASSERT_EQ(0, strncmp("ok", peer_run(&self->peer, "connect %u",
						    local_port(listener)), 2));
		fd = PERSIST(accept(listener, NULL, NULL));
		ASSERT_LE(0, fd) TH_LOG("connection %u: %m", n);
		ASSERT_TRUE(peer_send(&self->peer, "exchange"));
		exchange(_metadata, fd, n);
		close(fd);
		/* It has received everything, and the end. */
		EXPECT_STREQ("ok", peer_answer(&self->peer));
	}
	close(listener);
}

XENSOCK_TEST_MAIN
