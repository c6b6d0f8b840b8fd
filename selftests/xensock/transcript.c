// SPDX-License-Identifier: GPL-2.0
/*
 * Goes through everything that a peer can do to a connection and prints the
 * result of every call. Two families behave alike if their transcripts are
 * equal byte for byte. The program does not know what is right. Nothing that
 * it prints depends on time or on the size of buffers.
 *
 * A line of the script is a command for the peer after "<", or a call:
 *   connect refused   wait EVENTS   poll   recv N   peek N   all N   send N
 *   error   fill   read-all   close   shut rd|wr|rdwr   queued
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

static const char *const script[] = {
	"= the peer resets an idle connection",
	"poll", "< rst", "wait rdhup", "poll", "recv 10", "poll", "recv 10",
	"send 5", "error", "poll",
	"= the peer resets, found by send",
	"< rst", "wait rdhup", "send 5", "send 5", "recv 10", "poll",
	"= the peer resets, found by SO_ERROR",
	"< rst", "wait rdhup", "error", "error", "poll", "recv 10", "send 5",
	"= the peer resets after data that we have",
	"< send 10 1", "wait in", "peek 10", "< rst", "wait rdhup", "poll",
	"peek 4", "recv 4", "poll", "recv 100", "recv 100", "recv 100", "poll",
	"send 5",
	"= the peer resets with our data unread",
	"fill", "poll", "< rst", "wait rdhup", "poll", "send 5", "send 5",
	"recv 5",
	"= the peer half-closes at once",
	"< fin", "wait rdhup", "poll", "recv 10", "recv 10", "poll", "send 5",
	"< recv 5 1", "peek 5", "poll", "error",
	"= the peer half-closes after data, then resets",
	"< send 10 1", "< fin", "wait rdhup", "poll", "recv 4", "poll",
	"all 100", "recv 100", "poll", "send 5", "< recv 5 1", "< rst",
	"wait pri", "poll", "recv 5", "send 5", "error", "poll",
	"= the peer stops reading, then reads all",
	"fill", "poll", "send 5", "< send 10 2", "wait in", "poll", "recv 10",
	"read-all", "wait out", "poll", "send 5", "< recv 5 1", "close",
	"< drain 1",
	"= the peer stops reading and half-closes",
	"fill", "< fin", "wait rdhup", "poll", "recv 5", "send 5", "read-all",
	"wait out", "poll", "close", "< drain 1",
	"= the peer closes, we send",
	"< close", "wait rdhup", "poll", "recv 5", "send 5", "wait pri",
	"poll", "send 5", "send 5", "recv 5", "error", "poll",
	"= the peer closes with our data unread",
	"fill", "< close", "wait rdhup", "poll", "recv 5", "recv 5", "send 5",
	"poll",
	"= we close with data unread",
	"< send 10 1", "wait in", "peek 10", "close", "< drain 1",
	"= we close after the peer's end",
	"< fin", "wait rdhup", "close", "< drain 1",
	"= we finish, the peer sends, then finishes",
	"shut wr", "poll", "send 5", "< drain 1", "< send 10 2", "wait in",
	"poll", "all 10", "< fin", "wait rdhup", "poll", "recv 5", "send 5",
	"error", "poll",
	"= the peer finishes, then we do",
	"< fin", "wait rdhup", "poll", "send 5", "shut wr", "< drain 1",
	"wait pri", "poll", "recv 5", "send 5", "error",
	"= we finish, the peer resets",
	"shut wr", "< drain 1", "< rst", "wait rdhup", "poll", "send 5",
	"recv 5", "recv 5", "poll", "shut wr",
	"= we finish with all buffers full",
	"fill", "shut wr", "poll", "send 5", "< send 10 2", "wait in", "poll",
	"read-all", "< drain 1", "poll", "close", "< hup",
	"= we read no more",
	"< send 10 2", "wait in", "shut rd", "poll", "recv 4", "queued",
	"recv 10", "recv 5", "poll", "send 5", "< recv 5 1", "error",
	"= we read no more, the peer finishes",
	"shut rd", "poll", "< fin", "poll", "recv 5", "send 5", "< recv 5 1",
	"= we read no more, the peer resets",
	"shut rd", "< rst", "wait pri", "poll", "recv 5", "recv 5", "send 5",
	"error",
	"= we end both ways",
	"shut rdwr", "poll", "recv 5", "send 5", "< drain 1", "< fin",
	"poll", "error", "close",
	"= we end both ways with data unread",
	"< send 10 2", "wait in", "shut rdwr", "poll", "recv 4", "queued",
	"recv 10", "recv 5", "send 5", "< drain 1",
	"= nobody listens",
	"refused", "poll", "error", "poll", "recv 5", "send 5",
	"= nobody listens, and we finish",
	"refused", "shut wr", "poll", "recv 5", "error", "poll", "shut rdwr",
};

static struct peer peer;
static __u64 sent, filled;
static int fd = -1;
static atomic_int sigpipes;

static void on_sigpipe(int sig)
{
	(void)sig;
	sigpipes++;
}

static void put_events(short events)
{
	static const struct {
		short bit;
		const char *name;
	} names[] = {
		{ POLLIN, "IN" }, { POLLPRI, "PRI" }, { POLLOUT, "OUT" },
		{ POLLERR, "ERR" }, { POLLHUP, "HUP" }, { POLLRDHUP, "RDHUP" },
		{ POLLRDNORM, "RDNORM" }, { POLLWRNORM, "WRNORM" },
		{ POLLRDBAND, "RDBAND" }, { POLLWRBAND, "WRBAND" },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(names); i++)
		if (events & names[i].bit)
			printf(" %s", names[i].name);
	printf("%s\n", events ? "" : " nothing");
}

static void put_result(ssize_t n)
{
	int error = errno;

	printf(" = %zd%s%s", n, n < 0 ? " " : "",
	       n < 0 ? strerrorname_np(error) : "");
	printf("%s\n", sigpipes ? ", SIGPIPE" : "");
	sigpipes = 0;
}

static void begin_case(void)
{
	if (fd >= 0)
		close(fd);
	if (peer.control > 0)
		peer_close(&peer);
	sent = 0;
	filled = 0;
	if (!peer_open(&peer, 16384))
		exit(1);
	fd = peer_connect(&peer, SOCK_NONBLOCK);
	if (fd < 0)
		exit(1);
}

static void connect_refused(void)
{
	close(fd);
	peer_run(&peer, "unlisten");
	fd = new_socket(SOCK_NONBLOCK);
	put_result(connect_to(fd, opt.host, peer.port));
	wait_poll(fd, POLLOUT, NULL);
}

static short named_events(const char *name)
{
	if (!strcmp(name, "in"))
		return POLLIN;
	if (!strcmp(name, "out"))
		return POLLOUT;
	return strcmp(name, "pri") ? POLLRDHUP : POLLPRI;
}

static void transfer(const char *call, size_t len)
{
	char data[256] = { 0 };
	ssize_t n;

	if (!strcmp(call, "send")) {
		stream_fill(1, sent, data, len);
		n = send(fd, data, len, 0);
		put_result(n);
		sent += n > 0 ? n : 0;
		return;
	}
	n = recv(fd, data, len, call[0] == 'p' ? MSG_PEEK :
		 call[0] == 'a' ? MSG_WAITALL : 0);
	put_result(n);
	if (n > 0) {
		ssize_t i;

		printf("   ");
		for (i = 0; i < n; i++)
			printf("%02x", (unsigned char)data[i]);
		printf("\n");
	}
}

static void run_step(const char *line)
{
	char call[16] = "", word[16] = "";
	short revents = 0;

	if (line[0] == '=') {
		begin_case();
		printf("\n%s\n", line + 2);
		return;
	}
	if (line[0] == '<') {
		printf("  peer: %s: %s\n", line + 2, peer_run(&peer, "%s",
							      line + 2));
		return;
	}
	printf("  %s", line);
	if (sscanf(line, "%15s %15s", call, word) < 1)
		return;
	if (!strcmp(call, "poll")) {
		put_events(poll_now(fd));
	} else if (!strcmp(call, "wait")) {
		if (!wait_poll(fd, named_events(word), &revents))
			printf(" TIMEOUT");
		put_events(revents);
	} else if (!strcmp(call, "error")) {
		int error = so_error(fd);

		printf(" %s\n", error ? strerrorname_np(error) : "none");
	} else if (!strcmp(call, "fill")) {
		filled = fill_socket(fd, 1, 30000);
		sent = filled;
		printf(" %s\n", filled ? "until full" : "nothing");
	} else if (!strcmp(call, "read-all")) {
		char expected[32];

		snprintf(expected, sizeof(expected), "ok %llu",
			 filled);
		peer_run(&peer, "recv %llu 1", filled);
		printf(" %s\n", strcmp(peer.line, expected) ? peer.line :
		       "by the peer: everything");
	} else if (!strcmp(call, "refused")) {
		connect_refused();
	} else if (!strcmp(call, "shut")) {
		put_result(shutdown(fd, !strcmp(word, "rd") ? SHUT_RD :
				    !strcmp(word, "wr") ? SHUT_WR :
				    SHUT_RDWR));
	} else if (!strcmp(call, "queued")) {
		int queued = -1;

		ioctl(fd, FIONREAD, &queued);
		printf(" %d\n", queued);
	} else if (!strcmp(call, "close")) {
		put_result(close(fd));
		fd = -1;
	} else {
		transfer(call, strtoul(word, NULL, 10));
	}
}

int main(int argc, char **argv)
{
	size_t i;

	parse_options(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, on_sigpipe);
	for (i = 0; i < ARRAY_LEN(script); i++)
		run_step(script[i]);
	return 0;
}
