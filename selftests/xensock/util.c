// SPDX-License-Identifier: GPL-2.0
/* See util.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/xensock.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

#define PATIENCE_MSEC 10000

struct options opt = {
	.family = AF_XENSOCK,
	.host = "192.0.2.1",
	.blackhole = "192.0.2.99",
	.unreachable = "203.0.113.1",
	.noroute = "198.51.100.1",
	.port = 7000,
	.sockets = 200,
	.cycles = 2000,
	.bytes = 1 << 20,
	.seed = 1,
};

static const char usage[] =
	"  --family xensock|inet   the family under test (xensock)\n"
	"  --host ADDR --port N    where the peer listens (192.0.2.1, 7000)\n"
	"  --blackhole ADDR        takes packets and never answers\n"
	"  --unreachable ADDR      a route of type unreachable leads there\n"
	"  --noroute ADDR          no route leads there\n"
	"  --bytes N[k|m]          bytes each way (bulk)\n"
	"  --sockets N --cycles N  (many)\n"
	"  --seed N                of the random sizes\n";

static bool parse_one(const char *name, const char *value)
{
	char *end;

	if (!strcmp(name, "family")) {
		if (strcmp(value, "inet") && strcmp(value, "xensock"))
			return false;
		opt.family = value[0] == 'i' ? AF_INET : AF_XENSOCK;
	} else if (!strcmp(name, "host")) {
		opt.host = value;
	} else if (!strcmp(name, "blackhole")) {
		opt.blackhole = value;
	} else if (!strcmp(name, "unreachable")) {
		opt.unreachable = value;
	} else if (!strcmp(name, "noroute")) {
		opt.noroute = value;
	} else if (!strcmp(name, "port")) {
		opt.port = strtoul(value, NULL, 10);
	} else if (!strcmp(name, "sockets")) {
		opt.sockets = strtoul(value, NULL, 10);
	} else if (!strcmp(name, "cycles")) {
		opt.cycles = strtoul(value, NULL, 10);
	} else if (!strcmp(name, "seed")) {
		opt.seed = strtoull(value, NULL, 10);
	} else if (!strcmp(name, "bytes")) {
		opt.bytes = strtoull(value, &end, 10);
		if (*end == 'k')
			opt.bytes <<= 10;
		else if (*end == 'm')
			opt.bytes <<= 20;
	} else {
		return false;
	}
	return true;
}

int parse_options(int argc, char **argv)
{
	int i, kept = 1;

	for (i = 1; i < argc; i++) {
		if (strncmp(argv[i], "--", 2)) {
			argv[kept++] = argv[i];
			continue;
		}
		if (i + 1 >= argc || !parse_one(argv[i] + 2, argv[i + 1])) {
			fprintf(stderr, "%s: %s?\n%s", argv[0], argv[i], usage);
			exit(4);
		}
		i++;
	}
	argv[kept] = NULL;
	return kept;
}

struct sockaddr_in address(const char *host, unsigned int port)
{
	struct sockaddr_in sin = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
	};

	if (inet_pton(AF_INET, host, &sin.sin_addr) != 1) {
		fprintf(stderr, "no IPv4: %s\n", host);
		exit(4);
	}
	return sin;
}

int new_socket(int flags)
{
	return socket(opt.family, SOCK_STREAM | flags, 0);
}

int connect_to(int fd, const char *host, unsigned int port)
{
	struct sockaddr_in sin = address(host, port);

	return connect(fd, (struct sockaddr *)&sin, sizeof(sin));
}

int open_port(unsigned int port, int flags)
{
	int fd = new_socket(flags & ~SOCK_NONBLOCK);
	int saved;

	if (fd < 0)
		return -1;
	if (connect_to(fd, opt.host, port)) {
		saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	set_nonblock(fd, flags & SOCK_NONBLOCK);
	return fd;
}

int so_error(int fd)
{
	socklen_t len = sizeof(int);
	int error = -1;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len))
		return -1;
	return error;
}

int set_timeout(int fd, int option, unsigned int msec)
{
	struct timeval tv = {
		.tv_sec = msec / 1000,
		.tv_usec = msec % 1000 * 1000,
	};

	return setsockopt(fd, SOL_SOCKET, option, &tv, sizeof(tv));
}

void set_nonblock(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

ssize_t send_all(int fd, const void *data, size_t len)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = send(fd, data + done, len - done, MSG_NOSIGNAL);
		if (n < 0)
			return -1;
		done += n;
	}
	return done;
}

ssize_t recv_all(int fd, void *data, size_t len)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = recv(fd, data + done, len - done, 0);
		if (n < 0)
			return -1;
		if (!n)
			break;
		done += n;
	}
	return done;
}

/* splitmix64 of the word's number: no state, so any offset costs the same */
static __u64 stream_word(__u64 seed, __u64 index)
{
	__u64 z = (seed << 48) + index * 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static size_t stream_piece(__u64 seed, __u64 offset, size_t len,
			   __u64 *word)
{
	size_t skip = offset % 8, n = 8 - skip;

	*word = stream_word(seed, offset / 8) >> (8 * skip);
	return n < len ? n : len;
}

void stream_fill(__u64 seed, __u64 offset, void *data, size_t len)
{
	__u64 word;
	size_t n;

	for (; len; len -= n, data += n, offset += n) {
		n = stream_piece(seed, offset, len, &word);
		memcpy(data, &word, n);
	}
}

bool stream_check(__u64 seed, __u64 offset, const void *data, size_t len)
{
	__u64 word;
	size_t n;

	for (; len; len -= n, data += n, offset += n) {
		n = stream_piece(seed, offset, len, &word);
		if (memcmp(data, &word, n))
			return false;
	}
	return true;
}

__u64 fill_socket(int fd, __u64 seed, size_t chunk)
{
	char *data = malloc(chunk);
	size_t piece = chunk;
	__u64 done = 0;
	int quiet = 0;
	ssize_t n;

	/*
	 * A full buffer may be drained into the next one a moment later: it
	 * is full for good when not one byte fits and there is no progress
	 * for a while.
	 */
	while (quiet < 2) {
		stream_fill(seed, done, data, piece);
		n = send(fd, data, piece, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			done += n;
			quiet = 0;
			piece = piece < chunk / 2 ? 2 * piece : chunk;
			continue;
		}
		if (errno != EAGAIN)
			break;
		piece /= 2;
		if (piece)
			continue;
		piece = chunk;
		if (++quiet < 2)
			poll(&(struct pollfd){ fd, POLLOUT, 0 }, 1, 300);
	}
	free(data);
	return done;
}

__u64 now_msec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

bool wait_readable(int fd, size_t bytes)
{
	__u64 until = now_msec() + PATIENCE_MSEC;
	char *data = malloc(bytes);
	ssize_t n;

	do {
		n = recv(fd, data, bytes, MSG_PEEK | MSG_DONTWAIT);
		if (n == (ssize_t)bytes || !n || (n < 0 && errno != EAGAIN))
			break;
		poll(NULL, 0, 1);
	} while (now_msec() < until);
	free(data);
	return n == (ssize_t)bytes;
}

bool wait_poll(int fd, short events, short *revents)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	int n = poll(&pfd, 1, PATIENCE_MSEC);

	if (revents)
		*revents = pfd.revents;
	return n == 1;
}

bool wait_asleep(pid_t tid)
{
	__u64 until = now_msec() + PATIENCE_MSEC;
	char path[64], text[256], *state;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	do {
		fd = open(path, O_RDONLY);
		if (fd < 0)
			return false;
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
		if (n <= 0)
			return false;
		text[n] = 0;
		state = strrchr(text, ')');
		if (state && state[2] == 'S')
			return true;
		poll(NULL, 0, 1);
	} while (now_msec() < until);
	return false;
}

#define ALL_EVENTS (POLLIN | POLLPRI | POLLOUT | POLLRDNORM | POLLRDBAND | \
		    POLLWRNORM | POLLWRBAND | POLLRDHUP)

int poll_now(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = ALL_EVENTS };

	return poll(&pfd, 1, 0) < 0 ? -1 : pfd.revents;
}

bool puppet_open(struct puppet *p, unsigned int rcvbuf)
{
	const char *text;

	memset(p, 0, sizeof(*p));
	p->control = open_port(opt.port + PEER_CONTROL, SOCK_CLOEXEC);
	if (p->control < 0) {
		fprintf(stderr, "# no control connection to %s:%u: %m\n",
			opt.host, opt.port);
		return false;
	}
	text = puppet_do(p, "listen %u", rcvbuf);
	return sscanf(text, "ok %u", &p->port) == 1;
}

void puppet_close(struct puppet *p)
{
	close(p->control);
}

bool puppet_say(struct puppet *p, const char *format, ...)
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

/* The text of an answer is good until the next one is asked for. */
const char *puppet_answer(struct puppet *p)
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

const char *puppet_do(struct puppet *p, const char *format, ...)
{
	va_list args;
	char text[100];

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return puppet_say(p, "%s", text) ? puppet_answer(p) : "not said";
}

int puppet_connect(struct puppet *p, int flags)
{
	int fd = open_port(p->port, flags);

	if (fd < 0) {
		fprintf(stderr, "# no connection to %s:%u: %m\n", opt.host,
			p->port);
		return -1;
	}
	if (strcmp(puppet_do(p, "accept"), "ok")) {
		fprintf(stderr, "# accept: %s\n", p->line);
		close(fd);
		return -1;
	}
	return fd;
}
