// SPDX-License-Identifier: GPL-2.0
/* Threads in calls that have to wait, and knowing that they do. See util.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util.h"

bool wait_state(pid_t tid, char wanted)
{
	__u64 deadline = now_msec() + WAIT_LIMIT_MSEC;
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
		if (state && state[2] == wanted)
			return true;
		poll(NULL, 0, 1);
	} while (now_msec() < deadline);
	return false;
}

bool wait_asleep(pid_t tid)
{
	return wait_state(tid, 'S');
}

static void *make_call(void *arg)
{
	struct waiter *w = arg;

	w->tid = syscall(SYS_gettid);
	w->result = w->call(w);
	w->error = errno;
	return NULL;
}

bool waiter_begin(struct waiter *w, long (*call)(struct waiter *w), int fd)
{
	w->call = call;
	w->fd = fd;
	w->tid = 0;
	if (pthread_create(&w->thread, NULL, make_call, w))
		return false;
	while (!w->tid)
		sched_yield();
	return true;
}

bool waiter_start(struct waiter *w, long (*call)(struct waiter *w), int fd)
{
	return waiter_begin(w, call, fd) && wait_asleep(w->tid);
}

long waiter_end(struct waiter *w)
{
	pthread_join(w->thread, NULL);
	errno = w->error;
	return w->result;
}

long in_accept(struct waiter *w)
{
	return accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);
}

long in_accept_loop(struct waiter *w)
{
	long served = 0;
	int fd;

	while ((fd = accept(w->fd, NULL, NULL)) >= 0) {
		echo_all(fd);
		served++;
	}
	return errno == EINVAL ? served : -1;
}

long in_recv(struct waiter *w)
{
	return recv(w->fd, w->data, sizeof(w->data), MSG_WAITALL);
}

long in_send(struct waiter *w)
{
	static char flood[8 << 20];

	return send(w->fd, flood, sizeof(flood), MSG_NOSIGNAL);
}

long in_close(struct waiter *w)
{
	return close(w->fd);
}
