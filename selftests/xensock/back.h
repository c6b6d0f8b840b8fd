/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A backend in the user space of dom0, where no driver for the device is
 * loaded.
 */
#ifndef XENSOCK_SELFTEST_BACK_H
#define XENSOCK_SELFTEST_BACK_H

#include <stdatomic.h>

#include "raw.h"

/* The backend. A program has one, with one link at a time. */
struct back {
	unsigned int domid;
	/* The device has this type, and the link speaks PV Calls. */
	bool is_pvcalls;
	char front[64];
	char dir[64];
	int evtchn;
	__u32 port;
	__u32 *words;
	__u32 req_cons;
	__u32 rsp_prod;
	/* The news page and its channel, if rings share a channel. */
	char *news;
	__u32 news_port;
};

extern struct back back;
/* Set by SIGTERM. */
extern atomic_int back_is_over;

void back_init(unsigned int domid);
/* The same for a device of type pvcalls. */
void back_init_pvcalls(unsigned int domid);
/* Writes a node of our own directory. NULL removes the node. */
void back_node(const char *name, const char *value);
/* Makes an offer without features to a frontend that waits for one. */
bool back_begin(void);
/* Returns true if the frontend takes the offer within this time and the link is up. */
bool back_finish(unsigned int msec);
/* Closes the link and shares nothing of it any more. */
void back_end(void);

void *back_slot(__u32 index);
void back_publish(__u32 rsp_prod);
/* The response of a backend that keeps the rules. */
struct response back_response(const struct request *r, int ret);
void back_respond(const struct request *r, int ret);
/* Takes the next request. Returns false if there is none. */
bool back_take(struct request *r);

#endif
