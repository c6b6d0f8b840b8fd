// SPDX-License-Identifier: GPL-2.0
/*
 * Has nobody, the user, ask more than the backend can be asked at once, on
 * --sockets connections, and then another user connect; says "asking" when all
 * of them wait, and in the end what became of the other.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"

#define NOBODY 65534
#define OTHER 65533

static int fds[1024];
static atomic_int tids[ARRAY_LEN(fds)];

static void *request_thread(void *arg)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	long i = (long)arg;

	tids[i] = syscall(SYS_gettid);
	getsockopt(fds[i], IPPROTO_TCP, TCP_INFO, &info, &len);
	return NULL;
}

static bool is_waiting(pid_t tid)
{
	char path[64], text[256] = "", *state;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	fd = open(path, O_RDONLY);
	read(fd, text, sizeof(text) - 1);
	close(fd);
	state = strrchr(text, ')');
	return state && (state[2] == 'S' || state[2] == 'D');
}

/* Says so when all of them wait for an answer. */
static void request_on_all(int ready)
{
	pthread_t thread;
	long i;

	if (setuid(NOBODY))
		_exit(1);
	for (i = 0; i < opt.sockets; i++) {
		fds[i] = connect_port(opt.port + PEER_ECHO, 0);
		if (fds[i] < 0)
			_exit(1);
	}
	for (i = 0; i < opt.sockets; i++)
		if (pthread_create(&thread, NULL, request_thread, (void *)i))
			_exit(1);
	for (i = 0; i < opt.sockets; i++)
		while (!tids[i] || !is_waiting(tids[i]))
			poll(NULL, 0, 1);
	write(ready, "", 1);
	pause();
}

static void connect_one(int ready)
{
	int fd;

	if (setuid(OTHER))
		_exit(1);
	fd = new_socket(0);
	write(ready, "", 1);
	_exit(connect_to(fd, opt.host, opt.port + PEER_ECHO) != 0);
}

static pid_t start(void (*run)(int ready))
{
	int ready[2];
	pid_t pid;
	char byte;

	if (pipe(ready))
		exit(1);
	pid = fork();
	if (!pid) {
		close(ready[0]);
		run(ready[1]);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		exit(1);
	close(ready[0]);
	return pid;
}

int main(int argc, char **argv)
{
	pid_t asking, connecting;
	int status;

	parse_options(argc, argv);
	setlinebuf(stdout);
	allow_files(opt.sockets + 64);
	if (opt.sockets > ARRAY_LEN(tids))
		return 4;
	asking = start(request_on_all);
	connecting = start(connect_one);
	if (!wait_asleep(connecting))
		return 1;
	printf("asking\n");
	waitpid(connecting, &status, 0);
	printf(status ? "not connected\n" : "connected\n");
	kill(asking, SIGKILL);
	waitpid(asking, NULL, 0);
	return status != 0;
}
