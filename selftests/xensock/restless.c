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

#define MAX_PROGRAMS 16
#define CALLS_PER_PROGRAM 200
#define FILES 4
#define RUN_LIMIT_MSEC 700
/* A program that is not gone by then sleeps uninterruptibly. */
#define KILL_LIMIT_MSEC 60000
/* Of so many calls, some of each common kind succeed. */
#define ENOUGH_CALLS 5000

enum call {
	CALL_SOCKET, CALL_BIND, CALL_CONNECT, CALL_LISTEN, CALL_ACCEPT,
	CALL_SEND, CALL_RECV, CALL_SENDTO, CALL_POLL, CALL_SETSOCKOPT,
	CALL_GETSOCKOPT, CALL_GETNAME, CALL_SHUTDOWN, CALL_CLOSE, N_CALLS,
};

static const char *const names[N_CALLS] = {
	"socket", "bind", "connect", "listen", "accept", "send", "recv", "sendto",
	"poll", "setsockopt", "getsockopt", "getsockname", "shutdown", "close",
};

/* Counts of all programs. */
static struct {
	atomic_uint good[N_CALLS], bad[N_CALLS];
} *counts;

static atomic_int is_stopped;

static void on_term(int sig)
{
	is_stopped = sig;
}

static int do_call(struct prng *x, enum call call, int *fd)
{
	static char data[300000];
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss), len_of_value = 104;
	unsigned int size = prng_one_in(x, 4) ? sizeof(data) : prng_below(x, 2000);
	int value = prng_below(x, 3), other;

	switch (call) {
	case CALL_SOCKET:
		close(*fd);
		*fd = socket(AF_XENSOCK, prng_one_in(x, 3) ? SOCK_DGRAM : SOCK_STREAM,
			     0);
		if (!prng_one_in(x, 8))
			set_nonblock(*fd, true);
		return *fd;
	case CALL_BIND:
		len = random_address(x, (__u8 *)&ss);
		return bind(*fd, (struct sockaddr *)&ss, len);
	case CALL_CONNECT:
		len = random_address(x, (__u8 *)&ss);
		return connect(*fd, (struct sockaddr *)&ss, len);
	case CALL_LISTEN:
		return listen(*fd, prng_below(x, 10));
	case CALL_ACCEPT:
		other = accept4(*fd, NULL, NULL, SOCK_NONBLOCK);
		if (other >= 0) {
			close(*fd);
			*fd = other;
		}
		return other;
	case CALL_SEND:
		return send(*fd, data, size, prng_one_in(x, 8) ? MSG_OOB : 0);
	case CALL_RECV:
		return recv(*fd, data, size, prng_one_in(x, 8) ? MSG_PEEK : 0);
	case CALL_SENDTO:
		len = random_address(x, (__u8 *)&ss);
		return sendto(*fd, data, size % 2000, 0, (struct sockaddr *)&ss,
			      len);
	case CALL_POLL:
		return poll(&(struct pollfd){ *fd, POLLIN | POLLOUT, 0 }, 1,
			    prng_below(x, 10));
	case CALL_SETSOCKOPT:
		return setsockopt(*fd, prng_one_in(x, 2) ? SOL_SOCKET : IPPROTO_TCP,
				  1 + prng_below(x, 50), &value, sizeof(value));
	case CALL_GETSOCKOPT:
		return getsockopt(*fd, prng_one_in(x, 2) ? SOL_SOCKET : IPPROTO_TCP,
				  1 + prng_below(x, 50), data, &len_of_value);
	case CALL_GETNAME:
		return prng_one_in(x, 2) ?
			getsockname(*fd, (struct sockaddr *)&ss, &len) :
			getpeername(*fd, (struct sockaddr *)&ss, &len);
	case CALL_SHUTDOWN:
		return shutdown(*fd, prng_below(x, 3));
	default:
		other = close(*fd);
		*fd = -1;
		return other;
	}
}

/* Programs whose every call fails test little. */
static bool get_far(void)
{
	unsigned int i, n = 0;

	for (i = 0; i < N_CALLS; i++) {
		printf("%s: %u good, %u bad\n", names[i], counts->good[i],
		       counts->bad[i]);
		n += counts->good[i] + counts->bad[i];
	}
	if (n < ENOUGH_CALLS || (counts->good[CALL_BIND] && counts->good[CALL_LISTEN] &&
				 counts->good[CALL_SEND] + counts->good[CALL_SENDTO]))
		return true;
	printf("nothing was ever bound, or nothing sent\n");
	return false;
}

static void run_program(__u64 seed)
{
	/* The calls of a client and of a server, in an order that gets far. */
	static const __u8 client[] = {
		CALL_CONNECT, CALL_POLL, CALL_SEND, CALL_RECV, CALL_SEND,
		CALL_POLL, CALL_RECV, CALL_GETNAME, CALL_GETSOCKOPT,
		CALL_SHUTDOWN,
	};
	static const __u8 server[] = {
		CALL_BIND, CALL_LISTEN, CALL_POLL, CALL_ACCEPT, CALL_SEND,
		CALL_RECV,
	};
	struct prng x = { seed };
	int fds[FILES] = { -1, -1, -1, -1 }, step[FILES] = { 0 };
	unsigned int i, n;
	enum call call;

	signal(SIGPIPE, SIG_IGN);
	for (n = 0; n < CALLS_PER_PROGRAM; n++) {
		i = prng_below(&x, FILES);
		if (fds[i] < 0)
			call = CALL_SOCKET, step[i] = 0;
		else if (prng_one_in(&x, 4))
			call = prng_below(&x, N_CALLS);
		else if (i % 2)
			call = client[step[i]++ % ARRAY_LEN(client)];
		else
			call = server[step[i]++ % ARRAY_LEN(server)];
		if (do_call(&x, call, &fds[i]) >= 0) {
			counts->good[call]++;
			continue;
		}
		counts->bad[call]++;
		/* The call would fail in a loop and take all CPU time. */
		if (errno == ENETDOWN || errno == ENODEV)
			sleep_usec(20000);
	}
}

int main(int argc, char **argv)
{
	static struct {
		pid_t pid;
		__u64 deadline;
		bool killed;
	} programs[MAX_PROGRAMS];
	unsigned int i, n, started = 0, killed = 0;

	opt.sockets = 10;
	if (parse_options(argc, argv) > 1 || opt.sockets > MAX_PROGRAMS)
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
			if (!programs[i].pid && !is_stopped) {
				programs[i].pid = fork();
				if (!programs[i].pid) {
					run_program(opt.seed + started);
					_exit(0);
				}
				started++;
				programs[i].deadline = now + RUN_LIMIT_MSEC;
				programs[i].killed = false;
			}
			n += !!programs[i].pid;
			if (!programs[i].pid ||
			    (now < programs[i].deadline && !is_stopped))
				continue;
			if (!programs[i].killed) {
				kill(programs[i].pid, SIGKILL);
				programs[i].killed = true;
				programs[i].deadline = now + KILL_LIMIT_MSEC;
				killed++;
			} else if (now > programs[i].deadline) {
				printf("a program cannot be killed\n");
				return 1;
			}
		}
		sleep_usec(10000);
	} while (n || !is_stopped);
	printf("%u programs, %u of them killed\n", started, killed);
	return get_far() ? 0 : 1;
}
