// SPDX-License-Identifier: GPL-2.0
/*
 * Programs that make random socket calls without an end and ignore the results.
 * Each program that takes long is killed, and must die.
 *
 *   restless --sockets N --seed N     that many programs at a time, until
 *                                     SIGTERM
 */
#include <errno.h>
#include <linux/xensock.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz.h"
#include "util.h"

#define MOST 16
#define CALLS 200
#define FILES 4
#define LIFE_MSEC 700
/* A program that is not gone by then sleeps uninterruptibly. */
#define DEATH_MSEC 60000

enum call {
	MAKE, ADDRESS, REACH, SERVE, TAKE, SEND, RECEIVE, SEND_TO, WAIT, SET, GET,
	NAMES, END, LOSE, CALLS_THAT_ARE,
};

static const char *const names[CALLS_THAT_ARE] = {
	"socket", "bind", "connect", "listen", "accept", "send", "recv", "sendto",
	"poll", "setsockopt", "getsockopt", "getsockname", "shutdown", "close",
};

/* Counts of all programs. */
static struct {
	atomic_uint good[CALLS_THAT_ARE], bad[CALLS_THAT_ARE];
} *counts;

static atomic_int is_over;

static void on_term(int sig)
{
	is_over = sig;
}

static int make_call(struct chance *x, enum call call, int *fd)
{
	static char data[300000];
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss), len_of_value = 104;
	unsigned int size = one_in(x, 4) ? sizeof(data) : below(x, 2000);
	int value = below(x, 3), other;

	switch (call) {
	case MAKE:
		close(*fd);
		*fd = socket(AF_XENSOCK, one_in(x, 3) ? SOCK_DGRAM : SOCK_STREAM,
			     0);
		if (!one_in(x, 8))
			set_nonblock(*fd, true);
		return *fd;
	case ADDRESS:
		len = some_address(x, (__u8 *)&ss);
		return bind(*fd, (struct sockaddr *)&ss, len);
	case REACH:
		len = some_address(x, (__u8 *)&ss);
		return connect(*fd, (struct sockaddr *)&ss, len);
	case SERVE:
		return listen(*fd, below(x, 10));
	case TAKE:
		other = accept4(*fd, NULL, NULL, SOCK_NONBLOCK);
		if (other >= 0) {
			close(*fd);
			*fd = other;
		}
		return other;
	case SEND:
		return send(*fd, data, size, one_in(x, 8) ? MSG_OOB : 0);
	case RECEIVE:
		return recv(*fd, data, size, one_in(x, 8) ? MSG_PEEK : 0);
	case SEND_TO:
		len = some_address(x, (__u8 *)&ss);
		return sendto(*fd, data, size % 2000, 0, (struct sockaddr *)&ss,
			      len);
	case WAIT:
		return poll(&(struct pollfd){ *fd, POLLIN | POLLOUT, 0 }, 1,
			    below(x, 10));
	case SET:
		return setsockopt(*fd, one_in(x, 2) ? SOL_SOCKET : IPPROTO_TCP,
				  1 + below(x, 50), &value, sizeof(value));
	case GET:
		return getsockopt(*fd, one_in(x, 2) ? SOL_SOCKET : IPPROTO_TCP,
				  1 + below(x, 50), data, &len_of_value);
	case NAMES:
		return one_in(x, 2) ?
			getsockname(*fd, (struct sockaddr *)&ss, &len) :
			getpeername(*fd, (struct sockaddr *)&ss, &len);
	case END:
		return shutdown(*fd, below(x, 3));
	default:
		other = close(*fd);
		*fd = -1;
		return other;
	}
}

static void program(__u64 seed)
{
	/* The calls of a client and of a server, in an order that gets far. */
	static const __u8 client[] = {
		REACH, WAIT, SEND, RECEIVE, SEND, WAIT, RECEIVE, NAMES, GET, END,
	};
	static const __u8 server[] = { ADDRESS, SERVE, WAIT, TAKE, SEND, RECEIVE };
	struct chance x = { seed };
	int fds[FILES] = { -1, -1, -1, -1 }, step[FILES] = { 0 };
	unsigned int i, n;
	enum call call;

	signal(SIGPIPE, SIG_IGN);
	for (n = 0; n < CALLS; n++) {
		i = below(&x, FILES);
		if (fds[i] < 0)
			call = MAKE, step[i] = 0;
		else if (one_in(&x, 4))
			call = below(&x, CALLS_THAT_ARE);
		else if (i % 2)
			call = client[step[i]++ % ARRAY_LEN(client)];
		else
			call = server[step[i]++ % ARRAY_LEN(server)];
		if (make_call(&x, call, &fds[i]) >= 0) {
			counts->good[call]++;
			continue;
		}
		counts->bad[call]++;
		/* The call would fail in a loop and take all CPU time. */
		if (errno == ENETDOWN || errno == ENODEV)
			nap(20000);
	}
}

int main(int argc, char **argv)
{
	static struct {
		pid_t pid;
		__u64 until;
		bool killed;
	} programs[MOST];
	unsigned int i, n, begun = 0, killed = 0;

	opt.sockets = 10;
	if (parse_options(argc, argv) > 1 || opt.sockets > MOST)
		return 4;
	signal(SIGTERM, on_term);
	setlinebuf(stdout);
	counts = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	printf("ready\n");
	do {
		for (i = n = 0; i < opt.sockets; i++) {
			__u64 now = now_msec();

			if (programs[i].pid &&
			    waitpid(programs[i].pid, NULL, WNOHANG) > 0)
				programs[i].pid = 0;
			if (!programs[i].pid && !is_over) {
				programs[i].pid = fork();
				if (!programs[i].pid) {
					program(opt.seed + begun);
					_exit(0);
				}
				begun++;
				programs[i].until = now + LIFE_MSEC;
				programs[i].killed = false;
			}
			n += !!programs[i].pid;
			if (!programs[i].pid ||
			    (now < programs[i].until && !is_over))
				continue;
			if (!programs[i].killed) {
				kill(programs[i].pid, SIGKILL);
				programs[i].killed = true;
				programs[i].until = now + DEATH_MSEC;
				killed++;
			} else if (now > programs[i].until) {
				printf("a program cannot be killed\n");
				return 1;
			}
		}
		nap(10000);
	} while (n || !is_over);
	printf("%u programs, %u of them killed\n", begun, killed);
	for (i = 0; i < CALLS_THAT_ARE; i++)
		printf("%s: %u good, %u bad\n", names[i], counts->good[i],
		       counts->bad[i]);
	return 0;
}
