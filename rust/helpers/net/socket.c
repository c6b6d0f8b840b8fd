// SPDX-License-Identifier: GPL-2.0

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/security.h>
#include <linux/sockptr.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/sock.h>
#include <net/tcp.h>

#ifdef CONFIG_RUST_SOCKET_ABSTRACTIONS

/* Casts keep bindgen from seeing these: rust/kernel/net/family.rs repeats them. */
static_assert((__force u32)EPOLLIN == 0x0001);
static_assert((__force u32)EPOLLPRI == 0x0002);
static_assert((__force u32)EPOLLOUT == 0x0004);
static_assert((__force u32)EPOLLERR == 0x0008);
static_assert((__force u32)EPOLLHUP == 0x0010);
static_assert((__force u32)EPOLLRDNORM == 0x0040);
static_assert((__force u32)EPOLLRDBAND == 0x0080);
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

__rust_helper long rust_helper_strncpy_from_sockptr(char *dst, sockptr_t src, size_t count)
{
	return strncpy_from_sockptr(dst, src, count);
}

/* An address of @sock, which has a protocol: see getname in struct proto_ops. */
__rust_helper int rust_helper_sock_getname(struct socket *sock, struct sockaddr *addr,
					   int peer)
{
	return READ_ONCE(sock->ops)->getname(sock, addr, peer);
}

/*
 * setsockopt(2) with a value in the kernel, and without the capabilities of the
 * current task, which would be all of them in a worker.
 */
__rust_helper int rust_helper_sock_setsockopt_unprivileged(struct socket *sock, int level,
							   int optname, const void *optval,
							   unsigned int optlen)
{
	struct cred *cred = prepare_creds();
	const struct cred *old;
	int err;

	if (!cred)
		return -ENOMEM;
	cap_clear(cred->cap_effective);
	old = override_creds(cred);
	err = do_sock_setsockopt(sock, false, level, optname,
				 KERNEL_SOCKPTR((void *)optval), optlen);
	put_cred(revert_creds(old));
	return err;
}

/*
 * getsockopt(2) with a value in the kernel. do_sock_getsockopt() can do that
 * only for families that have been converted to getsockopt_iter(), and those of
 * the internet have not.
 */
__rust_helper int rust_helper_sock_getsockopt_kernel(struct socket *sock, int level,
						     int optname, void *optval, int *optlen)
{
	sockptr_t val = KERNEL_SOCKPTR(optval), len = KERNEL_SOCKPTR(optlen);
	struct sock *sk = sock->sk;
	int err;

	err = security_socket_getsockopt(sock, level, optname);
	if (err)
		return err;
	if (level == SOL_SOCKET)
		return sk_getsockopt(sk, level, optname, val, len);
	if (level == SOL_TCP && sk_is_tcp(sk))
		return do_tcp_getsockopt(sk, level, optname, val, len);
	if (level == SOL_IP)
		return do_ip_getsockopt(sk, level, optname, val, len);
	if (IS_ENABLED(CONFIG_IPV6) && level == SOL_IPV6 && sk->sk_family == AF_INET6)
		return do_ipv6_getsockopt(sk, level, optname, val, len);
	return sk->sk_family == AF_INET6 ? -ENOPROTOOPT : -EOPNOTSUPP;
}

/* What __inet_bind() asks. */
__rust_helper bool rust_helper_net_may_bind(struct net *net, u16 port)
{
	return !inet_port_requires_bind_service(net, port) ||
	       ns_capable(net->user_ns, CAP_NET_BIND_SERVICE);
}

#endif /* CONFIG_RUST_SOCKET_ABSTRACTIONS */
