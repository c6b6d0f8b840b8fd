/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
#ifndef _UAPI_LINUX_XENSOCK_H
#define _UAPI_LINUX_XENSOCK_H

/*
 * XenSock: sockets whose calls are carried out by the backend domain.
 *
 * socket(AF_XENSOCK, SOCK_STREAM, 0) makes a socket that behaves like a TCP
 * socket of the backend domain. With SOCK_DGRAM it behaves like a UDP socket.
 * Its addresses are struct sockaddr_in with sin_family AF_INET, or struct
 * sockaddr_in6 with AF_INET6.
 *
 * The protocol IPPROTO_XENSOCK makes the same sockets under AF_INET and
 * AF_INET6.
 *
 * Other kernel headers define these numbers too, and later C libraries may. A
 * program that needs <linux/in.h>, <netinet/in.h> or <sys/socket.h> includes
 * that header before this file: a name that this file has made a macro can no
 * longer become an enumerator.
 */
#ifndef AF_XENSOCK
#define AF_XENSOCK	46
#endif
#ifndef PF_XENSOCK
#define PF_XENSOCK	AF_XENSOCK
#endif
#ifndef IPPROTO_XENSOCK
#define IPPROTO_XENSOCK	257
#endif

#endif /* _UAPI_LINUX_XENSOCK_H */
