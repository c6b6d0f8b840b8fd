// SPDX-License-Identifier: GPL-2.0
/*
 * Has a send() that does not wait for room wait a moment for its ring to grow,
 * with a backend that does not answer; and meanwhile
 *
 *   growing kill      kills the program
 *   growing unbind    takes the device from its driver, and gives it back
 *   growing nothing   leaves that to the backend
 *
 * Says what became of the call: "killed", or how many bytes it has taken and
 * what the next one says. A program that was killed too late is tried again.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"

#define DEVICE "xensock-0"
#define DRIVER "/sys/bus/xen/drivers/xensock/"
#define TRIES 20

struct result {
	ssize_t taken;
	int error;
};

static bool write_driver_file(const char *file)
{
	int fd = open(file, O_WRONLY);
	bool done = fd >= 0 &&
		    write(fd, DEVICE, strlen(DEVICE)) == strlen(DEVICE);

	close(fd);
	return done;
}

static void send_and_report(int report)
{
	static char data[1 << 20];
	struct result result;
	int fd = connect_port(opt.port + PEER_ECHO, 0);

	result.taken = send(fd, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL);
	result.error = send(fd, data, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ?
			       errno : 0;
	write(report, &result, sizeof(result));
	_exit(0);
}

/* Returns 1 if the program has reported, 0 if it was killed before, or -1. */
static int try_once(const char *how, struct result *result)
{
	__u64 deadline = now_msec() + WAIT_LIMIT_MSEC;
	int report[2];
	long before = count_of("GROW");
	ssize_t n;
	pid_t pid;

	if (before < 0 || pipe(report))
		return -1;
	pid = fork();
	if (!pid)
		send_and_report(report[1]);
	close(report[1]);
	while (count_of("GROW") == before)
		if (now_msec() > deadline)
			return -1;
	if (!strcmp(how, "kill"))
		kill(pid, SIGKILL);
	if (!strcmp(how, "unbind") && !write_driver_file(DRIVER "unbind"))
		return -1;
	n = read(report[0], result, sizeof(*result));
	close(report[0]);
	waitpid(pid, NULL, 0);
	if (!strcmp(how, "unbind") && !write_driver_file(DRIVER "bind"))
		return -1;
	return n == sizeof(*result);
}

int main(int argc, char **argv)
{
	struct result result;
	bool kills;
	int i, reported;

	argc = parse_options(argc, argv);
	if (argc != 2)
		return 4;
	kills = !strcmp(argv[1], "kill");
	for (i = 0; i < TRIES; i++) {
		reported = try_once(argv[1], &result);
		if (reported < 0)
			return 1;
		if (reported && kills)
			continue;
		if (reported)
			printf("%zd %s\n", result.taken,
			       result.error ? strerrorname_np(result.error) : "more");
		else
			printf("killed\n");
		return 0;
	}
	printf("never in time\n");
	return 1;
}
