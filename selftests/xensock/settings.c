// SPDX-License-Identifier: GPL-2.0
/* The guest's settings that decide which of its sockets the backend carries. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "settings.h"
#include "util.h"

#define DIRECTORY "/proc/sys/net/xensock/"

int write_setting(const char *name, const char *value)
{
	char path[80];
	int fd, error = 0;

	snprintf(path, sizeof(path), DIRECTORY "%s", name);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return errno;
	if (write(fd, value, strlen(value)) < 0)
		error = errno;
	close(fd);
	return error;
}

const char *read_setting(const char *name)
{
	static char text[512];
	char path[80];
	ssize_t n = 0;
	int fd;

	snprintf(path, sizeof(path), DIRECTORY "%s", name);
	fd = open(path, O_RDONLY);
	if (fd >= 0) {
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return text;
}

long decision_count(const char *reason)
{
	const char *text = read_setting("decisions"), *found;
	char word[40];

	snprintf(word, sizeof(word), "%s=", reason);
	found = strstr(text, word);
	return found ? strtol(found + strlen(word), NULL, 10) : -1;
}

void restore_settings(void)
{
	write_setting("hijack", "0");
	write_setting("fallback", "0");
	write_setting("hijack_loopback", "1");
	write_setting("exempt_destinations", "");
	write_setting("exempt_bind_ports", "");
}

int local_listener(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd >= 0 && !bind_to(fd, LOCALHOST, 0) && !listen(fd, 8))
		return fd;
	close(fd);
	return -1;
}

bool local_transfer(int fd, int listener, unsigned int port)
{
	char word[4] = "";
	int other;
	bool good;

	if (connect_to(fd, LOCALHOST, port))
		return false;
	other = accept(listener, NULL, NULL);
	good = other >= 0 && send(fd, "ping", 4, 0) == 4 &&
	       recv_all(other, word, 4) == 4 && !memcmp(word, "ping", 4) &&
	       send(other, "pong", 4, 0) == 4 &&
	       recv_all(fd, word, 4) == 4 && !memcmp(word, "pong", 4);
	close(other);
	return good;
}
