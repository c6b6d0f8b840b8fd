// SPDX-License-Identifier: GPL-2.0
/*
 * A server whose threads accept and close --sockets connections. Then it waits for SIGUSR1, closes
 * its listener, and binds another socket to the same address. Prints "accepted", "closed" and
 * "bound".
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

#define WORKERS 3

static atomic_int accepted;

static void *accept_all(void *listener)
{
	int fd;

	while (accepted < opt.sockets && (fd = accept(*(int *)listener, NULL, NULL)) >= 0) {
		close(fd);
		accepted++;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[WORKERS];
	unsigned int port;
	int i, fd, sig;
	sigset_t set;

	parse_options(argc, argv);
	setlinebuf(stdout);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = open_listener(1, 0);
	if (fd < 0) {
		printf("listen: %m\n");
		return 1;
	}
	port = local_port(fd);
	for (i = 0; i < WORKERS; i++)
		pthread_create(&threads[i], NULL, accept_all, &fd);
	for (i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
	printf("accepted\n");
	sigwait(&set, &sig);
	close(fd);
	printf("closed\n");
	fd = new_socket(0);
	if (bind_to(fd, opt.host, port)) {
		printf("bind: %m\n");
		return 1;
	}
	printf("bound\n");
	return 0;
}
