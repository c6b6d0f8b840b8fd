// SPDX-License-Identifier: GPL-2.0
/*
 * A frontend that keeps to the rules, with all that a server does: in the native dialect with and
 * without status words, and in that of PV Calls. Its clients are sockets of its own. Needs a guest
 * without the xensock module, and a device of each type.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"
#include "raw.h"
#include "util.h"

FIXTURE(server) {
	struct link link;
	struct raw_listener listener;
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

FIXTURE_VARIANT_ADD(server, pvcalls) {
	.mode = PVCALLS,
};

FIXTURE_SETUP(server)
{
	raw_mode = variant->mode;
	ASSERT_TRUE(link_up(&self->link));
	ASSERT_TRUE(raw_listen(&self->link, &self->listener, 10));
}

FIXTURE_TEARDOWN(server)
{
	EXPECT_EQ(0, req_release(&self->link, self->listener.id, false));
	EXPECT_TRUE(link_works(&self->link));
	link_down(&self->link);
}

static bool is_open(struct raw_conn *c)
{
	return !load(&c->words[IN_ERROR]) && !load(&c->words[OUT_ERROR]);
}

/* Returns the final error word of a direction, or 0 if none comes. */
static int wait_end_error(struct raw_conn *c, unsigned int word)
{
	return raw_wait_error(c, word) ? load(&c->words[word]) : 0;
}

TEST_F(server, accept_and_exchange)
{
	struct sockaddr_in peer, local;
	struct link *l = &self->link;
	struct raw_conn server, client;
	struct request r;

	ASSERT_TRUE(raw_post_new(l, &self->listener, &server));
	ASSERT_TRUE(raw_ring(l, &client, 1));
	ASSERT_EQ(0, req_socket(l, client.id));
	r = raw_request(&client, opt.host, self->listener.port);
	client.req_id = send_request(l, &r);
	ASSERT_EQ(0, raw_outcome(l, &client, &local));
	ASSERT_EQ(0, raw_outcome(l, &server, &peer));
	if (variant->mode != PVCALLS) {
		EXPECT_EQ(AF_INET, peer.sin_family);
		EXPECT_EQ(local.sin_port, peer.sin_port);
		EXPECT_EQ(local.sin_addr.s_addr, peer.sin_addr.s_addr);
	}
	EXPECT_TRUE(raw_transfer(l, &client, &server, 3000));
	EXPECT_TRUE(raw_transfer(l, &server, &client, 4000));
	EXPECT_TRUE(is_open(&server) && is_open(&client));
	EXPECT_EQ(0, raw_close(l, &server, false));
	EXPECT_EQ(-ENOTCONN, wait_end_error(&client, IN_ERROR));
	EXPECT_EQ(0, raw_close(l, &client, false));
}

/* Connections that come before any ACCEPT, and the other way round. */
TEST_F(server, in_the_order_posted)
{
	struct raw_conn server[6], client[6];
	struct link *l = &self->link;
	char name;
	int i;

	for (i = 0; i < 3; i++)
		ASSERT_TRUE(raw_post_new(l, &self->listener, &server[i]));
	for (i = 0; i < 6; i++) {
		ASSERT_TRUE(raw_open(l, &client[i], 1, self->listener.port));
		name = 'a' + i;
		ASSERT_EQ(1, raw_send(l, &client[i], &name, 1));
	}
	for (i = 3; i < 6; i++)
		ASSERT_TRUE(raw_post_new(l, &self->listener, &server[i]));
	for (i = 0; i < 6; i++) {
		ASSERT_EQ(0, raw_outcome(l, &server[i], NULL));
		ASSERT_EQ(1, raw_recv(l, &server[i], &name, 1));
		EXPECT_EQ('a' + i, name);
	}
	for (i = 0; i < 6; i++) {
		EXPECT_EQ(0, raw_close(l, &server[i], false));
		EXPECT_EQ(0, raw_close(l, &client[i], false));
	}
}

TEST_F(server, posted_is_taken_back)
{
	struct raw_conn first, second, client;
	struct link *l = &self->link;

	ASSERT_TRUE(raw_post_new(l, &self->listener, &first));
	ASSERT_TRUE(raw_post_new(l, &self->listener, &second));
	EXPECT_EQ(0, req_release(l, first.id, false));
	EXPECT_EQ(-ECONNABORTED, raw_outcome(l, &first, NULL));
	raw_free(l, &first);
	/* The second ACCEPT gets the next connection. */
	ASSERT_TRUE(raw_open(l, &client, 1, self->listener.port));
	ASSERT_EQ(0, raw_outcome(l, &second, NULL));
	EXPECT_TRUE(raw_transfer(l, &client, &second, 100));
	EXPECT_EQ(0, raw_close(l, &second, false));
	EXPECT_EQ(0, raw_close(l, &client, false));
}

static int req_withdraw(struct link *l, __u64 id)
{
	struct request r = { .cmd = WITHDRAW, .id = id };

	return do_request(l, &r);
}

/* An ACCEPT with a connection stays. One without is aborted before the answer comes. */
TEST_F(server, withdrawn_unless_it_is_filled)
{
	struct raw_conn server[3], client[2];
	struct link *l = &self->link;
	int i;

	if (variant->mode == PVCALLS)
		SKIP(return, "PV Calls has no WITHDRAW");
	for (i = 0; i < 3; i++)
		ASSERT_TRUE(raw_post_new(l, &self->listener, &server[i]));
	ASSERT_TRUE(raw_open(l, &client[0], 1, self->listener.port));
	ASSERT_EQ(0, raw_outcome(l, &server[0], NULL));
	EXPECT_EQ(0, req_withdraw(l, server[0].id));
	EXPECT_EQ(0, req_withdraw(l, server[1].id));
	if (variant->mode == BY_STATUS)
		EXPECT_EQ(-ECONNABORTED, load(&server[1].words[STATUS]));
	EXPECT_EQ(-ECONNABORTED, raw_outcome(l, &server[1], NULL));
	EXPECT_GE(0, req_withdraw(l, server[1].id));
	/* The next connection goes to a later ACCEPT. */
	ASSERT_TRUE(raw_open(l, &client[1], 1, self->listener.port));
	ASSERT_EQ(0, raw_outcome(l, &server[2], NULL));
	EXPECT_TRUE(raw_transfer(l, &client[0], &server[0], 100));
	EXPECT_TRUE(raw_transfer(l, &client[1], &server[2], 100));
	EXPECT_EQ(0, req_release(l, server[1].id, false));
	EXPECT_EQ(-EBADF, req_withdraw(l, server[1].id));
	EXPECT_EQ(-EINVAL, req_withdraw(l, self->listener.id));
	raw_free(l, &server[1]);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, raw_close(l, &server[2 * i], false));
		EXPECT_EQ(0, raw_close(l, &client[i], false));
	}
}

TEST_F(server, released_with_posted_and_waiting)
{
	struct raw_conn server[3], filled, waiting;
	struct link *l = &self->link;
	struct raw_listener other;
	int i;

	ASSERT_TRUE(raw_listen(l, &other, 10));
	for (i = 0; i < 3; i++)
		ASSERT_TRUE(raw_post_new(l, &other, &server[i]));
	EXPECT_EQ(0, req_release(l, other.id, false));
	for (i = 0; i < 3; i++) {
		/* A C frontend has no place for such an answer any more. */
		if (variant->mode != PVCALLS)
			EXPECT_EQ(-ECONNABORTED,
				  raw_outcome(l, &server[i], NULL));
		/* Without status words, the id is free. */
		EXPECT_EQ(variant->mode == BY_STATUS ? -EEXIST : 0,
			  req_socket(l, server[i].id));
		EXPECT_EQ(0, raw_close(l, &server[i], false));
	}
	/* Nobody has accepted the second connection: it is reset. The first is unaffected. */
	ASSERT_TRUE(raw_listen(l, &other, 10));
	ASSERT_TRUE(raw_pair(l, &other, &server[0], &filled));
	ASSERT_TRUE(raw_open(l, &waiting, 1, other.port));
	EXPECT_EQ(0, req_release(l, other.id, false));
	EXPECT_EQ(-ECONNRESET, wait_end_error(&waiting, IN_ERROR));
	EXPECT_EQ(-ECONNRESET, wait_end_error(&waiting, OUT_ERROR));
	EXPECT_TRUE(raw_transfer(l, &filled, &server[0], 1000));
	EXPECT_EQ(0, raw_close(l, &server[0], false));
	EXPECT_EQ(0, raw_close(l, &filled, false));
	EXPECT_EQ(0, raw_close(l, &waiting, false));
}

/* As with accept(2): the connection is delivered first, then its reset. */
TEST_F(server, reset_before_it_is_accepted)
{
	struct link *l = &self->link;
	struct sockaddr_in peer = { };
	struct raw_conn server, client;

	ASSERT_TRUE(raw_open(l, &client, 1, self->listener.port));
	EXPECT_EQ(0, raw_close(l, &client, true));
	ASSERT_TRUE(raw_post_new(l, &self->listener, &server));
	ASSERT_EQ(0, raw_outcome(l, &server, &peer));
	if (variant->mode == PVCALLS) {
		/* A PV Calls frontend cannot request a reset. */
		EXPECT_EQ(-ENOTCONN, wait_end_error(&server, IN_ERROR));
	} else {
		EXPECT_EQ(AF_INET, peer.sin_family);
		EXPECT_EQ(-ECONNRESET, wait_end_error(&server, IN_ERROR));
		EXPECT_EQ(-ECONNRESET, wait_end_error(&server, OUT_ERROR));
	}
	EXPECT_EQ(0, raw_close(l, &server, false));
}

TEST_F(server, poll)
{
	struct request poll = { .cmd = POLL, .id = self->listener.id };
	struct link *l = &self->link;
	struct response response;
	struct raw_conn server, client;
	__u32 id;

	id = send_request(l, &poll);
	EXPECT_EQ(-EALREADY, do_request(l, &poll));
	EXPECT_FALSE(take_response(l, &response));
	ASSERT_TRUE(raw_open(l, &client, 1, self->listener.port));
	EXPECT_EQ(0, wait_response_to(l, id, &response));
	EXPECT_EQ(POLL, response.cmd);
	EXPECT_EQ(self->listener.id, response.id);
	/* POLL reports the connection again until it is accepted. */
	EXPECT_EQ(0, do_request(l, &poll));
	ASSERT_TRUE(raw_post_new(l, &self->listener, &server));
	ASSERT_EQ(0, raw_outcome(l, &server, NULL));
	id = send_request(l, &poll);
	EXPECT_EQ(-EALREADY, do_request(l, &poll));
	EXPECT_EQ(0, req_release(l, self->listener.id, false));
	EXPECT_EQ(-ECONNABORTED, wait_response_to(l, id, &response));
	EXPECT_EQ(0, raw_close(l, &server, false));
	EXPECT_EQ(0, raw_close(l, &client, false));
}

/* The connections that wait are those that the backlog allows, beside those with an ACCEPT. */
TEST_F(server, accept_takes_nothing_of_the_backlog)
{
	struct raw_conn server[3], client[3];
	struct link *l = &self->link;
	struct raw_listener other;
	int i;

	if (variant->mode != PVCALLS)
		SKIP(return, "connections wait in ACCEPTs that are posted ahead");
	ASSERT_TRUE(raw_listen(l, &other, 1));
	ASSERT_TRUE(raw_pair(l, &other, &server[0], &client[0]));
	/* As in TCP, one more than the backlog. */
	for (i = 1; i < 3; i++)
		ASSERT_TRUE(raw_open(l, &client[i], 1, other.port));
	for (i = 1; i < 3; i++) {
		ASSERT_TRUE(raw_post_new(l, &other, &server[i]));
		ASSERT_EQ(0, raw_outcome(l, &server[i], NULL));
	}
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, raw_close(l, &server[i], false));
		EXPECT_EQ(0, raw_close(l, &client[i], false));
	}
	EXPECT_EQ(0, req_release(l, other.id, false));
}

/* Sends CONNECT for the socket @id with a new ring. Returns the outcome. */
static int connect_again(struct link *l, struct raw_conn *c, __u64 id,
			 const char *host, unsigned int port)
{
	struct request r;

	if (!raw_ring(l, c, 1))
		return NO_RESPONSE;
	c->id = id;
	r = raw_request(c, host, port);
	c->req_id = send_request(l, &r);
	return raw_outcome(l, c, NULL);
}

/* A C frontend sends CONNECT for the same socket if the program connects again. */
TEST_F(server, connects_again_after_a_failure)
{
	struct raw_conn refused, denied, client, more, server;
	unsigned int port = self->listener.port;
	struct link *l = &self->link;

	ASSERT_TRUE(raw_ring(l, &refused, 1));
	EXPECT_EQ(-ECONNREFUSED, raw_connect(l, &refused, opt.host, 9));
	if (variant->mode != PVCALLS) {
		EXPECT_EQ(-EISCONN, connect_again(l, &more, refused.id, opt.host, port));
		raw_free(l, &more);
		EXPECT_EQ(0, raw_close(l, &refused, false));
		return;
	}
	EXPECT_EQ(-EACCES, connect_again(l, &denied, refused.id, "127.0.0.1", port));
	ASSERT_EQ(0, connect_again(l, &client, refused.id, opt.host, port));
	EXPECT_EQ(-EISCONN, connect_again(l, &more, refused.id, opt.host, port));
	ASSERT_TRUE(raw_post_new(l, &self->listener, &server));
	ASSERT_EQ(0, raw_outcome(l, &server, NULL));
	EXPECT_TRUE(raw_transfer(l, &client, &server, 3000));
	EXPECT_TRUE(raw_transfer(l, &server, &client, 3000));
	EXPECT_EQ(0, raw_close(l, &server, false));
	EXPECT_EQ(0, raw_close(l, &client, false));
	raw_free(l, &refused);
	raw_free(l, &denied);
	raw_free(l, &more);
}

/* Bytes left in the ring count as unread. */
TEST_F(server, release_with_bytes_unread)
{
	struct link *l = &self->link;
	struct raw_conn server, client;

	ASSERT_TRUE(raw_pair(l, &self->listener, &server, &client));
	ASSERT_EQ(3, raw_send(l, &client, "abc", 3));
	while (load(&server.words[IN_PROD]) != 3)
		sleep_usec(1000);
	EXPECT_EQ(0, raw_close(l, &server, false));
	EXPECT_EQ(-ECONNRESET, wait_end_error(&client, IN_ERROR));
	EXPECT_EQ(0, raw_close(l, &client, false));
}

/* Bytes left in the ring are sent, as far as the socket takes them. */
TEST_F(server, release_with_bytes_to_send)
{
	struct link *l = &self->link;
	struct raw_conn server, client;
	char data[3000], got[3000];
	int i;

	stream_fill(3, 0, data, sizeof(data));
	for (i = 0; i < 20; i++) {
		ASSERT_TRUE(raw_pair(l, &self->listener, &server, &client));
		/* The backend gets no event for these bytes. */
		memcpy(client.out, data, sizeof(data));
		store(&client.words[OUT_PROD], sizeof(data));
		EXPECT_EQ(0, raw_close(l, &client, false));
		EXPECT_EQ(sizeof(got), raw_recv(l, &server, got, sizeof(got)));
		EXPECT_EQ(0, memcmp(data, got, sizeof(data)));
		EXPECT_EQ(-ENOTCONN, wait_end_error(&server, IN_ERROR));
		EXPECT_EQ(0, raw_close(l, &server, false));
	}
}

/* Requests that PV Calls does not have. */
FIXTURE(native) {
	struct link link;
	struct raw_listener listener;
	struct raw_conn server;
	struct raw_conn client;
};

FIXTURE_VARIANT(native) {
	enum mode mode;
};

FIXTURE_VARIANT_ADD(native, plain) {
	.mode = PLAIN,
};

FIXTURE_VARIANT_ADD(native, status) {
	.mode = BY_STATUS,
};

FIXTURE_SETUP(native)
{
	struct link *l = &self->link;

	raw_mode = variant->mode;
	ASSERT_TRUE(link_up(l));
	ASSERT_TRUE(raw_listen(l, &self->listener, 10));
	ASSERT_TRUE(raw_pair(l, &self->listener, &self->server,
			     &self->client));
}

FIXTURE_TEARDOWN(native)
{
	struct link *l = &self->link;

	EXPECT_EQ(0, raw_close(l, &self->server, false));
	EXPECT_EQ(0, raw_close(l, &self->client, false));
	EXPECT_EQ(0, req_release(l, self->listener.id, false));
	EXPECT_TRUE(link_works(l));
	link_down(l);
}

/* The peer gets all bytes, then the end. The other direction goes on. */
TEST_F(native, shutdown_of_sending)
{
	struct raw_conn *c = &self->client, *s = &self->server;
	struct link *l = &self->link;
	char data[4096], got[4096];

	stream_fill(1, 0, data, sizeof(data));
	ASSERT_EQ(sizeof(data), raw_send(l, c, data, sizeof(data)));
	EXPECT_EQ(0, req_shutdown(l, c->id, SHUT_WR));
	EXPECT_EQ(-ENOTCONN, wait_end_error(c, OUT_ERROR));
	/* The ring is full: the end waits for room as data does. */
	EXPECT_EQ(0, load(&s->words[IN_ERROR]));
	EXPECT_EQ(sizeof(got), raw_recv(l, s, got, sizeof(got)));
	EXPECT_EQ(0, memcmp(data, got, sizeof(data)));
	EXPECT_EQ(-ENOTCONN, wait_end_error(s, IN_ERROR));
	EXPECT_EQ(0, req_shutdown(l, c->id, SHUT_WR));
	EXPECT_TRUE(raw_transfer(l, s, c, 3000));
	EXPECT_EQ(0, load(&s->words[OUT_ERROR]));
	EXPECT_EQ(0, load(&c->words[IN_ERROR]));
	EXPECT_EQ(0, req_shutdown(l, s->id, SHUT_WR));
	EXPECT_EQ(-ENOTCONN, wait_end_error(c, IN_ERROR));
	EXPECT_EQ(-ENOTCONN, wait_end_error(s, OUT_ERROR));
	EXPECT_EQ(-ENOTCONN, req_shutdown(l, s->id, SHUT_WR));
}

/* Both sides shut down at once: no reset and no error, in any order of the segments. */
TEST_F(native, shutdown_of_both_sides)
{
	struct raw_conn *c = &self->client, *s = &self->server;
	struct link *l = &self->link;
	struct request r[2] = {
		{ .cmd = SHUTDOWN, .id = c->id, .how = SHUT_WR },
		{ .cmd = SHUTDOWN, .id = s->id, .how = SHUT_WR },
	};
	struct response response;
	__u32 id[2];

	id[0] = send_request(l, &r[0]);
	id[1] = send_request(l, &r[1]);
	EXPECT_EQ(0, wait_response_to(l, id[0], &response));
	/* By then the other shutdown may be complete. */
	EXPECT_LE(-ENOTCONN, wait_response_to(l, id[1], &response));
	EXPECT_EQ(-ENOTCONN, wait_end_error(c, IN_ERROR));
	EXPECT_EQ(-ENOTCONN, wait_end_error(c, OUT_ERROR));
	EXPECT_EQ(-ENOTCONN, wait_end_error(s, IN_ERROR));
	EXPECT_EQ(-ENOTCONN, wait_end_error(s, OUT_ERROR));
}

/*
 * Sends these bytes repeatedly until nothing moves any more, leaving a full ring. Returns the
 * number of bytes sent.
 */
static size_t fill(struct link *l, struct raw_conn *c, const char *data, size_t size)
{
	struct sockaddr_in name;
	size_t sent = 0;
	int n;

	for (n = 0; n < 200; n++) {
		__u32 room = c->size - (c->out_prod - load(&c->words[OUT_CONS]));

		if (!room) {
			/* Once it is answered, the backend has run in the meantime. */
			if (n % 20 == 0)
				req_name(l, c->id, false, &name);
			sleep_usec(5000);
			continue;
		}
		if (room > size - sent % size)
			room = size - sent % size;
		if (raw_send(l, c, data + sent % size, room) != room)
			break;
		sent += room;
		n = 0;
	}
	return sent;
}

/* Data that cannot be sent is lost, and the peer gets a reset. */
TEST_F(native, release_with_more_than_goes)
{
	static char data[1 << 20];
	struct raw_conn *c = &self->client, *s = &self->server;
	struct link *l = &self->link;

	stream_fill(5, 0, data, sizeof(data));
	ASSERT_LT(0, fill(l, c, data, sizeof(data)));
	EXPECT_EQ(0, raw_close(l, c, false));
	while (!load(&s->words[IN_ERROR]))
		raw_recv(l, s, data, sizeof(data));
	EXPECT_EQ(-ECONNRESET, wait_end_error(s, IN_ERROR));
	EXPECT_EQ(0, raw_close(l, s, false));
	ASSERT_TRUE(raw_pair(l, &self->listener, s, c));
}

/* More data than the sockets hold: out_error comes only with the last byte. */
TEST_F(native, shutdown_waits_for_all)
{
	static char data[1 << 20], got[1 << 20];
	struct raw_conn *c = &self->client, *s = &self->server, big;
	struct link *l = &self->link;
	size_t sent = 0, n;

	EXPECT_EQ(0, raw_close(l, c, false));
	EXPECT_EQ(0, raw_close(l, s, false));
	ASSERT_TRUE(raw_post_new(l, &self->listener, s));
	ASSERT_TRUE(raw_open(l, &big, 9, self->listener.port));
	ASSERT_EQ(0, raw_outcome(l, s, NULL));
	*c = big;
	stream_fill(5, 0, data, sizeof(data));
	sent = fill(l, c, data, sizeof(data));
	TH_LOG("%zu bytes", sent);
	EXPECT_EQ(0, req_shutdown(l, c->id, SHUT_RDWR));
	/* Once the first bytes are received, there may be room for all the rest. */
	EXPECT_EQ(0, load(&c->words[OUT_ERROR]));
	for (n = 0; n < sent; n += sizeof(got)) {
		size_t part = sent - n < sizeof(got) ? sent - n : sizeof(got);

		ASSERT_EQ(part, raw_recv(l, s, got, part));
		ASSERT_EQ(0, memcmp(data, got, part));
	}
	EXPECT_EQ(-ENOTCONN, wait_end_error(s, IN_ERROR));
	EXPECT_EQ(-ENOTCONN, wait_end_error(c, OUT_ERROR));
	EXPECT_EQ(0, load(&c->words[IN_ERROR]));
	EXPECT_EQ(0, req_shutdown(l, s->id, SHUT_WR));
	EXPECT_EQ(-ENOTCONN, wait_end_error(c, IN_ERROR));
}

/* A socket with both directions shut down resets a peer that goes on sending. */
TEST_F(native, shutdown_of_both_then_data)
{
	struct raw_conn *c = &self->client, *s = &self->server;
	struct link *l = &self->link;

	EXPECT_EQ(0, req_shutdown(l, c->id, SHUT_RDWR));
	EXPECT_EQ(-ENOTCONN, wait_end_error(c, OUT_ERROR));
	EXPECT_EQ(-ENOTCONN, wait_end_error(s, IN_ERROR));
	EXPECT_EQ(0, load(&c->words[IN_ERROR]));
	EXPECT_EQ(1, raw_send(l, s, "x", 1));
	EXPECT_EQ(-EPIPE, wait_end_error(s, OUT_ERROR));
	EXPECT_EQ(-ECONNRESET, wait_end_error(c, IN_ERROR));
}

/* Shutting down receiving tells the peer nothing and drops no data. */
TEST_F(native, shutdown_of_receiving)
{
	struct raw_conn *c = &self->client, *s = &self->server;
	struct link *l = &self->link;

	EXPECT_EQ(0, req_shutdown(l, c->id, SHUT_RD));
	EXPECT_TRUE(raw_transfer(l, c, s, 1000));
	EXPECT_TRUE(raw_transfer(l, s, c, 1000));
	EXPECT_TRUE(is_open(c) && is_open(s));
}

/* The peer resets before it has acknowledged our end. */
TEST_F(native, reset_after_shutdown)
{
	struct raw_conn *c = &self->client, *s = &self->server;
	struct link *l = &self->link;

	ASSERT_EQ(3, raw_send(l, c, "abc", 3));
	EXPECT_EQ(0, req_shutdown(l, c->id, SHUT_WR));
	EXPECT_EQ(-ENOTCONN, wait_end_error(c, OUT_ERROR));
	EXPECT_EQ(0, raw_close(l, s, true));
	EXPECT_EQ(-ECONNRESET, wait_end_error(c, IN_ERROR));
	/* This direction had ended already and keeps its first error. */
	EXPECT_EQ(-ENOTCONN, load(&c->words[OUT_ERROR]));
	ASSERT_TRUE(raw_ring(l, s, 1));
}

TEST_F(native, names)
{
	struct sockaddr_in a, b;
	struct link *l = &self->link;

	EXPECT_EQ(0, req_name(l, self->client.id, false, &a));
	EXPECT_EQ(0, req_name(l, self->server.id, true, &b));
	EXPECT_EQ(a.sin_port, b.sin_port);
	EXPECT_EQ(a.sin_addr.s_addr, b.sin_addr.s_addr);
	EXPECT_EQ(0, req_name(l, self->client.id, true, &a));
	EXPECT_EQ(0, req_name(l, self->server.id, false, &b));
	EXPECT_EQ(a.sin_port, b.sin_port);
	EXPECT_EQ(self->listener.port, ntohs(a.sin_port));
	EXPECT_EQ(0, req_name(l, self->listener.id, false, &a));
	EXPECT_EQ(self->listener.port, ntohs(a.sin_port));
	EXPECT_EQ(-ENOTCONN, req_name(l, self->listener.id, true, &a));
	/* An unbound socket has all zeroes except for the family. */
	ASSERT_EQ(0, req_socket(l, 7));
	EXPECT_EQ(0, req_name(l, 7, false, &a));
	EXPECT_EQ(AF_INET, a.sin_family);
	EXPECT_EQ(0, a.sin_port);
	EXPECT_EQ(-ENOTCONN, req_name(l, 7, true, &a));
	EXPECT_EQ(0, req_release(l, 7, false));
	EXPECT_EQ(-EBADF, req_name(l, 7, true, &a));
}

TEST_F(native, bind_errors)
{
	unsigned int port = self->listener.port;
	struct link *l = &self->link;
	struct sockaddr_in a;

	ASSERT_EQ(0, req_socket(l, 7));
	EXPECT_EQ(-EADDRINUSE, req_bind(l, 7, opt.host, port, NULL));
	EXPECT_EQ(-EADDRNOTAVAIL, req_bind(l, 7, "203.0.113.7", 0, NULL));
	EXPECT_EQ(-EACCES, req_bind(l, 7, opt.host, 80, NULL));
	EXPECT_EQ(0, req_bind(l, 7, opt.host, 0, &a));
	EXPECT_NE(0, a.sin_port);
	EXPECT_EQ(-EINVAL, req_bind(l, 7, opt.host, 0, NULL));
	EXPECT_EQ(0, req_listen(l, 7, 1));
	EXPECT_EQ(0, req_listen(l, 7, 5));
	EXPECT_EQ(-EINVAL, req_bind(l, 7, opt.host, 0, NULL));
	EXPECT_EQ(0, req_release(l, 7, false));
	/* The port is free at once. */
	ASSERT_EQ(0, req_socket(l, 7));
	EXPECT_EQ(0, req_bind(l, 7, opt.host, ntohs(a.sin_port), NULL));
	EXPECT_EQ(0, req_listen(l, 7, 5));
	EXPECT_EQ(0, req_release(l, 7, false));
}

/* As with TCP, the system chooses the port. */
TEST_F(native, listen_without_bind)
{
	struct link *l = &self->link;
	struct raw_conn server, client;
	struct raw_listener other;
	struct sockaddr_in a;

	other.id = 7;
	ASSERT_EQ(0, req_socket(l, 7));
	EXPECT_EQ(0, req_listen(l, 7, 5));
	EXPECT_EQ(0, req_name(l, 7, false, &a));
	other.port = ntohs(a.sin_port);
	ASSERT_TRUE(raw_pair(l, &other, &server, &client));
	EXPECT_TRUE(raw_transfer(l, &client, &server, 100));
	EXPECT_EQ(0, raw_close(l, &server, false));
	EXPECT_EQ(0, raw_close(l, &client, false));
	EXPECT_EQ(0, req_release(l, 7, false));
}

static int set_option(struct link *l, __u64 id, __u32 level, __u32 name,
		      int value)
{
	struct request r = {
		.cmd = SETSOCKOPT,
		.id = id,
		.option = { .level = level, .name = name, .len = 4 },
	};

	memcpy(r.option.value, &value, sizeof(value));
	return do_request(l, &r);
}

static int get_option(struct link *l, __u64 id, __u32 level, __u32 name)
{
	struct request r = {
		.cmd = GETSOCKOPT,
		.id = id,
		.option = { .level = level, .name = name },
	};
	struct response response;
	int value;

	if (wait_response_to(l, send_request(l, &r), &response) || response.total != 4)
		return -9999;
	memcpy(&value, response.value, sizeof(value));
	return value;
}

/* Options of a new socket, and inherited from a listening one. */
TEST_F(native, options)
{
	static const struct {
		__u32 level;
		__u32 name;
		int value;
	} options[] = {
		{ 6, 1, 1 },		/* TCP_NODELAY */
		{ 6, 4, 77 },		/* TCP_KEEPIDLE */
		{ 6, 5, 33 },		/* TCP_KEEPINTVL */
		{ 6, 6, 7 },		/* TCP_KEEPCNT */
		{ 6, 18, 12345 },	/* TCP_USER_TIMEOUT */
		{ 0, 1, 0x10 },		/* IP_TOS */
		{ 0, 2, 55 },		/* IP_TTL */
	};
	struct link *l = &self->link;
	struct raw_listener other = { .id = 7 };
	struct raw_conn server, client;
	struct sockaddr_in a;
	int i;

	ASSERT_EQ(0, req_socket(l, 7));
	for (i = 0; i < ARRAY_LEN(options); i++) {
		EXPECT_NE(options[i].value, get_option(l, 7, options[i].level,
						       options[i].name));
		EXPECT_EQ(0, set_option(l, 7, options[i].level,
					options[i].name, options[i].value));
	}
	EXPECT_EQ(0, set_option(l, 7, 1, 2, 1));	/* SO_REUSEADDR */
	EXPECT_EQ(0, set_option(l, 7, 1, 9, 1));	/* SO_KEEPALIVE */
	EXPECT_EQ(0, req_listen(l, 7, 5));
	EXPECT_EQ(0, req_name(l, 7, false, &a));
	other.port = ntohs(a.sin_port);
	ASSERT_TRUE(raw_pair(l, &other, &server, &client));
	for (i = 0; i < ARRAY_LEN(options); i++)
		EXPECT_EQ(options[i].value,
			  get_option(l, server.id, options[i].level,
				     options[i].name));
	EXPECT_EQ(0, set_option(l, server.id, 6, 1, 0));
	EXPECT_EQ(0, get_option(l, server.id, 6, 1));
	EXPECT_EQ(0, raw_close(l, &server, false));
	EXPECT_EQ(0, raw_close(l, &client, false));
	EXPECT_EQ(0, req_release(l, 7, false));
}

/* Unacknowledged data: everything that the peer has no room for. */
TEST_F(native, outq)
{
	static char data[32768];
	__u64 deadline;
	struct link *l = &self->link;
	struct raw_peer peer;
	struct raw_conn c;
	int i;

	ASSERT_TRUE(raw_open(l, &peer.control, 1, opt.port + PEER_CONTROL));
	ASSERT_TRUE(sscanf(raw_peer_run(l, &peer, "listen 1"), "ok %u",
			   &peer.port) == 1);
	ASSERT_TRUE(raw_open(l, &c, 4, peer.port));
	EXPECT_STREQ("ok", raw_peer_run(l, &peer, "accept"));
	EXPECT_EQ(0, get_option(l, c.id, 0x5853, 1));
	for (i = 0; i < 2; i++) {
		stream_fill(3, i * sizeof(data), data, sizeof(data));
		ASSERT_EQ(sizeof(data), raw_send(l, &c, data, sizeof(data)));
	}
	while (load(&c.words[OUT_CONS]) != c.out_prod)
		sleep_usec(1000);
	EXPECT_LT(40000, get_option(l, c.id, 0x5853, 1));
	EXPECT_STREQ("ok 65536", raw_peer_run(l, &peer, "recv 65536 3"));
	deadline = now_msec() + TIMEOUT_MSEC;
	while (get_option(l, c.id, 0x5853, 1) && now_msec() < deadline)
		sleep_usec(1000);
	EXPECT_EQ(0, get_option(l, c.id, 0x5853, 1));
	EXPECT_EQ(0, raw_close(l, &c, false));
	EXPECT_EQ(0, raw_close(l, &peer.control, false));
}

static struct sockaddr_in6 address6(const char *host, unsigned int port)
{
	struct sockaddr_in6 sin6 = {
		.sin6_family = AF_INET6,
		.sin6_port = htons(port),
	};

	inet_pton(AF_INET6, host, &sin6.sin6_addr);
	return sin6;
}

/* SOCKET, and BIND, CONNECT or LISTEN, for IPv6. */
static int req_ipv6(struct link *l, __u64 id, __u32 cmd, const char *host,
		    unsigned int port, struct raw_conn *ring)
{
	struct sockaddr_in6 sin6 = address6(host, port);
	struct request r = {
		.cmd = SOCKET,
		.id = id,
		.socket = { .domain = 10, .type = 1 },
	};
	int ret = do_request(l, &r);

	if (ret && ret != -EEXIST)
		return ret;
	r = (struct request){ .cmd = cmd, .id = id };
	memcpy(r.connect.addr, &sin6, sizeof(sin6));
	r.connect.len = sizeof(sin6);
	if (!ring)
		return do_request(l, &r);
	r.connect.ref = ring->pages.refs[0];
	r.connect.evtchn = ring->port;
	ring->req_id = send_request(l, &r);
	return raw_outcome(l, ring, NULL);
}

static bool check_name(struct link *l, __u64 id, bool remote, const char *host)
{
	struct request r = { .cmd = GETNAME, .id = id, .peer = remote };
	struct sockaddr_in6 want = address6(host, 0), got;
	struct response response;

	if (wait_response_to(l, send_request(l, &r), &response))
		return false;
	memcpy(&got, response.addr, sizeof(got));
	return response.len == sizeof(got) && got.sin6_family == AF_INET6 &&
	       !memcmp(&got.sin6_addr, &want.sin6_addr, 16);
}

TEST_F(native, ipv6)
{
	struct link *l = &self->link;
	struct raw_listener other = { .id = 7 };
	struct raw_conn server, client;
	struct response response;
	struct sockaddr_in6 any;
	struct request r;
	char mapped[64];
	int i;

	snprintf(mapped, sizeof(mapped), "::ffff:%s", opt.host);
	ASSERT_EQ(0, req_ipv6(l, 7, BIND, "::", 0, NULL));
	ASSERT_EQ(0, req_listen(l, 7, 5));
	r = (struct request){ .cmd = GETNAME, .id = 7 };
	ASSERT_EQ(0, wait_response_to(l, send_request(l, &r), &response));
	memcpy(&any, response.addr, sizeof(any));
	other.port = ntohs(any.sin6_port);
	/* IPv6; IPv4 from an IPv6 socket; IPv4 from an IPv4 socket. */
	for (i = 0; i < 3; i++) {
		ASSERT_TRUE(raw_post_new(l, &other, &server));
		ASSERT_TRUE(raw_ring(l, &client, 1));
		ASSERT_EQ(0, i == 2 ? raw_connect(l, &client, opt.host,
						  other.port) :
			     req_ipv6(l, client.id, CONNECT, i ? mapped : opt.host6,
				      other.port, &client))
			TH_LOG("%d", i);
		ASSERT_EQ(0, raw_outcome(l, &server, NULL));
		EXPECT_TRUE(raw_transfer(l, &client, &server, 1000));
		EXPECT_TRUE(check_name(l, server.id, true, i ? mapped : opt.host6));
		EXPECT_TRUE(check_name(l, server.id, false, i ? mapped : opt.host6));
		EXPECT_EQ(0, raw_close(l, &server, false));
		EXPECT_EQ(0, raw_close(l, &client, false));
	}
	EXPECT_EQ(0, req_release(l, 7, false));
	/* An IPv6-only socket. */
	r = (struct request){ .cmd = SOCKET, .id = 7,
			      .socket = { .domain = 10, .type = 1 } };
	ASSERT_EQ(0, do_request(l, &r));
	EXPECT_EQ(0, set_option(l, 7, 41, 26, 1));
	EXPECT_EQ(1, get_option(l, 7, 41, 26));
	EXPECT_EQ(0, set_option(l, 7, 41, 67, 0x20));
	EXPECT_EQ(0x20, get_option(l, 7, 41, 67));
	EXPECT_EQ(0, req_listen(l, 7, 5));
	r = (struct request){ .cmd = GETNAME, .id = 7 };
	ASSERT_EQ(0, wait_response_to(l, send_request(l, &r), &response));
	memcpy(&any, response.addr, sizeof(any));
	ASSERT_TRUE(raw_ring(l, &client, 1));
	EXPECT_EQ(-ECONNREFUSED, raw_connect(l, &client, opt.host,
					     ntohs(any.sin6_port)));
	EXPECT_EQ(0, raw_close(l, &client, false));
	EXPECT_EQ(0, req_release(l, 7, false));
}

TEST_F(native, ipv6_addresses_that_are_none)
{
	static const struct {
		const char *host;
		int ret;
	} hosts[] = {
		{ "::1", -EACCES },
		{ "::", -EACCES },
		{ "::ffff:127.0.0.1", -EACCES },
		{ "::ffff:0.0.0.0", -EACCES },
		{ "fe80::1", -EINVAL },		/* without a scope */
		{ "2001:db8:dead::1", -ENETUNREACH },
	};
	struct raw_listener other = { .id = 7 };
	struct link *l = &self->link;
	struct raw_conn client;
	int i;

	for (i = 0; i < ARRAY_LEN(hosts); i++) {
		ASSERT_TRUE(raw_ring(l, &client, 1));
		EXPECT_EQ(hosts[i].ret, req_ipv6(l, client.id, CONNECT,
						 hosts[i].host, 22, &client))
			TH_LOG("%s", hosts[i].host);
		EXPECT_EQ(0, raw_close(l, &client, false));
	}
	/* Addresses of the other family. */
	EXPECT_EQ(-EADDRNOTAVAIL, req_ipv6(l, 7, BIND, "2001:db8:dead::1", 0,
					   NULL));
	EXPECT_EQ(-EAFNOSUPPORT, req_bind(l, 7, opt.host, 0, NULL));
	EXPECT_EQ(0, req_release(l, 7, false));
	ASSERT_EQ(0, req_socket(l, 7));
	EXPECT_EQ(-EAFNOSUPPORT, req_ipv6(l, 7, BIND, opt.host6, 0, NULL));
	EXPECT_EQ(0, req_listen(l, 7, 1));
	EXPECT_EQ(0, req_release(l, other.id, false));
}

/* A bound socket keeps its address when it connects. */
TEST_F(native, connect_from_a_bound_port)
{
	struct link *l = &self->link;
	struct sockaddr_in bound, local, peer;
	struct raw_conn server, client;
	struct request r;

	ASSERT_TRUE(raw_post_new(l, &self->listener, &server));
	ASSERT_TRUE(raw_ring(l, &client, 1));
	ASSERT_EQ(0, req_socket(l, client.id));
	ASSERT_EQ(0, req_bind(l, client.id, opt.host, 0, &bound));
	r = raw_request(&client, opt.host, self->listener.port);
	client.req_id = send_request(l, &r);
	ASSERT_EQ(0, raw_outcome(l, &client, &local));
	ASSERT_EQ(0, raw_outcome(l, &server, &peer));
	EXPECT_EQ(bound.sin_port, local.sin_port);
	EXPECT_EQ(bound.sin_port, peer.sin_port);
	EXPECT_EQ(0, raw_close(l, &client, false));
	EXPECT_EQ(0, raw_close(l, &server, false));
}

XENSOCK_TEST_MAIN
