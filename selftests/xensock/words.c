// SPDX-License-Identifier: GPL-2.0
/*
 * The peer's end of a connection for a few distinct bytes: letters, some of
 * them urgent. See util.h for the commands.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "peer.h"

/* The longest word in an answer. */
#define WORD_MAX 100

void send_word(int fd, const char *word, int flags, char *answer, size_t size)
{
	ssize_t n = send(fd, word, strlen(word), MSG_NOSIGNAL | flags);

	if (n < 0)
		snprintf(answer, size, "err %d", errno);
	else
		snprintf(answer, size, "ok %zd", n);
}

static void format_word(ssize_t n, const char *word, char *answer, size_t size)
{
	if (n < 0)
		snprintf(answer, size, "err %d", errno);
	else if (!n)
		snprintf(answer, size, "eof");
	else
		snprintf(answer, size, "ok %.*s", (int)n, word);
}

void recv_word(int fd, char *answer, size_t size)
{
	char word[WORD_MAX];

	format_word(recv(fd, word, sizeof(word), 0), word, answer, size);
}

void recv_urgent(int fd, char *answer, size_t size)
{
	char byte;

	if (!wait_poll(fd, POLLPRI, NULL))
		snprintf(answer, size, "err %d", EAGAIN);
	else
		format_word(recv(fd, &byte, 1, MSG_OOB), &byte, answer, size);
}
