// SPDX-License-Identifier: GPL-2.0
/*
 * The peer under remote control: a listener, a connection that it accepts or
 * makes, and many other connections. See util.h for the commands.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer.h"

#define ARGS 5

struct session {
	int listener;
	int fd;
	unsigned int rcvbuf;
	__u64 sent;
	__u64 received;
	struct conns conns;
	int udp;
	char answer[160];
};

/* The arguments of a command. Absent ones are empty strings, and 0 as numbers. */
struct args {
	const char *text[ARGS];
};

static __printf(2, 3) void set_answer(struct session *s, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(s->answer, sizeof(s->answer) - 1, format, args);
	va_end(args);
}

static void answer_result(struct session *s, int result)
{
	if (result)
		set_answer(s, "err %d", errno);
	else
		set_answer(s, "ok");
}

static __u64 arg_number(const struct args *args, int i)
{
	return strtoull(args->text[i], NULL, 10);
}

int listen_on(const char *host, unsigned int port, unsigned int rcvbuf)
{
	struct sockaddr_storage ss;
	socklen_t len = parse_address(host, port, &ss);
	int on = 1, fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (ss.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (rcvbuf)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf));
	if (bind(fd, (struct sockaddr *)&ss, len) || listen(fd, 512)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Answers with the name of one end of the connection, in the form of address_text(). */
static void answer_name(struct session *s, bool remote)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char text[ADDRESS_TEXT];

	if (remote ? getpeername(s->fd, (struct sockaddr *)&ss, &len) :
		     getsockname(s->fd, (struct sockaddr *)&ss, &len))
		set_answer(s, "err %d", errno);
	else
		set_answer(s, "ok %s", address_text(&ss, text));
}

static void drop_connection(struct session *s, bool reset)
{
	if (s->fd >= 0 && reset)
		close_with_reset(s->fd);
	else if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	s->sent = 0;
	s->received = 0;
}

static void do_listen(struct session *s, const struct args *args)
{
	const char *host = *args->text[2] ? args->text[2] : opt.host;

	if (s->listener >= 0)
		close(s->listener);
	s->rcvbuf = arg_number(args, 1);
	s->listener = listen_on(host, unused_port(SOCK_STREAM, PEER_LISTENS), s->rcvbuf);
	if (s->listener < 0)
		set_answer(s, "err %d", errno);
	else
		set_answer(s, "ok %u", local_port(s->listener));
}

static void do_unlisten(struct session *s, const struct args *args)
{
	(void)args;
	answer_result(s, close(s->listener));
	s->listener = -1;
}

static void do_accept(struct session *s, const struct args *args)
{
	(void)args;
	drop_connection(s, false);
	s->fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
	answer_result(s, s->fd < 0);
}

static void do_connect(struct session *s, const struct args *args)
{
	drop_connection(s, false);
	s->fd = connect_host(*args->text[2] ? args->text[2] : opt.host, arg_number(args, 1),
			     s->rcvbuf);
	if (s->fd < 0)
		set_answer(s, "err %d", errno);
	else
		set_answer(s, "ok %u", local_port(s->fd));
}

static void do_name(struct session *s, const struct args *args)
{
	(void)args;
	answer_name(s, false);
}

static void do_peer(struct session *s, const struct args *args)
{
	(void)args;
	answer_name(s, true);
}

static void do_diag(struct session *s, const struct args *args)
{
	(void)args;
	if (format_diag(s->fd, s->answer, sizeof(s->answer) - 1))
		set_answer(s, "err %d", errno);
}

static void do_send(struct session *s, const struct args *args)
{
	__u64 done = 0, len = arg_number(args, 1);
	char data[16384];
	ssize_t n;

	while (done < len) {
		n = len - done < sizeof(data) ? len - done : sizeof(data);
		stream_fill(arg_number(args, 2), s->sent, data, n);
		n = send(s->fd, data, n, MSG_NOSIGNAL);
		if (n < 0) {
			set_answer(s, "err %d %llu", errno, done);
			return;
		}
		done += n;
		s->sent += n;
	}
	set_answer(s, "ok %llu", done);
}

static void receive(struct session *s, __u64 len, __u64 seed)
{
	char data[16384];
	__u64 done = 0;
	ssize_t n;

	while (done < len) {
		n = len - done < sizeof(data) ? len - done : sizeof(data);
		n = recv(s->fd, data, n, 0);
		if (n < 0) {
			set_answer(s, "err %d %llu", errno, done);
			return;
		}
		if (!n) {
			set_answer(s, "eof %llu", done);
			return;
		}
		if (!stream_check(seed, s->received, data, n)) {
			set_answer(s, "bad %llu", done);
			return;
		}
		done += n;
		s->received += n;
	}
	set_answer(s, "ok %llu", done);
}

static void do_recv(struct session *s, const struct args *args)
{
	receive(s, arg_number(args, 1), arg_number(args, 2));
}

static void do_drain(struct session *s, const struct args *args)
{
	receive(s, ~0ULL, arg_number(args, 1));
}

/* As drain, for bytes that are not a stream. */
static void do_count(struct session *s, const struct args *args)
{
	char data[16384];
	__u64 done = 0;
	ssize_t n;

	(void)args;
	while ((n = recv(s->fd, data, sizeof(data), 0)) > 0)
		done += n;
	if (n < 0)
		set_answer(s, "err %d %llu", errno, done);
	else
		set_answer(s, "eof %llu", done);
}

static void do_write(struct session *s, const struct args *args)
{
	send_word(s->fd, args->text[1], 0, s->answer, sizeof(s->answer) - 1);
}

static void do_writeoob(struct session *s, const struct args *args)
{
	send_word(s->fd, args->text[1], MSG_OOB, s->answer, sizeof(s->answer) - 1);
}

static void do_read(struct session *s, const struct args *args)
{
	(void)args;
	recv_word(s->fd, s->answer, sizeof(s->answer) - 1);
}

static void do_oobinline(struct session *s, const struct args *args)
{
	int on = 1;

	(void)args;
	answer_result(s, setsockopt(s->fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)));
}

static void do_readoob(struct session *s, const struct args *args)
{
	(void)args;
	recv_urgent(s->fd, s->answer, sizeof(s->answer) - 1);
}

static void do_exchange(struct session *s, const struct args *args)
{
	(void)args;
	answer_result(s, exchange_streams(s->fd));
}

/* Reports how the other side ends, without reading its data. */
static void do_end(struct session *s, const struct args *args)
{
	struct pollfd pfd = { .fd = s->fd, .events = POLLRDHUP };

	(void)args;
	while (poll(&pfd, 1, -1) < 0)
		;
	set_answer(s, "%s", pfd.revents & POLLERR ? "rst" : "fin");
}

/* Waits for the end of both directions, which is more than a FIN. */
static void do_hup(struct session *s, const struct args *args)
{
	struct pollfd pfd = { .fd = s->fd };

	(void)args;
	while (poll(&pfd, 1, -1) < 0)
		;
	set_answer(s, "%s", pfd.revents & POLLERR ? "rst" : "fin");
}

static void do_fin(struct session *s, const struct args *args)
{
	(void)args;
	answer_result(s, shutdown(s->fd, SHUT_WR));
}

static void do_close(struct session *s, const struct args *args)
{
	(void)args;
	drop_connection(s, false);
	set_answer(s, "ok");
}

static void do_rst(struct session *s, const struct args *args)
{
	(void)args;
	drop_connection(s, true);
	set_answer(s, "ok");
}

static void do_open(struct session *s, const struct args *args)
{
	int error = conns_open(&s->conns, arg_number(args, 1), arg_number(args, 2));

	if (error)
		set_answer(s, "err %d %u", error, s->conns.count);
	else
		set_answer(s, "ok %u", s->conns.count);
}

static void do_ends(struct session *s, const struct args *args)
{
	unsigned int fins, resets;

	conns_wait_end(&s->conns, arg_number(args, 1), &fins, &resets);
	set_answer(s, "fin %u rst %u", fins, resets);
}

static void do_echo(struct session *s, const struct args *args)
{
	set_answer(s, "ok %u", conns_echo(&s->conns, arg_number(args, 1)));
}

static void do_closeall(struct session *s, const struct args *args)
{
	(void)args;
	conns_close(&s->conns);
	set_answer(s, "ok");
}

static void do_clients(struct session *s, const struct args *args)
{
	unsigned int good;
	int error = run_clients(arg_number(args, 1), arg_number(args, 2), arg_number(args, 3),
				arg_number(args, 4), &good);

	if (error)
		set_answer(s, "err %d %u", error, good);
	else
		set_answer(s, "ok %u", good);
}

static void do_udp(struct session *s, const struct args *args)
{
	if (s->udp >= 0)
		close(s->udp);
	s->udp = udp_open(*args->text[1] ? args->text[1] : opt.host);
	if (s->udp < 0)
		set_answer(s, "err %d", errno);
	else
		set_answer(s, "ok %u", local_port(s->udp));
}

static void do_join(struct session *s, const struct args *args)
{
	answer_result(s, udp_join(s->udp, args->text[1], args->text[2]));
}

static void do_sendto(struct session *s, const struct args *args)
{
	ssize_t n = udp_send(s->udp, *args->text[4] ? args->text[4] : opt.host,
			     arg_number(args, 1), arg_number(args, 3), arg_number(args, 2));

	if (n < 0)
		set_answer(s, "err %d", errno);
	else
		set_answer(s, "ok %zd", n);
}

static void do_recvfrom(struct session *s, const struct args *args)
{
	udp_recv(s->udp, arg_number(args, 1), s->answer, sizeof(s->answer) - 1);
}

static void do_ttl(struct session *s, const struct args *args)
{
	(void)args;
	set_answer(s, "ok %d", udp_ttl(s->udp));
}

static void do_echoudp(struct session *s, const struct args *args)
{
	set_answer(s, "ok %u", udp_echo(s->udp, arg_number(args, 1)));
}

static void do_drops(struct session *s, const struct args *args)
{
	set_answer(s, "ok %ld", udp_drops(arg_number(args, 1)));
}

static void do_closeudp(struct session *s, const struct args *args)
{
	(void)args;
	answer_result(s, close(s->udp));
	s->udp = -1;
}

static void do_stats(struct session *s, const struct args *args)
{
	(void)args;
	format_stats(s->answer, sizeof(s->answer) - 1);
}

static const struct {
	const char *name;
	void (*run)(struct session *s, const struct args *args);
} commands[] = {
	{ "listen", do_listen }, { "unlisten", do_unlisten },
	{ "accept", do_accept }, { "connect", do_connect },
	{ "name", do_name }, { "peer", do_peer }, { "diag", do_diag },
	{ "send", do_send }, { "recv", do_recv }, { "drain", do_drain },
	{ "count", do_count }, { "exchange", do_exchange }, { "end", do_end },
	{ "hup", do_hup },
	{ "write", do_write }, { "writeoob", do_writeoob }, { "read", do_read },
	{ "readoob", do_readoob }, { "oobinline", do_oobinline },
	{ "fin", do_fin }, { "close", do_close }, { "rst", do_rst },
	{ "open", do_open }, { "echo", do_echo }, { "ends", do_ends },
	{ "closeall", do_closeall }, { "clients", do_clients }, { "stats", do_stats },
	{ "udp", do_udp }, { "sendto", do_sendto }, { "recvfrom", do_recvfrom },
	{ "ttl", do_ttl }, { "join", do_join },
	{ "echoudp", do_echoudp }, { "drops", do_drops }, { "closeudp", do_closeudp },
};

static void run_command(struct session *s, char *line)
{
	struct args args;
	char *rest = line, *word;
	size_t i;

	for (i = 0; i < ARGS; i++) {
		word = strtok_r(i ? NULL : line, " \n", &rest);
		args.text[i] = word ? word : "";
	}
	for (i = 0; i < ARRAY_LEN(commands); i++) {
		if (!strcmp(args.text[0], commands[i].name)) {
			commands[i].run(s, &args);
			return;
		}
	}
	set_answer(s, "what? %s", args.text[0]);
}

void serve_control(int fd)
{
	struct session session = { .listener = -1, .fd = -1, .udp = -1 };
	FILE *in = fdopen(fd, "r");
	char line[160];

	while (in && fgets(line, sizeof(line), in)) {
		run_command(&session, line);
		strcat(session.answer, "\n");
		if (send_all(fd, session.answer, strlen(session.answer)) < 0)
			break;
	}
	drop_connection(&session, false);
	conns_close(&session.conns);
	if (session.listener >= 0)
		close(session.listener);
	if (session.udp >= 0)
		close(session.udp);
	if (in)
		fclose(in);
}
