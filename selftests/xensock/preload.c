// SPDX-License-Identifier: GPL-2.0
/*
 * LD_PRELOAD=preload.so PROGRAM: makes the TCP sockets of the program
 * AF_XENSOCK sockets, and changes nothing else.
 */
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/xensock.h>

#define TYPE 0xf	/* the rest is SOCK_NONBLOCK and SOCK_CLOEXEC */

int socket(int family, int type, int protocol)
{
	if ((family == AF_INET || family == AF_INET6) &&
	    (type & TYPE) == SOCK_STREAM)
		family = AF_XENSOCK;
	return syscall(SYS_socket, family, type, protocol);
}
