// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's own policy for a socket: BPF programs of its control group, and security modules.
 * They are asked about the TCP or UDP socket that another socket stands in for, at the points where
 * TCP and UDP ask them.
 */

#include <linux/bpf-cgroup.h>
#include <linux/security.h>
#include <net/inet_common.h>
#include <net/inet_connection_sock.h>
#include <net/inet_sock.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/rust_sock.h>
#include <net/sock.h>

#ifdef CONFIG_RUST_SOCKET_ABSTRACTIONS

__rust_helper int rust_helper_sock_may_bind(struct socket *sock, struct sockaddr *addr, int len)
{
	return security_socket_bind(sock, addr, len);
}

__rust_helper int rust_helper_sock_may_connect(struct socket *sock, struct sockaddr *addr,
					       int len)
{
	return security_socket_connect(sock, addr, len);
}

__rust_helper int rust_helper_sock_may_listen(struct socket *sock, int backlog)
{
	return security_socket_listen(sock, backlog);
}

__rust_helper int rust_helper_sock_may_send(struct socket *sock, struct msghdr *msg, int size)
{
	return security_socket_sendmsg(sock, msg, size);
}

/*
 * As in inet_bind_sk() and inet6_bind_sk(): BPF programs may change the address, and may set @flags
 * so that bind() needs no capability.
 */
__rust_helper int rust_helper_sk_ask_bind(struct sock *sk, struct sockaddr_unsized *addr,
					  int len, u32 *flags)
{
	if (sk->sk_family == AF_INET6)
		return BPF_CGROUP_RUN_PROG_INET_BIND_LOCK(sk, addr, &len, CGROUP_INET6_BIND, flags);
	return BPF_CGROUP_RUN_PROG_INET_BIND_LOCK(sk, addr, &len, CGROUP_INET4_BIND, flags);
}

/*
 * Clears the local name of a locked socket: unhashing a socket expects that it
 * has no port that it does not own. A port that it does own, because a BPF
 * program has bound it, is released.
 */
__rust_helper void rust_helper_inet_sock_forget_names(struct sock *sk)
{
	struct inet_sock *inet = inet_sk(sk);

	if (sk_is_tcp(sk) ? !!inet_csk(sk)->icsk_bind_hash : sk_hashed(sk))
		sk->sk_prot->put_port(sk);
	WRITE_ONCE(inet->inet_num, 0);
	inet->inet_sport = 0;
	inet_reset_saddr(sk);
}

/*
 * As in __inet_bind() and __inet6_bind(): BPF programs inspect the local
 * address of @sk, which is locked. Only a datagram socket that may keep the
 * address has it after that. A port that a BPF program has bound is released
 * first, since the hash tables find it by these names.
 */
__rust_helper int rust_helper_sk_ask_post_bind(struct sock *sk, const struct sockaddr_in6 *local,
					       const struct sockaddr_in6 *peer)
{
	int err;

	rust_helper_inet_sock_forget_names(sk);
	inet_sock_set_names(sk, local, peer);
	if (sk->sk_family == AF_INET6)
		err = BPF_CGROUP_RUN_PROG_INET6_POST_BIND(sk);
	else
		err = BPF_CGROUP_RUN_PROG_INET4_POST_BIND(sk);
	if (err || sk->sk_type == SOCK_STREAM)
		rust_helper_inet_sock_forget_names(sk);
	return err;
}

__rust_helper u16 rust_helper_inet_sock_num(const struct sock *sk)
{
	return READ_ONCE(inet_sk(sk)->inet_num);
}

__rust_helper bool rust_helper_inet_sock_has_name(const struct sock *sk)
{
	const struct inet_sock *inet = inet_sk(sk);

#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6 && !ipv6_addr_any(&sk->sk_v6_rcv_saddr))
		return true;
#endif
	return inet->inet_num || inet->inet_rcv_saddr;
}

/* As in __inet_stream_connect() and inet_dgram_connect(). */
__rust_helper int rust_helper_sk_ask_connect(struct sock *sk, struct sockaddr_unsized *addr,
					     int len)
{
	bool locks = sk->sk_type == SOCK_STREAM;
	int err;

	if (!BPF_CGROUP_PRE_CONNECT_ENABLED(sk))
		return 0;
	/* The pre_connect() of UDP takes the lock itself. */
	if (locks)
		lock_sock(sk);
	err = sk->sk_prot->pre_connect(sk, addr, len);
	if (locks)
		release_sock(sk);
	return err;
}

/* As in udp_sendmsg() and udpv6_sendmsg(). @from receives the source address. */
__rust_helper int rust_helper_sk_ask_sendmsg(struct sock *sk, struct sockaddr *addr, int len,
					     struct in6_addr *from)
{
	if (addr->sa_family == AF_INET6)
		return BPF_CGROUP_RUN_PROG_UDP6_SENDMSG_LOCK(sk, addr, &len, from);
	return BPF_CGROUP_RUN_PROG_UDP4_SENDMSG_LOCK(sk, addr, &len, from);
}

/* As in udp_recvmsg() and udpv6_recvmsg(). */
__rust_helper void rust_helper_sk_ask_recvmsg(struct sock *sk, struct sockaddr *addr, int len)
{
	if (sk->sk_family == AF_INET6)
		BPF_CGROUP_RUN_PROG_UDP6_RECVMSG_LOCK(sk, addr, &len);
	else
		BPF_CGROUP_RUN_PROG_UDP4_RECVMSG_LOCK(sk, addr, &len);
}

/* As in inet_getname() and inet6_getname(). */
__rust_helper void rust_helper_sk_ask_name(struct sock *sk, struct sockaddr *addr, int len,
					   bool peer)
{
	lock_sock(sk);
	if (sk->sk_family == AF_INET6 && peer)
		BPF_CGROUP_RUN_SA_PROG(sk, addr, &len, CGROUP_INET6_GETPEERNAME);
	else if (sk->sk_family == AF_INET6)
		BPF_CGROUP_RUN_SA_PROG(sk, addr, &len, CGROUP_INET6_GETSOCKNAME);
	else if (peer)
		BPF_CGROUP_RUN_SA_PROG(sk, addr, &len, CGROUP_INET4_GETPEERNAME);
	else
		BPF_CGROUP_RUN_SA_PROG(sk, addr, &len, CGROUP_INET4_GETSOCKNAME);
	release_sock(sk);
}

/* Returns true if BPF programs inspect the packets of the socket. */
__rust_helper bool rust_helper_sk_has_packet_filter(struct sock *sk)
{
#ifdef CONFIG_CGROUP_BPF
	return (cgroup_bpf_enabled(CGROUP_INET_EGRESS) &&
		cgroup_bpf_sock_enabled(sk, CGROUP_INET_EGRESS)) ||
	       (cgroup_bpf_enabled(CGROUP_INET_INGRESS) &&
		cgroup_bpf_sock_enabled(sk, CGROUP_INET_INGRESS));
#else
	return false;
#endif
}

#endif /* CONFIG_RUST_SOCKET_ABSTRACTIONS */
