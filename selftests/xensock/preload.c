// SPDX-License-Identifier: GPL-2.0
/*
 * LD_PRELOAD=preload.so PROGRAM: TCP sockets of that program are of AF_XENSOCK,
 * and nothing else of it is changed.
 */
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/xensock.h>

#define TYPE 0xf	/* what is left are SOCK_NONBLOCK and SOCK_CLOEXEC */

int socket(int family, int type, int protocol)
{
	if ((family == AF_INET || family == AF_INET6) &&
	    (type & TYPE) == SOCK_STREAM)
		family = AF_XENSOCK;
	return syscall(SYS_socket, family, type, protocol);
}
