// SPDX-License-Identifier: GPL-2.0
/* The wire protocol by hand: the link, its requests, its connections. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "raw.h"
#include "util.h"

#define PATIENCE_MSEC 20000

bool link_begin(struct link *l)
{
	char id[16];

	memset(l, 0, sizeof(*l));
	if (!xs_read(DEVICE "/backend", l->backend, sizeof(l->backend)) ||
	    !xs_read(DEVICE "/backend-id", id, sizeof(id)))
		return false;
	l->backend_id = atoi(id);
	l->next_id = 1000;
	l->evtchn = evtchn_open();
	l->port = evtchn_alloc(l->evtchn, l->backend_id);
	if (!l->port || !pages_grant(&l->page, l->backend_id, 1, true))
		return false;
	l->words = (__u32 *)l->page.mem;
	l->slots = (struct request *)(l->page.mem + 64);
	memset(l->page.mem, 0, PAGE);
	store(&l->words[REQ_EVENT], 1);
	store(&l->words[RSP_EVENT], 1);
	xs_remove(DEVICE "/event-index");
	xs_write(DEVICE "/version", "1");
	xs_write(DEVICE "/ring-ref", "%u", l->page.refs[0]);
	xs_write(DEVICE "/port", "%u", l->port);
	return xs_write(DEVICE "/state", "%d", INITIALISING) &&
	       xs_wait_state(l->backend, INIT_WAIT);
}

bool link_up(struct link *l)
{
	return link_begin(l) &&
	       xs_write(DEVICE "/state", "%d", INITIALISED) &&
	       xs_wait_state(l->backend, CONNECTED) &&
	       xs_write(DEVICE "/state", "%d", CONNECTED);
}

void link_drop(struct link *l)
{
	pages_free(&l->page);
	close(l->evtchn);
}

void link_down(struct link *l)
{
	xs_write(DEVICE "/state", "%d", CLOSING);
	xs_wait_state(l->backend, CLOSING);
	xs_write(DEVICE "/state", "%d", CLOSED);
	xs_wait_state(l->backend, CLOSED);
	link_drop(l);
}

void put(struct link *l, const void *slot)
{
	memcpy(&l->slots[l->req_prod % SLOTS], slot, sizeof(struct request));
	store(&l->words[REQ_PROD], ++l->req_prod);
	evtchn_notify(l->evtchn, l->port);
}

bool take(struct link *l, struct response *response)
{
	if (load(&l->words[RSP_PROD]) == l->rsp_cons)
		return false;
	memcpy(response, &l->slots[l->rsp_cons++ % SLOTS], sizeof(*response));
	return true;
}

bool take_within(struct link *l, struct response *response, int msec)
{
	__u64 until = now_msec() + msec;

	while (!take(l, response)) {
		if (now_msec() > until)
			return false;
		nap(100);
	}
	return true;
}

__u32 ask_later(struct link *l, struct request *r)
{
	r->req_id = ++l->req_id;
	put(l, r);
	return r->req_id;
}

int answer(struct link *l, __u32 req_id, struct response *response)
{
	unsigned int i;

	for (i = 0; i < l->n_kept; i++) {
		if (l->kept[i].req_id != req_id)
			continue;
		*response = l->kept[i];
		l->kept[i] = l->kept[--l->n_kept];
		return response->ret;
	}
	while (take_within(l, response, PATIENCE_MSEC)) {
		if (response->req_id == req_id)
			return response->ret;
		if (l->n_kept < SLOTS)
			l->kept[l->n_kept++] = *response;
	}
	return NO_ANSWER;
}

int ask(struct link *l, struct request *r)
{
	struct response response;
	int ret = answer(l, ask_later(l, r), &response);

	if (ret != NO_ANSWER &&
	    (response.cmd != r->cmd || response.id != r->id))
		return NO_ANSWER;
	return ret;
}

int ask_socket(struct link *l, __u64 id)
{
	struct request r = {
		.cmd = SOCKET,
		.id = id,
		.socket = { .domain = 2, .type = 1 },
	};

	return ask(l, &r);
}

int ask_release(struct link *l, __u64 id, bool abort)
{
	struct request r = {
		.cmd = RELEASE,
		.id = id,
		.release = { .abort = abort },
	};

	return ask(l, &r);
}

int try_request(struct link *l, struct request *r)
{
	int ret = ask_socket(l, r->id);

	if (ret)
		return ret;
	ret = ask(l, r);
	return ask_release(l, r->id, true) ? NO_ANSWER : ret;
}

bool raw_ring(struct link *l, struct raw *c, unsigned int order)
{
	unsigned int i, count = 1U << order;

	memset(c, 0, sizeof(*c));
	c->id = l->next_id++;
	c->port = evtchn_alloc(l->evtchn, l->backend_id);
	if (!c->port ||
	    !pages_grant(&c->pages, l->backend_id, 1 + count, true))
		return false;
	memset(c->pages.mem, 0, PAGE);
	c->words = (__u32 *)c->pages.mem;
	c->size = 2048U << order;
	c->in = c->pages.mem + PAGE;
	c->out = c->in + c->size;
	c->words[RING_ORDER] = order;
	for (i = 0; i < count; i++)
		c->words[REF + i] = c->pages.refs[1 + i];
	return true;
}

struct request raw_request(struct raw *c, const char *host, unsigned int port)
{
	struct sockaddr_in sin = address(host, port);
	struct request r = {
		.cmd = CONNECT,
		.id = c->id,
		.connect = {
			.len = sizeof(sin),
			.ref = c->pages.refs ? c->pages.refs[0] : 0,
			.evtchn = c->port,
		},
	};

	memcpy(r.connect.addr, &sin, sizeof(sin));
	return r;
}

int raw_connect(struct link *l, struct raw *c, const char *host,
		unsigned int port)
{
	struct request r = raw_request(c, host, port);
	int ret = ask_socket(l, c->id);

	return ret ? ret : ask(l, &r);
}

bool raw_open(struct link *l, struct raw *c, unsigned int order,
	      unsigned int port)
{
	int ret;

	if (!raw_ring(l, c, order))
		return false;
	ret = raw_connect(l, c, opt.host, port);
	if (ret)
		fprintf(stderr, "# CONNECT gives %d\n", ret);
	return !ret;
}

void raw_free(struct link *l, struct raw *c)
{
	evtchn_close(l->evtchn, c->port);
	pages_free(&c->pages);
}

int raw_close(struct link *l, struct raw *c, bool abort)
{
	int ret = ask_release(l, c->id, abort);

	raw_free(l, c);
	return ret;
}

void raw_notify(struct link *l, struct raw *c)
{
	evtchn_notify(l->evtchn, c->port);
}

size_t raw_send(struct link *l, struct raw *c, const void *data, size_t len)
{
	__u64 until = now_msec() + PATIENCE_MSEC;
	__u32 room, at;
	size_t n, done = 0;

	while (done < len && now_msec() < until &&
	       !load(&c->words[OUT_ERROR])) {
		room = c->size - (c->out_prod - load(&c->words[OUT_CONS]));
		at = c->out_prod % c->size;
		n = len - done < room ? len - done : room;
		if (n > c->size - at)
			n = c->size - at;
		if (!n || room > c->size) {
			nap(100);
			continue;
		}
		memcpy(c->out + at, data + done, n);
		c->out_prod += n;
		store(&c->words[OUT_PROD], c->out_prod);
		raw_notify(l, c);
		done += n;
	}
	return done;
}

size_t raw_recv(struct link *l, struct raw *c, void *data, size_t len)
{
	__u64 until = now_msec() + PATIENCE_MSEC;
	__u32 ready, error, at;
	size_t n, done = 0;

	while (done < len && now_msec() < until) {
		error = load(&c->words[IN_ERROR]);
		ready = load(&c->words[IN_PROD]) - c->in_cons;
		at = c->in_cons % c->size;
		n = len - done < ready ? len - done : ready;
		if (n > c->size - at)
			n = c->size - at;
		if (!n && error)
			break;
		if (!n || ready > c->size) {
			nap(100);
			continue;
		}
		memcpy(data + done, c->in + at, n);
		c->in_cons += n;
		store(&c->words[IN_CONS], c->in_cons);
		raw_notify(l, c);
		done += n;
	}
	return done;
}

bool raw_wait_error(struct raw *c, unsigned int word)
{
	__u64 until = now_msec() + PATIENCE_MSEC;

	while (!load(&c->words[word])) {
		if (now_msec() > until)
			return false;
		nap(100);
	}
	return true;
}

const char *raw_puppet_do(struct link *l, struct raw_puppet *p,
			  const char *text)
{
	size_t used = 0;

	raw_send(l, &p->control, text, strlen(text));
	raw_send(l, &p->control, "\n", 1);
	while (used < sizeof(p->line) - 1 &&
	       raw_recv(l, &p->control, p->line + used, 1) == 1 &&
	       p->line[used] != '\n')
		used++;
	p->line[used] = 0;
	return p->line;
}

bool raw_puppet_open(struct link *l, struct raw_puppet *p)
{
	return raw_open(l, &p->control, 1, opt.port + PEER_CONTROL) &&
	       sscanf(raw_puppet_do(l, p, "listen"), "ok %u", &p->port) == 1;
}

bool honest(struct link *l)
{
	static char sent[10000], back[10000];
	size_t i, n = 2000;
	struct raw c;
	bool ok = true;

	if (!raw_open(l, &c, 1, opt.port + PEER_ECHO))
		return false;
	stream_fill(7, 0, sent, sizeof(sent));
	for (i = 0; ok && i < sizeof(sent); i += n)
		ok = raw_send(l, &c, sent + i, n) == n &&
		     raw_recv(l, &c, back + i, n) == n;
	if (!ok || memcmp(sent, back, sizeof(sent))) {
		fprintf(stderr, "# a good exchange failed at %zu\n", i);
		ok = false;
	}
	return !raw_close(l, &c, false) && ok;
}

bool honest_link(void)
{
	struct link l;
	bool ok = link_up(&l) && honest(&l);

	link_down(&l);
	return ok;
}
