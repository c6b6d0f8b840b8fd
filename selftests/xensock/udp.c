// SPDX-License-Identifier: GPL-2.0
/* The peer's datagram socket, under remote control. See util.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "peer.h"

#define DATA_MAX 65536

int udp_open(const char *host)
{
	struct timeval timeout = { .tv_sec = WAIT_LIMIT_MSEC / 1000 };
	struct sockaddr_storage ss;
	socklen_t len = parse_address(host, 0, &ss);
	int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &(int){ 1 }, sizeof(int));
	/* A lost datagram fails the test instead of hanging it. */
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	if (bind(fd, (struct sockaddr *)&ss, len)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Joins a group on the interface that leads to @host, and sends to groups there. */
int udp_join(int fd, const char *group, const char *host)
{
	struct ip_mreq mreq;

	if (inet_pton(AF_INET, group, &mreq.imr_multiaddr) != 1 ||
	    inet_pton(AF_INET, host, &mreq.imr_interface) != 1) {
		errno = EINVAL;
		return -1;
	}
	return setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &mreq.imr_interface,
			  sizeof(mreq.imr_interface)) ?:
	       setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &mreq, sizeof(mreq));
}

ssize_t udp_send(int fd, const char *host, unsigned int port, __u64 seed,
		 size_t len)
{
	struct sockaddr_storage ss;
	socklen_t size = parse_address(host, port, &ss);
	char data[DATA_MAX];

	if (len > sizeof(data)) {
		errno = EMSGSIZE;
		return -1;
	}
	stream_fill(seed, 0, data, len);
	return sendto(fd, data, len, 0, (struct sockaddr *)&ss, size);
}

void udp_recv(int fd, __u64 seed, char *answer, size_t size)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char data[DATA_MAX], text[ADDRESS_TEXT];
	ssize_t n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&ss,
			     &len);

	if (n < 0)
		snprintf(answer, size, "err %d", errno);
	else
		snprintf(answer, size, "%s %zd %s",
			 stream_check(seed, 0, data, n) ? "ok" : "bad", n,
			 address_text(&ss, text));
}

int udp_ttl(int fd)
{
	char data[DATA_MAX], control[64];
	struct iovec iov = { data, sizeof(data) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;
	int ttl = -1;

	if (recvmsg(fd, &msg, 0) < 0)
		return -1;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_level == IPPROTO_IP && cmsg->cmsg_type == IP_TTL)
		memcpy(&ttl, CMSG_DATA(cmsg), sizeof(ttl));
	return ttl;
}

unsigned int udp_echo(int fd, unsigned int count)
{
	struct sockaddr_storage ss;
	char data[DATA_MAX];
	unsigned int i;
	socklen_t len;
	ssize_t n;

	for (i = 0; i < count; i++) {
		len = sizeof(ss);
		n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&ss,
			     &len);
		if (n < 0 ||
		    sendto(fd, data, n, 0, (struct sockaddr *)&ss, len) != n)
			break;
	}
	return i;
}

/* Returns the drops column of /proc/net/udp for the socket with this port. */
long udp_drops(unsigned int port)
{
	FILE *file = fopen("/proc/net/udp", "r");
	unsigned int found;
	char line[256];
	long drops;

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%*u: %*x:%x %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %ld",
			   &found, &drops) == 2 && found == port) {
			fclose(file);
			return drops;
		}
	}
	if (file)
		fclose(file);
	return -1;
}
