// SPDX-License-Identifier: GPL-2.0
/* The link of a user-space backend. See back.h. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "back.h"
#include "util.h"

struct back back;
atomic_int back_is_over;

static void on_term(int sig)
{
	back_is_over = sig;
}

static void init(unsigned int domid, const char *type)
{
	back.domid = domid;
	signal(SIGTERM, on_term);
	snprintf(back.front, sizeof(back.front), "/local/domain/%u/device/%s/0",
		 domid, type);
	snprintf(back.dir, sizeof(back.dir),
		 "/local/domain/0/backend/%s/%u/0", type, domid);
}

void back_init(unsigned int domid)
{
	init(domid, "xensock");
}

void back_init_pvcalls(unsigned int domid)
{
	back.is_pvcalls = true;
	init(domid, "pvcalls");
}

void back_node(const char *name, const char *value)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/%s", back.dir, name);
	if (value)
		xs_write(path, "%s", value);
	else
		xs_remove(path);
}

static unsigned int front_number(const char *name)
{
	char path[96], value[32];

	snprintf(path, sizeof(path), "%s/%s", back.front, name);
	return xs_read(path, value, sizeof(value)) ? strtoul(value, NULL, 10) : 0;
}

/* A frontend that gives up closes. Before INITIALISING it may not have begun yet. */
static bool wait_front(enum state state, unsigned int msec)
{
	__u64 deadline = now_msec() + msec;
	enum state now;

	while ((now = xs_state(back.front)) != state) {
		if (back_is_over || now_msec() > deadline ||
		    (state != INITIALISING && now >= CLOSING))
			return false;
		sleep_usec(2000);
	}
	return true;
}

bool back_begin(void)
{
	back_node("state", "1");
	if (!wait_front(INITIALISING, WAIT_LIMIT_MSEC))
		return false;
	back_node("versions", "1");
	back_node("max-page-order", "9");
	back_node("feature-event-index", NULL);
	if (back.is_pvcalls) {
		back_node("function-calls", "1");
		back_node("feature-native", NULL);
	}
	return true;
}

bool back_finish(unsigned int msec)
{
	__u32 ref;

	back_node("state", "2");
	if (!wait_front(INITIALISED, msec))
		return false;
	ref = front_number("ring-ref");
	back.req_cons = 0;
	back.rsp_prod = 0;
	back.words = pages_map(back.domid, &ref, 1);
	back.evtchn = evtchn_open();
	back.port = evtchn_bind(back.evtchn, back.domid, front_number("port"));
	/* An earlier link in the native dialect may have left this node. */
	if (!back.is_pvcalls && front_number("shared-channel")) {
		ref = front_number("news-ref");
		back.news = pages_map(back.domid, &ref, 1);
		back.news_port = evtchn_bind(back.evtchn, back.domid,
					     front_number("news-port"));
	}
	if (!back.words || !back.port || !back.news != !back.news_port) {
		printf("no link: %m\n");
		return false;
	}
	store(&back.words[REQ_EVENT], 1);
	back_node("state", "4");
	return wait_front(CONNECTED, msec);
}

void back_end(void)
{
	back_node("state", "6");
	pages_unmap(back.words, 1);
	pages_unmap(back.news, 1);
	if (back.evtchn)
		close(back.evtchn);
	back.words = NULL;
	back.news = NULL;
	back.news_port = 0;
	back.evtchn = 0;
}

void *back_slot(__u32 index)
{
	return (char *)back.words + 64 + index % SLOTS * 64;
}

void back_publish(__u32 rsp_prod)
{
	store(&back.words[RSP_PROD], rsp_prod);
	evtchn_notify(back.evtchn, back.port);
}

struct response back_response(const struct request *r, int ret)
{
	struct response response = {
		.req_id = r->req_id,
		.cmd = r->cmd,
		.ret = ret,
		.id = r->id,
	};

	/* The address that was bound. */
	if (r->cmd == BIND && !ret) {
		memcpy(response.addr, r->bind.addr, sizeof(response.addr));
		response.len = r->bind.len;
	}
	return response;
}

void back_respond(const struct request *r, int ret)
{
	struct response response = back_response(r, ret);

	memcpy(back_slot(back.rsp_prod++), &response, sizeof(response));
	back_publish(back.rsp_prod);
}

bool back_take(struct request *r)
{
	if (load(&back.words[REQ_PROD]) == back.req_cons)
		return false;
	memcpy(r, back_slot(back.req_cons++), sizeof(*r));
	return true;
}
