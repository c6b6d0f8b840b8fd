// SPDX-License-Identifier: GPL-2.0
/* The wire protocol in user space: the link, its requests, its connections. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "raw.h"
#include "util.h"

enum mode raw_mode;

/* The command numbers of PV Calls. It lacks the other commands. */
static const __u32 pvcalls[COMMANDS] = {
	[SOCKET] = 0, [CONNECT] = 1, [RELEASE] = 2, [BIND] = 3, [LISTEN] = 4,
	[ACCEPT] = 5, [POLL] = 6, [SHUTDOWN] = 100, [SETSOCKOPT] = 100,
	[GETSOCKOPT] = 100, [GETNAME] = 100, [ATTACH] = 100,
};

static __u32 to_dialect(struct link *l, __u32 cmd)
{
	return l->mode == PVCALLS && cmd < COMMANDS ? pvcalls[cmd] : cmd;
}

static __u32 from_dialect(struct link *l, __u32 cmd)
{
	__u32 i;

	for (i = 0; l->mode == PVCALLS && i < COMMANDS; i++)
		if (pvcalls[i] == cmd)
			return i;
	return cmd;
}

/* Writes a node of our own directory. */
static bool write_node(struct link *l, const char *node, unsigned int value)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/%s", l->front, node);
	return xs_write(path, "%u", value);
}

static bool read_node(struct link *l, const char *node, char *value,
		      size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/%s", l->front, node);
	return xs_read(path, value, size);
}

bool link_begin(struct link *l)
{
	char id[16];

	memset(l, 0, sizeof(*l));
	l->mode = raw_mode;
	l->front = l->mode == PVCALLS ? "device/pvcalls/0" : DEVICE;
	if (!read_node(l, "backend", l->backend, sizeof(l->backend)) ||
	    !read_node(l, "backend-id", id, sizeof(id)))
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
	if (l->mode == SHARED_CHANNEL) {
		l->news_port = evtchn_alloc(l->evtchn, l->backend_id);
		if (!l->news_port ||
		    !pages_grant(&l->news, l->backend_id, 1, true))
			return false;
		memset(l->news.mem, 0, PAGE);
		write_node(l, "news-ref", l->news.refs[0]);
		write_node(l, "news-port", l->news_port);
	}
	write_node(l, "shared-channel", l->mode == SHARED_CHANNEL);
	write_node(l, "event-index", 0);
	write_node(l, "status", l->mode == BY_STATUS);
	write_node(l, "datagram", l->mode == DATAGRAMS ||
		   l->mode == DATAGRAM_INFO || l->mode == SHARED_CHANNEL);
	write_node(l, "datagram-info", l->mode == DATAGRAM_INFO);
	write_node(l, "ring-reuse", l->mode == REUSE ||
		   l->mode == SHARED_CHANNEL);
	write_node(l, "urgent", l->mode == URGENT);
	write_node(l, "ring-resize", l->mode == RESIZE);
	write_node(l, "version", 1);
	write_node(l, "ring-ref", l->page.refs[0]);
	write_node(l, "port", l->port);
	return write_node(l, "state", INITIALISING) &&
	       xs_wait_state(l->backend, INIT_WAIT);
}

bool link_finish(struct link *l)
{
	return write_node(l, "state", INITIALISED) &&
	       xs_wait_state(l->backend, CONNECTED) &&
	       write_node(l, "state", CONNECTED);
}

bool link_up(struct link *l)
{
	return link_begin(l) && link_finish(l);
}

void link_drop(struct link *l)
{
	pages_free(&l->page);
	pages_free(&l->news);
	close(l->evtchn);
}

void link_down(struct link *l)
{
	write_node(l, "state", CLOSING);
	xs_wait_state(l->backend, CLOSING);
	write_node(l, "state", CLOSED);
	xs_wait_state(l->backend, CLOSED);
	link_drop(l);
}

void put_slot(struct link *l, const void *slot)
{
	memcpy(&l->slots[l->req_prod % SLOTS], slot, sizeof(struct request));
	store(&l->words[REQ_PROD], ++l->req_prod);
	evtchn_notify(l->evtchn, l->port);
}

bool take_response(struct link *l, struct response *response)
{
	if (load(&l->words[RSP_PROD]) == l->rsp_cons)
		return false;
	memcpy(response, &l->slots[l->rsp_cons++ % SLOTS], sizeof(*response));
	response->cmd = from_dialect(l, response->cmd);
	return true;
}

bool wait_response(struct link *l, struct response *response, int msec)
{
	__u64 deadline = now_msec() + msec;

	while (!take_response(l, response)) {
		if (now_msec() > deadline)
			return false;
		sleep_usec(100);
	}
	return true;
}

__u32 send_request(struct link *l, struct request *r)
{
	struct request copy = *r;

	copy.req_id = ++l->req_id;
	copy.cmd = to_dialect(l, r->cmd);
	r->req_id = copy.req_id;
	put_slot(l, &copy);
	return copy.req_id;
}

int wait_response_to(struct link *l, __u32 req_id, struct response *response)
{
	unsigned int i;

	for (i = 0; i < l->n_kept; i++) {
		if (l->kept[i].req_id != req_id)
			continue;
		*response = l->kept[i];
		l->kept[i] = l->kept[--l->n_kept];
		return response->ret;
	}
	while (wait_response(l, response, TIMEOUT_MSEC)) {
		if (response->req_id == req_id)
			return response->ret;
		if (l->n_kept < SLOTS)
			l->kept[l->n_kept++] = *response;
	}
	return NO_RESPONSE;
}

int do_request(struct link *l, struct request *r)
{
	struct response response;
	int ret = wait_response_to(l, send_request(l, r), &response);

	if (ret != NO_RESPONSE &&
	    (response.cmd != r->cmd || response.id != r->id))
		return NO_RESPONSE;
	return ret;
}

int req_socket(struct link *l, __u64 id)
{
	struct request r = {
		.cmd = SOCKET,
		.id = id,
		.socket = { .domain = 2, .type = 1 },
	};

	return do_request(l, &r);
}

int req_release(struct link *l, __u64 id, bool abort)
{
	struct request r = {
		.cmd = RELEASE,
		.id = id,
		.release = { .abort = abort },
	};

	return do_request(l, &r);
}

int req_with_socket(struct link *l, struct request *r)
{
	int ret = req_socket(l, r->id);

	if (ret)
		return ret;
	ret = do_request(l, r);
	return req_release(l, r->id, true) ? NO_RESPONSE : ret;
}

bool raw_ring(struct link *l, struct raw_conn *c, unsigned int order)
{
	unsigned int i, count = 1U << order;

	memset(c, 0, sizeof(*c));
	c->id = l->next_id++;
	if (l->mode == SHARED_CHANNEL) {
		c->port = l->next_slot++ % NEWS_SLOTS;
	} else {
		c->port = evtchn_alloc(l->evtchn, l->backend_id);
		if (!c->port)
			return false;
	}
	if (!pages_grant(&c->pages, l->backend_id, 1 + count, true))
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

struct request raw_request(struct raw_conn *c, const char *host, unsigned int port)
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

int raw_connect(struct link *l, struct raw_conn *c, const char *host,
		unsigned int port)
{
	struct request r = raw_request(c, host, port);
	int ret = req_socket(l, c->id);

	if (ret)
		return ret;
	c->req_id = send_request(l, &r);
	return raw_outcome(l, c, NULL);
}

/* Returns the outcome, from the response or from the status word. */
int raw_outcome(struct link *l, struct raw_conn *c, struct sockaddr_in *name)
{
	struct response response;
	int ret = c->req_id ? wait_response_to(l, c->req_id, &response) : 0;
	const void *found = response.addr;

	if (l->mode == BY_STATUS && !ret) {
		if (!raw_wait_error(c, STATUS))
			return NO_RESPONSE;
		ret = load(&c->words[STATUS]);
		ret = ret == 1 ? 0 : ret;
		found = &c->words[NAME];
	}
	if (name)
		memcpy(name, found, sizeof(*name));
	return ret;
}

bool raw_open(struct link *l, struct raw_conn *c, unsigned int order,
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

void raw_renew(struct link *l, struct raw_conn *c)
{
	c->id = l->next_id++;
	memset(c->words, 0, RING_ORDER * sizeof(*c->words));
	c->in_cons = 0;
	c->out_prod = 0;
}

int req_keep(struct link *l, struct raw_conn *c, bool abort)
{
	struct request r = {
		.cmd = RELEASE,
		.id = c->id,
		.release = { .reuse = true, .abort = abort },
	};

	return do_request(l, &r);
}

int req_unmap(struct link *l, struct raw_conn *c)
{
	struct request r = {
		.cmd = UNMAP,
		.unmap = { .ref = c->pages.refs[0], .evtchn = c->port },
	};

	return do_request(l, &r);
}

void raw_free(struct link *l, struct raw_conn *c)
{
	if (l->mode != SHARED_CHANNEL)
		evtchn_close(l->evtchn, c->port);
	pages_free(&c->pages);
}

int raw_close(struct link *l, struct raw_conn *c, bool abort)
{
	int ret = req_release(l, c->id, abort);

	raw_free(l, c);
	return ret;
}

static bool set_bit(char *words, unsigned int n)
{
	__u32 bit = 1U << n % 32;

	return !(__atomic_fetch_or((__u32 *)words + n / 32, bit,
				   __ATOMIC_SEQ_CST) & bit);
}

bool news_set(char *page, const struct news *d, __u32 slot)
{
	return set_bit(page + d->bits, slot);
}

bool news_summarize(char *page, const struct news *d, __u32 slot)
{
	return set_bit(page + d->summary, slot / 32);
}

static bool take_bit(char *words, unsigned int n)
{
	__u32 bit = 1U << n % 32;

	return __atomic_fetch_and((__u32 *)words + n / 32, ~bit,
				  __ATOMIC_SEQ_CST) & bit;
}

bool news_take(char *page, const struct news *d, __u32 slot)
{
	take_bit(page + d->summary, slot / 32);
	return take_bit(page + d->bits, slot);
}

bool news_wait(char *page, const struct news *d, __u32 slot)
{
	__u64 deadline = now_msec() + TIMEOUT_MSEC;

	while (!news_take(page, d, slot)) {
		if (now_msec() > deadline)
			return false;
		sleep_usec(100);
	}
	return true;
}

void raw_notify(struct link *l, struct raw_conn *c)
{
	if (l->mode != SHARED_CHANNEL)
		return evtchn_notify(l->evtchn, c->port);
	news_set(l->news.mem, &news_out, c->port);
	if (news_summarize(l->news.mem, &news_out, c->port))
		evtchn_notify(l->evtchn, l->news_port);
}

size_t raw_send(struct link *l, struct raw_conn *c, const void *data, size_t len)
{
	__u64 deadline = now_msec() + TIMEOUT_MSEC;
	__u32 room, at;
	size_t n, done = 0;

	while (done < len && now_msec() < deadline &&
	       !load(&c->words[OUT_ERROR])) {
		room = c->size - (c->out_prod - load(&c->words[OUT_CONS]));
		at = c->out_prod % c->size;
		n = len - done < room ? len - done : room;
		if (n > c->size - at)
			n = c->size - at;
		if (!n || room > c->size) {
			sleep_usec(100);
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

size_t raw_recv(struct link *l, struct raw_conn *c, void *data, size_t len)
{
	__u64 deadline = now_msec() + TIMEOUT_MSEC;
	__u32 ready, error, at;
	size_t n, done = 0;

	while (done < len && now_msec() < deadline) {
		error = load(&c->words[IN_ERROR]);
		ready = load(&c->words[IN_PROD]) - c->in_cons;
		at = c->in_cons % c->size;
		n = len - done < ready ? len - done : ready;
		if (n > c->size - at)
			n = c->size - at;
		if (!n && error)
			break;
		if (!n || ready > c->size) {
			sleep_usec(100);
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

bool raw_wait_error(struct raw_conn *c, unsigned int word)
{
	__u64 deadline = now_msec() + TIMEOUT_MSEC;

	while (!load(&c->words[word])) {
		if (now_msec() > deadline)
			return false;
		sleep_usec(100);
	}
	return true;
}

int req_bind(struct link *l, __u64 id, const char *host, unsigned int port,
	     struct sockaddr_in *bound)
{
	struct sockaddr_in sin = address(host, port);
	struct request r = { .cmd = BIND, .id = id };
	struct response response;
	int ret;

	memcpy(r.bind.addr, &sin, sizeof(sin));
	r.bind.len = sizeof(sin);
	ret = wait_response_to(l, send_request(l, &r), &response);
	if (bound)
		memcpy(bound, response.addr, sizeof(*bound));
	return ret;
}

int req_listen(struct link *l, __u64 id, unsigned int backlog)
{
	struct request r = { .cmd = LISTEN, .id = id, .backlog = backlog };

	return do_request(l, &r);
}

int req_shutdown(struct link *l, __u64 id, int how)
{
	struct request r = { .cmd = SHUTDOWN, .id = id, .how = how };

	return do_request(l, &r);
}

int req_name(struct link *l, __u64 id, bool remote, struct sockaddr_in *name)
{
	struct request r = { .cmd = GETNAME, .id = id, .peer = remote };
	struct response response;
	int ret = wait_response_to(l, send_request(l, &r), &response);

	memcpy(name, response.addr, sizeof(*name));
	return ret;
}

bool raw_listen(struct link *l, struct raw_listener *s, unsigned int backlog)
{
	struct sockaddr_in bound;
	static unsigned int next;
	unsigned int port = 0;

	/* PV Calls does not report the port. Each test is a process of its own. */
	if (l->mode == PVCALLS)
		port = 10000 + getpid() % 1000 * 8 + next++;

	s->id = l->next_id++;
	if (req_socket(l, s->id) ||
	    req_bind(l, s->id, opt.host, port, &bound) ||
	    req_listen(l, s->id, backlog))
		return false;
	s->port = port ?: ntohs(bound.sin_port);
	return true;
}

int raw_post(struct link *l, struct raw_listener *s, struct raw_conn *c)
{
	struct request r = {
		.cmd = ACCEPT,
		.id = s->id,
		.accept = {
			.id_new = c->id,
			.ref = c->pages.refs[0],
			.evtchn = c->port,
		},
	};
	struct response response;
	int ret;

	c->req_id = send_request(l, &r);
	if (l->mode != BY_STATUS)
		return 0;
	ret = wait_response_to(l, c->req_id, &response);
	c->req_id = 0;
	return ret;
}

bool raw_post_new(struct link *l, struct raw_listener *s, struct raw_conn *c)
{
	return raw_ring(l, c, 1) && !raw_post(l, s, c);
}

bool raw_pair(struct link *l, struct raw_listener *s, struct raw_conn *server,
	      struct raw_conn *client)
{
	return raw_post_new(l, s, server) &&
	       raw_open(l, client, 1, s->port) && !raw_outcome(l, server, NULL);
}

bool raw_transfer(struct link *l, struct raw_conn *from, struct raw_conn *to, size_t len)
{
	static char sent[4096], got[4096];

	stream_fill(len, 0, sent, len);
	return raw_send(l, from, sent, len) == len &&
	       raw_recv(l, to, got, len) == len && !memcmp(sent, got, len);
}

void raw_peer_send(struct link *l, struct raw_peer *p, const char *text)
{
	raw_send(l, &p->control, text, strlen(text));
	raw_send(l, &p->control, "\n", 1);
}

const char *raw_peer_answer(struct link *l, struct raw_peer *p)
{
	size_t used = 0;

	while (used < sizeof(p->line) - 1 &&
	       raw_recv(l, &p->control, p->line + used, 1) == 1 &&
	       p->line[used] != '\n')
		used++;
	p->line[used] = 0;
	return p->line;
}

const char *raw_peer_run(struct link *l, struct raw_peer *p,
			 const char *text)
{
	raw_peer_send(l, p, text);
	return raw_peer_answer(l, p);
}

bool raw_peer_open(struct link *l, struct raw_peer *p)
{
	return raw_open(l, &p->control, 1, opt.port + PEER_CONTROL) &&
	       sscanf(raw_peer_run(l, p, "listen"), "ok %u", &p->port) == 1;
}

bool link_works(struct link *l)
{
	static char sent[10000], back[10000];
	size_t i, n = 2000;
	struct raw_conn c;
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

bool new_link_works(void)
{
	struct link l;
	bool ok = link_up(&l) && link_works(&l);

	link_down(&l);
	return ok;
}
