// SPDX-License-Identifier: GPL-2.0
/*
 * Prints the result of calls, one line each: "ok" or the name of the error.
 *
 *   attempt CALL HOST PORT [[CALL] HOST PORT]...
 *       connect and bind are the system calls; start connects without waiting;
 *       datagram connects a datagram socket; from binds to any port first;
 *       free binds with IPV6_FREEBIND;
 *       serve binds and listens; share does so with SO_REUSEPORT; talk sends a
 *       byte from a server to a client, both of them ours
 *   attempt crowd [datagram] HOST PORT   connects --sockets sockets, prints how
 *                                 many
 *   attempt listeners HOST        the same with listening sockets
 *   attempt keep HOST PORT        keeps a connection to an echo, and prints
 *                                 "ok" for each byte
 *   attempt stay [CALL] HOST PORT serves, and stays
 *   attempt again HOST PORT       binds, listens and, if that is "ok", accepts.
 *                                 Then it listens again, and compares the port
 *   attempt later HOST PORT       binds, and listens once there is a file /tmp/go
 *   attempt algorithm NAME...     sets TCP_CONGESTION
 *   attempt join GROUP...         joins groups, with a socket for each
 *   attempt peers HOST PORT...    connects a datagram socket to one peer after
 *                                 the other, and prints the error of sending
 *   attempt move HOST HOST2       has a thread receive on a datagram socket that
 *                                 is connected to HOST, connects it to a socket
 *                                 bound to HOST2, and sends from there
 *   attempt flood HOST            has --sockets datagram sockets, an even number,
 *                                 send to each other in pairs, and reads
 *                                 nothing; stays
 *   attempt member GROUP...       as join, with ports; stays and prints errors;
 *                                 leaves the first group after SIGUSR1
 *   attempt mail HOST             sends a datagram to each of --sockets IPv4
 *                                 addresses, the first of which is HOST
 *   attempt abandon HOST          the same with 8,000 bytes, each time with
 *                                 another socket, which is closed
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

static socklen_t resolve(const char *host, const char *port,
			 struct sockaddr_storage *to)
{
	socklen_t len = parse_address(host, strtoul(port, NULL, 10), to);

	if (!len) {
		fprintf(stderr, "attempt: %s is not an address\n", host);
		exit(4);
	}
	return len;
}

static int bind_any(int fd, sa_family_t family, socklen_t len)
{
	struct sockaddr_storage any = { .ss_family = family };

	return bind(fd, (struct sockaddr *)&any, len);
}

/* Makes a socket and does @call on it. Returns the socket or -1. */
static int do_call(const char *call, const struct sockaddr *to, socklen_t len)
{
	int family = opt.family == AF_INET ? to->sa_family : opt.family;
	bool is_datagram = !strcmp(call, "datagram");
	bool starts = !strcmp(call, "start");
	int type = is_datagram ? SOCK_DGRAM : starts ? SOCK_STREAM | SOCK_NONBLOCK : SOCK_STREAM;
	int error, fd = socket(family, type | SOCK_CLOEXEC, 0);
	bool shares = !strcmp(call, "share"), is_free = !strcmp(call, "free"), failed;
	static const int one = 1;

	if (fd < 0)
		return -1;
	if (!strcmp(call, "connect") || starts || is_datagram)
		failed = connect(fd, to, len);
	else if (!strcmp(call, "from"))
		failed = bind_any(fd, to->sa_family, len) ||
			 connect(fd, to, len);
	else
		failed = (shares && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT,
					       &one, sizeof(one))) ||
			 (is_free && setsockopt(fd, SOL_IPV6, IPV6_FREEBIND,
						&one, sizeof(one))) ||
			 bind(fd, to, len) ||
			 (strcmp(call, "bind") && !is_free && listen(fd, 1));
	if (!failed)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

static int do_call_at(const char *call, const char *host, const char *port)
{
	struct sockaddr_storage to;
	socklen_t len = resolve(host, port, &to);

	return do_call(call, (struct sockaddr *)&to, len);
}

static bool is_call(const char *word)
{
	return !strcmp(word, "connect") || !strcmp(word, "bind") || !strcmp(word, "start") ||
	       !strcmp(word, "free") ||
	       !strcmp(word, "datagram") || !strcmp(word, "from") ||
	       !strcmp(word, "serve") || !strcmp(word, "share") ||
	       !strcmp(word, "talk");
}

static bool print_result(bool done)
{
	printf("%s\n", done ? "ok" : strerrorname_np(errno));
	return done;
}

static bool transfer(const char *host, const char *port)
{
	struct sockaddr_storage name;
	socklen_t len = sizeof(name);
	int server, client = -1, child = -1;
	bool done = false;
	char byte = 0;

	server = do_call_at("serve", host, port);
	if (server < 0)
		return false;
	if (!getsockname(server, (struct sockaddr *)&name, &len))
		client = do_call("connect", (struct sockaddr *)&name, len);
	if (client >= 0)
		child = accept(server, NULL, NULL);
	if (child >= 0) {
		errno = EPROTO;
		done = send(child, "x", 1, 0) == 1 &&
		       recv(client, &byte, 1, 0) == 1 && byte == 'x';
	}
	close(child);
	close(client);
	close(server);
	return done;
}

static void connect_many(const char *call, const char *host, const char *port)
{
	unsigned int n;

	for (n = 0; n < opt.sockets; n++)
		if (do_call_at(call, host, port) < 0)
			break;
	printf("%u ", n);
	print_result(n == opt.sockets);
}

static void listen_again(const char *host, const char *port)
{
	int fd = do_call_at("bind", host, port);
	unsigned int before = local_port(fd);

	if (print_result(fd >= 0 && !listen(fd, 1)))
		print_result(accept(fd, NULL, NULL) >= 0);
	print_result(!listen(fd, 1));
	errno = EADDRNOTAVAIL;
	print_result(before && local_port(fd) == before);
}

static void listen_later(const char *host, const char *port)
{
	int fd = do_call_at("bind", host, port);

	print_result(fd >= 0);
	while (access("/tmp/go", F_OK))
		poll(NULL, 0, 50);
	print_result(!listen(fd, 1));
}

static void keep_connected(const char *host, const char *port)
{
	int fd = do_call_at("connect", host, port);
	char byte;

	while (print_result(fd >= 0 && send(fd, "x", 1, MSG_NOSIGNAL) == 1 &&
			    recv(fd, &byte, 1, 0) == 1))
		poll(NULL, 0, 200);
}

static bool set_algorithm(const char *name)
{
	int fd = socket(opt.family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool done = fd >= 0 && !setsockopt(fd, SOL_TCP, TCP_CONGESTION, name,
					   strlen(name));
	int error = errno;

	close(fd);
	errno = error;
	return done;
}

static int change_group(int fd, const struct sockaddr_storage *to, bool joins)
{
	struct ip_mreq mreq = { .imr_interface.s_addr = 0 };
	struct ipv6_mreq mreq6 = { .ipv6mr_interface = 0 };

	if (to->ss_family == AF_INET6) {
		mreq6.ipv6mr_multiaddr = ((struct sockaddr_in6 *)to)->sin6_addr;
		return setsockopt(fd, SOL_IPV6, joins ? IPV6_ADD_MEMBERSHIP :
				  IPV6_DROP_MEMBERSHIP, &mreq6, sizeof(mreq6));
	}
	mreq.imr_multiaddr = ((struct sockaddr_in *)to)->sin_addr;
	return setsockopt(fd, SOL_IP, joins ? IP_ADD_MEMBERSHIP :
			  IP_DROP_MEMBERSHIP, &mreq, sizeof(mreq));
}

/* Joins @group. Returns the socket, which has a port if @binds, or -1. */
static int join_group(const char *group, bool binds)
{
	struct sockaddr_storage to;
	bool is_ipv6 = resolve(group, "0", &to) == sizeof(struct sockaddr_in6);
	int family = opt.family == AF_INET ? to.ss_family : opt.family;
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int failed = change_group(fd, &to, true);

	if (binds && !failed)
		failed = bind(fd, (struct sockaddr *)&to,
			      resolve(is_ipv6 ? "::" : ANY_HOST, "0", &to));
	return failed ? -1 : fd;
}

static void join_groups(int count, char **groups)
{
	struct pollfd *pfds = calloc(count + 1, sizeof(*pfds));
	struct signalfd_siginfo info;
	struct sockaddr_storage first;
	sigset_t signals;
	int i;

	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	pfds[count].fd = signalfd(-1, &signals, SFD_CLOEXEC);
	pfds[count].events = POLLIN;
	for (i = 0; i < count; i++) {
		pfds[i].fd = join_group(groups[i], true);
		print_result(pfds[i].fd >= 0);
	}
	for (;;) {
		poll(pfds, count + 1, -1);
		for (i = 0; i < count; i++) {
			if (pfds[i].revents & POLLERR) {
				errno = so_error(pfds[i].fd);
				print_result(false);
			}
		}
		if (pfds[count].revents & POLLIN) {
			read(pfds[count].fd, &info, sizeof(info));
			resolve(groups[0], "0", &first);
			print_result(!change_group(pfds[0].fd, &first, false));
		}
	}
}

static void connect_to_each(int count, char **words)
{
	int fd = socket(opt.family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_storage to;
	socklen_t len;
	int i;

	for (i = 0; i + 1 < count; i += 2) {
		len = resolve(words[i], words[i + 1], &to);
		print_result(!connect(fd, (struct sockaddr *)&to, len));
	}
	errno = 0;
	if (send(fd, "x", 1, 0) == 1 && wait_poll(fd, POLLERR, NULL))
		errno = so_error(fd);
	print_result(false);
}

static bool move(const char *host, const char *host2)
{
	int fd = do_call_at("datagram", host, "9"), other = socket(opt.family, SOCK_DGRAM, 0);
	struct sockaddr_storage name;
	socklen_t len = sizeof(name);
	struct waiter w = { 0 };

	if (fd < 0 || set_timeout(fd, SO_RCVTIMEO, 0) || !waiter_start(&w, in_recv, fd))
		return false;
	if (bind_to(other, host2, 0) ||
	    getsockname(other, (struct sockaddr *)&name, &len) ||
	    connect(fd, (struct sockaddr *)&name, len) ||
	    getsockname(fd, (struct sockaddr *)&name, &len) ||
	    sendto(other, "x", 1, 0, (struct sockaddr *)&name, len) != 1)
		return false;
	return waiter_end(&w) == 1 && w.data[0] == 'x';
}

static bool flood(const char *host)
{
	static char data[8000];
	struct sockaddr_storage name;
	unsigned int i, n, sent;
	socklen_t len;
	int *fds;

	errno = EINVAL;
	if (opt.sockets % 2)
		return false;
	allow_files(opt.sockets + 64);
	fds = calloc(opt.sockets, sizeof(*fds));
	for (i = 0; i < opt.sockets; i++) {
		fds[i] = socket(opt.family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
		if (bind_to(fds[i], host, 0))
			return false;
	}
	for (i = 0; i < opt.sockets; i++) {
		len = sizeof(name);
		/* In pairs, as a connected socket receives from its peer only. */
		if (getsockname(fds[i ^ 1], (struct sockaddr *)&name, &len) ||
		    connect(fds[i], (struct sockaddr *)&name, len))
			return false;
	}
	print_result(true);
	for (;;) {
		for (i = 0, sent = 0; i < opt.sockets; i++)
			for (n = 0; n < 16 && send(fds[i], data, sizeof(data), 0) > 0; n++)
				sent++;
		if (!sent)
			poll(NULL, 0, 1);
	}
}

static bool send_to_each(const char *host)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };
	__u32 first = ntohl(inet_addr(host));
	unsigned int i, tries;
	int fd = socket(opt.family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	for (i = 0; i < opt.sockets; i++) {
		to.sin_addr.s_addr = htonl(first + i);
		/* The error is that of an earlier datagram. */
		for (tries = 0; sendto(fd, "x", 1, 0, (struct sockaddr *)&to,
				       sizeof(to)) != 1; tries++)
			if (tries == 100)
				return false;
	}
	return true;
}

static bool send_and_close(const char *host)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };
	__u32 first = ntohl(inet_addr(host));
	static char data[8000];
	unsigned int i;
	int fd;

	for (i = 0; i < opt.sockets; i++) {
		fd = socket(opt.family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		to.sin_addr.s_addr = htonl(first + i);
		if (sendto(fd, data, sizeof(data), 0, (struct sockaddr *)&to, sizeof(to)) < 0 ||
		    close(fd))
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	const char *call;
	int i, fd;

	argc = parse_options(argc, argv);
	call = argc > 1 ? argv[1] : "";
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 4 && !strcmp(call, "crowd")) {
		connect_many("connect", argv[2], argv[3]);
	} else if (argc == 5 && !strcmp(call, "crowd")) {
		connect_many(argv[2], argv[3], argv[4]);
	} else if (argc == 4 && !strcmp(call, "later")) {
		listen_later(argv[2], argv[3]);
	} else if (argc == 3 && !strcmp(call, "listeners")) {
		connect_many("serve", argv[2], "0");
	} else if (argc == 4 && !strcmp(call, "keep")) {
		keep_connected(argv[2], argv[3]);
	} else if (argc == 4 && !strcmp(call, "again")) {
		listen_again(argv[2], argv[3]);
	} else if (argc >= 4 && !strcmp(call, "stay")) {
		call = is_call(argv[2]) ? argv[2] : "serve";
		if (print_result(do_call_at(call, argv[argc - 2], argv[argc - 1]) >= 0))
			pause();
	} else if (!strcmp(call, "algorithm")) {
		for (i = 2; i < argc; i++)
			print_result(set_algorithm(argv[i]));
	} else if (!strcmp(call, "join")) {
		for (i = 2; i < argc; i++)
			print_result(join_group(argv[i], false) >= 0);
	} else if (!strcmp(call, "member")) {
		join_groups(argc - 2, argv + 2);
	} else if (!strcmp(call, "peers")) {
		connect_to_each(argc - 2, argv + 2);
	} else if (argc == 4 && !strcmp(call, "move")) {
		print_result(move(argv[2], argv[3]));
	} else if (argc == 3 && !strcmp(call, "flood")) {
		print_result(flood(argv[2]));
	} else if (argc == 3 && !strcmp(call, "mail")) {
		print_result(send_to_each(argv[2]));
	} else if (argc == 3 && !strcmp(call, "abandon")) {
		print_result(send_and_close(argv[2]));
	} else {
		for (i = 1; i + 1 < argc; i += 2) {
			if (is_call(argv[i]))
				call = argv[i++];
			if (!strcmp(call, "talk")) {
				print_result(transfer(argv[i], argv[i + 1]));
				continue;
			}
			fd = do_call_at(call, argv[i], argv[i + 1]);
			if (print_result(fd >= 0))
				close(fd);
		}
	}
	return 0;
}
