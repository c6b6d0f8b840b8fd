// SPDX-License-Identifier: GPL-2.0
/* The test's side of the peer's remote control. See util.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

bool peer_open(struct peer *p, unsigned int rcvbuf)
{
	const char *text;

	memset(p, 0, sizeof(*p));
	p->control = connect_port(opt.port + PEER_CONTROL, SOCK_CLOEXEC);
	if (p->control < 0) {
		fprintf(stderr, "# no control connection to %s:%u: %m\n",
			opt.host, opt.port);
		return false;
	}
	text = peer_run(p, "listen %u", rcvbuf);
	return sscanf(text, "ok %u", &p->port) == 1;
}

void peer_close(struct peer *p)
{
	close(p->control);
}

bool peer_send(struct peer *p, const char *format, ...)
{
	va_list args;
	char text[128];
	int len;

	va_start(args, format);
	len = vsnprintf(text, sizeof(text) - 1, format, args);
	va_end(args);
	text[len++] = '\n';
	return send_all(p->control, text, len) == len;
}

/* The text is valid until the next answer is read. */
const char *peer_answer(struct peer *p)
{
	char *end;
	ssize_t n;

	p->have -= p->used;
	memmove(p->line, p->line + p->used, p->have);
	p->used = 0;
	while (!(end = memchr(p->line, '\n', p->have))) {
		n = recv(p->control, p->line + p->have,
			 sizeof(p->line) - p->have, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return "no answer";
		p->have += n;
	}
	*end = 0;
	p->used = end + 1 - p->line;
	return p->line;
}

const char *peer_run(struct peer *p, const char *format, ...)
{
	va_list args;
	char text[100];

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return peer_send(p, "%s", text) ? peer_answer(p) : "not sent";
}

int peer_accept(struct peer *p, int listener, int flags)
{
	peer_run(p, "connect %u", local_port(listener));
	if (strncmp(p->line, "ok", 2)) {
		fprintf(stderr, "# the peer cannot connect: %s\n", p->line);
		return -1;
	}
	return accept4(listener, NULL, NULL, flags);
}

static int accept_one(struct peer *p, int flags)
{
	int fd, listener = open_listener(1, 0);

	if (listener < 0)
		return -1;
	fd = peer_accept(p, listener, flags);
	close(listener);
	return fd;
}

int peer_connect(struct peer *p, int flags)
{
	int fd;

	if (opt.accepts)
		return accept_one(p, flags);
	fd = connect_port(p->port, flags);
	if (fd < 0) {
		fprintf(stderr, "# no connection to %s:%u: %m\n", opt.host,
			p->port);
		return -1;
	}
	if (strcmp(peer_run(p, "accept"), "ok")) {
		fprintf(stderr, "# accept: %s\n", p->line);
		close(fd);
		return -1;
	}
	return fd;
}

bool peer_refused(struct peer *p, unsigned int port)
{
	int error;

	peer_run(p, "connect %u", port);
	return sscanf(p->line, "err %d", &error) == 1 && error == ECONNREFUSED;
}
