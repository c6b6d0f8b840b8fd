// SPDX-License-Identifier: GPL-2.0

#include <linux/bpf-cgroup.h>
#include <linux/seq_file_net.h>
#include <net/inet_common.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/netns/generic.h>
#include <net/protocol.h>
#include <net/route.h>
#include <net/sock.h>
#include <net/transp_v6.h>

#ifdef CONFIG_RUST_SOCKET_ABSTRACTIONS

/* Runs the BPF programs of the control group for a socket that a program closes. */
__rust_helper void rust_helper_inet_sock_released(struct sock *sk)
{
	if (!sk->sk_kern_sock)
		BPF_CGROUP_RUN_PROG_INET_SOCK_RELEASE(sk);
}

/* Binds without the capability check: a port granted for one protocol is granted for another. */
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

/* Runs an ioctl that all sockets of the family support, whatever their protocol. */
__rust_helper int rust_helper_inet_any_ioctl(struct socket *sock, unsigned int cmd,
					     unsigned long arg)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (sock->sk->sk_family == AF_INET6)
		return inet6_ioctl(sock, cmd, arg);
#endif
	return inet_ioctl(sock, cmd, arg);
}

__rust_helper bool rust_helper_net_is_broadcast(struct net *net, __be32 addr)
{
	return inet_addr_type(net, addr) == RTN_BROADCAST;
}

__rust_helper bool rust_helper_ipv6_mod_enabled(void)
{
	return ipv6_mod_enabled();
}

/* Returns the range in the format of IP_LOCAL_PORT_RANGE. */
__rust_helper u32 rust_helper_net_local_ports(const struct net *net)
{
	int low, high;

	inet_get_local_port_range(net, &low, &high);
	return (u32)high << 16 | low;
}

__rust_helper bool rust_helper_net_reserves_port(struct net *net, u16 port)
{
	return inet_is_local_reserved_port(net, port);
}

__rust_helper struct net *rust_helper_seq_file_single_net(struct seq_file *seq)
{
	return seq_file_single_net(seq);
}

__rust_helper void *rust_helper_net_generic(const struct net *net, unsigned int id)
{
	return net_generic(net, id);
}

/* Registers a protocol under AF_INET or AF_INET6, according to the family of its operations. */
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
	/* inet_register_protosw() reports a failure in the log only. */
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
