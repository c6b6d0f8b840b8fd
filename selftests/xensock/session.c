// SPDX-License-Identifier: GPL-2.0
/*
 * The peer under remote control: a listener, a connection that it accepts or
 * makes, and a crowd of other connections. See util.h for the commands.
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

#define WORDS 5

struct stage {
	int listener;
	int fd;
	unsigned int rcvbuf;
	__u64 sent;
	__u64 received;
	struct crowd crowd;
	int mail;
	char answer[160];
};

/* The arguments of a command. Absent ones are empty strings, and 0 as numbers. */
struct words {
	const char *text[WORDS];
};

static __printf(2, 3) void say(struct stage *s, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(s->answer, sizeof(s->answer) - 1, format, args);
	va_end(args);
}

static void say_result(struct stage *s, int result)
{
	if (result)
		say(s, "err %d", errno);
	else
		say(s, "ok");
}

static __u64 number(const struct words *w, int i)
{
	return strtoull(w->text[i], NULL, 10);
}

int listen_on(const char *host, unsigned int port, unsigned int rcvbuf)
{
	struct sockaddr_storage ss;
	socklen_t len = any_address(host, port, &ss);
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

/* Prints the name of one end of the connection, in the form of address_text(). */
static void say_name(struct stage *s, bool peer)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char text[ADDRESS_TEXT];

	if (peer ? getpeername(s->fd, (struct sockaddr *)&ss, &len) :
		   getsockname(s->fd, (struct sockaddr *)&ss, &len))
		say(s, "err %d", errno);
	else
		say(s, "ok %s", address_text(&ss, text));
}

static void drop(struct stage *s, bool reset)
{
	if (s->fd >= 0 && reset)
		close_with_reset(s->fd);
	else if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	s->sent = 0;
	s->received = 0;
}

static void do_listen(struct stage *s, const struct words *w)
{
	const char *host = *w->text[2] ? w->text[2] : opt.host;

	if (s->listener >= 0)
		close(s->listener);
	s->rcvbuf = number(w, 1);
	s->listener = listen_on(host, 0, s->rcvbuf);
	say(s, "ok %u", local_port(s->listener));
}

static void do_unlisten(struct stage *s, const struct words *w)
{
	(void)w;
	say_result(s, close(s->listener));
	s->listener = -1;
}

static void do_accept(struct stage *s, const struct words *w)
{
	(void)w;
	drop(s, false);
	s->fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
	say_result(s, s->fd < 0);
}

static void do_connect(struct stage *s, const struct words *w)
{
	drop(s, false);
	s->fd = connect_out(*w->text[2] ? w->text[2] : opt.host, number(w, 1),
			    s->rcvbuf);
	if (s->fd < 0)
		say(s, "err %d", errno);
	else
		say(s, "ok %u", local_port(s->fd));
}

static void do_name(struct stage *s, const struct words *w)
{
	(void)w;
	say_name(s, false);
}

static void do_peer(struct stage *s, const struct words *w)
{
	(void)w;
	say_name(s, true);
}

static void do_diag(struct stage *s, const struct words *w)
{
	(void)w;
	if (put_diag(s->fd, s->answer, sizeof(s->answer) - 1))
		say(s, "err %d", errno);
}

static void do_send(struct stage *s, const struct words *w)
{
	__u64 done = 0, len = number(w, 1);
	char data[16384];
	ssize_t n;

	while (done < len) {
		n = len - done < sizeof(data) ? len - done : sizeof(data);
		stream_fill(number(w, 2), s->sent, data, n);
		n = send(s->fd, data, n, MSG_NOSIGNAL);
		if (n < 0) {
			say(s, "err %d %llu", errno, done);
			return;
		}
		done += n;
		s->sent += n;
	}
	say(s, "ok %llu", done);
}

static void receive(struct stage *s, __u64 len, __u64 seed)
{
	char data[16384];
	__u64 done = 0;
	ssize_t n;

	while (done < len) {
		n = len - done < sizeof(data) ? len - done : sizeof(data);
		n = recv(s->fd, data, n, 0);
		if (n < 0) {
			say(s, "err %d %llu", errno, done);
			return;
		}
		if (!n) {
			say(s, "eof %llu", done);
			return;
		}
		if (!stream_check(seed, s->received, data, n)) {
			say(s, "bad %llu", done);
			return;
		}
		done += n;
		s->received += n;
	}
	say(s, "ok %llu", done);
}

static void do_recv(struct stage *s, const struct words *w)
{
	receive(s, number(w, 1), number(w, 2));
}

static void do_drain(struct stage *s, const struct words *w)
{
	receive(s, ~0ULL, number(w, 1));
}

/* As drain, for bytes that are not a stream. */
static void do_count(struct stage *s, const struct words *w)
{
	char data[16384];
	__u64 done = 0;
	ssize_t n;

	(void)w;
	while ((n = recv(s->fd, data, sizeof(data), 0)) > 0)
		done += n;
	if (n < 0)
		say(s, "err %d %llu", errno, done);
	else
		say(s, "eof %llu", done);
}

static void do_say(struct stage *s, const struct words *w)
{
	say_word(s->fd, w->text[1], 0, s->answer, sizeof(s->answer) - 1);
}

static void do_urge(struct stage *s, const struct words *w)
{
	say_word(s->fd, w->text[1], MSG_OOB, s->answer, sizeof(s->answer) - 1);
}

static void do_hear(struct stage *s, const struct words *w)
{
	(void)w;
	hear_word(s->fd, s->answer, sizeof(s->answer) - 1);
}

static void do_inline(struct stage *s, const struct words *w)
{
	int on = 1;

	(void)w;
	say_result(s, setsockopt(s->fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)));
}

static void do_oob(struct stage *s, const struct words *w)
{
	(void)w;
	hear_urgent(s->fd, s->answer, sizeof(s->answer) - 1);
}

static void do_exchange(struct stage *s, const struct words *w)
{
	(void)w;
	say_result(s, exchange_streams(s->fd));
}

/* Reports how the other side ends, without reading its data. */
static void do_end(struct stage *s, const struct words *w)
{
	struct pollfd pfd = { .fd = s->fd, .events = POLLRDHUP };

	(void)w;
	while (poll(&pfd, 1, -1) < 0)
		;
	say(s, "%s", pfd.revents & POLLERR ? "rst" : "fin");
}

/* Waits for the end of both directions, which is more than a FIN. */
static void do_gone(struct stage *s, const struct words *w)
{
	struct pollfd pfd = { .fd = s->fd };

	(void)w;
	while (poll(&pfd, 1, -1) < 0)
		;
	say(s, "%s", pfd.revents & POLLERR ? "rst" : "fin");
}

static void do_fin(struct stage *s, const struct words *w)
{
	(void)w;
	say_result(s, shutdown(s->fd, SHUT_WR));
}

static void do_close(struct stage *s, const struct words *w)
{
	(void)w;
	drop(s, false);
	say(s, "ok");
}

static void do_rst(struct stage *s, const struct words *w)
{
	(void)w;
	drop(s, true);
	say(s, "ok");
}

static void do_open(struct stage *s, const struct words *w)
{
	int error = crowd_open(&s->crowd, number(w, 1), number(w, 2));

	if (error)
		say(s, "err %d %u", error, s->crowd.count);
	else
		say(s, "ok %u", s->crowd.count);
}

static void do_ends(struct stage *s, const struct words *w)
{
	unsigned int fins, resets;

	crowd_ends(&s->crowd, number(w, 1), &fins, &resets);
	say(s, "fin %u rst %u", fins, resets);
}

static void do_chorus(struct stage *s, const struct words *w)
{
	say(s, "ok %u", crowd_chorus(&s->crowd, number(w, 1)));
}

static void do_disband(struct stage *s, const struct words *w)
{
	(void)w;
	crowd_close(&s->crowd);
	say(s, "ok");
}

static void do_swarm(struct stage *s, const struct words *w)
{
	unsigned int good;
	int error = swarm(number(w, 1), number(w, 2), number(w, 3),
			  number(w, 4), &good);

	if (error)
		say(s, "err %d %u", error, good);
	else
		say(s, "ok %u", good);
}

static void do_mail(struct stage *s, const struct words *w)
{
	if (s->mail >= 0)
		close(s->mail);
	s->mail = mail_open(*w->text[1] ? w->text[1] : opt.host);
	if (s->mail < 0)
		say(s, "err %d", errno);
	else
		say(s, "ok %u", local_port(s->mail));
}

static void do_join(struct stage *s, const struct words *w)
{
	say_result(s, mail_join(s->mail, w->text[1], w->text[2]));
}

static void do_post(struct stage *s, const struct words *w)
{
	ssize_t n = mail_post(s->mail, *w->text[4] ? w->text[4] : opt.host,
			      number(w, 1), number(w, 3), number(w, 2));

	if (n < 0)
		say(s, "err %d", errno);
	else
		say(s, "ok %zd", n);
}

static void do_take(struct stage *s, const struct words *w)
{
	mail_take(s->mail, number(w, 1), s->answer, sizeof(s->answer) - 1);
}

static void do_ttl(struct stage *s, const struct words *w)
{
	(void)w;
	say(s, "ok %d", mail_ttl(s->mail));
}

static void do_return(struct stage *s, const struct words *w)
{
	say(s, "ok %u", mail_return(s->mail, number(w, 1)));
}

static void do_drops(struct stage *s, const struct words *w)
{
	say(s, "ok %ld", mail_drops(number(w, 1)));
}

static void do_nomail(struct stage *s, const struct words *w)
{
	(void)w;
	say_result(s, close(s->mail));
	s->mail = -1;
}

static void do_stats(struct stage *s, const struct words *w)
{
	(void)w;
	put_stats(s->answer, sizeof(s->answer) - 1);
}

static const struct {
	const char *verb;
	void (*carry_out)(struct stage *s, const struct words *w);
} commands[] = {
	{ "listen", do_listen }, { "unlisten", do_unlisten },
	{ "accept", do_accept }, { "connect", do_connect },
	{ "name", do_name }, { "peer", do_peer }, { "diag", do_diag },
	{ "send", do_send }, { "recv", do_recv }, { "drain", do_drain },
	{ "count", do_count }, { "exchange", do_exchange }, { "end", do_end },
	{ "gone", do_gone },
	{ "say", do_say }, { "urge", do_urge }, { "hear", do_hear },
	{ "oob", do_oob }, { "inline", do_inline },
	{ "fin", do_fin }, { "close", do_close }, { "rst", do_rst },
	{ "open", do_open }, { "chorus", do_chorus }, { "ends", do_ends },
	{ "disband", do_disband }, { "swarm", do_swarm }, { "stats", do_stats },
	{ "mail", do_mail }, { "post", do_post }, { "take", do_take },
	{ "ttl", do_ttl }, { "join", do_join },
	{ "return", do_return }, { "drops", do_drops }, { "nomail", do_nomail },
};

static void obey(struct stage *s, char *line)
{
	struct words w;
	char *rest = line, *word;
	size_t i;

	for (i = 0; i < WORDS; i++) {
		word = strtok_r(i ? NULL : line, " \n", &rest);
		w.text[i] = word ? word : "";
	}
	for (i = 0; i < ARRAY_LEN(commands); i++) {
		if (!strcmp(w.text[0], commands[i].verb)) {
			commands[i].carry_out(s, &w);
			return;
		}
	}
	say(s, "what? %s", w.text[0]);
}

void serve_control(int fd)
{
	struct stage stage = { .listener = -1, .fd = -1, .mail = -1 };
	FILE *in = fdopen(fd, "r");
	char line[160];

	while (in && fgets(line, sizeof(line), in)) {
		obey(&stage, line);
		strcat(stage.answer, "\n");
		if (send_all(fd, stage.answer, strlen(stage.answer)) < 0)
			break;
	}
	drop(&stage, false);
	crowd_close(&stage.crowd);
	if (stage.listener >= 0)
		close(stage.listener);
	if (stage.mail >= 0)
		close(stage.mail);
	if (in)
		fclose(in);
}
