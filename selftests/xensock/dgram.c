// SPDX-License-Identifier: GPL-2.0
/* The wire protocol in user space: datagram sockets and their frames. */
#include <stdio.h>
#include <string.h>

#include "raw.h"
#include "util.h"

struct info dgram_info;

int req_dgram(struct link *l, __u64 id, __u32 domain)
{
	struct request r = {
		.cmd = SOCKET,
		.id = id,
		.socket = { .domain = domain, .type = 2 },
	};

	return do_request(l, &r);
}

int req_attach(struct link *l, struct raw_conn *c)
{
	struct request r = {
		.cmd = ATTACH,
		.id = c->id,
		.attach = { .ref = c->pages.refs[0], .evtchn = c->port },
	};

	return do_request(l, &r);
}

bool dgram_open(struct link *l, struct raw_conn *c, unsigned int order)
{
	return raw_ring(l, c, order) && !req_dgram(l, c->id, AF_INET) &&
	       !req_attach(l, c);
}

int req_connect(struct link *l, __u64 id, const char *host, unsigned int port,
		struct sockaddr_in *local)
{
	struct request r = { .cmd = CONNECT, .id = id, .connect.len = 2 };
	struct response response;
	struct sockaddr_in sin;
	int ret;

	if (host) {
		sin = address(host, port);
		memcpy(r.connect.addr, &sin, sizeof(sin));
		r.connect.len = sizeof(sin);
	}
	ret = wait_response_to(l, send_request(l, &r), &response);
	if (local)
		memcpy(local, response.addr, sizeof(*local));
	return ret;
}

struct frame dgram_frame(const char *host, unsigned int port, __u32 len)
{
	struct frame f = { .len = len };
	struct sockaddr_in sin;

	if (host) {
		sin = address(host, port);
		memcpy(f.addr, &sin, sizeof(sin));
		f.addr_len = sizeof(sin);
	}
	return f;
}

void dgram_write(struct raw_conn *c, __u32 index, const void *data, size_t len)
{
	__u32 at = index % c->size;
	size_t first = len < c->size - at ? len : c->size - at;

	memcpy(c->out + at, data, first);
	memcpy(c->out, data + first, len - first);
}

static void dgram_read(struct raw_conn *c, __u32 index, void *data, size_t len)
{
	__u32 at = index % c->size;
	size_t first = len < c->size - at ? len : c->size - at;

	memcpy(data, c->in + at, first);
	memcpy(data + first, c->in, len - first);
}

bool dgram_put_info(struct link *l, struct raw_conn *c, const struct frame *f,
		    const struct info *info, __u64 seed)
{
	__u64 deadline = now_msec() + TIMEOUT_MSEC;
	__u32 total = FRAME_LEN(frame_info_len(f) + f->len);
	static char data[65536];

	if (f->len > sizeof(data) || total > c->size)
		return false;
	while (c->size - (c->out_prod - load(&c->words[OUT_CONS])) < total) {
		if (now_msec() > deadline)
			return false;
		sleep_usec(1000);
	}
	stream_fill(seed, 0, data, f->len);
	dgram_write(c, c->out_prod, f, sizeof(*f));
	dgram_write(c, c->out_prod + sizeof(*f), info, frame_info_len(f));
	dgram_write(c, c->out_prod + sizeof(*f) + frame_info_len(f), data, f->len);
	c->out_prod += total;
	store(&c->words[OUT_PROD], c->out_prod);
	raw_notify(l, c);
	return true;
}

bool dgram_put(struct link *l, struct raw_conn *c, const struct frame *f, __u64 seed)
{
	return dgram_put_info(l, c, f, NULL, seed);
}

bool dgram_send(struct link *l, struct raw_conn *c, const char *host,
		unsigned int port, __u32 len, __u64 seed)
{
	struct frame f = dgram_frame(host, port, len);

	return dgram_put(l, c, &f, seed);
}

bool dgram_next(struct link *l, struct raw_conn *c, struct frame *f, __u64 seed)
{
	__u32 ready = load(&c->words[IN_PROD]) - c->in_cons;
	static char data[65536];

	if (ready < sizeof(*f) || ready > c->size)
		return false;
	dgram_read(c, c->in_cons, f, sizeof(*f));
	if (f->len > sizeof(data) || FRAME_LEN(frame_info_len(f) + f->len) > ready) {
		fprintf(stderr, "# a frame of %u bytes, %u are ready\n", f->len,
			ready);
		return false;
	}
	if (frame_info_len(f))
		dgram_read(c, c->in_cons + sizeof(*f), &dgram_info, frame_info_len(f));
	dgram_read(c, c->in_cons + sizeof(*f) + frame_info_len(f), data, f->len);
	c->in_cons += FRAME_LEN(frame_info_len(f) + f->len);
	store(&c->words[IN_CONS], c->in_cons);
	raw_notify(l, c);
	return stream_check(seed, 0, data, f->len);
}

bool dgram_recv(struct link *l, struct raw_conn *c, struct frame *f, __u64 seed)
{
	__u64 deadline = now_msec() + TIMEOUT_MSEC;

	while (load(&c->words[IN_PROD]) == c->in_cons) {
		if (now_msec() > deadline)
			return false;
		sleep_usec(1000);
	}
	return dgram_next(l, c, f, seed);
}

int dgram_error(struct link *l, struct raw_conn *c)
{
	struct frame f;

	return dgram_recv(l, c, &f, 0) && f.type == 1 && !f.len ? f.error : 0;
}

bool dgram_drained(struct raw_conn *c)
{
	__u64 deadline = now_msec() + TIMEOUT_MSEC;

	while (load(&c->words[OUT_CONS]) != c->out_prod) {
		if (now_msec() > deadline)
			return false;
		sleep_usec(1000);
	}
	return true;
}

unsigned int raw_peer_udp(struct link *l, struct raw_peer *p,
			  const char *host)
{
	unsigned int port;
	char text[64];

	snprintf(text, sizeof(text), "udp %s", host);
	return sscanf(raw_peer_run(l, p, text), "ok %u", &port) == 1 ? port : 0;
}
