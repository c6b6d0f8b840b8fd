/* SPDX-License-Identifier: GPL-2.0 */
/*
 * net.xensock.*: which sockets of the guest are the backend's. Who changes
 * them is alone in the guest.
 */
#ifndef SETTINGS_H
#define SETTINGS_H

#include <stdbool.h>

#define LOCALHOST "127.0.0.1"

/* The errno of a write, or 0. */
int set(const char *name, const char *value);
const char *get(const char *name);
void restore(void);

/* How many sockets became what they are for this reason. */
long decided(const char *reason);

/* Of the guest's own TCP, on its loopback interface: as long as nothing is hijacked. */
int own_listener(void);
/* Connects to a listener in the guest and exchanges a word with what it accepts. */
bool talks_locally(int fd, int listener, unsigned int port);

#endif
