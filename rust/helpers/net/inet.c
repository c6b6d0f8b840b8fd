// SPDX-License-Identifier: GPL-2.0

#include <linux/bpf-cgroup.h>
#include <linux/inetdevice.h>
#include <linux/seq_file_net.h>
#include <net/addrconf.h>
#include <net/inet_common.h>
#include <net/inet_sock.h>
#include <net/ip.h>
#include <net/ip6_route.h>
#include <net/ip_fib.h>
#include <net/ipv6.h>
#include <net/netns/generic.h>
#include <net/protocol.h>
#include <net/route.h>
#include <net/sock.h>
#include <net/transp_v6.h>

#ifdef CONFIG_RUST_SOCKET_ABSTRACTIONS

/*
 * What inet_create() and inet6_create() set in a socket that sock_init_data()
 * has initialised, for one that is made without them.
 */
__rust_helper void rust_helper_inet_sock_init(struct sock *sk)
{
	const struct net *net = sock_net(sk);
	struct inet_sock *inet = inet_sk(sk);

	sk->sk_txrehash = READ_ONCE(net->core.sysctl_txrehash);
	inet->pmtudisc = READ_ONCE(net->ipv4.sysctl_ip_no_pmtu_disc) ? IP_PMTUDISC_DONT :
								       IP_PMTUDISC_WANT;
	atomic_set(&inet->inet_id, 0);
	inet->uc_ttl = -1;
	inet->mc_ttl = 1;
	inet_set_bit(MC_LOOP, sk);
	inet_set_bit(MC_ALL, sk);
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		struct ipv6_pinfo *np = (void *)sk + sk->sk_prot->ipv6_pinfo_offset;

		inet->pinet6 = np;
		np->hop_limit = -1;
		np->mcast_hops = IPV6_DEFAULT_MCASTHOPS;
		np->pmtudisc = IPV6_PMTUDISC_WANT;
		inet6_set_bit(MC6_LOOP, sk);
		inet6_set_bit(MC6_ALL, sk);
		sk->sk_ipv6only = READ_ONCE(net->ipv6.sysctl.bindv6only);
	}
#endif
}

/*
 * The end of an internet socket of no protocol of the kernel's own, whatever
 * state it was in. The functions take it for a mistake if that is not CLOSE.
 */
__rust_helper void rust_helper_inet_sock_end(struct sock *sk)
{
	sock_set_flag(sk, SOCK_DEAD);
	sk->sk_state = TCP_CLOSE;
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		inet6_sock_destruct(sk);
		return;
	}
#endif
	inet_sock_destruct(sk);
}

/* What a control group's programs are told when a program closes such a socket. */
__rust_helper void rust_helper_inet_sock_released(struct sock *sk)
{
	if (!sk->sk_kern_sock)
		BPF_CGROUP_RUN_PROG_INET_SOCK_RELEASE(sk);
}

/* Whoever may listen at a port for one protocol may do so for another. */
__rust_helper int rust_helper_sock_bind_permitted(struct socket *sock,
						  struct sockaddr_unsized *addr, int len)
{
	const u32 flags = BIND_WITH_LOCK | BIND_NO_CAP_NET_BIND_SERVICE;

#if IS_ENABLED(CONFIG_IPV6)
	if (sock->sk->sk_family == AF_INET6)
		return __inet6_bind(sock->sk, addr, len, flags);
#endif
	return __inet_bind(sock->sk, addr, len, flags);
}

/* Notes the addresses where the rest of the kernel looks for them. */
__rust_helper void rust_helper_inet_sock_set_names(struct sock *sk,
						   const struct sockaddr_in6 *local,
						   const struct sockaddr_in6 *peer)
{
	struct inet_sock *inet = inet_sk(sk);

	inet->inet_num = ntohs(local->sin6_port);
	inet->inet_sport = local->sin6_port;
	inet->inet_dport = peer->sin6_port;
	if (ipv6_addr_v4mapped(&local->sin6_addr))
		inet->inet_saddr = local->sin6_addr.s6_addr32[3];
	if (ipv6_addr_v4mapped(&peer->sin6_addr))
		inet->inet_daddr = peer->sin6_addr.s6_addr32[3];
	inet->inet_rcv_saddr = inet->inet_saddr;
#if IS_ENABLED(CONFIG_IPV6)
	sk->sk_v6_rcv_saddr = local->sin6_addr;
	sk->sk_v6_daddr = peer->sin6_addr;
	if (sk->sk_family == AF_INET6)
		inet6_sk(sk)->saddr = local->sin6_addr;
#endif
}

/* The ioctls that are for all sockets of a family, whatever their protocol. */
__rust_helper int rust_helper_inet_any_ioctl(struct socket *sock, unsigned int cmd,
					     unsigned long arg)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (sock->sk->sk_family == AF_INET6)
		return inet6_ioctl(sock, cmd, arg);
#endif
	return inet_ioctl(sock, cmd, arg);
}

/* Whether an address is one of this host's own, for this namespace. */
__rust_helper bool rust_helper_net_is_local(struct net *net, const struct in6_addr *addr)
{
	bool local = false;

	if (ipv6_addr_v4mapped(addr)) {
		rcu_read_lock();
		local = __ip_dev_find(net, addr->s6_addr32[3], false);
		rcu_read_unlock();
		return local;
	}
#if IS_ENABLED(CONFIG_IPV6)
	if (ipv6_addr_loopback(addr))
		return true;
	if (ipv6_mod_enabled()) {
		struct rt6_info *rt = rt6_lookup(net, addr, NULL, 0, NULL, 0);

		local = rt && rt->rt6i_flags & (RTF_LOCAL | RTF_ANYCAST);
		ip6_rt_put(rt);
		/* Where an interface has tables of its own, the route is there. */
		local = local || ipv6_chk_addr(net, addr, NULL, 0);
	}
#endif
	return local;
}

__rust_helper bool rust_helper_net_is_broadcast(struct net *net, __be32 addr)
{
	return inet_addr_type(net, addr) == RTN_BROADCAST;
}

/* As IP_LOCAL_PORT_RANGE has it. */
__rust_helper u32 rust_helper_net_local_ports(const struct net *net)
{
	int low, high;

	inet_get_local_port_range(net, &low, &high);
	return (u32)high << 16 | low;
}

__rust_helper struct net *rust_helper_seq_file_single_net(struct seq_file *seq)
{
	return seq_file_single_net(seq);
}

__rust_helper void *rust_helper_net_generic(const struct net *net, unsigned int id)
{
	return net_generic(net, id);
}

/*
 * Registers a protocol under AF_INET or AF_INET6, by the family of its
 * operations.
 */
__rust_helper int rust_helper_inet_any_register_protosw(struct inet_protosw *p)
{
	INIT_LIST_HEAD(&p->list);
#if IS_ENABLED(CONFIG_IPV6)
	if (p->ops->family == PF_INET6)
		return inet6_register_protosw(p);
#endif
	if (p->ops->family != PF_INET)
		return -EAFNOSUPPORT;
	inet_register_protosw(p);
	/* It only says in the log that it has not. */
	return list_empty(&p->list) ? -EEXIST : 0;
}

__rust_helper void rust_helper_inet_any_unregister_protosw(struct inet_protosw *p)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (p->ops->family == PF_INET6) {
		inet6_unregister_protosw(p);
		return;
	}
#endif
	inet_unregister_protosw(p);
}

#endif /* CONFIG_RUST_SOCKET_ABSTRACTIONS */
