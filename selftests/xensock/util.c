// SPDX-License-Identifier: GPL-2.0
/* See util.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/xensock.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

struct options opt = {
	.family = AF_XENSOCK,
	.host = "192.0.2.1",
	.host6 = "2001:db8::1",
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
	"  --family xensock|inet|pvcalls   the family under test (xensock)\n"
	"  --side connect|accept   who makes the connections (connect)\n"
	"  --host ADDR --port N    where the peer listens (192.0.2.1, 7000)\n"
	"  --host6 ADDR            where else the peer is (2001:db8::1)\n"
	"  --ports N               listeners take one of the 10,000 from there on\n"
	"  --scope N               interface of the peer's link-local address\n"
	"  --user N                who runs the test (root)\n"
	"  --blackhole ADDR        takes packets and never answers\n"
	"  --unreachable ADDR      a route of type unreachable leads there\n"
	"  --noroute ADDR          no route leads there\n"
	"  --absent ADDR           no host has it, on a link that has others\n"
	"  --bytes N[k|m]          bytes each way (bulk)\n"
	"  --sockets N --cycles N  (many)\n"
	"  --seed N                of the random sizes\n";

static bool parse_one(const char *name, const char *value)
{
	char *end;

	if (!strcmp(name, "family")) {
		if (!strcmp(value, "xensock"))
			opt.family = AF_XENSOCK;
		else if (!strcmp(value, "inet"))
			opt.family = AF_INET;
		else if (!strcmp(value, "pvcalls"))
			opt.family = AF_ECONET; /* see pvcalls_user */
		else
			return false;
	} else if (!strcmp(name, "side")) {
		if (strcmp(value, "connect") && strcmp(value, "accept"))
			return false;
		opt.accepts = value[0] == 'a';
	} else if (!strcmp(name, "host")) {
		opt.host = value;
	} else if (!strcmp(name, "host6")) {
		opt.host6 = value;
	} else if (!strcmp(name, "ports")) {
		opt.ports = strtoul(value, NULL, 10);
	} else if (!strcmp(name, "scope")) {
		opt.scope = strtoul(value, NULL, 10);
	} else if (!strcmp(name, "user")) {
		opt.user = strtoul(value, NULL, 10);
	} else if (!strcmp(name, "blackhole")) {
		opt.blackhole = value;
	} else if (!strcmp(name, "unreachable")) {
		opt.unreachable = value;
	} else if (!strcmp(name, "noroute")) {
		opt.noroute = value;
	} else if (!strcmp(name, "absent")) {
		opt.absent = value;
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

	getrandom(&opt.random, sizeof(opt.random), 0);
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
	if (opt.user && setuid(opt.user)) {
		perror("setuid");
		exit(4);
	}
	return kept;
}

/* splitmix64 of the word's index: without state, so any offset costs the same */
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
	 * A full buffer may be drained into the next one a moment later. The
	 * socket is full for good when not one byte fits and there is no
	 * progress for a while.
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
			wait_room(fd, 600);
	}
	free(data);
	return done;
}

int rounds(int whole)
{
	return getenv("SOAK") ? whole : (whole + 4) / 5;
}

__u64 now_msec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

bool wait_readable(int fd, size_t bytes)
{
	__u64 deadline = now_msec() + WAIT_LIMIT_MSEC;
	char *data = malloc(bytes);
	ssize_t n;

	do {
		n = recv(fd, data, bytes, MSG_PEEK | MSG_DONTWAIT);
		if (n == (ssize_t)bytes || !n || (n < 0 && errno != EAGAIN))
			break;
		poll(NULL, 0, 1);
	} while (now_msec() < deadline);
	free(data);
	return n == (ssize_t)bytes;
}

bool wait_poll(int fd, short events, short *revents)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	int n = poll(&pfd, 1, WAIT_LIMIT_MSEC);

	if (revents)
		*revents = pfd.revents;
	return n == 1;
}

bool wait_room(int fd, int msec)
{
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };
	socklen_t len = sizeof(int);
	int left, value;

	for (left = msec; left > 0; left -= 10) {
		if (poll(&pfd, 1, 10) == 1)
			return true;
		/* The backend answers this: it has run in the meantime. */
		if (left % 100 == 0)
			getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &value, &len);
	}
	return poll(&pfd, 1, 0) == 1;
}

long count_of(const char *name)
{
	FILE *f = fopen("/sys/kernel/debug/xensock/xensock-0", "r");
	char word[32];
	long n, found = -1;

	while (f && found < 0 && fscanf(f, "%31s %ld", word, &n) == 2)
		if (!strcmp(word, name))
			found = n;
	if (f)
		fclose(f);
	return found;
}

bool wait_count(const char *name, long wanted)
{
	__u64 deadline = now_msec() + WAIT_LIMIT_MSEC;
	long count;

	while ((count = count_of(name)) != wanted) {
		if (now_msec() > deadline) {
			printf("# %s is %ld, not %ld\n", name, count, wanted);
			return false;
		}
		poll(NULL, 0, 1);
	}
	return true;
}

void allow_files(unsigned int count)
{
	struct rlimit limit = { .rlim_cur = count, .rlim_max = count };

	if (setrlimit(RLIMIT_NOFILE, &limit))
		perror("RLIMIT_NOFILE");
}

#define ALL_EVENTS (POLLIN | POLLPRI | POLLOUT | POLLRDNORM | POLLRDBAND | \
		    POLLWRNORM | POLLWRBAND | POLLRDHUP)

int poll_now(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = ALL_EVENTS };

	return poll(&pfd, 1, 0) < 0 ? -1 : pfd.revents;
}

int watch(int ep, int op, int fd, __u32 events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };

	return epoll_ctl(ep, op, fd, &event);
}

__u32 events_within(int ep, int msec)
{
	struct epoll_event event = { 0 };

	return epoll_wait(ep, &event, 1, msec) == 1 ? event.events : 0;
}
