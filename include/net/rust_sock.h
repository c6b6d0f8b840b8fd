/* SPDX-License-Identifier: GPL-2.0 */
/* C functions for the Rust abstractions of sockets. */
#ifndef _NET_RUST_SOCK_H
#define _NET_RUST_SOCK_H

#include <linux/types.h>

struct cred;
struct in6_addr;
struct inode;
struct iov_iter;
struct msghdr;
struct net;
struct sock;
struct sock_extended_err;
struct sockaddr;
struct sockaddr_in6;
struct socket;
struct wait_queue_entry;

/* net/core/rust_sock.c */
void inet_sock_init(struct sock *sk);
void inet_sock_end(struct sock *sk);
void inet_sock_set_names(struct sock *sk, const struct sockaddr_in6 *local,
			 const struct sockaddr_in6 *peer);
bool net_is_local(struct net *net, const struct in6_addr *addr);
void sk_inherit(struct sock *newsk, const struct sock *sk);
void sk_take_over(struct sock *newsk, const struct sock *sk, bool keep_route);
struct inode *sk_get_inode(struct sock *sk);
int tcp_recv_locked(struct sock *sk, struct iov_iter *to);
int tcp_send_locked(struct sock *sk, struct msghdr *msg);
void tcp_raise_window_limit(struct sock *sk, u32 most);
bool tcp_fix_rcvbuf(struct sock *sk, bool fixed);
int sock_getsockopt_kernel(struct socket *sock, int level, int optname, void *optval,
			   int *optlen);
struct cred *prepare_user_cred(u32 user, bool may_bind);

/* net/core/rust_sock_errors.c */
int sk_queue_network_error(struct sock *sk, const struct sock_extended_err *ee,
			   const struct sockaddr *offender, const struct sockaddr *to,
			   const void *data, size_t len);
int sk_recv_error(struct sock *sk, struct msghdr *msg, int len);

/* net/core/rust_sock_native.c */
int sock_stand_in(struct socket *sock, struct socket *native);
bool sock_fall_back(struct socket *sock, struct socket *native);
void sock_forward_wakes(struct socket *native, struct socket *sock,
			struct wait_queue_entry *entry);
void sock_forward_end(struct socket *native, struct wait_queue_entry *entry);
void sock_release_native(struct socket *native, struct socket *sock);

#endif /* _NET_RUST_SOCK_H */
