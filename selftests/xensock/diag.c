// SPDX-License-Identifier: GPL-2.0
/*
 * Information of the kernel on the socket at the other end of a connection:
 * both are sockets of this machine, over AF_XENSOCK as well as over TCP. A test
 * can see there that an option has reached the real socket.
 */
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer.h"

struct diag_request {
	struct nlmsghdr head;
	struct inet_diag_req_v2 req;
};

static void put_address(const struct sockaddr_storage *ss, __be16 *port,
			__be32 *addr)
{
	const struct sockaddr_in6 *sin6 = (const void *)ss;
	const struct sockaddr_in *sin = (const void *)ss;

	if (ss->ss_family == AF_INET) {
		*port = sin->sin_port;
		memcpy(addr, &sin->sin_addr, sizeof(sin->sin_addr));
	} else {
		*port = sin6->sin6_port;
		memcpy(addr, &sin6->sin6_addr, sizeof(sin6->sin6_addr));
	}
}

static int make_request(int fd, struct diag_request *q)
{
	struct sockaddr_storage local, remote;
	socklen_t local_len = sizeof(local), remote_len = sizeof(remote);

	if (getsockname(fd, (struct sockaddr *)&local, &local_len) ||
	    getpeername(fd, (struct sockaddr *)&remote, &remote_len))
		return -1;
	*q = (struct diag_request){
		.head = {
			.nlmsg_len = sizeof(*q),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST,
		},
		.req = {
			.sdiag_family = local.ss_family,
			.sdiag_protocol = IPPROTO_TCP,
			.idiag_ext = 1 << (INET_DIAG_INFO - 1) |
				     1 << (INET_DIAG_CONG - 1) |
				     1 << (INET_DIAG_TOS - 1) |
				     1 << (INET_DIAG_TCLASS - 1),
			.idiag_states = -1,
			.id.idiag_cookie = {
				INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE,
			},
		},
	};
	/* The other socket's local end is our remote end. */
	put_address(&remote, &q->req.id.idiag_sport, q->req.id.idiag_src);
	put_address(&local, &q->req.id.idiag_dport, q->req.id.idiag_dst);
	return 0;
}

static void format_reply(struct nlmsghdr *head, char *answer, size_t size)
{
	struct inet_diag_msg *msg = NLMSG_DATA(head);
	struct rtattr *attr = (void *)(msg + 1);
	int left = NLMSG_PAYLOAD(head, sizeof(*msg));
	unsigned int tos = 0, tclass = 0, mss = 0;
	char cong[16] = "none";

	for (; RTA_OK(attr, left); attr = RTA_NEXT(attr, left)) {
		switch (attr->rta_type) {
		case INET_DIAG_TOS:
			tos = *(__u8 *)RTA_DATA(attr);
			break;
		case INET_DIAG_TCLASS:
			tclass = *(__u8 *)RTA_DATA(attr);
			break;
		case INET_DIAG_CONG:
			snprintf(cong, sizeof(cong), "%s",
				 (char *)RTA_DATA(attr));
			break;
		case INET_DIAG_INFO:
			mss = ((struct tcp_info *)RTA_DATA(attr))->tcpi_snd_mss;
		}
	}
	snprintf(answer, size,
		 "ok state=%u timer=%u expires=%u tos=%u tclass=%u mss=%u cong=%s",
		 msg->idiag_state, msg->idiag_timer, msg->idiag_expires, tos,
		 tclass, mss, cong);
}

int format_diag(int fd, char *answer, size_t size)
{
	char reply[8192] __attribute__((aligned(8)));
	struct nlmsghdr *head = (void *)reply;
	struct diag_request q;
	ssize_t n = -1;
	int nl;

	if (make_request(fd, &q))
		return -1;
	nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (nl >= 0 && send(nl, &q, sizeof(q), 0) == sizeof(q))
		n = recv(nl, reply, sizeof(reply), 0);
	close(nl);
	if (n < 0 || !NLMSG_OK(head, n))
		return -1;
	if (head->nlmsg_type != SOCK_DIAG_BY_FAMILY) {
		errno = -((struct nlmsgerr *)NLMSG_DATA(head))->error;
		return -1;
	}
	format_reply(head, answer, size);
	return 0;
}
