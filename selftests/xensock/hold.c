// SPDX-License-Identifier: GPL-2.0
/*
 * Holds sockets in every state while something happens to the link, prints
 * "ready", and then what each of them was told.
 *
 *   hold lost    waits until all have been told; then connects until that works
 *   hold busy    exchanges data on all its sockets for ever
 *   hold holes   connects --sockets to the black hole, and waits until all fail
 *   hold refused has --sockets that were refused, and never uses them again
 *   hold idle    connects --sockets and leaves them idle
 *   hold full    the same, and sends on each as much as it takes at once
 *   hold drain   closes --sockets with unsent data that nobody reads, as the
 *                user nobody
 *   hold swollen fills --sockets with data that nobody reads, as the user
 *                nobody
 *   hold nobody  connects as many sockets as the user nobody can have, up to
 *                --sockets: prints why there cannot be more
 *   hold burst   connects --sockets to the port and sends --bytes on each. Sends
 *                on all at once, whatever has room, when there is a file /tmp/go
 *   hold unread  has --sockets, each of which has received a part of --bytes;
 *                reads the rest when there is a file /tmp/go, and prints how
 *                many received everything
 *   hold waiting has --sockets listening, with a backlog of 128, and accepts
 *                nothing: prints the port of each first
 *   hold roomy   the same, with the largest receive buffers
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util.h"

/* A new socket works again within this time. */
#define RECOVERY_MSEC 60000

enum wait { IN_RECV, IN_SEND, IN_POLL, IN_EPOLL, IN_CONNECT, WAITS };

static const char *const names[WAITS] = {
	"recv", "send", "poll", "epoll", "connect",
};

struct holder {
	pthread_t thread;
	enum wait wait;
	int fd;
	atomic_int tid;
	ssize_t result;
	int error;
	__u64 end_msec;
};

static char flood[8 << 20];

static void wait_in_poll(struct holder *h)
{
	struct pollfd pfd = { .fd = h->fd, .events = POLLIN | POLLRDHUP };

	poll(&pfd, 1, -1);
	h->result = pfd.revents;
	h->error = so_error(h->fd);
}

static void wait_in_epoll(struct holder *h)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int ep = epoll_create1(0);

	epoll_ctl(ep, EPOLL_CTL_ADD, h->fd, &event);
	/* Saving the guest interrupts the call. */
	while (epoll_wait(ep, &event, 1, -1) < 0 && errno == EINTR)
		;
	h->result = event.events;
	h->error = so_error(h->fd);
	close(ep);
}

static void *holder_thread(void *arg)
{
	struct holder *h = arg;
	char c;

	h->tid = syscall(SYS_gettid);
	switch (h->wait) {
	case IN_RECV:
		h->result = recv(h->fd, &c, 1, 0);
		h->error = errno;
		break;
	case IN_SEND:
		do {
			h->result = send(h->fd, flood, sizeof(flood),
					 MSG_NOSIGNAL);
		} while (h->result > 0);
		h->error = errno;
		break;
	case IN_POLL:
		wait_in_poll(h);
		break;
	case IN_EPOLL:
		wait_in_epoll(h);
		break;
	default:
		h->result = connect_to(h->fd, opt.blackhole, 80);
		h->error = errno;
	}
	h->end_msec = now_msec();
	return NULL;
}

static bool start_holder(struct holder *h, struct peer *p, enum wait wait)
{
	h->wait = wait;
	h->tid = 0;
	h->fd = wait == IN_CONNECT ? new_socket(0) : peer_connect(p, 0);
	/* The attempt must last longer than the test. */
	if (h->fd >= 0 && wait == IN_CONNECT)
		connect_for_long(h->fd);
	if (h->fd < 0 || pthread_create(&h->thread, NULL, holder_thread, h))
		return false;
	while (!h->tid)
		;
	return wait_asleep(h->tid);
}

static bool check_result(const struct holder *h)
{
	bool polled = h->wait == IN_POLL || h->wait == IN_EPOLL;
	bool reset = h->error == ECONNRESET || h->error == EPIPE;

	printf("%s: %zd, %s\n", names[h->wait], h->result,
	       strerrorname_np(h->error));
	if (polled)
		return reset && (h->result & POLLERR) && (h->result & POLLHUP);
	if (h->wait == IN_CONNECT)
		return h->result == -1 && h->error != EINTR &&
		       h->error != ETIMEDOUT;
	return h->result == -1 && reset;
}

/* The old sockets stay dead. A new one works once the link does. */
static bool check_recovery(const struct holder *holder)
{
	__u64 deadline = now_msec() + RECOVERY_MSEC;
	char data[10];
	int fd = -1;

	if (send(holder->fd, "x", 1, MSG_NOSIGNAL) != -1 || errno != EPIPE ||
	    recv(holder->fd, data, 1, 0) != 0) {
		printf("a dead socket is not quite dead\n");
		return false;
	}
	while ((fd = connect_port(opt.port + PEER_ECHO, 0)) < 0) {
		if (errno != ENETDOWN && errno != ENODEV) {
			printf("meanwhile: %s\n", strerrorname_np(errno));
			return false;
		}
		if (now_msec() > deadline)
			return false;
		poll(NULL, 0, 20);
	}
	if (send_all(fd, "0123456789", 10) < 0 || recv_all(fd, data, 10) != 10)
		return false;
	close(fd);
	return !memcmp(data, "0123456789", 10);
}

/* Returns a connection that both ends have finished. */
static int open_finished(void)
{
	int fd = connect_port(opt.port + PEER_ECHO, 0);
	char c;

	if (fd < 0 || shutdown(fd, SHUT_WR) || recv(fd, &c, 1, 0) || !wait_poll(fd, 0, NULL))
		return -1;
	return fd;
}

static int lost(void)
{
	struct holder holders[WAITS];
	struct peer peers[WAITS];
	__u64 first = ~0ULL, last = 0;
	int i, finished = open_finished();
	bool ok = true;

	if (finished < 0) {
		printf("no connection has been finished: %m\n");
		return 1;
	}
	for (i = 0; i < WAITS; i++) {
		if (!peer_open(&peers[i], 16384) ||
		    !start_holder(&holders[i], &peers[i], i)) {
			printf("cannot get into %s\n", names[i]);
			return 1;
		}
	}
	printf("ready\n");
	for (i = 0; i < WAITS; i++) {
		pthread_join(holders[i].thread, NULL);
		first = holders[i].end_msec < first ? holders[i].end_msec : first;
		last = holders[i].end_msec > last ? holders[i].end_msec : last;
		ok &= check_result(&holders[i]);
	}
	printf("told within %llu ms\n", (last - first));
	if (!ok || last - first > AT_ONCE_MSEC)
		return 1;
	if (!check_recovery(&holders[IN_RECV])) {
		printf("no new socket works\n");
		return 1;
	}
	/* As with TCP, it cannot fail any more. */
	if (so_error(finished) || poll_now(finished) & POLLERR) {
		printf("a finished connection has failed\n");
		return 1;
	}
	printf("recovered\n");
	return 0;
}

#define BUSY 8

static void busy(void)
{
	static char data[65536];
	int i, fds[BUSY];

	for (i = 0; i < BUSY; i++) {
		fds[i] = connect_port(opt.port + PEER_ECHO, SOCK_NONBLOCK);
		if (fds[i] < 0) {
			perror("hold");
			exit(1);
		}
	}
	/* Sends and receives as much as the sockets take, ignoring errors. */
	for (i = 0;; i++) {
		struct pollfd pfd = { fds[i % BUSY], POLLIN | POLLOUT, 0 };

		if (i == 20 * BUSY)
			printf("ready\n");
		poll(&pfd, 1, 10);
		send(pfd.fd, data, sizeof(data), MSG_NOSIGNAL);
		/* The link is lost. The sockets stay open. */
		if (recv(pfd.fd, data, sizeof(data), 0) == 0)
			pause();
	}
}

static int holes(void)
{
	struct pollfd *pfds = calloc(opt.sockets, sizeof(*pfds));
	unsigned int i;

	for (i = 0; i < opt.sockets; i++) {
		pfds[i].fd = new_socket(SOCK_NONBLOCK);
		pfds[i].events = POLLOUT;
		if (!connect_to(pfds[i].fd, opt.blackhole, 80) ||
		    errno != EINPROGRESS) {
			perror("hold");
			return 1;
		}
	}
	printf("ready\n");
	for (i = 0; i < opt.sockets; i++) {
		poll(&pfds[i], 1, -1);
		if (so_error(pfds[i].fd) != ETIMEDOUT)
			return 1;
	}
	return 0;
}

static int refused(void)
{
	int fd, closed = new_socket(0);
	unsigned int i;

	if (bind_to(closed, opt.host, 0)) {
		perror("hold: bind");
		return 1;
	}
	for (i = 0; i < opt.sockets; i++) {
		fd = new_socket(0);
		if (!connect_to(fd, opt.host, local_port(closed)) ||
		    errno != ECONNREFUSED) {
			perror("hold: connect");
			return 1;
		}
	}
	printf("ready\n");
	pause();
	return 0;
}

static int nobody(void)
{
	unsigned int i;

	allow_files(opt.sockets + 64);
	if (setuid(65534)) {
		perror("setuid");
		return 4;
	}
	for (i = 0; i < opt.sockets; i++)
		if (connect_port(opt.port + PEER_ECHO, 0) < 0)
			break;
	printf("full: %s\n", i < opt.sockets ? strerror(errno) : "it is not");
	for (;;)
		pause();
}

/* The data waits in connections that nobody accepts. */
static int drain(void)
{
	static const char data[1 << 16];
	unsigned int i, port;
	int fd, listener;

	if (setuid(65534)) {
		perror("setuid");
		return 4;
	}
	listener = open_listener(128, 0);
	port = local_port(listener);
	for (i = 0; i < opt.sockets; i++) {
		fd = connect_port(port, 0);
		if (fd < 0)
			break;
		while (send(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
			;
		close(fd);
	}
	printf("closed: %u\n", i);
	for (;;)
		pause();
}

/* What is sent waits in the rings, as there are no buffers to speak of elsewhere. */
static int swollen(void)
{
	static const char data[1 << 18];
	int fd, listener, rcvbuf = 4096, sndbuf = 100000;
	unsigned int i;

	allow_files(opt.sockets + 64);
	if (setuid(65534)) {
		perror("setuid");
		return 4;
	}
	listener = new_socket(0);
	if (setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf)) ||
	    bind_to(listener, ANY_HOST, 0) || listen(listener, 128)) {
		perror("hold: listen");
		return 1;
	}
	for (i = 0; i < opt.sockets; i++) {
		fd = new_socket(0);
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
		if (connect_to(fd, opt.host, local_port(listener))) {
			perror("hold: connect");
			return 1;
		}
		while (send(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
			;
	}
	printf("ready\n");
	for (;;)
		pause();
}

static int idle(bool fills)
{
	unsigned int i;
	char c = 0;
	int fd;

	allow_files(opt.sockets + 64);
	for (i = 0; i < opt.sockets; i++) {
		fd = connect_port(opt.port + PEER_ECHO, 0);
		if (fd < 0 || send(fd, &c, 1, 0) != 1 ||
		    recv(fd, &c, 1, 0) != 1 ||
		    (fills && send(fd, flood, sizeof(flood), MSG_DONTWAIT) < 0)) {
			fprintf(stderr, "hold: socket %u: %m\n", i);
			return 1;
		}
	}
	printf("ready\n");
	pause();
	return 0;
}

/* Reads what is there of a stream, up to @end. @done is the number of bytes read so far. */
static bool read_part(int fd, __u64 seed, __u64 *done, __u64 end)
{
	static char data[65536];
	__u64 len = end - *done;
	ssize_t n;

	n = recv(fd, data, len < sizeof(data) ? len : sizeof(data), 0);
	if (n <= 0 || !stream_check(seed, *done, data, n))
		return false;
	*done += n;
	return true;
}

static int unread(void)
{
	struct exchange x = { .down = opt.bytes };
	__u64 part = opt.bytes / 5 * 2;
	struct pollfd *pfds = calloc(opt.sockets, sizeof(*pfds));
	__u64 *done = calloc(opt.sockets, sizeof(*done));
	unsigned int i, left = opt.sockets, good = 0;

	allow_files(opt.sockets + 64);
	for (i = 0; i < opt.sockets; i++) {
		pfds[i].fd = connect_port(opt.port + PEER_EXCHANGE, 0);
		pfds[i].events = POLLIN;
		x.seed = i;
		if (pfds[i].fd < 0 ||
		    send_all(pfds[i].fd, &x, sizeof(x)) < 0) {
			fprintf(stderr, "hold: socket %u: %m\n", i);
			return 1;
		}
		while (done[i] < part)
			if (!read_part(pfds[i].fd, i + 1, &done[i], part))
				return 1;
	}
	printf("ready\n");
	while (access("/tmp/go", F_OK))
		poll(NULL, 0, 50);
	while (left) {
		poll(pfds, opt.sockets, -1);
		for (i = 0; i < opt.sockets; i++) {
			if (!pfds[i].revents)
				continue;
			if (read_part(pfds[i].fd, i + 1, &done[i], opt.bytes) &&
			    done[i] < opt.bytes)
				continue;
			good += done[i] == opt.bytes;
			pfds[i].fd = -1;
			left--;
		}
	}
	printf("%u\n", good);
	return 0;
}

static int burst(void)
{
	int *fds = calloc(opt.sockets, sizeof(*fds));
	unsigned int i;

	allow_files(opt.sockets + 64);
	for (i = 0; i < opt.sockets; i++) {
		fds[i] = connect_port(opt.port, 0);
		if (fds[i] < 0 || send_all(fds[i], flood, opt.bytes) < 0) {
			fprintf(stderr, "hold: socket %u: %m\n", i);
			return 1;
		}
	}
	printf("ready\n");
	while (access("/tmp/go", F_OK))
		poll(NULL, 0, 10);
	for (i = 0;; i = (i + 1) % opt.sockets) {
		/* Rings that have shrunk meanwhile grow again. */
		send(fds[i], flood, opt.bytes, MSG_DONTWAIT);
		if (i == opt.sockets - 1)
			poll(NULL, 0, 10);
	}
}

static int waiting(bool roomy)
{
	int fd, rcvbuf = 1 << 30;
	unsigned int i;

	for (i = 0; i < opt.sockets; i++) {
		fd = open_listener(128, 0);
		if (fd < 0 || (roomy && setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf,
						   sizeof(rcvbuf)))) {
			fprintf(stderr, "hold: socket %u: %m\n", i);
			return 1;
		}
		printf("%u\n", local_port(fd));
	}
	printf("ready\n");
	pause();
	return 0;
}

int main(int argc, char **argv)
{
	argc = parse_options(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	if (argc == 2 && !strcmp(argv[1], "busy"))
		busy();
	if (argc == 2 && !strcmp(argv[1], "lost"))
		return lost();
	if (argc == 2 && !strcmp(argv[1], "holes"))
		return holes();
	if (argc == 2 && !strcmp(argv[1], "refused"))
		return refused();
	if (argc == 2 && !strcmp(argv[1], "idle"))
		return idle(false);
	if (argc == 2 && !strcmp(argv[1], "full"))
		return idle(true);
	if (argc == 2 && !strcmp(argv[1], "nobody"))
		return nobody();
	if (argc == 2 && !strcmp(argv[1], "swollen"))
		return swollen();
	if (argc == 2 && !strcmp(argv[1], "drain"))
		return drain();
	if (argc == 2 && !strcmp(argv[1], "waiting"))
		return waiting(false);
	if (argc == 2 && !strcmp(argv[1], "roomy"))
		return waiting(true);
	if (argc == 2 && !strcmp(argv[1], "burst"))
		return burst();
	if (argc == 2 && !strcmp(argv[1], "unread"))
		return unread();
	fprintf(stderr, "usage: hold lost|busy|holes|refused|idle|full|drain|nobody|burst|unread|waiting|"
		"roomy [options]\n");
	return 4;
}
