// SPDX-License-Identifier: GPL-2.0
/*
 * A guest that writes nonsense to xenstore, jumps between the states, and
 * disappears. After each case a link that keeps to the rules works.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "raw.h"
#include "util.h"

/*
 * Time for the backend to look. Whether it has looked cannot be known, but what it has taken late
 * is seen the next time.
 */
#define WAIT_USEC 20000

FIXTURE(nodes) {
	struct link link;
};

FIXTURE_SETUP(nodes)
{
	ASSERT_TRUE(new_link_works());
	ASSERT_TRUE(link_begin(&self->link));
}

FIXTURE_TEARDOWN(nodes)
{
	link_drop(&self->link);
	EXPECT_TRUE(new_link_works());
}

static const char *const bad_values[] = {
	"-1", "abc", "4294967296", "99999999999999999999", "", " 5", "5 ",
	"0x10", "1e3", "\xff\xfe", "4294967295", "2147483648",
};

/* Tests the node twice, since the backend keeps waiting for a valid one. */
static bool is_rejected(struct link *l)
{
	int i;

	for (i = 0; i < 2; i++) {
		xs_write(DEVICE "/state", "%d", INITIALISED);
		sleep_usec(WAIT_USEC);
		if (xs_state(l->backend) == CONNECTED)
			return false;
	}
	return true;
}

static void check_node(struct __test_metadata *_metadata, struct link *l,
		       const char *node)
{
	static char huge[1900];
	char value[32], child[64];
	int i;

	ASSERT_TRUE(xs_read(node, value, sizeof(value)));
	for (i = 0; i < ARRAY_LEN(bad_values); i++) {
		xs_write(node, "%s", bad_values[i]);
		EXPECT_TRUE(is_rejected(l))
			TH_LOG("'%s' was taken", bad_values[i]);
	}
	memset(huge, '9', sizeof(huge) - 1);
	EXPECT_TRUE(xs_write(node, "%s", huge));
	EXPECT_TRUE(is_rejected(l));
	memset(huge, '0', sizeof(huge) - 1);
	EXPECT_TRUE(xs_write(node, "%s", huge));
	EXPECT_TRUE(is_rejected(l));
	xs_remove(node);
	EXPECT_TRUE(is_rejected(l));
	/* The node is a directory with an empty value. */
	snprintf(child, sizeof(child), "%s/5", node);
	xs_write(child, "5");
	EXPECT_TRUE(is_rejected(l));
	/* Then the right value. */
	xs_write(node, "%s", value);
	xs_write(DEVICE "/state", "%d", INITIALISED);
	EXPECT_TRUE(xs_wait_state(l->backend, CONNECTED));
	EXPECT_TRUE(link_works(l));
}

TEST_F(nodes, ring_ref)
{
	check_node(_metadata, &self->link, DEVICE "/ring-ref");
}

TEST_F(nodes, port)
{
	check_node(_metadata, &self->link, DEVICE "/port");
}

/*
 * The backend connects. So no attempt of it is under way when the next link begins, which would
 * take the outcome for its own.
 */
static void settle(struct __test_metadata *_metadata, struct link *l)
{
	xs_write(DEVICE "/state", "%d", INITIALISED);
	EXPECT_TRUE(xs_wait_state(l->backend, CONNECTED));
}

TEST_F(nodes, event_index)
{
	static const char *const values[] = { "-1", "abc", "", "99999999999" };
	int i;

	for (i = 0; i < ARRAY_LEN(values); i++) {
		xs_write(DEVICE "/event-index", "%s", values[i]);
		EXPECT_TRUE(is_rejected(&self->link));
	}
	xs_remove(DEVICE "/event-index");
	settle(_metadata, &self->link);
}

/* The backend treats the link as a new one, or as down. */
TEST_F(nodes, another_address_while_connected)
{
	struct link *l = &self->link;
	struct pages page;
	__u32 port;

	xs_write(DEVICE "/state", "%d", INITIALISED);
	ASSERT_TRUE(xs_wait_state(l->backend, CONNECTED));
	ASSERT_TRUE(link_works(l));
	/* The backend switches to the new ring and port. */
	ASSERT_TRUE(pages_grant(&page, l->backend_id, 1, true));
	port = evtchn_alloc(l->evtchn, l->backend_id);
	memset(page.mem, 0, PAGE);
	xs_write(DEVICE "/ring-ref", "%u", page.refs[0]);
	xs_write(DEVICE "/port", "%u", port);
	xs_write(DEVICE "/state", "%d", CONNECTED);
	pages_free(&l->page);
	l->page = page;
	l->words = (__u32 *)page.mem;
	l->slots = (struct request *)(page.mem + 64);
	l->port = port;
	l->req_prod = 0;
	l->rsp_cons = 0;
	EXPECT_TRUE(link_works(l));
	/* A ring that cannot be mapped ends the link. */
	xs_write(DEVICE "/ring-ref", "12345678");
	xs_write(DEVICE "/state", "%d", CONNECTED);
	EXPECT_TRUE(xs_wait_state(l->backend, CLOSING));
}

/* As when it has just gone: that is no fault, and until it says so the link stands. */
TEST_F(nodes, no_address_while_connected)
{
	static const char *const nodes[] = {
		DEVICE "/ring-ref", DEVICE "/port",
	};
	struct link *l = &self->link;
	char value[32];
	int i;

	xs_write(DEVICE "/state", "%d", INITIALISED);
	ASSERT_TRUE(xs_wait_state(l->backend, CONNECTED));
	for (i = 0; i < ARRAY_LEN(nodes); i++) {
		ASSERT_TRUE(xs_read(nodes[i], value, sizeof(value)));
		xs_remove(nodes[i]);
		xs_write(DEVICE "/state", "%d", CONNECTED);
		sleep_usec(WAIT_USEC);
		EXPECT_EQ(CONNECTED, xs_state(l->backend));
		EXPECT_TRUE(link_works(l));
		xs_write(nodes[i], "%s", value);
		xs_write(DEVICE "/state", "%d", CONNECTED);
		sleep_usec(WAIT_USEC);
		EXPECT_EQ(CONNECTED, xs_state(l->backend));
		EXPECT_TRUE(link_works(l));
	}
}

TEST_F(nodes, impossible_states)
{
	static const char *const states[] = {
		"4", "2", "5", "6", "7", "8", "3",
	};
	int i;

	for (i = 0; i < ARRAY_LEN(states); i++) {
		link_drop(&self->link);
		ASSERT_TRUE(link_begin(&self->link))
			TH_LOG("after '%s'", states[i ? i - 1 : 0]);
		xs_write(DEVICE "/state", "%s", states[i]);
		sleep_usec(WAIT_USEC);
	}
	settle(_metadata, &self->link);
}

/* As above, starting from a link that is up. */
TEST_F(nodes, impossible_states_while_connected)
{
	static const char *const states[] = { "4", "2", "3", "7", "8", "1" };
	int i;

	for (i = 0; i < ARRAY_LEN(states); i++) {
		link_drop(&self->link);
		ASSERT_TRUE(link_up(&self->link));
		xs_write(DEVICE "/state", "%s", states[i]);
		sleep_usec(WAIT_USEC);
	}
}

TEST_F(nodes, flapping)
{
	int i;

	for (i = 0; i < 100; i++) {
		xs_write(DEVICE "/state", "%d", INITIALISING);
		xs_write(DEVICE "/state", "%d", CLOSING);
	}
	for (i = 0; i < 100; i++) {
		xs_write(DEVICE "/state", "%d", INITIALISED);
		xs_write(DEVICE "/state", "%d", CLOSED);
		xs_write(DEVICE "/state", "%d", INITIALISING);
	}
	for (i = 0; i < 20; i++) {
		xs_write(DEVICE "/state", "%d", INITIALISING);
		xs_wait_state(self->link.backend, INIT_WAIT);
		xs_write(DEVICE "/state", "%d", INITIALISED);
	}
	settle(_metadata, &self->link);
}

/* Failures as fast as possible: dom0's log must not show each of them. */
TEST_F(nodes, flapping_with_nothing_to_map)
{
	char value[32];
	int i;

	ASSERT_TRUE(xs_read(DEVICE "/ring-ref", value, sizeof(value)));
	xs_write(DEVICE "/ring-ref", "12345678");
	for (i = 0; i < 150; i++) {
		xs_write(DEVICE "/state", "%d", INITIALISED);
		sleep_usec(2000);
	}
	xs_write(DEVICE "/ring-ref", "%s", value);
	settle(_metadata, &self->link);
}

/* Every link breaks the rules of its ring. */
TEST_F(nodes, flapping_with_broken_rings)
{
	int i;

	for (i = 0; i < rounds(25); i++) {
		link_drop(&self->link);
		ASSERT_TRUE(link_up(&self->link));
		store(&self->link.words[REQ_PROD], 1000);
		evtchn_notify(self->link.evtchn, self->link.port);
		ASSERT_TRUE(xs_wait_state(self->link.backend, CLOSING));
	}
}

/* Rings that are broken before the backend connects: Closing is its last word. */
TEST_F(nodes, rings_broken_in_advance)
{
	int i;

	for (i = 0; i < rounds(20); i++) {
		link_drop(&self->link);
		ASSERT_TRUE(link_begin(&self->link));
		store(&self->link.words[REQ_PROD], 1000);
		xs_write(DEVICE "/state", "%d", INITIALISED);
		ASSERT_TRUE(xs_wait_state(self->link.backend, CLOSING));
		sleep_usec(WAIT_USEC);
		EXPECT_EQ(CLOSING, xs_state(self->link.backend));
	}
}

/* Pages and ports are revoked while the backend uses them. */
TEST_F(nodes, memory_taken_back)
{
	struct link *l = &self->link;
	struct raw_conn c, other;
	char data[8192];
	int i;

	xs_write(DEVICE "/state", "%d", INITIALISED);
	ASSERT_TRUE(xs_wait_state(l->backend, CONNECTED));
	for (i = 0; i < 10; i++) {
		ASSERT_TRUE(raw_open(l, &c, 4, opt.port + PEER_ECHO));
		EXPECT_EQ(sizeof(data), raw_send(l, &c, data, sizeof(data)));
		raw_free(l, &c);
		/* The grant references are used again at once. */
		ASSERT_TRUE(raw_ring(l, &other, 4));
		EXPECT_EQ(0, req_release(l, c.id, i % 2));
		raw_free(l, &other);
	}
	/* The commands ring too: nobody answers, and nothing breaks. */
	ASSERT_TRUE(raw_open(l, &c, 4, opt.port + PEER_ECHO));
	raw_free(l, &c);
}

/* A program that is killed in the middle of its work. */
TEST_F(nodes, killed)
{
	struct raw_conn c[8];
	struct link l;
	pid_t pid;
	int i, j;

	for (i = 0; i < rounds(10); i++) {
		pid = fork();
		if (!pid) {
			if (!link_up(&l))
				_exit(1);
			for (j = 0; j < 8; j++)
				if (!raw_open(&l, &c[j], 4,
					      opt.port + PEER_ECHO))
					_exit(1);
			raw_send(&l, &c[0], &l, sizeof(l));
			kill(getpid(), SIGKILL);
		}
		ASSERT_EQ(pid, waitpid(pid, &j, 0));
		EXPECT_TRUE(WIFSIGNALED(j));
		EXPECT_TRUE(new_link_works());
	}
	link_drop(&self->link);
	ASSERT_TRUE(link_begin(&self->link));
}

/*
 * States that mean that the guest is gone. The backend's directory goes too,
 * and the scenario attaches the device again.
 */
TEST(state_removed)
{
	static const char *const states[] = {
		"0", "9", "77", "abc", "", "-1", "4294967297", "1 2", "04",
	};
	struct link l;
	struct raw_conn c;

	ASSERT_TRUE(link_up(&l));
	ASSERT_TRUE(raw_open(&l, &c, 4, opt.port + PEER_ECHO));
	if (opt.seed < ARRAY_LEN(states))
		xs_write(DEVICE "/state", "%s", states[opt.seed]);
	else
		xs_remove(DEVICE "/state");
	EXPECT_TRUE(xs_wait_state(l.backend, UNKNOWN));
	raw_notify(&l, &c);
	raw_free(&l, &c);
	link_drop(&l);
}

/* Only tests with a fixture can have a time limit. */
FIXTURE(stubborn) {
	struct link link;
	struct raw_conn c;
};

FIXTURE_SETUP(stubborn)
{
	struct link *l = &self->link;

	ASSERT_TRUE(link_up(l));
	ASSERT_TRUE(raw_open(l, &self->c, 4, opt.port + PEER_ECHO));
}

FIXTURE_TEARDOWN(stubborn)
{
	raw_notify(&self->link, &self->c);
	raw_free(&self->link, &self->c);
	link_drop(&self->link);
}

/* The guest is told to close and goes on as if nothing had happened. */
TEST_F_TIMEOUT(stubborn, never_closes, 180)
{
	ksft_print_msg("ready\n");
	while (xs_state(self->link.backend) != UNKNOWN)
		sleep_usec(100000);
}

XENSOCK_TEST_MAIN
