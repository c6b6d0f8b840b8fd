// SPDX-License-Identifier: GPL-2.0
/*
 * A guest that sends a server's requests where they are forbidden, too often, or in every order:
 * each command in each state of a socket, listeners that are released while connections come in,
 * random options and offsets. Needs a guest without the xensock module, and a device whose policy
 * allows to bind.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"
#include "raw.h"
#include "util.h"

/* States of a socket. */
enum stage {
	NONE, FRESH, BOUND, LISTENING, POSTED, CONNECTING, ESTABLISHED,
	ACCEPTED, WAS_RESET, FAILED, STAGES,
};

static const char *const stage_names[STAGES] = {
	"none", "fresh", "bound", "listening", "posted", "connecting",
	"connected", "accepted", "reset", "failed",
};

/* Commands, and the result of each. PARKS: the answer comes later. */
enum { PENDING = 1 };

#define E_ALL(e) { e, e, e, e, e, e, e, e, e, e }

static const struct {
	const char *name;
	struct request r;
	int ret[STAGES];
} requests[] = {
	{
		"SOCKET", { .cmd = SOCKET, .socket = { .domain = 2, .type = 1 } },
		{ [NONE] = 0, -EEXIST, -EEXIST, -EEXIST, -EEXIST, -EEXIST,
		  -EEXIST, -EEXIST, -EEXIST, -EEXIST },
	}, {
		"CONNECT", { .cmd = CONNECT },
		{ -EBADF, 0, 0, -EINVAL, -EISCONN, -EISCONN, -EISCONN, -EISCONN,
		  -EISCONN, -EISCONN },
	}, {
		"CONNECT to nobody", { .cmd = CONNECT, .connect.len = 16 },
		{ -EBADF, -EAFNOSUPPORT, -EAFNOSUPPORT, -EAFNOSUPPORT,
		  -EAFNOSUPPORT, -EAFNOSUPPORT, -EAFNOSUPPORT, -EAFNOSUPPORT,
		  -EAFNOSUPPORT, -EAFNOSUPPORT },
	}, {
		"SHUTDOWN", { .cmd = SHUTDOWN, .how = SHUT_WR },
		{ -EBADF, -ENOTCONN, -ENOTCONN, -ENOTCONN, -ENOTCONN, -ENOTCONN,
		  0, 0, -ENOTCONN, -ENOTCONN },
	}, {
		"SHUTDOWN of receiving", { .cmd = SHUTDOWN, .how = SHUT_RD },
		{ -EBADF, -ENOTCONN, -ENOTCONN, -ENOTCONN, -ENOTCONN, -ENOTCONN,
		  0, 0, -ENOTCONN, -ENOTCONN },
	}, {
		"SHUTDOWN of nothing", { .cmd = SHUTDOWN, .how = 3 },
		E_ALL(-EINVAL),
	}, {
		"BIND", { .cmd = BIND },
		{ -EBADF, 0, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL,
		  -EINVAL, -EINVAL, -EINVAL },
	}, {
		"LISTEN", { .cmd = LISTEN, .backlog = 0xffffffff },
		{ -EBADF, 0, 0, 0, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL,
		  -EINVAL },
	}, {
		"ACCEPT", { .cmd = ACCEPT },
		{ -EBADF, -EINVAL, -EINVAL, PENDING, -EINVAL, -EINVAL, -EINVAL,
		  -EINVAL, -EINVAL, -EINVAL },
	}, {
		"POLL", { .cmd = POLL },
		{ -EBADF, -EINVAL, -EINVAL, PENDING, -EINVAL, -EINVAL, -EINVAL,
		  -EINVAL, -EINVAL, -EINVAL },
	}, {
		"SETSOCKOPT", { .cmd = SETSOCKOPT, .option = {
			.level = 6, .name = 1, .len = 4, .value = { 1 } } },
		{ -EBADF, 0, 0, 0, -ENOTCONN, 0, 0, 0, 0, -ENOTCONN },
	}, {
		"GETSOCKOPT", { .cmd = GETSOCKOPT, .option = {
			.level = 6, .name = 11 } },
		{ -EBADF, 0, 0, 0, -ENOTCONN, 0, 0, 0, 0, -ENOTCONN },
	}, {
		"GETNAME", { .cmd = GETNAME },
		{ -EBADF, 0, 0, 0, -ENOTCONN, 0, 0, 0, 0, -ENOTCONN },
	}, {
		"GETNAME of the peer", { .cmd = GETNAME, .peer = 1 },
		{ -EBADF, -ENOTCONN, -ENOTCONN, -ENOTCONN, -ENOTCONN, -ENOTCONN,
		  0, 0, -ENOTCONN, -ENOTCONN },
	}, {
		"GETNAME of whom", { .cmd = GETNAME, .peer = 2 },
		E_ALL(-EINVAL),
	}, {
		"ATTACH", { .cmd = ATTACH },
		E_ALL(-EOPNOTSUPP),
	}, {
		"WITHDRAW", { .cmd = WITHDRAW },
		{ -EBADF, -EINVAL, -EINVAL, -EINVAL, 0, -EINVAL, -EINVAL, 0, 0,
		  -EINVAL },
	},
};

FIXTURE(server) {
	struct link link;
	struct raw_listener listener;
	struct raw_conn c;
	struct raw_conn other;	/* a second socket that the request names */
	struct raw_conn spare;	/* a ring for requests that need one */
};

FIXTURE_VARIANT(server) {
	enum mode mode;
};

FIXTURE_VARIANT_ADD(server, plain) {
	.mode = PLAIN,
};

FIXTURE_VARIANT_ADD(server, status) {
	.mode = BY_STATUS,
};

FIXTURE_SETUP(server)
{
	struct link *l = &self->link;

	raw_mode = variant->mode;
	ASSERT_TRUE(link_up(l));
	ASSERT_TRUE(link_works(l));
	ASSERT_TRUE(raw_listen(l, &self->listener, 100));
}

FIXTURE_TEARDOWN(server)
{
	struct link *l = &self->link;

	EXPECT_EQ(0, req_release(l, self->listener.id, false));
	EXPECT_TRUE(link_works(l));
	link_down(l);
}

/* Makes a socket in that state, with a ring, under c->id. */
static bool make_socket(struct link *l, struct raw_listener *s, struct raw_conn *c,
			struct raw_conn *other, enum stage stage)
{
	struct raw_listener own = { .id = c->id };
	struct request r;

	switch (stage) {
	case NONE:
		return true;
	case FRESH:
		return !req_socket(l, c->id);
	case BOUND:
		return !req_socket(l, c->id) &&
		       !req_bind(l, c->id, opt.host, 0, NULL);
	case LISTENING:
		return !req_socket(l, own.id) && !req_listen(l, own.id, 5);
	case POSTED:
		return !raw_post(l, s, c);
	case CONNECTING:
		r = raw_request(c, opt.blackhole, 80);
		if (req_socket(l, c->id))
			return false;
		c->req_id = send_request(l, &r);
		return true;
	case ESTABLISHED:
		return !raw_connect(l, c, opt.host, opt.port + PEER_ECHO);
	case ACCEPTED:
		return !raw_post(l, s, c) && raw_open(l, other, 1, s->port) &&
		       !raw_outcome(l, c, NULL);
	case WAS_RESET:
		if (raw_post(l, s, c) || !raw_open(l, other, 1, s->port) ||
		    raw_outcome(l, c, NULL) || raw_close(l, other, true))
			return false;
		other->id = 0;
		return raw_wait_error(c, OUT_ERROR);
	case FAILED:
		return raw_connect(l, c, opt.host, 1) == -ECONNREFUSED;
	default:
		return false;
	}
}

/* Returns true if a request is still unanswered once a later one is answered. */
static bool is_pending(struct link *l, __u32 req_id)
{
	unsigned int i;

	if (req_release(l, 0xdead, false))
		return false;
	for (i = 0; i < l->n_kept; i++)
		if (l->kept[i].req_id == req_id)
			return false;
	return true;
}

/* Each command in each state, followed by RELEASE. */
TEST_F_TIMEOUT(server, every_command_in_every_stage, 180)
{
	struct raw_conn *c = &self->c, *other = &self->other, *spare = &self->spare;
	struct link *l = &self->link;
	struct response response;
	int i, stage, ret, want;
	struct request r;
	__u32 id;

	for (i = 0; i < ARRAY_LEN(requests) * STAGES; i++) {
		stage = i % STAGES;
		r = requests[i / STAGES].r;
		want = requests[i / STAGES].ret[stage];
		ASSERT_TRUE(raw_ring(l, c, 1) && raw_ring(l, spare, 1));
		other->id = 0;
		ASSERT_TRUE(make_socket(l, &self->listener, c, other, stage))
			TH_LOG("%s", stage_names[stage]);
		if (r.cmd == CONNECT && !r.connect.len)
			r = raw_request(spare, opt.host, opt.port + PEER_ECHO);
		if (r.cmd == BIND) {
			struct sockaddr_in any = address(opt.host, 0);

			memcpy(r.bind.addr, &any, sizeof(any));
			r.bind.len = sizeof(any);
		}
		if (r.cmd == ACCEPT) {
			r.accept.id_new = spare->id;
			r.accept.ref = spare->pages.refs[0];
			r.accept.evtchn = spare->port;
		}
		r.id = c->id;
		id = send_request(l, &r);
		if (want == PENDING && (r.cmd == POLL || l->mode != BY_STATUS)) {
			EXPECT_TRUE(is_pending(l, id));
		} else {
			ret = wait_response_to(l, id, &response);
			want = want == PENDING ? 0 : want;
			EXPECT_EQ(want, ret)
				TH_LOG("%s when %s", requests[i / STAGES].name,
				       stage_names[stage]);
			id = 0;
		}
		EXPECT_EQ(0, req_release(l, c->id, i % 2));
		if (id)
			EXPECT_EQ(-ECONNABORTED, wait_response_to(l, id, &response));
		if (stage == CONNECTING && c->req_id && l->mode != BY_STATUS)
			EXPECT_EQ(-ECONNABORTED, raw_outcome(l, c, NULL));
		if (stage == POSTED && l->mode != BY_STATUS)
			EXPECT_EQ(-ECONNABORTED, raw_outcome(l, c, NULL));
		EXPECT_EQ(0, req_release(l, c->id, false));
		EXPECT_EQ(0, req_release(l, spare->id, false));
		if (other->id)
			EXPECT_EQ(0, raw_close(l, other, true));
		raw_free(l, spare);
		raw_free(l, c);
	}
}

static __u64 next_random(void)
{
	static __u64 state;

	if (!state)
		state = opt.seed;
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return state >> 16;
}

/* Sends requests, as many at a time as fit. Stores the result of each in @ret. */
static void do_requests(struct link *l, struct request *r, int *ret, int count)
{
	struct response response;
	int i, j, n;

	for (i = 0; i < count; i += n) {
		n = count - i < SLOTS ? count - i : SLOTS;
		for (j = i; j < i + n; j++)
			send_request(l, &r[j]);
		for (j = i; j < i + n; j++)
			ret[j] = wait_response_to(l, r[j].req_id, &response);
	}
}

/* Every possible option number: few are options, and none does harm. */
TEST_F(server, options_that_are_none)
{
	static const __u32 levels[] = {
		0, 1, 6, 17, 41, 132, 255, 263, 270, 282, 284, 0x5853, 0xffff,
		0x80000000, 0xffffffff,
	};
	enum { NAMES = 142, N = ARRAY_LEN(levels) * NAMES };
	static struct request r[N];
	static int ret[N];
	int i, got = 0, set = 0;
	struct raw_conn *c = &self->c;
	struct link *l = &self->link;

	ASSERT_TRUE(raw_open(l, c, 1, opt.port + PEER_ECHO));
	for (i = 0; i < N; i++) {
		r[i] = (struct request){ .cmd = GETSOCKOPT, .id = c->id };
		r[i].option.level = levels[i / NAMES];
		r[i].option.name = i % NAMES - 2;
	}
	do_requests(l, r, ret, N);
	for (i = 0; i < N; i++) {
		/* Linux has this other error for IPv6 options of an IPv4 socket. */
		EXPECT_TRUE(!ret[i] || ret[i] == -ENOPROTOOPT ||
			    (ret[i] == -EOPNOTSUPP && r[i].option.level == 41))
			TH_LOG("get %u %d: %d", r[i].option.level,
			       r[i].option.name, ret[i]);
		got += !ret[i];
		r[i].cmd = SETSOCKOPT;
		r[i].option.len = 4;
		r[i].option.value[0] = 1;
	}
	do_requests(l, r, ret, N);
	for (i = 0; i < N; i++) {
		EXPECT_TRUE(!ret[i] || ret[i] == -ENOPROTOOPT ||
			    ret[i] == -EINVAL)
			TH_LOG("set %u %d: %d", r[i].option.level,
			       r[i].option.name, ret[i]);
		set += !ret[i];
	}
	/* The protocol has this many options for IPv4 streams. */
	EXPECT_EQ(41, got);
	EXPECT_EQ(40, set);
	EXPECT_EQ(4, raw_send(l, c, "ping", 4));
	EXPECT_EQ(0, raw_close(l, c, true));
}

TEST_F(server, lengths_and_offsets_that_are_none)
{
	static const __u32 lengths[] = {
		0, 1, 3, 5, 16, 32, 33, 64, 255, 256, 0x10004, 0x80000004,
		0xffffffff,
	};
	static const __u32 offsets[] = {
		1, 16, 31, 33, 4096, 1024, 0x80000000, 0xffffffe0, 0xffffffff,
	};
	struct raw_conn *c = &self->c;
	struct link *l = &self->link;
	struct response response;
	struct request r = { .cmd = SETSOCKOPT };
	static struct request many[2000];
	static int ret[2000];
	__u32 total, at;
	int i;

	ASSERT_TRUE(raw_open(l, c, 1, opt.port + PEER_ECHO));
	r.id = c->id;
	r.option.level = 6;
	r.option.name = 1;
	for (i = 0; i < ARRAY_LEN(lengths); i++) {
		r.option.len = lengths[i];
		EXPECT_EQ(-EINVAL, do_request(l, &r));
	}
	/* Invalid names of congestion control algorithms. */
	r.option.name = 13;
	r.option.len = 16;
	EXPECT_EQ(-ENOENT, do_request(l, &r));
	memcpy(r.option.value, "../../x", 7);
	EXPECT_EQ(-ENOENT, do_request(l, &r));
	memcpy(r.option.value, "nosuch\0", 7);
	EXPECT_EQ(-ENOENT, do_request(l, &r));
	memset(r.option.value, 'a', 32);
	EXPECT_EQ(-EINVAL, do_request(l, &r));
	/* A later offset needs an earlier read of the same option. */
	r.cmd = GETSOCKOPT;
	r.option.name = 11;
	r.option.len = 32;
	EXPECT_EQ(-EINVAL, do_request(l, &r));
	r.option.name = 1;
	EXPECT_EQ(-EINVAL, do_request(l, &r));
	r.option.len = 0;
	EXPECT_EQ(0, do_request(l, &r));
	r.option.len = 32;
	EXPECT_EQ(-EINVAL, do_request(l, &r));
	r.option.name = 11;
	r.option.len = 0;
	ASSERT_EQ(0, wait_response_to(l, send_request(l, &r), &response));
	total = response.total;
	TH_LOG("TCP_INFO has %u bytes", total);
	ASSERT_LT(100, total);
	for (i = 0; i < ARRAY_LEN(offsets); i++) {
		r.option.len = offsets[i];
		EXPECT_EQ(-EINVAL, do_request(l, &r));
	}
	for (at = 32; at < total; at += 32) {
		r.option.len = at;
		ASSERT_EQ(0, wait_response_to(l, send_request(l, &r), &response));
		EXPECT_EQ(total, response.total);
	}
	r.option.len = at;
	EXPECT_EQ(-EINVAL, do_request(l, &r));
	for (i = 0; i < ARRAY_LEN(many); i++) {
		r.option.name = next_random() % 2 ? 11 : next_random() % 30;
		r.option.len = next_random() % 2 ? next_random() % 20 * 32 :
						   next_random();
		many[i] = r;
	}
	do_requests(l, many, ret, ARRAY_LEN(many));
	for (i = 0; i < ARRAY_LEN(many); i++)
		EXPECT_NE(NO_RESPONSE, ret[i]);
	EXPECT_EQ(0, raw_close(l, c, true));
}

/* The same id for two sockets, and an id that is in use. */
TEST_F(server, ids_in_use)
{
	struct raw_conn *c = &self->c, *spare = &self->spare;
	struct link *l = &self->link;
	struct response response;
	struct request r;
	__u64 taken[4];
	int i;

	ASSERT_TRUE(raw_ring(l, c, 1));
	ASSERT_EQ(0, req_socket(l, 5));
	ASSERT_EQ(0, raw_post(l, &self->listener, c));
	ASSERT_TRUE(raw_ring(l, spare, 1));
	taken[0] = 5;
	taken[1] = self->listener.id;
	taken[2] = c->id;
	taken[3] = c->id;
	for (i = 0; i < 4; i++) {
		r = (struct request){
			.cmd = ACCEPT,
			.id = self->listener.id,
			.accept = {
				.id_new = taken[i],
				.ref = spare->pages.refs[0],
				.evtchn = spare->port,
			},
		};
		EXPECT_EQ(-EEXIST, wait_response_to(l, send_request(l, &r), &response));
	}
	/* After invalid rings the id is still free. */
	r.accept.id_new = 77;
	r.accept.ref = 0xffffff;
	EXPECT_EQ(-EINVAL, wait_response_to(l, send_request(l, &r), &response));
	r.accept.ref = spare->pages.refs[0];
	r.accept.evtchn = c->port;
	EXPECT_EQ(-EINVAL, wait_response_to(l, send_request(l, &r), &response));
	EXPECT_EQ(0, req_socket(l, 77));
	EXPECT_EQ(0, req_release(l, 77, false));
	EXPECT_EQ(0, req_release(l, 5, false));
	EXPECT_EQ(0, req_release(l, c->id, false));
	raw_free(l, spare);
	raw_free(l, c);
}

/* Sends ACCEPT with a new ring. Waits while the sockets of the last test still count. */
static bool post_in_time(struct link *l, struct raw_listener *s, struct raw_conn *c)
{
	__u64 deadline = now_msec() + TIMEOUT_MSEC;
	int ret;

	if (!raw_ring(l, c, 1))
		return false;
	while (((ret = raw_post(l, s, c)) == -EMFILE || ret == -EDQUOT) && now_msec() < deadline)
		sleep_usec(1000);
	return !ret;
}

/* More than the quota. The scenario has set it to opt.sockets. */
TEST_F(server, too_many_posted)
{
	int i, limit = opt.sockets - 1;
	struct raw_conn *c = calloc(opt.sockets, sizeof(*c));
	struct link *l = &self->link;
	struct response response;
	struct request r;
	struct raw_conn client;

	if (l->mode != BY_STATUS)
		SKIP(return, "an ACCEPT holds a slot");
	for (i = 0; i < limit; i++)
		ASSERT_TRUE(post_in_time(l, &self->listener, &c[i]));
	ASSERT_TRUE(raw_ring(l, &client, 1));
	EXPECT_EQ(-EMFILE, raw_post(l, &self->listener, &client));
	EXPECT_EQ(-EMFILE, req_socket(l, client.id));
	/* Releases one in the middle, the last and the first, then connects. */
	EXPECT_EQ(0, raw_close(l, &c[limit / 2], false));
	EXPECT_EQ(0, raw_close(l, &c[limit - 1], true));
	EXPECT_EQ(0, raw_close(l, &c[0], true));
	ASSERT_EQ(0, raw_connect(l, &client, opt.host, self->listener.port));
	EXPECT_EQ(0, raw_outcome(l, &c[1], NULL));
	EXPECT_EQ(0, raw_close(l, &client, true));
	/* Releases all the others at once. */
	r = (struct request){ .cmd = RELEASE, .id = self->listener.id };
	EXPECT_EQ(0, wait_response_to(l, send_request(l, &r), &response));
	for (i = 1; i < limit - 1; i++) {
		if (i == limit / 2)
			continue;
		EXPECT_EQ(i == 1 ? 0 : -ECONNABORTED,
			  raw_outcome(l, &c[i], NULL));
		EXPECT_EQ(0, raw_close(l, &c[i], true));
	}
	free(c);
}

static int req_socket_of(struct link *l, __u64 id, __u64 owner)
{
	struct request r = {
		.cmd = SOCKET,
		.id = id,
		.socket = { .domain = 2, .type = 1, .owner = owner },
	};

	return do_request(l, &r);
}

/* TCP frees a socket some time after its release, so this may have to wait. */
static bool wait_socket_of(struct link *l, __u64 id, __u64 owner)
{
	__u64 deadline = now_msec() + TIMEOUT_MSEC;
	int ret;

	while ((ret = req_socket_of(l, id, owner)) && now_msec() < deadline)
		sleep_usec(1000);
	return !ret;
}

/* A posted ACCEPT counts for the user before TCP has a socket for it. */
TEST_F(server, too_many_posted_by_a_user)
{
	/* Root has a reserve and one socket. A user's share is half of the rest. */
	int i, share = (opt.sockets - opt.sockets / 16 - 1 + 1) / 2;
	struct raw_conn *c = calloc(opt.sockets, sizeof(*c));
	struct raw_listener own = { .id = 4000 };
	struct link *l = &self->link;
	struct raw_conn more;

	if (l->mode != BY_STATUS)
		SKIP(return, "an ACCEPT holds a slot");
	ASSERT_EQ(0, req_socket_of(l, own.id, 1000));
	ASSERT_EQ(0, req_listen(l, own.id, 100));
	for (i = 0; i < share - 1; i++)
		ASSERT_TRUE(post_in_time(l, &own, &c[i])) TH_LOG("%d", i);
	ASSERT_TRUE(raw_ring(l, &more, 1));
	EXPECT_EQ(-EDQUOT, raw_post(l, &own, &more));
	EXPECT_EQ(-EDQUOT, req_socket_of(l, more.id, 1000));
	for (i = 0; i < share / 2; i++)
		EXPECT_EQ(0, req_socket_of(l, 4001 + i, 1001));
	EXPECT_EQ(-EDQUOT, req_socket_of(l, more.id, 1001));
	EXPECT_EQ(0, raw_post(l, &self->listener, &more));
	EXPECT_EQ(0, raw_close(l, &more, true));
	for (i = 0; i < share / 2; i++)
		EXPECT_EQ(0, req_release(l, 4001 + i, false));
	/* The sockets count until they are released. */
	EXPECT_EQ(0, req_release(l, own.id, false));
	EXPECT_TRUE(wait_socket_of(l, own.id, 1000));
	EXPECT_EQ(-EDQUOT, req_socket_of(l, 5000, 1000));
	for (i = 0; i < share - 1; i++)
		EXPECT_EQ(0, raw_close(l, &c[i], true));
	for (i = 1; i < share; i++)
		EXPECT_TRUE(wait_socket_of(l, 5000 + i, 1000));
	EXPECT_EQ(-EDQUOT, req_socket_of(l, 5000, 1000));
	free(c);
}

TEST_F(server, too_many_listeners)
{
	int i, ret, limit = 0;
	struct link *l = &self->link;

	/* One listener exists already. The scenario has allowed opt.cycles. */
	for (i = 0; i < opt.cycles + 5; i++) {
		ASSERT_EQ(0, req_socket(l, 5000 + i));
		ret = req_listen(l, 5000 + i, 1);
		EXPECT_TRUE(ret == 0 || ret == -ENOBUFS);
		limit += !ret;
	}
	EXPECT_EQ(opt.cycles - 1, limit);
	/* Each RELEASE makes room for one listener. */
	EXPECT_EQ(0, req_release(l, 5000, false));
	EXPECT_EQ(0, req_listen(l, 5000 + opt.cycles, 1));
	EXPECT_EQ(-ENOBUFS, req_listen(l, 5000 + opt.cycles + 1, 1));
	for (i = 0; i < opt.cycles + 5; i++)
		EXPECT_EQ(0, req_release(l, 5000 + i, false));
}

/* Listeners and posted ACCEPTs are released while connections come in. */
TEST_F(server, released_while_filled)
{
	enum { N = 4 };
	const int turns = rounds(60);
	struct raw_conn server[N], client[N];
	struct link *l = &self->link;
	struct response response;
	struct raw_listener s;
	int i, round, filled = 0;
	struct request r;
	__u32 ids[N], all = 0;

	for (round = 0; round < turns; round++) {
		ASSERT_TRUE(raw_listen(l, &s, N));
		for (i = 0; i < N; i++) {
			ASSERT_TRUE(raw_post_new(l, &s, &server[i]));
			ASSERT_TRUE(raw_ring(l, &client[i], 1));
			ASSERT_EQ(0, req_socket(l, client[i].id));
		}
		/* Sends all requests at once, with the releases at varying places. */
		for (i = 0; i < N; i++) {
			r = raw_request(&client[i], opt.host, s.port);
			client[i].req_id = send_request(l, &r);
			if (!i && round % 6 == 5) {
				/* One connection is there before. */
				EXPECT_EQ(0, raw_outcome(l, &client[0], NULL));
				EXPECT_EQ(0, raw_outcome(l, &server[0], NULL));
				client[0].req_id = 0;
				server[0].req_id = 0;
			}
			r = (struct request){ .cmd = RELEASE };
			r.id = round % 3 ? server[i].id : 0;
			r.release.abort = round & 8;
			ids[i] = send_request(l, &r);
			if (i == round % N) {
				r.id = s.id;
				all = send_request(l, &r);
			}
		}
		for (i = 0; i < N; i++) {
			EXPECT_EQ(0, wait_response_to(l, ids[i], &response));
			if (l->mode != BY_STATUS)
				filled += !raw_outcome(l, &server[i], NULL);
		}
		EXPECT_EQ(0, wait_response_to(l, all, &response));
		for (i = 0; i < N; i++) {
			EXPECT_NE(NO_RESPONSE,
				  raw_outcome(l, &client[i], NULL));
			EXPECT_EQ(0, raw_close(l, &server[i], false));
			EXPECT_EQ(0, raw_close(l, &client[i], true));
		}
	}
	if (l->mode != BY_STATUS)
		EXPECT_LT(0, filled);
}

/* The rings of posted ACCEPTs are shared already and can be overwritten. */
TEST_F(server, posted_rings_with_nonsense)
{
	static const struct {
		unsigned int word;
		__u32 value;
	} bad[] = {
		{ IN_CONS, 77 }, { IN_PROD, 99 }, { OUT_PROD, 0x80000000 },
		{ OUT_PROD, 4097 }, { IN_CONS, 0xffffffff }, { STATUS, 1 },
		{ STATUS, 77 }, { NAME_LEN, 0xffffffff }, { IN_ERROR, 5 },
		{ OUT_ERROR, -5 }, { RING_ORDER, 99 }, { REF, 0 },
	};
	struct raw_conn *c = &self->c, client, next;
	struct link *l = &self->link;
	int i, ret;

	for (i = 0; i < ARRAY_LEN(bad); i++) {
		ASSERT_TRUE(raw_post_new(l, &self->listener, c));
		ASSERT_TRUE(raw_post_new(l, &self->listener, &next));
		store(&c->words[bad[i].word], bad[i].value);
		raw_notify(l, c);
		raw_notify(l, c);
		/* The client may be reset before it knows that it is connected. */
		ASSERT_TRUE(raw_ring(l, &client, 1));
		ret = raw_connect(l, &client, opt.host, self->listener.port);
		EXPECT_TRUE(!ret || ret == -ECONNRESET) TH_LOG("%d", ret);
		raw_notify(l, c);
		EXPECT_EQ(0, raw_close(l, &client, true));
		/* The next ACCEPT works. */
		ASSERT_TRUE(raw_open(l, &client, 1, self->listener.port));
		EXPECT_EQ(0, raw_outcome(l, &next, NULL));
		EXPECT_EQ(1, raw_send(l, &client, "x", 1));
		EXPECT_EQ(0, raw_close(l, &client, false));
		EXPECT_EQ(0, raw_close(l, &next, false));
		EXPECT_EQ(0, raw_close(l, c, true));
		if (c->req_id && l->mode == PLAIN)
			EXPECT_NE(NO_RESPONSE, raw_outcome(l, c, NULL));
	}
}

TEST_F(server, shutdown_again_and_again)
{
	struct raw_conn *c = &self->c;
	struct link *l = &self->link;
	int i, ret;

	for (i = 0; i < rounds(300); i++) {
		if (i % 30 == 0)
			ASSERT_TRUE(raw_open(l, c, 1, opt.port + PEER_ECHO));
		store(&c->words[OUT_PROD], c->out_prod += next_random() % 9);
		ret = req_shutdown(l, c->id, next_random() % 4);
		EXPECT_TRUE(!ret || ret == -EINVAL || ret == -ENOTCONN)
			TH_LOG("%d", ret);
		if (i % 30 == 29)
			EXPECT_EQ(0, raw_close(l, c, i % 60 == 29));
	}
}

/* The link goes down with sockets in every state: nothing is left. */
TEST_F(server, link_down_in_every_stage)
{
	struct raw_conn c[STAGES], other[STAGES];
	struct link *l = &self->link;
	int i, round;

	for (round = 0; round < 3; round++) {
		/* Posted ACCEPTs come last, or they would take the connections of others. */
		for (i = STAGES - 1; i >= 0; i--) {
			ASSERT_TRUE(raw_ring(l, &c[i], 1));
			other[i].id = 0;
			ASSERT_TRUE(make_socket(l, &self->listener, &c[i], &other[i],
						i));
		}
		link_down(l);
		for (i = 0; i < STAGES; i++) {
			pages_free(&c[i].pages);
			if (other[i].id)
				pages_free(&other[i].pages);
		}
		ASSERT_TRUE(link_up(l));
		ASSERT_TRUE(raw_listen(l, &self->listener, 100));
	}
}

/*
 * Connections are closed whose peer does not read the data: TCP keeps them, so they count. The
 * scenario has set the quota to opt.sockets.
 */
FIXTURE(orphans) {
	struct link link;
	struct raw_peer peer;
};

FIXTURE_SETUP(orphans)
{
	raw_mode = PLAIN;
	ASSERT_TRUE(link_up(&self->link));
	ASSERT_TRUE(raw_open(&self->link, &self->peer.control, 1,
			     opt.port + PEER_CONTROL));
	ASSERT_EQ(1, sscanf(raw_peer_run(&self->link, &self->peer, "listen 1"),
			    "ok %u", &self->peer.port));
}

FIXTURE_TEARDOWN(orphans)
{
	link_down(&self->link);
}

TEST_F(orphans, are_counted)
{
	/* So many may be left to TCP. */
	int most = opt.sockets / 4 + 1;
	struct link *l = &self->link;
	static char data[32768];
	int i, ret, left = 0;
	struct raw_conn c;
	__u64 deadline;

	for (i = 0; i < opt.sockets; i++) {
		ASSERT_TRUE(raw_ring(l, &c, 4));
		ASSERT_EQ(0, raw_connect(l, &c, opt.host, self->peer.port));
		/* Far more than the peer's window. */
		EXPECT_EQ(sizeof(data), raw_send(l, &c, data, sizeof(data)));
		EXPECT_EQ(sizeof(data), raw_send(l, &c, data, sizeof(data)));
		while (load(&c.words[OUT_CONS]) != c.out_prod)
			sleep_usec(1000);
		EXPECT_EQ(0, raw_close(l, &c, false));
	}
	/* The others were reset. TCP frees them a moment later. */
	deadline = now_msec() + TIMEOUT_MSEC;
	for (i = 0;; i++) {
		left = (int)opt.sockets - 1 - i;
		while ((ret = req_socket(l, 100 + i)) && left > most && now_msec() < deadline)
			sleep_usec(1000);
		if (ret)
			break;
	}
	EXPECT_EQ(-EMFILE, ret);
	EXPECT_LE(most - 1, left) TH_LOG("%d", left);
	EXPECT_GE(most, left) TH_LOG("%d", left);
	/* Closing the control connection ends the peer's listener, which resets them. */
	EXPECT_EQ(0, raw_close(l, &self->peer.control, true));
	for (; i < opt.sockets; i++) {
		deadline = now_msec() + TIMEOUT_MSEC;
		while ((ret = req_socket(l, 100 + i)) && now_msec() < deadline)
			sleep_usec(1000);
		ASSERT_EQ(0, ret) TH_LOG("%d", i);
	}
	EXPECT_EQ(-EMFILE, req_socket(l, 5));
}

XENSOCK_TEST_MAIN
