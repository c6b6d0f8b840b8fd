/* SPDX-License-Identifier: GPL-2.0 */
/*
 * net.xensock.*: the settings that decide which of the guest's sockets the backend carries. A test
 * that changes them must run alone in the guest.
 */
#ifndef SETTINGS_H
#define SETTINGS_H

#include <stdbool.h>

#define LOCALHOST "127.0.0.1"

/* Writes a setting. Returns 0 or an errno. */
int write_setting(const char *name, const char *value);
const char *read_setting(const char *name);
void restore_settings(void);

/* Returns the number of sockets decided for this reason. */
long decision_count(const char *reason);

/* Listens with the guest's own TCP on its loopback interface. Call it while hijacking is off. */
int local_listener(void);
/* Connects to a listener in the guest and exchanges a word with what it accepts. */
bool local_transfer(int fd, int listener, unsigned int port);

#endif
