/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
#ifndef _UAPI_LINUX_XENSOCK_H
#define _UAPI_LINUX_XENSOCK_H

/*
 * XenSock: sockets whose calls are carried out by the backend domain.
 *
 * socket(AF_XENSOCK, SOCK_STREAM, 0) gives a socket that behaves like a TCP
 * socket of the backend domain, with SOCK_DGRAM like a UDP socket. Its addresses
 * are struct sockaddr_in with sin_family AF_INET, or struct sockaddr_in6 with
 * AF_INET6.
 */
#ifndef AF_XENSOCK
#define AF_XENSOCK	46
#define PF_XENSOCK	AF_XENSOCK
#endif

#endif /* _UAPI_LINUX_XENSOCK_H */
