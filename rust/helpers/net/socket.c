// SPDX-License-Identifier: GPL-2.0

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/sched/task.h>
#include <linux/security.h>
#include <linux/sockptr.h>
#include <linux/uidgid.h>
#include <linux/user_namespace.h>
#include <linux/wait.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <net/udp.h>

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

/* setsockopt(2) with a value in the kernel. */
__rust_helper int rust_helper_sock_setsockopt_kernel(struct socket *sock, int level,
						     int optname, const void *optval,
						     unsigned int optlen)
{
	return do_sock_setsockopt(sock, false, level, optname,
				  KERNEL_SOCKPTR((void *)optval), optlen);
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

/*
 * Counts a datagram of a UDP socket that was received and then dropped, as UDP
 * itself counts one for which there is no room.
 */
__rust_helper void rust_helper_udp_count_drop(struct sock *sk)
{
	udp_drops_inc(sk);
	SNMP_INC_STATS(__UDPX_MIB(sk, sk->sk_family == AF_INET), UDP_MIB_RCVBUFERRORS);
	SNMP_INC_STATS(__UDPX_MIB(sk, sk->sk_family == AF_INET), UDP_MIB_INERRORS);
}

/*
 * Credentials of a user and of the group with the same number, of the initial
 * user namespace. They have no capabilities, or CAP_NET_BIND_SERVICE alone.
 */
__rust_helper struct cred *rust_helper_prepare_user_cred(u32 user, bool may_bind)
{
	struct cred *cred = prepare_kernel_cred(&init_task);

	if (!cred)
		return NULL;
	cred->uid = make_kuid(&init_user_ns, user);
	cred->euid = cred->uid;
	cred->suid = cred->uid;
	cred->fsuid = cred->uid;
	cred->gid = make_kgid(&init_user_ns, user);
	cred->egid = cred->gid;
	cred->sgid = cred->gid;
	cred->fsgid = cred->gid;
	cap_clear(cred->cap_inheritable);
	cap_clear(cred->cap_permitted);
	cap_clear(cred->cap_effective);
	cap_clear(cred->cap_bset);
	cap_clear(cred->cap_ambient);
	if (may_bind) {
		cap_raise(cred->cap_permitted, CAP_NET_BIND_SERVICE);
		cap_raise(cred->cap_effective, CAP_NET_BIND_SERVICE);
	}
	return cred;
}

__rust_helper const struct cred *rust_helper_override_creds(const struct cred *cred)
{
	return override_creds(cred);
}

__rust_helper const struct cred *rust_helper_revert_creds(const struct cred *cred)
{
	return revert_creds(cred);
}

/* Whose a socket is, that has no file and that nobody uses. */
__rust_helper void rust_helper_sock_set_owner(struct socket *sock, const struct cred *cred)
{
	struct inode *inode = SOCK_INODE(sock);

	inode->i_uid = cred->fsuid;
	inode->i_gid = cred->fsgid;
	/* Pairs with READ_ONCE() in sk_uid(). */
	WRITE_ONCE(sock->sk->sk_uid, inode->i_uid);
}

/* What __inet_bind() asks. */
__rust_helper bool rust_helper_net_may_bind(struct net *net, u16 port)
{
	return !inet_port_requires_bind_service(net, port) ||
	       ns_capable(net->user_ns, CAP_NET_BIND_SERVICE);
}

/*
 * A socket of TCP or UDP, and another one that stands in for it. The file of a
 * program is that of the other one, even if it has fallen back: the program uses
 * the native socket by it then, as with SMC.
 */

/* Makes @sock, which is new, look like @native, which is new as well. */
__rust_helper int rust_helper_sock_stand_in(struct socket *sock, struct socket *native)
{
	struct sock *sk = sock->sk;

	/* What programs of the control group have set. */
	lock_sock(native->sk);
	rust_helper_sk_take_over(sk, native->sk);
	release_sock(native->sk);
	/* They hear of the native one. */
	sk->sk_kern_sock = true;
	return security_socket_post_create(sock, sk->sk_family, sock->type,
					   native->sk->sk_protocol, 0);
}

/*
 * Has the program use @native, which nobody has used, by the file of @sock. Says
 * whether somebody waits with @sock, be it only that he wants a signal.
 */
__rust_helper bool rust_helper_sock_fall_back(struct socket *sock, struct socket *native)
{
	struct sock *sk = native->sk;
	struct file *file = sock->file;

	if (!file)
		return false;

	/* The file belongs to @sock, so does what tools find it by. */
	write_lock_bh(&sk->sk_callback_lock);
	WRITE_ONCE(sk->sk_ino, SOCK_INODE(sock)->i_ino);
	write_unlock_bh(&sk->sk_callback_lock);
	native->file = file;

	/* Excludes sock_fasync(), unless it has come by the file before. */
	lock_sock(sock->sk);
	/* Pairs with the dependency of whoever reads it. */
	smp_store_release(&file->private_data, native);
	native->wq.fasync_list = sock->wq.fasync_list;
	sock->wq.fasync_list = NULL;
	release_sock(sock->sk);
	if (native->wq.fasync_list) {
		lock_sock(sk);
		sock_set_flag(sk, SOCK_FASYNC);
		release_sock(sk);
	}

	/* Pairs with that of poll_wait(): who is not seen here sees the change. */
	smp_mb();
	/* The barrier is above. */
	return waitqueue_active(&sock->wq.wait);
}

static int forward_wake(struct wait_queue_entry *entry, unsigned int mode, int flags, void *key)
{
	struct wait_queue_head *head = entry->private;
	unsigned long irq_flags;

	/* The lock of the native one's is held. Nobody takes them the other way round. */
	spin_lock_irqsave_nested(&head->lock, irq_flags, SINGLE_DEPTH_NESTING);
	__wake_up_locked_key(head, mode, key);
	spin_unlock_irqrestore(&head->lock, irq_flags);
	return 0;
}

/* Has those who wait with @sock woken together with those of @native, by way of @entry. */
__rust_helper void rust_helper_sock_forward_wakes(struct socket *native, struct socket *sock,
						  struct wait_queue_entry *entry)
{
	init_waitqueue_func_entry(entry, forward_wake);
	entry->private = &sock->wq.wait;
	add_wait_queue(&native->wq.wait, entry);
}

__rust_helper void rust_helper_sock_forward_end(struct socket *native,
						struct wait_queue_entry *entry)
{
	remove_wait_queue(&native->wq.wait, entry);
}

/* Closes @native, which is behind @sock, if that has ever been a program's. */
__rust_helper void rust_helper_sock_release_native(struct socket *native, struct socket *sock)
{
	/* Who has come by the file before it was changed. */
	if (native->file && sock && sock->wq.fasync_list)
		fasync_helper(-1, native->file, 0, &sock->wq.fasync_list);
	/* The file is that of the other one. */
	native->file = NULL;
	sock_release(native);
}

#endif /* CONFIG_RUST_SOCKET_ABSTRACTIONS */
