// SPDX-License-Identifier: GPL-2.0

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/security.h>
#include <linux/sockptr.h>
#include <linux/user_namespace.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <net/udp.h>

#ifdef CONFIG_RUST_SOCKET_ABSTRACTIONS

/* The casts hide these from bindgen: rust/kernel/net/family/poll.rs repeats the values. */
static_assert((__force u32)EPOLLIN == 0x0001);
static_assert((__force u32)EPOLLPRI == 0x0002);
static_assert((__force u32)EPOLLOUT == 0x0004);
static_assert((__force u32)EPOLLERR == 0x0008);
static_assert((__force u32)EPOLLHUP == 0x0010);
static_assert((__force u32)EPOLLRDNORM == 0x0040);
static_assert((__force u32)EPOLLWRNORM == 0x0100);
static_assert((__force u32)EPOLLWRBAND == 0x0200);
static_assert((__force u32)EPOLLRDHUP == 0x2000);

__rust_helper void rust_helper_sock_poll_wait(struct file *filp, struct socket *sock,
					      poll_table *p)
{
	sock_poll_wait(filp, sock, p);
}

__rust_helper sockptr_t rust_helper_KERNEL_SOCKPTR(void *p)
{
	return KERNEL_SOCKPTR(p);
}

__rust_helper int rust_helper_copy_from_sockptr(void *dst, sockptr_t src, size_t size)
{
	return copy_from_sockptr(dst, src, size);
}

/* Reads an address of @sock, which has a protocol: see getname in struct proto_ops. */
__rust_helper int rust_helper_sock_getname(struct socket *sock, struct sockaddr *addr,
					   int peer)
{
	return READ_ONCE(sock->ops)->getname(sock, addr, peer);
}

/* setsockopt(2) with a value in kernel memory. */
__rust_helper int rust_helper_sock_setsockopt_kernel(struct socket *sock, int level,
						     int optname, const void *optval,
						     unsigned int optlen)
{
	return do_sock_setsockopt(sock, false, level, optname,
				  KERNEL_SOCKPTR((void *)optval), optlen);
}

/*
 * Counts a datagram that a UDP socket received and then dropped, as UDP counts one that it has no
 * room for.
 */
__rust_helper void rust_helper_udp_count_drop(struct sock *sk)
{
	udp_drops_inc(sk);
	SNMP_INC_STATS(__UDPX_MIB(sk, sk->sk_family == AF_INET), UDP_MIB_RCVBUFERRORS);
	SNMP_INC_STATS(__UDPX_MIB(sk, sk->sk_family == AF_INET), UDP_MIB_INERRORS);
}

__rust_helper const struct cred *rust_helper_override_creds(const struct cred *cred)
{
	return override_creds(cred);
}

__rust_helper const struct cred *rust_helper_revert_creds(const struct cred *cred)
{
	return revert_creds(cred);
}

/* Sets the owner of a socket that has no file and is not used yet. */
__rust_helper void rust_helper_sock_set_owner(struct socket *sock, const struct cred *cred)
{
	struct inode *inode = SOCK_INODE(sock);

	inode->i_uid = cred->fsuid;
	inode->i_gid = cred->fsgid;
	/* Pairs with READ_ONCE() in sk_uid(). */
	WRITE_ONCE(sock->sk->sk_uid, inode->i_uid);
}

/*
 * Stores the owner of the outermost user namespace around the current task, below the initial one.
 * That user answers for every user inside. Returns false in the initial user namespace.
 */
__rust_helper bool rust_helper_current_userns_owner(kuid_t *owner)
{
	const struct user_namespace *ns = current_user_ns();

	if (ns == &init_user_ns)
		return false;
	while (ns->parent != &init_user_ns)
		ns = ns->parent;
	*owner = ns->owner;
	return true;
}

/* Does the port check of __inet_bind(). */
__rust_helper bool rust_helper_net_may_bind(struct net *net, u16 port)
{
	return !port || !inet_port_requires_bind_service(net, port) ||
	       ns_capable(net->user_ns, CAP_NET_BIND_SERVICE);
}

#endif /* CONFIG_RUST_SOCKET_ABSTRACTIONS */
